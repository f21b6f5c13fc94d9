/*
 * network_peer.c
 *		One link: shaking hands, sending, and ending an epoch.
 *
 * Each node sends on a DEALER of its own to the other's ROUTER, so a link is
 * two connections, and each side has an epoch of its own: one life of its
 * DEALER.  A HELLO opens an epoch and says which of the other side's epochs
 * we have heard of; the link is up for us once a HELLO names our epoch.
 *
 * An epoch ends when its connection is lost, a frame is out of sequence, or
 * the other side says that it started over.  Then both sides start over:
 * whoever ends an epoch in which messages travelled forgets the other's
 * epoch too, so that the other side, on hearing of a new one that does not
 * know its own, ends its as well.
 *
 *		IDLE -> CONNECTING -> UP -> DOWN -> CONNECTING ...
 *							  \-> DOWN or REFUSED, retried after a while
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/guc.h"
#include "transport/network.h"

#define ATTEMPT_US (5 * 1000000) /* for connecting and shaking hands */
#define MAX_ATTEMPTS 64			 /* at a time, unless somebody waits */
#define LATER_US (100 * 1000)
#define BACKOFF_FIRST_US (50 * 1000)
#define BACKOFF_LAST_US (5 * 1000000)
#define BYE_LINGER_MS 50
#define TWINS_US (15 * UINT64CONST(1000000)) /* both servers try again before */
#define SEND_HIGH_WATER 256					 /* messages in libzmq, per link */
#define PING_INTERVAL_US 1000000			 /* while the link is in use */
#define BUNDLE_MAX 16384					 /* bytes of a frame of several messages */

static void peer_connect(Peer *peer);
static bool send_hello(Peer *peer);

static void
set_state(Peer *peer, LinkState state)
{
	pg_atomic_write_u32(&peer->link->state, state);
}

static LinkState
get_state(Peer *peer)
{
	return (LinkState) pg_atomic_read_u32(&peer->link->state);
}

static void
set_last_error(Peer *peer, const char *reason)
{
	LinkEntry *link = peer->link;

	pg_atomic_fetch_add_u32(&link->text_version, 1);
	pg_write_barrier();
	strlcpy(link->texts.last_error, reason, REASON_SIZE);
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&link->text_version, 1);
}

/* ------------------------------------------------------------- sending */

static void
make_frame(zmq_msg_t *frame, Size size)
{
	if (zmq_msg_init_size(frame, size) != 0)
		abort(); /* no memory: the worker starts us afresh */
}

/*
 * Gives a frame to libzmq, or returns false when that has no room for it now.
 * It holds so many messages, and sequence numbers as many, plus "extra".
 */
static bool
give_frame(Peer *peer, zmq_msg_t *frame, int n_messages, int extra)
{
	Size size = zmq_msg_size(frame);

	if (zmq_msg_send(frame, peer->dealer, ZMQ_DONTWAIT) < 0)
	{
		int events;
		size_t events_size = sizeof(events);

		/*
		 * libzmq looks at what its thread told it only now and then while
		 * sending; reading ZMQ_EVENTS makes it look.
		 */
		if (errno != EAGAIN ||
			zmq_getsockopt(peer->dealer, ZMQ_EVENTS, &events, &events_size) != 0 ||
			zmq_msg_send(frame, peer->dealer, ZMQ_DONTWAIT) < 0)
		{
			zmq_msg_close(frame);
			return false;
		}
	}

	peer->sequence += n_messages + extra;
	pg_atomic_write_u64(&peer->link->sent_messages,
						pg_atomic_read_u64(&peer->link->sent_messages) + n_messages);
	pg_atomic_write_u64(&peer->link->sent_bytes,
						pg_atomic_read_u64(&peer->link->sent_bytes) + size);
	return true;
}

/*
 * The version and the number that a frame gets, "ahead" of the next one.
 */
static void
number_frame(Peer *peer, FrameHead *head, int ahead)
{
	head->version = (uint8) (peer->version != 0 ? peer->version : PROTOCOL_LOWEST);
	head->sequence = peer->sequence + 1 + ahead;
}

/*
 * Sends one frame, or returns false when libzmq has no room for it now.
 */
