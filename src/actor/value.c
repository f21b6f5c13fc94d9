/*
 * value.c
 *		Datums in the arena: states, arguments, what a long message holds.
 *
 * A value is flat: nothing in it points elsewhere, neither into a table's
 * out-of-line storage nor into somebody's memory.  Most fit into one block
 * and are read in place.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "actor/actor_internal.h"

ValueType
value_type(Oid oid)
{
	ValueType type = {.oid = oid};

	get_typlenbyval(oid, &type.length, &type.is_by_value);
	return type;
}

/*
 * value_flatten
 *		The datum as flat bytes, and how many.
 *
 * One that is flat already is returned as it is.
 */
Datum
value_flatten(Datum datum, ValueType type, bool is_null, Size *size)
{
	*size = 0;
	if (is_null)
		return (Datum) 0;
	if (type.is_by_value)
	{
		*size = sizeof(Datum);
		return datum;
	}
	if (type.length == -1)
	{
		struct varlena *varlena = (struct varlena *) DatumGetPointer(datum);

		if (VARATT_IS_EXTERNAL_EXPANDED(varlena))
		{
			ExpandedObjectHeader *expanded = DatumGetEOHP(datum);

			*size = EOH_get_flat_size(expanded);
			varlena = palloc(*size);
			EOH_flatten_into(expanded, varlena, *size);
			return PointerGetDatum(varlena);
		}
		if (VARATT_IS_EXTERNAL(varlena))
			varlena = detoast_external_attr(varlena);
		*size = VARSIZE_ANY(varlena);
		return PointerGetDatum(varlena);
	}
	*size = datumGetSize(datum, false, type.length);
	return datum;
}

/* A value for so many bytes, which are still to be filled in. */
static Value *
value_allocate(Size size)
{
	Value *value = arena_alloc(offsetof(Value, data) + Min(size, VALUE_BLOCK_DATA));
	Value *last = value;
	Size allocated = Min(size, VALUE_BLOCK_DATA);

	memset(value, 0, offsetof(Value, data));
	value->size = size;
	while (allocated < size)
	{
		Size n = Min(size - allocated, VALUE_BLOCK_DATA);

		last->next = arena_try_alloc(offsetof(Value, data) + n);
		if (last->next == NULL)
		{
			value_free(value);
			/* once more, for its error */
			return arena_alloc(ARENA_MAX_SIZE);
		}
		last = last->next;
		memset(last, 0, offsetof(Value, data));
		last->size = n;
		allocated += n;
	}
	return value;
}

/*
 * value_fill
 *		Fill in some of its bytes.
 */
void
value_fill(Value *value, Size offset, const char *bytes, Size size)
{
	while (size > 0)
	{
		Size n;

		while (offset >= VALUE_BLOCK_DATA)
		{
			value = value->next;
			offset -= VALUE_BLOCK_DATA;
		}
		n = Min(size, VALUE_BLOCK_DATA - offset);
		memcpy(value->data + offset, bytes, n);
		bytes += n;
		size -= n;
		offset += n;
	}
}

Value *
value_of_bytes(const char *bytes, Size size)
{
	Value *value;

	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a value of %zu bytes is too large for an actor", size)));
	value = value_allocate(size);
	value_fill(value, 0, bytes, size);
	value->type_length = -1;
	return value;
}

/*
 * value_create
 *		A copy of the datum.  ERROR 53400 when the arena is full.
 */
Value *
value_create(Datum datum, ValueType type, bool is_null)
{
	Size size;
	Datum flat = value_flatten(datum, type, is_null, &size);
	Value *value = value_of_bytes(type.is_by_value ? (char *) &flat : DatumGetPointer(flat), size);

	value->type_length = type.length;
	value->is_by_value = type.is_by_value;
	value->is_null = is_null;
	return value;
}

/* All of its bytes; in the arena, or in the current memory context. */
const char *
value_bytes(const Value *value)
{
	char *bytes;
	Size done = 0;

	if (value->size <= VALUE_BLOCK_DATA)
		return value->data;
	bytes = MemoryContextAllocHuge(CurrentMemoryContext, value->size);
	for (const Value *block = value; done < value->size; block = block->next)
	{
		Size n = Min(value->size - done, VALUE_BLOCK_DATA);

		memcpy(bytes + done, block->data, n);
		done += n;
	}
	return bytes;
}

/*
 * value_datum
 *		The datum; good for as long as the value, or the current memory
 *		context if that is shorter.
 */
Datum
value_datum(const Value *value, bool *is_null)
{
	Datum datum;

	*is_null = value == NULL || value->is_null;
	if (*is_null)
		return (Datum) 0;
	if (!value->is_by_value)
		return PointerGetDatum(value_bytes(value));
	memcpy(&datum, value->data, sizeof(Datum));
	return datum;
}

/* Would a value of these flat bytes be the same? */
bool
value_equals(const Value *value, Datum flat, Size size, bool is_null)
{
	if (value == NULL || value->is_null != is_null)
		return false;
	if (is_null)
		return true;
	return value->size == size && value->next == NULL &&
		   memcmp(value->data, value->is_by_value ? (char *) &flat : DatumGetPointer(flat), size) == 0;
}

void
value_free(Value *value)
{
	while (value != NULL)
	{
		Value *next = value->next;

		arena_free(value);
		value = next;
	}
}
