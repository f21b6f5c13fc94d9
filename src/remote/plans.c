/*
 * plans.c
 *		Statements of other nodes and their plans, kept by each scheduler.
 *
 * The key is the statement as it came (statement.c): equal bytes mean equal
 * text, role, settings, types and partitions.  The server's plan cache does
 * the rest: it re-plans after DDL and chooses between generic and custom
 * plans.  What we looked up by name ourselves (types and partitions) is
 * watched with invalidation callbacks; an entry for which something of it
 * changed is stale and is made anew.
 */
#include "postgres.h"

#include "access/hash.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "remote/remote_internal.h"

#define MAX_STATEMENTS 128
#define BUCKETS 256

static CachedStatement *buckets[BUCKETS];
static dlist_head by_use = DLIST_STATIC_INIT(by_use); /* last used first */
static int n_statements;

static int
compare_oids(const void *a, const void *b)
{
	Oid x = *(const Oid *) a;
	Oid y = *(const Oid *) b;

	return x < y ? -1 : x > y;
}

static bool
contains(const Oid *oids, int n, Oid oid)
{
	return n > 0 && bsearch(&oid, oids, n, sizeof(Oid), compare_oids) != NULL;
}

/* --- staleness ----------------------------------------------------------- */

static void
relation_changed(Datum argument, Oid relation)
{
	dlist_iter iter;

	dlist_foreach(iter, &by_use)
	{
		CachedStatement *cached = dlist_container(CachedStatement, lru, iter.cur);

		if (!OidIsValid(relation) ||
			contains(cached->relations, cached->n_relations, relation) ||
			contains(cached->tables, cached->n_tables, relation))
			cached->is_stale = true;
	}
}

static void
type_changed(Datum argument, int cache, uint32 hash)
{
	dlist_iter iter;

	dlist_foreach(iter, &by_use)
	{
		CachedStatement *cached = dlist_container(CachedStatement, lru, iter.cur);

		if (cached->statement->has_user_types)
			cached->is_stale = true;
	}
}

static void
schema_changed(Datum argument, int cache, uint32 hash)
{
	relation_changed(argument, InvalidOid);
}

/* --- entries ------------------------------------------------------------- */

static void
cached_statement_free(CachedStatement *cached)
{
	if (cached->source != NULL)
		DropCachedPlan(cached->source);
	MemoryContextDelete(cached->context);
}

/* Nobody will find it any more; it goes when nobody uses it. */
static void
cached_statement_forget(CachedStatement *cached)
{
	CachedStatement **at = &buckets[cached->hash % BUCKETS];

	while (*at != cached)
		at = &(*at)->hash_next;
	*at = cached->hash_next;
	dlist_delete(&cached->lru);
	n_statements--;
	cached->is_stale = true;
	cached->is_forgotten = true;
	if (cached->pins == 0)
		cached_statement_free(cached);
}

void
cached_statement_release(CachedStatement *cached)
{
	Assert(cached->pins > 0);
	cached->pins--;
	if (cached->pins == 0 && cached->is_forgotten)
		cached_statement_free(cached);
}

/*
 * Find the partitions that the request is about.  One that is a foreign table
 * here has gone: the asking node does not know yet where it is, and we ask for
 * it there.
 */
static void
list_partition(CachedStatement *cached, const char *schema, const char *name, Oid partition)
{
	char relkind = OidIsValid(partition) ? get_rel_relkind(partition) : '\0';

	if (relkind == RELKIND_FOREIGN_TABLE)
		cached->n_gone++;
	else if (relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition \"%s.%s\" is not on node \"%s\"",
						schema, name, node_this_name()),
				 errhint("The asking node's map of the partitions is out of date.")));
	cached->relations[cached->n_relations++] = partition;
}

static void
resolve_tables(CachedStatement *cached)
{
	Statement *statement = cached->statement;
	int n = 0;
	ListCell *cell;

	foreach(cell, statement->tables)
		n += list_length(((RemoteTable *) lfirst(cell))->partitions);
	cached->relations = palloc(sizeof(Oid) * (n + 1));
	cached->tables = palloc(sizeof(Oid) * Max(list_length(statement->tables), 1));

	foreach(cell, statement->tables)
	{
		RemoteTable *table = lfirst(cell);
		Oid namespace = get_namespace_oid(table->schema, false);
		Oid parent = get_relname_relid(table->name, namespace);
		ListCell *inner;

		if (!OidIsValid(parent))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation \"%s.%s\" does not exist on node \"%s\"",
							table->schema, table->name, node_this_name())));
		cached->tables[cached->n_tables++] = parent;

		foreach(inner, table->partitions)
		{
			const char *name = lfirst(inner);

			list_partition(cached, table->schema, name, get_relname_relid(name, namespace));
		}
	}

	/* Rows are put into a partition if a parent is named; copy_open() minds that. */
	if (statement->kind == REMOTE_COPY && statement->copy_parent != NULL &&
		statement->copy_schema != NULL && statement->copy_table != NULL)
	{
		Oid namespace = get_namespace_oid(statement->copy_schema, true);
		Oid partition = get_relname_relid(statement->copy_table, namespace);

		if (OidIsValid(partition) && get_rel_relispartition(partition))
			list_partition(cached, statement->copy_schema, statement->copy_table, partition);
	}
	cached->passes = palloc0(sizeof(RemotePass) * Max(cached->n_relations, 1));
	qsort(cached->relations, cached->n_relations, sizeof(Oid), compare_oids);
	qsort(cached->tables, cached->n_tables, sizeof(Oid), compare_oids);
}

