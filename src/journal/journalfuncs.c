/*
 * journalfuncs.c
 *		What SQL can do with durable actors and their journals.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "journal/journal_internal.h"

DLOG_FUNCTION(dlog_journal_is_append_only);
DLOG_FUNCTION(dlog_durable_ref);
DLOG_FUNCTION(dlog_state_at_seq);
DLOG_FUNCTION(dlog_state_at_time);
DLOG_FUNCTION(dlog_state_at_seq_text);
DLOG_FUNCTION(dlog_state_at_time_text);
DLOG_FUNCTION(dlog_history);
DLOG_FUNCTION(dlog_snapshot);

/*
 * dlog.journal_is_append_only() -> trigger
 */
Datum
dlog_journal_is_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Oid journal;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("dlog.journal_is_append_only() is a trigger function")));
	journal = RelationGetRelid(trigger->tg_relation);
	if (trigger->tg_relation->rd_rel->relkind == RELKIND_RELATION)
		journal = get_partition_parent(journal, false);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("entries of journal \"%s\" cannot be changed or deleted", get_rel_name(journal)),
			 errdetail("A journal is what states are made of, and proof of what was done."),
			 errhint("The retention of a behavior says how long entries are kept.")));
}

/*
 * dlog.durable_ref(id) -> actor_ref
 */
Datum
dlog_durable_ref(PG_FUNCTION_ARGS)
{
	ActorRef ref = actor_ref_of_durable(PG_GETARG_INT64(0));

	return actor_ref_datum(&ref);
}

/* --------------------------------------------------------------- arguments */

/* A durable actor whose journal the present role may read. */
DurableActor
journal_readable_actor(FunctionCallInfo fcinfo)
{
	DurableActor actor;
	Behavior *behavior;
	bool may;

	runtime_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("actor must not be null")));
	actor = durable_require(PG_GETARG_ACTOR_REF_P(0));
	behavior = behavior_acquire(actor.behavior);
	may = has_privs_of_role(GetUserId(), actor.owner) ||
		  pg_class_aclcheck(behavior->journal, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	behavior_release(behavior);
	if (!may)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the journal of actor %s", actor_ref_text(PG_GETARG_ACTOR_REF_P(0))),
				 errhint("The owner of the actor may read it, and whoever has SELECT on its behavior's journal.")));
	return actor;
}

/* Replay as the actor's owner. */
bool
journal_replay_as_owner(const DurableActor *actor, const ReplayEnd *end, uint64 visit_from, ReplayVisit visit,
						void *context, Replayed *result)
{
	Behavior *behavior = behavior_acquire(actor->behavior);
	ActorRole before;
	bool is_found;

	actor_role_enter(actor->owner, behavior, &before);
	is_found = replay_run(actor, end, visit_from, visit, context, result);
	actor_role_leave(&before);
	behavior_release(behavior);
	return is_found;
}

/* ---------------------------------------------------------------- state_at */

static Datum
state_at(FunctionCallInfo fcinfo, ReplayEnd end, Oid wanted)
{
	DurableActor actor = journal_readable_actor(fcinfo);
	Replayed result;
	Oid output;
	bool is_varlena;

	if (!journal_replay_as_owner(&actor, &end, PG_UINT64_MAX, NULL, NULL, &result))
		PG_RETURN_NULL();
	if (OidIsValid(wanted) && wanted != result.state_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the state of the actor is of type %s, not %s", format_type_be(result.state_type),
						format_type_be(wanted))));
	if (result.is_null)
		PG_RETURN_NULL();
	if (OidIsValid(wanted))
		PG_RETURN_DATUM(result.state);
	getTypeOutputInfo(result.state_type, &output, &is_varlena);
	PG_RETURN_TEXT_P(cstring_to_text(OidOutputFunctionCall(output, result.state)));
}

static ReplayEnd
seq_argument(FunctionCallInfo fcinfo, int n)
{
	ReplayEnd end = {.seq = PG_INT64_MAX, .at = DT_NOEND};

	if (PG_ARGISNULL(n))
		return end;
	if (PG_GETARG_INT64(n) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("seq must not be negative")));
	end.seq = PG_GETARG_INT64(n);
	return end;
}

static ReplayEnd
time_argument(FunctionCallInfo fcinfo, int n)
{
	ReplayEnd end = {.seq = PG_INT64_MAX, .at = DT_NOEND};

	if (!PG_ARGISNULL(n))
		end.at = PG_GETARG_TIMESTAMPTZ(n);
	return end;
}

