/*
 * actorfuncs.c
 *		What SQL can do with actors.
 *
 * Functions that a session and a handler may call come first, then those
 * that are a handler's.  What is sent, spawned or set leaves when the
 * transaction commits; control (stop, kill, suspend, resume) takes effect at
 * once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "actor/actor_internal.h"
#include "base/function.h"
#include "base/guc.h"
#include "remote/remote.h"

DLOG_FUNCTION(dlog_spawn);
DLOG_FUNCTION(dlog_send);
DLOG_FUNCTION(dlog_ask);
DLOG_FUNCTION(dlog_ask_text);
DLOG_FUNCTION(dlog_whereis);
DLOG_FUNCTION(dlog_register);
DLOG_FUNCTION(dlog_unregister);
DLOG_FUNCTION(dlog_stop_actor);
DLOG_FUNCTION(dlog_kill);
DLOG_FUNCTION(dlog_suspend);
DLOG_FUNCTION(dlog_resume);
DLOG_FUNCTION(dlog_state);
DLOG_FUNCTION(dlog_state_text);
DLOG_FUNCTION(dlog_self);
DLOG_FUNCTION(dlog_sender);
DLOG_FUNCTION(dlog_reply);
DLOG_FUNCTION(dlog_become);
DLOG_FUNCTION(dlog_stash);
DLOG_FUNCTION(dlog_unstash);
DLOG_FUNCTION(dlog_stop);
DLOG_FUNCTION(dlog_send_after);
DLOG_FUNCTION(dlog_send_every);
DLOG_FUNCTION(dlog_cancel_timer);
DLOG_FUNCTION(dlog_monitor);
DLOG_FUNCTION(dlog_demonitor);

/* Who waits for an actor to be loaded looks again this often. */
#define LOAD_WAIT_MS 2

/* --------------------------------------------------------------- arguments */

static void
require(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

static ActorRef *
actor_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("actor must not be null"),
				 errhint("dlog.whereis() is null where no actor has the name.")));
	return PG_GETARG_ACTOR_REF_P(n);
}

/* What it returns is new each time, so the state would be another one. */
static void
refuse_in_replay(const char *function)
{
	if (actor_replay.is_on)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot call %s again to make a state of a journal", function),
				 errhint("Declare the handler VOLATILE and give the behavior an apply function for its messages.")));
}

/* As an interval, or as its text, which a bare literal is. */
static int64
interval_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	Interval *interval;
	double ms;

	require(fcinfo, n, name);
	if (get_fn_expr_argtype(fcinfo->flinfo, n) == TEXTOID)
		interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
														 CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(n))),
														 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	else
		interval = PG_GETARG_INTERVAL_P(n);
	ms = interval->time / 1000.0 + ((double) interval->day + 30.0 * interval->month) * (USECS_PER_DAY / 1000);
	if (ms < 0 || ms > 1e14)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", name)));
	return (int64) ms;
}

static void
refuse_gone(const ActorRef *ref)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("actor %s does not exist", actor_ref_text(ref)),
			 errdetail("It has exited.")));
}

static void
refuse_unknown_node(const ActorRef *ref)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the node of actor %s is not known here", actor_ref_text(ref))));
}

/* The actor of a reference, which is to be of this node. */
static ActorAddress
local_actor(const ActorRef *ref)
{
	ActorAddress address;

	runtime_require();
	if (!actor_address_of(ref, &address))
		refuse_unknown_node(ref);
	if (address.node != THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("actor %s lives on node \"%s\"", actor_ref_text(ref), node_name(address.node)),
				 errhint("dlog.execute() calls the function there.")));
	if (!actor_of_ref(ref, &address))
		refuse_gone(ref);
	return address;
}

/* The same, and the role has what it takes to control it. */
static ActorAddress
controlled_actor(const ActorRef *ref)
{
	ActorAddress address = local_actor(ref);

	if (!has_privs_of_role(GetUserId(), hosted_actor_role(address)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for actor %s", actor_ref_text(ref)),
				 errdetail("It is another role's.")));
	return address;
}

/* ---------------------------------------------------------------- messages */

