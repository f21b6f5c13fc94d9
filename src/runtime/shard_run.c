/*
 * shard_run.c
 *		Running native actors.
 *
 * A shard is run for some *time*: until its queue is empty, or for SHARD_US.
 * That is long, since with many actors what costs is to find their pages and
 * to fetch them: those of one shard lie together, and while one message is
 * handled the actors of those that come next are on their way.  All shards
 * with something to run have their time one after the other.
 *
 * What a queue holds when it is begun with is a *round*, which may take
 * several times.  A *turn* of an actor is MESSAGES_PER_TURN, or as many as it
 * handles in TURN_US, but one at least.  Who has had its turn in a round is
 * deferred: the rest of what is for it is put out of the way (see mailbox.c),
 * and it has its next turn after the round.  So others wait for what is left of
 * one turn of an actor that is flooded, and for another one, however much it
 * is sent.  It is deficit round robin
 * (Shreedhar and Varghese 1996) for those that are deferred, and costs the
 * others nothing.  Control messages have a list of their own, which is served
 * first.
 *
 * Every now and then, and never later than SHARD_US or a message that takes
 * longer, we look at the clock: what is in the outboxes goes out, half of the
 * shards go to an idle scheduler, and whoever wants this one for something
 * else is heard.  When messages begin to take long it may be some messages
 * later.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "storage/s_lock.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/stop_point.h"
#include "runtime/shard_internal.h"

/* How long the time of a shard is. */
#define SHARD_US 100
/* How long a turn of an actor may take, if it handles more than one message. */
#define TURN_US 100
/* With so many messages in a round we look how long it takes. */
#define TRUSTED 16
/* ActorSlot.run_in_round: it has taken too long. */
#define TOOK_LONG PG_UINT16_MAX
/* Messages between two looks at the clock; fewer where they take longer than this. */
#define LOOK_EVERY 256
#define LOOK_US 100
/* Shards between two questions whether we are wanted for something else. */
#define ASK_EVERY 16
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
			mailbox_discard(&shards->shard[SHARD_OF(my.current.address.slot)], mailbox);
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

/* --------------------------------------------------------------- the clock */
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
	{
		look_every = Max(1, (my.done - looked_done) * LOOK_US / us);

		/* Probably because of who ran last. */
		if (my.held & BIT(SHARD_OF(my.current.address.slot)))
			my.slots[my.current.address.slot].run_in_round = TOOK_LONG;
	}
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
/* ----------------------------------------------------------------- a round */

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

/*
 * An actor has had enough of this round; or TRUSTED messages, of which we see
 * now whether they took long.  False: it may go on.
 */
static bool
is_turn_over(Shard *shard, const ActorSlot *slot, uint32 number)
{
	if (slot->run_in_round == TRUSTED)
	{
		if (clock_now_us() - now_us <= TURN_US)
			return false;
		look();
	}
	if (slot->run_in_round < MESSAGES_PER_TURN)
		return false;
	return mailbox_defer(shard, number, slot->run_in_round == TOOK_LONG ? 1 : MESSAGES_PER_TURN);
}

/*
 * Run what is left of the round, until it is time to look at the clock.  To
 * move a message to a mailbox counts as much as to run one.
 */
static void
run_queue(Shard *shard)
{
	uint32 round = shard->round;
	bool are_wide = actors_are_wide();

	while (shard->left_in_round > 0 && my.done < my.look_at)
	{
		MailBlock *block = shard->first;
		MailBlock *next = block->next;

		if (next != NULL)
			__builtin_prefetch(next);

		/* the last block may grow while it is run */
		while (block->read < block->count && my.done < my.look_at)
		{
			uint32 read = block->read;
			Mail *mail = &block->mail[read];
			ActorSlot *slot = &my.slots[mail->slot];

			if (next != NULL)
				__builtin_prefetch(&next->mail[read]);
			prefetch_actor(block, read, are_wide);
			if (unlikely(!is_alive(slot, mail->incarnation)))
			{
				my.look_at--;
				mail_refuse(shard);
				if (shard->first != block)
					break;
				continue;
			}
			if (slot->round != round)
			{
				slot->round = round;
				slot->run_in_round = 0;
			}
			if (unlikely((slot->flags & ACTOR_IS_DEFERRED) != 0 ||
						 ((slot->run_in_round == TRUSTED || slot->run_in_round >= MESSAGES_PER_TURN) &&
						  is_turn_over(shard, slot, mail->slot))))
			{
				my.look_at--;
				mailbox_take_over(shard);
				if (shard->first != block)
					break;
				continue;
			}
			slot->run_in_round++;
			block->read++;
			handle_mail(slot, mail);
		}
		if (shard->first != block || block->read < block->count)
			continue;
		if (block->next == NULL)
		{
			/* keep it for what comes next */
			block->read = block->count = block->alike = 0;
			shard->left_in_round = 0;
			return;
		}
		block_free(queue_shift(shard));
	}
}

