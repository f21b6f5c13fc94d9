/*
 * flockfuncs.c
 *		Flocks as SQL sees them.
 *
 * To create one takes EXECUTE on dlog.create_flock(), which at first nobody but
 * superusers has.  A flock is its creator's: who is a member of that role may
 * alter and drop it, on any node.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "actor/actor.h"
#include "base/function.h"
#include "behavior/behavior.h"
#include "flock/flock_internal.h"

DLOG_FUNCTION(dlog_create_flock);
DLOG_FUNCTION(dlog_alter_flock);
DLOG_FUNCTION(dlog_drop_flock);
DLOG_FUNCTION(dlog_flock_members);
DLOG_FUNCTION(dlog_subscribe);
DLOG_FUNCTION(dlog_unsubscribe);

#define LEAST_HEARTBEAT_MS 50
#define MOST_HEARTBEAT_MS 60000
#define LONGEST_SOURCES 1024

/* -------------------------------------------------------------- arguments */

static void
require(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* The name of a flock that can be changed. */
static char *
name_argument(FunctionCallInfo fcinfo)
{
	char *name;

	runtime_require();
	require(fcinfo, 0, "the name of a flock");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of a flock", name),
				 errdetail("It must have 1 to %d bytes.", NAMEDATALEN - 1)));
	if (strcmp(name, FLOCK_ALL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("flock \"%s\" is there by itself", name),
				 errdetail("Its members are all nodes of this database.")));
	return name;
}

/* As text, or NULL. */
static char *
tags_argument(FunctionCallInfo fcinfo, int n)
{
	Jsonb *tags;
	char *text;

	if (PG_ARGISNULL(n))
		return NULL;
	tags = PG_GETARG_JSONB_P(n);
	if (!JB_ROOT_IS_OBJECT(tags))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tags must be a JSON object"),
				 errhint("For example: '{\"role\": \"replica\"}'; members are the nodes that have these tags.")));
	text = JsonbToCString(NULL, &tags->root, VARSIZE(tags));
	if (strlen(text) > MEMBERSHIP_MAX_TAGS)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the tags of a flock must not be longer than %d bytes", MEMBERSHIP_MAX_TAGS),
				 errdetail("These are %d bytes long; no node has that many.", (int) strlen(text))));
	return text;
}

static char *
heartbeat_argument(FunctionCallInfo fcinfo, int n)
{
	Interval *interval;
	double ms;

	if (PG_ARGISNULL(n))
		return NULL;
	interval = PG_GETARG_INTERVAL_P(n);
	ms = interval->time / 1000.0 + (interval->day + 30.0 * interval->month) * SECS_PER_DAY * 1000.0;
	if (ms < LEAST_HEARTBEAT_MS || ms > MOST_HEARTBEAT_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("heartbeat_interval must be between %d ms and %d s", LEAST_HEARTBEAT_MS, MOST_HEARTBEAT_MS / 1000),
				 errdetail("Nodes are probed as often as the flock that asks for most, and dlog.probe_interval, say.")));
	return psprintf("%.0f ms", ms);
}

static char *
sources_argument(FunctionCallInfo fcinfo, int n)
{
	char *sources;

	if (PG_ARGISNULL(n))
		return NULL;
	sources = text_to_cstring(PG_GETARG_TEXT_PP(n));
	if (strlen(sources) > LONGEST_SOURCES)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("discover_via must not be longer than %d bytes", LONGEST_SOURCES)));
	(void) sources_ask(sources, true);
	return sources;
}

/* ------------------------------------------------------ create, alter, drop */

#define NEXT_VERSION \
	"GREATEST((EXTRACT(epoch FROM clock_timestamp()) * 1000000)::int8," \
	" (SELECT max(version) + 1 FROM dlog.flock))"

/*
 * dlog.create_flock(name, discover_via, heartbeat_interval, tags) -> void
 */
