# What HTTP says of caches, seen from outside (the clauses themselves are rows of t/unit/policy_*.c): stored, fresh, validated, selected, cut, dropped.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Lab;
use Test::More;
use POSIX 'strftime';

my $old = 'Mon, 01 Jan 2024 00:00:00 GMT';
my $body = pattern(100000);
my $origin = origin(
	'/fresh' => { cc => 'max-age=60', body => 'fresh', etag => '"f"', lm => $old },
	'/stale' => { cc => 'max-age=0', body => 'stale', etag => '"s"', conditional => 1, headers => ['X-Version' => 1] },
	'/lm' => { cc => 'max-age=0', body => 'dated', lm => $old, conditional => 1 },
	'/novalidator' => { cc => 'max-age=0', body => 'none' },
	'/nostore' => { cc => 'no-store', body => 'never' },
	'/private' => { cc => 'private, max-age=60', body => 'mine' },
	'/auth' => { cc => 'max-age=60', body => 'for one' },
	'/auth-public' => { cc => 'public, max-age=60', body => 'for all' },
	'/range' => { cc => 'max-age=60', body => $body, etag => '"r"', lm => $old, headers => ['Content-Type' => 'text/x'] },
	'/unsafe' => { cc => 'max-age=60', body => 'state' },
	'/aged' => { cc => 'max-age=60', body => 'a', headers => [Age => 20] },
	'/old' => { cc => 'max-age=60', body => 'a', headers => [Age => 100] },
	'/sie' => { cc => 'max-age=0, stale-if-error=60', body => 'good', etag => '"g"' },
	'/404' => { status => 404, cc => 'max-age=60', body => 'not there' },
	'/redirect' => { status => 301, cc => 'max-age=60', headers => [Location => '/fresh'], body => 'moved' },
	'/302' => { status => 302, headers => [Location => '/fresh'], body => 'for now' },
	'/cookie' => { cc => 'max-age=60', headers => ['Set-Cookie' => 'a=1'], body => 'x' },
	'/hop' => { cc => 'max-age=60', headers => [Connection => 'X-Private', 'X-Private' => 1, 'Proxy-Authenticate' => 'Basic', 'X-Public' => 2], body => 'x' },
	'/gzip' => { cc => 'max-age=60', body => 'coded', headers => ['Content-Encoding' => 'gzip'] },
	'/same.deb' => { cc => 'max-age=0', body => 'package', etag => '"d"' },
	'/vary' => sub {
		my ($c, $req) = @_;
		my $lang = $req->{headers}{'accept-language'} // 'none';
		$c->respond({ cc => 'max-age=60', vary => 'Accept-Language', body => "in $lang", etag => "\"$lang\"" });
	},
	'/vary-star' => { cc => 'max-age=60', vary => '*', body => 'x' },
	'/head-only' => { cc => 'max-age=60', body => 'h' },
	'/nocache-req' => { cc => 'max-age=60', body => 'n', etag => '"n"', conditional => 1 },
	'*' => { cc => 'max-age=60', body => 'default' },
);
my $proxy = proxy(workers => 2);
my $n = 0;
sub get { my ($path, @args) = @_; $proxy->curl(@args, $origin->https($path)) }
sub twice { my ($path, @args) = @_; (get($path, @args), get($path, @args)) }

subtest 'a miss is stored, a hit asks nobody' => sub {
	my ($miss, $hit) = twice('/fresh');
	is $miss->body, 'fresh', 'miss';
	ok !defined $miss->header('cache-status'), '… without Cache-Status';
	is $hit->body, 'fresh', 'hit';
	is $hit->header('cache-status'), 'passsage;hit;detail=object-store', '… with it';
	like $hit->header('age'), qr/^[0-2]$/, '… with Age';
	is $hit->header($_), $miss->header($_), "… $_ as it was" for qw(etag last-modified date cache-control content-length);
	like $hit->header('via'), qr/passsage/, '… Via of now';
	isnt $hit->header('x-request-id'), $miss->header('x-request-id'), '… an id of its own';
	is $origin->hits('/fresh'), 1, 'the origin saw one request';
	my $plain = $proxy->curl($origin->url('/fresh'));
	ok !$plain->hit, 'http and https are not the same';
	my $m = $proxy->counted(sub { get('/fresh') });
	is $m->{hits}, 1, 'it is counted';
	is $m->{bytes_cached}, 5, '… in bytes too';
};

