/*
 * payload.c
 *		The type dlog.payload: a value of any type, and which type that is.
 *
 * In tables it is the flat value itself, so that nothing is converted where
 * messages are many.  Its text names the type, '(7,x)'::public.deposit, so a
 * dump of it can be restored where types have other numbers.  When the type
 * is dropped meanwhile, or an attribute in it has another type now, the text
 * is the type's number and the bytes.  Once there is a type of its name and
 * attributes again, it is read as of that.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "journal/journal_internal.h"

DLOG_FUNCTION(dlog_payload_in);
DLOG_FUNCTION(dlog_payload_out);
DLOG_FUNCTION(dlog_payload_type);
DLOG_FUNCTION(dlog_payload_text);
DLOG_FUNCTION(dlog_payload_as);

/* No data: the value is null, as no other one is empty. */
typedef struct Payload
{
	int32 vl_len_;
	Oid type;						  /* invalid: data begins with the number of a type that is gone */
	char data[FLEXIBLE_ARRAY_MEMBER]; /* aligned, and after it the layout of its type */
} Payload;

StaticAssertDecl(offsetof(Payload, data) == 8, "data is aligned");

#define GONE "GONE "

static char *
parse_type_text(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY);
}

/* As pg_dump has them, so that texts mean the same everywhere. */
static void
set_transmission_settings(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO"}, {"intervalstyle", "postgres"}, {"extra_float_digits", "3"}, {"timezone", "GMT"}, {"bytea_output", "hex"}, {"search_path", "pg_catalog"}};

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

struct varlena *
payload_create(Datum datum, ValueType type, bool is_null)
{
	Size size;
	Datum flat = value_flatten(datum, type, is_null, &size);
	int n = 0;
	const Oid *layout = is_null ? NULL : type_layout(type.oid, &n);
	Size all = n == 0 ? size : INTALIGN(size) + sizeof(Oid) * n;
	Payload *payload = palloc(offsetof(Payload, data) + all);

	SET_VARSIZE(payload, offsetof(Payload, data) + all);
	payload->type = type.oid;
	if (size > 0)
		memcpy(payload->data, type.is_by_value ? (char *) &flat : DatumGetPointer(flat), size);
	if (n > 0)
	{
		memset(payload->data + size, 0, INTALIGN(size) - size);
		memcpy(payload->data + INTALIGN(size), layout, sizeof(Oid) * n);
	}
	return (struct varlena *) payload;
}

/* ---------------------------------------------------- of types that are gone */

/* What is in a payload whose type is gone. */
typedef struct Gone
{
	Oid type;		  /* the number it had */
	const char *data; /* not aligned */
	Size size;
	DroppedType dropped;
	bool is_known; /* "dropped" is filled in */
	Oid successor; /* the type of its name; or invalid */
} Gone;

/* False: the type is there. */
static bool
find_gone(const Payload *payload, Gone *gone)
{
	gone->type = payload->type;
	gone->data = payload->data;
	gone->size = VARSIZE(payload) - offsetof(Payload, data);
	if (!OidIsValid(payload->type) && gone->size >= sizeof(Oid))
	{
		memcpy(&gone->type, payload->data, sizeof(Oid));
		gone->data += sizeof(Oid);
		gone->size -= sizeof(Oid);
	}
	else if (SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(payload->type)))
		return false;
	gone->is_known = type_dropped(gone->type, &gone->dropped);
	gone->successor = gone->is_known ? type_of_dropped_name(&gone->dropped) : InvalidOid;
	return true;
}

/* The row in it, aligned, and the layout of that. */
static HeapTupleHeader
copy_gone(const Gone *gone, const Oid **layout, int *n)
{
	char *copy = palloc(Max(gone->size, 1));
	Size size;

	memcpy(copy, gone->data, gone->size);
	size = gone->size < VARHDRSZ ? gone->size : INTALIGN(VARSIZE_ANY(copy));
	*layout = (const Oid *) (copy + size);
	*n = size < gone->size ? (gone->size - size) / sizeof(Oid) : 0;
	return (HeapTupleHeader) copy;
}

