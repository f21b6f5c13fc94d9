/*
 * shippable.c
 *		May an expression travel?
 *
 * It may when the other node computes exactly what this one would: every
 * function, operator, type and collation in it is certainly there and the
 * same, and nothing in it depends on the session, the clock or this node.
 *
 * What is there: what the server is born with; what belongs to an extension
 * of dlog.shippable_extensions or stands in a schema of
 * dlog.shippable_schemas, for which the administrator vouches; and the types
 * of the columns of the tables in question, since those exist on all nodes.
 *
 * What is the same: immutable functions, and those stable ones of the server
 * that depend on nothing but the settings that travel with a request (the
 * time zone).  Anything without a column of the fragment in it is not asked:
 * its value is computed here and travels as a parameter, now() included.
 *
 * The walk returns true to stop at the first offence, as walkers do.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "query/query_internal.h"
#include "transport/transport.h"

typedef struct ShippableContext
{
	PlannerInfo *root;
	Relids relids;
	bool allow_aggregates;
	bool is_column; /* the expression is a column by itself */
	const char *reason;
} ShippableContext;

/*
 * Stable functions of the server whose only dependence is the time zone,
 * which every request carries.
 */
static const Oid zone_functions[] = {
	F_TIMESTAMPTZ_DATE,
	F_DATE_TIMESTAMPTZ,
	F_TIMESTAMPTZ_TIMESTAMP,
	F_TIMESTAMP_TIMESTAMPTZ,
	F_TIME_TIMESTAMPTZ,
	F_TIMETZ_TIMESTAMPTZ,
	F_TIMESTAMPTZ_PL_INTERVAL,
	F_TIMESTAMPTZ_MI_INTERVAL,
	F_INTERVAL_PL_TIMESTAMPTZ,
	F_DATE_TRUNC_TEXT_TIMESTAMPTZ,
	F_DATE_PART_TEXT_TIMESTAMPTZ,
	F_EXTRACT_TEXT_TIMESTAMPTZ,
	F_TIMESTAMP_LT_TIMESTAMPTZ,
	F_TIMESTAMP_LE_TIMESTAMPTZ,
	F_TIMESTAMP_EQ_TIMESTAMPTZ,
	F_TIMESTAMP_GT_TIMESTAMPTZ,
	F_TIMESTAMP_GE_TIMESTAMPTZ,
	F_TIMESTAMP_NE_TIMESTAMPTZ,
	F_TIMESTAMPTZ_LT_TIMESTAMP,
	F_TIMESTAMPTZ_LE_TIMESTAMP,
	F_TIMESTAMPTZ_EQ_TIMESTAMP,
	F_TIMESTAMPTZ_GT_TIMESTAMP,
	F_TIMESTAMPTZ_GE_TIMESTAMP,
	F_TIMESTAMPTZ_NE_TIMESTAMP,
	F_DATE_LT_TIMESTAMPTZ,
	F_DATE_LE_TIMESTAMPTZ,
	F_DATE_EQ_TIMESTAMPTZ,
	F_DATE_GT_TIMESTAMPTZ,
	F_DATE_GE_TIMESTAMPTZ,
	F_DATE_NE_TIMESTAMPTZ,
	F_TIMESTAMPTZ_LT_DATE,
	F_TIMESTAMPTZ_LE_DATE,
	F_TIMESTAMPTZ_EQ_DATE,
	F_TIMESTAMPTZ_GT_DATE,
	F_TIMESTAMPTZ_GE_DATE,
	F_TIMESTAMPTZ_NE_DATE,
	F_AGE_TIMESTAMPTZ_TIMESTAMPTZ,
};

static bool
names_contain(const char *setting, const char *name)
{
	char *copy = pstrdup(setting);
	List *names;
	ListCell *lc;

	if (name == NULL || !SplitIdentifierString(copy, ',', &names))
		return false;
	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/*
 * Is this object of a system catalog certainly on every node?  The schema is
 * asked for only when the object is not the server's own.
 */
static bool
object_is_everywhere(Oid catalog, Oid object, Oid (*get_schema)(Oid))
{
	if (object < FirstGenbkiObjectId)
		return true;
	if (dlog_shippable_extensions[0] != '\0')
	{
		Oid extension = getExtensionOfObject(catalog, object);

		if (OidIsValid(extension) &&
			names_contain(dlog_shippable_extensions,
						  get_extension_name(extension)))
			return true;
	}
	if (dlog_shippable_schemas[0] != '\0')
	{
		Oid schema = get_schema(object);

		if (OidIsValid(schema) &&
			names_contain(dlog_shippable_schemas, get_namespace_name(schema)))
			return true;
	}
	return false;
}

static Oid
type_schema(Oid type)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid result = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
		ReleaseSysCache(tuple);
	}
	return result;
}

