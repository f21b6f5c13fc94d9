/*
 * supervisor.c
 *		What a supervisor decides: Erlang/OTP's rules, as a state machine.
 *
 * Pure: time, chance, memory and all that it does to the world come in as
 * SupervisorEffects, so that tests run it on a fake clock.  It belongs to one
 * process at a time; nothing here is locked.
 *
 * OTP's supervisor waits while it starts or stops a child, and its mailbox
 * holds what happens meanwhile.  This one cannot wait.  So it has a *phase*,
 * which says what it is waiting for, and a queue of *events*, which it takes
 * up when it is idle again.  Where one child's restart concerns no other
 * (one_for_one, simple_one_for_one) there is no phase: children start
 * side by side, each in its own state.
 *
 * A child that has exited is *kept* until the supervisor starts it again,
 * when its address and mail stay what they were, or releases it.
 *
 * Beyond OTP there is a *backoff*: a restart may have to wait.  The intensity
 * counts it when the child fails, not when the wait is over.
 */
#include "postgres.h"

#include "supervision/supervision_internal.h"

static void advance(Supervisor *supervisor);

#define effect(name, ...) (supervisor->effects->name(supervisor, ##__VA_ARGS__))

static bool
is_simple(const Supervisor *supervisor)
{
	return supervisor->flags.strategy == SIMPLE_ONE_FOR_ONE;
}

static bool
is_alive(const Child *child)
{
	return child->state == CHILD_STARTING || child->state == CHILD_RUNNING ||
		   child->state == CHILD_STOPPING;
}

static void
set_state(Supervisor *supervisor, Child *child, ChildState state)
{
	bool was_alive = is_alive(child);

	child->state = state;
	supervisor->n_alive += is_alive(child) - was_alive;
}

/* ------------------------------------------------------------ checks */

/*
 * supervisor_refuse_flags, supervisor_refuse_spec
 *		What is wrong with them, as a sentence; NULL if nothing is.
 */
const char *
supervisor_refuse_flags(const SupervisorFlags *flags)
{
	if (flags->max_restarts < 0 || flags->max_restarts > MAX_MAX_RESTARTS)
		return "The number of restarts must lie between 0 and 8000.";
	if (flags->within_ms <= 0)
		return "The time within which restarts are counted must be positive.";
	if (flags->backoff_ms < 0 || flags->backoff_max_ms < flags->backoff_ms)
		return "The backoff must lie between zero and its maximum.";
	if (!(flags->jitter >= 0 && flags->jitter <= 1))
		return "The jitter must lie between 0 and 1.";
	return NULL;
}

const char *
supervisor_refuse_spec(const SupervisorFlags *flags, const ChildSpec *spec)
{
	if (spec->is_significant && flags->auto_shutdown == AUTO_SHUTDOWN_NEVER)
		return "Its supervisor never shuts itself down, so no child can be significant to it.";
	if (spec->is_significant && spec->restart == RESTART_PERMANENT)
		return "A permanent child cannot be significant: it is always restarted.";
	if (spec->shutdown_ms < 0 && spec->shutdown_ms != SHUTDOWN_INFINITY &&
		spec->shutdown_ms != SHUTDOWN_BRUTAL_KILL)
		return "The time to shut down cannot be negative.";
	return NULL;
}

/* ------------------------------------------------------ life and death */

void
supervisor_initialize(Supervisor *supervisor, const SupervisorEffects *effects,
					  const SupervisorFlags *flags)
{
	memset(supervisor, 0, sizeof(*supervisor));
	supervisor->effects = effects;
	supervisor->flags = *flags;
	dlist_init(&supervisor->children);
	dlist_init(&supervisor->events);
	supervisor->phase = PHASE_START_ALL;
}

/*
 * supervisor_set_flags
 *		Change them; the restarts so far still count.
 *
 * The strategy stays, and who is restarted already is restarted as before.
 */
