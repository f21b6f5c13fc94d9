/*
 * control.c
 *		Stop, suspend, restart and their like: told by anybody, obeyed by the
 *		holder between messages.
 *
 * What is told to an actor is a message on its stack of control.  To kill it
 * interrupts its handler, too.
 */
#include "postgres.h"

#include "actor/actor_internal.h"

/* What control messages carry. */
typedef struct RestartControl
{
	int64 delay_ms;
	FailedMessage failed;
} RestartControl;

typedef struct AdoptControl
{
	ActorAddress supervisor;
	uint64 child;
} AdoptControl;

/* ---------------------------------------------------------------- obeying */

/* Somebody suspends or resumes it: no timer shall. */
static void
durable_is_told(DurableBody *durable, bool to_wait)
{
	durable->waits = false;
	durable->retry++;
	if (to_wait)
		durable_is_mended(durable);
}

/* Back to the beginning; init will run. */
static void
begin_anew(SqlActor *actor, FailedMessage failed)
{
	ActorBody *body = actor->body;
	bool was_held = actor->phase == PHASE_HELD;

	sql_actor_set_state(actor, NULL);
	if (body->durable != NULL)
		durable_is_told(body->durable, false);

	/* In this order, for senders look at it: see may_send(). */
	actor->phase = PHASE_NEW;
	pg_write_barrier();
	actor->behavior = body->first_behavior;
	sql_actor_put_back(actor, body->stash_first, body->stash_last);
	body->stash_first = body->stash_last = NULL;
	if (body->failed != NULL && failed == FAILED_MESSAGE_RETRY)
	{
		sql_actor_put_back(actor, body->failed, body->failed);
		body->failed = NULL;
		sql_actor_forget_failure(body);
	}
	else if (body->failed != NULL)
	{
		sql_actor_count_out(actor, body->failed);
		sql_actor_give_up(actor, failed, "the handler failed");
	}
	actor->is_suspended = false;
	/* One that was held is fresh, and may have heard of children already. */
	if (body->system != NULL && !was_held)
	{
		if (body->system->stop != NULL)
			body->system->stop(body->system_state, body->self);
		memset(body->system_state, 0, body->system->state_size);
		if (body->args != NULL)
			memcpy(body->system_state, value_bytes(body->args), body->args->size);
	}
}

static void
restart(SqlActor *actor, Message *message)
{
	RestartControl *control = (RestartControl *) message->payload;
	ActorBody *body = actor->body;

	if (control->delay_ms > 0)
	{
		RestartControl *later;
		Message *timer = message_try_create(LOCAL_RESTART, sizeof(RestartControl));

		/* Without memory for a timer it is at once. */
		if (timer != NULL)
		{
			later = (RestartControl *) timer->payload;
			later->delay_ms = 0;
			later->failed = control->failed;
			timer->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
			body->restarts_later = true;
			if (actor->phase != PHASE_HELD)
				actor->phase = PHASE_DOWN;
			(void) timer_send_after(body->self, body->self, timer, control->delay_ms);
			return;
		}
	}
	body->restarts_later = false;
	body->restarts++;
	begin_anew(actor, control->failed);
}

/* True: it is gone. */
static bool
release(SqlActor *actor, Message *message)
{
	ActorBody *body = actor->body;
	RestartControl *control = (RestartControl *) message->payload;

	if (actor->phase != PHASE_DOWN && actor->phase != PHASE_HELD)
		return false;
	sql_actor_give_up(actor, control->failed, "the handler failed");
	if (body->durable != NULL)
	{
		/* It lives on without a supervisor; dlog.resume() lets it go on. */
		body->supervisor = (ActorAddress){0};
		begin_anew(actor, FAILED_MESSAGE_RETRY);
		actor->is_suspended = true;
		durable_is_told(body->durable, true);
		return false;
	}
	sql_actor_bury(actor, "shutdown");
	return true;
}

/* A durable actor gets a supervisor, who starts it anew. */
static void
adopt(SqlActor *actor, const AdoptControl *control)
{
	ActorBody *body = actor->body;

	body->supervisor = control->supervisor;
	body->child = control->child;
	body->restarts_later = false;
	sql_actor_set_state(actor, NULL);
	actor->phase = PHASE_HELD;
	sql_actor_tell_supervisor(body->self, body);
}

/* Its supervisor is gone.  True: so is the actor. */
static bool
obey_orphan(SqlActor *actor)
{
	ActorBody *body = actor->body;

	body->is_orphan = false;
	if (body->durable == NULL)
	{
		sql_actor_bury(actor, "its supervisor is gone");
		return true;
	}
	body->supervisor = (ActorAddress){0};
	begin_anew(actor, FAILED_MESSAGE_RETRY);
	return false;
}

/*
 * A durable actor that is killed, or that its supervisor stops, is not gone:
 * what its handler did is undone, and it is loaded again.
 */
static bool
stop_durable(SqlActor *actor, StopControl *stop)
{
	if (actor->phase != PHASE_NEW && actor->phase != PHASE_READY)
		return false;
	if (actor->body->supervisor.slot != 0)
		return sql_actor_down(actor, stop->kind, 0, stop->reason);
	begin_anew(actor, FAILED_MESSAGE_RETRY);
	return false;
}

/* What it has failed at may go well by now. */
static void
retry(SqlActor *actor, const RetryControl *control)
{
	DurableBody *durable = actor->body->durable;

	if (durable == NULL || !durable->waits || (control->number != 0 && control->number != durable->retry))
		return;
	durable->waits = actor->is_suspended = false;
	durable->retry++;
	if (control->number == 0 && durable->breaks > 1)
		durable->breaks = 1;

	/* Even its behavior may be another one by now. */
	if (durable->breaks > 0 && actor->phase == PHASE_READY)
		begin_anew(actor, FAILED_MESSAGE_RETRY);
}

