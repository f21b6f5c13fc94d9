/*
 * fanout_select.c
 *		A percentile of values on several nodes, without sorting them all.
 *
 * Selection by sampling (Floyd and Rivest 1975; over several machines,
 * Saukas and Song 1998).  The nodes send a random sample of their values.  In
 * it lie two bounds between which the percentile should be: three standard
 * deviations of its place on either side.  Then each node counts, in one
 * scan, the values below, on and above the bounds, and sends those between
 * them, some percent of all.  The counts tell for certain whether the wanted
 * places are among these.  If not, they tell on which side, and the same is
 * done with what lies there.
 *
 * A node's counts and values come from one statement, and so from one
 * snapshot; the sample only guides.  At most some tens of thousands of
 * values and a few percent of the rest are held here and sent in one answer.
 *
 * The rows here are read by the local part, as often as it takes.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "query/fanout_scan.h"

/* Values that a sample should have. */
#define SAMPLE_SIZE 30000

/* With fewer the bounds are far apart: better to take more, if there are. */
#define SAMPLE_LEAST 1000

/* The columns of the answer that tells how values lie to two bounds. */
typedef enum WindowColumn
{
	WINDOW_BELOW = 1,
	WINDOW_ON_LOW,
	WINDOW_ON_HIGH,
	WINDOW_ABOVE,
	WINDOW_BETWEEN, /* the values themselves */
	WINDOW_N_COLUMNS = WINDOW_BETWEEN
} WindowColumn;

typedef struct Values
{
	double *items;
	int64 count;
	int64 room;
} Values;

/* How the values of all nodes lie to two bounds. */
typedef struct Window
{
	double low;
	double high;
	int64 below;
	int64 on_low;
	int64 on_high; /* 0 if the bounds are equal */
	int64 above;
	Values between;
} Window;

/* Where the wanted places are known to be, both ends included. */
typedef struct Range
{
	bool is_whole; /* nothing is known yet */
	double low;
	double high;
	int64 before; /* values below it */
	int64 after;  /* and above it */
} Range;

/* --- the plan's private member ------------------------------------------------ */

List *
selection_to_list(const FanoutSelection *selection)
{
	const double numbers[] = {selection->fraction, selection->is_continuous,
							  selection->is_descending, selection->rows_there,
							  selection->rows_here};
	List *list = NIL;

	for (int i = 0; i < lengthof(numbers); i++)
		list = lappend(list, makeFloat(psprintf("%.17g", numbers[i])));
	return list;
}

FanoutSelection *
selection_from_list(List *list)
{
	FanoutSelection *selection;

	if (list == NIL)
		return NULL;
	selection = palloc(sizeof(FanoutSelection));
	selection->fraction = floatVal(linitial(list));
	selection->is_continuous = floatVal(lsecond(list)) != 0;
	selection->is_descending = floatVal(lthird(list)) != 0;
	selection->rows_there = floatVal(lfourth(list));
	selection->rows_here = floatVal(list_nth(list, 4));
	return selection;
}

/* --- values ----------------------------------------------------------------------- */

static void
values_add(Values *values, double value)
{
	if (values->count == values->room)
	{
		values->room = Max(values->room * 2, 1024);
		values->items = values->items == NULL ?
							palloc_extended(values->room * sizeof(double), MCXT_ALLOC_HUGE) :
							repalloc_huge(values->items, values->room * sizeof(double));
	}
	values->items[values->count++] = value;
}

static int
compare_values(const void *a, const void *b)
{
	return float8_cmp_internal(*(const double *) a, *(const double *) b);
}

static void
values_sort(Values *values)
{
	if (values->count > 1)
		qsort(values->items, values->count, sizeof(double), compare_values);
}

/* --- what is here ------------------------------------------------------------------ */

/*
 * The next value of the local part; false at the end.  What its plan allocates
 * when it is first run has to last as long as the query.
 */
static bool
next_value_here(FanoutScanState *state, double *value)
{
	MemoryContext old = MemoryContextSwitchTo(state->custom.ss.ps.state->es_query_cxt);
	TupleTableSlot *slot;
	bool is_null = true;

	CHECK_FOR_INTERRUPTS();
	while (is_null && (slot = fanout_next_local(state)) != NULL)
		*value = DatumGetFloat8(slot_getattr(slot, 1, &is_null));
	MemoryContextSwitchTo(old);
	return !is_null;
}

/* The local part is to be read from the beginning. */
static void
restart_here(FanoutScanState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->custom.ss.ps.state->es_query_cxt);

	state->local_is_done = false;
	if (state->local->chgParam == NULL)
		ExecReScan(state->local);
	MemoryContextSwitchTo(old);
}

/* --- the sample ---------------------------------------------------------------------- */

static TupleDesc
sample_columns(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(1);

	TupleDescInitEntry(desc, 1, "v", FLOAT8OID, -1, 0);
	return desc;
}

