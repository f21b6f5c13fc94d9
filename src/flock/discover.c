/*
 * discover.c
 *		Candidates, and which of them are let in.
 *
 * Every dlog.discovery_interval a scheduler asks the sources of all flocks
 * (source.c) and keeps what they yield in dlog.candidate, with a verdict.  Two
 * kinds of candidates come to something, without anybody's doing:
 *
 * - One whose key this database has admitted, at another address than is known,
 *   while there is no link to it: the node has moved.  Its new address is
 *   listed; that it is the node it proves when the link is made.
 * - If this database has no other nodes and dlog.join_token is set: each is
 *   tried with the token, which only the node that made it can answer.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/extension.h"
#include "base/guc.h"
#include "flock/flock_internal.h"

/* A candidate that nobody has yielded for so long is forgotten. */
#define KEPT "1 day"

/* Of more, those that were seen last are kept: anybody can publish a service. */
#define KEPT_ROWS "10000"

static void
begin(StatementScope *scope)
{
	extension_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	statement_open(scope);
}

static void
end(StatementScope *scope, MemoryContext context)
{
	statement_close(scope);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* All sources of all flocks. */
static char *
read_sources(MemoryContext context)
{
	StatementScope scope;
	char *sources;

	begin(&scope);
	statement_run("SELECT COALESCE(string_agg(DISTINCT discover_via, ' '), '') FROM dlog.flock WHERE NOT is_dropped", 0, NULL);
	sources = MemoryContextStrdup(context, statement_column(0, 1));
	end(&scope, context);
	return sources;
}

static void
note(const Candidate *candidate, const char *verdict)
{
	statement_run("INSERT INTO dlog.candidate AS c (address, port, found_via, fingerprint, verdict)"
				  " VALUES ($1, $2::int4, $3, $4, $5)"
				  " ON CONFLICT (address, port, found_via) DO UPDATE SET fingerprint = excluded.fingerprint,"
				  "  seen_at = excluded.seen_at, verdict = excluded.verdict",
				  5, (const char *[]){candidate->address, psprintf("%d", candidate->port), candidate->via, candidate->fingerprint, verdict});
}

/* The node with this key is listed elsewhere and cannot be reached there. */
static char *
moved_node(const Candidate *candidate)
{
	char *name;

	if (candidate->fingerprint == NULL ||
		statement_run("SELECT n.name FROM dlog.node AS n JOIN dlog.links AS l ON l.node = n.name"
					  " WHERE dlog.key_fingerprint(n.public_key) = $1 AND l.state <> 'up' AND (n.address, n.port) <> ($2, $3::int4)",
					  3, (const char *[]){candidate->fingerprint, candidate->address, psprintf("%d", candidate->port)}) == 0)
		return NULL;
	name = statement_column(0, 1);
	statement_run("UPDATE dlog.node SET address = $2, port = $3::int4, version = CASE WHEN version = 0 THEN 0 ELSE"
				  " GREATEST((EXTRACT(epoch FROM clock_timestamp()) * 1000000)::int8, (SELECT max(version) + 1 FROM dlog.node)) END"
				  " WHERE name = $1",
				  3, (const char *[]){name, candidate->address, psprintf("%d", candidate->port)});
	return name;
}

/* What is to be said of a candidate; true: the token is worth a try. */
static bool
judge(Candidate *candidate, bool is_alone)
{
	const char *endpoint[] = {candidate->address, psprintf("%d", candidate->port), candidate->fingerprint};
	char *moved;

	if (statement_run("SELECT FROM dlog.this_node() WHERE (address = $1 AND port = $2::int4) OR dlog.key_fingerprint(public_key) = $3", 3, endpoint) > 0)
	{
		note(candidate, "it is this node");
		return false;
	}
	if (statement_run("SELECT name FROM dlog.node WHERE ((address = $1 AND port = $2::int4) OR dlog.key_fingerprint(public_key) = $3)"
					  " AND (address = $1 AND port = $2::int4 OR EXISTS (SELECT FROM dlog.links AS l WHERE l.node = name AND l.state = 'up'))",
					  3, endpoint) > 0)
	{
		note(candidate, psprintf("it is node \"%s\"", statement_column(0, 1)));
		return false;
	}
	if (candidate->cluster != NULL && strcmp(candidate->cluster, dlog_cluster_name) != 0)
	{
		note(candidate, psprintf("not admitted: it is of cluster \"%s\"", candidate->cluster));
		return false;
	}
	moved = moved_node(candidate);
	if (moved != NULL)
	{
		note(candidate, psprintf("admitted: the key of node \"%s\" at another address", moved));
		ereport(LOG,
				(errmsg("dlog: node \"%s\" was found at %s:%d, via %s", moved, candidate->address, candidate->port, candidate->via)));
		return false;
	}
	if (is_alone && dlog_join_token[0] != '\0')
		return true;
	note(candidate, is_alone ? "not admitted: dlog.join_token is not set on this node" :
							   "not admitted: its key is not known here, and it has not shown a join token");
	return false;
}

/* Notes all; returns those with which the token is to be tried. */
static List *
judge_all(List *candidates, MemoryContext context)
{
	StatementScope scope;
	List *worth_a_try = NIL;
	ListCell *cell;
	bool is_alone;

	begin(&scope);
	statement_run("DELETE FROM dlog.candidate WHERE seen_at < now() - '" KEPT "'::interval"
				  " OR seen_at < (SELECT seen_at FROM dlog.candidate ORDER BY seen_at DESC OFFSET " KEPT_ROWS " LIMIT 1)",
				  0, NULL);
	is_alone = statement_run("SELECT FROM dlog.node LIMIT 1", 0, NULL) == 0;
	foreach(cell, candidates)
	{
		MemoryContext spi = CurrentMemoryContext;

		if (!judge(lfirst(cell), is_alone))
			continue;
		MemoryContextSwitchTo(context);
		worth_a_try = lappend(worth_a_try, lfirst(cell));
		MemoryContextSwitchTo(spi);
	}
	end(&scope, context);
	return worth_a_try;
}

/* Joins with the token at a candidate; false if it is not let in. */
static bool
try_token(const Candidate *candidate, MemoryContext context)
{
	const char *format = strchr(candidate->address, ':') != NULL ? "[%s]:%d" : "%s:%d";
	char *endpoint = psprintf(format, candidate->address, candidate->port);
	ErrorData *volatile error = NULL;
	StatementScope scope;

	PG_TRY();
	{
		begin(&scope);
		transport_join_by_token(dlog_join_token, endpoint, candidate->fingerprint);
		note(candidate, "joined with dlog.join_token");
		end(&scope, context);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (error == NULL)
	{
		ereport(LOG,
				(errmsg("dlog: joined cluster \"%s\" at %s, which was found via %s", dlog_cluster_name, endpoint, candidate->via)));
		return true;
	}
	begin(&scope);
	note(candidate, psprintf("not admitted: %s%s%s", error->message, error->detail == NULL ? "" : ": ",
							 error->detail == NULL ? "" : error->detail));
	end(&scope, context);
	return false;
}

static void
look(void)
{
	MemoryContext context = CurrentMemoryContext;
	List *candidates = sources_ask(read_sources(context), false);
	ListCell *cell;

	foreach(cell, judge_all(candidates, context))
	{
		if (try_token(lfirst(cell), context))
			break;
	}
}

/*
 * Work handler: it is time to look for candidates.  Unless somebody is still at
 * it: name servers and other nodes may be slow.
 */
static void
handle_discover(Message *message)
{
	LOCKTAG tag;

	if (message->from.node != THIS_NODE)
		return;
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0x646c6f67, 2, 2);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return;
	PG_TRY();
	{
		look();
	}
	PG_FINALLY();
	{
		LockRelease(&tag, ExclusiveLock, true);
	}
	PG_END_TRY();
}

/*
 * discover_init
 *		Called once, in the postmaster.
 */
void
discover_init(void)
{
	runtime_register_work(MESSAGE_DISCOVER, handle_discover);
}
