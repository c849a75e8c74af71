# The process model: titles, draining, reloading, restarted children, a lost master, and root given up.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $dir = lab_dir();
my $origin = origin(
	'/hello' => { body => "hello\n", cc => 'max-age=600' },
	'/other' => { body => 'other', cc => 'no-store' },
	'/slow' => { size => 300000, cc => 'no-store', pause_after => 100000 },
	'/stuck' => { size => 300000, cc => 'no-store', pause_after => 100000 },
);
my $a = $origin->authority('http');
sub refuses { my ($port) = @_; !IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 5) }
sub user_of { my ($pid) = @_; return (slurp("/proc/$pid/status") // '') =~ /^Uid:\s+(\d+)\s+(\d+)\s+(\d+)/m ? "$1 $2 $3" : '' }
sub gone { my ($pid) = @_; my $s = slurp("/proc/$pid/stat"); return !defined $s || $s =~ /\) Z/ }
sub half { # a client in the middle of a response whose origin pauses
	my ($p, $path) = @_;
	my $before = $origin->paused;
	my $c = $p->curl_bg($origin->url($path));
	$origin->wait_paused($before + 1, 10);
	wait_until(sub { $c->so_far > 0 }, 5, 'the first bytes');
	return $c;
}

subtest 'what runs, under which titles' => sub {
	my $p = proxy(workers => 2);
	for (['master', 1], ['worker', 2], ['worker 0', 1], ['worker 1', 1], ['certgen', 1], ['janitor', 1], ['admin', 1]) {
		is scalar(my @found = $p->pids($_->[0])), $_->[1], "$_->[1] passsage: $_->[0]";
	}
	my (undef, $ps) = run_cmd('ps', '-o', 'pid,args', '-p', join ',', $p->family);
	like $ps, qr/\bpasssage: $_\b/, "ps shows it: $_" for 'master', 'worker 1', 'certgen';
	is slurp("$p->{state}/run/pid") + 0, $p->master, 'run/pid';
	is slurp("$p->{state}/run/port") + 0, $p->port, 'run/port';
	is slurp("$p->{state}/run/health-port") + 0, $p->health, 'run/health-port';
	my @pids = $p->family;
	is $p->stop, 0, 'SIGTERM: status 0';
	ok !(grep { !gone($_) } @pids), '… and all are gone';
	ok !-e "$p->{state}/run/pid", '… with run/pid';
};

subtest 'no process that talks to others has more of the kernel than it needs' => sub {
	my $status = sub { my ($pid, $field) = @_; (slurp("/proc/$pid/status") // '') =~ /^$field:\s+(\S+)/m ? $1 : '' };
	my $s3 = free_port(); # nobody is there: the uploader waits, in its sandbox
	my $p = proxy(workers => 2, s3_endpoint => "http://127.0.0.1:$s3", s3_bucket => 'b', s3_access_key => 'k', s3_secret_key => 's');
	is $p->curl($origin->https('/hello'))->status, 200, 'it serves';
	for my $title ('worker 0', 'worker 1', 'uploader', 'janitor', 'admin', 'certgen') {
		my ($pid) = $p->pids($title);
		is $status->($pid, 'NoNewPrivs'), 1, "$title: no_new_privs";
		is $status->($pid, 'Seccomp'), 2, '… a filter of system calls';
		is $status->($pid, 'Seccomp_filters') || 1, $title eq 'certgen' && !$ENV{SAN} ? 2 : 1, '… as many as it should have';
		like $status->($pid, $_), qr/^0+$/, "… $_: none" for $> || $status->($pid, 'Uid') != 0 ? ('CapPrm', 'CapEff') : ();
	}
	unlike $p->log, qr/without a filter|keeps privileges/, 'the log has no complaint';
	is $p->stop, 0, 'it ends well';
	$p = proxy(args => ['-X']);
	is $status->($p->master, 'Seccomp'), 2, '-X: the worker in the foreground has it, too';
	is $p->curl($origin->https('/hello'))->status, 200, '… and serves';
	is $p->stop, 0, '… and ends well';
};

subtest '-X: the worker in the foreground process, for a debugger' => sub {
	for my $sig ('TERM', 'INT') {
		my $p = proxy(args => ['-X']);
		is scalar(my @w = $p->pids('worker')), 0, 'no process of its own for the worker';
		is $p->curl($origin->url('/hello'))->body, "hello\n", '… it serves';
		$p->reload;
		is $p->curl($origin->url('/other'))->body, 'other', '… also after SIGHUP';
		my @pids = $p->family;
		is $p->stop($sig), 0, "SIG$sig: status 0";
		ok !-e "$p->{state}/run/pid", '… run/pid is gone';
		like $p->log, qr/stopped/, '… and the log says so';
		ok wait_until(sub { !grep { !gone($_) } @pids }, 10, 'their end'), '… all others have gone, too';
	}
};

subtest 'workers: one a core, when nothing else is said' => sub {
	my (undef, $cores) = run_cmd('getconf', '_NPROCESSORS_ONLN');
	my ($s, $dump) = run_cmd(passsage(), '--dump-settings');
	like $dump, qr/^processes\.workers = 0 .*default/m, 'the default is 0';
	my $p = proxy(workers => 0);
	is scalar(my @w = $p->pids('worker')), $cores + 0, "$cores here";
};

subtest 'SIGTERM: what runs is finished, idle connections are closed, new ones refused' => sub {
	my $p = proxy(workers => 2, drain_seconds => 20);
	my $idle = $p->wire;
	$idle->get("http://$a/hello", $a);
	my $tls = $p->wire;
	$tls->tunnel($origin->authority);
	$tls->tls('localhost');
	$tls->get('/hello', $origin->authority);
	my $silent = $p->wire;
	my $c = half($p, '/slow');
	my $began = time;
	$p->kill('TERM');
	ok $idle->closed(5), 'an idle connection is closed';
	ok $tls->closed(5), '… one inside TLS too';
	ok $silent->closed(5), '… and one that has not said anything';
	cmp_ok time - $began, '<', 5 * slow(), '… at once';
	ok wait_until(sub { refuses($p->port) }, 5, 'refusal'), 'new ones are refused';
	my $health = $p->get('/ready');
	ok !$health || $health->{status} == 503, '/ready says 503, or is gone';
	ok $c->running, 'the response under way still is';
	$origin->open('pause');
	$c->wait;
	same $c->body, pattern(300000), '… and is finished';
	is $c->exit, 0, '… cleanly';
	is $p->{process}->wait(10 * slow()), 0, 'then the proxy ends, status 0';
	cmp_ok time - $began, '<', 15 * slow(), '… long before --drain-seconds';
	unlink $origin->{dir} . '/gates/pause';
	$p->check_log;
};

subtest '--drain-seconds bounds it; what is cut off is seen to be' => sub {
	my $p = proxy(workers => 1, drain_seconds => 1);
	my $c = half($p, '/stuck');
	my $began = time;
	is $p->stop, 0, 'it ends';
	cmp_ok time - $began, '>=', 0.9, '… not before the time is over';
	cmp_ok time - $began, '<', 1 + 2.5 * slow(), '… but then';
	$c->wait;
	isnt $c->exit, 0, 'the client knows that its body is broken';
};

subtest 'SIGQUIT and SIGINT: at once' => sub {
	for my $sig ('QUIT', 'INT') {
		my $p = proxy(workers => 1, drain_seconds => 60);
		my $c = half($p, '/stuck');
		my $began = time;
		is $p->stop($sig), 0, "SIG$sig: status 0";
		cmp_ok time - $began, '<', 2.5 * slow(), '… at once';
		$c->wait;
		isnt $c->exit, 0, '… the client knows that its body is broken';
	}
};

subtest 'SIGHUP applies what is live without dropping a connection; a bad file changes nothing' => sub {
	my $conf = "$dir/reload.conf";
	spew($conf, "policy: { cache_status = \"hits\"; };\n");
	my $p = proxy(workers => 2, config => $conf);
	my @before = sort $p->pids('worker');
	my $plain = $p->wire;
	my $tls = $p->wire;
	$tls->tunnel($origin->authority);
	$tls->tls('localhost');
	is $plain->get("http://$a/other", $a)->header('cache-status'), undef, 'at first only hits have Cache-Status';
	my $c = half($p, '/slow');
	my $reload = sub { my ($text, $said) = @_; spew($conf, $text); my $n = () = $p->log =~ /$said/g; $p->reload; ok wait_until(sub { $n < (() = $p->log =~ /$said/g) }, 5, 'the reload'), "the log says: $said" };
	$reload->("policy: { cache_status = \"all\"; };\n", qr/settings are read again/);
	ok wait_until(sub { defined $plain->get("http://$a/other", $a)->header('cache-status') }, 5, 'it to take effect'), 'now all have it, on the same connection';
	ok wait_until(sub { defined $tls->get('/other', $origin->authority)->header('cache-status') }, 5, 'it to take effect'), '… and on one inside TLS';
	$reload->("policy: { cache_status = \"sometimes\"; };\n", qr/reload\.conf:1: .*sometimes/);
	ok defined $plain->get("http://$a/other", $a)->header('cache-status'), 'a bad value: complained about, the old one stays';
	$reload->("policy: {\n cache_status = ;\n};\n", qr/reload\.conf:2/);
	ok defined $plain->get("http://$a/other", $a)->header('cache-status'), 'a bad file: the same';
	$reload->("policy: { cache_status = \"all\"; };\nprocesses: { workers = 3; };\nlimits: { fills = 99; };\n", qr/limits\.fills = 99 needs a restart/);
	$origin->open('pause');
	$c->wait;
	same $c->body, pattern(300000), 'a response that was under way all the time is whole';
	unlink $origin->{dir} . '/gates/pause';
	is_deeply [sort $p->pids('worker')], \@before, 'no process was replaced';
	is $p->stop, 0, 'it ends well';
};

subtest 'SIGHUP reopens the logs: they can be rotated' => sub {
	my $log = "$dir/rotated.log";
	my $access = "$dir/rotated-access.log";
	spew($_, '') for $log, $access;
	chmod 0666, $log, $access; # of root's folder: whoever the proxy becomes must be able to write there
	mkdir "$dir/logs", 0777; chmod 0777, "$dir/logs";
	($log, $access) = map { "$dir/logs/$_" } 'error', 'access';
	my $p = proxy(workers => 1, log_file => $log, access_log_file => $access);
	$p->curl($origin->url('/other?1'));
	ok wait_until(sub { (slurp($access) // '') =~ /other\?1/ }, 5, 'a record'), 'a record is written';
	rename $_, "$_.1" for $log, $access;
	$p->reload;
	ok wait_until(sub { (slurp($log) // '') =~ /settings are read again/ }, 5, 'the new log'), 'a new log begins';
	ok wait_until(sub { $p->curl($origin->url('/other?2')); (slurp($access) // '') =~ /other\?2/ }, 5, 'the new access log'), '… and a new access log';
	ok wait_until(sub { my $w = $p->wire; $w->tunnel('rotated.example.test:443'); $w->tls('rotated.example.test') }, 5, 'certgen'), 'certificates are made as before';
	is $p->stop, 0, 'it ends well';
};

subtest 'SIGUSR1 writes what everybody is doing to the log' => sub {
	my $p = proxy(workers => 2);
	my $c = half($p, '/stuck');
	$p->kill('USR1');
	ok wait_until(sub { $p->log =~ /state: .*\/stuck/ }, 5, 'the dump'), 'the request at hand';
	like $p->log, qr/state: \d+ fills, \d+ requests/, '… and the sums';
	like $p->log, qr/state: $_ pid \d+, \d+ restarts/, "… $_" for 'worker 1', 'certgen', 'janitor', 'admin';
	ok $c->running, '… and nothing ends by it';
	$c->kill;
};

subtest 'whatever child dies is started again, and service goes on' => sub {
	my $p = proxy(workers => 2);
	for my $kind ('certgen', 'janitor', 'admin', 'worker 0', 'worker 1') {
		my ($old) = $p->pids($kind);
		kill 'KILL', $old;
		for my $n (1 .. 3) {
			my $c = $p->curl('--retry', 3, '--retry-delay', 0, '--retry-all-errors', $origin->https("/hello?$kind$n" =~ s/ //r));
			is $c->status, 200, "$kind is dead: served" if $n == 1 || $c->status != 200;
		}
		my $new;
		ok wait_until(sub { ($new) = $p->pids($kind); $new && $new != $old }, 10, 'another one'), '… another one takes its place';
		like $p->log, qr/\Q$kind\E \($old\) ended by signal 9/, '… the log says so';
	}
	ok $p->wait_metrics(sub { ($_->{restarts} // 0) >= 5 }, 5, 'restarts'), 'restarts counts them';
	is $p->metrics->{panics}, 0, 'what was killed from outside is no panic';
	is $p->curl($origin->https('/hello?new-name'))->status, 200, 'all is well';
	is $p->stop, 0, 'it ends well';
};

subtest 'a child that keeps dying is not started in a mad loop' => sub {
	my $p = proxy(workers => 2);
	my ($deaths, $until, %seen) = (0, time + 4, ());
	while (time < $until) {
		for my $pid ($p->pids('janitor')) {
			next if $seen{$pid}++;
			kill 'KILL', $pid;
			$deaths++;
		}
		sleep 0.005;
	}
	cmp_ok $deaths, '>=', 2, 'it is tried again';
	cmp_ok $deaths, '<=', 8, "… $deaths times in 4 seconds: the pauses double";
	is $p->curl($origin->https('/hello'))->status, 200, '… and nobody minds';
	is $p->stop, 0, 'it ends well';
};

subtest 'the master is killed: its children leave, the port is free, and another one starts' => sub {
	my $port = free_port();
	my $p = proxy(workers => 2, port => $port, drain_seconds => 1);
	is $p->curl($origin->url('/hello'))->status, 200, 'it serves';
	my $idle = $p->wire;
	my @children = grep { $_ != $p->master } $p->family;
	$p->kill('KILL');
	$p->{process}->wait(5);
	ok wait_until(sub { !grep { !gone($_) } @children }, 8, 'the children'), 'all children have left';
	ok refuses($port), 'nobody listens any more';
	$p->launch;
	is $p->port, $port, 'another one starts on the same port and state';
	is $p->curl($origin->url('/hello'))->hit, 1, '… and serves what was stored';
	is $p->stop, 0, 'it ends well';
};

subtest '-X: one worker in the foreground process' => sub {
	my $p = proxy(args => ['-X'], workers => 4);
	is scalar(my @w = $p->pids('worker')), 0, 'no process of its own';
	is $p->curl($origin->https('/hello'))->status, 200, '… it serves';
	my $began = time;
	is $p->stop, 0, 'SIGTERM ends it';
	cmp_ok time - $began, '<', 5 * slow(), '… at once, for nothing runs';
	$p = proxy(args => ['-X']);
	is $p->stop('INT'), 0, 'so does Ctrl-C';
};

subtest 'the state directory: what is in it is its user\'s; what scripts read is for all' => sub {
	my $mode = sub { sprintf '%o', (stat $_[0])[2] & 07777 };
	my $state = "$dir/modes";
	my $p = proxy(state_dir => $state, workers => 1);
	is $p->curl($origin->url('/hello'))->status, 200, 'it serves';
	is $p->stop, 0, 'it ends';
	chmod 0644, "$state/run/lock"; # as an older version had them
	chmod 0755, "$state/$_" for 'store', 'meta';
	$p->launch;
	is $mode->("$state/run/lock"), '600', 'nobody else can hold run/lock, and so keep it from starting';
	is $mode->("$state/$_"), '750', "$_/" for 'store', 'meta';
	is $mode->("$state/meta/data.mdb"), '600', 'the database';
	is $mode->("$state/$_"), '755', "$_/" for '', 'run';
	is $mode->("$state/run/$_"), '644', "run/$_" for 'pid', 'port', 'health-port';
	is $p->curl($origin->url('/hello'))->hit, 1, 'it has all that it needs';
	SKIP: {
		skip 'only root can become somebody else', 3 if $>;
		my @st = stat "$state/run/lock";
		is "$st[4]", (stat "$state/store")[4], 'the lock is the user\'s whom it has become: its commands look at it';
		my $as = sub { my ($name, @args) = @_; my @pw = getpwnam $name; run_cmd('setpriv', "--reuid=$pw[2]", "--regid=$pw[3]", '--clear-groups', @args) };
		my ($s, $out) = $as->('nobody', passsage(), 'bans', '--state-dir', $state);
		is $s, 0, 'a command of that user' or diag $out;
		($s, $out) = $as->('games', passsage(), 'bans', '--state-dir', $state);
		is $s >> 8, 77, 'another\'s may not';
	}
	is $p->stop, 0, 'it ends well';
};

subtest 'what has the CA\'s key leaves no core, and others of its user cannot look into it; the rest is as the operator says' => sub {
	my @cmd = $> ? () : ('setpriv', '--reuid=nobody', '--regid=' . (getpwnam 'nobody')[3], '--clear-groups', '--inh-caps=-all');
	my $wrapper = "$dir/cores.sh"; # who becomes another user by itself is not dumpable at all
	spew($wrapper, "#!/bin/sh\nulimit -S -c \$(ulimit -H -c)\nexec @cmd '@{[passsage()]}' \"\$\@\"\n");
	chmod 0755, $wrapper;
	my $state = "$dir/cores";
	mkdir $state;
	chmod 0777, $state;
	local $ENV{PASSSAGE} = $wrapper;
	my $p = proxy(state_dir => $state, workers => 1);
	my $cores = sub { (slurp("/proc/$_[0]/limits") =~ /^Max core file size\s+(\S+)/m)[0] };
	my ($certgen, $worker) = map { $p->pids($_) } 'certgen', 'worker 0';
	is $p->curl($origin->https('/hello'))->status, 200, 'it serves';
	is $cores->($certgen), 0, 'certgen leaves no core';
	SKIP: { # sanitizers look into /proc themselves
		skip 'under a sanitizer', 1 if $ENV{SAN};
		is +(stat "/proc/$certgen/mem")[4], 0, '… its memory is root\'s alone';
	}
	isnt +(stat "/proc/$_/mem")[4], 0, $p->title($_) . ' is its user\'s' for $p->master, $worker;
	my ($soft, $hard) = slurp("/proc/$worker/limits") =~ /^Max core file size\s+(\S+)\s+(\S+)/m;
	is $soft, $hard, '… and may leave one';
	is $p->stop, 0, 'it ends well';
};

SKIP: {
	skip 'only root can become somebody else', 1 if $>;
	subtest 'started as root, it is somebody else after binding' => sub {
		my @nobody = getpwnam 'nobody';
		my $p = proxy(workers => 1, user => 'nobody');
		is user_of($_), "$nobody[2] $nobody[2] $nobody[2]", $p->title($_) . ' is nobody' for $p->family;
		my ($w) = $p->pids('worker');
		like slurp("/proc/$w/status"), qr/^Groups:\s*$nobody[3]?\s*$/m, '… without root\'s groups';
		like slurp("/proc/$w/status"), qr/^CapEff:\s+0+$/m, '… and without capabilities';
		my $key = "$p->{state}/ca/mitmproxy-ca.pem";
		is +(stat $key)[4], 0, 'the CA\'s key is root\'s file';
		my ($s) = run_cmd('setpriv', '--reuid=nobody', '--regid=' . $nobody[3], '--clear-groups', 'cat', $key);
		isnt $s, 0, '… which nobody cannot read';
		ok !(grep { (readlink($_) // '') =~ /mitmproxy-ca\.pem/ } map { glob "/proc/$_/fd/*" } grep { $p->title($_) !~ /certgen|master/ } $p->family), '… nor has it open';
		is $p->curl($origin->https('/hello'))->status, 200, 'it serves';
		my ($certgen) = $p->pids('certgen');
		kill 'KILL', $certgen;
		ok wait_until(sub { my ($n) = $p->pids('certgen'); $n && $n != $certgen }, 10, 'certgen'), 'another certgen';
		ok wait_until(sub { my $w = $p->wire; $w->tunnel('again.example.test:443'); $w->tls('again.example.test') }, 10, 'a certificate'), '… can still sign';
		is $p->stop, 0, 'it ends well';
		$p = proxy(workers => 1, user => 'root');
		is user_of(($p->pids('worker'))[0]), '0 0 0', '--user root stays root';
		my ($bad, $out) = run_cmd({ timeout => 10 * slow() }, passsage(), '--user', 'no-such-user', '--state-dir', "$dir/nouser", '--port', 0, '--health-port', -1);
		isnt $bad, 0, 'a user that is none ends the start';
		like $out, qr/no-such-user/, '… and is named';
	};
}

subtest 'one state directory, one master; two instances side by side' => sub {
	my $one = proxy(workers => 1);
	my ($s, $out) = run_cmd({ timeout => 10 * slow() }, passsage(), '--state-dir', $one->state_dir, '--port', 0, '--bind', '127.0.0.1', '--health-port', -1);
	isnt $s, 0, 'a second master on the same state is refused';
	like $out, qr/in use by another passsage/, '… with the reason';
	is $one->curl($origin->url('/hello'))->status, 200, '… and the first does not mind';
	is slurp("$one->{state}/run/port") + 0, $one->port, '… its files neither';
	($s, $out) = run_cmd({ timeout => 10 * slow() }, passsage(), '--state-dir', "$dir/port-taken", '--port', $one->port, '--bind', '127.0.0.1', '--health-port', -1);
	isnt $s, 0, 'a second master on the same port is refused';
	like $out, qr/@{[$one->port]}.*in use/, '… with the reason';
	my $two = proxy(workers => 1);
	is $_->curl($origin->https('/other'))->status, 200, 'two with a state and port of their own' for $one, $two;
	is $one->curl('--proxy', $one->url, $two->url . '/')->status, 200, '… each is a server to the other';
	is $one->stop, 0, 'one ends';
	is $two->curl($origin->https('/other'))->status, 200, '… the other goes on';
	is $two->stop, 0, '… and ends well';
};

subtest '--daemon: in the background once the port is bound' => sub {
	my $state = "$dir/daemon";
	my $log = "$dir/daemon-log"; # the state directory is made by the proxy, the log's place must be there
	mkdir $log, 0777; chmod 0777, $log;
	my $port = free_port();
	my ($s, $out) = run_cmd({ timeout => 20 * slow() }, passsage(), '--daemon', '--state-dir', $state, '--port', $port, '--bind', '127.0.0.1', '--health-port', -1, '--log-file', "$log/log", '--workers', 1);
	is $s, 0, 'the command ends with status 0';
	ok !refuses($port), '… and somebody listens';
	my $pid = (slurp("$state/run/pid") // 0) + 0; # there at once: the command ends when all is ready
	ok $pid && kill(0, $pid), '… run/pid names it';
	SKIP: {
		skip 'no process', 4 unless $pid;
		is +(split ' ', (slurp("/proc/$pid/stat") =~ s/.*\) //sr))[3], $pid, '… it has a session of its own';
		is readlink "/proc/$pid/fd/$_", $_ == 2 ? "$log/log" : '/dev/null', "… descriptor $_" for 0, 1;
		my $r = wait_until(sub { my $c = http_get("127.0.0.1:$port", '/'); $c && $c->{status} == 200 }, 10, 'an answer');
		ok $r, '… it serves';
		kill 'TERM', $pid;
		ok wait_until(sub { gone($pid) && refuses($port) }, 15, 'its end'), '… SIGTERM ends it';
		like slurp("$log/log"), qr/stopped/, '… and its log says so';
		kill 'KILL', $pid unless gone($pid);
	}
};
done_testing;
