/*
 * statistics.c
 *		What kinds of native actors do, and how long it takes.
 *
 * Counters of each behavior, and histograms.  How long a handler runs is
 * measured for one message in SAMPLE_EVERY, chosen by who runs them, and
 * counted as often; so a sum of times is an estimate that gets better the
 * more there is to sum.  No locks: all counters only grow.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "runtime/runtime_internal.h"

typedef struct BehaviorCounters
{
	pg_atomic_uint64 spawned;
	pg_atomic_uint64 exited;
	pg_atomic_uint64 failed;  /* of them, by an error */
	pg_atomic_uint64 handled; /* messages, by those that have exited */
	pg_atomic_uint64 run_us;
	pg_atomic_uint64 histogram[HISTOGRAM_BUCKETS]; /* of handlers' times */
} BehaviorCounters;

typedef struct Statistics
{
	pg_atomic_uint64 asks[HISTOGRAM_BUCKETS]; /* of sessions, there and back */
	BehaviorCounters behavior[MAX_BEHAVIORS + 1];
} Statistics;

static Statistics *statistics;

/* Bucket i counts what took less than 2 to the i nanoseconds. */
static int
bucket(uint64 ns)
{
	int i = 0;

	while (i < HISTOGRAM_BUCKETS - 1 && ns >= (UINT64CONST(1) << i))
		i++;
	return i;
}

void
statistics_spawned(int behavior)
{
	pg_atomic_fetch_add_u64(&statistics->behavior[behavior].spawned, 1);
}

void
statistics_exited(int behavior, uint64 handled, bool has_failed)
{
	BehaviorCounters *counters = &statistics->behavior[behavior];

	pg_atomic_fetch_add_u64(&counters->exited, 1);
	pg_atomic_fetch_add_u64(&counters->handled, handled);
	if (has_failed)
		pg_atomic_fetch_add_u64(&counters->failed, 1);
}

/* A handler took so long; it stands for SAMPLE_EVERY messages. */
void
statistics_sampled(int behavior, uint64 ns)
{
	BehaviorCounters *counters = &statistics->behavior[behavior];

	pg_atomic_fetch_add_u64(&counters->run_us, ns * SAMPLE_EVERY / 1000);
	pg_atomic_fetch_add_u64(&counters->histogram[bucket(ns)], SAMPLE_EVERY);
}

/* A session got an answer. */
void
statistics_asked(uint64 ns)
{
	pg_atomic_fetch_add_u64(&statistics->asks[bucket(ns)], 1);
}

void
statistics_read(int behavior, BehaviorStatistics *result)
{
	BehaviorCounters *counters = &statistics->behavior[behavior];

	result->exited = pg_atomic_read_u64(&counters->exited);
	result->spawned = pg_atomic_read_u64(&counters->spawned);
	result->failed = pg_atomic_read_u64(&counters->failed);
	result->handled = pg_atomic_read_u64(&counters->handled);
	result->run_us = pg_atomic_read_u64(&counters->run_us);
}

/* A bucket's count, of a behavior or (0) of asks. */
uint64
statistics_histogram(int behavior, int i)
{
	return pg_atomic_read_u64(behavior == 0 ? &statistics->asks[i] : &statistics->behavior[behavior].histogram[i]);
}

/* ---------------------------------------------------------- shared memory */

Size
statistics_shmem_size(void)
{
	return sizeof(Statistics);
}

void
statistics_shmem_init(void)
{
	bool found;
	int i;
	int j;

	statistics = ShmemInitStruct("dlog statistics", statistics_shmem_size(), &found);
	if (found)
		return;
	for (j = 0; j < HISTOGRAM_BUCKETS; j++)
		pg_atomic_init_u64(&statistics->asks[j], 0);
	for (i = 0; i <= MAX_BEHAVIORS; i++)
	{
		BehaviorCounters *counters = &statistics->behavior[i];

		pg_atomic_init_u64(&counters->spawned, 0);
		pg_atomic_init_u64(&counters->exited, 0);
		pg_atomic_init_u64(&counters->failed, 0);
		pg_atomic_init_u64(&counters->handled, 0);
		pg_atomic_init_u64(&counters->run_us, 0);
		for (j = 0; j < HISTOGRAM_BUCKETS; j++)
			pg_atomic_init_u64(&counters->histogram[j], 0);
	}
}
