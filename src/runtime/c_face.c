/*
 * c_face.c
 *		What other libraries see of the runtime: dlog/actor.h.
 *
 * A library that has behaviors puts a registration into a list that hangs on
 * a rendezvous variable, in its _PG_init, before or after ours.  When shared
 * memory is set up all of them have run: we check for which version of the
 * table of functions each library was compiled, give it the table, and number
 * its behaviors.  All this is in the postmaster, so it is the same in every
 * process.
 *
 * The table is the whole of the interface; no symbol is exported for it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "dlog/actor.h"
#include "runtime/shard_internal.h"

StaticAssertDecl(sizeof(DlogAddress) == sizeof(ActorAddress) &&
					 offsetof(DlogAddress, slot) == offsetof(ActorAddress, slot) &&
					 offsetof(DlogAddress, incarnation) == offsetof(ActorAddress, incarnation),
				 "an address is the same inside and outside");
StaticAssertDecl(sizeof(DlogMessage) == sizeof(NativeMessage) &&
					 offsetof(DlogMessage, from) == offsetof(NativeMessage, from) &&
					 offsetof(DlogMessage, size) == offsetof(NativeMessage, size) &&
					 offsetof(DlogMessage, payload) == offsetof(NativeMessage, payload),
				 "a message is the same inside and outside");
StaticAssertDecl(offsetof(DlogActor, address_) == offsetof(NativeActor, address) && THIS_NODE == 0,
				 "an actor's address is where a handler looks for it");
StaticAssertDecl((int) DLOG_OK == (int) SEND_OK && (int) DLOG_NO_ACTOR == (int) SEND_NO_ACTOR &&
					 (int) DLOG_MAILBOX_FULL == (int) SEND_MAILBOX_FULL &&
					 (int) DLOG_NODE_DOWN == (int) SEND_NODE_DOWN &&
					 (int) DLOG_NO_MEMORY == (int) SEND_NO_MEMORY,
				 "results are the same inside and outside");
StaticAssertDecl(DLOG_STATE_SIZE == NATIVE_STATE_SIZE && DLOG_REASON_LENGTH == EXIT_REASON_LENGTH &&
					 DLOG_INLINE_MESSAGE == NATIVE_INLINE_PAYLOAD && DLOG_MAX_MESSAGE <= MESSAGE_MAX_PAYLOAD,
				 "limits are the same inside and outside");
StaticAssertDecl(DLOG_LOCAL_TYPE_(5, 3) == LOCAL_MESSAGE(5, 3), "types are the same inside and outside");
StaticAssertDecl((int) DlogUndelivered_is_of_dlog_ == (int) MESSAGE_UNDELIVERED &&
					 (int) DlogDown_is_of_dlog_ == (int) MESSAGE_DOWN &&
					 (int) DlogExit_is_of_dlog_ == (int) MESSAGE_EXIT,
				 "the runtime's messages are the same inside and outside");

/* A session: who holds its objects, names and timers. */
struct DlogSession
{
	BoundActor *actor;
};

static DlogSession my_session;

static inline ActorAddress
inside(DlogAddress address)
{
	return (ActorAddress){address.node, address.slot, address.incarnation};
}

static inline DlogAddress
outside(ActorAddress address)
{
	return (DlogAddress){address.node, address.slot, address.incarnation};
}

/* --------------------------------------------------------- from a handler */

static DlogAddress
face_sender(DlogActor *self)
{
	return outside(native_actor_sender((NativeActor *) self));
}

/* What a message that could not be made would have carried is freed. */
static DlogResult
sent(SendResult result, uint16 type, void *payload, Size size)
{
	if (result == SEND_NO_MEMORY && MESSAGE_OBJECTS(type) > 0)
		objects_release(type, payload, size);
	return (DlogResult) result;
}

static DlogResult
face_send(DlogActor *self, DlogAddress to, uint16 type, void *payload, Size size)
{
	return sent(native_send_any((NativeActor *) self, inside(to), type, payload, size), type, payload, size);
}

