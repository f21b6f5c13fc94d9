/*
 * kept_plan.c
 *		Plans of questions that a session asks again and again.
 *
 * A small question over many partitions is planned longer than it runs: each
 * partition is opened, sized up and given paths.  So when the same query comes
 * for the third time its plan is taken from the second, if nothing is
 * different that the planner looks at: the analyzed query, the role, the
 * planner's settings, and what has been heard of changed catalogs.  As with
 * prepared statements, growing tables are noticed when they are analyzed; but
 * besides that no plan is kept for longer than dlog.plan_lifetime.
 *
 * Only SELECTs that ask other nodes are kept.  In any plan with a fan-out, the
 * foreign partitions behind it leave the range table: nothing here touches
 * them, but each would be locked whenever the plan is run again.  What makes or
 * breaks a partition locks the partitioned table, which stays.
 *
 * A kept plan may be at work when it becomes stale.  Its memory lasts until
 * the end of the transaction; whoever keeps a plan for longer has a copy.
 *
 * What looks up the rows of one key has plans of its own, in which another
 * value can be put: lookup_plan.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/geqo.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/planner.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/pg_locale.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/xml.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/pg_compat.h"
#include "query/fanout.h"
#include "query/kept_plan.h"

#define MAX_KEPT 32

typedef struct KeptPlan
{
	uint64 used; /* 0: free; else grows with each use */
	uint32 hash; /* of the text and the state */

	/* From the second time on: */
	MemoryContext context; /* NULL: it was seen once */
	Query *query;
	PlannedStmt *plan;
	PlannerState state;
	uint64 made_us;
} KeptPlan;

static KeptPlan kept_plans[MAX_KEPT];
static uint64 n_uses;
static uint64 n_changes;	  /* of catalogs, that we heard of */
static MemoryContext dropped; /* those that go at the transaction's end */
static planner_hook_type previous_planner;

/* --- what a plan depends on ------------------------------------------------- */

