/*
 * own.c
 *		This node's own part of an answer, made in the asking session.
 *
 * It is interrupted by a timer of the server's, as statement_timeout does it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "deploy/deploy_internal.h"
#include "transport/transport.h"

/*
 * The timer of our own part.  An own part may itself deploy, so there can be
 * several; the innermost is armed with the earliest deadline of all.
 */
typedef struct OwnDeadline
{
	struct OwnDeadline *outer;
	TimestampTz deadline;
} OwnDeadline;

static OwnDeadline *own_deadline;
static TimeoutId own_timeout;
static volatile sig_atomic_t own_time_is_over;

static void
own_time_over(void)
{
	/* A cancel that is already under way is the user's, and stays so. */
	if (!QueryCancelPending)
	{
		own_time_is_over = true;
		QueryCancelPending = true;
		InterruptPending = true;
		SetLatch(MyLatch);
	}
}

static void
own_deadline_begin(OwnDeadline *own, TimestampTz deadline)
{
	static bool is_registered = false;

	if (!is_registered)
	{
		own_timeout = RegisterTimeout(USER_TIMEOUT, own_time_over);
		is_registered = true;
	}
	own->outer = own_deadline;
	own->deadline = own_deadline ? Min(deadline, own_deadline->deadline) : deadline;
	if (own_deadline == NULL)
		own_time_is_over = false;
	own_deadline = own;
	if (own->deadline != DT_NOEND)
		enable_timeout_at(own_timeout, own->deadline);
}

/*
 * own_deadline_end
 *		Go back to the outer deadline; if that has passed as well, its timer
 *		goes off at once.
 *
 * Returns whether time was up; then the cancel was ours.
 */
static bool
own_deadline_end(OwnDeadline *own)
{
	bool is_over;

	if (own->deadline != DT_NOEND)
		disable_timeout(own_timeout, false);
	is_over = own_time_is_over;
	own_time_is_over = false;
	if (is_over)
		QueryCancelPending = false;

	own_deadline = own->outer;
	if (own_deadline && own_deadline->deadline != DT_NOEND)
		enable_timeout_at(own_timeout, own_deadline->deadline);
	return is_over;
}

/*
 * own_answer
 *		Our own answer, made in a subtransaction, so that a failure undoes only
 *		that.  Returns the error, or NULL; both are in "context".
 *
 * What cancels the asking statement is no answer and goes on.
 */
ErrorData *
own_answer(const Question *question, TimestampTz deadline, MemoryContext answer_context,
		   Answer *answer)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	volatile bool is_armed = true;
	volatile bool time_was_up = false;
	OwnDeadline own;

	BeginInternalSubTransaction(NULL);
	own_deadline_begin(&own, deadline);
	PG_TRY();
	{
		MemoryContextSwitchTo(answer_context);
		answer_query(question, answer);
		time_was_up = own_deadline_end(&own);
		is_armed = false;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		if (is_armed)
			time_was_up = own_deadline_end(&own);
		MemoryContextSwitchTo(answer_context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		if (!time_was_up || deadline > GetCurrentTimestamp())
			ReThrowError(error);
		return timeout_error(question, node_this_name());
	}
	return error;
}
