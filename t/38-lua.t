# A policy file that is a program in Lua, seen from outside: it decides, it is reloaded, and whatever it does wrong stops nobody (each kind of
# harm by itself: t/unit/policy_luafile.c).
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Lab;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $origin = origin(
	(map { ("/harm/$_" => { cc => 'max-age=60', body => "body of $_" }) } qw(loop catch grow string error wrong pattern collect)),
	(map { ("/keys/$_/a" => { cc => 'max-age=60', body => "from $_" }) } qw(one two three)),
	'/loop/all' => { cc => 'max-age=0', body => 'looped' },
	'/fine' => { cc => 'max-age=60', body => 'fine' },
	'/swr' => { cc => 'max-age=0', body => 'index', etag => '"i"', conditional => 1 },
	'/slow' => sub { my ($c) = @_; sleep 5; $c->respond({ body => 'late' }) },
);
my $file = lab_dir() . '/policy.lua';
my $log = lab_dir() . '/access';
spew($log, '');
chmod 0666, $log; # the proxy may be another user by then
spew($file, <<'END');
default_policy = "StaleIfError"
local kept = {}
local harm = {
	loop = function() while true do end end,
	catch = function() while true do pcall(function() while true do end end) end end,
	grow = function() while true do kept[#kept + 1] = {} end end,
	string = function() local s = "x" while true do s = s .. s end end,
	error = function() return nothing.there end,
	wrong = function() return "Sometimes" end,
	pattern = function() return ("a"):rep(100000):find(".-.-.-.-b") end,
	collect = function() setmetatable({}, { __gc = function() while true do end end }) end,
}
function resolver(ctx)
	local what = ctx.path:match("^/harm/(%w+)")
	if what then return harm[what]() end
	if ctx.path:find("^/loop/") then return harm.loop() end
	if ctx.host == "resolved.test" then return "AlwaysUpstream" end
	if ctx.headers["X-MODE"] == "a, b" then return "AlwaysUpstream" end
	if ctx.path == "/swr" then return { policy = "Standard", forced_swr_seconds = 60 } end
	if ctx.path == "/slow" then return { policy = "Standard", timeouts = { connect = 5, read = 0.5 } } end
end
function rules()
	return {
		{ type = "Suffix", match = ".norefresh", policy = "NoRefresh" },
		{ type = "Callable", call = function(ctx)
			if ctx.method == "HEAD" then return "AlwaysUpstream" end
			if ctx.client == "127.0.0.1" and ctx.path:find("^/%d+/client") then return { policy = "NoRefresh" } end
		end },
		{ type = "PathContains", match = "/harm/", policy = "NoCache" },
		{ type = "HostSuffix", match = { "one.example", "two.example" }, policy = "AlwaysUpstream" },
	}
end
function cache_key(ctx)
	local name = ctx.path:match("^/keys/%w+/(.*)$")
	return name and "http://keys.example/" .. name
end
END
my $proxy = proxy(workers => 2, policy_file => $file, access_log_file => $log, debug => 'true');

# The policies of requests that need no origin, as in t/36.
my $n = 0;
sub records { my %seen = map { my $r = decode_json($_); ($r->{url} => $r->{policy}) } grep { /\}$/ } split /\n/, slurp($log) // ''; return \%seen }
sub policies { # [url, curl arguments]...
	my @urls = map { my ($url, @args) = @$_; $n++; $url =~ s{^(http://[^/]+)}{$1/$n}; $proxy->curl(@args, '-H', 'Cache-Control: only-if-cached', $url); $url } @_;
	my $seen;
	wait_until(sub { $seen = records(); !grep { !$seen->{$_} } @urls }, 10, 'the records');
	return map { $seen->{$_} } @urls;
}

subtest 'it decides' => sub {
	my @rows = (
		[ 'AlwaysUpstream', 'resolver', 'http://resolved.test/a.norefresh' ],
		[ 'NoRefresh', 'a rule, where it says nothing', 'http://x.test/a.norefresh' ],
		[ 'AlwaysUpstream', 'resolver by a field, its lines joined', 'http://x.test/f', '-H', 'x-mode: a', '-H', 'X-Mode: b' ],
		[ 'StaleIfError', '… or not', 'http://x.test/f', '-H', 'x-mode: a' ],
		[ 'AlwaysUpstream', 'Callable', 'http://x.test/h', '-I' ],
		[ 'NoRefresh', 'Callable by the client', 'http://x.test/client' ],
		[ 'AlwaysUpstream', 'a rule behind it', 'http://a.two.example/' ],
		[ 'StaleIfError', 'default_policy', 'http://x.test/' ],
		[ 'StaleIfError', 'a built-in rule', 'http://x.test/a.deb' ],
	);
	my @got = policies(map { [ @$_[2 .. $#$_] ] } @rows);
	is $got[$_], $rows[$_][0], $rows[$_][1] for 0 .. $#rows;
	ok !$proxy->curl($origin->url('/keys/one/a'))->hit, 'cache_key: a miss';
	my $second = $proxy->curl($origin->url('/keys/two/a'));
	ok $second->hit, '… another URL, the same key: a hit';
	is $second->body, 'from one', '… with its body';
	$proxy->curl('-X', 'POST', '-d', 'x', $origin->url('/keys/three/a'));
	ok !$proxy->curl($origin->url('/keys/two/a'))->hit, '… and an unsafe request invalidates by it';
	$proxy->curl($origin->url('/swr'));
	ok $proxy->curl($origin->url('/swr'))->hit, 'forced_swr_seconds';
	my $start = time;
	is $proxy->curl($origin->url('/slow'))->status, 504, 'timeouts';
	cmp_ok time - $start, '<', 4 * slow(), '… are its own';
	is $proxy->metrics->{policy_errors}, 0, 'nothing has failed';
};

subtest 'what it does wrong stops nobody' => sub {
	for my $what (qw(loop catch error wrong pattern collect string grow)) {
		my $start = time;
		my $r;
		my $d = $proxy->counted(sub { $r = $proxy->curl($origin->url("/harm/$what")) });
		is $r->body, "body of $what", "$what: the request is answered";
		cmp_ok time - $start, '<', 3 * slow(), '… in bounded time';
		cmp_ok $d->{policy_errors}, '>=', 1, '… and counted';
		my $url = $origin->url("/harm/$what");
		ok wait_until(sub { records()->{$url} }, 10, 'the record'), '… and recorded';
		is records()->{$url}, 'StaleIfError', '… under the default policy, not a rule behind it';
		is $proxy->curl($origin->url('/fine'))->body, 'fine', '… and so is the next';
		next unless $what eq 'string' || $what eq 'grow';
		# its memory was used up: a worker that has lost its program has it again after a second
		ok wait_until(sub { 8 == grep { $_ eq 'AlwaysUpstream' } policies(map { [ "http://resolved.test/again" ] } 1 .. 8) }, 10, 'the program'), '… and it is begun anew';
	}
	my @lines = grep { /the default applies/ } split /\n/, $proxy->log;
	cmp_ok scalar @lines, '>=', 1, 'the log says so';
	cmp_ok scalar @lines, '<=', 6, '… now and then, not for each request';
	like $lines[0], qr/\Q$file:4: has used up its instructions (--lua-instructions); the default applies/, '… with file, line and what it was';
};

subtest 'a crowd of endless loops' => sub {
	my $start = time;
	my $d = $proxy->counted(sub {
		my @c = map { $proxy->curl_bg($origin->url("/loop/all?$_")) } 1 .. 40;
		my $fine = $proxy->curl($origin->url('/fine'));
		is $fine->body, 'fine', 'another request beside them';
		is scalar(grep { $_->wait->body eq 'looped' } @c), 40, 'all are answered';
	});
	cmp_ok time - $start, '<', 20 * slow(), '… in bounded time';
	cmp_ok $d->{policy_errors}, '>=', 40, '… each counted';
	is scalar($proxy->pids('worker')), 2, 'the workers are there';
	is $proxy->metrics->{panics} // 0, 0, '… as they were';
};

subtest 'reload' => sub {
	my $complaints = sub { scalar(() = $proxy->log =~ /the old rules stay in force/g) };
	my %bad = ("rules = {\n\t{ type = \"Sufix\" }\n" => qr/\Q$file:3: \E.*'}' expected/, "x = 1\nrules = { { type = \"Sufix\" } }\n" => qr/\Q$file:2: rules[1]: type = Sufix: must be one of Prefix, /,
	           "default_policy = 'NoCache'\n\nwhile true do end\n" => qr/\Q$file:3: has used up its instructions/);
	for my $text (sort keys %bad) {
		spew($file, $text);
		$proxy->reload;
		ok wait_until(sub { grep { /old rules stay in force/ && $_ =~ $bad{$text} } split /\n/, $proxy->log }, 15, 'the complaint'), 'a bad file is refused, with its line';
		is_deeply [ policies([ 'http://resolved.test/' ], [ 'http://y.test/b.norefresh' ]) ], [ 'AlwaysUpstream', 'NoRefresh' ], '… and the old program is in force';
	}
	spew($file, "include_defaults = 'none' function resolver(ctx) return 'NoRefresh' end\n");
	$proxy->reload;
	ok wait_until(sub { my @p = policies(map { [ "http://z$_.test/" ] } 1 .. 4); 4 == grep { $_ eq 'NoRefresh' } @p }, 10, 'the new program'), 'a good one is taken';
};

subtest 'start' => sub {
	my $start = sub { run_cmd({ timeout => 20 }, passsage(), '--state-dir', lab_dir() . '/refused', '--port', 0, '--health-port', 0, '--policy-file', @_) };
	spew("$file.bad.lua", "default_policy = 'Standard'\nlocal x = y.z\n");
	my ($s, $out) = $start->("$file.bad.lua");
	is $s >> 8, 64, 'a bad file ends the start';
	like $out, qr/\Q$file.bad.lua:2: attempt to index a nil value (global 'y')/, '… with its line and what is wrong';
	ok !-e lab_dir() . '/refused', '… before anything is done';
	spew("$file.deep.lua", 'rules = ' . '{' x 190 . '}' x 190 . "\n"); # the parser's stack
	is +($start->("$file.deep.lua"))[0] >> 8, 64, 'and so does one that is nested deeply';
	spew("$file.long.lua", "local n = 0 for i = 1, 50000 do n = n + 1 end default_policy = 'NoCache'\n");
	($s, $out) = $start->("$file.long.lua", '--lua-instructions', 1000);
	is $s >> 8, 64, '--lua-instructions is the bound';
	like $out, qr/\Q$file.long.lua:1: has used up its instructions/, '… and named';
	spew("$file.big.lua", "t = {} for i = 1, 10000 do t[i] = 'number ' .. i end default_policy = 'NoCache'\n");
	($s, $out) = $start->("$file.big.lua", '--lua-memory', '256K');
	is $s >> 8, 64, '--lua-memory likewise';
	like $out, qr/\Q$file.big.lua:1: has used up its memory/, '… and named';
	spew("$file.sample.lua", slurp(root_dir() . '/etc/passsage.policy.lua.sample'));
	my $p = proxy(policy_file => "$file.sample.lua");
	is $p->curl($origin->url('/fine'))->body, 'fine', 'the sample is a good one';
	is $p->metrics->{policy_errors}, 0, '… with nothing to complain of';
	is $p->stop >> 8, 0, '… and ends well';
};

is $proxy->stop >> 8, 0, 'the end';
done_testing;
