/*
 * runtimefuncs.c
 *		The runtime's SQL functions: starting it, and looking into it.
 *
 * What they show is read without stopping anyone, so rows need not fit
 * together to the last message.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "runtime/runtime_internal.h"

DLOG_FUNCTION(dlog_start);
DLOG_FUNCTION(dlog_actors);
DLOG_FUNCTION(dlog_schedulers);
DLOG_FUNCTION(dlog_memory);
DLOG_FUNCTION(dlog_dead_letters);
DLOG_FUNCTION(dlog_stat_runtime);
DLOG_FUNCTION(dlog_stat_behaviors);
DLOG_FUNCTION(dlog_latencies);
DLOG_FUNCTION(dlog_messages);

static void
put_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static Datum
database_name_datum(Oid oid, bool *is_null)
{
	char *name = OidIsValid(oid) ? get_database_name(oid) : NULL;

	*is_null = name == NULL;
	return name ? CStringGetTextDatum(name) : (Datum) 0;
}

static Datum
address_datum(ActorAddress address)
{
	return CStringGetTextDatum(psprintf("%u/%u/%u", address.node, address.slot, address.incarnation));
}

/*
 * dlog.start() -> void
 *		Schedulers shall run in this database from the commit on.
 */
Datum
dlog_start(PG_FUNCTION_ARGS)
{
	runtime_require();
	utility_announce();
	PG_RETURN_VOID();
}

/* The process that runs it now, or 0. */
static int
actor_pid(uint32 number, const ActorSlot *slot)
{
	int scheduler;

	if (slot->behavior_number == 0)
		return process_at(slot->process)->pid;
	scheduler = shard_holder(number);
	return scheduler < 0 ? 0 : scheduler_pool->slot[scheduler].pid;
}

