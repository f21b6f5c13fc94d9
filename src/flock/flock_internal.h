/*
 * flock_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_FLOCK_INTERNAL_H
#define DLOG_FLOCK_INTERNAL_H

#include "base/statement.h"
#include "flock/flock.h"
#include "transport/transport.h"

/* The flock that is there by itself. */
#define FLOCK_ALL "all"

/* flock.c */
extern bool flock_exists(const char *name);
extern void flock_require(const char *name);

/* watch.c: compare who is a member with who was one, and tell. */
extern void watch_init(void);

/* sync.c */
extern void flock_sync_init(void);

/* source.c */

/* A node that was found somewhere. */
typedef struct Candidate
{
	char *address;
	int port;
	char *fingerprint; /* of its key; NULL: not told */
	char *cluster;	   /* likewise */
	const char *via;
} Candidate;

extern List *sources_ask(const char *sources, bool only_check);

/* discover.c */
extern void discover_init(void);

/* broadcast.c */
extern void broadcast_init(void);

#endif
