/*
 * executor.c
 *		One statement of another node at work.
 *
 * A statement runs in a portal, so that the server keeps its snapshot and its
 * resources apart from those of others in the same transaction.  Its rows go
 * to a receiver that writes them into chunks.  When the credits are used up,
 * the receiver waits, or, in a pinned session, stops the portal until there
 * is credit again.
 *
 * The text runs as the asking role, with a security context that forbids to
 * change it, under the asking session's settings.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "parser/analyze.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/errcodes.h"
#include "base/pg_compat.h"
#include "base/role.h"
#include "remote/remote_internal.h"

/* While the planner is at work on another node's statement: that statement. */
static CachedStatement *planning;

/* The same until it begins: what it plans on the way are other statements. */
static CachedStatement *planned_next;
static get_relation_info_hook_type previous_relation_info;
static planner_hook_type previous_planner;

const RemoteGatekeeper *remote_gatekeeper;

/* The query that is being planned, if it is a REMOTE_COUNTS. */
static Query *counted;

/* This process works for a request about a partition that has gone. */
static bool is_forwarding;

/* --- what the planner may ask -------------------------------------------- */

bool
remote_is_planning(void)
{
	return planning != NULL;
}

bool
remote_is_executing(void)
{
	return planning != NULL && planning->n_tables > 0;
}

/*
 * remote_counts_add_up
 *		Is this query, now being planned, a request for counts that the asker
 *		adds up?
 */
bool
remote_counts_add_up(const struct Query *parse)
{
	return parse == counted;
}

/*
 * remote_prunes
 *		Is this a leaf partition that the statement is not about?
 */
bool
remote_prunes(Oid relation)
{
	char relkind;

	if (!remote_is_executing() || !get_rel_relispartition(relation) ||
		cached_statement_lists(planning, relation))
		return false;
	relkind = get_rel_relkind(relation);
	if (relkind == RELKIND_PARTITIONED_TABLE)
		return false;
	while (get_rel_relispartition(relation))
	{
		relation = get_partition_parent(relation, true);
		if (cached_statement_has_table(planning, relation))
			return true;
	}
	return false;
}

/*
 * Leave out, before anything is planned for it, each partition that the
 * request does not list: it is another node's, and that node is asked too.
 */
static void
prune_unlisted(PlannerInfo *root, Oid relation, bool is_parent, RelOptInfo *rel)
{
	Index relid = rel->relid;

	if (previous_relation_info)
		previous_relation_info(root, relation, is_parent, rel);
	if (!remote_is_executing() || is_parent ||
		rel->reloptkind != RELOPT_OTHER_MEMBER_REL ||
		cached_statement_lists(planning, relation))
		return;

	while (root->append_rel_array != NULL && root->append_rel_array[relid] != NULL)
	{
		RangeTblEntry *rte;

		relid = root->append_rel_array[relid]->parent_relid;
		rte = planner_rt_fetch(relid, root);
		if (rte->rtekind == RTE_RELATION &&
			cached_statement_has_table(planning, rte->relid))
		{
			mark_dummy_rel(rel);
			return;
		}
	}
}

/*
 * An unlisted partition is no part of the plan but still one of its range
 * table, all of which is locked each time the plan is run.  Those of other
 * nodes are most of a table's partitions; so they go from the range table.
 */
static void
forget_unlisted(PlannedStmt *planned)
{
	Index rti = 0;
	ListCell *cell;

	/* Row marks name all partitions, and open them. */
	if (planned->rowMarks != NIL)
		return;
	foreach(cell, planned->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		rti++;
		if (rte->rtekind != RTE_RELATION || list_member_int(planned->resultRelations, rti) ||
			!remote_prunes(rte->relid))
			continue;
		rte->rtekind = RTE_RESULT;
		rte->relid = InvalidOid;
	}
}

