/*
 * tree.c
 *		Supervisors as actors: what is behind the effects of supervisor.c.
 *
 * A supervisor is an actor of the system behavior "supervisor"; its state,
 * and a ChildRecord for each child, are in the arena.  Nothing in here runs in
 * a transaction, except what the database's dispatcher is asked for:
 *
 *		LOAD		read a supervisor's row and its specs, and spawn them all
 *		RESPAWN		spawn one that has been let go before
 *		FORGET		delete the spec of a child that is gone for good
 *
 * Every actor that gets a supervisor is spawned held, by a session or by the
 * dispatcher, with its ChildRecord as the number that the engine knows it by.
 * The supervisor hears of it, and starts it in its turn, with actor_restart().
 * From then on the record is the supervisor's, which frees it when it forgets
 * the child; by then nothing can come for it any more.
 *
 * What sessions start before LOAD is through waits in the list "early".  If
 * LOAD has read the spec of such a child as well, what the session spawned,
 * and has a reference to, is the one that stays.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/errcodes.h"
#include "base/extension.h"
#include "base/pg_compat.h"
#include "journal/journal.h"
#include "supervision/supervision_internal.h"

/* The number of the timer that repeats a LOAD which did not come to its end. */
#define LOAD_TIMER 1
#define LOAD_RETRY_MS 100

typedef struct SupervisorState
{
	SupervisorBirth birth; /* first */
	Supervisor core;
	ActorAddress self;
	bool is_loaded;
	bool has_given_up;
	dlist_head early; /* ChildRecord; also while it is still held */
	uint32 n_early;
	uint32 n_skipped; /* of them known to the LOAD at work */
} SupervisorState;

typedef struct Load
{
	int64 id;
	ActorAddress supervisor;
	uint32 n_skip; /* specs that sessions have spawned already */
	int64 skip[FLEXIBLE_ARRAY_MEMBER];
} Load;

#define MAX_SKIP 4096

typedef struct Loaded
{
	SupervisorFlags flags;
	NameData name;
} Loaded;

typedef struct Respawn
{
	int64 id;
	ActorAddress supervisor;
	ChildRecord *record;
} Respawn;

#define state_of(supervisor) \
	((SupervisorState *) ((char *) (supervisor) -offsetof(SupervisorState, core)))

/* Send a few bytes to an actor; false: there is no memory, or no such actor. */
static bool
send_bytes(ActorAddress from, ActorAddress to, uint16 type, const void *bytes, Size size)
{
	Message *message = message_try_create(type, size);

	if (message == NULL)
		return false;
	memcpy(message->payload, bytes, size);
	message->from = from;
	message->flags = MESSAGE_CONTROL;
	return actor_send(to, message) == SEND_OK;
}

static void
record_failure(SupervisorState *state, ActorAddress actor, int sqlerrcode, const char *error)
{
	Failure failure = {
		.database = MyDatabaseId,
		.owner = state->birth.owner,
		.actor = actor,
		.sqlerrcode = sqlerrcode,
	};

	strlcpy(failure.name, NameStr(state->birth.name), NAMEDATALEN);
	strlcpy(failure.error, error, FAILURE_TEXT);
	failure_record(&failure);
}

/* --------------------------------------------------------------- effects */

static uint64
effect_now_us(Supervisor *supervisor)
{
	return clock_now_us();
}

static double
effect_random(Supervisor *supervisor)
{
	return pg_prng_double(&pg_global_prng_state);
}

static void *
effect_alloc(Supervisor *supervisor, Size size)
{
	return arena_alloc(size);
}

static void
effect_free(Supervisor *supervisor, void *pointer)
{
	arena_free(pointer);
}