/* A turn of the first deferred actor. */
static void
run_deferred(Shard *shard)
{
	uint32 number = shard->first_deferred;
	ActorSlot *slot = &my.slots[number];
	ActorCold *cold = actor_cold(number);
	Mailbox *mailbox = cold->extra;
	uint64 begun = my.done;
	uint64 begun_us = now_us;
	uint64 identity = pg_atomic_read_u64(&slot->identity);

	while (my.done - begun < mailbox->budget)
	{
		MailBlock *block = mailbox->waiting.first;

		if (block->read == block->count)
		{
			if (block->next == NULL)
			{
				mailbox_undefer(shard, number);
				return;
			}
			mailbox->waiting.first = block->next;
			block_free(block);
			continue;
		}
		cold->depth--;
		handle_mail(slot, &block->mail[block->read++]);
		if (pg_atomic_read_u64(&slot->identity) != identity)
			return;
	}
	look();
	if (now_us - begun_us > TURN_US)
		mailbox->budget = Max(1, mailbox->budget * TURN_US / (now_us - begun_us));
	else
		mailbox->budget = Min(2 * mailbox->budget, MESSAGES_PER_TURN);
	mailbox_rotate(shard, number);
}

/* Has the shard had its time? */
static bool
is_time_over(uint64 begun_us)
{
	if (my.done < my.look_at)
		return false;
	look();
	return now_us - begun_us >= SHARD_US;
}

/* A turn for each that is deferred, as long as there is time. */
static void
run_all_deferred(Shard *shard, uint64 begun_us)
{
	uint32 last = shard->last_deferred;
	uint32 number;

	do
	{
		number = shard->first_deferred;
		run_deferred(shard);
	} while (number != last && shard->first_deferred != 0 && now_us - begun_us < SHARD_US);
}

static void
run_shard(int number)
{
	Shard *shard = &shards->shard[number];
	uint64 begun_us = now_us;

	queue_drain(number);
	run_control(shard);
	for (;;)
	{
		if (shard->left_in_round == 0)
		{
			shard->round++;
			shard->left_in_round = shard->n_blocks;
		}
		run_queue(shard);
		if (shard->left_in_round == 0 && unlikely(shard->first_deferred != 0))
		{
			run_all_deferred(shard, begun_us);
			break;
		}
		if (is_time_over(begun_us) || (shard->left_in_round == 0 && queue_is_empty(shard)))
			break;
	}
	if (unlikely(shard->refused.first != NULL) && shard->left_in_round == 0)
		refused_answer(shard);
	if (shard_is_at_rest(shard))
	{
		queue_rest(number);
		if (unlikely(pg_atomic_read_u64(&shard->control) != 0))
			my.runnable |= BIT(number); /* of our own */
	}
	if (!native_context->isReset)
		MemoryContextReset(native_context);
}

/* --------------------------------------------------------- shard by shard */

/* Between two shards: has somebody else nothing to do? */
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
 * Does somebody want this scheduler for something else?  To find out takes
 * longer than a shard with a message or two, so we ask after some of these.
 */
static bool
is_wanted(bool (*is_interrupted)(void))
{
	static int unasked = 0;
	static uint64 asked_us = 0;

	if (++unasked < ASK_EVERY && now_us == asked_us)
		return false;
	unasked = 0;
	asked_us = now_us;
	return is_interrupted();
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
		if (is_wanted(is_interrupted))
			break;
		if (my.runnable != 0)
		{
			number = next_shard(number);
			run_shard(number);
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
