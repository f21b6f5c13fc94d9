/*
 * inbox.c
 *		Taking what other nodes have in their outboxes for us.
 *
 * All that is taken of a batch is one transaction: the messages in the
 * mailboxes of durable actors, and the sequence number of the last of them.
 * What has been taken before, and comes again, is known by its number.
 *
 * A message that cannot be taken at all, for example since nobody here has a
 * type of its name, is refused: it is kept in a table, with the reason.  One
 * whose receiver's mailbox is full, or that meets another error that passes,
 * stays where it is, with all that come after it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "base/stop_point.h"
#include "journal/journal_internal.h"
#include "journal/outbox.h"

DLOG_FUNCTION(dlog_outbox_take);
DLOG_FUNCTION(dlog_outbox_last);
DLOG_FUNCTION(dlog_take_refused);

/* The arrays that come, in their order. */
typedef enum InboxColumn
{
	INBOX_KIND,
	INBOX_RECEIVER,
	INBOX_SENDER,
	INBOX_ROLE,
	INBOX_PAYLOAD,
	INBOX_SENT_AT,
	INBOX_COLUMNS
} InboxColumn;

/* One message of a batch; what is NULL is null. */
typedef struct Incoming
{
	char *column[INBOX_COLUMNS];
} Incoming;

/* ------------------------------------------------------------ the last one */

