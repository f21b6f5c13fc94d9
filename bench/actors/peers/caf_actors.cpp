/*
 * caf_actors.cpp CASE MILLISECONDS THREADS [ACTORS]
 *		The cases on the C++ Actor Framework, with so many scheduler threads.
 *
 * An actor of CAF keeps the others alive that it knows; they are killed when
 * a run is over.
 */
#include <condition_variable>
#include <mutex>
#include <vector>

#include "caf/all.hpp"

#include "measure.h"

using namespace caf;

using go_atom = atom_constant<atom("go")>;
using ball_atom = atom_constant<atom("ball")>;
using data_atom = atom_constant<atom("data")>;
using last_atom = atom_constant<atom("last")>;
using ack_atom = atom_constant<atom("ack")>;
using ping_atom = atom_constant<atom("ping")>;
using pong_atom = atom_constant<atom("pong")>;
using meet_atom = atom_constant<atom("meet")>;
using change_atom = atom_constant<atom("change")>;

static int n_threads;
static std::vector<actor> actors; /* does not change while they run */
static std::atomic<uint64_t> received;

/* Actors that are not done yet. */
static std::mutex done_lock;
static std::condition_variable all_done;
static uint32_t n_to_do;

/* What it got is counted once, so that counting costs nothing. */
static void
is_done(uint64_t n)
{
	received += n;
	std::lock_guard<std::mutex> guard(done_lock);
	if (--n_to_do == 0)
		all_done.notify_one();
}

struct state
{
	uint32_t me = 0;
	uint64_t received = 0;
	uint64_t sent = 0;
	uint64_t sum = 0;
	uint64_t left = 0; /* of what it is to do */
	uint64_t random = 1;
	uint64_t color = 0;
	uint64_t acknowledged = 0;
	actor partner; /* of the mall: who waits there */
};

using self_pointer = stateful_actor<state> *;

/*
 * Run n actors of a behavior; "start" sends the first messages, and all
 * of them that are counted call is_done().
 */
template <class Behavior, class Start>
static Run
run_actors(uint32_t n, uint32_t to_do, uint64_t left, uint64_t expected, Behavior what, Start start)
{
	actor_system_config config;
	config.set("scheduler.max-threads", size_t(n_threads));
	actor_system system{config};
	Run run;

	n_to_do = to_do;
	received = 0;
	actors.reserve(n);
	for (uint32_t i = 0; i < n; i++)
		actors.push_back(system.spawn([=](self_pointer self) {
			self->state.me = i;
			self->state.left = left;
			self->state.random = i * UINT64_C(0x9E3779B97F4A7C15) + 1;
			self->state.color = i % 3;
			return what(self);
		}));
	run = run_begin(expected);
	start();
	{
		std::unique_lock<std::mutex> guard(done_lock);
		all_done.wait(guard, [] { return n_to_do == 0; });
	}
	run_end(&run);
	for (auto &a : actors)
		anon_send_exit(a, exit_reason::kill);
	actors.clear();
	system.await_all_actors_done();
	if (received != expected)
		fail("messages", expected, received);
	return run;
}

/* ------------------------------------------------------------------ cases */

static uint32_t stride; /* from an actor to its partner */

static void
serve(self_pointer self)
{
	if (self->state.left == 0)
	{
		is_done(self->state.received);
		return;
	}
	self->send(actors[self->state.me + stride], ball_atom::value,
			   time_of_nth(self->state.left-- + self->state.me, SAMPLE_EVERY));
}

static behavior
play(self_pointer self)
{
	return {
		[=](go_atom) { serve(self); },
		[=](ball_atom, uint64_t sent_at) {
			self->state.received++;
			if (self->state.me < stride)
			{
				histogram_add(sent_at);
				serve(self);
				return;
			}
			self->send(actors[self->state.me - stride], ball_atom::value, sent_at);
			if (--self->state.left == 0)
				is_done(self->state.received);
		}};
}

static Run
run_pairs(uint32_t pairs, uint64_t operations)
{
	uint64_t round_trips = operations / pairs / 2 + 1;

	stride = pairs;
	return run_actors(2 * pairs, 2 * pairs, round_trips, 2 * round_trips * pairs, play, [=] {
		for (uint32_t i = 0; i < pairs; i++)
			anon_send(actors[i], go_atom::value);
	});
}

static Run
run_pair(uint64_t operations, uint32_t)
{
	return run_pairs(1, operations);
}

static Run
run_ping_pong(uint64_t operations, uint32_t)
{
	return run_pairs(PAIRS, operations);
}

/*
 * Counting and fan_in: producers, from 1 on, send chunks to actor 0, which
 * acknowledges each.  "left" is chunks that are still to be sent.
 */
static uint32_t chunk;
static uint64_t chunks;
static uint64_t sink_expects;

