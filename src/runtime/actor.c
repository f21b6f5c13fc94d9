/*
 * actor.c
 *		The table of actors, and how a message finds one.
 *
 * A slot is claimed from a stack of free ones and goes through the states of
 * ActorState; state and incarnation are one 64-bit word, so a sender sees
 * with one read whether its address is still good.  Only the process that an
 * actor is bound to ends it.  No locks; the network process sends, too.
 *
 * A slot has a hot and a cold part, and a third where it needs one, in tables
 * of their own.  None is touched, and so costs memory, before it is needed.
 *
 * A monitor is a small block of the arena in the list of the actor that it
 * watches.  The list is closed while the actor is not alive, and who finds
 * it closed tells the watcher at once: so nobody waits for a DOWN in vain.
 * Anybody adds to it at any time; who takes one out marks it as busy, and
 * others who want to wait for that moment.  The network process never does.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/s_lock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/stop_point.h"
#include "runtime/runtime_internal.h"

typedef struct ActorTable
{
	pg_atomic_uint64 free; /* slot in the low half, tag in the high half */
	pg_atomic_uint32 used; /* slots that were ever in use, and slot 0 */
	pg_atomic_uint32 alive;
	pg_atomic_uint64 refused; /* that there was no slot for; only grows */
	uint32 first_incarnation; /* never changes after start */
	uint32 n_slots;			  /* same; numbers are below this */
	uint32 region;			  /* same; slots of a shard */
	ActorCold *cold;		  /* same */
	ActorWide *wide;		  /* same */
	pg_atomic_uint32 n_wide;  /* living actors that are wide */
	pg_atomic_uint32 n_wide_native;
	pg_atomic_uint32 n_widened; /* slots that ever had a wide one; only grows */
	pg_attribute_aligned(64) ActorSlot slot[FLEXIBLE_ARRAY_MEMBER];
} ActorTable;

typedef struct Monitor
{
	struct Monitor *next;
	ActorAddress watcher;
	uint32 incarnation; /* of the actor that is watched */
} Monitor;

static ActorTable *actors;

GatewaySend runtime_gateway;
const ActorHost *actor_host;

/*
 * An UNDELIVERED is written over the message that it is about, and a DOWN
 * without a reason over its monitor.
 */
StaticAssertDecl(64 - 8 - offsetof(Message, payload) >= 12,
				 "the smallest block holds an UNDELIVERED or a DOWN");

#define IDENTITY(incarnation, state) ((uint64) (incarnation) << 32 | (state))
#define INCARNATION(identity) ((uint32) ((identity) >> 32))
#define STATE(identity) ((ActorState) (uint32) (identity))

ActorSlot *
actor_slot(uint32 slot)
{
	return slot < actors->n_slots ? &actors->slot[slot] : NULL;
}

ActorCold *
actor_cold(uint32 slot)
{
	return slot < actors->n_slots ? &actors->cold[slot] : NULL;
}

ActorWide *
actor_wide(uint32 slot)
{
	return &actors->wide[slot];
}

/* Has a native actor a state that lies in that table? */
bool
actors_are_wide(void)
{
	return pg_atomic_read_u32(&actors->n_wide_native) > 0;
}

/* Living actors that have a part there, and slots that ever had one. */
void
actors_count_wide(uint32 *alive, uint32 *ever)
{
	*alive = pg_atomic_read_u32(&actors->n_wide);
	*ever = pg_atomic_read_u32(&actors->n_widened);
}

/* Good while the actor lives; after that, the name of some other. */
const char *
actor_behavior(uint32 number)
{
	ActorSlot *slot = &actors->slot[number];

	if (slot->behavior_number == 0)
		return actors->wide[number].behavior;
	if (actor_slot_is_hosted(slot))
	{
		const char *name = *(void *volatile *) &actors->cold[number].extra;

		return name != NULL ? name : "";
	}
	return shard_behavior_name(slot->behavior_number);
}

uint32
actor_slots_used(void)
{
	return Min(pg_atomic_read_u32(&actors->used), (uint32) dlog_max_actors + 1);
}

/*
 * The number of the i'th slot that was ever used.  Each shard has a part of
 * the table for itself, so that what a scheduler touches in a turn lies
 * together; and they fill up in turns.
 */
