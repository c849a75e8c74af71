# An origin that speaks HTTP/2 is spoken to in HTTP/2, over few connections, and the client sees HTTP/1.1 as ever.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $node = Lab::have_cmd('node') or Lab::skip_file('node, which plays the origin, is not here');
my ($cert, $key) = Lab::leaf('localhost');
my $port = Lab::free_port();
my $js = Lab::lab_dir() . '/h2.js';
Lab::spew($js, <<'JS');
const http2 = require('http2'), fs = require('fs'), crypto = require('crypto');
const [cert, key, port] = process.argv.slice(2);
let connections = 0, requests = 0;
const server = http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), allowHTTP1: true });
server.on('secureConnection', () => connections++);
server.on('request', (req, res) => {
	requests++;
	const head = { 'cache-control': 'max-age=60', 'x-spoken': req.httpVersion, 'x-connections': connections, 'x-requests': requests };
	if (req.url === '/upload') {
		const hash = crypto.createHash('sha256');
		req.on('data', (d) => hash.update(d));
		req.on('end', () => { res.writeHead(200, { ...head, 'cache-control': 'no-store' }); res.end(hash.digest('hex')); });
		return;
	}
	if (req.url === '/broken') {
		res.writeHead(200, { ...head, 'content-length': 1000000 });
		res.write(Buffer.alloc(300000, 'x'), () => setTimeout(() => res.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), 100));
		return;
	}
	const size = /^\/big/.test(req.url) ? 5000000 : 11;
	res.writeHead(200, head); // no content-length: HTTP/2 does not need one
	setTimeout(() => res.end(Buffer.alloc(size, 'hello world')), /^\/slow/.test(req.url) ? 300 : 0);
});
server.listen(+port, '127.0.0.1', () => console.log('ready'));
JS
my $out = Lab::lab_dir() . '/h2.out';
my $origin = Lab::spawn({ stdout => $out, stderr => "$out.err" }, $node, $js, $cert, $key, $port);
wait_until(sub { (Lab::slurp($out) // '') =~ /ready/ }, 20, 'the origin');
my $url = "https://localhost:$port";
my $ca = Lab::lab_ca();

sub through {
	my ($proxy, $spoken) = @_;
	my $r = $proxy->curl("$url/one");
	is $r->status, 200, 'a page';
	like $r->{head}, qr{^HTTP/1\.1 200 OK}m, '… the client sees HTTP/1.1';
	is $r->header('x-spoken'), $spoken, "… the origin saw $spoken";
	is $r->body, 'hello world', '… all of it';
	ok $proxy->curl("$url/one")->hit, 'it is cached';
	is length $proxy->curl("$url/big")->body, 5_000_000, 'a large one, without a length';
	my $data = Lab::pattern(2_000_000);
	Lab::spew(Lab::lab_dir() . '/upload', $data);
	is $proxy->curl('--data-binary', '@' . Lab::lab_dir() . '/upload', "$url/upload")->body, Lab::sha256($data), 'an upload arrives whole';
	isnt $proxy->curl("$url/broken")->exit, 0, 'a stream that is reset breaks the client\'s connection';
	ok !$proxy->curl("$url/broken")->hit, '… and is not stored';
}

subtest 'HTTP/2' => sub {
	my $proxy = proxy(workers => 1, upstream_ca => $ca);
	through($proxy, '2.0');
	my @c = map { $proxy->curl_bg("$url/slow$_") } 1 .. 20;
	my @got = map { $_->wait } @c;
	is scalar(grep { $_->status == 200 && $_->body eq 'hello world' } @got), 20, '20 at once';
	my ($most) = sort { $b <=> $a } map { $_->header('x-connections') } @got;
	cmp_ok $most, '<=', 12, "… over few connections ($most in all)";
	is $proxy->stop, 0, 'it ends well';
};

subtest '--upstream-http2=false: HTTP/1.1' => sub {
	my $proxy = proxy(workers => 1, upstream_ca => $ca, args => ['--upstream-http2=false']);
	through($proxy, '1.1');
	is $proxy->stop, 0, 'it ends well';
};
done_testing;