/* Only who asks waits for an answer: a bound actor. */
static DlogResult
face_reply(DlogActor *self, uint16 type, void *payload, Size size)
{
	ActorAddress to = native_actor_sender((NativeActor *) self);

	if (to.slot == 0 || actor_is_native(to))
	{
		objects_release(type, payload, size);
		return DLOG_NO_ACTOR;
	}
	return face_send(self, outside(to), type, payload, size);
}

static void
face_stop(DlogActor *self, const char *reason)
{
	native_actor_stop((NativeActor *) self, reason);
}

static void
face_trap_exits(DlogActor *self, bool traps)
{
	native_actor_trap_exits((NativeActor *) self, traps);
}

static void
face_stash(DlogActor *self)
{
	native_actor_stash((NativeActor *) self);
}

static void
face_unstash(DlogActor *self)
{
	native_actor_unstash((NativeActor *) self);
}

static void
face_become(DlogActor *self, const DlogBehavior *table)
{
	if (table->number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("behavior \"%s\" is not registered", table->name)));
	native_actor_become((NativeActor *) self, table->number);
}

/*
 * A message that the behavior does not take: one of the runtime's that it
 * does not care for, or one that was sent in an untyped way.
 */
static void
face_unhandled(DlogActor *self, const DlogMessage *message)
{
	Message head = {.type = message->type, .from = inside(message->from)};

	if (message->type == MESSAGE_UNDELIVERED || message->type == MESSAGE_DOWN || message->type == MESSAGE_EXIT)
		return;
	head.to = native_actor_address((NativeActor *) self);
	dead_letter_record(&head, DEAD_LETTER_NO_HANDLER);
}

static bool
face_decode(const DlogMessage *message, DlogAddress *actor, char *reason, DlogResult *result)
{
	DownMessage down;
	ExitMessage signal;
	UndeliveredMessage undelivered;

	*actor = message->from;
	if (message->type == MESSAGE_DOWN && down_read(message->payload, message->size, &down))
	{
		*actor = (DlogAddress){message->from.node, down.slot, down.incarnation};
		wire_copy(reason, DLOG_REASON_LENGTH, down.reason);
		return true;
	}
	if (message->type == MESSAGE_EXIT && exit_read(message->payload, message->size, &signal))
	{
		*actor = (DlogAddress){message->from.node, signal.slot, signal.incarnation};
		wire_copy(reason, DLOG_REASON_LENGTH, signal.reason);
		return true;
	}
	if (message->type == MESSAGE_UNDELIVERED && undelivered_read(message->payload, message->size, &undelivered))
	{
		*actor = (DlogAddress){message->from.node, undelivered.slot, undelivered.incarnation};
		*result = (DlogResult) undelivered.reason;
		return true;
	}
	return false;
}

/* --------------------------------------------------------- from a session */

static DlogSession *
face_session(void)
{
	Message *message;

	runtime_require();
	if (my_session.actor == NULL)
		my_session.actor = bound_actor_spawn(TopMemoryContext, "session");

	/* It takes no messages; answers come to dlog_ask(). */
	while ((message = bound_actor_receive(my_session.actor)) != NULL)
		message_free(message);
	return &my_session;
}

static DlogAddress
face_session_address(DlogSession *session)
{
	return outside(bound_actor_address(session->actor));
}

static DlogResult
face_session_send(DlogSession *session, DlogAddress to, uint16 type, void *payload, Size size)
{
	Message *message;

	if (MESSAGE_OBJECTS(type) == 0)
		return (DlogResult) session_send(inside(to), type, payload, size);

	/* What is refused shall be freed with all that it carries. */
	message = message_try_create(type, size);
	if (message == NULL)
		return sent(send_no_memory(session_address(), inside(to), type), type, payload, size);
	memcpy(message->payload, payload, size);
	message->from = session_address();
	return (DlogResult) actor_send(inside(to), message);
}

/*
 * The objects of an answer are the session's.  Where there is no memory to
 * keep one, all that is not kept goes with the answer.
 */
