/*
 * mail.c
 *		What a handler gets: a datum in a message.
 */
#include "postgres.h"

#include "actor/actor_internal.h"

/*
 * mail_create
 *		A message that holds a copy of the datum.  ERROR 53400 when the arena
 *		is full.
 */
Message *
mail_create(Datum datum, ValueType type, bool is_null, int flags)
{
	Size size;
	Datum flat = value_flatten(datum, type, is_null, &size);
	const char *bytes = type.is_by_value ? (const char *) &flat : DatumGetPointer(flat);
	Value *more = NULL;
	Message *message;
	Mail *mail;

	if (size > MAIL_MAX_INLINE)
		more = value_of_bytes(bytes, size);
	message = message_try_create(LOCAL_MAIL, MAIL_HEADER + (more ? 0 : size));
	if (message == NULL)
	{
		value_free(more);
		message = message_create(LOCAL_MAIL, MAIL_HEADER + size);
	}
	mail = message_mail(message);
	mail->more = more;
	mail->type = type.oid;
	mail->attempts = 0;
	mail->flags = flags;
	mail->is_null = is_null;
	mail->size = size;
	mail->type_length = type.length;
	mail->is_by_value = type.is_by_value;
	if (more != NULL)
		message->flags |= MESSAGE_CHAINED;
	else if (size > 0)
		memcpy(message->payload + MAIL_HEADER, bytes, size);
	return message;
}

/*
 * mail_datum
 *		Its datum, in place or in the current memory context.
 */
Datum
mail_datum(const Message *message, bool *is_null)
{
	const Mail *mail = (const Mail *) message->payload;
	const char *bytes;
	Datum datum;

	*is_null = mail->is_null;
	if (mail->is_null)
		return (Datum) 0;
	bytes = mail->more ? value_bytes(mail->more) : message->payload + MAIL_HEADER;
	if (!mail->is_by_value)
		return PointerGetDatum(bytes);
	memcpy(&datum, bytes, sizeof(Datum));
	return datum;
}

/* Types of messages that another node must not send us. */
bool
message_is_local(const Message *message)
{
	return message->type >= LOCAL_MAIL && message->type < LOCAL_END;
}
