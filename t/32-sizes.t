# Bodies of any size and framing go through, and come back from the cache byte for byte, whole and in parts, with constant memory.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use File::Temp 'tempdir';
use Time::HiRes 'time';
use Test::More;

my $K = 1024;
my @sizes = (0, 1, 64 * $K - 1, 64 * $K, 64 * $K + 1, 128 * $K, (5 << 20) + 17);
my %framing = (length => {}, chunked => { chunked => 1 }, close => { until_close => 1 });
my $block = pattern(1 << 20);
my $huge = $ENV{SAN} ? (300 << 20) + 5 : (4 << 30) + (96 << 20) + 5; # more than 32 bits can count
my $large = $huge >> 3;
sub stream { # the block over and over, said in pieces; nothing of it is ever whole anywhere
	my ($size, $cc, $chunked) = @_;
	return sub {
		my ($c, $req) = @_;
		$c->send("HTTP/1.1 200 OK\r\nCache-Control: $cc\r\n" . ($chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: $size\r\n\r\n"));
		my $framed = sprintf("%x\r\n", length $block) . "$block\r\n";
		my $left = $size;
		for (; $left >= length $block; $left -= length $block) { $c->send($chunked ? $framed : $block) }
		$c->send($chunked ? sprintf("%x\r\n", $left) . substr($block, 0, $left) . "\r\n0\r\n\r\n" : substr $block, 0, $left);
		return 1;
	};
}
my $origin = origin(
	(map { my $f = $_; map { ("/$f/$_" => { size => $_, cc => 'max-age=600', etag => "\"$_\"", %{$framing{$f}} }) } @sizes } sort keys %framing),
	'/parts' => { size => 5 << 20, cc => 'max-age=600', etag => '"p"' },
	'/defaults' => { size => (33 << 20) + 1, cc => 'max-age=600' },
	'/huge' => stream($huge, 'no-store'), '/huge-stored' => stream($huge, 'max-age=600'), '/unknown' => stream($large, 'max-age=600', 1),
);

subtest 'every size in every framing, chunks of 64K' => sub {
	my $proxy = proxy(workers => 2, chunk_size => '64K');
	for my $f (sort keys %framing) {
		for my $n (@sizes) {
			my $path = "/$f/$n";
			my $url = $origin->url($path, $n % 2 ? 'https' : 'http');
			my $want = pattern($n);
			my $miss = $proxy->curl($url);
			is $miss->status, 200, "$f, $n bytes" or diag $miss->{error};
			same $miss->body, $want, '… the miss';
			for my $how ('in its worker or another', 'once more') {
				my $hit = $proxy->curl($url);
				ok $hit->hit, "… a hit $how";
				same $hit->body, $want, '… unharmed';
				is $hit->header('content-length'), $n, '… its length is known now';
			}
			wait_until(sub { $proxy->curl('-H', 'Cache-Control: only-if-cached', $url)->status == 200 }, 5, 'its document'); # a HEAD joins nobody's download
			my $head = $proxy->curl('-I', $url);
			is $head->header('content-length'), $n, '… HEAD says it too';
			is $head->exit, 0, '… and sends no body';
			if ($n > 0) {
				my $r = $proxy->curl('-r', '-1', $url);
				is $r->status, 206, '… its last byte';
				same $r->body, substr($want, -1), '… is right';
			}
			is $proxy->curl('-r', "$n-", $url)->status, 416, '… there is nothing behind it';
			is $origin->hits($path), 1, '… the origin was asked once';
		}
	}
	my $w = $proxy->wire; # all on one connection: framing errors would show in the next answer
	for my $f (sort keys %framing) {
		same $w->get($origin->url("/$f/$_", $_ % 2 ? 'https' : 'http'), 'x')->body, pattern($_), "$f, $_ bytes, on one connection" for @sizes;
	}
	is $proxy->stop, 0, 'it ends well';
	$proxy->launch;
	for my $n (@sizes) {
		my $r = $proxy->curl($origin->url("/length/$n", $n % 2 ? 'https' : 'http'));
		ok $r->hit, "$n bytes after a restart: a hit";
		same $r->body, pattern($n), '… unharmed';
	}
};

subtest 'ranges in the middle of many chunks' => sub {
	my $proxy = proxy(workers => 2, chunk_size => '64K');
	my $url = $origin->https('/parts');
	my $want = pattern(5 << 20);
	$proxy->curl($url);
	my $c = 64 * $K;
	for ([0, 1], [$c - 1, 2], [$c, 1], [$c - 1, 1], [3 * $c, $c], [3 * $c - 1, $c + 2], [10 * $c + 7, 33 * $c], [80 * $c - 1, 1], [80 * $c - $c - 1, $c + 1], [0, 80 * $c]) {
		my ($from, $n) = @$_;
		my $to = $from + $n - 1;
		my $r = $proxy->curl('-r', "$from-$to", $url);
		is $r->status, 206, "bytes=$from-$to";
		same $r->body, substr($want, $from, $n), '… the right ones';
		is $r->header('content-range'), "bytes $from-$to/" . (5 << 20), '… and said so';
	}
	srand 1;
	my @bad = grep {
		my $from = int rand 5 << 20;
		my $n = 1 + int rand(rand() < 0.5 ? 1000 : 2 << 20);
		my $w = ($_ == 1 || !$::wire) ? ($::wire = $proxy->wire) : $::wire;
		my $r = $w->get($origin->url('/parts', 'https'), 'x', "Range: bytes=$from-" . ($from + $n - 1));
		$r->status != 206 || $r->body ne substr $want, $from, $n;
	} 1 .. 60;
	is "@bad", '', '60 at random';
	my $r = $proxy->curl('-r', join(',', map { ($_ * 9 * $c + 1000) . '-' . ($_ * 9 * $c + $c + 2000) } 0 .. 7), $url);
	is $r->status, 206, 'eight at once';
	is length $r->body, $r->header('content-length'), '… in the length that was said';
	is scalar(grep { index($r->body, "\r\n\r\n" . substr($want, $_ * 9 * $c + 1000, $c + 1001) . "\r\n--") > 0 } 0 .. 7), 8, '… each there';
	is $origin->hits('/parts'), 1, 'the origin was asked once';
	undef $::wire;
};

subtest 'more than one chunk of the default size' => sub {
	my $proxy = proxy();
	my $want = pattern((33 << 20) + 1);
	for ('miss', 'hit') {
		my $r = $proxy->curl($origin->https('/defaults'));
		is $r->hit, $_ eq 'hit' ? 1 : 0, $_;
		same $r->body, $want, '… unharmed';
	}
	my $r = $proxy->curl('-r', ((32 << 20) - 3) . '-' . ((32 << 20) + 2), $origin->https('/defaults'));
	same $r->body, substr($want, (32 << 20) - 3, 6), 'a range over the border';
};

# How much a worker's memory has ever been, in KiB. What it shares with others (and the files that it maps) is not its own.
sub peak { my ($p) = @_; my $n = 0; for my $pid ($p->pids('worker')) { $n += $1 if slurp("/proc/$pid/status") =~ /^VmHWM:\s+(\d+)/m } $n }
sub read_huge { # the body on a wire, checked as it comes: the number of right bytes
	my ($w, $size, $chunked) = @_;
	my ($at, $buf, $twice) = (0, '', $block . substr $block, 0, 1 << 16);
	my $until = time + 50 * slow();
	while (time < $until) {
		if ($chunked) {
			my $n = hex(($w->until(qr/\r\n/) // return $at) =~ s/\r\n//r);
			$buf = $w->exactly($n + 2) // return $at;
			return $at if $n == 0;
			substr $buf, -2, 2, '';
		} elsif (length $w->{in}) {
			$buf = substr $w->{in}, 0, length $w->{in}, '';
		} else {
			return $at if $at >= $size || !sysread $w->socket, $buf, 1 << 16;
		}
		for (my $o = 0; $o < length $buf;) {
			my $n = length($buf) - $o;
			$n = 1 << 16 if $n > 1 << 16;
			return "wrong bytes after $at" if substr($buf, $o, $n) ne substr $twice, $at % length $block, $n;
			$at += $n;
			$o += $n;
		}
	}
	return "too slow, after $at";
}

subtest 'more than 4 GiB, with constant memory' => sub {
	# In memory where there is much: the disk's speed is not what this is about.
	my $room = sub { my ($f) = (run_cmd('df', '-Pk', $_[0]))[1] =~ /(\d+)\s+\d+%/; $f // 0 };
	my $where = -w '/dev/shm' && $room->('/dev/shm') > 10 << 20 ? '/dev/shm' : lab_dir();
	plan skip_all => 'too little room for an object of this size' if $room->($where) < 6 << 20;
	my $dir = tempdir('passsage-lab-XXXXXX', DIR => $where, CLEANUP => 1);
	chmod 0755, $dir;
	my $proxy = proxy(state_dir => "$dir/state");
	my $ask = sub {
		my ($path, @headers) = @_;
		my $w = $proxy->wire(timeout => 20 * slow());
		$w->send('GET ' . $origin->url($path) . " HTTP/1.1\r\nHost: x\r\n" . join('', map { "$_\r\n" } @headers) . "\r\n");
		my $head = $w->until(qr/\r\n\r\n/) // '';
		return ($w, bless { head => $head, status => $head =~ /^HTTP\S+ (\d+)/ }, 'Lab::Wire::Response');
	};
	$proxy->curl($origin->url('/length/1'));
	for (['/huge', $huge, 'relayed'], ['/huge-stored', $huge, 'stored'], ['/huge-stored', $huge, 'from the cache'], ['/unknown', $large, 'of unknown length'],
	     ['/unknown', $large, '… from the cache']) {
		my ($path, $size, $how) = @$_;
		my ($before, $started) = (peak($proxy), time);
		my ($w, $r) = $ask->($path);
		is $r->status, 200, $how;
		my $said = $r->header('content-length');
		is $said, $how eq 'of unknown length' ? undef : $size, '… its length';
		is read_huge($w, $size, !defined $said), $size, '… every byte is right';
		# (a sanitizer keeps what was freed, up to a bound)
		my $grown = peak($proxy) - $before;
		cmp_ok $grown, '<', ($ENV{SAN} ? 400 : 16) * $K, "… and the worker has grown by $grown KiB";
		note sprintf '%s: %.1f s', $how, time - $started;
	}
	is $origin->hits('/huge-stored'), 1, 'the origin was asked once';
	my $from = $huge - (91 << 20) - 3;
	my ($w, $r) = $ask->('/huge-stored', 'Range: bytes=' . $from . '-' . ($from + 9));
	is $r->status, 206, 'a range behind 4 GiB';
	is $r->header('content-range'), "bytes $from-" . ($from + 9) . "/$huge", '… named';
	same $w->exactly(10), substr($block . $block, $from % length $block, 10), '… the right bytes';
	($w, $r) = $ask->('/huge-stored', 'Range: bytes=-7');
	same $w->exactly(7), substr($block x 2, ($huge - 7) % length $block, 7), 'its end';
};
done_testing;
