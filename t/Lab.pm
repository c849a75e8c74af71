# Lab.pm - what the integration tests stand on: real proxies, real origins, real sockets. Every process dies with its guard object, and with
# the test however that ends; each file has its own ports and folders. Perl's core and IO::Socket::SSL (Debian: libio-socket-ssl-perl).
#
#   use FindBin; use lib $FindBin::Bin; use Lab;
#   my $origin = origin('/a' => { cc => 'max-age=60', body => 'hello' });   # see Lab/Origin.pm for all that it can do
#   my $proxy  = proxy(workers => 2);                                        # options of passsage, - for _ : health_host => ...
#   my $r = $proxy->curl($origin->url('/a'));                                # status, body, header('age'), exit, sha256
#   is $origin->hits('/a'), 1;
#   done_testing;
package Lab;
use strict;
use warnings;
use Exporter 'import';
use Cwd 'abs_path';
use Digest::SHA;
use File::Basename 'dirname';
use File::Temp 'tempdir';
use IO::Socket::INET;
use JSON::PP;
use POSIX ':sys_wait_h';
use Scalar::Util ();
use Test::More;
use Time::HiRes 'time', 'sleep';
use Lab::Origin;
use Lab::Wire;

our @EXPORT = qw(proxy origin load_origin wait_until slurp spew sha256 pattern free_port http_get run_cmd have_cmd lab_dir lab_ca skip_file
                 same passsage root_dir slow shared_dir spawn);
our $ROOT = abs_path(dirname(abs_path(__FILE__)) . '/..');
my $dir = tempdir('passsage-lab-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir; # started as root, the proxy becomes nobody
my $owner = $$;

# What a developer's shell says about proxies and certificates must not reach the tests.
delete @ENV{grep { /_proxy$/i || /^PASSSAGE_(?!SHARED$)/ || /^(SSL_CERT_FILE|SSL_CERT_DIR|CURL_CA_BUNDLE)$/ } keys %ENV};
$ENV{LC_ALL} = 'C';
if ($ENV{SAN}) { # a report ends the process and is found in its log; leaks are the unit tests' matter (certgen may not be traced)
	$ENV{ASAN_OPTIONS} = 'halt_on_error=1:abort_on_error=0:exitcode=99:detect_leaks=0:detect_stack_use_after_return=0';
	$ENV{UBSAN_OPTIONS} = 'halt_on_error=1:print_stacktrace=1:exitcode=99';
	$ENV{TSAN_OPTIONS} = 'halt_on_error=1:exitcode=99:second_deadlock_stack=1';
}
sub slow { $ENV{SAN} ? 6 : 1 } # by how much a sanitizer slows us, at most: for limits of time
sub lab_dir { $dir }
sub root_dir { $ROOT }
sub passsage { $ENV{PASSSAGE} || "$ROOT/passsage" }
sub shared_dir { $ENV{PASSSAGE_SHARED} || "$ROOT/../shared" }

# ---- the watchdog: kills what is left of our processes when the test itself was killed

my ($dog_r, $dog_w);
sub watchdog {
	return if $dog_w;
	pipe $dog_r, $dog_w or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		close $dog_w;
		setpgrp;
		$0 = 'lab watchdog';
		open STDOUT, '>', '/dev/null'; # prove waits for these to close
		open STDERR, '>', '/dev/null';
		my %group;
		while (my $line = <$dog_r>) {
			$group{$1} = 1 if $line =~ /^\+(\d+)/;
			delete $group{$1} if $line =~ /^-(\d+)/;
		}
		kill 'KILL', map { -$_ } keys %group;
		POSIX::_exit(0);
	}
	close $dog_r;
	$dog_w->autoflush(1);
}
sub watch   { watchdog(); print $dog_w "+$_[0]\n" }
sub unwatch { print $dog_w "-$_[0]\n" if $dog_w }
sub in_child { close $dog_w if $dog_w; undef $dog_w } # of a forked helper: must not keep the watchdog alive

