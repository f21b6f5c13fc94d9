/*
 * modify.c
 *		INSERT, COPY, UPDATE, DELETE and TRUNCATE of foreign tables.
 *
 * Rows that are inserted go into a *stream*, one for each foreign table and
 * statement, which is finished with the statement; that is when the errors of
 * its last rows are seen.  Where somebody looks at the rows before (RETURNING,
 * row triggers, statement triggers, checks of a view), or a conflict is to be
 * passed over, they go in INSERT statements instead: a *batch* of rows in each,
 * or one row where its result is needed at once.
 *
 * Rows that are updated or deleted one by one were locked there when they
 * were scanned, and are named by their ctid.  What can be said in a single
 * statement is not done here, see direct_modify.c.
 *
 * A row may *move*: be updated so that it belongs to another partition.  The
 * server does not move rows out of foreign tables; row_move() does.
 *
 * All of this happens in the remote transaction of our transaction.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "commands/trigger.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/optimizer.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/tuplestore.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "query/query_internal.h"

/* More parameters than this do not fit into one statement. */
#define MAX_PARAMETERS 65535

/* The foreign table that is modified, whatever the command. */
typedef struct Target
{
	Relation relation;
	RelationText text;
	Oid role;
	List *columns;	   /* attnos: all that the table has */
	bool returns_rows; /* what became of a row must be known here */
	RowMap *map;	   /* if it returns rows */
	TupleTableSlot *received;
	TupleTableSlot *row;
} Target;

/* Rows on their way into a foreign table. */
typedef struct Insertion
{
	Target target;
	List *columns; /* attnos: those that take values */
	bool is_streamed;
	/* the stream */
	RemoteStream *stream; /* NULL until there is a row */
	TupleTableSlot *put;  /* a row with just these columns, if it has others */
	bool is_deferred;	  /* rows wait until the statement has read the table */
	Tuplestorestate *deferred;
	/* statements */
	RemoteRequest request;
	const char *conflict;  /* " ON CONFLICT ...", or NULL */
	List *values;		   /* of ExprState: its parameters */
	ExprContext *econtext; /* for those */
	int request_rows;	   /* rows that the request's text is for */
} Insertion;

/* Rows of a foreign table that are updated or deleted one by one. */
typedef struct RowChange
{
	Target target;
	ModifyTableState *mtstate;
	AttrNumber ctid_attno; /* in the plan's rows */
	List *columns;		   /* attnos: those that are set */
	RemoteRequest request;
	bool may_move;
	const char *delete_sql; /* for rows that move */
} RowChange;

/* ResultRelInfo.ri_FdwState: a table can be updated and take rows that move. */
typedef struct ForeignModify
{
	Insertion *insertion;
	RowChange *change;
} ForeignModify;

/* --- targets --------------------------------------------------------------- */

static ForeignModify *
foreign_modify(ResultRelInfo *rinfo)
{
	if (rinfo->ri_FdwState == NULL)
		rinfo->ri_FdwState = palloc0(sizeof(ForeignModify));
	return rinfo->ri_FdwState;
}

static void
target_init(Target *target, ResultRelInfo *rinfo, EState *estate)
{
	target->relation = rinfo->ri_RelationDesc;
	target->role = ExecGetResultRelCheckAsUser(rinfo, estate);
	target->columns = relation_columns(target->relation);
	relation_text_init(&target->text, target->relation);
}

static Oid
column_type(Target *target, AttrNumber attno)
{
	return TupleDescAttr(RelationGetDescr(target->relation), attno - 1)->atttypid;
}

/* Columns of a target that are given values: all but the generated ones. */
static List *
target_settable_columns(Target *target)
{
	TupleDesc desc = RelationGetDescr(target->relation);
	List *columns = NIL;
	ListCell *cell;

	foreach(cell, target->columns)
	{
		if (TupleDescAttr(desc, lfirst_int(cell) - 1)->attgenerated == '\0')
			columns = lappend_int(columns, lfirst_int(cell));
	}
	return columns;
}

