# git clones, fetches and pushes by smart HTTP over https through the proxy; a clone by the dumb protocol, whose objects may be kept, comes from the cache.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Test::More;

my $git = tool('git') or skip_file('no git here');
my ($status, $exec) = run_cmd($git, '--exec-path');
chomp $exec;
my $backend = "$exec/git-http-backend";
skip_file('no git-http-backend here') unless -x $backend;

delete @ENV{grep { /^GIT_/ } keys %ENV};
my $home = fresh_dir();
@ENV{qw(HOME GIT_CONFIG_NOSYSTEM GIT_TERMINAL_PROMPT)} = ($home, 1, 0);
@ENV{map { ("GIT_${_}_NAME", "GIT_${_}_EMAIL") } qw(AUTHOR COMMITTER)} = ('lab', 'lab@example.com') x 2;
sub git { my $o = ref $_[0] ? shift : {}; my ($s, $out) = run_cmd({ timeout => 60 * Lab::slow(), %$o }, $git, @_); local $Test::Builder::Level = $Test::Builder::Level + 1; return wantarray ? ($s, $out) : ok($s == 0, "git @_") || diag $out }

# A repository: some text, one file that does not compress, 3 MB.
my $root = fresh_dir();
my $work = fresh_dir();
git('init', '-q', '-b', 'main', $work);
spew("$work/file$_", "line $_\n" x 50) for 1 .. 20;
spew("$work/big", join '', map { pack 'N*', map { int rand 2**32 } 1 .. 1024 } 1 .. 750);
git({ cwd => $work }, 'add', '.');
git({ cwd => $work }, 'commit', '-q', '-m', 'one');
git('clone', '-q', '--bare', $work, "$root/lab.git");
git({ cwd => "$root/lab.git" }, 'config', 'http.receivepack', 'true');
git({ cwd => "$root/lab.git" }, 'update-server-info'); # for the dumb protocol
git({ cwd => "$root/lab.git" }, 'config', 'receive.autogc', 'false');

