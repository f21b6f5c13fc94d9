/*
 * mailbox.c
 *		Native actors that have a mailbox of their own for a while.
 *
 * An actor that has had its budget in a round of its shard is *deferred*: what
 * the queue holds for it moves to a mailbox of its own, whole runs of blocks
 * where it can, and it has a turn after each round until that is empty.  The
 * length of that mailbox is what dlog.mailbox_limit bounds: a message that
 * finds it full is *refused*, that is answered with UNDELIVERED.
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
mailbox_defer(Shard *shard, uint32 number, uint32 budget)
{
	MailBlock *block = block_create(BLOCK_CAPACITY);
	Mailbox *mailbox = block == NULL ? NULL : mailbox_create(number);

	if (mailbox == NULL)
	{
		if (block != NULL)
			arena_free(block);
		return false;
	}
	chain_append(&mailbox->waiting, block, block);
	mailbox->budget = budget;
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
	MailBlock *empty = mailbox->waiting.first;

	unlink_deferred(shard, mailbox);
	my.slots[number].flags &= ~ACTOR_IS_DEFERRED;
	mailbox->waiting.first = mailbox->waiting.last = NULL;
	actor_cold(number)->depth = mailbox->n_stashed;
	if (mailbox->n_stashed == 0)
	{
		actor_cold(number)->extra = NULL;
		arena_free(mailbox);
	}
	block_free(empty);
}

/*
 * mailbox_take_over
 *		Move the next message of the queue to the mailbox of its actor, which is
 *		deferred; with it, what follows it in a run, as far as there is room.
 */
void
mailbox_take_over(Shard *shard)
{
	Mail *mail = &shard->first->mail[shard->first->read];
	ActorSlot *slot = &my.slots[mail->slot];
	ActorCold *cold = actor_cold(mail->slot);
	Mailbox *mailbox = cold->extra;
	uint32 limit = mailbox_limit(slot);
	uint32 n;

	if (cold->depth >= limit)
	{
		mail_refuse(shard);
		return;
	}
	n = queue_move(shard, &mailbox->waiting, limit - cold->depth);
	if (n == 0)
	{
		shard->first->read++;
		mail_undelivered(mail, SEND_NO_MEMORY);
		return;
	}
	cold->depth += n;
	slot->high_water = Max(slot->high_water, cold->depth);
}

/* ------------------------------------------------------ what nobody gets */

/*
 * To answer a message takes longer than to handle it.  So what nobody gets is
 * put aside, and answered some at a time.
 */
#define ANSWERS_PER_TURN 64

static void
answer(Mail *mail)
{
	mail_undelivered(mail, is_alive(&my.slots[mail->slot], mail->incarnation) ? SEND_MAILBOX_FULL : SEND_NO_ACTOR);
}

/* The first message of the queue, and its run, is for nobody, or finds its mailbox full. */
void
mail_refuse(Shard *shard)
{
	Mail *mail = &shard->first->mail[shard->first->read];
	uint32 n = queue_move(shard, &shard->refused, PG_UINT32_MAX);

	shard->n_refused += n;
	if (n == 0)
	{
		shard->first->read++;
		answer(mail);
	}
}

/*
 * refused_answer
 *		Answer some of what has been put aside; and all that is more than a
 *		mailbox may hold, so that a flood takes no more memory than that.
 */
void
refused_answer(Shard *shard)
{
	uint64 limit = dlog_mailbox_limit;
	uint64 left = ANSWERS_PER_TURN + (shard->n_refused > limit ? shard->n_refused - limit : 0);
	MailBlock *block;

	while (left > 0 && (block = shard->refused.first) != NULL)
	{
		if (block->read < block->count)
		{
			left--;
			shard->n_refused--;
			answer(&block->mail[block->read++]);
		}
		if (block->read == block->count)
		{
			shard->refused.first = block->next;
			if (block->next == NULL)
				shard->refused.last = NULL;
			block_free(block);
		}
	}
}

/* --------------------------------------------------------- its actor exits */

/* Its actor shall not be run any more.  NULL: it has none. */
Mailbox *
mailbox_detach(uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);

	if (mailbox == NULL)
		return NULL;
	if ((my.slots[number].flags & ACTOR_IS_DEFERRED) != 0)
		unlink_deferred(&shards->shard[SHARD_OF(number)], mailbox);
	mailbox->n_waiting = actor_cold(number)->depth;
	actor_cold(number)->extra = NULL;
	return mailbox;
}

/* Once nothing more can be sent to its actor, what waits in it is for nobody. */
void
mailbox_discard(Shard *shard, Mailbox *mailbox)
{
	if (mailbox->stashed.first != NULL)
		chain_append(&shard->refused, mailbox->stashed.first, mailbox->stashed.last);
	if (mailbox->waiting.first != NULL)
		chain_append(&shard->refused, mailbox->waiting.first, mailbox->waiting.last);
	shard->n_refused += mailbox->n_waiting;
	arena_free(mailbox);
}

/* --------------------------------------------------------------- stashing */

/* A block with room for a message to be stashed; NULL: there is no memory. */
static MailBlock *
stash_block(Mailbox *mailbox)
{
	MailBlock *last = mailbox->stashed.last;
	MailBlock *block;

	if (last != NULL && !block_is_full(last))
		return last;

	/* most who stash do so with a few messages */
	block = block_create(last == NULL ? SMALL_CAPACITY : BLOCK_CAPACITY);
	if (block != NULL)
		chain_append(&mailbox->stashed, block, block);
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

	if (mailbox == NULL || mailbox->stashed.first == NULL)
		return;
	mailbox->stashed.last->next = mailbox->waiting.first;
	if (mailbox->waiting.last == NULL)
		mailbox->waiting.last = mailbox->stashed.last;
	mailbox->waiting.first = mailbox->stashed.first;
	mailbox->stashed.first = mailbox->stashed.last = NULL;
	mailbox->n_stashed = 0;
	if ((self->slot->flags & ACTOR_IS_DEFERRED) == 0)
	{
		mailbox->budget = MESSAGES_PER_TURN;
		defer_last(&shards->shard[SHARD_OF(number)], number);
		self->slot->flags |= ACTOR_IS_DEFERRED;
		my.runnable |= BIT(SHARD_OF(number));
	}
}
