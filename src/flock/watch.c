/*
 * watch.c
 *		Who joins a flock and who leaves it, as it happens.
 *
 * dlog.flock_member says who was a member when it was last looked.  Whenever
 * membership tells of a change (MESSAGE_MEMBERS_CHANGED), or dlog.flock or
 * dlog.node has changed, a scheduler compares that with who is one now, and in
 * one transaction brings the table up to date, adds to dlog.flock_event, tells
 * the actors that have subscribed, and notifies.  So whoever listens hears of
 * each event once, also if schedulers or the server die in the middle.
 *
 * Of a node that has not been heard of since this server started nothing is
 * known: it neither joins nor leaves until it is heard of or found dead.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "actor/actor.h"
#include "base/extension.h"
#include "flock/flock_internal.h"

/* As many events are kept in dlog.flock_event. */
#define EVENTS_KEPT "10000"

typedef struct FlockEvent
{
	const char *texts[4]; /* flock, node, event, why */
} FlockEvent;

static void (*previous_leaving)(void);

/* ------------------------------------------------------ what has happened */

static const char compare_sql[] =
	"WITH member AS MATERIALIZED (SELECT * FROM dlog.members()),"
	" flock AS (SELECT name, tags FROM dlog.flock WHERE NOT is_dropped UNION ALL SELECT 'all', '{}'),"
	" present AS (SELECT f.name AS flock, m.node, m.state, m.why"
	"  FROM flock AS f JOIN member AS m ON m.tags @> f.tags"
	"  WHERE m.state IN ('alive', 'suspect') AND m.incarnation IS NOT NULL),"
	" change AS (SELECT COALESCE(p.flock, k.flock) AS flock, COALESCE(p.node, k.node) AS node, p.state,"
	"  CASE WHEN k.node IS NULL THEN 'joined' WHEN p.node IS NULL THEN 'left' ELSE p.state END AS event,"
	"  CASE WHEN p.node IS NOT NULL THEN COALESCE(p.why, 'it is this node')"
	"   WHEN NOT EXISTS (SELECT FROM flock AS f WHERE f.name = k.flock) THEN 'the flock was dropped'"
	"   WHEN m.node IS NULL THEN 'it is no node of this database any longer'"
	"   WHEN m.state IN ('alive', 'suspect') THEN 'it does not have the tags of the flock'"
	"   ELSE m.why END AS why"
	"  FROM present AS p FULL JOIN dlog.flock_member AS k ON k.flock = p.flock AND k.node = p.node"
	"  LEFT JOIN member AS m ON m.node = k.node"
	"  WHERE p.state IS DISTINCT FROM k.state"
	"  AND NOT (p.node IS NULL AND m.node IS NOT NULL AND m.state = 'suspect' AND m.incarnation IS NULL"
	"   AND EXISTS (SELECT FROM flock AS f WHERE f.name = k.flock))),"
	" gone AS (DELETE FROM dlog.flock_member AS k USING change AS c"
	"  WHERE c.event = 'left' AND k.flock = c.flock AND k.node = c.node),"
	" come AS (INSERT INTO dlog.flock_member AS k (flock, node, state, since)"
	"  SELECT flock, node, state, clock_timestamp() FROM change WHERE event <> 'left'"
	"  ON CONFLICT (flock, node) DO UPDATE SET state = excluded.state, since = excluded.since)"
	" INSERT INTO dlog.flock_event (at, flock, node, event, why)"
	"  SELECT clock_timestamp(), flock, node, event, why FROM change ORDER BY flock, node"
	"  RETURNING flock, node, event, why";

/* Compares, and returns what has happened, in the current memory context. */
static FlockEvent *
compare(int *n_events)
{
	MemoryContext context = CurrentMemoryContext;
	FlockEvent *events;

	statement_run("LOCK TABLE dlog.flock_member IN EXCLUSIVE MODE", 0, NULL);
	*n_events = (int) statement_run(compare_sql, 0, NULL);
	events = MemoryContextAlloc(context, sizeof(FlockEvent) * Max(*n_events, 1));
	for (int i = 0; i < *n_events; i++)
	{
		for (int column = 0; column < 4; column++)
		{
			char *text = statement_column(i, column + 1);

			events[i].texts[column] = MemoryContextStrdup(context, text == NULL ? "" : text);
		}
	}
	if (*n_events > 0)
		statement_run("DELETE FROM dlog.flock_event WHERE id <= (SELECT max(id) FROM dlog.flock_event) - " EVENTS_KEPT, 0, NULL);
	return events;
}

/* ---------------------------------------------------------------- telling */

typedef struct Telling
{
	const char *actor;
	const FlockEvent *event;
} Telling;

/* Who owns the actor, if there is it; or else the present role. */
static Oid
owner_of(const char *actor)
{
	ActorRefText text;
	ActorAddress address;

	if (!actor_ref_parse(actor, &text) || text.is_name || !actor_of_ref(&text.ref, &address))
		return GetUserId();
	return hosted_actor_role(address);
}

/*
 * One message to one actor; an ERROR is that of the send.  Who subscribed an
 * actor may do what its owner may, so the owner is who sends.
 */
