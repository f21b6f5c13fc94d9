/*
 * viewfuncs.c
 *		The references of actors that the runtime's views show.
 *
 * The runtime knows actors by their addresses, "node/slot/incarnation" in its
 * functions of SQL.  The views show what SQL can use.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "actor/actor_internal.h"
#include "base/function.h"

DLOG_FUNCTION(dlog_reference);

/*
 * dlog.reference(address text, database text) -> actor_ref
 *		The reference of the actor at an address that dlog.actors() or
 *		dlog.dead_letters() has shown.
 *
 * The database is the actor's; null stands for this one.  Null: the text is no
 * address, the node has left, or the database has been dropped.
 */
Datum
dlog_reference(PG_FUNCTION_ARGS)
{
	ActorAddress address;
	ActorRef ref;
	Oid database = MyDatabaseId;

	if (PG_ARGISNULL(0) ||
		sscanf(text_to_cstring(PG_GETARG_TEXT_PP(0)), "%u/%u/%u", &address.node, &address.slot, &address.incarnation) != 3)
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(1))
		database = get_database_oid(text_to_cstring(PG_GETARG_TEXT_PP(1)), true);
	ref = actor_ref_of(address);
	if (!OidIsValid(database) || ref.node_id == 0)
		PG_RETURN_NULL();
	ref.database = database;
	return actor_ref_datum(&ref);
}
