/*
 * everywhere.c
 *		The same change on every node, in one transaction.
 *
 * Changes of a distributed table run here and, in this transaction's remote
 * transactions, on all other nodes.  Either all of them commit or none.
 *
 * Two nodes that change one table at the same time would each hold their
 * own locks and wait for the other's, which no node alone can see.  So
 * whoever changes a table first takes an advisory lock named for it on the
 * node whose name sorts first: the second waits there, before it has locked
 * anything else.
 *
 * A change and a transaction that writes rows can wait for each other in the
 * same way, each for what the other has locked on another node.  A change
 * therefore waits no longer than dlog.ddl_lock_timeout for a lock over there.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

#include "base/guc.h"
#include "partition/partition_internal.h"
#include "remote/remote.h"
#include "transport/transport.h"

/* The class of our advisory locks: "dlog" in ASCII. */
#define ADVISORY_LOCK_CLASS 0x646c6f67

/*
 * everywhere_require
 *		Fail now if any node cannot be reached, and not half way.
 */
void
everywhere_require(void)
{
	ListCell *cell;

	foreach(cell, node_list(false))
		link_require((uint32) lfirst_int(cell));
}

/*
 * Until the script has ended, it changes that node alone.  A longer wait for
 * a lock than lock_timeout_ms ends it; 0 is for ever.
 */
static void
run_script(uint32 node, const char *script, int lock_timeout_ms)
{
	RemoteRequest request = {.kind = REMOTE_SCRIPT, .writes = true};

	request.sql = psprintf("SET LOCAL dlog.propagate_ddl = off;\n"
						   "SET LOCAL lock_timeout = %d;\n"
						   "%s;\n"
						   "SET LOCAL lock_timeout TO DEFAULT;\n"
						   "SET LOCAL dlog.propagate_ddl TO DEFAULT",
						   lock_timeout_ms, script);
	remote_run(node, &request);
	pfree((char *) request.sql);
}

/*
 * everywhere_lock
 *		Keep other nodes from changing this table until we commit.
 */
void
everywhere_lock(const char *schema, const char *name)
{
	const char *qualified = quote_qualified_identifier(schema, name);
	int32 key = (int32) hash_bytes((const unsigned char *) qualified, strlen(qualified));
	uint32 first = THIS_NODE;
	const char *first_name = node_this_name();
	ListCell *cell;

	foreach(cell, node_list(false))
	{
		uint32 node = (uint32) lfirst_int(cell);

		if (strcmp(node_name(node), first_name) < 0)
		{
			first = node;
			first_name = node_name(node);
		}
	}

	if (first == THIS_NODE)
		DirectFunctionCall2(pg_advisory_xact_lock_int4,
							Int32GetDatum(ADVISORY_LOCK_CLASS), Int32GetDatum(key));
	else
		run_script(first, psprintf("SELECT pg_catalog.pg_advisory_xact_lock(%d, %d)", ADVISORY_LOCK_CLASS, key),
				   LockTimeout);
}

/*
 * fixed_settings_begin
 *		Until fixed_settings_end() with the result (or the end of the
 *		transaction): names are looked up in pg_catalog only, and statements
 *		that change distributed tables change this node alone.
 */
int
fixed_settings_begin(void)
{
	int level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("default_tablespace", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("dlog.propagate_ddl", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
fixed_settings_end(int level)
{
	AtEOXact_GUC(true, level);
}

/*
 * run_here
 *		Run a script on this node; returns the rows its last statement
 *		processed.
 */
uint64
run_here(const char *script)
{
	uint64 processed;
	int result;

	SPI_connect();
	result = SPI_execute(script, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", script, SPI_result_code_string(result));
	processed = SPI_processed;
	SPI_finish();
	return processed;
}

/*
 * run_there
 *		Run a script on another node, in this transaction, for that node alone.
 */
void
run_there(uint32 node, const char *script)
{
	run_script(node, script, dlog_ddl_lock_timeout);
}

/*
 * run_elsewhere
 *		Run a script on all other nodes.
 */
void
run_elsewhere(const char *script)
{
	ListCell *cell;

	foreach(cell, node_list(false))
		run_there((uint32) lfirst_int(cell), script);
}
