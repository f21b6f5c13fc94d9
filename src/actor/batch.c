/*
 * batch.c
 *		What a scheduler does for SQL actors: many messages in one transaction.
 *
 * A *batch* is a transaction in which actors take their turns, one after the
 * other, until its time is over or nobody has mail.  All actors of a batch are
 * held until it ends.  Their messages, states and what they send are settled
 * by the transaction callback, within the commit, where nothing can interrupt.
 *
 * When something fails, the batch is rolled back and every actor's messages
 * are in front of its mailbox again.  Who had its turn before the culprit
 * does the same again in a batch of their own; the culprit's message is run
 * by itself.  If that fails, too, its actor exits.  If the commit fails there
 * is no culprit, and all messages are run one by one.
 *
 * A scheduler that is terminated leaves in batch_leave(): after its
 * transaction was rolled back, all actors are let go, except that the one
 * whose handler ran has failed.
 */
#include "postgres.h"

#include <malloc.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "actor/actor_internal.h"
#include "base/clock.h"
#include "base/extension.h"
#include "base/guc.h"
#include "base/role.h"
#include "base/stop_point.h"

/*
 * Where commits wait for a disk, a batch may last so many times longer than
 * they take, but no more than so many times longer than it may otherwise.
 */
#define COMMITS 4
/* A turn is worth its cost with so many messages. */
#define TURN_MESSAGES 16
/* Schedulers look at other things this often. */
#define RUN_US 50000
/* So often is a message tried again that lost against another transaction. */
#define RETRIES 10
/* What malloc keeps for the next batch instead of giving it back. */
#define KEPT_MEMORY (16 * 1024 * 1024)

Batch batch = {.database = -1};
void (*actor_failed_hook)(const ActorFailure *failure);

static uint64 commit_us;	   /* that commits have taken of late */
static SqlActor *system_actor; /* that runs, or comes after the batch */

/* Why the last attempt failed. */
static ErrorData *failure;
static int failed_turn; /* -1: the commit */
static bool failed_in_message;
static bool failed_for_time;

/* --------------------------------------------------------------- attempts */

/* The transaction has failed: note why, and be as before it. */
static void
attempt_failed(MemoryContext context)
{
	bool for_time;

	HOLD_INTERRUPTS();
	for_time = handler_has_failed();
	MemoryContextSwitchTo(batch.context);
	failure = CopyErrorData();
	FlushErrorState();
	failed_turn = current_turn == NULL ? -1 : current_turn - batch.turns;
	failed_in_message = current_message != NULL;
	failed_for_time = for_time && failure->sqlerrcode == ERRCODE_QUERY_CANCELED;
	current_turn = NULL;
	current_message = NULL;
	handler_is_over();
	QueryCancelPending = false;
	actor_replay.is_on = false;
	AbortOutOfAnyTransaction();
	if (actor_journal != NULL)
	{
		actor_journal->is_done();
		actor_journal->forget();
	}
	handler_forget();
	for (int i = 0; i < batch.n_turns; i++)
		turn_rewind(&batch.turns[i]);
	MemoryContextSwitchTo(context);
	RESUME_INTERRUPTS();
}

static void
commit(void)
{
	uint64 begin_us = clock_now_us();

	CommitTransactionCommand();
	commit_us = (commit_us + clock_now_us() - begin_us) / 2;
}

/*
 * attempt
 *		Run this in a transaction.  False: it was rolled back.
 */
