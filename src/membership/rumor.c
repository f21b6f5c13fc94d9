/*
 * rumor.c
 *		Rumors: which to pass on, and how they are written.
 *
 * There is at most one rumor about a member, what we know of it now.  Rumors
 * stand in lists by how often we have told them; a message takes those told
 * least first, and one that was told often enough, a multiple of the
 * logarithm of the number of members, is dropped.  They travel on every
 * probe and its answer; while there are any, some members are told every
 * gossip_interval as well.
 *
 * Written, in network order: state (1 byte), id (8), incarnation (8), number
 * of accusers (1), their ids (8 each), size of the tags (2), tags.
 */
#include "c.h"

#include <math.h>

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"

#include "membership/membership_internal.h"

#define RUMOR_HEAD_SIZE 18 /* all before the accusers */

/* --------------------------------------------------------------- lists */

static void
list_add(Membership *core, uint32 slot)
{
	Member *member = &core->members[slot];
	uint32 *first = &core->rumors[member->transmits];

	member->rumor_previous = NOBODY;
	member->rumor_next = *first;
	if (*first != NOBODY)
		core->members[*first].rumor_previous = slot;
	*first = slot;
	core->reach |= UINT64CONST(1) << member->transmits;
}

static void
list_remove(Membership *core, uint32 slot)
{
	Member *member = &core->members[slot];

	if (member->rumor_previous != NOBODY)
		core->members[member->rumor_previous].rumor_next = member->rumor_next;
	else
		core->rumors[member->transmits] = member->rumor_next;
	if (member->rumor_next != NOBODY)
		core->members[member->rumor_next].rumor_previous = member->rumor_previous;
	if (core->rumors[member->transmits] == NOBODY)
		core->reach &= ~(UINT64CONST(1) << member->transmits);
}

/*
 * rumor_drop
 *		Nothing is to be told about a member any longer.
 */
void
rumor_drop(Membership *core, uint32 slot)
{
	if (!core->members[slot].has_rumor)
		return;
	list_remove(core, slot);
	core->members[slot].has_rumor = false;
	core->n_rumors--;
}

/*
 * rumor_spread
 *		What we know of a member is news.
 */
void
rumor_spread(Membership *core, uint32 slot)
{
	Member *member = &core->members[slot];

	rumor_drop(core, slot);
	if (core->n_rumors == 0)
		core->gossip_us = Min(core->gossip_us, now_us(core) + random_below(core, core->settings.gossip_interval_ms * 1000 / 4 + 1));
	member->has_rumor = true;
	member->transmits = 0;
	list_add(core, slot);
	core->n_rumors++;
}

/* How often a rumor is told. */
static uint32
transmit_limit(const Membership *core)
{
	double times = core->settings.retransmit_mult * ceil(log10(core->n_present + 1.0));

	return (uint32) Min(Max(times, 1), MAX_TRANSMITS);
}

/* ----------------------------------------------------------- on the wire */

static char *
put_u64(char *at, uint64 value)
{
	value = pg_hton64(value);
	memcpy(at, &value, sizeof(value));
	return at + sizeof(value);
}

static char *
put_u16(char *at, uint16 value)
{
	value = pg_hton16(value);
	memcpy(at, &value, sizeof(value));
	return at + sizeof(value);
}

static uint64
get_u64(const char *at)
{
	uint64 value;

	memcpy(&value, at, sizeof(value));
	return pg_ntoh64(value);
}

static uint16
get_u16(const char *at)
{
	uint16 value;

	memcpy(&value, at, sizeof(value));
	return pg_ntoh16(value);
}

/* Writes what we know of a member; returns the bytes, 0 if there is no room. */
static Size
write_rumor(Membership *core, uint32 slot, bool with_accusers, char *buffer, Size room)
{
	const Member *member = &core->members[slot];
	MemberState state = (MemberState) member->state;
	uint32 n_accusers = with_accusers && state == MEMBER_SUSPECT ? member->n_accusers : 0;
	const char *tags = NULL;
	Size tags_size = 0;
	char *at = buffer;

	/* Without accusers it is a state: a suspect still counts as alive. */
	if (state == MEMBER_SUSPECT && !with_accusers)
		state = MEMBER_ALIVE;
	if (state == MEMBER_ALIVE)
		tags_size = core->world.get_tags(core->world.context, slot, &tags);
	if (RUMOR_HEAD_SIZE + n_accusers * sizeof(uint64) + sizeof(uint16) + tags_size > room)
		return 0;

	*at++ = (char) state;
	at = put_u64(at, member->id);
	at = put_u64(at, member->incarnation);
	*at++ = (char) n_accusers;
	for (uint32 i = 0; i < n_accusers; i++)
		at = put_u64(at, core->members[member->accusers[i]].id);
	at = put_u16(at, (uint16) tags_size);
	if (tags_size > 0)
		memcpy(at, tags, tags_size);
	return at + tags_size - buffer;
}

/*
 * rumor_write_state
 *		The same for push-pull: who is suspected is not passed on.
 */
Size
rumor_write_state(Membership *core, uint32 slot, char *buffer, Size room)
{
	return write_rumor(core, slot, false, buffer, room);
}

/*
 * rumor_read
 *		Decode the rumor at "*at" and step behind it; false if malformed.
 */
