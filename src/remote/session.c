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
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/clock.h"
#include "base/pg_compat.h"
#include "base/role.h"
#include "base/stop_point.h"
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
	int log_level;	 /* log_min_messages of this scheduler */
	Oid worked_as;	 /* the role of all its statements so far */
	bool is_of_many; /* there were several */
	int client_encoding;
	uint32 asker_encoding; /* for errors before a statement was read */
	uint64 request_id;
	char *node; /* the asker's */
	char *name; /* how this session appears in pg_stat_activity */
	dlist_head executions;
	Execution *speaker; /* the one at work; notices are its asker's */
	dlist_head bodies;	/* of Body: requests that are still coming in */
	List *views;		/* of the asker's statements, see view.c */
	Message *last_word; /* for a failure, if there is no memory then; or NULL */
} Session;

/* A request that did not fit into one message, as far as it has come. */
typedef struct Body
{
	dlist_node node;
	MemoryContext context;
	ActorAddress asker;
	RequestMessage request; /* without its texts, but with its statements */
	StringInfoData bytes;
	uint32 unacknowledged;
} Body;

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

static Message *
done_message(void)
{
	DoneMessage done = {0};
	Message *message = remote_message(MESSAGE_DONE, done_size(&done));

	done_write(message->payload, message->size, &done);
	return message;
}

/*
 * tell_failure
 *		Never fails: without memory it uses up "reserve".
 *
 * If that is gone, the session's last word is said, and it ends: whoever
 * waits for it then learns that from the address.
 */
static void
tell_failure(Session *session, ActorAddress to, ErrorData *error, uint8 flags,
			 Message **reserve)
{
	Message *message = failure_message(error, flags, session->asker_encoding, reserve);

	if (message == NULL)
	{
		message = failure_message(error, flags, session->asker_encoding,
								  &session->last_word);
		session->is_ended = true;
	}
	if (message != NULL)
		tell(session, to, message);
}

static void
tell_end(Session *session, Execution *execution)
{
	EndMessage end;
	Message *message;

	end.arrived_us = clock_now_us();
	end.rows = execution->writer.rows;
	end.affected = execution->affected;
	end.queued_us = execution->queued_us;
	end.run_us = execution->run_us;
	end.stalled_us = execution->stalled_us;
	end.there_us = end.arrived_us - execution->arrived_us;
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
	/* Under the settings of the asker. */
	AfterTriggerFireDeferred();
	AtEOXact_GUC(false, session->guc_level);
	forget_transactional_state();
	views_end(&session->views, false);
	EndTransactionBlock(false);
	CommitTransactionCommand();
	role_leave();
	session->level = 0;
	MemoryContextSwitchTo(session->context);
}

/*
 * Deferred triggers and checks run as who the asking session is when it
 * commits, as they would there, and not as who had the last statement: that
 * may have been a view's owner, or a function's.
 *
 * A role that this node does not have has done nothing here.  What waits is
 * then fired as the one role under which all of it was done.
 */
static void
commit_enter(Session *session, const char *name)
{
	Oid role = get_role_oid(name, true);

	if (!OidIsValid(role) && !session->is_of_many)
		role = session->worked_as;
	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist on node \"%s\"", name,
						node_this_name()),
				 errhint("A transaction that has run as several roles is committed by one that the node has.")));
	role_enter(role, GetSessionUserId(), SECURITY_LOCAL_USERID_CHANGE);
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
			tell_failure(session, execution->asker, why, 0, &execution->last_word);
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
	views_end(&session->views, true);
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
	execution->arrived_us = request->arrived_us;
	execution->query_id = request->query_id;
	execution->explains = (request->flags & REQUEST_EXPLAIN) != 0;
	execution->is_forwarded = (request->flags & REQUEST_FORWARDED) != 0;
	if (request->timeout_ms > 0)
		execution->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  request->timeout_ms);
	execution->writer.from = session->self;
	execution->writer.credits = request->credits;
	dlist_push_tail(&session->executions, &execution->node);

	/* A session for one statement has the one last word. */
	if (session->is_pinned)
		execution->last_word = failure_reserve();
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
	uint64 started_us = clock_now_us();

	if (session->failed_level != 0)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction on node \"%s\" has failed",
						node_this_name())));
	if (session->level == 0)
		transaction_begin(session, request);
	subtransactions_begin(session, request->level);
	execution = execution_create(session, asker, request);
	if (session->is_pinned)
	{
		MemoryContext old = MemoryContextSwitchTo(session->context);

		execution->view = views_take(&session->views, request->statement,
									 request->statements);
		MemoryContextSwitchTo(old);
	}
	execution->activity = activity_begin(ACTIVITY_EXECUTOR, asker.node,
										 session->node, request->request_id, NULL);
	deadline_begin(execution);
	session->speaker = execution;
	execution_open(execution, body, request->statement_size);
	session->speaker = NULL;
	deadline_end(execution);
	execution->queued_us = started_us - execution->arrived_us;
	execution->run_us += clock_now_us() - started_us;
	session->asker_encoding = execution->cached->statement->encoding;
	if (OidIsValid(session->worked_as) && session->worked_as != execution->role)
		session->is_of_many = true;
	session->worked_as = execution->role;
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

	STOP_POINT("session-step");
	deadline_begin(execution);
	session->speaker = execution;
	is_done = execution_run(execution);
	session->speaker = NULL;
	deadline_end(execution);
	if (!is_done)
		return;
	STOP_POINT("remote-rows-sent");
	tell_end(session, execution);
	execution_drop(execution);
}

