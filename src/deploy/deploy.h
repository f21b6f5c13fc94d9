/*
 * deploy.h
 *		deploy_map and deploy_reduce: one question to every node of a flock.
 */
#ifndef DLOG_DEPLOY_H
#define DLOG_DEPLOY_H

extern void deploy_init(void);

#endif