/*
 * Columns of which an insertion sends values: the settable ones.  Of a
 * distributed table's, not those that the role may not insert: the statement
 * has not named them, and their defaults are the same there.
 */
static List *
target_insertable_columns(Target *target, ResultRelInfo *rinfo)
{
	List *columns = target_settable_columns(target);
	ResultRelInfo *root = rinfo->ri_RootResultRelInfo != NULL ? rinfo->ri_RootResultRelInfo : rinfo;
	Oid table = RelationGetRelid(root->ri_RelationDesc);
	ListCell *cell;

	if (target->text.home.parent_name == NULL ||
		pg_class_aclcheck(table, target->role, ACL_INSERT) == ACLCHECK_OK)
		return columns;
	foreach(cell, columns)
	{
		char *name = get_attname(RelationGetRelid(target->relation), lfirst_int(cell), false);

		if (pg_attribute_aclcheck(table, get_attnum(table, name), target->role,
								  ACL_INSERT) != ACLCHECK_OK)
			columns = foreach_delete_current(columns, cell);
	}
	return columns;
}

static void
target_return_rows(Target *target, EState *estate, RemoteRequest *request)
{
	target->returns_rows = true;
	target->map = row_map(target->columns);
	request->result_desc = request_result_desc(target->relation, target->columns);
	target->received = ExecInitExtraTupleSlot(estate, request->result_desc,
											  &TTSOpsMinimalTuple);
	target->row = ExecInitExtraTupleSlot(estate,
										 RelationGetDescr(target->relation),
										 &TTSOpsVirtual);
}

static void
append_returning(Target *target, StringInfo sql)
{
	if (!target->returns_rows)
		return;
	appendStringInfoString(sql, " RETURNING ");
	if (target->columns == NIL)
		appendStringInfoString(sql, "true");
	else
		relation_text_columns(&target->text, sql, target->columns);
}

/*
 * Run a statement about one row or a batch, and return the rows affected.
 * When it returns a row, that replaces the slot's.
 */
static uint64
target_run(Target *target, const RemoteRequest *request, TupleTableSlot *slot)
{
	RemoteStream *stream;
	uint64 rows = 0;

	if (!target->returns_rows)
		return request_run(target->text.home.node, request, target->role);

	stream = request_open(CurrentMemoryContext, target->text.home.node, request,
						  target->role);
	while (request_next(stream, target->received))
	{
		row_map_store(target->map, target->received, target->row);
		ExecCopySlot(slot, target->row);
		rows++;
	}
	ExecClearTuple(target->row);
	ExecClearTuple(target->received);
	remote_close(stream);
	return rows;
}

static void
set_parameter_types(RemoteRequest *request, int n, Oid *types)
{
	request->n_params = n;
	request->param_types = types;
	request->param_values = palloc(sizeof(Datum) * Max(n, 1));
	request->param_nulls = palloc(sizeof(bool) * Max(n, 1));
}

/* Parameters first, first + 1, ... become a row's values of these columns. */
static void
set_parameters(RemoteRequest *request, int first, List *columns,
			   TupleTableSlot *slot)
{
	ListCell *cell;

	foreach(cell, columns)
	{
		int i = first + foreach_current_index(cell);
		bool is_null;

		((Datum *) request->param_values)[i] = slot_getattr(slot, lfirst_int(cell),
															&is_null);
		((bool *) request->param_nulls)[i] = is_null;
	}
}

/* --- INSERT ---------------------------------------------------------------- */

/*
 * Must a row be returned as it was stored there?  The plan tells, since the
 * ResultRelInfo is not complete when we are asked to begin; COPY has none.
 */
static bool
row_is_needed(ModifyTableState *mtstate, bool has_after_row_trigger)
{
	ModifyTable *plan = (ModifyTable *) mtstate->ps.plan;

	return has_after_row_trigger ||
		   (plan != NULL && (plan->returningLists != NIL ||
							 plan->withCheckOptionLists != NIL));
}

