/*
 * request.c
 *		Requests of the foreign-data wrapper, and the rows that they bring.
 *
 * A row is *received* with the columns that were asked for, and then stored
 * as a *row* of the foreign table, in which the others are null.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"

#include "base/pg_compat.h"
#include "query/query_internal.h"

/*
 * foreign_table_home
 *		Where the rows of a foreign table of this wrapper are.
 */
PartitionHome
foreign_table_home(Relation relation)
{
	PartitionHome home;

	/* Only its own tables reach a wrapper. */
	if (!partition_home(RelationGetRelid(relation), &home))
		elog(ERROR, "foreign table \"%s\" has no home",
			 RelationGetRelationName(relation));
	return home;
}

/* The attnos of all columns that a table has. */
List *
relation_columns(Relation relation)
{
	TupleDesc desc = RelationGetDescr(relation);
	List *attnos = NIL;

	for (AttrNumber attno = 1; attno <= desc->natts; attno++)
	{
		if (!TupleDescAttr(desc, attno - 1)->attisdropped)
			attnos = lappend_int(attnos, attno);
	}
	return attnos;
}

/*
 * request_tables
 *		The partitions that a request is about; NIL when it is over the
 *		foreign table's relation and not over the parent of that.
 */
List *
request_tables(const PartitionHome *home)
{
	RemoteTable *table;

	if (home->parent_name == NULL)
		return NIL;

	table = palloc0(sizeof(RemoteTable));
	table->schema = home->parent_schema;
	table->name = home->parent_name;
	table->partitions = list_make1(unconstify(char *, home->name));
	return list_make1(table);
}

/*
 * request_result_desc
 *		The rows of a statement that returns these columns.  Where there are
 *		none, it returns "true" for each row.
 */
TupleDesc
request_result_desc(Relation relation, List *attnos)
{
	TupleDesc desc = CreateTemplateTupleDesc(Max(list_length(attnos), 1));
	ListCell *cell;

	if (attnos == NIL)
		TupleDescInitEntry(desc, 1, "bool", BOOLOID, -1, 0);
	foreach(cell, attnos)
	{
		AttrNumber attno = lfirst_int(cell);
		AttrNumber number = foreach_current_index(cell) + 1;

		if (attno == SelfItemPointerAttributeNumber)
			TupleDescInitEntry(desc, number, "ctid", TIDOID, -1, 0);
		else
			TupleDescCopyEntry(desc, number, RelationGetDescr(relation), attno);
	}
	return desc;
}

/* Prepare a request for parameters of the expressions' types. */
void
request_set_parameters(RemoteRequest *request, List *expressions)
{
	int n = list_length(expressions);
	Oid *types = palloc(sizeof(Oid) * Max(n, 1));
	ListCell *cell;

	foreach(cell, expressions)
		types[foreach_current_index(cell)] = exprType(lfirst(cell));
	request->n_params = n;
	request->param_types = types;
	request->param_values = palloc0(sizeof(Datum) * Max(n, 1));
	request->param_nulls = palloc0(sizeof(bool) * Max(n, 1));
}

/*
 * request_evaluate_parameters
 *		Set them from the expressions' states.  The values live as long as
 *		the expression context's row.
 */
void
request_evaluate_parameters(RemoteRequest *request, List *states,
							ExprContext *econtext)
{
	MemoryContext previous;
	ListCell *cell;

	previous = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	foreach(cell, states)
	{
		int i = foreach_current_index(cell);
		bool is_null;

		((Datum *) request->param_values)[i] =
			ExecEvalExpr(lfirst(cell), econtext, &is_null);
		((bool *) request->param_nulls)[i] = is_null;
	}
	MemoryContextSwitchTo(previous);
}

/*
 * request_open
 *		Open a stream that lives in a memory context, for a role that may not
 *		be the session's: the owner of a view reads what the view reads.
 */
RemoteStream *
request_open(MemoryContext context, uint32 node, const RemoteRequest *request,
			 Oid role)
{
	MemoryContext previous = MemoryContextSwitchTo(context);
	RemoteStream *stream;
	Oid session_role;
	int security_context;

	if (role == GetUserId())
		stream = remote_open(node, request);
	else
	{
		/* After an error, the end of the (sub)transaction puts it back. */
		GetUserIdAndSecContext(&session_role, &security_context);
		SetUserIdAndSecContext(role, security_context | SECURITY_LOCAL_USERID_CHANGE);
		stream = remote_open(node, request);
		SetUserIdAndSecContext(session_role, security_context);
	}
	MemoryContextSwitchTo(previous);
	return stream;
}

/* The same for a statement that returns no rows; returns those affected. */
uint64
request_run(uint32 node, const RemoteRequest *request, Oid role)
{
	Oid session_role;
	int security_context;
	uint64 affected;

	if (role == GetUserId())
		return remote_run(node, request);

	GetUserIdAndSecContext(&session_role, &security_context);
	SetUserIdAndSecContext(role, security_context | SECURITY_LOCAL_USERID_CHANGE);
	affected = remote_run(node, request);
	SetUserIdAndSecContext(session_role, security_context);
	return affected;
}

/* Wait for the next row; false when there are no more. */
bool
request_next(RemoteStream *stream, TupleTableSlot *slot)
{
	RemoteStatus status;

	while ((status = remote_next(stream, slot)) == REMOTE_PENDING)
		remote_wait();
	return status == REMOTE_ROW;
}

