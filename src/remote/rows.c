/*
 * rows.c
 *		Rows as bytes in chunks, and back.
 *
 * A *raw* row is the server's own MinimalTuple, padded to a multiple of 8 and
 * delimited by its length word.  It is used when both ends have the same
 * major version, architecture and encoding, and no column's type stores an
 * OID that means something else on another node.  Any other row goes column
 * by column: its length in network order, then for each column a length (-1
 * for null) and the bytes of the type's send function, or of its output
 * function where the binary format itself holds OIDs.
 *
 * Rows are written straight into the message that carries them.  A row that
 * is larger than what is left of a chunk either starts the next one or, if it
 * is large, is cut.  The reader points into the chunk where a raw row lies
 * whole, and puts together only those that were cut.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "remote/remote_internal.h"

/* Sequence, flags, rows and length: what chunk_write() puts before the rows. */
#define CHUNK_HEADER_SIZE 16

/* The first chunk is small, so that the first rows come early. */
#define FIRST_CAPACITY (4096 - 8 - offsetof(Message, payload) - CHUNK_HEADER_SIZE)
#define MAX_CAPACITY \
	TYPEALIGN_DOWN(MAXIMUM_ALIGNOF, MESSAGE_MAX_PAYLOAD - CHUNK_HEADER_SIZE)

/* A row up to this size is not cut, but starts a new chunk. */
#define WHOLE_ROW_SIZE 8192

/* Rows that have waited this long in a chunk go with the next row. */
#define CHUNK_AGE_US 20000

/*
 * type_is_raw_safe
 *		Do this type's values mean the same, byte for byte, on another node of
 *		the same build?
 */
bool
type_is_raw_safe(Oid type)
{
	Oid element;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
		return element < FirstGenbkiObjectId && type_is_raw_safe(element);

	/* Enums, composites and extensions' types have no fixed OID. */
	if (type >= FirstGenbkiObjectId || get_typtype(type) == TYPTYPE_COMPOSITE ||
		get_typtype(type) == TYPTYPE_PSEUDO)
		return false;

	switch (type)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGCOLLATIONOID:
		case ACLITEMOID:
			return false;
		default:
			return true;
	}
}

/*
 * type_form
 *		How values of this type travel when the row is not raw.
 *
 * The binary formats of records and arrays name their members' types by OID,
 * and those of the reg* types are an OID; these go as text.
 */
ColumnForm
type_form(Oid type)
{
	Oid element;
	HeapTuple tuple;
	Form_pg_type form;
	bool can_send;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element) && get_array_type(element) == type)
	{
		if (element >= FirstGenbkiObjectId)
			return COLUMN_TEXT;
		return type_form(element);
	}
	if (get_typtype(type) == TYPTYPE_ENUM)
		return COLUMN_BINARY;
	if (get_typtype(type) == TYPTYPE_RANGE)
		return type_form(get_range_subtype(type));
	if (get_typtype(type) == TYPTYPE_MULTIRANGE)
		return type_form(get_multirange_range(type));
	if (get_typtype(type) == TYPTYPE_COMPOSITE ||
		get_typtype(type) == TYPTYPE_PSEUDO)
		return COLUMN_TEXT;
	if (type < FirstGenbkiObjectId && !type_is_raw_safe(type))
		return COLUMN_TEXT;

	switch (type)
	{
			/* Empty ones can be sent, but are not received. */
		case INT2VECTOROID:
		case OIDVECTOROID:
			/* They can be sent, but are never received. */
		case PG_NODE_TREEOID:
		case PG_NDISTINCTOID:
		case PG_DEPENDENCIESOID:
		case PG_MCV_LISTOID:
		case PG_BRIN_BLOOM_SUMMARYOID:
		case PG_BRIN_MINMAX_MULTI_SUMMARYOID:
			return COLUMN_TEXT;
		default:
			break;
	}

	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	form = (Form_pg_type) GETSTRUCT(tuple);
	can_send = OidIsValid(form->typsend) && OidIsValid(form->typreceive);
	ReleaseSysCache(tuple);
	return can_send ? COLUMN_BINARY : COLUMN_TEXT;
}

/*
 * encoding_enter
 *		Let send and receive functions speak "encoding" instead of this
 *		session's client encoding; returns what encoding_leave() needs.
 */
int
encoding_enter(int encoding)
{
	int previous = pg_get_client_encoding();

	if (previous == encoding)
		return -1;
	if (PrepareClientEncoding(encoding) < 0 || SetClientEncoding(encoding) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("conversion between %s and %s is not supported",
						pg_encoding_to_char(encoding), GetDatabaseEncodingName())));
	return previous;
}