static void
read_state(PlannerState *state, int cursor_options)
{
	int n = 0;
	Oid temporary_tables; /* their schema */
	Oid temporary_toast;

	memset(state, 0, sizeof(*state));
	state->costs[n++] = seq_page_cost;
	state->costs[n++] = random_page_cost;
	state->costs[n++] = cpu_tuple_cost;
	state->costs[n++] = cpu_index_tuple_cost;
	state->costs[n++] = cpu_operator_cost;
	state->costs[n++] = parallel_tuple_cost;
	state->costs[n++] = parallel_setup_cost;
	state->costs[n++] = cursor_tuple_fraction;
	state->costs[n++] = recursive_worktable_factor;
	state->costs[n++] = hash_mem_multiplier;
	state->costs[n++] = jit_above_cost;
	state->costs[n++] = jit_inline_above_cost;
	state->costs[n++] = jit_optimize_above_cost;
	state->costs[n++] = Geqo_selection_bias;
	state->costs[n++] = Geqo_seed;
	Assert(n <= lengthof(state->costs));

	n = 0;
	state->numbers[n++] = cursor_options;
	state->numbers[n++] = (int) GetUserId();
	state->numbers[n++] = effective_cache_size;
	state->numbers[n++] = work_mem;
	state->numbers[n++] = from_collapse_limit;
	state->numbers[n++] = join_collapse_limit;
	state->numbers[n++] = constraint_exclusion;
	state->numbers[n++] = enable_geqo;
	state->numbers[n++] = geqo_threshold;
	state->numbers[n++] = Geqo_effort;
	state->numbers[n++] = Geqo_pool_size;
	state->numbers[n++] = Geqo_generations;
	state->numbers[n++] = max_parallel_workers_per_gather;
	state->numbers[n++] = parallel_leader_participation;
	state->numbers[n++] = min_parallel_table_scan_size;
	state->numbers[n++] = min_parallel_index_scan_size;
	state->numbers[n++] = forced_parallel_mode();
	state->numbers[n++] = enable_seqscan;
	state->numbers[n++] = enable_indexscan;
	state->numbers[n++] = enable_indexonlyscan;
	state->numbers[n++] = enable_bitmapscan;
	state->numbers[n++] = enable_tidscan;
	state->numbers[n++] = enable_sort;
	state->numbers[n++] = enable_incremental_sort;
	state->numbers[n++] = enable_hashagg;
	state->numbers[n++] = enable_nestloop;
	state->numbers[n++] = enable_material;
	state->numbers[n++] = enable_memoize;
	state->numbers[n++] = enable_mergejoin;
	state->numbers[n++] = enable_hashjoin;
	state->numbers[n++] = enable_gathermerge;
	state->numbers[n++] = enable_partitionwise_join;
	state->numbers[n++] = enable_partitionwise_aggregate;
	state->numbers[n++] = enable_parallel_append;
	state->numbers[n++] = enable_parallel_hash;
	state->numbers[n++] = enable_partition_pruning;
	state->numbers[n++] = enable_async_append;
	state->numbers[n++] = jit_enabled;
	state->numbers[n++] = jit_expressions;
	state->numbers[n++] = jit_tuple_deforming;
	state->numbers[n++] = dlog_enable_fanout_scan;
	state->numbers[n++] = dlog_enable_partial_aggregate;
	state->numbers[n++] = string_hash(dlog_shippable_extensions, INT_MAX);
	state->numbers[n++] = string_hash(dlog_shippable_schemas, INT_MAX);

	/* Where functions that are inlined look for names. */
	GetTempNamespaceState(&temporary_tables, &temporary_toast);
	state->numbers[n++] = (int) temporary_tables;
	state->numbers[n++] = string_hash(namespace_search_path, INT_MAX);

	/* What is read by output functions that the server calls immutable. */
	state->numbers[n++] = extra_float_digits;
	state->numbers[n++] = bytea_output;
	state->numbers[n++] = IntervalStyle;

	/* What literals of functions that are inlined mean, and what rows these read. */
	state->numbers[n++] = DateStyle;
	state->numbers[n++] = DateOrder;
	state->numbers[n++] = string_hash(pg_get_timezone_name(session_timezone), INT_MAX);
	state->numbers[n++] = string_hash(locale_monetary, INT_MAX);
	state->numbers[n++] = standard_conforming_strings;
	state->numbers[n++] = Array_nulls;
	state->numbers[n++] = Transform_null_equals;
	state->numbers[n++] = xmloption;
	state->numbers[n++] = row_security;
	Assert(n <= lengthof(state->numbers));
}

/* So that a text has a place for each state in which it is planned. */
uint32
planner_state_hash(const PlannerState *state)
{
	return hash_bytes((const unsigned char *) state, sizeof(*state));
}

/* Memory that may still be in use until the transaction ends. */
void
kept_plan_memory_drop(MemoryContext context)
{
	MemoryContextSetParent(context, dropped);
}

/* Grows with each change that makes plans stale. */
uint64
kept_plan_changes(void)
{
	return n_changes;
}

static void
kept_plan_drop(KeptPlan *kept)
{
	if (kept->context != NULL)
		kept_plan_memory_drop(kept->context);
	kept->context = NULL;
	kept->query = NULL;
	kept->plan = NULL;
}

static void
relation_changed(Datum argument, Oid relation)
{
	n_changes++;
	for (int i = 0; i < MAX_KEPT; i++)
	{
		PlannedStmt *plan = kept_plans[i].plan;

		if (plan != NULL && (!OidIsValid(relation) ||
							 list_member_oid(plan->relationOids, relation)))
			kept_plan_drop(&kept_plans[i]);
	}
	lookup_relation_changed(relation);
}

/* Functions, operators, types, servers: rare enough. */
static void
object_changed(Datum argument, int cache, uint32 hash)
{
	relation_changed(argument, InvalidOid);
}

static void
transaction_ended(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		MemoryContextDeleteChildren(dropped);
}

/* Once in a process. */
static void
prepare(void)
{
	static const int caches[] = {PROCOID, TYPEOID, NAMESPACEOID, OPEROID,
								 AMOPOPID, FOREIGNTABLEREL, FOREIGNSERVEROID,
								 FOREIGNDATAWRAPPEROID};

	if (dropped != NULL)
		return;
	dropped = AllocSetContextCreate(TopMemoryContext, "dlog dropped plans",
									ALLOCSET_SMALL_SIZES);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	for (int i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], object_changed, (Datum) 0);
	RegisterXactCallback(transaction_ended, NULL);
}

