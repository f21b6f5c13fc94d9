/*
 * c_face_actors.c
 *		Actors that use all of dlog/actor.h, for t/012_c_face.pl.
 *
 * A Runner hands an object to its peer, which hands it back.  A Keeper is
 * told by SQL what to do, by its name, and says what it has seen.
 */
#include "postgres.h"

#include <time.h>

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "dlog/actor.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

typedef struct Blob
{
	uint64 first;
	char bytes[FLEXIBLE_ARRAY_MEMBER];
} Blob;

DLOG_OBJECT(Blob);

static uint64
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64) t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---------------------------------------------------------------- runners */

#define RUNNER_TAKES Meet, Run, Hand, GetResult
DLOG_DECLARE(Runner, RUNNER_TAKES);

typedef struct RunnerState
{
	Runner_ref peer;
	int32 hops;
	int64 ns; /* of all hops; 0: not yet done */
} RunnerState;

DLOG_STATE(Runner, RunnerState);

DLOG_MESSAGE(Meet, value(Runner_ref, peer));
DLOG_MESSAGE(Run, value(int64, bytes), value(int32, hops));
DLOG_MESSAGE(Hand, iso(Blob, blob), value(int32, left), value(int32, hops), value(uint64, begun_ns));
DLOG_MESSAGE(Result, value(int64, ns), value(int32, hops));
DLOG_REQUEST(GetResult, Result);

DLOG_HANDLER(Runner, Meet)
{
	state->peer = message->peer;
}

DLOG_HANDLER(Runner, Run)
{
	Blob_iso blob = dlog_new(self, Blob, message->bytes);

	dlog_get(blob)->first = 1;
	dlog_get(blob)->bytes[message->bytes - sizeof(Blob) - 1] = 'z';
	dlog_send(self, state->peer, Hand, .blob = dlog_move(blob), .left = message->hops,
			  .hops = message->hops, .begun_ns = now_ns());
}

DLOG_HANDLER(Runner, Hand)
{
	dlog_get(message->blob)->first++;
	if (message->left > 1)
		dlog_send(self, state->peer, Hand, .blob = dlog_move(message->blob), .left = message->left - 1,
				  .hops = message->hops, .begun_ns = message->begun_ns);
	else
	{
		state->ns = now_ns() - message->begun_ns;
		state->hops = dlog_get(message->blob)->first - 1;
		if (dlog_get(message->blob)->bytes[dlog_size(message->blob) - sizeof(Blob) - 1] != 'z')
			elog(ERROR, "the object is not what it was");
	}
}

DLOG_HANDLER(Runner, GetResult)
{
	dlog_reply(self, GetResult, .ns = state->ns, .hops = state->hops);
}

DLOG_IMPLEMENT(Runner, RUNNER_TAKES);

/* ---------------------------------------------------------------- keepers */

#define KEEPER_TAKES Do, Take, Read, Ticked, GetSeen, DlogDown, DlogExit, DlogUndelivered
DLOG_DECLARE(Keeper, KEEPER_TAKES);

typedef struct KeeperState
{
	Blob_iso own;
	Blob_val shared;
	Blob_tag earlier;
	DlogTimer timer;
	int32 ticks;
	char seen[56];
} KeeperState;

DLOG_STATE(Keeper, KeeperState);

typedef struct Word
{
	char chars[16];
} Word;

typedef struct Line
{
	char chars[64];
} Line;

DLOG_MESSAGE(Do, value(Word, what), value(int64, number), value(Keeper_ref, other));
DLOG_MESSAGE(Take, iso(Blob, blob), tag(Blob, same));
DLOG_MESSAGE(Read, val(Blob, blob));
DLOG_MESSAGE(Ticked, value(int32, number));
DLOG_MESSAGE(Seen, value(Line, line));
DLOG_REQUEST(GetSeen, Seen);

static void
see(KeeperState *state, const char *what)
{
	strlcat(state->seen, state->seen[0] ? "; " : "", sizeof(state->seen));
	strlcat(state->seen, what, sizeof(state->seen));
}

DLOG_HANDLER(Keeper, Take)
{
	see(state, dlog_same(message->same, dlog_tag(Blob, message->blob)) ? "took it" : "took another");
	if (!dlog_is_empty(state->own))
		dlog_drop(self, state->own);
	dlog_keep(self, state->own, message->blob);
}