uint32
actor_slot_number(uint32 i)
{
	return i % SHARDS * actors->region + i / SHARDS;
}

uint32
actor_slots_per_shard(void)
{
	return actors->region;
}

/* All numbers of slots are below this. */
uint32
actor_slots_limit(void)
{
	return actors->n_slots;
}

uint32
actor_count(void)
{
	return pg_atomic_read_u32(&actors->alive);
}

/* Actors that were not spawned since there were dlog.max_actors. */
uint64
actors_refused(void)
{
	return pg_atomic_read_u64(&actors->refused);
}

/* --------------------------------------------------------- life of a slot */

/* Slot 0 is nobody's. */
static uint32
slots_per_shard(void)
{
	return ((uint32) dlog_max_actors + SHARDS) / SHARDS;
}

static uint32
slot_pop(void)
{
	uint64 top = pg_atomic_read_u64(&actors->free);
	uint32 fresh;

	while ((uint32) top != 0)
	{
		uint64 next = ((top >> 32) + 1) << 32 | actors->cold[(uint32) top].next_free;

		if (pg_atomic_compare_exchange_u64(&actors->free, &top, next))
			return (uint32) top;
	}
	fresh = pg_atomic_read_u32(&actors->used);
	while (fresh < (uint32) dlog_max_actors + 1)
		if (pg_atomic_compare_exchange_u32(&actors->used, &fresh, fresh + 1))
		{
			fresh = actor_slot_number(fresh);
			pg_atomic_init_u64(&actors->cold[fresh].monitors, MONITORS_CLOSED);
			pg_atomic_write_u64(&actors->slot[fresh].identity,
								IDENTITY(actors->first_incarnation, ACTOR_FREE));
			return fresh;
		}
	return 0;
}

static void
slot_push(uint32 slot)
{
	uint64 top = pg_atomic_read_u64(&actors->free);

	do
		actors->cold[slot].next_free = (uint32) top;
	while (!pg_atomic_compare_exchange_u64(&actors->free, &top, ((top >> 32) + 1) << 32 | slot));
}

/* A slot that is filled in as far as all kinds of actors have in common. */
static ActorAddress
slot_claim(bool is_native)
{
	ActorAddress address = {THIS_NODE};
	ActorSlot *slot;
	ActorCold *cold;

	address.slot = slot_pop();
	if (address.slot == 0)
	{
		pg_atomic_fetch_add_u64(&actors->refused, 1);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many actors"),
				 errdetail("%d actors live on this node.", dlog_max_actors),
				 errhint("Raise dlog.max_actors.")));
	}
	slot = &actors->slot[address.slot];
	cold = &actors->cold[address.slot];
	address.incarnation = INCARNATION(pg_atomic_read_u64(&slot->identity)) + 1;
	if (INCARNATION_IS_NATIVE(address.incarnation) != is_native)
		address.incarnation++;
	if (address.incarnation == 0)
		address.incarnation = 2;
	pg_atomic_write_u64(&slot->identity, IDENTITY(address.incarnation, ACTOR_STARTING));
	slot->received = 0;
	slot->round = 0;
	slot->run_in_round = 0;
	slot->flags &= ACTOR_WAS_WIDE;
	cold->database = MyDatabaseId;
	cold->role = OidIsValid(MyDatabaseId) ? GetUserId() : InvalidOid;
	cold->timers = 0;
	cold->names = NULL;
	cold->links = 0;
	cold->objects = 0;
	cold->depth = 0;
	slot->high_water = 0;
	cold->spawned_at = GetCurrentTimestamp();
	cold->extra = NULL;
	return address;
}

/* An actor that is being spawned shall be wide. */
static ActorWide *
slot_widen(uint32 number)
{
	ActorSlot *slot = &actors->slot[number];

	if ((slot->flags & ACTOR_WAS_WIDE) == 0)
		pg_atomic_fetch_add_u32(&actors->n_widened, 1);
	slot->flags |= ACTOR_IS_WIDE | ACTOR_WAS_WIDE;
	pg_atomic_fetch_add_u32(&actors->n_wide, 1);
	return &actors->wide[number];
}

static void
slot_is_alive(ActorAddress address)
{
	pg_atomic_write_u64(&actors->cold[address.slot].monitors, 0);
	pg_atomic_write_u32(&actors->cold[address.slot].interrupted, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&actors->slot[address.slot].identity,
						IDENTITY(address.incarnation, ACTOR_ALIVE));
	pg_atomic_fetch_add_u32(&actors->alive, 1);
}

