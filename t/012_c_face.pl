
# dlog/actor.h: what is wrong does not compile, and says why; what is typed
# compiles to what is not; libraries are loaded in any order, and refused when
# they do not fit; actors in C do what the header says.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;
use File::Temp;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
my $private = "$ENV{SERVER_BIN}/pg_config";
chomp(my $server_headers = `$pg_config --includedir-server`);
chomp(my $our_headers = `$private --includedir-server`);
my $flags = "-D_GNU_SOURCE -fno-strict-aliasing -fwrapv -Wall -Wno-ignored-attributes "
  . "-I$our_headers/extension -I$server_headers";
my @compilers = grep { `sh -c 'command -v $_'` } qw(gcc clang);
push @compilers, 'cc' unless @compilers;

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>', "$dir/$name" or die "$dir/$name: $!";
	print $file $text;
	close $file;
	return "$dir/$name";
}

# Returns what the compiler says; empty if it is content.
sub compile
{
	my ($compiler, $options, $source, $output) = @_;
	my $path = write_file('case.c', $source);
	my $said = `LC_ALL=C $compiler $options $flags -o $output $path 2>&1`;
	return $? == 0 && $said !~ /warning/ ? '' : $said;
}

# ------------------------------------------- what does and does not compile

my $prefix = <<'C';
#include "postgres.h"
#include "dlog/actor.h"

typedef struct Image { int width; char pixels[FLEXIBLE_ARRAY_MEMBER]; } Image;
typedef struct Rates { double euro; } Rates;
DLOG_OBJECT(Image);
DLOG_OBJECT(Rates);
DLOG_MESSAGE(Show, value(int64, number), iso(Image, image), val(Rates, rates), tag(Image, earlier));
DLOG_MESSAGE(Tick);
DLOG_MESSAGE(Other, value(int32, number));

typedef struct ScreenState { Image_iso kept; Rates_val rates; } ScreenState;
#define SCREEN_TAKES Show, Tick, DlogDown
DLOG_BEHAVIOR(Screen, ScreenState, SCREEN_TAKES);
typedef struct ClockState { Screen_ref screen; } ClockState;
DLOG_BEHAVIOR(Clock, ClockState, Tick);

C

my $good = <<'C';
DLOG_HANDLER(Screen, Show)
{
	dlog_keep(self, state->kept, message->image);
	if (dlog_read(message->rates)->euro > 1 && dlog_same(message->earlier, message->earlier))
		dlog_monitor(self, dlog_self(self, Screen));
}
DLOG_HANDLER(Screen, Tick)
{
	Image_iso image = dlog_new(self, Image, 100);

	dlog_get(image)->width = 3;
	dlog_send(self, dlog_self(self, Screen), Show, .image = dlog_move(image),
			  .rates = dlog_share(state->rates), .earlier = dlog_tag(Image, state->kept));
}
DLOG_HANDLER(Screen, DlogDown)
{
	dlog_stop(self, message->reason);
}
DLOG_IMPLEMENT(Screen, SCREEN_TAKES);
C

my $in_tick = sub { "DLOG_HANDLER(Clock, Tick) { $_[0] } DLOG_IMPLEMENT(Clock, Tick);" };
my $in_show = sub {
	"DLOG_HANDLER(Screen, Tick) { } DLOG_HANDLER(Screen, DlogDown) { }"
	  . "DLOG_HANDLER(Screen, Show) { $_[0] } DLOG_IMPLEMENT(Screen, SCREEN_TAKES);";
};

