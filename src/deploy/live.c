/*
 * live.c
 *		Live deployments: a reduce whose value follows the nodes.
 *
 * Words.  A *live deployment* is a row of dlog.live_deployment.  It is kept by a
 * supervised job, which runs the procedure dlog.live_run() as its owner for as
 * long as the deployment is there.  A *round* asks members for their values and
 * brings the rows up to date, in one transaction.
 *
 * Every "every" a round asks all members of the flock.  In between the job sleeps;
 * it wakes when a link or the membership changes, and then a round takes those out
 * that have left, without asking anybody, and asks those that have come.  A member
 * that fails is left out, with its error, until it answers again.
 *
 * The values are kept in memory by member (partials.c), so what has changed is
 * all that is merged anew.  Who starts the job afterwards, on the same server, begins by
 * asking all; as long as nothing has changed, no row is written.
 *
 * Between rounds no snapshot and no lock is held.  A round that fails in itself,
 * in the reduce for example, is undone: the deployment says why, keeps its
 * value, and the next round begins from scratch.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/function.h"
#include "base/statement.h"
#include "deploy/deploy_internal.h"
#include "flock/flock.h"
#include "journal/journal.h"
#include "transport/transport.h"

DLOG_FUNCTION(dlog_live_run);

/* Between rounds as long as it is not known how often. */
#define RETRY_MS 1000

/* A deployment as its row says; in the memory of a transaction. */
typedef struct LiveRow
{
	char *flock;
	Question question;
	Reducer *reducer;
	Oid collation;
	Oid type; /* of init, and of the value */
	Datum init;
	bool init_is_null;
	bool checks_init;
	int64 every_ms;
	struct varlena *value; /* dlog.payload; NULL: none yet */
	char *error;
} LiveRow;

/* What is known of a member from one round to the next. */
typedef struct LiveMember
{
	char *name;
	bool has_answered;
	int sqlerrcode; /* of its error, if it has not */
	bool is_in_flock;
} LiveMember;

typedef struct Live
{
	const char *name;
	MemoryContext context; /* of partials and members; reset when a round fails */
	Partials *partials;	   /* NULL: all is to be asked */
	List *members;		   /* of LiveMember */
	int64 every_ms;
	TimestampTz due; /* when all are to be asked again */
	bool is_over;	 /* the row is gone, or suspended */
} Live;

/* One round. */
typedef struct Round
{
	Live *live;
	bool asks_all;
	LiveRow *row;
	MemoryContext context; /* of the round */
	int64 merges;		   /* of the partials before it */
	bool is_locked;		   /* the row of the deployment is */
	bool has_left;		   /* a member has */
	bool has_changed;	   /* the row of a member has */
} Round;

/* ------------------------------------------------------------------ the row */

static void
read_arguments(ArrayType *array, Arguments *arguments)
{
	Datum *elements;
	int n;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elements, NULL, &n);
	arguments->count = n;
	arguments->types = palloc(sizeof(Oid) * Max(n, 1));
	arguments->values = palloc(sizeof(Datum) * Max(n, 1));
	arguments->nulls = palloc(sizeof(bool) * Max(n, 1));
	for (int i = 0; i < n; i++)
		arguments->values[i] = payload_datum(PG_DETOAST_DATUM_COPY(elements[i]), &arguments->types[i], &arguments->nulls[i]);
}

static Datum
column(int number, bool *is_null)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, is_null);
}

/* A varlena of the row, in the current memory context; NULL for null. */
static struct varlena *
varlena_column(int number, MemoryContext context)
{
	bool is_null;
	Datum value = column(number, &is_null);
	MemoryContext old = MemoryContextSwitchTo(context);
	struct varlena *copy = is_null ? NULL : PG_DETOAST_DATUM_COPY(value);

	MemoryContextSwitchTo(old);
	return copy;
}

static char *
text_column(int number, MemoryContext context)
{
	char *text = statement_column(0, number);

	return text == NULL ? NULL : MemoryContextStrdup(context, text);
}