void
encoding_leave(int previous)
{
	if (previous >= 0)
		SetClientEncoding(previous);
}

int
text_rules_begin(void)
{
	int nest_level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (extra_float_digits < 1)
		(void) set_config_option("extra_float_digits", "1", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

void
text_rules_end(int nest_level)
{
	AtEOXact_GUC(true, nest_level);
}

static RowFormat *
row_format_create(TupleDesc desc, const ColumnForm *forms)
{
	RowFormat *format = palloc0(sizeof(RowFormat));
	int n = desc->natts;

	format->n_columns = n;
	format->forms = palloc0(sizeof(ColumnForm) * n);
	format->functions = palloc0(sizeof(FmgrInfo) * n);
	format->io_params = palloc0(sizeof(Oid) * n);
	format->typmods = palloc0(sizeof(int32) * n);
	format->is_varlena = palloc0(sizeof(bool) * n);
	for (int i = 0; i < n; i++)
	{
		format->forms[i] = forms[i];
		format->typmods[i] = TupleDescAttr(desc, i)->atttypmod;
		if (forms[i] == COLUMN_TEXT && TupleDescAttr(desc, i)->atttypid != TEXTOID)
			format->has_fixed_rules = true;
	}
	return format;
}

RowFormat *
row_format_for_writing(TupleDesc desc, const ColumnForm *forms)
{
	RowFormat *format = row_format_create(desc, forms);

	for (int i = 0; i < desc->natts; i++)
	{
		Oid type = TupleDescAttr(desc, i)->atttypid;
		Oid function;

		if (forms[i] == COLUMN_BINARY)
			getTypeBinaryOutputInfo(type, &function, &format->is_varlena[i]);
		else
			getTypeOutputInfo(type, &function, &format->is_varlena[i]);
		fmgr_info(function, &format->functions[i]);
	}
	return format;
}

RowFormat *
row_format_for_reading(TupleDesc desc, const ColumnForm *forms)
{
	RowFormat *format = row_format_create(desc, forms);

	for (int i = 0; i < desc->natts; i++)
	{
		Oid type = TupleDescAttr(desc, i)->atttypid;
		Oid function;

		if (forms[i] == COLUMN_BINARY)
			getTypeBinaryInputInfo(type, &function, &format->io_params[i]);
		else
			getTypeInputInfo(type, &function, &format->io_params[i]);
		fmgr_info(function, &format->functions[i]);
	}
	return format;
}

static void
append_sized(StringInfo out, const char *data, int size)
{
	pq_sendint32(out, size);
	appendBinaryStringInfo(out, data, size);
}

static void
append_value(StringInfo out, FmgrInfo *function, ColumnForm form, Datum value)
{
	if (form == COLUMN_BINARY)
	{
		bytea *sent = SendFunctionCall(function, value);

		append_sized(out, VARDATA(sent), VARSIZE(sent) - VARHDRSZ);
	}
	else
	{
		char *text = OutputFunctionCall(function, value);
		char *converted = pg_server_to_client(text, strlen(text));

		append_sized(out, converted, strlen(converted));
	}
}

/*
 * row_format_append
 *		Append a row's columns, each with its length, as COPY BINARY does.
 *
 * To be called between encoding_enter() and _leave(), in a short-lived memory
 * context.
 */
void
row_format_append(RowFormat *format, StringInfo out, TupleTableSlot *slot)
{
	int nest_level = format->has_fixed_rules ? text_rules_begin() : 0;

	slot_getallattrs(slot);
	for (int i = 0; i < format->n_columns; i++)
	{
		if (slot->tts_isnull[i])
			pq_sendint32(out, -1);
		else
			append_value(out, &format->functions[i], format->forms[i],
						 slot->tts_values[i]);
	}
	if (format->has_fixed_rules)
		text_rules_end(nest_level);
}

/* A single value, such as a parameter; not null. */
void
value_append(StringInfo out, Oid type, ColumnForm form, Datum value)
{
	FmgrInfo function;
	Oid oid;
	bool is_varlena;

	if (form == COLUMN_BINARY)
		getTypeBinaryOutputInfo(type, &oid, &is_varlena);
	else
		getTypeOutputInfo(type, &oid, &is_varlena);
	fmgr_info(oid, &function);
	append_value(out, &function, form, value);
}

/* Bytes of a value as a string of its own, for the type's input function. */
static Datum
read_value(FmgrInfo *function, ColumnForm form, Oid io_param, int32 typmod,
		   const char *data, int size)
{
	Datum value;

	if (form == COLUMN_BINARY)
	{
		StringInfoData bytes;

		/* Receive functions may count on a terminating zero. */
		initStringInfo(&bytes);
		appendBinaryStringInfo(&bytes, data, size);
		value = ReceiveFunctionCall(function, &bytes, io_param, typmod);
		if (bytes.cursor != bytes.len)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("incorrect binary data format in a row of another node")));
	}
	else
	{
		char *text = pnstrdup(data, size);

		/* Conversion looks at all of "size". */
		if (strlen(text) != size)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("a value of another node has a zero in it")));
		value = InputFunctionCall(function, pg_client_to_server(text, size),
								  io_param, typmod);
	}
	return value;
}

