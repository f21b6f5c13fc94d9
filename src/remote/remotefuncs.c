/*
 * remotefuncs.c
 *		SQL on a node by its name: dlog.execute() and dlog.execute_command().
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "remote/remote_internal.h"

/* The request that both functions make; their arguments are node, sql, timeout. */
static RemoteRequest
script_request(FunctionCallInfo fcinfo)
{
	RemoteRequest request = {.kind = REMOTE_SCRIPT};

	for (int i = 0; i < 2; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "node" : "sql")));
	}
	request.sql = text_to_cstring(PG_GETARG_TEXT_PP(1));
	request.any_search_path = true;

	/* A transaction that only reads can let each statement run alone. */
	request.writes = !XactReadOnly;
	if (!PG_ARGISNULL(2))
	{
		Interval *timeout = PG_GETARG_INTERVAL_P(2);
		double ms = timeout->time / 1000.0 +
					timeout->day * (double) USECS_PER_DAY / 1000.0 +
					timeout->month * 30.0 * USECS_PER_DAY / 1000.0;

		if (ms <= 0 || ms > INT_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("timeout is out of range"),
					 errdetail("It must be more than zero and less than twelve days.")));
		request.timeout_ms = Max((int) ms, 1);
	}
	return request;
}

DLOG_FUNCTION(dlog_execute);

Datum
dlog_execute(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	RemoteRequest request;
	RemoteStream *stream;
	TupleTableSlot *slot;
	RemoteStatus status;

	runtime_require();
	request = script_request(fcinfo);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	request.result_desc = result->setDesc;

	stream = remote_open(node_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), false),
						 &request);
	slot = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsMinimalTuple);
	while ((status = remote_next(stream, slot)) != REMOTE_DONE)
	{
		if (status == REMOTE_ROW)
			tuplestore_puttupleslot(result->setResult, slot);
		else
			remote_wait();
	}
	ExecDropSingleTupleTableSlot(slot);
	remote_close(stream);
	return (Datum) 0;
}

DLOG_FUNCTION(dlog_execute_command);

Datum
dlog_execute_command(PG_FUNCTION_ARGS)
{
	RemoteRequest request;
	RemoteStream *stream;
	text *tag;

	runtime_require();
	request = script_request(fcinfo);
	stream = remote_open(node_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), false),
						 &request);
	while (remote_next(stream, NULL) != REMOTE_DONE)
		remote_wait();
	tag = cstring_to_text(remote_command_tag(stream));
	remote_close(stream);
	PG_RETURN_TEXT_P(tag);
}
