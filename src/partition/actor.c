/*
 * actor.c
 *		An actor for each partition that other nodes ask for.
 *
 * The actor of a local partition is made when the first request of another
 * node names it.  Every such request passes its *gate*.  Usually that is
 * open, and passing it is counting: an increment in shared memory when the
 * request begins, another when it has ended; no message is sent.
 *
 * A transaction that is about to lock a partition against everybody, and may
 * give it another home, *holds* it: until the transaction ends the gate is
 * closed.  A scheduler that takes a request for a partition that is held
 * hands the request on to the actor and is free again, so that what waits for
 * a partition waits in a mailbox and occupies no process.  When the last hold
 * is over the actor sends what it has back to the database's dispatcher, in
 * the order in which it came.
 *
 * The gate is for requests that would start a session.  One that belongs to a
 * transaction that has begun here goes on: it may be that what the holder
 * waits for is the end of this transaction.  It meets the holder's lock.
 *
 * Locking: the table of gates has a lock for who is in it.  A gate's
 * counters need none.  It is gone when its partition has been dropped.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "partition/partition_internal.h"
#include "remote/remote.h"

#define BEHAVIOR "partition"

/*
 * Partitions of all databases of a server that have actors.  What comes when
 * there are so many passes ungated.
 */
#define GATES_MAX 8192

/* The holds of this partition are over. */
#define MESSAGE_OPENED LOCAL_MESSAGE(1, 0)
/* It has been dropped. */
#define MESSAGE_DROPPED LOCAL_MESSAGE(2, 0)

typedef struct GateKey
{
	Oid database;
	Oid partition;
} GateKey;

struct PartitionGate
{
	GateKey key;
	uint32 generation;	/* the lock; of who is in this place */
	ActorAddress actor; /* the lock; changes only when the actor has been stopped */
	pg_atomic_uint32 holds;
	pg_atomic_uint32 waiting;
	pg_atomic_uint64 begun;
	pg_atomic_uint64 ended;
	pg_atomic_uint64 waited; /* requests that found it closed */
};

typedef struct Gates
{
	LWLock lock;
	int tranche;
	uint32 generation;		/* the lock; of the gate made last */
	pg_atomic_uint32 holds; /* of all gates */
} Gates;

/* The actor's state. */
typedef struct Keeper
{
	PartitionGate *gate;
	ActorAddress dispatcher;
} Keeper;

/* A hold of this process's transaction. */
typedef struct Hold
{
	PartitionGate *gate;
	uint32 generation;
	int level; /* nesting of the transaction that it ends with */
} Hold;

static Gates *gates;
static HTAB *table;
static List *my_holds;	 /* of Hold, in TopMemoryContext */
static List *my_dropped; /* oids, in TopMemoryContext */

DLOG_FUNCTION(dlog_hold_partition);
DLOG_FUNCTION(dlog_partition_gates);

/* ---------------------------------------------------------------- the actor */

/*
 * Let a request go on: to the dispatcher, as if it came from the asker now.
 * Without memory for that the asker is told, and sends it again.
 */
static void
keeper_pass(Keeper *keeper, const NativeMessage *request)
{
	Message *message = message_try_create(request->type, request->size);
	UndeliveredMessage undelivered = {
		.type = request->type,
		.incarnation = keeper->dispatcher.incarnation,
		.reason = SEND_NO_MEMORY,
	};

	pg_atomic_fetch_sub_u32(&keeper->gate->waiting, 1);
	if (message != NULL)
	{
		memcpy(message->payload, request->payload, request->size);
		message->flags = MESSAGE_CONTROL;
		message->from = request->from;
		(void) actor_send(keeper->dispatcher, message);
		return;
	}
	message = message_try_create(MESSAGE_UNDELIVERED, undelivered_size(&undelivered));
	if (message == NULL)
		return;
	undelivered_write(message->payload, message->size, &undelivered);
	message->flags = MESSAGE_CONTROL;
	message->from = keeper->dispatcher;
	(void) actor_send(request->from, message);
}

/* The partition is gone: nobody finds the gate any more. */
static void
gate_remove(PartitionGate *gate)
{
	GateKey key = gate->key;

	LWLockAcquire(&gates->lock, LW_EXCLUSIVE);
	hash_search(table, &key, HASH_REMOVE, NULL);
	LWLockRelease(&gates->lock);
}

