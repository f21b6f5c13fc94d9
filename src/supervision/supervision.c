/*
 * supervision.c
 *		Sets supervision up, in the postmaster.
 */
#include "postgres.h"

#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "supervision/supervision_internal.h"

int supervision_tranche;

Size
supervision_shmem_size(void)
{
	return add_size(add_size(registry_shmem_size(), failure_shmem_size()), sizeof(int));
}

void
supervision_shmem_init(void)
{
	bool found;
	int *tranche = ShmemInitStruct("dlog supervision tranche", sizeof(int), &found);

	if (!found)
		*tranche = LWLockNewTrancheId();
	supervision_tranche = *tranche;
	LWLockRegisterTranche(supervision_tranche, "DlogSupervision");
	registry_shmem_init();
	failure_shmem_init();
}

void
supervision_init(void)
{
	failure_init();
	tree_init();
	job_init();
	supervisionfuncs_init();
}
