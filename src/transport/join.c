/*
 * join.c
 *		The SQL functions that change who belongs together.
 *
 * A newcomer joins through a *sponsor*, any member, over an ordinary libpq
 * connection: that is how two servers that do not know each other's keys come
 * to trust them.  The sponsor makes all other members know the newcomer, then
 * lists it itself and returns all nodes.  A join that is broken off after
 * that can be repeated.
 */
#include "postgres.h"

#include <zmq.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/function.h"
#include "base/guc.h"
#include "base/own_sql.h"
#include "base/stop_point.h"
#include "transport/member.h"

DLOG_FUNCTION(dlog_join);
DLOG_FUNCTION(dlog_admit);
DLOG_FUNCTION(dlog_leave);
DLOG_FUNCTION(dlog_add_node);
DLOG_FUNCTION(dlog_remove_node);
DLOG_FUNCTION(dlog_rotate_key);

void (*transport_joined)(SponsorAsk ask, void *sponsor);
void (*transport_leaving)(void);
void (*transport_removed)(const char *name);

/* For a sponsor to ask all members, twice. */
#define ADMIT_MS (Max(dlog_connect_timeout, 30000) * 4)

/* ------------------------------------------- a connection to the sponsor */

/* Sleeps until the connection's socket is ready or the deadline has passed. */
static void
wait_for_socket(PGconn *connection, uint32 events, TimestampTz deadline)
{
	long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

	if (left_ms <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the server did not answer in time")));
	(void) WaitLatchOrSocket(MyLatch,
							 events | WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 PQsocket(connection), left_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
report_connection_failure(PGconn *connection)
{
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to the server to join"),
			 errdetail_internal("%s", pchomp(PQerrorMessage(connection)))));
}

static void
finish_connecting(PGconn *connection)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), dlog_connect_timeout);
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (PQstatus(connection) == CONNECTION_BAD)
		report_connection_failure(connection);
	while (status != PGRES_POLLING_OK)
	{
		wait_for_socket(connection,
						status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE,
						deadline);
		status = PQconnectPoll(connection);
		if (status == PGRES_POLLING_FAILED)
			report_connection_failure(connection);
	}
}

static PGconn *
start_connecting(const char *conninfo)
{
	const char *keywords[] = {"dbname", "fallback_application_name", "client_encoding", NULL};
	const char *values[] = {conninfo, "dlog", GetDatabaseEncodingName(), NULL};
	PGconn *connection;

	/* Before a connection exists that an error would leak. */
	if (strchr(conninfo, '=') == NULL && strncmp(conninfo, "postgres", 8) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a connection string", conninfo),
				 errhint("For example: SELECT dlog.join('host=db1 dbname=app user=postgres').")));
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to the server to join"),
				 errdetail("There are too many open files on the local server."),
				 errhint("Raise the server's max_files_per_process and/or \"ulimit -n\" limits.")));
	connection = PQconnectStartParams(keywords, values, true);
	if (connection == NULL)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	return connection;
}

/* Raises what the sponsor's server reported. */
static void
report_result(PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	int code = sqlstate == NULL ? ERRCODE_CONNECTION_FAILURE : MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);

	/* Copies, since the result goes with the connection. */
	message = pstrdup(message == NULL ? pchomp(PQresultErrorMessage(result)) : message);
	detail = detail == NULL ? NULL : pstrdup(detail);
	hint = hint == NULL ? NULL : pstrdup(hint);
	PQclear(result);
	ereport(ERROR,
			(errcode(code),
			 errmsg("%s", message),
			 detail != NULL ? errdetail("%s", detail) : 0,
			 hint != NULL ? errhint("%s", hint) : 0,
			 errcontext("server to join")));
}

/* Runs a query there; the caller clears the result, which holds rows. */
static PGresult *
query(PGconn *connection, const char *sql, int n_parameters, const char *const *parameters, int timeout_ms)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	PGresult *last = NULL;
	PGresult *next;

	if (!PQsendQueryParams(connection, sql, n_parameters, NULL, parameters, NULL, NULL, 0))
		report_connection_failure(connection);
	for (;;)
	{
		while (PQisBusy(connection))
		{
			wait_for_socket(connection, WL_SOCKET_READABLE, deadline);
			if (!PQconsumeInput(connection))
				report_connection_failure(connection);
		}
		next = PQgetResult(connection);
		if (next == NULL)
			break;
		PQclear(last);
		last = next;
	}
	if (PQresultStatus(last) != PGRES_TUPLES_OK)
		report_result(last);
	return last;
}

