-- A node knows who it is; what others are is checked before it is listed, and
-- only administrators may say so.

SELECT name, node_id > 0 AS has_id, address, length(public_key) AS key_length, database
FROM dlog.this_node();
SELECT name, is_this, state, node_id = (SELECT node_id FROM dlog.this_node()) AS same_id
FROM dlog.nodes;
SELECT count(*) FROM dlog.links;
SELECT pid > 0 AS runs, is_ready FROM dlog.network;
SELECT dlog.ping('here') < '10 s' AS answers;

-- Who is not there.
SELECT dlog.ping('nobody');
SELECT dlog.remove_node('nobody');
SELECT dlog.remove_node('here');
SELECT dlog.leave();
SELECT dlog.join('somewhere');

-- Nodes that cannot be.
SELECT dlog.add_node('', '127.0.0.1', 1, repeat('0', 40));
SELECT dlog.add_node(repeat('n', 64), '127.0.0.1', 1, repeat('0', 40));
SELECT dlog.add_node('other', '', 1, repeat('0', 40));
SELECT dlog.add_node('other', 'tcp://there', 1, repeat('0', 40));
SELECT dlog.add_node('other', '127.0.0.1', 0, repeat('0', 40));
SELECT dlog.add_node('other', '127.0.0.1', 65536, repeat('0', 40));
SELECT dlog.add_node('other', '127.0.0.1', 1, 'short');
SELECT dlog.add_node('other', '127.0.0.1', 1, repeat('~', 40));
SELECT dlog.add_node('other', NULL, 1, repeat('0', 40));
SELECT dlog.add_node('other', '127.0.0.1', 1, repeat('0', 40), '');
SELECT dlog.add_node('here', '127.0.0.1', 1, repeat('0', 40));
SELECT dlog.add_node('other', address, port, public_key) FROM dlog.this_node();

-- One that can, with every character that a name may have.
SELECT dlog.add_node('odd "name", with ''quotes'' ü', '127.0.0.1', 1, repeat('0', 40));
SELECT name, is_this, address, database FROM dlog.nodes;
SELECT srvname FROM pg_foreign_server WHERE srvname LIKE 'odd%';
SELECT dlog.add_node('again', '127.0.0.1', 1, repeat('0', 40));
SELECT dlog.add_node('odd "name", with ''quotes'' ü', '127.0.0.2', 2, repeat('1', 40), node_id => 17);
\set VERBOSITY terse
SELECT dlog.ping('odd "name", with ''quotes'' ü');
\set VERBOSITY default

-- What a transaction does to the table is seen when it commits.
BEGIN;
DELETE FROM dlog.node;
SELECT count(*) FROM dlog.nodes;
ROLLBACK;
SELECT count(*) FROM dlog.nodes;
BEGIN;
DELETE FROM dlog.node;
PREPARE TRANSACTION 'changes nodes';
SELECT count(*) FROM dlog.nodes;

-- What fails before it is sent leaves nothing behind in shared memory.
SET dlog.connect_timeout = '100 ms';
SELECT sum(used) AS used_before FROM dlog.memory \gset
DO $$
BEGIN
    FOR i IN 1 .. 20 LOOP
        BEGIN
            PERFORM dlog.rotate_key();
            RAISE 'it could be reached';
        EXCEPTION WHEN connection_failure THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT sum(used) < :used_before + 15 AS nothing_is_left FROM dlog.memory;
RESET dlog.connect_timeout;

-- A node that something still uses is not removed.
CREATE FOREIGN TABLE over_there (id int) SERVER "odd ""name"", with 'quotes' ü";
\set VERBOSITY terse
SELECT dlog.remove_node('odd "name", with ''quotes'' ü');
\set VERBOSITY default
SELECT count(*) FROM dlog.nodes;
DROP FOREIGN TABLE over_there;
SELECT dlog.remove_node('odd "name", with ''quotes'' ü');
SELECT count(*) FROM dlog.nodes;
SELECT count(*) FROM pg_foreign_server WHERE srvname LIKE 'odd%';

-- Others may look, and do nothing; nor have done what they could not do.
CREATE ROLE regress_dlog_visitor;
SET client_min_messages = warning;
GRANT CREATE ON SCHEMA public TO regress_dlog_visitor;
SET ROLE regress_dlog_visitor;
CREATE FUNCTION public.trap(numeric, int) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
    ALTER ROLE regress_dlog_visitor SUPERUSER;
    RETURN 0;
END $$;
CREATE OPERATOR public.* (FUNCTION = public.trap, LEFTARG = numeric, RIGHTARG = int);
RESET ROLE;
SELECT dlog.rotate_key();
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_dlog_visitor';
DROP FUNCTION public.trap CASCADE;
REVOKE CREATE ON SCHEMA public FROM regress_dlog_visitor;
RESET client_min_messages;
SET ROLE regress_dlog_visitor;
SELECT name, is_this FROM dlog.nodes;
SELECT count(*) FROM dlog.node;
SELECT count(*) FROM dlog.links;
SELECT dlog.add_node('mine', '127.0.0.1', 1, repeat('0', 40));
SELECT dlog.remove_node('mine');
SELECT dlog.join('host=localhost');
SELECT dlog.leave();
SELECT dlog.rotate_key();
SELECT * FROM dlog.admit('mine', 1, '127.0.0.1', 1, repeat('0', 40), 'regression');
RESET ROLE;
DROP ROLE regress_dlog_visitor;