/* The name of a node, be it this one. */
const char *
node_display_name(uint32 node)
{
	return node == THIS_NODE ? node_this_name() : node_name(node);
}

/*
 * request_explain_stats
 *		What came back from a node, and where the time went: at the end of "line"
 *		if the format is text, else as properties.
 *
 * Where the time went is told by the end of a statement; one that was left before
 * it has nothing to tell of that.
 */
void
request_explain_stats(StringInfo line, const RemoteStats *stats, ExplainState *es)
{
	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		ExplainPropertyInteger("Rows", NULL, stats->rows, es);
		ExplainPropertyInteger("Chunks", NULL, stats->chunks, es);
		ExplainPropertyInteger("Bytes", NULL, stats->bytes, es);
		if (!es->timing)
			return;
		if (stats->ended > 0)
		{
			ExplainPropertyFloat("Queued", "ms", stats->queued_ms, 3, es);
			ExplainPropertyFloat("Run", "ms", stats->run_ms, 3, es);
			ExplainPropertyFloat("Wire", "ms", stats->wire_ms, 3, es);
			ExplainPropertyFloat("Stalled", "ms", stats->stalled_ms, 3, es);
		}
		ExplainPropertyFloat("Waited", "ms", stats->waited_ms, 3, es);
		return;
	}
	appendStringInfo(line, "rows=" UINT64_FORMAT " chunks=" UINT64_FORMAT " bytes=" UINT64_FORMAT,
					 stats->rows, stats->chunks, stats->bytes);
	if (es->timing && stats->ended > 0)
		appendStringInfo(line, " queued=%.3f run=%.3f wire=%.3f stalled=%.3f",
						 stats->queued_ms, stats->run_ms, stats->wire_ms, stats->stalled_ms);
	if (es->timing)
		appendStringInfo(line, " waited=%.3f ms", stats->waited_ms);
}

/*
 * request_explain
 *		Say what goes to which node, and what came back when it ran.
 */
void
request_explain(uint32 node, const char *sql, const RemoteStats *stats,
				ExplainState *es)
{
	bool has_run = es->analyze && stats != NULL;
	StringInfoData line;

	initStringInfo(&line);
	appendStringInfoString(&line, node_display_name(node));
	if (has_run && es->format == EXPLAIN_FORMAT_TEXT)
	{
		appendStringInfoString(&line, ": ");
		request_explain_stats(&line, stats, es);
	}
	ExplainPropertyText("Node", line.data, es);
	if (has_run && es->format != EXPLAIN_FORMAT_TEXT)
		request_explain_stats(NULL, stats, es);
	if (es->verbose)
		ExplainPropertyText("Remote SQL", sql, es);
}

/*
 * request_keep_plan
 *		How a stream's node ran its statement, in place of what was known of an
 *		earlier run.
 */
char *
request_keep_plan(char *plan, RemoteStream *stream, MemoryContext context)
{
	const char *later = remote_plan(stream);

	if (later == NULL)
		return plan;
	if (plan != NULL)
		pfree(plan);
	return MemoryContextStrdup(context, later);
}

/* Show it; NULL: there is none. */
void
request_explain_plan(const char *plan, ExplainState *es)
{
	const char *line = plan;

	if (plan == NULL || !es->analyze || !es->verbose)
		return;
	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		ExplainPropertyText("Remote Plan", plan, es);
		return;
	}
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfoString(es->str, "Remote Plan:\n");
	while (*line != '\0')
	{
		int length = strcspn(line, "\n");

		appendStringInfoSpaces(es->str, (es->indent + 1) * 2);
		appendBinaryStringInfo(es->str, line, length);
		appendStringInfoChar(es->str, '\n');
		line += length + (line[length] == '\n');
	}
}

RowMap *
row_map(List *attnos)
{
	RowMap *map = palloc(sizeof(RowMap));
	ListCell *cell;

	map->n_attnos = list_length(attnos);
	map->attnos = palloc(sizeof(AttrNumber) * Max(map->n_attnos, 1));
	foreach(cell, attnos)
		map->attnos[foreach_current_index(cell)] = lfirst_int(cell);
	return map;
}

/*
 * row_map_store
 *		Store what was received as a row of the foreign table.  The row lives
 *		as long as what was received.
 */
void
row_map_store(const RowMap *map, TupleTableSlot *received, TupleTableSlot *row)
{
	ExecClearTuple(row);
	memset(row->tts_isnull, true, row->tts_tupleDescriptor->natts * sizeof(bool));
	slot_getallattrs(received);
	for (int i = 0; i < map->n_attnos; i++)
	{
		AttrNumber attno = map->attnos[i];

		if (attno > 0)
		{
			row->tts_values[attno - 1] = received->tts_values[i];
			row->tts_isnull[attno - 1] = received->tts_isnull[i];
		}
	}
	ExecStoreVirtualTuple(row);

	/* Clearing the row has forgotten its ctid. */
	if (map->n_attnos > 0 &&
		map->attnos[map->n_attnos - 1] == SelfItemPointerAttributeNumber)
		row->tts_tid = *(ItemPointer) DatumGetPointer(received->tts_values[map->n_attnos - 1]);
}
