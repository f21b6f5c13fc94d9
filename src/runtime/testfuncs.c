/*
 * testfuncs.c
 *		What tests need to drive the arena and actors from SQL.
 *
 * Only in builds with -DDLOG_STOP_POINTS; declared in tools/test_schema.sql.
 * A session's actors live in its top memory context.  The test work, type
 * 65000, is a text: "sql ..." runs a query and answers with its first value,
 * "actor" spawns an actor, answers with its address and waits for a message
 * to it, "error" fails.  The answer is a text of type 65001.
 */
#include "postgres.h"

#ifdef DLOG_STOP_POINTS

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "runtime/runtime_internal.h"

#define TEST_WORK 65000
#define TEST_ANSWER 65001

/* of the ring's native actors */
#define RING_LINK 65002	 /* here is your neighbor; answered with "linked" */
#define RING_START 65003 /* send a token on its way */
#define RING_TOKEN 65004
#define RING_STOP 65005 /* answered with the number of violations */
#define RING_FAIL 65006 /* raise an error */

#define MAX_TEST_ACTORS 64
static BoundActor *test_actors[MAX_TEST_ACTORS];
static int n_test_actors = 0;

DLOG_FUNCTION(dlog_test_actor_spawn);
DLOG_FUNCTION(dlog_test_actor_address);
DLOG_FUNCTION(dlog_test_actor_exit);
DLOG_FUNCTION(dlog_test_actor_send);
DLOG_FUNCTION(dlog_test_actor_receive);
DLOG_FUNCTION(dlog_test_actor_monitor);
DLOG_FUNCTION(dlog_test_actor_demonitor);
DLOG_FUNCTION(dlog_test_arena_churn);
DLOG_FUNCTION(dlog_test_arena_crash);
DLOG_FUNCTION(dlog_test_arena_fill);
DLOG_FUNCTION(dlog_test_arena_take);
DLOG_FUNCTION(dlog_test_arena_lost);
DLOG_FUNCTION(dlog_test_ring_create);
DLOG_FUNCTION(dlog_test_ring_start);
DLOG_FUNCTION(dlog_test_ring_send);

/* ---------------------------------------------------------------- actors */

static BoundActor *
test_actor(int number)
{
	if (number < 1 || number > n_test_actors || test_actors[number - 1] == NULL)
		elog(ERROR, "there is no test actor %d", number);
	return test_actors[number - 1];
}

static ActorAddress
parse_address(const char *text)
{
	ActorAddress address = {0};

	if (sscanf(text, "%u/%u/%u", &address.node, &address.slot, &address.incarnation) != 3)
		return database_address(THIS_NODE, text);
	return address;
}

static char *
address_text(ActorAddress address)
{
	return psprintf("%u/%u/%u", address.node, address.slot, address.incarnation);
}

static Message *
text_message(uint16 type, ActorAddress from, const char *text)
{
	Message *message = message_create(type, strlen(text));

	memcpy(message->payload, text, strlen(text));
	message->from = from;
	return message;
}

