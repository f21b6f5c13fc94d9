/*
 * thread_actors.c CASE MILLISECONDS [ACTORS]
 *		The cases with a thread for each actor: its mailbox is an array behind
 *		a mutex, and it waits on a condition variable.
 *
 * Whoever receives takes all that is there at once, and a sender signals only
 * when the mailbox was empty, as one would do it by hand.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "measure.h"

typedef enum MessageType
{
	GO,
	BALL,
	DATA,
	LAST, /* of a chunk: acknowledge it */
	ACK,
	PING,
	PONG,
	MEET,
	CHANGE,
	STOP
} MessageType;

typedef struct Message
{
	MessageType type;
	uint32_t from;
	uint64_t argument;
	uint64_t sent_at; /* 0: not timed */
	char padding[40];
} Message;

typedef struct Actor
{
	pthread_mutex_t lock; /* guards the next four */
	pthread_cond_t not_empty;
	Message *waiting;
	uint32_t n_waiting;
	uint32_t capacity;
	Message *batch; /* its thread's alone, as is all that follows */
	uint32_t batch_capacity;
	uint64_t received;
	uint64_t left; /* of what it is to do */
	uint64_t sent;
	uint64_t sum;
	uint64_t random;
	uint64_t color;
	uint32_t partner; /* of the mall: who waits there, or NOBODY */
	uint32_t acknowledged;
	pthread_t thread;
} Actor;

#define NOBODY UINT32_MAX

/* Handles a message; false: the actor is done. */
typedef bool (*Handler)(uint32_t me, Actor *actor, const Message *message);

static Actor *actors;
static uint32_t n_actors;
static Handler handler;

static void
tell(uint32_t to, Message message)
{
	Actor *actor = &actors[to];
	bool was_empty;

	pthread_mutex_lock(&actor->lock);
	was_empty = actor->n_waiting == 0;
	if (actor->n_waiting == actor->capacity)
	{
		actor->capacity = actor->capacity ? 2 * actor->capacity : 4;
		actor->waiting = realloc(actor->waiting, actor->capacity * sizeof(Message));
		if (actor->waiting == NULL)
			abort();
	}
	actor->waiting[actor->n_waiting++] = message;
	pthread_mutex_unlock(&actor->lock);
	if (was_empty)
		pthread_cond_signal(&actor->not_empty);
}

/* Everything that waits, in the actor's batch. */
static uint32_t
receive(Actor *actor)
{
	Message *batch;
	uint32_t capacity;
	uint32_t n;

	pthread_mutex_lock(&actor->lock);
	while (actor->n_waiting == 0)
		pthread_cond_wait(&actor->not_empty, &actor->lock);
	batch = actor->waiting;
	capacity = actor->capacity;
	n = actor->n_waiting;
	actor->waiting = actor->batch;
	actor->capacity = actor->batch_capacity;
	actor->n_waiting = 0;
	pthread_mutex_unlock(&actor->lock);
	actor->batch = batch;
	actor->batch_capacity = capacity;
	return n;
}

static void *
actor_main(void *argument)
{
	Actor *actor = argument;
	uint32_t me = actor - actors;

	for (;;)
	{
		uint32_t n = receive(actor);
		uint32_t i;

		for (i = 0; i < n; i++)
		{
			if (actor->batch[i].type != GO && actor->batch[i].type != STOP)
				actor->received++;
			if (!handler(me, actor, &actor->batch[i]))
				return NULL;
		}
	}
}

/* So many actors, each with so much to do; they wait for what comes. */
static void
actors_create(uint32_t n, uint64_t left, Handler what)
{
	pthread_attr_t attributes;
	uint32_t i;

	n_actors = n;
	handler = what;
	actors = calloc(n, sizeof(Actor));
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * 1024);
	for (i = 0; i < n; i++)
	{
		pthread_mutex_init(&actors[i].lock, NULL);
		pthread_cond_init(&actors[i].not_empty, NULL);
		actors[i].left = left;
		actors[i].random = i * UINT64_C(0x9E3779B97F4A7C15) + 1;
		actors[i].color = i % 3;
		actors[i].partner = NOBODY;
	}
	for (i = 0; i < n; i++)
		if (pthread_create(&actors[i].thread, &attributes, actor_main, &actors[i]) != 0)
			fail("threads", n, i);
	pthread_attr_destroy(&attributes);
}

