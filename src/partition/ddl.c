/*
 * ddl.c
 *		Keeps the nodes' definitions of distributed tables the same.
 *
 * Every utility statement passes through process_utility().  One that
 * changes a distributed table, or a replicated one, is *carried*: it runs here first, and then in
 * the same transaction on all other nodes.  What cannot be carried is
 * refused.  dlog.propagate_ddl = off turns both off; the scripts that nodes
 * send to each other run so.
 *
 * How a statement is carried depends on what its text means elsewhere:
 *
 *		text		ALTER TABLE and others that name one table.  It runs
 *					with the table's schema in front of the search_path, so
 *					that it finds the same table.
 *		rebuilt		GRANT, DROP POLICY and others that name several objects,
 *					of which only those of distributed tables exist elsewhere.
 *		made anew	CREATE INDEX and CREATE STATISTICS choose names by what is
 *					there, so what they made is read from the catalogs.
 *
 * A table can also be dropped, or lose a part, by a cascade from something
 * else.  Only object_access() sees that: it notes what is lost while a
 * statement runs.  When the statement has ended, tables that were dropped
 * are dropped elsewhere, and it is an error if a table lost a part that the
 * statement does not carry.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_shdepend.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "partition/partition_internal.h"
#include "remote/remote.h"

/* Something of a distributed table that was dropped. */
typedef struct LostPart
{
	Oid table;
	char *description;
} LostPart;

/* A utility statement under way. */
typedef struct Statement
{
	struct Statement *outer;
	MemoryContext context; /* of what is noted about it */
	List *others;		   /* oids of the relations it names that are not ours */
	List *carried;		   /* oids of the tables whose change it carries */
	List *dropped;		   /* names of distributed tables, for DROP TABLE */
	List *dropped_oids;
	List *lost; /* of LostPart */
	DropBehavior behavior;
	StringInfoData elsewhere; /* to run on the other nodes afterwards */
	StringInfoData here;	  /* to run here afterwards */
	Oid made_on;			  /* table that gets a new index or statistics */
	List *known;			  /* those that it had */
} Statement;

static ProcessUtility_hook_type previous_utility;
static object_access_hook_type previous_object_access;

/* The innermost statement whose losses are noted. */
static Statement *watching;

/* ---------------------------------------------------------------- finding */

/* Is this a table whose definition is the same on all nodes? */
static bool
is_kept_alike(Oid table)
{
	return partition_is_distributed(table) || partition_is_replicated(table);
}

/* All of them. */
static List *
tables_kept_alike(void)
{
	return list_concat(distributed_table_list(), replicated_table_list());
}

static const char *
kind_of_table(Oid table)
{
	return partition_is_replicated(table) ? "replicated" : "distributed";
}

/*
 * The distributed table that a relation is, or is a part of: a partition, or
 * an index of either.
 */
static Oid
find_table(Oid relation, bool *is_partition)
{
	Oid table = relation;
	char kind;

	*is_partition = false;
	if (!OidIsValid(relation))
		return InvalidOid;
	kind = get_rel_relkind(relation);
	if (kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX)
		table = IndexGetRelation(relation, true);
	if (!OidIsValid(table))
		return InvalidOid;
	if (is_kept_alike(table))
		return table;
	*is_partition = true;
	return distributed_parent(table);
}

/* The same for a relation that a statement names. */
static Oid
find_named(Statement *statement, Oid relation, bool *is_partition)
{
	Oid table = find_table(relation, is_partition);

	if (OidIsValid(relation) && !OidIsValid(table))
		statement->others = lappend_oid(statement->others, relation);
	return table;
}

static Oid
find_range(Statement *statement, const RangeVar *range, bool *is_partition)
{
	return find_named(statement, range != NULL ? RangeVarGetRelid(range, NoLock, true) : InvalidOid,
					  is_partition);
}

/* The same for a list of names, of which the last "omit" are not its own. */
static Oid
find_names(Statement *statement, List *names, int omit, bool *is_partition)
{
	List *own = list_copy_head(names, list_length(names) - omit);

	*is_partition = false;
	if (own == NIL || list_length(own) > 3)
		return InvalidOid;
	return find_range(statement, makeRangeVarFromNameList(own), is_partition);
}

