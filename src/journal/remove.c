/*
 * remove.c
 *		What a batch has handled leaves the mailbox.
 *
 * Rows that were sent together lie together and are mostly handled together,
 * so they are deleted page by page: one lock and one record of the log for
 * all of a page, where heap_delete() would take as many as there are rows.
 * A row that is special in any way (its page is marked as all visible, somebody
 * has locked it, a part of it is out of line) is left to the server's own
 * function, and so is one that is alone.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/pg_compat.h"
#include "journal/journal_internal.h"

/* With so many rows on a page it is worth it. */
#define ROWS_OF_PAGE 2

/* What a deletion changes of a row's head. */
#define CHANGED_FROM offsetof(HeapTupleHeaderData, t_choice.t_heap.t_xmax)
#define CHANGED_TO offsetof(HeapTupleHeaderData, t_hoff)

/* A row that is to go: its number and its place. */
typedef struct Removal
{
	int64 id;
	ItemPointerData tid;
} Removal;

static Removal *removals; /* of this batch */
static int n_removals = 0;
static int max_removals = 0;

/*
 * mailbox_remove
 *		The message of this row has been handled in this transaction.
 */
void
mailbox_remove(const DurableMail *mail)
{
	if (n_removals == max_removals)
	{
		int n = max_removals == 0 ? 1024 : 2 * max_removals;
		Removal *more = removals == NULL ?
							MemoryContextAllocHuge(TopMemoryContext, n * sizeof(Removal)) :
							repalloc_huge(removals, n * sizeof(Removal));

		removals = more;
		max_removals = n;
	}
	removals[n_removals].id = mail->id;
	removals[n_removals++].tid = mail->tid;
}

/* The batch was rolled back. */
void
mailbox_forget(void)
{
	n_removals = 0;
}

static int
compare_removals(const void *a, const void *b)
{
	return ItemPointerCompare(unconstify(ItemPointerData *, &((const Removal *) a)->tid),
							  unconstify(ItemPointerData *, &((const Removal *) b)->tid));
}

static void
refuse_missing(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a message of a durable actor is not in table dlog.mailbox any more"),
			 errdetail("Its row was deleted or moved by somebody else than dlog."),
			 errhint("A restart of the server delivers again what is in the table.")));
}

/* The row at its place on a page that is locked; ERROR unless it is that one. */
static HeapTupleHeader
row_of(const Removal *removal, Page page, ItemId *item)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(&removal->tid);
	HeapTupleHeader row;
	int64 id;

	if (offset > PageGetMaxOffsetNumber(page) || !ItemIdIsNormal(*item = PageGetItemId(page, offset)))
		refuse_missing();
	row = (HeapTupleHeader) PageGetItem(page, *item);

	/* The number is the first column. */
	memcpy(&id, (char *) row + row->t_hoff, sizeof(int64));
	if (id != removal->id)
		refuse_missing();
	return row;
}

/* Is there nothing to it but that it is to go? */
static bool
is_plain(Relation relation, const Removal *removal, Buffer buffer, CommandId cid)
{
	Page page = BufferGetPage(buffer);
	ItemId item;
	HeapTupleData tuple;

	tuple.t_data = row_of(removal, page, &item);
	tuple.t_len = ItemIdGetLength(item);
	tuple.t_self = removal->tid;
	tuple.t_tableOid = RelationGetRelid(relation);
	if (HeapTupleSatisfiesUpdate(&tuple, cid, buffer) != TM_Ok || PageIsAllVisible(page) ||
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmin(tuple.t_data)))
		return false;
	CheckForSerializableConflictIn(relation, &tuple.t_self, BufferGetBlockNumber(buffer));
	return (tuple.t_data->t_infomask & HEAP_XMAX_INVALID) != 0 && !HeapTupleHasExternal(&tuple);
}

