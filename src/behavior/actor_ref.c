/*
 * actor_ref.c
 *		The type dlog.actor_ref: references to actors, as SQL knows them.
 *
 * A reference is plain data: whoever makes one up reaches what is there, if
 * the behavior's owner lets him.  Its text has numbers, not names, for a name
 * means something only where it is known and until it changes, while a
 * reference in a table outlives both: a dump of it is restored anywhere, and
 * the functions of the type are IMMUTABLE.
 *
 *		dlog://<node_id>/<database>/<slot>.<start>.<incarnation>
 *
 * start and incarnation are the halves of what the struct has as incarnation.
 * A text of another form names an actor:
 *
 *		dlog://<node>/<database>/<name>
 *
 * with bytes other than letters, digits and -._~ percent-encoded, as they are
 * in addresses of the web.  Where all three would look like numbers, the first
 * digit of the name is encoded too.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "base/function.h"
#include "behavior/behavior.h"

DLOG_FUNCTION(dlog_actor_ref_in);
DLOG_FUNCTION(dlog_actor_ref_out);
DLOG_FUNCTION(dlog_actor_ref_recv);
DLOG_FUNCTION(dlog_actor_ref_send);
DLOG_FUNCTION(dlog_actor_ref_eq);
DLOG_FUNCTION(dlog_actor_ref_ne);
DLOG_FUNCTION(dlog_actor_ref_lt);
DLOG_FUNCTION(dlog_actor_ref_le);
DLOG_FUNCTION(dlog_actor_ref_ge);
DLOG_FUNCTION(dlog_actor_ref_gt);
DLOG_FUNCTION(dlog_actor_ref_cmp);
DLOG_FUNCTION(dlog_actor_ref_hash);
DLOG_FUNCTION(dlog_actor_ref_hash_extended);

#define SCHEME "dlog://"

/* The type is defined with this length; its hash is of all bytes. */
StaticAssertDecl(sizeof(ActorRef) == 24, "ActorRef has no padding");

/* -------------------------------------------------------------------- text */

/*
 * Read a number and step behind it.  False: there is none, it has a leading
 * zero, or it is above "highest".
 */
static bool
read_number(const char **text, uint64 highest, uint64 *number)
{
	const char *at = *text;
	uint64 value = 0;

	if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
		return false;
	for (; *at >= '0' && *at <= '9'; at++)
	{
		uint64 digit = *at - '0';

		if (value > (highest - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*text = at;
	*number = value;
	return true;
}

static bool
skip(const char **text, char expected)
{
	if (**text != expected)
		return false;
	(*text)++;
	return true;
}

/* The form with numbers, after the scheme. */
static bool
read_numbers(const char *at, ActorRef *ref)
{
	uint64 node;
	uint64 database;
	uint64 slot;
	uint64 start;
	uint64 incarnation;

	if (!read_number(&at, PG_INT64_MAX, &node) || !skip(&at, '/') ||
		!read_number(&at, PG_UINT32_MAX, &database) || !skip(&at, '/') ||
		!read_number(&at, PG_UINT32_MAX, &slot) || !skip(&at, '.') ||
		!read_number(&at, PG_UINT32_MAX, &start) || !skip(&at, '.') ||
		!read_number(&at, PG_UINT32_MAX, &incarnation) || *at != '\0')
		return false;
	ref->node_id = (int64) node;
	ref->database = (Oid) database;
	ref->slot = (uint32) slot;
	ref->incarnation = start << 32 | incarnation;
	return true;
}

static int
hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

/* Decode a name of "size" bytes; NULL if it is none. */
static char *
read_name(const char *text, Size size)
{
	StringInfoData name;

	initStringInfo(&name);
	for (Size i = 0; i < size; i++)
	{
		char byte = text[i];

		if (byte == '%')
		{
			int high = i + 2 < size ? hex_value(text[i + 1]) : -1;
			int low = i + 2 < size ? hex_value(text[i + 2]) : -1;

			if (high < 0 || low < 0 || (high == 0 && low == 0))
				return NULL;
			byte = (char) (high << 4 | low);
			i += 2;
		}
		appendStringInfoCharMacro(&name, byte);
	}
	if (name.len == 0 || !pg_verifymbstr(name.data, name.len, true))
		return NULL;
	return name.data;
}

static bool
read_names(const char *at, ActorRefText *result)
{
	const char *first = strchr(at, '/');
	const char *second = first ? strchr(first + 1, '/') : NULL;

	if (second == NULL || strchr(second + 1, '/') != NULL)
		return false;
	result->node = read_name(at, first - at);
	result->database = read_name(first + 1, second - first - 1);
	result->name = read_name(second + 1, strlen(second + 1));
	return result->node != NULL && result->database != NULL && result->name != NULL;
}

/*
 * actor_ref_parse
 *		Read either form of the text of a reference; false if it is neither.
 */
bool
actor_ref_parse(const char *text, ActorRefText *result)
{
	if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
		return false;
	text += strlen(SCHEME);
	memset(result, 0, sizeof(ActorRefText));
	if (read_numbers(text, &result->ref))
		return true;
	result->is_name = true;
	return read_names(text, result);
}

char *
actor_ref_text(const ActorRef *ref)
{
	return psprintf(SCHEME INT64_FORMAT "/%u/%u.%u.%u", ref->node_id, ref->database,
					ref->slot, (uint32) (ref->incarnation >> 32), (uint32) ref->incarnation);
}

static void
append_byte_encoded(StringInfo text, unsigned char byte)
{
	appendStringInfo(text, "%%%02X", byte);
}

static void
append_name(StringInfo text, const char *name)
{
	for (; *name != '\0'; name++)
	{
		unsigned char byte = (unsigned char) *name;

		if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
			(byte >= '0' && byte <= '9') || strchr("-._~", byte) != NULL)
			appendStringInfoCharMacro(text, byte);
		else
			append_byte_encoded(text, byte);
	}
}

/*
 * actor_ref_name_text
 *		The form with names.  actor_ref_parse() gives the same names back.
 */
char *
actor_ref_name_text(const char *node, const char *database, const char *name)
{
	StringInfoData text;
	int at;
	ActorRef ref;

	initStringInfo(&text);
	appendStringInfoString(&text, SCHEME);
	append_name(&text, node);
	appendStringInfoChar(&text, '/');
	append_name(&text, database);
	appendStringInfoChar(&text, '/');
	at = text.len;
	append_name(&text, name);
	if (read_numbers(text.data + strlen(SCHEME), &ref))
	{
		text.len = at;
		append_byte_encoded(&text, (unsigned char) name[0]);
		append_name(&text, name + 1);
	}
	return text.data;
}

Datum
actor_ref_datum(const ActorRef *ref)
{
	ActorRef *copy = palloc(sizeof(ActorRef));

	*copy = *ref;
	return ActorRefPGetDatum(copy);
}

/* ------------------------------------------------------- input and output */

Datum
dlog_actor_ref_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	ActorRefText parsed;

	if (!actor_ref_parse(text, &parsed))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "actor_ref", text),
				 errdetail("Expected dlog://node/database/slot.start.incarnation, in numbers."),
				 errhint("dlog.whereis() finds an actor by its name.")));
	if (parsed.is_name)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "actor_ref", text),
				 errdetail("Expected dlog://node/database/slot.start.incarnation, in numbers; this would be the name of an actor."),
				 errhint("dlog.whereis() finds the actor that has a name now.")));
	return actor_ref_datum(&parsed.ref);
}

