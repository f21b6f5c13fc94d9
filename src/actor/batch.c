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
 *
 * A clock ticks while batches run.  It cancels a handler that has run for too
 * long, also where it waits for a lock, and says that this scheduler is busy
 * if one runs for longer than others should wait.
 */
#include "postgres.h"

#include <malloc.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/expandeddatum.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "actor/actor_internal.h"
#include "base/clock.h"
#include "base/guc.h"
#include "base/pg_compat.h"
#include "base/role.h"
#include "base/stop_point.h"

#define TICK_MS 10
/* A handler that runs for so long keeps its scheduler from other work. */
#define BUSY_TICKS 3
/*
 * A handler that goes on although it was cancelled is cancelled again, and in
 * the end its scheduler is terminated, which is the end of its actor.
 */
#define CANCEL_TICKS 50
#define PATIENCE_TICKS 200
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

Turn *current_turn;
Message *current_message;
bool current_is_stashed = false;
void (*actor_failed_hook)(const ActorFailure *failure);

/* The batch at work, and what is left of it while it is redone. */
static Turn *turns;
static int n_turns = 0;
static int max_turns = 0;
static int n_messages;
static uint64 ends_us;
static uint64 commit_us; /* that commits have taken of late */
static int my_database = -1;
static SqlActor *system_actor; /* that runs, or comes after the batch */

static MemoryContext batch_context;		 /* lives as long as a batch */
static MemoryContext message_context[2]; /* of a message and the next */
static MemoryContext portals;			 /* the server's, whose children are open portals */
static Behavior *current_behavior;
static Oid current_role;

/* Why the last attempt failed. */
static ErrorData *failure;
static int failed_turn; /* -1: the commit */
static bool failed_in_message;
static bool failed_for_time;

/* For the clock. */
static TimeoutId tick_timeout;
static volatile bool in_handler = false;
static volatile bool is_active = false;
static volatile bool is_timed_out = false;
static volatile uint32 handler_number = 0;
static volatile int handler_timeout_ms = 0;
static uint32 tick_number;
static int ticks;
static int ignored_ticks; /* since it was first cancelled */

/* ----------------------------------------------------------------- clock */

/* Called in a signal handler: has somebody killed the actor at work? */
static bool
is_killed(void)
{
	return in_handler && sql_actor_is_killed(current_turn->actor);
}

static void
tick(void)
{
	if (!in_handler || tick_number != handler_number)
	{
		tick_number = handler_number;
		ticks = 0;
		ignored_ticks = 0;
		return;
	}
	ticks++;
	if (handler_timeout_ms > 0 && ticks * TICK_MS >= handler_timeout_ms)
		is_timed_out = true;
	if (is_timed_out || is_killed())
	{
		/* A handler can catch the cancellation, but not for ever. */
		if (ignored_ticks++ % CANCEL_TICKS == 0)
			QueryCancelPending = true;
		if (ignored_ticks > PATIENCE_TICKS)
			ProcDiePending = true;
		InterruptPending = true;
		SetLatch(MyLatch);
	}
	if (ticks >= BUSY_TICKS && is_active)
	{
		is_active = false;
		pool_leave(my_database);
		pool_give_back(my_database);
		runtime_scheduler_is_busy(true);
		if (pool_has_work(my_database))
			pool_wake(my_database);
	}
}

static void
handler_begins(int timeout_ms)
{
	handler_timeout_ms = timeout_ms;
	handler_number++;
	in_handler = true;
}

static void
handler_is_over(void)
{
	in_handler = false;
	if (is_timed_out)
	{
		is_timed_out = false;
		QueryCancelPending = false;
	}
	if (!is_active)
	{
		pool_enter(my_database);
		is_active = true;
		runtime_scheduler_is_busy(false);
	}
}

/* ------------------------------------------------------------------ roles */

static void
set_role(Oid role)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role with OID %u, which owns the actor, does not exist", role)));
	role_enter(role, role, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	current_role = role;
}

