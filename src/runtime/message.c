/*
 * message.c
 *		Messages are blocks of the arena.
 *
 * A message has one owner: its creator, the queue it is in, or whoever took
 * it out.  No locks.
 */
#include "postgres.h"

#include "base/arena.h"
#include "runtime/runtime_internal.h"

static Message *
message_init(Message *message, uint16 type, Size payload_size)
{
	memset(message, 0, offsetof(Message, payload));
	message->type = type;
	message->size = payload_size;
	return message;
}

Message *
message_create(uint16 type, Size payload_size)
{
	if (payload_size > MESSAGE_MAX_PAYLOAD)
		elog(ERROR, "message of %zu bytes is too long", payload_size);
	return message_init(arena_alloc(offsetof(Message, payload) + payload_size),
						type, payload_size);
}

Message *
message_try_create(uint16 type, Size payload_size)
{
	Message *message = NULL;

	if (payload_size <= MESSAGE_MAX_PAYLOAD)
		message = arena_try_alloc(offsetof(Message, payload) + payload_size);
	return message ? message_init(message, type, payload_size) : NULL;
}

/*
 * message_free
 *		It is done with, and so are the objects that it still refers to.
 */
void
message_free(Message *message)
{
	if (MESSAGE_OBJECTS(message->type) > 0)
		objects_release(message->type, message->payload, message->size);
	message_free_chain(message);
	arena_free(message);
}

/*
 * message_free_chain
 *		The message is about to become another one: what belongs to it goes.
 */
void
message_free_chain(Message *message)
{
	void *block;

	if ((message->flags & MESSAGE_CHAINED) == 0)
		return;
	memcpy(&block, message->payload, sizeof(block));
	while (block != NULL)
	{
		void *next = *(void **) block;

		arena_free(block);
		block = next;
	}
	message->flags &= ~MESSAGE_CHAINED;
}
