-- dlog.bench(): started by bench/actors/run, or by psql -f where dlog_bench is preloaded beside dlog.

CREATE FUNCTION dlog.bench(
    INOUT workload text, INOUT actors bigint DEFAULT NULL, in_flight bigint DEFAULT NULL, rounds bigint DEFAULT NULL,
    OUT operations bigint, OUT seconds double precision, OUT million_per_second double precision,
    OUT p50_us double precision, OUT p99_us double precision, OUT memory_mb double precision,
    OUT cpu_seconds double precision, OUT two_wakeups_us double precision)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'dlog_bench', 'dlog_bench';
COMMENT ON FUNCTION dlog.bench(text, bigint, bigint, bigint) IS
'runs a workload of bench/actors on native actors, checks what it has done, and says how long it took; what is NULL has the workload''s default';
REVOKE ALL ON FUNCTION dlog.bench(text, bigint, bigint, bigint) FROM PUBLIC;
