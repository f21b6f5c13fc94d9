/*
 * database.c
 *		The databases that dlog knows, and the work that waits in them.
 *
 * Work is a message to a database's dispatcher.  Any process, the network
 * process too, pushes it onto the database's stack of arrived work and then
 * wakes an idle scheduler, or the launcher when there is none.  A scheduler
 * that wakes up takes one piece, and wakes the next idle one if there is
 * more.  One that has nothing to do marks itself idle, looks once more, and
 * sleeps: either it sees the work or the sender sees its mark.  The sender
 * removes no mark, so one that dies in between leaves nothing wrong behind.
 *
 * A database slot's lock guards its queue of ordered work (schedulers only)
 * and changes of its state.  Senders read state and hash without it; work
 * that gets into a slot which meanwhile stands for another database is
 * recognized by the hash in its address and sent back.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "runtime/runtime_internal.h"

/* Set in DatabaseSlot.arrived while the slot stands for no database. */
#define ARRIVED_CLOSED ((uint64) 1)

static DatabaseSlot *databases;

DatabaseSlot *
database_at(int database)
{
	return &databases[database];
}

uint32
database_name_hash(const char *name)
{
	return hash_bytes((const unsigned char *) name, strlen(name));
}

static DatabaseState
state_of(DatabaseSlot *slot)
{
	return (DatabaseState) pg_atomic_read_u32(&slot->state);
}

/* ------------------------------------------------- coming and going */

/* The slot of a database, or -1. */
int
database_find(Oid oid)
{
	int i;

	for (i = 0; i < MAX_DATABASES; i++)
	{
		bool is_it;

		LWLockAcquire(&databases[i].lock, LW_SHARED);
		is_it = state_of(&databases[i]) != DATABASE_UNUSED && databases[i].oid == oid;
		LWLockRelease(&databases[i].lock);
		if (is_it)
			return i;
	}
	return -1;
}

/*
 * database_announce
 *		A database may have the extension (now): let a scheduler look.
 *
 * Returns its slot, or -1 when all are taken.  Raises no error.
 */
int
database_announce(Oid oid, const char *name)
{
	int database = database_find(oid);
	int i;

	if (database >= 0)
	{
		DatabaseSlot *slot = &databases[database];

		LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
		if (state_of(slot) != DATABASE_UNUSED && slot->oid == oid)
		{
			slot->asked++;
			if (state_of(slot) != DATABASE_ACTIVE)
				pg_atomic_write_u32(&slot->state, DATABASE_UNKNOWN);
			LWLockRelease(&slot->lock);
			launcher_wake();
			return database;
		}
		LWLockRelease(&slot->lock);
	}

	for (i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &databases[i];

		if (state_of(slot) != DATABASE_UNUSED)
			continue;
		LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
		if (state_of(slot) == DATABASE_UNUSED)
		{
			slot->oid = oid;
			namestrcpy(&slot->name, name);
			slot->asked++;
			slot->kept_away = 0;
			pg_atomic_write_u32(&slot->refresh, 1);
			pg_atomic_write_u64(&slot->start_failed_at, 0);
			pg_atomic_write_u32(&slot->name_hash, database_name_hash(name));
			pg_atomic_write_u64(&slot->arrived, 0);
			pg_atomic_write_u32(&slot->state, DATABASE_UNKNOWN);
			LWLockRelease(&slot->lock);
			launcher_wake();
			return i;
		}
		LWLockRelease(&slot->lock);
	}
	return -1;
}

/*
 * database_recheck
 *		The extension may have gone: stop the schedulers and look anew.
 */
void
database_recheck(Oid oid)
{
	int database = database_find(oid);
	DatabaseSlot *slot;

	if (database < 0)
		return;
	slot = &databases[database];
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (state_of(slot) != DATABASE_UNUSED && slot->oid == oid)
	{
		slot->asked++;
		pg_atomic_write_u32(&slot->state, DATABASE_UNKNOWN);
		pg_atomic_write_u32(&slot->refresh, 1);
	}
	LWLockRelease(&slot->lock);
	scheduler_terminate_all(database);
	launcher_wake();
}

/*
 * database_confirm
 *		A scheduler has looked whether the extension is there.
 *
 * "asked" is what it read before it looked.
 */
void
database_confirm(int database, uint32 asked, const char *name, bool has_extension)
{
	DatabaseSlot *slot = &databases[database];

	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (has_extension)
	{
		pg_atomic_write_u32(&slot->state, DATABASE_ACTIVE);
		if (strcmp(NameStr(slot->name), name) != 0)
		{
			namestrcpy(&slot->name, name);
			pg_atomic_write_u32(&slot->name_hash, database_name_hash(name));
		}
	}
	else if (slot->asked == asked)
		pg_atomic_write_u32(&slot->state, DATABASE_ABSENT);
	LWLockRelease(&slot->lock);
}

