# One upstream request however many clients, threads and workers ask at a time; each streams as bytes arrive; nobody is hurt by another's trouble.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Time::HiRes 'time';
use Test::More;

my $size = 3_000_000;
my $whole = pattern($size);
my $origin = origin('*' => { size => $size, cc => 'max-age=60', etag => '"x"' }, '/small' => { cc => 'max-age=60', body => 'small' });
my $proxy = proxy(workers => 3, chunk_size => '1M');
my $n = 0;
sub crowd { my ($many, $url, @args) = @_; return map { $proxy->curl_bg(@args, $url) } 1 .. $many }
sub serves { my $r = $proxy->curl($origin->url('/small')); is $r->body, 'small', 'and the proxy serves on' }

subtest '50 clients, one request' => sub {
	$origin->pause_after(-1, '/crowd');
	my @c = crowd(50, $origin->https('/crowd'));
	ok $origin->wait_paused(1), 'the origin has been asked';
	ok $proxy->wait_metrics(sub { $_->{connections_open} >= 50 }, 20, '50 clients'), 'all are there';
	$origin->resume;
	my @bad = grep { $_->wait; $_->exit != 0 || $_->sha256 ne sha256($whole) } @c;
	is scalar(@bad), 0, 'each got all of it' or diag $bad[0]{error}, $bad[0]{head};
	is $origin->hits('/crowd'), 1, 'the origin saw one request';
	ok $proxy->curl($origin->https('/crowd'))->hit, 'it is stored';
	my $m = $proxy->metrics;
	cmp_ok $m->{joined} + $m->{hits}, '>=', 49, 'they joined it, or came when it was there';
	cmp_ok $m->{joined}, '>=', 5, '… some did join';
};

subtest 'bytes stream while they arrive' => sub {
	$origin->pause_after(100_000, '/stream');
	my @c = crowd(5, $origin->https('/stream'));
	ok $origin->wait_paused(2), 'the origin has sent a part and waits';
	ok wait_until(sub { 5 == grep { $_->so_far >= 100_000 } @c }, 10, 'the first 100,000 bytes'), 'every client has that part already';
	is $_->so_far, 100_000, '… and no more' for $c[0];
	my $late = $proxy->curl_bg($origin->https('/stream'));
	ok wait_until(sub { $late->so_far >= 100_000 }, 10), 'one that comes late gets what is there at once';
	my $range = $proxy->curl_bg('-r', '1000-1999', $origin->https('/stream'));
	$origin->resume;
	same $_->wait->body, $whole, 'then all of it' for @c, $late;
	$range->wait;
	same $range->body, $range->status == 206 ? substr($whole, 1000, 1000) : $whole, 'a range of what is growing: right bytes, ' . $range->status;
	is $origin->hits('/stream'), 1, 'one request';
};

subtest 'a first client that vanishes hurts nobody' => sub {
	$origin->pause_after(50_000, '/vanish');
	my $first = $proxy->curl_bg($origin->https('/vanish'));
	ok $origin->wait_paused(3), 'the first has begun it';
	my @c = crowd(4, $origin->https('/vanish'));
	ok wait_until(sub { 4 == grep { $_->so_far >= 50_000 } @c }, 10), 'others have joined';
	$first->kill('KILL');
	$first->wait;
	$origin->resume;
	same $_->wait->body, $whole, 'they get all of it' for @c;
	is $origin->hits('/vanish'), 1, 'of the one request';
};

subtest 'a slow first client hurts nobody' => sub {
	my $much = 40_000_000; # more than the sockets' buffers take
	$origin->set('/slow-reader' => { size => $much, cc => 'max-age=60' });
	my $w = $proxy->wire(timeout => 60);
	$w->send('GET ' . $origin->url('/slow-reader') . " HTTP/1.1\r\nHost: x\r\n\r\n"); # and does not read
	ok wait_until(sub { $origin->hits('/slow-reader') == 1 }, 10), 'it has begun it';
	my $started = time;
	my $r = $proxy->curl($origin->url('/slow-reader'));
	same $r->body, pattern($much), 'another one gets all of it meanwhile';
	cmp_ok time - $started, '<', 10 * slow(), '… soon';
	is $origin->hits('/slow-reader'), 1, 'of the one request';
	same $w->response->body, pattern($much), 'the slow one gets it too, in its own time';
};

subtest 'when all have gone away it is still finished, or given up cleanly' => sub {
	$origin->pause_after(60_000, '/alone');
	my $c = $proxy->curl_bg($origin->https('/alone'));
	ok $origin->wait_paused(4), 'begun';
	$c->kill('KILL');
	$c->wait;
	$origin->resume;
	same $proxy->curl($origin->https('/alone'))->body, $whole, 'the next one gets all of it';
};

