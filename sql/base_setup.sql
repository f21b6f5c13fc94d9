-- The extension is created whole and can be dropped and created again.
SELECT extname, extversion FROM pg_extension WHERE extname = 'dlog';
CREATE DATABASE other;
\c other
CREATE EXTENSION dlog;
SELECT nspname FROM pg_namespace WHERE nspname = 'dlog';
DROP EXTENSION dlog;
CREATE EXTENSION dlog;
-- nothing of the extension is without a word of explanation
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'dlog'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
\c regression
DROP DATABASE other WITH (FORCE);