/* Actors that are not done yet. */
static pthread_mutex_t done_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_done = PTHREAD_COND_INITIALIZER;
static uint32_t n_to_do;

static void
is_done(void)
{
	pthread_mutex_lock(&done_lock);
	if (--n_to_do == 0)
		pthread_cond_signal(&all_done);
	pthread_mutex_unlock(&done_lock);
}

/* Wait until all that were to do something are done; let all actors end. */
static Run
finish(Run run)
{
	uint64_t received = 0;
	uint32_t i;

	pthread_mutex_lock(&done_lock);
	while (n_to_do > 0)
		pthread_cond_wait(&all_done, &done_lock);
	pthread_mutex_unlock(&done_lock);
	run_end(&run);
	for (i = 0; i < n_actors; i++)
		tell(i, (Message){STOP});
	for (i = 0; i < n_actors; i++)
	{
		pthread_join(actors[i].thread, NULL);
		received += actors[i].received;
		free(actors[i].waiting);
		free(actors[i].batch);
	}
	free(actors);
	if (received != run.operations)
		fail("messages", run.operations, received);
	return run;
}

/* ------------------------------------------------------------------ cases */

static uint32_t stride; /* from an actor to its partner */

static bool
handle_ball(uint32_t me, Actor *actor, const Message *message)
{
	uint32_t partner = me < stride ? me + stride : me - stride;
	uint64_t sent_at = 0;

	if (message->type == STOP)
		return false;
	if (me < stride)
	{
		histogram_add(message->sent_at);
		if (actor->left == 0)
		{
			is_done();
			return true;
		}
		sent_at = time_of_nth(actor->left-- + me, SAMPLE_EVERY);
	}
	else
		sent_at = message->sent_at;
	tell(partner, (Message){BALL, me, 0, sent_at});
	return true;
}

static Run
run_pairs(uint32_t pairs, uint64_t operations)
{
	uint64_t round_trips = operations / pairs / 2 + 1;
	Run run;
	uint32_t i;

	stride = pairs;
	n_to_do = pairs;
	actors_create(2 * pairs, round_trips, handle_ball);
	run = run_begin(2 * round_trips * pairs);
	for (i = 0; i < pairs; i++)
		tell(i, (Message){GO});
	return finish(run);
}

static Run
run_pair(uint64_t operations, uint32_t unused)
{
	return run_pairs(1, operations);
}

static Run
run_ping_pong(uint64_t operations, uint32_t unused)
{
	return run_pairs(PAIRS, operations);
}

/*
 * Counting and fan_in: producers, from 1 on, send chunks to actor 0, which
 * acknowledges each.  "left" is chunks that are still to be sent.
 */
static uint32_t chunk;
static uint64_t chunks;

static bool
handle_chunks(uint32_t me, Actor *actor, const Message *message)
{
	uint32_t i;

	histogram_add(message->sent_at);
	if (me == 0)
		actor->sum += message->argument;
	switch (message->type)
	{
		case STOP:
			if (me == 0 && actor->sum != chunks * (n_actors - 1) * chunk * (chunk + 1) / 2)
				fail("their sum", chunks * (n_actors - 1) * chunk * (chunk + 1) / 2, actor->sum);
			return false;
		case LAST:
			tell(message->from, (Message){ACK, me});
			return true;
		case ACK:
			if (++actor->acknowledged == chunks)
				is_done();
			/* FALLTHROUGH */
		case GO:
			if (actor->left == 0)
				return true;
			actor->left--;
			for (i = 1; i <= chunk; i++)
				tell(0, (Message){i == chunk ? LAST : DATA, me, i, time_of_nth(actor->sent++, SAMPLE_EVERY)});
			return true;
		default:
			return true;
	}
}

