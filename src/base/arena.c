/*
 * arena.c
 *		Memory that every process of dlog shares, at the same address.
 *
 * Words.  The arena is cut into *pages* of 64 kB; a page belongs to one size
 * class and is cut into *blocks*, each with a header of eight bytes.  Free
 * blocks lie in a process's *cache* or in the class's *depot*, a stack of
 * *batches*.  A batch is a chain of blocks, some 4 kB together, whose first
 * block also holds the link to the next batch.
 *
 * No locks.  A depot is one 64-bit word, the top batch and a tag that grows
 * with every change, moved by compare-and-swap.  A cache is used by its
 * process alone.  One thread per process may call us.
 *
 * What a crash leaves.  Only the network process can die in the middle of
 * something while the others live on; see runtime/process.c.  Every block
 * that it holds, free or in use, names it as owner, so arena_sweep() finds
 * them without trusting a list of it.  A batch on its way between cache and
 * depot is named in the process's *intent* until it has arrived, and a page
 * that is being cut names who does it, so those are found as well.
 *
 * A page moves to another class only when all its blocks are free and in the
 * depot, which is looked into when the arena is full (arena_reclaim).
 *
 * A *large* block is a run of whole pages without a header, taken from the
 * far end of the arena.  It has no owner, and is not for the network process.
 * While its pages are gathered they belong to no run, so that whoever frees
 * the run in front of it knows where that one ends.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/guc.h"

#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
#error "dlog needs 64-bit atomic operations"
#endif

#define PAGE_BYTES (64 * 1024)
#define SMALLEST_SHIFT 6
#define BATCH_BYTES 4096

/* A block's number is its place in units of 64 bytes, plus one. */
typedef uint32 BlockNo;
#define NO_BLOCK 0

typedef enum BlockState
{
	BLOCK_DEPOT,  /* free, the first of a batch in the depot; owner is nobody */
	BLOCK_CACHED, /* free, in the owner's cache, or another of a batch */
	BLOCK_USED	  /* given out */
} BlockState;

typedef struct Block
{
	BlockNo next; /* in its chain; while it is free */
	uint16 owner;
	uint8 class;
	uint8 state;
	/* the rest is the user's; in the first block of a batch in a depot: */
	BlockNo next_batch;
	uint32 batch_count;
} Block;

#define BLOCK_HEADER offsetof(Block, next_batch)

/* The free blocks of one class that a process keeps: two batches at most. */
typedef struct Cache
{
	BlockNo current;
	uint32 current_count;
	BlockNo spare;
	uint32 spare_count;
	uint64 allocated; /* ever, by all processes that had this slot */
	uint64 freed;
} Cache;

/* Written by its process alone; read by others for statistics and sweeping. */
typedef struct Owner
{
	pg_atomic_uint32 intent; /* the batch it moves from or to a depot */
	Cache cache[ARENA_CLASSES];
} Owner;

/*
 * A page table entry: class plus one, and who is cutting the page.  The pages
 * of a large block have two classes of their own.
 */
#define PAGE_UNUSED 0
#define PAGE_ENTRY(class, cutter) (((uint32) (cutter) << 8) | ((class) + 1))
#define PAGE_CLASS(entry) ((int) ((entry) % 256) - 1)
#define PAGE_CUTTER(entry) ((uint16) ((entry) >> 8))
#define CLASS_LARGE_FIRST ARENA_CLASSES
#define CLASS_LARGE_REST (ARENA_CLASSES + 1)
#define CLASS_LARGE_CLAIMED (ARENA_CLASSES + 2) /* one of these it may become */

typedef struct Arena
{
	/* top batch in the low half, tag in the high half */
	struct
	{
		pg_attribute_aligned(64) pg_atomic_uint64 top;
	} depot[ARENA_CLASSES];
	pg_atomic_uint32 large_pages;		/* in large blocks */
	pg_atomic_uint32 first_unused;		/* hint: no unused page before it */
	pg_atomic_uint32 is_reclaiming;		/* the one who set it may reclaim */
	pg_atomic_uint64 reclaim_failed_at; /* clock, if the last one was in vain */
	pg_atomic_uint64 idle_at_failure;	/* bytes that were free then */
	uint32 n_pages;						/* never changes after start */
	char *pages;						/* same */
	pg_atomic_uint32 *page_table;		/* same */
	uint16 *page_free;					/* counts, for who is reclaiming */
	Owner owner[FLEXIBLE_ARRAY_MEMBER];
} Arena;

static Arena *arena;
static uint16 my_owner = ARENA_NO_OWNER;
static Owner *me;
static bool is_mortal = false; /* this process may die while others go on */

