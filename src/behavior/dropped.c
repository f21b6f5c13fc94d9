/*
 * dropped.c
 *		Types that have been dropped, in databases with durable behaviors.
 *
 * Values of them may be in mailboxes and journals, where nothing but their
 * number tells what they were.  So their names are kept: when there is a type
 * of that name and of the same attributes again, values are read as its own.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

#define Natts_dropped 6
#define Anum_dropped_type 1
#define Anum_dropped_schema 2
#define Anum_dropped_name 3
#define Anum_dropped_length 4
#define Anum_dropped_by_value 5
#define Anum_dropped_alignment 6

/* Invalid where the extension is not installed, or is being dropped. */
static Oid
dropped_relation(void)
{
	Oid schema = get_namespace_oid("dlog", true);

	return OidIsValid(schema) ? get_relname_relid("dropped_type", schema) : InvalidOid;
}

static SysScanDesc
begin_scan(Relation relation, Oid type, ScanKeyData *key)
{
	Oid index = relation_primary_key(relation);

	ScanKeyInit(key, Anum_dropped_type, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	return systable_beginscan(relation, index, OidIsValid(index), NULL, 1, key);
}

static void
write_row(Oid catalog, Oid type, Form_pg_type form)
{
	Relation relation = table_open(catalog, RowExclusiveLock);
	Datum values[Natts_dropped];
	bool nulls[Natts_dropped] = {false};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple old;
	HeapTuple row;

	values[Anum_dropped_type - 1] = ObjectIdGetDatum(type);
	values[Anum_dropped_schema - 1] = CStringGetTextDatum(get_namespace_name(form->typnamespace));
	values[Anum_dropped_name - 1] = CStringGetTextDatum(NameStr(form->typname));
	values[Anum_dropped_length - 1] = Int16GetDatum(form->typlen);
	values[Anum_dropped_by_value - 1] = BoolGetDatum(form->typbyval);
	values[Anum_dropped_alignment - 1] = CharGetDatum(form->typalign);
	row = heap_form_tuple(RelationGetDescr(relation), values, nulls);

	/* Numbers come again after four billion. */
	scan = begin_scan(relation, type, &key);
	old = systable_getnext(scan);
	if (HeapTupleIsValid(old))
		CatalogTupleUpdate(relation, &old->t_self, row);
	else
		CatalogTupleInsert(relation, row);
	systable_endscan(scan);
	table_close(relation, RowExclusiveLock);
}

/* Made on its own: not a table's, which is there still, an array's, or a session's. */
static bool
is_of_interest(Form_pg_type form)
{
	return !isAnyTempNamespace(form->typnamespace) && !IsTrueArrayType(form) &&
		   (form->typtype != TYPTYPE_COMPOSITE || get_rel_relkind(form->typrelid) == '\0');
}

static bool
any_is_durable(void)
{
	ListCell *cell;

	foreach(cell, behavior_spec_list())
		if (OidIsValid(((BehaviorSpec *) lfirst(cell))->journal))
			return true;
	return false;
}

/*
 * type_dropped_note
 *		A type is being dropped.
 */
void
type_dropped_note(Oid type)
{
	Oid catalog = dropped_relation();
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_type) GETSTRUCT(tuple);
	if (OidIsValid(catalog) && is_of_interest(form) && any_is_durable())
		write_row(catalog, type, form);
	ReleaseSysCache(tuple);
}

/*
 * type_dropped
 *		What is known of a type that is gone; false: nothing.
 */
bool
type_dropped(Oid type, DroppedType *dropped)
{
	Oid catalog = dropped_relation();
	Relation relation;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool is_found;

	if (!OidIsValid(catalog))
		return false;
	relation = table_open(catalog, AccessShareLock);
	scan = begin_scan(relation, type, &key);
	tuple = systable_getnext(scan);
	is_found = HeapTupleIsValid(tuple);
	if (is_found)
	{
		Datum values[Natts_dropped];
		bool nulls[Natts_dropped];

		heap_deform_tuple(tuple, RelationGetDescr(relation), values, nulls);
		dropped->schema = TextDatumGetCString(values[Anum_dropped_schema - 1]);
		dropped->name = TextDatumGetCString(values[Anum_dropped_name - 1]);
		dropped->length = DatumGetInt16(values[Anum_dropped_length - 1]);
		dropped->is_by_value = DatumGetBool(values[Anum_dropped_by_value - 1]);
		dropped->alignment = DatumGetChar(values[Anum_dropped_alignment - 1]);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return is_found;
}

/* The type that has the name now; invalid: there is none. */
static Oid
type_of_name(const DroppedType *dropped)
{
	Oid schema = get_namespace_oid(dropped->schema, true);
	Oid type = InvalidOid;

	if (OidIsValid(schema))
		type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(dropped->name), ObjectIdGetDatum(schema));
	return type;
}

/*
 * type_of_dropped_name
 *		The composite type that has the name now; invalid: there is none.
 */
Oid
type_of_dropped_name(const DroppedType *dropped)
{
	Oid type = type_of_name(dropped);

	return OidIsValid(type) && get_typtype(type) == TYPTYPE_COMPOSITE ? type : InvalidOid;
}

/*
 * behavior_successor
 *		A behavior, or, when that was dropped, the type that has its name now,
 *		if there is one.
 */
Oid
behavior_successor(Oid behavior)
{
	DroppedType dropped;
	Oid type = InvalidOid;

	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(behavior)) && type_dropped(behavior, &dropped))
		type = type_of_name(&dropped);
	return OidIsValid(type) ? type : behavior;
}

/*
 * type_text
 *		The name of a type, or the one it had.
 */
char *
type_text(Oid type)
{
	DroppedType dropped;

	if (SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type)))
		return format_type_be(type);
	if (type_dropped(type, &dropped))
		return quote_qualified_identifier(dropped.schema, dropped.name);
	return psprintf("%u", type);
}
