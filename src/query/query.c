/*
 * query.c
 *		What this folder sets up when the library is loaded.
 */
#include "postgres.h"

#include "query/fanout.h"
#include "query/query.h"
#include "query/query_internal.h"

void
query_init(void)
{
	RegisterCustomScanMethods(&fanout_scan_methods);
	fanout_path_init();
	fanout_join_init();
	kept_plan_init();
	conflict_init();
}
