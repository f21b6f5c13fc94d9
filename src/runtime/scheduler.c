/*
 * scheduler.c
 *		The workers that run what is sent to a database.
 *
 * A scheduler is a background worker connected to its database.  It first
 * looks whether the extension is there; if not it says so and exits.  Then
 * it takes work, runs the handler of its type outside of a transaction, and
 * sleeps, without a timeout, while there is none.  Those above
 * dlog.min_schedulers that stay idle for dlog.scheduler_idle_timeout retire.
 * An ERROR ends the work, not the scheduler.
 *
 * The pool's lock guards who has which SchedulerSlot.  A slot is claimed by
 * the launcher and named to the new worker together with its generation, so
 * a worker that starts too late finds out.
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/sinval.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/extension.h"
#include "base/function.h"
#include "base/guc.h"
#include "base/linger.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "runtime/runtime_internal.h"

/* A refresh that failed is tried again after this time. */
#define REFRESH_RETRY_MS 5000

/* See sleep_idle(). */
#define NAP_MS 1

/* For statements of dlog's own. */
#define OWN_SEARCH_PATH "pg_catalog, pg_temp"

SchedulerPool *scheduler_pool;

/* The handlers, registered in the postmaster. */
#define MAX_WORK_TYPES 64
static struct
{
	uint16 type;
	WorkHandler handler;
} work_types[MAX_WORK_TYPES];
static int n_work_types = 0;

#define MAX_START_CALLBACKS 8
static void (*start_callbacks[MAX_START_CALLBACKS])(void);
static int n_start_callbacks = 0;

/* Of this process, if it is a scheduler. */
static SchedulerSlot *my_scheduler;
static int my_number = -1;
static int my_database = -1;
static uint64 refresh_us;	  /* when dlog's tables, whose reading failed, are to be read again; 0: never */
static Message *current_work; /* that a handler is at */

extern DLOG_EXPORT void dlog_scheduler_main(Datum argument);

/*
 * runtime_register_work
 *		Name the handler of a type of work.  From _PG_init.
 */
void
runtime_register_work(uint16 type, WorkHandler handler)
{
	if (n_work_types == MAX_WORK_TYPES)
		elog(ERROR, "too many types of work");
	work_types[n_work_types].type = type;
	work_types[n_work_types++].handler = handler;
}

/*
 * runtime_register_scheduler_start
 *		Name a function to run when a database comes up.  From _PG_init.
 */
void
runtime_register_scheduler_start(void (*callback)(void))
{
	if (n_start_callbacks == MAX_START_CALLBACKS)
		elog(ERROR, "too many start callbacks");
	start_callbacks[n_start_callbacks++] = callback;
}

/* ------------------------------------------------------------------ slots */

/*
 * scheduler_claim
 *		A slot for a scheduler that is about to be started, or -1.
 */
int
scheduler_claim(int database, uint32 *generation)
{
	int claimed = -1;
	int i;

	LWLockAcquire(&scheduler_pool->lock, LW_EXCLUSIVE);
	for (i = 0; i < scheduler_pool->n_slots && claimed < 0; i++)
	{
		SchedulerSlot *slot = &scheduler_pool->slot[i];

		if (pg_atomic_read_u32(&slot->state) != SCHEDULER_FREE)
			continue;
		*generation = ++slot->generation;
		slot->database = database;
		slot->pid = 0;
		slot->process = PROCESS_NONE;
		slot->is_ready = false;
		slot->is_busy = false;
		slot->works = slot->failed = slot->busy_us = 0;
		slot->activity[0] = '\0';
		slot->started_at = slot->since = GetCurrentTimestamp();
		pg_atomic_write_u32(&slot->state, SCHEDULER_STARTING);
		claimed = i;
	}
	LWLockRelease(&scheduler_pool->lock);
	return claimed;
}

/* Give it back if the worker has not taken it.  True if so. */
bool
scheduler_unclaim(int scheduler, uint32 generation)
{
	SchedulerSlot *slot = &scheduler_pool->slot[scheduler];
	bool is_unclaimed = false;

	LWLockAcquire(&scheduler_pool->lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u32(&slot->state) == SCHEDULER_STARTING && slot->generation == generation)
	{
		pg_atomic_write_u32(&slot->state, SCHEDULER_FREE);
		is_unclaimed = true;
	}
	LWLockRelease(&scheduler_pool->lock);
	return is_unclaimed;
}

