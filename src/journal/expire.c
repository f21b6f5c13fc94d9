/*
 * expire.c
 *		What a behavior's retention means for its journal.
 *
 *		forever			nothing is dropped
 *		an interval		a partition is dropped when all of it is older
 *		snapshot		when its actors have snapshots after it
 *
 * Before a partition goes that is too old, actors that have no snapshot since
 * get one after their last entry in it; so every state after it can be made.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "journal/journal_internal.h"

DLOG_FUNCTION(dlog_expire_journal);

typedef struct OldPartition
{
	Oid relation;
	TimestampTz until; /* what is in it is older */
} OldPartition;

/* Partitions that end before this time, oldest first. */
static List *
partitions_before(Oid journal, TimestampTz time)
{
	Relation relation = table_open(journal, AccessShareLock);
	PartitionDesc descriptor = RelationGetPartitionDesc(relation, true);
	PartitionBoundInfo bounds = descriptor->boundinfo;
	List *result = NIL;

	for (int i = 0; bounds != NULL && i < bounds->ndatums; i++)
	{
		TimestampTz until = DatumGetTimestampTz(bounds->datums[i][0]);
		OldPartition *old;

		if (bounds->indexes[i] < 0 || until > time)
			continue;
		old = palloc(sizeof(OldPartition));
		old->relation = descriptor->oids[bounds->indexes[i]];
		old->until = until;
		result = lappend(result, old);
	}
	table_close(relation, NoLock);
	return result;
}

/* After this entry there is a state to begin with. */
static void
make_snapshot(int64 actor, uint64 seq)
{
	DurableActor row;
	ReplayEnd end = {.seq = seq, .at = DT_NOEND};
	Replayed result;
	StateSnapshot snapshot = {0};

	if (!durable_read(actor, &row) || !journal_replay_as_owner(&row, &end, PG_UINT64_MAX, NULL, NULL, &result))
		return;
	snapshot.seq = result.position.seq;
	snapshot.at = result.position.at;
	snapshot.behavior = result.behavior;
	snapshot.state = payload_create(result.state, value_type(result.state_type), result.is_null);
	snapshot.has_hash = true;
	memcpy(snapshot.hash, result.position.hash, sizeof(snapshot.hash));
	snapshot_write(actor, &snapshot);
}

/* Its actors with no snapshot after their last entry in it get one, if they shall; false: there are some. */
static bool
cover(Oid partition, bool makes_snapshots)
{
	StatementScope scope;
	uint64 n;

	statement_open(&scope);
	n = statement_run_typed(psprintf("SELECT actor, last FROM (SELECT actor, pg_catalog.max(seq) AS last FROM %s GROUP BY actor) e"
									 " WHERE NOT EXISTS (SELECT FROM dlog.journal_snapshot s"
									 " WHERE s.actor OPERATOR(pg_catalog.=) e.actor AND s.seq OPERATOR(pg_catalog.>=) e.last)",
									 quote_qualified_identifier("dlog", get_rel_name(partition))),
							0, NULL, NULL, NULL);
	if (makes_snapshots)
	{
		SPITupleTable *rows = SPI_tuptable;

		for (uint64 i = 0; i < n; i++)
		{
			bool is_null;

			make_snapshot(DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &is_null)),
						  DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &is_null)));
		}
	}
	statement_close(&scope);
	return makes_snapshots || n == 0;
}

static void
drop(Oid partition)
{
	StatementScope scope;

	statement_open(&scope);
	(void) statement_run_typed(psprintf("DROP TABLE %s", quote_qualified_identifier("dlog", get_rel_name(partition))),
							   0, NULL, NULL, NULL);
	statement_close(&scope);
}

/* Snapshots that only entries from before this time would need. */
static void
forget_snapshots(Oid behavior, TimestampTz before)
{
	StatementScope scope;
	Oid types[2] = {REGTYPEOID, TIMESTAMPTZOID};
	Datum values[2] = {ObjectIdGetDatum(behavior), TimestampTzGetDatum(before)};

	statement_open(&scope);
	(void) statement_run_typed("DELETE FROM dlog.journal_snapshot s USING dlog.durable_actor a"
							   " WHERE a.behavior OPERATOR(pg_catalog.=) $1 AND s.actor OPERATOR(pg_catalog.=) a.id"
							   " AND EXISTS (SELECT FROM dlog.journal_snapshot later"
							   " WHERE later.actor OPERATOR(pg_catalog.=) s.actor AND later.seq OPERATOR(pg_catalog.>) s.seq"
							   " AND later.at OPERATOR(pg_catalog.<) $2)",
							   2, types, values, NULL);
	statement_close(&scope);
}

/*
 * journal_expire
 *		Drop what need not be kept of a behavior's journal; how many partitions.
 */
int
journal_expire(Oid id)
{
	Behavior *behavior = behavior_acquire(id);
	Oid journal = behavior->journal;
	char *retention = pstrdup(behavior->retention);
	bool until_snapshot = strcmp(retention, "snapshot") == 0;
	TimestampTz before = GetCurrentTimestamp();
	TimestampTz dropped_until = 0;
	int n = 0;
	ListCell *cell;

	behavior_release(behavior);
	if (!OidIsValid(journal) || strcmp(retention, "forever") == 0)
		return 0;
	if (!until_snapshot)
		before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(before),
														 DirectFunctionCall3(interval_in, CStringGetDatum(retention),
																			 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
	foreach(cell, partitions_before(journal, before))
	{
		OldPartition *old = lfirst(cell);

		/*
		 * The long work comes first.  Batches that write into it yet, for they
		 * began before it was over, are waited for, and what they wrote counts.
		 */
		if (!cover(old->relation, !until_snapshot))
			break;
		LockRelationOid(old->relation, AccessExclusiveLock);
		if (!cover(old->relation, !until_snapshot))
			break;
		drop(old->relation);
		dropped_until = old->until;
		n++;
	}
	if (n > 0)
		forget_snapshots(id, dropped_until);
	return n;
}

/*
 * journal_expire_all
 *		Of all behaviors.
 */
int
journal_expire_all(void)
{
	StatementScope scope;
	List *behaviors = NIL;
	int n = 0;
	ListCell *cell;
	MemoryContext context = CurrentMemoryContext;

	statement_open(&scope);
	(void) statement_run_typed("SELECT behavior FROM dlog.behavior WHERE journal IS NOT NULL AND retention OPERATOR(pg_catalog.<>) 'forever'",
							   0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool is_null;
		MemoryContext old = MemoryContextSwitchTo(context);

		behaviors = lappend_oid(behaviors, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)));
		MemoryContextSwitchTo(old);
	}
	statement_close(&scope);
	foreach(cell, behaviors)
		n += journal_expire(lfirst_oid(cell));
	return n;
}

/*
 * dlog.expire_journal() -> integer
 */
Datum
dlog_expire_journal(PG_FUNCTION_ARGS)
{
	runtime_require();
	PG_RETURN_INT32(journal_expire_all());
}
