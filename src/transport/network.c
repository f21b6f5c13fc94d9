/*
 * network.c
 *		The network process: the one that holds sockets.
 *
 * It is forked by the transport worker and unknown to the postmaster, since
 * libzmq aborts its process when something is amiss and a background worker
 * that dies by a signal would make the whole server restart.  So it may
 * crash: the worker sees it, frees what it held, and forks another.  To be
 * worth that, it touches nothing of PostgreSQL's but the arena, the queues of
 * the runtime, latches, and the shared memory of this folder: it takes no
 * lock, and must not call palloc() or ereport().
 *
 * One thread does everything here but resolve hosts and what libzmq does in
 * its own.  It sleeps in epoll.  The descriptors of libzmq's sockets
 * (ZMQ_FD) tell only that something changed, so whatever one announces is
 * done until libzmq says EAGAIN.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/ps_status.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/pg_compat.h"
#include "transport/network.h"

#define BACKLOG 4096
#define RECEIVE_HIGH_WATER 128 /* messages in libzmq, per connection */
#define MEMORY_BASE (UINT64CONST(1) << 30)
#define MEMORY_PER_PEER (UINT64CONST(32) << 20)
#define STOP_LINGER_US 50000
#define SILENCE_S 6	   /* after which a connection counts as lost */
#define STALL_US 10000 /* between looks whether there is memory again */

StaticAssertDecl(FRAME_MAX_PAYLOAD == MESSAGE_MAX_PAYLOAD,
				 "a frame holds what a message holds");

Network network;

static volatile sig_atomic_t is_stopping;

/* ---------------------------------------------------------------- tools */

static void
watch(int fd, NetworkSource source, uint32 node, uint32 events)
{
	struct epoll_event event = {
		.events = events,
		.data.u64 = ((uint64) source << 32) | node,
	};

	if (epoll_ctl(network.epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EEXIST)
		abort();
}

/* Have the main loop look after a descriptor when it becomes readable. */
void
network_watch(int fd, NetworkSource source, uint32 node)
{
	watch(fd, source, node, EPOLLIN);
}

/* The same for one that is being connected. */
void
network_watch_connecting(int fd, NetworkSource source, uint32 node)
{
	watch(fd, source, node, EPOLLOUT);
}

void
network_unwatch(int fd)
{
	epoll_ctl(network.epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

int
network_socket_fd(void *socket)
{
	int fd = -1;
	size_t size = sizeof(fd);

	if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0)
		abort();
	return fd;
}

/*
 * network_set_timer
 *		Have peer_on_timer() called at a time; 0 takes it back.
 */
void
network_set_timer(Peer *peer, uint64 at_us)
{
	peer->timer_us = at_us;
	if (at_us != 0 && at_us < network.timer_us)
		network.timer_us = at_us;
}

/* Whether a host is written as an address rather than a name. */
bool
network_host_is_numeric(const char *host)
{
	struct in6_addr address;

	return inet_pton(AF_INET, host, &address) == 1 ||
		   inet_pton(AF_INET6, host, &address) == 1;
}

uint64
network_wall_clock_us(void)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return (uint64) now.tv_sec * 1000000 + now.tv_usec;
}

/*
 * network_read_event
 *		Read one event from a socket's monitor; false when there is none.
 */
bool
network_read_event(void *monitor, uint16 *event, int *value)
{
	zmq_msg_t part;
	bool is_event;
	int more;

	zmq_msg_init(&part);
	if (zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT) < 0)
	{
		zmq_msg_close(&part);
		return false;
	}
	is_event = zmq_msg_size(&part) == sizeof(uint16) + sizeof(uint32);
	*event = 0;
	*value = 0;
	if (is_event)
	{
		memcpy(event, zmq_msg_data(&part), sizeof(uint16));
		memcpy(value, (char *) zmq_msg_data(&part) + sizeof(uint16), sizeof(uint32));
	}
	more = zmq_msg_more(&part);
	zmq_msg_close(&part);

	while (more) /* the endpoint */
	{
		zmq_msg_init(&part);
		more = zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&part);
		zmq_msg_close(&part);
	}
	return true;
}

