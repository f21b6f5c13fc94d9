/*
 * fanout_scan.c
 *		Running a fan-out.
 *
 * At the first row wanted, the request is opened on all nodes at once; then
 * this process works on the local part whenever the nodes have nothing ready,
 * and sleeps when it has neither.  Rows are passed on as they come, in no
 * order, or merged when the plan says that all parts come sorted.
 *
 * A restart asks anew: the values that travel may have changed, and keeping
 * all rows here is what Materialize is for.  Ending closes the streams, which
 * cancels the work of the nodes.  The server's call to shut down does not: it
 * comes after each FETCH of a cursor too.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/pg_compat.h"
#include "query/fanout_scan.h"
#include "transport/transport.h"

/* Local rows to take before looking whether a node has sent any. */
#define LOCAL_BURST 32

static Node *fanout_create_state(CustomScan *scan);
static void fanout_begin(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *fanout_exec(CustomScanState *node);
static void fanout_end(CustomScanState *node);
static void fanout_rescan(CustomScanState *node);

const CustomScanMethods fanout_scan_methods = {
	.CustomName = "DLog Fanout",
	.CreateCustomScanState = fanout_create_state,
};

static const CustomExecMethods fanout_exec_methods = {
	.CustomName = "DLog Fanout",
	.BeginCustomScan = fanout_begin,
	.ExecCustomScan = fanout_exec,
	.EndCustomScan = fanout_end,
	.ReScanCustomScan = fanout_rescan,
	.ExplainCustomScan = fanout_explain,
};

static Node *
fanout_create_state(CustomScan *scan)
{
	FanoutScanState *state = palloc0(sizeof(FanoutScanState));

	NodeSetTag(state, T_CustomScanState);
	state->custom.methods = &fanout_exec_methods;
	return (Node *) state;
}

/* --- setting up ------------------------------------------------------------- */

/*
 * Rows come from slots of several kinds, so nothing may be compiled for the
 * virtual slot that the server has prepared.
 */
static TupleDesc
prepare_slots(FanoutScanState *state)
{
	CustomScan *scan = (CustomScan *) state->custom.ss.ps.plan;
	ScanState *ss = &state->custom.ss;
	TupleDesc descriptor = ExecTypeFromTL(scan->custom_scan_tlist);

	ss->ps.scandesc = descriptor;
	ss->ps.scanops = &TTSOpsMinimalTuple;
	ss->ps.scanopsfixed = false;
	ss->ps.scanopsset = true;
	ExecConditionalAssignProjectionInfo(&ss->ps, descriptor, INDEX_VAR);
	return descriptor;
}

/*
 * Initial pruning, with what is known when execution starts.  The server
 * numbers the leaves that remain from zero.
 */
static void
prepare_leaves(FanoutScanState *state, List *private)
{
	CustomScan *scan = (CustomScan *) state->custom.ss.ps.plan;
	List *node_names = list_nth(private, FANOUT_NODES);
	List *nodes = list_nth(private, FANOUT_LEAF_NODES);
	List *tables = list_nth(private, FANOUT_LEAF_TABLES);
	List *names = list_nth(private, FANOUT_LEAF_NAMES);
	PartitionPruneInfo *info = list_nth(private, FANOUT_PRUNE_INFO);
	int n_remote = list_length(nodes);
	int n_all = n_remote + intVal(list_nth(private, FANOUT_LOCAL_COUNT));
	uint32 *node_numbers;
	Bitmapset *valid = NULL;
	int leaf = -1;
	ListCell *lc;

	if (info)
	{
		Index offset = scan->scan.scanrelid -
					   intVal(list_nth(private, FANOUT_RELATION));
		ListCell *hierarchy;

		info = copyObject(info);
		foreach(hierarchy, info->prune_infos)
		{
			ListCell *level;

			foreach(level, (List *) lfirst(hierarchy))
				lfirst_node(PartitionedRelPruneInfo, level)->rtindex += offset;
		}
		state->prune_state = partition_prune_init(&state->custom.ss.ps,
												  n_all, info, &valid);
	}
	else
		valid = bms_add_range(NULL, 0, n_all - 1);

	node_numbers = palloc(sizeof(uint32) * list_length(node_names));
	foreach(lc, node_names)
		node_numbers[foreach_current_index(lc)] =
			node_find(strVal(lfirst(lc)), false);
	state->leaf_nodes = palloc(sizeof(uint32) * n_remote);
	state->leaf_tables = palloc(sizeof(int) * n_remote);
	state->leaf_names = palloc(sizeof(char *) * n_remote);
	while ((leaf = bms_next_member(valid, leaf)) >= 0)
	{
		if (leaf >= n_remote)
		{
			state->n_local_leaves++;
			continue;
		}
		state->leaf_nodes[state->n_leaves] =
			node_numbers[list_nth_int(nodes, leaf)];
		state->leaf_tables[state->n_leaves] = list_nth_int(tables, leaf);
		state->leaf_names[state->n_leaves] = strVal(list_nth(names, leaf));
		state->n_leaves++;
	}
}

static FanoutSource *
source_of_node(FanoutScanState *state, uint32 node)
{
	FanoutSource *source;

	for (int i = 0; i < state->n_sources; i++)
	{
		if (state->sources[i].node == node)
			return &state->sources[i];
	}
	source = &state->sources[state->n_sources++];
	source->node = node;
	return source;
}

/* Share the leaves out among their nodes; "valid" is NULL for all. */
static void
assign_leaves(FanoutScanState *state, Bitmapset *valid, bool all)
{
	for (int i = 0; i < state->n_sources; i++)
	{
		list_free(state->sources[i].leaves);
		state->sources[i].leaves = NIL;
	}
	for (int i = 0; i < state->n_leaves; i++)
	{
		FanoutSource *source;

		if (!all && !bms_is_member(i, valid))
			continue;
		source = source_of_node(state, state->leaf_nodes[i]);
		source->leaves = lappend_int(source->leaves, i);
	}
}

static void
prepare_merge(FanoutScanState *state, List *private)
{
	List *columns = list_nth(private, FANOUT_SORT_COLUMNS);

	state->n_sort_keys = list_length(columns);
	state->sort_keys = palloc0(sizeof(SortSupportData) *
							   Max(state->n_sort_keys, 1));
	for (int i = 0; i < state->n_sort_keys; i++)
	{
		SortSupport key = &state->sort_keys[i];

		key->ssup_cxt = CurrentMemoryContext;
		key->ssup_collation =
			list_nth_oid(list_nth(private, FANOUT_SORT_COLLATIONS), i);
		key->ssup_nulls_first =
			list_nth_int(list_nth(private, FANOUT_SORT_NULLS_FIRST), i);
		key->ssup_attno = list_nth_int(columns, i);
		PrepareSortSupportFromOrderingOp(
			list_nth_oid(list_nth(private, FANOUT_SORT_OPERATORS), i), key);
	}
}

static void
fanout_begin(CustomScanState *node, EState *estate, int eflags)
{
	FanoutScanState *state = (FanoutScanState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;
	List *private = scan->custom_private;
	List *parameters = list_nth(scan->custom_exprs, FANOUT_PARAMETERS);
	List *limit = list_nth(scan->custom_exprs, FANOUT_LIMIT);
	Node *stand_in = list_nth(private, FANOUT_STAND_IN);
	TupleDesc descriptor;
	ListCell *lc;

	if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		remote_statement_begin(&state->statement, estate);

	/* Up to server 17, pruning makes another expression context. */
	prepare_leaves(state, private);
	descriptor = prepare_slots(state);

	state->kind = intVal(list_nth(private, FANOUT_KIND));
	state->sql = strVal(list_nth(private, FANOUT_SQL));
	state->stand_in = stand_in ? strVal(stand_in) : NULL;
	state->user = linitial_oid(list_nth(private, FANOUT_USER));

	state->n_parameters = list_length(parameters);
	state->parameter_types = palloc(sizeof(Oid) * (state->n_parameters + 1));
	foreach(lc, parameters)
		state->parameter_types[foreach_current_index(lc)] =
			exprType(lfirst(lc));
	state->parameter_exprs = ExecInitExprList(parameters, &node->ss.ps);
	state->local_qual = ExecInitQual(list_nth(scan->custom_exprs,
											  FANOUT_LOCAL_QUALS),
									 &node->ss.ps);
	if (limit != NIL)
		state->limit = ExecInitExpr(linitial(limit), &node->ss.ps);

	state->sources = palloc0(sizeof(FanoutSource) * (state->n_leaves + 1));
	assign_leaves(state, NULL, true);
	for (int i = 0; i < state->n_sources; i++)
		state->sources[i].slot =
			ExecInitExtraTupleSlot(estate, descriptor, &TTSOpsMinimalTuple);

	state->adds_up = intVal(list_nth(private, FANOUT_ADDS_UP)) != 0;
	state->selection = selection_from_list(list_nth(private, FANOUT_SELECTION));
	if (state->adds_up || state->selection)
		state->sums = ExecInitExtraTupleSlot(estate, descriptor,
											 &TTSOpsVirtual);

	if (state->n_local_leaves > 0)
	{
		state->local = ExecInitNode(linitial(scan->custom_plans), estate,
									eflags);
		node->custom_ps = list_make1(state->local);
	}

	prepare_merge(state, private);
	state->request_context =
		AllocSetContextCreate(estate->es_query_cxt, "DLog Fanout request",
							  ALLOCSET_SMALL_SIZES);
}

/* --- asking ------------------------------------------------------------------ */

/* The fragment, with the relations behind this source's leaves put in. */
static char *
text_with_stand_in(FanoutScanState *state, FanoutSource *source, const char *text)
{
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "WITH %s AS (", quote_identifier(state->stand_in));
	foreach(lc, source->leaves)
	{
		if (foreach_current_index(lc) > 0)
			appendStringInfoString(&sql, " UNION ALL ");
		appendStringInfoString(&sql, state->leaf_names[lfirst_int(lc)]);
	}
	appendStringInfo(&sql, ") %s", text);
	return sql.data;
}

/* The tables that the fragment names, with this source's leaves. */
static List *
tables_of_source(FanoutScanState *state, FanoutSource *source)
{
	List *private = ((CustomScan *) state->custom.ss.ps.plan)->custom_private;
	List *result = NIL;
	ListCell *table_cell;
	ListCell *lc;

	foreach(table_cell, (List *) list_nth(private, FANOUT_TABLES))
	{
		List *name = lfirst(table_cell);
		RemoteTable *table = palloc0(sizeof(RemoteTable));

		table->schema = strVal(linitial(name));
		table->name = strVal(lsecond(name));
		foreach(lc, source->leaves)
		{
			int leaf = lfirst_int(lc);

			if (state->leaf_tables[leaf] == foreach_current_index(table_cell))
				table->partitions = lappend(table->partitions,
											state->leaf_names[leaf]);
		}
		result = lappend(result, table);
	}
	return result;
}

static void
open_source(FanoutScanState *state, FanoutSource *source, RemoteRequest *request,
			const char *sql)
{
	request->sql = sql;
	if (state->stand_in)
		request->sql = text_with_stand_in(state, source, sql);
	else
		request->tables = tables_of_source(state, source);
	source->is_done = false;
	source->stream = remote_open(source->node, request);
}

/* Ask as the owner of the view through which the table is read, if any. */
static void
open_sources(FanoutScanState *state, RemoteRequest *request, const char *sql)
{
	Oid user;
	int security_context;

	GetUserIdAndSecContext(&user, &security_context);
	if (OidIsValid(state->user))
		SetUserIdAndSecContext(state->user, security_context |
												SECURITY_LOCAL_USERID_CHANGE);
	request->explains = state->custom.ss.ps.state->es_instrument != 0;
	request->estate = state->custom.ss.ps.state;
	for (int i = 0; i < state->n_sources; i++)
	{
		FanoutSource *source = &state->sources[i];

		source->is_done = true;
		if (source->leaves != NIL)
			open_source(state, source, request, sql);
	}
	/* An error restores it too, with the transaction. */
	SetUserIdAndSecContext(user, security_context);
}

/*
 * fanout_ask
 *		Ask all sources for a statement that is made of the fragment, and has
 *		some more parameters than that, of type float8.
 */
void
fanout_ask(FanoutScanState *state, const char *sql, TupleDesc columns,
		   const double *more_values, int n_more)
{
	MemoryContext old_context = MemoryContextSwitchTo(state->request_context);
	int n = state->n_parameters + n_more;
	Oid *types = palloc(sizeof(Oid) * (n + 1));
	Datum *values = palloc(sizeof(Datum) * (n + 1));
	bool *nulls = palloc0(sizeof(bool) * (n + 1));
	RemoteRequest request = {
		.kind = state->kind,
		.n_params = n,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.result_desc = columns,
	};

	for (int i = 0; i < n; i++)
	{
		bool is_more = i >= state->n_parameters;

		types[i] = is_more ? FLOAT8OID : state->parameter_types[i];
		values[i] = is_more ? Float8GetDatum(more_values[i - state->n_parameters]) : state->values[i];
		nulls[i] = is_more ? false : state->nulls[i];
	}
	open_sources(state, &request, sql);
	MemoryContextSwitchTo(old_context);
}

static void
fanout_start(FanoutScanState *state)
{
	ExprContext *econtext = state->custom.ss.ps.ps_ExprContext;
	ListCell *lc;
	MemoryContext old_context;

	state->local_is_done = state->local == NULL;
	if (state->prune_state && state->prune_state->do_exec_prune)
	{
		Bitmapset *valid = partition_prune_now(state->prune_state);

		assign_leaves(state, valid, false);
		/* The local leaves are numbered after the remote ones. */
		if (bms_next_member(valid, state->n_leaves - 1) < 0)
			state->local_is_done = true;
	}

	old_context = MemoryContextSwitchTo(state->request_context);
	state->values = palloc0(sizeof(Datum) * (state->n_parameters + 1));
	state->nulls = palloc0(sizeof(bool) * (state->n_parameters + 1));
	foreach(lc, state->parameter_exprs)
	{
		int i = foreach_current_index(lc);

		state->values[i] = ExecEvalExpr((ExprState *) lfirst(lc), econtext,
										&state->nulls[i]);
	}
	if (state->selection == NULL)
		fanout_ask(state, state->sql, state->custom.ss.ps.scandesc, NULL, 0);

	if (state->limit && state->local)
	{
		bool is_null;
		Datum limit = ExecEvalExpr(state->limit, econtext, &is_null);

		if (!is_null && DatumGetInt64(limit) >= 0)
			ExecSetTupleBound(DatumGetInt64(limit), state->local);
	}
	MemoryContextSwitchTo(old_context);

	state->next_source = 0;
	state->local_burst = 0;
	state->last_returned = -1;
	state->is_started = true;
}

/*
 * fanout_source_stats
 *		What a node has done for this scan, by all of its streams so far.
 */
void
fanout_source_stats(const FanoutSource *source, RemoteStats *stats)
{
	*stats = source->stats;
	if (source->stream != NULL)
		remote_stats_add(source->stream, stats);
}

static void
close_source(FanoutScanState *state, FanoutSource *source)
{
	if (source->stream == NULL)
		return;
	remote_stats_add(source->stream, &source->stats);
	source->plan = request_keep_plan(source->plan, source->stream,
									 state->custom.ss.ps.state->es_query_cxt);
	remote_close(source->stream);
	source->stream = NULL;
	ExecClearTuple(source->slot);
}

static void
close_sources(FanoutScanState *state)
{
	for (int i = 0; i < state->n_sources; i++)
		close_source(state, &state->sources[i]);
}

/* --- rows ---------------------------------------------------------------------- */

/* Does a row of another node pass what is checked here? */
static bool
passes_here(FanoutScanState *state, TupleTableSlot *slot)
{
	ExprContext *econtext = state->custom.ss.ps.ps_ExprContext;

	if (state->local_qual == NULL)
		return true;
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	if (ExecQual(state->local_qual, econtext))
		return true;
	InstrCountFiltered1(&state->custom, 1);
	return false;
}

/* The source's next row if it is here already. */
static RemoteStatus
try_source(FanoutScanState *state, FanoutSource *source)
{
	RemoteStatus status;

	do
	{
		status = remote_next(source->stream, source->slot);
	} while (status == REMOTE_ROW && !passes_here(state, source->slot));
	if (status == REMOTE_DONE)
	{
		source->is_done = true;
		close_source(state, source);
	}
	return status;
}

TupleTableSlot *
fanout_next_local(FanoutScanState *state)
{
	TupleTableSlot *slot;

	if (state->local_is_done)
		return NULL;
	slot = ExecProcNode(state->local);
	if (!TupIsNull(slot))
		return slot;
	state->local_is_done = true;
	return NULL;
}

/* Whatever is ready first.  NULL at the end. */
static TupleTableSlot *
next_unordered(FanoutScanState *state)
{
	for (;;)
	{
		bool is_pending = false;
		TupleTableSlot *slot;

		if (state->local_burst > 0)
		{
			state->local_burst--;
			slot = fanout_next_local(state);
			if (slot)
				return slot;
		}
		for (int i = 0; i < state->n_sources; i++)
		{
			int number = (state->next_source + i) % state->n_sources;
			FanoutSource *source = &state->sources[number];

			if (source->is_done)
				continue;
			switch (try_source(state, source))
			{
				case REMOTE_ROW:
					/* Stay with it as long as it has rows at hand. */
					state->next_source = number;
					return source->slot;
				case REMOTE_PENDING:
					is_pending = true;
					break;
				default:
					break;
			}
		}
		slot = fanout_next_local(state);
		if (slot)
		{
			state->local_burst = LOCAL_BURST;
			return slot;
		}
		if (!is_pending)
			return NULL;
		remote_wait();
	}
}

/* The next row of a source, which is waited for; NULL at its end. */
TupleTableSlot *
fanout_next_answer(FanoutScanState *state, FanoutSource *source)
{
	while (!source->is_done)
	{
		switch (try_source(state, source))
		{
			case REMOTE_ROW:
				return source->slot;
			case REMOTE_PENDING:
				remote_wait();
				break;
			default:
				break;
		}
	}
	return NULL;
}

/* The next row of one participant of a merge. */
static TupleTableSlot *
next_head(FanoutScanState *state, int number)
{
	return number == state->n_sources ? fanout_next_local(state) :
										fanout_next_answer(state, &state->sources[number]);
}

/* For a heap whose top is the smallest: its order is that of the reverse. */
static int32
compare_heads(Datum a, Datum b, void *argument)
{
	FanoutScanState *state = argument;
	TupleTableSlot *left = state->heads[DatumGetInt32(a)];
	TupleTableSlot *right = state->heads[DatumGetInt32(b)];

	for (int i = 0; i < state->n_sort_keys; i++)
	{
		SortSupport key = &state->sort_keys[i];
		bool left_null;
		bool right_null;
		Datum left_value = slot_getattr(left, key->ssup_attno, &left_null);
		Datum right_value = slot_getattr(right, key->ssup_attno, &right_null);
		int order = ApplySortComparator(left_value, left_null, right_value,
										right_null, key);

		if (order != 0)
			return order < 0 ? 1 : -1;
	}
	return 0;
}

static void
start_merge(FanoutScanState *state)
{
	int participants = state->n_sources + 1;
	MemoryContext old_context = MemoryContextSwitchTo(state->request_context);

	state->heads = palloc0(sizeof(TupleTableSlot *) * participants);
	state->heap = binaryheap_allocate(participants, compare_heads, state);
	MemoryContextSwitchTo(old_context);

	/* Ours first: meanwhile the nodes sort theirs. */
	for (int i = participants - 1; i >= 0; i--)
	{
		state->heads[i] = next_head(state, i);
		if (state->heads[i])
			binaryheap_add_unordered(state->heap, Int32GetDatum(i));
	}
	binaryheap_build(state->heap);
}

static TupleTableSlot *
next_merged(FanoutScanState *state)
{
	int last = state->last_returned;

	if (state->heap == NULL)
		start_merge(state);
	else if (last >= 0)
	{
		/* It is the heap's first still. */
		state->heads[last] = next_head(state, last);
		if (state->heads[last])
			binaryheap_replace_first(state->heap, Int32GetDatum(last));
		else
			(void) binaryheap_remove_first(state->heap);
	}
	if (binaryheap_empty(state->heap))
	{
		state->last_returned = -1;
		return NULL;
	}
	state->last_returned = DatumGetInt32(binaryheap_first(state->heap));
	return state->heads[state->last_returned];
}

/* The one row of counts that all parts' counts add up to. */
static TupleTableSlot *
add_up(FanoutScanState *state)
{
	TupleTableSlot *sums = state->sums;
	int n_columns = sums->tts_tupleDescriptor->natts;
	TupleTableSlot *slot;

	ExecClearTuple(sums);
	for (int i = 0; i < n_columns; i++)
	{
		sums->tts_values[i] = Int64GetDatum(0);
		sums->tts_isnull[i] = false;
	}
	while ((slot = next_unordered(state)) != NULL)
	{
		slot_getallattrs(slot);
		for (int i = 0; i < n_columns; i++)
			sums->tts_values[i] =
				Int64GetDatum(DatumGetInt64(sums->tts_values[i]) +
							  DatumGetInt64(slot->tts_values[i]));
	}
	state->is_finished = true;
	return ExecStoreVirtualTuple(sums);
}

static TupleTableSlot *
fanout_exec(CustomScanState *node)
{
	FanoutScanState *state = (FanoutScanState *) node;
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	ProjectionInfo *projection = node->ss.ps.ps_ProjInfo;
	TupleTableSlot *slot;

	CHECK_FOR_INTERRUPTS();
	ResetExprContext(econtext);
	if (state->is_finished)
		return NULL;
	if (!state->is_started)
		fanout_start(state);

	if (state->selection)
		slot = fanout_select(state);
	else if (state->adds_up)
		slot = add_up(state);
	else if (state->n_sort_keys > 0)
		slot = next_merged(state);
	else
		slot = next_unordered(state);
	if (slot == NULL)
	{
		state->is_finished = true;
		return NULL;
	}
	if (projection == NULL)
		return slot;
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	return ExecProject(projection);
}

/* --- the end, or the beginning -------------------------------------------------- */

static void
fanout_rescan(CustomScanState *node)
{
	FanoutScanState *state = (FanoutScanState *) node;

	close_sources(state);
	state->is_started = false;
	state->is_finished = false;
	state->heap = NULL;
	state->heads = NULL;
	MemoryContextReset(state->request_context);

	if (state->local)
	{
		if (node->ss.ps.chgParam != NULL)
			UpdateChangedParamSet(state->local, node->ss.ps.chgParam);
		/* With changed parameters its first row restarts it. */
		if (state->local->chgParam == NULL)
			ExecReScan(state->local);
	}
}

static void
fanout_end(CustomScanState *node)
{
	FanoutScanState *state = (FanoutScanState *) node;

	close_sources(state);
	if (state->local)
		ExecEndNode(state->local);
}
