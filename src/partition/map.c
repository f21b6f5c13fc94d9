/*
 * map.c
 *		Where the partitions of a distributed table are.
 *
 * The catalogs are the map: a leaf partition that is a foreign table of the
 * wrapper dlog has its rows on the node its server is named for, one that is
 * an ordinary table has them here.  The planner asks for every partition of
 * every statement, so the answers are kept per backend, in two hash tables:
 *
 *		relations	what a relation is to us, by its oid
 *		servers		the name of the node that a foreign server stands for
 *
 * An entry lives until an invalidation message names it.  A partition's
 * entry holds the oid of its parent and not the parent's name, so the parent
 * can be renamed without touching its partitions.  The entry of a table is
 * also dropped when its row of dlog.distributed_table comes, for which
 * distributed_table_add() sends a message; when the row goes, so does the table.
 *
 * Nodes are kept by name and looked up each time: their numbers may change
 * without any message.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "base/pg_compat.h"
#include "partition/partition_internal.h"
#include "transport/transport.h"

/* The wrapper's name; it is created by the extension. */
#define WRAPPER_NAME "dlog"

typedef struct RelationEntry
{
	Oid relation;
	Oid server;			 /* invalid: it is no foreign table of ours */
	Oid parent;			 /* invalid: it is no partition */
	bool is_distributed; /* it has a row in dlog.distributed_table */
	bool is_replicated;	 /* it has a row in dlog.replicated_table */
	pg_uuid_t colocation;
	NameData schema; /* where it is found over there */
	NameData name;
} RelationEntry;

typedef struct ServerEntry
{
	Oid server;
	bool is_ours;
	NameData node;
} ServerEntry;

static HTAB *relations;
static HTAB *servers;

/* Counts invalidations: what was read across one is not kept. */
static uint64 invalidations;

static void
forget_all(HTAB *table)
{
	HASH_SEQ_STATUS scan;
	void *entry;

	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
		hash_search(table, entry, HASH_REMOVE, NULL);
}

static void
relation_invalidated(Datum argument, Oid relation)
{
	invalidations++;
	if (OidIsValid(relation))
		hash_search(relations, &relation, HASH_REMOVE, NULL);
	else
		forget_all(relations);
}

/* Schemas, foreign tables: rarely changed, so one change forgets them all. */
static void
relation_source_invalidated(Datum argument, int cache, uint32 hash)
{
	invalidations++;
	forget_all(relations);
}

static void
server_invalidated(Datum argument, int cache, uint32 hash)
{
	invalidations++;
	forget_all(servers);
}

static HTAB *
create_cache(const char *name, Size entry_size)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = entry_size, .hcxt = CacheMemoryContext};

	return hash_create(name, 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
create_caches(void)
{
	if (relations != NULL)
		return;

	relations = create_cache("dlog relations", sizeof(RelationEntry));
	servers = create_cache("dlog servers", sizeof(ServerEntry));

	CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNTABLEREL, relation_source_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, relation_source_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, server_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, server_invalidated, (Datum) 0);
}

static bool
server_lookup(Oid server, ServerEntry *entry)
{
	ServerEntry *kept;
	ForeignServer *definition;
	ListCell *cell;
	uint64 started;

	create_caches();
	kept = hash_search(servers, &server, HASH_FIND, NULL);
	if (kept != NULL)
	{
		*entry = *kept;
		return true;
	}

	started = invalidations;
	definition = GetForeignServerExtended(server, FSV_MISSING_OK);
	if (definition == NULL)
		return false;
	entry->server = server;
	entry->is_ours = strcmp(GetForeignDataWrapper(definition->fdwid)->fdwname,
							WRAPPER_NAME) == 0;
	namestrcpy(&entry->node, definition->servername);
	foreach(cell, definition->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "node") == 0)
			namestrcpy(&entry->node, defGetString(option));
	}

	if (started == invalidations)
		memcpy(hash_search(servers, &server, HASH_ENTER, NULL), entry, sizeof(*entry));
	return true;
}

