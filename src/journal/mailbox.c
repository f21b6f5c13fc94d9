/*
 * mailbox.c
 *		dlog.mailbox: what has been sent to durable actors and not been handled.
 *
 * The sender's transaction inserts a row for each message just before it
 * commits; the message itself, which knows the place of its row, goes into the
 * actor's mailbox in memory when it has committed.  The batch that handles it
 * deletes the row by its place.  So the table has no index, and is read only
 * once: when the server has started, a scheduler delivers what is in it.  Until
 * then nobody sends, and so nothing is delivered twice.
 *
 * Numbers of rows are taken when they are inserted, at the end of a
 * transaction, so those of one sender grow in the order of its sends.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/errcodes.h"
#include "base/extension.h"
#include "base/pg_compat.h"
#include "journal/journal_internal.h"

#define Natts_mailbox 7
#define Anum_mailbox_id 1
#define Anum_mailbox_actor 2
#define Anum_mailbox_sent_at 3
#define Anum_mailbox_sender 4
#define Anum_mailbox_role 5
#define Anum_mailbox_payload 6
#define Anum_mailbox_crashes 7

/* Who waits for the delivery looks this often, and is told after so long why. */
#define DELIVERY_WAIT_MS 10
#define DELIVERY_PATIENCE_MS 60000
/* Without memory for all mail it is tried again after this. */
#define RETRY_MS 50
#define ERROR_RETRY_MS 5000

/* So many messages ahead one is on its way from memory: its head, and the rest of a short one. */
#define FETCH_AHEAD 8
#define FETCH_LINE 64
#define FETCH_LINES 4

/* ------------------------------------------------------------------ writing */

static void
put_row(RowWriter *writer, Message *message, uint64 id)
{
	TupleTableSlot *slot = writer_next(writer);
	DurableMail *durable = mail_durable(message);
	MemoryContext old = MemoryContextSwitchTo(writer_context(writer));
	Oid type;
	bool is_null;
	Datum datum = message_read(message, &type, &is_null);

	durable->id = (int64) id;
	slot->tts_values[Anum_mailbox_id - 1] = Int64GetDatum(durable->id);
	slot->tts_values[Anum_mailbox_actor - 1] = Int64GetDatum(durable->actor);
	slot->tts_values[Anum_mailbox_sent_at - 1] = TimestampTzGetDatum(durable->sent_at);
	slot->tts_values[Anum_mailbox_sender - 1] = ActorRefPGetDatum(&durable->sender);
	slot->tts_isnull[Anum_mailbox_sender - 1] = actor_ref_is_none(&durable->sender);
	slot->tts_values[Anum_mailbox_role - 1] = ObjectIdGetDatum(durable->role);
	slot->tts_values[Anum_mailbox_payload - 1] = PointerGetDatum(payload_create(datum, ROW_TYPE(type), is_null));
	slot->tts_isnull[Anum_mailbox_crashes - 1] = true;
	MemoryContextSwitchTo(old);
	writer_put(writer, &durable->tid);
}

/* A message, and the number of its row. */
typedef struct Outgoing
{
	Message *message;
	int64 actor;
	uint64 id;
} Outgoing;

/* Where they are many they are in no cache any more. */
static void
fetch_ahead(const Message *message)
{
	const char *bytes = (const char *) message;

	for (int i = 0; i < FETCH_LINES; i++)
		__builtin_prefetch(bytes + i * FETCH_LINE);
}

static int
compare_outgoing(const void *a, const void *b)
{
	const Outgoing *one = a;
	const Outgoing *other = b;

	if (one->actor != other->actor)
		return one->actor < other->actor ? -1 : 1;
	return one->id < other->id ? -1 : one->id > other->id;
}

/*
 * mailbox_write
 *		Keep messages; they learn the places of their rows.
 *
 * Numbers are in the order of sending.  Rows of one actor lie together, for
 * they are handled, and so removed, together; and so do the messages, when
 * this is done.
 */