/*
 * actor_claim_bound, actor_claim_native
 *		A new actor, bound to this process; or run by schedulers.
 */
ActorAddress
actor_claim_bound(const char *behavior, void *bound)
{
	ActorAddress address = slot_claim(false);
	ActorSlot *slot = &actors->slot[address.slot];

	slot->process = my_process_slot;
	slot->behavior_number = 0;
	slot->u.bound = bound;
	strlcpy(slot_widen(address.slot)->behavior, behavior, NAMEDATALEN);
	slot_is_alive(address);
	return address;
}

ActorAddress
actor_claim_native(int number, const void *state, Size size)
{
	ActorAddress address = slot_claim(true);
	ActorSlot *slot = &actors->slot[address.slot];
	char *place = slot->u.state;

	slot->process = PROCESS_NONE;
	slot->behavior_number = number;
	STOP_POINT("actor-spawn");
	if (size > SMALL_STATE_SIZE)
	{
		place = slot_widen(address.slot)->state;
		pg_atomic_fetch_add_u32(&actors->n_wide_native, 1);
	}
	memset(place, 0, size > SMALL_STATE_SIZE ? NATIVE_STATE_SIZE : SMALL_STATE_SIZE);
	if (state != NULL)
		memcpy(place, state, size);
	actors->cold[address.slot].run_ms = 0;
	statistics_spawned(number);
	slot_is_alive(address);
	return address;
}

/*
 * Send the DOWN that a monitor promises.  Takes the monitor.
 */
static void
send_down(Monitor *monitor, uint32 slot, const char *reason)
{
	ActorAddress watcher = monitor->watcher;
	DownMessage down = {
		.slot = slot,
		.incarnation = monitor->incarnation,
		.reason = {strlen(reason), reason},
	};
	Message *message = message_try_create(MESSAGE_DOWN, down_size(&down));

	/*
	 * The news must not be lost when the arena is full: without its reason
	 * it fits into the monitor's own block.
	 */
	if (message == NULL)
	{
		down.reason.size = 0;
		message = memset(monitor, 0, offsetof(Message, payload));
		message->type = MESSAGE_DOWN;
		message->size = down_size(&down);
	}
	else
		arena_free(monitor);
	down_write(message->payload, message->size, &down);
	message->flags = MESSAGE_CONTROL;
	message->from.slot = slot;
	message->from.incarnation = down.incarnation;
	(void) actor_send(watcher, message);
}

static Monitor *
monitors_first(uint64 monitors)
{
	return (Monitor *) (monitors & ~MONITORS_BUSY);
}

/*
 * Take all monitors out of a list, once nobody else does, and leave "mark" in
 * their place.  NULL: there are none, or the list is closed.
 */
static Monitor *
monitors_take(pg_atomic_uint64 *monitors, uint64 mark)
{
	uint64 first = pg_atomic_read_u64(monitors);
	SpinDelayStatus delay;

	init_local_spin_delay(&delay);
	while (first != MONITORS_CLOSED && (first != 0 || mark == MONITORS_CLOSED))
	{
		if (first & MONITORS_BUSY)
		{
			perform_spin_delay(&delay);
			first = pg_atomic_read_u64(monitors);
		}
		else if (pg_atomic_compare_exchange_u64(monitors, &first, mark))
		{
			finish_spin_delay(&delay);
			return (Monitor *) first;
		}
	}
	finish_spin_delay(&delay);
	return NULL;
}

/*
 * actor_exit
 *		End an actor of this process, or of a shard that it holds, and tell who monitors it.
 */
