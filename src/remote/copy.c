/*
 * copy.c
 *		Rows of another node put into a table.
 *
 * They come in COPY's own format, in runs of whole rows, and each run goes
 * through the server's COPY: multi-insert, indexes, triggers, defaults and
 * the partition's constraint.  A run at a time, so that a transaction can
 * fill many partitions of a node at once.
 *
 * Who may insert is decided by the partitioned table that was named in the
 * statement, as it would be if the partition were on the asking node.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "commands/copy.h"
#include "commands/defrem.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "remote/remote_internal.h"

/* More than this is not gathered into one run. */
#define RUN_MAX (1024 * 1024)

static const char binary_signature[11] = "PGCOPY\n\377\r\n\0";

typedef struct CopyInput
{
	Oid table;
	List *columns; /* String nodes */
	bool is_binary;
	StringInfoData bytes; /* whole rows, then perhaps a part of one */
	int whole;			  /* bytes of it that end with a row */
	bool is_last;		  /* no more come */
	uint32 unacknowledged;
} CopyInput;

/* What COPY reads next; its callback has no argument. */
static struct
{
	StringInfoData bytes;
} source;

static int
read_source(void *buffer, int least, int most)
{
	int size = Min(most, source.bytes.len - source.bytes.cursor);

	memcpy(buffer, source.bytes.data + source.bytes.cursor, size);
	source.bytes.cursor += size;
	return size;
}

static Oid
find_table(const char *schema, const char *name)
{
	Oid namespace = LookupExplicitNamespace(schema, false);
	Oid table = get_relname_relid(name, namespace);

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist on node \"%s\"", schema,
						name, node_this_name())));
	return table;
}

static void
check_privileges(Oid table, List *columns)
{
	Oid role = GetUserId();
	ListCell *cell;

	if (pg_class_aclcheck(table, role, ACL_INSERT) != ACLCHECK_OK)
	{
		foreach(cell, columns)
		{
			AttrNumber column = get_attnum(table, lfirst(cell));

			if (column == InvalidAttrNumber ||
				pg_attribute_aclcheck(table, column, role, ACL_INSERT) != ACLCHECK_OK)
				aclcheck_error(ACLCHECK_NO_PRIV,
							   get_relkind_objtype(get_rel_relkind(table)),
							   get_rel_name(table));
		}
		if (columns == NIL)
			aclcheck_error(ACLCHECK_NO_PRIV,
						   get_relkind_objtype(get_rel_relkind(table)),
						   get_rel_name(table));
	}
	if (check_enable_rls(table, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows cannot be put into \"%s\", which has row-level security",
						get_rel_name(table)),
				 errhint("Use INSERT statements instead.")));
}

/*
 * copy_open
 *		Make ready to put rows into the table that the statement names.
 */
void
copy_open(Execution *execution)
{
	Statement *statement = execution->cached->statement;
	Oid table;
	CopyInput *input;
	MemoryContext old;
	ListCell *cell;

	PreventCommandIfReadOnly("COPY FROM");
	if (statement->copy_schema == NULL || statement->copy_table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	table = find_table(statement->copy_schema, statement->copy_table);
	if (get_rel_relkind(table) != RELKIND_RELATION &&
		get_rel_relkind(table) != RELKIND_PARTITIONED_TABLE &&
		!(get_rel_relkind(table) == RELKIND_FOREIGN_TABLE && execution->cached->n_gone > 0))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" is not on node \"%s\"",
						statement->copy_schema, statement->copy_table,
						node_this_name()),
				 errhint("The asking node's map of the partitions is out of date.")));

	/* Only a real ancestor can lend its privileges. */
	if (statement->copy_parent != NULL &&
		strcmp(statement->copy_parent, statement->copy_table) != 0)
	{
		Oid parent = find_table(statement->copy_schema, statement->copy_parent);

		if (!get_rel_relispartition(table) ||
			!list_member_oid(get_partition_ancestors(table), parent))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" is not a partition of \"%s\" on node \"%s\"",
							statement->copy_table, statement->copy_parent,
							node_this_name())));
		check_privileges(parent, statement->copy_columns);
	}
	else
		check_privileges(table, statement->copy_columns);

	old = MemoryContextSwitchTo(execution->context);
	input = palloc0(sizeof(CopyInput));
	input->table = table;
	input->is_binary = statement->copy_form == COLUMN_BINARY;
	foreach(cell, statement->copy_columns)
		input->columns = lappend(input->columns, makeString(pstrdup(lfirst(cell))));
	initStringInfo(&input->bytes);
	execution->input = input;
	activity_set(execution->activity, ACTIVITY_WAITS_FOR_INPUT, 0, 0);
	MemoryContextSwitchTo(old);
}

