/*
 * link.c
 *		Links between actors, and the signals that end them together.
 *
 * Words.  A *link* joins two actors of this node.  When one exits, the other
 * is sent an *exit signal*, a MESSAGE_EXIT, with its reason; anybody may send
 * one to any actor.  A signal ends its receiver with the same reason, unless
 * the reason is "normal".  An actor that *traps* exits gets signals as
 * messages instead.  The reason "kill", of a signal that was sent and not
 * caused by an exit, ends those, too; the reason that their links hear is
 * "killed".
 *
 * A link is one block in the lists of both its actors.  One lock guards all
 * lists; it is held for a step along two lists at a time at most when an
 * actor exits, and as long as the shorter list is when a link is looked for.
 * Nothing is sent under it.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "runtime/runtime_internal.h"

typedef struct LinkSide
{
	ActorLink *next;
	ActorLink *previous;
	uint32 slot;
	uint32 incarnation;
} LinkSide;

struct ActorLink
{
	LinkSide side[2];
};

/* Links that are taken out of their lists before the others are told. */
#define CUT_AT_A_TIME 32

typedef struct Links
{
	LWLock lock;
	pg_atomic_uint32 count; /* written under the lock */
} Links;

static Links *links;

static LinkSide *
side_of(ActorLink *link, uint32 slot)
{
	return &link->side[link->side[0].slot == slot ? 0 : 1];
}

static ActorAddress
other_end(ActorLink *link, uint32 slot)
{
	LinkSide *other = &link->side[link->side[0].slot == slot ? 1 : 0];

	return (ActorAddress){THIS_NODE, other->slot, other->incarnation};
}

static ActorLink *
first_link(uint32 slot)
{
	return arena_pointer(actor_cold(slot)->links);
}

static void
list_add(ActorLink *link, LinkSide *side)
{
	side->previous = NULL;
	side->next = first_link(side->slot);
	if (side->next != NULL)
		side_of(side->next, side->slot)->previous = link;
	actor_cold(side->slot)->links = arena_number(link);
}

static void
list_remove(LinkSide *side)
{
	if (side->next != NULL)
		side_of(side->next, side->slot)->previous = side->previous;
	if (side->previous != NULL)
		side_of(side->previous, side->slot)->next = side->next;
	else
		actor_cold(side->slot)->links = arena_number(side->next);
}

static void
link_remove(ActorLink *link)
{
	list_remove(&link->side[0]);
	list_remove(&link->side[1]);
	pg_atomic_write_u32(&links->count, pg_atomic_read_u32(&links->count) - 1);
}

/* The link between two actors, or NULL; in as many steps as the shorter list has. */
static ActorLink *
link_find(ActorAddress one, ActorAddress other)
{
	ActorLink *of_one = first_link(one.slot);
	ActorLink *of_other = first_link(other.slot);

	while (of_one != NULL && of_other != NULL)
	{
		if (actor_address_equal(other_end(of_one, one.slot), other))
			return of_one;
		if (actor_address_equal(other_end(of_other, other.slot), one))
			return of_other;
		of_one = side_of(of_one, one.slot)->next;
		of_other = side_of(of_other, other.slot)->next;
	}
	return NULL;
}

/*
 * Send an exit signal.  "block", if given, is written over when there is no
 * memory for a message, so that the news is not lost though its reason is;
 * it is freed otherwise.
 */
static void
send_signal(ActorAddress from, ActorAddress to, const char *reason, ExitSignalKind kind, ActorLink *block)
{
	ExitMessage signal = {
		.slot = from.slot,
		.incarnation = from.incarnation,
		.kind = kind,
		.reason = {strlen(reason), reason},
	};
	Message *message = message_try_create(MESSAGE_EXIT, exit_size(&signal));

	if (message == NULL && block != NULL)
	{
		signal.reason.size = 0;
		message = memset(block, 0, offsetof(Message, payload));
		message->type = MESSAGE_EXIT;
		message->size = exit_size(&signal);
	}
	else if (block != NULL)
		arena_free(block);
	if (message == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of dlog's shared memory"),
				 errhint("Raise dlog.shared_memory_size; the view dlog.memory tells what is used.")));
	exit_write(message->payload, message->size, &signal);
	message->flags = MESSAGE_CONTROL;
	message->from = from;
	(void) actor_send(to, message);
}

StaticAssertDecl(64 - 8 - offsetof(Message, payload) >= 13,
				 "the smallest block holds an EXIT without a reason");
StaticAssertDecl(sizeof(ActorLink) <= 64 - 8, "a link is a smallest block");

/*
 * actor_link
 *		Join the fates of two actors of this node.
 *
 * False if "one" is gone.  If "other" is, "one" is sent the signal that its
 * exit would have caused.  That they are linked already changes nothing.
 */
