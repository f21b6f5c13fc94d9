/*
 * check.c
 *		What can be part of a behavior.
 *
 * A mistake is found when the behavior is made and not when the first message
 * comes, and each error says what was expected.  What can change afterwards
 * under the same function or type is checked again whenever the cache reads
 * the spec.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

static bool behavior_needs_array(Oid other, Oid behavior, List **seen);

/* How a role of a function in a behavior is called in messages. */
typedef enum Part
{
	PART_HANDLER,
	PART_INIT
} Part;

static HeapTuple
function_tuple(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	return tuple;
}

/*
 * handler_message_type
 *		The type of messages that a handler takes.
 */
Oid
handler_message_type(Oid function)
{
	HeapTuple tuple = function_tuple(function);
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	Oid type = form->pronargs == 2 ? form->proargtypes.values[1] : InvalidOid;

	ReleaseSysCache(tuple);
	return type;
}

/*
 * function_has_shape_of_handler
 *		Whether a function takes the state and a composite type.
 */
bool
function_has_shape_of_handler(Oid function, Oid state)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = form->pronargs == 2 && form->proargtypes.values[0] == state &&
			 get_typtype(form->proargtypes.values[1]) == TYPTYPE_COMPOSITE;
	ReleaseSysCache(tuple);
	return result;
}

/* ------------------------------------------------------------------- types */

static bool
type_is_temporary(Oid type)
{
	Oid element = get_element_type(type);
	HeapTuple tuple;
	bool result;

	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(OidIsValid(element) ? element : type));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = isAnyTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	return result;
}

static void
refuse_temporary(const BehaviorSpec *spec, const char *kind, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("behavior \"%s\" cannot use temporary %s %s", spec->name, kind, what),
			 errdetail("Its actors run in other sessions, and longer than this one.")));
}

static void
check_type(const BehaviorSpec *spec, Oid type)
{
	if (!get_typisdefined(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type %s is only a shell", format_type_be(type))));
	if (type_is_temporary(type))
		refuse_temporary(spec, "type", format_type_be(type));
}

/*
 * behavior_spec_check_state
 *		ERROR unless actors can have a state of this type.
 */
void
behavior_spec_check_state(const BehaviorSpec *spec)
{
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(spec->state)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type with OID %u does not exist", spec->state)));
	if (get_typtype(spec->state) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the state of behavior \"%s\" cannot be of pseudo-type %s",
						spec->name, format_type_be(spec->state)),
				 errhint("Any type that a column can have will do.")));
	check_type(spec, spec->state);
}

/* --------------------------------------------------------------- functions */

static int
expected(Part part, Oid function, Oid state)
{
	if (part == PART_HANDLER)
		return errdetail("Expected a function %s(%s, message) RETURNS %s, message being a composite type.",
						 get_func_name(function), format_type_be(state), format_type_be(state));
	return errdetail("Expected a function %s(...) RETURNS %s, its arguments being those of dlog.spawn().",
					 get_func_name(function), format_type_be(state));
}

/* What a function must be to be called for an actor at all. */
static void
check_function(const BehaviorSpec *spec, Part part, Oid function)
{
	HeapTuple tuple = function_tuple(function);
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	const char *name = format_procedure(function);
	const char *role = part == PART_HANDLER ? "a handler" : "init";
	bool is_polymorphic = IsPolymorphicType(form->prorettype);

	if (form->prokind != PROKIND_FUNCTION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 form->prokind == PROKIND_PROCEDURE ?
					 errmsg("procedure %s cannot be %s of behavior \"%s\"", name, role, spec->name) :
				 form->prokind == PROKIND_AGGREGATE ?
					 errmsg("aggregate %s cannot be %s of behavior \"%s\"", name, role, spec->name) :
					 errmsg("window function %s cannot be %s of behavior \"%s\"", name, role, spec->name),
				 expected(part, function, spec->state)));
	if (form->proretset)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s returns a set and cannot be %s of behavior \"%s\"",
						name, role, spec->name),
				 expected(part, function, spec->state)));
	for (int i = 0; i < form->pronargs; i++)
		is_polymorphic = is_polymorphic || IsPolymorphicType(form->proargtypes.values[i]);
	if (is_polymorphic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s is polymorphic and cannot be %s of behavior \"%s\"",
						name, role, spec->name),
				 expected(part, function, spec->state)));
	if (OidIsValid(form->provariadic))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s is variadic and cannot be %s of behavior \"%s\"",
						name, role, spec->name),
				 expected(part, function, spec->state)));
	if (form->prorettype != spec->state)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s returns %s and cannot be %s of behavior \"%s\"",
						name, format_type_be(form->prorettype), role, spec->name),
				 expected(part, function, spec->state)));
	if (isAnyTempNamespace(form->pronamespace))
		refuse_temporary(spec, "function", get_func_name(function));
	ReleaseSysCache(tuple);
}

