/*
 * object.c
 *		Memory of any size that actors hand to each other.
 *
 * Words.  An *object* lies in the arena, in a block or, if it is large, in a
 * run of pages.  It is *held* by an actor or part of a message that is under
 * way; when that actor exits or that message reaches nobody, the object is
 * freed.  As long as it is not *shared* it has one holder, who may write.
 * Once shared it is never written again, and freed with the last reference
 * to it: each holding and each message is one.
 *
 * What an actor holds is a list in its slot, used by nobody but who runs the
 * actor.  The first holding of an object is part of the object, so giving it
 * from actor to actor allocates nothing.
 *
 * A message says by its type that its payload begins with so many pointers
 * to objects (MESSAGE_OBJECTS).  Who frees a message frees what it still has.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "runtime/runtime_internal.h"

struct ObjectHolding
{
	ObjectHolding *next;
	ObjectHolding *previous; /* itself: nobody holds by it */
	Object *object;
};

struct Object
{
	ObjectHolding own;
	pg_atomic_uint32 references;
	bool is_shared;
	uint64 number; /* never used again */
	Size size;
	char padding[8];
};

/* A block's header of 8 bytes and this: the content begins a cache line. */
StaticAssertDecl(sizeof(Object) == 64 - 8, "an object's head is a cache line with the block's");

#define CONTENT(object) ((char *) (object) + sizeof(Object))
#define OBJECT_OF(content) ((Object *) ((char *) (content) - sizeof(Object)))

/* In a run of pages it lies as it does in a block. */
#define LARGE_OFFSET 8

typedef struct Objects
{
	pg_atomic_uint64 last_number;
} Objects;

static Objects *objects;

static inline bool
is_large(Size size)
{
	return sizeof(Object) + size > ARENA_MAX_SIZE;
}

static ObjectHolding *
first_holding(ActorAddress holder)
{
	return arena_pointer(actor_cold(holder.slot)->objects);
}

static inline bool
holds(const ObjectHolding *holding)
{
	return holding->previous != holding;
}

static void
hold(ActorAddress holder, ObjectHolding *holding, Object *object)
{
	holding->object = object;
	holding->previous = NULL;
	holding->next = first_holding(holder);
	if (holding->next != NULL)
		holding->next->previous = holding;
	actor_cold(holder.slot)->objects = arena_number(holding);
}

static void
let_go(ActorAddress holder, ObjectHolding *holding)
{
	if (holding->next != NULL)
		holding->next->previous = holding->previous;
	if (holding->previous != NULL)
		holding->previous->next = holding->next;
	else
		actor_cold(holder.slot)->objects = arena_number(holding->next);
	holding->previous = holding;
}

static void
object_free(Object *object)
{
	if (is_large(object->size))
		arena_free_large((char *) object - LARGE_OFFSET);
	else
		arena_free(object);
}

static void
release_reference(Object *object)
{
	if (!object->is_shared || pg_atomic_sub_fetch_u32(&object->references, 1) == 0)
		object_free(object);
}

/*
 * object_create
 *		An object that this actor holds; its content is not cleared.
 *
 * By whoever runs the actor.  ERROR 53400 when there is no room.
 */
void *
object_create(ActorAddress holder, Size size)
{
	Object *object;

	if (!is_large(size))
		object = arena_try_alloc(sizeof(Object) + size);
	else
	{
		char *run = size < arena_size() ? arena_try_alloc_large(LARGE_OFFSET + sizeof(Object) + size) : NULL;

		object = run ? (Object *) (run + LARGE_OFFSET) : NULL;
	}
	if (object == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of dlog's shared memory"),
				 errdetail("There is no room for an object of %zu bytes.", size),
				 errhint("Raise dlog.shared_memory_size; the view dlog.memory tells what is used.")));
	pg_atomic_init_u32(&object->references, 1);
	object->is_shared = false;
	object->number = pg_atomic_add_fetch_u64(&objects->last_number, 1);
	object->size = size;
	hold(holder, &object->own, object);
	return CONTENT(object);
}

Size
object_size(const void *content)
{
	return OBJECT_OF(content)->size;
}

uint64
object_number(const void *content)
{
	return OBJECT_OF(content)->number;
}

/*
 * object_keep
 *		What came in a message shall be held by the actor.
 *
 * The reference is the message's no more.  ERROR 53400 when the arena is
 * full; then it still is.
 */
void
object_keep(ActorAddress holder, void *content)
{
	Object *object = OBJECT_OF(content);

	if (!object->is_shared)
	{
		if (!holds(&object->own))
			hold(holder, &object->own, object);
	}
	else
		hold(holder, arena_alloc(sizeof(ObjectHolding)), object);
}

/*
 * object_leave
 *		It is about to become part of a message: its holder holds it no more.
 */
void
object_leave(ActorAddress holder, void *content)
{
	Object *object = OBJECT_OF(content);

	Assert(!object->is_shared);
	if (holds(&object->own))
		let_go(holder, &object->own);
}

/*
 * object_share
 *		From now on it is never written, and may have many holders.
 */
void
object_share(void *content)
{
	OBJECT_OF(content)->is_shared = true;
}

/* One more reference, which is about to become part of a message. */
void
object_refer(const void *content)
{
	Object *object = OBJECT_OF(content);

	Assert(object->is_shared);
	pg_atomic_fetch_add_u32(&object->references, 1);
}

/*
 * object_drop
 *		The actor holds it no more.
 */
void
object_drop(ActorAddress holder, void *content)
{
	Object *object = OBJECT_OF(content);
	ObjectHolding *holding = first_holding(holder);

	while (holding != NULL && holding->object != object)
		holding = holding->next;
	if (holding != NULL)
	{
		let_go(holder, holding);
		if (holding != &object->own)
			arena_free(holding);
	}
	release_reference(object);
}

/*
 * objects_release
 *		A message of this type is done with: free what it still refers to.
 *
 * The payload need not be aligned.
 */
void
objects_release(uint16 type, char *payload, Size size)
{
	int n = MESSAGE_OBJECTS(type);
	int i;

	if (size < n * sizeof(void *))
		return;
	for (i = 0; i < n; i++)
	{
		void *content;

		memcpy(&content, payload + i * sizeof(void *), sizeof(void *));
		if (content == NULL)
			continue;
		memset(payload + i * sizeof(void *), 0, sizeof(void *));
		release_reference(OBJECT_OF(content));
	}
}

/*
 * object_actor_exited
 *		What it held is free, or one reference less.
 */
void
object_actor_exited(ActorAddress address)
{
	ObjectHolding *holding;

	while ((holding = first_holding(address)) != NULL)
	{
		Object *object = holding->object;

		let_go(address, holding);
		if (holding != &object->own)
			arena_free(holding);
		release_reference(object);
	}
}

/* ---------------------------------------------------------- shared memory */

Size
object_shmem_size(void)
{
	return sizeof(Objects);
}

void
object_shmem_init(void)
{
	bool found;

	objects = ShmemInitStruct("dlog objects", object_shmem_size(), &found);
	if (!found)
		pg_atomic_init_u64(&objects->last_number, 0);
}