static void
produce(self_pointer self)
{
	if (self->state.left == 0)
		return;
	self->state.left--;
	for (uint64_t i = 1; i <= chunk; i++)
	{
		uint64_t sent_at = time_of_nth(self->state.sent++, SAMPLE_EVERY);

		if (i < chunk)
			self->send(actors[0], data_atom::value, i, sent_at);
		else
			self->send(actors[0], last_atom::value, i, sent_at, self->state.me);
	}
}

static void
count(self_pointer self, uint64_t number, uint64_t sent_at)
{
	histogram_add(sent_at);
	self->state.sum += number;
	if (++self->state.received < sink_expects)
		return;
	if (self->state.sum != sink_expects * (chunk + 1) / 2)
		fail("their sum", sink_expects * (chunk + 1) / 2, self->state.sum);
	is_done(self->state.received);
}

static behavior
count_or_produce(self_pointer self)
{
	return {
		[=](data_atom, uint64_t number, uint64_t sent_at) { count(self, number, sent_at); },
		[=](last_atom, uint64_t number, uint64_t sent_at, uint32_t from) {
			self->send(actors[from], ack_atom::value);
			count(self, number, sent_at);
		},
		[=](ack_atom) {
			if (++self->state.received == chunks)
				is_done(self->state.received);
			produce(self);
		},
		[=](go_atom) { produce(self); }};
}

static Run
run_producers(uint32_t producers, uint32_t chunk_size, uint32_t in_flight, uint64_t operations)
{
	chunk = chunk_size;
	chunks = operations / producers / chunk_size + 1;
	sink_expects = producers * chunks * chunk_size;
	return run_actors(producers + 1, producers + 1, chunks, sink_expects + producers * chunks, count_or_produce, [=] {
		for (uint32_t i = 0; i < producers * in_flight; i++)
			anon_send(actors[1 + i % producers], go_atom::value);
	});
}

static Run
run_counting(uint64_t operations, uint32_t)
{
	return run_producers(1, CHUNK, CHUNKS_IN_FLIGHT, operations);
}

static Run
run_fan_in(uint64_t operations, uint32_t)
{
	return run_producers(PRODUCERS, PRODUCER_CHUNK, PRODUCER_CHUNKS_IN_FLIGHT, operations);
}

/* Actor 0 forks a round to the workers, and joins their acknowledgements. */
static void
fork_round(self_pointer self)
{
	if (self->state.left == 0)
		return;
	self->state.left--;
	for (uint64_t i = 1; i <= MESSAGES_PER_WORKER; i++)
		for (uint32_t k = 1; k <= WORKERS; k++)
		{
			uint64_t sent_at = time_of_nth(self->state.sent++, SAMPLE_EVERY);

			if (i < MESSAGES_PER_WORKER)
				self->send(actors[k], data_atom::value, i, sent_at);
			else
				self->send(actors[k], last_atom::value, i, sent_at);
		}
}

static behavior
fork_or_work(self_pointer self)
{
	return {
		[=](data_atom, uint64_t, uint64_t sent_at) {
			histogram_add(sent_at);
			self->state.received++;
		},
		[=](last_atom, uint64_t, uint64_t sent_at) {
			histogram_add(sent_at);
			self->send(actors[0], ack_atom::value);
			if (++self->state.received == chunks * MESSAGES_PER_WORKER)
				is_done(self->state.received);
		},
		[=](ack_atom) {
			if (++self->state.received == chunks * WORKERS)
				is_done(self->state.received);
			if (self->state.received % WORKERS == 0)
				fork_round(self);
		},
		[=](go_atom) { fork_round(self); }};
}

static Run
run_fork_join(uint64_t operations, uint32_t)
{
	chunks = operations / (WORKERS * MESSAGES_PER_WORKER) + 1;
	return run_actors(1 + WORKERS, 1 + WORKERS, chunks, chunks * WORKERS * (MESSAGES_PER_WORKER + 1), fork_or_work, [] {
		for (int i = 0; i < ROUNDS_IN_FLIGHT; i++)
			anon_send(actors[0], go_atom::value);
	});
}

static behavior
pass_on(self_pointer self)
{
	return {
		[=](ball_atom, uint64_t left, uint64_t sent_at) {
			histogram_add(sent_at);
			self->state.received++;
			if (left > 0)
				self->send(actors[(self->state.me + 1) % RING], ball_atom::value, left - 1,
						   time_of_nth(left, SAMPLE_EVERY));

			/* the last round ends at each of them */
			if (left < RING)
				is_done(self->state.received);
		}};
}

static Run
run_ring(uint64_t operations, uint32_t)
{
	uint64_t hops = operations + RING;

	return run_actors(RING, RING, 0, hops, pass_on, [=] {
		anon_send(actors[0], ball_atom::value, hops - 1, uint64_t(0));
	});
}

