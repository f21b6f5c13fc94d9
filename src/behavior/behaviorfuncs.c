/*
 * behaviorfuncs.c
 *		What SQL can do with behaviors: create, alter and drop them.
 *
 * The domain is made, renamed and dropped by the server's own statements, so
 * that its rules of ownership, its event triggers and its messages hold.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"
#include "runtime/runtime.h"

DLOG_FUNCTION(dlog_create_behavior);
DLOG_FUNCTION(dlog_alter_behavior);
DLOG_FUNCTION(dlog_drop_behavior);
DLOG_FUNCTION(dlog_behavior_changed);
DLOG_FUNCTION(dlog_behavior_functions);

/* --------------------------------------------------------------- arguments */

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

static List *
names_argument(FunctionCallInfo fcinfo, int n)
{
	List *names = NIL;
	Datum *values;
	bool *nulls;
	int count;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a handler must not be null")));
		names = lappend(names, TextDatumGetCString(values[i]));
	}
	return names;
}

static List *
types_argument(FunctionCallInfo fcinfo, int n)
{
	List *types = NIL;
	Datum *values;
	bool *nulls;
	int count;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), REGTYPEOID, sizeof(Oid), true, TYPALIGN_INT,
					  &values, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			types = list_append_unique_oid(types, DatumGetObjectId(values[i]));
	return types;
}

/* An interval in ms. */
static int
timeout_argument(FunctionCallInfo fcinfo, int n)
{
	Interval *interval = PG_GETARG_INTERVAL_P(n);
	double ms = interval->time / 1000.0 + interval->day * (double) (USECS_PER_DAY / 1000);

	if (interval->month != 0 || ms > INT_MAX || ms < INT_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler_timeout is out of range"),
				 errdetail("The longest is %d ms.", INT_MAX)));

	/* What is above nothing shall not become nothing, which means no limit. */
	return ms > 0 && ms < 1 ? 1 : (int) ms;
}

/* Of these functions those that have so many arguments. */
static List *
replay_of_arguments(List *functions, int n)
{
	List *result = NIL;
	ListCell *cell;

	foreach(cell, functions)
		if (get_func_nargs(lfirst_oid(cell)) == n)
			result = lappend_oid(result, lfirst_oid(cell));
	return result;
}

/* --------------------------------------------------------------- statements */

static void
run(const char *statement)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute(statement, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", statement);
	SPI_finish();
}

/* There is nothing of that name yet, or an ERROR says what there is. */
static void
check_name_is_free(Oid schema, const char *name, const char *written)
{
	Oid type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
							   ObjectIdGetDatum(schema));

	if (!OidIsValid(type))
		return;
	if (behavior_is(type))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("behavior \"%s\" already exists", written)));
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("type \"%s\" already exists", written),
			 errdetail("A behavior is also the type of references to its actors, so its name must differ from those of the types and tables of its schema.")));
}

/* Make the domain.  Only its owner has USAGE on it at first. */
static Oid
create_domain(Oid schema, const char *name)
{
	const char *qualified = quote_qualified_identifier(get_namespace_name(schema), name);

	run(psprintf("CREATE DOMAIN %s AS dlog.actor_ref", qualified));
	run(psprintf("REVOKE ALL ON DOMAIN %s FROM PUBLIC", qualified));
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
						   ObjectIdGetDatum(schema));
}

/* ---------------------------------------------------------------- durable */

/* What both create_behavior() and alter_behavior() say of durable ones; "n" is the first of these arguments. */
static void
put_durable_arguments(FunctionCallInfo fcinfo, int n, BehaviorSpec *spec)
{
	List *applies = names_argument(fcinfo, n);
	List *upcasts = names_argument(fcinfo, n + 1);

	if (applies != NIL)
		spec->replay = list_concat(handlers_find(applies, spec->state),
								   replay_of_arguments(spec->replay, 1));
	if (upcasts != NIL)
		spec->replay = list_concat(replay_of_arguments(spec->replay, 2), upcasts_find(upcasts));
	if (!PG_ARGISNULL(n + 2))
		spec->snapshot_every = PG_GETARG_INT32(n + 2);
	if (!PG_ARGISNULL(n + 3))
		spec->snapshot_bytes = PG_GETARG_INT64(n + 3);
	if (!PG_ARGISNULL(n + 4))
		spec->retention = text_argument(fcinfo, n + 4);
	if (!PG_ARGISNULL(n + 5))
		spec->max_failures = PG_GETARG_INT32(n + 5);
}

