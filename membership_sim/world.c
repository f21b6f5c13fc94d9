/*
 * world.c
 *		The clock, the network, and nodes that fail; see world.h.
 */
#include "world.h"

typedef enum EventKind
{
	EVENT_TIMER,
	EVENT_PACKET,
	EVENT_WAKE
} EventKind;

typedef struct Event
{
	uint64 at_us;
	uint64 number; /* of two at a time the one pushed first comes first */
	Packet *packet;
	uint32 slot;
	EventKind kind;
} Event;

struct Packet
{
	Packet *next;
	uint32 from;
	uint32 to;
	uint32 size;
	uint16 type;
	uint32 room;
	char payload[FLEXIBLE_ARRAY_MEMBER];
};

#define SMALL_PACKET 2048

/* ------------------------------------------------------------------ random */

/* xorshift64*: the same world for the same seed everywhere. */
static uint32
next_random(World *world)
{
	world->random_state ^= world->random_state >> 12;
	world->random_state ^= world->random_state << 25;
	world->random_state ^= world->random_state >> 27;
	return (uint32) ((world->random_state * UINT64CONST(2685821657736338717)) >> 32);
}

uint32
world_random(World *world, uint32 limit)
{
	return (uint32) (((uint64) next_random(world) * limit) >> 32);
}

static bool
happens(World *world, double probability)
{
	return probability > 0 && next_random(world) < probability * 4294967296.0;
}

/* ------------------------------------------------------------------ events */

