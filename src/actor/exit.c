/*
 * exit.c
 *		How an actor exits.
 *
 * One that has a supervisor is DOWN until that has decided, and its mail
 * waits.  One that has none, or is let go, is buried: who waits for an answer
 * is told, and what nobody will read goes to the dead letters.
 *
 * All of it is the holder's.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "actor/actor_internal.h"
#include "base/errcodes.h"

const char *
exit_kind_name(ExitKind kind)
{
	static const char *const names[] = {
		[EXIT_NORMAL] = "normal",
		[EXIT_SHUTDOWN] = "shutdown",
		[EXIT_ERROR] = "error",
		[EXIT_KILLED] = "killed",
	};

	return names[kind];
}

/* -------------------------------------- a message that failed its handler */

void
sql_actor_forget_failure(ActorBody *body)
{
	if (body->failure != NULL)
		arena_free(body->failure);
	body->failure = NULL;
}

/*
 * sql_actor_has_failed
 *		Its handler has failed at this message, or its init if there is none,
 *		with this error or none.  The holder's.  Takes the message, until its
 *		supervisor has decided.
 */
void
sql_actor_has_failed(SqlActor *actor, Message *message, const ErrorData *error)
{
	ActorBody *body = actor->body;
	int length;

	sql_actor_forget_failure(body);
	body->failed = message;
	if (message == NULL || error == NULL || (mail_flags(message) & MAIL_ASK) == 0)
		return;

	/* Without memory the asker is not told why. */
	body->failure = arena_try_alloc(sizeof(HandlerFailure));
	if (body->failure == NULL)
		return;
	body->failure->sqlerrcode = error->sqlerrcode;
	length = pg_mbcliplen(error->message, strlen(error->message), sizeof(body->failure->message) - 1);
	memcpy(body->failure->message, error->message, length);
	body->failure->message[length] = '\0';
}

/*
 * sql_actor_give_up
 *		The message that its handler failed at is given up, if there is one.
 *		The holder's.
 */
void
sql_actor_give_up(SqlActor *actor, FailedMessage what, const char *reason)
{
	Message *message = actor->body->failed;

	if (message == NULL)
		return;
	actor->body->failed = NULL;
	if (message->type == LOCAL_MAIL && (message_mail(message)->flags & MAIL_ASK))
	{
		answer_failure(message->from, message->to, ERRCODE_DLOG_ACTOR_EXITED, reason, actor->body->failure);
		message->flags |= MESSAGE_EPHEMERAL;
		message->from.slot = 0;
	}
	if (what == FAILED_MESSAGE_DEAD_LETTER)
	{
		message->from.slot = 0; /* its sender did all right */
		actor_send_undelivered(message, SEND_NO_ACTOR);
	}
	else
		message_free(message);
	sql_actor_forget_failure(actor->body);
}

/* ---------------------------------------------------------------- the end */

/* Messages that need no answer. */
void
free_all(Message *message)
{
	while (message != NULL)
	{
		Message *next = message->next;

		message_free(message);
		message = next;
	}
}

/*
 * refuse_all
 *		Nobody will read these, a list in order: who asks is told why, the
 *		others are among the dead letters.
 */
void
refuse_all(Message *first, const char *reason)
{
	int sweep = -1;

	while (first != NULL)
	{
		Message *next = first->next;

		/* The rows of such mail are to go where they can be looked at. */
		if (mail_durable(first) != NULL)
			sweep = sql_actor_at(first->to.slot)->database;
		first->next = NULL;
		if (first->type == LOCAL_MAIL && (message_mail(first)->flags & MAIL_ASK))
		{
			answer_failure(first->from, first->to, ERRCODE_DLOG_ACTOR_EXITED, reason, NULL);
			message_free(first);
		}
		else
			actor_send_undelivered(first, SEND_NO_ACTOR);
		first = next;
	}
	if (sweep >= 0)
		actor_journal->sweep(sweep);
}

/*
 * sql_actor_bury
 *		It is gone for good.  The holder's; the actor is nobody's afterwards.
 */
void
sql_actor_bury(SqlActor *actor, const char *reason)
{
	ActorBody *body = actor->body;
	ActorAddress self = body->self;
	Message *control;

	if (body->system != NULL && body->system_state != NULL && body->system->stop != NULL)
		body->system->stop(body->system_state, self);

	pg_atomic_write_u64(&actor->room, EMPTY_ROOM(self.incarnation));
	control = sql_actor_close(actor);
	sql_actor_give_up(actor, FAILED_MESSAGE_DEAD_LETTER, reason);
	refuse_all(body->stash_first, reason);
	refuse_all(body->first, reason);
	free_all(control);

	/* Children that nobody looks after any more. */
	if (body->system != NULL)
		for (uint32 i = 1; i < hosted_actor_slots(); i++)
		{
			ActorAddress address;
			ActorBody *other;

			if (!hosted_actor_in_slot(i, &address))
				continue;
			other = *(ActorBody *volatile *) &sql_actor_at(address.slot)->body;
			if (other != NULL && actor_address_equal(other->supervisor, self))
				actor_orphan(address);
		}
	sql_actor_free_body(actor);
	hosted_actor_exit(self, reason);
}

/*
 * sql_actor_down
 *		It exits; the holder's.  Its supervisor decides what becomes of it; if
 *		it has none it is gone, and the result true.
 */
bool
sql_actor_down(SqlActor *actor, ExitKind kind, int sqlerrcode, const char *reason)
{
	ActorBody *body = actor->body;
	bool is_gone = body->durable != NULL && body->durable->has_ended;
	Message *message;
	ChildExited *exited;

	sql_actor_set_state(actor, NULL);
	if (body->supervisor.slot != 0)
	{
		Size size = offsetof(ChildExited, reason) + strlen(reason) + 1;

		message = message_try_create(LOCAL_CHILD_EXITED, size);
		if (message == NULL)
			message = message_try_create(LOCAL_CHILD_EXITED, size = offsetof(ChildExited, reason) + 1);
		if (message != NULL)
		{
			exited = (ChildExited *) message->payload;
			exited->child = body->child;
			exited->kind = kind;
			exited->sqlerrcode = sqlerrcode;
			exited->attempts = body->failed != NULL && body->failed->type == LOCAL_MAIL ?
								   message_mail(body->failed)->attempts :
								   0;
			strlcpy(exited->reason, reason, size - offsetof(ChildExited, reason));
			exited->is_gone = is_gone;
			message->from = body->self;
			actor->phase = PHASE_DOWN;
			if (control_send(body->supervisor, message) && !is_gone)
				return false;
		}
	}
	sql_actor_bury(actor, reason);
	return true;
}
