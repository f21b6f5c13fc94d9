/*
 * messages.h
 *		What messages.def says, as types and functions.  See wire.h, which
 *		includes this file; nobody else does.
 */
#ifndef DLOG_WIRE_MESSAGES_H
#define DLOG_WIRE_MESSAGES_H

typedef uint8 wire_u8;
typedef uint16 wire_u16;
typedef uint32 wire_u32;
typedef uint64 wire_u64;
typedef double wire_f64;
typedef WireBytes wire_text;
typedef WireBytes wire_bytes;

typedef enum MessageType
{
#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) MESSAGE_##NAME = number,
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
	MESSAGE_NONE = 0
} MessageType;

#define FIELD(kind, field) wire_##kind field;
#define MESSAGE(number, NAME, Name, name, fields) \
	typedef struct Name##Message \
	{ \
		fields \
	} Name##Message;
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) \
	extern Size name##_size(const Name##Message *message); \
	extern void name##_write(char *buffer, Size size, const Name##Message *message); \
	extern bool name##_read(const char *buffer, Size size, Name##Message *message);
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

/* The name of a message type as it stands in messages.def, or NULL. */
extern const char *message_type_name(uint16 type);

#endif
