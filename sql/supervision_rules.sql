-- A supervisor follows Erlang/OTP's documented rules (stdlib, module supervisor), one by one, on a fake clock.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on

-- Children start from left to right, and stop in reversed start order.
SELECT test.supervisor($$
supervisor one_for_one
child a
child b
child c
begin
stop
$$);

-- It is started only when all its children are.
SELECT test.supervisor($$
supervisor one_for_one
slow b
child a
child b
child c
begin
up b
$$);

-- A start that fails half way: those already started are terminated, then it terminates itself.
SELECT test.supervisor($$
supervisor one_for_one
broken c
child a
child b
child c
child d
begin
$$);

-- A start function may return "ignore": the spec stays, with no child; a temporary one's does not.
SELECT test.supervisor($$
supervisor one_for_one
idle a
idle b
child a temporary
child b
child c
begin
show
normal b
restart_child b
$$);

-- one_for_one: only the child that terminated is affected.
SELECT test.supervisor($$
supervisor one_for_one
child a
child b
child c
begin
fail b
show
$$);

-- one_for_all: all others are terminated, then all are restarted.
SELECT test.supervisor($$
supervisor one_for_all
child a
child b
child c
begin
fail b
$$);

-- rest_for_one: those after it in start order are terminated, then it and they are restarted.
SELECT test.supervisor($$
supervisor rest_for_one
child a
child b
child c
child d
begin
fail b
fail d
fail a
$$);

-- permanent: always restarted.
SELECT test.supervisor($$
supervisor one_for_one
child a permanent
begin
finish a
leave a
fail a
die a
$$);

-- transient: restarted only when it terminates abnormally; the spec stays.
SELECT test.supervisor($$
supervisor one_for_one
child a transient
child b transient
begin
fail a
die a
finish a
leave b
show
restart_child a
$$);

-- temporary: never restarted, and its spec is gone with it.
SELECT test.supervisor($$
supervisor one_for_one
child a temporary
child b temporary
begin
fail a
finish b
show
restart_child a
delete_child a
$$);

-- ... even when a sibling's death causes it to be terminated.
SELECT test.supervisor($$
supervisor one_for_all
child a
child b temporary
child c
begin
fail c
show
$$);
SELECT test.supervisor($$
supervisor rest_for_one
child a
child b temporary
child c transient
begin
fail a
show
$$);

-- More than max_restarts within the time: it terminates all children and then itself, with "shutdown".
SELECT test.supervisor($$
supervisor one_for_one max_restarts=5 within=10000
child a
child b
begin
fail a
fail b
fail a
fail b
fail a
fail b
$$);

-- The window slides: the sixth after ten seconds is one of six within it only if the first is not older.
SELECT test.supervisor($$
supervisor one_for_one max_restarts=5 within=10000
child a
begin
fail a
after 2000
fail a
after 2000
fail a
after 2000
fail a
after 2000
fail a
after 2001
fail a
after 1999
fail a
$$);
SELECT test.supervisor($$
supervisor one_for_one max_restarts=1 within=10000
child a
begin
fail a
after 10000
fail a
$$);

-- max_restarts 0: the first failure is one too many.
SELECT test.supervisor($$
supervisor one_for_all max_restarts=0
child a
child b
begin
fail a
$$);

-- Only restarts count, not those who may go.
SELECT test.supervisor($$
supervisor one_for_one max_restarts=0
child a transient
child b temporary
begin
finish a
fail b
show
$$);

-- Restarting all of a group counts once.
SELECT test.supervisor($$
supervisor one_for_all max_restarts=1
child a
child b
child c
begin
fail a
fail c
$$);

-- A restart that does not start is tried, and counted, again.
SELECT test.supervisor($$
supervisor one_for_one max_restarts=3
child a
child b
begin
broken b
fail b
$$);
-- ... after what came before it has had its turn: here, the request that ends it.
SELECT test.supervisor($$
supervisor one_for_one
child a
child b
begin
slow b
fail b
stubborn a
terminate_child a
terminate_child b
fail b
leave a
show
$$);
-- ... in a group: those left of it run, the others wait until it starts.
SELECT test.supervisor($$
supervisor rest_for_one max_restarts=5
child a
child b
child c
begin
slow b
fail b
fail b
fail b
normal b
up b
show
$$);
SELECT test.supervisor($$
supervisor one_for_all max_restarts=2
child a
child b
begin
broken b
fail a
$$);