# what is wrong, the code, what the compilers say
my @wrong = (
	[ 'a message that the behavior does not take',
		$in_tick->('dlog_send(self, state->screen, Other, .number = 1);'),
		qr/no member named .Other. in .(struct )?Screen_takes|Screen_takes. has no member named .Other/ ],
	[ 'a declared message without a handler',
		'DLOG_HANDLER(Screen, Tick) { } DLOG_HANDLER(Screen, DlogDown) { } DLOG_IMPLEMENT(Screen, SCREEN_TAKES);',
		qr/Screen_has_a_handler_for_Show/ ],
	[ 'a declared message that is not implemented',
		'DLOG_HANDLER(Screen, Tick) { } DLOG_IMPLEMENT(Screen, Tick);',
		qr/Screen: every message that the behavior takes needs a handler/ ],
	[ 'a table without a handler',
		$good . 'DLOG_HANDLER_IN(Screen, dark, Tick) { } DLOG_IMPLEMENT_TABLE(Screen, dark, SCREEN_TAKES);',
		qr/Screen_dark_has_a_handler_for_Show/ ],
	[ 'a handler for a message that is not declared',
		'DLOG_HANDLER(Screen, Other) { }',
		qr/no member named .Other/ ],
	[ 'a ref in a message', 'DLOG_MESSAGE(Bad, ref(Image, image));',
		qr/image: a ref is its actor.*own and cannot be sent/ ],
	[ 'a pointer in a message', 'DLOG_MESSAGE(Bad, value(char *, text));',
		qr/text: a pointer is a ref, which is its actor.*own and cannot be sent/ ],
	[ 'a copy of an iso', $in_show->('Image_iso mine = message->image; (void) mine;'),
		qr/error: (invalid initializer|array initializer must be an initializer list)/ ],
	[ 'an assignment of an iso', $in_show->('state->kept[0].iso_ = NULL; state->kept = message->image;'),
		qr/array type/ ],
	[ 'an iso that is sent and not moved',
		$in_show->('dlog_send(self, dlog_self(self, Screen), Show, .image = message->image);'),
		qr/Image_iso_must_be_moved|Image_iso/ ],
	[ 'an iso that is used after it was sent',
		$in_show->('Image_iso image = dlog_new(self, Image, 8);'
			  . 'dlog_send(self, dlog_self(self, Screen), Show, .image = dlog_move(image));'
			  . 'dlog_get(image)->width = 1;'),
		qr/an iso is used after it was sent: it belongs to the receiver/ ],
	[ 'an iso that is sent twice',
		$in_show->('Image_iso image = dlog_new(self, Image, 8);'
			  . 'dlog_send(self, dlog_self(self, Screen), Show, .image = dlog_move(image));'
			  . 'dlog_send(self, dlog_self(self, Screen), Show, .image = dlog_move(image));'),
		qr/an iso is used after it was sent: it belongs to the receiver/ ],
	[ 'a val that is written', $in_show->('dlog_read(message->rates)->euro = 1;'),
		qr/read-only|const-qualified/ ],
	[ 'a val that is written as if it were an iso', $in_show->('dlog_get(message->rates)->euro = 1;'),
		qr/Rates_val_is_immutable/ ],
	[ 'a val that is moved',
		$in_show->('dlog_send(self, dlog_self(self, Screen), Show, .rates = dlog_move(message->rates));'),
		qr/Rates_val_is_immutable/ ],
	[ 'an object of another type',
		$in_show->('dlog_send(self, dlog_self(self, Screen), Show, .image = dlog_share(message->rates));'),
		qr/Rates_shared_|Rates_val_is_immutable/ ],
	[ 'a tag that is read', $in_show->('dlog_get(message->earlier)->width = 1;'),
		qr/Image_tag_is_identity_only/ ],
	[ 'a tag of another type', $in_show->('Rates_tag other = message->earlier; (void) other;'),
		qr/error: (invalid initializer|.*Image_tag)/ ],
	[ 'another behavior\'s table', 'extern DlogBehavior Screen_dark_behavior;'
		  . $in_tick->('dlog_become(self, Screen, dark);'),
		qr/Clock_self/ ],
	[ 'a monitor by one that takes no DlogDown', $in_tick->('dlog_monitor(self, state->screen);'),
		qr/no member named .DlogDown/ ],
	[ 'an answer of another type', 'DLOG_REQUEST(Ask, Other); DLOG_BEHAVIOR(Wise, ClockState, Ask);'
		  . 'DLOG_HANDLER(Wise, Ask) { dlog_reply(self, Ask, .euro = 1); } DLOG_IMPLEMENT(Wise, Ask);',
		qr/euro/ ],
	[ 'an answer to what is no request', $in_tick->('dlog_reply(self, Tick, .number = 1);'),
		qr/Tick_answer/ ],
	[ 'a field that the message has not', $in_tick->('dlog_send(self, state->screen, Show, .nummer = 1);'),
		qr/nummer/ ],
	[ 'another behavior\'s state', $in_tick->('dlog_spawn(self, Screen, .screen = state->screen);'),
		qr/screen/ ],
	[ 'a state that is too large',
		'typedef struct Big { char bytes[97]; } Big; DLOG_BEHAVIOR(Huge, Big, Tick);',
		qr/Huge: a state has at most 96 bytes; keep more in an iso/ ],
	[ 'a val that is kept as an iso', $in_show->('dlog_keep(self, state->kept, message->rates);'),
		qr/both must be isos, or both vals, of one type/ ],
	[ 'an iso that is frozen as another type',
		$in_show->('dlog_freeze(self, state->rates, message->image);'),
		qr/of a val and an iso of one type/ ],
	[ 'an object in a timer\'s message',
		$in_tick->('dlog_send_after(self, 10, state->screen, Show, .number = 1);'),
		qr/a timer.*message has no objects/ ],
);

