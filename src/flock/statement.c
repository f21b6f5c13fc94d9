/*
 * statement.c
 *		Statements over the tables of this folder.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "flock/flock_internal.h"

#define MAX_PARAMETERS 8

void
flock_open(FlockScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->settings = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
}

void
flock_close(FlockScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(true, scope->settings);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/*
 * flock_run
 *		Run a statement between flock_open() and flock_close().
 */
uint64
flock_run(const char *sql, int n_parameters, const char *const *parameters)
{
	Oid types[MAX_PARAMETERS];
	Datum values[MAX_PARAMETERS];
	char nulls[MAX_PARAMETERS + 1];
	int result;

	Assert(n_parameters <= MAX_PARAMETERS);
	for (int i = 0; i < n_parameters; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = parameters[i] == NULL ? 'n' : ' ';
		values[i] = parameters[i] == NULL ? (Datum) 0 : CStringGetTextDatum(parameters[i]);
	}
	nulls[n_parameters] = '\0';
	result = SPI_execute_with_args(sql, n_parameters, types, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

/* A column of a row as text in SPI's memory; NULL: null. */
char *
flock_column(uint64 row, int number)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}
