/*
 * catalog.c
 *		Rows of dlog.behavior, and what they depend on.
 *
 * A behavior's functions are known to the server: they are what its domain's
 * array type depends on in pg_depend.  So none of them, nor the state's or a
 * message's type, can be dropped without the behavior, as the array type is
 * internal to the domain.  The domain itself depends on none of them: pg_dump
 * orders by dependencies, and must be able to make the domain before a type
 * or function that mentions it.
 *
 * Of the functions, handlers are those that take the state and a message;
 * what is left is init.  The names of the functions in the row are for those
 * who have no dependencies: the restored dump of a database, and an upgraded
 * server, where the numbers of functions change.  follow.c keeps the names
 * right.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

Oid (*behavior_create_journal)(Oid behavior);
void (*behavior_dropped_hook)(Oid behavior);
void (*behavior_changed_hook)(void);

/*
 * behavior_relation
 *		The oid of dlog.behavior; invalid where the extension is not installed.
 */
Oid
behavior_relation(void)
{
	Oid schema = get_namespace_oid("dlog", true);

	return OidIsValid(schema) ? get_relname_relid("behavior", schema) : InvalidOid;
}

/* ------------------------------------------------------------ dependencies */

static List *
functions_used_by(Oid class, Oid object)
{
	Relation relation = table_open(DependRelationId, AccessShareLock);
	List *functions = NIL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(class));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object));
	scan = systable_beginscan(relation, DependDependerIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		if (row->refclassid == ProcedureRelationId && row->deptype == DEPENDENCY_NORMAL)
			functions = list_append_unique_oid(functions, row->refobjid);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	list_sort(functions, list_oid_cmp);
	return functions;
}

/*
 * behavior_spec_functions
 *		The oids of all functions that a behavior depends on.
 */
List *
behavior_spec_functions(Oid behavior)
{
	return functions_used_by(TypeRelationId, get_array_type(behavior));
}

/*
 * behavior_spec_replay_functions
 *		The oids of all functions that a journal depends on: apply functions
 *		have two arguments, upcasts one.
 */
List *
behavior_spec_replay_functions(Oid journal)
{
	return functions_used_by(RelationRelationId, journal);
}

/*
 * A journal goes with its behavior, and cannot be read without what replays
 * it.
 */
static void
record_journal_dependencies(const BehaviorSpec *spec)
{
	ObjectAddress self;
	ObjectAddresses *used = new_object_addresses();
	ObjectAddress other;
	ListCell *cell;

	ObjectAddressSet(self, RelationRelationId, spec->journal);
	deleteDependencyRecordsForClass(RelationRelationId, spec->journal, ProcedureRelationId, DEPENDENCY_NORMAL);
	deleteDependencyRecordsForSpecific(RelationRelationId, spec->journal, DEPENDENCY_NORMAL,
									   TypeRelationId, spec->behavior);
	ObjectAddressSet(other, TypeRelationId, spec->behavior);
	add_exact_object_address(&other, used);
	foreach(cell, spec->replay)
	{
		ObjectAddressSet(other, ProcedureRelationId, lfirst_oid(cell));
		add_exact_object_address(&other, used);
	}
	record_object_address_dependencies(&self, used, DEPENDENCY_NORMAL);
	free_object_addresses(used);
}

/*
 * behavior_spec_record_dependencies
 *		Make the dependencies of a behavior those of this spec.
 */
void
behavior_spec_record_dependencies(const BehaviorSpec *spec)
{
	ObjectAddress self;
	ObjectAddresses *used = new_object_addresses();
	ObjectAddress other;
	ListCell *cell;

	ObjectAddressSet(self, TypeRelationId, get_array_type(spec->behavior));
	deleteDependencyRecordsForClass(TypeRelationId, self.objectId, ProcedureRelationId,
									DEPENDENCY_NORMAL);
	deleteDependencyRecordsForClass(TypeRelationId, self.objectId, TypeRelationId,
									DEPENDENCY_NORMAL);
	deleteDependencyRecordsForClass(TypeRelationId, self.objectId, RelationRelationId,
									DEPENDENCY_NORMAL);

	ObjectAddressSet(other, TypeRelationId, spec->state);
	add_exact_object_address(&other, used);
	if (OidIsValid(spec->init))
	{
		ObjectAddressSet(other, ProcedureRelationId, spec->init);
		add_exact_object_address(&other, used);
	}
	foreach(cell, spec->handlers)
	{
		ObjectAddressSet(other, ProcedureRelationId, lfirst_oid(cell));
		add_exact_object_address(&other, used);
		ObjectAddressSet(other, TypeRelationId, handler_message_type(lfirst_oid(cell)));
		add_exact_object_address(&other, used);
	}
	if (OidIsValid(spec->journal))
	{
		ObjectAddressSet(other, RelationRelationId, spec->journal);
		add_exact_object_address(&other, used);
		record_journal_dependencies(spec);
	}
	record_object_address_dependencies(&self, used, DEPENDENCY_NORMAL);
	free_object_addresses(used);
}