static Oid
operator_schema(Oid operator)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Oid result = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace;
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * Does some column of the fragment's relations have this type, or an array
 * of it?
 */
static bool
type_is_of_a_column(PlannerInfo *root, Relids relids, Oid type)
{
	int rti = -1;

	while ((rti = bms_next_member(relids, rti)) >= 0)
	{
		RangeTblEntry *rte = planner_rt_fetch(rti, root);
		Relation relation;
		bool found = false;

		if (rte->rtekind != RTE_RELATION)
			continue;
		relation = RelationIdGetRelation(rte->relid);
		for (int i = 0; i < RelationGetNumberOfAttributes(relation); i++)
		{
			Form_pg_attribute attribute =
				TupleDescAttr(RelationGetDescr(relation), i);

			if (attribute->attisdropped)
				continue;
			if (attribute->atttypid == type ||
				getBaseType(attribute->atttypid) == type ||
				get_element_type(attribute->atttypid) == type)
				found = true;
		}
		RelationClose(relation);
		if (found)
			return true;
	}
	return false;
}

/*
 * type_is_shippable
 *		Does every node know this type, as this one does?
 */
bool
type_is_shippable(PlannerInfo *root, Relids relids, Oid type)
{
	Oid element;

	if (get_typtype(type) == TYPTYPE_PSEUDO)
		return false;
	if (object_is_everywhere(TypeRelationId, type, type_schema))
		return true;
	if (type_is_of_a_column(root, relids, type))
		return true;
	element = get_element_type(type);
	return OidIsValid(element) &&
		   type_is_of_a_column(root, relids, element);
}

/*
 * type_is_portable
 *		Are equal values of this type stored alike on every node, and sorted
 *		alike?
 *
 * Not those that are oids of objects.  They travel by the objects' names, but
 * what is computed with the oids has another result on another node.
 */
bool
type_is_portable(Oid type)
{
	Oid element;
	bool is_portable = true;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
		return type_is_portable(element);
	switch (get_typtype(type))
	{
		case TYPTYPE_RANGE:
			return type_is_portable(get_range_subtype(type));
		case TYPTYPE_MULTIRANGE:
			return type_is_portable(get_multirange_range(type));
		case TYPTYPE_COMPOSITE:
		{
			TupleDesc columns = lookup_rowtype_tupdesc(type, -1);

			for (int i = 0; i < columns->natts; i++)
			{
				Form_pg_attribute column = TupleDescAttr(columns, i);

				if (!column->attisdropped && !type_is_portable(column->atttypid))
					is_portable = false;
			}
			ReleaseTupleDesc(columns);
			return is_portable;
		}
		case TYPTYPE_BASE:
			return type >= FirstGenbkiObjectId || type_is_raw_safe(type);
		default:
			return true;
	}
}

/* For check_functions_in_node(): true stops the walk. */
static bool
function_offends(Oid function, void *argument)
{
	ShippableContext *context = argument;
	char volatility = func_volatile(function);

	if (!object_is_everywhere(ProcedureRelationId, function,
							  get_func_namespace))
	{
		context->reason = psprintf("function %s may differ on other nodes",
								   get_func_name(function));
		return true;
	}
	if (volatility == PROVOLATILE_IMMUTABLE)
		return false;
	if (volatility == PROVOLATILE_STABLE)
	{
		for (int i = 0; i < lengthof(zone_functions); i++)
		{
			if (zone_functions[i] == function)
				return false;
		}
	}
	context->reason = psprintf("function %s is not immutable",
							   get_func_name(function));
	return true;
}

static bool
depends_on_fragment_walker(Node *node, void *argument)
{
	Relids relids = argument;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			return ((Var *) node)->varlevelsup == 0 &&
				   bms_is_member(((Var *) node)->varno, relids);
		case T_PlaceHolderVar:
			if (bms_overlap(((PlaceHolderVar *) node)->phrels, relids))
				return true;
			return false;
		case T_Aggref:
		case T_GroupingFunc:
		case T_WindowFunc:
		case T_CaseTestExpr:
		case T_CoerceToDomainValue:
		case T_SetToDefault:
			return true;
		default:
			return expression_tree_walker(node, depends_on_fragment_walker,
										  argument);
	}
}

/*
 * expression_is_constant_here
 *		Can this node compute the value by itself, once per execution, so that
 *		it travels as a parameter?
 */
bool
expression_is_constant_here(Node *expression, Relids relids)
{
	return !depends_on_fragment_walker(expression, relids);
}