subtest 'what is stale is validated, and a 304 renews its fields' => sub {
	get('/stale');
	$origin->set('/stale', { cc => 'max-age=60', body => 'stale', etag => '"s"', conditional => 1, headers => ['X-Version' => 2] });
	my $r = get('/stale');
	is $r->status, 200, 'the client sees no 304 that it did not ask for';
	is $r->body, 'stale', '… but what was stored';
	is $origin->hits('/stale', 304), 1, 'the origin said 304';
	is $origin->last('/stale')->{headers}{'if-none-match'}, '"s"', '… to our validator';
	ok $r->hit, 'it came from the cache';
	is $r->header('x-version'), 2, 'fields of the 304 replace the stored ones';
	$r = get('/stale');
	is $origin->hits('/stale'), 2, 'and it is fresh now';
	is $r->header('x-version'), 2, '… with them';
	twice('/lm');
	is $origin->last('/lm')->{headers}{'if-modified-since'}, $old, 'by date where there is no ETag';
	twice('/novalidator');
	is $origin->hits('/novalidator'), 2, 'without validators it is fetched again';
	$origin->set('/changed', { cc => 'max-age=0', body => 'one', etag => '"1"', conditional => 1 });
	get('/changed');
	$origin->set('/changed', { cc => 'max-age=60', body => 'two', etag => '"2"', conditional => 1 });
	is get('/changed')->body, 'two', 'what changed is replaced';
	is get('/changed')->body, 'two', '… for good';
	is $origin->hits('/changed'), 2, '… with one request';
};

subtest 'what is not fresh is not reused, however soon' => sub {
	my $w = $proxy->wire;
	for my $i (1 .. 5) {
		for my $how ('none', 'zero', 'no-cache') {
			my $path = "/unfresh-$how-$i";
			$origin->set($path => { body => 'now', $how eq 'none' ? () : (cc => $how eq 'zero' ? 'max-age=0' : 'no-cache') }) if $i == 1;
			$w->get($origin->url("/unfresh-$how-1?$i"), 'x') for 1, 2;
		}
	}
	for my $how ('none', 'zero', 'no-cache') {
		my @wrong = grep { $origin->hits("/unfresh-$how-1?$_") != 2 } 1 .. 5;
		is scalar(@wrong), 0, "$how: the origin was asked each time";
	}
};

subtest 'what must not be stored is not' => sub {
	for (['/nostore'], ['/private'], ['/auth', '-H', 'Authorization: Bearer x'], ['/vary-star'], ['/nostore-request', '-H', 'Cache-Control: no-store']) {
		my ($path, @args) = @$_;
		my ($a, $b) = twice($path, @args);
		ok !$b->hit, "$path @args";
		is $origin->hits($path), 2, '… asked each time';
		my $other = get($path);
		ok !$other->hit, '… and nobody else gets it';
	}
	twice('/auth-public', '-H', 'Authorization: Bearer x');
	is $origin->hits('/auth-public'), 1, 'public allows it in spite of Authorization (RFC 9111 3.5)';
	$origin->set('/renewed' => { cc => 'max-age=1', etag => '"r"', body => 'for all', conditional => 1 });
	get('/renewed');
	$origin->set('/renewed' => { cc => 'max-age=1000', etag => '"r"', body => 'for all', conditional => 1, headers => ['X-User' => 'alice'] });
	my $hers = get('/renewed', '-H', 'Authorization: Bearer x');
	is $hers->header('X-User'), 'alice', 'a validation with credentials answers who has them';
	is $origin->hits('/renewed', 304), 1, '… by a 304';
	is get('/renewed', '-H', 'Cache-Control: only-if-cached, max-stale')->header('X-User'), undef, '… but what it said is nobody else\'s';
	$hers = get('/renewed', '-I', '-H', 'Authorization: Bearer x');
	is $hers->header('X-User'), 'alice', '… and so is what a HEAD with credentials said';
	is get('/renewed', '-H', 'Cache-Control: only-if-cached, max-stale')->header('X-User'), undef, '… which is not stored either';
	my @stored = grep { -f } glob $proxy->state_dir . '/store/*/*/*/*/*';
	unlike join('', map { slurp($_) } @stored), qr/never|mine|for one/, 'nothing of them is on the disk';
};

subtest 'variants' => sub {
	my @l = map { my $l = $_; sub { get('/vary', '-H', "Accept-Language: $l") } } qw(de fr);
	is $l[0]->()->body, 'in de', 'one';
	is $l[1]->()->body, 'in fr', 'another';
	for (0, 1) { my $r = $l[$_]->(); ok $r->hit, 'both are kept'; is $r->body, $_ ? 'in fr' : 'in de', '… and told apart' }
	is get('/vary')->body, 'in none', 'the field missing is a third';
	is $origin->hits('/vary'), 3, 'three requests in all';
};

subtest 'several that match: the newest (RFC 9111 4.1)' => sub {
	my $seq = 0;
	for my $vary (undef, 'Accept-Language', undef, 'Accept-Language, Foo', 'Accept-Language') { # by turns under another name
		my $body = 'answer ' . ++$seq;
		$origin->set('/recent' => { cc => 'max-age=60', body => $body, defined $vary ? (vary => $vary) : () });
		is get('/recent', '-H', 'Cache-Control: no-cache')->body, $body, "$body, " . (defined $vary ? "Vary: $vary" : 'without Vary');
		ok wait_until(sub { my $r = get('/recent'); $r->hit && $r->body eq $body }, 5), '… is served from now on';
	}
};

