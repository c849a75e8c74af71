# go downloads a module through the proxy, with the checksum database as the machine's configuration has it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Test::More;

my $go = tool('go', 'version') or skip_file('no go here');
my (undef, $env) = run_cmd($go, 'env', 'GOPROXY', 'GOSUMDB', 'GONOSUMDB', 'GOFLAGS');
my ($goproxy, $sumdb, $nosumdb, $flags) = split /\n/, $env;
skip_file('go uses no module proxy here') unless ($goproxy // '') =~ m{https?://};
my $module = 'github.com/google/uuid@v1.6.0';
my $bundle;
clients_rounds(
	name => 'go mod download',
	run => sub {
		my ($dir, $proxy) = @_;
		$bundle //= trusted_bundle($proxy, lab_dir()) if $proxy;
		mkdir "$dir/$_" for qw(mod path cache);
		return ({ cwd => $dir, env => { GOMODCACHE => "$dir/mod", GOPATH => "$dir/path", GOCACHE => "$dir/cache", GOPROXY => $goproxy, GOSUMDB => $sumdb, GONOSUMDB => $nosumdb,
			GOFLAGS => "$flags -modcacherw", GOTOOLCHAIN => 'local', GIT_TERMINAL_PROMPT => 0, $proxy ? trusting_env($proxy, $bundle) : () } }, $go, 'mod', 'download', '-json', $module);
	},
	result => sub { files_below("$_[0]/mod/cache/download", qr/\.(?:info|mod|zip|ziphash)$/) },
	wanted => 3, # info, mod, zip
);
done_testing;
