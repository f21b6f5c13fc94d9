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
 */
#include "postgres.h"

#include <sched.h>

#include "miscadmin.h"
#include "storage/latch.h"

#include "base/clock.h"
#include "base/linger.h"

#define LINGER_US 100

/*
 * Who sets the latch of a process that is awake makes no system call.
 */
static bool
stay_awake(uint64 until_us)
{
	do
	{
		if (*(volatile sig_atomic_t *) &MyLatch->is_set)
			return true;
		(void) sched_yield();
	} while (clock_now_us() < until_us);
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
	uint64 began_us = clock_now_us();
	int happened;

	if (linger->is_worth_it && stay_awake(began_us + LINGER_US))
		return WL_LATCH_SET;
	happened = WaitLatch(MyLatch, events, timeout_ms, wait_event_info);
	linger->is_worth_it = (happened & WL_LATCH_SET) && clock_now_us() - began_us < LINGER_US;
	return happened;
}
