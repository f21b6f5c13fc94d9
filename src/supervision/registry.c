/*
 * registry.c
 *		Which supervisors run, in shared memory.
 *
 * A supervisor's number, from dlog's tables, leads to the actor that is it
 * now.  Whoever spawns one enters it within the transaction; if that does not
 * commit, the entry is taken back.  A supervisor that has given up leaves a
 * mark, so that it is not started again by the way.
 *
 * The registry's lock guards the table; nothing else is taken under it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "supervision/supervision_internal.h"

/* An actor that was entered must have come to life within this time. */
#define BIRTH_MS 10000

typedef struct RegistryKey
{
	int64 id;
	Oid database;
	uint32 unused; /* zero: keys are compared as bytes */
} RegistryKey;

typedef struct RegistryEntry
{
	RegistryKey key; /* first */
	ActorAddress address;
	bool has_given_up;
	TimestampTz entered_at;
} RegistryEntry;

typedef struct RegistryControl
{
	LWLock lock;
} RegistryControl;

/* An entry that goes if the subtransaction does not commit. */
typedef struct Entered
{
	RegistryKey key;
	ActorAddress address;
	SubTransactionId subtransaction;
} Entered;

static RegistryControl *control;
static HTAB *table;
static List *entered; /* by this transaction, in TopMemoryContext */
static bool watches_transactions = false;

static RegistryKey
key_of(Oid database, int64 id)
{
	RegistryKey key = {.id = id, .database = database};

	return key;
}

static void
forget_entered(void)
{
	list_free_deep(entered);
	entered = NIL;
}

static void
at_transaction_end(XactEvent event, void *argument)
{
	ListCell *cell;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			forget_entered();
			break;
		case XACT_EVENT_ABORT:
			foreach(cell, entered)
			{
				Entered *one = lfirst(cell);

				registry_leave(one->key.database, one->key.id, one->address, false);
			}
			forget_entered();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (entered != NIL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has started a supervisor")));
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	ListCell *cell;

	foreach(cell, entered)
	{
		Entered *one = lfirst(cell);

		if (one->subtransaction != mine)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			one->subtransaction = parent;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			registry_leave(one->key.database, one->key.id, one->address, false);
			entered = foreach_delete_current(entered, cell);
			pfree(one);
		}
	}
}

/*
 * registry_enter
 *		This actor, which the present transaction spawns, is the supervisor.
 */
void
registry_enter(Oid database, int64 id, ActorAddress address)
{
	RegistryKey key = key_of(database, id);
	MemoryContext context;
	RegistryEntry *entry;
	Entered *one;
	bool is_full;

	if (!watches_transactions)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		watches_transactions = true;
	}
	context = MemoryContextSwitchTo(TopMemoryContext);
	one = palloc(sizeof(Entered));
	one->key = key;
	one->address = address;
	one->subtransaction = GetCurrentSubTransactionId();
	entered = lappend(entered, one);
	MemoryContextSwitchTo(context);

	LWLockAcquire(&control->lock, LW_EXCLUSIVE);
	is_full = hash_get_num_entries(table) >= dlog_max_supervisors;
	entry = hash_search(table, &key, is_full ? HASH_FIND : HASH_ENTER_NULL, NULL);
	if (entry != NULL)
	{
		entry->address = address;
		entry->has_given_up = false;
		entry->entered_at = GetCurrentTimestamp();
	}
	LWLockRelease(&control->lock);
	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no more supervisors can run"),
				 errhint("Raise dlog.max_supervisors, which is %d.", dlog_max_supervisors)));
}

/* This actor is that supervisor no longer. */
void
registry_leave(Oid database, int64 id, ActorAddress address, bool has_given_up)
{
	RegistryKey key = key_of(database, id);
	RegistryEntry *entry;

	LWLockAcquire(&control->lock, LW_EXCLUSIVE);
	entry = hash_search(table, &key, HASH_FIND, NULL);
	if (entry != NULL && actor_address_equal(entry->address, address))
	{
		entry->has_given_up = has_given_up;
		if (!has_given_up)
			hash_search(table, &key, HASH_REMOVE, NULL);
	}
	LWLockRelease(&control->lock);
}

RegistryState
registry_look(Oid database, int64 id, ActorAddress *address)
{
	RegistryKey key = key_of(database, id);
	RegistryEntry *entry;
	RegistryState state = REGISTRY_ABSENT;
	TimestampTz entered_at = 0;

	LWLockAcquire(&control->lock, LW_SHARED);
	entry = hash_search(table, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		state = entry->has_given_up ? REGISTRY_GAVE_UP : REGISTRY_RUNNING;
		*address = entry->address;
		entered_at = entry->entered_at;
	}
	LWLockRelease(&control->lock);

	/* One whose actor went without a word, with its database for example. */
	if (state == REGISTRY_RUNNING && !actor_exists(*address) &&
		TimestampDifferenceExceeds(entered_at, GetCurrentTimestamp(), BIRTH_MS))
		state = REGISTRY_ABSENT;
	return state;
}

Size
registry_shmem_size(void)
{
	return add_size(sizeof(RegistryControl),
					hash_estimate_size(dlog_max_supervisors, sizeof(RegistryEntry)));
}

void
registry_shmem_init(void)
{
	HASHCTL info = {.keysize = sizeof(RegistryKey), .entrysize = sizeof(RegistryEntry)};
	bool found;

	control = ShmemInitStruct("dlog supervisors", sizeof(RegistryControl), &found);
	if (!found)
		LWLockInitialize(&control->lock, supervision_tranche);
	table = ShmemInitHash("dlog supervisor table", dlog_max_supervisors, dlog_max_supervisors,
						  &info, HASH_ELEM | HASH_BLOBS);
}
