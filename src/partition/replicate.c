/*
 * replicate.c
 *		Small tables that are whole on every node.
 *
 * A *replicated* table is an ordinary table of the same name on each node
 * that has a *copy*.  All copies are equal: whoever changes rows of one
 * changes them in all, in one transaction.  A join of a distributed table
 * with it can then be done by each node.
 *
 * Statement triggers do it.  Before a statement changes anything, its
 * transaction takes the table's lock on the node whose name sorts first, so
 * that writers of different nodes follow each other and meet no deadlock.
 * After it, the rows that it inserted, updated or deleted, as the server's
 * transition tables hold them, go to the other copies, where
 * dlog.replicated_apply() finds the same rows by their primary key.  What is
 * applied fires the same triggers there, which know it and do nothing.
 *
 * A node that joins later has no copy, and is not asked for joins with the
 * table, until dlog.replicate_table() is called again.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "base/function.h"
#include "base/guc.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "partition/partition_internal.h"
#include "remote/remote.h"

DLOG_FUNCTION(dlog_replicated_apply);
DLOG_FUNCTION(dlog_replicate_before);
DLOG_FUNCTION(dlog_replicate_after);

/* Rows that travel in one request. */
#define BATCH_ROWS 1000
#define BATCH_BYTES (1024 * 1024)

/* What is done to a copy; the letters are what nodes tell each other. */
typedef enum Change
{
	CHANGE_INSERT = 'i',
	CHANGE_UPDATE = 'u',
	CHANGE_DELETE = 'd',
	CHANGE_TRUNCATE = 't'
} Change;

/* This process applies what another node did: its triggers stay quiet. */
static bool is_applying;

/* --- who has a copy ------------------------------------------------------- */

/* The numbers of the other nodes that have a copy and still exist. */
static List *
other_copies(Oid table)
{
	List *names;
	List *nodes = NIL;
	ListCell *cell;

	if (!replicated_table_read(table, &names))
		elog(ERROR, "table %u is not replicated", table);
	foreach(cell, names)
	{
		uint32 node;

		if (strcmp(lfirst(cell), node_this_name()) == 0)
			continue;
		node = node_find(lfirst(cell), true);
		if (node != NODE_NOT_FOUND && node != THIS_NODE)
			nodes = lappend_int(nodes, (int) node);
	}
	return nodes;
}

/*
 * replicated_table_require_copies
 *		Refuse to change a table's definition while a node has no copy of it.
 */
