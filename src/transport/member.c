/*
 * member.c
 *		Membership: how a node gets into the tables dlog.node and out again.
 *
 * Words.  A *change* is something done to dlog.node of one database, and to
 * the foreign server that stands for the node there.  Whoever changes the
 * membership *rehearses* the change on all members first: each carries it
 * out and rolls it back.  Only when that worked everywhere is it *applied*,
 * member by member, in a transaction of its own on each.  So a member that is
 * down or would refuse is named before anything has changed; should one fail
 * in between, what was applied is taken back.
 *
 * A change comes over a link, so its sender is a node that this database
 * lists.  Such a node may add and remove others, and change its own key.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/extension.h"
#include "base/guc.h"
#include "base/own_sql.h"
#include "transport/member.h"

/*
 * A member answers within this time or has failed.  One whose link is lost has
 * failed at once, so patience is for those under load.
 */
#define ANSWER_MS Max(dlog_connect_timeout, 30000)
/* It waits less than that for others who change its table. */
#define LOCK_TIMEOUT "5s"

/* ------------------------------------------------------------ one change */

static WireBytes
text_of(const char *string)
{
	return (WireBytes){.size = (uint32) strlen(string), .data = string};
}

static char *
string_of(WireBytes text)
{
	return pnstrdup(text.data, text.size);
}

/* Runs a statement with text parameters (NULL for null); returns the rows. */
static uint64
execute(const char *sql, int n_parameters, const char **parameters)
{
	Oid types[8];
	Datum values[8];
	char nulls[9];
	int result;

	Assert(n_parameters <= lengthof(types));
	for (int i = 0; i < n_parameters; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = parameters[i] == NULL ? 'n' : ' ';
		values[i] = parameters[i] == NULL ? (Datum) 0 : CStringGetTextDatum(parameters[i]);
	}
	nulls[n_parameters] = '\0';
	result = SPI_execute_with_args(sql, n_parameters, types, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

/* Checks what another node says about itself or others. */
void
member_check(const NodeInfo *info)
{
	Size name_length = strlen(info->name);

	if (name_length == 0 || name_length >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("node name \"%s\" is not valid", info->name),
				 errdetail("It must have 1 to %d bytes.", NAMEDATALEN - 1)));
	pg_verifymbstr(info->name, (int) name_length, false);
	if (info->address[0] == '\0' || strlen(info->address) >= HOST_SIZE ||
		strpbrk(info->address, " \t\r\n/[]") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("address \"%s\" of node \"%s\" is not valid", info->address, info->name),
				 errhint("Give a host name, or an IPv4 or IPv6 address.")));
	if (info->port < 1 || info->port > 65535)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("port %d of node \"%s\" is not valid", info->port, info->name),
				 errdetail("It must be between 1 and 65535.")));
	if (!node_key_is_valid(info->public_key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("public key of node \"%s\" is not valid", info->name),
				 errdetail("A key is 40 characters of Z85 text."),
				 errhint("dlog.this_node() on that node tells its key.")));
	if (info->database[0] == '\0' || strlen(info->database) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("database name \"%s\" of node \"%s\" is not valid", info->database, info->name)));
}