/* Do triggers here look at the rows before the statement ends? */
static bool
triggers_await_rows(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	ResultRelInfo *root = mtstate->rootResultRelInfo;
	TriggerDesc *triggers = rinfo->ri_TrigDesc;
	TriggerDesc *root_triggers = root != NULL ? root->ri_TrigDesc : NULL;

	return (triggers != NULL && (triggers->trig_insert_before_row ||
								 triggers->trig_insert_after_row)) ||
		   (root_triggers != NULL && (root_triggers->trig_insert_after_statement ||
									  root_triggers->trig_update_after_statement));
}

/* What becomes of a row that is there already, if the statement says. */
static void
insertion_set_conflict(Insertion *insertion, ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	TriggerDesc *triggers = rinfo->ri_TrigDesc;
	RelationText *text = &insertion->target.text;

	insertion->conflict = conflict_clause(mtstate, rinfo, text);
	if (text->values == NIL)
		return;
	if (mtstate->mt_transition_capture != NULL ||
		(triggers != NULL && (triggers->trig_insert_after_row ||
							  triggers->trig_update_before_row ||
							  triggers->trig_update_after_row)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("triggers of foreign table \"%s\" would not know which rows are updated",
						RelationGetRelationName(rinfo->ri_RelationDesc)),
				 errdetail("ON CONFLICT DO UPDATE finds that out on node \"%s\".",
						   node_display_name(text->home.node)),
				 errhint("Have the triggers on the table there.")));
	insertion->values = ExecInitExprList(text->values, &mtstate->ps);
	insertion->econtext = CreateExprContext(mtstate->ps.state);
}

static Insertion *
insertion_create(ModifyTableState *mtstate, ResultRelInfo *rinfo, bool is_deferred)
{
	EState *estate = mtstate->ps.state;
	Insertion *insertion = palloc0(sizeof(Insertion));
	TriggerDesc *triggers = rinfo->ri_TrigDesc;
	Target *target = &insertion->target;

	target_init(target, rinfo, estate);
	insertion->columns = target_insertable_columns(target, rinfo);
	insertion->is_deferred = is_deferred;
	insertion_set_conflict(insertion, mtstate, rinfo);
	insertion->request.kind = REMOTE_QUERY;
	insertion->request.writes = true;
	insertion->request.estate = estate;
	insertion->is_streamed = insertion->conflict == NULL &&
							 insertion->columns != NIL &&
							 !triggers_await_rows(mtstate, rinfo) &&
							 (is_deferred || !row_is_needed(mtstate, false));
	if (insertion->is_streamed)
	{
		if (list_length(insertion->columns) < RelationGetNumberOfAttributes(target->relation))
			insertion->put = ExecInitExtraTupleSlot(estate,
													request_result_desc(target->relation, insertion->columns),
													&TTSOpsVirtual);
	}
	else if (row_is_needed(mtstate, triggers != NULL && triggers->trig_insert_after_row))
		target_return_rows(target, estate, &insertion->request);
	return insertion;
}

static char *
insertion_text(Insertion *insertion, int n_rows)
{
	int n_columns = list_length(insertion->columns);
	int n_values = list_length(insertion->values);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s%s", insertion->target.text.name,
					 n_values > 0 ? " AS r" : "");
	if (n_columns == 0)
		appendStringInfoString(&sql, " DEFAULT VALUES");
	else
	{
		/* As in a stream, what we give counts also for identity columns. */
		appendStringInfoString(&sql, " (");
		relation_text_columns(&insertion->target.text, &sql, insertion->columns);
		appendStringInfo(&sql, ") OVERRIDING SYSTEM VALUE %sVALUES ",
						 n_values > 0 ? "SELECT * FROM (" : "");
		for (int row = 0; row < n_rows; row++)
		{
			appendStringInfoString(&sql, row > 0 ? ", (" : "(");
			for (int column = 0; column < n_columns; column++)
				appendStringInfo(&sql, "%s$%d", column > 0 ? ", " : "",
								 n_values + row * n_columns + column + 1);
			appendStringInfoChar(&sql, ')');
		}
		if (n_values > 0)
			appendStringInfoString(&sql, ") v WHERE " CONFLICT_GUARD);
	}
	if (insertion->conflict != NULL)
		appendStringInfoString(&sql, insertion->conflict);
	append_returning(&insertion->target, &sql);
	return sql.data;
}

