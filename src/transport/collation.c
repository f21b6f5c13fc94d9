/*
 * collation.c
 *		Do the nodes sort alike?
 *
 * Databases of different default collations may belong together.  Text is
 * equal on all nodes when its bytes are, but what comes first, and what is a
 * letter or its capital, is each database's own.  So the planner must not
 * leave that to others unless it is the same there.
 *
 * A node says what its default collation is, as a hash, when it answers an
 * ECHO.  It is asked once in each life of its link, and only when a query
 * would gain from the answer; what it said is kept in shared memory, beside
 * its admission.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/guc.h"
#include "base/own_sql.h"
#include "transport/transport_internal.h"

/* What a collation is, in the words of all server versions; a version may be unknown. */
const char *const collation_query =
	"SELECT pg_catalog.concat_ws(' ', CASE j OPERATOR(pg_catalog.->>) 'datlocprovider' WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END,"
	" j OPERATOR(pg_catalog.->>) 'datcollate', j OPERATOR(pg_catalog.->>) 'datctype',"
	" j OPERATOR(pg_catalog.->>) 'datlocale', j OPERATOR(pg_catalog.->>) 'daticulocale', j OPERATOR(pg_catalog.->>) 'daticurules', version)"
	" FROM (SELECT pg_catalog.to_jsonb(d) AS j, pg_catalog.pg_database_collation_actual_version(d.oid) AS version"
	" FROM pg_catalog.pg_database AS d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS q";

/*
 * collation_text
 *		This database's default collation, described.  In a transaction.
 */
const char *
collation_text(void)
{
	static char *described = NULL;

	if (described == NULL)
	{
		int level = own_sql_begin();

		PushActiveSnapshot(GetTransactionSnapshot());
		if (SPI_execute(collation_query, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
			elog(ERROR, "could not read the default collation");
		described = MemoryContextStrdup(TopMemoryContext,
										SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
		PopActiveSnapshot();
		own_sql_end(level);
	}
	return described;
}

/*
 * collation_this
 *		The same as a hash, which is not 0.
 */
uint64
collation_this(void)
{
	const char *text = collation_text();

	return hash_bytes_extended((const unsigned char *) text, strlen(text), 0) | 1;
}

/* Where this database keeps what it knows of a node.  The caller has node_lock. */
static Admission *
admission_of(uint32 node)
{
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		Admission *admission = &transport_shared->admissions[i];

		if (admission->database == MyDatabaseId && admission->node == node)
			return admission;
	}
	return NULL;
}

/* What is known of a node: 0 if nothing, or nothing that is to be trusted now. */
static uint64
collation_known(uint32 node)
{
	uint32 epoch = link_epoch(node);
	Admission *admission;
	uint64 collation = 0;

	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	admission = admission_of(node);
	if (admission != NULL && (admission->collation_epoch == epoch || link_state(node) != LINK_UP))
		collation = admission->collation;
	LWLockRelease(&transport_shared->node_lock);
	return collation;
}

static void
collation_note(uint32 node, uint32 epoch, uint64 collation)
{
	Admission *admission;

	LWLockAcquire(&transport_shared->node_lock, LW_EXCLUSIVE);
	admission = admission_of(node);
	if (admission != NULL)
	{
		admission->collation = collation;
		admission->collation_epoch = epoch;
	}
	LWLockRelease(&transport_shared->node_lock);
}

/* Ask those that are not known and can be reached, all at once. */
static void
ask_unknown(List *nodes)
{
	Question *questions = questions_create(list_length(nodes));
	int n_questions = 0;
	ListCell *cell;

	foreach(cell, nodes)
	{
		uint32 node = (uint32) lfirst_int(cell);
		EchoMessage echo = {.request = n_questions};
		Question *question;

		if (link_state(node) != LINK_UP || collation_known(node) != 0)
			continue;
		question = &questions[n_questions++];
		question->to = database_address(node, node_database(node));
		question->message = message_create(MESSAGE_ECHO, echo_size(&echo));
		echo_write(question->message->payload, question->message->size, &echo);
	}
	if (n_questions == 0)
		return;
	ask_all(questions, n_questions, dlog_connect_timeout);
	for (int i = 0; i < n_questions; i++)
	{
		EchoedMessage echoed;

		if (questions[i].answer != NULL && questions[i].answer->type == MESSAGE_ECHOED &&
			echoed_read(questions[i].answer->payload, questions[i].answer->size, &echoed))
			collation_note(questions[i].to.node, questions[i].epoch, echoed.collation);
	}
}

/*
 * collation_stranger
 *		A node of this database whose default collation is not certainly ours,
 *		by its name; NULL if there is none.
 *
 * May wait for an answer.  A node that cannot be reached and has not been
 * asked is one.
 */
const char *
collation_stranger(void)
{
	static char stranger[NAMEDATALEN];
	static TimestampTz looked_at = 0;
	static bool is_any;
	List *nodes;
	ListCell *cell;

	/* Once for a statement: its plan consists of many expressions. */
	if (looked_at == GetCurrentStatementStartTimestamp())
		return is_any ? stranger : NULL;
	is_any = false;
	nodes = node_list(false);
	if (nodes != NIL)
		ask_unknown(nodes);
	foreach(cell, nodes)
	{
		uint32 node = (uint32) lfirst_int(cell);

		if (!is_any && collation_known(node) != collation_this())
		{
			is_any = true;
			strlcpy(stranger, node_name(node), sizeof(stranger));
		}
	}
	looked_at = GetCurrentStatementStartTimestamp();
	return is_any ? stranger : NULL;
}
