/*
 * member_view.c
 *		Membership as other processes see it: the state of each node, the tags
 *		of this one, the settings.
 *
 * A node's tags are the server's, like its name, not a database's; they are
 * kept in the file dlog_node_tags in the data directory.
 */
#include "postgres.h"

#include <unistd.h>

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "base/guc.h"
#include "transport/transport_internal.h"

#define TAGS_FILE "dlog_node_tags"
#define TAGS_FILE_NEW "dlog_node_tags.new"

DLOG_FUNCTION(dlog_set_tags);
DLOG_FUNCTION(dlog_members);

/*
 * transport_member
 *		What membership knows of a node, this one too; false if nothing.
 */
bool
transport_member(uint32 node, MemberView *view)
{
	MemberEntry *entry = &transport_shared->members[node];
	NodeEntry node_entry = {.in_use = true};
	uint32 generation = 0;

	memset(view, 0, sizeof(*view));
	if (node > transport_shared->max_nodes || (node != THIS_NODE && !node_copy(node, &node_entry)))
		return false;
	for (int i = 0; i < 1000; i++)
	{
		uint32 version = pg_atomic_read_u32(&entry->version);

		pg_read_barrier();
		view->state = (MemberState) entry->state;
		view->incarnation = entry->incarnation;
		view->since = (TimestampTz) entry->since_us -
					  (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
		generation = entry->generation;
		memcpy(view->why, entry->why, sizeof(view->why));
		view->tags_size = Min(entry->tags_size, MEMBERSHIP_MAX_TAGS);
		memcpy(view->tags, entry->tags, view->tags_size);
		pg_read_barrier();
		if ((version & 1) == 0 && pg_atomic_read_u32(&entry->version) == version)
			break;

		/* It died in the middle; the next one mends that. */
	}
	view->tags[view->tags_size] = '\0';
	view->why[sizeof(view->why) - 1] = '\0';
	if (node == THIS_NODE)
		view->state = MEMBER_ALIVE;
	else
		view->round_trip_us = pg_atomic_read_u64(&transport_shared->links[node].round_trip_us);
	return view->state != MEMBER_NONE && (node == THIS_NODE || generation == node_entry.generation);
}

const char *
member_state_name(MemberState state)
{
	switch (state)
	{
		case MEMBER_ALIVE:
			return "alive";
		case MEMBER_SUSPECT:
			return "suspect";
		case MEMBER_DEAD:
			return "dead";
		case MEMBER_LEFT:
			return "left";
		case MEMBER_NONE:
			break;
	}
	return "unknown";
}

/* ------------------------------------------- for the network process to see */

/*
 * membership_change_begin
 *		What the network process follows is about to change; under node_lock.
 */
void
membership_change_begin(void)
{
	pg_atomic_fetch_add_u64(&transport_shared->membership_version, 1);
	pg_write_barrier();
}

void
membership_change_end(void)
{
	pg_write_barrier();
	pg_atomic_fetch_add_u64(&transport_shared->membership_version, 1);
}

/*
 * membership_publish_settings
 *		Settings are read by the worker; the network process gets them so.
 */
void
membership_publish_settings(void)
{
	MembershipSettings settings;

	membership_default_settings(&settings);
	settings.probe_interval_ms = (uint32) dlog_probe_interval;
	settings.probes = (uint32) dlog_probe_nodes;
	settings.probe_timeout_ms = (uint32) Min(dlog_probe_timeout, Max(dlog_probe_interval / 2, 1));
	settings.indirect_probes = (uint32) dlog_indirect_probes;
	settings.suspicion_mult = (uint32) dlog_suspicion_mult;
	settings.suspicion_max_mult = (uint32) dlog_suspicion_max_mult;
	settings.gossip_interval_ms = (uint32) dlog_gossip_interval;
	settings.gossip_nodes = (uint32) dlog_gossip_nodes;
	settings.retransmit_mult = (uint32) dlog_retransmit_mult;
	settings.push_pull_interval_ms = (uint32) dlog_push_pull_interval;

	LWLockAcquire(&transport_shared->node_lock, LW_EXCLUSIVE);
	membership_change_begin();
	transport_shared->membership_settings = settings;
	membership_change_end();
	LWLockRelease(&transport_shared->node_lock);
	transport_wake();
}

/*
 * transport_set_heartbeat
 *		Nodes of this database are to be probed that often; 0: as set.
 */
void
transport_set_heartbeat(int heartbeat_ms)
{
	LWLockAcquire(&transport_shared->node_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_LOADED_DATABASES; i++)
	{
		LoadedDatabase *loaded = &transport_shared->databases[i];

		if (loaded->database == MyDatabaseId &&
			pg_atomic_read_u32(&loaded->heartbeat_ms) != (uint32) heartbeat_ms)
		{
			membership_change_begin();
			pg_atomic_write_u32(&loaded->heartbeat_ms, (uint32) heartbeat_ms);
			membership_change_end();
		}
	}
	LWLockRelease(&transport_shared->node_lock);
	transport_wake();
}

/*
 * transport_set_flock_digest
 *		What dlog.flock of this database comes to; other nodes are told.
 */
void
transport_set_flock_digest(uint64 digest)
{
	for (int i = 0; i < MAX_LOADED_DATABASES; i++)
	{
		if (transport_shared->databases[i].database == MyDatabaseId)
			pg_atomic_write_u64(&transport_shared->databases[i].flock_digest, digest);
	}
	transport_wake();
}

/*
 * transport_set_discovering
 *		Whether this database is to be told now and then to look for nodes.
 */
void
transport_set_discovering(bool discovers)
{
	for (int i = 0; i < MAX_LOADED_DATABASES; i++)
	{
		if (transport_shared->databases[i].database == MyDatabaseId)
			pg_atomic_write_u32(&transport_shared->databases[i].discovers, discovers);
	}
	transport_wake();
}

/*
 * transport_members_seen
 *		A scheduler is about to look at the members of its database: what
 *		changes from now on is announced anew.
 */
void
transport_members_seen(void)
{
	for (int i = 0; i < MAX_LOADED_DATABASES; i++)
	{
		if (transport_shared->databases[i].database == MyDatabaseId)
			pg_atomic_write_u32(&transport_shared->databases[i].members_changed, 0);
	}
	pg_memory_barrier();
}

/*
 * transport_sync_seen, transport_flock_sync_seen
 *		The same for differences of the tables dlog.node and dlog.flock.
 */
void
transport_sync_seen(void)
{
	for (int i = 0; i < MAX_LOADED_DATABASES; i++)
	{
		if (transport_shared->databases[i].database == MyDatabaseId)
			pg_atomic_write_u32(&transport_shared->databases[i].sync_pending, 0);
	}
	pg_memory_barrier();
}

void
transport_flock_sync_seen(void)
{
	for (int i = 0; i < MAX_LOADED_DATABASES; i++)
	{
		if (transport_shared->databases[i].database == MyDatabaseId)
			pg_atomic_write_u32(&transport_shared->databases[i].flock_sync_pending, 0);
	}
	pg_memory_barrier();
}

/* -------------------------------------------------------------------- tags */

static void
publish_tags(const char *tags, Size size)
{
	LWLockAcquire(&transport_shared->node_lock, LW_EXCLUSIVE);
	membership_change_begin();
	transport_shared->own_tags_size = (uint16) size;
	memcpy(transport_shared->own_tags, tags, size);
	membership_change_end();
	LWLockRelease(&transport_shared->node_lock);
	transport_wake();
}

/*
 * membership_read_tags
 *		Take over the tags of the file; by the worker when it starts.
 */
void
membership_read_tags(void)
{
	char tags[MEMBERSHIP_MAX_TAGS + 1];
	int fd = OpenTransientFile(TAGS_FILE, O_RDONLY | PG_BINARY);
	ssize_t size;

	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", TAGS_FILE)));
		return;
	}
	size = read(fd, tags, sizeof(tags));
	CloseTransientFile(fd);
	if (size < 0 || size > MEMBERSHIP_MAX_TAGS)
	{
		ereport(LOG, (errmsg("file \"%s\" does not hold the tags of a node", TAGS_FILE)));
		return;
	}
	publish_tags(tags, (Size) size);
}