static const char row_sql[] =
	"SELECT flock, map, reduce, reduce_function::oid, init, args, COALESCE(collation_used, 0)::oid, check_init, every_ms,"
	" timeout_ms, value, error, search_path, pg_has_role($2::oid, owner, 'USAGE'),"
	" has_function_privilege($2::oid, 'dlog.live_run(text)', 'EXECUTE')"
	" FROM dlog.live_deployment WHERE name = $1 AND NOT is_suspended";

/*
 * The row of the deployment, with what it names looked up; NULL: there is none
 * that is to run.
 */
static LiveRow *
read_row(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	LiveRow *row = palloc0(sizeof(LiveRow));
	Question *question = &row->question;
	StatementScope scope;
	struct varlena *init;
	struct varlena *arguments;
	char *reduce;
	char *search_path;
	Oid function;
	bool function_is_null;
	bool is_null;

	statement_open(&scope);
	if (statement_run(row_sql, 2, (const char *[]){name, psprintf("%u", scope.user)}) == 0)
	{
		statement_close(&scope);
		return NULL;
	}
	if (!DatumGetBool(column(14, &is_null)) || !DatumGetBool(column(15, &is_null)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for live deployment \"%s\"", name),
				 errdetail("Its owner must be a member of role dlog_deployer.")));
	row->flock = text_column(1, context);
	question->query = text_column(2, context);
	reduce = text_column(3, context);
	function = DatumGetObjectId(column(4, &function_is_null));
	init = varlena_column(5, context);
	arguments = varlena_column(6, context);
	row->collation = DatumGetObjectId(column(7, &is_null));
	row->checks_init = DatumGetBool(column(8, &is_null));
	row->every_ms = DatumGetInt64(column(9, &is_null));
	question->timeout_ms = DatumGetInt64(column(10, &is_null));
	row->value = varlena_column(11, context);
	row->error = text_column(12, context);
	search_path = text_column(13, context);
	statement_close(&scope);

	SetConfigOption("search_path", search_path, PGC_USERSET, PGC_S_SESSION);
	read_arguments((ArrayType *) arguments, &question->arguments);
	row->init = payload_datum(init, &row->type, &row->init_is_null);
	row->reducer = function_is_null ? reducer_by_name(reduce, row->type, row->collation) :
									  reducer_by_function(function, row->type, row->collation);
	question_reduce_by(question, row->reducer, row->init_is_null);
	return row;
}

/* ------------------------------------------------------------------ members */

static LiveMember *
find_member(Live *live, const char *name)
{
	ListCell *cell;

	foreach(cell, live->members)
	{
		LiveMember *member = lfirst(cell);

		if (strcmp(member->name, name) == 0)
			return member;
	}
	return NULL;
}

static LiveMember *
add_member(Live *live, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(live->context);
	LiveMember *member = palloc0(sizeof(LiveMember));

	member->name = pstrdup(name);
	live->members = lappend(live->members, member);
	MemoryContextSwitchTo(old);
	return member;
}

/*
 * Before anything is written, in a scope: who drops the deployment locks its
 * row first, too, and goes on to the members from there.
 */
static void
lock_row(Round *round)
{
	if (!round->is_locked)
		statement_run("SELECT FROM dlog.live_deployment WHERE name = $1 FOR NO KEY UPDATE", 1, &round->live->name);
	round->is_locked = true;
}

/* Writes a member's row; "value" is a dlog.payload, NULL: none. */
static void
write_member(Round *round, const char *name, struct varlena *value, const ErrorData *error)
{
	static const char sql[] =
		"INSERT INTO dlog.live_member AS m (deployment, node, value, changed_at, sqlstate, error)"
		" VALUES ($1, $2, $3, clock_timestamp(), $4, $5)"
		" ON CONFLICT (deployment, node) DO UPDATE SET value = excluded.value, sqlstate = excluded.sqlstate,"
		"  error = excluded.error, changed_at = excluded.changed_at"
		" WHERE (m.value::text, m.sqlstate, m.error) IS DISTINCT FROM (excluded.value::text, excluded.sqlstate, excluded.error)";
	StatementScope scope;
	Oid types[5] = {TEXTOID, TEXTOID, InvalidOid, TEXTOID, TEXTOID};
	Datum values[5] = {CStringGetTextDatum(round->live->name), CStringGetTextDatum(name), PointerGetDatum(value),
					   (Datum) 0, (Datum) 0};
	char nulls[] = "     ";

	statement_open(&scope);
	lock_row(round);
	statement_run("SELECT 'dlog.payload'::regtype::oid", 0, NULL);
	types[2] = (Oid) strtoul(statement_column(0, 1), NULL, 10);
	nulls[2] = value == NULL ? 'n' : ' ';
	nulls[3] = nulls[4] = error == NULL ? 'n' : ' ';
	if (error != NULL)
	{
		values[3] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
		values[4] = CStringGetTextDatum(error_text(error));
	}
	round->has_changed |= statement_run_typed(sql, 5, types, values, nulls) > 0;
	statement_close(&scope);
}

