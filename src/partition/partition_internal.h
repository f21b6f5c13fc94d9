/*
 * partition_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_PARTITION_INTERNAL_H
#define DLOG_PARTITION_INTERNAL_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/array.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

#include "partition/partition.h"
#include "transport/transport.h"

/* Columns of dlog.distributed_table */
#define Anum_distributed_table_relation 1
#define Anum_distributed_table_colocation 2
#define Anum_distributed_table_keys 3
#define Natts_distributed_table 3

/* Columns of dlog.replicated_table */
#define Anum_replicated_table_relation 1
#define Anum_replicated_table_nodes 2
#define Natts_replicated_table 2

#define DEFAULT_PARTITIONS 32
#define MAX_PARTITIONS 4096

/*
 * Which node has which partition.  Partitions are numbered from 0 by the
 * remainder of their bounds.
 */
typedef struct Placement
{
	int n_partitions;
	char **names; /* of the partitions, in the schema of their table */
	char **homes; /* names of nodes */
} Placement;

/* A primary key, unique constraint or unique index. */
typedef struct TableKey
{
	char *name;
	char *kind;		  /* PRIMARY KEY or UNIQUE; NULL: an index alone */
	char *definition; /* what follows CREATE UNIQUE INDEX ... ON table */
	char *timing;	  /* DEFERRABLE ... */
	char *description;
	bool is_replica_identity;
} TableKey;

/* What makes the same table on another node; see definition.c. */
typedef struct TableDefinition
{
	char *schema;
	char *schema_owner;
	char *name;
	char *qualified; /* both, quoted */
	char *owner;
	char *key; /* what follows PARTITION BY */
	char *columns;
	char *storage;	   /* of its partitions */
	char *alterations; /* NULL: none */
	char *values;	   /* columns that hold rows */
	char replica_identity;
	List *settings; /* statements */
	List *grants;	/* statements */
	List *keys;		/* of TableKey */
	pg_uuid_t colocation;
} TableDefinition;

/* map.c */
extern Oid distributed_table_relation(void);
extern Oid distributed_parent(Oid partition);
extern const char *partition_require_own(Oid partition);
extern const char *partition_home_name(Oid partition);
extern bool distributed_table_read(Oid table, pg_uuid_t *colocation, List **keys);
extern void distributed_table_add(Oid table, const pg_uuid_t *colocation, ArrayType *keys);
extern void distributed_table_remove(Oid table);
extern List *distributed_table_list(void);
extern Oid replicated_table_relation(void);
extern bool replicated_table_read(Oid table, List **nodes);
extern void replicated_table_add(Oid table, ArrayType *nodes);
extern void replicated_table_remove(Oid table);
extern List *replicated_table_list(void);

/* actor.c */
typedef struct PartitionGate PartitionGate;
extern void partition_hold(Oid partition);
extern void partition_dropped(Oid relation);
extern void partition_actor_init(void);

/* placement.c */
extern Placement *placement_create(const char *table, int n_partitions, List *nodes);
extern Placement *placement_like(const char *table, const Placement *other);
extern Placement *placement_of(Oid table);
extern char *partition_object_name(const char *name, int number);
extern List *placement_nodes(const Placement *placement);
extern char *placement_sizes(Oid table);

/* eligibility.c */
extern void check_distributable(Relation relation, List *columns);
extern void check_replicable(Relation relation);
extern void check_nothing_depends(Oid table, const char *verb);
extern List *table_sequence_columns(Oid table);

/* definition.c */
extern TableDefinition *definition_read(Oid table);
extern char *definition_create_script(const TableDefinition *definition,
									  const Placement *placement, const char *node);
extern char *definition_finish_script(const TableDefinition *definition,
									  const Placement *placement, const char *node);
extern char *definition_copy_script(const TableDefinition *definition);
extern char *definition_copy_finish_script(const TableDefinition *definition);
extern char *definition_key_script(Oid table, const char *key, const char *schema,
								   const char *other_table, const char *other_name);
extern char *definition_key_statements(const TableKey *key, const char *schema,
									   const char *table, const char *name);
extern List *definition_query(const char *sql, Oid table);

/* everywhere.c */
extern void everywhere_require(void);
extern void everywhere_lock(const char *schema, const char *name);
extern int fixed_settings_begin(void);
extern void fixed_settings_end(int level);
extern uint64 run_here(const char *script);
extern void run_there(uint32 node, const char *script);
extern void run_elsewhere(const char *script);

/* distribute.c */
extern Relation table_open_to_change(Oid table, LOCKMODE mode, const char *function);
extern char *node_schema_script(uint32 node, const TableDefinition *definition);
extern void distribute_table(Oid table, List *columns, int n_partitions,
							 Oid colocate_with, List *nodes);
extern void undistribute_table(Oid table);

/* replicate.c */
extern void replicate_table(Oid table);
extern void unreplicate_table(Oid table);
extern void replicated_table_end(Oid table);
extern void replicated_table_require_copies(Oid table);
extern void replicated_tables_forget_node(const char *name);

/* sync.c */
extern char *definition_script(Oid table);
extern int definitions_apply(const char *json, bool is_tolerant);
extern int definitions_sync(const char *node);
extern void sync_joined(SponsorAsk ask, void *sponsor);
extern void sync_leaving(void);

/* ddl.c */
extern void ddl_init(void);

/* snapshot.c */
struct CopyStmt;
extern void partition_check_snapshot(Oid relation);
extern void partition_check_copied(const struct CopyStmt *copy);
extern void snapshot_init(void);

#endif