static void
keeper_handle(NativeActor *self, void *state, const NativeMessage *message)
{
	Keeper *keeper = state;

	switch (message->type)
	{
		case MESSAGE_REQUEST:
			if (pg_atomic_read_u32(&keeper->gate->holds) > 0)
				native_actor_stash(self);
			else
				keeper_pass(keeper, message);
			break;
		case MESSAGE_OPENED:
			native_actor_unstash(self);
			break;
		case MESSAGE_DROPPED:
			gate_remove(keeper->gate);
			native_actor_exit(self);
			break;
		default:
			break;
	}
}

/* ----------------------------------------------------------------- the gates */

static PartitionGate *
gate_find(Oid partition)
{
	GateKey key = {MyDatabaseId, partition};
	PartitionGate *gate;

	LWLockAcquire(&gates->lock, LW_SHARED);
	gate = hash_search(table, &key, HASH_FIND, NULL);
	LWLockRelease(&gates->lock);
	return gate;
}

/*
 * Give a gate an actor; a new gate is taken out of the table if that fails.
 * The table is locked.
 *
 * An actor may be stopped like any other; what waited for it is answered then,
 * and sent again by who asked.  So one that is gone gets a successor.
 */
static void
gate_spawn(PartitionGate *gate, ActorAddress dispatcher, bool is_new)
{
	Keeper keeper = {.gate = gate, .dispatcher = dispatcher};

	pg_atomic_write_u32(&gate->waiting, 0);
	PG_TRY();
	{
		gate->actor = native_actor_spawn(BEHAVIOR, &keeper, sizeof(keeper));
	}
	PG_CATCH();
	{
		if (is_new)
			hash_search(table, &gate->key, HASH_REMOVE, NULL);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Make room: those of databases that are gone have no actors any more. */
static void
gates_sweep(void)
{
	HASH_SEQ_STATUS scan;
	PartitionGate *gate;

	hash_seq_init(&scan, table);
	while ((gate = hash_seq_search(&scan)) != NULL)
		if (!actor_exists(gate->actor) && pg_atomic_read_u32(&gate->holds) == 0)
			hash_search(table, &gate->key, HASH_REMOVE, NULL);
}

/*
 * gate_get
 *		The gate of a partition, made if there is none, with an actor that is
 *		alive; NULL: there is no room for it.
 */
static PartitionGate *
gate_get(Oid partition)
{
	GateKey key = {MyDatabaseId, partition};
	PartitionGate *gate = gate_find(partition);
	ActorAddress dispatcher;
	bool is_found;

	if (gate != NULL && actor_exists(gate->actor))
		return gate;
	dispatcher = database_address(THIS_NODE, get_database_name(MyDatabaseId));
	process_attach();
	LWLockAcquire(&gates->lock, LW_EXCLUSIVE);
	gate = hash_search(table, &key, HASH_ENTER_NULL, &is_found);
	if (gate == NULL)
	{
		gates_sweep();
		gate = hash_search(table, &key, HASH_ENTER_NULL, &is_found);
	}
	if (gate != NULL && !is_found)
	{
		gate->generation = ++gates->generation;
		pg_atomic_init_u32(&gate->holds, 0);
		pg_atomic_init_u32(&gate->waiting, 0);
		pg_atomic_init_u64(&gate->begun, 0);
		pg_atomic_init_u64(&gate->ended, 0);
		pg_atomic_init_u64(&gate->waited, 0);
		gate_spawn(gate, dispatcher, true);
	}
	else if (gate != NULL && !actor_exists(gate->actor))
		gate_spawn(gate, dispatcher, false);
	LWLockRelease(&gates->lock);
	return gate;
}

/* ------------------------------------------------------ what requests pass */

static bool
gates_any_held(void)
{
	return pg_atomic_read_u32(&gates->holds) > 0;
}

/*
 * Give a request to the actor of the first of these partitions that is held.
 * False: none is.
 */
static bool
gates_hand_over(const Oid *partitions, int n, const Message *request)
{
	for (int i = 0; i < n; i++)
	{
		PartitionGate *gate = gate_find(partitions[i]);
		Message *message;

		if (gate == NULL || pg_atomic_read_u32(&gate->holds) == 0)
			continue;
		gate = gate_get(partitions[i]);
		if (gate == NULL)
			continue;
		message = message_create(request->type, request->size);
		memcpy(message->payload, request->payload, request->size);
		message->flags = request->flags;
		message->from = request->from;

		/* Counted before the actor can let it go. */
		pg_atomic_fetch_add_u32(&gate->waiting, 1);
		if (actor_send(gate->actor, message) == SEND_OK)
		{
			pg_atomic_fetch_add_u64(&gate->waited, 1);
			return true;
		}
		pg_atomic_fetch_sub_u32(&gate->waiting, 1);
	}
	return false;
}

/*
 * A request about these begins.  "passes" is the caller's to keep with the
 * partitions, zeros at first.
 */
static void
gates_begin(const Oid *partitions, RemotePass *passes, int n)
{
	for (int i = 0; i < n; i++)
	{
		PartitionGate *gate = passes[i].gate;

		if (unlikely(gate == NULL || gate->generation != passes[i].generation))
		{
			passes[i].gate = gate = gate_get(partitions[i]);
			if (gate == NULL)
				continue;
			passes[i].generation = gate->generation;
		}
		pg_atomic_fetch_add_u64(&gate->begun, 1);
	}
}

static void
gates_end(const RemotePass *passes, int n)
{
	for (int i = 0; i < n; i++)
	{
		PartitionGate *gate = passes[i].gate;

		if (gate != NULL && gate->generation == passes[i].generation)
			pg_atomic_fetch_add_u64(&gate->ended, 1);
	}
}

static const RemoteGatekeeper gatekeeper = {
	.is_any_closed = gates_any_held,
	.hand_over = gates_hand_over,
	.begin = gates_begin,
	.end = gates_end,
};

/* --------------------------------------------------------------------- holds */

/*
 * partition_hold
 *		Let requests of other nodes for a local partition wait in the mailbox
 *		of its actor until this (sub)transaction ends.
 *
 * It takes no lock, and what has begun goes on.
 */
void
partition_hold(Oid partition)
{
	PartitionGate *gate = gate_get(partition);
	MemoryContext old;
	Hold *hold;

	if (gate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many partitions have actors"),
				 errdetail("A server has room for those of %d.", GATES_MAX)));
	old = MemoryContextSwitchTo(TopMemoryContext);
	hold = palloc(sizeof(Hold));
	hold->gate = gate;
	hold->generation = gate->generation;
	hold->level = GetCurrentTransactionNestLevel();
	my_holds = lappend(my_holds, hold);
	MemoryContextSwitchTo(old);

	/* Who sees that some gate is closed looks at this one. */
	pg_atomic_fetch_add_u32(&gate->holds, 1);
	pg_atomic_fetch_add_u32(&gates->holds, 1);
}

/* Nothing here can fail: the transaction ends. */
static void
hold_end(Hold *hold)
{
	PartitionGate *gate = hold->gate;

	pg_atomic_fetch_sub_u32(&gates->holds, 1);
	if (gate->generation == hold->generation &&
		pg_atomic_sub_fetch_u32(&gate->holds, 1) == 0)
		(void) actor_post((ActorAddress){0}, gate->actor, MESSAGE_OPENED, NULL, 0);
	pfree(hold);
}

/* Those of (sub)transactions that are nested as deep as this, or deeper. */
static void
holds_end(int level)
{
	ListCell *cell;

	foreach(cell, my_holds)
	{
		Hold *hold = lfirst(cell);

		if (hold->level < level)
			continue;
		my_holds = foreach_delete_current(my_holds, cell);
		hold_end(hold);
	}
}

/*
 * partition_dropped
 *		A relation is dropped in this transaction: its actor, should it have
 *		one, goes with it.
 */
void
partition_dropped(Oid relation)
{
	MemoryContext old;

	if (gate_find(relation) == NULL)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	my_dropped = lappend_oid(my_dropped, relation);
	MemoryContextSwitchTo(old);
}

static void
dropped_end(bool is_commit)
{
	ListCell *cell;

	if (is_commit)
	{
		foreach(cell, my_dropped)
		{
			PartitionGate *gate = gate_find(lfirst_oid(cell));

			if (gate != NULL &&
				actor_post((ActorAddress){0}, gate->actor, MESSAGE_DROPPED, NULL, 0) != SEND_OK)
				gate_remove(gate);
		}
	}
	list_free(my_dropped);
	my_dropped = NIL;
}

static void
transaction_event(XactEvent event, void *argument)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			holds_end(0);
			dropped_end(event == XACT_EVENT_COMMIT);
			break;
		default:
			break;
	}
}

