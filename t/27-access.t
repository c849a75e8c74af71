# Who may use the proxy, and for what: clients' addresses, users and passwords, CONNECT's ports, and addresses that no name may lead to.
# Destinations are judged by the address that is dialled: a name server of the attacker's own (t/Lab/names.c plays it) changes its mind.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use MIME::Base64;
use Test::More;
use Time::HiRes 'time';

my ($lan) = grep { /^\d+\.\d+\.\d+\.\d+$/ && !/^127\./ } split ' ', `hostname -I 2>/dev/null` // '';
my $origin = origin('/hello' => { body => 'hello', cc => 'no-store' }, '/kept' => { body => 'kept', cc => 'max-age=600' }, '/slow' => { body => 'slow', cc => 'max-age=600', delay => 1 });
my $port = $origin->{http};
my $authority = $origin->authority('http');

my $names = lab_dir() . '/names';
my %named; # the environment in which rebind.test has the addresses in $names
{
	my $so = lab_dir() . '/names.so';
	my ($s, $out) = run_cmd('cc', '-shared', '-fPIC', '-o', $so, "$FindBin::Bin/Lab/names.c", '-ldl');
	%named = (LD_PRELOAD => $so, LAB_NAMES => $names, $ENV{SAN} ? (ASAN_OPTIONS => ($ENV{ASAN_OPTIONS} // '') . ':verify_asan_link_order=0') : ()) if $s == 0;
	diag $out if $s;
}
sub rebind { spew("$names.new", join '', map { "$_\n" } @_); rename "$names.new", $names }
sub get { # by a client with that address: the response
	my ($proxy, $from, $url, @headers) = @_;
	my $w = $proxy->wire(host => $from);
	my ($host) = $url =~ m{^http://([^/]+)};
	return $w->get($url, $host, @headers);
}
sub tunnel { # the answer to CONNECT, which has a body when it is no
	my ($w, $where) = @_;
	$w->send("CONNECT $where HTTP/1.1\r\nHost: $where\r\n\r\n");
	my $line = $w->until(qr/\r\n/) // return;
	$w->{in} = $line . $w->{in};
	return $w->response($line =~ / 200 / ? 'HEAD' : 'CONNECT');
}
sub forbidden { # the response, the setting it must name, what
	my ($r, $setting, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok $r && $r->status == 403 && $r->body =~ /\Q$setting\E/, $name or diag $r ? $r->{head} . $r->body : 'no answer';
}

SKIP: {
	skip 'this machine has loopback addresses alone', 1 unless $lan;
	skip 'no C compiler for a resolver that lies', 1 unless %named;
	my $far = origin(host => $lan, '/hello' => { body => 'far', cc => 'no-store' }, '/kept' => { body => 'kept far', cc => 'max-age=600' });
	my $proxy = proxy(bind => '0.0.0.0', env => \%named, tls_passthrough => 'rebind.test', ban_seconds => 0);

	subtest "this machine's own addresses are for its own clients" => sub {
		is get($proxy, '127.0.0.1', "http://127.0.0.1:$port/hello")->body, 'hello', 'by address, from this machine';
		for my $host (qw(127.0.0.1 127.0.0.2 localhost LocalHost x.localhost 127.1 127.0.1 2130706433 0x7f000001 0177.0.0.1 0.0.0.0 0 [::1] [::ffff:127.0.0.1] [::] [0:0:0:0:0:0:0:1])) {
			my $r = get($proxy, $lan, "http://$host:$port/hello");
			ok $r && ($r->status == 403 ? $r->body =~ /--loopback-from/ : $r->status == 400 || $r->status == 502), "$host: not from elsewhere" or diag $r ? $r->{head} . $r->body : 'no answer';
		}
		my $w = $proxy->wire(host => $lan);
		forbidden(tunnel($w, "localhost:$origin->{https}"), '--loopback-from', 'nor by CONNECT');
		is $origin->hits('/hello'), 1, 'the origin has heard of none of it';
		is get($proxy, $lan, "http://$lan:$far->{http}/hello")->body, 'far', 'other addresses are open';
	};

	subtest 'names that lead there' => sub {
		rebind('127.0.0.1');
		my $before = $origin->connections;
		forbidden(get($proxy, $lan, "http://rebind.test:$port/hello"), '--loopback-from', 'a name with that address');
		is $origin->connections, $before, '… not even a connection is made';
		is get($proxy, '127.0.0.1', "http://rebind.test:$port/hello")->body, 'hello', 'from this machine it is a name like others';
		forbidden(get($proxy, $lan, "http://rebind.test:$port/hello"), '--loopback-from', 'the connection that this has left is not lent');
		is get($proxy, '127.0.0.1', "http://rebind.test:$port/hello")->body, 'hello', '… and is of use to whom it was made for';
		rebind('169.254.169.254');
		my $t = time;
		forbidden(get($proxy, $_, "http://rebind.test:$origin->{https}/hello"), '--deny-destinations', "a name with the address of metadata, from $_") for $lan, '127.0.0.1';
		forbidden(get($proxy, $_, 'http://169.254.169.254/latest/meta-data/'), '--deny-destinations', "the address itself, from $_") for $lan, '127.0.0.1';
		forbidden(get($proxy, $_, 'http://[fd00:ec2::254]/latest/meta-data/'), '--deny-destinations', "the one of IPv6, from $_") for $lan, '127.0.0.1';
		forbidden(get($proxy, $_, 'http://[::ffff:169.254.169.254]/'), '--deny-destinations', "mapped into IPv6, from $_") for $lan, '127.0.0.1';
		cmp_ok time - $t, '<', 5 * slow(), '… at once';
		rebind('127.0.0.1', $lan);
		is get($proxy, $lan, "http://rebind.test:$far->{http}/hello")->body, 'far', 'of two addresses the one that is open';
		my $r = get($proxy, $lan, "http://rebind.test:$port/hello");
		ok $r->status == 403 || $r->status == 502, '… and never the other one';
	};

	subtest 'a name that changes its mind' => sub {
		rebind($lan);
		is get($proxy, $lan, "http://rebind.test:$far->{http}/kept?1")->body, 'kept far', 'it has an address that is open';
		rebind('127.0.0.1');
		forbidden(get($proxy, $lan, "http://rebind.test:$port/kept"), '--loopback-from', '… and then another: what was found before says nothing');
		my $w = $proxy->wire(host => $lan);
		forbidden(tunnel($w, "rebind.test:$origin->{https}"), '--loopback-from', 'a blind tunnel is refused where it is dialled');
		is $proxy->wire->tunnel("rebind.test:$origin->{https}")->status, 200, '… and is opened for a client on this machine';
		$w = $proxy->wire(host => $lan);
		$w->send("GET http://rebind.test:$port/ws HTTP/1.1\r\nHost: rebind.test:$port\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
		forbidden($w->response, '--loopback-from', 'so is an upgrade');
		$w = $proxy->wire(host => $lan);
		$w->send("POST http://rebind.test:$port/hello HTTP/1.1\r\nHost: rebind.test:$port\r\nContent-Length: 3\r\n\r\nabc");
		forbidden($w->response, '--loopback-from', 'so is a POST');
		is scalar(grep { $_->{method} eq 'POST' || $_->{target} eq '/ws' } $origin->requests), 0, '… of which the origin has seen nothing';
	};

	subtest 'who is refused does not fail those who are not' => sub {
		rebind('127.0.0.1');
		my $one = $proxy->wire;
		my $other = $proxy->wire(host => $lan);
		$_->send("GET http://rebind.test:$port/slow HTTP/1.1\r\nHost: rebind.test:$port\r\n\r\n") for $other, $one;
		my $r = $other->response; # what an allowed client's request has made everybody's is a stored response like others
		ok $r->status == 403 || $r->body eq 'slow', 'the one';
		is $one->response->body, 'slow', '… and the other, who asked at the same time';
	};

	subtest 'settings, while it runs' => sub {
		my $conf = lab_dir() . '/access.conf';
		spew($conf, "access: { loopback_from = \"$lan/32\"; deny_destinations = [ \"127.0.0.0/8\" ]; };\n");
		my $p = proxy(bind => '0.0.0.0', config => $conf, env => \%named);
		forbidden(get($p, $lan, "http://127.0.0.1:$port/hello"), '--deny-destinations', 'what is denied is, whoever asks');
		spew($conf, "access: { loopback_from = \"$lan/32\"; };\n");
		$p->reload;
		ok wait_until(sub { get($p, $lan, "http://127.0.0.1:$port/hello")->status == 200 }, 10, 'the settings'), 'loopback is opened for a client';
		spew($conf, "access: { };\n");
		$p->reload;
		ok wait_until(sub { get($p, $lan, "http://rebind.test:$port/hello")->status == 403 }, 10, 'the settings'), '… and closed: a kept connection is of no use';
		$p->stop;
	};

	subtest 'clients' => sub {
		my ($net) = $lan =~ /^(\d+)\./;
		for my $case ([{ allow => '127.0.0.0/8' }, 200, 403, '--allow'], [{ allow => "$lan/32" }, 403, 200, '--allow'], [{ deny => '127.0.0.1' }, 403, 200, '--deny'],
		              [{ allow => "127.0.0.1,$net.0.0.0/8", deny => $lan }, 200, 403, '--deny'], [{ deny => '0.0.0.0/0' }, 403, 403, '--deny']) {
			my ($how, $local, $remote, $by) = @$case;
			my $p = proxy(bind => '0.0.0.0', %$how);
			my $what = join ' ', map { "--$_ $how->{$_}" } sort keys %$how;
			for (['127.0.0.1', $local], [$lan, $remote]) {
				my ($from, $want) = @$_;
				my $r = get($p, $from, "http://$lan:$far->{http}/hello");
				is $r->status, $want, "$what, from $from";
				like $r->body, qr/\Q$by\E/, '… which says so' if $want == 403;
				my $w = $p->wire(host => $from);
				is $w->tunnel("$lan:$far->{https}")->status, $want, '… and CONNECT';
				is get($p, $from, 'http://mitm.it/')->status, $want, '… and the onboarding pages';
				ok $w->closed, '… the connection ends' if $want == 403;
			}
			$p->stop('QUIT');
		}
	};

	subtest 'the health port does not open anything to the network' => sub {
		my $p = proxy(bind => '0.0.0.0', health_host => '0.0.0.0');
		my $at = "$lan:" . $p->health;
		is http_get($at, $_)->{status}, 200, "$_ is for all" for qw(/health /ready /metrics);
		for my $page (qw(/debug/threads /debug/settings /debug/connections /debug/processes /debug/ /debug)) {
			isnt http_get($at, $page)->{status}, 200, "$page is not";
		}
		for my $page ('/purge?all=1', '/bans/lift') {
			my $s = IO::Socket::INET->new(PeerAddr => $at);
			print $s "POST $page HTTP/1.1\r\nHost: $at\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
			my $answer = join '', <$s>;
			unlike $answer, qr{^HTTP/1.1 2}, "POST $page is not";
		}
		isnt http_get($at, '/debug/threads', 'X-Forwarded-For: 127.0.0.1')->{status}, 200, '… nor for who only says that he is here';
		is http_get('127.0.0.1:' . $p->health, '/debug/threads')->{status}, 200, '… but is for who is here';
		is get($p, $lan, 'http://127.0.0.1:' . $p->health . '/debug/threads')->status, 403, 'nor is there a way through the proxy';
		isnt get($p, $lan, "http://$at/debug/threads")->status, 200, '… by another address of it';
		$p->stop;
	};
	is $proxy->stop, 0, 'it ends well';
}

subtest "CONNECT's ports" => sub {
	my $proxy = proxy();
	for (['example.com:443', 200], ['example.com:80', 200], ['example.com:22', 403], ['example.com:25', 403], ['example.com:1023', 403], ['example.com:1024', 200], ['example.com:65535', 200]) {
		my ($where, $want) = @$_;
		my $w = $proxy->wire;
		my $r = tunnel($w, $where);
		$want == 403 ? forbidden($r, '--connect-ports', "$where is closed by default") : is $r->status, $want, "$where is open by default";
	}
	$proxy->stop('QUIT');
	my $strict = proxy(connect_ports => '443,8000-8001');
	is $strict->wire->tunnel("example.com:$_->[0]")->status, $_->[1], "443,8000-8001: $_->[0]" for [443, 200], [8000, 200], [8001, 200], [8002, 403], [80, 403];
	$strict->stop('QUIT');
	my $open = proxy(connect_ports => '');
	is $open->wire->tunnel('example.com:22')->status, 200, 'empty: any';
	$open->stop('QUIT');
};

my $users = lab_dir() . '/users';
sub hash { my ($password, $kind) = @_; my ($s, $out) = run_cmd('openssl', 'passwd', $kind // '-6', $password); chomp $out; $out }
sub basic { 'Proxy-Authorization: Basic ' . encode_base64("$_[0]:$_[1]", '') }

subtest 'a file of users that is wrong' => sub {
	for (["ci\n", qr/users:1: the line must be name:hash/], ["# x\nci:secret\n", qr/users:2: user ci has a hash that is neither/], ['', qr/no user/]) {
		spew($users, $_->[0]);
		for my $args ([], ['--dump-settings']) {
			my ($s, $out) = run_cmd(passsage(), '--state-dir', lab_dir() . '/none', '--port', 0, '--health-port', 0, '--htpasswd', $users, @$args);
			is $s >> 8, 64, "is refused at the start @$args";
			like $out, $_->[1], '… with what is wrong';
			unlike $out, qr/secret/, '… and not what is nobody\'s business';
		}
	}
	my ($s, $out) = run_cmd(passsage(), '--state-dir', lab_dir() . '/none', '--port', 0, '--health-port', 0, '--htpasswd', '/nonexistent');
	is $s >> 8, 64, 'one that is not there';
};

subtest 'users' => sub {
	my $log = lab_dir() . '/access.log';
	spew($users, 'ci:' . hash('secret') . "\nbob:" . hash('builder', '-5') . "\n");
	my $proxy = proxy(htpasswd => $users, access_log_file => $log);
	my $url = "http://$authority/hello";
	my $r = get($proxy, '127.0.0.1', $url);
	is $r->status, 407, 'nobody is asked who he is';
	like $r->header('proxy-authenticate'), qr/^Basic realm="passsage"/, '… by Basic';
	is $origin->hits('/hello'), $r = $origin->hits('/hello'), '(so many)';
	is get($proxy, '127.0.0.1', $url, basic('ci', 'secret'))->body, 'hello', 'ci may';
	is get($proxy, '127.0.0.1', $url, basic('bob', 'builder'))->body, 'hello', 'bob may';
	is $origin->last('/hello')->{headers}{'proxy-authorization'}, undef, '… and the origin does not learn his password';
	is get($proxy, '127.0.0.1', $url, @$_)->status, 407, "not $_->[0]" for [basic('ci', 'wrong')], [basic('ci', 'builder')], [basic('eve', 'secret')], [basic('ci', "secret\0")], ['Proxy-Authorization: Basic x'],
		['Proxy-Authorization: Bearer x'], [basic('ci', 'secret'), basic('ci', 'secret')], ['Authorization: Basic ' . encode_base64('ci:secret', '')];
	is $proxy->curl('--proxy-user', 'ci:secret', $url)->body, 'hello', 'curl, plain';
	is $proxy->curl('--proxy-user', 'ci:secret', $origin->https('/hello'))->body, 'hello', 'curl, by CONNECT';
	is $origin->last('/hello')->{headers}{'proxy-authorization'}, undef, '… and the origin does not learn it';
	isnt $proxy->curl('--proxy-user', 'ci:wrong', $origin->https('/hello'))->exit, 0, '… not with a wrong one';
	is $proxy->curl('--proxy-user', 'ci:secret', '-H', 'Proxy-Authorization: Basic inside', $origin->https('/hello'))->body, 'hello', 'what stands inside a tunnel';
	is $origin->last('/hello')->{headers}{'proxy-authorization'}, undef, '… is not sent on either';
	is get($proxy, '127.0.0.1', 'http://mitm.it/')->status, 200, 'the onboarding pages are open: a client needs them first';
	is get($proxy, '127.0.0.1', 'http://mitm.it/cert/pem')->status, 200, '… and the certificate';
	my $w = $proxy->wire;
	is $w->tunnel('mitm.it:443')->status, 200, '… by CONNECT';
	ok $w->tls('mitm.it'), '… and TLS';
	is $w->get('/', 'mitm.it')->status, 200, '…';
	$w = $proxy->wire;
	$w->tunnel('mitm.it:443');
	$w->tls('mitm.it');
	$r = $w->get("http://$authority/hello", $authority);
	ok !$r || $r->body ne 'hello', 'that tunnel leads nowhere else' or diag $r->body;
	is $proxy->wire->tunnel($origin->authority)->status, 407, 'CONNECT without a password';

	my $c = $proxy->counted(sub { is get($proxy, '127.0.0.1', $url)->status, 407, 'is' });
	is $c->{auth_failures}, 1, '… counted';

	my $t = time;
	for (1 .. 200) { my $x = get($proxy, '127.0.0.1', $url, basic('ci', 'secret')); $x->status == 200 or fail 'the 200th' }
	cmp_ok time - $t, '<', 5 * slow(), 'the password is worked out once: 200 requests are quick';

	my $in = $proxy->wire;
	my $auth = encode_base64('bob:builder', '');
	$in->send("CONNECT @{[$origin->authority]} HTTP/1.1\r\nHost: @{[$origin->authority]}\r\nProxy-Authorization: Basic $auth\r\n\r\n");
	is $in->response('HEAD')->status, 200, 'a tunnel of bob\'s';
	$in->tls('localhost');
	is $in->get('/hello', $origin->authority)->status, 200, '… serves him without a word more';
	spew($users, 'ci:' . hash('other') . "\nbob:" . (split /bob:|\n/, slurp($users))[-1] . "\n");
	$proxy->reload;
	ok wait_until(sub { get($proxy, '127.0.0.1', $url, basic('ci', 'other'))->status == 200 }, 10, 'the users'), 'SIGHUP: a new password';
	is get($proxy, '127.0.0.1', $url, basic('ci', 'secret'))->status, 407, '… and the old one, which was remembered, is of no use any more';
	is $in->get('/hello', $origin->authority)->status, 200, 'bob\'s line has not changed: his tunnel stays';
	spew($users, "ci:nonsense\n");
	$proxy->reload;
	ok wait_until(sub { $proxy->log =~ /users:1: user ci has a hash.*the old users stay in force/ }, 10, 'a complaint'), 'SIGHUP with a wrong file: a complaint';
	is get($proxy, '127.0.0.1', $url, basic('ci', 'other'))->status, 200, '… and the old users';
	spew($users, 'ci:' . hash('other') . "\n");
	$proxy->reload;
	ok wait_until(sub { get($proxy, '127.0.0.1', $url, basic('bob', 'builder'))->status == 407 }, 10, 'the users'), 'bob is removed';
	is $in->get('/hello', $origin->authority)->status, 407, '… his tunnel ends';
	ok $in->closed, '… at once';
	unlike $proxy->log . (slurp($log) // ''), qr/secret|builder|\Q$auth\E/, 'no password is in a log';
	is $proxy->stop, 0, 'it ends well';
};

subtest 'guessing' => sub {
	spew($users, 'ci:' . hash('secret') . "\n");
	my $proxy = proxy(htpasswd => $users, bind => '0.0.0.0');
	my $url = "http://$authority/hello";
	is get($proxy, '127.0.0.1', $url, basic('ci', 'secret'))->status, 200, 'ci was here before';
	my %n;
	for my $i (1 .. 30) { my $r = get($proxy, '127.0.0.1', $url, basic('ci', "guess$i")); $n{$r->status}++; ok $r->header('retry-after'), 'it says when to come back' if $r->status == 429 && $n{429} == 1 }
	cmp_ok $n{407} // 0, '<=', 12, 'few guesses are looked at';
	cmp_ok $n{429} // 0, '>=', 18, '… the others are told to wait';
	is get($proxy, '127.0.0.1', $url, basic('ci', 'secret'))->status, 200, 'ci, from the same address, is served on';
	is get($proxy, '127.0.0.2', $url, basic('ci', 'secret'))->status, 200, '… and others are';
	$proxy->stop;
};
done_testing;
