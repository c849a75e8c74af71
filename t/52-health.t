# Health, readiness, metrics and debug pages tell the truth, to those who may ask.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use JSON::PP;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $origin = origin('/hello' => { body => "hello\n", cc => 'max-age=600' }, '/slow' => { body => 'slow', cc => 'no-store', pause_after => 2 }, '/n' => { body => 'n', cc => 'max-age=600' });
my $proxy = proxy(workers => 2, debug_token => 'open-sesame');
my $json = JSON::PP->new;
sub type { my ($r) = @_; $r->{head} =~ /^Content-Type: (.*?)\r?$/mi ? $1 : '' }
sub health { my ($p) = @_; my $r = $p->get('/health', 'Accept: application/json') or return; return { status => $r->{status}, %{$json->decode($r->{body})}, code => $r->{status} } }
# An address of this machine that is not loopback
my ($outside) = map { $_->sockhost } grep { $_ } IO::Socket::INET->new(Proto => 'udp', PeerAddr => '192.0.2.1', PeerPort => 9);
undef $outside if defined $outside && $outside =~ /^127\./;

subtest '/health and /ready' => sub {
	my $r = $proxy->get('/health');
	is $r->{status}, 200, '/health';
	is $r->{body}, "ok\n", '… says ok';
	like type($r), qr/^text\/plain/, '… in plain text';
	$r = $proxy->get('/health', 'Accept: application/json');
	like type($r), qr/^application\/json/, 'as JSON for who asks for it';
	my $j = eval { $json->decode($r->{body}) } // {};
	is $j->{status}, 'ok', '… ok';
	is $j->{checks}{$_}, 'ok', "… $_ is" for qw(serving store metadata);
	is $j->{workers}, 2, '… workers';
	like $j->{version}, qr/^\d+\.\d+\.\d+$/, '… version';
	$r = $proxy->get('/ready');
	is "$r->{status} $r->{body}", "200 ready\n", '/ready';
	is $proxy->get('/healthz')->{status}, 404, 'what is not there is a 404';
	is $proxy->get('/')->{status}, 404, '… neither is /';
	my ($s, $out) = run_cmd('curl', '-s', '-I', "http://127.0.0.1:@{[$proxy->health]}/health");
	like $out, qr/^HTTP\/1\.1 200 .*Content-Length: 3/s, 'HEAD';
	($s, $out) = run_cmd('curl', '-s', '-i', '-d', 'x', "http://127.0.0.1:@{[$proxy->health]}/health");
	like $out, qr/^HTTP\/1\.1 405 .*Allow: GET, HEAD/s, 'POST is refused';
	for my $bad ("GET /health HTTP/1.1\r\nHost : x\r\n\r\n", "nonsense\r\n\r\n", "GET /health HTTP/1.1\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n") {
		my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $proxy->health);
		print $s $bad;
		like scalar(<$s>), qr/^HTTP\/1\.1 4/, 'refused: ' . $bad =~ s/\r\n.*//sr;
	}
	is $proxy->get('/health')->{status}, 200, 'and on';
};

subtest 'the health port is bounded: silent clients shut nobody out' => sub {
	my @silent = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $proxy->health) } 1 .. 200;
	my $began = time;
	is $proxy->get('/health')->{status}, 200, 'an answer beside 200 who say nothing';
	cmp_ok time - $began, '<', 2 * slow(), '… at once';
};

subtest '/metrics: Prometheus\' format, every counter of the table' => sub {
	$proxy->curl($origin->url('/hello')) for 1, 2;
	my $r = $proxy->get('/metrics');
	like type($r), qr/^text\/plain; version=0\.0\.4/, 'its type';
	my (%help, %type, %value, @bad);
	for (split /\n/, $r->{body}) {
		if (/^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (\S.*)$/) { push @bad, "twice: $_" if $help{$1}; $help{$1} = $2 }
		elsif (/^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)$/) { push @bad, "twice: $_" if $type{$1}; $type{$1} = $2 }
		elsif (/^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?:\w+="[^"\\\n]*",?)*\})? (-?[0-9.e+]+)$/) { push @bad, "before its type: $_" unless $type{$1}; $value{$1} = $2 }
		else { push @bad, $_ }
	}
	is "@bad", '', 'every line is as it should be';
	like $r->{body}, qr/\n\z/, '… the last one too';
	my $table = slurp(root_dir() . '/common/tbl/counters.h');
	my $n = 0;
	while ($table =~ /^COUNTER\((\w+),\s*(\w+),\s*"([^"]*)"\)/mg) {
		my $name = "passsage_$1" . ($2 eq 'counter' ? '_total' : '');
		ok defined $value{$name}, $name;
		is "$type{$name}: $help{$name}", "$2: $3", '… with type and help';
		$n++;
	}
	cmp_ok $n, '>', 40, 'the table was understood';
	for (qw(start_time_seconds workers fills_active degraded store_bytes store_disk_percent build_info)) { ok defined $value{"passsage_$_"}, "passsage_$_" }
	is $value{passsage_workers}, 2, '… of which two workers';
	cmp_ok abs(time - $value{passsage_start_time_seconds}), '<', 600, '… and the time of the start';
	ok !(grep { $type{$_} eq 'counter' && !/_total$/ } keys %type), 'counters, and only they, are called _total';
	my $grown = $proxy->counted(sub { $proxy->curl($origin->url($_)) for '/hello', '/n?1', '/n?2' });
	is $grown->{$_->[0]}, $_->[1], "$_->[0] grew by $_->[1]" for ['requests', 3], ['hits', 1], ['misses', 2], ['connections', 3], ['upstream_requests', 2], ['bytes_sent', 8], ['bytes_cached', 6];
};

