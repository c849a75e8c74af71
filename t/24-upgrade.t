# What is no request and answer: WebSockets after their 101, events one by one, tunnels that must not be opened.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Digest::SHA 'sha1_base64';
use IO::Socket::INET;
use Test::More;
use Time::HiRes 'time';

sub websocket { # origin side: the 101, then every byte comes back in upper case
	my ($c, $req) = @_;
	my $accept = sha1_base64($req->{headers}{'sec-websocket-key'} . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';
	$c->send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $accept\r\n\r\nhello");
	while (1) {
		if ($c->{in} eq '') { $c->fill or last }
		my $data = substr $c->{in}, 0, length $c->{in}, '';
		$c->send(uc $data);
		last if $data =~ /bye/;
	}
	return 0;
}
my $origin = origin(
	'/ws' => \&websocket,
	'/refused' => { status => 403, body => 'no' },
	'/events' => sub {
		my ($c) = @_;
		$c->send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n");
		for (1 .. 3) { $c->send("data: event $_\n\n"); $c->gate("event$_") }
		return 0;
	},
	'/events-chunked' => sub {
		my ($c) = @_;
		$c->send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
		for (1 .. 3) { my $t = "data: event $_\n\n"; $c->send(sprintf "%x\r\n%s\r\n", length $t, $t); $c->gate("chunked$_") }
		$c->send("0\r\n\r\n");
		return 1;
	},
	'/hello' => { body => 'hello', cc => 'no-store' },
);
my $proxy = proxy(workers => 2, tunnel_idle_timeout => 3);
my @upgrade = ('Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==');
sub client {
	my ($scheme) = @_;
	my $w = $proxy->wire;
	if ($scheme eq 'https') { $w->tunnel($origin->authority); $w->tls('localhost') or die $w->{error} }
	return $w;
}
sub target { my ($scheme, $path) = @_; $scheme eq 'http' ? $origin->url($path) : $path }

for my $scheme ('http', 'https') {
	subtest "WebSocket, $scheme" => sub {
		my $w = client($scheme);
		my $before = $proxy->metrics;
		my $r = $w->get(target($scheme, '/ws'), $origin->authority($scheme), @upgrade);
		is $r->status, 101, 'status 101';
		is lc $r->header('upgrade'), 'websocket', '… Upgrade';
		like $r->header('connection'), qr/upgrade/i, '… Connection';
		is $r->header('sec-websocket-accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', '… the origin\'s own answer (RFC 6455 1.3)';
		is $w->exactly(5), 'hello', 'what came with the 101 is not lost';
		for my $n (1 .. 3) { $w->send("ping $n\0\xff"); is $w->exactly(8), "PING $n\0\xff", "echo $n" }
		my $much = 'abcdefgh' x 100_000;
		$w->send($much);
		same $w->exactly(length $much), uc $much, '800 kB there and back';
		my $h = $origin->last('/ws')->{headers};
		is $h->{upgrade}, 'websocket', 'the origin saw the Upgrade';
		is $h->{'sec-websocket-key'}, 'dGhlIHNhbXBsZSBub25jZQ==', '… and the key';
		cmp_ok $proxy->metrics->{tunnels_open}, '>', $before->{tunnels_open}, 'it counts as open';
		$w->send('bye');
		is $w->rest, 'BYE', 'the origin\'s end is passed on';
		ok $proxy->wait_metrics(sub { $_->{tunnels_open} == $before->{tunnels_open} }, 5), '… and it is not open any more';
	};
	subtest "an upgrade that the origin refuses, $scheme" => sub {
		my $w = client($scheme);
		my $r = $w->get(target($scheme, '/refused'), $origin->authority($scheme), @upgrade);
		is $r->status, 403, 'its answer';
		is $r->body, 'no', '… with the body';
		SKIP: {
			skip 'the connection was closed, which is well too', 1 if ($r->header('connection') // '') =~ /close/;
			is $w->get(target($scheme, '/hello'), $origin->authority($scheme))->body, 'hello', 'the connection goes on';
		}
	};
	for my $path ('/events', '/events-chunked') {
		subtest "server-sent events arrive one by one: $path, $scheme" => sub {
			my $w = client($scheme);
			unlink glob "$origin->{dir}/gates/*";
			$w->send('GET ' . target($scheme, $path) . " HTTP/1.1\r\nHost: " . $origin->authority($scheme) . "\r\nAccept: text/event-stream\r\n\r\n");
			ok $w->until(qr/\r\n\r\n/, 5 * slow()), 'the head';
			for (1 .. 3) {
				like $w->until(qr/data: event $_\n\n/, 5 * slow()) // '', qr/event $_/, "event $_, while the origin waits";
				$origin->open($path eq '/events' ? "event$_" : "chunked$_");
			}
			ok defined $w->until(qr/0\r\n\r\n/, 5 * slow()), 'then the end';
		};
	}
}

subtest 'an idle tunnel ends after its time' => sub {
	my $w = client('http');
	$w->get($origin->url('/ws'), $origin->authority('http'), @upgrade);
	$w->exactly(5);
	my $started = time;
	ok $w->closed(20 * slow()), 'closed';
	my $took = time - $started;
	ok $took > 2 && $took < 12 * slow(), "… after about 3 s ($took)";
};

subtest 'hosts of --tls-passthrough are tunnelled blindly' => sub {
	my $p = proxy(tls_passthrough => 'localhost,*.blind.example');
	my $w = $p->wire(ca => lab_ca());
	is $w->tunnel($origin->authority)->status, 200, 'CONNECT';
	ok $w->tls('localhost'), 'the certificate is the origin\'s own' or diag $w->{error};
	is $w->get('/hello', $origin->authority)->body, 'hello', 'and all goes through';
	unlike $origin->last('/hello')->{head}, qr/passsage/i, '… untouched';
	is $p->metrics->{tls_handshakes}, 0, 'the proxy made no handshake';
	# what is tunnelled need not be TLS
	my $echo = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
	$w = $p->wire;
	is $w->tunnel('localhost:' . $echo->sockport)->status, 200, 'a tunnel to something else';
	my $s = $echo->accept;
	$w->send("\0any bytes\n");
	sysread $s, my $got, 100;
	is $got, "\0any bytes\n", 'there';
	syswrite $s, "and back";
	is $w->exactly(8), 'and back', 'and back';
	shutdown $w->socket, 1;
	is sysread($s, $got, 100), 0, 'the end of one way is passed on';
	syswrite $s, "last words";
	close $s;
	is $w->rest, 'last words', '… while the other way goes on to its own';
	is $p->wire->tunnel('localhost:' . free_port())->status, 502, 'a host that cannot be reached: 502';
	my $open = $p->wire;
	is $open->tunnel('127.0.0.1:' . $origin->{https})->status, 200, 'others';
	ok $open->tls('127.0.0.1'), '… are opened, with a certificate of ours' or diag $open->{error};
	is $open->get('/hello', '127.0.0.1:' . $origin->{https})->body, 'hello', '… and served';
};

is $proxy->curl($origin->url('/hello'))->body, 'hello', 'and the proxy serves on';
is $proxy->stop, 0, 'it ends well';
done_testing;
