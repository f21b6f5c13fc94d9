/*
 * pg_compat.h
 *		The one place that knows server versions (15 to 18).
 *
 * Offers the newest server's shape of a call to all code.  Grouped by the
 * version that will one day be dropped.
 */
#ifndef DLOG_PG_COMPAT_H
#define DLOG_PG_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "dlog supports PostgreSQL 15 to 18"
#endif

#include "access/attmap.h"
#include "commands/vacuum.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/appendinfo.h"
#include "parser/parse_relation.h"
#include "partitioning/partprune.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

/* --- 15 ------------------------------------------------------------------ */
#if PG_VERSION_NUM < 160000
/*
 * 16 moved the role that a relation is accessed as from its range table entry
 * into RTEPermissionInfo, and copies it into ForeignScan.
 */
static inline Oid
ForeignScanCheckAsUser(ForeignScan *plan, EState *estate)
{
	return exec_rt_fetch(plan->scan.scanrelid, estate)->checkAsUser;
}

static inline Oid
ExecGetResultRelCheckAsUser(ResultRelInfo *rinfo, EState *estate)
{
	Index rti = rinfo->ri_RangeTableIndex;
	Oid role = InvalidOid;

	/* A partition that rows are routed to is accessed as its root. */
	if (rti == 0 && rinfo->ri_RootResultRelInfo != NULL)
		rti = rinfo->ri_RootResultRelInfo->ri_RangeTableIndex;
	if (rti != 0)
		role = exec_rt_fetch(rti, estate)->checkAsUser;
	return OidIsValid(role) ? role : GetUserId();
}

/* 16 makes the map from the root's rows when it is asked for it. */
#define ExecGetRootToChildMap(rinfo, estate) ((rinfo)->ri_RootToPartitionMap)

#define rte_check_as_user(query, rte) ((rte)->checkAsUser)
#define rte_has_no_permissions(rte) ((rte)->requiredPerms == 0)
#define forced_parallel_mode() force_parallel_mode

/* 16 can leave out columns that are missing. */
#define attribute_map(to, from) build_attrmap_by_name_if_req(to, from)

/* 16 takes the relations themselves. */
#define adjust_appendrel_attrs_to_child(root, node, child, parent) \
	adjust_appendrel_attrs_multilevel(root, node, (child)->relids, \
									  (parent)->relids)
#else
#define ForeignScanCheckAsUser(plan, estate) ((plan)->checkAsUser)

#define attribute_map(to, from) build_attrmap_by_name_if_req(to, from, false)

#define rte_check_as_user(query, rte) \
	(getRTEPermissionInfo((query)->rteperminfos, rte)->checkAsUser)
#define rte_has_no_permissions(rte) ((rte)->perminfoindex == 0)
#define forced_parallel_mode() debug_parallel_query

#define adjust_appendrel_attrs_to_child(root, node, child, parent) \
	adjust_appendrel_attrs_multilevel(root, node, child, parent)
#endif

/* --- 15 ----------------------------------------------------------------- */
#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/regproc.h"

/* 16 has one ownership check for all classes of objects. */
static inline bool
object_ownercheck(Oid class_id, Oid object, Oid role)
{
	if (class_id == DatabaseRelationId)
		return pg_database_ownercheck(object, role);
	if (class_id == TypeRelationId)
		return pg_type_ownercheck(object, role);
	Assert(class_id == RelationRelationId);
	return pg_class_ownercheck(object, role);
}

/* And one check of privileges. */
static inline AclResult
object_aclcheck(Oid class_id, Oid object, Oid role, AclMode mode)
{
	if (class_id == DatabaseRelationId)
		return pg_database_aclcheck(object, role, mode);
	if (class_id == TypeRelationId)
		return pg_type_aclcheck(object, role, mode);
	if (class_id == NamespaceRelationId)
		return pg_namespace_aclcheck(object, role, mode);
	if (class_id == ForeignServerRelationId)
		return pg_foreign_server_aclcheck(object, role, mode);
	Assert(class_id == ProcedureRelationId);
	return pg_proc_aclcheck(object, role, mode);
}

/* 16 tells who may become a role from who has its rights. */
#define check_can_set_role(member, role) check_is_member_of_role(member, role)