static void
refuse_durable_arguments(FunctionCallInfo fcinfo, int n)
{
	for (int i = 0; i < 6; i++)
		if (!PG_ARGISNULL(n + i))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("apply, upcast, snapshots, retention and max_failures are of durable behaviors only"),
					 errhint("Create the behavior with durable => true.")));
}

/* --------------------------------------------------------------- create */

/* Of the messages that it is to take, each has its handler. */
static void
check_messages(const BehaviorSpec *spec, List *messages)
{
	ListCell *cell;
	ListCell *handler;

	foreach(cell, messages)
	{
		bool is_handled = false;

		foreach(handler, spec->handlers)
			if (handler_message_type(lfirst_oid(handler)) == lfirst_oid(cell))
				is_handled = true;
		if (!is_handled)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("behavior \"%s\" has no handler for message type %s",
							spec->name, format_type_be(lfirst_oid(cell))),
					 errdetail("Expected one of handlers to be a function (%s, %s) RETURNS %s.",
							   format_type_be(spec->state), format_type_be(lfirst_oid(cell)),
							   format_type_be(spec->state))));
	}
}

Datum
dlog_create_behavior(PG_FUNCTION_ARGS)
{
	char *name;
	BehaviorSpec spec = {InvalidOid};
	List *names;
	char *own_name;
	Oid schema;
	char *init = text_argument(fcinfo, 2);
	bool is_durable = !PG_ARGISNULL(7) && PG_GETARG_BOOL(7);

	runtime_require();
	require_argument(fcinfo, 0, "name");
	require_argument(fcinfo, 1, "state");
	if (!is_durable)
		refuse_durable_arguments(fcinfo, 8);
	name = text_argument(fcinfo, 0);
	spec.name = name;
	spec.state = PG_GETARG_OID(1);
	spec.mailbox_limit = PG_ARGISNULL(5) ? 0 : PG_GETARG_INT32(5);
	spec.handler_timeout = PG_ARGISNULL(6) ? -1 : timeout_argument(fcinfo, 6);

	names = string_to_qualified_names(name);
	schema = QualifiedNameGetCreationNamespace(names, &own_name);
	if (isTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("behavior \"%s\" cannot be temporary", name),
				 errdetail("Its actors run in other sessions, and longer than this one.")));
	check_name_is_free(schema, own_name, name);

	behavior_spec_check_state(&spec);
	if (init != NULL)
		spec.init = init_find(init, spec.state);
	spec.handlers = handlers_find(names_argument(fcinfo, 3), spec.state);
	spec.retention = "forever";
	spec.max_failures = 3;
	if (is_durable)
	{
		spec.snapshot_every = 1000;
		spec.audit = !PG_ARGISNULL(14) && PG_GETARG_BOOL(14);
		put_durable_arguments(fcinfo, 8, &spec);
	}
	behavior_spec_lock(&spec);
	behavior_spec_check(&spec);
	check_messages(&spec, types_argument(fcinfo, 4));
	behavior_spec_check_rights(&spec, GetUserId());

	spec.behavior = create_domain(schema, own_name);
	if (is_durable)
	{
		spec.journal = behavior_create_journal(spec.behavior);
		behavior_spec_check_durable(&spec);
	}
	behavior_spec_insert(&spec);
	PG_RETURN_OID(spec.behavior);
}

/* ----------------------------------------------------------- alter and drop */

/* The handlers with those of "new" added, or in place of those for the same. */
static List *
merge_handlers(List *handlers, List *new)
{
	List *result = list_copy(new);
	ListCell *cell;
	ListCell *other;

	foreach(cell, handlers)
	{
		bool is_replaced = false;

		foreach(other, new)
			if (handler_message_type(lfirst_oid(other)) == handler_message_type(lfirst_oid(cell)))
				is_replaced = true;
		if (!is_replaced)
			result = lappend_oid(result, lfirst_oid(cell));
	}
	return result;
}

static List *
remove_messages(const BehaviorSpec *spec, List *types)
{
	List *result = NIL;
	List *missing = list_copy(types);
	ListCell *cell;

	foreach(cell, spec->handlers)
	{
		Oid type = handler_message_type(lfirst_oid(cell));

		if (list_member_oid(types, type))
			missing = list_delete_oid(missing, type);
		else
			result = lappend_oid(result, lfirst_oid(cell));
	}
	if (missing != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("behavior \"%s\" takes no messages of type %s", spec->name,
						format_type_be(linitial_oid(missing)))));
	return result;
}