void
mailbox_write(Message **messages, int n)
{
	DatabaseJournal *journal = my_database_journal();
	Outgoing *outgoing = MemoryContextAllocHuge(CurTransactionContext, sizeof(Outgoing) * n);
	RowWriter *writer;
	uint64 id;

	PreventCommandIfReadOnly("dlog.send()");
	writer = writer_open(journal_table(TABLE_MAILBOX));
	id = pg_atomic_fetch_add_u64(&journal->last_id, n);
	for (int i = 0; i < n; i++)
	{
		fetch_ahead(messages[Min(i + FETCH_AHEAD, n - 1)]);
		outgoing[i] = (Outgoing){messages[i], mail_durable(messages[i])->actor, ++id};
	}
	qsort(outgoing, n, sizeof(Outgoing), compare_outgoing);
	for (int i = 0; i < n; i++)
	{
		fetch_ahead(outgoing[Min(i + FETCH_AHEAD, n - 1)].message);
		put_row(writer, outgoing[i].message, outgoing[i].id);
		messages[i] = outgoing[i].message;
	}
	writer_close(writer);
	pfree(outgoing);
}

/* ----------------------------------------------------------------- delivery */

/* A row as it waits to be delivered. */
typedef struct Waiting
{
	int64 id;
	ItemPointerData tid;
} Waiting;

static int
compare_waiting(const void *a, const void *b)
{
	int64 id_a = ((const Waiting *) a)->id;
	int64 id_b = ((const Waiting *) b)->id;

	return id_a < id_b ? -1 : id_a > id_b;
}

/* All rows after this number, in order; how many. */
static int64
read_waiting(Relation relation, Snapshot snapshot, int64 after, Waiting **result)
{
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	int64 n = 0;
	int64 size = 1024;

	*result = palloc(sizeof(Waiting) * size);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool is_null;
		int64 id = DatumGetInt64(slot_getattr(slot, Anum_mailbox_id, &is_null));

		if (id <= after)
			continue;
		if (n == size)
			*result = repalloc_huge(*result, sizeof(Waiting) * (size *= 2));
		(*result)[n].id = id;
		(*result)[n++].tid = slot->tts_tid;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	qsort(*result, n, sizeof(Waiting), compare_waiting);
	return n;
}

/* As it was when it was sent; NULL: there is no memory. */
static Message *
message_of_row(TupleTableSlot *slot)
{
	struct varlena *payload;
	ActorRef *sender;
	Datum datum;
	Oid type;
	bool is_null;
	Message *message;
	DurableMail *durable;

	slot_getallattrs(slot);
	payload = PG_DETOAST_DATUM(slot->tts_values[Anum_mailbox_payload - 1]);
	datum = payload_datum(payload, &type, &is_null);
	message = mail_create(datum, ROW_TYPE(type), is_null, MAIL_DURABLE);
	durable = mail_durable(message);
	durable->actor = DatumGetInt64(slot->tts_values[Anum_mailbox_actor - 1]);
	durable->sent_at = DatumGetTimestampTz(slot->tts_values[Anum_mailbox_sent_at - 1]);
	durable->role = DatumGetObjectId(slot->tts_values[Anum_mailbox_role - 1]);
	durable->id = DatumGetInt64(slot->tts_values[Anum_mailbox_id - 1]);
	durable->tid = slot->tts_tid;
	sender = DatumGetActorRefP(slot->tts_values[Anum_mailbox_sender - 1]);
	if (!slot->tts_isnull[Anum_mailbox_sender - 1])
		durable->sender = *sender;
	if (!slot->tts_isnull[Anum_mailbox_crashes - 1])
		durable->crashes = (uint16) DatumGetInt16(slot->tts_values[Anum_mailbox_crashes - 1]);
	return message;
}

typedef struct Loading
{
	int64 id;
	ActorAddress *address;
} Loading;