/*
 * Limits our memory to far more than all links take when they are full.
 *
 * libzmq keeps the parts of a message until its last has come, however many
 * there are, and no option limits that.  A node that was taken over could so
 * make this server run out of memory; as it is, libzmq aborts this process
 * first, and the worker forks another.
 */
static void
limit_memory(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_DATA, &limit) == 0)
	{
		limit.rlim_cur = MEMORY_BASE + (rlim_t) network.n_peers * MEMORY_PER_PEER;
		if (limit.rlim_max != RLIM_INFINITY)
			limit.rlim_cur = Min(limit.rlim_cur, limit.rlim_max);
		setrlimit(RLIMIT_DATA, &limit);
	}
}

/* ------------------------------------------------------- the node table */

/* Whether an entry still stands for the peer's node under the same address. */
static bool
is_same_node(const NodeEntry *a, const NodeEntry *b)
{
	return a->in_use == b->in_use && a->generation == b->generation &&
		   a->port == b->port && strcmp(a->host, b->host) == 0;
}

static bool
is_key_of(const char *key, const NodeEntry *entry)
{
	return strcmp(key, entry->public_key) == 0 || strcmp(key, entry->previous_key) == 0;
}

/* A connection of the peer was made with a key that is none of its any more. */
static bool
lost_its_key(const Peer *peer)
{
	return (peer->dealer != NULL && peer->dealer_key[0] != '\0' &&
			!is_key_of(peer->dealer_key, &peer->entry)) ||
		   (peer->has_inbound && peer->inbound_key[0] != '\0' &&
			!is_key_of(peer->inbound_key, &peer->entry));
}

static void
update_peer(uint32 node, const NodeEntry *now)
{
	Peer *peer = &network.peers[node];

	if (peer->in_use && !is_same_node(&peer->entry, now))
		peer_remove(peer);
	if (!now->in_use)
		return;
	if (!peer->in_use)
	{
		memset(peer, 0, sizeof(*peer));
		peer->in_use = true;
		peer->node = node;
		peer->link = &transport_shared->links[node];
		peer->probe_fd = -1;
		peer->entry = *now;
		peer->node_id = now->node_id;

		/*
		 * Links are made ahead of need.  When the node has only just been
		 * listed, it may not list us yet, so wait for a moment; its greeting
		 * makes us connect at once.
		 */
		members_follow(peer);
		network_set_timer(peer, network.now_us +
									(network.is_running ? (uint64) (100000 + random() % 100000) : 0));
		return;
	}

	peer->entry = *now;
	if (now->node_id != 0)
		peer->node_id = now->node_id;
	members_follow(peer);
	if (now->previous_key[0] == '\0')
		peer->use_previous_key = false;
	if (lost_its_key(peer))
		peer_fail(peer, LINK_DOWN, "its key was changed");
}