# git http-backend is a CGI program; this is its server.
my $origin = origin(host => '127.0.0.2', '*' => sub {
	my ($c, $req) = @_;
	my $body = $c->read_body;
	my ($path, $query) = split /\?/, $req->{target}, 2;
	my $in = "$root/in.$$." . ++$Lab::seq;
	spew($in, $body);
	$c->{origin}->note(event => 'pack', %$req, body_length => length $body);
	local %ENV = (%ENV, GIT_PROJECT_ROOT => $root, GIT_HTTP_EXPORT_ALL => 1, REQUEST_METHOD => $req->{method}, PATH_INFO => $path, QUERY_STRING => $query // '',
		CONTENT_TYPE => $req->{headers}{'content-type'} // '', CONTENT_LENGTH => length $body, REMOTE_ADDR => '127.0.0.1', REMOTE_USER => 'lab',
		HTTP_CONTENT_ENCODING => $req->{headers}{'content-encoding'} // '', GIT_PROTOCOL => $req->{headers}{'git-protocol'} // '');
	local $SIG{CHLD} = 'DEFAULT';
	my $out = `'$backend' <'$in' 2>>'$root/errors'`;
	unlink $in;
	my ($head, $answer) = split /\r?\n\r?\n/, $out, 2;
	my $status = $head =~ s/^Status:\s*(\d+)[^\n]*\n?//mi ? $1 : 200;
	my @h = map { /^([^:]+):\s*(.*?)\r?$/ && lc $1 ne 'content-length' ? ($1, $2) : () } split /\n/, $head;
	# small answers with a length, others in chunks: both are usual
	return $c->respond({ status => $status, headers => \@h, body => $answer // '', length($answer // '') > 100000 ? (chunked => 1) : () });
});
my $url = $origin->https('/lab.git');
my $proxy = proxy(workers => 2, access_log_file => fresh_dir() . '/access.json', access_log_headers => 'cache-control,expires,last-modified,etag,age,vary,set-cookie,cache-status,date');
my @through = ('-c', 'http.proxy=' . $proxy->url, '-c', 'http.sslCAInfo=' . $proxy->ca);
sub head { my ($s, $out) = git({ cwd => $_[0] }, 'rev-parse', 'HEAD'); chomp $out; $out }
sub cloned { my ($d) = @_; is head($d), head($work), '… has the commit'; ok slurp("$d/big") eq slurp("$work/big"), '… and the big file' }

subtest 'smart HTTP: clone, twice; nothing of it may be kept' => sub {
	for my $n (1, 2) {
		my $d = fresh_dir();
		my @r = round_records($proxy, sub { git(@through, 'clone', '-q', $url, "$d/clone") });
		cloned("$d/clone");
		my $t = tally("git clone, smart, $n", @r);
		cmp_ok $t->{objects}, '>=', 2, 'through the proxy';
		is $t->{cached}, 0, 'none from the cache: POST, and no-cache';
		is_deeply $t->{why}{'may be kept'} // [], [], '… as the origin wants it';
	}
};

subtest 'smart HTTP: fetch what is new, push with a large body in chunks' => sub {
	my $d = fresh_dir();
	git(@through, 'clone', '-q', '--depth', 1, $url, "$d/a");
	git(@through, 'clone', '-q', $url, "$d/b");
	spew("$d/a/new", join '', map { pack 'N*', map { int rand 2**32 } 1 .. 1024 } 1 .. 750);
	git({ cwd => "$d/a" }, 'add', '.');
	git({ cwd => "$d/a" }, 'commit', '-q', '-m', 'two');
	git({ cwd => "$d/a" }, @through, '-c', 'http.postBuffer=65536', 'push', '-q', 'origin', 'main');
	my ($push) = grep { $_->{event} eq 'pack' && $_->{method} eq 'POST' && $_->{target} =~ /receive-pack/ && ($_->{body_length} // 0) > 1_000_000 } $origin->events;
	ok $push, 'the pack arrived at the origin' and note "$push->{body_length} bytes, ", $push->{headers}{'transfer-encoding'} // 'with a length';
	git({ cwd => "$d/b" }, @through, 'pull', '-q', '--ff-only');
	is head("$d/b"), head("$d/a"), 'another clone sees at once what was pushed: no stale refs';
	ok slurp("$d/b/new") eq slurp("$d/a/new"), '… whole';
};

subtest 'dumb HTTP: objects are for ever' => sub {
	git({ cwd => "$root/lab.git" }, 'update-server-info');
	local $ENV{GIT_SMART_HTTP} = 0;
	my ($first, $second);
	for my $n (1, 2) {
		my $d = fresh_dir();
		my @r = round_records($proxy, sub { git(@through, 'clone', '-q', $url, "$d/clone") });
		my $t = tally("git clone, dumb, $n", @r);
		is_deeply $t->{why}{'may be kept'} // [], [], 'what may be kept comes from the cache' if $n == 2;
		my @objects = grep { $_->{url} =~ m{/objects/(?:..|pack)/} && $_->{status_code} == 200 } @r;
		cmp_ok scalar @objects, '>=', 2, 'objects were fetched';
		is scalar(grep { $_->{cached} } @objects), $n == 2 ? scalar @objects : 0, $n == 2 ? "all " . @objects . " from the cache" : 'from the origin';
		my ($s, $out) = git({ cwd => "$d/clone" }, 'fsck', '--full');
		is $s, 0, '… whole' or diag $out;
	}
};

subtest 'what breaks is said' => sub {
	my $d = fresh_dir();
	my ($s, $out) = git(@through, 'clone', '-q', $origin->https('/none.git'), "$d/none");
	isnt $s, 0, 'a repository that is not there';
	like $out, qr/not found/, '… git says so';
	($s, $out) = git('-c', 'http.proxy=' . $proxy->url, 'clone', '-q', $url, "$d/untrusted");
	isnt $s, 0, 'a client that does not trust the CA';
	like $out, qr/certificate/, '… says so';
};
done_testing;
