/*
 * tree.c
 *		A reduction through a tree of nodes.
 *
 * Words.  The nodes that are asked are a list, in the order of their names.
 * Whoever asks cuts it into at most dlog.deploy_fanin pieces, the *branches*,
 * and asks the first node of each, its *head*, for all of the branch.  The
 * head does the same with those behind it, answers the question itself, and
 * merges.  So no node merges more than a fan-in of answers and its own, and
 * merging keeps the order of the list, which reducers that are associative
 * but not commutative need.
 *
 * A branch is one remote statement, dlog.deploy_merge().  Its answer counts
 * when it has come whole, or not at all, and a node is in one open branch at
 * a time; so nothing is counted twice, however often it is asked.
 *
 * When a head fails, those behind it become a branch of the same parent, with
 * the next of them as its head, while the head itself is tried again as often
 * as "retries" says.  What a head says of a node behind it that it could not
 * reach is checked by whoever has a link to that node.
 *
 * Heads wait for those behind them, in a scheduler.  Since heads come before
 * those they wait for in one order that is the same for all, waits never form
 * a circle, however many reductions share the schedulers.
 *
 * Each level has less time than the one above, so that what one node does not
 * answer in time does not keep others' answers from arriving.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/stop_point.h"
#include "deploy/deploy_internal.h"
#include "remote/remote.h"

#define FIRST_PAUSE_MS 50
#define LONGEST_PAUSE_MS 1000

/* The part of its time that a level keeps for itself. */
#define RESERVE_SHARE 10
#define RESERVE_MAX_MS 200

typedef enum BranchState
{
	BRANCH_PAUSED,	/* before another attempt; next: RUNNING */
	BRANCH_RUNNING, /* a stream is open; next: PAUSED, DONE */
	BRANCH_DONE
} BranchState;

typedef struct Branch
{
	BranchState state;
	int first; /* place of its head in the list */
	int count; /* the head and those behind it */
	uint32 node;
	int attempts;
	int pause_ms;
	TimestampTz paused_until;
	RemoteStream *stream;
	TupleTableSlot *slot;
	MemoryContext context; /* of the attempt */
	bool has_value;
	Datum value;
	bool is_null;
	List *failures; /* of ReductionFailure, that this attempt has told of */
} Branch;

typedef struct Tree
{
	const Reduction *reduction;
	MemoryContext context;
	char **names;
	TimestampTz deadline; /* DT_NOEND: none */
	List *branches;		  /* of Branch */
	int n_open;
	ReductionResult *result;
	RemoteRequest request;
	Datum *values; /* of its parameters */
	bool *nulls;
	bool is_over; /* a failure has ended it */
} Tree;

static void branch_attempt(Tree *tree, Branch *branch);

/* --- the request ---------------------------------------------------------------- */

static TupleDesc
merge_columns(Oid type)
{
	TupleDesc desc = CreateTemplateTupleDesc(MERGE_COLUMNS);

	TupleDescInitEntry(desc, 1, "result", type, -1, 0);
	TupleDescInitEntry(desc, 2, "has_value", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, 3, "node", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 4, "sqlstate", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 5, "message", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 6, "detail", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 7, "hint", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 8, "context", TEXTOID, -1, 0);
	return desc;
}

/* $1 is who stands behind the head, $2 its time; then come the arguments. */
static void
request_make(Tree *tree)
{
	const Reduction *reduction = tree->reduction;
	const Question *question = &reduction->question;
	const Arguments *arguments = &question->arguments;
	RemoteRequest *request = &tree->request;
	Oid *types = palloc(sizeof(Oid) * (arguments->count + 2));
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT result, has_value, node, sqlstate, message, detail, hint, context FROM dlog.deploy_merge(%s, NULL::%s",
					 quote_literal_cstr(question->query),
					 format_type_extended(question->type, -1, FORMAT_TYPE_FORCE_QUALIFY));
	if (reduction->collation != NULL)
		appendStringInfo(&sql, " COLLATE %s", reduction->collation);
	appendStringInfo(&sql, ", %s, %s, $1, $2, %d, " INT64_FORMAT ", %d, %s",
					 quote_literal_cstr(reduction->reduce),
					 question->form == ANSWER_PARTIAL ? "true" : "false",
					 reduction->fanin, question->timeout_ms, question->retries,
					 question->fail ? "true" : "false");
	tree->values = palloc0(sizeof(Datum) * (arguments->count + 2));
	tree->nulls = palloc0(sizeof(bool) * (arguments->count + 2));
	types[0] = TEXTARRAYOID;
	types[1] = INT4OID;
	for (int i = 0; i < arguments->count; i++)
	{
		appendStringInfo(&sql, ", $%d", i + 3);
		types[i + 2] = arguments->types[i];
		tree->values[i + 2] = arguments->values[i];
		tree->nulls[i + 2] = arguments->nulls[i];
	}
	appendStringInfoChar(&sql, ')');

	request->kind = REMOTE_QUERY;
	request->sql = sql.data;
	request->n_params = arguments->count + 2;
	request->param_types = types;
	request->param_values = tree->values;
	request->param_nulls = tree->nulls;
	request->any_search_path = true;
	request->result_desc = merge_columns(question->type);
}

