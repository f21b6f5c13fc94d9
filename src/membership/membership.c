/*
 * membership.c
 *		The members and their states, and what a claim changes.
 *
 * Claims about one member are ordered: by incarnation, then alive, suspect,
 * dead, left.  A later one replaces an earlier one and is passed on; one that
 * is not later changes nothing.  So all members come to the same, in whatever
 * order they hear.
 */
#include "c.h"

#include "membership/membership_internal.h"

/* While there are dead members, one of them is tried that often. */
#define RECONNECT_INTERVALS 1

/* Being called that late is a sign of our own bad health. */
#define LATE_MS 100

/* ------------------------------------------------------------- by their id */

static uint32
bucket_of(const Membership *core, uint64 id)
{
	id ^= id >> 33;
	id *= UINT64CONST(0xff51afd7ed558ccd);
	id ^= id >> 33;
	return (uint32) id & (core->n_buckets - 1);
}

/*
 * member_find
 *		The slot of the member with an id, or NOBODY.
 */
uint32
member_find(const Membership *core, uint64 id)
{
	for (uint32 at = bucket_of(core, id); core->buckets[at] != 0; at = (at + 1) & (core->n_buckets - 1))
	{
		if (core->members[core->buckets[at] - 1].id == id)
			return core->buckets[at] - 1;
	}
	return NOBODY;
}

static void
index_add(Membership *core, uint32 slot)
{
	uint32 at = bucket_of(core, core->members[slot].id);

	while (core->buckets[at] != 0)
		at = (at + 1) & (core->n_buckets - 1);
	core->buckets[at] = slot + 1;
}

static void
index_remove(Membership *core, uint32 slot)
{
	uint32 mask = core->n_buckets - 1;
	uint32 hole = bucket_of(core, core->members[slot].id);

	while (core->buckets[hole] != slot + 1)
		hole = (hole + 1) & mask;

	/* Those behind move up, as long as that brings them no farther ahead. */
	for (uint32 at = (hole + 1) & mask; core->buckets[at] != 0; at = (at + 1) & mask)
	{
		uint32 home = bucket_of(core, core->members[core->buckets[at] - 1].id);

		if (((at - home) & mask) >= ((at - hole) & mask))
		{
			core->buckets[hole] = core->buckets[at];
			hole = at;
		}
	}
	core->buckets[hole] = 0;
}

/* ---------------------------------------------------------- life of a core */

void
membership_default_settings(MembershipSettings *settings)
{
	*settings = (MembershipSettings){
		.probe_interval_ms = 1000,
		.probes = 3,
		.probe_timeout_ms = 500,
		.indirect_probes = 3,
		.suspicion_mult = 5,
		.suspicion_max_mult = 6,
		.gossip_interval_ms = 200,
		.gossip_nodes = 3,
		.retransmit_mult = 4,
		.push_pull_interval_ms = 30000,
		.awareness_max = 8,
		.lifeguard = true,
	};
}

static uint32
buckets_for(uint32 max_slots)
{
	uint32 n_buckets = 16;

	while (n_buckets < max_slots + max_slots / 2)
		n_buckets *= 2;
	return n_buckets;
}

Size
membership_size(uint32 max_slots)
{
	return MAXALIGN(sizeof(Membership)) +
		   (Size) max_slots * (sizeof(Member) + 2 * sizeof(uint32)) +
		   (Size) buckets_for(max_slots) * sizeof(uint32);
}

/*
 * membership_start
 *		A core with no member but this one.
 */
