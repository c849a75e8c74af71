# What could be read in two ways is refused and the connection closed; nothing of it reaches an origin; and the proxy serves on after each.
# The parser's own clauses are rows of t/unit/server_http1.c: here it is the whole way, on plain connections and inside TLS.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $origin = origin('/good' => { body => 'good', cc => 'no-store' }, '*' => { body => 'evil', cc => 'no-store' });
my $proxy = proxy(workers => 1, max_line => '4K', max_head => '8K', max_fields => 32, client_head_timeout => 5);
my %authority = map { $_ => $origin->authority($_) } qw(http https);

sub client {
	my ($scheme) = @_;
	my $w = $proxy->wire;
	if ($scheme eq 'https') { $w->tunnel($authority{https}); $w->tls('localhost') or die $w->{error} }
	return $w;
}
sub target { my ($scheme, $path) = @_; $scheme eq 'http' ? "http://$authority{http}$path" : $path }

my @cases = ( # name, request (<T> target, <H> Host line), status
	['CL.TE', "POST <T> HTTP/1.1\r\n<H>Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400],
	['TE.CL', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", 400],
	['TE.TE, one of them odd', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n", [400, 501]],
	['an unknown coding', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400, 501]],
	['chunked twice', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", [400, 501]],
	['a tab before chunked in its name', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400],
	['differing Content-Lengths', "POST <T> HTTP/1.1\r\n<H>Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400],
	['Content-Length with a plus', "POST <T> HTTP/1.1\r\n<H>Content-Length: +3\r\n\r\nabc", 400],
	['Content-Length beyond numbers', "POST <T> HTTP/1.1\r\n<H>Content-Length: 99999999999999999999\r\n\r\nabc", 400],
	['Content-Length list that differs', "POST <T> HTTP/1.1\r\n<H>Content-Length: 3, 4\r\n\r\nabc", 400],
	['Transfer-Encoding in HTTP/1.0', "POST <T> HTTP/1.0\r\n<H>Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
	['obs-fold', "GET <T> HTTP/1.1\r\n<H>X-A: 1\r\n folded\r\n\r\n", 400],
	['obs-fold that hides a field', "GET <T> HTTP/1.1\r\n<H>X-A: 1\r\n\tTransfer-Encoding: chunked\r\n\r\n", 400],
	['a bare LF in the head', "GET <T> HTTP/1.1\n<H>X-A: 1\r\n\r\n", 400],
	['a bare LF at its end', "GET <T> HTTP/1.1\r\n<H>\n\n", 400],
	['a bare CR in a value', "GET <T> HTTP/1.1\r\n<H>X-A: a\rX-B: b\r\n\r\n", 400],
	['NUL in a value', "GET <T> HTTP/1.1\r\n<H>X-A: a\0b\r\n\r\n", 400],
	['a blank before the colon', "GET <T> HTTP/1.1\r\n<H>X-A : 1\r\n\r\n", 400],
	['a blank before the first field', "GET <T> HTTP/1.1\r\n X-A: 1\r\n<H>\r\n", 400],
	['a field without a name', "GET <T> HTTP/1.1\r\n<H>: 1\r\n\r\n", 400],
	['a line without a colon', "GET <T> HTTP/1.1\r\n<H>GET /evil HTTP/1.1\r\n\r\n", 400],
	['two Hosts', "GET <T> HTTP/1.1\r\n<H>Host: elsewhere.example\r\n\r\n", 400],
	['no Host', "GET <T> HTTP/1.1\r\n\r\n", 400],
	['a Host that is none', "GET <T> HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400],
	['two blanks in the request line', "GET  <T> HTTP/1.1\r\n<H>\r\n", 400],
	['a control byte in the target', "GET <T>\x01 HTTP/1.1\r\n<H>\r\n", 400],
	['another version', "GET <T> HTTP/2.0\r\n<H>\r\n", 505],
	['no version (HTTP/0.9)', "GET <T>\r\n\r\n", 400],
	['a chunk size that is none', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", 400],
	['a chunk size that overflows', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n", 400],
	['a chunk without its end', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", 400],
	['a bare LF behind a chunk size', "POST <T> HTTP/1.1\r\n<H>Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400],
	['no HTTP at all', "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400],
	['a request line beyond the limit', 'GET <T>' . 'x' x 5000 . " HTTP/1.1\r\n<H>\r\n", 414],
	['a request line without end', 'GET <T>' . 'x' x 8000, 414],
	['a head beyond the limit', "GET <T> HTTP/1.1\r\n<H>" . join('', map { "X-$_: " . 'y' x 700 . "\r\n" } 1 .. 14) . "\r\n", 431],
	['a field without end', "GET <T> HTTP/1.1\r\n<H>X-A: " . 'y' x 9000, 431],
	['too many fields', "GET <T> HTTP/1.1\r\n<H>" . join('', map { "X-$_: 1\r\n" } 1 .. 40) . "\r\n", 431],
);

for my $scheme ('http', 'https') {
	subtest "refused: $scheme" => sub {
		for my $case (@cases) {
			my ($name, $request, $status) = @$case;
			$request =~ s/<T>/target($scheme, '\/evil')/ge;
			$request =~ s/<H>/Host: $authority{$scheme}\r\n/g;
			my $w = client($scheme);
			# what a smuggler hopes for comes behind it, on the same connection
			$w->send($request . "GET @{[target($scheme, '/evil2')]} HTTP/1.1\r\nHost: $authority{$scheme}\r\n\r\n");
			my $r = eval { $w->response };
			my @want = ref $status ? @$status : $status;
			ok $r && (grep { $r->status == $_ } @want), "$name: " . join ' or ', @want or diag $r ? $r->{head} . $r->body : $@ || 'no answer';
			ok $w->closed, '… and the connection is closed';
			my $ok = client($scheme)->get(target($scheme, '/good'), $authority{$scheme});
			is $ok && $ok->body, 'good', '… and the proxy serves on';
		}
		is $origin->hits('/evil2'), 0, 'nothing that came behind was taken for a request';
		# bodies whose beginning is well may have gone out before their end was seen; they must not have arrived whole
		my @whole = grep { $_->{method} eq 'GET' || $_->{body_length} } $origin->requests('/evil');
		is scalar(@whole), 0, 'no origin got one of them' or diag $whole[0]{head}, $whole[0]{body};
	};
}

subtest 'what looks like it but is well' => sub {
	for my $scheme ('http', 'https') {
		my $w = client($scheme);
		my ($t, $h) = (target($scheme, '/good'), "Host: $authority{$scheme}\r\n");
		for (['empty lines before a request', "\r\n\r\nGET $t HTTP/1.1\r\n$h\r\n"],
		     ['equal Content-Lengths or a refusal', "GET $t HTTP/1.1\r\n$h\r\n"],
		     ['blanks around a value', "GET $t HTTP/1.1\r\n${h}X-A:  \t b \t \r\n\r\n"],
		     ['an empty value', "GET $t HTTP/1.1\r\n${h}X-A:\r\n\r\n"],
		     ['bytes beyond ASCII in a value', "GET $t HTTP/1.1\r\n${h}X-A: \xe4\xf6\r\n\r\n"],
		     ['chunk sizes in both cases and with zeros', "POST $t HTTP/1.1\r\n${h}Transfer-Encoding: Chunked\r\n\r\n000A\r\n0123456789\r\n0b\r\n0123456789a\r\n0\r\n\r\n"]) {
			$w->send($_->[1]);
			my $r = $w->response;
			is $r && $r->body, 'good', "$scheme: $_->[0]";
		}
		is $origin->last('/good')->{body}, '01234567890123456789a', '… the body arrived as it was meant';
	}
};

subtest 'an origin\'s tricks do not reach clients' => sub {
	my $bad = origin(
		'/both' => { raw => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" },
		'/two' => { raw => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\nabcde" },
		'/split' => { raw => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" },
		'/chunk' => { raw => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\nzz\r\nabc\r\n" },
		'/long' => { raw => "HTTP/1.1 200 OK\r\nX-A: " . 'a' x 500_000 . "\r\nContent-Length: 0\r\n\r\n" },
	);
	my $w = $proxy->wire;
	my $a = $bad->authority('http');
	for my $path (qw(/both /two /split /chunk /long)) {
		my $r = eval { $w->get($bad->url($path), $a) };
		ok $r, "$path: an answer" or diag $@;
		ok !$r || $r->status >= 500 || !$r->complete || $r->body =~ /^(?:abc|)$/, '… that is an error, broken, or well';
		$w = $proxy->wire if !$r || !$r->complete || ($r->header('connection') // '') =~ /close/;
		my $ok = $w->get($origin->url('/good'), $authority{http});
		is $ok && $ok->body, 'good', '… and what follows is the answer to what was asked';
	}
};
is $proxy->stop, 0, 'it ends well';
done_testing;
