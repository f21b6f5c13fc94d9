/*
 * append.c
 *		What a batch writes into journals.
 *
 * Each durable actor's turn hands over the messages that it is done with.
 * Their rows in the mailbox are deleted and their entries gathered, for all
 * actors of the batch, until the batch is about to commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/stop_point.h"
#include "journal/journal_internal.h"

#define Anum_entry_behavior 1
#define Anum_entry_actor 2
#define Anum_entry_seq 3
#define Anum_entry_at 4
#define Anum_entry_sent_at 5
#define Anum_entry_sender 6
#define Anum_entry_role 7
#define Anum_entry_payload 8
#define Anum_entry_becomes 9
#define Anum_entry_hash 10

/* The tables that this batch writes to. */
typedef struct OpenJournal
{
	Oid behavior;
	TimestampTz at; /* that the partition was looked up for */
	bool audit;
	RowWriter *writer;
	Oid role; /* whose name was looked up last */
	Datum role_name;
} OpenJournal;

static List *open_journals; /* in CurTransactionContext */
static bool any_handled = false;
static TimestampTz batch_at; /* 0: nothing is written yet */

/* ------------------------------------------------------------------- tables */

static bool
is_audited(Oid home, const Behavior *present)
{
	Behavior *behavior;
	bool result;

	if (present->id == home)
		return present->audit;
	behavior = behavior_acquire(home);
	result = behavior->audit;
	behavior_release(behavior);
	return result;
}

static Oid
journal_of(Oid home, const Behavior *present)
{
	Behavior *behavior;
	Oid result;

	if (present->id == home)
		return present->journal;
	behavior = behavior_acquire(home);
	result = behavior->journal;
	behavior_release(behavior);
	return result;
}

/* Where entries of this behavior and time go. */
static OpenJournal *
journal_for(JournalTurn *turn, TimestampTz at)
{
	MemoryContext old;
	OpenJournal *journal;
	ListCell *cell;
	Oid partition;

	foreach(cell, open_journals)
	{
		journal = lfirst(cell);
		if (journal->behavior == turn->home && journal->at == at)
			return journal;
	}
	partition = journal_partition(journal_of(turn->home, turn->behavior), at);
	foreach(cell, open_journals)
	{
		journal = lfirst(cell);
		if (journal->behavior == turn->home && writer_relation(journal->writer) == partition)
		{
			journal->at = at;
			return journal;
		}
	}
	old = MemoryContextSwitchTo(CurTransactionContext);
	journal = palloc(sizeof(OpenJournal));
	journal->behavior = turn->home;
	journal->at = at;
	journal->audit = is_audited(turn->home, turn->behavior);
	journal->writer = writer_open(partition);
	journal->role = InvalidOid;
	open_journals = lappend(open_journals, journal);
	MemoryContextSwitchTo(old);
	return journal;
}

/* ------------------------------------------------------------------- hashing */

static void
hash_update(pg_cryptohash_ctx *context, const void *bytes, Size size)
{
	if (pg_cryptohash_update(context, bytes, size) < 0)
		elog(ERROR, "could not hash an entry: %s", pg_cryptohash_error(context));
}

/* Numbers in network order, so that the hash is the same on every machine. */
static void
hash_number(pg_cryptohash_ctx *context, uint64 number)
{
	unsigned char bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (unsigned char) (number >> (56 - 8 * i));
	hash_update(context, bytes, sizeof(bytes));
}

/* Each with its length, so that no two rows read the same. */
static void
hash_text(pg_cryptohash_ctx *context, const char *text)
{
	hash_number(context, strlen(text));
	hash_update(context, text, strlen(text));
}

/*
 * entry_hash
 *		SHA-256 of an entry and of the hash of the one before (32 bytes).
 *
 * Of what a dump has, not of bytes that hold numbers of types, so it is the
 * same where a dump has been restored.
 */
