/*
 * wire.h
 *		Every message that dlog speaks, and how it is written and read.
 *
 * messages.def declares each message once.  From it come, for a message
 * FOO declared as MESSAGE(7, FOO, Foo, FIELD(u64, seq) FIELD(text, name)):
 *
 *		MESSAGE_FOO = 7					its type
 *		FooMessage						its struct, one member per field
 *		foo_size(&foo)					bytes it takes
 *		foo_write(buffer, size, &foo)	encodes it
 *		foo_read(buffer, size, &foo)	decodes it; false when malformed
 *
 * Numbers are in network order.  A text or bytes field is a length and its
 * bytes; read leaves it pointing into the buffer (not null-terminated), so
 * nothing is copied and nothing is allocated.  Reading checks every length,
 * and that nothing is left over.  This folder includes nothing of the
 * server's beyond c.h, so that the fuzzer can link it alone.
 */
#ifndef DLOG_WIRE_H
#define DLOG_WIRE_H

#include "c.h"

typedef struct WireBytes
{
	uint32 size;
	const char *data;
} WireBytes;

/* The text as a string in a buffer of "room" bytes, as much as fits. */
static inline void
wire_copy(char *buffer, size_t room, WireBytes text)
{
	size_t size = text.size < room ? text.size : room - 1;

	memcpy(buffer, text.data, size);
	buffer[size] = '\0';
}

#include "wire/frame.h"
#include "wire/messages.h"

/*
 * These begin with the time of their arrival, so that what they wait there is
 * not taken for time on the wire.  Who sends them writes the time by his clock,
 * which holds if they stay on the node; else the network process that receives
 * them writes it by its own.  Times of two nodes are never compared.
 */
#define MESSAGE_IS_STAMPED(type) ((type) == MESSAGE_REQUEST || (type) == MESSAGE_END)

#endif
