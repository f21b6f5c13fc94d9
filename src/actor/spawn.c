/*
 * spawn.c
 *		How an actor comes to life, and what refers to it.
 *
 * Arguments of init are kept with the actor, for a restart runs init again.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "actor/actor_internal.h"
#include "base/guc.h"
#include "transport/transport.h"

void (*actor_supervise_hook)(const char *supervisor, ActorSpawn *spawn);

/* --------------------------------------------------------------- arguments */

/*
 * Before the bytes of each argument; those are aligned.  The layout of its
 * type comes after them.
 */
typedef struct ArgHeader
{
	uint32 size;
	Oid type;
	uint32 layout_size;
	bool is_by_value;
	bool is_null;
} ArgHeader;

StaticAssertDecl(sizeof(ArgHeader) == MAXALIGN(sizeof(ArgHeader)), "an argument is aligned");

static void
append_aligned(StringInfo bytes, const void *data, Size size)
{
	if (size > 0)
		appendBinaryStringInfo(bytes, data, size);
	while (bytes->len != MAXALIGN(bytes->len))
		appendStringInfoChar(bytes, '\0');
}

static Value *
args_create(const ActorSpawn *spawn, Oid init)
{
	Oid *types;
	int n_types;
	StringInfoData bytes;

	if (spawn->n_args == 0)
		return NULL;
	(void) get_func_signature(init, &types, &n_types);
	initStringInfo(&bytes);
	for (int i = 0; i < spawn->n_args; i++)
	{
		ValueType type = value_type(types[i]);
		Size size;
		Datum flat = value_flatten(spawn->args[i], type, spawn->args_null[i], &size);
		int n;
		const Oid *layout = type_layout(types[i], &n);
		ArgHeader header;

		/* It goes into a table, so what is between its fields is not to be of chance. */
		memset(&header, 0, sizeof(header));
		header.size = size;
		header.type = types[i];
		header.layout_size = sizeof(Oid) * n;
		header.is_by_value = type.is_by_value;
		header.is_null = spawn->args_null[i];
		append_aligned(&bytes, &header, sizeof(header));
		append_aligned(&bytes, header.is_by_value ? (char *) &flat : DatumGetPointer(flat), size);
		append_aligned(&bytes, layout, header.layout_size);
	}
	return value_of_bytes(bytes.data, bytes.len);
}

static pg_noreturn void
refuse_args(Oid init, int n_args, const char *difference)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("the arguments that the actor was spawned with are not those of its init"),
			 difference != NULL ?
				 errdetail_internal("%s", difference) :
				 errdetail("There are %d of them, and init is %s now.", n_args, format_procedure(init)),
			 errhint("Let init take what it took before, or spawn another actor.")));
}

/*
 * args_read
 *		The arguments as datums for a behavior's init; good for as long as the
 *		value, or the current memory context if that is shorter.
 *
 * ERROR 42804 when init takes others than the actor was spawned with.
 */
Datum *
args_read(const Value *value, int n_args, Oid init, bool **nulls)
{
	Datum *args = palloc(sizeof(Datum) * Max(n_args, 1));
	const char *at = n_args == 0 ? NULL : value_bytes(value);
	Oid *types;
	int n_types;

	(void) get_func_signature(init, &types, &n_types);
	if (n_types != n_args)
		refuse_args(init, n_args, NULL);
	*nulls = palloc(sizeof(bool) * Max(n_args, 1));
	for (int i = 0; i < n_args; i++)
	{
		const ArgHeader *header = (const ArgHeader *) at;
		const Oid *layout = (const Oid *) (at + sizeof(ArgHeader) + MAXALIGN(header->size));
		const char *difference;

		if (header->type != types[i])
			refuse_args(init, n_args,
						psprintf("Argument %d is of type %s, and not of type %s.", i + 1,
								 format_type_be(header->type), format_type_be(types[i])));
		difference = layout_difference(header->type, layout, header->layout_size / sizeof(Oid));
		if (difference != NULL)
			refuse_args(init, n_args, difference);
		at += sizeof(ArgHeader);
		(*nulls)[i] = header->is_null;
		args[i] = PointerGetDatum(at);
		if (header->is_by_value && !header->is_null)
			memcpy(&args[i], at, sizeof(Datum));
		at += MAXALIGN(header->size) + MAXALIGN(header->layout_size);
	}
	return args;
}

