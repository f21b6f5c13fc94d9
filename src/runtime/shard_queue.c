/*
 * shard_queue.c
 *		The queue of a shard: blocks of messages, oldest first.
 *
 * Only the scheduler that holds the shard is here.  Others push blocks onto
 * what has arrived, which it drains into the queue.
 *
 * The last block may be written to as long as it has room; which block that
 * is a sender finds in my.open.
 *
 * Blocks behind each other that hold messages for one actor only are a *run*,
 * which is known by its first block.  So a flood is put out of the way of what
 * comes after it in one step.  Who fills a block looks whether it is all for
 * one, while it is in that processor's cache; mostly the second message says
 * that it is not.
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
		block->read = block->count = block->alike = 0;
		block->capacity = capacity;
		block->run_last = NULL;
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

/* How many of its messages, from the first, are for one actor?  Whoever has the block. */
void
block_compare(MailBlock *block)
{
	const Mail *first = block->mail;

	if (block->alike == 0 && block->count > 0)
		block->alike = 1;
	while (block->alike < block->count &&
		   first[block->alike].slot == first->slot &&
		   first[block->alike].incarnation == first->incarnation)
		block->alike++;
}

/* Blocks that are linked go to the end of a chain. */
void
chain_append(MailChain *chain, MailBlock *first, MailBlock *last)
{
	last->next = NULL;
	if (chain->last != NULL)
		chain->last->next = first;
	else
		chain->first = first;
	chain->last = last;
}

/* ------------------------------------------------------------------ queue */

/* The last block, behind which another one comes now, is in a run if it is for one actor. */
static void
end_last_block(Shard *shard)
{
	MailBlock *block = shard->last;
	MailBlock *run = shard->last_run;

	block_compare(block);
	if (block->count == 0 || block->alike < block->count)
	{
		shard->last_run = NULL;
		return;
	}
	if (run == NULL || run->mail->slot != block->mail->slot || run->mail->incarnation != block->mail->incarnation)
	{
		shard->last_run = run = block;
		run->run_blocks = run->run_messages = 0;
	}
	run->run_last = block;
	run->run_blocks++;
	run->run_messages += block->count;
}

void
queue_append(int number, MailBlock *block)
{
	Shard *shard = &shards->shard[number];

	block->next = NULL;
	if (shard->last != NULL)
	{
		end_last_block(shard);
		shard->last->next = block;
	}
	else
		shard->first = block;
	shard->last = block;
	shard->n_blocks++;
	my.runnable |= BIT(number);
	my.open[number] = block->capacity == BLOCK_CAPACITY ? block : &no_room;
}

/* The queue begins with that one now, and has so many blocks less.  NULL: it has none. */
static void
begin_with(Shard *shard, MailBlock *first, uint32 less)
{
	shard->first = first;
	if (first == NULL)
		shard->last = NULL;
	shard->n_blocks -= less;
	shard->left_in_round -= Min(less, shard->left_in_round);
}

/* Take the first block out of the queue. */
MailBlock *
queue_shift(Shard *shard)
{
	MailBlock *block = shard->first;
	MailBlock *next = block->next;
	MailBlock *rest = NULL; /* of its run */

	if (unlikely(block->run_last != NULL))
	{
		if (block->run_last != block)
		{
			rest = next;
			rest->run_last = block->run_last;
			rest->run_blocks = block->run_blocks - 1;
			rest->run_messages = block->run_messages - block->count;
		}
		if (shard->last_run == block)
			shard->last_run = rest;
	}
	begin_with(shard, next, 1);
	return block;
}

/*
 * queue_move
 *		Move the first message of the queue to a chain; or its block, or its
 *		run, if all is for the same actor and there is "room" for so many.
 *
 * Returns how many have been moved; 0: there is no memory.
 */
uint32
queue_move(Shard *shard, MailChain *to, uint32 room)
{
	MailBlock *block = shard->first;
	MailBlock *last = block->run_last;

	if (last != NULL && block->run_messages - block->read <= room)
	{
		if (shard->last_run == block)
			shard->last_run = NULL;
		begin_with(shard, last->next, block->run_blocks);
		chain_append(to, block, last);
		return block->run_messages - block->read;
	}
	if (last != NULL && block->count - block->read <= room)
	{
		(void) queue_shift(shard);
		chain_append(to, block, block);
		return block->count - block->read;
	}
	if (to->last == NULL || block_is_full(to->last))
	{
		MailBlock *more = block_create(BLOCK_CAPACITY);

		if (more == NULL)
			return 0;
		chain_append(to, more, more);
	}
	to->last->mail[to->last->count++] = block->mail[block->read++];
	return 1;
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
