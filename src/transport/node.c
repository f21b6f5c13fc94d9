/*
 * node.c
 *		The node table: which other nodes this server knows.
 *
 * Each database has its own table dlog.node; what all of them list together
 * is in shared memory, one entry for each node, which is told from others by
 * its key.  A database *admits* the nodes that it lists, and these alone can
 * reach it.
 *
 * A trigger notes in which transactions a table changes.  After the commit the
 * table is loaded again, by whichever backend next looks a node up or by a
 * scheduler of that database, whoever comes first.  A counter of changes
 * keeps an older state from being loaded over a newer one.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/guc.h"
#include "transport/transport_internal.h"

/* A row of dlog.node. */
typedef struct NodeRow
{
	char *name;
	uint64 node_id;
	char *host;
	int32 port;
	char *public_key;
	char *previous_key;
	char *database;
	uint64 version;
} NodeRow;

/* Columns of dlog.node. */
enum
{
	COLUMN_NAME = 1,
	COLUMN_NODE_ID,
	COLUMN_ADDRESS,
	COLUMN_PORT,
	COLUMN_PUBLIC_KEY,
	COLUMN_PREVIOUS_KEY,
	COLUMN_DATABASE,
	COLUMN_ADDED_AT,
	COLUMN_VERSION
};

/* This transaction changed dlog.node, or dropped it. */
static bool has_changed;
static bool is_loaded_by_us; /* who commits it loads it */
static bool has_dropped;
static Oid dropped_database;
static SubTransactionId dropped_in;

static object_access_hook_type previous_object_access;

/* ------------------------------------------------------------ this node */

/*
 * node_this_copy_name
 *		The name of this node: dlog.node_name, cluster_name, or host and port.
 */
void
node_this_copy_name(char name[NAMEDATALEN])
{
	if (dlog_node_name[0] != '\0')
		strlcpy(name, dlog_node_name, NAMEDATALEN);
	else if (cluster_name[0] != '\0')
		strlcpy(name, cluster_name, NAMEDATALEN);
	else
	{
		char host[NAMEDATALEN];

		if (gethostname(host, sizeof(host) - 1) != 0)
			strlcpy(host, "localhost", sizeof(host));
		host[sizeof(host) - 1] = '\0';
		snprintf(name, NAMEDATALEN, "%.50s-%d", host, PostPortNumber);
	}
}

const char *
node_this_name(void)
{
	char *name = palloc(NAMEDATALEN);

	node_this_copy_name(name);
	return name;
}

/* -------------------------------------------------------- noting changes */

static LoadedDatabase *
find_database(Oid database, bool create)
{
	LoadedDatabase *unused = NULL;

	for (int i = 0; i < MAX_LOADED_DATABASES; i++)
	{
		LoadedDatabase *loaded = &transport_shared->databases[i];

		if (loaded->database == database)
			return loaded;
		if (loaded->database == InvalidOid && unused == NULL)
			unused = loaded;
	}
	if (!create || unused == NULL)
		return NULL;
	unused->database = database;
	unused->changes = 1;
	unused->loaded = 0;
	unused->dispatcher = 0;
	pg_atomic_write_u64(&unused->digest, 0);
	pg_atomic_write_u32(&unused->members_changed, 0);
	pg_atomic_write_u32(&unused->sync_pending, 0);
	pg_atomic_write_u64(&unused->flock_digest, 0);
	pg_atomic_write_u32(&unused->join_tokens, 0);
	pg_atomic_write_u32(&unused->discovers, 0);
	pg_atomic_write_u32(&unused->discover_soon, 0);
	pg_atomic_write_u32(&unused->uses_mdns, 0);
	pg_atomic_write_u32(&unused->flock_sync_pending, 0);
	pg_atomic_write_u32(&unused->heartbeat_ms, 0);
	return unused;
}

static void
table_change_begin(void)
{
	pg_atomic_fetch_add_u64(&transport_shared->version, 1);
	pg_write_barrier();
}

