# S3 and Elasticsearch down, slow and lying, each with load running: clients get right answers in bounded time, wrong bytes enter nothing, and once
# all is well again everything that was stored is in S3 and Elasticsearch.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Fleet;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $K = 1 << 10;
my $fleet = fleet();
my $load = load_origin() or skip_file('no test origin');
my %quick = (upstream_ca => $load->{ca}, chunk_size => '64K', s3_timeout => 1, elasticsearch_timeout => 0.25, elasticsearch_follow_interval => 1);

trials_at_once($ENV{ONLY} ? 1 : 6);
sub urls { # so many different objects of many sizes, to be asked for in turn, each twice
	my ($n) = @_;
	my $run = ++$Lab::seq;
	my @sizes = (1, 700, 5000, 30_000, 65_536, 65_537, 150_000);
	return map { $load->url("/bytes/$sizes[$_ % @sizes]?seed=f$run-$_") } 1 .. $n;
}
sub list { my (@urls) = @_; my $f = lab_dir() . '/urls.' . ++$Lab::seq; spew($f, join '', map { "$_\n" } @urls); $f }
sub asked { my $n = 0; for (@_) { my ($path) = m{^https?://[^/]+(/.*)}; $n += $load->hits($path) // 0 } $n } # how often the origin was, for these
sub why { my ($p) = @_; my $m = $p->metrics; join ' ', map { "$_=$m->{$_}" } grep { /^(?:es_|refill|upload|s3_|spool|outbox|elastic|corrupt|misses|hits|passes|joined)/ && $m->{$_} } sort keys %$m }
# pxload in the background: returns a function that waits for it and gives its figures
sub begin_load {
	my ($p, $rate, @urls) = @_;
	my @twice = map { ($urls[$_], $urls[$_ > 20 ? $_ - 20 : 0]) } 0 .. $#urls;
	my $out = lab_dir() . '/load.' . ++$Lab::seq;
	my $proc = spawn({ stdout => $out, stderr => "$out.err" }, "$load->{bench}/pxload", '--proxy', "127.0.0.1:$p->{port}", '--ca', $p->ca, '--json', '-c', 16, '-n', scalar @twice, '--rate', $rate, '--verify-bytes',
	                 '--expect-status', 200, '--timeout', 20, '--urls', list(@twice));
	return sub { $proc->wait(120); my ($json) = (slurp($out) // '') =~ /^(\{.*\})$/ms; my $j = eval { JSON::PP->new->decode($json) } or diag 'pxload: ', slurp($out), slurp("$out.err"); $j };
}
sub all_well { # what the clients have seen
	my ($j, $n, $bound, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return fail("$name: no figures") unless $j;
	is $j->{errors}, 0, "$name: every answer is right" or diag explain $j->{errors_by_kind}, $j->{error_examples};
	is $j->{ok}, $n, '… all of them';
	cmp_ok $j->{latency}{max_us} / 1e6, '<', $bound * slow(), sprintf '… in bounded time (the slowest: %.2f s)', $j->{latency}{max_us} / 1e6;
}
sub sound { # in the index and the bucket: each document whole, each chunk with the bytes of its name. Returns how many documents
	my ($realm) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $docs = $realm->docs;
	my %key = map { $_ => 1 } $realm->keys;
	my (@missing, @bad);
	for my $id (sort keys %$docs) {
		my $m = Lab::Old::parse_manifest($docs->{$id}{manifest_b64} // next, 1);
		push @bad, "$id: @{$m->{bad}}" if @{$m->{bad}};
		push @missing, "$id: $_" for grep { !$key{Lab::Old::key($_)} } @{$m->{ids}};
	}
	my @wrong = grep { (split m{/})[-1] ne sha256($realm->object($_)) } keys %key;
	is scalar(@missing), 0, 'every chunk that a document names is in the bucket' or diag "$missing[0] and others";
	is scalar(@bad), 0, '… every manifest is well formed' or diag $bad[0];
	is scalar(@wrong), 0, '… every chunk in the bucket has the bytes of its name' or diag $wrong[0];
	return scalar grep { ($_->{doc_type} // '') eq 'metadata' } values %$docs;
}
sub store_is_clean { # of a node: no wrong bytes under any name
	my ($p, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @wrong = grep { (split m{/})[-1] ne sha256(slurp($_) // '') } files($p->state_dir . '/store/data');
	is scalar(@wrong), 0, $name // 'no wrong bytes in the store' or diag $wrong[0];
}
sub served_elsewhere { # by a node that knows nothing yet, without the origin
	my ($realm, @urls) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	local @$realm{qw(s3 es)};
	my $b = $realm->node(%quick, elasticsearch_timeout => 5, workers => 2);
	my $before = asked(@urls);
	my $j = $load->load($b, '-c', 8, '-n', scalar @urls, '--verify-bytes', '--expect-status', 200, '--urls', list(@urls));
	is $j->{errors}, 0, 'a fresh node serves each with the right bytes' or diag explain $j->{errors_by_kind}, $j->{error_examples};
	is asked(@urls) - $before, 0, '… without the origin' or diag why($b), "\n", $b->log;
	store_is_clean($b, '… and its store is clean');
}

# ---- writing: what A fetches while S3 or Elasticsearch is not well
sub write_fault {
	my ($name, %o) = @_;
	trial $name => sub {
		my $realm = $fleet->realm(faults => 1);
		my $f = $realm->{$o{of}};
		my @urls = urls($o{n} // 60);
		$f->set(%{$o{fault}}) if $o{from_the_start};
		my $p = $realm->node(%quick, workers => 2, %{$o{node} // {}});
		my $wait = begin_load($p, $o{rate} // 100, @urls);
		if (!$o{from_the_start}) {
			ok wait_until(sub { $f->begun >= 10 }, 10), 'load runs';
			$f->set(%{$o{fault}});
		}
		my $seen = sub { scalar grep { $_->{fault} } $f->events };
		ok wait_until($seen, 10), 'it is felt' unless $o{fault}{all} && $o{fault}{all}{do} eq 'down';
		my $documents_first = 0;
		if ($o{watch}) { # no document is ever visible before its chunks
			for (1 .. 20) {
				my $docs = $realm->docs;
				my %key = map { $_ => 1 } $realm->keys;
				for my $d (values %$docs) { $documents_first += grep { !$key{Lab::Old::key($_)} } @{Lab::Old::parse_manifest($d->{manifest_b64}, 1)->{ids}} if $d->{manifest_b64} }
				sleep 0.05;
			}
			is $documents_first, 0, 'no document is there before its chunks';
		}
		my $j = $wait->();
		all_well($j, 2 * @urls, $o{bound} // 3, 'the clients while it lasts');
		is +($p->get('/ready') // {})->{status}, 200, 'it is ready all the while';
		if ($o{lasts}) { # what can heal is tried for ever
			my $until = time + $o{lasts};
			my $again = begin_load($p, 20, @urls[0 .. 19]);
			all_well($again->(), 40, 1, 'hits go on');
			sleep 0.1 while time < $until;
		}
		cmp_ok $p->waiting, '>', 0, 'something waits' if $o{must_wait};
		$f->heal;
		my $t = time;
		ok $p->drained($o{drain} // 40), 'all is well: the spool and the outbox become empty' or diag why($p), "\n", join("\n", $p->spooled), "\n", $p->log;
		diag sprintf 'FIGURE %s: slowest answer %.3f s, empty %.1f s after it healed', $name, $j->{latency}{max_us} / 1e6, time - $t;
		is scalar($p->given_up), 0, 'nothing was given up';
		if ($o{refused}) { # what Elasticsearch will never take is counted, and stays this node's own
			my $refused = $p->metrics->{es_rejected};
			cmp_ok $refused, '>', 0, "$refused documents were refused for good";
			is sound($realm) + $refused, scalar @urls, '… all others are there';
			my $before = asked(@urls);
			all_well(begin_load($p, 200, @urls)->(), 2 * @urls, 3, '… and this node has them all');
			is asked(@urls) - $before, 0, '… without the origin';
			return store_is_clean($p);
		}
		is sound($realm), scalar @urls, 'a document an object';
		store_is_clean($p);
		served_elsewhere($realm, @urls);
	};
}
my %status = (do => 'status');
write_fault('S3 down from the start', of => 's3', fault => { all => { do => 'down' } }, from_the_start => 1, must_wait => 1);
write_fault('S3 goes down in the middle of uploads', of => 's3', fault => { all => { do => 'down' } }, must_wait => 1);
write_fault('S3 breaks uploads half way', of => 's3', fault => { put => { do => 'break' } }, must_wait => 1);
write_fault('S3 down for long', of => 's3', fault => { all => { do => 'down' } }, lasts => 4, must_wait => 1);
write_fault('S3 takes everything and says nothing', of => 's3', fault => { all => { do => 'hole' } }, must_wait => 1);
write_fault('S3 slow', of => 's3', fault => { all => { do => 'slow', delay => 0.3, rate => 2_000_000 } }, watch => 1);
write_fault('S3 answers 500', of => 's3', fault => { all => { %status, status => 500, code => 'InternalError' } }, must_wait => 1);
write_fault('S3 answers every third upload with 500', of => 's3', fault => { put => { %status, status => 500, code => 'InternalError', share => 3 } });
write_fault('S3 answers 503 SlowDown', of => 's3', fault => { put => { %status, status => 503, code => 'SlowDown' } }, must_wait => 1);
write_fault('S3 answers 403', of => 's3', fault => { all => { %status, status => 403, code => 'AccessDenied' } }, must_wait => 1);
write_fault('S3 answers nonsense', of => 's3', fault => { all => { do => 'noise' } }, must_wait => 1);
write_fault('Elasticsearch down from the start', of => 'es', fault => { all => { do => 'down' } }, from_the_start => 1, must_wait => 1);
write_fault('Elasticsearch goes down', of => 'es', fault => { all => { do => 'down' } }, must_wait => 1);
write_fault('Elasticsearch takes everything and says nothing', of => 'es', fault => { all => { do => 'hole' } });
write_fault('Elasticsearch slow', of => 'es', fault => { all => { do => 'slow', delay => 1 } });
write_fault('Elasticsearch red', of => 'es', fault => { all => { %status, status => 503, code => 'unavailable_shards_exception' } }, must_wait => 1);
write_fault('Elasticsearch rejects every second item with 429', of => 'es', fault => { bulk => { do => 'items', status => 429, code => 'es_rejected_execution_exception', share => 2 } });
write_fault('Elasticsearch rejects all items with mapping errors', of => 'es', fault => { bulk => { do => 'items', status => 400, code => 'mapper_parsing_exception' } }, refused => 1);
write_fault('Elasticsearch answers 429', of => 'es', fault => { all => { %status, status => 429, code => 'circuit_breaking_exception' } }, must_wait => 1);
write_fault('Elasticsearch answers garbage', of => 'es', fault => { all => { do => 'garbage' } }, must_wait => 1);
write_fault('Elasticsearch answers nonsense', of => 'es', fault => { all => { do => 'noise' } }, must_wait => 1);
write_fault('Elasticsearch cuts its answers', of => 'es', fault => { all => { do => 'cut' } });

# ---- reading: what B finds in S3 or Elasticsearch while they are not well
my %read = (
	down => { all => { do => 'down' } }, silent => { all => { do => 'hole' } }, 'answering 500' => { all => { %status, status => 500, code => 'InternalError' } },
	'answering 503 SlowDown' => { all => { %status, status => 503, code => 'SlowDown' } }, 'answering 403' => { all => { %status, status => 403, code => 'AccessDenied' } },
	'cutting bodies' => { get => { do => 'cut' }, range => { do => 'cut' } }, 'saying that half is all' => { get => { do => 'short' }, range => { do => 'short' } },
	'sending wrong bytes' => { get => { do => 'wrong' }, range => { do => 'wrong' } }, 'sending garbage' => { get => { do => 'garbage' }, range => { do => 'garbage' } },
	'sending nonsense' => { all => { do => 'noise' } },
);
sub filled { # a realm with so many objects, that a node has fetched and shared: (realm, urls)
	my ($n) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $realm = $fleet->realm(faults => 1);
	my @urls = urls($n);
	my $p = $realm->node(%quick);
	all_well(begin_load($p, 200, @urls)->(), 2 * @urls, 5, 'A fetches');
	ok $p->drained, '… and shares';
	is $p->stop, 0, '… and ends';
	return ($realm, @urls);
}
{
	for my $how (sort keys %read) {
		trial "B reads from S3 $how" => sub {
			my ($realm, @urls) = filled(35);
			my $p = $realm->node(%quick, elasticsearch_timeout => 5, workers => 2);
			$realm->s3->set(%{$read{$how}});
			my $before = asked(@urls);
			my (@wrong, @broken, $slowest);
			for my $url (@urls[0 .. 20]) { # several chunks: a part may be out when it shows
				my ($n, $seed) = $url =~ m{/bytes/(\d+)\?seed=(\S+)};
				my $r = $p->curl($url);
				$slowest = $r->{time} if !defined $slowest || $r->{time} > $slowest;
				push @broken, $url if $r->exit != 0 && $n > 65_536;
				push @wrong, "$url: $r->{status}, curl $r->{exit} $r->{error}, " . length($r->body) . " of $n bytes" if $r->exit == 0 ? $r->body ne $load->body($n, $seed) : $n <= 65_536;
			}
			is scalar(@wrong), 0, 'every answer is whole and right, or (of several chunks) visibly broken' or diag explain \@wrong;
			cmp_ok scalar(@broken), '<=', 6, '… few are broken' if @broken;
			cmp_ok asked(@urls) - $before, '>=', 15, 'the origin was asked instead';
			cmp_ok $slowest, '<', 8 * slow(), "no answer took longer than $slowest s";
			$realm->s3->heal;
			my $j = $load->load($p, '-c', 4, '-n', scalar @urls, '--verify-bytes', '--expect-status', 200, '--urls', list(@urls));
			is $j->{errors}, 0, 'after it has healed all are right' or diag explain $j->{errors_by_kind}, $j->{error_examples};
			store_is_clean($p);
			ok $p->drained, '… and shared';
			is sound($realm), scalar @urls, '… as sound documents';
		};
	}
	trial 'B reads from S3 slowly' => sub {
		my ($realm, @urls) = filled(35);
		my $p = $realm->node(%quick, elasticsearch_timeout => 5, workers => 2);
		$realm->s3->set(all => { do => 'slow', delay => 0.2, rate => 500_000 });
		my $before = asked(@urls);
		all_well(begin_load($p, 100, @urls)->(), 2 * @urls, 8, 'the clients');
		is asked(@urls) - $before, 0, 'slow is not away: S3 it is';
		$realm->s3->heal;
	};
	my %es = (down => { all => { do => 'down' } }, silent => { all => { do => 'hole' } }, slow => { all => { do => 'slow', delay => 3 } }, red => { all => { %status, status => 503, code => 'unavailable_shards_exception' } },
	          'sending garbage' => { all => { do => 'garbage' } }, 'sending half' => { all => { do => 'short' } }, 'sending nonsense' => { all => { do => 'noise' } });
	for my $how (sort keys %es) {
		trial "B asks an Elasticsearch $how" => sub {
			my ($realm, @urls) = filled(35);
			my $p = $realm->node(%quick, workers => 2);
			$realm->es->set(%{$es{$how}});
			all_well(begin_load($p, 100, @urls)->(), 2 * @urls, 2, 'the clients get their answers, if from the origin');
			$realm->es->heal;
			my $new = $load->url('/bytes/77?seed=heals' . ++$Lab::seq);
			$p->curl($new);
			ok $p->stored($new) && $p->drained, 'after it has healed all is shared';
			is scalar(grep { !$realm->doc(Lab::Old::id($_)) } @urls, $new), 0, '… and there';
		};
	}
}

# ---- what S3 has lost or spoilt is healed
trial 'chunks that S3 has lost or spoilt' => sub {
	my $realm = $fleet->realm;
	my $origin = origin((map { ("/$_" => { size => $_ eq 'small' ? 1000 : 300_000, seed => $_, cc => 'max-age=600' }) } qw(small lost spoilt cut all away)), '/small-spoilt' => { size => 500, seed => 'ss', cc => 'max-age=600' });
	my %o = (chunk_size => '64K', elasticsearch_follow_interval => 0.5);
	my $a = $realm->node(%o);
	my sub bytes { my ($n) = @_; $n eq 'small-spoilt' ? pattern(500, 'ss') : pattern($n eq 'small' ? 1000 : 300_000, $n) }
	my sub file { my ($n, $i) = @_; $realm->folder . '/' . Lab::Old::key(sha256(substr bytes($n), $i * 65536, 65536)) }
	my @all = qw(small lost spoilt cut all away small-spoilt);
	$a->curl($origin->url("/$_")) for @all;
	ok $a->stored($origin->url("/$_")), "$_ is stored" for @all;
	ok $a->drained, '… and shared';
	$a->stop;
	unlink file('small', 0) or die $!;
	unlink file('lost', 0) or die $!;
	unlink map { file('all', $_) } 0 .. 4;
	unlink file('away', 0) or die $!;
	my sub poke { my ($f, $at) = @_; open my $h, '+<:raw', $f or die "$f: $!"; seek $h, $at, 0; print $h 'SPOILT'; close $h }
	poke(file('spoilt', 0), 1000);
	poke(file('small-spoilt', 0), 100);
	truncate file('cut', 0), 30_000 or die $!;
	for my $n (qw(small lost cut all small-spoilt spoilt)) {
		my $b = $realm->node(%o);
		my $r = $b->curl($origin->url("/$n"));
		if ($n eq 'spoilt') { # a long chunk streams while it comes: its client may see a broken connection, never a whole wrong body
			ok $r->exit != 0 || $r->body eq bytes($n), "$n: the client gets the right bytes, or a broken connection";
			$r = $b->curl($origin->url("/$n"));
		}
		is $r->exit, 0, "$n: the client is served" or diag $r->{error}, $r->{head};
		same $r->body, bytes($n), '… the right bytes';
		is $origin->hits("/$n"), 2, '… the origin was asked';
		ok $b->stored($origin->url("/$n")), '… and it is stored again';
		ok $b->drained, '… and shared again';
		store_is_clean($b);
		is sha256(slurp(file($n, 0)) // ''), sha256(substr bytes($n), 0, 65536), '… S3 has the chunk again, with the right bytes';
		my $c = $realm->node(%o);
		$r = $c->curl($origin->url("/$n"));
		ok $r->hit, '… so that a third node has a hit' or diag $r->{head};
		same $r->body, bytes($n), '… the right bytes';
		is $origin->hits("/$n"), 2, '… without the origin';
	}
	$origin->set('/away' => { status => 404, body => 'no more', cc => 'no-store' });
	my $b = $realm->node(%o);
	my $r = $b->curl($origin->url('/away'));
	is $r->status, 404, 'a chunk is lost, and the origin has nothing any more: its answer is the client\'s';
	ok wait_until(sub { my $d = $realm->doc(Lab::Old::id($origin->url('/away'))); !$d || !defined $d->{manifest_b64} }, 10), '… and the document is gone' or diag explain $realm->doc(Lab::Old::id($origin->url('/away')));
};

trial 'the spool at its bound' => sub {
	my $realm = $fleet->realm(faults => 1);
	$realm->s3->set(all => { do => 'down' });
	my $p = $realm->node(%quick, spool_size => '1M');
	my @urls = map { $load->url("/bytes/100000?seed=bound$_") } 1 .. 40;
	all_well(begin_load($p, 60, @urls)->(), 80, 3, 'four times what fits');
	my $bytes = 0;
	$bytes += -s $_ // 0 for $p->spooled;
	cmp_ok $bytes, '<=', 1.5 * (1 << 20), "the spool keeps to its bound ($bytes bytes)";
	cmp_ok $bytes, '>', 300_000, '… and is used';
	my @kept = grep { $p->curl('-H', 'Cache-Control: only-if-cached', $_)->status == 200 } @urls;
	cmp_ok scalar(@kept), '<', 20, 'what comes later is not stored';
	cmp_ok scalar(@kept), '>', 3, '… what came first is';
	$realm->s3->heal;
	ok $p->drained, 'S3 is back: the spool becomes empty';
	my @new = map { $load->url("/bytes/100000?seed=room$_") } 1 .. 8; # what has met the bound is not shared for some seconds
	all_well(begin_load($p, 60, @new)->(), 16, 3, 'others');
	ok $p->stored($_), "… $_ is stored" for @new;
	ok $p->drained, '… and shared';
	sound($realm);
};
run_trials();
done_testing;