Datum
dlog_test_actor_spawn(PG_FUNCTION_ARGS)
{
	if (n_test_actors == MAX_TEST_ACTORS)
		elog(ERROR, "too many test actors");
	test_actors[n_test_actors] = bound_actor_spawn(TopMemoryContext, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_INT32(++n_test_actors);
}

Datum
dlog_test_actor_address(PG_FUNCTION_ARGS)
{
	BoundActor *actor = test_actor(PG_GETARG_INT32(0));

	PG_RETURN_TEXT_P(cstring_to_text(address_text(bound_actor_address(actor))));
}

Datum
dlog_test_actor_exit(PG_FUNCTION_ARGS)
{
	bound_actor_exit(test_actor(PG_GETARG_INT32(0)));
	test_actors[PG_GETARG_INT32(0) - 1] = NULL;
	PG_RETURN_VOID();
}

Datum
dlog_test_actor_send(PG_FUNCTION_ARGS)
{
	static const char *const results[] = {
		[SEND_OK] = "ok",
		[SEND_NO_ACTOR] = "no actor",
		[SEND_MAILBOX_FULL] = "mailbox full",
		[SEND_NODE_DOWN] = "node down",
		[SEND_NO_MEMORY] = "out of memory",
	};
	ActorAddress from = {0};
	ActorAddress to = parse_address(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Message *message;

	if (PG_GETARG_INT32(0) != 0)
		from = bound_actor_address(test_actor(PG_GETARG_INT32(0)));
	message = text_message(TEST_WORK, from, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_TEXT_P(cstring_to_text(results[actor_send(to, message)]));
}

static char *
describe(Message *message)
{
	UndeliveredMessage undelivered;
	DownMessage down;
	ExitMessage signal;

	if (message->type == MESSAGE_UNDELIVERED &&
		undelivered_read(message->payload, message->size, &undelivered))
		return psprintf("undelivered: type %u, reason %u", undelivered.type, undelivered.reason);
	if (message->type == MESSAGE_DOWN &&
		down_read(message->payload, message->size, &down))
		return psprintf("down: %.*s", (int) down.reason.size, down.reason.data);
	if (message->type == MESSAGE_EXIT &&
		exit_read(message->payload, message->size, &signal))
		return psprintf("exit: %.*s", (int) signal.reason.size, signal.reason.data);
	return pnstrdup(message->payload, message->size);
}

Datum
dlog_test_actor_receive(PG_FUNCTION_ARGS)
{
	BoundActor *actor = test_actor(PG_GETARG_INT32(0));
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(1));
	Message *message;
	char *text;

	while ((message = bound_actor_receive(actor)) == NULL)
	{
		long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left <= 0)
			PG_RETURN_NULL();
		runtime_wait(left, PG_WAIT_EXTENSION);
	}
	text = describe(message);
	message_free(message);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

Datum
dlog_test_actor_monitor(PG_FUNCTION_ARGS)
{
	actor_monitor(bound_actor_address(test_actor(PG_GETARG_INT32(0))),
				  parse_address(text_to_cstring(PG_GETARG_TEXT_PP(1))));
	PG_RETURN_VOID();
}

Datum
dlog_test_actor_demonitor(PG_FUNCTION_ARGS)
{
	actor_demonitor(bound_actor_address(test_actor(PG_GETARG_INT32(0))),
					parse_address(text_to_cstring(PG_GETARG_TEXT_PP(1))));
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------ work */

static void
test_work(Message *message)
{
	char *text = pnstrdup(message->payload, message->size);
	const char *answer = "";
	ActorAddress nobody = {0};

	runtime_report_activity(text);
	if (strcmp(text, "error") == 0)
		elog(ERROR, "test work failed");
	else if (strcmp(text, "actor") == 0)
	{
		BoundActor *actor = bound_actor_spawn(CurrentMemoryContext, "test work");
		Message *received;

		(void) actor_send(message->from, text_message(TEST_ANSWER, bound_actor_address(actor), address_text(bound_actor_address(actor))));
		while ((received = bound_actor_receive(actor)) == NULL)
			runtime_wait(-1, PG_WAIT_EXTENSION);
		answer = psprintf("received %s", describe(received));
		message_free(received);
	}
	else if (strncmp(text, "sql ", 4) == 0)
	{
		MemoryContext context = CurrentMemoryContext;

		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		SPI_connect();
		SPI_execute(text + 4, false, 1);
		if (SPI_processed > 0)
		{
			char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

			answer = value ? MemoryContextStrdup(context, value) : "null";
		}
		SPI_finish();
		PopActiveSnapshot();
		CommitTransactionCommand();
		MemoryContextSwitchTo(context);
	}
	(void) actor_send(message->from, text_message(TEST_ANSWER, nobody, answer));
}

/* ------------------------------------------------------------------ ring */

/*
 * Actors in a ring, each of which numbers what it sends to its neighbor and
 * checks the numbers of what it gets.
 */
typedef struct RingState
{
	ActorAddress neighbor;
	ActorAddress master;
	uint32 sent;
	uint32 received;
	uint32 violations;
} RingState;

typedef struct RingToken
{
	uint32 number;
	uint32 hops;
	uint32 bytes; /* that follow, all of them the same as the low byte of number */
} RingToken;

static void
ring_answer(NativeActor *self, RingState *ring, const char *text)
{
	(void) native_send(self, ring->master, TEST_ANSWER, text, strlen(text));
}

static void
ring_pass_on(NativeActor *self, RingState *ring, uint32 hops, uint32 bytes)
{
	char buffer[sizeof(RingToken) + 512];
	RingToken token = {++ring->sent, hops, bytes};

	memcpy(buffer, &token, sizeof(token));
	memset(buffer + sizeof(token), (unsigned char) token.number, bytes);
	if (native_send(self, ring->neighbor, RING_TOKEN, buffer, sizeof(token) + bytes) != SEND_OK)
		elog(ERROR, "could not pass on a token");
}

static void
ring_handle(NativeActor *self, void *state, const NativeMessage *message)
{
	RingState *ring = state;
	RingToken token;
	uint32 i;

	switch (message->type)
	{
		case RING_LINK:
			memcpy(&ring->neighbor, message->payload, sizeof(ActorAddress));
			ring_answer(self, ring, "linked");
			break;
		case RING_START:
			memcpy(&token, message->payload, sizeof(token));
			ring_pass_on(self, ring, token.hops, token.bytes);
			break;
		case RING_TOKEN:
			memcpy(&token, message->payload, sizeof(token));
			if (token.number != ++ring->received || message->size != sizeof(token) + token.bytes)
				ring->violations++;
			for (i = 0; i < token.bytes; i++)
				if ((unsigned char) message->payload[sizeof(token) + i] != (unsigned char) token.number)
					ring->violations++;
			if (token.hops > 0)
				ring_pass_on(self, ring, token.hops - 1, token.bytes);
			else
				ring_answer(self, ring, "arrived");
			break;
		case RING_STOP:
			ring_answer(self, ring, psprintf("%u violations", ring->violations));
			native_actor_exit(self);
			break;
		case RING_FAIL:
			elog(ERROR, "ring actor failed");
		default:
			break;
	}
}

/* ring_create(master, n): n linked actors; returns the address of each */
Datum
dlog_test_ring_create(PG_FUNCTION_ARGS)
{
	BoundActor *master = test_actor(PG_GETARG_INT32(0));
	int n = PG_GETARG_INT32(1);
	ActorAddress *actors = palloc(sizeof(ActorAddress) * n);
	Datum *texts = palloc(sizeof(Datum) * n);
	RingState ring = {.master = bound_actor_address(master)};
	int i;

	for (i = 0; i < n; i++)
	{
		actors[i] = native_actor_spawn("test ring", &ring, sizeof(ring));
		texts[i] = CStringGetTextDatum(address_text(actors[i]));
	}
	for (i = 0; i < n; i++)
	{
		Message *message = message_create(RING_LINK, sizeof(ActorAddress));

		memcpy(message->payload, &actors[(i + 1) % n], sizeof(ActorAddress));
		(void) actor_send(actors[i], message);
	}
	for (i = 0; i < n; i++)
	{
		Message *message;

		while ((message = bound_actor_receive(master)) == NULL)
			runtime_wait(-1, PG_WAIT_EXTENSION);
		message_free(message);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* ring_start(address, hops, bytes) */
Datum
dlog_test_ring_start(PG_FUNCTION_ARGS)
{
	RingToken token = {0, PG_GETARG_INT32(1), PG_GETARG_INT32(2)};
	Message *message = message_create(RING_START, sizeof(token));

	memcpy(message->payload, &token, sizeof(token));
	PG_RETURN_BOOL(actor_send(parse_address(text_to_cstring(PG_GETARG_TEXT_PP(0))), message) == SEND_OK);
}

/* ring_send(address, 'stop' | 'fail') */
Datum
dlog_test_ring_send(PG_FUNCTION_ARGS)
{
	bool stops = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(1)), "stop") == 0;
	Message *message = message_create(stops ? RING_STOP : RING_FAIL, 0);

	PG_RETURN_BOOL(actor_send(parse_address(text_to_cstring(PG_GETARG_TEXT_PP(0))), message) == SEND_OK);
}

/* ----------------------------------------------------------------- arena */

#define CHURN_BLOCKS 512

typedef struct Churned
{
	unsigned char *block;
	Size size;
	unsigned char fill;
} Churned;

static bool
churned_is_intact(Churned *churned)
{
	Size i;

	for (i = 0; i < churned->size; i += 7)
		if (churned->block[i] != churned->fill)
			return false;
	return churned->block[churned->size - 1] == churned->fill;
}

/* Allocate and free at random.  Returns how often a block was damaged. */
static int64
churn(pg_prng_state *random, Churned *churned, int64 rounds)
{
	int64 damaged = 0;

	while (rounds-- != 0)
	{
		Churned *one = &churned[pg_prng_uint64_range(random, 0, CHURN_BLOCKS - 1)];

		if (one->block != NULL)
		{
			if (!churned_is_intact(one))
				damaged++;
			arena_free(one->block);
			one->block = NULL;
			continue;
		}
		one->size = pg_prng_uint64_range(random, 1, (Size) 1 << pg_prng_uint64_range(random, 0, 15));
		one->block = arena_try_alloc(one->size);
		if (one->block == NULL)
			continue;
		one->fill = (unsigned char) pg_prng_uint64(random);
		memset(one->block, one->fill, one->size);
	}
	return damaged;
}

static int64
churn_end(Churned *churned)
{
	int64 damaged = 0;
	int i;

	for (i = 0; i < CHURN_BLOCKS; i++)
	{
		if (churned[i].block == NULL)
			continue;
		if (!churned_is_intact(&churned[i]))
			damaged++;
		arena_free(churned[i].block);
		churned[i].block = NULL;
	}
	return damaged;
}

Datum
dlog_test_arena_churn(PG_FUNCTION_ARGS)
{
	Churned *churned = palloc0(sizeof(Churned) * CHURN_BLOCKS);
	pg_prng_state random;
	int64 damaged;

	process_attach();
	pg_prng_seed(&random, PG_GETARG_INT32(1));
	damaged = churn(&random, churned, PG_GETARG_INT32(0));
	damaged += churn_end(churned);
	PG_RETURN_INT64(damaged);
}

/*
 * Fork a child that churns, kill it, sweep, and so on, while this process
 * churns as well.  Returns how often a block of ours was damaged.
 */
Datum
dlog_test_arena_crash(PG_FUNCTION_ARGS)
{
	Churned *churned = palloc0(sizeof(Churned) * CHURN_BLOCKS);
	uint16 owner = arena_owner_count() - 1; /* no process has this one */
	pg_prng_state random;
	int64 damaged = 0;
	int i;

	process_attach();
	pg_prng_seed(&random, 4711);
	for (i = 0; i < PG_GETARG_INT32(0); i++)
	{
		pid_t child = fork();
		int status;

		if (child < 0)
			elog(ERROR, "could not fork: %m");
		if (child == 0)
		{
			/* nothing of the server's may run in here */
			on_exit_reset();
			arena_attach_mortal(owner);
			pg_prng_seed(&random, i);
			memset(churned, 0, sizeof(Churned) * CHURN_BLOCKS);
			churn(&random, churned, -1);
		}
		damaged += churn(&random, churned, 200 + pg_prng_uint64_range(&random, 0, 2000));
		pg_usleep(pg_prng_uint64_range(&random, 0, 500));
		kill(child, SIGKILL);
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		arena_sweep(owner, NULL);
	}
	damaged += churn_end(churned);
	PG_RETURN_INT64(damaged);
}

/* Take blocks of this size until the arena is full, then free them; a test may hold us between. */
Datum
dlog_test_arena_fill(PG_FUNCTION_ARGS)
{
	void **first = NULL;
	void **block;
	int64 n = 0;

	process_attach();
	while ((block = arena_try_alloc(PG_GETARG_INT32(0))) != NULL)
	{
		*block = first;
		first = block;
		n++;
	}
	STOP_POINT("arena-is-full");
	while ((block = first) != NULL)
	{
		first = *block;
		arena_free(block);
	}
	PG_RETURN_INT64(n);
}

static void **taken = NULL;

static void
give_back(int code, Datum argument)
{
	while (taken != NULL)
	{
		void **block = taken;

		taken = *block;
		arena_free(block);
	}
}

/* Take all memory there is, in blocks of all sizes, until this process exits. */
Datum
dlog_test_arena_take(PG_FUNCTION_ARGS)
{
	process_attach();
	before_shmem_exit(give_back, (Datum) 0);
	for (Size size = 64 * 1024; size >= 32; size /= 2)
	{
		void **block;

		while ((block = arena_try_alloc(size - 8)) != NULL)
		{
			*block = taken;
			taken = block;
		}
	}
	PG_RETURN_VOID();
}

Datum
dlog_test_arena_lost(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(arena_lost());
}

void
testfuncs_init(void)
{
	runtime_register_work(TEST_WORK, test_work);
	runtime_register_behavior("test ring", ring_handle);
	testfuncs_victim_init();
	testfuncs_flood_init();
}

#endif
