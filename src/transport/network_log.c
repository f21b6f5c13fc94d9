/*
 * network_log.c
 *		What the network process has to say, handed to the worker to be logged.
 *
 * A line goes through a ring in shared memory, and one that finds the ring
 * full is counted.  Since strangers can cause lines, each kind of line (its
 * format) is limited to ten at once and one a second from then on; what was
 * left out is told with the next line of its kind.
 */
#include "postgres.h"

#include "base/clock.h"
#include "transport/network.h"

#define KINDS 64
#define BURST 10

typedef struct LogKind
{
	const char *format;
	uint64 refilled_us;
	int tokens;
	uint64 left_out;
} LogKind;

static LogKind kinds[KINDS];

/* The entry of a format; the first one is shared by those that find no room. */
static LogKind *
kind_find(const char *format)
{
	for (int i = 1; i < KINDS; i++)
	{
		if (kinds[i].format == NULL)
		{
			kinds[i].format = format;
			kinds[i].tokens = BURST;
			kinds[i].refilled_us = clock_now_us();
		}
		if (kinds[i].format == format)
			return &kinds[i];
	}
	return &kinds[0];
}

static bool
kind_may_log(LogKind *kind)
{
	uint64 now_us = clock_now_us();
	uint64 seconds = (now_us - kind->refilled_us) / 1000000;

	if (seconds > 0)
	{
		kind->tokens = (int) Min((uint64) BURST, kind->tokens + seconds);
		kind->refilled_us = now_us;
	}
	if (kind->tokens == 0)
	{
		kind->left_out++;
		return false;
	}
	kind->tokens--;
	return true;
}

/*
 * network_log
 *		Have the worker log a line.
 */
void
network_log(const char *format, ...)
{
	LogRing *ring = &transport_shared->log;
	LogKind *kind = kind_find(format);
	Latch *latch = transport_shared->worker_latch;
	uint32 written = pg_atomic_read_u32(&ring->written);
	va_list arguments;
	char *line;
	int length;

	if (!kind_may_log(kind))
		return;
	if (written - pg_atomic_read_u32(&ring->read) >= LOG_RING_SIZE)
	{
		pg_atomic_fetch_add_u32(&ring->lost, 1);
		return;
	}

	line = ring->lines[written % LOG_RING_SIZE];
	va_start(arguments, format);
	length = vsnprintf(line, LOG_LINE_SIZE, format, arguments);
	va_end(arguments);
	if (kind->left_out > 0 && length < LOG_LINE_SIZE)
		snprintf(line + length, LOG_LINE_SIZE - length,
				 " (and " UINT64_FORMAT " more of this kind)", kind->left_out);
	kind->left_out = 0;

	pg_write_barrier();
	pg_atomic_write_u32(&ring->written, written + 1);
	if (latch != NULL)
		SetLatch(latch);
}
