/*
 * blackbox.c
 *		What schedulers were at when the server crashed.
 *
 * Before a scheduler lets a durable actor handle a message, or loads one, it
 * writes down which; that is two stores into a file that is mapped into
 * memory.  Shared memory is made anew after a crash, but the file is still
 * there.  So who was at work in a process that died by a signal is known when
 * the server has started again, and its crashes can be counted in its row: a
 * message that crashes the server again and again is put into quarantine, an
 * actor that does so while it is loaded is suspended.
 *
 * Processes that quit because another one has crashed, or since the server is
 * to stop at once, take back what they wrote.  A crash of the machine may lose
 * a mark, so the file is never flushed.  Base backups leave it out, since it
 * is in the directory of statistics.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "catalog/pg_type.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/shmem.h"

#include "base/arena.h"
#include "journal/journal_internal.h"

#define BLACKBOX_FILE PG_STAT_TMP_DIR "/dlog_at_work"

/* What a process is at; zero: nothing. */
typedef struct AtWork
{
	volatile int64 actor;
	volatile int64 message; /* number of its row in the mailbox; 0: it is loaded, or its init runs */
	volatile Oid database;
} AtWork;

/* Mapped in the postmaster, and so in each of its children; NULL: it could not be. */
static AtWork *at_work;

/* What was found there at the start; the schedulers of its database zero it. */
static AtWork *found_at_start;

static int
n_processes(void)
{
	return (int) arena_owner_count();
}

/* ------------------------------------------------------------- the present */

/* Another process has crashed: it was not our message. */
static void
quit(SIGNAL_ARGS)
{
	at_work[process_slot()].actor = 0;
	SignalHandlerForCrashExit(postgres_signal_arg);
}

/*
 * blackbox_begin, blackbox_end
 *		A durable actor is about to handle a message, or to be loaded if that
 *		is 0; it is through with it.  In a scheduler.
 */
void
blackbox_begin(int64 actor, int64 message)
{
	static bool takes_back = false;
	AtWork *mine;

	if (at_work == NULL)
		return;
	if (!takes_back)
		pqsignal(SIGQUIT, quit);
	takes_back = true;
	mine = &at_work[process_slot()];
	mine->database = MyDatabaseId;
	mine->message = message;
	mine->actor = actor;
}

void
blackbox_end(void)
{
	if (at_work != NULL)
		at_work[process_slot()].actor = 0;
}

/* --------------------------------------------------------------- the past */

static void
count_crash(int64 actor, int64 message)
{
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(message != 0 ? message : actor)};

	(void) statement_run_typed(message != 0 ? "UPDATE dlog.mailbox SET crashes = COALESCE(crashes, 0::pg_catalog.int2) OPERATOR(pg_catalog.+) 1::pg_catalog.int2"
											  " WHERE id OPERATOR(pg_catalog.=) $1" :
											  "UPDATE dlog.durable_actor SET crashes = crashes OPERATOR(pg_catalog.+) 1::pg_catalog.int2"
											  " WHERE id OPERATOR(pg_catalog.=) $1",
							   1, types, values, NULL);
	ereport(LOG,
			(message != 0 ? errmsg("the server has crashed while durable actor " INT64_FORMAT " handled message " INT64_FORMAT, actor, message) :
							errmsg("the server has crashed while durable actor " INT64_FORMAT " was loaded", actor)));
}

/*
 * blackbox_has_marks
 *		Was something of this database at work when the server crashed, that
 *		is not counted yet?
 */
bool
blackbox_has_marks(void)
{
	for (int i = 0; i < n_processes(); i++)
		if (found_at_start[i].actor != 0 && found_at_start[i].database == MyDatabaseId)
			return true;
	return false;
}

/*
 * blackbox_count
 *		Count these crashes.  In a transaction, before mail is delivered; once
 *		it has committed, blackbox_forget().
 */
void
blackbox_count(void)
{
	StatementScope scope;

	statement_open(&scope);
	for (int i = 0; i < n_processes(); i++)
		if (found_at_start[i].actor != 0 && found_at_start[i].database == MyDatabaseId)
			count_crash(found_at_start[i].actor, found_at_start[i].message);
	statement_close(&scope);
}

void
blackbox_forget(void)
{
	for (int i = 0; i < n_processes(); i++)
		if (found_at_start[i].database == MyDatabaseId)
			found_at_start[i].actor = 0;
}

/* ---------------------------------------------------------- shared memory */

static Size
file_size(void)
{
	return sizeof(AtWork) * n_processes();
}

/* In the postmaster, once in its life; without it crashes are not counted. */
static AtWork *
map_file(void)
{
	int fd = BasicOpenFile(BLACKBOX_FILE, O_RDWR | O_CREAT | PG_BINARY);
	void *map = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, file_size()) == 0)
		map = mmap(NULL, file_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not map file \"%s\": %m", BLACKBOX_FILE),
				 errdetail("Messages that crash the server will not be found out.")));
	if (fd >= 0)
		close(fd);
	return map == MAP_FAILED ? NULL : map;
}

Size
blackbox_shmem_size(void)
{
	return file_size();
}

void
blackbox_shmem_init(void)
{
	bool found;

	found_at_start = ShmemInitStruct("dlog found at work", file_size(), &found);
	if (found)
		return;
	memset(found_at_start, 0, file_size());
	if (at_work == NULL)
		at_work = map_file();
	if (at_work == NULL)
		return;
	memcpy(found_at_start, at_work, file_size());
	memset(at_work, 0, file_size());
}
