/*
 * shard_run.c
 *		Running native actors.
 *
 * A shard is run for a *turn*: until its queue is empty, or for TURN_US.  A
 * turn is long, since with many actors what costs is to find their pages and
 * to fetch them: those of one shard lie together, and while one message is
 * handled the actors of those that come next are on their way.  All shards
 * with something to run have their turns one after the other.
 *
 * In a turn an actor handles a *budget* of messages before it is deferred (see
 * mailbox.c).  So a flood to one actor delays others by a turn at most.
 * Control messages have a list of their own, which is served first.
 *
 * Every now and then, and never later than a turn or a message that takes
 * longer, we look at the clock: what is in the outboxes goes out, half of the
 * shards go to an idle scheduler, and whoever wants this one for something
 * else is heard.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "storage/s_lock.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/stop_point.h"
#include "runtime/shard_internal.h"

/* How long a turn may take. */
#define TURN_US 100
/* Messages that one actor may have in a turn before it is deferred. */
#define BUDGET 128
/* Blocks that may move to the mailboxes of deferred actors in a turn. */
#define MOVES_PER_TURN 64
/* Messages between two looks at the clock; fewer where they take longer than this. */
#define LOOK_EVERY 256
#define LOOK_US 100
/* How long messages may lie in the outboxes. */
#define FLUSH_US 100
/* How long to wait for others' messages before going to sleep, at most. */
#define LINGER_US 50
/* How many messages ahead actors are fetched into the cache. */
#define PREFETCH 16

static MemoryContext native_context;

/* What the clock is for. */
static uint64 now_us;					   /* when it was last looked at */
static uint64 looked_done;				   /* messages that had been run then */
static uint32 look_every;				   /* messages until the next look */
static uint64 flushed_us;				   /* when all that was sent had been flushed */
static uint64 round_us;					   /* when others were last thought of */
static uint64 round_done;				   /* messages that had been run then */
static uint64 began_us;					   /* when there was something to do again */
static uint64 sampled_next = SAMPLE_EVERY; /* number of the message whose time is measured */

static uint64 counted_done;
static uint64 counted_sent;

/* ------------------------------------------------------------ one message */

/* Was the actor ended by what it did, or with the process that ran it? */
static bool
reason_is_failure(const char *reason)
{
	return strncmp(reason, "error: ", 7) == 0 || strcmp(reason, REASON_PROCESS_EXITED) == 0;
}

/* The current message has been handled; with a reason, its actor exits. */
static void
end_mail(const char *reason)
{
	ActorSlot *slot = my.current.slot;
	Message *message = my.current_message;
	Mail *mail = my.current_mail;

	my.current.slot = NULL;
	my.current_message = NULL;
	my.current_mail = NULL;

	/* Inline, it may lie in the actor's own mailbox, which goes with it. */
	if (message != NULL)
		message_free(message);
	else if (mail != NULL)
		objects_release(mail->type, mail->u.payload, mail->size);
	if (slot != NULL && reason != NULL)
	{
		Mailbox *mailbox = mailbox_detach(my.current.address.slot);

		statistics_exited(slot->behavior_number, slot->received, reason_is_failure(reason));
		actor_exit(my.current.address, reason);

		/* What waits is answered now that nothing more can be sent to it. */
		if (mailbox != NULL)
			mailbox_discard(mailbox);
	}
}

/* An exit signal ends the actor, or is a message for it, or nothing. */
static bool
is_for_handler(const NativeMessage *message)
{
	bool as_message;
	const char *reason = exit_signal_reason(message->payload, message->size,
											(my.current.slot->flags & ACTOR_TRAPS_EXITS) != 0, &as_message);

	if (reason != NULL)
		native_actor_stop(&my.current, reason);
	return as_message;
}

/* Where an actor's state is. */
static inline void *
state_of(ActorSlot *slot, uint32 number)
{
	if (likely((slot->flags & ACTOR_IS_WIDE) == 0))
		return slot->u.state;
	return my.wide[number].state;
}

/* Call the handler, and measure how long it takes; see statistics.c. */
static void
handle_sampled(ActorSlot *slot, const NativeMessage *message)
{
	int behavior = slot->behavior_number;
	ActorCold *cold = actor_cold(my.current.address.slot);
	struct timespec begun;
	struct timespec ended;
	uint64 ns;

	/* the next one at random, so that no pattern of messages hides */
	clock_gettime(CLOCK_MONOTONIC, &begun);
	sampled_next = my.done + SAMPLE_EVERY / 2 + begun.tv_nsec / 7 % SAMPLE_EVERY;
	behaviors[behavior].handler(&my.current, state_of(slot, my.current.address.slot), message);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	ns = (ended.tv_sec - begun.tv_sec) * INT64CONST(1000000000) + ended.tv_nsec - begun.tv_nsec;
	statistics_sampled(behavior, ns);

	/* a fraction of a millisecond counts as one, as often as that is due */
	cold->run_ms += (ns * SAMPLE_EVERY + ended.tv_nsec % 1000000) / 1000000;
}

