/*
 * dlog/durable.h
 *		Durable actors in C, for extensions.  docs/actors_in_c.md explains it.
 *
 * Include postgres.h first.  A durable actor's handlers are functions that
 * SQL knows, so that its messages, its journal and its replay are as those of
 * any other; this header writes them.  You write, for each behavior, how its
 * state becomes bytes and comes back; and for each message, how the state
 * changes (apply), which is what a replay repeats, and if need be what else
 * is to happen (a handler), which it does not.
 *
 * Such a library is loaded when it is first needed; it need not be preloaded.
 * Names that end in an underscore are not for you.
 */
#ifndef DLOG_DURABLE_FACE_H
#define DLOG_DURABLE_FACE_H

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "dlog/actor.h"

/* ------------------------------------------------------------------ types */

/* A text in a message: NULL and 0 if it is null; good until the function returns. */
typedef struct DlogText
{
	const char *data; /* ends with a zero byte */
	int32 length;
} DlogText;

/* A reference, dlog.actor_ref, in a message. */
typedef struct DlogRef
{
	int64 words_[3];
} DlogRef;

static inline DlogText
dlog_text(const char *string)
{
	DlogText result = {string, string ? (int32) strlen(string) : 0};

	return result;
}

/* An attribute of a message's type. */
typedef struct DlogColumn
{
	const char *name;
	Oid type; /* 0: dlog.actor_ref */
	Size offset;
} DlogColumn;

/* A type of message, as SQL and as C know it. */
typedef struct DlogRow
{
	const char *type; /* its name in SQL */
	const DlogColumn *columns;
	int n_columns;
	Oid oid; /* of "type" when there was last something sent */
	SPIPlanPtr send;
	SPIPlanPtr reply;
} DlogRow;

/* --------------------------------------------------------------- messages */

/*
 * DLOG_DURABLE_MESSAGE(Name, "sql_type", value(type, attribute), ...): the C
 * side of a composite type.  Attributes are matched by name; a null one is
 * zero.  A type is bool, int16, int32, int64, float, double, DlogText or DlogRef.
 */