foreach my $compiler (@compilers)
{
	foreach my $level (qw(-O0 -O2))
	{
		is(compile($compiler, "-c $level", $prefix . $good, "$dir/case.o"),
			'', "$compiler $level: what is right compiles, without a warning");
	}
	foreach my $case (@wrong)
	{
		my ($what, $code, $says) = @$case;
		my $said = compile($compiler, '-O1 -c', $prefix . $code, "$dir/case.o");
		like($said, qr/error/, "$compiler: $what does not compile");
		like($said, $says, "$compiler: $what is told");
	}
}
note("clang is not here: its half of the tests is left out") unless grep { $_ eq 'clang' } @compilers;

# --------------------------------------------------------- no cost at all

# The instructions of a function, without where they are.
sub instructions
{
	my ($object, $function) = @_;
	my @lines;
	foreach my $line (split /\n/, `objdump -dr --no-show-raw-insn --disassemble=$function $object`)
	{
		next unless $line =~ /^\s+[0-9a-f]+:\s+(.*?)\s*$/;
		my $code = $1;
		next if $code =~ /^R_/;
		$code =~ s/\b[0-9a-f]+ <$function(\+0x[0-9a-f]+)?>/here/;
		push @lines, $code;
	}
	return join "\n", @lines;
}

my $sends = <<'C';
DLOG_MESSAGE(Add, value(int64, amount), value(int32, account));
DLOG_BEHAVIOR(Bank, ClockState, Tick, Add);

DlogResult typed(Bank_self *self, Bank_ref to, int64 amount, int32 account);
DlogResult raw(Bank_self *self, Bank_ref to, int64 amount, int32 account);

DlogResult
typed(Bank_self *self, Bank_ref to, int64 amount, int32 account)
{
	return dlog_send(self, to, Add, .amount = amount, .account = account);
}

static inline __attribute__((always_inline)) DlogResult
untyped_send(DlogActor *self, DlogAddress to, int64 amount, int32 account)
{
	struct { int64 amount; int32 account; } message, *place = NULL;

	if (to.node == 0)
		place = dlog_api_->send_place(self, to.slot, to.incarnation, 0x4001, sizeof(message));
	if (place != NULL)
	{
		place->amount = amount;
		place->account = account;
		return DLOG_OK;
	}
	message.amount = amount;
	message.account = account;
	return dlog_api_->send(self, to, 0x4001, &message, sizeof(message));
}

DlogResult
raw(Bank_self *self, Bank_ref to, int64 amount, int32 account)
{
	return untyped_send((DlogActor *) self, to.address, amount, account);
}
C
foreach my $compiler (@compilers)
{
	is(compile($compiler, '-c -O2', $prefix . $sends, "$dir/sends.o"), '', "$compiler: typed and untyped sends compile");
	my $typed = instructions("$dir/sends.o", 'typed');
	cmp_ok(length $typed, '>', 100, "$compiler: there are instructions");
	is($typed, instructions("$dir/sends.o", 'raw'), "$compiler: a typed send is the same instructions as an untyped one");
}

