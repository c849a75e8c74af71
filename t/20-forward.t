# A request goes through unharmed, whatever its form and framing, and so does its answer; what belongs to one hop stays on that hop.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Digest::SHA;
use Test::More;

my $big = 20 << 20;
my $origin = origin(
	'/hello' => { body => "hello\n", headers => ['Content-Type' => 'text/plain', 'X-Odd' => 'one', 'x-odd' => 'two'] },
	'/empty' => { body => '' },
	'/204' => { status => 204, cc => 'no-store' },
	'/304' => { status => 304, etag => '"e"', cc => 'no-store' },
	'/404' => { status => 404, body => 'none', reason => 'Not Here' },
	'/500' => { status => 500, body => 'broken' },
	'/redirect' => { status => 302, headers => [Location => '/hello'], body => 'over there' },
	'/chunked' => { chunked => ['ab', 'c' x 70000, 'd'], body => '', cc => 'no-store' },
	'/chunked-stored' => { chunked => 1, size => 200000, cc => 'max-age=60' },
	'/close' => { until_close => 1, size => 30000, cc => 'no-store' },
	'/close-stored' => { until_close => 1, size => 30000, cc => 'max-age=60' },
	'/trailers' => { chunked => 1, body => 'x' x 10, trailers => ['X-Sum' => 'abc'], headers => [Trailer => 'X-Sum'], cc => 'no-store' },
	'/early' => { interim => [[103, Link => '</style.css>; rel=preload']], body => 'late', cc => 'no-store' },
	'/hop' => { body => 'x', cc => 'no-store', headers => [Connection => 'X-Private', 'X-Private' => '1', 'Keep-Alive' => 'timeout=5', 'Proxy-Authenticate' => 'Basic', 'X-Public' => '1'] },
	'/via' => { body => 'x', cc => 'no-store', headers => [Via => '1.1 other'] },
	'/post' => { body => 'got it', cc => 'no-store' },
	'/big' => { size => $big, cc => 'no-store' },
	'/big-stored' => { size => $big, cc => 'max-age=60' },
	'/cookie' => { body => 'x', cc => 'no-store', headers => ['Set-Cookie' => 'a=1', 'Set-Cookie' => 'b=2'] },
	'/slow' => { delay => 0.3, body => 'slow', cc => 'no-store' },
	'/query' => { body => 'q', cc => 'no-store' },
);
my $proxy = proxy(workers => 2);

subtest 'forms of a request' => sub {
	for my $scheme ('http', 'https') {
		my $r = $proxy->curl($origin->url('/hello', $scheme));
		is $r->status, 200, "$scheme";
		is $r->body, "hello\n", '… body';
		is_deeply [map { lc } $r->headers('x-odd')], ['one', 'two'], '… repeated fields in order';
	}
	my $w = $proxy->wire;
	my $r = $w->get($origin->url('/hello'), $origin->authority('http'));
	is $r->body, "hello\n", 'absolute-form http';
	$r = $w->get($origin->https('/hello'), $origin->authority);
	is $r->body, "hello\n", 'absolute-form https, on the same connection';
	is $origin->last('/hello')->{tls}, 1, '… went over TLS';
	$r = $w->get($origin->url('/hello?form'), 'elsewhere.example');
	is $r->status, 200, 'a differing Host loses against absolute-form (RFC 9112 3.2.2)';
	is $origin->last('/hello?form')->{headers}{host}, $origin->authority('http'), '… and is not sent';
	$w = $proxy->wire;
	is $w->tunnel($origin->authority('http'))->status, 200, 'CONNECT';
	$r = $w->get('/hello', $origin->authority('http'));
	is $r->body, "hello\n", 'plain HTTP inside it';
	$r = $w->get('/hello', $origin->authority('http'));
	is $r->body, "hello\n", '… twice';
	$r = $proxy->curl('--proxytunnel', $origin->url('/hello'));
	is $r->body, "hello\n", 'and as curl does it';
};

