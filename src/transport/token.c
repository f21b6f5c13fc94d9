/*
 * token.c
 *		Join tokens: a secret, good once, that lets a node in.
 *
 * A member makes a token (dlog.create_join_token) and keeps a hash of its
 * secret.  The token tells where that member is, its key, and its cluster.  A
 * newcomer that has it connects to the member's port, where each proves its
 * key (network_guest.c), and shows the secret; the member then lets it in as
 * dlog.admit() does, and the token is used up.  No superuser of one server
 * needs to log in to the other.
 *
 * A node whose join was broken off may show its token once more, with the same
 * key, as long as it is listed.
 */
#include "postgres.h"

#include <zmq.h>

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/extension.h"
#include "base/function.h"
#include "base/guc.h"
#include "base/own_sql.h"
#include "base/pg_compat.h"
#include "transport/member.h"

DLOG_FUNCTION(dlog_create_join_token);
DLOG_FUNCTION(dlog_revoke_join_token);
DLOG_FUNCTION(dlog_join_by_token);

#define TOKEN_PREFIX "dlog-join-"
#define TOKEN_FIELDS 6
#define SECRET_SIZE 32

/* For a sponsor to ask all members, twice. */
#define ADMIT_MS (Max(dlog_connect_timeout, 30000) * 4)

/* An answer goes in pieces of that size. */
#define PIECE_SIZE (48 * 1024)

#define KNOCK_AGAIN_MS 200

#define LONGEST_VALIDITY_DAYS 366

/* What a token says, in this order, line by line. */
typedef struct Token
{
	char *secret; /* hexadecimal */
	char *public_key;
	char *address;
	char *port;
	char *database;
	char *cluster;
} Token;

/* What SPI says of one row. */
static char *
column(int number)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number);
}

