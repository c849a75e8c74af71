# Two nodes' metadata and a real Elasticsearch: t/unit/es_fleet.c does it all (the same runs in t/00 against one that fails to order).
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Fleet;
use Test::More;

my $unit = ($ENV{UNIT_DIR} || root_dir() . '/build/plain/t/unit') . '/es_fleet';
skip_file("$unit is not built") unless -x $unit;
if ($ENV{SAN}) { $ENV{ASAN_OPTIONS} =~ s/detect_leaks=0/detect_leaks=1/ }
my $fleet = fleet();

subtest 'documents, purges, invalidations, times of use, kills' => sub {
	my ($s, $out) = run_cmd({ timeout => 120 * slow(), env => { ES_URL => $fleet->{es}{url} } }, $unit);
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
