/*
 * loaded.c
 *		Which durable actors are loaded, and where.
 *
 * A hash table in shared memory: chains of entries in the arena, under one
 * lock that is held for a few instructions.  An entry is there from the moment
 * that an actor is claimed a slot until it has no body any more.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/shmem.h"

#include "base/arena.h"
#include "journal/journal_internal.h"

#define BUCKETS 65536

typedef struct Loaded
{
	struct Loaded *next;
	int64 id;
	Oid database;
	ActorAddress address;
} Loaded;

typedef struct Journals
{
	LWLock lock; /* guards the chains */
	int tranche;
	DatabaseJournal database[RUNTIME_MAX_DATABASES];
	Loaded *bucket[BUCKETS];
} Journals;

static Journals *journals;

DatabaseJournal *
database_journal(int database)
{
	return &journals->database[database];
}

/* Of this process's database; ERROR when no schedulers run in it yet. */
DatabaseJournal *
my_database_journal(void)
{
	int database = runtime_database(MyDatabaseId);

	if (database < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no schedulers run in this database yet"),
				 errhint("They start when the transaction that creates extension \"dlog\" commits.")));
	return &journals->database[database];
}

static Loaded **
link_of(Oid database, int64 id)
{
	Loaded **link = &journals->bucket[hash_combine(murmurhash32((uint32) id), (uint32) (id >> 32) ^ database) % BUCKETS];

	while (*link != NULL && ((*link)->id != id || (*link)->database != database))
		link = &(*link)->next;
	return link;
}

/*
 * loaded_find
 *		Where it is, if it is loaded.
 */
bool
loaded_find(Oid database, int64 id, ActorAddress *address)
{
	Loaded *entry;

	LWLockAcquire(&journals->lock, LW_SHARED);
	entry = *link_of(database, id);
	if (entry != NULL)
		*address = entry->address;
	LWLockRelease(&journals->lock);
	return entry != NULL;
}

/*
 * loaded_enter
 *		This is where it is; false: it is somewhere else already.  An actor
 *		that is loaded lives at once, before anybody else can find it.
 */
bool
loaded_enter(int64 id, ActorAddress address, bool lives)
{
	Loaded *entry = arena_alloc(sizeof(Loaded));
	Loaded **link;
	bool is_free;

	entry->next = NULL;
	entry->id = id;
	entry->database = MyDatabaseId;
	entry->address = address;
	LWLockAcquire(&journals->lock, LW_EXCLUSIVE);
	link = link_of(MyDatabaseId, id);
	is_free = *link == NULL;
	if (is_free)
	{
		*link = entry;
		if (lives)
			actor_is_loaded(address);
	}
	LWLockRelease(&journals->lock);
	if (!is_free)
		arena_free(entry);
	return is_free;
}

/* It is not there any more. */
void
loaded_leave(Oid database, int64 id, ActorAddress address)
{
	Loaded **link;
	Loaded *entry;

	LWLockAcquire(&journals->lock, LW_EXCLUSIVE);
	link = link_of(database, id);
	entry = *link;
	if (entry != NULL && actor_address_equal(entry->address, address))
		*link = entry->next;
	else
		entry = NULL;
	LWLockRelease(&journals->lock);
	if (entry != NULL)
		arena_free(entry);
}

Size
loaded_shmem_size(void)
{
	return sizeof(Journals);
}

void
loaded_shmem_init(void)
{
	bool found;

	journals = ShmemInitStruct("dlog journals", sizeof(Journals), &found);
	if (!found)
	{
		memset(journals, 0, sizeof(Journals));
		journals->tranche = LWLockNewTrancheId();
		LWLockInitialize(&journals->lock, journals->tranche);
		for (int i = 0; i < RUNTIME_MAX_DATABASES; i++)
		{
			pg_atomic_init_u32(&journals->database[i].state, DELIVERY_NOT_BEGUN);
			pg_atomic_init_u32(&journals->database[i].wants_sweep, 0);
			pg_atomic_init_u32(&journals->database[i].expires, 0);
			pg_atomic_init_u32(&journals->database[i].counts, 0);
			pg_atomic_init_u32(&journals->database[i].homes, 0);
			pg_atomic_init_u64(&journals->database[i].last_id, 0);
			pg_atomic_init_u64(&journals->database[i].retry_at, 0);
		}
	}
	LWLockRegisterTranche(journals->tranche, "DlogJournals");
}
