/*
 * network_receive.c
 *		Frames that come in: who sent them, whether they are in order, and
 *		whom they are for.
 *
 * The ROUTER names each connection with a number of its own.  The first frame
 * on a connection is a HELLO; its sender is the node whose key the handshake
 * proved (User-Id, network_zap.c), and the connection becomes that node's
 * inbound one.  Frames of all other connections are stale and are dropped.
 *
 * When the arena is full, reading stops with the frame in hand until there
 * is room; libzmq's high-water mark and TCP then slow the sender down.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "port/pg_bswap.h"

#include "base/clock.h"
#include "transport/network.h"

#define BUDGET 512 /* frames in one go, so that other work gets its turn */

/* A connection's name as the ROUTER makes it: a zero byte and a number. */
#define CONNECTION_ID_SIZE 5

/* Connections that are closed a little later. */
#define LATE_US 1000000
static struct
{
	Connection connection;
	uint32 inbound_id;
	uint64 at_us;
} late[64];
static int n_late;

/* inbound connection -> peer: chains of peers, by node number */
static uint32 *buckets;
static uint32 n_buckets;

/* The frame in hand while memory is full. */
static bool is_stalled;
static uint32 held_id;
static zmq_msg_t held;

/* Where in the bundle in hand the next frame stands, and what is left of it. */
static Size bundle_at;
static Size bundle_left;

void
receive_init(void)
{
	for (n_buckets = 64; n_buckets < network.max_peers; n_buckets *= 2)
		;
	buckets = calloc(n_buckets, sizeof(uint32));
	if (buckets == NULL)
		abort();
}

bool
receive_is_stalled(void)
{
	return is_stalled;
}

static uint32 *
bucket_of(uint32 id)
{
	/* The ROUTER counts in network order: neighbours differ in the last byte. */
	return &buckets[pg_ntoh32(id) & (n_buckets - 1)];
}

static Peer *
find_by_inbound(uint32 id)
{
	for (uint32 node = *bucket_of(id); node != 0; node = network.peers[node].next_inbound)
	{
		if (network.peers[node].inbound_id == id)
			return &network.peers[node];
	}
	return NULL;
}

/*
 * Ends a connection from outside of libzmq, which cannot be told to.  Its
 * descriptor is libzmq's and may stand for another connection by now, so who
 * is at the other end is compared first.
 */
static void
close_connection(const Connection *connection)
{
	struct sockaddr_storage now;
	socklen_t size = sizeof(now);

	memset(&now, 0, sizeof(now));
	if (connection->fd >= 0 &&
		getpeername(connection->fd, (struct sockaddr *) &now, &size) == 0 &&
		memcmp(&now, &connection->peer, sizeof(now)) == 0)
		shutdown(connection->fd, SHUT_RDWR);
}

/* The connection that a frame came on. */
static Connection
connection_of(zmq_msg_t *frame)
{
	Connection connection;
	socklen_t size = sizeof(connection.peer);

	memset(&connection, 0, sizeof(connection));
	connection.fd = zmq_msg_get(frame, ZMQ_SRCFD);
	if (connection.fd < 0 ||
		getpeername(connection.fd, (struct sockaddr *) &connection.peer, &size) != 0)
		connection.fd = -1;
	return connection;
}

static void
close_sender(zmq_msg_t *frame)
{
	Connection connection = connection_of(frame);

	close_connection(&connection);
}

/*
 * receive_close_late
 *		End the connections whose time has come; see receive_forget_later().
 */
void
receive_close_late(void)
{
	int n_left = 0;

	for (int i = 0; i < n_late; i++)
	{
		if (late[i].at_us <= network.now_us)
			close_connection(&late[i].connection);
		else
		{
			network.timer_us = Min(network.timer_us, late[i].at_us);
			late[n_left++] = late[i];
		}
	}
	n_late = n_left;
}

static bool
closes_late(uint32 inbound_id)
{
	for (int i = 0; i < n_late; i++)
	{
		if (late[i].inbound_id == inbound_id)
			return true;
	}
	return false;
}