Datum
value_read(Oid type, ColumnForm form, StringInfo in)
{
	FmgrInfo function;
	Oid oid;
	Oid io_param;
	int size = pq_getmsgint(in, 4);

	if (form == COLUMN_BINARY)
		getTypeBinaryInputInfo(type, &oid, &io_param);
	else
		getTypeInputInfo(type, &oid, &io_param);
	fmgr_info(oid, &function);
	return read_value(&function, form, io_param, -1, pq_getmsgbytes(in, size), size);
}

/* --- writing ------------------------------------------------------------- */

void
row_writer_init(RowWriter *writer, ActorAddress to, ActorAddress from, bool raw,
				RowFormat *format, uint32 credits)
{
	memset(writer, 0, sizeof(RowWriter));
	writer->to = to;
	writer->from = from;
	writer->raw = raw;
	writer->format = format;
	writer->credits = credits;
	writer->context = CurrentMemoryContext;
	writer->row_context = AllocSetContextCreate(CurrentMemoryContext,
												"dlog row out",
												ALLOCSET_DEFAULT_SIZES);
	writer->next_capacity = TYPEALIGN_DOWN(MAXIMUM_ALIGNOF, FIRST_CAPACITY);
	initStringInfo(&writer->pending);
}

/* A chunk to fill, if there is credit for it. */
static bool
chunk_begin(RowWriter *writer)
{
	if (writer->credits == 0)
		return false;
	writer->chunk = remote_message(MESSAGE_CHUNK,
								   CHUNK_HEADER_SIZE + writer->next_capacity);
	writer->credits--;
	writer->used = 0;
	writer->rows_in_chunk = 0;
	writer->capacity = writer->next_capacity;
	writer->chunk_since_us = clock_now_us();
	writer->next_capacity = Min(writer->next_capacity * 4, MAX_CAPACITY);
	return true;
}

static inline char *
chunk_end(RowWriter *writer)
{
	return writer->chunk->payload + CHUNK_HEADER_SIZE + writer->used;
}

/*
 * row_writer_flush
 *		Send the chunk that is being filled, if there is anything in it.
 *
 * Its reader is woken at the latest with what follows, see
 * process_hold_wakeups().
 */
void
row_writer_flush(RowWriter *writer)
{
	Message *message = writer->chunk;
	ChunkMessage chunk = {0};
	uint32 length;

	if (message == NULL)
		return;
	if (writer->used == 0)
	{
		message_free(message);
		writer->chunk = NULL;
		writer->credits++;
		return;
	}

	/* The rows are in place already: write what stands before them. */
	chunk.sequence = writer->sequence++;
	chunk.flags = writer->raw ? CHUNK_RAW : 0;
	chunk.rows = writer->rows_in_chunk;
	Assert(chunk_size(&chunk) == CHUNK_HEADER_SIZE);
	chunk_write(message->payload, CHUNK_HEADER_SIZE, &chunk);
	length = pg_hton32(writer->used);
	memcpy(message->payload + CHUNK_HEADER_SIZE - sizeof(length), &length,
		   sizeof(length));

	message->size = CHUNK_HEADER_SIZE + writer->used;
	message->from = writer->from;
	writer->bytes += writer->used;
	writer->chunk = NULL;
	if (actor_send(writer->to, message) != SEND_OK)
		writer->asker_is_gone = true;
}

/* The same in the midst of rows: more may take a while. */
static void
chunk_send(RowWriter *writer)
{
	row_writer_flush(writer);
	process_release_wakeups();
}