void
replicated_table_require_copies(Oid table)
{
	List *copies = other_copies(table);
	ListCell *cell;

	foreach(cell, node_list(false))
		if (!list_member_int(copies, lfirst_int(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("node \"%s\" has no copy of replicated table \"%s\"",
							node_name((uint32) lfirst_int(cell)), get_rel_name(table)),
					 errhint("Call dlog.replicate_table() again, which makes it.")));
}

/*
 * replicated_tables_forget_node
 *		A node leaves, or is removed: whatever it keeps is no copy any more, and
 *		another node may come by that name.
 */
void
replicated_tables_forget_node(const char *name)
{
	ListCell *cell;

	foreach(cell, replicated_table_list())
	{
		List *names;
		List *left = NIL;
		ListCell *inner;
		Datum *values;
		int n = 0;

		replicated_table_read(lfirst_oid(cell), &names);
		foreach(inner, names)
			if (strcmp(lfirst(inner), name) != 0)
				left = lappend(left, lfirst(inner));
		if (list_length(left) == list_length(names))
			continue;
		values = palloc(sizeof(Datum) * Max(list_length(left), 1));
		foreach(inner, left)
			values[n++] = DirectFunctionCall1(namein, CStringGetDatum(lfirst(inner)));
		replicated_table_add(lfirst_oid(cell),
							 construct_array(values, n, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
	}
}

/*
 * partition_has_copy
 *		Is this a replicated table that all these nodes (numbers) have?
 */
bool
partition_has_copy(Oid table, List *nodes)
{
	return partition_is_replicated(table) &&
		   list_difference_int(nodes, other_copies(table)) == NIL;
}

/* --- rows to other nodes --------------------------------------------------- */

/* Rows on their way, as an array of the table's row type. */
typedef struct RowBatch
{
	Oid type;
	ArrayBuildState *rows;
	int n_rows;
	Size n_bytes;
} RowBatch;

static void
batch_add(RowBatch *batch, TupleTableSlot *slot)
{
	Datum row = ExecFetchSlotHeapTupleDatum(slot);

	batch->rows = accumArrayResult(batch->rows, row, false, batch->type, CurrentMemoryContext);
	batch->n_rows++;
	batch->n_bytes += HeapTupleHeaderGetDatumLength(DatumGetHeapTupleHeader(row));
}

static Datum
batch_take(RowBatch *batch)
{
	Datum array = batch->rows != NULL ?
					  makeArrayResult(batch->rows, CurrentMemoryContext) :
					  PointerGetDatum(construct_empty_array(batch->type));

	batch->rows = NULL;
	batch->n_rows = 0;
	batch->n_bytes = 0;
	return array;
}

static bool
batch_is_full(const RowBatch *batch)
{
	return batch->n_rows >= BATCH_ROWS || batch->n_bytes >= BATCH_BYTES;
}

/*
 * Have the other copies do the same with these rows.  They do it as a role
 * that owns the table: whoever may update a row need not be allowed to
 * delete it.
 */
static void
send_change(Relation relation, Oid role, List *nodes, Change change,
			Datum before, Datum after, int n_rows)
{
	Oid table = RelationGetRelid(relation);
	Oid array_type = get_array_type(relation->rd_rel->reltype);
	Oid types[2] = {array_type, array_type};
	Datum values[2] = {before, after};
	bool nulls[2] = {before == (Datum) 0, after == (Datum) 0};
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.n_params = 2,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.writes = true,
	};
	Oid user;
	int security_context;
	ListCell *cell;

	request.sql = psprintf("SELECT dlog.replicated_apply(%s::pg_catalog.regclass, '%c', $1, $2)::pg_catalog.text",
						   quote_literal_cstr(quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
																		 RelationGetRelationName(relation))),
						   change);
	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(role, security_context | SECURITY_LOCAL_USERID_CHANGE);
	foreach(cell, nodes)
	{
		uint32 node = (uint32) lfirst_int(cell);
		char *applied = remote_run_text(node, &request);

		if (applied == NULL || (change != CHANGE_TRUNCATE && atoi(applied) != n_rows))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the copy of replicated table \"%s\" on node \"%s\" differs from that on node \"%s\"",
							get_rel_name(table), node_name(node), node_this_name()),
					 errdetail("It changed %s rows where %d were changed here.",
							   applied != NULL ? applied : "no", n_rows)));
	}

	/* An error restores it too, with the transaction. */
	SetUserIdAndSecContext(user, security_context);
}

/* --- triggers --------------------------------------------------------------- */

static TriggerData *
require_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by the trigger manager")));
	return (TriggerData *) fcinfo->context;
}

/*
 * Not what another node has sent, nor changes of a table that another node
 * made and that is not replicated any more.
 */
static bool
has_to_be_sent(Relation relation)
{
	Oid table = RelationGetRelid(relation);

	if (is_applying || !partition_is_replicated(table))
		return false;
	if (!dlog_propagate_ddl && !object_ownercheck(RelationRelationId, table, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of replicated table \"%s\" to change one copy alone",
						RelationGetRelationName(relation)),
				 errhint("RESET dlog.propagate_ddl lets the change go to all copies.")));
	return dlog_propagate_ddl;
}

Datum
dlog_replicate_before(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo);
	Relation relation = trigger->tg_relation;

	if (has_to_be_sent(relation))
	{
		ListCell *cell;

		foreach(cell, other_copies(RelationGetRelid(relation)))
			link_require((uint32) lfirst_int(cell));
		everywhere_lock(get_namespace_name(RelationGetNamespace(relation)),
						RelationGetRelationName(relation));
	}
	return PointerGetDatum(NULL);
}