static void
take_out(Peer *peer)
{
	uint32 *link;

	for (link = bucket_of(peer->inbound_id); *link != peer->node;
		 link = &network.peers[*link].next_inbound)
		;
	*link = peer->next_inbound;
	peer->has_inbound = false;
}

/*
 * receive_forget_inbound
 *		The peer's inbound connection is none any longer; close it.
 */
void
receive_forget_inbound(Peer *peer)
{
	if (!peer->has_inbound)
		return;
	take_out(peer);
	close_connection(&peer->inbound);
}

/*
 * receive_forget_later
 *		The same, but leave the other side a moment to close it, so that what
 *		we sent last is not lost with it.
 */
void
receive_forget_later(Peer *peer)
{
	if (!peer->has_inbound)
		return;
	take_out(peer);
	if (n_late == lengthof(late))
	{
		close_connection(&peer->inbound);
		return;
	}
	late[n_late].connection = peer->inbound;
	late[n_late].inbound_id = peer->inbound_id;
	late[n_late].at_us = network.now_us + LATE_US;
	network.timer_us = Min(network.timer_us, late[n_late].at_us);
	n_late++;
}

static void
set_inbound(Peer *peer, uint32 id, zmq_msg_t *frame)
{
	const char *key = zmq_msg_gets(frame, "User-Id");
	uint32 *bucket = bucket_of(id);

	receive_forget_inbound(peer);
	peer->inbound_id = id;
	peer->inbound = connection_of(frame);
	strlcpy(peer->inbound_key, key == NULL ? "" : key, KEY_TEXT_SIZE);
	peer->inbound_sequence = 0;
	peer->has_inbound = true;
	peer->next_inbound = *bucket;
	*bucket = peer->node;
}

static void
count(pg_atomic_uint64 *counter)
{
	pg_atomic_write_u64(counter, pg_atomic_read_u64(counter) + 1);
}

/*
 * A frame that no node of ours would send.  It ends the connection it came
 * on, and the epoch if that was its sender's.
 */
static void
refuse_frame(Peer *sender, uint32 id, zmq_msg_t *frame, const char *why)
{
	count(&transport_shared->counters.refused_frames);
	if (sender == NULL)
		network_log("refused a frame from a stranger: %s", why);
	else
	{
		count(&sender->link->refused);
		network_log("refused a frame from node \"%s\": %s", sender->entry.name, why);
		if (sender->has_inbound && sender->inbound_id == id)
		{
			char reason[REASON_SIZE];

			snprintf(reason, sizeof(reason), "a frame was refused: %s", why);
			peer_fail(sender, LINK_DOWN, reason);
		}
	}
	close_sender(frame);
}

/*
 * The peer that sent a frame on a connection that is not its inbound one.
 */
static Peer *
find_sender(zmq_msg_t *frame, const HelloMessage *hello)
{
	const char *key = zmq_msg_gets(frame, "User-Id");

	for (uint32 node = 1; node < network.n_peers; node++)
	{
		Peer *peer = &network.peers[node];

		if (!peer->in_use)
			continue;
		if (network.is_encrypted)
		{
			if (key != NULL && key[0] != '\0' &&
				(strcmp(key, peer->entry.public_key) == 0 ||
				 strcmp(key, peer->entry.previous_key) == 0))
				return peer;
		}
		else if (hello == NULL)
			return NULL;
		else if (peer->node_id != 0 ? peer->node_id == hello->node_id : strlen(peer->entry.name) == hello->node.size && memcmp(peer->entry.name, hello->node.data, hello->node.size) == 0)
			return peer;
	}
	return NULL;
}

