/*
 * handler_clock.c
 *		A clock that ticks while batches run.
 *
 * It cancels a handler that has run for too long, also where it waits for a
 * lock, and says that this scheduler is busy if one runs for longer than
 * others should wait.
 *
 * The variables are this process's, and those that the tick, a signal handler,
 * looks at are volatile.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "actor/actor_internal.h"

#define TICK_MS 10
/* A handler that runs for so long keeps its scheduler from other work. */
#define BUSY_TICKS 3
/*
 * A handler that goes on although it was cancelled is cancelled again, and in
 * the end its scheduler is terminated, which is the end of its actor.
 */
#define CANCEL_TICKS 50
#define PATIENCE_TICKS 200

static TimeoutId tick_timeout;
static volatile bool in_handler = false;
static volatile bool is_active = false; /* counts among the pool's */
static volatile bool is_timed_out = false;
static volatile uint32 handler_number = 0;
static volatile int handler_timeout_ms = 0;
static uint32 tick_number;
static int ticks;
static int ignored_ticks; /* since it was first cancelled */

/* Called in a signal handler: has somebody killed the actor at work? */
static bool
is_killed(void)
{
	return in_handler && sql_actor_is_killed(current_turn->actor);
}

static void
tick(void)
{
	if (!in_handler || tick_number != handler_number)
	{
		tick_number = handler_number;
		ticks = 0;
		ignored_ticks = 0;
		return;
	}
	ticks++;
	if (handler_timeout_ms > 0 && ticks * TICK_MS >= handler_timeout_ms)
		is_timed_out = true;
	if (is_timed_out || is_killed())
	{
		/* A handler can catch the cancellation, but not for ever. */
		if (ignored_ticks++ % CANCEL_TICKS == 0)
			QueryCancelPending = true;
		if (ignored_ticks > PATIENCE_TICKS)
			ProcDiePending = true;
		InterruptPending = true;
		SetLatch(MyLatch);
	}
	if (ticks >= BUSY_TICKS && is_active)
	{
		is_active = false;
		pool_leave(batch.database);
		pool_give_back(batch.database);
		runtime_scheduler_is_busy(true);
		if (pool_has_work(batch.database))
			pool_wake(batch.database);
	}
}

/*
 * handler_begins
 *		One runs from now on, for so long at most; 0: as long as it likes.
 */
void
handler_begins(int timeout_ms)
{
	handler_timeout_ms = timeout_ms;
	handler_number++;
	in_handler = true;
}

/* A cancellation that came too late is forgotten. */
void
handler_is_over(void)
{
	in_handler = false;
	if (is_timed_out)
	{
		is_timed_out = false;
		QueryCancelPending = false;
	}
	if (!is_active)
	{
		pool_enter(batch.database);
		is_active = true;
		runtime_scheduler_is_busy(false);
	}
}

bool
handler_runs(void)
{
	return in_handler;
}

/*
 * handler_has_failed
 *		None runs any more, if one did; handler_is_over() is still to come.
 *		True: its time was over.
 */
bool
handler_has_failed(void)
{
	in_handler = false;
	return is_timed_out;
}

/*
 * handler_clock_start
 *		This scheduler looks into the pool of batch.database.
 */
void
handler_clock_start(void)
{
	pool_enter(batch.database);
	is_active = true;
	enable_timeout_every(tick_timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TICK_MS), TICK_MS);
}

void
handler_clock_stop(void)
{
	disable_timeout(tick_timeout, false);
	is_active = false;
	pool_leave(batch.database);
	pool_give_back(batch.database);
}

/* The scheduler exits. */
void
handler_clock_leave(int database)
{
	if (is_active)
		pool_leave(database);
	is_active = false;
}

/* Once in a process. */
void
handler_clock_prepare(void)
{
	tick_timeout = RegisterTimeout(USER_TIMEOUT, tick);
	process_take_interrupts(is_killed);
}
