/*
 * remote.c
 *		What the library sets up for statements on other nodes.
 */
#include "postgres.h"

#include "remote/remote_internal.h"

Size
remote_shmem_size(void)
{
	return activity_shmem_size();
}

void
remote_shmem_init(void)
{
	activity_shmem_init();
}

void
remote_init(void)
{
	executor_init();
	session_init();
	transaction_init();
}
