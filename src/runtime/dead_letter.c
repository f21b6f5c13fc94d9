/*
 * dead_letter.c
 *		What could not be delivered: the last ones, and how many.
 *
 * A ring without locks.  A writer takes the next number, clears the number
 * of that place, fills it in and then writes the number; a reader that finds
 * the number changed has read garbage and skips it.  So does it find a place
 * whose writer died.
 */
#include "postgres.h"

#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "runtime/runtime_internal.h"

typedef struct DeadLetters
{
	pg_atomic_uint64 last_number;
	pg_atomic_uint64 count[DEAD_LETTER_REASONS];
	DeadLetter letter[DEAD_LETTERS_KEPT];
} DeadLetters;

static DeadLetters *letters;

/*
 * dead_letter_record
 *		Any process.
 */
void
dead_letter_record(const Message *message, DeadLetterReason reason)
{
	uint64 number = pg_atomic_add_fetch_u64(&letters->last_number, 1);
	DeadLetter *letter = &letters->letter[number % DEAD_LETTERS_KEPT];

	pg_atomic_fetch_add_u64(&letters->count[reason], 1);
	pg_atomic_write_u64(&letter->number, 0);
	pg_write_barrier();
	letter->at = GetCurrentTimestamp();
	letter->type = message->type;
	letter->reason = reason;
	letter->to = message->to;
	letter->from = message->from;
	pg_write_barrier();
	pg_atomic_write_u64(&letter->number, number);
}

/* Copies the letter in this place; false when there is none. */
bool
dead_letter_read(uint32 i, DeadLetter *letter)
{
	uint64 number = pg_atomic_read_u64(&letters->letter[i].number);

	if (number == 0)
		return false;
	pg_read_barrier();
	memcpy(letter, &letters->letter[i], sizeof(DeadLetter));
	pg_read_barrier();
	return pg_atomic_read_u64(&letters->letter[i].number) == number;
}

uint64
dead_letter_count(DeadLetterReason reason)
{
	return pg_atomic_read_u64(&letters->count[reason]);
}

const char *
dead_letter_reason_name(DeadLetterReason reason)
{
	static const char *const names[] = {
		[DEAD_LETTER_NO_ACTOR] = "no such actor",
		[DEAD_LETTER_MAILBOX_FULL] = "mailbox full",
		[DEAD_LETTER_NODE_DOWN] = "node down",
		[DEAD_LETTER_NO_DATABASE] = "no such database",
		[DEAD_LETTER_NO_HANDLER] = "no handler",
		[DEAD_LETTER_NO_MEMORY] = "out of memory",
	};

	return names[reason];
}

Size
dead_letter_shmem_size(void)
{
	return sizeof(DeadLetters);
}

void
dead_letter_shmem_init(void)
{
	bool found;
	int i;

	letters = ShmemInitStruct("dlog dead letters", sizeof(DeadLetters), &found);
	if (found)
		return;
	memset(letters, 0, sizeof(DeadLetters));
	pg_atomic_init_u64(&letters->last_number, 0);
	for (i = 0; i < DEAD_LETTER_REASONS; i++)
		pg_atomic_init_u64(&letters->count[i], 0);
	for (i = 0; i < DEAD_LETTERS_KEPT; i++)
		pg_atomic_init_u64(&letters->letter[i].number, 0);
}