static Oid
table_of_policy(Oid policy)
{
	Relation relation = table_open(PolicyRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid table = InvalidOid;

	ScanKeyInit(&key, Anum_pg_policy_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(policy));
	scan = systable_beginscan(relation, PolicyOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		table = ((Form_pg_policy) GETSTRUCT(tuple))->polrelid;
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return table;
}

static char *
qualified_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
									  get_rel_name(relation));
}

static void
refuse(Oid table, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s %s table \"%s\"", what, kind_of_table(table), get_rel_name(table)),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* For what a table must be an ordinary one to get. */
static void
refuse_alteration(Oid table, const char *what)
{
	refuse(table, what,
		   partition_is_replicated(table) ?
			   "dlog.unreplicate_table() makes it an ordinary table, which can be changed and replicated again." :
			   "dlog.undistribute_table() makes it an ordinary table, which can be changed and distributed again.");
}

static void
refuse_partition(Oid table, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s one partition of distributed table \"%s\"",
					what, get_rel_name(table)),
			 errhint("Change the table itself.")));
}

/* ---------------------------------------------------------------- carrying */

/*
 * Before a statement that changes a table is run: nobody else changes it,
 * and all nodes are there.
 */
static void
carry(Statement *statement, Oid table)
{
	if (list_member_oid(statement->carried, table))
		return;
	if (remote_is_executing())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change %s table \"%s\" in a statement that another node sent",
						kind_of_table(table), get_rel_name(table)),
				 errhint("Run the statement on one node; it changes the table on all of them.")));
	everywhere_require();
	if (partition_is_replicated(table))
		replicated_table_require_copies(table);
	everywhere_lock(get_namespace_name(get_rel_namespace(table)), get_rel_name(table));
	statement->carried = lappend_oid(statement->carried, table);
}

/* Carry the text of a statement that names this table and no other. */
static void
carry_text(Statement *statement, Oid table, const PlannedStmt *planned, const char *query)
{
	const char *path = GetConfigOption("search_path", false, false);
	int start = Max(planned->stmt_location, 0);
	int length = planned->stmt_len > 0 ? planned->stmt_len : strlen(query + start);

	carry(statement, table);
	appendStringInfo(&statement->elsewhere,
					 "SET LOCAL search_path = %s%s%s, pg_temp;\n%.*s;\n"
					 "SET LOCAL search_path = pg_catalog;\n",
					 quote_identifier(get_namespace_name(get_rel_namespace(table))),
					 path[0] != '\0' ? ", " : "", path, length, query + start);
}

static void
carry_owner(Statement *statement, Oid table, const RoleSpec *role)
{
	const char *owner = quote_identifier(get_rolespec_name(role));
	ListCell *cell;

	foreach(cell, find_inheritance_children(table, NoLock))
	{
		char *change = psprintf("ALTER TABLE %s OWNER TO %s;\n",
								qualified_name(lfirst_oid(cell)), owner);

		appendStringInfoString(&statement->here, change);
		appendStringInfoString(&statement->elsewhere, change);
	}
}

/* Constraints that a new column may bring along. */
static void
check_new_column(Oid table, const ColumnDef *column)
{
	ListCell *cell;

	foreach(cell, column->constraints)
	{
		Constraint *constraint = lfirst_node(Constraint, cell);

		switch (constraint->contype)
		{
			case CONSTR_PRIMARY:
			case CONSTR_UNIQUE:
			case CONSTR_EXCLUSION:
			case CONSTR_FOREIGN:
			case CONSTR_IDENTITY:
				refuse_alteration(table, "add a column with a key, a reference or an identity to");
				break;
			default:
				break;
		}
	}
}

/* The name of a table's primary key, as a list of C strings. */
static List *
primary_key_name(Oid table)
{
	Relation relation = table_open(table, AccessShareLock);
	Oid key = relation_primary_key(relation);

	table_close(relation, AccessShareLock);
	return OidIsValid(key) ? list_make1(get_rel_name(key)) : NIL;
}

/*
 * Which parts of ALTER TABLE are carried.  What is not listed is refused, so
 * that what a later server adds is refused until it has been thought about.
 */
