/*
 * workloads.c
 *		The actors of the workloads, and what they have to do.
 *
 * All actors take Start and Stop as their first two messages, so that one who
 * knows them as Startable can tell any of them.  Each counts the messages of
 * the work that it handles, in the beginning of its state.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "bench.h"

/* ---------------------------------------------------- what all have in common */

DLOG_MESSAGE(Start);
DLOG_MESSAGE(Stop);

#define STARTABLE_TAKES Start, Stop, DlogUndelivered
DLOG_DECLARE(Startable, STARTABLE_TAKES);

static inline DlogAddress
peer_address(uint32 number)
{
	return (DlogAddress){0, bench->peer[number].slot, bench->peer[number].incarnation};
}

static void
fail(const char *what)
{
	if (pg_atomic_exchange_u32(&bench->failed, 1) == 0)
		strlcpy(bench->failure, what, sizeof(bench->failure));
	SetLatch(bench->session);
}

#define send_or_fail(...) \
	do \
	{ \
		if (unlikely(dlog_send(__VA_ARGS__) != DLOG_OK)) \
			fail("a message was refused"); \
	} while (0)

static void
finish(void)
{
	if (pg_atomic_sub_fetch_u32(&bench->unfinished, 1) != 0)
		return;
	bench->ended_ns = now_ns();
	SetLatch(bench->session);
}

static void
stopped(uint64 received, uint64 sum)
{
	pg_atomic_fetch_add_u64(&bench->received, received);
	pg_atomic_fetch_add_u64(&bench->sum, sum);
	if (pg_atomic_add_fetch_u32(&bench->stopped, 1) == bench->n_peers)
		SetLatch(bench->session);
}

/* Stop, and what nobody should get. */
#define STOPS(Name, its_sum) \
	DLOG_HANDLER(Name, Stop) \
	{ \
		stopped(state->received, its_sum); \
		dlog_stop(self, "normal"); \
	} \
	DLOG_HANDLER(Name, DlogUndelivered) \
	{ \
		fail("a message was not delivered"); \
	}

/* The time, for one message of many; 0 for the others. */
static inline int64
sample(void)
{
	static uint32 left = 0;

	if (likely(left-- > 0))
		return 0;
	left = bench->sample_every - 1;
	return now_ns();
}

static inline void
sampled(int64 at)
{
	if (unlikely(at != 0))
		histogram_add(now_ns() - at);
}

static inline uint32
random_below(uint32 n)
{
	static uint64 seed = 0;

	if (unlikely(seed == 0))
		seed = (uint64) MyProcPid * UINT64CONST(0x9E3779B97F4A7C15);
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32) (((seed >> 32) * n) >> 32);
}

/* ----------------------------------------------------------------- starter */

/*
 * Tells all peers to start: at once, so that all that shall be in flight is,
 * and nobody has finished before the last one has begun.  And to stop, some at
 * a time.
 */
#define STARTER_TAKES StartAll, StopAll
DLOG_DECLARE(Starter, STARTER_TAKES);
DLOG_MESSAGE(StartAll);
DLOG_MESSAGE(StopAll, value(uint32, next));

typedef struct StarterState
{
	int32 unused;
} StarterState;

DLOG_STATE(Starter, StarterState);

#define AT_ONCE 1000

DLOG_HANDLER(Starter, StartAll)
{
	bench->begun_ns = now_ns();
	for (uint32 i = 0; i < bench->n_starts; i++)
	{
		Startable_ref peer = {peer_address((uint64) i * bench->n_peers / bench->n_starts)};

		send_or_fail(self, peer, Start);
	}
}

DLOG_HANDLER(Starter, StopAll)
{
	uint32 end = Min(message->next + AT_ONCE, bench->n_peers);

	for (uint32 i = message->next; i < end; i++)
	{
		Startable_ref peer = {peer_address(i)};

		send_or_fail(self, peer, Stop);
	}
	if (end < bench->n_peers)
		send_or_fail(self, dlog_self(self, Starter), StopAll, .next = end);
	else
		dlog_stop(self, "normal");
}

