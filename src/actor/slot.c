/*
 * slot.c
 *		A SQL or system actor: its mailbox, its control, its end.
 *
 * Anybody pushes onto two stacks, mail and control.  RunState says who is
 * responsible: an IDLE actor is queued by who gives it something, one that is
 * QUEUED or RUNNING will be looked at by its holder before that lets go.  A
 * PARKED one (suspended, held, down) is queued for control alone.
 *
 * Everything else is done by the holder: it obeys control between messages,
 * and only it ends an actor.
 *
 * Room in a mailbox is reserved when a message is sent, even where it leaves
 * only at commit, so that what was accepted is not refused later.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"

#include "actor/actor_internal.h"
#include "base/errcodes.h"
#include "base/guc.h"
#include "base/pg_compat.h"

/* What control messages carry. */
typedef struct RestartControl
{
	int64 delay_ms;
	FailedMessage failed;
} RestartControl;

typedef struct AdoptControl
{
	ActorAddress supervisor;
	uint64 child;
} AdoptControl;

/* Who waits for room looks again this often. */
#define ROOM_WAIT_MS 5

#define ROOM(incarnation) ((uint64) (incarnation) << 32)

/* One for each slot of the runtime's table. */
static SqlActor *table;
static uint32 n_slots;

/*
 * The numbers of durable actors, 0 for others, beside them: who asks does not
 * hold the actor, whose body may be freed at any time.  Written before an
 * actor lives.
 */
static pg_atomic_uint64 *durable_numbers;

SqlActor *
sql_actor_at(uint32 slot)
{
	return &table[slot];
}

/*
 * sql_actor_is_meant
 *		Does this address name an actor that lives, or is about to?
 *
 * Any process.  It looks at nothing but the line that a sender needs anyway:
 * the incarnation is beside the room, and who is gone has closed its mailbox.
 */
bool
sql_actor_is_meant(ActorAddress address)
{
	SqlActor *actor = &table[address.slot];

	return address.node == THIS_NODE && address.slot != 0 && address.slot < n_slots &&
		   pg_atomic_read_u64(&actor->room) >> 32 == address.incarnation &&
		   pg_atomic_read_u64(&actor->mail) != MAIL_CLOSED;
}

/*
 * sql_actor_durable
 *		The number of a durable actor that lives or is about to; 0: it is not
 *		durable, or gone.  Any process.
 */
int64
sql_actor_durable(ActorAddress address)
{
	int64 number;

	if (!sql_actor_is_meant(address) || table[address.slot].kind != ACTOR_DURABLE)
		return 0;
	number = (int64) pg_atomic_read_u64(&durable_numbers[address.slot]);

	/* If the slot is still its own, so was the number. */
	pg_read_barrier();
	return sql_actor_is_meant(address) ? number : 0;
}

void
sql_actor_is_durable(ActorAddress address, int64 number)
{
	pg_atomic_write_u64(&durable_numbers[address.slot], (uint64) number);
}

/* The living actor of this node with this address; NULL: there is none. */
SqlActor *
sql_actor_find(ActorAddress address)
{
	return hosted_actor_exists(address) ? &table[address.slot] : NULL;
}

const char *
exit_kind_name(ExitKind kind)
{
	static const char *const names[] = {
		[EXIT_NORMAL] = "normal",
		[EXIT_SHUTDOWN] = "shutdown",
		[EXIT_ERROR] = "error",
		[EXIT_KILLED] = "killed",
	};

	return names[kind];
}

/* ------------------------------------------------------------ scheduling */

/* False: the stack is closed, and the message still the caller's. */
static bool
stack_push(pg_atomic_uint64 *stack, Message *message)
{
	uint64 newest = pg_atomic_read_u64(stack);

	do
	{
		if (newest == MAIL_CLOSED)
			return false;
		message->next = (Message *) newest;
	} while (!pg_atomic_compare_exchange_u64(stack, &newest, (uint64) message));
	return true;
}

