/*
 * answer.c
 *		What one node answers: a query is run, and its rows are brought into
 *		the form that was asked for.
 *
 * The same code runs in the asking session, for this node's own answer, and
 * on the other nodes, through dlog.deploy_answer().
 *
 * The query may be any SQL that can run inside a transaction, several
 * statements included; the answer is the last one's.  It runs in a read-only
 * transaction unless it was said to write, and settings that it changes end
 * with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "deploy/deploy_internal.h"

static void run(const Question *question);
static void take_json(SPITupleTable *rows, uint64 n_rows, MemoryContext context,
					  Answer *answer);
static void take_values(SPITupleTable *rows, uint64 n_rows, Oid type,
						MemoryContext context, Answer *answer);
static Expression *row_conversion(TupleDesc desc, Oid type);
static Node *column_cast(Node *column, Oid type, int32 typmod);

static const char *const form_names[] = {
	[ANSWER_JSON] = "json",
	[ANSWER_ROWS] = "rows",
	[ANSWER_VALUE] = "value",
	[ANSWER_PARTIAL] = "partial",
};

const char *
answer_form_name(AnswerForm form)
{
	return form_names[form];
}

AnswerForm
answer_form_by_name(const char *name)
{
	for (int form = 0; form < lengthof(form_names); form++)
	{
		if (strcmp(form_names[form], name) == 0)
			return form;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown form of answer \"%s\"", name)));
}

/*
 * answer_query
 *		Run a query and give its answer, in the caller's memory context.
 */
void
answer_query(const Question *question, Answer *answer)
{
	Oid type = question->type;
	AnswerForm form = question->form;
	MemoryContext context = CurrentMemoryContext;
	int nest_level = NewGUCNestLevel();
	bool was_read_only = XactReadOnly;

	memset(answer, 0, sizeof(Answer));
	SPI_connect();

	/* The end of the caller's subtransaction resets it, should this fail. */
	XactReadOnly = XactReadOnly || !question->writes;
	if (form == ANSWER_PARTIAL)
	{
		bool is_null;
		Datum state;

		MemoryContextSwitchTo(context);
		state = aggregate_own_state(question->aggregate, question, type, &is_null);
		answer_add(answer, state, is_null);
		SPI_finish();
		AtEOXact_GUC(false, nest_level);
		XactReadOnly = was_read_only;
		return;
	}
	run(question);
	answer->row_count = SPI_processed;

	if (form == ANSWER_JSON)
	{
		if (SPI_tuptable != NULL)
			take_json(SPI_tuptable, SPI_processed, context, answer);
	}
	else if (SPI_tuptable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the query returns no rows by its nature"),
				 errdetail("A value of type %s is asked for.",
						   format_type_be(type))));
	else if (form == ANSWER_VALUE && SPI_processed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("the query returned " UINT64_FORMAT " rows instead of one",
						(uint64) SPI_processed),
				 errhint("Let the query aggregate its rows to one.")));
	else
		take_values(SPI_tuptable, SPI_processed, type, context, answer);

	SPI_finish();
	/* As if failed: nothing that the query set outlives it. */
	AtEOXact_GUC(false, nest_level);
	XactReadOnly = was_read_only;
}

/*
 * answer_add
 *		Append a value, copied by the caller into the answer's context.
 */
void
answer_add(Answer *answer, Datum value, bool is_null)
{
	if (answer->max_values == 0)
	{
		answer->max_values = 4;
		answer->values = palloc(sizeof(Datum) * answer->max_values);
		answer->nulls = palloc(sizeof(bool) * answer->max_values);
	}
	else if (answer->n_values == answer->max_values)
	{
		answer->max_values *= 2;
		answer->values = repalloc(answer->values,
								  sizeof(Datum) * answer->max_values);
		answer->nulls = repalloc(answer->nulls,
								 sizeof(bool) * answer->max_values);
	}
	answer->values[answer->n_values] = value;
	answer->nulls[answer->n_values] = is_null;
	answer->n_values++;
}

