/*
 * dlog/actor.h
 *		Actors in C, for extensions.  docs/actors_in_c.md explains all of it.
 *
 * Include postgres.h first.  A library that includes this is loaded by
 * shared_preload_libraries, before or after dlog, and registers its behaviors
 * in its _PG_init with DLOG_REGISTER.  Nothing is linked: dlog fills in a
 * table of functions when the server starts, and refuses a library that was
 * compiled for another version of that table.
 *
 * Names that end in an underscore are not for you.
 */
#ifndef DLOG_ACTOR_FACE_H
#define DLOG_ACTOR_FACE_H

#include "fmgr.h"
#include "miscadmin.h"

#define DLOG_ABI 2

/* ------------------------------------------------------------------ types */

/* Where an actor of this node lives.  DLOG_BEHAVIOR() makes typed ones. */
typedef struct DlogAddress
{
	uint32 node;
	uint32 slot;
	uint32 incarnation;
} DlogAddress;

/* The actor whose handler runs; there is more behind this. */
typedef struct DlogActor
{
	DlogAddress address_;
} DlogActor;

typedef struct DlogSession DlogSession; /* this backend, as an actor */
typedef uint64 DlogTimer;				/* 0: none */

typedef enum DlogResult
{
	DLOG_OK,
	DLOG_NO_ACTOR,	   /* it is gone */
	DLOG_MAILBOX_FULL, /* too much waits for it */
	DLOG_NODE_DOWN,	   /* never between actors of one node */
	DLOG_NO_MEMORY,	   /* dlog.shared_memory_size is used up */
	DLOG_TIMEOUT	   /* of dlog_ask() */
} DlogResult;

/* Bytes of state that an actor can have; more is kept in an iso. */
#define DLOG_STATE_SIZE 96
#define DLOG_REASON_LENGTH 256

/* A message as it comes.  Handlers get it typed. */
typedef struct DlogMessage
{
	uint16 type;
	DlogAddress from;
	uint32 size;
	char *payload;
} DlogMessage;

typedef struct DlogBehavior
{
	const char *name;
	void (*dispatch)(DlogActor *self, void *state, const DlogMessage *message);
	struct DlogBehavior *family; /* the behavior that this is a table of */
	uint32 n_messages;
	const char *const *message_names;
	int number; /* filled in by dlog */
} DlogBehavior;

/* What dlog does for us.  It only grows at its end within one DLOG_ABI. */
typedef struct DlogActorApi
{
	uint32 abi;
	uint32 size;

	DlogAddress (*sender)(DlogActor *self);
	void *(*send_place)(DlogActor *self, uint32 slot, uint32 incarnation, uint16 type, Size size);
	DlogResult (*send)(DlogActor *self, DlogAddress to, uint16 type, void *payload, Size size);
	DlogResult (*reply)(DlogActor *self, uint16 type, void *payload, Size size);
	void (*stop)(DlogActor *self, const char *reason);
	void (*trap_exits)(DlogActor *self, bool traps);
	void (*stash)(DlogActor *self);
	void (*unstash)(DlogActor *self);
	void (*become)(DlogActor *self, const DlogBehavior *table);
	void (*unhandled)(DlogActor *self, const DlogMessage *message);
	bool (*decode)(const DlogMessage *message, DlogAddress *actor, char *reason, DlogResult *result);

	DlogSession *(*session)(void);
	DlogAddress (*session_address)(DlogSession *session);
	DlogResult (*session_send)(DlogSession *session, DlogAddress to, uint16 type, void *payload, Size size);
	DlogResult (*session_ask)(DlogSession *session, DlogAddress to, uint16 type, void *payload, Size size,
							  long timeout_ms, uint16 reply_type, void *reply, Size reply_size);

	/* the rest by an actor's or a session's address */
	DlogAddress (*spawn)(DlogAddress self, const DlogBehavior *behavior, const void *state, Size size);
	bool (*is_alive)(DlogAddress actor);
	void (*monitor)(DlogAddress self, DlogAddress other);
	void (*demonitor)(DlogAddress self, DlogAddress other);
	bool (*link)(DlogAddress self, DlogAddress other);
	void (*unlink)(DlogAddress self, DlogAddress other);
	void (*send_exit)(DlogAddress self, DlogAddress other, const char *reason);
	bool (*name_register)(DlogAddress self, const char *name, DlogAddress actor);
	bool (*name_unregister)(DlogAddress self, const char *name);
	bool (*name_lookup)(DlogAddress self, const char *name, const DlogBehavior *behavior, DlogAddress *actor);
	DlogTimer (*timer_set)(DlogAddress self, DlogAddress to, int64 ms, bool repeats,
						   uint16 type, const void *payload, Size size);
	bool (*timer_cancel)(DlogTimer timer);
	void *(*object_create)(DlogAddress self, Size size);
	Size (*object_size)(const void *content);
	uint64 (*object_number)(const void *content);
	void (*object_keep)(DlogAddress self, void *content);
	void (*object_leave)(DlogAddress self, void *content);
	void (*object_share)(DlogAddress self, void *content);
	void (*object_refer)(const void *content);
	void (*object_drop)(DlogAddress self, void *content);
} DlogActorApi;

