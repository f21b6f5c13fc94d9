/*
 * kept_plan.h
 *		What kept_plan.c, lookup_plan.c and plan_places.c share.
 */
#ifndef DLOG_KEPT_PLAN_H
#define DLOG_KEPT_PLAN_H

#include "nodes/params.h"
#include "nodes/plannodes.h"

/* What the planner looks at besides the query and the catalogs. */
typedef struct PlannerState
{
	double costs[16];
	int numbers[64];
} PlannerState;

/* kept_plan.c */
extern uint32 planner_state_hash(const PlannerState *state);
extern void kept_plan_memory_drop(MemoryContext context);
extern uint64 kept_plan_changes(void);
extern void kept_plan_lock(const PlannedStmt *plan);
extern bool kept_plan_is_young(uint64 made_us);
extern PlannedStmt *kept_plan_lend(const PlannedStmt *plan, const Query *parse);
extern PlannedStmt *plan_anew(Query *parse, const char *text, int cursor_options,
							  ParamListInfo params, bool *asks_nodes);

/* lookup_plan.c */
extern PlannedStmt *lookup_plan(Query *parse, const char *text, int cursor_options,
								ParamListInfo params, const PlannerState *state,
								bool *is_lookup);
extern void lookup_relation_changed(Oid relation);
extern void lookup_plan_init(void);

/* plan_places.c */
extern bool plan_make_places(PlannedStmt *plan, int parameter, int forbidden, List **places);

#endif
