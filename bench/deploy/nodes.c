/*
 * nodes.c
 *		Many nodes of dlog in one process, for measuring deploy_reduce.
 *
 *		nodes COUNT FIRST_PORT REAL_NODES
 *
 * Each node has a key, a number, a ROUTER at a port of its own and a DEALER
 * to each node that it talks to, and speaks the protocol between nodes
 * (docs/protocol.md, src/wire/): CURVE, greetings, epochs, sequences, pings,
 * the probes of membership.  What it does not have is a database.  Asked
 * dlog.deploy_merge(), it answers 1 after a delay; as the head of a branch it
 * asks those behind it, as a server would, and answers with the sum.
 *
 * REAL_NODES is a file: a line "name node_id port public_key" for each server.
 * At first a line "name node_id port public_key" of each node is printed and
 * then "ready".  From then on commands are read:
 *
 *		delay MS JITTER_MS		wait so long before an answer
 *		dead NUMBER				close all sockets of a node
 *		count					print "counted MESSAGES BYTES MOST", sent since the
 *								last count by all, and by the busiest node
 *
 * One thread does everything but libzmq's own.  ROUTERs only receive and
 * DEALERs only send, so epoll watches the ROUTERs alone.
 */
#include "c.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <zmq.h>

#include "port/pg_bswap.h"
#include "wire/wire.h"

/* Without the server's library. */
#undef printf
#undef fprintf
#undef snprintf

#define KEY_TEXT 41
#define NAME_SIZE 64
#define VALUE_COLUMNS 8
#define EXECUTOR_SLOT 7 /* no actor is behind it */
#define MAX_BRANCHES 4096

/* A node, real or simulated, as all know it. */
typedef struct Identity
{
	char name[NAME_SIZE];
	uint64 id;
	int port;
	char public_key[KEY_TEXT];
} Identity;

/* A frame that waits for its link. */
typedef struct Waiting
{
	struct Waiting *next;
	int n_inner; /* frames in it, if it is a bundle */
	Size size;
	char frame[FLEXIBLE_ARRAY_MEMBER];
} Waiting;

/* From one of our nodes to another node. */
typedef struct Link
{
	int peer; /* index into identities */
	void *dealer;
	uint64 epoch;	   /* ours; 0: none */
	uint64 peer_epoch; /* 0: none heard of */
	uint64 told_epoch; /* of theirs, in our last greeting */
	bool is_up;
	uint64 sequence;
	uint32 inbound_id; /* of their connection, as our ROUTER names it */
	Waiting *first;
	Waiting **last;
} Link;

typedef struct Node
{
	int index; /* of its identity */
	char secret_key[KEY_TEXT];
	void *router;
	uint64 instance;
	Link **links;
	int n_links;
	uint64 sent;
	uint64 sent_bytes;
} Node;

/* A branch that is being answered. */
typedef struct Job
{
	struct Job *next;
	Node *node;
	Link *asker;
	uint32 asker_slot;
	uint32 asker_incarnation;
	uint32 number; /* of our executor: incarnation of its address */
	uint64 due_us; /* our own answer; 0: it is there */
	int n_open;	   /* branches below that have not answered */
	int64 sum;
} Job;

static Identity *identities;
static int n_real;
static int n_all;
static Node *nodes; /* simulated; nodes[i] has identities[n_real + i] */
static int n_nodes;
static void *context;
static int epoll_fd;
static Job *jobs[4096]; /* by number */
static uint32 last_job;
static Job **due; /* a heap by due_us */
static int n_due;
static int max_due;
static int delay_us;
static int jitter_us;

static void
die(const char *what)
{
	fprintf(stderr, "nodes: %s: %s\n", what, zmq_strerror(errno));
	exit(1);
}

static void *
allocate(Size size)
{
	void *memory = calloc(1, size);

	if (memory == NULL)
		die("out of memory");
	return memory;
}

static uint64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint64
random64(void)
{
	return ((uint64) random() << 33) ^ ((uint64) random() << 11) ^ random();
}

static void
set_int(void *socket, int option, int value)
{
	if (zmq_setsockopt(socket, option, &value, sizeof(value)) != 0)
		die("zmq_setsockopt");
}

/* --- sending -------------------------------------------------------------------- */