Membership *
membership_start(void *memory, uint32 max_slots, const MembershipWorld *world,
				 const MembershipSettings *settings, uint32 self, uint64 id, uint64 incarnation)
{
	Membership *core = memory;
	char *at = (char *) memory + MAXALIGN(sizeof(Membership));
	uint64 now;

	memset(memory, 0, membership_size(max_slots));
	core->world = *world;
	core->settings = *settings;
	core->max_slots = max_slots;
	core->self = self;
	core->members = (Member *) at;
	at += max_slots * sizeof(Member);
	core->order = (uint32 *) at;
	at += max_slots * sizeof(uint32);
	core->suspects = (uint32 *) at;
	at += max_slots * sizeof(uint32);
	core->buckets = (uint32 *) at;
	core->n_buckets = buckets_for(max_slots);
	memset(core->rumors, 0xff, sizeof(core->rumors)); /* NOBODY */
	core->suspicion_us = NEVER;
	core->gossip_us = NEVER;
	probe_init(core);

	now = now_us(core);
	core->members[self] = (Member){.id = id, .incarnation = Max(incarnation, 1), .since_us = now, .state = MEMBER_ALIVE};
	core->n_present = 1;
	core->digest = push_pull_digest_of(&core->members[self]);
	index_add(core, self);

	/* Not all members at the same moment. */
	core->probe_us = now + random_below(core, settings->probe_interval_ms * 1000 / settings->probes);
	core->push_pull_us = now + random_below(core, settings->push_pull_interval_ms) * UINT64CONST(1000);
	core->reconnect_us = now + random_below(core, settings->probe_interval_ms * 1000 * RECONNECT_INTERVALS);
	rumor_spread(core, self);
	return core;
}

/*
 * membership_configure
 *		Other settings from now on.
 */
void
membership_configure(Membership *core, const MembershipSettings *settings)
{
	core->settings = *settings;
	core->awareness = Min(core->awareness, settings->awareness_max);
	core->probe_us = Min(core->probe_us, now_us(core) + settings->probe_interval_ms * UINT64CONST(1000));
	core->push_pull_us = Min(core->push_pull_us, now_us(core) + settings->push_pull_interval_ms * UINT64CONST(1000));
	core->suspicion_us = Min(core->suspicion_us, now_us(core));
}

static void
place_in_order(Membership *core, uint32 place, uint32 slot)
{
	core->order[place] = slot;
	core->members[slot].order_at = place;
}

bool
membership_add(Membership *core, uint32 slot, uint64 id)
{
	Member *member = &core->members[slot];
	uint32 place;

	if (slot >= core->max_slots || member->state != MEMBER_NONE || member_find(core, id) != NOBODY)
		return false;
	*member = (Member){.id = id, .since_us = now_us(core), .state = MEMBER_SUSPECT};
	index_add(core, slot);

	/* At a random place among those whose turn comes. */
	place = random_below(core, core->n_others + 1);
	if (place < core->n_others)
		place_in_order(core, core->n_others, core->order[place]);
	place_in_order(core, place, slot);
	core->n_others++;

	core->n_present++;
	suspicion_begin(core, slot);
	return true;
}

void
membership_remove(Membership *core, uint32 slot)
{
	Member *member = &core->members[slot];

	if (slot >= core->max_slots || slot == core->self || member->state == MEMBER_NONE)
		return;
	rumor_drop(core, slot);
	probe_forget(core, slot);
	if (member->state == MEMBER_SUSPECT)
		suspicion_end(core, slot);
	if (is_present(member))
		core->n_present--;
	core->digest ^= push_pull_digest_of(member);
	place_in_order(core, member->order_at, core->order[--core->n_others]);
	index_remove(core, slot);
	memset(member, 0, sizeof(*member));

	/* It may have accused others. */
	for (uint32 i = 0; i < core->n_suspects; i++)
	{
		Member *suspect = &core->members[core->suspects[i]];

		for (uint32 a = 0; a < suspect->n_accusers;)
		{
			if (suspect->accusers[a] == slot)
				suspect->accusers[a] = suspect->accusers[--suspect->n_accusers];
			else
				a++;
		}
	}
}

/*
 * membership_remember
 *		See membership.h; right after the member was added.
 */
void
membership_remember(Membership *core, uint32 slot, MemberState state, uint64 incarnation)
{
	Member *member = &core->members[slot];

	if (member->state != MEMBER_SUSPECT || member->incarnation != 0 || incarnation == 0)
		return;
	suspicion_end(core, slot);
	member->state = (uint8) (state == MEMBER_SUSPECT ? MEMBER_ALIVE : state);
	member->incarnation = incarnation;
	if (!is_present(member))
		core->n_present--;
	core->digest ^= push_pull_digest_of(member);
}

/* ------------------------------------------------------------- claims */

/*
 * member_set_state
 *		A member's state changes: note it, pass it on, tell the caller.
 */
