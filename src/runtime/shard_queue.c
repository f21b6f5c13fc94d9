/*
 * shard_queue.c
 *		The queue of a shard: blocks of messages, oldest first.
 *
 * Only the scheduler that holds the shard is here.  Others push blocks onto
 * what has arrived, which it drains into the queue.
 *
 * The last block may be written to as long as it has room; which block that
 * is a sender finds in my.open.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "base/arena.h"
#include "runtime/shard_internal.h"

MailBlock no_room = {.count = BLOCK_CAPACITY, .capacity = BLOCK_CAPACITY};

/* ----------------------------------------------------------------- blocks */

/*
 * Large blocks that this scheduler has run, the last one first, to be filled
 * again while they are in its cache.
 */
#define SPARE_BLOCKS 64
static MailBlock *spare[SPARE_BLOCKS];
static int n_spare = 0;

/* An empty block; NULL: the arena is full.  Any process. */
MailBlock *
block_create(uint32 capacity)
{
	MailBlock *block;

	if (capacity == BLOCK_CAPACITY && n_spare > 0)
		block = spare[--n_spare];
	else
		block = arena_try_alloc(offsetof(MailBlock, mail) + capacity * sizeof(Mail));
	if (block != NULL)
	{
		block->next = NULL;
		block->read = block->count = 0;
		block->capacity = capacity;
	}
	return block;
}

void
block_free(MailBlock *block)
{
	if (block->capacity == BLOCK_CAPACITY && n_spare < SPARE_BLOCKS && my.is_running)
		spare[n_spare++] = block;
	else
		arena_free(block);
}

/* Others may need them. */
void
spare_blocks_free(void)
{
	while (n_spare > 0)
		arena_free(spare[--n_spare]);
}

/* Free blocks.  What is left in them is answered. */
void
blocks_discard(MailBlock *block)
{
	while (block != NULL)
	{
		MailBlock *next = block->next;

		while (block->read < block->count)
			mail_undelivered(&block->mail[block->read++], SEND_NO_ACTOR);
		block_free(block);
		block = next;
	}
}

/* ------------------------------------------------------------------ queue */

void
queue_append(int number, MailBlock *block)
{
	Shard *shard = &shards->shard[number];

	block->next = NULL;
	if (shard->last != NULL)
		shard->last->next = block;
	else
		shard->first = block;
	shard->last = block;
	shard->n_blocks++;
	my.runnable |= BIT(number);
	my.open[number] = block->capacity == BLOCK_CAPACITY ? block : &no_room;
}

/* Take the first block out of the queue. */
MailBlock *
queue_shift(Shard *shard)
{
	MailBlock *block = shard->first;

	shard->first = block->next;
	if (shard->first == NULL)
		shard->last = NULL;
	shard->n_blocks--;
	return block;
}

bool
queue_is_empty(const Shard *shard)
{
	return shard->first == NULL ||
		   (shard->first->next == NULL && shard->first->read == shard->first->count);
}

/* Messages in it, about. */
uint64
queue_length(const Shard *shard)
{
	if (shard->last == NULL)
		return 0;
	return (uint64) (shard->n_blocks - 1) * BLOCK_CAPACITY + shard->last->count;
}

/* There is nothing to run in a shard of ours, until something is sent there. */
void
queue_rest(int number)
{
	my.runnable &= ~BIT(number);
	my.open[number] = &no_room;
}

/*
 * A block that arrived.  The small ones of sessions are copied, since the
 * queue is made to run large ones.
 */
static void
queue_append_arrived(int number, MailBlock *block)
{
	Shard *shard = &shards->shard[number];

	if (block->capacity == 1)
	{
		if (shard->last == NULL || block_is_full(shard->last))
		{
			MailBlock *large = block_create(BLOCK_CAPACITY);

			if (large != NULL)
				queue_append(number, large);
		}
		if (shard->last != NULL && !block_is_full(shard->last))
		{
			shard->last->mail[shard->last->count++] = block->mail[0];
			my.runnable |= BIT(number);
			arena_free(block);
			return;
		}
	}
	queue_append(number, block);
}

/* Arrived blocks of a shard that we hold, oldest first, into its queue. */
void
queue_drain(int number)
{
	MailBlock *newest;
	MailBlock *oldest = NULL;

	if (pg_atomic_read_u64(&shards->shard[number].control) != 0)
		my.runnable |= BIT(number);
	if (pg_atomic_read_u64(&shards->shard[number].arrived) == 0)
		return;
	newest = (MailBlock *) pg_atomic_exchange_u64(&shards->shard[number].arrived, 0);
	while (newest != NULL)
	{
		MailBlock *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL)
	{
		MailBlock *next = oldest->next;

		queue_append_arrived(number, oldest);
		oldest = next;
	}
}
