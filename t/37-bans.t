# Origins that cannot be reached: banned for a while, so that nobody waits for them; what is stored is served stale meanwhile where the policy
# allows it, all else fails at once and says when to come back. A probe in the background lifts it. All workers know it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use Test::More;
use Time::HiRes 'sleep';

sub mute { # takes connections, and says nothing
	my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 128) or die "socket: $!";
	return ($s, 'http://127.0.0.1:' . $s->sockport);
}
sub closed { 'http://127.0.0.1:' . free_port() } # nobody listens there

subtest 'an origin that refuses' => sub {
	my $proxy = proxy(workers => 2);
	my $there = closed();
	is $proxy->curl("$there/a")->status, 502, 'one failure';
	is $proxy->metrics->{bans} // -1, 0, '… is no ban';
	my $r = $proxy->curl("$there/b");
	is $r->status, 502, 'the second';
	like $r->header('Retry-After') // '', qr/^[1-5]$/, '… says when to come back';
	is $proxy->metrics->{bans}, 1, '… is one';
	is $proxy->metrics->{origins_banned}, 1, '… which counts';
	like $proxy->log, qr/^\S+ warn \S+ \d*\[?\d*\]?:? ?.*\Q$there\E is banned for 5 s: /m, '… and is in the log';
	is scalar(() = $proxy->log =~ /is banned for/g), 1, '… once';
	like $proxy->get('/debug/bans')->{body}, qr/^\Q$there\E\s+\d\.\d s left of 5\s+1 /m, '… and on the debug page';
	my $m = $proxy->counted(sub {
		is $proxy->curl("$there/c")->status, 502, 'one that comes then fails';
		is $proxy->curl('-d', 'x', "$there/d")->status, 502, '… so does a POST';
		is $proxy->curl('-I', "$there/e")->status, 502, '… and a HEAD';
		is $proxy->curl('-H', 'Connection: Upgrade', '-H', 'Upgrade: websocket', "$there/f")->status, 502, '… and an upgrade';
	});
	is $m->{ban_refusals}, 4, '… at once';
	is $m->{upstream_requests} // 0, 0, '… without a try';
	is $proxy->metrics->{bans}, 1, '… and the ban is the same';
	my $upgrades = closed();
	$proxy->curl('-H', 'Connection: Upgrade', '-H', 'Upgrade: websocket', "$upgrades/$_") for 1, 2;
	is $proxy->metrics->{bans}, 2, 'upgrades that find nobody count as well';
	my $other = origin('/x' => { cc => 'no-store', body => 'alive' });
	is $proxy->curl($other->url('/x'))->body, 'alive', 'another port of this host is another origin';
	$proxy->stop;
};