/*
 * dlog.state_at(actor, as_type, seq | at) -> as_type
 *		Null: the actor was not there then, or so old entries are gone.
 */
Datum
dlog_state_at_seq(PG_FUNCTION_ARGS)
{
	return state_at(fcinfo, seq_argument(fcinfo, 2), get_fn_expr_rettype(fcinfo->flinfo));
}

Datum
dlog_state_at_time(PG_FUNCTION_ARGS)
{
	return state_at(fcinfo, time_argument(fcinfo, 2), get_fn_expr_rettype(fcinfo->flinfo));
}

Datum
dlog_state_at_seq_text(PG_FUNCTION_ARGS)
{
	return state_at(fcinfo, seq_argument(fcinfo, 1), InvalidOid);
}

Datum
dlog_state_at_time_text(PG_FUNCTION_ARGS)
{
	return state_at(fcinfo, time_argument(fcinfo, 1), InvalidOid);
}

/* ----------------------------------------------------------------- history */

static char *
value_text(Datum datum, bool is_null, Oid type)
{
	Oid output;
	bool is_varlena;

	if (is_null)
		return NULL;
	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, datum);
}

static void
put_history(void *context, const JournalEntry *entry, Datum state, bool is_null, Oid type)
{
	ReturnSetInfo *result = context;
	Datum values[5];
	bool nulls[5] = {false};
	Oid message;
	bool message_is_null;
	Datum datum = payload_datum(entry->payload, &message, &message_is_null);
	char *text = value_text(datum, message_is_null, message);
	char *after = value_text(state, is_null, type);

	values[0] = Int64GetDatum((int64) entry->seq);
	values[1] = TimestampTzGetDatum(entry->at);
	values[2] = ObjectIdGetDatum(message);
	values[3] = text ? CStringGetTextDatum(text) : (Datum) 0;
	nulls[3] = text == NULL;
	values[4] = after ? CStringGetTextDatum(after) : (Datum) 0;
	nulls[4] = after == NULL;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * dlog.history(actor, from_seq, to_seq) -> rows
 */
Datum
dlog_history(PG_FUNCTION_ARGS)
{
	DurableActor actor = journal_readable_actor(fcinfo);
	ReplayEnd end = seq_argument(fcinfo, 2);
	int64 from = PG_ARGISNULL(1) ? 1 : Max(PG_GETARG_INT64(1), 1);
	Replayed replayed;

	InitMaterializedSRF(fcinfo, 0);
	if (!journal_replay_as_owner(&actor, &end, (uint64) from, put_history, fcinfo->resultinfo, &replayed))
	{
		StateSnapshot first;

		/* What it starts with is gone; begin with the oldest state there is. */
		if (snapshot_first(actor.id, &first) && first.seq < end.seq)
			(void) journal_replay_as_owner(&actor, &end, first.seq + 1, put_history, fcinfo->resultinfo, &replayed);
	}
	return (Datum) 0;
}

/* ---------------------------------------------------------------- snapshot */

/*
 * dlog.snapshot(actor) -> bigint
 *		Keeps its state now; the entry that it is after.
 */
Datum
dlog_snapshot(PG_FUNCTION_ARGS)
{
	DurableActor actor = journal_readable_actor(fcinfo);
	ReplayEnd end = {.seq = PG_INT64_MAX, .at = DT_NOEND};
	Replayed result;
	StateSnapshot snapshot = {0};
	Behavior *behavior;

	PreventCommandIfReadOnly("dlog.snapshot()");
	if (!has_privs_of_role(GetUserId(), actor.owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for actor %s", actor_ref_text(PG_GETARG_ACTOR_REF_P(0))),
				 errdetail("It is another role's.")));
	if (!journal_replay_as_owner(&actor, &end, PG_UINT64_MAX, NULL, NULL, &result))
		PG_RETURN_NULL();
	if (result.position.seq != result.position.snapshot_seq)
	{
		behavior = behavior_acquire(actor.behavior);
		snapshot.seq = result.position.seq;
		snapshot.at = result.position.at;
		snapshot.behavior = result.behavior;
		snapshot.state = payload_create(result.state, value_type(result.state_type), result.is_null);
		snapshot.has_hash = behavior->audit;
		memcpy(snapshot.hash, result.position.hash, sizeof(snapshot.hash));
		behavior_release(behavior);
		snapshot_write(actor.id, &snapshot);
	}
	PG_RETURN_INT64((int64) result.position.seq);
}
