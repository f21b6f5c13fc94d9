
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
	struct { int64 amount; int32 account; } message, *place;

	place = dlog_api_->send_place(self, to, 0x4001, sizeof(message));
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

done_testing();
