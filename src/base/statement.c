/*
 * statement.c
 *		Statements over dlog's own tables, see statement.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/own_sql.h"
#include "base/statement.h"

#define MAX_PARAMETERS 8

void
statement_open(StatementScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->settings = own_sql_begin();
}

void
statement_close(StatementScope *scope)
{
	own_sql_end(scope->settings);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/*
 * statement_run
 *		Run a statement between statement_open() and statement_close().
 */
uint64
statement_run(const char *sql, int n_parameters, const char *const *parameters)
{
	Oid types[MAX_PARAMETERS];
	Datum values[MAX_PARAMETERS];
	char nulls[MAX_PARAMETERS + 1];

	Assert(n_parameters <= MAX_PARAMETERS);
	for (int i = 0; i < n_parameters; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = parameters[i] == NULL ? 'n' : ' ';
		values[i] = parameters[i] == NULL ? (Datum) 0 : CStringGetTextDatum(parameters[i]);
	}
	nulls[n_parameters] = '\0';
	return statement_run_typed(sql, n_parameters, types, values, nulls);
}

/* The same with parameters of any type; "nulls" is SPI's. */
uint64
statement_run_typed(const char *sql, int n_parameters, const Oid *types, const Datum *values, const char *nulls)
{
	int result = SPI_execute_with_args(sql, n_parameters, (Oid *) types, (Datum *) values, nulls, false, 0);

	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

/* A column of a row as text in SPI's memory; NULL: null. */
char *
statement_column(uint64 row, int number)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}

/*
 * error_is_of_the_moment
 *		Does it lie with what the server has, or who is in the way, at present,
 *		and not with what was to be done?  Then the same may go well later.
 */
bool
error_is_of_the_moment(const ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return error->elevel > ERROR || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		   category == ERRCODE_INSUFFICIENT_RESOURCES || category == ERRCODE_OPERATOR_INTERVENTION ||
		   category == ERRCODE_TRANSACTION_ROLLBACK;
}

/*
 * statement_try
 *		Run "work" in a subtransaction, which is undone if it fails.
 *
 * The error is in the current memory context.
 */
ErrorData *
statement_try(void (*work)(void *argument), void *argument)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(argument);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}