static void
check_alteration(Oid table, const AlterTableCmd *command)
{
	switch (command->subtype)
	{
		case AT_AddColumn:
			check_new_column(table, castNode(ColumnDef, command->def));
			break;
		case AT_AddConstraint:
			if (castNode(Constraint, command->def)->contype != CONSTR_CHECK &&
				!(partition_is_replicated(table) &&
				  castNode(Constraint, command->def)->contype == CONSTR_UNIQUE))
				refuse_alteration(table, "add a constraint other than CHECK to");
			break;
		case AT_DropConstraint:
		{
			pg_uuid_t colocation;
			List *keys = NIL;
			ListCell *cell;

			if (partition_is_replicated(table))
				keys = primary_key_name(table);
			else
				distributed_table_read(table, &colocation, &keys);
			foreach(cell, keys)
				if (strcmp(lfirst(cell), command->name) == 0)
					refuse_alteration(table, "drop a key of");
		}
		break;
		case AT_DropColumn:
		case AT_ColumnDefault:
		case AT_SetNotNull:
		case AT_DropNotNull:
		case AT_AlterColumnType:
		case AT_DropExpression:
		case AT_ValidateConstraint:
		case AT_AlterConstraint:
		case AT_SetStatistics:
		case AT_SetStorage:
		case AT_SetCompression:
		case AT_SetOptions:
		case AT_ResetOptions:
		case AT_ChangeOwner:
		case AT_EnableRowSecurity:
		case AT_DisableRowSecurity:
		case AT_ForceRowSecurity:
		case AT_NoForceRowSecurity:
			break;
		case AT_AttachPartition:
			refuse_alteration(table, "attach a partition to");
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			refuse_alteration(table, "detach a partition from");
			break;
		default:
			refuse_alteration(table, "make this change to");
	}
}

/* What tunes the storage of one partition concerns its node alone. */
static bool
is_local_alteration(const AlterTableCmd *command)
{
	switch (command->subtype)
	{
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
		case AT_ReplaceRelOptions:
		case AT_ReplicaIdentity:
		case AT_SetTableSpace:
		case AT_SetStatistics:
		case AT_ClusterOn:
		case AT_DropCluster:
			return true;
		default:
			return false;
	}
}

static void
prepare_alter_table(Statement *statement, const AlterTableStmt *alter,
					const PlannedStmt *planned, const char *query)
{
	bool is_partition;
	Oid table = find_range(statement, alter->relation, &is_partition);
	ListCell *cell;

	foreach(cell, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		/* Somebody else's table may not take ours as a partition. */
		if (command->subtype == AT_AttachPartition && alter->objtype == OBJECT_TABLE)
		{
			bool is_ours;
			Oid attached = find_range(statement, castNode(PartitionCmd, command->def)->name, &is_ours);

			if (OidIsValid(attached))
				refuse(attached, "attach", NULL);
		}
		if (!OidIsValid(table))
			continue;
		if (alter->objtype == OBJECT_INDEX)
		{
			if (command->subtype == AT_AttachPartition)
				refuse(table, "attach an index of a partition to an index of", NULL);
		}
		else if (!is_partition)
			check_alteration(table, command);
		else if (!is_local_alteration(command))
			refuse_partition(table, "change");
	}
	if (!OidIsValid(table) || is_partition || alter->objtype == OBJECT_INDEX)
		return;

	carry_text(statement, table, planned, query);
	foreach(cell, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (command->subtype == AT_ChangeOwner)
			carry_owner(statement, table, command->newowner);
	}
}

static void
prepare_rename(Statement *statement, const RenameStmt *rename,
			   const PlannedStmt *planned, const char *query)
{
	bool is_partition;
	Oid table;
	ListCell *cell;

	if (rename->renameType == OBJECT_SCHEMA)
	{
		Oid schema = get_namespace_oid(rename->subname, true);

		foreach(cell, tables_kept_alike())
			if (get_rel_namespace(lfirst_oid(cell)) == schema)
				refuse_alteration(lfirst_oid(cell), "rename the schema of");
		return;
	}
	table = find_range(statement, rename->relation, &is_partition);
	if (!OidIsValid(table))
		return;
	if (is_partition)
		refuse_partition(table, "rename");
	carry_text(statement, table, planned, query);
}

static void
prepare_index(Statement *statement, const IndexStmt *index)
{
	bool is_partition;
	Oid table = find_range(statement, index->relation, &is_partition);
	Relation relation;

	/* An index of one partition is its node's affair. */
	if (!OidIsValid(table) || is_partition)
		return;
	if ((index->unique || index->primary || index->isconstraint) && !partition_is_replicated(table))
		refuse_alteration(table, "create a unique index on");
	if (index->excludeOpNames != NIL)
		refuse(table, "create an exclusion constraint on", NULL);
	if (!index->relation->inh && !partition_is_replicated(table))
		refuse(table, "create an index on ONLY", NULL);
	carry(statement, table);
	statement->made_on = table;
	relation = table_open(table, AccessShareLock);
	statement->known = list_copy(RelationGetIndexList(relation));
	table_close(relation, AccessShareLock);
}

