/*
 * args.c
 *		Arguments of a child's init: from a row, in a table, and back.
 *
 * In a spec they are texts, one for each argument, so that they outlive the
 * session that gave them, and a dump.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "actor/actor.h"
#include "supervision/supervision_internal.h"

static ArrayType *
make_array(Datum *texts, bool *nulls, int n)
{
	int dimension = n;
	int lower = 1;

	if (n == 0)
		return construct_empty_array(TEXTOID);
	return construct_md_array(texts, nulls, 1, &dimension, &lower, TEXTOID, -1, false, TYPALIGN_INT);
}

/* The fields of a row as texts. */
ArrayType *
args_of_record(HeapTupleHeader record)
{
	TupleDesc descriptor = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(record),
												  HeapTupleHeaderGetTypMod(record));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(record), .t_data = record};
	Datum *texts = palloc(sizeof(Datum) * descriptor->natts);
	bool *nulls = palloc(sizeof(bool) * descriptor->natts);
	int n = 0;
	int i;

	for (i = 0; i < descriptor->natts; i++)
	{
		Oid output;
		bool is_varlena;
		Datum value;

		if (TupleDescAttr(descriptor, i)->attisdropped)
			continue;
		value = heap_getattr(&tuple, i + 1, descriptor, &nulls[n]);
		if (!nulls[n])
		{
			getTypeOutputInfo(TupleDescAttr(descriptor, i)->atttypid, &output, &is_varlena);
			texts[n] = CStringGetTextDatum(OidOutputFunctionCall(output, value));
		}
		n++;
	}
	ReleaseTupleDesc(descriptor);
	return make_array(texts, nulls, n);
}

/* Those of a spec, then those of an instance; each may be NULL. */
ArrayType *
args_append(ArrayType *first, ArrayType *second)
{
	Datum *texts[2];
	bool *nulls[2];
	int n[2] = {0, 0};
	Datum *all;
	bool *all_nulls;

	if (first == NULL || second == NULL)
		return first != NULL ? first : second;
	deconstruct_array(first, TEXTOID, -1, false, TYPALIGN_INT, &texts[0], &nulls[0], &n[0]);
	deconstruct_array(second, TEXTOID, -1, false, TYPALIGN_INT, &texts[1], &nulls[1], &n[1]);
	all = palloc(sizeof(Datum) * (n[0] + n[1]));
	all_nulls = palloc(sizeof(bool) * (n[0] + n[1]));
	memcpy(all, texts[0], sizeof(Datum) * n[0]);
	memcpy(all + n[0], texts[1], sizeof(Datum) * n[1]);
	memcpy(all_nulls, nulls[0], sizeof(bool) * n[0]);
	memcpy(all_nulls + n[0], nulls[1], sizeof(bool) * n[1]);
	return make_array(all, all_nulls, n[0] + n[1]);
}

/* Texts as values of these types, in place. */
static void
read_values(Datum *values, const bool *nulls, const Oid *types, int n)
{
	for (int i = 0; i < n; i++)
	{
		Oid input;
		Oid parameter;

		if (nulls[i])
			continue;
		getTypeInputInfo(types[i], &input, &parameter);
		values[i] = OidInputFunctionCall(input, TextDatumGetCString(values[i]), parameter, -1);
	}
}

/*
 * args_values
 *		The arguments as the behavior's init takes them.
 *
 * They are read as the child's owner, like all that its actor does: the check
 * of a domain is a user's function, and the caller may be a scheduler.
 *
 * ERROR 42883 when their number is not what it takes, or that of the type's
 * input function.
 */
Datum *
args_values(Oid id, Oid owner, ArrayType *args, int *n_args, bool **nulls)
{
	Behavior *behavior = behavior_acquire(id);
	Oid *types = NULL;
	int n_types = 0;
	Datum *values = NULL;

	*n_args = 0;
	PG_TRY();
	{
		ActorRole before;

		if (OidIsValid(behavior->init))
			get_func_signature(behavior->init, &types, &n_types);
		if (args != NULL)
			deconstruct_array(args, TEXTOID, -1, false, TYPALIGN_INT, &values, nulls, n_args);
		if (*n_args != n_types)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("behavior \"%s\" is spawned with %d arguments, not with %d",
							NameStr(behavior->name), n_types, *n_args)));
		actor_role_enter(owner, behavior, &before);
		read_values(values, *nulls, types, n_types);
		actor_role_leave(&before);
	}
	PG_FINALLY();
	{
		behavior_release(behavior);
	}
	PG_END_TRY();
	return values;
}