static void
check_handler(const BehaviorSpec *spec, Oid function)
{
	HeapTuple tuple = function_tuple(function);
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	const char *name = format_procedure(function);

	check_function(spec, PART_HANDLER, function);
	if (form->pronargs != 2 || form->proargtypes.values[0] != spec->state)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s has the wrong arguments for a handler of behavior \"%s\"",
						name, spec->name),
				 expected(PART_HANDLER, function, spec->state)));
	if (get_typtype(form->proargtypes.values[1]) != TYPTYPE_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("the message type %s of function %s is not a composite type",
						format_type_be(form->proargtypes.values[1]), name),
				 expected(PART_HANDLER, function, spec->state),
				 errhint("CREATE TYPE ... AS (...) makes a message type; it may have no attributes.")));

	/* The server does not call a strict function with nulls. */
	if (form->proisstrict)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s is STRICT and cannot be a handler of behavior \"%s\"",
						name, spec->name),
				 errdetail("While the state is null it would not be called, and its messages would be lost."),
				 errhint("ALTER FUNCTION %s CALLED ON NULL INPUT.", name)));
	check_type(spec, form->proargtypes.values[1]);
	ReleaseSysCache(tuple);
}

static void
check_init(const BehaviorSpec *spec)
{
	check_function(spec, PART_INIT, spec->init);
	if (function_has_shape_of_handler(spec->init, spec->state))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s has the arguments of a handler and cannot be init of behavior \"%s\"",
						format_procedure(spec->init), spec->name),
				 errdetail("Init makes the first state and is not given one.")));
}

static void
check_two_handlers(const BehaviorSpec *spec)
{
	ListCell *cell;
	ListCell *other;

	foreach(cell, spec->handlers)
	{
		Oid type = handler_message_type(lfirst_oid(cell));

		for_each_cell(other, spec->handlers, lnext(spec->handlers, cell))
		{
			if (handler_message_type(lfirst_oid(other)) != type)
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("behavior \"%s\" has two handlers for message type %s",
							spec->name, format_type_be(type)),
					 errdetail("They are %s and %s; expected one.",
							   format_procedure(lfirst_oid(cell)),
							   format_procedure(lfirst_oid(other)))));
		}
	}
}

/*
 * behavior_spec_check
 *		ERROR unless actors can be made by this spec.
 */
void
behavior_spec_check(const BehaviorSpec *spec)
{
	ListCell *cell;

	behavior_spec_check_state(spec);
	if (OidIsValid(spec->init))
		check_init(spec);
	if (spec->handlers == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("behavior \"%s\" has no handler", spec->name),
				 errdetail("Expected at least one function (%s, message) RETURNS %s.",
						   format_type_be(spec->state), format_type_be(spec->state))));
	foreach(cell, spec->handlers)
		check_handler(spec, lfirst_oid(cell));
	check_two_handlers(spec);
	if (spec->mailbox_limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mailbox_limit must not be negative"),
				 errhint("0 stands for what dlog.mailbox_limit says.")));
	if (spec->handler_timeout < -1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler_timeout must not be negative"),
				 errhint("0 stands for no limit, -1 ms for what dlog.handler_timeout says.")));
}

/* ------------------------------------------------------------------ cycles */

/* Whether a dump would have to make "type" after the array of "behavior". */
static bool
type_needs_array(Oid type, Oid behavior, List **seen)
{
	Oid element;
	TupleDesc descriptor;
	bool result = false;

	check_stack_depth();
	if (!OidIsValid(type) || list_member_oid(*seen, type))
		return false;
	*seen = lappend_oid(*seen, type);
	element = get_element_type(type);
	if (OidIsValid(element))
	{
		if (element == behavior)
			return true;
		return behavior_is(element) ? behavior_needs_array(element, behavior, seen) :
									  type_needs_array(element, behavior, seen);
	}
	if (get_typtype(type) == TYPTYPE_DOMAIN)
		return type_needs_array(getBaseType(type), behavior, seen);
	if (get_typtype(type) != TYPTYPE_COMPOSITE)
		return false;
	descriptor = lookup_rowtype_tupdesc(type, -1);
	for (int i = 0; i < descriptor->natts && !result; i++)
		if (!TupleDescAttr(descriptor, i)->attisdropped)
			result = type_needs_array(TupleDescAttr(descriptor, i)->atttypid, behavior, seen);
	ReleaseTupleDesc(descriptor);
	return result;
}

