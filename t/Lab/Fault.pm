# Fault.pm - stands between passsage and a real S3 or Elasticsearch: passes on, counts what is asked by its kind, and misbehaves as told.
#
#   my $f = Lab::Fault->start(kind => 's3', to => '127.0.0.1:7070');      # $f->url, $f->port
#   $f->set(all => { do => 'down' });  $f->set(get => { do => 'wrong' }, put => { do => 'status', status => 503, code => 'SlowDown' });  $f->heal
#   $f->count('put')  requests of that kind that were answered; $f->count('put', 200) so answered; $f->begun('put'); $f->forget
#
# Kinds of S3: get range head put part start finish abort delete list check; of Elasticsearch: bulk mget search update doc create other.
# What it does, for all kinds or for one:
#   down      refuses connections and breaks those that there are (for all only)
#   hole      takes requests and never says a word
#   slow      waits delay seconds before it answers; rate: bytes a second, either way
#   status    answers status, with an S3 or Elasticsearch error of that code, without asking the real server
#   break     takes half of the request's body, then breaks the connection
#   cut       sends half of the answer's body, then breaks the connection
#   short     the same, and says that this is all there is
#   wrong     the real answer with one byte in the middle changed
#   garbage   200 and a body that is neither JSON nor XML
#   noise     bytes that are no HTTP
#   items     of a bulk request: answers status and code for each item (share => n: for each n-th only, the others are done)
# first => n: only the first n requests of that kind since set; share => n: each n-th only.
package Lab::Fault;
use strict;
use warnings;
use Digest::SHA;
use IO::Select;
use IO::Socket::INET;
use IO::Uncompress::Gunzip ();
use JSON::PP;
use POSIX ();
use Socket ();
use Time::HiRes 'time', 'sleep';

my $json = JSON::PP->new->canonical->latin1;

