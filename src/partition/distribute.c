/*
 * distribute.c
 *		Ordinary tables become distributed ones, and the other way round.
 *
 * A table cannot turn into a partitioned one in place.  It is set aside
 * under another name, the distributed table takes its name on all nodes, the
 * rows move through it, and the table set aside is dropped.  The way back is
 * alike: rows move into a new table, the distributed one is dropped
 * everywhere, and the new table takes its name.
 *
 * All of this is one transaction on every node.  The table is locked against
 * everyone from the start; what could refuse the change is asked before
 * anything is changed.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/tablecmds.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "partition/partition_internal.h"
#include "remote/remote.h"
#include "transport/transport.h"

/*
 * table_open_to_change
 *		What holds for all that is done to whole tables.  "table" may have been dropped while we
 * waited for its lock, most likely by another session that did the same.
 */
Relation
table_open_to_change(Oid table, LOCKMODE mode, const char *function)
{
	const char *name = get_rel_name(table);
	Relation relation;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	if (remote_is_executing())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot be called in a statement that another node sent", function)));

	/*
	 * Rows that were committed after our snapshot was taken would stay
	 * behind in a table that is then dropped.
	 */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s needs isolation level READ COMMITTED", function)));

	/* Whoever may not change the table shall not lock it either. */
	if (!object_ownercheck(RelationRelationId, table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(table)), name);

	everywhere_require();
	everywhere_lock(get_namespace_name(get_rel_namespace(table)), name);
	relation = try_relation_open(table, mode);
	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was replaced or dropped by another session", name)));
	return relation;
}

/*
 * A co-located table has its partitions where the other table has them, so
 * equal keys must hash alike.
 */
static Placement *
colocated_placement(Relation relation, List *columns, int n_partitions, Oid colocate_with)
{
	Relation other;
	PartitionKey key;
	Placement *placement;
	int i = 0;
	ListCell *cell;

	if (!partition_is_distributed(colocate_with))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot co-locate with \"%s\" because it is not a distributed table",
						get_rel_name(colocate_with))));
	/* Held until the end, so that it does not move or go. */
	other = table_open(colocate_with, AccessShareLock);
	key = RelationGetPartitionKey(other);
	if (get_partition_natts(key) != list_length(columns))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("cannot co-locate \"%s\" with \"%s\"",
						RelationGetRelationName(relation), RelationGetRelationName(other)),
				 errdetail("It is distributed by another number of columns: %d.",
						   get_partition_natts(key))));
	foreach(cell, columns)
	{
		AttrNumber number = get_attnum(RelationGetRelid(relation), lfirst(cell));
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(relation), number - 1);

		if (column->atttypid != get_partition_col_typid(key, i))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("cannot co-locate \"%s\" with \"%s\"",
							RelationGetRelationName(relation), RelationGetRelationName(other)),
					 errdetail("Column \"%s\" has type %s, and \"%s\" is distributed by type %s.",
							   (char *) lfirst(cell), format_type_be(column->atttypid),
							   RelationGetRelationName(other),
							   format_type_be(get_partition_col_typid(key, i)))));
		i++;
	}

	placement = placement_of(colocate_with);
	if (n_partitions != 0 && n_partitions != placement->n_partitions)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot co-locate %d partitions with \"%s\", which has %d",
						n_partitions, RelationGetRelationName(other), placement->n_partitions),
				 errhint("Leave the number of partitions out.")));
	table_close(other, NoLock);
	return placement_like(RelationGetRelationName(relation), placement);
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* The nodes to use: those named, or all. */
static List *
chosen_nodes(List *named)
{
	List *nodes = NIL;
	ListCell *cell;

	if (named == NIL)
	{
		nodes = list_make1(pstrdup(node_this_name()));
		foreach(cell, node_list(false))
			nodes = lappend(nodes, pstrdup(node_name((uint32) lfirst_int(cell))));
		list_sort(nodes, compare_names);
		return nodes;
	}

	foreach(cell, named)
	{
		const char *name = lfirst(cell);
		ListCell *other;

		if (strcmp(name, node_this_name()) != 0)
			(void) node_find(name, false);
		foreach(other, nodes)
			if (strcmp(lfirst(other), name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("node \"%s\" is named twice", name)));
		nodes = lappend(nodes, (char *) name);
	}
	return nodes;
}

/*
 * node_schema_script
 *		Ask another node what only it can tell.  Returns what the script for
 *		it must begin with.
 */
