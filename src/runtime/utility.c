/*
 * utility.c
 *		What statements mean for the schedulers.
 *
 * CREATE EXTENSION announces the database when it commits (its script calls
 * dlog.start()), DROP EXTENSION lets the launcher look again.  A statement
 * that needs a database without connections, such as DROP DATABASE, sends
 * its schedulers away first; they may come back when the transaction is over.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/pg_compat.h"
#include "runtime/runtime_internal.h"

/* How long a statement waits for the schedulers of its database to exit. */
#define EXIT_TIMEOUT_MS 10000

static ProcessUtility_hook_type previous_utility;
static object_access_hook_type previous_object_access;

/* To be done when this transaction commits; by which of its subtransactions. */
static SubTransactionId announces = InvalidSubTransactionId;
static SubTransactionId rechecks = InvalidSubTransactionId;
static bool rescans = false;
static NameData announced_name;

/* The databases that this transaction keeps schedulers away from. */
static bool is_kept[MAX_DATABASES];

/* ------------------------------------------------- the extension itself */

/*
 * utility_announce
 *		Start schedulers in this database once this transaction commits.
 */
void
utility_announce(void)
{
	namestrcpy(&announced_name, get_database_name(MyDatabaseId));
	if (announces == InvalidSubTransactionId)
		announces = GetCurrentSubTransactionId();
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *argument)
{
	if (previous_object_access)
		previous_object_access(access, class, object, sub, argument);
	if (access == OAT_DROP && class == ExtensionRelationId)
	{
		char *name = get_extension_name(object);

		if (name != NULL && strcmp(name, "dlog") == 0 && rechecks == InvalidSubTransactionId)
			rechecks = GetCurrentSubTransactionId();
	}
}

/* Let the schedulers come back to where this transaction kept them away. */
static void
let_back(void)
{
	int i;

	for (i = 0; i < MAX_DATABASES; i++)
	{
		if (!is_kept[i])
			continue;
		is_kept[i] = false;
		database_let_back(i);
	}
}

static void
at_transaction_end(XactEvent event, void *argument)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (announces != InvalidSubTransactionId || rechecks != InvalidSubTransactionId)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has created or dropped extension \"dlog\"")));
			break;
		case XACT_EVENT_COMMIT:
			if (rechecks != InvalidSubTransactionId)
				database_recheck(MyDatabaseId);
			if (announces != InvalidSubTransactionId &&
				database_announce(MyDatabaseId, NameStr(announced_name)) < 0)
				ereport(WARNING,
						(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						 errmsg("dlog serves at most %d databases of a server", MAX_DATABASES)));
			if (rescans)
				launcher_rescan();
			let_back();
			announces = rechecks = InvalidSubTransactionId;
			rescans = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			let_back();
			announces = rechecks = InvalidSubTransactionId;
			rescans = false;
			break;
		default:
			break;
	}
}

/* What a subtransaction did is undone with it; those within it have later ids. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId sub,
					  SubTransactionId parent, void *argument)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (announces >= sub)
		announces = InvalidSubTransactionId;
	if (rechecks >= sub)
		rechecks = InvalidSubTransactionId;
}

/* ------------------------------------------- statements about databases */

/* The existing database that a statement wants for itself, or NULL. */
static const char *
database_wanted(Node *statement)
{
	ListCell *cell;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return castNode(DropdbStmt, statement)->dbname;
		case T_AlterDatabaseStmt:
			return castNode(AlterDatabaseStmt, statement)->dbname;
		case T_RenameStmt:
			if (castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE)
				return castNode(RenameStmt, statement)->subname;
			return NULL;
		case T_CreatedbStmt:
			foreach(cell, castNode(CreatedbStmt, statement)->options)
			{
				DefElem *option = lfirst_node(DefElem, cell);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
					return defGetString(option);
			}
			return NULL;
		default:
			return NULL;
	}
}

static void
keep_schedulers_away(int database)
{
	ConditionVariable *exited = &database_at(database)->scheduler_exited;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), EXIT_TIMEOUT_MS);

	is_kept[database] = true;
	database_keep_away(database);

	ConditionVariablePrepareToSleep(exited);
	while (scheduler_count(database).all > 0)
	{
		long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		/* If one does not go, let the statement say what that means to it. */
		if (left <= 0 ||
			ConditionVariableTimedSleep(exited, left, WaitEventExtensionNew("DlogSchedulersExit")))
			break;
	}
	ConditionVariableCancelSleep();
}

/* The slot of the database that the statement wants for itself, or -1. */
static int
database_to_clear(Node *statement)
{
	const char *name = database_wanted(statement);
	Oid oid;

	if (name == NULL)
		return -1;
	oid = get_database_oid(name, true);

	/* Who may not do it anyway shall not disturb the schedulers. */
	if (!OidIsValid(oid) || oid == MyDatabaseId ||
		!object_ownercheck(DatabaseRelationId, oid, GetUserId()))
		return -1;
	return database_find(oid);
}

static void
process_utility(PlannedStmt *statement, const char *text, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	NodeTag tag = nodeTag(statement->utilityStmt);
	int database = database_to_clear(statement->utilityStmt);

	if (database >= 0 && !is_kept[database])
		keep_schedulers_away(database);

	/* There may be a database with the extension that we do not know. */
	if (tag == T_CreatedbStmt || tag == T_AlterDatabaseStmt)
		rescans = true;

	if (previous_utility)
		previous_utility(statement, text, read_only_tree, context, params,
						 environment, destination, completion);
	else
		standard_ProcessUtility(statement, text, read_only_tree, context, params,
								environment, destination, completion);
}

void
utility_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
