/*
 * measure.h
 *		What the rivals in C and C++ share: a clock, a histogram of round trips,
 *		the memory of this process, and runs that are as long as was asked.
 *
 * A *run* of a case does about as many operations as it is told, checks that
 * they all happened, and says how many there were and how long they took.  An
 * operation is a message of an actor that another has handled; those that
 * start a run are none.
 */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* One message, or round trip, in so many is timed. */
#define SAMPLE_EVERY 64
#define LATENCY_SAMPLE_EVERY 16

/* The sizes of the cases, the same for every system. */
#define PAIRS 1000
#define CHUNK 1000 /* counting: messages that are acknowledged together */
#define CHUNKS_IN_FLIGHT 4
#define WORKERS 60 /* fork_join */
#define MESSAGES_PER_WORKER 100
#define ROUNDS_IN_FLIGHT 2
#define RING 100
#define BIG 120
#define CREATURES 100 /* chameneos */
#define PRODUCERS 1000 /* fan_in */
#define PRODUCER_CHUNK 100
#define PRODUCER_CHUNKS_IN_FLIGHT 2
#define LATENCY_IN_FLIGHT 5000

static inline uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * 1000000000u + t.tv_nsec;
}

static inline uint64_t
random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* One of n, but not this one. */
static inline uint32_t
random_other(uint64_t *state, uint32_t n, uint32_t me)
{
	uint32_t other = (uint32_t) ((random_next(state) >> 32) * (n - 1) >> 32);

	return other < me ? other : other + 1;
}

/* When a message was sent that is the nth, if it is one to be timed, or 0. */
static inline uint64_t
time_of_nth(uint64_t n, uint64_t every)
{
	return n % every == 0 ? now_ns() : 0;
}

/* Eight buckets for each power of two of nanoseconds. */
#define BUCKETS (61 * 8)
static uint64_t histogram[BUCKETS];

/* A message that was sent then has arrived; 0: it is not timed. */
static inline void
histogram_add(uint64_t sent_at)
{
	uint64_t ns = sent_at != 0 ? now_ns() - sent_at : 0;
	int power = 63 - __builtin_clzll(ns | 8);
	int bucket = (power - 3) * 8 + (int) (ns >> (power - 3) & 7);

	if (sent_at != 0)
		__atomic_fetch_add(&histogram[bucket], 1, __ATOMIC_RELAXED);
}

/* In microseconds, or negative when nothing was timed. */
static inline double
histogram_percentile(double part)
{
	uint64_t all = 0;
	uint64_t below = 0;
	int i;

	for (i = 0; i < BUCKETS; i++)
		all += histogram[i];
	for (i = 0; i < BUCKETS && all > 0; i++)
	{
		below += histogram[i];
		if (below >= all * part)
			return (double) ((uint64_t) (8 + i % 8) << i / 8) / 1000;
	}
	return -1;
}

static inline long
pss_kb(void)
{
	char line[256];
	long kb = 0;
	FILE *file = fopen("/proc/self/smaps_rollup", "r");

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "Pss:", 4) == 0)
			kb = atol(line + 4);
	if (file != NULL)
		fclose(file);
	return kb;
}

/* Of all threads, in seconds. */
static inline double
cpu_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
		   (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

typedef struct Run
{
	uint64_t operations;
	double seconds;
	double cpu_seconds;
	long pss_kb; /* while its actors lived */
} Run;

static inline Run
run_begin(uint64_t operations)
{
	Run run = {operations, now_ns() / -1e9, -cpu_now(), 0};

	return run;
}

/* All is done, and its actors are still there. */
static inline void
run_end(Run *run)
{
	run->seconds += now_ns() / 1e9;
	run->cpu_seconds += cpu_now();
	run->pss_kb = pss_kb();
}

typedef Run (*Case)(uint64_t operations, uint32_t actors);

static inline void
fail(const char *what, uint64_t expected, uint64_t found)
{
	fprintf(stderr, "%s: %lu were expected, there are %lu\n", what,
			(unsigned long) expected, (unsigned long) found);
	exit(1);
}

/* Run a case, longer each time, until it takes about so long; print the last. */
static inline void
measure(Case run, double seconds, uint32_t actors)
{
	uint64_t operations = 10000;
	Run last;

	for (;;)
	{
		double more;

		memset(histogram, 0, sizeof(histogram));
		last = run(operations, actors);
		if (last.seconds >= seconds / 2)
			break;
		more = seconds / (last.seconds > 1e-6 ? last.seconds : 1e-6);
		operations = last.operations * (more > 30 ? 30 : more < 2 ? 2 : more);
	}
	printf("million_per_second=%.4f p50_us=%.1f p99_us=%.1f memory_mb=%.1f cpu_ns_per_op=%.1f\n",
		   last.operations / last.seconds / 1e6, histogram_percentile(0.5), histogram_percentile(0.99),
		   last.pss_kb / 1024.0, last.cpu_seconds * 1e9 / last.operations);
}

#endif
