/*
 * session.c
 *		A scheduler at the service of one asking session.
 *
 * A scheduler that takes a REQUEST becomes its session.  Most requests run
 * alone: one read-only transaction, one statement, and the scheduler is free
 * again.  A *pinned* session is the far end of a transaction: it keeps its
 * own transaction open, runs statement after statement, several at a time in
 * pieces, and ends when the asking transaction does.
 *
 * States of a pinned session:
 *	 working	its transaction is open; next: failed, ended
 *	 failed		a statement failed in the (sub)transaction of level
 *				"failed_level", which has been rolled back; requests are
 *				refused until the asker has rolled back as far; next: working
 *				(ROLLBACK of that level or an outer one), ended
 *	 ended		committed, rolled back, or the asker is gone
 *
 * Whatever happens to the asker ends the session: it says so, or a message to
 * it comes back, or the epoch of its link ends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/clock.h"
#include "remote/remote_internal.h"

/*
 * A statement that is done within this time is answered in one go: those who
 * carry its messages are woken once, for all of them.
 */
#define ANSWER_HOLD_MS 5

/* A request is one string. */
#define BODY_MAX (1024 * 1024 * 1024 - 1)

typedef struct Session
{
	MemoryContext context;
	BoundActor *actor;
	ActorAddress self;
	ActorAddress peer; /* the transaction's actor, or the only stream's */
	uint32 epoch;
	bool is_pinned;
	bool is_ended;
	bool peer_is_gone;
	int level;		  /* nesting of our transaction; 1: no subtransaction */
	int failed_level; /* 0: nothing failed */
	int guc_level;
	int log_level;	/* log_min_messages of this scheduler */
	Oid outer_role; /* the scheduler's own */
	int client_encoding;
	uint32 asker_encoding; /* for errors before a statement was read */
	uint64 request_id;
	char *node; /* the asker's */
	char *name; /* how this session appears in pg_stat_activity */
	dlist_head executions;
	Execution *speaker; /* the one at work; notices are its asker's */
	/* The request whose body is still coming in */
	ActorAddress body_asker;
	RequestMessage body_request;
	StringInfoData body;
	bool body_is_open;
	uint32 body_unacknowledged;
} Session;

static Session *volatile current;
static TimeoutId answer_timeout;
static emit_log_hook_type previous_emit_log;

static void session_handle(Session *session, Message *message);

/* --- words to the asker --------------------------------------------------- */

static void
tell(Session *session, ActorAddress to, Message *message)
{
	message->from = session->self;
	if (actor_send(to, message) != SEND_OK && actor_address_equal(to, session->peer))
		session->peer_is_gone = true;
}

static void
tell_started(Session *session)
{
	StartedMessage started = {.pid = MyProcPid, .credits = INPUT_CREDITS};
	Message *message = remote_message(MESSAGE_STARTED, started_size(&started));

	started_write(message->payload, message->size, &started);

	/* If it comes back, nobody needs what we are at by then. */
	message->flags |= MESSAGE_URGENT;
	tell(session, session->peer, message);
}

static void
tell_credit(Session *session, ActorAddress to, uint32 messages)
{
	CreditMessage credit = {.messages = messages};
	Message *message = remote_message(MESSAGE_CREDIT, credit_size(&credit));

	credit_write(message->payload, message->size, &credit);
	tell(session, to, message);
}

static void
tell_done(Session *session)
{
	DoneMessage done = {0};
	Message *message = remote_message(MESSAGE_DONE, done_size(&done));

	done_write(message->payload, message->size, &done);
	tell(session, session->peer, message);
}

static void
tell_failure(Session *session, ActorAddress to, ErrorData *error, uint8 flags)
{
	tell(session, to, failure_message(error, flags, session->asker_encoding));
}

static void
tell_end(Session *session, Execution *execution)
{
	EndMessage end;
	Message *message;

	end.rows = execution->writer.rows;
	end.affected = execution->affected;
	end.run_us = execution->run_us;
	end.stalled_us = execution->stalled_us;
	end.tag.data = execution->tag;
	end.tag.size = strlen(execution->tag);
	message = remote_message(MESSAGE_END, end_size(&end));
	end_write(message->payload, message->size, &end);
	tell(session, execution->asker, message);
}

/*
 * Hold back what wakes the asker until the statement is done, has more than
 * one chunk of rows, waits, or has run for a while.
 */
static void
answer_hold(void)
{
	process_hold_wakeups();
	enable_timeout_after(answer_timeout, ANSWER_HOLD_MS);
}

