/*
 * reducer.c
 *		How two values become one: finding and checking what merges.
 *
 * A reducer of type A merges two values of A into one of A.  It is named as
 *
 *		an operator			+, ||, myschema.#
 *		a function			int8larger, myschema.merge(point, point)
 *		an aggregate		sum, max, bool_and; avg(numeric)
 *
 * and resolved as the parser would resolve it in "$1 + $2" or "f($1, $2)".
 * An aggregate stands for the way it merges partial results, its combine
 * function: count therefore adds.  That is a value of A only where the state
 * of the aggregate is one and is its result as well.  Others, avg among them,
 * cannot merge their results; named with the types of their arguments they
 * stand for themselves, over the rows of all nodes (aggregate.c).
 *
 * As with aggregates, a strict reducer is not called for nulls: a null is
 * left out, and a null state gives way to the first value that is not.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/fmgrprotos.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "base/pg_compat.h"
#include "deploy/deploy_internal.h"

static List *operator_name(const char *name);
static Node *operator_call(List *name, Oid type, Oid collation);
static Node *function_call(List *name, Oid type, Oid collation);
static Node *aggregate_call(List *name, Oid type, Oid collation);
static Node *procedure_call(Oid function, Oid type, Oid collation);
static Oid combine_function(Oid aggregate, Oid type);
static Reducer *aggregate_reducer(Oid function, Oid result, Oid collation);
static Reducer *reducer_make(const char *name, Node *call, Oid type);
static pg_noreturn void reducer_refuse(const char *name, Oid type, int code, const char *reason);

/*
 * reducer_by_name
 *		Find the operator, function or aggregate that merges values of "type".
 */
Reducer *
reducer_by_name(const char *name, Oid type, Oid collation)
{
	List *names;
	Node *call = NULL;

	if (name[strspn(name, " \t\n\r")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the reduce is empty"),
				 errhint("Name an operator, a function or an aggregate, for example '+' or 'max'.")));

	names = operator_name(name);
	if (names != NIL)
		call = operator_call(names, type, collation);
	else if (strchr(name, '(') != NULL)
	{
		Oid function = DatumGetObjectId(DirectFunctionCall1(regprocedurein,
															CStringGetDatum(name)));

		return reducer_by_function(function, type, collation);
	}
	else
	{
		names = string_to_qualified_names(name);
		call = function_call(names, type, collation);
		if (call == NULL)
			call = aggregate_call(names, type, collation);
	}

	if (call == NULL)
		reducer_refuse(name, type, ERRCODE_UNDEFINED_FUNCTION,
					   "No operator, function or aggregate of this name does so.");
	return reducer_make(name, call, type);
}

/*
 * reducer_by_function
 *		The same for a function, or an aggregate, that is known.
 */
Reducer *
reducer_by_function(Oid function, Oid type, Oid collation)
{
	Oid called = function;
	Reducer *reducer;

	if (!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(function)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));

	if (get_func_prokind(function) == PROKIND_AGGREGATE)
	{
		Oid combine = combine_function(function, type);

		if (!OidIsValid(combine))
			return aggregate_reducer(function, type, collation);
		function = combine;
	}
	reducer = reducer_make(format_procedure(called), procedure_call(function, type, collation), type);
	reducer->name = format_procedure_qualified(called);
	return reducer;
}

/* A reducer of states; results are of type "result", unless that is invalid. */
static Reducer *
aggregate_reducer(Oid function, Oid result, Oid collation)
{
	Reducer *reducer = palloc0(sizeof(Reducer));
	Oid found = InvalidOid;
	const char *why;

	reducer->name = format_procedure_qualified(function);
	reducer->aggregate = aggregate_find(function, collation, &reducer->type, &found, &why);
	if (reducer->aggregate == NULL)
		reducer_refuse(format_procedure(function), result, ERRCODE_DATATYPE_MISMATCH, why);
	if (OidIsValid(result) && found != result)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("aggregate %s returns %s, and \"init\" is of type %s",
						format_procedure(function), format_type_be(found), format_type_be(result)),
				 errhint("Pass NULL::%s as \"init\".", format_type_be(found))));
	get_typlenbyval(reducer->type, &reducer->type_length, &reducer->type_by_value);
	return reducer;
}

/*
 * reducer_of_aggregate
 *		The reducer of states that another node has named.
 */
Reducer *
reducer_of_aggregate(const char *name, Oid collation)
{
	Oid function = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));

	return aggregate_reducer(function, InvalidOid, collation);
}

/*
 * reducer_fold
 *		Merge values, in their order, into one.
 */
Datum
reducer_fold(Reducer *reducer, int n, const Datum *values, const bool *nulls, bool *is_null)
{
	Datum state;

	Assert(n > 0);
	if (reducer->aggregate != NULL)
		return aggregate_merge(reducer->aggregate, reducer->type, n, values, nulls, is_null);
	*is_null = nulls[0];
	state = nulls[0] ? (Datum) 0 : datumCopy(values[0], reducer->type_by_value, reducer->type_length);
	for (int i = 1; i < n; i++)
		reducer_merge(reducer, &state, is_null, values[i], nulls[i]);
	return state;
}