void
supervisor_set_flags(Supervisor *supervisor, const SupervisorFlags *flags)
{
	uint64 *old = supervisor->restarts;
	uint32 old_size = supervisor->flags.max_restarts + 1;
	uint32 old_count = supervisor->n_restarts;
	uint32 kept = Min(old_count, Min(old_size, (uint32) flags->max_restarts + 1));
	uint32 i;

	supervisor->restarts = NULL;
	if (old != NULL)
	{
		supervisor->restarts = effect(alloc, sizeof(uint64) * (flags->max_restarts + 1));
		for (i = 0; i < kept; i++)
			supervisor->restarts[i] = old[(old_count - kept + i) % old_size];
		effect(free, old);
	}
	supervisor->n_restarts = kept;
	supervisor->flags = *flags;
}

void
child_initialize(Child *child, const ChildSpec *spec)
{
	memset(child, 0, sizeof(*child));
	child->spec = *spec;
	child->state = CHILD_STOPPED;
	child->event.child = child;
}

static void
release(Supervisor *supervisor, Child *child)
{
	if (child->is_kept)
		effect(release, child);
	child->is_kept = false;
}

static void
drop_event(Child *child)
{
	if (child->has_event)
		dlist_delete(&child->event.node);
	child->has_event = false;
}

/* It has no actor and awaits none. */
static void
set_stopped(Supervisor *supervisor, Child *child)
{
	if (child->state == CHILD_RESTARTING)
		effect(timer_cancel, child);
	drop_event(child);
	set_state(supervisor, child, CHILD_STOPPED);
}

/* Remove a child; for good: its spec as well. */
static void
forget(Supervisor *supervisor, Child *child, bool for_good)
{
	set_stopped(supervisor, child);
	release(supervisor, child);
	dlist_delete(&child->node);
	supervisor->n_children--;
	if (supervisor->at == child)
		supervisor->at = NULL;
	if (supervisor->cause == child)
		supervisor->cause = NULL;
	effect(forget, child, for_good);
}

/* One that has never been among the children. */
static void
discard(Supervisor *supervisor, Child *child)
{
	release(supervisor, child);
	effect(forget, child, false);
}

/*
 * A child will not run for now: its spec stays, unless it is temporary.  When
 * the whole supervisor stops, that one stays as well: who starts the
 * supervisor again starts all of its specs.
 */
static void
retire(Supervisor *supervisor, Child *child)
{
	if (child->spec.restart == RESTART_TEMPORARY || is_simple(supervisor))
		forget(supervisor, child, supervisor->phase < PHASE_SHUTDOWN);
	else
	{
		set_stopped(supervisor, child);
		release(supervisor, child);
		child->restarts_in_row = 0;
	}
}

static void
answer(Supervisor *supervisor, uint64 request, SupervisorAnswer what, Child *child)
{
	if (request != 0)
		effect(answer, request, what, child);
}

/* Answer who asked for a child's start or stop. */
static void
answer_request(Supervisor *supervisor, Child *child, SupervisorAnswer what)
{
	uint64 request = child->request;

	child->request = 0;
	child->is_terminated = false;
	answer(supervisor, request, what, child);
}

/*
 * supervisor_free
 *		Frees all that it has, children included, whatever they do.
 */
void
supervisor_free(Supervisor *supervisor)
{
	while (!dlist_is_empty(&supervisor->children))
		forget(supervisor, dlist_head_element(Child, node, &supervisor->children), false);
	while (!dlist_is_empty(&supervisor->events))
	{
		SupervisorEvent *event = dlist_container(SupervisorEvent, node, dlist_pop_head_node(&supervisor->events));

		if (event->kind == EVENT_START_CHILD)
			discard(supervisor, event->child);
		effect(free, event);
	}
	if (supervisor->restarts != NULL)
		effect(free, supervisor->restarts);
	supervisor->restarts = NULL;
}

static void
put_event(Supervisor *supervisor, Child *child, SupervisorEventKind kind)
{
	Assert(!child->has_event);
	child->event.kind = kind;
	child->has_event = true;
	dlist_push_tail(&supervisor->events, &child->event.node);
}

static void
start_child(Supervisor *supervisor, Child *child, StartReason reason)
{
	Assert(!is_alive(child));
	set_state(supervisor, child, CHILD_STARTING);
	child->start_reason = reason;
	child->is_told_to_die = false;
	effect(start, child);
	child->is_kept = false;
}