static Run
run_producers(uint32_t producers, uint32_t chunk_size, uint32_t in_flight, uint64_t operations)
{
	Run run;
	uint32_t i;

	chunk = chunk_size;
	chunks = operations / producers / chunk_size + 1;
	n_to_do = producers;
	actors_create(producers + 1, chunks, handle_chunks);
	run = run_begin(producers * chunks * (chunk_size + 1));
	for (i = 0; i < producers * in_flight; i++)
		tell(1 + i % producers, (Message){GO});
	return finish(run);
}

static Run
run_counting(uint64_t operations, uint32_t unused)
{
	return run_producers(1, CHUNK, CHUNKS_IN_FLIGHT, operations);
}

static Run
run_fan_in(uint64_t operations, uint32_t unused)
{
	return run_producers(PRODUCERS, PRODUCER_CHUNK, PRODUCER_CHUNKS_IN_FLIGHT, operations);
}

/* Actor 0 forks a round to the workers, and joins their acknowledgements. */
static bool
handle_fork_join(uint32_t me, Actor *actor, const Message *message)
{
	uint32_t i;
	uint32_t k;

	if (message->type == STOP)
		return false;
	histogram_add(message->sent_at);
	if (message->type == LAST)
		tell(0, (Message){ACK, me});
	if (message->type == ACK && ++actor->acknowledged % WORKERS != 0)
		return true;
	if (me != 0)
		return true;
	if (message->type == ACK && actor->acknowledged == chunks * WORKERS)
		is_done();
	if (actor->left == 0)
		return true;
	actor->left--;
	for (i = 1; i <= MESSAGES_PER_WORKER; i++)
		for (k = 1; k <= WORKERS; k++)
			tell(k, (Message){i == MESSAGES_PER_WORKER ? LAST : DATA, me, i, time_of_nth(actor->sent++, SAMPLE_EVERY)});
	return true;
}

static Run
run_fork_join(uint64_t operations, uint32_t unused)
{
	Run run;
	int i;

	chunks = operations / (WORKERS * MESSAGES_PER_WORKER) + 1;
	n_to_do = 1;
	actors_create(1 + WORKERS, chunks, handle_fork_join);
	run = run_begin(chunks * WORKERS * (MESSAGES_PER_WORKER + 1));
	for (i = 0; i < ROUNDS_IN_FLIGHT; i++)
		tell(0, (Message){GO});
	return finish(run);
}

static bool
handle_ring(uint32_t me, Actor *actor, const Message *message)
{
	if (message->type == STOP)
		return false;
	histogram_add(message->sent_at);
	if (message->argument == 0)
		is_done();
	else
		tell((me + 1) % RING, (Message){BALL, me, message->argument - 1, time_of_nth(message->argument, SAMPLE_EVERY)});
	return true;
}

static Run
run_ring(uint64_t operations, uint32_t unused)
{
	Run run;

	n_to_do = 1;
	actors_create(RING, 0, handle_ring);
	run = run_begin(operations);
	tell(0, (Message){BALL, 0, operations - 1});
	return finish(run);
}

/*
 * Big, million, latency: an actor pings a random one, awaits its pong, and so
 * on.  All take part; the first "n_to_do" ask.
 */
static uint64_t sample_every;

static bool
handle_big(uint32_t me, Actor *actor, const Message *message)
{
	uint64_t sent_at = 0;

	if (message->type == STOP)
		return false;
	if (message->type == PING)
	{
		tell(message->from, (Message){PONG, me, 0, message->sent_at});
		return true;
	}
	histogram_add(message->sent_at);
	if (actor->left == 0)
	{
		is_done();
		return true;
	}
	sent_at = time_of_nth(actor->left-- + me / 8, sample_every);
	tell(random_other(&actor->random, n_actors, me), (Message){PING, me, 0, sent_at});
	return true;
}

static Run
run_askers(uint32_t n, uint32_t askers, uint64_t operations)
{
	uint64_t round_trips = operations / askers / 2 + 1;
	Run run;
	uint32_t i;

	n_to_do = askers;
	sample_every = askers < n ? LATENCY_SAMPLE_EVERY : SAMPLE_EVERY;
	actors_create(n, round_trips, handle_big);
	run = run_begin(2 * round_trips * askers);
	for (i = 0; i < askers; i++)
		tell((uint64_t) i * n / askers, (Message){GO});
	return finish(run);
}