static void
prepare_statistics(Statement *statement, const CreateStatsStmt *create)
{
	bool is_partition;
	Oid table = InvalidOid;
	Relation relation;

	if (list_length(create->relations) == 1 && IsA(linitial(create->relations), RangeVar))
		table = find_range(statement, linitial_node(RangeVar, create->relations), &is_partition);
	if (!OidIsValid(table) || is_partition)
		return;
	carry(statement, table);
	statement->made_on = table;
	relation = table_open(table, AccessShareLock);
	statement->known = list_copy(RelationGetStatExtList(relation));
	table_close(relation, AccessShareLock);
}

static char *
role_name(const RoleSpec *role)
{
	if (role->roletype == ROLESPEC_PUBLIC)
		return "PUBLIC";
	return (char *) quote_identifier(get_rolespec_name(role));
}

static void
append_names(StringInfo text, List *names)
{
	ListCell *cell;

	foreach(cell, names)
		appendStringInfo(text, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 (char *) lfirst(cell));
}

static void
append_privileges(StringInfo text, List *privileges)
{
	ListCell *cell;

	if (privileges == NIL)
		appendStringInfoString(text, "ALL");
	foreach(cell, privileges)
	{
		AccessPriv *privilege = lfirst_node(AccessPriv, cell);
		ListCell *column;

		appendStringInfo(text, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 privilege->priv_name != NULL ? privilege->priv_name : "ALL");
		foreach(column, privilege->cols)
			appendStringInfo(text, "%s%s%s", foreach_current_index(column) > 0 ? ", " : " (",
							 quote_identifier(strVal(lfirst(column))),
							 lnext(privilege->cols, column) == NULL ? ")" : "");
	}
}

static List *
granted_relations(Statement *statement, const GrantStmt *grant)
{
	List *relations = NIL;
	ListCell *cell;
	bool is_partition;

	if (grant->objtype != OBJECT_TABLE)
		return NIL;
	if (grant->targtype == ACL_TARGET_OBJECT)
	{
		foreach(cell, grant->objects)
		{
			Oid relation = RangeVarGetRelid(lfirst_node(RangeVar, cell), NoLock, true);

			if (OidIsValid(find_named(statement, relation, &is_partition)))
				relations = lappend_oid(relations, relation);
		}
	}
	else if (grant->targtype == ACL_TARGET_ALL_IN_SCHEMA)
	{
		foreach(cell, tables_kept_alike())
		{
			Oid table = lfirst_oid(cell);
			const char *schema = get_namespace_name(get_rel_namespace(table));
			ListCell *name;

			foreach(name, grant->objects)
				if (strcmp(strVal(lfirst(name)), schema) == 0)
					relations = list_concat(lappend_oid(relations, table),
											find_inheritance_children(table, NoLock));
		}
	}
	return relations;
}

static void
prepare_grant(Statement *statement, const GrantStmt *grant)
{
	List *relations = granted_relations(statement, grant);
	List *names = NIL;
	List *roles = NIL;
	StringInfo text = &statement->elsewhere;
	ListCell *cell;
	bool is_partition;

	if (relations == NIL)
		return;
	foreach(cell, relations)
	{
		carry(statement, find_table(lfirst_oid(cell), &is_partition));
		names = lappend(names, qualified_name(lfirst_oid(cell)));
	}
	foreach(cell, grant->grantees)
		roles = lappend(roles, role_name(lfirst_node(RoleSpec, cell)));

	appendStringInfoString(text, grant->is_grant	 ? "GRANT " :
								 grant->grant_option ? "REVOKE GRANT OPTION FOR " :
													   "REVOKE ");
	append_privileges(text, grant->privileges);
	appendStringInfoString(text, " ON TABLE ");
	append_names(text, names);
	appendStringInfoString(text, grant->is_grant ? " TO " : " FROM ");
	append_names(text, roles);
	if (grant->is_grant && grant->grant_option)
		appendStringInfoString(text, " WITH GRANT OPTION");
	if (grant->grantor != NULL)
		appendStringInfo(text, " GRANTED BY %s", role_name(grant->grantor));
	if (!grant->is_grant && grant->behavior == DROP_CASCADE)
		appendStringInfoString(text, " CASCADE");
	appendStringInfoString(text, ";\n");
}