static void
handle_hello(uint32 id, zmq_msg_t *frame, const FrameHead *head,
			 const char *payload, Size size)
{
	Peer *peer = find_by_inbound(id);
	HelloMessage hello;

	if (!hello_read(payload, size, &hello))
	{
		refuse_frame(peer != NULL ? peer : find_sender(frame, NULL), id, frame,
					 "its greeting is malformed");
		return;
	}
	if (peer == NULL)
	{
		peer = find_sender(frame, &hello);
		if (peer == NULL)
		{
			/* Without encryption anyone gets this far. */
			refuse_frame(NULL, id, frame, "no node here has its key or number");
			return;
		}
		if (head->sequence != 1)
		{
			count(&transport_shared->counters.stale_frames);
			close_sender(frame);
			return;
		}
		if (hello.epoch == 0 || hello.epoch == peer->peer_epoch)
		{
			refuse_frame(peer, id, frame, "it greets with an epoch that it has used");
			return;
		}
		set_inbound(peer, id, frame);
	}
	else if (head->sequence != peer->inbound_sequence + 1)
	{
		refuse_frame(peer, id, frame, "it is out of sequence");
		return;
	}
	else if (hello.epoch != peer->peer_epoch)
	{
		refuse_frame(peer, id, frame, "it changes its epoch within a connection");
		return;
	}

	peer->inbound_sequence = head->sequence;
	count(&peer->link->received_messages);
	peer_heard_hello(peer, &hello);
}

/* Whether a database of ours admits the peer to what a frame is for. */
static bool
is_admitted(Peer *peer, const FrameHead *head)
{
	Oid database = InvalidOid;

	/* Answers to a change that concerns all databases, see join.c. */
	if (head->type == MESSAGE_NODE_CHANGED || head->type == MESSAGE_UNDELIVERED)
		return true;
	if (head->to_slot != 0)
	{
		ActorAddress to = {THIS_NODE, head->to_slot, head->to_incarnation};

		database = actor_database(to);
		if (!OidIsValid(database))
			return true; /* it has exited, which actor_send() will notice */
	}
	for (uint32 i = peer->first_admission; i != 0; i = network.next_admission[i - 1])
	{
		Admission *admission = &network.admissions[i - 1];

		if (head->to_slot == 0 ? admission->dispatcher == head->to_incarnation : admission->database == database)
			return true;
	}
	return false;
}

/* The link's own messages. */
static void
handle_link_message(Peer *peer, zmq_msg_t *frame, const FrameHead *head,
					const char *payload, Size size)
{
	switch (head->type)
	{
		case MESSAGE_PING:
		{
			PingMessage ping;

			if (ping_read(payload, size, &ping))
				peer_answer_ping(peer, &ping);
			break;
		}
		case MESSAGE_PONG:
		{
			PongMessage pong;
			uint64 now_us = clock_now_us();

			if (pong_read(payload, size, &pong) && pong.sent_us <= now_us)
				pg_atomic_write_u64(&peer->link->round_trip_us, now_us - pong.sent_us);
			break;
		}
		case MESSAGE_BYE:
		{
			ByeMessage bye;

			if (bye_read(payload, size, &bye))
				peer_heard_bye(peer, &bye);
			break;
		}
	}
}

