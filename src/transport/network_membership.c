/*
 * network_membership.c
 *		Membership in the network process: its clock, its network, and what
 *		becomes of what it finds.
 *
 * The core (membership/) knows slots; ours are the numbers of the node table.
 * Its messages go over the links and are the links' own: they touch neither
 * the arena nor any other process, so that a node answers while its database
 * is busy.
 *
 * Membership and links say different things.  A link is up or down between
 * two nodes; a member is alive when anybody reaches it.  What each tells the
 * other: a link that comes up or is lost has the member probed at once; a
 * member that is found dead has its link ended, if it does not refute over
 * that link at once, so that who waits for it waits no longer.
 *
 * The core may call us back at any time, but not the other way round: what
 * its callbacks bring about is done after it has returned (settle()).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/guc.h"
#include "transport/network.h"

static Membership *core;
static bool is_in_core;

/* Version of the settings and tags that we have, see transport_internal.h. */
static uint64 settings_version;

/* Databases whose flocks may have changed, by their place in shared memory. */
static bool is_concerned[MAX_LOADED_DATABASES];
static bool has_concerned;

/*
 * Peers that are to be probed out of turn, the oldest first: a ring, and as
 * many can wait as there are peers.  Each is in it once (is_hinted).
 */
#define HINTS_IN_A_TURN 32
static uint32 *hints;
static uint32 first_hint;
static uint32 n_hints;

/* Peers found dead whose links are to be ended when that time has come. */
static uint32 n_giving_up;
static uint64 give_up_us = PG_UINT64_MAX;

static uint64 next_digests_us;

static void settle(void);

static void
hint(Peer *peer)
{
	if (peer->is_hinted || n_hints == network.max_peers)
		return;
	peer->is_hinted = true;
	hints[(first_hint + n_hints++) % network.max_peers] = peer->node;
}

/* ------------------------------------------------ what the core is given */

static uint64
get_now_us(void *state)
{
	return clock_now_us();
}

static uint32
get_random(void *context)
{
	static uint64 state;

	if (state == 0)
		state = network_wall_clock_us() ^ ((uint64) MyProcPid << 40) ^ network.key.node_id;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32) ((state * UINT64CONST(2685821657736338717)) >> 32);
}

static bool
send_to_peer(void *context, uint32 slot, uint16 type, const char *payload, Size size)
{
	Peer *peer = &network.peers[slot];

	return peer->in_use && peer_send_own(peer, type, payload, size);
}

static MemberEntry *
entry_begin(uint32 slot)
{
	MemberEntry *entry = &transport_shared->members[slot];

	pg_atomic_fetch_add_u32(&entry->version, 1);
	pg_write_barrier();
	return entry;
}

static void
entry_end(MemberEntry *entry)
{
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&entry->version, 1);
}

static Size
get_tags(void *context, uint32 slot, const char **tags)
{
	*tags = transport_shared->members[slot].tags;
	return transport_shared->members[slot].tags_size;
}

static void
set_tags(void *context, uint32 slot, const char *tags, Size size)
{
	MemberEntry *entry = entry_begin(slot);

	entry->tags_size = (uint16) Min(size, MEMBERSHIP_MAX_TAGS);
	memcpy(entry->tags, tags, entry->tags_size);
	entry_end(entry);
}

/* The databases that list a node have to look at their flocks. */
static void
concern_databases_of(uint32 node)
{
	for (uint32 i = network.peers[node].first_admission; i != 0; i = network.next_admission[i - 1])
	{
		Oid database = network.admissions[i - 1].database;

		for (int d = 0; d < MAX_LOADED_DATABASES; d++)
		{
			if (transport_shared->databases[d].database == database)
				is_concerned[d] = has_concerned = true;
		}
	}
}

static void
concern_all_databases(void)
{
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		if (OidIsValid(transport_shared->databases[d].database))
			is_concerned[d] = has_concerned = true;
	}
}

