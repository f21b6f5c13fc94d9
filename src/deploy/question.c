/*
 * question.c
 *		What is asked: a query or the name of a function, and its arguments.
 *
 * Arguments are values that go along with the text; nothing pastes them into
 * it.  A function is called with them: "f" with their own types, "f(int)" with
 * those it names.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/keywords.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "deploy/deploy_internal.h"
#include "partition/partition.h"

/* --- a function's name ------------------------------------------------------ */

static const char *
skip_blanks(const char *at)
{
	while (scanner_isspace(*at))
		at++;
	return at;
}

/* The end of the identifier that begins here, or NULL if none does. */
static const char *
skip_identifier(const char *at)
{
	if (*at == '"')
	{
		for (at++; *at != '\0'; at++)
		{
			if (*at == '"' && *++at != '"')
				return at;
		}
		return NULL;
	}
	if (!isalpha((unsigned char) *at) && *at != '_' && !IS_HIGHBIT_SET(*at))
		return NULL;
	while (isalnum((unsigned char) *at) || *at == '_' || *at == '$' || IS_HIGHBIT_SET(*at))
		at++;
	return at;
}

/* Words such as COMMIT and VALUES begin a statement by themselves. */
static bool
is_keyword(const char *word, Size size)
{
	char *copy = pnstrdup(word, size);

	return ScanKeywordLookup(copy, &ScanKeywords) >= 0;
}

/*
 * The end of the name of a function, if the text begins with one and at most
 * types in parentheses follow; otherwise NULL.  "types" is the text between
 * the parentheses, or NULL.
 */
static const char *
function_name_end(const char *name, char **types)
{
	const char *end = skip_identifier(name);
	const char *at;

	*types = NULL;
	if (end == NULL || (*end != '.' && *name != '"' && is_keyword(name, end - name)))
		return NULL;
	while (*end == '.')
	{
		end = skip_identifier(end + 1);
		if (end == NULL)
			return NULL;
	}
	at = skip_blanks(end);
	if (*at == '(')
	{
		const char *open = at + 1;
		int depth = 1;

		for (at++; *at != '\0' && depth > 0; at++)
			depth += (*at == '(') - (*at == ')');
		if (depth > 0)
			return NULL;
		*types = pnstrdup(open, at - 1 - open);
		at = skip_blanks(at);
	}
	return *at == '\0' ? end : NULL;
}

/* The types of a function's name, one by one. */
static List *
split_types(char *types)
{
	List *list = NIL;
	char *start = types;
	int depth = 0;

	if (*skip_blanks(types) == '\0')
		return NIL;
	for (char *at = types;; at++)
	{
		depth += (*at == '(') - (*at == ')');
		if (*at == '\0' || (*at == ',' && depth == 0))
		{
			list = lappend(list, pnstrdup(start, at - start));
			start = at + 1;
		}
		if (*at == '\0')
			return list;
	}
}

/*
 * question_text
 *		The query as it is run: a function that is named is called.
 */
const char *
question_text(const char *query, const Arguments *arguments)
{
	const char *name = skip_blanks(query);
	char *types;
	const char *end = function_name_end(name, &types);
	List *type_list;
	StringInfoData sql;

	if (end == NULL)
		return query;
	type_list = types == NULL ? NIL : split_types(types);
	if (types != NULL && list_length(type_list) != arguments->count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s takes %d arguments, and %d are given", name,
						list_length(type_list), arguments->count),
				 errhint("Pass them as \"args => ROW(...)\".")));

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT * FROM %.*s(", (int) (end - name), name);
	for (int i = 0; i < arguments->count; i++)
	{
		appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
		if (types != NULL)
			appendStringInfo(&sql, "::%s", (char *) list_nth(type_list, i));
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* --- the text ---------------------------------------------------------------- */

static void
syntax_error_callback(void *arg)
{
	const char *query = arg;
	int position = geterrposition();

	/* The position is one in the question, not in the asking statement. */
	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(query);
	}
}

/* Say that each node reads all of a distributed table; for most, that was not meant. */
static bool
warn_of_distributed(Node *node, void *argument)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeVar))
	{
		Oid table = RangeVarGetRelid((RangeVar *) node, NoLock, true);

		if (OidIsValid(table) && partition_is_distributed(table))
			ereport(WARNING,
					(errmsg("each node will read all of distributed table \"%s\", from the other nodes too", get_rel_name(table)),
					 errhint("Ask about the table in an ordinary query.  The partitions that a node has itself are dlog.local_partitions('%s').",
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), get_rel_name(table)))));
		return false;
	}
	return raw_expression_tree_walker(node, warn_of_distributed, argument);
}

/*
 * question_check
 *		Refuse, before anyone is asked, what is not SQL, and warn of what each
 *		node would do for all.
 */
