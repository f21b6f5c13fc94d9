/*
 * network_zap.c
 *		Decides who may connect: the keys of the node table, and while there are
 *		join tokens any other, of which one message is looked at (network_guest.c).
 *
 * libzmq asks this handler (ZeroMQ RFC 27) before it lets a connection in;
 * without one it would let in any client that knows our public key.  The
 * key is returned as the connection's User-Id, which libzmq then attaches to
 * every message from it: that is how the sender of a frame is known.
 */
#include "postgres.h"

#include "transport/network.h"

#define ZAP_FRAMES 8 /* of a request, with the ROUTER's two */
#define ZAP_FRAME_SIZE 256

typedef struct ZapRequest
{
	int n_frames; /* those beyond ZAP_FRAMES are counted, not kept */
	size_t sizes[ZAP_FRAMES];
	char frames[ZAP_FRAMES][ZAP_FRAME_SIZE];
} ZapRequest;

/* What the frames of a request are, after the ROUTER's identity. */
enum
{
	ZAP_IDENTITY,
	ZAP_DELIMITER,
	ZAP_VERSION,
	ZAP_REQUEST_ID,
	ZAP_DOMAIN,
	ZAP_ADDRESS,
	ZAP_ROUTING_ID,
	ZAP_MECHANISM
};

/*
 * zap_start
 *		Bind the handler; to be done before any other socket is.
 */
bool
zap_start(void)
{
	int zero = 0;

	network.zap = zmq_socket(network.context, ZMQ_ROUTER);
	return network.zap != NULL &&
		   zmq_setsockopt(network.zap, ZMQ_LINGER, &zero, sizeof(zero)) == 0 &&
		   zmq_bind(network.zap, "inproc://zeromq.zap.01") == 0;
}

static bool
key_is_known(const char *key)
{
	for (uint32 i = 1; i < network.n_peers; i++)
	{
		Peer *peer = &network.peers[i];

		if (peer->in_use && (strcmp(peer->entry.public_key, key) == 0 ||
							 strcmp(peer->entry.previous_key, key) == 0))
			return true;
	}
	return false;
}

/*
 * Receives one request with the credentials' first frame in "credential".
 * Returns false when there is none.
 */
static bool
zap_receive(ZapRequest *request, uint8 credential[KEY_SIZE], size_t *credential_size)
{
	int more = 1;

	memset(request, 0, sizeof(*request));
	*credential_size = 0;
	while (more)
	{
		zmq_msg_t part;
		size_t size;

		zmq_msg_init(&part);
		if (zmq_msg_recv(&part, network.zap, ZMQ_DONTWAIT) < 0)
		{
			zmq_msg_close(&part);
			return false;
		}
		size = zmq_msg_size(&part);
		if (request->n_frames < ZAP_FRAMES)
		{
			request->sizes[request->n_frames] = Min(size, ZAP_FRAME_SIZE);
			memcpy(request->frames[request->n_frames], zmq_msg_data(&part),
				   request->sizes[request->n_frames]);
		}
		else if (request->n_frames == ZAP_FRAMES && size == KEY_SIZE)
		{
			memcpy(credential, zmq_msg_data(&part), KEY_SIZE);
			*credential_size = KEY_SIZE;
		}
		request->n_frames++;
		more = zmq_msg_more(&part);
		zmq_msg_close(&part);
	}
	return true;
}

static bool
frame_equals(const ZapRequest *request, int frame, const char *text)
{
	return request->sizes[frame] == strlen(text) &&
		   memcmp(request->frames[frame], text, strlen(text)) == 0;
}

static void
zap_reply(const ZapRequest *request, bool is_admitted, const char *user_id)
{
	const char *status = is_admitted ? "200" : "400";
	const char *text = is_admitted ? "OK" : "not admitted";

	zmq_send(network.zap, request->frames[ZAP_IDENTITY],
			 request->sizes[ZAP_IDENTITY], ZMQ_SNDMORE);
	zmq_send(network.zap, "", 0, ZMQ_SNDMORE);
	zmq_send(network.zap, "1.0", 3, ZMQ_SNDMORE);
	zmq_send(network.zap, request->frames[ZAP_REQUEST_ID],
			 request->sizes[ZAP_REQUEST_ID], ZMQ_SNDMORE);
	zmq_send(network.zap, status, 3, ZMQ_SNDMORE);
	zmq_send(network.zap, text, strlen(text), ZMQ_SNDMORE);
	zmq_send(network.zap, user_id, strlen(user_id), ZMQ_SNDMORE);
	zmq_send(network.zap, "", 0, 0);
}

/*
 * zap_answer_all
 *		Answer all requests that have come.
 */
void
zap_answer_all(void)
{
	ZapRequest request;
	uint8 credential[KEY_SIZE];
	size_t credential_size;

	while (zap_receive(&request, credential, &credential_size))
	{
		char key[KEY_TEXT_SIZE] = "";
		bool is_admitted = false;

		if (request.n_frames <= ZAP_MECHANISM)
			continue;
		if (network.is_encrypted &&
			frame_equals(&request, ZAP_MECHANISM, "CURVE") &&
			credential_size == KEY_SIZE)
		{
			zmq_z85_encode(key, credential, KEY_SIZE);
			is_admitted = key_is_known(key) || guests_are_welcome();
		}
		else if (!network.is_encrypted &&
				 frame_equals(&request, ZAP_MECHANISM, "NULL"))
			is_admitted = true;

		if (!is_admitted)
		{
			pg_atomic_fetch_add_u64(&transport_shared->counters.refused_keys, 1);
			network_log("refused a connection from %.*s: no node here has the key %s",
						(int) request.sizes[ZAP_ADDRESS],
						request.frames[ZAP_ADDRESS],
						key[0] != '\0' ? key : "(none)");
		}
		zap_reply(&request, is_admitted, is_admitted ? key : "");
	}
}
