/*
 * supervisionfuncs.c
 *		Supervision as SQL sees it.
 *
 * What creates, changes or removes specs is part of the transaction, and the
 * tree follows when that commits.  terminate_child and restart_child are
 * calls to a supervisor that runs: they return when they are done.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/errcodes.h"
#include "base/function.h"
#include "base/pg_compat.h"
#include "supervision/supervision_internal.h"

DLOG_FUNCTION(dlog_create_supervisor);
DLOG_FUNCTION(dlog_alter_supervisor);
DLOG_FUNCTION(dlog_drop_supervisor);
DLOG_FUNCTION(dlog_start_supervisor);
DLOG_FUNCTION(dlog_define_child);
DLOG_FUNCTION(dlog_start_child);
DLOG_FUNCTION(dlog_alter_child);
DLOG_FUNCTION(dlog_terminate_child);
DLOG_FUNCTION(dlog_terminate_instance);
DLOG_FUNCTION(dlog_restart_child);
DLOG_FUNCTION(dlog_delete_child);
DLOG_FUNCTION(dlog_which_children);
DLOG_FUNCTION(dlog_count_children);
DLOG_FUNCTION(dlog_supervision_tree);
DLOG_FUNCTION(dlog_failures);

/* The spec of a simple_one_for_one's children is the row with this name. */
#define TEMPLATE_NAME ""

/* ------------------------------------------------------------- arguments */

char *
supervision_name(const text *value, const char *what)
{
	char *name = text_to_cstring(value);

	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of a %s", name, what),
				 errdetail("It must have 1 to %d bytes.", NAMEDATALEN - 1)));
	return name;
}

static char *
name_argument(FunctionCallInfo fcinfo, int n, const char *what)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of the %s must not be null", what)));
	return supervision_name(PG_GETARG_TEXT_PP(n), what);
}

#define LONGEST_MS (INT64CONST(365) * 24 * 3600 * 1000)

int64
interval_milliseconds(const Interval *interval, const char *what)
{
	int64 ms = interval->time / 1000 + interval->day * INT64CONST(86400000);

	if (interval->month != 0 || ms < 0 || ms > LONGEST_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be an interval of 0 to 365 days", what)));
	return ms;
}

/* An argument that keeps what is there when it is null. */
#define IF_GIVEN(n, action) \
	do \
	{ \
		if (!PG_ARGISNULL(n)) \
			action; \
	} while (0)

#define TEXT_ARGUMENT(n) text_to_cstring(PG_GETARG_TEXT_PP(n))

static void
check_flags(const SupervisorFlags *flags)
{
	const char *refusal = supervisor_refuse_flags(flags);

	if (refusal != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("these settings do not make a supervisor"),
				 errdetail("%s", refusal)));
}

static void
check_spec(const SupervisorRow *supervisor, const ChildSpec *spec)
{
	const char *refusal = supervisor_refuse_spec(&supervisor->flags, spec);

	if (refusal != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("supervisor \"%s\" cannot have such a child", NameStr(supervisor->name)),
				 errdetail("%s", refusal)));
}

static void
refuse_simple(const SupervisorRow *supervisor)
{
	if (supervisor->flags.strategy == SIMPLE_ONE_FOR_ONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("supervisor \"%s\" is simple_one_for_one", NameStr(supervisor->name)),
				 errdetail("Its children are instances of one spec and have no names.")));
}

static ChildRow *
require_child(const SupervisorRow *supervisor, const char *name)
{
	ChildRow *row = store_find_child(supervisor->id, name);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("supervisor \"%s\" has no child \"%s\"", NameStr(supervisor->name), name)));
	return row;
}

/* ----------------------------------------------------------- supervisors */

static Datum
reference(ActorAddress address)
{
	ActorRef ref = actor_ref_of(address);

	return actor_ref_datum(&ref);
}

