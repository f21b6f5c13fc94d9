/*
 * durable.c
 *		Rows of dlog.durable_actor, and how an actor comes out of one.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/pg_compat.h"
#include "journal/journal_internal.h"

#define Natts_actor 10
#define Anum_actor_id 1
#define Anum_actor_behavior 2
#define Anum_actor_name 3
#define Anum_actor_owner 4
#define Anum_actor_args 5
#define Anum_actor_spawned_at 6
#define Anum_actor_stopped_at 7
#define Anum_actor_crashes 10

/* One at whose loading the server has crashed so often is not loaded by the way again. */
#define MAX_CRASHES 3

/* -------------------------------------------------------------------- rows */

static void
read_tuple(Relation relation, HeapTuple tuple, DurableActor *actor)
{
	Datum values[Natts_actor];
	bool nulls[Natts_actor];

	heap_deform_tuple(tuple, RelationGetDescr(relation), values, nulls);
	actor->id = DatumGetInt64(values[Anum_actor_id - 1]);
	actor->behavior = DatumGetObjectId(values[Anum_actor_behavior - 1]);
	actor->name = nulls[Anum_actor_name - 1] ? NULL : TextDatumGetCString(values[Anum_actor_name - 1]);
	actor->owner = DatumGetObjectId(values[Anum_actor_owner - 1]);
	actor->args = nulls[Anum_actor_args - 1] ? NULL : DatumGetByteaPCopy(values[Anum_actor_args - 1]);
	actor->has_stopped = !nulls[Anum_actor_stopped_at - 1];
	actor->crashes = DatumGetInt16(values[Anum_actor_crashes - 1]);
}

/* The index whose first column is this one. */
static Oid
index_of(Relation relation, AttrNumber column)
{
	ListCell *cell;
	Oid result = InvalidOid;

	foreach(cell, RelationGetIndexList(relation))
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indkey.values[0] == column)
			result = lfirst_oid(cell);
		index_close(index, AccessShareLock);
	}
	return result;
}

static bool
read_row(AttrNumber column, RegProcedure equals, Datum value, DurableActor *actor)
{
	Relation relation = table_open(journal_table(TABLE_ACTOR), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool is_found;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, equals, value);
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(relation, index_of(relation, column), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	is_found = HeapTupleIsValid(tuple);
	if (is_found)
		read_tuple(relation, tuple, actor);
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return is_found;
}

bool
durable_read(int64 id, DurableActor *actor)
{
	return read_row(Anum_actor_id, F_INT8EQ, Int64GetDatum(id), actor);
}

/* Of a name; false: nobody has it. */
bool
durable_find_name(const char *name, int64 *id)
{
	DurableActor actor;

	if (!read_row(Anum_actor_name, F_TEXTEQ, CStringGetTextDatum(name), &actor))
		return false;
	*id = actor.id;
	return true;
}

/* The durable actor that SQL means; ERROR if it is none of this database. */
DurableActor
durable_require(const ActorRef *ref)
{
	int64 id = actor_ref_durable(ref);
	DurableActor actor;

	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("actor %s is no durable actor of this database", actor_ref_text(ref)),
				 errhint("The view dlog.durable_actors lists those.")));
	if (!durable_read(id, &actor))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("actor %s does not exist", actor_ref_text(ref))));
	return actor;
}

/* ------------------------------------------------------------------ spawning */

static int64
draw_number(void)
{
	return journal_next("durable_actor_id");
}

/* Nobody else has drawn so many yet, and nobody does so meanwhile. */
static int64
skip_numbers(int64 until)
{
	Oid sequence = get_relname_relid("durable_actor_id", get_namespace_oid("dlog", false));
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(until)};
	StatementScope scope;
	int64 id;

	LockRelationOid(sequence, ShareUpdateExclusiveLock);
	id = draw_number();
	if (id < until)
	{
		statement_open(&scope);
		(void) statement_run_typed("SELECT pg_catalog.setval('dlog.durable_actor_id', $1)", 1, types, values, NULL);
		statement_close(&scope);
		id = draw_number();
	}
	UnlockRelationOid(sequence, ShareUpdateExclusiveLock);
	return id;
}

/*
 * A number that this database has never given, though it may have been
 * restored from an older backup, or be a standby that has not heard of the last
 * ones: others would take the new actor for the one that they know by that
 * number.  So the first one in each life of the server, and of the extension,
 * is greater than the milliseconds from 2000 to now; more than a thousand
 * actors a second are not spawned in the long run.
 */
