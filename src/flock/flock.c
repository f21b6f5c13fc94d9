/*
 * flock.c
 *		Who is in a flock.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "flock/flock_internal.h"

/* The tags of a flock as jsonb; false: there is no such flock. */
static bool
find_tags(const char *name, Datum *tags)
{
	StatementScope scope;
	MemoryContext context = CurrentMemoryContext;
	char *text = NULL;

	statement_open(&scope);
	if (statement_run("SELECT tags::text FROM dlog.flock WHERE name = $1 AND NOT is_dropped", 1, &name) == 1)
		text = MemoryContextStrdup(context, statement_column(0, 1));
	statement_close(&scope);
	if (text == NULL)
		return false;
	*tags = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	return true;
}

bool
flock_exists(const char *name)
{
	Datum tags;

	return strcmp(name, FLOCK_ALL) == 0 || find_tags(name, &tags);
}

static void
refuse_unknown(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("flock \"%s\" does not exist", name),
			 errhint("The flock of all nodes is \"all\"; the view dlog.flocks lists the others.")));
}

void
flock_require(const char *name)
{
	if (!flock_exists(name))
		refuse_unknown(name);
}

/* Alive, as far as this node has heard, with all these tags. */
static bool
is_member(uint32 node, Datum tags)
{
	MemberView view;

	if (!transport_member(node, &view) || view.incarnation == 0 ||
		(view.state != MEMBER_ALIVE && view.state != MEMBER_SUSPECT))
		return false;
	return DatumGetBool(DirectFunctionCall2(jsonb_contains, transport_member_tags(&view), tags));
}

/*
 * flock_nodes
 *		The nodes of a flock, see flock.h.
 */
List *
flock_nodes(const char *name)
{
	List *members = NIL;
	Datum tags;
	ListCell *cell;

	if (strcmp(name, FLOCK_ALL) == 0)
		return node_list(true);
	if (!find_tags(name, &tags))
		refuse_unknown(name);
	foreach(cell, node_list(true))
	{
		if (is_member((uint32) lfirst_int(cell), tags))
			members = lappend_int(members, lfirst_int(cell));
	}
	return members;
}

/*
 * flock_init
 *		Called once, in the postmaster.
 */
void
flock_init(void)
{
	watch_init();
	flock_sync_init();
	broadcast_init();
	discover_init();
}
