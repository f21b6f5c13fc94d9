/*
 * journal.h
 *		Durable actors: what is sent to them is lost by nobody.
 *
 * Words.  A *durable actor* is a row of dlog.durable_actor.  It is *loaded*
 * into a slot when somebody sends to it first, or when the server starts and
 * mail waits for it.  What is sent is a row of dlog.mailbox, written by the
 * sender's transaction, until the batch that handles it deletes it and
 * appends an *entry* to the *journal* of the actor's behavior.  A *snapshot*
 * is a state after some entry; *replay* makes later states of it by calling
 * handlers, or apply functions in their stead, on the entries since.
 *
 * A handler's rows, what it sends, and what becomes of its message are of one
 * transaction.  So a message is handled once, whatever is killed when.
 */
#ifndef DLOG_JOURNAL_H
#define DLOG_JOURNAL_H

#include "actor/actor.h"

/*
 * payload.c: the type dlog.payload, a value of any type.  Results are in the
 * current memory context or in the payload itself.  ERROR 42704 when the type
 * is gone.
 */
extern struct varlena *payload_create(Datum datum, ValueType type, bool is_null);
extern Datum payload_datum(const struct varlena *payload, Oid *type, bool *is_null);

/*
 * Send to a durable actor of this database as somebody else: what has come
 * from another node.  In a transaction, whose commit makes it durable.
 * ERROR 42704: there is no such actor, or it has stopped; 53400: its mailbox
 * is full; 42501: the role may not.
 */
typedef struct DurableSend
{
	int64 actor;
	Oid type;
	Datum message;
	bool is_null;
	ActorRef sender; /* all zero: none */
	Oid role;
} DurableSend;

extern void durable_send(const DurableSend *send);

/*
 * Was this database restored from a dump, so that its durable actors wait
 * until dlog.settle()?  That has runtime_request_refresh() called.
 */
extern bool durable_is_unsettled(void);

/* dlog.c's table of contents */
extern Size journal_shmem_size(void);
extern void journal_shmem_init(void);
extern void journal_init(void);

#endif
