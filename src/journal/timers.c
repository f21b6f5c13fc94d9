/*
 * timers.c
 *		Timers of durable actors: rows of dlog.durable_timer.
 *
 * A handler's transaction sets and cancels them.  When one is due, a
 * transaction of a scheduler sends its message, as any other is sent, and
 * deletes the row, or moves it on if it repeats.  So a timer goes off once
 * whatever is killed, and when it is due while the server is down it goes off
 * at the start; one that repeats does so once for all the times it has missed.
 *
 * Each database has a *clock*, an actor that hears when something is due
 * first, and has a scheduler look then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/extension.h"
#include "base/stop_point.h"
#include "journal/journal_internal.h"
#include "remote/remote.h"

#define CLOCK_BEHAVIOR "clock"
#define CLOCK_TIMER 1

/* So many go off in one transaction. */
#define TIMERS_AT_A_TIME "1000"
/* After this it is tried again, when there was no scheduler or an error; when a mailbox was full. */
#define RETRY_MS 1000
#define FULL_MS 50

/* Types of messages that never leave this node. */
typedef enum ClockMessage
{
	CLOCK_LOCAL_AT = 62150, /* TimestampTz: something is due then */
	CLOCK_LOCAL_FIRE		/* nothing: to the dispatcher */
} ClockMessage;

typedef struct ClockState
{
	ActorAddress dispatcher; /* first: what it is spawned with */
	TimestampTz due;		 /* that its timer is set for; 0: it is not */
} ClockState;

/* The clock of each database. */
typedef struct Clocks
{
	int tranche;
	LWLock lock; /* guards the array */
	ActorAddress actor[RUNTIME_MAX_DATABASES];
} Clocks;

static Clocks *clocks;

/* --------------------------------------------------------------- the clock */

static void
set_clock(ClockState *state, ActorAddress self, TimestampTz due)
{
	if (state->due != 0 && state->due <= due)
		return;
	state->due = due;
	actor_timer_set(self, CLOCK_TIMER, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due));
}

static void
try_again(ClockState *state, ActorAddress self)
{
	set_clock(state, self, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS));
}

static void
clock_message(void *argument, ActorAddress self, const Message *message)
{
	ClockState *state = argument;
	TimestampTz due;

	switch (message->type)
	{
		case CLOCK_LOCAL_AT:
			memcpy(&due, message->payload, sizeof(TimestampTz));
			set_clock(state, self, due);
			break;
		case MESSAGE_DOWN:
		case MESSAGE_UNDELIVERED:

			/* The scheduler that was to look has failed. */
			try_again(state, self);
			break;
		default:
			break;
	}
}

static void
clock_timer(void *argument, ActorAddress self, uint64 number)
{
	ClockState *state = argument;
	Message *message = message_try_create(CLOCK_LOCAL_FIRE, 0);

	state->due = 0;
	if (message != NULL)
	{
		message->from = self;
		message->flags = MESSAGE_CONTROL;
		if (actor_send(state->dispatcher, message) == SEND_OK)
			return;
	}
	try_again(state, self);
}

static const SystemBehavior clock_behavior = {
	.name = CLOCK_BEHAVIOR,
	.state_size = sizeof(ClockState),
	.message = clock_message,
	.timer = clock_timer,
};

/* The clock of this database; it is made if there is none. */
static ActorAddress
clock_actor(void)
{
	int database = runtime_database(MyDatabaseId);
	ClockState state = {.dispatcher = database_address(THIS_NODE, get_database_name(MyDatabaseId))};
	ActorSpawn spawn = {
		.system_behavior = CLOCK_BEHAVIOR,
		.system_state = &state,
		.system_state_size = sizeof(state),
		.owner = BOOTSTRAP_SUPERUSERID,
	};
	ActorAddress *actor = &clocks->actor[database];
	ActorAddress result;

	LWLockAcquire(&clocks->lock, LW_EXCLUSIVE);
	if (actor->slot == 0 || actor_database(*actor) != MyDatabaseId ||
		!(hosted_actor_exists(*actor) || hosted_actor_is_starting(*actor)))
		*actor = actor_spawn(&spawn);
	result = *actor;
	LWLockRelease(&clocks->lock);
	return result;
}

