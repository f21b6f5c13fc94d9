/*
 * home.c
 *		Where the durable actors of a database live, and have lived.
 *
 * Tables of durable actors are a database's own, but a dump brings them
 * elsewhere.  dlog.durable_home tells: its rows are the databases that they
 * have been in, this one too once it has durable actors, or something for
 * those of other nodes.  Where there are rows but none of this database, it
 * has been restored from a dump and is *unsettled*: nobody knows when the last
 * table will have been filled, nor whether what was dumped is still alive and
 * sends the same messages.  So durable actors wait until dlog.settle().
 *
 * A *successor* of the dumped database, in contrast to a copy, goes on with
 * its outbox, and references to actors over there mean those here.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "journal/journal_internal.h"
#include "transport/transport.h"

DLOG_FUNCTION(dlog_durable_home_changed);
DLOG_FUNCTION(dlog_settle);

/* A database that durable actors have lived in, as references name it. */
typedef struct Home
{
	int64 node_id;
	Oid database;
} Home;

/* Those whose successor this one is, as of this version of DatabaseJournal.homes. */
static Home *former;
static int n_former;
static uint32 former_version;

/* The table that this process has seen this database in. */
static Oid claimed = InvalidOid;

/* What is to be done when this transaction commits. */
static bool rechecks = false;

/* -------------------------------------------------------------------- rows */

/* Its oid is another one whenever the extension was created anew, but not after pg_upgrade. */
static Oid
home_table(void)
{
	return get_relname_relid("durable_home", get_namespace_oid("dlog", false));
}

#define OURS \
	"node_id OPERATOR(pg_catalog.=) $1 AND database OPERATOR(pg_catalog.=) $2 AND tables OPERATOR(pg_catalog.=) $3"

/* A statement whose first parameters are what this database is known by; its first column. */
static Datum
run(const char *sql, bool is_successor)
{
	Oid types[4] = {INT8OID, OIDOID, OIDOID, BOOLOID};
	Datum values[4] = {
		Int64GetDatum((int64) node_id_of(THIS_NODE)),
		ObjectIdGetDatum(MyDatabaseId),
		ObjectIdGetDatum(home_table()),
		BoolGetDatum(is_successor),
	};
	StatementScope scope;
	Datum result = (Datum) 0;
	bool is_null;

	PushActiveSnapshot(GetTransactionSnapshot());
	statement_open(&scope);
	if (statement_run_typed(sql, 4, types, values, NULL) > 0 && SPI_tuptable != NULL)
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	statement_close(&scope);
	PopActiveSnapshot();
	return result;
}

static bool
is_among_rows(void)
{
	return DatumGetBool(run("SELECT EXISTS (SELECT FROM dlog.durable_home WHERE " OURS ")", false));
}

/*
 * home_is_settled
 *		Is this database not one that was restored from a dump, or has
 *		somebody said what it is?
 */
bool
home_is_settled(void)
{
	return DatumGetBool(run("SELECT EXISTS (SELECT FROM dlog.durable_home WHERE " OURS ")"
							" OR NOT EXISTS (SELECT FROM dlog.durable_home)",
							false));
}

bool
durable_is_unsettled(void)
{
	int database = runtime_database(MyDatabaseId);

	return database >= 0 && mailbox_is_unsettled(database);
}

void
home_refuse_unsettled(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("durable actors of this database wait, for it was restored from a dump"),
			 errhint("When all of it is restored, dlog.settle(true) lets them go on in the place of those that were dumped, dlog.settle(false) as copies of them.")));
}

/*
 * home_claim
 *		Durable actors, or messages to those of other nodes, are about to be
 *		in the tables of this database.  ERROR 55000: it is unsettled.
 */
void
home_claim(void)
{
	if (OidIsValid(claimed) && claimed == home_table())
		return;
	if (is_among_rows())
	{
		/* Unless it is this transaction that has written it, it is there to stay. */
		claimed = TransactionIdIsValid(GetTopTransactionIdIfAny()) ? InvalidOid : home_table();
		return;
	}
	if (!home_is_settled())
		home_refuse_unsettled();
	(void) run("INSERT INTO dlog.durable_home (node_id, database, tables, is_successor) VALUES ($1, $2, $3, $4)"
			   " ON CONFLICT DO NOTHING",
			   false);
}

