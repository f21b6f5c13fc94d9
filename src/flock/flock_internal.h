/*
 * flock_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_FLOCK_INTERNAL_H
#define DLOG_FLOCK_INTERNAL_H

#include "executor/spi.h"

#include "flock/flock.h"
#include "transport/transport.h"

/* The flock that is there by itself. */
#define FLOCK_ALL "all"

/*
 * statement.c: statements over dlog's tables.  Between open and close they run
 * as who owns the tables, whoever asks, and names without a schema are
 * pg_catalog's.  An ERROR in between needs no close.
 */
typedef struct FlockScope
{
	Oid user;
	int security_context;
	int settings; /* nesting level of settings */
} FlockScope;

extern void flock_open(FlockScope *scope);
extern void flock_close(FlockScope *scope);

/* Parameters are texts, NULL for null; returns the rows, see SPI_tuptable. */
extern uint64 flock_run(const char *sql, int n_parameters, const char *const *parameters);
extern char *flock_column(uint64 row, int number);

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
