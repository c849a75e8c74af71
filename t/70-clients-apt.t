# apt updates its lists (http, by-hash files) and downloads a package through the proxy; the second command by the variables of proxy-env.sh alone.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Test::More;

my $apt = tool('apt-get') or skip_file('no apt-get here');
my $shell = have_cmd('bash') or skip_file('no bash'); # whose . takes arguments

# The machine's own sources, those by plain http, and what it says about fetching: but no hooks, and no proxy of its own through ours.
my (undef, $dump) = run_cmd('apt-config', 'dump');
my %conf = $dump =~ /^(\S+) "(.*)";$/mg;
my $etc = ($conf{Dir} // '/') . ($conf{'Dir::Etc'} // 'etc/apt');
my $lists = '';
for my $file ("$etc/" . ($conf{'Dir::Etc::sourcelist'} // 'sources.list'), glob "$etc/" . ($conf{'Dir::Etc::sourceparts'} // 'sources.list.d') . '/*.list') {
	$lists .= "$_\n" for grep { m{^deb\s+(?:\[[^\]]*\]\s+)?http://} } split /\n/, slurp($file) // '';
}
my @stanzas = grep { m{^URIs:\s*http://}mi && !/^Enabled:\s*no/mi } map { split /\n\s*\n/, slurp($_) // '' } glob "$etc/" . ($conf{'Dir::Etc::sourceparts'} // 'sources.list.d') . '/*.sources';
skip_file('no source of apt is plain http here') unless $lists || @stanzas;
my @fetching = grep { /^Acquire::/ && !/Proxy|Post-Invoke|Pre-Invoke/ } split /\n/, $dump;
my $package = 'hostname'; # small, and everywhere

clients_rounds(
	name => 'apt-get',
	ruled => 1, # lists and packages have rules of their own
	run => sub {
		my ($dir, $proxy) = @_;
		mkdir "$dir/$_" for qw(etc parts state state/lists state/lists/partial cache cache/archives cache/archives/partial got home);
		spew("$dir/etc/own.list", $lists) if $lists;
		spew("$dir/etc/own.sources", join "\n\n", @stanzas) if @stanzas;
		spew("$dir/apt.conf", join "\n", @fetching, map({ "Dir::$_->[0] \"$_->[1]\";" } ['State', "$dir/state"], ['Cache', "$dir/cache"], ['Etc::sourcelist', '/dev/null'],
			['Etc::sourceparts', "$dir/etc"], ['Etc::parts', "$dir/parts"], ['Etc::main', '/dev/null'], ['State::status', $conf{'Dir::State::status'} // '/var/lib/dpkg/status']),
			'Acquire::Languages "none";', 'Acquire::Retries "0";', 'APT::Sandbox::User "";', 'APT::Update::Error-Mode "any";', 'Acquire::http::Timeout "30";', '');
		# a user's two ways: the setting of apt for the lists, the environment for the package
		my ($set, $source) = $proxy ? ('-o Acquire::http::Proxy="$1"', 'curl -fsS -x "$1" -o proxy-env.sh http://mitm.it/proxy-env.sh && . ./proxy-env.sh --no-certificate && test "${http_proxy##*:}" = "${1##*:}"') : ('', ':');
		return ({ cwd => "$dir/got", env => { APT_CONFIG => "$dir/apt.conf", HOME => "$dir/home" } }, $shell, '-euc',
			"apt-get -q update $set; apt-get -q indextargets --format '\$(FILENAME)' >/dev/null; $source; apt-get -q download $package", 'bash', $proxy ? $proxy->url : ());
	},
	result => sub { my ($dir) = @_; return { %{files_below("$dir/got", qr/\.deb$/)}, %{files_below("$dir/state/lists", qr/_Packages|_InRelease/)} } },
	wanted => 4, # of one suite: InRelease, Packages; and of the others; the package
	records => sub { ok scalar(grep { $_->{url} =~ m{/by-hash/} } @_), 'by-hash files among them'; ok scalar(grep { $_->{url} =~ /\.deb$/ } @_), 'and the package' },
);
done_testing;
