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
	my %worker; # the kernel spreads connections: a crowd of 50 in one of three workers would be a wonder
	cmp_ok $proxy->metrics->{joined}, '>=', 45, 'they joined it';
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
serves();
is $proxy->stop, 0, 'it ends well';
done_testing;