/* COMMENT and SECURITY LABEL; partitions may be described on each node. */
static void
prepare_description(Statement *statement, ObjectType type, Node *object,
					const PlannedStmt *planned, const char *query)
{
	Oid table = InvalidOid;
	bool is_partition = false;

	switch (type)
	{
		case OBJECT_TABLE:
		case OBJECT_INDEX:
			table = find_names(statement, castNode(List, object), 0, &is_partition);
			break;
		case OBJECT_COLUMN:
		case OBJECT_TABCONSTRAINT:
		case OBJECT_POLICY:
			table = find_names(statement, castNode(List, object), 1, &is_partition);
			break;
		default:
			break;
	}
	if (OidIsValid(table) && !is_partition)
		carry_text(statement, table, planned, query);
}

static void
prepare_policy(Statement *statement, const RangeVar *range,
			   const PlannedStmt *planned, const char *query)
{
	bool is_partition;
	Oid table = find_range(statement, range, &is_partition);

	if (!OidIsValid(table))
		return;
	if (is_partition)
		refuse_partition(table, "give a policy to");
	carry_text(statement, table, planned, query);
}

static void
prepare_drop(Statement *statement, const DropStmt *drop)
{
	ListCell *cell;

	statement->behavior = drop->behavior;
	foreach(cell, drop->objects)
	{
		bool is_partition;
		Oid table;

		switch (drop->removeType)
		{
			case OBJECT_TABLE:
				table = find_names(statement, lfirst_node(List, cell), 0, &is_partition);
				if (OidIsValid(table) && !is_partition)
					carry(statement, table);
				break;
			case OBJECT_INDEX:
				table = find_names(statement, lfirst_node(List, cell), 0, &is_partition);
				if (OidIsValid(table) && !is_partition)
				{
					Oid index = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(cell)), NoLock, true);

					carry(statement, table);
					appendStringInfo(&statement->elsewhere, "DROP INDEX IF EXISTS %s%s;\n",
									 qualified_name(index),
									 drop->behavior == DROP_CASCADE ? " CASCADE" : "");
				}
				break;
			case OBJECT_POLICY:
				table = find_names(statement, lfirst_node(List, cell), 1, &is_partition);
				if (OidIsValid(table) && !is_partition)
				{
					carry(statement, table);
					appendStringInfo(&statement->elsewhere, "DROP POLICY IF EXISTS %s ON %s;\n",
									 quote_identifier(strVal(llast(lfirst_node(List, cell)))),
									 qualified_name(table));
				}
				break;
			case OBJECT_STATISTIC_EXT:
			{
				Oid statistics = get_statistics_object_oid(lfirst_node(List, cell), true);
				HeapTuple tuple = SearchSysCache1(STATEXTOID, ObjectIdGetDatum(statistics));
				Form_pg_statistic_ext form;

				if (!HeapTupleIsValid(tuple))
					break;
				form = (Form_pg_statistic_ext) GETSTRUCT(tuple);
				if (is_kept_alike(form->stxrelid))
				{
					carry(statement, form->stxrelid);
					appendStringInfo(&statement->elsewhere, "DROP STATISTICS IF EXISTS %s;\n",
									 quote_qualified_identifier(get_namespace_name(form->stxnamespace),
																NameStr(form->stxname)));
				}
				ReleaseSysCache(tuple);
			}
			break;
			default:
				break;
		}
	}
}

/*
 * What REASSIGN OWNED and DROP OWNED would do to a role's tables and
 * privileges they would do here only: the roles of other nodes are others.
 * A table that the role owns is dropped everywhere, as by DROP TABLE.
 */
