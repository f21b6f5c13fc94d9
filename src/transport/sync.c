/*
 * sync.c
 *		Tables dlog.node that have come apart come together again.
 *
 * A change of the membership is told to all members that can be reached.  One
 * that could not be, because it was down or cut off, catches up here: network
 * processes tell each other what the tables come to (network_membership.c),
 * when a link comes up and now and then, and where that differs, a scheduler
 * asks for the other's table and takes over what is newer.
 *
 * Words.  A row's *version* is when it was made, in microseconds since 1970, or
 * one more than any version known then, whichever is higher: later changes
 * have higher ones.  Version 0 is a row that was added by hand, with
 * dlog.add_node(); it is this database's own and does not spread.  Of a node
 * that was removed dlog.removed_node keeps the number and the version.
 *
 * What cannot be taken over, for example since two nodes have joined under
 * one name in two halves of a cluster, is logged each time it is tried.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/extension.h"
#include "base/guc.h"
#include "base/own_sql.h"
#include "transport/member.h"

#define PAGE_ROWS 80 /* that fit into a message, however long their texts are */
#define ANSWER_MS Max(dlog_connect_timeout, 10000)

/* -------------------------------------------------- what a table comes to */

/*
 * sync_row_hash
 *		A row's part of the digest, which is all parts in exclusive or.
 */
uint64
sync_row_hash(uint64 node_id, uint64 version, bool is_removed)
{
	uint64 hash = node_id;

	if (node_id == 0 || version == 0)
		return 0;
	hash ^= hash >> 30;
	hash *= UINT64CONST(0xbf58476d1ce4e5b9);
	hash ^= version ^ (is_removed ? UINT64CONST(1) << 63 : 0);
	hash ^= hash >> 27;
	hash *= UINT64CONST(0x94d049bb133111eb);
	return hash ^ (hash >> 31);
}

/*
 * sync_digest
 *		What dlog.removed_node comes to.  In a transaction.
 */
