/*
 * stop_point.c
 *		Named places where a test can hold a process, or make it fail.
 *
 * The table of armed points exists only in builds with -DDLOG_STOP_POINTS,
 * and so do the SQL functions that t/stop_points.sql declares.  A spinlock
 * guards the table; a held process sleeps on the condition variable of its
 * point.  Not for the network process, which can wait for neither.
 */
#include "postgres.h"

#include "base/stop_point.h"

#ifndef DLOG_STOP_POINTS

Size
stop_point_shmem_size(void)
{
	return 0;
}

void
stop_point_shmem_init(void)
{
}

#else

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/function.h"
#include "base/pg_compat.h"

#define STOP_POINTS 32
#define STOP_POINT_PIDS 8

typedef enum StopAction
{
	STOP_DISARMED,
	STOP_WAIT,
	STOP_HOLD,
	STOP_ERROR,
	STOP_CRASH
} StopAction;

typedef struct StopPoint
{
	char name[NAMEDATALEN];
	StopAction action;
	uint32 waiting;			  /* processes held now */
	uint32 passed;			  /* grows with each release */
	int pid[STOP_POINT_PIDS]; /* of those who came last */
	uint32 n_pids;
	ConditionVariable released;
} StopPoint;

typedef struct StopPoints
{
	slock_t lock; /* guards all of the points */
	pg_atomic_uint32 n_armed;
	StopPoint point[STOP_POINTS];
} StopPoints;

static StopPoints *points;

DLOG_FUNCTION(dlog_stop_point_arm);
DLOG_FUNCTION(dlog_stop_point_release);
DLOG_FUNCTION(dlog_stop_point_waiting);
DLOG_FUNCTION(dlog_stop_point_pids);

/* The caller holds the lock. */
static StopPoint *
point_find(const char *name)
{
	int i;

	for (i = 0; i < STOP_POINTS; i++)
		if (points->point[i].action != STOP_DISARMED &&
			strcmp(points->point[i].name, name) == 0)
			return &points->point[i];
	return NULL;
}

/* Where this process is held. */
static struct
{
	StopPoint *point;
	uint32 passed; /* what it was when we came */
	bool is_held;  /* is not to be interrupted */
} held;

static bool
is_released(void)
{
	bool is_released;

	SpinLockAcquire(&points->lock);
	is_released = held.point->passed != held.passed;
	SpinLockRelease(&points->lock);
	return is_released;
}

/* An error or the end of the process takes it away from there. */
static void
stop_waiting(int code, Datum argument)
{
	SpinLockAcquire(&points->lock);
	if (held.point->passed == held.passed)
		held.point->waiting--;
	SpinLockRelease(&points->lock);
}

/*
 * stop_point_reached
 *		Do what a test asked for at this place, if it did.
 */
void
stop_point_reached(const char *name)
{
	StopPoint *point;
	StopAction action = STOP_DISARMED;
	uint32 passed = 0;

	if (points == NULL || pg_atomic_read_u32(&points->n_armed) == 0)
		return;
	SpinLockAcquire(&points->lock);
	point = point_find(name);
	if (point != NULL)
	{
		action = point->action;
		passed = point->passed;
		if (action == STOP_WAIT || action == STOP_HOLD)
		{
			point->waiting++;
			point->pid[point->n_pids++ % STOP_POINT_PIDS] = MyProcPid;
		}
	}
	SpinLockRelease(&points->lock);

	if (action == STOP_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("stop point \"%s\"", name)));
	if (action == STOP_CRASH)
		abort();
	if (action != STOP_WAIT && action != STOP_HOLD)
		return;

	held.point = point;
	held.passed = passed;
	held.is_held = action == STOP_HOLD;
	if (held.is_held)
		HOLD_INTERRUPTS();
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	{
		ConditionVariablePrepareToSleep(&point->released);
		while (!is_released())
			ConditionVariableSleep(&point->released, PG_WAIT_EXTENSION);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	ConditionVariableCancelSleep();

	/* The latch may have been set for what this process waits for next. */
	SetLatch(MyLatch);
	if (held.is_held)
		RESUME_INTERRUPTS();
}

Datum
dlog_stop_point_arm(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *word = text_to_cstring(PG_GETARG_TEXT_PP(1));
	StopAction action;
	StopPoint *point;
	int i;

	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("name of stop point is too long")));
	if (strcmp(word, "wait") == 0)
		action = STOP_WAIT;
	else if (strcmp(word, "hold") == 0)
		action = STOP_HOLD;
	else if (strcmp(word, "error") == 0)
		action = STOP_ERROR;
	else if (strcmp(word, "crash") == 0)
		action = STOP_CRASH;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized action of a stop point: \"%s\"", word)));

	SpinLockAcquire(&points->lock);
	point = point_find(name);
	for (i = 0; point == NULL && i < STOP_POINTS; i++)
	{
		if (points->point[i].action == STOP_DISARMED && points->point[i].waiting == 0)
		{
			point = &points->point[i];
			strlcpy(point->name, name, NAMEDATALEN);
			point->n_pids = 0;
			pg_atomic_fetch_add_u32(&points->n_armed, 1);
		}
	}
	if (point != NULL)
		point->action = action;
	SpinLockRelease(&points->lock);
	if (point == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many stop points are armed")));
	PG_RETURN_VOID();
}

/* Disarms the point and lets go whoever is held there. */
Datum
dlog_stop_point_release(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StopPoint *point;
	uint32 released = 0;

	SpinLockAcquire(&points->lock);
	point = point_find(name);
	if (point != NULL)
	{
		point->action = STOP_DISARMED;
		point->passed++;
		released = point->waiting;
		point->waiting = 0;
		pg_atomic_fetch_sub_u32(&points->n_armed, 1);
	}
	SpinLockRelease(&points->lock);
	if (point != NULL)
		ConditionVariableBroadcast(&point->released);
	PG_RETURN_INT32(released);
}

Datum
dlog_stop_point_waiting(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StopPoint *point;
	uint32 waiting = 0;

	SpinLockAcquire(&points->lock);
	point = point_find(name);
	if (point != NULL)
		waiting = point->waiting;
	SpinLockRelease(&points->lock);
	PG_RETURN_INT32(waiting);
}

/* The last processes that have come there since it was armed. */
Datum
dlog_stop_point_pids(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StopPoint *point;
	Datum pids[STOP_POINT_PIDS];
	int n = 0;

	SpinLockAcquire(&points->lock);
	point = point_find(name);
	for (; point != NULL && n < Min(point->n_pids, STOP_POINT_PIDS); n++)
		pids[n] = Int32GetDatum(point->pid[n]);
	SpinLockRelease(&points->lock);
	PG_RETURN_ARRAYTYPE_P(construct_array(pids, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

Size
stop_point_shmem_size(void)
{
	return sizeof(StopPoints);
}

void
stop_point_shmem_init(void)
{
	bool found;
	int i;

	points = ShmemInitStruct("dlog stop points", sizeof(StopPoints), &found);
	if (found)
		return;
	memset(points, 0, sizeof(StopPoints));
	SpinLockInit(&points->lock);
	pg_atomic_init_u32(&points->n_armed, 0);
	for (i = 0; i < STOP_POINTS; i++)
		ConditionVariableInit(&points->point[i].released);
}

#endif