static bool
next_row(Tuplestorestate *rows, TupleTableSlot *slot)
{
	return rows != NULL && tuplestore_gettupleslot(rows, true, false, slot);
}

/*
 * Rows of one kind, in batches.  Those of an update go at once: which old
 * row became which new one is not known, and only rows whose key is gone are
 * to be deleted.
 */
static void
send_rows(Relation relation, List *nodes, Change change,
		  Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog replicated rows",
												  ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation),
													&TTSOpsMinimalTuple);
	RowBatch old_batch = {.type = relation->rd_rel->reltype};
	RowBatch new_batch = {.type = relation->rd_rel->reltype};
	MemoryContext caller = MemoryContextSwitchTo(context);
	Oid owner = relation->rd_rel->relowner;

	if (change == CHANGE_UPDATE)
	{
		int n_rows;
		Datum before;

		while (next_row(old_rows, slot))
			batch_add(&old_batch, slot);
		while (next_row(new_rows, slot))
			batch_add(&new_batch, slot);
		n_rows = new_batch.n_rows;
		before = batch_take(&old_batch);
		if (n_rows > 0)
			send_change(relation, owner, nodes, change, before, batch_take(&new_batch), n_rows);
	}
	else
	{
		Tuplestorestate *rows = change == CHANGE_INSERT ? new_rows : old_rows;
		bool more;

		do
		{
			more = next_row(rows, slot);
			if (more)
				batch_add(&new_batch, slot);
			if (new_batch.n_rows > 0 && (!more || batch_is_full(&new_batch)))
			{
				int n_rows = new_batch.n_rows;
				Datum batch = batch_take(&new_batch);

				send_change(relation, owner, nodes, change,
							change == CHANGE_INSERT ? (Datum) 0 : batch,
							change == CHANGE_INSERT ? batch : (Datum) 0, n_rows);
				ExecClearTuple(slot);
				MemoryContextReset(context);
			}
		} while (more);
	}
	MemoryContextSwitchTo(caller);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(context);
}

Datum
dlog_replicate_after(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo);
	Relation relation = trigger->tg_relation;
	List *nodes;

	if (!has_to_be_sent(relation))
		return PointerGetDatum(NULL);
	nodes = other_copies(RelationGetRelid(relation));
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		send_change(relation, relation->rd_rel->relowner, nodes, CHANGE_TRUNCATE, (Datum) 0, (Datum) 0, 0);
	else
		send_rows(relation, nodes,
				  TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? CHANGE_INSERT :
				  TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? CHANGE_UPDATE :
															   CHANGE_DELETE,
				  trigger->tg_oldtable, trigger->tg_newtable);
	return PointerGetDatum(NULL);
}

/* --- applying -------------------------------------------------------------- */

/* The parts of the statements over a table that its definition determines. */
typedef struct ApplyText
{
	char *table;
	StringInfoData columns; /* that hold values */
	StringInfoData values;	/* the same, of row r */
	StringInfoData key;		/* columns of the primary key */
	StringInfoData same;	/* t and r have the same key */
	StringInfoData matched; /* r and n have */
	StringInfoData updates; /* columns, from excluded */
} ApplyText;

static void
append_listed(StringInfo text, const char *separator, const char *what)
{
	appendStringInfo(text, "%s%s", text->len > 0 ? separator : "", what);
}

/* As it stands between two operands. */
static char *
qualified_operator(Oid oid)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oid));
	Form_pg_operator form;
	char *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", oid);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return text;
}

