/*
 * broken.c
 *		Actors that cannot be loaded, until somebody has mended something.
 *
 * Such an actor has its slot, and its mail waits there.  It is tried again
 * after a while, which doubles each time (actor/durable.c), and at once when a
 * transaction commits that has changed a behavior or run DDL.  That others do
 * not have its invalidations yet when they are told is why the first tries
 * come soon after each other.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/arena.h"
#include "base/function.h"
#include "base/pg_compat.h"
#include "journal/journal_internal.h"

DLOG_FUNCTION(dlog_broken);

/* This transaction has changed something that actors may have failed at. */
static bool mends_at_commit = false;

static ProcessUtility_hook_type previous_utility;

/* ------------------------------------------------------------------ who is */

static void
put_text(char *to, Size size, const char *text)
{
	strlcpy(to, text == NULL ? "" : text, size);
	to[pg_mbcliplen(to, strlen(to), size - 1)] = '\0';
}

/*
 * broken_enter
 *		It has failed so often now, and is tried again after so long; negative:
 *		when somebody says so.
 */
void
broken_enter(int64 id, const ErrorData *error, uint32 tries, int64 delay_ms)
{
	Broken *broken = arena_try_alloc(sizeof(Broken));

	/* Without memory nobody is told, but it is tried again. */
	if (broken == NULL)
		return;
	broken->sqlerrcode = error->sqlerrcode;
	broken->tries = tries;
	broken->since = GetCurrentTimestamp();
	broken->next_try = delay_ms < 0 ? DT_NOEND : TimestampTzPlusMilliseconds(broken->since, delay_ms);
	put_text(broken->error, sizeof(broken->error), error->message);
	put_text(broken->detail, sizeof(broken->detail), error->detail);
	put_text(broken->hint, sizeof(broken->hint), error->hint);
	loaded_is_broken(id, broken);
}

void
broken_leave(int64 id)
{
	loaded_is_broken(id, NULL);
}

/* ------------------------------------------------------------------ mending */

/*
 * broken_retry
 *		In a scheduler: have all of this database tried again.
 */
void
broken_retry(DatabaseJournal *journal)
{
	int n;
	LoadedBroken *broken = loaded_broken(&n);

	for (int i = 0; i < n; i++)
		actor_retry(broken[i].address);
	pfree(broken);
}

static void
something_has_changed(void)
{
	mends_at_commit = true;
}

/* DDL, but for what applications run all the time and does not mend anything. */
static bool
may_mend(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateStmt:
			return ((CreateStmt *) statement)->relation->relpersistence != RELPERSISTENCE_TEMP;
		case T_CreateTableAsStmt:
		case T_DropStmt:
		case T_IndexStmt:
		case T_RefreshMatViewStmt:
			return false;
		default:
			return GetCommandLogLevel(statement) == LOGSTMT_DDL;
	}
}

static void
process_utility(PlannedStmt *planned, const char *text, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	if (may_mend(planned->utilityStmt))
		something_has_changed();
	if (previous_utility)
		previous_utility(planned, text, read_only_tree, context, params, environment, destination, completion);
	else
		standard_ProcessUtility(planned, text, read_only_tree, context, params, environment, destination, completion);
}

static void
at_transaction_end(XactEvent event, void *argument)
{
	int database;

	if (!mends_at_commit || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	mends_at_commit = false;
	database = event == XACT_EVENT_COMMIT ? runtime_database(MyDatabaseId) : -1;
	if (database < 0 || pg_atomic_read_u32(&database_journal(database)->broken) == 0)
		return;
	pg_atomic_write_u32(&database_journal(database)->mends, 1);
	(void) runtime_wake_scheduler(database);
}

/* --------------------------------------------------------------------- view */

/*
 * dlog.broken() -> setof (id, sqlstate, error, detail, hint, since, tries, next_try)
 *		Those of whose owner the present role is a member.
 */
Datum
dlog_broken(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int n = 0;
	LoadedBroken *broken = NULL;

	InitMaterializedSRF(fcinfo, 0);
	if (runtime_database(MyDatabaseId) >= 0)
		broken = loaded_broken(&n);
	for (int i = 0; i < n; i++)
	{
		const Broken *why = &broken[i].broken;
		DurableActor actor;
		Datum values[8];
		bool nulls[8] = {false};

		if (!durable_read(broken[i].id, &actor) || !has_privs_of_role(GetUserId(), actor.owner))
			continue;
		values[0] = Int64GetDatum(broken[i].id);
		values[1] = CStringGetTextDatum(unpack_sql_state(why->sqlerrcode));
		values[2] = CStringGetTextDatum(why->error);
		values[3] = CStringGetTextDatum(why->detail);
		nulls[3] = why->detail[0] == '\0';
		values[4] = CStringGetTextDatum(why->hint);
		nulls[4] = why->hint[0] == '\0';
		values[5] = TimestampTzGetDatum(why->since);
		values[6] = Int32GetDatum((int32) why->tries);
		values[7] = TimestampTzGetDatum(why->next_try);
		nulls[7] = TIMESTAMP_IS_NOEND(why->next_try);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

void
broken_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	behavior_changed_hook = something_has_changed;
	RegisterXactCallback(at_transaction_end, NULL);
}
