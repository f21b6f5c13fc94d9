/*
 * query.h
 *		SQL over distributed tables: the foreign-data wrapper dlog and the
 *		custom scan "DLog Fanout".
 */
#ifndef DLOG_QUERY_H
#define DLOG_QUERY_H

extern void query_init(void);

#endif
