/*
 * spawnfuncs.c
 *		dlog.spawn(), and the names of actors: register(), whereis().
 *
 * An actor lives, and has its name, when the transaction commits.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/typcache.h"

#include "actor/actor_internal.h"
#include "base/function.h"
#include "remote/remote.h"

DLOG_FUNCTION(dlog_spawn);
DLOG_FUNCTION(dlog_whereis);
DLOG_FUNCTION(dlog_register);
DLOG_FUNCTION(dlog_unregister);

/* ------------------------------------------------------------------ spawn */

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
	require_argument(fcinfo, 0, "behavior");
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

/* ------------------------------------------------------------------ names */

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

	require_argument(fcinfo, 0, "name");
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
