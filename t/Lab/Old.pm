# Old.pm - the formats of passsage 0.5 (behaviour.md 4.1 to 4.8) made and checked byte by byte, by nothing of the program that is tested.
package Lab::Old;
use strict;
use warnings;
use Digest::SHA qw(sha224_hex);
use JSON::PP;
use MIME::Base64;
use POSIX ();

our @ALLOWED = qw(etag last-modified vary cache-control content-type content-encoding content-length content-language content-disposition content-location content-range accept-ranges location link
                  expires);
# The index as 0.5 makes it, but for the numbers of shards and replicas.
sub index_body {
	my %off = (index => JSON::PP::false);
	return {
		settings => { number_of_shards => 1, number_of_replicas => 0, refresh_interval => '60s' },
		mappings => { dynamic => JSON::PP::false, properties => {
			status_code => { type => 'integer', %off }, url => { type => 'keyword' }, extension => { type => 'keyword' }, content_size => { type => 'long', %off }, stored_at => { type => 'date' },
			last_access => { type => 'date' }, headers => { type => 'object', enabled => JSON::PP::false }, vary => { type => 'keyword', %off }, vary_request => { type => 'keyword', %off },
			doc_type => { type => 'keyword' }, manifest_b64 => { type => 'keyword', %off, doc_values => JSON::PP::false } } },
	};
}
sub split_url { my ($url) = @_; my ($scheme, $host) = $url =~ m{^(\w+)://(?:[^/@]*@)?(\[[^\]]*\]|[^/:]*)} or die "no URL: $url"; $host =~ s/^\[|\]$//g; (lc $scheme, lc $host) }
sub hash { sha224_hex($_[0]) }                                                       # 4.2, of a URL without signing parameters
sub id { my ($url) = @_; join '/', split_url($url), hash($url) }                     # 4.4
sub index_id { my ($url) = @_; join '/', split_url($url), '_vary', hash($url) }
sub vary_request { my ($vary, %request) = @_; join '|', map { "$_=" . ($request{$_} // '') } grep { length } map { s/^\s+|\s+$//gr } split /,/, lc $vary } # 4.3
sub variant_id { my ($url, $vary_request) = @_; id($url) . '+' . sha224_hex($vary_request) }
sub iso { my ($t) = @_; my $s = int $t; POSIX::strftime('%Y-%m-%dT%H:%M:%S', gmtime $s) . sprintf '.%06d+00:00', 1e6 * ($t - $s) } # the front's
sub iso_plane { POSIX::strftime('%Y-%m-%dT%H:%M:%S+00:00', gmtime $_[0]) }           # the plane's
sub extension { my ($url) = @_; (my $path = $url) =~ s/[?#].*//; $path =~ s{/+$}{}; my ($last) = $path =~ m{/([^/]*)$}; defined $last && $last =~ /^[^.].*?(\.[A-Za-z0-9._-]*)$/ ? '.' . ($last =~ /\.([^.]*)$/)[0] : '' } # 4.6
sub manifest { # 4.7: chunk size, total, ids (hexadecimal)
	my ($chunk, $total, @ids) = @_;
	return 'XS3M' . pack('CC', 1, 2) . pack('Q<Q<L<', $chunk, $total, scalar @ids) . pack '(H32)*', @ids;
}
sub uuid4 { my $h = join '', map { sprintf '%x', int rand 16 } 1 .. 32; substr($h, 12, 1) = '4'; substr($h, 16, 1) = (qw(8 9 a b))[rand 4]; $h }
sub key { my ($id, $prefix) = @_; ($prefix // 'data/') . join '/', (split //, substr $id, 0, 4), $id } # 4.8
# What the old system leaves of a response: puts the chunks, returns (id, document). url, body, headers (as the old reader keeps them), stored_at,
# status, request => { accept-encoding => ... } when the response has vary, chunk_size, fields => { more }.
sub store {
	my ($realm, %o) = @_;
	my ($url, $body, $size) = ($o{url}, $o{body} // '', $o{chunk_size} // 8388608);
	my @ids;
	for (my $off = 0; $off < length $body; $off += $size) {
		push @ids, uuid4();
		$realm->put(key($ids[-1]), substr $body, $off, $size);
	}
	my %doc = (status_code => $o{status} // 200, url => substr($url, 0, 512), extension => extension($url), content_size => length $body, stored_at => iso($o{stored_at} // time), last_access => iso(time),
	           headers => { 'content-length' => length($body) . '', %{$o{headers} // {}} }, doc_type => 'metadata', @ids ? (manifest_b64 => encode_base64(manifest($size, length $body, @ids), '')) : (), %{$o{fields} // {}});
	my $id = id($url);
	if (defined(my $vary = $doc{headers}{vary})) {
		@doc{qw(vary vary_request)} = ($vary, vary_request($vary, %{$o{request} // {}}));
		$id = variant_id($url, $doc{vary_request});
		$realm->index(index_id($url), { vary => $vary, doc_type => 'vary_index' }) unless $o{no_index};
	}
	delete $doc{$_} for grep { !defined $doc{$_} } CORE::keys %doc;
	$realm->index($id, \%doc);
	return ($id, \%doc, @ids);
}
# What an old reader would trip over in a document: a list of complaints. uuid: its manifest must be of algorithm 2.
sub complaints {
	my ($id, $doc, %o) = @_;
	my @bad;
	my %type = (status_code => 'integer', url => 'string', extension => 'string', content_size => 'integer', stored_at => 'date', last_access => 'date', headers => 'object', vary => 'string', vary_request => 'string',
	            doc_type => 'string', manifest_b64 => 'string');
	for my $k (sort CORE::keys %type) {
		next unless exists $doc->{$k};
		my ($v, $t) = ($doc->{$k}, $type{$k});
		if (!defined $v) { push @bad, "$k is null" unless $k =~ /^(?:manifest_b64|vary|vary_request)$/; next }
		my $number = !ref $v && JSON::PP->new->allow_nonref->encode($v) =~ /^-?\d+$/;
		push @bad, "$k is no $t: " . (ref $v || $v) unless $t eq 'object' ? ref $v eq 'HASH' : $t eq 'integer' ? $number : $t eq 'date' ? $number || $v =~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/ : !ref $v && !$number || $t eq 'string' && !ref $v;
	}
	if (($doc->{doc_type} // '') eq 'vary_index') {
		push @bad, 'a vary index has no vary' unless length($doc->{vary} // '');
		push @bad, "not the id of a vary index: $id" unless $id =~ m{^https?/[^/]+/_vary/[0-9a-f]{56}$};
		return @bad;
	}
	push @bad, "doc_type is not metadata" unless ($doc->{doc_type} // '') eq 'metadata';
	push @bad, "no $_" for grep { !defined $doc->{$_} } qw(status_code url extension stored_at headers);
	push @bad, "not an id: $id" unless $id =~ m{^https?/[^/]+/[0-9a-f]{56}(?:\+[0-9a-f]{56})?$};
	if (defined $doc->{url} && length $doc->{url} < 512) {
		my $want = id($doc->{url});
		$want .= '+' . sha224_hex($doc->{vary_request}) if length($doc->{vary} // '');
		my $under = length($doc->{vary} // '') ? $id : $id =~ s/\+[0-9a-f]{56}$//r; # without Vary it may be under the proactive key of its request (2.1 step 5)
		push @bad, "the id should be $want, not $id" unless $want eq $under;
		push @bad, "the extension should be " . extension($doc->{url}) . ", not $doc->{extension}" unless ($doc->{extension} // '') eq extension($doc->{url});
	}
	my %allowed = map { $_ => 1 } @ALLOWED;
	for my $h (sort CORE::keys %{ref $doc->{headers} ? $doc->{headers} : {}}) {
		push @bad, "headers has $h, which the allow-list has not" unless $allowed{$h};
		push @bad, "headers: $h is no string" if ref $doc->{headers}{$h} || !defined $doc->{headers}{$h};
	}
	push @bad, 'content-range is to be removed' if exists $doc->{headers}{'content-range'};
	push @bad, "content-length is $doc->{headers}{'content-length'}, content_size $doc->{content_size}"
		if defined $doc->{headers}{'content-length'} && defined $doc->{content_size} && $doc->{headers}{'content-length'} ne $doc->{content_size};
	if (defined $doc->{manifest_b64}) {
		my $m = parse_manifest($doc->{manifest_b64}, $o{uuid} ? 2 : 1);
		push @bad, @{$m->{bad}};
		push @bad, "the manifest is of $m->{total} bytes, content_size is $doc->{content_size}" if defined $doc->{content_size} && ($m->{total} // -1) != $doc->{content_size};
	} else {
		push @bad, 'no manifest, and a body' if $doc->{content_size};
	}
	return @bad;
}
# { chunk, total, ids => [hexadecimal], bad => [complaints] }
sub parse_manifest {
	my ($b64, $algorithm) = @_;
	my %m = (ids => [], bad => []);
	push @{$m{bad}}, 'the manifest is not base64 of the standard alphabet, padded' unless $b64 =~ m{^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$};
	my $raw = decode_base64($b64);
	if (length $raw < 26 || substr($raw, 0, 4) ne 'XS3M') { push @{$m{bad}}, 'no manifest'; return \%m }
	my ($version, $alg, $n);
	($version, $alg, @m{qw(chunk total)}, $n) = unpack 'x4CCQ<Q<L<', $raw;
	my $width = $alg == 2 ? 16 : 32;
	push @{$m{bad}}, "manifest version $version" if $version != 1;
	push @{$m{bad}}, "manifest algorithm $alg, wanted $algorithm" if $alg != $algorithm;
	push @{$m{bad}}, 'the manifest has ' . length($raw) . ' bytes' if length $raw != 26 + $width * $n;
	push @{$m{bad}}, "$n chunks of $m{chunk} for $m{total} bytes" if !$m{chunk} || $n != int(($m{total} + $m{chunk} - 1) / $m{chunk});
	$m{ids} = [map { unpack 'H*', $_ } unpack "x26(a$width)$n", $raw];
	return \%m;
}
# What an old reader gets for a document: the bytes, from the bucket.
sub read_body { my ($realm, $doc, $algorithm) = @_; return '' unless defined $doc->{manifest_b64}; my $m = parse_manifest($doc->{manifest_b64}, $algorithm); return substr join('', map { $realm->object(key($_)) // '' } @{$m->{ids}}), 0, $m->{total} }
1;
