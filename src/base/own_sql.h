/*
 * own_sql.h
 *		Statements of our own, over our own tables.
 */
#ifndef DLOG_OWN_SQL_H
#define DLOG_OWN_SQL_H

extern int own_sql_begin(void);
extern void own_sql_end(int level);

#endif
