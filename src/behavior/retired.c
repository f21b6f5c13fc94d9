/*
 * retired.c
 *		Types of messages that no behavior takes any more.
 *
 * Messages of them may wait in mailboxes until the server stops, and would be
 * handled if a behavior took them again, so these types are not to be altered
 * either.  The list is in the arena and only grows; it is short, as it grows
 * by what people define.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"

#include "base/arena.h"
#include "behavior/behavior_internal.h"

typedef struct RetiredType
{
	struct RetiredType *next;
	Oid database;
	Oid type;
} RetiredType;

/* No lock: the newest RetiredType. */
static pg_atomic_uint64 *newest;

Size
behavior_shmem_size(void)
{
	return sizeof(pg_atomic_uint64);
}

void
behavior_shmem_init(void)
{
	bool found;

	newest = ShmemInitStruct("dlog retired types", behavior_shmem_size(), &found);
	if (!found)
		pg_atomic_init_u64(newest, 0);
}

/* Of this database. */
List *
retired_types(void)
{
	List *types = NIL;

	for (RetiredType *retired = (RetiredType *) pg_atomic_read_u64(newest); retired != NULL; retired = retired->next)
		if (retired->database == MyDatabaseId)
			types = lappend_oid(types, retired->type);
	return types;
}

/*
 * type_retire
 *		A behavior that takes messages of this type is about not to.
 *
 * It stays in the list if the transaction is rolled back.  ERROR 53400 when
 * the arena is full.
 */
void
type_retire(Oid type)
{
	RetiredType *retired;
	uint64 next;

	if (list_member_oid(retired_types(), type))
		return;
	retired = arena_alloc(sizeof(RetiredType));
	arena_set_owner(retired, ARENA_NO_OWNER);
	retired->database = MyDatabaseId;
	retired->type = type;
	next = pg_atomic_read_u64(newest);
	do
		retired->next = (RetiredType *) next;
	while (!pg_atomic_compare_exchange_u64(newest, &next, (uint64) retired));
}
