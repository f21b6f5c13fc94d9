/*
 * handler.c
 *		Handlers at work: the messages of one actor's turn, in its owner's role.
 *
 * The state goes from one handler to the next as a datum of local memory, and
 * is put into the arena at the end of the turn, if it is another one then.
 *
 * Two contexts take turns: one holds the state, in the other the next handler
 * makes a new one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/expandeddatum.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "actor/actor_internal.h"
#include "base/clock.h"
#include "base/guc.h"
#include "base/pg_compat.h"
#include "base/role.h"
#include "base/stop_point.h"

static MemoryContext message_context[2]; /* of a message and the next */
static MemoryContext portals;			 /* the server's, whose children are open portals */
static Behavior *current_behavior;
static Oid current_role;

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

/*
 * handler_leave_role
 *		At the end of a transaction, and before what only dlog may do.
 */
void
handler_leave_role(void)
{
	role_leave();
	current_role = InvalidOid;
}

/* ------------------------------------------------------------ one message */

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
 * Its init, or, of a durable actor that has had it, its journal makes the
 * state; the behavior that it has then.
 */
static Behavior *
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
		run_init(turn, behavior, state);
	if (OidIsValid(turn->behavior))
		behavior = change_behavior(behavior, turn->behavior);
	if (!is_loaded && turn->actor->kind == ACTOR_DURABLE)
		durable_begin(turn, behavior, state->datum, state->is_null);
	durable_is_done(turn);
	turn->ran_init = true;
	if (body->supervisor.slot != 0)
	{
		turn->started = message_create(LOCAL_CHILD_STARTED, sizeof(uint64));
		memcpy(turn->started->payload, &body->child, sizeof(uint64));
		turn->started->from = turn->self;
	}
	return behavior;
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

/* ----------------------------------------------------------------- a turn */

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
	if (mail_has_entry(message))
		turn->n_entries++;
	batch.n_messages++;
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
	if (turn->n_done % 4 == 3 && clock_now_us() >= batch.ends_us)
		return false;
	return true;
}

/*
 * turn_run
 *		Let an actor handle up to so many messages in this transaction.
 */
void
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
		behavior = begin(turn, behavior, &state);

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
		handler_leave_role();
		durable_append(turn, behavior, state.datum, state.is_null);
	}
	current_behavior = NULL;
	behavior_release(behavior);
	MemoryContextReset(message_context[0]);
	MemoryContextReset(message_context[1]);
	current_turn = NULL;
}

/*
 * handler_forget
 *		The transaction in which handlers ran is rolled back.
 */
void
handler_forget(void)
{
	handler_leave_role();
	if (current_behavior != NULL)
		behavior_release(current_behavior);
	current_behavior = NULL;
	MemoryContextReset(message_context[0]);
	MemoryContextReset(message_context[1]);
}

/* Once in a process. */
void
handler_prepare(void)
{
	for (int i = 0; i < 2; i++)
		message_context[i] = AllocSetContextCreate(TopMemoryContext, "dlog message", ALLOCSET_DEFAULT_SIZES);
	for (portals = TopMemoryContext->firstchild; portals != NULL; portals = portals->nextchild)
		if (strcmp(portals->name, "TopPortalContext") == 0)
			break;
}
