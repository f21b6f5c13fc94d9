/*
 * remote_internal.h
 *		What the files of remote/ share.  See remote.h for the words.
 *
 * The asking side is stream.c and transaction.c; the executing side is
 * session.c, executor.c, plans.c, partial.c and copy.c.  Between them stand
 * statement.c (what travels in a request), rows.c (what comes back) and
 * failure.c (what may come instead).
 */
#ifndef DLOG_REMOTE_INTERNAL_H
#define DLOG_REMOTE_INTERNAL_H

#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "nodes/params.h"
#include "nodes/plannodes.h"
#include "tcop/cmdtag.h"
#include "tcop/dest.h"
#include "utils/portal.h"
#include "utils/tuplestore.h"

#include "remote/remote.h"

/* --- rows.c: rows as bytes ---------------------------------------------- */

/*
 * How one column of a row travels when the row is not raw.  The asking side
 * chooses, and says so in its request.
 */
typedef enum ColumnForm
{
	COLUMN_BINARY = 'b',
	COLUMN_TEXT = 't'
} ColumnForm;

extern ColumnForm type_form(Oid type);

/* How rows of one shape are written or read, column by column. */
typedef struct RowFormat
{
	int n_columns;
	ColumnForm *forms;
	FmgrInfo *functions; /* send, receive, output or input functions */
	Oid *io_params;		 /* reading only */
	int32 *typmods;		 /* reading only */
	bool *is_varlena;
	bool has_fixed_rules; /* some go as text, to be read by their input function */
} RowFormat;

extern RowFormat *row_format_for_writing(TupleDesc desc, const ColumnForm *forms);
extern RowFormat *row_format_for_reading(TupleDesc desc, const ColumnForm *forms);
extern void row_format_append(RowFormat *format, StringInfo out,
							  TupleTableSlot *slot);
extern void value_append(StringInfo out, Oid type, ColumnForm form, Datum value);
extern Datum value_read(Oid type, ColumnForm form, StringInfo in);

typedef enum ChunkFlags
{
	CHUNK_RAW = 1 /* rows are minimal tuples, else column by column */
} ChunkFlags;

/*
 * Fills chunks with rows and sends them against credits.  A row for which
 * the credits do not suffice waits in "pending".
 */
typedef struct RowWriter
{
	ActorAddress to;
	ActorAddress from;
	MemoryContext context; /* lives as long as the writer */
	MemoryContext row_context;
	bool raw;
	RowFormat *format; /* if not raw */
	uint32 credits;
	Message *chunk; /* being filled; a credit has been spent for it */
	Size used;
	Size capacity;
	uint32 rows_in_chunk;
	uint64 chunk_since_us;
	Size next_capacity;
	StringInfoData pending; /* bytes of a row that found no credit */
	Size pending_at;
	bool has_pending;
	uint32 sequence;
	uint64 rows;
	uint64 bytes;
	bool asker_is_gone; /* a chunk could not be delivered */
} RowWriter;

extern void row_writer_init(RowWriter *writer, ActorAddress to,
							ActorAddress from, bool raw, RowFormat *format,
							uint32 credits);
extern bool row_writer_put(RowWriter *writer, TupleTableSlot *slot);
extern bool row_writer_continue(RowWriter *writer);
extern void row_writer_flush(RowWriter *writer);
extern void row_writer_end(RowWriter *writer);

/* Takes rows out of chunks. */
typedef struct RowReader
{
	TupleDesc desc;
	RowFormat *format;
	MemoryContext context;
	MemoryContext row_context; /* the values of the row that was read last */
	Message *chunk;			   /* the row read last may point into it */
	const char *at;
	Size left;
	bool raw;
	StringInfoData partial; /* a row that was cut, as far as it has come */
	bool partial_is_open;	/* and more of it is to come */
	uint32 next_sequence;
} RowReader;

extern void row_reader_init(RowReader *reader, TupleDesc desc, RowFormat *format);
extern void row_reader_feed(RowReader *reader, Message *chunk);
extern bool row_reader_next(RowReader *reader, TupleTableSlot *slot);
extern bool row_reader_in_midrow(RowReader *reader);
extern void row_reader_end(RowReader *reader);

/*
 * Send and receive functions speak the client's encoding.  While rows travel
 * that must be the asking database's.  Returns what to give to _leave().
 */
extern int encoding_enter(int encoding);
extern void encoding_leave(int previous);

/*
 * What goes as text names its objects with their schemas and loses no digits,
 * whatever the session's settings.  An error undoes it with the transaction.
 */
extern int text_rules_begin(void);
extern void text_rules_end(int nest_level);

/* --- statement.c: what a request says ------------------------------------ */

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

/*
 * What makes two requests the same statement, so that they can share a plan:
 * everything but the values of parameters and the circumstances of the run.
 */