/* One for each library that includes this; NULL: dlog is not loaded. */
extern const DlogActorApi *dlog_api_;
__attribute__((weak, visibility("hidden"))) const DlogActorApi *dlog_api_;

/* ----------------------------------------------------------- registration */

typedef struct DlogRegistration
{
	uint32 abi;
	uint32 api_size; /* that this library knows */
	const char *library;
	const DlogActorApi **api;
	DlogBehavior *const *behaviors;
	int n_behaviors;
	bool is_done;
	struct DlogRegistration *next;
} DlogRegistration;

#define DLOG_REGISTRATIONS_ "dlog.actor.registrations"

/*
 * DLOG_REGISTER("library", Behavior, ...), in _PG_init: makes behaviors known
 * to all processes.
 */
#define DLOG_REGISTER(library_name, ...) \
	do \
	{ \
		static DlogBehavior *const behaviors_[] = {DLOG_EACH_(DLOG_BEHAVIOR_POINTER_, , __VA_ARGS__)}; \
		static DlogRegistration registration_ = { \
			DLOG_ABI, \
			sizeof(DlogActorApi), \
			library_name, \
			&dlog_api_, \
			behaviors_, \
			lengthof(behaviors_), \
			false, \
			NULL}; \
		dlog_register_(&registration_); \
	} while (0)

#define DLOG_BEHAVIOR_POINTER_(unused, behavior) &behavior##_behavior,

static inline void
dlog_register_(DlogRegistration *registration)
{
	DlogRegistration **first = (DlogRegistration **) find_rendezvous_variable(DLOG_REGISTRATIONS_);

	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library \"%s\" must be loaded when the server starts", registration->library),
				 errhint("Add it to shared_preload_libraries and restart the server.")));
	registration->next = *first;
	*first = registration;
}

/* The table, where it is not certain that dlog is there. */
static inline const DlogActorApi *
dlog_require_(void)
{
	if (dlog_api_ == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dlog must be loaded when the server starts"),
				 errhint("Add dlog to shared_preload_libraries and restart the server.")));
	return dlog_api_;
}

/* ---------------------------------------------------------------- objects */

/*
 * DLOG_OBJECT(Type): memory in which there is a Type, maybe with more behind
 * it, that actors can hand to each other.  It makes the types
 *
 *		Type_iso	the only reference: read, write, move
 *		Type_val	one of many references: read
 *		Type_tag	which object it is, and nothing else
 *
 * The first two are arrays of one element, so that the compiler refuses to
 * copy them: an iso is moved, a val is shared.
 */
#define DLOG_OBJECT(Type) \
	struct Type##_iso_must_be_moved; \
	struct Type##_val_is_immutable; \
	typedef struct Type##_moved_ \
	{ \
		double only_dlog_move_gives_this; \
		struct Type##_iso_must_be_moved *variable; \
	} Type##_moved_; \
	typedef struct Type##_shared_ \
	{ \
		double only_dlog_share_gives_this; \
		struct Type##_val_is_immutable *variable; \
	} Type##_shared_; \
	typedef struct Type##_iso_must_be_moved \
	{ \
		Type *iso_; \
		Type##_moved_ moved_[0]; \
	} Type##_iso[1]; \
	typedef struct Type##_val_is_immutable \
	{ \
		const Type *val_; \
		Type##_shared_ shared_[0]; \
	} Type##_val[1]; \
	typedef struct Type##_tag_is_identity_only \
	{ \
		uint64 number_; \
	} Type##_tag

/* Type_iso x = dlog_new(self, Type, bytes): not cleared; ERROR 53400. */
#define dlog_new(self, Type, bytes) \
	{ \
		{ \
			(Type *) dlog_require_()->object_create(dlog_address(self), bytes) \
		} \
	}

/* Type_iso x = DLOG_EMPTY: holds nothing yet. */
#define DLOG_EMPTY \
	{ \
		{ \
			NULL \
		} \
	}
#define dlog_is_empty(x) (*(void *const *) (x) == NULL)

/* What is in it: of an iso to be written, of a val to be read. */
#define dlog_get(iso) ((__typeof__((iso)->iso_)) dlog_present_((void *) (iso)->iso_))
#define dlog_read(val) ((val)->val_)
#define dlog_size(x) (dlog_api_->object_size(*(void *const *) (x)))

/* In a message's initializers: the variable is empty afterwards; or it stays. */
#define dlog_move(iso) ((__typeof__((iso)->moved_[0])){0, (iso)})
#define dlog_share(val) ((__typeof__((val)->shared_[0])){0, (val)})