/* Make the request's text and parameters fit a number of rows. */
static void
insertion_set_rows(Insertion *insertion, EState *estate, int n_rows)
{
	int n_columns = list_length(insertion->columns);
	int n_parameters = list_length(insertion->values) + n_columns * n_rows;
	MemoryContext previous;
	Oid *types;
	Oid *type;
	ListCell *cell;

	if (insertion->request_rows == n_rows)
		return;
	previous = MemoryContextSwitchTo(estate->es_query_cxt);
	type = types = palloc(sizeof(Oid) * Max(n_parameters, 1));
	foreach(cell, insertion->target.text.values)
		*type++ = exprType(lfirst(cell));
	for (int row = 0; row < n_rows; row++)
	{
		foreach(cell, insertion->columns)
			*type++ = column_type(&insertion->target, lfirst_int(cell));
	}
	set_parameter_types(&insertion->request, n_parameters, types);
	insertion->request.sql = insertion_text(insertion, n_rows);
	insertion->request_rows = n_rows;
	MemoryContextSwitchTo(previous);
}

/* Rows that go in one statement. */
static int
insertion_batch_size(Insertion *insertion, ResultRelInfo *rinfo)
{
	int n_columns = list_length(insertion->columns);
	TriggerDesc *triggers = rinfo->ri_TrigDesc;

	/*
	 * A stream gathers rows by itself.  A row whose result is needed goes
	 * alone; so does one that a trigger may want to see when it looks at the
	 * next.
	 */
	if (insertion->is_streamed || insertion->target.returns_rows ||
		n_columns == 0 ||
		(triggers != NULL && triggers->trig_insert_before_row))
		return 1;
	return Max(1, Min(dlog_insert_batch_size,
					  (MAX_PARAMETERS - list_length(insertion->values)) / n_columns));
}

static void
insertion_open_stream(Insertion *insertion, EState *estate)
{
	const PartitionHome *home = &insertion->target.text.home;
	RemoteRequest request = {.kind = REMOTE_COPY, .writes = true, .estate = estate};
	MemoryContext previous = MemoryContextSwitchTo(estate->es_query_cxt);
	ListCell *cell;

	request.copy_schema = home->schema;
	request.copy_table = home->name;
	request.copy_parent = home->parent_name;
	foreach(cell, insertion->columns)
		request.copy_columns = lappend(request.copy_columns,
									   insertion->target.text.columns[lfirst_int(cell) - 1]);
	request.result_desc = request_result_desc(insertion->target.relation,
											  insertion->columns);
	insertion->stream = request_open(estate->es_query_cxt, home->node, &request,
									 insertion->target.role);
	MemoryContextSwitchTo(previous);
}

static void
insertion_put(Insertion *insertion, EState *estate, TupleTableSlot *slot)
{
	if (unlikely(insertion->stream == NULL))
		insertion_open_stream(insertion, estate);

	if (insertion->put != NULL)
	{
		TupleTableSlot *put = insertion->put;
		ListCell *cell;

		ExecClearTuple(put);
		slot_getallattrs(slot);
		foreach(cell, insertion->columns)
		{
			int i = foreach_current_index(cell);

			put->tts_values[i] = slot->tts_values[lfirst_int(cell) - 1];
			put->tts_isnull[i] = slot->tts_isnull[lfirst_int(cell) - 1];
		}
		slot = ExecStoreVirtualTuple(put);
	}
	remote_put(insertion->stream, slot);
}

