/*
 * turn.c
 *		The turns of a batch: what each actor has done in it, to be settled when
 *		it commits, or undone.
 *
 * The actors are held from their turn until the end of the batch.  Settling
 * happens within the commit, where nothing can interrupt; what is undone is
 * planned, for the batch is done again.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "actor/actor_internal.h"
#include "base/stop_point.h"

Turn *current_turn;
Message *current_message;
bool current_is_stashed = false;

static int max_turns = 0;

/*
 * turn_add
 *		An actor that this scheduler holds takes its turn in this batch.
 */
Turn *
turn_add(SqlActor *actor)
{
	Turn *turn;

	if (batch.n_turns == max_turns)
	{
		int n = max_turns == 0 ? 256 : 2 * max_turns;
		Turn *more = batch.turns == NULL ? MemoryContextAlloc(TopMemoryContext, n * sizeof(Turn)) :
										   repalloc(batch.turns, n * sizeof(Turn));

		batch.turns = more;
		max_turns = n;
	}
	turn = &batch.turns[batch.n_turns++];
	memset(turn, 0, sizeof(Turn));
	turn->actor = actor;
	turn->self = actor->body->self;
	actor->body->holder = process_slot();
	return turn;
}

static void
message_rewind(Message *message)
{
	DurableMail *durable = mail_durable(message);

	if (message->type == LOCAL_MAIL)
		message_mail(message)->flags &= ~(MAIL_STASHED | MAIL_QUARANTINED | MAIL_UNHANDLED);
	if (durable != NULL)
		durable->becomes = InvalidOid;
}

/*
 * turn_rewind
 *		What it did in this batch is undone, and planned.
 */
void
turn_rewind(Turn *turn)
{
	if (!turn->is_in_batch)
		return;
	for (Message *message = turn->done_first; message != NULL; message = message->next)
		message_rewind(message);
	if (turn->actor->body->first != NULL)
		message_rewind(turn->actor->body->first);
	sql_actor_put_back(turn->actor, turn->done_first, turn->done_last);
	turn->done_first = turn->done_last = NULL;
	turn->planned = turn->n_done;
	turn->plans_init = turn->ran_init;
	turn->n_done = 0;
	turn->ran_init = false;
	if (turn->has_state)
		value_free(turn->state);
	turn->state = NULL;
	turn->has_state = false;
	turn->behavior = InvalidOid;
	turn->unstashes = turn->exits = false;
	if (turn->started != NULL)
		message_free(turn->started);
	turn->started = NULL;
	turn->is_in_batch = false;
}

/* The transaction is committing: what it did is true now. */
static void
turn_commit(Turn *turn)
{
	SqlActor *actor = turn->actor;
	ActorBody *body = actor->body;
	Message *message = turn->done_first;
	uint32 n_out = 0;

	while (message != NULL)
	{
		Message *next = message->next;

		__builtin_prefetch(next, 1);
		message->next = NULL;
		if (message->type == LOCAL_MAIL && (message_mail(message)->flags & MAIL_STASHED))
		{
			message_mail(message)->flags &= ~MAIL_STASHED;
			if (mail_durable(message) != NULL)
				mail_durable(message)->becomes = InvalidOid;
			if (body->stash_last != NULL)
				body->stash_last->next = message;
			else
				body->stash_first = message;
			body->stash_last = message;
		}
		else
		{
			if (mail_flags(message) & MAIL_QUARANTINED)
				durable_tell_asker(actor, message);
			if (message->flags & MESSAGE_RESERVED)
				n_out++;
			message_free(message);
		}
		message = next;
	}
	if (n_out > 0)
		pg_atomic_sub_fetch_u64(&actor->room, n_out);
	if (actor->kind == ACTOR_DURABLE)
	{
		body->durable->position = turn->position;
		durable_is_mended(body->durable);
	}
	if (turn->unstashes)
	{
		sql_actor_put_back(actor, body->stash_first, body->stash_last);
		body->stash_first = body->stash_last = NULL;
	}
	body->received += turn->n_done;
	if (turn->has_state)
		sql_actor_set_state(actor, turn->state);
	if (OidIsValid(turn->behavior))
		actor->behavior = turn->behavior;
	if (turn->ran_init)
	{
		pg_write_barrier();
		actor->phase = PHASE_READY;
	}
	if (turn->started != NULL)
		(void) control_send(body->supervisor, turn->started);

	turn->done_first = turn->done_last = NULL;
	turn->n_done = 0;
	turn->ran_init = turn->has_state = turn->unstashes = false;
	turn->planned = 0;
	turn->plans_init = false;
	turn->state = NULL;
	turn->behavior = InvalidOid;
	turn->started = NULL;
	turn->is_in_batch = false;
}

/*
 * turn_exit
 *		The actor exits at the end of the batch.
 */
void
turn_exit(Turn *turn, const char *reason)
{
	turn->exits = true;
	turn->exit_reason = MemoryContextStrdup(batch.context, reason);
	turn->exit_kind = strcmp(reason, REASON_NORMAL) == 0   ? EXIT_NORMAL :
					  strcmp(reason, REASON_SHUTDOWN) == 0 ? EXIT_SHUTDOWN :
															 EXIT_ERROR;
}

/* The actor is not held any more. */
static void
turn_release(Turn *turn)
{
	SqlActor *actor = turn->actor;

	turn->actor = NULL;
	if (actor == NULL)
		return;
	if (turn->exits && actor->body->durable != NULL)
		actor->body->durable->has_ended = true;
	if (turn->exits && sql_actor_down(actor, turn->exit_kind, 0, turn->exit_reason))
		return;
	sql_actor_release(actor);
}

/*
 * turn_release_all
 *		At the end of a batch.
 */
void
turn_release_all(void)
{
	for (int i = 0; i < batch.n_turns; i++)
		turn_release(&batch.turns[i]);
	batch.n_turns = 0;
}

/*
 * turn_commit_all
 *		Within the commit of any transaction of this process; false: it is no
 *		batch's.
 */
bool
turn_commit_all(void)
{
	bool any = false;

	for (int i = 0; i < batch.n_turns; i++)
	{
		if (!batch.turns[i].is_in_batch)
			continue;
		if (!any)
			STOP_POINT("journal-committed");
		any = true;
		turn_commit(&batch.turns[i]);
	}
	return any;
}

/*
 * turn_require
 *		The turn at work; ERROR when no handler runs in this process.
 */
Turn *
turn_require(const char *function)
{
	if (current_turn == NULL || !handler_runs())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s can only be called while an actor handles a message", function)));
	return current_turn;
}
