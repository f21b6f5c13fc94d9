/*
 * role.h
 *		Whose work a background process does.
 *
 * A scheduler logs in as the bootstrap superuser and then works for others.
 * Both users that SQL can ask for have to be theirs: current_user, whose
 * privileges count, and session_user, by which SECURITY DEFINER functions and
 * policies know who called.
 */
#ifndef DLOG_ROLE_H
#define DLOG_ROLE_H

extern void role_enter(Oid role, Oid session_user, int security_context);
extern void role_leave(void);

#endif