void
actor_exit(ActorAddress address, const char *reason)
{
	ActorSlot *slot = &actors->slot[address.slot];
	ActorCold *cold = &actors->cold[address.slot];
	Monitor *monitor;

	Assert(pg_atomic_read_u64(&slot->identity) == IDENTITY(address.incarnation, ACTOR_ALIVE));
	pg_atomic_write_u64(&slot->identity, IDENTITY(address.incarnation, ACTOR_EXITING));
	pg_memory_barrier();
	STOP_POINT("actor-exit");
	timer_actor_exited(cold);
	name_actor_exited(cold);
	link_actor_exited(address, reason);
	object_actor_exited(address);
	monitor = monitors_take(&cold->monitors, MONITORS_CLOSED);
	while (monitor != NULL)
	{
		Monitor *next = monitor->next;

		send_down(monitor, address.slot, reason);
		monitor = next;
	}
	if (cold->extra != NULL)
		arena_free(cold->extra);
	if ((slot->flags & ACTOR_IS_WIDE) != 0)
	{
		pg_atomic_fetch_sub_u32(&actors->n_wide, 1);
		if (slot->behavior_number != 0)
			pg_atomic_fetch_sub_u32(&actors->n_wide_native, 1);
	}
	pg_atomic_fetch_sub_u32(&actors->alive, 1);
	STOP_POINT("actor-exited");
	pg_atomic_write_u64(&slot->identity, IDENTITY(address.incarnation, ACTOR_FREE));
	slot_push(address.slot);
}

/* --------------------------------------------------------------- sending */

DeadLetterReason
dead_letter_reason(SendResult result)
{
	switch (result)
	{
		case SEND_MAILBOX_FULL:
			return DEAD_LETTER_MAILBOX_FULL;
		case SEND_NODE_DOWN:
			return DEAD_LETTER_NODE_DOWN;
		case SEND_NO_MEMORY:
			return DEAD_LETTER_NO_MEMORY;
		default:
			return DEAD_LETTER_NO_ACTOR;
	}
}

/*
 * send_no_memory
 *		Count a message for which there is no memory.
 */
SendResult
send_no_memory(ActorAddress from, ActorAddress to, uint16 type)
{
	Message head = {.type = type, .to = to, .from = from};

	dead_letter_record(&head, DEAD_LETTER_NO_MEMORY);
	return SEND_NO_MEMORY;
}

/* Does anybody want to know that this message reached nobody? */
static bool
is_missed(const Message *message)
{
	return message->type != MESSAGE_UNDELIVERED &&
		   message->type != MESSAGE_DOWN &&
		   message->type != MESSAGE_EXIT &&
		   (message->flags & MESSAGE_EPHEMERAL) == 0;
}

static SendResult
refuse(Message *message, DeadLetterReason reason, SendResult result)
{
	if (is_missed(message))
		dead_letter_record(message, reason);
	message_free(message);
	return result;
}

/*
 * actor_send
 *		Give a message to the mailbox that the address names.
 *
 * Any process.  The message is no longer the caller's, whatever the result.
 */
SendResult
actor_send(ActorAddress to, Message *message)
{
	ActorSlot *slot;
	uint16 process;
	bool is_urgent = (message->flags & MESSAGE_URGENT) != 0;

	message->to = to;
	process_count_sent();
	if (to.node != THIS_NODE)
	{
		Message head;
		SendResult result;

		if (MESSAGE_IS_LOCAL(message->type))
			return refuse(message, DEAD_LETTER_NO_ACTOR, SEND_NO_ACTOR);
		if (runtime_gateway == NULL)
			return refuse(message, DEAD_LETTER_NODE_DOWN, SEND_NODE_DOWN);
		memcpy(&head, message, offsetof(Message, payload));
		result = runtime_gateway(to, message);
		if (result != SEND_OK && is_missed(&head))
			dead_letter_record(&head, dead_letter_reason(result));
		return result;
	}

	if (to.slot == 0)
	{
		if (database_dispatch(to.incarnation, message) != SEND_OK)
			return refuse(message, DEAD_LETTER_NO_DATABASE, SEND_NO_ACTOR);
		return SEND_OK;
	}

	slot = actor_slot(to.slot);
	if (slot == NULL ||
		pg_atomic_read_u64(&slot->identity) != IDENTITY(to.incarnation, ACTOR_ALIVE))
		return refuse(message, DEAD_LETTER_NO_ACTOR, SEND_NO_ACTOR);
	pg_read_barrier();
	if (slot->behavior_number == HOSTED_ACTOR)
	{
		SendResult result = actor_host->send(to, message);

		if (result != SEND_OK)
			return refuse(message, dead_letter_reason(result), result);
		return SEND_OK;
	}
	if (INCARNATION_IS_NATIVE(to.incarnation))
	{
		SendResult result = shard_send(to, message);

		if (result != SEND_OK)
			return refuse(message, dead_letter_reason(result), result);
		return SEND_OK;
	}
	process = slot->process;
	if ((message->flags & MESSAGE_CONTROL) == 0 && !process_has_room(process))
		return refuse(message, DEAD_LETTER_MAILBOX_FULL, SEND_MAILBOX_FULL);

	/* Should it exit right now, that process answers for it. */
	if (is_urgent)
		pg_atomic_write_u32(&actors->cold[to.slot].interrupted, to.incarnation);
	if (!process_push(process, message))
		return refuse(message, DEAD_LETTER_NO_ACTOR, SEND_NO_ACTOR);
	if (is_urgent)
	{
		/*
		 * It may have exited since we looked, and its process may not look
		 * into its inbox again for long.  The sender learns it at once.
		 */
		pg_memory_barrier();
		if (pg_atomic_read_u64(&slot->identity) != IDENTITY(to.incarnation, ACTOR_ALIVE))
			return SEND_NO_ACTOR;
		process_signal(process);
	}
	return SEND_OK;
}

