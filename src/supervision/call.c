/*
 * call.c
 *		What a session asks of a supervisor, and waits for.
 *
 * As with OTP's supervisor, such a call takes effect at once, whatever
 * becomes of the transaction, and returns when it is done.  What is to
 * happen only if the transaction commits is told instead.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/errcodes.h"
#include "base/pg_compat.h"
#include "supervision/supervision_internal.h"

/* The actor that is this supervisor; ERROR 55000 if it does not run. */
ActorAddress
supervisor_address(const SupervisorRow *row)
{
	ActorAddress address;
	RegistryState state = registry_look(MyDatabaseId, row->id, &address);

	if (state != REGISTRY_RUNNING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("supervisor \"%s\" is not running", NameStr(row->name)),
				 state == REGISTRY_GAVE_UP ? errdetail("It gave up; see dlog.failures.") : 0,
				 errhint("Start it with dlog.start_supervisor().")));
	return address;
}

/*
 * Ask, and hand each answer to "take" until that returns true.  False: the
 * supervisor exited before it had answered.
 */
static bool
ask(const SupervisorRow *row, const Call *call, bool (*take)(const Message *message, void *argument),
	void *argument)
{
	ActorAddress supervisor = supervisor_address(row);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog supervisor call", ALLOCSET_SMALL_SIZES);
	BoundActor *actor = bound_actor_spawn(context, "supervisor call");
	Message *message = message_create(SUPERVISION_CALL, sizeof(Call));
	bool is_done = false;
	bool has_exited = false;

	memcpy(message->payload, call, sizeof(Call));
	message->from = bound_actor_address(actor);
	message->flags = MESSAGE_CONTROL;
	actor_monitor(message->from, supervisor);
	(void) actor_send(supervisor, message);
	while (!is_done && !has_exited)
	{
		while ((message = bound_actor_receive(actor)) == NULL)
			(void) runtime_wait(-1, WaitEventExtensionNew("DlogSupervisor"));
		has_exited = message->type == MESSAGE_DOWN || message->type == MESSAGE_UNDELIVERED;
		if (!has_exited)
			is_done = take(message, argument);
		message_free(message);
	}
	actor_demonitor(bound_actor_address(actor), supervisor);
	bound_actor_exit(actor);
	MemoryContextDelete(context);
	return is_done;
}

static bool
take_answer(const Message *message, void *argument)
{
	*(SupervisorAnswer *) argument = *(const SupervisorAnswer *) message->payload;
	return true;
}

SupervisorAnswer
supervisor_call(const SupervisorRow *row, const Call *call)
{
	SupervisorAnswer answer;

	if (!ask(row, call, take_answer, &answer))
		ereport(ERROR,
				(errcode(ERRCODE_DLOG_ACTOR_EXITED),
				 errmsg("supervisor \"%s\" exited before it answered", NameStr(row->name))));
	return answer;
}

typedef struct TakenRows
{
	MemoryContext context;
	List *rows;
} TakenRows;

static bool
take_rows(const Message *message, void *argument)
{
	const ChildStatus *row = (const ChildStatus *) message->payload;
	const ChildStatus *end = (const ChildStatus *) (message->payload + message->size);
	TakenRows *taken = argument;
	MemoryContext old = MemoryContextSwitchTo(taken->context);
	bool is_done = false;

	for (; row < end && !is_done; row++)
	{
		ChildStatus *copy;

		is_done = row->id < 0;
		if (is_done)
			break;
		copy = palloc(sizeof(ChildStatus));
		*copy = *row;
		taken->rows = lappend(taken->rows, copy);
	}
	MemoryContextSwitchTo(old);
	return is_done;
}

/* NIL also when the supervisor exits meanwhile. */
List *
supervisor_rows(const SupervisorRow *row, const Call *call)
{
	TakenRows taken = {.context = CurrentMemoryContext};

	return ask(row, call, take_rows, &taken) ? taken.rows : NIL;
}

/*
 * supervisor_tell
 *		Tell a supervisor something when this transaction commits.
 *
 * One that does not run, and so will read the tables when it does, is told nothing.
 */
void
supervisor_tell(const SupervisorRow *row, uint16 type, const void *payload, Size size)
{
	ActorAddress address;
	Message *message;

	if (registry_look(MyDatabaseId, row->id, &address) != REGISTRY_RUNNING)
		return;
	message = message_create(type, size);
	memcpy(message->payload, payload, size);
	message->flags = MESSAGE_CONTROL;
	actor_send_at_commit(address, message);
}
