# The worked examples of the README: each is a policy file that is accepted, and what they promise holds.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $readme = slurp(root_dir() . '/README.md');
my %example;
while ($readme =~ /^<!-- example (\w+) -->\n\n((?:    .*\n)+)/mg) { my ($name, $text) = ($1, $2); $text =~ s/^    //mg; $example{$name} = $text }

my %promises = ( # URL (of hosts that nobody has: only the policy is looked at) => policy
	'' => [['http://deb.example/debian/pool/main/x/x_1.deb', 'StaleIfError'], ['http://deb.example/debian/dists/x/InRelease', 'StaleIfError'],
	       ['http://www.example/', 'Standard']],
	debian => [['http://deb.example/debian/pool/main/x/x_1.deb', 'NoRefresh'], ['http://deb.example/x.deb', 'StaleIfError'], ['http://deb.example/dists/x/InRelease', 'StaleIfError']],
	pypi => [['https://pypi.corp.example/simple/a/', 'StaleIfError'], ['https://x.example/f/a-1.whl?sig=1', 'NoRefresh'], ['https://pypi.corp.example/other', 'Standard']],
	npm => [['https://registry.npm.example/a/-/a-1.0.0.tgz', 'NoRefresh'], ['https://registry.npm.example/a', 'StaleIfError'], ['https://www.npm.example/a', 'Standard']],
	docker => [['https://r.example/v2/lib/a/blobs/sha256:' . 'a' x 64, 'NoRefresh'], ['https://r.example/v2/lib/a/manifests/sha256:' . 'b' x 64, 'NoRefresh'],
	           ['https://r.example/v2/lib/a/manifests/latest', 'StaleIfError'], ['https://auth.example/token', 'NoCache'], ['https://r.example/v2/', 'Standard']],
	models => [['https://models.example/resolve/' . '0' x 40 . '/m.safetensors', 'NoRefresh'], ['https://models.example/api', 'Standard']],
	s3 => [['https://farm-artifacts.s3.eu-1.amazonaws.com/public/x.tar', 'NoRefresh'], ['https://vault.corp.example/x', 'NoCache'], ['https://b.s3.corp.example/x', 'StaleIfError'], ['https://nots3.corp.example/x', 'Standard']],
);
is_deeply [sort keys %example], [sort grep { $_ } keys %promises], 'all examples are tested';
for my $name (sort keys %promises) {
	subtest $name || 'the built-in rules' => sub {
		my $file = lab_dir() . "/$name.policy";
		spew($file, $example{$name} // '');
		chmod 0644, $file;
		my $proxy = proxy(policy_file => $file);
		my $w = $proxy->wire;
		for (@{$promises{$name}}) { # asked for in the clear: the URL is the same; only-if-cached: the host is not asked, unless the policy passes it on
			my ($url, $policy) = @$_;
			my ($host) = $url =~ m{//([^/]+)};
			is $w->get($url, $host, 'Cache-Control: only-if-cached')->header('x-proxy-policy'), $policy, $url;
		}
		$proxy->stop;
	};
}
done_testing;