subtest 'Accept-Encoding as a set, by setting' => sub {
	my $p = proxy(workers => 1, normalize_accept_encoding => 'true');
	$origin->set('/coded-set' => { cc => 'max-age=60', vary => 'Accept-Encoding', body => 'x' });
	for my $who ($p, $proxy) {
		my $n = $origin->hits('/coded-set');
		$who->curl('-H', "Accept-Encoding: $_", $origin->url('/coded-set')) for 'gzip, br', 'br;q=1.0, gzip;q=0.8, lzma', 'BR , x-gzip', 'identity';
		is $origin->hits('/coded-set') - $n, $who == $p ? 2 : 4, $who == $p ? 'three ways to say the same are one variant, and none is another' : 'else they are as many as their words';
		is $origin->last('/coded-set')->{headers}{'accept-encoding'}, 'identity', '… the origin sees it';
	}
	is +(grep { ($_->{headers}{'accept-encoding'} // '') eq 'br, gzip' } $origin->requests('/coded-set'))[0]->{headers}{'accept-encoding'}, 'br, gzip', '… in the order that is ours';
	$p->stop;
};

subtest 'Cache-Status to the letter (its rules are rows of t/unit/policy_cachestatus.c)' => sub {
	my $p = proxy(workers => 1, cache_status => 'all');
	my sub status { my ($path, @args) = @_; $p->curl(@args, $origin->url($path))->header('cache-status') // '' }
	$origin->set('/cs-stale' => { cc => 'max-age=0', body => 's', etag => '"s"', conditional => 1 }, '/cs-vary' => { cc => 'max-age=60', vary => 'Foo', body => 'v' },
	             '/cs-fail' => { cc => 'max-age=0', body => 'f', etag => '"f"' });
	is status('/cs-fresh'), 'passsage;fwd=uri-miss;fwd-status=200;stored', 'a miss';
	like status('/cs-fresh'), qr/^passsage;hit;detail=object-store;ttl=(?:60|59|58)$/, 'a hit, and for how long yet';
	wait_until(sub { status('/cs-fresh', '-H', 'Cache-Control: only-if-cached') =~ /hit/ }, 5, 'its commit');
	like status('/cs-fresh', '-H', 'Cache-Control: no-cache'), qr/^passsage;fwd=request;fwd-status=200;stored$/, 'who wants it asked';
	is status('/nostore'), 'passsage;fwd=uri-miss;fwd-status=200', 'what is not stored';
	is status('/cs-fresh', '-d', 'x'), 'passsage;fwd=method;fwd-status=200', 'POST';
	is status('/cs-vary'), 'passsage;fwd=uri-miss;fwd-status=200;stored', 'a first variant';
	wait_until(sub { status('/cs-vary', '-H', 'Cache-Control: only-if-cached') =~ /hit/ }, 5, 'its commit');
	is status('/cs-vary', '-H', 'Foo: 2'), 'passsage;fwd=vary-miss;fwd-status=200;stored', 'a second';
	status($_) for qw(/cs-stale /cs-fail);
	wait_until(sub { status($_, '-H', 'Cache-Control: only-if-cached, max-stale') =~ /hit/ }, 5, 'its commit') for qw(/cs-stale /cs-fail);
	like status('/cs-stale'), qr/^passsage;fwd=stale;fwd-status=304;detail=object-store;ttl=0$/, 'what the origin confirmed';
	$origin->set('/cs-fail' => { status => 503, body => 'no' });
	like status('/cs-fail'), qr/^passsage;fwd=stale;fwd-status=503;detail=object-store;ttl=(?:0|-\d+)$/, 'what is served for an error';
	is status('/cs-none', '-H', 'Cache-Control: only-if-cached'), 'passsage;detail=only_if_cached', 'what nobody was asked for';
	is $p->curl('http://127.0.0.1:' . free_port() . '/')->header('cache-status'), 'passsage;fwd=uri-miss', 'what nobody answered';
	$p->stop;
};

subtest 'ranges of what is stored' => sub {
	get('/range');
	for (['0-9', 0, 10], ['99990-', 99990, 10], ['-5', 99995, 5], ['50000-50999', 50000, 1000], ['99990-200000', 99990, 10], ['-200000', 0, 100000]) {
		my ($range, $from, $n) = @$_;
		my $r = get('/range', '-r', $range);
		is $r->status, 206, "bytes=$range";
		same $r->body, substr($body, $from, $n), '… the right bytes';
		is $r->header('content-range'), "bytes $from-" . ($from + $n - 1) . '/100000', '… and says which';
		is $r->header('content-length'), $n, '… and how many';
		is $r->header('content-type'), 'text/x', '… of what type';
	}
	my $r = get('/range', '-r', '0-4,10-14,-3');
	is $r->status, 206, 'several';
	my ($b) = ($r->header('content-type') // '') =~ m{^multipart/byteranges; *boundary="?([^"]+)"?} or fail 'boundary';
	my @parts = split /\r\n--\Q$b\E(?:--)?\r\n/, "\r\n" . $r->body;
	is scalar(grep { /Content-Range: bytes 0-4\/100000/i && /\r\n\r\n\Q@{[substr $body, 0, 5]}\E$/s } @parts), 1, '… the first part';
	is scalar(grep { /Content-Range: bytes 99997-99999\/100000/i && /\r\n\r\n\Q@{[substr $body, -3]}\E$/s } @parts), 1, '… the last';
	is length $r->body, $r->header('content-length'), '… in the length that was said';
	$r = get('/range', '-r', '100000-');
	is $r->status, 416, 'beyond the end';
	is $r->header('content-range'), 'bytes */100000', '… says the size';
	is get('/range', '-H', 'Range: bytes=5-2')->status, 200, 'nonsense is ignored';
	is get('/range', '-H', 'Range: lines=1-2')->status, 200, 'other units too';
	is get('/range', '-r', '0-9', '-H', 'If-Range: "r"')->status, 206, 'If-Range that matches';
	is get('/range', '-r', '0-9', '-H', "If-Range: $old")->status, 206, '… by date';
	is get('/range', '-r', '0-9', '-H', 'If-Range: "other"')->status, 200, 'If-Range that does not: the whole';
	is get('/range', '-r', '0-9', '-H', 'If-Range: W/"r"')->status, 200, 'nor does a weak one';
	is $origin->hits('/range'), 1, 'and the origin has sent it once';
	for my $range ('10-19', '-7') {
		my $r = get("/range?first=$range", '-r', $range);
		is $r->status, 206, "a range of what is not stored: $range" if $r->status == 206;
		same $r->body, $r->status == 206 ? substr($body, $range eq '-7' ? -7 : 10, $range eq '-7' ? 7 : 10) : $body, '… the right bytes';
	}
};

subtest 'HEAD' => sub {
	get('/fresh');
	my $r = get('/fresh', '-I');
	ok $r->hit, 'is answered from a stored GET';
	is $r->header('content-length'), 5, '… with its length';
	is $r->header('etag'), '"f"', '… and fields';
	get('/head-only', '-I');
	is get('/head-only')->body, 'h', 'a HEAD that was relayed does not become an empty GET';
};

subtest 'conditional requests are answered from the cache' => sub {
	get('/fresh');
	my $hits = $origin->hits('/fresh');
	for (['If-None-Match: "f"', 304], ['If-None-Match: "x", W/"f"', 304], ['If-None-Match: *', 304], ['If-None-Match: "x"', 200],
	     ["If-Modified-Since: $old", 304], ['If-Modified-Since: Sun, 31 Dec 2023 23:59:59 GMT', 200], ['If-Modified-Since: nonsense', 200]) {
		my $r = get('/fresh', '-H', $_->[0]);
		is $r->status, $_->[1], $_->[0];
		is $r->body, $_->[1] == 200 ? 'fresh' : '', '… body';
		is $r->header('etag'), '"f"', '… ETag';
	}
	is get('/fresh', '-H', 'If-None-Match: "x"', '-H', "If-Modified-Since: $old")->status, 200, 'If-None-Match is the stronger one';
	is $origin->hits('/fresh'), $hits, 'nobody was asked';
	is get('/fresh-inm', '-H', 'If-None-Match: "x"')->body, 'default', 'a miss with a condition gets the whole';
	ok get('/fresh-inm')->hit, '… which was stored';
};

subtest 'request directives' => sub {
	get('/nocache-req');
	ok get('/nocache-req')->hit, 'stored';
	get('/nocache-req', '-H', 'Cache-Control: no-cache');
	is $origin->hits('/nocache-req', 304), 1, 'no-cache validates';
	get('/nocache-req', '-H', 'Pragma: no-cache');
	is $origin->hits('/nocache-req', 304), 2, 'so does Pragma';
	get('/nocache-req', '-H', 'Cache-Control: max-age=0');
	is $origin->hits('/nocache-req', 304), 3, '… and max-age=0';
	is get('/only', '-H', 'Cache-Control: only-if-cached')->status, 504, 'only-if-cached on a miss: 504';
	is $origin->hits('/only'), 0, '… nobody was asked';
	is get('/nocache-req', '-H', 'Cache-Control: only-if-cached')->status, 200, 'on a hit: the hit';
};

subtest 'an unsafe method that succeeds invalidates' => sub {
	twice('/unsafe');
	is $origin->hits('/unsafe'), 1, 'stored';
	is get('/unsafe', '-X', 'POST', '-d', 'x')->status, 200, 'POST';
	ok !get('/unsafe')->hit, '… and it is gone';
	ok get('/unsafe')->hit, 'stored again';
	$origin->set('/unsafe', { status => 500, body => 'no' });
	get('/unsafe', '-X', 'PUT', '-d', 'x');
	ok get('/unsafe')->hit, 'one that fails does not';
};

subtest 'Age' => sub {
	my ($miss, $hit) = twice('/aged');
	ok $hit->hit, 'stored';
	cmp_ok $hit->header('age'), '>=', 20, 'the origin\'s Age counts';
	is scalar($hit->headers('age')), 1, '… one field';
	twice('/old');
	is $origin->hits('/old'), 2, 'what arrives too old is not fresh';
};

subtest 'other statuses' => sub {
	is $_->status, 404, 'a 404 that may be stored' for twice('/404');
	is $origin->hits('/404'), 1, '… is';
	is $_->header('location'), '/fresh', 'a redirect' for twice('/redirect');
	is $origin->hits('/redirect'), 1, '… is stored';
	twice('/302');
	is $origin->hits('/302'), 2, 'one without explicit freshness is not';
};

subtest 'end-to-end fields are stored, those of a hop are not' => sub {
	my ($miss, $hit) = twice('/hop');
	ok $hit->hit, 'stored';
	is $hit->header('x-public'), 2, 'X-Public';
	ok !defined $hit->header($_), $_ for qw(x-private proxy-authenticate);
	($miss, $hit) = twice('/gzip');
	is $hit->header('content-encoding'), 'gzip', 'a content coding stays as it is';
};

subtest 'a dead origin' => sub {
	my $mortal = origin('/hit' => { cc => 'max-age=60', body => 'alive' }, '/sie' => { cc => 'max-age=0, stale-if-error=60', body => 'good' },
	                    '/must' => { cc => 'max-age=0, must-revalidate', body => 'strict' }, '/p.deb' => { cc => 'max-age=0', body => 'package' },
	                    '/error' => { cc => 'max-age=0, stale-if-error=60', body => 'good' });
	my $ask = sub { $proxy->curl($mortal->https($_[0])) };
	$ask->($_) for qw(/hit /sie /must /p.deb /error);
	for my $path (qw(/hit /sie /p.deb /error)) { # until their documents are committed
		wait_until(sub { $proxy->curl('-H', 'Cache-Control: only-if-cached, max-stale', $mortal->https($path))->status == 200 }, 5, $path);
	}
	$mortal->set('/error', { status => 503, body => 'sorry' });
	is $ask->('/error')->body, 'good', 'stale-if-error: an error answer is replaced by what is stored';
	$mortal->stop;
	my $r = $ask->('/hit');
	is $r->body, 'alive', 'a fresh hit does not need it, not even for TLS';
	is $ask->('/sie')->body, 'good', 'stale-if-error';
	is $ask->('/p.deb')->body, 'package', 'the policy StaleIfError (a .deb)';
	is $ask->('/must')->status, 502, 'must-revalidate is stronger';
	is $ask->('/unknown')->status, 502, 'what is not stored is an error';
};

subtest 'an unsafe method invalidates what its answer names, too, of the same origin' => sub {
	my $other = origin('*' => { cc => 'max-age=60', body => 'theirs' });
	$origin->set('/create' => { status => 201, body => 'made', headers => [Location => '/list', 'Content-Location' => $origin->https('/item')] },
	             '/elsewhere' => { status => 201, body => 'made', headers => [Location => $other->https('/theirs'), 'Content-Location' => $origin->url('/plain')] });
	get($_) for qw(/list /item /bystander);
	$proxy->curl($other->https('/theirs'));
	$proxy->curl($origin->url('/plain'));
	get('/create', '-d', 'x');
	ok !get($_)->hit, "$_ is gone" for '/list', '/item';
	ok get('/bystander')->hit, 'others stay';
	get('/elsewhere', '-d', 'x');
	ok $proxy->curl($other->https('/theirs'))->hit, 'another origin\'s is none of its business';
	ok $proxy->curl($origin->url('/plain'))->hit, '… another scheme is another origin';
	$origin->set('/varied' => { cc => 'max-age=60', vary => 'Accept-Language', body => 'v' });
	get('/varied', '-H', "Accept-Language: $_") for 'de', 'fr';
	get('/varied', '-X', 'DELETE');
	ok !get('/varied', '-H', "Accept-Language: $_")->hit, "all variants go: $_" for 'de', 'fr';
};

subtest 'a cookie' => sub {
	my ($miss, $hit) = twice('/cookie');
	is $hit->header('set-cookie'), 'a=1', 'explicitly cacheable, it is the origin\'s wish' if $hit->hit;
	$origin->set('/cookie-guess' => { lm => $old, headers => ['Set-Cookie' => 'a=1'], body => 'x' }, '/guess' => { lm => $old, body => 'x' });
	ok !$_->hit, 'nobody guesses a lifetime for an answer with a cookie' for twice('/cookie-guess');
	ok +(twice('/guess'))[1]->hit, '… as is done without one';
};

subtest 'stale-while-revalidate: nobody waits, the origin is asked once' => sub {
	$origin->set('/swr' => { cc => 'max-age=0, stale-while-revalidate=60', body => 'old', etag => '"1"', conditional => 1 });
	get('/swr');
	$origin->set('/swr' => { cc => 'max-age=60', body => 'new', etag => '"2"', conditional => 1 });
	my $paused = $origin->paused;
	$origin->pause_after(-1, '/swr');
	my @c = map { $proxy->curl_bg($origin->https('/swr')) } 1 .. 10;
	is scalar(grep { $_->wait->body eq 'old' && $_->hit } @c), 10, 'ten get the stale one while the origin thinks';
	ok $origin->wait_paused($paused + 1), '… which it does';
	is $origin->hits('/swr'), 2, '… about one request';
	$origin->resume;
	ok wait_until(sub { get('/swr')->body eq 'new' }, 5), 'then there is the new one';
	is $origin->hits('/swr'), 2, '… of that request';
	$origin->set('/swr-304' => { cc => 'max-age=0, stale-while-revalidate=60', body => 'same', etag => '"1"', conditional => 1 });
	get('/swr-304');
	$origin->set('/swr-304' => { cc => 'max-age=60', body => 'same', etag => '"1"', conditional => 1 });
	ok get('/swr-304')->hit, 'stale, served';
	ok wait_until(sub { get('/swr-304'); $origin->hits('/swr-304', 304) == 1 }, 5), '… confirmed in the background, by one of them';
	ok wait_until(sub { my $n = $origin->hits('/swr-304'); get('/swr-304'); $n == $origin->hits('/swr-304') }, 5), '… and fresh again';
	$origin->set('/swr-over' => { cc => 'max-age=0, stale-while-revalidate=10', body => 'old', headers => [Age => 60] });
	get('/swr-over');
	$origin->set('/swr-over' => { cc => 'max-age=60', body => 'new' });
	is get('/swr-over')->body, 'new', 'stale for longer than that: it is waited for';
};

# behaviour.md 2.3 and 2.4: what a policy does with what is stored, fresh or stale, while the origin answers so or so.
subtest 'the policies, forced by a header of the request' => sub {
	my $p = proxy(workers => 2, allow_policy_header => 'true');
	my $seq = 0;
	my sub ask { my ($policy, $path, @args) = @_; $p->curl('-H', "X-Passsage-Policy: $policy", @args, $origin->url($path)) }
	my %new = (ok => { cc => 'max-age=60', body => 'new', etag => '"2"', conditional => 1 }, same => { cc => 'max-age=60', body => 'old', etag => '"1"', conditional => 1 },
	           404 => { status => 404, body => 'gone' }, 403 => { status => 403, body => 'no' }, 500 => { status => 500, body => 'broken' });
	for my $row ( # policy, stored as, the origin's next answer => what the client gets, does the origin hear of it
		['Standard', 'fresh', 'ok', 'old', 0], ['Standard', 'stale', 'ok', 'new', 1], ['Standard', 'stale', 'same', 'old', 1],
		['Standard', 'stale', 500, 'old', 1], ['Standard', 'stale', 404, 'gone', 1], ['Standard', 'stale', 403, 'no', 1],
		['StaleIfError', 'fresh', 'ok', 'old', 0], ['StaleIfError', 'stale', 'ok', 'new', 1], ['StaleIfError', 'stale', 'same', 'old', 1],
		['StaleIfError', 'stale', 500, 'old', 1], ['StaleIfError', 'stale', 404, 'old', 1], ['StaleIfError', 'stale', 403, 'old', 1],
		['NoRefresh', 'fresh', 'ok', 'old', 0], ['NoRefresh', 'stale', 'ok', 'old', 0], ['NoRefresh', 'stale', 500, 'old', 0], ['NoRefresh', 'stale', 404, 'old', 0],
		['NoRefresh', 'fresh', 500, 'old', 0], ['NoRefresh', 'stale', 403, 'old', 0], ['Standard', 'fresh', 500, 'old', 0], ['StaleIfError', 'fresh', 404, 'old', 0],
		['AlwaysUpstream', 'fresh', 'ok', 'new', 1], ['AlwaysUpstream', 'stale', 'ok', 'new', 1], ['AlwaysUpstream', 'fresh', 404, 'gone', 1],
		['AlwaysUpstream', 'stale', 404, 'gone', 1], ['AlwaysUpstream', 'stale', 403, 'no', 1],
		['AlwaysUpstream', 'fresh', 500, 'old', 1], ['AlwaysUpstream', 'stale', 500, 'old', 1], # section 0: what it keeps is the fallback
		['NoCache', 'stale', 'ok', 'new', 1], ['NoCache', 'fresh', 404, 'gone', 1], ['NoCache', 'fresh', 'ok', 'new', 1], ['NoCache', 'stale', 500, 'broken', 1],
	) {
		my ($policy, $stored, $next, $want, $asked) = @$row;
		my $path = '/policy' . ++$seq;
		$origin->set($path => { cc => $stored eq 'fresh' ? 'max-age=60' : 'max-age=0', body => 'old', etag => '"1"', conditional => 1 });
		is ask('Standard', $path)->body, 'old', "$policy, stored $stored, the origin says $next:";
		$origin->set($path => $new{$next});
		my $r = ask($policy, $path);
		is $r->body, $want, "… the client gets '$want'";
		is $r->header('x-proxy-policy'), $policy, '… and is told the policy';
		is $origin->hits($path), 1 + $asked, $asked ? '… the origin was asked' : '… the origin was left alone';
		my $after = $next ne 'ok' || !$asked || $policy eq 'NoCache' ? 'old' : 'new';
		next if $want eq 'gone' || $want eq 'no';
		ok wait_until(sub { ask('NoRefresh', $path)->body eq $after }, 5), "… stored is now '$after'"; # its document is committed some milliseconds later
	}
	for my $policy ('StaleIfError', 'NoRefresh', 'AlwaysUpstream', 'nocache') {
		my $path = '/policy-miss' . ++$seq;
		is ask($policy, $path)->body, 'default', "$policy, nothing stored: fetched";
		is ask('NoRefresh', $path)->hit, $policy eq 'nocache' ? 0 : 1, '… and ' . ($policy eq 'nocache' ? 'not ' : '') . 'stored';
	}
	$origin->set('/policy-move' => { status => 301, cc => 'max-age=60', headers => [Location => '/there'], body => '' });
	my $committed = sub { my ($path) = @_; wait_until(sub { ask('Standard', $path, '-H', 'Cache-Control: only-if-cached')->status != 504 }, 5) };
	ask('Standard', '/policy-move');
	$committed->('/policy-move');
	ok ask('AlwaysUpstream', '/policy-move')->hit, 'AlwaysUpstream: a fresh redirect comes from the cache (2.4, 1)';
	ask('Standard', '/policy-head');
	$committed->('/policy-head');
	ok ask('AlwaysUpstream', '/policy-head', '-I')->hit, '… and HEAD of what is fresh (2.3)';
	ok !ask('AlwaysUpstream', '/policy-head')->hit, '… but no GET';
	for (['Standard', 1], ['StaleIfError', 1], ['NoRefresh', 1], ['AlwaysUpstream', 1], ['NoCache', 0]) { # 2.3
		my ($policy, $hit) = @$_;
		is ask($policy, '/policy-head', '-I')->hit, $hit, "HEAD of what is fresh, $policy: " . ($hit ? 'from the cache' : 'asked');
	}
	$origin->set('/policy-head-stale' => { cc => 'max-age=0', body => 'x', etag => '"1"' });
	ask('Standard', '/policy-head-stale');
	wait_until(sub { ask('NoRefresh', '/policy-head-stale')->hit }, 5, 'its commit');
	for my $policy (qw(Standard StaleIfError NoRefresh AlwaysUpstream NoCache)) {
		my $n = $origin->hits('/policy-head-stale');
		is ask($policy, '/policy-head-stale', '-I')->header('etag'), '"1"', "HEAD of what is stale, $policy";
		is $origin->hits('/policy-head-stale') - $n, 1, '… the origin is asked';
		is $origin->last('/policy-head-stale')->{method}, 'HEAD', '… with HEAD';
	}
	my $mortal = origin('/x' => { cc => 'max-age=60', body => 'alive' });
	my @always = ('-H', 'X-Passsage-Policy: AlwaysUpstream', $mortal->url('/x'));
	$p->curl(@always);
	wait_until(sub { $p->curl('-H', 'Cache-Control: only-if-cached', $mortal->url('/x'))->status == 200 }, 5, 'its commit');
	$mortal->stop;
	is $p->curl(@always)->body, 'alive', 'AlwaysUpstream, the origin away: what it kept';
	$origin->set('/policy-nc' => { cc => 'max-age=0', body => 'x' });
	ask('NoRefresh', '/policy-nc');
	ok ask('NoRefresh', '/policy-nc', '-H', 'Cache-Control: no-cache')->hit, 'NoRefresh: no wish of the client counts (2.2)';
	is ask('What', '/policy-nc')->header('x-proxy-policy'), 'Standard', 'an unknown name: the usual rules';
	is ask(' norefresh ', '/policy-nc')->header('x-proxy-policy'), 'NoRefresh', 'names are trimmed, and case does not matter';
	is get('/policy-nc', '-H', 'X-Passsage-Policy: NoCache')->header('x-proxy-policy'), 'Standard', 'without the option the header is ignored';
	for my $proxy_of ($p, $proxy) {
		my $on = $proxy_of == $p ? 'allowed' : 'ignored';
		for (['GET', '/policy-sent'], ['HEAD', '/policy-sent-head'], ['POST', '/policy-sent-post']) {
			my ($method, $path) = @$_;
			$proxy_of->curl('-H', 'X-Passsage-Policy: NoRefresh', $method eq 'POST' ? ('-d', 'x') : $method eq 'HEAD' ? '-I' : (), $origin->url("$path?$on"));
			is $origin->last("$path?$on")->{headers}{'x-passsage-policy'}, undef, "$method: the header goes no further, $on";
		}
	}
	is $p->curl($origin->url('/some.deb'))->header('x-proxy-policy'), 'StaleIfError', 'a built-in rule';
	is ask('Standard', '/some.deb')->header('x-proxy-policy'), 'Standard', '… which the header overrides';
};

subtest 'document ids (behaviour.md 4.4) stand in the access record' => sub {
	my $log = lab_dir() . '/access.json';
	spew($log, '');
	chmod 0666, $log;
	my $p = proxy(access_log_file => $log);
	my $w = $p->wire;
	my @vectors = (
		['http://example.com/', 'http/example.com/599370d5687c3fd078c314add6d37c2d714e57a5d9157d4a703cfcc0'],
		['https://Example.COM:8443/A/b.tar.gz?b=2&a=1', 'https/example.com/1eb7c48b6a5295f2bb06bcb21cfcf06f72cc8891c5d34e0f55937b9a'],
		['https://ex.com/f?X-Amz-Date=1&b=2&a=1&A=3&k=', 'https/ex.com/5d39b7431aec05f8e694d9882a7613f171ab1cb3b0e96df4aeb7b7a9'],
		['https://ex.com/f?sig=abc', 'https/ex.com/a930673acaa220a10bcdf5825f2baf2794a32b307b51fa34c0c51fe6'],
		['https://ex.com/f?sig=abc&q=a%20b+c%2Fd&u=%C3%A9', 'https/ex.com/1c0ed3a8b62180dc795cb663f359fb93a81dfb4a64de02a20fe2053f'],
		['http://[::1]:8080/x?sv=1', 'http/::1/9a551fc21626b5f5249e9d528df7ccfb1529e56c52b1e0255ca45caa'],
	);
	for (@vectors) { # only-if-cached: nobody is asked for them
		my ($url, $id) = @$_;
		my ($host) = $url =~ m{//([^/]+)};
		is $w->get($url, $host, 'Cache-Control: only-if-cached')->status, 504, $url;
	}
	$origin->set('/coded' => { cc => 'max-age=60', vary => 'Accept-Encoding', body => 'x', headers => ['Content-Encoding' => 'gzip'] });
	$p->curl('-H', 'Accept-Encoding: gzip', $origin->url('/coded'));
	$p->curl($origin->url('/plain'));
	my @records;
	my $json = JSON::PP->new;
	wait_until(sub { @records = map { $json->decode($_) } split /\n/, slurp($log); @records == @vectors + 2 }, 5, 'the records');
	is $records[$_]{cache_key}, $vectors[$_][1], "its id is $vectors[$_][1]" for 0 .. $#vectors;
	like $records[-2]{cache_key}, qr{^http/localhost/[0-9a-f]{56}\+1326817f4c14e9d6a359aa1d62b9e77e572cc27155de1b818561199e$}, 'a variant has its key behind a +';
	is $records[-2]{cache_vary}, 'Accept-Encoding', '… and the record says by what';
	like $records[-1]{cache_key}, qr{^http/localhost/[0-9a-f]{56}$}, 'others have none';
	is $records[-1]{url}, $origin->url('/plain'), 'url is the origin\'s';
};

subtest 'it outlives a restart' => sub {
	get('/fresh');
	my $hits = $origin->hits('/fresh');
	is $proxy->stop, 0, 'stopped';
	$proxy->launch;
	my $r = get('/fresh');
	ok $r->hit, 'a hit';
	is $r->body, 'fresh', 'as before';
	is $origin->hits('/fresh'), $hits, 'nobody was asked';
};
subtest 'an answer is stored, however long the document before it takes' => sub {
	my $p = proxy(workers => 2, allow_policy_header => 'true', commit_interval => 0.5);
	for my $i (1 .. 3) {
		my $path = "/slow-commit$i";
		$origin->set($path => { cc => 'max-age=60', body => 'old', etag => '"1"' });
		is $p->curl($origin->url($path))->body, 'old', 'fetched, and its document is on its way for half a second';
		$origin->set($path => { cc => 'max-age=60', body => 'new', etag => '"2"' });
		is $p->curl('-H', 'X-Passsage-Policy: AlwaysUpstream', $origin->url($path))->body, 'new', '… when another is had from the origin';
		ok wait_until(sub { $p->curl('-H', 'X-Passsage-Policy: NoRefresh', $origin->url($path))->body eq 'new' }, 10), '… that is what is stored in the end';
		is $origin->hits($path), 2, '… of two requests';
	}
};

done_testing;