static void
read_apply_text(Relation relation, ApplyText *text)
{
	TupleDesc columns = RelationGetDescr(relation);

	text->table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
											 RelationGetRelationName(relation));
	initStringInfo(&text->columns);
	initStringInfo(&text->values);
	initStringInfo(&text->key);
	initStringInfo(&text->same);
	initStringInfo(&text->matched);
	initStringInfo(&text->updates);
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		const char *name = quote_identifier(NameStr(column->attname));

		if (column->attisdropped || column->attgenerated != '\0')
			continue;
		append_listed(&text->columns, ", ", name);
		append_listed(&text->values, ", ", psprintf("r.%s", name));
		append_listed(&text->updates, ", ", psprintf("%s = excluded.%s", name, name));
	}
}

static void
read_key_text(Relation relation, ApplyText *text)
{
	TupleDesc columns = RelationGetDescr(relation);
	Oid key_oid = relation_primary_key(relation);
	Relation key;

	if (!OidIsValid(key_oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replicated table \"%s\" has no primary key",
						RelationGetRelationName(relation))));
	key = index_open(key_oid, AccessShareLock);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(key); i++)
	{
		AttrNumber number = key->rd_index->indkey.values[i];
		Oid type = key->rd_opcintype[i];
		Oid equal = get_opfamily_member(key->rd_opfamily[i], type, type, BTEqualStrategyNumber);
		const char *name = quote_identifier(NameStr(TupleDescAttr(columns, number - 1)->attname));
		char *operator= qualified_operator(equal);

		append_listed(&text->key, ", ", name);
		append_listed(&text->same, " AND ", psprintf("t.%s %s r.%s", name, operator, name));
		append_listed(&text->matched, " AND ", psprintf("n.%s %s r.%s", name, operator, name));
	}
	index_close(key, AccessShareLock);
}

static uint64
apply_run(const char *sql, Oid array_type, Datum before, Datum after)
{
	Oid types[2] = {array_type, array_type};
	Datum values[2] = {before, after};
	char nulls[2] = {before == (Datum) 0 ? 'n' : ' ', after == (Datum) 0 ? 'n' : ' '};
	uint64 processed;
	int result;

	SPI_connect();
	result = SPI_execute_with_args(sql, 2, types, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	processed = SPI_processed;
	SPI_finish();
	return processed;
}

static uint64
apply(Relation relation, Change change, Datum before, Datum after)
{
	Oid array_type = get_array_type(relation->rd_rel->reltype);
	ApplyText text;

	read_apply_text(relation, &text);
	if (change != CHANGE_INSERT)
		read_key_text(relation, &text);
	switch (change)
	{
		case CHANGE_INSERT:
			return apply_run(psprintf("INSERT INTO %s (%s) SELECT %s FROM pg_catalog.unnest($2) r",
									  text.table, text.columns.data, text.values.data),
							 array_type, before, after);
		case CHANGE_DELETE:
			return apply_run(psprintf("DELETE FROM %s t USING pg_catalog.unnest($1) r WHERE %s",
									  text.table, text.same.data),
							 array_type, before, after);
		default:
			(void) apply_run(psprintf("DELETE FROM %s t USING pg_catalog.unnest($1) r WHERE %s"
									  " AND NOT EXISTS (SELECT FROM pg_catalog.unnest($2) n WHERE %s)",
									  text.table, text.same.data, text.matched.data),
							 array_type, before, after);
			return apply_run(psprintf("INSERT INTO %s (%s) SELECT %s FROM pg_catalog.unnest($2) r"
									  " ON CONFLICT (%s) DO UPDATE SET %s",
									  text.table, text.columns.data, text.values.data, text.key.data,
									  text.updates.data),
							 array_type, before, after);
	}
}

/* replicated_apply(table, change, before, after): rows changed */
Datum
dlog_replicated_apply(PG_FUNCTION_ARGS)
{
	Oid table = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	volatile char change = PG_ARGISNULL(1) ? '\0' : PG_GETARG_CHAR(1);
	Oid array_type = get_fn_expr_argtype(fcinfo->flinfo, 2);
	Relation relation = try_table_open(table, RowExclusiveLock);
	volatile uint64 processed = 0;
	int settings;

	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	if (!object_ownercheck(RelationRelationId, table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relation->rd_rel->relkind),
					   RelationGetRelationName(relation));
	if (array_type != get_array_type(relation->rd_rel->reltype) ||
		strchr("iudt", change) == NULL || change == '\0' ||
		(strchr("ud", change) != NULL && PG_ARGISNULL(2)) ||
		(strchr("ui", change) != NULL && PG_ARGISNULL(3)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("these are no changes of table \"%s\"", RelationGetRelationName(relation))));

	settings = fixed_settings_begin();
	is_applying = true;
	PG_TRY();
	{
		if (change == CHANGE_TRUNCATE)
		{
			char *qualified = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
														 RelationGetRelationName(relation));

			/* Which nobody may have open. */
			table_close(relation, NoLock);
			(void) run_here(psprintf("TRUNCATE %s", qualified));
		}
		else
		{
			processed = apply(relation, change,
							  PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
							  PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3));
			table_close(relation, NoLock);
		}
	}
	PG_FINALLY();
	{
		is_applying = false;
	}
	PG_END_TRY();
	fixed_settings_end(settings);
	PG_RETURN_INT64(processed);
}

