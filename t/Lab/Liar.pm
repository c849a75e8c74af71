# Liar.pm - an origin of one object that does one thing wrong with it, a path for each wrong thing. It sends at a limited rate a connection, so that
# a download by several requests has begun with all of them when it happens.
#
#   my $liar = Lab::Liar->new(size => 1_000_000, rate => 1_000_000, headers => { 'Cache-Control' => 'max-age=60' });
#   my $origin = origin($liar->script);
#   for my $name ($liar->names) { fetch($origin->url($liar->path($name))); … $liar->end($name) … $liar->asks($name) }
#   $liar->honest($c, $request, $body, $etag)   as a handler of one's own: a right answer, at the rate
#   $liar->version($etag)                       what an answer with that ETag must have the bytes of
# Each answer is noted as an event: sent, with its target, its bytes and where they began.
package Lab::Liar;
use strict;
use warnings;
use Lab;
use POSIX 'strftime';
use Socket ();
use Time::HiRes 'sleep';

sub new { # size, rate (bytes a second of a connection), headers of every answer
	my ($class, %o) = @_;
	my $self = bless { headers => {}, %o, old => pattern($o{size}, 'old'), new => pattern($o{size} + 777, 'new') }, $class;
	$self->{lies} = { $self->lies };
	return $self;
}
sub names { sort keys %{$_[0]{lies}} }
sub path { '/' . join '-', $_[1] =~ /\w+/g }
sub end { my ($self, $name) = @_; $self->{lies}{$name}[1] }
sub asks { my ($self, $name) = @_; $self->{lies}{$name}[2] }
sub version { # by its ETag; without one it is the old one, with its date
	my ($self, $etag) = @_;
	return pattern($self->{size}, $1) if ($etag // '') =~ /^"v(\d+)"$/;
	return ($etag // '') =~ /^"(?:new|other)"$/ ? $self->{new} : $self->{old};
}
sub script { # for origin(): path => what it does, …
	my ($self) = @_;
	return map {
		my ($path, $lie) = ($self->path($_), $self->{lies}{$_}[0]);
		($path => sub {
			my ($c, $r) = @_;
			my $n = scalar $c->{origin}->requests($path); # itself among them
			my $a = $self->answer($r, $self->{old}, '"old"');
			$lie->($a, $r, $n);
			return $self->give($c, $a);
		});
	} $self->names;
}
sub honest { my ($self, $c, $r, $body, $etag) = @_; $self->give($c, $self->answer($r, $body, $etag)) }

# ---- answers

sub answer { # what is right: status, from, to (of body), total (that a range names), headers; and what may be put there by a lie: send (other
	# bytes), stop (after so many), close, stall or reset then, version
	my ($self, $req, $body, $etag) = @_;
	my %a = (status => 200, from => 0, to => length($body) - 1, body => $body, total => length $body, headers => { %{$self->{headers}}, ETag => $etag, 'Accept-Ranges' => 'bytes' });
	my $h = $req->{headers};
	if (($h->{range} // '') =~ /^bytes=(\d+)-(\d*)$/ && $1 < length $body && ($h->{'if-range'} // $etag) eq $etag) {
		@a{qw(status from to)} = (206, $1, length $2 && $2 < length $body ? $2 : length($body) - 1);
	}
	return \%a;
}
sub give {
	my ($self, $c, $a) = @_;
	my $body = $a->{send} // part($a);
	$a->{headers}{'Content-Range'} //= "bytes $a->{from}-$a->{to}/$a->{total}" if $a->{status} == 206;
	$a->{headers}{'Content-Length'} //= length $body;
	my $head = ($a->{version} // 'HTTP/1.1') . " $a->{status} X\r\n";
	$head .= "$_: $a->{headers}{$_}\r\n" for grep { length $a->{headers}{$_} } sort keys %{$a->{headers}};
	my $stop = $a->{stop} // length $body;
	$stop = length $body if $stop > length $body;
	my $at = 0;
	my $all = eval {
		$c->send("$head\r\n");
		while ($at < $stop) {
			my $n = int $self->{rate} / 50;
			$n = $stop - $at if $n > $stop - $at;
			$c->send(substr $body, $at, $n);
			$at += $n;
			sleep 0.02;
		}
		1;
	};
	$c->{origin}->note(event => 'sent', target => $c->{req}{target}, from => $a->{from}, bytes => $at);
	die $@ if !$all;
	return 1 if $stop == length $body && !$a->{close};
	sleep 60 if $a->{stall};
	setsockopt $c->{s}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack('ii', 1, 0) if $a->{reset};
	return 0;
}

# ---- the lies

my ($modified, $now) = ('Sun, 01 Nov 2020 10:00:00 GMT', strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime));

sub lies { # name => [what it does to (the right answer, the request, which request of this path it is), how it ends for a downloader: right (the
	# old version), new, failed; what it asks for: one request, tried (a range at least), ranges (some), several (requests)]
	my ($self) = @_;
	my ($size, $new) = @$self{qw(size new)};
	my ($early, $piece) = map { int $size * $_ } 0.15, 0.1;
	my $renew = sub { my ($a, $r) = @_; %$a = %{$self->answer($r, $new, '"new"')} };
	return (
		honest => [sub { }, 'right', 'ranges'],
		# whose ranges cannot be put together, or must not
		'date as validator' => [sub { my ($a, $r) = @_; dated($a, $modified); by_date($a, $r) }, 'right', 'ranges'],
		'date that is too young' => [sub { dated($_[0], $now) }, 'right', 'one'],
		'Accept-Ranges none' => [sub { $_[0]{headers}{'Accept-Ranges'} = 'none' }, 'right', 'one'],
		'Accept-Ranges not said' => [sub { $_[0]{headers}{'Accept-Ranges'} = '' }, 'right', 'tried'],
		'weak ETag' => [sub { $_[0]{headers}{ETag} = 'W/"old"' }, 'right', 'one'],
		'no validator' => [sub { $_[0]{headers}{ETag} = '' }, 'right', 'one'],
		'HTTP/1.0' => [sub { @{$_[0]}{qw(version close)} = ('HTTP/1.0', 1) }, 'right', 'one'],
		'a coding' => [sub { $_[0]{headers}{'Content-Encoding'} = 'gzip' }, 'right', 'one'],
		'no length' => [sub { my ($a) = @_; $a->{headers}{'Content-Length'} = ''; $a->{close} = 1 }, 'right', 'one'],
		'no ranges' => [sub { whole($_[0]) }, 'right', 'tried'],
		# which range is it?
		'a place that was not asked for' => [in_ranges(sub { my ($a) = @_; $a->{from}++; $a->{to}++ if $a->{to} < $size - 1 }), 'right', 'tried'],
		'the wrong bytes\' place' => [in_ranges(sub { my ($a) = @_; place($a, $a->{from} + 5) }), 'right', 'tried'],
		'more than was asked for' => [in_ranges(sub { $_[0]{to} = $size - 1 }), 'right', 'tried'],
		'less than was asked for' => [in_ranges(sub { my ($a) = @_; $a->{to} = $a->{from} + $piece - 1 if $a->{to} >= $a->{from} + $piece }), 'right', 'ranges'],
		'a wrong total' => [in_ranges(sub { $_[0]{total}++ }), 'right', 'tried'],
		'no total' => [in_ranges(sub { $_[0]{total} = '*' }), 'right', 'tried'],
		'206 without Content-Range' => [in_ranges(sub { $_[0]{headers}{'Content-Range'} = '' }), 'right', 'tried'],
		'Content-Range that is none' => [in_ranges(sub { $_[0]{headers}{'Content-Range'} = 'bytes 5-1/0' }), 'right', 'tried'],
		'multipart' => [in_ranges(sub { my ($a) = @_; @{$a->{headers}}{qw(Content-Range Content-Type)} = ('', 'multipart/byteranges; boundary=x') }), 'right', 'tried'],
		'a 206 that nobody asked for' => [sub { my ($a, $r) = @_; @$a{qw(status to)} = (206, $early) if !is_range($r) }, 'failed', 'one'],
		# how long is it?
		'a length that is not the range\'s' => [in_ranges(sub { my ($a) = @_; $a->{headers}{'Content-Length'} = $a->{to} - $a->{from} }), 'right', 'tried'],
		'a range that ends early' => [in_ranges(sub { breaks($_[0], $piece) }), 'right', 'ranges'],
		'a range that is reset' => [in_ranges(sub { @{$_[0]}{qw(stop reset)} = ($piece, 1) }), 'right', 'ranges'],
		'ranges that stall' => [in_ranges(sub { @{$_[0]}{qw(stop stall)} = ($piece, 1) }), 'right', 'ranges'],
		'ranges that end at once' => [in_ranges(sub { breaks($_[0], 0) }), 'right', 'tried'],
		'ranges in chunked coding' => [in_ranges(sub { my ($a) = @_; chunked($a, part($a)) }), 'right', 'ranges'],
		'ranges in chunked coding that go on too long' => [in_ranges(sub { my ($a) = @_; chunked($a, part($a) . 'x' x 1000) }), 'right', 'ranges'],
		'ranges in chunked coding that end too soon' => [in_ranges(sub { my ($a) = @_; chunked($a, substr part($a), 0, $piece) }), 'right', 'ranges'],
		# which version is it?
		'a coding of ranges' => [in_ranges(sub { my ($a) = @_; $a->{headers}{'Content-Encoding'} = 'gzip'; $a->{send} = 'x' x length part($a) }), 'right', 'tried'],
		'another ETag in ranges' => [in_ranges(sub { my ($a) = @_; $a->{headers}{ETag} = '"other"'; $a->{body} = $new }), 'right', 'tried'],
		'no ETag in ranges' => [in_ranges(sub { my ($a) = @_; $a->{headers}{ETag} = ''; $a->{body} = $new }), 'right', 'tried'],
		'a weak ETag in ranges' => [in_ranges(sub { my ($a) = @_; $a->{headers}{ETag} = 'W/"old"'; $a->{body} = $new }), 'right', 'tried'],
		'another length under the same ETag' => [in_ranges(sub { my ($a) = @_; $a->{body} = substr $a->{body}, 0, -1000; whole($a) }), 'right', 'tried'],
		'a new version meanwhile' => [sub { my ($a, $r, $n) = @_; $renew->($a, $r) if $n > 1 }, 'right', 'tried'],
		'each answer another version' => [sub { my ($a, $r, $n) = @_; $a->{headers}{ETag} = "\"v$n\""; $a->{body} = pattern($size, $n); whole($a); breaks($a, $early) }, 'failed', 'several'],
		# not a range, but a status
		(map { my $s = $_; "$s to ranges" => [in_ranges(sub { denies($_[0], $s, $s == 416 ? "bytes */$size" : '') }), 'right', 'tried'] } 302, 403, 416, 429, 500, 503),
		# the first request, for the whole
		'the first breaks' => [sub { my ($a, $r) = @_; breaks($a, $early) if !is_range($r) }, 'right', 'ranges'],
		'the first is reset' => [sub { my ($a, $r) = @_; @$a{qw(stop reset)} = ($early, 1) if !is_range($r) }, 'right', 'ranges'],
		'the first stalls' => [sub { my ($a, $r) = @_; @$a{qw(stop stall)} = ($early, 1) if !is_range($r) }, 'right', 'ranges'],
		'the first breaks, there are no ranges' => [sub { my ($a, $r, $n) = @_; whole($a); breaks($a, $early) if $n == 1 }, 'right', 'tried'],
		'no ranges, and it always breaks there' => [sub { my ($a) = @_; whole($a); breaks($a, $early) }, 'failed', 'several'],
		'the first breaks, ranges are forbidden' => [sub { my ($a, $r, $n) = @_; if (is_range($r)) { denies($a, 403, '') } elsif ($n == 1) { breaks($a, $early) } }, 'right', 'tried'],
		'the first breaks, no validator' => [sub { my ($a) = @_; $a->{headers}{ETag} = ''; breaks($a, $early) }, 'failed', 'several'],
		'no length, and it breaks' => [sub { my ($a) = @_; chunked($a, part($a)); breaks($a, $early) }, 'failed', 'several'],
		'everything always breaks' => [sub { breaks($_[0], 3) }, 'failed', 'several'],
		'a new version, and the first breaks' => [sub { my ($a, $r, $n) = @_; if ($n > 1) { $renew->($a, $r) } else { breaks($a, $early) } }, 'new', 'several'],
		'it is gone, and the first breaks' => [sub { my ($a, $r, $n) = @_; if ($n > 1) { denies($a, 404, '') } else { breaks($a, $early) } }, 'failed', 'several'],
	);
}
sub is_range { defined $_[0]{headers}{range} }
sub in_ranges { my ($what) = @_; sub { my ($a, $r) = @_; $what->($a) if is_range($r) } }
sub part { my ($a) = @_; substr $a->{body}, $a->{from}, $a->{to} - $a->{from} + 1 }
sub place { my ($a, $from) = @_; $a->{headers}{'Content-Range'} = "bytes $from-$a->{to}/$a->{total}" }
sub whole { my ($a) = @_; @$a{qw(status from to)} = (200, 0, length($a->{body}) - 1) }
sub dated { my ($a, $when) = @_; @{$a->{headers}}{qw(ETag Last-Modified Date)} = ('', $when, $now) }
sub by_date { my ($a, $r) = @_; @$a{qw(status from to)} = (206, $1, $2) if ($r->{headers}{'if-range'} // '') eq $modified && $r->{headers}{range} =~ /^bytes=(\d+)-(\d+)$/ }
sub breaks { my ($a, $after) = @_; @$a{qw(stop close)} = ($after, 1) }
sub denies { my ($a, $status, $content_range) = @_; @$a{qw(status send)} = ($status, 'no'); @{$a->{headers}}{qw(Content-Range Retry-After Cache-Control)} = ($content_range, 1, 'no-store') }
sub chunked { # the Content-Range stays what it is
	my ($a, $bytes) = @_;
	@{$a->{headers}}{qw(Content-Length Transfer-Encoding)} = ('', 'chunked');
	$a->{send} = join '', (map { sprintf("%x\r\n", length) . "$_\r\n" } unpack '(a32768)*', $bytes), "0\r\n\r\n";
}
1;