void (*arena_attach_hook)(void);

/* ------------------------------------------------------------- geometry */

/* Is it a page of blocks? */
static inline bool
page_has_blocks(uint32 entry)
{
	return entry != PAGE_UNUSED && PAGE_CLASS(entry) < ARENA_CLASSES;
}

static inline Size
class_size(int class)
{
	return (Size) 1 << (SMALLEST_SHIFT + class);
}

static inline int
class_of(Size size)
{
	Size needed = size + BLOCK_HEADER;
	int class = 0;

	while (class_size(class) < needed)
		class ++;
	return class;
}

static inline uint32
blocks_per_page(int class)
{
	return PAGE_BYTES / class_size(class);
}

/* Large blocks are not cached: 1 is a batch of one, straight to the depot. */
static inline uint32
batch_size(int class)
{
	return Max(1, BATCH_BYTES / class_size(class));
}

static inline bool
class_is_cached(int class)
{
	return class_size(class) <= BATCH_BYTES;
}

static inline Block *
block_at(BlockNo no)
{
	return (Block *) (arena->pages + ((Size) (no - 1) << SMALLEST_SHIFT));
}

static inline BlockNo
block_no(const Block *block)
{
	return (BlockNo) (((const char *) block - arena->pages) >> SMALLEST_SHIFT) + 1;
}

static inline Block *
block_of(const void *pointer)
{
	return (Block *) ((char *) pointer - BLOCK_HEADER);
}

static inline uint32
page_of(BlockNo no)
{
	return (uint32) (((Size) (no - 1) << SMALLEST_SHIFT) / PAGE_BYTES);
}

static inline Block *
block_in_page(uint32 page, int class, uint32 i)
{
	return (Block *) (arena->pages + (Size) page * PAGE_BYTES + i * class_size(class));
}

/*
 * arena_owner_count
 *		Number of possible owners: nobody, the network process, and one per
 *		process of the server.
 */
uint32
arena_owner_count(void)
{
	return 2 + MaxBackends + NUM_AUXILIARY_PROCS;
}

/* --------------------------------------------------------------- depots */

#define TOP_BATCH(top) ((BlockNo) (top))
#define TOP_WITH(top, batch) ((((top) >> 32) + 1) << 32 | (batch))

static void
depot_push_marked(int class, BlockNo batch)
{
	Block *first = block_at(batch);
	pg_atomic_uint64 *depot = &arena->depot[class].top;
	uint64 top = pg_atomic_read_u64(depot);

	do
		first->next_batch = TOP_BATCH(top);
	while (!pg_atomic_compare_exchange_u64(depot, &top, TOP_WITH(top, batch)));
}

/*
 * Say whose a chain of free blocks is.  Those after the first matter only
 * where a mortal process has them, and others leave them alone: in a long list
 * each is a line of memory that is not in the processor's cache.
 */
static void
mark_chain(BlockNo no, uint32 count, uint16 owner, BlockState state)
{
	if (!is_mortal)
		count = 1;
	while (count-- > 0)
	{
		Block *block = block_at(no);

		no = block->next;
		block->owner = owner;
		block->state = state;
	}
}

/* Hand a chain of free blocks, ours so far, to the depot. */
static void
depot_push(int class, BlockNo batch, uint32 count)
{
	block_at(batch)->batch_count = count;
	pg_atomic_write_u32(&me->intent, batch);
	pg_memory_barrier();
	mark_chain(batch, count, ARENA_NO_OWNER, BLOCK_DEPOT);
	depot_push_marked(class, batch);
	pg_atomic_write_u32(&me->intent, NO_BLOCK);
}

/* Take a batch from the depot; it is ours then.  NO_BLOCK when it is empty. */
static BlockNo
depot_pop(int class, uint32 *count)
{
	pg_atomic_uint64 *depot = &arena->depot[class].top;
	uint64 top = pg_atomic_read_u64(depot);
	BlockNo batch;

	do
	{
		batch = TOP_BATCH(top);
		if (batch == NO_BLOCK)
		{
			pg_atomic_write_u32(&me->intent, NO_BLOCK);
			return NO_BLOCK;
		}
		pg_atomic_write_u32(&me->intent, batch);
		pg_memory_barrier();

		/*
		 * Someone may have taken this batch since and be writing into it.
		 * Then what we read is garbage, but the tag has changed, too.
		 */
	} while (!pg_atomic_compare_exchange_u64(depot, &top,
											 TOP_WITH(top, block_at(batch)->next_batch)));

	*count = block_at(batch)->batch_count;
	mark_chain(batch, *count, my_owner, BLOCK_CACHED);
	pg_write_barrier();
	pg_atomic_write_u32(&me->intent, NO_BLOCK);
	return batch;
}