Datum
dlog_actor_ref_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(actor_ref_text(PG_GETARG_ACTOR_REF_P(0)));
}

Datum
dlog_actor_ref_recv(PG_FUNCTION_ARGS)
{
	StringInfo buffer = (StringInfo) PG_GETARG_POINTER(0);
	ActorRef ref;

	ref.node_id = pq_getmsgint64(buffer);
	ref.database = (Oid) pq_getmsgint(buffer, 4);
	ref.slot = (uint32) pq_getmsgint(buffer, 4);
	ref.incarnation = (uint64) pq_getmsgint64(buffer);
	if (ref.node_id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid node number in external \"%s\" value", "actor_ref")));
	return actor_ref_datum(&ref);
}

Datum
dlog_actor_ref_send(PG_FUNCTION_ARGS)
{
	ActorRef *ref = PG_GETARG_ACTOR_REF_P(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint64(&buffer, ref->node_id);
	pq_sendint32(&buffer, ref->database);
	pq_sendint32(&buffer, ref->slot);
	pq_sendint64(&buffer, ref->incarnation);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* --------------------------------------------------- comparing and hashing */

/* By where they live, then by age. */
static int
compare(const ActorRef *a, const ActorRef *b)
{
	if (a->node_id != b->node_id)
		return a->node_id < b->node_id ? -1 : 1;
	if (a->database != b->database)
		return a->database < b->database ? -1 : 1;
	if (a->slot != b->slot)
		return a->slot < b->slot ? -1 : 1;
	if (a->incarnation != b->incarnation)
		return a->incarnation < b->incarnation ? -1 : 1;
	return 0;
}

#define COMPARISON(name, sign) \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_BOOL(compare(PG_GETARG_ACTOR_REF_P(0), PG_GETARG_ACTOR_REF_P(1)) sign 0); \
	}

COMPARISON(dlog_actor_ref_eq, ==)
COMPARISON(dlog_actor_ref_ne, !=)
COMPARISON(dlog_actor_ref_lt, <)
COMPARISON(dlog_actor_ref_le, <=)
COMPARISON(dlog_actor_ref_ge, >=)
COMPARISON(dlog_actor_ref_gt, >)

Datum
dlog_actor_ref_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(PG_GETARG_ACTOR_REF_P(0), PG_GETARG_ACTOR_REF_P(1)));
}

Datum
dlog_actor_ref_hash(PG_FUNCTION_ARGS)
{
	return hash_any((unsigned char *) PG_GETARG_ACTOR_REF_P(0), sizeof(ActorRef));
}

Datum
dlog_actor_ref_hash_extended(PG_FUNCTION_ARGS)
{
	return hash_any_extended((unsigned char *) PG_GETARG_ACTOR_REF_P(0), sizeof(ActorRef),
							 PG_GETARG_INT64(1));
}