static void
check_conflicts(const NodeInfo *info, const char *node_id)
{
	char own_key[KEY_TEXT_SIZE];
	uint64 own_id;
	char own_name[NAMEDATALEN];

	transport_this_key(&own_id, own_key);
	node_this_copy_name(own_name);
	if (info->node_id == own_id || strcmp(info->public_key, own_key) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("node \"%s\" is this node", info->name),
				 errhint("If the server is a copy of this one, remove the file dlog_node_key from its data directory and restart it.")));
	if (strcmp(info->name, own_name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("node \"%s\" already exists", info->name),
				 errdetail("It is the name of node \"%s\" itself.", own_name),
				 errhint("Set dlog.node_name to another name there and restart that server.")));

	if (execute("SELECT name FROM dlog.node"
				" WHERE name = $1 AND node_id IS DISTINCT FROM $2::pg_catalog.int8",
				2, (const char *[]){info->name, node_id}) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("node \"%s\" already exists", info->name),
				 errdetail("Node \"%s\" lists another node under that name.", own_name),
				 errhint("Set dlog.node_name to another name there and restart that server.  If the node was set up anew, first call dlog.remove_node() for the old one.")));
	if (execute("SELECT name FROM dlog.node WHERE name <> $1 AND"
				" (node_id = $2::pg_catalog.int8 OR public_key = $3 OR previous_key = $3)",
				3, (const char *[]){info->name, node_id, info->public_key}) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("node \"%s\" is listed already, as \"%s\"", info->name,
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Call dlog.remove_node() with the old name first.")));
}

/* The foreign server that stands for a node. */
static void
create_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL)
	{
		execute(psprintf("CREATE SERVER %s FOREIGN DATA WRAPPER dlog", quote_identifier(name)), 0, NULL);
		/* What is asked over there runs as the role that asks. */
		execute(psprintf("GRANT USAGE ON FOREIGN SERVER %s TO PUBLIC", quote_identifier(name)), 0, NULL);
		return;
	}
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "dlog") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("a foreign server named \"%s\" already exists", name),
				 errdetail("A node's name is also the name of a foreign server of the wrapper dlog on every other node."),
				 errhint("Rename that foreign server.")));
}

/* What stands for tables over there would go with the server. */
static void
check_nothing_is_there(const char *name)
{
	uint64 tables = execute("SELECT t.ftrelid::pg_catalog.regclass::pg_catalog.text"
							" FROM pg_catalog.pg_foreign_table t"
							" JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) t.ftserver"
							" WHERE s.srvname OPERATOR(pg_catalog.=) $1::pg_catalog.name"
							" ORDER BY t.ftrelid",
							1, &name);

	if (tables > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot remove node \"%s\" because tables have rows on it", name),
				 errdetail(UINT64_FORMAT " foreign tables or partitions stand for them, the first of which is %s.",
						   tables, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Undistribute or drop those tables first.")));
}

static void
drop_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL || strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "dlog") != 0)
		return;
	check_nothing_is_there(name);
	execute(psprintf("DROP SERVER %s RESTRICT", quote_identifier(name)), 0, NULL);
}

static void
check_room(void)
{
	uint64 listed = execute("SELECT 1 FROM dlog.node", 0, NULL);

	if (listed >= (uint64) dlog_max_nodes)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many nodes"),
				 errdetail("dlog.max_nodes is %d.", dlog_max_nodes),
				 errhint("Raise it and restart the server.")));
}

/*
 * member_add
 *		List a node here.  In a transaction, connected to SPI.
 *
 * Listing one again with the same name and number brings it up to date.
 */
void
member_add(const NodeInfo *info)
{
	char *node_id = info->node_id == 0 ? NULL : psprintf(UINT64_FORMAT, info->node_id);

	member_check(info);
	check_conflicts(info, node_id);
	check_room();
	execute("INSERT INTO dlog.node (name, node_id, address, port, public_key, database, version)"
			" VALUES ($1, $2::pg_catalog.int8, $3, $4::pg_catalog.int4, $5, $6, $7::pg_catalog.int8)"
			" ON CONFLICT (name) DO UPDATE SET address = excluded.address, port = excluded.port,"
			" public_key = excluded.public_key, previous_key = NULL, database = excluded.database,"
			" version = excluded.version",
			7, (const char *[]){info->name, node_id, info->address, psprintf("%d", info->port), info->public_key, info->database, psprintf(UINT64_FORMAT, info->version)});
	if (node_id != NULL)
		execute("DELETE FROM dlog.removed_node WHERE node_id = $1::pg_catalog.int8", 1, (const char *[]){node_id});
	create_server(info->name);
}