static void
stop_child(Supervisor *supervisor, Child *child)
{
	if (child->state == CHILD_STOPPING)
		return;
	Assert(child->state == CHILD_STARTING || child->state == CHILD_RUNNING);
	set_state(supervisor, child, CHILD_STOPPING);
	if (child->spec.shutdown_ms == SHUTDOWN_BRUTAL_KILL)
	{
		child->is_told_to_die = true;
		effect(kill, child);
		return;
	}
	if (child->spec.shutdown_ms != SHUTDOWN_INFINITY)
		effect(timer_set, child, child->spec.shutdown_ms);
	effect(stop, child);
}

/* Did a child that was told to stop exit as it should have? */
static bool
exited_as_told(const Child *child, ExitKind kind)
{
	if (child->spec.shutdown_ms == SHUTDOWN_BRUTAL_KILL && kind == EXIT_KILLED)
		return true;
	return kind == EXIT_SHUTDOWN || (kind == EXIT_NORMAL && child->spec.restart != RESTART_PERMANENT);
}

/*
 * One that is to be stopped exited before it was told: the exit, which waits
 * in the queue, is the answer.  True if so.
 */
static bool
exit_has_come(Supervisor *supervisor, Child *child)
{
	if (child->state != CHILD_RUNNING || !child->has_event)
		return false;
	drop_event(child);
	if (!exited_as_told(child, child->exit_kind))
		effect(report, REPORT_SHUTDOWN_FAILED, child);
	set_state(supervisor, child, CHILD_STOPPED);
	return true;
}

/* ------------------------------------------------------------ restarts */

/* Count a restart.  False: that was one too many. */
static bool
add_restart(Supervisor *supervisor)
{
	uint32 size = supervisor->flags.max_restarts + 1;
	uint64 now = effect(now_us);
	uint64 oldest;

	if (supervisor->restarts == NULL)
		supervisor->restarts = effect(alloc, sizeof(uint64) * size);
	supervisor->restarts[supervisor->n_restarts % size] = now;
	supervisor->n_restarts++;
	if (supervisor->n_restarts < size)
		return true;
	oldest = supervisor->restarts[supervisor->n_restarts % size];
	return now - oldest > (uint64) supervisor->flags.within_ms * 1000;
}

/* How long a child's restart has to wait. */
static int64
backoff(Supervisor *supervisor, Child *child)
{
	const SupervisorFlags *flags = &supervisor->flags;
	int64 delay = flags->backoff_ms;
	uint32 i;

	if (child->started_us != 0 &&
		effect(now_us) - child->started_us > (uint64) flags->within_ms * 1000)
		child->restarts_in_row = 0;
	for (i = 0; i < child->restarts_in_row && delay < flags->backoff_max_ms; i++)
		delay *= 2;
	delay = Min(delay, flags->backoff_max_ms);
	child->restarts_in_row++;
	child->started_us = 0;
	if (delay > 0 && flags->jitter > 0)
		delay -= (int64) (delay * flags->jitter * effect(random));
	return delay;
}

static void
restart_later(Supervisor *supervisor, Child *child, int64 delay_ms)
{
	set_state(supervisor, child, CHILD_RESTARTING);
	effect(timer_set, child, delay_ms);
}

static void
restart_group(Supervisor *supervisor, Child *cause, int64 delay_ms)
{
	set_state(supervisor, cause, CHILD_STOPPED);
	supervisor->phase = PHASE_STOP_GROUP;
	supervisor->cause = cause;
	supervisor->at = NULL;
	supervisor->group_delay_ms = delay_ms;
}

/* A child is to be restarted: count it, and begin. */
static void
restart(Supervisor *supervisor, Child *child)
{
	int64 delay;

	if (!add_restart(supervisor))
	{
		effect(report, REPORT_GAVE_UP, child);
		retire(supervisor, child);
		supervisor_shut_down(supervisor, EXIT_SHUTDOWN, "too many restarts");
		return;
	}
	delay = backoff(supervisor, child);
	switch (supervisor->flags.strategy)
	{
		case ONE_FOR_ONE:
		case SIMPLE_ONE_FOR_ONE:
			if (delay > 0)
				restart_later(supervisor, child, delay);
			else
				start_child(supervisor, child, START_RESTART);
			break;
		case ONE_FOR_ALL:
		case REST_FOR_ONE:
			restart_group(supervisor, child, delay);
			break;
	}
}

