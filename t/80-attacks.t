# What clients and origins that mean harm have tried, and may not get: other clients' answers, poisoned objects, all threads, all descriptors.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $origin = origin(
	'/hello' => { body => "hello\n", cc => 'max-age=600' },
	'/etag' => { body => 'old', etag => '"old"', cc => 'max-age=0' },
	'/date' => { body => 'old', lm => 'Mon, 01 Jan 2024 00:00:00 GMT', cc => 'max-age=0' },
	'/put' => sub { # reads it, and breaks off the first time
		my ($c, $req) = @_;
		my $body = $c->read_body;
		my $first = !-e "$c->{origin}{dir}/put";
		Lab::spew("$c->{origin}{dir}/put", $body);
		return $first ? 0 : $c->respond({ status => 201, body => 'stored' });
	},
	'/empty-post' => { body => 'x', cc => 'no-store' },
	'/lang' => sub {
		my ($c, $req) = @_;
		$c->respond({ body => 'in ' . ($req->{headers}{'accept-language'} // 'default'), vary => 'Accept-Language', cc => 'max-age=600' });
	},
	'/large-head' => { body => 'x', headers => [map { ("X-Large-$_" => 'a' x 1000) } 1 .. 80] },
	'/account' => sub { my ($c, $req) = @_; $c->gate('account'); $c->respond({ body => 'the page of ' . ($req->{headers}{cookie} // 'nobody') }) },
	'/who' => sub {
		my ($c, $req) = @_;
		$c->{who} = $req->{headers}{authorization} // $c->{who};
		$c->respond({ body => $c->{who} // 'nobody', cc => 'no-store' });
	},
	'/expect' => sub { my ($c) = @_; $c->send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); $c->read_body; 1 },
	'/file' => { size => 700000, cc => 'max-age=600' },
	'/file2' => { size => 700000, seed => 2, cc => 'max-age=600' },
	'/websocket' => sub { my ($c) = @_; $c->send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"); $c->fill; 0 },
	'/endless' => sub { my ($c) = @_; $c->send("HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\n\r\n"); $c->send('z' x (1 << 20)), sleep 0.004 for 1 .. 4000; 0 },
	'*' => sub {
		my ($c, $req) = @_;
		if ($req->{target} =~ m{^/trickle}) { $c->send("HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\n\r\n"); $c->send('x'), sleep 0.2 for 1 .. 600 }
		if ($req->{target} =~ m{^/flood}) { $c->send("HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n"), sleep 0.01 for 1 .. 12000 }
		sleep 120 if $req->{target} =~ m{^/hang};
		return 0;
	},
);
my $authority = $origin->authority('http');
my $proxy = proxy();

subtest 'a 304 to a condition of the client says nothing of what is stored' => sub {
	is $proxy->curl($origin->url('/etag'))->body, 'old', 'stored';
	$origin->set('/etag' => { body => 'new', etag => '"new"', cc => 'max-age=600', conditional => 1 });
	is $proxy->curl('-I', '-H', 'If-None-Match: "new"', $origin->url('/etag'))->status, 304, 'HEAD by who has the new one';
	is $proxy->curl($origin->url('/etag'))->body, 'new', '… and GET gets it';
	is $proxy->curl($origin->url('/date'))->body, 'old', 'stored, without an ETag';
	$origin->set('/date' => { status => 304, cc => 'max-age=600' });
	is $proxy->curl('-I', '-H', 'If-Modified-Since: Tue, 01 Jan 2030 00:00:00 GMT', $origin->url('/date'))->status, 304, 'HEAD with a date of choice';
	$origin->set('/date' => { body => 'new', lm => 'Wed, 01 Jan 2025 00:00:00 GMT', cc => 'max-age=600' });
	is $proxy->curl($origin->url('/date'))->body, 'new', '… has not made the old one fresh';
};

subtest 'what is sent again is sent whole' => sub {
	for my $framing ([], ['-H', 'Transfer-Encoding: chunked']) {
		unlink "$origin->{dir}/put";
		is $proxy->curl('-X', 'PUT', '-H', 'Expect:', @$framing, '-d', 'precious data', $origin->url('/put'))->status, 201, 'PUT, after the origin broke off';
		is slurp("$origin->{dir}/put"), 'precious data', '… its second copy';
	}
	$proxy->curl('-X', 'POST', '-H', 'Content-Length: 0', $origin->url('/empty-post'));
	is $origin->last('/empty-post')->{headers}{'content-length'}, '0', 'an empty body keeps its length (RFC 9110 8.6)';
};

subtest 'what Connection names does not select a variant that the origin never saw' => sub {
	my $w = $proxy->wire;
	is $w->get($origin->url('/lang'), $authority, 'Accept-Language: de', 'Connection: accept-language')->body, 'in default', 'it is not sent';
	is $w->get($origin->url('/lang'), $authority, 'Accept-Language: de')->body, 'in de', '… nor stored under it';
};

subtest 'clients of the proxy are not local to the health port' => sub {
	like $proxy->get('/debug/threads')->{body}, qr/handler threads/, 'who is local sees the debug pages';
	for my $host ('127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '0.0.0.0') {
		unlike $proxy->curl("http://$host:" . $proxy->health . '/debug/threads')->body, qr/handler threads/, "not through the proxy, by $host";
	}
};

subtest "one's page is nobody else's" => sub {
	my $alice = $proxy->curl_bg('-H', 'Cookie: user=alice', $origin->url('/account'));
	$origin->wait_paused(1, 10);
	my $mallory = $proxy->curl_bg($origin->url('/account'));
	sleep 0.5;
	$origin->open('account');
	is $alice->wait->body, 'the page of user=alice', 'a page without a word on caching';
	is $mallory->wait->body, 'the page of nobody', '… is not shared with who asks at the same time';
	is $proxy->curl('-H', 'Authorization: Negotiate YIIalice', $origin->url('/who'))->body, 'Negotiate YIIalice', 'who is known to the origin by the connection';
	is $proxy->curl($origin->url('/who'))->body, 'nobody', '… does not lend that connection';
};

subtest 'a head that cannot be passed on is said so' => sub {
	my $r = $proxy->curl($origin->url('/large-head'));
	is $r->status, 502, '80 kB of it';
	like $r->body, qr/head of the origin's answer/, '… in words';
};

subtest 'an answer that does not wait for the body' => sub {
	my $w = $proxy->wire;
	my $head = "PUT http://$authority/expect HTTP/1.1\r\nHost: $authority\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
	$w->send($head);
	is $w->response->status, 100, 'the client gets its 100';
	$w->send('12345');
	my $r = $w->response;
	is $r->status, 200, '… and the answer';
	is $r->body, 'ok', '… all of it';
	$w = $proxy->wire;
	$w->send($head);
	$w->response;
	$w->reset;
	ok $proxy->wait_metrics(sub { $_->{threads_busy} == 0 }, 10, 'no thread to be busy'), 'a client that goes away instead keeps no thread';
};

for my $attack ('trickle', 'hang', 'flood') {
	subtest "origins that $attack keep no thread when their clients have gone" => sub {
		my $few = proxy(threads => 8);
		is $few->curl($origin->url('/hello'))->status, 200, 'works';
		my @wires = map { my $w = $few->wire; my $url = $origin->url("/$attack$_"); $w->send("GET $url HTTP/1.1\r\nHost: $authority\r\n\r\n"); sleep 0.05; $w } 1 .. 12;
		sleep 0.5;
		is $few->curl('--max-time', 20, $origin->url('/hello'))->status, 200, 'a hit is served while they are there' if $attack eq 'hang';
		$_->reset for @wires;
		my $r = $few->curl('--max-time', 20, $origin->url('/hello'));
		is $r->status, 200, 'works afterwards';
		ok $r->hit, '… from the cache';
		$few->stop('QUIT');
	};
}

subtest 'requests that nobody can share wait for hanging origins, but not with all threads' => sub {
	my $few = proxy(threads => 8);
	is $few->curl($origin->url('/hello'))->status, 200, 'works';
	my @wires = map { my $w = $few->wire; $w->send("POST http://$authority/hang-post$_ HTTP/1.1\r\nHost: $authority\r\nContent-Length: 1\r\n\r\nx"); sleep 0.05; $w } 1 .. 16;
	is $wires[-1]->response->status, 503, 'too many are told so';
	is $few->curl('--max-time', 20, $origin->url('/hello'))->status, 200, 'a hit is served';
	$_->reset for @wires;
	$few->stop('QUIT');
};

subtest 'clients that only connect leave descriptors for the others' => sub {
	my $low = lab_dir() . '/low';
	my $binary = passsage();
	spew($low, "#!/bin/sh\nulimit -n 80\nexec '$binary' \"\$@\"\n");
	chmod 0755, $low;
	local $ENV{PASSSAGE} = $low;
	my $few = proxy();
	is $few->curl($origin->url('/file'))->status, 200, 'stored';
	$few->stop;
	$few->launch;
	my @wires = map { $few->wire } 1 .. 90;
	sleep 0.3;
	is $wires[0]->get($origin->url('/file'), $authority)->status, 200, 'a hit while they are there';
	is $wires[1]->get($origin->url('/file2'), $authority)->status, 200, 'a miss';
	@wires = ();
	ok $few->curl($origin->url('/file'))->hit, 'nothing was forgotten';
	@wires = map {
		my $w = $few->wire;
		$w->send("GET http://$authority/websocket HTTP/1.1\r\nHost: $authority\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
		sleep 0.02;
		$w;
	} 1 .. 40;
	ok $few->wait_metrics(sub { $_->{tunnels_open} >= 10 }, 10, 'WebSockets'), 'WebSockets, as many as there may be';
	my ($worker) = $few->pids('worker');
	cmp_ok scalar(() = glob "/proc/$worker/fd/*"), '<', 75, '… leave descriptors as well';
	@wires = ();
	cmp_ok scalar(() = $few->log =~ /accept:/g), '<=', 1, 'nor is the log flooded';
	$few->stop;
};

subtest 'a stream that never ends does not fill the disk for nobody' => sub {
	my $w = $proxy->wire;
	my $failed = $proxy->metrics->{fills_failed};
	$w->send("GET http://$authority/endless HTTP/1.1\r\nHost: $authority\r\n\r\n");
	ok defined $w->exactly(100000), 'its only client reads a little';
	$w->reset;
	ok $proxy->wait_metrics(sub { $_->{fills_failed} > $failed }, 30, 'the fill to be given up'), '… and goes: it is given up before its end';
};

is $proxy->stop, 0, 'it stops';
done_testing;
