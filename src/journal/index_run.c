/*
 * index_run.c
 *		Many entries of an index at a time.
 *
 * An actor handles many messages in its turn, so what a batch adds to a
 * journal are *runs* of rows that follow each other in the index (actor, seq).
 * The server inserts one entry after the other: a descent from the root, a
 * lock and a record of the log for each.  A run that belongs to one place of a
 * leaf gets there by one of each.
 *
 * Nothing else is special: a leaf is found, locked and searched by the
 * server's own functions, and an entry that it has no room for, or that comes
 * alone, is left to btinsert(), which removes what is dead, and splits pages.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/datum.h"
#include "utils/rel.h"

#include "base/pg_compat.h"
#include "journal/journal_internal.h"

/* With so many entries it is likely worth to look. */
#define ENTRIES_OF_RUN 4

/* What is to be inserted, and the entry at hand. */
typedef struct IndexRun
{
	Relation relation; /* the index */
	Relation table;
	IndexInfo *info;
	EState *estate;
	TupleTableSlot **slots;
	int n;
	BTScanInsert key; /* of the entry at hand; NULL: there was none yet */
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];
	bool any_null;
	IndexTuple *entries; /* of a run that is gathered; room for n */
} IndexRun;

/*
 * index_takes_runs
 *		Is it one that entries are added to in this way?
 *
 * Its columns have all a length of their own, so that no entry is too large.
 */
bool
index_takes_runs(Relation relation, const IndexInfo *info)
{
	TupleDesc columns = RelationGetDescr(relation);

	for (int i = 0; i < columns->natts; i++)
		if (TupleDescAttr(columns, i)->attlen < 0)
			return false;
	return relation->rd_rel->relam == BTREE_AM_OID && info->ii_ReadyForInserts && !info->ii_Unique &&
		   info->ii_ExclusionOps == NULL && info->ii_Expressions == NIL && info->ii_Predicate == NIL;
}

/* The entry of this row is at hand now. */
static IndexTuple
take_entry(IndexRun *run, int row)
{
	IndexTuple entry;
	int n_keys = IndexRelationGetNumberOfKeyAttributes(run->relation);

	FormIndexDatum(run->info, run->slots[row], run->estate, run->values, run->nulls);
	entry = index_form_tuple(RelationGetDescr(run->relation), run->values, run->nulls);
	entry->t_tid = run->slots[row]->tts_tid;
	run->any_null = false;
	for (int i = 0; i < n_keys; i++)
		run->any_null = run->any_null || run->nulls[i];
	if (run->any_null)
		return entry;
	if (run->key == NULL)
		run->key = _bt_mkscankey(run->relation, entry);
	for (int i = 0; i < n_keys; i++)
		run->key->scankeys[i].sk_argument = run->values[i];
	run->key->scantid = &run->slots[row]->tts_tid;
	return entry;
}

/* Does the entry at hand follow this one? */
static bool
is_after(IndexRun *run, IndexTuple entry)
{
	for (int i = 0; i < run->key->keysz; i++)
	{
		ScanKey key = &run->key->scankeys[i];
		bool is_null;
		Datum datum = index_getattr(entry, i + 1, RelationGetDescr(run->relation), &is_null);
		int result = DatumGetInt32(FunctionCall2Coll(&key->sk_func, key->sk_collation, datum, key->sk_argument));

		if (result != 0)
			return (key->sk_flags & SK_BT_DESC) ? result > 0 : result < 0;
	}
	return ItemPointerCompare(&entry->t_tid, run->key->scantid) < 0;
}

/* Is the entry at hand before the one that has this place on a leaf, if any, and of this leaf? */
static bool
is_before(IndexRun *run, Page leaf, OffsetNumber place)
{
	if (place <= PageGetMaxOffsetNumber(leaf))
		return _bt_compare(run->relation, run->key, leaf, place) < 0;
	return P_RIGHTMOST(BTPageGetOpaque(leaf)) || _bt_compare(run->relation, run->key, leaf, P_HIKEY) <= 0;
}

/*
 * The entries of rows, the first of which is at hand and belongs to this
 * place of a leaf, as many as belong there, too, and have room.
 */
static int
gather_run(IndexRun *run, int first, IndexTuple entry, Page leaf, OffsetNumber place)
{
	Size room = PageGetExactFreeSpace(leaf);
	int count = 0;

	while (room >= MAXALIGN(IndexTupleSize(entry)) + sizeof(ItemIdData))
	{
		room -= MAXALIGN(IndexTupleSize(entry)) + sizeof(ItemIdData);
		run->entries[count++] = entry;
		if (first + count == run->n)
			break;
		entry = take_entry(run, first + count);
		if (run->any_null || !is_after(run, run->entries[count - 1]) || !is_before(run, leaf, place))
			break;
	}
	return count;
}

