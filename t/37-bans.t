# Origins that cannot be reached: banned for a while, so that nobody waits for them but one request at a time; what is stored is served
# stale meanwhile where the policy allows it, all else fails at once and says when to come back. All workers know it.
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
	is $proxy->curl("$there/c")->status, 502, 'one that comes then finds out that nothing has changed';
	is $proxy->curl('-d', 'x', "$there/d")->status, 502, '… so does a POST';
	is $proxy->curl('-I', "$there/e")->status, 502, '… and a HEAD';
	is $proxy->metrics->{bans}, 1, '… and the ban is the same';
	my $other = origin('/x' => { cc => 'no-store', body => 'alive' });
	is $proxy->curl($other->url('/x'))->body, 'alive', 'another port of this host is another origin';
	$proxy->stop;
};

subtest 'an origin that is mute' => sub {
	my ($socket, $there) = mute();
	my $proxy = proxy(workers => 2, upstream_read_timeout => 3 * slow());
	my @c = map { $proxy->curl_bg("$there/$_") } 1 .. 2;
	is $_->wait->status, 504, 'two wait for their time-out' for @c;
	my $probe = $proxy->curl_bg("$there/probe");
	ok wait_until(sub { $proxy->get('/debug/bans')->{body} =~ /\bprobed\b/ }, 5, 'the probe'), 'then one goes there';
	my @r = map { $_->wait } map { $proxy->curl_bg($_ % 3 ? ("$there/probe") : $_ % 2 ? ('-d', 'x', "$there/x") : ("$there/$_")) } 1 .. 20;
	is scalar(grep { $_->status == 504 } @r), 20, 'twenty that come meanwhile fail';
	is scalar(grep { ($_->header('Retry-After') // '') =~ /^[1-5]$/ } @r), 20, '… with the time to come back';
	is scalar(grep { $_->body =~ /was not asked, for it failed before/ } @r), 20, '… and with the reason' or diag $r[0]->body;
	ok $probe->running, '… before the one knows more';
	is $probe->wait->status, 504, 'the one waits for it';
	cmp_ok $proxy->metrics->{ban_refusals}, '>=', 20, 'they are counted';
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

	sleep 2.1; # the ban is over; nobody has found out more
	$asked = $proxy->metrics->{upstream_requests};
	is $proxy->curl("$base/sie")->body, 'old', 'after its end nobody waits either';
	ok wait_until(sub { $proxy->metrics->{bans} == 2 }, 5, 'the second ban'), '… but the origin is asked in the background, and banned again';
	like $proxy->log, qr/is banned for 4 s more/, '… for twice as long';
	is $proxy->metrics->{upstream_requests}, $asked + 1, '… by one request';

	my $again = origin(port => $port, '/sie' => { cc => 'max-age=0', body => 'new', etag => '"2"' }, '*' => { cc => 'no-store', body => 'here' });
	is $proxy->curl("$base/other")->body, 'here', 'the origin is back: the next that must go there finds out';
	is $proxy->metrics->{origins_banned}, 0, '… and the ban is lifted';
	like $proxy->log, qr/answers again: it is no longer banned/, '… which the log says';
	is $proxy->curl("$base/sie")->body, 'new', '… for all';
	wait_until(sub { $proxy->curl('-H', 'Cache-Control: only-if-cached, max-stale', "$base/sie")->body eq 'new' }, 5, 'its commit');
	$again->stop;

	$proxy->curl("$base/gone") for 1 .. 2;
	is $proxy->curl("$base/sie")->body, 'new', 'away once more';
	$again = origin(port => $port, '/sie' => { cc => 'max-age=600', body => 'newest', etag => '"3"' });
	sleep 2.1;
	is $proxy->curl("$base/sie")->body, 'new', 'back unseen: the first after the ban\'s end gets what is stored';
	ok wait_until(sub { $proxy->metrics->{origins_banned} == 0 && $proxy->curl("$base/sie")->body eq 'newest' }, 5, 'the newest'), '… and has it renewed';
	is $again->hits('/sie'), 1, '… once';
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
