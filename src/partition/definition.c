/*
 * definition.c
 *		A table's definition as text that makes the same table elsewhere.
 *
 * The functions dlog.definition_*() read the catalogs; here their answers
 * become two scripts.  The first creates the partitioned table and its
 * partitions, ready for rows; the second, run when the rows are in, adds
 * what would slow down or refuse their coming: indexes, keys, policies,
 * owner and grants.  Scripts of different nodes differ only in which
 * partitions are ordinary tables and which are foreign.
 *
 * A partitioned table with foreign partitions cannot have a unique index.
 * A key therefore lives on each partition at its home, which is enough since
 * it includes the columns that tell partitions apart.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "base/own_sql.h"
#include "partition/partition_internal.h"

/*
 * definition_query
 *		The first column of a query about a table ($1), as C strings; nulls
 *		are left out.
 */
List *
definition_query(const char *sql, Oid table)
{
	int level;
	MemoryContext caller = CurrentMemoryContext;
	Oid type = REGCLASSOID;
	Datum value = ObjectIdGetDatum(table);
	List *strings = NIL;

	level = own_sql_begin();
	if (SPI_execute_with_args(sql, 1, &type, &value, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the definition of a table: %s", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *string = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		if (string != NULL)
		{
			MemoryContext spi = MemoryContextSwitchTo(caller);

			strings = lappend(strings, pstrdup(string));
			MemoryContextSwitchTo(spi);
		}
	}
	own_sql_end(level);
	return strings;
}

static char *
query_one(const char *sql, Oid table)
{
	List *strings = definition_query(sql, table);

	return strings != NIL ? linitial(strings) : NULL;
}

static char *
copy_value(SPITupleTable *rows, uint64 row, int column, MemoryContext context)
{
	char *value = SPI_getvalue(rows->vals[row], rows->tupdesc, column);

	return value != NULL ? MemoryContextStrdup(context, value) : NULL;
}

static List *
read_keys(Oid table)
{
	int level;
	MemoryContext caller = CurrentMemoryContext;
	Oid type = REGCLASSOID;
	Datum value = ObjectIdGetDatum(table);
	List *keys = NIL;

	level = own_sql_begin();
	if (SPI_execute_with_args("SELECT name, kind, definition, timing, description,"
							  " is_replica_identity::pg_catalog.text"
							  " FROM dlog.definition_keys($1)",
							  1, &type, &value, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the keys of a table");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TableKey *key = MemoryContextAllocZero(caller, sizeof(TableKey));
		MemoryContext spi;

		key->name = copy_value(SPI_tuptable, i, 1, caller);
		key->kind = copy_value(SPI_tuptable, i, 2, caller);
		key->definition = copy_value(SPI_tuptable, i, 3, caller);
		key->timing = copy_value(SPI_tuptable, i, 4, caller);
		key->description = copy_value(SPI_tuptable, i, 5, caller);
		key->is_replica_identity =
			strcmp(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 6), "true") == 0;
		spi = MemoryContextSwitchTo(caller);
		keys = lappend(keys, key);
		MemoryContextSwitchTo(spi);
	}
	own_sql_end(level);
	return keys;
}

/*
 * definition_read
 *		Read the definition of an ordinary or a distributed table.
 *
 * For a distributed table "keys" stays empty: they are at its partitions'
 * homes.  "key" and "colocation" of an ordinary table are the caller's.
 */
TableDefinition *
definition_read(Oid table)
{
	TableDefinition *definition = palloc0(sizeof(TableDefinition));
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Form_pg_class class;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", table);
	class = (Form_pg_class) GETSTRUCT(tuple);
	definition->schema = get_namespace_name(class->relnamespace);
	definition->name = pstrdup(NameStr(class->relname));
	definition->qualified = quote_qualified_identifier(definition->schema, definition->name);
	definition->owner = GetUserNameFromId(class->relowner, false);
	definition->replica_identity = class->relreplident;
	if (class->relkind == RELKIND_PARTITIONED_TABLE)
		definition->key = query_one("SELECT pg_catalog.pg_get_partkeydef($1)", table);
	else
		definition->keys = read_keys(table);
	ReleaseSysCache(tuple);

	definition->schema_owner = query_one("SELECT pg_catalog.pg_get_userbyid(n.nspowner)"
										 " FROM pg_catalog.pg_class c"
										 " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
										 " WHERE c.oid = $1",
										 table);
	definition->columns = query_one("SELECT dlog.definition_columns($1)", table);
	definition->storage = query_one("SELECT dlog.definition_storage($1)", table);
	definition->alterations = query_one("SELECT dlog.definition_alterations($1)", table);
	definition->values = query_one("SELECT dlog.definition_values($1)", table);
	definition->settings = definition_query("SELECT dlog.definition_settings($1)", table);
	definition->grants = definition_query("SELECT dlog.definition_grants($1)", table);
	return definition;
}

static void
append_statements(StringInfo script, List *statements)
{
	ListCell *cell;

	foreach(cell, statements)
		appendStringInfo(script, "%s;\n", (char *) lfirst(cell));
}

static void
append_partition(StringInfo script, const TableDefinition *definition,
				 const Placement *placement, int number, bool is_home)
{
	const char *name = placement->names[number];
	char *qualified = quote_qualified_identifier(definition->schema, name);

	appendStringInfo(script,
					 "CREATE %sTABLE %s PARTITION OF %s"
					 " FOR VALUES WITH (MODULUS %d, REMAINDER %d)",
					 is_home ? "" : "FOREIGN ", qualified, definition->qualified,
					 placement->n_partitions, number);
	if (is_home)
	{
		appendStringInfo(script, " %s;\n", definition->storage);
		if (definition->alterations != NULL)
			appendStringInfo(script, "ALTER TABLE %s %s;\n",
							 qualified, definition->alterations);
	}
	else
		appendStringInfo(script, " SERVER %s OPTIONS (schema_name %s, table_name %s);\n",
						 quote_identifier(placement->homes[number]),
						 quote_literal_cstr(definition->schema),
						 quote_literal_cstr(name));
}

/*
 * definition_create_script
 *		What creates the table on a node, ready for rows.
 */
char *
definition_create_script(const TableDefinition *definition,
						 const Placement *placement, const char *node)
{
	StringInfoData script;
	ListCell *cell;
	char *separator = "";

	initStringInfo(&script);
	appendStringInfo(&script, "CREATE TABLE %s (%s) PARTITION BY %s;\n",
					 definition->qualified,
					 definition->columns ? definition->columns : "", definition->key);
	if (definition->alterations != NULL)
		appendStringInfo(&script, "ALTER TABLE %s %s;\n",
						 definition->qualified, definition->alterations);

	/* Before its partitions, so that they are known as parts of it at once. */
	appendStringInfo(&script, "SELECT dlog.distributed_table_add(%s, '%s', ARRAY[",
					 quote_literal_cstr(definition->qualified),
					 DatumGetCString(DirectFunctionCall1(uuid_out,
														 UUIDPGetDatum(&definition->colocation))));
	foreach(cell, definition->keys)
	{
		appendStringInfo(&script, "%s%s", separator,
						 quote_literal_cstr(((TableKey *) lfirst(cell))->name));
		separator = ", ";
	}
	appendStringInfoString(&script, "]::pg_catalog.name[]);\n");

	for (int i = 0; i < placement->n_partitions; i++)
		append_partition(&script, definition, placement, i,
						 strcmp(placement->homes[i], node) == 0);
	return script.data;
}

/*
 * definition_key_statements
 *		What gives a table a key.
 */
char *
definition_key_statements(const TableKey *key, const char *schema,
						  const char *table, const char *name)
{
	StringInfoData script;
	char *qualified = quote_qualified_identifier(schema, table);
	const char *quoted = quote_identifier(name);

	initStringInfo(&script);
	appendStringInfo(&script, "CREATE UNIQUE INDEX %s ON %s %s;\n",
					 quoted, qualified, key->definition);
	if (key->kind != NULL)
		appendStringInfo(&script, "ALTER TABLE %s ADD CONSTRAINT %s %s USING INDEX %s %s;\n",
						 qualified, quoted, key->kind, quoted, key->timing);
	if (key->is_replica_identity)
		appendStringInfo(&script, "ALTER TABLE %s REPLICA IDENTITY USING INDEX %s;\n",
						 qualified, quoted);
	if (key->description != NULL && key->kind != NULL)
		appendStringInfo(&script, "COMMENT ON CONSTRAINT %s ON %s IS %s;\n",
						 quoted, qualified, quote_literal_cstr(key->description));
	else if (key->description != NULL)
		appendStringInfo(&script, "COMMENT ON INDEX %s IS %s;\n",
						 quote_qualified_identifier(schema, name),
						 quote_literal_cstr(key->description));
	return script.data;
}

/*
 * definition_key_script
 *		What gives another table the key that this table has; NULL if it has
 *		none of that name.
 */
char *
definition_key_script(Oid table, const char *key, const char *schema,
					  const char *other_table, const char *other_name)
{
	ListCell *cell;

	foreach(cell, read_keys(table))
	{
		TableKey *found = lfirst(cell);

		if (strcmp(found->name, key) == 0)
			return definition_key_statements(found, schema, other_table, other_name);
	}
	return NULL;
}

/*
 * definition_finish_script
 *		What completes the table on a node once its rows are in.
 */
char *
definition_finish_script(const TableDefinition *definition,
						 const Placement *placement, const char *node)
{
	StringInfoData script;
	ListCell *cell;

	initStringInfo(&script);
	for (int i = 0; i < placement->n_partitions; i++)
	{
		char *qualified = quote_qualified_identifier(definition->schema, placement->names[i]);

		if (strcmp(placement->homes[i], node) == 0)
		{
			foreach(cell, definition->keys)
			{
				TableKey *key = lfirst(cell);

				appendStringInfoString(&script,
									   definition_key_statements(key, definition->schema,
																 placement->names[i],
																 partition_object_name(key->name, i)));
			}
			if (definition->replica_identity == REPLICA_IDENTITY_FULL)
				appendStringInfo(&script, "ALTER TABLE %s REPLICA IDENTITY FULL;\n", qualified);
			else if (definition->replica_identity == REPLICA_IDENTITY_NOTHING)
				appendStringInfo(&script, "ALTER TABLE %s REPLICA IDENTITY NOTHING;\n", qualified);
		}
		appendStringInfo(&script, "ALTER TABLE %s OWNER TO %s;\n",
						 qualified, quote_identifier(definition->owner));
	}
	append_statements(&script, definition->settings);
	appendStringInfo(&script, "ALTER TABLE %s OWNER TO %s;\n",
					 definition->qualified, quote_identifier(definition->owner));
	append_statements(&script, definition->grants);
	return script.data;
}

/*
 * definition_copy_script
 *		What creates a copy of an ordinary table, ready for rows.
 */
char *
definition_copy_script(const TableDefinition *definition)
{
	StringInfoData script;

	initStringInfo(&script);
	appendStringInfo(&script, "CREATE TABLE %s (%s) %s;\n", definition->qualified,
					 definition->columns ? definition->columns : "", definition->storage);
	if (definition->alterations != NULL)
		appendStringInfo(&script, "ALTER TABLE %s %s;\n",
						 definition->qualified, definition->alterations);
	return script.data;
}

/*
 * definition_copy_finish_script
 *		What completes the copy once its rows are in.
 */
char *
definition_copy_finish_script(const TableDefinition *definition)
{
	StringInfoData script;
	ListCell *cell;

	initStringInfo(&script);
	foreach(cell, definition->keys)
	{
		TableKey *key = lfirst(cell);

		appendStringInfoString(&script,
							   definition_key_statements(key, definition->schema,
														 definition->name, key->name));
	}
	if (definition->replica_identity == REPLICA_IDENTITY_FULL)
		appendStringInfo(&script, "ALTER TABLE %s REPLICA IDENTITY FULL;\n", definition->qualified);
	else if (definition->replica_identity == REPLICA_IDENTITY_NOTHING)
		appendStringInfo(&script, "ALTER TABLE %s REPLICA IDENTITY NOTHING;\n", definition->qualified);
	append_statements(&script, definition->settings);
	appendStringInfo(&script, "ALTER TABLE %s OWNER TO %s;\n",
					 definition->qualified, quote_identifier(definition->owner));
	append_statements(&script, definition->grants);
	return script.data;
}