static void
try_to_load(void *argument)
{
	Loading *loading = argument;

	if (!durable_find(loading->id, loading->address))
		*loading->address = (ActorAddress){0};
}

/*
 * Load the actor.  Slot 0: there is none any more.  One whose behavior cannot
 * be used waits in its slot until that is mended.
 */
static void
load(int64 id, ActorAddress *address)
{
	Loading loading = {id, address};
	ErrorData *error;

	if (loaded_find(MyDatabaseId, id, address))
		return;
	error = statement_try(try_to_load, &loading);
	if (error == NULL)
		return;
	if (error_is_of_the_moment(error))
		ReThrowError(error);
	if (!durable_load_broken(id, address))
		*address = (ActorAddress){0};
}

/*
 * A row on its way into memory.  Once one has been given up, which this
 * transaction has still to commit, those after it are only looked at: so all
 * of that can be undone, and they come when it has committed.
 */
typedef struct Delivery
{
	TupleTableSlot *slot;
	DatabaseJournal *journal;
	bool has_given_up;
} Delivery;

static void
deliver_row(void *argument)
{
	Delivery *delivery = argument;
	bool is_null;
	int64 actor = DatumGetInt64(slot_getattr(delivery->slot, Anum_mailbox_actor, &is_null));
	ActorAddress to;

	load(actor, &to);
	if (to.slot != 0 && delivery->has_given_up)
		message_free(message_of_row(delivery->slot));
	else if (to.slot == 0 || !actor_deliver_mail(to, message_of_row(delivery->slot)))
		pg_atomic_write_u32(&delivery->journal->wants_sweep, 1);
}

/* What quarantine_row() needs. */
typedef struct Undeliverable
{
	ItemPointer tid;
	const ErrorData *error;
} Undeliverable;

static void
give_row_up(void *argument)
{
	Undeliverable *row = argument;

	quarantine_row(row->tid, row->error);
}

/*
 * A row that may not be deliverable: then it is put into quarantine.  False: it
 * is to be tried again.  Nothing here fails the rows before it.
 */
static bool
deliver_with_care(Delivery *delivery)
{
	Undeliverable row = {&delivery->slot->tts_tid, statement_try(deliver_row, delivery)};
	ErrorData *error;

	if (row.error == NULL)
		return true;
	if (error_is_of_the_moment(row.error))
		return false;
	error = statement_try(give_row_up, &row);
	if (error != NULL && error_is_of_the_moment(error))
		return false;
	if (error != NULL)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("a message that cannot be delivered could not be put into quarantine: %s", error->message),
				 errdetail("It could not be delivered since: %s", row.error->message),
				 errhint("It stays in dlog.mailbox, and is tried again when the server starts.")));
	else
		delivery->has_given_up = true;
	return true;
}

/* False: there is no memory for it now. */
static bool
try_to_deliver(Delivery *delivery)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool is_delivered = true;

	PG_TRY();
	{
		if (delivery->journal->is_careful)
			is_delivered = deliver_with_care(delivery);
		else
			deliver_row(delivery);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
		is_delivered = false;
	}
	PG_END_TRY();
	return is_delivered;
}