/*
 * sql_actor_obey_one
 *		Do what a control message says.  True: the actor is gone.
 */
bool
sql_actor_obey_one(SqlActor *actor, Message *message)
{
	StopControl *stop = (StopControl *) message->payload;

	switch (message->type)
	{
		case LOCAL_STOP:
			/* A restart that waits is not wanted any more. */
			actor->body->restarts_later = false;
			if (actor->body->durable != NULL && !stop->is_final)
				return stop_durable(actor, stop);
			if (actor->body->durable != NULL)
				actor->body->durable->has_ended = true;
			if (actor->phase == PHASE_NEW || actor->phase == PHASE_READY)
				return sql_actor_down(actor, stop->kind, 0, stop->reason);
			break;
		case LOCAL_SUSPEND:
		case LOCAL_RESUME:
			actor->is_suspended = message->type == LOCAL_SUSPEND;
			if (actor->body->durable != NULL)
				durable_is_told(actor->body->durable, actor->is_suspended);
			break;
		case LOCAL_RETRY:
			retry(actor, (RetryControl *) message->payload);
			break;
		case LOCAL_RESTART:
			if (message->from.slot != 0 || actor->body->restarts_later)
				restart(actor, message);
			break;
		case LOCAL_RELEASE:
			return release(actor, message);
		case LOCAL_ADOPT:
			adopt(actor, (AdoptControl *) message->payload);
			break;
		default:
			break;
	}
	return false;
}

/*
 * sql_actor_obey
 *		Do what control says, oldest first; the holder's, between messages and
 *		outside of anything that may yet be rolled back.
 *
 * For SQL actors.  False: the actor is gone.
 */
bool
sql_actor_obey(SqlActor *actor)
{
	uint32 incarnation = actor->body->self.incarnation;
	bool is_gone = false;
	Message *message;

	if (actor->body->is_orphan && obey_orphan(actor))
		return false;
	message = sql_actor_take_control(actor);
	while (message != NULL)
	{
		Message *next = message->next;

		if (!is_gone && message->to.incarnation == incarnation)
			is_gone = sql_actor_obey_one(actor, message);
		message_free(message);
		message = next;
	}
	return !is_gone;
}

/* ---------------------------------------------------------------- telling */

/* What its handler does is of no use any more. */
static void
interrupt(ActorAddress address)
{
	SqlActor *actor = sql_actor_find(address);
	ActorBody *body = actor == NULL ? NULL : *(ActorBody *volatile *) &actor->body;
	uint16 holder = body == NULL ? 0 : *(volatile uint16 *) &body->holder;

	if (holder > ARENA_NETWORK_OWNER && holder < arena_owner_count())
		process_interrupt(holder - ARENA_NETWORK_OWNER - 1);
}

/*
 * actor_stop
 *		Have it exit, ahead of the messages that wait.  Any process.
 */
void
actor_stop(ActorAddress actor, ExitKind kind, const char *reason)
{
	Size size = strlen(reason) + 1;
	Message *message = message_create(LOCAL_STOP, offsetof(StopControl, reason) + size);
	StopControl *stop = (StopControl *) message->payload;

	stop->kind = kind;
	stop->is_final = false;
	memcpy(stop->reason, reason, size);
	if (control_send(actor, message) && kind == EXIT_KILLED)
		interrupt(actor);
}

void
actor_orphan(ActorAddress address)
{
	SqlActor *actor = sql_actor_find(address);
	ActorBody *body = actor == NULL ? NULL : *(ActorBody *volatile *) &actor->body;

	if (body == NULL)
		return;
	body->is_orphan = true;
	pg_memory_barrier();
	if (!sql_actor_try_queue(actor, address.slot, RUN_IDLE, true))
		(void) sql_actor_try_queue(actor, address.slot, RUN_PARKED, true);
	interrupt(address);
}

void
actor_suspend(ActorAddress actor)
{
	(void) control_send(actor, message_create(LOCAL_SUSPEND, 0));
}

void
actor_resume(ActorAddress actor)
{
	(void) control_send(actor, message_create(LOCAL_RESUME, 0));
}

void
actor_retry(ActorAddress actor)
{
	Message *message = message_create(LOCAL_RETRY, sizeof(RetryControl));

	((RetryControl *) message->payload)->number = 0;
	(void) control_send(actor, message);
}

void
actor_restart(ActorAddress actor, int64 delay_ms, FailedMessage failed)
{
	Message *message = message_create(LOCAL_RESTART, sizeof(RestartControl));
	RestartControl *control = (RestartControl *) message->payload;

	control->delay_ms = delay_ms;
	control->failed = failed;
	message->from = actor;
	(void) control_send(actor, message);
}

bool
actor_adopt(int64 durable, ActorAddress supervisor, uint64 child, ActorAddress *address)
{
	Message *message;
	AdoptControl *control;

	if (actor_journal == NULL || !actor_journal->hold(durable) || !actor_journal->find(durable, address))
		return false;
	message = message_create(LOCAL_ADOPT, sizeof(AdoptControl));
	control = (AdoptControl *) message->payload;
	control->supervisor = supervisor;
	control->child = child;
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	actor_send_at_commit(*address, message);
	return true;
}

void
actor_release(ActorAddress actor, FailedMessage failed)
{
	Message *message = message_create(LOCAL_RELEASE, sizeof(RestartControl));
	RestartControl *control = (RestartControl *) message->payload;

	control->delay_ms = 0;
	control->failed = failed;
	(void) control_send(actor, message);
}