/*
 * actor_post
 *		The same for a payload, in the name of "from".
 *
 * Any process.
 */
SendResult
actor_post(ActorAddress from, ActorAddress to, uint16 type, const void *payload, Size size)
{
	Message *message;

	if (size <= NATIVE_INLINE_PAYLOAD && actor_is_native(to))
	{
		SendResult result = shard_post(from, to, type, payload, size);
		Message head = {.type = type, .to = to, .from = from};

		if (result != SEND_OK)
			dead_letter_record(&head, dead_letter_reason(result));
		process_count_sent();
		return result;
	}
	message = message_try_create(type, size);
	if (message == NULL)
		return send_no_memory(from, to, type);
	memcpy(message->payload, payload, size);
	message->from = from;
	return actor_send(to, message);
}

/*
 * actor_send_undelivered
 *		Answer a message that was accepted but reaches nobody.
 *
 * Any process.  Takes the message, and sends it back as UNDELIVERED.
 */
void
actor_send_undelivered(Message *message, SendResult reason)
{
	UndeliveredMessage undelivered = {
		.type = message->type,
		.slot = message->to.slot,
		.incarnation = message->to.incarnation,
		.reason = reason,
	};
	ActorAddress sender = message->from;

	if (message->type == MESSAGE_UNDELIVERED || message->type == MESSAGE_DOWN ||
		message->type == MESSAGE_EXIT)
	{
		message_free(message);
		return;
	}
	if (is_missed(message))
		dead_letter_record(message, dead_letter_reason(reason));
	if (sender.slot == 0)
	{
		message_free(message);
		return;
	}
	if (MESSAGE_OBJECTS(message->type) > 0)
		objects_release(message->type, message->payload, message->size);
	message_free_chain(message);
	message->from = message->to;
	message->type = MESSAGE_UNDELIVERED;
	message->flags = MESSAGE_CONTROL | (message->flags & MESSAGE_URGENT);
	message->size = undelivered_size(&undelivered);
	undelivered_write(message->payload, message->size, &undelivered);
	(void) actor_send(sender, message);
}

/*
 * actor_exists
 *		Whether this address of this node names a living actor.
 */
bool
actor_exists(ActorAddress address)
{
	ActorSlot *slot = address.slot == 0 ? NULL : actor_slot(address.slot);

	return address.node == THIS_NODE && slot != NULL &&
		   pg_atomic_read_u64(&slot->identity) == IDENTITY(address.incarnation, ACTOR_ALIVE);
}

/*
 * actor_database
 *		The database of the process that an actor of this node is bound to;
 *		InvalidOid when there is no such actor.
 */
Oid
actor_database(ActorAddress address)
{
	ActorSlot *slot = address.slot == 0 ? NULL : actor_slot(address.slot);
	Oid database;

	if (slot == NULL)
		return InvalidOid;
	database = actors->cold[address.slot].database;
	pg_read_barrier();
	return actor_exists(address) ? database : InvalidOid;
}

/* Whether it is alive or still being spawned. */
bool
actor_is_coming(ActorAddress address)
{
	ActorSlot *slot = address.slot == 0 ? NULL : actor_slot(address.slot);
	uint64 identity;

	if (address.node != THIS_NODE || slot == NULL)
		return false;
	identity = pg_atomic_read_u64(&slot->identity);
	return identity == IDENTITY(address.incarnation, ACTOR_STARTING) ||
		   identity == IDENTITY(address.incarnation, ACTOR_ALIVE);
}

