/*
 * loaded.c
 *		Which durable actors are loaded, and where.
 *
 * A hash table in shared memory: chains of entries in the arena, under one
 * lock that is held for a few instructions.  An entry is there from the moment
 * that an actor is claimed a slot until it has no body any more.
 *
 * An actor that has a slot, but cannot be loaded, is *broken*: its entry says
 * why, and when it is tried again.
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
	Broken *broken; /* or NULL; in the arena */
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
	entry->broken = NULL;
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

/*
 * What is said to be broken is so no more.  It takes no lock of the runtime's:
 * who closes a database holds that, and buries its actors.
 */
static void
free_broken(Broken *broken)
{
	if (broken == NULL)
		return;
	pg_atomic_fetch_sub_u32(&broken->journal->broken, 1);
	arena_free(broken);
}

/*
 * loaded_is_broken
 *		Keep why an actor of this database cannot be loaded; takes the Broken,
 *		which is of the arena.  NULL: it could be.
 */
void
loaded_is_broken(int64 id, Broken *broken)
{
	Broken *before = NULL;
	Loaded *entry;

	if (broken != NULL)
	{
		broken->journal = my_database_journal();
		pg_atomic_fetch_add_u32(&broken->journal->broken, 1);
	}
	LWLockAcquire(&journals->lock, LW_EXCLUSIVE);
	entry = *link_of(MyDatabaseId, id);
	if (entry == NULL)
		before = broken;
	else
	{
		before = entry->broken;
		entry->broken = broken;
		if (before != NULL && broken != NULL)
			broken->since = before->since;
	}
	LWLockRelease(&journals->lock);
	free_broken(before);
}

/*
 * loaded_broken
 *		All that are broken in this database: a palloc'd array.
 */
LoadedBroken *
loaded_broken(int *n)
{
	int size = (int) pg_atomic_read_u32(&my_database_journal()->broken);
	LoadedBroken *result = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(LoadedBroken) * Max(size, 1));

	*n = 0;
	if (size == 0)
		return result;
	LWLockAcquire(&journals->lock, LW_SHARED);
	for (int i = 0; i < BUCKETS; i++)
		for (const Loaded *entry = journals->bucket[i]; entry != NULL && *n < size; entry = entry->next)
			if (entry->database == MyDatabaseId && entry->broken != NULL)
				result[(*n)++] = (LoadedBroken){entry->id, entry->address, *entry->broken};
	LWLockRelease(&journals->lock);
	return result;
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
	if (entry == NULL)
		return;
	free_broken(entry->broken);
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
			pg_atomic_init_u32(&journals->database[i].numbered, 0);
			pg_atomic_init_u32(&journals->database[i].broken, 0);
			pg_atomic_init_u32(&journals->database[i].mends, 0);
			pg_atomic_init_u64(&journals->database[i].last_id, 0);
			pg_atomic_init_u64(&journals->database[i].retry_at, 0);
		}
	}
	LWLockRegisterTranche(journals->tranche, "DlogJournals");
}
