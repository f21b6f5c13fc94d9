/*
 * setfuncs.c
 *		Sets as sorted arrays: what to reduce with when elements may repeat
 *		over nodes.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/function.h"
#include "base/pg_compat.h"

DLOG_FUNCTION(dlog_set_union);

typedef struct Order
{
	FmgrInfo *compare;
	Oid collation;
} Order;

static int
compare_values(const void *a, const void *b, void *argument)
{
	Order *order = argument;

	return DatumGetInt32(FunctionCall2Coll(order->compare, order->collation,
										   *(const Datum *) a, *(const Datum *) b));
}

/* The elements in order, each once; nulls are none.  Returns how many. */
static int
make_set(ArrayType *array, TypeCacheEntry *type, Order *order, Datum **elements)
{
	bool *nulls;
	int n;
	int n_kept = 0;
	bool is_sorted = true;

	deconstruct_array(array, type->type_id, type->typlen, type->typbyval, type->typalign,
					  elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			(*elements)[n_kept++] = (*elements)[i];
	}
	n = n_kept;
	for (int i = 1; i < n && is_sorted; i++)
		is_sorted = compare_values(&(*elements)[i - 1], &(*elements)[i], order) < 0;
	if (is_sorted)
		return n;
	qsort_arg(*elements, n, sizeof(Datum), compare_values, order);
	n_kept = n > 0 ? 1 : 0;
	for (int i = 1; i < n; i++)
	{
		if (compare_values(&(*elements)[n_kept - 1], &(*elements)[i], order) != 0)
			(*elements)[n_kept++] = (*elements)[i];
	}
	return n_kept;
}

/*
 * dlog.set_union(anyarray, anyarray)
 *		The elements of both, sorted, each once.
 */
Datum
dlog_set_union(PG_FUNCTION_ARGS)
{
	ArrayType *a = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType *b = PG_GETARG_ARRAYTYPE_P(1);
	Oid element = ARR_ELEMTYPE(a);
	TypeCacheEntry *type = lookup_type_cache(element, TYPECACHE_CMP_PROC_FINFO);
	Order order = {&type->cmp_proc_finfo, PG_GET_COLLATION()};
	Datum *left;
	Datum *right;
	Datum *merged;
	int n_left;
	int n_right;
	int n = 0;
	int i = 0;
	int j = 0;

	if (element != ARR_ELEMTYPE(b))
		elog(ERROR, "arrays of different types");
	if (!OidIsValid(type->cmp_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no order", format_type_be(element))));
	n_left = make_set(a, type, &order, &left);
	n_right = make_set(b, type, &order, &right);
	merged = palloc_extended(sizeof(Datum) * Max(n_left + n_right, 1), MCXT_ALLOC_HUGE);
	while (i < n_left && j < n_right)
	{
		int difference = compare_values(&left[i], &right[j], &order);

		merged[n++] = difference <= 0 ? left[i] : right[j];
		i += difference <= 0;
		j += difference >= 0;
	}
	while (i < n_left)
		merged[n++] = left[i++];
	while (j < n_right)
		merged[n++] = right[j++];
	PG_RETURN_ARRAYTYPE_P(construct_array(merged, n, element, type->typlen, type->typbyval, type->typalign));
}