/* ------------------------------------------------------------------- spawn */

static void
fill_in(SqlActor *actor, const ActorSpawn *spawn, const Behavior *behavior, int mailbox_limit, const SystemBehavior *system)
{
	ActorBody *body = actor->body;

	actor->database = runtime_database(body->database);
	actor->limit = mailbox_limit > 0 ? mailbox_limit : dlog_mailbox_limit;
	actor->phase = spawn->is_held ? PHASE_HELD : PHASE_NEW;
	actor->kind = system != NULL									? ACTOR_OF_SYSTEM :
				  spawn->is_loaded || OidIsValid(behavior->journal) ? ACTOR_DURABLE :
																	  ACTOR_OF_SQL;
	body->role = spawn->owner;
	body->supervisor = spawn->supervisor;
	body->child = spawn->child;
	body->system = system;
	if (system != NULL)
	{
		body->system_state = arena_alloc(system->state_size);
		memset(body->system_state, 0, system->state_size);
		if (spawn->system_state != NULL)
		{
			memcpy(body->system_state, spawn->system_state, spawn->system_state_size);
			body->args = value_of_bytes(spawn->system_state, spawn->system_state_size);
		}
		return;
	}
	actor->behavior = body->first_behavior = spawn->behavior;
	body->n_args = spawn->n_args;
	if (spawn->is_loaded)
		body->args = spawn->arg_size > 0 ? value_of_bytes(spawn->arg_bytes, spawn->arg_size) : NULL;
	else
		body->args = args_create(spawn, behavior->init);
	if (actor->kind != ACTOR_DURABLE)
		return;
	body->durable = arena_alloc(sizeof(DurableBody));
	memset(body->durable, 0, sizeof(DurableBody));
	body->durable->id = spawn->durable;
	actor->is_suspended = spawn->is_suspended;
	body->durable->breaks = spawn->is_suspended ? 1 : 0;
	if (!spawn->is_loaded)
		body->durable->id = actor_journal->create(spawn, body->args ? value_bytes(body->args) : NULL,
												  body->args ? body->args->size : 0);
	sql_actor_is_durable(body->self, body->durable->id);
}

static void
take_name(const char *name, ActorAddress address)
{
	int64 durable;

	if (name_register(MyDatabaseId, name, address) == NAME_TAKEN ||
		(actor_journal != NULL && actor_journal->find_name(name, &durable) &&
		 sql_actor_durable(address) != durable))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is already an actor named \"%s\"", name),
				 errhint("dlog.whereis() finds it; dlog.unregister() takes the name away from it.")));
}

/*
 * A durable actor that is loaded lives at once, unless somebody has loaded it
 * meanwhile; then there is no address.
 */
static ActorAddress
come_to_life(const ActorSpawn *spawn, ActorAddress address)
{
	if (!actor_journal->enter(spawn->durable, address, true))
	{
		sql_actor_unspawned(address);
		return (ActorAddress){0};
	}
	if (spawn->name != NULL)
		(void) name_register(MyDatabaseId, spawn->name, address);
	return address;
}

/*
 * actor_spawn
 *		The address is good at once.  In a transaction the actor lives when
 *		that commits.
 */
