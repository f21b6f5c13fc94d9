/*
 * page_change.c
 *		What has changed on a page, as a generic record of the log.
 *
 * The record is what GenericXLogFinish() makes: for each *part* that has
 * changed its place on the page, its length and its bytes.  But who changes a
 * page knows which parts those are, and so is spared two copies of the page
 * and comparing them byte by byte, which costs more than all the rest.
 *
 * The caller holds the page's lock in exclusive mode and is in a critical
 * section from the first change on:
 *
 *		page_change_begin(&change, buffer);
 *		START_CRIT_SECTION();
 *		... change the page, page_changed() for each part ...
 *		page_change_log(&change);
 *		END_CRIT_SECTION();
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "journal/journal_internal.h"

/*
 * page_changes_are_checked
 *		Is each page compared with what such records make of it?
 *
 * Changes of a page that are never logged, such as hints, count as differences
 * then.  The server's own records tell those apart: they are to be used.
 */
bool
page_changes_are_checked(void)
{
	return wal_consistency_checking[RM_GENERIC_ID];
}

/* Its parts are large, and not cleared. */
void
page_change_begin(PageChange *change, Buffer buffer)
{
	change->buffer = buffer;
	change->size = 0;
}

/*
 * page_changed
 *		These bytes of the page are what they will be.
 */
void
page_changed(PageChange *change, const void *bytes, Size size)
{
	OffsetNumber head[2] = {(const char *) bytes - (const char *) BufferGetPage(change->buffer), size};

	Assert(CritSectionCount > 0);
	if (change->size + sizeof(head) + size > sizeof(change->parts))
		elog(PANIC, "too many changes of a page");
	memcpy(change->parts + change->size, head, sizeof(head));
	memcpy(change->parts + change->size + sizeof(head), bytes, size);
	change->size += sizeof(head) + size;
}

/*
 * page_change_log
 *		All changes are made.
 */
void
page_change_log(PageChange *change, Relation relation)
{
	XLogRecPtr lsn;

	MarkBufferDirty(change->buffer);
	if (!RelationNeedsWAL(relation))
		return;
	XLogBeginInsert();
	XLogRegisterBuffer(0, change->buffer, REGBUF_STANDARD);
	XLogRegisterBufData(0, change->parts, change->size);
	lsn = XLogInsert(RM_GENERIC_ID, 0);
	PageSetLSN(BufferGetPage(change->buffer), lsn);
}
