/*
 * failure.c
 *		An error of one node as a message, and as an error of another.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "remote/remote_internal.h"

/* Longest text of one field, so that all of them fit into a message. */
#define FIELD_MAX 6000

/* Longest text of one that has no more room than failure_reserve() made. */
#define RESERVED_TEXT_MAX 300

static WireBytes
clipped(const char *text, int encoding, int longest)
{
	WireBytes field = {0, NULL};

	if (text != NULL)
	{
		char *converted = pg_server_to_any(text, strlen(text), encoding);
		int length = strlen(converted);

		field.data = converted;
		field.size = length <= longest ?
						 length :
						 pg_encoding_mbcliplen(encoding, converted, length, longest);
	}
	return field;
}

/*
 * failure_reserve
 *		A message that failure_message() can use when there is no memory for
 *		another one.
 */
Message *
failure_reserve(void)
{
	FailureMessage failure = {.message.size = RESERVED_TEXT_MAX};

	return remote_message(MESSAGE_FAILURE, failure_size(&failure));
}

/* It was not needed, or it was. */
void
reserve_free(Message **reserve)
{
	if (*reserve != NULL)
		message_free(*reserve);
	*reserve = NULL;
}

/*
 * failure_message
 *		Make a FAILURE of an error, with all but its position in the text.
 *
 * When the shared memory is full, which may be why there is an error, the
 * reserve is used up; it has room for the primary message.  NULL if that
 * is gone as well.
 */
Message *
failure_message(const ErrorData *error, uint8 flags, int encoding, Message **reserve)
{
	FailureMessage failure = {
		.severity = error->elevel,
		.flags = flags,
		.sqlstate = error->sqlerrcode,
		.message = clipped(error->message, encoding, FIELD_MAX),
		.detail = clipped(error->detail, encoding, FIELD_MAX),
		.hint = clipped(error->hint, encoding, FIELD_MAX),
		.context = clipped(error->context, encoding, FIELD_MAX),
		.schema = clipped(error->schema_name, encoding, FIELD_MAX),
		.table = clipped(error->table_name, encoding, FIELD_MAX),
		.column = clipped(error->column_name, encoding, FIELD_MAX),
		.datatype = clipped(error->datatype_name, encoding, FIELD_MAX),
		.constraint = clipped(error->constraint_name, encoding, FIELD_MAX),
	};
	Message *message = message_try_create(MESSAGE_FAILURE, failure_size(&failure));

	if (message == NULL && *reserve != NULL)
	{
		failure = (FailureMessage){
			.severity = error->elevel,
			.flags = flags,
			.sqlstate = error->sqlerrcode,
			.message = clipped(error->message, encoding, RESERVED_TEXT_MAX),
		};
		message = *reserve;
		message->size = failure_size(&failure);
		*reserve = NULL;
	}
	if (message == NULL)
		return NULL;
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	failure_write(message->payload, message->size, &failure);
	return message;
}

static char *
field_string(WireBytes field)
{
	return field.size == 0 ? NULL : wire_to_cstring(field);
}

/*
 * failure_error
 *		The error that a FAILURE tells of, palloc'd, fit for ThrowErrorData().
 */
ErrorData *
failure_error(const Message *message, uint8 *flags)
{
	FailureMessage failure;
	ErrorData *error = palloc0(sizeof(ErrorData));

	if (!failure_read(message->payload, message->size, &failure))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed error from another node")));

	/* Nothing that happens there ends more than the statement here. */
	error->elevel = failure.severity >= ERROR ? ERROR :
					failure.severity == LOG	  ? NOTICE :
												failure.severity;
	error->sqlerrcode = failure.sqlstate;
	error->message = wire_to_cstring(failure.message);
	error->detail = field_string(failure.detail);
	error->hint = field_string(failure.hint);
	error->context = field_string(failure.context);
	error->schema_name = field_string(failure.schema);
	error->table_name = field_string(failure.table);
	error->column_name = field_string(failure.column);
	error->datatype_name = field_string(failure.datatype);
	error->constraint_name = field_string(failure.constraint);
	error->assoc_context = CurrentMemoryContext;
	if (flags != NULL)
		*flags = failure.flags;
	return error;
}