SchedulerCount
scheduler_count(int database)
{
	SchedulerCount count = {0};
	TimestampTz moving_since = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -SHORT_WORK_MS);
	int i;

	LWLockAcquire(&scheduler_pool->lock, LW_SHARED);
	for (i = 0; i < scheduler_pool->n_slots; i++)
	{
		SchedulerSlot *slot = &scheduler_pool->slot[i];

		if (pg_atomic_read_u32(&slot->state) == SCHEDULER_FREE || slot->database != database)
			continue;
		count.all++;
		if (!slot->is_busy)
			count.free++;
		else if (slot->since > moving_since)
			count.moving++;
	}
	LWLockRelease(&scheduler_pool->lock);
	return count;
}

/*
 * scheduler_terminate_all
 *		Ask all running schedulers of a database to exit.
 */
void
scheduler_terminate_all(int database)
{
	int i;

	LWLockAcquire(&scheduler_pool->lock, LW_SHARED);
	for (i = 0; i < scheduler_pool->n_slots; i++)
	{
		SchedulerSlot *slot = &scheduler_pool->slot[i];

		if (pg_atomic_read_u32(&slot->state) == SCHEDULER_RUNNING && slot->database == database)
			kill(slot->pid, SIGTERM);
	}
	LWLockRelease(&scheduler_pool->lock);
}

void
launcher_wake(void)
{
	uint32 launcher = pg_atomic_read_u32(&scheduler_pool->launcher);

	if (launcher != PROCESS_NONE)
		process_wake(launcher);
}

/*
 * launcher_call
 *		There may be too few schedulers.
 *
 * Under load everybody finds so all the time; the launcher looks every
 * SHORT_WORK_MS then, and is not woken besides.
 */
void
launcher_call(void)
{
	if (pg_atomic_exchange_u32(&scheduler_pool->called, 1) == 0)
		launcher_wake();
}

/* Databases may have come: the launcher shall look. */
void
launcher_rescan(void)
{
	pg_atomic_write_u32(&scheduler_pool->rescan, 1);
	pg_memory_barrier();
	launcher_wake();
}

/* ------------------------------------------------------- one scheduler */

static void
set_busy(bool is_busy)
{
	TimestampTz now = GetCurrentTimestamp();

	if (my_scheduler->is_busy && !is_busy)
		my_scheduler->busy_us += now - my_scheduler->since;
	my_scheduler->since = now;
	my_scheduler->is_busy = is_busy;
}

/*
 * runtime_report_activity
 *		Show what this scheduler does; NULL: nothing.
 *
 * Elsewhere it does nothing.
 */
void
runtime_report_activity(const char *activity)
{
	if (my_scheduler == NULL)
		return;
	strlcpy(my_scheduler->activity, activity ? activity : "", ACTIVITY_LENGTH);
	if (activity != NULL)
		pgstat_report_activity(STATE_RUNNING, activity);
	else
		pgstat_report_activity(STATE_IDLE, NULL);
	set_ps_display(activity ? activity : "idle");
}

/* After an ERROR: as in a session's main loop. */
void
recover_from_error(void)
{
	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	EmitErrorReport();
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	FlushErrorState();
	RESUME_INTERRUPTS();
}

/*
 * What the database's owner has set for sessions is not for schedulers, whose
 * own statements run as a superuser, and whose batches see what was committed
 * before each message.  For as long as the process lives.
 */
static void
fix_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", OWN_SEARCH_PATH},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_OVERRIDE);
}

/* A batch leaves that of its last behavior behind. */
static void
reset_search_path(void)
{
	if (strcmp(namespace_search_path, OWN_SEARCH_PATH) != 0)
		SetConfigOption("search_path", OWN_SEARCH_PATH, PGC_USERSET, PGC_S_OVERRIDE);
}

