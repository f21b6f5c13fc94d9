/*
 * launcher.c
 *		The worker that keeps the databases' schedulers running.
 *
 * It is connected to no database.  When it starts, and when databases may
 * have come, it lets a short-lived scheduler look into each database that it
 * does not know; a few at a time.  For those that have the extension it
 * keeps dlog.min_schedulers free, up to dlog.max_schedulers.  It sleeps until
 * it is woken: by a scheduler that exits or gets busy, by work that finds
 * nobody idle, by CREATE and DROP EXTENSION.  It is the keeper of the timers
 * (timer.c), too.
 *
 * It holds nothing that its successor could not find out again.
 */
#include "postgres.h"


#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/sinval.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "base/guc.h"
#include "base/pg_compat.h"
#include "runtime/runtime_internal.h"

/* Databases that are being looked into at a time. */
#define PROBES_AT_A_TIME 3

/* A database where a scheduler could not start is left alone so long. */
#define RETRY_MS 1000

typedef struct KnownDatabase
{
	Oid oid;
	NameData name;
} KnownDatabase;

/* What this launcher started, until the postmaster tells how it ended. */
static struct
{
	BackgroundWorkerHandle *handle;
	uint32 generation;
} started[MAX_SCHEDULERS];

static MemoryContext launcher_context;
static List *to_probe = NIL; /* of KnownDatabase */
static List *without = NIL;	 /* oids of databases without the extension */
static bool complained = false;
static long wait_ms; /* until something is to be tried again, or -1 */

extern DLOG_EXPORT void dlog_launcher_main(Datum argument);

static void
try_again_in(long ms)
{
	wait_ms = wait_ms < 0 ? ms : Min(wait_ms, ms);
}

/* --------------------------------------------------------------- looking */

/*
 * The databases that allow connections, or the one with this oid.  Templates
 * are left out: a connected scheduler would block their being copied.
 */
static List *
connectable_databases(Oid only)
{
	List *list = NIL;
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;
		KnownDatabase *known;

		if (!form->datallowconn || form->datistemplate ||
			(OidIsValid(only) && form->oid != only))
			continue;
		old = MemoryContextSwitchTo(launcher_context);
		known = palloc(sizeof(KnownDatabase));
		known->oid = form->oid;
		known->name = form->datname;
		list = lappend(list, known);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(launcher_context);
	return list;
}

static bool
database_is_connectable(Oid oid)
{
	List *list = connectable_databases(oid);
	bool is_there = list != NIL;

	list_free_deep(list);
	return is_there;
}

/* Which databases shall be looked into? */
static void
scan_databases(void)
{
	List *all = connectable_databases(InvalidOid);
	ListCell *cell;

	list_free_deep(to_probe);
	to_probe = NIL;
	foreach(cell, all)
	{
		KnownDatabase *known = lfirst(cell);

		if (database_find(known->oid) < 0 && !list_member_oid(without, known->oid))
			to_probe = lappend(to_probe, known);
		else
			pfree(known);
	}
	list_free(all);
}

/* Announce some of those that shall be looked into. */
static void
probe_some(void)
{
	int probing = 0;
	int i;

	for (i = 0; i < MAX_DATABASES; i++)
		if (pg_atomic_read_u32(&database_at(i)->state) == DATABASE_UNKNOWN)
			probing++;
	while (to_probe != NIL && probing < PROBES_AT_A_TIME)
	{
		KnownDatabase *known = linitial(to_probe);

		if (database_announce(known->oid, NameStr(known->name)) < 0)
		{
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("dlog serves at most %d databases of a server", MAX_DATABASES)));
			list_free_deep(to_probe);
			to_probe = NIL;
			break;
		}
		to_probe = list_delete_first(to_probe);
		pfree(known);
		probing++;
	}
}

/* -------------------------------------------------------------- starting */

/* Start one scheduler; false when there is no room for it now. */
static bool
start_scheduler(int database, Oid oid)
{
	BackgroundWorker worker;
	uint32 generation;
	int number = scheduler_claim(database, &generation);
	MemoryContext old;
	bool is_started = false;

	if (number >= 0)
	{
		memset(&worker, 0, sizeof(worker));
		worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
		worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
		worker.bgw_restart_time = BGW_NEVER_RESTART;
		worker.bgw_notify_pid = MyProcPid;
		worker.bgw_main_arg = Int32GetDatum(number);
		memcpy(worker.bgw_extra, &generation, sizeof(generation));
		strlcpy(worker.bgw_library_name, "dlog", BGW_MAXLEN);
		strlcpy(worker.bgw_function_name, "dlog_scheduler_main", BGW_MAXLEN);
		strlcpy(worker.bgw_type, "dlog scheduler", BGW_MAXLEN);
		snprintf(worker.bgw_name, BGW_MAXLEN, "dlog scheduler %d for database %u", number, oid);
		if (started[number].handle != NULL)
			pfree(started[number].handle);
		started[number].handle = NULL;
		old = MemoryContextSwitchTo(launcher_context);
		is_started = RegisterDynamicBackgroundWorker(&worker, &started[number].handle);
		MemoryContextSwitchTo(old);
		started[number].generation = generation;
		if (!is_started)
			scheduler_unclaim(number, generation);
	}
	if (is_started)
		complained = false;
	else
	{
		if (!complained)
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("could not start a dlog scheduler: no background worker slot is free"),
					 errhint("Raise max_worker_processes.")));
		complained = true;
		try_again_in(RETRY_MS);
	}
	return is_started;
}