char *
node_schema_script(uint32 node, const TableDefinition *definition)
{
	RemoteRequest request = {.kind = REMOTE_SCRIPT, .writes = true};
	char *answer;
	const char *encoding = GetDatabaseEncodingName();

	request.sql = psprintf("SELECT pg_catalog.format('%%s %%s',"
						   " CASE WHEN pg_catalog.to_regnamespace(%s) IS NULL THEN 'absent' ELSE 'present' END,"
						   " pg_catalog.getdatabaseencoding())",
						   quote_literal_cstr(quote_identifier(definition->schema)));
	answer = remote_run_text(node, &request);
	if (answer == NULL || strchr(answer, ' ') == NULL)
		elog(ERROR, "node \"%s\" gave an unexpected answer", node_name(node));

	/* Text hashes by its bytes. */
	if (strcmp(strchr(answer, ' ') + 1, encoding) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot distribute a table over databases of different encodings"),
				 errdetail("The encoding is %s on node \"%s\" and %s here.",
						   strchr(answer, ' ') + 1, node_name(node), encoding)));
	if (strncmp(answer, "absent", strlen("absent")) != 0)
		return "";
	return psprintf("CREATE SCHEMA %s AUTHORIZATION %s;\n",
					quote_identifier(definition->schema),
					quote_identifier(definition->schema_owner));
}

static void
run_statements(List *statements)
{
	ListCell *cell;

	foreach(cell, statements)
		run_here(lfirst(cell));
}

/*
 * Give up the table's name and those of its indexes and statistics, which
 * are unique in the schema, and let its rows be read whole.
 */
static char *
set_aside(Oid table, const TableDefinition *definition)
{
	char *name = psprintf("dlog_old_%u", table);

	run_statements(definition_query("SELECT pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', $1, conname)"
									" FROM pg_catalog.pg_constraint"
									" WHERE conrelid = $1 AND contype IN ('p', 'u')",
									table));
	run_statements(definition_query("SELECT pg_catalog.format('DROP INDEX %s', indexrelid::pg_catalog.regclass)"
									" FROM pg_catalog.pg_index WHERE indrelid = $1",
									table));
	run_statements(definition_query("SELECT pg_catalog.format('DROP STATISTICS %I.%I', n.nspname, s.stxname)"
									" FROM pg_catalog.pg_statistic_ext s"
									" JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace"
									" WHERE s.stxrelid = $1",
									table));
	run_here(psprintf("ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;"
					  "ALTER TABLE %s RENAME TO %s",
					  definition->qualified, definition->qualified, quote_identifier(name)));
	return quote_qualified_identifier(definition->schema, name);
}

static uint64
move_rows(const char *to, const char *from, const TableDefinition *definition)
{
	return run_here(psprintf("INSERT INTO %s (%s) SELECT %s FROM %s",
							 to, definition->values, definition->values, from));
}

static char *
hash_by(List *columns)
{
	StringInfoData key;
	ListCell *cell;

	initStringInfo(&key);
	foreach(cell, columns)
		appendStringInfo(&key, "%s%s", key.len == 0 ? "HASH (" : ", ",
						 quote_identifier(lfirst(cell)));
	appendStringInfoChar(&key, ')');
	return key.data;
}

/*
 * distribute_table
 *		Spread a table's rows over nodes, by the hash of some of its columns.
 *
 * "columns" and "nodes" are lists of C strings; no nodes means all.  With
 * n_partitions 0 there are as many as the co-located table has, or else
 * DEFAULT_PARTITIONS.
 */
void
distribute_table(Oid table, List *columns, int n_partitions, Oid colocate_with, List *nodes)
{
	Relation relation = table_open_to_change(table, AccessExclusiveLock, "distribute_table");
	int settings = fixed_settings_begin();
	Placement *placement;
	TableDefinition *definition;
	List *others = node_list(false);
	List *beginnings = NIL;
	char *old;
	uint64 rows;
	ListCell *cell;
	ListCell *beginning;

	check_distributable(relation, columns);
	if (OidIsValid(colocate_with))
	{
		if (nodes != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("cannot choose nodes for a table that is co-located with another")));
		placement = colocated_placement(relation, columns, n_partitions, colocate_with);
	}
	else
		placement = placement_create(RelationGetRelationName(relation),
									 n_partitions != 0 ? n_partitions : DEFAULT_PARTITIONS,
									 chosen_nodes(nodes));
	table_close(relation, NoLock);

	definition = definition_read(table);
	definition->key = hash_by(columns);
	if (OidIsValid(colocate_with))
		distributed_table_read(colocate_with, &definition->colocation, NULL);
	else
		definition->colocation = *DatumGetUUIDP(OidFunctionCall0(F_GEN_RANDOM_UUID));
	foreach(cell, others)
		beginnings = lappend(beginnings, node_schema_script((uint32) lfirst_int(cell), definition));

	old = set_aside(table, definition);
	run_here(definition_create_script(definition, placement, node_this_name()));
	forboth(cell, others, beginning, beginnings)
	{
		uint32 node = (uint32) lfirst_int(cell);

		run_there(node, psprintf("%s%s", (char *) lfirst(beginning),
								 definition_create_script(definition, placement, node_name(node))));
	}

	rows = move_rows(definition->qualified, old, definition);
	run_here(psprintf("DROP TABLE %s", old));
	STOP_POINT("distribute-rows-moved");

	run_here(definition_finish_script(definition, placement, node_this_name()));
	foreach(cell, others)
	{
		uint32 node = (uint32) lfirst_int(cell);

		run_there(node, definition_finish_script(definition, placement, node_name(node)));
	}
	fixed_settings_end(settings);

	ereport(NOTICE,
			(errmsg("distributed table \"%s\": " UINT64_FORMAT " rows, %d partitions, %d nodes",
					definition->name, rows, placement->n_partitions,
					list_length(placement_nodes(placement)))));
}