static PlannedStmt *
plan_listed(Query *parse, const char *query_string, int cursor_options,
			ParamListInfo params)
{
	CachedStatement *cached = planned_next;
	Query *counted_before = counted;
	PlannedStmt *planned;

	planned_next = NULL;
	counted = cached != NULL && cached->statement->kind == REMOTE_COUNTS ? parse : NULL;
	planned = previous_planner ?
				  previous_planner(parse, query_string, cursor_options, params) :
				  standard_planner(parse, query_string, cursor_options, params);
	counted = counted_before;
	if (remote_is_executing())
		forget_unlisted(planned);
	if (cached != NULL && cached->statement->kind == REMOTE_PARTIAL)
		remote_leave_unfinished(planned);
	return planned;
}

/* --- the asking session's role and settings ------------------------------ */

static Oid
role_oid(const char *name)
{
	Oid role = get_role_oid(name, true);

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist on node \"%s\"", name,
						node_this_name()),
				 errhint("Statements run on other nodes as the role that asks.")));
	if (object_aclcheck(DatabaseRelationId, MyDatabaseId, role, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for database \"%s\" on node \"%s\"",
						get_database_name(MyDatabaseId), node_this_name()),
				 errdetail("Role \"%s\" does not have CONNECT privilege.", name)));
	return role;
}

static void
apply_setting(const Setting *setting)
{
	const char *current = GetConfigOption(setting->name, true, false);
	bool is_locale = strncmp(setting->name, "lc_", 3) == 0;

	if (setting->value == NULL ||
		(current != NULL && strcmp(current, setting->value) == 0))
		return;

	/*
	 * A locale that this machine lacks stays the node's own.  As SET LOCAL
	 * does it: the statement before may have said that of the same setting.
	 */
	(void) set_config_option(setting->name, setting->value, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 is_locale ? DEBUG1 : 0, false);
}

/*
 * execution_enter
 *		Be the asking role under the asking session's settings.
 *
 * Streams of one transaction may differ in both, so this comes before each
 * stretch of work.  The session undoes it when it ends.
 */
void
execution_enter(Execution *execution)
{
	Statement *statement = execution->cached->statement;
	Oid session_user = get_role_oid(statement->session_user, true);
	ListCell *cell;

	/* A session user that is nobody here must not be somebody else. */
	execution->role = role_oid(statement->role);
	if (!OidIsValid(session_user))
		session_user = execution->role;

	/*
	 * As in a SECURITY DEFINER function, neither the role nor the session's
	 * user can be changed from here on.
	 */
	role_enter(execution->role, session_user,
			   SECURITY_LOCAL_USERID_CHANGE |
				   (statement->is_restricted ? SECURITY_RESTRICTED_OPERATION : 0));
	foreach(cell, statement->settings)
		apply_setting(lfirst(cell));
	(void) encoding_enter(statement->encoding);
	debug_query_string = statement->sql;
	pgstat_report_activity(STATE_RUNNING, statement->sql ? statement->sql : "COPY");
	if (execution->query_id != 0)
		pgstat_report_query_id(execution->query_id, true);
}

/* --- rows out ------------------------------------------------------------ */

typedef struct ChunkReceiver
{
	DestReceiver pub;
	Execution *execution;
} ChunkReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	Execution *execution = ((ChunkReceiver *) self)->execution;
	RowWriter *writer = &execution->writer;

	if (row_writer_put(writer, slot))
	{
		if (writer->asker_is_gone)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the asking session is gone")));
		return true;
	}
	if (execution->is_pinned)
	{
		execution->is_stopped = true;
		activity_set(execution->activity, ACTIVITY_WAITS_FOR_READER,
					 writer->rows, writer->bytes);
		return false;
	}
	do
	{
		session_wait_for_credit(execution);
	} while (!row_writer_continue(writer));
	return true;
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receiver_nothing(DestReceiver *self)
{
}

/* --- what comes out must be what is expected ----------------------------- */

