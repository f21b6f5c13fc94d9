/*
 * supervision.h
 *		Supervisors: actors that start, watch, restart and stop others.
 *
 * Words.  A *supervisor* has *children*, each of which a *child spec*
 * describes: what to start, when to restart it, how long it may take to stop.
 * Its *strategy* says whom one child's failure concerns.  Supervisors are
 * children of supervisors; together they are a *supervision tree*.
 */
#ifndef DLOG_SUPERVISION_H
#define DLOG_SUPERVISION_H

/* dlog.c's table of contents */
extern Size supervision_shmem_size(void);
extern void supervision_shmem_init(void);
extern void supervision_init(void);

#endif