/* Whether it is one whose messages go to a shard. */
bool
actor_is_native(ActorAddress address)
{
	return INCARNATION_IS_NATIVE(address.incarnation) && actor_exists(address);
}

/* --------------------------------------------------------- hosted actors */

void
runtime_register_host(const ActorHost *host)
{
	Assert(actor_host == NULL);
	actor_host = host;
}

bool
actor_slot_is_hosted(const ActorSlot *slot)
{
	return slot->behavior_number == HOSTED_ACTOR;
}

/*
 * hosted_actor_claim
 *		A slot for a hosted actor, which is not alive yet.  ERROR when there
 *		is none.
 */
ActorAddress
hosted_actor_claim(const char *behavior, Oid database, Oid role)
{
	char *name = arena_alloc(NAMEDATALEN);
	ActorAddress address;
	ActorSlot *slot;

	strlcpy(name, behavior, NAMEDATALEN);
	PG_TRY();
	{
		address = slot_claim(false);
	}
	PG_CATCH();
	{
		arena_free(name);
		PG_RE_THROW();
	}
	PG_END_TRY();
	slot = &actors->slot[address.slot];

	slot->process = PROCESS_NONE;
	slot->behavior_number = HOSTED_ACTOR;
	actors->cold[address.slot].extra = name;
	actors->cold[address.slot].database = database;
	actors->cold[address.slot].role = role;
	return address;
}

void
hosted_actor_is_alive(ActorAddress address)
{
	slot_is_alive(address);
}

/* What was claimed shall not live. */
void
hosted_actor_abandon(ActorAddress address)
{
	ActorSlot *slot = &actors->slot[address.slot];

	Assert(pg_atomic_read_u64(&slot->identity) == IDENTITY(address.incarnation, ACTOR_STARTING));
	arena_free(actors->cold[address.slot].extra);
	pg_atomic_write_u64(&slot->identity, IDENTITY(address.incarnation, ACTOR_FREE));
	pg_memory_barrier();
	name_actor_exited(&actors->cold[address.slot]);
	slot_push(address.slot);
}

/* The host has closed its mailbox. */
void
hosted_actor_exit(ActorAddress address, const char *reason)
{
	Assert(actor_slot_is_hosted(&actors->slot[address.slot]));
	actor_exit(address, reason);
}

bool
hosted_actor_exists(ActorAddress address)
{
	return actor_exists(address) && actor_slot_is_hosted(&actors->slot[address.slot]);
}

bool
hosted_actor_is_starting(ActorAddress address)
{
	ActorSlot *slot = address.slot == 0 ? NULL : actor_slot(address.slot);

	return address.node == THIS_NODE && slot != NULL && actor_slot_is_hosted(slot) &&
		   pg_atomic_read_u64(&slot->identity) == IDENTITY(address.incarnation, ACTOR_STARTING);
}

/* Who lives in a slot, for looking at all of them. */
bool
hosted_actor_in_slot(uint32 i, ActorAddress *address)
{
	uint32 number = actor_slot_number(i);
	ActorSlot *slot = number == 0 ? NULL : actor_slot(number);

	if (slot == NULL)
		return false;
	*address = (ActorAddress){THIS_NODE, number, INCARNATION(pg_atomic_read_u64(&slot->identity))};
	return hosted_actor_exists(*address);
}

Oid
hosted_actor_role(ActorAddress address)
{
	return actors->cold[address.slot].role;
}

const char *
hosted_actor_behavior(ActorAddress address)
{
	return actors->cold[address.slot].extra;
}

uint32
hosted_actor_slots(void)
{
	return actor_slots_used();
}

uint32
hosted_actor_numbers(void)
{
	return slots_per_shard() * SHARDS;
}

ActorAddress
database_address(uint32 node, const char *database)
{
	ActorAddress address = {node, 0, database_name_hash(database)};

	return address;
}

/* -------------------------------------------------------------- monitors */