static void
check_columns(Statement *statement, TupleDesc desc)
{
	int n = desc == NULL ? 0 : desc->natts;

	if (n != statement->n_columns)
		ereport(ERROR,
				(errcode(ERRCODE_DLOG_DEFINITION_DIFFERS),
				 errmsg("the statement returns %d columns on node \"%s\" where %d are expected",
						n, node_this_name(), statement->n_columns)));
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute have = TupleDescAttr(desc, i);
		Form_pg_attribute want = TupleDescAttr(statement->result_desc, i);

		if (have->atttypid != want->atttypid ||
			(want->atttypmod != -1 && have->atttypmod != want->atttypmod))
			ereport(ERROR,
					(errcode(ERRCODE_DLOG_DEFINITION_DIFFERS),
					 errmsg("column \"%s\" has type %s on node \"%s\" where %s is expected",
							NameStr(want->attname)[0] != '\0' ? NameStr(want->attname) : NameStr(have->attname),
							format_type_with_typemod(have->atttypid, have->atttypmod),
							node_this_name(),
							format_type_with_typemod(want->atttypid, want->atttypmod))));
	}
}

static bool
can_be_raw(Statement *statement)
{
	if (!statement->wants_raw ||
		statement->server_version / 10000 != PG_VERSION_NUM / 10000 ||
		statement->encoding != GetDatabaseEncoding() ||
		strcmp(statement->architecture, statement_architecture()) != 0)
		return false;
	for (int i = 0; i < statement->n_columns; i++)
	{
		if (!type_is_raw_safe(TupleDescAttr(statement->result_desc, i)->atttypid))
			return false;
	}
	return true;
}

/* Tell an asker that named no columns what they are; they go as text. */
static void
send_columns(Execution *execution, TupleDesc desc)
{
	int encoding = execution->cached->statement->encoding;
	ColumnsMessage columns;
	Message *message;
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		const char *texts[2] = {NameStr(column->attname),
								format_type_be_qualified(column->atttypid)};

		for (int j = 0; j < 2; j++)
		{
			const char *text = pg_server_to_any(texts[j], strlen(texts[j]), encoding);

			pq_sendint32(&out, strlen(text));
			appendBinaryStringInfo(&out, text, strlen(text));
		}
	}
	columns.count = desc->natts;
	columns.columns.data = out.data;
	columns.columns.size = out.len;
	if (columns_size(&columns) > MESSAGE_MAX_PAYLOAD)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the names of %d columns do not fit into a message",
						desc->natts)));
	message = remote_message(MESSAGE_COLUMNS, columns_size(&columns));
	columns_write(message->payload, message->size, &columns);
	message->from = execution->writer.from;
	if (actor_send(execution->asker, message) != SEND_OK)
		execution->writer.asker_is_gone = true;
}

/* Rows of this shape will be sent; desc is NULL if there will be none. */
static void
rows_begin(Execution *execution, TupleDesc desc)
{
	Statement *statement = execution->cached->statement;
	RowWriter *writer = &execution->writer;
	MemoryContext old = MemoryContextSwitchTo(execution->context);
	bool raw = false;
	RowFormat *format = NULL;

	execution->columns = desc;
	if (statement->has_columns)
	{
		if (desc != NULL || statement->n_columns > 0)
			check_columns(statement, desc);
		raw = can_be_raw(statement);
		if (!raw && desc != NULL)
			format = row_format_for_writing(desc, statement->column_forms);
	}
	else if (desc != NULL)
	{
		ColumnForm *forms = palloc(sizeof(ColumnForm) * Max(desc->natts, 1));

		for (int i = 0; i < desc->natts; i++)
			forms[i] = COLUMN_TEXT;
		format = row_format_for_writing(desc, forms);
		format->has_fixed_rules = false; /* it is for people to read */
		send_columns(execution, desc);
	}
	row_writer_init(writer, execution->asker, writer->from, raw, format,
					writer->credits);
	MemoryContextSwitchTo(old);
}

/* --- running ------------------------------------------------------------- */

static CachedPlan *
plan_statement(CachedStatement *cached, ParamListInfo params)
{
	CachedPlan *plan;

	Assert(planning == NULL);
	planning = planned_next = cached;
	PG_TRY();
	{
		plan = GetCachedPlan(cached->source, params, NULL, NULL);
	}
	PG_FINALLY();
	{
		planning = planned_next = NULL;
	}
	PG_END_TRY();
	return plan;
}

/* --- how it was run --------------------------------------------------------- */

static ExecutorStart_hook_type previous_executor_start;
static bool is_to_be_explained; /* the statement that starts next */

