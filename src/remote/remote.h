/*
 * remote.h
 *		Statements that run on other nodes, for the session that asks.
 *
 * Words.  A *request* is a statement with its parameters, the asking role
 * and its settings.  It starts a *stream*: the statement at work on one other
 * node, as the asking session sees it.  The other side of a stream is an
 * executor actor bound to one of that node's schedulers.  Rows come in chunks
 * against credits; a stream holds at most its credits' worth of memory on
 * either side.
 *
 * A request that writes, and every request after one that wrote, or under
 * REPEATABLE READ and above, runs in the *remote transaction* of this
 * transaction on that node: one scheduler is pinned for it until we commit or
 * roll back (transaction.c).  Others run alone on whichever scheduler is free.
 *
 * Errors of the other node are raised here whole, with a context line that
 * names the node.
 */
#ifndef DLOG_REMOTE_H
#define DLOG_REMOTE_H

#include "executor/tuptable.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"
#include "utils/elog.h"
#include "utils/palloc.h"
#include "utils/snapshot.h"

#include "transport/transport.h"

/* The partitions of a partitioned table that a request is about. */
typedef struct RemoteTable
{
	const char *schema;
	const char *name; /* the partitioned table over there */
	List *partitions; /* C strings: names of its leaf partitions, in the
						 * same schema; all others are pruned */
} RemoteTable;

typedef enum RemoteKind
{
	REMOTE_QUERY,	/* one SELECT, INSERT, UPDATE, DELETE; may return rows */
	REMOTE_PARTIAL, /* one SELECT whose aggregates are left unfinished: it
					 * returns transition states (serialized if internal) */
	REMOTE_COUNTS,	/* one SELECT of counts, which are added up: it may return
					 * several rows of them */
	REMOTE_COPY,	/* rows are put into a table, see remote_put() */
	REMOTE_SCRIPT	/* any SQL, several statements; returns the rows of the
					 * last one that returns any, as text if result_desc is
					 * NULL */
} RemoteKind;

typedef struct RemoteRequest
{
	RemoteKind kind;
	const char *sql; /* parameters are $1 to $n; for REMOTE_COPY: unused */
	int n_params;
	const Oid *param_types;
	const Datum *param_values;
	const bool *param_nulls;

	List *tables; /* of RemoteTable; empty: nothing is pruned */

	/* REMOTE_COPY: the leaf table, its columns, and the partitioned table
	 * whose privileges count (NULL: its own) */
	const char *copy_schema;
	const char *copy_table;
	const char *copy_parent;
	List *copy_columns; /* C strings */

	bool writes;		   /* run it in this transaction's remote transaction */
	struct EState *estate; /* of the statement that it is a part of: there it sees
							* nothing that this has written; or NULL */
	bool any_search_path;  /* the text is the user's: run it under the asking
							* session's search_path instead of pg_catalog */
	int timeout_ms;		   /* 0: none */
	bool explains;		   /* and tell how it was run: remote_plan() */
	TupleDesc result_desc; /* columns to expect; others are refused (LG003).
							* REMOTE_COPY: those that are put; they
							* go as text if it is NULL */
} RemoteRequest;

typedef struct RemoteStream RemoteStream;

typedef enum RemoteStatus
{
	REMOTE_ROW,		/* the slot has the next row */
	REMOTE_PENDING, /* nothing here yet: remote_wait() */
	REMOTE_DONE,	/* all rows have been read and the statement succeeded */
	REMOTE_FAILED	/* only from remote_poll_error() */
} RemoteStatus;

/* What streams can tell; for EXPLAIN ANALYZE and the views. */
typedef struct RemoteStats
{
	uint64 rows;
	uint64 bytes;
	uint64 chunks;
	uint64 affected;   /* rows inserted, updated or deleted there */
	int ended;		   /* streams whose end has come; the others tell no times of theirs */
	double queued_ms;  /* there, from the request's arrival until it began to run */
	double run_ms;	   /* there, in planner and executor */
	double stalled_ms; /* there, waiting for our credits */
	double wire_ms;	   /* from remote_open() until its end had come, but for the time there */
	double waited_ms;  /* here, waiting for them */
	int attempts;
} RemoteStats;

/* view.c: a statement at work here, which reads other nodes' rows as they were */
struct EState;
typedef struct RemoteStatement
{
	dlist_node link; /* of all of them, by number */
	Snapshot snapshot;
	uint64 number;
	MemoryContextCallback on_end;
} RemoteStatement;

extern void remote_statement_begin(RemoteStatement *statement, struct EState *estate);

/* stream.c */
extern RemoteStream *remote_open(uint32 node, const RemoteRequest *request);
extern RemoteStatus remote_next(RemoteStream *stream, TupleTableSlot *slot);
extern RemoteStatus remote_next_or_error(RemoteStream *stream,
										 TupleTableSlot *slot,
										 ErrorData **error);
extern bool remote_is_in_transaction(void);
extern void remote_wait(void);						 /* until some stream moved */
extern bool remote_wait_until(TimestampTz deadline); /* false: it has passed */
extern void remote_close(RemoteStream *stream);
extern void remote_stats_add(RemoteStream *stream, RemoteStats *sum);
extern const char *remote_plan(RemoteStream *stream);
extern TupleDesc remote_columns(RemoteStream *stream, char ***types);
extern const char *remote_command_tag(RemoteStream *stream);

/* REMOTE_COPY: rows in the order of copy_columns; finish waits for the answer */
extern void remote_put(RemoteStream *stream, TupleTableSlot *slot);
extern uint64 remote_finish(RemoteStream *stream);

/*
 * remote_run: open, read to the end, close; returns the rows affected.
 * remote_run_text: the same, for a statement that returns one text value.
 */
extern uint64 remote_run(uint32 node, const RemoteRequest *request);
extern char *remote_run_text(uint32 node, const RemoteRequest *request);

/* partial.c: have a plan return its aggregates' states */
struct PlannedStmt;
extern void remote_leave_unfinished(struct PlannedStmt *stmt);

/* rows.c: do this type's values hold no oids of objects? */
extern bool type_is_raw_safe(Oid type);

/*
 * executor.c: while this process plans a request of another node; and if
 * that is for a subset of a table's partitions, the planner asks which.
 */
struct Query;
extern bool remote_is_planning(void);
extern bool remote_is_executing(void);
extern bool remote_counts_add_up(const struct Query *parse);
extern bool remote_prunes(Oid relation);

/*
 * What a higher layer (partition/actor.c) has to say about the partitions
 * that requests are about.  A pass is what it remembers of one of them.
 */
typedef struct RemotePass
{
	void *gate;
	uint32 generation;
} RemotePass;

typedef struct RemoteGatekeeper
{
	/* Must any request wait, that begins a session? */
	bool (*is_any_closed)(void);

	/*
	 * In a transaction: if this one must, which is about these partitions,
	 * take a copy of it, to send it again later.
	 */
	bool (*hand_over)(const Oid *partitions, int n, const Message *request);

	/* One that is about these begins; has ended, also by an error. */
	void (*begin)(const Oid *partitions, RemotePass *passes, int n);
	void (*end)(const RemotePass *passes, int n);
} RemoteGatekeeper;

extern const RemoteGatekeeper *remote_gatekeeper;

/* dlog.c's table of contents */
extern Size remote_shmem_size(void);
extern void remote_shmem_init(void);
extern void remote_init(void);

#endif
