/*
 * testfuncs_victim.c
 *		A native actor that does what it is told by test.actor_send(), for
 *		tests of what may befall it.
 *
 * Only in builds with -DDLOG_STOP_POINTS; declared in tools/test_schema.sql.
 * It answers whoever tells it:
 *
 *		"work"			"worked", between two stop points
 *		"spawn"			the address of another victim
 *		"flood N TO"	sends N messages there
 *		"fill"			takes all memory, tries to send, gives the memory back
 *		"tell"			what it was not able to send, and how much it got
 *		"fail", "exit"	no answer
 *
 * Anything else it counts.
 */
#include "postgres.h"

#ifdef DLOG_STOP_POINTS

#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "runtime/runtime_internal.h"

#define TEST_TEXT 65000
#define TEST_ANSWER 65001

typedef struct VictimState
{
	uint32 counted;
	uint32 undelivered[SEND_NO_MEMORY + 1];
} VictimState;

static int victim;

DLOG_FUNCTION(dlog_test_victim_spawn);
DLOG_FUNCTION(dlog_test_victims_spawn);

static char *
address_text(ActorAddress address)
{
	return psprintf("%u/%u/%u", address.node, address.slot, address.incarnation);
}

static void
answer(NativeActor *self, const char *text)
{
	(void) native_send(self, native_actor_sender(self), TEST_ANSWER, text, strlen(text));
}

static void
flood(NativeActor *self, const char *command)
{
	ActorAddress to;
	int n;

	if (sscanf(command, "flood %d %u/%u/%u", &n, &to.node, &to.slot, &to.incarnation) != 4)
		elog(ERROR, "flood whom?");
	while (n-- > 0)
		(void) native_send(self, to, TEST_TEXT, "mail", 4);
}

/* Messages of this size that can be sent to ourselves while there is no memory. */
static int
send_until_refused(NativeActor *self, Size size, SendResult *result)
{
	char *payload = palloc0(size);
	int n = 0;

	while ((*result = native_send(self, native_actor_address(self), TEST_TEXT, payload, size)) == SEND_OK)
		n++;
	return n;
}

/* Take all memory, as blocks of all sizes; do what can be done without. */
static void
fill(NativeActor *self)
{
	void **first = NULL;
	Size size = ARENA_MAX_SIZE;
	SendResult small;
	SendResult large;
	int n_large;
	int n_small;

	for (;;)
	{
		void **block = arena_try_alloc(size);

		if (block != NULL)
		{
			*block = first;
			first = block;
		}
		else if ((size /= 2) < sizeof(void *))
			break;
	}
	n_large = send_until_refused(self, 1000, &large);
	n_small = send_until_refused(self, 8, &small);
	STOP_POINT("victim-is-full");
	while (first != NULL)
	{
		void **next = *first;

		arena_free(first);
		first = next;
	}
	answer(self, psprintf("%d large, then %s; %s small, then %s",
						  n_large, large == SEND_NO_MEMORY ? "out of memory" : "?",
						  n_small < 64 ? "few" : "many", small == SEND_NO_MEMORY ? "out of memory" : "?"));
}

static void
tell(NativeActor *self, const VictimState *state)
{
	answer(self, psprintf("counted %u, undelivered: no actor %u, mailbox full %u, out of memory %u",
						  state->counted, state->undelivered[SEND_NO_ACTOR],
						  state->undelivered[SEND_MAILBOX_FULL], state->undelivered[SEND_NO_MEMORY]));
}

static void
handle_text(NativeActor *self, VictimState *state, const char *text)
{
	if (strncmp(text, "work", 4) == 0)
	{
		STOP_POINT("victim-begins");
		answer(self, "worked");
		STOP_POINT("victim-has-sent");
	}
	else if (strcmp(text, "spawn") == 0)
		answer(self, address_text(native_actor_spawn_for(MyDatabaseId, InvalidOid, victim, NULL, sizeof(VictimState))));
	else if (strncmp(text, "flood ", 6) == 0)
		flood(self, text);
	else if (strcmp(text, "fill") == 0)
		fill(self);
	else if (strcmp(text, "tell") == 0)
		tell(self, state);
	else if (strcmp(text, "fail") == 0)
		elog(ERROR, "victim failed");
	else if (strcmp(text, "exit") == 0)
		native_actor_exit(self);
	else
		state->counted++;
}

static void
victim_handle(NativeActor *self, void *state_of, const NativeMessage *message)
{
	VictimState *state = state_of;
	UndeliveredMessage undelivered;

	if (message->type == TEST_TEXT)
		handle_text(self, state, pnstrdup(message->payload, message->size));
	else if (message->type == MESSAGE_UNDELIVERED &&
			 undelivered_read(message->payload, message->size, &undelivered) &&
			 undelivered.reason < lengthof(state->undelivered))
		state->undelivered[undelivered.reason]++;
}

/* victim_spawn(): its address */
Datum
dlog_test_victim_spawn(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(address_text(native_actor_spawn_as(victim, NULL, sizeof(VictimState)))));
}

/* victims_spawn(n, state_size): that many, whose states are so large; the last one's address */
Datum
dlog_test_victims_spawn(PG_FUNCTION_ARGS)
{
	ActorAddress address = {0};
	int i;

	for (i = 0; i < PG_GETARG_INT32(0); i++)
		address = native_actor_spawn_as(victim, NULL, Max(PG_GETARG_INT32(1), sizeof(VictimState)));
	PG_RETURN_TEXT_P(cstring_to_text(address_text(address)));
}

void
testfuncs_victim_init(void)
{
	victim = runtime_register_behavior("test victim", victim_handle);
}

#endif
