/*
 * snapshot.c
 *		Tables that were moved after a transaction's snapshot was taken.
 *
 * distribute_table(), undistribute_table() and replicate_table() put a table's
 * rows into new tables.  A transaction under REPEATABLE READ whose snapshot is
 * older sees the new tables, as catalogs are always read anew, but none of
 * their rows.  It gets an error instead, which tells it to begin again.
 *
 * A table may be one of those if its row of pg_class is newer than the
 * snapshot, which hardly ever happens.  It is one if the row about it in our
 * catalogs is newer as well, or if the snapshot has a distributed table under
 * its name.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "optimizer/plancat.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "partition/partition_internal.h"

static get_relation_info_hook_type previous_relation_info;

/* Was the relation there, as it is now, when the snapshot was taken? */
static bool
class_is_visible(Oid relation, Snapshot snapshot)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	TransactionId made_by;

	if (!HeapTupleIsValid(tuple))
		return true;
	made_by = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return !TransactionIdIsNormal(made_by) ||
		   TransactionIdIsCurrentTransactionId(made_by) ||
		   !XidInMVCCSnapshot(made_by, snapshot);
}

/* Does the snapshot have a row about this table, in the first column? */
static bool
row_is_visible(Oid catalog, Oid table, Snapshot snapshot)
{
	Relation relation = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool is_visible;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 1, &key);
	is_visible = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return is_visible;
}

/* Had a relation this name when the snapshot was taken? */
static bool
had_name(Oid relation, const char *name, Oid schema, Snapshot snapshot)
{
	Relation classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool had = false;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	scan = systable_beginscan(classes, ClassOidIndexId, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);

		had = class->relnamespace == schema && strcmp(NameStr(class->relname), name) == 0;
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return had;
}

/* Was there a distributed table of this name when the snapshot was taken? */
static bool
was_distributed(Oid table, Snapshot snapshot)
{
	const char *name = get_rel_name(table);
	Oid catalog = distributed_table_relation();
	Oid schema = get_rel_namespace(table);
	Relation relation;
	SysScanDesc scan;
	HeapTuple tuple;
	bool was = false;

	if (name == NULL || !OidIsValid(catalog))
		return false;
	relation = table_open(catalog, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 0, NULL);
	while (!was && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool is_null;
		Oid other = DatumGetObjectId(heap_getattr(tuple, Anum_distributed_table_relation,
												  RelationGetDescr(relation), &is_null));

		was = other != table && had_name(other, name, schema, snapshot);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return was;
}

static bool
was_moved(Oid relation, Snapshot snapshot)
{
	Oid table = distributed_parent(relation);

	if (!OidIsValid(table))
		table = relation;
	if (partition_is_distributed(table))
		return !row_is_visible(distributed_table_relation(), table, snapshot);
	if (partition_is_replicated(table))
		return !row_is_visible(replicated_table_relation(), table, snapshot);
	return was_distributed(table, snapshot);
}

/*
 * partition_check_snapshot
 *		ERROR if this transaction's snapshot has none of the relation's rows,
 *		since they were moved after it was taken.
 */
void
partition_check_snapshot(Oid relation)
{
	Snapshot snapshot;

	if (!IsolationUsesXactSnapshot() || relation < FirstNormalObjectId)
		return;
	snapshot = GetTransactionSnapshot();
	if (class_is_visible(relation, snapshot) || !was_moved(relation, snapshot))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access to table \"%s\"", get_rel_name(relation)),
			 errdetail("Its rows were moved between nodes after this transaction's snapshot had been taken."),
			 errhint("The transaction might succeed if retried.")));
}

/*
 * partition_check_copied
 *		The same for COPY table TO, which nobody plans.
 */
void
partition_check_copied(const CopyStmt *copy)
{
	Oid relation;

	if (!IsolationUsesXactSnapshot() || copy->relation == NULL || copy->is_from)
		return;
	relation = RangeVarGetRelid(copy->relation, AccessShareLock, true);
	if (OidIsValid(relation))
		partition_check_snapshot(relation);
}

static void
check_relation_info(PlannerInfo *root, Oid relation, bool is_parent, RelOptInfo *rel)
{
	if (previous_relation_info)
		previous_relation_info(root, relation, is_parent, rel);
	partition_check_snapshot(relation);
}

void
snapshot_init(void)
{
	previous_relation_info = get_relation_info_hook;
	get_relation_info_hook = check_relation_info;
}