-- shutdown: after that time it is killed; brutal_kill: at once; infinity: never.
SELECT test.supervisor($$
supervisor one_for_one
stubborn a
stubborn b
stubborn c
child a infinity
child b brutal_kill
child c shutdown=2000
begin
stop
after 1999
after 1
after 1000000
leave a
$$);
-- ... the same when a sibling's death is why.
SELECT test.supervisor($$
supervisor one_for_all
child a
child b shutdown=1000
begin
stubborn b
fail a
after 1000
$$);
-- A child that exits in time is not killed.
SELECT test.supervisor($$
supervisor one_for_one
stubborn a
child a shutdown=1000
begin
terminate_child a
after 500
leave a
after 1000
restart_child a
after 1000
$$);

-- A child that exits otherwise than it was told to is reported.
SELECT test.supervisor($$
supervisor one_for_one
stubborn a
child a
begin
terminate_child a
fail a
$$);

-- start_child: to the right of all others; the errors already_started and already_present.
SELECT test.supervisor($$
supervisor one_for_one
child a
begin
start_child b
start_child b
terminate_child b
start_child b
show
stop
$$);
-- If it does not start, its spec is discarded.
SELECT test.supervisor($$
supervisor one_for_one
begin
broken a
start_child a
show
normal a
start_child a
$$);
-- One whose start returns "ignore" stays as a spec.
SELECT test.supervisor($$
supervisor one_for_one
begin
idle a
start_child a
start_child a
show
$$);

-- terminate_child: the spec stays, unless it is temporary; it is not restarted by itself.
SELECT test.supervisor($$
supervisor one_for_one
child a
child b temporary
child c transient
begin
terminate_child a
terminate_child b
terminate_child c
terminate_child a
terminate_child b
show
$$);
-- A terminated child comes back when its group is restarted.
SELECT test.supervisor($$
supervisor one_for_all
child a
child b
begin
terminate_child a
fail b
show
$$);

-- restart_child: not_found, running; delete_child: running, not_found.
SELECT test.supervisor($$
supervisor one_for_one
child a
begin
restart_child a
delete_child a
restart_child x
delete_child x
terminate_child x
terminate_child a
restart_child a
terminate_child a
delete_child a
show
$$);
-- restart_child that does not start: an error, and the spec stays.
SELECT test.supervisor($$
supervisor one_for_one
child a
begin
terminate_child a
broken a
restart_child a
show
$$);
-- restarting: for one that waits for its restart.
SELECT test.supervisor($$
supervisor one_for_one backoff=100
child a
begin
fail a
restart_child a
delete_child a
start_child a
show
terminate_child a
delete_child a
after 1000
$$);

-- While it starts or stops a child, all else waits its turn.
SELECT test.supervisor($$
supervisor one_for_one
stubborn a
child a
child b
begin
terminate_child a
fail b
start_child c
leave a
$$);
-- A sibling that dies meanwhile, before it is told to stop, is not told.
SELECT test.supervisor($$
supervisor one_for_all
stubborn c
child a
child b
child c
begin
fail a
fail b
leave c
$$);

-- significant: invalid where the supervisor never shuts itself down, and for permanent children.
SELECT test.supervisor($$
supervisor one_for_one
child a transient significant
supervisor one_for_one any_significant
child a permanent significant
child a transient significant
child b temporary significant
$$);
-- any_significant: the first that terminates; a transient one normally, a temporary one anyhow.
SELECT test.supervisor($$
supervisor one_for_one any_significant
child a transient significant
child b temporary
child c
begin
fail a
finish b
finish c
finish a
$$);
SELECT test.supervisor($$
supervisor one_for_one any_significant
child a temporary significant
child b
begin
fail a
$$);
-- all_significant: the last that is active.
SELECT test.supervisor($$
supervisor one_for_one all_significant
child a transient significant
child b temporary significant
child c
begin
finish a
fail b
$$);
-- One that terminate_child ends shuts nothing down.
SELECT test.supervisor($$
supervisor one_for_one any_significant
child a transient significant
begin
terminate_child a
show
$$);