static bool
function_is_volatile(Oid function, void *argument)
{
	return func_volatile(function) == PROVOLATILE_VOLATILE;
}

static bool
cannot_be_parameter_walker(Node *node, void *argument)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubPlan) || IsA(node, AlternativeSubPlan) ||
		IsA(node, NextValueExpr) || IsA(node, CurrentOfExpr))
		return true;
	if (IsA(node, Var) && ((Var *) node)->varattno <= 0)
		return true;
	if (check_functions_in_node(node, function_is_volatile, NULL))
		return true;
	return expression_tree_walker(node, cannot_be_parameter_walker, argument);
}

static Oid
node_input_collation(Node *node)
{
	return exprInputCollation(node);
}

/* Collects the collations that columns of the fragment bring to an operation. */
typedef struct CollationSources
{
	Relids relids;
	bool is_top;
	List *collations;
} CollationSources;

static bool
collation_sources_walker(Node *node, void *argument)
{
	CollationSources *sources = argument;

	if (node == NULL)
		return false;
	if (sources->is_top)
	{
		sources->is_top = false;
		return expression_tree_walker(node, collation_sources_walker, argument);
	}
	if (IsA(node, List) || IsA(node, TargetEntry) || IsA(node, CaseWhen))
		return expression_tree_walker(node, collation_sources_walker, argument);
	if (depends_on_fragment_walker(node, sources->relids))
	{
		Oid collation = exprCollation(node);

		if (OidIsValid(collation))
			sources->collations = list_append_unique_oid(sources->collations,
														 collation);
	}
	return false;
}

/*
 * What it takes to compute these of texts is their bytes or characters, not
 * how a collation sorts them or knows letters.
 */
static const Oid blind_functions[] = {
	F_TEXTCAT,
	F_TEXTLIKE,
	F_TEXTNLIKE,
	F_BPCHARLIKE,
	F_BPCHARNLIKE,
	F_LENGTH_TEXT,
	F_LENGTH_BPCHAR,
	F_CHAR_LENGTH_TEXT,
	F_CHARACTER_LENGTH_TEXT,
	F_OCTET_LENGTH_TEXT,
	F_SUBSTR_TEXT_INT4,
	F_SUBSTR_TEXT_INT4_INT4,
	F_SUBSTRING_TEXT_INT4,
	F_SUBSTRING_TEXT_INT4_INT4,
	F_LEFT,
	F_RIGHT,
	F_REVERSE,
	F_REPEAT,
	F_REPLACE,
	F_STRPOS,
	F_POSITION_TEXT_TEXT,
	F_STARTS_WITH,
	F_SPLIT_PART,
	F_MD5_TEXT,
	F_BTRIM_TEXT,
	F_LTRIM_TEXT,
	F_RTRIM_TEXT,
	F_TEXT_BPCHAR,
	F_HASHTEXT,
	F_HASHTEXTEXTENDED,
	F_COUNT_ANY,
	F_ARRAY_AGG_ANYNONARRAY,
	F_STRING_AGG_TEXT_TEXT,
};

static bool
operator_is_equality(Oid operator)
{
	ListCell *cell;

	foreach(cell, get_op_btree_interpretation(operator))
	{
		OpBtreeInterpretation *meaning = lfirst(cell);

		if (meaning->strategy == BTEqualStrategyNumber || meaning->strategy == ROWCOMPARE_NE)
			return true;
	}
	return false;
}

/* For check_functions_in_node(): true stops the walk. */
static bool
function_is_not_blind(Oid function, void *argument)
{
	for (int i = 0; i < lengthof(blind_functions); i++)
	{
		if (blind_functions[i] == function)
			return false;
	}
	return true;
}

/*
 * Is the outcome of this the same whatever its input collation, as long as
 * that is one for which texts are equal only if their bytes are?  Default
 * collations are.
 */
static bool
is_collation_blind(Node *node)
{
	switch (nodeTag(node))
	{
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			if (operator_is_equality(((OpExpr *) node)->opno))
				return true;
			break;
		case T_ScalarArrayOpExpr:
			if (operator_is_equality(((ScalarArrayOpExpr *) node)->opno))
				return true;
			break;
		case T_Aggref:
			return !function_is_not_blind(((Aggref *) node)->aggfnoid, NULL);
		case T_FuncExpr:
			break;
		case T_WindowFunc:
			return !function_is_not_blind(((WindowFunc *) node)->winfnoid, NULL);
		default:
			return false;
	}
	return !check_functions_in_node(node, function_is_not_blind, NULL);
}

