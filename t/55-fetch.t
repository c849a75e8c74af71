# passsage fetch: a downloader that is fast where it can be, and right whatever the origin does: its bytes are one version's, or it fails and says
# so, and no file appears. And the same command through a running instance, which then has what was fetched.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Lab;
use Lab::Liar;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $SIZE = 1_000_000;
my $rate = 1_000_000; # bytes a second of a connection
my $liar = Lab::Liar->new(size => $SIZE, rate => $rate);
my ($old, $new) = map { $liar->version($_) } '"old"', '"new"';
my $dir = lab_dir();

my $slow = sub { my ($c, $r) = @_; $liar->honest($c, $r, $old, '"old"') };
my $versions = sub { my ($c, $r) = @_; $liar->honest($c, $r, -e "$dir/second" ? ($new, '"new"') : ($old, '"old"')) };
my $plain = { cc => 'max-age=600', body => 'plain', etag => '"p"' };
our $origin = origin($liar->script,
	'/slow' => $slow, '/versions' => $versions,
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

for my $name ($liar->names) {
	subtest "an origin with $name" => sub {
		my $t = time;
		my ($path, $end, $asks) = map { $liar->$_($name) } qw(path end asks);
		my ($s, $out, $file) = fetch($name =~ /stall/ ? ('--upstream-read-timeout', 3) : (), $origin->url($path));
		my @r = $origin->requests($path);
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
	local $liar->{rate} = 300_000;
	my $o = origin('/slow' => $slow, '/versions' => $versions);
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