/* -------------------------------------------------------------------- rows */

/* Every process reads what it has kept of behaviors again. */
static void
changed(Relation relation)
{
	CacheInvalidateRelcacheByRelid(RelationGetRelid(relation));
	CommandCounterIncrement();
	if (behavior_changed_hook != NULL)
		behavior_changed_hook();
}

static ArrayType *
names_of(List *functions)
{
	Datum *texts = palloc(sizeof(Datum) * Max(list_length(functions), 1));
	int n = 0;
	ListCell *cell;

	foreach(cell, functions)
		texts[n++] = CStringGetTextDatum(format_procedure_qualified(lfirst_oid(cell)));
	return construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/* the names of a behavior's functions. */
static ArrayType *
names_of_functions(const BehaviorSpec *spec)
{
	List *functions = OidIsValid(spec->init) ? list_make1_oid(spec->init) : NIL;

	return names_of(list_concat(functions, spec->handlers));
}

/* Functions of the state and a message are handlers, another one is init. */
static void
put_functions(BehaviorSpec *spec, List *functions)
{
	ListCell *cell;

	spec->init = InvalidOid;
	spec->handlers = NIL;
	foreach(cell, functions)
	{
		if (function_has_shape_of_handler(lfirst_oid(cell), spec->state))
			spec->handlers = lappend_oid(spec->handlers, lfirst_oid(cell));
		else
			spec->init = lfirst_oid(cell);
	}
}

static List *
functions_of_names(ArrayType *names)
{
	List *functions = NIL;
	Datum *texts;
	int n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &texts, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		char *name = TextDatumGetCString(texts[i]);

		functions = lappend_oid(functions,
								DatumGetObjectId(DirectFunctionCall1(regprocedurein,
																	 CStringGetDatum(name))));
	}
	list_sort(functions, list_oid_cmp);
	return functions;
}

/*
 * behavior_spec_of_tuple
 *		What a row says.  It has no handlers if there are no dependencies yet:
 *		behavior_spec_resolve_names() finds them.
 */
void
behavior_spec_of_tuple(Relation relation, HeapTuple tuple, BehaviorSpec *spec)
{
	Datum values[Natts_behavior];
	bool nulls[Natts_behavior];

	heap_deform_tuple(tuple, RelationGetDescr(relation), values, nulls);
	spec->behavior = DatumGetObjectId(values[Anum_behavior_behavior - 1]);
	spec->name = format_type_be(spec->behavior);
	spec->state = DatumGetObjectId(values[Anum_behavior_state - 1]);
	spec->names = DatumGetArrayTypePCopy(values[Anum_behavior_functions - 1]);
	spec->mailbox_limit = DatumGetInt32(values[Anum_behavior_mailbox_limit - 1]);
	spec->handler_timeout = DatumGetInt32(values[Anum_behavior_handler_timeout - 1]);
	put_functions(spec, behavior_spec_functions(spec->behavior));

	spec->journal = nulls[Anum_behavior_journal - 1] ? InvalidOid :
													   DatumGetObjectId(values[Anum_behavior_journal - 1]);
	spec->replay_names = DatumGetArrayTypePCopy(values[Anum_behavior_replay - 1]);
	spec->replay = OidIsValid(spec->journal) ? behavior_spec_replay_functions(spec->journal) : NIL;
	spec->snapshot_every = DatumGetInt32(values[Anum_behavior_snapshot_every - 1]);
	spec->snapshot_bytes = DatumGetInt64(values[Anum_behavior_snapshot_bytes - 1]);
	spec->retention = TextDatumGetCString(values[Anum_behavior_retention - 1]);
	spec->audit = DatumGetBool(values[Anum_behavior_audit - 1]);
	spec->max_failures = DatumGetInt32(values[Anum_behavior_max_failures - 1]);
}

/*
 * behavior_spec_resolve_names
 *		Find the functions by the names that the row has.
 */
void
behavior_spec_resolve_names(BehaviorSpec *spec)
{
	put_functions(spec, functions_of_names(spec->names));
	spec->replay = functions_of_names(spec->replay_names);
}

static SysScanDesc
begin_scan(Relation relation, Oid behavior, ScanKeyData *key)
{
	Oid index = relation_primary_key(relation);

	ScanKeyInit(key, Anum_behavior_behavior, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(behavior));
	return systable_beginscan(relation, index, OidIsValid(index), NULL, 1, key);
}

/*
 * behavior_spec_read
 *		Look for the row of a behavior.
 */
bool
behavior_spec_read(Oid behavior, BehaviorSpec *spec)
{
	Oid catalog = behavior_relation();
	Relation relation;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool is_found;

	if (!OidIsValid(catalog))
		return false;
	relation = table_open(catalog, AccessShareLock);
	scan = begin_scan(relation, behavior, &key);
	tuple = systable_getnext(scan);
	is_found = HeapTupleIsValid(tuple);
	if (is_found)
		behavior_spec_of_tuple(relation, tuple, spec);
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return is_found;
}

