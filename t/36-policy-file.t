# The policy file, seen from outside: each kind of rule decides a request, and a file that is wrong changes nothing (what is said of each
# mistake: t/unit/policy_rulefile.c).
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Lab;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $origin = origin(
	'/files/a.bin?token=1' => { cc => 'max-age=60', body => 'bin' },
	'/files/a.bin?token=2' => { cc => 'max-age=60', body => 'bin' },
	'/files/a.bin?token=3' => { body => 'changed', cc => 'max-age=60' },
	'/refresh/short' => { cc => 'max-age=0', body => 'short' },
	'/refresh/secret' => { cc => 'no-store', body => 'not so secret' },
	'/kept/secret' => { cc => 'no-store', body => 'secret' },
	'/swr' => { cc => 'max-age=0', body => 'index', etag => '"i"', conditional => 1 },
	'/slow' => sub { my ($c) = @_; sleep 5; $c->respond({ body => 'late' }) },
);
my $file = lab_dir() . '/policy';
my $log = lab_dir() . '/access';
spew($log, '');
chmod 0666, $log; # the proxy may be another user by then
my $rules = <<'END';
include_defaults = "behind";
rules = (
	{ type = "Suffix"; match = ".always"; policy = "AlwaysUpstream"; },
	{ type = "Suffix"; match = "&all=1"; with_query = true; policy = "AlwaysUpstream"; },
	{ type = "Prefix"; match = "http://prefix.test/"; policy = "NoRefresh"; },
	{ type = "HostPrefix"; match = "npm."; policy = "AlwaysUpstream"; },
	{ type = "HostContains"; match = "corp"; exclude = "guest"; policy = "AlwaysUpstream"; },
	{ type = "HostSuffix"; match = [ "one.example", "two.example" ]; policy = "AlwaysUpstream"; },
	{ type = "PathContains"; match = "/snapshot/"; policy = "AlwaysUpstream"; },
	{ type = "Regex"; match = "/v[0-9]+\\.tgz$"; policy = "AlwaysUpstream"; },
	{ type = "Header"; name = "X-Equal"; equals = "yes"; policy = "AlwaysUpstream"; },
	{ type = "Header"; name = "User-Agent"; contains = "HealthCheck"; policy = "AlwaysUpstream"; },
	{ type = "Header"; name = "X-Match"; matches = "^a+$"; policy = "AlwaysUpstream"; },
	{ type = "Method"; match = "HEAD"; policy = "AlwaysUpstream"; },
	{ type = "PathContains"; match = "/swr"; policy = "Standard"; forced_swr_seconds = 60; },
	{ type = "PathContains"; match = "/slow"; policy = "Standard"; timeouts = { connect = 5; read = 0.5; }; },
	{ type = "HostPrefix"; match = "localhost"; policy = "Standard"; },
	{ type = "Client"; match = "127.0.0.0/8"; policy = "NoRefresh"; }
);
key_rules = ( { type = "PathContains"; match = "/files/"; pattern = "\\?.*$"; rewrite = "?same"; } );
refresh_patterns = ( { match = "/refresh/secret"; min = 60; ignore_no_store = true; }, { match = "/refresh/|/kept/"; min = 60; } );
END
spew($file, $rules);
my $proxy = proxy(workers => 2, policy_file => $file, access_log_file => $log);