/* ----------------------------------------------------------- the phases */

/* The first of those that are restarted with the cause. */
static dlist_node *
group_first(Supervisor *supervisor)
{
	if (supervisor->flags.strategy == REST_FOR_ONE)
		return &supervisor->cause->node;
	return dlist_head_node(&supervisor->children);
}

/*
 * Start children from left to right, from "first" on: the one after "at".
 * True when all have been.
 */
static bool
start_in_order(Supervisor *supervisor, StartReason reason, dlist_node *first)
{
	dlist_node *node = first;

	if (supervisor->at != NULL)
	{
		if (supervisor->at->state == CHILD_STARTING)
			return false;
		if (!dlist_has_next(&supervisor->children, &supervisor->at->node))
			return true;
		node = dlist_next_node(&supervisor->children, &supervisor->at->node);
	}
	supervisor->at = dlist_container(Child, node, node);
	start_child(supervisor, supervisor->at, reason);
	return false;
}

/* The child that stopping goes on with: the one at "at", or the rightmost. */
static dlist_node *
stopping_node(Supervisor *supervisor)
{
	return supervisor->at ? &supervisor->at->node : dlist_tail_node(&supervisor->children);
}

/* Stop it if it runs.  False: that has to be waited for. */
static bool
stop_at(Supervisor *supervisor, Child *child)
{
	if (!is_alive(child) || exit_has_come(supervisor, child))
		return true;
	supervisor->at = child;
	stop_child(supervisor, child);
	return false;
}

/*
 * Stop those of the group from right to left.  True when none is left; the
 * temporary ones are gone then, the others are kept for their restart.
 */
static bool
stop_group(Supervisor *supervisor)
{
	dlist_node *first = group_first(supervisor);
	dlist_node *node = stopping_node(supervisor);

	for (;;)
	{
		Child *child = dlist_container(Child, node, node);
		dlist_node *next = node == first ? NULL : dlist_prev_node(&supervisor->children, node);

		if (!stop_at(supervisor, child))
			return false;
		if (child != supervisor->cause && child->spec.restart == RESTART_TEMPORARY)
			forget(supervisor, child, true);
		else if (child != supervisor->cause)
			set_stopped(supervisor, child);
		if (next == NULL)
			break;
		node = next;
	}
	supervisor->at = NULL;
	return true;
}

/* Tell all children of a simple_one_for_one at once.  True: none runs. */
static bool
stop_instances(Supervisor *supervisor)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &supervisor->children)
	{
		Child *child = dlist_container(Child, node, iter.cur);

		if (!is_alive(child) || exit_has_come(supervisor, child))
			retire(supervisor, child);
		else
			stop_child(supervisor, child);
	}
	return supervisor->n_alive == 0;
}

/* Stop all from right to left.  True when all have exited. */
static bool
stop_all(Supervisor *supervisor)
{
	dlist_node *node;

	if (is_simple(supervisor))
		return stop_instances(supervisor);
	if (supervisor->cause != NULL)
	{
		/* One that was being stopped when the shutdown began, first. */
		if (supervisor->cause->state == CHILD_STOPPING)
			return false;
		supervisor->cause = NULL;
	}
	if (dlist_is_empty(&supervisor->children))
		return true;
	node = stopping_node(supervisor);
	while (node != NULL)
	{
		Child *child = dlist_container(Child, node, node);
		dlist_node *next = dlist_has_prev(&supervisor->children, node) ? dlist_prev_node(&supervisor->children, node) : NULL;

		if (!stop_at(supervisor, child))
			return false;
		retire(supervisor, child);
		node = next;
	}
	return true;
}

/* Nothing more will be done for who asks. */
static void
refuse_requests(Supervisor *supervisor)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &supervisor->events)
	{
		SupervisorEvent *event = dlist_container(SupervisorEvent, node, iter.cur);

		/* what has happened to children is theirs */
		if (event->kind <= EVENT_RESTART_DUE)
			continue;
		dlist_delete(&event->node);
		answer(supervisor, event->request, ANSWER_SHUTDOWN, NULL);
		if (event->kind == EVENT_START_CHILD)
			discard(supervisor, event->child);
		effect(free, event);
	}
}