/* Its actor has been let go: the dispatcher has to spawn another. */
static void
ask_for_spawn(SupervisorState *state, ChildRecord *record)
{
	Respawn respawn = {
		.id = record->child.spec.id,
		.supervisor = state->self,
		.record = record,
	};

	record->is_respawning = true;
	if (!send_bytes(state->self, state->birth.dispatcher, SUPERVISION_RESPAWN, &respawn, sizeof(respawn)))
		/* as if the dispatcher had said so */
		(void) send_bytes(state->self, state->self, SUPERVISION_RESPAWN_FAILED, &respawn, sizeof(respawn));
}

static FailedMessage
fate_of_message(ChildRecord *record)
{
	if (record->on_failure == FAILED_MESSAGE_RETRY && record->attempts > record->retries)
		return FAILED_MESSAGE_DEAD_LETTER;
	return record->on_failure;
}

static void
effect_start(Supervisor *supervisor, Child *child)
{
	SupervisorState *state = state_of(supervisor);
	ChildRecord *record = (ChildRecord *) child;

	if (record->has_actor && child->spec.is_supervisor && record->is_used)
	{
		/* A supervisor that starts again is a new one, which reads its specs. */
		actor_release(record->actor, FAILED_MESSAGE_DROP);
		record->has_actor = false;
	}
	if (record->is_used)
		record->restarts++;
	if (!record->has_actor)
	{
		ask_for_spawn(state, record);
		return;
	}
	record->is_used = true;
	actor_restart(record->actor, 0, fate_of_message(record));
}

static void
effect_stop(Supervisor *supervisor, Child *child)
{
	ChildRecord *record = (ChildRecord *) child;

	if (record->has_actor)
		actor_stop(record->actor, EXIT_SHUTDOWN, "shutdown");
}

static void
effect_kill(Supervisor *supervisor, Child *child)
{
	ChildRecord *record = (ChildRecord *) child;

	if (record->has_actor)
		actor_stop(record->actor, EXIT_KILLED, "killed by its supervisor");
}

static void
effect_release(Supervisor *supervisor, Child *child)
{
	ChildRecord *record = (ChildRecord *) child;

	if (record->has_actor)
		actor_release(record->actor, fate_of_message(record));
	record->has_actor = false;
}

static void
effect_forget(Supervisor *supervisor, Child *child, bool for_good)
{
	SupervisorState *state = state_of(supervisor);

	if (for_good && child->spec.id != 0)
		(void) send_bytes(state->self, state->birth.dispatcher, SUPERVISION_FORGET,
						  &child->spec.id, sizeof(int64));
	arena_free(child);
}

static void
effect_timer_set(Supervisor *supervisor, Child *child, int64 delay_ms)
{
	actor_timer_set(state_of(supervisor)->self, (uint64) child, delay_ms);
}

static void
effect_timer_cancel(Supervisor *supervisor, Child *child)
{
	actor_timer_cancel(state_of(supervisor)->self, (uint64) child);
}

static void
effect_started(Supervisor *supervisor)
{
	SupervisorState *state = state_of(supervisor);

	if (state->birth.parent.slot != 0)
		(void) send_bytes(state->self, state->birth.parent, SUPERVISION_CHILD_UP, "", 0);
}

static void
effect_exit(Supervisor *supervisor, ExitKind kind, const char *reason)
{
	system_actor_exit(state_of(supervisor)->self, kind, reason);
}

/* A request is the address of who asked, in the arena. */
static void
effect_answer(Supervisor *supervisor, uint64 request, SupervisorAnswer answer, Child *child)
{
	ActorAddress *caller = (ActorAddress *) request;

	(void) send_bytes(state_of(supervisor)->self, *caller, SUPERVISION_ANSWER, &answer, sizeof(answer));
	arena_free(caller);
}