/*
 * behavior_spec_list
 *		All behaviors of this database: a list of BehaviorSpec.
 */
List *
behavior_spec_list(void)
{
	Oid catalog = behavior_relation();
	List *specs = NIL;
	Relation relation;
	SysScanDesc scan;
	HeapTuple tuple;

	if (!OidIsValid(catalog))
		return NIL;
	relation = table_open(catalog, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		BehaviorSpec *spec = palloc(sizeof(BehaviorSpec));

		behavior_spec_of_tuple(relation, tuple, spec);
		specs = lappend(specs, spec);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return specs;
}

static HeapTuple
form_tuple(Relation relation, const BehaviorSpec *spec)
{
	Datum values[Natts_behavior];
	bool nulls[Natts_behavior] = {false};

	values[Anum_behavior_behavior - 1] = ObjectIdGetDatum(spec->behavior);
	values[Anum_behavior_state - 1] = ObjectIdGetDatum(spec->state);
	values[Anum_behavior_functions - 1] = PointerGetDatum(names_of_functions(spec));
	values[Anum_behavior_mailbox_limit - 1] = Int32GetDatum(spec->mailbox_limit);
	values[Anum_behavior_handler_timeout - 1] = Int32GetDatum(spec->handler_timeout);
	values[Anum_behavior_journal - 1] = ObjectIdGetDatum(spec->journal);
	nulls[Anum_behavior_journal - 1] = !OidIsValid(spec->journal);
	values[Anum_behavior_replay - 1] = PointerGetDatum(names_of(spec->replay));
	values[Anum_behavior_snapshot_every - 1] = Int32GetDatum(spec->snapshot_every);
	values[Anum_behavior_snapshot_bytes - 1] = Int64GetDatum(spec->snapshot_bytes);
	values[Anum_behavior_retention - 1] = CStringGetTextDatum(spec->retention ? spec->retention : "forever");
	values[Anum_behavior_audit - 1] = BoolGetDatum(spec->audit);
	values[Anum_behavior_max_failures - 1] = Int32GetDatum(spec->max_failures);
	return heap_form_tuple(RelationGetDescr(relation), values, nulls);
}

/*
 * behavior_spec_insert
 *		Make a domain a behavior.
 *
 * The caller has checked the spec.  Its rights on dlog.behavior do not
 * matter.
 */
void
behavior_spec_insert(const BehaviorSpec *spec)
{
	Relation relation = table_open(behavior_relation(), RowExclusiveLock);

	CatalogTupleInsert(relation, form_tuple(relation, spec));
	behavior_spec_record_dependencies(spec);
	changed(relation);
	table_close(relation, RowExclusiveLock);
}

static void
update_row(const BehaviorSpec *spec)
{
	Relation relation = table_open(behavior_relation(), RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan = begin_scan(relation, spec->behavior, &key);
	HeapTuple tuple = systable_getnext(scan);

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "behavior %u has no row", spec->behavior);
	CatalogTupleUpdate(relation, &tuple->t_self, form_tuple(relation, spec));
	systable_endscan(scan);
	changed(relation);
	table_close(relation, RowExclusiveLock);
}

/*
 * behavior_spec_update
 *		Change a behavior.  Same as behavior_spec_insert().
 */
void
behavior_spec_update(const BehaviorSpec *spec)
{
	update_row(spec);
	behavior_spec_record_dependencies(spec);
}

/*
 * behavior_spec_refresh_names
 *		Let the row have the names that the functions have now.
 */
void
behavior_spec_refresh_names(const BehaviorSpec *spec)
{
	if (!datumIsEqual(PointerGetDatum(spec->names),
					  PointerGetDatum(names_of_functions(spec)), false, -1) ||
		!datumIsEqual(PointerGetDatum(spec->replay_names),
					  PointerGetDatum(names_of(spec->replay)), false, -1))
		update_row(spec);
}

/*
 * behavior_spec_retire
 *		Messages that the behavior takes now may wait where it does not take
 *		them any more.  Functions that are dropped with it may be gone.
 */
void
behavior_spec_retire(const BehaviorSpec *spec)
{
	ListCell *cell;

	foreach(cell, spec->handlers)
		if (SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(lfirst_oid(cell))))
			type_retire(handler_message_type(lfirst_oid(cell)));
}

/*
 * behavior_spec_delete
 *		Forget a behavior, whose domain is being dropped.
 */
void
behavior_spec_delete(Oid behavior)
{
	Relation relation = table_open(behavior_relation(), RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan = begin_scan(relation, behavior, &key);
	HeapTuple tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(relation, &tuple->t_self);
	systable_endscan(scan);
	if (HeapTupleIsValid(tuple))
		changed(relation);
	table_close(relation, RowExclusiveLock);
	if (HeapTupleIsValid(tuple) && behavior_dropped_hook != NULL)
		behavior_dropped_hook(behavior);
}
