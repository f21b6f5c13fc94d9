/*
 * eligibility.c
 *		Which tables can be distributed, and by which columns.
 *
 * A refusal names the obstacle and says what to do about it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/pg_compat.h"
#include "partition/partition_internal.h"

static void
check_kind(Relation relation, const char *verb)
{
	const char *name = RelationGetRelationName(relation);
	Oid table = RelationGetRelid(relation);
	Oid parent = distributed_parent(table);
	Oid extension;

	if (OidIsValid(parent))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a partition of distributed table \"%s\"",
						name, get_rel_name(parent))));
	if (partition_is_distributed(table))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already distributed", name),
				 errhint("dlog.undistribute_table() makes it an ordinary table of this node again.")));
	if (partition_is_replicated(table))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already replicated", name),
				 errhint("dlog.unreplicate_table() makes it an ordinary table.")));
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s table \"%s\" because it is partitioned", verb, name),
				 errhint("Copy its rows into an ordinary table, and distribute that.")));
	if (relation->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s \"%s\"", verb, name),
				 errdetail_relkind_not_supported(relation->rd_rel->relkind)));
	if (table < FirstNormalObjectId || IsSystemRelation(relation))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot %s table \"%s\" because it is a system table", verb, name)));
	extension = getExtensionOfObject(RelationRelationId, table);
	if (OidIsValid(extension))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s table \"%s\" because it belongs to extension \"%s\"",
						verb, name, get_extension_name(extension))));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s table \"%s\" because it is temporary", verb, name)));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s table \"%s\" because it is unlogged", verb, name),
				 errhint("ALTER TABLE ... SET LOGGED makes it an ordinary table.")));
	if (relation->rd_rel->relispartition)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s table \"%s\" because it is a partition", verb, name),
				 errhint("ALTER TABLE ... DETACH PARTITION makes it an ordinary table.")));
	if (has_superclass(table) || find_inheritance_children(table, NoLock) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s table \"%s\" because it takes part in inheritance", verb, name),
				 errhint("ALTER TABLE ... NO INHERIT ends that.")));
	if (OidIsValid(relation->rd_rel->reloftype))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s table \"%s\" because it is a typed table", verb, name),
				 errhint("ALTER TABLE ... NOT OF makes it an ordinary table.")));
	if (OidIsValid(relation->rd_rel->reltablespace))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s table \"%s\" because it has a tablespace of its own", verb, name),
				 errhint("ALTER TABLE ... SET TABLESPACE can move it into the database's.")));
}

static char *
joined(List *strings)
{
	StringInfoData text;
	ListCell *cell;

	initStringInfo(&text);
	foreach(cell, strings)
		appendStringInfo(&text, "%s%s", text.len > 0 ? "\n" : "", (char *) lfirst(cell));
	return text.data;
}

/* Refuse if a query about the table finds anything. */
static void
refuse_found(Relation relation, const char *verb, const char *sql,
			 const char *obstacle, const char *hint)
{
	List *found = definition_query(sql, RelationGetRelid(relation));

	if (found != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s table \"%s\" because it has %s",
						verb, RelationGetRelationName(relation), obstacle),
				 errdetail_internal("%s", joined(found)),
				 errhint("%s", hint)));
}

/* Identity columns, and those whose default reads a sequence. */
static const char *const sequence_columns =
	"SELECT pg_catalog.format('column %I', attname)"
	" FROM pg_catalog.pg_attribute a"
	" WHERE attrelid = $1 AND NOT attisdropped"
	" AND (attidentity <> '' OR EXISTS ("
	"	SELECT FROM pg_catalog.pg_attrdef f"
	"	JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass"
	"	AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	"	JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'"
	"	WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum))"
	" ORDER BY attnum";

/*
 * table_sequence_columns
 *		Columns of a table whose values are from a sequence, described.
 */
List *
table_sequence_columns(Oid table)
{
	return definition_query(sequence_columns, table);
}