uint64
sync_digest(void)
{
	Oid schema = get_namespace_oid("dlog", true);
	Oid table = OidIsValid(schema) ? get_relname_relid("removed_node", schema) : InvalidOid;
	uint64 digest = 0;
	Relation relation;
	Snapshot snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (!OidIsValid(table))
		return 0;
	relation = table_open(table, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(relation, NULL);
	scan = table_beginscan(relation, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool is_null;
		uint64 node_id = (uint64) DatumGetInt64(slot_getattr(slot, 1, &is_null));
		uint64 version = (uint64) DatumGetInt64(slot_getattr(slot, 2, &is_null));

		digest ^= sync_row_hash(node_id, version, true);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return digest;
}

/* ------------------------------------------------------- showing our table */

/*
 * Work handler: answers with a page of the table.
 */
static void
handle_ask(Message *message)
{
	int level;
	NodeTableAskMessage ask;
	NodeTableMessage table;
	Message *answer;
	char *rows;
	uint64 n_rows;

	if (!node_table_ask_read(message->payload, message->size, &ask))
		return;
	extension_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	level = own_sql_begin();
	{
		Oid types[2] = {INT8OID, INT4OID};
		Datum values[2] = {Int64GetDatum((int64) ask.after), Int32GetDatum(PAGE_ROWS)};

		if (SPI_execute_with_args("SELECT pg_catalog.json_agg(r)::pg_catalog.text, pg_catalog.count(*) FROM"
								  " (SELECT * FROM"
								  " (SELECT node_id, version, false AS removed, name, address, port, public_key,"
								  " previous_key, database FROM dlog.node WHERE version > 0 AND node_id IS NOT NULL"
								  " UNION ALL"
								  " SELECT node_id, version, true, NULL, NULL, NULL, NULL, NULL, NULL"
								  " FROM dlog.removed_node) AS u"
								  " WHERE node_id > $1 ORDER BY node_id LIMIT $2) AS r",
								  2, types, values, NULL, true, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not read dlog.node");
	}
	rows = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	n_rows = strtou64(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2), NULL, 10);
	if (rows == NULL)
		rows = "[]";
	table = (NodeTableMessage){
		.request = ask.request,
		.is_last = n_rows < PAGE_ROWS,
		.rows = {.size = (uint32) strlen(rows), .data = rows},
	};
	answer = message_create(MESSAGE_NODE_TABLE, node_table_size(&table));
	node_table_write(answer->payload, answer->size, &table);
	own_sql_end(level);
	PopActiveSnapshot();
	CommitTransactionCommand();
	(void) actor_send(message->from, answer);
}

/* ------------------------------------------------- taking over another's */

static char *
column(uint64 row, int number)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}

/* A row of the other's table; texts are NULL for one that was removed. */
typedef struct SyncRow
{
	NodeInfo info;
	bool is_removed;
	const char *previous_key;
} SyncRow;

/* Reads a page into "rows", an array of PAGE_ROWS; returns how many there are. */
static int
read_page(const char *json, SyncRow *rows)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(json)};
	int n_rows;

	if (SPI_execute_with_args("SELECT node_id, version, removed, name, address, port, public_key, previous_key, database"
							  " FROM pg_catalog.json_to_recordset($1::pg_catalog.json) AS r(node_id pg_catalog.int8,"
							  " version pg_catalog.int8, removed pg_catalog.bool, name pg_catalog.text,"
							  " address pg_catalog.text, port pg_catalog.int4, public_key pg_catalog.text,"
							  " previous_key pg_catalog.text, database pg_catalog.text)"
							  " WHERE node_id > 0 AND version > 0",
							  1, types, values, NULL, true, PAGE_ROWS) != SPI_OK_SELECT)
		elog(ERROR, "could not read a page of dlog.node");
	n_rows = (int) SPI_processed;
	for (int i = 0; i < n_rows; i++)
	{
		char *port = column(i, 6);

		rows[i] = (SyncRow){
			.info = {
				.node_id = strtou64(column(i, 1), NULL, 10),
				.version = strtou64(column(i, 2), NULL, 10),
				.name = column(i, 4),
				.address = column(i, 5),
				.port = port == NULL ? 0 : atoi(port),
				.public_key = column(i, 7),
				.database = column(i, 9),
			},
			.is_removed = column(i, 3) != NULL && column(i, 3)[0] == 't',
			.previous_key = column(i, 8),
		};
	}
	return n_rows;
}