DLOG_IMPLEMENT(Starter, STARTER_TAKES);

/* ---------------------------------- ping_pong, pair, pair_across: two and a ball */

#define PLAYER_TAKES STARTABLE_TAKES, Ping, Pong
DLOG_DECLARE(Player, PLAYER_TAKES);
DLOG_MESSAGE(Ping, value(int64, at), value(Player_ref, from));
DLOG_MESSAGE(Pong, value(int64, at));

typedef struct PlayerState
{
	int64 received;
	Player_ref other; /* of who begins */
} PlayerState;

DLOG_STATE(Player, PlayerState);

static inline void
serve(Player_self *self, PlayerState *state)
{
	send_or_fail(self, state->other, Ping, .at = sample(), .from = dlog_self(self, Player));
}

DLOG_HANDLER(Player, Start)
{
	serve(self, state);
}

DLOG_HANDLER(Player, Ping)
{
	state->received++;
	send_or_fail(self, message->from, Pong, .at = message->at);
}

DLOG_HANDLER(Player, Pong)
{
	state->received++;
	sampled(message->at);
	if (state->received < bench->rounds)
		serve(self, state);
	else
		finish();
}

STOPS(Player, 0)
DLOG_IMPLEMENT(Player, PLAYER_TAKES);

/* ------------------------ counting, fan_in: producers of numbers, who adds them */

#define PRODUCER_TAKES STARTABLE_TAKES, Acknowledge
DLOG_DECLARE(Producer, PRODUCER_TAKES);
#define ADDER_TAKES STARTABLE_TAKES, Add
DLOG_DECLARE(Adder, ADDER_TAKES);
DLOG_MESSAGE(Acknowledge, value(int64, at));
DLOG_MESSAGE(Add, value(uint32, number), value(bool, is_last), value(int64, at), value(Producer_ref, from));

typedef struct ProducerState
{
	int64 received;
	uint32 left; /* chunks to send */
	uint32 chunks;
	Adder_ref adder;
} ProducerState;

typedef struct AdderState
{
	int64 received;
	int64 sum;
	uint32 expected; /* of the only producer */
} AdderState;

DLOG_STATE(Producer, ProducerState);
DLOG_STATE(Adder, AdderState);

static void
produce_chunk(Producer_self *self, ProducerState *state)
{
	Producer_ref me = dlog_self(self, Producer);

	state->left--;
	for (uint32 i = 1; i <= bench->chunk; i++)
		send_or_fail(self, state->adder, Add, .number = i, .is_last = i == bench->chunk,
					 .at = bench->is_flood ? 0 : sample(), .from = me);
}

DLOG_HANDLER(Producer, Start)
{
	for (uint32 i = 0; i < bench->in_flight && state->left > 0; i++)
		produce_chunk(self, state);
}

DLOG_HANDLER(Producer, Acknowledge)
{
	state->received++;
	if (state->left > 0)
		produce_chunk(self, state);
	else if (state->received == state->chunks)
		finish();
}

STOPS(Producer, 0)
DLOG_IMPLEMENT(Producer, PRODUCER_TAKES);

DLOG_HANDLER(Adder, Start)
{
	/* only producers are started */
}

DLOG_HANDLER(Adder, Add)
{
	state->received++;
	state->sum += message->number;
	if (bench->n_peers == 2)
	{
		if (unlikely(message->number != state->expected + 1))
			fail("messages of one sender are out of order");
		state->expected = message->is_last ? 0 : message->number;
	}
	sampled(message->at);
	if (message->is_last)
		send_or_fail(self, message->from, Acknowledge, .at = 0);
}

STOPS(Adder, state->sum)
DLOG_IMPLEMENT(Adder, ADDER_TAKES);

/* ------------------------------------------------------- fork_join: and joins */

#define DRIVER_TAKES STARTABLE_TAKES, Joined
DLOG_DECLARE(Driver, DRIVER_TAKES);
#define FORKED_TAKES STARTABLE_TAKES, Work
DLOG_DECLARE(Forked, FORKED_TAKES);
DLOG_MESSAGE(Joined);
DLOG_MESSAGE(Work, value(uint32, number), value(int64, at), value(Driver_ref, from));

