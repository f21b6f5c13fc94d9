/*
 * membership.h
 *		Who is alive: SWIM with Lifeguard, as a core without a world.
 *
 * The protocol is SWIM (A. Das, I. Gupta, A. Motivala: "SWIM: Scalable
 * Weakly-consistent Infection-style Process Group Membership Protocol", DSN
 * 2002) with Lifeguard's improvements (A. Dadgar, J. Phillips, J. Currey:
 * "Lifeguard: Local Health Awareness for More Accurate Failure Detection",
 * DSN-W 2018).  README.md tells it in short, and where we differ.
 *
 * Words.  A *member* is one of those that the caller has added, by a *slot*
 * of its choice, which is local, and an *id*, which is the same everywhere.
 * The *incarnation* of a member grows whenever it has to contradict what is
 * said about it; only it itself makes it grow.  A *rumor* is a claim about a
 * member's state, passed on a few times by everyone who learned from it.  An
 * *accuser* of a suspect is a member that got no answer from it.
 *
 * Nothing here reads a clock, sends, draws a random number or allocates: the
 * caller passes all that in, so a simulator runs thousands of members in one
 * process.  Nothing is used of the server beyond c.h.  One process owns a
 * core; there are no locks.
 */
#ifndef DLOG_MEMBERSHIP_H
#define DLOG_MEMBERSHIP_H

#include "base/clock.h"
#include "wire/wire.h"

typedef enum MemberState
{
	MEMBER_NONE,	/* no such member */
	MEMBER_ALIVE,	/* next: any */
	MEMBER_SUSPECT, /* has not answered, or was never heard of; next: any */
	MEMBER_DEAD,	/* next: ALIVE with a higher incarnation */
	MEMBER_LEFT		/* shut down in good order; next: as DEAD */
} MemberState;

/* Why a member's state changed. */
typedef enum MemberReason
{
	REASON_HEARD,	   /* it said itself that it lives, or refuted */
	REASON_NO_ANSWER,  /* neither to us nor to those who probed for us */
	REASON_RUMOR,	   /* others say so */
	REASON_NOT_REFUTED /* it was a suspect for too long */
} MemberReason;

typedef struct MemberChange
{
	MemberState before;
	MemberState state;
	uint64 incarnation;
	MemberReason reason;
	uint64 by; /* id of who said so; 0: nobody */
} MemberChange;

/* The longest tags that a member may have. */
#define MEMBERSHIP_MAX_TAGS 1024

/* The bytes of rumors in one message, and of states in one push-pull. */
#define MEMBERSHIP_MAX_RUMORS 1400
#define MEMBERSHIP_MAX_STATES 16384

typedef struct MembershipSettings
{
	uint32 probe_interval_ms;	  /* between two rounds of probes */
	uint32 probes;				  /* members probed in each round */
	uint32 probe_timeout_ms;	  /* until others are asked to probe */
	uint32 indirect_probes;		  /* that many others */
	uint32 suspicion_mult;		  /* shortest suspicion, in probe timeouts */
	uint32 suspicion_max_mult;	  /* the longest, in shortest ones */
	uint32 gossip_interval_ms;	  /* between rounds of rumors */
	uint32 gossip_nodes;		  /* members told in each */
	uint32 retransmit_mult;		  /* how often a rumor is passed on */
	uint32 push_pull_interval_ms; /* between comparisons of all states */
	uint32 awareness_max;		  /* slowest, in probe intervals, less one */
	bool lifeguard;				  /* false: SWIM as it was in 2002 */
} MembershipSettings;

typedef struct MembershipWorld
{
	void *context;
	Clock clock;
	uint32 (*random)(void *context);

	/* False when there is no way to that member now. */
	bool (*send)(void *context, uint32 slot, uint16 type, const char *payload, Size size);

	/* A member's state has changed; not called for this one. */
	void (*changed)(void *context, uint32 slot, const MemberChange *change);

	/* The tags of a member, this one too; "set" has to copy them. */
	Size (*get_tags)(void *context, uint32 slot, const char **tags);
	void (*set_tags)(void *context, uint32 slot, const char *tags, Size size);
} MembershipWorld;

typedef struct MembershipCounters
{
	uint64 sent_messages;
	uint64 sent_bytes;
	uint64 received_messages;
	uint64 malformed;
	uint64 probes;
	uint64 failed_probes;
	uint64 refutations; /* of what others said of us */
	uint64 push_pulls;	/* that sent all states */
} MembershipCounters;

typedef struct Membership Membership;

extern void membership_default_settings(MembershipSettings *settings);

/*
 * A core in memory of the caller's, of membership_size() bytes.  Its own slot
 * is "self".  The incarnation should be higher than any it had before; if it
 * is not, others will say so and it rises.
 */
extern Size membership_size(uint32 max_slots);
extern Membership *membership_start(void *memory, uint32 max_slots, const MembershipWorld *world,
									const MembershipSettings *settings, uint32 self, uint64 id,
									uint64 incarnation);
extern void membership_configure(Membership *core, const MembershipSettings *settings);

/* A member is suspect until it is heard of.  An id of another is refused. */
extern bool membership_add(Membership *core, uint32 slot, uint64 id);
extern void membership_remove(Membership *core, uint32 slot);

/* What the caller knows from before; nobody is told. */
extern void membership_remember(Membership *core, uint32 slot, MemberState state, uint64 incarnation);

/* To be called when the time it returned last has come, or later. */
extern uint64 membership_run(Membership *core);

/* The same time, after anything else was called. */
extern uint64 membership_next_us(const Membership *core);

/* A message of a type for which membership_handles() is true. */
extern bool membership_handles(uint16 type);
extern void membership_receive(Membership *core, uint32 from, uint16 type, const char *payload,
							   Size size);

/*
 * Something hints that a member came back, or went: probe it out of turn.
 * False when too many are being probed: later.
 */
extern bool membership_hint(Membership *core, uint32 slot);

/* The tags of this one have changed. */
extern void membership_tags_changed(Membership *core);

/* This one is about to go; tells all others. */
extern void membership_leave(Membership *core);

extern MemberState membership_state(const Membership *core, uint32 slot);
extern uint64 membership_incarnation(const Membership *core, uint32 slot);
extern uint32 membership_awareness(const Membership *core);
extern const MembershipCounters *membership_counters(const Membership *core);

/*
 * suspicion.c: how long a suspect has to refute, in microseconds, when of
 * "wanted" confirmations "confirmed" have come.
 */
extern uint64 suspicion_timeout_us(const MembershipSettings *settings, uint32 n_members,
								   uint32 confirmed, uint32 wanted);

#endif
