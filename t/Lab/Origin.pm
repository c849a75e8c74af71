# Origin.pm - a test origin of our own, http and https: one process a connection, every path scripted, all requests remembered.
#
#   origin('/path' => { ... }, '/other' => sub { my ($c, $req) = @_; ... }, tls => 'expired')
#   status reason headers => [name => value, ...]   body => text | size => N (pattern(N, seed))   cc etag lm vary: the header of that name
#   conditional => 1   answers 304 to If-None-Match and If-Modified-Since by etag and lm, counted apart (->hits(path, 304))
#   ranges => 1        answers Range with 206
#   chunked => 1 or [pieces]   trailers => [..]   until_close => 1   interim => [[103, name => value], ...]
#   delay => seconds before the head    pause_after => bytes of the body, then until resume (-1: before the head)
#   break_after => bytes of the body, then closes (FIN; reset => 1: RST)    raw => bytes said instead of all this, then closes
# A code handler gets the connection ($c->send(bytes), $c->read_body, $c->gate(name): waits until $origin->open(name), $c->respond(spec)) and
# the request { method target path head headers }; it runs in the connection's process.
# ->set(path, spec) and ->set('*', spec) change it while it runs; ->hits(path) ->requests(path) ->last(path) tell what came.
package Lab::Origin;
use strict;
use warnings;
use Digest::SHA;
use Fcntl ':flock';
use IO::Select;
use IO::Socket::IP;
use JSON::PP;
use POSIX ();
use Time::HiRes 'time', 'sleep';

my $json = JSON::PP->new->canonical->latin1;
my $block = join '', map { substr Digest::SHA::sha512_base64("pattern $_") x 2, 0, 101 } 1 .. 997; # a prime a prime times: no two ranges look alike
sub pattern { my ($n, $seed) = @_; my $b = defined $seed ? "[$seed]" . $block : $block; substr $b x (1 + int($n / length $b)), 0, $n }