static pg_noreturn void
refuse_gone(const Gone *gone, const char *difference)
{
	const char *name = gone->is_known ? quote_qualified_identifier(gone->dropped.schema, gone->dropped.name) : NULL;
	const Oid *layout;
	int n;
	StringInfoData types;

	(void) copy_gone(gone, &layout, &n);
	initStringInfo(&types);
	for (int i = 2; n >= 2 && i < n && i < 2 + layout[1]; i++)
		if (OidIsValid(layout[i]))
			appendStringInfo(&types, "%s%s", types.len > 0 ? ", " : "", type_text(layout[i]));
	ereport(ERROR,
			(errcode(difference == NULL ? ERRCODE_UNDEFINED_OBJECT : ERRCODE_DATATYPE_MISMATCH),
			 difference != NULL ?
				 errmsg("a payload is of type %s, which was dropped, and is of other attributes now", name) :
			 name != NULL ?
				 errmsg("a payload is of type %s, which does not exist any more", name) :
				 errmsg("a payload is of type %u, which does not exist any more", gone->type),
			 difference != NULL ? errdetail_internal("%s", difference) :
			 types.len > 0		? errdetail("It had attributes of types %s.", types.data) :
								  0,
			 name != NULL ? errhint("Create it with the attributes that it had.") : 0));
}

/* It is read as a row of the type that has the name now; ERROR if that is not the same. */
static Datum
gone_datum(const Gone *gone, Oid *type)
{
	const Oid *layout;
	int n;
	HeapTupleHeader row;
	const char *difference;

	if (!OidIsValid(gone->successor))
		refuse_gone(gone, NULL);
	row = copy_gone(gone, &layout, &n);
	difference = layout_difference_of_successor(gone->successor, gone->type, layout, n);
	if (difference != NULL)
		refuse_gone(gone, difference);

	/* Newer servers keep there which version of its type it is of; of the new type it is of none. */
	ItemPointerSetInvalid(&row->t_ctid);
	HeapTupleHeaderSetTypeId(row, gone->successor);
	HeapTupleHeaderSetTypMod(row, -1);
	*type = gone->successor;
	return PointerGetDatum(row);
}

/* Is there a type that gone_datum() reads it as? */
static bool
gone_is_readable(const Gone *gone)
{
	const Oid *layout;
	int n;

	if (!OidIsValid(gone->successor))
		return false;
	(void) copy_gone(gone, &layout, &n);
	return layout_difference_of_successor(gone->successor, gone->type, layout, n) == NULL;
}

/* ------------------------------------------------------------------ reading */

/*
 * NULL, or why the value must not be read, though its type, which has this
 * length, exists.
 */
static char *
payload_difference(const Payload *payload, int16 length)
{
	Size size = VARSIZE(payload) - offsetof(Payload, data);
	Size at;

	/* Whatever a composite type can be in is of variable length. */
	if (length != -1 || size == 0)
		return NULL;
	at = INTALIGN(VARSIZE_ANY(payload->data));
	return layout_difference(payload->type, (const Oid *) (payload->data + at),
							 at < size ? (size - at) / sizeof(Oid) : 0);
}

/*
 * payload_row
 *		The row in a payload that is mostly of this type; false: it is not, or
 *		payload_datum() says why it must not be read.
 */
bool
payload_row(const struct varlena *varlena, Oid type, Datum *row, bool *is_null)
{
	const Payload *payload = (const Payload *) varlena;

	*is_null = VARSIZE(payload) == offsetof(Payload, data);
	*row = *is_null ? (Datum) 0 : PointerGetDatum(payload->data);
	return payload->type == type && payload_difference(payload, -1) == NULL;
}

Datum
payload_datum(const struct varlena *varlena, Oid *type, bool *is_null)
{
	const Payload *payload = (const Payload *) varlena;
	HeapTuple tuple;
	int16 length;
	bool is_by_value;
	const char *difference;
	Datum datum;

	*type = payload->type;
	*is_null = VARSIZE(payload) == offsetof(Payload, data);
	if (*is_null)
		return (Datum) 0;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(payload->type));
	if (!HeapTupleIsValid(tuple))
	{
		Gone gone;

		(void) find_gone(payload, &gone);
		return gone_datum(&gone, type);
	}
	is_by_value = ((Form_pg_type) GETSTRUCT(tuple))->typbyval;
	length = ((Form_pg_type) GETSTRUCT(tuple))->typlen;
	ReleaseSysCache(tuple);
	difference = payload_difference(payload, length);
	if (difference != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a payload is of type %s as it was before it was altered", format_type_be(payload->type)),
				 errdetail_internal("%s", difference),
				 errhint("Give the attribute its old type again.  What shall be of another type gets a new type, and the behavior an upcast from the old one.")));
	if (!is_by_value)
		return PointerGetDatum(payload->data);
	memcpy(&datum, payload->data, sizeof(Datum));
	return datum;
}