/*
 * sorts_alike_everywhere
 *		Do all nodes sort values of this expression as this one does?
 *
 * If not, "reason" (unless NULL) tells which does not.
 */
bool
sorts_alike_everywhere(Node *expression, const char **reason)
{
	const char *stranger;

	if (exprCollation(expression) != DEFAULT_COLLATION_OID)
		return true;
	stranger = collation_stranger();
	if (stranger != NULL && reason != NULL)
		*reason = psprintf("the default collation of node \"%s\" differs", stranger);
	return stranger == NULL;
}

/* Does it sort, compare or change the case of texts as not every node would? */
static bool
default_collation_offends(Node *node, ShippableContext *context)
{
	const char *stranger;

	if (IsA(node, Aggref))
	{
		ListCell *cell;

		foreach(cell, ((Aggref *) node)->aggorder)
		{
			Node *key = get_sortgroupclause_expr(lfirst_node(SortGroupClause, cell),
												 ((Aggref *) node)->args);

			if (!sorts_alike_everywhere(key, &context->reason))
				return true;
		}
	}
	if (node_input_collation(node) != DEFAULT_COLLATION_OID || is_collation_blind(node))
		return false;
	stranger = collation_stranger();
	if (stranger == NULL)
		return false;
	context->reason = psprintf("the default collation of node \"%s\" differs", stranger);
	return true;
}

/*
 * Parsing the text over there must find the collation that was found here.
 * It will when the collation comes from a column, or is the default and no
 * column says otherwise; parameters have the default one there.
 */
static bool
collation_offends(Node *node, ShippableContext *context)
{
	Oid collation = node_input_collation(node);
	CollationSources sources = {context->relids, true, NIL};

	if (!OidIsValid(collation))
		return false;
	collation_sources_walker(node, &sources);
	if (sources.collations == NIL && collation == DEFAULT_COLLATION_OID)
		return false;
	if (list_member_oid(sources.collations, collation) &&
		(collation != DEFAULT_COLLATION_OID ||
		 list_length(sources.collations) == 1))
		return false;
	context->reason = "a collation does not come from a column";
	return true;
}

/* From an oid to the name of an object, regclass and the like, or back? */
static bool
is_oid_of_name(const RelabelType *relabel)
{
	Oid from = exprType((Node *) relabel->arg);
	Oid to = relabel->resulttype;

	return (from == OIDOID && !type_is_raw_safe(to)) ||
		   (to == OIDOID && !type_is_raw_safe(from));
}

/* tableoid tells the partition; the fragment translates it, see deparse.c. */
static bool
is_tableoid_of_partitions(PlannerInfo *root, Var *var)
{
	return var->varattno == TableOidAttributeNumber &&
		   planner_rt_fetch(var->varno, root)->relkind ==
			   RELKIND_PARTITIONED_TABLE;
}

static bool
aggregate_offends(Aggref *aggregate, ShippableContext *context)
{
	if (!context->allow_aggregates)
	{
		context->reason = "it has an aggregate";
		return true;
	}
	if (aggregate->agglevelsup != 0)
	{
		context->reason = "an aggregate belongs to an outer query";
		return true;
	}
	if (!object_is_everywhere(ProcedureRelationId, aggregate->aggfnoid,
							  get_func_namespace))
	{
		context->reason = psprintf("aggregate %s may differ on other nodes",
								   get_func_name(aggregate->aggfnoid));
		return true;
	}
	return false;
}

