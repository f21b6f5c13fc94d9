/*
 * outbox_drain.c
 *		The outbox is drained: batch after batch goes over the link.
 *
 * One transaction delivers a batch: it has the other node take it, deletes
 * its rows and makes the next batch.  The other node's part of it commits
 * first; until ours has, too, the batch stays what it is, and is sent again
 * after whatever has happened: an error, a lost link, a crash of either side.
 * The receiver knows by their sequence numbers what it has taken already.  A
 * batch is therefore committed, and flushed to disk, before it is first sent.
 *
 * Each database has an *outbox actor*, which hears when there is something
 * for a node, has a scheduler drain, one at a time for a node, and has it tried
 * again when that fails.
 *
 * After a failover to a standby that had not received all of its primary's
 * commits, and in a server that was restored from an older backup, the row of a
 * node may be behind what has been sent.  So when the server has started the
 * receiver is asked first for the last that it has (resynchronize()).
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
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/extension.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "journal/journal_internal.h"
#include "journal/outbox.h"
#include "remote/remote.h"

#define OUTBOX_BEHAVIOR "outbox"

/* Most messages of a batch, and bytes, except that one is always in it. */
#define BATCH_MESSAGES "1000"
#define BATCH_BYTES "1048576"
#define BATCH_COLUMNS 6

/* A drain ends after so long, for others want to run as well. */
#define DRAIN_US 2000000
#define RETRY_LEAST_MS 20
#define RETRY_MOST_MS 2000

typedef enum DrainResult
{
	DRAIN_EMPTY,	/* nothing is left */
	DRAIN_MORE,		/* there is more to do */
	DRAIN_MUST_WAIT /* a mailbox over there is full, or there was an error */
} DrainResult;

typedef struct OutboxNodeNumber
{
	uint32 node;
} OutboxNodeNumber;

typedef struct Drained
{
	uint32 node;
	DrainResult result;
} Drained;

/* A node for which there is, or was, something; in the arena. */
typedef struct OutboxNode
{
	struct OutboxNode *next;
	uint32 node;
	uint32 failures;  /* in a row */
	bool is_draining; /* a scheduler has been asked */
	bool is_wanted;	  /* there is something that it may not have seen */
	bool waits;		  /* for its timer */
} OutboxNode;

/* The state of the outbox actor. */
typedef struct OutboxState
{
	ActorAddress dispatcher; /* first: what it is spawned with */
	OutboxNode *nodes;
} OutboxState;

/* The outbox actor of each database. */
typedef struct Outboxes
{
	int tranche;
	LWLock lock; /* guards the array */
	ActorAddress actor[RUNTIME_MAX_DATABASES];
} Outboxes;

static Outboxes *outboxes;

/* ------------------------------------------------------- the outbox actor */

static OutboxNode *
node_of(OutboxState *state, uint32 number)
{
	OutboxNode *node;

	for (node = state->nodes; node != NULL; node = node->next)
		if (node->node == number)
			return node;
	node = arena_alloc(sizeof(OutboxNode));
	memset(node, 0, sizeof(OutboxNode));
	node->node = number;
	node->next = state->nodes;
	state->nodes = node;
	return node;
}

static void
wait_and_retry(ActorAddress self, OutboxNode *node)
{
	node->is_draining = false;
	node->waits = true;
	actor_timer_set(self, node->node, Min(RETRY_LEAST_MS << Min(node->failures, 10), RETRY_MOST_MS));
	node->failures++;
}

static void
ask_for_drain(OutboxState *state, ActorAddress self, OutboxNode *node)
{
	Message *message = message_try_create(OUTBOX_LOCAL_DRAIN, sizeof(OutboxNodeNumber));

	node->is_draining = true;
	node->is_wanted = false;
	if (message != NULL)
	{
		((OutboxNodeNumber *) message->payload)->node = node->node;
		message->from = self;
		message->flags = MESSAGE_CONTROL;
		if (actor_send(state->dispatcher, message) == SEND_OK)
			return;
	}
	wait_and_retry(self, node);
}

static void
drained(OutboxState *state, ActorAddress self, const Drained *done)
{
	OutboxNode *node = node_of(state, done->node);

	node->is_draining = false;
	if (done->result == DRAIN_MUST_WAIT)
	{
		wait_and_retry(self, node);
		return;
	}
	node->failures = 0;
	if (done->result == DRAIN_MORE || node->is_wanted)
		ask_for_drain(state, self, node);
}

