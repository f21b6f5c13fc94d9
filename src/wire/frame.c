/*
 * frame.c
 *		Writes and reads the head of a frame.
 */
#include "c.h"

#include "port/pg_bswap.h"

#include "wire/wire.h"

static inline void
put16(char *at, uint16 value)
{
	value = pg_hton16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void
put32(char *at, uint32 value)
{
	value = pg_hton32(value);
	memcpy(at, &value, sizeof(value));
}

static inline void
put64(char *at, uint64 value)
{
	value = pg_hton64(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint16
get16(const char *at)
{
	uint16 value;

	memcpy(&value, at, sizeof(value));
	return pg_ntoh16(value);
}

static inline uint32
get32(const char *at)
{
	uint32 value;

	memcpy(&value, at, sizeof(value));
	return pg_ntoh32(value);
}

static inline uint64
get64(const char *at)
{
	uint64 value;

	memcpy(&value, at, sizeof(value));
	return pg_ntoh64(value);
}

/*
 * frame_write
 *		Encode a head into FRAME_HEAD_SIZE bytes.
 */
void
frame_write(char *buffer, const FrameHead *head)
{
	buffer[0] = (char) head->version;
	buffer[1] = (char) head->flags;
	put16(buffer + 2, head->type);
	put64(buffer + 4, head->sequence);
	put32(buffer + 12, head->to_slot);
	put32(buffer + 16, head->to_incarnation);
	put32(buffer + 20, head->from_slot);
	put32(buffer + 24, head->from_incarnation);
}

/*
 * frame_read
 *		Decode the head of a frame of "size" bytes and check what can be
 *		checked without knowing the link.
 *
 * The head is filled in unless the frame is short.
 */
FrameStatus
frame_read(const char *buffer, Size size, FrameHead *head)
{
	if (size < FRAME_HEAD_SIZE)
	{
		memset(head, 0, sizeof(*head));
		return FRAME_SHORT;
	}

	head->version = (uint8) buffer[0];
	head->flags = (uint8) buffer[1];
	head->type = get16(buffer + 2);
	head->sequence = get64(buffer + 4);
	head->to_slot = get32(buffer + 12);
	head->to_incarnation = get32(buffer + 16);
	head->from_slot = get32(buffer + 20);
	head->from_incarnation = get32(buffer + 24);

	if (size - FRAME_HEAD_SIZE > FRAME_MAX_PAYLOAD)
		return FRAME_TOO_LARGE;
	if (head->type != MESSAGE_HELLO &&
		(head->version < PROTOCOL_LOWEST || head->version > PROTOCOL_HIGHEST))
		return FRAME_WRONG_VERSION;
	if (message_type_name(head->type) == NULL ||
		(head->flags & ~(FRAME_CONTROL | FRAME_URGENT | FRAME_EPHEMERAL)) != 0)
		return FRAME_UNKNOWN_TYPE;
	return FRAME_OK;
}

/*
 * frame_status_text
 *		What is wrong with a frame, for the log.
 */
const char *
frame_status_text(FrameStatus status)
{
	switch (status)
	{
		case FRAME_OK:
			return "nothing is wrong with it";
		case FRAME_SHORT:
			return "it is too short";
		case FRAME_TOO_LARGE:
			return "it is too large";
		case FRAME_UNKNOWN_TYPE:
			return "its type is unknown";
		case FRAME_WRONG_VERSION:
			return "its protocol version is not spoken here";
	}
	return "unknown";
}

/*
 * bundle_begin
 *		Write the head of a BUNDLE of "size" bytes in all, and what stands
 *		before its frames: BUNDLE_HEAD_SIZE bytes.
 */
void
bundle_begin(char *buffer, const FrameHead *head, Size size)
{
	frame_write(buffer, head);
	put32(buffer + FRAME_HEAD_SIZE, (uint32) (size - BUNDLE_HEAD_SIZE));
}

/*
 * bundle_add
 *		Write the size and the head of one of its frames; returns the place of
 *		its payload.
 */
char *
bundle_add(char *at, const FrameHead *head, Size payload_size)
{
	put32(at, (uint32) (FRAME_HEAD_SIZE + payload_size));
	frame_write(at + 4, head);
	return at + BUNDLE_FRAME_SIZE(0);
}

/*
 * bundle_next
 *		The next frame of a BUNDLE, of whose field "frames" *left bytes are
 *		still to be read at *at.  False if what is there is malformed.
 */
bool
bundle_next(const char **at, Size *left, const char **frame, Size *size)
{
	if (*left < BUNDLE_FRAME_SIZE(0))
		return false;
	*size = get32(*at);
	if (*size < FRAME_HEAD_SIZE || *size > *left - 4)
		return false;
	*frame = *at + 4;
	*at += 4 + *size;
	*left -= 4 + *size;
	return true;
}

/*
 * protocol_choose
 *		The version to speak between two sides.
 */
uint16
protocol_choose(uint16 our_lowest, uint16 our_highest,
				uint16 their_lowest, uint16 their_highest)
{
	uint16 lowest = Max(our_lowest, their_lowest);
	uint16 highest = Min(our_highest, their_highest);

	return lowest <= highest ? highest : 0;
}

/*
 * message_is_valid
 *		Whether a payload decodes as a message of the type.
 */
bool
message_is_valid(uint16 type, const char *payload, Size size)
{
	switch (type)
	{
#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) \
	case number: \
	{ \
		Name##Message message; \
		return name##_read(payload, size, &message); \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
		default:
			return false;
	}
}
