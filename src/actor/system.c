/*
 * system.c
 *		System behaviors: actors of dlog itself, in C, outside of transactions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "actor/actor_internal.h"

#define MAX_SYSTEM_BEHAVIORS 8

static SystemBehavior behaviors[MAX_SYSTEM_BEHAVIORS];
static int n_behaviors = 0;

/* The system actor that runs in this process, and whether it has ended. */
static SqlActor *running;
static bool exits;
static ExitKind exit_kind;
static char exit_reason[EXIT_REASON_LENGTH];

typedef struct TimerControl
{
	uint64 number;
	uint64 token;
} TimerControl;

void
actor_register_system_behavior(const SystemBehavior *behavior)
{
	if (n_behaviors == MAX_SYSTEM_BEHAVIORS)
		elog(FATAL, "too many system behaviors");
	behaviors[n_behaviors++] = *behavior;
}

const SystemBehavior *
system_behavior_find(const char *name)
{
	for (int i = 0; i < n_behaviors; i++)
		if (strcmp(behaviors[i].name, name) == 0)
			return &behaviors[i];
	elog(ERROR, "there is no system behavior \"%s\"", name);
}

void
system_actor_exit(ActorAddress self, ExitKind kind, const char *reason)
{
	Assert(running != NULL && actor_address_equal(running->body->self, self));
	exits = true;
	exit_kind = kind;
	strlcpy(exit_reason, reason, sizeof(exit_reason));
}

/* ------------------------------------------------------------------ timers */

/* False: there was none of this number. */
static bool
forget_timer(ActorBody *body, uint64 number, uint64 token)
{
	for (SystemTimer **link = &body->timers; *link != NULL; link = &(*link)->next)
	{
		SystemTimer *timer = *link;

		if (timer->number != number || (token != 0 && timer->token != token))
			continue;
		*link = timer->next;
		if (token == 0)
			(void) timer_cancel(timer->id);
		arena_free(timer);
		return true;
	}
	return false;
}

void
actor_timer_set(ActorAddress self, uint64 number, int64 delay_ms)
{
	SqlActor *actor = sql_actor_find(self);
	SystemTimer *timer;
	Message *message;
	TimerControl *control;

	if (actor == NULL)
		return;
	(void) forget_timer(actor->body, number, 0);
	timer = arena_alloc(sizeof(SystemTimer));
	message = message_try_create(LOCAL_TIMER, sizeof(TimerControl));
	if (message == NULL)
	{
		arena_free(timer);
		message = message_create(LOCAL_TIMER, sizeof(TimerControl));
	}
	control = (TimerControl *) message->payload;
	control->number = timer->number = number;
	control->token = timer->token = ++actor->body->last_token;
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	message->from = self;
	timer->id = timer_send_after(self, self, message, delay_ms);
	timer->next = actor->body->timers;
	actor->body->timers = timer;
}

void
actor_timer_cancel(ActorAddress self, uint64 number)
{
	SqlActor *actor = sql_actor_find(self);

	if (actor != NULL)
		(void) forget_timer(actor->body, number, 0);
}

void
actor_send_at_commit(ActorAddress to, Message *message)
{
	pending_add(to, message);
}

/* ----------------------------------------------------------------- running */

