/*
 * fdw.c
 *		The foreign-data wrapper dlog: scans of one foreign table.
 */
#include "postgres.h"

#include "foreign/fdwapi.h"

#include "base/function.h"
#include "query/query_internal.h"

DLOG_FUNCTION(dlog_fdw_handler);

Datum
dlog_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	PG_RETURN_POINTER(routine);
}
