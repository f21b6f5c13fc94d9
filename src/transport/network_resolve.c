/*
 * network_resolve.c
 *		Finds the address of a host without holding up all links.
 *
 * The resolver of the C library blocks, for many seconds when a name server
 * is gone.  So a host that is not written as a number is resolved by a
 * thread of its own, which hands the answer back through a pipe.  libzmq only
 * ever sees numbers.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/network.h"

/* What a thread is asked and answers; written to the pipe at once. */
typedef struct Resolution
{
	uint32 node;
	uint32 generation;
	char host[HOST_SIZE];
	char address[INET6_ADDRSTRLEN];
	char error[REASON_SIZE];
} Resolution;

static int answer_pipe[2];

/*
 * resolve_init
 *		Make the pipe and watch it.
 */
bool
resolve_init(void)
{
	/* A Resolution fits into PIPE_BUF, so that its write is not torn. */
	StaticAssertStmt(sizeof(Resolution) <= 4096, "a resolution is too large");

	if (pipe2(answer_pipe, O_CLOEXEC) != 0)
		return false;
	if (fcntl(answer_pipe[0], F_SETFL, O_NONBLOCK) != 0)
		return false;
	network_watch(answer_pipe[0], SOURCE_RESOLVER, 0);
	return true;
}

/* The thread.  It must not touch anything but its resolution and the pipe. */
static void *
resolve(void *argument)
{
	Resolution *resolution = argument;
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int result = getaddrinfo(resolution->host, NULL, &hints, &found);

	if (result != 0)
		strlcpy(resolution->error, gai_strerror(result), REASON_SIZE);
	else
	{
		result = getnameinfo(found->ai_addr, found->ai_addrlen,
							 resolution->address, INET6_ADDRSTRLEN,
							 NULL, 0, NI_NUMERICHOST);
		if (result != 0)
			strlcpy(resolution->error, gai_strerror(result), REASON_SIZE);
		freeaddrinfo(found);
	}
	while (write(answer_pipe[1], resolution, sizeof(*resolution)) < 0 &&
		   errno == EINTR)
		;
	free(resolution);
	return NULL;
}

/*
 * resolve_start
 *		Ask for the address of a peer's host; peer_resolved() has the answer.
 */
void
resolve_start(Peer *peer)
{
	Resolution *resolution = calloc(1, sizeof(Resolution));
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all;
	sigset_t previous;
	int result;

	if (resolution == NULL)
		abort();
	resolution->node = peer->node;
	resolution->generation = peer->entry.generation;
	strlcpy(resolution->host, peer->entry.host, HOST_SIZE);

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &previous);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	peer->is_resolving = true;
	result = pthread_create(&thread, &attributes, resolve, resolution);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &previous, NULL);

	if (result != 0)
	{
		free(resolution);
		peer->is_resolving = false;
		peer_resolved(peer, NULL, "no thread could be started to resolve its host");
	}
}

/*
 * resolve_finish
 *		Hand on all answers that have come.
 */
void
resolve_finish(void)
{
	Resolution resolution;

	while (read(answer_pipe[0], &resolution, sizeof(resolution)) == sizeof(resolution))
	{
		Peer *peer = &network.peers[resolution.node];

		if (!peer->in_use || !peer->is_resolving ||
			peer->entry.generation != resolution.generation)
			continue; /* the node has gone meanwhile */
		peer->is_resolving = false;
		if (resolution.error[0] != '\0')
			peer_resolved(peer, NULL, resolution.error);
		else
			peer_resolved(peer, resolution.address, NULL);
	}
}