/* Copies the node table, if it has changed, and makes the peers follow it. */
static void
follow_node_table(void)
{
	TransportShared *shared = transport_shared;
	static NodeEntry *nodes;
	uint32 n_nodes;
	uint64 version = pg_atomic_read_u64(&shared->version);

	if (version == network.version || (version & 1) != 0)
		return;
	if (nodes == NULL)
	{
		nodes = calloc(shared->max_nodes + 1, sizeof(NodeEntry));
		if (nodes == NULL)
			abort();
	}

	for (;;)
	{
		version = pg_atomic_read_u64(&shared->version);
		if ((version & 1) != 0)
			return; /* whoever changes it wakes us when done */
		pg_read_barrier();
		n_nodes = shared->n_nodes;
		network.n_admissions = shared->n_admissions;
		memcpy(nodes, shared->nodes, n_nodes * sizeof(NodeEntry));
		memcpy(network.admissions, shared->admissions,
			   network.n_admissions * sizeof(Admission));
		pg_read_barrier();
		if (pg_atomic_read_u64(&shared->version) == version)
			break;
	}
	network.version = version;
	network.n_peers = n_nodes;
	limit_memory();

	for (uint32 node = 1; node < n_nodes; node++)
	{
		update_peer(node, &nodes[node]);
		network.peers[node].first_admission = 0;
	}
	for (uint32 i = 0; i < network.n_admissions; i++)
	{
		Admission *admission = &network.admissions[i];

		if (OidIsValid(admission->database))
		{
			Peer *peer = &network.peers[admission->node];

			network.next_admission[i] = peer->first_admission;
			peer->first_admission = i + 1;
		}
	}
}

/* ------------------------------------------------------------ the parts */

/* The node of a message is unknown here: it was removed. */
static void
give_back(Message *message)
{
	link_count_dequeued(&transport_shared->links[message->to.node], message);
	message->from.node = THIS_NODE;
	actor_send_undelivered(message, SEND_NODE_DOWN);
}

/* Hands messages of the inbox to their peers; returns those without one. */
static Message *
hand_out(Message *message)
{
	Message *left = NULL;
	Message **left_end = &left;
	Message *next;

	for (; message != NULL; message = next)
	{
		uint32 node = message->to.node;
		Peer *peer = node < network.n_peers && network.peers[node].in_use ? &network.peers[node] : NULL;

		next = message->next;
		if (message->type == MESSAGE_JOIN_ANSWER)
			guest_answer(message);
		else if (message->type == MESSAGE_KNOCK)
			guest_knock(message);
		else if (peer == NULL)
		{
			message->next = NULL;
			*left_end = message;
			left_end = &message->next;
		}
		else if (message->type == MESSAGE_NONE)
		{
			/* A nudge: somebody waits for the link. */
			message_free(message);
			peer_want(peer);
		}
		else
		{
			peer_send(peer, message);
			/* One flush for a run of messages to the same node. */
			if (next == NULL || next->to.node != node)
				peer_flush(peer);
		}
	}
	return left;
}

/*
 * Sends what other processes have handed to us, and follows the node table.
 *
 * In this order: what was sent to a node before it was removed still goes to
 * it, and what was sent to one that was just added finds it.
 */
static void
take_outgoing(void)
{
	Message *left = hand_out(network_inbox_take());
	Message *next;

	follow_node_table();
	for (Message *message = hand_out(left); message != NULL; message = next)
	{
		next = message->next;
		if (message->type == MESSAGE_NONE)
			message_free(message);
		else
			give_back(message);
	}
}

/* What happens at our port, for the counters and the log. */
static void
read_router_events(void)
{
	NetworkCounters *counters = &transport_shared->counters;
	uint16 event;
	int value;

	while (network_read_event(network.router_monitor, &event, &value))
	{
		switch (event)
		{
			case ZMQ_EVENT_ACCEPTED:
				pg_atomic_fetch_add_u64(&counters->accepted, 1);
				break;
			case ZMQ_EVENT_ACCEPT_FAILED:
				network_log("could not accept a connection: %s", strerror(value));
				break;
			case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
				pg_atomic_fetch_add_u64(&counters->failed_handshakes, 1);
				network_log("a connection ended in the middle of its handshake: %s",
							strerror(value));
				break;
			case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
				pg_atomic_fetch_add_u64(&counters->failed_handshakes, 1);
				network_log("a connection broke the protocol of the handshake (ZeroMQ's code 0x%x)",
							value);
				break;
			case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
				break; /* refused by us, see network_zap.c */
			default:
				break;
		}
	}
}