/* ---------------------------------------------------------------- pages */

/* This page is unused. */
static void
hint_lower(uint32 page)
{
	uint32 hint = pg_atomic_read_u32(&arena->first_unused);

	while (hint > page &&
		   !pg_atomic_compare_exchange_u32(&arena->first_unused, &hint, page))
		;
}

/*
 * Cut an unused page into blocks of a class; one batch of them is returned
 * and the others go to the depot.
 */
static BlockNo
page_cut(int class, uint32 *count)
{
	uint32 start = pg_atomic_read_u32(&arena->first_unused);
	uint32 expected_hint = start;
	uint32 per_page = blocks_per_page(class);
	uint32 per_batch = batch_size(class);
	uint32 page;
	uint32 i;

	for (page = start; page < arena->n_pages; page++)
	{
		uint32 entry = PAGE_UNUSED;

		if (pg_atomic_read_u32(&arena->page_table[page]) == PAGE_UNUSED &&
			pg_atomic_compare_exchange_u32(&arena->page_table[page], &entry,
										   PAGE_ENTRY(class, my_owner)))
			break;
	}
	/*
	 * The hint goes on unless a page was given back meanwhile.  One that was,
	 * behind where we had looked, by somebody who still read the old hint, is
	 * seen now.
	 */
	pg_atomic_compare_exchange_u32(&arena->first_unused, &expected_hint,
								   Min(page + 1, arena->n_pages));
	for (i = start; i < page; i++)
	{
		if (pg_atomic_read_u32(&arena->page_table[i]) == PAGE_UNUSED)
		{
			hint_lower(i);
			break;
		}
	}
	if (page >= arena->n_pages)
		return NO_BLOCK;

	for (i = 0; i < per_page; i++)
	{
		Block *block = block_in_page(page, class, i);

		block->owner = my_owner;
		block->class = class;
		block->state = BLOCK_CACHED;
		block->next = (i + 1) % per_batch == 0 ? NO_BLOCK : block_no(block_in_page(page, class, i + 1));
	}
	pg_write_barrier();
	pg_atomic_write_u32(&arena->page_table[page], PAGE_ENTRY(class, ARENA_NO_OWNER));

	for (i = per_batch; i < per_page; i += per_batch)
		depot_push(class, block_no(block_in_page(page, class, i)), per_batch);
	*count = Min(per_batch, per_page);
	return block_no(block_in_page(page, class, 0));
}

static void
page_give_back(uint32 page)
{
	pg_atomic_write_u32(&arena->page_table[page], PAGE_UNUSED);
	pg_memory_barrier();
	hint_lower(page);
}

/*
 * Give back the pages of a class that are wholly free.  While we look, its
 * depot is empty for others.
 */
static bool
class_reclaim(int class)
{
	pg_atomic_uint64 *depot = &arena->depot[class].top;
	uint64 top = pg_atomic_read_u64(depot);
	uint32 per_page = blocks_per_page(class);
	uint32 per_batch = batch_size(class);
	BlockNo batch;
	BlockNo chain = NO_BLOCK;
	BlockNo kept = NO_BLOCK;
	uint32 kept_count = 0;
	bool freed = false;

	while (!pg_atomic_compare_exchange_u64(depot, &top, TOP_WITH(top, NO_BLOCK)))
		;

	/* All of its batches become one chain, counted by page. */
	for (batch = TOP_BATCH(top); batch != NO_BLOCK;)
	{
		uint32 count = block_at(batch)->batch_count;
		BlockNo next_batch = block_at(batch)->next_batch;
		BlockNo no = batch;

		while (count-- > 0)
		{
			BlockNo next = block_at(no)->next;

			arena->page_free[page_of(no)]++;
			block_at(no)->next = chain;
			chain = no;
			no = next;
		}
		batch = next_batch;
	}

	while (chain != NO_BLOCK)
	{
		BlockNo no = chain;

		chain = block_at(no)->next;
		if (arena->page_free[page_of(no)] >= per_page)
		{
			/* counts up to twice the number, when the last one is seen */
			if (++arena->page_free[page_of(no)] == 2 * per_page)
			{
				arena->page_free[page_of(no)] = 0;
				page_give_back(page_of(no));
				freed = true;
			}
			continue;
		}
		block_at(no)->next = kept;
		kept = no;
		if (++kept_count == per_batch || chain == NO_BLOCK)
		{
			mark_chain(kept, 1, ARENA_NO_OWNER, BLOCK_DEPOT);
			block_at(kept)->batch_count = kept_count;
			depot_push_marked(class, kept);
			kept = NO_BLOCK;
			kept_count = 0;
		}
	}
	if (kept != NO_BLOCK)
	{
		mark_chain(kept, 1, ARENA_NO_OWNER, BLOCK_DEPOT);
		block_at(kept)->batch_count = kept_count;
		depot_push_marked(class, kept);
	}

	{
		uint32 page;

		for (page = 0; page < arena->n_pages; page++)
			if (PAGE_CLASS(pg_atomic_read_u32(&arena->page_table[page])) == class)
				arena->page_free[page] = 0;
	}
	return freed;
}