# ------------------------------------------------------------- loading it

# Builds a library; says where.
sub build
{
	my ($name, $source, @more) = @_;
	my $said = `LC_ALL=C $compilers[0] -O1 -g @more $flags -shared -fPIC -o $dir/$name.so $source 2>&1`;
	is($said, '', "$name is built");
	return "$dir/$name";
}

# The tutorial's file, which is the first in C there.
my ($tutorial) = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../actors_in_c.md") =~ /^```c\n(.*?)^```/ms;
my @lines = grep { !m{^\s*(/\*.*\*/)?\s*$} } split /\n/, $tutorial;
cmp_ok(scalar @lines, '<=', 40, 'the tutorial builds an actor in 40 lines');
my $words = build('words', write_file('words.c', $tutorial));

my $cluster = DlogCluster->new(nodes => 1);
my $node = $cluster->node(1);
my $database = $cluster->database;
my $actors = build('c_face_actors', "$FindBin::RealBin/c_face_actors.c");

sub restart_with
{
	my ($libraries, %how) = @_;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'\n");
	return $node->restart(%how) unless $how{fail_ok};
	$node->stop;
	return $node->start(%how);
}

# Whether the session fails with this.
sub fails_with
{
	my ($sql, $says, $what) = @_;
	my ($code, $out, $err) = $node->psql($database, $sql);
	like($err, $says, $what);
	return;
}

fails_with("LOAD '$actors'", qr/library "c_face_actors" must be loaded when the server starts\nHINT:.*shared_preload/s,
	'a library that is loaded by a session is told to be preloaded');

restart_with($actors);
$node->safe_psql($database, "CREATE SCHEMA other; CREATE FUNCTION other.keeper(text) RETURNS bool LANGUAGE c AS '$actors', 'keeper'");
fails_with("SELECT other.keeper('a')", qr/dlog must be loaded when the server starts\nHINT:.*shared_preload/s,
	'without dlog its functions say so');

my $other_version = do
{
	local (@ARGV, $/) = ("$our_headers/extension/dlog/actor.h");
	my $header = <>;
	$header =~ s/#define DLOG_ABI 2/#define DLOG_ABI 3/ or die;
	mkdir "$dir/other";
	mkdir "$dir/other/dlog";
	write_file('other/dlog/actor.h', $header);
	build('other_version', "$FindBin::RealBin/c_face_actors.c", "-I$dir/other");
};
my $log_at = -s $node->logfile;
ok(!restart_with("dlog,$other_version", fail_ok => 1), 'a library of another version keeps the server from starting');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_at),
	qr/library "c_face_actors" was compiled for another version of dlog\/actor.h.*\n.*DETAIL:/,
	'and the log says why');

# ------------------------------------------------------ an example, before dlog

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'bank,dlog,$actors,$words'\ndlog.shared_memory_size = '384MB'\nrestart_after_crash = on\n");
$node->start;
sub sql { return $node->safe_psql($database, "SET statement_timeout = '60s'; " . $_[0]); }

sql('CREATE EXTENSION bank CASCADE') if sql("SELECT count(*) FROM pg_extension WHERE extname = 'bank'") eq '0';
sql("SELECT bank.open('mine')");
is(sql("SELECT bank.deposit('mine', 10), bank.withdraw('mine', 3), bank.balance('mine')"), '||7',
	'the example: an account takes deposits and withdrawals in their order');
is(sql("SELECT bank.freeze('mine'), bank.withdraw('mine', 9), bank.deposit('mine', 5), bank.withdraw('mine', 1), bank.balance('mine')"),
	'||||7', 'while it is frozen they wait');
is(sql("SELECT behavior, mailbox FROM dlog.actors WHERE behavior LIKE 'Account%'"), 'Account.frozen|3',
	'which can be seen');
