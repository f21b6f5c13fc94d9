/*
 * activity.c
 *		dlog.queries: the remote statements in flight, seen from either side.
 *
 * A table in shared memory has room for the statements of all processes; an
 * entry is claimed and written by the process that it belongs to.  Readers
 * copy an entry and look at its change count before and after, as they do
 * with the server's own backend status.  When the table is full, statements
 * run without being listed, and the view's function says how many.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "remote/remote_internal.h"

/* Some statements per process: a fan-out asks each node, a session several. */
#define ENTRIES_PER_BACKEND 8

typedef struct ActivityTable
{
	pg_atomic_uint32 hint;	   /* where to look for a free entry */
	pg_atomic_uint64 unlisted; /* statements that found none */
	uint32 n_entries;		   /* never changes after start */
	Activity entries[FLEXIBLE_ARRAY_MEMBER];
} ActivityTable;

static ActivityTable *table;

static uint32
entry_count(void)
{
	return MaxBackends * ENTRIES_PER_BACKEND;
}

Size
activity_shmem_size(void)
{
	return add_size(offsetof(ActivityTable, entries),
					mul_size(entry_count(), sizeof(Activity)));
}

void
activity_shmem_init(void)
{
	bool found;

	table = ShmemInitStruct("dlog queries", activity_shmem_size(), &found);
	if (found)
		return;
	memset(table, 0, activity_shmem_size());
	pg_atomic_init_u32(&table->hint, 0);
	pg_atomic_init_u64(&table->unlisted, 0);
	table->n_entries = entry_count();
	for (uint32 i = 0; i < table->n_entries; i++)
	{
		pg_atomic_init_u32(&table->entries[i].pid, 0);
		pg_atomic_init_u32(&table->entries[i].changecount, 0);
		pg_atomic_init_u32(&table->entries[i].waits, 0);
		pg_atomic_init_u64(&table->entries[i].rows, 0);
		pg_atomic_init_u64(&table->entries[i].bytes, 0);
	}
}

static Activity *
claim(void)
{
	uint32 start = pg_atomic_fetch_add_u32(&table->hint, 1);

	for (uint32 i = 0; i < table->n_entries; i++)
	{
		Activity *activity = &table->entries[(start + i) % table->n_entries];
		uint32 nobody = 0;

		if (pg_atomic_read_u32(&activity->pid) == 0 &&
			pg_atomic_compare_exchange_u32(&activity->pid, &nobody, MyProcPid))
			return activity;
	}
	pg_atomic_fetch_add_u64(&table->unlisted, 1);
	return NULL;
}

/*
 * activity_begin
 *		List a statement; NULL if there is no room, which all calls take.
 */
Activity *
activity_begin(ActivityRole side, uint32 node, const char *node_name,
			   uint64 request_id, const char *text)
{
	Activity *activity = claim();

	if (activity == NULL)
		return NULL;
	pg_atomic_fetch_add_u32(&activity->changecount, 1);
	pg_write_barrier();
	activity->database = MyDatabaseId;
	activity->role = GetUserId();
	activity->side = side;
	activity->node = node;
	activity->since = GetCurrentTimestamp();
	activity->request_id = request_id;
	strlcpy(activity->node_name, node_name, NAMEDATALEN);
	activity->text[0] = '\0';
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&activity->changecount, 1);
	activity_set(activity, ACTIVITY_RUNS, 0, 0);
	activity_set_text(activity, GetUserId(), text);
	return activity;
}

void
activity_set_text(Activity *activity, Oid role, const char *text)
{
	if (activity == NULL || text == NULL)
		return;
	pg_atomic_fetch_add_u32(&activity->changecount, 1);
	pg_write_barrier();
	activity->role = role;
	strlcpy(activity->text, text, ACTIVITY_TEXT_SIZE);
	activity->text[pg_mbcliplen(activity->text, strlen(activity->text),
								ACTIVITY_TEXT_SIZE - 1)] = '\0';
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&activity->changecount, 1);
}

void
activity_end(Activity *activity)
{
	if (activity == NULL)
		return;
	Assert(pg_atomic_read_u32(&activity->pid) == MyProcPid);
	pg_atomic_write_u32(&activity->pid, 0);
}

/* What a statement waits for is called in dlog.queries, and in pg_stat_activity. */
static const struct
{
	const char *name;
	const char *event;
} waits_for[] = {
	[ACTIVITY_RUNS] = {NULL, "DlogRun"},
	[ACTIVITY_WAITS_FOR_LINK] = {"link", "DlogLink"},
	[ACTIVITY_WAITS_FOR_SCHEDULER] = {"scheduler", "DlogScheduler"},
	[ACTIVITY_WAITS_FOR_ROWS] = {"rows", "DlogRows"},
	[ACTIVITY_WAITS_FOR_READER] = {"reader", "DlogReader"},
	[ACTIVITY_WAITS_FOR_INPUT] = {"input", "DlogInput"},
};

/*
 * activity_wait_event
 *		The wait event of what is waited for.  Servers before 17 have one for all
 *		extensions, "Extension".
 */
uint32
activity_wait_event(ActivityWait waits)
{
	static uint32 events[lengthof(waits_for)];

	if (events[waits] == 0)
		events[waits] = WaitEventExtensionNew(waits_for[waits].event);
	return events[waits];
}

DLOG_FUNCTION(dlog_queries);

/* dlog.queries(): as pg_stat_activity, others' texts only for those who may. */
Datum
dlog_queries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool sees_all;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	sees_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	for (uint32 i = 0; i < table->n_entries; i++)
	{
		Activity *shared = &table->entries[i];
		Activity activity;
		uint32 before;
		uint32 pid;
		const char *waits;
		Datum values[10];
		bool nulls[10] = {0};

		do
		{
			before = pg_atomic_read_u32(&shared->changecount);
			pg_read_barrier();
			pid = pg_atomic_read_u32(&shared->pid);
			memcpy(&activity, shared, sizeof(Activity));
			pg_read_barrier();
			CHECK_FOR_INTERRUPTS();
		} while (pid != 0 && ((before & 1) || before != pg_atomic_read_u32(&shared->changecount)));
		if (pid == 0 || activity.database != MyDatabaseId)
			continue;

		waits = waits_for[pg_atomic_read_u32(&activity.waits)].name;
		values[0] = CStringGetTextDatum(activity.side == ACTIVITY_ASKER ? "asker" : "executor");
		values[1] = CStringGetTextDatum(activity.node_name);
		values[2] = Int32GetDatum(pid);
		values[3] = CStringGetTextDatum(GetUserNameFromId(activity.role, true) ? GetUserNameFromId(activity.role, true) : "");
		values[4] = CStringGetTextDatum(waits == NULL ? "running" : "waiting");
		if (waits == NULL)
			nulls[5] = true;
		else
			values[5] = CStringGetTextDatum(waits);
		values[6] = TimestampTzGetDatum(activity.since);
		values[7] = Int64GetDatum(pg_atomic_read_u64(&activity.rows));
		values[8] = Int64GetDatum(pg_atomic_read_u64(&activity.bytes));
		if (sees_all || has_privs_of_role(GetUserId(), activity.role))
			values[9] = CStringGetTextDatum(activity.text);
		else
			values[9] = CStringGetTextDatum("<insufficient privilege>");
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