/* Bytes in free blocks of classes other than this one. */
static Size
bytes_idle(int wanted)
{
	ArenaClassUsage usage[ARENA_CLASSES];
	Size idle = 0;
	int class;

	arena_usage(usage);
	for (class = 0; class < ARENA_CLASSES; class ++)
		if (class != wanted && usage[class].total > usage[class].used)
			idle += (usage[class].total - usage[class].used) * usage[class].block_size;
	return idle;
}

/*
 * The arena is full: look for pages of other classes that could be cut anew.
 * The network process does not, since it might die in here.
 *
 * Looking takes time and mostly fails when it has just failed, so then it is
 * done again only after a page's worth has been freed, or a while.
 */
static bool
arena_reclaim(int wanted)
{
	uint32 expected = 0;
	bool freed = false;
	Size idle;
	int class;

	if (my_owner == ARENA_NETWORK_OWNER)
		return false;
	idle = bytes_idle(wanted);
	if (idle < pg_atomic_read_u64(&arena->idle_at_failure) + PAGE_BYTES &&
		clock_now_us() - pg_atomic_read_u64(&arena->reclaim_failed_at) < 100000)
		return false;
	if (!pg_atomic_compare_exchange_u32(&arena->is_reclaiming, &expected, 1))
		return false;
	for (class = ARENA_CLASSES - 1; class >= 0 && !freed; class --)
		if (class != wanted)
			freed = class_reclaim(class);
	pg_atomic_write_u64(&arena->idle_at_failure, freed ? 0 : idle);
	pg_atomic_write_u64(&arena->reclaim_failed_at, freed ? 0 : clock_now_us());
	pg_write_barrier();
	pg_atomic_write_u32(&arena->is_reclaiming, 0);
	return freed;
}

/* ---------------------------------------------------------- allocation */

/* Fill the empty cache of a class; false when there is nothing left. */
static bool
cache_fill(int class)
{
	Cache *cache = &me->cache[class];

	if (cache->spare != NO_BLOCK)
	{
		cache->current = cache->spare;
		cache->current_count = cache->spare_count;
		cache->spare = NO_BLOCK;
		return true;
	}
	cache->current = depot_pop(class, &cache->current_count);
	if (cache->current == NO_BLOCK)
		cache->current = page_cut(class, &cache->current_count);
	return cache->current != NO_BLOCK;
}

static void *
class_alloc(int class)
{
	Cache *cache = &me->cache[class];
	Block *block;

	if (cache->current == NO_BLOCK && !cache_fill(class))
		return NULL;
	block = block_at(cache->current);
	Assert(block->state != BLOCK_USED && block->class == class);
	cache->current = block->next;
	cache->current_count--;
	if (cache->current != NO_BLOCK)
		__builtin_prefetch(block_at(cache->current), 1);
	block->owner = my_owner;
	block->state = BLOCK_USED;
	cache->allocated++;
	return (char *) block + BLOCK_HEADER;
}

/*
 * arena_try_alloc
 *		A block of at least this size, or NULL when the arena is full.
 *
 * Any process; never raises an error once the process is attached.
 */
void *
arena_try_alloc(Size size)
{
	int wanted;
	int class;
	void *pointer;

	if (size > ARENA_MAX_SIZE)
		return NULL;
	if (me == NULL)
		arena_attach_hook();
	wanted = class_of(size);
	pointer = class_alloc(wanted);
	if (likely(pointer != NULL))
		return pointer;
	if (arena_reclaim(wanted))
		pointer = class_alloc(wanted);
	/* Rather a block that is too large than none. */
	for (class = wanted + 1; pointer == NULL && class < ARENA_CLASSES; class ++)
		pointer = class_alloc(class);
	return pointer;
}