static bool
offends_walker(Node *node, void *argument)
{
	ShippableContext *context = argument;

	if (node == NULL)
		return false;

	/* What is constant here travels as a value: only its type matters. */
	if (!IsA(node, List) && !IsA(node, TargetEntry) && !IsA(node, CaseWhen) &&
		!IsA(node, RestrictInfo) && !IsA(node, SortGroupClause) &&
		expression_is_constant_here(node, context->relids))
	{
		if (!IsA(node, Const) && cannot_be_parameter_walker(node, NULL))
		{
			context->reason = "it has a volatile function or a subquery";
			return true;
		}
		if (!type_is_shippable(context->root, context->relids, exprType(node)))
		{
			context->reason = psprintf("type %s may differ on other nodes",
									   format_type_be(exprType(node)));
			return true;
		}
		return false;
	}

	switch (nodeTag(node))
	{
		case T_Var:
			if (((Var *) node)->varattno == 0)
				context->reason = "it uses a whole row";
			else if (((Var *) node)->varattno < 0 &&
					 !is_tableoid_of_partitions(context->root, (Var *) node))
				context->reason = "it uses a system column";
			else if (!context->is_column &&
					 !type_is_portable(((Var *) node)->vartype))
				context->reason = psprintf("values of type %s differ on other nodes",
										   format_type_be(((Var *) node)->vartype));
			else
				return false;
			return true;

		case T_Aggref:
			if (aggregate_offends((Aggref *) node, context))
				return true;
			break;

		case T_WindowFunc:
			/* Its function is looked at below. */
			if (!context->allow_aggregates ||
				window_function_is_limited((WindowFunc *) node))
			{
				context->reason = "it has a window function";
				return true;
			}
			break;

		case T_RelabelType:
			/* The planner makes it of COLLATE, and it is printed without. */
			if (OidIsValid(((RelabelType *) node)->resultcollid) &&
				((RelabelType *) node)->resultcollid !=
					exprCollation((Node *) ((RelabelType *) node)->arg))
			{
				context->reason = "a collation does not come from a column";
				return true;
			}
			if (is_oid_of_name((RelabelType *) node))
			{
				context->reason = "an oid is another object's on other nodes";
				return true;
			}
			break;

		case T_CollateExpr:
			if (((CollateExpr *) node)->collOid >= FirstNormalObjectId)
			{
				context->reason = psprintf("collation %s may differ on other nodes",
										   get_collation_name(((CollateExpr *) node)->collOid));
				return true;
			}
			break;

		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			if (!object_is_everywhere(OperatorRelationId,
									  ((OpExpr *) node)->opno,
									  operator_schema))
			{
				context->reason = psprintf("operator %s may differ on other nodes",
										   get_opname(((OpExpr *) node)->opno));
				return true;
			}
			break;

		case T_ScalarArrayOpExpr:
			if (!object_is_everywhere(OperatorRelationId,
									  ((ScalarArrayOpExpr *) node)->opno,
									  operator_schema))
			{
				context->reason = psprintf("operator %s may differ on other nodes",
										   get_opname(((ScalarArrayOpExpr *) node)->opno));
				return true;
			}
			break;

		case T_Const:
		case T_Param:
		case T_FuncExpr:
		case T_BoolExpr:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_CaseWhen:
		case T_ArrayExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_SubscriptingRef:
		case T_FieldSelect:
		case T_List:
		case T_TargetEntry:
		case T_RestrictInfo:
		case T_SortGroupClause:
			break;

		case T_SubPlan:
		case T_AlternativeSubPlan:
		case T_SubLink:
			context->reason = "it has a subquery";
			return true;

		default:
			context->reason = "it has an expression that cannot be shipped";
			return true;
	}

	if (!IsA(node, Aggref) &&
		check_functions_in_node(node, function_offends, context))
		return true;

	if (!IsA(node, List) && !IsA(node, TargetEntry) && !IsA(node, CaseWhen) &&
		!IsA(node, RestrictInfo) && !IsA(node, SortGroupClause))
	{
		Oid type = exprType(node);

		/* Some aggregates' transition types are pseudo-types; not results. */
		if (!type_is_shippable(context->root, context->relids, type))
		{
			context->reason = psprintf("type %s may differ on other nodes",
									   format_type_be(type));
			return true;
		}
		if (collation_offends(node, context) ||
			default_collation_offends(node, context))
			return true;
	}

	return expression_tree_walker(node, offends_walker, argument);
}

/*
 * expression_is_shippable
 *		May the other node compute this?  See query_internal.h.
 */
bool
expression_is_shippable(PlannerInfo *root, Relids relids, Node *expression,
						bool allow_aggregates, const char **reason)
{
	ShippableContext context = {root, relids, allow_aggregates,
								expression && IsA(expression, Var), NULL};

	if (!offends_walker(expression, &context))
		return true;
	if (reason)
		*reason = context.reason;
	return false;
}

/*
 * qual_is_shippable
 *		May this restriction of rel be checked by the other node?
 *
 * Where row-level security or a security barrier view put quals below this
 * one, only a leakproof one may travel: over there nothing would keep it from
 * seeing rows that those hide.
 */
bool
qual_is_shippable(PlannerInfo *root, RelOptInfo *rel, RestrictInfo *qual,
				  const char **reason)
{
	if (qual->security_level > rel->baserestrict_min_security &&
		!qual->leakproof)
	{
		if (reason)
			*reason = "it could tell of rows that row-level security or a view hides";
		return false;
	}
	return expression_is_shippable(root, rel->relids, (Node *) qual->clause,
								   false, reason);
}

/* Is a method of TABLESAMPLE the same on every node?  Its arguments travel as values. */
bool
sample_is_shippable(TableSampleClause *sample)
{
	return object_is_everywhere(ProcedureRelationId, sample->tsmhandler,
								get_func_namespace);
}