/*
 * reducer_check_neutral
 *		Does merging "init" with this value leave the value as it is?
 */
void
reducer_check_neutral(Reducer *reducer, Datum init, bool init_is_null, Datum value, bool is_null,
					  Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(reducer->type, TYPECACHE_EQ_OPR_FINFO);

	if (!OidIsValid(entry->eq_opr))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("whether \"init\" is neutral cannot be checked"),
				 errdetail("Type %s has no equality operator.", format_type_be(reducer->type))));
	for (int i = 0; i < 2; i++)
	{
		Datum pair[2] = {i == 0 ? init : value, i == 0 ? value : init};
		bool nulls[2] = {i == 0 ? init_is_null : is_null, i == 0 ? is_null : init_is_null};
		bool merged_is_null;
		Datum merged = reducer_fold(reducer, 2, pair, nulls, &merged_is_null);

		if (merged_is_null != is_null ||
			(!is_null && !DatumGetBool(FunctionCall2Coll(&entry->eq_opr_finfo, collation, merged, value))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"init\" is not neutral"),
					 errdetail("Merged %s a node's value it gives another value.", i == 0 ? "with" : "into"),
					 errhint("A neutral \"init\" is 0 for sums, 1 for products, an empty array for concatenations, or null where the reduce is strict.")));
	}
}

/*
 * reducer_merge
 *		Merge a value into the state, which it replaces, in the current
 *		memory context.
 */
void
reducer_merge(Reducer *reducer, Datum *state, bool *state_is_null,
			  Datum value, bool is_null)
{
	Datum values[2] = {*state, value};
	bool nulls[2] = {*state_is_null, is_null};
	Datum old_state = *state;
	bool old_is_null = *state_is_null;
	Datum merged;

	if (reducer->is_strict && is_null)
		return;
	if (reducer->is_strict && *state_is_null)
	{
		merged = value;
		*state_is_null = false;
	}
	else
		merged = expression_evaluate(reducer->merge, values, nulls,
									 state_is_null);

	*state = *state_is_null ? (Datum) 0 : datumCopy(merged, reducer->type_by_value, reducer->type_length);
	if (!old_is_null && !reducer->type_by_value)
		pfree(DatumGetPointer(old_state));
}

/*
 * operator_name
 *		The name as that of an operator, or NIL if it is none.
 */
static List *
operator_name(const char *name)
{
	static const char symbols[] = "+-*/<>=~!@#%^&|`?";
	size_t size;
	const char *dot;

	while (isspace((unsigned char) *name))
		name++;
	size = strlen(name);
	while (size > 0 && isspace((unsigned char) name[size - 1]))
		size--;
	dot = name + size;
	while (dot > name && strchr(symbols, dot[-1]) != NULL)
		dot--;

	if (dot == name + size)
		return NIL;
	if (dot == name)
		return list_make1(makeString(pnstrdup(name, size)));
	if (dot[-1] != '.')
		return NIL;
	return lappend(string_to_qualified_names(pnstrdup(name, dot - name - 1)),
				   makeString(pnstrdup(dot, name + size - dot)));
}

static Node *
operator_call(List *name, Oid type, Oid collation)
{
	ParseState *pstate = make_parsestate(NULL);
	Operator found = compatible_oper(pstate, name, type, type, true, -1);

	if (found == NULL)
		return NULL;
	ReleaseSysCache(found);
	return (Node *) make_op(pstate, name,
							expression_param(1, type, collation),
							expression_param(2, type, collation), NULL, -1);
}

/*
 * function_call
 *		A call with two values of "type", or NULL if no function takes them.
 */
static Node *
function_call(List *name, Oid type, Oid collation)
{
	Oid types[2] = {type, type};
	List *arguments = list_make2(expression_param(1, type, collation),
								 expression_param(2, type, collation));
	Oid function;
	Oid result;
	bool is_set;
	int n_variadic;
	Oid variadic_type;
	Oid *declared_types;
	List *defaults;
	FuncDetailCode kind;

	kind = func_get_detail(name, arguments, NIL, 2, types, true, true, false,
						   &function, &result, &is_set, &n_variadic,
						   &variadic_type, &declared_types, &defaults);
	if (kind == FUNCDETAIL_MULTIPLE)
		reducer_refuse(NameListToString(name), type, ERRCODE_AMBIGUOUS_FUNCTION,
					   "Several functions of this name do so.");
	if (kind != FUNCDETAIL_NORMAL)
		return NULL;
	if (is_set)
		reducer_refuse(NameListToString(name), type, ERRCODE_DATATYPE_MISMATCH,
					   "It is a function that returns a set.");
	return ParseFuncOrColumn(make_parsestate(NULL), name, arguments, NULL,
							 makeFuncCall(name, NIL, COERCE_EXPLICIT_CALL, -1),
							 false, -1);
}

/*
 * aggregate_call
 *		A call of the combine function of the aggregate, or NULL.
 *
 * Of several aggregates of the name, one over "type" comes first; others
 * whose state is of that type do as well, as the sum of integers does for
 * bigint.
 */