/* Cut what is pending into chunks, as far as the credits go. */
bool
row_writer_continue(RowWriter *writer)
{
	while (writer->has_pending)
	{
		Size left = writer->pending.len - writer->pending_at;
		Size size;

		if (writer->chunk == NULL && !chunk_begin(writer))
			return false;
		size = Min(left, writer->capacity - writer->used);
		memcpy(chunk_end(writer), writer->pending.data + writer->pending_at, size);
		writer->used += size;
		writer->pending_at += size;
		if (size == left)
		{
			writer->rows_in_chunk++;
			writer->has_pending = false;
			/* A huge row does not keep its memory. */
			if (writer->pending.maxlen > 1024 * 1024)
			{
				pfree(writer->pending.data);
				initStringInfo(&writer->pending);
			}
		}
		if (writer->used >= writer->capacity)
			chunk_send(writer);
	}
	return true;
}

/*
 * Find room for a row of "size" bytes; NULL if it has to be put into
 * "pending" and cut.
 */
static char *
row_reserve(RowWriter *writer, Size size)
{
	char *at;

	if (writer->chunk != NULL && writer->used > 0 &&
		(size > writer->capacity - writer->used && size <= WHOLE_ROW_SIZE))
		chunk_send(writer);
	if (writer->chunk == NULL)
	{
		if (size > writer->next_capacity && size <= MAX_CAPACITY)
			writer->next_capacity = MAX_CAPACITY;
		if (!chunk_begin(writer))
			return NULL;
	}
	if (size > writer->capacity - writer->used)
		return NULL;
	at = chunk_end(writer);
	writer->used += size;
	writer->rows_in_chunk++;
	return at;
}

static char *
pending_reserve(RowWriter *writer, Size size)
{
	MemoryContext old = MemoryContextSwitchTo(writer->context);

	resetStringInfo(&writer->pending);
	enlargeStringInfo(&writer->pending, size);
	writer->pending.len = size;
	writer->pending_at = 0;
	writer->has_pending = true;
	MemoryContextSwitchTo(old);
	return writer->pending.data;
}

static char *
reserve(RowWriter *writer, Size size)
{
	char *at = row_reserve(writer, size);

	return at != NULL ? at : pending_reserve(writer, size);
}

/* Rows of the server's own may be copied as they are if nothing is toasted. */
static bool
put_stored_row(RowWriter *writer, TupleTableSlot *slot)
{
	int n = slot->tts_tupleDescriptor->natts;
	HeapTupleHeader header;
	Size size;
	Size padded;
	char *at;

	if (TTS_IS_MINIMALTUPLE(slot))
	{
		MinimalTuple tuple = ((MinimalTupleTableSlot *) slot)->mintuple;

		if (tuple == NULL)
			return false;
		header = (HeapTupleHeader) ((char *) tuple - MINIMAL_TUPLE_OFFSET);
		size = tuple->t_len;
	}
	else if (TTS_IS_BUFFERTUPLE(slot) || TTS_IS_HEAPTUPLE(slot))
	{
		HeapTuple tuple = ((HeapTupleTableSlot *) slot)->tuple;

		if (tuple == NULL)
			return false;
		header = tuple->t_data;
		size = tuple->t_len - MINIMAL_TUPLE_OFFSET;
	}
	else
		return false;
	if (HeapTupleHeaderGetNatts(header) != n || HeapTupleHeaderHasExternal(header))
		return false;

	padded = MAXALIGN(size);
	at = reserve(writer, padded);
	memcpy(at, (char *) header + MINIMAL_TUPLE_OFFSET, size);
	((MinimalTuple) at)->t_len = size;
	memset(at + size, 0, padded - size);
	return true;
}