/*
 * arena_alloc
 *		A block of at least this size, or an ERROR.  Not for the network
 *		process.
 */
void *
arena_alloc(Size size)
{
	void *pointer;
	int tries = 0;

	if (size > ARENA_MAX_SIZE)
		elog(ERROR, "invalid request size for shared memory: %zu", size);
	while ((pointer = arena_try_alloc(size)) == NULL)
	{
		/* While another reclaims pages, blocks are out of sight. */
		if (pg_atomic_read_u32(&arena->is_reclaiming) == 0 || ++tries > 100)
			break;
		pg_usleep(1000);
	}
	if (pointer == NULL)
		pointer = arena_try_alloc(size);
	if (pointer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of dlog's shared memory"),
				 errdetail("All %d MB are in use by messages and queues.",
						   dlog_shared_memory_size),
				 errhint("Raise dlog.shared_memory_size; the view dlog.memory tells what is used.")));
	return pointer;
}

/*
 * arena_make_room
 *		Let there be pages to cut into blocks of this size, if pages of other
 *		sizes are wholly free.  Not for the network process.
 */
void
arena_make_room(Size size)
{
	if (me == NULL)
		arena_attach_hook();
	(void) arena_reclaim(class_of(size));
}

/*
 * arena_free
 *		Gives a block back.  Any process may free what any other allocated.
 */
void
arena_free(void *pointer)
{
	Block *block = block_of(pointer);
	int class = block->class;
	Cache *cache;

	if (me == NULL)
		arena_attach_hook();

	/*
	 * A block that is freed twice would be handed to two users.  Better to
	 * stop here, in the process that is wrong.  (The network process cannot
	 * raise errors.)
	 */
	if (unlikely(block->state != BLOCK_USED))
		abort();

	cache = &me->cache[class];
	cache->freed++;
	block->owner = my_owner;
	block->state = BLOCK_CACHED;
	if (!class_is_cached(class))
	{
		block->next = NO_BLOCK;
		depot_push(class, block_no(block), 1);
		return;
	}
	if (cache->current != NO_BLOCK && cache->current_count >= batch_size(class))
	{
		if (cache->spare != NO_BLOCK)
		{
			BlockNo spare = cache->spare;

			cache->spare = NO_BLOCK;
			depot_push(class, spare, cache->spare_count);
		}
		cache->spare = cache->current;
		cache->spare_count = cache->current_count;
		cache->current = NO_BLOCK;
	}
	if (cache->current == NO_BLOCK)
		cache->current_count = 0;
	block->next = cache->current;
	cache->current = block_no(block);
	cache->current_count++;
}

void
arena_set_owner(void *pointer, uint16 owner)
{
	block_of(pointer)->owner = owner;
}

/*
 * arena_number, arena_pointer
 *		A number for what arena_alloc() gave, or a large block's first line,
 *		and back.
 */
uint32
arena_number(const void *pointer)
{
	return pointer == NULL ? NO_BLOCK : block_no(block_of(pointer));
}

void *
arena_pointer(uint32 number)
{
	return number == NO_BLOCK ? NULL : (char *) block_at(number) + BLOCK_HEADER;
}

/*
 * arena_attach
 *		From now on this process allocates and frees as this owner.
 *
 * Nobody else may be it.
 */
void
arena_attach(uint16 owner)
{
	Assert(owner != ARENA_NO_OWNER && owner < arena_owner_count());
	my_owner = owner;
	me = &arena->owner[owner];
	is_mortal = false;
}

/*
 * arena_attach_mortal
 *		The same for a process that may die at any instruction while the
 *		others go on: all that it has names it.
 */
void
arena_attach_mortal(uint16 owner)
{
	arena_attach(owner);
	is_mortal = true;
}

/*
 * arena_detach
 *		Returns this process's free blocks to the depots.
 */
void
arena_detach(void)
{
	int class;

	if (me == NULL)
		return;
	for (class = 0; class < ARENA_CLASSES; class ++)
	{
		Cache *cache = &me->cache[class];

		if (cache->current != NO_BLOCK)
			depot_push(class, cache->current, cache->current_count);
		if (cache->spare != NO_BLOCK)
			depot_push(class, cache->spare, cache->spare_count);
		cache->current = cache->spare = NO_BLOCK;
		cache->current_count = cache->spare_count = 0;
	}
	me = NULL;
	my_owner = ARENA_NO_OWNER;
}

/* ----------------------------------------------------------- large blocks */