/*
 * supervisor_shut_down
 *		Stop all children, then exit.
 *
 * It does not wait for a child that is starting: that one is stopped as well.
 * One that is being stopped is waited for first.
 */
void
supervisor_shut_down(Supervisor *supervisor, ExitKind kind, const char *reason)
{
	if (supervisor->phase >= PHASE_SHUTDOWN)
		return;
	supervisor->phase = PHASE_SHUTDOWN;
	supervisor->cause = supervisor->at;
	supervisor->at = NULL;
	supervisor->exit_kind = kind;
	supervisor->exit_reason = reason;
	refuse_requests(supervisor);
	advance(supervisor);
}

/* A significant child is gone for good: shall the supervisor go too? */
static bool
shall_shut_down(Supervisor *supervisor)
{
	dlist_iter iter;

	if (supervisor->flags.auto_shutdown == AUTO_SHUTDOWN_ANY_SIGNIFICANT)
		return true;
	if (is_simple(supervisor))
		return supervisor->n_children == 0;
	dlist_foreach(iter, &supervisor->children)
	{
		Child *child = dlist_container(Child, node, iter.cur);

		if (child->spec.is_significant && child->state != CHILD_STOPPED)
			return false;
	}
	return true;
}

/* A child that ran has exited, and the supervisor is free to deal with it. */
static void
handle_exit(Supervisor *supervisor, Child *child)
{
	ExitKind kind = child->exit_kind;
	bool is_normal = kind == EXIT_NORMAL || kind == EXIT_SHUTDOWN;
	bool may_shut_down = child->spec.is_significant &&
						 supervisor->flags.auto_shutdown != AUTO_SHUTDOWN_NEVER;

	set_state(supervisor, child, CHILD_STOPPED);
	if (!is_normal || child->spec.restart == RESTART_PERMANENT)
		effect(report, REPORT_CHILD_TERMINATED, child);
	if (child->spec.restart == RESTART_PERMANENT ||
		(child->spec.restart == RESTART_TRANSIENT && !is_normal))
	{
		restart(supervisor, child);
		return;
	}
	retire(supervisor, child);
	if (may_shut_down && shall_shut_down(supervisor))
		supervisor_shut_down(supervisor, EXIT_SHUTDOWN, "a significant child has exited");
}

static void
handle_start_child(Supervisor *supervisor, SupervisorEvent *event)
{
	Child *child = event->child;
	Child *present = is_simple(supervisor) ? NULL : supervisor_find(supervisor, child->spec.id);

	if (present != NULL)
	{
		answer(supervisor, event->request,
			   present->state == CHILD_RUNNING ? ANSWER_ALREADY_STARTED : ANSWER_ALREADY_PRESENT, present);
		discard(supervisor, child);
		return;
	}
	supervisor_add_child(supervisor, child);
	child->request = event->request;
	if (!is_simple(supervisor))
	{
		supervisor->phase = PHASE_START_ONE;
		supervisor->at = child;
	}
	start_child(supervisor, child, START_NEW);
}

static void
handle_terminate_child(Supervisor *supervisor, SupervisorEvent *event)
{
	Child *child = event->child;

	if (child == NULL && is_simple(supervisor))
	{
		answer(supervisor, event->request, ANSWER_SIMPLE_ONE_FOR_ONE, NULL);
		return;
	}
	if (child == NULL)
		child = supervisor_find(supervisor, event->id);
	if (child == NULL)
	{
		answer(supervisor, event->request, ANSWER_NOT_FOUND, NULL);
		return;
	}
	if (is_alive(child) && !exit_has_come(supervisor, child))
	{
		/* One that is starting, or stopping already, has been asked for before. */
		answer_request(supervisor, child, ANSWER_OK);
		child->request = event->request;
		child->is_terminated = true;
		if (!is_simple(supervisor))
		{
			supervisor->phase = PHASE_STOP_ONE;
			supervisor->at = child;
		}
		stop_child(supervisor, child);
		return;
	}
	retire(supervisor, child);
	answer(supervisor, event->request, ANSWER_OK, NULL);
}