static void
table_change_end(void)
{
	pg_write_barrier();
	pg_atomic_fetch_add_u64(&transport_shared->version, 1);
}

static bool
node_is_admitted(uint32 node)
{
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		Admission *admission = &transport_shared->admissions[i];

		if (OidIsValid(admission->database) && admission->node == node)
			return true;
	}
	return false;
}

/* Entries that no database lists any longer become free. */
static void
free_unlisted_nodes(void)
{
	for (uint32 node = 1; node < transport_shared->n_nodes; node++)
	{
		NodeEntry *entry = &transport_shared->nodes[node];

		if (entry->in_use && !node_is_admitted(node))
			entry->in_use = false;
	}
}

/*
 * A database is gone, or its extension is: it admits nobody.
 */
static void
forget_database(Oid database)
{
	LoadedDatabase *loaded;

	LWLockAcquire(&transport_shared->node_lock, LW_EXCLUSIVE);
	loaded = find_database(database, false);
	table_change_begin();
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		if (transport_shared->admissions[i].database == database)
			transport_shared->admissions[i].database = InvalidOid;
	}
	free_unlisted_nodes();
	if (loaded != NULL)
		loaded->database = InvalidOid;
	table_change_end();
	LWLockRelease(&transport_shared->node_lock);
	transport_wake();

	/* It may have been made anew after that. */
	if (database == MyDatabaseId)
		runtime_request_refresh(database);
}

/* Those within it have later ids. */
static void
on_subtransaction_end(SubXactEvent event, SubTransactionId sub,
					  SubTransactionId parent, void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && has_dropped && dropped_in >= sub)
		has_dropped = false;
}

static void
on_transaction_end(XactEvent event, void *argument)
{
	LoadedDatabase *loaded;

	if (!has_changed && !has_dropped && !is_loaded_by_us)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (has_changed)
			{
				LWLockAcquire(&transport_shared->node_lock, LW_EXCLUSIVE);
				loaded = find_database(MyDatabaseId, true);
				if (loaded != NULL)
					loaded->changes++;
				LWLockRelease(&transport_shared->node_lock);
				if (!is_loaded_by_us)
					runtime_request_refresh(MyDatabaseId);
			}
			if (has_dropped)
				forget_database(dropped_database);
			break;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has changed dlog.node")));
			break;
		case XACT_EVENT_ABORT:
			break;
		default:
			return;
	}
	has_changed = has_dropped = is_loaded_by_us = false;
}

/* One that an outer transaction has dropped is so whatever becomes of this. */
static void
note_drop(Oid database)
{
	if (!has_dropped)
		dropped_in = GetCurrentSubTransactionId();
	has_dropped = true;
	dropped_database = database;
}

static void
on_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
				 int sub_id, void *argument)
{
	if (previous_object_access)
		previous_object_access(access, class_id, object_id, sub_id, argument);
	if (access != OAT_DROP || sub_id != 0)
		return;

	if (class_id == DatabaseRelationId)
		note_drop(object_id);
	else if (class_id == RelationRelationId && OidIsValid(MyDatabaseId))
	{
		Oid schema = get_namespace_oid("dlog", true);

		if (OidIsValid(schema) && get_relname_relid("node", schema) == object_id)
			note_drop(MyDatabaseId);
	}
}

/*
 * node_note_change
 *		This transaction changes dlog.node of its database.
 */
void
node_note_change(void)
{
	has_changed = true;
}

/*
 * node_load_later
 *		The same; but the caller calls node_load() itself after the commit.
 */
void
node_load_later(void)
{
	is_loaded_by_us = true;
}

/* --------------------------------------------------------------- loading */

static char *
text_column(TupleTableSlot *slot, int column)
{
	bool is_null;
	Datum value = slot_getattr(slot, column, &is_null);

	return is_null ? "" : TextDatumGetCString(value);
}

