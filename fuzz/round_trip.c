/*
 * round_trip.c
 *		Every message survives being written and read, and nothing that was
 *		cut off or has something behind it is read.
 *
 *		round_trip SEED [DIRECTORY]
 *
 * Prints a line "ok NAME" or "not ok NAME: ..." for each message.  With a
 * directory, writes a frame of each there for the fuzzer to start from.
 */
#include "c.h"

#include "wire/wire.h"

#undef printf
#undef fprintf
#undef snprintf

#define ROUNDS 200

static uint64 state;
static int failures;

static uint64
random_u64_bits(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64CONST(2685821657736338717);
}

static pg_attribute_unused() void random_u8(uint8 *value)
{
	*value = (uint8) random_u64_bits();
}

static pg_attribute_unused() void random_u16(uint16 *value)
{
	*value = (uint16) random_u64_bits();
}

static pg_attribute_unused() void random_u32(uint32 *value)
{
	*value = (uint32) random_u64_bits();
}

static pg_attribute_unused() void random_u64(uint64 *value)
{
	*value = random_u64_bits();
}

static pg_attribute_unused() void random_f64(double *value)
{
	*value = (double) (int64) random_u64_bits() / 3;
}

static pg_attribute_unused() void random_bytes(WireBytes *value)
{
	char *data;

	/* Often empty, mostly short, sometimes long. */
	value->size = random_u64_bits() % 4 == 0 ? 0 : random_u64_bits() % (random_u64_bits() % 16 == 0 ? 5000 : 40);
	data = malloc(value->size + 1);
	for (uint32 i = 0; i < value->size; i++)
		data[i] = (char) random_u64_bits();
	value->data = data;
}

static pg_attribute_unused() void random_text(WireBytes *value)
{
	random_bytes(value);
	for (uint32 i = 0; i < value->size; i++)
	{
		if (value->data[i] == '\0')
			((char *) value->data)[i] = 'x';
	}
}

#define equal_number(a, b) (*(a) == *(b))
#define equal_u8 equal_number
#define equal_u16 equal_number
#define equal_u32 equal_number
#define equal_u64 equal_number
#define equal_f64 equal_number

