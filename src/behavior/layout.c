/*
 * layout.c
 *		What values of a type are made of.
 *
 * A value of a composite type is read by the types that its attributes have
 * now.  ALTER TYPE ... ALTER ATTRIBUTE ... TYPE changes these, and rewrites
 * only what is in columns.  Whoever keeps values as they are in memory keeps
 * their *layout* as well, and compares it before they are read: an integer
 * that was taken for the address of a text would be anything.
 *
 * A layout lists all composite types that can be in a value: the type, how
 * many attributes it has, and their types (0: dropped).  What is no composite
 * type cannot be altered to be made of something else.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "behavior/behavior_internal.h"

typedef struct CachedLayout
{
	Oid type;
	bool is_stale;
	int n;
	Oid *oids;
	int n_relations; /* whose change makes it stale */
	Oid *relations;
} CachedLayout;

static HTAB *layouts;

/* Counts invalidations: what was read across one is stale at once. */
static uint64 invalidations;

static void
collect(Oid type, List **found)
{
	TupleDesc descriptor;

	check_stack_depth();
	/* The server's own cannot be altered. */
	if (type < FirstNormalObjectId)
		return;
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			collect(getBaseType(type), found);
			return;
		case TYPTYPE_BASE:
			if (OidIsValid(get_element_type(type)))
				collect(get_element_type(type), found);
			return;
		case TYPTYPE_RANGE:
			collect(get_range_subtype(type), found);
			return;
		case TYPTYPE_MULTIRANGE:
			collect(get_multirange_range(type), found);
			return;
		case TYPTYPE_COMPOSITE:
			break;
		default:
			return;
	}
	if (list_member_oid(*found, type))
		return;
	*found = lappend_oid(*found, type);
	descriptor = lookup_rowtype_tupdesc_copy(type, -1);
	for (int i = 0; i < descriptor->natts; i++)
		if (!TupleDescAttr(descriptor, i)->attisdropped)
			collect(TupleDescAttr(descriptor, i)->atttypid, found);
	FreeTupleDesc(descriptor);
}

/*
 * type_composites
 *		The composite types that can be in a value of this type, as Oids.
 */
List *
type_composites(Oid type)
{
	List *found = NIL;

	collect(type, &found);
	return found;
}

/* ------------------------------------------------------------------- cache */

static void
relation_invalidated(Datum argument, Oid relation)
{
	HASH_SEQ_STATUS scan;
	CachedLayout *cached;

	invalidations++;
	hash_seq_init(&scan, layouts);
	while ((cached = hash_seq_search(&scan)) != NULL)
		for (int i = 0; i < cached->n_relations; i++)
			if (!OidIsValid(relation) || cached->relations[i] == relation)
				cached->is_stale = true;
}

static void
create_cache(void)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(CachedLayout), .hcxt = CacheMemoryContext};

	layouts = hash_create("dlog layouts", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
}

/* Its composite types' layouts, one after the other. */
static List *
describe(const List *composites)
{
	List *oids = NIL;
	ListCell *cell;

	foreach(cell, composites)
	{
		TupleDesc descriptor = lookup_rowtype_tupdesc_copy(lfirst_oid(cell), -1);

		oids = lappend_oid(oids, lfirst_oid(cell));
		oids = lappend_oid(oids, descriptor->natts);
		for (int i = 0; i < descriptor->natts; i++)
			oids = lappend_oid(oids, TupleDescAttr(descriptor, i)->attisdropped ?
										 InvalidOid :
										 TupleDescAttr(descriptor, i)->atttypid);
		FreeTupleDesc(descriptor);
	}
	return oids;
}

static Oid *
copy_oids(const List *list)
{
	Oid *oids = MemoryContextAlloc(CacheMemoryContext, sizeof(Oid) * Max(list_length(list), 1));
	ListCell *cell;

	foreach(cell, list)
		oids[foreach_current_index(cell)] = lfirst_oid(cell);
	return oids;
}

static void
put(Oid type, List *composites)
{
	List *oids = describe(composites);
	List *relations = NIL;
	CachedLayout made = {.type = type};
	CachedLayout *cached;
	ListCell *cell;
	bool is_found;

	foreach(cell, composites)
		relations = lappend_oid(relations, get_typ_typrelid(lfirst_oid(cell)));
	made.n = list_length(oids);
	made.oids = copy_oids(oids);
	made.n_relations = list_length(relations);
	made.relations = copy_oids(relations);
	cached = hash_search(layouts, &type, HASH_ENTER, &is_found);
	if (is_found)
	{
		pfree(cached->oids);
		pfree(cached->relations);
	}
	*cached = made;
}

