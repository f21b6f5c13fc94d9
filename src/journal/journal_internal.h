/*
 * journal_internal.h
 *		What the files of src/journal share.
 *
 * Lock: Journals.lock, under which an actor may come to life and nothing else
 * is taken.
 */
#ifndef DLOG_JOURNAL_INTERNAL_H
#define DLOG_JOURNAL_INTERNAL_H

#include "executor/tuptable.h"
#include "port/atomics.h"
#include "storage/buf.h"
#include "storage/lwlock.h"
#include "utils/relcache.h"

#include "base/statement.h"
#include "journal/journal.h"

/* --- writer.c ------------------------------------------------------------- */

/* Rows on their way into a table and its indexes, many at a time. */
typedef struct RowWriter RowWriter;

extern RowWriter *writer_open(Oid relation);
extern TupleTableSlot *writer_next(RowWriter *writer); /* its values are the writer's to keep: */
extern MemoryContext writer_context(RowWriter *writer);
extern void writer_put(RowWriter *writer, ItemPointer tid); /* where its place shall be written; or NULL */
extern void writer_close(RowWriter *writer);				/* writes what is left */
extern Oid writer_relation(const RowWriter *writer);

/* --- page_change.c ---------------------------------------------------------- */

/* Parts of a page. */
typedef struct PageChange
{
	Buffer buffer;
	Size size;
	char parts[BLCKSZ + 64];
} PageChange;

extern bool page_changes_are_checked(void);
extern void page_change_begin(PageChange *change, Buffer buffer);
extern void page_changed(PageChange *change, const void *bytes, Size size);
extern void page_change_log(PageChange *change, Relation relation);

/* --- index_run.c ------------------------------------------------------------ */

struct EState;
struct IndexInfo;

extern bool index_takes_runs(Relation relation, const struct IndexInfo *info);
extern void index_insert_rows(Relation relation, Relation table, struct IndexInfo *info, struct EState *estate,
							  TupleTableSlot **slots, int n);

/* --- table.c: dlog's own tables, whoever is asking ------------------------- */

typedef enum JournalTable
{
	TABLE_ACTOR,
	TABLE_MAILBOX,
	TABLE_SNAPSHOT,
	TABLE_QUARANTINE,
	JOURNAL_TABLES
} JournalTable;

extern Oid journal_table(JournalTable table);
extern Oid journal_type(const char *name);
extern int64 journal_next(const char *sequence);

/* --- loaded.c: which durable actors are loaded --------------------------- */

/* Of a database, until its tables' mail has been delivered. */
typedef enum DeliveryState
{
	DELIVERY_NOT_BEGUN, /* next: BUSY */
	DELIVERY_BUSY,		/* a scheduler reads the mailbox; next: DONE, PARTIAL or UNSETTLED */
	DELIVERY_PARTIAL,	/* there was no memory for all of it; next: BUSY */
	DELIVERY_DONE,		/* next: NOT_BEGUN, where a dump is being restored */
	DELIVERY_UNSETTLED	/* it was restored from a dump; next: NOT_BEGUN */
} DeliveryState;

typedef struct DatabaseJournal
{
	pg_atomic_uint32 state;		  /* no lock: DeliveryState */
	pg_atomic_uint32 wants_sweep; /* no lock: mail may wait for actors that have stopped */
	pg_atomic_uint32 expires;	  /* no lock: partitions may be too old */
	pg_atomic_uint32 counts;	  /* no lock: a scheduler counts crashes; only one does */
	pg_atomic_uint32 homes;		  /* no lock: grows when dlog.durable_home has changed */
	pg_atomic_uint32 numbered;	  /* no lock: homes + 1, of the life whose numbers are greater than all before */
	pg_atomic_uint32 broken;	  /* no lock: actors that cannot be loaded */
	pg_atomic_uint32 mends;		  /* no lock: something was changed that they may have failed at */
	pg_atomic_uint64 last_id;	  /* no lock: number of the last row of the mailbox */
	pg_atomic_uint64 retry_at;	  /* no lock: TimestampTz */
	uint64 delivered;			  /* up to this number; of who is BUSY */
	bool is_careful;			  /* a row has failed the delivery; of who is BUSY */
} DatabaseJournal;