static void
put_raw_row(RowWriter *writer, TupleTableSlot *slot)
{
	TupleDesc desc = slot->tts_tupleDescriptor;
	int n = desc->natts;
	bool has_null = false;
	Datum *values;
	Size data_size;
	Size hoff;
	Size size;
	Size padded;
	MinimalTuple tuple;
	char *at;

	if (put_stored_row(writer, slot))
		return;

	slot_getallattrs(slot);
	values = slot->tts_values;
	for (int i = 0; i < n; i++)
	{
		if (slot->tts_isnull[i])
			has_null = true;
		else if (TupleDescAttr(desc, i)->attlen == -1 &&
				 VARATT_IS_EXTERNAL(DatumGetPointer(values[i])) &&
				 !VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(values[i])))
		{
			/* What is stored outside of the row has to come along. */
			MemoryContext old = MemoryContextSwitchTo(writer->row_context);

			if (values == slot->tts_values)
			{
				values = palloc(sizeof(Datum) * n);
				memcpy(values, slot->tts_values, sizeof(Datum) * n);
			}
			values[i] = PointerGetDatum(
				detoast_external_attr((struct varlena *) DatumGetPointer(values[i])));
			MemoryContextSwitchTo(old);
		}
	}

	/* As heap_form_minimal_tuple() does, but in place. */
	hoff = SizeofMinimalTupleHeader;
	if (has_null)
		hoff += BITMAPLEN(n);
	hoff = MAXALIGN(hoff);
	data_size = heap_compute_data_size(desc, values, slot->tts_isnull);
	size = hoff + data_size;
	if (!AllocSizeIsValid(size))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row of %zu bytes is too large to travel", size)));
	padded = MAXALIGN(size);

	at = reserve(writer, padded);
	memset(at, 0, padded);
	tuple = (MinimalTuple) at;
	tuple->t_len = size;
	HeapTupleHeaderSetNatts(tuple, n);
	tuple->t_hoff = hoff + MINIMAL_TUPLE_OFFSET;
	heap_fill_tuple(desc, values, slot->tts_isnull, at + hoff, data_size,
					&tuple->t_infomask, has_null ? tuple->t_bits : NULL);
}

static void
put_column_row(RowWriter *writer, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(writer->row_context);
	StringInfoData row;
	uint32 length;
	char *at;

	initStringInfo(&row);
	pq_sendint32(&row, 0);
	row_format_append(writer->format, &row, slot);
	length = pg_hton32(row.len - sizeof(length));
	memcpy(row.data, &length, sizeof(length));
	at = reserve(writer, row.len);
	memcpy(at, row.data, row.len);
	MemoryContextSwitchTo(old);
}

/*
 * Asking for the time is dear when rows come fast, and those that come slowly
 * are few.
 */
static bool
clock_is_due(const RowWriter *writer)
{
	return writer->rows_in_chunk < 8 || writer->rows_in_chunk % 16 == 0;
}

/*
 * row_writer_put
 *		Write a row; false if it, or a part of it, waits for credit.
 *
 * In that case row_writer_continue() has to succeed before the next row.
 */
bool
row_writer_put(RowWriter *writer, TupleTableSlot *slot)
{
	Assert(!writer->has_pending);
	if (writer->raw)
		put_raw_row(writer, slot);
	else
		put_column_row(writer, slot);
	writer->rows++;
	MemoryContextReset(writer->row_context);

	if (!row_writer_continue(writer))
		return false;
	if (writer->chunk != NULL && clock_is_due(writer) &&
		clock_now_us() - writer->chunk_since_us > CHUNK_AGE_US)
		chunk_send(writer);
	return true;
}

/* Gives back the chunk that was being filled. */
void
row_writer_end(RowWriter *writer)
{
	if (writer->chunk != NULL)
		message_free(writer->chunk);
	writer->chunk = NULL;
	writer->has_pending = false;
}

/* --- reading ------------------------------------------------------------- */

void
row_reader_init(RowReader *reader, TupleDesc desc, RowFormat *format)
{
	memset(reader, 0, sizeof(RowReader));
	reader->desc = desc;
	reader->format = format;
	reader->context = CurrentMemoryContext;
	reader->row_context = AllocSetContextCreate(CurrentMemoryContext,
												"dlog row in",
												ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&reader->partial);
}

static void
malformed_chunk(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed rows from another node")));
}

/*
 * row_reader_feed
 *		Take the next chunk, which is the reader's from now on.
 *
 * All rows of the one before must have been read.
 */
void
row_reader_feed(RowReader *reader, Message *message)
{
	ChunkMessage chunk;

	Assert(reader->left == 0);
	if (reader->chunk != NULL)
		message_free(reader->chunk);
	reader->chunk = message;
	if (!chunk_read(message->payload, message->size, &chunk) ||
		chunk.sequence != reader->next_sequence)
		malformed_chunk();
	reader->next_sequence++;
	reader->raw = (chunk.flags & CHUNK_RAW) != 0;
	reader->at = chunk.bytes.data;
	reader->left = chunk.bytes.size;
	if (reader->raw && reader->at != (char *) MAXALIGN(reader->at))
		malformed_chunk();
}

/* Bytes that the row beginning at "start" takes in all, its length included. */
static Size
row_size(RowReader *reader, const char *start)
{
	uint32 length;
	Size size;

	memcpy(&length, start, sizeof(length));
	size = reader->raw ? MAXALIGN((Size) length) :
						 (Size) pg_ntoh32(length) + sizeof(length);
	if (!AllocSizeIsValid(size) ||
		(reader->raw && length < SizeofMinimalTupleHeader))
		malformed_chunk();
	return size;
}

