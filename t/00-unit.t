# Every unit test of t/unit keeps its promises. Each is a program of its own that prints TAP; here it is a subtest.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

# leaks count here, where every process ends by itself
if ($ENV{SAN}) { $ENV{ASAN_OPTIONS} =~ s/detect_leaks=0/detect_leaks=1/ }

# Through a pipe, not into a file: some tests limit the size of the files that they may write.
sub run_piped {
	my ($seconds, $program) = @_;
	open my $h, '-|', 'sh', '-c', 'exec timeout -s KILL "$0" "$1" 2>&1 </dev/null', $seconds, $program or die "$program: $!";
	local $/;
	my $out = <$h> // '';
	close $h;
	return $out;
}

my $dir = $ENV{UNIT_DIR} || root_dir() . '/build/plain/t/unit';
my @sources = map { m{([^/]+)\.c$} } glob root_dir() . '/t/unit/*.c';
ok @sources > 0, 'there are unit tests';
for my $unit (sort @sources) {
	subtest $unit => sub {
		plan skip_all => "$dir/$unit is not built" if !-x "$dir/$unit" && !$ENV{UNIT_DIR};
		plan skip_all => 'it has one thread' if ($ENV{SAN} // '') eq 'thread' && slurp(root_dir() . "/t/unit/$unit.c") !~ /pthread_create|_start\(/;
		my $out = run_piped(90 * slow(), "$dir/$unit");
		my $status = $?;
		my ($n, $plan) = (0);
		for (split /\n/, $out) {
			if (/^(not )?ok \d+(?: - (.*))?/) { $n++; ok !$1, ($2 // "test $n") =~ s/^(?=\d+$)/row /r }
			elsif (/^1\.\.(\d+)/) { $plan = $1 }
			elsif (/^#/) { diag($_) if $_ !~ /^# (?:\s|note)/ && $out =~ /^not ok/m }
			elsif (/Sanitizer|runtime error/) { diag $_ }
		}
		is $plan, $n, 'all of its tests have run';
		is $status, 0, 'it ends well' or diag substr join("\n", grep { !/^ok / } split /\n/, $out), -2000;
	};
}
done_testing;
