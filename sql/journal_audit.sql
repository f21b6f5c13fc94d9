-- A journal shows what was changed in it, and is kept for as long as it shall be.
CREATE SCHEMA journal_audit;
SET search_path = journal_audit;
SET client_min_messages = warning;
CREATE TYPE note AS (n int);
CREATE FUNCTION note(state int, m note) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(m.n);
    RETURN coalesce(state, 0) + m.n;
END $$;
CREATE FUNCTION entries(name text) RETURNS text LANGUAGE sql
RETURN (SELECT string_agg(j.seq || ' ' || j.payload, ', ' ORDER BY j.seq) FROM dlog.journal j WHERE j.name = $1);
-- The only partition of a journal.
CREATE FUNCTION partition_of(journal regclass) RETURNS regclass LANGUAGE sql
RETURN (SELECT min(inhrelid::regclass::text)::regclass FROM pg_inherits WHERE inhparent = journal);

-- Tampering, as a superuser who has switched off the triggers.
SELECT dlog.create_behavior('audited', 'int', handlers => '{note}', durable => true, audit => true, snapshot_every => 4);
SELECT dlog.spawn('audited', name => 'a') AS a \gset
SELECT (dlog.verify_journal(:'a')).entries;
SELECT count(dlog.ask(:'a', ROW(i)::note)) FROM generate_series(1, 6) i;
SELECT entries, first_seq, last_seq, is_intact, problem FROM dlog.verify_journal(:'a');
SELECT h.seq, h.hash = (dlog.verify_journal(:'a')).head AS same_head
FROM dlog.journal_head h WHERE dlog.durable_ref(h.actor) = :'a';
SELECT partition_of('dlog.journal_audited') AS p \gset
-- nobody changes it by the way, be it a superuser, and as a replica
SET session_replication_role = replica;
\set VERBOSITY terse
UPDATE :p SET seq = 7;
DELETE FROM :p;
TRUNCATE :p;
TRUNCATE dlog.journal_audited;
\set VERBOSITY default
RESET session_replication_role;
ALTER TABLE :p DISABLE TRIGGER ALL;
CREATE TABLE before_that AS SELECT * FROM :p;
CREATE PROCEDURE restore(p regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DELETE FROM %s', p);
    EXECUTE format('INSERT INTO %s SELECT * FROM before_that', p);
END $$;
UPDATE :p SET payload = (SELECT payload FROM before_that WHERE seq = 5) WHERE seq = 2;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
UPDATE :p SET role = 'somebody' WHERE seq = 3;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
UPDATE :p SET at = at + interval '1 us' WHERE seq = 6;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
DELETE FROM :p WHERE seq = 3;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
DELETE FROM :p WHERE seq = 1;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
UPDATE :p SET seq = 9 - seq WHERE seq IN (4, 5);
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
INSERT INTO :p SELECT behavior, actor, 7, at, sent_at, sender, role, payload, becomes, hash FROM before_that WHERE seq = 6;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
DELETE FROM :p WHERE seq = 6;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
CALL restore(:'p');
UPDATE dlog.journal_head SET seq = 5 WHERE dlog.durable_ref(actor) = :'a';
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
UPDATE dlog.journal_head SET seq = 6 WHERE dlog.durable_ref(actor) = :'a';
UPDATE dlog.journal_snapshot SET hash = '\x00' WHERE dlog.durable_ref(actor) = :'a' AND seq = 4;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
UPDATE dlog.journal_snapshot SET hash = (SELECT b.hash FROM before_that b WHERE b.seq = 4)
WHERE dlog.durable_ref(actor) = :'a' AND seq = 4;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');
-- A type that gets an attribute changes nothing.
ALTER TYPE note ADD ATTRIBUTE more text;
SELECT is_intact, problem FROM dlog.verify_journal(:'a');

-- Nobody else may look.
CREATE ROLE journal_audit_other;
GRANT USAGE ON SCHEMA journal_audit TO journal_audit_other;
SET ROLE journal_audit_other;
\set VERBOSITY sqlstate
SELECT dlog.verify_journal(:'a');
SELECT dlog.state_at(:'a', 1);
SELECT count(*) FROM dlog.journal;
SELECT dlog.send(:'a', ROW(1, NULL)::note);
RESET ROLE;
GRANT SELECT ON dlog.journal_audited TO journal_audit_other;
GRANT USAGE ON TYPE audited TO journal_audit_other;
SET ROLE journal_audit_other;
SELECT is_intact FROM dlog.verify_journal(:'a');
SELECT dlog.state_at(:'a', 1);
SELECT count(*) FROM dlog.journal;
SELECT dlog.ask(:'a', ROW(1, NULL)::note);
SELECT dlog.snapshot(:'a');
SELECT dlog.stop(:'a');
RESET ROLE;
\set VERBOSITY default

-- Retention: make the partition an old one.
CREATE PROCEDURE make_old(journal regclass) LANGUAGE plpgsql AS $$
DECLARE
    p regclass := journal_audit.partition_of(journal);
    day timestamptz := date_trunc('day', now(), 'UTC');
BEGIN
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', journal, p);
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER ALL', p);
    EXECUTE format('UPDATE %s SET at = at - interval ''10 days''', p);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', journal, p,
        day - interval '11 days', day - interval '8 days');
END $$;
SELECT dlog.create_behavior('kept', 'int', handlers => '{note}', durable => true, retention => '20 days');
SELECT dlog.spawn('kept', name => 'k') AS k \gset
SELECT count(dlog.ask(:'k', ROW(i, NULL)::note)) FROM generate_series(1, 3) i;
CALL make_old('dlog.journal_kept');
SELECT dlog.expire_journal();
SELECT dlog.alter_behavior('kept', retention => '5 days');
SELECT dlog.expire_journal();
SELECT entries('k');
SELECT seq, state FROM dlog.journal_snapshot WHERE dlog.durable_ref(actor) = :'k' ORDER BY seq;
SELECT dlog.ask(:'k', ROW(10, NULL)::note);
SELECT dlog.state(:'k'), dlog.state_at(:'k', 3), dlog.state_at(:'k', 2);

SELECT dlog.create_behavior('for_ever', 'int', handlers => '{note}', durable => true, retention => 'forever');
SELECT dlog.spawn('for_ever', name => 'f') AS f \gset
SELECT count(dlog.ask(:'f', ROW(i, NULL)::note)) FROM generate_series(1, 3) i;
CALL make_old('dlog.journal_for_ever');
SELECT dlog.snapshot(:'f'), dlog.expire_journal();
SELECT entries('f');

SELECT dlog.create_behavior('until_snapshot', 'int', handlers => '{note}', durable => true, retention => 'snapshot');
SELECT dlog.spawn('until_snapshot', name => 'u') AS u \gset
SELECT count(dlog.ask(:'u', ROW(i, NULL)::note)) FROM generate_series(1, 3) i;
CALL make_old('dlog.journal_until_snapshot');
SELECT dlog.expire_journal();
SELECT entries('u');
SELECT dlog.snapshot(:'u');
SELECT dlog.expire_journal();
SELECT entries('u'), dlog.state(:'u'), dlog.state_at(:'u', 3);

-- What retention cannot be.
SELECT dlog.alter_behavior('kept', retention => '-1 day');
SELECT dlog.alter_behavior('kept', retention => 'some time');

SELECT dlog.drop_behavior(name, cascade => true) FROM unnest('{audited,kept,for_ever,until_snapshot}'::text[]) name;
DROP OWNED BY journal_audit_other;
DROP ROLE journal_audit_other;
DROP SCHEMA journal_audit CASCADE;