/* Keep a row until the statement has read the table that it goes into. */
static void
insertion_defer(Insertion *insertion, EState *estate, TupleTableSlot *slot)
{
	if (insertion->deferred == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(estate->es_query_cxt);

		insertion->deferred = tuplestore_begin_heap(false, false, work_mem);
		MemoryContextSwitchTo(previous);
	}
	tuplestore_puttupleslot(insertion->deferred, slot);
}

static void
insertion_finish(Insertion *insertion, EState *estate)
{
	if (insertion->deferred != NULL)
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(insertion->target.relation),
														&TTSOpsMinimalTuple);

		while (tuplestore_gettupleslot(insertion->deferred, true, false, slot))
			insertion_put(insertion, estate, slot);
		ExecDropSingleTupleTableSlot(slot);
		tuplestore_end(insertion->deferred);
		insertion->deferred = NULL;
	}
	if (insertion->stream != NULL)
	{
		remote_finish(insertion->stream);
		remote_close(insertion->stream);
		insertion->stream = NULL;
	}
}

static TupleTableSlot **
exec_batch_insert(EState *estate, ResultRelInfo *rinfo, TupleTableSlot **slots,
				  TupleTableSlot **plan_slots, int *n_slots)
{
	Insertion *insertion = foreign_modify(rinfo)->insertion;
	int n_columns = list_length(insertion->columns);
	int n_values = list_length(insertion->values);

	insertion_set_rows(insertion, estate, *n_slots);
	if (n_values > 0)
	{
		ResetExprContext(insertion->econtext);
		request_evaluate_parameters(&insertion->request, insertion->values,
									insertion->econtext);
	}
	for (int row = 0; row < *n_slots; row++)
		set_parameters(&insertion->request, n_values + row * n_columns,
					   insertion->columns, slots[row]);
	*n_slots = target_run(&insertion->target, &insertion->request, slots[0]);
	return *n_slots > 0 ? slots : NULL;
}

static TupleTableSlot *
exec_insert(EState *estate, ResultRelInfo *rinfo, TupleTableSlot *slot,
			TupleTableSlot *plan_slot)
{
	Insertion *insertion = foreign_modify(rinfo)->insertion;
	int n_slots = 1;

	if (insertion->is_deferred)
		insertion_defer(insertion, estate, slot);
	else if (insertion->is_streamed)
		insertion_put(insertion, estate, slot);
	else if (exec_batch_insert(estate, rinfo, &slot, &plan_slot, &n_slots) == NULL)
		return NULL;
	return slot;
}

static int
get_batch_size(ResultRelInfo *rinfo)
{
	Insertion *insertion = foreign_modify(rinfo)->insertion;

	return insertion != NULL ? insertion_batch_size(insertion, rinfo) : 1;
}

/* Rows are going to be routed to this table, or copied into it. */
static void
begin_insert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	ForeignModify *modify = foreign_modify(rinfo);
	bool is_deferred;

	/*
	 * Rows that move into a table which the same UPDATE reads must not be
	 * seen by it: they wait until it ends.  What it returns of them is what
	 * was sent.
	 */
	is_deferred = mtstate->operation == CMD_UPDATE && rinfo->ri_RangeTableIndex > 0;
	modify->insertion = insertion_create(mtstate, rinfo, is_deferred);
	if (is_deferred && !modify->insertion->is_streamed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot move rows into foreign table \"%s\", which is being updated",
						RelationGetRelationName(rinfo->ri_RelationDesc)),
				 errdetail("A trigger would look at the rows before the update has read the table.")));
}

static void
end_insert(EState *estate, ResultRelInfo *rinfo)
{
	ForeignModify *modify = rinfo->ri_FdwState;

	if (modify != NULL && modify->insertion != NULL)
		insertion_finish(modify->insertion, estate);
}

