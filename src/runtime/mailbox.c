/*
 * mailbox.c
 *		Native actors that have a mailbox of their own for a while.
 *
 * An actor that has had its budget in a turn of its shard is *deferred*: what
 * the queue holds for it moves to a mailbox of its own, whole blocks where it
 * can, and it gets another budget at the end of each turn until that is
 * empty.  The length of that mailbox is what dlog.mailbox_limit bounds: a
 * message that finds it full is answered with UNDELIVERED.
 *
 * What an actor *stashes* waits there, too, until it is unstashed.
 *
 * Only the scheduler that holds the shard is here.
 */
#include "postgres.h"

#include "base/arena.h"
#include "base/guc.h"
#include "runtime/shard_internal.h"

/* Messages in the first block that an actor stashes into: 1 kB. */
#define SMALL_CAPACITY 15

static inline Mailbox *
mailbox_of(uint32 slot)
{
	return (Mailbox *) actor_cold(slot)->extra;
}

/* Messages that may wait for an actor.  Any process. */
uint32
mailbox_limit(const ActorSlot *slot)
{
	/* The slot may be another actor's by now, and one that is no native's. */
	uint16 number = slot->behavior_number;
	uint32 limit = number <= MAX_BEHAVIORS ? behaviors[number].mailbox_limit : 0;

	return limit != 0 ? limit : (uint32) dlog_mailbox_limit;
}

/* The mailbox of an actor; NULL: it has none, and there is no memory for it. */
static Mailbox *
mailbox_create(uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);

	if (mailbox != NULL)
		return mailbox;
	mailbox = arena_try_alloc(sizeof(Mailbox));
	if (mailbox != NULL)
	{
		memset(mailbox, 0, sizeof(Mailbox));
		actor_cold(number)->extra = mailbox;
		actor_cold(number)->depth = 0;
	}
	return mailbox;
}

/* ------------------------------------------------ the deferred of a shard */

static void
defer_last(Shard *shard, uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);

	mailbox->next_deferred = 0;
	mailbox->previous_deferred = shard->last_deferred;
	if (shard->last_deferred != 0)
		mailbox_of(shard->last_deferred)->next_deferred = number;
	else
		shard->first_deferred = number;
	shard->last_deferred = number;
}

static void
unlink_deferred(Shard *shard, Mailbox *mailbox)
{
	if (mailbox->previous_deferred != 0)
		mailbox_of(mailbox->previous_deferred)->next_deferred = mailbox->next_deferred;
	else
		shard->first_deferred = mailbox->next_deferred;
	if (mailbox->next_deferred != 0)
		mailbox_of(mailbox->next_deferred)->previous_deferred = mailbox->previous_deferred;
	else
		shard->last_deferred = mailbox->previous_deferred;
}

/* Give an actor a mailbox of its own.  False: there is no memory. */
bool
mailbox_defer(Shard *shard, uint32 number)
{
	MailBlock *block = block_create(BLOCK_CAPACITY);
	Mailbox *mailbox = block == NULL ? NULL : mailbox_create(number);

	if (mailbox == NULL)
	{
		if (block != NULL)
			arena_free(block);
		return false;
	}
	mailbox->first = mailbox->last = block;
	defer_last(shard, number);
	my.slots[number].flags |= ACTOR_IS_DEFERRED;
	return true;
}

/* Its turn is over: the others come first now. */
void
mailbox_rotate(Shard *shard, uint32 number)
{
	if (shard->last_deferred == number)
		return;
	unlink_deferred(shard, mailbox_of(number));
	defer_last(shard, number);
}

/* Nothing waits for it any more, but what it has stashed. */
void
mailbox_undefer(Shard *shard, uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);
	MailBlock *empty = mailbox->first;

	unlink_deferred(shard, mailbox);
	my.slots[number].flags &= ~ACTOR_IS_DEFERRED;
	mailbox->first = mailbox->last = NULL;
	actor_cold(number)->depth = mailbox->n_stashed;
	if (mailbox->n_stashed == 0)
	{
		actor_cold(number)->extra = NULL;
		arena_free(mailbox);
	}
	blocks_discard(empty);
}

/* Is all that is left in this block for the same actor? */
static bool
block_is_of_one(const MailBlock *block)
{
	const Mail *first = &block->mail[block->read];
	uint32 i;

	for (i = block->read + 1; i < block->count; i++)
		if (block->mail[i].slot != first->slot || block->mail[i].incarnation != first->incarnation)
			return false;
	return true;
}

/*
 * mailbox_take_over
 *		Move the next message of the queue's first block to the mailbox of its
 *		actor, which is deferred; or the block itself.  True if the block is
 *		gone.
 */
