/*
 * failure.c
 *		An error of one node as a message, and as an error of another.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "remote/remote_internal.h"

/* Longest text of one field, so that all of them fit into a message. */
#define FIELD_MAX 6000

static WireBytes
clipped(const char *text, int encoding)
{
	WireBytes field = {0, NULL};

	if (text != NULL)
	{
		char *converted = pg_server_to_any(text, strlen(text), encoding);
		int length = strlen(converted);

		field.data = converted;
		field.size = length <= FIELD_MAX ?
						 length :
						 pg_encoding_mbcliplen(encoding, converted, length, FIELD_MAX);
	}
	return field;
}

/*
 * failure_message
 *		Make a FAILURE of an error, with all but its position in the text.
 */
Message *
failure_message(const ErrorData *error, uint8 flags, int encoding)
{
	FailureMessage failure;
	Message *message;

	failure.severity = error->elevel;
	failure.flags = flags;
	failure.sqlstate = error->sqlerrcode;
	failure.message = clipped(error->message, encoding);
	failure.detail = clipped(error->detail, encoding);
	failure.hint = clipped(error->hint, encoding);
	failure.context = clipped(error->context, encoding);
	failure.schema = clipped(error->schema_name, encoding);
	failure.table = clipped(error->table_name, encoding);
	failure.column = clipped(error->column_name, encoding);
	failure.datatype = clipped(error->datatype_name, encoding);
	failure.constraint = clipped(error->constraint_name, encoding);

	message = remote_message(MESSAGE_FAILURE, failure_size(&failure));
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
