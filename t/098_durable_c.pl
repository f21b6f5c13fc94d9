
# dlog/durable.h: what is wrong does not compile, and says why; the example is
# a bank that survives a crash, whose state can be seen as it was.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
chomp(my $server_headers = `$pg_config --includedir-server`);
chomp(my $our_headers = `$ENV{SERVER_BIN}/pg_config --includedir-server`);
my $flags = "-O1 -D_GNU_SOURCE -fno-strict-aliasing -fwrapv -Wall -Wno-ignored-attributes "
  . "-I$our_headers/extension -I$server_headers";
my @compilers = grep { `sh -c 'command -v $_'` } qw(gcc clang);
push @compilers, 'cc' unless @compilers;

# Returns what the compiler says; empty if it is content.
sub compile
{
	my ($compiler, $source) = @_;
	open my $file, '>', "$dir/case.c" or die $!;
	print $file $source;
	close $file;
	my $said = `LC_ALL=C $compiler $flags -c -o $dir/case.o $dir/case.c 2>&1`;
	return $? == 0 && $said !~ /warning/ ? '' : $said;
}

my $prefix = <<'C';
#include "postgres.h"
#include "dlog/durable.h"

DLOG_DURABLE_MESSAGE(Add, "add", value(int64, n));
DLOG_DURABLE_MESSAGE(Tell, "tell", value(DlogRef, to), value(DlogText, what), value(double, much));
DLOG_DURABLE_MESSAGE(Other, "other", value(int32, n));
typedef struct SumState { int64 n; } SumState;
DLOG_DURABLE_BEHAVIOR(Sum, SumState, Add, Tell);
C
my $serialize = 'DLOG_SERIALIZE(Sum) { pq_sendint64(bytes, state->n); }';
my $deserialize = 'DLOG_DESERIALIZE(Sum) { state->n = pq_getmsgint64(bytes); }';
my $apply = 'DLOG_APPLY(Sum, Add) { state->n += message->n; } DLOG_APPLY(Sum, Tell) { }';
my $implement = 'DLOG_IMPLEMENT_DURABLE(Sum, Add, Tell);';
my $handler = sub { "$serialize $deserialize DLOG_DURABLE_HANDLER(Sum, Tell) { $_[0] } $apply $implement" };

# what is wrong, the code, what the compilers say
my @wrong = (
	[ 'a message that is not applied', "$serialize $deserialize DLOG_APPLY(Sum, Add) { } $implement",
		qr/Sum_applies_Tell/ ],
	[ 'a message that is not implemented', "$serialize $deserialize $apply DLOG_IMPLEMENT_DURABLE(Sum, Add);",
		qr/Sum: every message that the behavior takes is to be applied/ ],
	[ 'a message that the behavior does not take', 'DLOG_APPLY(Sum, Other) { }', qr/no member named .Other/ ],
	[ 'a handler for one that it does not take', 'DLOG_DURABLE_HANDLER(Sum, Other) { }', qr/no member named .Other/ ],
	[ 'a state that is not serialized', "$deserialize $apply $implement", qr/Sum_serializes/ ],
	[ 'a state that is not read back', "$serialize $apply $implement", qr/Sum_deserializes/ ],
	[ 'a handler that changes the state', $handler->('((SumState *) 0)->n = 1; state->n = 1;'),
		qr/read-only|const-qualified/ ],
	[ 'a message that is changed', "DLOG_APPLY(Sum, Add) { message->n = 1; }", qr/read-only|const-qualified/ ],
	[ 'a pointer in a message', 'DLOG_DURABLE_MESSAGE(Bad, "bad", value(char *, text));',
		qr/_Generic/ ],
	[ 'a struct in a message', 'DLOG_DURABLE_MESSAGE(Bad, "bad", value(SumState, state));',
		qr/_Generic/ ],
	[ 'an iso in a message', 'typedef struct X { int x; } X; DLOG_OBJECT(X); DLOG_DURABLE_MESSAGE(Bad, "bad", iso(X, x));',
		qr/error/ ],
	[ 'a message that the receiver does not take',
		$handler->('dlog_durable_send(DLOG_DURABLE_REF(Sum, message->to), Other, .n = 1);'), qr/no member named .Other/ ],
	[ 'a value of another type',
		$handler->('dlog_durable_send(DLOG_DURABLE_REF(Sum, message->to), Tell, .much = dlog_text("x"));'), qr/error/ ],
	[ 'an attribute that is not there',
		$handler->('dlog_durable_send(DLOG_DURABLE_REF(Sum, message->to), Add, .m = 3);'), qr/no member named .m|designat/ ],
);