static void
outbox_actor_message(void *argument, ActorAddress self, const Message *message)
{
	OutboxState *state = argument;
	OutboxNode *node;

	switch (message->type)
	{
		case OUTBOX_LOCAL_KICK:
			node = node_of(state, ((const OutboxNodeNumber *) message->payload)->node);
			node->is_wanted = true;
			if (!node->is_draining && !node->waits)
				ask_for_drain(state, self, node);
			break;
		case OUTBOX_LOCAL_DRAINED:
			drained(state, self, (const Drained *) message->payload);
			break;
		case MESSAGE_DOWN:
		case MESSAGE_UNDELIVERED:

			/*
			 * A scheduler exited in the middle of a drain, we do not know
			 * which.  Should another one still be at work for a node, the
			 * next waits for it.
			 */
			for (node = state->nodes; node != NULL; node = node->next)
				if (node->is_draining)
					wait_and_retry(self, node);
			break;
		default:
			break;
	}
}

static void
outbox_actor_timer(void *argument, ActorAddress self, uint64 number)
{
	OutboxState *state = argument;
	OutboxNode *node = node_of(state, (uint32) number);

	node->waits = false;
	if (!node->is_draining)
		ask_for_drain(state, self, node);
}

static void
outbox_actor_stop(void *argument, ActorAddress self)
{
	OutboxState *state = argument;

	while (state->nodes != NULL)
	{
		OutboxNode *next = state->nodes->next;

		arena_free(state->nodes);
		state->nodes = next;
	}
}

static const SystemBehavior outbox_behavior = {
	.name = OUTBOX_BEHAVIOR,
	.state_size = sizeof(OutboxState),
	.message = outbox_actor_message,
	.timer = outbox_actor_timer,
	.stop = outbox_actor_stop,
};

/* ----------------------------------------------------------------- kicking */

/* What outbox_kick() will send.  ERROR 53400: out of memory. */
Message *
outbox_kick_message(uint32 node)
{
	Message *message = message_create(OUTBOX_LOCAL_KICK, sizeof(OutboxNodeNumber));

	((OutboxNodeNumber *) message->payload)->node = node;
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	return message;
}

static ActorAddress
outbox_actor(void)
{
	int database = runtime_database(MyDatabaseId);
	ActorAddress actor = {0};

	if (database < 0)
		return actor;
	LWLockAcquire(&outboxes->lock, LW_SHARED);
	actor = outboxes->actor[database];
	LWLockRelease(&outboxes->lock);
	return actor;
}

/*
 * outbox_kick
 *		Committed rows wait for a node.  Takes the message; never fails.
 */
void
outbox_kick(uint32 node, Message *kick)
{
	ActorAddress actor = outbox_actor();

	if (actor.slot != 0 && actor_send(actor, kick) == SEND_OK)
		return;
	if (actor.slot == 0)
		message_free(kick);

	/* There is none yet, or none any more; start_outbox() looks at all rows. */
	runtime_request_refresh(MyDatabaseId);
}

/* Spawn the outbox actor, unless there is one. */
static ActorAddress
make_outbox_actor(int database)
{
	OutboxState state = {.dispatcher = database_address(THIS_NODE, get_database_name(MyDatabaseId))};
	ActorSpawn spawn = {
		.system_behavior = OUTBOX_BEHAVIOR,
		.system_state = &state,
		.system_state_size = sizeof(state),
		.owner = BOOTSTRAP_SUPERUSERID,
	};
	ActorAddress *actor = &outboxes->actor[database];
	ActorAddress result;

	LWLockAcquire(&outboxes->lock, LW_EXCLUSIVE);
	if (actor->slot == 0 || actor_database(*actor) != MyDatabaseId ||
		!(hosted_actor_exists(*actor) || hosted_actor_is_starting(*actor)))
		*actor = actor_spawn(&spawn);
	result = *actor;
	LWLockRelease(&outboxes->lock);
	return result;
}

/*
 * When the database has come up, and when somebody has asked for it: see that
 * there is an outbox actor, and that it knows of all that waits.
 */