static void
tell_credit(Execution *execution)
{
	CopyInput *input = execution->input;
	CreditMessage credit = {.messages = input->unacknowledged};
	Message *message;

	if (input->unacknowledged == 0 || input->is_last)
		return;
	message = remote_message(MESSAGE_CREDIT, credit_size(&credit));
	credit_write(message->payload, message->size, &credit);
	message->from = execution->writer.from;
	input->unacknowledged = 0;
	if (actor_send(execution->asker, message) != SEND_OK)
		execution->writer.asker_is_gone = true;
}

/* An INPUT has come.  The message stays the caller's. */
void
copy_add(Execution *execution, const Message *message)
{
	CopyInput *input = execution->input;
	InputMessage part;

	if (!input_read(message->payload, message->size, &part) || input->is_last)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed rows from another node")));
	appendBinaryStringInfo(&input->bytes, part.bytes.data, part.bytes.size);
	if (part.flags & INPUT_LAST_OF_RUN)
		input->whole = input->bytes.len;
	if (part.flags & INPUT_LAST)
		input->is_last = true;
	input->unacknowledged++;

	/* A row that is larger than the credits must not wait for them. */
	if (!(part.flags & INPUT_LAST_OF_RUN) || input->bytes.len < RUN_MAX)
		tell_credit(execution);
}

bool
copy_has_run(Execution *execution)
{
	return execution->input->whole > 0 || execution->input->is_last;
}

static uint64
put_run(CopyInput *input)
{
	ParseState *state = make_parsestate(NULL);
	Relation table = table_open(input->table, RowExclusiveLock);
	List *options = NIL;
	CopyFromState copy;
	uint64 rows;

	(void) addRangeTableEntryForRelation(state, table, RowExclusiveLock, NULL,
										 false, false);
	initStringInfo(&source.bytes);
	if (input->is_binary)
	{
		options = list_make1(makeDefElem("format", (Node *) makeString("binary"), -1));
		appendBinaryStringInfo(&source.bytes, binary_signature,
							   sizeof(binary_signature));
		pq_sendint32(&source.bytes, 0);
		pq_sendint32(&source.bytes, 0);
	}
	appendBinaryStringInfo(&source.bytes, input->bytes.data, input->whole);
	if (input->is_binary)
		pq_sendint16(&source.bytes, (uint16) -1);

	PushActiveSnapshot(GetTransactionSnapshot());
	copy = BeginCopyFrom(state, table, NULL, NULL, false, read_source,
						 input->columns, options);
	rows = CopyFrom(copy);
	EndCopyFrom(copy);
	PopActiveSnapshot();
	table_close(table, NoLock);
	free_parsestate(state);
	CommandCounterIncrement();
	return rows;
}

/*
 * copy_run
 *		Put the whole rows that are here into the table; true at the end.
 */
bool
copy_run(Execution *execution)
{
	CopyInput *input = execution->input;

	activity_set(execution->activity, ACTIVITY_RUNS, execution->affected, 0);
	if (input->whole > 0)
	{
		MemoryContext context = AllocSetContextCreate(execution->context,
													  "dlog copy",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		int rest = input->bytes.len - input->whole;

		execution->affected += put_run(input);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);

		memmove(input->bytes.data, input->bytes.data + input->whole, rest);
		input->bytes.len = rest;
		input->whole = 0;
		tell_credit(execution);
	}
	if (!input->is_last)
	{
		activity_set(execution->activity, ACTIVITY_WAITS_FOR_INPUT, execution->affected, 0);
		return false;
	}
	if (input->bytes.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("half a row from another node")));
	snprintf(execution->tag, sizeof(execution->tag), "COPY " UINT64_FORMAT,
			 execution->affected);
	return true;
}