/* Run the callbacks of higher layers, all in one transaction. */
static void
run_refresh(void)
{
	MemoryContext context = CurrentMemoryContext;

	refresh_us = 0;
	set_busy(true);
	runtime_report_activity("reading dlog's tables");
	PG_TRY();
	{
		int i;

		reset_search_path();
		SetCurrentStatementStartTimestamp();
		extension_begin();
		for (i = 0; i < n_start_callbacks; i++)
			start_callbacks[i]();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		recover_from_error();
		refresh_us = clock_now_us() + REFRESH_RETRY_MS * 1000;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	runtime_report_activity(NULL);
	set_busy(false);
}

/*
 * A handler did not come to its end: tell who sent the work, in the name of
 * the dispatcher.  False if the work itself has become that message, since
 * the arena is full: then it is no longer the caller's.
 */
static bool
work_is_down(Message *work, const char *reason)
{
	ActorAddress to = work->from;
	ActorAddress from = work->to;
	DownMessage down = {
		.incarnation = work->to.incarnation,
		.reason = {strlen(reason), reason},
	};
	Message *message;

	if (to.slot == 0)
		return true;
	message = message_try_create(MESSAGE_DOWN, down_size(&down));
	if (message == NULL)
	{
		down.reason.size = 0;
		if (work->size < down_size(&down) || MESSAGE_OBJECTS(work->type) > 0 ||
			(work->flags & MESSAGE_CHAINED) != 0)
			return true;
		message = memset(work, 0, offsetof(Message, payload));
		message->type = MESSAGE_DOWN;
		message->size = down_size(&down);
	}
	down_write(message->payload, message->size, &down);
	message->flags = MESSAGE_CONTROL;
	message->from = from;
	(void) actor_send(to, message);
	return message != work;
}

static void
run_work(Message *message, MemoryContext work_context)
{
	MemoryContext context = CurrentMemoryContext;
	const char *name = message_type_name(message->type);
	WorkHandler handler = NULL;
	volatile bool is_ours = true;
	int i;

	for (i = 0; i < n_work_types; i++)
		if (work_types[i].type == message->type)
			handler = work_types[i].handler;
	if (handler == NULL)
	{
		dead_letter_record(message, DEAD_LETTER_NO_HANDLER);
		actor_send_undelivered(message, SEND_NO_ACTOR);
		return;
	}

	set_busy(true);
	runtime_report_activity(name ? name : "?");
	MemoryContextSwitchTo(work_context);
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		current_work = message;
		pg_atomic_fetch_add_u32(&scheduler_pool->at_work, 1);
		reset_search_path();
		STOP_POINT("scheduler-work");
		handler(message);
		if (IsTransactionOrTransactionBlock())
		{
			elog(WARNING, "handler of %s left a transaction open", name);
			AbortOutOfAnyTransaction();
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		recover_from_error();
		is_ours = work_is_down(message, "error");
		my_scheduler->failed++;
	}
	PG_END_TRY();
	current_work = NULL;
	pg_atomic_fetch_sub_u32(&scheduler_pool->at_work, 1);
	MemoryContextSwitchTo(context);
	if (is_ours)
		message_free(message);
	MemoryContextReset(work_context);
	my_scheduler->works++;
	runtime_report_activity(NULL);
	set_busy(false);
}

/* Is there something that the main loop should look at? */
static bool
is_wanted_elsewhere(void)
{
	return InterruptPending || ConfigReloadPending || database_has_work(my_database) ||
		   pg_atomic_read_u32(&database_at(my_database)->refresh) != 0;
}

static bool
host_has_work(void)
{
	return actor_host != NULL && actor_host->has_work(my_database);
}

/* The same for native actors, who share with hosted ones. */
static bool
is_wanted_elsewhere_or_hosted(void)
{
	return is_wanted_elsewhere() || host_has_work();
}

static void
run_native(void)
{
	MemoryContext context = CurrentMemoryContext;

	set_busy(true);
	runtime_report_activity("native actors");
	shards_run(is_wanted_elsewhere_or_hosted);
	MemoryContextSwitchTo(context);
	runtime_report_activity(NULL);
	set_busy(false);
}

/*
 * Run hosted actors.  What they do takes milliseconds; the host says when it
 * takes longer.
 */
static void
run_hosted(void)
{
	MemoryContext context = CurrentMemoryContext;
	uint64 busy_us = my_scheduler->busy_us;
	uint64 began_us = clock_now_us();

	runtime_report_activity("actors");
	actor_host->run(my_database, is_wanted_elsewhere);
	MemoryContextSwitchTo(context);
	runtime_report_activity(NULL);
	if (my_scheduler->is_busy)
		set_busy(false);

	/* What it has counted itself meanwhile is in that. */
	my_scheduler->busy_us = busy_us + (clock_now_us() - began_us);
}

/*
 * runtime_scheduler_is_busy
 *		Whether this scheduler is kept from other work, so that the launcher
 *		should see that another one is free.  A signal handler may call it.
 */
void
runtime_scheduler_is_busy(bool is_busy)
{
	if (my_scheduler == NULL || my_scheduler->is_busy == is_busy)
		return;
	set_busy(is_busy);
	if (is_busy)
		launcher_wake();
}

/*
 * runtime_give_way
 *		Let those run first whom this scheduler has just told the end of its work,
 *		unless others are at work as well.
 */
void
runtime_give_way(void)
{
	static Linger linger;

	linger.waiting = &scheduler_pool->at_work;
	linger.most_waiting = scheduler_pool->n_processors - 1;
	linger_give_way(&linger);
}

/* Are fewer idle than shall be, so that the launcher should start one? */
static void
call_for_more(void)
{
	SchedulerCount count;

	if (database_idle_count(my_database) >= dlog_min_schedulers)
		return;
	count = scheduler_count(my_database);
	if (count.free < dlog_min_schedulers && count.all < dlog_max_schedulers)
		launcher_call();
}

/*
 * Sleep on the latch, or nap.
 *
 * Where messages for hosted actors come one by one, each would wake this
 * scheduler, which costs the sender more than to send.  So one that was woken
 * for some when it had just fallen asleep naps the next time: it says that it
 * will look in a millisecond, and only who has something urgent wakes it.  It
 * goes on so for as long as it finds work when it looks; at rest it sleeps.
 * What ends its naps at once may come as soon again, so it lingers then.
 * Returns what has happened; a nap's end is nothing.
 */
static int
sleep_or_nap(long timeout_ms)
{
	static bool naps = false;
	static Linger linger;
	bool is_nap = naps && actor_host != NULL;
	uint64 began_us = clock_now_us();
	int events;
	int happened;

	if (is_nap)
	{
		actor_host->nap(my_database, true);
		timeout_ms = NAP_MS;
	}
	events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms >= 0 ? WL_TIMEOUT : 0);
	happened = is_nap ? linger_wait(&linger, events, timeout_ms, WaitEventExtensionNew("DlogSchedulerIdle")) :
						WaitLatch(MyLatch, events, timeout_ms, WaitEventExtensionNew("DlogSchedulerIdle"));
	if (happened & WL_LATCH_SET)
		ResetLatch(MyLatch);
	if (is_nap)
	{
		actor_host->nap(my_database, false);
		happened &= ~WL_TIMEOUT;
	}
	naps = host_has_work() && (is_nap || clock_now_us() - began_us < NAP_MS * 1000);
	return happened;
}