/*
 * An address is read as eight bytes and four, and a processor waits when it
 * reads what it has just written in other pieces: so they are written alike.
 */
static inline void
set_address(ActorAddress *address, uint32 slot, uint32 incarnation)
{
#ifdef WORDS_BIGENDIAN
	uint64 node_and_slot = (uint64) THIS_NODE << 32 | slot;
#else
	uint64 node_and_slot = (uint64) slot << 32 | THIS_NODE;
#endif

	StaticAssertStmt(offsetof(ActorAddress, slot) == 4 && offsetof(ActorAddress, incarnation) == 8, "");
	memcpy(address, &node_and_slot, sizeof(node_and_slot));
	address->incarnation = incarnation;
}

/* Let an actor that is alive handle a message. */
static inline void
handle(ActorSlot *slot, uint32 number, uint32 incarnation, const NativeMessage *message)
{
	STOP_POINT("shard-message");
	set_address(&my.current.address, number, incarnation);
	my.current.slot = slot;
	my.current.exits = false;
	my.current.message = message;
	slot->received++;
	my.done++;
	if (unlikely(my.done >= sampled_next && message->type != MESSAGE_EXIT))
		handle_sampled(slot, message);
	else if (likely(message->type != MESSAGE_EXIT) || is_for_handler(message))
		behaviors[slot->behavior_number].handler(&my.current, state_of(slot, number), message);
	STOP_POINT("shard-handled");
	if (unlikely(my.current.exits || my.current_message != NULL || my.current_mail != NULL))
		end_mail(my.current.exits ? my.current.reason : NULL);
	else
		my.current.slot = NULL;
}

/* The caller has taken it out of its block's unread part. */
static inline void
handle_mail(ActorSlot *slot, Mail *mail)
{
	NativeMessage message = {
		.type = mail->type,
		.from = mail->from,
		.size = mail->size,
		.payload = mail->u.payload,
	};

	if (unlikely(mail->size == NOT_INLINE))
	{
		my.current_message = mail->u.message;
		message.size = my.current_message->size;
		message.payload = my.current_message->payload;
	}
	else if (unlikely(MESSAGE_OBJECTS(mail->type) > 0))
		my.current_mail = mail;
	handle(slot, mail->slot, mail->incarnation, &message);
}

static inline bool
is_alive(const ActorSlot *slot, uint32 incarnation)
{
	return pg_atomic_read_u64((pg_atomic_uint64 *) &slot->identity) ==
		   ((uint64) incarnation << 32 | ACTOR_ALIVE);
}

/* ----------------------------------------------------------------- a turn */

static void
run_control(Shard *shard)
{
	Message *newest;
	Message *oldest = NULL;
	Message **end = &shard->first_control;

	if (likely(pg_atomic_read_u64(&shard->control) == 0 && shard->first_control == NULL))
		return;
	newest = (Message *) pg_atomic_exchange_u64(&shard->control, 0);
	while (newest != NULL)
	{
		Message *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}

	/* An ERROR in a handler leaves the rest of them there. */
	while (*end != NULL)
		end = &(*end)->next;
	*end = oldest;
	while (shard->first_control != NULL)
	{
		Message *message = shard->first_control;
		ActorSlot *slot = &my.slots[message->to.slot];
		NativeMessage as_native = {
			.type = message->type,
			.from = message->from,
			.size = message->size,
			.payload = message->payload,
		};

		shard->first_control = message->next;
		if (!is_alive(slot, message->to.incarnation))
			actor_send_undelivered(message, SEND_NO_ACTOR);
		else
		{
			my.current_message = message;
			handle(slot, message->to.slot, message->to.incarnation, &as_native);
		}
	}
}

/*
 * Fetch the actor of a message that comes soon, and its state when that is near.
 * (It has to be inlined at once, or GCC takes it for a function without effect.)
 */
