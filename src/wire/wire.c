/*
 * wire.c
 *		Writes and reads messages; expanded from messages.def.
 */
#include "c.h"

#include "port/pg_bswap.h"

#include "wire/wire.h"

/* Reading stops being ok at the first field that does not fit. */
typedef struct Reader
{
	const char *at;
	Size left;
	bool ok;
} Reader;

static const char *
reader_take(Reader *reader, Size size)
{
	const char *taken = reader->at;

	if (!reader->ok || size > reader->left)
	{
		reader->ok = false;
		return NULL;
	}
	reader->at += size;
	reader->left -= size;
	return taken;
}

#define NUMBER_KIND(kind, type, to_network, from_network) \
	static inline Size \
		kind##_size(const type *value) \
	{ \
		return sizeof(type); \
	} \
	static inline char * \
		kind##_write(char *at, const type *value) \
	{ \
		type swapped = to_network(*value); \
		memcpy(at, &swapped, sizeof(type)); \
		return at + sizeof(type); \
	} \
	static inline void \
		kind##_read(Reader *reader, type *value) \
	{ \
		const char *from = reader_take(reader, sizeof(type)); \
		type swapped = 0; \
		if (from != NULL) \
			memcpy(&swapped, from, sizeof(type)); \
		*value = from_network(swapped); \
	}

#define AS_IT_IS(value) (value)

NUMBER_KIND(u8, uint8, AS_IT_IS, AS_IT_IS)
NUMBER_KIND(u16, uint16, pg_hton16, pg_ntoh16)
NUMBER_KIND(u32, uint32, pg_hton32, pg_ntoh32)
NUMBER_KIND(u64, uint64, pg_hton64, pg_ntoh64)

/* A double travels as its bits. */
static inline Size
f64_size(const double *value)
{
	return sizeof(uint64);
}

static inline char *
f64_write(char *at, const double *value)
{
	uint64 bits;

	memcpy(&bits, value, sizeof(bits));
	return u64_write(at, &bits);
}

static inline void
f64_read(Reader *reader, double *value)
{
	uint64 bits;

	u64_read(reader, &bits);
	memcpy(value, &bits, sizeof(bits));
}

static inline Size
bytes_size(const WireBytes *value)
{
	return sizeof(uint32) + value->size;
}

static inline char *
bytes_write(char *at, const WireBytes *value)
{
	at = u32_write(at, &value->size);
	if (value->size > 0)
		memcpy(at, value->data, value->size);
	return at + value->size;
}

static inline void
bytes_read(Reader *reader, WireBytes *value)
{
	u32_read(reader, &value->size);
	value->data = reader_take(reader, value->size);
	if (value->data == NULL)
		value->size = 0;
}

/* A text is bytes without a zero among them, so that it can become a C string. */
#define text_size bytes_size
#define text_write bytes_write

static inline void
text_read(Reader *reader, WireBytes *value)
{
	bytes_read(reader, value);
	if (value->size > 0 && memchr(value->data, '\0', value->size) != NULL)
		reader->ok = false;
}

#define FIELD(kind, field) +kind##_size(&message->field)
#define MESSAGE(number, NAME, Name, name, fields) \
	Size \
		name##_size(const Name##Message *message) \
	{ \
		return 0 fields; \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(kind, field) at = kind##_write(at, &message->field);
#define MESSAGE(number, NAME, Name, name, fields) \
	void \
		name##_write(char *buffer, Size size, const Name##Message *message) \
	{ \
		char *at = buffer; \
		fields \
			Assert(at == buffer + size); \
		(void) at; \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(kind, field) kind##_read(&reader, &message->field);
#define MESSAGE(number, NAME, Name, name, fields) \
	bool \
		name##_read(const char *buffer, Size size, Name##Message *message) \
	{ \
		Reader reader = {buffer, size, true}; \
		fields return reader.ok && reader.left == 0; \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

const char *
message_type_name(uint16 type)
{
	switch (type)
	{
#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) \
	case number: \
		return #NAME;
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
		default:
			return NULL;
	}
}