void
question_check(const char *query)
{
	ErrorContextCallback callback;
	List *statements;
	ListCell *cell;

	callback.callback = syntax_error_callback;
	callback.arg = unconstify(char *, query);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	statements = raw_parser(query, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;

	if (statements == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the query is empty")));
	foreach(cell, statements)
	{
		Node *statement = lfirst_node(RawStmt, cell)->stmt;

		if (IsA(statement, SelectStmt))
			(void) warn_of_distributed(statement, NULL);
	}
}

/* --- sums of what cannot be summed --------------------------------------------- */

/* Is there a count(DISTINCT ...) in this expression?  Subqueries are others'. */
static bool
find_distinct_count(Node *node, void *argument)
{
	if (node == NULL || IsA(node, SubLink))
		return false;
	if (IsA(node, FuncCall))
	{
		FuncCall *call = (FuncCall *) node;

		if (call->agg_distinct && strcmp(strVal(llast(call->funcname)), "count") == 0)
		{
			*(FuncCall **) argument = call;
			return true;
		}
	}
	return raw_expression_tree_walker(node, find_distinct_count, argument);
}

/* "user_id" of count(DISTINCT user_id), or something that stands for it. */
static const char *
counted_column(FuncCall *call)
{
	Node *what = linitial(call->args);

	if (list_length(call->args) == 1 && IsA(what, ColumnRef) && IsA(llast(((ColumnRef *) what)->fields), String))
		return quote_identifier(strVal(llast(((ColumnRef *) what)->fields)));
	return "x";
}

/*
 * question_check_sum
 *		Refuse to add the numbers of distinct values, which are too many when
 *		a value is on several nodes.
 *
 * That goes for what the query selects itself.  Nobody can tell from it where
 * values are; who knows that none is on two nodes says so by a subquery.
 */
void
question_check_sum(const char *query, const char *reduce)
{
	SelectStmt *select = (SelectStmt *) llast_node(RawStmt, raw_parser(query, RAW_PARSE_DEFAULT))->stmt;
	FuncCall *call = NULL;
	const char *column;

	if (!IsA(select, SelectStmt) || select->op != SETOP_NONE ||
		!find_distinct_count((Node *) select->targetList, &call))
		return;
	column = counted_column(call);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("adding up count(DISTINCT %s) would count a value once for each node that has it", column),
			 errdetail("\"%s\" adds the nodes' numbers, and nothing says that a value is on one node only.", reduce),
			 errhint("Merge the values, and count them then: map 'SELECT array_agg(DISTINCT %s) FROM ...', reduce 'dlog.set_union', and cardinality() of the result.  "
					 "A distributed table counts right in an ordinary query.  If no value is on two nodes, select the number from a subquery.",
					 column)));
}

/* --- arguments ---------------------------------------------------------------- */

static void
arguments_allocate(Arguments *arguments, int count)
{
	arguments->count = count;
	arguments->types = palloc(sizeof(Oid) * Max(count, 1));
	arguments->values = palloc(sizeof(Datum) * Max(count, 1));
	arguments->nulls = palloc(sizeof(bool) * Max(count, 1));
}

/*
 * arguments_of_row
 *		The columns of a row are $1 to $n.
 */
void
arguments_of_row(Datum row, Arguments *arguments)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	TupleDesc desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												 HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	Datum *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool *nulls = palloc(sizeof(bool) * Max(desc->natts, 1));

	ItemPointerSetInvalid(&tuple.t_self);
	heap_deform_tuple(&tuple, desc, values, nulls);
	arguments_allocate(arguments, desc->natts);
	arguments->count = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		arguments->types[arguments->count] = TupleDescAttr(desc, i)->atttypid;
		arguments->values[arguments->count] = values[i];
		if (arguments->types[arguments->count] == UNKNOWNOID)
		{
			/* A bare literal. */
			arguments->types[arguments->count] = TEXTOID;
			if (!nulls[i])
				arguments->values[arguments->count] = CStringGetTextDatum(DatumGetCString(values[i]));
		}
		arguments->nulls[arguments->count++] = nulls[i];
	}
}

/*
 * arguments_of_call
 *		The arguments of a call from number "first" on.
 */
void
arguments_of_call(FunctionCallInfo fcinfo, int first, Arguments *arguments)
{
	arguments_allocate(arguments, Max(PG_NARGS() - first, 0));
	for (int i = 0; i < arguments->count; i++)
	{
		arguments->types[i] = get_fn_expr_argtype(fcinfo->flinfo, first + i);
		arguments->values[i] = PG_GETARG_DATUM(first + i);
		arguments->nulls[i] = PG_ARGISNULL(first + i);
	}
}