subtest 'an origin that is mute' => sub {
	my ($socket, $there) = mute();
	my $proxy = proxy(workers => 2, upstream_read_timeout => 3 * slow(), ban_seconds => 6);
	my @c = map { $proxy->curl_bg("$there/$_") } 1 .. 2;
	is $_->wait->status, 504, 'two wait for their time-out' for @c;
	my $asked = $proxy->metrics->{upstream_requests};
	my @r = map { $_->wait } map { $proxy->curl_bg($_ % 3 ? ("$there/probe") : $_ % 2 ? ('-d', 'x', "$there/x") : ("$there/$_")) } 1 .. 20;
	is scalar(grep { $_->status == 504 } @r), 20, 'twenty that come then fail';
	is scalar(grep { ($_->header('Retry-After') // '') =~ /^[1-6]$/ } @r), 20, '… with the time to come back';
	is scalar(grep { $_->body =~ /was not asked, for it failed before/ } @r), 20, '… and with the reason' or diag $r[0]->body;
	is $proxy->metrics->{upstream_requests}, $asked, '… none was sent';
	cmp_ok $proxy->metrics->{ban_refusals}, '>=', 20, 'they are counted';
	ok wait_until(sub { $proxy->metrics->{ban_probes} == 1 }, 10, 'a probe'), 'the background asks, too';
	ok wait_until(sub { $proxy->get('/debug/bans')->{body} =~ /\Q$there\E\s+over since .* - / }, 20, 'the end'), '… and gets no answer either, which lifts nothing and proves nothing';
	is $proxy->metrics->{bans}, 1, '… so the ban ends';
	my $probe = $proxy->curl_bg("$there/probe");
	ok wait_until(sub { $proxy->get('/debug/bans')->{body} =~ /\bprobed\b/ }, 5, 'the probe'), '… and the first request goes there';
	is $proxy->curl("$there/x")->status, 504, '… while others still fail';
	ok $probe->running, '… before it knows more';
	is $probe->wait->status, 504, 'it waits for it';
	is $proxy->metrics->{bans}, 2, '… and the next ban begins';
	$proxy->stop;
};

subtest 'an origin whose certificate cannot be trusted' => sub {
	my $origin = origin(tls => 'expired', '/x' => { body => 'x' });
	my $proxy = proxy(workers => 1);
	$proxy->curl($origin->https("/$_")) for 1 .. 2;
	is $proxy->metrics->{bans}, 1, 'is banned, too';
	like $proxy->get('/debug/bans')->{body}, qr/certificate/, '… and one can see why';
	$proxy->stop;
};

subtest 'what is no reason' => sub {
	my $n = 0;
	my $origin = origin('/broken' => { raw => '' }, '/nonsense' => { raw => "what?\r\n\r\n" }, '/500' => { status => 500, body => 'x' }, '/ok' => { cc => 'no-store', body => 'ok' });
	my $proxy = proxy(workers => 2);
	for my $path (qw(/broken /nonsense /500)) {
		$proxy->curl($origin->url($path)) for 1 .. 4;
		is $proxy->metrics->{bans}, 0, "$path: the origin is there";
	}
	is $proxy->curl($origin->url('/ok'))->body, 'ok', 'and is asked';
	$proxy->stop;
	my $off = proxy(workers => 1, ban_seconds => 0);
	my $there = closed();
	$off->curl("$there/$_") for 1 .. 4;
	is $off->metrics->{bans}, 0, 'ban-seconds 0: nobody is banned';
	is $off->curl("$there/x")->header('Retry-After'), undef, '… and nobody is told to come back';
	$off->stop;
};

subtest 'what is stored' => sub {
	my $port = free_port();
	my $origin = origin(port => $port, '/sie' => { cc => 'max-age=0', body => 'old', etag => '"1"' }, '/must' => { cc => 'max-age=0, must-revalidate', body => 'strict', etag => '"m"' },
	                    '/fresh' => { cc => 'max-age=600', body => 'fresh' });
	my $proxy = proxy(workers => 2, ban_seconds => 2, cache_status => 'all');
	my $base = $origin->url('');
	for my $path (qw(/sie /must /fresh)) {
		$proxy->curl("$base$path");
		wait_until(sub { $proxy->curl('-H', 'Cache-Control: only-if-cached, max-stale', "$base$path")->status == 200 || $path eq '/must' }, 5, $path);
	}
	$origin->stop;
	$proxy->curl("$base/gone") for 1 .. 2;
	is $proxy->metrics->{bans}, 1, 'the origin is away, and banned';
	my $asked = $proxy->metrics->{upstream_requests};
	my @r = map { $proxy->curl("$base/sie") } 1 .. 10;
	is scalar(grep { $_->body eq 'old' && $_->status == 200 } @r), 10, 'served stale';
	is scalar(grep { ($_->header('Cache-Status') // '') =~ /^passsage;hit/ } @r), 10, '… as the fields say';
	is $proxy->metrics->{upstream_requests}, $asked, '… without anybody asked';
	is $proxy->curl("$base/must")->status, 502, 'must-revalidate is stronger';
	is $proxy->curl("$base/fresh")->body, 'fresh', 'what is fresh is a hit as ever';
	cmp_ok $proxy->metrics->{stale_on_error}, '>=', 10, 'they are counted';

	ok wait_until(sub { $proxy->metrics->{bans} == 2 }, 10, 'the second ban'), 'at its end the origin is asked in the background, and banned again';
	like $proxy->log, qr/is banned for 4 s more/, '… for twice as long';
	is $proxy->metrics->{upstream_requests}, $asked, '… without a request of ours';
	is $proxy->curl("$base/sie")->body, 'old', '… and without anybody who waits';

	my $again = origin(port => $port, '/sie' => { cc => 'max-age=0', body => 'new', etag => '"2"' }, '*' => { cc => 'no-store', body => 'here' });
	ok wait_until(sub { $proxy->metrics->{origins_banned} == 0 }, 10, 'the probe'), 'the origin is back: the background finds out, and nobody else had to';
	like $proxy->log, qr/answers again: it is no longer banned/, '… which the log says';
	my @probes = grep { $_->{method} eq 'HEAD' } $again->requests('/');
	is scalar(@probes), 1, '… by one HEAD';
	is $proxy->metrics->{upstream_requests}, $asked, '… that is no request of ours';
	is $proxy->curl("$base/sie")->body, 'new', 'it is asked again, for all';
	wait_until(sub { $proxy->curl('-H', 'Cache-Control: only-if-cached, max-stale', "$base/sie")->body eq 'new' }, 5, 'its commit');
	$again->stop;
	$proxy->curl("$base/gone") for 1 .. 2;
	is $proxy->metrics->{origins_banned}, 1, 'away once more';
	is $proxy->curl("$base/sie")->body, 'new', '… what is stored is served';
	like $proxy->log, qr/is banned for 2 s: .*is banned for 2 s: /s, '… and the ban begins with its first length';
	$proxy->stop;
};

subtest 'an origin that came back, and was banned by many' => sub { # workers share the probe: however many origins and workers, one HEAD each
	my @ports = map { free_port() } 1 .. 3;
	my $proxy = proxy(workers => 2, ban_seconds => 3);
	for my $port (@ports) { $proxy->curl("http://127.0.0.1:$port/$_") for 1 .. 2 }
	is $proxy->metrics->{origins_banned}, 3, 'three are banned';
	my @back = map { origin(port => $_, '*' => { cc => 'no-store', body => 'back' }) } @ports[0, 1];
	ok wait_until(sub { $proxy->metrics->{origins_banned} == 1 }, 10), 'two that come back are free again';
	is scalar(grep { $_->hits('/') == 1 } @back), 2, '… each by one probe';
	is $proxy->curl("http://127.0.0.1:$ports[0]/x")->body, 'back', '… and are asked';
	is $proxy->curl("http://127.0.0.1:$ports[2]/x")->status, 502, 'the third is not';
	$proxy->stop;
};

subtest 'targeted cache control' => sub { # its clauses are rows of t/unit/policy_targeted.c
	my $origin = origin('/cdn' => { cc => 'no-store', headers => ['CDN-Cache-Control' => 'max-age=60'], body => 'cdn' },
	                    '/own' => { cc => 'max-age=60', headers => ['Passsage-Cache-Control' => 'no-store', 'CDN-Cache-Control' => 'max-age=60'], body => 'own' });
	for my $on (0, 1) {
		my $proxy = proxy(workers => 1, $on ? (targeted_cache_control => 'true') : ());
		for (['/cdn', $on], ['/own', !$on]) {
			my ($path, $hit) = @$_;
			$proxy->curl($origin->url($path));
			my $r = $proxy->curl($origin->url($path));
			ok $hit ? $r->hit : !$r->hit, ($on ? 'on' : 'off') . ": $path is " . ($hit ? '' : 'not ') . 'stored';
			is $r->header('CDN-Cache-Control'), 'max-age=60', '… and the field goes on';
		}
		$proxy->stop;
	}
};
done_testing();