static Node *
aggregate_call(List *name, Oid type, Oid collation)
{
	Oid combine = InvalidOid;
	bool is_sum = false;

	for (FuncCandidateList candidate = FuncnameGetCandidates(name, 1, NIL, false, false, false, true);
		 candidate != NULL; candidate = candidate->next)
	{
		Oid found;

		if (get_func_prokind(candidate->oid) != PROKIND_AGGREGATE)
			continue;
		is_sum |= (candidate->oid == F_SUM_NUMERIC);

		found = combine_function(candidate->oid, type);
		if (!OidIsValid(found) || found == combine)
			continue;
		if (candidate->args[0] == type)
		{
			combine = found;
			break;
		}
		if (OidIsValid(combine))
			reducer_refuse(NameListToString(name), type, ERRCODE_AMBIGUOUS_FUNCTION,
						   "Several aggregates of this name do so.");
		combine = found;
	}

	if (OidIsValid(combine))
		return procedure_call(combine, type, collation);

	/* The state of the server's own sum can be wider; what it does is known. */
	if (is_sum)
		return operator_call(list_make2(makeString("pg_catalog"), makeString("+")),
							 type, collation);
	return NULL;
}

/*
 * procedure_call
 *		A call of just this function with two values of "type".
 */
static Node *
procedure_call(Oid function, Oid type, Oid collation)
{
	char *name = format_procedure(function);
	Oid types[2] = {type, type};
	Oid *declared;
	int n_arguments;
	Oid result = get_func_signature(function, &declared, &n_arguments);
	List *arguments = NIL;

	if (get_func_prokind(function) != PROKIND_FUNCTION || get_func_retset(function))
		reducer_refuse(name, type, ERRCODE_DATATYPE_MISMATCH,
					   "It is not a function that returns one value.");
	if (n_arguments != 2 || !can_coerce_type(2, types, declared, COERCION_IMPLICIT))
		reducer_refuse(name, type, ERRCODE_DATATYPE_MISMATCH,
					   "Its arguments are others.");

	result = enforce_generic_type_consistency(types, declared, 2, result, false);
	for (int i = 0; i < 2; i++)
		arguments = lappend(arguments,
							coerce_type(NULL, expression_param(i + 1, type, collation),
										type, declared[i], -1, COERCION_IMPLICIT,
										COERCE_IMPLICIT_CAST, -1));
	return (Node *) makeFuncExpr(function, result, arguments, InvalidOid,
								 collation, COERCE_EXPLICIT_CALL);
}

/*
 * combine_function
 *		The function by which an aggregate merges two states, if these are of
 *		"type" and are its results as well; otherwise InvalidOid.
 */
static Oid
combine_function(Oid aggregate, Oid type)
{
	HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Form_pg_aggregate form;
	Oid state;
	Oid combine = InvalidOid;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggregate);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);

	state = form->aggtranstype;
	if (form->aggkind == AGGKIND_NORMAL && !OidIsValid(form->aggfinalfn) &&
		(state == type ||
		 (IsBinaryCoercible(type, state) &&
		  (IsPolymorphicType(state) || IsBinaryCoercible(state, type)))))
		combine = form->aggcombinefn;
	ReleaseSysCache(tuple);
	return combine;
}

/* Is this one of the server's own ways to add two numbers of a kind? */
static bool
is_addition(Oid function)
{
	static const char *const names[] = {"int2pl", "int4pl", "int8pl", "float4pl", "float8pl", "numeric_add"};
	char *name = get_func_name(function);

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0 && get_func_namespace(function) == PG_CATALOG_NAMESPACE)
			return true;
	}
	return false;
}

static Reducer *
reducer_make(const char *name, Node *call, Oid type)
{
	Reducer *reducer = palloc0(sizeof(Reducer));
	Oid types[2] = {type, type};
	Oid result = exprType(call);
	Oid function;

	if (result != type && !IsBinaryCoercible(result, type))
		reducer_refuse(name, type, ERRCODE_DATATYPE_MISMATCH,
					   psprintf("It returns %s.", format_type_be(result)));

	if (IsA(call, OpExpr))
		function = get_opcode(((OpExpr *) call)->opno);
	else
		function = castNode(FuncExpr, call)->funcid;

	reducer->name = name;
	reducer->type = type;
	reducer->is_sum = is_addition(function);
	get_typlenbyval(type, &reducer->type_length, &reducer->type_by_value);
	reducer->is_strict = func_strict(function);

	/* The parser leaves collations of expressions to a later pass. */
	assign_expr_collations(NULL, call);
	reducer->merge = expression_prepare(call, 2, types);
	return reducer;
}

static void
reducer_refuse(const char *name, Oid type, int code, const char *reason)
{
	const char *type_name = format_type_be(type);

	if (!OidIsValid(type))
		ereport(ERROR, (errcode(code), errmsg("\"%s\" does not merge", name), errdetail("%s", reason)));
	ereport(ERROR,
			(errcode(code),
			 errmsg("\"%s\" does not merge two values of type %s into one",
					name, type_name),
			 errdetail("%s", reason),
			 errhint("The reduce is (%s, %s) -> %s, since \"init\" is of type %s.",
					 type_name, type_name, type_name, type_name)));
}
