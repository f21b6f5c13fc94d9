/*
 * errcodes.h
 *		SQLSTATEs of dlog's own, class LG.
 *
 * The server's codes come first: 08006 for a node that cannot be reached,
 * 08P01 for a malformed message, 53400 for a limit of ours that is reached,
 * 42704 for what does not exist, 42710 for what exists already, 55000 when
 * the library is not preloaded.  A code stands here only when a client would
 * branch on it and the server has none.  The SQL standard leaves classes that
 * begin with I to Z to implementations.
 */
#ifndef DLOG_BASE_ERRCODES_H
#define DLOG_BASE_ERRCODES_H

/* An actor exited while its answer was awaited. */
#define ERRCODE_DLOG_ACTOR_EXITED MAKE_SQLSTATE('L', 'G', '0', '0', '1')
/* A supervisor reached its restart intensity and gave up. */
#define ERRCODE_DLOG_SUPERVISOR_GAVE_UP MAKE_SQLSTATE('L', 'G', '0', '0', '2')
/* What a table looks like differs between two nodes. */
#define ERRCODE_DLOG_DEFINITION_DIFFERS MAKE_SQLSTATE('L', 'G', '0', '0', '3')

#endif