subtest 'counters survive the death of who counted' => sub {
	my $before = $proxy->metrics;
	my @old = $proxy->pids('worker');
	kill 'KILL', @old;
	wait_until(sub { my @w = $proxy->pids('worker'); @w == 2 && !grep { my $w = $_; grep { $_ == $w } @old } @w }, 10, 'new workers');
	ok $proxy->wait_metrics(sub { $_->{workers} == 2 }, 5, 'two workers'), 'workers are back';
	my $after = $proxy->metrics;
	my $table = slurp(root_dir() . '/common/tbl/counters.h');
	cmp_ok $after->{$1}, '>=', $before->{$1}, "$1 did not shrink" while $table =~ /^COUNTER\((\w+),\s*counter,/mg;
	is $after->{$_}, 0, "gauge $_ does not count the dead" for qw(connections_open threads_busy);
};

my @pages = qw(/debug/ /debug/processes /debug/threads /debug/connections /debug/memory /debug/bans /debug/counters /debug/settings);
subtest 'debug pages say what is going on' => sub {
	is $proxy->get($_)->{status}, 200, $_ for @pages;
	my $c = $proxy->curl_bg($origin->url('/slow'));
	$origin->wait_paused(1, 10);
	ok wait_until(sub { $proxy->get('/debug/threads')->{body} =~ /thread \d+\s+(?:pass|deliver) .*\/slow/ }, 5, 'the request'), 'the request at hand, and its step';
	my $page = $proxy->get('/debug/processes')->{body};
	like $page, qr/^\Q$_\E\s+\d+/m, "process $_" for 'master', 'worker 0', 'worker 1', 'certgen', 'janitor', 'admin';
	my %pids = map { $_ => 1 } $page =~ /^(?:master|worker \d+|certgen|janitor|admin)\s+(\d+)/mg;
	is_deeply [sort keys %pids], [sort $proxy->family], '… with their pids';
	like $proxy->get('/debug/connections')->{body}, qr/127\.0\.0\.1:@{[$proxy->port]} -> 127\.0\.0\.1:\d+ ESTABLISHED/, 'the client\'s connection';
	like $proxy->get('/debug/memory')->{body}, qr/^worker 0\s+\d+\s+\d+\s+\d+/m, 'memory of a worker';
	my $j = eval { $json->decode($proxy->get('/debug/counters')->{body}) } // {};
	is $j->{connections_open}, 1, 'the counters as JSON';
	$page = $proxy->get('/debug/settings')->{body};
	like $page, qr/^processes\.workers = 2 .*--workers/m, 'the settings, and where they came from';
	unlike $page, qr/open-sesame/, '… without secrets';
	is $proxy->get('/debug/nothing')->{status}, 404, 'what is not there is a 404';
	$origin->open('pause');
	is $c->wait->body, 'slow', 'nobody was disturbed';
};

SKIP: {
	skip 'this machine has no address but loopback', 1 unless $outside;
	subtest 'debug pages are for this machine, or for who knows the token' => sub {
		my $p = proxy(health_host => '0.0.0.0', debug_token => 'open-sesame');
		my $closed = proxy(health_host => '0.0.0.0');
		my $there = $outside . ':' . $p->health;
		is http_get($there, $_)->{status}, 200, "$_ from outside" for qw(/health /ready /metrics);
		is http_get($there, $_)->{status}, 404, "$_ from outside does not exist" for @pages;
		is http_get($there, '/debug/threads', "Authorization: $_")->{status}, 404, "… nor for \"$_\"" for 'Bearer wrong', 'Bearer open-sesame-street', 'Bearer ', 'Basic open-sesame', 'Bearer open-sesam';
		is http_get($there, $_, 'Authorization: Bearer open-sesame')->{status}, 200, "$_ with the token" for @pages;
		is http_get($outside . ':' . $closed->health, '/debug/threads', "Authorization: $_")->{status}, 404, "no token is set: \"$_\" opens nothing" for 'Bearer ', 'Bearer', 'Bearer open-sesame';
		is http_get('127.0.0.1:' . $closed->health, '/debug/threads')->{status}, 200, '… loopback may';
	};
}

subtest 'degraded is shown as long as it lasts, and the proxy serves' => sub {
	my $p = proxy(workers => 1);
	is health($p)->{status}, 'ok', 'at first ok';
	my $tmp = "$p->{state}/store/tmp";
	rename $tmp, "$tmp.away" or BAIL_OUT("$tmp: $!");
	spew($tmp, ''); # a file where a folder should be: not even root writes below it
	my $h;
	ok wait_until(sub { $h = health($p); $h->{status} eq 'degraded' }, 5, 'degraded'), 'the store cannot be written: degraded';
	is $h->{code}, 200, '… with 200: it serves';
	like $h->{checks}{store}, qr/store cannot be written: Not a directory/, '… with the reason';
	like $p->get('/health')->{body}, qr/^degraded: the store cannot be written/, '… in plain text too';
	is $p->get('/ready')->{status}, 200, '… and ready';
	is $p->metrics->{degraded}, 1, 'the metric says so';
	is $p->curl($origin->https('/hello?degraded'))->body, "hello\n", 'requests are served';
	is scalar(my @said = $p->log =~ /health: degraded/g), 1, 'the log says it once';
	unlink $tmp;
	rename "$tmp.away", $tmp;
	ok wait_until(sub { $p->curl($origin->url('/n?' . time)); health($p)->{status} eq 'ok' }, 10, 'ok'), 'mended: ok again';
	is $p->metrics->{degraded}, 0, '… the metric too';
	like $p->log, qr/health: ok again/, '… and the log';
	is $p->stop, 0, 'it ends well';
};

subtest 'a bucket that is away: 503, or degraded where one says so; requests go on, and what is new waits' => sub {
	my @fleet = (s3_endpoint => 'http://127.0.0.1:' . free_port(), s3_access_key => 'k', s3_secret_key => 's', elasticsearch_url => 'http://127.0.0.1:' . free_port());
	my $p = proxy(@fleet);
	ok wait_until(sub { ($p->get('/health')->{status} // 0) == 503 }, 20), 'it is not healthy';
	like $p->get('/health')->{body}, qr/^s3_unhealthy: ./, '… as the old system says it';
	my $j = health($p);
	isnt $j->{checks}{s3}, 'ok', '… in JSON: S3';
	ok wait_until(sub { health($p)->{checks}{elasticsearch} ne 'ok' }, 20), '… Elasticsearch';
	is $j->{checks}{store}, 'ok', '… and not the store';
	my $r = $p->get('/ready');
	is $r->{status}, 200, 'it is ready';
	like $r->{body}, qr/^ready\nS3: .+\nElasticsearch: .+/, '… and says what is away';
	is $p->curl($origin->url('/hello'))->body, "hello\n", 'a request is answered';
	ok wait_until(sub { $p->curl($origin->url('/hello'))->hit }, 10), '… and stored';
	my $m = $p->metrics;
	is $m->{spool_entries}, 1, 'its body waits for S3';
	ok wait_until(sub { ($p->metrics->{outbox_entries} // 0) == 1 }, 10), '… and its document for both';
	is "$m->{s3_up}$m->{elasticsearch_up}", '00', '… which are known to be away';
	my $began = time;
	is $p->stop, 0, 'it ends';
	cmp_ok time - $began, '<', 10 * slow(), '… without waiting for them';
	push @{$p->{args}}, '--no-health-check-s3';
	$p->launch;
	ok wait_until(sub { $p->get('/health')->{body} =~ /^degraded: S3: / }, 20), 'with --no-health-check-s3: degraded';
	is $p->get('/health')->{status}, 200, '… and 200';
	ok wait_until(sub { ($p->metrics->{spool_entries} // 0) == 1 }, 10), 'and it waits still';
};

subtest 'draining: 503' => sub {
	my $p = proxy(workers => 1, drain_seconds => 20);
	$origin->set('/draining' => { body => 'slow', cc => 'no-store', delay => 2 * slow() });
	my $c = $p->curl_bg($origin->url('/draining'));
	ok wait_until(sub { $origin->hits('/draining') }, 5, 'a request'), 'a request is under way';
	$p->kill('TERM');
	my $h;
	ok wait_until(sub { $h = $p->get('/health'); $h && $h->{status} == 503 }, 5, '503'), 'draining: /health is 503';
	is $h->{body}, "draining\n", '… with the reason';
	is $p->get('/ready')->{status}, 503, '/ready too';
	is health($p)->{status}, 'down', '… JSON says down';
	is $c->wait->status, 200, 'the request is finished';
	is $p->{process}->wait(20 * slow()), 0, 'then it ends';
};

subtest 'the health port can be off; a taken one is said' => sub {
	my $p = proxy(health_port => -1);
	is $p->curl($origin->url('/hello'))->status, 200, 'off: it serves';
	is $p->stop, 0, '… and ends well';
};
is $proxy->stop, 0, 'it ends well';
done_testing;
