# Downloads by several requests, from origins that lie: every client gets the bytes of one version or a connection that breaks (or an error, before
# the first byte), never wrong bytes; and what is in the cache afterwards is one version, whole.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Liar;
use Test::More;

my $AT_ONCE = 16; # lies that are told at the same time
my $size = 3_000_000;
my ($first, $last) = (2_400_000, 2_499_999); # far behind: a request of its own brings it
my $liar = Lab::Liar->new(size => $size, rate => 1_200_000, headers => { 'Cache-Control' => 'max-age=600' });
my ($old, $new) = map { $liar->version($_) } '"old"', '"new"';
my @wholes = (length $old, length $new, length($old) - 1000); # the last is what "another length" says
my @names = grep { !$ENV{LIE} || /$ENV{LIE}/ } $liar->names;
my %proxy_options = (workers => 2, chunk_size => '256K', parallel_min => '64K', upstream_read_timeout => 3);

# ---- what a client has

sub of_version { # may these bytes, at that place, be what the head says they are?
	my ($r, $from) = @_;
	my $etag = $r->header('etag');
	my @may = ($etag // '') =~ /^"/ ? $liar->version($etag) : ($old, $new);
	push @may, 'x' x $size if $r->header('content-encoding'); # what the lies say of it
	return scalar grep { $from + length $r->body <= length && substr($_, $from, length $r->body) eq $r->body } @may;
}
# right: all that the head promises. broken: the beginning of it, and the client knows that it is not all. error: a status that says so. Else: what is wrong.
sub verdict {
	my ($r, $asked) = @_;
	my $status = $r->status;
	return 'stuck' if $r->exit == 28;
	return 'broken' if $status == 0;
	return 'error' if $status !~ /^20[06]$/;
	my ($from, $to) = $status == 200 ? (0, undef) : ($asked, undef);
	if ($status == 206 && ($r->header('content-range') // '') =~ m{^bytes (\d+)-(\d+)/}) { ($from, $to) = ($1, $2) }
	return 'wrong bytes' if !of_version($r, $from);
	return 'broken' if $r->exit != 0;
	return 'shorter than it says' if defined $to && length $r->body != $to - $from + 1;
	return 'not whole' if $status == 200 && !grep { length $r->body == $_ } @wholes;
	return !defined $asked && $status == 206 ? 'error' : 'right'; # nobody takes a 206 for the whole
}
sub trouble { my ($r) = @_; sprintf "exit %d, %d bytes\n%s%s", $r->exit, length $r->body, $r->head_so_far, $r->{error} }

# ---- the ways to ask. A case is one lie told by one origin to some clients: { name, origin, path, url, and what came of it }

my %breaks = map { $_ => 1 } grep { $liar->end($_) ne 'right' } $liar->names; # a downloader begins anew then, or fails; a client of the proxy has had some of it
my $proxy = proxy(workers => 2, chunk_size => '256K', parallel_min => '64K', upstream_read_timeout => 3);
my %stored; # URL => the name of its lie

sub whole { my ($case) = @_; $proxy->curl_bg($case->{url}) }
sub range { my ($case) = @_; $proxy->curl_bg('-r', "$first-$last", $case->{url}) }
sub begun { my ($c) = @_; wait_until(sub { $c->so_far > 0 || !$c->running }, 20, 'its first bytes') }
sub one_of_three { my ($is, $r, $what) = @_; like $is, qr/^(?:right|broken|error)$/, "$what: right, or it breaks" or diag trouble($r) }

sub ask_again { # all of each of them, until it comes from the cache: for a second some answers are remembered as not to be shared
	my ($tries, @cases) = @_;
	for (1 .. $tries) {
		@cases = grep { !$_->{there} } @cases;
		$_->{asked} = $_->{origin}->hits($_->{path}), $_->{once_more} = whole($_) for @cases;
		for my $case (@cases) {
			my $is = verdict($case->{once_more}->wait);
			push @{$case->{later}}, [$is, $case->{once_more}];
			$case->{there} = $is eq 'right' && $case->{origin}->hits($case->{path}) == $case->{asked};
			$stored{$case->{url}} = $case->{name} if $case->{there};
		}
	}
}
my %ask = (all => \&whole, part => \&range);
sub each_lie { # two clients, each all or part: the second comes when the first has begun; tries: how often all of it is asked for afterwards; check: looks at a case
	my ($one, $two, $tries, $check) = @_;
	my $origin = origin($liar->script);
	my @todo = @names;
	while (my @some = splice @todo, 0, $AT_ONCE) {
		my @cases = map { my $path = $liar->path($_); { name => $_, origin => $origin, path => $path, url => $origin->url($path) } } @some;
		$_->{$one} = $ask{$one}->($_) for @cases;
		begun($_->{$one}), $_->{$two} = $ask{$two}->($_) for @cases;
		for my $case (@cases) { $case->{"${_}_is"} = verdict($case->{$_}->wait, $_ eq 'part' ? $first : undef) for qw(part all) }
		ask_again($tries, grep { !$breaks{$_->{name}} || $_->{all_is} eq 'right' } @cases);
		ask_again(1, grep { !$_->{later} } @cases);
		for my $case (@cases) {
			subtest $case->{name} => sub {
				one_of_three($case->{part_is}, $case->{part}, 'a part');
				one_of_three($case->{all_is}, $case->{all}, 'all of it');
				one_of_three(@$_, 'asked again') for @{$case->{later}};
				$check->($case);
			};
		}
	}
}

subtest 'a client that reads all, and one that joins it with a range far behind' => sub {
	each_lie('all', 'part', 1, sub {
		my ($case) = @_;
		if (!$breaks{$case->{name}}) {
			is $case->{all_is}, 'right', 'all of it need not break' or diag trouble($case->{all});
			is $case->{part_is}, 'right', '… nor a part' or diag trouble($case->{part});
		}
		ok $case->{there}, '… and all of it is in the cache' if $case->{all_is} eq 'right';
	});
};

subtest 'a client that reads a range far behind before anybody has asked for the object' => sub {
	each_lie('part', 'all', 5, sub {
		my ($case) = @_;
		ok $case->{there}, 'in the end all of it is in the cache' if !$breaks{$case->{name}};
	});
};

subtest 'after a restart' => sub {
	is $proxy->stop, 0, 'it ends well';
	$proxy->launch;
	my @wrong = grep { my $r = $proxy->curl('-H', 'Cache-Control: only-if-cached', $_); verdict($r) ne 'right' } sort keys %stored;
	is "@stored{@wrong}", '', keys(%stored) . ' objects are there, whole and of one version each';
};

done_testing;
