/*
 * query_internal.h
 *		What the files of src/query share.
 */
#ifndef DLOG_QUERY_INTERNAL_H
#define DLOG_QUERY_INTERNAL_H

#include "utils/rel.h"

#include "partition/partition.h"
#include "query/query.h"
#include "remote/remote.h"

/* options.c */
extern char *foreign_column_name(Relation relation, AttrNumber attno);

#endif
