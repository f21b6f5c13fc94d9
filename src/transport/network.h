/*
 * network.h
 *		What the files of the network process share.
 *
 * Everything here runs in the child of the transport worker, alone in its
 * process but for libzmq's own thread: it allocates with malloc() and in the
 * arena only, takes no lock, raises no error, and may crash.
 */
#ifndef DLOG_NETWORK_H
#define DLOG_NETWORK_H

#include <sys/socket.h>
#include <zmq.h>

#include "transport/transport_internal.h"

/* What woke us: the upper half of an epoll event's data; node in the lower. */
typedef enum NetworkSource
{
	SOURCE_WAKE,
	SOURCE_ROUTER,
	SOURCE_ROUTER_MONITOR,
	SOURCE_ZAP,
	SOURCE_RESOLVER,
	SOURCE_PEER_MONITOR,
	SOURCE_PEER_DEALER,
	SOURCE_PEER_PROBE,
	SOURCE_KNOCK
} NetworkSource;

/* A connection that others opened; descriptors are libzmq's. */
typedef struct Connection
{
	int fd; /* -1: gone */
	struct sockaddr_storage peer;
} Connection;

/*
 * Another node.  "epoch" names one life of our DEALER; it is 0 while there is
 * none.  "inbound" is the connection on which its frames come: the one whose
 * HELLO we accepted last.
 */
typedef struct Peer
{
	bool in_use;
	uint32 node;
	NodeEntry entry; /* our copy */
	uint64 node_id;	 /* the entry's, or learned */
	LinkEntry *link;

	/* our direction */
	void *dealer;
	void *monitor;
	bool is_watching_dealer; /* for room to write */
	bool use_previous_key;	 /* it may not have changed its key yet */
	bool is_connected;		 /* and both keys have been proved */
	bool is_resolving;
	char dealer_key[KEY_TEXT_SIZE]; /* that it had to prove; "" if none */
	char address[64];				/* of its host, when that is a name */
	int probe_fd;					/* finds out why a connection failed, or -1 */
	uint64 epoch;
	uint64 sequence;   /* of the last frame sent */
	uint64 told_epoch; /* of theirs, in the last HELLO that we sent */
	Message *first;	   /* messages that wait */
	Message *last;
	uint64 last_ping_us;
	uint64 timer_us; /* end of the attempt, or start of the next; or 0 */
	uint64 backoff_us;
	char refusal[REASON_SIZE]; /* why either side refused the other, until up */

	/* their direction */
	uint64 peer_epoch; /* 0: none heard of */
	uint16 version;
	bool has_inbound;
	uint32 inbound_id;
	Connection inbound;
	char inbound_key[KEY_TEXT_SIZE]; /* that it proved; "" if none */
	uint64 inbound_sequence;		 /* of the last frame */
	uint32 next_inbound;			 /* node; in its bucket of network_receive.c */
	uint32 first_admission;			 /* one more than its index; 0: none */
	uint64 instance;				 /* of its server, that it said last; 0: none */
	uint64 previous_instance;		 /* the one before, which is over */
	uint64 twins_until_us;			 /* two servers were seen with its key */

	/* network_membership.c */
	uint64 give_up_us; /* end its link then, for it is dead; 0: it is not */
	bool is_hinted;	   /* it is to be probed */
} Peer;

typedef struct Network
{
	NodeKey key;
	uint8 secret_key[KEY_SIZE];
	uint8 public_key[KEY_SIZE];
	bool is_encrypted;
	uint16 version_lowest; /* of the protocol, that this node speaks */
	uint16 version_highest;
	char name[NAMEDATALEN]; /* of this node */
	char architecture[64];

	void *context;
	void *router;
	void *router_monitor;
	void *zap;
	int epoll_fd;
	uint64 now_us;	 /* read once a turn */
	uint64 timer_us; /* the next one due, or PG_UINT64_MAX */
	uint64 last_epoch;
	bool is_running;		 /* the node table was read once */
	bool has_answered_guest; /* on the ROUTER, which may have frames that it does not announce */

	/* copy of the node table */
	uint64 version;
	uint32 n_peers; /* peers[1 .. n_peers - 1]; [0] is unused */
	uint32 max_peers;
	Peer *peers;
	uint32 n_admissions;
	Admission *admissions;
	uint32 *next_admission; /* of the same peer; one more than its index */
} Network;

extern Network network;

/* network.c */
extern void network_watch(int fd, NetworkSource source, uint32 node);
extern void network_watch_connecting(int fd, NetworkSource source, uint32 node);
extern void network_unwatch(int fd);
extern int network_socket_fd(void *socket);
extern bool network_watch_connections(void *socket);
extern bool network_read_event(void *monitor, uint16 *event, int *value);
extern uint64 network_wall_clock_us(void);
extern void network_set_timer(Peer *peer, uint64 at_us);
extern bool network_host_is_numeric(const char *host);

/* network_log.c */
extern void network_log(const char *format, ...) pg_attribute_printf(1, 2);

/* network_zap.c */
extern bool zap_start(void);
extern void zap_answer_all(void);

/* network_peer.c */
extern void peer_want(Peer *peer);
extern void peer_send(Peer *peer, Message *message);
extern bool peer_send_own(Peer *peer, uint16 type, const char *payload, Size size);
extern bool peer_is_up(Peer *peer);
extern void peer_flush(Peer *peer);
extern void peer_undeliver(Peer *peer, Message *message, SendResult reason);
extern void peer_fail(Peer *peer, LinkState state, const char *reason);
extern void peer_remove(Peer *peer);
extern void peer_heard_hello(Peer *peer, const HelloMessage *hello);
extern void peer_heard_bye(Peer *peer, const ByeMessage *bye);
extern void peer_answer_ping(Peer *peer, const PingMessage *ping);
extern void peer_say_bye(Peer *peer, const char *reason);
extern void peer_on_monitor(Peer *peer);
extern void peer_on_probe(Peer *peer);
extern void peer_on_timer(Peer *peer);
extern void peer_answer_undelivered(Peer *peer, const FrameHead *head, SendResult reason);

/* network_receive.c */
extern void receive_init(void);
extern bool receive_frames(void);
extern bool receive_is_stalled(void);
extern void receive_forget_inbound(Peer *peer);
extern void receive_forget_later(Peer *peer);
extern void receive_close_late(void);

/* network_membership.c */
extern void members_start(void);
extern uint64 members_next_us(void);
extern void members_run(void);
extern void members_leave(void);
extern void members_follow(Peer *peer);
extern void members_forget(Peer *peer);
extern void members_link_changed(Peer *peer);
extern void members_receive(Peer *peer, uint16 type, const char *payload, Size size);

/* network_tables.c */
extern void tables_send_digests(Peer *peer);
extern void tables_compare(void);
extern void tables_announce_changes(void);
extern uint64 tables_next_us(void);
extern void tables_heard_nodes(Peer *peer, const NodeDigestMessage *digest);
extern void tables_heard_flocks(Peer *peer, const FlockDigestMessage *digest);

/* network_guest.c */
extern bool guests_are_welcome(void);
extern const char *guest_request(uint32 id, const char *key, uint32 dispatcher, const char *payload, Size size);
extern void guest_answer(Message *message);
extern void guest_knock(Message *message);
extern void guests_run(void);

/* network_resolve.c */
extern bool resolve_init(void);
extern void resolve_start(Peer *peer);
extern void resolve_finish(void);
extern void peer_resolved(Peer *peer, const char *address, const char *error);

#endif
