# The commands explain, get, purge and bans, on a running instance and on its state directory, and the method PURGE. What is purged is found by no
# request that comes after, and what was under way does not come back.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use JSON::PP;
use Lab;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $big = pattern(300_000, 'big');
my $origin = origin(
	'/plain' => { cc => 'max-age=600', body => 'plain', etag => '"p"' },
	'/stale' => { cc => 'max-age=0', body => 'stale', etag => '"s"', conditional => 1 },
	'/guess' => { cc => 'max-age=0', body => 'no validator' },
	'/big' => { cc => 'max-age=600', body => $big },
	'/empty' => { cc => 'max-age=600', body => '' },
	'/bytes' => { cc => 'max-age=600', body => join('', map { chr } 0 .. 255), headers => ['Content-Type' => 'application/x-odd', 'X-Odd' => 'a  b', 'X-Odd' => 'c'] },
	'/nostore' => { cc => 'no-store', body => 'secret' },
	'/varied' => sub { my ($c, $r) = @_; $c->respond({ cc => 'max-age=600', vary => 'X-V', body => 'variant ' . ($r->{headers}{'x-v'} // 'none') }) },
	'/part' => sub { my ($c) = @_; $c->respond({ status => 206, cc => 'max-age=600', etag => '"part"', body => substr($big, -100), headers => ['Content-Range' => 'bytes 299900-299999/300000'] }) },
	'/pool/a.whl' => { cc => 'max-age=0', body => 'wheel' },
	'*' => { cc => 'max-age=600', body => 'any', etag => '"any"' },
);
my $policy = lab_dir() . '/policy';
spew($policy, 'rules = ( { type = "Suffix"; match = ".whl"; policy = "NoRefresh"; timeouts = { connect = 7; read = 0; }; } );');
my $proxy = proxy(workers => 3, policy_file => $policy, purge_from => '127.0.0.0/8', chunk_size => '64K', debug_token => 'open sesame', ban_seconds => 60);
my $dir = $proxy->state_dir;

sub cmd_in { my ($d, @args) = @_; my ($s, $out) = run_cmd({ timeout => 60 * slow() }, passsage(), @args, '--state-dir', $d); return ($s >> 8 || $s, $out) }
sub cmd { cmd_in($dir, @_) }
sub does { my ($want, $status, $name, @args) = @_; my ($s, $out) = cmd(@args); local $Test::Builder::Level = $Test::Builder::Level + 1; is($s, $status, $name) && like($out, $want, '… and says so') or diag $out; return $out }
sub told { my ($s, $out) = cmd('explain', '--json', @_); my $j = eval { decode_json($out) } or diag "explain @_: $s $out"; return $j // {} }
sub stored { my (@args) = @_; return wait_until(sub { my $j = told(@args); $j->{stored}{stored} && $j }, 10, "its commit: @args") } # and what is said of it
sub fetch { my ($url, @args) = @_; my $r = $proxy->curl(@args, $url); stored((grep { /^-H$|:/ } @args), $url); return $r }
my $u = $origin->url('');

subtest 'help, and arguments that are wrong' => sub {
	my ($s, $help) = cmd('--help');
	for my $name (qw(explain get purge bans steps help)) {
		like $help, qr/^  \Q$name\E\b/m, "--help has $name";
		($s, my $own) = cmd('help', $name);
		like $own, qr/^Usage: passsage $name\b/, "… help $name";
		is +(cmd($name, '--help'))[1], $own, "… is $name --help";
	}
	for ([['explian'], qr/explian: there is no such command; there are .*\bexplain\b/], [['help', 'me'], qr/no command me/],
	     [['explain'], qr/A URL is missing/], [['explain', 'http://a.test/', 'http://b.test/'], qr/one URL at a time/], [['explain', 'a.test'], qr/a\.test: must be a URL that begins with http/],
	     [['explain', '-H', 'x', 'http://a.test/'], qr/x: must be a header field such as/], [['explain', '--client', 'me', 'http://a.test/'], qr/me: must be an address/],
	     [['explain', '--jsno', 'http://a.test/'], qr/--jsno: there is no such option/], [['get'], qr/A URL is missing/], [['get', 'x'], qr/x: must be a URL/],
	     [['get', '-o'], qr/-o: needs a value/], [['purge'], qr/needs a URL, --prefix, --host or --all/], [['purge', '--all', 'http://a.test/'], qr/at a time/],
	     [['purge', 'x'], qr/x: must be a URL/], [['purge', '--prefix', '/x'], qr/must be the beginning of URLs/], [['purge', '--host', 'http://x/'], qr/must be a host such as/],
	     [['bans', 'life'], qr/life: must be list or lift/], [['bans', 'lift'], qr/needs a HOST, an ORIGIN or --all/], [['steps', 'x'], qr/no arguments/],
	     [['explain', '--port', '99999', 'http://a.test/'], qr/--port 99999: must be 0 to 65535/]) {
		my ($args, $re) = @$_;
		my ($status, $out) = cmd(@$args);
		is $status, 64, "status 64: @$args";
		like $out, $re, '… and the reason';
		unlike $out, qr/[ \t]$/m, '… without blanks at the end';
	}
};

subtest 'explain: rule, key, what is stored, and the verdict' => sub {
	my $j = told("$u/plain");
	is $j->{stored}{stored}, JSON::PP::false, 'nothing is stored';
	is $j->{verdict}{verdict}, 'FETCH', '… so it would be fetched';
	is $origin->hits('/plain'), 0, '… which explaining it does not';
	fetch("$u/plain");
	$j = told("$u/plain");
	is $j->{rule}{policy}, 'Standard', 'the policy';
	is $j->{rule}{connect_timeout}, 30, 'the timeouts';
	is $j->{stored}{id}, $j->{key}{document_id}, 'what is stored under its id';
	is $j->{stored}{status}, 200, '… its status';
	is $j->{stored}{size}, 5, '… its size';
	is $j->{stored}{lifetime}, 600, '… its lifetime';
	is $j->{stored}{etag}, '"p"', '… its validator';
	like $j->{stored}{stored_at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, '… and when';
	is "$j->{stored}{chunks} $j->{stored}{chunks_here}", '1 1', '… its chunk is here';
	is "$j->{verdict}{verdict} $j->{verdict}{reason}", 'HIT cache_hit_fresh', 'the verdict';
	is $proxy->curl("$u/plain")->hit, 1, '… is true';
	does(qr/^  rule +default\n  because +no rule matches/m, 0, 'for people', 'explain', "$u/plain");
	is told('-H', 'Cache-Control: no-cache', "$u/plain")->{verdict}{verdict}, 'REVALIDATE', 'a request that wants it confirmed';
	is told('-H', 'Cache-Control: no-store', "$u/plain")->{verdict}{reason}, 'request_no_store', '… that wants no cache';
	for ('X-Forwarded-Host: a.test', 'X-Original-URL: /a', 'Forwarded: for=192.0.2.1;host=a.test') {
		my $v = told('-H', $_, "$u/plain")->{verdict};
		is "$v->{verdict} $v->{reason} $v->{fwd}", 'PASS request_forwarded request', "… with $_";
		like $v->{because}, qr/X-Forwarded-Host/, '… and why that is';
		ok !$proxy->curl('-H', $_, "$u/plain")->hit, '… which is so';
	}
	is told('-H', 'X-Forwarded-For: 192.0.2.1', "$u/plain")->{verdict}{verdict}, 'HIT', '… one that every chained proxy adds';
	is told('-X', 'POST', "$u/plain")->{verdict}{reason}, 'no_cache_method', '… of another method';
	is told('-X', 'HEAD', "$u/plain")->{verdict}{reason}, 'head_synthetic_from_cache', '… HEAD';
	fetch("$u/stale");
	sleep 1.1;
	is told("$u/stale")->{verdict}{reason}, 'conditional_revalidation', 'a stale one with a validator';
	fetch("$u/guess");
	is told("$u/guess")->{verdict}{reason}, 'stale_no_validators', '… without';
	fetch("$u/pool/a.whl?x=1&y=%20z");
	$j = told("$u/pool/a.whl?x=1&y=%20z");
	is $j->{rule}{rule}, 'Suffix .whl', 'a rule of the instance\'s policy file';
	is $j->{rule}{because}, 'the path ends with it', '… why it matches';
	is "$j->{rule}{policy} $j->{rule}{connect_timeout} $j->{rule}{read_timeout}", 'NoRefresh 7 0', '… and what it says';
	is $j->{verdict}{reason}, 'cache_hit_norefresh', '… which decides';
	fetch("$u/big");
	is told("$u/big")->{stored}{chunks_here}, 5, 'a body in five chunks';
	fetch("$u/varied", '-H', "X-V: $_") for 1 .. 3;
	$j = told('-H', 'X-V: 2', "$u/varied");
	is $j->{stored}{variant}, 'x-v=2', 'the variant that this request selects';
	is $j->{variants}{count}, 3, '… among three';
	$j = told('-H', 'X-V: 4', "$u/varied");
	is $j->{stored}{stored}, JSON::PP::false, '… and none for another';
	is $j->{verdict}{fwd}, 'vary-miss', '… which is why the origin would be asked';
	spew($policy, 'rules = ( { type = "Client"; match = "10.0.0.0/8"; policy = "NoCache"; } );');
	$proxy->reload;
	ok wait_until(sub { told('--client', '10.1.1.1', "$u/plain")->{verdict}{reason} eq 'no_cache_policy' }, 10, 'the new rules'), 'rules that look at the client, after a reload';
	is told("$u/plain")->{rule}{policy}, 'Standard', '… who is nobody if it is not said';
};

subtest 'get: what is stored, exactly' => sub {
	my $asked = scalar $origin->requests;
	fetch("$u/bytes");
	fetch("$u/empty");
	my $file = lab_dir() . '/got';
	for (['/bytes', join '', map { chr } 0 .. 255], ['/big', $big], ['/empty', ''], ['/plain', 'plain']) {
		my ($path, $body) = @$_;
		unlink $file;
		is +(cmd('get', '-o', $file, "$u$path"))[0], 0, "get $path";
		same slurp($file), $body, '… is its body';
	}
	my ($s, $out) = run_cmd(passsage(), '--state-dir', $dir, 'get', '--head', "$u/bytes");
	like $out, qr/^HTTP\/1\.1 200 OK\r\n(?:[^\r\n]+\r\n)*\r\n\z/, '--head: the head';
	like $out, qr/^Content-Type: application\/x-odd\r$/m, '… with its fields';
	like $out, qr/^X-Odd: a  b\r\nX-Odd: c\r$/m, '… as they were';
	like +(cmd('get', '-i', "$u/plain"))[1], qr/\r\n\r\nplain\z/, '-i: both';
	is +(cmd('get', '-H', 'X-V: 3', "$u/varied"))[1], 'variant 3', 'a variant';
	does(qr/nothing is stored/, 1, 'one that is not there: status 1', 'get', '-H', 'X-V: 9', "$u/varied");
	does(qr/nothing is stored/, 1, '… nor is this URL', 'get', "$u/never");
	is scalar($origin->requests), $asked + 2, 'and the origin was asked for none of it';
	$proxy->curl('-r', '-100', "$u/part");
	ok wait_until(sub { (cmd('get', "$u/part"))[1] =~ /only a part of it is stored: bytes=-100/ }, 10, 'its commit'), 'of a part it is said';
	is told("$u/part")->{variants}{count}, 1, '… and shown';
	is told('-H', 'Range: bytes=-100', "$u/part")->{stored}{part}, 'bytes=-100', '… which answers a request for it';
	my ($hash) = told("$u/bytes")->{stored}{chunk_list}[0] =~ /^(\w{64}) here$/;
	my $chunk = join '/', $dir, 'store', 'data', (split //, $hash)[0 .. 3], $hash;
	chmod 0644, $chunk;
	spew($chunk, 'x' x 256);
	spew($file, 'what was there');
	is +(cmd('get', '-o', $file, "$u/bytes"))[0], 65, 'bytes that are not those that were stored: status 65';
	is slurp($file), 'what was there', '… and FILE stays as it was';
	is_deeply [glob "$file.*"], [], '… with nothing beside it';
	unlink $file;
	is +(cmd('get', '-o', $file, "$u/plain"))[0], 0, 'one that is well';
	is +(stat $file)[2] & 07777, 0666 & ~umask, '… has the mode that files have';
	is +(cmd('get', '-o', '/dev/null', "$u/plain"))[0], 0, 'what is no file is not replaced by one';
	ok -c '/dev/null', '… but written to';
	does(qr/^  chunk .* missing\n/m, 0, 'then it is gone', 'explain', "$u/bytes");
};

subtest 'purge: by URL, with all variants and parts' => sub {
	does(qr/^3 removed$/m, 0, 'three variants', 'purge', "$u/varied");
	does(qr/^0 removed$/m, 0, '… are not there any more', 'purge', "$u/varied");
	is told("$u/varied")->{variants}{count}, 0, '… as explain says';
	does(qr/^1 removed$/m, 0, 'a part', 'purge', "$u/part");
	ok $proxy->curl("$u/plain")->hit, 'others stay';
	my $before = $origin->hits('/again');
	my ($hits, $misses) = (0, 0);
	for my $i (1 .. 8) { # by turns in three workers
		fetch("$u/again");
		$hits += grep { $_->hit } map { $_->wait } map { $proxy->curl_bg("$u/again") } 1 .. 6;
		cmd('purge', "$u/again");
		$misses += grep { !$_->hit } $proxy->curl("$u/again");
	}
	is $hits, 48, 'what is stored is hit';
	is $misses, 8, '… and the next request after a purge never';
	is $proxy->metrics->{purged} > 10, 1, 'they are counted';
	like $proxy->log, qr/ info admin\S+ purge of url \Q$u\E\/varied: 3 removed/, '… and in the log';
};

subtest 'purge: by prefix, host, all' => sub {
	my $other = "http://127.0.0.1:$origin->{http}";
	my $fill = sub { fetch($_) for "$u/dir/a", "$u/dir/b?c", "$u/dirt", "$other/dir/a", $origin->https('/dir/a') };
	my $left = sub { join ' ', map { told($_->[1])->{stored}{stored} ? $_->[0] : () } ['a', "$u/dir/a"], ['b', "$u/dir/b?c"], ['dirt', "$u/dirt"], ['other', "$other/dir/a"], ['https', $origin->https('/dir/a')] };
	cmd('purge', '--all');
	$fill->();
	does(qr/^2 removed$/m, 0, 'a prefix', 'purge', '--prefix', "$u/dir/");
	is $left->(), 'dirt other https', '… ends where it ends';
	$fill->();
	does(qr/^3 removed$/m, 0, 'an origin', 'purge', '--prefix', $u);
	is $left->(), 'other https', '… is that one';
	$fill->();
	does(qr/^4 removed$/m, 0, 'a host', 'purge', '--host', 'LOCALHOST');
	is $left->(), 'other', '… with all its schemes and ports';
	$fill->();
	fetch("$u/varied", '-H', "X-V: $_") for 1 .. 2;
	does(qr/^7 removed$/m, 0, 'all', 'purge', '--all');
	is $left->(), '', '… is all';
	does(qr/^0 removed$/m, 0, '… of it', 'purge', '--all');
};

# How a purge comes: each must keep what is under way from being stored.
my %ways = (
	'purge URL' => sub { cmd('purge', $_[0]) },
	'purge --prefix' => sub { cmd('purge', '--prefix', $_[0]) },
	'purge --host' => sub { cmd('purge', '--host', 'localhost') },
	'purge --all' => sub { cmd('purge', '--all') },
	'PURGE' => sub { $proxy->curl('-X', 'PURGE', $_[0]) },
	'POST' => sub { $proxy->curl('-d', 'x', $_[0]) },
);

subtest 'what grows while it is purged, or overtaken by an unsafe request, is read to its end and not stored' => sub {
	my $n = 0;
	for my $way (sort keys %ways) {
		my $path = '/grows' . $n++;
		$origin->set($path => { cc => 'max-age=600', body => $big });
		my $paused = $origin->paused;
		$origin->pause_after(100_000, $path);
		my $reader = $proxy->curl_bg("$u$path");
		$origin->wait_paused($paused + 1);
		wait_until(sub { told("$u$path")->{stored}{being_fetched} }, 10, 'the fill');
		$origin->set($path => { cc => 'max-age=600', body => 'new' });
		$ways{$way}->("$u$path") if $way ne 'POST';
		if ($way eq 'POST') { $origin->set("$path" => { body => 'done' }); $ways{$way}->("$u$path"); $origin->set($path => { cc => 'max-age=600', body => 'new' }) }
		is $proxy->curl("$u$path")->body, 'new', "$way: who comes then asks the origin";
		$origin->resume;
		same $reader->wait->body, $big, '… who was there gets it whole';
		sleep 0.3; # what is stored wrongly would be by now
		is $proxy->curl("$u$path")->body, 'new', '… and it does not come back';
		ok wait_until(sub { $proxy->curl("$u$path")->hit }, 10, 'a hit'), '… but the new one is stored';
	}
};

subtest 'what was about to be confirmed is not, once it is purged' => sub {
	my $n = 0;
	for my $way (grep { $_ ne 'POST' } sort keys %ways) {
		my $path = '/confirm' . $n++;
		$origin->set($path => { cc => 'max-age=0', body => 'old', etag => '"c"', conditional => 1 });
		fetch("$u$path");
		my $paused = $origin->paused;
		$origin->pause_after(-1, $path);
		my $reader = $proxy->curl_bg("$u$path");
		$origin->wait_paused($paused + 1);
		$ways{$way}->("$u$path");
		$origin->resume;
		is $reader->wait->body, 'old', "$way: who was there is served";
		sleep 0.3;
		is told("$u$path")->{stored}{stored}, JSON::PP::false, '… and nothing is stored';
	}
};

subtest 'a purge right behind the last byte, when the document is on its way into the database' => sub {
	my $back = 0;
	for my $i (1 .. 10) {
		$proxy->curl("$u/behind");
		$proxy->curl('-X', 'PURGE', "$u/behind");
		sleep 0.1 if $i % 3 == 0;
		$back++ if $proxy->curl('-H', 'Cache-Control: only-if-cached', "$u/behind")->status != 504;
	}
	is $back, 0, 'it does not come back';
};

subtest 'the method PURGE' => sub {
	fetch("$u/method");
	my $r = $proxy->curl('-X', 'PURGE', "$u/method");
	is $r->status, 200, 'status 200';
	is $r->body, "1 removed\n", '… and how many';
	$r = $proxy->curl('-X', 'PURGE', "$u/method");
	is $r->status, 404, '404 when there was nothing';
	fetch($origin->https('/method'));
	is $proxy->curl('-X', 'PURGE', $origin->https('/method'))->status, 200, 'in an intercepted connection';
	is told($origin->https('/method'))->{stored}{stored}, JSON::PP::false, '… likewise';
	is $proxy->curl('-X', 'purge', "$u/lower")->body, 'any', 'methods know upper and lower case';
	for my $from (undef, '192.0.2.0/24,::1') {
		my $p = proxy(workers => 1, $from ? (purge_from => $from) : ());
		$p->curl("$u/method");
		$r = $p->curl('-X', 'PURGE', "$u/method");
		is $r->status, 403, ($from ? 'from another address' : 'by default') . ': 403';
		like $r->body, qr/purge_from/, '… and which setting';
		ok wait_until(sub { $p->curl("$u/method")->hit }, 10, 'a hit'), '… and it stays';
		is $p->curl('-X', 'PURGE', $origin->https('/method'))->status, 403, '… within TLS, too';
		$p->stop;
	}
	is scalar(grep { $_->{method} eq 'PURGE' } $origin->requests), 0, 'none of them reached the origin';
};

subtest 'bans' => sub {
	my $there = 'http://127.0.0.1:' . free_port();
	does(qr/^origin +banned/m, 0, 'a list', 'bans');
	$proxy->curl("$there/$_") for 1 .. 2;
	does(qr/^\Q$there\E +\d+\.\d s left of 60 /m, 0, 'with what is banned', 'bans', 'list');
	is told("$there/x")->{origin}{banned}, JSON::PP::true, '… as explain says';
	like told("$there/x")->{verdict}{but} // '', qr/the origin is banned, so it is not asked: the request fails at once/, '… and what comes of it';
	does(qr/must be a host such as example.com, or an origin/, 64, 'a URL is no origin', 'bans', 'lift', "$there/x");
	does(qr/no failure of 192\.0\.2\.1 is known/, 1, 'another host', 'bans', 'lift', '192.0.2.1');
	is $proxy->metrics->{origins_banned}, 1, '… changes nothing';
	does(qr/^1 lifted$/m, 0, 'lifted', 'bans', 'lift', $there);
	is $proxy->metrics->{origins_banned}, 0, '… it is not banned';
	$proxy->curl("$there/$_") for 1 .. 2;
	does(qr/^1 lifted$/m, 0, 'by its host', 'bans', 'lift', '127.0.0.1');
	does(qr/no failure of http:..192\.0\.2\.1:80 is known/, 1, 'an origin without its port is one', 'bans', 'lift', 'http://192.0.2.1/');
	does(qr/^0 lifted$/m, 0, 'all of none', 'bans', 'lift', '--all');
};

subtest 'who may' => sub {
	my @st = stat "$dir/run/admin";
	is sprintf('%o', $st[2] & 07777), '600', 'the socket is its owner\'s';
	my $ask = sub { my ($method, $path, @h) = @_; my ($s, $out) = run_cmd('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '-X', $method, (map { ('-H', $_) } @h), "http://127.0.0.1:" . $proxy->health . $path); $out };
	is $ask->('POST', '/purge?all=1'), 405, 'by the health port: not without the token';
	is $ask->('POST', '/purge?all=1', 'Authorization: Bearer sesame'), 405, '… nor with another';
	is $ask->('GET', '/purge?all=1'), 404, '… nor by GET';
	is $ask->('POST', '/bans/lift?all=1'), 405, '… nor are bans lifted';
	fetch("$u/token");
	is $ask->('GET', '/purge?all=1', 'Authorization: Bearer open sesame'), 405, 'with the token: POST alone';
	ok $proxy->curl("$u/token")->hit, '… until then nothing has happened';
	is $ask->('POST', "/purge?url=$u/token", 'Authorization: Bearer open sesame'), 200, '… does it';
	ok !$proxy->curl("$u/token")->hit, '… and it is gone';
	is $ask->('POST', '/purge', 'Authorization: Bearer open sesame'), 400, 'but what?';
	is $ask->('GET', "/debug/explain?url=$u/token"), 200, 'to explain is for this machine';
	is $ask->('GET', "/debug/explain?url=$u/token", 'Host: rebound.example'), 404, '… but not for a page in a browser here whose own name leads to us';
	is $ask->('GET', "/debug/explain?url=$u/token", 'Host: localhost:1'), 200, '… under a name of ours';
	is $proxy->curl('-X', 'POST', "http://127.0.0.1:" . $proxy->health . '/purge?all=1')->status, 405, 'through the proxy: no';
};

subtest 'as many as there are places for clients, and more' => sub {
	my ($admin) = $proxy->pids('admin');
	my $connect = sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $proxy->health) // die "connect: $!" };
	for my $round (1 .. 3) {
		my @clients = map { $connect->() } 1 .. 64;
		CORE::kill('STOP', $admin); # so that it finds all of it at once
		print $_ "GET /debug/explain HTTP/1.1\r\nHost: localhost\r\n\r\n" for @clients;
		my @more = map { $connect->() } 1 .. 8;
		CORE::kill('CONT', $admin);
		my %got;
		for (@clients) { my $line = <$_> // ''; $got{$line =~ / (\d+) / ? $1 : 'nothing'}++ }
		ok $got{400} && $got{503}, "some are answered, others refused (round $round)" or diag explain \%got; # who came too early may be closed for who came late
	}
	is_deeply [ $proxy->pids('admin') ], [ $admin ], '… and the process goes on';
};

subtest 'the admin process dies' => sub {
	fetch("$u/admin");
	my ($admin) = $proxy->pids('admin');
	kill 'KILL', $admin;
	does(qr/^1 removed$/m, 0, 'a command waits for its successor', 'purge', "$u/admin");
};

subtest 'no instance runs' => sub {
	fetch("$u/$_") for 'plain', 'big', 'off/1', 'off/2';
	fetch("$u/varied", '-H', "X-V: $_") for 1 .. 2;
	$proxy->stop;
	ok !-e "$dir/run/pid", 'it is gone';
	my $j = told("$u/big");
	is $j->{stored}{chunks_here}, 5, 'explain works on the state directory';
	like $j->{origin}{instance}, qr/does not run/, '… and says so';
	my ($s, $out) = cmd('get', "$u/big");
	same $out, $big, 'get does';
	my $file = lab_dir() . '/offline'; # where only who calls may write
	is +(cmd('get', '-o', $file, "$u/plain"))[0], 0, '… into a file';
	is slurp($file), 'plain', '… of its caller';
	is +(cmd('get', '-o', $file, "$u/never"))[0], 1, 'what is not there';
	is slurp($file), 'plain', '… spoils no file';
	is +(cmd('get', '-o', "$file.new", "$u/never"))[0], 1, '… and makes none';
	ok !-e "$file.new", '… at all';
	does(qr/^2 removed$/m, 0, 'purge does', 'purge', "$u/varied");
	does(qr/^2 removed$/m, 0, '… by prefix', 'purge', '--prefix', "$u/off/");
	does(qr/no passsage runs on/, 69, 'bans are those of an instance', 'bans');
	my $owner = (stat "$dir/meta")[4];
	is scalar(grep { (stat $_)[4] != $owner } glob "$dir/meta/* $dir/meta.lock"), 0, 'the database\'s files are still its owner\'s';
	is +(cmd_in("$dir/none", 'purge', '--all'))[0], 66, 'no such state directory: status 66';
	like +(cmd_in("$dir/none", 'purge', '--all'))[1], qr/--state-dir/, '… and what to look at';
	is +(cmd_in("$dir/none", 'get', "$u/plain"))[0], 1, '… get: nothing is stored there';
	is +(cmd_in("$dir/none", 'explain', "$u/plain"))[0], 0, '… explain tells of rules all the same';
	ok !-e "$dir/none", '… and nothing is made there';
	$proxy->launch;
	ok $proxy->curl("$u/plain")->hit, 'an instance goes on from there';
	ok !$proxy->curl("$u/off/1")->hit, '… without what was purged';
	$proxy->stop;
};

subtest 'a state directory with a long name' => sub {
	my $long = lab_dir() . '/' . join '/', ('long' x 20) x 3;
	run_cmd('mkdir', '-p', $long);
	chmod 0777, $long;
	my $p = proxy(workers => 1, state_dir => "$long/state");
	$p->curl("$u/plain");
	ok wait_until(sub { (cmd_in("$long/state", 'purge', "$u/plain"))[1] =~ /^1 removed/m }, 10, 'its commit'), 'is no obstacle';
	$p->stop;
};
done_testing;
