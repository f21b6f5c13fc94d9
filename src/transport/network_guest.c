/*
 * network_guest.c
 *		Joining with a token, in the network process.
 *
 * Words.  A *guest* is a node that no table lists yet.  While there are join
 * tokens (token.c) one may connect, for a single JOIN_REQUEST, which goes to
 * the database that it names; the JOIN_ANSWERs go back on the guest's own
 * connection.  A *knock* is the other side of that: we are the guest, on behalf
 * of a session.
 *
 * Both sides prove their keys: the token tells the guest that of its sponsor,
 * and the request names the guest's, which must be that of its connection.
 * Nothing else that a guest sends is looked at.
 */
#include "postgres.h"

#include "base/guc.h"
#include "transport/network.h"

/* So many requests of guests in a second; any of them makes a scheduler work. */
#define REQUESTS_PER_SECOND 20

#define MAX_KNOCKS 16

typedef struct Knock
{
	void *dealer; /* NULL: unused */
	void *monitor;
	ActorAddress asker;
	uint64 request;
	uint64 connect_us; /* give up then, unless connected */
	uint64 answer_us;  /* give up then */
	bool is_connected;
	bool is_refused;
	char failure[REASON_SIZE]; /* the last one to connect */
} Knock;

static Knock knocks[MAX_KNOCKS];

/* ---------------------------------------------------------- we are visited */

static bool
may_request(void)
{
	static uint64 second;
	static int n_requests;
	uint64 now = network.now_us / 1000000;

	if (now != second)
	{
		second = now;
		n_requests = 0;
	}
	return ++n_requests <= REQUESTS_PER_SECOND;
}

/*
 * guests_are_welcome
 *		Does a database of this server have join tokens?
 */
bool
guests_are_welcome(void)
{
	for (int d = 0; d < MAX_LOADED_DATABASES; d++)
	{
		LoadedDatabase *loaded = &transport_shared->databases[d];

		if (OidIsValid(loaded->database) && pg_atomic_read_u32(&loaded->join_tokens) != 0)
			return true;
	}
	return false;
}

static bool
has_key(const JoinRequestMessage *request, const char *key)
{
	return !network.is_encrypted ||
		   (key != NULL && strlen(key) == request->public_key.size &&
			memcmp(key, request->public_key.data, request->public_key.size) == 0);
}

/*
 * guest_request
 *		A guest asks to be let in, on the connection "id"; "key" is the one that
 *		it has proved.  Returns why it is refused, or NULL.
 *
 * Its sender is then slot 0 and the connection, so that the answer finds it.
 */
const char *
guest_request(uint32 id, const char *key, uint32 dispatcher, const char *payload, Size size)
{
	JoinRequestMessage request;
	Message *message;

	if (!guests_are_welcome())
		return "there are no join tokens here";
	if (!join_request_read(payload, size, &request))
		return "its request to join is malformed";
	if (!has_key(&request, key))
		return "it wants to join with a key that is not its own";
	if (!may_request())
		return "too many nodes want to join at once";
	message = message_try_create(MESSAGE_JOIN_REQUEST, size);
	if (message == NULL)
		return "shared memory for messages is full";
	memcpy(message->payload, payload, size);
	message->flags = MESSAGE_EPHEMERAL;
	message->from = (ActorAddress){THIS_NODE, 0, id};
	if (actor_send((ActorAddress){THIS_NODE, 0, dispatcher}, message) != SEND_OK)
		return "it wants to join a database that is not here";
	return NULL;
}

static void
send_frame(void *socket, uint16 type, uint32 dispatcher, const char *payload, Size size)
{
	FrameHead head = {
		.version = (uint8) network.version_highest,
		.type = type,
		.sequence = 1,
		.to_incarnation = dispatcher,
	};
	char buffer[FRAME_HEAD_SIZE + FRAME_MAX_PAYLOAD];

	frame_write(buffer, &head);
	memcpy(buffer + FRAME_HEAD_SIZE, payload, size);
	(void) zmq_send(socket, buffer, FRAME_HEAD_SIZE + size, ZMQ_DONTWAIT);
}

/*
 * guest_answer
 *		A database answers a guest; takes the message.
 */