static int64
next_number(void)
{
	DatabaseJournal *journal = my_database_journal();
	uint32 life = pg_atomic_read_u32(&journal->homes) + 1;
	int64 id;

	/* Looked at before the number is drawn: what is drawn later is greater. */
	if (pg_atomic_read_u32(&journal->numbered) == life)
	{
		id = draw_number();

		/* Less than that has only a sequence that is new itself. */
		if (id >= PgStartTime / 1000)
			return id;
	}
	id = skip_numbers(GetCurrentTimestamp() / 1000);
	pg_atomic_write_u32(&journal->numbered, life);
	return id;
}

/*
 * durable_create
 *		A row for an actor that is being spawned; its number.
 */
int64
durable_create(const ActorSpawn *spawn, const char *args, Size args_size)
{
	Relation relation;
	Datum values[Natts_actor] = {0};
	bool nulls[Natts_actor];
	int64 id;

	PreventCommandIfReadOnly("dlog.spawn()");
	home_claim();
	if (spawn->name != NULL && durable_find_name(spawn->name, &id))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is already an actor named \"%s\"", spawn->name),
				 errhint("dlog.whereis() finds it; when it is stopped the name is free.")));
	id = next_number();
	relation = table_open(journal_table(TABLE_ACTOR), RowExclusiveLock);
	memset(nulls, true, sizeof(nulls));
	values[Anum_actor_id - 1] = Int64GetDatum(id);
	values[Anum_actor_behavior - 1] = ObjectIdGetDatum(spawn->behavior);
	values[Anum_actor_owner - 1] = ObjectIdGetDatum(spawn->owner);
	values[Anum_actor_spawned_at - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	nulls[Anum_actor_id - 1] = nulls[Anum_actor_behavior - 1] = nulls[Anum_actor_owner - 1] =
		nulls[Anum_actor_spawned_at - 1] = nulls[Anum_actor_crashes - 1] = false;
	if (spawn->name != NULL)
	{
		values[Anum_actor_name - 1] = CStringGetTextDatum(spawn->name);
		nulls[Anum_actor_name - 1] = false;
	}
	if (args_size > 0)
	{
		bytea *bytes = palloc0(VARHDRSZ + MAXIMUM_ALIGNOF + args_size);

		SET_VARSIZE(bytes, VARHDRSZ + MAXIMUM_ALIGNOF + args_size);
		memcpy(VARDATA(bytes), &spawn->n_args, sizeof(int));
		memcpy(VARDATA(bytes) + MAXIMUM_ALIGNOF, args, args_size);
		values[Anum_actor_args - 1] = PointerGetDatum(bytes);
		nulls[Anum_actor_args - 1] = false;
	}
	CatalogTupleInsert(relation, heap_form_tuple(RelationGetDescr(relation), values, nulls));
	table_close(relation, RowExclusiveLock);
	CommandCounterIncrement();
	return id;
}

/* ------------------------------------------------------------------- loading */

/* One at whose loading the server crashes waits for dlog.resume() alone. */
static void
tell_of_crashes(const DurableActor *actor)
{
	ErrorData error = {
		.sqlerrcode = ERRCODE_CRASH_SHUTDOWN,
		.message = psprintf("the server has crashed %d times while it was loaded", actor->crashes),
		.hint = "When that is mended, dlog.resume() has it loaded.",
	};

	broken_enter(actor->id, &error, actor->crashes, -1);
}

static bool
load(int64 id, bool is_broken, ActorAddress *address)
{
	DurableActor row;
	ActorSpawn spawn = {0};

	while (!loaded_find(MyDatabaseId, id, address))
	{
		if (!durable_read(id, &row) || row.has_stopped)
			return false;
		spawn.behavior = row.behavior;
		spawn.owner = row.owner;
		spawn.name = row.name;
		spawn.durable = id;
		spawn.is_loaded = true;
		spawn.is_broken = is_broken;
		spawn.is_suspended = row.crashes >= MAX_CRASHES;
		if (row.args != NULL)
		{
			/* how many there are is said first */
			memcpy(&spawn.n_args, VARDATA_ANY(row.args), sizeof(int));
			spawn.arg_bytes = VARDATA_ANY(row.args) + MAXIMUM_ALIGNOF;
			spawn.arg_size = VARSIZE_ANY_EXHDR(row.args) - MAXIMUM_ALIGNOF;
		}
		*address = actor_spawn(&spawn);
		if (address->slot == 0)
			continue;
		if (spawn.is_suspended)
			tell_of_crashes(&row);
		return true;
	}
	return hosted_actor_exists(*address) || hosted_actor_is_starting(*address);
}