extern DatabaseJournal *database_journal(int database);
extern DatabaseJournal *my_database_journal(void);
extern bool loaded_find(Oid database, int64 id, ActorAddress *address);
extern bool loaded_enter(int64 id, ActorAddress address, bool is_alive);
extern void loaded_leave(Oid database, int64 id, ActorAddress address);

/* Why an actor cannot be loaded; texts may be cut. */
typedef struct Broken
{
	DatabaseJournal *journal; /* where it is counted */
	int sqlerrcode;
	uint32 tries;
	TimestampTz since;
	TimestampTz next_try;
	char error[256];
	char detail[256]; /* or empty */
	char hint[256];	  /* same */
} Broken;

typedef struct LoadedBroken
{
	int64 id;
	ActorAddress address;
	Broken broken;
} LoadedBroken;

extern void loaded_is_broken(int64 id, Broken *broken);
extern LoadedBroken *loaded_broken(int *n);
extern Size loaded_shmem_size(void);
extern void loaded_shmem_init(void);

/* --- durable.c: rows of dlog.durable_actor --------------------------------- */

typedef struct DurableActor
{
	int64 id;
	Oid behavior;
	char *name; /* or NULL */
	Oid owner;
	bytea *args; /* or NULL */
	bool has_stopped;
	int crashes; /* of the server while it was loaded */
} DurableActor;

extern bool durable_read(int64 id, DurableActor *actor);
extern DurableActor durable_require(const ActorRef *ref);
extern bool durable_find(int64 id, ActorAddress *address);
extern bool durable_load_broken(int64 id, ActorAddress *address);
extern bool durable_find_name(const char *name, int64 *id);
extern bool durable_hold(int64 id);
extern int64 durable_create(const ActorSpawn *spawn, const char *args, Size args_size);
extern void durable_forgive(int64 id);
extern void durable_stop(int64 id, const char *reason);
extern void durable_behavior_dropped(Oid behavior);

/* --- broken.c -------------------------------------------------------------- */

extern void broken_enter(int64 id, const ErrorData *error, uint32 tries, int64 delay_ms);
extern void broken_leave(int64 id);
extern void broken_retry(DatabaseJournal *journal);
extern void broken_init(void);

/* --- home.c ---------------------------------------------------------------- */

extern bool home_is_settled(void);
extern pg_noreturn void home_refuse_unsettled(void);
extern void home_claim(void);
extern bool home_was(const ActorRef *ref);
extern void home_init(void);

/* --- mailbox.c ------------------------------------------------------------ */

extern void mailbox_write(Message **messages, int n);
extern void mailbox_wait_for_delivery(void);
extern bool mailbox_is_unsettled(int database);
extern void mailbox_deliver_again(int database);
extern bool mailbox_has_work(int database);
extern long mailbox_work_in_ms(int database);
extern void mailbox_serve(int database);
extern void journal_serve(DatabaseJournal *journal, void (*step)(DatabaseJournal *journal));
extern void mailbox_sweep(int database);
extern void mailbox_sweep_at_commit(void);
extern void mailbox_init(void);
extern void mailbox_database_is_gone(int database);
extern void mailbox_at_scheduler_start(void);

/* --- remove.c -------------------------------------------------------------- */

extern void mailbox_remove(const DurableMail *mail);
extern void mailbox_flush(void);
extern void mailbox_forget(void);

/* --- blackbox.c ------------------------------------------------------------ */

extern void blackbox_begin(int64 actor, int64 message);
extern void blackbox_end(void);
extern bool blackbox_has_marks(void);
extern void blackbox_count(void);
extern void blackbox_forget(void);
extern Size blackbox_shmem_size(void);
extern void blackbox_shmem_init(void);

