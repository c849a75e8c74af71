# pip downloads a package through the proxy, trusting it as a user would: by the certificate from mitm.it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Test::More;

my $python = tool('python3') or skip_file('no python3');
my ($status, $version) = run_cmd($python, '-m', 'pip', '--version');
skip_file("python3 has no pip: $version") if $status != 0;
note $version;

# the client's own configuration stays (index, credentials), but nothing that is on this machine may stand in for the index
my %env = (PIP_CACHE_DIR => '', PIP_NO_CACHE_DIR => '1', PIP_DISABLE_PIP_VERSION_CHECK => '1', PIP_NO_INPUT => '1', PIP_FIND_LINKS => '', PIP_RETRIES => 1);
my $bundle;
clients_rounds(
	name => 'pip download',
	ruled => 1, # the index and its files have rules of their own, at least the well-known one's
	run => sub {
		my ($dir, $proxy) = @_;
		$bundle //= trusted_bundle($proxy, lab_dir()) if $proxy;
		return ({ env => { %env, $proxy ? trusting_env($proxy, $bundle) : () } }, $python, '-m', 'pip', 'download', '-q', '--no-deps', '--no-cache-dir', '--only-binary', ':all:', '-d', "$dir/got", 'six');
	},
	result => sub { files_below($_[0], qr/\.whl$/) },
	wanted => 2, # its page in the index, its file
);
done_testing;
