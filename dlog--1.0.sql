/* dlog--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION dlog" to load this file. \quit

-- ------------------------------------------------------------------ base

-- What is in it says itself who may.
GRANT USAGE ON SCHEMA dlog TO PUBLIC;

CREATE FUNCTION dlog.sql_fingerprint() RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_sql_fingerprint';
COMMENT ON FUNCTION dlog.sql_fingerprint() IS
'names the SQL that the loaded library was made for; dlog.installed has that of this database';

-- Scripts of later versions set it.
CREATE TABLE dlog.installed AS SELECT dlog.sql_fingerprint() AS fingerprint;
COMMENT ON TABLE dlog.installed IS
'names the SQL that made the extension of this database; where it is not dlog.sql_fingerprint(), functions refuse to work until ALTER EXTENSION dlog UPDATE';
GRANT SELECT ON dlog.installed TO PUBLIC;


-- ------------------------------------------------------------------ wire


-- --------------------------------------------------------------- runtime

CREATE FUNCTION dlog.start() RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_start';
COMMENT ON FUNCTION dlog.start() IS
'starts the schedulers of this database at commit; CREATE EXTENSION calls it';
REVOKE ALL ON FUNCTION dlog.start() FROM PUBLIC;

-- Says at once when the library is not preloaded.
SELECT dlog.start();

CREATE FUNCTION dlog.actors(
    OUT actor text,
    OUT behavior text,
    OUT database text,
    OUT role text,
    OUT pid integer,
    OUT mailbox integer,
    OUT mailbox_high_water integer,
    OUT received bigint,
    OUT spawned_at timestamptz,
    OUT name text,
    OUT state text,
    OUT restarts integer,
    OUT run_ms double precision
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actors';
COMMENT ON FUNCTION dlog.actors() IS
'the actors that live on this node';
REVOKE ALL ON FUNCTION dlog.actors() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.actors() TO pg_monitor;

CREATE FUNCTION dlog.schedulers(
    OUT pid integer,
    OUT database text,
    OUT state text,
    OUT activity text,
    OUT since timestamptz,
    OUT started_at timestamptz,
    OUT works bigint,
    OUT failed bigint,
    OUT busy double precision,
    OUT wakeups bigint,
    OUT stolen bigint,
    OUT given bigint,
    OUT queue bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_schedulers';
COMMENT ON FUNCTION dlog.schedulers() IS
'the schedulers of this server';
REVOKE ALL ON FUNCTION dlog.schedulers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.schedulers() TO pg_monitor;

CREATE VIEW dlog.schedulers AS SELECT * FROM dlog.schedulers();
COMMENT ON VIEW dlog.schedulers IS
'the schedulers of all databases: what each does, works done, share of its life that it was busy; for native actors, how often it was woken, shards that it took and gave away, messages that waited when it last looked';
GRANT SELECT ON dlog.schedulers TO pg_monitor;

CREATE FUNCTION dlog.memory(
    OUT class text,
    OUT block_size integer,
    OUT total bigint,
    OUT used bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_memory';
COMMENT ON FUNCTION dlog.memory() IS
'shared memory: blocks by size, large objects, actors, and what those with a large state have besides';

CREATE VIEW dlog.memory AS SELECT * FROM dlog.memory();
COMMENT ON VIEW dlog.memory IS
'shared memory: blocks by size, large objects, actors, and what those with a large state have besides; how many there are and how many are in use';
GRANT SELECT ON dlog.memory TO PUBLIC;

CREATE FUNCTION dlog.dead_letters(
    OUT number bigint,
    OUT at timestamptz,
    OUT type text,
    OUT reason text,
    OUT receiver text,
    OUT sender text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_dead_letters';
COMMENT ON FUNCTION dlog.dead_letters() IS
'the last messages that reached nobody';
REVOKE ALL ON FUNCTION dlog.dead_letters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.dead_letters() TO pg_monitor;

CREATE FUNCTION dlog.stat_runtime(
    OUT name text,
    OUT value bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_stat_runtime';
COMMENT ON FUNCTION dlog.stat_runtime() IS
'counters of the runtime since the server started';

CREATE VIEW dlog.stat_runtime AS SELECT * FROM dlog.stat_runtime();
COMMENT ON VIEW dlog.stat_runtime IS
'counters of the runtime since the server started';
GRANT SELECT ON dlog.stat_runtime TO PUBLIC;

CREATE FUNCTION dlog.stat_behaviors(
    OUT behavior text,
    OUT actors bigint,
    OUT spawned bigint,
    OUT exited bigint,
    OUT failed bigint,
    OUT messages bigint,
    OUT run_ms double precision
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_stat_behaviors';
COMMENT ON FUNCTION dlog.stat_behaviors() IS
'what native actors of each behavior have done since the server started';
REVOKE ALL ON FUNCTION dlog.stat_behaviors() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.stat_behaviors() TO pg_monitor;

CREATE VIEW dlog.stat_behaviors AS SELECT * FROM dlog.stat_behaviors();
COMMENT ON VIEW dlog.stat_behaviors IS
'what native actors of each behavior have done since the server started; run_ms is sampled';
GRANT SELECT ON dlog.stat_behaviors TO pg_monitor;

CREATE FUNCTION dlog.latencies(
    OUT what text,
    OUT behavior text,
    OUT below_us double precision,
    OUT count bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_latencies';
COMMENT ON FUNCTION dlog.latencies() IS
'how long sessions waited for answers, and handlers of native actors ran';
REVOKE ALL ON FUNCTION dlog.latencies() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.latencies() TO pg_monitor;

CREATE VIEW dlog.latencies AS SELECT * FROM dlog.latencies();
COMMENT ON VIEW dlog.latencies IS
'histograms: how long sessions waited for answers, and (one message in a thousand) handlers of native actors ran; a row counts what took less than below_us and not less than half of it';
GRANT SELECT ON dlog.latencies TO pg_monitor;

CREATE FUNCTION dlog.messages(
    OUT number integer,
    OUT name text
) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_messages';
COMMENT ON FUNCTION dlog.messages() IS
'the types of messages that nodes and actors send each other';

CREATE VIEW dlog.messages AS SELECT * FROM dlog.messages();
COMMENT ON VIEW dlog.messages IS
'the types of messages that nodes and actors send each other';
GRANT SELECT ON dlog.messages TO PUBLIC;


-- ------------------------------------------------------------- transport

-- The other nodes of this database.  Its rows are not part of a dump: what is
-- restored elsewhere must not believe itself a member; it joins anew.
CREATE TABLE dlog.node
(
    name text PRIMARY KEY CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 63),
    node_id bigint UNIQUE CHECK (node_id > 0),
    address text NOT NULL CHECK (pg_catalog.octet_length(address) BETWEEN 1 AND 255),
    port integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    public_key text NOT NULL UNIQUE CHECK (pg_catalog.length(public_key) = 40),
    previous_key text CHECK (pg_catalog.length(previous_key) = 40),
    database text NOT NULL CHECK (pg_catalog.octet_length(database) BETWEEN 1 AND 63),
    added_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    version bigint NOT NULL DEFAULT 0 CHECK (version >= 0)
);
COMMENT ON TABLE dlog.node IS
    'the other nodes that this database knows and admits; use the functions dlog.join, leave, add_node, remove_node';
COMMENT ON COLUMN dlog.node.name IS 'what it calls itself; also the name of its foreign server here';
COMMENT ON COLUMN dlog.node.node_id IS 'its number; null until it is learned';
COMMENT ON COLUMN dlog.node.previous_key IS 'the key before the present one, valid until the rotation is complete';
COMMENT ON COLUMN dlog.node.database IS 'the database over there that belongs to this one';
COMMENT ON COLUMN dlog.node.version IS 'when the row was made, in microseconds since 1970: members take over higher ones; 0: added by hand, for this database alone';
GRANT SELECT ON dlog.node TO pg_monitor;

-- What a member that was away must not bring back.
CREATE TABLE dlog.removed_node
(
    node_id bigint PRIMARY KEY,
    version bigint NOT NULL
);
COMMENT ON TABLE dlog.removed_node IS
    'nodes that were removed from the cluster, for members that were away meanwhile';
GRANT SELECT ON dlog.removed_node TO pg_monitor;

CREATE FUNCTION dlog.node_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_node_changed';
COMMENT ON FUNCTION dlog.node_changed() IS
'has the network process follow a change of dlog.node';
REVOKE ALL ON FUNCTION dlog.node_changed() FROM PUBLIC;

CREATE TRIGGER node_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dlog.node
FOR EACH STATEMENT EXECUTE FUNCTION dlog.node_changed();
ALTER TABLE dlog.node ENABLE ALWAYS TRIGGER node_changed;

CREATE TRIGGER removed_node_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dlog.removed_node
FOR EACH STATEMENT EXECUTE FUNCTION dlog.node_changed();
ALTER TABLE dlog.removed_node ENABLE ALWAYS TRIGGER removed_node_changed;

CREATE FUNCTION dlog.this_node(
    OUT name text,
    OUT node_id bigint,
    OUT address text,
    OUT port integer,
    OUT public_key text,
    OUT database text
) RETURNS record
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_this_node';
COMMENT ON FUNCTION dlog.this_node() IS
'who this node is, as others have to list it';

CREATE FUNCTION dlog.links(
    OUT node text,
    OUT state text,
    OUT epoch bigint,
    OUT up_since timestamptz,
    OUT round_trip interval,
    OUT sent_messages bigint,
    OUT sent_bytes bigint,
    OUT received_messages bigint,
    OUT received_bytes bigint,
    OUT queued integer,
    OUT connects bigint,
    OUT refused bigint,
    OUT undelivered bigint,
    OUT server_version integer,
    OUT protocol_version integer,
    OUT architecture text,
    OUT last_error text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dlog_links';
COMMENT ON FUNCTION dlog.links() IS
'the links to the nodes of this database';
REVOKE ALL ON FUNCTION dlog.links() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.links() TO pg_monitor;

CREATE VIEW dlog.links AS SELECT * FROM dlog.links();
COMMENT ON VIEW dlog.links IS
'the link to each node of this database: its state, what went over it since the server started, and what went wrong last';
GRANT SELECT ON dlog.links TO pg_monitor;

CREATE FUNCTION dlog.join(conninfo text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_join';
COMMENT ON FUNCTION dlog.join(text) IS
'makes this database a member of the cluster that the one at conninfo belongs to';
REVOKE ALL ON FUNCTION dlog.join(text) FROM PUBLIC;

CREATE FUNCTION dlog.admit(
    INOUT name text,
    INOUT node_id bigint,
    INOUT address text,
    INOUT port integer,
    INOUT public_key text,
    INOUT database text,
    OUT version bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_admit';
COMMENT ON FUNCTION dlog.admit(text, bigint, text, integer, text, text) IS
'lets a node in and returns the others; dlog.join calls it on the member that it connects to';
REVOKE ALL ON FUNCTION dlog.admit(text, bigint, text, integer, text, text) FROM PUBLIC;

-- Of a token only a hash of its secret is kept.
CREATE TABLE dlog.join_token
(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret_hash text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    used_at timestamptz,
    used_by text,
    used_by_key text
);
COMMENT ON TABLE dlog.join_token IS
    'join tokens, and hashes of their secrets; use the functions dlog.create_join_token, revoke_join_token';

CREATE TRIGGER join_token_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dlog.join_token
FOR EACH STATEMENT EXECUTE FUNCTION dlog.node_changed();
ALTER TABLE dlog.join_token ENABLE ALWAYS TRIGGER join_token_changed;

CREATE VIEW dlog.join_tokens AS
    SELECT id,
        CASE WHEN used_at IS NOT NULL THEN 'used'
             WHEN revoked_at IS NOT NULL THEN 'revoked'
             WHEN expires_at OPERATOR(pg_catalog.<) pg_catalog.now() THEN 'expired'
             ELSE 'valid' END AS state,
        created_at, created_by, expires_at, revoked_at, used_at, used_by
    FROM dlog.join_token ORDER BY id;
COMMENT ON VIEW dlog.join_tokens IS
    'join tokens that this node has made, until a week after they expire: who made each, whether it can still be used, and who has';
GRANT SELECT ON dlog.join_tokens TO pg_monitor;

CREATE FUNCTION dlog.create_join_token(valid_for interval DEFAULT '1 hour') RETURNS text
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_create_join_token';
COMMENT ON FUNCTION dlog.create_join_token(interval) IS
'makes a secret with which one node can join through this one, within that time';
REVOKE ALL ON FUNCTION dlog.create_join_token(interval) FROM PUBLIC;

CREATE FUNCTION dlog.revoke_join_token(id bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_revoke_join_token';
COMMENT ON FUNCTION dlog.revoke_join_token(bigint) IS
'makes a join token that was not used yet useless; dlog.join_tokens lists them';
REVOKE ALL ON FUNCTION dlog.revoke_join_token(bigint) FROM PUBLIC;

CREATE FUNCTION dlog.join(token text, endpoint text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_join_by_token';
COMMENT ON FUNCTION dlog.join(text, text) IS
'makes this database a member of the cluster that a join token is from; endpoint: host:port of the node that made it, null: as it says itself';
REVOKE ALL ON FUNCTION dlog.join(text, text) FROM PUBLIC;

CREATE FUNCTION dlog.leave(force boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_leave';
COMMENT ON FUNCTION dlog.leave(boolean) IS
'takes this database out of its cluster; force: even if members cannot be told';
REVOKE ALL ON FUNCTION dlog.leave(boolean) FROM PUBLIC;

CREATE FUNCTION dlog.add_node(
    name text,
    address text,
    port integer,
    public_key text,
    database text DEFAULT NULL,
    node_id bigint DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_add_node';
COMMENT ON FUNCTION dlog.add_node(text, text, integer, text, text, bigint) IS
'lists a node in this database by hand; dlog.this_node() over there tells what to give';
REVOKE ALL ON FUNCTION dlog.add_node(text, text, integer, text, text, bigint) FROM PUBLIC;

CREATE FUNCTION dlog.remove_node(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_remove_node';
COMMENT ON FUNCTION dlog.remove_node(text) IS
'takes a node out of the cluster, dead or alive: its key is refused from then on';
REVOKE ALL ON FUNCTION dlog.remove_node(text) FROM PUBLIC;

CREATE FUNCTION dlog.rotate_key() RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_rotate_key';
COMMENT ON FUNCTION dlog.rotate_key() IS
'gives this node a new key pair, and all others the new key';
REVOKE ALL ON FUNCTION dlog.rotate_key() FROM PUBLIC;

CREATE FUNCTION dlog.nodes(
    OUT name text,
    OUT is_this boolean,
    OUT state text,
    OUT node_id bigint,
    OUT address text,
    OUT port integer,
    OUT database text,
    OUT server_version integer,
    OUT protocol_version integer
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dlog_nodes';
COMMENT ON FUNCTION dlog.nodes() IS
'the nodes of this database, this one first';

CREATE VIEW dlog.nodes AS SELECT * FROM dlog.nodes();
COMMENT ON VIEW dlog.nodes IS
'the nodes of this database, this one first, and whether the link to each is up';
GRANT SELECT ON dlog.nodes TO PUBLIC;

CREATE FUNCTION dlog.set_tags(tags jsonb) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_set_tags';
COMMENT ON FUNCTION dlog.set_tags(jsonb) IS
'gives this node other tags, for all databases, at once; flocks choose nodes by them';
REVOKE ALL ON FUNCTION dlog.set_tags(jsonb) FROM PUBLIC;

CREATE FUNCTION dlog.members(
    OUT node text,
    OUT state text,
    OUT incarnation bigint,
    OUT since timestamptz,
    OUT why text,
    OUT round_trip interval,
    OUT tags jsonb
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dlog_members';
COMMENT ON FUNCTION dlog.members() IS
'the nodes of this database as membership sees them, this one first';

CREATE VIEW dlog.members AS SELECT * FROM dlog.members();
COMMENT ON VIEW dlog.members IS
'the nodes of this database as membership sees them, this one first: alive, suspect, dead or left, since when and why, and their tags';
GRANT SELECT ON dlog.members TO PUBLIC;

CREATE FUNCTION dlog.ping(node text) RETURNS interval
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_ping';
COMMENT ON FUNCTION dlog.ping(text) IS
'the time that a message takes from this session to a scheduler of a node and back';

CREATE FUNCTION dlog.network(
    OUT pid integer,
    OUT starts bigint,
    OUT is_ready boolean,
    OUT accepted bigint,
    OUT refused_keys bigint,
    OUT failed_handshakes bigint,
    OUT refused_frames bigint,
    OUT multipart_messages bigint,
    OUT stale_frames bigint,
    OUT not_admitted bigint,
    OUT stalls bigint,
    OUT refused_joins bigint
) RETURNS record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_network';
COMMENT ON FUNCTION dlog.network() IS
'the network process, and what it has refused since the server started';
REVOKE ALL ON FUNCTION dlog.network() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.network() TO pg_monitor;

CREATE FUNCTION dlog.mdns(
    OUT state text,
    OUT since timestamptz,
    OUT published_as text,
    OUT error text,
    OUT services bigint,
    OUT left_out bigint,
    OUT starts bigint
) RETURNS record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_mdns';
COMMENT ON FUNCTION dlog.mdns() IS
'this node by multicast DNS';
REVOKE ALL ON FUNCTION dlog.mdns() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.mdns() TO pg_monitor;

CREATE VIEW dlog.mdns AS SELECT * FROM dlog.mdns();
COMMENT ON VIEW dlog.mdns IS
'multicast DNS, while a flock uses it: off, waiting for Avahi, registering, published or refused, since when; the name under which others see this node; the last error; services of others that are seen, and that found no room; how often the program was started';
GRANT SELECT ON dlog.mdns TO pg_monitor;

CREATE VIEW dlog.network AS SELECT * FROM dlog.network();
COMMENT ON VIEW dlog.network IS
'the network process, and what it has refused since the server started';
GRANT SELECT ON dlog.network TO pg_monitor;


-- ---------------------------------------------------------------- remote

CREATE FUNCTION dlog.execute(node text, sql text, timeout interval DEFAULT NULL)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_execute';
COMMENT ON FUNCTION dlog.execute(text, text, interval) IS
'runs SQL on a node as me, in this transaction, and returns the rows of its last query';

CREATE FUNCTION dlog.execute_command(node text, sql text, timeout interval DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_execute_command';
COMMENT ON FUNCTION dlog.execute_command(text, text, interval) IS
'runs SQL on a node as me, in this transaction, and returns the tag of its last command';

CREATE FUNCTION dlog.queries(
    OUT side text,
    OUT node text,
    OUT pid integer,
    OUT role text,
    OUT state text,
    OUT waits_for text,
    OUT since timestamptz,
    OUT rows bigint,
    OUT bytes bigint,
    OUT text text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_queries';
COMMENT ON FUNCTION dlog.queries() IS 'for the view dlog.queries';
CREATE VIEW dlog.queries AS SELECT * FROM dlog.queries();
COMMENT ON VIEW dlog.queries IS
'remote statements in flight in this database: those that sessions here ask of other nodes, and those that schedulers here run for them';
GRANT SELECT ON dlog.queries TO public;


-- -------------------------------------------------------------- behavior

CREATE TYPE dlog.actor_ref;

CREATE FUNCTION dlog.actor_ref_in(cstring) RETURNS dlog.actor_ref
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_in';
COMMENT ON FUNCTION dlog.actor_ref_in(cstring) IS 'reads the text of a reference';
CREATE FUNCTION dlog.actor_ref_out(dlog.actor_ref) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_out';
COMMENT ON FUNCTION dlog.actor_ref_out(dlog.actor_ref) IS 'writes a reference as text';
CREATE FUNCTION dlog.actor_ref_recv(internal) RETURNS dlog.actor_ref
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_recv';
COMMENT ON FUNCTION dlog.actor_ref_recv(internal) IS 'reads the binary form of a reference';
CREATE FUNCTION dlog.actor_ref_send(dlog.actor_ref) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_send';
COMMENT ON FUNCTION dlog.actor_ref_send(dlog.actor_ref) IS 'writes a reference in binary';

CREATE TYPE dlog.actor_ref
(
    INPUT = dlog.actor_ref_in,
    OUTPUT = dlog.actor_ref_out,
    RECEIVE = dlog.actor_ref_recv,
    SEND = dlog.actor_ref_send,
    INTERNALLENGTH = 24,
    ALIGNMENT = double
);
COMMENT ON TYPE dlog.actor_ref IS 'a reference to an actor, on whatever node';

CREATE FUNCTION dlog.actor_ref_eq(dlog.actor_ref, dlog.actor_ref) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_eq';
COMMENT ON FUNCTION dlog.actor_ref_eq(dlog.actor_ref, dlog.actor_ref) IS 'implementation of = operator';
CREATE FUNCTION dlog.actor_ref_ne(dlog.actor_ref, dlog.actor_ref) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_ne';
COMMENT ON FUNCTION dlog.actor_ref_ne(dlog.actor_ref, dlog.actor_ref) IS 'implementation of <> operator';
CREATE FUNCTION dlog.actor_ref_lt(dlog.actor_ref, dlog.actor_ref) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_lt';
COMMENT ON FUNCTION dlog.actor_ref_lt(dlog.actor_ref, dlog.actor_ref) IS 'implementation of < operator';
CREATE FUNCTION dlog.actor_ref_le(dlog.actor_ref, dlog.actor_ref) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_le';
COMMENT ON FUNCTION dlog.actor_ref_le(dlog.actor_ref, dlog.actor_ref) IS 'implementation of <= operator';
CREATE FUNCTION dlog.actor_ref_ge(dlog.actor_ref, dlog.actor_ref) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_ge';
COMMENT ON FUNCTION dlog.actor_ref_ge(dlog.actor_ref, dlog.actor_ref) IS 'implementation of >= operator';
CREATE FUNCTION dlog.actor_ref_gt(dlog.actor_ref, dlog.actor_ref) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_gt';
COMMENT ON FUNCTION dlog.actor_ref_gt(dlog.actor_ref, dlog.actor_ref) IS 'implementation of > operator';
CREATE FUNCTION dlog.actor_ref_cmp(dlog.actor_ref, dlog.actor_ref) RETURNS integer
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_cmp';
COMMENT ON FUNCTION dlog.actor_ref_cmp(dlog.actor_ref, dlog.actor_ref) IS 'less-equal-greater';
CREATE FUNCTION dlog.actor_ref_hash(dlog.actor_ref) RETURNS integer
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_hash';
COMMENT ON FUNCTION dlog.actor_ref_hash(dlog.actor_ref) IS 'hash';
CREATE FUNCTION dlog.actor_ref_hash_extended(dlog.actor_ref, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actor_ref_hash_extended';
COMMENT ON FUNCTION dlog.actor_ref_hash_extended(dlog.actor_ref, bigint) IS 'hash';

-- They are in pg_catalog because operators are looked up by the search path,
-- in which nobody has dlog: "actor = $1" shall just work.
CREATE OPERATOR pg_catalog.=
(
    FUNCTION = dlog.actor_ref_eq, LEFTARG = dlog.actor_ref, RIGHTARG = dlog.actor_ref,
    COMMUTATOR = OPERATOR(pg_catalog.=), NEGATOR = OPERATOR(pg_catalog.<>),
    RESTRICT = pg_catalog.eqsel, JOIN = pg_catalog.eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR pg_catalog.= (dlog.actor_ref, dlog.actor_ref) IS 'equal';
CREATE OPERATOR pg_catalog.<>
(
    FUNCTION = dlog.actor_ref_ne, LEFTARG = dlog.actor_ref, RIGHTARG = dlog.actor_ref,
    COMMUTATOR = OPERATOR(pg_catalog.<>), NEGATOR = OPERATOR(pg_catalog.=),
    RESTRICT = pg_catalog.neqsel, JOIN = pg_catalog.neqjoinsel
);
COMMENT ON OPERATOR pg_catalog.<> (dlog.actor_ref, dlog.actor_ref) IS 'not equal';
CREATE OPERATOR pg_catalog.<
(
    FUNCTION = dlog.actor_ref_lt, LEFTARG = dlog.actor_ref, RIGHTARG = dlog.actor_ref,
    COMMUTATOR = OPERATOR(pg_catalog.>), NEGATOR = OPERATOR(pg_catalog.>=),
    RESTRICT = pg_catalog.scalarltsel, JOIN = pg_catalog.scalarltjoinsel
);
COMMENT ON OPERATOR pg_catalog.< (dlog.actor_ref, dlog.actor_ref) IS 'less than';
CREATE OPERATOR pg_catalog.<=
(
    FUNCTION = dlog.actor_ref_le, LEFTARG = dlog.actor_ref, RIGHTARG = dlog.actor_ref,
    COMMUTATOR = OPERATOR(pg_catalog.>=), NEGATOR = OPERATOR(pg_catalog.>),
    RESTRICT = pg_catalog.scalarlesel, JOIN = pg_catalog.scalarlejoinsel
);
COMMENT ON OPERATOR pg_catalog.<= (dlog.actor_ref, dlog.actor_ref) IS 'less than or equal';
CREATE OPERATOR pg_catalog.>=
(
    FUNCTION = dlog.actor_ref_ge, LEFTARG = dlog.actor_ref, RIGHTARG = dlog.actor_ref,
    COMMUTATOR = OPERATOR(pg_catalog.<=), NEGATOR = OPERATOR(pg_catalog.<),
    RESTRICT = pg_catalog.scalargesel, JOIN = pg_catalog.scalargejoinsel
);
COMMENT ON OPERATOR pg_catalog.>= (dlog.actor_ref, dlog.actor_ref) IS 'greater than or equal';
CREATE OPERATOR pg_catalog.>
(
    FUNCTION = dlog.actor_ref_gt, LEFTARG = dlog.actor_ref, RIGHTARG = dlog.actor_ref,
    COMMUTATOR = OPERATOR(pg_catalog.<), NEGATOR = OPERATOR(pg_catalog.<=),
    RESTRICT = pg_catalog.scalargtsel, JOIN = pg_catalog.scalargtjoinsel
);
COMMENT ON OPERATOR pg_catalog.> (dlog.actor_ref, dlog.actor_ref) IS 'greater than';

CREATE OPERATOR CLASS dlog.actor_ref_ops DEFAULT FOR TYPE dlog.actor_ref USING btree AS
    OPERATOR 1 pg_catalog.<,
    OPERATOR 2 pg_catalog.<=,
    OPERATOR 3 pg_catalog.=,
    OPERATOR 4 pg_catalog.>=,
    OPERATOR 5 pg_catalog.>,
    FUNCTION 1 dlog.actor_ref_cmp(dlog.actor_ref, dlog.actor_ref),
    FUNCTION 4 pg_catalog.btequalimage(oid);
CREATE OPERATOR CLASS dlog.actor_ref_ops DEFAULT FOR TYPE dlog.actor_ref USING hash AS
    OPERATOR 1 pg_catalog.=,
    FUNCTION 1 dlog.actor_ref_hash(dlog.actor_ref),
    FUNCTION 2 dlog.actor_ref_hash_extended(dlog.actor_ref, bigint);

-- The views of actors, for people and for dlog.send(), dlog.stop() and so on.
CREATE FUNCTION dlog.reference(address text, database text) RETURNS dlog.actor_ref
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_reference';
COMMENT ON FUNCTION dlog.reference(text, text) IS
'the reference of the actor at an address that dlog.actors() or dlog.dead_letters() shows';

CREATE VIEW dlog.actors AS
SELECT dlog.reference(a.actor, a.database) AS actor, a.behavior, a.database, a.role, a.pid, a.mailbox, a.mailbox_high_water,
       a.received, a.spawned_at, a.name, a.state, a.restarts, a.run_ms
FROM dlog.actors() AS a;
COMMENT ON VIEW dlog.actors IS
'the actors that live on this node: who runs each, whose it is, its mailbox and what it has done; run_ms of native ones, sampled';
GRANT SELECT ON dlog.actors TO pg_monitor;

CREATE VIEW dlog.dead_letters AS
SELECT l.number, l.at, l.type, l.reason, dlog.reference(l.receiver, NULL) AS receiver, dlog.reference(l.sender, NULL) AS sender
FROM dlog.dead_letters() AS l ORDER BY l.number;
COMMENT ON VIEW dlog.dead_letters IS
'the last messages that reached nobody, and why; dlog.stat_runtime counts all';
GRANT SELECT ON dlog.dead_letters TO pg_monitor;

-- What behaviors are made of.  Each is a domain over dlog.actor_ref as well,
-- which has its name, owner and privileges.
CREATE TABLE dlog.behavior
(
    behavior regtype PRIMARY KEY,
    state regtype NOT NULL,
    functions text[] NOT NULL,
    mailbox_limit integer NOT NULL DEFAULT 0,
    handler_timeout integer NOT NULL DEFAULT -1,
    journal regclass,
    replay text[] NOT NULL DEFAULT '{}',
    snapshot_every integer NOT NULL DEFAULT 0,
    snapshot_bytes bigint NOT NULL DEFAULT 0,
    retention text NOT NULL DEFAULT 'forever',
    audit boolean NOT NULL DEFAULT false,
    max_failures integer NOT NULL DEFAULT 3
);
COMMENT ON TABLE dlog.behavior IS
    'what behaviors are made of; use the functions dlog.create_behavior, alter_behavior, drop_behavior';
COMMENT ON COLUMN dlog.behavior.behavior IS 'the domain: the type of references to its actors';
COMMENT ON COLUMN dlog.behavior.functions IS 'init and handlers, with their schemas';
COMMENT ON COLUMN dlog.behavior.mailbox_limit IS 'messages; 0: what dlog.mailbox_limit says';
COMMENT ON COLUMN dlog.behavior.handler_timeout IS 'ms; 0: no limit; -1: what dlog.handler_timeout says';
COMMENT ON COLUMN dlog.behavior.journal IS 'where entries of its actors are kept; null: they are not durable';
COMMENT ON COLUMN dlog.behavior.replay IS 'functions apply and upcast, with their schemas';
COMMENT ON COLUMN dlog.behavior.snapshot_every IS 'entries between two snapshots; 0: none';
COMMENT ON COLUMN dlog.behavior.snapshot_bytes IS 'bytes of messages between two snapshots; 0: none';
COMMENT ON COLUMN dlog.behavior.retention IS 'forever, snapshot, or an interval';
COMMENT ON COLUMN dlog.behavior.audit IS 'whether each entry has a hash that covers those before it';
COMMENT ON COLUMN dlog.behavior.max_failures IS 'so often a message fails before it is put into quarantine';
GRANT SELECT ON dlog.behavior TO PUBLIC;

-- An extension that creates behaviors creates them anew where it is restored.
SELECT pg_catalog.pg_extension_config_dump('dlog.behavior',
    $$WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend
        WHERE classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND objid = behavior AND deptype = 'e')$$);

CREATE FUNCTION dlog.behavior_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_behavior_changed';
COMMENT ON FUNCTION dlog.behavior_changed() IS
'checks a behavior that comes from a dump, and lets it depend on its functions and types';
REVOKE ALL ON FUNCTION dlog.behavior_changed() FROM PUBLIC;

CREATE TRIGGER behavior_changed AFTER INSERT ON dlog.behavior
FOR EACH ROW EXECUTE FUNCTION dlog.behavior_changed();
ALTER TABLE dlog.behavior ENABLE ALWAYS TRIGGER behavior_changed;

CREATE TABLE dlog.dropped_type
(
    type oid PRIMARY KEY,
    schema text NOT NULL,
    name text NOT NULL,
    length smallint NOT NULL,
    by_value boolean NOT NULL,
    alignment "char" NOT NULL
);
COMMENT ON TABLE dlog.dropped_type IS
    'what types were that are gone, where behaviors are durable: when one of the same name and attributes is there again, old values are read as its own';
SELECT pg_catalog.pg_extension_config_dump('dlog.dropped_type', '');

CREATE FUNCTION dlog.create_behavior(
    name text,
    state regtype,
    init text DEFAULT NULL,
    handlers text[] DEFAULT NULL,
    messages regtype[] DEFAULT NULL,
    mailbox_limit integer DEFAULT NULL,
    handler_timeout interval DEFAULT NULL,
    durable boolean DEFAULT false,
    apply text[] DEFAULT NULL,
    upcast text[] DEFAULT NULL,
    snapshot_every integer DEFAULT NULL,
    snapshot_bytes bigint DEFAULT NULL,
    retention text DEFAULT NULL,
    max_failures integer DEFAULT NULL,
    audit boolean DEFAULT false
) RETURNS regtype
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_create_behavior';
COMMENT ON FUNCTION dlog.create_behavior(text, regtype, text, text[], regtype[], integer, interval, boolean, text[], text[], integer, bigint, text, integer, boolean) IS
'makes a behavior, and the type of references to its actors; handlers are functions (state, message) RETURNS state; durable: its actors survive the server';

CREATE FUNCTION dlog.alter_behavior(
    name text,
    handlers text[] DEFAULT NULL,
    drop_messages regtype[] DEFAULT NULL,
    init text DEFAULT NULL,
    mailbox_limit integer DEFAULT NULL,
    handler_timeout interval DEFAULT NULL,
    apply text[] DEFAULT NULL,
    upcast text[] DEFAULT NULL,
    snapshot_every integer DEFAULT NULL,
    snapshot_bytes bigint DEFAULT NULL,
    retention text DEFAULT NULL,
    max_failures integer DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_alter_behavior';
COMMENT ON FUNCTION dlog.alter_behavior(text, text[], regtype[], text, integer, interval, text[], text[], integer, bigint, text, integer) IS
'adds handlers, or puts them in place of those for the same messages; changes what else is not null';

CREATE FUNCTION dlog.drop_behavior(name text, if_exists boolean DEFAULT false, cascade boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_drop_behavior';
COMMENT ON FUNCTION dlog.drop_behavior(text, boolean, boolean) IS
'drops a behavior, that is its domain; cascade: with the columns of that type, too';

CREATE FUNCTION dlog.behavior_functions(
    behavior regtype,
    OUT init regprocedure,
    OUT messages regtype[],
    OUT handlers regprocedure[]
) RETURNS record
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_behavior_functions';
COMMENT ON FUNCTION dlog.behavior_functions(regtype) IS 'for the view dlog.behaviors';

CREATE VIEW dlog.behaviors AS
    SELECT b.behavior, pg_catalog.pg_get_userbyid(t.typowner) AS owner, b.state, f.init,
        f.messages, f.handlers, b.mailbox_limit,
        CASE WHEN b.handler_timeout >= 0
             THEN b.handler_timeout * interval '1 ms' END AS handler_timeout,
        b.journal, b.snapshot_every, b.snapshot_bytes, b.retention, b.audit, b.max_failures,
        t.typacl AS privileges,
        pg_catalog.obj_description(t.oid, 'pg_type') AS description
    FROM dlog.behavior b
        JOIN pg_catalog.pg_type t ON t.oid = b.behavior,
        LATERAL dlog.behavior_functions(b.behavior) f;
COMMENT ON VIEW dlog.behaviors IS
    'behaviors: the messages that their actors take, the handler of each, and who may send';
GRANT SELECT ON dlog.behaviors TO PUBLIC;

CREATE FUNCTION dlog.message_support(internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_message_support';
COMMENT ON FUNCTION dlog.message_support(internal) IS
'refuses messages that the behavior of their receiver does not take, when a statement is planned';


-- ---------------------------------------------------------------- actor

CREATE TYPE dlog.down AS (actor dlog.actor_ref, reason text);
COMMENT ON TYPE dlog.down IS 'the message that comes when an actor exits that is monitored';

CREATE FUNCTION dlog.spawn(behavior text, args record DEFAULT NULL, name text DEFAULT NULL, supervisor text DEFAULT NULL, node text DEFAULT NULL) RETURNS dlog.actor_ref
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_spawn';
COMMENT ON FUNCTION dlog.spawn(text, record, text, text, text) IS
'makes an actor, which lives when this transaction commits; args: a row of the arguments of init';

CREATE FUNCTION dlog.send(actor dlog.actor_ref, message "any") RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT dlog.message_support AS 'MODULE_PATHNAME', 'dlog_send';
COMMENT ON FUNCTION dlog.send(dlog.actor_ref, "any") IS
'sends a message to an actor when this transaction commits';

CREATE FUNCTION dlog.ask(actor dlog.actor_ref, message "any", as_type anyelement, timeout interval DEFAULT '5 s') RETURNS anyelement
LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT dlog.message_support AS 'MODULE_PATHNAME', 'dlog_ask';
COMMENT ON FUNCTION dlog.ask(dlog.actor_ref, "any", anyelement, interval) IS
'sends a message now and waits for the answer, of the type of a null';

CREATE FUNCTION dlog.ask(actor dlog.actor_ref, message "any", timeout interval DEFAULT '5 s') RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT dlog.message_support AS 'MODULE_PATHNAME', 'dlog_ask_text';
COMMENT ON FUNCTION dlog.ask(dlog.actor_ref, "any", interval) IS
'sends a message now and waits for the answer, as text';

-- A bare string in third place is a timeout; without this twin it could as
-- well be a value that tells the type of the answer.
CREATE FUNCTION dlog.ask(actor dlog.actor_ref, message "any", timeout text) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT dlog.message_support AS 'MODULE_PATHNAME', 'dlog_ask_text';
COMMENT ON FUNCTION dlog.ask(dlog.actor_ref, "any", text) IS
'sends a message now and waits for the answer, as text';

CREATE FUNCTION dlog.whereis(name text) RETURNS dlog.actor_ref
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_whereis';
COMMENT ON FUNCTION dlog.whereis(text) IS
'the actor of a name, or of a text dlog://node/database/name; null if there is none';

CREATE FUNCTION dlog.register(name text, actor dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_register';
COMMENT ON FUNCTION dlog.register(text, dlog.actor_ref) IS
'gives an actor a name, which nobody else has while it lives';

CREATE FUNCTION dlog.unregister(name text) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_unregister';
COMMENT ON FUNCTION dlog.unregister(text) IS
'takes a name away; false if nobody had it';

CREATE FUNCTION dlog.stop(actor dlog.actor_ref, reason text DEFAULT 'shutdown') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_stop_actor';
COMMENT ON FUNCTION dlog.stop(dlog.actor_ref, text) IS
'has an actor exit, ahead of the messages that wait for it';

CREATE FUNCTION dlog.kill(actor dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_kill';
COMMENT ON FUNCTION dlog.kill(dlog.actor_ref) IS
'has an actor exit at once, even in the middle of a handler';

CREATE FUNCTION dlog.suspend(actor dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_suspend';
COMMENT ON FUNCTION dlog.suspend(dlog.actor_ref) IS
'lets the messages of an actor wait until it is resumed';

CREATE FUNCTION dlog.resume(actor dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_resume';
COMMENT ON FUNCTION dlog.resume(dlog.actor_ref) IS
'lets an actor that was suspended go on';

CREATE FUNCTION dlog.state(actor dlog.actor_ref, as_type anyelement) RETURNS anyelement
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_state';
COMMENT ON FUNCTION dlog.state(dlog.actor_ref, anyelement) IS
'the state of an actor, of the type of a null';

CREATE FUNCTION dlog.state(actor dlog.actor_ref) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_state_text';
COMMENT ON FUNCTION dlog.state(dlog.actor_ref) IS
'the state of an actor, as text';

CREATE FUNCTION dlog.self() RETURNS dlog.actor_ref
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_self';
COMMENT ON FUNCTION dlog.self() IS
'in a handler: its actor';

CREATE FUNCTION dlog.sender() RETURNS dlog.actor_ref
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_sender';
COMMENT ON FUNCTION dlog.sender() IS
'in a handler: the actor that sent the message; null if it was none';

CREATE FUNCTION dlog.reply(message "any") RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_reply';
COMMENT ON FUNCTION dlog.reply("any") IS
'in a handler: answers who asked, or sends to the actor that sent the message';

CREATE FUNCTION dlog.become(behavior text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_become';
COMMENT ON FUNCTION dlog.become(text) IS
'in a handler: the actor is of another behavior from the next message on';

CREATE FUNCTION dlog.stash() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_stash';
COMMENT ON FUNCTION dlog.stash() IS
'in a handler: the message waits until the actor unstashes';

CREATE FUNCTION dlog.unstash() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_unstash';
COMMENT ON FUNCTION dlog.unstash() IS
'in a handler: what was stashed comes next';

CREATE FUNCTION dlog.stop(reason text DEFAULT 'normal') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_stop';
COMMENT ON FUNCTION dlog.stop(text) IS
'in a handler: the actor exits when the handler has returned';

CREATE FUNCTION dlog.send_after(delay interval, message "any") RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_send_after';
COMMENT ON FUNCTION dlog.send_after(interval, "any") IS
'in a handler: sends the message to its own actor after a while; returns the timer';

CREATE FUNCTION dlog.send_every(period interval, message "any") RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_send_every';
COMMENT ON FUNCTION dlog.send_every(interval, "any") IS
'in a handler: sends the message to its own actor again and again; returns the timer';

CREATE FUNCTION dlog.cancel_timer(timer bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_cancel_timer';
COMMENT ON FUNCTION dlog.cancel_timer(bigint) IS
'in a handler: takes a timer back';

CREATE FUNCTION dlog.monitor(actor dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_monitor';
COMMENT ON FUNCTION dlog.monitor(dlog.actor_ref) IS
'in a handler: have a dlog.down come when that actor exits';

CREATE FUNCTION dlog.demonitor(actor dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_demonitor';
COMMENT ON FUNCTION dlog.demonitor(dlog.actor_ref) IS
'in a handler: have none come';


-- -------------------------------------------------------------- journal

CREATE TYPE dlog.payload;

CREATE FUNCTION dlog.payload_in(cstring) RETURNS dlog.payload
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_payload_in';
COMMENT ON FUNCTION dlog.payload_in(cstring) IS 'text of a payload';

CREATE FUNCTION dlog.payload_out(dlog.payload) RETURNS cstring
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_payload_out';
COMMENT ON FUNCTION dlog.payload_out(dlog.payload) IS 'text of a payload';

CREATE TYPE dlog.payload
(
    INPUT = dlog.payload_in,
    OUTPUT = dlog.payload_out,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = double,
    STORAGE = extended
);
COMMENT ON TYPE dlog.payload IS
    'a value of any type, which its text names: ''(7,x)''::public.deposit';

-- It is for the tables of dlog.
REVOKE ALL ON FUNCTION dlog.payload_in(cstring) FROM PUBLIC;
REVOKE ALL ON TYPE dlog.payload FROM PUBLIC;

CREATE FUNCTION dlog.payload_type(payload dlog.payload) RETURNS regtype
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_payload_type';
COMMENT ON FUNCTION dlog.payload_type(dlog.payload) IS
'the type of a value; null if it is gone';

CREATE FUNCTION dlog.payload_text(payload dlog.payload) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_payload_text';
COMMENT ON FUNCTION dlog.payload_text(dlog.payload) IS
'a value as text, without its type';

CREATE FUNCTION dlog.payload_as(payload dlog.payload, as_type anyelement) RETURNS anyelement
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_payload_as';
COMMENT ON FUNCTION dlog.payload_as(dlog.payload, anyelement) IS
'a value, of the type of a null';

CREATE TABLE dlog.durable_home
(
    node_id bigint NOT NULL,
    database oid NOT NULL,
    tables oid NOT NULL,
    is_successor boolean NOT NULL,
    since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (node_id, database, tables)
);
COMMENT ON TABLE dlog.durable_home IS
    'the databases that the durable actors of this one have lived in, this one too once it has some; dlog.settle() adds it where a dump was restored';
COMMENT ON COLUMN dlog.durable_home.tables IS 'oid of this table; another one where the extension was created anew';
COMMENT ON COLUMN dlog.durable_home.is_successor IS 'whether it took the place of the one before: references to actors there mean those here';

CREATE FUNCTION dlog.durable_home_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_durable_home_changed';
COMMENT ON FUNCTION dlog.durable_home_changed() IS
'has durable actors wait when a dump is being restored';
REVOKE ALL ON FUNCTION dlog.durable_home_changed() FROM PUBLIC;

CREATE TRIGGER durable_home_changed AFTER INSERT ON dlog.durable_home
FOR EACH ROW EXECUTE FUNCTION dlog.durable_home_changed();
ALTER TABLE dlog.durable_home ENABLE ALWAYS TRIGGER durable_home_changed;

CREATE FUNCTION dlog.settle(is_successor boolean) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_settle';
COMMENT ON FUNCTION dlog.settle(boolean) IS
'lets durable actors of a restored dump go on, in the place of the dumped ones or as copies of them; how many messages for other nodes leave, or are dropped';
REVOKE ALL ON FUNCTION dlog.settle(boolean) FROM PUBLIC;

CREATE SEQUENCE dlog.durable_actor_id;

CREATE TABLE dlog.durable_actor
(
    id bigint PRIMARY KEY,
    behavior regtype NOT NULL,
    name text COLLATE "C" UNIQUE,
    owner regrole NOT NULL,
    args bytea,
    spawned_at timestamptz NOT NULL,
    stopped_at timestamptz,
    stop_reason text,
    former_name text,
    crashes smallint NOT NULL DEFAULT 0
);
COMMENT ON TABLE dlog.durable_actor IS
    'actors that survive the server; use dlog.spawn, dlog.stop and the view dlog.durable_actors';
COMMENT ON COLUMN dlog.durable_actor.crashes IS 'of the server while it was loaded';
COMMENT ON COLUMN dlog.durable_actor.args IS 'of init, until it has run';

CREATE TABLE dlog.mailbox
(
    id bigint NOT NULL,
    actor bigint NOT NULL,
    sent_at timestamptz NOT NULL,
    sender dlog.actor_ref,
    role regrole NOT NULL,
    payload dlog.payload NOT NULL,
    crashes smallint
) USING heap -- whose pages remove.c writes
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000);
COMMENT ON TABLE dlog.mailbox IS
    'what has been sent to durable actors and not been handled; rows must not be moved while the server runs';
COMMENT ON COLUMN dlog.mailbox.crashes IS 'of the server while the message was handled; null: none';

CREATE TABLE dlog.durable_timer
(
    actor bigint NOT NULL,
    id bigint NOT NULL,
    due timestamptz NOT NULL,
    period_ms bigint,
    payload dlog.payload NOT NULL,
    PRIMARY KEY (actor, id)
);
CREATE INDEX durable_timer_due ON dlog.durable_timer (due);
COMMENT ON TABLE dlog.durable_timer IS
    'timers that durable actors have set with dlog.send_after and dlog.send_every';
COMMENT ON COLUMN dlog.durable_timer.period_ms IS 'null: it goes off once';

CREATE TABLE dlog.journal_entry
(
    behavior regtype NOT NULL,
    actor bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    sent_at timestamptz NOT NULL,
    sender dlog.actor_ref,
    role text NOT NULL,
    payload dlog.payload NOT NULL,
    becomes regtype,
    hash bytea
) PARTITION BY LIST (behavior);
COMMENT ON TABLE dlog.journal_entry IS
    'what durable actors have handled; a partition for each behavior, that has partitions by time';

CREATE FUNCTION dlog.journal_is_append_only() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_journal_is_append_only';
COMMENT ON FUNCTION dlog.journal_is_append_only() IS
'refuses UPDATE, DELETE and TRUNCATE of journals, for their owner as well';
REVOKE ALL ON FUNCTION dlog.journal_is_append_only() FROM PUBLIC;

CREATE TABLE dlog.journal_snapshot
(
    actor bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    behavior regtype NOT NULL,
    state dlog.payload NOT NULL,
    hash bytea
);
CREATE INDEX journal_snapshot_actor_seq ON dlog.journal_snapshot (actor, seq);
COMMENT ON TABLE dlog.journal_snapshot IS
    'states of durable actors after some entry, which replay starts from; seq 0: what init made';

CREATE TABLE dlog.journal_head
(
    actor bigint PRIMARY KEY,
    seq bigint NOT NULL,
    hash bytea NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE dlog.journal_head IS
    'the last entry of each audited durable actor, so that none can be cut off unseen';

CREATE TABLE dlog.quarantine
(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    actor bigint NOT NULL,
    sent_at timestamptz NOT NULL,
    sender dlog.actor_ref,
    role regrole NOT NULL,
    payload dlog.payload NOT NULL,
    failures integer NOT NULL,
    sqlstate text NOT NULL,
    error text NOT NULL,
    detail text,
    context text
);
COMMENT ON TABLE dlog.quarantine IS
    'messages to durable actors that could not be handled; see the view dlog.quarantined';

SELECT pg_catalog.pg_extension_config_dump('dlog.durable_home', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.durable_actor_id', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.durable_actor', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.mailbox', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.durable_timer', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.journal_snapshot', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.journal_head', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.quarantine', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.quarantine_id_seq', '');

CREATE FUNCTION dlog.durable_ref(id bigint) RETURNS dlog.actor_ref
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_durable_ref';
COMMENT ON FUNCTION dlog.durable_ref(bigint) IS
'the reference of a durable actor by its number in dlog''s tables';

CREATE VIEW dlog.durable_actors WITH (security_barrier) AS
    SELECT dlog.durable_ref(a.id) AS actor, a.name, a.behavior, a.owner, a.spawned_at,
        a.stopped_at, a.stop_reason, s.seq AS snapshot_seq, s.at AS snapshot_at
    FROM dlog.durable_actor a
        LEFT JOIN LATERAL (SELECT s.seq, s.at FROM dlog.journal_snapshot s
            WHERE s.actor = a.id ORDER BY s.seq DESC LIMIT 1) s ON true
    WHERE pg_catalog.pg_has_role(a.owner, 'USAGE');
COMMENT ON VIEW dlog.durable_actors IS
    'durable actors of whose owner the user is a member: since when they live, and their last snapshots';
GRANT SELECT ON dlog.durable_actors TO PUBLIC;

CREATE FUNCTION dlog.broken(
    OUT id bigint,
    OUT sqlstate text,
    OUT error text,
    OUT detail text,
    OUT hint text,
    OUT since timestamptz,
    OUT tries integer,
    OUT next_try timestamptz
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_broken';
COMMENT ON FUNCTION dlog.broken() IS
'own durable actors that cannot be loaded; see the view dlog.broken_actors';

CREATE VIEW dlog.broken_actors WITH (security_barrier) AS
    SELECT dlog.durable_ref(a.id) AS actor, a.name, a.behavior, a.owner,
        b.sqlstate, b.error, b.detail, b.hint, b.since, b.tries, b.next_try
    FROM dlog.broken() b
        JOIN dlog.durable_actor a ON a.id = b.id;
COMMENT ON VIEW dlog.broken_actors IS
    'own durable actors that cannot be loaded until something is mended: why, how often that was tried, and when it is next';
GRANT SELECT ON dlog.broken_actors TO PUBLIC;

CREATE VIEW dlog.journal WITH (security_barrier) AS
    SELECT dlog.durable_ref(e.actor) AS actor, COALESCE(a.name, a.former_name) AS name, e.behavior, e.seq,
        e.at, e.sent_at, e.sender, e.role, dlog.payload_type(e.payload) AS message,
        dlog.payload_text(e.payload) AS payload, e.becomes
    FROM dlog.journal_entry e
        JOIN dlog.durable_actor a ON a.id = e.actor
        JOIN dlog.behavior b ON b.behavior = e.behavior
    WHERE pg_catalog.pg_has_role(a.owner, 'USAGE')
        OR pg_catalog.has_table_privilege(b.journal, 'SELECT');
COMMENT ON VIEW dlog.journal IS
    'what durable actors have handled: who sent what when; of own actors, and where the user has SELECT on the journal of a behavior';
GRANT SELECT ON dlog.journal TO PUBLIC;

CREATE VIEW dlog.quarantined WITH (security_barrier) AS
    SELECT q.id, q.at, dlog.durable_ref(q.actor) AS actor, COALESCE(a.name, a.former_name) AS name, a.behavior,
        q.sent_at, q.sender, q.role, dlog.payload_type(q.payload) AS message,
        dlog.payload_text(q.payload) AS payload, q.failures, q.sqlstate, q.error, q.detail, q.context
    FROM dlog.quarantine q
        JOIN dlog.durable_actor a ON a.id = q.actor
    WHERE pg_catalog.pg_has_role(a.owner, 'USAGE');
COMMENT ON VIEW dlog.quarantined IS
    'messages to own durable actors that could not be handled, and why; dlog.redeliver() sends one again';
GRANT SELECT ON dlog.quarantined TO PUBLIC;

CREATE FUNCTION dlog.redeliver(id bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_redeliver';
COMMENT ON FUNCTION dlog.redeliver(bigint) IS
'sends a message of dlog.quarantined again when this transaction commits';

CREATE FUNCTION dlog.state_at(actor dlog.actor_ref, as_type anyelement, seq bigint) RETURNS anyelement
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_state_at_seq';
COMMENT ON FUNCTION dlog.state_at(dlog.actor_ref, anyelement, bigint) IS
'the state of a durable actor after an entry of its journal, of the type of a null';

CREATE FUNCTION dlog.state_at(actor dlog.actor_ref, as_type anyelement, at timestamptz) RETURNS anyelement
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_state_at_time';
COMMENT ON FUNCTION dlog.state_at(dlog.actor_ref, anyelement, timestamptz) IS
'the state that a durable actor had at some time, of the type of a null';

CREATE FUNCTION dlog.state_at(actor dlog.actor_ref, seq bigint) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_state_at_seq_text';
COMMENT ON FUNCTION dlog.state_at(dlog.actor_ref, bigint) IS
'the state of a durable actor after an entry of its journal, as text';

CREATE FUNCTION dlog.state_at(actor dlog.actor_ref, at timestamptz) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_state_at_time_text';
COMMENT ON FUNCTION dlog.state_at(dlog.actor_ref, timestamptz) IS
'the state that a durable actor had at some time, as text';

CREATE FUNCTION dlog.history(
    actor dlog.actor_ref,
    from_seq bigint DEFAULT 1,
    to_seq bigint DEFAULT NULL,
    OUT seq bigint,
    OUT at timestamptz,
    OUT message regtype,
    OUT payload text,
    OUT state text
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_history';
COMMENT ON FUNCTION dlog.history(dlog.actor_ref, bigint, bigint) IS
'what a durable actor has handled, and its state after each message';

CREATE FUNCTION dlog.snapshot(actor dlog.actor_ref) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_snapshot';
COMMENT ON FUNCTION dlog.snapshot(dlog.actor_ref) IS
'keeps the state of a durable actor, so that replay starts there; the entry that it is after';

CREATE FUNCTION dlog.expire_journal() RETURNS integer
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_expire_journal';
COMMENT ON FUNCTION dlog.expire_journal() IS
'drops the partitions of journals that need not be kept; how many.  Schedulers do so when they make a new one';
REVOKE ALL ON FUNCTION dlog.expire_journal() FROM PUBLIC;

CREATE FUNCTION dlog.verify_journal(
    actor dlog.actor_ref,
    OUT entries bigint,
    OUT first_seq bigint,
    OUT last_seq bigint,
    OUT head bytea,
    OUT is_intact boolean,
    OUT problem text
) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_verify_journal';
COMMENT ON FUNCTION dlog.verify_journal(dlog.actor_ref) IS
'whether the entries of an audited actor are as they were written; head: the hash of the last one, to be kept elsewhere';


-- ----------------------------------------------------------- supervision

CREATE TABLE dlog.supervisor
(
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    strategy text NOT NULL,
    max_restarts integer NOT NULL,
    within_ms bigint NOT NULL,
    auto_shutdown text NOT NULL,
    backoff_ms bigint NOT NULL,
    max_backoff_ms bigint NOT NULL,
    jitter double precision NOT NULL,
    owner regrole NOT NULL
);
COMMENT ON TABLE dlog.supervisor IS
    'supervisors; use the functions dlog.create_supervisor, alter_supervisor, drop_supervisor';
COMMENT ON COLUMN dlog.supervisor.owner IS 'its members may control it';
GRANT SELECT ON dlog.supervisor TO pg_monitor;

CREATE TABLE dlog.job
(
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    command text NOT NULL,
    schedule text,
    time_zone text NOT NULL,
    anchor timestamptz NOT NULL,
    overlap text NOT NULL,
    timeout_ms bigint NOT NULL,
    retries integer NOT NULL,
    backoff_ms bigint NOT NULL,
    max_backoff_ms bigint NOT NULL,
    is_paused boolean NOT NULL,
    owner regrole NOT NULL,
    has_own_supervisor boolean NOT NULL,
    history integer NOT NULL
);
COMMENT ON TABLE dlog.job IS
    'commands that run as children of supervisors; use the functions dlog.supervise, unsupervise, pause_job, resume_job';
COMMENT ON COLUMN dlog.job.schedule IS 'an interval or a cron expression; null: it runs when it is started';
COMMENT ON COLUMN dlog.job.anchor IS 'what an interval is counted from';
COMMENT ON COLUMN dlog.job.owner IS 'the role that the command runs as';
COMMENT ON COLUMN dlog.job.has_own_supervisor IS 'its supervisor was made for it, and goes with it';
COMMENT ON COLUMN dlog.job.history IS 'runs that are kept in dlog.job_run';
GRANT SELECT ON dlog.job TO pg_monitor;

CREATE TABLE dlog.job_run
(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    role regrole NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    status text NOT NULL,
    command_tag text,
    rows bigint,
    sqlstate text,
    error text
);
CREATE INDEX job_run_by_job ON dlog.job_run (job, id);
COMMENT ON TABLE dlog.job_run IS
    'what jobs have done: running, succeeded, failed, or terminated';
COMMENT ON COLUMN dlog.job_run.job IS 'its name; runs stay when the job is gone';
GRANT SELECT ON dlog.job_run TO pg_monitor;

CREATE VIEW dlog.job_runs WITH (security_barrier) AS
    SELECT id, job, role, pid, started_at, ended_at, status, command_tag, rows, sqlstate, error
    FROM dlog.job_run WHERE pg_catalog.pg_has_role(role, 'USAGE');
COMMENT ON VIEW dlog.job_runs IS
'the last runs of the jobs of roles that I am a member of';
GRANT SELECT ON dlog.job_runs TO PUBLIC;

-- Without foreign keys: pg_restore -j fills tables of extensions in any order.
-- Who adds or removes children locks their supervisor.
CREATE TABLE dlog.child
(
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    supervisor bigint NOT NULL,
    name text NOT NULL,
    child_supervisor bigint UNIQUE,
    job bigint UNIQUE,
    behavior regtype,
    args text[],
    restart text NOT NULL,
    shutdown text NOT NULL,
    significant boolean NOT NULL,
    on_failure text NOT NULL,
    retries integer NOT NULL,
    owner regrole NOT NULL,
    durable bigint,
    UNIQUE (supervisor, name)
);
COMMENT ON TABLE dlog.child IS
    'child specs of supervisors; use the functions dlog.start_child, alter_child, delete_child, define_child';
COMMENT ON COLUMN dlog.child.id IS 'children start in this order, and stop in the reverse';
COMMENT ON COLUMN dlog.child.name IS 'empty: what the children of a simple_one_for_one are';
COMMENT ON COLUMN dlog.child.child_supervisor IS 'the child is this supervisor';
COMMENT ON COLUMN dlog.child.job IS 'the child is this job';
COMMENT ON COLUMN dlog.child.args IS 'of the behavior''s init, as texts';
COMMENT ON COLUMN dlog.child.owner IS 'the role that the child runs as';
COMMENT ON COLUMN dlog.child.durable IS 'the durable actor that the child is, in dlog.durable_actor';
GRANT SELECT ON dlog.child TO pg_monitor;

SELECT pg_catalog.pg_extension_config_dump('dlog.supervisor', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.supervisor_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.job', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.job_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.child', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.child_id_seq', '');

CREATE FUNCTION dlog.create_supervisor(
    name text,
    strategy text DEFAULT 'one_for_one',
    max_restarts integer DEFAULT 5,
    within interval DEFAULT '10 s',
    backoff interval DEFAULT '0',
    parent text DEFAULT NULL,
    max_backoff interval DEFAULT '1 min',
    jitter double precision DEFAULT 0.2,
    auto_shutdown text DEFAULT 'never',
    restart text DEFAULT 'permanent',
    significant boolean DEFAULT false
) RETURNS dlog.actor_ref
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_create_supervisor';
COMMENT ON FUNCTION dlog.create_supervisor(text, text, integer, interval, interval, text, interval, double precision, text, text, boolean) IS
'makes a supervisor, a root of its own or a child of another one, which runs once this transaction commits';

CREATE FUNCTION dlog.alter_supervisor(
    name text,
    max_restarts integer DEFAULT NULL,
    within interval DEFAULT NULL,
    backoff interval DEFAULT NULL,
    max_backoff interval DEFAULT NULL,
    jitter double precision DEFAULT NULL,
    auto_shutdown text DEFAULT NULL,
    owner regrole DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_alter_supervisor';
COMMENT ON FUNCTION dlog.alter_supervisor(text, integer, interval, interval, interval, double precision, text, regrole) IS
'changes a supervisor while it runs; what is null stays as it is';

CREATE FUNCTION dlog.drop_supervisor(name text, cascade boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_drop_supervisor';
COMMENT ON FUNCTION dlog.drop_supervisor(text, boolean) IS
'stops and removes a supervisor when this transaction commits; cascade: with all that is below it';

CREATE FUNCTION dlog.start_supervisor(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_start_supervisor';
COMMENT ON FUNCTION dlog.start_supervisor(text) IS
'starts a supervisor that has no parent and does not run, because it gave up for example';

CREATE FUNCTION dlog.define_child(
    supervisor text,
    behavior regtype,
    args record DEFAULT NULL,
    restart text DEFAULT NULL,
    shutdown text DEFAULT NULL,
    significant boolean DEFAULT NULL,
    on_failure text DEFAULT NULL,
    retries integer DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_define_child';
COMMENT ON FUNCTION dlog.define_child(text, regtype, record, text, text, boolean, text, integer) IS
'says what the children of a simple_one_for_one supervisor are; args: the first arguments of init';

CREATE FUNCTION dlog.start_child(
    supervisor text,
    name text DEFAULT NULL,
    behavior regtype DEFAULT NULL,
    args record DEFAULT NULL,
    restart text DEFAULT NULL,
    shutdown text DEFAULT NULL,
    significant boolean DEFAULT NULL,
    on_failure text DEFAULT NULL,
    retries integer DEFAULT NULL
) RETURNS dlog.actor_ref
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_start_child';
COMMENT ON FUNCTION dlog.start_child(text, text, regtype, record, text, text, boolean, text, integer) IS
'adds a child to a supervisor, which starts it once this transaction commits; of a simple_one_for_one give only args';

CREATE FUNCTION dlog.alter_child(
    supervisor text,
    name text,
    restart text DEFAULT NULL,
    shutdown text DEFAULT NULL,
    significant boolean DEFAULT NULL,
    on_failure text DEFAULT NULL,
    retries integer DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_alter_child';
COMMENT ON FUNCTION dlog.alter_child(text, text, text, text, boolean, text, integer) IS
'changes the spec of a child while it runs; what is null stays as it is';

CREATE FUNCTION dlog.terminate_child(supervisor text, name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_terminate_child';
COMMENT ON FUNCTION dlog.terminate_child(text, text) IS
'stops a child, at once and whatever becomes of this transaction; its spec stays unless it is temporary';

CREATE FUNCTION dlog.terminate_child(supervisor text, child dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_terminate_instance';
COMMENT ON FUNCTION dlog.terminate_child(text, dlog.actor_ref) IS
'stops a child of a simple_one_for_one supervisor, at once and whatever becomes of this transaction';

CREATE FUNCTION dlog.restart_child(supervisor text, name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_restart_child';
COMMENT ON FUNCTION dlog.restart_child(text, text) IS
'starts a child that does not run, at once and whatever becomes of this transaction';

CREATE FUNCTION dlog.delete_child(supervisor text, name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_delete_child';
COMMENT ON FUNCTION dlog.delete_child(text, text) IS
'removes the spec of a child that does not run';

CREATE FUNCTION dlog.which_children(
    supervisor text,
    OUT name text,
    OUT child dlog.actor_ref,
    OUT state text,
    OUT type text,
    OUT behavior regtype,
    OUT restart text,
    OUT restarts bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_which_children';
COMMENT ON FUNCTION dlog.which_children(text) IS
'the children of a supervisor, in start order';

CREATE FUNCTION dlog.count_children(
    supervisor text,
    OUT specs bigint,
    OUT active bigint,
    OUT supervisors bigint,
    OUT workers bigint
) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_count_children';
COMMENT ON FUNCTION dlog.count_children(text) IS
'how many specs and running children a supervisor has, and how many of them are supervisors and workers';

CREATE FUNCTION dlog.supervision_tree(root text DEFAULT NULL) RETURNS SETOF text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_supervision_tree';
COMMENT ON FUNCTION dlog.supervision_tree(text) IS
'draws the supervision tree below a supervisor, or all trees';

CREATE FUNCTION dlog.failures(
    OUT number bigint,
    OUT at timestamptz,
    OUT actor dlog.actor_ref,
    OUT name text,
    OUT behavior regtype,
    OUT role regrole,
    OUT sqlstate text,
    OUT error text,
    OUT context text,
    OUT message_type regtype,
    OUT message text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_failures';
COMMENT ON FUNCTION dlog.failures() IS
'the last failures of the actors of this database';

CREATE VIEW dlog.failures AS SELECT * FROM dlog.failures() ORDER BY number;
COMMENT ON VIEW dlog.failures IS
'the last failures of actors: the error, and the message that caused it; a role sees those of its own actors';
GRANT SELECT ON dlog.failures TO PUBLIC;


CREATE FUNCTION dlog.supervise(
    command text,
    name text DEFAULT NULL,
    every text DEFAULT NULL,
    supervisor text DEFAULT NULL,
    restart text DEFAULT 'transient',
    max_restarts integer DEFAULT 5,
    within interval DEFAULT '1 min',
    backoff interval DEFAULT '1 s',
    max_backoff interval DEFAULT '1 min',
    retries integer DEFAULT 0,
    shutdown text DEFAULT '5 s',
    overlap text DEFAULT 'skip',
    timeout interval DEFAULT NULL,
    time_zone text DEFAULT NULL,
    history integer DEFAULT 100
) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_supervise';
COMMENT ON FUNCTION dlog.supervise(text, text, text, text, text, integer, interval, interval, interval, integer, text, text, interval, text, integer) IS
'runs SQL in the background as me, now or every so often, and again when it fails; returns the name of the job';

CREATE FUNCTION dlog.unsupervise(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_unsupervise';
COMMENT ON FUNCTION dlog.unsupervise(text) IS
'stops and removes a job when this transaction commits';

CREATE FUNCTION dlog.run_job(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_run_job';
COMMENT ON FUNCTION dlog.run_job(text) IS
'runs a scheduled job now, once this transaction commits';

CREATE FUNCTION dlog.pause_job(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_pause_job';
COMMENT ON FUNCTION dlog.pause_job(text) IS
'lets what becomes due of a job pass, until dlog.resume_job(); a run at work goes on';

CREATE FUNCTION dlog.resume_job(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_resume_job';
COMMENT ON FUNCTION dlog.resume_job(text) IS
'ends what dlog.pause_job() began';

CREATE FUNCTION dlog.jobs(
    OUT name text,
    OUT command text,
    OUT schedule text,
    OUT time_zone text,
    OUT role regrole,
    OUT state text,
    OUT next_run timestamptz,
    OUT restarts bigint,
    OUT is_paused boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_jobs';
COMMENT ON FUNCTION dlog.jobs() IS
'the jobs of this database';

CREATE VIEW dlog.jobs AS SELECT * FROM dlog.jobs();
COMMENT ON VIEW dlog.jobs IS
'the jobs of roles that I am a member of: what each does now, and when it is due';
GRANT SELECT ON dlog.jobs TO PUBLIC;


-- What is on its way to durable actors of other nodes, and what has come.
CREATE SEQUENCE dlog.outbox_id;
CREATE TABLE dlog.outbox
(
    node_id bigint NOT NULL,
    id bigint NOT NULL,
    kind "char" NOT NULL CHECK (kind IN ('s', 'r', 'f')),
    receiver dlog.actor_ref NOT NULL,
    sender dlog.actor_ref,
    role regrole NOT NULL,
    payload dlog.payload NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (node_id, id)
);
COMMENT ON TABLE dlog.outbox IS
    'messages to durable actors of other nodes that those have not taken yet; the view dlog.outgoing shows them';
COMMENT ON COLUMN dlog.outbox.kind IS 's: message, r: answer, f: there will be no answer';
COMMENT ON COLUMN dlog.outbox.sender IS 'an actor, or who waits for an answer; null: a session';

CREATE TABLE dlog.outbox_link
(
    node_id bigint PRIMARY KEY,
    generation bigint NOT NULL,
    started_at timestamptz NOT NULL,
    sequence bigint NOT NULL DEFAULT 1,
    batch bigint[] NOT NULL DEFAULT '{}',
    delivered bigint NOT NULL DEFAULT 0,
    forgotten bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    last_error text,
    last_error_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE dlog.outbox_link IS
    'how far the outbox has got with each node; the view dlog.deliveries shows it';
COMMENT ON COLUMN dlog.outbox_link.generation IS 'of this outbox: another one counts from the beginning';
COMMENT ON COLUMN dlog.outbox_link.started_at IS 'start of the server that has last asked the other node what it has';
COMMENT ON COLUMN dlog.outbox_link.forgotten IS 'messages that have left before, and of which this server does not know';
COMMENT ON COLUMN dlog.outbox_link.sequence IS 'number of the first message of the batch';
COMMENT ON COLUMN dlog.outbox_link.batch IS 'ids of the messages that are under way';

CREATE TABLE dlog.inbox_link
(
    node_id bigint PRIMARY KEY,
    generation bigint NOT NULL,
    sequence bigint NOT NULL,
    taken bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    missed bigint NOT NULL DEFAULT 0,
    taken_at timestamptz,
    sent_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE dlog.inbox_link IS
    'what was taken from the outbox of each node; the view dlog.deliveries shows it';
COMMENT ON COLUMN dlog.inbox_link.sequence IS 'number of the last message that was taken';
COMMENT ON COLUMN dlog.inbox_link.sent_at IS 'of the last message that was taken: another one with its number is not the same';
COMMENT ON COLUMN dlog.inbox_link.missed IS 'messages that were taken once, by a server whose last commits are lost';

CREATE TABLE dlog.inbox_refused
(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node_id bigint NOT NULL,
    kind text NOT NULL,
    receiver text NOT NULL,
    sender text,
    role text NOT NULL,
    payload text NOT NULL,
    sent_at timestamptz NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    sqlstate text NOT NULL,
    error text NOT NULL
);
COMMENT ON TABLE dlog.inbox_refused IS
    'messages from other nodes'' outboxes that could not be taken, and why; dlog.take_refused() tries again';
GRANT SELECT ON dlog.inbox_refused TO pg_monitor;

SELECT pg_catalog.pg_extension_config_dump('dlog.outbox_id', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.outbox_link', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.inbox_link', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.inbox_refused', '');
SELECT pg_catalog.pg_extension_config_dump('dlog.inbox_refused_id_seq', '');

CREATE FUNCTION dlog.outbox_take(node bigint, generation bigint, sequence bigint, kinds text[], receivers text[],
    senders text[], roles text[], payloads text[], sent_at text[]) RETURNS integer
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_outbox_take';
COMMENT ON FUNCTION dlog.outbox_take(bigint, bigint, bigint, text[], text[], text[], text[], text[], text[]) IS
'takes a batch of another node''s outbox, but for what is here already; returns how many of its messages are here now. Nodes call it';
REVOKE ALL ON FUNCTION dlog.outbox_take(bigint, bigint, bigint, text[], text[], text[], text[], text[], text[]) FROM PUBLIC;

CREATE FUNCTION dlog.outbox_last(node bigint, generation bigint) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_outbox_last';
COMMENT ON FUNCTION dlog.outbox_last(bigint, bigint) IS
'the number of the last message that was taken from a node''s outbox; null: none. Nodes call it';
REVOKE ALL ON FUNCTION dlog.outbox_last(bigint, bigint) FROM PUBLIC;

CREATE FUNCTION dlog.take_refused(id bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_take_refused';
COMMENT ON FUNCTION dlog.take_refused(bigint) IS
'takes a message of dlog.inbox_refused after all, now that what was wrong has been mended';
REVOKE ALL ON FUNCTION dlog.take_refused(bigint) FROM PUBLIC;

CREATE VIEW dlog.outgoing AS
SELECT o.id, coalesce(n.name, o.node_id::pg_catalog.text) AS node,
    CASE o.kind WHEN 's' THEN 'message' WHEN 'r' THEN 'answer' ELSE 'failure' END AS kind,
    o.receiver, o.sender, o.role, o.payload, o.sent_at,
    coalesce(o.id = ANY (l.batch), false) AS is_under_way
FROM dlog.outbox o
LEFT JOIN dlog.outbox_link l USING (node_id)
LEFT JOIN dlog.node n USING (node_id)
ORDER BY o.node_id, o.id;
COMMENT ON VIEW dlog.outgoing IS
'messages to durable actors of other nodes that have not been taken there yet, answers to asks among them';
GRANT SELECT ON dlog.outgoing TO pg_monitor;

CREATE VIEW dlog.deliveries AS
SELECT n.name AS node, coalesce(w.waiting, 0) AS waiting, w.oldest, coalesce(l.delivered, 0) AS delivered,
    coalesce(l.failures, 0) AS failures, l.last_error, l.last_error_at, coalesce(l.forgotten, 0) AS forgotten,
    coalesce(i.taken, 0) AS taken, coalesce(i.refused, 0) AS refused, coalesce(i.missed, 0) AS missed, i.taken_at
FROM dlog.node n
LEFT JOIN dlog.outbox_link l USING (node_id)
LEFT JOIN dlog.inbox_link i USING (node_id)
LEFT JOIN (SELECT o.node_id, pg_catalog.count(*) AS waiting, pg_catalog.min(o.sent_at) AS oldest
    FROM dlog.outbox o GROUP BY o.node_id) w USING (node_id);
COMMENT ON VIEW dlog.deliveries IS
'of each other node: messages to its durable actors that wait here, that it has taken; those from it that were taken here';
GRANT SELECT ON dlog.deliveries TO pg_monitor;


-- ------------------------------------------------------------- partition

-- The tables that dlog distributed.  Which partition lives where is in the
-- catalogs: a foreign partition's server is named for its home.
CREATE TABLE dlog.distributed_table
(
    relation regclass PRIMARY KEY,
    colocation uuid NOT NULL,
    keys name[] NOT NULL
);
COMMENT ON TABLE dlog.distributed_table IS
    'tables that dlog distributed over the nodes';
COMMENT ON COLUMN dlog.distributed_table.relation IS
    'the partitioned table, of the same name on every node';
COMMENT ON COLUMN dlog.distributed_table.colocation IS
    'tables of one value have the same bounds and placement';
COMMENT ON COLUMN dlog.distributed_table.keys IS
    'unique keys of the table, which each partition has under a name of its own';
SELECT pg_catalog.pg_extension_config_dump('dlog.distributed_table', '');
GRANT SELECT ON dlog.distributed_table TO PUBLIC;

-- The tables that are whole on every node that has a copy.
CREATE TABLE dlog.replicated_table
(
    relation regclass PRIMARY KEY,
    nodes name[] NOT NULL
);
COMMENT ON TABLE dlog.replicated_table IS
    'tables that dlog keeps whole on every node';
COMMENT ON COLUMN dlog.replicated_table.relation IS
    'the copy that is here';
COMMENT ON COLUMN dlog.replicated_table.nodes IS
    'nodes that have copies, this one included';
SELECT pg_catalog.pg_extension_config_dump('dlog.replicated_table', '');
GRANT SELECT ON dlog.replicated_table TO PUBLIC;

-- The definition of a table as text that makes the same table on another
-- node.  Everything in it is qualified, whatever the caller's search_path.

CREATE FUNCTION dlog.definition_columns(source regclass)
    RETURNS text
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT string_agg(item, E',\n    ' ORDER BY part, place, name)
    FROM (
        SELECT 1 AS part, a.attnum AS place, a.attname AS name,
            format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod))
            || CASE a.attcompression
                   WHEN 'p' THEN ' COMPRESSION pglz'
                   WHEN 'l' THEN ' COMPRESSION lz4'
                   ELSE '' END
            || CASE WHEN a.attcollation <> t.typcollation
                   THEN format(' COLLATE %s', a.attcollation::regcollation)
                   ELSE '' END
            || CASE WHEN a.attgenerated = 's'
                   THEN format(' GENERATED ALWAYS AS (%s) STORED',
                               pg_get_expr(d.adbin, d.adrelid))
                   WHEN d.oid IS NOT NULL
                   THEN format(' DEFAULT %s', pg_get_expr(d.adbin, d.adrelid))
                   ELSE '' END
            || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END AS item
        FROM pg_attribute a
            JOIN pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT 2, 0, c.conname,
            format('CONSTRAINT %I CHECK (%s)', c.conname, pg_get_expr(c.conbin, c.conrelid))
        FROM pg_constraint c
        WHERE c.conrelid = source AND c.contype = 'c' AND c.convalidated
    ) items
$$;
COMMENT ON FUNCTION dlog.definition_columns(regclass) IS
    'columns and valid checks of a table, as they stand in CREATE TABLE';

CREATE FUNCTION dlog.definition_storage(source regclass)
    RETURNS text
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT format('USING %I', am.amname)
        || CASE WHEN count(name) = 0 THEN ''
               ELSE format(' WITH (%s)',
                           string_agg(format('%s=%L', name, value), ', ' ORDER BY name))
           END
    FROM pg_class c
        JOIN pg_am am ON am.oid = c.relam
        LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
        LEFT JOIN LATERAL (
            SELECT option_name AS name, option_value AS value
            FROM pg_options_to_table(c.reloptions)
            UNION ALL
            SELECT 'toast.' || option_name, option_value
            FROM pg_options_to_table(toast.reloptions)
        ) options ON true
    WHERE c.oid = source
    GROUP BY am.amname
$$;
COMMENT ON FUNCTION dlog.definition_storage(regclass) IS
    'access method and storage parameters of a table, as they stand in CREATE TABLE';

CREATE FUNCTION dlog.definition_alterations(source regclass)
    RETURNS text
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT string_agg(format('ALTER COLUMN %I SET %s', attname, setting), ', ' ORDER BY attnum)
    FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid,
        LATERAL (
            SELECT 'STORAGE ' || CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                                     WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END AS setting
            WHERE attstorage <> typstorage
            UNION ALL
            SELECT format('STATISTICS %s', attstattarget)
            WHERE attstattarget >= 0
            UNION ALL
            -- Later minor versions keep a counter of their own among the options.
            SELECT format('(%s)', string_agg(option, ', '))
            FROM unnest(attoptions) AS option
            WHERE NOT starts_with(option, 'pg_attver=')
            HAVING count(*) > 0
        ) settings
    WHERE attrelid = source AND attnum > 0 AND NOT attisdropped
$$;
COMMENT ON FUNCTION dlog.definition_alterations(regclass) IS
    'settings of a table''s columns, as they stand in ALTER TABLE; null if none differs from its default';

CREATE FUNCTION dlog.definition_values(source regclass)
    RETURNS text
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = source AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
$$;
COMMENT ON FUNCTION dlog.definition_values(regclass) IS
    'the columns of a table that are not generated, as they stand in INSERT';

CREATE FUNCTION dlog.definition_grants(source regclass)
    RETURNS SETOF text
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    -- An empty list of privileges in the catalog means the owner's defaults.
    SELECT format('REVOKE ALL ON TABLE %s FROM PUBLIC, %I', source, pg_get_userbyid(relowner))
    FROM pg_class
    WHERE oid = source AND relacl IS NOT NULL
    UNION ALL
    SELECT format('GRANT %s ON TABLE %s TO %s%s',
                  string_agg(privilege_type, ', ' ORDER BY privilege_type), source,
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class, aclexplode(relacl)
    WHERE oid = source
    GROUP BY grantee, is_grantable
    UNION ALL
    SELECT format('GRANT %s (%I) ON TABLE %s TO %s%s',
                  privilege_type, attname, source,
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_attribute, aclexplode(attacl)
    WHERE attrelid = source AND attnum > 0 AND NOT attisdropped
$$;
COMMENT ON FUNCTION dlog.definition_grants(regclass) IS
    'statements that grant what is granted on a table and its columns';

CREATE FUNCTION dlog.definition_settings(source regclass)
    RETURNS SETOF text
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT statement
    FROM (
        SELECT 12 AS part, c.conname AS name,
            format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s) NOT VALID',
                   source, c.conname, pg_get_expr(c.conbin, c.conrelid)) AS statement
        FROM pg_constraint c
        WHERE c.conrelid = source AND c.contype = 'c' AND NOT c.convalidated
        UNION ALL
        SELECT 20, c.relname,
            format('CREATE INDEX %I ON %s %s', c.relname, source,
                   substr(pg_get_indexdef(i.indexrelid),
                          length(format('CREATE INDEX %I ON %s%s ', c.relname,
                                        CASE c.relkind WHEN 'I' THEN 'ONLY ' ELSE '' END,
                                        source)) + 1))
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = source AND NOT i.indisunique AND NOT i.indisexclusion
        UNION ALL
        SELECT 21, c.relname,
            format('COMMENT ON INDEX %s IS %L', c.oid::regclass,
                   obj_description(c.oid, 'pg_class'))
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = source AND NOT i.indisunique AND NOT i.indisexclusion
            AND obj_description(c.oid, 'pg_class') IS NOT NULL
        UNION ALL
        SELECT 30, s.stxname, pg_get_statisticsobjdef(s.oid)
        FROM pg_statistic_ext s
        WHERE s.stxrelid = source
        UNION ALL
        SELECT 31, s.stxname,
            format('ALTER STATISTICS %I.%I SET STATISTICS %s',
                   n.nspname, s.stxname, s.stxstattarget)
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE s.stxrelid = source AND s.stxstattarget >= 0
        UNION ALL
        SELECT 32, s.stxname,
            format('COMMENT ON STATISTICS %I.%I IS %L', n.nspname, s.stxname,
                   obj_description(s.oid, 'pg_statistic_ext'))
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE s.stxrelid = source AND obj_description(s.oid, 'pg_statistic_ext') IS NOT NULL
        UNION ALL
        SELECT 40, p.polname,
            format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, source,
                   CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                   CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                       WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                   (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC'
                                          ELSE quote_ident(pg_get_userbyid(role)) END, ', ')
                    FROM unnest(p.polroles) role))
            || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
            || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
        FROM pg_policy p
        WHERE p.polrelid = source
        UNION ALL
        SELECT 41, p.polname,
            format('COMMENT ON POLICY %I ON %s IS %L', p.polname, source,
                   obj_description(p.oid, 'pg_policy'))
        FROM pg_policy p
        WHERE p.polrelid = source AND obj_description(p.oid, 'pg_policy') IS NOT NULL
        UNION ALL
        SELECT 42, c.relname, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', source)
        FROM pg_class c
        WHERE c.oid = source AND c.relrowsecurity
        UNION ALL
        SELECT 43, c.relname, format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', source)
        FROM pg_class c
        WHERE c.oid = source AND c.relforcerowsecurity
        UNION ALL
        SELECT 50, '', format('COMMENT ON TABLE %s IS %L', source, d.description)
        FROM pg_description d
        WHERE d.classoid = 'pg_class'::regclass AND d.objoid = source AND d.objsubid = 0
        UNION ALL
        SELECT 51, a.attname,
            format('COMMENT ON COLUMN %s.%I IS %L', source, a.attname, d.description)
        FROM pg_description d
            JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
        WHERE d.classoid = 'pg_class'::regclass AND d.objoid = source AND d.objsubid > 0
        UNION ALL
        SELECT 52, c.conname,
            format('COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, source,
                   obj_description(c.oid, 'pg_constraint'))
        FROM pg_constraint c
        WHERE c.conrelid = source AND c.contype = 'c'
            AND obj_description(c.oid, 'pg_constraint') IS NOT NULL
        UNION ALL
        SELECT 53, l.objname,
            format('SECURITY LABEL FOR %I ON %s %s IS %L', l.provider,
                   l.objtype, l.objname, l.label)
        FROM pg_seclabels l
        WHERE l.classoid = 'pg_class'::regclass AND l.objoid = source
    ) statements
    ORDER BY part, name
$$;
COMMENT ON FUNCTION dlog.definition_settings(regclass) IS
    'statements that give a new table the indexes, policies, comments and settings of another; keys, owner and grants aside';

CREATE FUNCTION dlog.definition_keys(source regclass,
    OUT name name, OUT kind text, OUT definition text, OUT timing text,
    OUT description text, OUT is_replica_identity boolean)
    RETURNS SETOF record
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT c.relname,
        CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END,
        substr(pg_get_indexdef(i.indexrelid),
               length(format('CREATE UNIQUE INDEX %I ON %s ', c.relname, source)) + 1),
        CASE WHEN k.condeferred THEN 'DEFERRABLE INITIALLY DEFERRED'
             WHEN k.condeferrable THEN 'DEFERRABLE' ELSE '' END,
        coalesce(obj_description(k.oid, 'pg_constraint'), obj_description(c.oid, 'pg_class')),
        i.indisreplident
    FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid
            AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u')
    WHERE i.indrelid = source AND i.indisunique
    ORDER BY c.relname
$$;
COMMENT ON FUNCTION dlog.definition_keys(regclass) IS
    'primary key, unique constraints and unique indexes of an ordinary table';


CREATE FUNCTION dlog.definition_dependents(source regclass)
    RETURNS SETOF text
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT DISTINCT coalesce(
        (SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0)
         FROM pg_rewrite r
         WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid),
        pg_describe_object(d.classid, d.objid, d.objsubid))
    FROM pg_depend d
        JOIN pg_class t ON t.oid = source
        JOIN pg_type type ON type.oid = t.reltype
    WHERE ((d.refclassid = 'pg_class'::regclass AND d.refobjid = source)
            OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (type.oid, type.typarray)))
        -- What belongs to the table itself is no obstacle.
        AND NOT (CASE d.classid
            WHEN 'pg_class'::regclass THEN d.objid = source
                OR d.objid = t.reltoastrelid
                OR EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid AND indrelid = source)
                OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = d.objid AND inhparent = source)
            WHEN 'pg_type'::regclass THEN d.objid IN (type.oid, type.typarray)
            WHEN 'pg_attrdef'::regclass THEN
                EXISTS (SELECT FROM pg_attrdef WHERE oid = d.objid AND adrelid = source)
            WHEN 'pg_constraint'::regclass THEN
                EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND conrelid = source)
            WHEN 'pg_policy'::regclass THEN
                EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND polrelid = source)
            WHEN 'pg_statistic_ext'::regclass THEN
                EXISTS (SELECT FROM pg_statistic_ext WHERE oid = d.objid AND stxrelid = source)
            ELSE false END)
    ORDER BY 1
$$;
COMMENT ON FUNCTION dlog.definition_dependents(regclass) IS
    'objects that would be lost if the table were made anew';

CREATE FUNCTION dlog.definition_key_script(source regclass, key name,
    target_schema name, target_table name, target_name name)
    RETURNS text
    AS 'MODULE_PATHNAME', 'dlog_definition_key_script'
    LANGUAGE C STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog;
COMMENT ON FUNCTION dlog.definition_key_script(regclass, name, name, name, name) IS
    'statements that give another table a key that this table has; null if it has none of that name';

CREATE FUNCTION dlog.distributed_table_add(relation regclass, colocation uuid, keys name[])
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_distributed_table_add'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.distributed_table_add(regclass, uuid, name[]) IS
    'record a partitioned table as one that dlog distributes; part of how it is made on other nodes';

CREATE FUNCTION dlog.partition_node(partition regclass)
    RETURNS name
    AS 'MODULE_PATHNAME', 'dlog_partition_node'
    LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION dlog.partition_node(regclass) IS
    'node that has the rows of a table: this one, or that of a foreign table''s server';

CREATE FUNCTION dlog.distribute_table("table" regclass, by name,
    partitions integer DEFAULT NULL, colocate_with regclass DEFAULT NULL,
    nodes name[] DEFAULT NULL)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_distribute_table_by_one'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.distribute_table(regclass, name, integer, regclass, name[]) IS
    'spread a table over nodes by the hash of a column, in 32 partitions unless said otherwise';

CREATE FUNCTION dlog.distribute_table("table" regclass, by name[],
    partitions integer DEFAULT NULL, colocate_with regclass DEFAULT NULL,
    nodes name[] DEFAULT NULL)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_distribute_table'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.distribute_table(regclass, name[], integer, regclass, name[]) IS
    'spread a table over nodes by the hash of several columns';

CREATE FUNCTION dlog.undistribute_table("table" regclass)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_undistribute_table'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.undistribute_table(regclass) IS
    'bring all rows of a distributed table into an ordinary table here, and drop it on all other nodes';

CREATE FUNCTION dlog.replicate_table("table" regclass)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_replicate_table'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.replicate_table(regclass) IS
    'keep a small table whole on every node; again: make the copies that nodes lack';

CREATE FUNCTION dlog.unreplicate_table("table" regclass)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_unreplicate_table'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.unreplicate_table(regclass) IS
    'make the copy of a replicated table that is here an ordinary table, and drop the others';

CREATE FUNCTION dlog.replicated_table_add(relation regclass, nodes name[])
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_replicated_table_add'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.replicated_table_add(regclass, name[]) IS
    'record which nodes have copies of a table; part of how it is replicated';

CREATE FUNCTION dlog.replicated_apply("table" regclass, change "char", before anyarray, after anyarray)
    RETURNS bigint
    AS 'MODULE_PATHNAME', 'dlog_replicated_apply'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.replicated_apply(regclass, "char", anyarray, anyarray) IS
    'do to this copy of a table, and no other, what was done to one on another node; for its owner';

CREATE FUNCTION dlog.replicate_before() RETURNS trigger
    AS 'MODULE_PATHNAME', 'dlog_replicate_before'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.replicate_before() IS
    'trigger of replicated tables: keeps other writers of the table waiting until the transaction ends';

CREATE FUNCTION dlog.replicate_after() RETURNS trigger
    AS 'MODULE_PATHNAME', 'dlog_replicate_after'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.replicate_after() IS
    'trigger of replicated tables: does to the other copies what a statement did to this one';

CREATE VIEW dlog.replicated_tables AS
    SELECT r.relation AS "table", r.nodes FROM dlog.replicated_table r;
COMMENT ON VIEW dlog.replicated_tables IS
    'tables that are whole on every node: which nodes have copies';
GRANT SELECT ON dlog.replicated_tables TO PUBLIC;

CREATE FUNCTION dlog.local_partitions("table" regclass)
    RETURNS SETOF regclass
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT p.relid
    FROM pg_partition_tree("table") p
        JOIN pg_class c ON c.oid = p.relid
    WHERE p.isleaf AND c.relkind = 'r'
    ORDER BY c.relname
$$;
COMMENT ON FUNCTION dlog.local_partitions(regclass) IS
    'partitions of a table whose rows are on this node';

CREATE VIEW dlog.distributed_tables AS
    SELECT d.relation AS "table",
        pg_catalog.pg_get_partkeydef(d.relation) AS key,
        (SELECT pg_catalog.count(*)::integer
         FROM pg_catalog.pg_inherits i
         WHERE i.inhparent = d.relation) AS partitions,
        (SELECT pg_catalog.count(DISTINCT dlog.partition_node(i.inhrelid))::integer
         FROM pg_catalog.pg_inherits i
         WHERE i.inhparent = d.relation) AS nodes,
        d.keys,
        d.colocation
    FROM dlog.distributed_table d;
COMMENT ON VIEW dlog.distributed_tables IS
    'tables that dlog distributed: by what, into how many partitions, over how many nodes';
GRANT SELECT ON dlog.distributed_tables TO PUBLIC;

-- Each partition that other nodes have asked for has an actor.
CREATE FUNCTION dlog.partition_gates(OUT partition oid, OUT actor text, OUT requests bigint,
    OUT running bigint, OUT waiting integer, OUT waited bigint, OUT is_held boolean)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dlog_partition_gates'
    LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION dlog.partition_gates() IS
    'actors of the partitions that other nodes have asked this one for, and what passes them';

CREATE FUNCTION dlog.hold_partition(partition regclass)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_hold_partition'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.hold_partition(regclass) IS
    'until the transaction ends, let new requests of other nodes for a partition of this node wait with its actor';

CREATE FUNCTION dlog.set_partition_node(partition regclass, node text)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_set_partition_node'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.set_partition_node(regclass, text) IS
    'tell this node, and no other, which node has the rows of a foreign partition: to mend a map; no rows are moved';

CREATE VIEW dlog.partitions AS
    SELECT d.relation AS "table",
        c.oid::pg_catalog.regclass AS partition,
        pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bounds,
        dlog.partition_node(c.oid) AS node,
        c.relkind = 'r' AS is_local,
        nullif(c.reltuples, -1)::bigint AS rows,
        CASE c.relkind WHEN 'r' THEN pg_catalog.pg_total_relation_size(c.oid) END AS bytes,
        dlog.reference(g.actor, NULL) AS actor,
        coalesce(g.requests, 0) AS requests,
        coalesce(g.running, 0) AS running,
        coalesce(g.waiting, 0) AS waiting,
        coalesce(g.waited, 0) AS waited,
        coalesce(g.is_held, false) AS is_held
    FROM dlog.distributed_table d
        JOIN pg_catalog.pg_inherits i ON i.inhparent = d.relation
        JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
        LEFT JOIN dlog.partition_gates() g ON g.partition = c.oid
    ORDER BY d.relation, c.oid;
COMMENT ON VIEW dlog.partitions IS
    'partitions of distributed tables: where each is, its estimated rows and size if it is here, and what other nodes ask of it';
GRANT SELECT ON dlog.partitions TO PUBLIC;

CREATE FUNCTION dlog.definition_script("table" regclass)
    RETURNS text
    AS 'MODULE_PATHNAME', 'dlog_definition_script'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.definition_script(regclass) IS
    'statements that make a distributed table on a node that has none of its rows';

CREATE FUNCTION dlog.definitions()
    RETURNS json
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog
AS $$
    SELECT coalesce(json_agg(json_build_object(
            'schema', n.nspname,
            'schema_owner', pg_get_userbyid(n.nspowner),
            'name', c.relname,
            'script', dlog.definition_script(c.oid)) ORDER BY n.nspname, c.relname), '[]')
    FROM dlog.distributed_table d
        JOIN pg_class c ON c.oid = d.relation
        JOIN pg_namespace n ON n.oid = c.relnamespace
$$;
COMMENT ON FUNCTION dlog.definitions() IS
    'all distributed tables, for a node that has none of their rows';

CREATE FUNCTION dlog.sync_definitions(node text DEFAULT NULL)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'dlog_sync_definitions'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.sync_definitions(text) IS
    'make the distributed tables that another node knows and this one does not; returns how many';
REVOKE ALL ON FUNCTION dlog.sync_definitions(text) FROM PUBLIC;

CREATE FUNCTION dlog.local_partition_sizes("table" regclass,
    OUT partition name, OUT rows bigint, OUT bytes bigint)
    RETURNS SETOF record
    LANGUAGE sql STRICT STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT c.relname, nullif(c.reltuples, -1)::bigint, pg_total_relation_size(c.oid)
    FROM dlog.local_partitions("table") p JOIN pg_class c ON c.oid = p
    ORDER BY c.relname
$$;
COMMENT ON FUNCTION dlog.local_partition_sizes(regclass) IS
    'estimated rows and size on disk of the partitions of a table that are on this node';

CREATE FUNCTION dlog.partition_sizes_json("table" regclass)
    RETURNS json
    AS 'MODULE_PATHNAME', 'dlog_partition_sizes'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.partition_sizes_json(regclass) IS
    'what dlog.partition_sizes makes rows of';

CREATE FUNCTION dlog.partition_sizes("table" regclass,
    OUT partition name, OUT node name, OUT rows bigint, OUT bytes bigint)
    RETURNS SETOF record
    LANGUAGE sql STRICT VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog
AS $$
    SELECT s->>'partition', n->>'node', (s->>'rows')::bigint, (s->>'bytes')::bigint
    FROM json_array_elements(dlog.partition_sizes_json("table")) n,
        json_array_elements(n->'sizes') s
$$;
COMMENT ON FUNCTION dlog.partition_sizes(regclass) IS
    'estimated rows and size on disk of all partitions of a distributed table, asked of their nodes';

-- ----------------------------------------------------------------- flock

-- All nodes of a database come to the same rows.  They are not part of a dump,
-- like dlog.node.
CREATE TABLE dlog.flock
(
    name text PRIMARY KEY CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 63),
    tags jsonb NOT NULL DEFAULT '{}',
    discover_via text NOT NULL DEFAULT '',
    heartbeat_interval interval,
    owner text NOT NULL,
    version bigint NOT NULL,
    is_dropped boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE dlog.flock IS
    'flocks; use the functions dlog.create_flock, alter_flock, drop_flock';
COMMENT ON COLUMN dlog.flock.owner IS 'name of a role, whose members may change it';
COMMENT ON COLUMN dlog.flock.version IS 'when the row was made, in microseconds since 1970: nodes take over higher ones';
COMMENT ON COLUMN dlog.flock.is_dropped IS 'kept for nodes that were away meanwhile';
GRANT SELECT ON dlog.flock TO pg_monitor;

-- Schedulers read it again.
CREATE TRIGGER flock_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dlog.flock
FOR EACH STATEMENT EXECUTE FUNCTION dlog.node_changed();
ALTER TABLE dlog.flock ENABLE ALWAYS TRIGGER flock_changed;

CREATE VIEW dlog.flocks AS
    SELECT name, tags, discover_via, heartbeat_interval, owner
    FROM dlog.flock WHERE NOT is_dropped
    UNION ALL
    SELECT 'all', '{}', '', NULL, NULL
    ORDER BY 1;
COMMENT ON VIEW dlog.flocks IS
    'flocks: the tags that their members have, where members are looked for, how often they are probed, and whose they are';
GRANT SELECT ON dlog.flocks TO PUBLIC;

CREATE TABLE dlog.flock_member
(
    flock text NOT NULL,
    node text NOT NULL,
    state text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (flock, node)
);
COMMENT ON TABLE dlog.flock_member IS
    'who was in which flock when schedulers last looked; dlog.flock_members() tells who is now';

CREATE TABLE dlog.flock_event
(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    flock text NOT NULL,
    node text NOT NULL,
    event text NOT NULL,
    why text NOT NULL
);
COMMENT ON TABLE dlog.flock_event IS
    'what dlog.flock_events shows; the last 10000';

CREATE VIEW dlog.flock_events AS
    SELECT id, at, flock, node, event, why FROM dlog.flock_event ORDER BY id;
COMMENT ON VIEW dlog.flock_events IS
    'who joined a flock, became suspect, was alive after all, or left; when and why, as this node has seen it; the last 10000';
GRANT SELECT ON dlog.flock_events TO PUBLIC;

CREATE TYPE dlog.flock_change AS (flock text, node text, event text, why text);
COMMENT ON TYPE dlog.flock_change IS
    'the message that comes to actors that have subscribed to a flock: a node joined, is suspect, alive, or left';

CREATE TABLE dlog.flock_subscription
(
    flock text NOT NULL,
    actor dlog.actor_ref NOT NULL,
    PRIMARY KEY (flock, actor)
);
COMMENT ON TABLE dlog.flock_subscription IS
    'actors that are told of what happens in flocks; use the functions dlog.subscribe, unsubscribe';
GRANT SELECT ON dlog.flock_subscription TO pg_monitor;

CREATE FUNCTION dlog.key_fingerprint(public_key text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(public_key, 'SQL_ASCII')), 'hex'), 32);
COMMENT ON FUNCTION dlog.key_fingerprint(text) IS
'by what people tell the keys of nodes apart: 32 hexadecimal digits';

CREATE TABLE dlog.candidate
(
    address text NOT NULL,
    port integer NOT NULL,
    found_via text NOT NULL,
    fingerprint text,
    found_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    verdict text NOT NULL,
    PRIMARY KEY (address, port, found_via)
);
COMMENT ON TABLE dlog.candidate IS
    'what dlog.candidates shows';

CREATE VIEW dlog.candidates AS
    SELECT address, port, found_via, fingerprint, found_at, seen_at, verdict
    FROM dlog.candidate ORDER BY 1, 2, 3;
COMMENT ON VIEW dlog.candidates IS
    'nodes that were found where flocks say they may be: by which source, the fingerprint of the key if it is told, when first and last, and whether they were let in or why not';
GRANT SELECT ON dlog.candidates TO pg_monitor;

CREATE FUNCTION dlog.create_flock(
    name text,
    discover_via text DEFAULT NULL,
    heartbeat_interval interval DEFAULT NULL,
    tags jsonb DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_create_flock';
COMMENT ON FUNCTION dlog.create_flock(text, text, interval, jsonb) IS
'makes a flock: the nodes that have these tags and are alive; all nodes come to know it';
REVOKE ALL ON FUNCTION dlog.create_flock(text, text, interval, jsonb) FROM PUBLIC;

CREATE FUNCTION dlog.alter_flock(
    name text,
    discover_via text DEFAULT NULL,
    heartbeat_interval interval DEFAULT NULL,
    tags jsonb DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_alter_flock';
COMMENT ON FUNCTION dlog.alter_flock(text, text, interval, jsonb) IS
'changes a flock; what is null stays as it is';

CREATE FUNCTION dlog.drop_flock(name text, if_exists boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_drop_flock';
COMMENT ON FUNCTION dlog.drop_flock(text, boolean) IS
'removes a flock on all nodes; the nodes stay what they are';

CREATE FUNCTION dlog.flock_members(
    name text,
    OUT node text,
    OUT state text,
    OUT since timestamptz,
    OUT why text,
    OUT round_trip interval,
    OUT tags jsonb
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_flock_members';
COMMENT ON FUNCTION dlog.flock_members(text) IS
'the nodes that are in a flock now, this one first';

CREATE FUNCTION dlog.subscribe(flock text, actor dlog.actor_ref) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_subscribe';
COMMENT ON FUNCTION dlog.subscribe(text, dlog.actor_ref) IS
'has an actor of this node get a message of type dlog.flock_change whenever a node joins a flock, is suspect, alive, or leaves';

CREATE FUNCTION dlog.unsubscribe(flock text, actor dlog.actor_ref) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_unsubscribe';
COMMENT ON FUNCTION dlog.unsubscribe(text, dlog.actor_ref) IS
'ends that; false: it was not subscribed';

CREATE FUNCTION dlog.broadcast(flock text, actor text, message "any", timeout interval DEFAULT '30 s') RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_broadcast';
COMMENT ON FUNCTION dlog.broadcast(text, text, "any", interval) IS
'sends a message now to the actor of a name on every member of a flock, each of which has that time to reply';

CREATE FUNCTION dlog.collect_replies(
    broadcast bigint,
    timeout interval DEFAULT '5 s',
    OUT node text,
    OUT reply text,
    OUT error text,
    OUT sqlstate text,
    OUT elapsed interval
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_collect_replies';
COMMENT ON FUNCTION dlog.collect_replies(bigint, interval) IS
'waits for the replies to a broadcast of this session; what is not there in time can be collected later';


-- ---------------------------------------------------------------- deploy

-- Who may deploy: members of this role, on the node that asks and on each that
-- answers.  Roles are the cluster's, so it may be there, and it stays.
DO $$
BEGIN
    CREATE ROLE dlog_deployer NOLOGIN;
    COMMENT ON ROLE dlog_deployer IS 'may deploy queries to all nodes (extension dlog)';
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

-- What a node answers to one that deploys a query.
CREATE FUNCTION dlog.deploy_answer(query text, as_type anyelement, form text, writes boolean,
                                   OUT result anyelement, OUT rows bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dlog_deploy_answer'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_answer(text, anyelement, text, boolean) IS
    'what a node answers to another one that deploys a query';

CREATE FUNCTION dlog.deploy_answer(query text, as_type anyelement, form text, writes boolean,
                                   VARIADIC args "any", OUT result anyelement, OUT rows bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dlog_deploy_answer'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_answer(text, anyelement, text, boolean, "any") IS
    'what a node answers to another one that deploys a query with arguments';

CREATE FUNCTION dlog.deploy_map(flock text, query text, timeout interval DEFAULT '30 s',
                                retries int DEFAULT 0, writes boolean DEFAULT false,
                                on_error text DEFAULT NULL, args record DEFAULT NULL)
    RETURNS TABLE (node text, result jsonb, error text, sqlstate text, rows bigint,
                   elapsed interval, attempts int)
    AS 'MODULE_PATHNAME', 'dlog_deploy_map'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION dlog.deploy_map(text, text, interval, int, boolean, text, record) IS
    'runs a query, or a function, on every node of a flock; one row per node, its rows as jsonb';

-- A bare string in third place is a timeout; without this twin it could as
-- well be a value that tells the type of results.
CREATE FUNCTION dlog.deploy_map(flock text, query text, timeout text,
                                retries int DEFAULT 0, writes boolean DEFAULT false,
                                on_error text DEFAULT NULL, args record DEFAULT NULL)
    RETURNS TABLE (node text, result jsonb, error text, sqlstate text, rows bigint,
                   elapsed interval, attempts int)
    AS 'MODULE_PATHNAME', 'dlog_deploy_map'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION dlog.deploy_map(text, text, text, int, boolean, text, record) IS
    'runs a query, or a function, on every node of a flock; one row per node, its rows as jsonb';

CREATE FUNCTION dlog.deploy_map(flock text, query text, as_type anyelement,
                                timeout interval DEFAULT '30 s', retries int DEFAULT 0,
                                writes boolean DEFAULT false, on_error text DEFAULT NULL, args record DEFAULT NULL)
    RETURNS TABLE (node text, result anyelement, error text, sqlstate text, rows bigint,
                   elapsed interval, attempts int)
    AS 'MODULE_PATHNAME', 'dlog_deploy_map_as'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION dlog.deploy_map(text, text, anyelement, interval, int, boolean, text, record) IS
    'runs a query, or a function, on every node of a flock; one row per row it returns there, of a type of your choice';

CREATE FUNCTION dlog.deploy_reduce(flock text, map text, reduce text, init anyelement,
                                   timeout interval DEFAULT '30 s', retries int DEFAULT 0,
                                   on_error text DEFAULT 'fail', args record DEFAULT NULL,
                                   check_init boolean DEFAULT false)
    RETURNS anyelement
    AS 'MODULE_PATHNAME', 'dlog_deploy_reduce'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_reduce(text, text, text, anyelement, interval, int, text, record, boolean) IS
    'runs a query on every node of a flock and merges the values, in a tree through the nodes, by an operator, a function or an aggregate';

CREATE FUNCTION dlog.deploy_reduce(flock text, map text, reduce regprocedure, init anyelement,
                                   timeout interval DEFAULT '30 s', retries int DEFAULT 0,
                                   on_error text DEFAULT 'fail', args record DEFAULT NULL,
                                   check_init boolean DEFAULT false)
    RETURNS anyelement
    AS 'MODULE_PATHNAME', 'dlog_deploy_reduce_function'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_reduce(text, text, regprocedure, anyelement, interval, int, text, record, boolean) IS
    'runs a query on every node of a flock and merges the values by a function';

-- What the head of a branch answers to the node above it.
CREATE FUNCTION dlog.deploy_merge(query text, as_type anyelement, reduce text, is_partial boolean,
                                  behind text[], budget int, fanin int, timeout bigint, retries int, fail boolean,
                                  OUT result anyelement, OUT has_value boolean, OUT node text, OUT sqlstate int,
                                  OUT message text, OUT detail text, OUT hint text, OUT context text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dlog_deploy_merge'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_merge(text, anyelement, text, boolean, text[], int, int, bigint, int, boolean) IS
    'what a node answers to another one that deploys a reduce: its value merged with those of the nodes behind it';

CREATE FUNCTION dlog.deploy_merge(query text, as_type anyelement, reduce text, is_partial boolean,
                                  behind text[], budget int, fanin int, timeout bigint, retries int, fail boolean,
                                  VARIADIC args "any",
                                  OUT result anyelement, OUT has_value boolean, OUT node text, OUT sqlstate int,
                                  OUT message text, OUT detail text, OUT hint text, OUT context text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dlog_deploy_merge'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_merge(text, anyelement, text, boolean, text[], int, int, bigint, int, boolean, "any") IS
    'what a node answers to another one that deploys a reduce with arguments';

CREATE FUNCTION dlog.set_union(anyarray, anyarray)
    RETURNS anyarray
    AS 'MODULE_PATHNAME', 'dlog_set_union'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dlog.set_union(anyarray, anyarray) IS
    'the elements of both arrays, sorted, each once; a reduce for sets';

REVOKE ALL ON FUNCTION
    dlog.deploy_answer(text, anyelement, text, boolean),
    dlog.deploy_answer(text, anyelement, text, boolean, "any"),
    dlog.deploy_merge(text, anyelement, text, boolean, text[], int, int, bigint, int, boolean),
    dlog.deploy_merge(text, anyelement, text, boolean, text[], int, int, bigint, int, boolean, "any"),
    dlog.deploy_map(text, text, interval, int, boolean, text, record),
    dlog.deploy_map(text, text, text, int, boolean, text, record),
    dlog.deploy_map(text, text, anyelement, interval, int, boolean, text, record),
    dlog.deploy_reduce(text, text, text, anyelement, interval, int, text, record, boolean),
    dlog.deploy_reduce(text, text, regprocedure, anyelement, interval, int, text, record, boolean)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    dlog.deploy_answer(text, anyelement, text, boolean),
    dlog.deploy_answer(text, anyelement, text, boolean, "any"),
    dlog.deploy_merge(text, anyelement, text, boolean, text[], int, int, bigint, int, boolean),
    dlog.deploy_merge(text, anyelement, text, boolean, text[], int, int, bigint, int, boolean, "any"),
    dlog.deploy_map(text, text, interval, int, boolean, text, record),
    dlog.deploy_map(text, text, text, int, boolean, text, record),
    dlog.deploy_map(text, text, anyelement, interval, int, boolean, text, record),
    dlog.deploy_reduce(text, text, text, anyelement, interval, int, text, record, boolean),
    dlog.deploy_reduce(text, text, regprocedure, anyelement, interval, int, text, record, boolean)
    TO dlog_deployer;

-- ------------------------------------------------------------------ live

CREATE TABLE dlog.live_deployment
(
    name text PRIMARY KEY,
    flock text NOT NULL,
    map text NOT NULL,
    reduce text NOT NULL,
    reduce_function regprocedure,
    init dlog.payload NOT NULL,
    args dlog.payload[] NOT NULL,
    collation_used oid,
    every_ms bigint NOT NULL,
    timeout_ms bigint NOT NULL,
    check_init boolean NOT NULL,
    search_path text NOT NULL,
    owner regrole NOT NULL,
    is_suspended boolean NOT NULL DEFAULT false,
    value dlog.payload,
    changed_at timestamptz,
    changes bigint NOT NULL DEFAULT 0,
    merges bigint NOT NULL DEFAULT 0,
    last_merges bigint NOT NULL DEFAULT 0,
    sqlstate text,
    error text
);
COMMENT ON TABLE dlog.live_deployment IS
    'reduces whose values follow the nodes; use the functions dlog.deploy_live, drop_live, suspend_live, resume_live';

CREATE TABLE dlog.live_member
(
    deployment text NOT NULL REFERENCES dlog.live_deployment ON DELETE CASCADE,
    node text NOT NULL,
    value dlog.payload,
    changed_at timestamptz NOT NULL,
    sqlstate text,
    error text,
    PRIMARY KEY (deployment, node)
);
COMMENT ON TABLE dlog.live_member IS 'what dlog.live_members shows';

CREATE VIEW dlog.live_deployments AS
    SELECT d.name, d.flock, d.map, d.reduce, pg_catalog.make_interval(secs => d.every_ms / 1000.0) AS every,
        dlog.payload_text(d.value) AS value, d.value AS payload, m.members, m.answered, d.changed_at, d.changes,
        d.merges, d.last_merges, CASE WHEN d.is_suspended THEN 'suspended'
            WHEN EXISTS (SELECT FROM dlog.job AS j WHERE j.name = 'live ' || d.name) THEN 'running' ELSE 'stopped' END AS state,
        d.sqlstate, d.error, d.owner
    FROM dlog.live_deployment AS d,
        LATERAL (SELECT pg_catalog.count(*) AS members, pg_catalog.count(*) FILTER (WHERE error IS NULL) AS answered
                 FROM dlog.live_member WHERE deployment = d.name) AS m
    WHERE pg_catalog.pg_has_role(d.owner, 'USAGE')
    ORDER BY d.name;
COMMENT ON VIEW dlog.live_deployments IS
    'own live deployments: the value, as text and as it is, the members and how many of them have answered, when the value changed, changes of any kind, merges in all and for the last change, and why the last round failed';
GRANT SELECT ON dlog.live_deployments TO PUBLIC;

CREATE VIEW dlog.live_members AS
    SELECT m.deployment, m.node, dlog.payload_text(m.value) AS value, m.changed_at, m.sqlstate, m.error
    FROM dlog.live_member AS m JOIN dlog.live_deployment AS d ON d.name = m.deployment
    WHERE pg_catalog.pg_has_role(d.owner, 'USAGE')
    ORDER BY m.deployment, m.node;
COMMENT ON VIEW dlog.live_members IS
    'the members of own live deployments: what each has answered last, or why it counts for nothing, and since when';
GRANT SELECT ON dlog.live_members TO PUBLIC;

CREATE FUNCTION dlog.deploy_live(name text, flock text, map text, reduce text, init anyelement,
                                 every interval DEFAULT '10 s', timeout interval DEFAULT '30 s',
                                 args record DEFAULT NULL, check_init boolean DEFAULT false)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_deploy_live'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_live(text, text, text, text, anyelement, interval, interval, record, boolean) IS
    'keeps the value of a reduce over the nodes of a flock up to date, as they come, go and change';

CREATE FUNCTION dlog.deploy_live(name text, flock text, map text, reduce regprocedure, init anyelement,
                                 every interval DEFAULT '10 s', timeout interval DEFAULT '30 s',
                                 args record DEFAULT NULL, check_init boolean DEFAULT false)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_deploy_live_function'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_live(text, text, text, regprocedure, anyelement, interval, interval, record, boolean) IS
    'the same with a function that merges two values';

CREATE FUNCTION dlog.drop_live(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_drop_live'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.drop_live(text) IS
    'removes a live deployment and its value';

CREATE FUNCTION dlog.suspend_live(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_suspend_live'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.suspend_live(text) IS
    'lets the value of a live deployment stay as it is, and asks nobody';

CREATE FUNCTION dlog.resume_live(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_resume_live'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.resume_live(text) IS
    'ends that; it runs as the asking role from now on';

CREATE PROCEDURE dlog.live_run(name text)
    AS 'MODULE_PATHNAME', 'dlog_live_run'
    LANGUAGE C;
COMMENT ON PROCEDURE dlog.live_run(text) IS
    'what the job of a live deployment runs';

CREATE FUNCTION dlog.live_value(name text, as_type anyelement) RETURNS anyelement
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog
AS $$
    SELECT dlog.payload_as(payload, as_type) FROM dlog.live_deployments AS d WHERE d.name = live_value.name
$$;
COMMENT ON FUNCTION dlog.live_value(text, anyelement) IS
    'the value of a live deployment, of the type of a null; null if there is none';

REVOKE ALL ON FUNCTION
    dlog.deploy_live(text, text, text, text, anyelement, interval, interval, record, boolean),
    dlog.deploy_live(text, text, text, regprocedure, anyelement, interval, interval, record, boolean),
    dlog.resume_live(text)
    FROM PUBLIC;
REVOKE ALL ON PROCEDURE dlog.live_run(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    dlog.deploy_live(text, text, text, text, anyelement, interval, interval, record, boolean),
    dlog.deploy_live(text, text, text, regprocedure, anyelement, interval, interval, record, boolean),
    dlog.resume_live(text)
    TO dlog_deployer;
GRANT EXECUTE ON PROCEDURE dlog.live_run(text) TO dlog_deployer;

-- ----------------------------------------------------------------- query

CREATE FUNCTION dlog.fdw_handler()
    RETURNS pg_catalog.fdw_handler
    AS 'MODULE_PATHNAME', 'dlog_fdw_handler'
    LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION dlog.fdw_handler() IS
    'handler of the foreign-data wrapper dlog';

CREATE FUNCTION dlog.fdw_validator(options text[], catalog oid)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_fdw_validator'
    LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION dlog.fdw_validator(text[], oid) IS
    'checks the options of servers, foreign tables and columns of the foreign-data wrapper dlog';

CREATE FOREIGN DATA WRAPPER dlog
    HANDLER dlog.fdw_handler
    VALIDATOR dlog.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER dlog IS
    'tables on other nodes; a server stands for a node';

CREATE FUNCTION dlog.upsert_once(command bigint, row_xmin xid, row_cmin cid)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_upsert_once';
COMMENT ON FUNCTION dlog.upsert_once(bigint, xid, cid) IS
    'what a node is asked to check when an ON CONFLICT DO UPDATE of another node comes in several statements';
