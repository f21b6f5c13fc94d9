/*
 * cache.c
 *		What this process has looked up of behaviors.
 *
 * An entry watches what it was made from: the row of dlog.behavior, its
 * domain, its functions and its types.  When one of these changes, in any
 * process, the entry is stale: whoever acquires the behavior next gets a new
 * one, while those who have the old one keep it until they release it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

typedef struct Watch
{
	int cache;
	uint32 hash;
} Watch;

typedef struct CachedBehavior
{
	Behavior behavior; /* first, so that one is the other */
	MemoryContext context;
	bool is_stale;
	bool is_current; /* in the table; else gone with its last reference */
	int n_watches;
	Watch *watches;
} CachedBehavior;

typedef struct Entry
{
	Oid id;
	CachedBehavior *cached;
} Entry;

static HTAB *entries;

/* That was looked up last; NULL: it is not in the table any more. */
static CachedBehavior *latest;

/* dlog.behavior, once one was read from it. */
static Oid catalog;

/* Counts invalidations: what was read across one is stale at once. */
static uint64 invalidations;

/* ------------------------------------------------------------ invalidation */

static void
catalog_invalidated(Datum argument, Oid relation)
{
	HASH_SEQ_STATUS scan;
	Entry *entry;

	if (OidIsValid(relation) && relation != catalog)
		return;
	invalidations++;
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->cached->is_stale = true;
}

static bool
watches(const CachedBehavior *cached, int cache, uint32 hash)
{
	for (int i = 0; i < cached->n_watches; i++)
		if (cached->watches[i].cache == cache &&
			(hash == 0 || cached->watches[i].hash == hash))
			return true;
	return false;
}

static void
object_invalidated(Datum argument, int cache, uint32 hash)
{
	HASH_SEQ_STATUS scan;
	Entry *entry;

	invalidations++;
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (watches(entry->cached, cache, hash))
			entry->cached->is_stale = true;
}

/* Who may call what has to be found out again. */
static void
roles_invalidated(Datum argument, int cache, uint32 hash)
{
	catalog_invalidated((Datum) 0, InvalidOid);
}

static void
create_cache(void)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(Entry), .hcxt = CacheMemoryContext};

	if (entries != NULL)
		return;
	entries = hash_create("dlog behaviors", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(catalog_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, object_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, object_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, object_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, roles_invalidated, (Datum) 0);
}

static void
watch(CachedBehavior *cached, int cache, Oid object)
{
	Watch *new_watch = &cached->watches[cached->n_watches++];

	new_watch->cache = cache;
	new_watch->hash = GetSysCacheHashValue1(cache, ObjectIdGetDatum(object));
}

/* ------------------------------------------------------------------ making */

static int
compare_handlers(const void *a, const void *b)
{
	Oid type_a = ((const BehaviorHandler *) a)->message_type;
	Oid type_b = ((const BehaviorHandler *) b)->message_type;

	return type_a < type_b ? -1 : type_a > type_b;
}

static const char *
search_path_of(Oid schema)
{
	if (schema == PG_CATALOG_NAMESPACE ||
		object_aclcheck(NamespaceRelationId, schema, ACL_ID_PUBLIC, ACL_CREATE) == ACLCHECK_OK)
		return "pg_catalog, pg_temp";
	return psprintf("pg_catalog, %s, pg_temp", quote_identifier(get_namespace_name(schema)));
}

static void
put_domain(CachedBehavior *cached, Oid id)
{
	Behavior *behavior = &cached->behavior;
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(id));
	Form_pg_type form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", id);
	form = (Form_pg_type) GETSTRUCT(tuple);
	behavior->id = id;
	behavior->name = form->typname;
	behavior->owner = form->typowner;
	behavior->search_path = search_path_of(form->typnamespace);
	watch(cached, TYPEOID, id);
	watch(cached, NAMESPACEOID, form->typnamespace);
	ReleaseSysCache(tuple);
}

/* See BehaviorHandler.takes_snapshots. */
static bool
takes_snapshots(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = form->provolatile == PROVOLATILE_VOLATILE &&
			 form->prolang != INTERNALlanguageId && form->prolang != ClanguageId;
	ReleaseSysCache(tuple);
	return result;
}