/* Take this many unused pages in a row, as far at the end as there are. */
static bool
large_claim(uint32 n, uint32 *first)
{
	uint32 page = arena->n_pages;
	uint32 found = 0;

	while (page > 0 && found < n)
	{
		uint32 expected = PAGE_UNUSED;

		page--;
		if (pg_atomic_read_u32(&arena->page_table[page]) == PAGE_UNUSED &&
			pg_atomic_compare_exchange_u32(&arena->page_table[page], &expected,
										   PAGE_ENTRY(CLASS_LARGE_CLAIMED, ARENA_NO_OWNER)))
		{
			found++;
			continue;
		}
		for (; found > 0; found--)
			page_give_back(page + found);
	}
	if (found < n)
	{
		for (; found > 0; found--)
			page_give_back(page + found - 1);
		return false;
	}
	pg_atomic_write_u32(&arena->page_table[page], PAGE_ENTRY(CLASS_LARGE_FIRST, ARENA_NO_OWNER));
	while (--found > 0)
		pg_atomic_write_u32(&arena->page_table[page + found], PAGE_ENTRY(CLASS_LARGE_REST, ARENA_NO_OWNER));
	pg_atomic_fetch_add_u32(&arena->large_pages, n);
	*first = page;
	return true;
}

/*
 * arena_try_alloc_large
 *		A run of whole pages; NULL when there are not as many in a row.
 *
 * Any process but the network process.
 */
void *
arena_try_alloc_large(Size size)
{
	Size n = (size + PAGE_BYTES - 1) / PAGE_BYTES;
	uint32 first;
	int tries;
	int class;

	if (me == NULL)
		arena_attach_hook();
	if (n == 0 || n > arena->n_pages)
		return NULL;

	/* What another tries at the same time may stand in our way for a moment. */
	for (tries = 0; tries < 3; tries++)
		if (large_claim(n, &first))
			return arena->pages + (Size) first * PAGE_BYTES;

	/* Pages of blocks that are all free may do. */
	for (class = ARENA_CLASSES - 1; class >= 0; class --)
	{
		uint32 expected = 0;
		bool freed;

		if (!pg_atomic_compare_exchange_u32(&arena->is_reclaiming, &expected, 1))
			return NULL;
		freed = class_reclaim(class);
		pg_write_barrier();
		pg_atomic_write_u32(&arena->is_reclaiming, 0);
		if (freed && large_claim(n, &first))
			return arena->pages + (Size) first * PAGE_BYTES;
	}
	return NULL;
}

void
arena_free_large(void *pointer)
{
	uint32 first = (uint32) (((char *) pointer - arena->pages) / PAGE_BYTES);
	uint32 last = first + 1;

	if (pg_atomic_read_u32(&arena->page_table[first]) != PAGE_ENTRY(CLASS_LARGE_FIRST, ARENA_NO_OWNER))
		abort(); /* as in arena_free() */
	while (last < arena->n_pages &&
		   pg_atomic_read_u32(&arena->page_table[last]) == PAGE_ENTRY(CLASS_LARGE_REST, ARENA_NO_OWNER))
		last++;
	pg_atomic_fetch_sub_u32(&arena->large_pages, last - first);
	while (last > first)
		page_give_back(--last);
}

/* Bytes in large blocks. */
Size
arena_large_usage(void)
{
	return (Size) pg_atomic_read_u32(&arena->large_pages) * PAGE_BYTES;
}

Size
arena_size(void)
{
	return (Size) arena->n_pages * PAGE_BYTES;
}

/* -------------------------------------------------------------- sweeping */

/*
 * Is the batch in its depot?  The walk counts only if nothing was pushed or
 * popped meanwhile.  When in doubt: yes.
 */
static bool
depot_contains(int class, BlockNo batch)
{
	int tries;

	for (tries = 0; tries < 1000; tries++)
	{
		uint64 top = pg_atomic_read_u64(&arena->depot[class].top);
		BlockNo no = TOP_BATCH(top);
		bool found = false;

		while (no != NO_BLOCK && !found)
		{
			if (no > (BlockNo) arena->n_pages * (PAGE_BYTES >> SMALLEST_SHIFT))
				break;
			found = (no == batch);
			no = block_at(no)->next_batch;
			if (pg_atomic_read_u64(&arena->depot[class].top) != top)
				break;
		}
		pg_memory_barrier();
		if (pg_atomic_read_u64(&arena->depot[class].top) == top)
			return found;
	}
	return true;
}

/*
 * A process died while it moved a batch.  If the batch is neither in the
 * depot nor somebody else's, make all of it the dead one's.
 */
