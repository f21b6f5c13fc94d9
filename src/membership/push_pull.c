/*
 * push_pull.c
 *		Push-pull: two members compare all that they know.
 *
 * Rumors reach everyone but for bad luck, or a member that was away.  So
 * every push_pull_interval a member sends another the digest of all states;
 * only if the other's differs, they exchange the states themselves.  That
 * keeps the load of a quiet cluster the same however many members it has.
 *
 * What is said of a suspect is not exchanged: it may be refuted already.
 * What one side holds for dead and the other for alive is not settled by
 * majority or age: the member in question is told what is said of it, and if
 * it lives it refutes.  So two halves of a cluster that had lost each other
 * merge without anyone in one half ever taking a member of its own for dead.
 */
#include "c.h"

#include "membership/membership_internal.h"

/* Flags of PUSH_PULL. */
#define PUSH_PULL_STATES 1 /* with states; without: only the digest */
#define PUSH_PULL_ANSWER 2 /* the receiver is to send its states */

/* Members told after one exchange what is said of them. */
#define MAX_TOLD 32

/*
 * push_pull_digest_of
 *		A member's part of the digest, which is all parts in exclusive or.
 */
uint64
push_pull_digest_of(const Member *member)
{
	uint64 hash = member->id;

	if (member->incarnation == 0)
		return 0;
	hash ^= hash >> 30;
	hash *= UINT64CONST(0xbf58476d1ce4e5b9);
	hash ^= member->incarnation + (member->state == MEMBER_DEAD ? UINT64CONST(1) << 62 : member->state == MEMBER_LEFT ? UINT64CONST(1) << 63 :
																														0);
	hash ^= hash >> 27;
	hash *= UINT64CONST(0x94d049bb133111eb);
	return hash ^ (hash >> 31);
}

static void
send_digest(Membership *core, uint32 slot)
{
	PushPullMessage push_pull = {.digest = core->digest};
	char payload[32];

	push_pull_write(payload, push_pull_size(&push_pull), &push_pull);
	(void) membership_send(core, slot, MESSAGE_PUSH_PULL, payload, push_pull_size(&push_pull));
}

static void
send_chunk(Membership *core, uint32 slot, uint8 flags, const char *states, Size size)
{
	PushPullMessage push_pull = {
		.flags = flags,
		.digest = core->digest,
		.states = {.size = (uint32) size, .data = states},
	};
	char payload[MEMBERSHIP_MAX_STATES + 32];

	push_pull_write(payload, push_pull_size(&push_pull), &push_pull);
	(void) membership_send(core, slot, MESSAGE_PUSH_PULL, payload, push_pull_size(&push_pull));
}

/* Sends all states, in as many messages as that takes. */
static void
send_states(Membership *core, uint32 to, bool wants_answer)
{
	char states[MEMBERSHIP_MAX_STATES];
	Size size = 0;

	core->counters.push_pulls++;
	for (uint32 i = 0; i <= core->n_others; i++)
	{
		uint32 slot = i == 0 ? core->self : core->order[i - 1];
		Size written;

		if (core->members[slot].incarnation == 0)
			continue;
		written = rumor_write_state(core, slot, states + size, sizeof(states) - size);
		if (written == 0)
		{
			send_chunk(core, to, PUSH_PULL_STATES, states, size);
			size = 0;
			written = rumor_write_state(core, slot, states, sizeof(states));
		}
		size += written;
	}
	send_chunk(core, to, PUSH_PULL_STATES | (wants_answer ? PUSH_PULL_ANSWER : 0), states, size);
}

/*
 * push_pull_start
 *		Compare with a member.
 */
void
push_pull_start(Membership *core, uint32 slot)
{
	send_digest(core, slot);
}

/* Whether a member has to be told what one of us holds it for. */
static bool
is_contradiction(const Member *member, const Rumor *state)
{
	bool is_gone_there = state->state == MEMBER_DEAD || state->state == MEMBER_LEFT;

	return member->incarnation == state->incarnation && is_gone_there == is_present(member);
}

static void
merge(Membership *core, uint32 from, WireBytes states)
{
	const char *at = states.data;
	const char *end = states.data + states.size;
	uint32 n_told = 0;

	while (at < end)
	{
		Rumor state;
		uint32 slot;
		Member *member;

		if (!rumor_read(&at, end, &state))
		{
			core->counters.malformed++;
			return;
		}
		slot = member_find(core, state.id);
		if (slot == NOBODY)
			continue;
		member = &core->members[slot];
		if (slot == core->self || member->state == MEMBER_SUSPECT || !is_contradiction(member, &state))
		{
			/* News; but that one is dead whom we know is doubted at first. */
			if (slot != core->self && state.state == MEMBER_DEAD && member->incarnation != 0 &&
				is_present(member))
				member_contest(core, from, &state);
			else
				member_hear(core, from, &state);
		}
		else if (n_told < MAX_TOLD && random_below(core, 4) != 0)
		{
			n_told++;
			if (!is_present(member))
				rumor_tell(core, slot); /* which begins with what we hold it for */
			else
				member_contest(core, from, &state);
		}
	}
}

/*
 * push_pull_receive
 *		Another member's digest or states have come.
 */
void
push_pull_receive(Membership *core, uint32 from, const char *payload, Size size)
{
	PushPullMessage push_pull;

	if (!push_pull_read(payload, size, &push_pull))
	{
		core->counters.malformed++;
		return;
	}
	if ((push_pull.flags & PUSH_PULL_STATES) == 0)
	{
		if (push_pull.digest != core->digest)
			send_states(core, from, true);
		return;
	}
	merge(core, from, push_pull.states);
	if ((push_pull.flags & PUSH_PULL_ANSWER) != 0)
		send_states(core, from, false);
}
