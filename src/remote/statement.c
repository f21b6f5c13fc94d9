/*
 * statement.c
 *		What a request says, written and read side by side.
 *
 * The body of a request is a *statement* followed by a *run*.  The statement
 * is all that the plan may depend on, so that its bytes are the key under
 * which a scheduler keeps the plan (plans.c): the text, the role, the
 * settings that give literals their meaning, the types.  The run is what
 * differs from one execution to the next, above all the parameters' values.
 *
 * Types are named by schema and name, an array by its element.  Strings are
 * in the asking database's encoding and converted where they are read.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/errcodes.h"
#include "base/guc.h"
#include "remote/remote_internal.h"

/*
 * Settings of the asking session that hold on the other node.  Those before
 * the first lc_ one decide how values are read and written.
 */
static const char *const travelling_settings[] = {
	"DateStyle", "IntervalStyle", "TimeZone", "bytea_output",
	"extra_float_digits", "xmlbinary", "xmloption", "array_nulls",
	"transform_null_equals", "default_text_search_config", "row_security",
	"lc_monetary", "lc_numeric", "lc_time"};

/* All schemas that deparsed text needs it names; temporary tables come last. */
#define FIXED_SEARCH_PATH "pg_catalog, pg_temp"

/* --- strings, types and lists -------------------------------------------- */

static void
put_string(StringInfo out, const char *string)
{
	int size = string == NULL ? -1 : (int) strlen(string);

	pq_sendint32(out, size);
	if (size > 0)
		appendBinaryStringInfo(out, string, size);
}

/* A text of another node in our encoding; palloc'd. */
char *
wire_to_server(WireBytes text, int encoding)
{
	char *string = pnstrdup(text.data, text.size);

	/* Conversion looks at all of "size". */
	if (strlen(string) != text.size)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a text of another node has a zero in it")));
	return pg_any_to_server(string, text.size, encoding);
}

static char *
get_string(StringInfo in, int encoding)
{
	int size = (int) pq_getmsgint(in, 4);
	WireBytes text = {.size = size};

	if (size == -1)
		return NULL;
	text.data = pq_getmsgbytes(in, size);
	return wire_to_server(text, encoding);
}

static int
get_count(StringInfo in, Size least_size)
{
	uint32 count = pq_getmsgint(in, 4);

	if ((uint64) count * least_size > (uint64) (in->len - in->cursor))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	return (int) count;
}

static void
put_type(StringInfo out, Oid type)
{
	Oid element = get_element_type(type);
	HeapTuple tuple;
	Form_pg_type form;

	/* int2vector has elements as well, but a name of its own. */
	if (OidIsValid(element) && get_array_type(element) != type)
		element = InvalidOid;
	tuple = SearchSysCache1(TYPEOID,
							ObjectIdGetDatum(OidIsValid(element) ? element : type));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	form = (Form_pg_type) GETSTRUCT(tuple);
	pq_sendbyte(out, OidIsValid(element));
	put_string(out, form->typnamespace == PG_CATALOG_NAMESPACE ?
						NULL :
						get_namespace_name(form->typnamespace));
	put_string(out, NameStr(form->typname));
	ReleaseSysCache(tuple);
}

/* The type here that has this name, or an error that names it. */
static Oid
get_type(StringInfo in, Statement *statement)
{
	int encoding = statement->encoding;
	bool is_array = pq_getmsgbyte(in) != 0;
	const char *schema = get_string(in, encoding);
	const char *name = get_string(in, encoding);
	Oid namespace = PG_CATALOG_NAMESPACE;
	Oid type = InvalidOid;

	if (name == NULL)
		name = "";
	if (schema != NULL)
	namespace = get_namespace_oid(schema, true);
	if (OidIsValid(namespace))
		type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
							   CStringGetDatum(name), ObjectIdGetDatum(namespace));
	if (OidIsValid(type) && is_array)
		type = get_array_type(type);
	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_DLOG_DEFINITION_DIFFERS),
				 errmsg("type \"%s.%s\" does not exist on node \"%s\"",
						schema ? schema : "pg_catalog", name, node_this_name())));
	if (type >= FirstNormalObjectId)
		statement->has_user_types = true;
	return type;
}

static void
put_strings(StringInfo out, List *strings)
{
	ListCell *cell;

	pq_sendint32(out, list_length(strings));
	foreach(cell, strings)
		put_string(out, lfirst(cell));
}