/* --------------------------------------------------------------- canonical */

/* Its attributes, each with its length, but for the last ones that are null. */
static void
append_attributes(StringInfo text, HeapTupleHeader row)
{
	TupleDesc descriptor = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};
	Datum *values = palloc(sizeof(Datum) * descriptor->natts);
	bool *nulls = palloc(sizeof(bool) * descriptor->natts);
	int n = descriptor->natts;

	heap_deform_tuple(&tuple, descriptor, values, nulls);
	while (n > 0 && (nulls[n - 1] || TupleDescAttr(descriptor, n - 1)->attisdropped))
		n--;
	for (int i = 0; i < n; i++)
	{
		Oid output;
		bool is_varlena;
		char *value;

		if (TupleDescAttr(descriptor, i)->attisdropped)
			continue;
		if (nulls[i])
		{
			appendStringInfoString(text, "-,");
			continue;
		}
		getTypeOutputInfo(TupleDescAttr(descriptor, i)->atttypid, &output, &is_varlena);
		value = OidOutputFunctionCall(output, values[i]);
		appendStringInfo(text, "%zu:%s,", strlen(value), value);
	}
	ReleaseTupleDesc(descriptor);
}

/*
 * payload_canonical
 *		A text that tells two payloads apart, and stays the same when the
 *		payload is restored elsewhere or its type gets more attributes.
 */
const char *
payload_canonical(const struct varlena *varlena)
{
	StringInfoData text;
	Oid type;
	bool is_null;
	Datum datum = payload_datum(varlena, &type, &is_null);
	int guc_level = NewGUCNestLevel();

	/* Whoever looks may have other settings. */
	set_transmission_settings();
	initStringInfo(&text);
	appendStringInfo(&text, "%s ", parse_type_text(type));
	if (!is_null && type_is_rowtype(type))
		append_attributes(&text, DatumGetHeapTupleHeader(datum));
	else if (!is_null)
	{
		Oid output;
		bool is_varlena;

		getTypeOutputInfo(type, &output, &is_varlena);
		appendStringInfoString(&text, OidOutputFunctionCall(output, datum));
	}
	AtEOXact_GUC(true, guc_level);
	return text.data;
}

/* -------------------------------------------------------------------- text */

static char *
value_text(const Payload *payload)
{
	Oid type;
	bool is_null;
	Datum datum = payload_datum((const struct varlena *) payload, &type, &is_null);
	Oid output;
	bool is_varlena;

	if (is_null)
		return NULL;
	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, datum);
}

static char *
gone_text(const Payload *payload)
{
	const char *data = payload->data;
	Size size = VARSIZE(payload) - offsetof(Payload, data);
	Oid gone = payload->type;
	StringInfoData text;

	if (!OidIsValid(gone))
	{
		memcpy(&gone, data, sizeof(Oid));
		data += sizeof(Oid);
		size -= sizeof(Oid);
	}
	initStringInfo(&text);
	appendStringInfo(&text, GONE "%u ", gone);
	for (Size i = 0; i < size; i++)
		appendStringInfo(&text, "%02x", (unsigned char) data[i]);
	return text.data;
}

/* The type that it is read as; invalid: its type is gone, or of other attributes now. */
static Oid
readable_type(const Payload *payload)
{
	Gone gone;

	if (find_gone(payload, &gone))
		return gone_is_readable(&gone) ? gone.successor : InvalidOid;
	return payload_difference(payload, get_typlen(payload->type)) == NULL ? payload->type : InvalidOid;
}