static void
sweep_intent(uint16 owner)
{
	Owner *dead = &arena->owner[owner];
	BlockNo batch = pg_atomic_read_u32(&dead->intent);
	Block *first;
	BlockNo no;
	uint32 entry;
	uint32 count;
	uint32 i;

	if (batch == NO_BLOCK)
		return;
	pg_atomic_write_u32(&dead->intent, NO_BLOCK);
	first = block_at(batch);

	/* It lost a race for the batch long ago, and the page was cut anew. */
	entry = pg_atomic_read_u32(&arena->page_table[page_of(batch)]);
	if (!page_has_blocks(entry) || PAGE_CUTTER(entry) != ARENA_NO_OWNER ||
		((char *) first - arena->pages) % class_size(PAGE_CLASS(entry)) != 0)
		return;
	if (first->owner != owner)
	{
		if (first->owner != ARENA_NO_OWNER || first->state != BLOCK_DEPOT)
			return;
		if (depot_contains(first->class, batch))
			return;
		for (i = 0; i < arena_owner_count(); i++)
			if (pg_atomic_read_u32(&arena->owner[i].intent) == batch)
				return;
		pg_memory_barrier();
		if (first->owner != ARENA_NO_OWNER || first->state != BLOCK_DEPOT)
			return;
	}
	count = first->batch_count;
	for (no = batch, i = 0; i < count && no != NO_BLOCK; i++)
	{
		Block *block = block_at(no);

		block->owner = owner;
		block->state = BLOCK_CACHED;
		no = block->next;
	}
}

/*
 * arena_sweep
 *		Frees all that a dead process owned, and its cache.
 *
 * "keep", if given, is asked about each block that was in use, and may give
 * it another owner and return true.  The owner must be dead for certain.
 */
uint64
arena_sweep(uint16 owner, bool (*keep)(void *pointer))
{
	Owner *dead = &arena->owner[owner];
	uint32 expected = 0;
	uint64 swept = 0;
	uint32 page;
	int class;

	if (me == NULL)
		arena_attach_hook();
	Assert(owner != my_owner);

	/* Who reclaims pages has depots in its hands: not at the same time. */
	while (!pg_atomic_compare_exchange_u32(&arena->is_reclaiming, &expected, 1))
	{
		expected = 0;
		pg_usleep(1000);
	}
	sweep_intent(owner);
	for (class = 0; class < ARENA_CLASSES; class ++)
	{
		dead->cache[class].current = dead->cache[class].spare = NO_BLOCK;
		dead->cache[class].current_count = dead->cache[class].spare_count = 0;
	}
	for (page = 0; page < arena->n_pages; page++)
	{
		uint32 entry = pg_atomic_read_u32(&arena->page_table[page]);
		uint32 i;

		if (!page_has_blocks(entry))
			continue;
		class = PAGE_CLASS(entry);
		if (PAGE_CUTTER(entry) == owner)
		{
			page_give_back(page);
			continue;
		}
		if (PAGE_CUTTER(entry) != ARENA_NO_OWNER)
			continue;
		for (i = 0; i < blocks_per_page(class); i++)
		{
			Block *block = block_in_page(page, class, i);

			if (block->owner != owner)
				continue;
			if (block->state == BLOCK_USED)
			{
				if (keep != NULL && keep((char *) block + BLOCK_HEADER))
					continue;
				swept++;
			}
			else
				me->cache[class].allocated++; /* arena_free counts it back */
			block->state = BLOCK_USED;
			arena_free((char *) block + BLOCK_HEADER);
		}
	}
	pg_write_barrier();
	pg_atomic_write_u32(&arena->is_reclaiming, 0);
	return swept;
}

/* ------------------------------------------------------------ statistics */

/*
 * arena_usage
 *		How many blocks of each class there are and how many are given out.
 *
 * Counted while others go on, so a few may be off.
 */
void
arena_usage(ArenaClassUsage usage[ARENA_CLASSES])
{
	uint32 page;
	uint32 i;
	int class;

	for (class = 0; class < ARENA_CLASSES; class ++)
	{
		int64 used = 0;

		for (i = 0; i < arena_owner_count(); i++)
			used += (int64) (arena->owner[i].cache[class].allocated - arena->owner[i].cache[class].freed);
		usage[class].block_size = class_size(class);
		usage[class].total = 0;
		usage[class].used = Max(used, 0);
	}
	for (page = 0; page < arena->n_pages; page++)
	{
		uint32 entry = pg_atomic_read_u32(&arena->page_table[page]);

		if (page_has_blocks(entry))
			usage[PAGE_CLASS(entry)].total += blocks_per_page(PAGE_CLASS(entry));
	}
}

