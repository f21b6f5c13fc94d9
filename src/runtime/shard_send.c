/*
 * shard_send.c
 *		How a message gets to a native actor of this node.
 *
 * What a handler sends is written where the receiver's scheduler will read
 * it: into the last block of its shard's queue if we hold that, or else into
 * the outbox for it.  Any other process pushes a block with one message.
 */
#include "postgres.h"

#include "base/arena.h"
#include "base/guc.h"
#include "runtime/shard_internal.h"

/* Where the next message to a shard goes, when there is no block with room. */
Mail *
mail_place_in_new_block(int number)
{
	MailBlock *block;

	if (my.outboxes & BIT(number))
		shard_flush(number);
	if ((my.held & BIT(number)) == 0)
		(void) shard_acquire(number);
	if (my.held & BIT(number))
	{
		block = shards->shard[number].last;
		if (block == NULL || block->count >= BLOCK_CAPACITY || block->capacity != BLOCK_CAPACITY)
		{
			block = block_create(BLOCK_CAPACITY);
			if (block == NULL)
				return NULL;
			queue_append(number, block);
		}
		my.open[number] = block;
		my.runnable |= BIT(number);
	}
	else
	{
		block = block_create(BLOCK_CAPACITY);
		if (block == NULL)
			return NULL;
		my.open[number] = block;
		my.outboxes |= BIT(number);
	}
	return &block->mail[block->count++];
}

/* Whether somebody who is no scheduler may send to this living actor. */
static bool
has_room(ActorAddress to)
{
	const ActorSlot *slot = actor_slot(to.slot);
	pg_atomic_uint64 *arrived = &shards->shard[SHARD_OF(to.slot)].arrived;
	MailBlock *newest = (MailBlock *) pg_atomic_read_u64(arrived);
	uint32 limit = mailbox_limit(slot);

	/* The block may have been freed; then it is not the newest any more. */
	if (newest != NULL && newest->stacked >= limit && pg_atomic_read_u64(arrived) == (uint64) newest)
		return false;
	return (slot->flags & ACTOR_IS_DEFERRED) == 0 || actor_cold(to.slot)->depth < limit;
}

/*
 * Where a message goes that this process sends, be it a scheduler or not.
 * "single" is then a block to be pushed when the message is in it, or NULL.
 */
static SendResult
place_from_anywhere(ActorAddress to, Mail **mail, MailBlock **single)
{
	*single = NULL;
	if (my.is_running)
		*mail = mail_place(SHARD_OF(to.slot));
	else
	{
		if (!has_room(to))
			return SEND_MAILBOX_FULL;
		*single = block_create(1);
		*mail = *single ? &(*single)->mail[(*single)->count++] : NULL;
	}
	return *mail != NULL ? SEND_OK : SEND_NO_MEMORY;
}

/* Push a message that lies in a block of its own. */
static void
push_single(int number, MailBlock *block)
{
	if (my_process_slot == PROCESS_NETWORK)
	{
		if (block->mail[0].size == NOT_INLINE)
			arena_set_owner(block->mail[0].u.message, ARENA_NO_OWNER);
		arena_set_owner(block, ARENA_NO_OWNER);
	}
	shard_push(number, block);
}

/* Push a control message, which takes no memory. */
static void
push_control(int number, Message *message)
{
	pg_atomic_uint64 *control = &shards->shard[number].control;
	uint64 newest = pg_atomic_read_u64(control);

	if (my_process_slot == PROCESS_NETWORK)
		arena_set_owner(message, ARENA_NO_OWNER);
	do
		message->next = (Message *) newest;
	while (!pg_atomic_compare_exchange_u64(control, &newest, (uint64) message));
	if (newest != 0)
		return;
	if (my.is_running && (my.held & BIT(number)))
		my.runnable |= BIT(number);
	else
		shard_route(number);
}

/*
 * shard_send
 *		Give a message to a native actor of this node that was alive a moment
 *		ago.  Any process.
 *
 * On failure the message is still the caller's.
 */
SendResult
shard_send(ActorAddress to, Message *message)
{
	MailBlock *single;
	Mail *mail;
	SendResult result;

	if ((message->flags & MESSAGE_CONTROL) != 0)
	{
		push_control(SHARD_OF(to.slot), message);
		return SEND_OK;
	}
	result = place_from_anywhere(to, &mail, &single);
	if (result != SEND_OK)
		return result;
	mail_fill(mail, to, message->from, message->type);
	if (message->size <= NATIVE_INLINE_PAYLOAD)
	{
		mail->size = message->size;
		memcpy(mail->u.payload, message->payload, message->size);
		arena_free(message); /* its objects have moved on */
	}
	else
	{
		mail->size = NOT_INLINE;
		mail->u.message = message;
	}
	if (single != NULL)
		push_single(SHARD_OF(to.slot), single);
	return SEND_OK;
}

/*
 * shard_post
 *		The same for a payload that fits, without making it a message first.
 */
SendResult
shard_post(ActorAddress from, ActorAddress to, uint16 type, const void *payload, Size size)
{
	MailBlock *single;
	Mail *mail;
	SendResult result = place_from_anywhere(to, &mail, &single);

	Assert(size <= NATIVE_INLINE_PAYLOAD);
	if (result != SEND_OK)
		return result;
	mail_fill(mail, to, from, type);
	mail->size = size;
	memcpy(mail->u.payload, payload, size);
	if (single != NULL)
		push_single(SHARD_OF(to.slot), single);
	return SEND_OK;
}

/*
 * native_send_place
 *		Where to write the payload of the next message to a native actor of
 *		this node, sent in the name of the one whose handler runs.
 *
 * NULL when it is no such actor or the arena is full.
 */
void *
native_send_place(NativeActor *self, uint32 slot, uint32 incarnation, uint16 type, Size size)
{
	Mail *mail;

	if (unlikely(!INCARNATION_IS_NATIVE(incarnation) || slot >= my.n_slots))
		return NULL;
	mail = mail_place(SHARD_OF(slot));
	if (unlikely(mail == NULL))
		return NULL;
	mail->slot = slot;
	mail->incarnation = incarnation;
	mail->from = self->address;
	mail->type = type;
	mail->size = size;
	my.sent++;
	return mail->u.payload;
}

/*
 * native_send_any
 *		Send any message in the name of the actor whose handler runs.
 */
SendResult
native_send_any(NativeActor *self, ActorAddress to, uint16 type, const void *payload, Size size)
{
	Message *message = message_try_create(type, size);

	if (message == NULL)
		return send_no_memory(self->address, to, type);
	memcpy(message->payload, payload, size);
	message->from = self->address;
	return actor_send(to, message);
}

/* Nobody gets it: answer as for any other message. */
void
mail_undelivered(Mail *mail, SendResult reason)
{
	ActorAddress to = {THIS_NODE, mail->slot, mail->incarnation};
	Message *message = mail->u.message;
	Message head = {0};

	if (mail->size != NOT_INLINE)
	{
		message = message_try_create(mail->type, mail->size);
		if (message == NULL)
		{
			/* It can be counted, but there is no memory for an answer. */
			head.type = mail->type;
			head.to = to;
			head.from = mail->from;
			dead_letter_record(&head, dead_letter_reason(reason));
			if (MESSAGE_OBJECTS(mail->type) > 0)
				objects_release(mail->type, mail->u.payload, mail->size);
			return;
		}
		memcpy(message->payload, mail->u.payload, mail->size);
	}
	message->to = to;
	message->from = mail->from;
	actor_send_undelivered(message, reason);
}