static pg_attribute_unused() bool equal_bytes(const WireBytes *a, const WireBytes *b)
{
	return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

#define equal_text equal_bytes

#define free_number(value) ((void) (value))
#define free_u8 free_number
#define free_u16 free_number
#define free_u32 free_number
#define free_u64 free_number
#define free_f64 free_number
#define free_bytes(value) free((char *) (value)->data)
#define free_text free_bytes

/* Each prefix of an encoding, and one with a byte behind it, in its own block. */
static bool
refuses_others(bool (*read)(const char *, Size), const char *encoded, Size size)
{
	for (Size shorter = 0; shorter < size; shorter++)
	{
		char *copy = malloc(Max(shorter, 1));
		bool is_read;

		memcpy(copy, encoded, shorter);
		is_read = read(copy, shorter);
		free(copy);
		if (is_read)
			return false;
	}
	{
		char *copy = malloc(size + 1);
		bool is_read;

		memcpy(copy, encoded, size);
		copy[size] = 0;
		is_read = read(copy, size + 1);
		free(copy);
		return !is_read;
	}
}

static void
report(const char *name, const char *problem)
{
	if (problem == NULL)
		printf("ok   %s\n", name);
	else
	{
		printf("not ok %s: %s\n", name, problem);
		failures++;
	}
}

static void
write_seed(const char *directory, const char *name, int round, uint16 type, const char *payload, Size size)
{
	char path[4096];
	char head[FRAME_HEAD_SIZE];
	FrameHead frame = {.version = 1, .type = type, .sequence = 1, .to_incarnation = 7};
	FILE *file;

	if (directory == NULL || round > 1 || size > 1000)
		return;
	snprintf(path, sizeof(path), "%s/%s-%d", directory, name, round);
	file = fopen(path, "wb");
	if (file == NULL)
	{
		perror(path);
		exit(2);
	}
	frame_write(head, &frame);
	fwrite(head, 1, sizeof(head), file);
	fwrite(payload, 1, size, file);
	fclose(file);
}

#define MESSAGE(number, NAME, Name, name, fields) \
	static bool \
		read_##name(const char *payload, Size size) \
	{ \
		Name##Message message; \
		return name##_read(payload, size, &message); \
	}
#define FIELD(kind, field)
#include "wire/messages.def"
#undef FIELD
#undef MESSAGE

/* The steps of a round, a function for each message. */
#define FIELD(kind, field) random_##kind(&message->field);
#define MESSAGE(number, NAME, Name, name, fields) \
	static void \
		fill_##name(Name##Message *message) \
	{ \
		fields \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(kind, field) &&equal_##kind(&a->field, &b->field)
#define MESSAGE(number, NAME, Name, name, fields) \
	static bool \
		equal_##name(const Name##Message *a, const Name##Message *b) \
	{ \
		return true fields; \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(kind, field) free_##kind(&message->field);
#define MESSAGE(number, NAME, Name, name, fields) \
	static void \
		free_##name(Name##Message *message) \
	{ \
		fields \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) \
	static void \
		test_##name(const char *directory) \
	{ \
		const char *problem = NULL; \
		for (int round = 0; round < ROUNDS && problem == NULL; round++) \
		{ \
			Name##Message sent; \
			Name##Message received; \
			Size size; \
			char *encoded; \
			fill_##name(&sent); \
			size = name##_size(&sent); \
			encoded = malloc(Max(size, 1)); \
			name##_write(encoded, size, &sent); \
			write_seed(directory, #NAME, round, number, encoded, size); \
			if (!name##_read(encoded, size, &received)) \
				problem = "it cannot be read back"; \
			else if (!equal_##name(&sent, &received)) \
				problem = "it is read back differently"; \
			else if (!message_is_valid(number, encoded, size)) \
				problem = "it is not taken for valid"; \
			else if (size < 2000 && !refuses_others(read_##name, encoded, size)) \
				problem = "something shorter or longer is read as well"; \
			free(encoded); \
			free_##name(&sent); \
		} \
		report(#NAME, problem); \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

static bool
equal_heads(const FrameHead *a, const FrameHead *b)
{
	return a->version == b->version && a->flags == b->flags && a->type == b->type &&
		   a->sequence == b->sequence && a->to_slot == b->to_slot &&
		   a->to_incarnation == b->to_incarnation && a->from_slot == b->from_slot &&
		   a->from_incarnation == b->from_incarnation;
}

static void
test_frame(void)
{
	const char *problem = NULL;

	for (int round = 0; round < ROUNDS && problem == NULL; round++)
	{
		FrameHead sent = {
			.version = PROTOCOL_HIGHEST,
			.flags = random_u64_bits() & FRAME_CONTROL,
			.type = MESSAGE_PING,
			.sequence = random_u64_bits(),
			.to_slot = (uint32) random_u64_bits(),
			.to_incarnation = (uint32) random_u64_bits(),
			.from_slot = (uint32) random_u64_bits(),
			.from_incarnation = (uint32) random_u64_bits(),
		};
		FrameHead received;
		char buffer[FRAME_HEAD_SIZE];

		frame_write(buffer, &sent);
		if (frame_read(buffer, sizeof(buffer), &received) != FRAME_OK)
			problem = "it cannot be read back";
		else if (!equal_heads(&sent, &received))
			problem = "it is read back differently";
		else if (frame_read(buffer, sizeof(buffer) - 1, &received) != FRAME_SHORT)
			problem = "a short one is not noticed";
		buffer[0] = (char) (PROTOCOL_HIGHEST + 1);
		if (frame_read(buffer, sizeof(buffer), &received) != FRAME_WRONG_VERSION)
			problem = "another version is not noticed";
	}
	report("frame", problem);
}

static void
test_bundles(void)
{
	const char *problem = NULL;

	for (int round = 0; round < ROUNDS && problem == NULL; round++)
	{
		FrameHead head = {.version = PROTOCOL_HIGHEST, .type = MESSAGE_BUNDLE, .sequence = 1};
		char buffer[4096];
		char *at = buffer + BUNDLE_HEAD_SIZE;
		const char *in = at;
		Size sizes[8];
		int n = (int) (random_u64_bits() % lengthof(sizes));
		BundleMessage bundle;
		Size left;

		for (int i = 0; i < n; i++)
		{
			sizes[i] = random_u64_bits() % 400;
			head.sequence++;
			head.type = MESSAGE_ECHO;
			at = bundle_add(at, &head, sizes[i]);
			memset(at, i, sizes[i]);
			at += sizes[i];
		}
		head.type = MESSAGE_BUNDLE;
		head.sequence = 1;
		bundle_begin(buffer, &head, at - buffer);
		if (!bundle_read(buffer + FRAME_HEAD_SIZE, at - buffer - FRAME_HEAD_SIZE, &bundle) ||
			bundle.frames.data != in)
			problem = "it cannot be read back";
		left = bundle.frames.size;
		for (int i = 0; i < n && problem == NULL; i++)
		{
			const char *frame;
			Size size;
			Size short_left = left - 1;
			const char *short_in = in;

			if (i == n - 1 && bundle_next(&short_in, &short_left, &frame, &size))
				problem = "a short one is not noticed";
			else if (!bundle_next(&in, &left, &frame, &size) ||
					 frame_read(frame, size, &head) != FRAME_OK ||
					 head.sequence != (uint64) i + 2 || size != FRAME_HEAD_SIZE + sizes[i] ||
					 (sizes[i] > 0 && (frame[FRAME_HEAD_SIZE] != i || frame[size - 1] != i)))
				problem = "a frame is read back differently";
		}
		if (problem == NULL && left != 0)
			problem = "something is left over";
	}
	report("bundles", problem);
}

static void
test_versions(void)
{
	report("versions",
		   protocol_choose(1, 1, 1, 1) == 1 && protocol_choose(1, 2, 1, 1) == 1 &&
				   protocol_choose(1, 2, 2, 3) == 2 && protocol_choose(2, 3, 1, 3) == 3 &&
				   protocol_choose(1, 1, 2, 3) == 0 && protocol_choose(3, 4, 1, 2) == 0 ?
			   NULL :
			   "the wrong version is chosen");
}

int
main(int argc, char **argv)
{
	const char *directory = argc > 2 ? argv[2] : NULL;

	state = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) * 2 + 1;
#define FIELD(kind, field)
#define MESSAGE(number, NAME, Name, name, fields) test_##name(directory);
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
	test_frame();
	test_bundles();
	test_versions();
	return failures > 0;
}