/*
 * arena_bytes_free
 *		Bytes that could still be given out, whatever their class.
 */
Size
arena_bytes_free(void)
{
	ArenaClassUsage usage[ARENA_CLASSES];
	Size used = 0;
	int class;

	arena_usage(usage);
	for (class = 0; class < ARENA_CLASSES; class ++)
		used += usage[class].used * usage[class].block_size;
	used += arena_large_usage();
	return (Size) arena->n_pages * PAGE_BYTES - Min(used, (Size) arena->n_pages * PAGE_BYTES);
}

/* --------------------------------------------------------- shared memory */

static uint32
page_count(void)
{
	return (uint32) ((Size) dlog_shared_memory_size * 1024 * 1024 / PAGE_BYTES);
}

static Size
head_size(void)
{
	Size size = offsetof(Arena, owner);

	size = add_size(size, mul_size(arena_owner_count(), sizeof(Owner)));
	return CACHELINEALIGN(size);
}

Size
arena_shmem_size(void)
{
	Size size = head_size();

	size = add_size(size, CACHELINEALIGN(mul_size(page_count(), sizeof(pg_atomic_uint32))));
	size = add_size(size, CACHELINEALIGN(mul_size(page_count(), sizeof(uint16))));
	size = add_size(size, mul_size(page_count(), PAGE_BYTES));
	return add_size(size, PG_CACHE_LINE_SIZE + BATCH_BYTES);
}

void
arena_shmem_init(void)
{
	bool found;
	char *at;
	uint32 i;
	int class;

	if (arena_owner_count() > PG_UINT16_MAX)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("dlog supports at most %d server processes", PG_UINT16_MAX - 2),
				 errhint("Lower max_connections.")));

	at = ShmemInitStruct("dlog arena", arena_shmem_size(), &found);
	arena = (Arena *) CACHELINEALIGN(at);
	if (found)
		return;
	memset(arena, 0, head_size());
	at = (char *) arena + head_size();
	arena->n_pages = page_count();
	arena->page_table = (pg_atomic_uint32 *) at;
	at += CACHELINEALIGN(arena->n_pages * sizeof(pg_atomic_uint32));
	arena->page_free = (uint16 *) at;
	at += CACHELINEALIGN(arena->n_pages * sizeof(uint16));
	arena->pages = (char *) TYPEALIGN(BATCH_BYTES, at); /* a queue's block is one page of memory */
	memset(arena->page_free, 0, arena->n_pages * sizeof(uint16));
	for (i = 0; i < arena->n_pages; i++)
		pg_atomic_init_u32(&arena->page_table[i], PAGE_UNUSED);
	for (class = 0; class < ARENA_CLASSES; class ++)
		pg_atomic_init_u64(&arena->depot[class].top, NO_BLOCK);
	for (i = 0; i < arena_owner_count(); i++)
		pg_atomic_init_u32(&arena->owner[i].intent, NO_BLOCK);
	pg_atomic_init_u32(&arena->large_pages, 0);
	pg_atomic_init_u32(&arena->first_unused, 0);
	pg_atomic_init_u32(&arena->is_reclaiming, 0);
	pg_atomic_init_u64(&arena->reclaim_failed_at, 0);
	pg_atomic_init_u64(&arena->idle_at_failure, 0);
}

#ifdef DLOG_STOP_POINTS

/*
 * arena_lost
 *		Free blocks that are in no list; to be called when all is quiet.
 */
int64
arena_lost(void)
{
	int64 lost = 0;
	uint32 page;
	uint32 i;
	int class;

	for (page = 0; page < arena->n_pages; page++)
	{
		uint32 entry = pg_atomic_read_u32(&arena->page_table[page]);

		if (!page_has_blocks(entry))
			continue;
		for (i = 0; i < blocks_per_page(PAGE_CLASS(entry)); i++)
			if (block_in_page(page, PAGE_CLASS(entry), i)->state != BLOCK_USED)
				lost++;
	}
	for (class = 0; class < ARENA_CLASSES; class ++)
	{
		BlockNo batch = TOP_BATCH(pg_atomic_read_u64(&arena->depot[class].top));

		for (; batch != NO_BLOCK; batch = block_at(batch)->next_batch)
			lost -= block_at(batch)->batch_count;
		for (i = 0; i < arena_owner_count(); i++)
		{
			Cache *cache = &arena->owner[i].cache[class];

			if (cache->current != NO_BLOCK)
				lost -= cache->current_count;
			if (cache->spare != NO_BLOCK)
				lost -= cache->spare_count;
		}
	}
	return lost;
}

#endif
