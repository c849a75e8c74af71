# Two nodes, one bucket, one index: what one node fetched, the other serves from its first request, byte for byte, without asking the origin.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Fleet;
use Digest::SHA;
use File::Path 'remove_tree';
use POSIX 'strftime';
use Test::More;
use Time::HiRes 'time', 'sleep';

my ($K, $MB) = (1 << 10, 1 << 20);
my $fleet = fleet();
my @sizes = (1, 1000, 64 * $K - 1, 64 * $K, 64 * $K + 1, 200_000, 3 * $MB + 17);
my $origin = origin(
	(map { ("/size/$_" => { size => $_, seed => "size $_", cc => 'max-age=600', etag => "\"$_\"", lm => 'Mon, 02 Nov 2026 10:00:00 GMT' }) } @sizes),
	(map { ("/other/$_" => { size => $_, seed => "other $_", cc => 'max-age=600', etag => "\"o$_\"" }) } @sizes),
	'/empty' => { body => '', cc => 'max-age=600', etag => '"e"' },
	'/moved' => { status => 301, headers => [Location => '/size/1'], body => 'moved', cc => 'max-age=600' },
	'/found' => { status => 302, headers => [Location => '/size/1'], cc => 'max-age=600' },
	'/gone' => { status => 410, body => 'gone for good', cc => 'max-age=600' },
	'/chunked' => { size => 300_000, seed => 'chunked', chunked => 1, cc => 'max-age=600' },
	'/headers' => { body => 'with headers', cc => 'max-age=600', etag => '"h"', headers => ['Content-Type' => 'text/x-thing', 'Content-Language' => 'de', 'X-Ours' => 'a, b', 'Link' => '</a>; rel=next', 'Content-Disposition' => 'attachment'] },
	'/vary' => sub { my ($c, $r) = @_; my $ae = $r->{headers}{'accept-encoding'} // 'none'; $c->respond({ body => "for $ae", cc => 'max-age=600', vary => 'Accept-Encoding', etag => "\"$ae\"" }) },
	'/vary2' => sub { my ($c, $r) = @_; my $h = $r->{headers}; $c->respond({ size => 100_000, seed => join('|', map { $h->{$_} // '' } qw(accept-language x-kind)), cc => 'max-age=600', vary => 'Accept-Language, X-Kind' }) },
	'*' => { body => 'anything', cc => 'max-age=600', etag => '"x"' },
);
sub body { my ($kind, $n) = @_; pattern($n, "$kind $n") }
my $asked; # the node that was asked last
sub get { my ($p, $path, @args) = @_; $asked = $p; $p->curl(@args, $origin->url($path)) }
sub bodies { my ($realm) = @_; map { sha256($realm->object($_)) } $realm->keys }
sub doc_of { my ($realm, $path) = @_; $realm->doc(Lab::Old::id($origin->url($path))) }
sub why { my ($p) = @_; my $m = $p->metrics; join ' ', map { "$_=$m->{$_}" } grep { /^(?:es_|refill|upload|s3_|spool|outbox|elastic|corrupt|misses|hits)/ && $m->{$_} } sort keys %$m }
sub is_hit { # from the cache, without a question to the origin
	my ($r, $path, $want, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $ok = ok $r->hit, "$name: a hit" or diag "status $r->{status}, curl $r->{exit} $r->{error}\n$r->{head}\n", $asked->log, why($asked);
	$ok &&= same $r->body, $want, '… the right bytes' if defined $want;
	return $ok;
}

trial 'what A fetched, B serves from its first request' => sub {
	my $realm = $fleet->realm;
	my ($A, $B) = map { $realm->node(workers => 2, chunk_size => '64K') } 1 .. 2;
	my @paths = ((map { "/size/$_" } @sizes), '/empty', '/moved', '/found', '/gone', '/chunked', '/headers');
	my %first = map { $_ => get($A, $_) } @paths;
	ok $A->stored($origin->url($_)), "$_ is stored on A" for @paths;
	ok $A->drained, 'A tells S3 and Elasticsearch';
	is scalar($A->given_up), 0, '… all of it';
	for my $path (@paths) {
		my $r = get($B, $path);
		is $r->status, $first{$path}->status, "$path on B";
		is_hit $r, $path, $first{$path}->body, '… its first request';
		is $r->header($_), $first{$path}->header($_), "… $_" for grep { $_ ne 'content-length' || $path ne '/chunked' } # A's first client saw chunks
			qw(content-length content-type etag last-modified location cache-control date content-language x-ours link content-disposition);
		cmp_ok $r->header('age') // -1, '>=', 0, '… Age';
		is $origin->hits($path), 1, '… the origin was asked by A alone';
		is_hit get($B, $path), $path, $first{$path}->body, '… its second request';
	}
	my $r = get($B, '/nobody-has-it');
	is $r->body, 'anything', 'what nobody has comes from the origin';
	is $origin->hits('/nobody-has-it'), 1, '… once';
	ok $B->stored($origin->url('/nobody-has-it')) && $B->drained, 'B tells, too';
	is_hit get($A, '/nobody-has-it'), '/nobody-has-it', 'anything', 'and A has what B fetched';
	is $origin->hits('/nobody-has-it'), 1, '… without the origin';

	subtest 'names and bytes in the bucket are as promised (algorithm 1)' => sub {
		my %chunk; # every piece that an object of 64K chunks consists of
		for my $bytes ('anything', 'moved', 'gone for good', 'with headers', pattern(300_000, 'chunked'), map { body(size => $_) } @sizes) {
			for (my $off = 0; $off < length $bytes; $off += 64 * $K) { $chunk{sha256(substr $bytes, $off, 64 * $K)} = 1 }
		}
		is_deeply [sort $realm->keys], [sort map { 'data/' . join('/', (split //, substr $_, 0, 4), $_) } keys %chunk], 'data/h/a/s/h/sha256, each once, nothing else';
		is scalar(grep { (split m{/})[-1] ne sha256($realm->object($_)) } $realm->keys), 0, '… each with the bytes of its name';
		my $docs = $realm->docs;
		is_deeply [sort keys %$docs], [sort map { Lab::Old::id($origin->url($_)) } @paths, '/nobody-has-it'], 'documents under the ids of behaviour.md 4.4';
		for my $id (sort keys %$docs) {
			my @bad = Lab::Old::complaints($id, $docs->{$id});
			is "@bad", '', "… fields, types and manifest of $docs->{$id}{url}";
		}
		my ($s, $index) = $realm->es_request('GET', "/$realm->{index}");
		my $i = $index->{$realm->{index}};
		is $i->{settings}{index}{refresh_interval}, '60s', 'the index as 4.5 makes it: refresh interval';
		is $i->{mappings}{dynamic}, 'false', '… dynamic false';
		my %want = %{Lab::Old::index_body()->{mappings}{properties}};
		is $i->{mappings}{properties}{$_}{type} // 'object', $want{$_}{type}, "… $_" for sort keys %want;
	};
};

trial 'the first request to B may be for a part, a HEAD, or conditional' => sub {
	my $realm = $fleet->realm;
	my $A = $realm->node(chunk_size => '64K');
	my $B = $realm->node(chunk_size => '64K', workers => 2);
	my @paths = map { "/other/$_" } @sizes;
	get($A, $_) for @paths;
	ok $A->stored($origin->url($_)), "$_ is stored on A" for @paths;
	ok $A->drained, 'and shared';
	my $big = "/other/$sizes[-1]";
	my $bytes = body(other => $sizes[-1]);
	for my $range ([0, 0], [65535, 65536], [70_000, 70_010], [1_000_000, 1_200_000], [$sizes[-1] - 1, $sizes[-1] - 1]) {
		my ($from, $to) = @$range;
		my $r = get($B, $big, '-r', "$from-$to");
		is $r->status, 206, "bytes $from-$to of $big";
		is_hit $r, $big, substr($bytes, $from, $to - $from + 1), '… ';
		is $r->header('content-range'), "bytes $from-$to/$sizes[-1]", '… Content-Range';
	}
	my $r = get($B, '/other/200000', '-r', '-5');
	is $r->status, 206, 'a suffix as the first request';
	is_hit $r, '', substr(body(other => 200_000), -5), '… ';
	$r = get($B, '/other/1000', '-I');
	is $r->status, 200, 'HEAD as the first request';
	is_hit $r, '/other/1000', undef, '… ';
	is $r->header('content-length'), 1000, '… says the length';
	$r = get($B, '/other/65536', '-H', 'If-None-Match: "o65536"');
	is $r->status, 304, 'If-None-Match as the first request: 304';
	$r = get($B, '/other/65537', '-H', 'If-None-Match: "another"');
	is_hit $r, '', body(other => 65537), 'one that does not match';
	is get($B, '/other/1', '-r', '7-')->status, 416, 'a range that is not there: 416';
	is_hit get($B, "/other/$_"), '', body(other => $_), "then all $_ bytes" for @sizes;
	is $origin->hits("/other/$_"), 1, "the origin was asked for $_ bytes once" for @sizes;
};

trial 'a range reads from S3 only the chunks that it needs' => sub {
	my $realm = $fleet->realm(faults => 1);
	my $A = $realm->node(chunk_size => '64K');
	my $B = $realm->node(chunk_size => '64K');
	my $path = "/size/$sizes[-1]?part";
	$origin->set($path => { size => $sizes[-1], seed => 'part', cc => 'max-age=600' });
	get($A, $path);
	ok $A->stored($origin->url($path)) && $A->drained, 'A has it';
	$realm->s3->forget;
	is_hit get($B, $path, '-r', '1000000-1000009'), $path, substr(pattern($sizes[-1], 'part'), 1_000_000, 10), 'ten bytes on B';
	my $reads = $realm->s3->begun('get') + $realm->s3->begun('range');
	cmp_ok $reads, '>=', 1, 'something was read';
	cmp_ok $reads, '<=', 8, "… and not all of the 49 chunks ($reads)";
};

trial 'variants' => sub {
	my $realm = $fleet->realm;
	my ($A, $B) = map { $realm->node(chunk_size => '64K') } 1 .. 2;
	my @gzip = ('-H', 'Accept-Encoding: gzip');
	get($A, '/vary', @gzip);
	get($A, '/vary');
	my %kinds = (1 => ['de', 'red'], 2 => ['en', 'red'], 3 => ['en', '']);
	my sub kind { my ($l, $k) = @{$kinds{$_[0]}}; ('-H', "Accept-Language: $l", $k ne '' ? ('-H', "X-Kind: $k") : ()) }
	get($A, '/vary2', kind($_)) for sort keys %kinds;
	ok $A->stored($origin->url('/vary'), @gzip) && $A->stored($origin->url('/vary')), 'A has variants';
	ok $A->stored($origin->url('/vary2'), kind($_)), "… and kind $_" for sort keys %kinds;
	ok $A->drained, 'and shared them';
	is_hit get($B, '/vary', @gzip), '/vary', 'for gzip', 'B has gzip';
	is_hit get($B, '/vary'), '/vary', 'for none', '… and none';
	is_hit get($B, '/vary2', kind($_)), '/vary2', pattern(100_000, join '|', @{$kinds{$_}}), "… and kind $_" for sort keys %kinds;
	is $origin->hits('/vary'), 2, 'the origin was asked by A alone';
	is $origin->hits('/vary2'), 3, '… for either';
	is get($B, '/vary', '-H', 'Accept-Encoding: br')->body, 'for br', 'a variant that nobody has comes from the origin';
	is get($B, '/vary2', '-H', 'Accept-Language: fr')->body, pattern(100_000, 'fr|'), '… of the other, too';
	my $docs = $realm->docs;
	my $url = $origin->url('/vary');
	my $index = $docs->{Lab::Old::index_id($url)};
	is $index && lc $index->{vary}, 'accept-encoding', 'the vary index document of behaviour.md 4.4';
	is $index && $index->{doc_type}, 'vary_index', '… of its type';
	ok $docs->{Lab::Old::variant_id($url, 'accept-encoding=gzip')}, 'variants under the keys of 4.3';
	ok $docs->{Lab::Old::variant_id($origin->url('/vary2'), 'accept-language=en|x-kind=red')}, '… of two fields, too';
	for my $id (sort keys %$docs) { my @bad = Lab::Old::complaints($id, $docs->{$id}); is "@bad", '', "$id is well formed" }
};

my $load = load_origin();
trial '200 MiB, chunks of the default size' => sub {
	plan skip_all => 'no test origin with large bodies' unless $load;
	my $realm = $fleet->realm;
	my ($A, $B) = map { $realm->node(upstream_ca => $load->{ca}) } 1 .. 2;
	my $path = '/bytes/' . 200 * $MB;
	my $url = $load->url($path);
	my $want = do { open my $h, '-|', "$load->{bench}/origin", '--emit', 200 * $MB or die "$!"; my $d = Digest::SHA->new(256); $d->addfile($h); $d->hexdigest };
	my sub sum { my ($r) = @_; my $h = Digest::SHA->new(256); $h->add($r->body); delete $r->{body}; return $h->hexdigest }
	my $begun = time;
	is sum($A->curl($url)), $want, 'A fetches it';
	my $fetched = time;
	ok $A->stored($url, '-I'), '… and stores it';
	ok $A->drained(60), '… and shares it';
	diag sprintf '200 MiB: fetched and stored in %.1f s, all of it in S3 %.1f s later', $fetched - $begun, time - $fetched;
	my $asked = $load->hits($path); # perhaps by several requests
	my $t = time;
	my $r = $B->curl($url);
	diag sprintf '200 MiB from S3 on B: %.1f s, first byte and all (curl says %.2f)', time - $t, $r->{time};
	ok $r->hit, 'B: a hit' or diag $r->{head}, $r->{error};
	is sum($r), $want, '… all bytes';
	$r = $B->curl('-r', (100 * $MB + 5) . '-' . (100 * $MB + 14), $url);
	is $r->status, 206, 'ten bytes in the middle';
	is $r->body, substr($load->body(101 * $MB), 100 * $MB + 5, 10), '… are right';
	is $load->hits($path), $asked, 'the origin was asked by A alone';
	is scalar($realm->keys), 7, '200 MiB are seven chunks of 32 MiB';
};

trial 'a node whose store was lost' => sub {
	my $realm = $fleet->realm;
	my $A = $realm->node(chunk_size => '64K', workers => 2);
	my @paths = map { "/size/$_" } 1000, 64 * $K + 1, 200_000;
	my %before = map { $_ => $origin->hits($_) } @paths;
	get($A, $_) for @paths;
	ok $A->stored($origin->url($_)), "$_ is stored" for @paths;
	ok $A->drained, '… and shared';
	$A->wipe_store;
	for my $path (@paths) { is_hit get($A, $path), $path, body(size => ($path =~ /(\d+)/)[0]), "$path, bodies lost" }
	ok wait_until(sub { files($A->state_dir . '/store/data') >= 2 + 4 }, 10), 'the chunks are in the local store again';
	$A->forget;
	for my $path (@paths) { is_hit get($A, $path), $path, body(size => ($path =~ /(\d+)/)[0]), "$path, bodies and metadata lost" }
	is $origin->hits($_), $before{$_} + 1, "the origin was asked for $_ once" for @paths;
};

trial '--chunk-ids uuid' => sub {
	my $realm = $fleet->realm;
	my $A = $realm->node(chunk_size => '64K', chunk_ids => 'uuid');
	my $B = $realm->node(chunk_size => '64K');
	my @paths = map { "/size/$_" } 1, 64 * $K, 200_000;
	my %before = map { $_ => $origin->hits($_) } @paths;
	get($A, $_) for @paths;
	ok $A->stored($origin->url($_)), "$_ is stored" for @paths;
	ok $A->drained, '… and shared';
	my @odd = grep { !m{^data/(.)/(.)/(.)/(.)/\1\2\3\4[0-9a-f]{8}4[0-9a-f]{3}[89ab][0-9a-f]{15}$} } $realm->keys;
	is "@odd", '', 'keys are random UUIDs of version 4';
	is scalar($realm->keys), 1 + 1 + 4, '… one a chunk';
	is_hit get($B, $_), $_, body(size => (/(\d+)/)[0]), "$_ on a node that has the other setting" for @paths;
	$A->wipe_store;
	is_hit get($A, $_), $_, body(size => (/(\d+)/)[0]), "$_ on A, bodies lost" for @paths;
	is $origin->hits($_), $before{$_} + 1, "the origin was asked for $_ once" for @paths;
};

trial '--object-store-url: bodies are read from there' => sub {
	my $realm = $fleet->realm(public => 1, faults => 1);
	my $A = $realm->node(chunk_size => '64K');
	my $B = $realm->node(chunk_size => '64K', object_store_url => "$fleet->{s3}{url}/$realm->{bucket}");
	my $path = '/size/200000';
	my $before = $origin->hits($path);
	get($A, $path);
	ok $A->stored($origin->url($path)) && $A->drained, 'A has it';
	$realm->s3->set(map { $_ => { do => 'status', status => 403, code => 'AccessDenied' } } qw(get range head));
	is_hit get($B, $path), $path, body(size => 200_000), 'B reads it, though the S3 API lets nobody read';
	is $origin->hits($path), $before + 1, '… without the origin';
};

trial 'what is invalidated or purged on A is not served by B for longer than the bound' => sub {
	my $realm = $fleet->realm;
	my %o = (elasticsearch_follow_interval => 0.5);
	my ($A, $B) = map { $realm->node(%o) } 1 .. 2;
	my $url = $origin->url('/page');
	my $n = 0;
	my sub version { $origin->set('/page' => { body => 'version ' . ++$n, cc => 'max-age=600', etag => "\"$n\"", conditional => 1 }) }
	my sub shared { # both serve the current version
		$A->curl($url);
		ok $A->stored($url) && $A->drained, "A has version $n and has told";
		ok wait_until(sub { my $r = $B->curl($url); $r->hit && $r->body eq "version $n" }, 10), '… and B serves it' or diag $B->curl($url)->body;
	}
	my sub reaches { # how long until B has the new version
		my ($what, $do) = @_;
		version();
		my $t = time;
		$do->();
		ok wait_until(sub { $B->curl($url)->body eq "version $n" }, 20), "$what on A: B asks the origin";
		my $took = time - $t;
		cmp_ok $took, '<', 5 * slow(), sprintf '… %.2f s later', $took;
		diag sprintf '%s on A reached B after %.2f s (follow interval %s)', $what, $took, $o{elasticsearch_follow_interval};
		ok $B->stored($url), "… and stores it";
		ok $B->drained, 'B tells';
	}
	version();
	shared();
	reaches('a POST', sub { is $A->curl('-d', 'x', $url)->status, 200, 'an unsafe request through A' });
	shared();
	SKIP: {
		my ($s, $help) = run_cmd(passsage(), '--help');
		skip 'this build has no purge command', 1 unless $help =~ /^\s+purge\b/m;
		reaches('passsage purge', sub { my ($st, $said) = run_cmd(passsage(), '--state-dir', $A->state_dir, 'purge', $url); is $st, 0, 'purged' or diag $said });
		shared();
	}
};

trial 'a newer version on A reaches B when B\'s has become stale, without the origin' => sub {
	my $realm = $fleet->realm;
	my ($A, $B) = map { $realm->node } 1 .. 2;
	my $path = '/newer';
	$origin->set($path => { body => 'old', cc => 'max-age=2', etag => '"old"' });
	get($A, $path);
	ok $A->stored($origin->url($path)) && $A->drained, 'A has it';
	is_hit get($B, $path), $path, 'old', 'B too';
	$origin->set($path => { body => 'new', cc => 'max-age=600', etag => '"new"' });
	ok wait_until(sub { get($A, $path)->body eq 'new' }, 10), 'it ages, and A gets the new one';
	ok $A->stored($origin->url($path)) && $A->drained, '… and tells';
	my $hits = $origin->hits($path);
	is_hit get($B, $path), $path, 'new', 'B, whose own is stale';
	is $origin->hits($path), $hits, '… does not ask the origin';
};

# A clock that is off: a few lines of C before libc's. Not for sanitizers, which have to come first.
sub clock_shim {
	my $cc = have_cmd('cc') or return;
	return if $ENV{SAN};
	my $c = lab_dir() . '/clock.c';
	spew($c, <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long off(void) { static long n; static int read; if (!read) { const char *e = getenv("CLOCK_OFF"); n = e ? atol(e) : 0; read = 1; } return n; }
int clock_gettime(clockid_t id, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(id, t);
	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += off();
	return r;
}
time_t time(time_t *out) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); if (out) *out = t.tv_sec; return t.tv_sec; }
int gettimeofday(struct timeval *restrict t, void *restrict z) { struct timespec s; clock_gettime(CLOCK_REALTIME, &s); t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000; return 0; }
C
	my ($s, $out) = run_cmd($cc, '-shared', '-fPIC', '-O1', '-o', lab_dir() . '/clock.so', $c, '-ldl');
	diag $out if $s;
	return $s ? undef : lab_dir() . '/clock.so';
}
trial 'clocks of minutes apart' => sub {
	my $shim = clock_shim() or plan skip_all => 'no compiler, or a sanitizer: no other clock to be had';
	my $realm = $fleet->realm;
	my %node = map { $_ => $realm->node(env => { LD_PRELOAD => $shim, CLOCK_OFF => $_ }) } -240, 0, 240;
	for my $from (sort { $a <=> $b } keys %node) {
		my $path = "/clock/$from";
		my @others = grep { $_ != $from } sort { $a <=> $b } keys %node;
		$origin->set("$path/long" => { body => 'long', cc => 'max-age=3600', etag => '"l"' }, map { ("$path/short$_" => { body => 'short', cc => 'max-age=3', etag => '"s"', conditional => 1 }) } @others);
		get($node{$from}, "$path/long");
		get($node{$from}, "$path/short$_") for @others;
		my $t = time;
		ok $node{$from}->stored($origin->url("$path/long")) && $node{$from}->drained, "a node whose clock is off by $from s fetches";
		for my $by (@others) {
			my $r = get($node{$by}, "$path/long");
			is_hit $r, '', 'long', "one whose clock is off by $by s serves it";
			cmp_ok $r->header('age') // -1, '>=', 0, '… Age';
			cmp_ok $r->header('age') // 9999, '<=', 30 * slow() + ($by > 0 ? $by : 0), '… is no more than its own clock makes it (the origin says Date)';
		}
		sleep 0.1 while time < $t + 4.2; # max-age has passed on every clock
		for my $by (@others) {
			my $hits = $origin->hits("$path/short$by");
			is get($node{$by}, "$path/short$by")->body, 'short', "what it stored and has become stale, by the node that is off by $by s";
			cmp_ok $origin->hits("$path/short$by"), '>', $hits, '… is not served as fresh: the origin is asked';
		}
	}
};

trial 'last access' => sub {
	my $realm = $fleet->realm;
	my $c = $realm->node;
	get($c, "/used/$_") for 1 .. 3;
	ok $c->stored($origin->url("/used/$_")), "$_ is stored" for 1 .. 3;
	ok $c->drained, '… and shared';
	$c->stop; # what it has noted of its own hits is told
	my $past = Lab::Old::iso(time - 86400);
	$realm->change(Lab::Old::id($origin->url("/used/$_")), { last_access => $past }) for 1 .. 3;
	my sub used { my ($n) = @_; my $v = doc_of($realm, "/used/$n")->{last_access} // ''; $v ne $past && $v ne '' }
	my $A = $realm->node(elasticsearch_flush_interval => 0.5);
	my $B = $realm->node(elasticsearch_flush_interval => 3600);
	is_hit get($A, '/used/1'), '', 'anything', 'a first hit on A';
	ok wait_until(sub { used(1) }, 10), 'is told within the flush interval' or diag explain doc_of($realm, '/used/1');
	my ($bad) = Lab::Old::complaints(Lab::Old::id($origin->url('/used/1')), doc_of($realm, '/used/1'));
	is $bad, undef, '… and the document is as it was';
	is_hit get($B, '/used/2'), '', 'anything', 'a first hit on B';
	is_hit get($B, '/used/2'), '', 'anything', '… and another';
	sleep 0.5;
	ok !used(2), '… is not told before the interval has passed';
	is $B->stop, 0, 'the node ends';
	ok used(2), '… and has told before';
	ok !used(3), 'nothing is told of what was not used';
};

trial 'figures' => sub {
	plan skip_all => 'no load generator' unless $load;
	my %o = (upstream_ca => $load->{ca}, workers => 1);
	my $realm = $fleet->realm(faults => 1);
	$realm->{direct} = $fleet->realm;
	my ($alone, $A, $B) = (bless(proxy(%o), 'Lab::Fleet::Node'), $realm->node(%o), $realm->node(%o));
	my $url = $load->url('/bytes/1024?hit');
	for my $p ($alone, $A) { $p->curl($url); ok $p->stored($url), 'stored' }
	ok $A->drained, 'shared';
	my %p50;
	my sub questions { my ($s3, $es) = map { $_->counts } $realm->s3, $realm->es; join ' ', map { $_ // 0 } @$s3{qw(get range head)}, @$es{qw(mget doc)} } # health and the follower go on
	my $before = questions();
	for my $round (1 .. 3) {
		for ([embedded => $alone], [fleet => $A]) {
			my ($name, $p) = @$_;
			my $j = $load->load($p, '-c', 1, '-n', 3000, '--verify-bytes', $url) or next;
			push @{$p50{$name}}, $j->{latency}{p50_us};
			diag explain $j if $round == 1 && $name eq 'fleet' && $ENV{LAB_VERBOSE};
			is $j->{errors}, 0, "$name, round $round: no errors";
		}
	}
	is questions(), $before, 'thousands of hits asked S3 and Elasticsearch nothing';
	my @best = map { (sort { $a <=> $b } @{$p50{$_} // [0]})[0] } qw(embedded fleet);
	diag "a hit of 1 KiB on one connection, p50 of the best of three: embedded $best[0], with S3 and Elasticsearch $best[1] us";
	cmp_ok $best[1], '<=', 2 * $best[0] + 50, 'a hit costs what it costs without S3 and Elasticsearch';

	# documents a second: many small objects
	my $d = $realm->{direct}->node(%o);
	my $t = time;
	my $j = $load->load($d, '-c', 16, '-n', 3000, $load->url('/bytes/100?u={run}-{n}'));
	my $fetched = time - $t;
	ok $d->drained(60), '3000 small objects are shared';
	diag sprintf '3000 objects of 100 bytes: fetched in %.1f s (%.0f/s), in S3 and Elasticsearch %.1f s after the first request (%.0f documents/s)', $fetched, 3000 / $fetched, time - $t, 3000 / (time - $t);
	is scalar(keys %{$realm->{direct}->docs}), 3000, '… all of them';

	# upload throughput
	$t = time;
	$load->load($d, '-c', 4, '-n', 12, $load->url("/bytes/@{[16 * $MB]}?seed=s{n}"));
	$fetched = time - $t;
	ok $d->drained(60), '192 MiB are shared';
	diag sprintf '12 objects of 16 MiB: fetched in %.1f s, in S3 %.1f s after the first request (%.0f MB/s)', $fetched, time - $t, 12 * 16 * 1.048576 / (time - $t);

	# until B sees A's object
	my @saw;
	for my $n (1 .. 5) {
		my $u = $load->url("/bytes/5000?seen$n");
		$A->curl($u);
		$t = time;
		wait_until(sub { $B->curl('-H', 'Cache-Control: only-if-cached', $u)->status == 200 }, 10) or fail("B sees object $n");
		push @saw, time - $t;
	}
	diag sprintf 'B sees A\'s object %s s after A\'s client has it', join ', ', map { sprintf '%.2f', $_ } @saw;
	is scalar(@saw), 5, 'B sees what A fetches';
	cmp_ok((sort { $a <=> $b } @saw)[2], '<', 5 * slow(), '… soon');
};
done_testing;