static void
describe_change(const MemberChange *change, char *why, Size size)
{
	uint32 by = 0;

	for (uint32 node = 1; node < network.n_peers && change->by != 0; node++)
	{
		if (network.peers[node].in_use && network.peers[node].node_id == change->by)
			by = node;
	}
	switch (change->reason)
	{
		case REASON_HEARD:
			strlcpy(why, change->before == MEMBER_SUSPECT ? "it has answered" : "it was heard of", size);
			return;
		case REASON_NO_ANSWER:
			strlcpy(why, "it has not answered this node, nor those who asked for it", size);
			return;
		case REASON_NOT_REFUTED:
			strlcpy(why, "it has not answered anybody in time", size);
			return;
		case REASON_RUMOR:
			if (change->state == MEMBER_LEFT)
				strlcpy(why, "it was shut down", size);
			else if (by != 0)
				snprintf(why, size, "node \"%s\" said so", network.peers[by].entry.name);
			else
				strlcpy(why, "other nodes said so", size);
			return;
	}
}

static void
on_changed(void *context, uint32 slot, const MemberChange *change)
{
	Peer *peer = &network.peers[slot];
	MemberEntry *entry = entry_begin(slot);

	entry->state = (uint32) change->state;
	entry->incarnation = change->incarnation;
	entry->generation = peer->entry.generation;
	if (change->before != change->state)
	{
		entry->since_us = network_wall_clock_us();
		describe_change(change, entry->why, sizeof(entry->why));
	}
	entry_end(entry);
	concern_databases_of(slot);

	if (change->state == MEMBER_DEAD)
	{
		if (change->incarnation != 0)
			network_log("node \"%s\" is dead: %s", peer->entry.name, entry->why);
		if (peer->give_up_us == 0)
			n_giving_up++;
		peer->give_up_us = clock_now_us() + dlog_probe_timeout * UINT64CONST(1000);
		give_up_us = Min(give_up_us, peer->give_up_us);
		hint(peer);
	}
	else if (peer->give_up_us != 0)
	{
		peer->give_up_us = 0;
		n_giving_up--;
	}
	if (change->state == MEMBER_ALIVE && (change->before == MEMBER_DEAD || change->before == MEMBER_LEFT))
		network_log("node \"%s\" is alive again", peer->entry.name);
}

/* ---------------------------------------------- what was learned is used */

/* Has the schedulers of databases look at their flocks. */
static void
tell_databases(void)
{
	has_concerned = false;
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		LoadedDatabase *loaded = &transport_shared->databases[d];
		Message *message;

		if (!is_concerned[d])
			continue;
		if (pg_atomic_exchange_u32(&loaded->members_changed, 1) == 0)
		{
			message = message_try_create(MESSAGE_MEMBERS_CHANGED, sizeof(uint32));
			if (message == NULL)
			{
				/* Memory is full: later. */
				pg_atomic_write_u32(&loaded->members_changed, 0);
				has_concerned = true;
				continue;
			}
			message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
			message->from = (ActorAddress){THIS_NODE, 0, 0};
			memset(message->payload, 0, sizeof(uint32));
			if (actor_send((ActorAddress){THIS_NODE, 0, loaded->dispatcher}, message) != SEND_OK)
				pg_atomic_write_u32(&loaded->members_changed, 0); /* its schedulers look when they start */
		}
		is_concerned[d] = false;
	}
}

/* Ends the links of the dead who have had their chance to refute. */
static void
give_up_links(void)
{
	uint64 now_us = clock_now_us();

	if (n_giving_up == 0 || now_us < give_up_us)
		return;
	give_up_us = PG_UINT64_MAX;
	for (uint32 node = 1; node < network.n_peers; node++)
	{
		Peer *peer = &network.peers[node];

		if (!peer->in_use || peer->give_up_us == 0)
			continue;
		if (peer->give_up_us > now_us)
		{
			give_up_us = Min(give_up_us, peer->give_up_us);
			continue;
		}
		peer->give_up_us = 0;
		n_giving_up--;
		if (peer_is_up(peer))
			peer_fail(peer, LINK_DOWN, "it does not answer: the nodes have found it dead");
	}
}

/*
 * Probes those that were hinted at, as many at a time as the core likes.  To
 * one that is dead and has no link to us there is no way.
 */