/*
 * member_remove
 *		List a node here no longer.  In a transaction, connected to SPI.
 *
 * With a version, it is kept in mind that it was removed then, for members
 * that do not know (sync.c).  ERROR when foreign tables still stand for tables
 * over there.
 */
void
member_remove(const char *name, uint64 version)
{
	drop_server(name);
	if (transport_removed)
		transport_removed(name);
	if (execute("DELETE FROM dlog.node WHERE name = $1 RETURNING node_id", 1, &name) == 1 && version > 0)
	{
		char *node_id = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (node_id != NULL)
			member_note_removed(strtou64(node_id, NULL, 10), version);
	}
}

/*
 * member_note_removed
 *		Keep in mind that a node was removed.
 */
void
member_note_removed(uint64 node_id, uint64 version)
{
	execute("INSERT INTO dlog.removed_node (node_id, version)"
			" VALUES ($1::pg_catalog.int8, $2::pg_catalog.int8)"
			" ON CONFLICT (node_id) DO UPDATE SET version = GREATEST(removed_node.version, excluded.version)",
			2, (const char *[]){psprintf(UINT64_FORMAT, node_id), psprintf(UINT64_FORMAT, version)});
}

/*
 * member_next_version
 *		A version above all that this database knows; connected to SPI.
 */
uint64
member_next_version(void)
{
	execute("SELECT GREATEST((EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8,"
			" (SELECT pg_catalog.max(version) + 1 FROM dlog.node),"
			" (SELECT pg_catalog.max(version) + 1 FROM dlog.removed_node))",
			0, NULL);
	return strtou64(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), NULL, 10);
}

/* The sender of a change has a new key, or is done with the old one. */
static void
change_key(uint32 sender, const char *new_key, const char *current_key, uint64 version)
{
	const char *version_text = psprintf(UINT64_FORMAT, version);
	const char *name = node_name(sender);
	uint64 changed;

	if (new_key != NULL)
	{
		if (!node_key_is_valid(new_key) || !node_key_is_valid(current_key))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("new key of node \"%s\" is not valid", name)));
		/*
		 * What it uses until then stays valid: that is not always the newest
		 * key that we know, since an earlier change may have ended half done.
		 */
		changed = execute("UPDATE dlog.node SET previous_key = $4, public_key = $2,"
						  " version = CASE WHEN version = 0 THEN 0 ELSE $3::pg_catalog.int8 END"
						  " WHERE name = $1",
						  4, (const char *[]){name, new_key, version_text, current_key});
	}
	else
		changed = execute("UPDATE dlog.node SET previous_key = NULL,"
						  " version = CASE WHEN version = 0 THEN 0 ELSE $2::pg_catalog.int8 END"
						  " WHERE name = $1",
						  2, (const char *[]){name, version_text});
	if (changed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("node \"%s\" does not exist", name)));
}

/* --------------------------------------------------- a change by message */

static void
carry_out(uint32 sender, const NodeChangeMessage *change)
{
	NodeInfo info = {
		.name = string_of(change->name),
		.node_id = change->node_id,
		.address = string_of(change->address),
		.port = (int32) change->port,
		.public_key = string_of(change->public_key),
		.database = string_of(change->database),
		.version = change->version,
	};

	switch ((NodeAction) change->action)
	{
		case NODE_ADD:
			member_add(&info);
			return;
		case NODE_REMOVE:
			member_remove(info.name, info.version);
			return;
		case NODE_NEW_KEY:
			change_key(sender, info.public_key, string_of(change->current_key), info.version);
			return;
		case NODE_KEY_DONE:
			change_key(sender, NULL, NULL, info.version);
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("change %d of nodes is not known here", change->action)));
}

