%% erlang_actors.erl CASE MILLISECONDS [ACTORS]
%%	The cases on Erlang/OTP.  Run with erl +S SCHEDULERS.
%%
%% Sizes, and what a run is, are those of measure.h.  What all processes need
%% to know, such as their addresses, is a persistent term, which is not copied.
-module(erlang_actors).
-export([main/1]).

-define(SAMPLE_EVERY, 64).
-define(LATENCY_SAMPLE_EVERY, 16).
-define(PAIRS, 1000).
-define(CHUNK, 1000).
-define(CHUNKS_IN_FLIGHT, 4).
-define(WORKERS, 60).
-define(MESSAGES_PER_WORKER, 100).
-define(ROUNDS_IN_FLIGHT, 2).
-define(RING, 100).
-define(BIG, 120).
-define(CREATURES, 100).
-define(PRODUCERS, 1000).
-define(PRODUCER_CHUNK, 100).
-define(PRODUCER_CHUNKS_IN_FLIGHT, 2).
-define(LATENCY_IN_FLIGHT, 5000).
-define(BUCKETS, 488).

main([Case, Ms | Rest]) ->
	Actors = case Rest of [] -> 1000; [Text] -> list_to_integer(Text) end,
	measure(list_to_atom(Case), list_to_integer(Ms) / 1000, Actors, 10000),
	halt(0).

%% Run a case, longer each time, until it takes about so long; print the last.
measure(Case, Seconds, Actors, Operations) ->
	persistent_term:put(histogram, atomics:new(?BUCKETS, [])),
	{Done, Took, Cpu, Memory} = run(Case, Operations, Actors),
	case Took >= Seconds / 2 of
		false ->
			More = min(30.0, max(2.0, Seconds / max(Took, 1.0e-6))),
			measure(Case, Seconds, Actors, round(Done * More));
		true ->
			io:format("million_per_second=~.4f p50_us=~.1f p99_us=~.1f memory_mb=~.1f cpu_ns_per_op=~.1f~n",
					  [Done / Took / 1.0e6, percentile(0.5), percentile(0.99), Memory, Cpu * 1.0e6 / Done])
	end.

%% ---------------------------------------------------------------- the clock

now_ns() -> erlang:monotonic_time(nanosecond).

%% When a message was sent that is the nth, if it is one to be timed, or 0.
time_of_nth(N, Every) when N rem Every =:= 0 -> now_ns();
time_of_nth(_, _) -> 0.

time_of_nth(N) -> time_of_nth(N, ?SAMPLE_EVERY).

%% A message that was sent then has arrived.
add(0) -> ok;
add(SentAt) ->
	Ns = (now_ns() - SentAt) bor 8,
	Power = power(Ns, 3),
	atomics:add(persistent_term:get(histogram), (Power - 3) * 8 + (Ns bsr (Power - 3)) band 7 + 1, 1).

power(Ns, Power) when Ns bsr (Power + 1) > 0 -> power(Ns, Power + 1);
power(_, Power) -> Power.

percentile(Part) ->
	Histogram = persistent_term:get(histogram),
	Counts = [atomics:get(Histogram, I) || I <- lists:seq(1, ?BUCKETS)],
	percentile(Counts, 0, 0, lists:sum(Counts) * Part).

percentile(_, _, _, Limit) when Limit == 0 -> -1.0;
percentile([Count | _], I, Below, Limit) when Below + Count >= Limit ->
	((8 + I rem 8) bsl (I div 8)) / 1000;
percentile([Count | Rest], I, Below, Limit) ->
	percentile(Rest, I + 1, Below + Count, Limit).

memory_mb() ->
	{ok, Text} = file:read_file("/proc/self/smaps_rollup"),
	{match, [Kb]} = re:run(Text, "\nPss: +([0-9]+)", [{capture, all_but_first, list}]),
	list_to_integer(Kb) / 1024.

%% ------------------------------------------------------------------- a run