static pg_attribute_always_inline void
prefetch_actor(const MailBlock *block, uint32 read, bool are_wide)
{
	const MailBlock *next = block->next;
	const Mail *mail = &block->mail[read];

	if (likely(read + PREFETCH < block->count))
		__builtin_prefetch(&my.slots[mail[PREFETCH].slot], 1);
	else if (next != NULL && read + PREFETCH - block->count < next->count)
		__builtin_prefetch(&my.slots[next->mail[read + PREFETCH - block->count].slot], 1);
	if (unlikely(are_wide) && read + PREFETCH / 2 < block->count)
	{
		uint32 number = mail[PREFETCH / 2].slot;

		if ((my.slots[number].flags & ACTOR_IS_WIDE) != 0)
			__builtin_prefetch(&my.wide[number], 1);
	}
}

/* Run what is in the queue, until that many messages have been run in all. */
static void
run_queue(Shard *shard, uint64 until)
{
	uint32 turn = shard->turn;
	bool are_wide = actors_are_wide();
	int moves = 0;

	while (shard->first != NULL && my.done < until && moves < MOVES_PER_TURN)
	{
		MailBlock *block = shard->first;
		MailBlock *next = block->next;
		bool is_gone = false;

		if (next != NULL)
			__builtin_prefetch(next);

		/* the last block may grow while it is run */
		while (block->read < block->count)
		{
			uint32 read = block->read;
			Mail *mail = &block->mail[read];
			ActorSlot *slot = &my.slots[mail->slot];

			if (next != NULL)
				__builtin_prefetch(&next->mail[read]);
			prefetch_actor(block, read, are_wide);
			if (unlikely(!is_alive(slot, mail->incarnation)))
			{
				block->read++;
				mail_undelivered(mail, SEND_NO_ACTOR);
				continue;
			}
			if (slot->turn != turn)
			{
				slot->turn = turn;
				slot->run_in_turn = 0;
			}
			if (unlikely((slot->flags & ACTOR_IS_DEFERRED) != 0 ||
						 (slot->run_in_turn >= BUDGET && mailbox_defer(shard, mail->slot))))
			{
				is_gone = mailbox_take_over(shard);
				if (is_gone)
					break;
				continue;
			}
			slot->run_in_turn++;
			block->read++;
			handle_mail(slot, mail);
		}
		if (is_gone)
		{
			moves++;
			continue;
		}
		if (block->next == NULL)
		{
			/* keep it for what comes next */
			block->read = block->count = 0;
			return;
		}
		block_free(queue_shift(shard));
	}
}

/* Run what waits for the first deferred actor, a budget of it. */
static void
run_deferred(Shard *shard)
{
	uint32 number = shard->first_deferred;
	ActorSlot *slot = &my.slots[number];
	ActorCold *cold = actor_cold(number);
	Mailbox *mailbox = cold->extra;
	uint64 until = my.done + Min(BUDGET, look_every);
	uint64 identity = pg_atomic_read_u64(&slot->identity);

	while (my.done < until)
	{
		MailBlock *block = mailbox->first;

		if (block->read == block->count)
		{
			if (block->next == NULL)
			{
				mailbox_undefer(shard, number);
				return;
			}
			mailbox->first = block->next;
			block_free(block);
			continue;
		}
		cold->depth--;
		handle_mail(slot, &block->mail[block->read++]);
		if (pg_atomic_read_u64(&slot->identity) != identity)
			return;
	}
	mailbox_rotate(shard, number);
}

/* Let others see how much we did. */
static void
count(void)
{
	process_count_received(my.done - counted_done);
	process_count_sent_many(my.sent - counted_sent);
	counted_done = my.done;
	counted_sent = my.sent;
}

/* Look at the clock, and do what is due. */
static void
look(void)
{
	uint64 us;

	us = clock_now_us() - now_us;
	now_us += us;
	if (us > LOOK_US)
		look_every = Max(1, (my.done - looked_done) * LOOK_US / us);
	else
		look_every = Min(2 * look_every, LOOK_EVERY);
	looked_done = my.done;
	my.look_at = my.done + look_every;
	if (my.outboxes == 0)
		flushed_us = now_us;
	else if (now_us - flushed_us >= FLUSH_US)
	{
		shards_flush();
		flushed_us = now_us;
	}
	count();
}

static bool
turn_is_over(uint64 begun_us)
{
	if (my.done < my.look_at)
		return false;
	look();
	return now_us - begun_us >= TURN_US;
}