static void
write_tags(const char *tags, Size size)
{
	int fd = OpenTransientFile(TAGS_FILE_NEW, O_CREAT | O_WRONLY | O_TRUNC | PG_BINARY);

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", TAGS_FILE_NEW)));
	errno = 0;
	if (write(fd, tags, size) != (ssize_t) size || pg_fsync(fd) != 0)
	{
		int save_errno = errno != 0 ? errno : ENOSPC;

		CloseTransientFile(fd);
		errno = save_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", TAGS_FILE_NEW)));
	}
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", TAGS_FILE_NEW)));
	(void) durable_rename(TAGS_FILE_NEW, TAGS_FILE, ERROR);
}

/*
 * dlog_set_tags
 *		Give this node other tags.  At once, not at commit: they are the
 *		server's, not the database's.
 */
Datum
dlog_set_tags(PG_FUNCTION_ARGS)
{
	Jsonb *tags = PG_GETARG_JSONB_P(0);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	char *text;

	runtime_require();
	if (!JB_ROOT_IS_OBJECT(tags))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tags must be a JSON object"),
				 errhint("For example: SELECT dlog.set_tags('{\"role\": \"replica\"}').")));
	iterator = JsonbIteratorInit(&tags->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_VALUE && value.type == jbvBinary)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a tag's value must be a string, a number, a boolean or null")));
	}
	text = JsonbToCString(NULL, &tags->root, VARSIZE(tags));
	if (strlen(text) > MEMBERSHIP_MAX_TAGS)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the tags of a node must not be longer than %d bytes", MEMBERSHIP_MAX_TAGS),
				 errdetail("These are %d bytes long.", (int) strlen(text)),
				 errhint("Tags travel with every message about a node.")));
	write_tags(text, strlen(text));
	publish_tags(text, strlen(text));
	PG_RETURN_VOID();
}

/* -------------------------------------------------------------------- views */

/* The tags of a node as jsonb; those of none are an empty object. */
Datum
transport_member_tags(const MemberView *view)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(view->tags_size == 0 ? "{}" : view->tags));
}

static void
put_member(ReturnSetInfo *result, uint32 node)
{
	MemberView view;
	Datum values[9];
	bool nulls[9] = {false};
	int n = 0;

	if (!transport_member(node, &view))
		return; /* it was removed just now */
	values[n++] = CStringGetTextDatum(node_name(node));
	values[n++] = CStringGetTextDatum(member_state_name(view.state));
	nulls[n] = view.incarnation == 0;
	values[n++] = Int64GetDatum((int64) view.incarnation);
	values[n++] = TimestampTzGetDatum(view.since);
	nulls[n] = view.why[0] == '\0';
	values[n++] = CStringGetTextDatum(view.why);
	nulls[n] = view.round_trip_us == 0;
	{
		Interval *round_trip = palloc0(sizeof(Interval));

		round_trip->time = (TimeOffset) view.round_trip_us;
		values[n++] = IntervalPGetDatum(round_trip);
	}
	values[n++] = transport_member_tags(&view);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * dlog_members
 *		The nodes of this database as membership sees them, this one first.
 */
Datum
dlog_members(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *cell;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, node_list(true))
		put_member(result, (uint32) lfirst_int(cell));
	return (Datum) 0;
}