/* Apply functions have two arguments, upcasts one. */
static void
put_replay(CachedBehavior *cached, const BehaviorSpec *spec)
{
	Behavior *behavior = &cached->behavior;
	ListCell *cell;

	behavior->replay = palloc0(sizeof(BehaviorReplay) * Max(list_length(spec->replay), 1));
	foreach(cell, spec->replay)
	{
		BehaviorReplay *replay = &behavior->replay[behavior->n_replay++];
		Oid *types;
		int n_types;
		Oid result = get_func_signature(lfirst_oid(cell), &types, &n_types);

		replay->function = lfirst_oid(cell);
		replay->from = types[n_types - 1];
		replay->to = n_types == 1 ? result : InvalidOid;
		watch(cached, PROCOID, replay->function);
	}
}

static CachedBehavior *
make(const BehaviorSpec *spec, MemoryContext context)
{
	CachedBehavior *cached = palloc0(sizeof(CachedBehavior));
	Behavior *behavior = &cached->behavior;
	int n = list_length(spec->handlers);

	cached->context = context;
	cached->watches = palloc(sizeof(Watch) * (4 + 2 * n + list_length(spec->replay)));
	put_domain(cached, spec->behavior);
	behavior->state_type = spec->state;
	get_typlenbyval(spec->state, &behavior->state_length, &behavior->state_is_by_value);
	behavior->init = spec->init;
	behavior->mailbox_limit = spec->mailbox_limit;
	behavior->handler_timeout = spec->handler_timeout;
	behavior->journal = spec->journal;
	behavior->snapshot_every = spec->snapshot_every;
	behavior->snapshot_bytes = spec->snapshot_bytes;
	behavior->retention = pstrdup(spec->retention);
	behavior->audit = spec->audit;
	behavior->max_failures = spec->max_failures;
	put_replay(cached, spec);
	behavior->n_handlers = n;
	behavior->handlers = palloc0(sizeof(BehaviorHandler) * n);
	for (int i = 0; i < n; i++)
	{
		Oid function = list_nth_oid(spec->handlers, i);

		behavior->handlers[i].function = function;
		behavior->handlers[i].message_type = handler_message_type(function);
		behavior->handlers[i].takes_snapshots = takes_snapshots(function);
		watch(cached, PROCOID, function);
		watch(cached, TYPEOID, behavior->handlers[i].message_type);
	}
	qsort(behavior->handlers, n, sizeof(BehaviorHandler), compare_handlers);
	watch(cached, TYPEOID, spec->state);
	if (OidIsValid(spec->init))
		watch(cached, PROCOID, spec->init);
	return cached;
}

/* Read a behavior; NULL if there is none. */
static CachedBehavior *
load(Oid id)
{
	MemoryContext context;
	MemoryContext caller;
	uint64 started = invalidations;
	BehaviorSpec spec;
	CachedBehavior *cached;

	if (!behavior_spec_read(id, &spec))
		return NULL;
	if (spec.handlers == NIL)
		behavior_spec_resolve_names(&spec);
	behavior_spec_check(&spec);
	behavior_spec_check_durable(&spec);

	context = AllocSetContextCreate(CurrentMemoryContext, "dlog behavior", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	cached = make(&spec, context);
	MemoryContextSwitchTo(caller);
	catalog = behavior_relation();
	cached->is_stale = started != invalidations;
	MemoryContextSetParent(context, CacheMemoryContext);
	return cached;
}

static void
forget(CachedBehavior *cached)
{
	if (cached->behavior.references == 0)
		MemoryContextDelete(cached->context);
}

/* ------------------------------------------------------------------- usage */

static CachedBehavior *
look_up(Oid id)
{
	Entry *entry;
	CachedBehavior *cached;

	if (latest != NULL && latest->behavior.id == id && !latest->is_stale)
		return latest;
	create_cache();
	entry = hash_search(entries, &id, HASH_FIND, NULL);
	if (entry != NULL && !entry->cached->is_stale)
		return latest = entry->cached;

	cached = load(id);

	/* The old one is forgotten only now: its messages may need it. */
	entry = hash_search(entries, &id, HASH_FIND, NULL);
	if (entry != NULL)
	{
		CachedBehavior *old = entry->cached;

		hash_search(entries, &id, HASH_REMOVE, NULL);
		old->is_current = false;
		if (old == latest)
			latest = NULL;
		forget(old);
	}
	if (cached != NULL)
	{
		entry = hash_search(entries, &id, HASH_ENTER, NULL);
		entry->cached = cached;
		cached->is_current = true;
		latest = cached;
	}
	return cached;
}

/*
 * behavior_is
 *		Whether a type is a behavior.
 */
bool
behavior_is(Oid type)
{
	return get_typtype(type) == TYPTYPE_DOMAIN && look_up(type) != NULL;
}

static pg_noreturn void
refuse_dropped(Oid id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("behavior with OID %u does not exist", id),
			 errdetail("It has been dropped.")));
}