static void
start_executor(QueryDesc *query, int eflags)
{
	if (is_to_be_explained)
		query->instrument_options |= INSTRUMENT_TIMER | INSTRUMENT_ROWS;
	is_to_be_explained = false;
	if (previous_executor_start)
		previous_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

/* Tell the asker how the statement was run. */
static void
send_plan(Execution *execution)
{
	ExplainState *es = NewExplainState();
	PlanMessage plan = {0};
	Size room = MESSAGE_MAX_PAYLOAD - plan_size(&plan);
	const char *at;
	Size left;

	es->analyze = true;
	es->costs = true;
	es->timing = true;
	ExplainPrintPlan(es, execution->portal->queryDesc);
	at = pg_server_to_any(es->str->data, es->str->len,
						  execution->cached->statement->encoding);
	for (left = strlen(at); left > 0; left -= plan.text.size)
	{
		Message *message;

		plan.text.data = at;
		plan.text.size = Min(left, room);
		at += plan.text.size;
		message = remote_message(MESSAGE_PLAN, plan_size(&plan));
		plan_write(message->payload, message->size, &plan);
		message->from = execution->writer.from;
		if (actor_send(execution->asker, message) != SEND_OK)
			execution->writer.asker_is_gone = true;
	}
}

static Portal
open_portal(Execution *execution, ParamListInfo params)
{
	CachedStatement *cached = execution->cached;
	Portal portal = execution->portal;
	CachedPlan *plan = plan_statement(cached, params);
	List *stmts = plan->stmt_list;

	/* Nothing between getting the plan and this may fail. */
	PortalDefineQuery(portal, NULL, cached->statement->sql, cached->tag,
					  stmts, plan);
	is_to_be_explained = execution->explains;
	PortalStart(portal, params, 0, execution->view);
	is_to_be_explained = false;

	/* Rows that its statement has changed are none that it locks. */
	if (execution->view != InvalidSnapshot && portal->strategy == PORTAL_ONE_SELECT &&
		portal->queryDesc->plannedstmt->rowMarks != NIL)
		portal->queryDesc->estate->es_output_cid = execution->view->curcid;
	return portal;
}

static void
set_completion(Execution *execution, const QueryCompletion *completion, uint64 rows)
{
	if (completion->commandTag == CMDTAG_UNKNOWN)
		return;
	execution->affected = rows;
	if (command_tag_display_rowcount(completion->commandTag))
		snprintf(execution->tag, sizeof(execution->tag), "%s %s" UINT64_FORMAT,
				 GetCommandTagName(completion->commandTag),
				 completion->commandTag == CMDTAG_INSERT ? "0 " : "", rows);
	else
		strlcpy(execution->tag, GetCommandTagName(completion->commandTag),
				sizeof(execution->tag));
}

/*
 * Several statements in a row, as psql -1 would run them.  The rows of the
 * last one that returns any are kept.
 */
static void
run_script(Execution *execution)
{
	CachedStatement *cached = execution->cached;
	const char *sql = cached->statement->sql;
	List *parsetrees;
	ListCell *cell;
	TupleDesc desc = NULL;
	MemoryContext old = MemoryContextSwitchTo(execution->context);

	parsetrees = copyObject(cached->parsetrees);
	foreach(cell, parsetrees)
	{
		RawStmt *parsetree = lfirst_node(RawStmt, cell);
		CommandTag tag = CreateCommandTag(parsetree->stmt);
		bool has_snapshot = analyze_requires_snapshot(parsetree);
		Portal portal = CreateNewPortal();
		DestReceiver *receiver = None_Receiver;
		QueryCompletion completion;
		List *stmts;

		portal->visible = false;
		if (has_snapshot)
			PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(portal->portalContext);
		stmts = pg_analyze_and_rewrite_fixedparams(parsetree, sql, NULL, 0, NULL);
		stmts = pg_plan_queries(stmts, sql, CURSOR_OPT_PARALLEL_OK, NULL);
		MemoryContextSwitchTo(execution->context);
		if (has_snapshot)
			PopActiveSnapshot();

		PortalDefineQuery(portal, NULL, sql, tag, stmts, NULL);
		PortalStart(portal, NULL, 0, InvalidSnapshot);
		if (portal->tupDesc != NULL)
		{
			if (execution->store != NULL)
				tuplestore_end(execution->store);
			execution->store = tuplestore_begin_heap(false, true, work_mem);
			desc = CreateTupleDescCopy(portal->tupDesc);
			receiver = CreateTuplestoreDestReceiver();
			SetTuplestoreDestReceiverParams(receiver, execution->store,
											execution->context, true, NULL, NULL);
		}
		(void) portal_run(portal, FETCH_ALL, true, receiver, &completion);
		set_completion(execution, &completion, completion.nprocessed);
		if (receiver != None_Receiver)
			receiver->rDestroy(receiver);
		PortalDrop(portal, false);
		CommandCounterIncrement();
	}

	if (desc != NULL)
		execution->store_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	rows_begin(execution, desc);
	MemoryContextSwitchTo(old);
}

/*
 * execution_forwards
 *		May what this process asks of other nodes be about a partition that it
 *		was asked for, and that has gone?
 */
bool
execution_forwards(void)
{
	return is_forwarding;
}

/* This process's session is over. */
void
executions_ended(void)
{
	is_forwarding = false;
}

/*
 * The statement, with its tables locked, so that the partitions that it lists
 * stay where they are.  Whoever gives one another home locks its table
 * against everybody.
 */
static CachedStatement *
get_statement(StringInfo body, uint32 statement_size)
{
	for (;;)
	{
		CachedStatement *cached = cached_statement_get(body->data, statement_size);

		for (int i = 0; i < cached->n_tables; i++)
			LockRelationOid(cached->tables[i], AccessShareLock);
		if (cached->statement->kind == REMOTE_COPY && cached->n_relations > 0)
			LockRelationOid(cached->relations[0], RowExclusiveLock);
		if (!cached->is_stale)
			return cached;
		cached_statement_release(cached);
	}
}

/* It is a request about these partitions. */
static void
pass_gates(Execution *execution)
{
	CachedStatement *cached = execution->cached;

	if (cached->n_gone > 0)
	{
		/* Two nodes that take each other for its home would ask for ever. */
		if (execution->is_forwarded)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a partition that has gone to node \"%s\" is not there", node_this_name()),
					 errdetail("Nodes differ in where they take its rows to be."),
					 errhint("Compare dlog.partitions on all nodes; dlog.set_partition_node() mends it.")));
		is_forwarding = true;
	}
	if (cached->n_relations > 0 && remote_gatekeeper != NULL)
	{
		remote_gatekeeper->begin(cached->relations, cached->passes, cached->n_relations);
		execution->has_passed = true;
	}
}

