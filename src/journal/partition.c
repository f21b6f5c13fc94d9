/*
 * partition.c
 *		The tables of journals: one for each behavior, partitioned by time.
 *
 *		dlog.journal_entry				of all behaviors, by behavior
 *		  dlog.journal_<behavior>		has the index (actor, seq)
 *			dlog.journal_<behavior>_<from>
 *
 * A partition is made before the first entry of its time is written.  Old ones
 * are dropped as a behavior's retention says, but none that a state after a
 * later entry is still made of: its actors get snapshots before.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "journal/journal_internal.h"

static void
run(const char *sql)
{
	(void) statement_run_typed(sql, 0, NULL, NULL, NULL);
}

/* A name in schema dlog that is free. */
static const char *
free_name(const char *wanted)
{
	Oid schema = get_namespace_oid("dlog", false);
	char name[NAMEDATALEN];

	for (int i = 0;; i++)
	{
		char *suffix = i == 0 ? "" : psprintf("_%d", i + 1);

		strlcpy(name, wanted, NAMEDATALEN);
		name[pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1 - strlen(suffix))] = '\0';
		strlcat(name, suffix, NAMEDATALEN);
		if (!OidIsValid(get_relname_relid(name, schema)) &&
			!SearchSysCacheExists2(TYPENAMENSP, CStringGetDatum(name), ObjectIdGetDatum(schema)))
			return pstrdup(name);
	}
}

/* ------------------------------------------------------------------ creating */

/*
 * journal_create_table
 *		The journal of a behavior that is being created.
 */
Oid
journal_create_table(Oid behavior)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(behavior));
	StatementScope scope;
	const char *name;
	const char *table;
	Oid journal;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", behavior);

	/* Partitions add the time that they begin at. */
	name = pnstrdup(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), NAMEDATALEN - 26);
	ReleaseSysCache(tuple);
	statement_open(&scope);
	name = free_name(psprintf("journal_%s", name));
	table = quote_qualified_identifier("dlog", name);
	run(psprintf("CREATE TABLE %s PARTITION OF dlog.journal_entry FOR VALUES IN (%s) PARTITION BY RANGE (at)",
				 table, quote_literal_cstr(format_type_be_qualified(behavior))));
	run(psprintf("CREATE INDEX ON %s (actor, seq)", table));
	run(psprintf("CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s"
				 " FOR EACH ROW EXECUTE FUNCTION dlog.journal_is_append_only()",
				 table));
	run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only", table));
	run(psprintf("CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s"
				 " FOR EACH STATEMENT EXECUTE FUNCTION dlog.journal_is_append_only()",
				 table));
	run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only_truncate", table));
	journal = get_relname_relid(name, get_namespace_oid("dlog", false));
	statement_close(&scope);
	return journal;
}

static char *
time_literal(TimestampTz at)
{
	return quote_literal_cstr(timestamptz_to_str(at));
}

/*
 * Where a new partition for this time begins and ends: at multiples of
 * dlog.journal_partition, unless partitions that were made under another
 * setting are in the way.
 */
static void
find_bounds(Oid journal, TimestampTz at, TimestampTz *from, TimestampTz *to)
{
	int64 width = (int64) dlog_journal_partition * SECS_PER_MINUTE * USECS_PER_SEC;
	Relation relation = table_open(journal, AccessShareLock);
	PartitionBoundInfo bounds = RelationGetPartitionDesc(relation, true)->boundinfo;

	*from = at - ((at % width) + width) % width;
	*to = *from + width;
	for (int i = 0; bounds != NULL && i < bounds->ndatums; i++)
	{
		TimestampTz bound = DatumGetTimestampTz(bounds->datums[i][0]);

		if (bound <= at)
			*from = Max(*from, bound);
		else
			*to = Min(*to, bound);
	}
	table_close(relation, NoLock);
}

