/*
 * deploy_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_DEPLOY_INTERNAL_H
#define DLOG_DEPLOY_INTERNAL_H

#include "datatype/timestamp.h"
#include "fmgr.h"
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
 * A question, and the form of its answers.
 */
typedef enum AnswerForm
{
	ANSWER_JSON, /* all rows in one jsonb */
	ANSWER_ROWS, /* each row as a value of the type asked for */
	ANSWER_VALUE /* the same, and two rows are an error */
} AnswerForm;

/* Values for $1 to $n. */
typedef struct Arguments
{
	int count;
	Oid *types;
	Datum *values;
	bool *nulls;
} Arguments;

typedef struct Question
{
	const char *query;
	Arguments arguments;
	Oid type;
	AnswerForm form;
	bool writes;	  /* in the transaction of the asking session */
	bool fail;		  /* raise the first error; otherwise it is an answer */
	bool own_apart;	  /* this node's part need not be made by the session */
	int64 timeout_ms; /* 0: none */
	int retries;
} Question;

/*
 * question.c: what is asked.
 */
extern const char *question_text(const char *query, const Arguments *arguments);
extern void question_check(const char *query);
extern void arguments_of_row(Datum row, Arguments *arguments);
extern void arguments_of_call(FunctionCallInfo fcinfo, int first, Arguments *arguments);

/*
 * answer.c: what one node answers.
 */
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
extern void answer_query(const Question *question, Answer *answer);
extern void answer_add(Answer *answer, Datum value, bool is_null);

/*
 * own.c: this node's own part, in the asking session.
 */
extern ErrorData *own_answer(const Question *question, TimestampTz deadline,
							 MemoryContext context, Answer *answer);

/*
 * ask.c: the question to all nodes at once.
 */
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

typedef struct Asking Asking;

extern Asking *asking_begin(const Question *question, List *nodes);
extern const NodeAnswer *asking_next(Asking *asking);
extern void asking_end(Asking *asking);
extern void question_ask(const Question *question, List *nodes,
						 AnswerReceiver receiver, void *state);
extern char *error_text(const ErrorData *error);
extern ErrorData *timeout_error(const Question *question, const char *node);
extern bool is_connection_failure(const ErrorData *error);

/*
 * deployfuncs.c, scan.c: deploy_map as a scan whose rows come as they arrive.
 */
#define MAP_COLUMNS 7

extern bool map_is_called_by(Oid function);
extern void map_question(FunctionCallInfo fcinfo, Question *question, List **nodes);
extern void map_row(const NodeAnswer *answer, int number, Datum *values, bool *nulls);
extern void scan_init(void);

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