static void
start_outbox(void)
{
	int database = runtime_database(MyDatabaseId);
	ActorAddress actor;

	if (database < 0)
		return;
	actor = make_outbox_actor(database);
	outbox_use_own_settings();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute("SELECT DISTINCT node_id FROM dlog.outbox", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read dlog.outbox");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool is_null;
		Datum id = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null);
		uint32 node = node_of_id((uint64) DatumGetInt64(id));

		if (node != NODE_NOT_FOUND && node != THIS_NODE)
			actor_send_at_commit(actor, outbox_kick_message(node));
	}
	SPI_finish();
	PopActiveSnapshot();
}

/* ---------------------------------------------------------------- draining */

/* The row of dlog.outbox_link. */
typedef struct OutboxLink
{
	int64 node_id;
	int64 generation;
	TimestampTz started_at; /* of the server that has last asked the other node where it is */
	int64 sequence;			/* of the first message of the batch */
	Datum batch;			/* bigint[] */
	int n_batch;
} OutboxLink;

static void
run(const char *sql, int n, Oid *types, Datum *values, int expected)
{
	if (SPI_execute_with_args(sql, n, types, values, NULL, false, 0) != expected)
		elog(ERROR, "unexpected result of: %s", sql);
}

static int64
result_int64(int column)
{
	bool is_null;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &is_null));
}

static int
n_elements(Datum array)
{
	ArrayType *a = DatumGetArrayTypeP(array);

	return ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
}

/* Lock and read it.  False: there is none. */
static bool
read_link(OutboxLink *link)
{
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(link->node_id)};
	bool is_null;

	run("SELECT generation, started_at, sequence, batch FROM dlog.outbox_link WHERE node_id = $1 FOR UPDATE",
		1, types, values, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	link->generation = result_int64(1);
	link->started_at = (TimestampTz) result_int64(2);
	link->sequence = result_int64(3);
	link->batch = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &is_null);
	link->n_batch = n_elements(link->batch);
	return true;
}

/*
 * The first "n_taken" messages of the batch are over there.  If that is all,
 * make the next batch.  Returns how many messages are in the batch now.
 */
static int
advance(OutboxLink *link, int n_taken)
{
	Oid types[4] = {INT8OID, INT8ARRAYOID, INT4OID, INT8OID};
	Datum values[4] = {Int64GetDatum(link->node_id), link->batch, Int32GetDatum(n_taken), Int64GetDatum(link->sequence)};
	bool is_null;

	if (n_taken > 0)
		run("DELETE FROM dlog.outbox WHERE node_id = $1 AND id = ANY ($2[1:$3])", 3, types, values, SPI_OK_DELETE);
	if (n_taken < link->n_batch)
	{
		run("UPDATE dlog.outbox_link SET sequence = $4 + $3, batch = $2[$3 + 1:], delivered = delivered + $3"
			" WHERE node_id = $1",
			4, types, values, SPI_OK_UPDATE);
		return link->n_batch - n_taken;
	}
	run("UPDATE dlog.outbox_link AS l SET sequence = $4 + $3, batch = next.batch, delivered = delivered + $3, failures = 0"
		" FROM (SELECT coalesce(pg_catalog.array_agg(id ORDER BY id), '{}') AS batch FROM"
		" (SELECT id, pg_catalog.sum(bytes) OVER (ORDER BY id) - bytes AS before FROM"
		" (SELECT id, pg_catalog.pg_column_size(payload) AS bytes FROM dlog.outbox"
		" WHERE node_id = $1 ORDER BY id LIMIT " BATCH_MESSAGES ") AS r) AS s"
		" WHERE before < " BATCH_BYTES ") AS next"
		" WHERE l.node_id = $1 AND ($3 > 0 OR next.batch <> '{}') RETURNING l.batch",
		4, types, values, SPI_OK_UPDATE_RETURNING);
	return SPI_processed == 0 ? 0 : n_elements(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
}

/* The row for a node that nothing has been sent to yet. */
static void
make_link(int64 node_id)
{
	Oid types[2] = {INT8OID, TIMESTAMPTZOID};
	Datum values[2] = {Int64GetDatum(node_id), TimestampTzGetDatum(PgStartTime)};

	run("INSERT INTO dlog.outbox_link (node_id, generation, started_at)"
		" VALUES ($1, pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::pg_catalog.text, 0), $2)"
		" ON CONFLICT DO NOTHING",
		2, types, values, SPI_OK_INSERT);
}

/* One row of arrays: what the other node is to take. */
static void
read_batch(const OutboxLink *link, Datum *values, bool *nulls)
{
	Oid types[2] = {INT8OID, INT8ARRAYOID};
	Datum arguments[2] = {Int64GetDatum(link->node_id), link->batch};

	run("SELECT pg_catalog.array_agg(kind::pg_catalog.text ORDER BY id), pg_catalog.array_agg(receiver::pg_catalog.text ORDER BY id),"
		" pg_catalog.array_agg(sender::pg_catalog.text ORDER BY id),"
		" pg_catalog.array_agg(pg_catalog.pg_get_userbyid(role)::pg_catalog.text ORDER BY id),"
		" pg_catalog.array_agg(payload::pg_catalog.text ORDER BY id),"
		" pg_catalog.array_agg(sent_at::pg_catalog.text ORDER BY id)"
		" FROM dlog.outbox WHERE node_id = $1 AND id = ANY ($2)",
		2, types, arguments, SPI_OK_SELECT);
	for (int i = 0; i < BATCH_COLUMNS; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	if (nulls[0] || n_elements(values[0]) != link->n_batch)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("messages that were to go to node %lld are not in dlog.outbox any more", (long long) link->node_id)));
}

