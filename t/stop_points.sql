-- The functions of src/base/stop_point.c, for tests of a build with
-- -DDLOG_STOP_POINTS.  Run in a database that has the extension.

CREATE FUNCTION dlog.stop_point_arm(name text, action text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS '$libdir/dlog', 'dlog_stop_point_arm';
COMMENT ON FUNCTION dlog.stop_point_arm(text, text) IS
'arms a stop point: processes that reach it wait, are held (and cannot be terminated there), fail (error) or crash';

-- returns how many were held
CREATE FUNCTION dlog.stop_point_release(name text) RETURNS integer
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS '$libdir/dlog', 'dlog_stop_point_release';
COMMENT ON FUNCTION dlog.stop_point_release(text) IS
'disarms a stop point and lets go of those that wait there';

CREATE FUNCTION dlog.stop_point_waiting(name text) RETURNS integer
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS '$libdir/dlog', 'dlog_stop_point_waiting';
COMMENT ON FUNCTION dlog.stop_point_waiting(text) IS
'how many processes wait at a stop point';

CREATE FUNCTION dlog.stop_point_pids(name text) RETURNS integer[]
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS '$libdir/dlog', 'dlog_stop_point_pids';
COMMENT ON FUNCTION dlog.stop_point_pids(text) IS
'the processes that have come to a stop point since it was armed';