typedef struct Statement
{
	RemoteKind kind;
	bool is_pinned;		 /* it runs in pieces, so without parallel workers */
	bool wants_raw;		 /* the asking side allows raw rows */
	bool has_columns;	 /* result_desc was given */
	bool has_user_types; /* among those that it names */
	uint32 server_version;
	uint32 encoding; /* of the asking database */
	const char *architecture;
	const char *role;
	const char *session_user;
	bool is_restricted; /* SECURITY_RESTRICTED_OPERATION holds there */
	const char *sql;
	List *settings; /* of Setting */
	int n_params;
	Oid *param_types;
	ColumnForm *param_forms;
	List *tables; /* of RemoteTable */
	const char *copy_schema;
	const char *copy_table;
	const char *copy_parent;
	List *copy_columns; /* C strings */
	ColumnForm copy_form;
	int n_columns;
	TupleDesc result_desc;
	ColumnForm *column_forms;
} Statement;

/* The circumstances of one run. */
typedef struct StatementRun
{
	const char *application_name;
	ParamListInfo params;
} StatementRun;

extern void statement_write(StringInfo out, const RemoteRequest *request,
							bool is_pinned, const ColumnForm *column_forms,
							ColumnForm copy_form);
extern Statement *statement_read(StringInfo in);
extern void run_write(StringInfo out, const RemoteRequest *request);
extern void run_read(StringInfo in, const Statement *statement, StatementRun *run);
extern const char *statement_architecture(void);
extern char *wire_to_server(WireBytes text, int encoding);

/* --- failure.c: errors as messages --------------------------------------- */

typedef enum FailureFlags
{
	FAILURE_RETRYABLE = 1 /* the statement has not failed: who ran it has */
} FailureFlags;

extern Message *failure_reserve(void);
extern void reserve_free(Message **reserve);
extern Message *failure_message(const ErrorData *error, uint8 flags, int encoding,
								Message **reserve);
extern ErrorData *failure_error(const Message *message, uint8 *flags);

/* --- the two sides' words in a request ----------------------------------- */

typedef enum RequestFlags
{
	REQUEST_PINNED = 1,
	REQUEST_WRITES = 2,
	REQUEST_READ_ONLY = 4, /* the asking transaction is */
	REQUEST_DEFERRABLE = 8,
	REQUEST_REPEATABLE_READ = 16,
	REQUEST_SERIALIZABLE = 32,
	REQUEST_EXPLAIN = 64,	/* PLAN is wanted */
	REQUEST_FORWARDED = 128 /* it may be about a partition that has gone from
							 * the asker to you; ask nobody else for that */
} RequestFlags;

typedef enum InputFlags
{
	INPUT_LAST_OF_RUN = 1, /* rows are whole up to here */
	INPUT_LAST = 2		   /* no more rows come */
} InputFlags;

/* Messages that an asker may send to an executor before it hears more. */
#define INPUT_CREDITS 8

/*
 * All our messages are under the control of credits already: none is refused
 * because a mailbox is full.  And all but those that must be heard belong to
 * a statement that may have been given up on when they arrive.
 */
static inline Message *
remote_message(uint16 type, Size size)
{
	Message *message = message_create(type, size);

	message->flags = MESSAGE_CONTROL;
	if (type != MESSAGE_REQUEST && type != MESSAGE_COMMIT)
		message->flags |= MESSAGE_EPHEMERAL;
	return message;
}

static inline char *
wire_to_cstring(WireBytes text)
{
	return pnstrdup(text.data, text.size);
}

/* --- transaction.c: the asking transaction's sessions on other nodes ------ */

typedef struct Participant Participant;

extern bool participant_is_needed(uint32 node, const RemoteRequest *request);
extern Participant *participant_get(uint32 node);
extern bool participant_is_begun(Participant *participant);
extern bool participant_is_started(Participant *participant);
extern bool participant_pump(Participant *participant);
extern void participant_check(Participant *participant);
extern void participant_prepare(Participant *participant);
extern ActorAddress participant_address(Participant *participant);
extern ActorAddress participant_session(Participant *participant);
extern void participants_forget(bool is_abort);
extern void participant_sent(Participant *participant, bool writes, int level);
extern void transaction_init(void);

/* --- plans.c: statements and their plans, kept by each scheduler ---------- */

typedef struct CachedStatement
{
	struct CachedStatement *hash_next;
	dlist_node lru;
	uint32 hash;
	Size identity_size;
	char *identity;
	MemoryContext context;
	Statement *statement;
	struct CachedPlanSource *source; /* NULL for scripts and copies */
	List *parsetrees;				 /* of a script */
	CommandTag tag;
	Oid *relations;		/* sorted: the leaf partitions that were listed, or are copied into */
	RemotePass *passes; /* of these */
	int n_relations;
	Oid *tables; /* their partitioned tables */
	int n_tables;
	int n_gone;	   /* of the partitions: they have another home by now */
	bool is_stale; /* something it looked up by name has changed */
	bool is_forgotten;
	int pins;
} CachedStatement;