sub start {
	my ($class, %o) = @_;
	my $dir = Lab::lab_dir() . '/fault.' . ++$Lab::seq;
	mkdir $dir, 0755 or die "$dir: $!";
	my $listen = listen_on(0) or die "listen: $@";
	my $self = bless { dir => $dir, kind => $o{kind}, to => $o{to}, port => $listen->sockport, owner => $$, version => 0 }, $class;
	$self->publish({});
	socketpair my $ours, my $theirs, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die "socketpair: $!";
	Lab::watchdog();
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgrp;
		close $ours;
		Lab::in_child();
		$0 = "lab fault $o{kind}";
		eval { $self->serve($listen, $theirs); 1 } or print STDERR "# fault proxy: $@";
		POSIX::_exit(0);
	}
	setpgrp $pid, $pid;
	Lab::watch($pid);
	close $theirs;
	$ours->autoflush(1);
	@$self{qw(pid control)} = ($pid, $ours);
	return $self;
}
sub listen_on { IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $_[0], Listen => 512, ReuseAddr => 1) }
sub port { $_[0]{port} }
sub url { "http://127.0.0.1:$_[0]{port}" }
sub publish { my ($self, $spec) = @_; $self->{spec} = $spec; Lab::spew("$self->{dir}/spec.new", $json->encode({ version => ++$self->{version}, %$spec })); rename "$self->{dir}/spec.new", "$self->{dir}/spec" or die "$!" }
sub set { # replaces what was set before; in force for every request that begins after it returns
	my ($self, %spec) = @_;
	$self->publish(\%spec);
	my $c = $self->{control};
	syswrite $c, (($spec{all}{do} // '') eq 'down' ? 'd' : 'u') or die "the fault proxy is gone\n";
	sysread $c, my $ack, 1 or die "the fault proxy is gone\n";
}
sub heal { $_[0]->set }
sub events { my ($self) = @_; map { $json->decode($_) } split /\n/, Lab::slurp("$self->{dir}/log") // '' }
sub begun { my ($self, $kind) = @_; scalar grep { $_->{event} eq 'begin' && (!defined $kind || $_->{kind} eq $kind) } $self->events }
sub count { my ($self, $kind, $status) = @_; scalar grep { $_->{event} eq 'end' && (!defined $kind || $_->{kind} eq $kind) && (!defined $status || $_->{status} eq $status) } $self->events }
sub counts { my ($self) = @_; my %n; for ($self->events) { $n{$_->{kind}}++ if $_->{event} eq 'begin' } \%n }
sub forget { unlink "$_[0]{dir}/log" }
sub stop { my ($self) = @_; return unless $self->{pid} && $self->{owner} == $$; local ($?, $!); kill 'KILL', -$self->{pid}; waitpid $self->{pid}, 0; Lab::unwatch($self->{pid}); delete $self->{pid} }
sub DESTROY { $_[0]->stop }

# ---- its own processes: one that listens, one a connection

sub note {
	my ($self, %e) = @_;
	open my $h, '>>', "$self->{dir}/log" or return;
	syswrite $h, $json->encode({ %e, time => time }) . "\n"; # one write: appended whole
}
sub spec { my ($self) = @_; $json->decode(Lab::slurp("$self->{dir}/spec")) }
sub serve {
	my ($self, $listen, $control) = @_;
	my $select = IO::Select->new($control, $listen);
	my %child;
	$SIG{PIPE} = 'IGNORE';
	while (1) {
		for my $s ($select->can_read(0.5)) {
			if ($s == $control) {
				my $n = sysread $control, my $what, 1;
				if (!$n) { kill 'KILL', -$$; POSIX::_exit(0) } # the test has gone
				if ($what eq 'd' && $listen) {
					$select->remove($listen);
					close $listen;
					undef $listen;
					kill 'KILL', keys %child;
				}
				if ($what eq 'u' && !$listen) {
					for (1 .. 500) { $listen = listen_on($self->{port}) and last; sleep 0.01 }
					die "the port is taken\n" unless $listen;
					$select->add($listen);
				}
				syswrite $control, '+';
			} else {
				my $c = $listen->accept or next;
				my $pid = fork // next;
				if (!$pid) {
					close $listen;
					close $control;
					eval { $self->connection($c); 1 } or do { my $e = $@; $self->note(event => 'trouble', kind => '', what => "$e") if $e !~ /^gone/ };
					POSIX::_exit(0);
				}
				close $c;
				$child{$pid} = 1;
			}
		}
		while ((my $pid = waitpid -1, POSIX::WNOHANG()) > 0) { delete $child{$pid} }
	}
}
sub kind_of {
	my ($self, $method, $target) = @_;
	my ($path, $query) = split /\?/, $target, 2;
	$query //= '';
	if ($self->{kind} eq 'es') {
		return $1 if $path =~ m{/_(bulk|mget|search|update|doc)(?:/|$)};
		return 'search' if $path =~ m{/_pit$};
		return $method eq 'PUT' && $path =~ m{^/[^_/][^/]*$} ? 'create' : 'other';
	}
	return $query =~ /list-type/ || $method eq 'GET' ? 'list' : 'check' if $path =~ m{^/[^/]+/?$};
	return 'part' if $query =~ /partNumber/;
	return 'start' if $query =~ /^uploads/;
	return { POST => 'finish', DELETE => 'abort' }->{$method} // 'other' if $query =~ /uploadId/;
	return lc $method;
}
sub connection {
	my ($self, $s) = @_;
	setsockopt $s, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
	my $c = Lab::Fault::Pipe->new($s);
	while (defined(my $head = $c->until(qr/\r\n\r\n/))) {
		my ($method, $target) = $head =~ /^(\S+) (\S+)/ or die "gone\n";
		my $kind = $self->kind_of($method, $target);
		$kind = 'range' if $kind eq 'get' && $head =~ /^range:/im && $self->{kind} eq 's3';
		my $spec = $self->spec;
		my $fault = $spec->{$kind} // $spec->{all} // {};
		my $nth = 0;
		if ($fault->{first} || $fault->{share}) { # counted in a file that all connections append to
			open my $h, '>>', "$self->{dir}/nth.$spec->{version}.$kind" or die $!;
			syswrite $h, '.';
			$nth = -s $h;
			$fault = {} if $fault->{first} && $nth > $fault->{first};
			$fault = {} if $fault->{share} && $fault->{do} ne 'items' && $nth % $fault->{share};
		}
		my %e = (kind => $kind, method => $method, target => $target, fault => $fault->{do} // '');
		$self->note(event => 'begin', %e);
		my $status = $self->answer($c, $method, $head, $fault, $spec->{version});
		$self->note(event => 'end', %e, status => $status);
		last if $status eq 'broken' || $head =~ /^connection:\s*close/im;
	}
}
sub reset_now { my ($c) = @_; setsockopt $c->{s}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack('ii', 1, 0); close $c->{s}; 'broken' }
sub answer {
	my ($self, $c, $method, $head, $fault, $version) = @_;
	my $do = $fault->{do} // '';
	my $pace = $do eq 'slow' ? $fault->{rate} : undef;
	if ($do eq 'hole') { # until it is over, or the other side gives up
		my $watch = IO::Select->new($c->{s});
		while ($self->spec->{version} == $version) {
			next unless $watch->can_read(0.05);
			my $n = sysread $c->{s}, my $more, 65536;
			return 'broken' unless $n;
		}
		return 'broken';
	}
	my ($length) = $head =~ /^content-length:\s*(\d+)/im;
	my $chunked = $head =~ /^transfer-encoding:.*chunked/im;
	$c->send("HTTP/1.1 100 Continue\r\n\r\n") if $head =~ s/^expect:[^\r\n]*\r\n//im;
	if ($do eq 'break') { $c->copy($length ? int $length / 2 : 0); return reset_now($c) }
	if ($do =~ /^(?:status|garbage|noise)$/) {
		my $body = $c->body($length, $chunked);
		if ($do eq 'noise') { $c->send("\x16\x03\x00nothing that you know\n" x 20); return reset_now($c) }
		my $status = $do eq 'status' ? $fault->{status} : 200;
		my $text = $do eq 'garbage' ? '<!doctype html><p>{"errors":[nonsense' : $self->{kind} eq 's3'
			? qq(<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>$fault->{code}</Code><Message>As the test says.</Message><RequestId>1</RequestId></Error>)
			: $json->encode({ error => { type => $fault->{code}, reason => 'as the test says', root_cause => [] }, status => $status });
		my $type = $do eq 'garbage' ? 'text/html' : $self->{kind} eq 's3' ? 'application/xml' : 'application/json';
		$c->send("HTTP/1.1 $status As-told\r\nContent-Type: $type\r\nX-Elastic-Product: Elasticsearch\r\nContent-Length: " . length($text) . "\r\n\r\n" . ($method eq 'HEAD' ? '' : $text));
		return $status;
	}
	my @refused;
	my $body;
	if ($do eq 'items') {
		$body = $c->body($length, $chunked);
		if ($head =~ s/^content-encoding:\s*gzip\r\n//im) { IO::Uncompress::Gunzip::gunzip(\(my $in = $body), \$body) or die "gunzip\n" }
		($body, @refused) = refuse($body, $fault->{share} // 1);
		my $ok = grep { !defined } @refused;
		$head =~ s/^(?:content-length|transfer-encoding):[^\r\n]*\r\n//img;
		$head =~ s/\r\n\r\n$/"\r\nContent-Length: " . length($body) . "\r\n\r\n"/e;
		if (!$ok) { return $self->bulk_answer($c, $fault, [], @refused) }
	}
	my $up = IO::Socket::INET->new(PeerAddr => $self->{to}, Timeout => 5) or return reset_now($c);
	setsockopt $up, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
	my $u = Lab::Fault::Pipe->new($up);
	$u->send($head);
	if (defined $body) { $u->send($body) }
	elsif ($chunked) { $u->send(Lab::Fault::Pipe::chunk($c->body(undef, 1)) . "0\r\n\r\n") }
	elsif ($length) { $c->copy($length, $u, $pace) }
	my $answer = $u->until(qr/\r\n\r\n/) // return reset_now($c);
	$answer = $u->until(qr/\r\n\r\n/) // return reset_now($c) while $answer =~ m{^HTTP/1\.1 1\d\d};
	my ($status) = $answer =~ m{^HTTP/1\.1 (\d+)};
	my ($n) = $answer =~ /^content-length:\s*(\d+)/im;
	my $in_chunks = $answer =~ /^transfer-encoding:.*chunked/im;
	sleep $fault->{delay} if $do eq 'slow' && $fault->{delay};
	if ($do eq 'items') {
		my $all = $u->body($n, $in_chunks);
		return $self->bulk_answer($c, $fault, eval { $json->decode($all)->{items} } // [], @refused);
	}
	my $none = $method eq 'HEAD' || $status == 204 || $status == 304;
	if ($do =~ /^(?:cut|short|wrong)$/ && !$none) {
		my $all = $u->body($n, $in_chunks);
		my $half = int length($all) / 2;
		substr($all, $half, 1) ^= "\x55" if $do eq 'wrong' && length $all;
		$answer =~ s/^(?:content-length|transfer-encoding):[^\r\n]*\r\n//img;
		my $say = $do eq 'short' ? $half : length $all;
		$answer =~ s/\r\n\r\n$/\r\nContent-Length: $say\r\n\r\n/;
		$c->send($answer . ($do eq 'wrong' ? $all : substr $all, 0, $half));
		return $do eq 'cut' ? 'broken' : $status; # not reset: the half is to arrive
	}
	$c->send($answer);
	if ($none) { }
	elsif ($in_chunks) { while (1) { my $piece = $u->one_chunk; $c->send($piece eq '' ? "0\r\n\r\n" : Lab::Fault::Pipe::chunk($piece)); last if $piece eq '' } }
	elsif (defined $n) { $u->copy($n, $c, $pace) }
	else { while (defined(my $piece = $u->some)) { $c->send($piece) } return reset_now($c) }
	return $status;
}
# The bulk request without each share-th item; and for each item of it, what it was when it is to be refused, or undef.
sub refuse {
	my ($body, $share) = @_;
	my @lines = split /\n/, $body;
	my ($kept, @refused) = ('');
	while (defined(my $line = shift @lines)) {
		my $action = $json->decode($line);
		my ($verb) = keys %$action;
		my $doc = $verb eq 'delete' ? undef : shift @lines;
		if ((@refused + 1) % $share == 0) { push @refused, [$verb, $action->{$verb}] }
		else { push @refused, undef; $kept .= "$line\n" . (defined $doc ? "$doc\n" : '') }
	}
	return ($kept, @refused);
}
sub bulk_answer {
	my ($self, $c, $fault, $done, @refused) = @_;
	my @items = map { defined $_ ? { $_->[0] => { _index => $_->[1]{_index}, _id => $_->[1]{_id}, status => $fault->{status}, error => { type => $fault->{code}, reason => 'as the test says' } } }
	                             : shift @$done } @refused;
	my $text = $json->encode({ took => 1, errors => JSON::PP::true, items => \@items });
	$c->send("HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\nContent-Length: " . length($text) . "\r\n\r\n$text");
	return 200;
}

# ---- one end of a connection
package Lab::Fault::Pipe;
use Time::HiRes 'time', 'sleep';
sub new { my ($class, $s) = @_; bless { s => $s, in => '' }, $class }
sub fill { my ($c) = @_; while (1) { my $n = sysread $c->{s}, $c->{in}, 262144, length $c->{in}; next if !defined $n && $!{EINTR}; return $n } }
sub until { my ($c, $re) = @_; while (1) { return substr $c->{in}, 0, $+[0], '' if $c->{in} =~ /$re/; $c->fill or return } }
sub exactly { my ($c, $n) = @_; while (length $c->{in} < $n) { $c->fill or die "gone\n" } return substr $c->{in}, 0, $n, '' }
sub some { my ($c) = @_; $c->{in} ne '' or $c->fill or return; return substr $c->{in}, 0, length $c->{in}, '' }
sub send {
	my ($c, $data) = @_;
	for (my $off = 0; $off < length $data;) {
		my $n = syswrite $c->{s}, $data, length($data) - $off, $off;
		next if !defined $n && $!{EINTR};
		die "gone\n" unless defined $n;
		$off += $n;
	}
}
sub chunk { sprintf("%x\r\n", length $_[0]) . "$_[0]\r\n" }
sub one_chunk { # '' is the last
	my ($c) = @_;
	my $n = hex(($c->until(qr/\r\n/) // die "gone\n") =~ /^([0-9a-fA-F]+)/ ? $1 : die "bad chunk\n");
	if ($n == 0) { while (1) { my $t = $c->until(qr/\r\n/) // die "gone\n"; last if $t eq "\r\n" } return '' }
	my $piece = $c->exactly($n);
	$c->exactly(2);
	return $piece;
}
sub body {
	my ($c, $length, $chunked) = @_;
	return $c->exactly($length) if $length;
	return '' unless $chunked;
	my $all = '';
	while ((my $p = $c->one_chunk) ne '') { $all .= $p }
	return $all;
}
sub copy { # that many bytes to the other (none: to nowhere), no faster than so many a second
	my ($c, $n, $to, $rate) = @_;
	my $piece = $rate && $rate < 2621440 ? 1 + int $rate / 20 : 131072;
	my ($begun, $sent) = (time, 0);
	while ($n > 0) {
		my $got = $c->some // die "gone\n";
		if (length $got > $n) { $c->{in} = substr($got, $n, length($got) - $n, '') . $c->{in} }
		$n -= length $got;
		next unless $to;
		if (!$rate) { $to->send($got); next }
		for (my $off = 0; $off < length $got; $off += $piece) {
			my $p = substr $got, $off, $piece;
			$to->send($p);
			$sent += length $p;
			my $wait = $begun + $sent / $rate - time;
			sleep $wait if $wait > 0;
		}
	}
}
1;