/* What a member has answered, as others are to see it: of a state, its result. */
static struct varlena *
payload_of_answer(const LiveRow *row, Datum value, bool is_null)
{
	if (row->reducer->aggregate != NULL)
		value = aggregate_finish(row->reducer->aggregate, row->reducer->type, value, &is_null);
	return payload_create(value, value_type(row->type), is_null);
}

/* A member's value, if it is another than the one that counts. */
static void
take_value(Round *round, LiveMember *member, const Answer *answer)
{
	Live *live = round->live;
	Reducer *reducer = round->row->reducer;
	bool has_value = answer->n_values > 0;
	Datum value;
	bool is_null;
	bool had_value = partials_find(live->partials, member->name, &value, &is_null);

	if (member->has_answered && had_value == has_value &&
		(!has_value || (is_null == answer->nulls[0] &&
						(is_null || datum_image_eq(value, answer->values[0], reducer->type_by_value, reducer->type_length)))))
		return;
	if (has_value && round->row->checks_init && reducer->aggregate == NULL)
		reducer_check_neutral(reducer, round->row->init, round->row->init_is_null, answer->values[0], answer->nulls[0],
							  round->row->collation);
	if (has_value)
		partials_set(live->partials, reducer, member->name, answer->values[0], answer->nulls[0]);
	else
		partials_remove(live->partials, reducer, member->name);
	member->has_answered = true;
	write_member(round, member->name,
				 has_value ? payload_of_answer(round->row, answer->values[0], answer->nulls[0]) : NULL, NULL);
}

/* A member that fails is left out until it answers. */
static void
take_error(Round *round, LiveMember *member, const ErrorData *error)
{
	if (!member->has_answered && member->sqlerrcode == error->sqlerrcode)
		return;
	partials_remove(round->live->partials, round->row->reducer, member->name);
	member->has_answered = false;
	member->sqlerrcode = error->sqlerrcode;
	write_member(round, member->name, NULL, error);
}

/* An answer, kept until all are there: the asking has a subtransaction. */
typedef struct KeptAnswer
{
	const char *node;
	Answer answer;
	ErrorData *error;
} KeptAnswer;

typedef struct Keeping
{
	Round *round;
	List *answers; /* of KeptAnswer */
} Keeping;

static void
keep_answer(void *state, const NodeAnswer *given)
{
	Keeping *keeping = state;
	Reducer *reducer = keeping->round->row->reducer;
	MemoryContext old = MemoryContextSwitchTo(keeping->round->context);
	KeptAnswer *kept = palloc0(sizeof(KeptAnswer));

	kept->node = pstrdup(given->node);
	kept->error = given->error == NULL ? NULL : palloc0(sizeof(ErrorData));
	if (given->error != NULL)
	{
		kept->error->sqlerrcode = given->error->sqlerrcode;
		kept->error->message = given->error->message ? pstrdup(given->error->message) : NULL;
		kept->error->detail = given->error->detail ? pstrdup(given->error->detail) : NULL;
		kept->error->hint = given->error->hint ? pstrdup(given->error->hint) : NULL;
	}
	else
	{
		for (int i = 0; i < given->answer.n_values; i++)
			answer_add(&kept->answer,
					   given->answer.nulls[i] ? (Datum) 0 : datumCopy(given->answer.values[i], reducer->type_by_value, reducer->type_length),
					   given->answer.nulls[i]);
	}
	keeping->answers = lappend(keeping->answers, kept);
	MemoryContextSwitchTo(old);
}