/* Takes over one row, if it is newer than what is known here. */
static void
take_over(const SyncRow *row, uint64 own_id)
{
	Oid types[2] = {INT8OID, TEXTOID};
	Datum values[2] = {Int64GetDatum((int64) row->info.node_id), (Datum) 0};
	char nulls[2] = {' ', ' '};
	uint64 version = 0;
	char *name = NULL;

	if (row->info.node_id == own_id)
		return;
	if (SPI_execute_with_args("SELECT version, name FROM dlog.node WHERE node_id = $1"
							  " UNION ALL SELECT version, NULL FROM dlog.removed_node WHERE node_id = $1"
							  " ORDER BY 1 DESC LIMIT 1",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read dlog.node");
	if (SPI_processed == 1)
	{
		version = strtou64(column(0, 1), NULL, 10);
		name = column(0, 2);
	}
	if (version >= row->info.version)
		return;
	if (row->is_removed)
	{
		if (name != NULL)
			member_remove(name, row->info.version);
		else
			member_note_removed(row->info.node_id, row->info.version);
		return;
	}
	if (row->info.name == NULL || row->info.address == NULL || row->info.public_key == NULL ||
		row->info.database == NULL)
		return;
	member_add(&row->info);
	values[1] = row->previous_key == NULL ? (Datum) 0 : CStringGetTextDatum(row->previous_key);
	nulls[1] = row->previous_key == NULL ? 'n' : ' ';
	if (SPI_execute_with_args("UPDATE dlog.node SET previous_key = $2 WHERE node_id = $1"
							  " AND previous_key IS DISTINCT FROM $2",
							  2, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not update dlog.node");
}

/* One row in a transaction of its own, so that it fails alone. */
static void
try_row(const SyncRow *row, uint64 own_id)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		int level;

		extension_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		level = own_sql_begin();
		member_lock();
		take_over(row, own_id);
		own_sql_end(level);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		ereport(LOG,
				(errmsg("dlog: could not take over what another node lists as \"%s\": %s",
						row->info.name == NULL ? "(removed)" : row->info.name, error->message),
				 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
				 error->hint != NULL ? errhint("%s", error->hint) : 0));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* Asks for the page behind a node; NULL if there is no answer. */
static char *
ask_page(ActorAddress database, uint64 after, bool *is_last)
{
	NodeTableAskMessage ask = {.request = 0, .after = after};
	Question *question = questions_create(1);
	NodeTableMessage table;
	char *rows = NULL;

	question->to = database;
	question->message = message_create(MESSAGE_NODE_TABLE_ASK, node_table_ask_size(&ask));
	node_table_ask_write(question->message->payload, question->message->size, &ask);
	ask_all(question, 1, ANSWER_MS);
	if (question->answer == NULL)
		return NULL;
	if (question->answer->type == MESSAGE_NODE_TABLE &&
		node_table_read(question->answer->payload, question->answer->size, &table))
	{
		rows = pnstrdup(table.rows.data, table.rows.size);
		*is_last = table.is_last != 0;
	}
	return rows;
}

static void
compare_with(uint32 node)
{
	MemoryContext context = CurrentMemoryContext;
	ActorAddress database;
	uint64 own_id;
	char own_key[KEY_TEXT_SIZE];
	uint64 after = 0;
	bool is_last = false;

	transport_this_key(&own_id, own_key);
	extension_begin();
	database = database_address(node, node_database(node));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);

	while (!is_last)
	{
		int level;
		SyncRow *rows = palloc(sizeof(SyncRow) * PAGE_ROWS);
		MemoryContext page = AllocSetContextCreate(context, "dlog page of nodes", ALLOCSET_DEFAULT_SIZES);
		char *json;
		int n_rows;

		json = ask_page(database, after, &is_last);
		if (json == NULL)
			return;
		pg_verifymbstr(json, (int) strlen(json), false);

		/* The texts outlive the transaction that has read them. */
		extension_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		level = own_sql_begin();
		n_rows = read_page(json, rows);
		MemoryContextSwitchTo(page);
		for (int i = 0; i < n_rows; i++)
		{
			NodeInfo *info = &rows[i].info;

			info->name = info->name == NULL ? NULL : pstrdup(info->name);
			info->address = info->address == NULL ? NULL : pstrdup(info->address);
			info->public_key = info->public_key == NULL ? NULL : pstrdup(info->public_key);
			info->database = info->database == NULL ? NULL : pstrdup(info->database);
			rows[i].previous_key = rows[i].previous_key == NULL ? NULL : pstrdup(rows[i].previous_key);
		}
		own_sql_end(level);
		PopActiveSnapshot();
		CommitTransactionCommand();
		MemoryContextSwitchTo(context);

		if (n_rows == 0)
			break;
		after = rows[n_rows - 1].info.node_id;
		for (int i = 0; i < n_rows; i++)
			try_row(&rows[i], own_id);
		MemoryContextDelete(page);
		pfree(rows);
	}
}

/*
 * Work handler: the network process has heard that a node's table differs.
 */
static void
handle_sync(Message *message)
{
	NodeSyncMessage sync;

	if (message->from.node != THIS_NODE || !node_sync_read(message->payload, message->size, &sync))
		return;
	transport_sync_seen();
	compare_with(sync.node);
}

/*
 * sync_init
 *		Called once, in the postmaster.
 */
void
sync_init(void)
{
	runtime_register_work(MESSAGE_NODE_TABLE_ASK, handle_ask);
	runtime_register_work(MESSAGE_NODE_SYNC, handle_sync);
}
