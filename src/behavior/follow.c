/*
 * follow.c
 *		What statements about types and functions mean for behaviors.
 *
 *		a domain is dropped		the row of the behavior goes with it
 *		something is renamed	the row's names of functions follow
 *		an attribute of a type	refused while a behavior's state or messages
 *		changes its type		contain the type, or did since the server has
 *								started: there may be values of it in
 *								mailboxes, where no table shows them
 *
 * That the attribute of one type changes can change others: those of tables
 * that inherit from its table, and of tables that are of the type.  So it is
 * looked at afterwards, when all of them are locked.  What is in journals is
 * not looked for; each value there knows its layout (layout.c).
 *
 * Attributes may be added, renamed and dropped.  What is in a mailbox, or is
 * the state of an actor, is read as a row of a table is that was written
 * before: what was added is null in it.
 *
 * An upgrade of the server by pg_upgrade brings the rows along and not the
 * dependencies.  They are recorded again when the first scheduler starts.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"
#include "runtime/runtime.h"

static ProcessUtility_hook_type previous_utility;
static object_access_hook_type previous_object_access;

/* -------------------------------------------------------------------- drop */

/*
 * Its actors end, but those that have become of another behavior may have its
 * messages yet.
 */
static void
retire_dropped(const BehaviorSpec *spec)
{
	ListCell *cell;

	foreach(cell, behavior_spec_list())
	{
		const BehaviorSpec *other = lfirst(cell);

		if (other->behavior != spec->behavior && other->state == spec->state)
		{
			behavior_spec_retire(spec);
			return;
		}
	}
}

/*
 * The dependencies of a behavior are its array type's, which is dropped before
 * the domain.
 */
static void
type_is_dropped(Oid type)
{
	Oid element = get_element_type(type);
	BehaviorSpec spec;

	if (get_typtype(type) == TYPTYPE_DOMAIN)
		behavior_spec_delete(type);
	else if (OidIsValid(element) && get_typtype(element) == TYPTYPE_DOMAIN &&
			 behavior_spec_read(element, &spec))
		retire_dropped(&spec);
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *argument)
{
	if (previous_object_access)
		previous_object_access(access, class, object, sub, argument);
	if (access == OAT_DROP && class == TypeRelationId && OidIsValid(behavior_relation()))
	{
		type_is_dropped(object);
		type_dropped_note(object);
	}
}

/* ------------------------------------------------------------------ rename */

/*
 * Let the rows have the names that the functions have now.  Names are said
 * with their schemas, which the caller's search path does not change.
 */
static void
refresh_names(void)
{
	ListCell *cell;

	foreach(cell, behavior_spec_list())
	{
		BehaviorSpec *spec = lfirst(cell);

		if (spec->handlers != NIL)
			behavior_spec_refresh_names(spec);
	}
}

/* --------------------------------------------------------- changed attribute */

/* Tables that are of a composite type. */
static List *
typed_tables(Oid type)
{
	Relation classes = table_open(RelationRelationId, AccessShareLock);
	List *tables = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_class_reloftype, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	scan = systable_beginscan(classes, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		tables = lappend_oid(tables, ((Form_pg_class) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return tables;
}

/* The row types of a relation and all that are altered with it. */
static void
add_row_types(Oid relation, List **types)
{
	ListCell *cell;
	ListCell *typed;

	check_stack_depth();
	foreach(cell, find_all_inheritors(relation, NoLock, NULL))
	{
		Oid type = get_rel_type_id(lfirst_oid(cell));

		if (!OidIsValid(type) || list_member_oid(*types, type))
			continue;
		*types = lappend_oid(*types, type);
		foreach(typed, typed_tables(type))
			add_row_types(lfirst_oid(typed), types);
	}
}

/* Of these types one that can be in a value of another one; or invalid. */
static Oid
type_contains(Oid type, List *sought)
{
	ListCell *cell;

	foreach(cell, type_composites(type))
		if (list_member_oid(sought, lfirst_oid(cell)))
			return lfirst_oid(cell);
	return InvalidOid;
}

static void
refuse_if_retired(List *types)
{
	ListCell *cell;

	foreach(cell, retired_types())
	{
		Oid type = type_contains(lfirst_oid(cell), types);

		if (OidIsValid(type))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot alter type \"%s\" because a behavior has used it", format_type_be(type)),
					 errdetail("Messages of it may wait in mailboxes until the server is restarted."),
					 errhint("Add an attribute of the new type.")));
	}
}

static void
refuse_if_used(List *types)
{
	ListCell *cell;
	ListCell *handler;

	foreach(cell, behavior_spec_list())
	{
		BehaviorSpec *spec = lfirst(cell);
		Oid used = type_contains(spec->state, types);

		foreach(handler, spec->handlers)
			if (!OidIsValid(used))
				used = type_contains(handler_message_type(lfirst_oid(handler)), types);
		if (OidIsValid(used))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot alter type \"%s\" because behavior \"%s\" uses it",
							format_type_be(used), spec->name),
					 errdetail("Its actors may have values of the type in their states and mailboxes."),
					 errhint("Add an attribute of the new type, or drop the behavior first.")));
	}
}

static bool
alters(AlterTableStmt *statement, AlterTableType what)
{
	ListCell *cell;

	foreach(cell, statement->cmds)
		if (lfirst_node(AlterTableCmd, cell)->subtype == what)
			return true;
	return false;
}

static void
after_alter_table(AlterTableStmt *statement)
{
	ListCell *cell;

	CommandCounterIncrement();
	if (alters(statement, AT_AlterColumnType))
	{
		Oid relation = RangeVarGetRelid(statement->relation, NoLock, true);
		List *types = NIL;

		if (OidIsValid(relation))
			add_row_types(relation, &types);
		refuse_if_used(types);
		refuse_if_retired(types);
	}
	if (alters(statement, AT_AddColumn))
		foreach(cell, behavior_spec_list())
			behavior_spec_check_cycle(lfirst(cell));
}

/* -------------------------------------------------------------- statements */

static bool
renames_something(Node *statement)
{
	return IsA(statement, RenameStmt) || IsA(statement, AlterObjectSchemaStmt);
}

static void
process_utility(PlannedStmt *planned, const char *text, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	Node *statement = planned->utilityStmt;
	bool is_of_interest = IsTransactionState() &&
						  (IsA(statement, AlterTableStmt) || renames_something(statement)) &&
						  OidIsValid(behavior_relation());

	if (previous_utility)
		previous_utility(planned, text, read_only_tree, context, params,
						 environment, destination, completion);
	else
		standard_ProcessUtility(planned, text, read_only_tree, context, params,
								environment, destination, completion);

	if (!is_of_interest || !OidIsValid(behavior_relation()))
		return;
	if (IsA(statement, AlterTableStmt))
		after_alter_table((AlterTableStmt *) statement);
	else
	{
		CommandCounterIncrement();
		refresh_names();
	}
}

/* ----------------------------------------------------------------- upgrade */

static void
at_scheduler_start(void)
{
	ListCell *cell;

	foreach(cell, behavior_spec_list())
	{
		BehaviorSpec *spec = lfirst(cell);

		if (spec->handlers != NIL)
			continue;
		behavior_spec_resolve_names(spec);
		behavior_spec_record_dependencies(spec);
	}
}

void
follow_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_object_access = object_access_hook;
	object_access_hook = object_access;
	runtime_register_scheduler_start(at_scheduler_start);
}
