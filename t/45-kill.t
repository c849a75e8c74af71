# kill -9 of the uploader, of a worker, of everything, at random moments under load: what a lookup claims in the end is in S3 and Elasticsearch with
# the right bytes; what was claimed once is never lost; no document is there before its chunks; nothing is left behind.
# KILLS=200 for the long run (20 otherwise), SEED=n to repeat one.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Fleet;
use Lab::Load;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $kills = $ENV{KILLS} || 20;
my $seed = $ENV{SEED} || int(time) % 100_000;
srand $seed;
diag "SEED=$seed KILLS=$kills";
my $fleet = fleet();
my $realm = $fleet->realm(faults => 1);
my @sizes = (1, 300, 8000, 65_536, 65_537, 200_000);
sub bytes_of { my ($path) = @_; my ($n, $s) = $path =~ m{^/k/(\d+)/(\S+)$}; pattern($n, $s) }
my $origin = origin('*' => sub { my ($c, $r) = @_; my ($n, $s) = $r->{target} =~ m{^/k/(\d+)/(\S+)$}; $c->respond({ size => $n, seed => $s, cc => 'max-age=86400', etag => "\"$s\"" }) });
my $p = $realm->node(workers => 2, chunk_size => '64K', port => free_port(), janitor_interval => 1, elasticsearch_flush_interval => 1, drain_seconds => 1);
$realm->s3->set(put => { do => 'slow', delay => 0.02 }); # so that kills find uploads and bulks under way
$realm->es->set(bulk => { do => 'slow', delay => 0.05 });

# ---- clients: new objects, and lookups of earlier ones; all that they have seen whole is in their logs
my $clients = $ENV{CLIENTS} || 4;
my ($made, @mine) = (0);
my $load = Lab::Load->start(port => $p->port, clients => $clients, seed => $seed, next => sub {
	my ($number) = @_;
	my $look = @mine > 5 && rand() < 0.3;
	my $path = $look ? $mine[rand @mine] : "/k/$sizes[rand @sizes]/c$number-" . $made++;
	return { name => $path, url => $origin->url($path), body => bytes_of($path), $look ? (as => 'claimed', headers => ['Cache-Control: only-if-cached'], may => qr/^50[24]$/) : (may => qr/^502$/) };
}, seen => sub { my ($ask) = @_; push @mine, $ask->{name} unless $ask->{as} });
sub ask { my ($path, @headers) = @_; my ($r) = Lab::Load::ask($p->port, $origin->url($path), \@headers); $r }
sub logged { my $is = $load->logged; delete @$is{qw(broken refused)}; $is } # of processes that were killed
sub shared_is_sound { # no document before its chunks, right now
	my ($when) = @_;
	my $docs = $realm->docs; # first: what it names must be there by now
	my %key = map { $_ => 1 } $realm->keys;
	my @missing;
	for my $id (sort keys %$docs) {
		next unless defined $docs->{$id}{manifest_b64};
		my $m = Lab::Old::parse_manifest($docs->{$id}{manifest_b64}, 1);
		push @missing, grep { !$key{Lab::Old::key($_)} } @{$m->{ids}};
	}
	is scalar(@missing), 0, "$when: no document without its chunks (" . keys(%$docs) . ' documents)' or diag $missing[0];
	return $docs;
}

