/*
 * replay.c
 *		States made of a snapshot and the entries after it.
 *
 * Each entry's message is given to what made the state of it before: the
 * handler, if that is not VOLATILE, or else the apply function.  Nothing that
 * these send, set or stop has an effect (actor_replay), and the server refuses
 * them to write.  What they do is done as the actor's owner.
 *
 * A value whose type the behavior does not use any more is changed by upcasts
 * into one that it uses.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/pg_compat.h"
#include "journal/journal_internal.h"

/* As append.c writes them. */
enum
{
	ENTRY_BEHAVIOR,
	ENTRY_ACTOR,
	ENTRY_SEQ,
	ENTRY_AT,
	ENTRY_SENT_AT,
	ENTRY_SENDER,
	ENTRY_ROLE,
	ENTRY_PAYLOAD,
	ENTRY_BECOMES,
	ENTRY_HASH
};

#define UPCASTS 64 /* so many after each other are a circle */

/* ------------------------------------------------------------------ entries */

struct EntryScan
{
	int64 actor;
	uint64 after;
	List *partitions;
	int next; /* of partitions */
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	MemoryContext context; /* of the scan */
	MemoryContext values;  /* of the present entry */
};

EntryScan *
entries_begin(Oid journal, int64 actor, uint64 after)
{
	EntryScan *scan = palloc0(sizeof(EntryScan));

	scan->actor = actor;
	scan->after = after;
	scan->partitions = journal_partitions(journal);
	scan->context = CurrentMemoryContext;
	scan->values = AllocSetContextCreate(CurrentMemoryContext, "dlog entry", ALLOCSET_DEFAULT_SIZES);
	return scan;
}

static void
close_partition(EntryScan *scan)
{
	if (scan->table == NULL)
		return;
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->table, NoLock);
	scan->table = NULL;
}

/* The index (actor, seq) of a partition. */
static Oid
find_index(Relation table)
{
	ListCell *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		bool is_it = IndexRelationGetNumberOfKeyAttributes(index) == 2 &&
					 index->rd_index->indkey.values[0] == ENTRY_ACTOR + 1 &&
					 index->rd_index->indkey.values[1] == ENTRY_SEQ + 1;

		index_close(index, AccessShareLock);
		if (is_it)
			return lfirst_oid(cell);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" has no index on actor and seq", RelationGetRelationName(table)),
			 errhint("CREATE INDEX ON dlog.%s (actor, seq).", RelationGetRelationName(table))));
}

static bool
open_next_partition(EntryScan *scan)
{
	ScanKeyData keys[2];
	MemoryContext old;

	close_partition(scan);
	if (scan->next == list_length(scan->partitions))
		return false;
	old = MemoryContextSwitchTo(scan->context);
	scan->table = table_open(list_nth_oid(scan->partitions, scan->next++), AccessShareLock);
	scan->index = index_open(find_index(scan->table), AccessShareLock);
	scan->slot = table_slot_create(scan->table, NULL);
	scan->scan = index_scan_begin(scan->table, scan->index, GetActiveSnapshot(), 2);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(scan->actor));
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum((int64) scan->after));
	index_rescan(scan->scan, keys, 2, NULL, 0);
	MemoryContextSwitchTo(old);
	return true;
}

static void
read_entry(EntryScan *scan, JournalEntry *entry)
{
	Datum *values = scan->slot->tts_values;
	bool *nulls = scan->slot->tts_isnull;
	MemoryContext old;

	MemoryContextReset(scan->values);
	old = MemoryContextSwitchTo(scan->values);
	slot_getallattrs(scan->slot);
	memset(entry, 0, sizeof(JournalEntry));
	entry->seq = DatumGetInt64(values[ENTRY_SEQ]);
	entry->at = DatumGetTimestampTz(values[ENTRY_AT]);
	entry->sent_at = DatumGetTimestampTz(values[ENTRY_SENT_AT]);
	if (!nulls[ENTRY_SENDER])
		entry->sender = *DatumGetActorRefP(values[ENTRY_SENDER]);
	entry->role = values[ENTRY_ROLE];
	entry->payload = PG_DETOAST_DATUM(values[ENTRY_PAYLOAD]);
	entry->becomes = nulls[ENTRY_BECOMES] ? InvalidOid : DatumGetObjectId(values[ENTRY_BECOMES]);
	entry->has_hash = !nulls[ENTRY_HASH];
	if (entry->has_hash)
	{
		bytea *hash = DatumGetByteaPP(values[ENTRY_HASH]);

		memcpy(entry->hash, VARDATA_ANY(hash), Min(VARSIZE_ANY_EXHDR(hash), sizeof(entry->hash)));
	}
	MemoryContextSwitchTo(old);
}