extern CachedStatement *cached_statement_get(const char *identity, Size size);
extern void cached_statement_release(CachedStatement *cached);
extern void cached_statement_plan(CachedStatement *cached);
extern bool cached_statement_lists(CachedStatement *cached, Oid partition);
extern bool cached_statement_has_table(CachedStatement *cached, Oid table);
extern void plans_init(void);

/* --- executor.c: one statement at work ------------------------------------ */

struct CopyInput;
struct Activity;

/*
 * The executing side of a stream.  A session that runs only this one waits
 * for credit inside of the statement; one that is pinned for a transaction
 * stops the statement and goes on with it later, since it may have others.
 */
typedef struct Execution
{
	dlist_node node;	/* in its session */
	ActorAddress asker; /* the stream */
	MemoryContext context;
	CachedStatement *cached;
	bool is_pinned;
	int level; /* transaction nesting that it belongs to */
	Oid role;  /* that it runs as, once it does */
	uint64 query_id;
	TimestampTz deadline;	/* 0: none */
	Portal portal;			/* NULL: gone with its subtransaction, or not needed */
	Tuplestorestate *store; /* rows of a script */
	TupleTableSlot *store_slot;
	struct CopyInput *input; /* of a copy */
	TupleDesc columns;		 /* of the rows that are sent; NULL: none */
	RowWriter writer;
	bool is_forwarded; /* REQUEST_FORWARDED */
	bool has_passed;   /* it counts as a request about its partitions */
	bool is_stopped;   /* its rows wait for credit */
	bool is_finished;
	bool explains; /* its plan is sent when it has been run */
	Snapshot view; /* that it reads by, or InvalidSnapshot: by one of its own */
	uint64 affected;
	char tag[COMPLETION_TAG_BUFSIZE];
	uint64 arrived_us; /* the request */
	uint64 queued_us;
	uint64 run_us;
	uint64 stalled_us;
	uint64 stalled_since_us; /* if is_stopped */
	struct Activity *activity;
	Message *last_word; /* for its failure, if there is no memory then; or NULL */
} Execution;

extern Execution *execution_open(Execution *execution, StringInfo body,
								 uint32 statement_size);
extern bool execution_run(Execution *execution);
extern void execution_close(Execution *execution);
extern void execution_enter(Execution *execution);
extern bool execution_forwards(void);
extern void executions_ended(void);
extern void executor_init(void);

/* --- copy.c: rows put into a table ------------------------------------------ */

extern void copy_open(Execution *execution);
extern void copy_add(Execution *execution, const Message *message);
extern bool copy_has_run(Execution *execution);
extern bool copy_run(Execution *execution);

/* --- session.c ------------------------------------------------------------ */

extern void session_wait_for_credit(Execution *execution);

/* --- view.c: what the statements of a transaction see there --------------- */

struct EState;
extern uint64 view_number(struct EState *estate);
extern WireBytes view_statements(void);
extern Snapshot views_take(List **views, uint64 number, WireBytes statements);
extern void views_end(List **views, bool is_aborted);
extern void session_init(void);

/* --- activity.c: dlog.queries ---------------------------------------------- */

typedef enum ActivityRole
{
	ACTIVITY_ASKER = 1,
	ACTIVITY_EXECUTOR
} ActivityRole;

#define ACTIVITY_TEXT_SIZE 512

/*
 * One remote statement in flight, on either side.  Written by its process
 * alone and read by anyone, as the server's backend status entries are: the
 * changecount is odd while the text fields change.
 */
typedef struct Activity
{
	pg_atomic_uint32 pid; /* 0: free; taken by compare and exchange */
	pg_atomic_uint32 changecount;
	Oid database;
	Oid role;
	ActivityRole side;
	uint32 node;
	TimestampTz since;
	uint64 request_id;
	pg_atomic_uint32 waits; /* ActivityWait */
	pg_atomic_uint64 rows;
	pg_atomic_uint64 bytes;
	char node_name[NAMEDATALEN];
	char text[ACTIVITY_TEXT_SIZE];
} Activity;

typedef enum ActivityWait
{
	ACTIVITY_RUNS,
	ACTIVITY_WAITS_FOR_LINK,
	ACTIVITY_WAITS_FOR_SCHEDULER,
	ACTIVITY_WAITS_FOR_ROWS,
	ACTIVITY_WAITS_FOR_READER,
	ACTIVITY_WAITS_FOR_INPUT
} ActivityWait;

extern Size activity_shmem_size(void);
extern void activity_shmem_init(void);
extern Activity *activity_begin(ActivityRole side, uint32 node,
								const char *node_name, uint64 request_id,
								const char *text);
extern void activity_set_text(Activity *activity, Oid role, const char *text);
extern void activity_end(Activity *activity);
extern uint32 activity_wait_event(ActivityWait waits);

static inline void
activity_set(Activity *activity, ActivityWait waits, uint64 rows, uint64 bytes)
{
	if (activity == NULL)
		return;
	pg_atomic_write_u32(&activity->waits, waits);
	pg_atomic_write_u64(&activity->rows, rows);
	pg_atomic_write_u64(&activity->bytes, bytes);
}

#endif
