/*
 * member.h
 *		What the files about membership share: member.c, join.c.
 */
#ifndef DLOG_MEMBER_H
#define DLOG_MEMBER_H

#include "transport/transport_internal.h"

/* A node as dlog.node lists it. */
typedef struct NodeInfo
{
	const char *name;
	uint64 node_id; /* 0: not known */
	const char *address;
	int32 port;
	const char *public_key;
	const char *current_key; /* with NODE_NEW_KEY: what it uses until then */
	const char *database;
	uint64 version; /* of the row, see sync.c; 0: added by hand */
} NodeInfo;

/* What can be done to dlog.node from afar; numbers are the protocol. */
typedef enum NodeAction
{
	NODE_ADD = 1,
	NODE_REMOVE = 2,
	NODE_NEW_KEY = 3, /* of the sender; its old one stays valid */
	NODE_KEY_DONE = 4 /* the sender's old key is valid no longer */
} NodeAction;

extern void member_check(const NodeInfo *info);
extern void member_add(const NodeInfo *info);
extern void member_remove(const char *name, uint64 version);
extern void member_note_removed(uint64 node_id, uint64 version);
extern uint64 member_next_version(void);
extern void member_this(NodeInfo *info);
extern void member_admit(NodeInfo *newcomer);
extern void member_require_none(void);
extern void member_lock(void);
extern int member_databases(uint32 except, bool skip_dead, ActorAddress **databases);
extern void member_tell(const ActorAddress *databases, int n_databases,
						NodeAction action, const NodeInfo *info);

#endif