/* What the next request is to say of this branch. */
static void
request_for(Tree *tree, const Branch *branch)
{
	int n_behind = branch->count - 1;
	Datum *names = palloc(sizeof(Datum) * Max(n_behind, 1));
	long left_ms = 0;
	long budget_ms = 0;

	for (int i = 0; i < n_behind; i++)
		names[i] = CStringGetTextDatum(tree->names[branch->first + 1 + i]);
	if (tree->deadline != DT_NOEND)
	{
		left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), tree->deadline);
		left_ms = Max(1, left_ms);
		budget_ms = Max(1, left_ms - Min(left_ms / RESERVE_SHARE, RESERVE_MAX_MS));
	}
	tree->values[0] = PointerGetDatum(construct_array(names, n_behind, TEXTOID, -1, false, TYPALIGN_INT));
	tree->values[1] = Int32GetDatum(budget_ms);
	tree->request.timeout_ms = left_ms;
}

/* --- failures --------------------------------------------------------------------- */

static void
failure_add(Tree *tree, const char *node, const ErrorData *error)
{
	MemoryContext old = MemoryContextSwitchTo(tree->context);
	ReductionFailure *failure = palloc0(sizeof(ReductionFailure));

	failure->node = node ? pstrdup(node) : NULL;
	failure->sqlerrcode = error->sqlerrcode;
	failure->message = pstrdup(error->message ? error->message : "unknown error");
	failure->detail = error->detail ? pstrdup(error->detail) : NULL;
	failure->hint = error->hint ? pstrdup(error->hint) : NULL;
	failure->context = error->context ? pstrdup(error->context) : NULL;
	tree->result->failures = lappend(tree->result->failures, failure);

	/* What the merging has come to is not one node's matter. */
	if (tree->reduction->question.fail || node == NULL)
		tree->is_over = true;
	MemoryContextSwitchTo(old);
}

static void
failure_pass_on(Tree *tree, const ReductionFailure *failure)
{
	ErrorData error = {0};

	error.sqlerrcode = failure->sqlerrcode;
	error.message = unconstify(char *, failure->message);
	error.detail = unconstify(char *, failure->detail);
	error.hint = unconstify(char *, failure->hint);
	error.context = unconstify(char *, failure->context);
	failure_add(tree, failure->node, &error);
}

/* --- branches ---------------------------------------------------------------------- */

static Branch *
branch_open(Tree *tree, int first, int count)
{
	Branch *branch = palloc0(sizeof(Branch));

	branch->first = first;
	branch->count = count;
	branch->node = node_find(tree->names[first], true);
	branch->pause_ms = FIRST_PAUSE_MS;
	branch->context = AllocSetContextCreate(tree->context, "dlog branch", ALLOCSET_SMALL_SIZES);
	tree->branches = lappend(tree->branches, branch);
	tree->n_open++;
	branch_attempt(tree, branch);
	return branch;
}

static void
branch_done(Tree *tree, Branch *branch)
{
	branch->state = BRANCH_DONE;
	tree->n_open--;
}

static void
attempt_end(Branch *branch)
{
	if (branch->stream != NULL)
	{
		remote_close(branch->stream);
		ExecDropSingleTupleTableSlot(branch->slot);
	}
	branch->stream = NULL;
	branch->slot = NULL;
}

/*
 * The head has not done its part: those behind it get another, and it is
 * tried again by itself, or given up.
 */
