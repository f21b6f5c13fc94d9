/*
 * worker.c
 *		The transport worker: keeps a network process running.
 *
 * It makes this node's key at first start, forks the network process, and
 * waits.  When that one dies, however it does, the worker frees what it held
 * in shared memory, ends the epochs of all links, tells everybody who watches
 * them, and forks another (child.c).  It also logs what the network process has
 * to say, and keeps the program that speaks mDNS (mdns.c).
 *
 * On SIGTERM it exits with code 1: after an exit with 0 the postmaster would
 * not start it again.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/function.h"
#include "base/guc.h"
#include "transport/transport_internal.h"

#define SLOWEST_START_MS 10000
#define STOP_MS 500 /* until a network process must have stopped */
#define STOP_POLL_US 2000

extern DLOG_EXPORT void dlog_transport_main(Datum argument);

static Child network_child;

static void
on_child_exit(int signal_number)
{
	int save_errno = errno;

	SetLatch(MyLatch);
	errno = save_errno;
}

/* Logs what the network process wrote. */
static void
log_lines(void)
{
	LogRing *ring = &transport_shared->log;
	uint32 lost = pg_atomic_exchange_u32(&ring->lost, 0);

	while (pg_atomic_read_u32(&ring->read) != pg_atomic_read_u32(&ring->written))
	{
		uint32 read = pg_atomic_read_u32(&ring->read);
		char line[LOG_LINE_SIZE];

		pg_read_barrier();
		memcpy(line, ring->lines[read % LOG_RING_SIZE], LOG_LINE_SIZE);
		line[LOG_LINE_SIZE - 1] = '\0';
		pg_write_barrier();
		pg_atomic_write_u32(&ring->read, read + 1);
		ereport(LOG, (errmsg("dlog: %s", line)));
	}
	if (lost > 0)
		ereport(LOG, (errmsg("dlog: %u lines of the network process were lost", lost)));
}

/* The links of a network process that is gone. */
static void
end_all_epochs(void)
{
	bool was_up = false;

	for (uint32 node = 1; node <= transport_shared->max_nodes; node++)
	{
		LinkEntry *link = &transport_shared->links[node];

		if ((pg_atomic_read_u32(&link->text_version) & 1) != 0)
			pg_atomic_fetch_add_u32(&link->text_version, 1); /* it died writing */
		if (pg_atomic_read_u32(&link->state) == LINK_IDLE)
			continue;

		/*
		 * What the network process held is gone; what is still in its inbox
		 * is of an epoch that has ended.  So nothing waits from now on.
		 */
		pg_atomic_write_u32(&link->counted_from, pg_atomic_read_u32(&link->epoch) + 1);
		pg_atomic_write_u32(&link->queued, 0);
		pg_atomic_write_u64(&link->queued_bytes, 0);
		pg_memory_barrier();
		pg_atomic_fetch_add_u32(&link->epoch, 1);
		if (pg_atomic_read_u32(&link->state) == LINK_UP)
			pg_atomic_write_u64(&link->lost_at_us, clock_now_us());
		pg_atomic_write_u32(&link->state, LINK_DOWN);
		strlcpy(link->texts.last_error, "this server's network process ended", REASON_SIZE);
		was_up = true;
	}
	for (uint32 node = 0; node <= transport_shared->max_nodes; node++)
	{
		MemberEntry *member = &transport_shared->members[node];

		if ((pg_atomic_read_u32(&member->version) & 1) != 0)
			pg_atomic_fetch_add_u32(&member->version, 1);
	}
	if (was_up)
		transport_tell_watchers();
}

static void
start_network(const NodeKey *key)
{
	pg_atomic_write_u32(&transport_shared->is_ready, 0);
	if (child_fork(&network_child))
		network_main(key);
	if (network_child.pid == 0)
		return;
	pg_atomic_fetch_add_u64(&transport_shared->network_starts, 1);
	pg_atomic_write_u32(&transport_shared->network_pid, (uint32) network_child.pid);
}

/* Cleans up behind a network process that has died. */
static void
network_died(int status)
{
	uint64 freed;

	pg_atomic_write_u32(&transport_shared->network_pid, 0);
	pg_atomic_write_u32(&transport_shared->is_ready, 0);
	freed = process_network_died();
	log_lines();

	if (WIFSIGNALED(status))
		ereport(LOG,
				(errmsg("dlog: network process was terminated by signal %d: %s",
						WTERMSIG(status), pg_strsignal(WTERMSIG(status))),
				 errdetail("Its " UINT64_FORMAT " blocks of shared memory were freed.", freed)));
	else if (WEXITSTATUS(status) != 0)
		ereport(LOG,
				(errmsg("dlog: network process exited with code %d", WEXITSTATUS(status))));
	end_all_epochs();
}

/*
 * Waits for the network process to stop, at most STOP_MS, then kills it.  Not
 * at the latch: the exit may have begun in the middle of a wait there, when the
 * postmaster has died.  SIGCHLD ends the sleep.
 */