void
guest_answer(Message *message)
{
	char name[5] = {0};

	memcpy(name + 1, &message->to.incarnation, sizeof(uint32));
	if (zmq_send(network.router, name, sizeof(name), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
		send_frame(network.router, MESSAGE_JOIN_ANSWER, 0, message->payload, message->size);
	network.has_answered_guest = true;
	message_free(message);
}

/* ------------------------------------------------------------ we knock */

static WireBytes
text_of(const char *text)
{
	return (WireBytes){.size = (uint32) strlen(text), .data = text};
}

static void
tell_asker(const Knock *knock, const char *payload, Size size)
{
	Message *message = message_try_create(MESSAGE_JOIN_ANSWER, size);

	/* Out of memory it learns from its timeout. */
	if (message == NULL)
		return;
	memcpy(message->payload, payload, size);
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	message->from = (ActorAddress){THIS_NODE, 0, 0};
	(void) actor_send(knock->asker, message);
}

static void
end_knock(Knock *knock)
{
	if (knock->monitor != NULL)
	{
		zmq_socket_monitor(knock->dealer, NULL, 0);
		network_unwatch(network_socket_fd(knock->monitor));
		zmq_close(knock->monitor);
	}
	if (knock->dealer != NULL)
	{
		network_unwatch(network_socket_fd(knock->dealer));
		zmq_close(knock->dealer);
	}
	memset(knock, 0, sizeof(*knock));
}

static void
fail_knock(Knock *knock, const char *why)
{
	JoinAnswerMessage answer = {
		.request = knock->request,
		.is_last = 1,
		.sqlstate = text_of("08006"),
		.message = text_of("could not join with the token"),
		.detail = text_of(why),
	};
	char payload[REASON_SIZE + 200];

	join_answer_write(payload, join_answer_size(&answer), &answer);
	tell_asker(knock, payload, join_answer_size(&answer));
	end_knock(knock);
}

static bool
set_option(void *socket, int option, const void *value, size_t size)
{
	return zmq_setsockopt(socket, option, value, size) == 0;
}

static bool
open_knock(Knock *knock, int number, const char *endpoint, const uint8 *server_key)
{
	char monitor[64];
	int zero = 0;
	int one = 1;

	snprintf(monitor, sizeof(monitor), "inproc://knock-%d-%d", number, (int) random());
	knock->dealer = zmq_socket(network.context, ZMQ_DEALER);
	knock->monitor = zmq_socket(network.context, ZMQ_PAIR);
	if (knock->dealer == NULL || knock->monitor == NULL ||
		!set_option(knock->dealer, ZMQ_LINGER, &zero, sizeof(zero)) ||
		!set_option(knock->monitor, ZMQ_LINGER, &zero, sizeof(zero)) ||
		!set_option(knock->dealer, ZMQ_IPV6, &one, sizeof(one)))
		return false;
	if (network.is_encrypted &&
		(!set_option(knock->dealer, ZMQ_CURVE_SERVERKEY, server_key, KEY_SIZE) ||
		 !set_option(knock->dealer, ZMQ_CURVE_PUBLICKEY, network.public_key, KEY_SIZE) ||
		 !set_option(knock->dealer, ZMQ_CURVE_SECRETKEY, network.secret_key, KEY_SIZE)))
		return false;
	return zmq_socket_monitor(knock->dealer, monitor,
							  ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
								  ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
								  ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED) == 0 &&
		   zmq_connect(knock->monitor, monitor) == 0 &&
		   zmq_connect(knock->dealer, endpoint) == 0;
}

/*
 * guest_knock
 *		A session wants to join elsewhere; takes the message.
 */
void
guest_knock(Message *message)
{
	KnockMessage content;
	uint8 server_key[KEY_SIZE];
	char key[KEY_TEXT_SIZE] = "";
	char endpoint[HOST_SIZE + 32];
	Knock *knock = NULL;
	int number = 0;

	for (; number < MAX_KNOCKS && knock == NULL; number++)
	{
		if (knocks[number].dealer == NULL)
			knock = &knocks[number];
	}
	if (!knock_read(message->payload, message->size, &content))
	{
		message_free(message);
		return;
	}
	if (knock == NULL)
	{
		Knock refused = {.asker = message->from, .request = content.request};

		fail_knock(&refused, "too many sessions of this server are joining others");
		message_free(message);
		return;
	}
	knock->asker = message->from;
	knock->request = content.request;
	knock->connect_us = network.now_us + content.connect_ms * UINT64CONST(1000);
	knock->answer_us = network.now_us + content.answer_ms * UINT64CONST(1000);
	strlcpy(knock->failure, "there was no answer", sizeof(knock->failure));
	memcpy(key, content.server_key.data, Min(content.server_key.size, KEY_TEXT_SIZE - 1));
	snprintf(endpoint, sizeof(endpoint), "tcp://%.*s", (int) content.endpoint.size, content.endpoint.data);
	if (strlen(key) != KEY_TEXT_SIZE - 1 || zmq_z85_decode(server_key, key) == NULL ||
		!open_knock(knock, number, endpoint, server_key))
		fail_knock(knock, "its address or key cannot be used");
	else
	{
		send_frame(knock->dealer, MESSAGE_JOIN_REQUEST, content.dispatcher,
				   content.join_request.data, content.join_request.size);
		network_watch(network_socket_fd(knock->dealer), SOURCE_KNOCK, 0);
		network_watch(network_socket_fd(knock->monitor), SOURCE_KNOCK, 0);
		network.timer_us = Min(network.timer_us, knock->connect_us);
		guests_run();
	}
	message_free(message);
}

static void
read_events(Knock *knock)
{
	uint16 event;
	int value;

	while (network_read_event(knock->monitor, &event, &value))
	{
		switch (event)
		{
			case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
				knock->is_connected = true;
				break;
			case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
				strlcpy(knock->failure, "the other node has no join tokens", sizeof(knock->failure));
				knock->is_refused = true;
				break;
			case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
			case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
				strlcpy(knock->failure, "who listens there does not have the key that the token names", sizeof(knock->failure));
				break;
			case ZMQ_EVENT_CLOSED:
				if (!knock->is_connected)
					strlcpy(knock->failure, "it could not be reached, or does not have the key that the token names", sizeof(knock->failure));
				break;
			case ZMQ_EVENT_DISCONNECTED:
				strlcpy(knock->failure, "the other node has closed the connection", sizeof(knock->failure));
				break;
		}
	}
}

/* Takes what has come; true when the last answer has. */
static bool
read_answers(Knock *knock)
{
	for (;;)
	{
		zmq_msg_t frame;
		FrameHead head;
		JoinAnswerMessage answer;
		bool is_last = false;
		const char *payload;
		Size size;

		zmq_msg_init(&frame);
		if (zmq_msg_recv(&frame, knock->dealer, ZMQ_DONTWAIT) < 0)
		{
			zmq_msg_close(&frame);
			return false;
		}
		payload = (const char *) zmq_msg_data(&frame) + FRAME_HEAD_SIZE;
		size = zmq_msg_size(&frame) - FRAME_HEAD_SIZE;
		if (frame_read(zmq_msg_data(&frame), zmq_msg_size(&frame), &head) == FRAME_OK &&
			head.type == MESSAGE_JOIN_ANSWER && join_answer_read(payload, size, &answer) &&
			answer.request == knock->request)
		{
			tell_asker(knock, payload, size);
			is_last = answer.is_last != 0;
		}
		zmq_msg_close(&frame);
		if (is_last)
			return true;
	}
}

/*
 * guests_run
 *		Go on with what we have asked of others.
 */
void
guests_run(void)
{
	for (int i = 0; i < MAX_KNOCKS; i++)
	{
		Knock *knock = &knocks[i];

		if (knock->dealer == NULL)
			continue;
		read_events(knock);
		if (read_answers(knock))
			end_knock(knock);
		else if (knock->is_refused || network.now_us >= (knock->is_connected ? knock->answer_us : knock->connect_us))
			fail_knock(knock, knock->is_connected ? "there was no answer in time" : knock->failure);
		else
			network.timer_us = Min(network.timer_us, knock->is_connected ? knock->answer_us : knock->connect_us);
	}
}
