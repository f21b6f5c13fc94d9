/*
 * durable.c
 *		What is special about durable actors here.
 *
 * They live in slots as others do.  The layer above, the journal, is told
 * what they handle and send, and says what they were when the server stopped.
 * An error in a handler does not end one: its message is tried again, until it
 * has failed so often that it is put into quarantine and the actor goes on.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "actor/actor_internal.h"
#include "base/guc.h"
#include "base/role.h"
#include "base/stop_point.h"
#include "transport/transport.h"

/* A handler that found a full mailbox is tried again after this. */
#define FULL_DELAY_MS 20

/* What cannot be loaded is tried again after the first, then after twice as long each time. */
#define BROKEN_LEAST_MS 100
#define BROKEN_MOST_MS 60000

const ActorJournal *actor_journal;
ActorReplay actor_replay;

/* Texts follow one after the other; the last two may be empty. */
typedef struct PackedFailure
{
	int sqlerrcode;
	char texts[FLEXIBLE_ARRAY_MEMBER];
} PackedFailure;

/* --------------------------------------------------------------- references */

int64
actor_ref_durable(const ActorRef *ref)
{
	if (ref->slot != 0)
		return 0;
	if (ref->database != MyDatabaseId || node_of_id((uint64) ref->node_id) != THIS_NODE)
		return actor_journal != NULL && actor_journal->was_here(ref) ? (int64) ref->incarnation : 0;
	return (int64) ref->incarnation;
}

ActorRef
actor_ref_of_durable(int64 id)
{
	ActorRef ref = {
		.node_id = (int64) node_id_of(THIS_NODE),
		.incarnation = (uint64) id,
		.slot = 0,
		.database = MyDatabaseId,
	};

	return ref;
}

bool
actor_ref_is_none(const ActorRef *ref)
{
	return ref->slot == 0 && ref->incarnation == 0;
}

/* ------------------------------------------------------------------- coming */

void
actor_is_loaded(ActorAddress address)
{
	sql_actor_spawned(address);
}

/*
 * actor_deliver_mail
 *		What waited in a table comes into its mailbox, however full that is.
 */
bool
actor_deliver_mail(ActorAddress to, Message *message)
{
	SqlActor *actor = sql_actor_find(to);

	if (actor == NULL)
		return false;
	pg_atomic_fetch_add_u64(&actor->room, 1);
	message->flags |= MESSAGE_RESERVED;
	return actor_send(to, message) == SEND_OK;
}

/* -------------------------------------------------------------------- roles */

/*
 * actor_role_enter, actor_role_leave
 *		In a transaction: call functions of a behavior as its handlers are
 *		called.  An error undoes it, too.
 */