static bool
spec_needs_array(const BehaviorSpec *spec, Oid behavior, List **seen)
{
	ListCell *cell;

	if (type_needs_array(spec->state, behavior, seen))
		return true;
	foreach(cell, spec->handlers)
		if (type_needs_array(handler_message_type(lfirst_oid(cell)), behavior, seen))
			return true;
	return false;
}

static bool
behavior_needs_array(Oid other, Oid behavior, List **seen)
{
	BehaviorSpec spec;

	return behavior_spec_read(other, &spec) && spec_needs_array(&spec, behavior, seen);
}

/*
 * behavior_spec_check_cycle
 *		ERROR if the behavior's array type would depend on itself, by way of
 *		its messages: pg_dump could not order what it dumps.
 */
void
behavior_spec_check_cycle(const BehaviorSpec *spec)
{
	List *seen = NIL;

	if (OidIsValid(spec->behavior) && spec_needs_array(spec, spec->behavior, &seen))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("state and messages of behavior \"%s\" cannot contain arrays of it", spec->name),
				 errhint("Use dlog.actor_ref[] there.")));
}

/*
 * behavior_spec_check_rights
 *		ERROR 42501 unless a role may use the parts of a spec.
 */
void
behavior_spec_check_rights(const BehaviorSpec *spec, Oid role)
{
	List *functions = list_concat_copy(spec->handlers, spec->replay);
	ListCell *cell;
	AclResult result;

	if (OidIsValid(spec->init))
		functions = lappend_oid(functions, spec->init);
	result = object_aclcheck(TypeRelationId, spec->state, role, ACL_USAGE);
	if (result != ACLCHECK_OK)
		aclcheck_error_type(result, spec->state);
	foreach(cell, functions)
	{
		result = object_aclcheck(ProcedureRelationId, lfirst_oid(cell), role, ACL_EXECUTE);
		if (result != ACLCHECK_OK)
			aclcheck_error(result, OBJECT_FUNCTION, get_func_name(lfirst_oid(cell)));
	}
	foreach(cell, spec->handlers)
	{
		Oid type = handler_message_type(lfirst_oid(cell));

		result = object_aclcheck(TypeRelationId, type, role, ACL_USAGE);
		if (result != ACLCHECK_OK)
			aclcheck_error_type(result, type);
	}
}

/* ------------------------------------------------------------------- locks */

static void
lock_type(Oid type)
{
	Oid relation = get_typ_typrelid(type);
	const char *name = format_type_be(type);
	ListCell *cell;

	/* Composite types are locked as DROP locks them: by their relation too. */
	if (OidIsValid(relation))
		LockRelationOid(relation, AccessShareLock);
	LockDatabaseObject(TypeRelationId, type, 0, AccessShareLock);
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type %s was dropped by another session", name)));

	/* What is inside could be altered. */
	foreach(cell, type_composites(type))
		LockRelationOid(get_typ_typrelid(lfirst_oid(cell)), AccessShareLock);
}

static void
lock_function(Oid function)
{
	const char *name = format_procedure(function);

	LockDatabaseObject(ProcedureRelationId, function, 0, AccessShareLock);
	if (!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(function)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s was dropped by another session", name)));
}

/*
 * behavior_spec_lock
 *		Keep the parts of a behavior from being dropped until the
 *		transaction ends: by then the dependencies do.
 */
void
behavior_spec_lock(const BehaviorSpec *spec)
{
	ListCell *cell;

	lock_type(spec->state);
	if (OidIsValid(spec->init))
		lock_function(spec->init);
	foreach(cell, spec->handlers)
	{
		lock_function(lfirst_oid(cell));
		lock_type(handler_message_type(lfirst_oid(cell)));
	}
	foreach(cell, spec->replay)
		lock_function(lfirst_oid(cell));
}
