/*
 * store.c
 *		Supervisors and child specs in dlog's tables.
 *
 * Statements here run as who owns the tables, whoever asks; so they say which
 * schema each name and operator is from.  Whether who asks may is checked
 * before, by the role that owns the supervisor.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/pg_compat.h"
#include "supervision/supervision_internal.h"

/* ----------------------------------------------------------------- words */

static const char *const strategy_names[] = {"one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"};
static const char *const restart_names[] = {"permanent", "transient", "temporary"};
static const char *const auto_shutdown_names[] = {"never", "any_significant", "all_significant"};
static const char *const on_failure_names[] = {"drop", "retry", "dead_letter"};

static int
word_of(const char *text, const char *const *names, int n_names, const char *what)
{
	StringInfoData all;
	int i;

	for (i = 0; i < n_names; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	initStringInfo(&all);
	for (i = 0; i < n_names; i++)
		appendStringInfo(&all, "%s%s", i == 0 ? "" : i == n_names - 1 ? " or " :
																		", ",
						 names[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no %s", text, what),
			 errhint("It is one of %s.", all.data)));
}

SupervisorStrategy
strategy_of(const char *text)
{
	return word_of(text, strategy_names, lengthof(strategy_names), "strategy");
}

RestartType
restart_of(const char *text)
{
	return word_of(text, restart_names, lengthof(restart_names), "restart type");
}

AutoShutdown
auto_shutdown_of(const char *text)
{
	return word_of(text, auto_shutdown_names, lengthof(auto_shutdown_names), "kind of automatic shutdown");
}

FailedMessage
on_failure_of(const char *text)
{
	return word_of(text, on_failure_names, lengthof(on_failure_names), "fate of a failing message");
}

const char *
strategy_name(SupervisorStrategy strategy)
{
	return strategy_names[strategy];
}

const char *
restart_name(RestartType restart)
{
	return restart_names[restart];
}

const char *
auto_shutdown_name(AutoShutdown auto_shutdown)
{
	return auto_shutdown_names[auto_shutdown];
}

const char *
on_failure_name(FailedMessage on_failure)
{
	return on_failure_names[on_failure];
}

/* 'infinity', 'brutal_kill' or an interval. */
int64
shutdown_of(const char *text)
{
	Interval *interval;

	if (strcmp(text, "infinity") == 0)
		return SHUTDOWN_INFINITY;
	if (strcmp(text, "brutal_kill") == 0)
		return SHUTDOWN_BRUTAL_KILL;
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (interval->time < 0 || interval->day != 0 || interval->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no time to shut down", text),
				 errhint("It is infinity, brutal_kill, or an interval of less than a day.")));
	return interval->time / 1000;
}

const char *
shutdown_text(int64 shutdown_ms)
{
	if (shutdown_ms == SHUTDOWN_INFINITY)
		return "infinity";
	if (shutdown_ms == SHUTDOWN_BRUTAL_KILL)
		return "brutal_kill";
	return psprintf(INT64_FORMAT " ms", shutdown_ms);
}

/* ------------------------------------------------------------ statements */

typedef struct StorePlan
{
	const char *sql; /* the literal itself */
	SPIPlanPtr plan;
} StorePlan;

#define MAX_PLANS 64
static StorePlan plans[MAX_PLANS];
static int n_plans = 0;

void
store_open(StoreScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
}

void
store_close(StoreScope *scope)
{
	SPI_finish();
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/*
 * store_run
 *		Run a statement between store_open() and store_close().
 *
 * Its plan is kept under the address of its text, which must be a literal.
 * Returns the number of rows; SPI_tuptable has them.
 */
uint64
store_run(const char *sql, int n, const Oid *types, Datum *values, const char *nulls)
{
	SPIPlanPtr plan = NULL;
	int result;
	int i;

	for (i = 0; i < n_plans; i++)
		if (plans[i].sql == sql)
			plan = plans[i].plan;
	if (plan == NULL)
	{
		plan = SPI_prepare(sql, n, (Oid *) types);
		if (plan == NULL || SPI_keepplan(plan) != 0 || n_plans == MAX_PLANS)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		plans[n_plans].sql = sql;
		plans[n_plans++].plan = plan;
	}
	result = SPI_execute_plan(plan, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

static Datum
column(uint64 row, int number, bool *is_null)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, is_null);
}

static int64
column_int64(uint64 row, int number, int64 if_null)
{
	bool is_null;
	Datum value = column(row, number, &is_null);

	return is_null ? if_null : DatumGetInt64(value);
}

static char *
column_text(uint64 row, int number)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}

static Oid
column_oid(uint64 row, int number)
{
	bool is_null;
	Datum value = column(row, number, &is_null);

	return is_null ? InvalidOid : DatumGetObjectId(value);
}

/* ----------------------------------------------------------- supervisors */