void
entry_hash(int64 actor, const JournalEntry *entry, const uint8 *before, uint8 *hash)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	const char *sender = actor_ref_is_none(&entry->sender) ? "" : actor_ref_text(&entry->sender);

	if (pg_cryptohash_init(context) < 0)
		elog(ERROR, "could not hash an entry: %s", pg_cryptohash_error(context));
	hash_update(context, before, PG_SHA256_DIGEST_LENGTH);
	hash_number(context, (uint64) actor);
	hash_number(context, entry->seq);
	hash_number(context, (uint64) entry->at);
	hash_number(context, (uint64) entry->sent_at);
	hash_text(context, sender);
	hash_text(context, TextDatumGetCString(entry->role));
	hash_text(context, payload_canonical(entry->payload));
	hash_text(context, OidIsValid(entry->becomes) ? format_type_be_qualified(entry->becomes) : "");
	if (pg_cryptohash_final(context, hash, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not hash an entry: %s", pg_cryptohash_error(context));
	pg_cryptohash_free(context);
}

/* ------------------------------------------------------------------- entries */

/* Looked up once where many messages are of one role. */
static Datum
role_name(OpenJournal *journal, Oid role)
{
	MemoryContext old;
	char *name;

	if (journal->role == role)
		return journal->role_name;
	old = MemoryContextSwitchTo(CurTransactionContext);
	name = GetUserNameFromId(role, true);
	journal->role_name = CStringGetTextDatum(name ? name : psprintf("%u", role));
	journal->role = role;
	MemoryContextSwitchTo(old);
	return journal->role_name;
}

static void
fill_in(JournalTurn *turn, OpenJournal *journal, Message *message, JournalEntry *entry)
{
	DurableMail *durable = mail_durable(message);
	Oid type;
	bool is_null;
	Datum datum = message_read(message, &type, &is_null);

	memset(entry, 0, sizeof(JournalEntry));

	/* One that is stashed has its own entry later; this one is of what it becomes. */
	if (mail_flags(message) & MAIL_STASHED)
		entry->payload = payload_create((Datum) 0, value_type(VOIDOID), true);
	else
		entry->payload = payload_create(datum, ROW_TYPE(type), is_null);
	entry->seq = ++turn->position->seq;
	entry->at = turn->position->at;
	entry->sent_at = durable ? durable->sent_at : entry->at;
	entry->role = role_name(journal, durable ? durable->role : turn->owner);
	if (durable != NULL)
	{
		entry->sender = durable->sender;
		entry->becomes = durable->becomes;
	}
}

static void
put_entry(JournalTurn *turn, OpenJournal *journal, Message *message)
{
	TupleTableSlot *slot = writer_next(journal->writer);
	MemoryContext old = MemoryContextSwitchTo(writer_context(journal->writer));
	JournalEntry *entry = palloc(sizeof(JournalEntry));
	Datum *values = slot->tts_values;
	bool *nulls = slot->tts_isnull;

	fill_in(turn, journal, message, entry);
	turn->position->bytes += VARSIZE(entry->payload);
	values[Anum_entry_behavior - 1] = ObjectIdGetDatum(turn->home);
	values[Anum_entry_actor - 1] = Int64GetDatum(turn->actor);
	values[Anum_entry_seq - 1] = Int64GetDatum((int64) entry->seq);
	values[Anum_entry_at - 1] = TimestampTzGetDatum(entry->at);
	values[Anum_entry_sent_at - 1] = TimestampTzGetDatum(entry->sent_at);
	values[Anum_entry_sender - 1] = ActorRefPGetDatum(&entry->sender);
	nulls[Anum_entry_sender - 1] = actor_ref_is_none(&entry->sender);
	values[Anum_entry_role - 1] = entry->role;
	values[Anum_entry_payload - 1] = PointerGetDatum(entry->payload);
	values[Anum_entry_becomes - 1] = ObjectIdGetDatum(entry->becomes);
	nulls[Anum_entry_becomes - 1] = !OidIsValid(entry->becomes);
	nulls[Anum_entry_hash - 1] = !journal->audit;
	if (journal->audit)
	{
		bytea *hash = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);

		entry_hash(turn->actor, entry, turn->position->hash, turn->position->hash);
		SET_VARSIZE(hash, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
		memcpy(VARDATA(hash), turn->position->hash, PG_SHA256_DIGEST_LENGTH);
		values[Anum_entry_hash - 1] = PointerGetDatum(hash);
	}
	MemoryContextSwitchTo(old);
	writer_put(journal->writer, NULL);
}

/* ----------------------------------------------------------------- snapshots */

static void
write_snapshot(JournalTurn *turn, bool is_audited)
{
	StateSnapshot snapshot = {
		.seq = turn->position->seq,
		.at = turn->position->at,
		.behavior = turn->behavior->id,
		.state = payload_create(turn->state,
								(ValueType){turn->behavior->state_type, turn->behavior->state_length,
											turn->behavior->state_is_by_value},
								turn->state_is_null),
		.has_hash = is_audited,
	};

	memcpy(snapshot.hash, turn->position->hash, sizeof(snapshot.hash));
	snapshot_write(turn->actor, &snapshot);
	turn->position->snapshot_seq = snapshot.seq;
	turn->position->bytes = 0;
}

static bool
snapshot_is_due(const JournalTurn *turn)
{
	const Behavior *behavior = turn->behavior;
	const JournalPosition *position = turn->position;

	return (behavior->snapshot_every > 0 &&
			position->seq - position->snapshot_seq >= (uint64) behavior->snapshot_every) ||
		   (behavior->snapshot_bytes > 0 && position->bytes >= behavior->snapshot_bytes);
}

/* -------------------------------------------------------------------- turns */

/*
 * append_begin
 *		Its init has run: what that made is the state that replay starts from.
 */
void
append_begin(JournalTurn *turn)
{
	StatementScope scope;
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(turn->actor)};

	memset(turn->position, 0, sizeof(JournalPosition));
	turn->position->at = GetCurrentTimestamp();
	write_snapshot(turn, is_audited(turn->home, turn->behavior));
	statement_open(&scope);
	(void) statement_run_typed("UPDATE dlog.durable_actor SET args = NULL"
							   " WHERE id OPERATOR(pg_catalog.=) $1 AND args IS NOT NULL",
							   1, types, values, NULL);
	statement_close(&scope);
}