static bool
attempt(void (*work)(void *), void *argument)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool is_done = false;

	failure = NULL;
	if (actor_journal != NULL)
		actor_journal->prepare();
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		extension_begin();
		work(argument);
		if (actor_journal != NULL)
			actor_journal->flush();
		handler_leave_role();
		if (ActiveSnapshotSet())
			PopActiveSnapshot();
		STOP_POINT("actor-batch-commit");
		commit();
		is_done = true;
	}
	PG_CATCH();
	{
		attempt_failed(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return is_done;
}

/* ---------------------------------------------------------------- redoing */

static bool
is_worth_retrying(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		   error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

static void
report_failure(Turn *turn, Message *message, const ErrorData *error)
{
	ActorFailure report = {
		.actor = turn->self,
		.behavior = turn->actor->behavior,
		.owner = turn->actor->body->role,
		.error = error,
	};
	char name[NAMEDATALEN];

	if (name_of_actor(turn->self, name))
		report.name = name;
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("actor %s%s%u of behavior \"%s\" failed: %s",
					report.name ? report.name : "", report.name ? ", " : "",
					turn->self.slot, hosted_actor_behavior(turn->self), error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->context ? errcontext_msg("%s", error->context) : 0));
	if (actor_failed_hook == NULL)
		return;
	if (message != NULL && message->type == LOCAL_MAIL)
		report.message_type = message_mail(message)->type;
	PG_TRY();
	{
		extension_begin();
		role_enter(report.owner, report.owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
		if (OidIsValid(report.message_type))
			report.message = mail_text(message);
		role_leave();
		report.message = report.message ? MemoryContextStrdup(batch.context, report.message) : NULL;
		CommitTransactionCommand();
		MemoryContextSwitchTo(batch.context);
		actor_failed_hook(&report);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(batch.context);
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		role_leave();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(batch.context);
}

/* The message in front of an actor, or its init, has failed it. */
static void
actor_failed(Turn *turn, bool in_message, ExitKind kind, ErrorData *error)
{
	SqlActor *actor = turn->actor;
	Message *message;

	if (actor->kind == ACTOR_DURABLE)
	{
		message = in_message ? sql_actor_peek(actor) : NULL;
		if (error != NULL)
			report_failure(turn, message, error);
		durable_has_failed(actor, message, error);
		turn->actor = NULL;
		sql_actor_release(actor);
		return;
	}
	message = in_message ? sql_actor_take_first(actor) : NULL;
	if (message != NULL && message->type == LOCAL_MAIL)
		message_mail(message)->attempts++;
	if (error != NULL)
		report_failure(turn, message, error);
	sql_actor_has_failed(actor, message, error);
	turn->actor = NULL;
	if (!sql_actor_down(actor, kind, error ? error->sqlerrcode : 0, error ? error->message : exit_kind_name(kind)))
		sql_actor_release(actor);
}

/* Decide about the turn that has just failed, alone or for good. */
static void
turn_failed(Turn *turn)
{
	bool is_cancelled = failure->sqlerrcode == ERRCODE_QUERY_CANCELED;

	if (is_cancelled && sql_actor_is_killed(turn->actor))
	{
		actor_failed(turn, failed_in_message, EXIT_KILLED, NULL);
		return;
	}
	if (failed_for_time)
	{
		MemoryContext old = MemoryContextSwitchTo(batch.context);

		failure->message = pstrdup("canceling handler due to dlog.handler_timeout");
		MemoryContextSwitchTo(old);
	}
	actor_failed(turn, failed_in_message, EXIT_ERROR, failure);
}

static void
work_once(void *argument)
{
	turn_run((Turn *) argument, 1);
}

/* One message (or init) of an actor by itself. */
static void
run_alone(Turn *turn)
{
	for (int i = 0;; i++)
	{
		if (!sql_actor_obey(turn->actor))
		{
			turn->actor = NULL;
			return;
		}
		if (turn->actor->phase != PHASE_NEW && turn->actor->phase != PHASE_READY)
			return;
		if (attempt(work_once, turn))
			return;
		if (i == RETRIES || !is_worth_retrying(failure))
			break;
		pg_usleep(1000L * (1 + (MyProcPid + i) % 7));
	}

	/* A deferred constraint fails the commit: it is this message's fault. */
	if (failed_turn < 0)
		failed_in_message = !turn->plans_init;
	turn_failed(turn);
}

static void
work_planned(void *argument)
{
	int n = *(int *) argument;

	for (int i = 0; i < n; i++)
		if (batch.turns[i].actor != NULL && (batch.turns[i].planned > 0 || batch.turns[i].plans_init))
			turn_run(&batch.turns[i], batch.turns[i].planned);
}

static void
run_planned_alone(int n)
{
	for (int i = 0; i < n; i++)
	{
		int left = batch.turns[i].planned + (batch.turns[i].plans_init ? 1 : 0);

		while (left-- > 0 && batch.turns[i].actor != NULL && sql_actor_has_turn(batch.turns[i].actor))
			run_alone(&batch.turns[i]);
	}
}

/*
 * A batch was rolled back: do again what succeeded in it, and find out about
 * what did not.
 */
static void
redo(void)
{
	int culprit = failed_turn;
	bool is_certain = failed_for_time ||
					  (culprit >= 0 && failure->sqlerrcode == ERRCODE_QUERY_CANCELED &&
					   sql_actor_is_killed(batch.turns[culprit].actor));
	bool in_message = failed_in_message;
	bool for_time = failed_for_time;
	ErrorData *error = failure;
	int n = culprit < 0 ? batch.n_turns : culprit + 1;
	bool any = false;

	batch.ends_us = PG_UINT64_MAX;
	for (int i = 0; i < n; i++)
		any = any || batch.turns[i].planned > 0 || batch.turns[i].plans_init;
	if (any && (culprit < 0 || !attempt(work_planned, &n)))
		run_planned_alone(n);
	if (culprit < 0 || batch.turns[culprit].actor == NULL)
		return;
	if (is_certain)
	{
		failure = error;
		failed_in_message = in_message;
		failed_for_time = for_time;
		turn_failed(&batch.turns[culprit]);
	}
	else if (sql_actor_has_turn(batch.turns[culprit].actor))
		run_alone(&batch.turns[culprit]);
}

/* ---------------------------------------------------------------- batches */

/*
 * The next SQL actor of the queue that may take a turn; NULL: none, or a
 * system actor wants to run first.
 */
static SqlActor *
next_actor(void)
{
	SqlActor *actor;
	bool wants_help = false;

	while ((actor = pool_pop(batch.database, &wants_help)) != NULL)
	{
		if (wants_help)
			(void) runtime_wake_scheduler(batch.database);
		if (actor->kind == ACTOR_OF_SYSTEM)
		{
			system_actor = actor;
			if (IsTransactionState())
				return NULL;
			system_run(actor);
			system_actor = NULL;
			continue;
		}
		if (!sql_actor_obey(actor))
			continue;
		if (sql_actor_has_turn(actor))
			return actor;
		sql_actor_release(actor);
	}
	return NULL;
}

/*
 * How many messages an actor may handle in its turn: those who wait share the
 * batch.  So nobody waits for long behind one with much mail, and what was
 * sent together is handled together.
 */
static int
turn_limit(void)
{
	int limit = dlog_batch_messages / (1 + (int) pool_waiting(batch.database));

	return Max(limit, Min(TURN_MESSAGES, dlog_batch_messages));
}

static void
work_batch(void *argument)
{
	SqlActor *actor;
	Turn *turn = argument;

	for (;;)
	{
		turn_run(turn, turn_limit());
		if (batch.n_messages + pending_added() >= dlog_batch_messages || clock_now_us() >= batch.ends_us || InterruptPending ||
			pool_has_system_waiting(batch.database))
			break;
		actor = next_actor();
		if (actor == NULL)
			break;
		turn = turn_add(actor);
	}
}

/* So that schedulers do not mostly wait for their commits. */
static uint64
batch_length_us(void)
{
	uint64 us = (uint64) dlog_batch_time * 1000;

	return Max(us, COMMITS * Min(commit_us, us));
}

/* One batch.  False: nobody has anything to do. */
static bool
run_batch(void)
{
	SqlActor *actor;

	system_actor = NULL;
	actor = next_actor();
	if (actor == NULL)
		return false;
	batch.n_messages = 0;
	batch.ends_us = clock_now_us() + batch_length_us();
	if (!attempt(work_batch, turn_add(actor)))
		redo();
	turn_release_all();
	if (system_actor != NULL)
		system_run(system_actor);
	system_actor = NULL;
	MemoryContextReset(batch.context);
	LockReleaseSession(USER_LOCKMETHOD);
	return true;
}

static void
prepare(void)
{
	static bool is_prepared = false;

	if (is_prepared)
		return;
	is_prepared = true;
	handler_clock_prepare();
	batch.context = AllocSetContextCreate(TopMemoryContext, "dlog batch", ALLOCSET_DEFAULT_SIZES);
	handler_prepare();
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	SetConfigOption("statement_timeout", "0", PGC_USERSET, PGC_S_OVERRIDE);
}

/*
 * batch_run
 *		Host's run: in a scheduler, outside of a transaction.
 */
void
batch_run(int database, bool (*is_wanted_elsewhere)(void))
{
	MemoryContext context = CurrentMemoryContext;
	uint64 until_us = clock_now_us() + RUN_US;

	prepare();
	if (actor_journal != NULL)
		actor_journal->serve(database);
	batch.database = database;
	handler_clock_start();
	MemoryContextSwitchTo(batch.context);
	while (run_batch() && !is_wanted_elsewhere() && clock_now_us() < until_us)
		;
	handler_clock_stop();
	MemoryContextSwitchTo(context);
	pgstat_report_stat(false);
	if (pool_has_work(database))
		pool_wake(database);
}

/*
 * batch_leave
 *		Host's leave: this scheduler exits, its transaction is over.
 *
 * The actor whose handler ran has failed.
 */
void
batch_leave(int database)
{
	int culprit = current_turn == NULL ? -1 : current_turn - batch.turns;
	bool in_message = current_message != NULL;

	(void) handler_has_failed();
	current_turn = NULL;
	current_message = NULL;
	if (actor_journal != NULL)
		actor_journal->is_done();
	for (int i = 0; i < batch.n_turns; i++)
		turn_rewind(&batch.turns[i]);
	if (culprit >= 0 && batch.turns[culprit].actor != NULL)
		actor_failed(&batch.turns[culprit], in_message, EXIT_KILLED, NULL);
	turn_release_all();
	if (system_actor != NULL)
		sql_actor_release(system_actor);
	system_actor = NULL;
	handler_clock_leave(database);
	pool_exit(database);
	if (pool_has_work(database))
		pool_wake(database);
}
