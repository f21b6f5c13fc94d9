/*
 * view.c
 *		What a statement sees of the rows on other nodes.
 *
 * A statement sees rows as they were when it began, and not what it changes
 * itself.  On another node it is several requests, each of which would see
 * what those before it have written: a subquery of an UPDATE the rows that
 * are updated already, a nested loop a row that it has changed before.
 *
 * So the requests that run in a transaction's session say which statement of
 * the asking session they belong to, and the session keeps the snapshot that
 * the first of them took, the *view*, for the reads of all of them.  Writes
 * see what there is.  A row that the statement has changed already is not
 * locked again by its reads: to the server it was changed after they began.
 *
 * Statements of one session that see by the same snapshot, a function's that is
 * not volatile and its caller's, have one number.  It is given when a scan begins,
 * and each request names all that are at work: so a cursor that has not asked yet
 * has its view before its transaction writes, and so has a statement before a
 * volatile function in it does.
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "nodes/execnodes.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "remote/remote_internal.h"

#define STATEMENTS_MAX 64

/* --- the asking session ----------------------------------------------------- */

static dlist_head running = DLIST_STATIC_INIT(running); /* by number */

static void
statement_ended(void *argument)
{
	dlist_delete(&((RemoteStatement *) argument)->link);
}

static RemoteStatement *
statement_find(Snapshot snapshot)
{
	dlist_iter iter;

	dlist_foreach(iter, &running)
	{
		RemoteStatement *statement = dlist_container(RemoteStatement, link, iter.cur);

		if (statement->snapshot == snapshot)
			return statement;
	}
	return NULL;
}

/*
 * remote_statement_begin
 *		A statement begins that may ask other nodes.
 *
 * "statement" is in the executor's memory, with which it ends, whatever ends it.
 */
void
remote_statement_begin(RemoteStatement *statement, struct EState *estate)
{
	static uint64 last_number = 0;

	if (estate->es_snapshot == InvalidSnapshot || statement_find(estate->es_snapshot) != NULL)
		return;
	statement->snapshot = estate->es_snapshot;
	statement->number = ++last_number;
	dlist_push_tail(&running, &statement->link);
	statement->on_end.func = statement_ended;
	statement->on_end.arg = statement;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &statement->on_end);
}

/*
 * view_number
 *		The number of the statement that an executor is at; 0: it has no snapshot.
 */
uint64
view_number(struct EState *estate)
{
	if (estate == NULL || estate->es_snapshot == InvalidSnapshot)
		return 0;
	if (statement_find(estate->es_snapshot) == NULL)
		remote_statement_begin(MemoryContextAlloc(estate->es_query_cxt, sizeof(RemoteStatement)),
							   estate);
	return statement_find(estate->es_snapshot)->number;
}

/*
 * view_statements
 *		The numbers of the statements that may still ask, to be sent.
 *
 * Of a recursion that is deeper than what fits, the innermost.
 */
WireBytes
view_statements(void)
{
	static uint64 numbers[STATEMENTS_MAX];
	int n = 0;
	dlist_iter iter;

	dlist_reverse_foreach(iter, &running)
	{
		if (n < STATEMENTS_MAX)
			numbers[n++] = pg_hton64(dlist_container(RemoteStatement, link, iter.cur)->number);
	}
	return (WireBytes){n * sizeof(uint64), (const char *) numbers};
}

/* --- the session there --------------------------------------------------------- */

typedef struct View
{
	uint64 number;
	Snapshot snapshot;
} View;

static View *
view_find(List *views, uint64 number)
{
	ListCell *cell;

	foreach(cell, views)
	{
		View *view = lfirst(cell);

		if (view->number == number)
			return view;
	}
	return NULL;
}

static void
view_end(View *view)
{
	UnregisterSnapshotFromOwner(view->snapshot, TopTransactionResourceOwner);
	pfree(view);
}

static bool
is_among(const uint64 *numbers, int n, uint64 number)
{
	for (int i = 0; i < n; i++)
	{
		if (numbers[i] == number)
			return true;
	}
	return false;
}

/* A statement is heard of first: it sees what there is now. */
static void
view_begin(List **views, uint64 number)
{
	View *view = palloc(sizeof(View));

	view->number = number;
	/* Pushed, it is a copy, which commands to come leave as it is. */
	PushActiveSnapshot(GetTransactionSnapshot());
	view->snapshot = RegisterSnapshotOnOwner(GetActiveSnapshot(), TopTransactionResourceOwner);
	PopActiveSnapshot();
	*views = lappend(*views, view);
}

/*
 * views_take
 *		The snapshot that a statement reads by; invalid if it has no number.
 *
 * "views" is the session's list of them, in the current memory context.
 * Afterwards it has one of each of the asker's statements, and no others.
 */
Snapshot
views_take(List **views, uint64 number, WireBytes statements)
{
	uint64 numbers[STATEMENTS_MAX];
	int n = Min(statements.size / sizeof(uint64), STATEMENTS_MAX);
	View *view;
	ListCell *cell;

	memcpy(numbers, statements.data, n * sizeof(uint64));
	for (int i = 0; i < n; i++)
		numbers[i] = pg_ntoh64(numbers[i]);
	foreach(cell, *views)
	{
		if (is_among(numbers, n, ((View *) lfirst(cell))->number))
			continue;
		view_end(lfirst(cell));
		*views = foreach_delete_current(*views, cell);
	}
	for (int i = 0; i < n; i++)
	{
		if (view_find(*views, numbers[i]) == NULL)
			view_begin(views, numbers[i]);
	}
	view = view_find(*views, number);
	return view != NULL ? view->snapshot : InvalidSnapshot;
}

/*
 * views_end
 *		The transaction ends.  If it was aborted, it has given them back.
 */
void
views_end(List **views, bool is_aborted)
{
	ListCell *cell;

	foreach(cell, *views)
	{
		if (is_aborted)
			pfree(lfirst(cell));
		else
			view_end(lfirst(cell));
	}
	list_free(*views);
	*views = NIL;
}