static Message *
reverse(Message *newest)
{
	Message *oldest = NULL;

	while (newest != NULL)
	{
		Message *next = newest->next;

		__builtin_prefetch(newest->payload + PREFETCH_LINE);
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

/* All of it, newest first. */
static Message *
stack_take_newest(pg_atomic_uint64 *stack, uint64 leave)
{
	return (Message *) pg_atomic_exchange_u64(stack, leave);
}

/* All of it, oldest first. */
static Message *
stack_take(pg_atomic_uint64 *stack, uint64 leave)
{
	return reverse(stack_take_newest(stack, leave));
}

/* Have it run.  What is not urgent may wait until the end of a scheduler's nap. */
static bool
try_queue(SqlActor *actor, uint32 slot, RunState from, bool is_urgent)
{
	uint32 expected = from;

	if (pg_atomic_read_u32(&actor->run) != from ||
		!pg_atomic_compare_exchange_u32(&actor->run, &expected, RUN_QUEUED))
		return false;
	pool_push(actor, slot, is_urgent);
	return true;
}

/*
 * sql_actor_wait_for_room
 *		The same, once there is room; false: there will be none, for this
 *		transaction itself has filled the mailbox.  In a session.
 */
bool
sql_actor_wait_for_room(SqlActor *actor, ActorAddress address)
{
	while (!sql_actor_reserve(actor, address))
	{
		if (pending_count(address) >= (int) actor->limit || !hosted_actor_exists(address))
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ROOM_WAIT_MS,
						 WaitEventExtensionNew("DlogMailboxRoom"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/*
 * sql_actor_reserve
 *		Room for one more message; false when the mailbox is full.
 */
bool
sql_actor_reserve(SqlActor *actor, ActorAddress address)
{
	uint64 room = pg_atomic_add_fetch_u64(&actor->room, 1);

	if ((room & ~(uint64) PG_UINT32_MAX) == ROOM(address.incarnation) && (uint32) room <= actor->limit)
		return true;

	/* Full; or it has become another actor between two looks. */
	pg_atomic_sub_fetch_u64(&actor->room, 1);
	return false;
}

/* Give it back, if the actor is still that one. */
void
sql_actor_unreserve(SqlActor *actor, ActorAddress address)
{
	uint64 room = pg_atomic_sub_fetch_u64(&actor->room, 1);

	if ((room & ~(uint64) PG_UINT32_MAX) != ROOM(address.incarnation))
		pg_atomic_add_fetch_u64(&actor->room, 1);
}

/*
 * Host's send: any process, the network process too.
 */
static SendResult
host_send(ActorAddress to, Message *message)
{
	SqlActor *actor = &table[to.slot];
	bool is_control = message->type > LOCAL_TIMER_CANCEL && message->type < LOCAL_END;

	if (message->from.node != THIS_NODE && message_is_local(message))
		return SEND_NO_ACTOR;
	if (message->type == MESSAGE_UNDELIVERED)
	{
		/* Its letter is among the dead ones; it has nobody to tell. */
		message_free(message);
		return SEND_OK;
	}
	if (process_slot() == ARENA_NETWORK_OWNER)
	{
		arena_set_owner(message, ARENA_NO_OWNER);
		pool_push_inbox(actor->database, message);
		return SEND_OK;
	}
	if (is_control)
	{
		if (!stack_push(&actor->control, message))
			return SEND_NO_ACTOR;
		if (!try_queue(actor, to.slot, RUN_IDLE, true) && !try_queue(actor, to.slot, RUN_PARKED, true))
			pool_hurry(actor->database);
		return SEND_OK;
	}
	if ((message->flags & (MESSAGE_CONTROL | MESSAGE_RESERVED)) == 0)
	{
		if (!sql_actor_reserve(actor, to))
			return SEND_MAILBOX_FULL;
		message->flags |= MESSAGE_RESERVED;
	}
	if (!stack_push(&actor->mail, message))
		return SEND_NO_ACTOR;
	if (!try_queue(actor, to.slot, RUN_IDLE, true))
		pool_hurry(actor->database);
	return SEND_OK;
}

/*
 * sql_actor_deliver
 *		Put mail, whose place is reserved, into the mailbox of an actor of this
 *		node.  Takes the message, if it does; else the actor is gone.
 *
 * Nobody waits for it, so it is urgent only when the mailbox gets full.
 */
bool
sql_actor_deliver(ActorAddress to, Message *message)
{
	SqlActor *actor = &table[to.slot];
	bool is_urgent;

	if (!sql_actor_is_meant(to) || !stack_push(&actor->mail, message))
		return false;
	process_count_sent();
	is_urgent = (uint32) pg_atomic_read_u64(&actor->room) > actor->limit / 2;
	if (!try_queue(actor, to.slot, RUN_IDLE, is_urgent) && is_urgent)
		pool_hurry(actor->database);
	return true;
}

/*
 * control_send
 *		Any process.  Takes the message; false: the actor is not there.
 */
bool
control_send(ActorAddress to, Message *message)
{
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	return actor_send(to, message) == SEND_OK;
}

/* ------------------------------------------------------- the holder's mail */

/* All that has come, newest first, goes behind what waits. */
static void
append(SqlActor *actor, Message *newest)
{
	ActorBody *body = actor->body;
	Message *first = reverse(newest);

	if (body->first != NULL)
		body->last->next = first;
	else
		body->first = first;
	body->last = newest;
	if ((uint32) pg_atomic_read_u64(&actor->room) > body->high_water)
		body->high_water = (uint32) pg_atomic_read_u64(&actor->room);
}

void
sql_actor_count_out(SqlActor *actor, Message *message)
{
	if (message->flags & MESSAGE_RESERVED)
	{
		pg_atomic_sub_fetch_u64(&actor->room, 1);
		message->flags &= ~MESSAGE_RESERVED;
	}
}

/*
 * sql_actor_peek
 *		The oldest message, which stays where it is; NULL: none.
 *
 * What was for an earlier actor of this slot is answered here.
 */
Message *
sql_actor_peek(SqlActor *actor)
{
	for (;;)
	{
		Message *message = actor->body->first;

		if (message == NULL)
		{
			if (pg_atomic_read_u64(&actor->mail) == 0)
				return NULL;
			message = stack_take_newest(&actor->mail, 0);
			if (message == NULL)
				return NULL;
			append(actor, message);
			message = actor->body->first;
		}
		if (message->to.incarnation == actor->body->self.incarnation)
		{
			/* With many that wait the next one is in no cache. */
			__builtin_prefetch(message->next);
			__builtin_prefetch((char *) message->next + offsetof(Message, payload) + MAIL_HEADER);
			return message;
		}
		message = sql_actor_take_first(actor);
		message->flags &= ~MESSAGE_RESERVED;
		actor_send_undelivered(message, SEND_NO_ACTOR);
	}
}

Message *
sql_actor_take_first(SqlActor *actor)
{
	ActorBody *body = actor->body;
	Message *message = body->first;

	body->first = message->next;
	if (body->first == NULL)
		body->last = NULL;
	message->next = NULL;
	return message;
}

/* A list in order, in front of what waits. */
void
sql_actor_put_back(SqlActor *actor, Message *first, Message *last)
{
	ActorBody *body = actor->body;

	if (first == NULL)
		return;
	last->next = body->first;
	body->first = first;
	if (body->last == NULL)
		body->last = last;
}

/* Any process: the body may be freed at any time, but is memory of the arena then, too. */
static bool
is_orphan(ActorAddress address)
{
	SqlActor *actor = sql_actor_find(address);
	ActorBody *body = actor == NULL ? NULL : *(ActorBody *volatile *) &actor->body;

	return body != NULL && *(volatile bool *) &body->is_orphan;
}

/*
 * sql_actor_release
 *		The holder lets go of it.
 */
void
sql_actor_release(SqlActor *actor)
{
	uint32 slot = actor->body->self.slot;
	bool takes_mail = (actor->phase == PHASE_READY || actor->phase == PHASE_NEW) && !actor->is_suspended;
	bool has_work = actor->body->first != NULL || actor->phase == PHASE_NEW;
	ActorAddress self = actor->body->self;
	bool is_supervised = actor->body->supervisor.slot != 0;
	uint64 control;

	/* Once it is let go, it may be gone, and its body. */
	actor->body->holder = 0;
	pg_atomic_write_u32(&actor->run, takes_mail ? RUN_IDLE : RUN_PARKED);
	pg_memory_barrier();
	control = pg_atomic_read_u64(&actor->control);
	if ((control != 0 && control != MAIL_CLOSED) || (is_supervised && is_orphan(self)))
		(void) try_queue(actor, slot, takes_mail ? RUN_IDLE : RUN_PARKED, true);
	else if (takes_mail && (has_work || pg_atomic_read_u64(&actor->mail) != 0))
		(void) try_queue(actor, slot, RUN_IDLE, true);
}

/* The holder's: may and should it handle something now? */
bool
sql_actor_has_turn(SqlActor *actor)
{
	if (actor->is_suspended)
		return false;
	if (actor->phase == PHASE_NEW)
		return true;
	return actor->phase == PHASE_READY && sql_actor_peek(actor) != NULL;
}

/*
 * sql_actor_is_killed
 *		Has somebody told it to stop at once?  The holder's, also in a signal
 *		handler while a handler of the actor runs.
 */
bool
sql_actor_is_killed(SqlActor *actor)
{
	uint64 newest = pg_atomic_read_u64(&actor->control);

	if (newest == MAIL_CLOSED)
		return false;
	if (actor->body->is_orphan)
		return true;
	for (Message *message = (Message *) newest; message != NULL; message = message->next)
		if (message->type == LOCAL_STOP && ((StopControl *) message->payload)->kind == EXIT_KILLED)
			return true;
	return false;
}

/*
 * sql_actor_set_state
 *		Replace the committed state.  Readers notice by the version.
 *
 * One of the same size is written over the old one: so the states of many
 * actors stay where they were made, one beside the other, and the block of
 * the new one, which is in the processor's cache, is the next to be used.
 */
void
sql_actor_set_state(SqlActor *actor, Value *state)
{
	Value *old = actor->state;
	bool fits = old != NULL && state != NULL && old->next == NULL && state->next == NULL &&
				old->size == state->size;

	*(volatile uint32 *) &actor->version += 1;
	pg_write_barrier();
	if (fits)
		memcpy(old, state, offsetof(Value, data) + state->size);
	else
		actor->state = state;
	pg_write_barrier();
	*(volatile uint32 *) &actor->version += 1;
	if (old != NULL)
	{
		pg_write_barrier();
		value_free(fits ? state : old);
	}
}

/*
 * sql_actor_read_state
 *		A copy of an actor's committed state; any process.
 *
 * Its holder may replace it meanwhile.  What it was in is still memory of the
 * arena, so reading it does no harm, and the version tells that it was in
 * vain.
 */
Datum
sql_actor_read_state(ActorAddress address, bool *is_null, Oid *behavior, bool *is_alive)
{
	SqlActor *actor = sql_actor_find(address);

	*is_null = true;
	*is_alive = actor != NULL;
	while (actor != NULL)
	{
		uint32 version = *(volatile uint32 *) &actor->version;
		Value *state;
		Value head;
		Value *copy;
		Size done = 0;

		pg_read_barrier();
		*behavior = actor->behavior;
		state = *(Value *volatile *) &actor->state;
		CHECK_FOR_INTERRUPTS();
		if (state != NULL)
			memcpy(&head, state, offsetof(Value, data));
		pg_read_barrier();
		if ((version & 1) || *(volatile uint32 *) &actor->version != version)
			continue;
		if (!(*is_alive = sql_actor_find(address) != NULL) || state == NULL || head.is_null)
			return (Datum) 0;
		copy = MemoryContextAllocHuge(CurrentMemoryContext, offsetof(Value, data) + head.size + 1);
		memcpy(copy, &head, offsetof(Value, data));
		while (done < head.size)
		{
			Size n = Min(head.size - done, VALUE_BLOCK_DATA);

			memcpy(copy->data + done, state->data, n);
			done += n;
			state = *(Value *volatile *) &state->next;
			pg_read_barrier();
			if (*(volatile uint32 *) &actor->version != version)
				break;
		}
		if (done < head.size || *(volatile uint32 *) &actor->version != version ||
			sql_actor_find(address) == NULL)
		{
			pfree(copy);
			continue;
		}
		*is_null = false;
		if (head.is_by_value)
		{
			Datum datum;

			memcpy(&datum, copy->data, sizeof(Datum));
			return datum;
		}
		return PointerGetDatum(copy->data);
	}
	return (Datum) 0;
}

/* ------------------------------------------------------------- beginning */

static void refuse_all(Message *first, const char *reason);

static void
free_all(Message *message)
{
	while (message != NULL)
	{
		Message *next = message->next;

		message_free(message);
		message = next;
	}
}

/*
 * sql_actor_claim
 *		A slot with nothing in it but an empty body.  It is RUNNING, so that
 *		nobody puts it into a queue.
 */
SqlActor *
sql_actor_claim(const char *behavior, Oid database, Oid role, ActorAddress *address)
{
	ActorBody *body = arena_alloc(sizeof(ActorBody));
	SqlActor *actor;

	memset(body, 0, sizeof(ActorBody));
	PG_TRY();
	{
		*address = hosted_actor_claim(behavior, database, role);
	}
	PG_CATCH();
	{
		arena_free(body);
		PG_RE_THROW();
	}
	PG_END_TRY();
	body->self = *address;
	body->database = database;
	actor = &table[address->slot];
	actor->state = NULL;
	actor->body = body;
	actor->behavior = InvalidOid;
	actor->is_suspended = false;
	actor->phase = PHASE_NEW;
	actor->kind = ACTOR_OF_SQL;
	sql_actor_is_durable(*address, 0);
	pg_atomic_write_u32(&actor->run, RUN_RUNNING);
	pg_atomic_write_u64(&actor->room, ROOM(address->incarnation));
	pg_atomic_write_u64(&actor->control, 0);
	pg_atomic_write_u64(&actor->mail, 0);
	return actor;
}

/* It is held until its supervisor starts it. */
static void
tell_of_child(ActorAddress address, const ActorBody *body)
{
	Message *message = message_try_create(LOCAL_CHILD_SPAWNED, sizeof(uint64));

	if (message != NULL)
	{
		memcpy(message->payload, &body->child, sizeof(uint64));
		message->from = address;
		if (control_send(body->supervisor, message))
			return;
	}
	/* Nobody will ever start it. */
	actor_release(address, FAILED_MESSAGE_DEAD_LETTER);
}

/*
 * sql_actor_spawned
 *		An actor that was claimed lives from now on.
 */
void
sql_actor_spawned(ActorAddress address)
{
	SqlActor *actor;
	ActorBody *body;

	hosted_actor_is_alive(address);
	actor = sql_actor_find(address);
	body = actor->body;
	if (actor->phase == PHASE_HELD)
	{
		pg_atomic_write_u32(&actor->run, RUN_PARKED);
		pg_memory_barrier();
		if (body->supervisor.slot != 0)
			tell_of_child(address, body);
		return;
	}
	pg_atomic_write_u32(&actor->run, RUN_QUEUED);
	pool_push(actor, address.slot, false);
}

static void
forget_failure(ActorBody *body)
{
	if (body->failure != NULL)
		arena_free(body->failure);
	body->failure = NULL;
}

static void
free_body(SqlActor *actor)
{
	ActorBody *body = actor->body;

	value_free(actor->state);
	actor->state = NULL;
	value_free(body->args);
	forget_failure(body);
	while (body->revoked != NULL)
	{
		Revoked *next = body->revoked->next;

		arena_free(body->revoked);
		body->revoked = next;
	}
	while (body->timers != NULL)
	{
		SystemTimer *next = body->timers->next;

		arena_free(body->timers);
		body->timers = next;
	}
	if (body->system_state != NULL)
		arena_free(body->system_state);
	if (body->durable != NULL)
	{
		actor_journal->leave(body->database, body->durable->id, body->self);
		value_free(body->durable->failure);
		arena_free(body->durable);
	}
	actor->body = NULL;
	arena_free(body);
}

/*
 * sql_actor_unspawned
 *		It never lives: the transaction that spawned it is rolled back.
 */
void
sql_actor_unspawned(ActorAddress address)
{
	SqlActor *actor = &table[address.slot];

	/* Somebody may have meant an earlier actor of this slot. */
	refuse_all(stack_take(&actor->mail, MAIL_CLOSED), "no such actor");
	free_all(stack_take(&actor->control, MAIL_CLOSED));
	free_body(actor);
	hosted_actor_abandon(address);
}

/*
 * sql_actor_revoke
 *		So many messages that a timer of this actor has sent, or is about to,
 *		shall not count.  The holder's.
 */
void
sql_actor_revoke(ActorAddress address, uint64 token, uint32 n_messages)
{
	SqlActor *actor = sql_actor_find(address);
	Revoked *revoked = actor == NULL ? NULL : arena_try_alloc(sizeof(Revoked));

	/* Out of memory they come once too often. */
	if (revoked == NULL)
		return;
	revoked->token = token;
	revoked->n_messages = n_messages;
	revoked->next = actor->body->revoked;
	actor->body->revoked = revoked;
}

/* Whether this is such a one; it is forgotten with the last of them. */
bool
sql_actor_is_revoked(SqlActor *actor, uint64 token)
{
	for (Revoked **link = &actor->body->revoked; *link != NULL; link = &(*link)->next)
	{
		Revoked *revoked = *link;

		if (revoked->token != token)
			continue;
		if (--revoked->n_messages == 0)
		{
			*link = revoked->next;
			arena_free(revoked);
		}
		return true;
	}
	return false;
}

/* ---------------------------------------------------------------- the end */

/*
 * sql_actor_has_failed
 *		Its handler has failed at this message, or its init if there is none,
 *		with this error or none.  The holder's.  Takes the message, until its
 *		supervisor has decided.
 */
void
sql_actor_has_failed(SqlActor *actor, Message *message, const ErrorData *error)
{
	ActorBody *body = actor->body;
	int length;

	forget_failure(body);
	body->failed = message;
	if (message == NULL || error == NULL || (mail_flags(message) & MAIL_ASK) == 0)
		return;

	/* Without memory the asker is not told why. */
	body->failure = arena_try_alloc(sizeof(HandlerFailure));
	if (body->failure == NULL)
		return;
	body->failure->sqlerrcode = error->sqlerrcode;
	length = pg_mbcliplen(error->message, strlen(error->message), sizeof(body->failure->message) - 1);
	memcpy(body->failure->message, error->message, length);
	body->failure->message[length] = '\0';
}

/*
 * sql_actor_give_up
 *		The message that its handler failed at is given up, if there is one.
 *		The holder's.
 */
void
sql_actor_give_up(SqlActor *actor, FailedMessage what, const char *reason)
{
	Message *message = actor->body->failed;

	if (message == NULL)
		return;
	actor->body->failed = NULL;
	if (message->type == LOCAL_MAIL && (message_mail(message)->flags & MAIL_ASK))
	{
		answer_failure(message->from, message->to, ERRCODE_DLOG_ACTOR_EXITED, reason, actor->body->failure);
		message->flags |= MESSAGE_EPHEMERAL;
		message->from.slot = 0;
	}
	if (what == FAILED_MESSAGE_DEAD_LETTER)
	{
		message->from.slot = 0; /* its sender did all right */
		actor_send_undelivered(message, SEND_NO_ACTOR);
	}
	else
		message_free(message);
	forget_failure(actor->body);
}

static void
refuse_all(Message *first, const char *reason)
{
	int sweep = -1;

	while (first != NULL)
	{
		Message *next = first->next;

		/* The rows of such mail are to go where they can be looked at. */
		if (mail_durable(first) != NULL)
			sweep = sql_actor_at(first->to.slot)->database;
		first->next = NULL;
		if (first->type == LOCAL_MAIL && (message_mail(first)->flags & MAIL_ASK))
		{
			answer_failure(first->from, first->to, ERRCODE_DLOG_ACTOR_EXITED, reason, NULL);
			message_free(first);
		}
		else
			actor_send_undelivered(first, SEND_NO_ACTOR);
		first = next;
	}
	if (sweep >= 0)
		actor_journal->sweep(sweep);
}

/*
 * sql_actor_bury
 *		It is gone for good.  The holder's; the actor is nobody's afterwards.
 */
void
sql_actor_bury(SqlActor *actor, const char *reason)
{
	ActorBody *body = actor->body;
	ActorAddress self = body->self;
	Message *mail;
	Message *control;

	if (body->system != NULL && body->system_state != NULL && body->system->stop != NULL)
		body->system->stop(body->system_state, self);

	pg_atomic_write_u64(&actor->room, ROOM(self.incarnation));
	mail = stack_take_newest(&actor->mail, MAIL_CLOSED);
	control = stack_take(&actor->control, MAIL_CLOSED);
	if (mail != NULL)
		append(actor, mail);
	sql_actor_give_up(actor, FAILED_MESSAGE_DEAD_LETTER, reason);
	refuse_all(body->stash_first, reason);
	refuse_all(body->first, reason);
	free_all(control);

	/* Children that nobody looks after any more. */
	if (body->system != NULL)
		for (uint32 i = 1; i < hosted_actor_slots(); i++)
		{
			ActorAddress address;
			ActorBody *other;

			if (!hosted_actor_in_slot(i, &address))
				continue;
			other = *(ActorBody *volatile *) &table[address.slot].body;
			if (other != NULL && actor_address_equal(other->supervisor, self))
				actor_orphan(address);
		}
	free_body(actor);
	hosted_actor_exit(self, reason);
}

/*
 * sql_actor_down
 *		It exits; the holder's.  Its supervisor decides what becomes of it; if
 *		it has none it is gone, and the result true.
 */
bool
sql_actor_down(SqlActor *actor, ExitKind kind, int sqlerrcode, const char *reason)
{
	ActorBody *body = actor->body;
	bool is_gone = body->durable != NULL && body->durable->has_ended;
	Message *message;
	ChildExited *exited;

	sql_actor_set_state(actor, NULL);
	if (body->supervisor.slot != 0)
	{
		Size size = offsetof(ChildExited, reason) + strlen(reason) + 1;

		message = message_try_create(LOCAL_CHILD_EXITED, size);
		if (message == NULL)
			message = message_try_create(LOCAL_CHILD_EXITED, size = offsetof(ChildExited, reason) + 1);
		if (message != NULL)
		{
			exited = (ChildExited *) message->payload;
			exited->child = body->child;
			exited->kind = kind;
			exited->sqlerrcode = sqlerrcode;
			exited->attempts = body->failed != NULL && body->failed->type == LOCAL_MAIL ?
								   message_mail(body->failed)->attempts :
								   0;
			strlcpy(exited->reason, reason, size - offsetof(ChildExited, reason));
			exited->is_gone = is_gone;
			message->from = body->self;
			actor->phase = PHASE_DOWN;
			if (control_send(body->supervisor, message) && !is_gone)
				return false;
		}
	}
	sql_actor_bury(actor, reason);
	return true;
}

/* -------------------------------------------------------------- obeying */

/* Back to the beginning; init will run. */
static void
begin_anew(SqlActor *actor, FailedMessage failed)
{
	ActorBody *body = actor->body;
	bool was_held = actor->phase == PHASE_HELD;

	sql_actor_set_state(actor, NULL);
	actor->behavior = body->first_behavior;
	sql_actor_put_back(actor, body->stash_first, body->stash_last);
	body->stash_first = body->stash_last = NULL;
	if (body->failed != NULL && failed == FAILED_MESSAGE_RETRY)
	{
		sql_actor_put_back(actor, body->failed, body->failed);
		body->failed = NULL;
		forget_failure(body);
	}
	else if (body->failed != NULL)
	{
		sql_actor_count_out(actor, body->failed);
		sql_actor_give_up(actor, failed, "the handler failed");
	}
	actor->is_suspended = false;
	actor->phase = PHASE_NEW;
	/* One that was held is fresh, and may have heard of children already. */
	if (body->system != NULL && !was_held)
	{
		if (body->system->stop != NULL)
			body->system->stop(body->system_state, body->self);
		memset(body->system_state, 0, body->system->state_size);
		if (body->args != NULL)
			memcpy(body->system_state, value_bytes(body->args), body->args->size);
	}
}

static void
restart(SqlActor *actor, Message *message)
{
	RestartControl *control = (RestartControl *) message->payload;
	ActorBody *body = actor->body;

	if (control->delay_ms > 0)
	{
		RestartControl *later;
		Message *timer = message_try_create(LOCAL_RESTART, sizeof(RestartControl));

		/* Without memory for a timer it is at once. */
		if (timer != NULL)
		{
			later = (RestartControl *) timer->payload;
			later->delay_ms = 0;
			later->failed = control->failed;
			timer->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
			body->restarts_later = true;
			if (actor->phase != PHASE_HELD)
				actor->phase = PHASE_DOWN;
			(void) timer_send_after(body->self, body->self, timer, control->delay_ms);
			return;
		}
	}
	body->restarts_later = false;
	body->restarts++;
	begin_anew(actor, control->failed);
}

/* True: it is gone. */
static bool
release(SqlActor *actor, Message *message)
{
	ActorBody *body = actor->body;
	RestartControl *control = (RestartControl *) message->payload;

	if (actor->phase != PHASE_DOWN && actor->phase != PHASE_HELD)
		return false;
	sql_actor_give_up(actor, control->failed, "the handler failed");
	if (body->durable != NULL)
	{
		/* It lives on without a supervisor; dlog.resume() lets it go on. */
		body->supervisor = (ActorAddress){0};
		begin_anew(actor, FAILED_MESSAGE_RETRY);
		actor->is_suspended = true;
		return false;
	}
	sql_actor_bury(actor, "shutdown");
	return true;
}

/* A durable actor gets a supervisor, who starts it anew. */
static void
adopt(SqlActor *actor, const AdoptControl *control)
{
	ActorBody *body = actor->body;

	body->supervisor = control->supervisor;
	body->child = control->child;
	body->restarts_later = false;
	sql_actor_set_state(actor, NULL);
	actor->phase = PHASE_HELD;
	tell_of_child(body->self, body);
}

/* Its supervisor is gone.  True: so is the actor. */
static bool
obey_orphan(SqlActor *actor)
{
	ActorBody *body = actor->body;

	body->is_orphan = false;
	if (body->durable == NULL)
	{
		sql_actor_bury(actor, "its supervisor is gone");
		return true;
	}
	body->supervisor = (ActorAddress){0};
	begin_anew(actor, FAILED_MESSAGE_RETRY);
	return false;
}

/*
 * A durable actor that is killed, or that its supervisor stops, is not gone:
 * what its handler did is undone, and it is loaded again.
 */
static bool
stop_durable(SqlActor *actor, StopControl *stop)
{
	if (actor->phase != PHASE_NEW && actor->phase != PHASE_READY)
		return false;
	if (actor->body->supervisor.slot != 0)
		return sql_actor_down(actor, stop->kind, 0, stop->reason);
	begin_anew(actor, FAILED_MESSAGE_RETRY);
	return false;
}

/*
 * sql_actor_obey_one
 *		Do what a control message says.  True: the actor is gone.
 */
bool
sql_actor_obey_one(SqlActor *actor, Message *message)
{
	StopControl *stop = (StopControl *) message->payload;

	switch (message->type)
	{
		case LOCAL_STOP:
			/* A restart that waits is not wanted any more. */
			actor->body->restarts_later = false;
			if (actor->body->durable != NULL && !stop->is_final)
				return stop_durable(actor, stop);
			if (actor->body->durable != NULL)
				actor->body->durable->has_ended = true;
			if (actor->phase == PHASE_NEW || actor->phase == PHASE_READY)
				return sql_actor_down(actor, stop->kind, 0, stop->reason);
			break;
		case LOCAL_SUSPEND:
			actor->is_suspended = true;
			break;
		case LOCAL_RESUME:
			actor->is_suspended = false;
			break;
		case LOCAL_RESTART:
			if (message->from.slot != 0 || actor->body->restarts_later)
				restart(actor, message);
			break;
		case LOCAL_RELEASE:
			return release(actor, message);
		case LOCAL_ADOPT:
			adopt(actor, (AdoptControl *) message->payload);
			break;
		default:
			break;
	}
	return false;
}

/*
 * sql_actor_obey
 *		Do what control says, oldest first; the holder's, between messages and
 *		outside of anything that may yet be rolled back.
 *
 * For SQL actors.  False: the actor is gone.
 */
bool
sql_actor_obey(SqlActor *actor)
{
	uint32 incarnation = actor->body->self.incarnation;
	bool is_gone = false;
	Message *message;

	if (actor->body->is_orphan && obey_orphan(actor))
		return false;
	if (pg_atomic_read_u64(&actor->control) == 0)
		return true;
	message = stack_take(&actor->control, 0);
	while (message != NULL)
	{
		Message *next = message->next;

		if (!is_gone && message->to.incarnation == incarnation)
			is_gone = sql_actor_obey_one(actor, message);
		message_free(message);
		message = next;
	}
	return !is_gone;
}

/* All control that waits, for who obeys it in another way. */
Message *
sql_actor_take_control(SqlActor *actor)
{
	if (pg_atomic_read_u64(&actor->control) == 0)
		return NULL;
	return stack_take(&actor->control, 0);
}

/* ------------------------------------------------- the door's control */

/* What its handler does is of no use any more. */
static void
interrupt(ActorAddress address)
{
	SqlActor *actor = sql_actor_find(address);
	ActorBody *body = actor == NULL ? NULL : *(ActorBody *volatile *) &actor->body;
	uint16 holder = body == NULL ? 0 : *(volatile uint16 *) &body->holder;

	if (holder > ARENA_NETWORK_OWNER && holder < arena_owner_count())
		process_interrupt(holder - ARENA_NETWORK_OWNER - 1);
}

/*
 * actor_stop
 *		Have it exit, ahead of the messages that wait.  Any process.
 */
void
actor_stop(ActorAddress actor, ExitKind kind, const char *reason)
{
	Size size = strlen(reason) + 1;
	Message *message = message_create(LOCAL_STOP, offsetof(StopControl, reason) + size);
	StopControl *stop = (StopControl *) message->payload;

	stop->kind = kind;
	stop->is_final = false;
	memcpy(stop->reason, reason, size);
	if (control_send(actor, message) && kind == EXIT_KILLED)
		interrupt(actor);
}

void
actor_orphan(ActorAddress address)
{
	SqlActor *actor = sql_actor_find(address);
	ActorBody *body = actor == NULL ? NULL : *(ActorBody *volatile *) &actor->body;

	if (body == NULL)
		return;
	body->is_orphan = true;
	pg_memory_barrier();
	if (!try_queue(actor, address.slot, RUN_IDLE, true))
		(void) try_queue(actor, address.slot, RUN_PARKED, true);
	interrupt(address);
}

void
actor_suspend(ActorAddress actor)
{
	(void) control_send(actor, message_create(LOCAL_SUSPEND, 0));
}

void
actor_resume(ActorAddress actor)
{
	(void) control_send(actor, message_create(LOCAL_RESUME, 0));
}

void
actor_restart(ActorAddress actor, int64 delay_ms, FailedMessage failed)
{
	Message *message = message_create(LOCAL_RESTART, sizeof(RestartControl));
	RestartControl *control = (RestartControl *) message->payload;

	control->delay_ms = delay_ms;
	control->failed = failed;
	message->from = actor;
	(void) control_send(actor, message);
}

bool
actor_adopt(int64 durable, ActorAddress supervisor, uint64 child, ActorAddress *address)
{
	Message *message;
	AdoptControl *control;

	if (actor_journal == NULL || !actor_journal->hold(durable) || !actor_journal->find(durable, address))
		return false;
	message = message_create(LOCAL_ADOPT, sizeof(AdoptControl));
	control = (AdoptControl *) message->payload;
	control->supervisor = supervisor;
	control->child = child;
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	actor_send_at_commit(*address, message);
	return true;
}

void
actor_release(ActorAddress actor, FailedMessage failed)
{
	Message *message = message_create(LOCAL_RELEASE, sizeof(RestartControl));
	RestartControl *control = (RestartControl *) message->payload;

	control->delay_ms = 0;
	control->failed = failed;
	(void) control_send(actor, message);
}

/* --------------------------------------------------------------- the host */

static void
host_view(uint32 slot, HostedView *view)
{
	SqlActor *actor = &table[slot];
	const ActorBody *body = *(ActorBody *volatile *) &actor->body;

	memset(view, 0, sizeof(HostedView));
	view->depth = (uint32) pg_atomic_read_u64(&actor->room);
	if (body != NULL)
	{
		view->high_water = Max(body->high_water, view->depth);
		view->received = body->received;
		view->restarts = body->restarts;
		view->holder = body->holder;
	}
}

/*
 * The database is gone, and its schedulers: its actors go, too.  In the
 * launcher.
 */
static void
host_database_is_gone(int database)
{
	for (uint32 i = 1; i < hosted_actor_slots(); i++)
	{
		ActorAddress address;
		SqlActor *actor;

		if (!hosted_actor_in_slot(i, &address))
			continue;
		actor = &table[address.slot];
		if (actor->database == database)
		{
			pg_atomic_write_u32(&actor->run, RUN_RUNNING);
			actor->body->system = NULL;
			sql_actor_bury(actor, "its database is gone");
		}
	}
	pool_clear(database);
	if (actor_journal != NULL)
		actor_journal->database_is_gone(database);
}

/* Something waits in the run queue, or in tables. */
static bool
host_has_work(int database)
{
	return pool_has_work(database) || (actor_journal != NULL && actor_journal->has_work(database));
}

static const char *
host_message_name(uint16 type)
{
	if (type < LOCAL_MAIL || type >= LOCAL_END)
		return NULL;
	return type == LOCAL_MAIL ? "mail" : type == LOCAL_FAILURE ? "failure" :
																 "control";
}

const ActorHost sql_actor_host = {
	.send = host_send,
	.view = host_view,
	.message_name = host_message_name,
	.has_work = host_has_work,
	.run = batch_run,
	.nap = pool_nap,
	.leave = batch_leave,
	.database_is_gone = host_database_is_gone,
};

/* --------------------------------------------------------- shared memory */

Size
slot_shmem_size(void)
{
	return mul_size(hosted_actor_numbers(), sizeof(SqlActor) + sizeof(pg_atomic_uint64));
}

void
slot_shmem_init(void)
{
	bool found;

	/* Zero, as all shared memory is at first: a slot costs none until it is used. */
	table = ShmemInitStruct("dlog SQL actors", slot_shmem_size(), &found);
	n_slots = hosted_actor_numbers();
	durable_numbers = (pg_atomic_uint64 *) (table + n_slots);
}