static void
effect_report(Supervisor *supervisor, SupervisorReport report, Child *child)
{
	SupervisorState *state = state_of(supervisor);
	ChildRecord *record = (ChildRecord *) child;
	char error[FAILURE_TEXT];

	switch (report)
	{
		case REPORT_GAVE_UP:
			state->has_given_up = state->birth.parent.slot == 0;
			snprintf(error, sizeof(error), "more than %d restarts within " INT64_FORMAT " ms",
					 supervisor->flags.max_restarts, supervisor->flags.within_ms);
			record_failure(state, state->self, ERRCODE_DLOG_SUPERVISOR_GAVE_UP, error);
			ereport(LOG,
					(errcode(ERRCODE_DLOG_SUPERVISOR_GAVE_UP),
					 errmsg("supervisor \"%s\" gave up", NameStr(state->birth.name)),
					 errdetail("It saw %s.", error)));
			break;
		case REPORT_SHUTDOWN_FAILED:
			record_failure(state, record->actor, ERRCODE_DLOG_ACTOR_EXITED,
						   child->exit_kind == EXIT_KILLED ? "did not shut down in time, and was killed" : "failed while it was to shut down");
			break;
		case REPORT_CHILD_TERMINATED:
			/* An error has been recorded where it happened. */
			if (child->exit_kind == EXIT_KILLED)
				record_failure(state, record->actor, ERRCODE_DLOG_ACTOR_EXITED, "was killed");
			break;
		case REPORT_START_FAILED:
			break;
	}
}

static const SupervisorEffects effects = {
	.now_us = effect_now_us,
	.random = effect_random,
	.alloc = effect_alloc,
	.free = effect_free,
	.start = effect_start,
	.stop = effect_stop,
	.kill = effect_kill,
	.release = effect_release,
	.forget = effect_forget,
	.timer_set = effect_timer_set,
	.timer_cancel = effect_timer_cancel,
	.started = effect_started,
	.exit = effect_exit,
	.answer = effect_answer,
	.report = effect_report,
};

/* --------------------------------------------------------------- loading */

static void
ask_for_load(SupervisorState *state)
{
	uint32 n = Min(state->n_early, MAX_SKIP);
	Size size = offsetof(Load, skip) + sizeof(int64) * n;
	Message *message = message_try_create(SUPERVISION_LOAD, size);
	Load *load;
	dlist_iter iter;

	if (message != NULL)
	{
		load = (Load *) message->payload;
		load->id = state->birth.id;
		load->supervisor = state->self;
		load->n_skip = 0;
		dlist_foreach(iter, &state->early)
			if (load->n_skip < n)
				load->skip[load->n_skip++] = dlist_container(ChildRecord, child.node, iter.cur)->child.spec.id;
		message->from = state->self;
		message->flags = MESSAGE_CONTROL;
		state->n_skipped = n;
		if (actor_send(state->birth.dispatcher, message) == SEND_OK)
			return;
	}
	actor_timer_set(state->self, LOAD_TIMER, LOAD_RETRY_MS);
}

/* One that LOAD has spawned too gives way. */
static void
replace_loaded(SupervisorState *state, ChildRecord *early)
{
	Child *loaded = supervisor_find(&state->core, early->child.spec.id);

	Assert(loaded->state == CHILD_STOPPED);
	dlist_insert_before(&loaded->node, &early->child.node);
	dlist_delete(&loaded->node);
	effect_release(&state->core, loaded);
	arena_free(loaded);
}

/* All specs are known: begin. */
static void
become_loaded(SupervisorState *state, const Loaded *loaded)
{
	dlist_mutable_iter iter;
	dlist_head late;

	state->is_loaded = true;
	supervisor_set_flags(&state->core, &loaded->flags);
	state->birth.name = loaded->name;
	dlist_init(&late);
	dlist_foreach_modify(iter, &state->early)
	{
		ChildRecord *record = dlist_container(ChildRecord, child.node, iter.cur);

		dlist_delete(&record->child.node);
		if (record->child.spec.id != 0 && supervisor_find(&state->core, record->child.spec.id) != NULL)
			replace_loaded(state, record);
		else
			dlist_push_tail(&late, &record->child.node);
	}
	state->n_early = 0;
	supervisor_start(&state->core);
	dlist_foreach_modify(iter, &late)
	{
		ChildRecord *record = dlist_container(ChildRecord, child.node, iter.cur);

		dlist_delete(&record->child.node);
		supervisor_start_child(&state->core, &record->child, 0);
	}
}