/* Reads dlog.node; NIL when this database has no extension. */
static List *
read_rows(void)
{
	Oid schema = get_namespace_oid("dlog", true);
	Oid table = OidIsValid(schema) ? get_relname_relid("node", schema) : InvalidOid;
	List *rows = NIL;
	Relation relation;
	Snapshot snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (!OidIsValid(table))
		return NIL;
	relation = table_open(table, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(relation, NULL);
	scan = table_beginscan(relation, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		NodeRow *row = palloc(sizeof(NodeRow));
		bool is_null;
		Datum node_id = slot_getattr(slot, COLUMN_NODE_ID, &is_null);

		row->node_id = is_null ? 0 : (uint64) DatumGetInt64(node_id);
		row->name = text_column(slot, COLUMN_NAME);
		row->host = text_column(slot, COLUMN_ADDRESS);
		row->port = DatumGetInt32(slot_getattr(slot, COLUMN_PORT, &is_null));
		row->public_key = text_column(slot, COLUMN_PUBLIC_KEY);
		row->previous_key = text_column(slot, COLUMN_PREVIOUS_KEY);
		row->database = text_column(slot, COLUMN_DATABASE);
		row->version = (uint64) DatumGetInt64(slot_getattr(slot, COLUMN_VERSION, &is_null));
		rows = lappend(rows, row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return rows;
}

static bool
is_key_of(const char *key, const NodeEntry *entry)
{
	return key[0] != '\0' && (strcmp(key, entry->public_key) == 0 ||
							  strcmp(key, entry->previous_key) == 0);
}

/* The entry of a row's node, or a free one, or 0 when the table is full. */
static uint32
claim_entry(const NodeRow *row)
{
	TransportShared *shared = transport_shared;

	for (uint32 node = 1; node < shared->n_nodes; node++)
	{
		NodeEntry *entry = &shared->nodes[node];

		if (entry->in_use &&
			(is_key_of(row->public_key, entry) || is_key_of(row->previous_key, entry) ||
			 (row->node_id != 0 && row->node_id == entry->node_id)))
			return node;
	}

	/* Used ones are taken last: somebody may remember who had their number. */
	if (shared->n_nodes <= shared->max_nodes)
	{
		memset(&shared->nodes[shared->n_nodes], 0, sizeof(NodeEntry));
		return shared->n_nodes++;
	}
	for (uint32 node = 1; node < shared->n_nodes; node++)
	{
		if (!shared->nodes[node].in_use)
			return node;
	}
	return 0;
}

static Admission *
claim_admission(Oid database, uint32 node)
{
	TransportShared *shared = transport_shared;
	Admission *unused = NULL;

	for (uint32 i = 0; i < shared->n_admissions; i++)
	{
		Admission *admission = &shared->admissions[i];

		if (admission->database == database && admission->node == node)
			return admission;
		if (!OidIsValid(admission->database) && unused == NULL)
			unused = admission;
	}
	if (unused == NULL && shared->n_admissions < shared->max_admissions)
		unused = &shared->admissions[shared->n_admissions++];
	return unused;
}

/* Puts a row into the table; false when that is full. */
static bool
apply_row(const NodeRow *row, uint32 dispatcher)
{
	uint32 node = claim_entry(row);
	NodeEntry *entry = &transport_shared->nodes[node];
	Admission *admission;

	if (node == 0)
		return false;
	admission = claim_admission(MyDatabaseId, node);
	if (admission == NULL)
		return false;

	if (!entry->in_use)
	{
		entry->in_use = true;
		entry->generation++;
	}
	entry->node_id = row->node_id;
	entry->port = row->port;
	strlcpy(entry->name, row->name, sizeof(entry->name));
	strlcpy(entry->host, row->host, sizeof(entry->host));
	strlcpy(entry->public_key, row->public_key, sizeof(entry->public_key));
	strlcpy(entry->previous_key, row->previous_key, sizeof(entry->previous_key));

	admission->database = MyDatabaseId;
	admission->node = node;
	admission->dispatcher = dispatcher;
	admission->row_hash = sync_row_hash(row->node_id, row->version, false);
	strlcpy(admission->name, row->name, sizeof(admission->name));
	strlcpy(admission->remote_database, row->database, sizeof(admission->remote_database));
	return true;
}

/* Takes back the admissions of this database that no row stands for. */
static void
remove_unlisted(const List *rows)
{
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		Admission *admission = &transport_shared->admissions[i];
		NodeEntry *entry;
		bool is_listed = false;
		ListCell *cell;

		if (admission->database != MyDatabaseId)
			continue;
		entry = &transport_shared->nodes[admission->node];
		foreach(cell, rows)
		{
			NodeRow *row = lfirst(cell);

			if (is_key_of(row->public_key, entry) || is_key_of(row->previous_key, entry) ||
				(row->node_id != 0 && row->node_id == entry->node_id))
				is_listed = true;
		}
		if (!is_listed)
			admission->database = InvalidOid;
	}
}

/*
 * node_load
 *		Bring the node table up to date with dlog.node of this database.
 *
 * In a transaction.
 */
void
node_load(void)
{
	TransportShared *shared = transport_shared;
	LoadedDatabase *loaded;
	uint64 changes = 0;
	char own_key[KEY_TEXT_SIZE];
	char *database;
	uint32 dispatcher;
	List *rows;
	ListCell *cell;
	bool is_full = false;
	uint64 digest;
	uint32 n_tokens;

	LWLockAcquire(&shared->node_lock, LW_EXCLUSIVE);
	loaded = find_database(MyDatabaseId, true);
	if (loaded != NULL)
		changes = loaded->changes;
	strlcpy(own_key, shared->public_key, sizeof(own_key));
	LWLockRelease(&shared->node_lock);
	if (loaded == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("more than %d databases of this server use dlog", MAX_LOADED_DATABASES)));

	database = get_database_name(MyDatabaseId);
	if (database == NULL)
		return; /* it is being dropped */
	dispatcher = database_address(THIS_NODE, database).incarnation;
	rows = read_rows();
	digest = sync_digest();
	n_tokens = token_count();
	foreach(cell, rows)
	{
		NodeRow *row = lfirst(cell);

		digest ^= sync_row_hash(row->node_id, row->version, false);
	}

	LWLockAcquire(&shared->node_lock, LW_EXCLUSIVE);
	loaded = find_database(MyDatabaseId, true);
	if (loaded == NULL || loaded->loaded > changes)
	{
		/* Somebody has loaded a newer state meanwhile. */
		LWLockRelease(&shared->node_lock);
		return;
	}
	table_change_begin();
	remove_unlisted(rows);
	free_unlisted_nodes();
	foreach(cell, rows)
	{
		NodeRow *row = lfirst(cell);

		/* A copy of this server may list what has become this server. */
		if (strcmp(row->public_key, own_key) != 0 && !apply_row(row, dispatcher))
			is_full = true;
	}
	free_unlisted_nodes();
	loaded->loaded = changes;
	loaded->dispatcher = dispatcher;
	pg_atomic_write_u64(&loaded->digest, digest);
	pg_atomic_write_u32(&loaded->join_tokens, n_tokens);
	table_change_end();
	LWLockRelease(&shared->node_lock);
	transport_wake();

	if (is_full)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("not all rows of dlog.node could be loaded"),
				 errhint("Raise dlog.max_nodes, which is %d, and restart the server.", dlog_max_nodes)));
}

