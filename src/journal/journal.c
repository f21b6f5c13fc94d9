/*
 * journal.c
 *		The folder's entry.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "journal/journal_internal.h"
#include "journal/outbox.h"


/* Its state as its journal has it now. */
static bool
replay_now(int64 id, Replayed *result)
{
	ReplayEnd end = {.seq = PG_INT64_MAX, .at = DT_NOEND};
	DurableActor actor;
	bool is_found;

	if (!durable_read(id, &actor))
		return false;

	/* Whatever the isolation, what another batch has committed counts. */
	PushActiveSnapshot(GetLatestSnapshot());
	is_found = replay_run(&actor, &end, PG_UINT64_MAX, NULL, NULL, result);
	PopActiveSnapshot();
	return is_found;
}

static bool
load(JournalTurn *turn, Oid *behavior)
{
	Replayed result;

	if (!replay_now(turn->actor, &result))
		return false;
	durable_forgive(turn->actor);
	turn->state = result.state;
	turn->state_is_null = result.is_null;
	*turn->position = result.position;
	*behavior = result.behavior;
	return true;
}

static Datum
state(int64 id, Oid *type, bool *is_null)
{
	Replayed result = {.is_null = true};
	DurableActor actor;
	Behavior *behavior;
	ActorRole before;

	*type = InvalidOid;
	*is_null = true;
	if (!durable_read(id, &actor))
		return (Datum) 0;
	behavior = behavior_acquire(actor.behavior);
	*type = behavior->state_type;
	actor_role_enter(actor.owner, behavior, &before);
	if (replay_now(id, &result))
		*type = result.state_type;
	actor_role_leave(&before);
	behavior_release(behavior);
	*is_null = result.is_null;
	return result.state;
}

static const ActorJournal journal = {
	.find = durable_find,
	.find_name = durable_find_name,
	.was_here = home_was,
	.hold = durable_hold,
	.create = durable_create,
	.enter = loaded_enter,
	.leave = loaded_leave,
	.stop = durable_stop,
	.send = mailbox_write,
	.state = state,
	.load = load,
	.begin = append_begin,
	.is_broken = broken_enter,
	.is_mended = broken_leave,
	.at_work = blackbox_begin,
	.is_done = blackbox_end,
	.append = append_turn,
	.quarantine = quarantine_message,
	.set_timer = timer_set,
	.cancel_timer = timer_cancel_durable,
	.prepare = partition_prepare,
	.flush = append_flush,
	.forget = append_forget,
	.has_work = mailbox_has_work,
	.work_in_ms = mailbox_work_in_ms,
	.serve = mailbox_serve,
	.sweep = mailbox_sweep,
	.database_is_gone = mailbox_database_is_gone,
	.send_elsewhere = outbox_send,
	.ask_elsewhere = outbox_ask,
	.reply_elsewhere = outbox_reply,
};

Size
journal_shmem_size(void)
{
	Size size = add_size(loaded_shmem_size(), outbox_shmem_size());

	return add_size(size, add_size(blackbox_shmem_size(), timers_shmem_size()));
}

void
journal_shmem_init(void)
{
	loaded_shmem_init();
	outbox_shmem_init();
	blackbox_shmem_init();
	timers_shmem_init();
}

void
journal_init(void)
{
	actor_journal = &journal;
	behavior_create_journal = journal_create_table;
	behavior_dropped_hook = durable_behavior_dropped;
	runtime_register_scheduler_start(mailbox_at_scheduler_start);
	mailbox_init();
	home_init();
	broken_init();
	outbox_init();
	timers_init();
}