/* --- input ------------------------------------------------------------------ */

static Body *
body_find(Session *session, ActorAddress asker)
{
	dlist_iter iter;

	dlist_foreach(iter, &session->bodies)
	{
		Body *body = dlist_container(Body, node, iter.cur);

		if (actor_address_equal(body->asker, asker))
			return body;
	}
	return NULL;
}

static void
body_drop(Body *body)
{
	if (body == NULL)
		return;
	dlist_delete(&body->node);
	MemoryContextDelete(body->context);
}

/* Those of statements that a rollback of "level" has taken back. */
static void
bodies_rolled_back(Session *session, int level)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &session->bodies)
	{
		Body *body = dlist_container(Body, node, iter.cur);

		if (body->request.level >= level)
			body_drop(body);
	}
}

/* The first part of what does not fit into one message. */
static void
body_create(Session *session, ActorAddress asker, const RequestMessage *request)
{
	MemoryContext context = AllocSetContextCreate(session->context,
												  "dlog request coming in",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Body *body = palloc0(sizeof(Body));

	body->context = context;
	body->asker = asker;
	body->request = *request;
	body->request.statements.data = memcpy(palloc(request->statements.size),
										   request->statements.data, request->statements.size);
	initStringInfo(&body->bytes);
	appendBinaryStringInfo(&body->bytes, request->body.data, request->body.size);
	MemoryContextSwitchTo(old);
	dlist_push_tail(&session->bodies, &body->node);
}

static void
handle_request(Session *session, Message *message)
{
	RequestMessage request;

	if (!request_read(message->payload, message->size, &request) ||
		request.body.size > request.body_size || request.body_size > BODY_MAX ||
		body_find(session, message->from) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	if (request.body.size < request.body_size)
		body_create(session, message->from, &request);
	else
	{
		StringInfoData whole = {
			.data = (char *) request.body.data,
			.len = request.body.size,
			.maxlen = request.body.size,
		};

		statement_begin(session, message->from, &request, &whole);
	}
}

static void
handle_request_more(Session *session, Message *message)
{
	Body *body = body_find(session, message->from);
	RequestMoreMessage more;
	bool is_whole;

	if (body == NULL)
		return; /* it was called off, or has failed */
	if (!request_more_read(message->payload, message->size, &more) ||
		body->bytes.len + more.body.size > body->request.body_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	appendBinaryStringInfo(&body->bytes, more.body.data, more.body.size);
	is_whole = body->bytes.len == body->request.body_size;
	if (++body->unacknowledged >= INPUT_CREDITS / 2 || is_whole)
	{
		tell_credit(session, body->asker, body->unacknowledged);
		body->unacknowledged = 0;
	}
	if (is_whole)
	{
		statement_begin(session, body->asker, &body->request, &body->bytes);
		body_drop(body);
	}
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
	Message *done;

	if (!commit_read(message->payload, message->size, &commit))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed commit from another node")));
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

	STOP_POINT("session-commit");

	/* What has been committed can be said. */
	done = done_message();
	if (session->level > 0)
	{
		dlist_mutable_iter iter;

		dlist_foreach_modify(iter, &session->executions)
			execution_drop(dlist_container(Execution, node, iter.cur));
		subtransactions_release(session, 2);
		commit_enter(session, wire_to_server(commit.role, session->asker_encoding));
		transaction_commit(session);
	}
	session->is_ended = true;
	tell(session, session->peer, done);
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
	bodies_rolled_back(session, rollback.level);
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
			handle_request(session, message);
			break;
		case MESSAGE_REQUEST_MORE:
			handle_request_more(session, message);
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
			else
				body_drop(body_find(session, message->from));
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

/* Handle a message.  An error is the statement's that it is about. */
static void
session_take(Session *session, Message *message)
{
	ActorAddress from = message->from;
	bool is_commit = message->type == MESSAGE_COMMIT;

	PG_TRY();
	{
		session_handle(session, message);
	}
	PG_CATCH();
	{
		ErrorData *error = caught_error(session);

		body_drop(body_find(session, from));
		if (execution_find(session, from.slot, from.incarnation) == NULL)
			tell_failure(session, is_commit ? session->peer : from, error, 0,
						 &session->last_word);
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
		(void) runtime_wait(-1, activity_wait_event(ACTIVITY_WAITS_FOR_READER));
		CHECK_FOR_INTERRUPTS();
	}
	activity_set(execution->activity, ACTIVITY_RUNS, execution->writer.rows,
				 execution->writer.bytes);
	execution->stalled_us += clock_now_us() - since_us;
}

/* --- the two kinds of session ----------------------------------------------- */

/* One read-only statement in a transaction of its own. */
static void
run_alone(Session *session, Message *message)
{
	session_handle(session, message);
	while (!dlist_is_empty(&session->bodies) && asker_is_there(session))
	{
		message = bound_actor_receive(session->actor);
		if (message == NULL)
		{
			(void) runtime_wait(-1, WaitEventExtensionNew("DlogNextRequest"));
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		session_handle(session, message);
		message_free(message);
	}
	while (!dlist_is_empty(&session->executions) && asker_is_there(session))
		session_step(session, dlist_head_element(Execution, node,
												 &session->executions));

	/* The answer is complete; the end of the transaction can wait. */
	answer_release();
	runtime_give_way();

	/* Those of an asker that went away in the middle. */
	while (!dlist_is_empty(&session->executions))
		execution_drop(dlist_head_element(Execution, node,
										  &session->executions));
	if (session->level == 0)
		return;

	/* Nothing of it may outlive a rollback of the asker's. */
	if (!XactReadOnly)
		elog(ERROR, "a request that only reads has made its transaction read-write");
	transaction_commit(session);
}

static void
run_pinned(Session *session, Message *message)
{
	session_take(session, message);
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
			(void) runtime_wait(-1, WaitEventExtensionNew("DlogNextRequest"));
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
				tell_failure(session, execution->asker, error, 0, &execution->last_word);
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

			tell_failure(session, execution->asker, &error, FAILURE_RETRYABLE,
						 &execution->last_word);
		}
		if (session->is_pinned || dlist_is_empty(&session->executions))
			tell_failure(session, session->peer, &error, FAILURE_RETRYABLE,
						 &session->last_word);
	}
	PG_CATCH();
	{
		/* The asker learns it from what it sends next. */
		FlushErrorState();
	}
	PG_END_TRY();
	dlist_foreach(iter, &session->executions)
		reserve_free(&dlist_container(Execution, node, iter.cur)->last_word);
	reserve_free(&session->last_word);
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
		Message *nothing = NULL;
		Message *message;

		/* What the telling itself may report is not told. */
		session->speaker = NULL;
		message = failure_message(notice, 0, session->asker_encoding, &nothing);
		if (message == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("out of memory for messages"),
					 errhint("Increase dlog.shared_memory_size.")));
		tell(session, speaker->asker, message);
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
 * Must this request wait for a partition, and has it been given to who keeps
 * it?  Some partition's gate is closed.
 *
 * Nobody has been told of a session yet, so that the request can begin one on
 * another scheduler.  One that does not fit into its message does not wait:
 * the rest of it is for the session that takes it.  What is wrong with a
 * request is found out, and told, by that session.
 */
static bool
request_waits(Message *message)
{
	MemoryContext context = CurrentMemoryContext;
	RequestMessage request;
	volatile bool waits = false;

	if (!request_read(message->payload, message->size, &request) ||
		request.body.size < request.body_size ||
		request.statement_size > request.body.size)
		return false;
	PG_TRY();
	{
		CachedStatement *cached;

		StartTransactionCommand();
		cached = cached_statement_get(request.body.data, request.statement_size);
		waits = remote_gatekeeper->hand_over(cached->relations, cached->n_relations, message);
		cached_statement_release(cached);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return waits;
}

/*
 * Work handler for REQUEST: the scheduler is this session's until it returns.
 * No error leaves it but that there is no memory to begin with.
 */
static void
session_run(Message *message)
{
	Session *volatile session;
	MemoryContext outer = CurrentMemoryContext;
	Message *last_word;
	MemoryContext context;

	scheduler_prepare();
	if (remote_gatekeeper != NULL && remote_gatekeeper->is_any_closed() &&
		request_waits(message))
		return;

	last_word = failure_reserve();
	context = AllocSetContextCreate(TopMemoryContext, "dlog remote session",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	session = palloc0(sizeof(Session));
	session->last_word = last_word;
	session->context = context;
	session->client_encoding = pg_get_client_encoding();
	session->asker_encoding = GetDatabaseEncoding();
	session->peer = message->from;
	dlist_init(&session->executions);
	dlist_init(&session->bodies);
	current = session;
	link_watch();

	PG_TRY();
	{
		session_begin(session, message);
		if (session->is_pinned)
			run_pinned(session, message);
		else
			run_alone(session, message);
	}
	PG_CATCH();
	{
		ErrorData *error = caught_error(session);

		if (!session_is_interrupted())
			tell_failure(session, session->peer, error, 0, &session->last_word);
		transaction_abort(session, NULL);
	}
	PG_END_TRY();

	answer_release();
	if (IsTransactionOrTransactionBlock())
		transaction_abort(session, NULL);
	role_leave();
	executions_ended();
	forget_process_state();
	SetClientEncoding(session->client_encoding);
	debug_query_string = NULL;
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_query_id(0, true);
	pgstat_report_stat(false);
	link_unwatch();
	current = NULL;
	QueryCancelPending = false;
	reserve_free(&session->last_word);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
}

void
session_init(void)
{
	runtime_register_work(MESSAGE_REQUEST, session_run);
}