static void
answer_release(void)
{
	if (get_timeout_active(answer_timeout))
		disable_timeout(answer_timeout, false);
	process_release_wakeups();
}

/* --- our transaction ------------------------------------------------------ */

static void
transaction_begin(Session *session, const RequestMessage *request)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();

	/* A block: user's text cannot commit from within, nor vacuum. */
	BeginTransactionBlock();
	CommitTransactionCommand();
	StartTransactionCommand();

	XactReadOnly = (request->flags & REQUEST_READ_ONLY) != 0 || !session->is_pinned;
	XactIsoLevel = (request->flags & REQUEST_SERIALIZABLE)	  ? XACT_SERIALIZABLE :
				   (request->flags & REQUEST_REPEATABLE_READ) ? XACT_REPEATABLE_READ :
																XACT_READ_COMMITTED;
	XactDeferrable = (request->flags & REQUEST_DEFERRABLE) != 0;
	session->level = 1;
	session->guc_level = NewGUCNestLevel();

	/* Notices have to be made for forward_notice() to see them. */
	session->log_level = log_min_messages;
	if (log_min_messages > INFO)
		(void) set_config_option("log_min_messages", "info", PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("application_name", session->name, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	MemoryContextSwitchTo(session->context);
}

/* What a statement may leave behind in a process goes with its session. */
static void
forget_transactional_state(void)
{
	PortalHashTableDeleteAll();
	if (!XactReadOnly)
	{
		Oid schema;
		Oid toast_schema;

		Async_UnlistenAll();
		GetTempNamespaceState(&schema, &toast_schema);
		if (OidIsValid(schema))
		{
			PushActiveSnapshot(GetTransactionSnapshot());
			ResetTempTableNamespace();
			PopActiveSnapshot();
		}
	}
}

static void
forget_process_state(void)
{
	DropAllPreparedStatements();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetSequenceCaches();
}

static void
transaction_commit(Session *session)
{
	/* Deferred triggers run as the role and under the settings of the asker. */
	AfterTriggerFireDeferred();
	AtEOXact_GUC(false, session->guc_level);
	forget_transactional_state();
	EndTransactionBlock(false);
	CommitTransactionCommand();
	SetUserIdAndSecContext(session->outer_role, 0);
	session->level = 0;
	MemoryContextSwitchTo(session->context);
}

/*
 * Forget the statements that a rollback of "level" has ended.  If it was not
 * the asker who rolled back, those who wait for their rows are told.
 */
static void
executions_rolled_back(Session *session, int level, ErrorData *why)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &session->executions)
	{
		Execution *execution = dlist_container(Execution, node, iter.cur);

		if (execution->level < level)
			continue;
		if (why != NULL)
			tell_failure(session, execution->asker, why, 0);
		execution->portal = NULL;
		dlist_delete(&execution->node);
		execution_close(execution);
		MemoryContextDelete(execution->context);
	}
}

static void
transaction_abort(Session *session, ErrorData *why)
{
	HOLD_INTERRUPTS();
	AbortOutOfAnyTransaction();
	session->level = 0;
	executions_rolled_back(session, 0, why);
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(session->context);
}

/* Open subtransactions until ours are nested as the asker's. */
static void
subtransactions_begin(Session *session, int level)
{
	while (session->level < level)
	{
		BeginInternalSubTransaction(NULL);
		session->level++;
	}
	MemoryContextSwitchTo(session->context);
}

static void
subtransactions_rollback(Session *session, int level, ErrorData *why)
{
	while (session->level >= level)
	{
		RollbackAndReleaseCurrentSubTransaction();
		session->level--;
		executions_rolled_back(session, session->level + 1, why);
	}
	MemoryContextSwitchTo(session->context);
}

static void
subtransactions_release(Session *session, int level)
{
	dlist_iter iter;

	while (session->level >= level)
	{
		ReleaseCurrentSubTransaction();
		session->level--;
	}
	dlist_foreach(iter, &session->executions)
	{
		Execution *execution = dlist_container(Execution, node, iter.cur);

		execution->level = Min(execution->level, session->level);
	}
	MemoryContextSwitchTo(session->context);
}

/*
 * Something failed: roll back the innermost (sub)transaction, and tell those
 * whose statements end with it.
 */
static void
session_fail(Session *session, ErrorData *why)
{
	int level = session->level;

	session->failed_level = session->failed_level == 0 ?
								level :
								Min(session->failed_level, level);
	if (level > 1)
		subtransactions_rollback(session, level, why);
	else
		transaction_abort(session, why);
}

