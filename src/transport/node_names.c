/*
 * node_names.c
 *		The names of nodes, as this process knows them.
 *
 * Names are looked up for every statement that goes to another node, and by
 * who asks a thousand nodes a thousand times, so each process keeps what the
 * node table says of its database, until the table changes.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "transport/transport_internal.h"

/* By name. */
typedef struct NameEntry
{
	char name[NAMEDATALEN]; /* hash key */
	uint32 node;
} NameEntry;

static MemoryContext context;
static HTAB *by_name;
static uint64 known_version = PG_UINT64_MAX; /* that: none */
static uint32 n_known;
static NodeNames *by_node;

static void
forget(void)
{
	known_version = PG_UINT64_MAX;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "dlog node names",
										ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
}

/* Reads the node table.  The caller holds its lock. */
static void
copy_table(void)
{
	HASHCTL control = {.keysize = NAMEDATALEN, .entrysize = sizeof(NameEntry), .hcxt = context};

	n_known = transport_shared->n_nodes;
	by_node = MemoryContextAllocZero(context, sizeof(NodeNames) * Max(n_known, 1));
	by_name = hash_create("dlog node names", Max(n_known, 16), &control,
						  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (uint32 node = 1; node < n_known; node++)
		strlcpy(by_node[node].name, transport_shared->nodes[node].name, NAMEDATALEN);
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		const Admission *admission = &transport_shared->admissions[i];
		NodeNames *names;
		NameEntry *entry;

		if (admission->database != MyDatabaseId || admission->node >= n_known)
			continue;
		names = &by_node[admission->node];
		names->is_admitted = true;
		strlcpy(names->name, admission->name, NAMEDATALEN);
		strlcpy(names->database, admission->remote_database, NAMEDATALEN);
		entry = hash_search(by_name, admission->name, HASH_ENTER, NULL);
		entry->node = admission->node;
	}
}

/* Whatever fails in between, nothing half is left that would be believed. */
static void
follow_table(void)
{
	if (pg_atomic_read_u64(&transport_shared->version) == known_version)
		return;
	forget();
	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	copy_table();
	known_version = pg_atomic_read_u64(&transport_shared->version);
	LWLockRelease(&transport_shared->node_lock);
}

/*
 * node_names_find
 *		The node that this database lists under a name, or NODE_NOT_FOUND.
 */
uint32
node_names_find(const char *name)
{
	NameEntry *entry;

	follow_table();
	if (strlen(name) >= NAMEDATALEN)
		return NODE_NOT_FOUND;
	entry = hash_search(by_name, name, HASH_FIND, NULL);
	return entry != NULL ? entry->node : NODE_NOT_FOUND;
}

/*
 * node_names_of
 *		A node's names; valid until the next call of a function of this file.
 *		NULL if the table has no such entry.
 */
const NodeNames *
node_names_of(uint32 node)
{
	follow_table();
	return node < n_known ? &by_node[node] : NULL;
}
