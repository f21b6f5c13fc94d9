/*
 * flock.h
 *		Flocks: named sets of nodes that change as nodes come and go.
 *
 * Words.  A *flock* is a row of dlog.flock: a name and the tags that its
 * members have.  Its *members* are those nodes of this database, this one
 * among them, that have these tags and are alive as far as membership knows; a
 * suspect still counts as alive.  The flock "all" is there by itself: every
 * node, alive or not, so that who asks it hears of each node that did not
 * answer.
 */
#ifndef DLOG_FLOCK_H
#define DLOG_FLOCK_H

#include "nodes/pg_list.h"

/*
 * The nodes of a flock as an integer list of indexes into the node table
 * (transport/transport.h), this one first if it is a member, the others by
 * name.  ERROR 42704 when there is no such flock.
 */
extern List *flock_nodes(const char *name);

/* dlog.c's table of contents */
extern void flock_init(void);

#endif