subtest 'HTTP/1.0' => sub {
	my $w = $proxy->wire;
	my $authority = $origin->authority('http');
	$w->send("GET http://$authority/hello HTTP/1.0\r\n\r\n");
	my $r = $w->response;
	is $r->body, "hello\n", 'without Host';
	ok $w->closed, 'is closed afterwards';
	$w = $proxy->wire;
	$w->send("GET http://$authority/hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	$r = $w->response;
	is $r->body, "hello\n", 'asking for keep-alive';
	ok $w->closed, 'a proxy must not honour it (RFC 9112 9.3)';
	$w = $proxy->wire;
	$w->send("GET http://$authority/chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	$r = $w->response;
	ok !defined $r->header('transfer-encoding'), 'never chunked';
	is length $r->body, 70003, '… but to the close';
	my $broken = origin('/' => { raw => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhel" });
	for my $url ($broken->url('/'), $broken->https('/')) {
		$r = $proxy->curl('--http1.0', $url);
		isnt $r->exit, 0, 'which is no clean one when the origin broke off: ' . ($url =~ /^https/ ? 'TLS' : 'TCP');
	}
};

subtest 'pipelined requests are answered in order' => sub {
	my $w = $proxy->wire;
	my $a = $origin->authority('http');
	$w->send(join '', map { "GET http://$a$_ HTTP/1.1\r\nHost: $a\r\n\r\n" } qw(/slow /hello /404 /query?1 /query?2));
	is $w->response->body, $_ for 'slow', "hello\n", 'none', 'q', 'q';
	$w = $proxy->wire;
	$w->send(join '', map { "POST http://$a/post?$_ HTTP/1.1\r\nHost: $a\r\nContent-Length: 3\r\n\r\nabc" } 1 .. 3);
	is $w->response->status, 200, "POST $_" for 1 .. 3;
	is $origin->last('/post?3')->{body}, 'abc', 'with their bodies';
};

subtest 'framing of responses' => sub {
	for my $scheme ('http', 'https') {
		my $w = $proxy->wire;
		if ($scheme eq 'https') { $w->tunnel($origin->authority); $w->tls('localhost') }
		my $ask = sub { my ($method, $path) = @_; my $a = $origin->authority($scheme);
		                $w->send("$method " . ($scheme eq 'https' ? $path : "http://$a$path") . " HTTP/1.1\r\nHost: $a\r\n\r\n"); $w->response($method) };
		my $r = $ask->('HEAD', '/hello');
		is $r->status, 200, "$scheme HEAD";
		is $r->header('content-length'), 6, '… has the length';
		is $ask->('GET', '/hello')->body, "hello\n", '… and no body behind it';
		$r = $ask->('GET', '/204');
		is $r->status, 204, 'status 204';
		ok !defined $r->header('content-length'), '… without length';
		is $ask->('GET', '/304')->status, 304, 'status 304';
		is $ask->('GET', '/empty')->body, '', 'empty';
		$r = $ask->('GET', '/404');
		is $r->status, 404, 'status 404';
		like $r->{head}, qr/^HTTP\/1\.1 404 Not Here\r/, '… with its reason';
		is $ask->('GET', '/500')->status, 500, 'status 500';
		$r = $ask->('GET', '/redirect');
		is $r->header('location'), '/hello', 'a redirect is the client\'s to follow';
		$r = $ask->('GET', '/chunked');
		is $r->body, 'ab' . 'c' x 70000 . 'd', 'chunked';
		for (1, 2) { is sha256($ask->('GET', '/chunked-stored')->body), sha256(pattern(200000)), "chunked, stored, time $_" }
		$r = $ask->('GET', '/close');
		is sha256($r->body), sha256(pattern(30000)), 'close-delimited';
		like $r->header('transfer-encoding') // '', qr/chunked/, '… becomes chunked, so that its end is certain';
		for (1, 2) { is sha256($ask->('GET', '/close-stored')->body), sha256(pattern(30000)), "close-delimited, stored, time $_" }
		$r = $ask->('GET', '/trailers');
		is $r->body, 'x' x 10, 'with trailers';
		like $r->{trailers} // '', qr/^X-Sum: abc\r$/mi, '… which arrive';
		is sha256($ask->('GET', '/big')->body), sha256(pattern($big)), '20 MiB relayed';
		for (1, 2) { is sha256($ask->('GET', '/big-stored')->body), sha256(pattern($big)), "20 MiB stored, time $_" }
		is $origin->hits('/big-stored'), $scheme eq 'http' ? 1 : 2, '… asked for once';
		is_deeply [$ask->('GET', '/cookie')->headers('set-cookie')], ['a=1', 'b=2'], 'Set-Cookie fields are not joined';
	}
};

subtest '103 Early Hints reach the client before the answer' => sub {
	my $w = $proxy->wire;
	my $a = $origin->authority('http');
	$w->send("GET http://$a/early HTTP/1.1\r\nHost: $a\r\n\r\n");
	my $r = $w->response;
	is $r->status, 103, 'the hint';
	like $r->header('link') // '', qr/preload/, '… with its fields';
	is $w->response->body, 'late', 'the answer';
};

subtest 'request bodies' => sub {
	my $body = pattern($big, 'upload');
	my $file = lab_dir() . '/upload';
	spew($file, $body);
	for my $scheme ('http', 'https') {
		my $url = $origin->url('/post', $scheme);
		for (['length', '-H', 'Expect:'], ['length, expecting 100', '-H', 'Expect: 100-continue'], ['chunked', '-H', 'Transfer-Encoding: chunked']) {
			my ($name, @args) = @$_;
			my $r = $proxy->curl('-X', 'PUT', '--data-binary', "\@$file", @args, $url);
			is $r->body, 'got it', "$scheme, $name" or diag $r->{error};
			my $q = $origin->last('/post');
			is $q->{body_length}, $big, '… all of it arrived';
			is $q->{body_sha256}, sha256($body), '… unharmed';
		}
	}
	my $w = $proxy->wire;
	my $a = $origin->authority('http');
	$w->send("POST http://$a/post?e HTTP/1.1\r\nHost: $a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
	is $w->response->status, 100, '100 before the body';
	$w->send('body');
	is $w->response->status, 200, 'then the answer';
	is $origin->last('/post?e')->{body}, 'body', '… the body arrived';
	$w->send("POST http://$a/post?t HTTP/1.1\r\nHost: $a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n");
	is $w->response->status, 200, 'chunked with extension and trailer';
	is $origin->last('/post?t')->{body}, 'abc', '… decoded';
	is $proxy->curl('-X', $_, '-d', 'x', $origin->url('/post'))->body, 'got it', "method $_" for qw(POST PUT PATCH DELETE PROPFIND);
	is $origin->last('/post')->{method}, 'PROPFIND', 'an unknown method is passed on';
	is $proxy->curl('-X', 'OPTIONS', $origin->url('/post'))->status, 200, 'OPTIONS';
	is $proxy->curl('-X', 'DELETE', $origin->url('/post?d'))->status, 200, 'DELETE without a body';
};

subtest 'hop-by-hop fields end here, both ways' => sub {
	my $w = $proxy->wire;
	my $a = $origin->authority('http');
	my $r = $w->get("http://$a/hop?1", $a, 'Connection: X-Mine, keep-alive', 'X-Mine: 1', 'Keep-Alive: 300', 'TE: trailers', 'Proxy-Connection: keep-alive',
	                'Proxy-Authorization: Basic c2VjcmV0', 'X-Kept: 1', 'Cookie: c=1', 'Authorization: Bearer x');
	my $h = $origin->last('/hop?1')->{headers};
	ok !exists $h->{$_}, "$_ is not sent on" for qw(x-mine keep-alive proxy-connection proxy-authorization upgrade);
	is $h->{$_->[0]}, $_->[1], "$_->[0] is" for ['x-kept', 1], ['cookie', 'c=1'], ['authorization', 'Bearer x'];
	ok !defined $r->header($_), "$_ does not come back" for qw(x-private keep-alive proxy-authenticate);
	is $r->header('x-public'), 1, 'others do';
};

subtest 'Via both ways, request ids' => sub {
	my $r = $proxy->curl('-H', 'Via: 1.0 client', $origin->url('/via?v'));
	my $via = qr/1\.1 \S+ \(passsage\/\d+\.\d+\.\d+\)/;
	like $r->header('via'), qr/^$via, 1\.1 other$/, 'our entry comes first, then the origin\'s';
	like $origin->last('/via?v')->{headers}{via}, qr/^1\.0 client, 1\.1 /, 'towards the origin ours is the last (RFC 9110 7.6.3)';
	like $r->header('x-request-id'), qr/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, 'x-request-id is a UUID4';
	isnt $proxy->curl($origin->url('/via?v'))->header('x-request-id'), $r->header('x-request-id'), '… another one each time';
	is $r->header('x-proxy-policy'), 'Standard', 'x-proxy-policy';
	ok !defined $r->header('cache-status'), 'no Cache-Status on what did not come from the cache';
	is scalar($r->headers('date')), 1, 'one Date';
};

subtest 'TRACE, OPTIONS and Max-Forwards (RFC 9110 7.6.2)' => sub {
	my $w = $proxy->wire;
	my $a = $origin->authority('http');
	$w->send("TRACE http://$a/query?trace HTTP/1.1\r\nHost: $a\r\nMax-Forwards: 0\r\nX-Seen: 1\r\nCookie: secret\r\n\r\n");
	my $r = $w->response;
	is $r->status, 200, 'TRACE ends here';
	is $r->header('content-type'), 'message/http', '… as message/http';
	like $r->body, qr/^TRACE .*X-Seen: 1/s, '… and shows the request';
	unlike $r->body, qr/secret/, '… without what is secret';
	is $origin->hits('/query?trace'), 0, '… the origin was not asked';
	$w->send("OPTIONS http://$a/query?options HTTP/1.1\r\nHost: $a\r\nMax-Forwards: 0\r\n\r\n");
	$r = $w->response;
	is $r->status, 200, 'OPTIONS ends here too';
	ok $r->header('allow'), '… with Allow';
	$w->send("OPTIONS http://$a/query?options HTTP/1.1\r\nHost: $a\r\nMax-Forwards: 3\r\n\r\n");
	is $w->response->body, 'q', 'with hops left it goes on';
	is $origin->last('/query?options')->{headers}{'max-forwards'}, 2, '… with one less';
};

subtest 'loops and requests to ourselves are answered, never followed' => sub {
	my $me = '127.0.0.1:' . $proxy->port;
	my $r = $proxy->curl("http://$me/");
	is $r->status, 508, 'our own address through us';
	like $r->body, qr/circle|itself/, '… is explained';
	is $proxy->curl('http://localhost:' . $proxy->port . '/x')->status, 508, 'by name';
	$r = $proxy->curl('-H', 'Via: ' . $proxy->curl($origin->url('/query'))->header('via'), $origin->url('/query?loop'));
	is $r->status, 508, 'a request that has been here, by Via';
	is $origin->hits('/query?loop'), 0, '… is not sent on';
	my $w = $proxy->wire;
	$r = $w->get('/', $me);
	is $r->status, 200, 'asked directly, it says what it is';
	like $r->body, qr/HTTP_PROXY/, '… and how to use it';
	is $w->get('/file.tar.gz', $me)->status, 400, 'no download tool takes that for a file';
	my $other = proxy(upstream_ca => lab_ca());
	$r = $other->curl('-H', "X-A: 1", '--proxy', $proxy->url, 'http://127.0.0.1:' . $other->port . '/');
	is $r->status, 200, 'another proxy\'s own page through us is no loop';
};

subtest 'an origin that cannot be reached gives an error page' => sub {
	my $port = free_port();
	my $r = $proxy->curl("http://127.0.0.1:$port/");
	is $r->status, 502, 'refused: 502';
	like $r->header('content-type'), qr/^text\/plain/, '… as text for curl';
	like $r->header('cache-control'), qr/no-store/, '… not to be kept';
	$r = $proxy->curl('-H', 'Accept: text/html,*/*', "http://127.0.0.1:$port/");
	like $r->body, qr/<html/, 'HTML for browsers';
	$r = $proxy->curl('-H', 'Accept: application/json', "http://127.0.0.1:$port/");
	like $r->body, qr/^\{"status":502/, 'JSON for programs';
	is $proxy->curl("https://127.0.0.1:$port/")->status, 502, 'also inside TLS';
	is $proxy->curl('http://no-such-host.invalid/')->status, 502, 'no such name: 502';
	my $garbage = origin('/' => { raw => "nonsense\r\n\r\n" }, '/empty' => { raw => '' }, '/short' => { raw => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc" });
	is $proxy->curl($garbage->url('/'))->status, 502, 'no HTTP: 502';
	is $proxy->curl($garbage->url('/empty'))->status, 502, 'no answer: 502';
	$r = $proxy->curl($garbage->url('/short'));
	isnt $r->exit, 0, 'a short body is a broken body for the client too';
	is $proxy->curl($origin->url('/hello'))->body, "hello\n", 'and the proxy serves on';
};

SKIP: {
	my $six = eval { origin(host => '::1', '/six' => { body => 'six' }) } or skip 'no IPv6 here', 1;
	subtest 'IPv6, on both sides' => sub {
		is $proxy->curl('-g', $six->url('/six'))->body, 'six', 'an origin by its address';
		is $proxy->curl('-g', $six->https('/six'))->body, 'six', '… over TLS, the certificate names the address';
		my $p = proxy(bind => '');
		for my $host ('127.0.0.1', '::1') {
			my $w = $p->wire(host => $host);
			is $w->get($origin->url('/hello'), $origin->authority('http'))->body, "hello\n", "a client at $host, bound to all";
		}
		$p = proxy(bind => '::1,127.0.0.1');
		for my $host ('127.0.0.1', '::1') {
			is $p->wire(host => $host)->get($origin->url('/hello'), $origin->authority('http'))->body, "hello\n", "a client at $host, bound to a list";
		}
	};
}

is $proxy->stop, 0, 'it ends well';
done_testing;
