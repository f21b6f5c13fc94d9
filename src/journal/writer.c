/*
 * writer.c
 *		Many rows into one table.
 *
 * What a batch writes are rows of few tables and many of each, so they are
 * gathered and put into pages together.  Nothing is checked and no trigger
 * fires: the tables are dlog's own.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/pg_compat.h"
#include "journal/journal_internal.h"

#define ROWS 128
#define ROW_BYTES (256 * 1024)

struct RowWriter
{
	Relation relation;
	ResultRelInfo *info;
	EState *estate;
	bool takes_runs;	   /* do all of its indexes? */
	MemoryContext context; /* of the writer */
	MemoryContext values;  /* of rows that wait */
	int n;
	TupleTableSlot *slots[ROWS];
	ItemPointer tids[ROWS];
};

RowWriter *
writer_open(Oid relation)
{
	MemoryContext context = AllocSetContextCreate(CurTransactionContext, "dlog writer", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RowWriter *writer = palloc0(sizeof(RowWriter));

	writer->context = context;
	writer->values = AllocSetContextCreate(context, "dlog rows", ALLOCSET_DEFAULT_SIZES);
	writer->relation = table_open(relation, RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, writer->relation, 0, NULL, 0);
	ExecOpenIndices(writer->info, false);
	writer->takes_runs = !page_changes_are_checked();
	for (int i = 0; i < writer->info->ri_NumIndices; i++)
		writer->takes_runs = writer->takes_runs && index_takes_runs(writer->info->ri_IndexRelationDescs[i],
																	writer->info->ri_IndexRelationInfo[i]);
	MemoryContextSwitchTo(old);
	return writer;
}

Oid
writer_relation(const RowWriter *writer)
{
	return RelationGetRelid(writer->relation);
}

MemoryContext
writer_context(RowWriter *writer)
{
	return writer->values;
}

TupleTableSlot *
writer_next(RowWriter *writer)
{
	TupleTableSlot **slot = &writer->slots[writer->n];

	if (*slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		*slot = table_slot_create(writer->relation, NULL);
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(*slot);
	memset((*slot)->tts_isnull, false, (*slot)->tts_tupleDescriptor->natts);
	return *slot;
}

/* Rows that are in the table get into its indexes. */
static void
insert_entries(RowWriter *writer)
{
	ResultRelInfo *info = writer->info;

	if (info->ri_NumIndices == 0)
		return;
	if (writer->takes_runs)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->values);

		for (int i = 0; i < info->ri_NumIndices; i++)
			index_insert_rows(info->ri_IndexRelationDescs[i], writer->relation, info->ri_IndexRelationInfo[i],
							  writer->estate, writer->slots, writer->n);
		MemoryContextSwitchTo(old);
		return;
	}
	for (int i = 0; i < writer->n; i++)
	{
		(void) exec_insert_index_tuples(info, writer->slots[i], writer->estate);
		ResetPerTupleExprContext(writer->estate);
	}
}

/* At commit no snapshot is active any more, and long values need one. */
static void
flush(RowWriter *writer)
{
	bool is_without_snapshot = !ActiveSnapshotSet();

	if (writer->n == 0)
		return;
	if (is_without_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	table_multi_insert(writer->relation, writer->slots, writer->n, GetCurrentCommandId(true), 0, NULL);
	insert_entries(writer);
	for (int i = 0; i < writer->n; i++)
	{
		if (writer->tids[i] != NULL)
			*writer->tids[i] = writer->slots[i]->tts_tid;
		ExecClearTuple(writer->slots[i]);
	}
	if (is_without_snapshot)
		PopActiveSnapshot();
	writer->n = 0;
	MemoryContextReset(writer->values);
}

void
writer_put(RowWriter *writer, ItemPointer tid)
{
	ExecStoreVirtualTuple(writer->slots[writer->n]);
	writer->tids[writer->n++] = tid;
	if (writer->n == ROWS || MemoryContextMemAllocated(writer->values, false) > ROW_BYTES)
		flush(writer);
}

void
writer_close(RowWriter *writer)
{
	flush(writer);
	for (int i = 0; i < ROWS && writer->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->info);
	FreeExecutorState(writer->estate);
	table_close(writer->relation, NoLock);
	MemoryContextDelete(writer->context);
}