%% Starts so many processes, which Main(Number) is the life of, and tells the
%% first messages; waits until so many have said what they received.
run_actors(N, ToDo, Operations, Main, Start) ->
	Starter = self(),
	Pids = list_to_tuple([spawn_on(Number, fun() -> receive started -> Main(Starter, Number) end end)
						  || Number <- lists:seq(0, N - 1)]),
	persistent_term:put(actors, Pids),
	[Pid ! started || Pid <- tuple_to_list(Pids)],
	{CpuBefore, _} = statistics(runtime),
	Begun = now_ns(),
	Start(),
	Received = collect(ToDo, 0),
	Took = (now_ns() - Begun) / 1.0e9,
	{CpuAfter, _} = statistics(runtime),
	Memory = memory_mb(),
	[exit(Pid, kill) || Pid <- tuple_to_list(Pids)],
	Received =:= Operations orelse fail("messages", Operations, Received),
	{Operations, Took, CpuAfter - CpuBefore, Memory}.

%% The two of a pair shall be on different schedulers, if they were told so.
spawn_on(Number, Main) ->
	case persistent_term:get(across, false) of
		true -> spawn_opt(Main, [{scheduler, 1 + Number rem erlang:system_info(schedulers)}]);
		false -> spawn(Main)
	end.

collect(0, Received) -> Received;
collect(ToDo, Received) -> receive {done, More} -> collect(ToDo - 1, Received + More) end.

fail(What, Expected, Found) ->
	io:format(standard_error, "~s: ~b were expected, there are ~b~n", [What, Expected, Found]),
	halt(1).

actor(Number) -> element(Number + 1, persistent_term:get(actors)).

done(Starter, Received) ->
	Starter ! {done, Received},
	receive forever -> ok end.