static void
answer_change(ActorAddress asker, uint64 request, const ErrorData *error)
{
	NodeChangedMessage changed = {
		.request = request,
		.sqlstate = text_of(error == NULL ? "" : unpack_sql_state(error->sqlerrcode)),
		.message = text_of(error == NULL || error->message == NULL ? "" : error->message),
		.detail = text_of(error == NULL || error->detail == NULL ? "" : error->detail),
		.hint = text_of(error == NULL || error->hint == NULL ? "" : error->hint),
	};
	Message *answer = message_create(MESSAGE_NODE_CHANGED, node_changed_size(&changed));

	node_changed_write(answer->payload, answer->size, &changed);
	(void) actor_send(asker, answer);
}

/*
 * Work handler: carries out a change, or rehearses it, and answers.
 */
static void
handle_change(Message *message)
{
	MemoryContext context = CurrentMemoryContext;
	NodeChangeMessage change;
	ErrorData *volatile error = NULL;

	if (!node_change_read(message->payload, message->size, &change))
		return;
	extension_begin();
	PG_TRY();
	{
		int level;
		PushActiveSnapshot(GetTransactionSnapshot());
		(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		level = own_sql_begin();
		carry_out(message->from.node, &change);
		own_sql_end(level);
		PopActiveSnapshot();
		node_load_later();
		if (change.is_rehearsal)
			AbortCurrentTransaction();
		else
			CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);

	if (change.is_rehearsal || error != NULL)
	{
		answer_change(message->from, change.request, error);
		return;
	}

	/*
	 * A node that is to be let in is so before it hears that it is; one that
	 * leaves hears our answer before its link closes.
	 */
	if (change.action == NODE_REMOVE)
		answer_change(message->from, change.request, NULL);
	extension_begin();
	node_load();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	if (change.action != NODE_REMOVE)
		answer_change(message->from, change.request, NULL);
}

/* ---------------------------------------------------- asking the members */

static Message *
change_message(uint64 request, NodeAction action, bool is_rehearsal, const NodeInfo *info)
{
	NodeChangeMessage change = {
		.request = request,
		.action = (uint8) action,
		.is_rehearsal = is_rehearsal,
		.name = text_of(info->name),
		.node_id = info->node_id,
		.address = text_of(info->address),
		.port = (uint32) info->port,
		.public_key = text_of(info->public_key),
		.current_key = text_of(info->current_key != NULL ? info->current_key : ""),
		.database = text_of(info->database),
		.version = info->version,
	};
	Message *message = message_create(MESSAGE_NODE_CHANGE, node_change_size(&change));

	node_change_write(message->payload, message->size, &change);
	return message;
}

/* What a member answered, as an error of ours; false if it agreed. */
static bool
report_answer(const Question *question, int level)
{
	const char *name = node_name(question->to.node);
	NodeChangedMessage changed;

	if (question->answer == NULL)
	{
		ereport(level,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("node \"%s\" did not take part in the change", name),
				 errdetail("The reason: %s.", question->failure)));
		return true;
	}
	if (!node_changed_read(question->answer->payload, question->answer->size, &changed))
	{
		ereport(level,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("node \"%s\" sent an answer that cannot be read", name)));
		return true;
	}
	if (changed.sqlstate.size != 5)
		return false;
	ereport(level,
			(errcode(MAKE_SQLSTATE(changed.sqlstate.data[0], changed.sqlstate.data[1],
								   changed.sqlstate.data[2], changed.sqlstate.data[3],
								   changed.sqlstate.data[4])),
			 errmsg("node \"%s\": %.*s", name, (int) changed.message.size, changed.message.data),
			 changed.detail.size > 0 ? errdetail("%.*s", (int) changed.detail.size, changed.detail.data) : 0,
			 changed.hint.size > 0 ? errhint("%.*s", (int) changed.hint.size, changed.hint.data) : 0));
	return true;
}

static bool
has_agreed(const Question *question)
{
	NodeChangedMessage changed;

	return question->answer != NULL &&
		   node_changed_read(question->answer->payload, question->answer->size, &changed) &&
		   changed.sqlstate.size == 0;
}