-- simple_one_for_one: starts with no children; all are started by start_child.
SELECT test.supervisor($$
supervisor simple_one_for_one
begin
start_child a
start_child b
fail a
show
$$);
-- ... in which restart_child, delete_child, and terminate_child by spec make no sense.
SELECT test.supervisor($$
supervisor simple_one_for_one
begin
start_child a
restart_child a
delete_child a
terminate_child a
terminate_instance a
show
$$);
-- ... and which stops all at once, each in its time.
SELECT test.supervisor($$
supervisor simple_one_for_one
begin
stubborn b
start_child a
start_child b shutdown=1000
start_child c
start_child d brutal_kill
stop
after 1000
$$);
-- ... no child waits for another's start, or stop.
SELECT test.supervisor($$
supervisor simple_one_for_one
begin
slow a
start_child a
start_child b
fail b
stubborn b
terminate_instance b
start_child c
up a
leave b
$$);
-- ... a transient child that ends normally is gone; one that failed is not.
SELECT test.supervisor($$
supervisor simple_one_for_one max_restarts=2
begin
start_child a transient
start_child b transient
finish a
fail b
show
fail b
fail b
$$);
SELECT test.supervisor($$
supervisor simple_one_for_one all_significant
begin
start_child a temporary significant
start_child b temporary significant
finish a
finish b
$$);

-- A supervisor that gave up exits with "shutdown": its parent restarts a permanent one, not a transient one.
SELECT test.supervisor($$
supervisor one_for_one
child left supervisor permanent
child right supervisor transient
begin
leave left
leave right
show
$$);
-- A supervisor among the children is given all the time it needs.
SELECT test.supervisor($$
supervisor one_for_one
stubborn sub
child sub supervisor
begin
stop
after 1000000
leave sub
$$);

-- Told to stop, it does not wait for what is starting; who asked for something is told.
SELECT test.supervisor($$
supervisor one_for_one
slow b
child a
child b
child c
begin
stop
$$);
SELECT test.supervisor($$
supervisor one_for_one
stubborn b
child a
child b
child c
begin
terminate_child b
start_child d
stop
start_child e
leave b
$$);

-- Beyond OTP: a restart waits, twice as long each time, up to a maximum, and from the start again after a quiet time.
SELECT test.supervisor($$
supervisor one_for_one max_restarts=100 backoff=100 backoff_max=500
child a
child b
begin
fail a
after 99
after 1
fail a
after 200
fail a
after 400
fail a
fail b
after 500
after 10000
fail a
after 500
after 10001
fail a
$$);
-- A part of the delay is random.
SELECT test.supervisor($$
supervisor one_for_one max_restarts=100 backoff=1000 jitter=0.5
child a
child b
child c
begin
random 0
fail a
random 0.5
fail b
random 0.99
fail c
$$);
-- A group is stopped at once and started after the delay; what befalls it meanwhile is its own restart.
SELECT test.supervisor($$
supervisor rest_for_one backoff=100
child a
child b
child c
begin
fail b
after 50
fail a
after 50
after 50
show
$$);
-- The wait ends when the supervisor stops, or the child is terminated.
SELECT test.supervisor($$
supervisor one_for_all backoff=100
child a
child b
begin
fail a
stop
after 100
$$);
-- Delays do not soften the intensity: what counts is when a child failed.
SELECT test.supervisor($$
supervisor one_for_one max_restarts=1 within=1000 backoff=600
child a
child b
begin
fail a
fail b
$$);

-- Flags may change while it runs; restarts so far still count.
SELECT test.supervisor($$
supervisor one_for_one max_restarts=5
child a
begin
fail a
fail a
supervisor one_for_one max_restarts=2
fail a
$$);
SELECT test.supervisor($$
supervisor one_for_one max_restarts=1
child a
begin
fail a
supervisor one_for_one max_restarts=3
fail a
fail a
fail a
$$);
SELECT test.supervisor($$
supervisor one_for_one max_restarts=-1
supervisor one_for_one max_restarts=8001
supervisor one_for_one within=0
supervisor one_for_one backoff=100 backoff_max=50
supervisor one_for_one jitter=2
child a shutdown=-5
$$);
