/*
 * membership_internal.h
 *		What the files of this folder share.
 */
#ifndef DLOG_MEMBERSHIP_INTERNAL_H
#define DLOG_MEMBERSHIP_INTERNAL_H

#include "membership/membership.h"

#define NOBODY PG_UINT32_MAX
#define NEVER PG_UINT64_MAX

/* One who suspects first, and those who confirm it. */
#define MAX_ACCUSERS 4

#define MAX_PROBES 16 /* of ours, at a time */
#define MAX_RELAYS 64 /* probes for others, at a time */
#define MAX_TRANSMITS 63

/* Who was well for that long has its refutations forgotten. */
#define REFUTATION_US (60 * UINT64CONST(1000000))

/* Rumors of who has just come back are doubted for that long. */
#define UNSETTLED_US (10 * UINT64CONST(1000000))

/* A member as this one knows it; 64 bytes, since there may be many. */
typedef struct Member
{
	uint64 id;
	uint64 incarnation; /* 0: never heard of */
	uint64 since_us;	/* of the state */
	uint32 accusers[MAX_ACCUSERS];
	uint32 order_at;   /* its place in "order" */
	uint32 suspect_at; /* its place in "suspects" */
	uint32 rumor_next; /* in the list of rumors told as often */
	uint32 rumor_previous;
	uint8 state;
	uint8 n_accusers;
	uint8 transmits; /* of the rumor about it */
	bool has_rumor;
	uint8 refutations; /* of late; makes us patient */
} Member;

StaticAssertDecl(sizeof(Member) == 64, "a member fills a cache line");

/* A claim, decoded. */
typedef struct Rumor
{
	MemberState state;
	uint64 id;
	uint64 incarnation;
	uint32 n_accusers;
	uint64 accusers[MAX_ACCUSERS];
	Size tags_size;
	const char *tags;
} Rumor;

/* A probe of ours that is under way. */
typedef struct Probe
{
	uint32 slot; /* NOBODY: unused */
	uint32 sequence;
	uint64 incarnation; /* of the member when it was sent */
	uint64 indirect_us; /* ask others then; NEVER: they have been */
	uint64 end_us;
	uint32 nacks_expected;
	uint32 nacks;
} Probe;

/* A probe for somebody else. */
typedef struct Relay
{
	uint32 requester; /* NOBODY: unused */
	uint32 requester_sequence;
	uint32 sequence;
	uint32 target;
	uint64 incarnation;
	uint64 nack_us; /* NEVER: sent */
	uint64 end_us;
} Relay;

struct Membership
{
	MembershipWorld world;
	MembershipSettings settings;
	MembershipCounters counters;

	uint32 self;
	uint32 max_slots;
	uint32 awareness; /* 0: healthy; grows as we miss what should have come */
	bool is_leaving;
	uint32 n_present; /* members alive or suspect, this one too */
	uint64 digest;	  /* of all states, see push_pull.c */

	Member *members; /* by slot */
	uint32 *buckets; /* slots by a hash of the id, one more than each */
	uint32 n_buckets;

	uint32 *order; /* all other members, shuffled, for probing */
	uint32 n_others;
	uint32 next_in_order;

	uint32 *suspects;
	uint32 n_suspects;
	uint64 suspicion_us; /* the first that ends, or earlier */

	uint32 rumors[MAX_TRANSMITS + 1]; /* lists by transmits; NOBODY: empty */
	uint32 n_rumors;
	uint64 reach; /* a bit for each list that is not empty */

	uint32 sequence;
	Probe probes[MAX_PROBES];
	Relay relays[MAX_RELAYS];

	uint64 probe_us; /* when to do it next */
	uint64 gossip_us;
	uint64 push_pull_us;
	uint64 reconnect_us;
	uint64 merge_us; /* no push-pull with one that came back before */
};

/* membership.c */
extern uint32 member_find(const Membership *core, uint64 id);
extern void member_hear(Membership *core, uint32 from, const Rumor *rumor);
extern void member_contest(Membership *core, uint32 from, const Rumor *rumor);
extern void member_accuse(Membership *core, uint32 slot, MemberReason reason);
extern void member_set_state(Membership *core, uint32 slot, MemberState state, uint64 incarnation,
							 MemberReason reason, uint64 by);
extern uint32 member_pick(Membership *core, bool (*wanted)(Membership *core, uint32 slot),
						  uint32 except, uint32 n_wanted, uint32 *picked);
extern bool member_is_present(Membership *core, uint32 slot);

static inline uint64
now_us(const Membership *core)
{
	return core->world.clock.now_us(core->world.clock.state);
}

static inline uint32
random_below(Membership *core, uint32 limit)
{
	return (uint32) (((uint64) core->world.random(core->world.context) * limit) >> 32);
}

/* Ours go slower the worse our own health is. */
static inline uint64
scaled_us(const Membership *core, uint32 ms)
{
	return (uint64) ms * 1000 * (core->awareness + 1);
}

static inline bool
is_present(const Member *member)
{
	return member->state == MEMBER_ALIVE || member->state == MEMBER_SUSPECT;
}

extern bool membership_send(Membership *core, uint32 slot, uint16 type, const char *payload,
							Size size);

/* rumor.c */
extern void rumor_spread(Membership *core, uint32 slot);
extern void rumor_drop(Membership *core, uint32 slot);
extern Size rumor_gather(Membership *core, uint32 to, bool about_us, char *buffer);
extern Size rumor_write_state(Membership *core, uint32 slot, char *buffer, Size room);
extern bool rumor_read(const char **at, const char *end, Rumor *rumor);
extern bool rumors_hear(Membership *core, uint32 from, WireBytes rumors);
extern void rumor_tell(Membership *core, uint32 to);
extern void rumor_tell_own(Membership *core, uint32 to);
extern void rumor_tell_claim(Membership *core, uint32 to, const Rumor *claim);
extern void rumor_round(Membership *core);

/* probe.c */
extern void probe_init(Membership *core);
extern bool probe_start(Membership *core, uint32 slot);
extern void probe_round(Membership *core);
extern void probe_run(Membership *core);
extern void probe_postpone(Membership *core, uint64 by_us);
extern uint64 probe_next_us(const Membership *core);
extern void probe_forget(Membership *core, uint32 slot);
extern void probe_receive(Membership *core, uint32 from, uint16 type, const char *payload, Size size);
extern void awareness_change(Membership *core, int delta);

/* suspicion.c */
extern void suspicion_begin(Membership *core, uint32 slot);
extern void suspicion_end(Membership *core, uint32 slot);
extern void suspicion_refuted(Membership *core, uint32 slot);
extern bool suspicion_confirm(Membership *core, uint32 slot, uint32 accuser);
extern void suspicion_postpone(Membership *core, uint64 by_us);
extern void suspicion_run(Membership *core);

/* push_pull.c */
extern uint64 push_pull_digest_of(const Member *member);
extern void push_pull_start(Membership *core, uint32 slot);
extern void push_pull_receive(Membership *core, uint32 from, const char *payload, Size size);

#endif
