/*
 * own_sql.c
 *		Statements of our own, over our own tables.
 *
 * They run with the rights of whoever calls, a superuser more often than not,
 * so an operator or function that somebody has put into a schema of the
 * search_path must not be taken for the server's.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/guc.h"

#include "base/own_sql.h"

/*
 * own_sql_begin
 *		Connect to SPI; names are looked up in pg_catalog only until
 *		own_sql_end() with the result, or until the transaction fails.
 */
int
own_sql_begin(void)
{
	int level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	return level;
}

void
own_sql_end(int level)
{
	SPI_finish();
	AtEOXact_GUC(true, level);
}