/*
 * Big, million, latency: an actor pings a random one, awaits its pong, and so
 * on.  All take part; those that are told to go ask.  Pings and pongs are
 * counted by who asks.
 */
static uint64_t sample_every;

static void
ask(self_pointer self)
{
	if (self->state.left == 0)
	{
		is_done(self->state.received);
		return;
	}
	self->send(actors[random_other(&self->state.random, actors.size(), self->state.me)], ping_atom::value,
			   self->state.me, time_of_nth(self->state.left-- + self->state.me / 8, sample_every));
}

static behavior
ask_or_answer(self_pointer self)
{
	return {
		[=](ping_atom, uint32_t from, uint64_t sent_at) {
			self->send(actors[from], pong_atom::value, sent_at);
		},
		[=](pong_atom, uint64_t sent_at) {
			self->state.received += 2;
			histogram_add(sent_at);
			ask(self);
		},
		[=](go_atom) { ask(self); }};
}

static Run
run_askers(uint32_t n, uint32_t askers, uint64_t operations)
{
	uint64_t round_trips = operations / askers / 2 + 1;

	sample_every = askers < n ? LATENCY_SAMPLE_EVERY : SAMPLE_EVERY;
	return run_actors(n, askers, round_trips, 2 * round_trips * askers, ask_or_answer, [=] {
		for (uint32_t i = 0; i < askers; i++)
			anon_send(actors[uint64_t(i) * n / askers], go_atom::value);
	});
}

static Run
run_big(uint64_t operations, uint32_t)
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
static void
visit(self_pointer self)
{
	self->send(actors[0], meet_atom::value, self->state.me, self->state.color,
			   time_of_nth(self->state.sent++, SAMPLE_EVERY));
}

static behavior
keep_mall(self_pointer self)
{
	return {
		[=](meet_atom, uint32_t from, uint64_t color, uint64_t sent_at) {
			histogram_add(sent_at);
			if (self->state.left == 0)
			{
				/* half of a meeting's messages are between the creatures */
				if (++self->state.acknowledged == CREATURES)
					is_done(2 * self->state.received);
				return;
			}
			self->state.received++;
			if (!self->state.partner)
			{
				self->state.partner = actors[from];
				return;
			}
			self->send(self->state.partner, meet_atom::value, from, color,
					   time_of_nth(self->state.left--, SAMPLE_EVERY));
			self->state.partner = nullptr;
		}};
}

static behavior
meet_others(self_pointer self)
{
	if (self->state.me == 0)
		return keep_mall(self);
	return {
		[=](go_atom) { visit(self); },
		[=](meet_atom, uint32_t from, uint64_t color, uint64_t sent_at) {
			histogram_add(sent_at);
			if (self->state.color != color)
				self->state.color = 3 - self->state.color - color;
			self->send(actors[from], change_atom::value, self->state.color);
			visit(self);
		},
		[=](change_atom, uint64_t color) {
			self->state.color = color;
			visit(self);
		}};
}

static Run
run_chameneos(uint64_t operations, uint32_t)
{
	uint64_t meetings = operations / 4 + 1;

	return run_actors(1 + CREATURES, 1, meetings, 4 * meetings, meet_others, [] {
		for (uint32_t i = 1; i <= CREATURES; i++)
			anon_send(actors[i], go_atom::value);
	});
}

/* A scoped actor, as a thread outside of the schedulers has one, asks an idle actor. */
static behavior
answer(self_pointer self)
{
	return {
		[=](ping_atom) {
			/* the answer is the second message */
			self->state.received += 2;
			if (--self->state.left == 0)
				is_done(self->state.received);
			return pong_atom::value;
		}};
}

static Run
run_session_ask(uint64_t operations, uint32_t)
{
	uint64_t questions = operations / 2 + 1;

	return run_actors(1, 1, questions, 2 * questions, answer, [=] {
		scoped_actor self{actors[0].home_system()};

		for (uint64_t i = 0; i < questions; i++)
		{
			uint64_t sent_at = now_ns();

			self->request(actors[0], infinite, ping_atom::value)
				.receive([](pong_atom) {}, [](error &) { fail("an answer", 1, 0); });
			histogram_add(sent_at);
		}
	});
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

	for (auto &one : cases)
		if (argc >= 4 && strcmp(one.name, argv[1]) == 0)
		{
			n_threads = atoi(argv[3]);
			measure(one.run, atof(argv[2]) / 1000, argc > 4 ? atoi(argv[4]) : 1000);
			return 0;
		}
	fprintf(stderr, "usage: caf_actors CASE MILLISECONDS THREADS [ACTORS]\n");
	return 2;
}
