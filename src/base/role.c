/*
 * role.c
 *		Whose work a background process does.  See role.h.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/role.h"

/* The server insists on no security context while this changes. */
static void
session_user_set(Oid session_user, bool is_superuser)
{
	SetUserIdAndSecContext(GetAuthenticatedUserId(), 0);
	SetSessionAuthorization(session_user, is_superuser);
}

/*
 * role_enter
 *		Be "role", called by "session_user", in a security context (miscadmin.h).
 *
 * For processes that logged in as a superuser, in a transaction.  A rollback
 * undoes the role, as the server does it; role_leave() undoes all.
 */
void
role_enter(Oid role, Oid session_user, int security_context)
{
	if (GetSessionUserId() != session_user)
		session_user_set(session_user, superuser_arg(session_user));
	SetUserIdAndSecContext(role, security_context);
}

/*
 * role_leave
 *		Be oneself again.  In a transaction or not; cannot fail.
 */
void
role_leave(void)
{
	if (GetSessionUserId() != GetAuthenticatedUserId())
		session_user_set(GetAuthenticatedUserId(), true);
	SetUserIdAndSecContext(GetAuthenticatedUserId(), 0);
}