Datum
dlog_create_flock(PG_FUNCTION_ARGS)
{
	char *name = name_argument(fcinfo);
	char *sources = sources_argument(fcinfo, 1);
	char *heartbeat = heartbeat_argument(fcinfo, 2);
	char *tags = tags_argument(fcinfo, 3);
	char *owner = GetUserNameFromId(GetUserId(), false);
	StatementScope scope;

	statement_open(&scope);
	if (statement_run("INSERT INTO dlog.flock AS f (name, discover_via, heartbeat_interval, tags, owner, version)"
					  " SELECT $1, COALESCE($2, ''), $3::interval, COALESCE($4, '{}')::jsonb, $5, " NEXT_VERSION
					  " ON CONFLICT (name) DO UPDATE SET discover_via = excluded.discover_via,"
					  "  heartbeat_interval = excluded.heartbeat_interval, tags = excluded.tags,"
					  "  owner = excluded.owner, version = excluded.version, is_dropped = false"
					  " WHERE f.is_dropped RETURNING true",
					  5, (const char *[]){name, sources, heartbeat, tags, owner}) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("flock \"%s\" already exists", name),
				 errhint("dlog.alter_flock() changes it.")));
	statement_close(&scope);
	PG_RETURN_VOID();
}

/* False: there is no such flock.  In a scope that "asker" has opened. */
static bool
check_owner(const char *name, Oid asker)
{
	char *owner;
	Oid role;

	if (statement_run("SELECT owner FROM dlog.flock WHERE name = $1 AND NOT is_dropped FOR UPDATE", 1, &name) == 0)
		return false;
	owner = statement_column(0, 1);
	role = get_role_oid(owner, true);
	if (OidIsValid(role) ? !has_privs_of_role(asker, role) : !superuser_arg(asker))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for flock \"%s\"", name),
				 errdetail("It is role \"%s\"'s.", owner)));
	return true;
}

static void
refuse_missing(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("flock \"%s\" does not exist", name)));
}

/*
 * dlog.alter_flock(name, discover_via, heartbeat_interval, tags) -> void
 *		What is null stays as it is.
 */
Datum
dlog_alter_flock(PG_FUNCTION_ARGS)
{
	char *name = name_argument(fcinfo);
	char *sources = sources_argument(fcinfo, 1);
	char *heartbeat = heartbeat_argument(fcinfo, 2);
	char *tags = tags_argument(fcinfo, 3);
	StatementScope scope;

	statement_open(&scope);
	if (!check_owner(name, scope.user))
		refuse_missing(name);
	statement_run("UPDATE dlog.flock SET discover_via = COALESCE($2, discover_via),"
				  " heartbeat_interval = COALESCE($3::interval, heartbeat_interval),"
				  " tags = COALESCE($4::jsonb, tags), version = " NEXT_VERSION " WHERE name = $1",
				  4, (const char *[]){name, sources, heartbeat, tags});
	statement_close(&scope);
	PG_RETURN_VOID();
}

/*
 * dlog.drop_flock(name, if_exists) -> void
 */
