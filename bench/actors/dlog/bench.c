/*
 * bench.c
 *		dlog.bench(): runs a workload, checks it and measures it.
 *
 * What actors share lies in shared memory of our own, which belongs to one
 * run at a time.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "bench.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

PG_FUNCTION_INFO_V1(dlog_bench);

Bench *bench;

static shmem_request_hook_type previous_request_hook;
static shmem_startup_hook_type previous_startup_hook;

/* ---------------------------------------------------------- shared memory */

static uint32
max_peers(void)
{
	const char *max_actors = GetConfigOption("dlog.max_actors", true, false);

	return max_actors != NULL ? atoi(max_actors) : 0;
}

static Size
bench_size(void)
{
	return offsetof(Bench, peer) + (Size) max_peers() * sizeof(Peer);
}

static void
request_memory(void)
{
	if (previous_request_hook != NULL)
		previous_request_hook();
	RequestAddinShmemSpace(bench_size() + PG_CACHE_LINE_SIZE);
}

static void
set_up_memory(void)
{
	bool found;

	if (previous_startup_hook != NULL)
		previous_startup_hook();
	bench = (Bench *) CACHELINEALIGN(ShmemInitStruct("dlog_bench", bench_size() + PG_CACHE_LINE_SIZE, &found));
	if (found)
		return;
	memset(bench, 0, offsetof(Bench, peer));
	bench->max_peers = max_peers();
}

void
_PG_init(void)
{
	workloads_register();
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = set_up_memory;
}

/* -------------------------------------------------------------------- a run */

typedef struct Measured
{
	double seconds;
	double memory;
	double cpu;
	double two_wakeups; /* ns; 0: not measured */
} Measured;

static void
wait_until(bool (*is_so)(void))
{
	while (!is_so())
	{
		if (pg_atomic_read_u32(&bench->failed) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("the workload has failed"),
					 errdetail("An actor says: %s.", bench->failure)));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static bool
have_finished(void)
{
	return pg_atomic_read_u32(&bench->unfinished) == 0 && bench->ended_ns != 0;
}

static bool
have_stopped(void)
{
	return pg_atomic_read_u32(&bench->stopped) == bench->n_peers;
}

static void
expect(const char *what, int64 wanted, uint64 got)
{
	if ((uint64) wanted != got)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the workload's %s is wrong", what),
				 errdetail("It is " UINT64_FORMAT " and should be " INT64_FORMAT ".", got, wanted)));
}

static int
compare_ns(const void *a, const void *b)
{
	return *(const int64 *) a < *(const int64 *) b ? -1 : *(const int64 *) a > *(const int64 *) b;
}

/* A session asks; every now and then two processes wake each other instead. */
#define ASKS_AT_ONCE 100
#define ECHOES_AT_ONCE 20

static void
run_asks(DlogSession *session, Measured *result)
{
	int64 *echoes = palloc(sizeof(int64) * (bench->rounds / ASKS_AT_ONCE + 1) * ECHOES_AT_ONCE);
	int64 n_echoes = 0;
	int64 asking = 0;

	echo_start();
	for (int64 i = 0; i < bench->rounds; i++)
	{
		int64 ns;

		if (i % ASKS_AT_ONCE == 0)
		{
			for (int k = 0; k < ECHOES_AT_ONCE; k++)
				echoes[n_echoes++] = echo_once();
		}
		ns = workload_ask_once(session, i);
		histogram_add(ns);
		asking += ns;
	}
	echo_stop();
	pg_atomic_fetch_add_u64(&bench->received, bench->rounds); /* the answers */
	qsort(echoes, n_echoes, sizeof(int64), compare_ns);
	result->two_wakeups = echoes[n_echoes / 2];
	result->seconds = asking / 1e9;
}