/*
 * Ask the home of a table's first partition about it, with a query that
 * gives one text.
 */
static char *
ask_home(const Placement *placement, const char *sql)
{
	RemoteRequest request = {.kind = REMOTE_SCRIPT, .writes = true, .sql = sql};
	List *answer;

	if (strcmp(placement->homes[0], node_this_name()) != 0)
		return remote_run_text(node_find(placement->homes[0], false), &request);
	answer = definition_query(sql, InvalidOid);
	return answer != NIL ? linitial(answer) : NULL;
}

/*
 * What only the partitions have: the keys, of which each has its own, and
 * what they are as REPLICA IDENTITY.
 */
static List *
read_key_scripts(Oid table, const TableDefinition *definition, const Placement *placement)
{
	char *partition = quote_literal_cstr(quote_qualified_identifier(definition->schema,
																	placement->names[0]));
	pg_uuid_t colocation;
	List *keys;
	List *scripts = NIL;
	ListCell *cell;

	distributed_table_read(table, &colocation, &keys);
	foreach(cell, keys)
	{
		const char *key = lfirst(cell);
		char *script = ask_home(placement,
								psprintf("SELECT dlog.definition_key_script(%s, %s, %s, %s, %s)",
										 partition,
										 quote_literal_cstr(partition_object_name(key, 0)),
										 quote_literal_cstr(definition->schema),
										 quote_literal_cstr(definition->name),
										 quote_literal_cstr(key)));

		if (script == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("key \"%s\" of distributed table \"%s\" is missing on node \"%s\"",
							key, definition->name, placement->homes[0])));
		scripts = lappend(scripts, script);
	}
	scripts = lappend(scripts,
					  ask_home(placement,
							   psprintf("SELECT CASE relreplident WHEN 'f' THEN %s WHEN 'n' THEN %s ELSE '' END"
										" FROM pg_catalog.pg_class WHERE oid = %s::pg_catalog.regclass",
										quote_literal_cstr(psprintf("ALTER TABLE %s REPLICA IDENTITY FULL",
																	definition->qualified)),
										quote_literal_cstr(psprintf("ALTER TABLE %s REPLICA IDENTITY NOTHING",
																	definition->qualified)),
										partition)));
	return scripts;
}

/*
 * undistribute_table
 *		Bring all rows of a distributed table into an ordinary table here, and
 *		drop it on all other nodes.
 */
void
undistribute_table(Oid table)
{
	Relation relation = table_open_to_change(table, AccessExclusiveLock, "undistribute_table");
	int settings = fixed_settings_begin();
	TableDefinition *definition;
	Placement *placement;
	List *key_scripts;
	char *name;
	char *new;
	char *unguard;
	char *drop;
	uint64 rows;

	if (!partition_is_distributed(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a distributed table", RelationGetRelationName(relation))));
	CheckTableNotInUse(relation, "undistribute");
	table_close(relation, NoLock);
	check_nothing_depends(table, "undistribute");

	definition = definition_read(table);
	placement = placement_of(table);
	key_scripts = read_key_scripts(table, definition, placement);
	definition->storage = ask_home(placement,
								   psprintf("SELECT dlog.definition_storage(%s)",
											quote_literal_cstr(quote_qualified_identifier(definition->schema,
																						  placement->names[0]))));

	/* This locks the table on every node before its rows are read. */
	unguard = psprintf("ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
					   definition->qualified);
	run_here(unguard);
	run_elsewhere(unguard);

	name = psprintf("dlog_new_%u", table);
	new = quote_qualified_identifier(definition->schema, name);
	run_here(psprintf("CREATE TABLE %s (%s) %s", new,
					  definition->columns ? definition->columns : "", definition->storage));
	if (definition->alterations != NULL)
		run_here(psprintf("ALTER TABLE %s %s", new, definition->alterations));
	rows = move_rows(new, definition->qualified, definition);

	drop = psprintf("DROP TABLE %s", definition->qualified);
	run_here(drop);
	run_elsewhere(drop);

	run_here(psprintf("ALTER TABLE %s RENAME TO %s", new, quote_identifier(definition->name)));
	run_statements(key_scripts);
	run_statements(definition->settings);
	run_here(psprintf("ALTER TABLE %s OWNER TO %s", definition->qualified,
					  quote_identifier(definition->owner)));
	run_statements(definition->grants);
	fixed_settings_end(settings);

	ereport(NOTICE,
			(errmsg("table \"%s\" is no longer distributed: " UINT64_FORMAT " rows",
					definition->name, rows)));
}