/* What heap_delete() does to a row of another transaction. */
static void
mark_deleted(HeapTupleHeader row, const Removal *removal, TransactionId xid, CommandId cid)
{
	row->t_infomask &= ~(HEAP_XMAX_BITS | HEAP_MOVED);
	row->t_infomask2 &= ~HEAP_KEYS_UPDATED;
	row->t_infomask2 |= HEAP_KEYS_UPDATED;
	HeapTupleHeaderClearHotUpdated(row);
	HeapTupleHeaderSetXmax(row, xid);
	HeapTupleHeaderSetCmax(row, cid, false);
	row->t_ctid = removal->tid;
}

static void
remove_plain(Relation relation, Buffer buffer, const Removal *first, int n, const bool *plain, CommandId cid)
{
	TransactionId xid = GetCurrentTransactionIdIfAny();
	Page page = BufferGetPage(buffer);
	PageHeader head = (PageHeader) page;
	PageChange change;

	page_change_begin(&change, buffer);
	START_CRIT_SECTION();
	for (int i = 0; i < n; i++)
	{
		HeapTupleHeader row;

		if (!plain[i])
			continue;
		row = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, ItemPointerGetOffsetNumber(&first[i].tid)));
		mark_deleted(row, &first[i], xid, cid);
		page_changed(&change, (char *) row + CHANGED_FROM, CHANGED_TO - CHANGED_FROM);
	}
	PageSetPrunable(page, xid);
	page_changed(&change, &head->pd_prune_xid, sizeof(head->pd_prune_xid));
	page_change_log(&change, relation);
	END_CRIT_SECTION();
}

/* Rows of one page. */
static void
remove_from_page(Relation relation, const Removal *first, int n, CommandId cid)
{
	Buffer buffer = ReadBuffer(relation, ItemPointerGetBlockNumber(&first->tid));
	bool is_worth_it = n >= ROWS_OF_PAGE && !page_changes_are_checked();
	bool plain[MaxHeapTuplesPerPage];
	int n_plain = 0;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	for (int i = 0; i < n; i++)
		n_plain += (plain[i] = is_plain(relation, &first[i], buffer, cid) && is_worth_it);
	if (n_plain > 0)
		remove_plain(relation, buffer, first, n, plain, cid);
	UnlockReleaseBuffer(buffer);
	for (int i = 0; i < n_plain; i++)
		pgstat_count_heap_delete(relation);

	for (int i = 0; i < n && n_plain < n; i++)
	{
		ItemPointerData tid = first[i].tid;
		TM_FailureData failure;

		if (!plain[i] && table_tuple_delete(relation, &tid, cid, InvalidSnapshot, InvalidSnapshot, true,
											&failure, false) != TM_Ok)
			refuse_missing();
	}
}

/* How many of them, from the first on, are of its page. */
static int
rows_of_page(const Removal *first, int n)
{
	int same = 1;

	while (same < n && same < MaxHeapTuplesPerPage &&
		   ItemPointerGetBlockNumber(&first[same].tid) == ItemPointerGetBlockNumber(&first->tid))
		same++;
	return same;
}

/*
 * mailbox_flush
 *		The batch is about to commit.
 */
void
mailbox_flush(void)
{
	Relation relation;
	CommandId cid;
	int n;

	if (n_removals == 0)
		return;
	relation = table_open(journal_table(TABLE_MAILBOX), RowExclusiveLock);
	cid = GetCurrentCommandId(true);
	(void) GetCurrentTransactionId(); /* not while a page is locked */
	qsort(removals, n_removals, sizeof(Removal), compare_removals);
	if (ItemPointerGetBlockNumber(&removals[n_removals - 1].tid) >= RelationGetNumberOfBlocks(relation))
		refuse_missing();
	for (int i = 0; i < n_removals; i += n)
	{
		n = rows_of_page(&removals[i], n_removals - i);
		remove_from_page(relation, &removals[i], n, cid);
	}
	table_close(relation, NoLock);
	n_removals = 0;
}
