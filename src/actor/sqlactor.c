/*
 * sqlactor.c
 *		The folder's entry, and what shared memory it needs.
 */
#include "postgres.h"

#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "actor/actor_internal.h"

/*
 * Names this life of shared memory in references: tenths of a second since
 * 2000.  It wraps after 13 years, and is compared for equality only.
 */
static uint32 *server_start;

uint32
sql_actor_server_start(void)
{
	return *server_start;
}

Size
sql_actor_shmem_size(void)
{
	return add_size(sizeof(uint32), add_size(slot_shmem_size(), pool_shmem_size()));
}

void
sql_actor_shmem_init(void)
{
	bool found;

	server_start = ShmemInitStruct("dlog server start", sizeof(uint32), &found);
	if (!found)
		*server_start = (uint32) (GetCurrentTimestamp() / (USECS_PER_SEC / 10));
	slot_shmem_init();
	pool_shmem_init();
}

/* Invalid: there is no such actor, or it is being loaded and nobody knows yet. */
static Oid
behavior_of_reference(const ActorRef *ref, bool waits)
{
	ActorAddress address;
	volatile SqlActor *actor;
	bool is_loading;
	Oid behavior;

	if (!actor_of_ref(ref, &address))
		return InvalidOid;
	if (waits)
		wait_until_loaded(address);

	/* It is written after the phase when that becomes NEW, and before when READY. */
	actor = sql_actor_at(address.slot);
	is_loading = actor->phase == PHASE_NEW;
	pg_read_barrier();
	behavior = actor->behavior;
	pg_read_barrier();
	is_loading |= actor->phase == PHASE_NEW;
	return is_loading && sql_actor_durable(address) != 0 ? InvalidOid : behavior;
}

void
sql_actor_init(void)
{
	runtime_register_host(&sql_actor_host);
	behavior_of_actor = behavior_of_reference;
	pending_init();
}