static void
run_timers(void)
{
	if (network.now_us < network.timer_us)
		return;
	network.timer_us = PG_UINT64_MAX;
	receive_close_late();
	guests_run();
	for (uint32 node = 1; node < network.n_peers; node++)
	{
		Peer *peer = &network.peers[node];

		if (!peer->in_use || peer->timer_us == 0)
			continue;
		if (peer->timer_us <= network.now_us)
		{
			peer->timer_us = 0;
			peer_on_timer(peer);
		}
		if (peer->timer_us != 0)
			network.timer_us = Min(network.timer_us, peer->timer_us);
	}
}

/* -------------------------------------------------------------- the start */

static void
on_stop(int signal_number)
{
	int save_errno = errno;
	uint64 one = 1;

	is_stopping = 1;
	if (write(process_wakeup_fd(), &one, sizeof(one)) < 0)
	{
		/* It is full, so we are awake. */
	}
	errno = save_errno;
}

/* As many files as we may have: each link takes half a dozen. */
static void
raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void
become_network_process(void)
{
	on_exit_reset();
	MyProcPid = getpid();

	child_reset_signals();
	pqsignal(SIGTERM, on_stop);
	pqsignal(SIGINT, SIG_IGN);
	pqsignal(SIGHUP, SIG_IGN);
	pqsignal(SIGALRM, SIG_IGN);
	pqsignal(SIGPIPE, SIG_IGN);
	pqsignal(SIGUSR1, SIG_IGN);
	pqsignal(SIGUSR2, SIG_IGN);
	pqsignal(SIGURG, SIG_IGN);
	child_unblock_signals();
	child_close_files(process_wakeup_fd());
	raise_file_limit();
	init_ps_display("dlog network");
	srandom((unsigned) (network_wall_clock_us() ^ MyProcPid));
}

/* What raw rows depend on, see the remote layer. */
static void
describe_architecture(char *text, Size size)
{
	uint32 probe = 1;

	snprintf(text, size, "%s endian, %d-bit, align %d",
			 *(char *) &probe == 1 ? "little" : "big",
			 (int) sizeof(void *) * 8, (int) MAXIMUM_ALIGNOF);
}

static bool
set_int(void *socket, int option, int value)
{
	return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

/*
 * network_watch_connections
 *		Have connections of a socket end when nothing is heard of the other
 *		side; false if libzmq refuses.
 *
 * The kernel sees to it: ZeroMQ's own heartbeats would wake this process many
 * times a second where links are many, and make libzmq walk all its timers
 * with each message.  Who is connected but does not answer is found out by
 * membership.
 */
bool
network_watch_connections(void *socket)
{
	return set_int(socket, ZMQ_TCP_KEEPALIVE, 1) &&
		   set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, SILENCE_S / 2) &&
		   set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, 1) &&
		   set_int(socket, ZMQ_TCP_KEEPALIVE_CNT, SILENCE_S / 2) &&
		   set_int(socket, ZMQ_TCP_MAXRT, SILENCE_S * 1000);
}

static bool
configure_router(void)
{
	void *router = network.router;

	if (!set_int(router, ZMQ_LINGER, 0) ||
		!set_int(router, ZMQ_RCVHWM, RECEIVE_HIGH_WATER) ||
		!set_int(router, ZMQ_IPV6, 1) ||
		!set_int(router, ZMQ_BACKLOG, BACKLOG) ||
		!set_int(router, ZMQ_HANDSHAKE_IVL, 5000) ||
		!network_watch_connections(router))
		return false;
	{
		int64 largest = (int64) dlog_max_message_size * 1024;

		if (zmq_setsockopt(router, ZMQ_MAXMSGSIZE, &largest, sizeof(largest)) != 0)
			return false;
	}

	/* With a domain set, libzmq asks our handler about every connection. */
	if (zmq_setsockopt(router, ZMQ_ZAP_DOMAIN, "dlog", 4) != 0)
		return false;
	if (!network.is_encrypted)
		return true;
	return set_int(router, ZMQ_CURVE_SERVER, 1) &&
		   zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, network.secret_key, KEY_SIZE) == 0;
}