static void
load_failed(SupervisorState *state, const char *reason)
{
	/* A name that LOAD found taken is one of a child that came meanwhile. */
	if (state->n_early > state->n_skipped)
	{
		ask_for_load(state);
		return;
	}
	record_failure(state, state->self, ERRCODE_DLOG_ACTOR_EXITED, reason);
	state->has_given_up = state->birth.parent.slot == 0;
	system_actor_exit(state->self, EXIT_SHUTDOWN, "its children could not be spawned");
}

/* ------------------------------------------------- the system behavior */

static void
supervisor_actor_start(void *argument, ActorAddress self)
{
	SupervisorState *state = argument;
	ActorAddress registered;

	state->self = self;
	supervisor_initialize(&state->core, &effects, &state->birth.flags);
	if (registry_look(MyDatabaseId, state->birth.id, &registered) != REGISTRY_RUNNING ||
		!actor_address_equal(registered, self))
	{
		/* Another one is this supervisor. */
		system_actor_exit(self, EXIT_SHUTDOWN, "it runs already");
		return;
	}
	if (state->birth.is_new)
	{
		Loaded loaded = {.flags = state->birth.flags, .name = state->birth.name};

		become_loaded(state, &loaded);
	}
	else
		ask_for_load(state);
}

static void
supervisor_actor_child_spawned(void *argument, ActorAddress self, uint64 child, ActorAddress actor)
{
	SupervisorState *state = argument;
	ChildRecord *record = (ChildRecord *) child;

	record->actor = actor;
	record->has_actor = true;
	if (record->is_respawning)
	{
		record->is_respawning = false;
		record->is_used = true;
		if (record->child.state == CHILD_STARTING)
			actor_restart(actor, 0, FAILED_MESSAGE_DROP);
		else
			/* told to stop meanwhile */
			supervisor_child_exited(&state->core, &record->child, EXIT_SHUTDOWN);
		return;
	}
	record->child.is_kept = true;
	if (record->is_from_load && !state->is_loaded)
		supervisor_add_child(&state->core, &record->child);
	else if (!state->is_loaded)
	{
		dlist_push_tail(&state->early, &record->child.node);
		state->n_early++;
	}
	else
		supervisor_start_child(&state->core, &record->child, 0);
}

static void
supervisor_actor_child_started(void *argument, ActorAddress self, uint64 child, ActorAddress actor)
{
	SupervisorState *state = argument;
	ChildRecord *record = (ChildRecord *) child;

	/* A supervisor has started when it says so, with all its children. */
	if (!record->child.spec.is_supervisor)
		supervisor_child_started(&state->core, &record->child);
}

static void
supervisor_actor_child_exited(void *argument, ActorAddress self, uint64 child, const ActorExit *exit)
{
	SupervisorState *state = argument;
	ChildRecord *record = (ChildRecord *) child;

	record->attempts = exit->attempts;
	if (exit->is_gone)
		record->has_actor = false;
	supervisor_child_exited(&state->core, &record->child, exit->kind);
}

static void
supervisor_actor_timer(void *argument, ActorAddress self, uint64 number)
{
	SupervisorState *state = argument;

	if (number == LOAD_TIMER)
		ask_for_load(state);
	else
		supervisor_timer(&state->core, (Child *) number);
}

static void
supervisor_actor_stopping(void *argument, ActorAddress self, const char *reason)
{
	SupervisorState *state = argument;

	if (state->is_loaded)
		supervisor_shut_down(&state->core, EXIT_SHUTDOWN, "shutdown");
	else
		system_actor_exit(self, EXIT_SHUTDOWN, "shutdown");
}