/* --- UPDATE and DELETE ----------------------------------------------------- */

static void
add_update_targets(PlannerInfo *root, Index rti, RangeTblEntry *target_rte,
				   Relation target_relation)
{
	Var *ctid = makeVar(rti, SelfItemPointerAttributeNumber, TIDOID, -1,
						InvalidOid, 0);

	add_row_identity_var(root, ctid, rti, "ctid");
}

/* Can an update of these columns make a row leave its partition? */
bool
update_may_move(Relation relation, const Bitmapset *updated)
{
	Bitmapset *key = NULL;

	if (!relation->rd_rel->relispartition)
		return false;
	pull_varattnos((Node *) RelationGetPartitionQual(relation), 1, &key);
	return bms_overlap(key, updated);
}

static List *
updated_columns(Target *target, ResultRelInfo *rinfo, EState *estate)
{
	TriggerDesc *triggers = rinfo->ri_TrigDesc;
	Bitmapset *updated;
	List *columns = NIL;
	ListCell *cell;

	/* A trigger may change any column. */
	if (triggers != NULL && triggers->trig_update_before_row)
		return target_settable_columns(target);

	updated = ExecGetUpdatedCols(rinfo, estate);
	foreach(cell, target_settable_columns(target))
	{
		if (bms_is_member(lfirst_int(cell) - FirstLowInvalidHeapAttributeNumber,
						  updated))
			columns = lappend_int(columns, lfirst_int(cell));
	}
	return columns;
}

/* "UPDATE name SET a = $2, b = $3 WHERE ctid = $1" */
static char *
update_text(RowChange *change)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s SET ", change->target.text.name);
	foreach(cell, change->columns)
		appendStringInfo(&sql, "%s%s = $%d", foreach_current_index(cell) > 0 ? ", " : "",
						 quote_identifier(change->target.text.columns[lfirst_int(cell) - 1]),
						 foreach_current_index(cell) + 2);
	appendStringInfoString(&sql, " WHERE ctid = $1");
	append_returning(&change->target, &sql);
	return sql.data;
}

static char *
delete_text(RowChange *change)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s WHERE ctid = $1", change->target.text.name);
	append_returning(&change->target, &sql);
	return sql.data;
}

static RowChange *
row_change_create(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	EState *estate = mtstate->ps.state;
	RowChange *change = palloc0(sizeof(RowChange));
	Target *target = &change->target;
	TriggerDesc *triggers = rinfo->ri_TrigDesc;
	bool is_update = mtstate->operation == CMD_UPDATE;
	bool has_after_row_trigger = false;
	Oid *types;
	ListCell *cell;

	if (triggers != NULL && is_update)
		has_after_row_trigger = triggers->trig_update_after_row;
	else if (triggers != NULL)
		has_after_row_trigger = triggers->trig_delete_after_row;

	change->mtstate = mtstate;
	target_init(target, rinfo, estate);
	change->ctid_attno =
		ExecFindJunkAttributeInTlist(outerPlanState(mtstate)->plan->targetlist, "ctid");
	if (!AttributeNumberIsValid(change->ctid_attno))
		elog(ERROR, "could not find junk ctid column");

	change->request.kind = REMOTE_QUERY;
	change->request.writes = true;
	change->request.estate = estate;
	change->request.tables = request_tables(&target->text.home);
	if (is_update)
	{
		change->columns = updated_columns(target, rinfo, estate);
		if (triggers != NULL && triggers->trig_update_before_row)
			change->may_move = target->relation->rd_rel->relispartition;
		else
			change->may_move = update_may_move(target->relation,
											   ExecGetUpdatedCols(rinfo, estate));
		change->delete_sql = delete_text(change);
	}
	if (row_is_needed(mtstate, has_after_row_trigger))
		target_return_rows(target, estate, &change->request);
	change->request.sql = is_update ? update_text(change) : delete_text(change);

	types = palloc(sizeof(Oid) * (list_length(change->columns) + 1));
	types[0] = TIDOID;
	foreach(cell, change->columns)
		types[foreach_current_index(cell) + 1] = column_type(target, lfirst_int(cell));
	set_parameter_types(&change->request, list_length(change->columns) + 1, types);
	return change;
}