static Oid
catalog_relation(const char *name)
{
	Oid schema = get_namespace_oid("dlog", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/*
 * distributed_table_relation
 *		The oid of dlog.distributed_table; invalid where the extension is not
 *		installed.
 */
Oid
distributed_table_relation(void)
{
	return catalog_relation("distributed_table");
}

/* The same for dlog.replicated_table. */
Oid
replicated_table_relation(void)
{
	return catalog_relation("replicated_table");
}

/* The elements of a name[], as C strings. */
static List *
array_names(ArrayType *array)
{
	Datum *values;
	int n_values;
	List *names = NIL;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &values, NULL, &n_values);
	for (int i = 0; i < n_values; i++)
		names = lappend(names, pstrdup(NameStr(*DatumGetName(values[i]))));
	return names;
}

/*
 * distributed_table_read
 *		Look for a table's row in dlog.distributed_table.
 *
 * "keys", unless NULL, becomes the list of the names of its keys.
 */
bool
distributed_table_read(Oid table, pg_uuid_t *colocation, List **keys)
{
	Oid catalog = distributed_table_relation();
	Relation relation;
	Oid index;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool is_found;

	if (!OidIsValid(catalog))
		return false;

	relation = table_open(catalog, AccessShareLock);
	index = relation_primary_key(relation);
	ScanKeyInit(&key, Anum_distributed_table_relation, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(relation, index, OidIsValid(index), NULL, 1, &key);
	tuple = systable_getnext(scan);
	is_found = HeapTupleIsValid(tuple);
	if (is_found)
	{
		Datum values[Natts_distributed_table];
		bool nulls[Natts_distributed_table];

		heap_deform_tuple(tuple, RelationGetDescr(relation), values, nulls);
		*colocation = *DatumGetUUIDP(values[Anum_distributed_table_colocation - 1]);
		if (keys != NULL)
			*keys = array_names(DatumGetArrayTypeP(values[Anum_distributed_table_keys - 1]));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return is_found;
}

/*
 * distributed_table_add
 *		Make a partitioned table one that dlog distributes.
 */
void
distributed_table_add(Oid table, const pg_uuid_t *colocation, ArrayType *keys)
{
	Relation relation = table_open(distributed_table_relation(), RowExclusiveLock);
	Datum values[Natts_distributed_table];
	bool nulls[Natts_distributed_table] = {false};

	values[Anum_distributed_table_relation - 1] = ObjectIdGetDatum(table);
	values[Anum_distributed_table_colocation - 1] = UUIDPGetDatum(colocation);
	values[Anum_distributed_table_keys - 1] = PointerGetDatum(keys);
	CatalogTupleInsert(relation, heap_form_tuple(RelationGetDescr(relation), values, nulls));
	table_close(relation, RowExclusiveLock);

	/* Whoever has the table in its cache reads it again. */
	CacheInvalidateRelcacheByRelid(table);
	CommandCounterIncrement();
}

/* Remove the row about a table from one of our catalogs. */
static void
catalog_remove(Oid catalog, AttrNumber column, Oid table)
{
	Relation relation = table_open(catalog, RowExclusiveLock);
	Oid index = relation_primary_key(relation);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(relation, index, OidIsValid(index), NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(relation, &tuple->t_self);
	systable_endscan(scan);
	table_close(relation, RowExclusiveLock);
	CommandCounterIncrement();
}

/* The tables that one of our catalogs has rows about. */
static List *
catalog_list(Oid catalog, AttrNumber column)
{
	List *tables = NIL;
	Relation relation;
	SysScanDesc scan;
	HeapTuple tuple;

	if (!OidIsValid(catalog))
		return NIL;
	relation = table_open(catalog, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool is_null;

		tables = lappend_oid(tables,
							 DatumGetObjectId(heap_getattr(tuple, column,
														   RelationGetDescr(relation), &is_null)));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return tables;
}

/*
 * distributed_table_remove
 *		Forget a distributed table, which is being dropped.
 */
void
distributed_table_remove(Oid table)
{
	catalog_remove(distributed_table_relation(), Anum_distributed_table_relation, table);
}

/*
 * distributed_table_list
 *		The oids of all distributed tables.
 */
List *
distributed_table_list(void)
{
	return catalog_list(distributed_table_relation(), Anum_distributed_table_relation);
}

/*
 * replicated_table_read
 *		Is a table replicated?  "nodes", unless NULL, becomes the list of the
 *		names of the nodes that have copies.
 */
bool
replicated_table_read(Oid table, List **nodes)
{
	Oid catalog = replicated_table_relation();
	Relation relation;
	Oid index;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool is_found;

	if (!OidIsValid(catalog))
		return false;
	relation = table_open(catalog, AccessShareLock);
	index = relation_primary_key(relation);
	ScanKeyInit(&key, Anum_replicated_table_relation, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(relation, index, OidIsValid(index), NULL, 1, &key);
	tuple = systable_getnext(scan);
	is_found = HeapTupleIsValid(tuple);
	if (is_found && nodes != NULL)
	{
		bool is_null;
		Datum array = heap_getattr(tuple, Anum_replicated_table_nodes,
								   RelationGetDescr(relation), &is_null);

		*nodes = array_names(DatumGetArrayTypeP(array));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return is_found;
}

/*
 * replicated_table_add
 *		Note who has copies of a table, instead of what was known before.
 */
void
replicated_table_add(Oid table, ArrayType *nodes)
{
	Oid catalog = replicated_table_relation();
	Relation relation;
	Datum values[Natts_replicated_table];
	bool nulls[Natts_replicated_table] = {false};

	catalog_remove(catalog, Anum_replicated_table_relation, table);
	values[Anum_replicated_table_relation - 1] = ObjectIdGetDatum(table);
	values[Anum_replicated_table_nodes - 1] = PointerGetDatum(nodes);
	relation = table_open(catalog, RowExclusiveLock);
	CatalogTupleInsert(relation, heap_form_tuple(RelationGetDescr(relation), values, nulls));
	table_close(relation, RowExclusiveLock);
	CacheInvalidateRelcacheByRelid(table);
	CommandCounterIncrement();
}

/*
 * replicated_table_remove
 *		Forget a replicated table: it is being dropped, or is an ordinary one
 *		from now on.
 */
void
replicated_table_remove(Oid table)
{
	catalog_remove(replicated_table_relation(), Anum_replicated_table_relation, table);
	CacheInvalidateRelcacheByRelid(table);
}

List *
replicated_table_list(void)
{
	return catalog_list(replicated_table_relation(), Anum_replicated_table_relation);
}

/* The options of a foreign table that name the relation over there. */
static void
read_options(RelationEntry *entry, List *options)
{
	ListCell *cell;

	foreach(cell, options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "schema_name") == 0)
			namestrcpy(&entry->schema, defGetString(option));
		else if (strcmp(option->defname, "table_name") == 0)
			namestrcpy(&entry->name, defGetString(option));
	}
}

/*
 * relation_lookup
 *		What a relation is to us.  Returns false when there is no such
 *		relation.
 */
static bool
relation_lookup(Oid relation, RelationEntry *entry)
{
	RelationEntry *kept;
	HeapTuple tuple;
	Form_pg_class class;
	Oid schema;
	char *schema_name;
	char kind;
	bool is_partition;
	uint64 started;

	create_caches();
	kept = hash_search(relations, &relation, HASH_FIND, NULL);
	if (kept != NULL)
	{
		*entry = *kept;
		return true;
	}

	started = invalidations;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	if (!HeapTupleIsValid(tuple))
		return false;
	class = (Form_pg_class) GETSTRUCT(tuple);
	*entry = (RelationEntry){.relation = relation, .name = class->relname};
	kind = class->relkind;
	is_partition = class->relispartition;
	schema = class->relnamespace;
	ReleaseSysCache(tuple);

	schema_name = get_namespace_name(schema);
	if (schema_name == NULL)
		elog(ERROR, "cache lookup failed for namespace %u", schema);
	namestrcpy(&entry->schema, schema_name);
	if (is_partition)
	{
		/* One that is being detached has none any more. */
		List *ancestors = get_partition_ancestors(relation);

		if (ancestors != NIL)
			entry->parent = linitial_oid(ancestors);
	}

	if (kind == RELKIND_FOREIGN_TABLE)
	{
		ForeignTable *table = GetForeignTable(relation);
		ServerEntry server;

		if (server_lookup(table->serverid, &server) && server.is_ours)
			entry->server = table->serverid;
		read_options(entry, table->options);
	}
	else if (kind == RELKIND_PARTITIONED_TABLE && !is_partition)
		entry->is_distributed = distributed_table_read(relation, &entry->colocation, NULL);
	else if (kind == RELKIND_RELATION && !is_partition && relation >= FirstNormalObjectId)
		entry->is_replicated = replicated_table_read(relation, NULL);

	if (started == invalidations)
		memcpy(hash_search(relations, &relation, HASH_ENTER, NULL), entry, sizeof(*entry));
	return true;
}

/*
 * partition_is_our_server
 *		Is this a server of the wrapper dlog?  If so, "node" is the node it
 *		stands for.  It is an error if there is no such node any more.
 */
bool
partition_is_our_server(Oid server, uint32 *node)
{
	ServerEntry entry;

	if (!server_lookup(server, &entry) || !entry.is_ours)
		return false;
	*node = node_find(NameStr(entry.node), false);
	return true;
}

/*
 * partition_home
 *		Where the rows of a foreign table of ours are.
 *
 * Returns false for any other relation.  The strings are the caller's.
 */
bool
partition_home(Oid foreign_table, PartitionHome *home)
{
	RelationEntry entry;
	RelationEntry parent;

	if (!relation_lookup(foreign_table, &entry) || !OidIsValid(entry.server))
		return false;
	if (!partition_is_our_server(entry.server, &home->node))
		return false;

	home->schema = pstrdup(NameStr(entry.schema));
	home->name = pstrdup(NameStr(entry.name));
	home->parent_schema = NULL;
	home->parent_name = NULL;
	if (OidIsValid(entry.parent) &&
		relation_lookup(entry.parent, &parent) && parent.is_distributed)
	{
		home->parent_schema = pstrdup(NameStr(parent.schema));
		home->parent_name = pstrdup(NameStr(parent.name));
	}
	return true;
}

/*
 * partition_is_distributed
 *		Did dlog distribute this table?  Not true of its partitions.
 */
bool
partition_is_distributed(Oid table)
{
	RelationEntry entry;

	return relation_lookup(table, &entry) && entry.is_distributed;
}

/*
 * partition_is_replicated
 *		Is this a copy of a table that others have too?
 */
bool
partition_is_replicated(Oid table)
{
	RelationEntry entry;

	return relation_lookup(table, &entry) && entry.is_replicated;
}

/*
 * partition_is_colocated
 *		Have two distributed tables the same bounds and placement?
 */
bool
partition_is_colocated(Oid table, Oid other)
{
	RelationEntry one;
	RelationEntry two;

	return relation_lookup(table, &one) && one.is_distributed &&
		   relation_lookup(other, &two) && two.is_distributed &&
		   memcmp(&one.colocation, &two.colocation, sizeof(pg_uuid_t)) == 0;
}

/*
 * partition_home_name
 *		The node that has the rows of a relation.
 */
const char *
partition_home_name(Oid partition)
{
	PartitionHome home;

	if (!partition_home(partition, &home) || home.node == THIS_NODE)
		return node_this_name();
	return node_name(home.node);
}

/*
 * distributed_parent
 *		The distributed table that a relation is a partition of, or invalid.
 */
Oid
distributed_parent(Oid partition)
{
	RelationEntry entry;

	if (!relation_lookup(partition, &entry) || !OidIsValid(entry.parent))
		return InvalidOid;
	return partition_is_distributed(entry.parent) ? entry.parent : InvalidOid;
}

/*
 * partition_require_own
 *		The name of a relation; ERROR unless it is a partition of a distributed
 *		table, and the current role owns it.
 */
const char *
partition_require_own(Oid partition)
{
	const char *name = get_rel_name(partition);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", partition)));
	if (!object_ownercheck(RelationRelationId, partition, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(partition)), name);
	if (!OidIsValid(distributed_parent(partition)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a partition of a distributed table", name),
				 errhint("The view dlog.partitions lists them.")));
	return name;
}
