/*
 * deploy.h
 *		deploy_map and deploy_reduce: one question to every node of a flock.
 *
 * Words.  The *question* is the text of a query, the same for all nodes.  An
 * *answer* is what one node says to it: rows, or an error.  A *reducer*
 * merges two values of a type into one of the same type.
 */
#ifndef DLOG_DEPLOY_H
#define DLOG_DEPLOY_H

/* dlog.c's table of contents */
extern void deploy_init(void);

#endif