/* Is the other server one that we can join? */
static void
check_sponsor(PGconn *connection, const NodeInfo *self)
{
	PGresult *result;
	const char *encoding;
	const char *cluster;
	bool has_extension;
	bool is_self;
	int version;

	result = query(connection,
				   "SELECT pg_catalog.pg_encoding_to_char(d.encoding),"
				   " e.extversion, pg_catalog.current_setting('dlog.cluster_name', true)"
				   " FROM pg_catalog.pg_database d"
				   " LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'dlog'"
				   " WHERE d.datname = pg_catalog.current_database()",
				   0, NULL, dlog_connect_timeout);
	encoding = pstrdup(PQgetvalue(result, 0, 0));
	has_extension = !PQgetisnull(result, 0, 1);
	cluster = pstrdup(PQgetvalue(result, 0, 2));
	PQclear(result);
	if (!has_extension)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("database \"%s\" of the server to join does not have the extension dlog",
						PQdb(connection)),
				 errhint("Run CREATE EXTENSION dlog in it first.")));

	if (strcmp(cluster, dlog_cluster_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the server to join is of cluster \"%s\", this node of \"%s\"", cluster, dlog_cluster_name),
				 errhint("Set dlog.cluster_name to the same, if this node is to belong there.")));
	if (strcmp(encoding, GetDatabaseEncodingName()) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the databases have different encodings"),
				 errdetail("This one has %s, the one to join %s.", GetDatabaseEncodingName(), encoding),
				 errhint("Create this database anew with the other's encoding.")));

	result = query(connection, "SELECT name, node_id FROM dlog.this_node()", 0, NULL, dlog_connect_timeout);
	is_self = strtou64(PQgetvalue(result, 0, 1), NULL, 10) == self->node_id;
	PQclear(result);
	if (is_self)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" cannot join itself", self->name),
				 errhint("Connect to another member.  If the other server is a copy of this one, remove the file dlog_node_key from the copy's data directory and restart it.")));

	result = query(connection, collation_query, 0, NULL, dlog_connect_timeout);
	if (strcmp(PQgetvalue(result, 0, 0), collation_text()) != 0)
		ereport(NOTICE,
				(errmsg("the databases have different default collations"),
				 errdetail("This one has %s, the one to join %s.", collation_text(), PQgetvalue(result, 0, 0)),
				 errhint("Queries sort and compare texts as the node does that is asked, which then has to do it by itself.")));
	PQclear(result);

	version = PQserverVersion(connection);
	if (version / 10000 != PG_VERSION_NUM / 10000)
		ereport(NOTICE,
				(errmsg("the server to join runs PostgreSQL %d, this one %d", version / 10000, PG_VERSION_NUM / 10000),
				 errdetail("Rows will travel in their columns' binary formats.")));
}

/* Lists here what the sponsor returned. */
static void
add_members(PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		NodeInfo info = {
			.name = PQgetvalue(result, row, 0),
			.node_id = strtou64(PQgetvalue(result, row, 1), NULL, 10),
			.address = PQgetvalue(result, row, 2),
			.port = atoi(PQgetvalue(result, row, 3)),
			.public_key = PQgetvalue(result, row, 4),
			.database = PQgetvalue(result, row, 5),
			.version = strtou64(PQgetvalue(result, row, 6), NULL, 10),
		};

		member_add(&info);
	}
}

/* A SponsorAsk. */
static char *
ask_sponsor(void *sponsor, const char *sql)
{
	PGresult *result = query(sponsor, sql, 0, NULL, ADMIT_MS);
	char *text = NULL;

	if (PQntuples(result) == 1 && !PQgetisnull(result, 0, 0))
		text = pstrdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	return text;
}

static void
join_over(PGconn *connection)
{
	NodeInfo self;
	PGresult *result;

	member_this(&self);
	finish_connecting(connection);
	check_sponsor(connection, &self);
	result = query(connection,
				   "SELECT name, node_id, address, port, public_key, database, version"
				   " FROM dlog.admit($1, $2, $3, $4, $5, $6)",
				   6,
				   (const char *const[]){self.name, psprintf(UINT64_FORMAT, self.node_id), self.address, psprintf("%d", self.port), self.public_key, self.database},
				   ADMIT_MS);
	add_members(result);
	PQclear(result);
	if (transport_joined)
		transport_joined(ask_sponsor, connection);
}

/*
 * member_require_none
 *		ERROR if this database lists other nodes.
 */