/*
 * durable_load_broken
 *		The same for one whose behavior cannot be used as it is, in the delivery
 *		of its mail: it has a slot, but waits there.
 */
bool
durable_load_broken(int64 id, ActorAddress *address)
{
	return load(id, true, address);
}

/*
 * durable_find
 *		Where it lives; it is loaded if it is not.  False: there is none of
 *		this number, or it has stopped.
 */
bool
durable_find(int64 id, ActorAddress *address)
{
	mailbox_wait_for_delivery();
	return load(id, false, address);
}

/*
 * durable_forgive
 *		It is loaded: crashes of the server while it was are of the past.
 */
void
durable_forgive(int64 id)
{
	DurableActor row;
	StatementScope scope;
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(id)};

	if (!durable_read(id, &row) || row.crashes == 0)
		return;
	statement_open(&scope);
	(void) statement_run_typed("UPDATE dlog.durable_actor SET crashes = 0 WHERE id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
	statement_close(&scope);
}

/*
 * durable_hold
 *		It does not stop before this transaction ends; false: it has stopped.
 */
bool
durable_hold(int64 id)
{
	StatementScope scope;
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(id)};
	bool lives;

	statement_open(&scope);
	lives = statement_run_typed("SELECT FROM dlog.durable_actor WHERE id OPERATOR(pg_catalog.=) $1 AND stopped_at IS NULL FOR SHARE",
								1, types, values, NULL) > 0;
	statement_close(&scope);
	return lives;
}

/* --------------------------------------------------------------------- ends */

/*
 * durable_stop
 *		It has stopped for good once this transaction commits.
 */
void
durable_stop(int64 id, const char *reason)
{
	StatementScope scope;
	Oid types[2] = {INT8OID, TEXTOID};
	Datum values[2] = {Int64GetDatum(id), CStringGetTextDatum(reason)};

	statement_open(&scope);
	(void) statement_run_typed("UPDATE dlog.durable_actor SET stopped_at = pg_catalog.now(), stop_reason = $2,"
							   " former_name = name, name = NULL WHERE id OPERATOR(pg_catalog.=) $1 AND stopped_at IS NULL",
							   2, types, values, NULL);
	(void) statement_run_typed("DELETE FROM dlog.durable_timer WHERE actor OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
	statement_close(&scope);
	/* Mail that waits for it has no receiver then. */
	mailbox_sweep_at_commit();
}

/* DROP EXTENSION drops our tables one by one, and behaviors in between. */
static bool
tables_are_there(void)
{
	static const char *const names[] = {"durable_actor", "quarantine", "durable_timer",
										"journal_head", "mailbox", "journal_snapshot"};
	Oid schema = get_namespace_oid("dlog", true);

	for (int i = 0; i < lengthof(names); i++)
		if (!OidIsValid(schema) || !OidIsValid(get_relname_relid(names[i], schema)))
			return false;
	return true;
}

/*
 * durable_behavior_dropped
 *		A behavior, and with it its journal, is dropped: its actors go, too.
 */
void
durable_behavior_dropped(Oid behavior)
{
	StatementScope scope;
	Oid types[1] = {REGTYPEOID};
	Datum values[1] = {ObjectIdGetDatum(behavior)};

	if (!tables_are_there())
		return;
	statement_open(&scope);
	(void) statement_run_typed("WITH actor AS (DELETE FROM dlog.durable_actor WHERE behavior OPERATOR(pg_catalog.=) $1 RETURNING id),"
							   " quarantined AS (DELETE FROM dlog.quarantine q USING actor a WHERE q.actor OPERATOR(pg_catalog.=) a.id),"
							   " timers AS (DELETE FROM dlog.durable_timer t USING actor a WHERE t.actor OPERATOR(pg_catalog.=) a.id),"
							   " head AS (DELETE FROM dlog.journal_head h USING actor a WHERE h.actor OPERATOR(pg_catalog.=) a.id),"
							   " waiting AS (DELETE FROM dlog.mailbox m USING actor a WHERE m.actor OPERATOR(pg_catalog.=) a.id),"
							   " snapshots AS (DELETE FROM dlog.journal_snapshot s USING actor a WHERE s.actor OPERATOR(pg_catalog.=) a.id)"
							   " SELECT id FROM actor",
							   1, types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool is_null;
		ActorAddress address;

		if (loaded_find(MyDatabaseId, DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)),
						&address))
			actor_end_at_commit(address, "its behavior was dropped");
	}
	statement_close(&scope);
}