static Run
run_big(uint64_t operations, uint32_t unused)
{
	return run_askers(BIG, BIG, operations);
}

static Run
run_million(uint64_t operations, uint32_t n)
{
	return run_askers(n, n, operations);
}

static Run
run_latency(uint64_t operations, uint32_t n)
{
	return run_askers(n, n < LATENCY_IN_FLIGHT ? n : LATENCY_IN_FLIGHT, operations);
}

/*
 * The mall, actor 0, makes creatures meet in pairs: it tells the second of
 * the first, which tells its color, and both come again.
 */
static bool
handle_chameneos(uint32_t me, Actor *actor, const Message *message)
{
	if (message->type == STOP)
		return false;
	histogram_add(message->sent_at);
	if (me == 0)
	{
		if (actor->left == 0)
		{
			actor->received--;
			if (++actor->acknowledged == CREATURES)
				is_done();
		}
		else if (actor->partner == NOBODY)
		{
			actor->partner = message->from;
			actor->color = message->argument;
		}
		else
		{
			tell(actor->partner, (Message){MEET, message->from, message->argument,
										   time_of_nth(actor->left--, SAMPLE_EVERY)});
			actor->partner = NOBODY;
		}
		return true;
	}
	if (message->type == MEET)
	{
		if (actor->color != message->argument)
			actor->color = 3 - actor->color - message->argument;
		tell(message->from, (Message){CHANGE, me, actor->color});
	}
	else if (message->type == CHANGE)
		actor->color = message->argument;
	tell(0, (Message){MEET, me, actor->color, time_of_nth(actor->sent++, SAMPLE_EVERY)});
	return true;
}

static Run
run_chameneos(uint64_t operations, uint32_t unused)
{
	uint64_t meetings = operations / 4 + 1;
	Run run;
	uint32_t i;

	n_to_do = 1;
	actors_create(1 + CREATURES, meetings, handle_chameneos);
	run = run_begin(4 * meetings);
	for (i = 1; i <= CREATURES; i++)
		tell(i, (Message){GO});
	return finish(run);
}

/* Actor 0 asks actor 1, and waits for the answer before it goes on. */
static bool
handle_question(uint32_t me, Actor *actor, const Message *message)
{
	if (message->type == STOP)
		return false;
	if (message->type == PING)
		tell(0, (Message){PONG, me});
	while (me == 0 && actor->left-- > 0)
	{
		uint64_t sent_at = now_ns();

		tell(1, (Message){PING, me});
		actor->received += receive(actor);
		histogram_add(sent_at);
	}
	if (me == 0)
		is_done();
	return true;
}

static Run
run_session_ask(uint64_t operations, uint32_t unused)
{
	uint64_t questions = operations / 2 + 1;
	Run run;

	n_to_do = 1;
	actors_create(2, questions, handle_question);
	run = run_begin(2 * questions);
	tell(0, (Message){GO});
	return finish(run);
}

int
main(int argc, char **argv)
{
	static const struct
	{
		const char *name;
		Case run;
	} cases[] = {
		{"pair", run_pair},
		{"pair_across", run_pair},
		{"ping_pong", run_ping_pong},
		{"counting", run_counting},
		{"fork_join", run_fork_join},
		{"ring", run_ring},
		{"big", run_big},
		{"chameneos", run_chameneos},
		{"fan_in", run_fan_in},
		{"million", run_million},
		{"latency", run_latency},
		{"session_ask", run_session_ask},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]) && argc >= 3; i++)
		if (strcmp(cases[i].name, argv[1]) == 0)
		{
			measure(cases[i].run, atof(argv[2]) / 1000, argc > 3 ? atoi(argv[3]) : 1000);
			return 0;
		}
	fprintf(stderr, "usage: thread_actors CASE MILLISECONDS [ACTORS]\n");
	return 2;
}