/* Type_tag t = dlog_tag(Type, x): its identity. */
#define dlog_tag(Type, x) ((Type##_tag){dlog_api_->object_number(*(void *const *) (x))})
#define dlog_same(tag, other) ((tag).number_ == (other).number_)

/*
 * Keep in "to", a variable of the actor's state, what "from", of a message or
 * a local variable, has; it is empty afterwards.  What comes in a message and
 * is not kept is freed after it.  (A val is kept out of a message.)
 */
#define dlog_keep(self, to, from) \
	do \
	{ \
		_Static_assert(__builtin_types_compatible_p(__typeof__(to), __typeof__(from)), \
					   "dlog_keep: both must be isos, or both vals, of one type"); \
		dlog_keep_(dlog_address(self), (void **) (to), (void **) (from)); \
	} while (0)

/* From now on it is never written: "to" is a val, the iso is empty afterwards. */
#define dlog_freeze(self, to, iso) \
	do \
	{ \
		_Static_assert(__builtin_types_compatible_p(__typeof__((to)->val_), const __typeof__(*(iso)->iso_) *), \
					   "dlog_freeze: of a val and an iso of one type"); \
		dlog_freeze_(dlog_address(self), (void **) (to), (void **) (iso)); \
	} while (0)

/* It is needed no more; the variable is empty afterwards. */
#define dlog_drop(self, x) dlog_drop_(dlog_address(self), (void **) (x))

/*
 * The compiler reports an iso that is used after it was sent where it can see
 * that (with -O1 or more); builds with assertions check it when they run.
 */
extern void dlog_iso_was_sent_(void)
	__attribute__((error("an iso is used after it was sent: it belongs to the receiver")));

static inline __attribute__((always_inline)) void *
dlog_present_(void *content)
{
#if defined(__OPTIMIZE__)
	if (__builtin_constant_p(content == NULL) && content == NULL)
		dlog_iso_was_sent_();
#endif
#if defined(USE_ASSERT_CHECKING) || defined(DLOG_DEBUG)
	if (content == NULL)
		elog(ERROR, "an iso is used after it was sent: it belongs to the receiver");
#endif
	return content;
}

static inline void
dlog_keep_(DlogAddress self, void **to, void **from)
{
	if (*to != NULL)
		elog(ERROR, "the variable that is to keep an object has one already");
	if (*from != NULL)
		dlog_api_->object_keep(self, *from);
	*to = *from;
	*from = NULL;
}

static inline void
dlog_freeze_(DlogAddress self, void **to, void **iso)
{
	void *content = dlog_present_(*iso);

	if (*to != NULL)
		elog(ERROR, "the variable that is to keep an object has one already");
	dlog_api_->object_share(self, content);
	*to = content;
	*iso = NULL;
}

static inline void
dlog_drop_(DlogAddress self, void **variable)
{
	void *content = *variable;

	*variable = NULL;
	if (content != NULL)
		dlog_api_->object_drop(self, content);
}

/* --------------------------------------------------------------- messages */

/*
 * DLOG_MESSAGE(Name, field, ...): a type of message.  A field is
 *
 *		value(type, name)	copied; a pointer cannot be one
 *		iso(Type, name)		an object that moves to the receiver
 *		val(Type, name)		an object that is shared with it
 *		tag(Type, name)		the identity of an object
 */
