/*
 * measure.c
 *		Time, memory and wake-ups, of all processes of the server.
 *
 * The histogram's buckets are the 64th part of a power of two, so a quantile
 * is right to 1.6 %.
 */
#include "postgres.h"

#include <dirent.h>
#include <time.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "postmaster/bgworker.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

#include "bench.h"

extern PGDLLEXPORT void dlog_bench_echo_main(Datum argument);

int64
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000000) + now.tv_nsec;
}

/* -------------------------------------------------------------- histogram */

static int
bucket_of(uint64 ns)
{
	int power;

	if (ns < 2 * HISTOGRAM_STEPS)
		return ns;
	power = pg_leftmost_one_pos64(ns) - pg_leftmost_one_pos32(HISTOGRAM_STEPS);
	return Min(power * HISTOGRAM_STEPS + (ns >> power), HISTOGRAM_SIZE - 1);
}

static double
bucket_middle(int bucket)
{
	int power = bucket / HISTOGRAM_STEPS - 1;

	if (power < 1)
		return bucket;
	return (bucket - power * HISTOGRAM_STEPS + 0.5) * (UINT64CONST(1) << power);
}

void
histogram_add(int64 ns)
{
	pg_atomic_fetch_add_u64(&bench->histogram[bucket_of(Max(ns, 0))], 1);
}

void
histogram_clear(void)
{
	for (int i = 0; i < HISTOGRAM_SIZE; i++)
		pg_atomic_write_u64(&bench->histogram[i], 0);
}

/* In nanoseconds; 0 when nothing has been timed. */
double
histogram_quantile(double quantile)
{
	uint64 all = 0;
	uint64 below = 0;

	for (int i = 0; i < HISTOGRAM_SIZE; i++)
		all += pg_atomic_read_u64(&bench->histogram[i]);
	for (int i = 0; i < HISTOGRAM_SIZE && all > 0; i++)
	{
		below += pg_atomic_read_u64(&bench->histogram[i]);
		if (below >= quantile * all)
			return bucket_middle(i);
	}
	return 0;
}

/* -------------------------------------------------- the server's processes */

static pid_t
parent_of(pid_t pid)
{
	char path[MAXPGPATH];
	FILE *file;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	file = AllocateFile(path, "r");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %*c %d", &parent) != 1)
		parent = 0;
	FreeFile(file);
	return parent;
}

/* The postmaster, its children, and theirs (the network process). */
static bool
is_ours(pid_t pid)
{
	for (int generation = 0; generation < 3 && pid > 1; generation++)
	{
		if (pid == PostmasterPid)
			return true;
		pid = parent_of(pid);
	}
	return false;
}

static double
for_each_process(double (*measure)(pid_t))
{
	DIR *proc = AllocateDir("/proc");
	struct dirent *entry;
	double sum = 0;

	while ((entry = ReadDir(proc, "/proc")) != NULL)
	{
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && is_ours(pid))
			sum += measure(pid);
	}
	FreeDir(proc);
	return sum;
}

static double
pss_of(pid_t pid)
{
	char path[MAXPGPATH];
	char line[256];
	FILE *file;
	long kb = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int) pid);
	file = AllocateFile(path, "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
	{
		if (sscanf(line, "Pss: %ld kB", &kb) == 1)
			break;
	}
	if (file != NULL)
		FreeFile(file);
	return kb / 1024.0;
}

static double
cpu_of(pid_t pid)
{
	clockid_t clock;
	struct timespec used;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return 0;
	return used.tv_sec + used.tv_nsec / 1e9;
}

/* Each page is counted once, however many processes share it. */
double
memory_mb(void)
{
	return for_each_process(pss_of);
}

double
cpu_seconds(void)
{
	return for_each_process(cpu_of);
}

/* ---------------------------------------------------------------- wake-ups */

/* A worker that wakes us each time that we wake it. */
void
dlog_bench_echo_main(Datum argument)
{
	BackgroundWorkerUnblockSignals();
	bench->echo = MyLatch;
	SetLatch(bench->session);
	while (pg_atomic_read_u32(&bench->echo_ends) == 0)
	{
		if (pg_atomic_exchange_u32(&bench->echo_asked, 0) != 0)
			SetLatch(bench->session);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	bench->echo = NULL;
	SetLatch(bench->session);
}

static void
wait_for_echo(bool is_there)
{
	while ((*(Latch *volatile *) &bench->echo != NULL) != is_there)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
echo_start(void)
{
	BackgroundWorker worker = {
		.bgw_name = "dlog_bench echo",
		.bgw_type = "dlog_bench echo",
		.bgw_flags = BGWORKER_SHMEM_ACCESS,
		.bgw_start_time = BgWorkerStart_ConsistentState,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "dlog_bench",
		.bgw_function_name = "dlog_bench_echo_main",
	};

	bench->echo = NULL;
	pg_atomic_write_u32(&bench->echo_asked, 0);
	pg_atomic_write_u32(&bench->echo_ends, 0);
	if (!RegisterDynamicBackgroundWorker(&worker, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a background worker"),
				 errhint("Raise max_worker_processes.")));
	wait_for_echo(true);
}

void
echo_stop(void)
{
	Latch *echo = bench->echo;

	pg_atomic_write_u32(&bench->echo_ends, 1);
	if (echo == NULL)
		return;
	SetLatch(echo);
	wait_for_echo(false);
}

/* Nanoseconds until it, woken by us, has woken us: two wake-ups. */
int64
echo_once(void)
{
	int64 begun = now_ns();

	pg_atomic_write_u32(&bench->echo_asked, 1);
	SetLatch(bench->echo);
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (pg_atomic_read_u32(&bench->echo_asked) == 0)
			return now_ns() - begun;
		CHECK_FOR_INTERRUPTS();
	}
}
