/*
 * follow.c
 *		What statements about types and functions mean for behaviors.
 *
 *		a domain is dropped		the row of the behavior goes with it
 *		something is renamed	the row's names of functions follow
 *		an attribute of a type	refused while a behavior's state or messages
 *		changes its type		contain the type: there may be values of it
 *								in mailboxes, where no table shows them
 *
 * Attributes may be added, renamed and dropped.  What is in a mailbox, or is
 * the state of an actor, is read as a row of a table is that was written
 * before: what was added is null in it.
 *
 * An upgrade of the server by pg_upgrade brings the rows along and not the
 * dependencies.  They are recorded again when the first scheduler starts.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"
#include "runtime/runtime.h"

static ProcessUtility_hook_type previous_utility;
static object_access_hook_type previous_object_access;

/* -------------------------------------------------------------------- drop */

static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *argument)
{
	if (previous_object_access)
		previous_object_access(access, class, object, sub, argument);
	if (access == OAT_DROP && class == TypeRelationId &&
		get_typtype(object) == TYPTYPE_DOMAIN && OidIsValid(behavior_relation()))
		behavior_spec_delete(object);
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

/* Whether values of a type have values of a composite type inside. */
static bool
type_contains(Oid type, Oid sought)
{
	Oid element;
	TupleDesc descriptor;
	bool result = false;

	check_stack_depth();
	type = getBaseType(type);
	if (type == sought)
		return true;
	element = get_element_type(type);
	if (OidIsValid(element))
		return type_contains(element, sought);
	element = get_range_subtype(type);
	if (OidIsValid(element))
		return type_contains(element, sought);
	if (get_typtype(type) != TYPTYPE_COMPOSITE)
		return false;
	descriptor = lookup_rowtype_tupdesc(type, -1);
	for (int i = 0; i < descriptor->natts && !result; i++)
		if (!TupleDescAttr(descriptor, i)->attisdropped)
			result = type_contains(TupleDescAttr(descriptor, i)->atttypid, sought);
	ReleaseTupleDesc(descriptor);
	return result;
}

static void
refuse_if_used(Oid type)
{
	ListCell *cell;
	ListCell *handler;

	foreach(cell, behavior_spec_list())
	{
		BehaviorSpec *spec = lfirst(cell);
		bool is_used = type_contains(spec->state, type);

		foreach(handler, spec->handlers)
			is_used = is_used || type_contains(handler_message_type(lfirst_oid(handler)), type);
		if (is_used)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot alter type \"%s\" because behavior \"%s\" uses it",
							format_type_be(type), spec->name),
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
before_alter_table(AlterTableStmt *statement)
{
	Oid relation;

	if (!alters(statement, AT_AlterColumnType))
		return;
	relation = RangeVarGetRelid(statement->relation, AccessShareLock, true);
	if (OidIsValid(relation) && OidIsValid(get_rel_type_id(relation)))
		refuse_if_used(get_rel_type_id(relation));
}

static void
after_alter_table(AlterTableStmt *statement)
{
	ListCell *cell;

	if (!alters(statement, AT_AddColumn))
		return;
	CommandCounterIncrement();
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

	if (is_of_interest && IsA(statement, AlterTableStmt))
		before_alter_table((AlterTableStmt *) statement);

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