/* An epoch has ended, theirs or ours. */
static void
link_start_over(Link *link)
{
	if (link->dealer != NULL)
		zmq_close(link->dealer);
	link->dealer = NULL;
	link->is_up = false;
	link->epoch = link->peer_epoch = link->told_epoch = 0;
	while (link->first != NULL)
	{
		Waiting *next = link->first->next;

		free(link->first);
		link->first = next;
	}
	link->last = &link->first;
}

static char *
put_u32(char *at, uint32 value)
{
	value = pg_hton32(value);
	memcpy(at, &value, sizeof(value));
	return at + sizeof(value);
}

static uint32
get_u32(const char *at)
{
	uint32 value;

	memcpy(&value, at, sizeof(value));
	return pg_ntoh32(value);
}

static void
number(char *frame, uint64 sequence)
{
	sequence = pg_hton64(sequence);
	memcpy(frame + 4, &sequence, sizeof(sequence));
}

/*
 * Number a frame, and those in it, and send it.  There is no limit to what waits in libzmq, so
 * that fails only when the connection is lost: the link starts over, once the
 * other side greets or somebody needs it.
 */
static void
send_made(Node *node, Link *link, Waiting *made)
{
	char *inner = made->frame + BUNDLE_HEAD_SIZE;

	if (link->dealer == NULL)
		return;
	number(made->frame, ++link->sequence);
	for (int i = 0; i < made->n_inner; i++)
	{
		number(inner + 4, ++link->sequence);
		inner += 4 + get_u32(inner);
	}
	if (zmq_send(link->dealer, made->frame, made->size, ZMQ_DONTWAIT) < 0)
	{
		link_start_over(link);
		return;
	}
	node->sent += Max(made->n_inner, 1);
	node->sent_bytes += made->size;
}

static Waiting *
make_frame(uint16 type, uint32 to_slot, uint32 to_incarnation, uint32 from_incarnation, Size payload)
{
	Waiting *made = allocate(offsetof(Waiting, frame) + FRAME_HEAD_SIZE + payload);
	FrameHead head = {
		.version = PROTOCOL_HIGHEST,
		.flags = FRAME_CONTROL,
		.type = type,
		.to_slot = to_slot,
		.to_incarnation = to_incarnation,
		.from_slot = from_incarnation != 0 ? EXECUTOR_SLOT : 0,
		.from_incarnation = from_incarnation,
	};

	made->size = FRAME_HEAD_SIZE + payload;
	frame_write(made->frame, &head);
	return made;
}

/* Several frames in one, as a server sends what it has for one node. */
static Waiting *
bundle_up(Waiting **frames, int n)
{
	Size size = 0;
	FrameHead head = {.version = PROTOCOL_HIGHEST, .flags = FRAME_CONTROL, .type = MESSAGE_BUNDLE};
	Waiting *bundle;
	char *at;

	for (int i = 0; i < n; i++)
		size += 4 + frames[i]->size;
	bundle = allocate(offsetof(Waiting, frame) + BUNDLE_HEAD_SIZE + size);
	bundle->n_inner = n;
	bundle->size = BUNDLE_HEAD_SIZE + size;
	bundle_begin(bundle->frame, &head, bundle->size);
	at = bundle->frame + BUNDLE_HEAD_SIZE;
	for (int i = 0; i < n; i++)
	{
		at = put_u32(at, (uint32) frames[i]->size);
		memcpy(at, frames[i]->frame, frames[i]->size);
		at += frames[i]->size;
		free(frames[i]);
	}
	return bundle;
}

/* Send now, or when the link is up. */
static void
post(Node *node, Link *link, Waiting *made)
{
	if (link->is_up)
	{
		send_made(node, link, made);
		free(made);
		return;
	}
	made->next = NULL;
	*link->last = made;
	link->last = &made->next;
}