/* The partition that a time belongs to; nobody else makes one meanwhile. */
static void
create_partition(Oid journal, TimestampTz at)
{
	TimestampTz from;
	TimestampTz to;
	const char *parent = quote_qualified_identifier("dlog", get_rel_name(journal));
	struct pg_tm tm;
	fsec_t fsec;
	int zone;
	StatementScope scope;
	const char *table;

	find_bounds(journal, at, &from, &to);
	if (timestamp2tm(from, &zone, &tm, &fsec, NULL, pg_tzset("GMT")) != 0)
		elog(ERROR, "time of a journal is out of range");
	statement_open(&scope);
	table = quote_qualified_identifier("dlog",
									   free_name(psprintf("%s_%04d%02d%02d%02d%02d", get_rel_name(journal),
														  tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min)));
	run(psprintf("CREATE TABLE %s (LIKE dlog.journal_entry INCLUDING STORAGE)", table));
	run(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)", parent, table,
				 time_literal(from), time_literal(to)));
	run(psprintf("CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s"
				 " FOR EACH STATEMENT EXECUTE FUNCTION dlog.journal_is_append_only()",
				 table));
	run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only_truncate", table));
	run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only", table));
	statement_close(&scope);
}

/* ------------------------------------------------------------------- finding */

static Oid
find_partition(Oid journal, TimestampTz at)
{
	Relation relation = table_open(journal, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(relation);
	PartitionDesc descriptor = RelationGetPartitionDesc(relation, true);
	Oid result = InvalidOid;
	Datum value = TimestampTzGetDatum(at);
	bool is_equal;

	if (descriptor->nparts > 0)
	{
		int bound = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, descriptor->boundinfo,
												  1, &value, &is_equal);
		int index = descriptor->boundinfo->indexes[bound + 1];

		if (index >= 0)
			result = descriptor->oids[index];
	}
	table_close(relation, NoLock);
	return result;
}

/* The partition that a batch has not found, for partition_prepare(). */
static Oid wanted_journal;
static TimestampTz wanted_at;

/* The journal for which that has failed, and why; for the actor that waits. */
static Oid refused_journal;
static ErrorData *refusal;

/*
 * journal_partition
 *		The table for entries of this time.
 *
 * ERROR 40001: there is none yet.  The batch is rolled back and run again, and
 * before that partition_prepare() makes it.  If that could not be done, the
 * error says why, with its SQLSTATE.
 */
Oid
journal_partition(Oid journal, TimestampTz at)
{
	Oid result = find_partition(journal, at);

	if (OidIsValid(result))
		return result;
	AcceptInvalidationMessages();
	result = find_partition(journal, at);
	if (OidIsValid(result))
		return result;
	if (refused_journal == journal)
	{
		refused_journal = InvalidOid;
		ereport(ERROR,
				(errcode(refusal->sqlerrcode),
				 errmsg("journal \"%s\" has no partition for the present time, and none can be made", get_rel_name(journal)),
				 errdetail_internal("%s", refusal->message),
				 refusal->hint ? errhint("%s", refusal->hint) : 0));
	}
	wanted_journal = journal;
	wanted_at = at;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("journal \"%s\" has no partition for the present time yet", get_rel_name(journal))));
}

static void
make_wanted(DatabaseJournal *journal)
{
	LockRelationOid(wanted_journal, ShareUpdateExclusiveLock);
	AcceptInvalidationMessages();

	/* Dropped, or somebody else was first. */
	if (get_rel_name(wanted_journal) == NULL || OidIsValid(find_partition(wanted_journal, wanted_at)))
		return;
	create_partition(wanted_journal, wanted_at);
	pg_atomic_write_u32(&journal->expires, 1);
}

static void
prepare(DatabaseJournal *journal)
{
	refused_journal = InvalidOid;
	PG_TRY();
	{
		make_wanted(journal);
	}
	PG_CATCH();
	{
		MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

		if (refusal != NULL)
			FreeErrorData(refusal);
		refusal = NULL;
		refusal = CopyErrorData();
		refused_journal = wanted_journal;
		MemoryContextSwitchTo(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * partition_prepare
 *		Before a batch, in no transaction: make the partition that the last one
 *		has not found.
 *
 * Who gets an answer from a batch may read the journal at once.  Were the
 * partition made by that batch, others could have their answers before they
 * are told that there is another partition.
 */
void
partition_prepare(void)
{
	if (!OidIsValid(wanted_journal))
		return;
	journal_serve(my_database_journal(), prepare);
	wanted_journal = InvalidOid;
}

/*
 * journal_partitions
 *		All of a journal, oldest first.
 */
List *
journal_partitions(Oid journal)
{
	Relation relation = table_open(journal, AccessShareLock);
	PartitionDesc descriptor = RelationGetPartitionDesc(relation, true);
	List *result = NIL;

	for (int i = 0; i < descriptor->nparts; i++)
		result = lappend_oid(result, descriptor->oids[i]);
	table_close(relation, NoLock);
	return result;
}
