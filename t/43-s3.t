# The S3 API against a real S3 server: t/unit/s3_live.c does it all.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $start = shared_dir() . '/servers/s3-start.sh';
skip_file("no $start here") unless -x $start;
my $unit = ($ENV{UNIT_DIR} || root_dir() . '/build/plain/t/unit') . '/s3_live';
skip_file("$unit is not built") unless -x $unit;
if ($ENV{SAN}) { $ENV{ASAN_OPTIONS} =~ s/detect_leaks=0/detect_leaks=1/ }

my ($dir, $port) = (lab_dir() . '/s3', free_port());
my @keys = (S3_ACCESS_KEY => 'testkey', S3_SECRET_KEY => 'testsecret', S3_REGION => 'us-east-1');
my ($status, $said) = run_cmd({ timeout => 420, env => { @keys } }, $start, $dir, $port, 'bkt', 'open:public');
if ($status != 0) {
	my ($reason) = $said =~ /error: (.*(?:registry reachable|is not installed).*)/;
	skip_file("s3-start.sh: $reason") if $reason && ($reason =~ /registry reachable/ || !$ENV{CI});
	die "s3-start.sh failed: $said";
}
my ($pid) = slurp("$dir/s3.pid") =~ /^(\d+)/ or die "no $dir/s3.pid";
Lab::watch($pid);
END { if ($pid) { kill 'KILL', $pid; Lab::unwatch($pid) } }

subtest 'all of bucket.h and gc.h' => sub {
	my ($s, $out) = run_cmd({ timeout => 100 * slow(), env => { S3_LIVE => "http://127.0.0.1:$port", S3_LIVE_BUCKET => 'bkt', S3_LIVE_OPEN => 'open', S3_LIVE_DIR => $dir } }, $unit);
	my ($n, $plan) = (0);
	for (split /\n/, $out) {
		if (/^(not )?ok \d+(?: - (.*))?/) { $n++; ok !$1, $2 // "test $n" }
		elsif (/^1\.\.(\d+)/) { $plan = $1 }
		elsif (/^#|Sanitizer|runtime error/) { diag $_ }
	}
	is $plan, $n, 'all of its tests have run';
	is $s, 0, 'it ends well';
};
done_testing;
