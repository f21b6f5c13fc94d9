/*
 * transport.h
 *		Links to other nodes over ZeroMQ.
 *
 * Words.  A *node* is a PostgreSQL server that runs dlog.  The *node table*
 * in shared memory has an entry per node that any database of this server
 * admits (the table dlog.node of each database is what persists).  A *link*
 * is the connection between two nodes; an *epoch* is one uninterrupted life
 * of a link.  Within an epoch messages arrive once and in order; what was
 * under way when an epoch ends is lost, and whoever watches is told.
 *
 * Only the network process holds sockets.  All others hand it messages
 * through actor_send() with an address whose node is not THIS_NODE.
 */
#ifndef DLOG_TRANSPORT_H
#define DLOG_TRANSPORT_H

#include "nodes/pg_list.h"
#include "utils/elog.h"

#include "membership/membership.h"
#include "runtime/runtime.h"

typedef enum LinkState
{
	LINK_IDLE,		 /* nobody has needed it yet; next: CONNECTING */
	LINK_CONNECTING, /* shaking hands; next: UP, DOWN, REFUSED */
	LINK_UP,		 /* both directions proved; next: DOWN */
	LINK_DOWN,		 /* lost or unreachable, retried; next: CONNECTING */
	LINK_REFUSED	 /* the other side does not admit us, or speaks another
					  * protocol; retried slowly; next: CONNECTING */
} LinkState;

/* What node_find() returns when there is no such node and that is fine. */
#define NODE_NOT_FOUND PG_UINT32_MAX

/* node.c: the node table, as the current database sees it */
extern uint32 node_find(const char *name, bool missing_ok);
extern const char *node_name(uint32 node);
extern uint64 node_id_of(uint32 node);
extern uint32 node_of_id(uint64 id);
extern const char *node_database(uint32 node);
extern List *node_list(bool including_this);
extern const char *node_this_name(void);

/* link.c */
extern LinkState link_state(uint32 node);
extern uint32 link_epoch(uint32 node);
extern void link_require(uint32 node);

/*
 * The same for who has other things to wait for as well: link_await() once,
 * then link_poll() whenever runtime_wait() has returned, while watching.
 */
typedef struct LinkWait
{
	uint32 node;
	uint32 failures; /* of the link, when we asked */
	uint32 enough;	 /* so many more, and we give up */
	TimestampTz deadline;
} LinkWait;

typedef enum LinkPoll
{
	LINK_POLL_UP,
	LINK_POLL_PENDING,
	LINK_POLL_FAILED
} LinkPoll;

extern void link_await(LinkWait *wait, uint32 node);
extern LinkPoll link_poll(LinkWait *wait, ErrorData **error);

/*
 * Whoever has work under way on other nodes watches the links: when an epoch
 * ends, runtime_wait() returns and link_epoch() has changed.
 */
extern void link_watch(void);
extern void link_unwatch(void);
extern void transport_wake_watchers(void); /* for another reason: the members of a flock have changed */

/*
 * member_view.c: what membership (membership/) knows of a node, this one too.
 * A link is up or down between two nodes, a member is alive when anybody
 * reaches it; see docs/membership.md.
 */
typedef struct MemberView
{
	MemberState state;
	uint64 incarnation; /* 0: never heard of */
	TimestampTz since;
	char why[192];
	uint64 round_trip_us; /* 0: not measured */
	Size tags_size;
	char tags[MEMBERSHIP_MAX_TAGS + 1]; /* a JSON object, or "" */
} MemberView;

extern bool transport_member(uint32 node, MemberView *view); /* false: unknown */
extern Datum transport_member_tags(const MemberView *view);
extern const char *member_state_name(MemberState state);

/*
 * A scheduler of each database that lists a node gets MESSAGE_MEMBERS_CHANGED
 * when the node's state or tags have changed; it calls transport_members_seen()
 * before it looks.
 */
extern void transport_members_seen(void);

/*
 * The table dlog.flock of this database comes to that; a scheduler gets
 * MESSAGE_FLOCK_SYNC when a node's comes to something else, and calls
 * transport_flock_sync_seen() before it compares.
 */
extern void transport_set_flock_digest(uint64 digest);
extern void transport_flock_sync_seen(void);

/*
 * A scheduler gets MESSAGE_DISCOVER every dlog.discovery_interval, as long as
 * this database discovers.  To join with a token: in a transaction, connected to
 * SPI; at an endpoint, HOST:PORT, of the node whose key has that fingerprint (NULL:
 * it may have any).
 */
extern void transport_set_discovering(bool discovers);
extern void transport_join_by_token(const char *token, const char *endpoint, const char *fingerprint);

/*
 * mdns.c: nodes that show themselves by multicast DNS, while a database here
 * looks for them.
 */
typedef struct FoundNode
{
	char *address;
	int port;
	char *cluster;	   /* NULL: not told */
	char *fingerprint; /* of its key; likewise */
} FoundNode;

extern const char *transport_mdns_unavailable(void);
extern void transport_set_mdns(bool uses_mdns);
extern List *transport_mdns_services(void);

/* key.c: by what people tell keys apart, 32 hexadecimal digits */
extern char *transport_key_fingerprint(const char *public_key);

/* Probe at least that often, for this database (ms); 0: as set. */
extern void transport_set_heartbeat(int heartbeat_ms);

/*
 * join.c.  Filled in by a higher layer: called in the transaction in which
 * this node joins others, when it lists them all, with a way to ask its
 * sponsor for one text (NULL if it has none); and before this node leaves.
 */
typedef char *(*SponsorAsk)(void *sponsor, const char *sql);
extern void (*transport_joined)(SponsorAsk ask, void *sponsor);
extern void (*transport_leaving)(void);
extern void (*transport_removed)(const char *name); /* when dlog.node loses it */

/* collation.c: a node that may sort texts otherwise; NULL: there is none */
extern const char *collation_stranger(void);

/* dlog.c's table of contents */
extern Size transport_shmem_size(void);
extern void transport_shmem_init(void);
extern void transport_init(void);

#endif
