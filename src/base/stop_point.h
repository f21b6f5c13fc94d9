/*
 * stop_point.h
 *		Named places where a test can hold a process, or make it fail.
 *
 * Compiled in only with -DDLOG_STOP_POINTS (make COPT=..., see `make help`);
 * otherwise STOP_POINT() is nothing.  A test arms a point with
 * dlog.stop_point_arm('name', 'wait' | 'hold' | 'error' | 'crash'), waits until
 * a process has reached it, and lets it go with dlog.stop_point_release('name').
 * Who waits can be terminated there; who is held learns of it afterwards, as it
 * would if the signal had come in the middle of what it does.
 */
#ifndef DLOG_STOP_POINT_H
#define DLOG_STOP_POINT_H

#ifdef DLOG_STOP_POINTS
extern void stop_point_reached(const char *name);
#define STOP_POINT(name) stop_point_reached(name)
#else
#define STOP_POINT(name) ((void) 0)
#endif

extern Size stop_point_shmem_size(void);
extern void stop_point_shmem_init(void);

#endif