/* 16 can report mistakes in another way than by an ERROR. */
#define string_to_qualified_names(string) stringToQualifiedNameList(string)
#define parse_type_string(string, type, modifier) parseTypeString(string, type, modifier, false)

/* 16 takes the table of an index. */
#define bt_search_to_insert(index, table, key, buffer) _bt_search(index, key, buffer, BT_WRITE, NULL)

/* 16 has indexes that only summarize. */
#define exec_insert_index_tuples(relation, slot, estate) \
	ExecInsertIndexTuples(relation, slot, estate, false, false, NULL, NIL)
#else
#include "utils/regproc.h"
#define string_to_qualified_names(string) stringToQualifiedNameList(string, NULL)
#define parse_type_string(string, type, modifier) parseTypeString(string, type, modifier, NULL)
#define exec_insert_index_tuples(relation, slot, estate) \
	ExecInsertIndexTuples(relation, slot, estate, false, false, NULL, NIL, false)

/* Before, this was in postgres.h. */
#include "varatt.h"
#endif

/* --- 15 and 16 ---------------------------------------------------------- */
#if PG_VERSION_NUM < 170000
/* 17 numbers processes as ProcNumber and keeps our own in MyProcNumber. */
typedef int ProcNumber;
#define GetNumberFromPGProc(proc) ((proc)->pgprocno)
#define MyProcNumber (MyProc->pgprocno)

/* 17 gives what limits a window to the path, and keeps it with the function. */
#define window_run_conditions(window) list_copy((window)->runCondition)
#define window_function_is_limited(function) false
#define windowagg_path(root, rel, path, target, functions, window, qual, is_top) \
	(Path *) create_windowagg_path(root, rel, path, target, functions, window, qual, is_top)

/* 17 lets extensions name their wait events. */
#define WaitEventExtensionNew(name) PG_WAIT_EXTENSION

/* 17 needs no snapshot to find a leaf. */
#if PG_VERSION_NUM >= 160000
#define bt_search_to_insert(index, table, key, buffer) _bt_search(index, table, key, buffer, BT_WRITE, NULL)
#endif

/* 17 wants to know what of a pushed down join's conditions the path checks. */
#define foreign_scan_path(root, rel, rows, startup_cost, total_cost, required_outer) \
	create_foreignscan_path(root, rel, NULL, rows, startup_cost, total_cost, NIL, \
							required_outer, NULL, NIL)
#else
#define bt_search_to_insert(index, table, key, buffer) _bt_search(index, table, key, buffer, BT_WRITE)

/* A function that is limited does not travel. */
#define window_run_conditions(window) NIL
#define window_function_is_limited(function) ((function)->runCondition != NIL)
#define windowagg_path(root, rel, path, target, functions, window, qual, is_top) \
	(Path *) create_windowagg_path(root, rel, path, target, functions, NIL, window, qual, is_top)
#endif

#if PG_VERSION_NUM < 170000
#elif PG_VERSION_NUM < 180000
#define foreign_scan_path(root, rel, rows, startup_cost, total_cost, required_outer) \
	create_foreignscan_path(root, rel, NULL, rows, startup_cost, total_cost, NIL, \
							required_outer, NULL, NIL, NIL)
#else
/* 18 counts what enable_... settings would rather not have. */
#define foreign_scan_path(root, rel, rows, startup_cost, total_cost, required_outer) \
	create_foreignscan_path(root, rel, NULL, rows, 0, startup_cost, total_cost, NIL, \
							required_outer, NULL, NIL, NIL)
#endif

/* --- 15 to 17 ------------------------------------------------------------ */
#if PG_VERSION_NUM < 180000
/* 18 says so before the function's type. */
#define pg_noreturn __attribute__((noreturn))

/* 18 orders in terms that belong to no access method. */
#define pathkey_operator(key, type) \
	get_opfamily_member((key)->pk_opfamily, type, type, (key)->pk_strategy)

/* 18 can look for deferrable ones, too. */
#define relation_primary_key(relation) RelationGetPrimaryKeyIndex(relation)

/* 18 tells ANALYZE and VACUUM apart. */
#define analyze_delay_point() vacuum_delay_point()

/* 18 no longer asks whether it is called once. */
#define portal_run(portal, count, is_top_level, dest, completion) \
	PortalRun(portal, count, is_top_level, true, dest, None_Receiver, completion)
