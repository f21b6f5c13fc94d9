/*
 * native.c
 *		Native actors: what kinds there are, how one is spawned, and what its
 *		handler may do to it.
 *
 * A native actor's handler is a C function that runs without a transaction, on
 * a scheduler; see shard.c for which one, and shard_run.c for how.
 */
#include "postgres.h"

#include "base/guc.h"
#include "runtime/shard_internal.h"

NativeBehavior behaviors[MAX_BEHAVIORS + 1]; /* the first is none */
static int n_behaviors = 0;

/* -------------------------------------------------------------- behaviors */

/*
 * runtime_register_behavior
 *		Name the handler of a kind of native actors.  In the postmaster, when
 *		libraries are loaded or shared memory is set up.  Returns its number.
 */
int
runtime_register_behavior(const char *name, NativeHandler handler)
{
	if (n_behaviors == MAX_BEHAVIORS)
		elog(ERROR, "too many behaviors");
	behaviors[++n_behaviors].name = name;
	behaviors[n_behaviors].handler = handler;
	behaviors[n_behaviors].family = n_behaviors;
	return n_behaviors;
}

/* The number of a behavior, or 0. */
int
runtime_behavior(const char *name)
{
	int i;

	for (i = n_behaviors; i > 0; i--)
		if (strcmp(behaviors[i].name, name) == 0)
			break;
	return i;
}

/*
 * runtime_behavior_describe
 *		It is a table of this behavior, and these are the names of the local
 *		messages that it takes, by their numbers.
 */
void
runtime_behavior_describe(int number, int family, const char *const *message_names, uint32 n_messages)
{
	behaviors[number].family = family;
	behaviors[number].message_names = message_names;
	behaviors[number].n_messages = n_messages;
}

/* Is it that behavior, or one of its tables? */
bool
shard_behavior_is(int number, int family)
{
	return number > 0 && number <= n_behaviors && behaviors[number].family == family;
}

/* What a behavior calls a local message; NULL: it has no name for it. */
const char *
shard_message_name(int behavior, uint16 type)
{
	uint32 number = type & 0x7FF;

	if (!MESSAGE_IS_LOCAL(type) || behavior <= 0 || behavior > n_behaviors ||
		number >= behaviors[behavior].n_messages)
		return NULL;
	return behaviors[behavior].message_names[number];
}

/*
 * runtime_limit_mailbox
 *		Messages that may wait for one actor of this behavior.  From _PG_init.
 */
void
runtime_limit_mailbox(const char *behavior, uint32 limit)
{
	int i;

	for (i = 1; i <= n_behaviors; i++)
		if (strcmp(behaviors[i].name, behavior) == 0)
			behaviors[i].mailbox_limit = limit;
}

/*
 * native_actor_spawn
 *		A new native actor whose state has this size and is a copy of this;
 *		NULL: zeros.
 *
 * Any process but the network process.
 */
ActorAddress
native_actor_spawn(const char *behavior, const void *state, Size size)
{
	int number = runtime_behavior(behavior);

	if (number > 0)
		return native_actor_spawn_as(number, state, size);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("behavior \"%s\" does not exist", behavior)));
	return (ActorAddress){0};
}

/* The same for a behavior by its number. */
ActorAddress
native_actor_spawn_as(int behavior, const void *state, Size size)
{
	if (size > NATIVE_STATE_SIZE)
		elog(ERROR, "state of %zu bytes is too long", size);
	Assert(behavior > 0 && behavior <= n_behaviors);
	process_attach();
	return actor_claim_native(behavior, state, size);
}

/* The same for an actor of another database and role than this process's. */
ActorAddress
native_actor_spawn_for(Oid database, Oid role, int behavior, const void *state, Size size)
{
	ActorAddress address = native_actor_spawn_as(behavior, state, size);
	ActorCold *cold = actor_cold(address.slot);

	/* nobody else knows it yet */
	cold->database = database;
	cold->role = role;
	return address;
}

int
shard_behaviors(void)
{
	return n_behaviors;
}

const char *
shard_behavior_name(int number)
{
	return number <= n_behaviors ? behaviors[number].name : "?";
}

/*
 * native_actor_exit
 *		Called in its handler: this is the actor's last message.
 */
void
native_actor_exit(NativeActor *self)
{
	native_actor_stop(self, REASON_NORMAL);
}

/* The same, for a reason that its links and monitors are told. */
void
native_actor_stop(NativeActor *self, const char *reason)
{
	self->exits = true;
	strlcpy(self->reason, reason, EXIT_REASON_LENGTH);
}

/*
 * native_actor_trap_exits
 *		Called in its handler: exit signals come as messages from now on.
 */
void
native_actor_trap_exits(NativeActor *self, bool traps)
{
	if (traps)
		self->slot->flags |= ACTOR_TRAPS_EXITS;
	else
		self->slot->flags &= ~ACTOR_TRAPS_EXITS;
}

/*
 * native_actor_become
 *		Called in its handler: from the next message on this behavior, by its
 *		number, handles what comes.
 */
void
native_actor_become(NativeActor *self, int behavior)
{
	Assert(behavior > 0 && behavior <= n_behaviors);
	self->slot->behavior_number = behavior;
}

ActorAddress
native_actor_sender(NativeActor *self)
{
	return self->message != NULL ? self->message->from : (ActorAddress){0};
}

ActorAddress
native_actor_address(NativeActor *self)
{
	return self->address;
}