/* restart_child and delete_child want one that does not run. */
static void
handle_stopped_child(Supervisor *supervisor, SupervisorEvent *event)
{
	Child *child = supervisor_find(supervisor, event->id);

	if (is_simple(supervisor))
		answer(supervisor, event->request, ANSWER_SIMPLE_ONE_FOR_ONE, NULL);
	else if (child == NULL)
		answer(supervisor, event->request, ANSWER_NOT_FOUND, NULL);
	else if (child->state == CHILD_RESTARTING)
		answer(supervisor, event->request, ANSWER_RESTARTING, child);
	else if (child->state != CHILD_STOPPED)
		answer(supervisor, event->request, ANSWER_RUNNING, child);
	else if (event->kind == EVENT_DELETE_CHILD)
	{
		forget(supervisor, child, true);
		answer(supervisor, event->request, ANSWER_OK, NULL);
	}
	else
	{
		child->request = event->request;
		supervisor->phase = PHASE_START_ONE;
		supervisor->at = child;
		start_child(supervisor, child, START_AGAIN);
	}
}

static void
handle_event(Supervisor *supervisor, SupervisorEvent *event)
{
	Child *child = event->child;

	switch (event->kind)
	{
		case EVENT_CHILD_EXITED:
			child->has_event = false;
			handle_exit(supervisor, child);
			return; /* the event is the child's */
		case EVENT_TRY_AGAIN:
			child->has_event = false;
			restart(supervisor, child);
			return;
		case EVENT_RESTART_DUE:
			child->has_event = false;
			restart_group(supervisor, child, 0);
			return;
		case EVENT_START_CHILD:
			handle_start_child(supervisor, event);
			break;
		case EVENT_TERMINATE_CHILD:
			handle_terminate_child(supervisor, event);
			break;
		case EVENT_RESTART_CHILD:
		case EVENT_DELETE_CHILD:
			handle_stopped_child(supervisor, event);
			break;
	}
	effect(free, event);
}

static void
become_idle(Supervisor *supervisor)
{
	supervisor->phase = PHASE_IDLE;
	supervisor->at = NULL;
	supervisor->cause = NULL;
}

/* One step.  False: it has to wait for something. */
static bool
advance_once(Supervisor *supervisor)
{
	switch (supervisor->phase)
	{
		case PHASE_IDLE:
			if (dlist_is_empty(&supervisor->events))
				return false;
			handle_event(supervisor, dlist_container(SupervisorEvent, node, dlist_pop_head_node(&supervisor->events)));
			return true;

		case PHASE_START_ALL:
			if (!supervisor->is_started)
				return false;
			if (!dlist_is_empty(&supervisor->children) && !is_simple(supervisor) &&
				!start_in_order(supervisor, START_FIRST, dlist_head_node(&supervisor->children)))
				return false;
			become_idle(supervisor);
			effect(started);
			return true;

		case PHASE_START_ONE:
		case PHASE_STOP_ONE:
			return false;

		case PHASE_STOP_GROUP:
			if (!stop_group(supervisor))
				return false;
			supervisor->phase = PHASE_START_GROUP;
			if (supervisor->group_delay_ms > 0)
			{
				restart_later(supervisor, supervisor->cause, supervisor->group_delay_ms);
				become_idle(supervisor);
			}
			return true;

		case PHASE_START_GROUP:
			if (!start_in_order(supervisor, START_RESTART, group_first(supervisor)))
				return false;
			become_idle(supervisor);
			return true;

		case PHASE_SHUTDOWN:
			if (!stop_all(supervisor))
				return false;
			supervisor->phase = PHASE_EXITED;
			effect(exit, supervisor->exit_kind, supervisor->exit_reason);
			return false;

		case PHASE_EXITED:
			return false;
	}
	return false;
}

/* Go on for as long as there is something to do. */
static void
advance(Supervisor *supervisor)
{
	if (supervisor->is_advancing)
		return;
	supervisor->is_advancing = true;
	while (advance_once(supervisor))
		;
	supervisor->is_advancing = false;
}

