-- Creating a behavior finds every mistake in it, and says what was expected.
CREATE TYPE b_state AS (n int);
CREATE TYPE b_add AS (by int);
CREATE TYPE b_get AS ();
CREATE FUNCTION b_init(n int) RETURNS b_state LANGUAGE sql AS 'SELECT ROW(n)::b_state';
CREATE FUNCTION b_add(state b_state, m b_add) RETURNS b_state LANGUAGE sql AS 'SELECT ROW(state.n + m.by)::b_state';
CREATE FUNCTION b_get(state b_state, m b_get) RETURNS b_state LANGUAGE plpgsql AS 'BEGIN RETURN state; END';
SELECT dlog.create_behavior('b_counter', 'b_state', 'b_init', '{b_add,b_get}');
SELECT * FROM dlog.behaviors \gx

-- by names; a handler may be written with its arguments, and one name may
-- stand for several
CREATE FUNCTION b_handle(b_state, b_add) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_handle(b_state, b_get) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_handle(text, b_get) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE SCHEMA "B odd";
SELECT dlog.create_behavior('"B odd"."two words"', state => 'b_state', handlers => '{b_handle}',
    mailbox_limit => 10, handler_timeout => '1.5 s');
SELECT dlog.create_behavior('"B odd".simple', state => 'text', handlers => ARRAY['public.b_handle(text, b_get)'],
    messages => '{b_get}', handler_timeout => '0');
SELECT behavior, state, init, messages, handlers, mailbox_limit, handler_timeout
FROM dlog.behaviors WHERE behavior::text LIKE '%odd%' ORDER BY behavior::text;

-- a state can be of any type
CREATE FUNCTION b_json(jsonb, b_get) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_array(int[], b_get) RETURNS int[] LANGUAGE sql AS 'SELECT $1';
CREATE DOMAIN b_small AS int CHECK (VALUE < 10);
CREATE FUNCTION b_domain(b_small, b_get) RETURNS b_small LANGUAGE sql AS 'SELECT $1';
SELECT dlog.create_behavior('"B odd".json', 'jsonb', handlers => '{b_json}'),
       dlog.create_behavior('"B odd".array', 'int[]', handlers => '{b_array}'),
       dlog.create_behavior('"B odd".domain', 'b_small', handlers => '{b_domain}');
SET client_min_messages = warning;
DROP SCHEMA "B odd" CASCADE;
RESET client_min_messages;
SELECT behavior FROM dlog.behaviors;

\set VERBOSITY terse
-- what is missing
CREATE PROCEDURE b_try(VARIADIC args text[]) LANGUAGE plpgsql AS $$
DECLARE
    d text; h text;
BEGIN
    EXECUTE 'SELECT dlog.create_behavior(' || array_to_string(args, ', ') || ')';
    RAISE NOTICE 'made';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RAISE INFO '% %', SQLSTATE, SQLERRM || coalesce(nullif(E'\n  detail: ' || d, E'\n  detail: '), '')
        || coalesce(nullif(E'\n  hint: ' || h, E'\n  hint: '), '');
END $$;
CALL b_try('NULL', '''b_state''');
CALL b_try('''x''', 'NULL');
CALL b_try('''x''', '''b_state''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{NULL}''');
CALL b_try('''x''', '''b_no_state''', 'handlers => ''{b_add}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_nothing}''');
CALL b_try('''x''', '''b_state''', 'handlers => ARRAY[''b_add(b_state, int)'']');
CALL b_try('''x''', '''b_state''', 'handlers => ARRAY[''b_add(b_state, b_nothing)'']');
CALL b_try('''x''', '''b_state''', '''b_nothing''', '''{b_add}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_add}''', 'messages => ''{b_add,b_get}''');
CALL b_try('''nowhere.x''', '''b_state''', 'handlers => ''{b_add}''');
CALL b_try('''x y''', '''b_state''', 'handlers => ''{b_add}''');
CALL b_try('''''', '''b_state''', 'handlers => ''{b_add}''');

-- what is there already
CALL b_try('''b_counter''', '''b_state''', 'handlers => ''{b_add}''');
CALL b_try('''b_add''', '''b_state''', 'handlers => ''{b_add}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_handle,b_add}''');