static void
keep_answer(DlogSession *session, Message *answer)
{
	int n = MESSAGE_OBJECTS(answer->type);
	int i;

	if (n == 0)
		return;
	PG_TRY();
	{
		for (i = 0; i < n; i++)
		{
			void **content = (void **) (answer->payload + i * sizeof(void *));

			if (*content == NULL)
				continue;
			object_keep(bound_actor_address(session->actor), *content);
			*content = NULL;
		}
	}
	PG_CATCH();
	{
		message_free(answer);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static DlogResult
face_session_ask(DlogSession *session, DlogAddress to, uint16 type, void *payload, Size size,
				 long timeout_ms, uint16 answer_type, void *answer, Size answer_size)
{
	SendResult result;
	Message *message;

	if (MESSAGE_OBJECTS(type) > 0)
	{
		objects_release(type, payload, size);
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a request of a session cannot carry objects"),
				 errhint("Send them in a message of their own.")));
	}
	message = session_ask(inside(to), type, payload, size, timeout_ms, &result);
	if (message == NULL)
		return result == SEND_OK ? DLOG_TIMEOUT : (DlogResult) result;
	if (message->type != answer_type || message->size != answer_size)
	{
		message_free(message);
		return DLOG_NO_ACTOR;
	}
	memcpy(answer, message->payload, answer_size);
	keep_answer(session, message);
	message_free(message);
	return DLOG_OK;
}

/* ------------------------------------------------- by anybody's address */

static DlogAddress
face_spawn(DlogAddress self, const DlogBehavior *behavior, const void *state, Size size)
{
	ActorCold *spawner = actor_cold(self.slot);

	if (behavior->number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("behavior \"%s\" is not registered", behavior->name),
				 errhint("Name it in the DLOG_REGISTER of its library's _PG_init.")));
	return outside(native_actor_spawn_for(spawner->database, spawner->role, behavior->number, state, size));
}

static bool
face_is_alive(DlogAddress actor)
{
	return actor_exists(inside(actor));
}

