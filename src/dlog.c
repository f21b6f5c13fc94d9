/*
 * dlog.c
 *		The library's entry: what is set up when the server loads it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "actor/actor.h"
#include "base/arena.h"
#include "base/function.h"
#include "base/guc.h"
#include "base/stop_point.h"
#include "behavior/behavior.h"
#include "deploy/deploy.h"
#include "flock/flock.h"
#include "journal/journal.h"
#include "partition/partition.h"
#include "query/query.h"
#include "remote/remote.h"
#include "runtime/runtime.h"
#include "supervision/supervision.h"
#include "transport/transport.h"

/* Server 15 does not export it by itself. */
extern DLOG_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);
PG_MODULE_MAGIC;

extern DLOG_EXPORT void _PG_init(void);

static shmem_request_hook_type previous_shmem_request;
static shmem_startup_hook_type previous_shmem_startup;

static void
request_shared_memory(void)
{
	if (previous_shmem_request)
		previous_shmem_request();

	RequestAddinShmemSpace(arena_shmem_size());
	RequestAddinShmemSpace(stop_point_shmem_size());
	RequestAddinShmemSpace(runtime_shmem_size());
	RequestAddinShmemSpace(transport_shmem_size());
	RequestAddinShmemSpace(remote_shmem_size());
	RequestAddinShmemSpace(behavior_shmem_size());
	RequestAddinShmemSpace(sql_actor_shmem_size());
	RequestAddinShmemSpace(journal_shmem_size());
	RequestAddinShmemSpace(supervision_shmem_size());
	RequestAddinShmemSpace(partition_shmem_size());
}

static void
initialize_shared_memory(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	arena_shmem_init();
	stop_point_shmem_init();
	runtime_shmem_init();
	transport_shmem_init();
	remote_shmem_init();
	behavior_shmem_init();
	sql_actor_shmem_init();
	journal_shmem_init();
	supervision_shmem_init();
	partition_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	/* Loaded by a session: functions will say that it must be preloaded. */
	if (!process_shared_preload_libraries_in_progress)
		return;

	guc_init();

	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = initialize_shared_memory;

	runtime_init();
	transport_init();
	remote_init();
	behavior_init();
	sql_actor_init();
	journal_init();
	supervision_init();
	partition_init();
	flock_init();
	deploy_init();
	query_init();
}