#define SUPERVISOR_COLUMNS \
	"SELECT s.id, s.name, s.owner, s.strategy, s.max_restarts::pg_catalog.int8, s.within_ms," \
	" s.auto_shutdown, s.backoff_ms, s.max_backoff_ms, s.jitter, c.supervisor, c.id" \
	" FROM dlog.supervisor s LEFT JOIN dlog.child c ON c.child_supervisor OPERATOR(pg_catalog.=) s.id"

static void
fill_supervisor(uint64 i, SupervisorRow *row)
{
	bool is_null;

	memset(row, 0, sizeof(*row));
	row->id = column_int64(i, 1, 0);
	namestrcpy(&row->name, column_text(i, 2));
	row->owner = column_oid(i, 3);
	row->flags.strategy = strategy_of(column_text(i, 4));
	row->flags.max_restarts = column_int64(i, 5, 0);
	row->flags.within_ms = column_int64(i, 6, 0);
	row->flags.auto_shutdown = auto_shutdown_of(column_text(i, 7));
	row->flags.backoff_ms = column_int64(i, 8, 0);
	row->flags.backoff_max_ms = column_int64(i, 9, 0);
	row->flags.jitter = DatumGetFloat8(column(i, 10, &is_null));
	row->parent = column_int64(i, 11, 0);
	row->parent_row = column_int64(i, 12, 0);
}

/* By name; false: there is none. */
bool
store_find_supervisor(const char *name, SupervisorRow *row)
{
	static const char sql[] = SUPERVISOR_COLUMNS " WHERE s.name OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	StoreScope scope;
	bool found;

	store_open(&scope);
	found = store_run(sql, 1, types, values, NULL) > 0;
	if (found)
		fill_supervisor(0, row);
	store_close(&scope);
	return found;
}

bool
store_read_supervisor(int64 id, SupervisorRow *row)
{
	static const char sql[] = SUPERVISOR_COLUMNS " WHERE s.id OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	StoreScope scope;
	bool found;

	store_open(&scope);
	found = store_run(sql, 1, types, values, NULL) > 0;
	if (found)
		fill_supervisor(0, row);
	store_close(&scope);
	return found;
}

/* Those with this parent, or the roots (0), in start order: SupervisorRow. */
List *
store_supervisors(int64 parent)
{
	static const char roots[] = SUPERVISOR_COLUMNS " WHERE c.id IS NULL ORDER BY s.id";
	static const char sql[] = SUPERVISOR_COLUMNS " WHERE c.supervisor OPERATOR(pg_catalog.=) $1 ORDER BY c.id";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(parent)};
	MemoryContext context = CurrentMemoryContext;
	List *rows = NIL;
	StoreScope scope;
	uint64 n;
	uint64 i;

	store_open(&scope);
	n = parent == 0 ? store_run(roots, 0, NULL, NULL, NULL) : store_run(sql, 1, types, values, NULL);
	for (i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		SupervisorRow *row = palloc(sizeof(SupervisorRow));

		fill_supervisor(i, row);
		rows = lappend(rows, row);
		MemoryContextSwitchTo(old);
	}
	store_close(&scope);
	return rows;
}

/*
 * store_lock_supervisor
 *		Let transactions that change its specs take turns; false: it is gone.
 */
bool
store_lock_supervisor(int64 id)
{
	static const char sql[] = "SELECT FROM dlog.supervisor WHERE id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	StoreScope scope;
	bool found;

	store_open(&scope);
	found = store_run(sql, 1, types, values, NULL) > 0;
	store_close(&scope);
	return found;
}

/* Add one, and return its number; ERROR 42710 if there is one of this name. */
int64
store_insert_supervisor(const SupervisorRow *row)
{
	static const char sql[] =
		"INSERT INTO dlog.supervisor (name, strategy, max_restarts, within_ms, auto_shutdown, backoff_ms,"
		" max_backoff_ms, jitter, owner) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
		" ON CONFLICT (name) DO NOTHING RETURNING id";
	static const Oid types[] = {TEXTOID, TEXTOID, INT4OID, INT8OID, TEXTOID, INT8OID, INT8OID, FLOAT8OID, REGROLEOID};
	const SupervisorFlags *flags = &row->flags;
	Datum values[] = {
		CStringGetTextDatum(NameStr(row->name)),
		CStringGetTextDatum(strategy_name(flags->strategy)),
		Int32GetDatum(flags->max_restarts),
		Int64GetDatum(flags->within_ms),
		CStringGetTextDatum(auto_shutdown_name(flags->auto_shutdown)),
		Int64GetDatum(flags->backoff_ms),
		Int64GetDatum(flags->backoff_max_ms),
		Float8GetDatum(flags->jitter),
		ObjectIdGetDatum(row->owner),
	};
	StoreScope scope;
	int64 id = 0;

	store_open(&scope);
	if (store_run(sql, 9, types, values, NULL) > 0)
		id = column_int64(0, 1, 0);
	store_close(&scope);
	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("supervisor \"%s\" already exists", NameStr(row->name))));
	return id;
}