static void
probe_hinted(void)
{
	for (uint32 i = Min(n_hints, HINTS_IN_A_TURN); i > 0; i--)
	{
		Peer *peer = &network.peers[hints[first_hint]];
		bool is_done = !peer->in_use ||
					   (!peer_is_up(peer) && membership_state(core, peer->node) == MEMBER_DEAD);

		first_hint = (first_hint + 1) % network.max_peers;
		n_hints--;
		peer->is_hinted = false;
		if (!is_done)
		{
			is_in_core = true;
			is_done = membership_hint(core, peer->node);
			is_in_core = false;
		}
		if (!is_done)
			hint(peer);
	}
}

/* What callbacks have asked for, once the core has returned. */
static void
settle(void)
{
	if (is_in_core)
		return;
	probe_hinted();
	give_up_links();
	if (has_concerned)
		tell_databases();
	network.timer_us = Min(network.timer_us, members_next_us());
}

/* ------------------------------------------------------ the other's side */

/*
 * members_link_changed
 *		The link to a peer has come up, or was lost.
 */
void
members_link_changed(Peer *peer)
{
	if (core == NULL || peer->node_id == 0)
		return;
	members_follow(peer);
	hint(peer);
	settle();
}

/*
 * members_follow
 *		A peer is in the node table, and its number may be known now.
 */
void
members_follow(Peer *peer)
{
	MemberEntry *entry = &transport_shared->members[peer->node];

	if (core == NULL || peer->node_id == 0 || is_in_core ||
		membership_state(core, peer->node) != MEMBER_NONE)
		return;
	if (!membership_add(core, peer->node, peer->node_id))
	{
		network_log("node \"%s\" has the number of another node; it takes no part in membership",
					peer->entry.name);
		return;
	}
	if (entry->generation == peer->entry.generation && entry->state != MEMBER_NONE)
		membership_remember(core, peer->node, (MemberState) entry->state, entry->incarnation);
	else
	{
		entry = entry_begin(peer->node);
		entry->state = MEMBER_SUSPECT;
		entry->incarnation = 0;
		entry->generation = peer->entry.generation;
		entry->since_us = network_wall_clock_us();
		entry->tags_size = 0;
		strlcpy(entry->why, "it has not been heard of yet", sizeof(entry->why));
		entry_end(entry);
	}
	network.timer_us = Min(network.timer_us, members_next_us());
}

/*
 * members_forget
 *		A peer is in the node table no longer.
 */
void
members_forget(Peer *peer)
{
	MemberEntry *entry;

	if (core == NULL)
		return;
	membership_remove(core, peer->node);
	if (peer->give_up_us != 0)
	{
		peer->give_up_us = 0;
		n_giving_up--;
	}
	entry = entry_begin(peer->node);
	entry->state = MEMBER_NONE;
	entry->incarnation = 0;
	entry->tags_size = 0;
	entry_end(entry);
	concern_all_databases();
}

/*
 * members_receive
 *		One of membership's messages has come from a peer.
 */
void
members_receive(Peer *peer, uint16 type, const char *payload, Size size)
{
	members_follow(peer);
	is_in_core = true;
	membership_receive(core, peer->node, type, payload, size);
	is_in_core = false;
	settle();
}

/* --------------------------------------------------------------- its turns */

/* The settings in force: the worker's, made faster by what flocks ask for. */
static void
read_settings(MembershipSettings *settings)
{
	int heartbeat_ms = 0;

	*settings = transport_shared->membership_settings;
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		int wanted_ms = (int) pg_atomic_read_u32(&transport_shared->databases[d].heartbeat_ms);

		if (OidIsValid(transport_shared->databases[d].database) && wanted_ms != 0 &&
			(heartbeat_ms == 0 || wanted_ms < heartbeat_ms))
			heartbeat_ms = wanted_ms;
	}
	if (heartbeat_ms != 0 && heartbeat_ms < settings->probe_interval_ms)
	{
		settings->probe_timeout_ms = Max(10, settings->probe_timeout_ms * (uint64) heartbeat_ms / settings->probe_interval_ms);
		settings->probe_interval_ms = heartbeat_ms;
	}
}

