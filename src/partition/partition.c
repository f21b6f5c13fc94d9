/*
 * partition.c
 *		The folder's entry.
 */
#include "postgres.h"

#include "partition/partition_internal.h"
#include "transport/transport.h"

/*
 * partition_init
 *		Called once, in the postmaster.
 */
void
partition_init(void)
{
	transport_joined = sync_joined;
	transport_leaving = sync_leaving;
	transport_removed = replicated_tables_forget_node;
	partition_actor_init();
	ddl_init();
	snapshot_init();
}
