# npm installs a package through the proxy: its document, then its tarball; the certificate by npm's own setting or by Node's variable.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Test::More;

my $npm = tool('npm') or skip_file('no npm here');
my (undef, $cafile) = run_cmd($npm, 'config', 'get', 'cafile');
my @own_cafile = $cafile =~ m{^/}m; # then npm heeds no variable of Node's
my $bundle;
clients_rounds(
	name => 'npm install',
	run => sub {
		my ($dir, $proxy) = @_;
		$bundle //= trusted_bundle($proxy, lab_dir()) if $proxy;
		spew("$dir/package.json", '{ "name": "lab", "version": "1.0.0", "private": true }');
		return ({ cwd => $dir, env => { $proxy ? (trusting_env($proxy, $bundle), @own_cafile ? (npm_config_cafile => $bundle) : ()) : (), npm_config_cache => "$dir/cache", npm_config_update_notifier => 'false', npm_config_fund => 'false',
			npm_config_fetch_retries => 0, npm_config_loglevel => 'warn' } }, $npm, 'install', '--save-exact', 'is-number@7.0.0');
	},
	result => sub { files_below("$_[0]/node_modules/is-number", qr/^(?:package\.json|index\.js)$/) },
	wanted => 2, # the package's document, its tarball
);
done_testing;