/* Put the entries that have been gathered in front of the one that has this place. */
static void
add_run(IndexRun *run, int count, Buffer buffer, OffsetNumber place)
{
	Page leaf = BufferGetPage(buffer);
	PageHeader head = (PageHeader) leaf;
	LocationIndex upper = head->pd_upper;
	PageChange change;

	page_change_begin(&change, buffer);
	START_CRIT_SECTION();
	for (int i = 0; i < count; i++)
		if (PageAddItem(leaf, (Item) run->entries[i], MAXALIGN(IndexTupleSize(run->entries[i])), place + i, false,
						false) == InvalidOffsetNumber)
			elog(PANIC, "could not add an entry to index \"%s\"", RelationGetRelationName(run->relation));
	page_changed(&change, &head->pd_flags, offsetof(PageHeaderData, pd_special) - offsetof(PageHeaderData, pd_flags));
	page_changed(&change, PageGetItemId(leaf, place), leaf + head->pd_lower - (char *) PageGetItemId(leaf, place));
	page_changed(&change, leaf + head->pd_upper, upper - head->pd_upper);
	page_change_log(&change, run->relation);
	END_CRIT_SECTION();
}

/* Insert a run that begins with this row; of how many rows, or 0: it is not for us. */
static int
insert_run(IndexRun *run, int first)
{
	IndexTuple entry = take_entry(run, first);
	BTInsertStateData insertion = {.itup = entry, .itemsz = MAXALIGN(IndexTupleSize(entry))};
	OffsetNumber place;
	BTStack stack;
	int count = 0;

	if (run->any_null || !run->key->heapkeyspace)
		return 0;
	insertion.itup_key = run->key;
	stack = bt_search_to_insert(run->relation, run->table, run->key, &insertion.buf);
	if (stack != NULL)
		_bt_freestack(stack);
	CheckForSerializableConflictIn(run->relation, NULL, BufferGetBlockNumber(insertion.buf));
	place = _bt_binsrch_insert(run->relation, &insertion);

	/* Or else it splits an entry that is there already, a list of places of one key. */
	if (insertion.postingoff == 0)
		count = gather_run(run, first, entry, BufferGetPage(insertion.buf), place);
	if (count > 0)
		add_run(run, count, insertion.buf, place);
	_bt_relbuf(run->relation, insertion.buf);
	return count;
}

static void
insert_one(IndexRun *run, int row)
{
	FormIndexDatum(run->info, run->slots[row], run->estate, run->values, run->nulls);
	(void) index_insert(run->relation, run->values, run->nulls, &run->slots[row]->tts_tid, run->table,
						UNIQUE_CHECK_NO, false, run->info);
}

/* Are this row and those after it of one actor, so that they are likely a run? */
static bool
is_promising(IndexRun *run, int first)
{
	AttrNumber column = run->info->ii_IndexAttrNumbers[0];
	bool one_is_null;
	bool other_is_null;
	Datum one;
	Datum other;

	if (first + ENTRIES_OF_RUN > run->n || column <= 0)
		return false;
	one = slot_getattr(run->slots[first], column, &one_is_null);
	other = slot_getattr(run->slots[first + ENTRIES_OF_RUN - 1], column, &other_is_null);
	return !one_is_null && !other_is_null &&
		   datum_image_eq(one, other, TupleDescAttr(RelationGetDescr(run->table), column - 1)->attbyval,
						  TupleDescAttr(RelationGetDescr(run->table), column - 1)->attlen);
}

/*
 * index_insert_rows
 *		Entries of rows that are in the table, for an index that takes runs.
 *		Memory is the current context's.
 */
void
index_insert_rows(Relation relation, Relation table, IndexInfo *info, EState *estate, TupleTableSlot **slots, int n)
{
	IndexRun run = {
		.relation = relation,
		.table = table,
		.info = info,
		.estate = estate,
		.slots = slots,
		.n = n,
		.entries = palloc(sizeof(IndexTuple) * n),
	};
	int count;

	for (int i = 0; i < n; i += count)
	{
		count = is_promising(&run, i) ? insert_run(&run, i) : 0;
		if (count == 0)
		{
			insert_one(&run, i);
			count = 1;
		}
	}
}