#define DLOG_DURABLE_MESSAGE(Name, sql_type, ...) \
	typedef struct Name \
	{ \
		DLOG_EACH_(DLOG_VALUE_MEMBER_, , ##__VA_ARGS__) \
	} Name; \
	static const DlogColumn Name##_columns_[] = { \
		DLOG_EACH_(DLOG_COLUMN_, Name, ##__VA_ARGS__){NULL, InvalidOid, 0}}; \
	static DlogRow Name##_row_ __attribute__((unused)) = {sql_type, Name##_columns_, lengthof(Name##_columns_) - 1, \
														  InvalidOid, NULL, NULL}

#define DLOG_COLUMN_(Name, field) DLOG_COLUMN_2_(Name, DLOG_COLUMN_##field)
#define DLOG_COLUMN_2_(Name, ...) DLOG_COLUMN_3_(Name, __VA_ARGS__)
#define DLOG_COLUMN_value(ctype, attribute) ctype, attribute
#define DLOG_COLUMN_3_(Name, ctype, attribute) \
	{#attribute, DLOG_OID_OF_(ctype), __builtin_offsetof(Name, attribute)},
#define DLOG_OID_OF_(ctype) \
	_Generic((ctype *) 0, bool * : BOOLOID, int16 * : INT2OID, int32 * : INT4OID, int64 * : INT8OID, \
			 float * : FLOAT4OID, double * : FLOAT8OID, DlogText * : TEXTOID, DlogRef * : InvalidOid)

/* -------------------------------------------------------------- behaviors */

/*
 * DLOG_DURABLE_BEHAVIOR(Name, State, Message, ...): durable actors that have
 * this state and take these messages.  It makes the type Name_durable, a
 * reference to one: DLOG_DURABLE_REF(Name, a DlogRef).
 */
#define DLOG_DURABLE_BEHAVIOR(Name, State, ...) \
	typedef State Name##_durable_state_; \
	struct Name##_accepts \
	{ \
		DLOG_EACH_(DLOG_TAKES_, , __VA_ARGS__) \
	}; \
	typedef struct Name##_durable \
	{ \
		DlogRef ref; \
		struct Name##_accepts accepts_[0]; \
	} Name##_durable; \
	DLOG_EACH_(DLOG_MAY_HANDLE_, Name, __VA_ARGS__) \
	typedef State Name##_is_durable_

#define DLOG_MAY_HANDLE_(Name, Message) \
	extern __attribute__((weak, visibility("hidden"))) void Name##_handle_##Message(const Name##_durable_state_ *state, \
																					 const Message *message);

#define DLOG_DURABLE_REF(Name, reference) ((Name##_durable){reference})

/* DLOG_SERIALIZE(Name) { ... }: writes "state" into "bytes", with pq_send...() */
#define DLOG_SERIALIZE(Name) \
	enum \
	{ \
		Name##_serializes = 1 \
	}; \
	static void Name##_serialize_(const Name##_durable_state_ *state, StringInfo bytes)

/* DLOG_DESERIALIZE(Name) { ... }: reads all of "bytes" into "state", which is zero */
#define DLOG_DESERIALIZE(Name) \
	enum \
	{ \
		Name##_deserializes = 1 \
	}; \
	static void Name##_deserialize_(Name##_durable_state_ *state, StringInfo bytes)

/*
 * DLOG_APPLY(Name, Message) { ... }: changes "state" as "message" says, and
 * does nothing else.  It depends on nothing but these two.  It may be the
 * first: the state is zero then.
 */
#define DLOG_APPLY(Name, Message) \
	_Static_assert(sizeof(((Name##_durable *) 0)->accepts_[0].Message) == 1, "unreachable"); \
	enum \
	{ \
		Name##_applies_##Message = 1 \
	}; \
	static void Name##_apply_##Message(Name##_durable_state_ *state, const Message *message)

/*
 * DLOG_DURABLE_HANDLER(Name, Message) { ... }: what is to happen besides,
 * before the state changes: queries by SPI, sends, an answer.  All of it
 * commits together.  An ERROR refuses the message.
 */
#define DLOG_DURABLE_HANDLER(Name, Message) \
	_Static_assert(sizeof(((Name##_durable *) 0)->accepts_[0].Message) == 1, "unreachable"); \
	void Name##_handle_##Message(const Name##_durable_state_ *state, const Message *message)

/*
 * DLOG_IMPLEMENT_DURABLE(Name, Message, ...), after all of these, in one file:
 * defines, for each message, two functions for SQL,
 *
 *		Name_Message(state bytea, message its type) RETURNS bytea
 *		Name_Message_apply(state bytea, message its type) RETURNS bytea
 *
 * of which the second is IMMUTABLE, and the first too without a handler.
 */
#define DLOG_IMPLEMENT_DURABLE(Name, ...) \
	_Static_assert(0 DLOG_EACH_(DLOG_ONE_, , __VA_ARGS__) == sizeof(struct Name##_accepts), \
				   #Name ": every message that the behavior takes is to be applied"); \
	_Static_assert(Name##_serializes &&Name##_deserializes, "unreachable"); \
	DLOG_EACH_(DLOG_DURABLE_FUNCTIONS_, Name, __VA_ARGS__) \
	typedef Name##_durable Name##_is_implemented_

#define DLOG_DURABLE_FUNCTIONS_(Name, Message) \
	_Static_assert(Name##_applies_##Message, "unreachable"); \
	static Datum Name##_run_##Message(FunctionCallInfo fcinfo, bool handles) \
	{ \
		Name##_durable_state_ state_; \
		Message message_; \
		StringInfoData bytes_; \
		memset(&state_, 0, sizeof(state_)); \
		memset(&message_, 0, sizeof(message_)); \
		if (dlog_durable_state_(fcinfo, &bytes_)) \
		{ \
			Name##_deserialize_(&state_, &bytes_); \
			pq_getmsgend(&bytes_); \
		} \
		dlog_durable_message_(fcinfo, &Message##_row_, &message_); \
		if (handles && Name##_handle_##Message != NULL) \
			Name##_handle_##Message(&state_, &message_); \
		Name##_apply_##Message(&state_, &message_); \
		pq_begintypsend(&bytes_); \
		Name##_serialize_(&state_, &bytes_); \
		PG_RETURN_BYTEA_P(pq_endtypsend(&bytes_)); \
	} \
	PG_FUNCTION_INFO_V1(Name##_##Message); \
	Datum Name##_##Message(PG_FUNCTION_ARGS) \
	{ \
		return Name##_run_##Message(fcinfo, true); \
	} \
	PG_FUNCTION_INFO_V1(Name##_##Message##_apply); \
	Datum Name##_##Message##_apply(PG_FUNCTION_ARGS) \
	{ \
		return Name##_run_##Message(fcinfo, false); \
	}

/* ---------------------------------------------------------------- sending */

/*
 * In a handler.  dlog_durable_send(to, Message, .attribute = ...) sends with
 * this message's commit, to an actor of this node or another;
 * dlog_durable_reply(Message, .attribute = ...) answers.
 */
#define dlog_durable_send(to, Message, ...) \
	((void) sizeof((to).accepts_[0].Message), \
	 dlog_durable_send_(&Message##_row_, &(to).ref, &(Message){__VA_ARGS__}))
#define dlog_durable_reply(Message, ...) \
	dlog_durable_send_(&Message##_row_, NULL, &(Message){__VA_ARGS__})

/* ----------------------------------------------------------- how it works */

static Oid
dlog_ref_type_(void)
{
	Oid type;
	int32 typmod;

	parseTypeString("dlog.actor_ref", &type, &typmod, false);
	return type;
}

static inline void
dlog_wrong_type_(const char *type, const DlogColumn *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("type %s does not fit the library that handles it", type),
			 column->type == InvalidOid ?
				 errdetail("Its attribute \"%s\" should be of type dlog.actor_ref.", column->name) :
				 errdetail("Its attribute \"%s\" should be of type %s.", column->name, format_type_be(column->type))));
}

/* The number of the attribute, counted from 0, that a column is. */
static inline int
dlog_attribute_(TupleDesc descriptor, const char *type, const DlogColumn *column)
{
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), column->name) != 0)
			continue;
		if (getBaseType(attribute->atttypid) == (column->type == InvalidOid ? dlog_ref_type_() : column->type))
			return i;
		break;
	}
	dlog_wrong_type_(type, column);
	return -1;
}

/* What is found out about a type of message when a function first sees it. */
typedef struct DlogSeen
{
	Oid type;
	uint64 version;
	TupleDesc descriptor;
	int attribute[24];
} DlogSeen;

static inline DlogSeen *
dlog_seen_(FunctionCallInfo fcinfo, HeapTupleHeader row, const DlogRow *as)
{
	DlogSeen *seen = (DlogSeen *) fcinfo->flinfo->fn_extra;
	Oid type = HeapTupleHeaderGetTypeId(row);
	uint64 version = assign_record_type_identifier(type, HeapTupleHeaderGetTypMod(row));
	MemoryContext old;

	if (seen != NULL && seen->type == type && seen->version == version)
		return seen;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	seen = (DlogSeen *) palloc0(sizeof(DlogSeen));
	seen->type = type;
	seen->version = version;
	seen->descriptor = lookup_rowtype_tupdesc_copy(type, HeapTupleHeaderGetTypMod(row));
	for (int i = 0; i < as->n_columns; i++)
		seen->attribute[i] = dlog_attribute_(seen->descriptor, as->type, &as->columns[i]);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = seen;
	return seen;
}

static inline void
dlog_column_read_(const DlogColumn *column, Datum value, char *into)
{
	switch (column->type)
	{
		case BOOLOID:
			*(bool *) into = DatumGetBool(value);
			break;
		case INT2OID:
			*(int16 *) into = DatumGetInt16(value);
			break;
		case INT4OID:
			*(int32 *) into = DatumGetInt32(value);
			break;
		case INT8OID:
			*(int64 *) into = DatumGetInt64(value);
			break;
		case FLOAT4OID:
			*(float *) into = DatumGetFloat4(value);
			break;
		case FLOAT8OID:
			*(double *) into = DatumGetFloat8(value);
			break;
		case TEXTOID:
			*(DlogText *) into = dlog_text(TextDatumGetCString(value));
			break;
		default:
			memcpy(into, DatumGetPointer(value), sizeof(DlogRef));
			break;
	}
}

static inline Datum
dlog_column_datum_(const DlogColumn *column, const char *from, bool *is_null)
{
	*is_null = false;
	switch (column->type)
	{
		case BOOLOID:
			return BoolGetDatum(*(const bool *) from);
		case INT2OID:
			return Int16GetDatum(*(const int16 *) from);
		case INT4OID:
			return Int32GetDatum(*(const int32 *) from);
		case INT8OID:
			return Int64GetDatum(*(const int64 *) from);
		case FLOAT4OID:
			return Float4GetDatum(*(const float *) from);
		case FLOAT8OID:
			return Float8GetDatum(*(const double *) from);
		case TEXTOID:
		{
			const DlogText *text = (const DlogText *) from;

			*is_null = text->data == NULL;
			return *is_null ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(text->data, text->length));
		}
		default:
			return PointerGetDatum(from);
	}
}

/* False: it has none yet. */
static inline bool
dlog_durable_state_(FunctionCallInfo fcinfo, StringInfo bytes)
{
	bytea *state;

	if (PG_ARGISNULL(0))
		return false;
	state = PG_GETARG_BYTEA_PP(0);
	bytes->data = VARDATA_ANY(state);
	bytes->len = bytes->maxlen = VARSIZE_ANY_EXHDR(state);
	bytes->cursor = 0;
	return true;
}

static inline void
dlog_durable_message_(FunctionCallInfo fcinfo, const DlogRow *as, void *into)
{
	HeapTupleHeader row;
	HeapTupleData tuple = {0};
	DlogSeen *seen;

	if (PG_ARGISNULL(1))
		return;
	row = PG_GETARG_HEAPTUPLEHEADER(1);
	seen = dlog_seen_(fcinfo, row, as);
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	for (int i = 0; i < as->n_columns; i++)
	{
		bool is_null;
		Datum value = heap_getattr(&tuple, seen->attribute[i] + 1, seen->descriptor, &is_null);

		if (!is_null)
			dlog_column_read_(&as->columns[i], value, (char *) into + as->columns[i].offset);
	}
}

/* The message as a row of its type. */
static Datum
dlog_row_form_(const DlogRow *as, Oid type, const void *message)
{
	TupleDesc descriptor = lookup_rowtype_tupdesc(type, -1);
	Datum *values = (Datum *) palloc0(sizeof(Datum) * Max(descriptor->natts, 1));
	bool *nulls = (bool *) palloc(sizeof(bool) * Max(descriptor->natts, 1));
	Datum row;

	memset(nulls, true, sizeof(bool) * Max(descriptor->natts, 1));
	for (int i = 0; i < as->n_columns; i++)
	{
		int attribute = dlog_attribute_(descriptor, as->type, &as->columns[i]);

		values[attribute] = dlog_column_datum_(&as->columns[i], (const char *) message + as->columns[i].offset,
											   &nulls[attribute]);
	}
	row = HeapTupleGetDatum(heap_form_tuple(descriptor, values, nulls));
	ReleaseTupleDesc(descriptor);
	return row;
}

/* A statement of one message, or of a reference and one; kept for the next time. */
static SPIPlanPtr
dlog_plan_(SPIPlanPtr *plan, const char *sql, int n, Oid *types)
{
	if (*plan == NULL)
	{
		*plan = SPI_prepare(sql, n, types);
		if (*plan == NULL || SPI_keepplan(*plan) != 0)
			elog(ERROR, "could not prepare: %s", sql);
	}
	return *plan;
}

static __attribute__((unused)) void
dlog_durable_send_(DlogRow *as, const DlogRef *to, const void *message)
{
	Oid types[2];
	Datum values[2];
	SPIPlanPtr plan;
	Oid type;
	int32 typmod;

	parseTypeString(as->type, &type, &typmod, false);
	if (as->oid != type)
	{
		as->oid = type;
		as->send = as->reply = NULL;
	}
	SPI_connect();
	values[0] = values[1] = dlog_row_form_(as, type, message);
	types[0] = types[1] = type;
	if (to != NULL)
	{
		types[0] = dlog_ref_type_();
		values[0] = PointerGetDatum(to);
		plan = dlog_plan_(&as->send, "SELECT dlog.send($1, $2)", 2, types);
	}
	else
		plan = dlog_plan_(&as->reply, "SELECT dlog.reply($1)", 1, types);
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not send a message of type %s", as->type);
	SPI_finish();
}

#endif
