/*
 * mail.c
 *		What a handler gets: a datum in a message.
 */
#include "postgres.h"

#include "actor/actor_internal.h"

/* What is before the datum. */
static Size
head_size(int flags)
{
	return MAIL_HEADER + ((flags & MAIL_DURABLE) ? MAIL_DURABLE_HEADER : 0);
}

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
	Size head = head_size(flags);
	Value *more = NULL;
	Message *message;
	Mail *mail;

	if (size > MESSAGE_MAX_PAYLOAD - head)
		more = value_of_bytes(bytes, size);
	message = message_try_create(LOCAL_MAIL, head + (more ? 0 : size));
	if (message == NULL)
	{
		value_free(more);
		message = message_create(LOCAL_MAIL, head + size);
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
		memcpy(message->payload + head, bytes, size);
	if (flags & MAIL_DURABLE)
	{
		memset(message->payload + MAIL_HEADER, 0, MAIL_DURABLE_HEADER);
		ItemPointerSetInvalid(&mail_durable(message)->tid);
	}
	return message;
}

/*
 * mail_durable
 *		What a message to a durable actor has besides; NULL: it is none.
 */
DurableMail *
mail_durable(const Message *message)
{
	if (message->type != LOCAL_MAIL || (message_mail(message)->flags & MAIL_DURABLE) == 0)
		return NULL;
	return (DurableMail *) (message->payload + MAIL_HEADER);
}

int
mail_flags(const Message *message)
{
	return message->type == LOCAL_MAIL ? message_mail(message)->flags : 0;
}

/*
 * mail_has_entry
 *		Will it be in the journal of a durable actor, now that it has been
 *		handled?  One that is stashed is not, but that its handler turned the
 *		actor to another behavior is.
 */
bool
mail_has_entry(const Message *message)
{
	int flags = mail_flags(message);
	DurableMail *durable = mail_durable(message);

	if (flags & MAIL_STASHED)
		return durable != NULL && OidIsValid(durable->becomes);
	return (flags & MAIL_QUARANTINED) == 0;
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
	bytes = mail->more ? value_bytes(mail->more) : message->payload + head_size(mail->flags);
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