bool
actor_link(ActorAddress one, ActorAddress other)
{
	ActorLink *link;
	bool one_exists;
	bool other_exists = true;

	if (!actor_exists(one))
		return false;
	if (actor_address_equal(one, other))
		return true;
	if (!actor_exists(other))
	{
		send_signal(other, one, REASON_NO_ACTOR, EXIT_SIGNAL_OF_LINK, NULL);
		return true;
	}
	link = arena_alloc(sizeof(ActorLink));
	link->side[0].slot = one.slot;
	link->side[0].incarnation = one.incarnation;
	link->side[1].slot = other.slot;
	link->side[1].incarnation = other.incarnation;

	LWLockAcquire(&links->lock, LW_EXCLUSIVE);
	if (one.slot == other.slot)
	{
		/* One of them has gone since, and the other lives in its slot. */
		one_exists = actor_exists(one);
		other_exists = false;
	}
	else if (link_find(one, other) == NULL)
	{
		list_add(link, &link->side[0]);
		list_add(link, &link->side[1]);
		pg_atomic_write_u32(&links->count, pg_atomic_read_u32(&links->count) + 1);

		/* Who exits is marked first, and its links are looked for then. */
		pg_memory_barrier();
		one_exists = actor_exists(one);
		other_exists = actor_exists(other);
		if (!one_exists || !other_exists)
			link_remove(link);
		else
			link = NULL;
	}
	else
		one_exists = true;
	LWLockRelease(&links->lock);
	if (one_exists && !other_exists)
		send_signal(other, one, REASON_NO_ACTOR, EXIT_SIGNAL_OF_LINK, link);
	else if (link != NULL)
		arena_free(link);
	return one_exists;
}

/*
 * actor_unlink
 *		Neither is told of the other's exit any more.
 *
 * A signal may be under way already.
 */
void
actor_unlink(ActorAddress one, ActorAddress other)
{
	ActorLink *link;

	if (!actor_exists(one) || !actor_exists(other))
		return;
	LWLockAcquire(&links->lock, LW_EXCLUSIVE);
	link = link_find(one, other);
	if (link != NULL)
		link_remove(link);
	LWLockRelease(&links->lock);
	if (link != NULL)
		arena_free(link);
}

/*
 * actor_send_exit
 *		Send an exit signal in the name of an actor.
 */
void
actor_send_exit(ActorAddress from, ActorAddress to, const char *reason)
{
	send_signal(from, to, reason, EXIT_SIGNAL_SENT, NULL);
}

/*
 * exit_signal_reason
 *		Does this signal end its receiver, and why?
 *
 * For whoever runs actors.  NULL: it does not.  If "as_message", the actor
 * gets it as a message then; otherwise it hears nothing of it.
 */
const char *
exit_signal_reason(const char *payload, Size size, bool traps_exits, bool *as_message)
{
	static char reason[EXIT_REASON_LENGTH];
	ExitMessage signal;
	bool is_kill;

	*as_message = false;
	if (!exit_read(payload, size, &signal))
		return NULL;
	wire_copy(reason, sizeof(reason), signal.reason);
	is_kill = signal.kind == EXIT_SIGNAL_SENT && strcmp(reason, REASON_KILL) == 0;
	if (traps_exits && !is_kill)
	{
		*as_message = true;
		return NULL;
	}
	if (is_kill)
		return REASON_KILLED;
	return strcmp(reason, REASON_NORMAL) == 0 ? NULL : reason;
}

/*
 * link_actor_exited
 *		An actor has been marked as exiting: signal those linked with it.
 */
void
link_actor_exited(ActorAddress address, const char *reason)
{
	ActorCold *cold = actor_cold(address.slot);

	while (*(volatile uint32 *) &cold->links != 0)
	{
		ActorLink *cut[CUT_AT_A_TIME];
		int n = 0;
		int i;

		LWLockAcquire(&links->lock, LW_EXCLUSIVE);
		while (n < CUT_AT_A_TIME && cold->links != 0)
		{
			cut[n] = first_link(address.slot);
			link_remove(cut[n++]);
		}
		LWLockRelease(&links->lock);
		for (i = 0; i < n; i++)
			send_signal(address, other_end(cut[i], address.slot), reason, EXIT_SIGNAL_OF_LINK, cut[i]);
	}
}

uint32
link_count(void)
{
	return pg_atomic_read_u32(&links->count);
}

/* ---------------------------------------------------------- shared memory */

Size
link_shmem_size(void)
{
	return sizeof(Links);
}

void
link_shmem_init(void)
{
	bool found;

	links = ShmemInitStruct("dlog links", link_shmem_size(), &found);
	if (found)
		return;
	LWLockInitialize(&links->lock, runtime_tranche);
	pg_atomic_init_u32(&links->count, 0);
}