static List *
get_strings(StringInfo in, int encoding)
{
	int count = get_count(in, 4);
	List *strings = NIL;

	for (int i = 0; i < count; i++)
		strings = lappend(strings, get_string(in, encoding));
	return strings;
}

/*
 * statement_architecture
 *		Nodes for which this is equal lay out values in memory alike.
 */
const char *
statement_architecture(void)
{
	static char architecture[96];

	if (architecture[0] == '\0')
		snprintf(architecture, sizeof(architecture), "%s %d-bit align %d %s%s%s",
#if defined(__x86_64__)
				 "x86_64",
#elif defined(__aarch64__)
				 "aarch64",
#else
				 PG_VERSION_STR,
#endif
				 SIZEOF_VOID_P * 8, MAXIMUM_ALIGNOF,
#ifdef WORDS_BIGENDIAN
				 "big-endian",
#else
				 "little-endian",
#endif
				 FLOAT8PASSBYVAL ? " float8-by-value" : "",
#ifdef USE_LZ4
				 " lz4"
#else
				 ""
#endif
		);
	return architecture;
}

/* --- the statement ------------------------------------------------------- */

static void
put_settings(StringInfo out, bool any_search_path)
{
	pq_sendint32(out, lengthof(travelling_settings) + 1);
	put_string(out, "search_path");
	put_string(out, any_search_path ? GetConfigOption("search_path", false, false) :
									  FIXED_SEARCH_PATH);
	for (int i = 0; i < lengthof(travelling_settings); i++)
	{
		put_string(out, travelling_settings[i]);
		put_string(out, GetConfigOption(travelling_settings[i], false, false));
	}
}

static List *
get_settings(StringInfo in, int encoding)
{
	int count = get_count(in, 8);
	List *settings = NIL;

	for (int i = 0; i < count; i++)
	{
		Setting *setting = palloc(sizeof(Setting));

		setting->name = get_string(in, encoding);
		setting->value = get_string(in, encoding);
		settings = lappend(settings, setting);
	}
	return settings;
}

static void
put_tables(StringInfo out, List *tables)
{
	ListCell *cell;

	pq_sendint32(out, list_length(tables));
	foreach(cell, tables)
	{
		RemoteTable *table = lfirst(cell);

		put_string(out, table->schema);
		put_string(out, table->name);
		put_strings(out, table->partitions);
	}
}

static List *
get_tables(StringInfo in, int encoding)
{
	int count = get_count(in, 12);
	List *tables = NIL;

	for (int i = 0; i < count; i++)
	{
		RemoteTable *table = palloc(sizeof(RemoteTable));

		table->schema = get_string(in, encoding);
		table->name = get_string(in, encoding);
		table->partitions = get_strings(in, encoding);
		tables = lappend(tables, table);
	}
	return tables;
}

static void
put_columns(StringInfo out, TupleDesc desc, const ColumnForm *forms)
{
	pq_sendint32(out, desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		put_string(out, NameStr(column->attname));
		put_type(out, column->atttypid);
		pq_sendint32(out, column->atttypmod);
		pq_sendbyte(out, forms[i]);
	}
}

static void
get_columns(StringInfo in, Statement *statement)
{
	int count = get_count(in, 18);

	statement->n_columns = count;
	statement->result_desc = CreateTemplateTupleDesc(count);
	statement->column_forms = palloc(sizeof(ColumnForm) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		const char *name = get_string(in, statement->encoding);
		Oid type = get_type(in, statement);
		int32 typmod = (int32) pq_getmsgint(in, 4);

		TupleDescInitEntry(statement->result_desc, i + 1, name, type, typmod, 0);
		statement->column_forms[i] = pq_getmsgbyte(in);
	}
}

