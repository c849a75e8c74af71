# What is said to one client must not become another's answer: requests in which two readers could see two things, keys that could be taken for
# one another, and answers that could be taken for two. Each row has its required outcome; after each one a clean client gets clean bytes.
# t/21-smuggling.t has the rows of framing on both kinds of connections; together they are the table.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Time::HiRes 'time';

my $rows = 0;
# It says back all that it was asked: were a hostile request's answer stored under a clean one's key, the clean client would see it.
my $origin = origin('*' => sub {
	my ($c, $req) = @_;
	my $h = $req->{headers};
	my $body = $c->read_body;
	my $said = join ' ', $req->{method}, $req->{target}, 'host=' . ($h->{host} // ''), map({ "$_=$h->{$_}" } grep { /^x-(?!request-id)|^forwarded$|^range$|^cookie$/ } sort keys %$h), length $body ? "body=$body" : ();
	$c->respond({ body => $said, cc => 'max-age=600', $req->{target} =~ /vary/ ? (vary => 'X-Vary') : () });
});
my $A = $origin->authority('http');
my ($name, $port) = split /:/, $A;
my $proxy = proxy(max_line => '4K', max_head => '8K', max_fields => 32, client_head_timeout => 5, ban_seconds => 0);

sub clean { # the bytes that a clean client must get for that path
	my ($path, $what) = @_;
	my $r = $proxy->wire->get("http://$A$path", $A);
	is $r && $r->body, "GET $path host=$A", "… and a clean client gets clean bytes" or diag $what;
}

# ---- requests: <P> is a path of the row's own, <A> the authority. Refused (a status), or answered (200): never for the clean client's key.
my $big = 'x' x 5000;
my @requests = (
	# framing
	['CL.TE, Transfer-Encoding first', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400],
	['TE.TE, two fields that agree', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE: chunked in quotes', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE: chunked with a parameter', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE: identity, chunked', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE: chunked, identity', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE: gzip, chunked', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE with a vertical tab', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE with a no-break space', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n", [400, 501]],
	['TE that is empty', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding:\r\nContent-Length: 1\r\n\r\nx", [400, 501]],
	['TE in a continued line', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400],
	['TE behind a bare LF', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
	['TE behind a bare CR', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX-A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
	['Content-Length: -1', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: -1\r\n\r\n", 400],
	['Content-Length: 0x3', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 0x3\r\n\r\nabc", 400],
	['Content-Length: 3abc', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 3abc\r\n\r\nabc", 400],
	['Content-Length: 3 4', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 3 4\r\n\r\nabc", 400],
	['Content-Length: 3.0', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 3.0\r\n\r\nabc", 400],
	['Content-Length: 1e1', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 1e1\r\n\r\n0123456789", 400],
	['Content-Length that is empty', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length:\r\n\r\n", 400],
	['Content-Length: 2^64+1', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 18446744073709551617\r\n\r\nx", 400],
	['Content-Length in a continued line', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length:\r\n 3\r\n\r\nabc", 400],
	['a blank before Content-Length\'s colon', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length : 3\r\n\r\nabc", 400],
	['a NUL in Content-Length\'s name', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length\0: 3\r\n\r\nabc", 400],
	['a chunk size with a plus', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", 400],
	['a chunk size with 0x', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400],
	['a negative chunk size', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400],
	['a blank before a chunk size', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", 400],
	['no chunk size', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", 400],
	['a bare CR in a chunk extension', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n", 400],
	['a bare LF in a chunk extension', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n", 400],
	['a chunk extension without end', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n3;" . 'a' x 100_000, 400],
	['a chunk that ends with LF', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", 400],
	['a trailer Content-Length', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400],
	['a trailer Transfer-Encoding', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", 400],
	['a trailer Host', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: evil.example\r\n\r\n", 400],
	# lines
	['a tab in the request line', "GET\thttp://<A><P>\tHTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a blank in the target', "GET http://<A><P> /x HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a blank behind the version', "GET http://<A><P> HTTP/1.1 \r\nHost: <A>\r\n\r\n", 400],
	['a blank before the method', " GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['lower-case http/1.1', "GET http://<A><P> http/1.1\r\nHost: <A>\r\n\r\n", 400],
	['HTTP/1.10', "GET http://<A><P> HTTP/1.10\r\nHost: <A>\r\n\r\n", 400],
	['HTTP/11', "GET http://<A><P> HTTP/11\r\nHost: <A>\r\n\r\n", 400],
	['HTTP/3.0', "GET http://<A><P> HTTP/3.0\r\nHost: <A>\r\n\r\n", 505],
	['the preface of HTTP/2', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400, 505]],
	['a method with a colon', "GE:T http://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a NUL in the target', "GET http://<A><P>\0x HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['DEL in the target', "GET http://<A><P>\x7f HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a bare CR in the target', "GET http://<A><P>\rX HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a NUL in a name', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX\0A: b\r\n\r\n", 400],
	['a blank in a name', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX A: b\r\n\r\n", 400],
	['a name in brackets', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\n(X): b\r\n\r\n", 400],
	['a byte beyond ASCII in a name', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX\xc4: b\r\n\r\n", 400],
	['DEL in a value', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX-A: b\x7f\r\n\r\n", 400],
	['ESC in a value', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX-A: b\x1b[2J\r\n\r\n", 400],
	# who is asked
	['a Host that differs only in case, twice', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nhOST: <A>\r\n\r\n", 400],
	['a Host list', "GET http://<A><P> HTTP/1.1\r\nHost: <A>, evil.example\r\n\r\n", 400],
	['a Host with userinfo', "GET http://<A><P> HTTP/1.1\r\nHost: evil\@<A>\r\n\r\n", 400],
	['a Host with a path', "GET http://<A><P> HTTP/1.1\r\nHost: <A>/evil\r\n\r\n", 400],
	['a Host with a fragment', "GET http://<A><P> HTTP/1.1\r\nHost: <A>#\r\n\r\n", 400],
	['a Host with a port that is none', "GET http://<A><P> HTTP/1.1\r\nHost: $name:http\r\n\r\n", 400],
	['a Host with a port too large', "GET http://<A><P> HTTP/1.1\r\nHost: $name:99999\r\n\r\n", 400],
	['a Host in a continued line', "GET http://<A><P> HTTP/1.1\r\nHost:\r\n <A>\r\n\r\n", 400],
	['a Host in a scheme', "GET http://<A><P> HTTP/1.1\r\nHost: http://<A>\r\n\r\n", 400],
	['absolute-form, and another Host', "GET http://<A><P> HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200],
	['absolute-form, and a Host with another port', "GET http://<A><P> HTTP/1.1\r\nHost: $name:1\r\n\r\n", 200],
	['userinfo in the target', "GET http://user:secret\@<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['userinfo that looks like the host', "GET http://<A>\@evil.example<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['userinfo that is empty', "GET http://\@<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a fragment', "GET http://<A><P>#frag HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a backslash for a slash', "GET http:\\\\<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a backslash behind the host', "GET http://<A>\\\@evil.example<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['one slash', "GET http:/<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['three slashes', "GET http:///<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['no host', "GET http://:$port<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['port 0', "GET http://$name:0<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a port too large', "GET http://$name:65536<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a port of letters', "GET http://$name:http<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a port with a sign', "GET http://$name:+$port<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['another scheme', "GET ftp://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['file:', "GET file:///etc/passwd HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['gopher:', "GET gopher://<A>/_x HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['an asterisk with GET', "GET * HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a percent-encoded CRLF in the host', "GET http://$name%0d%0aX-Evil:1:$port<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a percent-encoded slash in the host', "GET http://$name%2fevil:$port<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['a host of brackets', "GET http://[::1<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	# CONNECT
	['CONNECT without a port', "CONNECT $name HTTP/1.1\r\nHost: $name\r\n\r\n", 400],
	['CONNECT with a scheme', "CONNECT http://<A> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['CONNECT with a path', "CONNECT <A>/x HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['CONNECT with userinfo', "CONNECT user\@<A> HTTP/1.1\r\nHost: <A>\r\n\r\n", 400],
	['CONNECT to port 0', "CONNECT $name:0 HTTP/1.1\r\nHost: $name\r\n\r\n", 400],
	['CONNECT to a port too large', "CONNECT $name:65536 HTTP/1.1\r\nHost: $name\r\n\r\n", 400],
	['CONNECT with a LF', "CONNECT $name:443\nX-Evil: 1 HTTP/1.1\r\nHost: $name\r\n\r\n", 400],
	['CONNECT with %0d%0a', "CONNECT $name%0d%0aX:443 HTTP/1.1\r\nHost: $name\r\n\r\n", 400],
	['CONNECT with a NUL', "CONNECT $name\0.example:443 HTTP/1.1\r\nHost: $name\r\n\r\n", 400],
	['CONNECT to nobody', "CONNECT :443 HTTP/1.1\r\nHost: $name\r\n\r\n", 400],
	# too much
	['a target too long', "GET http://<A><P>$big HTTP/1.1\r\nHost: <A>\r\n\r\n", 414],
	['a method too long', 'G' x 5000 . " http://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", [400, 414, 431]],
	['a name too long', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\n" . 'X' x 9000 . ": b\r\n\r\n", 431],
	['a Host too long', "GET http://<A><P> HTTP/1.1\r\nHost: " . 'h' x 9000 . "\r\n\r\n", [400, 431]],
	['Cookies without end', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\n" . "Cookie: $big\r\n" x 2 . "\r\n", 431],
	['empty lines without end', "\r\n" x 6000, [400, 431]],
	# answered, but not for the clean client
	map({ ["an unkeyed field: $_", "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\n$_\r\n\r\n", 200] }
	    'X-Forwarded-Host: evil.example', 'X-Host: evil.example', 'X-Forwarded-Server: evil.example', 'X-Original-URL: /evil', 'X-Rewrite-URL: /evil', 'X-Forwarded-Scheme: http', 'X-Forwarded-Proto: http',
	    'X-Forwarded-Port: 1', 'X-Forwarded-Prefix: /evil', 'X-HTTP-Method-Override: POST', 'X-HTTP-Method: POST', 'X-Method-Override: DELETE', 'X-HTTP-Host-Override: evil.example', 'Forwarded: host=evil.example',
	    'Forwarded: for=1.2.3.4;proto=https', 'X-Original-Host: evil.example', 'X-Forwarded-Path: /evil', 'X-Backend-Host: evil.example'),
	['a fat GET', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 4\r\n\r\nevil", 200],
	['a fat GET, chunked', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", 200],
	['POST', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 4\r\n\r\nevil", 200],
	['a method in lower case', "get http://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a method of one\'s own', "EVIL http://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['HEAD', "HEAD http://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200, 'HEAD'],
	['a scheme in upper case', "GET HTTP://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a host in upper case', "GET http://\U$name\E:$port<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a path in upper case', "GET http://<A>\U<P>\E HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a percent-encoded letter', "GET http://<A>/%70<p> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a percent-encoded slash', "GET http://<A>/x%2f..<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['dot segments', "GET http://<A>/x/..<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['dot segments, encoded', "GET http://<A>/x/%2e%2e<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['one dot', "GET http://<A>/.<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['two slashes', "GET http://<A>/<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a slash behind', "GET http://<A><P>/ HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['an empty query', "GET http://<A><P>? HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a query', "GET http://<A><P>?utm=evil HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a semicolon', "GET http://<A><P>;evil HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['%00 behind', "GET http://<A><P>%00 HTTP/1.1\r\nHost: <A>\r\n\r\n", [200, 400]],
	['%0d%0a in the path', "GET http://<A><P>%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['%20HTTP/1.1 in the path', "GET http://<A><P>%20HTTP/1.1 HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a % that begins nothing', "GET http://<A><P>%zz HTTP/1.1\r\nHost: <A>\r\n\r\n", [200, 400]],
	['a double encoding', "GET http://<A><P>%252f HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['an encoded ?', "GET http://<A><P>%3fa HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['an encoded #', "GET http://<A><P>%23a HTTP/1.1\r\nHost: <A>\r\n\r\n", 200],
	['a port with zeros', "GET http://$name:0$port<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", [200, 400]],
	['a dot behind the host', "GET http://$name.:$port<P> HTTP/1.1\r\nHost: <A>\r\n\r\n", [200, 502]],
	['an Authorization', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nAuthorization: Basic eA==\r\nX-User: eve\r\n\r\n", 200],
	['what Connection names', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nConnection: X-Evil\r\nX-Evil: 1\r\n\r\n", 200],
	['Connection: Host', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nConnection: Host\r\n\r\n", 200],
	['Connection: Content-Length', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nConnection: Content-Length\r\nContent-Length: 4\r\n\r\nevil", [200, 400]],
	['Connection: Transfer-Encoding', "POST http://<A><P> HTTP/1.1\r\nHost: <A>\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", [200, 400]],
	['Range', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nRange: bytes=0-1\r\n\r\n", [200, 206]],
	['a bomb of ranges', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nRange: bytes=" . join(',', map { "$_-" } 0 .. 500) . "\r\n\r\n", [200, 206, 416]],
	['ranges that overlap', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nRange: bytes=" . join(',', ('0-') x 300) . "\r\n\r\n", [200, 206, 416]],
	['a range that is none', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nRange: bytes=9-1\r\n\r\n", [200, 416]],
	['a range beyond numbers', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nRange: bytes=99999999999999999999-\r\n\r\n", [200, 416]],
	['X-Passsage-Policy', "GET http://<A><P> HTTP/1.1\r\nHost: <A>\r\nX-Passsage-Policy: NoRefresh\r\nX-HTTP-Method-Override: x\r\n\r\n", 200],
	['Vary, a value of one\'s own', "GET http://<A>/vary<P> HTTP/1.1\r\nHost: <A>\r\nX-Vary: evil\r\n\r\n", 200],
	['PURGE', "PURGE http://<A><P> HTTP/1.1\r\nHost: <A>\r\n\r\n", 403],
	['TRACE', "TRACE http://<A><P> HTTP/1.1\r\nHost: <A>\r\nCookie: secret\r\n\r\n", [200, 405]],
);

subtest 'requests' => sub {
	my $n = 0;
	for my $row (@requests) {
		my ($what, $request, $status, $method) = @$row;
		my $path = sprintf '/p%03d', ++$n;
		my $later = substr $path, 2;
		$rows++;
		$request =~ s/<A>/$A/g;
		$request =~ s/<P>/$path/g;
		$request =~ s/<p>/$later/g;
		my $w = $proxy->wire;
		my $hope = "/smuggled$n"; # what stands behind it on the connection
		my @want = ref $status ? @$status : $status;
		my $refused = !grep { $_ == 200 } @want;
		$w->send($request . ($refused ? "GET http://$A$hope HTTP/1.1\r\nHost: $A\r\n\r\n" : ''));
		my $r = eval { $w->response($method) };
		ok $r && (grep { $r->status == $_ } @want), "$what: " . join ' or ', @want or diag $r ? $r->{head} . substr $r->body, 0, 300 : $@ || 'no answer';
		is $origin->hits($hope), 0, '… and nothing behind it is a request' if $refused && ($status eq '400' || ref $status);
		clean($path, $what);
		clean("/vary$path", $what) if $what =~ /^Vary/;
	}
	is scalar(grep { lc($_->{headers}{host} // '') ne $A } $origin->requests), 0, 'the origin was never told another host than its own'
		or diag map { "$_->{target} $_->{headers}{host}\n" } grep { ($_->{headers}{host} // '') ne $A } $origin->requests;
	is scalar(grep { $_->{head} =~ /^X-Evil/mi } $origin->requests), 0, '… nor a field that was smuggled in';
};

# ---- variants without end: each is an answer of its own, and a bound keeps the store from being anybody's
subtest 'a bomb of variants' => sub {
	$rows++;
	for my $i (1 .. 300) { my $r = $proxy->wire->get("http://$A/vary-bomb", $A, "X-Vary: $i"); $r->body eq "GET /vary-bomb host=$A x-vary=$i" or fail "variant $i: " . $r->body }
	clean('/vary-bomb', 'variants');
};

# ---- names in TLS
subtest 'SNI' => sub {
	my $https = $origin->authority;
	for my $sni ("localhost\r\nX-Evil: 1", "local\0host", '../../etc/passwd', 'a' x 254, '*', "\xff\xfe", 'localhost/evil', "localhost:$port", ' ', '127.0.0.1', 'evil.example') {
		$rows++;
		my $w = $proxy->wire;
		is $w->tunnel($https)->status, 200, 'a tunnel';
		my $ok = eval { $w->tls('localhost', SSL_hostname => $sni, SSL_verify_mode => 0) };
		if ($ok) { my $r = eval { $w->get('/sni', $https) }; ok !$r || $r->status >= 400 || $r->body eq "GET /sni host=$https", '… by an odd name is refused, or leads where it was opened to' or diag $r->body }
		else { pass '… by an odd name is refused' }
		my $r = $proxy->curl("https://$https/sni-clean");
		is $r->body, "GET /sni-clean host=$https", '… and a clean client gets clean bytes' or diag $r->{error};
	}
};

# ---- answers: broken (an error, or a body that is seen not to be whole), or what stands there; never the next request's
my $evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=600\r\n\r\nevil";
my $ok = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n";
my @answers = (
	['two answers for one request', "${ok}Content-Length: 2\r\n\r\nok$evil", 'ok'],
	['an answer behind a 204', "HTTP/1.1 204 No Content\r\n\r\n$evil", ''],
	['an answer behind a 304 unasked', "HTTP/1.1 304 Not Modified\r\n\r\n$evil", ''],
	['a 204 with a body', "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", ''],
	['CL and TE', "${ok}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 'ok'],
	['CL twice', "${ok}Content-Length: 2\r\nContent-Length: 6\r\n\r\nokevil"],
	['CL a list that differs', "${ok}Content-Length: 2, 6\r\n\r\nokevil"],
	['CL negative', "${ok}Content-Length: -2\r\n\r\nok"],
	['CL with a plus', "${ok}Content-Length: +2\r\n\r\nok"],
	['CL in hex', "${ok}Content-Length: 0x2\r\n\r\nok"],
	['CL beyond numbers', "${ok}Content-Length: 99999999999999999999\r\n\r\nok"],
	['CL that is empty', "${ok}Content-Length:\r\n\r\nok"],
	['a blank before CL\'s colon', "${ok}Content-Length : 2\r\n\r\nokevil"],
	['a blank before TE\'s colon', "${ok}Transfer-Encoding : chunked\r\nContent-Length: 20\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
	['TE: gzip', "${ok}Transfer-Encoding: gzip\r\n\r\nxxxx"],
	['TE: chunked, gzip', "${ok}Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
	['TE: chunked twice', "${ok}Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
	['a chunk size that is none', "${ok}Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"],
	['a chunk size beyond numbers', "${ok}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nok"],
	['chunks without an end', "${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"],
	['a body that is too short', "${ok}Content-Length: 10\r\n\r\nok"],
	['a head without an end', "${ok}X-A: b\r\n"],
	['a head too large', "${ok}" . 'X-A: ' . 'b' x 400_000 . "\r\nContent-Length: 2\r\n\r\nok"],
	['fields without number', $ok . join('', map { "X-$_: 1\r\n" } 1 .. 30_000) . "Content-Length: 2\r\n\r\nok"],
	['no status', "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok"],
	['a status of one digit', "HTTP/1.1 2 OK\r\nContent-Length: 2\r\n\r\nok"],
	['no HTTP', "SSH-2.0-OpenSSH_9\r\n\r\n"],
	['HTTP/0.9', 'evil'],
	['a 101 unasked', "HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: upgrade\r\n\r\nevil"],
	['1xx without end', "HTTP/1.1 103 Early\r\n\r\n" x 3000],
	['a NUL in a value', "${ok}X-A: a\0b\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['a bare CR in a value', "${ok}X-A: a\rX-Evil: b\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['a continued line', "${ok}X-A: a\r\n X-Evil: b\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['a line without a colon', "${ok}evil\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['a reason with an escape', "HTTP/1.1 200 O\x1b[2JK\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['Vary: *', "${ok}Vary: *\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['a Vary of a thousand', "${ok}Vary: " . join(', ', map { "X-$_" } 1 .. 1000) . "\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['Content-Range in a 200', "${ok}Content-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['a 206 unasked', "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=600\r\nContent-Range: bytes 0-1/100\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['Set-Cookie', "${ok}Set-Cookie: a=evil\r\nContent-Length: 2\r\n\r\nok", 'ok'],
	['a Content-Location elsewhere', "${ok}Content-Location: http://$A/p001\r\nContent-Length: 4\r\n\r\nevil", 'evil'],
	['Connection: Content-Length', "${ok}Connection: Content-Length\r\nContent-Length: 2\r\n\r\nok", 'ok'],
);

subtest 'answers' => sub {
	my $bad = origin(map { ("/a$_" => { raw => $answers[$_][1] }) } 0 .. $#answers);
	my $b = $bad->authority('http');
	for my $i (0 .. $#answers) {
		my ($what, undef, $want) = @{$answers[$i]};
		$rows++;
		for my $time (1 .. 2) { # the second time it may come from the store
			my $w = $proxy->wire;
			my $r = eval { $w->response if $w->send("GET http://$b/a$i HTTP/1.1\r\nHost: $b\r\n\r\n") };
			while ($r && $r->status < 200 && $r->status != 101) { $r = eval { $w->response } }
			my $broken = !$r || !$r->complete || ($r->status >= 500 && $r->body =~ /passsage/);
			ok defined $want ? $broken || $r->body eq $want : $broken, "$what" . ($time > 1 ? ', again' : '') . (defined $want ? '' : ': is seen to be broken')
				or diag $r->{head} . substr $r->body, 0, 200;
			if ($r && !$broken) {
				is $r->header('x-evil'), undef, '… no field was split off';
				is scalar(() = $r->{head} =~ /^HTTP\//mg), 1, '… one head';
			}
			my $next = $w;
			$next = $proxy->wire if $broken || !$r || $r->{until_close} || ($r->header('connection') // '') =~ /close/;
			my $path = "/clean-$i-$time";
			my $c = eval { $next->get("http://$A$path", $A) };
			is $c && $c->body, "GET $path host=$A", '… and what follows is the answer to what was asked';
		}
	}
	clean('/p001', 'what a Content-Location said');
};
cmp_ok $rows + 38, '>=', 150, "the table has $rows rows here, and 38 in t/21";
is $proxy->stop, 0, 'it ends well';
done_testing;
