/*
 * testfuncs_flood.c
 *		Native actors that flood each other, and see how far a flood has got,
 *		for tests of who has to wait for whom.
 *
 * Only in builds with -DDLOG_STOP_POINTS; declared in tools/test_schema.sql.
 * What test.actor_send() can tell one, addresses being texts:
 *
 *		"hold"				wait at the stop point "flood-holds"
 *		"flood N US A B W"	send N numbered messages to A and B by turns, each
 *							of which takes so many microseconds; then have W
 *							look at A; answered with "flooded"
 *		"look A"			note how many messages A has handled, and how many
 *							letters are dead
 *		"tell"				answered with what it noted, and how many numbered
 *							messages it got, how many of them out of order, and
 *							how often it looked
 *		"exit"				no answer
 */
#include "postgres.h"

#ifdef DLOG_STOP_POINTS

#include "utils/builtins.h"

#include "base/function.h"
#include "base/stop_point.h"
#include "runtime/shard_internal.h"

#define TEST_TEXT 65000
#define TEST_ANSWER 65001
#define NUMBERED 65010
#define LOOK 65011

typedef struct FloodState
{
	uint32 handled; /* by whom it looked at */
	uint32 dead;	/* letters then */
	uint32 got;
	uint32 last;
	uint32 disorder;
	uint32 looks;
} FloodState;

typedef struct Numbered
{
	uint32 number;
	uint32 takes_us;
} Numbered;

static int flooder;

DLOG_FUNCTION(dlog_test_flooder_spawn);
DLOG_FUNCTION(dlog_test_actor_shard);

static ActorAddress
address_of(const char *text)
{
	ActorAddress address = {0};

	if (sscanf(text, "%u/%u/%u", &address.node, &address.slot, &address.incarnation) != 3)
		elog(ERROR, "\"%s\" is no address", text);
	return address;
}

static void
answer(NativeActor *self, const char *text)
{
	(void) native_send(self, native_actor_sender(self), TEST_ANSWER, text, strlen(text));
}

static void
flood(NativeActor *self, const char *command)
{
	Numbered message = {0};
	char a[64];
	char b[64];
	char witness[64];
	ActorAddress to[2];
	int n;

	if (sscanf(command, "flood %d %u %63s %63s %63s", &n, &message.takes_us, a, b, witness) != 5)
		elog(ERROR, "flood whom?");
	to[0] = address_of(a);
	to[1] = address_of(b);
	for (int i = 0; i < n; i++)
	{
		message.number = i + 1;
		(void) native_send(self, to[i % 2], NUMBERED, &message, sizeof(message));
	}
	(void) native_send(self, address_of(witness), LOOK, &to[0], sizeof(to[0]));
	answer(self, "flooded");
}

static void
look(FloodState *state, ActorAddress at)
{
	state->looks++;
	state->handled = actor_slot(at.slot)->received;
	state->dead = dead_letter_count(DEAD_LETTER_MAILBOX_FULL) + dead_letter_count(DEAD_LETTER_NO_ACTOR);
}

static void
got_numbered(FloodState *state, const Numbered *message)
{
	state->got++;
	if (message->number != 1 && message->number <= state->last)
		state->disorder++;
	state->last = message->number;
	if (message->takes_us > 0)
		pg_usleep(message->takes_us);
}

static void
got_text(NativeActor *self, FloodState *state, const char *text)
{
	if (strcmp(text, "hold") == 0)
		STOP_POINT("flood-holds");
	else if (strncmp(text, "flood ", 6) == 0)
		flood(self, text);
	else if (strncmp(text, "look ", 5) == 0)
		look(state, address_of(text + 5));
	else if (strcmp(text, "tell") == 0)
		answer(self, psprintf("%u %u %u %u %u", state->handled, state->dead, state->got, state->disorder, state->looks));
	else if (strcmp(text, "exit") == 0)
		native_actor_exit(self);
	else
		elog(ERROR, "\"%s\" says nothing", text);
}

static void
flooder_handle(NativeActor *self, void *state, const NativeMessage *message)
{
	Numbered numbered;
	ActorAddress at;

	switch (message->type)
	{
		case TEST_TEXT:
			got_text(self, state, pnstrdup(message->payload, message->size));
			break;
		case NUMBERED:
			memcpy(&numbered, message->payload, sizeof(numbered));
			got_numbered(state, &numbered);
			break;
		case LOOK:
			memcpy(&at, message->payload, sizeof(at));
			look(state, at);
			break;
	}
}

/* flooder_spawn(): its address */
Datum
dlog_test_flooder_spawn(PG_FUNCTION_ARGS)
{
	ActorAddress address = native_actor_spawn_as(flooder, NULL, sizeof(FloodState));

	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%u/%u/%u", address.node, address.slot, address.incarnation)));
}

/* actor_shard(actor): the number of the shard that a native one is in */
Datum
dlog_test_actor_shard(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(SHARD_OF(address_of(text_to_cstring(PG_GETARG_TEXT_PP(0))).slot));
}

void
testfuncs_flood_init(void)
{
	flooder = runtime_register_behavior("test flood", flooder_handle);
}

#endif