/* --- finding them ------------------------------------------------------------- */

/* Does this look like a question to several nodes? */
static bool
may_be_kept(const Query *parse, const char *text)
{
	ListCell *cell;

	if (dlog_plan_lifetime == 0 || text == NULL ||
		parse->commandType != CMD_SELECT || parse->utilityStmt != NULL ||
		parse->hasModifyingCTE || parse->rowMarks != NIL || remote_is_planning())
		return false;
	foreach(cell, parse->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind == RTE_RELATION && rte->inh &&
			rte->relkind == RELKIND_PARTITIONED_TABLE)
			return true;
	}
	return false;
}

static uint32
text_hash(const Query *parse, const char *text, const PlannerState *state)
{
	int length = strlen(text);
	int at = Min(Max(parse->stmt_location, 0), length);

	if (parse->stmt_len > 0)
		length = Min(parse->stmt_len, length - at);
	else
		length -= at;
	return hash_combine(hash_bytes((const unsigned char *) text + at, length),
						planner_state_hash(state));
}

static KeptPlan *
kept_plan_find(uint32 hash)
{
	for (int i = 0; i < MAX_KEPT; i++)
	{
		if (kept_plans[i].used != 0 && kept_plans[i].hash == hash)
			return &kept_plans[i];
	}
	return NULL;
}

/* A place for this text: its own, a free one, or that of the longest unused. */
static KeptPlan *
kept_plan_place(uint32 hash)
{
	KeptPlan *kept = kept_plan_find(hash);

	if (kept == NULL)
	{
		kept = &kept_plans[0];
		for (int i = 1; i < MAX_KEPT; i++)
		{
			if (kept_plans[i].used < kept->used)
				kept = &kept_plans[i];
		}
	}
	kept_plan_drop(kept);
	kept->hash = hash;
	kept->used = ++n_uses;
	return kept;
}

/*
 * kept_plan_lock
 *		Lock what a plan reads, as the planner does with what it finds.
 *
 * Waiting for a lock may show that it has changed, and drop the plan.
 */
void
kept_plan_lock(const PlannedStmt *plan)
{
	ListCell *cell;

	foreach(cell, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind == RTE_RELATION)
			LockRelationOid(rte->relid, rte->rellockmode);
	}
}

bool
kept_plan_is_young(uint64 made_us)
{
	return clock_now_us() - made_us < (uint64) dlog_plan_lifetime * 1000;
}

/*
 * kept_plan_lend
 *		A plan for this statement, which is not written to: somebody else may be
 *		running it.
 */
PlannedStmt *
kept_plan_lend(const PlannedStmt *plan, const Query *parse)
{
	PlannedStmt *lent = palloc(sizeof(PlannedStmt));

	*lent = *plan;
	lent->queryId = parse->queryId;
	lent->stmt_location = parse->stmt_location;
	lent->stmt_len = parse->stmt_len;
	return lent;
}

static bool
kept_plan_is_good(KeptPlan *kept, const Query *parse, const PlannerState *state)
{
	PlannedStmt *plan = kept->plan;

	if (plan == NULL || !kept_plan_is_young(kept->made_us) ||
		memcmp(&kept->state, state, sizeof(*state)) != 0 ||
		!equal(kept->query, parse))
		return false;
	kept_plan_lock(plan);
	return kept->plan == plan;
}

/* --- what is in a plan --------------------------------------------------------- */

typedef struct PlanTraits
{
	bool asks_nodes;	/* it has a fan-out */
	bool scans_foreign; /* or foreign tables by themselves */
} PlanTraits;

static void examine_plans(List *plans, PlanTraits *traits);

static void
examine_plan(Plan *plan, PlanTraits *traits)
{
	if (plan == NULL)
		return;
	check_stack_depth();
	switch (nodeTag(plan))
	{
		case T_ForeignScan:
			traits->scans_foreign = true;
			break;
		case T_CustomScan:
			if (((CustomScan *) plan)->methods == &fanout_scan_methods)
				traits->asks_nodes = true;
			examine_plans(((CustomScan *) plan)->custom_plans, traits);
			break;
		case T_Append:
			examine_plans(((Append *) plan)->appendplans, traits);
			break;
		case T_MergeAppend:
			examine_plans(((MergeAppend *) plan)->mergeplans, traits);
			break;
		case T_SubqueryScan:
			examine_plan(((SubqueryScan *) plan)->subplan, traits);
			break;
		default:
			break;
	}
	examine_plan(plan->lefttree, traits);
	examine_plan(plan->righttree, traits);
}