static void
branch_failed(Tree *tree, Branch *branch, const ErrorData *error)
{
	int behind = branch->count - 1;
	ErrorData copy = *error;
	const Question *question = &tree->reduction->question;

	copy.message = error->message ? pstrdup(error->message) : NULL;
	copy.detail = error->detail ? pstrdup(error->detail) : NULL;
	copy.hint = error->hint ? pstrdup(error->hint) : NULL;
	copy.context = error->context ? pstrdup(error->context) : NULL;
	attempt_end(branch);
	branch->count = 1;
	if (is_connection_failure(&copy) && branch->attempts <= question->retries)
	{
		branch->state = BRANCH_PAUSED;
		branch->paused_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), branch->pause_ms);
		branch->pause_ms = Min(branch->pause_ms * 2, LONGEST_PAUSE_MS);
	}
	else
	{
		branch_done(tree, branch);
		failure_add(tree, tree->names[branch->first], &copy);
	}
	if (behind > 0 && !tree->is_over)
		(void) branch_open(tree, branch->first + 1, behind);
}

static void
branch_attempt(Tree *tree, Branch *branch)
{
	ErrorData *error;
	MemoryContext old;

	MemoryContextReset(branch->context);
	branch->failures = NIL;
	branch->has_value = false;
	branch->attempts++;
	error = node_unreachable(branch->node, tree->names[branch->first]);
	if (error != NULL)
	{
		branch_failed(tree, branch, error);
		return;
	}
	old = MemoryContextSwitchTo(branch->context);
	request_for(tree, branch);
	branch->slot = MakeSingleTupleTableSlot(tree->request.result_desc, &TTSOpsMinimalTuple);
	branch->stream = remote_open(branch->node, &tree->request);
	branch->state = BRANCH_RUNNING;
	MemoryContextSwitchTo(old);
}

/* All that the branch has told is true: take it over. */
static void
branch_succeeded(Tree *tree, Branch *branch)
{
	int first = branch->first;
	int count = branch->count;
	ListCell *cell;

	attempt_end(branch);
	branch_done(tree, branch);
	foreach(cell, branch->failures)
	{
		ReductionFailure *failure = lfirst(cell);
		ErrorData error = {.sqlerrcode = failure->sqlerrcode};
		uint32 node = NODE_NOT_FOUND;
		int place = -1;

		for (int i = first; i < first + count && failure->node != NULL && place < 0; i++)
		{
			if (strcmp(tree->names[i], failure->node) == 0)
				place = i;
		}
		if (place >= 0)
			node = node_find(failure->node, true);
		if (is_connection_failure(&error) && place > first && node != NODE_NOT_FOUND &&
			link_state(node) == LINK_UP)
			(void) branch_open(tree, place, 1);
		else
			failure_pass_on(tree, failure);
		if (tree->is_over)
			return;
	}
}

static char *
text_of_column(TupleTableSlot *slot, int column)
{
	bool is_null;
	Datum value = slot_getattr(slot, column, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

/* A row is a failure, or the merged value of all who have one. */
static void
branch_take_row(Tree *tree, Branch *branch)
{
	MemoryContext old = MemoryContextSwitchTo(branch->context);
	bool is_null;
	int32 sqlstate = DatumGetInt32(slot_getattr(branch->slot, 4, &is_null));

	if (!is_null)
	{
		ReductionFailure *failure = palloc0(sizeof(ReductionFailure));

		failure->node = text_of_column(branch->slot, 3);
		failure->sqlerrcode = sqlstate;
		failure->message = text_of_column(branch->slot, 5);
		failure->detail = text_of_column(branch->slot, 6);
		failure->hint = text_of_column(branch->slot, 7);
		failure->context = text_of_column(branch->slot, 8);
		branch->failures = lappend(branch->failures, failure);
	}
	else
	{
		int16 length;
		bool by_value;
		Datum value;

		get_typlenbyval(tree->reduction->question.type, &length, &by_value);
		branch->has_value = DatumGetBool(slot_getattr(branch->slot, 2, &is_null));
		value = slot_getattr(branch->slot, 1, &branch->is_null);
		branch->value = branch->is_null ? (Datum) 0 : datumCopy(value, by_value, length);
	}
	MemoryContextSwitchTo(old);
}

/* Is our time over, but for a rounding? */
static bool
is_too_late(Tree *tree)
{
	return tree->deadline != DT_NOEND &&
		   TimestampDifferenceMilliseconds(GetCurrentTimestamp(), tree->deadline) <= 1;
}

/* Nobody in the branch has answered in time. */
static void
branch_too_late(Tree *tree, Branch *branch)
{
	attempt_end(branch);
	branch_done(tree, branch);
	for (int i = 0; i < branch->count && !tree->is_over; i++)
	{
		const char *name = tree->names[branch->first + i];

		failure_add(tree, name, timeout_error(&tree->reduction->question, name));
	}
}

/* Take what has come. */
static void
branch_continue(Tree *tree, Branch *branch)
{
	ErrorData *error = NULL;

	for (;;)
	{
		switch (remote_next_or_error(branch->stream, branch->slot, &error))
		{
			case REMOTE_PENDING:
				return;
			case REMOTE_ROW:
				branch_take_row(tree, branch);
				break;
			case REMOTE_DONE:
				branch_succeeded(tree, branch);
				return;
			case REMOTE_FAILED:
				if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && is_too_late(tree))
					branch_too_late(tree, branch);
				else
					branch_failed(tree, branch, error);
				return;
		}
	}
}

/* --- all branches -------------------------------------------------------------------- */

static void
branches_open(Tree *tree, int n_names)
{
	int n_branches = Min(n_names, tree->reduction->fanin);
	int first = 0;

	for (int i = 0; i < n_branches && !tree->is_over; i++)
	{
		int count = (n_names - first) / (n_branches - i);

		(void) branch_open(tree, first, count);
		first += count;
	}
}

/* Move each branch on as far as it goes; the time of the soonest pause's end. */
static TimestampTz
branches_continue(Tree *tree)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz soonest = tree->deadline;

	/* The list grows at its end. */
	for (int i = 0; i < list_length(tree->branches) && !tree->is_over; i++)
	{
		Branch *branch = list_nth(tree->branches, i);

		if (branch->state == BRANCH_PAUSED && branch->paused_until <= now)
			branch_attempt(tree, branch);
		if (branch->state == BRANCH_RUNNING)
			branch_continue(tree, branch);
		if (branch->state != BRANCH_DONE && tree->deadline <= now)
			branch_too_late(tree, branch);
		if (branch->state == BRANCH_PAUSED)
			soonest = Min(soonest, branch->paused_until);
	}
	return soonest;
}