/*
 * Have the other node take the batch, in this transaction; returns how many
 * messages it has, for it takes no more than there is room for.
 */
static int
send_batch(uint32 node, const OutboxLink *link)
{
	Oid types[3 + BATCH_COLUMNS] = {INT8OID, INT8OID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
									TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum values[3 + BATCH_COLUMNS] = {Int64GetDatum((int64) node_id_of(THIS_NODE)), Int64GetDatum(link->generation),
									   Int64GetDatum(link->sequence)};
	bool nulls[3 + BATCH_COLUMNS] = {false};
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = "SELECT dlog.outbox_take($1, $2, $3, $4, $5, $6, $7, $8, $9)::pg_catalog.text",
		.n_params = lengthof(types),
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.writes = true,
	};
	char *taken;

	read_batch(link, &values[3], &nulls[3]);
	taken = remote_run_text(node, &request);
	STOP_POINT("outbox-sent");
	return taken == NULL ? 0 : Min(pg_strtoint32(taken), link->n_batch);
}

/* What had left is unknown here; only people can say what that means. */
static void
report_forgotten(uint32 node, int64 n)
{
	ereport(WARNING,
			(errmsg("dlog: node \"%s\" has " INT64_FORMAT " messages from this database of which it does not know itself",
					node_name(node), n),
			 errdetail("This server was restored, or promoted, without its last commits.  What those had sent has happened on the other node."),
			 errhint("Compare what the databases have.  dlog.deliveries counts such messages as forgotten; what is sent from now on gets new numbers and is taken.")));
}

/*
 * Since the row was written the server has been started: perhaps from an
 * older backup, or as a standby that did not have all.  So more may have been
 * sent than the row says; the receiver knows.  The batch is what was sent
 * first, for nothing is made anew before this.
 */
static void
resynchronize(uint32 node, OutboxLink *link)
{
	Oid types[2] = {INT8OID, INT8OID};
	Datum values[2] = {Int64GetDatum((int64) node_id_of(THIS_NODE)), Int64GetDatum(link->generation)};
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = "SELECT dlog.outbox_last($1, $2)::pg_catalog.text",
		.n_params = 2,
		.param_types = types,
		.param_values = values,
		.writes = true,
	};
	char *last = remote_run_text(node, &request);
	int64 ahead = last == NULL ? 0 : Max(pg_strtoint64(last) + 1 - link->sequence, 0);
	int64 forgotten = Max(ahead - link->n_batch, 0);
	Oid update_types[3] = {INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum update_values[3];

	(void) advance(link, (int) Min(ahead, link->n_batch));
	update_values[0] = Int64GetDatum(link->node_id);
	update_values[1] = Int64GetDatum(forgotten);
	update_values[2] = TimestampTzGetDatum(PgStartTime);
	run("UPDATE dlog.outbox_link SET sequence = sequence + $2, forgotten = forgotten + $2, started_at = $3 WHERE node_id = $1",
		3, update_types, update_values, SPI_OK_UPDATE);
	if (forgotten > 0)
		report_forgotten(node, forgotten);
}