/* However it ends, or before it begins anew: nothing of it stays. */
static void
supervisor_actor_stop(void *argument, ActorAddress self)
{
	SupervisorState *state = argument;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &state->early)
		arena_free(dlist_container(ChildRecord, child.node, iter.cur));
	/* One that was held until now has nothing else. */
	if (state->self.slot == 0)
		return;
	registry_leave(MyDatabaseId, state->birth.id, self, state->has_given_up);
	dlist_foreach_modify(iter, &state->core.children)
	{
		ChildRecord *record = dlist_container(ChildRecord, child.node, iter.cur);

		if (record->has_actor)
			actor_orphan(record->actor);
	}
	supervisor_free(&state->core);
}

/* ---------------------------------------------------------------- calls */

static Child *
find_by_actor(SupervisorState *state, ActorAddress actor)
{
	dlist_iter iter;

	dlist_foreach(iter, &state->core.children)
	{
		ChildRecord *record = dlist_container(ChildRecord, child.node, iter.cur);

		if (record->has_actor && actor_address_equal(record->actor, actor))
			return &record->child;
	}
	return NULL;
}

#define ROWS_IN_MESSAGE ((int) (MESSAGE_MAX_PAYLOAD / sizeof(ChildStatus)))

typedef struct RowSender
{
	ActorAddress from;
	ActorAddress to;
	Message *message;
	int n_rows;
} RowSender;

static void
send_row(RowSender *sender, const ChildStatus *row)
{
	if (sender->message == NULL)
	{
		sender->message = message_create(SUPERVISION_ROWS, sizeof(ChildStatus) * ROWS_IN_MESSAGE);
		sender->n_rows = 0;
	}
	((ChildStatus *) sender->message->payload)[sender->n_rows++] = *row;
	if (sender->n_rows < ROWS_IN_MESSAGE && row->id >= 0)
		return;
	sender->message->size = sizeof(ChildStatus) * sender->n_rows;
	sender->message->from = sender->from;
	sender->message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	(void) actor_send(sender->to, sender->message);
	sender->message = NULL;
}

static void
list_children(SupervisorState *state, ActorAddress caller, const Call *call)
{
	RowSender sender = {.from = state->self, .to = caller};
	ChildStatus end = {.id = -1};
	dlist_iter iter;

	dlist_foreach(iter, &state->core.children)
	{
		ChildRecord *record = dlist_container(ChildRecord, child.node, iter.cur);
		ChildStatus row = {
			.id = record->child.spec.id,
			.actor = record->actor,
			.has_actor = record->has_actor,
			.state = record->child.state,
			.restarts = record->restarts,
		};

		if (call->kind == CALL_LIST || row.id == call->id)
			send_row(&sender, &row);
	}
	send_row(&sender, &end);
}

static void
handle_call(SupervisorState *state, ActorAddress caller, const Call *call)
{
	Supervisor *core = &state->core;
	uint64 request = 0;

	if (call->kind == CALL_STATUS || call->kind == CALL_LIST)
	{
		list_children(state, caller, call);
		return;
	}
	if (caller.slot != 0)
	{
		ActorAddress *copy = arena_alloc(sizeof(ActorAddress));

		*copy = caller;
		request = (uint64) copy;
	}
	switch (call->kind)
	{
		case CALL_TERMINATE_CHILD:
			if (call->actor.slot != 0)
			{
				Child *child = find_by_actor(state, call->actor);

				if (child == NULL)
					effect_answer(core, request, ANSWER_NOT_FOUND, NULL);
				else
					supervisor_terminate_child(core, 0, child, request);
			}
			else
				supervisor_terminate_child(core, call->id, NULL, request);
			break;
		case CALL_RESTART_CHILD:
			supervisor_restart_child(core, call->id, request);
			break;
		case CALL_REMOVE_CHILD:
			supervisor_terminate_child(core, call->id, NULL, 0);
			supervisor_delete_child(core, call->id, request);
			break;
		case CALL_STATUS:
		case CALL_LIST:
			break;
	}
}

