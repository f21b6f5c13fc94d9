/*
 * partition_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_PARTITION_INTERNAL_H
#define DLOG_PARTITION_INTERNAL_H

#include "partition/partition.h"

/* Columns of dlog.distributed_table */
#define Anum_distributed_table_relation 1
#define Anum_distributed_table_colocation 2

/* map.c */
extern Oid distributed_table_relation(void);
extern void distributed_table_changed(Oid table);
extern Oid distributed_parent(Oid partition);

#endif