sub start {
	my ($class, $dir, @script) = @_;
	my (%spec, %code, %o);
	while (my ($k, $v) = splice @script, 0, 2) {
		if ($k =~ m{^/|^\*$}) { if (ref $v eq 'CODE') { $code{$k} = $v } else { $spec{$k} = $v } } else { $o{$k} = $v }
	}
	mkdir $dir, 0755 or die "$dir: $!";
	mkdir "$dir/gates", 0755;
	my $host = $o{host} // '127.0.0.1';
	my $http = IO::Socket::IP->new(LocalHost => $host, LocalPort => $o{port} // 0, Listen => 1024, ReuseAddr => 1) or die "listen: $@";
	my $https = IO::Socket::IP->new(LocalHost => $host, LocalPort => $o{tls_port} // 0, Listen => 1024, ReuseAddr => 1) or die "listen: $@";
	my @leaf = Lab::leaf($o{tls} // 'good');
	my $self = bless { dir => $dir, host => $host, name => $o{name} // ($host eq '127.0.0.1' ? 'localhost' : $host =~ /:/ ? "[$host]" : $host), http => $http->sockport,
	                   https => $https->sockport, spec => \%spec, owner => $$ }, $class;
	$self->publish;
	pipe my $life_r, my $life_w or die "pipe: $!";
	Lab::watchdog();
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgrp;
		close $life_w;
		Lab::in_child();
		$0 = 'lab origin';
		eval { $self->serve($http, $https, \%code, \@leaf, $life_r); 1 } or print STDERR "# origin: $@";
		POSIX::_exit(0);
	}
	setpgrp $pid, $pid;
	Lab::watch($pid);
	close $life_r;
	@$self{qw(pid life)} = ($pid, $life_w);
	return $self;
}
sub url { my ($self, $path, $scheme) = @_; $scheme //= 'http'; "$scheme://$self->{name}:$self->{$scheme}$path" }
sub https { my ($self, $path) = @_; $self->url($path, 'https') }
sub authority { my ($self, $scheme) = @_; "$self->{name}:" . $self->{$scheme // 'https'} }
sub publish { my ($self) = @_; Lab::spew("$self->{dir}/spec.new", $json->encode($self->{spec})); rename "$self->{dir}/spec.new", "$self->{dir}/spec" or die "$!" }
sub set { my ($self, %s) = @_; $self->{spec}{$_} = $s{$_} for keys %s; $self->publish }
sub pause_after { my ($self, $n, $path) = @_; my $p = $path // '*'; $self->{spec}{pause} = { path => $p, after => $n }; unlink "$self->{dir}/gates/pause"; $self->publish }
sub resume { my ($self) = @_; delete $self->{spec}{pause}; $self->publish; $self->open('pause') }
sub open { my ($self, $gate) = @_; Lab::spew("$self->{dir}/gates/$gate", '') }
sub events { my ($self) = @_; map { $json->decode($_) } split /\n/, Lab::slurp("$self->{dir}/log") // '' }
sub requests { my ($self, $path) = @_; grep { $_->{event} eq 'request' && (!defined $path || $_->{target} eq $path) } $self->events }
sub last { my ($self, $path) = @_; ($self->requests($path))[-1] }
sub hits { my ($self, $path, $status) = @_; scalar grep { !defined $status || ($_->{event} eq 'answer' && $_->{status} == $status) }
           grep { $_->{event} eq (defined $status ? 'answer' : 'request') && (!defined $path || $_->{target} eq $path) } $self->events }
sub connections { my ($self) = @_; scalar grep { $_->{event} eq 'connection' } $self->events }
sub paused { my ($self) = @_; scalar grep { $_->{event} eq 'paused' } $self->events }
sub wait_paused { my ($self, $n, $seconds) = @_; Lab::wait_until(sub { $self->paused >= ($n // 1) }, $seconds, 'the origin to pause') }
sub wait_event { my ($self, $event, $n, $seconds) = @_; Lab::wait_until(sub { ($n // 1) <= grep { $_->{event} eq $event } $self->events }, $seconds, "event $event") }
sub forget { my ($self) = @_; unlink "$self->{dir}/log" }
sub stop { my ($self) = @_; return unless $self->{pid} && $self->{owner} == $$; local ($?, $!); kill 'KILL', -$self->{pid}; waitpid $self->{pid}, 0; Lab::unwatch($self->{pid}); delete $self->{pid} }
sub DESTROY { $_[0]->stop }

# ---- the origin's own processes

sub note {
	my ($self, %e) = @_;
	CORE::open my $h, '>>', "$self->{dir}/log" or return;
	syswrite $h, $json->encode({ %e, time => time }) . "\n"; # one write: appended whole
}
sub serve {
	my ($self, $http, $https, $code, $leaf, $life) = @_;
	my $select = IO::Select->new($http, $https, $life);
	$SIG{CHLD} = 'IGNORE';
	$SIG{PIPE} = 'IGNORE';
	while (1) {
		for my $s ($select->can_read) {
			if ($s == $life) { kill 'KILL', -$$; POSIX::_exit(0) }
			my $c = $s->accept or next;
			my $pid = fork // next;
			if (!$pid) {
				close $http; close $https; close $life;
				eval { $self->connection($c, $s == $https, $code, $leaf); 1 } or do { my $e = $@; $self->note(event => 'trouble', what => "$e") if $e !~ /^gone/ };
				POSIX::_exit(0);
			}
			close $c;
		}
	}
}
sub connection {
	my ($self, $s, $tls, $code, $leaf) = @_;
	$self->note(event => 'connection', tls => $tls ? 1 : 0);
	if ($tls) {
		require IO::Socket::SSL;
		$s = IO::Socket::SSL->start_SSL($s, SSL_server => 1, SSL_cert_file => $leaf->[0], SSL_key_file => $leaf->[1], SSL_verify_mode => 0, SSL_alpn_protocols => ['http/1.1'])
			or die "gone: $IO::Socket::SSL::SSL_ERROR";
	}
	setsockopt $s, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
	my $c = bless { s => $s, in => '', origin => $self }, 'Lab::Origin::Connection';
	while (defined(my $head = $c->until(qr/\r\n\r\n/))) {
		my ($line, $fields) = split /\r\n/, $head, 2;
		my ($method, $target) = split / /, $line;
		my %h;
		while ($fields =~ /^([^:\r\n]+):[ \t]*(.*?)[ \t]*\r$/mg) { my $k = lc $1; $h{$k} = defined $h{$k} ? "$h{$k}, $2" : $2 }
		(my $path = $target) =~ s/\?.*//;
		my $req = { method => $method, target => $target, path => $path, head => $head, headers => \%h };
		$c->{req} = $req;
		$c->{body_read} = 0;
		my $spec = $json->decode(Lab::slurp("$self->{dir}/spec"));
		my $how = $spec->{$target} // $code->{$target} // $spec->{$path} // $code->{$path} // $spec->{'*'} // $code->{'*'} // { status => 404, body => "no $target here\n" };
		if (ref $how eq 'CODE' || $how->{early}) {
			$self->note(event => 'request', %$req, tls => $tls ? 1 : 0);
		} else {
			my $body = $c->read_body;
			$self->note(event => 'request', %$req, tls => $tls ? 1 : 0, body_length => length $body, body_sha256 => Digest::SHA::sha256_hex($body), trailers => $c->{trailers},
			            length $body < 4096 ? (body => $body) : ());
		}
		my $p = $spec->{pause};
		local $c->{pause} = $p && ($p->{path} eq '*' || $p->{path} eq $target) ? $p->{after} : undef;
		my $more = ref $how eq 'CODE' ? $how->($c, $req) : $c->respond($how);
		last if !$more || ($h{connection} // '') =~ /\bclose\b/i;
		$c->read_body unless $c->{body_read};
	}
	close $s;
}

package Lab::Origin::Connection;
use Time::HiRes 'time', 'sleep';
sub send {
	my ($c, $data) = @_;
	my $off = 0;
	while ($off < length $data) {
		my $n = syswrite $c->{s}, $data, length($data) - $off > 262144 ? 262144 : length($data) - $off, $off;
		if (!defined $n) {
			next if $!{EINTR} || $!{EAGAIN};
			$c->{origin}->note(event => 'gone', target => $c->{req}{target});
			die "gone\n";
		}
		$off += $n;
	}
	return 1;
}
sub fill { my ($c) = @_; my $n = sysread $c->{s}, $c->{in}, 262144, length $c->{in}; return $n }
sub until { my ($c, $re) = @_; while (1) { return substr $c->{in}, 0, $+[0], '' if $c->{in} =~ /$re/; $c->fill or return } }
sub exactly { my ($c, $n) = @_; while (length $c->{in} < $n) { $c->fill or die "gone\n" } return substr $c->{in}, 0, $n, '' }
sub read_body {
	my ($c) = @_;
	my $h = $c->{req}{headers};
	return '' if $c->{body_read}++;
	$c->{trailers} = '';
	my $has = $h->{'transfer-encoding'} || $h->{'content-length'};
	$c->send("HTTP/1.1 100 Continue\r\n\r\n") if $has && ($h->{expect} // '') =~ /100-continue/i;
	if (($h->{'transfer-encoding'} // '') =~ /chunked/) {
		my $body = '';
		while (1) {
			my $n = hex(($c->until(qr/\r\n/) // die "gone\n") =~ /^([0-9a-fA-F]+)/ ? $1 : die "bad chunk\n");
			last if $n == 0;
			$body .= $c->exactly($n);
			$c->exactly(2);
		}
		while (1) { my $t = $c->until(qr/\r\n/) // die "gone\n"; last if $t eq "\r\n"; $c->{trailers} .= $t }
		return $body;
	}
	return $c->exactly($h->{'content-length'}) if $h->{'content-length'};
	return '';
}
sub gate { my ($c, $name) = @_; $c->{origin}->note(event => 'paused', gate => $name, target => $c->{req}{target}); sleep 0.005 until -e "$c->{origin}{dir}/gates/$name"; 1 }
sub respond {
	my ($c, $spec) = @_;
	my %s = %$spec;
	my $req = $c->{req};
	if (defined $s{raw}) { $c->send($s{raw}); return 0 }
	my $pause = $s{pause_after} // $c->{pause};
	sleep $s{delay} if $s{delay};
	if ($s{interim}) { for my $i (@{$s{interim}}) { my ($n, @h) = @$i; $c->send("HTTP/1.1 $n Interim\r\n" . fields(@h) . "\r\n") } }
	$c->gate('pause') if defined $pause && $pause < 0;
	my $body = $s{body} // Lab::Origin::pattern($s{size} // 0, $s{seed});
	my ($status, @h) = ($s{status} // 200, @{$s{headers} // []});
	push @h, 'Cache-Control' => $s{cc} if defined $s{cc};
	push @h, ETag => $s{etag} if defined $s{etag};
	push @h, 'Last-Modified' => $s{lm} if defined $s{lm};
	push @h, Vary => $s{vary} if defined $s{vary};
	push @h, Date => POSIX::strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime) unless grep { lc eq 'date' } @h;
	my $rh = $req->{headers};
	if ($s{conditional} && ((defined $s{etag} && ($rh->{'if-none-match'} // '') eq $s{etag}) ||
	                        (!defined $rh->{'if-none-match'} && defined $s{lm} && ($rh->{'if-modified-since'} // '') eq $s{lm}))) {
		$c->{origin}->note(event => 'answer', target => $req->{target}, status => 304);
		return $c->send("HTTP/1.1 304 Not Modified\r\n" . fields(@h) . "\r\n");
	}
	if ($s{ranges}) {
		push @h, 'Accept-Ranges' => 'bytes';
		if (($rh->{range} // '') =~ /^bytes=(\d+)-(\d*)$/ && $1 < length $body) {
			my ($a, $b) = ($1, length $2 ? $2 : length($body) - 1);
			$b = length($body) - 1 if $b >= length $body;
			$status = 206;
			push @h, 'Content-Range' => "bytes $a-$b/" . length $body;
			$body = substr $body, $a, $b - $a + 1;
		}
	}
	$c->{origin}->note(event => 'answer', target => $req->{target}, status => $status);
	my $none = $req->{method} eq 'HEAD' || $status == 204 || $status == 304;
	my $reason = $s{reason} // ($status == 200 ? 'OK' : 'Status');
	my $close = $s{until_close} || $s{close};
	push @h, Connection => 'close' if $close;
	if ($s{chunked}) { push @h, 'Transfer-Encoding' => 'chunked' } elsif (!$s{until_close} && $status != 204 && $status != 304) { push @h, 'Content-Length' => length $body }
	$c->send("HTTP/1.1 $status $reason\r\n" . fields(@h) . "\r\n");
	return !$close if $none;
	my @stops = sort { $a <=> $b } grep { defined && $_ >= 0 } $pause, $s{break_after};
	my $off = 0;
	my $piece = sub {
		my ($p) = @_;
		return $c->send($p) unless $s{chunked};
		return if $p eq '';
		$c->send(sprintf("%x\r\n", length $p) . $p . "\r\n");
	};
	for my $stop (@stops) {
		$stop = length $body if $stop > length $body;
		$piece->(substr $body, $off, $stop - $off);
		$off = $stop;
		$c->gate('pause') if defined $pause && $stop == $pause;
		if (defined $s{break_after} && $stop == $s{break_after}) {
			setsockopt $c->{s}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack('ii', 1, 0) if $s{reset};
			if ($c->{s}->can('stop_SSL')) { CORE::close $c->{s} } # no close_notify matters not: the length tells
			return 0;
		}
	}
	if (ref $s{chunked}) { $piece->($_) for @{$s{chunked}} } else { my $rest = substr $body, $off; if ($s{chunked}) { $piece->($_) for $rest =~ /(.{1,10000})/gs } else { $c->send($rest) } }
	$c->send("0\r\n" . fields(@{$s{trailers} // []}) . "\r\n") if $s{chunked};
	return !$close;
}
sub fields { my $t = ''; while (my ($k, $v) = splice @_, 0, 2) { $t .= "$k: $v\r\n" } $t }
1;