typedef struct DriverState
{
	int64 received;
	int64 left; /* rounds to begin */
} DriverState;

typedef struct ForkedState
{
	int64 received;
	uint32 expected;
} ForkedState;

DLOG_STATE(Driver, DriverState);
DLOG_STATE(Forked, ForkedState);

/* The driver is the first peer. */
static void
fork_round(Driver_self *self, DriverState *state)
{
	Driver_ref me = dlog_self(self, Driver);

	state->left--;
	for (uint32 number = 1; number <= bench->chunk; number++)
	{
		for (uint32 i = 1; i < bench->n_peers; i++)
		{
			Forked_ref forked = {peer_address(i)};

			send_or_fail(self, forked, Work, .number = number, .at = sample(), .from = me);
		}
	}
}

DLOG_HANDLER(Driver, Start)
{
	for (uint32 i = 0; i < bench->in_flight && state->left > 0; i++)
		fork_round(self, state);
}

DLOG_HANDLER(Driver, Joined)
{
	uint32 forked = bench->n_peers - 1;

	state->received++;
	if (state->received % forked == 0 && state->left > 0)
		fork_round(self, state);
	if (state->received == bench->rounds * forked)
		finish();
}

STOPS(Driver, 0)
DLOG_IMPLEMENT(Driver, DRIVER_TAKES);

DLOG_HANDLER(Forked, Start)
{
	/* only the driver is started */
}

DLOG_HANDLER(Forked, Work)
{
	state->received++;
	if (unlikely(message->number != ++state->expected))
		fail("messages of one sender are out of order");
	sampled(message->at);
	if (message->number == bench->chunk)
	{
		state->expected = 0;
		send_or_fail(self, message->from, Joined);
	}
}

STOPS(Forked, 0)
DLOG_IMPLEMENT(Forked, FORKED_TAKES);

/* --------------------------------------------------------------- ring: a token */

#define RINGER_TAKES STARTABLE_TAKES, Token
DLOG_DECLARE(Ringer, RINGER_TAKES);
DLOG_MESSAGE(Token, value(int64, left), value(int64, at));

typedef struct RingerState
{
	int64 received;
	uint32 next; /* peer */
} RingerState;

DLOG_STATE(Ringer, RingerState);

static inline void
pass_token(Ringer_self *self, RingerState *state, int64 left)
{
	Ringer_ref next = {peer_address(state->next)};

	send_or_fail(self, next, Token, .left = left, .at = sample());
}

DLOG_HANDLER(Ringer, Start)
{
	pass_token(self, state, bench->rounds);
}

DLOG_HANDLER(Ringer, Token)
{
	state->received++;
	sampled(message->at);
	if (message->left > 1)
		pass_token(self, state, message->left - 1);
	else
		finish();
}

STOPS(Ringer, 0)
DLOG_IMPLEMENT(Ringer, RINGER_TAKES);

/* ---------------- big, million, latency, flooded: each asks a random other one */

#define ASKER_TAKES STARTABLE_TAKES, Question, Answer
DLOG_DECLARE(Asker, ASKER_TAKES);
DLOG_MESSAGE(Question, value(int64, at), value(Asker_ref, from));
DLOG_MESSAGE(Answer, value(int64, at));

typedef struct AskerState
{
	int64 received;
	uint32 number;
	uint32 left; /* questions */
} AskerState;

DLOG_STATE(Asker, AskerState);

/*
 * Another peer at random.  The numbers are drawn some questions ahead, so that
 * the addresses need not be waited for.
 */
#define DRAWN_AHEAD 16

static inline Asker_ref
another(uint32 me)
{
	static uint32 drawn[DRAWN_AHEAD];
	static uint32 at = 0;
	uint32 number = drawn[at];

	drawn[at] = random_below(bench->n_askers);
	__builtin_prefetch(&bench->peer[drawn[at]]);
	at = (at + 1) % DRAWN_AHEAD;
	while (unlikely(number == me || number >= bench->n_askers))
		number = random_below(bench->n_askers);
	return (Asker_ref){peer_address(number)};
}