static int64
execute_int64(const char *sql, int n, Datum *values, bool *is_there)
{
	Oid types[6] = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID};
	bool is_null;

	if (SPI_execute_with_args(sql, n, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not use dlog.inbox_link");
	*is_there = SPI_processed > 0;
	if (SPI_processed == 0 || SPI_tuptable == NULL)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
}

/* A row for a node that we have nothing of; waits for who makes it just now. */
static void
make_link(int64 node_id, int64 generation)
{
	Datum values[2] = {Int64GetDatum(node_id), Int64GetDatum(generation)};
	bool is_there;

	(void) execute_int64("INSERT INTO dlog.inbox_link (node_id, generation, sequence) VALUES ($1, $2, 0)"
						 " ON CONFLICT DO NOTHING",
						 2, values, &is_there);
}

/*
 * The number of the last message that was taken from a node, from this outbox
 * of it: "before" if that is another one than we knew.  A node that we have
 * nothing of begins with 1.  Locks the row, so that a batch that comes twice
 * at a time is taken once.
 */
static int64
last_taken(int64 node_id, int64 generation, int64 before)
{
	Datum values[3] = {Int64GetDatum(node_id), Int64GetDatum(generation), Int64GetDatum(before)};
	bool is_there;
	int64 last;

	make_link(node_id, generation);
	last = execute_int64("SELECT sequence FROM dlog.inbox_link WHERE node_id = $1 AND generation = $2 FOR UPDATE",
						 2, values, &is_there);
	if (is_there)
		return last;

	/* It has another outbox, since its extension was made anew. */
	(void) execute_int64("UPDATE dlog.inbox_link SET generation = $2, sequence = $3, sent_at = NULL WHERE node_id = $1",
						 3, values, &is_there);
	return before;
}

/* ------------------------------------------------------------------ taking */

static ActorRef
reference(const char *text)
{
	ActorRefText parsed;

	if (text == NULL || !actor_ref_parse(text, &parsed) || parsed.is_name)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed reference in a message from another node")));
	return parsed.ref;
}

/*
 * To read a message calls functions of its types, such as checks of domains,
 * which are its sender's affair.  An error undoes the change of role.
 */
static Datum
message_datum(const Incoming *incoming, Oid *type, bool *is_null)
{
	Oid role = get_role_oid(incoming->column[INBOX_ROLE], false);
	int level = NewGUCNestLevel();
	Oid user;
	int security_context;
	Oid input;
	Oid parameter;
	Datum payload;
	Datum result;

	getTypeInputInfo(journal_type("payload"), &input, &parameter);
	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(role, security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	payload = OidInputFunctionCall(input, incoming->column[INBOX_PAYLOAD], parameter, -1);

	/* Its number is that node's. */
	if (payload_is_gone((struct varlena *) DatumGetPointer(payload)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the type of the message was dropped on the node that sent it"),
				 errhint("Its payload can be cast to dlog.payload there, when the type has been created again.")));
	result = payload_datum((struct varlena *) DatumGetPointer(payload), type, is_null);
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(user, security_context);
	return result;
}

/* "SQLSTATE text" */
static Message *
failure_message(const char *text)
{
	bool has_state = strlen(text) > 6;
	Message *message = ask_failure(has_state ? MAKE_SQLSTATE(text[0], text[1], text[2], text[3], text[4]) :
											   ERRCODE_INTERNAL_ERROR,
								   has_state ? text + 6 : text);

	if (message == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of dlog's shared memory"),
				 errhint("Raise dlog.shared_memory_size.")));
	return message;
}

/*
 * The answer to somebody who asks in a session of this node, or to an actor
 * that has sent the message.  Who has gone does not hear it.
 */
static void
take_answer(const Incoming *incoming)
{
	ActorRef asker = reference(incoming->column[INBOX_RECEIVER]);
	ActorAddress address;
	Message *message;
	Oid type;
	bool is_null;
	Datum datum;

	if (!actor_of_this_life(&asker, &address))
		return;
	datum = message_datum(incoming, &type, &is_null);
	if (incoming->column[INBOX_KIND][0] == OUTBOX_REPLY)
		message = mail_create(datum, value_type(type), is_null, 0);
	else
		message = failure_message(TextDatumGetCString(datum));
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	actor_send_at_commit(address, message);
}

static void
take(const Incoming *incoming)
{
	ActorRef to;
	DurableSend send = {0};

	if (incoming->column[INBOX_KIND][0] != OUTBOX_SEND)
	{
		take_answer(incoming);
		return;
	}
	to = reference(incoming->column[INBOX_RECEIVER]);
	send.actor = (int64) to.incarnation;
	if (incoming->column[INBOX_SENDER] != NULL)
		send.sender = reference(incoming->column[INBOX_SENDER]);
	send.role = get_role_oid(incoming->column[INBOX_ROLE], false);
	send.message = message_datum(incoming, &send.type, &send.is_null);
	durable_send(&send);
}

/* It cannot be taken: keep it, with the reason, and tell who asks. */
static void
refuse(int64 node_id, const Incoming *incoming, const ErrorData *error)
{
	Oid types[INBOX_COLUMNS + 3] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[INBOX_COLUMNS + 3];
	char nulls[INBOX_COLUMNS + 4] = "         ";

	values[0] = Int64GetDatum(node_id);
	for (int i = 0; i < INBOX_COLUMNS; i++)
	{
		const char *text = incoming->column[i];

		values[1 + i] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
		nulls[1 + i] = text == NULL ? 'n' : ' ';
	}
	values[INBOX_COLUMNS + 1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[INBOX_COLUMNS + 2] = CStringGetTextDatum(error->message);
	if (SPI_execute_with_args("INSERT INTO dlog.inbox_refused (node_id, kind, receiver, sender, role, payload, sent_at, sqlstate, error)"
							  " VALUES ($1, $2, $3, $4, $5, $6, $7::pg_catalog.timestamptz, $8, $9)",
							  INBOX_COLUMNS + 3, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write to dlog.inbox_refused");
	if (incoming->column[INBOX_KIND][0] == OUTBOX_SEND && incoming->column[INBOX_SENDER] != NULL)
	{
		ActorRef sender = reference(incoming->column[INBOX_SENDER]);

		outbox_refuse(&sender, error->sqlerrcode, error->message);
	}
}

/* Messages that are taken in one subtransaction: all of them, or none. */
typedef struct Span
{
	const Incoming *first;
	int n;
	int taken;		  /* those that were good until one failed */
	ErrorData *error; /* of that one; NULL: none failed */
} Span;

static void
take_in_order(void *argument)
{
	Span *span = argument;

	for (span->taken = 0; span->taken < span->n; span->taken++)
	{
		CHECK_FOR_INTERRUPTS();
		take(&span->first[span->taken]);
	}
}

static bool
take_span(Span *span)
{
	span->error = statement_try(take_in_order, span);
	if (span->error != NULL && (ProcDiePending || span->error->sqlerrcode == ERRCODE_QUERY_CANCELED))
		ReThrowError(span->error);
	return span->error == NULL;
}

/*
 * Take as many as there is room for; what fails is refused, but for what fails
 * only now.  If that is the first, its node is to know why nothing is taken.
 */
static int
take_all(int64 node_id, const Incoming *incoming, int n, int *refused)
{
	int taken = 0;

	while (taken < n)
	{
		Span span = {.first = incoming + taken, .n = n - taken};

		if (take_span(&span))
			return n;

		/* Those before the culprit again, and it by itself. */
		span.n = span.taken;
		if (span.n > 0 && !take_span(&span))
			continue;
		taken += span.n;
		span = (Span){.first = incoming + taken, .n = 1};
		if (!take_span(&span))
		{
			if (span.error->sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
				return taken;
			if (error_is_of_the_moment(span.error))
			{
				if (taken == 0)
					ReThrowError(span.error);
				return taken;
			}
			refuse(node_id, span.first, span.error);
			(*refused)++;
		}
		taken++;
	}
	return taken;
}

static Incoming *
read_arrays(FunctionCallInfo fcinfo, int first, int *n)
{
	Incoming *incoming = NULL;

	for (int column = 0; column < INBOX_COLUMNS; column++)
	{
		Datum *elements;
		bool *nulls;
		int n_elements;

		if (PG_ARGISNULL(first + column))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a column of the batch is null")));
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(first + column), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n_elements);
		if (incoming == NULL)
		{
			*n = n_elements;
			incoming = palloc0(sizeof(Incoming) * Max(n_elements, 1));
		}
		if (n_elements != *n)
			ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR), errmsg("the columns of the batch differ in length")));
		for (int i = 0; i < n_elements; i++)
			incoming[i].column[column] = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
	}
	for (int i = 0; i < *n; i++)
		for (int column = 0; column < INBOX_COLUMNS; column++)
			if (column != INBOX_SENDER && incoming[i].column[column] == NULL)
				ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a message of the batch is not complete")));
	return incoming;
}

/* When the last message was sent that was taken from a node; 0: it is not known. */
static TimestampTz
last_sent_at(int64 node_id)
{
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(node_id)};
	bool is_null = true;
	Datum sent_at = (Datum) 0;

	if (SPI_execute_with_args("SELECT sent_at FROM dlog.inbox_link WHERE node_id = $1", 1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read dlog.inbox_link");
	if (SPI_processed > 0)
		sent_at = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	return is_null ? 0 : DatumGetTimestampTz(sent_at);
}

static TimestampTz
sent_at(const Incoming *incoming)
{
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(incoming->column[INBOX_SENT_AT]),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/*
 * What comes again is what was taken under its numbers, or it would be taken
 * for that and be lost.  "last" is the number of the last that was taken,
 * "first" that of the first of these.
 */
static void
check_repeated(int64 node_id, int64 last, int64 first, const Incoming *incoming, int n)
{
	TimestampTz known;

	if (last < first)
		return;
	known = last_sent_at(node_id);
	if (last < first + n && (known == 0 || sent_at(&incoming[last - first]) == known))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("node " INT64_FORMAT " sends other messages than those that were taken from it under the same numbers", node_id),
			 errdetail("There are two servers with its key, or its table dlog.outbox_link was changed."),
			 errhint("Stop the copy, or remove the file dlog_node_key there; then start the one that stays again, for it asks then which numbers are free.")));
}

/*
 * dlog.outbox_take(node, generation, sequence, arrays ...) -> integer
 *		Take a batch; how many of its messages are here now.
 */
Datum
dlog_outbox_take(PG_FUNCTION_ARGS)
{
	int64 node_id = PG_GETARG_INT64(0);
	int64 generation = PG_GETARG_INT64(1);
	int64 first = PG_GETARG_INT64(2);
	int n;
	Incoming *incoming = read_arrays(fcinfo, 3, &n);
	int64 last;
	int known;
	int taken;
	int refused = 0;
	Datum values[6];
	bool is_there;

	outbox_flush_at_commit();
	(void) set_config_option("dlog.full_mailbox", "error", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);

	/* What cannot be delivered for the time being is not refused, but stays where it is. */
	mailbox_wait_for_delivery();
	SPI_connect();
	last = last_taken(node_id, generation, first - 1);
	STOP_POINT("outbox-take");
	check_repeated(node_id, last, first, incoming, n);
	known = (int) Min(Max(last - first + 1, 0), n);
	taken = known + take_all(node_id, incoming + known, n - known, &refused);
	values[0] = Int64GetDatum(node_id);
	values[1] = Int64GetDatum(Max(first + taken - 1, last));
	values[2] = Int64GetDatum(Max(first - last - 1, 0));
	values[3] = Int64GetDatum(taken - known - refused);
	values[4] = Int64GetDatum(refused);
	values[5] = TimestampTzGetDatum(taken > known ? sent_at(&incoming[taken - 1]) : 0);
	(void) execute_int64("UPDATE dlog.inbox_link SET sequence = $2, missed = missed + $3, taken = taken + $4, refused = refused + $5,"
						 " taken_at = pg_catalog.clock_timestamp(),"
						 " sent_at = CASE WHEN $4 + $5 > 0 THEN $6 ELSE sent_at END WHERE node_id = $1",
						 6, values, &is_there);
	if (first > last + 1)
		ereport(LOG,
				(errmsg("dlog: " INT64_FORMAT " messages from node " INT64_FORMAT " were taken once and are lost here",
						first - last - 1, node_id),
				 errdetail("This server was promoted, or restored, without its last commits."),
				 errhint("The other node does not send them again.  dlog.deliveries counts them as missed; compare what the databases have.")));
	SPI_finish();
	STOP_POINT("outbox-taken");
	PG_RETURN_INT32(taken);
}

/*
 * dlog.outbox_last(node, generation) -> bigint
 *		The number of the last message that was taken; null: none of
 *		this outbox was.  Waits for a batch that is being taken, since its
 *		numbers must not be given again.
 */
Datum
dlog_outbox_last(PG_FUNCTION_ARGS)
{
	Datum values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	bool is_there;
	int64 last;

	SPI_connect();
	make_link(PG_GETARG_INT64(0), PG_GETARG_INT64(1));

	/* Who is waited for may have changed the generation: it is looked at afterwards. */
	last = execute_int64("SELECT CASE WHEN generation = $2 THEN sequence ELSE 0 END FROM dlog.inbox_link"
						 " WHERE node_id = $1 FOR UPDATE",
						 2, values, &is_there);
	SPI_finish();
	if (!is_there || last == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(last);
}

/*
 * dlog.take_refused(id) -> void
 *		Take a message that was refused after all.
 */
Datum
dlog_take_refused(PG_FUNCTION_ARGS)
{
	Oid types[1] = {INT8OID};
	Datum values[1] = {PG_GETARG_DATUM(0)};
	Incoming incoming;

	SPI_connect();
	if (SPI_execute_with_args("DELETE FROM dlog.inbox_refused WHERE id = $1"
							  " RETURNING kind, receiver, sender, role, payload, sent_at::pg_catalog.text",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE_RETURNING)
		elog(ERROR, "could not read dlog.inbox_refused");
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no refused message " INT64_FORMAT, PG_GETARG_INT64(0)),
				 errhint("dlog.inbox_refused lists them.")));
	for (int i = 0; i < INBOX_COLUMNS; i++)
		incoming.column[i] = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);
	take(&incoming);
	SPI_finish();
	PG_RETURN_VOID();
}