/* Have the worker look for memory in our place. */
static void
ask_for_room(Size size)
{
	Latch *latch = transport_shared->worker_latch;

	pg_atomic_write_u32(&transport_shared->room_wanted, size);
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Hands a frame to whom it is for: one that came by itself or in a bundle,
 * which "frame" is then.  Returns false, having changed nothing, when there is
 * no memory for it.
 */
static bool
handle_frame(uint32 id, zmq_msg_t *frame, const char *buffer, Size frame_size)
{
	const char *payload = buffer + FRAME_HEAD_SIZE;
	Size size;
	FrameHead head;
	FrameStatus status = frame_read(buffer, frame_size, &head);
	Peer *peer = find_by_inbound(id);
	Message *message;
	ActorAddress to;
	SendResult result;

	if (status != FRAME_OK)
	{
		refuse_frame(peer != NULL ? peer : find_sender(frame, NULL), id, frame,
					 frame_status_text(status));
		return true;
	}
	size = frame_size - FRAME_HEAD_SIZE;
	if (head.type == MESSAGE_HELLO)
	{
		handle_hello(id, frame, &head, payload, size);
		return true;
	}
	if (peer == NULL && head.type == MESSAGE_JOIN_REQUEST)
	{
		const char *why = guest_request(id, zmq_msg_gets(frame, "User-Id"), head.to_incarnation, payload, size);

		if (why != NULL)
			refuse_frame(NULL, id, frame, why);
		return true;
	}
	if (peer == NULL)
	{
		/* Who has not heard yet that we have parted may go on for a moment. */
		count(&transport_shared->counters.stale_frames);
		if (!closes_late(id))
			close_sender(frame);
		return true;
	}
	if (head.sequence != peer->inbound_sequence + 1)
	{
		refuse_frame(peer, id, frame, "it is out of sequence");
		return true;
	}
	if (head.version != peer->version)
	{
		refuse_frame(peer, id, frame, "it is of another protocol version than was agreed on");
		return true;
	}
	if (!message_is_valid(head.type, payload, size))
	{
		refuse_frame(peer, id, frame, "its content is malformed");
		return true;
	}

	if (head.type == MESSAGE_BUNDLE)
	{
		BundleMessage bundle;

		if (buffer != zmq_msg_data(frame) || peer->version < PROTOCOL_BUNDLE ||
			!bundle_read(payload, size, &bundle))
		{
			refuse_frame(peer, id, frame, "its content is malformed");
			return true;
		}
		peer->inbound_sequence = head.sequence;
		bundle_at = bundle.frames.data - buffer;
		bundle_left = bundle.frames.size;
		return true;
	}
	if (membership_handles(head.type))
	{
		peer->inbound_sequence = head.sequence;
		count(&peer->link->received_messages);
		members_receive(peer, head.type, payload, size);
		return true;
	}
	if (head.type == MESSAGE_NODE_DIGEST || head.type == MESSAGE_FLOCK_DIGEST)
	{
		NodeDigestMessage nodes;
		FlockDigestMessage flocks;

		peer->inbound_sequence = head.sequence;
		count(&peer->link->received_messages);
		if (head.type == MESSAGE_NODE_DIGEST && node_digest_read(payload, size, &nodes))
			tables_heard_nodes(peer, &nodes);
		else if (head.type == MESSAGE_FLOCK_DIGEST && flock_digest_read(payload, size, &flocks))
			tables_heard_flocks(peer, &flocks);
		return true;
	}
	if (head.type == MESSAGE_PING || head.type == MESSAGE_PONG || head.type == MESSAGE_BYE)
	{
		peer->inbound_sequence = head.sequence;
		count(&peer->link->received_messages);
		handle_link_message(peer, frame, &head, payload, size);
		return true;
	}

	if (MESSAGE_IS_LOCAL(head.type) || head.type == MESSAGE_JOIN_REQUEST || head.type == MESSAGE_JOIN_ANSWER ||
		head.type == MESSAGE_KNOCK || !is_admitted(peer, &head))
	{
		peer->inbound_sequence = head.sequence;
		count(&transport_shared->counters.not_admitted);
		count(&peer->link->refused);
		network_log(is_admitted(peer, &head) ?
						"refused a message of node \"%s\" of a type that nodes do not send each other" :
						"refused a message of node \"%s\" for a database that does not list it",
					peer->entry.name);
		peer_answer_undelivered(peer, &head, SEND_NO_ACTOR);
		return true;
	}

	message = message_try_create(head.type, size);
	if (message == NULL)
	{
		ask_for_room(offsetof(Message, payload) + size);
		return false;
	}
	peer->inbound_sequence = head.sequence;
	count(&peer->link->received_messages);
	pg_atomic_write_u64(&peer->link->received_bytes,
						pg_atomic_read_u64(&peer->link->received_bytes) + frame_size);

	memcpy(message->payload, payload, size);
	if (MESSAGE_IS_STAMPED(head.type) && size >= sizeof(uint64))
	{
		uint64 stamp = pg_hton64(clock_now_us());

		memcpy(message->payload, &stamp, sizeof(stamp));
	}
	message->flags = ((head.flags & FRAME_CONTROL) ? MESSAGE_CONTROL : 0) |
					 ((head.flags & FRAME_URGENT) ? MESSAGE_URGENT : 0) |
					 ((head.flags & FRAME_EPHEMERAL) ? MESSAGE_EPHEMERAL : 0);
	to = (ActorAddress){THIS_NODE, head.to_slot, head.to_incarnation};
	message->from = (ActorAddress){peer->node, head.from_slot, head.from_incarnation};
	result = actor_send(to, message);
	if (result != SEND_OK)
		peer_answer_undelivered(peer, &head, result);
	return true;
}

/*
 * Hands out what a message from the network holds: a frame, or a bundle of
 * them.  Returns false when there is no memory for the next one; then it is to
 * be called again, with "is_new" false.
 */
static bool
handle_message(uint32 id, zmq_msg_t *message, bool is_new)
{
	if (is_new)
		bundle_left = 0;
	if (bundle_left == 0 &&
		!handle_frame(id, message, zmq_msg_data(message), zmq_msg_size(message)))
		return false;
	while (bundle_left > 0)
	{
		const char *begin = zmq_msg_data(message);
		const char *at = begin + bundle_at;
		Size left = bundle_left;
		const char *frame;
		Size size;
		Peer *peer = find_by_inbound(id);

		if (peer == NULL || !bundle_next(&at, &left, &frame, &size))
		{
			/* Its epoch has ended in the middle, or ends with this. */
			if (peer != NULL)
				refuse_frame(peer, id, message, "its content is malformed");
			bundle_left = 0;
			break;
		}
		if (!handle_frame(id, message, frame, size))
			return false;
		bundle_at = at - begin;
		bundle_left = left;
	}
	return true;
}

/* Throws away the rest of a message of several parts. */
static int
drain_parts(void)
{
	int n_parts = 0;
	int more = 1;

	while (more)
	{
		zmq_msg_t part;

		zmq_msg_init(&part);
		if (zmq_msg_recv(&part, network.router, ZMQ_DONTWAIT) < 0)
			more = 0;
		else
		{
			n_parts++;
			more = zmq_msg_more(&part);
		}
		zmq_msg_close(&part);
	}
	return n_parts;
}

/* Receives the name of the connection that the next frame came on. */
static bool
receive_id(uint32 *id, bool *is_ours)
{
	zmq_msg_t part;
	const char *name;

	zmq_msg_init(&part);
	if (zmq_msg_recv(&part, network.router, ZMQ_DONTWAIT) < 0)
	{
		zmq_msg_close(&part);
		return false;
	}

	/* Our nodes leave it to us to name their connections. */
	name = zmq_msg_data(&part);
	*is_ours = zmq_msg_size(&part) == CONNECTION_ID_SIZE && name[0] == 0;
	if (*is_ours)
		memcpy(id, name + 1, sizeof(*id));
	zmq_msg_close(&part);
	return true;
}

/*
 * receive_frames
 *		Handle frames that have come.
 *
 * Returns true when there may be more, false when all have been handled or
 * memory is full.
 */
bool
receive_frames(void)
{
	if (is_stalled)
	{
		if (!handle_message(held_id, &held, false))
			return false;
		zmq_msg_close(&held);
		is_stalled = false;
	}

	for (int i = 0; i < BUDGET; i++)
	{
		zmq_msg_t frame;
		uint32 id = 0;
		bool is_ours;

		if (!receive_id(&id, &is_ours))
			return false;
		zmq_msg_init(&frame);
		if (zmq_msg_recv(&frame, network.router, ZMQ_DONTWAIT) < 0)
		{
			zmq_msg_close(&frame);
			return false;
		}

		if (zmq_msg_more(&frame) || !is_ours)
		{
			Peer *sender = is_ours ? find_by_inbound(id) : NULL;
			char why[REASON_SIZE];

			if (zmq_msg_more(&frame))
			{
				count(&transport_shared->counters.multipart);
				snprintf(why, sizeof(why), "it has %d parts", 1 + drain_parts());
			}
			else
				strlcpy(why, "its connection names itself", sizeof(why));
			refuse_frame(sender != NULL ? sender : find_sender(&frame, NULL),
						 id, &frame, why);
			zmq_msg_close(&frame);
			continue;
		}

		if (!handle_message(id, &frame, true))
		{
			count(&transport_shared->counters.stalls);
			is_stalled = true;
			held_id = id;
			zmq_msg_init(&held);
			zmq_msg_move(&held, &frame);
			zmq_msg_close(&frame);
			return false;
		}
		zmq_msg_close(&frame);
	}
	return true;
}