void
actor_role_enter(Oid role, const Behavior *behavior, ActorRole *before)
{
	int security_context = SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION;

	before->settings = NewGUCNestLevel();
	before->session_user = GetSessionUserId();
	GetUserIdAndSecContext(&before->user, &before->security_context);

	/* A session stays who it is; a scheduler is nobody whom functions should trust. */
	if (MyBackendType == B_BG_WORKER && GetAuthenticatedUserId() == BOOTSTRAP_SUPERUSERID)
		role_enter(role, role, security_context);
	else
		SetUserIdAndSecContext(role, security_context);
	(void) set_config_option("search_path", behavior->search_path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
actor_role_leave(const ActorRole *before)
{
	AtEOXact_GUC(true, before->settings);
	if (GetSessionUserId() != before->session_user)
		role_enter(before->user, before->session_user, before->security_context);
	else
		SetUserIdAndSecContext(before->user, before->security_context);
}

/* ----------------------------------------------------------------- a turn */

/* What the journal needs to know of a turn. */
static JournalTurn
journal_turn(Turn *turn, Behavior *behavior)
{
	ActorBody *body = turn->actor->body;
	JournalTurn result = {
		.actor = body->durable->id,
		.self = actor_ref_of_durable(body->durable->id),
		.owner = hosted_actor_role(turn->self),
		.home = body->first_behavior,
		.behavior = behavior,
		.position = &turn->position,
		.handled = turn->done_first,
		.exits = turn->exits,
		.exit_reason = turn->exit_reason,
	};

	return result;
}

/*
 * durable_load
 *		The state that the journal makes; false: init has to run first.
 */
bool
durable_load(Turn *turn, Behavior *behavior, Datum *state, bool *is_null)
{
	JournalTurn view = journal_turn(turn, behavior);
	Oid present = behavior->id;

	if (!actor_journal->load(&view, &present))
		return false;
	STOP_POINT("journal-loaded");
	*state = view.state;
	*is_null = view.state_is_null;
	if (present != behavior->id)
		turn->behavior = present;
	return true;
}

/* Its init has run. */
void
durable_begin(Turn *turn, Behavior *behavior, Datum state, bool is_null)
{
	JournalTurn view = journal_turn(turn, behavior);

	view.state = state;
	view.state_is_null = is_null;
	actor_journal->begin(&view);
}

/* At the end of its turn. */
void
durable_append(Turn *turn, Behavior *behavior, Datum state, bool is_null)
{
	JournalTurn view = journal_turn(turn, behavior);

	if (view.handled == NULL && !view.exits)
		return;
	view.state = state;
	view.state_is_null = is_null;
	actor_journal->append(&view);
}

/*
 * durable_at_work, durable_is_done
 *		Should the server crash between these, it will be known who was at it:
 *		this message, or, if NULL, the actor's being loaded.
 */
void
durable_at_work(const Turn *turn, const Message *message)
{
	DurableMail *mail = message == NULL ? NULL : mail_durable(message);

	if (turn->actor->kind == ACTOR_DURABLE && (message == NULL || mail != NULL))
		actor_journal->at_work(turn->actor->body->durable->id, mail == NULL ? 0 : mail->id);
}

void
durable_is_done(const Turn *turn)
{
	if (turn->actor->kind == ACTOR_DURABLE)
		actor_journal->is_done();
}

/* ------------------------------------------------------------------ timers */

#define TIMERS_OF_MESSAGE 1024

/* The number that the message at hand will have in the journal; 0: init runs. */
uint64
durable_next_seq(const Turn *turn)
{
	return current_message == NULL ? 0 : turn->position.seq + turn->n_entries + 1;
}

/*
 * actor_timer_number
 *		A handler may keep it in the state, so it is the same whenever the
 *		message is handled.
 */
int64
actor_timer_number(uint64 seq, int n)
{
	if (n >= TIMERS_OF_MESSAGE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a message can set at most %d timers of a durable actor", TIMERS_OF_MESSAGE - 1)));
	return (int64) seq * TIMERS_OF_MESSAGE + n;
}

int64
durable_next_timer(Turn *turn)
{
	/* Its entry, and so the number, is another one when it is handled after all. */
	if (current_is_stashed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a durable actor cannot set timers for a message that it stashes")));
	return actor_timer_number(durable_next_seq(turn), ++turn->n_timers);
}

/* ---------------------------------------------------------------- comparing */

/* Two values of variable length that are in memory as a whole. */
static bool
bytes_are_equal(const void *one, const void *other)
{
	return !VARATT_IS_EXTENDED(one) && !VARATT_IS_EXTENDED(other) && VARSIZE(one) == VARSIZE(other) &&
		   memcmp(one, other, VARSIZE(one)) == 0;
}

static bool
values_are_equal(Datum one, bool one_is_null, Datum other, bool other_is_null, Oid type)
{
	int16 length;
	bool is_by_value;

	if (one_is_null || other_is_null)
		return one_is_null && other_is_null;
	if (type_is_rowtype(type))
	{
		static FmgrInfo equals;

		/* Mostly the bytes are the same, too. */
		if (bytes_are_equal(DatumGetPointer(one), DatumGetPointer(other)))
			return true;

		if (!OidIsValid(equals.fn_oid))
			fmgr_info_cxt(F_RECORD_IMAGE_EQ, &equals, TopMemoryContext);
		return DatumGetBool(FunctionCall2(&equals, one, other));
	}
	get_typlenbyval(type, &length, &is_by_value);
	return datum_image_eq(one, other, is_by_value, length);
}

/*
 * durable_check_apply
 *		ERROR unless the apply function makes the same state as the handler,
 *		or the actor would be another one after a restart.
 */
void
durable_check_apply(Behavior *behavior, BehaviorReplay *apply, const ActorReplay *as,
					NullableDatum before, NullableDatum message, NullableDatum after)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &apply->flinfo, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0] = before;
	fcinfo->args[1] = message;
	actor_replay = *as;
	actor_replay.is_on = true;
	PG_TRY();
	{
		result = FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		actor_replay.is_on = false;
	}
	PG_END_TRY();
	if (values_are_equal(result, fcinfo->isnull, after.value, after.isnull, behavior->state_type))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("apply function %s makes another state than the handler of %s",
					get_func_name(apply->function), format_type_be(apply->from)),
			 errdetail("After a restart the actor would not be what it was."),
			 errhint("Let both be computed from nothing but the state and the message.")));
}