/* --- timers.c -------------------------------------------------------------- */

extern void timer_set(const JournalTimer *timer);
extern void timer_cancel_durable(int64 actor, int64 id);
extern Size timers_shmem_size(void);
extern void timers_shmem_init(void);
extern void timers_init(void);

/* --- partition.c: the tables of journals ----------------------------------- */

extern Oid journal_create_table(Oid behavior);
extern Oid journal_partition(Oid journal, TimestampTz at);
extern void partition_prepare(void);
extern List *journal_partitions(Oid journal); /* oids in order of time */

/* --- expire.c ------------------------------------------------------------- */

extern int journal_expire(Oid behavior);
extern int journal_expire_all(void);

/* --- payload.c ------------------------------------------------------------ */

extern bool payload_row(const struct varlena *payload, Oid type, Datum *row, bool *is_null);
extern const char *payload_canonical(const struct varlena *payload);
extern bool payload_is_gone(const struct varlena *payload);

/* --- append.c ------------------------------------------------------------- */

extern void append_turn(JournalTurn *turn);
extern void append_begin(JournalTurn *turn);
extern void append_flush(void);
extern void append_forget(void);

/* A row of a journal, as what is hashed and as who reads it needs it. */
typedef struct JournalEntry
{
	uint64 seq;
	TimestampTz at;
	TimestampTz sent_at;
	ActorRef sender; /* or none */
	Datum role;		 /* its name at that time, a text */
	struct varlena *payload;
	Oid becomes;
	bool has_hash;
	uint8 hash[32];
} JournalEntry;

extern void entry_hash(int64 actor, const JournalEntry *entry, const uint8 *before, uint8 *hash);

/* --- snapshot.c ----------------------------------------------------------- */

typedef struct StateSnapshot
{
	uint64 seq;
	TimestampTz at;
	Oid behavior;
	struct varlena *state;
	bool has_hash;
	uint8 hash[32];
} StateSnapshot;

extern void snapshot_write(int64 actor, const StateSnapshot *snapshot);
extern bool snapshot_first(int64 actor, StateSnapshot *snapshot);
extern bool snapshot_read(int64 actor, uint64 highest, TimestampTz latest, StateSnapshot *snapshot);

/* --- replay.c ------------------------------------------------------------- */

/* Where to end; both may be the greatest there is. */
typedef struct ReplayEnd
{
	uint64 seq;
	TimestampTz at;
} ReplayEnd;

/* A journal read in order; entries are good until the next. */
typedef struct EntryScan EntryScan;

extern EntryScan *entries_begin(Oid journal, int64 actor, uint64 after);
extern bool entries_next(EntryScan *scan, JournalEntry *entry);
extern void entries_end(EntryScan *scan);

typedef struct Replayed
{
	Datum state;
	bool is_null;
	Oid state_type;
	Oid behavior;
	JournalPosition position;
} Replayed;

/* Called with each entry and the state after it. */
typedef void (*ReplayVisit)(void *context, const JournalEntry *entry, Datum state, bool is_null, Oid type);

extern bool replay_run(const DurableActor *actor, const ReplayEnd *end, uint64 visit_from,
					   ReplayVisit visit, void *context, Replayed *result);

/* --- verify.c, journalfuncs.c ----------------------------------------------- */

extern void head_write(int64 actor, const JournalPosition *position);
extern DurableActor journal_readable_actor(FunctionCallInfo fcinfo);
extern bool journal_replay_as_owner(const DurableActor *actor, const ReplayEnd *end, uint64 visit_from,
									ReplayVisit visit, void *context, Replayed *result);

/* --- quarantine.c --------------------------------------------------------- */

extern void quarantine_message(JournalTurn *turn, Message *message, const MessageFailure *failure);
extern void quarantine_row(ItemPointer tid, const ErrorData *error);

#endif
