# cargo fetches a crate through the proxy: its sparse index, then the crate.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Test::More;

my $cargo = tool('cargo') or skip_file('no cargo here');
my (undef, $version) = run_cmd($cargo, '--version');
skip_file("this cargo is too old for a sparse index: $version") if $version =~ /cargo 1\.(\d+)/ && $1 < 70;
my $home = $ENV{CARGO_HOME} // "$ENV{HOME}/.cargo";
my @own = grep { -s } "$home/config.toml", "$home/config"; # may say where the registry is
my $bundle;
clients_rounds(
	name => 'cargo fetch',
	run => sub {
		my ($dir, $proxy) = @_;
		$bundle //= trusted_bundle($proxy, lab_dir()) if $proxy;
		mkdir "$dir/$_" for qw(home src);
		spew("$dir/home/config.toml", slurp($own[0])) if @own;
		spew("$dir/Cargo.toml", "[package]\nname = \"lab\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.11\"\n");
		spew("$dir/src/lib.rs", '');
		return ({ cwd => $dir, env => { CARGO_HOME => "$dir/home", CARGO_NET_RETRY => 0, CARGO_TERM_COLOR => 'never',
			$proxy ? (CARGO_HTTP_PROXY => $proxy->url, CARGO_HTTP_CAINFO => $bundle, SSL_CERT_FILE => $bundle) : () } }, $cargo, 'fetch');
	},
	result => sub { files_below("$_[0]/home", qr/\.crate$/) },
	wanted => 3, # the index's configuration, the crate's entry, the crate
);
done_testing;
