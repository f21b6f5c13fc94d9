/*
 * slot.c
 *		The table of SQL and system actors: how one begins to live in it, and
 *		what the runtime asks of it.
 *
 * An actor is the slot of this table with the number of the runtime's, and a
 * body in the arena.  Any process finds it and puts something into its mailbox
 * (mailbox.c); the rest is its holder's, and only that ends it (exit.c).
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "actor/actor_internal.h"

SqlActor *sql_actor_table;
static uint32 n_slots;

/*
 * The numbers of durable actors, 0 for others, beside them: who asks does not
 * hold the actor, whose body may be freed at any time.  Written before an
 * actor lives.
 */
static pg_atomic_uint64 *durable_numbers;

/* ---------------------------------------------------------------- finding */

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
	SqlActor *actor = &sql_actor_table[address.slot];

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

	if (!sql_actor_is_meant(address) || sql_actor_table[address.slot].kind != ACTOR_DURABLE)
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
	return hosted_actor_exists(address) ? &sql_actor_table[address.slot] : NULL;
}

/* -------------------------------------------------------------- beginning */

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
	actor = &sql_actor_table[address->slot];
	actor->state = NULL;
	actor->body = body;
	actor->behavior = InvalidOid;
	actor->is_suspended = false;
	actor->phase = PHASE_NEW;
	actor->kind = ACTOR_OF_SQL;
	sql_actor_is_durable(*address, 0);
	pg_atomic_write_u32(&actor->run, RUN_RUNNING);
	pg_atomic_write_u64(&actor->room, EMPTY_ROOM(address->incarnation));
	pg_atomic_write_u64(&actor->control, 0);
	pg_atomic_write_u64(&actor->mail, 0);
	return actor;
}

/*
 * sql_actor_tell_supervisor
 *		It is held until its supervisor starts it.
 */
void
sql_actor_tell_supervisor(ActorAddress address, const ActorBody *body)
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
			sql_actor_tell_supervisor(address, body);
		return;
	}
	pg_atomic_write_u32(&actor->run, RUN_QUEUED);
	pool_push(actor, address.slot, false);
}

/*
 * sql_actor_free_body
 *		Of one that is closed.
 */
void
sql_actor_free_body(SqlActor *actor)
{
	ActorBody *body = actor->body;

	value_free(actor->state);
	actor->state = NULL;
	value_free(body->args);
	sql_actor_forget_failure(body);
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
	SqlActor *actor = &sql_actor_table[address.slot];

	/* Somebody may have meant an earlier actor of this slot. */
	free_all(sql_actor_close(actor));
	refuse_all(actor->body->first, "no such actor");
	sql_actor_free_body(actor);
	hosted_actor_abandon(address);
}

/* --------------------------------------------------------------- the host */

static void
host_view(uint32 slot, HostedView *view)
{
	SqlActor *actor = &sql_actor_table[slot];
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
		actor = &sql_actor_table[address.slot];
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

static long
host_work_in_ms(int database)
{
	return actor_journal != NULL ? actor_journal->work_in_ms(database) : -1;
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
	.send = sql_actor_send,
	.view = host_view,
	.message_name = host_message_name,
	.has_work = host_has_work,
	.work_in_ms = host_work_in_ms,
	.run = batch_run,
	.nap = pool_nap,
	.leave = batch_leave,
	.database_is_gone = host_database_is_gone,
};

/* ---------------------------------------------------------- shared memory */

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
	sql_actor_table = ShmemInitStruct("dlog SQL actors", slot_shmem_size(), &found);
	n_slots = hosted_actor_numbers();
	durable_numbers = (pg_atomic_uint64 *) (sql_actor_table + n_slots);
}
