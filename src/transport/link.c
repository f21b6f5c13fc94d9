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

#include "base/clock.h"
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
		(int64) pg_atomic_read_u64(&link->queued_bytes) > (int64) dlog_shared_memory_size * 1024 * 1024 / 4)
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

/*
 * link_count_dequeued
 *		A message no longer waits at its link, however that came.
 *
 * Its from.node is still the epoch in which it was handed over.
 */
void
link_count_dequeued(LinkEntry *link, const Message *message)
{
	if ((int32) (message->from.node - pg_atomic_read_u32(&link->counted_from)) < 0)
		return;
	pg_atomic_fetch_sub_u32(&link->queued, 1);
	pg_atomic_fetch_sub_u64(&link->queued_bytes, message->size);
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

/*
 * The error that tells why a node cannot be reached, in the current memory
 * context.
 */
static ErrorData *
unreachable_error(uint32 node, LinkState state, bool has_failed)
{
	ErrorData *error = palloc0(sizeof(ErrorData));
	NodeEntry entry;
	LinkTexts texts;
	const char *reason;

	error->elevel = ERROR;
	error->assoc_context = CurrentMemoryContext;
	if (!node_copy(node, &entry))
	{
		error->sqlerrcode = ERRCODE_UNDEFINED_OBJECT;
		error->message = pstrdup(_("the node has been removed"));
		return error;
	}
	link_copy_texts(&transport_shared->links[node], &texts);
	reason = pg_atomic_read_u32(&transport_shared->network_pid) == 0 ? "this server's network process is not running" : texts.last_error;

	error->sqlerrcode = ERRCODE_CONNECTION_FAILURE;
	error->message = psprintf(_("could not reach node \"%s\" at %s:%d"),
							  entry.name, entry.host, entry.port);
	error->detail = has_failed && reason[0] != '\0' ? psprintf(_("The last attempt failed: %s."), reason) : psprintf(_("There was no answer within dlog.connect_timeout (%d ms)."), dlog_connect_timeout);
	error->hint = pstrdup(state == LINK_REFUSED ? _("See that both nodes list each other with their present keys, in the view dlog.nodes on each.") : _("See that the server there is running with dlog, and that the port can be reached from here."));
	return error;
}

/*
 * Did the link break off just now, without a word?  Then the network process
 * over there may be starting anew.
 */
static bool
is_just_lost(LinkEntry *link)
{
	uint64 lost_at_us = pg_atomic_read_u64(&link->lost_at_us);

	return lost_at_us != 0 &&
		   (int64) (clock_now_us() - lost_at_us) < LINK_RESTART_US &&
		   pg_atomic_read_u32(&link->state) != LINK_REFUSED;
}

/*
 * link_await
 *		Ask for the link to a node; link_poll() tells what has become of it.
 *
 * The caller watches the links (link_watch()) from before this on.
 */
void
link_await(LinkWait *wait, uint32 node)
{
	LinkEntry *link;

	runtime_require();
	wait->node = node;
	wait->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), dlog_connect_timeout);
	if (node == THIS_NODE)
		return;
	link = link_entry(node);
	wait->failures = pg_atomic_read_u32(&link->failures);
	/* An attempt that is under way may fail for a reason gone by now. */
	wait->enough = pg_atomic_read_u32(&link->state) == LINK_CONNECTING ? 2 : 1;
	if (pg_atomic_read_u32(&link->state) != LINK_UP)
		transport_nudge(node);
}

/*
 * link_poll
 *		Is the link up?  If not, whether to wait for it, or why not.
 *
 * To be called whenever runtime_wait() returns, and at the wait's deadline.
 * The error, 08006, says that an attempt has failed that began after we
 * asked, or that dlog.connect_timeout is over.  For a moment after a link has
 * broken off, attempts may fail: the network process makes another of its
 * own accord, after which we look again.
 */
LinkPoll
link_poll(LinkWait *wait, ErrorData **error)
{
	LinkEntry *link;
	LinkState state;
	uint32 failed;

	if (wait->node == THIS_NODE)
		return LINK_POLL_UP;
	link = link_entry(wait->node);
	state = (LinkState) pg_atomic_read_u32(&link->state);
	if (state == LINK_UP)
		return LINK_POLL_UP;

	failed = pg_atomic_read_u32(&link->failures) - wait->failures;
	if (is_just_lost(link) && GetCurrentTimestamp() < wait->deadline)
		return LINK_POLL_PENDING;
	if ((failed >= wait->enough && state != LINK_CONNECTING) ||
		GetCurrentTimestamp() >= wait->deadline)
	{
		*error = unreachable_error(wait->node, state, failed > 0);
		return LINK_POLL_FAILED;
	}
	if (failed > 0 && state != LINK_CONNECTING)
		transport_nudge(wait->node); /* do not wait for its next attempt */
	return LINK_POLL_PENDING;
}

/* Waits until the link is up (true) or has failed, which "error" tells. */
static bool
make_link(uint32 node, ErrorData **error)
{
	LinkWait wait;
	volatile LinkPoll poll = LINK_POLL_UP;

	runtime_require();
	if (link_state(node) == LINK_UP)
		return true;

	link_watch();
	PG_TRY();
	{
		link_await(&wait, node);
		while ((poll = link_poll(&wait, error)) == LINK_POLL_PENDING)
		{
			long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wait.deadline);

			(void) runtime_wait(Max(left_ms, 1), PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		link_unwatch();
	}
	PG_END_TRY();
	return poll == LINK_POLL_UP;
}

/*
 * link_require
 *		Wait until the link to a node is up, making it if need be.
 *
 * ERROR as link_poll() tells.
 */
void
link_require(uint32 node)
{
	ErrorData *error;

	if (!make_link(node, &error))
		ThrowErrorData(error);
}

/*
 * link_try
 *		The same, returning whether the link is up.
 */
bool
link_try(uint32 node)
{
	ErrorData *error;

	return make_link(node, &error);
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
