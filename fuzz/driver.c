/*
 * driver.c
 *		A fuzzer for compilers without libFuzzer: mutates the files of a corpus
 *		and feeds them to the target for some seconds.
 *
 *		driver SECONDS SEED CORPUS-DIRECTORY CRASH-FILE
 */
#include "c.h"

#include <dirent.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/stat.h>
#include <time.h>

#undef printf
#undef fprintf
#undef snprintf

#define MAX_SEEDS 4096
#define MAX_SIZE 70000

typedef struct Seed
{
	size_t size;
	uint8 *data;
} Seed;

extern int LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static Seed seeds[MAX_SEEDS];
static int n_seeds;
static uint64 state;

static uint8 *input;
static size_t input_size;
static const char *crash_file;

/* xorshift64*: the same inputs for the same seed everywhere. */
static uint32
random_below(uint32 limit)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32) ((state * UINT64CONST(2685821657736338717)) >> 33) % limit;
}

/* The sanitizer dies: keep what it died of. */
static void
keep_input(void)
{
	FILE *file = fopen(crash_file, "wb");

	if (file != NULL)
	{
		fwrite(input, 1, input_size, file);
		fclose(file);
	}
}

static void
add_seed(const char *path)
{
	FILE *file = fopen(path, "rb");
	Seed *seed = &seeds[n_seeds];

	if (file == NULL)
		return;
	seed->data = malloc(MAX_SIZE);
	seed->size = fread(seed->data, 1, MAX_SIZE, file);
	fclose(file);
	n_seeds++;
}

static void
read_corpus(const char *directory)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;
	char path[4096];
	struct stat status;

	if (dir == NULL)
	{
		fprintf(stderr, "there is no corpus in %s\n", directory);
		exit(1);
	}
	while ((entry = readdir(dir)) != NULL && n_seeds < MAX_SEEDS)
	{
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (stat(path, &status) == 0 && S_ISREG(status.st_mode))
			add_seed(path);
	}
	closedir(dir);
	if (n_seeds == 0)
	{
		fprintf(stderr, "the corpus in %s is empty\n", directory);
		exit(1);
	}
}

static void
put_interesting(uint8 *data, size_t size)
{
	static const uint32 interesting[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff};
	uint32 value = interesting[random_below(lengthof(interesting))];
	size_t at;

	if (size < 4)
		return;
	at = random_below((uint32) size - 3);
	data[at] = value >> 24;
	data[at + 1] = value >> 16;
	data[at + 2] = value >> 8;
	data[at + 3] = value;
}

/* Changes "data", which has room for MAX_SIZE bytes; returns its new size. */
static size_t
mutate(uint8 *data, size_t size)
{
	size_t at = size == 0 ? 0 : random_below((uint32) size);
	size_t n = 1 + random_below(16);

	switch (random_below(7))
	{
		case 0: /* a bit */
			if (size > 0)
				data[at] ^= 1 << random_below(8);
			return size;
		case 1: /* a byte */
			if (size > 0)
				data[at] = (uint8) random_below(256);
			return size;
		case 2: /* a number, at the edge of something */
			put_interesting(data, size);
			return size;
		case 3: /* take some out */
			n = Min(n, size - at);
			memmove(data + at, data + at + n, size - at - n);
			return size - n;
		case 4: /* put some in */
			if (size + n > MAX_SIZE)
				return size;
			memmove(data + at + n, data + at, size - at);
			for (size_t i = 0; i < n; i++)
				data[at + i] = (uint8) random_below(256);
			return size + n;
		case 5: /* cut off */
			return at;
		default: /* the end of another */
		{
			Seed *other = &seeds[random_below((uint32) n_seeds)];
			size_t from = other->size == 0 ? 0 : random_below((uint32) other->size);

			n = Min(other->size - from, MAX_SIZE - at);
			memcpy(data + at, other->data + from, n);
			return at + n;
		}
	}
}

int
main(int argc, char **argv)
{
	static uint8 work[MAX_SIZE];
	time_t end;
	uint64 runs = 0;

	if (argc != 5)
	{
		fprintf(stderr, "usage: driver SECONDS SEED CORPUS-DIRECTORY CRASH-FILE\n");
		return 2;
	}
	end = time(NULL) + atoi(argv[1]);
	state = strtoull(argv[2], NULL, 10) * 2 + 1;
	read_corpus(argv[3]);
	crash_file = argv[4];
	__sanitizer_set_death_callback(keep_input);

	for (; (runs & 1023) != 0 || time(NULL) < end; runs++)
	{
		Seed *seed = &seeds[random_below((uint32) n_seeds)];
		size_t size = seed->size;

		memcpy(work, seed->data, size);
		for (uint32 i = random_below(8); runs >= (uint64) n_seeds && i > 0; i--)
			size = mutate(work, size);

		/* Exactly as large as it is, so that reading beyond it is noticed. */
		input = malloc(size);
		memcpy(input, work, size);
		input_size = size;
		LLVMFuzzerTestOneInput(input, size);
		free(input);
	}
	printf("%llu inputs from %d seeds\n", (unsigned long long) runs, n_seeds);
	return 0;
}
