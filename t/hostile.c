/*
 * hostile.c
 *		A client that does what no node of dlog does, for 022_transport_hostile.pl.
 *
 *		hostile keypair
 *			prints a public and a secret key
 *		hostile PORT SERVER-KEY PUBLIC-KEY SECRET-KEY NODE-ID WHAT
 *			connects, sends WHAT, and prints "closed" once the other side ends
 *			the connection, or "open" if it has not within five seconds
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

static void *context;
static void *dealer;
static void *monitor;
static uint64_t sequence;

/* ------------------------------------------------------------- encoding */

static char buffer[4 * 1024 * 1024];
static size_t used;

static void
put(uint64_t value, int bytes)
{
	while (bytes-- > 0)
		buffer[used++] = (char) (value >> (8 * bytes));
}

static void
put_text(const char *text)
{
	put(strlen(text), 4);
	memcpy(buffer + used, text, strlen(text));
	used += strlen(text);
}

static void
put_head(int version, int type)
{
	used = 0;
	put(version, 1);
	put(0, 1);
	put(type, 2);
	put(++sequence, 8);
	put(0, 8); /* to nobody */
	put(0, 8);
}

static void
send_buffer(void)
{
	if (zmq_send(dealer, buffer, used, 0) < 0)
	{
		perror("zmq_send");
		exit(1);
	}
}

static void
send_hello(uint64_t node_id, int version)
{
	put_head(1, 1);
	put(version, 2);
	put(version, 2);
	put(node_id, 8);
	put(4711, 8); /* our epoch */
	put(0, 8);
	put_text("hostile");
	put(150000, 4);
	put_text("none");
	put(65000, 4);
	put(0, 8); /* the start of our server */
	send_buffer();
}

static void
send_ping(int version)
{
	put_head(version, 2);
	put(1, 8);
	send_buffer();
}

/*
 * A bundle of two pings, each "claimed" bytes long as it says, with sequence
 * numbers "ahead" of the right ones, and of a type.
 */
static void
send_bundle(int version, int claimed, int ahead, int type)
{
	put_head(version, 5);
	put(2 * (4 + 28 + 8), 4);
	for (int i = 0; i < 2; i++)
	{
		put(claimed, 4);
		put(version, 1);
		put(0, 1);
		put(type, 2);
		put(++sequence + ahead, 8);
		put(0, 8);
		put(0, 8);
		put(1, 8);
	}
	send_buffer();
}

/* ---------------------------------------------------- what can be done */

static void
send_parts(int count)
{
	for (int i = 0; i < count; i++)
	{
		if (zmq_send(dealer, "0123456789", 10, i < count - 1 ? ZMQ_SNDMORE : 0) < 0)
		{
			perror("zmq_send");
			exit(1);
		}
	}
}

static void
do_what(const char *what, uint64_t node_id)
{
	if (strcmp(what, "hello") == 0)
		send_hello(node_id, 1);
	else if (strcmp(what, "other-id") == 0)
		send_hello(node_id + 1, 1);
	else if (strcmp(what, "other-version") == 0)
		send_hello(node_id, 200);
	else if (strcmp(what, "parts") == 0)
	{
		send_hello(node_id, 1);
		send_parts(100000);
	}
	else if (strcmp(what, "oversize") == 0)
	{
		send_hello(node_id, 1);
		put_head(1, 2);
		used = 3 * 1024 * 1024;
		send_buffer();
	}
	else if (strcmp(what, "too-large") == 0)
	{
		send_hello(node_id, 1);
		put_head(1, 2);
		used = 100 * 1024;
		send_buffer();
	}
	else if (strcmp(what, "replay") == 0)
	{
		send_hello(node_id, 1);
		send_ping(1);
		sequence--;
		send_ping(1);
	}
	else if (strcmp(what, "skip") == 0)
	{
		send_hello(node_id, 1);
		sequence += 10;
		send_ping(1);
	}
	else if (strcmp(what, "stale") == 0)
		send_ping(1);
	else if (strcmp(what, "version") == 0)
	{
		send_hello(node_id, 1);
		send_ping(77);
	}
	else if (strncmp(what, "bundle", 6) == 0)
	{
		int version = strcmp(what, "bundle-early") == 0 ? 1 : 2;
		int claimed = strcmp(what, "bundle-cut") == 0 ? 48 : 36;
		int ahead = strcmp(what, "bundle-skip") == 0 ? 10 : 0;
		int type = strcmp(what, "bundle-nested") == 0 ? 5 : 2;

		send_hello(node_id, version);
		send_bundle(version, claimed, ahead, type);
	}
	else if (strcmp(what, "type") == 0)
	{
		send_hello(node_id, 1);
		put_head(1, 60000);
		send_buffer();
	}
	else if (strcmp(what, "short") == 0)
	{
		send_hello(node_id, 1);
		used = 5;
		send_buffer();
	}
	else if (strcmp(what, "garbage") == 0)
	{
		FILE *random_file = fopen("/dev/urandom", "rb");

		send_hello(node_id, 1);
		used = fread(buffer, 1, 1000, random_file);
		fclose(random_file);
		send_buffer();
	}
	else
	{
		fprintf(stderr, "what is \"%s\"?\n", what);
		exit(2);
	}
}

/* ------------------------------------------------------------------------ */

static int
wait_for_end(void)
{
	int timeout = 5000;

	zmq_setsockopt(monitor, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
	for (;;)
	{
		char event[6];
		char endpoint[256];
		uint16_t type;

		if (zmq_recv(monitor, event, sizeof(event), 0) < 0)
			return 0;
		zmq_recv(monitor, endpoint, sizeof(endpoint), 0);
		memcpy(&type, event, sizeof(type));
		if (type == ZMQ_EVENT_DISCONNECTED ||
			type == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH ||
			type == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
			type == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
			return 1;
	}
}

int
main(int argc, char **argv)
{
	char endpoint[64];
	int never = -1;
	int zero = 0;

	if (argc == 2 && strcmp(argv[1], "keypair") == 0)
	{
		char public_key[41];
		char secret_key[41];

		if (zmq_curve_keypair(public_key, secret_key) != 0)
			return 1;
		printf("%s\n%s\n", public_key, secret_key);
		return 0;
	}
	if (argc != 7)
		return 2;

	context = zmq_ctx_new();
	dealer = zmq_socket(context, ZMQ_DEALER);
	zmq_setsockopt(dealer, ZMQ_RECONNECT_IVL, &never, sizeof(never));
	zmq_setsockopt(dealer, ZMQ_LINGER, &zero, sizeof(zero));
	zmq_setsockopt(dealer, ZMQ_SNDHWM, &zero, sizeof(zero));
	if (argv[2][0] != '\0')
	{
		zmq_setsockopt(dealer, ZMQ_CURVE_SERVERKEY, argv[2], 41);
		zmq_setsockopt(dealer, ZMQ_CURVE_PUBLICKEY, argv[3], 41);
		zmq_setsockopt(dealer, ZMQ_CURVE_SECRETKEY, argv[4], 41);
	}
	zmq_socket_monitor(dealer, "inproc://monitor", ZMQ_EVENT_ALL);
	monitor = zmq_socket(context, ZMQ_PAIR);
	zmq_connect(monitor, "inproc://monitor");

	snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%s", argv[1]);
	if (zmq_connect(dealer, endpoint) != 0)
	{
		perror(endpoint);
		return 1;
	}
	do_what(argv[6], strtoull(argv[5], NULL, 10));
	puts(wait_for_end() ? "closed" : "open");
	return 0;
}