/* In how many milliseconds there will be work of which nobody tells; or -1. */
static long
work_in_ms(void)
{
	long host_ms = actor_host != NULL ? actor_host->work_in_ms(my_database) : -1;
	uint64 now_us = clock_now_us();
	long refresh_ms = refresh_us == 0 ? -1 : refresh_us <= now_us ? 0 :
																	(long) ((refresh_us - now_us + 999) / 1000);

	return host_ms < 0 ? refresh_ms : refresh_ms < 0 ? host_ms :
													   Min(host_ms, refresh_ms);
}

/*
 * Sleep until there is something to do.  False: it is time to retire.
 */
static bool
sleep_idle(void)
{
	DatabaseSlot *database = database_at(my_database);
	long timeout = -1;
	long statistics_ms;
	long timer_ms = -1;
	long work_ms = -1;
	int happened = 0;

	/* Statistics that came too soon after the last are reported later. */
	statistics_ms = pgstat_report_stat(false);

	database_set_idle(my_database, my_number, true);
	if (!database_has_work(my_database) && !shards_have_work() && !host_has_work() &&
		pg_atomic_read_u32(&database->refresh) == 0)
	{
		if (database_idle_count(my_database) > dlog_min_schedulers)
			timeout = dlog_scheduler_idle_timeout;
		work_ms = work_in_ms();
		if (work_ms >= 0 && (timeout < 0 || work_ms < timeout))
			timeout = work_ms;
		if (statistics_ms > 0 && (timeout < 0 || statistics_ms < timeout))
			timeout = statistics_ms;
		else
			statistics_ms = 0;

		/* While there is no launcher, somebody has to look after the timers. */
		timer_ms = timers_keep(false) ? timers_serve() : -1;
		if (timer_ms >= 0 && (timeout < 0 || timer_ms < timeout))
			timeout = timer_ms;
		else
			timer_ms = -1;

		/* Mail for actors that have gone is to be answered, too. */
		process_awaits_mail();
		if (!process_has_mail())
			happened = sleep_or_nap(timeout);
	}
	database_set_idle(my_database, my_number, false);
	timers_leave();
	if (refresh_us != 0 && clock_now_us() >= refresh_us)
		pg_atomic_write_u32(&database->refresh, 1);
	if (timer_ms >= 0 || work_ms >= 0)
		return true;
	if (statistics_ms > 0)
	{
		if (happened & WL_TIMEOUT)
			pgstat_report_stat(true);
		return true;
	}
	return !((happened & WL_TIMEOUT) && !database_has_work(my_database) && !shards_have_work() &&
			 !host_has_work() && database_idle_count(my_database) >= dlog_min_schedulers);
}