static void
check_role(Oid role, bool is_drop)
{
	Relation relation = table_open(SharedDependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_pg_shdepend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(AuthIdRelationId));
	ScanKeyInit(&keys[1], Anum_pg_shdepend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(relation, SharedDependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_shdepend depend = (Form_pg_shdepend) GETSTRUCT(tuple);
		Oid table = depend->objid;

		if (depend->dbid != MyDatabaseId)
			continue;
		if (depend->classid == PolicyRelationId)
			table = table_of_policy(depend->objid);
		else if (depend->classid != RelationRelationId)
			continue;
		if (!OidIsValid(table) || !is_kept_alike(table))
			continue;

		if (!is_drop && depend->deptype == SHARED_DEPENDENCY_OWNER)
			refuse(table, "reassign", "ALTER TABLE ... OWNER TO changes its owner on all nodes.");
		if (is_drop && depend->deptype == SHARED_DEPENDENCY_ACL)
			refuse(table, "drop privileges on", "REVOKE takes them away on all nodes.");
		if (is_drop && depend->deptype == SHARED_DEPENDENCY_POLICY)
			refuse(table, "drop a role from a policy of", "ALTER POLICY changes it on all nodes.");
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
}

static void
check_roles(List *roles, bool is_drop)
{
	ListCell *cell;

	foreach(cell, roles)
	{
		Oid role = get_rolespec_oid(lfirst_node(RoleSpec, cell), true);

		if (OidIsValid(role))
			check_role(role, is_drop);
	}
}

static void
check_not_ours(Statement *statement, const RangeVar *range, const char *what, const char *hint)
{
	bool is_partition;
	Oid table = find_range(statement, range, &is_partition);

	if (OidIsValid(table))
		refuse(table, what, hint);
}

static void
check_not_altered(Statement *statement, const RangeVar *range, const char *what)
{
	bool is_partition;
	Oid table = find_range(statement, range, &is_partition);

	if (OidIsValid(table))
		refuse_alteration(table, what);
}

/* Statements that prepare() looks at; all others cost one switch. */
static bool
is_of_interest(const Node *node)
{
	switch (nodeTag(node))
	{
		case T_AlterTableStmt:
		case T_RenameStmt:
		case T_AlterObjectSchemaStmt:
		case T_IndexStmt:
		case T_CreateStatsStmt:
		case T_GrantStmt:
		case T_CommentStmt:
		case T_SecLabelStmt:
		case T_CreatePolicyStmt:
		case T_AlterPolicyStmt:
		case T_CreateTrigStmt:
		case T_RuleStmt:
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
		case T_DropStmt:
		case T_DropOwnedStmt:
		case T_ReassignOwnedStmt:
			return true;
		default:
			return false;
	}
}

/* Look at a statement before it runs: refuse it, or note how to carry it. */
static void
prepare(Statement *statement, PlannedStmt *planned, const char *query)
{
	Node *node = planned->utilityStmt;

	switch (nodeTag(node))
	{
		case T_AlterTableStmt:
			prepare_alter_table(statement, (AlterTableStmt *) node, planned, query);
			break;
		case T_RenameStmt:
			prepare_rename(statement, (RenameStmt *) node, planned, query);
			break;
		case T_AlterObjectSchemaStmt:
			check_not_altered(statement, ((AlterObjectSchemaStmt *) node)->relation,
							  "change the schema of");
			break;
		case T_IndexStmt:
			prepare_index(statement, (IndexStmt *) node);
			break;
		case T_CreateStatsStmt:
			prepare_statistics(statement, (CreateStatsStmt *) node);
			break;
		case T_GrantStmt:
			prepare_grant(statement, (GrantStmt *) node);
			break;
		case T_CommentStmt:
			prepare_description(statement, ((CommentStmt *) node)->objtype,
								((CommentStmt *) node)->object, planned, query);
			break;
		case T_SecLabelStmt:
			prepare_description(statement, ((SecLabelStmt *) node)->objtype,
								((SecLabelStmt *) node)->object, planned, query);
			break;
		case T_CreatePolicyStmt:
			prepare_policy(statement, ((CreatePolicyStmt *) node)->table, planned, query);
			break;
		case T_AlterPolicyStmt:
			prepare_policy(statement, ((AlterPolicyStmt *) node)->table, planned, query);
			break;
		case T_CreateTrigStmt:
			check_not_ours(statement, ((CreateTrigStmt *) node)->relation, "create a trigger on",
						   "It would run on the node of the statement, of the row, or on both.");
			break;
		case T_RuleStmt:
			check_not_ours(statement, ((RuleStmt *) node)->relation, "create a rule on", NULL);
			break;
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
		{
			ListCell *cell;

			foreach(cell, ((CreateStmt *) node)->inhRelations)
				check_not_altered(statement, lfirst_node(RangeVar, cell), "add a partition to");
		}
		break;
		case T_DropStmt:
			prepare_drop(statement, (DropStmt *) node);
			break;
		case T_DropOwnedStmt:
			statement->behavior = ((DropOwnedStmt *) node)->behavior;
			check_roles(((DropOwnedStmt *) node)->roles, true);
			break;
		case T_ReassignOwnedStmt:
			check_roles(((ReassignOwnedStmt *) node)->roles, false);
			break;
		default:
			break;
	}
}

/* What a statement made, as a statement that makes the same elsewhere. */
static void
carry_made(Statement *statement, NodeTag tag)
{
	Relation relation = table_open(statement->made_on, AccessShareLock);
	List *now = tag == T_IndexStmt ? RelationGetIndexList(relation) :
									 RelationGetStatExtList(relation);
	int settings = fixed_settings_begin();
	ListCell *cell;

	foreach(cell, now)
	{
		List *made;

		if (list_member_oid(statement->known, lfirst_oid(cell)))
			continue;
		made = definition_query(tag != T_IndexStmt ?
									"SELECT pg_catalog.pg_get_statisticsobjdef($1)" :
								partition_is_replicated(statement->made_on) ?
									"SELECT pg_catalog.pg_get_indexdef($1)" :
									"SELECT pg_catalog.format('CREATE INDEX %I ON %s', relname,"
									" pg_catalog.substr(pg_catalog.pg_get_indexdef(oid),"
									" pg_catalog.length(pg_catalog.format('CREATE INDEX %I ON ONLY ', relname)) + 1))"
									" FROM pg_catalog.pg_class WHERE oid = $1",
								lfirst_oid(cell));
		appendStringInfo(&statement->elsewhere, "%s;\n", (char *) linitial(made));
	}
	fixed_settings_end(settings);
	table_close(relation, AccessShareLock);
}

/* Judge what was dropped along the way. */
static void
check_losses(Statement *statement)
{
	ListCell *cell;

	/* Whoever drops the extension gives up its tables. */
	if (!OidIsValid(distributed_table_relation()))
		return;

	foreach(cell, statement->lost)
	{
		LostPart *part = lfirst(cell);

		if (list_member_oid(statement->dropped_oids, part->table) ||
			list_member_oid(statement->carried, part->table))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop %s of %s table \"%s\" on this node alone",
						part->description, kind_of_table(part->table), get_rel_name(part->table)),
				 errhint("ALTER TABLE changes the table, and DROP TABLE drops it, on all nodes.")));
	}

	if (statement->dropped == NIL)
		return;
	if (remote_is_executing())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot drop a distributed table in a statement that another node sent"),
				 errhint("Run the statement on one node; it drops the table on all of them.")));
	everywhere_require();
	appendStringInfoString(&statement->elsewhere, "DROP TABLE IF EXISTS ");
	append_names(&statement->elsewhere, statement->dropped);
	appendStringInfoString(&statement->elsewhere,
						   statement->behavior == DROP_CASCADE ? " CASCADE;\n" : ";\n");
}