static void
ask_round(Question *questions, int n_questions, NodeAction action, bool is_rehearsal, const NodeInfo *info)
{
	for (int i = 0; i < n_questions; i++)
	{
		if (questions[i].answer != NULL)
			message_free(questions[i].answer);
		questions[i].answer = NULL;
		questions[i].message = change_message(i, action, is_rehearsal, info);
	}
	ask_all(questions, n_questions, ANSWER_MS);
}

/* The change that takes another back. */
static bool
opposite(NodeAction action, NodeAction *undo)
{
	*undo = action == NODE_ADD ? NODE_REMOVE : NODE_ADD;
	return action == NODE_ADD || action == NODE_REMOVE;
}

/* Takes a change back where it was applied; failures are warnings. */
static void
take_back(const Question *questions, int n_questions, NodeAction action, const NodeInfo *info)
{
	Question *applied = questions_create(n_questions);
	int n_applied = 0;
	NodeAction undo;

	if (!opposite(action, &undo))
		return;
	for (int i = 0; i < n_questions; i++)
	{
		if (has_agreed(&questions[i]) && link_state(questions[i].to.node) == LINK_UP)
			applied[n_applied++].to = questions[i].to;
	}
	if (n_applied == 0)
		return;
	ask_round(applied, n_applied, undo, false, info);
	for (int i = 0; i < n_applied; i++)
		(void) report_answer(&applied[i], WARNING);
}

/*
 * member_tell
 *		Have databases of other nodes carry out a change: all or none.
 */
void
member_tell(const ActorAddress *databases, int n_databases, NodeAction action, const NodeInfo *info)
{
	Question *questions = questions_create(n_databases);

	for (int i = 0; i < n_databases; i++)
		questions[i].to = databases[i];

	ask_round(questions, n_databases, action, true, info);
	for (int i = 0; i < n_databases; i++)
		(void) report_answer(&questions[i], ERROR);

	ask_round(questions, n_databases, action, false, info);
	for (int i = 0; i < n_databases; i++)
	{
		if (!has_agreed(&questions[i]))
		{
			take_back(questions, n_databases, action, info);
			(void) report_answer(&questions[i], ERROR);
		}
	}
}

/*
 * member_databases
 *		The databases of other nodes that belong to this one, but for "except"
 *		(NODE_NOT_FOUND: none), in an array of palloc'd memory.
 *
 * Nodes that cannot be reached are left out with a warning if "skip_dead",
 * an ERROR otherwise.
 */
int
member_databases(uint32 except, bool skip_dead, ActorAddress **databases)
{
	List *nodes = node_list(false);
	ListCell *cell;
	int n_databases = 0;

	*databases = palloc(sizeof(ActorAddress) * Max(list_length(nodes), 1));
	foreach(cell, nodes)
	{
		uint32 node = (uint32) lfirst_int(cell);

		if (node == except)
			continue;
		if (!skip_dead)
			link_require(node);
		else if (!link_try(node))
		{
			ereport(WARNING,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("node \"%s\" cannot be reached and is not told", node_name(node)),
					 errhint("Call dlog.remove_node() there when it is back.")));
			continue;
		}
		(*databases)[n_databases++] = database_address(node, node_database(node));
	}
	return n_databases;
}

/*
 * member_this
 *		This node, as others have to list it.
 */
void
member_this(NodeInfo *info)
{
	char *key = palloc(KEY_TEXT_SIZE);

	memset(info, 0, sizeof(*info));
	transport_this_key(&info->node_id, key);
	info->name = node_this_name();
	info->address = pstrdup(transport_advertised_host());
	info->port = guc_listen_port();
	info->public_key = key;
	info->database = node_database(THIS_NODE);
}

/*
 * member_lock
 *		Let nobody else change the membership of this database meanwhile.
 */
void
member_lock(void)
{
	execute("LOCK TABLE dlog.node IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
}

/*
 * member_init
 *		Called once, in the postmaster.
 */
void
member_init(void)
{
	runtime_register_work(MESSAGE_NODE_CHANGE, handle_change);
}
