# Load.pm - clients that ask all the time, each one request after the other on a connection of its own, know what they must get, and write down
# what they got. They are processes: nothing that the test does holds them up.
#
#   my $load = Lab::Load->start(port => $p->port, clients => 4, seed => 1, next => sub { my ($number) = @_; ... { name => '/a', url => $url, body => $bytes } });
#   next: also headers => [lines], as => 'looked' (what a right answer is written down as; 'done'), may => qr/^504$/ (other statuses that count for nothing)
#   seen => sub { my ($ask, $response) = @_ }: after each right answer, in the client's process
#   $load->logged: { what => { name => times } }; what: done (or as), wrong (bytes), statusNNN, broken (the connection, on the way), refused (nobody
#   listened), stuck (no whole answer within patience seconds)
package Lab::Load;
use strict;
use warnings;
use IO::Socket::INET;
use POSIX ();
use Time::HiRes 'time', 'sleep', 'alarm';

my $n;
sub start {
	my ($class, %o) = @_;
	my $self = bless { base => Lab::lab_dir() . '/load.' . ++$n, owner => $$, pids => [], %o }, $class;
	$self->{clients} //= 4;
	for my $number (1 .. $self->{clients}) {
		Lab::watchdog();
		my $pid = fork // die "fork: $!";
		if (!$pid) {
			Lab::in_child();
			setpgrp;
			eval { $self->client($number); 1 } or print STDERR "# client: $@";
			POSIX::_exit(0);
		}
		setpgrp $pid, $pid;
		Lab::watch($pid);
		push @{$self->{pids}}, $pid;
	}
	return $self;
}
sub client {
	my ($self, $number) = @_;
	srand +($self->{seed} // 0) + 1000 * $number;
	open my $out, '>>', "$self->{base}.$number" or die "$self->{base}: $!";
	$out->autoflush(1);
	while (!-e "$self->{base}.enough") {
		my $ask = $self->{next}->($number);
		my ($r, $why) = ask($self->{port}, $ask->{url}, $ask->{headers}, $self->{patience});
		my $what = !$r ? $why : $r->{status} != 200 ? "status$r->{status}" : $r->{body} ne $ask->{body} ? 'wrong' : $ask->{as} // 'done';
		next if $r && $ask->{may} && $r->{status} =~ $ask->{may};
		print $out "$what $ask->{name}\n";
		$self->{seen}->($ask, $r) if $self->{seen} && $what eq ($ask->{as} // 'done');
		sleep $why && $why eq 'refused' ? 0.05 : rand 0.02; # more requests prove no more
	}
}
sub ask { # ({ status head body }), or (undef, why)
	my ($port, $url, $headers, $patience) = @_;
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) or return (undef, 'refused');
	my $all = '';
	my ($host) = $url =~ m{//([^/]+)};
	my $ended = eval {
		local $SIG{ALRM} = sub { die "stuck\n" };
		local $SIG{PIPE} = 'IGNORE';
		alarm(($patience // 20) * Lab::slow());
		print $s join "\r\n", "GET $url HTTP/1.1", "Host: $host", 'Connection: close', @{$headers // []}, '', '' or die "broken\n";
		while (1) { my $n = sysread $s, $all, 65536, length $all; die "broken\n" unless defined $n; last unless $n }
		alarm 0;
		1;
	};
	alarm 0;
	if (!$ended) { my ($why) = $@ =~ /(.*)/; return (undef, $why) }
	my ($head, $body) = split /\r\n\r\n/, $all, 2;
	return (undef, 'broken') unless defined $body && $head =~ m{^HTTP/1\.1 (\d+)};
	my $status = $1;
	my ($length) = $head =~ /^content-length:\s*(\d+)/im;
	return (undef, 'broken') if !defined $length || length $body < $length;
	return { status => $status, head => $head, body => $body };
}
sub logged { my ($self) = @_; my %is; for my $i (1 .. $self->{clients}) { for (split /\n/, Lab::slurp("$self->{base}.$i") // '') { my ($what, $name) = split / /; $is{$what}{$name}++ if defined $name } } return \%is }
sub counts { my ($self) = @_; my $is = $self->logged; my %n; for my $w (keys %$is) { $n{$w} += $_ for values %{$is->{$w}} } return \%n }
sub stop { my ($self) = @_; Lab::spew("$self->{base}.enough", ''); for (@{$self->{pids}}) { waitpid $_, 0; Lab::unwatch($_) } $self->{pids} = []; return $self->logged }
sub DESTROY { my ($self) = @_; return if $self->{owner} != $$; local ($?, $!); for (@{$self->{pids}}) { kill 'KILL', $_; waitpid $_, 0; Lab::unwatch($_) } }
1;
