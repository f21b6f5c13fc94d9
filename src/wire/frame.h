/*
 * frame.h
 *		The head of everything that travels between two nodes.
 *
 * A frame is one ZeroMQ message of one part: this head, in network order,
 * and behind it the payload of the message that "type" names.
 *
 *		byte 0	version		protocol version that both sides agreed on
 *		byte 1	flags		FRAME_CONTROL, FRAME_URGENT, FRAME_EPHEMERAL
 *		2..3	type		MessageType
 *		4..11	sequence	1 for the first frame of an epoch, then counting
 *		12..19	to			slot and incarnation of the receiver
 *		20..27	from		slot and incarnation of the sender
 *
 * The head of a HELLO looks the same in every version of the protocol.
 */
#ifndef DLOG_WIRE_FRAME_H
#define DLOG_WIRE_FRAME_H

#include "base/protocol.h"

#define FRAME_HEAD_SIZE 28

/* The message overtakes others in its receiver's mailbox. */
#define FRAME_CONTROL 0x01
#define FRAME_URGENT 0x02

/* That it reaches nobody is no news. */
#define FRAME_EPHEMERAL 0x04

/* Bytes of payload that a receiver has room for. */
#define FRAME_MAX_PAYLOAD (64 * 1024 - 48)

/* What a BUNDLE takes beyond its frames, and beyond each of them. */
#define BUNDLE_HEAD_SIZE (FRAME_HEAD_SIZE + 4)
#define BUNDLE_FRAME_SIZE(payload) (4 + FRAME_HEAD_SIZE + (payload))

typedef struct FrameHead
{
	uint8 version;
	uint8 flags;
	uint16 type;
	uint64 sequence;
	uint32 to_slot;
	uint32 to_incarnation;
	uint32 from_slot;
	uint32 from_incarnation;
} FrameHead;

typedef enum FrameStatus
{
	FRAME_OK,
	FRAME_SHORT,		/* does not even hold a head */
	FRAME_TOO_LARGE,	/* more payload than FRAME_MAX_PAYLOAD */
	FRAME_UNKNOWN_TYPE, /* no such message, or flags without a meaning */
	FRAME_WRONG_VERSION /* none that we speak; never said of a HELLO */
} FrameStatus;

extern void frame_write(char *buffer, const FrameHead *head);
extern FrameStatus frame_read(const char *buffer, Size size, FrameHead *head);
extern const char *frame_status_text(FrameStatus status);

/* Frames in a BUNDLE, one after the other. */
extern void bundle_begin(char *buffer, const FrameHead *head, Size size);
extern char *bundle_add(char *at, const FrameHead *head, Size payload_size);
extern bool bundle_next(const char **at, Size *left, const char **frame, Size *size);

/*
 * The version that two sides speak, given the range of each: the highest
 * that both know, 0 if there is none.
 */
extern uint16 protocol_choose(uint16 our_lowest, uint16 our_highest,
							  uint16 their_lowest, uint16 their_highest);

/*
 * Decodes the payload of a message of any known type and drops the result:
 * true when it is well formed.
 */
extern bool message_is_valid(uint16 type, const char *payload, Size size);

#endif