static void
check_features(Relation relation, const char *verb)
{
	refuse_found(relation, verb,
				 "SELECT pg_catalog.format('%s: %s', pg_catalog.quote_ident(conname),"
				 " pg_catalog.pg_get_constraintdef(oid))"
				 " FROM pg_catalog.pg_constraint"
				 " WHERE conrelid = $1 AND contype = 'f' ORDER BY conname",
				 "foreign keys",
				 "Drop them: a referenced row may be on another node.");
	refuse_found(relation, verb,
				 "SELECT pg_catalog.format('%s: %s', pg_catalog.quote_ident(conname),"
				 " pg_catalog.pg_get_constraintdef(oid))"
				 " FROM pg_catalog.pg_constraint"
				 " WHERE conrelid = $1 AND contype = 'x' ORDER BY conname",
				 "exclusion constraints",
				 "Drop them: rows of other nodes are not seen when one is checked.");
	refuse_found(relation, verb,
				 "SELECT pg_catalog.format('trigger %I', tgname)"
				 " FROM pg_catalog.pg_trigger"
				 " WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY tgname",
				 "triggers",
				 "Drop them: they would run on the node of the statement, of the row, or on both.");
	refuse_found(relation, verb,
				 "SELECT pg_catalog.format('rule %I', rulename)"
				 " FROM pg_catalog.pg_rewrite WHERE ev_class = $1 ORDER BY rulename",
				 "rules", "Drop them.");
	refuse_found(relation, verb, sequence_columns, "columns whose values are from a sequence",
				 "Its numbers are unique on one node only: ALTER TABLE ... ALTER COLUMN ... DROP DEFAULT or DROP IDENTITY, "
				 "and let gen_random_uuid() or the application make the values.");
	refuse_found(relation, verb,
				 "SELECT pg_catalog.format('publication %I', p.pubname)"
				 " FROM pg_catalog.pg_publication_rel r"
				 " JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid"
				 " WHERE r.prrelid = $1 ORDER BY 1",
				 "publications", "ALTER PUBLICATION ... DROP TABLE takes it out.");
	refuse_found(relation, verb,
				 "SELECT pg_catalog.format('index %I', c.relname)"
				 " FROM pg_catalog.pg_index i"
				 " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
				 " WHERE i.indrelid = $1 AND c.reltablespace <> 0 ORDER BY 1",
				 "indexes with tablespaces of their own",
				 "ALTER INDEX ... SET TABLESPACE can move them into the database's.");
}

/*
 * check_nothing_depends
 *		Views and the like know a table by its oid, and would be lost.
 */
void
check_nothing_depends(Oid table, const char *verb)
{
	List *dependents = definition_query("SELECT dlog.definition_dependents($1)", table);

	if (dependents != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot %s table \"%s\" because other objects depend on it",
						verb, get_rel_name(table)),
				 errdetail_internal("%s", joined(dependents)),
				 errhint("Drop them, and create them again afterwards.")));
}

/*
 * hash_is_portable
 *		Do equal values of this type hash alike on every node?
 *
 * Not when they are stored as oids of objects, which differ.
 */
static bool
hash_is_portable(Oid type)
{
	Oid base = getBaseType(type);
	Oid element = get_base_element_type(base);
	Oid contained;

	if (OidIsValid(element))
		return hash_is_portable(element);

	switch (get_typtype(base))
	{
		case TYPTYPE_ENUM:
			return false;
		case TYPTYPE_RANGE:
			contained = get_range_subtype(base);
			return hash_is_portable(contained);
		case TYPTYPE_MULTIRANGE:
			contained = get_multirange_range(base);
			return hash_is_portable(contained);
		case TYPTYPE_COMPOSITE:
		{
			TupleDesc columns = lookup_rowtype_tupdesc(base, -1);
			bool is_portable = true;

			for (int i = 0; i < columns->natts; i++)
			{
				Form_pg_attribute column = TupleDescAttr(columns, i);

				if (!column->attisdropped && !hash_is_portable(column->atttypid))
					is_portable = false;
			}
			ReleaseTupleDesc(columns);
			return is_portable;
		}
		default:
			break;
	}

	switch (base)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGCOLLATIONOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case ACLITEMOID:
			return false;
		default:
			return true;
	}
}

