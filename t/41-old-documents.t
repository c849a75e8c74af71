# What passsage 0.5 left in S3 and Elasticsearch is served as hits, and with --chunk-ids uuid what we leave there it could serve: documents, vary
# indexes and manifests are made and checked here by Lab::Old, from behaviour.md section 4 alone.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Fleet;
use JSON::PP;
use MIME::Base64;
use POSIX 'strftime';
use Test::More;
use Time::HiRes 'time', 'sleep';

my $K = 1 << 10;
my $fleet = fleet();
my $origin = origin('*' => { body => 'from the origin', cc => 'max-age=600' });
sub url { $origin->url(@_) }
sub http_date { strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime $_[0]) }
sub asked { scalar $origin->hits($_[0]) }
sub is_served { # as a hit; returns the answer
	my ($p, $path, $want, $name, @args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = asked($path);
	my $r = $p->curl(@args, url($path));
	ok $r->hit, "$name: a hit" or diag "status $r->{status}, curl $r->{exit} $r->{error}\n$r->{head}", $p->log;
	same $r->body, $want, '… the right bytes' if defined $want;
	is asked($path), $before, '… the origin is not asked';
	return $r;
}
sub is_fetched {
	my ($p, $path, $name, @args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = asked($path);
	my $r = $p->curl(@args, url($path));
	is $r->body, 'from the origin', "$name: the origin's answer" or diag "status $r->{status}, curl $r->{exit} $r->{error}\n$r->{head}";
	cmp_ok asked($path), '>', $before, '… the origin is asked';
	return $r;
}

# Lab::Old itself, against the vectors of behaviour.md
is Lab::Old::id('http://example.com/'), 'http/example.com/599370d5687c3fd078c314add6d37c2d714e57a5d9157d4a703cfcc0', 'the id of a URL (4.4)';
is Lab::Old::id('https://Example.COM:8443/A/b.tar.gz?b=2&a=1'), 'https/example.com/1eb7c48b6a5295f2bb06bcb21cfcf06f72cc8891c5d34e0f55937b9a', '… of another';
like Lab::Old::variant_id('http://example.com/', 'accept-encoding=gzip'), qr/\+1326817f4c14e9d6a359aa1d62b9e77e572cc27155de1b818561199e$/, 'a variant key (4.3)';
is encode_base64(Lab::Old::manifest(8388608, 20000000, 'ab' x 16, 'cd' x 16, 'ef' x 16), ''),
	'WFMzTQECAACAAAAAAAAALTEBAAAAAAMAAACrq6urq6urq6urq6urq6urzc3Nzc3Nzc3Nzc3Nzc3Nze/v7+/v7+/v7+/v7+/v7+8=', 'a manifest (4.7)';
like unpack('H*', Lab::Old::manifest(8388608, 20000000, 'ab' x 16, 'cd' x 16, 'ef' x 16)), qr/^5853334d01020000800000000000002d31010000000003000000(?:ab){16}(?:cd){16}(?:ef){16}$/, '… in hexadecimal';
is Lab::Old::extension("http://x/$_->[0]"), $_->[1], "the extension of $_->[0] (4.6)" for ['x.tar.gz', '.gz'], ['.bashrc', ''], ['a/b', ''], ['f.txt?x=1.y', '.txt'];

trial 'bodies, whole and in parts, with their headers' => sub {
	my $realm = $fleet->realm;
	$realm->make_index;
	my $size = 64 * $K;
	my %objects = ('/one' => [1, 100], '/exact' => [2 * $size, 100], '/many.tar.gz' => [10 * $size + 7, 3000], '/default' => [300_000, 0]);
	my $now = time;
	for my $path (sort keys %objects) {
		my ($n, $age) = @{$objects{$path}};
		Lab::Old::store($realm, url => url($path), body => pattern($n, $path), chunk_size => $path eq '/default' ? 8388608 : $size, stored_at => $now - $age,
		                headers => { 'cache-control' => 'max-age=86400', etag => "\"$path\"", 'content-type' => 'application/x-old', 'last-modified' => http_date($now - 1e6), 'content-language' => 'de', 'accept-ranges' => 'bytes' });
	}
	my $p = $realm->node(workers => 2);
	for my $path (sort keys %objects) {
		my ($n, $age) = @{$objects{$path}};
		my $r = is_served($p, $path, pattern($n, $path), "$path, $n bytes");
		is $r->status, 200, '… 200';
		is $r->header('content-length'), $n, '… its length';
		is $r->header('content-type'), 'application/x-old', '… its type';
		is $r->header('content-language'), 'de', '… its language';
		is $r->header('etag'), "\"$path\"", '… its tag';
		is $r->header('last-modified'), http_date($now - 1e6), '… its date';
		is $r->header('cache-control'), 'max-age=86400', '… Cache-Control';
		cmp_ok abs($r->header('age') - $age), '<', 10 * slow(), "… Age is from stored_at ($age)";
		like $r->header('date') // '', qr/GMT$/, '… a Date, though the old system stored none';
		is_served($p, $path, pattern($n, $path), "$path again");
		my $c = $p->curl('-H', "If-None-Match: \"$path\"", url($path));
		is $c->status, 304, '… 304 to a conditional request';
		is $p->curl('-I', url($path))->header('content-length'), $n, '… HEAD';
	}
	my $q = $realm->node;
	my $many = pattern(10 * $size + 7, '/many.tar.gz');
	for ([0, 0], [$size - 1, $size], [5 * $size + 3, 8 * $size], [10 * $size, 10 * $size + 6]) {
		my ($from, $to) = @$_;
		my $r = is_served($q, '/many.tar.gz', substr($many, $from, $to - $from + 1), "bytes $from-$to on a fresh node", '-r', "$from-$to");
		is $r->status, 206, '… 206';
		is $r->header('content-range'), "bytes $from-$to/" . length $many, '… Content-Range';
	}
	is_served($q, '/many.tar.gz', $many, 'then all of it');
};

trial 'times, redirects, empty bodies, old fields' => sub {
	my $realm = $fleet->realm;
	$realm->make_index;
	my $now = time;
	my %h = ('cache-control' => 'max-age=86400', 'content-type' => 'text/plain');
	my $p = $realm->node;
	my sub put { my ($path, %o) = @_; Lab::Old::store($realm, url => url($path), body => "old $path", headers => \%h, %o) }
	put('/plane-time', fields => { stored_at => Lab::Old::iso_plane($now - 500) });
	put('/epoch', fields => { stored_at => int $now - 500 });
	put('/epoch-fraction', fields => { stored_at => $now - 500 });
	put('/zulu', fields => { stored_at => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $now - 500) });
	put('/legacy', fields => { reason => 'OK', sha224 => 'ab' x 28, method => 'GET' }, stored_at => $now - 500);
	for (qw(/plane-time /epoch /epoch-fraction /zulu /legacy)) {
		my $r = is_served($p, $_, "old $_", $_);
		cmp_ok abs(($r->header('age') // -1) - 500), '<', 10 * slow(), '… Age' or diag $r->{head};
	}
	put('/head', fields => { method => 'HEAD' });
	is_fetched($p, '/head', 'a document of a HEAD does not satisfy a GET');
	put('/no-time', fields => { stored_at => undef });
	is_fetched($p, '/no-time', 'no stored_at: never fresh');
	Lab::Old::store($realm, url => url('/moved'), status => 301, headers => { %h, location => '/there', 'content-length' => '0' });
	my $r = is_served($p, '/moved', '', 'a redirect');
	is $r->status, 301, '… 301';
	is $r->header('location'), '/there', '… Location';
	Lab::Old::store($realm, url => url('/empty'), headers => { %h, 'content-length' => '0' });
	$r = is_served($p, '/empty', '', 'an empty body has no manifest');
	is $r->header('content-length'), 0, '… its length';
	put('/expires', headers => { expires => http_date($now + 3600), 'content-type' => 'text/plain' });
	is_served($p, '/expires', 'old /expires', 'fresh by Expires');
	put('/heuristic', headers => { 'last-modified' => http_date($now - 864_000) });
	is_served($p, '/heuristic', 'old /heuristic', 'fresh by a tenth of its age');
	put('/encoded', headers => { %h, 'content-encoding' => 'x-thing' });
	$r = is_served($p, '/encoded', 'old /encoded', 'an encoded body as it is');
	is $r->header('content-encoding'), 'x-thing', '… with its coding';
	# keys of signed URLs (4.1): what is signed does not count
	my $plain = url('/f?A=3&a=1&b=2&k=');
	Lab::Old::store($realm, url => $plain, body => 'signed', headers => \%h);
	$r = $p->curl(url('/f?X-Amz-Date=1&b=2&a=1&A=3&k='));
	ok $r->hit, 'a signed URL finds what was stored under its normalized form';
	is $r->body, 'signed', '… its bytes';
};

trial 'variants' => sub {
	my $realm = $fleet->realm;
	$realm->make_index;
	my $p = $realm->node;
	my %h = ('cache-control' => 'max-age=86400', 'content-type' => 'text/plain');
	my sub ae { my ($v) = @_; ('-H', "Accept-Encoding: $v") }
	for my $v ('gzip', 'br', '') { Lab::Old::store($realm, url => url('/page'), body => "for <$v>", headers => { %h, vary => 'Accept-Encoding' }, request => { 'accept-encoding' => $v }) }
	is_served($p, '/page', 'for <gzip>', 'the variant for gzip', ae('gzip'));
	is_served($p, '/page', 'for <br>', '… for br', ae('br'));
	is_served($p, '/page', 'for <>', '… for none');
	is_fetched($p, '/page', '… for what nobody has', ae('zstd'));
	Lab::Old::store($realm, url => url('/two'), body => 'two', headers => { %h, vary => 'Accept-Language, X-Kind' }, request => { 'accept-language' => 'de', 'x-kind' => 'red' });
	is_served($p, '/two', 'two', 'of two fields', '-H', 'Accept-Language: de', '-H', 'X-Kind: red');
	is_fetched($p, '/two', '… only when both match', '-H', 'Accept-Language: de');
	# a response without Vary, fetched with an Accept-Encoding: the old system has it under the proactive key alone (2.1 step 5)
	my ($id, $doc) = Lab::Old::store($realm, url => url('/proactive'), body => 'proactive', headers => \%h);
	$realm->erase($id);
	$realm->index("$id+" . Digest::SHA::sha224_hex('accept-encoding=gzip'), $doc);
	is_served($p, '/proactive', 'proactive', 'no Vary, under the proactive key', ae('gzip'));
};

trial 'what is not whole or not well formed is fetched anew, for the same client' => sub {
	my $realm = $fleet->realm;
	$realm->make_index;
	my $p = $realm->node;
	my %h = ('cache-control' => 'max-age=86400', 'content-type' => 'text/plain');
	my sub broken { my ($path, $break, %o) = @_; my ($id, $doc, @ids) = Lab::Old::store($realm, url => url($path), body => pattern(200_000, $path), chunk_size => 65536, headers => \%h, %o); $break->($id, $doc, @ids); $id }
	my sub manifest { my ($m) = @_; sub { my ($id, $doc, @ids) = @_; $realm->index($id, { %$doc, manifest_b64 => ref $m ? $m->($doc, @ids) : $m }) } }
	my %do = (
		'/null' => manifest(undef),
		'/garbage' => manifest('not base64!'),
		'/magic' => manifest(encode_base64('XS3N' . ('x' x 60), '')),
		'/short' => manifest(sub { my ($d) = @_; encode_base64(substr(decode_base64($d->{manifest_b64}), 0, 40), '') }),
		'/algorithm' => manifest(sub { my ($d) = @_; my $m = decode_base64($d->{manifest_b64}); substr $m, 5, 1, "\x09"; encode_base64($m, '') }),
		'/version' => manifest(sub { my ($d) = @_; my $m = decode_base64($d->{manifest_b64}); substr $m, 4, 1, "\x02"; encode_base64($m, '') }),
		'/enormous' => manifest(sub { my ($d) = @_; my $m = decode_base64($d->{manifest_b64}); substr $m, 14, 8, "\xff" x 8; encode_base64($m, '') }),
		'/first-chunk' => sub { my ($id, $d, @ids) = @_; unlink $realm->folder . '/' . Lab::Old::key($ids[0]) or die $! },
		'/all-chunks' => sub { my ($id, $d, @ids) = @_; unlink $realm->folder . '/' . Lab::Old::key($_) or die $! for @ids },
		'/cut-chunk' => sub { my ($id, $d, @ids) = @_; $realm->put(Lab::Old::key($ids[0]), 'x' x 100) },
		'/only-manifest' => sub { my ($id, $d) = @_; $realm->index($id, { manifest_b64 => $d->{manifest_b64} }) },
		'/types' => sub { my ($id, $d) = @_; $realm->index($id, { %$d, headers => { etag => { a => 1 }, vary => [1] }, status_code => '200' }) },
		'/status' => sub { my ($id, $d) = @_; $realm->index($id, { %$d, status_code => 99999 }) },
		'/nothing' => sub { my ($id) = @_; $realm->index($id, {}) },
	);
	for my $path (sort keys %do) {
		my $id = broken($path, $do{$path});
		is_fetched($p, $path, $path);
		ok $p->stored(url($path)), '… and stored';
		ok $p->drained, '… and shared';
		my @bad = Lab::Old::complaints($id, $realm->doc($id));
		is "@bad", '', '… as a sound document';
	}
	# a chunk in the middle is lost: some bytes may be out, then the connection breaks; the next client gets it all
	broken('/later-chunk', sub { my ($id, $d, @ids) = @_; unlink $realm->folder . '/' . Lab::Old::key($ids[2]) or die $! });
	my $r = $p->curl(url('/later-chunk'));
	ok $r->body eq 'from the origin' || $r->exit != 0, 'a chunk in the middle is lost: all anew, or a broken connection, never less than promised' or diag length $r->body;
	ok wait_until(sub { $p->curl(url('/later-chunk'))->body eq 'from the origin' }, 10), '… the next one gets it all from the origin';
	# longer than it must be is fine
	broken('/longer', manifest(sub { my ($d) = @_; encode_base64(decode_base64($d->{manifest_b64}) . 'more', '') }));
	is_served($p, '/longer', pattern(200_000, '/longer'), 'a manifest with something behind it');
};

trial 'a stale document is confirmed, and keeps what we do not know' => sub {
	my $realm = $fleet->realm;
	$realm->make_index;
	my $path = '/stale';
	$origin->set($path => { body => pattern(100_000, 'stale'), etag => '"s"', cc => 'max-age=500', conditional => 1 });
	my %more = (team_note => { list => [1, 2, { deep => JSON::PP::true }], text => "\x{e4}\x{20ac}" }, x_count => 12345678901, x_null => undef, x_float => 1.5);
	my $then = time - 10_000;
	my ($id, $doc) = Lab::Old::store($realm, url => url($path), body => pattern(100_000, 'stale'), chunk_size => 65536, stored_at => $then, headers => { 'cache-control' => 'max-age=60', etag => '"s"', 'content-type' => 'text/x-old' }, fields => \%more);
	$realm->index($id, { %$doc, %more });
	my $p = $realm->node;
	my $r = $p->curl(url($path));
	same $r->body, pattern(100_000, 'stale'), 'the client gets the stored bytes';
	is $origin->hits($path, 304), 1, '… after the origin has confirmed them';
	is $r->header('content-type'), 'text/x-old', '… with the stored type';
	ok $p->drained, 'Elasticsearch is told';
	ok wait_until(sub { my $d = $realm->doc($id); $d && $d->{stored_at} ne $doc->{stored_at} }, 10), '… of the new stored_at';
	my $new = $realm->doc($id);
	is_deeply { map { $_ => $new->{$_} } keys %more }, \%more, '… and what we do not know is as it was';
	is $new->{manifest_b64}, $doc->{manifest_b64}, '… the manifest too';
	is $new->{headers}{'cache-control'}, 'max-age=500', '… the headers are the new ones';
	is $new->{headers}{'content-type'}, 'text/x-old', '… and what the 304 did not say stays';
	my @bad = Lab::Old::complaints($id, $new, uuid => 1);
	is "@bad", '', '… an old reader is content';
	ok $p->curl(url($path))->hit, 'now it is fresh';

	$path = '/stale-changed';
	$origin->set($path => { body => 'new bytes', cc => 'max-age=500', headers => ['Content-Type' => 'text/new'] });
	($id, $doc) = Lab::Old::store($realm, url => url($path), body => 'old bytes', stored_at => $then, headers => { 'cache-control' => 'max-age=60', etag => '"gone"', expires => http_date($then), 'content-encoding' => 'x-thing', 'content-type' => 'text/x-old' }, fields => \%more);
	is $p->curl(url($path))->body, 'new bytes', 'a stale document whose object has changed: the new bytes';
	ok $p->stored(url($path)) && $p->drained, '… stored and shared';
	$new = $realm->doc($id);
	is $new->{headers}{$_}, undef, "… $_ of the old response did not survive in the new one's headers" for qw(etag expires content-encoding);
	is $new->{headers}{'content-type'}, 'text/new', '… its own are there';
	is_deeply { map { $_ => $new->{$_} } keys %more }, \%more, '… and what we do not know is as it was';
};

# ---- the other way round. What an old reader would find for a request (2.1 steps 5 and 6), or nothing.
sub old_lookup {
	my ($realm, $url, %request) = @_;
	my $index = $realm->doc(Lab::Old::index_id($url));
	my $ae = $request{'accept-encoding'} // '';
	my $proactive = Lab::Old::id($url) . ($ae ne '' ? '+' . Digest::SHA::sha224_hex("accept-encoding=$ae") : '');
	my $id = $index && length($index->{vary} // '') && $index->{vary} !~ /\*/ ? Lab::Old::variant_id($url, Lab::Old::vary_request($index->{vary}, %request)) : $proactive;
	my $doc = $realm->doc($id) or return;
	return ($id, $doc);
}
trial 'what we leave with --chunk-ids uuid, an old node could serve' => sub {
	my $realm = $fleet->realm;
	my $p = $realm->node(chunk_ids => 'uuid', chunk_size => '64K');
	my $vary = sub { my ($c, $r) = @_; $c->respond({ body => 'for ' . ($r->{headers}{'accept-encoding'} // 'none'), cc => 'max-age=600', vary => 'Accept-Encoding' }) };
	my $o = origin('/vary' => $vary,
		'/plain.txt' => { body => 'plain', cc => 'max-age=600', etag => '"p"' }, '/many.tar.gz' => { size => 300_000, cc => 'public, max-age=600', lm => http_date(time - 1e6) },
		'/empty' => { body => '', cc => 'max-age=600' }, '/moved' => { status => 301, headers => [Location => '/plain.txt'], cc => 'max-age=600' },
		'/more' => { body => 'more', cc => 'max-age=600', headers => ['Set-Cookie' => 'a=b', 'X-Ours' => '1', 'Age' => '5', 'Server' => 'x', 'Content-Type' => 'text/plain', 'Link' => '</a>', 'Link' => '</b>'] },
		'/long?' . 'x' x 600 => { body => 'long', cc => 'max-age=600' });
	my @requests = (['/plain.txt'], ['/plain.txt?ae', 'gzip'], ['/many.tar.gz'], ['/empty'], ['/moved'], ['/more'], ['/long?' . 'x' x 600], ['/vary'], ['/vary', 'gzip'], ['/vary', 'br, gzip;q=0.5']);
	$o->set('/plain.txt?ae' => { body => 'plain', cc => 'max-age=600' });
	my sub args { my ($path, $ae) = @_; (defined $ae ? ('-H', "Accept-Encoding: $ae") : (), $o->url($path)) }
	my %body = map { my $r = $p->curl(args(@$_)); join(' ', map { $_ // '' } @$_[0, 1]) => $r->body } @requests;
	for (@requests) { my @a = args(@$_); my $url = pop @a; ok $p->stored($url, @a), "$_->[0] is stored" }
	ok $p->drained, 'and shared';
	my $docs = $realm->docs;
	cmp_ok scalar(keys %$docs), '>=', 10, 'documents';
	for my $id (sort keys %$docs) { my @bad = Lab::Old::complaints($id, $docs->{$id}, uuid => 1); is "@bad", '', substr("$id: " . ($docs->{$id}{url} // ''), 0, 150) or diag explain $docs->{$id} }
	for my $q (@requests) {
		my ($path, $ae) = @$q;
		my $name = $path =~ s/x{9,}/…/r . (defined $ae ? " with $ae" : '');
		my ($id, $doc) = old_lookup($realm, $o->url($path), defined $ae ? ('accept-encoding' => $ae) : ());
		ok $id, "an old node finds $name" or next;
		same Lab::Old::read_body($realm, $doc, 2), $body{join ' ', map { $_ // '' } @$q}, '… its bytes' if ($doc->{content_size} // 0) > 0 && $doc->{status_code} == 200;
		my $ttl = ($doc->{headers}{'cache-control'} // '') =~ /max-age=(\d+)/ ? $1 : 0;
		is $ttl, 600, '… how long it is fresh';
	}
	is $docs->{Lab::Old::id($o->url('/moved'))}{headers}{location}, '/plain.txt', 'a redirect says where to';
	is $docs->{Lab::Old::id($o->url('/long?' . 'x' x 600))}{url}, substr($o->url('/long?' . 'x' x 600), 0, 512), 'a long URL is cut to 512 characters';
	my $q = $realm->node;
	my $r = $q->curl($o->url('/more'));
	ok $r->hit, 'and another node of ours serves what has more fields than the old allow-list';
	is $r->header('x-ours'), '1', '… with those';
	cmp_ok $r->header('age') // 0, '>=', 5, '… and the age that the origin gave it';
};
done_testing;