/* What payload_out writes of the number of a type that is gone, and of bytes. */
static Payload *
read_gone(const char *text)
{
	char *end;
	Oid gone = (Oid) strtoul(text, &end, 10);
	Size size = *end == ' ' ? strlen(end + 1) : 1;
	Payload *payload;

	if (size % 2 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "dlog.payload", text)));
	payload = palloc(offsetof(Payload, data) + sizeof(Oid) + size / 2);
	SET_VARSIZE(payload, offsetof(Payload, data) + sizeof(Oid) + size / 2);
	payload->type = InvalidOid;
	memcpy(payload->data, &gone, sizeof(Oid));
	(void) hex_decode(end + 1, size, payload->data + sizeof(Oid));
	return payload;
}

/* Was it read from such a text? */
bool
payload_is_gone(const struct varlena *varlena)
{
	return !OidIsValid(((const Payload *) varlena)->type);
}

/* Take the literal off the text; NULL: it is null. */
static char *
read_literal(const char **at, const char *text)
{
	StringInfoData literal;

	if (strncmp(*at, "NULL::", 6) == 0)
	{
		*at += 6;
		return NULL;
	}
	initStringInfo(&literal);
	if (**at == '\'')
	{
		for ((*at)++; **at != '\0'; (*at)++)
		{
			if (**at == '\'' && *++(*at) != '\'')
				break;
			appendStringInfoChar(&literal, **at);
		}
	}
	if (strncmp(*at, "::", 2) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "dlog.payload", text),
				 errdetail("Expected 'value'::type, with quotes in the value doubled.")));
	*at += 2;
	return literal.data;
}

Datum
dlog_payload_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	const char *at = text;
	char *literal;
	Oid type;
	int32 type_modifier;
	Oid input;
	Oid parameter;
	Datum datum;

	if (strncmp(text, GONE, strlen(GONE)) == 0)
		PG_RETURN_POINTER(read_gone(text + strlen(GONE)));
	literal = read_literal(&at, text);
	parse_type_string(at, &type, &type_modifier);
	getTypeInputInfo(type, &input, &parameter);
	datum = OidInputFunctionCall(input, literal, parameter, type_modifier);
	PG_RETURN_POINTER(payload_create(datum, value_type(type), literal == NULL));
}

Datum
dlog_payload_out(PG_FUNCTION_ARGS)
{
	Payload *payload = (Payload *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	StringInfoData text;
	Oid type = readable_type(payload);
	const char *value;

	if (!OidIsValid(type))
		PG_RETURN_CSTRING(gone_text(payload));
	value = value_text(payload);
	initStringInfo(&text);
	if (value == NULL)
		appendStringInfoString(&text, "NULL");
	else
	{
		appendStringInfoChar(&text, '\'');
		for (; *value != '\0'; value++)
		{
			if (*value == '\'')
				appendStringInfoChar(&text, '\'');
			appendStringInfoChar(&text, *value);
		}
		appendStringInfoChar(&text, '\'');
	}
	appendStringInfo(&text, "::%s", parse_type_text(type));
	PG_RETURN_CSTRING(text.data);
}

/*
 * dlog.payload_type(payload) -> regtype
 *		Null: it is gone.
 */
Datum
dlog_payload_type(PG_FUNCTION_ARGS)
{
	Payload *payload = (Payload *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));

	Gone gone;

	if (!find_gone(payload, &gone))
		PG_RETURN_OID(payload->type);
	if (!gone_is_readable(&gone))
		PG_RETURN_NULL();
	PG_RETURN_OID(gone.successor);
}

/*
 * dlog.payload_text(payload) -> text
 *		The value alone.
 */
Datum
dlog_payload_text(PG_FUNCTION_ARGS)
{
	Payload *payload = (Payload *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	char *text = OidIsValid(readable_type(payload)) ? value_text(payload) : gone_text(payload);

	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/*
 * dlog.payload_as(payload, as_type) -> as_type
 */
Datum
dlog_payload_as(PG_FUNCTION_ARGS)
{
	Oid wanted = get_fn_expr_rettype(fcinfo->flinfo);
	Payload *payload;
	Oid type;
	bool is_null;
	Datum datum;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	payload = (Payload *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	datum = payload_datum((struct varlena *) payload, &type, &is_null);
	if (type != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the payload is of type %s, not %s", format_type_be(type), format_type_be(wanted))));
	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datum);
}
