/*
 * partition.c
 *		The folder's entry.
 */
#include "postgres.h"

#include "partition/partition_internal.h"

/*
 * partition_init
 *		Called once, in the postmaster.
 */
void
partition_init(void)
{
	ddl_init();
}