/* A supervisor that has a parent: its spec over there, held until it is told. */
static ActorAddress
spawn_below(const SupervisorRow *row, const char *parent_name, RestartType restart, bool is_significant)
{
	SupervisorRow parent;
	ChildRow child = {
		.name = (char *) NameStr(row->name),
		.child_supervisor = row->id,
		.owner = GetUserId(),
		.spec = {
			.restart = restart,
			.shutdown_ms = SHUTDOWN_INFINITY,
			.is_significant = is_significant,
			.is_supervisor = true,
		},
	};
	ActorAddress address;

	store_require_supervisor(parent_name, &parent);
	refuse_simple(&parent);
	check_spec(&parent, &child.spec);
	child.supervisor = parent.id;
	address = supervisor_address(&parent);
	child.spec.id = store_insert_child(&child);
	return supervisor_spawn(row, address, child_record_create(&child), true);
}

Datum
dlog_create_supervisor(PG_FUNCTION_ARGS)
{
	SupervisorRow row = {
		.owner = GetUserId(),
		.flags = {
			.max_restarts = 5,
			.within_ms = 10000,
			.backoff_max_ms = 60000,
			.jitter = 0.2,
		},
	};
	RestartType restart = RESTART_PERMANENT;
	ActorAddress nobody = {0};
	ActorAddress address;

	runtime_require();
	namestrcpy(&row.name, name_argument(fcinfo, 0, "supervisor"));
	IF_GIVEN(1, row.flags.strategy = strategy_of(TEXT_ARGUMENT(1)));
	IF_GIVEN(2, row.flags.max_restarts = PG_GETARG_INT32(2));
	IF_GIVEN(3, row.flags.within_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(3), "within"));
	IF_GIVEN(4, row.flags.backoff_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(4), "backoff"));
	IF_GIVEN(6, row.flags.backoff_max_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(6), "max_backoff"));
	IF_GIVEN(7, row.flags.jitter = PG_GETARG_FLOAT8(7));
	IF_GIVEN(8, row.flags.auto_shutdown = auto_shutdown_of(TEXT_ARGUMENT(8)));
	IF_GIVEN(9, restart = restart_of(TEXT_ARGUMENT(9)));
	check_flags(&row.flags);
	row.id = store_insert_supervisor(&row);
	if (PG_ARGISNULL(5))
		address = supervisor_spawn(&row, nobody, NULL, true);
	else
		address = spawn_below(&row, TEXT_ARGUMENT(5), restart, !PG_ARGISNULL(10) && PG_GETARG_BOOL(10));
	PG_RETURN_DATUM(reference(address));
}

Datum
dlog_alter_supervisor(PG_FUNCTION_ARGS)
{
	SupervisorRow row;

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &row);
	store_lock_supervisor(row.id);
	store_read_supervisor(row.id, &row);
	IF_GIVEN(1, row.flags.max_restarts = PG_GETARG_INT32(1));
	IF_GIVEN(2, row.flags.within_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(2), "within"));
	IF_GIVEN(3, row.flags.backoff_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(3), "backoff"));
	IF_GIVEN(4, row.flags.backoff_max_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(4), "max_backoff"));
	IF_GIVEN(5, row.flags.jitter = PG_GETARG_FLOAT8(5));
	IF_GIVEN(6, row.flags.auto_shutdown = auto_shutdown_of(TEXT_ARGUMENT(6)));
	if (!PG_ARGISNULL(7))
	{
		row.owner = PG_GETARG_OID(7);
		check_can_set_role(GetUserId(), row.owner);
	}
	check_flags(&row.flags);
	if (row.flags.auto_shutdown == AUTO_SHUTDOWN_NEVER)
	{
		ListCell *cell;

		foreach(cell, store_children(row.id))
			check_spec(&row, &((ChildRow *) lfirst(cell))->spec);
	}
	store_update_supervisor(&row);
	supervisor_tell(&row, SUPERVISION_FLAGS, &row.flags, sizeof(row.flags));
	PG_RETURN_VOID();
}

/* Delete its rows, and those of the supervisors below it. */
static void
delete_tree(const SupervisorRow *row, bool cascades)
{
	ListCell *cell;

	store_lock_supervisor(row->id);
	if (!cascades && row->flags.strategy != SIMPLE_ONE_FOR_ONE && store_children(row->id) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("supervisor \"%s\" has children", NameStr(row->name)),
				 errhint("Use dlog.drop_supervisor(name, cascade => true) to drop them as well.")));
	foreach(cell, store_supervisors(row->id))
		delete_tree(lfirst(cell), cascades);
	store_delete_supervisor(row->id);
}