/* Arrived work, oldest first, to the end of the ordered.  Under the lock. */
static void
order_arrived(DatabaseSlot *slot)
{
	Message *newest;
	Message *oldest = NULL;
	Message *last;

	if (pg_atomic_read_u64(&slot->arrived) == 0 ||
		pg_atomic_read_u64(&slot->arrived) == ARRIVED_CLOSED)
		return;
	newest = (Message *) pg_atomic_exchange_u64(&slot->arrived, 0);
	last = newest;
	while (newest != NULL)
	{
		Message *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	if (slot->first == NULL)
		slot->first = oldest;
	else
		slot->last->next = oldest;
	slot->last = last;
}

/*
 * database_close
 *		Forget a database, unless it has been announced again.
 *
 * For the launcher, when none of its schedulers runs.  Waiting work is
 * answered.
 */
bool
database_close(int database)
{
	DatabaseSlot *slot = &databases[database];
	Message *message;
	Message *late;

	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (state_of(slot) == DATABASE_ACTIVE || slot->kept_away > 0)
	{
		LWLockRelease(&slot->lock);
		return false;
	}
	pg_atomic_write_u32(&slot->state, DATABASE_UNUSED);
	pg_atomic_write_u32(&slot->name_hash, 0);
	if (actor_host != NULL)
		actor_host->database_is_gone(database);
	order_arrived(slot);
	late = (Message *) pg_atomic_exchange_u64(&slot->arrived, ARRIVED_CLOSED);
	message = slot->first;
	slot->first = slot->last = NULL;
	slot->oid = InvalidOid;
	LWLockRelease(&slot->lock);

	while (message != NULL || late != NULL)
	{
		Message **list = message != NULL ? &message : &late;
		Message *next = (*list)->next;

		actor_send_undelivered(*list, SEND_NO_ACTOR);
		*list = next;
	}
	return true;
}

/*
 * database_keep_away, database_let_back
 *		A statement wants the database for itself, and is through.
 */
void
database_keep_away(int database)
{
	DatabaseSlot *slot = &databases[database];

	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	slot->kept_away++;
	LWLockRelease(&slot->lock);
	scheduler_terminate_all(database);
}

void
database_let_back(int database)
{
	DatabaseSlot *slot = &databases[database];

	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	slot->kept_away--;
	slot->asked++;
	pg_atomic_write_u32(&slot->state, DATABASE_UNKNOWN);
	pg_atomic_write_u32(&slot->refresh, 1);
	LWLockRelease(&slot->lock);
	launcher_wake();
}

/* ------------------------------------------------------------------ work */

/*
 * database_dispatch
 *		Give a message to whichever scheduler of a database is free.
 *
 * Any process.  On failure the message is still the caller's.
 */
SendResult
database_dispatch(uint32 name_hash, Message *message)
{
	int i;

	for (i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &databases[i];
		DatabaseState state = state_of(slot);
		uint64 newest;

		if ((state != DATABASE_UNKNOWN && state != DATABASE_ACTIVE) ||
			pg_atomic_read_u32(&slot->name_hash) != name_hash)
			continue;
		newest = pg_atomic_read_u64(&slot->arrived);
		if (newest == ARRIVED_CLOSED)
			return SEND_NO_ACTOR;
		if (my_process_slot == PROCESS_NETWORK)
			arena_set_owner(message, ARENA_NO_OWNER);
		do
		{
			if (newest == ARRIVED_CLOSED)
			{
				if (my_process_slot == PROCESS_NETWORK)
					arena_set_owner(message, PROCESS_NETWORK);
				return SEND_NO_ACTOR;
			}
			message->next = (Message *) newest;
		} while (!pg_atomic_compare_exchange_u64(&slot->arrived, &newest, (uint64) message));
		if (!database_wake_idle(i))
			launcher_call();
		return SEND_OK;
	}
	return SEND_NO_ACTOR;
}

/*
 * database_take
 *		The oldest piece of work, the caller's from now on; or NULL.
 */
Message *
database_take(int database, bool *more)
{
	DatabaseSlot *slot = &databases[database];
	Message *message;

	*more = false;
	if (!database_has_work(database))
		return NULL;
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	order_arrived(slot);
	message = slot->first;
	if (message != NULL)
	{
		slot->first = message->next;
		if (slot->first == NULL)
			slot->last = NULL;
		message->next = NULL;
		*more = slot->first != NULL;
	}
	LWLockRelease(&slot->lock);
	if (message != NULL && message->to.incarnation != pg_atomic_read_u32(&slot->name_hash))
	{
		/* It was for another database, or for this one's former name. */
		actor_send_undelivered(message, SEND_NO_ACTOR);
		return database_take(database, more);
	}
	return message;
}

/* Without a lock: what arrives at this moment may or may not be seen. */
bool
database_has_work(int database)
{
	uint64 arrived = pg_atomic_read_u64(&databases[database].arrived);

	return (arrived != 0 && arrived != ARRIVED_CLOSED) ||
		   *(Message *volatile *) &databases[database].first != NULL;
}

/* How many pieces of work wait. */
uint32
database_waiting(int database)
{
	DatabaseSlot *slot = &databases[database];
	Message *message;
	uint32 n = 0;

	if (!database_has_work(database))
		return 0;
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	order_arrived(slot);
	for (message = slot->first; message != NULL && n < MAX_SCHEDULERS; message = message->next)
		n++;
	LWLockRelease(&slot->lock);
	return n;
}

/* ------------------------------------------------------------ idle ones */

/* A full barrier: what is looked at afterwards is newer than the mark. */
void
database_set_idle(int database, int scheduler, bool is_idle)
{
	pg_atomic_uint64 *word = &databases[database].idle[scheduler / 64];
	uint64 bit = UINT64CONST(1) << (scheduler % 64);

	if (is_idle)
		pg_atomic_fetch_or_u64(word, bit);
	else
		pg_atomic_fetch_and_u64(word, ~bit);
}

uint32
database_idle_count(int database)
{
	uint32 n = 0;
	int i;

	for (i = 0; i < (scheduler_pool->n_slots + 63) / 64; i++)
		n += pg_popcount64(pg_atomic_read_u64(&databases[database].idle[i]));
	return n;
}

/*
 * database_wake_idle
 *		Wake the idle scheduler with the lowest number, so that those above
 *		get old enough to retire.  False when there is none.
 */
bool
database_wake_idle(int database)
{
	int i;

	for (i = 0; i < (scheduler_pool->n_slots + 63) / 64; i++)
	{
		uint64 word = pg_atomic_read_u64(&databases[database].idle[i]);

		if (word != 0)
		{
			int scheduler = i * 64 + pg_rightmost_one_pos64(word);

			process_wake(scheduler_pool->slot[scheduler].process);
			return true;
		}
	}
	return false;
}

/*
 * database_any_idle
 *		An idle scheduler of any database, or -1.
 */
int
database_any_idle(void)
{
	int database;
	int i;

	for (database = 0; database < MAX_DATABASES; database++)
	{
		if (state_of(&databases[database]) != DATABASE_ACTIVE)
			continue;
		for (i = 0; i < (scheduler_pool->n_slots + 63) / 64; i++)
		{
			uint64 word = pg_atomic_read_u64(&databases[database].idle[i]);

			if (word != 0)
				return i * 64 + pg_rightmost_one_pos64(word);
		}
	}
	return -1;
}

/* See to it that somebody looks at all work that waits. */
void
database_wake_waiting(void)
{
	int i;

	for (i = 0; i < MAX_DATABASES; i++)
		if ((database_has_work(i) || (actor_host != NULL && actor_host->has_work(i))) &&
			!database_wake_idle(i))
			launcher_wake();
	shards_wake_waiting();
}

/*
 * runtime_request_refresh
 *		Let a scheduler of the database run the start callbacks (again).
 */
void
runtime_request_refresh(Oid oid)
{
	int database = database_find(oid);

	if (database < 0)
		return;
	pg_atomic_write_u32(&databases[database].refresh, 1);
	pg_memory_barrier();
	if (!database_wake_idle(database))
		launcher_wake();
}

/* For higher layers. */
int
runtime_database(Oid oid)
{
	return database_find(oid);
}

bool
runtime_wake_scheduler(int database)
{
	return database_wake_idle(database);
}

void
runtime_call_for_schedulers(void)
{
	launcher_wake();
}

/* --------------------------------------------------------- shared memory */

Size
database_shmem_size(void)
{
	return mul_size(MAX_DATABASES, sizeof(DatabaseSlot));
}

void
database_shmem_init(void)
{
	bool found;
	int i;
	int j;

	databases = ShmemInitStruct("dlog databases", database_shmem_size(), &found);
	if (found)
		return;
	memset(databases, 0, database_shmem_size());
	for (i = 0; i < MAX_DATABASES; i++)
	{
		LWLockInitialize(&databases[i].lock, runtime_tranche);
		pg_atomic_init_u32(&databases[i].state, DATABASE_UNUSED);
		pg_atomic_init_u32(&databases[i].name_hash, 0);
		pg_atomic_init_u64(&databases[i].arrived, ARRIVED_CLOSED);
		pg_atomic_init_u32(&databases[i].refresh, 0);
		pg_atomic_init_u64(&databases[i].start_failed_at, 0);
		ConditionVariableInit(&databases[i].scheduler_exited);
		for (j = 0; j < MAX_SCHEDULERS / 64; j++)
			pg_atomic_init_u64(&databases[i].idle[j], 0);
	}
}
