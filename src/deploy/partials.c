/*
 * partials.c
 *		Values by name, and what they come to when merged in the order of the
 *		names.
 *
 * They are kept in a treap: a binary search tree by name, that is at the same
 * time a heap by *priority*, a hash of the name (Seidel and Aragon, Randomized
 * Search Trees, 1996).  So its shape depends on the names alone, not on the order
 * in which they came, and its depth is of the order of the logarithm of their
 * number.  Each entry holds its own value and its *sum*: what its left subtree, its
 * own value and its right subtree have been merged into.  Whatever changes, comes
 * or goes, only the sums on the way up from there are made anew, with at most
 * two merges each: for n values about 2 ln n of them (a thousand: 14), where
 * merging all again would take n - 1.
 *
 * A merge that fails leaves the tree unusable; whoever sees the ERROR makes
 * another from scratch.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "deploy/deploy_internal.h"

typedef struct Partial
{
	struct Partial *left;
	struct Partial *right;
	uint64 priority;
	Datum value;
	bool is_null;
	Datum sum;
	bool sum_is_null;
	bool sum_is_value; /* they are the same datum */
	char name[FLEXIBLE_ARRAY_MEMBER];
} Partial;

struct Partials
{
	MemoryContext context;
	int16 type_length;
	bool type_by_value;
	Partial *root;
	int64 merges; /* so far */

	/* while an operation is under way */
	Reducer *reducer;
	MemoryContext scratch;
};

/*
 * partials_create
 *		None; all will be in "context", and of what this reducer merges.
 */
Partials *
partials_create(MemoryContext context, const Reducer *reducer)
{
	Partials *partials = MemoryContextAllocZero(context, sizeof(Partials));

	partials->context = context;
	partials->type_length = reducer->type_length;
	partials->type_by_value = reducer->type_by_value;
	return partials;
}

static Datum
copy_in(Partials *partials, Datum value, bool is_null)
{
	MemoryContext old;
	Datum copy;

	if (is_null)
		return (Datum) 0;
	old = MemoryContextSwitchTo(partials->context);
	copy = datumCopy(value, partials->type_by_value, partials->type_length);
	MemoryContextSwitchTo(old);
	return copy;
}

static void
free_datum(Partials *partials, Datum value, bool is_null)
{
	if (!is_null && !partials->type_by_value)
		pfree(DatumGetPointer(value));
}

static void
free_sum(Partials *partials, Partial *partial)
{
	if (!partial->sum_is_value)
		free_datum(partials, partial->sum, partial->sum_is_null);
	partial->sum_is_value = true;
}

/* Makes the sum of an entry anew, from its value and its subtrees' sums. */
static void
make_sum(Partials *partials, Partial *partial)
{
	Datum values[3];
	bool nulls[3];
	int n = 0;

	free_sum(partials, partial);
	if (partial->left != NULL)
		values[n] = partial->left->sum, nulls[n++] = partial->left->sum_is_null;
	values[n] = partial->value, nulls[n++] = partial->is_null;
	if (partial->right != NULL)
		values[n] = partial->right->sum, nulls[n++] = partial->right->sum_is_null;
	if (n == 1)
	{
		partial->sum = partial->value;
		partial->sum_is_null = partial->is_null;
		return;
	}
	partials->merges += n - 1;
	partial->sum = reducer_fold(partials->reducer, n, values, nulls, &partial->sum_is_null);
	partial->sum = copy_in(partials, partial->sum, partial->sum_is_null);
	partial->sum_is_value = false;
}

/* Splits a tree into what is before a name, and what is behind it. */
static void
split(Partials *partials, Partial *tree, const char *name, Partial **before, Partial **behind)
{
	if (tree == NULL)
	{
		*before = *behind = NULL;
		return;
	}
	if (strcmp(tree->name, name) < 0)
	{
		split(partials, tree->right, name, &tree->right, behind);
		*before = tree;
	}
	else
	{
		split(partials, tree->left, name, before, &tree->left);
		*behind = tree;
	}
	make_sum(partials, tree);
}

/* Joins two trees, the names of one before those of the other. */
static Partial *
join(Partials *partials, Partial *before, Partial *behind)
{
	Partial *top;

	if (before == NULL || behind == NULL)
		return before == NULL ? behind : before;
	if (before->priority > behind->priority)
	{
		top = before;
		top->right = join(partials, top->right, behind);
	}
	else
	{
		top = behind;
		top->left = join(partials, before, top->left);
	}
	make_sum(partials, top);
	return top;
}

