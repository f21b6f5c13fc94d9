/*
 * rights.c
 *		Who may spawn actors of a behavior, and who may send to them.
 *
 * An actor runs as the role that spawned it.  So to spawn one is nothing
 * else than to call the behavior's functions, and takes EXECUTE on them.  To
 * send a message has the actor's owner run a handler on what one says: that
 * takes USAGE on the behavior, which at first only its owner has.  Who is a
 * member of the role that owns the actor could do the same himself.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

static void
check_execute(Oid function, Oid role)
{
	AclResult result = object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

void
behavior_check_spawn(Behavior *behavior, Oid role)
{
	if (OidIsValid(behavior->init))
		check_execute(behavior->init, role);
	for (int i = 0; i < behavior->n_handlers; i++)
		check_execute(behavior->handlers[i].function, role);
}

/*
 * behavior_may_send_to_all
 *		Whether this role may send to every actor of the behavior.
 *
 * Who asks for one message after the other is told what was found out before;
 * the cache is stale when that changes.
 */
bool
behavior_may_send_to_all(Behavior *behavior, Oid role)
{
	if (behavior->checked_sender == role)
		return true;
	if (object_aclcheck(TypeRelationId, behavior->id, role, ACL_USAGE) != ACLCHECK_OK)
		return false;
	behavior->checked_sender = role;
	return true;
}

bool
behavior_may_send(Behavior *behavior, Oid actor_owner, Oid role)
{
	return behavior_may_send_to_all(behavior, role) || has_privs_of_role(role, actor_owner);
}

void
behavior_check_send(Behavior *behavior, Oid actor_owner, Oid role)
{
	if (!behavior_may_send(behavior, actor_owner, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for behavior %s", NameStr(behavior->name)),
				 errdetail("To send to another role's actor takes USAGE on its behavior."),
				 errhint("GRANT USAGE ON TYPE %s TO ... lets a role send.",
						 format_type_be_qualified(behavior->id))));
}