/* Workers that ended before they took their slots leave it to us. */
static void
reap_schedulers(void)
{
	int i;

	for (i = 0; i < scheduler_pool->n_slots; i++)
	{
		pid_t pid;

		if (started[i].handle == NULL ||
			GetBackgroundWorkerPid(started[i].handle, &pid) != BGWH_STOPPED)
			continue;
		pfree(started[i].handle);
		started[i].handle = NULL;
		if (scheduler_unclaim(i, started[i].generation))
		{
			int database = scheduler_pool->slot[i].database;

			pg_atomic_write_u64(&database_at(database)->start_failed_at, GetCurrentTimestamp());
			ConditionVariableBroadcast(&database_at(database)->scheduler_exited);
		}
	}
}

/* Do for one database what its state asks for. */
static void
serve_database(int database)
{
	DatabaseSlot *slot = database_at(database);
	DatabaseState state;
	Oid oid;
	int kept_away;
	SchedulerCount count;
	int wanted;
	long since_failure;

	if (pg_atomic_read_u32(&slot->state) == DATABASE_UNUSED)
		return;
	LWLockAcquire(&slot->lock, LW_SHARED);
	state = (DatabaseState) pg_atomic_read_u32(&slot->state);
	oid = slot->oid;
	kept_away = slot->kept_away;
	LWLockRelease(&slot->lock);
	if (kept_away > 0)
		return;

	count = scheduler_count(database);
	if (state == DATABASE_ABSENT)
	{
		if (count.all == 0 && database_close(database))
			without = list_append_unique_oid(without, oid);
		return;
	}

	since_failure = TimestampDifferenceMilliseconds(pg_atomic_read_u64(&slot->start_failed_at),
													GetCurrentTimestamp());
	wanted = 0;
	if (state == DATABASE_UNKNOWN && count.all == 0)
	{
		if (!database_is_connectable(oid))
		{
			database_close(database);
			return;
		}
		wanted = 1;
	}
	else if (state == DATABASE_ACTIVE)
	{
		int waiting = (int) database_waiting(database);
		int most = dlog_max_schedulers - count.all;

		wanted = Max(Min(dlog_min_schedulers, dlog_max_schedulers), waiting) - count.free;

		/*
		 * Those at short work are free in a moment, or they turn out to be
		 * stuck.  More of them at it than there are processors would only
		 * take turns.
		 */
		if (wanted > 0 && count.moving > 0)
		{
			most = Min(most, scheduler_pool->n_processors - count.moving);
			wanted -= count.moving;
			pg_atomic_write_u32(&scheduler_pool->called, 1);
			try_again_in(SHORT_WORK_MS);
		}
		wanted = Min(wanted, most);
	}
	if (wanted > 0 && since_failure < RETRY_MS)
	{
		try_again_in(RETRY_MS - since_failure);
		return;
	}
	while (wanted-- > 0)
		if (!start_scheduler(database, oid))
			break;
}

/* ------------------------------------------------------------- its life */

static void
launcher_exit(int code, Datum argument)
{
	pg_atomic_write_u32(&scheduler_pool->launcher, PROCESS_NONE);
	pg_atomic_write_u32(&scheduler_pool->called, 0);
	timers_leave();
}

/* Workers that a former launcher asked for and that have not come. */
static void
forget_starting(void)
{
	int i;

	for (i = 0; i < scheduler_pool->n_slots; i++)
		if (pg_atomic_read_u32(&scheduler_pool->slot[i].state) == SCHEDULER_STARTING)
			scheduler_unclaim(i, scheduler_pool->slot[i].generation);
}

void
dlog_launcher_main(Datum argument)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	launcher_context = AllocSetContextCreate(TopMemoryContext, "dlog launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(launcher_context);
	process_attach();
	pg_atomic_write_u32(&scheduler_pool->launcher, my_process_slot);
	before_shmem_exit(launcher_exit, (Datum) 0);
	forget_starting();
	(void) timers_keep(true);
	pg_atomic_write_u32(&scheduler_pool->rescan, 1);

	for (;;)
	{
		long timer_ms;
		int i;

		wait_ms = -1;
		pg_atomic_write_u32(&scheduler_pool->called, 0);
		pg_memory_barrier();
		reap_schedulers();
		if (pg_atomic_exchange_u32(&scheduler_pool->rescan, 0) != 0)
			scan_databases();
		for (i = 0; i < MAX_DATABASES; i++)
			serve_database(i);
		if (to_probe != NIL)
		{
			probe_some();
			for (i = 0; i < MAX_DATABASES; i++)
				serve_database(i);
		}

		timer_ms = timers_serve();
		if (timer_ms >= 0)
			try_again_in(timer_ms);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (wait_ms >= 0 ? WL_TIMEOUT : 0),
						 wait_ms, WaitEventExtensionNew("DlogLauncherMain"));
		ResetLatch(MyLatch);
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
	}
}

/*
 * launcher_register
 *		In the postmaster.
 *
 * Not before recovery is over: a hot standby has nothing to run.
 */
void
launcher_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "dlog", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "dlog_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "dlog launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "dlog launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
