/*
 * sync.c
 *		All nodes of a database come to know the same flocks.
 *
 * A flock is created, altered or dropped in the table dlog.flock of one node.
 * Network processes tell each other what the tables come to
 * (transport/network_tables.c); where that differs, a scheduler asks for the
 * other's rows and takes over those of a higher *version*, which is when the
 * row was changed, as in transport/sync.c.  A flock that was dropped keeps its
 * row, so that a node that was away does not bring it back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/extension.h"
#include "base/guc.h"
#include "flock/flock_internal.h"

/* That fit into a message: of each the tags have at most 1 kB, sources as much. */
#define PAGE_ROWS 16

/* ------------------------------------------------------- showing our table */

/*
 * Work handler: answers with a page of the table.
 */
static void
handle_ask(Message *message)
{
	FlockTableAskMessage ask;
	FlockTableMessage table;
	StatementScope scope;
	Message *answer;
	char *rows;
	char *n_rows;
	char *after;

	if (!flock_table_ask_read(message->payload, message->size, &ask))
		return;
	after = pnstrdup(ask.after.data, ask.after.size);
	pg_verifymbstr(after, (int) strlen(after), false);
	extension_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	statement_open(&scope);
	statement_run("SELECT COALESCE(json_agg(r ORDER BY r.name), '[]')::text, count(*) FROM"
				  " (SELECT name, tags, discover_via, heartbeat_interval, owner, version, is_dropped FROM dlog.flock"
				  "  WHERE name COLLATE \"C\" > $1 ORDER BY name COLLATE \"C\" LIMIT " CppAsString2(PAGE_ROWS) ") AS r",
				  1, (const char *[]){after});
	rows = statement_column(0, 1);
	n_rows = statement_column(0, 2);
	table = (FlockTableMessage){
		.request = ask.request,
		.is_last = atoi(n_rows) < PAGE_ROWS,
		.rows = {.size = (uint32) strlen(rows), .data = rows},
	};
	answer = message_create(MESSAGE_FLOCK_TABLE, flock_table_size(&table));
	flock_table_write(answer->payload, answer->size, &table);
	statement_close(&scope);
	PopActiveSnapshot();
	CommitTransactionCommand();
	(void) actor_send(message->from, answer);
}

/* ------------------------------------------------- taking over another's */

/* Waits for the page that was asked for; NULL if it does not come. */
static Message *
receive_page(BoundActor *self, uint32 node, uint32 epoch)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Max(dlog_connect_timeout, 10000));

	for (;;)
	{
		Message *message = bound_actor_receive(self);
		long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (message != NULL && message->type == MESSAGE_FLOCK_TABLE)
			return message;
		if (message != NULL)
		{
			message_free(message);
			return NULL; /* it was not delivered */
		}
		if (left_ms <= 0 || link_epoch(node) != epoch)
			return NULL;
		(void) runtime_wait(left_ms, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Asks a node for the page behind a flock; NULL if there is no answer. */
static char *
ask_page(uint32 node, ActorAddress database, const char *after, bool *is_last)
{
	FlockTableAskMessage ask = {.after = {.size = (uint32) strlen(after), .data = after}};
	FlockTableMessage table;
	BoundActor *self = bound_actor_spawn(CurrentMemoryContext, "flock table");
	uint32 epoch = link_epoch(node);
	Message *question = message_create(MESSAGE_FLOCK_TABLE_ASK, flock_table_ask_size(&ask));
	Message *answer = NULL;
	char *rows = NULL;

	flock_table_ask_write(question->payload, question->size, &ask);
	question->from = bound_actor_address(self);
	link_watch();
	PG_TRY();
	{
		if (actor_send(database, question) == SEND_OK)
			answer = receive_page(self, node, epoch);
	}
	PG_FINALLY();
	{
		link_unwatch();
	}
	PG_END_TRY();
	if (answer != NULL && flock_table_read(answer->payload, answer->size, &table))
	{
		rows = pnstrdup(table.rows.data, table.rows.size);
		*is_last = table.is_last != 0;
	}
	if (answer != NULL)
		message_free(answer);
	bound_actor_exit(self);
	return rows;
}

/* Takes over what is newer; returns the last name of the page, "" if none. */
static char *
take_over(const char *rows)
{
	MemoryContext context = CurrentMemoryContext;
	StatementScope scope;
	char *last;

	extension_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	statement_open(&scope);
	statement_run("INSERT INTO dlog.flock AS f (name, tags, discover_via, heartbeat_interval, owner, version, is_dropped)"
				  " SELECT name, tags, discover_via, heartbeat_interval, owner, version, is_dropped"
				  " FROM json_populate_recordset(NULL::dlog.flock, $1::json)"
				  " ON CONFLICT (name) DO UPDATE SET tags = excluded.tags, discover_via = excluded.discover_via,"
				  "  heartbeat_interval = excluded.heartbeat_interval, owner = excluded.owner,"
				  "  version = excluded.version, is_dropped = excluded.is_dropped"
				  " WHERE f.version < excluded.version",
				  1, &rows);
	statement_run("SELECT COALESCE(max(name COLLATE \"C\"), '') FROM json_populate_recordset(NULL::dlog.flock, $1::json)",
				  1, &rows);
	last = MemoryContextStrdup(context, statement_column(0, 1));
	statement_close(&scope);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return last;
}

/*
 * Work handler: the network process has heard that a node's table differs.
 */
static void
handle_sync(Message *message)
{
	MemoryContext context = CurrentMemoryContext;
	FlockSyncMessage sync;
	ActorAddress database;
	char *after = "";
	bool is_last = false;

	if (message->from.node != THIS_NODE || !flock_sync_read(message->payload, message->size, &sync))
		return;
	transport_flock_sync_seen();
	extension_begin();
	database = database_address(sync.node, node_database(sync.node));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);

	while (!is_last)
	{
		char *rows = ask_page(sync.node, database, after, &is_last);

		if (rows == NULL)
			return;
		pg_verifymbstr(rows, (int) strlen(rows), false);
		after = take_over(rows);
		if (after[0] == '\0')
			return;
	}
}

/*
 * flock_sync_init
 *		Called once, in the postmaster.
 */
void
flock_sync_init(void)
{
	runtime_register_work(MESSAGE_FLOCK_TABLE_ASK, handle_ask);
	runtime_register_work(MESSAGE_FLOCK_SYNC, handle_sync);
}