void
member_set_state(Membership *core, uint32 slot, MemberState state, uint64 incarnation,
				 MemberReason reason, uint64 by)
{
	Member *member = &core->members[slot];
	MemberChange change = {
		.before = (MemberState) member->state,
		.state = state,
		.incarnation = incarnation,
		.reason = reason,
		.by = by,
	};

	core->digest ^= push_pull_digest_of(member);
	if (change.before == MEMBER_SUSPECT)
	{
		suspicion_end(core, slot);
		if (state == MEMBER_ALIVE && member->incarnation != 0)
			suspicion_refuted(core, slot);
	}
	else if (now_us(core) - member->since_us > REFUTATION_US)
		member->refutations = 0;
	if (is_present(member))
		core->n_present--;
	member->state = (uint8) state;
	member->incarnation = incarnation;
	if (change.before != state)
		member->since_us = now_us(core);
	if (is_present(member))
		core->n_present++;
	if (state == MEMBER_SUSPECT)
	{
		member->since_us = now_us(core);
		suspicion_begin(core, slot);
	}
	core->digest ^= push_pull_digest_of(member);

	if (incarnation != 0)
		rumor_spread(core, slot);
	if (slot != core->self)
		core->world.changed(core->world.context, slot, &change);
}

/* Something is said about this member that is not so, or no longer. */
static void
refute(Membership *core, const Rumor *rumor)
{
	Member *self = &core->members[core->self];

	if (core->is_leaving || rumor->incarnation < self->incarnation ||
		(rumor->state == MEMBER_ALIVE && rumor->incarnation == self->incarnation))
		return;
	core->digest ^= push_pull_digest_of(self);
	self->incarnation = rumor->incarnation + 1;
	core->digest ^= push_pull_digest_of(self);
	core->counters.refutations++;
	awareness_change(core, 1);
	rumor_spread(core, core->self);
	if (core->settings.lifeguard)
		core->gossip_us = now_us(core); /* the clock of those who suspect us runs */
}

static void
hear_suspect(Membership *core, uint32 slot, const Rumor *rumor)
{
	Member *member = &core->members[slot];
	bool is_news = false;

	if (rumor->incarnation < member->incarnation ||
		(rumor->incarnation == member->incarnation && !is_present(member)))
		return;
	if (member->state != MEMBER_SUSPECT || rumor->incarnation > member->incarnation)
		member_set_state(core, slot, MEMBER_SUSPECT, rumor->incarnation, REASON_RUMOR,
						 rumor->n_accusers > 0 ? rumor->accusers[0] : 0);
	for (uint32 i = 0; i < rumor->n_accusers; i++)
	{
		uint32 accuser = member_find(core, rumor->accusers[i]);

		if (accuser != NOBODY && suspicion_confirm(core, slot, accuser))
			is_news = true;
	}
	if (is_news)
		rumor_spread(core, slot);
}

/*
 * Was that member away until just now, or may it be about to go?  While
 * rumors of its time apart are still told, it may hold those for dead whom
 * only it had lost.
 */
static bool
is_unsettled(const Membership *core, uint32 slot)
{
	const Member *member = &core->members[slot];

	return slot != core->self &&
		   (member->state != MEMBER_ALIVE || now_us(core) - member->since_us < UNSETTLED_US);
}

/*
 * member_contest
 *		Somebody who had lost us, or compares with us, holds a member for gone
 *		that is well for us.  It has its chance to refute.
 *
 * If we know as much of it and do not suspect it, nothing changes but that it
 * is told, and probed; else it is a suspect.
 */
void
member_contest(Membership *core, uint32 from, const Rumor *rumor)
{
	uint32 slot = member_find(core, rumor->id);
	const Member *member = &core->members[slot];
	Rumor doubt = *rumor;

	if (rumor->incarnation == member->incarnation && member->state == MEMBER_ALIVE)
	{
		rumor_tell_claim(core, slot, rumor);
		(void) probe_start(core, slot);
		return;
	}
	doubt.state = MEMBER_SUSPECT;
	doubt.n_accusers = 1;
	doubt.accusers[0] = core->members[from].id;
	hear_suspect(core, slot, &doubt);
}

/*
 * member_hear
 *		A claim has come.
 */