static bool
send_frame(Peer *peer, const FrameHead *head, const char *payload, Size size)
{
	FrameHead numbered = *head;
	zmq_msg_t frame;

	if (peer->dealer == NULL)
		return false;
	make_frame(&frame, FRAME_HEAD_SIZE + size);
	number_frame(peer, &numbered, 0);
	frame_write(zmq_msg_data(&frame), &numbered);
	memcpy((char *) zmq_msg_data(&frame) + FRAME_HEAD_SIZE, payload, size);
	return give_frame(peer, &frame, 1, 0);
}

/*
 * peer_is_up
 */
bool
peer_is_up(Peer *peer)
{
	return get_state(peer) == LINK_UP;
}

/*
 * peer_send_own
 *		Send a message of the network process itself; false if that cannot be
 *		done now.
 */
bool
peer_send_own(Peer *peer, uint16 type, const char *payload, Size size)
{
	FrameHead head = {.type = type, .flags = FRAME_CONTROL};

	return get_state(peer) == LINK_UP && send_frame(peer, &head, payload, size);
}

/* Sends a message of the link itself; there is room for these. */
#define SEND_LINK_MESSAGE(peer, TYPE, name, message) \
	({ \
		FrameHead head_ = {.type = MESSAGE_##TYPE, .flags = FRAME_CONTROL}; \
		char buffer_[1024]; \
		Size size_ = name##_size(message); \
		bool sent_ = false; \
		if (size_ <= sizeof(buffer_)) \
		{ \
			name##_write(buffer_, size_, (message)); \
			sent_ = send_frame(peer, &head_, buffer_, size_); \
		} \
		sent_; \
	})

static bool
set_int(void *socket, int option, int value)
{
	return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

static inline WireBytes
text_of(const char *string)
{
	return (WireBytes){.size = (uint32) strlen(string), .data = string};
}

static bool
send_hello(Peer *peer)
{
	HelloMessage hello = {
		.version_lowest = network.version_lowest,
		.version_highest = network.version_highest,
		.node_id = network.key.node_id,
		.epoch = peer->epoch,
		.peer_epoch = peer->peer_epoch,
		.node = text_of(network.name),
		.server_version = PG_VERSION_NUM,
		.architecture = text_of(network.architecture),
		.max_message_size = FRAME_MAX_PAYLOAD,
		.instance = transport_shared->instance,
	};

	if (!SEND_LINK_MESSAGE(peer, HELLO, hello, &hello))
		return false;
	peer->told_epoch = peer->peer_epoch;
	return true;
}

/*
 * peer_say_bye
 *		Tell the other side why we end the link; it may not hear it.
 */
void
peer_say_bye(Peer *peer, const char *reason)
{
	ByeMessage bye = {.is_refusal = 0, .reason = text_of(reason)};

	if (peer->dealer != NULL && get_state(peer) == LINK_UP)
	{
		SEND_LINK_MESSAGE(peer, BYE, bye, &bye);
		set_int(peer->dealer, ZMQ_LINGER, BYE_LINGER_MS);
	}
}

/*
 * peer_answer_ping
 *		Send back what a PING told.
 */
void
peer_answer_ping(Peer *peer, const PingMessage *ping)
{
	PongMessage pong = {.sent_us = ping->sent_us};

	SEND_LINK_MESSAGE(peer, PONG, pong, &pong);
}

static void
send_ping(Peer *peer)
{
	PingMessage ping = {.sent_us = clock_now_us()};

	peer->last_ping_us = network.now_us;
	SEND_LINK_MESSAGE(peer, PING, ping, &ping);
}

static FrameHead
head_of(const Message *message)
{
	return (FrameHead){
		.flags = ((message->flags & MESSAGE_CONTROL) ? FRAME_CONTROL : 0) |
				 ((message->flags & MESSAGE_URGENT) ? FRAME_URGENT : 0) |
				 ((message->flags & MESSAGE_EPHEMERAL) ? FRAME_EPHEMERAL : 0),
		.type = message->type,
		.to_slot = message->to.slot,
		.to_incarnation = message->to.incarnation,
		.from_slot = message->from.slot,
		.from_incarnation = message->from.incarnation,
	};
}

/* Sends the oldest "n" messages that wait, which take "size" bytes together. */
static bool
send_bundle(Peer *peer, int n, Size size)
{
	FrameHead head = {.type = MESSAGE_BUNDLE, .flags = FRAME_CONTROL};
	Message *message = peer->first;
	zmq_msg_t frame;
	char *at;

	make_frame(&frame, size);
	at = zmq_msg_data(&frame);
	number_frame(peer, &head, 0);
	bundle_begin(at, &head, size);
	at += BUNDLE_HEAD_SIZE;
	for (int i = 0; i < n; i++, message = message->next)
	{
		head = head_of(message);
		number_frame(peer, &head, i + 1);
		at = bundle_add(at, &head, message->size);
		memcpy(at, message->payload, message->size);
		at += message->size;
	}
	return give_frame(peer, &frame, n, 1);
}

/*
 * Sends as many of the messages that wait as go into one frame.  Returns how
 * many; 0 when libzmq has no room.
 */
static int
send_some(Peer *peer)
{
	Message *message = peer->first;
	Size size = BUNDLE_HEAD_SIZE;
	FrameHead head;
	int n = 0;

	if (peer->dealer == NULL)
		return 0;
	if (peer->version >= PROTOCOL_BUNDLE)
	{
		for (; message != NULL && size + BUNDLE_FRAME_SIZE(message->size) <= BUNDLE_MAX; message = message->next)
		{
			size += BUNDLE_FRAME_SIZE(message->size);
			n++;
		}
	}
	if (n > 1)
		return send_bundle(peer, n, size) ? n : 0;
	message = peer->first;
	head = head_of(message);
	return send_frame(peer, &head, message->payload, message->size) ? 1 : 0;
}

/*
 * peer_flush
 *		Send what waits, as far as libzmq has room; watch for more room.
 */
void
peer_flush(Peer *peer)
{
	bool is_full = false;

	if (get_state(peer) != LINK_UP)
		return;

	while (peer->first != NULL && !is_full)
	{
		int n_sent = send_some(peer);

		is_full = n_sent == 0;
		while (n_sent-- > 0)
		{
			Message *message = peer->first;

			peer->first = message->next;
			if (peer->first == NULL)
				peer->last = NULL;
			link_count_dequeued(peer->link, message);
			message_free(message);
		}
	}

	if (is_full != peer->is_watching_dealer)
	{
		int fd = network_socket_fd(peer->dealer);

		if (is_full)
			network_watch(fd, SOURCE_PEER_DEALER, peer->node);
		else
			network_unwatch(fd);
		peer->is_watching_dealer = is_full;
	}
	if (!is_full && network.now_us - peer->last_ping_us > PING_INTERVAL_US)
		send_ping(peer);
}

/*
 * peer_undeliver
 *		A message of this node's cannot be sent: tell its sender, free it.
 */
void
peer_undeliver(Peer *peer, Message *message, SendResult reason)
{
	link_count_dequeued(peer->link, message);
	pg_atomic_fetch_add_u64(&peer->link->undelivered, 1);
	message->from.node = THIS_NODE; /* it carried the epoch */
	actor_send_undelivered(message, reason);
}

/*
 * peer_send
 *		Send a message, now or when the link is up.
 *
 * Its from.node is the epoch in which it was handed to us.  One of an epoch
 * that has ended since is not sent: its receiver would see a conversation
 * with a hole.
 */
void
peer_send(Peer *peer, Message *message)
{
	message->next = NULL;
	if (message->from.node != pg_atomic_read_u32(&peer->link->epoch))
	{
		peer_undeliver(peer, message, SEND_NODE_DOWN);
		return;
	}
	if (peer->last != NULL)
		peer->last->next = message;
	else
		peer->first = message;
	peer->last = message;

	if (get_state(peer) != LINK_UP)
		peer_want(peer);
}

/*
 * peer_answer_undelivered
 *		Tell the sender of a frame that it reached nobody.
 */
void
peer_answer_undelivered(Peer *peer, const FrameHead *head, SendResult reason)
{
	UndeliveredMessage undelivered = {
		.type = head->type,
		.slot = head->to_slot,
		.incarnation = head->to_incarnation,
		.reason = (uint8) reason,
	};
	FrameHead answer = {
		.type = MESSAGE_UNDELIVERED,
		.flags = FRAME_CONTROL | (head->flags & FRAME_URGENT),
		.to_slot = head->from_slot,
		.to_incarnation = head->from_incarnation,
	};
	char buffer[64];
	Size size = undelivered_size(&undelivered);

	/* Nobody to tell, or it is itself such an answer. */
	if (head->from_slot == 0 || head->type == MESSAGE_UNDELIVERED)
		return;
	undelivered_write(buffer, size, &undelivered);
	if (!send_frame(peer, &answer, buffer, size))
	{
		/* It waits its turn behind the others. */
		Message *message = message_try_create(MESSAGE_UNDELIVERED, size);

		if (message == NULL)
		{
			/*
			 * Rather than leave a sender waiting for ever, end the epoch:
			 * that tells it as well.
			 */
			peer_fail(peer, LINK_DOWN, "out of shared memory for an answer");
			return;
		}
		message->flags = MESSAGE_CONTROL;
		message->to = (ActorAddress){peer->node, head->from_slot, head->from_incarnation};
		message->from = (ActorAddress){pg_atomic_read_u32(&peer->link->epoch), 0, 0};
		memcpy(message->payload, buffer, size);
		pg_atomic_fetch_add_u32(&peer->link->queued, 1);
		pg_atomic_fetch_add_u64(&peer->link->queued_bytes, size);
		peer_send(peer, message);
	}
}

/* ----------------------------------------------------- an epoch's end */

static void
close_dealer(Peer *peer)
{
	if (peer->monitor != NULL)
	{
		network_unwatch(network_socket_fd(peer->monitor));
		zmq_socket_monitor(peer->dealer, NULL, 0);
		zmq_close(peer->monitor);
		peer->monitor = NULL;
	}
	if (peer->dealer != NULL)
	{
		if (peer->is_watching_dealer)
			network_unwatch(network_socket_fd(peer->dealer));
		zmq_close(peer->dealer);
		peer->dealer = NULL;
	}
	peer->is_watching_dealer = false;
	peer->is_connected = false;
	if (peer->probe_fd >= 0)
	{
		network_unwatch(peer->probe_fd);
		close(peer->probe_fd);
		peer->probe_fd = -1;
	}
	peer->is_resolving = false;
	peer->epoch = 0;
	peer->sequence = 0;
	peer->told_epoch = 0;
}

/*
 * Ends whatever the peer was at, in both directions.  Messages that wait are
 * given back.
 */
static void
end_epoch(Peer *peer)
{
	LinkEntry *link = peer->link;
	Message *message = peer->first;
	bool is_noticed = get_state(peer) == LINK_UP || message != NULL ||
					  peer->has_inbound;

	close_dealer(peer);

	/* The other side has to start over too. */
	peer->peer_epoch = 0;
	receive_forget_inbound(peer);
	pg_atomic_write_u64(&link->round_trip_us, 0);

	/* Count it before the messages' senders can notice. */
	if (is_noticed)
		pg_atomic_fetch_add_u32(&link->epoch, 1);
	peer->first = peer->last = NULL;
	while (message != NULL)
	{
		Message *next = message->next;

		peer_undeliver(peer, message, SEND_NODE_DOWN);
		message = next;
	}
}

/* Has the link broken off just now, so that its network process may be starting anew? */
static bool
is_just_lost(Peer *peer)
{
	return network.now_us - pg_atomic_read_u64(&peer->link->lost_at_us) < LINK_RESTART_US;
}

/*
 * peer_fail
 *		The link has failed: end its epoch, tell, and try again after a while.
 */
void
peer_fail(Peer *peer, LinkState state, const char *reason)
{
	LinkState before = get_state(peer);
	uint64 jitter_us;

	end_epoch(peer);
	set_last_error(peer, reason);

	if (before == LINK_UP)
	{
		pg_atomic_write_u64(&peer->link->lost_at_us, network.now_us);
		network_log("lost node \"%s\" at %s:%d: %s", peer->entry.name,
					peer->entry.host, peer->entry.port, reason);
		peer->backoff_us = 0;
	}
	else if (peer->backoff_us == 0)
		network_log("could not reach node \"%s\" at %s:%d: %s", peer->entry.name,
					peer->entry.host, peer->entry.port, reason);

	/* The rotation of its key may have got no further than our table. */
	if (before == LINK_CONNECTING && peer->entry.previous_key[0] != '\0')
		peer->use_previous_key = !peer->use_previous_key;

	peer->backoff_us = peer->backoff_us == 0 ? BACKOFF_FIRST_US : Min(peer->backoff_us * 2, BACKOFF_LAST_US);
	if (is_just_lost(peer))
		peer->backoff_us = BACKOFF_FIRST_US;
	jitter_us = (uint64) random() % (peer->backoff_us / 2 + 1);
	network_set_timer(peer, network.now_us + peer->backoff_us / 2 + jitter_us);

	set_state(peer, state);
	pg_atomic_fetch_add_u32(&peer->link->failures, 1);
	transport_tell_watchers();
	if (before == LINK_UP)
		members_link_changed(peer);
}

/*
 * peer_remove
 *		The node is known no longer.
 */
void
peer_remove(Peer *peer)
{
	peer_say_bye(peer, "the node has been removed");
	if (get_state(peer) == LINK_UP)
		network_log("closed the link to node \"%s\", which is known no longer",
					peer->entry.name);
	receive_forget_later(peer);
	end_epoch(peer);
	set_state(peer, LINK_IDLE);
	set_last_error(peer, "");
	pg_atomic_fetch_add_u32(&peer->link->failures, 1);
	transport_tell_watchers();
	members_forget(peer);
	peer->in_use = false;
	peer->timer_us = 0;
}

/* --------------------------------------------------- shaking hands */

/*
 * peer_want
 *		Somebody needs the link: try now, unless that is under way.
 */
void
peer_want(Peer *peer)
{
	LinkState state = get_state(peer);

	if (state == LINK_UP || state == LINK_CONNECTING)
		return;
	set_state(peer, LINK_CONNECTING);
	network_set_timer(peer, network.now_us + ATTEMPT_US);
	if (network_host_is_numeric(peer->entry.host))
		peer_connect(peer);
	else
		resolve_start(peer);
}

/*
 * peer_resolved
 *		The address of the peer's host is known, or why it is not.
 */
void
peer_resolved(Peer *peer, const char *address, const char *error)
{
	char reason[REASON_SIZE];

	if (get_state(peer) != LINK_CONNECTING || peer->dealer != NULL)
		return;
	if (error != NULL)
	{
		snprintf(reason, sizeof(reason), "could not resolve host \"%s\": %s",
				 peer->entry.host, error);
		peer_fail(peer, LINK_DOWN, reason);
		return;
	}
	strlcpy(peer->address, address, sizeof(peer->address));
	peer_connect(peer);
}

/* Options of our DEALER; false if libzmq refuses one. */
static bool
configure_dealer(Peer *peer)
{
	uint8 server_key[KEY_SIZE];

	if (!set_int(peer->dealer, ZMQ_LINGER, 0) ||
		!set_int(peer->dealer, ZMQ_SNDHWM, SEND_HIGH_WATER) ||
		!set_int(peer->dealer, ZMQ_RCVHWM, 1) || /* nobody sends to it */
		!set_int(peer->dealer, ZMQ_IPV6, 1) ||
		!set_int(peer->dealer, ZMQ_RECONNECT_IVL, -1) || /* we do that */
		!set_int(peer->dealer, ZMQ_CONNECT_TIMEOUT, ATTEMPT_US / 1000) ||
		!set_int(peer->dealer, ZMQ_HANDSHAKE_IVL, ATTEMPT_US / 1000) ||
		!network_watch_connections(peer->dealer))
		return false;
	peer->dealer_key[0] = '\0';
	if (!network.is_encrypted)
		return true;
	strlcpy(peer->dealer_key,
			peer->use_previous_key ? peer->entry.previous_key : peer->entry.public_key,
			KEY_TEXT_SIZE);
	return zmq_z85_decode(server_key, peer->dealer_key) != NULL &&
		   zmq_setsockopt(peer->dealer, ZMQ_CURVE_SERVERKEY, server_key, KEY_SIZE) == 0 &&
		   zmq_setsockopt(peer->dealer, ZMQ_CURVE_PUBLICKEY, network.public_key, KEY_SIZE) == 0 &&
		   zmq_setsockopt(peer->dealer, ZMQ_CURVE_SECRETKEY, network.secret_key, KEY_SIZE) == 0;
}

/*
 * Opens an epoch: a DEALER, connecting.  The address has been resolved.
 */
static void
peer_connect(Peer *peer)
{
	char endpoint[HOST_SIZE + 32];
	char monitor_name[64];
	const char *address = peer->address;

	if (network_host_is_numeric(peer->entry.host))
		address = peer->entry.host;
	snprintf(endpoint, sizeof(endpoint),
			 strchr(address, ':') != NULL ? "tcp://[%s]:%d" : "tcp://%s:%d",
			 address, peer->entry.port);

	/* Names are never used twice, not even by the next network process. */
	network.last_epoch = Max(network.last_epoch + 1, network_wall_clock_us());
	peer->epoch = network.last_epoch;
	peer->sequence = 0;
	peer->told_epoch = 0;
	snprintf(monitor_name, sizeof(monitor_name), "inproc://peer-" UINT64_FORMAT,
			 peer->epoch);

	peer->dealer = zmq_socket(network.context, ZMQ_DEALER);
	if (peer->dealer == NULL || !configure_dealer(peer) ||
		zmq_socket_monitor(peer->dealer, monitor_name,
						   ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
							   ZMQ_EVENT_CONNECT_RETRIED |
							   ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
							   ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
							   ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
							   ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) != 0 ||
		(peer->monitor = zmq_socket(network.context, ZMQ_PAIR)) == NULL ||
		!set_int(peer->monitor, ZMQ_LINGER, 0) ||
		zmq_connect(peer->monitor, monitor_name) != 0 ||
		zmq_connect(peer->dealer, endpoint) != 0)
	{
		peer_fail(peer, LINK_DOWN, zmq_strerror(errno));
		return;
	}
	network_watch(network_socket_fd(peer->monitor), SOURCE_PEER_MONITOR, peer->node);

	/* libzmq keeps it until the connection stands. */
	send_hello(peer);
	peer_on_monitor(peer);
}

/* The link is up: send what waits, tell who waits. */
static void
peer_up(Peer *peer)
{
	LinkEntry *link = peer->link;

	peer->backoff_us = 0;
	peer->refusal[0] = '\0';
	network_set_timer(peer, 0);
	pg_atomic_write_u64(&link->up_since_us, network.now_us);
	pg_atomic_write_u64(&link->connects, pg_atomic_read_u64(&link->connects) + 1);
	set_last_error(peer, "");
	set_state(peer, LINK_UP);
	network_log("link to node \"%s\" at %s:%d is up", peer->entry.name,
				peer->entry.host, peer->entry.port);
	send_ping(peer);
	peer_flush(peer);
	transport_tell_watchers();
	members_link_changed(peer);
	tables_send_digests(peer);
}

/* Whether another node than this peer goes by a name. */
static bool
is_name_of_another(const Peer *peer, WireBytes name)
{
	if (strlen(network.name) == name.size && memcmp(network.name, name.data, name.size) == 0)
		return true;
	for (uint32 node = 1; node < network.n_peers; node++)
	{
		const Peer *other = &network.peers[node];

		if (other->in_use && other != peer && strlen(other->entry.name) == name.size &&
			memcmp(other->entry.name, name.data, name.size) == 0)
			return true;
	}
	return false;
}

/* What a HELLO tells about the other side, for the views. */
static void
note_hello(Peer *peer, const HelloMessage *hello)
{
	LinkEntry *link = peer->link;
	LinkTexts *texts = &link->texts;
	Size architecture_size;

	pg_atomic_fetch_add_u32(&link->text_version, 1);
	pg_write_barrier();
	architecture_size = Min(hello->architecture.size, sizeof(texts->architecture) - 1);
	memcpy(texts->architecture, hello->architecture.data, architecture_size);
	texts->architecture[architecture_size] = '\0';
	texts->server_version = hello->server_version;
	texts->protocol_version = peer->version;
	texts->node_id = hello->node_id;
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&link->text_version, 1);
}

/*
 * Ends the link and tells the other side why.  Since that may make it refuse
 * us in turn, it is told no more often than we would try to connect.
 */
static void
refuse(Peer *peer, const char *reason)
{
	ByeMessage bye = {.is_refusal = 1, .reason = text_of(reason)};
	LinkState state = get_state(peer);

	strlcpy(peer->refusal, reason, REASON_SIZE);
	if (state == LINK_REFUSED && network.now_us < peer->timer_us)
	{
		peer->peer_epoch = 0;
		receive_forget_inbound(peer);
		return;
	}
	if (peer->dealer == NULL && state != LINK_CONNECTING)
		peer_want(peer);
	if (peer->dealer != NULL)
	{
		SEND_LINK_MESSAGE(peer, BYE, bye, &bye);
		set_int(peer->dealer, ZMQ_LINGER, BYE_LINGER_MS);
	}
	peer_fail(peer, LINK_REFUSED, reason);
}

/*
 * peer_heard_hello
 *		The other side told us its epoch and which of ours it has heard of.
 *
 * The caller knows the sender from its key, and has made the connection on
 * which the HELLO came the peer's inbound one.
 */
void
peer_heard_hello(Peer *peer, const HelloMessage *hello)
{
	char reason[REASON_SIZE];

	if (peer->node_id != 0 && hello->node_id != peer->node_id)
	{
		snprintf(reason, sizeof(reason),
				 "its number is " UINT64_FORMAT ", but its key belongs to node " UINT64_FORMAT,
				 hello->node_id, peer->node_id);
		goto refuse;
	}
	if (strlen(peer->entry.name) != hello->node.size ||
		memcmp(peer->entry.name, hello->node.data, hello->node.size) != 0)
	{
		if (is_name_of_another(peer, hello->node))
		{
			snprintf(reason, sizeof(reason),
					 "it now calls itself \"%.*s\", which is the name of another node",
					 (int) Min(hello->node.size, NAMEDATALEN), hello->node.data);
			goto refuse;
		}
	}

	/* A start of a server that is over does not come back: there are two. */
	if (hello->instance != peer->instance)
	{
		if (hello->instance != 0 && hello->instance == peer->previous_instance)
			peer->twins_until_us = network.now_us + TWINS_US;
		peer->previous_instance = peer->instance;
		peer->instance = hello->instance;
	}
	if (network.now_us < peer->twins_until_us)
	{
		snprintf(reason, sizeof(reason),
				 "two servers use its key; on the one that is a copy, remove the file dlog_node_key and restart it");
		goto refuse;
	}
	peer->version = protocol_choose(network.version_lowest, network.version_highest,
									hello->version_lowest, hello->version_highest);
	if (peer->version == 0)
	{
		snprintf(reason, sizeof(reason),
				 "it speaks versions %u to %u of the protocol, and this node %u to %u",
				 hello->version_lowest, hello->version_highest,
				 network.version_lowest, network.version_highest);
		goto refuse;
	}
	peer->node_id = hello->node_id;
	members_follow(peer);
	note_hello(peer, hello);

	if (hello->epoch != peer->peer_epoch)
	{
		bool had_epoch = peer->peer_epoch != 0;

		peer->peer_epoch = hello->epoch;
		if (had_epoch && peer->epoch != 0 && hello->peer_epoch != peer->epoch)
		{
			/* Its end of the link started over, so we do too. */
			pg_atomic_fetch_add_u32(&peer->link->epoch, 1);
			peer->has_inbound = false; /* not to be closed with our epoch */
			peer_fail(peer, LINK_DOWN, "the other node started over");
			peer->has_inbound = true;
			peer->peer_epoch = hello->epoch;
		}
	}

	if (peer->dealer == NULL)
	{
		/* It is alive, so there is no reason to wait. */
		if (get_state(peer) == LINK_CONNECTING)
			return; /* its host is being resolved */
		peer_want(peer);
		return;
	}
	if (peer->told_epoch != peer->peer_epoch && !send_hello(peer))
	{
		peer_fail(peer, LINK_DOWN, "could not answer the other node's greeting");
		return;
	}
	if (hello->peer_epoch == peer->epoch && get_state(peer) == LINK_CONNECTING)
		peer_up(peer);
	return;

refuse:
	pg_atomic_fetch_add_u64(&peer->link->refused, 1);
	network_log("refused node \"%s\" at %s:%d: %s", peer->entry.name,
				peer->entry.host, peer->entry.port, reason);
	refuse(peer, reason);
}

/*
 * peer_heard_bye
 *		The other side ended the link in good order.
 */
void
peer_heard_bye(Peer *peer, const ByeMessage *bye)
{
	char reason[REASON_SIZE];

	snprintf(reason, sizeof(reason), "the other node said: %.*s",
			 (int) Min(bye->reason.size, 150), bye->reason.data);
	for (char *c = reason; *c != '\0'; c++)
	{
		/* What a stranger's text may do to a log. */
		if ((unsigned char) *c < ' ')
			*c = '?';
	}
	if (bye->is_refusal)
		strlcpy(peer->refusal, reason, REASON_SIZE);
	peer_fail(peer, bye->is_refusal ? LINK_REFUSED : LINK_DOWN, reason);
	pg_atomic_write_u64(&peer->link->lost_at_us, 0);
}

/* ------------------------------------------------ what sockets tell */

/*
 * A connection failed, and libzmq does not say why: find out by connecting
 * once more without it.  The answer is there at once when the port is closed.
 */
static void
probe(Peer *peer)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	const char *address = network_host_is_numeric(peer->entry.host) ? peer->entry.host : peer->address;
	char port[16];
	int error = 0;
	int fd = -1;

	snprintf(port, sizeof(port), "%d", peer->entry.port);
	if (getaddrinfo(address, port, &hints, &found) != 0)
	{
		peer_fail(peer, LINK_DOWN, "its address is not valid");
		return;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
		error = errno;
	freeaddrinfo(found);

	if (fd >= 0 && error == EINPROGRESS)
	{
		close_dealer(peer);
		peer->probe_fd = fd;
		network_watch_connecting(fd, SOURCE_PEER_PROBE, peer->node);
		return;
	}
	if (fd >= 0)
		close(fd);
	peer_fail(peer, LINK_DOWN, error != 0 ? strerror(error) : "the connection failed");
}

/*
 * peer_on_probe
 *		The probe's connection has succeeded or failed.
 */
void
peer_on_probe(Peer *peer)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (peer->probe_fd < 0)
		return;
	if (getsockopt(peer->probe_fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	peer_fail(peer, LINK_DOWN, error != 0 ? strerror(error) : "the connection failed");
}

/*
 * peer_on_monitor
 *		Read what libzmq tells of our connection.
 */
void
peer_on_monitor(Peer *peer)
{
	while (peer->monitor != NULL)
	{
		uint16 event;
		int value;
		LinkState state = get_state(peer);

		if (!network_read_event(peer->monitor, &event, &value))
			return;
		switch (event)
		{
			case ZMQ_EVENT_CLOSED:
			case ZMQ_EVENT_CONNECT_RETRIED:
				if (state == LINK_CONNECTING)
					probe(peer);
				break;
			case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
				peer->is_connected = true;
				break;
			case ZMQ_EVENT_DISCONNECTED:
				if (state == LINK_CONNECTING && peer->refusal[0] != '\0')
					peer_fail(peer, LINK_REFUSED, peer->refusal);
				else
					peer_fail(peer, LINK_DOWN,
							  state == LINK_UP ? "the connection was lost" : "it closed the connection while shaking hands");
				break;
			case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
				peer_fail(peer, LINK_REFUSED, "it does not admit this node's key");
				break;
			case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
			case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
				/* Or the process that took the connection died right then. */
				peer_fail(peer, is_just_lost(peer) ? LINK_DOWN : LINK_REFUSED,
						  "the handshake failed: it has another key, or is no node of dlog");
				break;
			default:
				break;
		}
	}
}

/*
 * Is there room for another attempt of our own accord?  When many nodes are
 * listed at once, all their handshakes together would take longer than each
 * may, and all would fail and begin anew.  Who is needed, or greets, does not
 * ask.
 */
static bool
may_attempt(void)
{
	static uint64 counted_us;
	static int n_connecting;

	if (counted_us != network.now_us)
	{
		counted_us = network.now_us;
		n_connecting = 0;
		for (uint32 node = 1; node < network.n_peers; node++)
			n_connecting += network.peers[node].in_use && get_state(&network.peers[node]) == LINK_CONNECTING;
	}
	if (n_connecting >= MAX_ATTEMPTS)
		return false;
	n_connecting++;
	return true;
}

/*
 * peer_on_timer
 *		An attempt took too long, or it is time for the next one.
 */
void
peer_on_timer(Peer *peer)
{
	switch (get_state(peer))
	{
		case LINK_CONNECTING:
			peer_fail(peer, LINK_DOWN,
					  peer->is_resolving ? "its host could not be resolved in time" :
					  peer->is_connected ? "it admitted this node, but has not answered: it may not be able to reach this node's address" :
										   "it has not answered");
			break;
		case LINK_IDLE:
		case LINK_DOWN:
		case LINK_REFUSED:
			if (may_attempt())
				peer_want(peer);
			else
				network_set_timer(peer, network.now_us + LATER_US / 2 + (uint64) random() % LATER_US);
			break;
		case LINK_UP:
			break;
	}
}
