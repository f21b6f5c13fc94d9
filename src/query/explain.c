/*
 * explain.c
 *		What EXPLAIN tells of a fan-out.
 *
 * Always: how many nodes are asked, how many partitions are read here, and why
 * more was left to this process.  VERBOSE: the text, and each node with
 * the number of its partitions.  ANALYZE: what each node did, and where the
 * time went: queued from the arrival of the request until it began to run, run by
 * planner and executor there, stalled by a full stream since this process had not read
 * it, on the wire for the rest until its end had come here; and how long this process
 * waited for it.  With both, how the node ran its fragment.
 */
#include "postgres.h"

#include "commands/explain.h"
#include "nodes/value.h"
#include "base/pg_compat.h"
#include "transport/transport.h"
#include "utils/builtins.h"

#include "query/fanout_scan.h"

static void
explain_counts(FanoutScanState *state, ExplainState *es)
{
	int local = state->n_local_leaves;
	int nodes = 0;

	for (int i = 0; i < state->n_sources; i++)
		nodes += state->sources[i].leaves != NIL;

	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		ExplainPropertyInteger("Remote Nodes", NULL, nodes, es);
		ExplainPropertyInteger("Local Partitions", NULL, local, es);
	}
	else if (local == 0)
		ExplainPropertyText("Nodes", psprintf("%d remote", nodes), es);
	else
		ExplainPropertyText("Nodes",
							psprintf("%d remote, %d local partition%s", nodes,
									 local, local == 1 ? "" : "s"),
							es);
}

static void
explain_source(FanoutSource *source, ExplainState *es)
{
	RemoteStats stats;

	fanout_source_stats(source, &stats);
	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		StringInfoData line;

		initStringInfo(&line);
		appendStringInfo(&line, "%s: partitions=%d", node_name(source->node),
						 list_length(source->leaves));
		if (es->analyze)
		{
			appendStringInfoString(&line, ", ");
			request_explain_stats(&line, &stats, es);
		}
		ExplainPropertyText("Node", line.data, es);
		es->indent++;
		request_explain_plan(source->plan, es);
		es->indent--;
		return;
	}
	ExplainOpenGroup("Node", NULL, true, es);
	ExplainPropertyText("Node", node_name(source->node), es);
	ExplainPropertyInteger("Partitions", NULL, list_length(source->leaves),
						   es);
	if (es->analyze)
	{
		request_explain_stats(NULL, &stats, es);
		request_explain_plan(source->plan, es);
	}
	ExplainCloseGroup("Node", NULL, true, es);
}

/*
 * fanout_explain
 *		The ExplainCustomScan method.
 */
void
fanout_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	FanoutScanState *state = (FanoutScanState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;
	Node *not_pushed = list_nth(scan->custom_private, FANOUT_NOT_PUSHED);

	explain_counts(state, es);
	if (state->selection)
		ExplainPropertyText("Percentile", "by samples", es);
	if (not_pushed)
		ExplainPropertyText("Not Pushed Down", strVal(not_pushed), es);
	if (state->local_qual && es->analyze && node->ss.ps.instrument &&
		node->ss.ps.instrument->nfiltered1 > 0)
		ExplainPropertyFloat("Rows Removed Here", NULL,
							 node->ss.ps.instrument->nfiltered1 /
								 Max(node->ss.ps.instrument->nloops, 1),
							 0, es);
	if (!es->verbose && !es->analyze)
		return;
	if (es->verbose)
		ExplainPropertyText("Remote SQL", state->sql, es);
	ExplainOpenGroup("Sources", "Sources", false, es);
	for (int i = 0; i < state->n_sources; i++)
		explain_source(&state->sources[i], es);
	ExplainCloseGroup("Sources", "Sources", false, es);
}