Datum
dlog_actors(PG_FUNCTION_ARGS)
{
	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	for (uint32 n = 1; n < actor_slots_used(); n++)
	{
		uint32 i = actor_slot_number(n);
		ActorSlot *slot = actor_slot(i);
		uint64 identity = pg_atomic_read_u64(&slot->identity);
		ActorSlot copy;
		ActorCold cold;
		char behavior[NAMEDATALEN];
		ActorAddress address = {THIS_NODE, i, (uint32) (identity >> 32)};
		Datum values[14];
		bool nulls[14] = {false};
		char name[NAMEDATALEN];
		bool is_running = false;
		int pid;

		if ((uint32) identity != ACTOR_ALIVE)
			continue;
		pg_read_barrier();
		memcpy(&copy, slot, sizeof(ActorSlot));
		memcpy(&cold, actor_cold(i), sizeof(ActorCold));
		strlcpy(behavior, actor_behavior(i), NAMEDATALEN);
		pg_read_barrier();
		if (pg_atomic_read_u64(&slot->identity) != identity)
			continue;

		values[0] = address_datum(address);
		values[1] = CStringGetTextDatum(behavior);
		values[2] = database_name_datum(cold.database, &nulls[2]);
		nulls[3] = !OidIsValid(cold.role);
		if (!nulls[3])
		{
			char *role = GetUserNameFromId(cold.role, true);

			nulls[3] = role == NULL;
			values[3] = role ? CStringGetTextDatum(role) : (Datum) 0;
		}
		if (actor_slot_is_hosted(slot))
		{
			HostedView view;

			actor_host->view(i, &view);
			pid = view.holder == PROCESS_NONE ? 0 : process_at(view.holder)->pid;
			cold.depth = view.depth;
			copy.high_water = view.high_water;
			copy.received = view.received;
			is_running = pid != 0;
			values[11] = Int32GetDatum(view.restarts);
			nulls[12] = true;
		}
		else
		{
			pid = actor_pid(i, &copy);
			nulls[11] = true;
			nulls[12] = copy.behavior_number == 0;
			values[12] = Float8GetDatum(cold.run_ms);
		}
		values[4] = Int32GetDatum(pid);
		nulls[4] = pid == 0;
		values[5] = Int32GetDatum(cold.depth);
		values[6] = Int32GetDatum(copy.high_water);
		values[7] = Int64GetDatum(copy.received);
		values[8] = TimestampTzGetDatum(cold.spawned_at);
		nulls[9] = !name_of_actor(address, name);
		values[9] = nulls[9] ? (Datum) 0 : CStringGetTextDatum(name);
		values[10] = CStringGetTextDatum(is_running ? "running" : cold.depth > 0 ? "waiting" :
																				   "idle");
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

static const char *
scheduler_state_name(const SchedulerSlot *slot)
{
	if (!slot->is_ready)
		return "starting";
	return slot->is_busy ? "busy" : "idle";
}

Datum
dlog_schedulers(PG_FUNCTION_ARGS)
{
	int i;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < scheduler_pool->n_slots; i++)
	{
		SchedulerSlot copy;
		SchedulerState state;
		ShardStatistics shards;
		Datum values[13];
		bool nulls[13] = {false};
		int64 busy_us;
		int64 age_us;

		LWLockAcquire(&scheduler_pool->lock, LW_SHARED);
		memcpy(&copy, &scheduler_pool->slot[i], sizeof(SchedulerSlot));
		LWLockRelease(&scheduler_pool->lock);
		state = (SchedulerState) pg_atomic_read_u32(&copy.state);
		if (state == SCHEDULER_FREE)
			continue;
		age_us = GetCurrentTimestamp() - copy.started_at;
		busy_us = copy.busy_us + (copy.is_busy ? GetCurrentTimestamp() - copy.since : 0);
		values[0] = Int32GetDatum(copy.pid);
		nulls[0] = copy.pid == 0;
		values[1] = database_name_datum(database_at(copy.database)->oid, &nulls[1]);
		values[2] = CStringGetTextDatum(scheduler_state_name(&copy));
		values[3] = CStringGetTextDatum(copy.activity);
		nulls[3] = copy.activity[0] == '\0';
		values[4] = TimestampTzGetDatum(copy.since);
		values[5] = TimestampTzGetDatum(copy.started_at);
		values[6] = Int64GetDatum(copy.works);
		values[7] = Int64GetDatum(copy.failed);
		values[8] = Float8GetDatum(age_us > 0 ? Min(1.0, (double) busy_us / age_us) : 0.0);
		shard_statistics(i, &shards);
		values[9] = Int64GetDatum(shards.wakeups);
		values[10] = Int64GetDatum(shards.taken);
		values[11] = Int64GetDatum(shards.given);
		values[12] = Int64GetDatum(shards.waiting);
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

static void
put_memory(FunctionCallInfo fcinfo, const char *class, int block_size, int64 total, int64 used)
{
	Datum values[4] = {CStringGetTextDatum(class), Int32GetDatum(block_size), Int64GetDatum(total), Int64GetDatum(used)};
	bool nulls[4] = {false};

	put_row(fcinfo, values, nulls);
}

#define LARGE_UNIT (64 * 1024)

Datum
dlog_memory(PG_FUNCTION_ARGS)
{
	ArenaClassUsage usage[ARENA_CLASSES];
	uint32 n_wide;
	uint32 n_widened;
	int i;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	arena_usage(usage);
	actors_count_wide(&n_wide, &n_widened);
	for (i = 0; i < ARENA_CLASSES; i++)
		put_memory(fcinfo, "blocks", usage[i].block_size, usage[i].total, usage[i].used);
	put_memory(fcinfo, "large objects", LARGE_UNIT, arena_large_usage() / LARGE_UNIT, arena_large_usage() / LARGE_UNIT);
	put_memory(fcinfo, "actors", sizeof(ActorSlot) + sizeof(ActorCold), actor_slots_used() - 1, actor_count());
	put_memory(fcinfo, "wide actors", sizeof(ActorWide), n_widened, n_wide);
	return (Datum) 0;
}

/* What its receiver calls a message, as long as no other lives in its slot. */
static const char *
letter_type_name(const DeadLetter *letter)
{
	const char *name = message_type_name(letter->type);
	ActorSlot *slot = actor_slot(letter->to.slot);

	if (name == NULL && letter->to.node == THIS_NODE && slot != NULL &&
		(uint32) (pg_atomic_read_u64(&slot->identity) >> 32) == letter->to.incarnation)
		name = shard_message_name(slot->behavior_number, letter->type);
	return name != NULL ? name : actor_host->message_name(letter->type);
}

Datum
dlog_dead_letters(PG_FUNCTION_ARGS)
{
	uint32 i;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < DEAD_LETTERS_KEPT; i++)
	{
		DeadLetter letter;
		const char *type;
		Datum values[6];
		bool nulls[6] = {false};

		if (!dead_letter_read(i, &letter))
			continue;
		type = letter_type_name(&letter);
		values[0] = Int64GetDatum(pg_atomic_read_u64(&letter.number));
		values[1] = TimestampTzGetDatum(letter.at);
		values[2] = CStringGetTextDatum(type ? type : psprintf("%u", letter.type));
		values[3] = CStringGetTextDatum(dead_letter_reason_name(letter.reason));
		values[4] = address_datum(letter.to);
		values[5] = address_datum(letter.from);
		nulls[5] = letter.from.slot == 0;
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

static void
put_statistic(FunctionCallInfo fcinfo, const char *name, int64 value)
{
	Datum values[2] = {CStringGetTextDatum(name), Int64GetDatum(value)};
	bool nulls[2] = {false};

	put_row(fcinfo, values, nulls);
}

Datum
dlog_stat_runtime(PG_FUNCTION_ARGS)
{
	uint64 sent = 0;
	uint64 received = 0;
	int64 waiting = 0;
	uint32 i;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < arena_owner_count(); i++)
	{
		sent += pg_atomic_read_u64(&process_at(i)->sent);
		received += pg_atomic_read_u64(&process_at(i)->received);
	}
	put_statistic(fcinfo, "actors", actor_count());
	put_statistic(fcinfo, "actors refused", actors_refused());
	put_statistic(fcinfo, "links", link_count());
	put_statistic(fcinfo, "names", name_count());
	put_statistic(fcinfo, "timers", timer_count());
	put_statistic(fcinfo, "timers fired", timers_fired());
	put_statistic(fcinfo, "messages sent", sent);
	put_statistic(fcinfo, "messages received", received);
	for (i = 0; i < MAX_DATABASES; i++)
		waiting += database_waiting(i);
	put_statistic(fcinfo, "work waiting", waiting);
	put_statistic(fcinfo, "bytes free", arena_bytes_free());
	for (i = 0; i < DEAD_LETTER_REASONS; i++)
		put_statistic(fcinfo, psprintf("dead letters: %s", dead_letter_reason_name(i)),
					  dead_letter_count(i));
	return (Datum) 0;
}

/* What the living actors of each behavior have handled, and how many they are. */
static void
count_living(uint64 *handled, uint32 *living)
{
	uint32 i;

	for (i = 1; i < actor_slots_used(); i++)
	{
		ActorSlot *slot = actor_slot(actor_slot_number(i));
		int behavior = slot->behavior_number;

		if ((uint32) pg_atomic_read_u64(&slot->identity) != ACTOR_ALIVE || behavior > MAX_BEHAVIORS)
			continue;
		handled[behavior] += slot->received;
		living[behavior]++;
	}
}

Datum
dlog_stat_behaviors(PG_FUNCTION_ARGS)
{
	uint64 *handled = palloc0(sizeof(uint64) * (MAX_BEHAVIORS + 1));
	uint32 *living = palloc0(sizeof(uint32) * (MAX_BEHAVIORS + 1));
	int i;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	count_living(handled, living);
	for (i = 1; i <= shard_behaviors(); i++)
	{
		BehaviorStatistics statistics;
		Datum values[7];
		bool nulls[7] = {false};

		statistics_read(i, &statistics);
		values[0] = CStringGetTextDatum(shard_behavior_name(i));
		values[1] = Int64GetDatum(living[i]);
		values[2] = Int64GetDatum(statistics.spawned);
		values[3] = Int64GetDatum(statistics.exited);
		values[4] = Int64GetDatum(statistics.failed);
		values[5] = Int64GetDatum(handled[i] + statistics.handled);
		values[6] = Float8GetDatum(statistics.run_us / 1000.0);
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

static void
put_histogram(FunctionCallInfo fcinfo, const char *what, int behavior)
{
	int i;

	for (i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		uint64 count = statistics_histogram(behavior, i);
		Datum values[4];
		bool nulls[4] = {false};

		if (count == 0)
			continue;
		values[0] = CStringGetTextDatum(what);
		values[1] = behavior == 0 ? (Datum) 0 : CStringGetTextDatum(shard_behavior_name(behavior));
		nulls[1] = behavior == 0;
		values[2] = Float8GetDatum((double) (UINT64CONST(1) << i) / 1000.0);
		nulls[2] = i == HISTOGRAM_BUCKETS - 1;
		values[3] = Int64GetDatum(count);
		put_row(fcinfo, values, nulls);
	}
}

Datum
dlog_latencies(PG_FUNCTION_ARGS)
{
	int i;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	put_histogram(fcinfo, "ask", 0);
	for (i = 1; i <= shard_behaviors(); i++)
		put_histogram(fcinfo, "handler", i);
	return (Datum) 0;
}

Datum
dlog_messages(PG_FUNCTION_ARGS)
{
	uint32 number;

	InitMaterializedSRF(fcinfo, 0);
	for (number = 0; number <= PG_UINT16_MAX; number++)
	{
		const char *name = message_type_name(number);
		Datum values[2];
		bool nulls[2] = {false};

		if (name == NULL)
			continue;
		values[0] = Int32GetDatum(number);
		values[1] = CStringGetTextDatum(name);
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}
