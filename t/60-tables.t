# The tables are the truth: generated files, documents, headers and folders agree with them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use File::Basename 'basename';
use Test::More;

my $root = root_dir();
chdir $root or die "$root: $!";
my $dir = lab_dir();
my @folders = qw(common policy es s3 certgen server);
my @sources = map { glob "$_/*.c" } @folders;
my %text = map { $_ => slurp($_) } @sources, map { (glob("$_/*.h"), glob "$_/tbl/*.h") } @folders;
my $all = join "\n", map { $text{$_} } @sources;
my $cc = have_cmd('cc') || have_cmd('gcc');
my ($dep) = (slurp('config.mk') // '') =~ /^DEP_CFLAGS\s*[:?]?=\s*(.*)$/m;
my @flags = ('-std=c11', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Wno-unused-function', '-Werror', '-D_GNU_SOURCE', '-DHAVE_CONFIG_H', '-I.', '-include', 'config.h', '-include', 'common/banned.h',
             split ' ', $dep // '');
sub compiles { return run_cmd({ timeout => 60 }, $cc, @flags, '-fsyntax-only', @_) }
sub rows { my ($file, $macro) = @_; return $text{$file} =~ /^\Q$macro\E\((\w+),/mg }
sub no_two { my ($what, @list) = @_; my %seen; my @twice = grep { $seen{$_}++ } @list; is "@twice", '', "no two $what are alike"; cmp_ok scalar @list, '>', 2, '… the table was understood' }

subtest 'every header compiles alone, in any order, twice' => sub {
	plan skip_all => 'no C compiler' unless $cc && -e 'config.h';
	my @headers = grep { !m{/tbl/} && $_ ne 'common/banned.h' } sort grep { /\.h$/ } keys %text;
	my %broken;
	for my $h (@headers) {
		spew("$dir/alone." . basename($h) . '.c', qq(#include "$h"\n#include "$h"\nextern int nothing_else;\n));
	}
	my ($s, $out) = run_cmd({ timeout => 120 * slow() }, 'sh', '-c', 'for h in "$@"; do echo "$h"; done | xargs -P 2 -I{} sh -c \'n=$(basename {}); ' .
		join(' ', map { "\"$_\"" } $cc, @flags) . " -fsyntax-only $dir/alone.\$n.c 2>$dir/alone.\$n.err || echo BROKEN {}'", 'sh', @headers);
	$broken{$_} = slurp("$dir/alone." . basename($_) . '.err') for $out =~ /^BROKEN (\S+)$/mg;
	is $s, 0, 'all were tried' or diag $out;
	ok !$broken{$_}, $_ or diag $broken{$_} for @headers;
};

subtest 'what is banned does not compile' => sub {
	plan skip_all => 'no C compiler' unless $cc && -e 'config.h';
	my %call = (strcpy => 'strcpy(p, "a")', strcat => 'strcat(p, "a")', strncpy => 'strncpy(p, "a", 1)', strtok => 'strtok(p, "a")', sprintf => 'sprintf(p, "a")', gmtime => 'gmtime(&t)', localtime => 'localtime(&t)',
	            ctime => 'ctime(&t)', asctime => 'asctime(&tm)', atoi => 'atoi(p)', atol => 'atol(p)', alloca => 'alloca(1)');
	my @banned = $text{'common/banned.h'} =~ /^#define (\w+)\([^)]*\) BANNED/mg;
	cmp_ok scalar @banned, '>=', 10, 'the list';
	my $body = sub { "void f(char *p, time_t t);\nvoid f(char *p, time_t t)\n{\n\tstruct tm tm = { 0 };\n\t(void)p, (void)t, (void)tm;\n\t$_[0];\n}\n" };
	spew("$dir/clean.c", $body->('snprintf(p, 1, "a")'));
	is +(compiles("$dir/clean.c"))[0], 0, 'what is not banned does';
	for my $f (grep { $call{$_} } @banned) {
		spew("$dir/banned.c", $body->("(void)$call{$f}"));
		my ($s, $out) = compiles("$dir/banned.c");
		ok $s != 0 && $out =~ /sorry_${f}_is_banned/, $f or diag $out;
	}
	my @escapes = grep { $text{$_} =~ /^\s*#\s*undef\s+(?:@{[join '|', @banned]})\b/m } grep { $_ ne 'common/banned.h' } keys %text;
	is "@escapes", '', 'and nobody takes a ban back';
};

subtest 'no folder includes one that it may not' => sub {
	my %may = (common => [], policy => ['common'], es => ['common'], s3 => ['common'], certgen => ['common'], server => [qw(common policy es s3 certgen)]);
	for my $file (sort keys %text) {
		my ($own) = $file =~ m{^(\w+)/};
		for my $inc ($text{$file} =~ /^\s*#\s*include\s+"([^"]+)"/mg) {
			my ($of) = $inc =~ m{^(?:\.\./)+(\w+)/} or next; # "x.h" and "tbl/x.h": its own; "../tbl" is not written
			ok $of eq $own || (grep { $_ eq $of } @{$may{$own}}), "$file includes $inc" unless $of eq $own || grep { $_ eq $of } @{$may{$own}};
		}
	}
	my @headers_that_know_server = grep { !m{^server/} && $text{$_} =~ /"[^"]*server\// } keys %text;
	is "@headers_that_know_server", '', 'nothing includes server';
	for my $file (grep { /\.h$/ && !m{/tbl/} } sort keys %text) { ok $text{$file} =~ /^#pragma once$/m, "$file: #pragma once" }
	for my $file (grep { /\.h$/ } sort keys %text) { like +(split /\n/, $text{$file})[0], qr{^/\* }, "$file begins with what it is" }
};

subtest 'generated files are up to date' => sub {
	my ($s, $out) = run_cmd({ timeout => 30 * slow() }, 'etc/generate', '--check', passsage());
	is $s, 0, 'etc/generate --check' or diag $out;
	for my $file ('etc/passsage.8', 'etc/passsage.conf.sample', 'README.md') {
		my $text = slurp($file);
		my @rows = $text{'common/tbl/settings.h'} =~ /^SETTING\((\w+),\s*\w+,\s*"[^"]*",\s*"(?:\w\/)?([\w-]+)",\s*"(\w+)",\s*"([\w.]+)"/mg;
		cmp_ok scalar @rows, '>', 150, 'the table was understood';
		my @missing;
		while (my ($field, $option, $env, $key) = splice @rows, 0, 4) {
			push @missing, $option unless $text =~ /\Q$option\E/ && $text =~ /\Q$env\E/;
		}
		is "@missing", '', "$file has every setting";
	}
	my ($lint, $complaints) = have_cmd('mandoc') ? run_cmd('mandoc', '-T', 'lint', '-W', 'warning', 'etc/passsage.8') : (0, '');
	is $lint, 0, 'the manual page is well-formed' or diag $complaints;
};

subtest 'settings: no two alike, each used, each with words that end' => sub {
	my $t = $text{'common/tbl/settings.h'};
	no_two('fields', rows('common/tbl/settings.h', 'SETTING'));
	no_two('options', $t =~ /^SETTING\(\w+,\s*\w+,\s*"[^"]*",\s*"(?:\w\/)?([\w-]+)"/mg);
	no_two('letters', $t =~ /^SETTING\(\w+,\s*\w+,\s*"[^"]*",\s*"(\w)\/[\w-]+"/mg);
	no_two('environment names', $t =~ /^SETTING\(\w+,\s*\w+,\s*"[^"]*",\s*"[^"]*",\s*"(\w+)"/mg);
	no_two('keys', $t =~ /^SETTING\(\w+,\s*\w+,\s*"[^"]*",\s*"[^"]*",\s*"\w+",\s*"([\w.]+)"/mg);
	my @unused = grep { $all !~ /(?:->|\.)\Q$_\E\b/ } rows('common/tbl/settings.h', 'SETTING');
	is "@unused", 'mode', 'each is used (mode has one value yet: regular)';
	like $_, qr/\.$/, "a sentence: $_" for grep { !/\.$/ } $t =~ /^SETTING\(.*"([^"]*)"\)/mg;
	ok !($t =~ /PASSSAGE_\w*[a-z]/), 'environment names are in capitals';
};

subtest 'counters, errors, access fields: no two alike, each used' => sub {
	no_two('counters', rows('common/tbl/counters.h', 'COUNTER'));
	my @unused = grep { $all !~ /\bCOUNT_$_\b/ } rows('common/tbl/counters.h', 'COUNTER');
	is "@unused", '', 'each counter is counted somewhere';
	my @helpless = $text{'common/tbl/counters.h'} =~ /^COUNTER\((\w+),\s*\w+,\s*""\)/mg;
	is "@helpless", '', '… and explained';
	my ($errors) = $text{'common/tbl/errors.h'} =~ /^([A-Z]+)\(\w+,/m;
	no_two('errors', rows('common/tbl/errors.h', $errors));
	@unused = grep { $all !~ /\bERR_$_\b/ } rows('common/tbl/errors.h', $errors);
	is "@unused", '', 'each error is used';
	my ($field) = $text{'common/tbl/access.h'} =~ /^([A-Z]+)\(\w+,/m;
	no_two('access fields', rows('common/tbl/access.h', $field));
	my ($meta) = $text{'common/tbl/meta.h'} =~ /^([A-Z]+)\(\w+,/m;
	no_two('metadata fields', rows('common/tbl/meta.h', $meta));
};

subtest 'steps: forward only, all reachable, all end at record, each is a function and in the README' => sub {
	my @names = rows('server/tbl/steps.h', 'STEP');
	no_two('steps', @names);
	my ($s, $out) = run_cmd(passsage(), 'steps');
	is $s, 0, 'passsage steps';
	my %to;
	$to{$1} = [grep { length } split /[ ,]+/, $2 // ''] while $out =~ /^(\w+)\s+->\s*(.*)$/mg;
	$to{$_} //= [] for $out =~ /^(\w+)/mg;
	is join(' ', sort keys %to), join(' ', sort @names), '… prints them all';
	my %place = map { $names[$_] => $_ } 0 .. $#names;
	my (%seen, @todo);
	@todo = ($names[0]);
	while (defined(my $n = shift @todo)) { push @todo, @{$to{$n}} unless $seen{$n}++ }
	for my $n (@names) {
		ok $seen{$n}, "$n is reachable";
		ok !(grep { $place{$_} <= $place{$n} } @{$to{$n}}), '… goes forward only';
		ok @{$to{$n}} || $n eq 'record', '… and does not end before record';
		like $all, qr/^(?:enum req_step )?step_$n\(|^enum req_step step_$n\(/m, "… step_$n() is a function";
	}
	my ($way) = slurp('README.md') =~ /^## The way of a request\n(.*?)^## /ms;
	like $way, qr/^\|[^|]*\b$_\b[^|]*\|/m, "README: $_" for @names;
	for my $file ($way =~ /`((?:server|es|s3|policy|common|certgen)\/[\w.]+\.[ch])`/g) { ok -e $file, "… $file is there" }
};

subtest 'processes: each has its main, and is in the README\'s picture' => sub {
	my ($picture) = slurp('README.md') =~ /^## The picture\n(.*?)^## /ms;
	while ($text{'server/tbl/procs.h'} =~ /^PROC\((\w+),\s*"(\w+)",\s*(\w+),/mg) {
		like $all, qr/^(?:int )?$3\(unsigned/m, "$3()";
		like $picture, qr/\b$2\b/, "… $2 in the picture";
	}
	like slurp('README.md'), qr/\| `\Q$_\E\/` \|/, "folder $_ in the README" for @folders;
};

subtest 'magic numbers are unique' => sub {
	my %by;
	for my $f (sort keys %text) { push @{$by{hex $1}}, $f while $text{$f} =~ /^#define\s+\w*MAGIC\w*\s+\(?0x([0-9a-fA-F]+)/mg }
	cmp_ok scalar keys %by, '>=', 3, 'there are some';
	is scalar(@{$by{$_}}), 1, sprintf '0x%x: %s', $_, "@{$by{$_}}" for sort keys %by;
};

subtest 'neither machine paths nor secrets nor registries\' names are in the project' => sub {
	my ($s, $list) = run_cmd('git', 'ls-files');
	my @files = $s == 0 ? split /\n/, $list : (keys %text, glob('t/*.t t/*.pm t/unit/*.c README.md Makefile configure.ac bootstrap etc/*'));
	cmp_ok scalar @files, '>', 100, 'the project\'s files';
	my @bad;
	# in pieces, so that this file has none of them
	my $registries = join '|', map { quotemeta } map { join '.', @$_ } ['registry', 'npmjs'], ['index', 'crates'], ['static', 'crates'], ['proxy', 'golang'], ['deb', 'debian'], ['files', 'pythonhosted'], ['registry-1', 'docker'],
	                 ['repo1', 'maven'];
	for my $f (@files) {
		next if !-f $f || -B $f;
		my $t = slurp($f);
		push @bad, "$f: a private key" if $t =~ /-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\\n|\s)+[A-Za-z0-9+\/]{60}/;
		push @bad, "$f: $1" if $t =~ m{(?<![\w.\$\}])(/(?:work|home|root)/(?!somebody)[\w.-]+)};
		push @bad, "$f: $1" if $t =~ /((?:AKIA|ghp_|xox[bp]-)[A-Za-z0-9]{12,})/;
		push @bad, "$f: $1" if $t =~ /($registries)/ && $f !~ m{^policy/defaults\.c$|^t/unit/policy_}; # the built-in rules name the hosts that they are for
		push @bad, "$f: $1" if $f !~ /^t\// && $t =~ /\b(TODO|FIXME|XXX)\b/ && $f ne 'README.md';
	}
	is "@bad", '', 'none';
};
done_testing;