/*
 * node_load_if_changed
 *		The same, if a transaction has changed it since it was loaded.
 */
void
node_load_if_changed(void)
{
	LoadedDatabase *loaded;
	bool is_current;

	runtime_require();
	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	loaded = find_database(MyDatabaseId, false);
	is_current = loaded != NULL && loaded->loaded == loaded->changes;
	LWLockRelease(&transport_shared->node_lock);
	if (!is_current)
		node_load();
}

/* ------------------------------------------------------------ looking up */

/*
 * node_find
 *		The number of a node of this database, by its name.
 *
 * ERROR 42704, or NODE_NOT_FOUND, when there is none.
 */
uint32
node_find(const char *name, bool missing_ok)
{
	uint32 node;

	node_load_if_changed();
	node = node_names_find(name);
	if (node == NODE_NOT_FOUND)
	{
		char this_name[NAMEDATALEN];

		node_this_copy_name(this_name);
		if (strcmp(this_name, name) == 0)
			node = THIS_NODE;
	}
	if (node == NODE_NOT_FOUND && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("node \"%s\" does not exist", name),
				 errhint("The view dlog.nodes lists the nodes of this database.")));
	return node;
}

/*
 * node_id_of, node_of_id
 *		Between the index of a node here and its number, which it has
 *		everywhere.  0: not known yet; NODE_NOT_FOUND: no node of this database.
 */
