/*
 * analyze.c
 *		ANALYZE of a foreign table: a sample of its rows, taken over there.
 *
 * The node says how large the relation is.  A large one is sampled there by
 * TABLESAMPLE, which leaves somewhat more rows than are wanted; of what
 * arrives every row is kept with equal probability.  It is the relation
 * itself that is asked and not its parent, by the role that analyzes, as
 * ANALYZE over there would.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/sampling.h"

#include "base/pg_compat.h"
#include "query/query_internal.h"

/* Rows asked for, relative to those wanted, since the estimate may be off. */
#define SAMPLE_SLACK 1.5

/* What a node says of a relation. */
typedef struct RelationSize
{
	bool has_pages; /* it is a table of its own, and can be sampled */
	double pages;
	double rows; /* negative: unknown */
} RelationSize;

static double
field(TupleTableSlot *slot, int attno)
{
	bool is_null;
	Datum value = slot_getattr(slot, attno, &is_null);

	return is_null ? -1 : DatumGetFloat8(value);
}

static RelationSize
relation_size(const PartitionHome *home)
{
	static const Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(home->schema), CStringGetTextDatum(home->name)};
	bool nulls[] = {false, false};
	TupleDesc desc = CreateTemplateTupleDesc(2);
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = "SELECT CASE WHEN relkind IN ('r', 'm') THEN ceil(pg_relation_size(c.oid)::float8"
			   " / current_setting('block_size')::float8) END, reltuples::float8"
			   " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
			   " WHERE nspname = $1 AND relname = $2",
		.n_params = 2,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.result_desc = desc};
	RelationSize size = {false, 0, -1};
	RemoteStream *stream;
	TupleTableSlot *slot;

	TupleDescInitEntry(desc, 1, "pages", FLOAT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "rows", FLOAT8OID, -1, 0);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	stream = remote_open(home->node, &request);
	if (!request_next(stream, slot))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist on node \"%s\"",
						quote_qualified_identifier(home->schema, home->name),
						node_display_name(home->node))));
	size.has_pages = field(slot, 1) >= 0;
	size.pages = Max(field(slot, 1), 0);
	size.rows = field(slot, 2);
	remote_close(stream);
	ExecDropSingleTupleTableSlot(slot);
	return size;
}

/*
 * Of a stream of rows keep n, each with the same probability; returns how
 * many are kept, and in *seen how many there were.
 */
static int
reservoir_fill(RemoteStream *stream, TupleTableSlot *received, const RowMap *map,
			   TupleTableSlot *row, HeapTuple *rows, int n, double *seen)
{
	ReservoirStateData state;
	double skip = -1;
	int kept = 0;

	reservoir_init_selection_state(&state, n);
	*seen = 0;
	while (request_next(stream, received))
	{
		int place = -1;

		analyze_delay_point();
		*seen += 1;
		if (kept < n)
			place = kept++;
		else
		{
			if (skip < 0)
				skip = reservoir_get_next_S(&state, *seen - 1, n);
			if (skip <= 0)
			{
				place = (int) (n * sampler_random_fract(&state.randstate));
				heap_freetuple(rows[place]);
			}
			skip -= 1;
		}
		if (place >= 0)
		{
			row_map_store(map, received, row);
			rows[place] = ExecCopySlotHeapTuple(row);
		}
	}
	return kept;
}

static int
acquire_sample(Relation relation, int elevel, HeapTuple *rows, int n,
			   double *total_rows, double *total_dead_rows)
{
	TupleDesc desc = RelationGetDescr(relation);
	RemoteRequest request = {.kind = REMOTE_QUERY};
	RelationText text;
	RelationSize size;
	double fraction = 1;
	double seen;
	List *attnos = relation_columns(relation);
	RowMap *map;
	StringInfoData sql;
	RemoteStream *stream;
	TupleTableSlot *received;
	TupleTableSlot *row;
	int kept;

	relation_text_init(&text, relation);
	size = relation_size(&text.home);
	if (size.has_pages && size.rows > n * SAMPLE_SLACK)
		fraction = n * SAMPLE_SLACK / size.rows;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	if (attnos != NIL)
		relation_text_columns(&text, &sql, attnos);
	else
		appendStringInfoString(&sql, "true");
	appendStringInfo(&sql, " FROM %s",
					 quote_qualified_identifier(text.home.schema, text.home.name));
	if (fraction < 1)
		appendStringInfo(&sql, " TABLESAMPLE BERNOULLI (%g)", fraction * 100);

	request.sql = sql.data;
	request.result_desc = request_result_desc(relation, attnos);
	map = row_map(attnos);
	received = MakeSingleTupleTableSlot(request.result_desc, &TTSOpsMinimalTuple);
	row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	stream = remote_open(text.home.node, &request);
	kept = reservoir_fill(stream, received, map, row, rows, n, &seen);
	remote_close(stream);
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(received);

	*total_rows = rint(seen / fraction);
	*total_dead_rows = 0;
	ereport(elevel,
			(errmsg("\"%s\": node \"%s\" sent %.0f rows, %d rows in sample, %.0f estimated total rows",
					RelationGetRelationName(relation), node_display_name(text.home.node),
					seen, kept, *total_rows)));
	return kept;
}

static bool
analyze_table(Relation relation, AcquireSampleRowsFunc *function, BlockNumber *pages)
{
	PartitionHome home;
	RelationSize size;

	home = foreign_table_home(relation);
	size = relation_size(&home);
	*function = acquire_sample;
	*pages = (BlockNumber) Min(size.pages, MaxBlockNumber);
	return true;
}

void
analyze_set_routines(FdwRoutine *routine)
{
	routine->AnalyzeForeignTable = analyze_table;
}
