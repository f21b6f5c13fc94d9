/*
 * quarantine.c
 *		dlog.quarantine: messages that nobody could handle.
 *
 * One that has failed its handler as often as its behavior allows is put
 * there with its error, in the batch that takes it out of the mailbox.  It can
 * be sent again, for the same actor, once what was wrong has been put right.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "journal/journal_internal.h"
#include "journal/outbox.h"

DLOG_FUNCTION(dlog_redeliver);

static void
put_text(Datum *value, char *is_null, const char *text)
{
	if (text == NULL || *text == '\0')
		return;
	*value = CStringGetTextDatum(text);
	*is_null = ' ';
}

/*
 * quarantine_message
 *		It is given up with this transaction.
 */
void
quarantine_message(JournalTurn *turn, Message *message, const MessageFailure *failure)
{
	DurableMail *durable = mail_durable(message);
	Oid type;
	bool is_null;
	Datum datum = message_read(message, &type, &is_null);
	Oid types[10] = {INT8OID, TIMESTAMPTZOID, InvalidOid, REGROLEOID, InvalidOid,
					 INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[10] = {0};
	char nulls[11] = "nnnnnnnnnn";
	StatementScope scope;

	types[2] = journal_type("actor_ref");
	types[4] = journal_type("payload");
	values[0] = Int64GetDatum(turn->actor);
	values[1] = TimestampTzGetDatum(durable ? durable->sent_at : GetCurrentTimestamp());
	values[3] = ObjectIdGetDatum(durable ? durable->role : turn->owner);
	values[4] = PointerGetDatum(payload_create(datum, ROW_TYPE(type), is_null));
	values[5] = Int32GetDatum(failure->failures);
	nulls[0] = nulls[1] = nulls[3] = nulls[4] = nulls[5] = ' ';
	if (durable != NULL && !actor_ref_is_none(&durable->sender))
	{
		values[2] = ActorRefPGetDatum(&durable->sender);
		nulls[2] = ' ';
	}
	put_text(&values[6], &nulls[6], unpack_sql_state(failure->sqlerrcode));
	put_text(&values[7], &nulls[7], failure->message);
	put_text(&values[8], &nulls[8], failure->detail);
	put_text(&values[9], &nulls[9], failure->context);
	statement_open(&scope);
	(void) statement_run_typed("INSERT INTO dlog.quarantine"
							   " (actor, sent_at, sender, role, payload, failures, sqlstate, error, detail, context)"
							   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
							   10, types, values, nulls);
	statement_close(&scope);
	if (durable != NULL)
		outbox_refuse(&durable->sender, failure->sqlerrcode, failure->message);
}

/*
 * quarantine_row
 *		A row of the mailbox that cannot be delivered: its message is given up
 *		with this transaction.
 */
void
quarantine_row(ItemPointer tid, const ErrorData *error)
{
	StatementScope scope;
	Oid types[5] = {TIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[5] = {PointerGetDatum(tid)};
	char nulls[6] = "  nnn";
	bool is_null;

	put_text(&values[1], &nulls[1], unpack_sql_state(error->sqlerrcode));
	put_text(&values[2], &nulls[2], error->message);
	put_text(&values[3], &nulls[3], error->detail);
	put_text(&values[4], &nulls[4], error->context);
	PushActiveSnapshot(GetTransactionSnapshot());
	statement_open(&scope);
	if (statement_run_typed("WITH gone AS (DELETE FROM dlog.mailbox WHERE ctid OPERATOR(pg_catalog.=) $1 RETURNING *)"
							" INSERT INTO dlog.quarantine (actor, sent_at, sender, role, payload, failures, sqlstate, error, detail, context)"
							" SELECT actor, sent_at, sender, role, payload, 0, $2, coalesce($3, ''), $4, $5 FROM gone RETURNING actor, sender",
							5, types, values, nulls) == 1)
	{
		int64 actor = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
		Datum sender = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &is_null);

		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("a message to durable actor " INT64_FORMAT " cannot be delivered: %s", actor, error->message),
				 errdetail("It is in quarantine; see dlog.quarantined.")));
		if (!is_null)
			outbox_refuse(DatumGetActorRefP(sender), error->sqlerrcode, error->message);
	}
	statement_close(&scope);
	PopActiveSnapshot();
}

/* ---------------------------------------------------------------- sent again */

/*
 * dlog.redeliver(id) -> void
 */
Datum
dlog_redeliver(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	MemoryContext context = CurrentMemoryContext;
	StatementScope scope;
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(id)};
	struct varlena *payload;
	DurableSend send = {0};
	DurableActor actor;
	TupleDesc descriptor;
	HeapTuple row;
	MemoryContext old;
	bool is_null;

	runtime_require();
	statement_open(&scope);
	if (statement_run_typed("DELETE FROM dlog.quarantine WHERE id OPERATOR(pg_catalog.=) $1"
							" RETURNING actor, sender, role, payload",
							1, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no message " INT64_FORMAT " in quarantine", id),
				 errhint("The view dlog.quarantined lists them.")));
	descriptor = SPI_tuptable->tupdesc;
	row = SPI_tuptable->vals[0];
	send.actor = DatumGetInt64(SPI_getbinval(row, descriptor, 1, &is_null));
	values[0] = SPI_getbinval(row, descriptor, 2, &is_null);
	if (!is_null)
		send.sender = *DatumGetActorRefP(values[0]);
	send.role = DatumGetObjectId(SPI_getbinval(row, descriptor, 3, &is_null));
	old = MemoryContextSwitchTo(context);
	payload = PG_DETOAST_DATUM_COPY(SPI_getbinval(row, descriptor, 4, &is_null));
	MemoryContextSwitchTo(old);
	statement_close(&scope);
	if (!durable_read(send.actor, &actor))
		elog(ERROR, "durable actor " INT64_FORMAT " does not exist", send.actor);
	if (!has_privs_of_role(GetUserId(), actor.owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for message " INT64_FORMAT " in quarantine", id),
				 errdetail("The actor is another role's.")));
	send.message = payload_datum(payload, &send.type, &send.is_null);
	durable_send(&send);
	PG_RETURN_VOID();
}
