/*
 * partition.h
 *		Distributed tables: where their partitions are, and what keeps the
 *		nodes' definitions of them the same.
 *
 * Words.  A *distributed table* is a partitioned table that exists on every
 * node under the same name with the same partition names and bounds.  Each
 * leaf partition is an ordinary table on one node, its *home*, and a foreign
 * table of the wrapper dlog on all others.
 *
 * A *replicated table* is an ordinary table that is whole on every node that
 * has a *copy* of it.
 *
 * The catalogs are the partition map: the server of a foreign partition is
 * its home.  The table dlog.distributed_table tells which tables dlog itself
 * distributed, by what, and with which others they are co-located.
 */
#ifndef DLOG_PARTITION_H
#define DLOG_PARTITION_H

#include "nodes/pg_list.h"

#include "runtime/runtime.h"

/* Where a foreign table's rows are. */
typedef struct PartitionHome
{
	uint32 node;
	const char *schema; /* of the relation over there */
	const char *name;
	/*
	 * Set when the foreign table is a partition of a table that dlog
	 * distributed: the partitioned table's name, the same on every node, so
	 * that one request over it can cover all partitions of a node.
	 */
	const char *parent_schema;
	const char *parent_name;
} PartitionHome;

/* map.c */
extern bool partition_home(Oid foreign_table, PartitionHome *home);
extern bool partition_is_distributed(Oid table);
extern bool partition_is_colocated(Oid table, Oid other);
extern bool partition_is_replicated(Oid table);
extern bool partition_has_copy(Oid table, List *nodes); /* all of these numbers */
extern bool partition_is_our_server(Oid server, uint32 *node);

/* dlog.c's table of contents */
extern Size partition_shmem_size(void);
extern void partition_shmem_init(void);
extern void partition_init(void);

#endif