/* ------------------------------------------------------------- references */

/* This database and those before it, as far back as each was a successor. */
static void
read_former(void)
{
	StatementScope scope;
	MemoryContext old;
	bool goes_on = false;

	PushActiveSnapshot(GetTransactionSnapshot());
	statement_open(&scope);
	(void) statement_run_typed("SELECT node_id, database, is_successor FROM dlog.durable_home ORDER BY since DESC", 0, NULL, NULL, NULL);
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (former != NULL)
		pfree(former);
	former = palloc(sizeof(Home) * Max(SPI_processed, 1));
	n_former = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		bool is_null;

		if (goes_on)
		{
			former[n_former].node_id = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &is_null));
			former[n_former++].database = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &is_null));
		}
		goes_on = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &is_null));
		if (!goes_on)
			break;
	}
	MemoryContextSwitchTo(old);
	statement_close(&scope);
	PopActiveSnapshot();
}

/*
 * home_was
 *		Does a reference to a durable actor mean one of this database, since
 *		it is the successor of the one that it names?
 */
bool
home_was(const ActorRef *ref)
{
	int database = runtime_database(MyDatabaseId);
	uint32 version;

	if (database < 0 || !IsTransactionState())
		return false;
	version = pg_atomic_read_u32(&database_journal(database)->homes);
	if (former == NULL || version != former_version)
		read_former();
	former_version = version;
	for (int i = 0; i < n_former; i++)
		if (former[i].node_id == ref->node_id && former[i].database == ref->database)
			return true;
	return false;
}

/* ---------------------------------------------------------------- settling */

static void
at_transaction_end(XactEvent event, void *argument)
{
	int database;

	if (!rechecks || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	rechecks = false;
	database = runtime_database(MyDatabaseId);
	if (event == XACT_EVENT_ABORT || database < 0)
		return;
	pg_atomic_fetch_add_u32(&database_journal(database)->homes, 1);
	mailbox_deliver_again(database);

	/* Timers, the outbox, and children of supervisors. */
	runtime_request_refresh(MyDatabaseId);
}

/*
 * dlog.durable_home_changed() -> trigger
 *		A row comes from a dump.
 */
Datum
dlog_durable_home_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("dlog.durable_home_changed() is a trigger function")));
	if (!is_among_rows())
		rechecks = true;
	PG_RETURN_POINTER(trigger->tg_trigtuple);
}

/* Nodes that do not know this one, as its key is another, have nothing of it yet. */
#define NEW_TO_OTHERS(column, value) \
	column " = CASE WHEN EXISTS (SELECT FROM dlog.durable_home WHERE node_id OPERATOR(pg_catalog.=) $1) THEN " column " ELSE " value " END"

/*
 * dlog.settle(is_successor) -> bigint
 *		Durable actors of a database that was restored go on; how many
 *		messages for other nodes leave now, or are dropped.
 */
Datum
dlog_settle(PG_FUNCTION_ARGS)
{
	bool is_successor = PG_GETARG_BOOL(0);
	int64 n;

	runtime_require();
	PreventCommandIfReadOnly("dlog.settle()");
	if (home_is_settled())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("durable actors of this database do not wait for dlog.settle()"),
				 errdetail("It was not restored from a dump that has some, or is settled.")));
	n = DatumGetInt64(run("SELECT pg_catalog.count(*) FROM dlog.outbox", is_successor));
	if (is_successor)
		/* What the dumped one has sent since then, the other nodes know. */
		(void) run("UPDATE dlog.outbox_link SET started_at = '-infinity'," NEW_TO_OTHERS("generation", "pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::pg_catalog.text, 0)") "," NEW_TO_OTHERS("sequence", "1"), is_successor);
	else
		(void) run("WITH sent AS (DELETE FROM dlog.outbox) DELETE FROM dlog.outbox_link", is_successor);
	(void) run("INSERT INTO dlog.durable_home (node_id, database, tables, is_successor) VALUES ($1, $2, $3, $4)", is_successor);
	rechecks = true;
	PG_RETURN_INT64(n);
}

void
home_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}