static void *
allocate(Size size)
{
	void *memory = malloc(size);

	if (memory == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	return memory;
}

static bool
is_before(const Event *a, const Event *b)
{
	return a->at_us < b->at_us || (a->at_us == b->at_us && a->number < b->number);
}

static void
push_event(World *world, uint64 at_us, EventKind kind, uint32 slot, Packet *packet)
{
	Event event = {.at_us = at_us, .number = world->n_pushed++, .packet = packet, .slot = slot, .kind = kind};
	Size at;

	if (world->n_heap == world->max_heap)
	{
		world->max_heap = Max(1024, world->max_heap * 2);
		world->heap = realloc(world->heap, world->max_heap * sizeof(Event));
		if (world->heap == NULL)
			exit(2);
	}
	for (at = world->n_heap++; at > 0 && is_before(&event, &world->heap[(at - 1) / 2]); at = (at - 1) / 2)
		world->heap[at] = world->heap[(at - 1) / 2];
	world->heap[at] = event;
}

static Event
pop_event(World *world)
{
	Event top = world->heap[0];
	Event last = world->heap[--world->n_heap];
	Size at = 0;

	for (;;)
	{
		Size child = at * 2 + 1;

		if (child >= world->n_heap)
			break;
		if (child + 1 < world->n_heap && is_before(&world->heap[child + 1], &world->heap[child]))
			child++;
		if (!is_before(&world->heap[child], &last))
			break;
		world->heap[at] = world->heap[child];
		at = child;
	}
	world->heap[at] = last;
	return top;
}

/* ----------------------------------------------------------------- packets */

static Packet *
packet_create(World *world, Size size)
{
	Packet *packet = world->unused;

	if (size <= SMALL_PACKET && packet != NULL)
	{
		world->unused = packet->next;
		return packet;
	}
	packet = allocate(offsetof(Packet, payload) + Max(size, SMALL_PACKET));
	packet->room = Max(size, SMALL_PACKET);
	return packet;
}

static void
packet_free(World *world, Packet *packet)
{
	if (packet->room > SMALL_PACKET)
	{
		free(packet);
		return;
	}
	packet->next = world->unused;
	world->unused = packet;
}

/* ------------------------------------------------- what a core is given */

static uint64
sim_now(void *state)
{
	return ((World *) state)->now_us;
}

static uint32
sim_random(void *context)
{
	return next_random(((SimNode *) context)->world);
}

static bool
sim_send(void *context, uint32 slot, uint16 type, const char *payload, Size size)
{
	SimNode *from = context;
	World *world = from->world;
	int copies = happens(world, world->duplication) ? 2 : 1;

	world->sent_messages++;
	world->sent_bytes += size;
	if (from->group != world->nodes[slot].group || happens(world, world->loss))
		return true; /* who sends cannot know */
	for (int i = 0; i < copies; i++)
	{
		Packet *packet = packet_create(world, size);
		uint64 delay_us = world->delay_us + world_random(world, world->jitter_us + 1);

		if (world_random(world, 100) == 0)
			delay_us += world_random(world, world->jitter_us * 10 + 1);
		packet->next = NULL;
		packet->from = from->slot;
		packet->to = slot;
		packet->type = type;
		packet->size = (uint32) size;
		memcpy(packet->payload, payload, size);
		push_event(world, world->now_us + delay_us, EVENT_PACKET, slot, packet);
	}
	return true;
}

static void
see_dead(World *world, SimNode *observer, SimNode *node, const MemberChange *change)
{
	if (node->core == NULL)
	{
		if (node->slot == world->watched)
		{
			if (world->n_dead++ == 0)
				world->first_dead_us = world->now_us;
			world->last_dead_us = world->now_us;
		}
		return;
	}
	if (observer->group != node->group || change->incarnation == 0)
		return;

	/* It died and has come back since; that is old news, not false. */
	if (change->incarnation < membership_incarnation(node->core, node->slot) && change->incarnation < node->died_us)
		return;
	world->false_events++;
	if (change->reason == REASON_NOT_REFUTED)
	{
		world->false_dead++;
		if (node->message_cost_us == 0)
			world->false_dead_healthy++;
	}
}

static void
sim_changed(void *context, uint32 slot, const MemberChange *change)
{
	SimNode *observer = context;
	World *world = observer->world;
	SimNode *node = &world->nodes[slot];

	if (change->incarnation < membership_incarnation(observer->core, slot))
		world->order_errors++;
	if (change->state == MEMBER_DEAD)
		see_dead(world, observer, node, change);
	else if (change->state == MEMBER_SUSPECT && node->core != NULL && change->incarnation != 0)
		world->false_suspects++;
	if (observer->group == node->group && node->core != NULL && change->incarnation != 0 &&
		(change->state == MEMBER_DEAD || change->state == MEMBER_SUSPECT))
		world->own_half_changes++;
}

static Size
sim_get_tags(void *context, uint32 slot, const char **tags)
{
	return 0;
}

static void
sim_set_tags(void *context, uint32 slot, const char *tags, Size size)
{
}

/* ---------------------------------------------------------------- a node */

/* Has the node's core run when it next wants to. */
static void
arm(World *world, SimNode *node)
{
	uint64 next;

	if (node->core == NULL)
		return;
	next = Max(membership_next_us(node->core), world->now_us);
	if (next < node->timer_us)
	{
		node->timer_us = next;
		push_event(world, next, EVENT_TIMER, node->slot, NULL);
	}
}

static void
run_core(World *world, SimNode *node)
{
	if (node->core != NULL && membership_next_us(node->core) <= world->now_us)
		(void) membership_run(node->core);
}

static void
handle_packet(World *world, SimNode *node, Packet *packet)
{
	if (node->core != NULL && node->group == world->nodes[packet->from].group)
		membership_receive(node->core, packet->from, packet->type, packet->payload, packet->size);
	packet_free(world, packet);
}

static void
wake_later(World *world, SimNode *node)
{
	if (!node->has_wake)
	{
		node->has_wake = true;
		push_event(world, Max(node->busy_until_us, world->now_us), EVENT_WAKE, node->slot, NULL);
	}
}

/* Whether a slow node has no time now; it may begin to stall. */
static bool
is_busy(World *world, SimNode *node)
{
	if (node->message_cost_us == 0)
		return false;
	if (node->next_stall_us <= world->now_us)
	{
		uint64 stall_us = world->stall_min_us +
						  world_random(world, world->stall_max_us - world->stall_min_us + 1);

		node->busy_until_us = Max(node->busy_until_us, node->next_stall_us + stall_us);
		node->next_stall_us = Max(node->busy_until_us, world->now_us) +
							  1 + world_random(world, world->run_max_us);
	}
	return node->busy_until_us > world->now_us;
}

/* A slow node has time: its timers first, then one message. */
static void
wake(World *world, SimNode *node)
{
	Packet *packet = node->first;

	node->has_wake = false;
	if (is_busy(world, node))
	{
		wake_later(world, node);
		return;
	}
	run_core(world, node);
	if (packet != NULL)
	{
		node->first = packet->next;
		if (node->first == NULL)
			node->last = NULL;
		handle_packet(world, node, packet);
		node->busy_until_us = Max(node->busy_until_us, world->now_us + node->message_cost_us);
	}
	if (node->first != NULL)
		wake_later(world, node);
	arm(world, node);
}

static void
receive(World *world, SimNode *node, Packet *packet)
{
	if (node->core == NULL)
	{
		packet_free(world, packet);
		return;
	}
	if (node->first != NULL || is_busy(world, node) || node->message_cost_us > 0)
	{
		packet->next = NULL;
		if (node->last != NULL)
			node->last->next = packet;
		else
			node->first = packet;
		node->last = packet;
		wake_later(world, node);
		return;
	}
	handle_packet(world, node, packet);
	arm(world, node);
}

static void
handle_event(World *world, const Event *event)
{
	SimNode *node = &world->nodes[event->slot];

	world->n_events++;
	world->now_us = event->at_us;
	switch (event->kind)
	{
		case EVENT_PACKET:
			receive(world, node, event->packet);
			return;
		case EVENT_WAKE:
			wake(world, node);
			return;
		case EVENT_TIMER:
			if (node->timer_us != event->at_us)
				return; /* another was set since */
			node->timer_us = PG_UINT64_MAX;
			if (is_busy(world, node))
				wake_later(world, node);
			else
			{
				run_core(world, node);
				arm(world, node);
			}
			return;
	}
}

/* --------------------------------------------------------------- the world */

World *
world_create(uint32 n_nodes, uint64 seed, const MembershipSettings *settings)
{
	World *world = allocate(sizeof(World));

	memset(world, 0, sizeof(World));
	world->n_nodes = n_nodes;
	world->settings = *settings;
	world->now_us = 1000000000;
	world->random_state = seed * UINT64CONST(0x9e3779b97f4a7c15) + 1;
	world->delay_us = 200;
	world->jitter_us = 1000;
	world->watched = PG_UINT32_MAX;
	world->nodes = allocate(n_nodes * sizeof(SimNode));
	memset(world->nodes, 0, n_nodes * sizeof(SimNode));
	for (int i = 0; i < 10; i++)
		(void) next_random(world);
	for (uint32 i = 0; i < n_nodes; i++)
	{
		world->nodes[i].world = world;
		world->nodes[i].slot = i;
		world->nodes[i].memory = allocate(membership_size(n_nodes));
		world->nodes[i].timer_us = PG_UINT64_MAX;
	}
	return world;
}

void
world_free(World *world)
{
	for (Size i = 0; i < world->n_heap; i++)
		free(world->heap[i].packet);
	for (uint32 i = 0; i < world->n_nodes; i++)
	{
		SimNode *node = &world->nodes[i];

		while (node->first != NULL)
		{
			Packet *packet = node->first;

			node->first = packet->next;
			free(packet);
		}
		free(node->memory);
	}
	while (world->unused != NULL)
	{
		Packet *packet = world->unused;

		world->unused = packet->next;
		free(packet);
	}
	free(world->nodes);
	free(world->heap);
	free(world);
}

void
world_start(World *world, uint32 slot, bool warm)
{
	SimNode *node = &world->nodes[slot];
	MembershipWorld around = {
		.context = node,
		.clock = {.now_us = sim_now, .state = world},
		.random = sim_random,
		.send = sim_send,
		.changed = sim_changed,
		.get_tags = sim_get_tags,
		.set_tags = sim_set_tags,
	};

	node->core = membership_start(node->memory, world->n_nodes, &around, &world->settings, slot,
								  slot + 1, warm ? 1 : world->now_us);
	node->has_left = false;
	for (uint32 i = 0; i < world->n_nodes; i++)
	{
		if (i == slot)
			continue;
		(void) membership_add(node->core, i, i + 1);
		if (warm)
			membership_remember(node->core, i, MEMBER_ALIVE, 1);
	}
	arm(world, node);
}

void
world_crash(World *world, uint32 slot)
{
	SimNode *node = &world->nodes[slot];

	node->core = NULL;
	node->died_us = world->now_us;
}

void
world_leave(World *world, uint32 slot)
{
	membership_leave(world->nodes[slot].core);
	world_crash(world, slot);
	world->nodes[slot].has_left = true;
}

void
world_make_slow(World *world, uint32 slot, uint32 message_cost_us)
{
	SimNode *node = &world->nodes[slot];

	node->message_cost_us = message_cost_us;
	node->next_stall_us = world->now_us + world_random(world, world->stall_max_us + 1);
}

void
world_make_fast(World *world, uint32 slot)
{
	SimNode *node = &world->nodes[slot];

	node->message_cost_us = 0;
	node->busy_until_us = world->now_us;
	if (node->first != NULL)
		wake_later(world, node);
}

void
world_run(World *world, uint64 for_us)
{
	uint64 end_us = world->now_us + for_us;

	while (world->n_heap > 0 && world->heap[0].at_us <= end_us)
	{
		Event event = pop_event(world);

		handle_event(world, &event);
	}
	world->now_us = end_us;
}

uint64
world_run_until(World *world, bool (*check)(World *world), uint64 at_most_us)
{
	uint64 start_us = world->now_us;

	while (!check(world))
	{
		if (world->now_us - start_us >= at_most_us)
			return PG_UINT64_MAX;
		world_run(world, 50000);
	}
	return world->now_us - start_us;
}

bool
world_agrees(World *world)
{
	for (uint32 i = 0; i < world->n_nodes; i++)
	{
		SimNode *observer = &world->nodes[i];

		if (observer->core == NULL)
			continue;
		for (uint32 j = 0; j < world->n_nodes; j++)
		{
			SimNode *node = &world->nodes[j];
			MemberState state = membership_state(observer->core, j);
			bool is_up = node->core != NULL && node->group == observer->group;

			if (is_up ? state != MEMBER_ALIVE : state != MEMBER_DEAD && state != MEMBER_LEFT)
				return false;
		}
	}
	return true;
}