/*
 * Be the actor's owner.  As in a SECURITY DEFINER function or a maintenance
 * command, nothing that the handlers call gets out of that role, and nothing
 * outlives the turn: neither settings nor temporary tables, nor cursors, which
 * the next actor could read from.
 *
 * The search_path is that of the behavior.  It and the role stay in force
 * until the turn of another behavior or role, or the end of the batch.
 */
static void
enter_role(Oid role, const Behavior *behavior)
{
	if (role != current_role)
		set_role(role);
	if (strcmp(namespace_search_path, behavior->search_path) != 0)
		SetConfigOption("search_path", behavior->search_path, PGC_USERSET, PGC_S_OVERRIDE);
}

static void
close_cursors(void)
{
	/* To look for them in their hash table takes longer than a short handler. */
	if (portals == NULL || portals->firstchild != NULL)
		PortalHashTableDeleteAll();
}

static void
leave_role(void)
{
	role_leave();
	current_role = InvalidOid;
}

/* ------------------------------------------------------------------ turns */

static Turn *
turn_add(SqlActor *actor)
{
	Turn *turn;

	if (n_turns == max_turns)
	{
		int n = max_turns == 0 ? 256 : 2 * max_turns;
		Turn *more = turns == NULL ? MemoryContextAlloc(TopMemoryContext, n * sizeof(Turn)) :
									 repalloc(turns, n * sizeof(Turn));

		turns = more;
		max_turns = n;
	}
	turn = &turns[n_turns++];
	memset(turn, 0, sizeof(Turn));
	turn->actor = actor;
	turn->self = actor->body->self;
	actor->body->holder = process_slot();
	return turn;
}

static void
message_rewind(Message *message)
{
	DurableMail *durable = mail_durable(message);

	if (message->type == LOCAL_MAIL)
		message_mail(message)->flags &= ~(MAIL_STASHED | MAIL_QUARANTINED | MAIL_UNHANDLED);
	if (durable != NULL)
		durable->becomes = InvalidOid;
}

/* What it did in this batch is undone. */
static void
turn_rewind(Turn *turn)
{
	if (!turn->is_in_batch)
		return;
	for (Message *message = turn->done_first; message != NULL; message = message->next)
		message_rewind(message);
	if (turn->actor->body->first != NULL)
		message_rewind(turn->actor->body->first);
	sql_actor_put_back(turn->actor, turn->done_first, turn->done_last);
	turn->done_first = turn->done_last = NULL;
	turn->planned = turn->n_done;
	turn->plans_init = turn->ran_init;
	turn->n_done = 0;
	turn->ran_init = false;
	if (turn->has_state)
		value_free(turn->state);
	turn->state = NULL;
	turn->has_state = false;
	turn->behavior = InvalidOid;
	turn->unstashes = turn->exits = false;
	if (turn->started != NULL)
		message_free(turn->started);
	turn->started = NULL;
	turn->is_in_batch = false;
}

/* The transaction is committing: what it did is true now. */
static void
turn_commit(Turn *turn)
{
	SqlActor *actor = turn->actor;
	ActorBody *body = actor->body;
	Message *message = turn->done_first;

	while (message != NULL)
	{
		Message *next = message->next;

		message->next = NULL;
		if (message->type == LOCAL_MAIL && (message_mail(message)->flags & MAIL_STASHED))
		{
			message_mail(message)->flags &= ~MAIL_STASHED;
			if (body->stash_last != NULL)
				body->stash_last->next = message;
			else
				body->stash_first = message;
			body->stash_last = message;
		}
		else
		{
			if (mail_flags(message) & MAIL_QUARANTINED)
				durable_tell_asker(actor, message);
			sql_actor_count_out(actor, message);
			message_free(message);
		}
		message = next;
	}
	if (actor->kind == ACTOR_DURABLE)
		body->durable->position = turn->position;
	if (turn->unstashes)
	{
		sql_actor_put_back(actor, body->stash_first, body->stash_last);
		body->stash_first = body->stash_last = NULL;
	}
	body->received += turn->n_done;
	if (turn->has_state)
		sql_actor_set_state(actor, turn->state);
	if (OidIsValid(turn->behavior))
		actor->behavior = turn->behavior;
	if (turn->ran_init)
		actor->phase = PHASE_READY;
	if (turn->started != NULL)
		(void) control_send(body->supervisor, turn->started);

	turn->done_first = turn->done_last = NULL;
	turn->n_done = 0;
	turn->ran_init = turn->has_state = turn->unstashes = false;
	turn->planned = 0;
	turn->plans_init = false;
	turn->state = NULL;
	turn->behavior = InvalidOid;
	turn->started = NULL;
	turn->is_in_batch = false;
}

