/*
 * arena.h
 *		Memory that every process of dlog shares, at the same address.
 *
 * One region of main shared memory (dlog.shared_memory_size) from which
 * messages, actors' mail and queues' blocks come, in size classes from 64
 * bytes to 64 KB, and larger ones as runs of pages.  Allocation is lock-free: a list of free blocks per
 * process and class, refilled from and spilled to shared stacks.  The network
 * process uses it as well, which may crash at any instruction; so each block
 * names its owner, and what a dead process owned can be swept.
 */
#ifndef DLOG_ARENA_H
#define DLOG_ARENA_H

/*
 * Owners are process slots (runtime/process.c); the first is nobody's, the
 * second the network process's.
 */
#define ARENA_NO_OWNER 0
#define ARENA_NETWORK_OWNER 1
extern uint32 arena_owner_count(void);

#define ARENA_MAX_SIZE (64 * 1024 - 8)

/*
 * The owner that arena_alloc() writes into blocks; set once per process.
 * A process that allocates without having done so is attached by the hook.
 */
extern void arena_attach(uint16 owner);
extern void arena_attach_mortal(uint16 owner); /* whom arena_sweep() may be about */
extern void (*arena_attach_hook)(void);
/* Returns this process's free lists; blocks in use stay in use. */
extern void arena_detach(void);

extern void *arena_alloc(Size size);	 /* ERROR 53400 when full */
extern void *arena_try_alloc(Size size); /* NULL when full */
extern void arena_free(void *pointer);

/*
 * The network process takes no memory from other sizes, since it might die in
 * the middle; another process does this for it.
 */
extern void arena_make_room(Size size);

extern void arena_set_owner(void *pointer, uint16 owner);

/* A number for a block of ours, not 0, where a pointer would be too long. */
extern uint32 arena_number(const void *pointer);
extern void *arena_pointer(uint32 number); /* NULL for 0 */

/*
 * Large blocks: whole pages, of any size that there is room for in one piece.
 * Not for the network process.
 */
extern void *arena_try_alloc_large(Size size); /* NULL when there is no room */
extern void arena_free_large(void *pointer);
extern Size arena_large_usage(void); /* bytes */
extern Size arena_size(void);		 /* bytes in all */

/*
 * Frees all that a dead process owned (only the network process can die
 * without the server restarting), its free lists included; "keep" may
 * save a block from it.  Returns the number of blocks freed.
 */
extern uint64 arena_sweep(uint16 owner, bool (*keep)(void *pointer));

typedef struct ArenaClassUsage
{
	uint32 block_size;
	uint64 total;
	uint64 used;
} ArenaClassUsage;

#define ARENA_CLASSES 11 /* 64, 128, ... 65536 bytes */
extern void arena_usage(ArenaClassUsage usage[ARENA_CLASSES]);
extern Size arena_bytes_free(void);

#ifdef DLOG_STOP_POINTS
extern int64 arena_lost(void); /* for tests: free blocks in no list */
#endif

extern Size arena_shmem_size(void);
extern void arena_shmem_init(void);

#endif
