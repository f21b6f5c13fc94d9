/*
 * options.c
 *		Options of the foreign-data wrapper dlog.
 *
 * A server stands for a node; the option "node" names it where the server's
 * name does not.  A foreign table stands for the relation of the same schema
 * and name over there, its columns for those of the same name, unless
 * schema_name, table_name and column_name say otherwise.  Requests run there
 * as the asking role, so there are no user mappings to configure.
 *
 * Whether the named node, relation and columns exist is not checked here:
 * they may come later.  Using them says what is missing.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"

#include "base/function.h"
#include "query/query_internal.h"

typedef struct Option
{
	const char *name;
	Oid catalog; /* of the objects that can have it */
} Option;

static const Option options[] = {
	{"node", ForeignServerRelationId},
	{"schema_name", ForeignTableRelationId},
	{"table_name", ForeignTableRelationId},
	{"column_name", AttributeRelationId},
};

static bool
option_is_known(const char *name, Oid catalog)
{
	for (int i = 0; i < lengthof(options); i++)
	{
		if (options[i].catalog == catalog && strcmp(options[i].name, name) == 0)
			return true;
	}
	return false;
}

/* The options that objects of a catalog can have, for a hint; or NULL. */
static char *
option_names(Oid catalog)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < lengthof(options); i++)
	{
		if (options[i].catalog == catalog)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 options[i].name);
	}
	return names.len > 0 ? names.data : NULL;
}

DLOG_FUNCTION(dlog_fdw_validator);

Datum
dlog_fdw_validator(PG_FUNCTION_ARGS)
{
	List *given = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid catalog = PG_GETARG_OID(1);
	ListCell *cell;

	foreach(cell, given)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (!option_is_known(option->defname, catalog))
		{
			char *names = option_names(catalog);

			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", option->defname),
					 names == NULL ?
						 errhint("There are no valid options in this context.") :
						 errhint("Valid options in this context are: %s.", names)));
		}
		if (defGetString(option)[0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
					 errmsg("option \"%s\" must not be empty", option->defname)));
	}
	PG_RETURN_VOID();
}

/*
 * foreign_column_name
 *		What a column of a foreign table is called on its node; NULL for a
 *		dropped one.
 */
char *
foreign_column_name(Relation relation, AttrNumber attno)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation),
												attno - 1);
	ListCell *cell;

	if (attribute->attisdropped)
		return NULL;

	foreach(cell, GetForeignColumnOptions(RelationGetRelid(relation), attno))
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "column_name") == 0)
			return defGetString(option);
	}
	return pstrdup(NameStr(attribute->attname));
}