/* The next whole row, in the chunk or put together; NULL if more is needed. */
static const char *
take_row(RowReader *reader, Size *size)
{
	StringInfo partial = &reader->partial;
	Size take;

	if (partial->len == 0 && reader->left >= sizeof(uint32))
	{
		*size = row_size(reader, reader->at);
		if (*size <= reader->left)
		{
			const char *row = reader->at;

			reader->at += *size;
			reader->left -= *size;
			return row;
		}
	}

	/* First its length, then all of it. */
	for (;;)
	{
		Size wanted = sizeof(uint32);

		if (partial->len >= sizeof(uint32))
		{
			wanted = row_size(reader, partial->data);
			if (partial->len == wanted)
			{
				*size = wanted;
				return partial->data;
			}
		}
		if (reader->left == 0)
			return NULL;
		take = Min(wanted - partial->len, reader->left);
		if (partial->data == NULL || partial->maxlen <= wanted)
			enlargeStringInfo(partial, wanted - partial->len);
		appendBinaryStringInfo(partial, reader->at, take);
		reader->at += take;
		reader->left -= take;
	}
}

static void
store_raw_row(RowReader *reader, const char *row, Size size, TupleTableSlot *slot)
{
	MinimalTuple tuple = (MinimalTuple) row;
	Size header = SizeofMinimalTupleHeader;

	if (tuple->t_infomask & HEAP_HASNULL)
		header += BITMAPLEN(reader->desc->natts);
	if (HeapTupleHeaderGetNatts(tuple) != reader->desc->natts ||
		tuple->t_hoff < header + MINIMAL_TUPLE_OFFSET ||
		tuple->t_hoff > tuple->t_len + MINIMAL_TUPLE_OFFSET ||
		tuple->t_len > size)
		malformed_chunk();
	ExecForceStoreMinimalTuple(tuple, slot, false);
}

static void
store_column_row(RowReader *reader, const char *row, Size size, TupleTableSlot *slot)
{
	RowFormat *format = reader->format;
	MemoryContext old = MemoryContextSwitchTo(reader->row_context);
	StringInfoData in = {(char *) row, size, size, sizeof(uint32)};
	int nest_level = format->has_fixed_rules ? text_rules_begin() : 0;

	ExecClearTuple(slot);
	for (int i = 0; i < format->n_columns; i++)
	{
		int length = (int) pq_getmsgint(&in, 4);

		slot->tts_isnull[i] = length == -1;
		if (length == -1)
			slot->tts_values[i] = (Datum) 0;
		else
			slot->tts_values[i] = read_value(&format->functions[i],
											 format->forms[i],
											 format->io_params[i],
											 format->typmods[i],
											 pq_getmsgbytes(&in, length), length);
	}
	if (in.cursor != in.len)
		malformed_chunk();
	if (format->has_fixed_rules)
		text_rules_end(nest_level);
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(old);
}

/*
 * row_reader_next
 *		Put the next row into the slot; false if another chunk is needed.
 *
 * The row stays valid until the next call for this reader.  The slot must
 * have the reader's row type.
 */
bool
row_reader_next(RowReader *reader, TupleTableSlot *slot)
{
	const char *row;
	Size size;

	ExecClearTuple(slot);
	MemoryContextReset(reader->row_context);
	if (reader->partial.len > 0 && !reader->partial_is_open)
	{
		/* The row before had been put together: forget it. */
		if (reader->partial.maxlen > 1024 * 1024)
		{
			MemoryContext old = MemoryContextSwitchTo(reader->context);

			pfree(reader->partial.data);
			initStringInfo(&reader->partial);
			MemoryContextSwitchTo(old);
		}
		else
			resetStringInfo(&reader->partial);
	}

	row = take_row(reader, &size);
	reader->partial_is_open = row == NULL && reader->partial.len > 0;
	if (row == NULL)
		return false;
	if (reader->raw)
		store_raw_row(reader, row, size, slot);
	else
		store_column_row(reader, row, size, slot);
	return true;
}

/* Has a row begun whose end has not come? */
bool
row_reader_in_midrow(RowReader *reader)
{
	return reader->left > 0 || reader->partial_is_open;
}

void
row_reader_end(RowReader *reader)
{
	if (reader->chunk != NULL)
		message_free(reader->chunk);
	reader->chunk = NULL;
	reader->left = 0;
}