void
member_require_none(void)
{
	if (SPI_execute("SELECT name FROM dlog.node ORDER BY name LIMIT 1", true, 1) == SPI_OK_SELECT &&
		SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database already belongs together with node \"%s\"",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Call dlog.leave() first to join others.  A node that is to join this cluster calls dlog.join() itself.")));
}

/*
 * dlog_join
 *		Become a member of the cluster that a database of another server
 *		belongs to.
 */
Datum
dlog_join(PG_FUNCTION_ARGS)
{
	int level;
	char *conninfo = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PGconn *connection;

	runtime_require();
	PreventCommandIfReadOnly("dlog.join()");
	level = own_sql_begin();
	member_lock();
	member_require_none();
	connection = start_connecting(conninfo);
	PG_TRY();
	{
		join_over(connection);
	}
	PG_FINALLY();
	{
		PQfinish(connection);
		ReleaseExternalFD();
	}
	PG_END_TRY();
	own_sql_end(level);
	PG_RETURN_VOID();
}

/* -------------------------------------------------- on the sponsor's side */

static NodeInfo
info_from_arguments(FunctionCallInfo fcinfo)
{
	NodeInfo info = {
		.name = text_to_cstring(PG_GETARG_TEXT_PP(0)),
		.node_id = (uint64) PG_GETARG_INT64(1),
		.address = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.port = PG_GETARG_INT32(3),
		.public_key = text_to_cstring(PG_GETARG_TEXT_PP(4)),
		.database = text_to_cstring(PG_GETARG_TEXT_PP(5)),
	};

	return info;
}

static void
put_info(ReturnSetInfo *result, const char *name, Datum node_id, bool has_id,
		 const char *address, int port, const char *public_key, const char *database, uint64 version)
{
	Datum values[7] = {CStringGetTextDatum(name), node_id, CStringGetTextDatum(address),
					   Int32GetDatum(port), CStringGetTextDatum(public_key), CStringGetTextDatum(database), Int64GetDatum((int64) version)};
	bool nulls[7] = {false, !has_id, false, false, false, false, false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * member_admit
 *		List a newcomer here and on all members; fills in its version.
 */
void
member_admit(NodeInfo *newcomer)
{
	ActorAddress *databases;
	int n_databases;

	newcomer->version = member_next_version();
	/* Refuse what we would refuse before others are asked. */
	member_add(newcomer);
	n_databases = member_databases(node_find(newcomer->name, true), false, &databases);
	member_tell(databases, n_databases, NODE_ADD, newcomer);
}

/*
 * dlog_admit
 *		Let a node in, called by it on its sponsor; returns all nodes but it.
 */
Datum
dlog_admit(PG_FUNCTION_ARGS)
{
	int level;
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	NodeInfo newcomer = info_from_arguments(fcinfo);
	NodeInfo self;

	runtime_require();
	PreventCommandIfReadOnly("dlog.admit()");
	InitMaterializedSRF(fcinfo, 0);
	member_this(&self);

	level = own_sql_begin();
	member_lock();
	member_admit(&newcomer);

	if (SPI_execute("SELECT name, node_id, address, port, public_key, database, version FROM dlog.node",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read dlog.node");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		char *node_id = SPI_getvalue(row, desc, 2);

		if (strcmp(SPI_getvalue(row, desc, 1), newcomer.name) != 0)
			put_info(result, SPI_getvalue(row, desc, 1),
					 Int64GetDatum(node_id == NULL ? 0 : (int64) strtou64(node_id, NULL, 10)), node_id != NULL,
					 SPI_getvalue(row, desc, 3), atoi(SPI_getvalue(row, desc, 4)),
					 SPI_getvalue(row, desc, 5), SPI_getvalue(row, desc, 6),
					 strtou64(SPI_getvalue(row, desc, 7), NULL, 10));
	}
	put_info(result, self.name, Int64GetDatum((int64) self.node_id), true,
			 self.address, self.port, self.public_key, self.database, newcomer.version);
	own_sql_end(level);
	return (Datum) 0;
}

/* --------------------------------------------------- leaving and removing */

/*
 * dlog_leave
 *		Belong to no other node any longer.
 *
 * With "force", members that cannot be reached are left behind: they go on
 * listing this node until somebody removes it there.
 */
Datum
dlog_leave(PG_FUNCTION_ARGS)
{
	int level;
	bool force = PG_GETARG_BOOL(0);
	ActorAddress *databases;
	int n_databases;
	List *nodes;
	ListCell *cell;
	NodeInfo self;

	runtime_require();
	PreventCommandIfReadOnly("dlog.leave()");
	level = own_sql_begin();
	member_lock();
	nodes = node_list(false);
	if (nodes == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database belongs to no other node")));
	n_databases = member_databases(NODE_NOT_FOUND, force, &databases);
	if (transport_leaving)
		transport_leaving();
	foreach(cell, nodes)
		member_remove(node_name((uint32) lfirst_int(cell)), 0);
	member_this(&self);
	self.version = member_next_version();
	if (SPI_execute("DELETE FROM dlog.removed_node", false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not empty dlog.removed_node");

	/* What can fail here has succeeded. */
	member_tell(databases, n_databases, NODE_REMOVE, &self);
	own_sql_end(level);
	PG_RETURN_VOID();
}

/*
 * dlog_add_node
 *		List a node here by hand.
 */
Datum
dlog_add_node(PG_FUNCTION_ARGS)
{
	int level;
	NodeInfo info;

	runtime_require();
	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name, address, port and public key of a node must not be null")));
	}
	info = (NodeInfo){
		.name = text_to_cstring(PG_GETARG_TEXT_PP(0)),
		.address = text_to_cstring(PG_GETARG_TEXT_PP(1)),
		.port = PG_GETARG_INT32(2),
		.public_key = text_to_cstring(PG_GETARG_TEXT_PP(3)),
		.database = PG_ARGISNULL(4) ? node_database(THIS_NODE) : text_to_cstring(PG_GETARG_TEXT_PP(4)),
		.node_id = PG_ARGISNULL(5) ? 0 : (uint64) PG_GETARG_INT64(5),
	};
	level = own_sql_begin();
	member_lock();
	member_add(&info);
	own_sql_end(level);
	PG_RETURN_VOID();
}

/*
 * dlog_remove_node
 *		Have this database and all members list a node no longer.
 *
 * Members that cannot be reached are left out with a warning; the node itself
 * need not be alive.
 */
Datum
dlog_remove_node(PG_FUNCTION_ARGS)
{
	int level;
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	NodeInfo info = {.name = name, .address = "", .public_key = "", .database = ""};
	ActorAddress *databases;
	int n_databases;
	uint32 node;

	runtime_require();
	PreventCommandIfReadOnly("dlog.remove_node()");
	node = node_find(name, false);
	if (node == THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" is this node", name),
				 errhint("Call dlog.leave() to leave the others, or dlog.remove_node() on one of them.")));
	level = own_sql_begin();
	member_lock();
	n_databases = member_databases(node, true, &databases);
	info.version = member_next_version();
	member_remove(name, info.version);
	member_tell(databases, n_databases, NODE_REMOVE, &info);
	own_sql_end(level);
	PG_RETURN_VOID();
}

/* ------------------------------------------------------- a new key for us */

/* All databases of other nodes that any database of this server knows. */
static int
all_remote_databases(ActorAddress **databases)
{
	int n_databases = 0;

	*databases = palloc(sizeof(ActorAddress) * transport_shared->max_admissions);
	LWLockAcquire(&transport_shared->node_lock, LW_SHARED);
	for (uint32 i = 0; i < transport_shared->n_admissions; i++)
	{
		Admission *admission = &transport_shared->admissions[i];

		if (OidIsValid(admission->database))
			(*databases)[n_databases++] = database_address(admission->node, admission->remote_database);
	}
	LWLockRelease(&transport_shared->node_lock);
	return n_databases;
}

/* Members forget the old key, now that the new one has been seen to work. */
static void
finish_rotation(const ActorAddress *databases, int n_databases, const NodeInfo *info)
{
	NodeInfo done = *info;

	for (int i = 0; i < n_databases; i++)
		link_require(databases[i].node);
	done.version++;
	member_tell(databases, n_databases, NODE_KEY_DONE, &done);
}

/*
 * dlog_rotate_key
 *		Give this node a new key pair.
 *
 * All nodes must be reachable.  They learn the new key while the old one is
 * still valid, then we change over, then they forget the old one; a crash at
 * any point leaves a pair that works.
 */
Datum
dlog_rotate_key(PG_FUNCTION_ARGS)
{
	int level;
	ActorAddress *databases;
	int n_databases;
	NodeInfo info;
	NodeKey current;
	NodeKey key;
	LOCKTAG tag;

	runtime_require();
	PreventCommandIfReadOnly("dlog.rotate_key()");

	/* One rotation at a time in the whole server. */
	SET_LOCKTAG_ADVISORY(tag, InvalidOid, 0x646c6f67, 1, 2);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);

	node_load_if_changed();
	n_databases = all_remote_databases(&databases);
	member_this(&info);

	/* The file's, since that is what we have after any failure. */
	node_key_read(&current);
	explicit_bzero(current.secret_key, sizeof(current.secret_key));
	info.current_key = current.public_key;
	key.node_id = info.node_id;
	if (zmq_curve_keypair(key.public_key, key.secret_key) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("could not generate a key pair: %m")));
	info.public_key = key.public_key;
	level = own_sql_begin();
	info.version = member_next_version();
	own_sql_end(level);

	member_tell(databases, n_databases, NODE_NEW_KEY, &info);
	node_key_replace(&key);
	worker_request_reload();
	STOP_POINT("key-replaced");
	finish_rotation(databases, n_databases, &info);
	explicit_bzero(&key, sizeof(key));
	PG_RETURN_VOID();
}
