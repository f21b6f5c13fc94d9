/*
 * placement.c
 *		Which node has which partition of a table, and what they are called.
 */
#include "postgres.h"

#include "access/table.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "partition/partition_internal.h"
#include "remote/remote.h"
#include "transport/transport.h"

/*
 * partition_object_name
 *		The name of what belongs to one partition of a table: "events_7" for
 *		the partition, "events_pkey_7" for its key.
 *
 * A name that would not fit is cut and told apart by its hash, so that two
 * long names with one beginning do not meet.
 */
char *
partition_object_name(const char *name, int number)
{
	int length = strlen(name);
	char suffix[NAMEDATALEN];

	snprintf(suffix, sizeof(suffix), "_%d", number);
	if (length + strlen(suffix) >= NAMEDATALEN)
	{
		snprintf(suffix, sizeof(suffix), "_%08x_%d",
				 hash_bytes((const unsigned char *) name, length), number);
		length = pg_mbcliplen(name, length, NAMEDATALEN - 1 - strlen(suffix));
	}
	return psprintf("%.*s%s", length, name, suffix);
}

static Placement *
placement_alloc(int n_partitions)
{
	Placement *placement = palloc(sizeof(Placement));

	placement->n_partitions = n_partitions;
	placement->names = palloc0(n_partitions * sizeof(char *));
	placement->homes = palloc0(n_partitions * sizeof(char *));
	return placement;
}

/*
 * placement_create
 *		Deal partitions out to nodes (C strings), one after the other.
 */
Placement *
placement_create(const char *table, int n_partitions, List *nodes)
{
	Placement *placement = placement_alloc(n_partitions);

	for (int i = 0; i < n_partitions; i++)
	{
		placement->names[i] = partition_object_name(table, i);
		placement->homes[i] = list_nth(nodes, i % list_length(nodes));
	}
	return placement;
}

/*
 * placement_like
 *		Put each partition of a table where another table has its own.
 */
Placement *
placement_like(const char *table, const Placement *other)
{
	Placement *placement = placement_alloc(other->n_partitions);

	for (int i = 0; i < other->n_partitions; i++)
	{
		placement->names[i] = partition_object_name(table, i);
		placement->homes[i] = other->homes[i];
	}
	return placement;
}

/*
 * placement_of
 *		Where the partitions of a distributed table are, from the catalogs.
 */
Placement *
placement_of(Oid table)
{
	Relation relation = table_open(table, AccessShareLock);
	PartitionDesc partitions = RelationGetPartitionDesc(relation, true);
	Placement *placement = placement_alloc(partitions->nparts);

	/* Hash partitions of one modulus are kept in the order of remainders. */
	if (partitions->nparts == 0 || partitions->boundinfo->strategy != PARTITION_STRATEGY_HASH ||
		get_hash_partition_greatest_modulus(partitions->boundinfo) != partitions->nparts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("distributed table \"%s\" does not have all of its partitions",
						RelationGetRelationName(relation))));

	for (int i = 0; i < partitions->nparts; i++)
	{
		placement->names[i] = get_rel_name(partitions->oids[i]);
		placement->homes[i] = pstrdup(partition_home_name(partitions->oids[i]));
	}
	table_close(relation, AccessShareLock);
	return placement;
}

/*
 * placement_nodes
 *		The nodes that have partitions, each once.
 */
List *
placement_nodes(const Placement *placement)
{
	List *nodes = NIL;

	for (int i = 0; i < placement->n_partitions; i++)
	{
		ListCell *cell;
		bool is_known = false;

		foreach(cell, nodes)
			is_known |= strcmp(lfirst(cell), placement->homes[i]) == 0;
		if (!is_known)
			nodes = lappend(nodes, placement->homes[i]);
	}
	return nodes;
}

/*
 * placement_sizes
 *		Ask the nodes that have partitions of a table how large these are;
 *		JSON, [{"node": ..., "sizes": [{"partition", "rows", "bytes"}, ...]}, ...].
 */
char *
placement_sizes(Oid table)
{
	StringInfoData json;
	ListCell *cell;
	char *sql = psprintf("SELECT pg_catalog.json_agg(s) FROM dlog.local_partition_sizes(%s) s",
						 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
																	   get_rel_name(table))));

	initStringInfo(&json);
	foreach(cell, placement_nodes(placement_of(table)))
	{
		const char *node = lfirst(cell);
		char *sizes;

		if (strcmp(node, node_this_name()) == 0)
			sizes = linitial(definition_query(sql, table));
		else
		{
			RemoteRequest request = {.kind = REMOTE_SCRIPT, .sql = sql};

			sizes = remote_run_text(node_find(node, false), &request);
		}
		appendStringInfoString(&json, json.len == 0 ? "[{\"node\": " : ", {\"node\": ");
		escape_json(&json, node);
		appendStringInfo(&json, ", \"sizes\": %s}", sizes);
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}
