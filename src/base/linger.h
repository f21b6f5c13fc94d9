/*
 * linger.h
 *		Wait on the latch, awake for a moment first.
 */
#ifndef DLOG_LINGER_H
#define DLOG_LINGER_H

#include "port/atomics.h"

/* One for each kind of wait of a process; zero but for the first three. */
typedef struct Linger
{
	uint32 most_us;			   /* awake; 0: as long as a sleep costs */
	pg_atomic_uint32 *waiting; /* how many processes of the server do so, or NULL */
	uint32 most_waiting;	   /* when more do, all sleep */
	bool is_worth_it;		   /* the last wait was over within that time */
	uint32 skips;			   /* it is not tried so many times */
	uint32 penalty;			   /* that was so many when it failed last */
} Linger;

extern int linger_wait(Linger *linger, int events, long timeout_ms, uint32 wait_event_info);
extern void linger_give_way(Linger *linger);

#endif