/* --- errors ---------------------------------------------------------------- */

/*
 * Take the error that is being handled out of the server's hands.  Only for
 * PG_CATCH blocks.
 */
static ErrorData *
caught_error(Session *session)
{
	ErrorData *error;

	MemoryContextSwitchTo(session->context);
	error = CopyErrorData();
	FlushErrorState();
	session->speaker = NULL;

	/* What interrupted it has been served. */
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
	return error;
}

/* --- statements ------------------------------------------------------------ */

static Execution *
execution_find(Session *session, uint32 slot, uint32 incarnation)
{
	dlist_iter iter;

	dlist_foreach(iter, &session->executions)
	{
		Execution *execution = dlist_container(Execution, node, iter.cur);

		if (execution->asker.slot == slot && execution->asker.incarnation == incarnation)
			return execution;
	}
	return NULL;
}

static void
execution_drop(Execution *execution)
{
	dlist_delete(&execution->node);
	execution_close(execution);
	MemoryContextDelete(execution->context);
}

static Execution *
execution_create(Session *session, ActorAddress asker, const RequestMessage *request)
{
	MemoryContext context = AllocSetContextCreate(session->context,
												  "dlog statement at work",
												  ALLOCSET_DEFAULT_SIZES);
	Execution *execution = MemoryContextAllocZero(context, sizeof(Execution));

	execution->context = context;
	execution->asker = asker;
	execution->is_pinned = session->is_pinned;
	execution->level = request->level;
	execution->query_id = request->query_id;
	execution->explains = (request->flags & REQUEST_EXPLAIN) != 0;
	if (request->timeout_ms > 0)
		execution->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  request->timeout_ms);
	execution->writer.from = session->self;
	execution->writer.credits = request->credits;
	dlist_push_tail(&session->executions, &execution->node);
	return execution;
}

/* The asking statement's deadline holds here as well. */
static void
deadline_begin(Execution *execution)
{
	if (execution->deadline != 0)
		enable_timeout_at(STATEMENT_TIMEOUT, execution->deadline);
}

static void
deadline_end(Execution *execution)
{
	if (execution->deadline != 0)
		disable_timeout(STATEMENT_TIMEOUT, false);
}

/* The whole request is here. */
static void
statement_begin(Session *session, ActorAddress asker,
				const RequestMessage *request, StringInfo body)
{
	Execution *execution;

	if (session->failed_level != 0)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction on node \"%s\" has failed",
						node_this_name())));
	if (session->level == 0)
		transaction_begin(session, request);
	subtransactions_begin(session, request->level);
	execution = execution_create(session, asker, request);
	execution->activity = activity_begin(ACTIVITY_EXECUTOR, asker.node,
										 session->node, request->request_id, NULL);
	deadline_begin(execution);
	session->speaker = execution;
	execution_open(execution, body, request->statement_size);
	session->speaker = NULL;
	deadline_end(execution);
	session->asker_encoding = execution->cached->statement->encoding;
}

static bool
execution_is_runnable(Execution *execution)
{
	if (execution->is_finished)
		return false;
	if (execution->input != NULL)
		return copy_has_run(execution);
	return !execution->is_stopped || execution->writer.credits > 0;
}

/* Run one statement as far as it goes. */
static void
session_step(Session *session, Execution *execution)
{
	bool is_done;

	deadline_begin(execution);
	session->speaker = execution;
	is_done = execution_run(execution);
	session->speaker = NULL;
	deadline_end(execution);
	if (!is_done)
		return;
	tell_end(session, execution);
	execution_drop(execution);
}

/* --- input ------------------------------------------------------------------ */

static void
body_begin(Session *session, Message *message)
{
	RequestMessage *request = &session->body_request;

	if (!request_read(message->payload, message->size, request) ||
		request->body.size > request->body_size || request->body_size > BODY_MAX ||
		session->body_is_open)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	resetStringInfo(&session->body);
	appendBinaryStringInfo(&session->body, request->body.data, request->body.size);
	session->body_asker = message->from;
	session->body_is_open = true;
	session->body_unacknowledged = 0;
}

