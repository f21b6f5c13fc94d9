/*
 * verify.c
 *		Whether a journal is as it was written.
 *
 * Each entry of an audited behavior has a hash of what it says and of the
 * entry before.  So who changes, adds or takes away one, by whatever trick,
 * has to change all that come after, the hashes in snapshots and in the head,
 * which says what the last entry is.  What nobody can change is a head that
 * was written down elsewhere.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "journal/journal_internal.h"

DLOG_FUNCTION(dlog_verify_journal);

/*
 * head_write
 *		This is the last entry now.
 */
void
head_write(int64 actor, const JournalPosition *position)
{
	StatementScope scope;
	Oid types[3] = {INT8OID, INT8OID, BYTEAOID};
	bytea *hash = palloc(VARHDRSZ + sizeof(position->hash));
	Datum values[3] = {Int64GetDatum(actor), Int64GetDatum((int64) position->seq), PointerGetDatum(hash)};

	SET_VARSIZE(hash, VARHDRSZ + sizeof(position->hash));
	memcpy(VARDATA(hash), position->hash, sizeof(position->hash));
	statement_open(&scope);
	(void) statement_run_typed("INSERT INTO dlog.journal_head AS h (actor, seq, hash) VALUES ($1, $2, $3)"
							   " ON CONFLICT (actor) DO UPDATE SET seq = EXCLUDED.seq, hash = EXCLUDED.hash",
							   3, types, values, NULL);
	statement_close(&scope);
}

typedef struct Head
{
	int64 seq;
	uint8 hash[32];
} Head;

static bool
head_read(int64 actor, Head *head)
{
	StatementScope scope;
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(actor)};
	bool is_found;

	statement_open(&scope);
	is_found = statement_run_typed("SELECT seq, hash FROM dlog.journal_head WHERE actor OPERATOR(pg_catalog.=) $1",
								   1, types, values, NULL) > 0;
	if (is_found)
	{
		HeapTuple row = SPI_tuptable->vals[0];
		bool is_null;
		bytea *hash;

		head->seq = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &is_null));
		hash = DatumGetByteaPP(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &is_null));
		memset(head->hash, 0, sizeof(head->hash));
		memcpy(head->hash, VARDATA_ANY(hash), Min(VARSIZE_ANY_EXHDR(hash), sizeof(head->hash)));
	}
	statement_close(&scope);
	return is_found;
}

typedef struct Verification
{
	int64 entries;
	int64 first;
	int64 last;
	uint8 hash[32]; /* of the last */
	char *problem;	/* NULL: none */
} Verification;

/* Is there a snapshot after this entry, and does it know another hash? */
static bool
snapshot_differs(int64 actor, uint64 seq, const uint8 *hash)
{
	StateSnapshot snapshot;

	return snapshot_read(actor, seq, DT_NOEND, &snapshot) && snapshot.seq == seq && snapshot.has_hash &&
		   memcmp(snapshot.hash, hash, sizeof(snapshot.hash)) != 0;
}

static void
check_entry(int64 actor, const JournalEntry *entry, Verification *verification)
{
	uint8 hash[32];

	if (verification->entries > 0 && (int64) entry->seq != verification->last + 1)
		verification->problem = psprintf("entry " INT64_FORMAT " is missing", verification->last + 1);
	else if (!entry->has_hash)
		verification->problem = psprintf("entry " UINT64_FORMAT " has no hash", entry->seq);
	else
	{
		entry_hash(actor, entry, verification->hash, hash);
		if (memcmp(hash, entry->hash, sizeof(hash)) != 0)
			verification->problem = psprintf("entry " UINT64_FORMAT ", or the one before, is not as it was written", entry->seq);
		else if (snapshot_differs(actor, entry->seq, hash))
			verification->problem = psprintf("the snapshot after entry " UINT64_FORMAT " is of another journal", entry->seq);
		memcpy(verification->hash, hash, sizeof(hash));
	}
	if (verification->entries++ == 0)
		verification->first = entry->seq;
	verification->last = entry->seq;
}

/* What stands before the oldest entry: nothing, or what a snapshot says. */
static void
begin_chain(int64 actor, const JournalEntry *entry, Verification *verification)
{
	StateSnapshot snapshot;

	memset(verification->hash, 0, sizeof(verification->hash));
	if (snapshot_read(actor, entry->seq - 1, DT_NOEND, &snapshot) && snapshot.seq == entry->seq - 1)
		memcpy(verification->hash, snapshot.hash, sizeof(snapshot.hash));
	else
		verification->problem = psprintf("entry " UINT64_FORMAT " is missing, and there is no snapshot after it", entry->seq - 1);
}

static void
check_end(int64 actor, Verification *verification)
{
	Head head;
	StateSnapshot snapshot;

	if (!head_read(actor, &head))
	{
		if (verification->entries > 0)
			verification->problem = "the head of the journal is missing";
		return;
	}
	/* All entries may have been dropped that are older than a snapshot. */
	if (verification->entries == 0 && snapshot_read(actor, PG_INT64_MAX, DT_NOEND, &snapshot))
	{
		verification->last = snapshot.seq;
		memcpy(verification->hash, snapshot.hash, sizeof(snapshot.hash));
	}
	if (head.seq > verification->last)
		verification->problem = psprintf("entry " INT64_FORMAT " is missing", verification->last + 1);
	else if (head.seq < verification->last || memcmp(head.hash, verification->hash, sizeof(head.hash)) != 0)
		verification->problem = "the head of the journal is of another one";
}

static void
verify(const DurableActor *actor, Oid journal, Verification *verification)
{
	EntryScan *scan = entries_begin(journal, actor->id, 0);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog verify", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	JournalEntry entry;

	while (verification->problem == NULL && entries_next(scan, &entry))
	{
		CHECK_FOR_INTERRUPTS();
		if (verification->entries == 0)
			begin_chain(actor->id, &entry, verification);
		MemoryContextSwitchTo(context);
		if (verification->problem == NULL)
			check_entry(actor->id, &entry, verification);
		MemoryContextSwitchTo(old);
		if (verification->problem == NULL)
			MemoryContextReset(context);
	}
	entries_end(scan);
	if (verification->problem == NULL)
		check_end(actor->id, verification);
}

/*
 * dlog.verify_journal(actor) -> entries, first, last, head, is_intact, problem
 */
Datum
dlog_verify_journal(PG_FUNCTION_ARGS)
{
	DurableActor actor = journal_readable_actor(fcinfo);
	Behavior *behavior = behavior_acquire(actor.behavior);
	Oid journal = behavior->journal;
	bool is_audited = behavior->audit;
	Verification verification = {0};
	TupleDesc descriptor;
	Datum values[6];
	bool nulls[6] = {false};
	bytea *head = palloc(VARHDRSZ + sizeof(verification.hash));

	behavior_release(behavior);
	if (!is_audited)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the journal of behavior %s has no hashes", format_type_be(actor.behavior)),
				 errhint("dlog.create_behavior(..., audit => true) makes one that has.")));
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	verify(&actor, journal, &verification);
	SET_VARSIZE(head, VARHDRSZ + sizeof(verification.hash));
	memcpy(VARDATA(head), verification.hash, sizeof(verification.hash));
	values[0] = Int64GetDatum(verification.entries);
	values[1] = Int64GetDatum(verification.first);
	values[2] = Int64GetDatum(verification.last);
	nulls[1] = nulls[2] = verification.entries == 0;
	values[3] = PointerGetDatum(head);
	values[4] = BoolGetDatum(verification.problem == NULL);
	nulls[5] = verification.problem == NULL;
	values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(verification.problem);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
