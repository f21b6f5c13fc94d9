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

#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/appendinfo.h"
#include "parser/parse_relation.h"
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

/* 16 takes the relations themselves. */
#define adjust_appendrel_attrs_to_child(root, node, child, parent) \
	adjust_appendrel_attrs_multilevel(root, node, (child)->relids, \
									  (parent)->relids)
#else
#define ForeignScanCheckAsUser(plan, estate) ((plan)->checkAsUser)

#define rte_check_as_user(query, rte) \
	(getRTEPermissionInfo((query)->rteperminfos, rte)->checkAsUser)

#define adjust_appendrel_attrs_to_child(root, node, child, parent) \
	adjust_appendrel_attrs_multilevel(root, node, child, parent)
#endif

/* --- 15 ----------------------------------------------------------------- */
#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
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
	if (class_id == TypeRelationId)
		return pg_type_aclcheck(object, role, mode);
	if (class_id == NamespaceRelationId)
		return pg_namespace_aclcheck(object, role, mode);
	Assert(class_id == ProcedureRelationId);
	return pg_proc_aclcheck(object, role, mode);
}

/* 16 can report mistakes in another way than by an ERROR. */
#define string_to_qualified_names(string) stringToQualifiedNameList(string)
#else
#include "utils/regproc.h"
#define string_to_qualified_names(string) stringToQualifiedNameList(string, NULL)
#endif

/* --- 15 and 16 ---------------------------------------------------------- */
#if PG_VERSION_NUM < 170000
/* 17 numbers processes as ProcNumber and keeps our own in MyProcNumber. */
typedef int ProcNumber;
#define GetNumberFromPGProc(proc) ((proc)->pgprocno)
#define MyProcNumber (MyProc->pgprocno)

/* 17 lets extensions name their wait events. */
#define WaitEventExtensionNew(name) PG_WAIT_EXTENSION
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