static void
run_turn(int number)
{
	Shard *shard = &shards->shard[number];
	uint64 begun_us = now_us;
	bool is_over;

	queue_drain(number);
	shard->turn++;
	run_control(shard);
	do
	{
		run_queue(shard, my.look_at);
		is_over = my.done < my.look_at || turn_is_over(begun_us);
	} while (!is_over);
	while (unlikely(shard->first_deferred != 0))
	{
		uint32 first = shard->first_deferred;

		run_deferred(shard);
		if (shard->first_deferred == first || turn_is_over(begun_us))
			break;
	}
	if (queue_is_empty(shard) && shard->first_deferred == 0)
	{
		queue_rest(number);
		if (unlikely(pg_atomic_read_u64(&shard->control) != 0))
			my.runnable |= BIT(number); /* of our own */
	}
	if (!native_context->isReset)
		MemoryContextReset(native_context);
}

/* ------------------------------------------------------------ turn by turn */

/* Between two turns: has somebody else nothing to do? */
static void
think_of_others(void)
{
	if (my.done >= my.look_at)
		look();
	if (now_us - round_us < LOOK_US)
		return;
	if (pg_popcount64(my.runnable) > 1)
		shards_give(now_us - round_us, my.done - round_done);
	round_us = now_us;
	round_done = my.done;
}

/*
 * We have nothing to run, but other schedulers have, whose actors may send us
 * something soon: look for it a moment longer, while to be woken would take
 * more.  Only after some work, and for half as long as that, so that actors who
 * pass one message to and fro between two schedulers come together on one.
 */
static bool
linger(bool (*is_interrupted)(void))
{
	bool has_come = false;
	uint64 until_us;
	int i;

	look();
	until_us = now_us + Min((now_us - began_us) / 2, LINGER_US);
	while (!has_come && now_us < until_us && pg_atomic_read_u32(&shards->n_running) > 1 && !is_interrupted())
	{
		for (i = 0; i < 20 && !has_come; i++)
		{
			pg_spin_delay();
			has_come = shards_have_work();
		}
		now_us = clock_now_us();
	}
	began_us = now_us;
	return has_come;
}

/* Out of work: let go of everything.  True if something has come. */
static bool
find_work(bool (*is_interrupted)(void))
{
	shards_flush();
	if (my.runnable != 0 || linger(is_interrupted))
		return true;
	shards_release();
	spare_blocks_free();
	return shards_have_work();
}

static int
next_shard(int last)
{
	uint64 after = my.runnable & ~((BIT(last) << 1) - 1);

	return pg_rightmost_one_pos64(after != 0 ? after : my.runnable);
}

/*
 * Run until "is_interrupted" says so or there is nothing left.  An ERROR of a
 * handler jumps out of it; it may be called again then.
 */
static void
run(bool (*is_interrupted)(void))
{
	int number = SHARDS - 1;

	look();
	for (;;)
	{
		shards_serve_notified();
		shards_take_orphans();
		if (is_interrupted())
			break;
		if (my.runnable != 0)
		{
			number = next_shard(number);
			run_turn(number);
			think_of_others();
		}
		else if (!find_work(is_interrupted))
			break;
	}
}

static void
start_running(void)
{
	if (native_context == NULL)
		native_context = AllocSetContextCreate(TopMemoryContext, "dlog native actors", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(native_context);
	now_us = flushed_us = round_us = began_us = clock_now_us();
	round_done = looked_done = my.done;
	look_every = LOOK_EVERY;
	my.is_running = true;
	my.runner->statistics.wakeups++;
	pg_atomic_fetch_add_u32(&shards->n_running, 1);
	pg_atomic_write_u32(&my.runner->is_running, 1);
}

static void
stop_running(void)
{
	if (!my.is_running)
		return;
	my.is_running = false;
	pg_atomic_write_u32(&my.runner->is_running, 0);
	pg_atomic_fetch_sub_u32(&shards->n_running, 1);
}

/*
 * shards_run
 *		Run native actors until there is nothing left to run for us, or
 *		until "is_interrupted" says so.
 */
void
shards_run(bool (*is_interrupted)(void))
{
	volatile bool again = true;

	start_running();
	while (again)
	{
		PG_TRY();
		{
			run(is_interrupted);
			again = false;
		}
		PG_CATCH();
		{
			/* An ERROR in a handler ends its actor. */
			MemoryContextSwitchTo(native_context);
			snprintf(my.current.reason, EXIT_REASON_LENGTH, "error: %s", CopyErrorData()->message);
			recover_from_error();
			end_mail(my.current.reason);
		}
		PG_END_TRY();
	}
	count();
	spare_blocks_free();
	stop_running();
}

/*
 * shards_stop_running
 *		This process may be about to exit, out of a handler even, whose actor
 *		is lost then.
 */
void
shards_stop_running(void)
{
	stop_running();
	end_mail(REASON_PROCESS_EXITED);
}