DLOG_HANDLER(Keeper, Read)
{
	see(state, psprintf("read " UINT64_FORMAT, dlog_read(message->blob)->first));
	if (dlog_is_empty(state->shared))
		dlog_keep(self, state->shared, message->blob);
}

DLOG_HANDLER(Keeper, Ticked)
{
	state->ticks++;
	if (message->number > 0 && state->ticks == message->number)
	{
		see(state, psprintf("tick %d", state->ticks));
		dlog_cancel(state->timer);
	}
}

DLOG_HANDLER(Keeper, DlogDown)
{
	see(state, psprintf("down: %s", message->reason));
}

DLOG_HANDLER(Keeper, DlogExit)
{
	see(state, psprintf("exit: %s", message->reason));
}

DLOG_HANDLER(Keeper, DlogUndelivered)
{
	see(state, psprintf("undelivered: %d", message->result));
}

DLOG_HANDLER(Keeper, GetSeen)
{
	Line line = {""};

	strlcpy(line.chars, state->seen, sizeof(line.chars));
	state->seen[0] = '\0';
	dlog_reply(self, GetSeen, .line = line);
}

DLOG_HANDLER(Keeper, Do)
{
	const char *what = message->what.chars;
	Keeper_ref other = message->other;

	if (strcmp(what, "create") == 0)
	{
		Blob_iso blob = dlog_new(self, Blob, message->number);

		dlog_get(blob)->first = message->number;
		dlog_keep(self, state->own, blob);
	}
	else if (strcmp(what, "give") == 0)
	{
		Blob_tag tag = dlog_tag(Blob, state->own);

		dlog_send(self, other, Take, .blob = dlog_move(state->own), .same = tag);
	}
	else if (strcmp(what, "twice") == 0)
	{
		Blob_tag tag = dlog_tag(Blob, state->own);
		int i;

		for (i = 0; i < 2; i++)
			dlog_send(self, other, Take, .blob = dlog_move(state->own), .same = tag);
	}
	else if (strcmp(what, "use") == 0)
		dlog_get(state->own)->first = 0;
	else if (strcmp(what, "freeze") == 0)
		dlog_freeze(self, state->shared, state->own);
	else if (strcmp(what, "share") == 0)
		dlog_send(self, other, Read, .blob = dlog_share(state->shared));
	else if (strcmp(what, "drop") == 0)
		dlog_drop(self, state->shared);
	else if (strcmp(what, "link") == 0)
		dlog_link(self, other);
	else if (strcmp(what, "unlink") == 0)
		dlog_unlink(self, other);
	else if (strcmp(what, "monitor") == 0)
		dlog_monitor(self, other);
	else if (strcmp(what, "demonitor") == 0)
		dlog_demonitor(self, other);
	else if (strcmp(what, "trap") == 0)
		dlog_trap_exits(self, true);
	else if (strcmp(what, "exit") == 0)
		dlog_exit(self, other, "told to");
	else if (strcmp(what, "kill") == 0)
		dlog_exit(self, other, "kill");
	else if (strcmp(what, "stop") == 0)
		dlog_stop(self, "shutdown");
	else if (strcmp(what, "fail") == 0)
		elog(ERROR, "keeper failed");
	else if (strcmp(what, "after") == 0)
	{
		state->ticks = 0;
		state->timer = dlog_send_after(self, message->number, dlog_self(self, Keeper), Ticked, .number = 1);
	}
	else if (strcmp(what, "every") == 0)
	{
		state->ticks = 0;
		state->timer = dlog_send_every(self, message->number, dlog_self(self, Keeper), Ticked, .number = 3);
	}
	else if (strcmp(what, "child") == 0)
	{
		Keeper_ref child = dlog_spawn(self, Keeper, .ticks = 1);

		dlog_register(self, "child", child);
	}
	else if (strcmp(what, "hang") == 0)
	{
		Blob_iso blob = dlog_new(self, Blob, message->number);

		dlog_get(blob)->first = 1;
		for (;;)
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(1000);
		}
	}
	else
		elog(ERROR, "nobody knows how to %s", what);
}

DLOG_IMPLEMENT(Keeper, KEEPER_TAKES);

void
_PG_init(void)
{
	DLOG_REGISTER("c_face_actors", Runner, Keeper);
}

/* -------------------------------------------------------------------- SQL */

PG_FUNCTION_INFO_V1(ask_costs);
PG_FUNCTION_INFO_V1(hand_over);
PG_FUNCTION_INFO_V1(keeper);
PG_FUNCTION_INFO_V1(tell);
PG_FUNCTION_INFO_V1(seen);
PG_FUNCTION_INFO_V1(session_gives);