#define MAKE(TYPE, lower, message, to_slot, to_incarnation, from) \
	({ \
		Size size_ = lower##_size(message); \
		Waiting *made_ = make_frame(MESSAGE_##TYPE, to_slot, to_incarnation, from, size_); \
		lower##_write(made_->frame + FRAME_HEAD_SIZE, size_, message); \
		made_; \
	})

/* --- links ------------------------------------------------------------------------ */

static void
open_dealer(Node *node, Link *link)
{
	Identity *peer = &identities[link->peer];
	char endpoint[64];

	link->dealer = zmq_socket(context, ZMQ_DEALER);
	if (link->dealer == NULL)
		die("zmq_socket");
	set_int(link->dealer, ZMQ_LINGER, 0);
	set_int(link->dealer, ZMQ_SNDHWM, 0);
	set_int(link->dealer, ZMQ_RECONNECT_IVL, -1);
	set_int(link->dealer, ZMQ_TCP_KEEPALIVE, 1);
	set_int(link->dealer, ZMQ_TCP_KEEPALIVE_IDLE, 3);
	set_int(link->dealer, ZMQ_TCP_MAXRT, 6000);
	if (zmq_setsockopt(link->dealer, ZMQ_CURVE_SERVERKEY, peer->public_key, KEY_TEXT - 1) != 0 ||
		zmq_setsockopt(link->dealer, ZMQ_CURVE_PUBLICKEY, identities[node->index].public_key, KEY_TEXT - 1) != 0 ||
		zmq_setsockopt(link->dealer, ZMQ_CURVE_SECRETKEY, node->secret_key, KEY_TEXT - 1) != 0)
		die("setting keys");
	snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", peer->port);
	if (zmq_connect(link->dealer, endpoint) != 0)
		die(endpoint);
	link->epoch = random64() | 1;
	link->sequence = 0;
}

static WireBytes
text_of(const char *text)
{
	return (WireBytes){.size = (uint32) strlen(text), .data = text};
}

static void
greet(Node *node, Link *link)
{
	HelloMessage hello = {
		.version_lowest = PROTOCOL_LOWEST,
		.version_highest = PROTOCOL_HIGHEST,
		.node_id = identities[node->index].id,
		.epoch = link->epoch,
		.peer_epoch = link->peer_epoch,
		.node = text_of(identities[node->index].name),
		.server_version = PG_VERSION_NUM,
		.architecture = text_of("simulated"),
		.max_message_size = FRAME_MAX_PAYLOAD,
		.instance = node->instance,
	};
	Waiting *made = MAKE(HELLO, hello, &hello, 0, 0, 0);

	send_made(node, link, made);
	free(made);
	link->told_epoch = link->peer_epoch;
}

static Link *
link_to(Node *node, int peer)
{
	Link *link;

	for (int i = 0; i < node->n_links; i++)
	{
		if (node->links[i]->peer == peer)
			return node->links[i];
	}
	node->links = realloc(node->links, sizeof(Link *) * (node->n_links + 1));
	if (node->links == NULL)
		die("out of memory");
	link = node->links[node->n_links++] = allocate(sizeof(Link));
	link->peer = peer;
	link->last = &link->first;
	return link;
}

/* A link that somebody needs: greet first. */
static Link *
link_wanted(Node *node, int peer)
{
	Link *link = link_to(node, peer);

	if (link->dealer == NULL)
	{
		open_dealer(node, link);
		greet(node, link);
	}
	return link;
}

static void
hear_hello(Node *node, uint32 inbound_id, const HelloMessage *hello)
{
	int peer = 0;
	Link *link;

	while (peer < n_all && identities[peer].id != hello->node_id)
		peer++;
	if (peer == n_all)
		return;
	link = link_to(node, peer);
	if (link->peer_epoch != 0 && link->peer_epoch != hello->epoch && link->dealer != NULL &&
		hello->peer_epoch != link->epoch)
		link_start_over(link);
	link->inbound_id = inbound_id;
	link->peer_epoch = hello->epoch;
	if (link->dealer == NULL)
		open_dealer(node, link);
	if (link->told_epoch != link->peer_epoch)
		greet(node, link);
	if (hello->peer_epoch == link->epoch && !link->is_up)
	{
		Waiting *made = link->first;

		link->is_up = true;
		link->first = NULL;
		link->last = &link->first;
		while (made != NULL)
		{
			Waiting *next = made->next;

			post(node, link, made);
			made = next;
		}
	}
}

/* --- jobs ------------------------------------------------------------------------- */

static Job **
job_place(uint32 number)
{
	Job **place = &jobs[number % lengthof(jobs)];

	while (*place != NULL && (*place)->number != number)
		place = &(*place)->next;
	return place;
}

/* The answer: one row of dlog.deploy_merge(), its columns in binary. */
static void
job_answer(Job *job)
{
	StartedMessage started = {.pid = (uint32) getpid(), .credits = 8};
	ChunkMessage chunk = {.rows = 1};
	EndMessage end = {.rows = 1, .run_us = 1, .tag = text_of("SELECT 1")};
	Waiting *words[3];
	char row[64];
	char *at = put_u32(row + 4, sizeof(uint64));
	uint64 sum = pg_hton64((uint64) job->sum);

	memcpy(at, &sum, sizeof(sum));
	at = put_u32(at + sizeof(sum), 1);
	*at++ = 1;
	for (int i = 2; i < VALUE_COLUMNS; i++)
		at = put_u32(at, PG_UINT32_MAX); /* null */
	put_u32(row, (uint32) (at - row - 4));
	chunk.bytes = (WireBytes){.size = (uint32) (at - row), .data = row};
	words[0] = MAKE(STARTED, started, &started, job->asker_slot, job->asker_incarnation, job->number);
	words[1] = MAKE(CHUNK, chunk, &chunk, job->asker_slot, job->asker_incarnation, job->number);
	words[2] = MAKE(END, end, &end, job->asker_slot, job->asker_incarnation, job->number);
	post(job->node, job->asker, bundle_up(words, lengthof(words)));
}

static void
job_finish_if_done(Job *job)
{
	Job **place = job_place(job->number);

	if (job->due_us != 0 || job->n_open > 0)
		return;
	job_answer(job);
	*place = job->next;
	free(job);
}

static void
heap_swap(int a, int b)
{
	Job *job = due[a];

	due[a] = due[b];
	due[b] = job;
}

static void
heap_push(Job *job)
{
	int at = n_due++;

	if (n_due > max_due)
	{
		max_due = Max(max_due * 2, 64);
		due = realloc(due, sizeof(Job *) * max_due);
		if (due == NULL)
			die("out of memory");
	}
	due[at] = job;
	for (; at > 0 && due[(at - 1) / 2]->due_us > due[at]->due_us; at = (at - 1) / 2)
		heap_swap(at, (at - 1) / 2);
}

static Job *
heap_pop(void)
{
	Job *job = due[0];
	int at = 0;

	due[0] = due[--n_due];
	for (;;)
	{
		int child = 2 * at + 1;

		if (child + 1 < n_due && due[child + 1]->due_us < due[child]->due_us)
			child++;
		if (child >= n_due || due[at]->due_us <= due[child]->due_us)
			return job;
		heap_swap(at, child);
		at = child;
	}
}

static void
run_due_jobs(void)
{
	while (n_due > 0 && due[0]->due_us <= now_us())
	{
		Job *job = heap_pop();

		job->due_us = 0;
		job_finish_if_done(job);
	}
}

/* --- what a request says ---------------------------------------------------------- */

/* The names of those behind the head: an array of text, in binary. */
static int
read_names(const char *at, int *indexes)
{
	int n = get_u32(at) == 0 ? 0 : (int) get_u32(at + 12);

	at += 20;
	for (int i = 0; i < n && i < MAX_BRANCHES; i++)
	{
		int size = (int) get_u32(at);
		char name[NAME_SIZE];

		snprintf(name, sizeof(name), "%.*s", size, at + 4);
		at += 4 + size;
		indexes[i] = n_real + atoi(name + 1) - 1;
	}
	return n;
}

/* A request for the head of a branch: as ours, but for who is behind it. */
static void
ask_branch(Job *job, const RequestMessage *request, const FrameHead *head, const char *run, Size run_size,
		   Size before, Size after, const int *indexes, int count)
{
	RequestMessage copy = *request;
	static char body[FRAME_MAX_PAYLOAD];
	char *at = body + request->statement_size;
	char *size_at;

	if (count > 0 && request->statement_size + before + after + (Size) count * NAME_SIZE > sizeof(body) - 1024)
		die("the request is too large");
	memcpy(body, request->body.data, request->statement_size);
	memcpy(at, run, before);
	size_at = at + before;
	at = size_at + 4;
	at = put_u32(at, count > 1 ? 1 : 0);
	at = put_u32(at, 0);
	at = put_u32(at, 25); /* text */
	if (count > 1)
	{
		at = put_u32(at, (uint32) count - 1);
		at = put_u32(at, 1);
	}
	for (int i = 1; i < count; i++)
	{
		const char *name = identities[indexes[i]].name;

		at = put_u32(at, (uint32) strlen(name));
		memcpy(at, name, strlen(name));
		at += strlen(name);
	}
	put_u32(size_at, (uint32) (at - size_at - 4));
	memcpy(at, run + run_size - after, after);
	at += after;
	copy.body = (WireBytes){.size = (uint32) (at - body), .data = body};
	copy.body_size = copy.body.size;
	copy.asker = text_of(identities[job->node->index].name);
	post(job->node, link_wanted(job->node, indexes[0]), MAKE(REQUEST, request, &copy, 0, head->to_incarnation, job->number));
}

static void
ask_branches(Job *job, const RequestMessage *request, const FrameHead *head)
{
	static int indexes[MAX_BRANCHES];
	const char *run = request->body.data + request->statement_size;
	Size run_size = request->body.size - request->statement_size;
	const char *fanin_at = strstr(request->body.data, "$1, $2, ");
	int fanin = fanin_at != NULL ? atoi(fanin_at + 8) : 32;
	Size before = 4 + get_u32(run) + 1; /* application_name; $1 is not null */
	Size array = get_u32(run + before);
	int n = read_names(run + before + 4, indexes);
	int n_branches = Min(n, fanin);
	int first = 0;

	job->n_open = n_branches;
	for (int i = 0; i < n_branches; i++)
	{
		int count = (n - first) / (n_branches - i);

		ask_branch(job, request, head, run, run_size, before, run_size - before - 4 - array, indexes + first, count);
		first += count;
	}
}

static void
hear_request(Node *node, Link *link, const FrameHead *head, const char *payload, Size size)
{
	RequestMessage request;
	Job *job;
	Job **place;

	if (!request_read(payload, size, &request) || request.body.size < request.body_size)
		die("a request that is not understood");
	job = allocate(sizeof(Job));
	job->node = node;
	job->asker = link;
	job->asker_slot = head->from_slot;
	job->asker_incarnation = head->from_incarnation;
	job->number = ++last_job;
	job->sum = 1;
	place = job_place(job->number);
	*place = job;
	ask_branches(job, &request, head);
	if (delay_us + jitter_us > 0)
	{
		job->due_us = now_us() + delay_us + (jitter_us > 0 ? random() % jitter_us : 0);
		heap_push(job);
	}
	job_finish_if_done(job);
}

static void
hear_chunk(const FrameHead *head, const char *payload, Size size)
{
	Job *job = *job_place(head->to_incarnation);
	ChunkMessage chunk;
	uint64 value;

	if (job == NULL || !chunk_read(payload, size, &chunk) || chunk.bytes.size < 16)
		return;
	memcpy(&value, chunk.bytes.data + 8, sizeof(value));
	job->sum += (int64) pg_ntoh64(value);
}

static void
hear_end(const FrameHead *head)
{
	Job *job = *job_place(head->to_incarnation);

	if (job == NULL)
		return;
	job->n_open--;
	job_finish_if_done(job);
}

/* --- the rest of the protocol ------------------------------------------------------- */

/* We are alive, as each of us always was. */
static void
acknowledge(Node *node, Link *link, uint32 sequence)
{
	char rumor[20] = {1};
	uint64 id = pg_hton64(identities[node->index].id);
	uint64 incarnation = pg_hton64(1);
	ProbeAckMessage ack = {.sequence = sequence, .rumors = {.size = sizeof(rumor), .data = rumor}};

	memcpy(rumor + 1, &id, sizeof(id));
	memcpy(rumor + 9, &incarnation, sizeof(incarnation));
	post(node, link, MAKE(PROBE_ACK, probe_ack, &ack, 0, 0, 0));
}

static void hear_frame(Node *node, uint32 inbound_id, const char *data, Size frame_size);

static void
hear_bundle(Node *node, uint32 inbound_id, const char *payload, Size size)
{
	BundleMessage bundle;
	const char *frame;

	if (!bundle_read(payload, size, &bundle))
		die("a bundle that is not understood");
	while (bundle.frames.size > 0)
	{
		Size left = bundle.frames.size;

		if (!bundle_next(&bundle.frames.data, &left, &frame, &size))
			die("a bundle that is not understood");
		bundle.frames.size = (uint32) left;
		hear_frame(node, inbound_id, frame, size);
	}
}

static void
hear_frame(Node *node, uint32 inbound_id, const char *data, Size frame_size)
{
	const char *payload = data + FRAME_HEAD_SIZE;
	Size size = frame_size - FRAME_HEAD_SIZE;
	FrameHead head;
	Link *link = NULL;

	if (frame_read(data, frame_size, &head) != FRAME_OK)
		die("a frame that is not understood");
	if (head.type == MESSAGE_HELLO)
	{
		HelloMessage hello;

		if (hello_read(payload, size, &hello))
			hear_hello(node, inbound_id, &hello);
		return;
	}
	for (int i = 0; i < node->n_links && link == NULL; i++)
	{
		if (node->links[i]->inbound_id == inbound_id)
			link = node->links[i];
	}
	if (link == NULL || link->dealer == NULL)
		return; /* of an epoch that has ended */
	switch (head.type)
	{
		case MESSAGE_PING:
		{
			PingMessage ping;
			PongMessage pong;

			if (ping_read(payload, size, &ping))
			{
				pong.sent_us = ping.sent_us;
				post(node, link, MAKE(PONG, pong, &pong, 0, 0, 0));
			}
			break;
		}
		case MESSAGE_PROBE:
		{
			ProbeMessage probe;

			if (probe_read(payload, size, &probe))
				acknowledge(node, link, probe.sequence);
			break;
		}
		case MESSAGE_PROBE_REQUEST:
		{
			ProbeRequestMessage probe;

			/* It could not reach the target, and neither can we. */
			if (probe_request_read(payload, size, &probe))
			{
				ProbeNackMessage nack = {.sequence = probe.sequence};

				post(node, link, MAKE(PROBE_NACK, probe_nack, &nack, 0, 0, 0));
			}
			break;
		}
		case MESSAGE_BUNDLE:
			hear_bundle(node, inbound_id, payload, size);
			break;
		case MESSAGE_REQUEST:
			hear_request(node, link, &head, payload, size);
			break;
		case MESSAGE_CHUNK:
			hear_chunk(&head, payload, size);
			break;
		case MESSAGE_END:
			hear_end(&head);
			break;
		default:
			break; /* gossip, and what has no answer */
	}
}

static void
hear_router(Node *node)
{
	char id[64];
	int id_size;

	while (node->router != NULL && (id_size = zmq_recv(node->router, id, sizeof(id), ZMQ_DONTWAIT)) >= 0)
	{
		zmq_msg_t frame;
		uint32 inbound_id;

		zmq_msg_init(&frame);
		if (zmq_msg_recv(&frame, node->router, ZMQ_DONTWAIT) < 0)
			return;
		if (id_size == 5)
		{
			memcpy(&inbound_id, id + 1, sizeof(inbound_id));
			hear_frame(node, inbound_id, zmq_msg_data(&frame), zmq_msg_size(&frame));
		}
		zmq_msg_close(&frame);
	}
}

/* --- start and commands --------------------------------------------------------------- */

static void
read_real_nodes(const char *path)
{
	FILE *file = fopen(path, "r");
	Identity *real;

	if (file == NULL)
		die(path);
	for (real = identities; fscanf(file, "%63s %ld %d %40s", real->name, (long *) &real->id, &real->port, real->public_key) == 4; real++)
		n_real++;
	fclose(file);
}

static void
open_node(Node *node, int number, int port)
{
	Identity *identity = &identities[n_real + number];
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = (uint32) number};
	char endpoint[64];
	int fd;
	size_t size = sizeof(fd);

	node->index = n_real + number;
	node->instance = random64();
	snprintf(identity->name, NAME_SIZE, "s%04d", number + 1);
	identity->id = random64() >> 1;
	identity->port = port;
	if (zmq_curve_keypair(identity->public_key, node->secret_key) != 0)
		die("zmq_curve_keypair");
	node->router = zmq_socket(context, ZMQ_ROUTER);
	if (node->router == NULL)
		die("zmq_socket");
	set_int(node->router, ZMQ_LINGER, 0);
	set_int(node->router, ZMQ_RCVHWM, 0);
	set_int(node->router, ZMQ_CURVE_SERVER, 1);
	if (zmq_setsockopt(node->router, ZMQ_CURVE_SECRETKEY, node->secret_key, KEY_TEXT - 1) != 0)
		die("setting keys");
	snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", port);
	if (zmq_bind(node->router, endpoint) != 0)
		die(endpoint);
	if (zmq_getsockopt(node->router, ZMQ_FD, &fd, &size) != 0 ||
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
	printf("%s %ld %d %s\n", identity->name, (long) identity->id, identity->port, identity->public_key);
}

static void
close_node(Node *node)
{
	for (int i = 0; i < node->n_links; i++)
	{
		if (node->links[i]->dealer != NULL)
			zmq_close(node->links[i]->dealer);
	}
	node->n_links = 0;
	if (node->router != NULL)
		zmq_close(node->router);
	node->router = NULL;
}

static void
count(void)
{
	uint64 messages = 0;
	uint64 bytes = 0;
	uint64 most = 0;

	for (int i = 0; i < n_nodes; i++)
	{
		messages += nodes[i].sent;
		bytes += nodes[i].sent_bytes;
		most = Max(most, nodes[i].sent);
		nodes[i].sent = nodes[i].sent_bytes = 0;
	}
	printf("counted %lu %lu %lu\n", (unsigned long) messages, (unsigned long) bytes, (unsigned long) most);
}

/* False at the end of the input. */
static bool
run_command(void)
{
	char line[256];
	double delay_ms;
	double jitter_ms;
	int number;

	if (fgets(line, sizeof(line), stdin) == NULL)
		return false;
	if (sscanf(line, "delay %lf %lf", &delay_ms, &jitter_ms) == 2)
	{
		delay_us = (int) (delay_ms * 1000);
		jitter_us = (int) (jitter_ms * 1000);
		puts("delayed");
	}
	else if (sscanf(line, "dead %d", &number) == 1 && number > 0 && number <= n_nodes)
	{
		close_node(&nodes[number - 1]);
		puts("dead");
	}
	else if (strcmp(line, "count\n") == 0)
		count();
	else
		puts("what?");
	fflush(stdout);
	return true;
}

static int
sleep_ms(void)
{
	uint64 now = now_us();

	if (n_due == 0)
		return -1;
	return due[0]->due_us <= now ? 0 : (int) ((due[0]->due_us - now + 999) / 1000);
}

int
main(int argc, char **argv)
{
	struct epoll_event input = {.events = EPOLLIN, .data.u32 = PG_UINT32_MAX};
	struct rlimit files;
	int port;

	if (argc != 4)
	{
		fprintf(stderr, "nodes COUNT FIRST_PORT REAL_NODES\n");
		return 2;
	}
	n_nodes = atoi(argv[1]);
	port = atoi(argv[2]);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	srandom((unsigned) (now_us() ^ (uint64) getpid()));

	identities = allocate(sizeof(Identity) * (n_nodes + 1024));
	nodes = allocate(sizeof(Node) * n_nodes);
	read_real_nodes(argv[3]);
	n_all = n_real + n_nodes;
	context = zmq_ctx_new();
	zmq_ctx_set(context, ZMQ_MAX_SOCKETS, zmq_ctx_get(context, ZMQ_SOCKET_LIMIT));
	epoll_fd = epoll_create1(0);
	for (int i = 0; i < n_nodes; i++)
		open_node(&nodes[i], i, port + i);
	puts("ready");
	fflush(stdout);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input) != 0)
		die("epoll_ctl");

	/* A ROUTER tells of what comes only after it was once found empty. */
	for (int i = 0; i < n_nodes; i++)
		hear_router(&nodes[i]);
	for (;;)
	{
		struct epoll_event events[256];
		int n = epoll_wait(epoll_fd, events, lengthof(events), sleep_ms());

		for (int i = 0; i < n; i++)
		{
			if (events[i].data.u32 != PG_UINT32_MAX)
				hear_router(&nodes[events[i].data.u32]);
			else if (!run_command())
				return 0;
		}
		run_due_jobs();
	}
}