/* --- making and ending ------------------------------------------------------- */

static char *
names_array(List *names)
{
	StringInfoData text;
	ListCell *cell;

	initStringInfo(&text);
	foreach(cell, names)
		append_listed(&text, ", ", quote_literal_cstr(lfirst(cell)));
	return psprintf("ARRAY[%s]::pg_catalog.name[]", text.data);
}

static const char *const trigger_names[] = {"dlog_before", "dlog_insert", "dlog_update",
											"dlog_delete", "dlog_truncate"};

/* What makes a table's changes go to its copies, from the node it runs on. */
static char *
registration_script(const char *qualified, List *nodes, bool has_triggers)
{
	StringInfoData script;

	initStringInfo(&script);
	appendStringInfo(&script, "SELECT dlog.replicated_table_add(%s, %s);\n",
					 quote_literal_cstr(qualified), names_array(nodes));
	if (has_triggers)
		return script.data;
	appendStringInfo(&script,
					 "CREATE TRIGGER dlog_before BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s"
					 " FOR EACH STATEMENT EXECUTE FUNCTION dlog.replicate_before();\n"
					 "CREATE TRIGGER dlog_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows"
					 " FOR EACH STATEMENT EXECUTE FUNCTION dlog.replicate_after();\n"
					 "CREATE TRIGGER dlog_update AFTER UPDATE ON %s"
					 " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
					 " FOR EACH STATEMENT EXECUTE FUNCTION dlog.replicate_after();\n"
					 "CREATE TRIGGER dlog_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows"
					 " FOR EACH STATEMENT EXECUTE FUNCTION dlog.replicate_after();\n"
					 "CREATE TRIGGER dlog_truncate AFTER TRUNCATE ON %s"
					 " FOR EACH STATEMENT EXECUTE FUNCTION dlog.replicate_after();\n",
					 qualified, qualified, qualified, qualified, qualified);
	/* Also in a session that applies logical replication. */
	for (int i = 0; i < lengthof(trigger_names); i++)
		appendStringInfo(&script, "ALTER TABLE %s ENABLE ALWAYS TRIGGER %s;\n",
						 qualified, trigger_names[i]);
	return script.data;
}