Datum
dlog_alter_behavior(PG_FUNCTION_ARGS)
{
	char *name;
	Oid behavior;
	BehaviorSpec spec;
	char *init = text_argument(fcinfo, 3);
	ListCell *cell;

	runtime_require();
	require_argument(fcinfo, 0, "name");
	name = text_argument(fcinfo, 0);
	behavior = behavior_find(name, false);
	LockDatabaseObject(TypeRelationId, behavior, 0, ShareUpdateExclusiveLock);
	if (!object_ownercheck(TypeRelationId, behavior, GetUserId()))
		aclcheck_error_type(ACLCHECK_NOT_OWNER, behavior);
	if (!behavior_spec_read(behavior, &spec))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("behavior \"%s\" does not exist", name)));
	spec.name = name;

	spec.handlers = merge_handlers(spec.handlers,
								   handlers_find(names_argument(fcinfo, 1), spec.state));
	spec.handlers = remove_messages(&spec, types_argument(fcinfo, 2));
	foreach(cell, types_argument(fcinfo, 2))
		type_retire(lfirst_oid(cell));
	if (init != NULL)
		spec.init = *init == '\0' ? InvalidOid : init_find(init, spec.state);
	if (!PG_ARGISNULL(4))
		spec.mailbox_limit = PG_GETARG_INT32(4);
	if (!PG_ARGISNULL(5))
		spec.handler_timeout = timeout_argument(fcinfo, 5);
	if (OidIsValid(spec.journal))
		put_durable_arguments(fcinfo, 6, &spec);
	else
		refuse_durable_arguments(fcinfo, 6);
	behavior_spec_lock(&spec);
	behavior_spec_check(&spec);
	behavior_spec_check_durable(&spec);
	behavior_spec_check_cycle(&spec);
	behavior_spec_check_rights(&spec, GetUserId());
	behavior_spec_update(&spec);
	PG_RETURN_VOID();
}

Datum
dlog_drop_behavior(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool missing_ok = PG_GETARG_BOOL(1);
	bool cascade = PG_GETARG_BOOL(2);
	Oid behavior = behavior_find(name, missing_ok);

	if (!OidIsValid(behavior))
	{
		ereport(NOTICE,
				(errmsg("behavior \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	run(psprintf("DROP DOMAIN %s %s", format_type_be_qualified(behavior),
				 cascade ? "CASCADE" : "RESTRICT"));
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------- rows */

/*
 * dlog.behavior_changed() -> trigger
 *		A row of dlog.behavior came in another way than by our functions: from
 *		a dump.  What it says is checked, and depended on from now on.
 */
Datum
dlog_behavior_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	BehaviorSpec spec;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("dlog.behavior_changed() is a trigger function")));
	behavior_spec_of_tuple(trigger->tg_relation, trigger->tg_trigtuple, &spec);
	behavior_spec_resolve_names(&spec);
	if (get_typtype(spec.behavior) != TYPTYPE_DOMAIN ||
		strcmp(format_type_be_qualified(getBaseType(spec.behavior)), "dlog.actor_ref") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type %s is not a domain over dlog.actor_ref", spec.name)));
	behavior_spec_lock(&spec);
	behavior_spec_check(&spec);
	behavior_spec_check_durable(&spec);
	behavior_spec_record_dependencies(&spec);
	CacheInvalidateRelcache(trigger->tg_relation);
	return PointerGetDatum(NULL);
}

/*
 * dlog.behavior_functions(regtype) -> init, messages, handlers
 *		For the view dlog.behaviors.
 */
Datum
dlog_behavior_functions(PG_FUNCTION_ARGS)
{
	Oid id = PG_GETARG_OID(0);
	BehaviorSpec spec;
	int n;
	Datum *messages;
	Datum *handlers;
	TupleDesc descriptor;
	Datum values[3];
	bool nulls[3] = {false};

	if (!behavior_spec_read(id, &spec))
		PG_RETURN_NULL();
	if (spec.handlers == NIL)
		behavior_spec_resolve_names(&spec);
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	n = list_length(spec.handlers);
	messages = palloc(sizeof(Datum) * n);
	handlers = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		handlers[i] = ObjectIdGetDatum(list_nth_oid(spec.handlers, i));
		messages[i] = ObjectIdGetDatum(handler_message_type(list_nth_oid(spec.handlers, i)));
	}
	values[0] = ObjectIdGetDatum(spec.init);
	nulls[0] = !OidIsValid(spec.init);
	values[1] = PointerGetDatum(construct_array(messages, n, REGTYPEOID, sizeof(Oid), true,
												TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(handlers, n, REGPROCEDUREOID, sizeof(Oid), true,
												TYPALIGN_INT));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