/* Room in its mailbox; senders of durable messages may wait for it. */
static bool
reserve_room(SqlActor *actor, ActorAddress to, Message *message)
{
	bool has_room = false;

	if (mail_durable(message) == NULL || current_turn != NULL || dlog_full_mailbox == FULL_MAILBOX_ERROR)
		return sql_actor_reserve(actor, to);
	PG_TRY();
	{
		has_room = sql_actor_wait_for_room(actor, to);
	}
	PG_CATCH();
	{
		message_free(message);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return has_room;
}

/* Who sends what, for the journal. */
static void
sign_mail(DurableMail *durable, int64 actor, int flags, Oid role)
{
	durable->actor = actor;
	durable->role = role;
	durable->sent_at = GetCurrentTimestamp();
	if (current_turn != NULL && (flags & MAIL_TIMER) == 0)
		durable->sender = actor_ref_of(current_turn->self);
}

/* A message for an actor of this node, checked, with its place reserved. */
static Message *
message_for(ActorAddress to, Datum datum, Oid type, bool is_null, int flags, Oid role)
{
	SqlActor *actor = sql_actor_at(to.slot);
	int64 durable = sql_actor_durable(to);
	Behavior *behavior;
	Message *message;

	if (!OidIsValid(actor->behavior))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("actor %u takes no messages from SQL", to.slot),
				 errdetail("It is a supervisor.")));
	behavior = behavior_acquire(actor->behavior);
	PG_TRY();
	{
		if (!behavior_may_send_to_all(behavior, role))
			behavior_check_send(behavior, hosted_actor_role(to), role);
		if (behavior_handler(behavior, type) == NULL)
			behavior_refuse_message(behavior, type);
	}
	PG_FINALLY();
	{
		behavior_release(behavior);
	}
	PG_END_TRY();

	message = mail_create(datum, ROW_TYPE(type), is_null, flags | (durable != 0 ? MAIL_DURABLE : 0));
	if (!reserve_room(actor, to, message))
	{
		message_free(message);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the mailbox of actor %u is full", to.slot),
				 errdetail("%u messages wait in it.", actor->limit),
				 errhint("Raise mailbox_limit of its behavior, or dlog.mailbox_limit.")));
	}
	message->flags |= MESSAGE_RESERVED;
	if (current_turn != NULL)
		message->from = current_turn->self;
	if (durable != 0)
		sign_mail(mail_durable(message), durable, flags, role);
	return message;
}

static Message *
message_argument(FunctionCallInfo fcinfo, int n, ActorAddress to, int flags)
{
	return message_for(to, PG_ARGISNULL(n) ? (Datum) 0 : PG_GETARG_DATUM(n),
					   get_fn_expr_argtype(fcinfo->flinfo, n), PG_ARGISNULL(n), flags, GetUserId());
}

Message *
actor_durable_message(ActorAddress to, Datum datum, Oid type, bool is_null, Oid role, const ActorRef *sender)
{
	Message *message = message_for(to, datum, type, is_null, 0, role);

	mail_durable(message)->sender = *sender;
	return message;
}

/* Call a function of two arguments, reference and message, on another node. */
static char *
run_elsewhere(FunctionCallInfo fcinfo, uint32 node, const char *format)
{
	Oid types[2] = {get_fn_expr_argtype(fcinfo->flinfo, 0), get_fn_expr_argtype(fcinfo->flinfo, 1)};
	Datum values[2] = {PG_GETARG_DATUM(0), PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1)};
	bool nulls[2] = {false, PG_ARGISNULL(1)};
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = psprintf(format, format_type_be_qualified(types[1])),
		.n_params = 2,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.writes = true,
	};

	types[0] = getBaseType(types[0]);
	return remote_run_text(node, &request);
}

/* A durable actor of another node: what is for it waits here until it has it. */
static bool
is_durable_elsewhere(const ActorRef *ref)
{
	ActorAddress address;

	return ref->slot == 0 && actor_address_of(ref, &address) && address.node != THIS_NODE;
}

/* The type of a message that is not checked here. */
static Oid
message_type(FunctionCallInfo fcinfo, int n)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, n);

	if (!type_is_rowtype(type) || type == RECORDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a message is of a composite type, not %s", format_type_be(type))));
	return type;
}

/*
 * dlog.send(actor, message) -> void
 */
Datum
dlog_send(PG_FUNCTION_ARGS)
{
	ActorRef *ref = actor_argument(fcinfo, 0);
	ActorAddress to;

	runtime_require();
	if (actor_replay.is_on)
		PG_RETURN_VOID();
	if (!actor_address_of(ref, &to))
		refuse_unknown_node(ref);
	if (is_durable_elsewhere(ref))
		actor_journal->send_elsewhere(ref, message_type(fcinfo, 1), PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	else if (to.node != THIS_NODE)
		(void) run_elsewhere(fcinfo, to.node, "SELECT dlog.send($1, $2::%s)::pg_catalog.text");
	else if (!actor_of_ref(ref, &to))
		refuse_gone(ref);
	else
		pending_add(to, message_argument(fcinfo, 1, to, 0));
	PG_RETURN_VOID();
}

static Message *
ask(FunctionCallInfo fcinfo, int timeout_argument)
{
	int64 timeout_ms = interval_argument(fcinfo, timeout_argument, "timeout");
	ActorRef *ref = actor_argument(fcinfo, 0);
	ActorAddress to;

	runtime_require();
	if (current_turn != NULL || actor_replay.is_on)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a handler cannot wait for an answer"),
				 errhint("Send the question; the answer comes as a message.")));
	if (is_durable_elsewhere(ref))
		return actor_journal->ask_elsewhere(ref, message_type(fcinfo, 1), PG_GETARG_DATUM(1), PG_ARGISNULL(1),
											timeout_ms);
	to = local_actor(ref);
	if (!hosted_actor_exists(to))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the actor lives when the transaction that spawned it has committed"),
				 errhint("Commit before you ask it.")));
	return actor_ask(to, message_argument(fcinfo, 1, to, MAIL_ASK), timeout_ms);
}

