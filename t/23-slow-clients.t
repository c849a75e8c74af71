# A client that stalls, trickles or vanishes at any point costs a bounded time and memory, and slows nobody else.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::SSL;
use List::Util 'max';
use POSIX ();
use Test::More;
use Time::HiRes 'time', 'sleep';

my $big = 40 << 20;
my $origin = origin(
	'/hello' => { body => "hello\n", cc => 'max-age=600' },
	'/upload' => { body => 'got it', cc => 'no-store' },
	'/big' => { size => $big, cc => 'no-store' },
	'/stored' => { size => $big, cc => 'max-age=600' },
	'/filling' => { size => $big, cc => 'max-age=600' },
	'/never' => { delay => 600, body => '', cc => 'no-store' },
);
my $a = $origin->authority('http');
my $post = "POST http://$a/upload HTTP/1.1\r\nHost: $a\r\n";

# What a TLS client says first.
sub client_hello {
	my $ctx = Net::SSLeay::CTX_new_with_method(Net::SSLeay::TLS_client_method());
	my $ssl = Net::SSLeay::new($ctx);
	my ($in, $out) = map { Net::SSLeay::BIO_new(Net::SSLeay::BIO_s_mem()) } 1, 2;
	Net::SSLeay::set_bio($ssl, $in, $out);
	Net::SSLeay::set_tlsext_host_name($ssl, 'slow.example.test');
	Net::SSLeay::set_connect_state($ssl);
	Net::SSLeay::do_handshake($ssl);
	my $hello = Net::SSLeay::BIO_read($out);
	Net::SSLeay::free($ssl);
	Net::SSLeay::CTX_free($ctx);
	return $hello;
}
my $hello = client_hello();
sub tunnelled { my ($p) = @_; my $w = $p->wire; $w->tunnel($origin->authority); return $w }
sub encrypted { my ($p) = @_; my $w = tunnelled($p); return $w->tls('localhost') }
sub asking { # for a large body, with a small window, reading nothing of it
	my ($p, $path) = @_;
	my $w = $p->wire;
	setsockopt $w->socket, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 65536;
	$w->send("GET http://$a$path HTTP/1.1\r\nHost: $a\r\n\r\n");
	return $w;
}
# Every point of a request's way at which a client can stop: [name, how to get there, what to trickle from then on]
my @points = (
	['before the first head', sub { $_[0]->wire }, 'GET http:'],
	['in a head\'s first line', sub { my $w = $_[0]->wire; $w->send('GET http://loc'); $w }, 'a'],
	['in a head', sub { my $w = $_[0]->wire; $w->send("GET http://$a/hello HTTP/1.1\r\nHost: $a\r\nX-Slow: "); $w }, 'a'],
	['between requests', sub { my $w = $_[0]->wire; $w->get("http://$a/hello", $a); $w }, 'GET '],
	['behind CONNECT', sub { tunnelled($_[0]) }, undef],
	['in the TLS handshake', sub { my $w = tunnelled($_[0]); $w->send(substr $hello, 0, 40); $w }, substr($hello, 40, 1)],
	['after the ClientHello', sub { my $w = tunnelled($_[0]); $w->send($hello); $w }, undef],
	['in a head inside TLS', sub { my $w = encrypted($_[0]); $w->send("GET /hello HTTP/1.1\r\nHost:"); $w }, 'a'],
	['between requests inside TLS', sub { my $w = encrypted($_[0]); $w->get('/hello', $origin->authority); $w }, undef],
	['in an upload with a length', sub { my $w = $_[0]->wire; $w->send($post . "Content-Length: 100000\r\n\r\nabc"); $w }, 'a'],
	['in a chunked upload', sub { my $w = $_[0]->wire; $w->send($post . "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"); $w }, "1\r\na\r\n"],
	['in an upload inside TLS', sub { my $w = encrypted($_[0]); $w->send("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc"); $w }, 'a'],
	['after 100 Continue', sub { my $w = $_[0]->wire; $w->send($post . "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"); $w->response; $w }, undef],
);
my %limits = (client_head_timeout => 1, client_idle_timeout => 1.5, client_read_timeout => 1, client_write_timeout => 1);
my $bound = (1.5 + 1 + 2.5) * slow(); # the longest limit, a tick, the lingering close and some reserve