is(sql("SELECT bank.thaw('mine'), bank.balance('mine')"), '|11', 'and are done in their order');
fails_with("SELECT bank.open('mine')", qr/account "mine" already exists/, 'a name is taken once');
fails_with("SELECT bank.balance('yours')", qr/account "yours" does not exist/, 'or not at all');

sql("CREATE FUNCTION count_words(n integer) RETURNS bigint LANGUAGE c STRICT AS '$words', 'count_words'");
is(sql('SELECT count_words(3), count_words(4)'), '3|7', 'the tutorial\'s actor counts');
is(sql("SELECT behavior, received FROM dlog.actors WHERE behavior = 'Counter'"), 'Counter|4', 'and can be seen');

# -------------------------------------------------------------- all of it

sql("CREATE FUNCTION ask_costs(n int) RETURNS bigint LANGUAGE c STRICT AS '$actors';"
	  . "CREATE FUNCTION hand_over(bytes bigint, hops int) RETURNS float8 LANGUAGE c STRICT AS '$actors';"
	  . "CREATE FUNCTION keeper(name text) RETURNS bool LANGUAGE c STRICT AS '$actors';"
	  . "CREATE FUNCTION tell(name text, what text, number bigint DEFAULT 0, other text DEFAULT NULL) RETURNS int LANGUAGE c AS '$actors';"
	  . "CREATE FUNCTION seen(name text) RETURNS text LANGUAGE c STRICT AS '$actors';"
	  . "CREATE FUNCTION session_gives(name text, bytes bigint) RETURNS int LANGUAGE c STRICT AS '$actors';"
	  . "CREATE VIEW large AS SELECT total * block_size >> 20 AS mb FROM dlog.memory WHERE class = 'large objects'");

# Wait until a session sees this.
sub wait_for
{
	my ($query, $expected, $what) = @_;
	is($node->poll_query_until($database, $query, $expected), 1, $what);
	return;
}

my $used = sql('SELECT sum(used) FROM dlog.memory');
is(sql('SELECT ask_costs(20000)'), '0', 'a session\'s sends and asks allocate nothing');
wait_for("SELECT sum(used) <= $used FROM dlog.memory", 't', 'and keep nothing');

note('microseconds to hand over 100 MB: ' . sql('SELECT hand_over(100 * 1024 * 1024, 1000)') .
	', a few bytes: ' . sql('SELECT hand_over(8, 1000)'));
wait_for('SELECT mb FROM large', '0', 'and leaves nothing');

sql("SELECT keeper('a'), keeper('b'), keeper('c'), keeper('d')");
is(sql("SELECT tell('a', 'create', 100000000), seen('a')"), '0|', 'an actor makes an object');
is(sql('SELECT mb FROM large'), '95', 'which is counted');
is(sql("SELECT tell('a', 'give', 0, 'b'), seen('a')"), '0|', 'it is given away');
wait_for("SELECT seen('b')", 'took it', 'and moves with its identity');

# What is caught where assertions are compiled in is a wild pointer elsewhere.
my $misuse = sql("SELECT current_setting('debug_assertions')") eq 'on' ? 'use' : 'stop';
is(sql("SELECT tell('a', '$misuse')"), '0', 'who gave it away and uses it, or stops');
wait_for("SELECT count(*) FROM dlog.actors WHERE behavior = 'Keeper'", '3', 'does not get far');
if ($misuse eq 'use')
{
	sql("SELECT keeper('t'), tell('t', 'create', 100000000), tell('t', 'twice', 0, 'b')");
	wait_for("SELECT count(*) FROM dlog.actors WHERE behavior = 'Keeper'", '3', 'who gives it away twice neither');
	is(sql("SELECT seen('b')"), 'took it', 'and it was given once');
}
is(sql("SELECT tell('b', 'freeze'), tell('b', 'share', 0, 'c'), tell('b', 'share', 0, 'd'), seen('b')"), '0|0|0|', 'frozen, it is shared');
wait_for("SELECT seen('$_')", 'read 100000000', "and read by $_") foreach ('c', 'd');
sql("SELECT tell('b', 'stop'), tell('c', 'drop')");
wait_for("SELECT count(*) FROM dlog.actors WHERE behavior = 'Keeper'", '2', 'its first holder is gone');
is(sql("SELECT seen('c')"), '', 'and another drops it');
is(sql('SELECT mb FROM large'), '95', 'it stays while anybody holds it');
sql("SELECT tell('d', 'stop')");
wait_for('SELECT mb FROM large', '0', 'and goes with the last');