/* True: it is all in memory now. */
static bool
deliver(DatabaseJournal *journal)
{
	Relation relation = table_open(journal_table(TABLE_MAILBOX), AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog delivery", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	Waiting *waiting;
	int64 n = read_waiting(relation, snapshot, (int64) journal->delivered, &waiting);
	Delivery delivery = {slot, journal};
	int64 i;

	if (n > 0 && (uint64) waiting[n - 1].id > pg_atomic_read_u64(&journal->last_id))
		pg_atomic_write_u64(&journal->last_id, waiting[n - 1].id);
	for (i = 0; i < n; i++)
	{
		bool is_delivered;

		CHECK_FOR_INTERRUPTS();
		if (!table_tuple_fetch_row_version(relation, &waiting[i].tid, snapshot, slot))
			elog(ERROR, "a row of dlog.mailbox has vanished");
		MemoryContextSwitchTo(context);
		is_delivered = try_to_deliver(&delivery);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		if (!is_delivered)
			break;
		if (!delivery.has_given_up)
			journal->delivered = waiting[i].id;
	}
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(relation, NoLock);
	MemoryContextDelete(context);
	return i == n && !delivery.has_given_up;
}

static bool is_delivering = false; /* this process */

static bool is_watching_exit = false;

/* Terminated in the middle of it: somebody else goes on, whom the runtime wakes as there is work. */
static void
delivery_at_exit(int code, Datum argument)
{
	DatabaseJournal *journal = (DatabaseJournal *) DatumGetPointer(argument);

	if (!is_delivering)
		return;
	pg_atomic_write_u64(&journal->retry_at, 0);
	pg_atomic_write_u32(&journal->state, DELIVERY_PARTIAL);
}

static void
retry_after(DatabaseJournal *journal, int ms)
{
	pg_atomic_write_u64(&journal->retry_at, (uint64) TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms));
}

/* In a transaction of a scheduler. */
static void
begin_delivery(DatabaseJournal *journal)
{
	uint32 expected = pg_atomic_read_u32(&journal->state);
	uint32 homes = pg_atomic_read_u32(&journal->homes);
	volatile DeliveryState next = DELIVERY_PARTIAL;
	volatile bool is_read = false;

	if ((expected != DELIVERY_NOT_BEGUN && expected != DELIVERY_PARTIAL) ||
		!pg_atomic_compare_exchange_u32(&journal->state, &expected, DELIVERY_BUSY))
		return;
	if (!is_watching_exit)
		before_shmem_exit(delivery_at_exit, PointerGetDatum(journal));
	is_watching_exit = true;
	is_delivering = true;
	retry_after(journal, ERROR_RETRY_MS);
	PG_TRY();
	{
		if (!home_is_settled())
			next = DELIVERY_UNSETTLED;
		else if (deliver(journal))
			next = DELIVERY_DONE;
		is_read = true;
		retry_after(journal, RETRY_MS);
	}
	PG_FINALLY();
	{
		/* A row that cannot be delivered has failed all; with care it fails alone. */
		if (!is_read && !journal->is_careful)
			retry_after(journal, RETRY_MS);
		journal->is_careful = !is_read || (journal->is_careful && next == DELIVERY_PARTIAL);
		is_delivering = false;
		pg_write_barrier();

		/* What was read may be of the past. */
		if (pg_atomic_read_u32(&journal->homes) != homes)
			next = DELIVERY_NOT_BEGUN;
		pg_atomic_write_u32(&journal->state, next);
	}
	PG_END_TRY();
}

/*
 * mailbox_wait_for_delivery
 *		Until mail from before the server's start has been delivered.
 */