ActorAddress
actor_spawn(const ActorSpawn *spawn)
{
	const SystemBehavior *system = spawn->system_behavior ? system_behavior_find(spawn->system_behavior) : NULL;
	Behavior *behavior = system == NULL && !spawn->is_broken ? behavior_acquire(spawn->behavior) : NULL;
	BehaviorOutline outline = {.mailbox_limit = 0};
	bool is_transaction = IsTransactionState() && !spawn->is_loaded;
	Message *pending = NULL;
	ActorAddress address = {0};
	SqlActor *volatile actor = NULL;

	if (behavior != NULL)
	{
		outline.name = behavior->name;
		outline.mailbox_limit = behavior->mailbox_limit;
	}
	else if (system == NULL)
		behavior_outline(spawn->behavior, &outline);
	runtime_require();
	if (runtime_database(MyDatabaseId) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no schedulers run in this database yet"),
				 errhint("They start when the transaction that creates extension \"dlog\" commits.")));
	PG_TRY();
	{
		if (is_transaction)
			pending = message_create(LOCAL_SPAWN, 0);
		actor = sql_actor_claim(system ? system->name : NameStr(outline.name), MyDatabaseId, spawn->owner,
								&address);
		/* The name first: who comes second hears so at once, and does not wait for the first. */
		if (spawn->name != NULL && !spawn->is_loaded)
			take_name(spawn->name, address);
		fill_in(actor, spawn, behavior, outline.mailbox_limit, system);
		if (actor->body->durable != NULL && !spawn->is_loaded)
			(void) actor_journal->enter(actor->body->durable->id, address, false);
	}
	PG_CATCH();
	{
		if (actor != NULL)
			sql_actor_unspawned(address);
		if (pending != NULL)
			message_free(pending);
		if (behavior != NULL)
			behavior_release(behavior);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (behavior != NULL)
		behavior_release(behavior);
	if (spawn->is_loaded)
		return come_to_life(spawn, address);
	if (is_transaction)
		pending_add(address, pending);
	else
		sql_actor_spawned(address);
	return address;
}

/* -------------------------------------------------------------- references */

ActorRef
actor_ref_of(ActorAddress address)
{
	ActorRef ref;
	int64 durable = address.node == THIS_NODE ? sql_actor_durable(address) : 0;

	if (durable != 0)
		return actor_ref_of_durable(durable);
	ref.node_id = (int64) node_id_of(address.node);
	ref.incarnation = (uint64) sql_actor_server_start() << 32 | address.incarnation;
	ref.slot = address.slot;
	ref.database = MyDatabaseId;
	return ref;
}

bool
actor_address_of(const ActorRef *ref, ActorAddress *address)
{
	address->node = node_of_id((uint64) ref->node_id);
	address->slot = ref->slot;
	address->incarnation = (uint32) ref->incarnation;

	/* A durable actor may have been brought here. */
	if (address->node == NODE_NOT_FOUND && ref->slot == 0 && actor_journal != NULL && actor_journal->was_here(ref))
		address->node = THIS_NODE;
	return address->node != NODE_NOT_FOUND;
}

/*
 * actor_of_ref
 *		The actor of this node and database that a reference means.  False: it
 *		is of this node and gone.
 */
bool
actor_of_ref(const ActorRef *ref, ActorAddress *address)
{
	if (!actor_address_of(ref, address) || address->node != THIS_NODE)
		return false;
	if (ref->slot == 0)
		return actor_ref_durable(ref) != 0 && actor_journal != NULL &&
			   actor_journal->find(actor_ref_durable(ref), address);
	return ref->database == MyDatabaseId &&
		   (uint32) (ref->incarnation >> 32) == sql_actor_server_start() && sql_actor_is_meant(*address);
}

/* The same for actors of all kinds, who must be alive. */
bool
actor_of_this_life(const ActorRef *ref, ActorAddress *address)
{
	return actor_address_of(ref, address) && address->node == THIS_NODE && ref->database == MyDatabaseId &&
		   (uint32) (ref->incarnation >> 32) == sql_actor_server_start() && actor_exists(*address);
}

bool
actor_self(ActorRef *self)
{
	if (current_turn == NULL)
		return false;
	*self = actor_ref_of(current_turn->self);
	return true;
}
