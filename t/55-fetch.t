# passsage fetch: a downloader that is fast where it can be, and right whatever the origin does: its bytes are one version's, or it fails and says
# so, and no file appears. And the same command through a running instance, which then has what was fetched.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Lab;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $SIZE = 1_000_000;
my $old = pattern($SIZE, 'old');
my $new = pattern($SIZE + 777, 'new');
my $rate = 1_000_000; # bytes a second of a connection
my $dir = lab_dir();

# ---- an origin that does one thing wrong: what(connection, request, its answer so far) changes the answer

sub answer { # an honest one, at $rate
	my ($req, $body, $etag) = @_;
	my %a = (status => 200, from => 0, to => length($body) - 1, body => $body, total => length $body, headers => { ETag => $etag, 'Accept-Ranges' => 'bytes' });
	my $h = $req->{headers};
	if (($h->{range} // '') =~ /^bytes=(\d+)-(\d*)$/ && $1 < length $body && ($h->{'if-range'} // $etag) eq $etag) {
		@a{qw(status from to)} = (206, $1, length $2 && $2 < length $body ? $2 : length($body) - 1);
	}
	return \%a;
}
sub give {
	my ($c, $a) = @_;
	my $body = $a->{send} // substr $a->{body}, $a->{from}, $a->{to} - $a->{from} + 1;
	$a->{headers}{'Content-Range'} //= "bytes $a->{from}-$a->{to}/$a->{total}" if $a->{status} == 206;
	$a->{headers}{'Content-Length'} //= length $body;
	my $head = ($a->{version} // 'HTTP/1.1') . " $a->{status} X\r\n";
	$head .= "$_: $a->{headers}{$_}\r\n" for grep { length $a->{headers}{$_} } sort keys %{$a->{headers}};
	$c->send("$head\r\n");
	my $stop = $a->{stop} // length $body;
	$stop = length $body if $stop > length $body;
	my $at = 0;
	my $all = eval {
		while ($at < $stop) {
			my $n = $rate / 50;
			$n = $stop - $at if $n > $stop - $at;
			$c->send(substr $body, $at, $n);
			$at += $n;
			sleep 0.02;
		}
		1;
	};
	$c->{origin}->note(event => 'sent', bytes => $at);
	die $@ if !$all;
	return 1 if $stop == length $body && !$a->{close};
	sleep 60 if $a->{stall};
	setsockopt $c->{s}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack('ii', 1, 0) if $a->{reset};
	return 0;
}
my $is_range = sub { defined $_[0]{headers}{range} };
my %wrong = ( # name => [what it does, how it must end: right, or right or failed; what else must hold]
	honest => [sub { }, 'right', 'ranges'],
	'date as validator' => [sub { my ($a, $r) = @_; $a->{headers}{ETag} = ''; $a->{headers}{'Last-Modified'} = 'Sun, 01 Nov 2020 10:00:00 GMT'; $a->{headers}{Date} = 'Sun, 01 Nov 2020 11:00:00 GMT'; whole_range($a, $r) }, 'right', 'ranges'],
	'date that is too young' => [sub { my ($a) = @_; $a->{headers}{ETag} = ''; $a->{headers}{'Last-Modified'} = $a->{headers}{Date} = 'Sun, 01 Nov 2020 10:00:00 GMT' }, 'right', 'one'],
	'Accept-Ranges none' => [sub { $_[0]{headers}{'Accept-Ranges'} = 'none' }, 'right', 'one'],
	'Accept-Ranges not said' => [sub { $_[0]{headers}{'Accept-Ranges'} = '' }, 'right', 'tried'],
	'weak ETag' => [sub { $_[0]{headers}{ETag} = 'W/"old"' }, 'right', 'one'],
	'no validator' => [sub { $_[0]{headers}{ETag} = '' }, 'right', 'one'],
	'HTTP/1.0' => [sub { my ($a) = @_; @$a{qw(version close)} = ('HTTP/1.0', 1) }, 'right', 'one'],
	'a coding' => [sub { $_[0]{headers}{'Content-Encoding'} = 'gzip' }, 'right', 'one'],
	'no length' => [sub { my ($a) = @_; $a->{headers}{'Content-Length'} = ''; $a->{close} = 1 }, 'right', 'one'],
	'no ranges' => [sub { my ($a, $r) = @_; whole($a) }, 'right', 'tried'],
	'a place that was not asked for' => [sub { my ($a, $r) = @_; if ($is_range->($r)) { $a->{from} += 1; $a->{to} += 1 if $a->{to} < $SIZE - 1 } }, 'right', 'tried'],
	'the wrong bytes\' place' => [sub { my ($a, $r) = @_; $a->{headers}{'Content-Range'} = 'bytes ' . ($a->{from} + 5) . "-$a->{to}/$a->{total}" if $is_range->($r) }, 'right', 'tried'],
	'more than was asked for' => [sub { my ($a, $r) = @_; $a->{to} = $SIZE - 1 if $is_range->($r) }, 'right', 'tried'],
	'less than was asked for' => [sub { my ($a, $r) = @_; $a->{to} = $a->{from} + 99_999 if $is_range->($r) && $a->{to} > $a->{from} + 99_999 }, 'right', 'ranges'],
	'a wrong total' => [sub { my ($a, $r) = @_; $a->{total}++ if $is_range->($r) }, 'right', 'tried'],
	'no total' => [sub { my ($a, $r) = @_; $a->{total} = '*' if $is_range->($r) }, 'right', 'tried'],
	'206 without Content-Range' => [sub { my ($a, $r) = @_; $a->{headers}{'Content-Range'} = '' if $is_range->($r) }, 'right', 'tried'],
	'Content-Range that is none' => [sub { my ($a, $r) = @_; $a->{headers}{'Content-Range'} = 'bytes 5-1/0' if $is_range->($r) }, 'right', 'tried'],
	'multipart' => [sub { my ($a, $r) = @_; if ($is_range->($r)) { $a->{headers}{'Content-Range'} = ''; $a->{headers}{'Content-Type'} = 'multipart/byteranges; boundary=x' } }, 'right', 'tried'],
	'a length that is not the range\'s' => [sub { my ($a, $r) = @_; $a->{headers}{'Content-Length'} = $a->{to} - $a->{from} if $is_range->($r) }, 'right', 'tried'],
	'a range that ends early' => [sub { my ($a, $r) = @_; @$a{qw(stop close)} = (100_000, 1) if $is_range->($r) }, 'right', 'ranges'],
	'a range that is reset' => [sub { my ($a, $r) = @_; @$a{qw(stop reset)} = (100_000, 1) if $is_range->($r) }, 'right', 'ranges'],
	'ranges that end at once' => [sub { my ($a, $r) = @_; @$a{qw(stop close)} = (0, 1) if $is_range->($r) }, 'right', 'tried'],
	'a coding of ranges' => [sub { my ($a, $r) = @_; if ($is_range->($r)) { $a->{headers}{'Content-Encoding'} = 'gzip'; $a->{send} = 'x' x ($a->{to} - $a->{from} + 1) } }, 'right', 'tried'],
	'another ETag in ranges' => [sub { my ($a, $r) = @_; if ($is_range->($r)) { $a->{headers}{ETag} = '"other"'; $a->{body} = $new; $a->{total} = $SIZE } }, 'right', 'tried'],
	'no ETag in ranges' => [sub { my ($a, $r) = @_; if ($is_range->($r)) { $a->{headers}{ETag} = ''; $a->{body} = $new } }, 'right', 'tried'],
	'a weak ETag in ranges' => [sub { my ($a, $r) = @_; if ($is_range->($r)) { $a->{headers}{ETag} = 'W/"old"'; $a->{body} = $new } }, 'right', 'tried'],
	(map { my $s = $_; "$s to ranges" => [sub { my ($a, $r) = @_; if ($is_range->($r)) { $a->{status} = $s; $a->{headers}{'Content-Range'} = $s == 416 ? "bytes */$SIZE" : ''; $a->{headers}{'Retry-After'} = 1; $a->{send} = 'no' } }, 'right', 'tried'] } 302, 403, 416, 429, 500, 503),
	'the first breaks' => [sub { my ($a, $r) = @_; @$a{qw(stop close)} = (150_000, 1) if !$is_range->($r) }, 'right', 'ranges'],
	'the first is reset' => [sub { my ($a, $r) = @_; @$a{qw(stop reset)} = (150_000, 1) if !$is_range->($r) }, 'right', 'ranges'],
	'the first breaks, there are no ranges' => [sub { my ($a, $r, $n) = @_; whole($a); @$a{qw(stop close)} = (150_000, 1) if $n == 1 }, 'right', 'tried'],
	'no ranges, and it always breaks there' => [sub { my ($a, $r) = @_; whole($a); @$a{qw(stop close)} = (150_000, 1) }, 'failed', 'several'],
	'the first breaks, ranges are forbidden' => [sub { my ($a, $r, $n) = @_; if ($is_range->($r)) { $a->{status} = 403; $a->{headers}{'Content-Range'} = ''; $a->{send} = 'no' } elsif ($n == 1) { @$a{qw(stop close)} = (150_000, 1) } }, 'right', 'tried'],
	'the first breaks, no validator' => [sub { my ($a, $r) = @_; $a->{headers}{ETag} = ''; @$a{qw(stop close)} = (150_000, 1) }, 'failed', 'several'],
	'no length, and it breaks' => [sub { my ($a, $r) = @_; $a->{headers}{'Content-Length'} = ''; $a->{headers}{'Transfer-Encoding'} = 'chunked'; $a->{send} = "5\r\nabcde\r\n"; $a->{close} = 1 }, 'failed', 'several'],
	'everything always breaks' => [sub { my ($a) = @_; @$a{qw(stop close)} = (3, 1) }, 'failed', 'several'],
	'a new version meanwhile' => [sub { my ($a, $r, $n) = @_; renew($a, $r) if $n > 1 }, 'right', 'tried'],
	'a new version, and the first breaks' => [sub { my ($a, $r, $n) = @_; if ($n > 1) { renew($a, $r) } else { @$a{qw(stop close)} = (150_000, 1) } }, 'new', 'several'],
	'it is gone, and the first breaks' => [sub { my ($a, $r, $n) = @_; if ($n > 1) { $a->{status} = 404; $a->{headers}{'Content-Range'} = ''; $a->{send} = 'gone' } else { @$a{qw(stop close)} = (150_000, 1) } }, 'failed', 'several'],
	'each answer another version' => [sub { my ($a, $r, $n) = @_; $a->{headers}{ETag} = "\"v$n\""; $a->{body} = pattern($SIZE, $n); whole($a); @$a{qw(stop close)} = (150_000, 1) }, 'failed', 'several'],
);
sub whole { my ($a) = @_; @$a{qw(status from to)} = (200, 0, length($a->{body}) - 1) }
sub whole_range { my ($a, $r) = @_; @$a{qw(status from to)} = (206, $1, $2) if ($r->{headers}{'if-range'} // '') =~ /2020/ && $r->{headers}{range} =~ /^bytes=(\d+)-(\d+)$/ }
sub renew { my ($a, $r) = @_; my $b = answer($r, $new, '"new"'); %$a = %$b }

my (%script, %path);
for my $name (keys %wrong) {
	my $p = '/' . (join '-', $name =~ /\w+/g);
	$path{$name} = $p;
	my $what = $wrong{$name}[0];
	$script{$p} = sub {
		my ($c, $r) = @_;
		my $n = scalar $c->{origin}->requests($p); # itself among them
		my $a = answer($r, $old, '"old"');
		$what->($a, $r, $n);
		give($c, $a);
	};
}
my $slow = sub { my ($c, $r) = @_; give($c, answer($r, $old, '"old"')) };
my $plain = { cc => 'max-age=600', body => 'plain', etag => '"p"' };
our $origin = origin(%script,
	'/slow' => $slow,
	'/versions' => sub { my ($c, $r) = @_; my $v = -e "$dir/second" ? $new : $old; give($c, answer($r, $v, $v eq $new ? '"new"' : '"old"')) },
	'/plain' => $plain, '/a' => $plain, '/b' => $plain, '/c' => { cc => 'max-age=600', size => 300_000 },
	'/empty' => { body => '', etag => '"e"' },
	'/to-plain' => { status => 302, headers => [Location => '/plain'], cc => 'max-age=600' },
	'/loop' => { status => 302, headers => [Location => '/loop'] },
	'/nowhere' => { status => 302, headers => [Location => 'ftp://a.test/'] },
	'/error' => { status => 500, body => 'no' },
	'/broken' => { size => 100_000, break_after => 5000 },
);
my $other = origin('/plain' => $plain);
$origin->set('/down' => { status => 302, headers => [Location => $origin->url('/plain')] }, '/away' => { status => 307, headers => [Location => $other->url('/plain')] });

my $seq = 0;
sub fetch { # options, URL: (status, output, file)
	my $file = "$dir/file." . ++$seq;
	my ($s, $out) = run_cmd({ timeout => 90 * slow() }, passsage(), 'fetch', '-o', $file, '--parallel-min', '64K', '--upstream-ca', lab_ca(), '--state-dir', "$dir/none", @_);
	return ($s >> 8 || $s, $out, $file);
}
sub left { my ($file) = @_; join ' ', map { s/^\Q$file\E//r } grep { $_ ne $file } glob "$file*" }

# ---- the downloader

subtest 'arguments that are wrong' => sub {
	for ([[], qr/A URL is missing/], [['-o', 'x'], qr/A URL is missing/], [['-o', 'x', 'http://a.test/', 'http://b.test/'], qr/one URL at a time/], [['-o', 'x', 'a.test'], qr/a\.test: must be a URL such as/],
	     [['-o', '-', 'http://a.test/'], qr/must be the name of a file/], [['-o', 'x', '-j', 3, 'http://a.test/'], qr/-j is for/], [['-j', 0, 'http://a.test/'], qr/-j 0: must be 1 to 256/],
	     [['-H', 'Range: bytes=0-1', '-o', 'x', 'http://a.test/'], qr/a whole object/], [['-H', 'x', 'http://a.test/'], qr/must be a header field/], [['--http-concurrency', 65, '-o', 'x', 'http://a.test/'], qr/must be 1 to 64/]) {
		my ($args, $re) = @$_;
		my ($s, $out) = run_cmd(passsage(), 'fetch', @$args);
		is $s >> 8, 64, "status 64: @$args";
		like $out, $re, '… and the reason';
	}
	my ($s, $out, $file) = fetch($origin->url('/none'));
	is $s, 1, 'an error status: 1';
	like $out, qr/^passsage: \S+: the origin answered 404/, '… is said';
	is left($file), '', '… and nothing is left';
	ok !-e $file, '… nor a file';
	($s, $out, $file) = fetch('http://127.0.0.1:1/');
	is $s, 69, 'nobody there: 69';
	($s, $out) = run_cmd(passsage(), 'fetch', '-o', "$dir/no/such/folder", $origin->url('/plain'));
	is $s >> 8, 73, 'a file that cannot be made: 73';
	is $out =~ tr/\n//, 1, '… one line';
};

subtest 'small things' => sub {
	my ($s, $out, $file) = fetch($origin->url('/plain'));
	is $s, 0, 'a small object';
	is slurp($file), 'plain', '… its bytes';
	is $out, '', '… and not a word where there is no terminal';
	is left($file), '', '… nor other files';
	($s, $out, $file) = fetch($origin->url('/empty'));
	is "$s " . (-s $file // 'none'), '0 0', 'an empty one';
	($s, $out, $file) = fetch($origin->https('/c'));
	is $s, 0, 'https' or diag $out;
	same slurp($file), pattern(300_000), '… its bytes';
	spew("$dir/file." . ($seq + 1), 'before');
	($s, $out, $file) = fetch($origin->url('/error'));
	is slurp($file), 'before', 'what was there stays when it fails';
};

subtest 'redirects' => sub {
	my ($s, $out, $file) = fetch($origin->https('/to-plain'));
	is $s, 0, 'followed';
	is slurp($file), 'plain', '… to the end';
	for (['/loop', qr/redirected more than/], ['/nowhere', qr/redirected to where no redirect is followed/], ['/down', qr/no redirect is followed/, 'https']) {
		my ($path, $re, $scheme) = @$_;
		($s, $out, $file) = fetch($origin->url($path, $scheme // 'http'));
		is $s, 1, "$path: not followed";
		like $out, $re, '… and why';
		ok !-e $file, '… no file';
	}
	($s) = fetch('-H', 'Authorization: Bearer x', '-H', 'X-Y: z', $origin->url('/away'));
	is $s, 0, 'to another origin';
	is $origin->last('/away')->{headers}{authorization}, 'Bearer x', 'credentials go to whom they are for';
	is $other->last('/plain')->{headers}{authorization}, undef, '… and not to others';
	is $other->last('/plain')->{headers}{'x-y'}, 'z', '… who get the rest';
};

subtest 'faster than one connection' => sub {
	my $t = time;
	my ($s, $out, $file) = fetch($origin->url('/slow'));
	my $took = time - $t;
	is $s, 0, 'done' or diag $out;
	same slurp($file), $old, '… its bytes';
	ok $took < $SIZE / $rate * 0.7, sprintf '… in %.1f s, one needs %.1f', $took, $SIZE / $rate if !$ENV{SAN};
	my @r = $origin->requests('/slow');
	is $r[0]{headers}{range}, undef, 'the first request is for the whole';
	is scalar(grep { $_->{method} ne 'GET' } @r), 0, '… no HEAD';
	my @ranges = grep { $_->{headers}{range} } @r;
	cmp_ok scalar @ranges, '>=', 3, 'others are for ranges';
	is scalar(grep { ($_->{headers}{'if-range'} // '') ne '"old"' } @ranges), 0, '… of that version only';
	$origin->forget;
	($s, $out, $file) = fetch('--http-concurrency', 1, $origin->url('/slow'));
	is scalar($origin->requests('/slow')), 1, '--http-concurrency 1: one';
	same slurp($file), $old, '… its bytes';
	$origin->forget;
	($s, $out, $file) = fetch('--parallel-min', '1G', $origin->url('/slow'));
	is scalar($origin->requests('/slow')), 1, '--parallel-min: one';
};

for my $name (sort keys %wrong) {
	subtest "an origin with $name" => sub {
		my $t = time;
		my ($how, $end, $asks) = @{$wrong{$name}};
		my ($s, $out, $file) = fetch($origin->url($path{$name}));
		my @r = $origin->requests($path{$name});
		my @ranges = grep { $_->{headers}{range} } @r;
		if ($end eq 'failed') {
			isnt $s, 0, 'it fails';
			like $out, qr/^passsage: http\S+: \S/, '… and says why';
			ok !-e $file, '… no file';
			ok !-s "$file.part" || -s "$file.part.state", '… and what is kept is known';
		} else {
			is $s, 0, 'it is done' or diag $out;
			same slurp($file), $end eq 'new' ? $new : $old, '… and has one version\'s bytes';
			is left($file), '', '… nothing else is left';
		}
		is scalar @r, 1, 'one request' if $asks eq 'one';
		cmp_ok scalar @ranges, '>=', 1, 'a range was asked for' if $asks eq 'tried';
		cmp_ok scalar @ranges, '>=', 3, 'ranges were asked for' if $asks eq 'ranges';
		cmp_ok scalar @r, '>=', 2, 'more than one request' if $asks eq 'several';
		note sprintf '%.1f s', time - $t;
	};
}

# ---- interrupted

sub begin {
	my ($path, $file) = @_;
	my $p = spawn({ stderr => "$file.err" }, passsage(), 'fetch', '-o', $file, '--parallel-min', '64K', '--http-concurrency', 3, '--state-dir', "$dir/none", $origin->url($path));
	return $p;
}
sub there { my ($file) = @_; my $n = 0; my $t = slurp("$file.part.state") // ''; $n += $2 - $1 while $t =~ /^have (\d+)-(\d+)$/mg; return $n }
sub resume { my ($path, $file) = @_; my ($s, $out) = run_cmd({ timeout => 60 * slow() }, passsage(), 'fetch', '-o', $file, '--parallel-min', '64K', '--state-dir', "$dir/none", $origin->url($path)); return $s >> 8 || $s }
sub interrupted { # a file that was begun; the state has this much at least
	my ($path, $signal, $bytes) = @_;
	my $file = "$dir/file." . ++$seq;
	my $p = begin($path, $file);
	ok wait_until(sub { there($file) > $bytes || !$p->running }, 30, 'some of it'), 'some of it is there';
	$p->kill($signal);
	return ($file, $p->wait(30), there($file));
}

subtest 'kill -9, and again' => sub {
	$rate = 300_000;
	my $o = origin('/slow' => $slow, '/versions' => sub { my ($c, $r) = @_; my $v = -e "$dir/second" ? $new : $old; give($c, answer($r, $v, $v eq $new ? '"new"' : '"old"')) });
	local $origin = $o;
	my ($file, $status, $kept) = interrupted('/slow', 'KILL', 300_000);
	is $status, 9, 'killed';
	ok !-e $file, 'no file yet';
	wait_until(sub { $origin->requests <= grep { $_->{event} eq 'sent' } $origin->events }, 10, 'the origin to notice');
	$origin->forget;
	is resume('/slow', $file), 0, 'again';
	same slurp($file), $old, '… its bytes';
	is left($file), '.err', '… and nothing else is left';
	my @r = $origin->requests('/slow');
	like $r[0]{headers}{range}, qr/^bytes=([1-9]\d*)-$/, 'it went on with what was missing';
	is $r[0]{headers}{'if-range'}, '"old"', '… if that is the same version';
	my $sent = sub { my $n = 0; $n += $_->{bytes} for grep { $_->{event} eq 'sent' } $origin->events; $n };
	wait_until(sub { $sent->() >= $SIZE - $kept }, 10);
	cmp_ok $sent->(), '<=', $SIZE - $kept + 100_000, "… and with nothing else: $kept were there, " . $sent->() . ' came' if !$ENV{SAN};

	($file, $status, $kept) = interrupted('/slow', 'TERM', 300_000);
	is $status >> 8, 143, 'SIGTERM: 143';
	like slurp("$file.err"), qr/interrupted; the same command goes on from here/, '… and what to do';
	$origin->forget;
	my $p = begin('/slow', $file);
	wait_until(sub { $origin->requests('/slow') }, 10);
	my ($s, $out) = run_cmd(passsage(), 'fetch', '-o', $file, $origin->url('/slow'));
	is $s >> 8, 75, 'two at a time: 75';
	like $out, qr/another process is downloading to it/, '… and why';
	is $p->wait(60), 0, '… the first goes on';
	same slurp($file), $old, '… its bytes';

	my $hung = origin('/hang' => { delay => 60, body => '' });
	{
		local $origin = $hung;
		my $q = begin('/hang', "$dir/hung");
		$hung->wait_event('request');
		$q->kill('INT');
		is +($q->wait(10 * slow()) // 0) >> 8, 130, 'SIGINT before the origin has answered: 130';
		is left("$dir/hung"), '.err', '… and nothing is left';
	}

	($file) = interrupted('/versions', 'KILL', 300_000);
	spew("$dir/second", '');
	is resume('/versions', $file), 0, 'another version by now';
	same slurp($file), $new, '… is fetched, and nothing of the old is in it';

	for (['another boot', sub { s/^boot .*/boot 00000000-0000-0000-0000-000000000000/mr }], ['another URL', sub { s/^url .*/url http:\/\/a.test\//mr }], ['half a line', sub { s/^have .*\z/have 0-/msr }],
	     ['more than there is', sub { s/^have .*\z/have 0-99999999999\n/msr }], ['nothing', sub { '' }], ['no validator', sub { s/^etag .*\n//mr }], ['what was never written', sub { s/^have .*\z/have 5-5\n/msr }]) {
		my ($name, $change) = @$_;
		($file) = interrupted('/slow', 'KILL', 100_000);
		my $state = slurp("$file.part.state");
		{ local $_ = $state; $state = $change->(); }
		spew("$file.part.state", $state);
		spew("$file.part", 'x' x 1_000_000); # must not get into it
		is resume('/slow', $file), 0, "a state file with $name";
		same slurp($file), $old, '… is not believed';
	}
	$rate = 1_000_000;
};

# ---- through an instance

subtest 'the cache is warmed' => sub {
	my $proxy = proxy(workers => 2);
	my $run = sub { my ($opt, @args) = @_; my ($s, $out) = run_cmd({ timeout => 60 * slow(), %$opt }, passsage(), 'fetch', '--state-dir', $proxy->state_dir, @args); return ($s >> 8 || $s, $out) };
	my ($s, $out) = $run->({}, '-j', 3, map { ($origin->url($_), $origin->https($_)) } qw(/a /b /c));
	is $s, 0, 'six URLs, three at a time' or diag $out;
	is scalar(() = $out =~ /^200 +(?:5 B|293 KiB) miss +\d+\.\d{3} s  https?:\S+\/[abc]$/mg), 6, 'a line each: status, size, miss, time, URL' or diag $out;
	like $out, qr/^6 URLs, \d+ KiB in \d+\.\d+ s: 0 hits, 0 failed$/m, 'and the sums';
	is $proxy->curl($origin->https('/a'))->hit, 1, 'it has them';
	($s, $out) = $run->({}, map { $origin->https($_) } qw(/a /b));
	like $out, qr/: 2 hits, 0 failed$/m, 'again: hits' or diag $out;
	is $origin->hits('/b'), 2, 'the origin was asked once for each URL';
	spew("$dir/list", "# a list\n\n" . $origin->url('/plain') . "\r\n  " . $origin->url('/to-plain') . "\n" . $origin->url('/none'));
	($s, $out) = $run->({}, '--from', "$dir/list");
	is $s, 1, 'one of a list fails: 1';
	like $out, qr/^404 .* -  +\S+ s  \S+\/none: Not Found$/m, '… which is said';
	like $out, qr/^200 .*\/to-plain$/m, 'a redirect is followed';
	like $out, qr/^3 URLs, .*, 1 failed$/m, 'comments are not URLs';
	is $proxy->curl($origin->url('/plain'))->hit, 1, 'and where it leads is there, too';
	($s, $out) = $run->({}, $origin->url('/broken'), $origin->url('/error'), $origin->url('/a'));
	is $s, 1, 'what breaks off, and errors';
	like $out, qr/: \d hits?, 2 failed$/m, '… are counted' or diag $out;
	($s, $out) = run_cmd('sh', '-c', 'printf "%s\n" "$3" | "$1" fetch --state-dir "$2" --from -', 'sh', passsage(), $proxy->state_dir, $origin->url('/b'));
	like $out, qr/^1 URL, 5 B in .*: 1 hit, 0 failed$/m, 'standard input';
	($s, $out) = $run->({}, '--from', "$dir/none.such");
	is $s, 66, 'no such list: 66';
	$proxy->stop;
	($s, $out) = $run->({}, $origin->url('/a'));
	is $s, 69, 'no instance: 69';
	like $out, qr/no passsage runs with the state directory/, '… and why';
};

done_testing;
