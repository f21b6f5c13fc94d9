/*
 * simulator.c
 *		What membership promises, tried in simulated worlds.
 *
 *		simulator check SEEDS [FIRST-SEED]	many small worlds in which all goes wrong
 *		simulator promise MEMBERS			the figures that must hold, one line each
 *		simulator table MEMBERS...			figures by the number of members
 *
 * The first two print "ok" or "not ok" for each promise; the exit status is 1
 * if one was broken.  A world is determined by its seed: a broken one can be
 * run again alone.
 */
#include "world.h"

#include <math.h>

#define SECOND UINT64CONST(1000000)

static int n_failed;

static void
judge(bool is_right, const char *format,...) pg_attribute_printf(2, 3);

static void
judge(bool is_right, const char *format,...)
{
	va_list arguments;

	printf(is_right ? "ok - " : "not ok - ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	if (!is_right)
		n_failed++;
}

static int
compare_doubles(const void *a, const void *b)
{
	double left = *(const double *) a;
	double right = *(const double *) b;

	return left < right ? -1 : left > right;
}

static double
percentile(double *values, int n, int percent)
{
	if (n == 0)
		return NAN;
	qsort(values, n, sizeof(double), compare_doubles);
	return values[Min(n - 1, n * percent / 100)];
}

static World *
warm_world(uint32 n_members, uint64 seed, const MembershipSettings *settings)
{
	World *world = world_create(n_members, seed, settings);

	for (uint32 i = 0; i < n_members; i++)
		world_start(world, i, true);
	world_run(world, 5 * SECOND); /* until all are under way */
	return world;
}

/* ------------------------------------------------------ many small worlds */

/* Everything that can go wrong does, for a while; then all must agree. */
static bool
survives(uint64 seed, char *why, Size why_size)
{
	MembershipSettings settings;
	World *world;
	uint32 n_members;
	bool agrees;
	uint64 errors;

	membership_default_settings(&settings);
	settings.push_pull_interval_ms = 10000;
	world = world_create(2 + (uint32) (seed * 7 % 17), seed, &settings);
	n_members = world->n_nodes;
	world->loss = world_random(world, 4) * 0.03;
	world->duplication = world_random(world, 3) * 0.05;
	world->jitter_us = 500 + world_random(world, 40000);
	world->stall_min_us = 100000;
	world->stall_max_us = 3000000;
	world->run_max_us = 100000;
	settings.lifeguard = world_random(world, 8) != 0;
	world->settings = settings;
	for (uint32 i = 0; i < n_members; i++)
		world_start(world, i, world_random(world, 4) != 0);

	for (int step = 0; step < 12; step++)
	{
		uint32 slot = world_random(world, n_members);
		SimNode *node = &world->nodes[slot];

		switch (world_random(world, 7))
		{
			case 0:
				if (node->core != NULL)
					world_crash(world, slot);
				break;
			case 1:
				if (node->core == NULL)
					world_start(world, slot, false);
				break;
			case 2:
				if (node->core != NULL)
					world_leave(world, slot);
				break;
			case 3:
				for (uint32 i = 0; i < n_members; i++)
					world->nodes[i].group = world_random(world, 2);
				break;
			case 4:
				for (uint32 i = 0; i < n_members; i++)
					world->nodes[i].group = 0;
				break;
			case 5:
				world_make_slow(world, slot, 1 + world_random(world, 20000));
				break;
			case 6:
				world_make_fast(world, slot);
				break;
		}
		world_run(world, world_random(world, 6) * SECOND);
	}

	/* From now on nothing goes wrong any more. */
	world->loss = world->duplication = 0;
	for (uint32 i = 0; i < n_members; i++)
	{
		world->nodes[i].group = 0;
		world_make_fast(world, i);
		if (world->nodes[i].core == NULL && world_random(world, 2) == 0)
			world_start(world, i, false);
	}
	agrees = world_run_until(world, world_agrees, 60 * SECOND) != PG_UINT64_MAX;
	errors = world->order_errors;

	/*
	 * And once the last rumors of the bad times are told, it stays so.  A probe
	 * that a slow member began then, and whose messages were lost, ends eight
	 * intervals later, and as much later as the member has stalled meanwhile.
	 */
	if (agrees)
	{
		world_run(world, 24 * SECOND);
		world->false_events = world->false_suspects = 0;
		world_run(world, 6 * SECOND);
		if (world->false_events + world->false_suspects > 0 || !world_agrees(world))
		{
			snprintf(why, why_size, "flaps when all is well");
			agrees = false;
		}
	}
	else
		snprintf(why, why_size, "the members still disagree a minute after all was well");
	if (errors > 0)
	{
		snprintf(why, why_size, "an incarnation went back");
		agrees = false;
	}
	world_free(world);
	return agrees;
}

static void
check_seeds(uint64 first, int n_seeds)
{
	int n_broken = 0;

	for (int i = 0; i < n_seeds; i++)
	{
		char why[100];

		if (!survives(first + i, why, sizeof(why)))
		{
			n_broken++;
			printf("seed " UINT64_FORMAT ": %s\n", first + i, why);
		}
	}
	judge(n_broken == 0, "%d worlds of 2 to 18 members, each with crashes, restarts, leaving, partitions, loss, duplication and slow members: %d did not come to agree, seeds from " UINT64_FORMAT,
		  n_seeds, n_broken, first);
}

/* ------------------------------------------------------- how fast, how much */

typedef struct Detection
{
	double p50, p95, max; /* until the first takes it for dead, s */
	double spread_p50, spread_max; /* from then until all do, s */
	int n_missed;
} Detection;

/* One member after the other dies and comes back. */
static Detection
detect(uint32 n_members, int n_crashes, uint64 seed, const MembershipSettings *settings)
{
	World *world = warm_world(n_members, seed, settings);
	double *first = malloc(n_crashes * sizeof(double));
	double *spread = malloc(n_crashes * sizeof(double));
	Detection result = {0};
	int n = 0;

	for (int i = 0; i < n_crashes; i++)
	{
		uint32 slot = world_random(world, n_members);
		uint64 start_us = world->now_us;

		world->watched = slot;
		world->n_dead = 0;
		world_crash(world, slot);
		while (world->n_dead < n_members - 1 && world->now_us - start_us < 60 * SECOND)
			world_run(world, SECOND / 4);
		if (world->n_dead < n_members - 1)
			result.n_missed++;
		else
		{
			first[n] = (double) (world->first_dead_us - start_us) / SECOND;
			spread[n++] = (double) (world->last_dead_us - world->first_dead_us) / SECOND;
		}
		world->watched = PG_UINT32_MAX;
		world_start(world, slot, false);
		world_run(world, (uint64) (5 + world_random(world, 1000) / 1000.0) * SECOND);
	}
	result.p50 = percentile(first, n, 50);
	result.p95 = percentile(first, n, 95);
	result.max = n > 0 ? first[n - 1] : NAN;
	result.spread_p50 = percentile(spread, n, 50);
	result.spread_max = n > 0 ? spread[n - 1] : NAN;
	free(first);
	free(spread);
	world_free(world);
	return result;
}

typedef struct Load
{
	double messages; /* sent by each member in a second */
	double bytes;
} Load;

static Load
load_of(uint32 n_members, uint64 seed, const MembershipSettings *settings)
{
	World *world = warm_world(n_members, seed, settings);
	double seconds = 60;
	Load load;

	world_run(world, 10 * SECOND);
	world->sent_messages = world->sent_bytes = 0;
	world_run(world, (uint64) seconds * SECOND);
	load.messages = world->sent_messages / seconds / n_members;
	load.bytes = world->sent_bytes / seconds / n_members;
	world_free(world);
	return load;
}

/*
 * How long after a partition all know all again, and whether a half flapped.
 * It lasts for so many seconds longer than it takes each half to give the other
 * up; with 0, everybody still tells of those that it has lost.
 */
static double
heal(uint32 n_members, uint64 seconds, uint64 seed, const MembershipSettings *settings, uint64 *flaps)
{
	World *world = warm_world(n_members, seed, settings);
	uint64 apart_us;
	uint64 healed_us;

	for (uint32 i = 0; i < n_members; i++)
		world->nodes[i].group = i % 2;
	apart_us = world_run_until(world, world_agrees, 120 * SECOND);
	world_run(world, seconds * SECOND);
	for (uint32 i = 0; i < n_members; i++)
		world->nodes[i].group = 0;

	/* After that moment nobody may be taken for dead or suspected. */
	world->own_half_changes = 0;
	healed_us = world_run_until(world, world_agrees, 120 * SECOND);
	*flaps = world->own_half_changes;
	world_free(world);
	return apart_us == PG_UINT64_MAX || healed_us == PG_UINT64_MAX ? NAN : (double) healed_us / SECOND;
}

typedef struct Falsehoods
{
	uint64 dead; /* live members declared dead */
	uint64 dead_healthy;
	uint64 events;
	uint64 suspects;
	double messages;
} Falsehoods;

/*
 * A while with a part of the members slowed: each stalls for 0.2 to 1.5 s, runs
 * for up to 0.2 s, stalls again, and takes a millisecond for every message.
 */
static Falsehoods
falsehoods(uint32 n_members, uint32 percent_slow, uint64 seconds, uint64 seed,
		   const MembershipSettings *settings)
{
	World *world = warm_world(n_members, seed, settings);
	Falsehoods result;

	world->stall_min_us = 200000;
	world->stall_max_us = 1500000;
	world->run_max_us = 200000;
	for (uint32 i = 0; i < n_members * percent_slow / 100; i++)
		world_make_slow(world, i, 1000);
	world->false_dead = world->false_dead_healthy = world->false_events = world->false_suspects = 0;
	world->sent_messages = 0;
	world_run(world, seconds * SECOND);
	result = (Falsehoods){
		.dead = world->false_dead,
		.dead_healthy = world->false_dead_healthy,
		.events = world->false_events,
		.suspects = world->false_suspects,
		.messages = (double) world->sent_messages / seconds / n_members,
	};
	world_free(world);
	return result;
}

/* -------------------------------------------------------------- the promises */

static void
promise(uint32 n_members, uint64 seed)
{
	MembershipSettings settings;
	MembershipSettings plain;
	Detection detection;
	Load small, large;
	Falsehoods with, without;
	uint64 flaps;
	double healed;

	membership_default_settings(&settings);
	plain = settings;
	plain.lifeguard = false;

	detection = detect(n_members, 40, seed, &settings);
	judge(detection.n_missed == 0 && detection.p95 < 5,
		  "%u members, probed every second: a crash is detected within %.2f s (50 %%), %.2f s (95 %%), %.2f s (worst)",
		  n_members, detection.p50, detection.p95, detection.max);
	judge(detection.n_missed == 0 && detection.spread_max < 3,
		  "%u members: all know it %.2f s later (50 %%), %.2f s (worst)",
		  n_members, detection.spread_p50, detection.spread_max);

	small = load_of(10, seed, &settings);
	large = load_of(n_members, seed, &settings);
	judge(large.messages < small.messages * 1.1 && large.bytes < small.bytes * 1.1,
		  "a member sends %.1f messages, %.0f bytes a second among 10, and %.1f, %.0f among %u",
		  small.messages, small.bytes, large.messages, large.bytes, n_members);

	for (int seconds = 0; seconds <= 30; seconds += 30)
	{
		healed = heal(Min(n_members, 200), seconds, seed, &settings, &flaps);
		judge(healed < 15 && flaps == 0,
			  "%u members in two halves, %d s after these have given each other up, know each other again %.2f s after they can; changes for the worse meanwhile: " UINT64_FORMAT,
			  Min(n_members, 200), seconds, healed, flaps);
	}

	with = falsehoods(40, 20, 3600, seed, &settings);
	without = falsehoods(40, 20, 3600, seed, &plain);
	judge(with.events == 0,
		  "an hour with 20 %% of 40 members slowed: " UINT64_FORMAT " members falsely dead (" UINT64_FORMAT " suspected)",
		  with.events, with.suspects);
	judge(without.events >= 50 * Max(with.events, 1),
		  "the same with plain SWIM: " UINT64_FORMAT " falsely dead, declared " UINT64_FORMAT " times, " UINT64_FORMAT " times a healthy one",
		  without.events, without.dead, without.dead_healthy);
}

static void
result(const char *what, uint32 n_members, const char *system, const char *metric, double value)
{
	printf("RESULT bench=membership case=%s_%u system=%s metric=%s value=%.2f\n", what, n_members,
		   system, metric, value);
	fflush(stdout);
}

/*
 * What membership costs and how fast it is, by the number of members.  In
 * "slowed", a fifth of them answer late for an hour.
 */
static void
table(int n_sizes, char **sizes, uint64 seed)
{
	MembershipSettings settings;
	MembershipSettings plain;

	membership_default_settings(&settings);
	plain = settings;
	plain.lifeguard = false;
	for (int i = 0; i < n_sizes; i++)
	{
		uint32 n_members = (uint32) atoi(sizes[i]);
		bool is_huge = n_members > 2000;
		Detection detection = detect(n_members, is_huge ? 10 : 100, seed, &settings);
		Load load = load_of(n_members, seed, &settings);
		uint64 flaps = 0;
		double healed = is_huge ? NAN : heal(n_members, 30, seed, &settings, &flaps);

		result("crash", n_members, "lifeguard", "detection_p50_s", detection.p50);
		result("crash", n_members, "lifeguard", "detection_p95_s", detection.p95);
		result("crash", n_members, "lifeguard", "dissemination_p50_s", detection.spread_p50);
		result("crash", n_members, "lifeguard", "dissemination_max_s", detection.spread_max);
		result("idle", n_members, "lifeguard", "messages_per_s", load.messages);
		result("idle", n_members, "lifeguard", "bytes_per_s", load.bytes);
		if (!is_huge)
		{
			result("split", n_members, "lifeguard", "heal_s", healed);
			result("split", n_members, "lifeguard", "flaps", (double) flaps);
		}
		if (n_members <= 200)
		{
			Falsehoods with = falsehoods(n_members, 20, 3600, seed, &settings);
			Falsehoods without = falsehoods(n_members, 20, 3600, seed, &plain);

			result("slowed", n_members, "lifeguard", "false_dead", (double) with.events);
			result("slowed", n_members, "swim", "false_dead", (double) without.events);
			result("slowed", n_members, "lifeguard", "messages_per_s", with.messages);
			result("slowed", n_members, "swim", "messages_per_s", without.messages);
		}
	}
}

int
main(int argc, char **argv)
{
	uint64 seed = getenv("SIM_SEED") != NULL ? strtoull(getenv("SIM_SEED"), NULL, 10) : 1;

	if (argc >= 3 && strcmp(argv[1], "check") == 0)
		check_seeds(argc > 3 ? strtoull(argv[3], NULL, 10) : 1, atoi(argv[2]));
	else if (argc == 3 && strcmp(argv[1], "promise") == 0)
		promise((uint32) atoi(argv[2]), seed);
	else if (argc >= 3 && strcmp(argv[1], "table") == 0)
		table(argc - 2, argv + 2, seed);
	else
	{
		fprintf(stderr, "usage: simulator check SEEDS [FIRST-SEED] | promise MEMBERS | table MEMBERS...\n");
		return 2;
	}
	return n_failed == 0 ? 0 : 1;
}