/* Runs a statement with text parameters (NULL for null); returns the rows. */
static uint64
execute(const char *sql, int n_parameters, const char *const *parameters)
{
	Oid types[8];
	Datum values[8];
	char nulls[9];
	int result;

	Assert(n_parameters <= lengthof(types));
	for (int i = 0; i < n_parameters; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = parameters[i] == NULL ? 'n' : ' ';
		values[i] = parameters[i] == NULL ? (Datum) 0 : CStringGetTextDatum(parameters[i]);
	}
	nulls[n_parameters] = '\0';
	result = SPI_execute_with_args(sql, n_parameters, types, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

/* ---------------------------------------------------------- making tokens */

static char *
token_write(const Token *token)
{
	char *content = psprintf("%s\n%s\n%s\n%s\n%s\n%s", token->secret, token->public_key, token->address,
							 token->port, token->database, token->cluster);
	int size = (int) strlen(content);
	int room = pg_b64_enc_len(size) + 1;
	char *text = palloc(sizeof(TOKEN_PREFIX) + room);
	int length;

	strcpy(text, TOKEN_PREFIX);
	length = base64_encode(content, size, text + strlen(TOKEN_PREFIX), room);
	if (length < 0)
		elog(ERROR, "could not encode a token");
	text[strlen(TOKEN_PREFIX) + length] = '\0';
	return text;
}

/* ERROR if the text is none. */
static void
token_read(const char *text, Token *token)
{
	char **fields[TOKEN_FIELDS] = {&token->secret, &token->public_key, &token->address,
								   &token->port, &token->database, &token->cluster};
	int room = pg_b64_dec_len((int) strlen(text)) + 1;
	char *content = palloc0(room);
	int n = 0;

	if (strncmp(text, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) == 0 &&
		base64_decode(text + strlen(TOKEN_PREFIX), (int) strlen(text + strlen(TOKEN_PREFIX)), content, room - 1) > 0)
	{
		for (char *at = content; n < TOKEN_FIELDS; n++)
		{
			char *end = strchr(at, '\n');

			*fields[n] = at;
			if (end == NULL)
			{
				n++;
				break;
			}
			*end = '\0';
			at = end + 1;
		}
	}
	if (n != TOKEN_FIELDS || !node_key_is_valid(token->public_key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this is not a join token"),
				 errhint("dlog.create_join_token() on a member makes one; it begins with \"%s\".", TOKEN_PREFIX)));
}

static char *
random_hex(void)
{
	uint8 bytes[SECRET_SIZE];
	char *text = palloc(SECRET_SIZE * 2 + 1);

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random secret")));
	for (int i = 0; i < SECRET_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}

/*
 * dlog.create_join_token(valid_for) -> text
 */
Datum
dlog_create_join_token(PG_FUNCTION_ARGS)
{
	int level;
	Interval *valid_for = PG_GETARG_INTERVAL_P(0);
	double days = valid_for->time / (double) USECS_PER_DAY + valid_for->day + 30.0 * valid_for->month;
	NodeInfo self;
	Token token;

	runtime_require();
	PreventCommandIfReadOnly("dlog.create_join_token()");
	if (days <= 0 || days > LONGEST_VALIDITY_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("valid_for must be more than 0 and at most %d days", LONGEST_VALIDITY_DAYS)));
	member_this(&self);
	token = (Token){
		.secret = random_hex(),
		.public_key = unconstify(char *, self.public_key),
		.address = unconstify(char *, self.address),
		.port = psprintf("%d", self.port),
		.database = unconstify(char *, self.database),
		.cluster = dlog_cluster_name,
	};
	level = own_sql_begin();
	execute("DELETE FROM dlog.join_token WHERE expires_at < pg_catalog.now() - '7 days'::pg_catalog.interval", 0, NULL);
	execute("INSERT INTO dlog.join_token (secret_hash, created_by, expires_at)"
			" VALUES (pg_catalog.encode(pg_catalog.sha256($1::pg_catalog.bytea), 'hex'), SESSION_USER,"
			" pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $2::pg_catalog.float8))",
			2, (const char *[]){token.secret, psprintf("%.6f", days * SECS_PER_DAY)});
	own_sql_end(level);
	PG_RETURN_TEXT_P(cstring_to_text(token_write(&token)));
}

/*
 * dlog.revoke_join_token(id) -> void
 */
Datum
dlog_revoke_join_token(PG_FUNCTION_ARGS)
{
	int level;
	char *id = psprintf(INT64_FORMAT, PG_GETARG_INT64(0));

	runtime_require();
	level = own_sql_begin();
	if (execute("UPDATE dlog.join_token SET revoked_at = pg_catalog.clock_timestamp()"
				" WHERE id = $1::pg_catalog.int8 AND used_at IS NULL AND revoked_at IS NULL",
				1, (const char *[]){id}) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no join token %s that could still be used", id),
				 errhint("The view dlog.join_tokens lists all.")));
	own_sql_end(level);
	PG_RETURN_VOID();
}

/*
 * token_count
 *		How many tokens there are, used ones too; in a transaction.  While there
 *		are some, guests may ask, and hear why theirs is refused.
 */
uint32
token_count(void)
{
	Oid schema = get_namespace_oid("dlog", true);
	Oid table = OidIsValid(schema) ? get_relname_relid("join_token", schema) : InvalidOid;
	uint32 n = 0;
	Relation relation;
	Snapshot snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (!OidIsValid(table))
		return 0;
	relation = table_open(table, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(relation, NULL);
	scan = table_beginscan(relation, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		n++;
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return n;
}

/* --------------------------------------------------- on the sponsor's side */

static char *
string_of(WireBytes text)
{
	char *string = pnstrdup(text.data, text.size);

	pg_verifymbstr(string, (int) strlen(string), false);
	return string;
}

static WireBytes
text_of(const char *text)
{
	return (WireBytes){.size = text == NULL ? 0 : (uint32) strlen(text), .data = text == NULL ? "" : text};
}

/* ERROR unless the secret is that of a token that is still good for this node. */
static char *
check_token(const JoinRequestMessage *request)
{
	char *secret = string_of(request->secret);
	char *key = string_of(request->public_key);
	char *id;

	if (execute("SELECT t.id, used_at IS NOT NULL AND NOT EXISTS (SELECT FROM dlog.node AS n"
				"  WHERE n.public_key = t.used_by_key AND t.used_by_key = $2), used_by, revoked_at IS NOT NULL,"
				" expires_at < pg_catalog.clock_timestamp() FROM dlog.join_token AS t"
				" WHERE secret_hash = pg_catalog.encode(pg_catalog.sha256($1::pg_catalog.bytea), 'hex') FOR UPDATE",
				2, (const char *[]){secret, key}) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the join token is not valid"),
				 errdetail("Node \"%s\" has no such token.", node_this_name())));
	id = column(1);
	if (column(4)[0] == 't')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the join token was revoked")));
	if (column(2)[0] == 't')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the join token was used already"),
				 errdetail("By node \"%s\".", column(3) == NULL ? "" : column(3))));
	if (column(5)[0] == 't')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the join token has expired"),
				 errhint("dlog.create_join_token() makes another.")));
	return id;
}