/* One step, in a transaction. */
static DrainResult
drain_step(uint32 node)
{
	OutboxLink link = {.node_id = (int64) node_id_of(node)};
	int n_taken = 0;
	int n_left;

	if (!read_link(&link))
	{
		make_link(link.node_id);
		return DRAIN_MORE;
	}
	if (link.started_at != PgStartTime)
	{
		resynchronize(node, &link);
		return DRAIN_MORE;
	}
	if (link.n_batch > 0)
		n_taken = send_batch(node, &link);
	n_left = advance(&link, n_taken);
	if (n_taken < link.n_batch)
		return DRAIN_MUST_WAIT;
	return n_left == 0 ? DRAIN_EMPTY : DRAIN_MORE;
}

/*
 * outbox_flush_at_commit
 *		What has been sent, or is said to be stored, must not be forgotten.
 */
void
outbox_flush_at_commit(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * outbox_use_own_settings
 *		In a scheduler's transaction: names that mean dlog's and the server's
 *		own, whatever actors or the database have set, and text that any node
 *		reads in the same way.
 */
void
outbox_use_own_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"datestyle", "ISO"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

static DrainResult
drain_transaction(uint32 node)
{
	DrainResult result;

	SetCurrentStatementStartTimestamp();
	extension_begin();

	outbox_flush_at_commit();
	outbox_use_own_settings();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	result = drain_step(node);
	SPI_finish();
	PopActiveSnapshot();
	STOP_POINT("outbox-commit");
	CommitTransactionCommand();
	STOP_POINT("outbox-committed");
	return result;
}

/* Note why it failed, for dlog.deliveries. */
static void
note_failure(uint32 node, const char *reason)
{
	Oid types[2] = {INT8OID, TEXTOID};
	Datum values[2];

	extension_begin();
	outbox_use_own_settings();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	values[0] = Int64GetDatum((int64) node_id_of(node));
	values[1] = CStringGetTextDatum(reason);
	run("UPDATE dlog.outbox_link SET failures = failures + 1, last_error = $2, last_error_at = pg_catalog.clock_timestamp()"
		" WHERE node_id = $1",
		2, types, values, SPI_OK_UPDATE);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
tell_drained(const Message *work, uint32 node, DrainResult result)
{
	Message *message = message_create(OUTBOX_LOCAL_DRAINED, sizeof(Drained));

	*(Drained *) message->payload = (Drained){node, result};
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	(void) actor_send(work->from, message);
}

/*
 * Work handler: sends what waits for a node, for a while.
 */
static void
drain(Message *work)
{
	MemoryContext context = CurrentMemoryContext;
	uint32 node = ((const OutboxNodeNumber *) work->payload)->node;
	uint64 until_us = clock_now_us() + DRAIN_US;
	volatile DrainResult result = DRAIN_MORE;

	if (work->from.node != THIS_NODE)
		return;
	if (durable_is_unsettled())
	{
		/* dlog.settle() has all that waits looked at. */
		tell_drained(work, node, DRAIN_EMPTY);
		return;
	}
	PG_TRY();
	{
		while (result == DRAIN_MORE && clock_now_us() < until_us)
		{
			CHECK_FOR_INTERRUPTS();
			result = drain_transaction(node);
			MemoryContextSwitchTo(context);
		}
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		if (ProcDiePending)
			ReThrowError(error);
		note_failure(node, error->detail == NULL ? error->message :
												   psprintf("%s: %s", error->message, error->detail));
		result = DRAIN_MUST_WAIT;
	}
	PG_END_TRY();
	tell_drained(work, node, result);
}

/* ------------------------------------------------------------------ set up */

Size
outbox_shmem_size(void)
{
	return sizeof(Outboxes);
}

void
outbox_shmem_init(void)
{
	bool found;

	outboxes = ShmemInitStruct("dlog outboxes", outbox_shmem_size(), &found);
	if (!found)
	{
		memset(outboxes, 0, sizeof(Outboxes));
		outboxes->tranche = LWLockNewTrancheId();
		LWLockInitialize(&outboxes->lock, outboxes->tranche);
	}
	LWLockRegisterTranche(outboxes->tranche, "DlogOutboxes");
}

void
outbox_drain_init(void)
{
	actor_register_system_behavior(&outbox_behavior);
	runtime_register_work(OUTBOX_LOCAL_DRAIN, drain);
	runtime_register_scheduler_start(start_outbox);
}