static void
sample_there(FanoutScanState *state, Values *sample)
{
	for (int i = 0; i < state->n_sources; i++)
	{
		TupleTableSlot *slot;

		while ((slot = fanout_next_answer(state, &state->sources[i])) != NULL)
		{
			bool is_null;
			Datum datum = slot_getattr(slot, 1, &is_null);

			if (!is_null)
				values_add(sample, DatumGetFloat8(datum));
		}
	}
}

/*
 * A sample of the range's values at this rate.  The first time "here" is false
 * unless most rows are here: theirs tells enough, and reading ours takes as
 * long as all that the nodes do.
 */
static void
take_sample(FanoutScanState *state, const Range *range, double rate, bool here,
			Values *sample)
{
	double bounds[] = {range->low, range->high};
	char *sql;
	double value;

	sample->count = 0;
	if (range->is_whole)
		sql = psprintf("SELECT v FROM (%s) s(v) WHERE random() < %.17g", state->sql, rate);
	else
		sql = psprintf("SELECT v FROM (%s) s(v) WHERE random() < %.17g AND v >= $%d AND v <= $%d",
					   state->sql, rate, state->n_parameters + 1, state->n_parameters + 2);
	fanout_ask(state, sql, sample_columns(), bounds, range->is_whole ? 0 : 2);
	if (here)
	{
		restart_here(state);
		while (next_value_here(state, &value))
		{
			if ((range->is_whole || (float8_ge(value, range->low) && float8_le(value, range->high))) &&
				pg_prng_double(&pg_global_prng_state) < rate)
				values_add(sample, value);
		}
	}
	sample_there(state, sample);
	values_sort(sample);
}

/* --- the window ------------------------------------------------------------------------ */

static TupleDesc
window_columns(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(WINDOW_N_COLUMNS);

	TupleDescInitEntry(desc, WINDOW_BELOW, "below", INT8OID, -1, 0);
	TupleDescInitEntry(desc, WINDOW_ON_LOW, "on_low", INT8OID, -1, 0);
	TupleDescInitEntry(desc, WINDOW_ON_HIGH, "on_high", INT8OID, -1, 0);
	TupleDescInitEntry(desc, WINDOW_ABOVE, "above", INT8OID, -1, 0);
	TupleDescInitEntry(desc, WINDOW_BETWEEN, "between", FLOAT8ARRAYOID, -1, 1);
	return desc;
}

static void
window_add(Window *window, double value)
{
	int to_low = float8_cmp_internal(value, window->low);

	if (to_low < 0)
		window->below++;
	else if (to_low == 0)
		window->on_low++;
	else
	{
		int to_high = float8_cmp_internal(value, window->high);

		if (to_high < 0)
			values_add(&window->between, value);
		else if (to_high == 0)
			window->on_high++;
		else
			window->above++;
	}
}

/* The counts and values of one node. */
static void
window_add_answer(Window *window, TupleTableSlot *slot)
{
	Datum *answer = slot->tts_values;

	slot_getallattrs(slot);
	window->below += DatumGetInt64(answer[WINDOW_BELOW - 1]);
	window->on_low += DatumGetInt64(answer[WINDOW_ON_LOW - 1]);
	if (!float8_eq(window->low, window->high))
		window->on_high += DatumGetInt64(answer[WINDOW_ON_HIGH - 1]);
	window->above += DatumGetInt64(answer[WINDOW_ABOVE - 1]);
	if (!slot->tts_isnull[WINDOW_BETWEEN - 1])
	{
		ArrayType *array = DatumGetArrayTypeP(answer[WINDOW_BETWEEN - 1]);
		double *items = (double *) ARR_DATA_PTR(array);
		int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

		for (int i = 0; i < n; i++)
			values_add(&window->between, items[i]);
		if ((Pointer) array != DatumGetPointer(answer[WINDOW_BETWEEN - 1]))
			pfree(array);
	}
}