/* ------------------------------------------------------------------ failing */

static void
remember_failure(DurableBody *durable, const ErrorData *error)
{
	const char *texts[3] = {
		error->message ? error->message : "",
		error->detail ? error->detail : "",
		error->context ? error->context : "",
	};
	StringInfoData packed;

	initStringInfo(&packed);
	appendBinaryStringInfo(&packed, (const char *) &error->sqlerrcode, sizeof(int));
	for (int i = 0; i < 3; i++)
		appendBinaryStringInfo(&packed, texts[i], strlen(texts[i]) + 1);
	value_free(durable->failure);
	durable->failure = NULL;
	PG_TRY();
	{
		durable->failure = value_of_bytes(packed.data, packed.len);
	}
	PG_CATCH();
	{
		/* Without memory it is unknown later on why. */
		FlushErrorState();
	}
	PG_END_TRY();
}

/*
 * Is this an error of the server's present state, which passes without anybody
 * doing something to the actor?  What a handler may bring about itself counts
 * only outside of it: a lock that it waits for too long, or being terminated.
 */
static bool
is_of_the_moment(const ErrorData *error, bool is_outside)
{
	int category;

	if (error == NULL)
		return is_outside;
	if (error->sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED || error->sqlerrcode == ERRCODE_DISK_FULL)
		return true;
	category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
	return is_outside &&
		   (category == ERRCODE_INSUFFICIENT_RESOURCES || category == ERRCODE_TRANSACTION_ROLLBACK ||
			category == ERRCODE_OPERATOR_INTERVENTION || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE);
}