/* Leave the slot to others; see that nobody waits for us. */
static void
scheduler_exit(int code, Datum argument)
{
	DatabaseSlot *database = database_at(my_database);
	bool was_ready = my_scheduler->is_ready;

	database_set_idle(my_database, my_number, false);
	shards_leave();
	if (actor_host != NULL)
		actor_host->leave(my_database);
	if (current_work != NULL)
	{
		if (work_is_down(current_work, REASON_PROCESS_EXITED))
			message_free(current_work);
		current_work = NULL;
		pg_atomic_fetch_sub_u32(&scheduler_pool->at_work, 1);
	}
	LWLockAcquire(&scheduler_pool->lock, LW_EXCLUSIVE);
	my_scheduler->pid = 0;
	pg_atomic_write_u32(&my_scheduler->state, SCHEDULER_FREE);
	LWLockRelease(&scheduler_pool->lock);
	if (!was_ready && code != 0)
		pg_atomic_write_u64(&database->start_failed_at, GetCurrentTimestamp());
	ConditionVariableBroadcast(&database->scheduler_exited);
	if (database_has_work(my_database) || host_has_work())
		database_wake_idle(my_database);
	launcher_wake();
	my_scheduler = NULL;
}

/* Take the slot that the launcher named.  False: it was too late. */
static bool
take_slot(Datum argument)
{
	uint32 generation;
	bool is_ours;

	my_number = DatumGetInt32(argument);
	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	my_scheduler = &scheduler_pool->slot[my_number];
	LWLockAcquire(&scheduler_pool->lock, LW_EXCLUSIVE);
	is_ours = pg_atomic_read_u32(&my_scheduler->state) == SCHEDULER_STARTING &&
			  my_scheduler->generation == generation;
	if (is_ours)
	{
		pg_atomic_write_u32(&my_scheduler->state, SCHEDULER_RUNNING);
		my_scheduler->pid = MyProcPid;
		my_database = my_scheduler->database;
	}
	LWLockRelease(&scheduler_pool->lock);
	if (!is_ours)
		my_scheduler = NULL;
	return is_ours;
}

/* Is the extension in the database that we are connected to, and of our SQL? */
static bool
look_for_extension(void)
{
	uint32 asked = *(volatile uint32 *) &database_at(my_database)->asked;
	ExtensionFit fit;

	pg_memory_barrier();
	StartTransactionCommand();
	fit = extension_fit();
	if (fit == EXTENSION_OTHER)
		extension_refuse(LOG);
	database_confirm(my_database, asked, get_database_name(MyDatabaseId), fit == EXTENSION_OURS);
	CommitTransactionCommand();
	return fit == EXTENSION_OURS;
}