/* The answers have other columns than the scan; a source has a slot for those. */
static void
window_there(FanoutScanState *state, TupleDesc columns, Window *window)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(columns, &TTSOpsMinimalTuple);

	for (int i = 0; i < state->n_sources; i++)
	{
		FanoutSource *source = &state->sources[i];
		TupleTableSlot *own = source->slot;
		TupleTableSlot *answer;

		source->slot = slot;
		while ((answer = fanout_next_answer(state, source)) != NULL)
			window_add_answer(window, answer);
		source->slot = own;
		ExecClearTuple(slot);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Count all values, and fetch those between the bounds. */
static void
take_window(FanoutScanState *state, bool here, Window *window)
{
	TupleDesc columns = window_columns();
	int low = state->n_parameters + 1;
	int high = low + 1;
	double bounds[] = {window->low, window->high};
	double value;

	/* OFFSET 0: a value is computed once for all that is asked about it. */
	fanout_ask(state,
			   psprintf("SELECT count(*) FILTER (WHERE v < $%d), count(*) FILTER (WHERE v = $%d), "
						"count(*) FILTER (WHERE v = $%d), count(*) FILTER (WHERE v > $%d), "
						"array_agg(v) FILTER (WHERE v > $%d AND v < $%d) FROM (%s OFFSET 0) s(v)",
						low, low, high, high, low, high, state->sql),
			   columns, bounds, 2);
	window->below = window->on_low = window->on_high = window->above = 0;
	window->between.count = 0;
	if (here)
	{
		restart_here(state);
		while (next_value_here(state, &value))
			window_add(window, value);
	}
	window_there(state, columns, window);
	values_sort(&window->between);
}

static int64
window_total(const Window *window)
{
	return window->below + window->on_low + window->between.count + window->on_high + window->above;
}

/*
 * The value at a place, from 0, among all; false if it is outside of the
 * window, which then narrows the range.  An end of the range beyond which the
 * place lies after all, since rows have changed meanwhile, is given up.
 */
static bool
window_value(const Window *window, int64 place, double *value, Range *range)
{
	int64 on_low = window->below + window->on_low; /* values up to there */
	int64 between = on_low + window->between.count;
	int64 on_high = between + window->on_high;

	if (place >= window->below && place < on_high)
	{
		*value = place < on_low	 ? window->low :
				 place < between ? window->between.items[place - on_low] :
								   window->high;
		return true;
	}
	range->is_whole = false;
	if (place < window->below)
	{
		if (float8_le(window->low, range->low))
		{
			range->low = -get_float8_infinity();
			range->before = 0;
		}
		range->high = window->low;
		range->after = window_total(window) - on_low;
	}
	else
	{
		if (float8_ge(window->high, range->high))
		{
			range->high = get_float8_nan();
			range->after = 0;
		}
		range->low = window->high;
		range->before = float8_eq(window->low, window->high) ? window->below : between;
	}
	return false;
}

/* Bounds around where the fraction of the range lies in the sample. */
static void
set_bounds(Window *window, const Range *range, const Values *sample, double fraction)
{
	double place = fraction * sample->count;
	double margin = 3 * sqrt((double) sample->count) + 10;
	int64 low = (int64) floor(place - margin);
	int64 high = (int64) ceil(place + margin);

	window->low = low >= 0 ? sample->items[low] : range->low;
	window->high = high < sample->count ? sample->items[high] : range->high;
}

/* --- the percentile -------------------------------------------------------------------- */

/*
 * The places of the one or two values that the percentile is made of, as
 * percentile_cont() and percentile_disc() choose them, in ascending order.
 */
static void
wanted_places(const FanoutSelection *selection, int64 count, int64 *first,
			  int64 *second, double *proportion)
{
	double exact = selection->fraction * (count - 1);

	*proportion = 0;
	if (selection->is_continuous)
	{
		*first = (int64) floor(exact);
		*second = (int64) ceil(exact);
		*proportion = exact - *first;
	}
	else
	{
		*first = Max((int64) ceil(selection->fraction * count) - 1, 0);
		*second = *first;
	}
	if (selection->is_descending)
	{
		*first = count - 1 - *first;
		*second = count - 1 - *second;
	}
}

/* False if there are no values. */
static bool
select_percentile(FanoutScanState *state, bool here, double *result)
{
	const FanoutSelection *selection = state->selection;
	Range range = {true, -get_float8_infinity(), get_float8_nan(), 0, 0};
	double fraction = selection->is_descending ? 1 - selection->fraction : selection->fraction;
	bool sample_here = here && selection->rows_here > selection->rows_there;
	double expected = selection->rows_there + (sample_here ? selection->rows_here : 0);
	Values sample = {0};
	Window window = {0};

	for (;;)
	{
		double rate = SAMPLE_SIZE / Max(expected, SAMPLE_SIZE);
		int64 first;
		int64 second;
		int64 place;
		double proportion;
		double one;
		double other;

		take_sample(state, &range, rate, sample_here, &sample);
		if (sample.count < SAMPLE_LEAST && rate < 1)
		{
			expected /= 100;
			continue;
		}
		set_bounds(&window, &range, &sample, fraction);
		take_window(state, here, &window);
		if (window_total(&window) == 0)
			return false;
		wanted_places(selection, window_total(&window), &first, &second, &proportion);
		place = first;
		if (window_value(&window, first, &one, &range))
		{
			place = second;
			if (window_value(&window, second, &other, &range))
			{
				*result = first == second ? one : one + proportion * (other - one);
				return true;
			}
		}

		/* It is in what is left; all that is there is sampled. */
		sample_here = here;
		expected = Max(window_total(&window) - range.before - range.after, 1);
		fraction = Min(Max((place - range.before) / expected, 0), 1);
	}
}

/*
 * fanout_select
 *		The one row of a fan-out that selects.
 */
TupleTableSlot *
fanout_select(FanoutScanState *state)
{
	MemoryContext context = AllocSetContextCreate(state->request_context, "DLog Fanout selection",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TupleTableSlot *row = state->sums;
	double result = 0;

	ExecClearTuple(row);
	row->tts_isnull[0] = !select_percentile(state, !state->local_is_done, &result);
	MemoryContextSwitchTo(state->request_context);
	row->tts_values[0] = Float8GetDatum(result);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	state->is_finished = true;
	return ExecStoreVirtualTuple(row);
}