is(sql("SELECT session_gives('c', 5000000), seen('c')"), '0|took it', 'a session gives an object');
is(sql('SELECT mb FROM large'), '4', 'which is counted, too');
sql("SELECT keeper('e')");
sql("SELECT tell('c', 'fail')");
wait_for('SELECT mb FROM large', '0', 'an actor that fails leaves nothing');

# a terminated scheduler, in the middle of a handler
sql("SELECT tell('e', 'hang', 60000000)");
wait_for('SELECT mb FROM large', '57', 'a handler has an object in its hands');
sql("SELECT keeper('w')");
sql("SELECT pg_terminate_backend(pid, 10000) FROM dlog.schedulers WHERE activity = 'native actors'");
wait_for('SELECT mb FROM large', '0', 'when its scheduler is terminated, it is freed');
wait_for("SELECT count(*) FROM dlog.actors WHERE behavior = 'Keeper'", '1', 'and its actor is gone');

# links, monitors, signals
sql("SELECT keeper('x'), keeper('y'), keeper('z')");
is(sql("SELECT tell('w', 'trap'), tell('w', 'link', 0, 'x'), tell('w', 'monitor', 0, 'x'), tell('x', 'link', 0, 'y'), seen('x'), seen('w')"),
	'0|0|0|0||', 'links and monitors');
sql("SELECT tell('x', 'fail')");
wait_for("SELECT count(*) FROM dlog.actors WHERE behavior = 'Keeper'", '2', 'an error takes those with it that are linked');
is(join('; ', sort split /; /, sql("SELECT seen('w')")), 'down: error: keeper failed; exit: error: keeper failed',
	'who traps exits is told, and who monitors');
is(sql("SELECT tell('z', 'trap'), seen('z'), tell('w', 'exit', 0, 'z'), tell('w', 'demonitor', 0, 'z'), seen('w')"), '0||0|0|', 'it is sent a signal');
wait_for("SELECT seen('z')", 'exit: told to', 'which is a message for it');
sql("SELECT tell('w', 'kill', 0, 'z')");
wait_for("SELECT count(*) FROM dlog.actors WHERE behavior = 'Keeper'", '1', 'but for one');

# timers
sql("SELECT tell('w', 'after', 20)");
wait_for("SELECT seen('w')", 'tick 1', 'a message is sent later');
sql("SELECT tell('w', 'every', 5)");
wait_for("SELECT seen('w')", 'tick 3', 'again and again, until that is cancelled');
is(sql("SELECT value FROM dlog.stat_runtime WHERE name = 'timers'"), '0', 'and no timer is left');

# children and limits
is(sql("SELECT tell('w', 'child'), seen('w')"), '0|', 'an actor spawns and names another');
is(sql("SELECT tell('child', 'create', 1000000000)"), '0', 'which wants more than there is');
wait_for("SELECT count(*) FROM dlog.actors WHERE behavior = 'Keeper'", '1', 'and fails');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile),
	qr/out of dlog's shared memory\n.*There is no room for an object of 1000000000 bytes/, 'with an error that says so');

# after a crash everything is set up again
sql("SELECT tell('w', 'create', 1000000)");
my $pid = sql("SELECT pid FROM dlog.schedulers LIMIT 1");
kill 'KILL', $pid;
$node->poll_query_until($database, "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT EXISTS (SELECT FROM dlog.actors WHERE behavior = 'Keeper')");
is(sql("SELECT keeper('w'), tell('w', 'create', 100), seen('w')"), 't|0|', 'after a crash actors are spawned again');

done_testing();