static Message *
at_message(TimestampTz due)
{
	Message *message = message_create(CLOCK_LOCAL_AT, sizeof(TimestampTz));

	memcpy(message->payload, &due, sizeof(TimestampTz));
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	return message;
}

/* Whatever is due first; in a transaction. */
static void
tell_clock(void)
{
	StatementScope scope;
	TimestampTz due = 0;
	bool is_null = true;

	statement_open(&scope);
	if (statement_run_typed("SELECT pg_catalog.min(due) FROM dlog.durable_timer", 0, NULL, NULL, NULL) > 0)
		due = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	statement_close(&scope);
	if (!is_null)
		actor_send_at_commit(clock_actor(), at_message(due));
}

/* When the database has come up. */
static void
start_clock(void)
{
	if (runtime_database(MyDatabaseId) < 0 || durable_is_unsettled())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	tell_clock();
	PopActiveSnapshot();
}

/* -------------------------------------------------------- set and cancelled */

/*
 * timer_set
 *		In a handler.
 */
void
timer_set(const JournalTimer *timer)
{
	TimestampTz due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timer->delay_ms);
	Oid types[5] = {INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID, InvalidOid};
	Datum values[5] = {Int64GetDatum(timer->actor), Int64GetDatum(timer->id), TimestampTzGetDatum(due),
					   Int64GetDatum(timer->delay_ms),
					   PointerGetDatum(payload_create(timer->message, ROW_TYPE(timer->type), timer->is_null))};
	StatementScope scope;

	types[4] = journal_type("payload");
	statement_open(&scope);
	(void) statement_run_typed("INSERT INTO dlog.durable_timer (actor, id, due, period_ms, payload) VALUES ($1, $2, $3, $4, $5)",
							   5, types, values, timer->repeats ? "     " : "   n ");
	statement_close(&scope);
	actor_send_at_commit(clock_actor(), at_message(due));
}

void
timer_cancel_durable(int64 actor, int64 id)
{
	Oid types[2] = {INT8OID, INT8OID};
	Datum values[2] = {Int64GetDatum(actor), Int64GetDatum(id)};
	StatementScope scope;

	statement_open(&scope);
	(void) statement_run_typed("DELETE FROM dlog.durable_timer WHERE actor OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
							   2, types, values, NULL);
	statement_close(&scope);
}

/* ------------------------------------------------------------------ going off */

/* A timer that is due. */
typedef struct DueTimer
{
	int64 actor;
	int64 id;
	bool repeats;
	Oid owner; /* of the actor */
	struct varlena *payload;
} DueTimer;

static void
send_message(void *argument)
{
	const DueTimer *timer = argument;
	DurableSend send = {.actor = timer->actor, .role = timer->owner};

	send.message = payload_datum(timer->payload, &send.type, &send.is_null);
	durable_send(&send);
}

/* Why it cannot be sent; NULL: it is. */
static ErrorData *
try_send(const DueTimer *timer)
{
	ErrorData *error = statement_try(send_message, unconstify(DueTimer *, timer));

	if (error != NULL && (ProcDiePending || error->sqlerrcode == ERRCODE_QUERY_CANCELED))
		ReThrowError(error);
	return error;
}

/* What nobody can handle goes where it can be looked at. */
static void
give_up(const DueTimer *timer, const ErrorData *error)
{
	Oid types[5] = {INT8OID, REGROLEOID, InvalidOid, TEXTOID, TEXTOID};
	Datum values[5] = {Int64GetDatum(timer->actor), ObjectIdGetDatum(timer->owner), PointerGetDatum(timer->payload),
					   CStringGetTextDatum(unpack_sql_state(error->sqlerrcode)), CStringGetTextDatum(error->message)};

	types[2] = journal_type("payload");
	(void) statement_run_typed("INSERT INTO dlog.quarantine (actor, sent_at, role, payload, failures, sqlstate, error)"
							   " VALUES ($1, pg_catalog.now(), $2, $3, 0, $4, $5)",
							   5, types, values, NULL);
}