static void
run(const Workload *workload, DlogSession *session, uint32 actors, Measured *result)
{
	double cpu;

	workload_set_up(workload, session, actors);
	cpu = cpu_seconds();
	if (strcmp(workload->name, "session_ask") == 0)
		run_asks(session, result);
	else
	{
		workload_start(session);
		wait_until(have_finished);
		result->seconds = (bench->ended_ns - bench->begun_ns) / 1e9;
	}
	result->cpu = cpu_seconds() - cpu;
	result->memory = memory_mb();
	workload_stop(session);
	wait_until(have_stopped);
	expect("number of messages", workload->operations(), pg_atomic_read_u64(&bench->received));
	if (workload->sum != NULL)
		expect("sum", workload->sum(), pg_atomic_read_u64(&bench->sum));
}

static void
run_or_abandon(const Workload *workload, DlogSession *session, uint32 actors, Measured *result)
{
	PG_TRY();
	{
		run(workload, session, actors, result);
	}
	PG_CATCH();
	{
		pg_atomic_write_u32(&bench->echo_ends, 1);
		if (bench->echo != NULL)
			SetLatch(bench->echo);
		workload_abandon(session);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---------------------------------------------------------------------- SQL */

static int64
argument(FunctionCallInfo fcinfo, int number, const char *name, int64 usual, int64 least, int64 most)
{
	int64 value = PG_ARGISNULL(number) ? usual : PG_GETARG_INT64(number);

	if (value < least || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be between " INT64_FORMAT " and " INT64_FORMAT, name, least, most)));
	return value;
}

/* Only one run at a time, until the transaction ends. */
static void
lock_bench(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0x64, 0x6c6f67, 3);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static const Workload *
workload_argument(FunctionCallInfo fcinfo)
{
	const Workload *workload = PG_ARGISNULL(0) ? NULL : workload_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (bench == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dlog_bench must be loaded when the server starts"),
				 errhint("Add it to shared_preload_libraries and restart the server.")));
	if (workload == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no such workload"),
				 errhint("There are: %s.", workload_names())));
	return workload;
}

static Datum
result_row(FunctionCallInfo fcinfo, const Workload *workload, const Measured *result)
{
	TupleDesc descriptor;
	Datum values[10];
	bool nulls[10] = {false};
	double operations = workload->operations();

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE || descriptor->natts != lengthof(values))
		elog(ERROR, "dlog.bench has other result columns");
	values[0] = CStringGetTextDatum(workload->name);
	values[1] = Int64GetDatum(bench->n_peers);
	values[2] = Int64GetDatum((int64) operations);
	values[3] = Float8GetDatum(result->seconds);
	values[4] = Float8GetDatum(operations / result->seconds / 1e6);
	values[5] = Float8GetDatum(histogram_quantile(0.5) / 1e3);
	values[6] = Float8GetDatum(histogram_quantile(0.99) / 1e3);
	values[7] = Float8GetDatum(result->memory);
	values[8] = Float8GetDatum(result->cpu);
	values[9] = Float8GetDatum(result->two_wakeups / 1e3);
	nulls[9] = result->two_wakeups == 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}

Datum
dlog_bench(PG_FUNCTION_ARGS)
{
	const Workload *workload = workload_argument(fcinfo);
	DlogSession *session = dlog_session();
	Measured result = {0};
	int64 actors = argument(fcinfo, 1, "actors", workload->actors, Min(workload->actors, 2), bench->max_peers / 2 * 2 - 2);
	int64 in_flight = argument(fcinfo, 2, "in_flight", workload->in_flight, 1, INT_MAX);
	int64 rounds = argument(fcinfo, 3, "rounds", workload->rounds, 1, INT_MAX);

	lock_bench();
	memset(bench, 0, offsetof(Bench, max_peers));
	bench->in_flight = in_flight;
	bench->rounds = rounds;
	bench->chunk = workload->chunk;
	bench->sample_every = workload->sample_every;
	bench->session = MyLatch;
	run_or_abandon(workload, session, actors, &result);
	return result_row(fcinfo, workload, &result);
}