static void
examine_plans(List *plans, PlanTraits *traits)
{
	ListCell *cell;

	foreach(cell, plans)
		examine_plan(lfirst(cell), traits);
}

/*
 * Nobody looks at the foreign partitions of a plan that scans none by itself.
 * Those that a query names have rights to be checked, and stay.
 */
static void
forget_foreign_partitions(PlannedStmt *plan)
{
	ListCell *cell;

	foreach(cell, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_FOREIGN_TABLE ||
			!rte_has_no_permissions(rte))
			continue;
		rte->rtekind = RTE_RESULT;
		rte->relid = InvalidOid;
	}
}

/* --- planning ------------------------------------------------------------------- */

/* By the planner.  Does it ask other nodes? */
PlannedStmt *
plan_anew(Query *parse, const char *text, int cursor_options,
		  ParamListInfo params, bool *asks_nodes)
{
	PlanTraits traits = {0};
	PlannedStmt *plan = previous_planner ?
							previous_planner(parse, text, cursor_options, params) :
							standard_planner(parse, text, cursor_options, params);

	*asks_nodes = false;
	if (plan->commandType != CMD_SELECT || plan->rowMarks != NIL)
		return plan;
	examine_plan(plan->planTree, &traits);
	examine_plans(plan->subplans, &traits);
	*asks_nodes = traits.asks_nodes;
	if (traits.asks_nodes && !traits.scans_foreign)
		forget_foreign_partitions(plan);
	return plan;
}

/* The second time: keep a copy of the query, and the plan in its context. */
static PlannedStmt *
plan_and_keep(Query *parse, const char *text, int cursor_options, uint32 hash,
			  const PlannerState *state)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog kept plan",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Query *query = copyObject(parse);
	uint64 changes = n_changes;
	PlannedStmt *plan;
	KeptPlan *kept;
	bool asks_nodes;

	MemoryContextSwitchTo(old);
	plan = plan_anew(parse, text, cursor_options, NULL, &asks_nodes);
	if (!asks_nodes || plan->transientPlan || n_changes != changes)
	{
		MemoryContextDelete(context);
		return plan;
	}
	MemoryContextSwitchTo(context);
	plan = copyObject(plan);
	MemoryContextSwitchTo(old);

	kept = kept_plan_place(hash);
	kept->query = query;
	kept->plan = plan;
	kept->state = *state;
	kept->made_us = clock_now_us();
	kept->context = context;
	MemoryContextSetParent(context, TopMemoryContext);
	return kept_plan_lend(plan, parse);
}

static PlannedStmt *
plan_repeated(Query *parse, const char *text, int cursor_options, ParamListInfo params)
{
	PlannerState state;
	uint32 hash;
	KeptPlan *kept;
	PlannedStmt *plan;
	bool asks_nodes;
	bool is_lookup;

	if (!may_be_kept(parse, text))
		return plan_anew(parse, text, cursor_options, params, &asks_nodes);

	prepare();
	read_state(&state, cursor_options);
	plan = lookup_plan(parse, text, cursor_options, params, &state, &is_lookup);
	if (plan != NULL)
		return plan;
	if (is_lookup || params != NULL)
		return plan_anew(parse, text, cursor_options, params, &asks_nodes);

	hash = text_hash(parse, text, &state);
	kept = kept_plan_find(hash);
	if (kept == NULL)
	{
		(void) kept_plan_place(hash);
		return plan_anew(parse, text, cursor_options, params, &asks_nodes);
	}
	if (!kept_plan_is_good(kept, parse, &state))
		return plan_and_keep(parse, text, cursor_options, hash, &state);

	kept->used = ++n_uses;
	return kept_plan_lend(kept->plan, parse);
}

void
kept_plan_init(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_repeated;
	lookup_plan_init();
}
