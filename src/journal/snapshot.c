/*
 * snapshot.c
 *		Rows of dlog.journal_snapshot: states after some entry.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/pg_compat.h"
#include "journal/journal_internal.h"

#define Natts_snapshot 6
#define Anum_snapshot_actor 1
#define Anum_snapshot_seq 2
#define Anum_snapshot_at 3
#define Anum_snapshot_behavior 4
#define Anum_snapshot_state 5
#define Anum_snapshot_hash 6

/*
 * snapshot_write
 *		Keep this state; there is none after the same entry.
 */
void
snapshot_write(int64 actor, const StateSnapshot *snapshot)
{
	Relation relation = table_open(journal_table(TABLE_SNAPSHOT), RowExclusiveLock);
	Datum values[Natts_snapshot];
	bool nulls[Natts_snapshot] = {false};
	bytea *hash = palloc(VARHDRSZ + sizeof(snapshot->hash));

	SET_VARSIZE(hash, VARHDRSZ + sizeof(snapshot->hash));
	memcpy(VARDATA(hash), snapshot->hash, sizeof(snapshot->hash));
	values[Anum_snapshot_actor - 1] = Int64GetDatum(actor);
	values[Anum_snapshot_seq - 1] = Int64GetDatum((int64) snapshot->seq);
	values[Anum_snapshot_at - 1] = TimestampTzGetDatum(snapshot->at);
	values[Anum_snapshot_behavior - 1] = ObjectIdGetDatum(snapshot->behavior);
	values[Anum_snapshot_state - 1] = PointerGetDatum(snapshot->state);
	values[Anum_snapshot_hash - 1] = PointerGetDatum(hash);
	nulls[Anum_snapshot_hash - 1] = !snapshot->has_hash;
	CatalogTupleInsert(relation, heap_form_tuple(RelationGetDescr(relation), values, nulls));
	table_close(relation, RowExclusiveLock);
}

static void
read_tuple(Relation relation, HeapTuple tuple, StateSnapshot *snapshot)
{
	Datum values[Natts_snapshot];
	bool nulls[Natts_snapshot];

	heap_deform_tuple(tuple, RelationGetDescr(relation), values, nulls);
	snapshot->seq = DatumGetInt64(values[Anum_snapshot_seq - 1]);
	snapshot->at = DatumGetTimestampTz(values[Anum_snapshot_at - 1]);
	snapshot->behavior = DatumGetObjectId(values[Anum_snapshot_behavior - 1]);
	snapshot->state = PG_DETOAST_DATUM_COPY(values[Anum_snapshot_state - 1]);
	snapshot->has_hash = !nulls[Anum_snapshot_hash - 1];
	memset(snapshot->hash, 0, sizeof(snapshot->hash));
	if (snapshot->has_hash)
		memcpy(snapshot->hash, VARDATA_ANY(DatumGetByteaPP(values[Anum_snapshot_hash - 1])), sizeof(snapshot->hash));
}

/*
 * snapshot_read
 *		The last one that is not after this entry, nor after this time; false:
 *		there is none.
 */
bool
snapshot_read(int64 actor, uint64 highest, TimestampTz latest, StateSnapshot *snapshot)
{
	Relation relation = table_open(journal_table(TABLE_SNAPSHOT), AccessShareLock);
	Relation index = index_open(linitial_oid(RelationGetIndexList(relation)), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;
	bool is_found = false;

	ScanKeyInit(&keys[0], Anum_snapshot_actor, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(actor));
	ScanKeyInit(&keys[1], Anum_snapshot_seq, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum((int64) Min(highest, (uint64) PG_INT64_MAX)));
	scan = systable_beginscan_ordered(relation, index, GetActiveSnapshot(), 2, keys);
	while (!is_found && HeapTupleIsValid(tuple = systable_getnext_ordered(scan, BackwardScanDirection)))
	{
		read_tuple(relation, tuple, snapshot);
		is_found = snapshot->at <= latest;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
	return is_found;
}

/*
 * snapshot_first
 *		The oldest one; false: there is none.
 */
bool
snapshot_first(int64 actor, StateSnapshot *snapshot)
{
	Relation relation = table_open(journal_table(TABLE_SNAPSHOT), AccessShareLock);
	Relation index = index_open(linitial_oid(RelationGetIndexList(relation)), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_snapshot_actor, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(actor));
	scan = systable_beginscan_ordered(relation, index, GetActiveSnapshot(), 1, &key);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
		read_tuple(relation, tuple, snapshot);
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
	return HeapTupleIsValid(tuple);
}