void
member_hear(Membership *core, uint32 from, const Rumor *rumor)
{
	uint32 slot = member_find(core, rumor->id);
	Member *member;

	if (slot == NOBODY)
		return; /* not known here, or not yet */
	if (slot == core->self)
	{
		refute(core, rumor);
		return;
	}
	member = &core->members[slot];
	switch (rumor->state)
	{
		case MEMBER_ALIVE:
			if (rumor->incarnation > member->incarnation)
			{
				bool was_gone = !is_present(member) || member->incarnation == 0;

				core->world.set_tags(core->world.context, slot, rumor->tags, rumor->tags_size);
				member_set_state(core, slot, MEMBER_ALIVE, rumor->incarnation, REASON_HEARD,
								 core->members[from].id);

				/* It may have been with others meanwhile: compare all we know. */
				if (was_gone && slot == from && now_us(core) >= core->merge_us)
				{
					core->merge_us = now_us(core) + core->settings.gossip_interval_ms * UINT64CONST(1000);
					push_pull_start(core, slot);
				}
			}
			return;
		case MEMBER_SUSPECT:
			hear_suspect(core, slot, rumor);
			return;
		case MEMBER_DEAD:
		case MEMBER_LEFT:
			if (rumor->state == MEMBER_DEAD && member->incarnation != 0 && is_present(member) &&
				is_unsettled(core, from))
				member_contest(core, from, rumor);
			else if (rumor->incarnation > member->incarnation ||
					 (rumor->incarnation == member->incarnation && rumor->state > (MemberState) member->state))
				member_set_state(core, slot, rumor->state, rumor->incarnation, REASON_RUMOR,
								 core->members[from].id);
			return;
		case MEMBER_NONE:
			return;
	}
}

/*
 * member_accuse
 *		We have got no answer from a member.
 */
void
member_accuse(Membership *core, uint32 slot, MemberReason reason)
{
	Member *member = &core->members[slot];

	if (!is_present(member) || core->is_leaving)
		return;
	if (member->state == MEMBER_ALIVE)
		member_set_state(core, slot, MEMBER_SUSPECT, member->incarnation, reason,
						 core->members[core->self].id);
	if (!suspicion_confirm(core, slot, core->self) || member->incarnation == 0)
		return;
	rumor_spread(core, slot);
	if (core->settings.lifeguard)
		rumor_tell(core, slot); /* so that it can refute as soon as it is able to */
}

/* ------------------------------------------------------------ choosing */

bool
member_is_present(Membership *core, uint32 slot)
{
	return is_present(&core->members[slot]);
}

/* One that is dead or has left, at random; NOBODY if there is none. */
static uint32
pick_gone(Membership *core)
{
	uint32 start;

	if (core->n_others < core->n_present) /* which counts us */
		return NOBODY;
	start = random_below(core, core->n_others);
	for (uint32 i = 0; i < core->n_others; i++)
	{
		uint32 slot = core->order[(start + i) % core->n_others];

		if (!is_present(&core->members[slot]))
			return slot;
	}
	return NOBODY;
}

/*
 * member_pick
 *		Up to so many different members at random; returns how many.
 */
uint32
member_pick(Membership *core, bool (*wanted)(Membership *core, uint32 slot), uint32 except,
			uint32 n_wanted, uint32 *picked)
{
	uint32 n_picked = 0;

	if (core->n_others == 0)
		return 0;
	for (uint32 tries = 0; tries < 8 + n_wanted * 4 && n_picked < n_wanted; tries++)
	{
		uint32 slot = core->order[random_below(core, core->n_others)];
		bool is_new = slot != except && wanted(core, slot);

		for (uint32 i = 0; i < n_picked && is_new; i++)
			is_new = picked[i] != slot;
		if (is_new)
			picked[n_picked++] = slot;
	}
	return n_picked;
}

/* ------------------------------------------------------- the caller's side */

bool
membership_send(Membership *core, uint32 slot, uint16 type, const char *payload, Size size)
{
	core->counters.sent_messages++;
	core->counters.sent_bytes += size;
	return core->world.send(core->world.context, slot, type, payload, size);
}

bool
membership_handles(uint16 type)
{
	return type == MESSAGE_PROBE || type == MESSAGE_PROBE_REQUEST || type == MESSAGE_PROBE_ACK ||
		   type == MESSAGE_PROBE_NACK || type == MESSAGE_GOSSIP || type == MESSAGE_PUSH_PULL;
}

