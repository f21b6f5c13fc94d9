/*
 * link.c
 *		The links as other processes see them: handing messages over, waiting
 *		for a link to come up, watching it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "transport/transport_internal.h"

/* Nesting of link_watch() in this process. */
static int watching;
static bool is_exit_registered;

static LinkEntry *
link_entry(uint32 node)
{
	if (node == THIS_NODE || node > transport_shared->max_nodes)
		elog(ERROR, "there is no link to node number %u", node);
	return &transport_shared->links[node];
}

/*
 * link_state
 *		What the link to a node is at.
 */
LinkState
link_state(uint32 node)
{
	if (node == THIS_NODE)
		return LINK_UP;
	return (LinkState) pg_atomic_read_u32(&link_entry(node)->state);
}

/*
 * link_epoch
 *		Counts the epochs of the link that have ended.
 */
uint32
link_epoch(uint32 node)
{
	if (node == THIS_NODE)
		return 0;
	return pg_atomic_read_u32(&link_entry(node)->epoch);
}

/*
 * link_send
 *		The runtime's gateway: hand a message for another node over.
 *
 * Messages for a link that is not up yet wait for it.  One for a link that
 * was lost is refused.  The epoch goes along, since the link may end while
 * the message is on its way to the network process.
 */
SendResult
link_send(ActorAddress to, Message *message)
{
	LinkEntry *link = link_entry(to.node);
	uint32 epoch = pg_atomic_read_u32(&link->epoch);
	LinkState state;

	pg_read_barrier();
	state = (LinkState) pg_atomic_read_u32(&link->state);
	if (state == LINK_DOWN || state == LINK_REFUSED)
	{
		message_free(message);
		return SEND_NODE_DOWN;
	}
	if ((message->flags & MESSAGE_CONTROL) == 0 &&
		pg_atomic_read_u64(&link->queued_bytes) > (uint64) dlog_shared_memory_size * 1024 * 1024 / 4)
	{
		message_free(message);
		return SEND_MAILBOX_FULL;
	}

	pg_atomic_fetch_add_u32(&link->queued, 1);
	pg_atomic_fetch_add_u64(&link->queued_bytes, message->size);
	message->to = to;
	message->from.node = epoch;
	process_network_send(message);
	return SEND_OK;
}

/* ------------------------------------------------------------- watching */

static void
set_watching(bool is_watching)
{
	uint32 bit = (uint32) 1 << (MyProcNumber % 32);
	pg_atomic_uint32 *word = &transport_watchers[MyProcNumber / 32];

	if (is_watching)
		pg_atomic_fetch_or_u32(word, bit);
	else
		pg_atomic_fetch_and_u32(word, ~bit);
	pg_memory_barrier();
}

static void
unwatch_at_exit(int code, Datum arg)
{
	set_watching(false);
}

/*
 * link_watch
 *		From now on a change of any link's state wakes this process.
 */
void
link_watch(void)
{
	runtime_require();
	if (!is_exit_registered)
	{
		before_shmem_exit(unwatch_at_exit, (Datum) 0);
		is_exit_registered = true;
	}
	if (watching++ == 0)
		set_watching(true);
}

void
link_unwatch(void)
{
	Assert(watching > 0);
	if (--watching == 0)
		set_watching(false);
}

/* ---------------------------------------------------------- waiting for it */

static void
report_unreachable(uint32 node, LinkState state, bool has_failed)
{
	NodeEntry entry;
	LinkTexts texts;
	const char *reason;

	if (!node_copy(node, &entry))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the node has been removed")));
	link_copy_texts(&transport_shared->links[node], &texts);
	reason = pg_atomic_read_u32(&transport_shared->network_pid) == 0 ? "this server's network process is not running" : texts.last_error;

	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not reach node \"%s\" at %s:%d", entry.name, entry.host, entry.port),
			 has_failed && reason[0] != '\0' ? errdetail("The last attempt failed: %s.", reason) : errdetail("There was no answer within dlog.connect_timeout (%d ms).", dlog_connect_timeout),
			 state == LINK_REFUSED ? errhint("See that both nodes list each other with their present keys, in the view dlog.nodes on each.") : errhint("See that the server there is running with dlog, and that the port can be reached from here.")));
}

/*
 * link_require
 *		Wait until the link to a node is up, making it if need be.
 *
 * ERROR 08006 once an attempt that began after we asked has failed, or after
 * dlog.connect_timeout.
 */
void
link_require(uint32 node)
{
	LinkEntry *link;
	TimestampTz deadline;
	uint32 failures;
	uint32 enough;

	runtime_require();
	if (node == THIS_NODE)
		return;
	link = link_entry(node);
	if (pg_atomic_read_u32(&link->state) == LINK_UP)
		return;

	link_watch();
	PG_TRY();
	{
		failures = pg_atomic_read_u32(&link->failures);
		/* An attempt that is under way may fail for a reason gone by now. */
		enough = pg_atomic_read_u32(&link->state) == LINK_CONNECTING ? 2 : 1;
		deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), dlog_connect_timeout);
		transport_nudge(node);

		while (pg_atomic_read_u32(&link->state) != LINK_UP)
		{
			uint32 failed = pg_atomic_read_u32(&link->failures) - failures;
			LinkState state = (LinkState) pg_atomic_read_u32(&link->state);
			long timeout_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

			if (failed >= enough && state != LINK_CONNECTING)
				report_unreachable(node, state, true);
			if (timeout_ms <= 0)
				report_unreachable(node, state, failed > 0);
			if (failed > 0 && state != LINK_CONNECTING)
				transport_nudge(node); /* do not wait for its next attempt */
			(void) runtime_wait(timeout_ms, PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		link_unwatch();
	}
	PG_END_TRY();
}

/*
 * link_copy_texts
 *		A consistent copy of what the network process writes about a link.
 */
void
link_copy_texts(LinkEntry *link, LinkTexts *texts)
{
	for (int i = 0; i < 1000; i++)
	{
		uint32 version = pg_atomic_read_u32(&link->text_version);

		pg_read_barrier();
		*texts = link->texts;
		pg_read_barrier();
		if ((version & 1) == 0 && pg_atomic_read_u32(&link->text_version) == version)
			break;

		/* It died in the middle, or is very busy: any text will do. */
	}
	texts->last_error[REASON_SIZE - 1] = '\0';
	texts->architecture[sizeof(texts->architecture) - 1] = '\0';
}