static void
set_ctid(RowChange *change, TupleTableSlot *plan_slot)
{
	bool is_null;
	Datum ctid = ExecGetJunkAttribute(plan_slot, change->ctid_attno, &is_null);

	if (is_null)
		elog(ERROR, "ctid is NULL");
	((Datum *) change->request.param_values)[0] = ctid;
	((bool *) change->request.param_nulls)[0] = false;
}

/* Delete the row that the request's first parameter names; false: it is gone. */
static bool
row_delete_for_move(RowChange *change)
{
	RemoteRequest request = change->request;

	request.sql = change->delete_sql;
	request.n_params = 1;
	request.result_desc = NULL;
	return request_run(change->target.text.home.node, &request,
					   change->target.role) > 0;
}

/* Insert a row of the root's type into the partition that it belongs to. */
static void
row_route(ModifyTableState *mtstate, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	EState *estate = mtstate->ps.state;
	ResultRelInfo *partition = ExecFindPartition(mtstate, mtstate->rootResultRelInfo,
												 mtstate->mt_partition_tuple_routing,
												 slot, estate);
	TupleConversionMap *map = ExecGetRootToChildMap(partition, estate);
	Relation relation = partition->ri_RelationDesc;

	if (map != NULL)
		slot = execute_attr_map_slot(map->attrMap, slot,
									 partition->ri_PartitionTupleSlot);

	if (partition->ri_FdwRoutine != NULL)
	{
		partition->ri_FdwRoutine->ExecForeignInsert(estate, partition, slot,
													plan_slot);
		return;
	}

	if (relation->rd_rel->relhasindex && partition->ri_IndexRelationDescs == NULL)
		ExecOpenIndices(partition, false);
	ExecSimpleRelationInsert(partition, estate, slot);
}

/*
 * row_move
 *		Delete a row here, and insert it where it belongs now.  Returns false
 *		if it was gone already.
 */
static bool
row_move(RowChange *change, ResultRelInfo *rinfo, TupleTableSlot *slot,
		 TupleTableSlot *plan_slot)
{
	ModifyTableState *mtstate = change->mtstate;
	EState *estate = mtstate->ps.state;
	TupleConversionMap *map;

	/* As of an ordinary partition: one that is updated by itself keeps its rows. */
	if (rinfo == mtstate->rootResultRelInfo)
		ExecPartitionCheckEmitError(rinfo, slot, estate);
	if (mtstate->mt_transition_capture != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot move a row out of foreign table \"%s\"",
						RelationGetRelationName(rinfo->ri_RelationDesc)),
				 errdetail("A trigger of the partitioned table has transition tables.")));

	if (mtstate->mt_partition_tuple_routing == NULL)
	{
		Relation root = mtstate->rootResultRelInfo->ri_RelationDesc;
		MemoryContext previous = MemoryContextSwitchTo(estate->es_query_cxt);

		mtstate->mt_partition_tuple_routing = ExecSetupPartitionTupleRouting(estate, root);
		mtstate->mt_root_tuple_slot = table_slot_create(root, NULL);
		MemoryContextSwitchTo(previous);
	}

	if (!row_delete_for_move(change))
		return false;
	map = ExecGetChildToRootMap(rinfo);
	if (map != NULL)
		slot = execute_attr_map_slot(map->attrMap, slot, mtstate->mt_root_tuple_slot);
	row_route(mtstate, slot, plan_slot);
	return true;
}

