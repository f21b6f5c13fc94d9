/*
 * linger.c
 *		Wait on the latch, awake for a moment first.
 *
 * To put a process to sleep and wake it again takes tens of microseconds,
 * more than many an actor takes to answer.  So who was woken just after it had
 * fallen asleep stays awake the next time, for as long as a sleep would have
 * cost, and lets others run meanwhile.  When that was in vain it sleeps again
 * at once: what it costs is bounded, and a process at rest sleeps.  (The idea
 * is that of adaptive mutexes: Karlin, Li, Manasse, Owicki, "Empirical studies
 * of competitive spinning for a shared-memory multiprocessor", 1991.)
 *
 * An answer of another node passes through several processes, each of which
 * would find a processor asleep and wait until it is awake.  Who waits for one
 * keeps its own processor awake for them, which is worth more than its own
 * wake-up.  It is so only where processors would sleep: where many wait there
 * is work for all of them.
 *
 * Who gives way on a processor that others want loses its time slice, which is
 * milliseconds.  Where that happens it is not done again for a while, which
 * doubles each time.
 */
#include "postgres.h"

#include <sched.h>

#include "miscadmin.h"
#include "storage/latch.h"

#include "base/clock.h"
#include "base/linger.h"

#define LINGER_US 100
#define SLICE_US 1000 /* less than a slice, more than those take who are woken */
#define MOST_SKIPPED 1024

static bool
is_crowded(const Linger *linger)
{
	return linger->waiting != NULL && pg_atomic_read_u32(linger->waiting) > linger->most_waiting;
}

/* Is it to be tried this time? */
static bool
may_try(Linger *linger)
{
	if (linger->skips == 0)
		return true;
	linger->skips--;
	return false;
}

/* It was tried, and was soon over or not. */
static void
learn(Linger *linger, bool was_soon)
{
	if (was_soon)
		linger->penalty /= 2;
	else
		linger->skips = linger->penalty = Min(linger->penalty * 2 + 1, MOST_SKIPPED);
}

/*
 * Who sets the latch of a process that is awake makes no system call.
 */
static bool
stay_awake(const Linger *linger, uint64 until_us)
{
	while (!is_crowded(linger))
	{
		if (*(volatile sig_atomic_t *) &MyLatch->is_set)
			return true;
		if (clock_now_us() >= until_us)
			break;
		(void) sched_yield();
	}
	return false;
}

/*
 * linger_wait
 *		WaitLatch() on this process's latch, with those events, timeout in
 *		milliseconds and result.
 */
int
linger_wait(Linger *linger, int events, long timeout_ms, uint32 wait_event_info)
{
	uint32 most_us = linger->most_us != 0 ? linger->most_us : LINGER_US;
	uint64 began_us = clock_now_us();
	int happened = WL_LATCH_SET;
	bool is_tried;

	if (linger->waiting != NULL)
		pg_atomic_fetch_add_u32(linger->waiting, 1);
	is_tried = linger->is_worth_it && !is_crowded(linger) && may_try(linger);
	if (!is_tried || !stay_awake(linger, began_us + most_us))
		happened = WaitLatch(MyLatch, events, timeout_ms, wait_event_info);
	if (linger->waiting != NULL)
		pg_atomic_fetch_sub_u32(linger->waiting, 1);

	linger->is_worth_it = (happened & WL_LATCH_SET) && clock_now_us() - began_us < most_us;
	if (is_tried)
		learn(linger, linger->is_worth_it);
	return happened;
}

/*
 * linger_give_way
 *		Let those run first whom this process has just woken, as they may wait
 *		for its processor.  When many wait, nobody does.
 */
void
linger_give_way(Linger *linger)
{
	uint64 began_us = clock_now_us();

	if (is_crowded(linger) || !may_try(linger))
		return;
	(void) sched_yield();
	learn(linger, clock_now_us() - began_us < SLICE_US);
}