/*
 * dlog.ask(actor, message, as_type, timeout) -> as_type
 */
Datum
dlog_ask(PG_FUNCTION_ARGS)
{
	Oid wanted = get_fn_expr_rettype(fcinfo->flinfo);
	Message *answer = ask(fcinfo, 3);
	Oid type = message_mail(answer)->type;
	bool is_null;
	Datum datum = (Datum) 0;

	PG_TRY();
	{
		if (type != wanted)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("the actor answered with %s, not %s", format_type_be(type), format_type_be(wanted)),
					 errhint("Ask for NULL::%s.", format_type_be(type))));
		datum = mail_datum(answer, &is_null);
		if (!is_null)
			datum = datumCopy(datum, message_mail(answer)->is_by_value, message_mail(answer)->type_length);
	}
	PG_FINALLY();
	{
		message_free(answer);
	}
	PG_END_TRY();
	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datum);
}

/*
 * dlog.ask(actor, message, timeout) -> text
 */
Datum
dlog_ask_text(PG_FUNCTION_ARGS)
{
	Message *answer = ask(fcinfo, 2);
	char *volatile string = NULL;

	PG_TRY();
	{
		string = mail_text(answer);
	}
	PG_FINALLY();
	{
		message_free(answer);
	}
	PG_END_TRY();
	if (string == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(string));
}

/* -------------------------------------------------------------------- spawn */

/* One argument of init, of the type that it takes. */
static Datum
convert(Datum value, bool is_null, Oid from, Oid to)
{
	Oid output;
	bool is_varlena;
	Oid input;
	Oid parameter;

	if (is_null || from == to || IsBinaryCoercible(from, to))
		return value;
	getTypeOutputInfo(from, &output, &is_varlena);
	getTypeInputInfo(to, &input, &parameter);
	return OidInputFunctionCall(input, OidOutputFunctionCall(output, value), parameter, -1);
}

static void
refuse_args(const Behavior *behavior, int given)
{
	if (!OidIsValid(behavior->init))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("behavior \"%s\" has no init that could take arguments", NameStr(behavior->name))));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("wrong number of arguments for behavior \"%s\": %d", NameStr(behavior->name), given),
			 errdetail("Its init is %s.", format_procedure(behavior->init)),
			 errhint("Give them as a row: ROW(...).")));
}

static void
args_of_row(ActorSpawn *spawn, const Behavior *behavior, HeapTupleHeader row)
{
	Oid *types = NULL;
	int n = 0;

	if (OidIsValid(behavior->init))
		(void) get_func_signature(behavior->init, &types, &n);
	if (row != NULL)
	{
		TupleDesc descriptor = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
		HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};
		Datum *values = palloc(sizeof(Datum) * Max(descriptor->natts, 1));
		bool *nulls = palloc(sizeof(bool) * Max(descriptor->natts, 1));

		heap_deform_tuple(&tuple, descriptor, values, nulls);
		spawn->args = palloc(sizeof(Datum) * Max(descriptor->natts, 1));
		spawn->args_null = palloc(sizeof(bool) * Max(descriptor->natts, 1));
		for (int i = 0; i < descriptor->natts; i++)
		{
			if (TupleDescAttr(descriptor, i)->attisdropped)
				continue;
			if (spawn->n_args < n)
			{
				spawn->args_null[spawn->n_args] = nulls[i];
				spawn->args[spawn->n_args] = convert(values[i], nulls[i], TupleDescAttr(descriptor, i)->atttypid,
													 types[spawn->n_args]);
			}
			spawn->n_args++;
		}
		ReleaseTupleDesc(descriptor);
	}
	if (spawn->n_args != n)
		refuse_args(behavior, spawn->n_args);
}

static ActorRef
spawn_here(const char *behavior_name, HeapTupleHeader args, const char *name, const char *supervisor)
{
	Behavior *behavior = behavior_acquire_by_name(behavior_name);
	ActorSpawn spawn = {.behavior = behavior->id, .owner = GetUserId(), .name = name};

	PG_TRY();
	{
		behavior_check_spawn(behavior, spawn.owner);
		args_of_row(&spawn, behavior, args);
	}
	PG_FINALLY();
	{
		behavior_release(behavior);
	}
	PG_END_TRY();
	if (supervisor != NULL)
	{
		if (actor_supervise_hook == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("there is no supervisor \"%s\"", supervisor)));
		actor_supervise_hook(supervisor, &spawn);
	}
	return actor_ref_of(actor_spawn(&spawn));
}

