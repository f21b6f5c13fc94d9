/*
 * testfuncs_signal.c
 *		What tests need to drive names, timers and links from SQL.
 *
 * Only in builds with -DDLOG_STOP_POINTS; declared in tools/test_schema.sql.
 */
#include "postgres.h"

#ifdef DLOG_STOP_POINTS

#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "runtime/runtime_internal.h"

#define TEST_TEXT 65000

DLOG_FUNCTION(dlog_test_name_register);
DLOG_FUNCTION(dlog_test_name_unregister);
DLOG_FUNCTION(dlog_test_name_lookup);
DLOG_FUNCTION(dlog_test_link);
DLOG_FUNCTION(dlog_test_unlink);
DLOG_FUNCTION(dlog_test_send_exit);
DLOG_FUNCTION(dlog_test_timer_set);
DLOG_FUNCTION(dlog_test_timer_cancel);

static ActorAddress
address_arg(FunctionCallInfo fcinfo, int n)
{
	char *string = text_to_cstring(PG_GETARG_TEXT_PP(n));
	ActorAddress address;

	if (sscanf(string, "%u/%u/%u", &address.node, &address.slot, &address.incarnation) != 3)
		elog(ERROR, "\"%s\" is no address", string);
	return address;
}

/* name_register(address, name) */
Datum
dlog_test_name_register(PG_FUNCTION_ARGS)
{
	static const char *const results[] = {
		[NAME_OK] = "ok",
		[NAME_TAKEN] = "taken",
		[NAME_NO_ACTOR] = "no actor",
	};
	NameResult result = name_register(MyDatabaseId, text_to_cstring(PG_GETARG_TEXT_PP(1)),
									  address_arg(fcinfo, 0));

	PG_RETURN_TEXT_P(cstring_to_text(results[result]));
}

Datum
dlog_test_name_unregister(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(name_unregister(MyDatabaseId, text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

Datum
dlog_test_name_lookup(PG_FUNCTION_ARGS)
{
	ActorAddress address;

	if (!name_lookup(MyDatabaseId, text_to_cstring(PG_GETARG_TEXT_PP(0)), &address))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%u/%u/%u", address.node, address.slot, address.incarnation)));
}

Datum
dlog_test_link(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(actor_link(address_arg(fcinfo, 0), address_arg(fcinfo, 1)));
}

Datum
dlog_test_unlink(PG_FUNCTION_ARGS)
{
	actor_unlink(address_arg(fcinfo, 0), address_arg(fcinfo, 1));
	PG_RETURN_VOID();
}

/* send_exit(from, to, reason) */
Datum
dlog_test_send_exit(PG_FUNCTION_ARGS)
{
	actor_send_exit(address_arg(fcinfo, 0), address_arg(fcinfo, 1), text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_VOID();
}

/* timer_set(owner, receiver, content, ms, repeats) */
Datum
dlog_test_timer_set(PG_FUNCTION_ARGS)
{
	ActorAddress owner = address_arg(fcinfo, 0);
	ActorAddress to = address_arg(fcinfo, 1);
	text *content = PG_GETARG_TEXT_PP(2);
	Message *message = message_create(TEST_TEXT, VARSIZE_ANY_EXHDR(content));

	memcpy(message->payload, VARDATA_ANY(content), message->size);
	message->from = owner;
	if (PG_GETARG_BOOL(4))
		PG_RETURN_INT64(timer_send_every(owner, to, message, PG_GETARG_INT64(3)));
	PG_RETURN_INT64(timer_send_after(owner, to, message, PG_GETARG_INT64(3)));
}

Datum
dlog_test_timer_cancel(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(timer_cancel(PG_GETARG_INT64(0)));
}

#endif