static void
require_local(DlogAddress address)
{
	if (address.node != THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the actor is on another node")));
}

static void
face_monitor(DlogAddress self, DlogAddress other)
{
	require_local(other);
	actor_monitor(inside(self), inside(other));
}

static void
face_demonitor(DlogAddress self, DlogAddress other)
{
	actor_demonitor(inside(self), inside(other));
}

static bool
face_link(DlogAddress self, DlogAddress other)
{
	require_local(other);
	return actor_link(inside(self), inside(other));
}

static void
face_unlink(DlogAddress self, DlogAddress other)
{
	actor_unlink(inside(self), inside(other));
}

static void
face_send_exit(DlogAddress self, DlogAddress other, const char *reason)
{
	actor_send_exit(inside(self), inside(other), reason);
}

static bool
face_name_register(DlogAddress self, const char *name, DlogAddress actor)
{
	return name_register(actor_cold(self.slot)->database, name, inside(actor)) == NAME_OK;
}

static bool
face_name_unregister(DlogAddress self, const char *name)
{
	return name_unregister(actor_cold(self.slot)->database, name);
}

/* An actor of another behavior is none that has the name. */
static bool
face_name_lookup(DlogAddress self, const char *name, const DlogBehavior *behavior, DlogAddress *actor)
{
	ActorAddress found;

	if (!name_lookup(actor_cold(self.slot)->database, name, &found) || !actor_is_native(found) ||
		!shard_behavior_is(actor_slot(found.slot)->behavior_number, behavior->family->number))
		return false;
	*actor = outside(found);
	return true;
}

static DlogTimer
face_timer_set(DlogAddress self, DlogAddress to, int64 ms, bool repeats,
			   uint16 type, const void *payload, Size size)
{
	Message *message = message_create(type, size);

	memcpy(message->payload, payload, size);
	message->from = inside(self);
	return repeats ? timer_send_every(inside(self), inside(to), message, ms) :
					 timer_send_after(inside(self), inside(to), message, ms);
}

static bool
face_timer_cancel(DlogTimer timer)
{
	return timer_cancel(timer);
}

static void *
face_object_create(DlogAddress self, Size size)
{
	return object_create(inside(self), size);
}

static void
face_object_keep(DlogAddress self, void *content)
{
	object_keep(inside(self), content);
}

static void
face_object_leave(DlogAddress self, void *content)
{
	object_leave(inside(self), content);
}

static void
face_object_share(DlogAddress self, void *content)
{
	object_keep(inside(self), content);
	object_share(content);
}

static void
face_object_drop(DlogAddress self, void *content)
{
	object_drop(inside(self), content);
}

static const DlogActorApi api = {
	.abi = DLOG_ABI,
	.size = sizeof(DlogActorApi),
	.sender = face_sender,
	.send_place = (void *(*) (DlogActor *, uint32, uint32, uint16, Size)) native_send_place,
	.send = face_send,
	.reply = face_reply,
	.stop = face_stop,
	.trap_exits = face_trap_exits,
	.stash = face_stash,
	.unstash = face_unstash,
	.become = face_become,
	.unhandled = face_unhandled,
	.decode = face_decode,
	.session = face_session,
	.session_address = face_session_address,
	.session_send = face_session_send,
	.session_ask = face_session_ask,
	.spawn = face_spawn,
	.is_alive = face_is_alive,
	.monitor = face_monitor,
	.demonitor = face_demonitor,
	.link = face_link,
	.unlink = face_unlink,
	.send_exit = face_send_exit,
	.name_register = face_name_register,
	.name_unregister = face_name_unregister,
	.name_lookup = face_name_lookup,
	.timer_set = face_timer_set,
	.timer_cancel = face_timer_cancel,
	.object_create = face_object_create,
	.object_size = object_size,
	.object_number = object_number,
	.object_keep = face_object_keep,
	.object_leave = face_object_leave,
	.object_share = face_object_share,
	.object_refer = object_refer,
	.object_drop = face_object_drop,
};

/* ---------------------------------------------------------- registrations */

static void
register_behaviors(DlogRegistration *registration)
{
	int i;

	for (i = 0; i < registration->n_behaviors; i++)
	{
		DlogBehavior *behavior = registration->behaviors[i];

		if (runtime_behavior(behavior->name) != 0)
			ereport(FATAL,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("library \"%s\" registers behavior \"%s\", which exists",
							registration->library, behavior->name)));
		behavior->number = runtime_register_behavior(behavior->name, (NativeHandler) behavior->dispatch);
	}
	for (i = 0; i < registration->n_behaviors; i++)
	{
		DlogBehavior *behavior = registration->behaviors[i];

		if (behavior->family->number == 0)
			ereport(FATAL,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("library \"%s\" registers table \"%s\" without its behavior",
							registration->library, behavior->name)));
		runtime_behavior_describe(behavior->number, behavior->family->number,
								  behavior->message_names, behavior->n_messages);
	}
}

/*
 * c_face_register_all
 *		In the postmaster, when all libraries have been loaded.
 */
void
c_face_register_all(void)
{
	DlogRegistration *registration = *(DlogRegistration **) find_rendezvous_variable(DLOG_REGISTRATIONS_);

	for (; registration != NULL; registration = registration->next)
	{
		/* After a crash shared memory is set up again; libraries stay. */
		if (registration->is_done)
			continue;
		if (registration->abi != DLOG_ABI || registration->api_size > sizeof(DlogActorApi))
			ereport(FATAL,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("library \"%s\" was compiled for another version of dlog/actor.h", registration->library),
					 errdetail("It has version %u and %u bytes, dlog has version %u and %zu bytes.",
							   registration->abi, registration->api_size, DLOG_ABI, sizeof(DlogActorApi)),
					 errhint("Compile it again.")));
		*registration->api = &api;
		register_behaviors(registration);
		registration->is_done = true;
	}
}