bool
entries_next(EntryScan *scan, JournalEntry *entry)
{
	while (scan->table != NULL || open_next_partition(scan))
	{
		if (index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot))
		{
			read_entry(scan, entry);
			return true;
		}
		if (!open_next_partition(scan))
			break;
	}
	return false;
}

void
entries_end(EntryScan *scan)
{
	close_partition(scan);
	MemoryContextDelete(scan->values);
	pfree(scan);
}

/* ------------------------------------------------------------------ upcasts */

/* Call a function of one argument; its result is in the current memory context. */
static Datum
call_upcast(BehaviorReplay *upcast, Datum datum, bool *is_null)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &upcast->flinfo, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = datum;
	fcinfo->args[0].isnull = *is_null;
	result = FunctionCallInvoke(fcinfo);
	*is_null = fcinfo->isnull;
	return result;
}

static bool
takes_message(Behavior *behavior, Oid type)
{
	return behavior_apply_function(behavior, type) != NULL || behavior_handler(behavior, type) != NULL;
}

/* A value of a type that is wanted; ERROR if there is no way to it. */
static Datum
upcast(Behavior *behavior, bool is_message, Datum datum, bool *is_null, Oid *type)
{
	for (int i = 0; i < UPCASTS; i++)
	{
		BehaviorReplay *function;

		if (is_message ? takes_message(behavior, *type) : *type == behavior->state_type)
			return datum;
		function = behavior_upcast_function(behavior, *type);
		if (function == NULL)
			break;
		datum = call_upcast(function, datum, is_null);
		*type = function->to;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 is_message ?
				 errmsg("behavior \"%s\" cannot replay messages of type %s", NameStr(behavior->name),
						format_type_be(*type)) :
				 errmsg("behavior \"%s\" cannot read states of type %s", NameStr(behavior->name),
						format_type_be(*type)),
			 errhint("dlog.alter_behavior(..., upcast => ...) adds a function of one argument that makes a newer value of it.")));
}

/* ------------------------------------------------------------------ replaying */

/* What runs: the state is in contexts[current]. */
typedef struct Replay
{
	Behavior *behavior;
	MemoryContext contexts[2];
	int current;
	Datum state;
	bool is_null;
	int16 state_length;
	JournalPosition position;
	/* what the last entry's message was given to */
	Oid function_type;
	FmgrInfo *function;
} Replay;

static void
take_behavior(Replay *replay, Oid was)
{
	Oid id = behavior_successor(was);

	if (replay->behavior != NULL && replay->behavior->id == id)
		return;
	if (replay->behavior != NULL)
		behavior_release(replay->behavior);
	replay->behavior = NULL;
	replay->behavior = behavior_acquire(id);
	replay->state_length = get_typlen(replay->behavior->state_type);
	replay->function_type = InvalidOid;
}

static FmgrInfo *
function_for(Replay *replay, Oid type)
{
	Behavior *behavior = replay->behavior;
	BehaviorReplay *apply;

	if (replay->function_type == type)
		return replay->function;
	apply = behavior_apply_function(behavior, type);
	replay->function = apply ? &apply->flinfo : &behavior_handler(behavior, type)->flinfo;
	replay->function_type = type;
	return replay->function;
}

static void
begin_with(Replay *replay, int64 actor, const StateSnapshot *snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(replay->contexts[0]);
	Oid type;

	take_behavior(replay, snapshot->behavior);
	replay->state = payload_datum(snapshot->state, &type, &replay->is_null);
	replay->state = upcast(replay->behavior, false, replay->state, &replay->is_null, &type);
	replay->position.seq = replay->position.snapshot_seq = snapshot->seq;
	replay->position.at = snapshot->at;
	memcpy(replay->position.hash, snapshot->hash, sizeof(snapshot->hash));
	MemoryContextSwitchTo(old);
}

/* Is it of no message, but of what the actor became when it stashed one? */
static bool
is_change_alone(const JournalEntry *entry)
{
	Oid type;
	bool is_null;

	if (!OidIsValid(entry->becomes))
		return false;
	(void) payload_datum(entry->payload, &type, &is_null);
	return type == VOIDOID;
}