static inline void
ask_another(Asker_self *self, AskerState *state)
{
	state->left--;
	send_or_fail(self, another(state->number), Question, .at = sample(), .from = dlog_self(self, Asker));
}

DLOG_HANDLER(Asker, Start)
{
	state->left = bench->rounds * bench->at_once;
	for (uint32 i = 0; i < bench->at_once; i++)
		ask_another(self, state);
}

DLOG_HANDLER(Asker, Question)
{
	state->received++;
	send_or_fail(self, message->from, Answer, .at = message->at);
}

DLOG_HANDLER(Asker, Answer)
{
	state->received++;
	sampled(message->at);
	if (state->left > 0)
		ask_another(self, state);
	else
		finish();
}

STOPS(Asker, 0)
DLOG_IMPLEMENT(Asker, ASKER_TAKES);

/* --------------------------------------- chameneos: creatures that meet in a mall */

#define MALL_TAKES STARTABLE_TAKES, Enter
DLOG_DECLARE(Mall, MALL_TAKES);
#define CREATURE_TAKES STARTABLE_TAKES, Meet, Change
DLOG_DECLARE(Creature, CREATURE_TAKES);
DLOG_MESSAGE(Enter, value(uint32, color), value(int64, at), value(Creature_ref, from));
DLOG_MESSAGE(Meet, value(uint32, color), value(int64, at), value(Creature_ref, with));
DLOG_MESSAGE(Change, value(uint32, color), value(int64, at));

typedef struct MallState
{
	int64 received;
	int64 left; /* meetings */
	Creature_ref waiting;
	uint32 color; /* of who is waiting */
	bool is_one_waiting;
	uint32 turned_away;
} MallState;

typedef struct CreatureState
{
	int64 received;
	int64 meetings;
	Mall_ref mall;
	uint32 color; /* 0 to 2 */
} CreatureState;

DLOG_STATE(Mall, MallState);
DLOG_STATE(Creature, CreatureState);

DLOG_HANDLER(Mall, Start)
{
	/* creatures come by themselves */
}

/* The last comers find it closed, which is no message of the work. */
DLOG_HANDLER(Mall, Enter)
{
	sampled(message->at);
	if (unlikely(state->left == 0))
	{
		if (++state->turned_away == bench->n_peers - 1)
			finish();
		return;
	}
	state->received++;
	if (!state->is_one_waiting)
	{
		state->waiting = message->from;
		state->color = message->color;
		state->is_one_waiting = true;
		return;
	}
	state->is_one_waiting = false;
	state->left--;
	send_or_fail(self, state->waiting, Meet, .color = message->color, .at = sample(), .with = message->from);
}

STOPS(Mall, 0)
DLOG_IMPLEMENT(Mall, MALL_TAKES);

static inline void
enter_mall(Creature_self *self, CreatureState *state)
{
	send_or_fail(self, state->mall, Enter, .color = state->color, .at = sample(),
				 .from = dlog_self(self, Creature));
}

DLOG_HANDLER(Creature, Start)
{
	enter_mall(self, state);
}

/* Two that differ take the third color. */
DLOG_HANDLER(Creature, Meet)
{
	state->received++;
	state->meetings++;
	sampled(message->at);
	if (state->color != message->color)
		state->color = 3 - state->color - message->color;
	send_or_fail(self, message->with, Change, .color = state->color, .at = sample());
	enter_mall(self, state);
}

DLOG_HANDLER(Creature, Change)
{
	state->received++;
	state->meetings++;
	sampled(message->at);
	state->color = message->color;
	enter_mall(self, state);
}

STOPS(Creature, state->meetings)
DLOG_IMPLEMENT(Creature, CREATURE_TAKES);

/* -------------------------------------------------- session_ask: one that waits */

#define IDLER_TAKES STARTABLE_TAKES, GetNumber
DLOG_DECLARE(Idler, IDLER_TAKES);
DLOG_MESSAGE(Number, value(int64, number));
DLOG_REQUEST(GetNumber, Number, value(int64, number));

