/*
 * runtime.c
 *		Sets the runtime up, in the postmaster.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "base/pg_compat.h"
#include "runtime/runtime_internal.h"

/* What a node needs beyond what the server's defaults are made for. */
#define WORKERS_ADDED 64
#define PREPARED_TRANSACTIONS 200

int runtime_tranche;
static bool is_preloaded = false;

/*
 * runtime_require
 *		Every function of ours that needs the shared state calls this first.
 */
void
runtime_require(void)
{
	if (!is_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dlog must be loaded when the server starts"),
				 errhint("Add dlog to shared_preload_libraries and restart the server.")));
}

/* Raise a setting that the user left at the server's default. */
static void
raise_default(const char *name, int value)
{
	char text[12];

	if (guc_source(name) != PGC_S_DEFAULT && guc_source(name) != PGC_S_DYNAMIC_DEFAULT)
		return;
	snprintf(text, sizeof(text), "%d", value);
	SetConfigOption(name, text, PGC_POSTMASTER, PGC_S_OVERRIDE);
}

Size
runtime_shmem_size(void)
{
	Size size = process_shmem_size();

	size = add_size(size, actor_shmem_size());
	size = add_size(size, database_shmem_size());
	size = add_size(size, scheduler_shmem_size());
	size = add_size(size, shards_shmem_size());
	size = add_size(size, link_shmem_size());
	size = add_size(size, name_shmem_size());
	size = add_size(size, object_shmem_size());
	size = add_size(size, timer_shmem_size());
	size = add_size(size, statistics_shmem_size());
	size = add_size(size, dead_letter_shmem_size());
	return add_size(size, sizeof(int));
}

void
runtime_shmem_init(void)
{
	bool found;
	int *tranche = ShmemInitStruct("dlog tranche", sizeof(int), &found);

	if (!found)
		*tranche = LWLockNewTrancheId();
	runtime_tranche = *tranche;
	LWLockRegisterTranche(runtime_tranche, "DlogRuntime");

	process_shmem_init();
	actor_shmem_init();
	database_shmem_init();
	scheduler_shmem_init();
	shards_shmem_init();
	link_shmem_init();
	name_shmem_init();
	object_shmem_init();
	timer_shmem_init();
	statistics_shmem_init();
	dead_letter_shmem_init();
	c_face_register_all();
	is_preloaded = true;
}

void
runtime_init(void)
{
	raise_default("max_worker_processes", max_worker_processes + WORKERS_ADDED);
	raise_default("max_prepared_transactions", Max(PREPARED_TRANSACTIONS, MaxConnections));
	process_init();
	utility_init();
	launcher_register();
#ifdef DLOG_STOP_POINTS
	testfuncs_init();
#endif
}