/* See behavior.h. */
void
behavior_outline(Oid id, BehaviorOutline *outline)
{
	BehaviorSpec spec;
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(id));

	if (!HeapTupleIsValid(tuple))
		refuse_dropped(id);
	outline->name = ((Form_pg_type) GETSTRUCT(tuple))->typname;
	ReleaseSysCache(tuple);
	if (!behavior_spec_read(id, &spec))
		refuse_dropped(id);
	outline->mailbox_limit = spec.mailbox_limit;
}

Behavior *
behavior_acquire(Oid id)
{
	CachedBehavior *cached = look_up(id);

	if (cached == NULL)
		refuse_dropped(id);
	cached->behavior.references++;
	return &cached->behavior;
}

Behavior *
behavior_acquire_by_name(const char *name)
{
	return behavior_acquire(behavior_find(name, false));
}

void
behavior_release(Behavior *behavior)
{
	CachedBehavior *cached = (CachedBehavior *) behavior;

	Assert(behavior->references > 0);
	if (--behavior->references == 0 && !cached->is_current)
		forget(cached);
}

/*
 * behavior_handler
 *		The handler for a type of message, ready to be called; NULL if the
 *		behavior takes none such.
 */
BehaviorHandler *
behavior_handler(Behavior *behavior, Oid message_type)
{
	int low = 0;
	int high = behavior->n_handlers;

	while (low < high)
	{
		int middle = (low + high) / 2;
		BehaviorHandler *handler = &behavior->handlers[middle];

		if (handler->message_type < message_type)
			low = middle + 1;
		else if (handler->message_type > message_type)
			high = middle;
		else
		{
			if (!OidIsValid(handler->flinfo.fn_oid))
				fmgr_info_cxt(handler->function, &handler->flinfo,
							  ((CachedBehavior *) behavior)->context);
			return handler;
		}
	}
	return NULL;
}

static BehaviorReplay *
replay_function(Behavior *behavior, Oid from, bool is_apply)
{
	for (int i = 0; i < behavior->n_replay; i++)
	{
		BehaviorReplay *replay = &behavior->replay[i];

		if (replay->from != from || OidIsValid(replay->to) == is_apply)
			continue;
		if (!OidIsValid(replay->flinfo.fn_oid))
			fmgr_info_cxt(replay->function, &replay->flinfo, ((CachedBehavior *) behavior)->context);
		return replay;
	}
	return NULL;
}

/*
 * behavior_apply_function, behavior_upcast_function
 *		What replays a message, and what makes a value of today's type of an
 *		old one; NULL: none.
 */
BehaviorReplay *
behavior_apply_function(Behavior *behavior, Oid message_type)
{
	return replay_function(behavior, message_type, true);
}

BehaviorReplay *
behavior_upcast_function(Behavior *behavior, Oid from)
{
	return replay_function(behavior, from, false);
}

/*
 * behavior_init_function
 *		Its init, ready to be called; NULL if it has none.
 */
FmgrInfo *
behavior_init_function(Behavior *behavior)
{
	if (!OidIsValid(behavior->init))
		return NULL;
	if (!OidIsValid(behavior->init_flinfo.fn_oid))
		fmgr_info_cxt(behavior->init, &behavior->init_flinfo,
					  ((CachedBehavior *) behavior)->context);
	return &behavior->init_flinfo;
}

void
behavior_refuse_message(Behavior *behavior, Oid message_type)
{
	StringInfoData types;
	bool is_row = message_type == RECORDOID || message_type == UNKNOWNOID;

	initStringInfo(&types);
	for (int i = 0; i < behavior->n_handlers; i++)
		appendStringInfo(&types, "%s%s", i > 0 ? ", " : "",
						 format_type_be(behavior->handlers[i].message_type));
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("behavior \"%s\" takes no messages of type %s", NameStr(behavior->name),
					format_type_be(message_type)),
			 errdetail("It takes %s.", types.data),
			 is_row ? errhint("Write the type: ROW(...)::%s.",
							  format_type_be(behavior->handlers[0].message_type)) :
					  0));
}