/* Tell it to try again after this; false: there is no memory for a timer. */
static bool
start_retry_timer(SqlActor *actor, int64 delay_ms)
{
	MemoryContext context = CurrentMemoryContext;
	Message *message = message_try_create(LOCAL_RETRY, sizeof(RetryControl));
	volatile TimerId timer = 0;

	if (message == NULL)
		return false;
	((RetryControl *) message->payload)->number = ++actor->body->durable->retry;
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	PG_TRY();
	{
		timer = timer_send_after(actor->body->self, actor->body->self, message, delay_ms);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return timer != 0;
}

/*
 * Suspended, it is tried again after this.  Without memory for a timer it stays
 * in the run queue, which its scheduler then does not hurry through.
 */
static void
wait_and_retry(SqlActor *actor, int64 delay_ms)
{
	if (start_retry_timer(actor, delay_ms))
		actor->body->durable->waits = actor->is_suspended = true;
	else
		pg_usleep(FULL_DELAY_MS * 1000L);
}

/* What it is made of has to be mended; others are told why. */
static void
is_broken(SqlActor *actor, const ErrorData *error)
{
	DurableBody *durable = actor->body->durable;
	int64 delay_ms = Min((int64) BROKEN_LEAST_MS << Min(durable->breaks, 20), BROKEN_MOST_MS);

	durable->gives_up = false;
	durable->breaks++;
	actor_journal->is_broken(durable->id, error, durable->breaks, delay_ms);
	wait_and_retry(actor, delay_ms);
}

/*
 * durable_is_mended
 *		It has had its turn; or it waits for dlog.resume() and nothing else.
 */
void
durable_is_mended(DurableBody *durable)
{
	if (durable->breaks == 0)
		return;
	durable->breaks = 0;
	actor_journal->is_mended(durable->id);
}

/*
 * durable_has_failed
 *		Its handler has failed at the message in front, or it could not be
 *		loaded; after the rollback.  It stays where it is.
 */
void
durable_has_failed(SqlActor *actor, Message *message, const ErrorData *error)
{
	DurableBody *durable = actor->body->durable;

	if (is_of_the_moment(error, message == NULL))
		wait_and_retry(actor, FULL_DELAY_MS);
	else if (message == NULL || (durable->gives_up && error != NULL))
		is_broken(actor, error);
	else
	{
		if (message->type == LOCAL_MAIL && message_mail(message)->attempts < PG_UINT16_MAX)
			message_mail(message)->attempts++;
		if (error != NULL)
			remember_failure(durable, error);
	}
}

/*
 * durable_gives_up
 *		Put the message in front into quarantine, if it has failed too often.
 */
bool
durable_gives_up(Turn *turn, Behavior *behavior, Message *message)
{
	DurableBody *durable = turn->actor->body->durable;
	DurableMail *mail = mail_durable(message);
	int crashes = mail == NULL ? 0 : mail->crashes;
	MessageFailure failure = {.message = "its handler was killed", .sqlerrcode = ERRCODE_ADMIN_SHUTDOWN};
	JournalTurn view;

	if (message->type != LOCAL_MAIL || message_mail(message)->attempts + crashes < behavior->max_failures)
		return false;
	view = journal_turn(turn, behavior);
	failure.failures = message_mail(message)->attempts + crashes;
	if (crashes > 0)
	{
		failure.sqlerrcode = ERRCODE_CRASH_SHUTDOWN;
		failure.message = "the server crashed while it was handled";
	}
	if (durable->failure != NULL)
	{
		const PackedFailure *packed = (const PackedFailure *) value_bytes(durable->failure);

		failure.sqlerrcode = packed->sqlerrcode;
		failure.message = packed->texts;
		failure.detail = failure.message + strlen(failure.message) + 1;
		failure.context = failure.detail + strlen(failure.detail) + 1;
	}
	durable->gives_up = true;
	actor_journal->quarantine(&view, message, &failure);
	STOP_POINT("journal-quarantined");
	message_mail(message)->flags |= MAIL_QUARANTINED;
	return true;
}

/*
 * durable_quarantine_unhandled
 *		The same for one of a type that its behavior does not take any more,
 *		since it was sent.
 */
void
durable_quarantine_unhandled(Turn *turn, Behavior *behavior, Message *message, Oid type)
{
	JournalTurn view = journal_turn(turn, behavior);
	MessageFailure failure = {
		.sqlerrcode = ERRCODE_DATATYPE_MISMATCH,
		.message = psprintf("behavior \"%s\" takes no messages of type %s", format_type_be(behavior->id), format_type_be(type)),
	};

	actor_journal->quarantine(&view, message, &failure);
	message_mail(message)->flags |= MAIL_QUARANTINED | MAIL_UNHANDLED;
}

/* Whoever asked learns that there will be no answer; its quarantine is committed. */
void
durable_tell_asker(SqlActor *actor, Message *message)
{
	DurableBody *durable = actor->body->durable;
	const PackedFailure *packed = durable->failure ?
									  (const PackedFailure *) value_bytes(durable->failure) :
									  NULL;

	if (message_mail(message)->flags & MAIL_UNHANDLED)
	{
		if (message_mail(message)->flags & MAIL_ASK)
			answer_failure(message->from, message->to, ERRCODE_DATATYPE_MISMATCH,
						   "its behavior takes no messages of this type", NULL);
		return;
	}

	if (message_mail(message)->flags & MAIL_ASK)
		answer_failure(message->from, message->to, packed ? packed->sqlerrcode : ERRCODE_ADMIN_SHUTDOWN,
					   packed ? packed->texts : "its handler was killed", NULL);
	value_free(durable->failure);
	durable->failure = NULL;
	durable->gives_up = false;
}