/* A new default may be one that is good on one node only. */
static void
check_defaults(Statement *statement)
{
	ListCell *cell;

	foreach(cell, statement->carried)
		if (OidIsValid(get_rel_type_id(lfirst_oid(cell))) &&
			table_sequence_columns(lfirst_oid(cell)) != NIL)
			refuse(lfirst_oid(cell), "use a sequence for a column of",
				   "Its numbers are unique on one node only: let gen_random_uuid() or the application make the values.");
}

/*
 * A table that the statement named was not distributed when we looked.  If
 * it was while the statement waited for its lock, then the statement has
 * changed the distributed table that took its name, here alone.
 */
static void
check_others(Statement *statement)
{
	ListCell *cell;

	foreach(cell, statement->others)
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(cell))))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the table was replaced or dropped by another session while the statement waited"),
					 errhint("Run the statement again.")));
}

/* The statement has run here: let it run elsewhere. */
static void
finish(Statement *statement, NodeTag tag)
{
	check_losses(statement);
	if (tag != T_DropStmt && tag != T_DropOwnedStmt)
		check_others(statement);
	if (OidIsValid(statement->made_on))
		carry_made(statement, tag);
	if (tag == T_AlterTableStmt)
		check_defaults(statement);

	if (statement->here.len > 0)
	{
		int settings = fixed_settings_begin();

		run_here(statement->here.data);
		fixed_settings_end(settings);
	}
	if (statement->elsewhere.len > 0)
		run_elsewhere(statement->elsewhere.data);
}