static TupleTableSlot *
exec_update(EState *estate, ResultRelInfo *rinfo, TupleTableSlot *slot,
			TupleTableSlot *plan_slot)
{
	RowChange *change = foreign_modify(rinfo)->change;

	set_ctid(change, plan_slot);
	if (change->may_move && !ExecPartitionCheck(rinfo, slot, estate, false))
		return row_move(change, rinfo, slot, plan_slot) ? slot : NULL;

	set_parameters(&change->request, 1, change->columns, slot);
	return target_run(&change->target, &change->request, slot) > 0 ? slot : NULL;
}

static TupleTableSlot *
exec_delete(EState *estate, ResultRelInfo *rinfo, TupleTableSlot *slot,
			TupleTableSlot *plan_slot)
{
	RowChange *change = foreign_modify(rinfo)->change;

	set_ctid(change, plan_slot);
	return target_run(&change->target, &change->request, slot) > 0 ? slot : NULL;
}

static void
begin_modify(ModifyTableState *mtstate, ResultRelInfo *rinfo, List *fdw_private,
			 int subplan_index, int eflags)
{
	ForeignModify *modify = foreign_modify(rinfo);

	if (mtstate->operation == CMD_INSERT)
		modify->insertion = insertion_create(mtstate, rinfo, false);
	else
		modify->change = row_change_create(mtstate, rinfo);
}

static void
explain_modify(ModifyTableState *mtstate, ResultRelInfo *rinfo, List *fdw_private,
			   int subplan_index, ExplainState *es)
{
	ForeignModify *modify = foreign_modify(rinfo);
	Insertion *insertion = modify->insertion;
	StringInfoData sql;

	if (modify->change != NULL)
	{
		request_explain(modify->change->target.text.home.node,
						modify->change->request.sql, NULL, es);
		return;
	}

	initStringInfo(&sql);
	if (insertion->is_streamed)
	{
		appendStringInfo(&sql, "COPY %s (",
						 quote_qualified_identifier(insertion->target.text.home.schema,
													insertion->target.text.home.name));
		relation_text_columns(&insertion->target.text, &sql, insertion->columns);
		appendStringInfoString(&sql, ") FROM STDIN");
	}
	else
		appendStringInfoString(&sql, insertion_text(insertion, 1));
	request_explain(insertion->target.text.home.node, sql.data, NULL, es);
	if (es->verbose && !insertion->is_streamed)
		ExplainPropertyInteger("Batch Size", NULL,
							   insertion_batch_size(insertion, rinfo), es);
}

/* --- TRUNCATE -------------------------------------------------------------- */

/* The server calls it once for all tables of a foreign server. */
static void
exec_truncate(List *relations, DropBehavior behavior, bool restart_sequences)
{
	RemoteRequest request = {.kind = REMOTE_SCRIPT, .writes = true};
	StringInfoData sql;
	PartitionHome home;
	ListCell *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "TRUNCATE ");
	foreach(cell, relations)
	{
		Relation relation = lfirst(cell);

		home = foreign_table_home(relation);
		appendStringInfo(&sql, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 quote_qualified_identifier(home.schema, home.name));
	}
	if (restart_sequences)
		appendStringInfoString(&sql, " RESTART IDENTITY");
	if (behavior == DROP_CASCADE)
		appendStringInfoString(&sql, " CASCADE");

	request.sql = sql.data;
	remote_run(home.node, &request);
}

void
modify_set_routines(FdwRoutine *routine)
{
	routine->AddForeignUpdateTargets = add_update_targets;
	routine->BeginForeignModify = begin_modify;
	routine->ExecForeignInsert = exec_insert;
	routine->ExecForeignBatchInsert = exec_batch_insert;
	routine->GetForeignModifyBatchSize = get_batch_size;
	routine->ExecForeignUpdate = exec_update;
	routine->ExecForeignDelete = exec_delete;
	routine->EndForeignModify = end_insert;
	routine->BeginForeignInsert = begin_insert;
	routine->EndForeignInsert = end_insert;
	routine->ExplainForeignModify = explain_modify;
	routine->ExecForeignTruncate = exec_truncate;
}
