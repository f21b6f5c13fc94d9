/*
 * network_tables.c
 *		Tables that all nodes of a database share: do they come to the same?
 *
 * There are two, dlog.node (sync.c) and dlog.flock (flock/sync.c).  What a
 * table comes to is its *digest*, which the database's schedulers leave in
 * shared memory.  Network processes tell each other their digests: when a link
 * comes up, now and then, and a few others when one has changed.  Where the
 * digests differ, a scheduler is asked to compare the tables.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/guc.h"
#include "transport/network.h"

/* So many others are told at once of a change; they tell others in turn. */
#define TOLD_OF_CHANGE 8

/* The digest of dlog.flock that others were last told of, by database. */
static uint64 told_flocks[MAX_LOADED_DATABASES];

/* When a database is to look for candidates again; 0: it does not. */
static uint64 discover_us[MAX_LOADED_DATABASES];

/* When it last did; however much is found, it looks no more often than that. */
static uint64 discovered_us[MAX_LOADED_DATABASES];

#define SOON_US 1000000

static LoadedDatabase *
find_loaded(Oid database)
{
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		if (transport_shared->databases[d].database == database)
			return &transport_shared->databases[d];
	}
	return NULL;
}

static uint32
remote_dispatcher(const Admission *admission)
{
	return database_address(THIS_NODE, admission->remote_database).incarnation;
}

static void
send_node_digest(Peer *peer, const Admission *admission, LoadedDatabase *loaded)
{
	NodeDigestMessage digest = {
		.from = admission->dispatcher,
		.to = remote_dispatcher(admission),
		.digest = pg_atomic_read_u64(&loaded->digest) ^ admission->row_hash,
	};
	char payload[32];

	node_digest_write(payload, node_digest_size(&digest), &digest);
	(void) peer_send_own(peer, MESSAGE_NODE_DIGEST, payload, node_digest_size(&digest));
}

static void
send_flock_digest(Peer *peer, const Admission *admission, LoadedDatabase *loaded)
{
	FlockDigestMessage digest = {
		.from = admission->dispatcher,
		.to = remote_dispatcher(admission),
		.digest = pg_atomic_read_u64(&loaded->flock_digest),
	};
	char payload[32];

	flock_digest_write(payload, flock_digest_size(&digest), &digest);
	(void) peer_send_own(peer, MESSAGE_FLOCK_DIGEST, payload, flock_digest_size(&digest));
}

/*
 * tables_send_digests
 *		Tell a peer what the tables of our databases come to; if its own come
 *		to something else, it asks for ours.
 */
void
tables_send_digests(Peer *peer)
{
	for (uint32 i = peer->first_admission; i != 0; i = network.next_admission[i - 1])
	{
		Admission *admission = &network.admissions[i - 1];
		LoadedDatabase *loaded = find_loaded(admission->database);

		if (loaded == NULL)
			continue;
		send_node_digest(peer, admission, loaded);
		send_flock_digest(peer, admission, loaded);
	}
}

/* A peer with a link, the first behind a random place; NULL: none. */
static Peer *
any_peer(void)
{
	uint32 start = network.n_peers > 1 ? (uint32) random() % network.n_peers : 0;

	for (uint32 i = 0; i < network.n_peers; i++)
	{
		uint32 node = (start + i) % network.n_peers;

		if (node != THIS_NODE && network.peers[node].in_use && peer_is_up(&network.peers[node]))
			return &network.peers[node];
	}
	return NULL;
}

/*
 * tables_compare
 *		Now and then, with one of the others: nobody may have told us of a
 *		change.
 */
void
tables_compare(void)
{
	Peer *peer = any_peer();

	if (peer != NULL)
		tables_send_digests(peer);
}

/* Tells a few peers, as many as there are in a small cluster. */
static void
announce_flocks(LoadedDatabase *loaded)
{
	uint32 start = network.n_peers > 1 ? (uint32) random() % network.n_peers : 0;
	int n_told = 0;

	for (uint32 i = 0; i < network.n_peers && n_told < TOLD_OF_CHANGE; i++)
	{
		Peer *peer = &network.peers[(start + i) % network.n_peers];

		if (!peer->in_use || !peer_is_up(peer))
			continue;
		for (uint32 a = peer->first_admission; a != 0; a = network.next_admission[a - 1])
		{
			if (network.admissions[a - 1].database == loaded->database)
			{
				send_flock_digest(peer, &network.admissions[a - 1], loaded);
				n_told++;
			}
		}
	}
}

