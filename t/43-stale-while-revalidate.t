# A stale response that may be served while it is renewed (RFC 5861 3, forced SWR): nobody waits, and a thousand at a time have the origin asked
# once, in all workers together. What it answers replaces what is stored; the client is told by Cache-Status.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Lab;
use POSIX ();
use Test::More;

use constant { CROWD => 1000, CHILDREN => 4 };

# So many requests at the same time, each on a connection of its own: all connections stand before the first request goes out, and all requests
# are out before the first answer is read. How many answers of each kind there were: "status hit|miss body ttl>=0|ttl<0".
sub crowd {
	my ($proxy, $url) = @_;
	my ($authority) = $url =~ m{^http://([^/]+)};
	my @children;
	for (1 .. CHILDREN) {
		pipe my $r, my $w or die "pipe: $!";
		pipe my $go_r, my $go_w or die "pipe: $!";
		my $pid = fork // die "fork: $!";
		if (!$pid) {
			Lab::in_child();
			close $go_w;
			my @s = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $proxy->port, Timeout => 30) // () } 1 .. CROWD / CHILDREN;
			syswrite $w, '.';
			sysread $go_r, my $go, 1;
			syswrite $_, "GET $url HTTP/1.1\r\nHost: $authority\r\nConnection: close\r\n\r\n" for @s;
			my %kinds;
			for my $s (@s) {
				my $all = '';
				1 while IO::Select->new($s)->can_read(60) && sysread $s, $all, 65536, length $all;
				my ($status) = $all =~ m{^HTTP/1\.1 (\d+)};
				my ($cs) = $all =~ /^cache-status: (.*?)\r$/im;
				my ($body) = $all =~ /\r\n\r\n(.*)/s;
				$kinds{join ' ', $status // 'none', ($cs // '') =~ /hit/ ? 'hit' : 'miss', $body // '', ($cs // '') =~ /ttl=/ ? 'stale' : 'fresh'}++;
			}
			syswrite $w, JSON::PP->new->encode(\%kinds);
			POSIX::_exit(0);
		}
		close $w;
		close $go_r;
		push @children, [$pid, $r, $go_w];
	}
	sysread $_->[1], my $ready, 1 for @children;
	close $_->[2] for @children; # go
	my %all;
	for (@children) {
		my ($pid, $r) = @$_;
		local $/;
		my $kinds = JSON::PP->new->decode(<$r> || '{}');
		$all{$_} += $kinds->{$_} for keys %$kinds;
		waitpid $pid, 0;
	}
	return \%all;
}
sub total { my ($kinds) = @_; my $n = 0; $n += $_ for values %$kinds; return $n }

my $policy = lab_dir() . '/swr.policy';
spew($policy, qq(rules = ( { type = "PathContains"; match = "/forced"; policy = "Standard"; forced_swr_seconds = 600; } );\n));
chmod 0644, $policy;
my $origin = origin();
my $proxy = proxy(workers => 2, policy_file => $policy, allow_policy_header => 'true');
sub stored { # its document is committed; asked for in a way that has nothing revalidated
	my ($url) = @_;
	return wait_until(sub { $proxy->curl('-H', 'X-Passsage-Policy: NoRefresh', '-H', 'Cache-Control: only-if-cached', $url)->status == 200 }, 5, 'stored');
}

for (['the origin\'s stale-while-revalidate', '/swr', 'max-age=0, stale-while-revalidate=600'], ['forced SWR', '/forced', 'no-cache']) {
	my ($what, $path, $cc) = @$_;
	for my $answer ('changed', 'same') {
		subtest "$what, a thousand at once, the origin says $answer" => sub {
			my $url = $origin->url("$path-$answer");
			$origin->set("$path-$answer" => { cc => $cc, body => 'old', etag => '"1"', conditional => 1 });
			$proxy->curl($url);
			ok stored($url), 'stored';
			my $before = $origin->hits("$path-$answer");
			# from now on what comes is fresh for long: a second revalidation could only be of the old one
			$origin->set("$path-$answer" => { cc => 'max-age=600', $answer eq 'changed' ? (body => 'new', etag => '"2"') : (body => 'old', etag => '"1"'), conditional => 1 });
			my $paused = $origin->paused;
			$origin->pause_after(-1, "$path-$answer");
			my $m = $proxy->counted(sub {
				my $kinds = crowd($proxy, $url);
				is total($kinds), CROWD, 'a thousand answers';
				is $kinds->{'200 hit old stale'} // 0, CROWD, '… all the stale one, while the origin thinks' or diag explain $kinds;
				ok $origin->wait_paused($paused + 1), '… which it does';
			});
			is $origin->hits("$path-$answer") - $before, 1, '… about one request';
			is $m->{background}, 1, '… as is counted';
			$origin->resume;
			my $want = $answer eq 'changed' ? 'new' : 'old';
			ok wait_until(sub { my $r = $proxy->curl($url); $r->body eq $want && $r->hit && ($r->header('Cache-Status') // '') !~ /ttl=/ }, 10, 'the renewed one'), 'then what is stored is renewed';
			is $origin->hits("$path-$answer") - $before, 1, '… by that request';
		};
	}
}

subtest 'a thousand at once, while the answer comes and goes' => sub { # nothing is held: some find it stale, some being renewed, some renewed
	for my $round (1 .. 3) {
		my $path = "/swr-quick$round";
		$origin->set($path => { cc => 'max-age=0, stale-while-revalidate=600', body => 'old', etag => '"1"', conditional => 1 });
		$proxy->curl($origin->url($path));
		stored($origin->url($path));
		my $before = $origin->hits($path);
		$origin->set($path => { cc => 'max-age=600', body => 'new', etag => '"2"', conditional => 1 });
		my $kinds = crowd($proxy, $origin->url($path));
		is total($kinds), CROWD, "round $round: a thousand answers";
		is +(grep { !/^200 hit (?:old stale|new fresh)$/ } keys %$kinds), 0, '… each the old or the new one' or diag explain $kinds;
		ok wait_until(sub { $proxy->curl($origin->url($path))->body eq 'new' }, 5), '… which is then there';
		is $origin->hits($path) - $before, 1, '… and one revalidation';
	}
};

subtest 'bounded' => sub { # 64 in each worker (server/worker.h), so that they do not crowd out clients
	my $many = origin('*' => { cc => 'max-age=0, stale-while-revalidate=600', body => 'old', etag => '"1"' });
	my $p = proxy(workers => 1, allow_policy_header => 'true', upstream_host_connections => 200);
	my $w = $p->wire;
	my $ask = sub { $w->get($many->url("/$_[0]"), $many->authority('http'), @_[1 .. $#_]) };
	$ask->($_) for 1 .. 100;
	wait_until(sub { $ask->(100, 'X-Passsage-Policy: NoRefresh', 'Cache-Control: only-if-cached')->status == 200 }, 5, 'stored');
	$many->pause_after(-1);
	my $m = $p->counted(sub { is scalar(grep { $ask->($_)->body eq 'old' } 1 .. 100), 100, 'a hundred stale ones at a time, all served' });
	is $m->{background}, 64, '… 64 are asked about';
	$many->resume;
	ok wait_until(sub { $ask->(100); $many->hits('/100') > 1 }, 5), '… the others when they are wanted again';
	$p->stop;
};

subtest 'the origin fails meanwhile' => sub {
	my $url = $origin->url('/swr-fails');
	$origin->set('/swr-fails' => { cc => 'max-age=0, stale-while-revalidate=600', body => 'old', etag => '"1"' });
	$proxy->curl($url);
	stored($url);
	$origin->set('/swr-fails' => { status => 503, body => 'sorry' });
	my $seen = 0;
	ok wait_until(sub { $seen += $proxy->curl($url)->body ne 'old'; $origin->hits('/swr-fails', 503) >= 1 }, 5), 'the origin said 503';
	is $seen, 0, '… which nobody sees';
	is $proxy->curl($url)->body, 'old', '… and what is stored stays';
};

subtest 'what the origin is asked' => sub {
	my $url = $origin->url('/swr-asked');
	$origin->set('/swr-asked' => { cc => 'max-age=0, stale-while-revalidate=600', body => 'old', etag => '"1"', conditional => 1 });
	$proxy->curl($url);
	my @own = ('-H', 'Cache-Control: only-if-cached, max-stale', '-H', 'Accept-Language: de', '-r', '0-1', '-H', 'X-Passsage-Policy: Standard');
	ok wait_until(sub { $proxy->curl(@own, $url); $origin->hits('/swr-asked') >= 2 }, 5), 'it is asked in the background';
	my $h = $origin->last('/swr-asked')->{headers};
	is $h->{'accept-language'}, 'de', '… with the fields of the request';
	is $h->{'if-none-match'}, '"1"', '… whether what is stored is still good';
	is $h->{$_}, undef, "… without $_, which was said of the client's own answer" for qw(cache-control range x-passsage-policy);
};

done_testing;