static const CachedLayout *
look_up(Oid type)
{
	uint64 started = invalidations;
	CachedLayout *cached;

	if (layouts == NULL)
		create_cache();
	cached = hash_search(layouts, &type, HASH_FIND, NULL);
	if (cached != NULL && !cached->is_stale)
		return cached;
	put(type, type_composites(type));
	cached = hash_search(layouts, &type, HASH_FIND, NULL);
	cached->is_stale = started != invalidations;
	return cached;
}

/* ------------------------------------------------------------------- usage */

/*
 * type_layout
 *		The layout of values of a type, to be copied at once; its length is in
 *		"n", 0 where nothing can be altered.
 */
const Oid *
type_layout(Oid type, int *n)
{
	const CachedLayout *cached;

	*n = 0;
	if (type < FirstNormalObjectId)
		return NULL;
	cached = look_up(type);
	*n = cached->n;
	return cached->oids;
}

/* Is an attribute that was of this type read as it was written? */
static bool
attribute_fits(Oid was, Form_pg_attribute attribute)
{
	HeapTuple tuple;
	Form_pg_type type;
	DroppedType dropped;
	bool fits;

	if (!attribute->attisdropped)
		return was == attribute->atttypid;
	if (!OidIsValid(was))
		return true;

	/* It is stepped over; its type may have been altered before. */
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(was));
	if (!HeapTupleIsValid(tuple))
		return type_dropped(was, &dropped) && dropped.length == attribute->attlen &&
			   dropped.is_by_value == attribute->attbyval && dropped.alignment == attribute->attalign;
	type = (Form_pg_type) GETSTRUCT(tuple);
	fits = type->typlen == attribute->attlen && type->typbyval == attribute->attbyval &&
		   type->typalign == attribute->attalign;
	ReleaseSysCache(tuple);
	return fits;
}

/* What has changed of one composite type; NULL: nothing but what was added, renamed or dropped. */
static char *
composite_difference(Oid type, const Oid *was, int n)
{
	TupleDesc descriptor;
	char *difference = NULL;

	/* Nor can anything of it be in a value that is read, then. */
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type)))
		return NULL;
	descriptor = lookup_rowtype_tupdesc_copy(type, -1);
	for (int i = 0; i < n && difference == NULL; i++)
	{
		Form_pg_attribute attribute = i < descriptor->natts ? TupleDescAttr(descriptor, i) : NULL;

		if (attribute == NULL || !attribute_fits(was[i], attribute))
			difference = psprintf("Attribute %d of type %s was of type %s.", i + 1,
								  format_type_be(type), type_text(was[i]));
	}
	FreeTupleDesc(descriptor);
	return difference;
}

/* What has changed of the composite types of a layout, where "type" stands for "was". */
static char *
composites_difference(Oid type, Oid was, const Oid *oids, int n)
{
	char *difference = NULL;

	for (int i = 0; i + 2 <= n && difference == NULL; i += 2 + oids[i + 1])
	{
		if (oids[i + 1] > n - i - 2)
			elog(ERROR, "a value of type %u has no valid layout", was);
		difference = composite_difference(oids[i] == was ? type : oids[i], oids + i + 2, oids[i + 1]);
	}
	return difference;
}

/*
 * layout_difference
 *		NULL, or, as a sentence, why a value of this type that had this layout
 *		when it was kept must not be read.
 */
char *
layout_difference(Oid type, const Oid *oids, int n)
{
	int n_now;
	const Oid *now = type_layout(type, &n_now);

	if (n == n_now && (n == 0 || memcmp(oids, now, sizeof(Oid) * n) == 0))
		return NULL;
	return composites_difference(type, type, oids, n);
}

/*
 * layout_difference_of_successor
 *		The same for a value of a type that was dropped: why this type, which is
 *		in its place now, must not be taken for it.
 */
char *
layout_difference_of_successor(Oid type, Oid dropped, const Oid *oids, int n)
{
	if (n < 2 || oids[0] != dropped)
		return pstrdup("It was no composite type.");
	return composites_difference(type, dropped, oids, n);
}
