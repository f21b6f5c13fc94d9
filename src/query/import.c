/*
 * import.c
 *		IMPORT FOREIGN SCHEMA: foreign tables for what a node has.
 *
 * One request asks the node's catalogs for all columns of the relations in
 * question; what comes back is written as CREATE FOREIGN TABLE commands, which
 * the server runs.  Partitions are left out, as they are reached through
 * their parent, unless they are asked for by name.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"

#include "query/query_internal.h"

typedef struct ImportOptions
{
	bool collate;
	bool defaults;
	bool generated;
	bool not_null;
} ImportOptions;

/* Columns of the rows that the node is asked for; all of them text. */
enum ColumnField
{
	COLUMN_TABLE,
	COLUMN_NAME, /* null: the table has no columns */
	COLUMN_TYPE,
	COLUMN_NOT_NULL, /* null if it is not */
	COLUMN_DEFAULT,
	COLUMN_GENERATED,
	COLUMN_COLLATION, /* null where it is that of the type */
	N_COLUMN_FIELDS
};

/* Under search_path = pg_catalog all other names come out qualified. */
static const char columns_sql[] =
	"SELECT c.relname::text, a.attname::text,"
	" format_type(a.atttypid, a.atttypmod),"
	" CASE WHEN a.attnotnull THEN 'not null' END,"
	" CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,"
	" CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END,"
	" CASE WHEN a.attcollation <> t.typcollation"
	" THEN format('%I.%I', cn.nspname, co.collname) END"
	" FROM pg_class c"
	" JOIN pg_namespace n ON n.oid = c.relnamespace"
	" LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
	" AND NOT a.attisdropped"
	" LEFT JOIN pg_type t ON t.oid = a.atttypid"
	" LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
	" LEFT JOIN pg_collation co ON co.oid = a.attcollation"
	" LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace"
	" WHERE n.nspname = $1 AND c.relkind IN ('r', 'v', 'f', 'm', 'p')";

static ImportOptions
read_options(List *given)
{
	ImportOptions options = {.collate = true, .defaults = false, .generated = true, .not_null = true};
	ListCell *cell;

	foreach(cell, given)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "import_collate") == 0)
			options.collate = defGetBoolean(option);
		else if (strcmp(option->defname, "import_default") == 0)
			options.defaults = defGetBoolean(option);
		else if (strcmp(option->defname, "import_generated") == 0)
			options.generated = defGetBoolean(option);
		else if (strcmp(option->defname, "import_not_null") == 0)
			options.not_null = defGetBoolean(option);
		else
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", option->defname),
					 errhint("Valid options in this context are: %s.",
							 "import_collate, import_default, import_generated, import_not_null")));
	}
	return options;
}

/* The text that lists the relations' columns; $1 is the schema. */
static char *
columns_text(ImportForeignSchemaStmt *stmt)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, columns_sql);
	if (stmt->list_type != FDW_IMPORT_SCHEMA_LIMIT_TO)
		appendStringInfoString(&sql, " AND NOT c.relispartition");
	if (stmt->list_type != FDW_IMPORT_SCHEMA_ALL)
	{
		appendStringInfo(&sql, " AND c.relname %s (",
						 stmt->list_type == FDW_IMPORT_SCHEMA_LIMIT_TO ? "IN" : "NOT IN");
		foreach(cell, stmt->table_list)
			appendStringInfo(&sql, "%s%s",
							 foreach_current_index(cell) > 0 ? ", " : "",
							 quote_literal_cstr(lfirst_node(RangeVar, cell)->relname));
		appendStringInfoChar(&sql, ')');
	}
	appendStringInfoString(&sql, " ORDER BY c.relname, a.attnum");
	return sql.data;
}

/* The request's settings say standard_conforming_strings = on. */
static char *
option_literal(const char *value)
{
	return quote_literal_cstr(value);
}

