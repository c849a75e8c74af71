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

# ---- the ways to ask: each is begun, and then looked at when all of it has ended

sub whole { my ($p, $url) = @_; $p->curl_bg($url) }
sub range { my ($p, $url) = @_; $p->curl_bg('-r', "$first-$last", $url) }
sub begun { my ($c) = @_; wait_until(sub { $c->so_far > 0 || !$c->running }, 20, 'its first bytes') }
sub in_turns { # code for each of some names at once, which says what is to be done when all of it has been begun
	my ($begin, $finish) = @_;
	my @todo = @names;
	while (my @some = splice @todo, 0, $AT_ONCE) {
		my @begun = map { [$_, $begin->($_)] } @some;
		$finish->(@$_) for @begun;
	}
}

# A downloader begins anew when another version has come, or when it cannot go on. A client of the proxy has had some of it: its connection breaks.
my %breaks = map { $_ => 1 } grep { $liar->end($_) ne 'right' } $liar->names;

my %is_stored; # URL => the name of its lie
sub again { # asked again until it comes from the cache: some answers are remembered for a second as not to be shared
	my ($p, $origin, $name, $tries) = @_;
	my $path = $liar->path($name);
	for (1 .. $tries) {
		my $asked = $origin->hits($path);
		my $r = whole($p, $origin->url($path))->wait;
		my $is = verdict($r);
		like $is, qr/^(?:right|broken|error)$/, 'asked again: one version, or it breaks' or diag trouble($r);
		next if $is ne 'right' || $origin->hits($path) > $asked;
		$is_stored{$origin->url($path)} = $name;
		return 1;
	}
	return 0;
}

my $proxy = proxy(%proxy_options);

subtest 'a client that reads all, and one that joins it with a range far behind' => sub {
	my $origin = origin($liar->script);
	in_turns(sub {
		my ($name) = @_;
		my $url = $origin->url($liar->path($name));
		my $all = whole($proxy, $url);
		begun($all);
		return ($all, range($proxy, $url));
	}, sub {
		my ($name, $all, $range) = @_;
		subtest $name => sub {
			my ($is, $part) = (verdict($all->wait), verdict($range->wait, $first));
			like $is, qr/^(?:right|broken|error)$/, 'all of it: right, or it breaks' or diag trouble($all);
			like $part, qr/^(?:right|broken|error)$/, 'a part: right, or it breaks' or diag trouble($range);
			if (!$breaks{$name}) {
				is $is, 'right', '… it need not break' or diag trouble($all);
				is $part, 'right', '… nor the part' or diag trouble($range);
			}
			my $there = again($proxy, $origin, $name, 1);
			ok $there, '… all of it is in the cache' if $is eq 'right';
		};
	});
};

subtest 'a client that reads a range far behind before anybody has asked for the object' => sub {
	my $origin = origin($liar->script);
	in_turns(sub {
		my ($name) = @_;
		my $url = $origin->url($liar->path($name));
		my $range = range($proxy, $url);
		begun($range);
		return (whole($proxy, $url), $range);
	}, sub {
		my ($name, $all, $range) = @_;
		subtest $name => sub {
			my ($is, $part) = (verdict($all->wait), verdict($range->wait, $first));
			like $part, qr/^(?:right|broken|error)$/, 'a part: right, or it breaks' or diag trouble($range);
			like $is, qr/^(?:right|broken|error)$/, 'all of it: right, or it breaks' or diag trouble($all);
			note "the part: $part, all of it: $is";
			my $there = again($proxy, $origin, $name, $breaks{$name} ? 1 : 5);
			ok $there, '… in the end all of it is in the cache' if !$breaks{$name};
		};
	});
};

subtest 'after a restart' => sub {
	is $proxy->stop, 0, 'it ends well';
	$proxy->launch;
	my @wrong = grep { my $r = $proxy->curl('-H', 'Cache-Control: only-if-cached', $_); verdict($r) ne 'right' } sort keys %is_stored;
	is "@is_stored{@wrong}", '', keys(%is_stored) . ' objects are there, whole and of one version each';
};

done_testing;