/*
 * execution_open
 *		Make a statement ready to run.
 *
 * "execution" has its asker, its address, its level and its credits.  To be
 * called inside of a transaction.
 */
Execution *
execution_open(Execution *execution, StringInfo body, uint32 statement_size)
{
	Statement *statement;
	StatementRun run;
	StringInfoData in;
	CachedStatement *cached;

	if (statement_size > body->len)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	execution->cached = cached = get_statement(body, statement_size);
	pass_gates(execution);
	statement = cached->statement;
	SetCurrentStatementStartTimestamp();
	execution_enter(execution);
	activity_set_text(execution->activity, GetUserId(),
					  statement->kind == REMOTE_COPY ? statement->copy_table :
													   statement->sql);

	in.data = body->data;
	in.len = in.maxlen = body->len;
	in.cursor = statement_size;

	if (statement->kind == REMOTE_COPY)
	{
		run_read(&in, statement, &run);
		copy_open(execution);
		return execution;
	}

	cached_statement_plan(cached);
	if (cached->source != NULL)
	{
		MemoryContext old;

		/* The parameters live as long as the portal. */
		execution->portal = CreateNewPortal();
		execution->portal->visible = false;
		old = MemoryContextSwitchTo(execution->portal->portalContext);
		run_read(&in, statement, &run);
		MemoryContextSwitchTo(old);
		open_portal(execution, run.params);
		rows_begin(execution, execution->portal->tupDesc);
	}
	else
	{
		run_read(&in, statement, &run);
		run_script(execution);
	}
	return execution;
}