static void
send_event(void *argument)
{
	const Telling *telling = argument;
	const FlockEvent *event = telling->event;
	Oid user;
	int security_context;

	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(owner_of(telling->actor), SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	statement_run("SELECT dlog.send($1::dlog.actor_ref, ROW($2, $3, $4, $5)::dlog.flock_change)",
				  5, (const char *[]){telling->actor, event->texts[0], event->texts[1], event->texts[2], event->texts[3]});
	SetUserIdAndSecContext(user, security_context);
}

/*
 * The same in a subtransaction.  Who cannot be told since it is gone, or takes
 * no such message any longer, has its subscription ended; a full mailbox is
 * logged.
 */
static void
tell_actor(const char *actor, const FlockEvent *event)
{
	Telling telling = {actor, event};
	ErrorData *error = statement_try(send_event, &telling);

	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_UNDEFINED_OBJECT || error->sqlerrcode == ERRCODE_DATATYPE_MISMATCH)
		statement_run("DELETE FROM dlog.flock_subscription WHERE actor = $1::dlog.actor_ref", 1, &actor);
	else
		ereport(LOG,
				(errmsg("dlog: actor %s was not told that node \"%s\" is \"%s\" in flock \"%s\": %s",
						actor, event->texts[1], event->texts[2], event->texts[0], error->message)));
}

static void
tell_subscribers(const FlockEvent *event)
{
	MemoryContext context = CurrentMemoryContext;
	uint64 n_actors = statement_run("SELECT actor::text FROM dlog.flock_subscription WHERE flock = $1 ORDER BY actor",
									1, &event->texts[0]);
	char **actors = MemoryContextAlloc(context, sizeof(char *) * Max(n_actors, 1));

	for (uint64 i = 0; i < n_actors; i++)
		actors[i] = MemoryContextStrdup(context, statement_column(i, 1));
	for (uint64 i = 0; i < n_actors; i++)
		tell_actor(actors[i], event);
}

static void
tell(const FlockEvent *event)
{
	statement_run("SELECT pg_notify('dlog_flock',"
				  " json_build_object('flock', $1, 'node', $2, 'event', $3, 'why', $4)::text)",
				  4, event->texts);
	tell_subscribers(event);
}

/* Returns whether anything has happened. */
static bool
look(void)
{
	int n_events;
	FlockEvent *events = compare(&n_events);

	for (int i = 0; i < n_events; i++)
		tell(&events[i]);
	return n_events > 0;
}

/* ------------------------------------------------------------------- when */

/* Is the extension of this version here? */
static bool
has_flocks(void)
{
	Oid schema = get_namespace_oid("dlog", true);

	return OidIsValid(schema) && OidIsValid(get_relname_relid("flock", schema));
}

/* What the table comes to, and the shortest interval that it asks for. */
static void
publish(void)
{
	statement_run("SELECT COALESCE(bit_xor(hashint8extended(version, hashtextextended(name, 0))), 0),"
				  " COALESCE(min(EXTRACT(epoch FROM heartbeat_interval) * 1000)"
				  "  FILTER (WHERE NOT is_dropped), 0)::int,"
				  " COALESCE(bool_or(discover_via <> '' AND NOT is_dropped), false)::int,"
				  " COALESCE(bool_or('mdns' = ANY (regexp_split_to_array(discover_via, '\\s+')) AND NOT is_dropped), false)::int"
				  " FROM dlog.flock",
				  0, NULL);
	transport_set_flock_digest((uint64) strtoi64(statement_column(0, 1), NULL, 10));
	transport_set_heartbeat(atoi(statement_column(0, 2)));
	transport_set_discovering(atoi(statement_column(0, 3)) != 0);
	transport_set_mdns(atoi(statement_column(0, 4)) != 0);
}

/*
 * A scheduler reads dlog's tables; in a transaction.
 */
static void
on_start(void)
{
	StatementScope scope;

	if (!has_flocks())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	statement_open(&scope);
	publish();
	transport_members_seen();
	(void) look();
	statement_close(&scope);
	PopActiveSnapshot();
}

static void
look_in_transaction(void)
{
	StatementScope scope;
	bool has_news = false;

	extension_begin();
	XactIsoLevel = XACT_READ_COMMITTED; /* whoever waits for the lock sees what was done */
	if (has_flocks())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		statement_open(&scope);
		transport_members_seen();
		has_news = look();
		statement_close(&scope);
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
	if (has_news)
		transport_wake_watchers();
}

/*
 * Work handler: membership has changed.
 */
static void
handle_members_changed(Message *message)
{
	if (message->from.node != THIS_NODE)
		return;
	PG_TRY();
	{
		look_in_transaction();
	}
	PG_CATCH();
	{
		/* Nobody tells us of it again: have somebody look a little later. */
		runtime_request_refresh(MyDatabaseId);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * This node leaves its cluster, whose flocks are then no longer its own.
 */
static void
on_leaving(void)
{
	StatementScope scope;

	if (previous_leaving != NULL)
		previous_leaving();
	statement_open(&scope);
	statement_run("DELETE FROM dlog.flock", 0, NULL);
	statement_close(&scope);
}

/*
 * watch_init
 *		Called once, in the postmaster.
 */
void
watch_init(void)
{
	runtime_register_scheduler_start(on_start);
	runtime_register_work(MESSAGE_MEMBERS_CHANGED, handle_members_changed);
	previous_leaving = transport_leaving;
	transport_leaving = on_leaving;
}
