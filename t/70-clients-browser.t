# A browser that trusts our CA loads a page and what belongs to it over https through the proxy, the second time from the cache; and http://mitm.it/.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Test::More;

my $browser;
$browser //= have_cmd($_) for qw(chromium chromium-browser google-chrome);
skip_file('no Chromium here (Debian: chromium)') unless $browser;
my ($status, $version) = run_cmd({ timeout => 30 }, $browser, '--version', '--no-sandbox');
skip_file("Chromium does not run here: $version") if $status != 0;
note $version;
my $certutil = have_cmd('certutil') or skip_file('no certutil here (Debian: libnss3-tools)');

my $picture = pack 'H*', '47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b'; # one point
my $page = <<'EOP';
<!doctype html><html><head><title>the lab's page</title><link rel="stylesheet" href="/style.css"></head>
<body><h1>A page of the lab</h1><p id="script">no script ran</p><p id="style"></p><p id="data"></p><p id="big"></p><p id="picture"></p>
<img id="img" src="/picture.gif"><script src="/app.js"></script></body></html>
EOP
my $script = <<'EOJ';
function say(id, text) { document.getElementById(id).textContent = text; }
function ask(url) { var x = new XMLHttpRequest(); x.open("GET", url, false); x.send(); return x; } // the page is not done before
say("script", "script ran");
say("data", "data " + JSON.parse(ask("/data.json").responseText).answer + " " + ask("/data.json").status);
say("big", "big " + ask("/big.txt").responseText.length);
window.addEventListener("load", function () {
	say("style", "style " + getComputedStyle(document.body).getPropertyValue("--lab").trim());
	say("picture", "picture " + document.getElementById("img").naturalWidth);
	say("script", "script done");
});
EOJ
my %kept = (cc => 'max-age=600');
my $origin = origin(host => '127.0.0.2',
	'/' => { %kept, body => $page, headers => ['Content-Type' => 'text/html; charset=utf-8'] },
	'/style.css' => { %kept, body => 'body { --lab: applied; }', headers => ['Content-Type' => 'text/css'] },
	'/app.js' => { %kept, body => $script, headers => ['Content-Type' => 'text/javascript'], chunked => 1 },
	'/data.json' => { body => '{"answer": 42}', cc => 'no-store', headers => ['Content-Type' => 'application/json'] },
	'/big.txt' => { %kept, body => 'x' x 3_000_000, headers => ['Content-Type' => 'text/plain'] },
	'/picture.gif' => { %kept, body => $picture, headers => ['Content-Type' => 'image/gif'] },
	'/favicon.ico' => { %kept, status => 404, body => '' },
);
my $proxy = proxy(workers => 2, access_log_file => fresh_dir() . '/access.json', access_log_headers => 'cache-control,expires,last-modified,etag,age,vary,set-cookie,cache-status,date');

my $home = fresh_dir();
my $pem = $proxy->curl('http://mitm.it/cert/pem');
spew("$home/ca.pem", $pem->body);
mkdir "$home/.pki";
mkdir "$home/.pki/nssdb";
my @db = ('-d', "sql:$home/.pki/nssdb");
for (['-N', '--empty-password'], ['-A', '-t', 'C,,', '-n', 'passsage', '-i', "$home/ca.pem"]) {
	my ($s, $out) = run_cmd($certutil, @db, @$_);
	is $s, 0, "certutil $_->[0]" or diag $out;
}
# its own services are not to be reached; loopback is not to be spared from the proxy
sub browse {
	my ($url, @more) = @_;
	my $profile = fresh_dir();
	my ($out, $err) = ("$profile/out", "$profile/err");
	my $p = spawn({ stdout => $out, stderr => $err, env => { HOME => $home, XDG_CONFIG_HOME => "$profile/config", XDG_CACHE_HOME => "$profile/cache" } }, $browser, qw(--headless --no-sandbox --disable-gpu
		--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage --disable-default-apps),
		'--no-default-browser-check', '--disable-features=OptimizationHints,MediaRouter,Translate,NetworkTimeServiceQuerying', '--timeout=20000',
		"--user-data-dir=$profile/data", '--proxy-server=' . $proxy->url, '--proxy-bypass-list=<-loopback>', @more, $url);
	my $t0 = Time::HiRes::time();
	my $s = $p->wait(60 * Lab::slow());
	note sprintf "%.1f s for %s", Time::HiRes::time() - $t0, $url;
	is $s, 0, "the browser ends well" or diag last_lines(slurp($err), 10);
	return slurp($out) // '';
}

subtest 'a page with all that belongs to it' => sub {
	my $authority = $origin->authority;
	for my $n (1, 2) {
		my $dom;
		my @r = grep { $_->{url} =~ m{^https://\Q$authority\E/} } round_records($proxy, sub { $dom = browse($origin->https('/'), '--dump-dom') });
		like $dom, qr/A page of the lab/, "round $n: the page";
		like $dom, qr/script done/, '… its script ran';
		like $dom, qr/data 42 200/, '… got its data';
		like $dom, qr/big 3000000/, '… and what is large';
		like $dom, qr/style applied/, '… with its style';
		like $dom, qr/picture 1/, '… and its picture';
		my $t = tally("browser, $n", @r);
		my %path = map { $_->{path} => $_ } @r;
		is_deeply [grep { !$path{$_} } qw(/ /style.css /app.js /data.json /big.txt /picture.gif)], [], 'all through the proxy' or diag join ' ', sort keys %path;
		next if $n == 1;
		is_deeply [grep { $path{$_} && !$path{$_}{cached} } qw(/ /style.css /app.js /big.txt /picture.gif)], [], 'all that may be kept from the cache';
		is $path{'/data.json'}{cached}, JSON::PP::false, 'no-store is not';
	}
	is $origin->hits('/style.css'), 1, 'the origin was asked once';
};

subtest 'http://mitm.it/ in a browser' => sub {
	my $picture = fresh_dir() . '/mitm.png';
	my $dom = browse('http://mitm.it/', '--dump-dom');
	like $dom, qr/$_/i, "says $_" for 'passsage', 'certificate', 'Linux', 'macOS', 'Windows', 'Docker', 'pip', 'npm', 'Java', '/cert/pem', 'proxy-env\.sh';
	browse('https://mitm.it/', "--screenshot=$picture", '--window-size=1000,1400');
	cmp_ok -s $picture // 0, '>', 10000, 'over https too: a screenshot of it that is not empty';
};

subtest 'a page whose origin cannot be trusted' => sub {
	my $bad = origin(host => '127.0.0.2', tls => 'selfsigned', '/' => { body => 'secret' });
	my $dom = browse($bad->https('/'), '--dump-dom');
	unlike $dom, qr/secret/, 'is not shown';
	like $dom, qr/certificate/i, '… but why';
};
done_testing;
