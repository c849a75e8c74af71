# HTTP libraries that people write programs with, through the proxy: curl with --compressed, Python's requests (and urllib), Java's HttpClient.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Clients;
use Digest::SHA;
use IO::Compress::Gzip;
use Test::More;

my $text = join '', map { "line $_ of what compresses well\n" } 1 .. 3000;
my $stream = 12 << 20;
# not localhost: proxies are not asked for that, by many clients, and so says proxy-env.sh
my $origin = origin(host => '127.0.0.2',
	'/text' => sub {
		my ($c, $req) = @_;
		my $gzip = ($req->{headers}{'accept-encoding'} // '') =~ /gzip/;
		IO::Compress::Gzip::gzip(\$text => \my $small);
		return $c->respond({ cc => 'max-age=600', vary => 'Accept-Encoding', etag => $gzip ? '"text-gzip"' : '"text"', body => $gzip ? $small : $text,
			headers => ['Content-Type' => 'text/plain', $gzip ? ('Content-Encoding' => 'gzip') : ()] });
	},
	(map { ("/page$_" => { cc => 'max-age=600', size => 1000 * $_, seed => $_, etag => "\"p$_\"" }) } 1 .. 8),
	'/stream' => { cc => 'max-age=600', size => $stream, seed => 's', chunked => 1, body => undef },
	'/post' => { cc => 'no-store', body => "thanks\n" },
	'/redirect' => { status => 302, headers => [Location => '/page1'], cc => 'max-age=600' },
	'/no-store' => { cc => 'no-store', body => "never\n" },
);
my $proxy = proxy(workers => 2, access_log_file => fresh_dir() . '/access.json', access_log_headers => 'cache-control,expires,last-modified,etag,age,vary,set-cookie,cache-status,date');

subtest 'curl --compressed: a variant for each coding' => sub {
	for my $scheme ('http', 'https') {
		my $url = $origin->url('/text', $scheme);
		my $before = $origin->hits('/text');
		for my $n (1, 2) {
			my ($packed, $plain, $none);
			my $t = tally("curl --compressed, $scheme, $n", round_records($proxy, sub {
				$packed = $proxy->curl('--compressed', $url);
				$none = $proxy->curl('-H', 'Accept-Encoding: gzip', $url); # not unpacked: what travelled
				$plain = $proxy->curl($url);
			}));
			same $packed->body, $text, 'unpacked by the client: the text';
			is $none->header('content-encoding'), 'gzip', 'a client that says gzip gets it';
			cmp_ok length $none->body, '<', length($text) / 3, '… small';
			same $plain->body, $text, 'a client that says nothing gets it plain';
			is $plain->header('content-encoding'), undef, '… and not marked';
			is $t->{cached}, $t->{objects}, "all $t->{objects} from the cache" if $n == 2;
		}
		cmp_ok $origin->hits('/text') - $before, '<=', 3, 'the origin answered once for each Accept-Encoding at most';
	}
};

# ---- Python

my $requests = <<'EOP';
import hashlib, os, sys, requests
base, proxy = sys.argv[1:3]
s = requests.Session()
def sha(b): return hashlib.sha256(b).hexdigest()
for i in range(1, 9):  # one connection, kept alive
    r = s.get(base + "/page%d" % i, timeout=30)
    r.raise_for_status()
    print("page%d" % i, sha(r.content), len(r.content))
r = s.get(base + "/text", timeout=30)
print("text", sha(r.content), r.headers.get("Content-Encoding"))
r = s.get(base + "/redirect", timeout=30)
print("redirect", sha(r.content), len(r.history))
def pieces():
    for i in range(200):
        yield b"piece %d," % i * 500
r = s.post(base + "/post", data=pieces(), timeout=30)  # chunked, no length
print("upload", r.text.strip(), r.request.headers.get("Transfer-Encoding"))
h, n = hashlib.sha256(), 0
with s.get(base + "/stream", stream=True, timeout=30) as r:
    for piece in r.iter_content(65536):
        h.update(piece)
        n += len(piece)
print("stream", h.hexdigest(), n)
r = s.get(base + "/page3", headers={"Range": "bytes=100-199"}, timeout=30)
print("range", r.status_code, len(r.content))
r = s.get(base + "/page3", headers={"If-None-Match": '"p3"'}, timeout=30)
print("conditional", r.status_code)
r = s.get(base + "/no-store", timeout=30)
print("never", r.text.strip())
pools = s.get_adapter(base).proxy_manager[proxy].pools
print("connections", sum(pools[k].num_connections for k in pools.keys()))
EOP
sub upload { join '', map { "piece $_," x 500 } 0 .. 199 }

subtest 'Python: requests, with a session kept alive, an upload in chunks, a download as a stream' => sub {
	my ($python) = grep { (run_cmd($_, '-c', 'import requests'))[0] == 0 } grep { -x } (have_cmd('python3') // (), '/usr/bin/python3');
	plan skip_all => 'no Python with requests (Debian: python3-requests)' unless $python;
	my (undef, $version) = run_cmd($python, '-c', 'import sys, requests; print(sys.version.split()[0], "requests", requests.__version__)');
	note $version;
	my $script = fresh_dir() . '/client.py';
	spew($script, $requests);
	my $bundle = trusted_bundle($proxy, fresh_dir());
	for my $n (1, 2) {
		my ($s, $out);
		my @r = round_records($proxy, sub { ($s, $out) = run_cmd({ env => { trusting_env($proxy, $bundle) }, timeout => 60 * Lab::slow() }, $python, $script, $origin->https(''), $proxy->url) });
		is $s, 0, "round $n works" or diag $out;
		like $out, qr/^page$_ \Q@{[sha256(pattern(1000 * $_, $_))]}\E /m, "page $_ is whole" for 1 .. 8;
		like $out, qr/^text \Q@{[sha256($text)]}\E gzip$/m, 'compressed text is whole';
		like $out, qr/^redirect \Q@{[sha256(pattern(1000, 1))]}\E 1$/m, 'a redirect was followed';
		like $out, qr/^upload thanks chunked$/m, 'the upload was answered';
		is $origin->last('/post')->{body_sha256}, sha256(upload()), '… and had arrived whole';
		like $out, qr/^stream \Q@{[sha256(pattern($stream, 's'))]}\E $stream$/m, 'the stream is whole';
		like $out, qr/^range 206 100$/m, 'a range';
		like $out, qr/^conditional 304$/m, 'a condition';
		like $out, qr/^connections 1$/m, 'all on one connection';
		my $t = tally("requests, $n", @r);
		if ($n == 2) {
			is_deeply [map { s/ .*//r } sort keys %{$t->{why}}], ['POST', 'no-store'], 'only POST and no-store are not from the cache';
			is $t->{cached}, $t->{objects} - 2, "… $t->{cached} of $t->{objects} are";
		}
	}
};

subtest 'Python: urllib, by its environment alone' => sub {
	my $python = have_cmd('python3') or plan skip_all => 'no python3';
	my $bundle = trusted_bundle($proxy, fresh_dir());
	for my $n (1, 2) {
		my ($s, $out);
		my @r = round_records($proxy, sub { ($s, $out) = run_cmd({ env => { trusting_env($proxy, $bundle) }, timeout => 30 * Lab::slow() }, $python, '-c',
			'import sys, hashlib, urllib.request' . "\nfor u in sys.argv[1:]: print(hashlib.sha256(urllib.request.urlopen(u, timeout=20).read()).hexdigest())", $origin->https('/page5?urllib'), $origin->url('/page6?urllib')) });
		is $s, 0, "round $n works" or diag $out;
		is $out, sha256(pattern(5000, 5)) . "\n" . sha256(pattern(6000, 6)) . "\n", 'https and http are whole';
		my $t = tally("urllib, $n", @r);
		is $t->{cached}, $n == 2 ? 2 : 0, $n == 2 ? '2 of 2 from the cache' : 'from the origin';
	}
};

# ---- Java

my $java = <<'EOJ';
import java.net.*;
import java.net.http.*;
import java.nio.file.*;
import java.security.*;
import java.util.*;
import java.util.concurrent.*;
import java.io.*;

public class Client {
	static String sha(byte[] b) throws Exception { return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(b)); }
	public static void main(String[] a) throws Exception {
		String base = a[0];
		HttpClient c = HttpClient.newBuilder().proxy(ProxySelector.of(new InetSocketAddress(a[1], Integer.parseInt(a[2])))).followRedirects(HttpClient.Redirect.NORMAL).build();
		System.out.println("asked " + c.version());
		List<CompletableFuture<HttpResponse<byte[]>>> all = new ArrayList<>();
		for (int i = 1; i <= 8; i++) // all at the same time
			all.add(c.sendAsync(HttpRequest.newBuilder(URI.create(base + "/page" + i + "?java")).build(), HttpResponse.BodyHandlers.ofByteArray()));
		for (int i = 1; i <= 8; i++) {
			HttpResponse<byte[]> r = all.get(i - 1).get(30, TimeUnit.SECONDS);
			System.out.println("page" + i + " " + r.statusCode() + " " + sha(r.body()));
		}
		HttpResponse<InputStream> s = c.send(HttpRequest.newBuilder(URI.create(base + "/stream?java")).build(), HttpResponse.BodyHandlers.ofInputStream());
		MessageDigest m = MessageDigest.getInstance("SHA-256");
		byte[] piece = new byte[65536];
		long n = 0;
		for (int k; (k = s.body().read(piece)) > 0; n += k) m.update(piece, 0, k);
		System.out.println("stream " + HexFormat.of().formatHex(m.digest()) + " " + n + " " + s.version());
		byte[] up = new byte[300000];
		for (int i = 0; i < up.length; i++) up[i] = (byte) (i % 251);
		HttpResponse<String> p = c.send(HttpRequest.newBuilder(URI.create(base + "/post?java")).expectContinue(true)
			.POST(HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(up))).build(), HttpResponse.BodyHandlers.ofString());
		System.out.println("upload " + p.body().trim() + " " + sha(up));
		HttpResponse<byte[]> r = c.send(HttpRequest.newBuilder(URI.create(base + "/redirect?java")).build(), HttpResponse.BodyHandlers.ofByteArray());
		System.out.println("redirect " + r.statusCode() + " " + sha(r.body()));
		// the older client of Java, by its properties
		URLConnection u = new URL(base + "/page4?java").openConnection(new Proxy(Proxy.Type.HTTP, new InetSocketAddress(a[1], Integer.parseInt(a[2]))));
		System.out.println("old " + sha(u.getInputStream().readAllBytes()));
	}
}
EOJ

subtest "Java: HttpClient, with a trust store made by keytool" => sub {
	my $vm = have_cmd('java');
	my $keytool = have_cmd('keytool');
	my (undef, $version) = $vm ? run_cmd($vm, '-version') : ();
	plan skip_all => 'no java and keytool of 17 or later (Debian: default-jdk-headless)' unless $vm && $keytool && ($version // '') =~ /version "(\d+)/ && $1 >= 17;
	note $version;
	my $d = fresh_dir();
	spew("$d/Client.java", $java);
	my $pem = $proxy->curl('http://mitm.it/cert/cer');
	spew("$d/ca.cer", $pem->body);
	my ($s, $out) = run_cmd($keytool, qw(-importcert -noprompt -alias passsage -storetype PKCS12 -storepass changeit -keystore), "$d/trust.p12", '-file', "$d/ca.cer");
	is $s, 0, 'keytool takes the certificate from mitm.it' or return diag $out;
	for my $n (1, 2) {
		my @r = round_records($proxy, sub { ($s, $out) = run_cmd({ cwd => $d, timeout => 60 * Lab::slow() }, $vm, "-Djavax.net.ssl.trustStore=$d/trust.p12", '-Djavax.net.ssl.trustStorePassword=changeit',
			"$d/Client.java", $origin->https(''), '127.0.0.1', $proxy->port) });
		is $s, 0, "round $n works" or diag last_lines($out, 20);
		like $out, qr/^page$_ 200 \Q@{[sha256(pattern(1000 * $_, $_))]}\E$/m, "page $_ is whole" for 1 .. 8;
		like $out, qr/^stream \Q@{[sha256(pattern($stream, 's'))]}\E $stream HTTP_1_1$/m, 'the stream is whole';
		like $out, qr/^upload thanks ([0-9a-f]+)$/m, 'the upload was answered';
		is $origin->last('/post?java')->{body_sha256}, sha256(join '', map { chr($_ % 251) } 0 .. 299999), '… and had arrived whole';
		like $out, qr/^redirect 200 \Q@{[sha256(pattern(1000, 1))]}\E$/m, 'a redirect was followed';
		like $out, qr/^old \Q@{[sha256(pattern(4000, 4))]}\E$/m, 'URLConnection too';
		my $t = tally("java, $n", @r);
		if ($n == 2) {
			is_deeply [sort keys %{$t->{why}}], ['POST'], 'only POST is not from the cache';
			is $t->{cached}, $t->{objects} - 1, "… $t->{cached} of $t->{objects} are";
		}
	}
};
done_testing;
