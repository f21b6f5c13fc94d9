/*
 * failure.c
 *		The last failures of actors, in shared memory.
 *
 * Those of handlers and inits are recorded where they happen, through the
 * engine's hook; supervisors add what they did about them when that is to
 * give up.  A lock guards the ring; texts are cut to what fits.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "supervision/supervision_internal.h"

#define FAILURES_KEPT 1000

typedef struct FailureRing
{
	LWLock lock; /* guards all */
	uint64 last_number;
	Failure failure[FAILURES_KEPT];
} FailureRing;

static FailureRing *ring;

static void
copy_text(char *to, const char *text)
{
	strlcpy(to, "", FAILURE_TEXT);
	if (text == NULL)
		return;
	strlcpy(to, text, pg_mbcliplen(text, strlen(text), FAILURE_TEXT - 1) + 1);
}

void
failure_set_texts(Failure *failure, const char *error, const char *context, const char *message)
{
	copy_text(failure->error, error);
	copy_text(failure->context, context);
	copy_text(failure->message, message);
}

/* Keep it; number and time are filled in. */
void
failure_record(Failure *failure)
{
	failure->at = GetCurrentTimestamp();
	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	failure->number = ++ring->last_number;
	ring->failure[failure->number % FAILURES_KEPT] = *failure;
	LWLockRelease(&ring->lock);
}

static void
record_actor_failure(const ActorFailure *actor_failure)
{
	Failure failure = {
		.database = MyDatabaseId,
		.owner = actor_failure->owner,
		.actor = actor_failure->actor,
		.behavior = actor_failure->behavior,
		.sqlerrcode = actor_failure->error->sqlerrcode,
		.message_type = actor_failure->message_type,
	};

	if (actor_failure->name != NULL)
		strlcpy(failure.name, actor_failure->name, NAMEDATALEN);
	failure_set_texts(&failure, actor_failure->error->message, actor_failure->error->context,
					  actor_failure->message);
	failure_record(&failure);
}

uint32
failure_slots(void)
{
	return FAILURES_KEPT;
}

/* Copies the one in this place; false when there is none. */
bool
failure_copy(uint32 i, Failure *failure)
{
	LWLockAcquire(&ring->lock, LW_SHARED);
	*failure = ring->failure[i];
	LWLockRelease(&ring->lock);
	return failure->number != 0;
}

Size
failure_shmem_size(void)
{
	return sizeof(FailureRing);
}

void
failure_shmem_init(void)
{
	bool found;

	ring = ShmemInitStruct("dlog failures", sizeof(FailureRing), &found);
	if (found)
		return;
	memset(ring, 0, sizeof(FailureRing));
	LWLockInitialize(&ring->lock, supervision_tranche);
}

void
failure_init(void)
{
	actor_failed_hook = record_actor_failure;
}
