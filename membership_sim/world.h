/*
 * world.h
 *		A world of members in one process: a clock, a network and what goes
 *		wrong with both, all from one seed.
 *
 * Words.  A *node* of the world runs one core of src/membership/.  Its slot
 * is the same in all cores, its id is the slot plus one.  A node may be down,
 * or *slow*: it handles messages late, one after the other, and stalls.
 */
#ifndef DLOG_WORLD_H
#define DLOG_WORLD_H

#include "c.h"

#undef printf
#undef fprintf
#undef snprintf
#undef vprintf
#undef qsort

#include "membership/membership.h"

typedef struct Packet Packet;

typedef struct SimNode
{
	Membership *core; /* NULL: down */
	void *memory;
	struct World *world;
	uint32 slot;
	uint64 timer_us; /* of the event that is under way for it */
	uint32 group;	 /* those of another are out of reach */
	uint64 died_us;
	bool has_left;

	/* a slow one */
	uint32 message_cost_us;
	uint64 busy_until_us;
	uint64 next_stall_us;
	bool has_wake;
	Packet *first; /* waits to be handled */
	Packet *last;
} SimNode;

typedef struct World
{
	uint32 n_nodes;
	SimNode *nodes;
	MembershipSettings settings;
	uint64 now_us;
	uint64 random_state;
	uint64 n_events;

	/* the network */
	uint32 delay_us; /* at least */
	uint32 jitter_us; /* and up to so much more; sometimes ten times that */
	double loss;
	double duplication;
	uint64 sent_messages;
	uint64 sent_bytes;

	/* slow nodes */
	uint32 stall_min_us;
	uint32 stall_max_us;
	uint32 run_max_us; /* between two stalls */

	/* what was seen; zeroed by the scenario */
	uint64 false_dead;		   /* live nodes that were declared dead */
	uint64 false_dead_healthy; /* of those, not slow */
	uint64 false_events;	   /* members that took a live node for dead */
	uint64 false_suspects;
	uint32 watched; /* a node that is down; the next three are about it */
	uint64 first_dead_us;
	uint64 last_dead_us;
	uint32 n_dead;
	uint64 own_half_changes; /* suspect or dead within a group */
	uint64 order_errors;	 /* a state that went back */

	struct Event *heap;
	Size n_heap;
	Size max_heap;
	uint64 n_pushed;
	Packet *unused;
} World;

extern World *world_create(uint32 n_nodes, uint64 seed, const MembershipSettings *settings);
extern void world_free(World *world);
extern uint32 world_random(World *world, uint32 limit);

/* Brings a node up; "warm": it knows all others to be alive. */
extern void world_start(World *world, uint32 slot, bool warm);
extern void world_crash(World *world, uint32 slot);
extern void world_leave(World *world, uint32 slot);
extern void world_make_slow(World *world, uint32 slot, uint32 message_cost_us);
extern void world_make_fast(World *world, uint32 slot);
extern void world_run(World *world, uint64 for_us);

/* Runs until "check" holds; returns the time it took, or NEVER. */
extern uint64 world_run_until(World *world, bool (*check)(World *world), uint64 at_most_us);

/* Everyone who is up knows who is and who is not. */
extern bool world_agrees(World *world);

#endif