subtest 'the origin breaks mid-body' => sub {
	for (['FIN', {}], ['RST', { reset => 1 }], ['chunked', { chunked => 1 }]) {
		my ($how, $more) = @$_;
		my $path = "/broken-$how";
		unlink "$origin->{dir}/gates/pause";
		$origin->set($path => { size => $size, cc => 'max-age=60', break_after => 1_500_000, pause_after => 700_000, %$more });
		my $paused = $origin->paused;
		my @c = crowd(6, $origin->https($path));
		ok $origin->wait_paused($paused + 1), "$how: the origin has sent a part";
		ok wait_until(sub { 6 == grep { $_->so_far >= 700_000 } @c }, 10), '… which all clients have';
		$origin->open('pause');
		my @whole = grep { $_->wait->exit == 0 } @c;
		is scalar(@whole), 0, '… no client takes it for whole' or diag $whole[0]{head}, substr $whole[0]{body}, 0, 500;
		my @wrong = grep { $_->body ne substr $whole, 0, length $_->body } @c;
		is scalar(@wrong), 0, '… no client got a wrong byte';
		$origin->set($path => { size => $size, cc => 'max-age=60' });
		my $r = $proxy->curl($origin->https($path));
		ok !$r->hit, '… it was not stored as complete';
		same $r->body, $whole, '… the next one gets all of it';
	}
	serves();
};

subtest 'what turns out not to be storable releases the crowd at once' => sub {
	for my $cc ('no-store', 'private') {
		my $path = "/unshared-$cc";
		$origin->set($path => { size => 100_000, cc => $cc, delay => 0.3 });
		my $started = time;
		my @c = crowd(12, $origin->https($path));
		my @bad = grep { $_->wait->body ne pattern(100_000) } @c;
		is scalar(@bad), 0, "$cc: each got all of it";
		is $origin->hits($path), 12, '… each of its own request';
		cmp_ok time - $started, '<', 5 * slow(), '… not one after the other';
	}
};

subtest 'the worker that fetches is killed: others recover by themselves' => sub {
	my $p = proxy(workers => 3);
	$origin->pause_after(80_000, '/killed');
	my $paused = $origin->paused;
	my @c = map { $p->curl_bg($origin->https('/killed')) } 1 .. 12;
	ok $origin->wait_paused($paused + 1), 'the origin waits in the middle';
	ok wait_until(sub { 12 == grep { $_->so_far >= 80_000 } @c }, 15), 'all clients are in it';
	my $victim = $p->worker_to($origin->{https});
	ok $victim, 'the fetching worker is known';
	kill 'KILL', $victim if $victim;
	$origin->resume;
	$_->wait for @c;
	my @whole = grep { $_->exit == 0 } @c;
	my @wrong = grep { $_->body ne substr $whole, 0, length $_->body } @c;
	is scalar(@wrong), 0, 'no client got a wrong byte';
	is scalar(grep { $_->body ne $whole } @whole), 0, 'none takes a part for the whole';
	note scalar(@whole) . ' of 12 clients got all of it in spite of it';
	my $r = $p->curl($origin->https('/killed'));
	same $r->body, $whole, 'a new client gets all of it';
	ok wait_until(sub { 3 == scalar $p->pids('worker') }, 10), 'there are three workers again';
	ok $p->curl($origin->https('/killed'))->hit, 'it is stored';
};

