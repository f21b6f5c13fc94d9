/*
 * partitionfuncs.c
 *		The SQL functions of distributed tables.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "partition/partition_internal.h"
#include "transport/transport.h"

DLOG_FUNCTION(dlog_distribute_table);
DLOG_FUNCTION(dlog_distribute_table_by_one);
DLOG_FUNCTION(dlog_undistribute_table);
DLOG_FUNCTION(dlog_definition_key_script);
DLOG_FUNCTION(dlog_distributed_table_add);
DLOG_FUNCTION(dlog_definition_script);
DLOG_FUNCTION(dlog_partition_node);
DLOG_FUNCTION(dlog_partition_sizes);
DLOG_FUNCTION(dlog_replicate_table);
DLOG_FUNCTION(dlog_replicated_table_add);
DLOG_FUNCTION(dlog_sync_definitions);
DLOG_FUNCTION(dlog_unreplicate_table);

static List *
names_of_array(ArrayType *array, const char *what)
{
	Datum *values;
	bool *nulls;
	int n_values;
	List *names = NIL;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &values, &nulls, &n_values);
	for (int i = 0; i < n_values; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name of a %s must not be null", what)));
		names = lappend(names, pstrdup(NameStr(*DatumGetName(values[i]))));
	}
	return names;
}

static void
distribute(FunctionCallInfo fcinfo, List *columns)
{
	int n_partitions = 0;
	Oid colocate_with = InvalidOid;
	List *nodes = NIL;

	if (!PG_ARGISNULL(2))
	{
		n_partitions = PG_GETARG_INT32(2);
		if (n_partitions < 1 || n_partitions > MAX_PARTITIONS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("number of partitions must be between 1 and %d", MAX_PARTITIONS)));
	}
	if (!PG_ARGISNULL(3))
		colocate_with = PG_GETARG_OID(3);
	if (!PG_ARGISNULL(4))
	{
		nodes = names_of_array(PG_GETARG_ARRAYTYPE_P(4), "node");
		if (nodes == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a table is distributed over one node at least")));
	}
	distribute_table(PG_GETARG_OID(0), columns, n_partitions, colocate_with, nodes);
}

static void
require_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/* distribute_table(table, by name[], partitions, colocate_with, nodes) */
Datum
dlog_distribute_table(PG_FUNCTION_ARGS)
{
	runtime_require();
	require_argument(fcinfo, 0, "table");
	require_argument(fcinfo, 1, "by");
	distribute(fcinfo, names_of_array(PG_GETARG_ARRAYTYPE_P(1), "column"));
	PG_RETURN_VOID();
}

/* distribute_table(table, by name, partitions, colocate_with, nodes) */
Datum
dlog_distribute_table_by_one(PG_FUNCTION_ARGS)
{
	runtime_require();
	require_argument(fcinfo, 0, "table");
	require_argument(fcinfo, 1, "by");
	distribute(fcinfo, list_make1(pstrdup(NameStr(*PG_GETARG_NAME(1)))));
	PG_RETURN_VOID();
}

/* undistribute_table(table) */
Datum
dlog_undistribute_table(PG_FUNCTION_ARGS)
{
	runtime_require();
	undistribute_table(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

/* distributed_table_add(table, colocation, keys): part of the scripts of definition.c */
Datum
dlog_distributed_table_add(PG_FUNCTION_ARGS)
{
	Oid table = PG_GETARG_OID(0);

	if (!object_ownercheck(RelationRelationId, table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(table));
	if (get_rel_relkind(table) != RELKIND_PARTITIONED_TABLE || get_rel_relispartition(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a partitioned table", get_rel_name(table))));
	distributed_table_add(table, PG_GETARG_UUID_P(1), PG_GETARG_ARRAYTYPE_P(2));
	PG_RETURN_VOID();
}

/* replicated_table_add(table, nodes): part of the scripts of replicate.c */
Datum
dlog_replicated_table_add(PG_FUNCTION_ARGS)
{
	Oid table = PG_GETARG_OID(0);

	if (!object_ownercheck(RelationRelationId, table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(table));
	if (get_rel_relkind(table) != RELKIND_RELATION || get_rel_relispartition(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an ordinary table", get_rel_name(table))));
	replicated_table_add(table, PG_GETARG_ARRAYTYPE_P(1));
	PG_RETURN_VOID();
}

/* partition_node(partition): name of the node that has its rows */
Datum
dlog_partition_node(PG_FUNCTION_ARGS)
{
	Oid partition = PG_GETARG_OID(0);
	char kind = get_rel_relkind(partition);
	PartitionHome home;

	if (kind != RELKIND_RELATION &&
		(kind != RELKIND_FOREIGN_TABLE || !partition_home(partition, &home)))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(namein, CStringGetDatum(partition_home_name(partition))));
}

/* definition_key_script(source, key, schema, table, name) */
Datum
dlog_definition_key_script(PG_FUNCTION_ARGS)
{
	char *script = definition_key_script(PG_GETARG_OID(0), NameStr(*PG_GETARG_NAME(1)),
										 NameStr(*PG_GETARG_NAME(2)),
										 NameStr(*PG_GETARG_NAME(3)),
										 NameStr(*PG_GETARG_NAME(4)));

	if (script == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(script));
}

static void
require_distributed(Oid table)
{
	const char *name = get_rel_name(table);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	if (!partition_is_distributed(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a distributed table", name)));
}

/* partition_sizes_json(table) */
Datum
dlog_partition_sizes(PG_FUNCTION_ARGS)
{
	require_distributed(PG_GETARG_OID(0));
	PG_RETURN_TEXT_P(cstring_to_text(placement_sizes(PG_GETARG_OID(0))));
}

/* definition_script(table) */
Datum
dlog_definition_script(PG_FUNCTION_ARGS)
{
	require_distributed(PG_GETARG_OID(0));
	PG_RETURN_TEXT_P(cstring_to_text(definition_script(PG_GETARG_OID(0))));
}

/* sync_definitions(node): number of tables that were made */
Datum
dlog_sync_definitions(PG_FUNCTION_ARGS)
{
	runtime_require();
	PG_RETURN_INT32(definitions_sync(PG_ARGISNULL(0) ? NULL :
													   text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* replicate_table(table) */
Datum
dlog_replicate_table(PG_FUNCTION_ARGS)
{
	runtime_require();
	replicate_table(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

/* unreplicate_table(table) */
Datum
dlog_unreplicate_table(PG_FUNCTION_ARGS)
{
	runtime_require();
	unreplicate_table(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}