/* ask_costs(n): the bytes of memory contexts that so many sends and asks take, and keep */
Datum
ask_costs(PG_FUNCTION_ARGS)
{
	DlogSession *session = dlog_session();
	Runner_ref runner = dlog_spawn(session, Runner);
	Size before = 0;
	Result result;
	int i;

	/* the first ones fill what is kept */
	for (i = -100; i < PG_GETARG_INT32(0); i++)
	{
		if (i == 0)
			before = MemoryContextMemAllocated(TopMemoryContext, true);
		if (dlog_send(session, runner, Meet, .peer = runner) != DLOG_OK ||
			dlog_ask(session, runner, GetResult, 10000, &result) != DLOG_OK)
			elog(ERROR, "the runner does not answer");
	}
	dlog_exit(session, runner, "done");
	PG_RETURN_INT64(MemoryContextMemAllocated(TopMemoryContext, true) - before);
}

/* hand_over(bytes, hops): microseconds that a hop took */
Datum
hand_over(PG_FUNCTION_ARGS)
{
	DlogSession *session = dlog_session();
	Runner_ref one = dlog_spawn(session, Runner);
	Runner_ref other = dlog_spawn(session, Runner, .peer = one);
	Result a = {0};
	Result b = {0};

	dlog_send(session, one, Meet, .peer = other);
	dlog_send(session, one, Run, .bytes = PG_GETARG_INT64(0), .hops = PG_GETARG_INT32(1));
	while (a.ns == 0 && b.ns == 0)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
		if (dlog_ask(session, one, GetResult, 10000, &a) != DLOG_OK ||
			dlog_ask(session, other, GetResult, 10000, &b) != DLOG_OK)
			elog(ERROR, "a runner does not answer");
	}
	if (a.hops + b.hops != PG_GETARG_INT32(1))
		elog(ERROR, "there were %d hops", a.hops + b.hops);
	dlog_exit(session, one, "done");
	dlog_exit(session, other, "done");
	PG_RETURN_FLOAT8((a.ns + b.ns) / 1000.0 / PG_GETARG_INT32(1));
}

static Keeper_ref
find_keeper(DlogSession *session, text *name)
{
	Keeper_ref found;

	if (!dlog_whereis(session, Keeper, text_to_cstring(name), &found))
		elog(ERROR, "there is no keeper \"%s\"", text_to_cstring(name));
	return found;
}

/* keeper(name): is it new? */
Datum
keeper(PG_FUNCTION_ARGS)
{
	DlogSession *session = dlog_session();

	PG_RETURN_BOOL(dlog_register(session, text_to_cstring(PG_GETARG_TEXT_PP(0)), dlog_spawn(session, Keeper)));
}

/* tell(name, what, number, other) */
Datum
tell(PG_FUNCTION_ARGS)
{
	DlogSession *session = dlog_session();
	Keeper_ref to = find_keeper(session, PG_GETARG_TEXT_PP(0));
	Keeper_ref other = to;
	Word what = {""};

	strlcpy(what.chars, text_to_cstring(PG_GETARG_TEXT_PP(1)), sizeof(what.chars));
	if (!PG_ARGISNULL(3))
		other = find_keeper(session, PG_GETARG_TEXT_PP(3));
	PG_RETURN_INT32(dlog_send(session, to, Do, .what = what, .number = PG_GETARG_INT64(2), .other = other));
}

/* seen(name): and forgotten */
Datum
seen(PG_FUNCTION_ARGS)
{
	DlogSession *session = dlog_session();
	Seen what;
	DlogResult result = dlog_ask(session, find_keeper(session, PG_GETARG_TEXT_PP(0)), GetSeen, 10000, &what);

	if (result != DLOG_OK)
		elog(ERROR, "result %d", result);
	PG_RETURN_TEXT_P(cstring_to_text(what.line.chars));
}

/* session_gives(name, bytes): an object that the session made */
Datum
session_gives(PG_FUNCTION_ARGS)
{
	DlogSession *session = dlog_session();
	Blob_iso blob = dlog_new(session, Blob, PG_GETARG_INT64(1));
	Blob_tag tag = dlog_tag(Blob, blob);

	dlog_get(blob)->first = 7;
	PG_RETURN_INT32(dlog_send(session, find_keeper(session, PG_GETARG_TEXT_PP(0)), Take,
							  .blob = dlog_move(blob), .same = tag));
}