void
dlog_scheduler_main(Datum argument)
{
	DatabaseSlot *database;
	MemoryContext work_context;
	Oid oid;
	bool is_wanted;
	bool ran_native = false;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	if (!take_slot(argument))
		proc_exit(0);
	process_attach();
	before_shmem_exit(scheduler_exit, (Datum) 0);
	database = database_at(my_database);
	LWLockAcquire(&database->lock, LW_SHARED);
	is_wanted = database->kept_away == 0 && OidIsValid(database->oid);
	oid = database->oid;
	LWLockRelease(&database->lock);
	if (!is_wanted)
		proc_exit(0);

	BackgroundWorkerInitializeConnectionByOid(oid, InvalidOid, 0);
	fix_settings();
	if (!look_for_extension())
		proc_exit(0);
	my_scheduler->process = my_process_slot;
	my_scheduler->is_ready = true;
	launcher_wake();

	CurrentMemoryContext = AllocSetContextCreate(TopMemoryContext, "dlog scheduler", ALLOCSET_DEFAULT_SIZES);
	work_context = AllocSetContextCreate(TopMemoryContext, "dlog work", ALLOCSET_DEFAULT_SIZES);
	runtime_report_activity(NULL);
	shards_accept(my_number);

	for (;;)
	{
		Message *message;
		bool more;

		/* Asked to go while idle, there is nothing to complain about. */
		if (ProcDiePending)
			proc_exit(1);
		CHECK_FOR_INTERRUPTS();
		if (catchupInterruptPending)
			ProcessCatchupInterrupt();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (pg_atomic_exchange_u32(&database->refresh, 0) != 0)
		{
			shards_leave();
			run_refresh();
			shards_accept(my_number);
		}

		/* mail for actors of works that are over is answered */
		if (process_has_mail())
			bound_sort_mail();

		/* Where native and hosted actors have work, they take turns. */
		if (shards_have_work() && !database_has_work(my_database) &&
			!(ran_native && host_has_work()))
		{
			ran_native = true;
			run_native();
			continue;
		}
		ran_native = false;
		if (host_has_work() && !database_has_work(my_database))
		{
			/* Native actors shall not wait until it is done. */
			shards_leave();
			run_hosted();
			shards_accept(my_number);
			continue;
		}

		message = database_take(my_database, &more);
		if (message == NULL)
		{
			if (!sleep_idle())
				proc_exit(0);
			continue;
		}
		set_busy(true);

		/* Whoever woke us for an actor has woken nobody else. */
		if ((more || host_has_work()) && !database_wake_idle(my_database))
			launcher_call();
		else
			call_for_more();

		/* Native actors shall not wait until it is done. */
		shards_leave();
		run_work(message, work_context);
		shards_accept(my_number);
	}
}

/* --------------------------------------------------------- shared memory */

static int
slot_count(void)
{
	return Min(max_worker_processes, MAX_SCHEDULERS);
}

Size
scheduler_shmem_size(void)
{
	return add_size(offsetof(SchedulerPool, slot), mul_size(slot_count(), sizeof(SchedulerSlot)));
}

void
scheduler_shmem_init(void)
{
	bool found;
	int i;

	scheduler_pool = ShmemInitStruct("dlog schedulers", scheduler_shmem_size(), &found);
	if (found)
		return;
	memset(scheduler_pool, 0, scheduler_shmem_size());
	LWLockInitialize(&scheduler_pool->lock, runtime_tranche);
	pg_atomic_init_u32(&scheduler_pool->launcher, PROCESS_NONE);
	pg_atomic_init_u32(&scheduler_pool->rescan, 0);
	pg_atomic_init_u32(&scheduler_pool->called, 0);
	pg_atomic_init_u32(&scheduler_pool->at_work, 0);
	pg_atomic_init_u32(&scheduler_pool->waiting_for_node, 0);
	scheduler_pool->n_processors = Max((int) sysconf(_SC_NPROCESSORS_ONLN), 1);
	scheduler_pool->n_slots = slot_count();
	for (i = 0; i < scheduler_pool->n_slots; i++)
		pg_atomic_init_u32(&scheduler_pool->slot[i].state, SCHEDULER_FREE);
}