static void
check_guest(const JoinRequestMessage *request)
{
	char *cluster = string_of(request->cluster);
	char *encoding = string_of(request->encoding);

	if (strcmp(cluster, dlog_cluster_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("this node is of cluster \"%s\", the other of \"%s\"", dlog_cluster_name, cluster),
				 errhint("Set dlog.cluster_name to the same.")));
	if (strcmp(encoding, GetDatabaseEncodingName()) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the databases have different encodings"),
				 errdetail("The one to join has %s, the other %s.", GetDatabaseEncodingName(), encoding)));
}

/* Lets the guest in; returns what it has to know, as JSON. */
static char *
admit(const JoinRequestMessage *request)
{
	NodeInfo guest = {
		.name = string_of(request->name),
		.node_id = request->node_id,
		.address = string_of(request->address),
		.port = (int32) request->port,
		.public_key = string_of(request->public_key),
		.database = string_of(request->database),
	};
	NodeInfo self;
	char *token;

	check_guest(request);
	member_lock();
	token = check_token(request);
	member_admit(&guest);
	execute("UPDATE dlog.join_token SET used_at = pg_catalog.clock_timestamp(), used_by = $2, used_by_key = $3"
			" WHERE id = $1::pg_catalog.int8",
			3, (const char *[]){token, guest.name, guest.public_key});
	member_this(&self);
	execute("SELECT pg_catalog.json_build_object('nodes', (SELECT pg_catalog.json_agg(n) FROM"
			" (SELECT name, node_id, address, port, public_key, database, version FROM dlog.node WHERE name <> $1"
			"  UNION ALL SELECT $2, $3::pg_catalog.int8, $4, $5::pg_catalog.int4, $6, $7, $8::pg_catalog.int8) AS n),"
			" 'definitions', dlog.definitions())::pg_catalog.text",
			8, (const char *[]){guest.name, self.name, psprintf(UINT64_FORMAT, self.node_id), self.address, psprintf("%d", self.port), self.public_key, self.database, psprintf(UINT64_FORMAT, guest.version)});
	return column(1);
}

static void
send_answer(const Message *question, JoinAnswerMessage *answer)
{
	Message *message = message_create(MESSAGE_JOIN_ANSWER, join_answer_size(answer));

	join_answer_write(message->payload, message->size, answer);
	message->to = question->from;
	message->from = (ActorAddress){THIS_NODE, 0, 0};
	process_network_send(message);
}

/* In pieces, since it may be long. */
static void
answer_welcome(const Message *question, uint64 request, const char *json)
{
	Size size = strlen(json);

	for (Size at = 0; at == 0 || at < size; at += PIECE_SIZE)
	{
		JoinAnswerMessage answer = {
			.request = request,
			.is_last = at + PIECE_SIZE >= size,
			.content = {.size = (uint32) Min(size - at, PIECE_SIZE), .data = json + at},
		};

		send_answer(question, &answer);
	}
}