static void
subtransaction_event(SubXactEvent event, SubTransactionId sub,
					 SubTransactionId parent, void *argument)
{
	int level = GetCurrentTransactionNestLevel();
	ListCell *cell;

	if (event == SUBXACT_EVENT_ABORT_SUB)
		holds_end(level);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		foreach(cell, my_holds)
		{
			Hold *hold = lfirst(cell);

			hold->level = Min(hold->level, level - 1);
		}
}

/* ------------------------------------------------------------ what SQL sees */

/* hold_partition(partition) */
Datum
dlog_hold_partition(PG_FUNCTION_ARGS)
{
	Oid partition = PG_GETARG_OID(0);
	const char *name;

	runtime_require();
	name = partition_require_own(partition);
	if (get_rel_relkind(partition) != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("partition \"%s\" is not on this node", name),
				 errhint("Its rows are on node \"%s\": hold it there.",
						 partition_home_name(partition))));
	partition_hold(partition);
	PG_RETURN_VOID();
}

/* partition_gates(): of this database */
Datum
dlog_partition_gates(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HASH_SEQ_STATUS scan;
	PartitionGate *gate;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(&gates->lock, LW_SHARED);
	hash_seq_init(&scan, table);
	while ((gate = hash_seq_search(&scan)) != NULL)
	{
		uint64 ended = pg_atomic_read_u64(&gate->ended);
		uint64 begun = pg_atomic_read_u64(&gate->begun);
		bool is_alive = actor_exists(gate->actor);
		Datum values[7];
		bool nulls[7] = {false};

		if (gate->key.database != MyDatabaseId)
			continue;
		values[0] = ObjectIdGetDatum(gate->key.partition);
		values[1] = CStringGetTextDatum(psprintf("%u/%u/%u", gate->actor.node, gate->actor.slot,
												 gate->actor.incarnation));
		values[2] = Int64GetDatum(begun);
		values[3] = Int64GetDatum(Max((int64) (begun - ended), 0));
		nulls[1] = !is_alive;
		values[4] = Int32GetDatum(is_alive ? Max((int32) pg_atomic_read_u32(&gate->waiting), 0) : 0);
		values[5] = Int64GetDatum(pg_atomic_read_u64(&gate->waited));
		values[6] = BoolGetDatum(pg_atomic_read_u32(&gate->holds) > 0);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	LWLockRelease(&gates->lock);
	return (Datum) 0;
}

/* ------------------------------------------------------------------- set up */

Size
partition_shmem_size(void)
{
	return add_size(sizeof(Gates), hash_estimate_size(GATES_MAX, sizeof(PartitionGate)));
}

void
partition_shmem_init(void)
{
	HASHCTL control = {.keysize = sizeof(GateKey), .entrysize = sizeof(PartitionGate)};
	bool is_found;

	gates = ShmemInitStruct("dlog partition gates", sizeof(Gates), &is_found);
	if (!is_found)
	{
		memset(gates, 0, sizeof(Gates));
		gates->tranche = LWLockNewTrancheId();
		LWLockInitialize(&gates->lock, gates->tranche);
		pg_atomic_init_u32(&gates->holds, 0);
	}
	LWLockRegisterTranche(gates->tranche, "DlogPartitions");
	table = ShmemInitHash("dlog partition gates by partition", 256, GATES_MAX, &control,
						  HASH_ELEM | HASH_BLOBS);
}

void
partition_actor_init(void)
{
	(void) runtime_register_behavior(BEHAVIOR, keeper_handle);
	runtime_limit_mailbox(BEHAVIOR, PG_INT32_MAX);
	remote_gatekeeper = &gatekeeper;
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}