static AttrNumber
check_column(Relation relation, const char *name)
{
	AttrNumber number = get_attnum(RelationGetRelid(relation), name);
	Form_pg_attribute column;

	if (number == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(relation))));
	if (number < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("cannot distribute by system column \"%s\"", name)));

	column = TupleDescAttr(RelationGetDescr(relation), number - 1);
	if (column->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("cannot distribute by generated column \"%s\"", name)));
	if (!OidIsValid(GetDefaultOpClass(column->atttypid, HASH_AM_OID)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("cannot distribute by column \"%s\"", name),
				 errdetail("Values of type %s cannot be hashed: it has no default operator class for access method \"hash\".",
						   format_type_be(column->atttypid))));
	if (!hash_is_portable(column->atttypid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot distribute by column \"%s\"", name),
				 errdetail("Values of type %s are stored as oids, which differ from node to node.",
						   format_type_be(column->atttypid)),
				 errhint("Distribute by a column of another type, such as text.")));
	if (OidIsValid(column->attcollation) && !get_collation_isdeterministic(column->attcollation))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot distribute by column \"%s\"", name),
				 errdetail("Its collation \"%s\" is not deterministic, and may hash differently on another node.",
						   get_collation_name(column->attcollation))));
	return number;
}

/*
 * Uniqueness is checked within a partition, so a key must tell partitions
 * apart.
 */
static void
check_keys(Relation relation, const AttrNumber *columns, int n_columns)
{
	ListCell *cell;

	foreach(cell, RelationGetIndexList(relation))
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		index = (Form_pg_index) GETSTRUCT(tuple);
		for (int i = 0; index->indisunique && i < n_columns; i++)
		{
			bool is_included = false;

			for (int j = 0; j < index->indnkeyatts; j++)
				is_included |= index->indkey.values[j] == columns[i];
			if (!is_included)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot distribute table \"%s\" because %s \"%s\" does not include column \"%s\"",
								RelationGetRelationName(relation),
								index->indisprimary ? "primary key" : "unique index",
								get_rel_name(lfirst_oid(cell)),
								get_attname(RelationGetRelid(relation), columns[i], false)),
						 errdetail("Each partition checks a unique key by itself, so it must include all columns that the table is distributed by."),
						 errhint("Distribute by columns of the key, or add the column to the key.")));
		}
		ReleaseSysCache(tuple);
	}
}

/*
 * check_distributable
 *		Refuse a table that cannot be distributed by these columns (C strings).
 *
 * The table is locked against everyone else.
 */
void
check_distributable(Relation relation, List *columns)
{
	AttrNumber numbers[PARTITION_MAX_KEYS];
	int n_columns = 0;
	ListCell *cell;

	if (!object_ownercheck(RelationRelationId, RelationGetRelid(relation), GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relation->rd_rel->relkind),
					   RelationGetRelationName(relation));
	check_kind(relation, "distribute");
	CheckTableNotInUse(relation, "distribute");

	if (list_length(columns) == 0 || list_length(columns) > PARTITION_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a table is distributed by 1 to %d columns", PARTITION_MAX_KEYS)));
	foreach(cell, columns)
	{
		AttrNumber number = check_column(relation, lfirst(cell));

		for (int i = 0; i < n_columns; i++)
			if (numbers[i] == number)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" is named twice", (char *) lfirst(cell))));
		numbers[n_columns++] = number;
	}

	check_features(relation, "distribute");
	refuse_found(relation, "distribute",
				 "SELECT pg_catalog.format('%s of table %s', pg_catalog.quote_ident(conname), conrelid::pg_catalog.regclass)"
				 " FROM pg_catalog.pg_constraint"
				 " WHERE confrelid = $1 AND contype = 'f' ORDER BY conname",
				 "foreign keys pointing to it",
				 "Drop them: a referenced row may be on another node.");
	check_keys(relation, numbers, n_columns);
	check_nothing_depends(RelationGetRelid(relation), "distribute");
}

/*
 * check_replicable
 *		Refuse a table that cannot be kept whole on every node.
 *
 * The table is locked against writers.
 */
void
check_replicable(Relation relation)
{
	check_kind(relation, "replicate");
	CheckTableNotInUse(relation, "replicate");
	check_features(relation, "replicate");
	if (!OidIsValid(relation_primary_key(relation)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot replicate table \"%s\" because it has no primary key",
						RelationGetRelationName(relation)),
				 errdetail("The copies find the rows to change by it; a deferrable one does not count."),
				 errhint("ALTER TABLE ... ADD PRIMARY KEY gives it one.")));
}