static ActorRef
spawn_elsewhere(FunctionCallInfo fcinfo, uint32 node)
{
	HeapTupleHeader row = PG_ARGISNULL(1) ? NULL : PG_GETARG_HEAPTUPLEHEADER(1);
	TupleDesc descriptor = row == NULL ? NULL :
										 lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	int n = descriptor == NULL ? 0 : descriptor->natts;
	Oid *types = palloc(sizeof(Oid) * (n + 3));
	Datum *values = palloc0(sizeof(Datum) * (n + 3));
	bool *nulls = palloc0(sizeof(bool) * (n + 3));
	StringInfoData sql;
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.n_params = n + 3,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.writes = true,
		.any_search_path = true, /* the behavior's name is the user's */
	};
	ActorRefText parsed;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT dlog.spawn($%d, %s", n + 1, row == NULL ? "NULL" : "ROW(");
	if (row != NULL)
	{
		HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};

		heap_deform_tuple(&tuple, descriptor, values, nulls);
		for (int i = 0; i < n; i++)
		{
			types[i] = TupleDescAttr(descriptor, i)->atttypid;
			appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
		}
		appendStringInfoChar(&sql, ')');
	}
	appendStringInfo(&sql, ", $%d, $%d)::pg_catalog.text", n + 2, n + 3);
	request.sql = sql.data;
	for (int i = 0; i < 3; i++)
	{
		int argument = i == 0 ? 0 : i + 1;

		types[n + i] = TEXTOID;
		nulls[n + i] = PG_ARGISNULL(argument);
		values[n + i] = nulls[n + i] ? (Datum) 0 : PG_GETARG_DATUM(argument);
	}
	if (!actor_ref_parse(remote_run_text(node, &request), &parsed) || parsed.is_name)
		elog(ERROR, "node \"%s\" answered with something else than a reference", node_name(node));
	return parsed.ref;
}

/*
 * dlog.spawn(behavior, args, name, supervisor, node) -> actor_ref
 */
Datum
dlog_spawn(PG_FUNCTION_ARGS)
{
	ActorRef ref;
	uint32 node = THIS_NODE;

	runtime_require();
	refuse_in_replay("dlog.spawn()");
	require(fcinfo, 0, "behavior");
	if (PG_NARGS() > 4 && !PG_ARGISNULL(4))
		node = node_find(text_to_cstring(PG_GETARG_TEXT_PP(4)), false);
	if (node == THIS_NODE)
		ref = spawn_here(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						 PG_ARGISNULL(1) ? NULL : PG_GETARG_HEAPTUPLEHEADER(1),
						 PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)),
						 PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3)));
	else
		ref = spawn_elsewhere(fcinfo, node);
	return actor_ref_datum(&ref);
}

/* -------------------------------------------------------------------- names */

/* The actor of a name of this database and node; null if there is none. */
static Datum
find_here(FunctionCallInfo fcinfo, const char *name)
{
	ActorAddress address;
	ActorRef ref;

	int64 durable;

	if (name_lookup(MyDatabaseId, name, &address))
		ref = actor_ref_of(address);
	else if (actor_journal != NULL && actor_journal->find_name(name, &durable))
		ref = actor_ref_of_durable(durable);
	else
		PG_RETURN_NULL();
	return actor_ref_datum(&ref);
}

static Datum
find_elsewhere(FunctionCallInfo fcinfo, const ActorRefText *text)
{
	uint32 node = node_find(text->node, false);
	Oid type = TEXTOID;
	bool is_null = false;
	Datum name = CStringGetTextDatum(text->name);
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = "SELECT dlog.whereis($1)::pg_catalog.text",
		.n_params = 1,
		.param_types = &type,
		.param_values = &name,
		.param_nulls = &is_null,
	};
	ActorRefText parsed;
	char *answer;

	if (strcmp(text->database, node_database(node)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("database \"%s\" of node \"%s\" does not belong to this one", text->database, text->node),
				 errhint("The one that does is \"%s\".", node_database(node))));
	if (node == THIS_NODE)
		return find_here(fcinfo, text->name);
	answer = remote_run_text(node, &request);
	if (answer == NULL || !actor_ref_parse(answer, &parsed) || parsed.is_name)
		PG_RETURN_NULL();
	return actor_ref_datum(&parsed.ref);
}

/*
 * dlog.whereis(name) -> actor_ref
 *		The actor of this name here, or of a text dlog://node/database/name.
 */