/* True: it is gone. */
static bool
obey(SqlActor *actor, Message *message)
{
	ActorBody *body = actor->body;
	const SystemBehavior *system = body->system;
	void *state = body->system_state;
	ActorAddress self = body->self;

	switch (message->type)
	{
		case LOCAL_STOP:
		{
			StopControl *stop = (StopControl *) message->payload;

			if (stop->kind == EXIT_KILLED || system->stopping == NULL)
				system_actor_exit(self, stop->kind, stop->reason);
			else
				system->stopping(state, self, stop->reason);
			break;
		}
		case LOCAL_SUSPEND:
			actor->is_suspended = true;
			break;
		case LOCAL_RESUME:
			actor->is_suspended = false;
			break;
		case LOCAL_RESTART:
		case LOCAL_RELEASE:
			/* a supervisor under a supervisor is as others are */
			return sql_actor_obey_one(actor, message);
		case LOCAL_CHILD_SPAWNED:
		case LOCAL_CHILD_STARTED:
		{
			uint64 child;

			memcpy(&child, message->payload, sizeof(child));
			if (message->type == LOCAL_CHILD_SPAWNED && system->child_spawned != NULL)
				system->child_spawned(state, self, child, message->from);
			if (message->type == LOCAL_CHILD_STARTED && system->child_started != NULL)
				system->child_started(state, self, child, message->from);
			break;
		}
		case LOCAL_CHILD_EXITED:
		{
			ChildExited *exited = (ChildExited *) message->payload;
			ActorExit report = {
				.actor = message->from,
				.kind = exited->kind,
				.sqlerrcode = exited->sqlerrcode,
				.reason = exited->reason,
				.attempts = exited->attempts,
				.is_gone = exited->is_gone,
			};

			if (system->child_exited != NULL)
				system->child_exited(state, self, exited->child, &report);
			break;
		}
		case LOCAL_TIMER:
		{
			TimerControl *control = (TimerControl *) message->payload;

			if (forget_timer(body, control->number, control->token) && system->timer != NULL)
				system->timer(state, self, control->number);
			break;
		}
		default:
			break;
	}
	return false;
}

static void
start(SqlActor *actor)
{
	ActorBody *body = actor->body;

	actor->phase = PHASE_READY;
	if (body->system->start != NULL)
		body->system->start(body->system_state, body->self);
	if (body->supervisor.slot != 0)
	{
		Message *started = message_create(LOCAL_CHILD_STARTED, sizeof(uint64));

		memcpy(started->payload, &body->child, sizeof(uint64));
		started->from = body->self;
		(void) control_send(body->supervisor, started);
	}
}

/* True: it is gone. */
static bool
run(SqlActor *actor)
{
	uint32 incarnation = actor->body->self.incarnation;
	bool is_gone = false;
	Message *message;

	if (actor->body->is_orphan)
	{
		actor->body->is_orphan = false;
		system_actor_exit(actor->body->self, EXIT_KILLED, "its supervisor is gone");
		return false;
	}
	if (actor->phase == PHASE_NEW)
		start(actor);
	while (!exits && !is_gone && (message = sql_actor_take_control(actor)) != NULL)
	{
		while (message != NULL)
		{
			Message *next = message->next;

			if (!exits && !is_gone && message->to.incarnation == incarnation)
				is_gone = obey(actor, message);
			message_free(message);
			message = next;
		}
		if (!is_gone && actor->phase == PHASE_NEW)
			start(actor);
	}
	if (is_gone)
		return true;
	while (!exits && !actor->is_suspended && actor->phase == PHASE_READY &&
		   (message = sql_actor_peek(actor)) != NULL)
	{
		(void) sql_actor_take_first(actor);
		sql_actor_count_out(actor, message);
		actor->body->received++;
		if (actor->body->system->message != NULL)
			actor->body->system->message(actor->body->system_state, actor->body->self, message);
		message_free(message);
	}
	return false;
}

/*
 * system_run
 *		Let a system actor do what there is for it.  Outside of a transaction.
 */
void
system_run(SqlActor *actor)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool is_gone = false;

	Assert(!IsTransactionState());
	running = actor;
	exits = false;
	PG_TRY();
	{
		is_gone = run(actor);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		exits = true;
		exit_kind = EXIT_ERROR;
		strlcpy(exit_reason, error->message, sizeof(exit_reason));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	running = NULL;
	if (is_gone)
		return;
	if (exits)
	{
		/* Nobody else begins one anew that has failed and has no supervisor. */
		if (exit_kind == EXIT_ERROR && actor->body->supervisor.slot == 0)
			runtime_request_refresh(actor->body->database);
		exits = false;
		if (sql_actor_down(actor, exit_kind, 0, exit_reason))
			return;
	}
	sql_actor_release(actor);
}