/* Takes over new settings and new tags, whole or at the next turn. */
static void
follow_shared(void)
{
	uint64 version = pg_atomic_read_u64(&transport_shared->membership_version);
	MembershipSettings settings;
	MemberEntry *entry;
	char tags[MEMBERSHIP_MAX_TAGS];
	uint16 tags_size;

	if (version != settings_version && (version & 1) == 0)
	{
		pg_read_barrier();
		read_settings(&settings);
		tags_size = Min(transport_shared->own_tags_size, MEMBERSHIP_MAX_TAGS);
		memcpy(tags, transport_shared->own_tags, tags_size);
		pg_read_barrier();
		if (pg_atomic_read_u64(&transport_shared->membership_version) != version)
			return;
		settings_version = version;
		membership_configure(core, &settings);
		entry = &transport_shared->members[THIS_NODE];
		if (entry->tags_size != tags_size || memcmp(entry->tags, tags, tags_size) != 0)
		{
			set_tags(NULL, THIS_NODE, tags, tags_size);
			membership_tags_changed(core);
			entry = entry_begin(THIS_NODE);
			entry->incarnation = membership_incarnation(core, THIS_NODE);
			entry_end(entry);
			concern_all_databases();
			has_concerned = true;
		}
	}
}

/*
 * members_start
 *		Begin, knowing of the others what the network process before knew.
 */
void
members_start(void)
{
	MembershipWorld world = {
		.clock = {.now_us = get_now_us},
		.random = get_random,
		.send = send_to_peer,
		.changed = on_changed,
		.get_tags = get_tags,
		.set_tags = set_tags,
	};
	MembershipSettings settings;
	MemberEntry *entry;
	void *memory = malloc(membership_size(network.max_peers));

	hints = calloc(network.max_peers, sizeof(uint32));
	if (memory == NULL || hints == NULL)
		abort();
	read_settings(&settings);
	entry = entry_begin(THIS_NODE);
	entry->tags_size = Min(transport_shared->own_tags_size, MEMBERSHIP_MAX_TAGS);
	memcpy(entry->tags, transport_shared->own_tags, entry->tags_size);
	entry->state = MEMBER_ALIVE;
	entry->since_us = network_wall_clock_us();
	entry->incarnation = network_wall_clock_us() / 1000;
	entry_end(entry);
	core = membership_start(memory, network.max_peers, &world, &settings, THIS_NODE,
							network.key.node_id, entry->incarnation);
}

/*
 * members_next_us
 *		When members_run() has something to do.
 */
uint64
members_next_us(void)
{
	uint64 next_us;

	if (core == NULL)
		return PG_UINT64_MAX;
	next_us = Min(membership_next_us(core), next_digests_us);
	next_us = Min(next_us, tables_next_us());
	if (n_giving_up > 0)
		next_us = Min(next_us, give_up_us);
	return next_us;
}

/*
 * members_run
 *		Called in every turn of the network process.
 */
void
members_run(void)
{
	uint64 incarnation;

	follow_shared();
	is_in_core = true;
	if (membership_next_us(core) <= clock_now_us())
		(void) membership_run(core);
	is_in_core = false;

	incarnation = membership_incarnation(core, THIS_NODE);
	if (transport_shared->members[THIS_NODE].incarnation != incarnation)
	{
		MemberEntry *entry = entry_begin(THIS_NODE);

		entry->incarnation = incarnation;
		entry_end(entry);
	}
	pg_atomic_write_u32(&transport_shared->awareness, membership_awareness(core));
	if (clock_now_us() >= next_digests_us)
	{
		next_digests_us = clock_now_us() +
						  transport_shared->membership_settings.push_pull_interval_ms * UINT64CONST(1000);
		tables_compare();
	}
	tables_announce_changes();
	settle();
}

/*
 * members_leave
 *		This server shuts down in good order.
 */
void
members_leave(void)
{
	if (core != NULL)
		membership_leave(core);
}