static void
ask(Round *round, List *nodes)
{
	Keeping keeping = {.round = round};
	ListCell *cell;

	question_ask(&round->row->question, nodes, keep_answer, &keeping);
	foreach(cell, keeping.answers)
	{
		KeptAnswer *kept = lfirst(cell);
		LiveMember *member = find_member(round->live, kept->node);

		if (member == NULL)
			member = add_member(round->live, kept->node);
		member->is_in_flock = true;
		if (kept->error != NULL)
			take_error(round, member, kept->error);
		else
			take_value(round, member, &kept->answer);
	}
}

/* Takes those out that are no members any longer; returns whom to ask. */
static List *
follow_flock(Round *round)
{
	Live *live = round->live;
	List *asked = NIL;
	List *stay = NIL;
	MemoryContext old;
	ListCell *cell;

	foreach(cell, live->members)
		((LiveMember *) lfirst(cell))->is_in_flock = false;
	foreach(cell, flock_nodes(round->row->flock))
	{
		int node = lfirst_int(cell);
		LiveMember *member = find_member(live, node == THIS_NODE ? node_this_name() : node_name(node));

		if (member != NULL)
			member->is_in_flock = true;
		if (member == NULL || round->asks_all)
			asked = lappend_int(asked, node);
	}
	foreach(cell, live->members)
	{
		LiveMember *member = lfirst(cell);

		if (member->is_in_flock)
		{
			old = MemoryContextSwitchTo(live->context);
			stay = lappend(stay, member);
			MemoryContextSwitchTo(old);
			continue;
		}
		partials_remove(live->partials, round->row->reducer, member->name);
		round->has_left = true;
	}
	list_free(live->members);
	live->members = stay;
	return asked;
}

/* Rows of nodes that are no members. */
static void
delete_members(Round *round)
{
	Live *live = round->live;
	Datum *names = palloc(sizeof(Datum) * Max(list_length(live->members), 1));
	Oid types[2] = {TEXTOID, TEXTARRAYOID};
	Datum values[2];
	StatementScope scope;
	int n = 0;
	ListCell *cell;

	foreach(cell, live->members)
		names[n++] = CStringGetTextDatum(((LiveMember *) lfirst(cell))->name);
	values[0] = CStringGetTextDatum(live->name);
	values[1] = PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
	statement_open(&scope);
	lock_row(round);
	round->has_changed |= statement_run_typed("DELETE FROM dlog.live_member WHERE deployment = $1 AND node <> ALL ($2)",
											  2, types, values, NULL) > 0;
	statement_close(&scope);
}

/* ------------------------------------------------------------------ a round */

/* What all members come to, as a dlog.payload. */
static struct varlena *
result_of(Round *round)
{
	LiveRow *row = round->row;
	Datum merged = (Datum) 0;
	bool merged_is_null = true;
	int n_values = partials_result(round->live->partials, &merged, &merged_is_null) ? 1 : 0;
	bool is_null;
	Datum value;

	value = result_with_init(row->reducer, row->init, row->init_is_null, n_values, &merged, &merged_is_null, NULL, &is_null);
	return payload_create(value, value_type(row->type), is_null);
}