#define DLOG_MESSAGE(Name, ...) \
	typedef struct Name \
	{ \
		DLOG_EACH_(DLOG_OBJECT_MEMBER_, , ##__VA_ARGS__) \
		DLOG_EACH_(DLOG_VALUE_MEMBER_, , ##__VA_ARGS__) \
	} Name; \
	typedef struct Name##_initializers_ \
	{ \
		DLOG_EACH_(DLOG_INITIALIZER_, , ##__VA_ARGS__) \
	} Name##_initializers_; \
	enum \
	{ \
		Name##_n_objects_ = 0 DLOG_EACH_(DLOG_COUNT_, , ##__VA_ARGS__), \
		Name##_is_of_dlog_ = 0 \
	}; \
	DLOG_EACH_(DLOG_CHECK_, , ##__VA_ARGS__) \
	static inline DLOG_INLINE_ void Name##_check_(const Name##_initializers_ *from_) \
	{ \
		(void) from_; \
		DLOG_EACH_(DLOG_PRESENT_, , ##__VA_ARGS__) \
	} \
	_Static_assert(Name##_n_objects_ <= 7, #Name ": a message has at most 7 objects"); \
	_Static_assert(__alignof__(Name) <= 8, #Name ": a message is aligned to 8 bytes at most"); \
	_Static_assert(sizeof(Name) <= DLOG_MAX_MESSAGE, #Name ": a message is too large; let it have an iso"); \
	static inline DLOG_INLINE_ void Name##_fill_(Name *place_, const Name##_initializers_ *from_, \
																   DlogActor *self_, DlogSession *session_) \
	{ \
		(void) place_; \
		(void) from_; \
		(void) self_; \
		(void) session_; \
		Name##_check_(from_); \
		DLOG_EACH_(DLOG_FILL_, , ##__VA_ARGS__) \
	} \
	static inline DLOG_INLINE_ DlogResult Name##_send_(DlogActor *self_, DlogSession *session_, DlogAddress to_, \
																		 uint16 type_, Name##_initializers_ from_) \
	{ \
		Name *place_ = NULL; \
		Name message_; \
		Name##_check_(&from_); /* before there is a place that must be filled */ \
		if (session_ == NULL && sizeof(Name) <= DLOG_INLINE_MESSAGE && to_.node == 0) \
			place_ = (Name *) dlog_api_->send_place(self_, to_.slot, to_.incarnation, type_, sizeof(Name)); \
		if (place_ != NULL) \
		{ \
			Name##_fill_(place_, &from_, self_, session_); \
			return DLOG_OK; \
		} \
		Name##_fill_(&message_, &from_, self_, session_); \
		if (session_ != NULL) \
			return dlog_api_->session_send(session_, to_, type_, &message_, sizeof(Name)); \
		return dlog_api_->send(self_, to_, type_, &message_, sizeof(Name)); \
	} \
	static inline DLOG_INLINE_ Name *Name##_received_(const DlogMessage *message_) \
	{ \
		return (Name *) message_->payload; \
	} \
	typedef Name Name##_is_a_message_

#define DLOG_INLINE_ __attribute__((always_inline, unused))
#define DLOG_INLINE_MESSAGE 40
#define DLOG_MAX_MESSAGE (63 * 1024)

/*
 * DLOG_REQUEST(Name, Answer, field, ...): a message that is answered with one
 * of the type Answer, by dlog_reply().
 */
#define DLOG_REQUEST(Name, Answer, ...) \
	typedef Answer Name##_answer_; \
	typedef Answer##_initializers_ Name##_answer_initializers_; \
	enum \
	{ \
		Name##_answer_type_ = DLOG_LOCAL_TYPE_(2047, Answer##_n_objects_) \
	}; \
	static inline DLOG_INLINE_ void Name##_answer_fill_(Answer *place_, const Answer##_initializers_ *from_, DlogActor *self_) \
	{ \
		Answer##_fill_(place_, from_, self_, NULL); \
	} \
	DLOG_MESSAGE(Name, ##__VA_ARGS__)

#define DLOG_OBJECT_MEMBER_(unused, field) DLOG_OBJECT_MEMBER_##field
#define DLOG_OBJECT_MEMBER_value(type, name)
#define DLOG_OBJECT_MEMBER_tag(Type, name)
#define DLOG_OBJECT_MEMBER_iso(Type, name) Type##_iso name;
#define DLOG_OBJECT_MEMBER_val(Type, name) Type##_val name;
#define DLOG_OBJECT_MEMBER_ref(Type, name)

#define DLOG_VALUE_MEMBER_(unused, field) DLOG_VALUE_MEMBER_##field
#define DLOG_VALUE_MEMBER_value(type, name) type name;
#define DLOG_VALUE_MEMBER_tag(Type, name) Type##_tag name;
#define DLOG_VALUE_MEMBER_iso(Type, name)
#define DLOG_VALUE_MEMBER_val(Type, name)
#define DLOG_VALUE_MEMBER_ref(Type, name)

#define DLOG_INITIALIZER_(unused, field) DLOG_INITIALIZER_##field
#define DLOG_INITIALIZER_value(type, name) type name;
#define DLOG_INITIALIZER_tag(Type, name) Type##_tag name;
#define DLOG_INITIALIZER_iso(Type, name) Type##_moved_ name;
#define DLOG_INITIALIZER_val(Type, name) Type##_shared_ name;
#define DLOG_INITIALIZER_ref(Type, name)

#define DLOG_COUNT_(unused, field) DLOG_COUNT_##field
#define DLOG_COUNT_value(type, name)
#define DLOG_COUNT_tag(Type, name)
#define DLOG_COUNT_iso(Type, name) +1
#define DLOG_COUNT_val(Type, name) +1
#define DLOG_COUNT_ref(Type, name)

#define DLOG_CHECK_(unused, field) DLOG_CHECK_##field
#define DLOG_CHECK_value(type, name) \
	_Static_assert(__builtin_classify_type(*(type *) 0) != 5, \
				   #name ": a pointer is a ref, which is its actor's own and cannot be sent");
#define DLOG_CHECK_tag(Type, name)
#define DLOG_CHECK_iso(Type, name)
#define DLOG_CHECK_val(Type, name)
#define DLOG_CHECK_ref(Type, name) \
	_Static_assert(false, #name ": a ref is its actor's own and cannot be sent");

#define DLOG_PRESENT_(unused, field) DLOG_PRESENT_##field
#define DLOG_PRESENT_value(type, name)
#define DLOG_PRESENT_tag(Type, name)
#define DLOG_PRESENT_iso(Type, name) (void) dlog_present_(from_->name.variable ? from_->name.variable->iso_ : NULL);
#define DLOG_PRESENT_val(Type, name)
#define DLOG_PRESENT_ref(Type, name)

#define DLOG_FILL_(unused, field) DLOG_FILL_##field
#define DLOG_FILL_value(type, name) place_->name = from_->name;
#define DLOG_FILL_tag(Type, name) place_->name = from_->name;
#define DLOG_FILL_iso(Type, name) \
	place_->name->iso_ = (Type *) dlog_give_(self_, session_, from_->name.variable ? from_->name.variable->iso_ : NULL); \
	if (from_->name.variable) \
		from_->name.variable->iso_ = NULL;
#define DLOG_FILL_val(Type, name) \
	place_->name->val_ = from_->name.variable ? from_->name.variable->val_ : NULL; \
	if (place_->name->val_ != NULL) \
		dlog_api_->object_refer(place_->name->val_);
#define DLOG_FILL_ref(Type, name)

static inline __attribute__((always_inline)) void *
dlog_give_(DlogActor *self, DlogSession *session, void *content)
{
	if (content != NULL)
		dlog_api_->object_leave(session ? dlog_api_->session_address(session) : self->address_, content);
	return content;
}

#define DLOG_LOCAL_TYPE_(number, n_objects) (0x4000 | (n_objects) << 11 | (number))

/* -------------------------------------------------------------- behaviors */

/*
 * DLOG_BEHAVIOR(Name, State, Message, ...): what actors of this kind take.
 * It makes the type Name_ref, the address of such an actor.  Where the state or
 * a message has such a reference in it, DLOG_DECLARE(Name, Message, ...) comes
 * before them and DLOG_STATE(Name, State) after the state.
 */
#define DLOG_BEHAVIOR(Name, State, ...) \
	DLOG_DECLARE(Name, __VA_ARGS__); \
	DLOG_STATE(Name, State)

#define DLOG_DECLARE(Name, ...) \
	struct Name##_takes \
	{ \
		DLOG_EACH_(DLOG_TAKES_, , __VA_ARGS__) \
	}; \
	typedef struct Name##_ref \
	{ \
		DlogAddress address; \
		struct Name##_takes takes_[0]; \
	} Name##_ref; \
	typedef struct Name##_self \
	{ \
		struct Name##_takes takes_[0]; \
	} Name##_self; \
	extern DlogBehavior Name##_behavior

#define DLOG_STATE(Name, State) \
	typedef State Name##_state_; \
	_Static_assert(sizeof(State) <= DLOG_STATE_SIZE, #Name ": a state has at most 96 bytes; keep more in an iso")

#define DLOG_TAKES_(unused, Message) char Message;

/* The number by which the taker knows a message; does not compile for others. */
#define DLOG_TYPE_(taker, Message) \
	(Message##_is_of_dlog_ ? Message##_is_of_dlog_ : DLOG_LOCAL_TYPE_(__builtin_offsetof(__typeof__((taker).takes_[0]), Message), Message##_n_objects_))

/*
 * DLOG_HANDLER(Name, Message) { ... }: "self", "state" and "message" are
 * there, with their types.  DLOG_HANDLER_IN(Name, table, Message) is the same
 * for a table that the actor can become.
 */
#define DLOG_HANDLER(Name, Message) DLOG_HANDLER_(Name, Name, Message)
#define DLOG_HANDLER_IN(Name, table, Message) DLOG_HANDLER_(Name, Name##_##table, Message)
#define DLOG_HANDLER_(Name, Table, Message) \
	_Static_assert(sizeof(((Name##_ref *) 0)->takes_[0].Message) == 1, "unreachable"); \
	enum \
	{ \
		Table##_has_a_handler_for_##Message = 1 \
	}; \
	static void Table##_on_##Message(Name##_self *self, Name##_state_ *state, Message *message)

/*
 * DLOG_IMPLEMENT(Name, Message, ...), after the handlers, in one file: all
 * messages of the behavior.  DLOG_IMPLEMENT_TABLE(Name, table, Message, ...)
 * is the same for another table.
 */
#define DLOG_IMPLEMENT(Name, ...) \
	DLOG_IMPLEMENT_(Name, Name, #Name, __VA_ARGS__)
#define DLOG_IMPLEMENT_TABLE(Name, table, ...) \
	extern DlogBehavior Name##_##table##_behavior; \
	DLOG_IMPLEMENT_(Name, Name##_##table, #Name "." #table, __VA_ARGS__)

#define DLOG_IMPLEMENT_(Name, Table, text, ...) \
	_Static_assert(0 DLOG_EACH_(DLOG_ONE_, , __VA_ARGS__) == sizeof(struct Name##_takes), \
				   text ": every message that the behavior takes needs a handler"); \
	DLOG_EACH_(DLOG_HAS_HANDLER_, Table, __VA_ARGS__) \
	static void Table##_dispatch_(DlogActor *self_, void *state_, const DlogMessage *message_) \
	{ \
		switch (message_->type) \
		{ \
			DLOG_EACH_(DLOG_CASE_, (Name, Table), __VA_ARGS__) \
			default: \
				dlog_api_->unhandled(self_, message_); \
				break; \
		} \
	} \
	static const char *const Table##_message_names_[] = {DLOG_EACH_(DLOG_NAME_, Name, __VA_ARGS__)}; \
	DlogBehavior Table##_behavior = {text, Table##_dispatch_, &Name##_behavior, \
									 lengthof(Table##_message_names_), Table##_message_names_, 0}

#define DLOG_ONE_(unused, Message) +1
#define DLOG_NAME_(Name, Message) [__builtin_offsetof(struct Name##_takes, Message)] = #Message,
#define DLOG_HAS_HANDLER_(Table, Message) \
	_Static_assert(Table##_has_a_handler_for_##Message, "unreachable");
#define DLOG_CASE_(names, Message) DLOG_CASE_2_(DLOG_FIRST_ names, DLOG_SECOND_ names, Message)
#define DLOG_CASE_2_(Name, Table, Message) DLOG_CASE_3_(Name, Table, Message)
#define DLOG_CASE_3_(Name, Table, Message) \
	case DLOG_TYPE_(*(Name##_ref *) 0, Message): \
		Table##_on_##Message((Name##_self *) self_, (Name##_state_ *) state_, Message##_received_(message_)); \
		break;
#define DLOG_FIRST_(a, b) a
#define DLOG_SECOND_(a, b) b

/* ------------------------------------------------------------- who we are */

/* This backend as an actor: where there is no handler's "self". */
static inline DlogSession *
dlog_session(void)
{
	return dlog_require_()->session();
}

#define dlog_session_of_(self) _Generic((self), DlogSession * : (self), default : (DlogSession *) NULL)
#define dlog_actor_of_(self) _Generic((self), DlogSession * : (DlogActor *) NULL, default : (DlogActor *) (self))

/* The address of an actor or session. */
#define dlog_address(self) dlog_address_(dlog_actor_of_(self), dlog_session_of_(self))

static inline DlogAddress
dlog_address_(DlogActor *self, DlogSession *session)
{
	return session ? dlog_api_->session_address(session) : self->address_;
}

/* Name_ref me = dlog_self(self, Name): to be given to others. */
#define dlog_self(self, Name) \
	((Name##_ref){((DlogActor *) DLOG_SELF_OF_(self, Name))->address_})
#define DLOG_SELF_OF_(self, Name) _Generic((self), Name##_self * : (self))

#define dlog_is_alive(ref) (dlog_require_()->is_alive((ref).address))

/* ---------------------------------------------------------------- sending */

/*
 * dlog_send(self, to, Message, .field = ...): DLOG_OK says that it is on its
 * way.  Whatever the result, an iso is gone.
 */
#define dlog_send(self, to, Message, ...) \
	Message##_send_(dlog_actor_of_(self), dlog_session_of_(self), (to).address, \
					DLOG_TYPE_(to, Message), (Message##_initializers_){__VA_ARGS__})

/* dlog_reply(self, Request, .field = ...): in the handler of a request. */
#define dlog_reply(self, Request, ...) \
	dlog_reply_(self, Request, (Request##_answer_initializers_){__VA_ARGS__})
#define dlog_reply_(self, Request, ...) \
	__extension__({ \
		Request##_answer_initializers_ from_ = __VA_ARGS__; \
		Request##_answer_ answer_; \
		Request##_answer_fill_(&answer_, &from_, (DlogActor *) (self)); \
		dlog_api_->reply((DlogActor *) (self), Request##_answer_type_, &answer_, sizeof(answer_)); \
	})

/*
 * dlog_ask(session, to, Request, timeout_ms, &answer, .field = ...): waits
 * for the answer; a negative time is without end.  Objects in it are held by
 * the session.
 */
#define dlog_ask(session, to, Request, timeout_ms, answer, ...) \
	__extension__({ \
		DlogSession *session_of_ask_ = (session); \
		Request##_initializers_ from_ = {__VA_ARGS__}; \
		Request##_answer_ *answer_ = (answer); \
		Request message_; \
		Request##_fill_(&message_, &from_, NULL, session_of_ask_); \
		dlog_api_->session_ask(session_of_ask_, (to).address, DLOG_TYPE_(to, Request), &message_, sizeof(message_), \
							   timeout_ms, Request##_answer_type_, answer_, sizeof(*answer_)); \
	})

/* dlog_send_after(self, ms, to, Message, .field = ...), and again and again. */
#define dlog_send_after(self, ms, to, Message, ...) \
	DLOG_TIMER_(self, ms, false, to, Message, (Message##_initializers_){__VA_ARGS__})
#define dlog_send_every(self, ms, to, Message, ...) \
	DLOG_TIMER_(self, ms, true, to, Message, (Message##_initializers_){__VA_ARGS__})
#define DLOG_TIMER_(self, ms, repeats, to, Message, ...) \
	__extension__({ \
		_Static_assert(Message##_n_objects_ == 0, "a timer's message has no objects"); \
		Message##_initializers_ from_ = __VA_ARGS__; \
		Message message_; \
		Message##_fill_(&message_, &from_, NULL, NULL); \
		dlog_api_->timer_set(dlog_address(self), (to).address, ms, repeats, \
							 DLOG_TYPE_(to, Message), &message_, sizeof(message_)); \
	})
#define dlog_cancel(timer) (dlog_api_->timer_cancel(timer))

/* ------------------------------------------------------------ life, death */

/* Name_ref actor = dlog_spawn(self, Name, .field of its state = ...) */
#define dlog_spawn(self, Name, ...) \
	((Name##_ref){dlog_require_()->spawn(dlog_address(self), &Name##_behavior, \
										 &(Name##_state_){__VA_ARGS__}, sizeof(Name##_state_))})

/* After this message it is gone; "normal" ends none that is linked with it. */
#define dlog_stop(self, reason) (dlog_api_->stop((DlogActor *) (self), reason))

/* From the next message on this table handles what comes; "Name" alone: the first. */
#define dlog_become(self, Name, table) \
	(dlog_api_->become((DlogActor *) DLOG_SELF_OF_(self, Name), &Name##_##table##_behavior))
#define dlog_become_first(self, Name) \
	(dlog_api_->become((DlogActor *) DLOG_SELF_OF_(self, Name), &Name##_behavior))

/* Put this message aside; have all that were, in their order, before others. */
#define dlog_stash(self) (dlog_api_->stash((DlogActor *) (self)))
#define dlog_unstash(self) (dlog_api_->unstash((DlogActor *) (self)))

/*
 * Be told of an actor's end: by a DlogDown, which the behavior must take;
 * together with it, or by a DlogExit if exits are trapped.
 */
#define dlog_monitor(self, other) \
	(DLOG_MUST_TAKE_(self, DlogDown), dlog_api_->monitor(dlog_address(self), (other).address))
#define dlog_demonitor(self, other) (dlog_api_->demonitor(dlog_address(self), (other).address))
#define dlog_link(self, other) (dlog_api_->link(dlog_address(self), (other).address))
#define dlog_unlink(self, other) (dlog_api_->unlink(dlog_address(self), (other).address))
#define dlog_exit(self, other, reason) (dlog_api_->send_exit(dlog_address(self), (other).address, reason))
#define dlog_trap_exits(self, traps) \
	(DLOG_MUST_TAKE_(self, DlogExit), dlog_api_->trap_exits((DlogActor *) (self), traps))
#define DLOG_MUST_TAKE_(self, Message) ((void) sizeof((self)->takes_[0].Message))

/* An actor is gone; it was not there: "no such actor". */
typedef struct DlogDown
{
	DlogAddress actor;
	char reason[DLOG_REASON_LENGTH];
} DlogDown;

/* One that is linked with us is gone, or somebody wants us to be. */
typedef struct DlogExit
{
	DlogAddress actor;
	char reason[DLOG_REASON_LENGTH];
} DlogExit;

/* What we sent there reached nobody. */
typedef struct DlogUndelivered
{
	DlogAddress actor;
	DlogResult result;
} DlogUndelivered;

enum
{
	DlogUndelivered_is_of_dlog_ = 8,
	DlogDown_is_of_dlog_ = 9,
	DlogExit_is_of_dlog_ = 10,
	DlogUndelivered_n_objects_ = 0,
	DlogDown_n_objects_ = 0,
	DlogExit_n_objects_ = 0
};

static inline DlogDown *
DlogDown_received_(const DlogMessage *message)
{
	DlogDown *down = (DlogDown *) palloc0(sizeof(DlogDown));

	(void) dlog_api_->decode(message, &down->actor, down->reason, NULL);
	return down;
}

static inline DlogExit *
DlogExit_received_(const DlogMessage *message)
{
	DlogExit *signal = (DlogExit *) palloc0(sizeof(DlogExit));

	(void) dlog_api_->decode(message, &signal->actor, signal->reason, NULL);
	return signal;
}

static inline DlogUndelivered *
DlogUndelivered_received_(const DlogMessage *message)
{
	DlogUndelivered *undelivered = (DlogUndelivered *) palloc0(sizeof(DlogUndelivered));

	(void) dlog_api_->decode(message, &undelivered->actor, NULL, &undelivered->result);
	return undelivered;
}

/* Is it the actor that this reference names? */
#define dlog_is(an_address, ref) \
	((an_address).slot == (ref).address.slot && (an_address).incarnation == (ref).address.incarnation && \
	 (an_address).node == (ref).address.node)

/* ------------------------------------------------------------------ names */

/*
 * Names are unique in the actor's database.  dlog_register() says whether it
 * was free; dlog_whereis(self, Name, "name", &ref) whether such an actor has
 * it, of this behavior.
 */
#define dlog_register(self, name, ref) (dlog_require_()->name_register(dlog_address(self), name, (ref).address))
#define dlog_unregister(self, name) (dlog_require_()->name_unregister(dlog_address(self), name))
#define dlog_whereis(self, Name, name, ref) \
	__extension__({ \
		Name##_ref *ref_ = (ref); \
		dlog_require_()->name_lookup(dlog_address(self), name, &Name##_behavior, &ref_->address); \
	})

/* ------------------------------------------------------------------- each */

/* DLOG_EACH_(F, x, a, b, ...) is F(x, a) F(x, b) ..., for up to 24. */
#define DLOG_EACH_(F, x, ...) \
	DLOG_PICK_(unused, ##__VA_ARGS__, DLOG_E24_, DLOG_E23_, DLOG_E22_, DLOG_E21_, DLOG_E20_, DLOG_E19_, DLOG_E18_, \
			   DLOG_E17_, DLOG_E16_, DLOG_E15_, DLOG_E14_, DLOG_E13_, DLOG_E12_, DLOG_E11_, DLOG_E10_, DLOG_E9_, \
			   DLOG_E8_, DLOG_E7_, DLOG_E6_, DLOG_E5_, DLOG_E4_, DLOG_E3_, DLOG_E2_, DLOG_E1_, DLOG_E0_) \
	(F, x, ##__VA_ARGS__)
#define DLOG_PICK_(unused, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, \
				   a21, a22, a23, a24, picked, ...) \
	picked
#define DLOG_E0_(F, x)
#define DLOG_E1_(F, x, a) F(x, a)
#define DLOG_E2_(F, x, a, ...) F(x, a) DLOG_E1_(F, x, __VA_ARGS__)
#define DLOG_E3_(F, x, a, ...) F(x, a) DLOG_E2_(F, x, __VA_ARGS__)
#define DLOG_E4_(F, x, a, ...) F(x, a) DLOG_E3_(F, x, __VA_ARGS__)
#define DLOG_E5_(F, x, a, ...) F(x, a) DLOG_E4_(F, x, __VA_ARGS__)
#define DLOG_E6_(F, x, a, ...) F(x, a) DLOG_E5_(F, x, __VA_ARGS__)
#define DLOG_E7_(F, x, a, ...) F(x, a) DLOG_E6_(F, x, __VA_ARGS__)
#define DLOG_E8_(F, x, a, ...) F(x, a) DLOG_E7_(F, x, __VA_ARGS__)
#define DLOG_E9_(F, x, a, ...) F(x, a) DLOG_E8_(F, x, __VA_ARGS__)
#define DLOG_E10_(F, x, a, ...) F(x, a) DLOG_E9_(F, x, __VA_ARGS__)
#define DLOG_E11_(F, x, a, ...) F(x, a) DLOG_E10_(F, x, __VA_ARGS__)
#define DLOG_E12_(F, x, a, ...) F(x, a) DLOG_E11_(F, x, __VA_ARGS__)
#define DLOG_E13_(F, x, a, ...) F(x, a) DLOG_E12_(F, x, __VA_ARGS__)
#define DLOG_E14_(F, x, a, ...) F(x, a) DLOG_E13_(F, x, __VA_ARGS__)
#define DLOG_E15_(F, x, a, ...) F(x, a) DLOG_E14_(F, x, __VA_ARGS__)
#define DLOG_E16_(F, x, a, ...) F(x, a) DLOG_E15_(F, x, __VA_ARGS__)
#define DLOG_E17_(F, x, a, ...) F(x, a) DLOG_E16_(F, x, __VA_ARGS__)
#define DLOG_E18_(F, x, a, ...) F(x, a) DLOG_E17_(F, x, __VA_ARGS__)
#define DLOG_E19_(F, x, a, ...) F(x, a) DLOG_E18_(F, x, __VA_ARGS__)
#define DLOG_E20_(F, x, a, ...) F(x, a) DLOG_E19_(F, x, __VA_ARGS__)
#define DLOG_E21_(F, x, a, ...) F(x, a) DLOG_E20_(F, x, __VA_ARGS__)
#define DLOG_E22_(F, x, a, ...) F(x, a) DLOG_E21_(F, x, __VA_ARGS__)
#define DLOG_E23_(F, x, a, ...) F(x, a) DLOG_E22_(F, x, __VA_ARGS__)
#define DLOG_E24_(F, x, a, ...) F(x, a) DLOG_E23_(F, x, __VA_ARGS__)

#endif
