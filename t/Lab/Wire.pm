# Wire.pm - a client that says exactly the bytes that it is told to, and reads answers strictly: what curl would repair or refuse to send.
package Lab::Wire;
use strict;
use warnings;
use IO::Socket::IP;
use IO::Select;
use Time::HiRes 'time';

sub connect { # port => ..., host => '127.0.0.1', ca => file
	my ($class, %o) = @_;
	my $s = IO::Socket::IP->new(PeerHost => $o{host} // '127.0.0.1', PeerPort => $o{port}, Type => Socket::SOCK_STREAM(), Timeout => 10) or die "connect: $@";
	$s->autoflush(1);
	return bless { s => $s, in => '', ca => $o{ca}, timeout => $o{timeout} // 15 * Lab::slow() }, $class;
}
sub socket { $_[0]{s} }
sub send {
	my ($w, $data) = @_;
	local $SIG{PIPE} = 'IGNORE';
	my $off = 0;
	while ($off < length $data) {
		my $n = syswrite $w->{s}, $data, length($data) - $off, $off;
		return unless defined $n;
		$off += $n;
	}
	return 1;
}
sub fill { # more bytes into the buffer: 1; 0 at the end; nothing on a time-out
	my ($w, $until) = @_;
	unless ($w->{s}->can('pending') && $w->{s}->pending) {
		my $left = $until - time;
		return if $left <= 0 || !IO::Select->new($w->{s})->can_read($left);
	}
	my $n = sysread $w->{s}, $w->{in}, 65536, length $w->{in};
	if (!defined $n) {
		return $w->fill($until) if $!{EAGAIN} || $!{EINTR};
		$w->{error} = "$!";
		return 0;
	}
	return $n > 0 ? 1 : 0;
}
sub until { # what comes up to and with the pattern's match
	my ($w, $re, $seconds) = @_;
	my $until = time + ($seconds // $w->{timeout});
	while (1) {
		return substr $w->{in}, 0, $+[0], '' if $w->{in} =~ /$re/;
		$w->fill($until) or return;
	}
}
sub exactly {
	my ($w, $n, $seconds) = @_;
	my $until = time + ($seconds // $w->{timeout});
	while (length $w->{in} < $n) { $w->fill($until) or return }
	return substr $w->{in}, 0, $n, '';
}
sub rest { # all until the other side closes; nothing when it does not in time
	my ($w, $seconds) = @_;
	my $until = time + ($seconds // $w->{timeout});
	while (1) {
		my $r = $w->fill($until);
		return unless defined $r;
		last unless $r;
	}
	return substr $w->{in}, 0, length $w->{in}, '';
}
sub closed { my ($w, $seconds) = @_; defined $w->rest($seconds) }
# One response: { status, head, body, complete }; nothing when none came. method: HEAD has no body.
sub response {
	my ($w, $method, $seconds) = @_;
	my $head = $w->until(qr/\r\n\r\n/, $seconds) // return;
	my $r = bless { head => $head, body => '', complete => 1 }, 'Lab::Wire::Response';
	$head =~ m{^HTTP/1\.1 (\d{3}) [^\r\n]*\r\n} or die "no status line: $head";
	$r->{status} = $1;
	die "bad line in head: $_" for grep { !/^[!#\$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[^\x00-\x08\x0a-\x1f\x7f]*$/ } (split /\r\n/, $head)[1 .. (() = $head =~ /\r\n/g) - 2];
	return $r if ($method // '') eq 'HEAD' || $r->{status} =~ /^(?:1..|204|304)$/;
	if (($r->header('transfer-encoding') // '') =~ /chunked/) {
		while (1) {
			my $line = $w->until(qr/\r\n/, $seconds);
			if (!defined $line || $line !~ /^([0-9a-fA-F]+)\r\n$/) { $r->{complete} = 0; last }
			my $n = hex $1;
			if ($n == 0) {
				$r->{trailers} = '';
				while (1) {
					my $t = $w->until(qr/\r\n/, $seconds);
					if (!defined $t) { $r->{complete} = 0; last }
					last if $t eq "\r\n";
					$r->{trailers} .= $t;
				}
				last;
			}
			my $data = $w->exactly($n + 2, $seconds);
			if (!defined $data) { $r->{body} .= substr $w->{in}, 0, length $w->{in}, ''; $r->{complete} = 0; last }
			die 'no CRLF behind a chunk' unless $data =~ s/\r\n\z//;
			$r->{body} .= $data;
		}
	} elsif (defined(my $n = $r->header('content-length'))) {
		my $data = $w->exactly($n, $seconds);
		if (defined $data) { $r->{body} = $data } else { $r->{body} = substr $w->{in}, 0, length $w->{in}, ''; $r->{complete} = 0 }
	} else {
		$r->{body} = $w->rest($seconds);
		$r->{until_close} = 1;
	}
	return $r;
}
sub get { my ($w, $target, $host, @headers) = @_; $w->send("GET $target HTTP/1.1\r\nHost: $host\r\n" . join('', map { "$_\r\n" } @headers) . "\r\n"); $w->response }
sub tunnel { # CONNECT: the answer
	my ($w, $where) = @_;
	$w->send("CONNECT $where HTTP/1.1\r\nHost: $where\r\n\r\n");
	return $w->response('HEAD');
}
sub tls { # in the tunnel: name for SNI and verification, or options of IO::Socket::SSL
	my ($w, $name, %o) = @_;
	require IO::Socket::SSL;
	my $s = IO::Socket::SSL->start_SSL($w->{s}, SSL_hostname => $name, SSL_verifycn_name => $name, SSL_verifycn_scheme => 'http', SSL_ca_file => $w->{ca},
	                                   SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_PEER(), Timeout => 15 * Lab::slow(), %o);
	if (!$s) { $w->{error} = $IO::Socket::SSL::SSL_ERROR; return }
	$w->{s} = $s;
	return $w;
}
sub close { my ($w) = @_; CORE::close $w->{s} }
sub reset { my ($w) = @_; setsockopt $w->{s}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack('ii', 1, 0); CORE::close $w->{s} } # RST

package Lab::Wire::Response;
sub status { $_[0]{status} }
sub body { $_[0]{body} }
sub complete { $_[0]{complete} }
sub headers { my ($r, $name) = @_; my @v = $r->{head} =~ /^\Q$name\E:[ \t]*(.*?)[ \t]*\r?$/img; @v }
sub header { my ($r, $name) = @_; my @v = $r->headers($name); @v ? join(', ', @v) : undef }
sub hit { my ($c) = @_; ($c->header('cache-status') // '') =~ /\bhit\b/ ? 1 : 0 }
1;