Datum
dlog_drop_supervisor(PG_FUNCTION_ARGS)
{
	SupervisorRow row;
	SupervisorRow parent;

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &row);
	delete_tree(&row, !PG_ARGISNULL(1) && PG_GETARG_BOOL(1));
	if (row.parent != 0 && store_read_supervisor(row.parent, &parent))
	{
		Call call = {.kind = CALL_REMOVE_CHILD, .id = row.parent_row};

		supervisor_tell(&parent, SUPERVISION_CALL, &call, sizeof(call));
	}
	else
		supervisor_tell(&row, SUPERVISION_SHUT_DOWN, "", 0);
	PG_RETURN_VOID();
}

Datum
dlog_start_supervisor(PG_FUNCTION_ARGS)
{
	SupervisorRow row;
	ActorAddress address;
	ActorAddress nobody = {0};

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &row);
	if (row.parent != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("supervisor \"%s\" is a child", NameStr(row.name)),
				 errhint("Use dlog.restart_child() of its parent.")));
	store_lock_supervisor(row.id);
	if (registry_look(MyDatabaseId, row.id, &address) == REGISTRY_RUNNING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("supervisor \"%s\" is running", NameStr(row.name))));
	supervisor_spawn(&row, nobody, NULL, false);
	PG_RETURN_VOID();
}

/* -------------------------------------------------------------- children */

/*
 * The arguments that specs have in common, from number "n" on: restart,
 * shutdown, significant, on_failure, retries.
 */
static void
spec_arguments(FunctionCallInfo fcinfo, int n, ChildRow *row)
{
	IF_GIVEN(n, row->spec.restart = restart_of(TEXT_ARGUMENT(n)));
	IF_GIVEN(n + 1, row->spec.shutdown_ms = shutdown_of(TEXT_ARGUMENT(n + 1)));
	IF_GIVEN(n + 2, row->spec.is_significant = PG_GETARG_BOOL(n + 2));
	IF_GIVEN(n + 3, row->on_failure = on_failure_of(TEXT_ARGUMENT(n + 3)));
	IF_GIVEN(n + 4, row->retries = PG_GETARG_INT32(n + 4));
	if (row->retries < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retries must not be negative")));
}

static void
default_spec(ChildRow *row, const SupervisorRow *supervisor)
{
	memset(row, 0, sizeof(*row));
	row->supervisor = supervisor->id;
	row->owner = GetUserId();
	row->spec.shutdown_ms = 5000;
	row->on_failure = FAILED_MESSAGE_DEAD_LETTER;
	row->retries = 3;
}

static ArrayType *
args_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : args_of_record(PG_GETARG_HEAPTUPLEHEADER(n));
}

/* The behavior of argument n, which the present role may spawn. */
static Oid
behavior_argument(FunctionCallInfo fcinfo, int n)
{
	Behavior *behavior;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a child needs a behavior")));
	behavior = behavior_acquire(PG_GETARG_OID(n));
	behavior_check_spawn(behavior, GetUserId());
	behavior_release(behavior);
	return PG_GETARG_OID(n);
}

Datum
dlog_define_child(PG_FUNCTION_ARGS)
{
	SupervisorRow supervisor;
	ChildRow row;
	ChildRow *old;

	runtime_require();
	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	if (supervisor.flags.strategy != SIMPLE_ONE_FOR_ONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("supervisor \"%s\" is not simple_one_for_one", NameStr(supervisor.name)),
				 errhint("Add a child to it with dlog.start_child().")));
	default_spec(&row, &supervisor);
	row.name = TEMPLATE_NAME;
	row.behavior = behavior_argument(fcinfo, 1);
	row.args = args_argument(fcinfo, 2);
	spec_arguments(fcinfo, 3, &row);
	check_spec(&supervisor, &row.spec);
	store_lock_supervisor(supervisor.id);
	old = store_find_child(supervisor.id, TEMPLATE_NAME);
	if (old != NULL)
		store_delete_child(old->spec.id);
	store_insert_child(&row);
	PG_RETURN_VOID();
}