bool
rumor_read(const char **at, const char *end, Rumor *rumor)
{
	const char *from = *at;

	if (end - from < RUMOR_HEAD_SIZE)
		return false;
	rumor->state = (MemberState) (uint8) from[0];
	rumor->id = get_u64(from + 1);
	rumor->incarnation = get_u64(from + 9);
	rumor->n_accusers = (uint8) from[17];
	from += RUMOR_HEAD_SIZE;
	if (rumor->state < MEMBER_ALIVE || rumor->state > MEMBER_LEFT ||
		rumor->incarnation == 0 || rumor->n_accusers > MAX_ACCUSERS ||
		end - from < (ptrdiff_t) (rumor->n_accusers * sizeof(uint64) + sizeof(uint16)))
		return false;
	for (uint32 i = 0; i < rumor->n_accusers; i++, from += sizeof(uint64))
		rumor->accusers[i] = get_u64(from);
	rumor->tags_size = get_u16(from);
	from += sizeof(uint16);
	if (rumor->tags_size > MEMBERSHIP_MAX_TAGS || end - from < (ptrdiff_t) rumor->tags_size)
		return false;
	rumor->tags = from;
	*at = from + rumor->tags_size;
	return true;
}

/* -------------------------------------------------------------- telling */

/*
 * rumor_gather
 *		Rumors for a message to a member, into a buffer of
 *		MEMBERSHIP_MAX_RUMORS bytes; returns their size.
 *
 * First what it ought to contradict: that we hold it for suspect or worse
 * (Lifeguard's buddy system).  Then about ourselves, if it knows no better.
 */
Size
rumor_gather(Membership *core, uint32 to, bool about_us, char *buffer)
{
	uint32 told[128];
	uint32 n_told = 0;
	uint32 limit = transmit_limit(core);
	const Member *receiver = &core->members[to];
	Size size = 0;

	if (receiver->state != MEMBER_ALIVE && receiver->incarnation != 0 &&
		(core->settings.lifeguard || receiver->state != MEMBER_SUSPECT))
		size += write_rumor(core, to, true, buffer, MEMBERSHIP_MAX_RUMORS);
	if (about_us)
		size += write_rumor(core, core->self, true, buffer + size, MEMBERSHIP_MAX_RUMORS - size);

	for (uint64 left = core->reach; left != 0 && n_told < lengthof(told); left &= left - 1)
	{
		uint32 slot = core->rumors[pg_rightmost_one_pos64(left)];

		for (; slot != NOBODY && n_told < lengthof(told); slot = core->members[slot].rumor_next)
		{
			Size written;

			if ((slot == to && size > 0) || (slot == core->self && about_us))
				continue;
			written = write_rumor(core, slot, true, buffer + size, MEMBERSHIP_MAX_RUMORS - size);
			if (written == 0)
			{
				/* A shorter one may fit, but not many more will. */
				left = left & -left;
				break;
			}
			size += written;
			told[n_told++] = slot;
		}
	}

	for (uint32 i = 0; i < n_told; i++)
	{
		Member *member = &core->members[told[i]];

		list_remove(core, told[i]);
		if (++member->transmits >= limit)
		{
			member->has_rumor = false;
			core->n_rumors--;
		}
		else
			list_add(core, told[i]);
	}
	return size;
}

static void
tell(Membership *core, uint32 to, bool about_us)
{
	char rumors[MEMBERSHIP_MAX_RUMORS];
	GossipMessage gossip = {.rumors = {.data = rumors}};
	char payload[MEMBERSHIP_MAX_RUMORS + 16];

	gossip.rumors.size = (uint32) rumor_gather(core, to, about_us, rumors);
	if (gossip.rumors.size == 0)
		return;
	gossip_write(payload, gossip_size(&gossip), &gossip);
	(void) membership_send(core, to, MESSAGE_GOSSIP, payload, gossip_size(&gossip));
}

/*
 * rumor_tell
 *		Tell a member what we know of it, and rumors.
 */
void
rumor_tell(Membership *core, uint32 to)
{
	tell(core, to, false);
}

/*
 * rumor_tell_own
 *		The same, beginning with what has become of us.
 */
void
rumor_tell_own(Membership *core, uint32 to)
{
	tell(core, to, true);
}

/*
 * rumor_tell_claim
 *		Tell a member what somebody claims of it.
 */
void
rumor_tell_claim(Membership *core, uint32 to, const Rumor *claim)
{
	char rumor[RUMOR_HEAD_SIZE + sizeof(uint16)];
	GossipMessage gossip = {.rumors = {.size = sizeof(rumor), .data = rumor}};
	char payload[sizeof(rumor) + 16];
	char *at = rumor;

	*at++ = (char) claim->state;
	at = put_u64(at, claim->id);
	at = put_u64(at, claim->incarnation);
	*at++ = 0; /* accusers */
	(void) put_u16(at, 0);
	gossip_write(payload, gossip_size(&gossip), &gossip);
	(void) membership_send(core, to, MESSAGE_GOSSIP, payload, gossip_size(&gossip));
}

/*
 * rumor_round
 *		Tell a few members what is new.
 */
void
rumor_round(Membership *core)
{
	uint32 picked[16];
	uint32 n_picked = member_pick(core, member_is_present, core->self,
								  Min(core->settings.gossip_nodes, lengthof(picked)), picked);

	for (uint32 i = 0; i < n_picked && core->n_rumors > 0; i++)
		rumor_tell(core, picked[i]);
}

/*
 * rumors_hear
 *		Take in what a message says; false if it is malformed.
 */
bool
rumors_hear(Membership *core, uint32 from, WireBytes rumors)
{
	const char *at = rumors.data;
	const char *end = rumors.data + rumors.size;
	Rumor rumor;

	while (at < end)
	{
		if (!rumor_read(&at, end, &rumor))
		{
			core->counters.malformed++;
			return false;
		}
		member_hear(core, from, &rumor);
	}
	return true;
}