static void
change_child(SupervisorState *state, const ChildSettings *settings)
{
	Child *child = supervisor_find(&state->core, settings->spec.id);

	if (child == NULL)
		return;
	child->spec = settings->spec;
	((ChildRecord *) child)->on_failure = settings->on_failure;
	((ChildRecord *) child)->retries = settings->retries;
}

static void
supervisor_actor_message(void *argument, ActorAddress self, const Message *message)
{
	SupervisorState *state = argument;
	Child *child;

	switch (message->type)
	{
		case SUPERVISION_LOADED:
			if (!state->is_loaded)
				become_loaded(state, (const Loaded *) message->payload);
			break;
		case SUPERVISION_LOAD_FAILED:
			if (!state->is_loaded)
				load_failed(state, message->payload);
			break;
		case SUPERVISION_RESPAWN_FAILED:
		{
			ChildRecord *record = ((const Respawn *) message->payload)->record;

			record->is_respawning = false;
			supervisor_child_exited(&state->core, &record->child, EXIT_ERROR);
		}
		break;
		case SUPERVISION_CHILD_UP:
			child = find_by_actor(state, message->from);
			if (child != NULL)
				supervisor_child_started(&state->core, child);
			break;
		case SUPERVISION_FLAGS:
			supervisor_set_flags(&state->core, (const SupervisorFlags *) message->payload);
			break;
		case SUPERVISION_SPEC:
			change_child(state, (const ChildSettings *) message->payload);
			break;
		case SUPERVISION_SHUT_DOWN:
			supervisor_actor_stopping(state, self, "dropped");
			break;
		case SUPERVISION_CALL:
			handle_call(state, message->from, (const Call *) message->payload);
			break;
		case MESSAGE_DOWN:
		case MESSAGE_UNDELIVERED:
			/* The scheduler that was to load exited. */
			if (!state->is_loaded)
				actor_timer_set(self, LOAD_TIMER, LOAD_RETRY_MS);
			break;
		default:
			break;
	}
}

static const SystemBehavior supervisor_behavior = {
	.name = SUPERVISOR_BEHAVIOR,
	.state_size = sizeof(SupervisorState),
	.start = supervisor_actor_start,
	.message = supervisor_actor_message,
	.child_spawned = supervisor_actor_child_spawned,
	.child_started = supervisor_actor_child_started,
	.child_exited = supervisor_actor_child_exited,
	.timer = supervisor_actor_timer,
	.stopping = supervisor_actor_stopping,
	.stop = supervisor_actor_stop,
};

/* ------------------------------------------------------ spawning, in SQL */

/*
 * A record is the transaction's until that commits.  The memory context that
 * ends with the transaction, or with the subtransaction that is rolled back,
 * frees it unless commits have been counted meanwhile.
 */
typedef struct RecordKeeper
{
	MemoryContextCallback callback;
	ChildRecord *record;
	uint64 n_commits;
} RecordKeeper;

static uint64 n_commits = 0;
static bool counts_commits = false;

/* What the transaction at work here is for; NULL: nothing, or it has committed. */
static Message *work_at_hand;

static void
count_commit(XactEvent event, void *argument)
{
	if (event != XACT_EVENT_COMMIT)
		return;
	n_commits++;
	work_at_hand = NULL;
}

static void
count_commits(void)
{
	if (!counts_commits)
		RegisterXactCallback(count_commit, NULL);
	counts_commits = true;
}

static void
free_record(void *argument)
{
	RecordKeeper *keeper = argument;

	if (keeper->n_commits == n_commits)
		arena_free(keeper->record);
}