/*
 * cached_statement_get
 *		The statement whose bytes these are; to be released.
 *
 * It is decoded, and its names are looked up; cached_statement_plan() makes
 * it ready to run.
 */
CachedStatement *
cached_statement_get(const char *identity, Size size)
{
	uint32 hash = hash_bytes((const unsigned char *) identity, size);
	CachedStatement *cached = buckets[hash % BUCKETS];
	MemoryContext context;
	MemoryContext old;
	StringInfoData in;

	while (cached != NULL &&
		   !(cached->hash == hash && cached->identity_size == size &&
			 memcmp(cached->identity, identity, size) == 0))
		cached = cached->hash_next;

	/* Take in what has changed before trusting it. */
	AcceptInvalidationMessages();
	if (cached != NULL && cached->is_stale)
	{
		cached_statement_forget(cached);
		cached = NULL;
	}
	if (cached != NULL)
	{
		dlist_move_head(&by_use, &cached->lru);
		cached->pins++;
		return cached;
	}

	/* It is the caller's context's until it is whole. */
	context = AllocSetContextCreate(CurrentMemoryContext, "dlog statement",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	cached = palloc0(sizeof(CachedStatement));
	cached->context = context;
	cached->hash = hash;
	cached->identity_size = size;
	cached->identity = palloc(size);
	memcpy(cached->identity, identity, size);
	in.data = cached->identity;
	in.len = in.maxlen = size;
	in.cursor = 0;
	cached->statement = statement_read(&in);
	if (in.cursor != in.len)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed request from another node")));
	resolve_tables(cached);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, TopMemoryContext);

	if (n_statements >= MAX_STATEMENTS)
		cached_statement_forget(dlist_tail_element(CachedStatement, lru, &by_use));
	cached->hash_next = buckets[hash % BUCKETS];
	buckets[hash % BUCKETS] = cached;
	dlist_push_head(&by_use, &cached->lru);
	n_statements++;
	cached->pins = 1;
	return cached;
}

/* What a request may not do, since its transaction is the asking session's. */
static void
refuse_statement(RawStmt *parsetree)
{
	Node *stmt = parsetree->stmt;

	if (IsA(stmt, TransactionStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot be sent to another node",
						GetCommandTagName(CreateCommandTag(stmt))),
				 errhint("What runs there is part of the transaction here.")));
	if (IsA(stmt, VariableSetStmt))
	{
		VariableSetStmt *set = castNode(VariableSetStmt, stmt);

		if (set->name != NULL &&
			(pg_strcasecmp(set->name, "TRANSACTION") == 0 ||
			 pg_strcasecmp(set->name, "TRANSACTION SNAPSHOT") == 0 ||
			 pg_strncasecmp(set->name, "transaction_", 12) == 0))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the transaction's characteristics cannot be set on another node"),
					 errhint("They are those of the transaction here.")));
	}
	if (IsA(stmt, CopyStmt) && castNode(CopyStmt, stmt)->filename == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY from or to the client cannot be sent to another node")));
}

/*
 * cached_statement_plan
 *		Parse and analyze the text, unless that was done before.
 *
 * The statement's role and settings must be in effect.
 */
void
cached_statement_plan(CachedStatement *cached)
{
	Statement *statement = cached->statement;
	MemoryContext old;
	List *parsetrees;
	ListCell *cell;
	RawStmt *parsetree;
	CachedPlanSource *source;
	List *queries;
	bool has_snapshot = false;

	if (cached->source != NULL || cached->parsetrees != NIL)
		return;

	parsetrees = pg_parse_query(statement->sql);
	foreach(cell, parsetrees)
		refuse_statement(lfirst_node(RawStmt, cell));
	if (list_length(parsetrees) != 1)
	{
		if (statement->kind != REMOTE_SCRIPT)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("a request must hold exactly one statement")));
		old = MemoryContextSwitchTo(cached->context);
		cached->parsetrees = copyObject(parsetrees);
		MemoryContextSwitchTo(old);
		return;
	}

	parsetree = linitial_node(RawStmt, parsetrees);
	cached->tag = CreateCommandTag(parsetree->stmt);
	source = CreateCachedPlan(parsetree, statement->sql, cached->tag);
	if (analyze_requires_snapshot(parsetree))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		has_snapshot = true;
	}
	queries = pg_analyze_and_rewrite_fixedparams(parsetree, statement->sql,
												 statement->param_types,
												 statement->n_params, NULL);
	if (has_snapshot)
		PopActiveSnapshot();

	/*
	 * Parallel workers are for a statement that runs in one go only.
	 */
	CompleteCachedPlan(source, queries, NULL, statement->param_types,
					   statement->n_params, NULL, NULL,
					   statement->is_pinned ? 0 : CURSOR_OPT_PARALLEL_OK, false);
	SaveCachedPlan(source);
	cached->source = source;
}

bool
cached_statement_lists(CachedStatement *cached, Oid partition)
{
	return contains(cached->relations, cached->n_relations, partition);
}

bool
cached_statement_has_table(CachedStatement *cached, Oid table)
{
	return contains(cached->tables, cached->n_tables, table);
}

void
plans_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, type_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
}