# Closed? What still comes is read away.
sub ended {
	my ($w) = @_;
	my $fd = fileno $w->socket;
	while (1) {
		my $r = '';
		vec($r, $fd, 1) = 1;
		return 0 if !select $r, undef, undef, 0;
		my $n = POSIX::read($fd, my $buf, 65536);
		return 1 if !defined $n || $n == 0; # "0 but true"
	}
}
# How long the slowest of a few ordinary requests takes, on a connection each.
sub quick {
	my ($p) = @_;
	my $worst = 0;
	for (1 .. 5) {
		my $t = time;
		my $r = $p->wire->get("http://$a/hello", $a);
		$worst = max $worst, $r && $r->body eq "hello\n" ? time - $t : 99;
	}
	return $worst;
}
my $quick = 1 * slow();

for my $trickling (0, 1) {
	subtest $trickling ? 'a client that trickles is ended after a bounded time' : 'a client that stalls is ended after a bounded time' => sub {
		my $p = proxy(workers => 1, %limits);
		quick($p);
		my @open;
		for (@points) {
			my ($name, $how, $drop) = @$_;
			next if $trickling && !defined $drop;
			push @open, { name => $name, wire => $how->($p), began => time, drop => $drop };
		}
		my @all = @open;
		my ($worst, $next) = (0, 0);
		while (@open && time - $open[0]{began} < $bound + 5) {
			if (time > $next) {
				$next = time + 0.1;
				if ($trickling) { local $SIG{PIPE} = 'IGNORE'; $_->{wire}->send(substr $_->{drop}, 0, 9) for @open }
				$worst = max $worst, quick($p);
			}
			$_->{ended} = time - $_->{began} for grep { ended($_->{wire}) } @open;
			@open = grep { !defined $_->{ended} } @open;
			sleep 0.01;
		}
		for (@all) {
			ok defined $_->{ended} && $_->{ended} < $bound, "$_->{name}: " . (defined $_->{ended} ? sprintf '%.1f s', $_->{ended} : 'never');
		}
		cmp_ok $worst, '<', $quick, 'others were served quickly all the time';
		$_->{wire}->close for @all;
		ok $p->wait_metrics(sub { $_->{connections_open} == 0 && $_->{requests_open} == 0 && $_->{threads_busy} == 0 }, 5, 'all to be given back'), 'no connection and no thread is held any more';
		cmp_ok $p->metrics->{client_timeouts}, '>=', $trickling ? 3 : 6, 'client_timeouts counts them';
		is $origin->hits('/upload'), 0, 'no half upload looks like a whole one to the origin';
		is $p->stop, 0, 'it ends well';
	};
}

subtest 'a client that takes nothing of a large response is ended, and holds up nobody who wants the same' => sub {
	my $p = proxy(workers => 1, %limits, client_idle_timeout => 60);
	is $p->curl($origin->url('/stored'))->status, 200, 'stored';
	my $began = time;
	my @stalled = map { asking($p, $_) } '/big', '/stored', '/filling';
	ok $p->wait_metrics(sub { $_->{requests_open} >= 3 }, 5, 'three requests'), 'three stall';
	my $r = $p->curl($origin->url('/filling'));
	same $r->body, pattern($big), 'the object that one of them began to fetch is there for the next';
	cmp_ok quick($p), '<', $quick, '… and others are served quickly';
	ok $p->wait_metrics(sub { $_->{threads_busy} == 0 && $_->{requests_open} == 0 && $_->{connections_open} == 0 }, 10, 'them to be ended'), 'they are ended';
	cmp_ok time - $began, '<', $bound + 5 * slow(), '… after a bounded time';
	ok $origin->wait_event('gone', 1, 5), '… the origin of what is not stored is let go';
	cmp_ok $p->metrics->{client_timeouts}, '>=', 3, '… client_timeouts';
	for my $w (@stalled) { # what they had taken may be read; then it breaks
		my $got = $w->response('GET', 5);
		ok !$got->complete, '… none of them was told that it was all';
	}
	is $origin->hits('/filling'), 1, '… one request';
	is $p->stop, 0, 'it ends well';
};