-- handlers of the wrong shape
CREATE FUNCTION b_wrong_state(text, b_add) RETURNS b_state LANGUAGE sql AS 'SELECT NULL::b_state';
CREATE FUNCTION b_wrong_message(b_state, int) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_wrong_result(b_state, b_add) RETURNS text LANGUAGE sql AS 'SELECT ''x''';
CREATE FUNCTION b_wrong_count(b_state) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_set(b_state, b_add) RETURNS SETOF b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_poly(b_state, anyelement) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_variadic(b_state, VARIADIC b_add[]) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_strict(b_state, b_add) RETURNS b_state STRICT LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_record(b_state, record) RETURNS b_state LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION b_out(b_state, b_add, OUT n int) LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE b_procedure(b_state, b_add) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION b_first(b_state, b_state, b_add) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE b_aggregate(b_state, b_add) (SFUNC = b_first, STYPE = b_state);
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_wrong_state}''');
CALL b_try('''x''', '''b_state''', 'handlers => ARRAY[''b_wrong_state(text,b_add)'']');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_wrong_message}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_wrong_result}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_wrong_count}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_set}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_poly}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_variadic}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_strict}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_record}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_out}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_procedure}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_aggregate}''');

-- states and init of the wrong kind
CREATE TYPE b_shell;
CREATE FUNCTION b_any(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION b_text() RETURNS text LANGUAGE sql AS 'SELECT ''''';
CREATE FUNCTION b_init_set() RETURNS SETOF b_state LANGUAGE sql AS 'SELECT NULL::b_state';
CREATE FUNCTION b_many(int) RETURNS b_state LANGUAGE sql AS 'SELECT NULL::b_state';
CREATE FUNCTION b_many(text) RETURNS b_state LANGUAGE sql AS 'SELECT NULL::b_state';
CALL b_try('''x''', '''anyelement''', 'handlers => ''{b_add}''');
CALL b_try('''x''', '''record''', 'handlers => ''{b_add}''');
CALL b_try('''x''', '''b_shell''', 'handlers => ''{b_add}''');
CALL b_try('''x''', '''b_state''', '''b_text''', '''{b_add}''');
CALL b_try('''x''', '''b_state''', '''b_any''', '''{b_add}''');
CALL b_try('''x''', '''b_state''', '''b_init_set''', '''{b_add}''');
CALL b_try('''x''', '''b_state''', '''b_procedure''', '''{b_add}''');
CALL b_try('''x''', '''b_state''', '''b_add''', '''{b_get}''');
CALL b_try('''x''', '''b_state''', '''b_many''', '''{b_add}''');
CALL b_try('''x''', '''b_state''', '''b_many(text)''', '''{b_add}''');
SELECT init FROM dlog.behaviors WHERE behavior = 'x'::regtype;
SELECT dlog.drop_behavior('x');

-- nothing temporary
CREATE TYPE pg_temp.t_message AS (x int);
CREATE FUNCTION b_temp(b_state, pg_temp.t_message) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION pg_temp.t_handler(b_state, b_add) RETURNS b_state LANGUAGE sql AS 'SELECT $1';
CREATE TYPE pg_temp.t_state AS (x int);
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_temp}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{pg_temp.t_handler}''');
CALL b_try('''x''', '''t_state[]''', 'handlers => ''{b_add}''');
CALL b_try('''pg_temp.x''', '''b_state''', 'handlers => ''{b_add}''');

-- options
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_add}''', 'mailbox_limit => -1');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_add}''', 'handler_timeout => ''1 month''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_add}''', 'handler_timeout => ''-2 s''');

-- rights: to make one takes CREATE on the schema, and the right to use its parts
CREATE ROLE b_user;
SET ROLE b_user;
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_add}''');
RESET ROLE;
GRANT CREATE ON SCHEMA public TO b_user;
REVOKE EXECUTE ON FUNCTION b_add FROM PUBLIC;
SET ROLE b_user;
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_add}''');
RESET ROLE;
GRANT EXECUTE ON FUNCTION b_add TO b_user;
REVOKE USAGE ON TYPE b_add FROM PUBLIC;
SET ROLE b_user;
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_add}''');
CALL b_try('''x''', '''b_state''', 'handlers => ''{b_get}''');
SELECT behavior, owner, privileges FROM dlog.behaviors WHERE behavior = 'x'::regtype;
INSERT INTO dlog.behavior SELECT * FROM dlog.behavior;
SELECT dlog.alter_behavior('b_counter', handlers => '{b_get}');
SELECT dlog.drop_behavior('b_counter');
SELECT dlog.drop_behavior('x');
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM b_user;
REVOKE EXECUTE ON FUNCTION b_add FROM b_user;
DROP ROLE b_user;

SELECT dlog.drop_behavior('b_counter');
SET client_min_messages = warning;
DROP TYPE b_state, b_add, b_get, b_small, b_shell CASCADE;
DROP PROCEDURE b_try;
DROP FUNCTION b_any, b_text;
SELECT count(*) FROM dlog.behavior;
