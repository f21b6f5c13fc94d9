/*
 * testfuncs.c
 *		What tests need to see of partials.c from SQL.
 *
 * Only in builds with -DDLOG_STOP_POINTS; declared in tools/test_schema.sql.
 */
#include "postgres.h"

#ifdef DLOG_STOP_POINTS

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"

#include "base/function.h"
#include "deploy/deploy_internal.h"

DLOG_FUNCTION(dlog_test_partials);

/* Names in an order that is not theirs. */
static char *
name_of(int i, int n)
{
	return psprintf("n%06d", (int) ((int64) i * 7919 % n));
}

static bool
sums_to(const Partials *partials, int64 expected)
{
	Datum value = (Datum) 0;
	bool is_null = true;

	return partials_result(partials, &value, &is_null) ? !is_null && DatumGetInt64(value) == expected : expected == 0;
}

/* Do names, concatenated, come out in their order?  "n" must not be divided by 7919. */
static bool
keeps_order(int n)
{
	Reducer *reducer = reducer_by_name("||", TEXTOID, DEFAULT_COLLATION_OID);
	Partials *partials = partials_create(CurrentMemoryContext, reducer);
	Datum value = (Datum) 0;
	bool is_null;
	char *names;

	for (int i = 0; i < n; i++)
		partials_set(partials, reducer, name_of(i, n), CStringGetTextDatum(name_of(i, n)), false);
	for (int i = 0; i < n; i += 3)
		partials_remove(partials, reducer, name_of(i, n));
	if (!partials_result(partials, &value, &is_null))
		return n <= 1;
	names = TextDatumGetCString(value);
	for (char *at = names; at[7] != '\0'; at += 7)
	{
		if (strncmp(at, at + 7, 7) >= 0)
			return false;
	}
	return (int) strlen(names) == 7 * (n - (n + 2) / 3);
}

/*
 * test.partials(members) -> is_right, per_join, per_change, per_leave
 */
Datum
dlog_test_partials(PG_FUNCTION_ARGS)
{
	int n = PG_GETARG_INT32(0);
	Reducer *reducer = reducer_by_name("+", INT8OID, InvalidOid);
	Partials *partials = partials_create(CurrentMemoryContext, reducer);
	int64 merges[3];
	int64 sum = 0;
	bool is_right = keeps_order(n);
	bool nulls[4] = {false};
	TupleDesc desc;
	Datum values[4];

	for (int i = 0; i < n; i++)
	{
		partials_set(partials, reducer, name_of(i, n), Int64GetDatum(i), false);
		sum += i;
		is_right &= sums_to(partials, sum);
	}
	merges[0] = partials_merges(partials);
	for (int i = 0; i < n; i++)
	{
		partials_set(partials, reducer, name_of(i, n), Int64GetDatum(2 * i), false);
		sum += i;
		is_right &= sums_to(partials, sum);
	}
	merges[1] = partials_merges(partials) - merges[0];
	for (int i = 0; i < n; i++)
	{
		partials_remove(partials, reducer, name_of(i, n));
		sum -= 2 * i;
		is_right &= sums_to(partials, sum);
	}
	merges[2] = partials_merges(partials) - merges[0] - merges[1];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(is_right);
	for (int i = 0; i < 3; i++)
		values[i + 1] = Float8GetDatum((double) merges[i] / n);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

#endif