Datum
dlog_whereis(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ActorRefText text;

	runtime_require();
	if (strncmp(name, "dlog://", 7) != 0)
		return find_here(fcinfo, name);
	if (!actor_ref_parse(name, &text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid name of an actor: \"%s\"", name),
				 errdetail("Expected dlog://node/database/name.")));
	if (!text.is_name)
		return actor_ref_datum(&text.ref);
	return find_elsewhere(fcinfo, &text);
}

/*
 * dlog.register(name, actor) -> void
 */
Datum
dlog_register(PG_FUNCTION_ARGS)
{
	char *name;
	ActorAddress address = controlled_actor(actor_argument(fcinfo, 1));
	Message *message;
	PendingAction *action;

	require(fcinfo, 0, "name");
	if (sql_actor_durable(address) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a durable actor has the name that it was spawned with"),
				 errhint("Give the name to dlog.spawn().")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	message = message_create(LOCAL_NAME, offsetof(PendingAction, name) + strlen(name) + 1);
	action = (PendingAction *) message->payload;
	memset(action, 0, offsetof(PendingAction, name));
	action->database = MyDatabaseId;
	strcpy(action->name, name);
	PG_TRY();
	{
		switch (name_register(MyDatabaseId, name, address))
		{
			case NAME_OK:
				break;
			case NAME_TAKEN:
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_OBJECT),
						 errmsg("there is already an actor named \"%s\"", name),
						 errhint("dlog.whereis() finds it; dlog.unregister() takes the name away from it.")));
				break;
			case NAME_NO_ACTOR:
				refuse_gone(actor_argument(fcinfo, 1));
		}
	}
	PG_CATCH();
	{
		message_free(message);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pending_add(address, message);
	PG_RETURN_VOID();
}

/*
 * dlog.unregister(name) -> boolean
 *		False: nobody has the name.  At once.
 */
Datum
dlog_unregister(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ActorAddress address;

	runtime_require();
	if (actor_replay.is_on || !name_lookup(MyDatabaseId, name, &address))
		PG_RETURN_BOOL(false);
	if (sql_actor_durable(address) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a durable actor keeps the name that it was spawned with")));
	if (!has_privs_of_role(GetUserId(), hosted_actor_role(address)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for actor \"%s\"", name),
				 errdetail("It is another role's.")));
	PG_RETURN_BOOL(name_unregister_own(MyDatabaseId, name, address));
}

/* ------------------------------------------------------------------ control */

/*
 * actor_end_at_commit
 *		See actor.h.
 */
void
actor_end_at_commit(ActorAddress address, const char *reason)
{
	Size size = strlen(reason) + 1;
	Message *message = message_create(LOCAL_STOP, offsetof(StopControl, reason) + size);
	StopControl *stop = (StopControl *) message->payload;

	stop->kind = EXIT_SHUTDOWN;
	stop->is_final = true;
	memcpy(stop->reason, reason, size);
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	pending_add(address, message);
}

/* A durable actor stops with this transaction, and for good. */
static void
stop_actor(ActorAddress address, const char *reason)
{
	int64 durable = sql_actor_durable(address);

	if (actor_replay.is_on)
		return;
	if (durable == 0)
	{
		actor_stop(address, EXIT_SHUTDOWN, reason);
		return;
	}
	actor_journal->stop(durable, reason);
	actor_end_at_commit(address, reason);
}

/*
 * dlog.stop(actor, reason) -> void
 */