# The policies of requests that need no origin: what is not stored is refused. Each has a path of its own, by which its record is found.
my $n = 0;
sub policies { # [url, curl arguments]...
	my @urls = map { my ($url, @args) = @$_; $n++; $url =~ s{^(http://[^/]+)}{$1/$n}; $proxy->curl(@args, '-H', 'Cache-Control: only-if-cached', $url); $url } @_;
	my %seen;
	wait_until(sub { %seen = map { my $r = decode_json($_); ($r->{url} => $r->{policy}) } grep { /\}$/ } split /\n/, slurp($log) // ''; !grep { !$seen{$_} } @urls }, 10, 'the records')
		or diag join "\n", grep { !$seen{$_} } @urls;
	return map { $seen{$_} } @urls;
}

subtest 'each kind of rule' => sub {
	my @rows = (
		[ 'AlwaysUpstream', 'Suffix', 'http://x.test/a.always' ],
		[ 'NoRefresh', 'Suffix is of the path; and Client', 'http://x.test/a?x=.always' ],
		[ 'AlwaysUpstream', 'Suffix with_query', 'http://x.test/a?b&all=1' ],
		[ 'NoRefresh', 'Prefix, before all others', 'http://prefix.test/a.always' ],
		[ 'AlwaysUpstream', 'HostPrefix', 'http://npm.test/' ],
		[ 'AlwaysUpstream', 'HostContains', 'http://x.corp.test/' ],
		[ 'NoRefresh', '… but what it excludes', 'http://guest.corp.test/' ],
		[ 'AlwaysUpstream', 'HostSuffix', 'http://a.b.two.example/' ],
		[ 'NoRefresh', '… only at a dot', 'http://atwo.example/' ],
		[ 'AlwaysUpstream', 'PathContains', 'http://x.test/snapshot/1' ],
		[ 'AlwaysUpstream', 'Regex', 'http://x.test/V12.tgz' ],
		[ 'AlwaysUpstream', 'Header equals', 'http://x.test/e', '-H', 'X-Equal: Yes' ],
		[ 'AlwaysUpstream', 'Header contains', 'http://x.test/c', '-A', 'my-healthcheck/1' ],
		[ 'AlwaysUpstream', 'Header matches', 'http://x.test/m', '-H', 'X-Match: aaa' ],
		[ 'NoRefresh', '… or not', 'http://x.test/m', '-H', 'X-Match: aab' ],
		[ 'AlwaysUpstream', 'Method', 'http://x.test/h', '-I' ],
	);
	my @got = policies(map { [ @$_[2 .. $#$_] ] } @rows);
	is $got[$_], $rows[$_][0], $rows[$_][1] for 0 .. $#rows;
};

subtest 'keys' => sub {
	my $first = $proxy->curl($origin->url('/files/a.bin?token=1'));
	ok !$first->hit, 'a miss';
	my $second = $proxy->curl($origin->url('/files/a.bin?token=2'));
	ok $second->hit, 'another URL, the same key: a hit';
	is $second->body, 'bin', '… with its body';
	$proxy->curl('-X', 'POST', '-d', 'x', $origin->url('/files/a.bin?token=3'));
	ok !$proxy->curl($origin->url('/files/a.bin?token=2'))->hit, 'an unsafe request invalidates by the key, too';
};

subtest 'refresh patterns' => sub {
	$proxy->curl($origin->url($_)) for '/refresh/short', '/refresh/secret', '/kept/secret';
	ok $proxy->curl($origin->url('/refresh/short'))->hit, 'fresh for longer than its origin says';
	ok $proxy->curl($origin->url('/refresh/secret'))->hit, 'no-store is ignored where the file says so';
	ok !$proxy->curl($origin->url('/kept/secret'))->hit, '… and nowhere else';
	is $origin->hits('/refresh/short'), 1, 'the origin was asked once';
};

subtest 'times' => sub {
	$proxy->curl($origin->url('/swr'));
	ok $proxy->curl($origin->url('/swr'))->hit, 'forced_swr_seconds: served at once';
	ok wait_until(sub { $proxy->curl($origin->url('/swr'))->hit && $origin->hits('/swr', 304) }, 10, 'the validation'), 'and validated in the background';
	my $start = time;
	is $proxy->curl($origin->url('/slow'))->status, 504, 'timeouts: read';
	cmp_ok time - $start, '<', 4 * slow(), '… is the rule\'s';
};

subtest 'reload' => sub {
	my $complaints = sub { scalar(() = $proxy->log =~ /the old rules stay in force/g) };
	spew($file, "rules = (\n\t{ type = \"Sufix\"; match = \".x\"; policy = \"NoRefresh\"; }\n);\n");
	$proxy->reload;
	ok wait_until(sub { $complaints->() }, 10, 'the complaint'), 'a bad file is refused';
	like $proxy->log, qr/\Q$file:2: type = Sufix: must be one of Prefix, /, '… with its line and what would be right';
	sleep 0.5;
	is $complaints->(), 1, '… in one line, however many workers there are';
	is_deeply [ policies([ 'http://x.test/b.always' ], [ 'http://y.test/' ]) ], [ 'AlwaysUpstream', 'NoRefresh' ], '… and the old rules are in force';
	my ($worker) = $proxy->pids('worker');
	CORE::kill('KILL', $worker);
	wait_until(sub { my @now = $proxy->pids('worker'); @now == 2 && !grep { $_ == $worker } @now }, 15, 'a new worker');
	is_deeply [ policies(map { [ "http://x$_.test/c.always" ] } 1 .. 8) ], [ ('AlwaysUpstream') x 8 ], '… in a worker that starts now, too';

	spew($file, "include_defaults = \"none\";\ndefault_policy = \"StaleIfError\";\nrules = ( { type = \"Suffix\"; match = \".always\"; policy = \"NoRefresh\"; } );\n");
	$proxy->reload;
	ok wait_until(sub { my @p = policies(map { [ "http://z$_.test/d.always" ] } 1 .. 4); 4 == grep { $_ eq 'NoRefresh' } @p }, 10, 'the new rules'), 'a good one is taken';
	is_deeply [ policies([ 'http://x.test/' ]) ], [ 'StaleIfError' ], '… with its default';
};

subtest 'start' => sub {
	my $start = sub { run_cmd({ timeout => 20 }, passsage(), '--state-dir', lab_dir() . '/refused', '--port', 0, '--health-port', 0, '--policy-file', $_[0]) };
	spew("$file.bad", "default_policy = \"Standard\";\nrules = ( { type = \"Regex\"; match = \"(\"; policy = \"NoCache\"; } );\n");
	my ($s, $out) = $start->("$file.bad");
	is $s >> 8, 64, 'a bad file ends the start';
	like $out, qr/\Q$file.bad:2: Regex (: missing closing parenthesis at offset 1/, '… with its line and what is wrong';
	ok !-e lab_dir() . '/refused', '… before anything is done';
	($s, $out) = run_cmd({ timeout => 20 }, passsage(), '--dump-settings', '--policy-file', "$file.bad");
	is $s >> 8, 64, '--dump-settings says so, too';
	($s, $out) = $start->("$file.none");
	is $s >> 8, 64, 'and so does one that is not there';
	like $out, qr/\Q$file.none: cannot be read: No such file/, '… by name';
	my $p = proxy(policy_file => root_dir() . '/etc/passsage.policy.sample');
	is $p->curl($origin->url('/refresh/short'))->body, 'short', 'the sample is a good one';
	is $p->stop >> 8, 0, '… and ends well';
};

is $proxy->stop >> 8, 0, 'the end';
done_testing;
