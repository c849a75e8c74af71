# Origins that fail, in every way that there is: each ends in time, with the right status, in words and without a look inside the proxy;
# what is stored stands in where it may; a second try is made only where it is safe. Bans are another matter (t/37-bans.t), and off here.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use IO::Socket::IP;
use JSON::PP;
use POSIX ();
use Lab;
use Socket;
use Test::More;
use Time::HiRes qw(time sleep);

# A port that answers no SYN: its queue is full. (the socket, its port, and what fills it)
sub dead {
	my ($host, $port) = @_;
	my $s = IO::Socket::IP->new(LocalHost => $host, LocalPort => $port // 0, Listen => 0, V6Only => 1) or return;
	my @full;
	for (1 .. 8) {
		my $c = IO::Socket::IP->new(PeerHost => $host, PeerPort => $s->sockport, Timeout => 0.3);
		push @full, $c // last;
	}
	return ([$s, @full], $s->sockport);
}
sub mute { my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 128) or die "socket: $!"; return ($s, $s->sockport) } # takes connections, and says nothing
sub banner { # greets as another protocol does
	my ($s, $port) = mute();
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		Lab::in_child();
		$SIG{ALRM} = 'DEFAULT';
		alarm 120;
		while (my $c = $s->accept) { syswrite $c, "220 mail.example ESMTP\r\n"; close $c }
		POSIX::_exit(0);
	}
	return ($pid, $port);
}
sub reset_now { my ($c) = @_; setsockopt $c->{s}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0); close $c->{s}; return 0 }

my $rules = lab_dir() . '/trouble.policy';
spew($rules, <<'EOF');
rules = (
	{ type = "PathContains"; match = "/by-rule/drip"; policy = "Standard"; timeouts = { low_speed = 2000; low_speed_time = 1; }; },
	{ type = "PathContains"; match = "/by-rule/total"; policy = "Standard"; timeouts = { total = 1; }; },
	{ type = "PathContains"; match = "/by-rule/read"; policy = "Standard"; timeouts = { read = 1; }; },
	{ type = "PathContains"; match = "/by-rule/endless"; policy = "Standard"; timeouts = { read = 0; }; }
);
EOF
chmod 0644, $rules;