/*
 * turn_exit
 *		The actor exits at the end of the batch.
 */
void
turn_exit(Turn *turn, const char *reason)
{
	turn->exits = true;
	turn->exit_reason = MemoryContextStrdup(batch_context, reason);
	turn->exit_kind = strcmp(reason, REASON_NORMAL) == 0   ? EXIT_NORMAL :
					  strcmp(reason, REASON_SHUTDOWN) == 0 ? EXIT_SHUTDOWN :
															 EXIT_ERROR;
}

/* The actor is not held any more. */
static void
turn_release(Turn *turn)
{
	SqlActor *actor = turn->actor;

	turn->actor = NULL;
	if (actor == NULL)
		return;
	if (turn->exits && actor->body->durable != NULL)
		actor->body->durable->has_ended = true;
	if (turn->exits && sql_actor_down(actor, turn->exit_kind, 0, turn->exit_reason))
		return;
	sql_actor_release(actor);
}

static void
release_all(void)
{
	for (int i = 0; i < n_turns; i++)
		turn_release(&turns[i]);
	n_turns = 0;
}

/*
 * batch_at_commit
 *		Within the commit of any transaction of this process.
 */
void
batch_at_commit(void)
{
	if (n_turns > 0)
		STOP_POINT("journal-committed");
	for (int i = 0; i < n_turns; i++)
		if (turns[i].is_in_batch)
			turn_commit(&turns[i]);
}

/*
 * turn_require
 *		The turn at work; ERROR when no handler runs in this process.
 */
Turn *
turn_require(const char *function)
{
	if (current_turn == NULL || !in_handler)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s can only be called while an actor handles a message", function)));
	return current_turn;
}

/* ---------------------------------------------------------------- handlers */

/* The state as it is before the next message; not to be kept. */
typedef struct RunningState
{
	Datum datum;
	bool is_null;
	bool is_changed;
	int context; /* message_context of the datum */
} RunningState;

static int
handler_timeout(const Behavior *behavior)
{
	return behavior->handler_timeout < 0 ? dlog_handler_timeout : behavior->handler_timeout;
}

/*
 * A function that takes a snapshot for each of its queries is content with
 * any; others see what is true when their message is at hand.
 */