static void
go_off(const DueTimer *timer)
{
	ErrorData *error = try_send(timer);
	Oid types[3] = {INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum values[3] = {Int64GetDatum(timer->actor), Int64GetDatum(timer->id)};

	/* It passes, as when its mailbox is full; or its behavior cannot be used, until that is mended. */
	if (error != NULL && (error_is_of_the_moment(error) || error->sqlerrcode == ERRCODE_INVALID_FUNCTION_DEFINITION))
	{
		int wait_ms = error->sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED ? FULL_MS : RETRY_MS;

		values[2] = TimestampTzGetDatum(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms));
		(void) statement_run_typed("UPDATE dlog.durable_timer SET due = $3"
								   " WHERE actor OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
								   3, types, values, NULL);
		return;
	}
	if (error != NULL)
		give_up(timer, error);
	if (timer->repeats && error == NULL)
		(void) statement_run_typed("UPDATE dlog.durable_timer SET due = due OPERATOR(pg_catalog.+) (period_ms OPERATOR(pg_catalog.*)"
								   " (1 OPERATOR(pg_catalog.+) pg_catalog.div((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) due)"
								   " OPERATOR(pg_catalog.*) 1000)::pg_catalog.numeric, period_ms::pg_catalog.numeric))::pg_catalog.int8"
								   " OPERATOR(pg_catalog.*) '1 ms'::pg_catalog.interval)"
								   " WHERE actor OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
								   2, types, values, NULL);
	else
		timer_cancel_durable(timer->actor, timer->id);
}

static DueTimer
read_due(HeapTuple row, TupleDesc descriptor)
{
	DueTimer timer;
	bool is_null;

	timer.actor = DatumGetInt64(SPI_getbinval(row, descriptor, 1, &is_null));
	timer.id = DatumGetInt64(SPI_getbinval(row, descriptor, 2, &is_null));
	timer.repeats = DatumGetBool(SPI_getbinval(row, descriptor, 3, &is_null));
	timer.owner = DatumGetObjectId(SPI_getbinval(row, descriptor, 4, &is_null));
	timer.payload = PG_DETOAST_DATUM_COPY(SPI_getbinval(row, descriptor, 5, &is_null));
	return timer;
}

/* All that are due, oldest first, but not too many. */
static void
fire(void)
{
	StatementScope scope;
	SPITupleTable *rows;
	uint64 n;

	statement_open(&scope);
	(void) set_config_option("dlog.full_mailbox", "error", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	n = statement_run_typed("SELECT t.actor, t.id, t.period_ms IS NOT NULL, a.owner, t.payload"
							" FROM dlog.durable_timer t JOIN dlog.durable_actor a ON a.id OPERATOR(pg_catalog.=) t.actor"
							" WHERE t.due OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()"
							" ORDER BY t.due, t.actor, t.id LIMIT " TIMERS_AT_A_TIME " FOR UPDATE OF t",
							0, NULL, NULL, NULL);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		DueTimer timer = read_due(rows->vals[i], rows->tupdesc);

		go_off(&timer);
	}
	statement_close(&scope);
}

/* Work handler. */
static void
clock_work(Message *work)
{
	if (work->from.node != THIS_NODE || durable_is_unsettled())
		return;
	extension_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	fire();
	STOP_POINT("journal-timers-fired");
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	tell_clock();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---------------------------------------------------------- shared memory */

Size
timers_shmem_size(void)
{
	return sizeof(Clocks);
}

void
timers_shmem_init(void)
{
	bool found;

	clocks = ShmemInitStruct("dlog clocks", sizeof(Clocks), &found);
	if (!found)
	{
		memset(clocks, 0, sizeof(Clocks));
		clocks->tranche = LWLockNewTrancheId();
		LWLockInitialize(&clocks->lock, clocks->tranche);
	}
	LWLockRegisterTranche(clocks->tranche, "DlogClocks");
}

void
timers_init(void)
{
	actor_register_system_behavior(&clock_behavior);
	runtime_register_work(CLOCK_LOCAL_FIRE, clock_work);
	runtime_register_scheduler_start(start_clock);
}
