/*
 * protocol.h
 *		The versions of the protocol between nodes that this code speaks.
 *
 * A new version is added when a node of the one before would misunderstand
 * us; nodes one version apart talk in the older one's.
 */
#ifndef DLOG_PROTOCOL_H
#define DLOG_PROTOCOL_H

#define PROTOCOL_LOWEST 1
#define PROTOCOL_HIGHEST 2

/* What is spoken from a version on: */
#define PROTOCOL_BUNDLE 2 /* several frames in one */

#endif