void
store_update_supervisor(const SupervisorRow *row)
{
	static const char sql[] =
		"UPDATE dlog.supervisor SET max_restarts = $2, within_ms = $3, auto_shutdown = $4, backoff_ms = $5,"
		" max_backoff_ms = $6, jitter = $7, owner = $8 WHERE id OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID, INT4OID, INT8OID, TEXTOID, INT8OID, INT8OID, FLOAT8OID, REGROLEOID};
	const SupervisorFlags *flags = &row->flags;
	Datum values[] = {
		Int64GetDatum(row->id),
		Int32GetDatum(flags->max_restarts),
		Int64GetDatum(flags->within_ms),
		CStringGetTextDatum(auto_shutdown_name(flags->auto_shutdown)),
		Int64GetDatum(flags->backoff_ms),
		Int64GetDatum(flags->backoff_max_ms),
		Float8GetDatum(flags->jitter),
		ObjectIdGetDatum(row->owner),
	};
	StoreScope scope;

	store_open(&scope);
	store_run(sql, 8, types, values, NULL);
	store_close(&scope);
}

/* Its row, and those of its children. */
void
store_delete_supervisor(int64 id)
{
	static const char children[] =
		"WITH gone AS (DELETE FROM dlog.child WHERE supervisor OPERATOR(pg_catalog.=) $1"
		" OR child_supervisor OPERATOR(pg_catalog.=) $1 RETURNING job)"
		" DELETE FROM dlog.job USING gone WHERE job.id OPERATOR(pg_catalog.=) gone.job";
	static const char sql[] = "DELETE FROM dlog.supervisor WHERE id OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	StoreScope scope;

	store_open(&scope);
	store_run(children, 1, types, values, NULL);
	store_run(sql, 1, types, values, NULL);
	store_close(&scope);
}

void
store_delete_child(int64 id)
{
	static const char sql[] =
		"WITH gone AS (DELETE FROM dlog.child WHERE id OPERATOR(pg_catalog.=) $1 RETURNING job)"
		" DELETE FROM dlog.job USING gone WHERE job.id OPERATOR(pg_catalog.=) gone.job";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	StoreScope scope;

	store_open(&scope);
	store_run(sql, 1, types, values, NULL);
	store_close(&scope);
}

void
store_update_child(const ChildRow *row)
{
	static const char sql[] =
		"UPDATE dlog.child SET restart = $2, shutdown = $3, significant = $4, on_failure = $5, retries = $6"
		" WHERE id OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, INT4OID};
	Datum values[] = {
		Int64GetDatum(row->spec.id),
		CStringGetTextDatum(restart_name(row->spec.restart)),
		CStringGetTextDatum(shutdown_text(row->spec.shutdown_ms)),
		BoolGetDatum(row->spec.is_significant),
		CStringGetTextDatum(on_failure_name(row->on_failure)),
		Int32GetDatum(row->retries),
	};
	StoreScope scope;

	store_open(&scope);
	store_run(sql, 6, types, values, NULL);
	store_close(&scope);
}

/* ERROR 42501 unless the present role may control it. */
void
store_check_control(const SupervisorRow *row)
{
	if (!has_privs_of_role(GetUserId(), row->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of supervisor \"%s\"", NameStr(row->name))));
}

/*
 * store_require_supervisor
 *		By name; ERROR if there is none, or the present role may not control it.
 */
void
store_require_supervisor(const char *name, SupervisorRow *row)
{
	if (!store_find_supervisor(name, row))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("supervisor \"%s\" does not exist", name)));
	store_check_control(row);
}

/* ---------------------------------------------------------- child specs */

#define CHILD_COLUMNS \
	"SELECT id, supervisor, name, child_supervisor, behavior, args, restart, shutdown, significant," \
	" on_failure, retries::pg_catalog.int8, owner, job, durable FROM dlog.child"

/* A copy of a row in this memory context. */
static ChildRow *
copy_child(MemoryContext context, uint64 i)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ChildRow *row = palloc0(sizeof(ChildRow));
	bool is_null;
	Datum value;

	row->spec.id = column_int64(i, 1, 0);
	row->supervisor = column_int64(i, 2, 0);
	row->name = column_text(i, 3);
	row->child_supervisor = column_int64(i, 4, 0);
	row->spec.is_supervisor = row->child_supervisor != 0;
	row->behavior = column_oid(i, 5);
	value = column(i, 6, &is_null);
	if (!is_null)
		row->args = DatumGetArrayTypePCopy(value);
	row->spec.restart = restart_of(column_text(i, 7));
	row->spec.shutdown_ms = shutdown_of(column_text(i, 8));
	row->spec.is_significant = DatumGetBool(column(i, 9, &is_null));
	row->on_failure = on_failure_of(column_text(i, 10));
	row->retries = column_int64(i, 11, 0);
	row->owner = column_oid(i, 12);
	row->job = column_int64(i, 13, 0);
	row->durable = column_int64(i, 14, 0);
	MemoryContextSwitchTo(old);
	return row;
}

