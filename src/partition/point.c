/*
 * point.c
 *		Tell this node where the rows of a partition are.
 *
 * SQL cannot give a foreign table another server; and to drop the foreign
 * partition and create another would lock the table against everybody.  The
 * change is one row of pg_foreign_table.  Who reads or writes the partition
 * meanwhile goes on: a request under way is for the node that was the home,
 * and that node asks the new one.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "partition/partition_internal.h"
#include "transport/transport.h"

DLOG_FUNCTION(dlog_set_partition_node);

static void
check_foreign_partition(Oid partition)
{
	const char *name = partition_require_own(partition);

	if (get_rel_relkind(partition) != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the rows of partition \"%s\" are on this node", name),
				 errdetail("Only of a foreign partition can another node be the home.")));
}

/* The foreign server that stands for a node. */
static Oid
server_of_node(const char *node)
{
	Oid server;
	uint32 number;

	if (node_find(node, false) == THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" is this node, which has no rows of a foreign partition", node),
				 errhint("Name the node that has them.")));
	server = get_foreign_server_oid(node, false);
	if (!partition_is_our_server(server, &number) || number != node_find(node, false))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" does not stand for node \"%s\"", node, node),
				 errhint("Rename it, and create a server of that name for the foreign-data wrapper dlog.")));
	return server;
}

/*
 * partition_point
 *		The rows of this foreign partition are behind this server, from this
 *		transaction's commit on.
 */
static void
partition_point(Oid partition, Oid server)
{
	Relation catalog = table_open(ForeignTableRelationId, RowExclusiveLock);
	HeapTuple tuple = SearchSysCacheCopy1(FOREIGNTABLEREL, ObjectIdGetDatum(partition));
	Form_pg_foreign_table form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for foreign table %u", partition);
	form = (Form_pg_foreign_table) GETSTRUCT(tuple);
	if (form->ftserver != server)
	{
		if (changeDependencyFor(RelationRelationId, partition, ForeignServerRelationId,
								form->ftserver, server) != 1)
			elog(ERROR, "could not change the server that foreign table %u depends on", partition);
		form->ftserver = server;
		CatalogTupleUpdate(catalog, &tuple->t_self, tuple);

		/* Plans, and the map of every session, are made anew. */
		CacheInvalidateRelcacheByRelid(partition);
		CacheInvalidateRelcacheByRelid(distributed_parent(partition));
	}
	table_close(catalog, RowExclusiveLock);
}

/* set_partition_node(partition, node) */
Datum
dlog_set_partition_node(PG_FUNCTION_ARGS)
{
	Oid partition = PG_GETARG_OID(0);
	Oid server;

	runtime_require();
	check_foreign_partition(partition);
	server = server_of_node(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (object_aclcheck(ForeignServerRelationId, server, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FOREIGN_SERVER,
					   text_to_cstring(PG_GETARG_TEXT_PP(1)));

	/* Other definitions of it wait; readers and writers do not. */
	LockRelationOid(partition, ShareUpdateExclusiveLock);
	check_foreign_partition(partition);
	partition_point(partition, server);
	PG_RETURN_VOID();
}