static bool
is_same(const struct varlena *a, const struct varlena *b)
{
	return a != NULL && VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* Writes the row, and tells who listens. */
static void
write_result(Round *round, struct varlena *value)
{
	static const char sql[] =
		"WITH written AS (UPDATE dlog.live_deployment SET value = $2, last_merges = $3, merges = merges + $3, changes = changes + 1,"
		"  changed_at = CASE WHEN $4 THEN clock_timestamp() ELSE changed_at END, sqlstate = NULL, error = NULL"
		"  WHERE name = $1 AND NOT is_suspended RETURNING name, changes)"
		" SELECT pg_notify('dlog_live', json_build_object('name', name, 'changes', changes)::text) FROM written";
	Oid types[4] = {TEXTOID, InvalidOid, INT8OID, BOOLOID};
	Datum values[4] = {CStringGetTextDatum(round->live->name), PointerGetDatum(value),
					   Int64GetDatum(partials_merges(round->live->partials) - round->merges),
					   BoolGetDatum(!is_same(round->row->value, value))};
	StatementScope scope;

	statement_open(&scope);
	statement_run("SELECT 'dlog.payload'::regtype::oid", 0, NULL);
	types[1] = (Oid) strtoul(statement_column(0, 1), NULL, 10);
	if (statement_run_typed(sql, 4, types, values, NULL) == 0)
		round->live->is_over = true; /* it was dropped or suspended meanwhile */
	statement_close(&scope);
}

/* In a subtransaction. */
static void
run_round(void *argument)
{
	Round *round = argument;
	Live *live = round->live;
	bool is_first = live->partials == NULL;
	struct varlena *value;
	List *asked;

	round->row = read_row(live->name);
	if (round->row == NULL)
	{
		live->is_over = true;
		return;
	}
	live->every_ms = round->row->every_ms;
	if (is_first)
		live->partials = partials_create(live->context, round->row->reducer);
	round->asks_all |= is_first;
	round->merges = partials_merges(live->partials);
	asked = follow_flock(round);
	if (asked != NIL)
		ask(round, asked);
	if (is_first || round->has_left)
		delete_members(round);
	if (!round->has_changed && !is_first && round->row->error == NULL)
		return;
	value = result_of(round);
	if (round->has_changed || round->row->error != NULL || !is_same(round->row->value, value))
		write_result(round, value);
}

/* The round was undone; what is in memory may be half of it. */
static void
round_failed(Live *live, const ErrorData *error)
{
	static const char sql[] =
		"WITH written AS (UPDATE dlog.live_deployment SET sqlstate = $2, error = $3, changes = changes + 1"
		"  WHERE name = $1 AND (sqlstate, error) IS DISTINCT FROM ($2, $3) RETURNING name, changes)"
		" SELECT pg_notify('dlog_live', json_build_object('name', name, 'changes', changes)::text) FROM written";
	StatementScope scope;

	MemoryContextReset(live->context);
	live->partials = NULL;
	live->members = NIL;
	statement_open(&scope);
	statement_run(sql, 3, (const char *[]){live->name, unpack_sql_state(error->sqlerrcode), error_text(error)});
	statement_close(&scope);
}

static void
round_in_transaction(Live *live, bool asks_all)
{
	Round round = {.live = live, .asks_all = asks_all};
	MemoryContext old = CurrentMemoryContext;
	ErrorData *error;

	round.context = AllocSetContextCreate(CurrentMemoryContext, "dlog live round", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(round.context);
	PushActiveSnapshot(GetTransactionSnapshot());
	error = statement_try(run_round, &round);
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	if (error != NULL)
		round_failed(live, error);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(round.context);
	SPI_commit();
}

/* ------------------------------------------------------------------- the job */

/* One process at a time keeps a deployment; the one before it may still end. */
static void
lock_deployment(const char *name)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0x646c6f67, hash_bytes((const unsigned char *) name, (int) strlen(name)), 3);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
}

/*
 * CALL dlog.live_run(name)
 *		Keep a live deployment up to date, until it is dropped or suspended.
 *		Its job calls this.
 */
Datum
dlog_live_run(PG_FUNCTION_ARGS)
{
	Live live = {.every_ms = RETRY_MS};

	runtime_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a live deployment must not be null")));
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) || castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("dlog.live_run() cannot run inside a transaction block")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	live.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	live.context = AllocSetContextCreate(CurrentMemoryContext, "dlog live deployment", ALLOCSET_DEFAULT_SIZES);
	lock_deployment(live.name);
	link_watch();
	PG_TRY();
	{
		while (!live.is_over)
		{
			TimestampTz now = GetCurrentTimestamp();
			bool is_due = now >= live.due;

			round_in_transaction(&live, is_due);
			if (is_due)
				live.due = TimestampTzPlusMilliseconds(now, live.every_ms);
			if (!live.is_over)
				(void) runtime_wait(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), live.due), PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		link_unwatch();
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}