Datum
dlog_stop_actor(PG_FUNCTION_ARGS)
{
	ActorAddress address = controlled_actor(actor_argument(fcinfo, 0));

	require(fcinfo, 1, "reason");
	stop_actor(address, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

Datum
dlog_kill(PG_FUNCTION_ARGS)
{
	if (!actor_replay.is_on)
		actor_stop(controlled_actor(actor_argument(fcinfo, 0)), EXIT_KILLED, "killed");
	PG_RETURN_VOID();
}

Datum
dlog_suspend(PG_FUNCTION_ARGS)
{
	if (!actor_replay.is_on)
		actor_suspend(controlled_actor(actor_argument(fcinfo, 0)));
	PG_RETURN_VOID();
}

Datum
dlog_resume(PG_FUNCTION_ARGS)
{
	if (!actor_replay.is_on)
		actor_resume(controlled_actor(actor_argument(fcinfo, 0)));
	PG_RETURN_VOID();
}

/* A durable actor that is being loaded will have its state in a moment, unless it cannot be. */
static void
wait_until_loaded(ActorAddress address)
{
	while (current_turn == NULL && hosted_actor_exists(address) &&
		   sql_actor_at(address.slot)->phase == PHASE_NEW && !sql_actor_at(address.slot)->is_suspended)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOAD_WAIT_MS,
						 WaitEventExtensionNew("DlogDurableLoad"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The committed state of an actor, and its type. */
static Datum
state_of(FunctionCallInfo fcinfo, Oid *type, bool *is_null)
{
	ActorAddress address = controlled_actor(actor_argument(fcinfo, 0));
	SqlActor *actor = sql_actor_at(address.slot);
	int64 durable = sql_actor_durable(address);
	Oid id = InvalidOid;
	bool is_alive;
	Datum state;
	Behavior *behavior;

	if (durable != 0)
		wait_until_loaded(address);
	if (durable != 0 && actor->phase != PHASE_READY)
		return actor_journal->state(durable, type, is_null);
	state = sql_actor_read_state(address, is_null, &id, &is_alive);
	*type = InvalidOid;
	if (!OidIsValid(id))
	{
		*is_null = true;
		return (Datum) 0;
	}
	behavior = behavior_acquire(id);
	*type = behavior->state_type;
	behavior_release(behavior);
	return state;
}

/*
 * dlog.state(actor) -> text
 */
Datum
dlog_state_text(PG_FUNCTION_ARGS)
{
	Oid type;
	bool is_null;
	Datum state = state_of(fcinfo, &type, &is_null);
	Oid output;
	bool is_varlena;

	if (is_null)
		PG_RETURN_NULL();
	getTypeOutputInfo(type, &output, &is_varlena);
	PG_RETURN_TEXT_P(cstring_to_text(OidOutputFunctionCall(output, state)));
}

/*
 * dlog.state(actor, as_type) -> as_type
 */
Datum
dlog_state(PG_FUNCTION_ARGS)
{
	Oid wanted = get_fn_expr_rettype(fcinfo->flinfo);
	Oid type;
	bool is_null;
	Datum state = state_of(fcinfo, &type, &is_null);

	if (OidIsValid(type) && type != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the state of the actor is of type %s, not %s", format_type_be(type), format_type_be(wanted))));
	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(state);
}

/* ----------------------------------------------------------- in a handler */

static Datum
reference(ActorAddress address)
{
	ActorRef ref = actor_ref_of(address);

	return actor_ref_datum(&ref);
}

Datum
dlog_self(PG_FUNCTION_ARGS)
{
	if (actor_replay.is_on)
		return actor_ref_datum(&actor_replay.self);
	return reference(turn_require("dlog.self()")->self);
}

/*
 * dlog.sender() -> actor_ref
 *		Null: a session has sent it, or a timer.
 */
Datum
dlog_sender(PG_FUNCTION_ARGS)
{
	DurableMail *durable;

	if (actor_replay.is_on)
	{
		if (actor_ref_is_none(&actor_replay.sender))
			PG_RETURN_NULL();
		return actor_ref_datum(&actor_replay.sender);
	}
	(void) turn_require("dlog.sender()");
	durable = current_message == NULL ? NULL : mail_durable(current_message);
	if (durable != NULL)
	{
		if (actor_ref_is_none(&durable->sender))
			PG_RETURN_NULL();
		return actor_ref_datum(&durable->sender);
	}
	if (current_message == NULL || current_message->from.slot == 0 ||
		(current_message->type == LOCAL_MAIL && (message_mail(current_message)->flags & MAIL_ASK)))
		PG_RETURN_NULL();
	return reference(current_message->from);
}

/* To a sender on another node: a durable actor, or who waits for the answer. */
static void
reply_elsewhere(FunctionCallInfo fcinfo, const ActorRef *sender)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Datum datum = PG_GETARG_DATUM(0);
	bool is_null = PG_ARGISNULL(0);

	if (is_durable_elsewhere(sender))
		actor_journal->send_elsewhere(sender, message_type(fcinfo, 0), datum, is_null);
	else if (type == UNKNOWNOID)
		actor_journal->reply_elsewhere(sender, TEXTOID,
									   is_null ? (Datum) 0 : CStringGetTextDatum(DatumGetCString(datum)), is_null);
	else
		actor_journal->reply_elsewhere(sender, type, datum, is_null);
}

/* To a durable actor, or an actor that sent to one; false: neither. */
static bool
reply_to_durable(FunctionCallInfo fcinfo)
{
	DurableMail *durable = mail_durable(current_message);
	ActorAddress to;

	if (durable == NULL || actor_ref_is_none(&durable->sender) ||
		(message_mail(current_message)->flags & MAIL_ASK))
		return false;
	if (actor_address_of(&durable->sender, &to) && to.node != THIS_NODE)
		reply_elsewhere(fcinfo, &durable->sender);
	else if (actor_of_ref(&durable->sender, &to))
		pending_add(to, message_argument(fcinfo, 0, to, 0));
	return true;
}

/*
 * dlog.reply(message) -> void
 *		To who asked, or to the actor that sent the message.
 */
Datum
dlog_reply(PG_FUNCTION_ARGS)
{
	Turn *turn;
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	ActorAddress to;
	Message *message;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.reply()");
	if (current_message == NULL || current_message->type != LOCAL_MAIL)
		PG_RETURN_VOID();
	if (reply_to_durable(fcinfo) || current_message->from.slot == 0)
		PG_RETURN_VOID();
	to = current_message->from;
	if ((message_mail(current_message)->flags & MAIL_ASK) == 0)
	{
		if (to.node == THIS_NODE && (hosted_actor_exists(to) || hosted_actor_is_starting(to)))
			pending_add(to, message_argument(fcinfo, 0, to, 0));
		PG_RETURN_VOID();
	}
	if (type == UNKNOWNOID)
	{
		/* a literal */
		message = mail_create(PG_ARGISNULL(0) ? (Datum) 0 :
												CStringGetTextDatum(DatumGetCString(PG_GETARG_DATUM(0))),
							  value_type(TEXTOID), PG_ARGISNULL(0), 0);
	}
	else
		message = mail_create(PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0), value_type(type), PG_ARGISNULL(0), 0);
	message->from = turn->self;
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	pending_add(to, message);
	PG_RETURN_VOID();
}

/*
 * dlog.become(behavior) -> void
 *		From the next message on, with the same state.
 */
Datum
dlog_become(PG_FUNCTION_ARGS)
{
	Turn *turn;
	Behavior *present;
	Behavior *volatile next = NULL;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.become()");
	present = behavior_acquire(OidIsValid(turn->behavior) ? turn->behavior : turn->actor->behavior);
	PG_TRY();
	{
		require(fcinfo, 0, "behavior");
		next = behavior_acquire_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
		behavior_check_spawn(next, hosted_actor_role(turn->self));
		if (next->state_type != present->state_type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("an actor of behavior \"%s\" cannot become \"%s\"", NameStr(present->name),
							NameStr(next->name)),
					 errdetail("Their states are of types %s and %s.", format_type_be(present->state_type),
							   format_type_be(next->state_type))));
		if (OidIsValid(present->journal) != OidIsValid(next->journal))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("an actor of behavior \"%s\" cannot become \"%s\"", NameStr(present->name),
							NameStr(next->name)),
					 errdetail("One of them is durable.")));
		pending_mark();
		turn->behavior = next->id;
		if (current_message != NULL && mail_durable(current_message) != NULL)
			mail_durable(current_message)->becomes = next->id;
	}
	PG_FINALLY();
	{
		behavior_release(present);
		if (next != NULL)
			behavior_release(next);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

/*
 * dlog.stash() -> void
 *		The message waits until dlog.unstash().
 */
Datum
dlog_stash(PG_FUNCTION_ARGS)
{
	if (actor_replay.is_on)
		PG_RETURN_VOID();
	if (turn_require("dlog.stash()")->n_timers > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a durable actor cannot stash a message that has set timers"),
				 errhint("Set them when it is handled after all.")));
	if (current_message == NULL || current_message->type != LOCAL_MAIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no message to stash")));
	pending_mark();
	message_mail(current_message)->flags |= MAIL_STASHED;
	current_is_stashed = true;
	PG_RETURN_VOID();
}

Datum
dlog_unstash(PG_FUNCTION_ARGS)
{
	Turn *turn;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.unstash()");
	pending_mark();
	turn->unstashes = true;
	PG_RETURN_VOID();
}

/*
 * dlog.stop(reason) -> void
 *		The actor exits when its handler has returned.
 *
 * A bare literal is a text too, so this may be a reference after all.
 */
Datum
dlog_stop(PG_FUNCTION_ARGS)
{
	ActorRefText parsed;

	require(fcinfo, 0, "reason");
	if (actor_ref_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &parsed) && !parsed.is_name)
	{
		stop_actor(controlled_actor(&parsed.ref), REASON_SHUTDOWN);
		PG_RETURN_VOID();
	}
	if (actor_replay.is_on)
		PG_RETURN_VOID();
	if (current_turn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dlog.stop() without an actor can only be called while an actor handles a message"),
				 errhint("To stop another one, name it: dlog.stop(dlog.whereis('name')).")));
	pending_mark();
	turn_exit(turn_require("dlog.stop()"), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------- timers */

/* A row of a table, which this transaction writes. */
static Datum
set_durable_timer(FunctionCallInfo fcinfo, Turn *turn, int64 ms, bool repeats)
{
	JournalTimer timer = {
		.actor = turn->actor->body->durable->id,
		.delay_ms = ms,
		.repeats = repeats,
		.type = message_type(fcinfo, 1),
		.message = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1),
		.is_null = PG_ARGISNULL(1),
	};
	Behavior *behavior = behavior_acquire(OidIsValid(turn->behavior) ? turn->behavior : turn->actor->behavior);

	PG_TRY();
	{
		if (behavior_handler(behavior, timer.type) == NULL)
			behavior_refuse_message(behavior, timer.type);
	}
	PG_FINALLY();
	{
		behavior_release(behavior);
	}
	PG_END_TRY();
	timer.id = durable_next_timer(turn);
	actor_journal->set_timer(&timer);
	PG_RETURN_INT64(timer.id);
}

static Datum
set_timer(FunctionCallInfo fcinfo, const char *name, bool repeats)
{
	static uint64 last_token = 0;
	Turn *turn;
	int64 ms = interval_argument(fcinfo, 0, repeats ? "period" : "delay");
	Message *pending;
	PendingAction *action;
	Message *message;

	if (actor_replay.is_on)
		PG_RETURN_INT64(actor_timer_number(actor_replay.seq, ++actor_replay.n_timers));
	turn = turn_require(name);
	if (repeats && ms == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("period must be at least a millisecond")));
	if (turn->actor->body->durable != NULL)
		return set_durable_timer(fcinfo, turn, ms, repeats);
	pending = message_create(LOCAL_TIMER_START, offsetof(PendingAction, name));
	action = (PendingAction *) pending->payload;
	memset(action, 0, offsetof(PendingAction, name));
	PG_TRY();
	{
		message = message_argument(fcinfo, 1, turn->self, MAIL_TIMER);
		sql_actor_unreserve(turn->actor, turn->self);
		message->flags &= ~MESSAGE_RESERVED;
		message->from = (ActorAddress){0};
		message_mail(message)->token = action->token = (uint64) process_slot() << 48 | ++last_token;
		action->timer = repeats ? timer_send_every(turn->self, turn->self, message, ms) :
								  timer_send_after(turn->self, turn->self, message, ms);
	}
	PG_CATCH();
	{
		message_free(pending);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pending_add(turn->self, pending);
	PG_RETURN_INT64((int64) action->timer);
}

/*
 * dlog.send_after(delay, message) -> bigint
 */
Datum
dlog_send_after(PG_FUNCTION_ARGS)
{
	return set_timer(fcinfo, "dlog.send_after()", false);
}

Datum
dlog_send_every(PG_FUNCTION_ARGS)
{
	return set_timer(fcinfo, "dlog.send_every()", true);
}

/*
 * dlog.cancel_timer(timer) -> void
 */
Datum
dlog_cancel_timer(PG_FUNCTION_ARGS)
{
	Turn *turn;
	Message *pending;
	PendingAction *action;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.cancel_timer()");
	if (turn->actor->body->durable != NULL)
	{
		actor_journal->cancel_timer(turn->actor->body->durable->id, PG_GETARG_INT64(0));
		PG_RETURN_VOID();
	}
	pending = message_create(LOCAL_TIMER_CANCEL, offsetof(PendingAction, name));
	action = (PendingAction *) pending->payload;
	memset(action, 0, offsetof(PendingAction, name));
	action->timer = (TimerId) PG_GETARG_INT64(0);
	pending_add(turn->self, pending);
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------- monitors */

/* Who is watched may go with the server, and then nobody is there to tell. */
static void
refuse_durable(Turn *turn, const char *function)
{
	if (turn->actor->body->durable != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot be called by a durable actor", function),
				 errdetail("When the server stops, actors go and nobody is told, so a message could be missing."),
				 errhint("An actor that is not durable can watch another one, and send to it.")));
}

static void
monitor(FunctionCallInfo fcinfo, const char *name, uint16 type)
{
	Turn *turn;
	ActorRef *ref = actor_argument(fcinfo, 0);
	Message *pending;
	PendingAction *action;
	ActorAddress other;

	if (actor_replay.is_on)
		return;
	turn = turn_require(name);
	refuse_durable(turn, name);
	if (!actor_address_of(ref, &other))
		refuse_unknown_node(ref);
	if (other.node != THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot monitor an actor of another node")));
	pending = message_create(type, offsetof(PendingAction, name));
	action = (PendingAction *) pending->payload;
	memset(action, 0, offsetof(PendingAction, name));
	action->other = other;
	pending_add(turn->self, pending);
}

/*
 * dlog.monitor(actor) -> void
 *		A message of type dlog.down comes when it exits.
 */
Datum
dlog_monitor(PG_FUNCTION_ARGS)
{
	monitor(fcinfo, "dlog.monitor()", LOCAL_MONITOR);
	PG_RETURN_VOID();
}

Datum
dlog_demonitor(PG_FUNCTION_ARGS)
{
	monitor(fcinfo, "dlog.demonitor()", LOCAL_DEMONITOR);
	PG_RETURN_VOID();
}
