/*
 * bench.h
 *		The workloads of bench/actors as native actors of dlog.
 *
 * Words.  A *workload* is a fixed number of messages between actors.  Its
 * *peers* are all actors of a run, in an array that actors find each other by.
 * An actor *finishes* when it has got the last message that it waits for; the
 * run is over when all have that are to.  Then each is told to stop, and adds
 * what it has counted to the *sums* that the workload's formulas must give.
 */
#ifndef DLOG_BENCH_H
#define DLOG_BENCH_H

#include "port/atomics.h"
#include "storage/latch.h"

#include "dlog/actor.h"

/* An address of this node, in eight bytes. */
typedef struct Peer
{
	uint32 slot;
	uint32 incarnation;
} Peer;

#define HISTOGRAM_STEPS 64 /* of each power of two */
#define HISTOGRAM_SIZE (40 * HISTOGRAM_STEPS)

typedef struct Bench
{
	/* written by the session before the first message, and then read */
	uint32 n_peers;
	uint32 n_starts; /* peers that are started: each n_peers / n_starts'th */
	uint32 n_askers; /* the first so many */
	bool is_flood;	 /* producers are not what is timed */
	uint32 in_flight;
	uint32 at_once; /* questions that each who is started has in flight */
	uint32 chunk;
	int64 rounds;
	uint32 sample_every;
	Latch *session;
	Peer starter;
	/* written by the actor that starts the others */
	int64 begun_ns;
	/* by whoever finishes last */
	pg_attribute_aligned(64) pg_atomic_uint32 unfinished;
	volatile int64 ended_ns;
	pg_atomic_uint32 failed; /* an actor says that something is wrong */
	char failure[64];		 /* what, by who was first */
	/* by all, when they stop */
	pg_atomic_uint32 stopped;
	pg_atomic_uint64 received;
	pg_atomic_uint64 sum;
	/* latencies, in ns; see measure.c */
	pg_atomic_uint64 histogram[HISTOGRAM_SIZE];
	/* two processes that wake each other; see measure.c */
	Latch *echo;
	pg_atomic_uint32 echo_asked;
	pg_atomic_uint32 echo_ends;
	uint32 max_peers; /* never changes after start */
	Peer peer[FLEXIBLE_ARRAY_MEMBER];
} Bench;

extern Bench *bench;

typedef struct Workload
{
	const char *name;
	int64 actors;
	int64 in_flight; /* chunks of a producer, rounds of forks, or questions */
	int64 rounds;
	uint32 chunk;
	uint32 sample_every; /* messages, of which one is timed */
	void (*set_up)(DlogSession *session, uint32 actors);
	int64 (*operations)(void);
	int64 (*sum)(void); /* NULL: there is none */
} Workload;

/* workloads.c */
#define REASON_ABANDONED "abandoned"

extern void workloads_register(void);
extern const Workload *workload_find(const char *name);
extern char *workload_names(void);
extern void workload_set_up(const Workload *workload, DlogSession *session, uint32 actors);
extern void workload_start(DlogSession *session);
extern void workload_stop(DlogSession *session);
extern void workload_abandon(DlogSession *session);
extern int64 workload_ask_once(DlogSession *session, int64 number);

/* measure.c */
extern int64 now_ns(void);
extern void histogram_add(int64 ns);
extern double histogram_quantile(double quantile);
extern void histogram_clear(void);
extern double memory_mb(void);
extern double cpu_seconds(void);
extern void echo_start(void);
extern void echo_stop(void);
extern int64 echo_once(void);

#endif
