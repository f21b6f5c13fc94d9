/*
 * statement.h
 *		Statements over dlog's own tables, and work that may fail by itself.
 *
 * Between open and close statements run as who owns the tables, whoever asks,
 * and names without a schema are pg_catalog's.  An ERROR in between needs no
 * close.
 */
#ifndef DLOG_STATEMENT_H
#define DLOG_STATEMENT_H

#include "executor/spi.h"

typedef struct StatementScope
{
	Oid user;
	int security_context;
	int settings; /* nesting level of settings */
} StatementScope;

extern void statement_open(StatementScope *scope);
extern void statement_close(StatementScope *scope);

/* Parameters are texts, NULL for null; returns the rows, see SPI_tuptable. */
extern uint64 statement_run(const char *sql, int n_parameters, const char *const *parameters);
extern uint64 statement_run_typed(const char *sql, int n_parameters, const Oid *types, const Datum *values, const char *nulls);
extern char *statement_column(uint64 row, int number);

/* Runs "work" in a subtransaction; returns what went wrong, or NULL. */
extern bool error_is_of_the_moment(const ErrorData *error);
extern ErrorData *statement_try(void (*work)(void *argument), void *argument);

#endif
