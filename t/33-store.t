# The store stays within its bounds, and nothing that befalls it makes a request fail or a byte wrong.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use File::Find 'find';
use Test::More;

my $MB = 1 << 20;
my $origin = origin(
	(map { ("/$_" => { size => $MB, seed => 's' x $_, cc => 'max-age=600', etag => "\"$_\"" }) } 1 .. 40),
	'/big' => { size => 12 * $MB, cc => 'max-age=600' },
	'/small' => { body => 'small', cc => 'max-age=600' },
);
sub want { pattern($MB, 's' x $_[0]) } # seeds of different lengths: no two chunks are the same
sub get { my ($p, $path, @args) = @_; $p->curl(@args, $origin->url($path)) }
sub stored { my ($p, $path) = @_; get($p, $path, '-H', 'Cache-Control: only-if-cached')->status == 200 }
sub kept { my ($p, $path) = @_; wait_until(sub { stored($p, $path) }, 5, "$path to be stored") } # its document is committed some milliseconds after the body
sub chunk_file { my ($p, $bytes) = @_; my $h = sha256($bytes); join '/', $p->state_dir . '/store/data', (split //, substr $h, 0, 4), $h } # behaviour.md 4.8
sub files { my ($dir) = @_; my @f; find({ no_chdir => 1, wanted => sub { push @f, $File::Find::name if -f } }, $dir) if -d $dir; @f }
sub bytes { my $n = 0; $n += (-s $_ // 0) for files("$_[0]/data"); $n }
sub last_used { my ($p, $days, @bytes) = @_; my $t = time - $days * 86400; utime $t, $t, chunk_file($p, $_) or die "utime: $!" for @bytes }
sub health { my ($p) = @_; my $r = $p->get('/health', 'Accept: application/json'); $r->{body} =~ /"status":"(\w+)"/ ? $1 : '?' }
sub is_health { my ($p, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; ok wait_until(sub { health($p) eq $what }, 10), "health says $what" or diag $p->get('/health')->{body} }
sub said { my ($p, $re) = @_; scalar grep { /$re/ } split /\n/, $p->log }

subtest 'the janitor keeps to cache-size, the least recently used goes first' => sub {
	my $p = proxy(cache_size => '12M', cache_low_watermark => 40, cache_high_watermark => 90, janitor_interval => 600);
	get($p, "/$_") for 1 .. 8;
	ok kept($p, "/$_"), "$_ is stored" for 1, 8;
	$p->stop;
	last_used($p, 10 - $_, want($_)) for 1 .. 8; # 1 not for nine days, 2 for eight …
	$p->{options}{janitor_interval} = 0.2;
	$p->launch;
	same get($p, '/1')->body, want(1), '1 is used now';
	my $evicted = $p->metrics->{evicted};
	is $evicted, 0, 'below the high watermark nothing is removed';
	get($p, "/$_") for 9 .. 11;
	ok $p->wait_metrics(sub { $_->{evicted} >= 1 && $_->{store_bytes} < 4.8 * $MB }, 20), 'above it, the store is emptied to below the low one';
	cmp_ok bytes($p->state_dir . '/store'), '<=', 4.8 * $MB, '… on the disk too';
	ok kept($p, $_), "$_ stayed" for '/1', '/9', '/10', '/11';
	ok !stored($p, $_), "$_ went" for map { "/$_" } 2 .. 7;
	for (3, 1) { same get($p, "/$_")->body, want($_), "$_ is served, from wherever" }
	ok kept($p, '/3'), 'what went is stored again';
};

subtest 'large objects that are read once do not push out what is in use' => sub {
	my $p = proxy(cache_size => '12M', cache_low_watermark => 40, cache_high_watermark => 90, janitor_interval => 0.2, chunk_size => '64K', cache_status => 'all');
	$origin->set("/small$_" => { size => 50_000, seed => "small$_", cc => 'max-age=600' }) for 1 .. 20;
	$origin->set("/large$_" => { size => 2 * $MB, seed => "large$_", cc => 'max-age=600' }) for 1 .. 12;
	get($p, "/small$_") for 1 .. 20;
	ok kept($p, '/small20'), 'small ones are stored';
	get($p, "/large$_") for 1 .. 12; # younger than all of them
	ok $p->wait_metrics(sub { $_->{evicted} >= 64 && $_->{store_bytes} < 9 * $MB }, 10), 'then twice as much as there is room for';
	is scalar(grep { kept($p, "/small$_") } 1 .. 20), 20, 'the small ones all stayed';
	$origin->set('/huge' => { size => 7 * $MB, seed => 'huge', cc => 'max-age=600' });
	my $r = get($p, '/huge');
	same $r->body, pattern(7 * $MB, 'huge'), 'what is more than half of the store arrives';
	like $r->header('Cache-Status'), qr/fwd=uri-miss;fwd-status=200;detail=too-large$/, '… and is not stored';
	same get($p, '/huge')->body, pattern(7 * $MB, 'huge'), '… the next time neither';
	ok !stored($p, '/huge'), '… as the store says';
	cmp_ok $p->metrics->{fills_too_large}, '>=', 1, '… which is counted';
};

subtest 'never what is being read or filled' => sub {
	my $p = proxy(cache_size => '30M', cache_low_watermark => 75, cache_high_watermark => 90, janitor_interval => 600, chunk_size => '64K');
	my ($big, $read) = (pattern(12 * $MB), pattern(12 * $MB, 'read'));
	my sub pieces { my ($bytes) = @_; map { substr $bytes, $_ * 65536, 65536 } 0 .. length($bytes) / 65536 - 1 }
	$origin->set('/read' => { size => 12 * $MB, seed => 'read', cc => 'max-age=600' });
	get($p, $_) for '/read', map { "/$_" } 1 .. 8;
	ok kept($p, '/8'), 'objects that were not used for days, the first for longest';
	$p->stop;
	last_used($p, 30, pieces($read));
	last_used($p, 20, pieces(want($_))) for 1 .. 8;
	$p->{options}{janitor_interval} = 0.2;
	$p->launch;
	my $w = $p->wire;
	setsockopt $w->socket, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 65536;
	$w->send('GET ' . $origin->url('/read') . " HTTP/1.1\r\nHost: x\r\n\r\n");
	ok $w->until(qr/\r\n\r\n/), 'a slow client reads what was not used for a month';
	$w->exactly(100000);
	my $paused = $origin->paused;
	$origin->pause_after(9 * $MB, '/big?grows');
	my $c = $p->curl_bg($origin->url('/big?grows'));
	ok $origin->wait_paused($paused + 1), 'an object grows until there is too much';
	ok $p->wait_metrics(sub { $_->{evicted} >= 4 * 16 }, 10), 'others are evicted' or diag $p->log;
	ok wait_until(sub { 9 * 16 == grep { m{/fill-} } files($p->state_dir . '/store/tmp') }, 5), 'the growing one has all its pieces';
	$origin->resume;
	same $c->wait->body, $big, 'it arrives whole';
	same $w->exactly(12 * $MB - 100000), substr($read, 100000), 'the slow client gets all of its object';
	ok kept($p, '/big?grows'), 'what grew is stored';
	same get($p, "/$_")->body, want($_), "$_, which has lost all or some of its pieces, is fetched again, whole" for 1, 4, 8;
};

subtest 'chunks that are lost, cut or spoilt' => sub {
	my $p = proxy(chunk_size => '64K');
	my %do = (
		'the only chunk of a small object is gone' => ['/small', 'small', sub { unlink $_[0] }],
		'one in the middle is gone' => ['/1', want(1), sub { unlink $_[0] }],
		'one is cut' => ['/2', want(2), sub { truncate $_[0], 1000 }],
		'a small one is cut' => ['/small', 'small', sub { truncate $_[0], 2 }],
		'a small one is spoilt' => ['/small', 'small', sub { spew($_[0], 'SMALL') }],
		'all is gone' => ['/3', want(3), sub { unlink files($p->state_dir . '/store/data') }],
		'the folders too' => ['/4', want(4), sub { system 'rm', '-rf', $p->state_dir . '/store/data' }],
	);
	for my $what (sort keys %do) {
		my ($path, $bytes, $spoil) = @{$do{$what}};
		get($p, $path);
		ok kept($p, $path), "$what: stored before";
		$p->stop;
		my $file = chunk_file($p, length $bytes > 65536 ? substr $bytes, 5 * 65536, 65536 : $bytes);
		ok -f $file, '… in the file of its name';
		$spoil->($file);
		$p->launch;
		same get($p, $path)->body, $bytes, '… the right bytes at once';
		my $r;
		ok wait_until(sub { ($r = get($p, $path))->hit }, 5), '… soon from the cache again';
		same $r->body, $bytes, '… the right ones';
	}
};

subtest 'after the machine went down a chunk is verified before it is trusted' => sub {
	my $p = proxy();
	get($p, '/5');
	ok kept($p, '/5'), 'stored';
	$p->kill9_all;
	my $file = chunk_file($p, want(5));
	my $same_length = want(6);
	open my $h, '+<:raw', $file or die $!; # as a power cut leaves a file: its length is right, its bytes are not
	print $h $same_length;
	close $h;
	spew($p->state_dir . '/run/boot', "another time\n");
	$p->launch;
	same get($p, '/5')->body, want(5), 'the right bytes';
	same get($p, '/5')->body, want(5), '… and from then on';
};

# A private file system of that size over a part of the state folder: only its own processes see it, and it goes with them.
sub small_disk {
	my ($part, $size, %o) = @_;
	my $state = lab_dir() . '/small.' . ++$Lab::seq;
	my $wrapper = "$state.sh";
	my $real = passsage();
	spew($wrapper, "#!/bin/sh\nmkdir -p '$state/$part' && chmod 755 '$state'\nexport state='$state' part='$part' real='$real'\n"
	     . "exec unshare -m sh -c 'mount -t tmpfs -o size=$size,mode=755 none \"\$state/\$part\" && exec \"\$real\" \"\$@\"' passsage \"\$@\"\n");
	chmod 0755, $wrapper;
	local $ENV{PASSSAGE} = $wrapper;
	my $p = proxy(state_dir => $state, %o);
	return ($p, '/proc/' . $p->master . "/root$state/$part");
}
sub fill_disk { # but for so many KiB
	my ($file, $free) = @_;
	open my $h, '>:raw', $file or die "$file: $!";
	1 while syswrite $h, 'x' x 4096;
	truncate $h, (-s $h) - ($free << 10);
	close $h;
}
sub may_mount { return $> == 0 && have_cmd('unshare') && (run_cmd('unshare', '-m', 'mount', '-t', 'tmpfs', 'none', '/mnt'))[0] == 0 }

subtest 'the disk of the store is full' => sub {
	plan skip_all => 'not allowed to mount a small file system' unless may_mount();
	my ($p, $store) = small_disk('store', '24m', workers => 2, chunk_size => '1M', hot_size => 0, cache_size => '1G'); # by which nothing is evicted
	same get($p, '/1')->body, want(1), 'there is room: stored';
	ok kept($p, '/1'), '… and a hit';
	is_health($p, 'ok');
	fill_disk("$store/ballast", 2500); # others fill the disk: eviction cannot help
	my $big = pattern(12 * $MB);
	$origin->pause_after($MB, '/big?full');
	my $paused = $origin->paused;
	my @c = map { $p->curl_bg($origin->url('/big?full')) } 1 .. 5;
	ok $origin->wait_paused($paused + 1), 'it becomes full in the middle of a body';
	ok wait_until(sub { 5 == grep { $_->so_far >= $MB } @c }, 10), '… that five clients read';
	$origin->resume;
	same $_->wait->body, $big, '… each gets all of it' for @c;
	is $origin->hits('/big?full'), 1, '… of one request' if @c;
	ok !stored($p, '/big?full'), '… but it is not stored';
	fill_disk("$store/ballast.2", 100);
	for my $n (2 .. 5) { same get($p, "/$n")->body, want($n), "the disk is full: request $n goes on" }
	for my $n (2 .. 5) { ok !stored($p, "/$n"), "… uncached" }
	same get($p, '/1')->body, want(1), 'what is stored is served';
	is_health($p, 'degraded');
	is $p->get('/health')->{status}, 200, '… but in its balancer it stays';
	is said($p, qr/the store takes no more/), 1, 'the log says so once' or diag $p->log;
	unlink "$store/ballast", "$store/ballast.2";
	get($p, '/7');
	ok kept($p, '/7'), 'with room again it stores again, by itself';
	is_health($p, 'ok');
	is scalar(files("$store/tmp")), 0, 'no debris stays';
};

subtest 'full in the middle of a download by several requests' => sub {
	plan skip_all => 'not allowed to mount a small file system' unless may_mount();
	my ($p, $store) = small_disk('store', '24m', workers => 2, chunk_size => '1M', parallel_min => '1M', hot_size => 0, cache_size => '1G');
	my $big = pattern(12 * $MB);
	$origin->set('/ranges' => { size => 12 * $MB, cc => 'max-age=600', etag => '"r"', ranges => 1 });
	get($p, '/1');
	ok kept($p, '/1'), 'there is room: stored';
	fill_disk("$store/ballast", 2500);
	$origin->pause_after($MB, '/ranges');
	my $paused = $origin->paused;
	my @c = map { $p->curl_bg($origin->url('/ranges')) } 1 .. 5;
	my $range = $p->curl_bg('-r', 9 * $MB . '-' . (10 * $MB - 1), $origin->url('/ranges'));
	ok $origin->wait_paused($paused + 1), 'it becomes full while it comes';
	ok wait_until(sub { 5 == grep { $_->so_far >= $MB } @c }, 10), '… and five clients read it';
	$origin->resume;
	same $_->wait->body, $big, '… each gets all of it' for @c;
	same $range->wait->body, substr($big, 9 * $MB, $MB), '… and who wants a range, that';
	cmp_ok $p->metrics->{resumed}, '>=', 1, '… by requests of their own';
	ok !stored($p, '/ranges'), '… but it is not stored';
	is_health($p, 'degraded');
	unlink "$store/ballast";
	same get($p, '/ranges')->body, $big, 'with room again';
	ok kept($p, '/ranges'), '… it is';
	is_health($p, 'ok');
};

subtest 'the janitor does not wait for its hour when the store grows' => sub {
	my $p = proxy(cache_size => '12M', cache_low_watermark => 40, cache_high_watermark => 90, janitor_interval => 3600);
	get($p, "/$_") for 1 .. 12;
	ok $p->wait_metrics(sub { $_->{evicted} >= 1 && $_->{store_bytes} < 4.8 * $MB }, 10), 'cache-size: what is too much goes at once' or diag $p->log;
	same get($p, "/$_")->body, want($_), "$_ is served" for 1, 12;
	plan skip_all => 'not allowed to mount a small file system' unless may_mount();
	($p, my $store) = small_disk('store', '24m', workers => 1, hot_size => 0, janitor_interval => 3600, cache_min_free => '8M', cache_high_watermark => 100);
	my $roomy = sub { my ($blocks, $size) = (run_cmd('stat', '-f', '-c', '%a %S', $store))[1] =~ /^(\d+) (\d+)$/; $blocks * $size >= 8 * $MB };
	for my $n (1 .. 40) {
		same get($p, "/$n")->body, want($n), "request $n";
		ok wait_until($roomy, 5), '… cache-min-free is kept, or soon again' if $n % 5 == 0;
	}
	ok $p->wait_metrics(sub { $_->{evicted} >= 20 }, 10), 'for chunks go' or diag $p->log;
	ok kept($p, '/40'), 'the newest stays';
	is $p->metrics->{store_errors}, 0, 'and the disk was never full' or diag $p->log;
};

subtest 'full before, in the middle, and at the last byte' => sub {
	plan skip_all => 'not allowed to mount a small file system' unless may_mount();
	my ($p, $store) = small_disk('store', '24m', workers => 2, chunk_size => '64K', hot_size => 0, cache_size => '1G', cache_status => 'all');
	$origin->set('/long' => { size => 2 * $MB, seed => 'long', cc => 'max-age=600' }, '/little' => { body => 'little' x 100, cc => 'max-age=600' });
	my $long = pattern(2 * $MB, 'long');
	my @moments = (['before the first byte', 0], ['in the middle', 1000], ['before the last chunk', 2048 - 64 + 8], ['at the last byte', 2048 - 4]);
	for (@moments) {
		my ($when, $room) = @$_;
		my $errors = $p->metrics->{store_errors};
		fill_disk("$store/ballast", $room);
		same get($p, "/long?first.$room")->body, $long, "$when: the right bytes, to the first one";
		my $r = get($p, "/long?$room");
		same $r->body, $long, '… and to the next';
		ok $p->wait_metrics(sub { $_->{store_errors} > $errors }, 5), '… it is counted';
		ok !stored($p, "/long?$room"), '… uncached';
		is_health($p, 'degraded');
		like $r->header('Cache-Status'), qr/fwd=uri-miss;fwd-status=200;detail=store-full/, '… and said so' if $room == 0;
		if ($room == 0) {
			$r = get($p, '/little');
			is $r->body, 'little' x 100, '… a small one, too';
			like $r->header('Cache-Status'), qr/;detail=store-full$/, '… and said so';
		}
		unlink "$store/ballast";
		$r = get($p, "/long?after.$room");
		same $r->body, $long, '… with room again';
		ok kept($p, "/long?after.$room"), '… it is stored';
		is_health($p, 'ok');
	}
};

subtest 'the disk of the metadata is full' => sub {
	plan skip_all => 'not allowed to mount a small file system' unless may_mount();
	my ($p, $meta) = small_disk('meta', '2m', workers => 2, metadata_size => '4M');
	get($p, '/1');
	ok kept($p, '/1'), 'there is room: stored';
	fill_disk("$meta/ballast", 0);
	my ($n, @wrong) = (0);
	my $w = $p->wire;
	ok wait_until(sub {
		for (1 .. 20) {
			my $r = $w->get($origin->url("/small?$n" . 'x' x 1500), 'x');
			push @wrong, $n if $r->status != 200 || $r->body ne 'small';
			$n++;
		}
		health($p) eq 'degraded';
	}, 20), 'it becomes full';
	is "@wrong", '', "… and requests go on ($n until then)";
	is $w->get($origin->url("/small?more$_"), 'x')->body, 'small', '… also then' for 1 .. 5;
	same get($p, "/$_")->body, want($_), "… $_" for 2 .. 4;
	same get($p, '/1')->body, want(1), 'what is stored is served';
	# a commit that finds pages to use again succeeds now and then, and health is well until the next that does not
	ok wait_until(sub { $w->get($origin->url("/small?full$n" . 'x' x 1500), 'x'); $n++; health($p) eq 'degraded' }, 20), '… still full';
	is_health($p, 'degraded');
	is said($p, qr/metadata database or its disk is full/), scalar(keys %{{ map { /(worker \d+)\[/ ? ($1 => 1) : () } grep { /is full/ } split /\n/, $p->log }}), 'each worker says so once';
	unlink "$meta/ballast";
	my $i = 0;
	ok wait_until(sub { my $was = $i++; get($p, "/small?again$i"); health($p) eq 'ok' && stored($p, "/small?again$was") }, 15), 'with room again it stores again, by itself'
		or diag $p->log;
};

subtest 'a store that cannot be written' => sub {
	my $p = proxy();
	my $store = $p->state_dir . '/store';
	get($p, '/1');
	ok kept($p, '/1'), 'stored before';
	my @dirs;
	find({ no_chdir => 1, wanted => sub { push @dirs, $File::Find::name if -d } }, $store);
	my $owner = (stat $store)[4];
	if ($> == 0) { chown 0, 0, $_ for @dirs } else { chmod 0555, $_ for @dirs }
	for my $n (2, 3) {
		same get($p, "/$n")->body, want($n), "request $n goes on";
		ok !stored($p, "/$n"), '… uncached';
	}
	same get($p, '/1')->body, want(1), 'what is stored is served';
	is_health($p, 'degraded');
	is said($p, qr/the store takes no more/), 1, 'the log says so once' or diag $p->log;
	if ($> == 0) { chown $owner, -1, $_ for @dirs } else { chmod 0755, $_ for @dirs }
	get($p, '/4');
	ok kept($p, '/4'), 'when it can, it is';
	is_health($p, 'ok');
};

subtest 'a corrupt database is set aside and made anew' => sub {
	my $p = proxy(workers => 2);
	my %how = (
		'garbage from the start' => sub { my $n = -s $_[0]; spew($_[0], pattern($n, 'garbage')) },
		'garbage behind the start' => sub { my $n = -s $_[0]; open my $h, '+<:raw', $_[0] or die $!; seek $h, 8192, 0; print $h pattern($n - 8192, 'garbage'); close $h },
		'zeros behind the start' => sub { my $n = -s $_[0]; open my $h, '+<:raw', $_[0] or die $!; seek $h, 8192, 0; print $h "\0" x ($n - 8192); close $h },
		'cut' => sub { truncate $_[0], 8192 },
		'cut to nothing' => sub { truncate $_[0], 0 },
	);
	my $launch = 0;
	for my $what (sort keys %how) {
		get($p, "/$_") for 1 .. 5;
		ok kept($p, '/1'), "$what: stored before";
		$p->stop;
		$how{$what}->($p->state_dir . '/meta/data.mdb');
		$p->launch;
		same get($p, "/$_")->body, want($_), "… request $_" for 1 .. 5;
		ok wait_until(sub { get($p, '/1'); stored($p, '/1') }, 10), '… stored again';
		is_health($p, 'ok');
		cmp_ok said($p, qr/\bset aside\b/), '<=', 1, '… one line in the log' or diag $p->log;
		if ($what eq 'garbage from the start') { ok said($p, qr/\bset aside\b/), '… which says what became of it' or diag $p->log }
	}
};

subtest 'a database that is spoilt while it is in use' => sub {
	my $p = proxy(workers => 2);
	$p->{may_panic} = 1;
	get($p, "/$_") for 1 .. 5;
	ok kept($p, '/5'), 'stored before';
	my $file = $p->state_dir . '/meta/data.mdb';
	my $n = -s $file;
	open my $h, '+<:raw', $file or die $!;
	seek $h, 8192, 0;
	print $h pattern($n - 8192, 'garbage');
	close $h;
	my $wrong = 0;
	my $served = wait_until(sub {
		my @r = map { [$_, get($p, "/$_")] } 1 .. 5;
		$wrong += grep { $_->[1]->exit == 0 && $_->[1]->status == 200 && $_->[1]->body ne want($_->[0]) } @r;
		5 == grep { $_->[1]->exit == 0 && $_->[1]->status == 200 } @r;
	}, 20, 'all requests to succeed');
	ok $served, 'it serves on';
	is $wrong, 0, '… never a wrong byte';
	ok wait_until(sub { get($p, '/6'); stored($p, '/6') }, 20), 'and stores again, by itself' or diag $p->log;
	is_health($p, 'ok');
};

subtest 'kill -9 of every process during load' => sub {
	my $p = proxy(workers => 2, chunk_size => '64K');
	my $big = pattern(12 * $MB);
	for my $round (1 .. 3) {
		my $before = $origin->requests;
		$origin->pause_after(5 * $MB, "/big?$round");
		my @c = ($p->curl_bg($origin->url("/big?$round")),
		         map { my $k = $_; $p->curl_bg('-o', lab_dir() . '/load#1', $origin->url('/[1-40]') . "?$round", '-o', lab_dir() . '/load#1', $origin->url('/[1-40]') . "?$round.$k",
		                                       '-o', lab_dir() . '/load', $origin->url("/big?$round")) } 1 .. 4);
		ok wait_until(sub { $origin->requests >= $before + 15 * $round }, 20), "round $round: load";
		ok wait_until(sub { $c[0]->so_far >= 5 * $MB }, 10), '… and a large object half there';
		$p->kill9_all;
		$_->wait for @c;
		is scalar(grep { $_->exit == 0 } @c), 0, '… all died with it';
		$origin->resume;
		my %asked = map { $_->{target} => 1 } ($origin->requests)[$before .. $origin->requests - 1];
		$p->launch;
		my (@wrong, $hits);
		for my $target (sort keys %asked) {
			my $r = get($p, $target);
			my $want = $target =~ m{^/(\d+)} ? want($1) : $big;
			push @wrong, $target if $r->exit != 0 || $r->status != 200 || $r->body ne $want;
			$hits += $r->hit;
		}
		is "@wrong", '', '… only correct bytes: ' . keys(%asked) . " objects, $hits were stored";
		ok wait_until(sub { !files($p->state_dir . "/store/tmp") }, 10), '… no debris stays' or diag join "\n", files($p->state_dir . '/store/tmp');
		is_health($p, 'ok');
	}
	is $p->stop, 0, 'it ends well';
};
done_testing;