static void
apply_entry(Replay *replay, const JournalEntry *entry)
{
	LOCAL_FCINFO(fcinfo, 2);
	MemoryContext old = MemoryContextSwitchTo(replay->contexts[1 - replay->current]);
	Oid type = replay->function_type;
	bool is_null;
	Datum message;
	Datum argument = MakeExpandedObjectReadOnly(replay->state, replay->is_null, replay->state_length);
	Datum result;

	/* Mostly it is for the same function as the one before. */
	if (!OidIsValid(type) || !payload_row(entry->payload, type, &message, &is_null))
	{
		message = payload_datum(entry->payload, &type, &is_null);
		message = upcast(replay->behavior, true, message, &is_null, &type);
	}
	InitFunctionCallInfoData(*fcinfo, function_for(replay, type), 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = argument;
	fcinfo->args[0].isnull = replay->is_null;
	fcinfo->args[1].value = message;
	fcinfo->args[1].isnull = is_null;
	actor_replay.sender = entry->sender;
	actor_replay.seq = entry->seq;
	actor_replay.n_timers = 0;
	result = FunctionCallInvoke(fcinfo);
	MemoryContextSwitchTo(old);
	if (fcinfo->isnull != replay->is_null || result != argument)
	{
		replay->state = result;
		replay->is_null = fcinfo->isnull;
		MemoryContextReset(replay->contexts[replay->current]);
		replay->current = 1 - replay->current;
	}
	else
		MemoryContextReset(replay->contexts[1 - replay->current]);
}

static void
run(Replay *replay, const DurableActor *actor, Oid journal, const ReplayEnd *end, uint64 visit_from,
	ReplayVisit visit, void *context)
{
	EntryScan *scan = entries_begin(journal, actor->id, replay->position.seq);
	JournalEntry entry;

	while (entries_next(scan, &entry) && entry.seq <= end->seq && entry.at <= end->at)
	{
		CHECK_FOR_INTERRUPTS();
		if (entry.seq != replay->position.seq + 1)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("entry " UINT64_FORMAT " of the journal of durable actor " INT64_FORMAT " is missing",
							replay->position.seq + 1, actor->id)));
		if (!is_change_alone(&entry))
			apply_entry(replay, &entry);
		if (OidIsValid(entry.becomes))
			take_behavior(replay, entry.becomes);
		replay->position.seq = entry.seq;
		replay->position.at = entry.at;
		replay->position.bytes += VARSIZE(entry.payload);
		if (entry.has_hash)
			memcpy(replay->position.hash, entry.hash, sizeof(entry.hash));
		if (visit != NULL && entry.seq >= visit_from)
			visit(context, &entry, replay->state, replay->is_null, replay->behavior->state_type);
	}
	entries_end(scan);
}

/*
 * replay_run
 *		The state at the end, in the current memory context; false: init has
 *		not run yet, or there is nothing so old any more.
 *
 * In a transaction with an active snapshot.  The caller has seen to the role
 * that functions shall run as, and to their search path.
 */
bool
replay_run(const DurableActor *actor, const ReplayEnd *end, uint64 visit_from,
		   ReplayVisit visit, void *context, Replayed *result)
{
	Replay replay = {0};
	StateSnapshot snapshot;
	Behavior *home;
	Oid journal;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext own;

	if (!snapshot_read(actor->id, Min(end->seq, visit_from - 1), end->at, &snapshot))
		return false;
	home = behavior_acquire(actor->behavior);
	journal = home->journal;
	behavior_release(home);
	own = AllocSetContextCreate(caller, "dlog replay", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < 2; i++)
		replay.contexts[i] = AllocSetContextCreate(own, "dlog replayed state", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(own);
	actor_replay.self = actor_ref_of_durable(actor->id);
	actor_replay.is_on = true;
	PG_TRY();
	{
		begin_with(&replay, actor->id, &snapshot);
		run(&replay, actor, journal, end, visit_from, visit, context);
		MemoryContextSwitchTo(caller);
		result->state_type = replay.behavior->state_type;
		result->behavior = replay.behavior->id;
		result->is_null = replay.is_null;
		result->state = (Datum) 0;
		if (!replay.is_null)
		{
			Size size;
			ValueType type = value_type(result->state_type);

			result->state = value_flatten(replay.state, type, false, &size);
			result->state = datumCopy(result->state, type.is_by_value, type.length);
		}
		result->position = replay.position;
	}
	PG_FINALLY();
	{
		actor_replay.is_on = false;
		if (replay.behavior != NULL)
			behavior_release(replay.behavior);
	}
	PG_END_TRY();
	MemoryContextDelete(own);
	return true;
}