typedef struct IdlerState
{
	int64 received;
} IdlerState;

DLOG_STATE(Idler, IdlerState);

DLOG_HANDLER(Idler, Start)
{
}

DLOG_HANDLER(Idler, GetNumber)
{
	state->received++;
	dlog_reply(self, GetNumber, .number = message->number);
}

STOPS(Idler, 0)
DLOG_IMPLEMENT(Idler, IDLER_TAKES);

/* ----------------------------------- hand_over: two and something that is large */

typedef struct Cargo
{
	int64 hops;
	char bytes[FLEXIBLE_ARRAY_MEMBER];
} Cargo;

DLOG_OBJECT(Cargo);

#define CARRIER_TAKES STARTABLE_TAKES, Carry
DLOG_DECLARE(Carrier, CARRIER_TAKES);
DLOG_MESSAGE(Carry, iso(Cargo, cargo), value(int64, at));

typedef struct CarrierState
{
	int64 received;
	int64 hops;
	uint32 other;
} CarrierState;

DLOG_STATE(Carrier, CarrierState);

/* Megabytes, of which the chunk says how many. */
#define CARGO_SIZE ((Size) bench->chunk << 20)
#define CARGO_LAST(cargo) ((cargo)->bytes[CARGO_SIZE - sizeof(Cargo) - 1])

DLOG_HANDLER(Carrier, Start)
{
	Cargo_iso cargo = dlog_new(self, Cargo, CARGO_SIZE);
	Carrier_ref other = {peer_address(state->other)};

	dlog_get(cargo)->hops = 0;
	CARGO_LAST(dlog_get(cargo)) = 'z';
	send_or_fail(self, other, Carry, .cargo = dlog_move(cargo), .at = now_ns());
}

DLOG_HANDLER(Carrier, Carry)
{
	Cargo *cargo = dlog_get(message->cargo);
	Carrier_ref other = {peer_address(state->other)};

	sampled(message->at);
	state->received++;
	if (++cargo->hops < bench->rounds)
		send_or_fail(self, other, Carry, .cargo = dlog_move(message->cargo), .at = now_ns());
	else
	{
		state->hops = cargo->hops;
		if (CARGO_LAST(cargo) != 'z')
			fail("what was handed over has changed");
		finish();
	}
}

STOPS(Carrier, state->hops)
DLOG_IMPLEMENT(Carrier, CARRIER_TAKES);

/* ------------------------------------------------------------------- set-up */

static void
add_peer(DlogAddress address)
{
	bench->peer[bench->n_peers++] = (Peer){address.slot, address.incarnation};
}

/* Who begins comes first. */
static void
set_up_pairs(DlogSession *session, uint32 actors)
{
	for (uint32 i = 0; i < actors / 2; i++)
	{
		Player_ref other = dlog_spawn(session, Player);

		add_peer(dlog_spawn(session, Player, .other = other).address);
		add_peer(other.address);
	}
	bench->n_starts = actors / 2;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts);
}

/*
 * Two actors of one shard, or of two.  The runtime says which one an actor
 * belongs to: those whose slots are neighbors share one.  So more are spawned
 * than play.
 */
static void
set_up_pair_of_shards(DlogSession *session, bool is_same)
{
	Player_ref other = dlog_spawn(session, Player);
	Player_ref one;

	bench->n_peers = 1;
	add_peer(other.address);
	do
	{
		one = dlog_spawn(session, Player, .other = other);
		add_peer(one.address);
	} while ((Max(one.address.slot, other.address.slot) - Min(one.address.slot, other.address.slot) < 16) != is_same);
	bench->peer[0] = bench->peer[--bench->n_peers];
	bench->n_starts = 1;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts);
}

static void
set_up_pair(DlogSession *session, uint32 actors)
{
	set_up_pair_of_shards(session, true);
}

static void
set_up_pair_across(DlogSession *session, uint32 actors)
{
	set_up_pair_of_shards(session, false);
}

