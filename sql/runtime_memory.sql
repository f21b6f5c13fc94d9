-- The shared memory serves blocks of all sizes, gives all of it back, moves
-- it between sizes when it is full, and outlives a process killed in the
-- middle of using it.
SELECT sum(used) AS used_before FROM dlog.memory \gset
SELECT test.arena_churn(200000, 1) AS damaged;
SELECT sum(used) = :used_before AS all_given_back FROM dlog.memory;

-- a child that is killed at any instruction, a hundred times
SELECT test.arena_crash(100) AS damaged;
SELECT test.arena_lost() AS lost;

-- all of it as the largest blocks, then as small ones, then as large ones
SELECT test.arena_fill(65000) * 64 / 1024 > 100 AS filled_with_large;
SELECT test.arena_fill(50) * 64 / 1024 / 1024 > 80 AS filled_with_small;
SELECT test.arena_fill(65000) * 64 / 1024 > 80 AS filled_with_large_again;
SELECT test.arena_lost() AS lost;
SELECT class, block_size > 0 AS has_size, count(*) FROM dlog.memory GROUP BY 1, 2 ORDER BY 1;