subtest 'the worker that fetches is killed before the head has come: clients of other workers get their answer' => sub {
	my $p = proxy(workers => 2);
	my @group = $p->spread(3);
	is scalar(@group), 2, 'three clients in each of two workers' or return;
	$origin->pause_after(-1, '/early');
	my $paused = $origin->paused;
	my $ask = 'GET ' . $origin->url('/early') . " HTTP/1.1\r\nHost: x\r\n\r\n";
	my ($victim, $first, @same) = @{$group[0]};
	my (undef, @others) = @{$group[1]};
	$first->send($ask);
	ok $origin->wait_paused($paused + 1), 'the origin waits before its head';
	is $p->worker_to($origin->{http}), $victim, 'the first client\'s worker asked it';
	$_->send($ask) for @same, @others;
	ok $p->wait_metrics(sub { $_->{requests_open} >= 6 }, 10, 'all six to wait'), 'all clients wait';
	kill 'KILL', $victim;
	$origin->resume;
	for (@others) { my $r = $_->response; is $r && $r->status, 200, 'one of another worker: 200'; same $r && $r->body, $whole, '… all of it' }
	cmp_ok $origin->hits('/early'), '<=', 3, 'the origin was asked again, but not by each';
	ok wait_until(sub { 2 == scalar $p->pids('worker') }, 10), 'there are two workers again';
};
# Holds the origin before its head until all of the crowd are there. how: [arguments of curl] for each of them
sub held_crowd {
	my ($path, $how, $scheme) = @_;
	my ($paused, $open) = ($origin->paused, $proxy->metrics->{requests});
	$origin->pause_after(-1, $path);
	my @c = map { $proxy->curl_bg(@$_, $origin->url($path, $scheme // 'http')) } @$how;
	ok $origin->wait_paused($paused + 1), 'the origin is asked';
	ok $proxy->wait_metrics(sub { $_->{requests} - $open >= @c }, 20), 'all of the crowd are there';
	$origin->resume;
	return map { $_->wait } @c;
}

subtest 'a crowd whose members want different variants' => sub {
	my %body = (gzip => pattern(300_000, 'gzip'), br => pattern(300_000, 'br'), '' => pattern(300_000, 'identity'));
	my $various = origin('/v' => sub {
		my ($c, $req) = @_;
		my $coding = $req->{headers}{'accept-encoding'} // '';
		sleep 1; # all of them come meanwhile
		$c->respond({ cc => 'max-age=60', vary => 'Accept-Encoding', etag => "\"$coding\"", body => $body{$coding} // "what is $coding?", headers => $coding ne '' ? ['Content-Encoding' => $coding] : [] });
	});
	my @kinds = ('gzip', 'br', '');
	my @c = map { my $k = $kinds[$_ % 3]; [$k, $proxy->curl_bg($k ne '' ? ('-H', "Accept-Encoding: $k") : (), $various->url('/v'))] } 0 .. 17;
	my @bad = grep { $_->[1]->wait->body ne $body{$_->[0]} } @c;
	is scalar(@bad), 0, 'each gets its own' or diag map { "wanted '$_->[0]', got " . $_->[1]{head} . "\n" } @bad;
	my %asked;
	$asked{$_->{headers}{'accept-encoding'} // ''}++ for $various->requests('/v');
	is_deeply \%asked, { gzip => 1, br => 1, '' => 1 }, 'one request for each variant';
	for my $k (@kinds) {
		my $r = $proxy->curl($k ne '' ? ('-H', "Accept-Encoding: $k") : (), $various->url('/v'));
		ok $r->hit, "'$k' is stored";
		same $r->body, $body{$k}, '… unharmed';
	}
};

subtest 'a crowd on something stale costs one 304' => sub {
	$origin->set('/stale' => { cc => 'max-age=0', body => pattern(100_000, 'stale'), etag => '"s"', conditional => 1 });
	$proxy->curl($origin->url('/stale'));
	$origin->set('/stale' => { cc => 'max-age=60', body => pattern(100_000, 'stale'), etag => '"s"', conditional => 1 });
	my @c = held_crowd('/stale', [map { $_ % 3 ? [] : ['-H', 'If-None-Match: "s"'] } 1 .. 24]);
	is scalar(grep { $_->status == 200 && $_->body eq pattern(100_000, 'stale') } @c), 16, 'who asked for it gets it';
	is scalar(grep { $_->status == 304 && $_->body eq '' } @c), 8, 'who has it already is told so';
	is $origin->hits('/stale', 304), 1, 'the origin has confirmed it once';
	is $origin->hits('/stale'), 2, '… and was asked nothing else';
};

subtest 'an error is each one\'s own, and nobody waits for another\'s' => sub {
	for my $status (404, 503) {
		my $path = "/error-$status";
		$origin->set($path => { status => $status, body => "error $status" });
		my @c = held_crowd($path, [map { [] } 1 .. 12]);
		is scalar(grep { $_->status == $status && $_->body eq "error $status" } @c), 12, "$status: everybody gets it";
		$origin->set($path => { body => 'well again', cc => 'max-age=60' });
		is $proxy->curl($origin->url($path))->body, 'well again', '… and it is over when it is';
	}
	$origin->set('/error-kept' => { status => 404, body => 'not there', cc => 'max-age=60' });
	my @c = held_crowd('/error-kept', [map { [] } 1 .. 12]);
	is scalar(grep { $_->status == 404 && $_->body eq 'not there' } @c), 12, 'an error that may be stored: everybody gets it';
	is $origin->hits('/error-kept'), 1, '… of one request';
};

subtest 'an origin that closes without an answer' => sub {
	my $mute = origin('/x' => sub { my ($c) = @_; $c->gate('close'); return 0 });
	my $before = $proxy->metrics->{requests};
	my @c = map { $proxy->curl_bg($mute->url('/x')) } 1 .. 12;
	ok $proxy->wait_metrics(sub { $_->{requests} - $before >= 12 }, 20), 'all of the crowd are there';
	$mute->open('close');
	my $started = time;
	is scalar(grep { $_->wait->status == 502 } @c), 12, 'everybody gets a 502';
	cmp_ok $mute->hits('/x'), '<=', 4, 'the crowd shares the failure (' . $mute->hits('/x') . ' requests)';
	cmp_ok time - $started, '<', 5 * slow(), '… soon';
};

subtest 'an origin that never answers' => sub {
	my $p = proxy(workers => 3, upstream_read_timeout => 3);
	$origin->pause_after(-1, '/never');
	my $started = time;
	my @c = map { $p->curl_bg($origin->url('/never')) } 1 .. 12;
	my %status;
	$status{$_->wait->status}++ for @c;
	is_deeply \%status, { 504 => 12 }, 'everybody gets a 504';
	cmp_ok time - $started, '<', 12 * slow(), '… within the read time-out, not one after the other';
	is $origin->hits('/never'), 1, '… for one request';
	$origin->resume;
	same $p->curl($origin->url('/never'))->body, $whole, 'when it answers again, all is well';
	$origin->pause_after(500_000, '/stalls');
	@c = map { $p->curl_bg($origin->url('/stalls')) } 1 .. 6;
	my @whole = grep { $_->wait->exit == 0 } @c;
	is scalar(@whole), 0, 'one that falls silent in the middle: a broken body for everybody';
	is scalar(grep { $_->body ne substr $whole, 0, 500_000 } @c), 0, '… with all that came';
	$origin->resume;
	my $r = $p->curl($origin->url('/stalls'));
	ok !$r->hit, '… nothing was stored';
	same $r->body, $whole, '… the next one gets all of it';
};

serves();
is $proxy->stop, 0, 'it ends well';
subtest 'a crowd of more than there are threads' => sub {
	my $few = proxy(workers => 1, threads => 4);
	for ([-1, '/queue'], [100_000, '/queue2']) { # it waits for a head, and for a body: whoever brings it must find a thread
		my ($after, $path) = @$_;
		$origin->pause_after($after, $path);
		my @c = map { $few->curl_bg('--max-time', 30 * slow(), $origin->https($path)) } 1 .. 16;
		ok wait_until(sub { $origin->hits($path) > 0 }, 10, 'the origin to be asked'), "$path: the origin has been asked";
		sleep 1;
		$origin->resume;
		my @bad = grep { $_->wait; $_->exit != 0 || $_->sha256 ne sha256($whole) } @c;
		is scalar(@bad), 0, 'each got all of it' or diag $bad[0]{error};
	}
	$few->stop('QUIT');
};

subtest 'the worker that downloads dies: who reads it in another gets the rest by himself' => sub {
	my $p = proxy(workers => 2, chunk_size => '64K', parallel_min => '1M');
	my $big = pattern(4_000_000);
	$origin->set('/orphan' => { size => 4_000_000, cc => 'max-age=60', etag => '"o"', ranges => 1 });
	my ($one, $two) = $p->spread(1);
	plan skip_all => 'the kernel gives all connections to one worker' unless $one;
	my ($writer, $first) = @$one;
	my ($other, $second) = @$two;
	$origin->pause_after(1_500_000, '/orphan');
	my $paused = $origin->paused;
	$first->send('GET ' . $origin->url('/orphan') . " HTTP/1.1\r\nHost: x\r\n\r\n");
	ok $origin->wait_paused($paused + 1), 'one worker has begun it';
	$second->send('GET ' . $origin->url('/orphan') . " HTTP/1.1\r\nHost: x\r\n\r\n");
	$second->until(qr/\r\n\r\n/);
	$second->exactly(500_000);
	ok wait_until(sub { (run_cmd(passsage(), 'explain', '--state-dir', $p->state_dir, $origin->url('/orphan')))[1] =~ /of it there/ }, 20), 'what is there has been noted';
	kill 'KILL', $writer;
	$origin->resume;
	same $second->exactly(3_500_000), substr($big, 500_000), 'a client of the other one has all of it';
	ok $p->wait_metrics(sub { $_->{resumed} >= 1 }, 5), '… which was asked for once more';
	my $r = $p->curl($origin->url('/orphan'));
	same $r->body, $big, 'the next one begins with the chunks that are there';
	like $origin->last('/orphan')->{headers}{range} // '', qr/^bytes=[1-9]\d*-/, '… and asks for others only';
	ok wait_until(sub { $p->curl($origin->url('/orphan'))->hit }, 5), 'then it is whole';
};

done_testing;