my %killed;
wait_until(sub { scalar keys %{logged()->{done} // {}} }, 20, 'the clients');
for my $n (1 .. $kills) {
	sleep rand 0.4; # a random moment is what this is about
	my $what = (qw(uploader uploader worker worker everything))[rand 5];
	$killed{$what}++;
	if ($what eq 'everything') {
		$p->kill9_all;
		shared_is_sound("after kill $n, all dead") if $killed{everything} % 3 == 1;
		$p->launch;
		next;
	}
	my $pids = wait_until(sub { my @l = $p->pids($what); @l ? \@l : undef }, 10, "a process called $what");
	if (!$pids) { fail("there is a $what to kill"); last }
	my $pid = $pids->[rand @$pids];
	kill 'KILL', $pid;
	ok wait_until(sub { my @now = $p->pids($what); @now >= @$pids && !grep { $_ == $pid } @now }, 15), "kill $n: the $what is replaced" or do { diag $p->log; last };
}
my $before = logged();
ok wait_until(sub { keys %{logged()->{done}} >= 10 + keys %{$before->{done}} }, 20), 'clients are served after it all';
$load->stop;

$p->kill9_all; # once more, and then it may do its work
shared_is_sound('all dead for the last time');
$realm->$_->heal for qw(s3 es);
$p->launch;
my $t = time;
ok $p->drained(60), 'the spool and the outbox become empty' or diag explain($p->metrics), join("\n", $p->spooled), $p->log;
my $drained = time - $t;
is scalar($p->given_up), 0, 'nothing was given up';

my $is = logged();
my @done = sort keys %{$is->{done}};
is join(' ', sort keys %$is), join(' ', grep { $is->{$_} } qw(claimed done)), 'no client got wrong bytes, or an answer that is none of theirs' or diag explain { map { $_ => [(sort keys %{$is->{$_}})[0 .. 3]] } grep { !/^(?:claimed|done)$/ } keys %$is };
my $docs = shared_is_sound('in the end');
my (%claim, @not_shared, @bad, @broken_promise);
for my $path (@done) {
	my $r = ask($path, 'Cache-Control: only-if-cached');
	if (!$r || $r->{status} != 200) { push @broken_promise, $path if $is->{claimed}{$path}; next }
	$claim{$path} = 1;
	push @bad, "$path: wrong bytes here" if $r->{body} ne bytes_of($path);
	my $doc = $docs->{Lab::Old::id($origin->url($path))};
	if (!$doc) { push @not_shared, $path; next }
	push @bad, "$path: wrong bytes in S3" if Lab::Old::read_body($realm, $doc, 1) ne bytes_of($path);
}
is scalar(@not_shared), 0, 'what a lookup claims is in Elasticsearch' or diag join ' ', @not_shared[0 .. ($#not_shared < 5 ? $#not_shared : 5)];
is scalar(@bad), 0, '… and in S3, with the right bytes' or diag $bad[0];
is scalar(@broken_promise), 0, 'what was claimed once is claimed still' or diag join ' ', @broken_promise[0 .. ($#broken_promise < 5 ? $#broken_promise : 5)];
my @wrong = grep { (split m{/})[-1] ne sha256($realm->object($_)) } $realm->keys;
is scalar(@wrong), 0, 'every chunk in the bucket has the bytes of its name' or diag $wrong[0];
is scalar($realm->unfinished), 0, 'no upload in parts is left half way';

my %needed;
for my $d (values %$docs) { $needed{$_} = 1 for @{Lab::Old::parse_manifest($d->{manifest_b64} // next, 1)->{ids}} }
my $state = $p->state_dir;
ok wait_until(sub { !files("$state/store/tmp") }, 20), 'nothing is left in the store\'s tmp' or diag join "\n", files("$state/store/tmp");
is scalar($p->spooled), 0, 'nor in the spool';
my @orphans = grep { !$needed{(split m{/})[-1]} } files("$state/store/data");
my @unused = grep { !$needed{(split m{/})[-1]} } $realm->keys;
ok wait_until(sub { @orphans = grep { !$needed{(split m{/})[-1]} } files("$state/store/data"); !@orphans }, 10), 'no chunk in the store without a document' or diag scalar(@orphans) . " of them: $orphans[0]";

# a node that knows nothing serves all of it, without the origin
my $b = do { local @$realm{qw(s3 es)}; $realm->node(workers => 2, chunk_size => '64K') };
my $asked = $origin->hits;
my $old = $p;
$p = $b;
my @other = grep { my $r = ask($_); !$r || $r->{status} != 200 || $r->{body} ne bytes_of($_) } sort keys %claim;
is scalar(@other), 0, 'a fresh node serves each with the right bytes' or diag $other[0];
is $origin->hits - $asked, 0, '… without the origin';
diag sprintf '%d kills (%s): %d objects received whole, %d of them claimed in the end and all of these shared, %d never promised; %d documents, %d chunks, %d of them in no document; drained in %.1f s',
	$kills, join(', ', map { "$killed{$_} $_" } sort keys %killed), scalar @done, scalar keys %claim, @done - keys %claim, scalar keys %$docs, scalar($realm->keys), scalar @unused, $drained;
done_testing;