static void
next_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
			 ProcessUtilityContext context, ParamListInfo params,
			 QueryEnvironment *environment, DestReceiver *receiver,
			 QueryCompletion *completion)
{
	if (previous_utility)
		previous_utility(planned, query, read_only_tree, context, params,
						 environment, receiver, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params,
								environment, receiver, completion);
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *receiver,
				QueryCompletion *completion)
{
	Statement statement = {.outer = watching};
	NodeTag tag = nodeTag(planned->utilityStmt);

	if (tag == T_CopyStmt)
		partition_check_copied((const CopyStmt *) planned->utilityStmt);

	/*
	 * What a statement runs on its way is part of it.  An extension's script
	 * is run on each node by itself.
	 */
	if (!is_of_interest(planned->utilityStmt) || !dlog_propagate_ddl ||
		context == PROCESS_UTILITY_SUBCOMMAND || creating_extension ||
		!IsTransactionState() || !OidIsValid(distributed_table_relation()))
	{
		next_utility(planned, query, read_only_tree, context, params,
					 environment, receiver, completion);
		return;
	}

	statement.context = CurrentMemoryContext;
	initStringInfo(&statement.elsewhere);
	initStringInfo(&statement.here);
	prepare(&statement, planned, query);

	watching = &statement;
	PG_TRY();
	{
		next_utility(planned, query, read_only_tree, context, params,
					 environment, receiver, completion);
	}
	PG_FINALLY();
	{
		watching = statement.outer;
	}
	PG_END_TRY();

	finish(&statement, tag);
}

/* ---------------------------------------------------------------- watching */

static Oid
table_of_constraint(Oid constraint)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Oid table = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		table = ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid;
		ReleaseSysCache(tuple);
	}
	return table;
}

static Oid
table_of_trigger(Oid trigger)
{
	Relation relation = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid table = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(relation, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		table = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return table;
}

/* The distributed table that loses this object, or invalid. */
static Oid
table_that_loses(Oid class, Oid object, int column)
{
	Oid table = InvalidOid;
	bool is_partition = false;

	switch (class)
	{
		case RelationRelationId:
			/* An index of a partition is lost with that of its table. */
			table = find_table(object, &is_partition);
			if (is_partition && get_rel_relkind(object) == RELKIND_INDEX)
				return InvalidOid;
			return table;
		case AttrDefaultRelationId:
			table = GetAttrDefaultColumnAddress(object).objectId;
			break;
		case ConstraintRelationId:
			table = table_of_constraint(object);
			break;
		case PolicyRelationId:
			table = table_of_policy(object);
			break;
		case TriggerRelationId:
			table = table_of_trigger(object);
			break;
		default:
			break;
	}
	return OidIsValid(table) && is_kept_alike(table) ? table : InvalidOid;
}

/*
 * Called before an object is dropped, by whatever way.  A distributed table
 * loses its row in dlog.distributed_table then, and whatever statement is
 * under way is told.
 */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int column, void *argument)
{
	Oid table;
	bool is_whole;

	if (previous_object_access)
		previous_object_access(access, class, object, column, argument);
	if (access != OAT_DROP || !OidIsValid(distributed_table_relation()))
		return;
	if (class == RelationRelationId && column == 0)
		partition_dropped(object);

	table = table_that_loses(class, object, column);
	if (!OidIsValid(table))
		return;
	is_whole = class == RelationRelationId && object == table && column == 0;

	if (watching != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(watching->context);

		if (is_whole)
		{
			watching->dropped = lappend(watching->dropped, qualified_name(table));
			watching->dropped_oids = lappend_oid(watching->dropped_oids, table);
		}
		else
		{
			LostPart *part = palloc(sizeof(LostPart));
			ObjectAddress address = {.classId = class, .objectId = object, .objectSubId = column};

			part->table = table;
			part->description = getObjectDescription(&address, true);
			if (part->description == NULL)
				part->description = "a part";
			watching->lost = lappend(watching->lost, part);
		}
		MemoryContextSwitchTo(caller);
	}
	if (!is_whole)
		return;
	if (partition_is_replicated(table))
		replicated_table_remove(table);
	else
		distributed_table_remove(table);
}

void
ddl_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_object_access = object_access_hook;
	object_access_hook = object_access;
}
