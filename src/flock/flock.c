/*
 * flock.c
 *		Who is in a flock.
 */
#include "postgres.h"

#include "flock/flock.h"
#include "transport/transport.h"

/*
 * flock_nodes
 *		The nodes of a flock, see flock.h.
 */
List *
flock_nodes(const char *name)
{
	if (strcmp(name, "all") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("flock \"%s\" does not exist", name),
				 errhint("The flock of all nodes is \"all\".")));
	return node_list(true);
}

/*
 * flock_init
 *		Called once, in the postmaster.
 */
void
flock_init(void)
{
}