static void
body_add(Session *session, Message *message)
{
	RequestMoreMessage more;

	if (!session->body_is_open ||
		!request_more_read(message->payload, message->size, &more) ||
		session->body.len + more.body.size > session->body_request.body_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	appendBinaryStringInfo(&session->body, more.body.data, more.body.size);
	if (++session->body_unacknowledged >= INPUT_CREDITS / 2)
	{
		tell_credit(session, session->body_asker, session->body_unacknowledged);
		session->body_unacknowledged = 0;
	}
}

static void
body_end(Session *session)
{
	if (!session->body_is_open ||
		session->body.len < session->body_request.body_size)
		return;
	session->body_is_open = false;
	if (session->body_unacknowledged > 0)
		tell_credit(session, session->body_asker, session->body_unacknowledged);
	statement_begin(session, session->body_asker, &session->body_request,
					&session->body);
}

static void
handle_undelivered(Session *session, Message *message)
{
	UndeliveredMessage undelivered;
	Execution *execution;

	if (!undelivered_read(message->payload, message->size, &undelivered))
		return;
	if (undelivered.slot == session->peer.slot &&
		undelivered.incarnation == session->peer.incarnation)
		session->peer_is_gone = true;
	execution = execution_find(session, undelivered.slot, undelivered.incarnation);
	if (execution != NULL)
		execution->writer.asker_is_gone = true;
}

static void
handle_commit(Session *session, Message *message)
{
	CommitMessage commit;

	if (!commit_read(message->payload, message->size, &commit))
		return;
	if (commit.level > 1)
	{
		/* A subtransaction that failed here cannot be kept there. */
		if (session->failed_level >= commit.level)
			session->failed_level = commit.level - 1;
		if (session->level > 0)
			subtransactions_release(session, commit.level);
		return;
	}
	if (session->failed_level != 0)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction on node \"%s\" has failed and cannot be committed",
						node_this_name())));
	if (session->level > 0)
	{
		dlist_mutable_iter iter;

		dlist_foreach_modify(iter, &session->executions)
			execution_drop(dlist_container(Execution, node, iter.cur));
		subtransactions_release(session, 2);
		transaction_commit(session);
	}
	session->is_ended = true;
	tell_done(session);
}

static void
handle_rollback(Session *session, Message *message)
{
	RollbackMessage rollback;

	if (!rollback_read(message->payload, message->size, &rollback))
		return;
	if (rollback.level <= 1)
	{
		session->is_ended = true;
		return;
	}
	if (session->level > 0)
		subtransactions_rollback(session, rollback.level, NULL);
	if (session->failed_level >= rollback.level)
		session->failed_level = 0;
}

/*
 * Handle a message.  It may raise an error, which then is the statement's
 * that the message is about.
 */
static void
session_handle(Session *session, Message *message)
{
	Execution *execution = execution_find(session, message->from.slot,
										  message->from.incarnation);
	CreditMessage credit;

	switch (message->type)
	{
		case MESSAGE_REQUEST:
			body_begin(session, message);
			break;
		case MESSAGE_REQUEST_MORE:
			body_add(session, message);
			break;
		case MESSAGE_CREDIT:
			if (execution != NULL &&
				credit_read(message->payload, message->size, &credit))
				execution->writer.credits += credit.messages;
			break;
		case MESSAGE_INPUT:
			if (execution != NULL && execution->input != NULL)
				copy_add(execution, message);
			break;
		case MESSAGE_CANCEL:
			if (!session->is_pinned)
				session->peer_is_gone = true;
			else if (execution != NULL)
				execution_drop(execution);
			break;
		case MESSAGE_COMMIT:
			handle_commit(session, message);
			break;
		case MESSAGE_ROLLBACK:
			handle_rollback(session, message);
			break;
		case MESSAGE_UNDELIVERED:
			handle_undelivered(session, message);
			break;
		default:
			elog(LOG, "dlog: a remote session ignores a message of type %u",
				 message->type);
			break;
	}
}

static bool
asker_is_there(Session *session)
{
	if (session->peer.node != THIS_NODE &&
		link_epoch(session->peer.node) != session->epoch)
		session->peer_is_gone = true;
	return !session->peer_is_gone;
}

/*
 * Handle a message, or with none the request that has come in whole.  An
 * error is the statement's that it is about.
 */
static void
session_take(Session *session, Message *message)
{
	ActorAddress from = message != NULL ? message->from : session->body_asker;
	bool is_commit = message != NULL && message->type == MESSAGE_COMMIT;

	PG_TRY();
	{
		if (message != NULL)
			session_handle(session, message);
		body_end(session);
	}
	PG_CATCH();
	{
		ErrorData *error = caught_error(session);

		session->body_is_open = false;
		if (execution_find(session, from.slot, from.incarnation) == NULL)
			tell_failure(session, is_commit ? session->peer : from, error, 0);
		session_fail(session, error);
		FreeErrorData(error);
		if (is_commit)
			session->is_ended = true;
	}
	PG_END_TRY();
}

