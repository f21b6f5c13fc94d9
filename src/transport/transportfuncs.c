/*
 * transportfuncs.c
 *		What SQL sees of nodes and links.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/function.h"
#include "base/guc.h"
#include "transport/transport_internal.h"

DLOG_FUNCTION(dlog_node_changed);
DLOG_FUNCTION(dlog_this_node);
DLOG_FUNCTION(dlog_links);
DLOG_FUNCTION(dlog_nodes);
DLOG_FUNCTION(dlog_network);
DLOG_FUNCTION(dlog_ping);

/*
 * dlog_node_changed
 *		Trigger on dlog.node: load it again after the commit.
 */
Datum
dlog_node_changed(PG_FUNCTION_ARGS)
{
	runtime_require();
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("dlog.node_changed() must be called as a trigger")));
	node_note_change();
	return PointerGetDatum(NULL);
}

/*
 * dlog_this_node
 *		Who this node is, as the others have to list it.
 */
Datum
dlog_this_node(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum values[6];
	bool nulls[6] = {false};
	char key[KEY_TEXT_SIZE];
	uint64 node_id;

	runtime_require();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	transport_this_key(&node_id, key);

	values[0] = CStringGetTextDatum(node_this_name());
	values[1] = Int64GetDatum((int64) node_id);
	values[2] = CStringGetTextDatum(transport_advertised_host());
	values[3] = Int32GetDatum(guc_listen_port());
	values[4] = CStringGetTextDatum(key);
	values[5] = CStringGetTextDatum(node_database(THIS_NODE));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static const char *
link_state_name(LinkState state)
{
	switch (state)
	{
		case LINK_IDLE:
			return "idle";
		case LINK_CONNECTING:
			return "connecting";
		case LINK_UP:
			return "up";
		case LINK_DOWN:
			return "down";
		case LINK_REFUSED:
			return "refused";
	}
	return "unknown";
}

static Datum
interval_from_us(uint64 us)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = (TimeOffset) us;
	return IntervalPGetDatum(interval);
}

static void
put_link(ReturnSetInfo *result, uint32 node)
{
	LinkEntry *link = &transport_shared->links[node];
	LinkState state = link_state(node);
	uint64 round_trip_us = pg_atomic_read_u64(&link->round_trip_us);
	uint64 up_since_us = pg_atomic_read_u64(&link->up_since_us);
	LinkTexts texts;
	Datum values[18];
	bool nulls[18] = {false};
	int n = 0;

	link_copy_texts(link, &texts);
	values[n++] = CStringGetTextDatum(node_name(node));
	values[n++] = CStringGetTextDatum(link_state_name(state));
	values[n++] = Int64GetDatum(pg_atomic_read_u32(&link->epoch));
	nulls[n] = state != LINK_UP;
	values[n++] = TimestampTzGetDatum(GetCurrentTimestamp() -
									  (TimestampTz) (clock_now_us() - up_since_us));
	nulls[n] = round_trip_us == 0;
	values[n++] = interval_from_us(round_trip_us);
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&link->sent_messages));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&link->sent_bytes));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&link->received_messages));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&link->received_bytes));
	values[n++] = Int32GetDatum((int32) pg_atomic_read_u32(&link->queued));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&link->connects));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&link->refused));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&link->undelivered));
	nulls[n] = texts.server_version == 0;
	values[n++] = Int32GetDatum((int32) texts.server_version);
	nulls[n] = texts.protocol_version == 0;
	values[n++] = Int32GetDatum((int32) texts.protocol_version);
	nulls[n] = texts.architecture[0] == '\0';
	values[n++] = CStringGetTextDatum(texts.architecture);
	nulls[n] = texts.last_error[0] == '\0';
	values[n++] = CStringGetTextDatum(texts.last_error);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * dlog_links
 *		The links to the nodes of this database.
 */
Datum
dlog_links(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *cell;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, node_list(false))
		put_link(result, (uint32) lfirst_int(cell));
	return (Datum) 0;
}

static void
put_node(ReturnSetInfo *result, uint32 node)
{
	NodeEntry entry = {.port = guc_listen_port()};
	LinkTexts texts = {.server_version = PG_VERSION_NUM};
	Datum values[9];
	bool nulls[9] = {false};
	int n = 0;

	if (node == THIS_NODE)
	{
		char key[KEY_TEXT_SIZE];

		transport_this_key(&entry.node_id, key);
		strlcpy(entry.host, transport_advertised_host(), HOST_SIZE);
		texts.protocol_version = (uint32) dlog_protocol_highest;
	}
	else
	{
		if (!node_copy(node, &entry))
			return; /* it was removed just now */
		link_copy_texts(&transport_shared->links[node], &texts);
		if (entry.node_id == 0)
			entry.node_id = texts.node_id;
	}

	values[n++] = CStringGetTextDatum(node_name(node));
	values[n++] = BoolGetDatum(node == THIS_NODE);
	values[n++] = CStringGetTextDatum(node == THIS_NODE ? "this" : link_state_name(link_state(node)));
	nulls[n] = entry.node_id == 0;
	values[n++] = Int64GetDatum((int64) entry.node_id);
	values[n++] = CStringGetTextDatum(entry.host);
	values[n++] = Int32GetDatum(entry.port);
	values[n++] = CStringGetTextDatum(node_database(node));
	nulls[n] = texts.server_version == 0;
	values[n++] = Int32GetDatum((int32) texts.server_version);
	nulls[n] = texts.protocol_version == 0;
	values[n++] = Int32GetDatum((int32) texts.protocol_version);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * dlog_nodes
 *		The nodes of this database, this one first.
 */
Datum
dlog_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *cell;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, node_list(true))
		put_node(result, (uint32) lfirst_int(cell));
	return (Datum) 0;
}

/*
 * dlog_network
 *		The network process and what it has met beyond single links.
 */
Datum
dlog_network(PG_FUNCTION_ARGS)
{
	NetworkCounters *counters;
	TupleDesc desc;
	Datum values[12];
	bool nulls[12] = {false};
	uint32 pid;
	int n = 0;

	runtime_require();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	counters = &transport_shared->counters;
	pid = pg_atomic_read_u32(&transport_shared->network_pid);
	nulls[n] = pid == 0;
	values[n++] = Int32GetDatum((int32) pid);
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&transport_shared->network_starts));
	values[n++] = BoolGetDatum(pg_atomic_read_u32(&transport_shared->is_ready) != 0);
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->accepted));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->refused_keys));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->failed_handshakes));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->refused_frames));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->multipart));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->stale_frames));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->not_admitted));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->stalls));
	values[n++] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->refused_joins));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * dlog_ping
 *		The time that a message takes to a scheduler of a node and back.
 */
Datum
dlog_ping(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint64 sent_us;
	uint32 node;

	runtime_require();
	node = node_find(name, false);
	link_require(node);
	sent_us = clock_now_us();
	ask_echo(node);
	return interval_from_us(clock_now_us() - sent_us);
}