static void
refresh_snapshot(bool is_content)
{
	if (ActiveSnapshotSet())
	{
		if (is_content)
			return;
		PopActiveSnapshot();
		CommandCounterIncrement();
	}
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* What its owner could do when the actor was spawned may be revoked by now. */
static void
check_execute(Oid function, Oid *checked_role)
{
	AclResult result;

	if (*checked_role == current_role)
		return;
	result = object_aclcheck(ProcedureRelationId, function, current_role, ACL_EXECUTE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
	*checked_role = current_role;
}

static void
check_apply(Behavior *behavior, BehaviorHandler *handler, NullableDatum before, NullableDatum message,
			NullableDatum after)
{
	BehaviorReplay *apply = behavior_apply_function(behavior, handler->message_type);
	ActorReplay as = {.self = actor_ref_of(current_turn->self)};
	DurableMail *durable = mail_durable(current_message);

	if (apply == NULL)
		return;
	if (durable != NULL)
		as.sender = durable->sender;
	as.seq = durable_next_seq(current_turn);
	handler_begins(handler_timeout(behavior));
	durable_check_apply(behavior, apply, &as, before, message, after);
	handler_is_over();
}

static void
run_handler(Behavior *behavior, BehaviorHandler *handler, RunningState *state,
			Datum message, bool message_is_null)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo *function = &handler->flinfo;
	int context = 1 - state->context;
	MemoryContext old = MemoryContextSwitchTo(message_context[context]);
	Datum result = (Datum) 0;
	bool is_null = true;
	/* Or a function that takes an array over would not give it back. */
	Datum argument = MakeExpandedObjectReadOnly(state->datum, state->is_null, behavior->state_length);
	int guc_level;

	if (!function->fn_strict || (!state->is_null && !message_is_null))
	{
		InitFunctionCallInfoData(*fcinfo, function, 2, InvalidOid, NULL, NULL);
		fcinfo->args[0].value = argument;
		fcinfo->args[0].isnull = state->is_null;
		fcinfo->args[1].value = message;
		fcinfo->args[1].isnull = message_is_null;
		check_execute(handler->function, &handler->checked_role);
		refresh_snapshot(handler->takes_snapshots);
		guc_level = NewGUCNestLevel();
		durable_at_work(current_turn, current_message);
		current_turn->n_timers = 0;
		handler_begins(handler_timeout(behavior));
		result = FunctionCallInvoke(fcinfo);
		is_null = fcinfo->isnull;
		STOP_POINT("actor-handled");
		handler_is_over();
		AtEOXact_GUC(false, guc_level);
	}
	if (behavior->n_replay > 0 && !current_is_stashed)
		check_apply(behavior, handler, (NullableDatum){argument, state->is_null},
					(NullableDatum){message, message_is_null}, (NullableDatum){result, is_null});
	durable_is_done(current_turn);
	MemoryContextSwitchTo(old);
	if (!current_is_stashed && (is_null != state->is_null || result != argument))
	{
		state->is_changed = true;
		state->datum = result;
		state->is_null = is_null;
		MemoryContextReset(message_context[state->context]);
		state->context = context;
	}
	else
		MemoryContextReset(message_context[context]);
}

static void
run_init(Turn *turn, Behavior *behavior, RunningState *state)
{
	ActorBody *body = turn->actor->body;
	MemoryContext old = MemoryContextSwitchTo(message_context[state->context]);

	state->datum = (Datum) 0;
	state->is_null = true;
	if (OidIsValid(behavior->init))
	{
		FunctionCallInfo fcinfo = palloc0(SizeForFunctionCallInfo(body->n_args));
		FmgrInfo *function = behavior_init_function(behavior);
		bool *nulls;
		Datum *args = args_read(body->args, body->n_args, behavior->init, &nulls);
		bool any_null = false;

		InitFunctionCallInfoData(*fcinfo, function, body->n_args, InvalidOid, NULL, NULL);
		for (int i = 0; i < body->n_args; i++)
		{
			fcinfo->args[i].value = args[i];
			fcinfo->args[i].isnull = nulls[i];
			any_null = any_null || nulls[i];
		}
		if (!function->fn_strict || !any_null)
		{
			int guc_level = NewGUCNestLevel();

			check_execute(behavior->init, &behavior->init_checked_role);
			refresh_snapshot(false);
			handler_begins(handler_timeout(behavior));
			state->datum = FunctionCallInvoke(fcinfo);
			state->is_null = fcinfo->isnull;
			handler_is_over();
			AtEOXact_GUC(false, guc_level);
		}
	}
	state->is_changed = true;
	MemoryContextSwitchTo(old);
}

/* Its init, or, of a durable actor that has had it, its journal makes the state. */
static void
begin(Turn *turn, Behavior *behavior, RunningState *state)
{
	ActorBody *body = turn->actor->body;
	bool is_loaded = false;

	durable_at_work(turn, NULL);
	if (turn->actor->kind == ACTOR_DURABLE)
	{
		MemoryContext old = MemoryContextSwitchTo(message_context[state->context]);

		is_loaded = state->is_changed = durable_load(turn, behavior, &state->datum, &state->is_null);
		MemoryContextSwitchTo(old);
	}
	if (!is_loaded)
	{
		run_init(turn, behavior, state);
		if (turn->actor->kind == ACTOR_DURABLE)
			durable_begin(turn, behavior, state->datum, state->is_null);
	}
	durable_is_done(turn);
	turn->ran_init = true;
	if (body->supervisor.slot != 0)
	{
		turn->started = message_create(LOCAL_CHILD_STARTED, sizeof(uint64));
		memcpy(turn->started->payload, &body->child, sizeof(uint64));
		turn->started->from = turn->self;
	}
}

/* Keep what the state is at the end of the turn. */
static void
keep_state(Turn *turn, Behavior *behavior, RunningState *state)
{
	MemoryContext old;
	ValueType type = {behavior->state_type, behavior->state_length, behavior->state_is_by_value};
	Size size;
	Datum flat;

	if (!state->is_changed)
		return;
	old = MemoryContextSwitchTo(message_context[1 - state->context]);
	flat = value_flatten(state->datum, type, state->is_null, &size);
	if (!value_equals(turn->actor->state, flat, size, state->is_null) || turn->ran_init)
	{
		turn->state = value_create(flat, type, state->is_null);
		turn->has_state = true;
	}
	MemoryContextSwitchTo(old);
}

/* Has the message been taken care of without a handler? */
static bool
is_not_for_a_handler(SqlActor *actor, Message *message)
{
	Mail *mail = message_mail(message);

	if (message->type != LOCAL_MAIL || (mail->flags & MAIL_TIMER) == 0)
		return false;
	if (!sql_actor_is_revoked(actor, mail->token))
		return false;
	(void) sql_actor_take_first(actor);
	sql_actor_count_out(actor, message);
	message_free(message);
	return true;
}

static void
message_is_done(Turn *turn)
{
	Message *message = sql_actor_take_first(turn->actor);

	if (turn->done_last != NULL)
		turn->done_last->next = message;
	else
		turn->done_first = message;
	turn->done_last = message;
	turn->n_done++;
	if ((mail_flags(message) & (MAIL_STASHED | MAIL_QUARANTINED)) == 0)
		turn->n_entries++;
	n_messages++;
}

/* It has no handler for what it is given; that is the sender's error. */
static void
refuse_first(SqlActor *actor)
{
	Message *message = sql_actor_take_first(actor);

	sql_actor_count_out(actor, message);
	refuse_message(message);
}

static bool
may_go_on(Turn *turn, int limit)
{
	if (turn->n_done >= limit || turn->exits || turn->unstashes || InterruptPending)
		return false;
	if (pg_atomic_read_u64(&turn->actor->control) != 0)
		return false;
	if (turn->n_done % 16 == 15 && clock_now_us() >= ends_us)
		return false;
	return true;
}

/* It is of another behavior from now on. */
static Behavior *
change_behavior(Behavior *behavior, Oid to)
{
	if (to == behavior->id)
		return behavior;
	current_behavior = NULL;
	behavior_release(behavior);
	return current_behavior = behavior_acquire(to);
}

/*
 * turn_run
 *		Let an actor handle up to so many messages in this transaction.
 */
static void
turn_run(Turn *turn, int limit)
{
	SqlActor *actor = turn->actor;
	Behavior *behavior;
	RunningState state = {0};
	Message *message;

	turn->is_in_batch = true;
	current_turn = turn;
	AcceptInvalidationMessages();
	current_behavior = behavior = behavior_acquire(actor->behavior);
	refresh_snapshot(true);
	enter_role(actor->body->role, behavior);
	state.datum = value_datum(actor->state, &state.is_null);
	if (actor->kind == ACTOR_DURABLE)
		turn->position = actor->body->durable->position;
	turn->n_entries = 0;
	if (actor->phase == PHASE_NEW)
	{
		begin(turn, behavior, &state);
		if (OidIsValid(turn->behavior))
			behavior = change_behavior(behavior, turn->behavior);
	}

	while (may_go_on(turn, limit) && (message = sql_actor_peek(actor)) != NULL)
	{
		BehaviorHandler *handler;
		Oid type;
		Datum datum;
		bool is_null;

		if (is_not_for_a_handler(actor, message))
			continue;
		current_message = message;
		current_is_stashed = false;
		if (actor->kind == ACTOR_DURABLE && durable_gives_up(turn, behavior, message))
		{
			current_message = NULL;
			message_is_done(turn);
			continue;
		}
		datum = message_read(message, &type, &is_null);
		handler = OidIsValid(type) ? behavior_handler(behavior, type) : NULL;
		if (handler == NULL)
		{
			current_message = NULL;
			if (actor->kind == ACTOR_DURABLE && message->type == LOCAL_MAIL)
			{
				durable_quarantine_unhandled(turn, behavior, message, type);
				message_is_done(turn);
			}
			else
				refuse_first(actor);
			continue;
		}
		run_handler(behavior, handler, &state, datum, is_null);
		current_message = NULL;
		message_is_done(turn);
		if (OidIsValid(turn->behavior) && turn->behavior != behavior->id)
			behavior = change_behavior(behavior, turn->behavior);
	}

	keep_state(turn, behavior, &state);
	close_cursors();
	if (actor->kind == ACTOR_DURABLE)
	{
		leave_role();
		durable_append(turn, behavior, state.datum, state.is_null);
	}
	current_behavior = NULL;
	behavior_release(behavior);
	MemoryContextReset(message_context[0]);
	MemoryContextReset(message_context[1]);
	current_turn = NULL;
}

/* ---------------------------------------------------------------- attempts */

/* The transaction has failed: note why, and be as before it. */
static void
attempt_failed(MemoryContext context)
{
	HOLD_INTERRUPTS();
	in_handler = false;
	MemoryContextSwitchTo(batch_context);
	failure = CopyErrorData();
	FlushErrorState();
	failed_turn = current_turn == NULL ? -1 : current_turn - turns;
	failed_in_message = current_message != NULL;
	failed_for_time = is_timed_out && failure->sqlerrcode == ERRCODE_QUERY_CANCELED;
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
	leave_role();
	if (current_behavior != NULL)
		behavior_release(current_behavior);
	current_behavior = NULL;
	for (int i = 0; i < n_turns; i++)
		turn_rewind(&turns[i]);
	MemoryContextReset(message_context[0]);
	MemoryContextReset(message_context[1]);
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
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		work(argument);
		if (actor_journal != NULL)
			actor_journal->flush();
		leave_role();
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

/* ----------------------------------------------------------------- redoing */

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
		StartTransactionCommand();
		role_enter(report.owner, report.owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
		if (OidIsValid(report.message_type))
			report.message = mail_text(message);
		role_leave();
		report.message = report.message ? MemoryContextStrdup(batch_context, report.message) : NULL;
		CommitTransactionCommand();
		MemoryContextSwitchTo(batch_context);
		actor_failed_hook(&report);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(batch_context);
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		role_leave();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(batch_context);
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
		MemoryContext old = MemoryContextSwitchTo(batch_context);

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
		if (turns[i].actor != NULL && (turns[i].planned > 0 || turns[i].plans_init))
			turn_run(&turns[i], turns[i].planned);
}

static void
run_planned_alone(int n)
{
	for (int i = 0; i < n; i++)
	{
		int left = turns[i].planned + (turns[i].plans_init ? 1 : 0);

		while (left-- > 0 && turns[i].actor != NULL && sql_actor_has_turn(turns[i].actor))
			run_alone(&turns[i]);
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
					   sql_actor_is_killed(turns[culprit].actor));
	bool in_message = failed_in_message;
	bool for_time = failed_for_time;
	ErrorData *error = failure;
	int n = culprit < 0 ? n_turns : culprit + 1;
	bool any = false;

	ends_us = PG_UINT64_MAX;
	for (int i = 0; i < n; i++)
		any = any || turns[i].planned > 0 || turns[i].plans_init;
	if (any && (culprit < 0 || !attempt(work_planned, &n)))
		run_planned_alone(n);
	if (culprit < 0 || turns[culprit].actor == NULL)
		return;
	if (is_certain)
	{
		failure = error;
		failed_in_message = in_message;
		failed_for_time = for_time;
		turn_failed(&turns[culprit]);
	}
	else if (sql_actor_has_turn(turns[culprit].actor))
		run_alone(&turns[culprit]);
}

/* ----------------------------------------------------------------- batches */

/*
 * The next SQL actor of the queue that may take a turn; NULL: none, or a
 * system actor wants to run first.
 */
static SqlActor *
next_actor(void)
{
	SqlActor *actor;
	bool wants_help = false;

	while ((actor = pool_pop(my_database, &wants_help)) != NULL)
	{
		if (wants_help)
			(void) runtime_wake_scheduler(my_database);
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
	int limit = dlog_batch_messages / (1 + (int) pool_waiting(my_database));

	return Max(limit, Min(TURN_MESSAGES, dlog_batch_messages));
}

static void
work_batch(void *argument)
{
	SqlActor *actor = argument;

	do
	{
		turn_run(turn_add(actor), turn_limit());
		if (n_messages + pending_added() >= dlog_batch_messages || clock_now_us() >= ends_us || InterruptPending ||
			pool_has_system_waiting(my_database))
			break;
	} while ((actor = next_actor()) != NULL);
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
	n_messages = 0;
	ends_us = clock_now_us() + batch_length_us();
	if (!attempt(work_batch, actor))
		redo();
	release_all();
	if (system_actor != NULL)
		system_run(system_actor);
	system_actor = NULL;
	MemoryContextReset(batch_context);
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
	tick_timeout = RegisterTimeout(USER_TIMEOUT, tick);
	batch_context = AllocSetContextCreate(TopMemoryContext, "dlog batch", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < 2; i++)
		message_context[i] = AllocSetContextCreate(TopMemoryContext, "dlog message", ALLOCSET_DEFAULT_SIZES);
	for (portals = TopMemoryContext->firstchild; portals != NULL; portals = portals->nextchild)
		if (strcmp(portals->name, "TopPortalContext") == 0)
			break;
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	process_take_interrupts(is_killed);
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
	my_database = database;
	pool_enter(database);
	is_active = true;
	MemoryContextSwitchTo(batch_context);
	enable_timeout_every(tick_timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TICK_MS), TICK_MS);
	while (run_batch() && !is_wanted_elsewhere() && clock_now_us() < until_us)
		;
	disable_timeout(tick_timeout, false);
	MemoryContextSwitchTo(context);
	is_active = false;
	pool_leave(database);
	pool_give_back(database);
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
	int culprit = current_turn == NULL ? -1 : current_turn - turns;
	bool in_message = current_message != NULL;

	in_handler = false;
	current_turn = NULL;
	current_message = NULL;
	if (actor_journal != NULL)
		actor_journal->is_done();
	for (int i = 0; i < n_turns; i++)
		turn_rewind(&turns[i]);
	if (culprit >= 0 && turns[culprit].actor != NULL)
		actor_failed(&turns[culprit], in_message, EXIT_KILLED, NULL);
	release_all();
	if (system_actor != NULL)
		sql_actor_release(system_actor);
	system_actor = NULL;
	if (is_active)
		pool_leave(database);
	is_active = false;
	pool_exit(database);
	if (pool_has_work(database))
		pool_wake(database);
}