static void
run(const Question *question)
{
	const Arguments *arguments = &question->arguments;
	int result;

	if (arguments->count == 0)
		result = SPI_execute(question->query, false, 0);
	else
	{
		char *nulls = palloc(arguments->count);

		for (int i = 0; i < arguments->count; i++)
			nulls[i] = arguments->nulls[i] ? 'n' : ' ';
		result = SPI_execute_with_args(question->query, arguments->count, arguments->types,
									   arguments->values, nulls, false, 0);
	}

	if (result >= 0)
		return;

	if (result == SPI_ERROR_TRANSACTION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a deployed query cannot begin or end transactions")));
	if (result == SPI_ERROR_COPY)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a deployed query cannot copy from or to its client")));
	elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(result));
}

/*
 * take_json
 *		All rows as one jsonb.
 *
 * A row of one column is that column, another an object by column name; one
 * row is itself, several are an array, and none are null.
 */
static void
take_json(SPITupleTable *rows, uint64 n_rows, MemoryContext context,
		  Answer *answer)
{
	TupleDesc desc = rows->tupdesc;
	bool is_single = (desc->natts == 1);
	Oid element_type = is_single ? TupleDescAttr(desc, 0)->atttypid : RECORDOID;
	Expression *to_json;
	Node *cast;
	Datum *elements;
	bool *nulls;

	if (n_rows == 0)
		return;

	cast = (Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
								 list_make1(expression_param(1, element_type, InvalidOid)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	to_json = expression_prepare(cast, 1, &element_type);
	if (!is_single)
		BlessTupleDesc(desc);

	elements = palloc_extended(sizeof(Datum) * n_rows, MCXT_ALLOC_HUGE);
	nulls = palloc_extended(sizeof(bool) * n_rows, MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < n_rows; i++)
	{
		HeapTuple row = rows->vals[i];
		Datum value;
		bool is_null = false;

		CHECK_FOR_INTERRUPTS();
		if (is_single)
			value = heap_getattr(row, 1, desc, &is_null);
		else
			value = heap_copy_tuple_as_datum(row, desc);

		value = expression_evaluate(to_json, &value, &is_null, &is_null);
		nulls[i] = is_null;
		elements[i] = is_null ? (Datum) 0 : datumCopy(value, false, -1);
	}

	if (n_rows > 1)
	{
		Oid array_type = JSONBARRAYOID;
		int size = n_rows;
		int lower_bound = 1;
		ArrayType *array;

		if (n_rows > MaxArraySize)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the query returned more rows than a jsonb can hold"),
					 errhint("Ask for typed rows instead.")));
		array = construct_md_array(elements, nulls, 1, &size, &lower_bound,
								   JSONBOID, -1, false, TYPALIGN_INT);
		cast = (Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
									 list_make1(expression_param(1, array_type, InvalidOid)),
									 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
		to_json = expression_prepare(cast, 1, &array_type);
		elements[0] = PointerGetDatum(array);
		nulls[0] = false;
		elements[0] = expression_evaluate(to_json, elements, nulls, &nulls[0]);
	}

	context = MemoryContextSwitchTo(context);
	answer_add(answer,
			   nulls[0] ? (Datum) 0 : datumCopy(elements[0], false, -1), nulls[0]);
	MemoryContextSwitchTo(context);
}

/*
 * take_values
 *		Each row as a value of the type asked for.
 */
static void
take_values(SPITupleTable *rows, uint64 n_rows, Oid type,
			MemoryContext context, Answer *answer)
{
	TupleDesc desc = rows->tupdesc;
	Expression *conversion = row_conversion(desc, type);
	Datum *values = palloc(sizeof(Datum) * (desc->natts + 1));
	bool *nulls = palloc(sizeof(bool) * (desc->natts + 1));
	int16 length;
	bool by_value;

	get_typlenbyval(type, &length, &by_value);
	for (uint64 i = 0; i < n_rows; i++)
	{
		Datum value;
		bool is_null;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(rows->vals[i], desc, values, nulls);
		value = expression_evaluate(conversion, values, nulls, &is_null);

		context = MemoryContextSwitchTo(context);
		answer_add(answer,
				   is_null ? (Datum) 0 : datumCopy(value, by_value, length),
				   is_null);
		context = MemoryContextSwitchTo(context);
	}
}

/*
 * row_conversion
 *		The expression that makes a value of "type" from a row's columns.
 *
 * One column of that type, or of one that becomes it without loss, is the
 * value.  Otherwise a row type takes the columns one by one.
 */
static Expression *
row_conversion(TupleDesc desc, Oid type)
{
	Oid *types = palloc(sizeof(Oid) * (desc->natts + 1));
	Node *value = NULL;

	for (int i = 0; i < desc->natts; i++)
		types[i] = TupleDescAttr(desc, i)->atttypid;

	if (desc->natts == 1)
		value = column_cast(expression_param(1, types[0], TupleDescAttr(desc, 0)->attcollation),
							type, -1);

	if (value == NULL && type_is_rowtype(type) && type != RECORDOID)
	{
		TupleDesc wanted = lookup_rowtype_tupdesc_domain(type, -1, false);
		RowExpr *row = makeNode(RowExpr);
		int column = 0;

		for (int i = 0; i < wanted->natts && column < desc->natts; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(wanted, i);
			Node *cast;

			if (attribute->attisdropped)
				continue;
			cast = column_cast(expression_param(column + 1, types[column],
												TupleDescAttr(desc, column)->attcollation),
							   attribute->atttypid, attribute->atttypmod);
			if (cast == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("column %d of the query is of type %s where %s is asked for",
								column + 1, format_type_be(types[column]),
								format_type_be(attribute->atttypid)),
						 errdetail("It is for column \"%s\" of type %s.",
								   NameStr(attribute->attname), format_type_be(type)),
						 errhint("Cast it in the query.")));
			row->args = lappend(row->args, cast);
			column++;
		}
		for (; column < desc->natts; column++)
			row->args = lappend(row->args,
								expression_param(column + 1, types[column], InvalidOid));
		ReleaseTupleDesc(wanted);

		/* This also says which columns are too many or missing. */
		row->row_typeid = RECORDOID;
		row->row_format = COERCE_IMPLICIT_CAST;
		row->location = -1;
		value = coerce_to_target_type(NULL, (Node *) row, RECORDOID, type, -1,
									  COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
	}

	if (value == NULL && desc->natts != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg_plural("the query returns %d column instead of one",
							   "the query returns %d columns instead of one",
							   desc->natts, desc->natts),
				 errdetail("A value of type %s is asked for.",
						   format_type_be(type))));
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the query returns type %s where %s is asked for",
						format_type_be(types[0]), format_type_be(type)),
				 errhint("Cast it in the query, or ask for %s.",
						 format_type_be(types[0]))));

	return expression_prepare(value, desc->natts, types);
}

/*
 * column_cast
 *		Cast a column if nothing can be lost: implicitly, or from one integer
 *		type to a smaller one, which fails on what does not fit.  Otherwise
 *		NULL.
 */
static Node *
column_cast(Node *column, Oid type, int32 typmod)
{
	Oid from = exprType(column);
	CoercionContext context = COERCION_IMPLICIT;

#define IS_INTEGER(type) ((type) == INT2OID || (type) == INT4OID || (type) == INT8OID)
	if (IS_INTEGER(from) && IS_INTEGER(type))
		context = COERCION_ASSIGNMENT;

	return coerce_to_target_type(NULL, column, from, type, typmod, context,
								 COERCE_IMPLICIT_CAST, -1);
}