bool
mailbox_take_over(Shard *shard)
{
	MailBlock *block = shard->first;
	Mail *mail = &block->mail[block->read];
	ActorSlot *slot = &my.slots[mail->slot];
	ActorCold *cold = actor_cold(mail->slot);
	Mailbox *mailbox = cold->extra;
	uint32 limit = mailbox_limit(slot);
	uint32 left = block->count - block->read;
	MailBlock *last;

	if (cold->depth + left <= limit && block->next != NULL && block_is_of_one(block))
	{
		(void) queue_shift(shard);
		block->next = NULL;
		mailbox->last->next = block;
		mailbox->last = block;
		cold->depth += left;
		slot->high_water = Max(slot->high_water, cold->depth);
		return true;
	}

	block->read++;
	if (cold->depth >= limit)
	{
		mail_undelivered(mail, SEND_MAILBOX_FULL);
		return false;
	}
	if (block_is_full(mailbox->last))
	{
		last = block_create(BLOCK_CAPACITY);
		if (last == NULL)
		{
			mail_undelivered(mail, SEND_NO_MEMORY);
			return false;
		}
		mailbox->last->next = last;
		mailbox->last = last;
	}
	last = mailbox->last;
	last->mail[last->count++] = *mail;
	cold->depth++;
	slot->high_water = Max(slot->high_water, cold->depth);
	return false;
}

/* --------------------------------------------------------- its actor exits */

/* Its actor shall not be run any more.  NULL: it has none. */
Mailbox *
mailbox_detach(uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);

	if ((my.slots[number].flags & ACTOR_IS_DEFERRED) != 0)
		unlink_deferred(&shards->shard[SHARD_OF(number)], mailbox);
	actor_cold(number)->extra = NULL;
	return mailbox;
}

/* Answer what waits in it, once nothing more can be sent to its actor. */
void
mailbox_discard(Mailbox *mailbox)
{
	MailBlock *stashed = mailbox->first_stashed;
	MailBlock *waiting = mailbox->first;

	arena_free(mailbox);
	blocks_discard(stashed);
	blocks_discard(waiting);
}

/* --------------------------------------------------------------- stashing */

/* A block with room for a message to be stashed; NULL: there is no memory. */
static MailBlock *
stash_block(Mailbox *mailbox)
{
	MailBlock *last = mailbox->last_stashed;
	MailBlock *block;

	if (last != NULL && !block_is_full(last))
		return last;

	/* most who stash do so with a few messages */
	block = block_create(last == NULL ? SMALL_CAPACITY : BLOCK_CAPACITY);
	if (block == NULL)
		return NULL;
	if (last != NULL)
		last->next = block;
	else
		mailbox->first_stashed = block;
	mailbox->last_stashed = block;
	return block;
}

/*
 * native_actor_stash
 *		Called in its handler: put this message aside.
 *
 * The payload stays where it is until the handler returns.  ERROR 53400 when
 * there is no room.
 */
void
native_actor_stash(NativeActor *self)
{
	const NativeMessage *message = self->message;
	ActorCold *cold = actor_cold(self->address.slot);
	Mailbox *mailbox;
	MailBlock *block;
	Mail *mail;

	if (message == NULL)
		elog(ERROR, "the message is stashed already");
	if (cold->extra != NULL && cold->depth >= mailbox_limit(self->slot))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many messages are stashed"),
				 errdetail("%u messages wait for the actor.", cold->depth),
				 errhint("Raise dlog.mailbox_limit.")));
	mailbox = mailbox_create(self->address.slot);
	block = mailbox == NULL ? NULL : stash_block(mailbox);
	if (block == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of dlog's shared memory"),
				 errhint("Raise dlog.shared_memory_size; the view dlog.memory tells what is used.")));

	mail = &block->mail[block->count++];
	mail_fill(mail, self->address, message->from, message->type);
	if (my.current_message != NULL)
	{
		mail->size = NOT_INLINE;
		mail->u.message = my.current_message;
	}
	else
	{
		mail->size = message->size;
		memcpy(mail->u.payload, message->payload, message->size);
	}
	mailbox->n_stashed++;
	cold->depth++;
	self->slot->high_water = Max(self->slot->high_water, cold->depth);

	/* The message and what is in it are the stash's now. */
	self->message = NULL;
	my.current_message = NULL;
	my.current_mail = NULL;
}

/*
 * native_actor_unstash
 *		Called in its handler: what was stashed comes next, in its order.
 */
void
native_actor_unstash(NativeActor *self)
{
	uint32 number = self->address.slot;
	Mailbox *mailbox = mailbox_of(number);

	if (mailbox == NULL || mailbox->first_stashed == NULL)
		return;
	mailbox->last_stashed->next = mailbox->first;
	if (mailbox->last == NULL)
		mailbox->last = mailbox->last_stashed;
	mailbox->first = mailbox->first_stashed;
	mailbox->first_stashed = mailbox->last_stashed = NULL;
	mailbox->n_stashed = 0;
	if ((self->slot->flags & ACTOR_IS_DEFERRED) == 0)
	{
		defer_last(&shards->shard[SHARD_OF(number)], number);
		self->slot->flags |= ACTOR_IS_DEFERRED;
		my.runnable |= BIT(SHARD_OF(number));
	}
}