/* --------------------------------------------------------- what happens */

/*
 * supervisor_add_child
 *		Before supervisor_start(): to the right of those that it has.
 */
void
supervisor_add_child(Supervisor *supervisor, Child *child)
{
	dlist_push_tail(&supervisor->children, &child->node);
	supervisor->n_children++;
}

/*
 * supervisor_start
 *		Start the children, from left to right.
 *
 * The effect "started" follows, or, when one does not start, "exit".
 */
void
supervisor_start(Supervisor *supervisor)
{
	supervisor->is_started = true;
	advance(supervisor);
}

/* Is this the child that the present phase waits for? */
static bool
is_awaited(Supervisor *supervisor, Child *child, SupervisorPhase phase)
{
	return supervisor->phase == phase && supervisor->at == child;
}

void
supervisor_child_started(Supervisor *supervisor, Child *child)
{
	/* Told to stop meanwhile, it is about to exit. */
	if (child->state != CHILD_STARTING)
		return;
	set_state(supervisor, child, CHILD_RUNNING);
	child->started_us = effect(now_us);
	answer_request(supervisor, child, ANSWER_OK);
	if (is_awaited(supervisor, child, PHASE_START_ONE))
		become_idle(supervisor);
	advance(supervisor);
}

/*
 * Its init said that there is nothing to run: the spec stays without an
 * actor, unless it is temporary.
 */
static void
start_ignored(Supervisor *supervisor, Child *child)
{
	bool is_one = is_awaited(supervisor, child, PHASE_START_ONE);

	set_state(supervisor, child, CHILD_STOPPED);
	answer_request(supervisor, child, ANSWER_OK);

	/* Starting in order goes on after its neighbor if it is removed. */
	if (supervisor->at == child && child->spec.restart == RESTART_TEMPORARY &&
		dlist_has_prev(&supervisor->children, &child->node))
		supervisor->at = dlist_container(Child, node, dlist_prev_node(&supervisor->children, &child->node));
	retire(supervisor, child);
	if (is_one)
		become_idle(supervisor);
}

/* A child that was starting has exited. */
static void
start_failed(Supervisor *supervisor, Child *child)
{
	bool is_one = is_awaited(supervisor, child, PHASE_START_ONE) ||
				  is_awaited(supervisor, child, PHASE_START_GROUP);

	set_state(supervisor, child, CHILD_STOPPED);
	effect(report, REPORT_START_FAILED, child);
	answer_request(supervisor, child, ANSWER_START_FAILED);
	switch (child->start_reason)
	{
		case START_FIRST:
			supervisor_shut_down(supervisor, EXIT_SHUTDOWN, "a child did not start");
			return;
		case START_NEW:
			forget(supervisor, child, true);
			break;
		case START_AGAIN:
			set_stopped(supervisor, child);
			release(supervisor, child);
			break;
		case START_RESTART:
			/* Others that wait have their turn first. */
			set_state(supervisor, child, CHILD_RESTARTING);
			put_event(supervisor, child, EVENT_TRY_AGAIN);
			break;
	}
	if (is_one)
		become_idle(supervisor);
}

/* A child that was told to stop has exited. */
static void
child_stopped(Supervisor *supervisor, Child *child)
{
	bool is_terminated = child->is_terminated;

	effect(timer_cancel, child);
	if (!exited_as_told(child, child->exit_kind))
		effect(report, REPORT_SHUTDOWN_FAILED, child);
	set_state(supervisor, child, CHILD_STOPPED);
	answer_request(supervisor, child, is_terminated ? ANSWER_OK : ANSWER_SHUTDOWN);
	if (is_awaited(supervisor, child, PHASE_STOP_ONE))
		become_idle(supervisor);
	if (is_terminated || is_simple(supervisor))
		retire(supervisor, child);
}

/*
 * supervisor_child_exited
 *		A child's actor has exited, or did not start.
 *
 * A start that ends with EXIT_NORMAL is what OTP calls "ignore".
 */