void
statement_write(StringInfo out, const RemoteRequest *request, bool is_pinned,
				const ColumnForm *column_forms, ColumnForm copy_form)
{
	pq_sendint32(out, PG_VERSION_NUM);
	pq_sendint32(out, GetDatabaseEncoding());
	put_string(out, statement_architecture());
	put_string(out, GetUserNameFromId(GetUserId(), false));
	put_string(out, GetUserNameFromId(GetSessionUserId(), false));
	pq_sendbyte(out, InSecurityRestrictedOperation());
	pq_sendbyte(out, request->kind);
	pq_sendbyte(out, is_pinned);
	pq_sendbyte(out, dlog_enable_raw_rows);
	put_string(out, request->sql);
	put_settings(out, request->any_search_path);

	pq_sendint32(out, request->n_params);
	for (int i = 0; i < request->n_params; i++)
	{
		put_type(out, request->param_types[i]);
		pq_sendbyte(out, type_form(request->param_types[i]));
	}
	put_tables(out, request->tables);
	put_string(out, request->copy_schema);
	put_string(out, request->copy_table);
	put_string(out, request->copy_parent);
	put_strings(out, request->copy_columns);
	pq_sendbyte(out, copy_form);

	pq_sendbyte(out, request->result_desc != NULL && request->kind != REMOTE_COPY);
	if (request->result_desc != NULL && request->kind != REMOTE_COPY)
		put_columns(out, request->result_desc, column_forms);
}

/*
 * statement_read
 *		Decode a statement; all of it is palloc'd, types are looked up.
 */
Statement *
statement_read(StringInfo in)
{
	Statement *statement = palloc0(sizeof(Statement));
	int encoding;

	statement->server_version = pq_getmsgint(in, 4);
	statement->encoding = encoding = pq_getmsgint(in, 4);
	if (!PG_VALID_BE_ENCODING(encoding))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	statement->architecture = get_string(in, encoding);
	statement->role = get_string(in, encoding);
	statement->session_user = get_string(in, encoding);
	statement->is_restricted = pq_getmsgbyte(in);
	if (statement->role == NULL || statement->session_user == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	statement->kind = pq_getmsgbyte(in);
	statement->is_pinned = pq_getmsgbyte(in);
	statement->wants_raw = pq_getmsgbyte(in);
	statement->sql = get_string(in, encoding);
	statement->settings = get_settings(in, encoding);

	statement->n_params = get_count(in, 10);
	statement->param_types = palloc(sizeof(Oid) * Max(statement->n_params, 1));
	statement->param_forms = palloc(sizeof(ColumnForm) * Max(statement->n_params, 1));
	for (int i = 0; i < statement->n_params; i++)
	{
		statement->param_types[i] = get_type(in, statement);
		statement->param_forms[i] = pq_getmsgbyte(in);
	}
	statement->tables = get_tables(in, encoding);
	statement->copy_schema = get_string(in, encoding);
	statement->copy_table = get_string(in, encoding);
	statement->copy_parent = get_string(in, encoding);
	statement->copy_columns = get_strings(in, encoding);
	statement->copy_form = pq_getmsgbyte(in);

	statement->has_columns = pq_getmsgbyte(in);
	if (statement->has_columns)
		get_columns(in, statement);
	return statement;
}

/* --- the run ------------------------------------------------------------- */

static void
put_values(StringInfo out, const RemoteRequest *request)
{
	int previous = encoding_enter(GetDatabaseEncoding());

	PG_TRY();
	{
		for (int i = 0; i < request->n_params; i++)
		{
			if (request->param_nulls != NULL && request->param_nulls[i])
				pq_sendbyte(out, 0);
			else
			{
				pq_sendbyte(out, 1);
				value_append(out, request->param_types[i],
							 type_form(request->param_types[i]),
							 request->param_values[i]);
			}
		}
	}
	PG_FINALLY();
	{
		encoding_leave(previous);
	}
	PG_END_TRY();
}

void
run_write(StringInfo out, const RemoteRequest *request)
{
	bool has_text = false;
	int nest_level;

	put_string(out, application_name);
	for (int i = 0; i < request->n_params; i++)
		has_text |= type_form(request->param_types[i]) == COLUMN_TEXT;
	nest_level = has_text ? text_rules_begin() : 0;
	put_values(out, request);
	if (has_text)
		text_rules_end(nest_level);
}

/* To be called with the asking database's encoding entered. */
void
run_read(StringInfo in, const Statement *statement, StatementRun *run)
{
	run->application_name = get_string(in, statement->encoding);
	run->params = NULL;
	if (statement->n_params > 0)
		run->params = makeParamList(statement->n_params);
	for (int i = 0; i < statement->n_params; i++)
	{
		ParamExternData *param = &run->params->params[i];

		param->ptype = statement->param_types[i];
		param->pflags = PARAM_FLAG_CONST;
		param->isnull = pq_getmsgbyte(in) == 0;
		param->value = param->isnull ? (Datum) 0 :
									   value_read(param->ptype,
												  statement->param_forms[i], in);
	}
	pq_getmsgend(in);
}
