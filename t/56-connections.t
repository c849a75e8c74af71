# Connections to origins are shared out: none, nor nine that never answer, keeps requests to the others waiting.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use Lab;
use Test::More;
use Time::HiRes qw(time);

my $origin = origin(map { ("/$_" => { body => "small $_", cc => 'max-age=60' }) } 1 .. 20);
sub mute { my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 128) or die "socket: $!"; return $s } # takes connections, and says nothing
sub asks { # so many requests to that port, which nobody will answer
	my ($p, $port, $n) = @_;
	return map {
		my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->{port}) or die "proxy: $!";
		syswrite $c, "GET http://127.0.0.1:$port/$_ HTTP/1.1\r\nHost: 127.0.0.1:$port\r\n\r\n";
		$c;
	} 1 .. $n;
}

subtest 'nine tarpits and the others' => sub {
	my $p = proxy(workers => 1); # 512 connections, 64 for one origin, as they are by default
	my @tarpits = map { mute() } 1 .. 9;
	my @held = map { asks($p, $_->sockport, 80) } @tarpits;
	ok $p->wait_metrics(sub { $_->{upstream_requests} >= 9 * 80 }, 20), 'nine origins are asked by more than fit';
	my $t0 = time;
	for my $n (1 .. 20) {
		my $r = $p->curl("-m", 5, $origin->url("/$n"));
		is $r->body, "small $n", "request $n to another origin is answered";
	}
	cmp_ok time - $t0, '<', 5, 'at once';
	close $_ for splice @held, 0, 80; # of the first one
	undef $tarpits[0];
	is $p->curl($origin->url('/1'), '-H', 'Cache-Control: no-cache')->body, 'small 1', 'and when clients have left';
};
done_testing;