static void
stop_network(void)
{
	uint64 deadline_us = clock_now_us() + STOP_MS * 1000;
	int status = 0;

	if (network_child.pid == 0)
		return;
	kill(network_child.pid, SIGTERM);
	for (;;)
	{
		if (child_has_ended(&network_child, &status))
			break;
		if (clock_now_us() >= deadline_us)
		{
			status = child_kill(&network_child);
			break;
		}
		pg_usleep(STOP_POLL_US);
	}
	network_died(status);
	network_child.failed_starts = 0;
}

static void
stop_at_exit(int code, Datum argument)
{
	transport_shared->worker_latch = NULL;
	mdns_stop();
	stop_network();
}

static void
publish_key(const NodeKey *key)
{
	LWLockAcquire(&transport_shared->node_lock, LW_EXCLUSIVE);
	transport_shared->node_id = key->node_id;
	strlcpy(transport_shared->public_key, key->public_key, KEY_TEXT_SIZE);
	LWLockRelease(&transport_shared->node_lock);
}

/* The network process has found no memory for what it received. */
static void
make_room_if_wanted(void)
{
	uint32 size = pg_atomic_exchange_u32(&transport_shared->room_wanted, 0);

	if (size != 0)
		arena_make_room(size);
}

/* A new key or setting waits: start the network process afresh. */
static void
reload_if_requested(NodeKey *key)
{
	uint32 requests = pg_atomic_read_u32(&transport_shared->reload_requests);

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		membership_publish_settings();
		mdns_settings_changed();
	}
	if (pg_atomic_read_u32(&transport_shared->reloads) == requests)
		return;
	node_key_read(key);
	pg_atomic_write_u32(&transport_shared->is_reloading, 1);
	stop_network();
	pg_atomic_write_u32(&transport_shared->is_reloading, 0);
	publish_key(key);
	pg_atomic_write_u32(&transport_shared->reloads, requests);
	transport_tell_watchers();
	mdns_settings_changed();
}

/*
 * Sees to it that there is a network process; returns in how many ms it is to
 * be called again, -1: when something has happened.
 */
static long
keep_network(const NodeKey *key)
{
	int status;
	long delay_ms;

	if (child_has_ended(&network_child, &status))
		network_died(status);
	if (network_child.pid != 0)
		return -1;
	delay_ms = child_delay_ms(&network_child, SLOWEST_START_MS);
	if (delay_ms > 0)
		return delay_ms;
	start_network(key);
	return network_child.pid == 0 ? 1000 : -1;
}

/* Of two timeouts; -1: none. */
static long
sooner(long a, long b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

void
dlog_transport_main(Datum argument)
{
	NodeKey key;
	MemoryContext turn;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGCHLD, on_child_exit);
	BackgroundWorkerUnblockSignals();

	/* To no database; so that it is seen in pg_stat_activity. */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	node_key_ensure(&key);
	publish_key(&key);
	process_attach();
	transport_shared->worker_latch = MyLatch;
	before_shmem_exit(stop_at_exit, (Datum) 0);
	pg_atomic_write_u32(&transport_shared->is_reloading, 0);
	membership_publish_settings();
	membership_read_tags();

	/* The links of a worker before us, if any, and what it has found. */
	end_all_epochs();
	mdns_stop();
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "dlog transport");
	turn = AllocSetContextCreate(TopMemoryContext, "dlog transport turn", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(turn);

	while (!ShutdownRequestPending)
	{
		long timeout_ms;

		MemoryContextReset(turn);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		log_lines();
		reload_if_requested(&key);
		make_room_if_wanted();

		timeout_ms = sooner(keep_network(&key), mdns_keep());
		(void) WaitLatchOrSocket(MyLatch,
								 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
									 (timeout_ms >= 0 ? WL_TIMEOUT : 0) |
									 (mdns_socket() != PGINVALID_SOCKET ? WL_SOCKET_READABLE : 0),
								 mdns_socket(), timeout_ms, PG_WAIT_EXTENSION);
	}
	proc_exit(1);
}

/*
 * worker_request_reload
 *		Have the network process started afresh, and wait until it is back.
 */
void
worker_request_reload(void)
{
	uint32 request = pg_atomic_add_fetch_u32(&transport_shared->reload_requests, 1);
	Latch *latch = transport_shared->worker_latch;

	if (latch != NULL)
		SetLatch(latch);
	link_watch();
	PG_TRY();
	{
		while ((int32) (pg_atomic_read_u32(&transport_shared->reloads) - request) < 0 ||
			   pg_atomic_read_u32(&transport_shared->is_ready) == 0)
		{
			(void) runtime_wait(-1, PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		link_unwatch();
	}
	PG_END_TRY();
}

/*
 * worker_init
 *		Called once, in the postmaster.
 */
void
worker_init(void)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 1,
		.bgw_library_name = "dlog",
		.bgw_function_name = "dlog_transport_main",
		.bgw_name = "dlog transport",
		.bgw_type = "dlog transport",
	};

	RegisterBackgroundWorker(&worker);
}
