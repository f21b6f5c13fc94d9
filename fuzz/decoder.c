/*
 * decoder.c
 *		The target of the fuzzer: everything that reads bytes of strangers.
 */
#include "c.h"

#include "wire/wire.h"

#undef printf
#undef fprintf

extern int LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

/* A rule of the decoder is broken: die, so that the input is kept. */
static void
fail(const char *name, const char *rule)
{
	fprintf(stderr, "%s: %s\n", name, rule);
	abort();
}

/* What was read must be written as the bytes that it was read from. */
#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) \
	static void \
		check_##name(const char *payload, Size size) \
	{ \
		Name##Message message; \
		char *again; \
		if (!name##_read(payload, size, &message)) \
			return; \
		if (name##_size(&message) != size) \
			fail(#NAME, "its size differs from what was read"); \
		again = malloc(size + 1); \
		name##_write(again, size, &message); \
		if (memcmp(again, payload, size) != 0) \
			fail(#NAME, "it is written in another way than it was read"); \
		free(again); \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

static void
check_payload(uint16 type, const char *payload, Size size)
{
	switch (type)
	{
#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) \
	case number: \
		check_##name(payload, size); \
		break;
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
		default:
			if (message_is_valid(type, payload, size))
				fail("unknown type", "it has a valid message");
	}
}

/* Frames of a bundle are all of it, and are written as they were read. */
static void
check_bundles(const char *payload, Size size)
{
	BundleMessage bundle;
	const char *frame;
	Size frame_size;
	const char *at;
	Size left;

	if (!bundle_read(payload, size, &bundle))
		return;
	at = bundle.frames.data;
	left = bundle.frames.size;
	while (left > 0 && bundle_next(&at, &left, &frame, &frame_size))
	{
		char again[BUNDLE_FRAME_SIZE(0)];
		FrameHead head;

		if (frame_size < FRAME_HEAD_SIZE || frame + frame_size != at ||
			at + left != bundle.frames.data + bundle.frames.size)
			fail("bundle", "a frame does not end where the next one begins");
		(void) frame_read(frame, frame_size, &head);
		(void) bundle_add(again, &head, frame_size - FRAME_HEAD_SIZE);
		if (memcmp(again, frame - 4, sizeof(again)) != 0)
			fail("bundle", "a frame is written in another way than it was read");
	}
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	const char *bytes = (const char *) data;
	FrameHead head;
	FrameStatus status = frame_read(bytes, size, &head);

	if (status != FRAME_SHORT)
	{
		char again[FRAME_HEAD_SIZE];

		frame_write(again, &head);
		if (memcmp(again, bytes, FRAME_HEAD_SIZE) != 0)
			fail("frame", "its head is written in another way than it was read");
		check_payload(head.type, bytes + FRAME_HEAD_SIZE, size - FRAME_HEAD_SIZE);
	}
	(void) frame_status_text(status);

	/* The same bytes as the payload of every type. */
	for (uint16 type = 0; type < 256; type++)
		check_payload(type, bytes, size);
	check_bundles(bytes, size);
	return 0;
}