#define executor_run(desc) ExecutorRun(desc, ForwardScanDirection, 0, true)

/* 18 has columns of OLD and NEW, too. */
#define range_table_columns(rte, relid, names, columns) \
	expandRTE(rte, relid, 0, -1, false, names, columns)

/* 18 counts what a scan of an index does. */
#define index_scan_begin(table, index, snapshot, n_keys) \
	index_beginscan(table, index, snapshot, n_keys, 0)

/* 18 says that bytes are no characters. */
#define base64_encode(bytes, size, text, room) pg_b64_encode(bytes, size, text, room)
#define base64_decode(text, length, bytes, room) pg_b64_decode(text, length, bytes, room)

/* 18 keeps what prunes partitions in a list of the whole plan. */
#define partition_prune_info(root, rel, paths, quals) \
	make_partition_pruneinfo(root, rel, paths, quals)
#define partition_prune_init(planstate, n_subplans, info, valid) \
	ExecInitPartitionPruning(planstate, n_subplans, info, valid)
#define partition_prune_now(state) ExecFindMatchingSubPlans(state, false)
#else
#include "commands/explain.h"
#include "commands/explain_format.h"
#include "commands/explain_state.h"

#define pathkey_operator(key, type) \
	get_opfamily_member_for_cmptype((key)->pk_opfamily, type, type, (key)->pk_cmptype)
#define relation_primary_key(relation) RelationGetPrimaryKeyIndex(relation, false)
#define analyze_delay_point() vacuum_delay_point(true)
#define portal_run(portal, count, is_top_level, dest, completion) \
	PortalRun(portal, count, is_top_level, dest, None_Receiver, completion)
#define executor_run(desc) ExecutorRun(desc, ForwardScanDirection, 0)
#define range_table_columns(rte, relid, names, columns) \
	expandRTE(rte, relid, 0, VAR_RETURNING_DEFAULT, -1, false, names, columns)
#define index_scan_begin(table, index, snapshot, n_keys) \
	index_beginscan(table, index, snapshot, NULL, n_keys, 0)
#define base64_encode(bytes, size, text, room) pg_b64_encode((const uint8 *) (bytes), size, text, room)
#define base64_decode(text, length, bytes, room) pg_b64_decode(text, length, (uint8 *) (bytes), room)

static inline PartitionPruneInfo *
partition_prune_info(PlannerInfo *root, RelOptInfo *rel, List *paths, List *quals)
{
	int number = make_partition_pruneinfo(root, rel, paths, quals);

	return number < 0 ? NULL : list_nth_node(PartitionPruneInfo, root->partPruneInfos, number);
}

/*
 * The plan's list is made for the server's own nodes.  A custom scan brings
 * what it has of its own, which for this moment is all that there is.
 */
static inline PartitionPruneState *
partition_prune_init(PlanState *planstate, int n_subplans, PartitionPruneInfo *info,
					 Bitmapset **valid)
{
	EState *estate = planstate->state;
	List *infos = estate->es_part_prune_infos;
	List *states = estate->es_part_prune_states;
	List *results = estate->es_part_prune_results;
	PartitionPruneState *state;

	estate->es_part_prune_infos = list_make1(info);
	estate->es_part_prune_states = NIL;
	estate->es_part_prune_results = NIL;
	ExecDoInitialPruning(estate);
	state = ExecInitPartitionExecPruning(planstate, n_subplans, 0, info->relids, valid);
	estate->es_part_prune_infos = infos;
	estate->es_part_prune_states = states;
	estate->es_part_prune_results = results;
	return state;
}

#define partition_prune_now(state) ExecFindMatchingSubPlans(state, false, NULL)
#endif

/* --- 15 ----------------------------------------------------------------- */
#if PG_VERSION_NUM < 160000
/* 16 has find_option() instead of the array of all settings. */
#include "utils/guc_tables.h"
static inline GucSource
guc_source(const char *name)
{
	struct config_generic **all = get_guc_variables();
	int n = GetNumConfigOptions();
	int i;

	for (i = 0; i < n; i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i]->source;
	return PGC_S_OVERRIDE;
}
#else
#include "utils/guc_tables.h"
static inline GucSource
guc_source(const char *name)
{
	return find_option(name, false, false, ERROR)->source;
}
#endif

#endif