static void
branches_await(Tree *tree)
{
	for (;;)
	{
		TimestampTz soonest;

		CHECK_FOR_INTERRUPTS();
		soonest = branches_continue(tree);
		if (tree->n_open == 0 || tree->is_over)
			return;
		if (soonest == DT_NOEND)
			remote_wait();
		else
			(void) remote_wait_until(soonest);
	}
}

static int
compare_branches(const ListCell *a, const ListCell *b)
{
	return ((Branch *) lfirst(a))->first - ((Branch *) lfirst(b))->first;
}

/* The values that there are, in the order of the list, our own first. */
static void
values_collect(Tree *tree, const Answer *own)
{
	ReductionResult *result = tree->result;
	int most = list_length(tree->branches) + 1;
	ListCell *cell;

	result->values = palloc(sizeof(Datum) * most);
	result->nulls = palloc(sizeof(bool) * most);
	result->sources = palloc(sizeof(char *) * most);
	if (own != NULL && own->n_values > 0)
	{
		result->sources[0] = node_this_name();
		result->nulls[0] = own->nulls[0];
		result->values[result->n_values++] = own->values[0];
	}
	list_sort(tree->branches, compare_branches);
	foreach(cell, tree->branches)
	{
		Branch *branch = lfirst(cell);

		if (!branch->has_value)
			continue;
		result->sources[result->n_values] = tree->names[branch->first];
		result->nulls[result->n_values] = branch->is_null;
		result->values[result->n_values++] = branch->value;
	}
}

/*
 * reduction_run
 *		Have these nodes answer, and this one if it is to, and give what their
 *		branches have come to.
 *
 * The result is in the current memory context.  With "fail" set its failures
 * have at most one, and no values.
 */
void
reduction_run(const Reduction *reduction, char **names, int n_names, bool with_own,
			  TimestampTz deadline, ReductionResult *result)
{
	Tree tree = {0};
	Answer own = {0};
	ErrorData *error;
	bool has_own = false;

	memset(result, 0, sizeof(ReductionResult));
	tree.reduction = reduction;
	tree.context = CurrentMemoryContext;
	tree.names = names;
	tree.deadline = deadline;
	tree.result = result;
	if (n_names > 0)
	{
		request_make(&tree);
		branches_open(&tree, n_names);
		STOP_POINT("deploy-branches-open");
	}
	if (with_own && !tree.is_over)
	{
		error = own_answer(&reduction->question, deadline, CurrentMemoryContext, &own);
		has_own = error == NULL;
		if (error != NULL)
			failure_add(&tree, node_this_name(), error);
	}
	if (!tree.is_over)
		branches_await(&tree);
	for (int i = 0; i < list_length(tree.branches); i++)
		attempt_end(list_nth(tree.branches, i));
	if (!tree.is_over)
		values_collect(&tree, has_own ? &own : NULL);
}