/*
 * append_turn
 *		What an actor has handled in this transaction.
 */
void
append_turn(JournalTurn *turn)
{
	OpenJournal *journal = NULL;

	if (batch_at == 0)
		batch_at = GetCurrentTimestamp();
	turn->position->at = Max(turn->position->at, batch_at);
	for (Message *message = turn->handled; message != NULL; message = message->next)
	{
		DurableMail *durable = mail_durable(message);
		int flags = mail_flags(message);

		if ((flags & MAIL_STASHED) == 0 && durable != NULL && ItemPointerIsValid(&durable->tid))
			mailbox_remove(durable);
		if (!mail_has_entry(message))
			continue;
		if (journal == NULL)
			journal = journal_for(turn, turn->position->at);
		put_entry(turn, journal, message);
	}
	any_handled = true;
	if (journal != NULL && journal->audit)
		head_write(turn->actor, turn->position);
	if (journal != NULL && snapshot_is_due(turn))
		write_snapshot(turn, journal->audit);
	if (turn->exits)
		durable_stop(turn->actor, turn->exit_reason);
}

/*
 * append_flush
 *		The batch is about to commit.
 */
void
append_flush(void)
{
	ListCell *cell;

	foreach(cell, open_journals)
		writer_close(((OpenJournal *) lfirst(cell))->writer);
	open_journals = NIL;
	mailbox_flush();
	if (any_handled)
		STOP_POINT("journal-appended");
	any_handled = false;
	batch_at = 0;
}

/* It was rolled back. */
void
append_forget(void)
{
	open_journals = NIL;
	any_handled = false;
	batch_at = 0;
	mailbox_forget();
}
