/*
 * expression.c
 *		Expressions over a few values, evaluated by the server's executor.
 *
 * Casting a column of an answer, and merging two answers, are expressions
 * over parameters $1 to $n.  Going through the executor gives them what any
 * expression has: privileges of functions are checked, SQL functions are
 * inlined, domains check their constraints.
 *
 * An Expression lives in the memory context in which it was prepared.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/makefuncs.h"

#include "deploy/deploy_internal.h"

/*
 * expression_param
 *		The value $number in an expression, of the given type.
 */
Node *
expression_param(int number, Oid type, Oid collation)
{
	Param *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->paramcollid = collation;
	param->location = -1;
	return (Node *) param;
}

/*
 * expression_prepare
 *		Make an expression over n_params values of these types ready to be
 *		evaluated.
 */
Expression *
expression_prepare(Node *node, int n_params, const Oid *types)
{
	Expression *expression = palloc0(sizeof(Expression));

	expression->params = makeParamList(n_params);
	for (int i = 0; i < n_params; i++)
		expression->params->params[i].ptype = types[i];
	expression->estate = CreateExecutorState();
	expression->estate->es_param_list_info = expression->params;
	expression->econtext = CreateExprContext(expression->estate);
	expression->state = ExecPrepareExpr((Expr *) node, expression->estate);
	return expression;
}

/*
 * expression_evaluate
 *		Evaluate it with these values.
 *
 * What comes back is valid until the next call.
 */
Datum
expression_evaluate(Expression *expression, const Datum *values,
					const bool *nulls, bool *is_null)
{
	for (int i = 0; i < expression->params->numParams; i++)
	{
		expression->params->params[i].value = values[i];
		expression->params->params[i].isnull = nulls[i];
	}
	ResetExprContext(expression->econtext);
	return ExecEvalExprSwitchContext(expression->state, expression->econtext,
									 is_null);
}
