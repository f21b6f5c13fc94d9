/*
 * extension.c
 *		The extension in the database of this process, see extension.h.
 *
 * The library is new once the server has been restarted, the SQL of a database
 * when somebody has it updated.  In between functions would be called with the
 * arguments of others and rows read as those of other tables, so each library
 * knows the fingerprint of its SQL (the Makefile's), and the extension that of
 * the SQL it was made by: dlog.installed.  They are compared when a function is
 * looked up, once in a backend, and before schedulers serve a database.
 *
 * DROP EXTENSION locks the extension, and then all that belongs to it, the
 * newest first; a transaction of a scheduler, which reads the tables in another
 * order, would meet it in a deadlock.  So that locks the extension first, too.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/extension.h"
#include "base/function.h"

DLOG_FUNCTION(dlog_sql_fingerprint);

/* What was found last; the schema goes with the extension. */
static Oid known_schema = InvalidOid;
static Oid known_extension = InvalidOid;
static Oid fitting_schema = InvalidOid;

/* Its number, or InvalidOid.  In a transaction. */
static Oid
extension_find(void)
{
	Oid schema = get_namespace_oid("dlog", true);

	if (schema != known_schema || !OidIsValid(known_extension))
	{
		known_extension = OidIsValid(schema) ? get_extension_oid("dlog", true) : InvalidOid;
		known_schema = schema;
	}
	return known_extension;
}

/* Is there the fingerprint of our SQL in dlog.installed? */
static bool
is_ours(Oid schema)
{
	Oid oid = get_relname_relid("installed", schema);
	Relation relation = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;
	SysScanDesc scan;
	HeapTuple tuple;
	bool is_equal = false;

	if (relation == NULL)
		return false;
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool is_null;
		Datum installed = heap_getattr(tuple, 1, RelationGetDescr(relation), &is_null);

		is_equal = !is_null && strcmp(TextDatumGetCString(installed), DLOG_SQL_FINGERPRINT) == 0;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return is_equal;
}

/*
 * extension_fit
 *		Whether the extension is there, and of this library's SQL.  In a
 *		transaction; cheap when it was so before.
 */
ExtensionFit
extension_fit(void)
{
	if (!OidIsValid(extension_find()))
		return EXTENSION_NONE;
	if (fitting_schema == known_schema)
		return EXTENSION_OURS;
	if (!is_ours(known_schema))
		return EXTENSION_OTHER;
	fitting_schema = known_schema;
	return EXTENSION_OURS;
}

/* Report at this level that the SQL is of another version. */
void
extension_refuse(int level)
{
	ereport(level,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension \"dlog\" of this database is not of the version of its library"),
			 errdetail("Its SQL has not the fingerprint %s.", DLOG_SQL_FINGERPRINT),
			 errhint("Run ALTER EXTENSION dlog UPDATE; if the library has become older, install the one that was here before.")));
}

/*
 * extension_require
 *		ERROR if the SQL is of another version; called when a function of the
 *		library is looked up.
 *
 * While scripts of the extension run, it is what they are about to mend.
 */
void
extension_require(void)
{
	if (creating_extension || IsBinaryUpgrade || !IsTransactionState())
		return;
	if (extension_fit() == EXTENSION_OTHER)
		extension_refuse(ERROR);
}

/*
 * extension_begin
 *		Start a transaction of a background process: until it ends, the
 *		extension stays.  ERROR when there is none any more.
 *
 * Such a transaction must not wait for another one of them: DROP EXTENSION may
 * wait between the two.
 */
void
extension_begin(void)
{
	Oid extension;

	StartTransactionCommand();
	extension = extension_find();
	if (OidIsValid(extension))
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	if (!OidIsValid(extension) || extension_find() != extension)
	{
		CHECK_FOR_INTERRUPTS();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"dlog\" has gone from this database")));
	}
}

/*
 * dlog.sql_fingerprint() -> text
 */
Datum
dlog_sql_fingerprint(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(DLOG_SQL_FINGERPRINT));
}