/* A record for a child that is about to be spawned by this transaction. */
ChildRecord *
child_record_create(const ChildRow *row)
{
	RecordKeeper *keeper = MemoryContextAlloc(CurTransactionContext, sizeof(RecordKeeper));
	ChildRecord *record = arena_alloc(sizeof(ChildRecord));

	count_commits();
	keeper->callback.func = free_record;
	keeper->callback.arg = keeper;
	keeper->record = record;
	keeper->n_commits = n_commits;
	MemoryContextRegisterResetCallback(CurTransactionContext, &keeper->callback);

	memset(record, 0, sizeof(*record));
	child_initialize(&record->child, &row->spec);
	record->on_failure = row->on_failure;
	record->retries = row->retries;
	return record;
}

/*
 * child_spawn
 *		Spawn, held, what a spec describes.  In a transaction.
 */
ActorAddress
child_spawn(const ChildRow *row, ChildRecord *record, ActorAddress supervisor)
{
	ActorSpawn spawn = {
		.behavior = row->behavior,
		.owner = row->owner,
		.supervisor = supervisor,
		.child = (uint64) record,
		.is_held = true,
	};
	ActorAddress address;
	ActorRef ref;

	if (row->spec.is_supervisor)
	{
		SupervisorRow child;

		if (!store_read_supervisor(row->child_supervisor, &child))
			elog(ERROR, "supervisor " INT64_FORMAT " does not exist", row->child_supervisor);
		return supervisor_spawn(&child, supervisor, record, false);
	}
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(row->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that child \"%s\" ran as does not exist any more", row->name)));
	if (row->job != 0)
		return job_spawn(row, (uint64) record, supervisor);
	/* A durable one that lived before is what it was. */
	if (row->durable != 0 && actor_adopt(row->durable, supervisor, (uint64) record, &address))
		return address;
	spawn.args = args_values(row->behavior, row->owner, row->args, &spawn.n_args, &spawn.args_null);
	address = actor_spawn(&spawn);
	ref = actor_ref_of(address);
	if (row->spec.id != 0 && actor_ref_durable(&ref) != 0)
		store_set_durable(row->spec.id, actor_ref_durable(&ref));
	return address;
}

/*
 * supervisor_spawn
 *		Spawn a supervisor, a root or (held) a child of "parent".
 */
ActorAddress
supervisor_spawn(const SupervisorRow *row, ActorAddress parent, ChildRecord *record, bool is_new)
{
	SupervisorBirth birth = {
		.id = row->id,
		.owner = row->owner,
		.parent = parent,
		.dispatcher = database_address(THIS_NODE, get_database_name(MyDatabaseId)),
		.is_new = is_new,
		.flags = row->flags,
		.name = row->name,
	};
	ActorSpawn spawn = {
		.system_behavior = SUPERVISOR_BEHAVIOR,
		.system_state = &birth,
		.system_state_size = sizeof(birth),
		.owner = row->owner,
		.supervisor = parent,
		.child = (uint64) record,
		.is_held = record != NULL,
	};
	ActorAddress address = actor_spawn(&spawn);

	registry_enter(MyDatabaseId, row->id, address);
	return address;
}

/* ------------------------------------------------- what dispatchers do */

static bool
is_skipped(const Load *load, int64 id)
{
	uint32 i;

	for (i = 0; i < load->n_skip; i++)
		if (load->skip[i] == id)
			return true;
	return false;
}

static void
load(const Load *load)
{
	SupervisorRow row;
	Loaded *loaded;
	Message *message;
	ListCell *cell;

	if (!store_read_supervisor(load->id, &row))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("supervisor " INT64_FORMAT " does not exist", load->id)));
	if (row.flags.strategy != SIMPLE_ONE_FOR_ONE)
		foreach(cell, store_children(load->id))
		{
			ChildRow *child = lfirst(cell);
			ChildRecord *record;

			if (is_skipped(load, child->spec.id))
				continue;
			record = child_record_create(child);
			record->is_from_load = true;
			child_spawn(child, record, load->supervisor);
		}
	message = message_create(SUPERVISION_LOADED, sizeof(Loaded));
	loaded = (Loaded *) message->payload;
	loaded->flags = row.flags;
	loaded->name = row.name;
	message->flags = MESSAGE_CONTROL;
	actor_send_at_commit(load->supervisor, message);
}