static void
append_column(StringInfo command, char **fields, const ImportOptions *options)
{
	appendStringInfo(command, "\n    %s %s OPTIONS (column_name %s)",
					 quote_identifier(fields[COLUMN_NAME]), fields[COLUMN_TYPE],
					 option_literal(fields[COLUMN_NAME]));
	if (options->collate && fields[COLUMN_COLLATION] != NULL)
		appendStringInfo(command, " COLLATE %s", fields[COLUMN_COLLATION]);
	if (options->defaults && fields[COLUMN_DEFAULT] != NULL)
		appendStringInfo(command, " DEFAULT %s", fields[COLUMN_DEFAULT]);
	if (options->generated && fields[COLUMN_GENERATED] != NULL)
		appendStringInfo(command, " GENERATED ALWAYS AS (%s) STORED",
						 fields[COLUMN_GENERATED]);
	if (options->not_null && fields[COLUMN_NOT_NULL] != NULL)
		appendStringInfoString(command, " NOT NULL");
}

static void
begin_command(StringInfo command, const char *table)
{
	initStringInfo(command);
	appendStringInfo(command, "CREATE FOREIGN TABLE %s (", quote_identifier(table));
}

static char *
end_command(StringInfo command, ImportForeignSchemaStmt *stmt, const char *table)
{
	appendStringInfo(command, "\n) SERVER %s OPTIONS (schema_name %s, table_name %s)",
					 quote_identifier(stmt->server_name),
					 option_literal(stmt->remote_schema), option_literal(table));
	return command->data;
}

/* Does the node have the schema at all? */
static void
check_schema(uint32 node, const char *schema)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(schema)};
	bool nulls[] = {false};
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = "SELECT count(*)::text FROM pg_namespace WHERE nspname = $1",
		.n_params = 1,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls};

	if (strcmp(remote_run_text(node, &request), "0") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_SCHEMA_NOT_FOUND),
				 errmsg("schema \"%s\" is not present on node \"%s\"",
						schema, node_display_name(node))));
}

/* The commands that make the foreign tables. */
static List *
read_commands(RemoteStream *stream, TupleTableSlot *slot,
			  ImportForeignSchemaStmt *stmt, const ImportOptions *options)
{
	List *commands = NIL;
	StringInfoData command;
	char *table = NULL;
	int n_columns = 0;

	while (request_next(stream, slot))
	{
		char *fields[N_COLUMN_FIELDS];

		slot_getallattrs(slot);
		for (int i = 0; i < N_COLUMN_FIELDS; i++)
			fields[i] = slot->tts_isnull[i] ? NULL : TextDatumGetCString(slot->tts_values[i]);

		if (table == NULL || strcmp(table, fields[COLUMN_TABLE]) != 0)
		{
			if (table != NULL)
				commands = lappend(commands, end_command(&command, stmt, table));
			table = fields[COLUMN_TABLE];
			begin_command(&command, table);
			n_columns = 0;
		}
		if (fields[COLUMN_NAME] != NULL)
		{
			if (n_columns++ > 0)
				appendStringInfoChar(&command, ',');
			append_column(&command, fields, options);
		}
	}
	if (table != NULL)
		commands = lappend(commands, end_command(&command, stmt, table));
	return commands;
}

static List *
import_schema(ImportForeignSchemaStmt *stmt, Oid server)
{
	static const Oid types[] = {TEXTOID};
	ImportOptions options = read_options(stmt->options);
	TupleDesc desc = CreateTemplateTupleDesc(N_COLUMN_FIELDS);
	Datum values[] = {CStringGetTextDatum(stmt->remote_schema)};
	bool nulls[] = {false};
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = columns_text(stmt),
		.n_params = 1,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.result_desc = desc};
	RemoteStream *stream;
	TupleTableSlot *slot;
	List *commands;
	uint32 node;

	if (!partition_is_our_server(server, &node))
		elog(ERROR, "server %u is not of the foreign-data wrapper dlog", server);
	check_schema(node, stmt->remote_schema);

	for (int i = 0; i < N_COLUMN_FIELDS; i++)
		TupleDescInitEntry(desc, i + 1, psprintf("field%d", i), TEXTOID, -1, 0);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	stream = remote_open(node, &request);
	commands = read_commands(stream, slot, stmt, &options);
	remote_close(stream);
	ExecDropSingleTupleTableSlot(slot);
	return commands;
}

void
import_set_routines(FdwRoutine *routine)
{
	routine->ImportForeignSchema = import_schema;
}
