# S3 and Elasticsearch take every request and never say a word, and a crowd wants what only they could give: it gets its answers from the origin
# in bounded time, and meanwhile hits of what is here and misses go on as if nothing were; threads and memory stay bounded.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Fleet;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $CROWD = 500;
my $fleet = fleet();
my $load = load_origin() or skip_file('no test origin');
sub list { my $f = lab_dir() . '/urls.' . ++$Lab::seq; spew($f, join '', map { "$_\n" } @_); $f }
sub objects { my ($name, $n) = @_; map { $load->url("/bytes/1000?seed=$name$_", 'http') } 1 .. $n }
sub begin { # pxload in the background: a function that waits for it and gives its figures
	my ($p, @args) = @_;
	my $out = lab_dir() . '/load.' . ++$Lab::seq;
	my $proc = spawn({ stdout => $out, stderr => "$out.err" }, "$load->{bench}/pxload", '--proxy', "127.0.0.1:$p->{port}", '--json', '--verify-bytes', '--expect-status', 200, '--timeout', 60, @args);
	return sub { $proc->wait(90); my ($json) = (slurp($out) // '') =~ /^(\{.*\})$/ms; my $j = eval { json($json) } or diag 'pxload: ', slurp($out), slurp("$out.err"); $j || {} };
}
sub threads { my ($p) = @_; my $most = 0; for ($p->pids('worker')) { (slurp("/proc/$_/status") // '') =~ /^Threads:\s+(\d+)/m && $1 > $most and $most = $1 } $most }
sub trouble { my ($j) = @_; diag explain $j->{errors_by_kind}, $j->{error_examples} }

sub crowd { # the $CROWD asks for these at once, while others get hits and misses
	my ($name, $p, $bound, $local, @urls) = @_;
	(my $tag = $name) =~ tr/ /_/;
	my $rss = $p->rss_kb;
	my $hits = begin($p, '-c', 4, '--rate', 100, '-d', 6, '--urls', list(@$local));
	my $misses = begin($p, '-c', 8, '--rate', 20, '-d', 6, $load->url("/bytes/500?seed=$tag-x{n}", "http"));
	sleep 0.5; # both run
	my $all = begin($p, '-c', $CROWD, '-n', $CROWD, '-t', 1, '--urls', list(@urls));
	my ($threads, $mb) = (0, 0);
	for (1 .. 24) {
		my ($t, $m) = (threads($p), ($p->rss_kb - $rss) / 1024);
		$threads = $t if $t > $threads;
		$mb = $m if $m > $mb;
		sleep 0.2;
	}
	my %j = (crowd => $all->(), hits => $hits->(), misses => $misses->());
	diag sprintf 'FIGURE %s: %s; at most %d threads, %.0f MB more', $name, join('; ', map { my $l = $j{$_}{latency}; sprintf '%s %d: p50 %.1f ms, p99 %.1f ms, slowest %.1f ms', $_, $j{$_}{ok} // 0, map { ($l->{$_} // 0) / 1000 } qw(p50_us p99_us max_us) } qw(crowd hits misses)), $threads, $mb;
	for (sort keys %j) { is $j{$_}{errors}, 0, "$name, $_: every answer is right" or trouble($j{$_}) }
	is $j{crowd}{ok}, $CROWD, '… the crowd has all of them';
	cmp_ok $j{crowd}{latency}{max_us} / 1e6, '<', $bound * slow(), "… within $bound s";
	cmp_ok $j{hits}{latency}{p50_us} / 1e3, '<', 50 * slow(), '… hits go on';
	cmp_ok $j{hits}{latency}{p99_us} / 1e3, '<', 2000 * slow(), '… nearly all of them';
	cmp_ok $j{misses}{latency}{p50_us} / 1e3, '<', 300 * slow(), '… and so do misses'; # one may have to find out that Elasticsearch is away
	cmp_ok $threads, '<', 2 * $CROWD + 100, '… threads are bounded';
	cmp_ok $mb, '<', 100 * slow(), '… and memory is' unless $ENV{SAN};
}

my $realm = $fleet->realm(faults => 1);
my $p = $realm->node(elasticsearch_timeout => 0.25);
my @away = objects('away', $CROWD / 2);
my @again = objects('again', $CROWD);
is begin($p, '-c', 4, '-n', @away + @again, '--urls', list(@away, @again))->()->{errors}, 0, 'objects are fetched';
ok $p->drained, '… and shared';
$p->wipe_store; # their bytes are in S3 only now
my @local = objects('local', 20);
is begin($p, '-c', 4, '-n', 20, '--urls', list(@local))->()->{errors}, 0, 'others are here';
ok $p->drained, '… and shared, too';

$realm->s3->set(all => { do => 'hole' });
crowd('S3 silent', $p, 10, \@local, @away, @away); # each is wanted twice: who joins may wait a second time
is $p->get('/ready')->{status}, 200, 'it is ready';
crowd('S3 silent for a while', $p, 6, \@local, @again);
$realm->s3->heal;

my $q = $realm->node(elasticsearch_timeout => 0.25);
is begin($q, '-c', 4, '-n', 20, '--urls', list(@local))->()->{errors}, 0, 'another node has something, too';
$realm->es->set(all => { do => 'hole' });
crowd('Elasticsearch silent', $q, 3, \@local, objects('new', $CROWD));
$realm->es->heal;
done_testing;