static void
respawn(const Respawn *respawn)
{
	ChildRow *row = store_read_child(respawn->id);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the spec of child " INT64_FORMAT " does not exist", respawn->id)));
	child_spawn(row, respawn->record, respawn->supervisor);
}

/* A child is gone for good: so are its spec, and the supervisor of a job alone. */
static void
forget_child(int64 id)
{
	ChildRow *row = store_read_child(id);
	JobRow *job = row != NULL && row->job != 0 ? job_read(row->job) : NULL;
	SupervisorRow supervisor;

	store_delete_child(id);
	if (job == NULL || !job->has_own_supervisor || !store_read_supervisor(row->supervisor, &supervisor))
		return;
	store_delete_supervisor(supervisor.id);
	supervisor_tell(&supervisor, SUPERVISION_SHUT_DOWN, "", 0);
}

/* Tell the supervisor that its work failed, and why; then fail. */
static void
answer_failure(Message *work)
{
	ErrorData *error = CopyErrorData();

	if (work->type == SUPERVISION_LOAD)
		(void) send_bytes(work->to, work->from, SUPERVISION_LOAD_FAILED, error->message,
						  strlen(error->message) + 1);
	else if (work->type == SUPERVISION_RESPAWN)
		(void) send_bytes(work->to, work->from, SUPERVISION_RESPAWN_FAILED, work->payload, sizeof(Respawn));
	FreeErrorData(error);
}

/*
 * The scheduler exits in the middle of it.  LOAD is asked for again when the
 * runtime says so; that says nothing of which RESPAWN is lost.
 */
static void
work_is_lost(int code, Datum argument)
{
	Message *work = work_at_hand;

	work_at_hand = NULL;
	if (work != NULL && work->type == SUPERVISION_RESPAWN)
		(void) send_bytes(work->to, work->from, SUPERVISION_RESPAWN_FAILED, work->payload, sizeof(Respawn));
}

static void
take_in_hand(Message *work)
{
	static bool is_registered = false;

	if (!is_registered)
		before_shmem_exit(work_is_lost, (Datum) 0);
	is_registered = true;
	count_commits();
	work_at_hand = work;
}

static void
supervision_work(Message *work)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		take_in_hand(work);
		extension_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (work->type == SUPERVISION_LOAD)
			load((const Load *) work->payload);
		else if (work->type == SUPERVISION_RESPAWN)
			respawn((const Respawn *) work->payload);
		else
			forget_child(*(const int64 *) work->payload);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		work_at_hand = NULL;
		MemoryContextSwitchTo(context);
		answer_failure(work);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* When the database has come up: the roots that do not run, in order. */
static void
start_roots(void)
{
	ActorAddress nobody = {0};
	ActorAddress address;
	ListCell *cell;

	/* The durable ones among their children wait. */
	if (durable_is_unsettled())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, store_supervisors(0))
	{
		SupervisorRow *row = lfirst(cell);

		if (registry_look(MyDatabaseId, row->id, &address) == REGISTRY_ABSENT)
			supervisor_spawn(row, nobody, NULL, false);
	}
	PopActiveSnapshot();
}

void
tree_init(void)
{
	actor_register_system_behavior(&supervisor_behavior);
	runtime_register_work(SUPERVISION_LOAD, supervision_work);
	runtime_register_work(SUPERVISION_RESPAWN, supervision_work);
	runtime_register_work(SUPERVISION_FORGET, supervision_work);
	runtime_register_scheduler_start(start_roots);
}