void
supervisor_child_exited(Supervisor *supervisor, Child *child, ExitKind kind)
{
	child->exit_kind = kind;
	child->is_kept = true;
	switch (child->state)
	{
		case CHILD_STARTING:
			if (kind == EXIT_NORMAL)
				start_ignored(supervisor, child);
			else
				start_failed(supervisor, child);
			break;
		case CHILD_RUNNING:
			put_event(supervisor, child, EVENT_CHILD_EXITED);
			break;
		case CHILD_STOPPING:
			child_stopped(supervisor, child);
			break;
		case CHILD_STOPPED:
		case CHILD_RESTARTING:
			Assert(false);
			break;
	}
	/* Do not walk through all instances as each of them stops. */
	if (supervisor->phase != PHASE_SHUTDOWN || !is_simple(supervisor) || supervisor->n_alive == 0)
		advance(supervisor);
}

/*
 * supervisor_timer
 *		A child's time is over: to stop, or to wait for its restart.
 */
void
supervisor_timer(Supervisor *supervisor, Child *child)
{
	if (child->state == CHILD_STOPPING && !child->is_told_to_die)
	{
		child->is_told_to_die = true;
		effect(kill, child);
	}
	else if (child->state == CHILD_RESTARTING && !child->has_event &&
			 supervisor->phase < PHASE_SHUTDOWN)
	{
		if (supervisor->flags.strategy == ONE_FOR_ONE || is_simple(supervisor))
			start_child(supervisor, child, START_RESTART);
		else
			put_event(supervisor, child, EVENT_RESTART_DUE);
	}
	advance(supervisor);
}

/* -------------------------------------------------------------- requests */

Child *
supervisor_find(Supervisor *supervisor, int64 id)
{
	dlist_iter iter;

	dlist_foreach(iter, &supervisor->children)
	{
		Child *child = dlist_container(Child, node, iter.cur);

		if (child->spec.id == id)
			return child;
	}
	return NULL;
}

static void
take_request(Supervisor *supervisor, SupervisorEventKind kind, Child *child, int64 id, uint64 request)
{
	SupervisorEvent *event;

	if (supervisor->phase >= PHASE_SHUTDOWN)
	{
		answer(supervisor, request, ANSWER_SHUTDOWN, NULL);
		if (kind == EVENT_START_CHILD)
			discard(supervisor, child);
		return;
	}
	event = effect(alloc, sizeof(SupervisorEvent));
	event->kind = kind;
	event->child = child;
	event->id = id;
	event->request = request;
	dlist_push_tail(&supervisor->events, &event->node);
	advance(supervisor);
}

/*
 * supervisor_start_child
 *		Add a child to the right of the others, and start it.
 *
 * The child is the supervisor's from now on.
 */
void
supervisor_start_child(Supervisor *supervisor, Child *child, uint64 request)
{
	take_request(supervisor, EVENT_START_CHILD, child, 0, request);
}

/*
 * supervisor_terminate_child
 *		Stop a child: by "id", or of a simple_one_for_one that very one.
 */
void
supervisor_terminate_child(Supervisor *supervisor, int64 id, Child *child, uint64 request)
{
	take_request(supervisor, EVENT_TERMINATE_CHILD, child, id, request);
}

void
supervisor_restart_child(Supervisor *supervisor, int64 id, uint64 request)
{
	take_request(supervisor, EVENT_RESTART_CHILD, NULL, id, request);
}

void
supervisor_delete_child(Supervisor *supervisor, int64 id, uint64 request)
{
	take_request(supervisor, EVENT_DELETE_CHILD, NULL, id, request);
}

/*
 * supervisor_count_children
 *		Specs, running children, and how many are of which kind.
 */
ChildCounts
supervisor_count_children(Supervisor *supervisor)
{
	ChildCounts counts = {0};
	dlist_iter iter;

	dlist_foreach(iter, &supervisor->children)
	{
		Child *child = dlist_container(Child, node, iter.cur);

		counts.specs++;
		counts.active += (child->state == CHILD_RUNNING && !child->has_event) || child->state == CHILD_STOPPING;
		counts.supervisors += child->spec.is_supervisor;
		counts.workers += !child->spec.is_supervisor;
	}
	if (is_simple(supervisor))
		counts.specs = 1;
	return counts;
}