subtest 'a client that vanishes leaves nothing behind, at once' => sub {
	my $p = proxy(workers => 1); # the usual time limits: none of them is what ends these
	quick($p);
	my @more = (
		['while it waits for the origin', sub { my $w = $_[0]->wire; $w->send("GET http://$a/never HTTP/1.1\r\nHost: $a\r\n\r\n"); $origin->wait_event('request', 1, 5); $w }],
		['while it receives a response that is not stored', sub { my $w = asking($_[0], '/big'); $w->until(qr/\r\n\r\n/); $w }],
		['while it receives one that is', sub { my $w = asking($_[0], '/stored'); $w->until(qr/\r\n\r\n/); $w }],
		['while it receives one inside TLS', sub { my $w = encrypted($_[0]); $w->send("GET /stored HTTP/1.1\r\nHost: @{[$origin->authority]}\r\n\r\n"); $w->until(qr/\r\n\r\n/); $w }],
	);
	for my $way ('close', 'reset') {
		for (@points, @more) {
			my ($name, $how) = @$_;
			my $w = $how->($p);
			$w->$way;
			undef $w;
			ok $p->wait_metrics(sub { $_->{connections_open} == 0 && $_->{requests_open} == 0 && $_->{threads_busy} == 0 }, 4, 'it to be given back'), ($way eq 'close' ? 'FIN ' : 'RST ') . $name;
		}
	}
	is $origin->hits('/upload'), 0, 'no half upload looks like a whole one to the origin';
	cmp_ok quick($p), '<', $quick, 'and it serves on';
	is $p->stop, 0, 'it ends well';
};

subtest 'slowloris: 500 half heads and half handshakes cost no threads' => sub {
	my $p = proxy(workers => 2);
	quick($p);
	my $before = $p->metrics->{threads};
	my @held;
	for my $i (1 .. 500) {
		if ($i % 2) {
			my $w = $p->wire;
			$w->send("GET http://$a/hello HTTP/1.1\r\nHost: $a\r\nX-Slow: $i");
			push @held, $w;
		} else {
			my $w = tunnelled($p);
			$w->send(substr $hello, 0, 50);
			push @held, $w;
		}
	}
	ok $p->wait_metrics(sub { $_->{connections_open} >= 500 && $_->{threads_busy} == 0 }, 10, '500 connections'), '500 connections are open, no handler is at work';
	ok $p->wait_metrics(sub { $_->{connections_parked} >= 500 }, 5, 'connections_parked'), '… connections_parked says so';
	my $threads = $p->metrics->{threads};
	cmp_ok $threads, '<=', $before + 6, "handler threads: $before before, $threads with them";
	cmp_ok quick($p), '<', $quick, 'others are served quickly';
	$_->send('x') for @held;
	cmp_ok quick($p), '<', $quick, '… also while all of them trickle';
	cmp_ok $p->metrics->{threads}, '<=', $before + 12, '… which costs no threads to speak of';
	$held[0]->send("\r\n\r\n");
	is $held[0]->response->body, "hello\n", 'one that makes up its mind is served';
	$_->close for @held;
	ok $p->wait_metrics(sub { $_->{connections_open} == 0 && $_->{connections_parked} == 0 }, 10, 'them to be forgotten'), 'gone, they are forgotten';
	is $p->stop, 0, 'it ends well';
};
done_testing;