/* "actors" producers; who adds comes last. */
static void
set_up_producers(DlogSession *session, uint32 actors)
{
	Adder_ref adder = dlog_spawn(session, Adder);

	for (uint32 i = 1; i < actors; i++)
		add_peer(dlog_spawn(session, Producer, .left = bench->rounds, .chunks = bench->rounds, .adder = adder).address);
	add_peer(adder.address);
	bench->n_starts = actors - 1;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts);
}

/*
 * A flood to one actor, and others that ask each other in the meantime: what
 * is timed is how long these wait.
 */
#define FLOOD_PRODUCERS 100
#define FLOOD_CHUNKS 3000 /* of each */

static void
set_up_flooded(DlogSession *session, uint32 actors)
{
	Adder_ref adder = dlog_spawn(session, Adder);

	bench->is_flood = true;
	bench->at_once = 1;
	bench->n_askers = actors;
	for (uint32 i = 0; i < actors; i++)
		add_peer(dlog_spawn(session, Asker, .number = i).address);
	for (uint32 i = 0; i < FLOOD_PRODUCERS; i++)
		add_peer(dlog_spawn(session, Producer, .left = FLOOD_CHUNKS, .chunks = FLOOD_CHUNKS, .adder = adder).address);
	add_peer(adder.address);
	bench->n_starts = bench->n_peers - 1;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts);
}

static void
set_up_fork_join(DlogSession *session, uint32 actors)
{
	add_peer(dlog_spawn(session, Driver, .left = bench->rounds).address);
	for (uint32 i = 1; i < actors; i++)
		add_peer(dlog_spawn(session, Forked).address);
	bench->n_starts = 1;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts);
}

static void
set_up_ring(DlogSession *session, uint32 actors)
{
	for (uint32 i = 0; i < actors; i++)
		add_peer(dlog_spawn(session, Ringer, .next = (i + 1) % actors).address);
	bench->n_starts = 1;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts);
}

static void
set_up_askers(DlogSession *session, uint32 actors)
{
	for (uint32 i = 0; i < actors; i++)
		add_peer(dlog_spawn(session, Asker, .number = i).address);
	bench->n_askers = actors;
	bench->n_starts = Min(bench->in_flight, actors);
	bench->at_once = bench->in_flight / bench->n_starts;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts * bench->at_once);
}

static void
set_up_chameneos(DlogSession *session, uint32 actors)
{
	Mall_ref mall = dlog_spawn(session, Mall, .left = bench->rounds);

	for (uint32 i = 1; i < actors; i++)
		add_peer(dlog_spawn(session, Creature, .mall = mall, .color = i % 3).address);
	add_peer(mall.address);
	bench->n_starts = actors - 1;
	pg_atomic_write_u32(&bench->unfinished, 1);
}

static void
set_up_idler(DlogSession *session, uint32 actors)
{
	add_peer(dlog_spawn(session, Idler).address);
	bench->n_starts = 1;
	pg_atomic_write_u32(&bench->unfinished, bench->n_starts);
}

static void
set_up_carriers(DlogSession *session, uint32 actors)
{
	for (uint32 i = 0; i < 2; i++)
		add_peer(dlog_spawn(session, Carrier, .other = 1 - i).address);
	bench->n_starts = 1;
	pg_atomic_write_u32(&bench->unfinished, 1);
}

/* ----------------------------------------------- what there shall be in the end */

static int64
round_trips(void)
{
	return 2 * bench->rounds * bench->n_starts;
}

static int64
questions_and_answers(void)
{
	return round_trips() * bench->at_once;
}

static int64
chunks(void)
{
	return bench->rounds * bench->n_starts * (bench->chunk + 1);
}

static int64
chunk_sums(void)
{
	return bench->rounds * bench->n_starts * bench->chunk * (bench->chunk + 1) / 2;
}

static int64
questions_and_flood(void)
{
	return 2 * bench->rounds * bench->n_askers + (int64) FLOOD_PRODUCERS * FLOOD_CHUNKS * (bench->chunk + 1);
}

static int64
flood_sum(void)
{
	return (int64) FLOOD_PRODUCERS * FLOOD_CHUNKS * bench->chunk * (bench->chunk + 1) / 2;
}