foreach my $compiler (@compilers)
{
	is(compile($compiler, $prefix . $handler->('dlog_durable_send(DLOG_DURABLE_REF(Sum, message->to), Tell, '
				. '.what = dlog_text("x"), .much = 1.5); dlog_durable_reply(Other, .n = (int32) state->n);')),
		'', "$compiler: what is right compiles without a warning");
	foreach my $case (@wrong)
	{
		my ($what, $code, $expected) = @$case;
		like(compile($compiler, $prefix . $code), $expected, "$compiler: $what does not compile");
	}
}

# ------------------------------------------------------------- the example

my $cluster = DlogCluster->new(nodes => 1);
my $node = $cluster->node(1);
$cluster->sql(1, 'CREATE EXTENSION ledger');
my $a = $cluster->sql(1, "SELECT dlog.spawn('ledger.account', name => 'a')");
my $b = $cluster->sql(1, "SELECT dlog.spawn('ledger.account', name => 'b')");
my $balance = sub { $cluster->sql(1, "SELECT dlog.ask(dlog.whereis('$_[0]'), ROW()::ledger.get_balance)") };

$cluster->sql(1, <<"SQL");
SELECT dlog.send('$a', ROW(100)::ledger.deposit);
SELECT dlog.send('$a', ROW('$b', 30, 'rent')::ledger.pay);
BEGIN; SELECT dlog.send('$a', ROW('$b', 1, NULL)::ledger.pay); ROLLBACK;
SELECT dlog.send('$a', ROW('$b', 5, NULL)::ledger.pay);
SQL
$cluster->wait_until(1, "SELECT dlog.ask(dlog.whereis('b'), ROW()::ledger.get_balance) = '(35,0)'");
is($balance->('a'), '(65,2)', 'handlers in C change the state, send and answer');
is($cluster->sql(1, "SELECT string_agg(amount || coalesce(why, '-'), ',' ORDER BY id) FROM ledger.payment"),
	'30rent,5-', 'and write tables');

$cluster->sql(1, "SELECT dlog.send('$a', ROW('$b', 1000, 'a palace')::ledger.pay)");
$cluster->wait_until(1, "SELECT count(*) = 1 FROM dlog.quarantined");
is($cluster->sql(1, "SELECT sqlstate, error FROM dlog.quarantine"), '23514|there is too little in the account',
	'an ERROR in a handler refuses the message');
is($balance->('a'), '(65,2)', 'and nothing else');

$node->stop('immediate');
$node->start;
is($balance->('a') . $balance->('b'), '(65,2)(35,0)', 'after a crash the journal is applied');
is($cluster->sql(1, "SELECT count(*) FROM ledger.payment"), 2, 'and nothing is written again');
is($cluster->sql(1, "SELECT state FROM dlog.history('$a', 2, 2)"), $cluster->sql(1, "SELECT dlog.state_at('$a', 2)"),
	'the state as it was');
is($cluster->sql(1, "SELECT dlog.state_at('$a', 2)"), '\\x000000000000004600000001', 'serialized by the callback: 70 after one payment');
is($cluster->sql(1, "SELECT string_agg(message::text || payload, ' ' ORDER BY seq) FROM dlog.journal WHERE name = 'a' AND seq <= 2"),
	"ledger.deposit(100) ledger.pay($b,30,rent)", 'the journal is readable');

# --- types that do not fit
$cluster->sql(1, 'ALTER TYPE ledger.deposit ADD ATTRIBUTE note text CASCADE');
$cluster->sql(1, "SELECT dlog.send('$b', ROW(1, 'x')::ledger.deposit)");
$cluster->wait_until(1, "SELECT dlog.ask(dlog.whereis('b'), ROW()::ledger.get_balance) = '(36,0)'");
pass('an attribute more is no matter');
$cluster->sql(1, <<'SQL');
CREATE TYPE wrong AS (amount text);
CREATE FUNCTION wrong(state bytea, message wrong) RETURNS bytea LANGUAGE c IMMUTABLE AS '$libdir/ledger', 'Account_Deposit';
SQL
like($cluster->sql_error(1, "SELECT wrong(NULL, ROW('x')::wrong)"),
	qr/42804: type ledger\.deposit does not fit the library that handles it.*attribute "amount" should be of type bigint/s,
	'one of another type is an error');

done_testing();
