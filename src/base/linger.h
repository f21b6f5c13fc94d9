/*
 * linger.h
 *		Wait on the latch, awake for a moment first.
 */
#ifndef DLOG_LINGER_H
#define DLOG_LINGER_H

/* One for each kind of wait of a process.  Zero to begin with. */
typedef struct Linger
{
	bool is_worth_it; /* the last wait was over as soon as that */
} Linger;

extern int linger_wait(Linger *linger, int events, long timeout_ms, uint32 wait_event_info);

#endif