void
membership_receive(Membership *core, uint32 from, uint16 type, const char *payload, Size size)
{
	GossipMessage gossip;

	if (from >= core->max_slots || from == core->self || core->members[from].state == MEMBER_NONE)
		return;
	core->counters.received_messages++;
	switch (type)
	{
		case MESSAGE_GOSSIP:
			if (gossip_read(payload, size, &gossip))
				(void) rumors_hear(core, from, gossip.rumors);
			else
				core->counters.malformed++;
			return;
		case MESSAGE_PUSH_PULL:
			push_pull_receive(core, from, payload, size);
			return;
		default:
			probe_receive(core, from, type, payload, size);
	}
}

/*
 * We have not run for a while although we wanted to: the machine was busy, or
 * asleep.  What should have come meanwhile may have come, and waits to be
 * read.  So whoever we wait for gets that time once more.
 */
static void
make_up_for(Membership *core, uint64 late_us)
{
	if (late_us < LATE_MS * UINT64CONST(1000) || !core->settings.lifeguard)
		return;
	awareness_change(core, 1);
	probe_postpone(core, late_us);
	suspicion_postpone(core, late_us + core->settings.probe_timeout_ms * UINT64CONST(1000));
}

uint64
membership_run(Membership *core)
{
	uint64 now = now_us(core);
	uint64 due = membership_next_us(core);
	uint32 slot;

	if (core->is_leaving)
		return NEVER;
	if (due < now)
		make_up_for(core, now - due);
	probe_run(core);
	suspicion_run(core);
	if (now >= core->probe_us)
	{
		probe_round(core);
		core->probe_us = now + scaled_us(core, core->settings.probe_interval_ms) /
								   Max(1, Min(core->settings.probes, core->n_others));
	}
	if (now >= core->reconnect_us)
	{
		/* Half of the world may only have been out of reach. */
		slot = pick_gone(core);
		if (slot != NOBODY)
			(void) probe_start(core, slot);
		core->reconnect_us = now + core->settings.probe_interval_ms * UINT64CONST(1000) * RECONNECT_INTERVALS;
	}
	if (now >= core->push_pull_us)
	{
		if (member_pick(core, member_is_present, core->self, 1, &slot) == 1)
			push_pull_start(core, slot);
		core->push_pull_us = now + core->settings.push_pull_interval_ms * UINT64CONST(1000);
	}
	if (now >= core->gossip_us)
	{
		rumor_round(core);
		core->gossip_us = core->n_rumors > 0 ? now + core->settings.gossip_interval_ms * UINT64CONST(1000) : NEVER;
	}
	return membership_next_us(core);
}

uint64
membership_next_us(const Membership *core)
{
	uint64 next = Min(core->probe_us, core->push_pull_us);

	if (core->is_leaving)
		return NEVER;
	next = Min(next, core->gossip_us);
	next = Min(next, core->suspicion_us);
	next = Min(next, core->reconnect_us);
	return Min(next, probe_next_us(core));
}

/*
 * membership_hint
 *		See membership.h.
 */
bool
membership_hint(Membership *core, uint32 slot)
{
	if (slot >= core->max_slots || slot == core->self || core->members[slot].state == MEMBER_NONE)
		return true;
	return probe_start(core, slot);
}

void
membership_tags_changed(Membership *core)
{
	Member *self = &core->members[core->self];

	core->digest ^= push_pull_digest_of(self);
	self->incarnation++;
	core->digest ^= push_pull_digest_of(self);
	rumor_spread(core, core->self);
}

void
membership_leave(Membership *core)
{
	Member *self = &core->members[core->self];

	core->is_leaving = true;
	core->digest ^= push_pull_digest_of(self);
	self->state = MEMBER_LEFT;
	core->digest ^= push_pull_digest_of(self);

	/* Everyone will notice that we are gone, so everyone ought to know why. */
	for (uint32 i = 0; i < core->n_others; i++)
	{
		if (is_present(&core->members[core->order[i]]))
			rumor_tell_own(core, core->order[i]);
	}
}

MemberState
membership_state(const Membership *core, uint32 slot)
{
	return slot < core->max_slots ? (MemberState) core->members[slot].state : MEMBER_NONE;
}

uint64
membership_incarnation(const Membership *core, uint32 slot)
{
	return slot < core->max_slots ? core->members[slot].incarnation : 0;
}

uint32
membership_awareness(const Membership *core)
{
	return core->awareness;
}

const MembershipCounters *
membership_counters(const Membership *core)
{
	return &core->counters;
}
