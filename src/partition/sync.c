/*
 * sync.c
 *		The definitions of distributed tables for a node that has none yet.
 *
 * A node that joins gets all distributed tables, with every partition
 * elsewhere: it can be asked like any other node from then on.  It is told
 * by its sponsor while it joins, in the same transaction; or later by any
 * node, with dlog.sync_definitions().  Both read dlog.definitions() there, a
 * JSON array.
 *
 * A table that another node distributes just while this one joins may be
 * missed; changing it later names this node, and dlog.sync_definitions()
 * makes it.
 *
 * A table cannot be made where a type, role or function that it uses is
 * missing.  That does not keep a node from joining: it is warned, and can
 * call dlog.sync_definitions() when that has been put right.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "base/statement.h"
#include "partition/partition_internal.h"
#include "remote/remote.h"
#include "transport/transport.h"

#define DEFINITIONS_QUERY "SELECT dlog.definitions()"

/* A table as another node describes it. */
typedef struct ForeignDefinition
{
	char *schema;
	char *schema_owner;
	char *name;
	char *script;
} ForeignDefinition;

/*
 * definition_script
 *		What makes a distributed table on a node that has none of its rows.
 */
char *
definition_script(Oid table)
{
	int settings = fixed_settings_begin();
	TableDefinition *definition = definition_read(table);
	Placement *placement = placement_of(table);
	char *script;
	List *keys;
	ListCell *cell;

	distributed_table_read(table, &definition->colocation, &keys);
	foreach(cell, keys)
	{
		/* Their names are all that a node without rows needs. */
		TableKey *key = palloc0(sizeof(TableKey));

		key->name = lfirst(cell);
		definition->keys = lappend(definition->keys, key);
	}
	/* No node is called so: every partition is elsewhere. */
	script = psprintf("%s%s", definition_create_script(definition, placement, ""),
					  definition_finish_script(definition, placement, ""));
	fixed_settings_end(settings);
	return script;
}

static List *
parse_definitions(const char *json)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(json);
	List *definitions = NIL;

	SPI_connect();
	if (SPI_execute_with_args("SELECT d->>'schema', d->>'schema_owner', d->>'name', d->>'script'"
							  " FROM pg_catalog.json_array_elements($1::pg_catalog.json) d",
							  1, &type, &value, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read definitions");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		ForeignDefinition *definition = palloc(sizeof(ForeignDefinition));
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc columns = SPI_tuptable->tupdesc;

		definition->schema = SPI_getvalue(row, columns, 1);
		definition->schema_owner = SPI_getvalue(row, columns, 2);
		definition->name = SPI_getvalue(row, columns, 3);
		definition->script = SPI_getvalue(row, columns, 4);
		definitions = lappend(definitions, definition);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return definitions;
}

/* Returns false if the table is here already. */
static bool
make_table(const ForeignDefinition *definition)
{
	Oid schema = get_namespace_oid(definition->schema, true);

	if (!OidIsValid(schema))
		run_here(psprintf("CREATE SCHEMA %s AUTHORIZATION %s",
						  quote_identifier(definition->schema),
						  quote_identifier(definition->schema_owner)));
	else
	{
		Oid table = get_relname_relid(definition->name, schema);

		if (OidIsValid(table) && partition_is_distributed(table))
			return false;
	}
	run_here(definition->script);
	return true;
}

typedef struct Making
{
	const ForeignDefinition *definition;
	bool is_made;
} Making;

static void
try_to_make(void *argument)
{
	Making *making = argument;

	making->is_made = make_table(making->definition);
}

/* In a subtransaction: what goes wrong is a warning and leaves nothing. */
static bool
try_to_make_table(const ForeignDefinition *definition)
{
	Making making = {definition};
	ErrorData *error = statement_try(try_to_make, &making);

	if (error == NULL)
		return making.is_made;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("could not create distributed table \"%s\" on this node", definition->name),
			 errdetail_internal("%s", error->message),
			 errhint("When that is put right, call dlog.sync_definitions().")));
	return false;
}

/*
 * definitions_apply
 *		Make the tables that another node described and that are not here;
 *		returns how many.  When tolerant, those that cannot be made are
 *		passed over with a warning.
 */
int
definitions_apply(const char *json, bool is_tolerant)
{
	int settings = fixed_settings_begin();
	int n_made = 0;
	ListCell *cell;

	foreach(cell, parse_definitions(json))
	{
		ForeignDefinition *definition = lfirst(cell);

		if (is_tolerant ? try_to_make_table(definition) : make_table(definition))
			n_made++;
	}
	fixed_settings_end(settings);
	return n_made;
}

/*
 * definitions_sync
 *		Ask a node, or any that can be reached, for the tables that are not
 *		here, and make them.
 */
int
definitions_sync(const char *name)
{
	RemoteRequest request = {.kind = REMOTE_SCRIPT, .sql = DEFINITIONS_QUERY};
	uint32 node = THIS_NODE;
	ListCell *cell;
	char *json;

	if (name != NULL)
		node = node_find(name, false);
	else
	{
		foreach(cell, node_list(false))
		{
			node = (uint32) lfirst_int(cell);
			if (link_state(node) == LINK_UP)
				break;
		}
	}
	if (node == THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no other node to ask")));

	json = remote_run_text(node, &request);
	if (json == NULL)
		elog(ERROR, "node \"%s\" gave no definitions", node_name(node));
	return definitions_apply(json, false);
}

/*
 * Called while this node joins, when all nodes are listed here.
 */
void
sync_joined(SponsorAsk ask, void *sponsor)
{
	char *json;

	/* What the others' copies are by now is not known here. */
	if (replicated_table_list() != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this node has a replicated table \"%s\" of its own",
						get_rel_name(linitial_oid(replicated_table_list()))),
				 errhint("Make it an ordinary table with dlog.unreplicate_table(), or drop it.")));
	json = ask(sponsor, DEFINITIONS_QUERY);
	if (json != NULL)
		(void) definitions_apply(json, true);
}

/*
 * Called before this node leaves: it must have no rows of distributed
 * tables, and needs their definitions no longer, nor its copies of
 * replicated ones.
 */
void
sync_leaving(void)
{
	const char *this_name = node_this_name();
	int settings = fixed_settings_begin();
	ListCell *cell;

	foreach(cell, distributed_table_list())
	{
		Oid table = lfirst_oid(cell);
		Placement *placement = placement_of(table);
		ListCell *home;

		foreach(home, placement_nodes(placement))
			if (strcmp(lfirst(home), this_name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						 errmsg("this node has partitions of distributed table \"%s\"",
								get_rel_name(table)),
						 errhint("Call dlog.undistribute_table() first, and distribute it over the other nodes afterwards.")));
		run_here(psprintf("DROP TABLE %s",
						  quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
													 get_rel_name(table))));
	}

	/* The others go on without this copy. */
	foreach(cell, replicated_table_list())
	{
		Oid table = lfirst_oid(cell);
		List *nodes;

		replicated_table_read(table, &nodes);
		if (list_length(nodes) == 1)
			continue;
		run_here(psprintf("DROP TABLE %s",
						  quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
													 get_rel_name(table))));
	}
	fixed_settings_end(settings);
}
