/*
 * runtime.h
 *		Actors, their addresses and messages; the processes that run them.
 *
 * Words.  An *actor* has an address, a mailbox and a behavior, and handles
 * one message at a time.  A *process* here is any server process attached to
 * the runtime: a session's backend, a scheduler, the launcher, the transport
 * worker, and the network process.  Every attached process has a
 * ProcessSlot with a lock-free inbox into which anyone may push.
 *
 * An actor is *sharded* (run by whichever scheduler holds its shard, see
 * shard.c) or *bound* to one process (a session, a remote statement that a
 * scheduler runs in SQL).  Messages for a bound actor go to its process's
 * inbox; those for a sharded one to its shard's.
 *
 * A message always has one owner: whoever created it, the queue it is in, or
 * whoever took it out.  Sending gives it away, whatever the result.
 */
#ifndef DLOG_RUNTIME_H
#define DLOG_RUNTIME_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "utils/palloc.h"

#include "wire/wire.h"

/*
 * Where an actor lives.  "node" is an index into the node table of this
 * server (transport/transport.h), 0 for this node.  A slot is reused with a
 * new incarnation, so a stale address reaches nobody.
 *
 * Slot 0 is no actor: it stands for the dispatcher of a database, named by
 * the hash of the database's name in "incarnation" (database_address()).
 * What is sent there starts new work on a free scheduler.
 */
typedef struct ActorAddress
{
	uint32 node;
	uint32 slot;
	uint32 incarnation;
} ActorAddress;

#define THIS_NODE 0

typedef struct Message
{
	struct Message *next; /* link of the queue it is in */
	uint32 size;		  /* bytes of payload */
	uint16 type;		  /* MessageType, wire/messages.def */
	uint16 flags;
	ActorAddress to;
	ActorAddress from;
	char payload[FLEXIBLE_ARRAY_MEMBER]; /* encoded, see wire/wire.h */
} Message;

#define MESSAGE_MAX_PAYLOAD (64 * 1024 - 8 - offsetof(Message, payload))

typedef enum SendResult
{
	SEND_OK,
	SEND_NO_ACTOR,		/* no such actor, or an older incarnation of it */
	SEND_MAILBOX_FULL,	/* control messages are never refused for this */
	SEND_NODE_DOWN		/* the link to its node is not up */
} SendResult;

/* message.c */
extern Message *message_create(uint16 type, Size payload_size);
extern Message *message_try_create(uint16 type, Size payload_size);
extern void message_free(Message *message);

/* actor.c: any process */
extern SendResult actor_send(ActorAddress to, Message *message);
extern bool actor_exists(ActorAddress address);
extern ActorAddress database_address(uint32 node, const char *database);

/*
 * Bound actors (bound.c): an actor whose mailbox is this process.  It exits
 * with the memory context it was spawned in, so an ERROR leaves none behind.
 */
typedef struct BoundActor BoundActor;

extern BoundActor *bound_actor_spawn(MemoryContext context, const char *behavior);
extern void bound_actor_exit(BoundActor *actor);
extern ActorAddress bound_actor_address(BoundActor *actor);
extern Message *bound_actor_receive(BoundActor *actor);
extern bool runtime_wait(long timeout_ms, uint32 wait_event_info);

/*
 * Hooks for higher layers, filled in by their _init functions.
 */

/* Sends a message to another node; transport fills it in. */
typedef SendResult (*GatewaySend)(ActorAddress to, Message *message);
extern GatewaySend runtime_gateway;

/*
 * Handles a message that was sent to a database's dispatcher, on a scheduler
 * connected to that database, outside of a transaction.  It may block in SQL
 * for as long as it likes: the launcher starts other schedulers meanwhile.
 */
typedef void (*WorkHandler)(Message *message);
extern void runtime_register_work(uint16 type, WorkHandler handler);

/* Called by every new scheduler of a database once it is connected. */
extern void runtime_register_scheduler_start(void (*callback)(void));

/* Wakes a free scheduler of the database to run the start callbacks again. */
extern void runtime_request_refresh(Oid database);

/* preload check: ereports 55000 when dlog is not in shared_preload_libraries */
extern void runtime_require(void);

/* dlog.c's table of contents */
extern Size runtime_shmem_size(void);
extern void runtime_shmem_init(void);
extern void runtime_init(void);

#endif