/* The rows that a script left behind. */
static bool
run_store(Execution *execution, DestReceiver *receiver)
{
	while (!execution->is_stopped)
	{
		if (!tuplestore_gettupleslot(execution->store, true, false,
									 execution->store_slot))
			return true;
		(void) receive_row(execution->store_slot, receiver);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

static bool
run_portal(Execution *execution, DestReceiver *receiver)
{
	Portal portal = execution->portal;
	bool is_script = execution->cached->statement->kind == REMOTE_SCRIPT;
	QueryCompletion completion;
	bool is_done;

	/*
	 * A count keeps the executor from using parallel workers, which could
	 * not be stopped and resumed.
	 */
	is_done = portal_run(portal, execution->is_pinned ? FETCH_ALL - 1 : FETCH_ALL,
						 is_script, receiver, &completion);
	if (execution->is_stopped)
	{
		/* It took the receiver's stop for the end. */
		portal->atEnd = false;
		is_done = false;
	}
	if (is_done)
	{
		set_completion(execution, &completion,
					   portal->tupDesc != NULL ? execution->writer.rows :
												 completion.nprocessed);
		if (execution->explains && portal->queryDesc != NULL)
			send_plan(execution);
		PortalDrop(portal, false);
		execution->portal = NULL;
		CommandCounterIncrement();
	}
	return is_done;
}

/*
 * execution_run
 *		Run until the end (true), or until credit or input is needed.
 *
 * At the end all rows have been sent.
 */
bool
execution_run(Execution *execution)
{
	ChunkReceiver receiver = {
		{receive_row, receiver_startup, receiver_nothing, receiver_nothing, DestNone},
		execution};
	uint64 started_us = clock_now_us();
	uint64 stalled_us = execution->stalled_us;
	uint64 ended_us;
	bool is_done = false;

	if (execution->is_stopped)
	{
		execution->is_stopped = !row_writer_continue(&execution->writer);
		if (execution->is_stopped)
			return false;
		execution->stalled_us += started_us - execution->stalled_since_us;
		activity_set(execution->activity, ACTIVITY_RUNS, execution->writer.rows,
					 execution->writer.bytes);
		stalled_us = execution->stalled_us;
	}
	execution_enter(execution);
	if (execution->input != NULL)
		is_done = copy_run(execution);
	else if (execution->store != NULL)
		is_done = run_store(execution, &receiver.pub);
	else if (execution->portal != NULL)
		is_done = run_portal(execution, &receiver.pub);
	else
		is_done = true; /* a script without rows */

	/* What was not sent for lack of credit has its credit by now. */
	row_writer_flush(&execution->writer);
	ended_us = clock_now_us();
	execution->run_us += ended_us - started_us - (execution->stalled_us - stalled_us);
	execution->stalled_since_us = ended_us;
	execution->is_finished = is_done;
	return is_done;
}

/*
 * execution_close
 *		Give back what a statement holds, finished or not.
 *
 * Also after its transaction has been aborted, which has taken the portal.
 */
void
execution_close(Execution *execution)
{
	row_writer_end(&execution->writer);
	if (execution->portal != NULL)
		PortalDrop(execution->portal, false);
	execution->portal = NULL;
	if (execution->store != NULL)
		tuplestore_end(execution->store);
	execution->store = NULL;
	if (execution->has_passed)
		remote_gatekeeper->end(execution->cached->passes, execution->cached->n_relations);
	execution->has_passed = false;
	if (execution->cached != NULL)
		cached_statement_release(execution->cached);
	execution->cached = NULL;
	if (execution->activity != NULL)
		activity_end(execution->activity);
	execution->activity = NULL;
	reserve_free(&execution->last_word);
}

void
executor_init(void)
{
	previous_relation_info = get_relation_info_hook;
	get_relation_info_hook = prune_unlisted;
	previous_planner = planner_hook;
	planner_hook = plan_listed;
	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
}