static int64
forks_and_joins(void)
{
	return bench->rounds * (bench->n_peers - 1) * (bench->chunk + 1);
}

static int64
hops(void)
{
	return bench->rounds;
}

static int64
meeting_messages(void)
{
	return 4 * bench->rounds;
}

static int64
meeting_sums(void)
{
	return 2 * bench->rounds;
}

/* name, actors, in flight, rounds, chunk, one in how many is timed */
static const Workload workloads[] = {
	{"ping_pong", 2000, 1000, 20000, 0, 64, set_up_pairs, round_trips},
	{"pair", 2, 1, 10000000, 0, 64, set_up_pair, round_trips},
	{"pair_across", 2, 1, 10000000, 0, 64, set_up_pair_across, round_trips},
	{"counting", 2, 4, 30000, 1000, 64, set_up_producers, chunks, chunk_sums},
	{"fork_join", 61, 2, 5000, 100, 64, set_up_fork_join, forks_and_joins},
	{"ring", 100, 1, 20000000, 0, 64, set_up_ring, hops},
	{"big", 120, 120, 150000, 0, 64, set_up_askers, questions_and_answers},
	{"chameneos", 101, 100, 8000000, 0, 64, set_up_chameneos, meeting_messages, meeting_sums},
	{"fan_in", 1001, 2, 300, 100, 64, set_up_producers, chunks, chunk_sums},
	{"million", 1000000, 1000000, 40, 0, 64, set_up_askers, questions_and_answers},
	{"latency", 1000000, 5000, 4000, 0, 16, set_up_askers, questions_and_answers},
	{"flooded", 1000, 20, 10000, 100, 16, set_up_flooded, questions_and_flood, flood_sum},
	{"session_ask", 1, 1, 20000, 0, 1, set_up_idler, round_trips},
	{"hand_over", 2, 1, 1000000, 100, 1, set_up_carriers, hops, hops},
};

const Workload *
workload_find(const char *name)
{
	for (int i = 0; i < lengthof(workloads); i++)
		if (strcmp(workloads[i].name, name) == 0)
			return &workloads[i];
	return NULL;
}

/* All, for a hint. */
char *
workload_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < lengthof(workloads); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", workloads[i].name);
	return names.data;
}

/* Spawn all. */
void
workload_set_up(const Workload *workload, DlogSession *session, uint32 actors)
{
	DlogAddress starter = dlog_spawn(session, Starter).address;

	bench->starter = (Peer){starter.slot, starter.incarnation};
	workload->set_up(session, actors);
}

#define the_starter() ((Starter_ref){{0, bench->starter.slot, bench->starter.incarnation}})

void
workload_start(DlogSession *session)
{
	if (dlog_send(session, the_starter(), StartAll) != DLOG_OK)
		elog(ERROR, "could not tell the actors to start");
}

void
workload_stop(DlogSession *session)
{
	if (dlog_send(session, the_starter(), StopAll, .next = 0) != DLOG_OK)
		elog(ERROR, "could not tell the actors to stop");
}

/* After an error: all shall exit, whatever they are at. */
void
workload_abandon(DlogSession *session)
{
	dlog_exit(session, the_starter(), REASON_ABANDONED);
	for (uint32 i = 0; i < bench->n_peers; i++)
	{
		Startable_ref peer = {peer_address(i)};

		dlog_exit(session, peer, REASON_ABANDONED);
	}
}

/* The session asks the idle actor.  Nanoseconds. */
int64
workload_ask_once(DlogSession *session, int64 number)
{
	Idler_ref idler = {peer_address(0)};
	Number answer = {0};
	int64 begun = now_ns();
	DlogResult result = dlog_ask(session, idler, GetNumber, 10000, &answer, .number = number);
	int64 ns = now_ns() - begun;

	if (result != DLOG_OK || answer.number != number)
		elog(ERROR, "the actor does not answer what it was asked");
	return ns;
}

void
workloads_register(void)
{
	DLOG_REGISTER("dlog_bench", Starter, Player, Producer, Adder, Driver, Forked, Ringer, Asker, Mall, Creature, Idler, Carrier);
}