/* All child specs of a supervisor, in start order. */
List *
store_children(int64 supervisor)
{
	static const char sql[] = CHILD_COLUMNS " WHERE supervisor OPERATOR(pg_catalog.=) $1 ORDER BY id";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(supervisor)};
	MemoryContext context = CurrentMemoryContext;
	List *children = NIL;
	StoreScope scope;
	uint64 n;
	uint64 i;

	store_open(&scope);
	n = store_run(sql, 1, types, values, NULL);
	for (i = 0; i < n; i++)
	{
		ChildRow *row = copy_child(context, i);
		MemoryContext old = MemoryContextSwitchTo(context);

		children = lappend(children, row);
		MemoryContextSwitchTo(old);
	}
	store_close(&scope);
	return children;
}

/* NULL: there is none. */
ChildRow *
store_find_child(int64 supervisor, const char *name)
{
	static const char sql[] = CHILD_COLUMNS " WHERE supervisor OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2";
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(supervisor), CStringGetTextDatum(name)};
	MemoryContext context = CurrentMemoryContext;
	ChildRow *row = NULL;
	StoreScope scope;

	store_open(&scope);
	if (store_run(sql, 2, types, values, NULL) > 0)
		row = copy_child(context, 0);
	store_close(&scope);
	return row;
}

ChildRow *
store_read_child(int64 id)
{
	static const char sql[] = CHILD_COLUMNS " WHERE id OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	MemoryContext context = CurrentMemoryContext;
	ChildRow *row = NULL;
	StoreScope scope;

	store_open(&scope);
	if (store_run(sql, 1, types, values, NULL) > 0)
		row = copy_child(context, 0);
	store_close(&scope);
	return row;
}

/* The child is this durable actor from now on. */
void
store_set_durable(int64 id, int64 durable)
{
	static const char sql[] = "UPDATE dlog.child SET durable = $2 WHERE id OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(id), Int64GetDatum(durable)};
	StoreScope scope;

	store_open(&scope);
	store_run(sql, 2, types, values, NULL);
	store_close(&scope);
}

/*
 * store_insert_child
 *		Add a spec, and return its number.
 *
 * Numbers give the start order.  Transactions that add to one supervisor take
 * turns, so that it is the order of their commits as well.
 */
int64
store_insert_child(const ChildRow *row)
{
	static const char sql[] =
		"INSERT INTO dlog.child (supervisor, name, child_supervisor, behavior, args, restart, shutdown,"
		" significant, on_failure, retries, owner, job) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
		" ON CONFLICT (supervisor, name) DO NOTHING RETURNING id";
	static const Oid types[] = {INT8OID, TEXTOID, INT8OID, REGTYPEOID, TEXTARRAYOID, TEXTOID, TEXTOID,
								BOOLOID, TEXTOID, INT4OID, REGROLEOID, INT8OID};
	Datum values[] = {
		Int64GetDatum(row->supervisor),
		CStringGetTextDatum(row->name),
		Int64GetDatum(row->child_supervisor),
		ObjectIdGetDatum(row->behavior),
		PointerGetDatum(row->args),
		CStringGetTextDatum(restart_name(row->spec.restart)),
		CStringGetTextDatum(shutdown_text(row->spec.shutdown_ms)),
		BoolGetDatum(row->spec.is_significant),
		CStringGetTextDatum(on_failure_name(row->on_failure)),
		Int32GetDatum(row->retries),
		ObjectIdGetDatum(row->owner),
		Int64GetDatum(row->job),
	};
	char nulls[] = "            ";
	StoreScope scope;
	int64 id = 0;

	nulls[2] = row->child_supervisor == 0 ? 'n' : ' ';
	nulls[3] = OidIsValid(row->behavior) ? ' ' : 'n';
	nulls[4] = row->args != NULL ? ' ' : 'n';
	nulls[11] = row->job != 0 ? ' ' : 'n';
	if (!store_lock_supervisor(row->supervisor))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the supervisor of child \"%s\" does not exist", row->name),
				 errdetail("It has just been dropped.")));
	store_open(&scope);
	if (store_run(sql, 12, types, values, nulls) > 0)
		id = column_int64(0, 1, 0);
	store_close(&scope);
	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("child \"%s\" is already present", row->name),
				 errhint("Start it again with dlog.restart_child(), or remove it with dlog.delete_child().")));
	return id;
}
