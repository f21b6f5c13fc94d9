/*
 * table.c
 *		dlog's own tables, types and sequences of durable actors.
 *
 * Statements on them run as who owns them (base/statement.h), so what they
 * are about is checked before.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "journal/journal_internal.h"

static const char *const names[JOURNAL_TABLES] = {
	[TABLE_ACTOR] = "durable_actor",
	[TABLE_MAILBOX] = "mailbox",
	[TABLE_SNAPSHOT] = "journal_snapshot",
	[TABLE_QUARANTINE] = "quarantine",
};

Oid
journal_table(JournalTable table)
{
	Oid schema = get_namespace_oid("dlog", true);
	Oid relation = OidIsValid(schema) ? get_relname_relid(names[table], schema) : InvalidOid;

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table dlog.%s does not exist", names[table]),
				 errhint("CREATE EXTENSION dlog makes it.")));
	return relation;
}

/* A type of dlog's. */
Oid
journal_type(const char *name)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
						   ObjectIdGetDatum(get_namespace_oid("dlog", false)));
}

int64
journal_next(const char *sequence)
{
	return nextval_internal(get_relname_relid(sequence, get_namespace_oid("dlog", false)), false);
}