static Partial *
insert(Partials *partials, Partial *tree, Partial *partial)
{
	if (tree == NULL || partial->priority > tree->priority)
	{
		split(partials, tree, partial->name, &partial->left, &partial->right);
		tree = partial;
	}
	else if (strcmp(partial->name, tree->name) < 0)
		tree->left = insert(partials, tree->left, partial);
	else
		tree->right = insert(partials, tree->right, partial);
	make_sum(partials, tree);
	return tree;
}

static Partial *
replace(Partials *partials, Partial *tree, const char *name, Datum value, bool is_null)
{
	int order = strcmp(name, tree->name);

	if (order < 0)
		tree->left = replace(partials, tree->left, name, value, is_null);
	else if (order > 0)
		tree->right = replace(partials, tree->right, name, value, is_null);
	else
	{
		free_sum(partials, tree);
		free_datum(partials, tree->value, tree->is_null);
		tree->value = copy_in(partials, value, is_null);
		tree->is_null = is_null;
	}
	make_sum(partials, tree);
	return tree;
}

static Partial *
take_out(Partials *partials, Partial *tree, const char *name)
{
	int order = strcmp(name, tree->name);

	if (order == 0)
	{
		Partial *joined = join(partials, tree->left, tree->right);

		free_sum(partials, tree);
		free_datum(partials, tree->value, tree->is_null);
		pfree(tree);
		return joined;
	}
	if (order < 0)
		tree->left = take_out(partials, tree->left, name);
	else
		tree->right = take_out(partials, tree->right, name);
	make_sum(partials, tree);
	return tree;
}

static const Partial *
find(const Partials *partials, const char *name)
{
	const Partial *at = partials->root;

	while (at != NULL)
	{
		int order = strcmp(name, at->name);

		if (order == 0)
			return at;
		at = order < 0 ? at->left : at->right;
	}
	return NULL;
}

/* What merging leaves behind is gone when the operation is over. */
static MemoryContext
begin(Partials *partials, Reducer *reducer)
{
	partials->reducer = reducer;
	partials->scratch = AllocSetContextCreate(CurrentMemoryContext, "dlog merges", ALLOCSET_DEFAULT_SIZES);
	return MemoryContextSwitchTo(partials->scratch);
}

static void
end(Partials *partials, MemoryContext old)
{
	MemoryContextSwitchTo(old);
	MemoryContextDelete(partials->scratch);
}

/*
 * partials_set
 *		The value of a name, new or instead of another.
 */
void
partials_set(Partials *partials, Reducer *reducer, const char *name, Datum value, bool is_null)
{
	MemoryContext old = begin(partials, reducer);

	if (find(partials, name) != NULL)
		partials->root = replace(partials, partials->root, name, value, is_null);
	else
	{
		Size size = strlen(name) + 1;
		Partial *partial = MemoryContextAllocZero(partials->context, offsetof(Partial, name) + size);

		memcpy(partial->name, name, size);
		partial->priority = hash_bytes_extended((const unsigned char *) name, (int) size - 1, 0);
		partial->value = copy_in(partials, value, is_null);
		partial->is_null = is_null;
		partial->sum_is_value = true;
		partials->root = insert(partials, partials->root, partial);
	}
	end(partials, old);
}

/*
 * partials_remove
 *		Its value no longer counts, if it has one.
 */
void
partials_remove(Partials *partials, Reducer *reducer, const char *name)
{
	MemoryContext old = begin(partials, reducer);

	if (find(partials, name) != NULL)
		partials->root = take_out(partials, partials->root, name);
	end(partials, old);
}

/*
 * partials_find
 *		The value of a name, which stays the tree's; false: there is none.
 */
bool
partials_find(const Partials *partials, const char *name, Datum *value, bool *is_null)
{
	const Partial *found = find(partials, name);

	if (found == NULL)
		return false;
	*value = found->value;
	*is_null = found->is_null;
	return true;
}

/*
 * partials_result
 *		What all come to, which stays the tree's; false: there are none.
 */
bool
partials_result(const Partials *partials, Datum *value, bool *is_null)
{
	if (partials->root == NULL)
		return false;
	*value = partials->root->sum;
	*is_null = partials->root->sum_is_null;
	return true;
}

int64
partials_merges(const Partials *partials)
{
	return partials->merges;
}