# A command in the background, in a process group of its own: an object with pid, wait (status as $?), kill(signal).
sub spawn {
	my ($opt, @cmd) = @_;
	watchdog();
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgrp;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $opt->{stdout} // '/dev/null' or POSIX::_exit(126);
		open STDERR, '>>', $opt->{stderr} // '/dev/null' or POSIX::_exit(126);
		chdir $opt->{cwd} if $opt->{cwd};
		%ENV = (%ENV, %{$opt->{env}}) if $opt->{env};
		exec { $cmd[0] } @cmd or POSIX::_exit(127);
	}
	setpgrp $pid, $pid; # both sides: whoever comes first
	watch($pid);
	return bless { pid => $pid, cmd => "@cmd", owner => $$ }, 'Lab::Process';
}

# ---- small tools

sub wait_until { # code, seconds, what: the code's value as soon as it is true; dies when it never is
	my ($code, $seconds, $what) = @_;
	my $until = time + ($seconds // 10) * slow();
	while (1) {
		my $v = $code->();
		return $v if $v;
		last if time > $until;
		sleep 0.01;
	}
	my (undef, $file, $line) = caller;
	diag("waited in vain" . ($what ? " for $what" : '') . " at $file line $line");
	return;
}
sub slurp { my ($f) = @_; open my $h, '<:raw', $f or return; local $/; my $t = <$h>; return $t // '' }
sub spew { my ($f, $t) = @_; open my $h, '>:raw', $f or die "$f: $!"; print $h $t; close $h or die "$f: $!" }
sub sha256 { Digest::SHA::sha256_hex($_[0]) }
sub same { # bytes that are too many to be shown when they differ
	my ($got, $want, $name) = @_;
	my $same = defined $got && $got eq $want;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return 1 if ok $same, $name;
	if (!defined $got) { diag 'nothing at all' }
	else { my $at = 0; $at++ while $at < length $got && $at < length $want && substr($got, $at, 1) eq substr $want, $at, 1; diag length($got) . ' bytes, wanted ' . length($want) . ", they differ from $at on: " . substr $got, $at, 60 }
	return 0;
}
sub pattern { Lab::Origin::pattern(@_) }
sub free_port { my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "socket: $!"; return $s->sockport }
sub have_cmd { my ($c) = @_; for (split /:/, $ENV{PATH}) { return "$_/$c" if -x "$_/$c" } return }
sub skip_file { plan skip_all => $_[0] }

sub run_cmd { # [{ env, cwd, timeout, input }], command: (status, its output with errors); bounded in time
	my $opt = ref $_[0] ? shift : {};
	my @cmd = @_;
	my $out = "$dir/cmd." . ++$Lab::seq;
	my $p = spawn({ stdout => $out, stderr => $out, %$opt }, @cmd);
	my $status = $p->wait($opt->{timeout} // 120 * slow());
	return ($status, slurp($out) // '');
}
sub http_get { # host port, path, headers: straight, not through a proxy. { status, head, body } or nothing
	my ($where, $path, @headers) = @_;
	my $s = IO::Socket::INET->new(PeerAddr => $where, Timeout => 5) or return;
	print $s "GET $path HTTP/1.1\r\nHost: $where\r\nConnection: close\r\n", (map { "$_\r\n" } @headers), "\r\n";
	my $all = '';
	eval { local $SIG{ALRM} = sub { die "slow\n" }; alarm 10 * slow(); local $/; $all = <$s> // ''; alarm 0; 1 } or return;
	my ($head, $body) = split /\r\n\r\n/, $all, 2;
	return unless defined $head && $head =~ m{^HTTP/1\.\d (\d+)};
	return { status => $1, head => $head, body => $body // '' };
}

# A CA and leaves for the origins, made once a file. leaf(name, %how): (certificate, key).
my %ca;
sub lab_ca {
	return $ca{file} if $ca{file};
	my $d = "$dir/ca";
	mkdir $d, 0755;
	openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj), '/CN=lab origin CA', '-keyout', "$d/ca.key", '-out', "$d/ca.pem",
	        '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
	return $ca{file} = "$d/ca.pem";
}
sub openssl { my ($s, $out) = run_cmd('openssl', @_); die "openssl @_: $out" if $s != 0 }
sub leaf {
	my ($kind) = @_;
	lab_ca();
	my ($d, $base) = ("$dir/ca", "$dir/ca/$kind");
	return ("$base.pem", "$base.key") if -s "$base.pem";
	my $san = $kind eq 'wrongname' ? 'DNS:elsewhere.example' : 'DNS:localhost,DNS:*.localhost,IP:127.0.0.1,IP:127.0.0.2,IP:::1';
	if ($kind eq 'selfsigned') {
		openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost -keyout), "$base.key", '-out', "$base.pem",
		        '-addext', "subjectAltName=$san");
		return ("$base.pem", "$base.key");
	}
	openssl(qw(req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout), "$base.key", '-out', "$base.csr",
	        '-addext', "subjectAltName=$san");
	spew("$base.cnf", "[ca]\ndefault_ca=c\n[c]\nnew_certs_dir=$d\ndatabase=$base.db\nserial=$base.srl\ndefault_md=sha256\npolicy=p\ncopy_extensions=copy\nunique_subject=no\n[p]\n");
	spew("$base.db", '');
	spew("$base.srl", sprintf "%02x\n", 16 + length $kind);
	my @dates = $kind eq 'expired' ? qw(-startdate 20200101000000Z -enddate 20200201000000Z) : qw(-days 20);
	openssl(qw(ca -batch -notext -config), "$base.cnf", '-cert', "$d/ca.pem", '-keyfile', "$d/ca.key", '-in', "$base.csr", '-out', "$base.pem", @dates);
	return ("$base.pem", "$base.key");
}

sub origin { return Lab::Origin->start("$dir/origin." . ++$Lab::seq, @_) }

# The C origin of shared/bench (and its load generator), built in build/bench; skips the test when it is not there.
sub bench_dir {
	my $b = "$ROOT/build/bench";
	return $b if -x "$b/origin" && -x "$b/pxload";
	return unless -d shared_dir() . '/bench';
	my ($s, $out) = run_cmd({ timeout => 300 }, 'sh', '-c', 'mkdir -p "$1" && cp -R "$2"/. "$1" && chmod -R u+w "$1" && make -s -C "$1" && "$1"/make-certs.sh', 'sh', $b,
	                        shared_dir() . '/bench');
	diag $out if $s;
	return $s ? undef : $b;
}
sub load_origin {
	my $b = bench_dir() or return;
	my ($http, $https) = (free_port(), free_port());
	system "$b/make-certs.sh";
	my $p = spawn({ stderr => "$dir/load-origin" }, "$b/origin", '--http', $http, '--https', $https, '--cert', "$b/certs/server.pem", '--key', "$b/certs/server.key", '-w', 1);
	my $o = bless { process => $p, http => $http, https => $https, bench => $b, ca => "$b/certs/ca.pem" }, 'Lab::LoadOrigin';
	wait_until(sub { my $r = http_get("127.0.0.1:$http", '/health'); $r && $r->{status} == 200 }, 10, 'the C origin') or return;
	return $o;
}

sub proxy { return Lab::Proxy->start("$dir/proxy." . ++$Lab::seq, @_) }

# Before File::Temp's END, which runs later than ours, removes the folders that they write to.
our @proxies;
END { $_->DESTROY for grep { defined } @proxies }

# ---- a process of ours
package Lab::Process;
use POSIX ':sys_wait_h';
use Time::HiRes 'time', 'sleep';
sub pid { $_[0]{pid} }
sub running {
	my ($p) = @_;
	return 0 if defined $p->{status};
	my $r = waitpid $p->{pid}, WNOHANG;
	return 1 if $r == 0;
	$p->{status} = $r > 0 ? $? : -1;
	return 0;
}
sub wait { # seconds: its status as in $?, or nothing when it still runs (and is then killed)
	my ($p, $seconds) = @_;
	my $until = time + ($seconds // 60);
	while ($p->running) {
		if (time > $until) { $p->kill('KILL'); waitpid $p->{pid}, 0; $p->{status} = 9; last }
		sleep 0.005;
	}
	Lab::unwatch($p->{pid}) if !$p->{family};
	return $p->{status};
}
sub kill { my ($p, $sig) = @_; CORE::kill($sig, $p->{pid}) }
sub kill_group { my ($p, $sig) = @_; CORE::kill($sig, -$p->{pid}) }
sub DESTROY {
	my ($p) = @_;
	return if $p->{owner} != $$;
	local ($?, $!);
	CORE::kill('KILL', -$p->{pid}); # the whole group, also what a dead leader left behind
	waitpid $p->{pid}, 0 unless defined $p->{status};
	Lab::unwatch($p->{pid});
}

# ---- the C origin
package Lab::LoadOrigin;
sub url { my ($o, $path, $scheme) = @_; $scheme //= 'https'; "$scheme://localhost:" . $o->{$scheme} . $path }
sub hits { my ($o, $path) = @_; my $r = Lab::http_get("127.0.0.1:$o->{http}", "/count?path=$path"); $r->{body} =~ /"count":\s*(\d+)/ ? $1 : undef }
sub body { my ($o, $n, $seed) = @_; my ($s, $out) = Lab::run_cmd("$o->{bench}/origin", '--emit', $n . ($seed ? ",$seed" : '')); $out }
sub load { # pxload with these arguments: its JSON
	my ($o, $proxy, @args) = @_;
	my ($s, $out) = Lab::run_cmd({ timeout => 120 }, "$o->{bench}/pxload", '--proxy', "127.0.0.1:$proxy->{port}", '--ca', $proxy->ca, '--json', @args);
	my ($json) = $out =~ /^(\{.*\})$/ms;
	my $j = eval { JSON::PP->new->decode($json) } or Test::More::diag("pxload: $out");
	return $j;
}

# ---- passsage
package Lab::Proxy;
use Test::More;
use Time::HiRes 'time', 'sleep';
sub options { # name => value pairs to --name value
	my (%o) = @_;
	my @args;
	for my $k (sort keys %o) {
		(my $name = $k) =~ tr/_/-/;
		push @args, $o{$k} eq 'true' && length $name > 1 ? "--$name" : ("--$name", $o{$k}) if defined $o{$k};
	}
	return @args;
}
sub start {
	my ($class, $state, %o) = @_;
	my ($env, $args, $expect, $wait) = delete @o{qw(env args expect_failure wait)};
	my $keep = delete $o{state_dir};
	$state = $keep if defined $keep;
	$o{port} //= 0;
	$o{bind} //= '127.0.0.1';
	my $health = $o{health_port} //= Lab::free_port();
	$o{health_host} //= '127.0.0.1';
	$o{workers} //= 1;
	$o{upstream_ca} //= Lab::lab_ca();
	$o{drain_seconds} //= 5;
	my $self = bless { state => $state, health => $health, options => {%o}, env => $env // {}, args => $args // [], owner => $$ }, $class;
	push @Lab::proxies, $self;
	Scalar::Util::weaken($Lab::proxies[-1]);
	return $self if $expect;
	$self->launch;
	return $self;
}
sub launch { # also again, after a stop: on the same state
	my ($self) = @_;
	my $n = ++$self->{launches};
	$self->{logfile} = Lab::lab_dir() . '/' . (split m{/}, $self->{state})[-1] . ".log.$n";
	$self->{stdout} = "$self->{logfile}.out";
	unlink "$self->{state}/run/port";
	$self->{process} = Lab::spawn({ stderr => $self->{logfile}, stdout => $self->{stdout}, env => $self->{env} }, Lab::passsage(), '--state-dir', $self->{state},
	                              options(%{$self->{options}}), @{$self->{args}});
	$self->{process}{family} = 1; # the watchdog knows the group until the guard dies
	my $ok = Lab::wait_until(sub {
		return 'gone' unless $self->{process}->running;
		return unless -s "$self->{state}/run/port";
		return 1 if $self->{health} <= 0;
		my $r = Lab::http_get("127.0.0.1:$self->{health}", '/ready');
		return $r && $r->{status} == 200;
	}, 20, 'the proxy');
	if (!$ok || $ok eq 'gone') {
		diag 'the proxy did not start: ', $self->log;
		die "no proxy\n";
	}
	$self->{port} = Lab::slurp("$self->{state}/run/port") + 0;
	return $self;
}
sub port { $_[0]{port} }
sub health { $_[0]{health} }
sub url { "http://127.0.0.1:$_[0]{port}" }
sub state_dir { $_[0]{state} }
sub ca { "$_[0]{state}/ca/mitmproxy-ca-cert.pem" }
sub master { $_[0]{process}{pid} }
sub log { Lab::slurp($_[0]{logfile}) // '' }
sub stdout { Lab::slurp($_[0]{stdout}) // '' }
sub running { $_[0]{process}->running }
sub get { my ($self, $path, @headers) = @_; Lab::http_get("127.0.0.1:$self->{health}", $path, @headers) } # of the health port
sub metrics { # name => value, without passsage_ and _total
	my ($self) = @_;
	my $r = $self->get('/metrics') or return {};
	my %m;
	while ($r->{body} =~ /^passsage_(\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)$/mg) { $m{$1} += $2 }
	return \%m;
}
sub wait_metrics { my ($self, $code, $seconds, $what) = @_; Lab::wait_until(sub { local $_ = $self->metrics; $code->($_) }, $seconds, $what) }
sub counted { # how much the counters grow by what the code does: name => difference
	my ($self, $code) = @_;
	my $before = $self->metrics;
	$code->();
	my $after = $self->metrics;
	return { map { $_ => $after->{$_} - ($before->{$_} // 0) } keys %$after };
}
sub wire { my ($self, %o) = @_; Lab::Wire->connect(port => $self->{port}, ca => $self->ca, %o) }
sub curl_args { my ($self, @args) = @_; ('curl', '-sS', '--max-time', 60 * Lab::slow(), '--proxy', $self->url, '--noproxy', '', '--cacert', $self->ca, @args) }
sub curl_bg {
	my ($self, @args) = @_;
	my $base = Lab::lab_dir() . '/curl.' . ++$Lab::seq;
	my $p = Lab::spawn({ stdout => "$base.out", stderr => "$base.err" }, $self->curl_args('-N', '-D', "$base.head", '-o', "$base.body", '-w', '%{http_code} %{time_total}', @args));
	return bless { process => $p, base => $base, owner => $$ }, 'Lab::Curl';
}
sub curl { my ($self, @args) = @_; return $self->curl_bg(@args)->wait }
# The processes by the end of their title: pids('worker'), pids('certgen'); all of them without.
sub pids {
	my ($self, $title) = @_;
	my @found;
	for my $pid ($self->family) {
		my $t = $self->title($pid);
		push @found, $pid if !defined $title || $t =~ /^passsage: \Q$title\E\b/;
	}
	return @found;
}
sub title { my ($self, $pid) = @_; my $t = Lab::slurp("/proc/$pid/cmdline") // ''; $t =~ s/\0+$//; $t =~ tr/\0/ /; $t }
sub family {
	my ($self) = @_;
	my (%parent, @all);
	opendir my $d, '/proc' or return;
	for my $pid (grep /^\d+$/, readdir $d) {
		my $stat = Lab::slurp("/proc/$pid/stat") or next;
		my ($state, $ppid) = $stat =~ /\) (\S) (\d+)/ or next;
		$parent{$pid} = $ppid if $state ne 'Z';
	}
	my @todo = ($self->master);
	while (defined(my $p = shift @todo)) {
		push @all, $p if exists $parent{$p};
		push @todo, grep { $parent{$_} == $p } keys %parent;
	}
	return sort { $a <=> $b } @all;
}
# The worker that has an established IPv4 connection whose other end is this port: an origin's, or a client's (worker_of a wire).
sub worker_to {
	my ($self, $port) = @_;
	my $hex = sprintf '%04X', $port;
	my %inode;
	for (split /\n/, Lab::slurp('/proc/net/tcp') . Lab::slurp('/proc/net/tcp6')) { $inode{$1} = 1 if /^\s*\d+: \S+ \S+:$hex 01 (?:\S+\s+){3}\d+\s+\d+ (\d+)/ }
	my ($pid) = grep { grep { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ && $inode{$1} } glob "/proc/$_/fd/*" } $self->pids('worker');
	return $pid;
}
sub worker_of { my ($self, $wire) = @_; return Lab::wait_until(sub { $self->worker_to($wire->socket->sockport) }, 5, 'a worker to accept') }
# Clients in two different workers, $each in each: two lists [pid, wires...]. The kernel gives all idle workers' connections to the same one;
# while that is stopped they go to another (one more, for the first only ends the stopped one's wait).
sub spread {
	my ($self, $each) = @_;
	my $first = $self->wire;
	my $busy = $self->worker_of($first);
	my @one = ($first);
	for (1 .. 20) { last if @one >= $each; my $w = $self->wire; push @one, $w if $self->worker_of($w) == $busy }
	CORE::kill('STOP', $busy);
	my @two = map { $self->wire } 0 .. $each;
	my %other;
	for my $w (@two) { my $pid = Lab::wait_until(sub { $self->worker_to($w->socket->sockport) }, 2, 'another worker'); push @{$other{$pid}}, $w if $pid && $pid != $busy }
	CORE::kill('CONT', $busy);
	my ($pid) = sort { @{$other{$b}} <=> @{$other{$a}} } keys %other;
	return if !$pid || @one < $each || @{$other{$pid}} < $each;
	return ([$busy, @one], [$pid, @{$other{$pid}}[0 .. $each - 1]]);
}
sub rss_kb { my ($self, @pids) = @_; my $n = 0; for (@pids ? @pids : $self->pids('worker')) { $n += $1 if (Lab::slurp("/proc/$_/status") // '') =~ /^VmRSS:\s+(\d+)/m } $n }
sub kill { my ($self, $sig) = @_; $self->{process}->kill($sig) }
sub reload { my ($self) = @_; $self->kill('HUP') }
sub stop { # SIGTERM, or another: its status as in $?; fails the test when it reported trouble
	my ($self, $sig, $seconds) = @_;
	$self->kill($sig // 'TERM');
	my $status = $self->{process}->wait($seconds // 30 * Lab::slow());
	$self->check_log;
	return $status;
}
sub kill9_all {
	my ($self) = @_;
	my @all = $self->family;
	$self->{process}->kill_group('STOP'); # none of them may see another one die
	CORE::kill('KILL', @all) if @all;
	$self->{process}->kill_group('KILL');
	$self->{process}->wait(10);
	Lab::wait_until(sub { !grep { -d "/proc/$_" && (Lab::slurp("/proc/$_/stat") // '') !~ /\) Z/ } @all }, 10, 'all processes to go');
}
sub check_log {
	my ($self) = @_;
	my $log = $self->log;
	return if $self->{log_checked}++ && 0;
	if ($log =~ /(.*(?:ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:).*(?:\n.*){0,30})/) {
		Test::More::fail('no sanitizer has anything to say');
		diag $1;
	}
	if (!$self->{may_panic} && $log =~ /(.*(?:INVARIANT|panic:|ended by signal (?:4|6|7|8|11)\b).*(?:\n.*){0,12})/) {
		Test::More::fail('no process of the proxy panics');
		diag $1;
	}
}
sub DESTROY {
	my ($self) = @_;
	return if $self->{owner} != $$ || !$self->{process};
	local ($?, $@, $!);
	if ($self->{process}->running) {
		$self->kill('QUIT');
		$self->{process}->wait(5 * Lab::slow());
	}
	$self->check_log;
	undef $self->{process};
}

# ---- one curl
package Lab::Curl;
sub wait {
	my ($c) = @_;
	return $c if $c->{done}++;
	my $status = $c->{process}->wait(90 * Lab::slow());
	$c->{exit} = $status >> 8 || ($status & 127 ? 128 + ($status & 127) : 0);
	$c->{body} = Lab::slurp("$c->{base}.body") // '';
	$c->{error} = Lab::slurp("$c->{base}.err") // '';
	($c->{status}, $c->{time}) = split ' ', Lab::slurp("$c->{base}.out") // '';
	$c->{status} = ($c->{status} // 0) + 0;
	# the last head is the answer's; those before it are CONNECT's and 1xx
	my @heads = grep { /^HTTP/ } split /\r\n\r\n/, Lab::slurp("$c->{base}.head") // '';
	$c->{head} = $heads[-1] // '';
	$c->{heads} = \@heads;
	return $c;
}
sub so_far { -s "$_[0]{base}.body" // 0 }
sub head_so_far { Lab::slurp("$_[0]{base}.head") // '' }
sub running { $_[0]{process}->running }
sub kill { my ($c, $sig) = @_; $c->{process}->kill($sig // 'KILL') }
sub status { $_[0]{status} }
sub body { $_[0]{body} }
sub exit { $_[0]{exit} }
sub sha256 { Lab::sha256($_[0]{body}) }
sub headers { my ($c, $name) = @_; my @v = $c->{head} =~ /^\Q$name\E:[ \t]*(.*?)[ \t]*\r?$/img; @v }
sub header { my ($c, $name) = @_; my @v = $c->headers($name); @v ? join(', ', @v) : undef }
sub hit { my ($c) = @_; ($c->header('cache-status') // '') =~ /\bhit\b/ ? 1 : 0 }

1;