/* What instances of a simple_one_for_one are made of. */
static ChildRow *
require_template(const SupervisorRow *supervisor)
{
	ChildRow *row = store_find_child(supervisor->id, TEMPLATE_NAME);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("supervisor \"%s\" does not know what its children are", NameStr(supervisor->name)),
				 errhint("Say so with dlog.define_child().")));
	row->spec.id = 0;
	return row;
}

static ActorAddress
start_instance(FunctionCallInfo fcinfo, const SupervisorRow *supervisor)
{
	ChildRow *row = require_template(supervisor);

	if (!PG_ARGISNULL(1))
		refuse_simple(supervisor);
	if (!PG_ARGISNULL(2) && PG_GETARG_OID(2) != row->behavior)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("children of supervisor \"%s\" are of behavior %s", NameStr(supervisor->name),
						format_type_be(row->behavior))));
	row->owner = GetUserId();
	row->args = args_append(row->args, args_argument(fcinfo, 3));
	return child_spawn(row, child_record_create(row), supervisor_address(supervisor));
}

Datum
dlog_start_child(PG_FUNCTION_ARGS)
{
	SupervisorRow supervisor;
	ChildRow row;
	ActorAddress address;

	runtime_require();
	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	if (supervisor.flags.strategy == SIMPLE_ONE_FOR_ONE)
		PG_RETURN_DATUM(reference(start_instance(fcinfo, &supervisor)));
	default_spec(&row, &supervisor);
	row.name = name_argument(fcinfo, 1, "child");
	row.behavior = behavior_argument(fcinfo, 2);
	row.args = args_argument(fcinfo, 3);
	spec_arguments(fcinfo, 4, &row);
	check_spec(&supervisor, &row.spec);
	address = supervisor_address(&supervisor);
	row.spec.id = store_insert_child(&row);
	PG_RETURN_DATUM(reference(child_spawn(&row, child_record_create(&row), address)));
}

/* For dlog.spawn(..., supervisor => name). */
static void
supervise(const char *name, ActorSpawn *spawn)
{
	SupervisorRow supervisor;
	ChildRow *row;

	store_require_supervisor(name, &supervisor);
	if (supervisor.flags.strategy != SIMPLE_ONE_FOR_ONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("supervisor \"%s\" is not simple_one_for_one", NameStr(supervisor.name)),
				 errhint("Add a child to it with dlog.start_child().")));
	row = require_template(&supervisor);
	if (row->behavior != spawn->behavior)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("children of supervisor \"%s\" are of behavior %s", name,
						format_type_be(row->behavior))));
	spawn->supervisor = supervisor_address(&supervisor);
	spawn->child = (uint64) child_record_create(row);
	spawn->is_held = true;
}

void
supervisionfuncs_init(void)
{
	actor_supervise_hook = supervise;
}

Datum
dlog_alter_child(PG_FUNCTION_ARGS)
{
	SupervisorRow supervisor;
	ChildRow *row;
	ChildSettings settings;

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	refuse_simple(&supervisor);
	store_lock_supervisor(supervisor.id);
	row = require_child(&supervisor, name_argument(fcinfo, 1, "child"));
	spec_arguments(fcinfo, 2, row);
	check_spec(&supervisor, &row->spec);
	store_update_child(row);
	settings.spec = row->spec;
	settings.on_failure = row->on_failure;
	settings.retries = row->retries;
	supervisor_tell(&supervisor, SUPERVISION_SPEC, &settings, sizeof(settings));
	PG_RETURN_VOID();
}

