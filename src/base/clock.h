/*
 * clock.h
 *		Time, as monotonic microseconds since some moment of this machine.
 *
 * What must run on a fake clock in tests takes a Clock; all else calls
 * clock_now_us().
 */
#ifndef DLOG_CLOCK_H
#define DLOG_CLOCK_H

#include <time.h>

typedef struct Clock
{
	uint64 (*now_us)(void *state);
	void *state;
} Clock;

static inline uint64
clock_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

#endif