/* Opens our sockets; false, with a line logged, if that cannot be done. */
static bool
open_sockets(void)
{
	char endpoint[HOST_SIZE + 32];
	const char *address = dlog_listen_address;
	int socket_limit = 1024;
	size_t limit_size = sizeof(socket_limit);

	network.context = zmq_ctx_new();
	if (network.context == NULL)
	{
		network_log("could not start ZeroMQ: %s", zmq_strerror(errno));
		return false;
	}
	(void) limit_size;
	socket_limit = zmq_ctx_get(network.context, ZMQ_SOCKET_LIMIT);
	zmq_ctx_set(network.context, ZMQ_MAX_SOCKETS,
				Min(socket_limit, (int) network.max_peers * 4 + 64));

	if (!zap_start())
	{
		network_log("could not start the handler of keys: %s", zmq_strerror(errno));
		return false;
	}
	network_watch(network_socket_fd(network.zap), SOURCE_ZAP, 0);

	network.router = zmq_socket(network.context, ZMQ_ROUTER);
	if (network.router == NULL || !configure_router() ||
		zmq_socket_monitor(network.router, "inproc://router-monitor",
						   ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED |
							   ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
							   ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
							   ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) != 0 ||
		(network.router_monitor = zmq_socket(network.context, ZMQ_PAIR)) == NULL ||
		zmq_connect(network.router_monitor, "inproc://router-monitor") != 0)
	{
		network_log("could not make the receiving socket: %s", zmq_strerror(errno));
		return false;
	}

	snprintf(endpoint, sizeof(endpoint),
			 strchr(address, ':') != NULL ? "tcp://[%s]:%d" : "tcp://%s:%d",
			 address, guc_listen_port());
	if (zmq_bind(network.router, endpoint) != 0)
	{
		network_log("could not listen on %s: %s", endpoint, zmq_strerror(errno));
		return false;
	}
	network_watch(network_socket_fd(network.router), SOURCE_ROUTER, 0);
	network_watch(network_socket_fd(network.router_monitor), SOURCE_ROUTER_MONITOR, 0);
	network_log("listening on %s%s", endpoint,
				network.is_encrypted ? "" : ", without encryption");
	return true;
}

static void *
allocate(Size count, Size size)
{
	void *memory = calloc(count, size);

	if (memory == NULL)
		abort();
	return memory;
}

static void
prepare(const NodeKey *key)
{
	network.key = *key;
	network.is_encrypted = dlog_encryption == ENCRYPTION_CURVE;
	zmq_z85_decode(network.secret_key, key->secret_key);
	zmq_z85_decode(network.public_key, key->public_key);
	node_this_copy_name(network.name);
	describe_architecture(network.architecture, sizeof(network.architecture));
	network.version_lowest = (uint16) dlog_protocol_lowest;
	network.version_highest = (uint16) dlog_protocol_highest;
	network.version = 1; /* odd: no version of the table */
	network.timer_us = PG_UINT64_MAX;
	network.now_us = clock_now_us();
	network.max_peers = transport_shared->max_nodes + 1;
	network.peers = allocate(network.max_peers, sizeof(Peer));
	network.admissions = allocate(transport_shared->max_admissions, sizeof(Admission));
	network.next_admission = allocate(transport_shared->max_admissions, sizeof(uint32));
	network.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (network.epoll_fd < 0)
		abort();
}