uint64
node_id_of(uint32 node)
{
	return node == THIS_NODE ? transport_shared->node_id : transport_shared->nodes[node].node_id;
}

uint32
node_of_id(uint64 id)
{
	uint32 node = NODE_NOT_FOUND;

	if (id == transport_shared->node_id)
		return THIS_NODE;
	if (id == 0 || !IsTransactionState())
		return NODE_NOT_FOUND;
	node_load_if_changed();
	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		Admission *admission = &transport_shared->admissions[i];

		if (admission->database == MyDatabaseId &&
			transport_shared->nodes[admission->node].node_id == id)
			node = admission->node;
	}
	LWLockRelease(&transport_shared->node_lock);
	return node;
}

/*
 * node_name
 *		The name of a node in this database.
 *
 * For one that this database does not list: the name that it goes by.
 */
const char *
node_name(uint32 node)
{
	const NodeNames *names;

	if (node == THIS_NODE)
		return node_this_name();
	names = node_names_of(node);
	if (names == NULL)
		elog(ERROR, "there is no node number %u", node);
	return pstrdup(names->name);
}

/*
 * node_database
 *		The database over there that belongs to this one.
 */
const char *
node_database(uint32 node)
{
	const NodeNames *names;

	if (node == THIS_NODE)
	{
		char *database = get_database_name(MyDatabaseId);

		if (database == NULL)
			elog(ERROR, "database %u does not exist", MyDatabaseId);
		return database;
	}
	names = node_names_of(node);
	if (names == NULL || !names->is_admitted)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the node has been removed from this database")));
	return pstrdup(names->database);
}

typedef struct NamedNode
{
	uint32 node;
	char name[NAMEDATALEN];
} NamedNode;

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const NamedNode *) a)->name, ((const NamedNode *) b)->name);
}

/*
 * node_list
 *		The nodes of this database as an integer list: this one first if asked
 *		for, the others by name.
 */
List *
node_list(bool including_this)
{
	NamedNode *named = palloc(sizeof(NamedNode) * (transport_shared->max_admissions + 1));
	int n = 0;
	List *nodes = including_this ? list_make1_int(THIS_NODE) : NIL;

	node_load_if_changed();
	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		Admission *admission = &transport_shared->admissions[i];

		if (admission->database != MyDatabaseId)
			continue;
		named[n].node = admission->node;
		strlcpy(named[n++].name, admission->name, NAMEDATALEN);
	}
	LWLockRelease(&transport_shared->node_lock);

	qsort(named, n, sizeof(NamedNode), compare_names);
	for (int i = 0; i < n; i++)
		nodes = lappend_int(nodes, (int) named[i].node);
	pfree(named);
	return nodes;
}

/*
 * node_copy
 *		A copy of a node's entry; false if there is no such node.
 */
bool
node_copy(uint32 node, NodeEntry *entry)
{
	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	*entry = transport_shared->nodes[node];
	LWLockRelease(&transport_shared->node_lock);
	return entry->in_use;
}

/*
 * node_init
 *		Called once, in the postmaster.
 */
void
node_init(void)
{
	RegisterXactCallback(on_transaction_end, NULL);
	RegisterSubXactCallback(on_subtransaction_end, NULL);
	previous_object_access = object_access_hook;
	object_access_hook = on_object_access;
	runtime_register_scheduler_start(node_load);
}