/* Raise what a supervisor has answered, if it is an error. */
static void
check_answer(SupervisorAnswer answer, const SupervisorRow *supervisor, const char *child)
{
	switch (answer)
	{
		case ANSWER_OK:
			return;
		case ANSWER_NOT_FOUND:
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("supervisor \"%s\" has no child \"%s\"", NameStr(supervisor->name), child)));
			break;
		case ANSWER_RUNNING:
		case ANSWER_ALREADY_STARTED:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("child \"%s\" is running", child),
					 errhint("Stop it with dlog.terminate_child().")));
			break;
		case ANSWER_RESTARTING:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("child \"%s\" is about to be restarted", child),
					 errhint("Stop it with dlog.terminate_child().")));
			break;
		case ANSWER_ALREADY_PRESENT:
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("child \"%s\" is already present", child)));
			break;
		case ANSWER_SIMPLE_ONE_FOR_ONE:
			refuse_simple(supervisor);
			break;
		case ANSWER_START_FAILED:
			ereport(ERROR,
					(errcode(ERRCODE_DLOG_ACTOR_EXITED),
					 errmsg("child \"%s\" did not start", child),
					 errhint("See dlog.failures.")));
			break;
		case ANSWER_SHUTDOWN:
			ereport(ERROR,
					(errcode(ERRCODE_DLOG_ACTOR_EXITED),
					 errmsg("supervisor \"%s\" is shutting down", NameStr(supervisor->name))));
	}
}

/* Call the supervisor about one of its children by name. */
static void
call_about_child(FunctionCallInfo fcinfo, CallKind kind)
{
	SupervisorRow supervisor;
	char *name;
	Call call = {.kind = kind};

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	refuse_simple(&supervisor);
	name = name_argument(fcinfo, 1, "child");
	call.id = require_child(&supervisor, name)->spec.id;
	check_answer(supervisor_call(&supervisor, &call), &supervisor, name);
}

Datum
dlog_terminate_child(PG_FUNCTION_ARGS)
{
	call_about_child(fcinfo, CALL_TERMINATE_CHILD);
	PG_RETURN_VOID();
}

Datum
dlog_restart_child(PG_FUNCTION_ARGS)
{
	call_about_child(fcinfo, CALL_RESTART_CHILD);
	PG_RETURN_VOID();
}

Datum
dlog_terminate_instance(PG_FUNCTION_ARGS)
{
	SupervisorRow supervisor;
	Call call = {.kind = CALL_TERMINATE_CHILD};
	ActorRef *ref = PG_GETARG_ACTOR_REF_P(1);
	SupervisorAnswer answer = ANSWER_NOT_FOUND;

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	if (actor_address_of(ref, &call.actor) && call.actor.node == THIS_NODE && call.actor.slot != 0)
		answer = supervisor_call(&supervisor, &call);
	if (answer == ANSWER_NOT_FOUND)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("this actor is no child of supervisor \"%s\"", NameStr(supervisor.name)),
				 errdetail("The actor is %s.", actor_ref_text(ref))));
	check_answer(answer, &supervisor, actor_ref_text(ref));
	PG_RETURN_VOID();
}

Datum
dlog_delete_child(PG_FUNCTION_ARGS)
{
	SupervisorRow supervisor;
	ChildRow *row;
	char *name;
	ActorAddress address;

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	refuse_simple(&supervisor);
	store_lock_supervisor(supervisor.id);
	name = name_argument(fcinfo, 1, "child");
	row = require_child(&supervisor, name);
	if (row->child_supervisor != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("child \"%s\" is a supervisor", name),
				 errhint("Use dlog.drop_supervisor().")));
	if (registry_look(MyDatabaseId, supervisor.id, &address) == REGISTRY_RUNNING)
	{
		Call call = {.kind = CALL_STATUS, .id = row->spec.id};
		List *status = supervisor_rows(&supervisor, &call);

		if (status != NIL && ((ChildStatus *) linitial(status))->state == CHILD_RESTARTING)
			check_answer(ANSWER_RESTARTING, &supervisor, name);
		if (status != NIL && ((ChildStatus *) linitial(status))->state != CHILD_STOPPED)
			check_answer(ANSWER_RUNNING, &supervisor, name);
		call.kind = CALL_REMOVE_CHILD;
		supervisor_tell(&supervisor, SUPERVISION_CALL, &call, sizeof(call));
	}
	store_delete_child(row->spec.id);
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------- views */

static const char *const child_state_names[] = {
	[CHILD_STOPPED] = "stopped",
	[CHILD_STARTING] = "starting",
	[CHILD_RUNNING] = "running",
	[CHILD_STOPPING] = "stopping",
	[CHILD_RESTARTING] = "restarting",
};

const char *
child_state_name(ChildState state)
{
	return child_state_names[state];
}

