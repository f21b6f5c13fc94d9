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
	ANSWER_JSON,   /* all rows in one jsonb */
	ANSWER_ROWS,   /* each row as a value of the type asked for */
	ANSWER_VALUE,  /* the same, and two rows are an error */
	ANSWER_PARTIAL /* the state of an aggregate over the rows */
} AnswerForm;

typedef struct Aggregate Aggregate;

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
	Aggregate *aggregate; /* ANSWER_PARTIAL */
} Question;

/*
 * question.c: what is asked.
 */
extern const char *question_text(const char *query, const Arguments *arguments);
extern void question_check(const char *query);
extern void question_check_sum(const char *query, const char *reduce);
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
extern ErrorData *node_unreachable(uint32 node, const char *name);

/*
 * deployfuncs.c, scan.c: deploy_map as a scan whose rows come as they arrive.
 */
#define MAP_COLUMNS 7

extern bool map_is_called_by(Oid function);
extern void map_question(FunctionCallInfo fcinfo, Question *question, List **nodes);
extern void map_row(const NodeAnswer *answer, int number, Datum *values, bool *nulls);
extern void scan_init(void);

/*
 * aggregate.c: aggregates whose states are merged.  States are given as they
 * travel: as "wire_type", bytea for one of type internal.
 */
extern Aggregate *aggregate_find(Oid function, Oid collation, Oid *wire_type, Oid *result_type,
								 const char **why);
extern Datum aggregate_merge(Aggregate *aggregate, Oid wire_type, int n, const Datum *values,
							 const bool *nulls, bool *is_null);
extern Datum aggregate_finish(Aggregate *aggregate, Oid wire_type, Datum value, bool *is_null);
extern Datum aggregate_own_state(const Aggregate *aggregate, const Question *question,
								 Oid wire_type, bool *is_null);

/*
 * reducer.c: how two values become one.
 */
typedef struct Reducer
{
	const char *name; /* by which other nodes find it */
	Oid type;		  /* of what is merged */
	int16 type_length;
	bool type_by_value;
	bool is_strict;
	bool is_sum;
	Expression *merge;	  /* or */
	Aggregate *aggregate; /* of its states; "type" is theirs as they travel */
} Reducer;

extern Reducer *reducer_by_name(const char *name, Oid type, Oid collation);
extern Reducer *reducer_by_function(Oid function, Oid type, Oid collation);
extern Reducer *reducer_of_aggregate(const char *name, Oid collation);
extern void reducer_merge(Reducer *reducer, Datum *state, bool *state_is_null,
						  Datum value, bool is_null);
extern Datum reducer_fold(Reducer *reducer, int n, const Datum *values, const bool *nulls,
						  bool *is_null);
extern void reducer_check_neutral(Reducer *reducer, Datum init, bool init_is_null, Datum value,
								  bool is_null, Oid collation);

/*
 * tree.c: a reduction through a tree of nodes.
 */
typedef struct Reduction
{
	Question question;	   /* its type is that of what is merged */
	const char *reduce;	   /* the reducer's name */
	const char *collation; /* NULL, or quoted */
	int fanin;
} Reduction;

typedef struct ReductionFailure
{
	const char *node; /* NULL: of merging */
	int sqlerrcode;
	const char *message;
	const char *detail;
	const char *hint;
	const char *context;
} ReductionFailure;

typedef struct ReductionResult
{
	int n_values; /* to be merged, in this order */
	Datum *values;
	bool *nulls;
	const char **sources; /* the first node in each */
	List *failures;		  /* of ReductionFailure */
} ReductionResult;

/* deployfuncs.c: arguments of the functions that deploy */
extern void argument_check(FunctionCallInfo fcinfo, int number, const char *name);
extern char *argument_text(FunctionCallInfo fcinfo, int number, const char *name);
extern int64 argument_interval(FunctionCallInfo fcinfo, int number, const char *name);
extern void argument_args(FunctionCallInfo fcinfo, int number, Arguments *arguments);
extern void question_reduce_by(Question *question, const Reducer *reducer, bool init_is_null);
extern Datum result_with_init(Reducer *reducer, Datum init, bool init_is_null, int n, const Datum *values,
							  const bool *nulls, const char *const *sources, bool *is_null);

/*
 * partials.c: values by name, merged in the order of the names; a change costs
 * a number of merges that grows with the logarithm of theirs.
 */
typedef struct Partials Partials;

extern Partials *partials_create(MemoryContext context, const Reducer *reducer);
extern void partials_set(Partials *partials, Reducer *reducer, const char *name, Datum value, bool is_null);
extern void partials_remove(Partials *partials, Reducer *reducer, const char *name);
extern bool partials_find(const Partials *partials, const char *name, Datum *value, bool *is_null);
extern bool partials_result(const Partials *partials, Datum *value, bool *is_null);
extern int64 partials_merges(const Partials *partials);

#define MERGE_COLUMNS 8

extern void reduction_run(const Reduction *reduction, char **names, int n_names, bool with_own,
						  TimestampTz deadline, ReductionResult *result);

#endif