my $silent = sub { my ($c) = @_; $c->gate('never') };
my $drip = sub { # 40 bytes a second, for as long as somebody reads
	my ($c, $req) = @_;
	$c->send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100000\r\n\r\n");
	for (1 .. 400) { $c->send('x'); sleep 0.025 }
	return 0;
};
my $half = sub { my ($c) = @_; $c->send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nhalf"); $c->gate('never') };
my $origin = origin(
	'/ok' => { cc => 'max-age=60', body => 'ok' }, '/silent' => $silent, '/by-rule/read' => $silent, '/half' => $half,
	'/by-rule/drip' => $drip, '/by-rule/total' => $drip,
	'/by-rule/endless' => sub { my ($c) = @_; sleep 3; $c->respond({ body => 'late' }) },
	'/reset' => \&reset_now, '/close' => { raw => '' },
	'/reset-body' => { cc => 'max-age=60', body => 'x' x 1000, break_after => 500, reset => 1 }, '/short' => { cc => 'max-age=60', body => 'x' x 1000, break_after => 500 },
	'/garbage' => { raw => "SSH-2.0-OpenSSH_9.2\r\n\r\n" }, '/two-lengths' => { raw => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello" },
	'/large-head' => { raw => "HTTP/1.1 200 OK\r\n" . ('X-Large: ' . 'x' x 1000 . "\r\n") x 600 . "\r\n" },
);
my $proxy = proxy(workers => 2, ban_seconds => 0, upstream_connect_timeout => 2, upstream_read_timeout => 2 * slow(), policy_file => $rules);
sub timed { my ($code) = @_; my $t = time; my $r = $code->(); return ($r, time - $t) }
sub serves { is $proxy->curl($origin->url('/ok'))->body, 'ok', 'and the proxy serves on' }

my $closed = free_port();
my ($dead, $dead_port) = dead('127.0.0.1');
my ($mute, $mute_port) = mute();
my ($banner, $banner_port) = banner();
END { kill 'KILL', $banner if $banner }
my $expired = origin(tls => 'expired', '*' => { body => 'x' });
my $wrong = origin(tls => 'wrongname', '*' => { body => 'x' });
my $self_signed = origin(tls => 'selfsigned', '*' => { body => 'x' });

for my $row ( # what, url, status, at most so many seconds, in words
	['it refuses the connection', "http://127.0.0.1:$closed/x", 502, 1.5, qr/cannot be reached/],
	['it does not answer the connection', "http://127.0.0.1:$dead_port/x", 502, 3, qr/cannot be reached/],
	['the same by TLS', "https://127.0.0.1:$dead_port/x", 502, 3, qr/cannot be reached/],
	['the handshake of TLS never ends', "https://127.0.0.1:$mute_port/x", 502, 3, qr/cannot be reached/],
	['it does not speak TLS', "https://127.0.0.1:$banner_port/x", 502, 1.5, qr/No secure connection/],
	['its certificate has expired', $expired->https('/x'), 502, 1.5, qr/certificate cannot be trusted/],
	['its certificate is another host\'s', $wrong->https('/x'), 502, 1.5, qr/certificate cannot be trusted/],
	['its certificate is its own word', $self_signed->https('/x'), 502, 1.5, qr/certificate cannot be trusted/],
	['its name does not exist', 'http://no-such-host.invalid/x', 502, 3, qr/host is not known/],
	['it takes the request and says nothing', $origin->url('/silent'), 504, 4, qr/does not answer/],
	['by the time of a rule', $origin->url('/by-rule/read'), 504, 2, qr/does not answer/],
	['it resets the connection', $origin->url('/reset'), 502, 1.5, qr/broke off/],
	['it closes the connection', $origin->url('/close'), 502, 1.5, qr/broke off/],
	['it speaks another protocol', $origin->url('/garbage'), 502, 1.5, qr/not valid HTTP/],
	['its answer has two lengths', $origin->url('/two-lengths'), 502, 1.5, qr/not valid HTTP/],
	['its head has no end', $origin->url('/large-head'), 502, 1.5, qr/not valid HTTP/],
) {
	my ($what, $url, $status, $limit, $words) = @$row;
	subtest $what => sub {
		my ($r, $took) = timed(sub { $proxy->curl($url) });
		is $r->status, $status, "a GET: $status";
		cmp_ok $took, '<', $limit * (slow() > 1 ? 4 : 1) + 1, sprintf '… in %.1f s', $took;
		like $r->body, $words, '… in words';
		my $id = $r->header('x-request-id') // 'none';
		like $r->body, qr/^Request id: \Q$id\E$/m, '… with the request\'s id';
		is $proxy->curl('-d', 'x=1', $url)->status, $status, 'a POST as well';
		is $proxy->curl('-I', $url)->status, $status, '… and a HEAD';
	};
}

for my $row (['silence in the middle', '/half', 4], ['a reset in the middle', '/reset-body', 2], ['an end before the end', '/short', 2], ['a trickle, under a low-speed limit', '/by-rule/drip', 3.5],
             ['a trickle, over a total limit', '/by-rule/total', 2.5]) {
	my ($what, $path, $limit) = @$row;
	subtest $what => sub {
		my ($r, $took) = timed(sub { $proxy->curl($origin->url($path)) });
		is $r->status, 200, 'it had begun well';
		isnt $r->exit, 0, '… so the client sees that it broke off';
		cmp_ok $took, '<', $limit * (slow() > 1 ? 4 : 1) + 1, sprintf '… after %.1f s', $took;
		is $proxy->curl('-H', 'Cache-Control: only-if-cached', $origin->url($path))->status, 504, '… and nothing of it is stored';
	};
}
subtest 'a rule without a limit' => sub {
	is $proxy->curl($origin->url('/by-rule/endless'))->body, 'late', 'read = 0: it may be silent for longer than others' if slow() == 1;
	serves();
};

subtest 'the limits as settings' => sub {
	my $p = proxy(workers => 1, ban_seconds => 0, upstream_low_speed => '2K', upstream_low_speed_time => 1, upstream_total_timeout => 2);
	my ($r, $took) = timed(sub { $p->curl($origin->url('/by-rule/drip')) });
	isnt $r->exit, 0, 'low speed';
	cmp_ok $took, '<', 2 * slow() + 1, sprintf '… %.1f s', $took;
	($r, $took) = timed(sub { $p->curl($origin->url('/silent')) });
	is $r->status, 504, 'total time';
	cmp_ok $took, '<', 3 * slow() + 1, sprintf '… %.1f s', $took;
	like $r->body, qr/longer than it may in all/, '… says why';
	is $p->curl($origin->url('/ok'))->body, 'ok', 'what is quick is not touched';
	$p->stop;
	$p = proxy(workers => 1, ban_seconds => 0, upstream_connect_timeout => 0, upstream_read_timeout => 0);
	is $p->curl($origin->url('/ok'))->body, 'ok', '0, no limit to connect: a connection is made';
	is $p->curl("http://127.0.0.1:$closed/x")->status, 502, '… and a refused one is an error at once';
	my $w = $p->wire;
	$w->send("GET http://127.0.0.1:$closed/ HTTP/1.1\r\nHost: 127.0.0.1:$closed\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	is $w->response->status, 502, '… for an upgrade, too';
	my $waits = $p->curl_bg("http://127.0.0.1:$dead_port/x");
	sleep 3;
	ok $waits->running, '… and who is not answered waits';
	$waits->kill;
	$p->stop;
};

subtest 'a name server that does not answer' => sub {
	plan skip_all => 'no place for another library under a sanitizer' if $ENV{SAN};
	my ($so, $c) = (lab_dir() . '/slowdns.so', lab_dir() . '/slowdns.c');
	spew($c, <<'EOF');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	if (node && strstr(node, "slow-dns") && !(hints && hints->ai_flags & AI_NUMERICHOST)) {
		sleep(30);
		return EAI_AGAIN;
	}
	return real(node, service, hints, res);
}
EOF
	my ($s, $out) = run_cmd('cc', '-shared', '-fPIC', '-o', $so, $c, '-ldl');
	plan skip_all => "no compiler: $out" if $s;
	chmod 0755, $so;
	my $p = proxy(workers => 1, ban_seconds => 0, upstream_connect_timeout => 1.5, env => { LD_PRELOAD => $so });
	my $t = time;
	my @waiting = map { $p->curl_bg("http://slow-dns$_.test/") } 1 .. 20;
	my ($r, $took) = timed(sub { $p->curl($origin->url('/ok')) });
	is $r->body, 'ok', 'others are served meanwhile';
	cmp_ok $took, '<', 1, sprintf '… in %.2f s', $took;
	my @r = map { $_->wait } @waiting;
	cmp_ok time - $t, '<', 6, sprintf 'the lookups end by the time to connect, not by that of the name server: %.1f s', time - $t;
	is scalar(grep { $_->status == 502 && $_->body =~ /host is not known/ } @r), 20, '… with 502, and say that it is the name' or diag $r[0]->body;
	my $w = $p->wire;
	$w->send("GET http://slow-dns.test/ HTTP/1.1\r\nHost: slow-dns.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	my $answer = $w->response;
	is $answer && $answer->status, 502, 'an upgrade, too';
	$p->stop;
};

subtest 'two addresses, one of them dead' => sub {
	my $alive = origin('/x' => { cc => 'no-store', body => 'alive' }, '/ws' => { raw => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" });
	my @closed = dead('::1', $alive->{http});
	plan skip_all => 'no IPv6 here' if !@closed;
	my @closed_tls = dead('::1', $alive->{https});
	for my $scheme (qw(http https)) {
		my ($r, $took) = timed(sub { $proxy->curl($alive->url('/x', $scheme)) });
		is $r->body, 'alive', "$scheme: the other is used";
		cmp_ok $took, '<', 1.5 * slow(), sprintf '… without waiting for the first: %.2f s', $took;
	}
	my ($w, $took) = timed(sub {
		my $c = $proxy->wire;
		$c->send('GET ' . $alive->url('/ws') . " HTTP/1.1\r\nHost: " . $alive->authority('http') . "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
		$c->until(qr/\r\n\r\n/);
	});
	like $w // '', qr/^HTTP\/1.1 101 /, 'an upgrade, too';
	cmp_ok $took, '<', 1.5 * slow(), sprintf '… %.2f s', $took;
};

subtest 'a second try, where it is safe' => sub {
	my $fickle = origin('/kept' => { cc => 'no-store', body => 'kept' }, '/stale' => sub { # the connection that was kept is closed at the next request
		my ($c, $req) = @_;
		$c->read_body;
		return 0 if $c->{used}++ || $c->{kept};
		$c->respond({ cc => 'no-store', body => 'fresh' });
	}, '/kept-then-stale' => sub { my ($c) = @_; $c->{kept} = 1; $c->respond({ cc => 'no-store', body => 'kept' }) });
	my $p = proxy(workers => 1, ban_seconds => 0);
	my $w = $p->wire;
	my $ask = sub { my ($method, $path, $body) = @_;
		$w->send("$method " . $fickle->url($path) . ' HTTP/1.1' . "\r\nHost: " . $fickle->authority('http') . "\r\n" . (defined $body ? 'Content-Length: ' . length($body) . "\r\n\r\n$body" : "\r\n"));
		return $w->response };
	is $ask->('GET', '/kept-then-stale')->body, 'kept', 'a connection that is kept';
	my $r = $ask->('GET', '/stale');
	is $r->body, 'fresh', 'GET: when it turns out to be closed another is made';
	is $fickle->hits('/stale'), 2, '… by one more try';
	$ask->('GET', '/kept-then-stale');
	is $ask->('PUT', '/stale', 'x')->body, 'fresh', 'PUT is idempotent, and its body can be sent again';
	my $n = $fickle->hits('/stale');
	$ask->('GET', '/kept-then-stale');
	is $ask->('POST', '/stale', 'x')->status, 502, 'POST is not: who knows what it did';
	is $fickle->hits('/stale'), $n + 1, '… it was sent once';
	$n = $origin->hits('/reset');
	$proxy->curl($origin->url('/reset'));
	my $tries = $origin->hits('/reset') - $n;
	ok $tries == 2, "an origin that breaks off each time is asked twice, not for ever ($tries)";
	$n = $origin->hits('/reset');
	$proxy->curl('-d', 'x', $origin->url('/reset'));
	is $origin->hits('/reset') - $n, 1, '… and once with POST';
	$p->stop;
};

subtest 'what is stored stands in' => sub {
	my %fails = (reset => \&reset_now, silence => $silent);
	my $o = origin('/silence' => sub { my ($c, $req) = @_; $c->{origin}->hits('/silence') > 1 ? $silent->(@_) : $c->respond({ cc => 'max-age=0', body => 'old' }) },
	               '/reset' => sub { my ($c, $req) = @_; $c->{origin}->hits('/reset') > 1 ? reset_now(@_) : $c->respond({ cc => 'max-age=0', body => 'old' }) });
	$o->set("/$_" => { cc => 'max-age=0', body => 'old' }) for qw(garbage close 500 503);
	for my $path (qw(/silence /reset /garbage /close /500 /503)) {
		is $proxy->curl($o->url($path))->body, 'old', "$path: stored";
		wait_until(sub { $proxy->curl('-H', 'Cache-Control: only-if-cached, max-stale', $o->url($path))->status == 200 }, 5, 'its commit');
		$o->set($path => $path eq '/garbage' ? { raw => "what?\r\n\r\n" } : $path eq '/close' ? { raw => '' } : { status => substr($path, 1), body => 'error' }) if $path !~ /silence|reset/;
		my $r = $proxy->curl($o->url($path));
		is $r->body, 'old', '… and served stale when the origin fails so';
		like $r->header('Cache-Status') // '', qr/^passsage;hit;.*ttl=(?:-\d+|0)$/, '… which the field says';
	}
};

subtest 'error pages' => sub {
	my $url = "http://127.0.0.1:$closed/<script>?q=secret%22onload=";
	my %page = (html => [$proxy->curl('-H', 'Accept: text/html,application/xhtml+xml,*/*;q=0.8', $url), 'text/html; charset=utf-8'],
	            text => [$proxy->curl($url), 'text/plain; charset=utf-8'], json => [$proxy->curl('-H', 'Accept: application/json', $url), 'application/json']);
	for my $form (sort keys %page) {
		my ($r, $type) = @{$page{$form}};
		my $id = $r->header('x-request-id') // 'none';
		is $r->status, 502, "$form: 502";
		is $r->header('Content-Type'), $type, '… its type';
		is $r->header('Cache-Control'), 'no-store', '… not to be stored';
		like $r->body, qr/\Q$id\E/, '… has the request\'s id';
		cmp_ok length $r->body, '<', 4096, '… is short';
		my @leaks = grep { index($r->body, $_) >= 0 } $proxy->state_dir, lab_dir(), root_dir(), 'secret', '.c:', 'errno', 'curl', '<script', 'worker', 'ERR_', $proxy->master;
		is "@leaks", '', '… and nothing of what is inside';
	}
	like $page{html}[0]->body, qr/^<!DOCTYPE html>/, 'a browser gets a page';
	unlike $page{html}[0]->body, qr/<script|<img|<link|src=/i, '… that loads nothing';
	unlike $page{text}[0]->body, qr/</, 'others get text';
	is eval { JSON::PP->new->decode($page{json}[0]->body)->{status} } // $@, 502, '… or JSON';
	serves();
};

done_testing;