/* All rows of the table to a new copy. */
static uint64
send_all_rows(Oid table, uint32 node)
{
	Relation relation = table_open(table, NoLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog replicated rows",
												  ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
	RowBatch batch = {.type = relation->rd_rel->reltype};
	List *nodes = list_make1_int((int) node);
	uint64 n_sent = 0;
	bool more;

	do
	{
		MemoryContext caller = MemoryContextSwitchTo(context);

		more = table_scan_getnextslot(scan, ForwardScanDirection, slot);
		if (more)
			batch_add(&batch, slot);
		if (batch.n_rows > 0 && (!more || batch_is_full(&batch)))
		{
			int n_rows = batch.n_rows;

			/* Its owner is told when it is complete. */
			send_change(relation, GetUserId(), nodes, CHANGE_INSERT,
						(Datum) 0, batch_take(&batch), n_rows);
			n_sent += n_rows;
			MemoryContextReset(context);
		}
		MemoryContextSwitchTo(caller);
	} while (more);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(context);
	table_close(relation, NoLock);
	return n_sent;
}

/* Has that node a table that it knows to be a copy of this one? */
static bool
has_copy_there(uint32 node, const TableDefinition *definition)
{
	RemoteRequest request = {.kind = REMOTE_SCRIPT, .writes = true};
	char *answer;

	request.sql = psprintf("SELECT EXISTS (SELECT FROM dlog.replicated_table"
						   " WHERE relation OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s))::pg_catalog.text",
						   quote_literal_cstr(definition->qualified));
	answer = remote_run_text(node, &request);
	return answer != NULL && strcmp(answer, "true") == 0;
}

/*
 * replicate_table
 *		Make a table that is here one that all nodes have.
 *
 * For a table that is replicated already, make the copies that are missing.
 */
void
replicate_table(Oid table)
{
	Relation relation = table_open_to_change(table, ShareRowExclusiveLock, "replicate_table");
	bool was_replicated = partition_is_replicated(table);
	int settings = fixed_settings_begin();
	TableDefinition *definition;
	List *names = list_make1(pstrdup(node_this_name()));
	List *others = node_list(false);
	List *known = NIL;
	uint64 n_rows = 0;
	int n_made = 0;
	ListCell *cell;

	if (!was_replicated)
		check_replicable(relation);
	table_close(relation, NoLock);
	definition = definition_read(table);
	foreach(cell, others)
	{
		uint32 node = (uint32) lfirst_int(cell);
		char *beginning;

		names = lappend(names, pstrdup(node_name(node)));
		if (was_replicated && has_copy_there(node, definition))
		{
			known = lappend_int(known, (int) node);
			continue;
		}
		beginning = node_schema_script(node, definition);
		run_there(node, psprintf("%s%s", beginning, definition_copy_script(definition)));
		n_rows = send_all_rows(table, node);
		STOP_POINT("replicate-rows-copied");
		run_there(node, definition_copy_finish_script(definition));
		n_made++;
	}

	/* Each knows who has copies only when all of them are there. */
	run_here(registration_script(definition->qualified, names, was_replicated));
	foreach(cell, others)
		run_there((uint32) lfirst_int(cell),
				  registration_script(definition->qualified, names,
									  list_member_int(known, lfirst_int(cell))));
	fixed_settings_end(settings);

	if (n_made > 0)
		ereport(NOTICE,
				(errmsg("replicated table \"%s\": " UINT64_FORMAT " rows to %d nodes",
						definition->name, n_rows, n_made)));
}

/*
 * unreplicate_table
 *		Keep the copy that is here, as an ordinary table, and drop the others.
 */
void
unreplicate_table(Oid table)
{
	Relation relation = table_open_to_change(table, AccessExclusiveLock, "unreplicate_table");
	int settings = fixed_settings_begin();
	char *qualified;
	ListCell *cell;

	if (!partition_is_replicated(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a replicated table", RelationGetRelationName(relation))));
	CheckTableNotInUse(relation, "unreplicate");
	qualified = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
										   RelationGetRelationName(relation));
	table_close(relation, NoLock);
	foreach(cell, other_copies(table))
		run_there((uint32) lfirst_int(cell), psprintf("DROP TABLE IF EXISTS %s", qualified));
	replicated_table_end(table);
	fixed_settings_end(settings);
}

/*
 * replicated_table_end
 *		Make the copy that is here an ordinary table.  In fixed settings.
 */
void
replicated_table_end(Oid table)
{
	const char *qualified = quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
													   get_rel_name(table));

	for (int i = 0; i < lengthof(trigger_names); i++)
		run_here(psprintf("DROP TRIGGER %s ON %s", trigger_names[i], qualified));
	replicated_table_remove(table);
}