/* Goes away in good order: the other nodes are told. */
static void
stop(void)
{
	bool has_said_bye = false;

	/* The postmaster's SIGTERM reaches us as soon as the worker. */
	if (pg_atomic_read_u32(&transport_shared->is_reloading) == 0)
		members_leave();
	for (uint32 node = 1; node < network.n_peers; node++)
	{
		Peer *peer = &network.peers[node];

		if (peer->in_use)
		{
			has_said_bye |= peer_is_up(peer);
			peer_say_bye(peer, "the server is shutting down or changes its key");
			if (peer->monitor != NULL)
			{
				zmq_socket_monitor(peer->dealer, NULL, 0);
				zmq_close(peer->monitor);
			}
			if (peer->dealer != NULL)
				zmq_close(peer->dealer);
		}
	}

	/*
	 * The others see our port close as soon as they read what we said last.
	 * They should read first: to them a lost link is worse news.
	 */
	if (has_said_bye)
		pg_usleep(STOP_LINGER_US);
	zmq_socket_monitor(network.router, NULL, 0);
	zmq_close(network.router_monitor);
	zmq_close(network.router);
	zmq_close(network.zap);
	zmq_ctx_term(network.context);
	_exit(0);
}

/* ------------------------------------------------------------- the loop */

static void
handle_event(uint64 data)
{
	uint32 node = (uint32) data;

	switch ((NetworkSource) (data >> 32))
	{
		case SOURCE_ZAP:
			zap_answer_all();
			break;
		case SOURCE_ROUTER_MONITOR:
			read_router_events();
			break;
		case SOURCE_RESOLVER:
			resolve_finish();
			break;
		case SOURCE_PEER_MONITOR:
			peer_on_monitor(&network.peers[node]);
			break;
		case SOURCE_PEER_DEALER:
			peer_flush(&network.peers[node]);
			break;
		case SOURCE_PEER_PROBE:
			peer_on_probe(&network.peers[node]);
			break;
		case SOURCE_KNOCK:
			guests_run();
			break;
		case SOURCE_WAKE:	/* looked after in every turn */
		case SOURCE_ROUTER: /* the loop itself does */
			break;
	}
}

/* How long to sleep: until the next timer, or for ever (-1). */
static int
sleep_ms(void)
{
	uint64 until_us = network.timer_us;

	if (receive_is_stalled())
		until_us = Min(until_us, network.now_us + STALL_US);
	if (until_us == PG_UINT64_MAX)
		return -1;
	if (until_us <= network.now_us)
		return 0;
	return (int) Min((until_us - network.now_us + 999) / 1000, INT_MAX);
}

/*
 * network_main
 *		The network process, from its fork to its end.
 */
void
network_main(const NodeKey *key)
{
	bool may_have_frames = true;

	become_network_process();
	process_attach_network();
	prepare(key);
	receive_init();
	watch(process_wakeup_fd(), SOURCE_WAKE, 0, EPOLLIN | EPOLLET);
	if (!resolve_init() || !open_sockets())
		_exit(2);
	members_start();
	follow_node_table();

	/* A socket announces what comes only after it has once been found empty. */
	zap_answer_all();
	read_router_events();

	run_timers(); /* all links are due */
	network.is_running = true;
	pg_atomic_write_u32(&transport_shared->is_ready, 1);
	transport_tell_watchers();

	for (;;)
	{
		struct epoll_event events[64];
		int n_events;
		int timeout = may_have_frames ? 0 : sleep_ms();

		if (timeout != 0 && !network_inbox_sleep())
			timeout = 0;
		n_events = epoll_wait(network.epoll_fd, events, lengthof(events), timeout);
		network_inbox_awake();
		network.now_us = clock_now_us();
		if (is_stopping)
			stop();

		for (int i = 0; i < n_events; i++)
		{
			if (events[i].data.u64 >> 32 == SOURCE_ROUTER)
				may_have_frames = true;
			else
				handle_event(events[i].data.u64);
		}
		take_outgoing();

		may_have_frames |= network.has_answered_guest;
		network.has_answered_guest = false;

		/* Messages for the same process mostly come together. */
		process_hold_wakeups();
		if (may_have_frames || receive_is_stalled())
			may_have_frames = receive_frames();
		process_release_wakeups();
		run_timers();
		members_run();
	}
}