void
mailbox_wait_for_delivery(void)
{
	DatabaseJournal *journal = my_database_journal();
	TimestampTz until = 0;

	while (pg_atomic_read_u32(&journal->state) != DELIVERY_DONE && !is_delivering)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (pg_atomic_read_u32(&journal->state) == DELIVERY_UNSETTLED)
			home_refuse_unsettled();

		/* A scheduler makes room by handling what is there. */
		if (MyBackendType == B_BG_WORKER && pg_atomic_read_u32(&journal->state) == DELIVERY_PARTIAL)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("there is no memory yet for all mail of durable actors"),
					 errhint("Raise dlog.shared_memory_size.")));
		if (until == 0)
			until = TimestampTzPlusMilliseconds(now, DELIVERY_PATIENCE_MS);
		if (now > until)
			ereport(ERROR,
					(errcode(ERRCODE_CANNOT_CONNECT_NOW),
					 errmsg("durable actors of this database cannot be reached yet"),
					 errdetail("Mail from before the start of the server is still being delivered, or cannot be."),
					 errhint("Look at dlog.schedulers and at the server's log.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, DELIVERY_WAIT_MS,
						 WaitEventExtensionNew("DlogDelivery"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	pg_read_barrier();
}

/*
 * mailbox_is_unsettled
 *		Was this database restored from a dump, so that its durable actors
 *		wait until dlog.settle()?
 */
bool
mailbox_is_unsettled(int database)
{
	return pg_atomic_read_u32(&database_journal(database)->state) == DELIVERY_UNSETTLED;
}

/*
 * mailbox_deliver_again
 *		Rows have come that no session has sent, or may be delivered now.  The
 *		transaction that did so has committed.  Any process.
 */
void
mailbox_deliver_again(int database)
{
	DatabaseJournal *journal = database_journal(database);
	uint32 state = pg_atomic_read_u32(&journal->state);

	/* One that delivers just now sees that homes have changed. */
	while (state != DELIVERY_BUSY && !pg_atomic_compare_exchange_u32(&journal->state, &state, DELIVERY_NOT_BEGUN))
		;
	pg_atomic_write_u64(&journal->retry_at, 0);
	(void) runtime_wake_scheduler(database);
}

static void
deliver_at_start(void *journal)
{
	begin_delivery(journal);
}

/* Called, in a transaction, when schedulers of a database start. */
void
mailbox_at_scheduler_start(void)
{
	int database = runtime_database(MyDatabaseId);
	DatabaseJournal *journal = database < 0 ? NULL : database_journal(database);

	if (journal == NULL)
		return;

	/* Rows must be as they will stay; else mailbox_serve() does it. */
	if (!blackbox_has_marks() && statement_try(deliver_at_start, journal) != NULL)
		begin_delivery(journal);
	pg_atomic_write_u32(&journal->expires, 1);
}

/* -------------------------------------------------- what else there is to do */

/* In how many milliseconds delivery is to go on; -1: somebody is at it, or it is done. */
static long
due_in_ms(DatabaseJournal *journal)
{
	uint32 state = pg_atomic_read_u32(&journal->state);

	if (state != DELIVERY_PARTIAL && state != DELIVERY_NOT_BEGUN)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   (TimestampTz) pg_atomic_read_u64(&journal->retry_at));
}

static bool
is_due(DatabaseJournal *journal)
{
	return due_in_ms(journal) == 0;
}

bool
mailbox_has_work(int database)
{
	DatabaseJournal *journal = database_journal(database);

	return pg_atomic_read_u32(&journal->wants_sweep) != 0 || pg_atomic_read_u32(&journal->mends) != 0 ||
		   pg_atomic_read_u32(&journal->expires) != 0 || is_due(journal);
}

long
mailbox_work_in_ms(int database)
{
	return due_in_ms(database_journal(database));
}

/* Mail for actors that have stopped goes where it can be looked at. */
static void
sweep(DatabaseJournal *journal)
{
	StatementScope scope;

	statement_open(&scope);
	(void) statement_run_typed("WITH swept AS (DELETE FROM dlog.mailbox m USING dlog.durable_actor a"
							   " WHERE a.id OPERATOR(pg_catalog.=) m.actor AND a.stopped_at IS NOT NULL"
							   " RETURNING m.*, a.stop_reason)"
							   " INSERT INTO dlog.quarantine (actor, sent_at, sender, role, payload, failures, sqlstate, error)"
							   " SELECT actor, sent_at, sender, role, payload, 0, 'LG001',"
							   " pg_catalog.concat('the actor has stopped: ', stop_reason) FROM swept ORDER BY id",
							   0, NULL, NULL, NULL);
	statement_close(&scope);
}

/*
 * What was at work when the server crashed; this moves rows, so nothing is
 * delivered before it is done.
 */
static void
count_crashes(DatabaseJournal *journal)
{
	if (!blackbox_has_marks() || pg_atomic_exchange_u32(&journal->counts, 1) != 0)
		return;
	PG_TRY();
	{
		extension_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		blackbox_count();
		PopActiveSnapshot();
		CommitTransactionCommand();
		blackbox_forget();
	}
	PG_FINALLY();
	{
		pg_atomic_write_u32(&journal->counts, 0);
	}
	PG_END_TRY();
}

/* After an error: log it, and be outside of a transaction again. */
static void
give_up(MemoryContext context)
{
	MemoryContextSwitchTo(context);
	EmitErrorReport();
	FlushErrorState();
	AbortOutOfAnyTransaction();
}

/*
 * journal_serve
 *		Do something in a transaction of its own, in a scheduler; an error is
 *		logged.
 */
void
journal_serve(DatabaseJournal *journal, void (*step)(DatabaseJournal *journal))
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		extension_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		step(journal);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		give_up(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

static void
begin_delivery_if_due(DatabaseJournal *journal)
{
	if (is_due(journal) && !blackbox_has_marks())
		begin_delivery(journal);
}

static void
expire(DatabaseJournal *journal)
{
	(void) journal_expire_all();
}

/*
 * mailbox_serve
 *		In a scheduler, outside of a transaction.
 */
void
mailbox_serve(int database)
{
	DatabaseJournal *journal = database_journal(database);
	MemoryContext context = CurrentMemoryContext;

	if (!mailbox_has_work(database))
		return;
	PG_TRY();
	{
		if (is_due(journal))
			count_crashes(journal);
	}
	PG_CATCH();
	{
		give_up(context);
		retry_after(journal, ERROR_RETRY_MS);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);

	/* One of these may fail, and then must not take the others with it. */
	if (is_due(journal))
		journal_serve(journal, begin_delivery_if_due);
	if (pg_atomic_exchange_u32(&journal->mends, 0) != 0)
		journal_serve(journal, broken_retry);
	if (pg_atomic_exchange_u32(&journal->wants_sweep, 0) != 0)
		journal_serve(journal, sweep);
	if (pg_atomic_exchange_u32(&journal->expires, 0) != 0)
		journal_serve(journal, expire);
}

/*
 * mailbox_sweep
 *		Have a scheduler look for such mail.  Any process.
 */
void
mailbox_sweep(int database)
{
	if (database < 0)
		return;
	pg_atomic_write_u32(&database_journal(database)->wants_sweep, 1);
	(void) runtime_wake_scheduler(database);
}

/* This transaction has stopped an actor, which others see once it has committed. */
static bool sweeps_at_commit = false;

void
mailbox_sweep_at_commit(void)
{
	sweeps_at_commit = true;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!sweeps_at_commit || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	sweeps_at_commit = false;
	if (event == XACT_EVENT_COMMIT)
		mailbox_sweep(runtime_database(MyDatabaseId));
}

void
mailbox_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

/* Another database may get its number. */
void
mailbox_database_is_gone(int database)
{
	DatabaseJournal *journal = database_journal(database);

	pg_atomic_write_u32(&journal->state, DELIVERY_NOT_BEGUN);
	pg_atomic_write_u32(&journal->wants_sweep, 0);
	pg_atomic_write_u32(&journal->broken, 0);
	pg_atomic_write_u64(&journal->last_id, 0);
	pg_atomic_fetch_add_u32(&journal->homes, 1);
	journal->delivered = 0;
	journal->is_careful = false;
}

/* ------------------------------------------------------- sends from elsewhere */

/*
 * durable_send
 *		See journal.h.
 */
void
durable_send(const DurableSend *send)
{
	ActorAddress to;
	ActorRef ref = actor_ref_of_durable(send->actor);
	Message *message;

	if (!durable_find(send->actor, &to))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("actor %s does not exist", actor_ref_text(&ref)),
				 errdetail("It has stopped.")));
	message = actor_durable_message(to, send->message, send->type, send->is_null, send->role, &send->sender);
	actor_send_at_commit(to, message);
}