/* The state of the child that has this number; NULL: the supervisor has none. */
static ChildStatus *
find_status(List *statuses, int64 id)
{
	ListCell *cell;

	foreach(cell, statuses)
		if (((ChildStatus *) lfirst(cell))->id == id)
			return lfirst(cell);
	return NULL;
}

static List *
read_statuses(const SupervisorRow *supervisor)
{
	Call call = {.kind = CALL_LIST};
	ActorAddress address;

	if (registry_look(MyDatabaseId, supervisor->id, &address) != REGISTRY_RUNNING)
		return NIL;
	return supervisor_rows(supervisor, &call);
}

static void
put_child(ReturnSetInfo *result, const ChildRow *row, const ChildStatus *status)
{
	Datum values[7];
	bool nulls[7] = {false};

	nulls[0] = row->name[0] == '\0';
	if (!nulls[0])
		values[0] = CStringGetTextDatum(row->name);
	nulls[1] = status == NULL || !status->has_actor;
	if (!nulls[1])
		values[1] = reference(status->actor);
	values[2] = CStringGetTextDatum(child_state_names[status ? status->state : CHILD_STOPPED]);
	values[3] = CStringGetTextDatum(row->spec.is_supervisor ? "supervisor" : row->job != 0 ? "job" :
																							 "worker");
	nulls[4] = !OidIsValid(row->behavior);
	values[4] = ObjectIdGetDatum(row->behavior);
	values[5] = CStringGetTextDatum(restart_name(row->spec.restart));
	values[6] = Int64GetDatum(status ? status->restarts : 0);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
dlog_which_children(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SupervisorRow supervisor;
	List *statuses;
	ListCell *cell;

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	InitMaterializedSRF(fcinfo, 0);
	statuses = read_statuses(&supervisor);
	if (supervisor.flags.strategy == SIMPLE_ONE_FOR_ONE)
	{
		ChildRow *row = statuses != NIL ? store_find_child(supervisor.id, TEMPLATE_NAME) : NULL;

		foreach(cell, row != NULL ? statuses : NIL)
			put_child(result, row, lfirst(cell));
	}
	else
		foreach(cell, store_children(supervisor.id))
		{
			ChildRow *row = lfirst(cell);

			put_child(result, row, find_status(statuses, row->spec.id));
		}
	return (Datum) 0;
}

Datum
dlog_count_children(PG_FUNCTION_ARGS)
{
	SupervisorRow supervisor;
	bool is_simple;
	TupleDesc descriptor;
	int64 counts[4] = {0};
	Datum values[4];
	bool nulls[4] = {false};
	List *statuses;
	ListCell *cell;
	int i;

	store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &supervisor);
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	is_simple = supervisor.flags.strategy == SIMPLE_ONE_FOR_ONE;
	statuses = read_statuses(&supervisor);
	foreach(cell, statuses)
	{
		ChildStatus *status = lfirst(cell);

		counts[1] += status->state == CHILD_RUNNING || status->state == CHILD_STOPPING;
		counts[3] += is_simple;
	}
	foreach(cell, store_children(supervisor.id))
	{
		ChildRow *row = lfirst(cell);

		counts[0]++;
		counts[2] += !is_simple && row->spec.is_supervisor;
		counts[3] += !is_simple && !row->spec.is_supervisor;
	}
	for (i = 0; i < 4; i++)
		values[i] = Int64GetDatum(counts[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

/* ------------------------------------------------------------ the tree */

static void
put_line(ReturnSetInfo *result, const char *line)
{
	Datum value = CStringGetTextDatum(line);
	bool is_null = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &is_null);
}

static void
put_instances(ReturnSetInfo *result, const SupervisorRow *supervisor, List *statuses, const char *indent)
{
	ChildRow *row = store_find_child(supervisor->id, TEMPLATE_NAME);
	int counts[lengthof(child_state_names)] = {0};
	int n_kinds = 0;
	ListCell *cell;
	int i;

	foreach(cell, statuses)
		if (counts[((ChildStatus *) lfirst(cell))->state]++ == 0)
			n_kinds++;
	for (i = 0; row != NULL && i < lengthof(counts); i++)
		if (counts[i] > 0)
			put_line(result, psprintf("%s%s%d × %s, %s", indent, --n_kinds > 0 ? "├─ " : "└─ ", counts[i],
									  format_type_be(row->behavior), child_state_names[i]));
}

static const char *
supervisor_state(const SupervisorRow *row)
{
	ActorAddress address;

	switch (registry_look(MyDatabaseId, row->id, &address))
	{
		case REGISTRY_RUNNING:
			return "running";
		case REGISTRY_GAVE_UP:
			return "gave up";
		case REGISTRY_ABSENT:
			break;
	}
	return "stopped";
}

static void
put_tree(ReturnSetInfo *result, const SupervisorRow *supervisor, const char *state,
		 const char *branch, const char *indent)
{
	List *statuses = read_statuses(supervisor);
	List *children;
	ListCell *cell;

	check_stack_depth();
	put_line(result, psprintf("%s%s (%s), %s", branch, NameStr(supervisor->name),
							  strategy_name(supervisor->flags.strategy), state));
	if (supervisor->flags.strategy == SIMPLE_ONE_FOR_ONE)
	{
		put_instances(result, supervisor, statuses, indent);
		return;
	}
	children = store_children(supervisor->id);
	foreach(cell, children)
	{
		ChildRow *row = lfirst(cell);
		ChildStatus *status = find_status(statuses, row->spec.id);
		const char *child_state = child_state_names[status ? status->state : CHILD_STOPPED];
		bool is_last = lnext(children, cell) == NULL;
		SupervisorRow child;

		if (row->spec.is_supervisor && store_read_supervisor(row->child_supervisor, &child))
			put_tree(result, &child, child_state, psprintf("%s%s", indent, is_last ? "└─ " : "├─ "),
					 psprintf("%s%s", indent, is_last ? "   " : "│  "));
		else
			put_line(result, psprintf("%s%s%s: %s, %s", indent, is_last ? "└─ " : "├─ ", row->name,
									  row->job != 0 ? "job" : format_type_be(row->behavior), child_state));
	}
}

Datum
dlog_supervision_tree(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *cell;

	runtime_require();
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!PG_ARGISNULL(0))
	{
		SupervisorRow row;

		store_require_supervisor(name_argument(fcinfo, 0, "supervisor"), &row);
		put_tree(result, &row, supervisor_state(&row), "", "");
		return (Datum) 0;
	}
	foreach(cell, store_supervisors(0))
	{
		SupervisorRow *row = lfirst(cell);

		if (has_privs_of_role(GetUserId(), row->owner) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
			put_tree(result, row, supervisor_state(row), "", "");
	}
	return (Datum) 0;
}

/* -------------------------------------------------------------- failures */

Datum
dlog_failures(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool sees_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	Failure *failure = palloc(sizeof(Failure));
	uint32 i;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < failure_slots(); i++)
	{
		Datum values[11];
		bool nulls[11] = {false};

		if (!failure_copy(i, failure) || failure->database != MyDatabaseId)
			continue;
		if (!sees_all && !(OidIsValid(failure->owner) && has_privs_of_role(GetUserId(), failure->owner)))
			continue;
		values[0] = Int64GetDatum(failure->number);
		values[1] = TimestampTzGetDatum(failure->at);
		values[2] = reference(failure->actor);
		nulls[3] = failure->name[0] == '\0';
		values[3] = CStringGetTextDatum(failure->name);
		nulls[4] = !OidIsValid(failure->behavior);
		values[4] = ObjectIdGetDatum(failure->behavior);
		nulls[5] = !OidIsValid(failure->owner);
		values[5] = ObjectIdGetDatum(failure->owner);
		values[6] = CStringGetTextDatum(unpack_sql_state(failure->sqlerrcode));
		values[7] = CStringGetTextDatum(failure->error);
		nulls[8] = failure->context[0] == '\0';
		values[8] = CStringGetTextDatum(failure->context);
		nulls[9] = !OidIsValid(failure->message_type);
		values[9] = ObjectIdGetDatum(failure->message_type);
		nulls[10] = failure->message[0] == '\0';
		values[10] = CStringGetTextDatum(failure->message);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