%% One of N, but not this one; and the next state.
random_other(State, N, Me) ->
	A = State bxor ((State bsl 13) band 16#ffffffff),
	B = A bxor (A bsr 17),
	Next = B bxor ((B bsl 5) band 16#ffffffff),
	Other = (Next * (N - 1)) bsr 32,
	{if Other < Me -> Other; true -> Other + 1 end, Next}.

%% -------------------------------------------------------------------- cases

run(pair, Operations, _) -> run_pairs(1, Operations);
run(pair_across, Operations, _) ->
	persistent_term:put(across, true),
	run_pairs(1, Operations);
run(ping_pong, Operations, _) -> run_pairs(?PAIRS, Operations);
run(counting, Operations, _) -> run_producers(1, ?CHUNK, ?CHUNKS_IN_FLIGHT, Operations);
run(fan_in, Operations, _) -> run_producers(?PRODUCERS, ?PRODUCER_CHUNK, ?PRODUCER_CHUNKS_IN_FLIGHT, Operations);
run(fork_join, Operations, _) ->
	Rounds = Operations div (?WORKERS * ?MESSAGES_PER_WORKER) + 1,
	Main = fun(Starter, 0) -> fork(Starter, Rounds, 0, Rounds * ?WORKERS, 0);
			  (Starter, _) -> work(Starter, actor(0), 0, Rounds * ?MESSAGES_PER_WORKER) end,
	run_actors(1 + ?WORKERS, 1 + ?WORKERS, Rounds * ?WORKERS * (?MESSAGES_PER_WORKER + 1), Main,
			   fun() -> [actor(0) ! go || _ <- lists:seq(1, ?ROUNDS_IN_FLIGHT)] end);
run(ring, Operations, _) ->
	Hops = Operations + ?RING,
	run_actors(?RING, ?RING, Hops,
			   fun(Starter, Me) -> pass_on(Starter, actor((Me + 1) rem ?RING), 0) end,
			   fun() -> actor(0) ! {ball, Hops - 1, 0} end);
run(big, Operations, _) -> run_askers(?BIG, ?BIG, Operations);
run(million, Operations, N) -> run_askers(N, N, Operations);
run(latency, Operations, N) -> run_askers(N, min(N, ?LATENCY_IN_FLIGHT), Operations);
run(chameneos, Operations, _) ->
	Meetings = Operations div 4 + 1,
	Main = fun(Starter, 0) -> keep_mall(Starter, Meetings, none, 0);
			  (_, Me) -> receive go -> ok end, visit(actor(0), Me rem 3, 0) end,
	run_actors(1 + ?CREATURES, 1, 4 * Meetings, Main,
			   fun() -> [actor(I) ! go || I <- lists:seq(1, ?CREATURES)] end);
run(session_ask, Operations, _) ->
	Questions = Operations div 2 + 1,
	persistent_term:put(across, true),
	Main = fun(Starter, 0) -> receive go -> ok end, question(Starter, actor(1), Questions, Questions);
			  (_, _) -> answer() end,
	run_actors(2, 1, 2 * Questions, Main, fun() -> actor(0) ! go end).

run_pairs(Pairs, Operations) ->
	RoundTrips = Operations div Pairs div 2 + 1,
	Main = fun(Starter, Me) when Me rem 2 =:= 0 ->
				   receive go -> ok end,
				   serve(Starter, actor(Me + 1), Me, RoundTrips, RoundTrips);
			  (_, Me) -> return(actor(Me - 1))
		   end,
	run_actors(2 * Pairs, Pairs, 2 * RoundTrips * Pairs, Main,
			   fun() -> [actor(2 * I) ! go || I <- lists:seq(0, Pairs - 1)] end).

serve(Starter, _, _, 0, RoundTrips) -> done(Starter, 2 * RoundTrips);
serve(Starter, Partner, Me, Left, RoundTrips) ->
	Partner ! {ball, Left, time_of_nth(Left + Me)},
	receive {ball, Left, SentAt} -> add(SentAt) end,
	serve(Starter, Partner, Me, Left - 1, RoundTrips).

return(Partner) ->
	receive {ball, _, _} = Ball -> Partner ! Ball end,
	return(Partner).

%% Counting and fan_in: producers, from 1 on, send chunks to process 0, which
%% acknowledges each.
run_producers(Producers, Chunk, InFlight, Operations) ->
	Chunks = Operations div Producers div Chunk + 1,
	Main = fun(Starter, 0) -> count(Starter, 0, 0, Producers * Chunks * Chunk, Chunk);
			  (Starter, _) -> produce(Starter, actor(0), Chunk, Chunks, 0, Chunks) end,
	run_actors(1 + Producers, 1 + Producers, Producers * Chunks * (Chunk + 1), Main,
			   fun() -> [actor(I) ! go || _ <- lists:seq(1, InFlight), I <- lists:seq(1, Producers)] end).

count(Starter, Sum, Received, Received, Chunk) ->
	Sum =:= Received * (Chunk + 1) div 2 orelse fail("their sum", Received * (Chunk + 1) div 2, Sum),
	done(Starter, Received);
count(Starter, Sum, Received, Expected, Chunk) ->
	receive
		{data, Number, SentAt} ->
			add(SentAt),
			count(Starter, Sum + Number, Received + 1, Expected, Chunk);
		{last, Number, SentAt, From} ->
			add(SentAt),
			From ! ack,
			count(Starter, Sum + Number, Received + 1, Expected, Chunk)
	end.

produce(Starter, _, _, _, Acknowledged, Acknowledged) -> done(Starter, Acknowledged);
produce(Starter, Counter, Chunk, Left, Acknowledged, Chunks) ->
	receive
		go -> Now = Acknowledged;
		ack -> Now = Acknowledged + 1
	end,
	case Left of
		0 -> produce(Starter, Counter, Chunk, 0, Now, Chunks);
		_ ->
			send_chunk(Counter, 1, Chunk, Left),
			produce(Starter, Counter, Chunk, Left - 1, Now, Chunks)
	end.

send_chunk(Counter, Chunk, Chunk, Left) ->
	Counter ! {last, Chunk, time_of_nth(Chunk + Left), self()};
send_chunk(Counter, I, Chunk, Left) ->
	Counter ! {data, I, time_of_nth(I + Left)},
	send_chunk(Counter, I + 1, Chunk, Left).

%% The first forks a round to the workers, and joins their acknowledgements.
fork(Starter, _, Acknowledged, Acknowledged, _) -> done(Starter, Acknowledged);
fork(Starter, Left, Acknowledged, Expected, Sent) ->
	receive
		go -> Now = Acknowledged, Forks = Left > 0;
		ack -> Now = Acknowledged + 1, Forks = Left > 0 andalso Now rem ?WORKERS =:= 0
	end,
	case Forks of
		true -> fork(Starter, Left - 1, Now, Expected, send_round(1, 1, Sent));
		false -> fork(Starter, Left, Now, Expected, Sent)
	end.

send_round(?MESSAGES_PER_WORKER, Worker, Sent) when Worker =< ?WORKERS ->
	actor(Worker) ! {last, time_of_nth(Sent)},
	send_round(?MESSAGES_PER_WORKER, Worker + 1, Sent + 1);
send_round(I, Worker, Sent) when Worker =< ?WORKERS ->
	actor(Worker) ! {data, I, time_of_nth(Sent)},
	send_round(I, Worker + 1, Sent + 1);
send_round(?MESSAGES_PER_WORKER, _, Sent) -> Sent;
send_round(I, _, Sent) -> send_round(I + 1, 1, Sent).

work(Starter, _, Received, Received) -> done(Starter, Received);
work(Starter, Driver, Received, Expected) ->
	receive
		{data, _, SentAt} -> add(SentAt);
		{last, SentAt} -> add(SentAt), Driver ! ack
	end,
	work(Starter, Driver, Received + 1, Expected).

pass_on(Starter, Next, Received) ->
	receive {ball, Left, SentAt} -> add(SentAt) end,
	Left =:= 0 orelse (Next ! {ball, Left - 1, time_of_nth(Left)}),
	case Left < ?RING of
		true -> done(Starter, Received + 1); % the last round ends at each of them
		false -> pass_on(Starter, Next, Received + 1)
	end.

%% Big, million, latency: a process pings a random one, awaits its pong, and
%% so on, and answers pings meanwhile.
run_askers(N, Askers, Operations) ->
	RoundTrips = Operations div Askers div 2 + 1,
	Every = case Askers < N of true -> ?LATENCY_SAMPLE_EVERY; false -> ?SAMPLE_EVERY end,
	Main = fun(Starter, Me) -> ask_or_answer(Starter, Me, N, Every, RoundTrips, RoundTrips, Me * 2654435761 band 16#ffffffff + 1) end,
	run_actors(N, Askers, 2 * RoundTrips * Askers, Main,
			   fun() -> [actor(I * N div Askers) ! go || I <- lists:seq(0, Askers - 1)] end).

ask_or_answer(Starter, Me, N, Every, Left, RoundTrips, Random) ->
	receive
		{ping, From, SentAt} ->
			From ! {pong, SentAt},
			ask_or_answer(Starter, Me, N, Every, Left, RoundTrips, Random);
		{pong, SentAt} ->
			add(SentAt),
			ask(Starter, Me, N, Every, Left, RoundTrips, Random);
		go ->
			ask(Starter, Me, N, Every, Left, RoundTrips, Random)
	end.

ask(Starter, Me, N, Every, 0, RoundTrips, Random) ->
	Starter ! {done, 2 * RoundTrips},
	ask_or_answer(Starter, Me, N, Every, 0, RoundTrips, Random);
ask(Starter, Me, N, Every, Left, RoundTrips, Random) ->
	{Other, Next} = random_other(Random, N, Me),
	actor(Other) ! {ping, self(), time_of_nth(Left + (Me bsr 3), Every)},
	ask_or_answer(Starter, Me, N, Every, Left - 1, RoundTrips, Next).

%% The mall makes creatures meet in pairs: it tells the first of the second,
%% and the first that its color; both come again.  Half of the messages of a
%% meeting are between the creatures.
keep_mall(Starter, 0, none, Received) -> done(Starter, 2 * Received);
keep_mall(Starter, Left, none, Received) ->
	receive {meet, First, _, SentAt} -> add(SentAt) end,
	keep_mall(Starter, Left, First, Received + 1);
keep_mall(Starter, Left, First, Received) ->
	receive {meet, Second, Color, SentAt} -> add(SentAt) end,
	First ! {meet, Second, Color, time_of_nth(Left)},
	keep_mall(Starter, Left - 1, none, Received + 1).

visit(Mall, Color, Sent) ->
	Mall ! {meet, self(), Color, time_of_nth(Sent)},
	receive
		{meet, Other, OtherColor, SentAt} ->
			add(SentAt),
			New = if Color =:= OtherColor -> Color; true -> 3 - Color - OtherColor end,
			Other ! {change, New},
			visit(Mall, New, Sent + 1);
		{change, New} ->
			visit(Mall, New, Sent + 1)
	end.

%% As gen_server:call does it: with a reference.
question(Starter, _, 0, Questions) -> done(Starter, 2 * Questions);
question(Starter, Actor, Left, Questions) ->
	SentAt = now_ns(),
	Alias = monitor(process, Actor, [{alias, reply_demonitor}]),
	Actor ! {ask, Alias},
	receive {answer, Alias} -> add(SentAt) end,
	question(Starter, Actor, Left - 1, Questions).

answer() ->
	receive {ask, Alias} -> Alias ! {answer, Alias} end,
	answer().
