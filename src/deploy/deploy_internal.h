/*
 * deploy_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_DEPLOY_INTERNAL_H
#define DLOG_DEPLOY_INTERNAL_H

#include "nodes/execnodes.h"
#include "nodes/params.h"
#include "nodes/pg_list.h"
#include "utils/elog.h"

/*
 * expression.c: an expression over values $1 to $n, evaluated many times.
 */
typedef struct Expression
{
	EState *estate;
	ExprContext *econtext;
	ExprState *state;
	ParamListInfo params;
} Expression;

extern Node *expression_param(int number, Oid type, Oid collation);
extern Expression *expression_prepare(Node *node, int n_params,
									  const Oid *types);
extern Datum expression_evaluate(Expression *expression, const Datum *values,
								 const bool *nulls, bool *is_null);

/*
 * answer.c: what one node answers.
 */
typedef enum AnswerForm
{
	ANSWER_JSON, /* all rows in one jsonb */
	ANSWER_ROWS, /* each row as a value of the type asked for */
	ANSWER_VALUE /* the same, and two rows are an error */
} AnswerForm;

typedef struct Answer
{
	int n_values; /* at most one unless ANSWER_ROWS */
	int max_values;
	Datum *values;
	bool *nulls;
	int64 row_count; /* rows the query returned or, if it returns none by its
					  * nature, changed */
} Answer;

extern const char *answer_form_name(AnswerForm form);
extern AnswerForm answer_form_by_name(const char *name);
extern void answer_query(const char *query, Oid type, AnswerForm form,
						 bool writes, Answer *answer);
extern void answer_add(Answer *answer, Datum value, bool is_null);

/*
 * ask.c: the question to all nodes at once.
 */
typedef struct Question
{
	const char *query;
	Oid type;
	AnswerForm form;
	bool writes;	  /* in the transaction of the asking session */
	bool fail;		  /* raise the first error; otherwise it is an answer */
	int64 timeout_ms; /* 0: none */
	int retries;
} Question;

typedef struct NodeAnswer
{
	int place; /* of the node in the list of those asked */
	const char *node;
	Answer answer;
	ErrorData *error; /* NULL, or why there is no answer */
	uint64 elapsed_us;
	int attempts;
} NodeAnswer;

/* Called once for each node, as they answer; keeps nothing it is given. */
typedef void (*AnswerReceiver)(void *state, const NodeAnswer *answer);

extern void question_check(const char *query);
extern void question_ask(const Question *question, List *nodes,
						 AnswerReceiver receiver, void *state);
extern char *error_text(const ErrorData *error);

/*
 * reducer.c: how two values become one.
 */
typedef struct Reducer
{
	Oid type;
	int16 type_length;
	bool type_by_value;
	bool is_strict;
	Expression *merge;
} Reducer;

extern Reducer *reducer_by_name(const char *name, Oid type, Oid collation);
extern Reducer *reducer_by_function(Oid function, Oid type, Oid collation);
extern void reducer_merge(Reducer *reducer, Datum *state, bool *state_is_null,
						  Datum value, bool is_null);

#endif