static void
answer_refusal(const Message *question, const JoinRequestMessage *request, const ErrorData *error)
{
	JoinAnswerMessage answer = {
		.request = request->request,
		.is_last = 1,
		.sqlstate = text_of(unpack_sql_state(error->sqlerrcode)),
		.message = text_of(error->message),
		.detail = text_of(error->detail),
		.hint = text_of(error->hint),
	};

	pg_atomic_fetch_add_u64(&transport_shared->counters.refused_joins, 1);
	ereport(LOG,
			(errmsg("dlog: refused to let node \"%.*s\" at %.*s join: %s", (int) request->name.size, request->name.data,
					(int) request->address.size, request->address.data, error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0));
	send_answer(question, &answer);
}

/*
 * Work handler: a guest asks to be let in.
 */
static void
handle_request(Message *message)
{
	MemoryContext context = CurrentMemoryContext;
	JoinRequestMessage request;
	ErrorData *volatile error = NULL;
	char *volatile welcome = NULL;

	if (message->from.node != THIS_NODE || !join_request_read(message->payload, message->size, &request))
		return;
	PG_TRY();
	{
		int level;

		extension_begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		level = own_sql_begin();
		welcome = MemoryContextStrdup(context, admit(&request));
		own_sql_end(level);
		PopActiveSnapshot();
		node_load_later();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (error != NULL)
	{
		answer_refusal(message, &request, error);
		return;
	}

	/* It is let in before it hears so. */
	extension_begin();
	node_load();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	answer_welcome(message, request.request, welcome);
}

/* ------------------------------------------------------- the newcomer's side */

/* Has the network process connect to the sponsor and ask. */
static void
send_knock(BoundActor *self, const Token *token, const char *endpoint, const NodeInfo *info)
{
	JoinRequestMessage request = {
		.request = 1,
		.secret = text_of(token->secret),
		.name = text_of(info->name),
		.node_id = info->node_id,
		.address = text_of(info->address),
		.port = (uint32) info->port,
		.public_key = text_of(info->public_key),
		.database = text_of(info->database),
		.encoding = text_of(GetDatabaseEncodingName()),
		.cluster = text_of(dlog_cluster_name),
	};
	char *payload = palloc(join_request_size(&request));
	KnockMessage knock = {
		.request = 1,
		.connect_ms = (uint32) dlog_connect_timeout,
		.answer_ms = (uint32) ADMIT_MS,
		.endpoint = text_of(endpoint),
		.server_key = text_of(token->public_key),
		.dispatcher = database_address(THIS_NODE, token->database).incarnation,
	};
	Message *message;

	join_request_write(payload, join_request_size(&request), &request);
	knock.join_request = (WireBytes){.size = (uint32) join_request_size(&request), .data = payload};
	message = message_create(MESSAGE_KNOCK, knock_size(&knock));
	knock_write(message->payload, message->size, &knock);
	message->from = bound_actor_address(self);
	message->to = (ActorAddress){THIS_NODE, 0, 0};
	process_network_send(message);
}

/* Raises what the sponsor has answered instead of a welcome; takes the message. */
static void
raise_refusal(Message *answer, const JoinAnswerMessage *refusal)
{
	const char *sqlstate = refusal->sqlstate.data;
	int code = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
	char *text = pnstrdup(refusal->message.data, refusal->message.size);
	char *detail = pnstrdup(refusal->detail.data, refusal->detail.size);
	char *hint = pnstrdup(refusal->hint.data, refusal->hint.size);

	message_free(answer);
	ereport(ERROR,
			(errcode(code),
			 errmsg("%s", text),
			 detail[0] != '\0' ? errdetail("%s", detail) : 0,
			 hint[0] != '\0' ? errhint("%s", hint) : 0));
}

/*
 * The other node knows nobody without a token, and may not have seen ours yet:
 * it was made just now.  False: that has been so for long enough.
 */
static bool
may_knock_again(const JoinAnswerMessage *refusal, TimestampTz connect_until)
{
	if (memcmp(refusal->sqlstate.data, "08006", 5) != 0 || GetCurrentTimestamp() >= connect_until)
		return false;
	(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, KNOCK_AGAIN_MS, PG_WAIT_EXTENSION);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* Waits for the whole answer; NULL: knock again. */
static char *
receive_welcome(BoundActor *self, TimestampTz connect_until)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   dlog_connect_timeout + ADMIT_MS + 5000);
	StringInfoData content;

	initStringInfo(&content);
	for (;;)
	{
		Message *message = bound_actor_receive(self);
		JoinAnswerMessage answer;
		long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (message != NULL && message->type == MESSAGE_JOIN_ANSWER &&
			join_answer_read(message->payload, message->size, &answer))
		{
			if (answer.sqlstate.size == 5)
			{
				if (!may_knock_again(&answer, connect_until))
					raise_refusal(message, &answer);
				message_free(message);
				return NULL;
			}
			appendBinaryStringInfo(&content, answer.content.data, (int) answer.content.size);
			if (answer.is_last)
			{
				message_free(message);
				return content.data;
			}
		}
		if (message != NULL)
		{
			message_free(message);
			continue;
		}
		if (left_ms <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("could not join with the token"),
					 errdetail("The network process has not answered.")));
		(void) runtime_wait(left_ms, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/* A SponsorAsk: of what it could be asked for it has told us all there is. */
static char *
definitions_of(void *sponsor, const char *sql)
{
	return sponsor;
}

/* Lists here whom the sponsor has named, and makes what they share. */
static void
take_welcome(const char *json)
{
	uint64 n;
	NodeInfo *nodes;
	char *definitions;

	pg_verifymbstr(json, (int) strlen(json), false);
	n = execute("SELECT name, node_id, address, port, public_key, database, version"
				" FROM pg_catalog.json_to_recordset(pg_catalog.json_extract_path($1::pg_catalog.json, 'nodes')) AS r(name pg_catalog.text,"
				" node_id pg_catalog.int8, address pg_catalog.text, port pg_catalog.int4, public_key pg_catalog.text,"
				" database pg_catalog.text, version pg_catalog.int8)",
				1, &json);
	nodes = palloc0(sizeof(NodeInfo) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		char *node_id = SPI_getvalue(row, desc, 2);

		for (int j = 1; j <= 7; j++)
			if (j != 2 && SPI_getvalue(row, desc, j) == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_PROTOCOL_VIOLATION),
						 errmsg("the node to join has sent a list of nodes that cannot be read"),
						 errdetail("A node has no %s.", NameStr(TupleDescAttr(desc, j - 1)->attname))));
		nodes[i] = (NodeInfo){
			.name = SPI_getvalue(row, desc, 1),
			.node_id = node_id == NULL ? 0 : strtou64(node_id, NULL, 10),
			.address = SPI_getvalue(row, desc, 3),
			.port = atoi(SPI_getvalue(row, desc, 4)),
			.public_key = SPI_getvalue(row, desc, 5),
			.database = SPI_getvalue(row, desc, 6),
			.version = strtou64(SPI_getvalue(row, desc, 7), NULL, 10),
		};
	}
	for (uint64 i = 0; i < n; i++)
		member_add(&nodes[i]);
	execute("SELECT pg_catalog.json_extract_path_text($1::pg_catalog.json, 'definitions')", 1, &json);
	definitions = column(1);
	if (transport_joined)
		transport_joined(definitions_of, definitions);
}

/*
 * transport_join_by_token
 *		Join with a token, at an endpoint or (NULL) where the token says.  In a
 *		transaction, connected to SPI.
 *
 * With a fingerprint, that is the one of the key of who is there: if it is not
 * the key in the token, nobody has to be asked.
 */
void
transport_join_by_token(const char *text, const char *endpoint, const char *fingerprint)
{
	Token token;
	NodeInfo self;
	TimestampTz connect_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), dlog_connect_timeout);
	BoundActor *actor;
	char *welcome;

	token_read(text, &token);
	if (strcmp(token.cluster, dlog_cluster_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the token is of cluster \"%s\", this node of \"%s\"", token.cluster, dlog_cluster_name),
				 errhint("Set dlog.cluster_name to the same, if it is to belong there.")));
	member_this(&self);
	if (strcmp(token.public_key, self.public_key) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" cannot join itself", self.name),
				 errhint("The token is for another node.")));
	if (fingerprint != NULL && strcmp(transport_key_fingerprint(token.public_key), fingerprint) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the token is another node's")));
	member_lock();
	member_require_none();
	if (endpoint == NULL)
		endpoint = psprintf(strchr(token.address, ':') != NULL ? "[%s]:%s" : "%s:%s", token.address, token.port);
	actor = bound_actor_spawn(CurrentMemoryContext, "join");
	do
	{
		send_knock(actor, &token, endpoint, &self);
		welcome = receive_welcome(actor, connect_until);
	} while (welcome == NULL);
	take_welcome(welcome);
	bound_actor_exit(actor);
}

/*
 * dlog.join(token, endpoint) -> void
 */
Datum
dlog_join_by_token(PG_FUNCTION_ARGS)
{
	int level;
	char *endpoint = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));

	runtime_require();
	PreventCommandIfReadOnly("dlog.join()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("token must not be null")));
	if (endpoint != NULL && (strchr(endpoint, ':') == NULL || strlen(endpoint) >= HOST_SIZE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an endpoint", endpoint),
				 errhint("For example: 'db1.example.org:16432', with the port of dlog, not the server's.")));
	level = own_sql_begin();
	transport_join_by_token(text_to_cstring(PG_GETARG_TEXT_PP(0)), endpoint, NULL);
	own_sql_end(level);
	PG_RETURN_VOID();
}

/*
 * token_init
 *		Called once, in the postmaster.
 */
void
token_init(void)
{
	runtime_register_work(MESSAGE_JOIN_REQUEST, handle_request);
}
