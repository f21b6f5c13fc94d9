/*
 * outbox.h
 *		Messages for durable actors of other nodes, and the answers to asks.
 *
 * Words.  The *outbox* is a table: what is sent to a durable actor of another
 * node is a row of it, in the sender's transaction.  A *batch* is what goes
 * over the link at a time, and is taken in one transaction there.  Each
 * message of a batch has a *sequence* number, which counts what this database
 * has ever sent to that node without a gap; the receiver remembers the last
 * that it has taken.
 */
#ifndef DLOG_OUTBOX_H
#define DLOG_OUTBOX_H

#include "actor/actor.h"

typedef enum OutboxKind
{
	OUTBOX_SEND = 's',	 /* a message; its sender may be somebody who asks */
	OUTBOX_REPLY = 'r',	 /* an answer, to the sender of a message */
	OUTBOX_FAILURE = 'f' /* there will be none; a text, which begins with the SQLSTATE */
} OutboxKind;

/* Types of messages that never leave this node. */
typedef enum OutboxLocalMessage
{
	OUTBOX_LOCAL_DRAIN = 62100, /* OutboxNodeNumber: to the dispatcher */
	OUTBOX_LOCAL_STORE,			/* StoreQuestion: to the dispatcher */
	OUTBOX_LOCAL_KICK,			/* OutboxNodeNumber: there is something for that node */
	OUTBOX_LOCAL_DRAINED,		/* Drained */
	OUTBOX_LOCAL_STORED			/* nothing: the question is stored */
} OutboxLocalMessage;

/* outbox.c */
extern void outbox_put(OutboxKind kind, const ActorRef *to, const ActorRef *sender, Oid role, struct varlena *payload);
extern void outbox_send(const ActorRef *to, Oid type, Datum message, bool is_null);
extern void outbox_reply(const ActorRef *asker, Oid type, Datum message, bool is_null);
extern void outbox_refuse(const ActorRef *sender, int sqlerrcode, const char *text);
extern Message *outbox_ask(const ActorRef *to, Oid type, Datum message, bool is_null, long timeout_ms);
extern void outbox_init(void);

/* outbox_drain.c */
extern void outbox_kick(uint32 node, Message *kick);
extern Message *outbox_kick_message(uint32 node);
extern Size outbox_shmem_size(void);
extern void outbox_shmem_init(void);
extern void outbox_drain_init(void);

/* In a scheduler: commits of this transaction wait until they are on disk. */
extern void outbox_flush_at_commit(void);
extern void outbox_use_own_settings(void);

#endif
