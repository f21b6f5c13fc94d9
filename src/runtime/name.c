/*
 * name.c
 *		Names of actors, per database.
 *
 * A name is one actor's, an actor may have several, and all are gone when it
 * exits.  A name may be given to an actor that is still being spawned: it is
 * taken then, and seen once the actor is alive.
 *
 * Names lie in a hash table of lists; the lists' members are blocks of the
 * arena.  One lock guards it, the lists of actors' names in their slots
 * included.  The network process asks for no names.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#include "base/guc.h"
#include "runtime/runtime_internal.h"

struct ActorName
{
	ActorName *next;		  /* in its bucket */
	ActorName *next_of_actor; /* in its actor's list */
	Oid database;
	ActorAddress actor;
	char name[FLEXIBLE_ARRAY_MEMBER];
};

typedef struct Names
{
	LWLock lock;
	pg_atomic_uint32 count; /* written under the lock */
	uint32 n_buckets;		/* a power of two; never changes after start */
	ActorName *bucket[FLEXIBLE_ARRAY_MEMBER];
} Names;

static Names *names;

/* Where a name is, or would be, linked. */
static ActorName **
find(Oid database, const char *name)
{
	uint32 hash = hash_combine(murmurhash32(database),
							   DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name))));
	ActorName **link = &names->bucket[hash & (names->n_buckets - 1)];

	while (*link != NULL && ((*link)->database != database || strcmp((*link)->name, name) != 0))
		link = &(*link)->next;
	return link;
}

/* Take a name out of the table and its actor's list. */
static void
take_out(ActorName **link)
{
	ActorName *taken = *link;
	ActorName **of_actor = &actor_cold(taken->actor.slot)->names;

	*link = taken->next;

	/* Whoever has claimed the slot anew has emptied the list, without our lock. */
	while (*of_actor != NULL && *of_actor != taken)
		of_actor = &(*of_actor)->next_of_actor;
	if (*of_actor != NULL)
		*of_actor = taken->next_of_actor;
	pg_atomic_write_u32(&names->count, pg_atomic_read_u32(&names->count) - 1);
}

/*
 * name_register
 *		Name an actor of this node, which may be alive or being spawned.
 *
 * ERROR 42602 when it is no name, 53400 when the arena is full.
 */
NameResult
name_register(Oid database, const char *name, ActorAddress actor)
{
	ActorCold *slot = actor.node == THIS_NODE && actor.slot != 0 ? actor_cold(actor.slot) : NULL;
	NameResult result = NAME_OK;
	ActorName *fresh;
	ActorName **link;

	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of an actor: \"%s\"", name),
				 errdetail("It must have 1 to %d bytes.", NAMEDATALEN - 1)));
	if (slot == NULL)
		return NAME_NO_ACTOR;
	fresh = arena_alloc(offsetof(ActorName, name) + strlen(name) + 1);
	fresh->database = database;
	fresh->actor = actor;
	strcpy(fresh->name, name);

	LWLockAcquire(&names->lock, LW_EXCLUSIVE);
	link = find(database, name);
	if (*link != NULL)
		result = actor_address_equal((*link)->actor, actor) ? NAME_OK : NAME_TAKEN;
	else
	{
		fresh->next = NULL;
		fresh->next_of_actor = slot->names;
		*link = slot->names = fresh;
		pg_atomic_write_u32(&names->count, pg_atomic_read_u32(&names->count) + 1);

		/* Who exits is marked first, and its names are looked for then. */
		pg_memory_barrier();
		if (actor_is_coming(actor))
			fresh = NULL;
		else
		{
			take_out(link);
			result = NAME_NO_ACTOR;
		}
	}
	LWLockRelease(&names->lock);
	if (fresh != NULL)
		arena_free(fresh);
	return result;
}

static bool
unregister(Oid database, const char *name, const ActorAddress *actor)
{
	ActorName **link;
	ActorName *taken;

	LWLockAcquire(&names->lock, LW_EXCLUSIVE);
	link = find(database, name);
	taken = *link;
	if (taken != NULL && actor != NULL && !actor_address_equal(taken->actor, *actor))
		taken = NULL;
	if (taken != NULL)
		take_out(link);
	LWLockRelease(&names->lock);
	if (taken != NULL)
		arena_free(taken);
	return taken != NULL;
}

/*
 * name_unregister
 *		The name is free again.  False if it was.
 */
bool
name_unregister(Oid database, const char *name)
{
	return unregister(database, name, NULL);
}

/*
 * name_unregister_own
 *		The same if the name is this actor's.  False too if it is another's.
 */
bool
name_unregister_own(Oid database, const char *name, ActorAddress actor)
{
	return unregister(database, name, &actor);
}

/*
 * name_lookup
 *		The living actor that has this name.
 */
bool
name_lookup(Oid database, const char *name, ActorAddress *actor)
{
	ActorName *found;

	LWLockAcquire(&names->lock, LW_SHARED);
	found = *find(database, name);
	if (found != NULL)
		*actor = found->actor;
	LWLockRelease(&names->lock);
	return found != NULL && actor_exists(*actor);
}

/*
 * name_of_actor
 *		The name that an actor got last.  False if it has none.
 */
bool
name_of_actor(ActorAddress actor, char name[NAMEDATALEN])
{
	ActorCold *slot = actor.slot != 0 ? actor_cold(actor.slot) : NULL;
	bool is_named = false;

	if (slot == NULL || *(ActorName *volatile *) &slot->names == NULL)
		return false;
	LWLockAcquire(&names->lock, LW_SHARED);
	if (slot->names != NULL && actor_address_equal(slot->names->actor, actor))
	{
		is_named = true;
		strlcpy(name, slot->names->name, NAMEDATALEN);
	}
	LWLockRelease(&names->lock);
	return is_named;
}

/*
 * name_actor_exited
 *		An actor has been marked as exiting: its names are free again.
 */
void
name_actor_exited(ActorCold *slot)
{
	ActorName *taken;
	ActorName *next;

	if (*(ActorName *volatile *) &slot->names == NULL)
		return;
	LWLockAcquire(&names->lock, LW_EXCLUSIVE);
	taken = slot->names;
	while (slot->names != NULL)
		take_out(find(slot->names->database, slot->names->name));
	LWLockRelease(&names->lock);
	for (; taken != NULL; taken = next)
	{
		next = taken->next_of_actor;
		arena_free(taken);
	}
}

uint32
name_count(void)
{
	return pg_atomic_read_u32(&names->count);
}

/* ---------------------------------------------------------- shared memory */

static uint32
bucket_count(void)
{
	return pg_nextpower2_32(Max(dlog_max_actors / 4, 1024));
}

Size
name_shmem_size(void)
{
	return add_size(offsetof(Names, bucket), mul_size(bucket_count(), sizeof(ActorName *)));
}

void
name_shmem_init(void)
{
	bool found;

	names = ShmemInitStruct("dlog names", name_shmem_size(), &found);
	if (found)
		return;
	memset(names, 0, name_shmem_size());
	LWLockInitialize(&names->lock, runtime_tranche);
	pg_atomic_init_u32(&names->count, 0);
	names->n_buckets = bucket_count();
}