static void
monitor_add(Monitor *monitor, uint32 watched)
{
	ActorSlot *slot = &actors->slot[watched];
	pg_atomic_uint64 *monitors = &actors->cold[watched].monitors;
	uint64 first = pg_atomic_read_u64(monitors);

	do
	{
		if (first == MONITORS_CLOSED ||
			INCARNATION(pg_atomic_read_u64(&slot->identity)) != monitor->incarnation)
		{
			send_down(monitor, watched, REASON_NO_ACTOR);
			return;
		}
		monitor->next = monitors_first(first);

		/*
		 * If the slot is given to another actor right here, that one's exit
		 * tells the watcher; late, but then it was gone when it was asked for.
		 */
	} while (!pg_atomic_compare_exchange_u64(monitors, &first, (uint64) monitor | (first & MONITORS_BUSY)));
}

/*
 * actor_monitor
 *		Let "watcher" be sent a DOWN when "other", an actor of this node,
 *		exits; at once if it is gone already.
 */
void
actor_monitor(ActorAddress watcher, ActorAddress other)
{
	Monitor *monitor = arena_alloc(sizeof(Monitor));

	Assert(other.node == THIS_NODE);
	monitor->watcher = watcher;
	monitor->incarnation = other.incarnation;
	if (other.slot == 0 || actor_slot(other.slot) == NULL)
	{
		send_down(monitor, other.slot, REASON_NO_ACTOR);
		return;
	}
	monitor_add(monitor, other.slot);
}

/*
 * actor_demonitor
 *		Take back one or more actor_monitor() of the same pair.
 *
 * A DOWN may be under way already.
 */
void
actor_demonitor(ActorAddress watcher, ActorAddress other)
{
	pg_atomic_uint64 *monitors;
	Monitor *monitor;
	Monitor *kept = NULL;
	Monitor *last = NULL;
	uint64 added;

	if (other.slot == 0 || actor_slot(other.slot) == NULL)
		return;
	monitors = &actors->cold[other.slot].monitors;
	monitor = monitors_take(monitors, MONITORS_BUSY);
	if (monitor == NULL)
		return;
	while (monitor != NULL)
	{
		Monitor *next = monitor->next;

		if (monitor->incarnation == other.incarnation && actor_address_equal(monitor->watcher, watcher))
			arena_free(monitor);
		else
		{
			monitor->next = kept;
			kept = monitor;
			if (last == NULL)
				last = monitor;
		}
		monitor = next;
	}

	/* Those that were added meanwhile come behind. */
	added = pg_atomic_read_u64(monitors);
	do
	{
		if (last != NULL)
			last->next = monitors_first(added);
	} while (!pg_atomic_compare_exchange_u64(monitors, &added, last != NULL ? (uint64) kept : (uint64) monitors_first(added)));
}

/* --------------------------------------------------------- shared memory */

static Size
slots_size(void)
{
	return offsetof(ActorTable, slot) + mul_size(hosted_actor_numbers(), sizeof(ActorSlot));
}

static Size
cold_size(void)
{
	return mul_size(hosted_actor_numbers(), sizeof(ActorCold));
}

Size
actor_shmem_size(void)
{
	Size size = add_size(PG_CACHE_LINE_SIZE, slots_size());

	size = add_size(size, cold_size());
	return add_size(size, mul_size(hosted_actor_numbers(), sizeof(ActorWide)));
}

/* The slots themselves are zero, as all shared memory is at first. */
void
actor_shmem_init(void)
{
	bool found;

	actors = (ActorTable *) CACHELINEALIGN(ShmemInitStruct("dlog actors", actor_shmem_size(), &found));
	if (found)
		return;
	pg_atomic_init_u64(&actors->free, 0);
	pg_atomic_init_u32(&actors->used, 1);
	pg_atomic_init_u32(&actors->alive, 0);
	pg_atomic_init_u64(&actors->refused, 0);
	actors->region = slots_per_shard();
	actors->n_slots = hosted_actor_numbers();
	actors->cold = (ActorCold *) ((char *) actors + slots_size());
	actors->wide = (ActorWide *) ((char *) actors->cold + cold_size());
	pg_atomic_init_u32(&actors->n_wide, 0);
	pg_atomic_init_u32(&actors->n_wide_native, 0);
	pg_atomic_init_u32(&actors->n_widened, 0);

	/* Addresses of before a restart must not be good by accident. */
	if (!pg_strong_random(&actors->first_incarnation, sizeof(uint32)))
		actors->first_incarnation = (uint32) GetCurrentTimestamp();
}
