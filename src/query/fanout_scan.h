/*
 * fanout_scan.h
 *		The state of a running fan-out, for fanout_scan.c and explain.c.
 */
#ifndef DLOG_FANOUT_SCAN_H
#define DLOG_FANOUT_SCAN_H

#include "executor/execPartition.h"
#include "nodes/execnodes.h"
#include "utils/sortsupport.h"

#include "query/fanout.h"

struct binaryheap;

/* One node that is asked, and what it answers. */
typedef struct FanoutSource
{
	uint32 node;
	List *leaves;		  /* integers: which of the state's leaves */
	RemoteStream *stream; /* NULL: not open */
	TupleTableSlot *slot;
	bool is_done;
	RemoteStats stats; /* summed up over all streams that were closed */
	char *plan;		   /* how the node ran the last of them, if it told */
} FanoutSource;

typedef struct FanoutScanState
{
	CustomScanState custom;

	/* From the plan. */
	RemoteKind kind;
	const char *sql;
	const char *stand_in; /* or NULL */
	Oid user;
	List *parameter_exprs; /* of ExprState */
	int n_parameters;
	Oid *parameter_types;
	ExprState *local_qual;
	ExprState *limit;
	bool adds_up;
	FanoutSelection *selection; /* or NULL */
	TupleTableSlot *sums;		/* if it does, or selects */
	int n_sort_keys;
	SortSupport sort_keys;

	/* The leaves that initial pruning left. */
	PartitionPruneState *prune_state; /* or NULL */
	int n_leaves;					  /* remote ones */
	int n_local_leaves;
	uint32 *leaf_nodes;
	int *leaf_tables;
	char **leaf_names;

	/* This execution. */
	MemoryContext request_context; /* reset when it starts anew */
	bool is_started;
	bool is_finished;
	Datum *values; /* of the parameters */
	bool *nulls;
	int n_sources;
	FanoutSource *sources; /* one per node of the leaves */
	int next_source;	   /* whom to try first */
	RemoteStatement statement;
	PlanState *local; /* or NULL */
	bool local_is_done;
	int local_burst;		 /* rows of the local part to take without asking */
	struct binaryheap *heap; /* merging: sources and, as n_sources, local */
	TupleTableSlot **heads;	 /* merging: their next rows */
	int last_returned;		 /* merging: whose head was returned, or -1 */
} FanoutScanState;

/* fanout_select.c */
extern FanoutSelection *selection_from_list(List *list);
extern TupleTableSlot *fanout_select(FanoutScanState *state);

/* fanout_scan.c */
extern void fanout_ask(FanoutScanState *state, const char *sql, TupleDesc columns,
					   const double *more_values, int n_more);
extern TupleTableSlot *fanout_next_answer(FanoutScanState *state, FanoutSource *source);
extern TupleTableSlot *fanout_next_local(FanoutScanState *state);
extern void fanout_source_stats(const FanoutSource *source,
								RemoteStats *stats);

#endif