static void
session_receive(Session *session)
{
	Message *message;

	while (!session->is_ended &&
		   (message = bound_actor_receive(session->actor)) != NULL)
	{
		session_take(session, message);
		message_free(message);
	}
}

/*
 * session_wait_for_credit
 *		The statement that runs alone in this session needs credit.
 */
void
session_wait_for_credit(Execution *execution)
{
	Session *session = current;
	uint64 since_us = clock_now_us();

	activity_set(execution->activity, ACTIVITY_WAITS_FOR_READER,
				 execution->writer.rows, execution->writer.bytes);
	for (;;)
	{
		Message *message;

		while ((message = bound_actor_receive(session->actor)) != NULL)
		{
			session_handle(session, message);
			message_free(message);
		}
		if (!asker_is_there(session))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the asking session is gone")));
		if (execution->writer.credits > 0)
			break;
		(void) runtime_wait(-1, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
	activity_set(execution->activity, ACTIVITY_RUNS, execution->writer.rows,
				 execution->writer.bytes);
	execution->stalled_us += clock_now_us() - since_us;
}

/* --- the two kinds of session ----------------------------------------------- */

/* One read-only statement in a transaction of its own. */
static void
run_alone(Session *session)
{
	while (session->body_is_open && asker_is_there(session))
	{
		Message *message = bound_actor_receive(session->actor);

		if (message == NULL)
		{
			(void) runtime_wait(-1, PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		session_handle(session, message);
		message_free(message);
		body_end(session);
	}
	while (!dlist_is_empty(&session->executions) && asker_is_there(session))
		session_step(session, dlist_head_element(Execution, node,
												 &session->executions));

	/* The answer is complete; the end of the transaction can wait. */
	answer_release();

	/* Those of an asker that went away in the middle. */
	while (!dlist_is_empty(&session->executions))
		execution_drop(dlist_head_element(Execution, node,
										  &session->executions));
	if (session->level > 0)
		transaction_commit(session);
}

static void
run_pinned(Session *session)
{
	session_take(session, NULL);
	for (;;)
	{
		Execution *volatile execution = NULL;
		dlist_iter iter;
		bool is_busy = false;

		session_receive(session);
		if (session->is_ended || !asker_is_there(session))
			break;

		/* One step for each that can go on; steps may end executions. */
		dlist_foreach(iter, &session->executions)
		{
			execution = dlist_container(Execution, node, iter.cur);
			if (execution_is_runnable(execution))
			{
				is_busy = true;
				break;
			}
		}
		if (!is_busy)
		{
			pgstat_report_activity(STATE_IDLEINTRANSACTION, NULL);
			(void) runtime_wait(-1, PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
			continue;
		}

		PG_TRY();
		{
			/* The next turn is another one's. */
			dlist_delete(&execution->node);
			dlist_push_tail(&session->executions, &execution->node);
			if (execution->writer.asker_is_gone)
				execution_drop(execution);
			else
				session_step(session, execution);
		}
		PG_CATCH();
		{
			ErrorData *error = caught_error(session);

			/* A portal of an outer level has failed, but not its level. */
			if (execution->level < session->level)
			{
				tell_failure(session, execution->asker, error, 0);
				execution_drop(execution);
			}
			session_fail(session, error);
			FreeErrorData(error);
		}
		PG_END_TRY();
	}
}

static void
session_begin(Session *session, Message *message)
{
	RequestMessage request;

	if (!request_read(message->payload, message->size, &request))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	session->peer = message->from;
	session->is_pinned = (request.flags & REQUEST_PINNED) != 0;
	if (session->is_pinned)
	{
		session->peer.slot = request.transaction_slot;
		session->peer.incarnation = request.transaction_incarnation;
	}
	session->request_id = request.request_id;
	session->node = wire_to_cstring(request.asker);
	if (session->peer.node != THIS_NODE)
		session->epoch = link_epoch(session->peer.node);
	session->actor = bound_actor_spawn(session->context, "remote statement");
	session->self = bound_actor_address(session->actor);
	answer_hold();
	tell_started(session);
	session->name = psprintf("dlog: session %u on %s", request.asker_pid,
							 session->node);
	body_begin(session, message);
}

/*
 * This scheduler ends in the middle of work, by pg_terminate_backend() or
 * with its server: who asked need not find out by waiting.
 */
static void
session_abandon(int code, Datum argument)
{
	Session *session = current;
	ErrorData error = {0};
	dlist_iter iter;

	if (session == NULL || session->actor == NULL)
		return;
	current = NULL;
	error.elevel = ERROR;
	error.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
	error.message = "the scheduler that ran the statement was terminated";

	/* Shared memory does not go away with the process. */
	dlist_foreach(iter, &session->executions)
	{
		Execution *execution = dlist_container(Execution, node, iter.cur);

		row_writer_end(&execution->writer);
		activity_end(execution->activity);
		execution->activity = NULL;
	}
	PG_TRY();
	{
		dlist_foreach(iter, &session->executions)
		{
			Execution *execution = dlist_container(Execution, node, iter.cur);

			tell_failure(session, execution->asker, &error, FAILURE_RETRYABLE);
		}
		if (session->is_pinned || dlist_is_empty(&session->executions))
			tell_failure(session, session->peer, &error, FAILURE_RETRYABLE);
	}
	PG_CATCH();
	{
		/* The asker learns it from what it sends next. */
		FlushErrorState();
	}
	PG_END_TRY();
}

/* In a signal handler: has the asker ended, or the way to it? */
static bool
session_is_interrupted(void)
{
	Session *session = current;

	if (session == NULL || session->actor == NULL)
		return false;
	return bound_actor_is_interrupted(session->actor) ||
		   (session->peer.node != THIS_NODE &&
			link_epoch(session->peer.node) != session->epoch);
}

/*
 * Notices and warnings of a statement go to who asked for it, and to this
 * server's log only as far as its log_min_messages says.
 */
static void
forward_notice(ErrorData *notice)
{
	Session *session = current;
	Execution *speaker = session != NULL ? session->speaker : NULL;

	if (speaker != NULL && notice->elevel >= INFO && notice->elevel <= WARNING)
	{
		/* What the telling itself may report is not told. */
		session->speaker = NULL;
		tell_failure(session, speaker->asker, notice, 0);
		session->speaker = speaker;
		if (notice->elevel < session->log_level)
			notice->output_to_server = false;
	}
	if (notice->output_to_server && previous_emit_log)
		previous_emit_log(notice);
}

/* Once in the life of a scheduler that runs others' statements. */
static void
scheduler_prepare(void)
{
	static bool is_prepared = false;

	if (is_prepared)
		return;
	is_prepared = true;
	plans_init();
	answer_timeout = RegisterTimeout(USER_TIMEOUT, process_release_wakeups);
	before_shmem_exit(session_abandon, (Datum) 0);
	process_take_interrupts(session_is_interrupted);
	previous_emit_log = emit_log_hook;
	emit_log_hook = forward_notice;
}

/*
 * Work handler for REQUEST: the scheduler is this session's until it returns.
 * No error leaves it.
 */
static void
session_run(Message *message)
{
	Session *volatile session;
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "dlog remote session",
												  ALLOCSET_DEFAULT_SIZES);

	MemoryContextSwitchTo(context);
	session = palloc0(sizeof(Session));
	session->context = context;
	session->client_encoding = pg_get_client_encoding();
	session->outer_role = GetUserId();
	session->asker_encoding = GetDatabaseEncoding();
	session->peer = message->from;
	dlist_init(&session->executions);
	initStringInfo(&session->body);
	scheduler_prepare();
	current = session;
	link_watch();

	PG_TRY();
	{
		session_begin(session, message);
		if (session->is_pinned)
			run_pinned(session);
		else
		{
			body_end(session);
			run_alone(session);
		}
	}
	PG_CATCH();
	{
		ErrorData *error = caught_error(session);

		if (!session_is_interrupted())
			tell_failure(session, session->peer, error, 0);
		transaction_abort(session, NULL);
	}
	PG_END_TRY();

	answer_release();
	if (IsTransactionOrTransactionBlock())
		transaction_abort(session, NULL);
	forget_process_state();
	SetClientEncoding(session->client_encoding);
	debug_query_string = NULL;
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_query_id(0, true);
	pgstat_report_stat(false);
	link_unwatch();
	current = NULL;
	QueryCancelPending = false;
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
}

void
session_init(void)
{
	runtime_register_work(MESSAGE_REQUEST, session_run);
}
