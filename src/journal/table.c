/*
 * table.c
 *		dlog's own tables of durable actors, whoever is asking.
 *
 * Statements here run as who owns the tables.  So they say which schema each
 * name is from, and what they are about is checked before.
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

void
journal_open(JournalScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
}

void
journal_close(JournalScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/*
 * journal_run
 *		Run a statement between journal_open() and journal_close(); how many
 *		rows it was about.
 */
uint64
journal_run(const char *sql, int n, Oid *types, Datum *values, const char *nulls)
{
	int result = SPI_execute_with_args(sql, n, types, values, nulls, false, 0);

	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}