Datum
dlog_drop_flock(PG_FUNCTION_ARGS)
{
	char *name = name_argument(fcinfo);
	bool if_exists = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	StatementScope scope;

	statement_open(&scope);
	if (check_owner(name, scope.user))
		statement_run("UPDATE dlog.flock SET is_dropped = true, version = " NEXT_VERSION " WHERE name = $1", 1, (const char *[]){name});
	else if (!if_exists)
		refuse_missing(name);
	else
		ereport(NOTICE,
				(errmsg("flock \"%s\" does not exist, skipping", name)));
	statement_close(&scope);
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------- members */

static void
put_member(ReturnSetInfo *result, uint32 node)
{
	MemberView view;
	Datum values[6];
	bool nulls[6] = {false};
	Interval *round_trip = palloc0(sizeof(Interval));

	if (!transport_member(node, &view))
		return; /* it was removed just now */
	round_trip->time = (TimeOffset) view.round_trip_us;
	values[0] = CStringGetTextDatum(node_name(node));
	values[1] = CStringGetTextDatum(member_state_name(view.state));
	values[2] = TimestampTzGetDatum(view.since);
	values[3] = CStringGetTextDatum(view.why);
	nulls[3] = view.why[0] == '\0';
	values[4] = IntervalPGetDatum(round_trip);
	nulls[4] = view.round_trip_us == 0;
	values[5] = transport_member_tags(&view);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * dlog.flock_members(name) -> node, state, since, why, round_trip, tags
 */
Datum
dlog_flock_members(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *cell;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, flock_nodes(text_to_cstring(PG_GETARG_TEXT_PP(0))))
		put_member(result, (uint32) lfirst_int(cell));
	return (Datum) 0;
}

/* ------------------------------------------------------------ subscriptions */

static void
check_behavior(const ActorRef *ref)
{
	Oid id = behavior_of_actor(ref, true);
	Oid message_type;
	Behavior *behavior;
	StatementScope scope;

	statement_open(&scope);
	statement_run("SELECT 'dlog.flock_change'::regtype::oid", 0, NULL);
	message_type = (Oid) strtoul(statement_column(0, 1), NULL, 10);
	statement_close(&scope);
	if (!OidIsValid(id))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("actor %s does not exist", actor_ref_text(ref)),
				 errdetail("It has exited, or takes no messages from SQL.")));
	behavior = behavior_acquire(id);
	PG_TRY();
	{
		if (behavior_handler(behavior, message_type) == NULL)
			behavior_refuse_message(behavior, message_type);
	}
	PG_FINALLY();
	{
		behavior_release(behavior);
	}
	PG_END_TRY();
}

/* The reference as text, once it is sure that the role may decide for it. */
static char *
subscriber_argument(FunctionCallInfo fcinfo)
{
	ActorRef *ref;
	ActorAddress address;

	runtime_require();
	require(fcinfo, 0, "the name of a flock");
	require(fcinfo, 1, "actor");
	ref = PG_GETARG_ACTOR_REF_P(1);
	if (!actor_address_of(ref, &address) || address.node != THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("actor %s does not live on this node", actor_ref_text(ref)),
				 errhint("Each node tells its own actors: subscribe on the actor's node, with dlog.execute().")));
	if (actor_of_ref(ref, &address) && !has_privs_of_role(GetUserId(), hosted_actor_role(address)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for actor %s", actor_ref_text(ref)),
				 errdetail("It is another role's.")));
	return actor_ref_text(ref);
}

/*
 * dlog.subscribe(flock, actor) -> void
 *		The actor gets a message of type dlog.flock_change for each event.
 */
Datum
dlog_subscribe(PG_FUNCTION_ARGS)
{
	char *actor = subscriber_argument(fcinfo);
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StatementScope scope;

	check_behavior(PG_GETARG_ACTOR_REF_P(1));
	flock_require(name);
	statement_open(&scope);
	statement_run("INSERT INTO dlog.flock_subscription (flock, actor) VALUES ($1, $2::dlog.actor_ref)"
				  " ON CONFLICT DO NOTHING",
				  2, (const char *[]){name, actor});
	statement_close(&scope);
	PG_RETURN_VOID();
}

/*
 * dlog.unsubscribe(flock, actor) -> boolean
 *		False: it was not subscribed.
 */
Datum
dlog_unsubscribe(PG_FUNCTION_ARGS)
{
	char *actor = subscriber_argument(fcinfo);
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StatementScope scope;
	uint64 n_deleted;

	statement_open(&scope);
	n_deleted = statement_run("DELETE FROM dlog.flock_subscription WHERE flock = $1 AND actor = $2::dlog.actor_ref",
							  2, (const char *[]){name, actor});
	statement_close(&scope);
	PG_RETURN_BOOL(n_deleted > 0);
}