/* Has a database look for candidates, if it is time. */
static void
discover(int d)
{
	LoadedDatabase *loaded = &transport_shared->databases[d];
	Message *message;

	if (pg_atomic_read_u32(&loaded->discovers) == 0)
	{
		discover_us[d] = 0;
		return;
	}
	if (pg_atomic_exchange_u32(&loaded->discover_soon, 0) != 0)
		discover_us[d] = Min(discover_us[d], discovered_us[d] + SOON_US);
	if (discover_us[d] > clock_now_us())
		return;
	discovered_us[d] = clock_now_us();
	discover_us[d] = discovered_us[d] + dlog_discovery_interval * UINT64CONST(1000);
	message = message_try_create(MESSAGE_DISCOVER, sizeof(uint32));
	if (message == NULL)
		return;
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	message->from = (ActorAddress){THIS_NODE, 0, 0};
	memset(message->payload, 0, sizeof(uint32));
	(void) actor_send((ActorAddress){THIS_NODE, 0, loaded->dispatcher}, message);
}

/*
 * tables_next_us
 *		When tables_announce_changes() has something to do by itself.
 */
uint64
tables_next_us(void)
{
	uint64 next_us = PG_UINT64_MAX;

	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		if (discover_us[d] != 0)
			next_us = Min(next_us, discover_us[d]);
	}
	return next_us;
}

/*
 * tables_announce_changes
 *		Tell of what has changed since it was last called.
 */
void
tables_announce_changes(void)
{
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		LoadedDatabase *loaded = &transport_shared->databases[d];
		uint64 digest;

		if (!OidIsValid(loaded->database))
		{
			discover_us[d] = 0;
			continue;
		}
		discover(d);
		digest = pg_atomic_read_u64(&loaded->flock_digest);
		if (digest == told_flocks[d])
			continue;
		told_flocks[d] = digest;
		announce_flocks(loaded);
	}
}

/* Has a scheduler compare a table with that of a node, unless one is about to. */
static void
ask_to_compare(const Admission *admission, pg_atomic_uint32 *pending, uint16 type, uint32 node)
{
	NodeSyncMessage sync = {.node = node};
	Message *message;

	if (pg_atomic_exchange_u32(pending, 1) != 0)
		return;
	message = message_try_create(type, node_sync_size(&sync));
	if (message != NULL)
	{
		message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
		message->from = (ActorAddress){THIS_NODE, 0, 0};
		node_sync_write(message->payload, message->size, &sync);
		if (actor_send((ActorAddress){THIS_NODE, 0, admission->dispatcher}, message) == SEND_OK)
			return;
	}
	pg_atomic_write_u32(pending, 0); /* at the next comparison, then */
}

static Admission *
admission_for(Peer *peer, uint32 from, uint32 to)
{
	for (uint32 i = peer->first_admission; i != 0; i = network.next_admission[i - 1])
	{
		Admission *admission = &network.admissions[i - 1];

		if (admission->dispatcher == to && remote_dispatcher(admission) == from)
			return admission;
	}
	return NULL;
}

/*
 * tables_heard_nodes, tables_heard_flocks
 *		Another's table has come to something: have ours follow, if it differs.
 */
void
tables_heard_nodes(Peer *peer, const NodeDigestMessage *digest)
{
	Admission *admission = admission_for(peer, digest->from, digest->to);
	LoadedDatabase *loaded = admission == NULL ? NULL : find_loaded(admission->database);

	if (loaded != NULL && (pg_atomic_read_u64(&loaded->digest) ^ admission->row_hash) != digest->digest)
		ask_to_compare(admission, &loaded->sync_pending, MESSAGE_NODE_SYNC, peer->node);
}

void
tables_heard_flocks(Peer *peer, const FlockDigestMessage *digest)
{
	Admission *admission = admission_for(peer, digest->from, digest->to);
	LoadedDatabase *loaded = admission == NULL ? NULL : find_loaded(admission->database);

	if (loaded != NULL && pg_atomic_read_u64(&loaded->flock_digest) != digest->digest)
		ask_to_compare(admission, &loaded->flock_sync_pending, MESSAGE_FLOCK_SYNC, peer->node);
}
