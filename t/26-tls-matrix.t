# TLS with origins: whoever should be refused is refused, on kept connections (libcurl) and on connections of one's own (upgrades), with a 502 that
# says why; and TLS with clients: what our own listener offers, seen by openssl s_client.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Handle;
use IO::Socket::INET;
use POSIX ();
use Test::More;

my $d = lab_dir() . '/matrix';
mkdir $d, 0755;
sub openssl { my ($s, $out) = run_cmd('openssl', @_); die "openssl @_: $out" if $s; return $out }
my @ec = qw(-newkey ec -pkeyopt ec_paramgen_curve:P-256);
my $serial = 4096;
sub authority { # name, parent or none, extensions
	my ($name, $parent, $ext) = @_;
	spew("$d/$name.ext", $ext // "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\nsubjectKeyIdentifier=hash\n");
	issue($name, parent => $parent // $name, ext => "$d/$name.ext");
}
sub issue { # name, san or ext, parent, days => [from, to], key, md, chain: files of certificates to send along
	my ($name, %o) = @_;
	my $parent = $o{parent} // 'root';
	if ($o{san}) { $o{ext} = "$d/$name.ext"; spew($o{ext}, "subjectAltName=$o{san}\n" . ($o{more} // '')) }
	my $cn = $o{cn} // $name;
	openssl('req', '-new', @{$o{key} // \@ec}, '-nodes', '-subj', "/CN=$cn", '-keyout', "$d/$name.key", '-out', "$d/$name.csr");
	spew("$d/$name.cnf", "[ca]\ndefault_ca=c\n[c]\nnew_certs_dir=$d\ndatabase=$d/$name.db\nserial=$d/$name.srl\ndefault_md=" . ($o{md} // 'sha256') . "\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n");
	spew("$d/$name.db", '');
	spew("$d/$name.srl", sprintf "%04x\n", ++$serial);
	my @dates = $o{days} ? ('-startdate', $o{days}[0], '-enddate', $o{days}[1]) : qw(-days 20);
	openssl(qw(ca -batch -notext -config), "$d/$name.cnf", $parent eq $name ? ('-selfsign') : ('-cert', "$d/$parent.pem"), '-keyfile', "$d/$parent.key", '-in', "$d/$name.csr", '-out',
	        "$d/$name.pem", '-extfile', $o{ext}, @dates);
	spew("$d/$name.chain", slurp("$d/$name.pem") . join '', map { slurp("$d/$_.pem") } @{$o{chain} // []});
}
sub staple { # a file with an OCSP answer: about, status V or R, signed by, index lines' serial of
	my ($about, $status, $signer, %o) = @_;
	my $file = "$d/staple." . ++$serial;
	my ($number) = openssl(qw(x509 -noout -serial -in), "$d/$about.pem") =~ /serial=(\w+)/;
	spew("$file.index", join("\t", $status, '350101000000Z', $status eq 'R' ? '240101000000Z' : '', $number, 'unknown', "/CN=$about") . "\n");
	my @issuer = ('-issuer', "$d/" . ($o{issuer} // 'root') . '.pem');
	openssl('ocsp', @issuer, '-cert', "$d/" . ($o{cert} // $about) . '.pem', '-reqout', "$file.req", '-no_nonce');
	openssl('ocsp', '-index', "$file.index", '-CA', "$d/" . ($o{issuer} // 'root') . '.pem', '-rsigner', "$d/$signer.pem", '-rkey', "$d/$signer.key", '-reqin', "$file.req", '-respout', $file,
	        '-ndays', 2);
	return $file;
}
sub server { # openssl s_server with these arguments: (guard, port)
	my ($name, @args) = @_;
	my $port = free_port();
	my $p = spawn({ stdout => "$d/server.log", stderr => "$d/server.log" }, qw(openssl s_server -www -accept), "127.0.0.1:$port", '-cert', "$d/$name.pem", '-cert_chain', "$d/$name.chain", '-key',
	              "$d/$name.key", @args);
	wait_until(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") }, 10, 's_server') or die 's_server';
	return ($p, $port);
}

authority('root');
authority('stranger');
authority('narrow', 'root', "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nnameConstraints=critical,permitted;DNS:allowed.localhost\n");
authority('noca', 'root', "basicConstraints=critical,CA:FALSE\n");
my $L = 'DNS:localhost,IP:127.0.0.1';
issue('good', san => $L);
issue('expired', san => $L, days => ['20200101000000Z', '20200201000000Z']);
issue('future', san => $L, days => ['20450101000000Z', '20460201000000Z']);
issue('wrong', san => 'DNS:elsewhere.example');
issue('self', san => $L, parent => 'self');
issue('unknown', san => $L, parent => 'stranger');
issue('rsa1024', san => $L, key => ['-newkey', 'rsa:1024']);
issue('sha1', san => $L, md => 'sha1');
issue('outside', san => $L, parent => 'narrow', chain => ['narrow']);
issue('inside', san => 'DNS:a.allowed.localhost', parent => 'narrow', chain => ['narrow']);
issue('byleaf', san => $L, parent => 'noca', chain => ['noca']);
issue('clientonly', san => $L, more => "extendedKeyUsage=clientAuth\n");
issue('ipasname', san => 'DNS:127.0.0.1');
issue('iponly', san => 'IP:127.0.0.1');
issue('wild', san => 'DNS:*.sub.localhost');
issue('partial', san => 'DNS:f*.sub.localhost');
issue('inner', san => 'DNS:a.*.localhost');
issue('everything', san => 'DNS:*');
issue('nul', san => 'DNS:elsewhere.example', cn => 'localhost');
issue('muststaple', san => $L, more => "tlsfeature=status_request\n");
issue('onehost', san => 'DNS:a.one.localhost');

my @none = ();
my @rows = ( # what, certificate, arguments of s_server, host, words of the 502 (nothing: it is served)
	['a good one', 'good', [], 'localhost'],
	['an expired one', 'expired', [], 'localhost', qr/expired/],
	['one not yet valid', 'future', [], 'localhost', qr/not yet valid/],
	['one for another host', 'wrong', [], 'localhost', qr/match/],
	['a self-signed one', 'self', [], 'localhost', qr/self-signed/],
	['one of an unknown CA', 'unknown', [], 'localhost', qr/local issuer/],
	['a weak key', 'rsa1024', ['-cipher', 'DEFAULT@SECLEVEL=0'], 'localhost', qr/too weak|too small/],
	['a SHA-1 signature', 'sha1', ['-cipher', 'DEFAULT@SECLEVEL=0'], 'localhost', qr/too weak/],
	['outside of name constraints', 'outside', [], 'localhost', qr/permitted subtree/],
	['inside of them', 'inside', [], 'a.allowed.localhost'],
	['signed by a leaf', 'byleaf', [], 'localhost', qr/invalid CA|issuer/],
	['for clients alone', 'clientonly', [], 'localhost', qr/purpose/],
	['an address as an address', 'iponly', [], '127.0.0.1'],
	['an address that is no name', 'iponly', [], 'localhost', qr/match/],
	['an address written as a name', 'ipasname', [], '127.0.0.1', qr/match/],
	['a wildcard', 'wild', [], 'a.sub.localhost'],
	['a wildcard for two labels', 'wild', [], 'a.b.sub.localhost', qr/match/],
	['a wildcard for none', 'wild', [], 'sub.localhost', qr/match/],
	['a wildcard in a part of a label', 'partial', [], 'foo.sub.localhost', qr/match/],
	['a wildcard that is not in front', 'inner', [], 'a.b.localhost', qr/match/],
	['a wildcard for everything', 'everything', [], 'localhost', qr/match/],
	['a CN beside names', 'nul', [], 'localhost', qr/match/],
	['TLS 1.0 alone', 'good', ['-tls1', '-cipher', 'DEFAULT@SECLEVEL=0'], 'localhost', qr/version|protocol/],
	['TLS 1.1 alone', 'good', ['-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'], 'localhost', qr/version|protocol/],
	['TLS 1.2 alone', 'good', ['-tls1_2'], 'localhost'],
	['TLS 1.3 alone', 'good', ['-tls1_3'], 'localhost'],
	['no cipher but weak ones', 'good', ['-tls1_2', '-cipher', 'eNULL:@SECLEVEL=0'], 'localhost', qr/handshake|cipher/],
	['revoked, stapled, TLS 1.3', 'good', ['-tls1_3', '-status_file', staple('good', 'R', 'root')], 'localhost', qr/revoked/],
	['revoked, stapled, TLS 1.2', 'good', ['-tls1_2', '-status_file', staple('good', 'R', 'root')], 'localhost', qr/revoked/],
	['revoked, in an intermediate\'s name', 'inside', ['-status_file', staple('inside', 'R', 'narrow', issuer => 'narrow')], 'a.allowed.localhost', qr/revoked/],
	['a good answer', 'good', ['-status_file', staple('good', 'V', 'root')], 'localhost'],
	['"revoked" signed by a stranger', 'good', ['-status_file', staple('good', 'R', 'stranger')], 'localhost'],
	['"revoked" of another', 'good', ['-status_file', staple('wrong', 'R', 'root')], 'localhost'],
	['must-staple, and none', 'muststaple', [], 'localhost', qr/OCSP/],
	['must-staple, and a good one', 'muststaple', ['-status_file', staple('muststaple', 'V', 'root')], 'localhost'],
	['must-staple, and of a stranger', 'muststaple', ['-status_file', staple('muststaple', 'V', 'stranger')], 'localhost', qr/OCSP/],
	['must-staple, and revoked', 'muststaple', ['-status_file', staple('muststaple', 'R', 'root')], 'localhost', qr/revoked/],
	['ALPN: http/1.1', 'good', ['-alpn', 'http/1.1'], 'localhost'],
	['ALPN: nothing in common', 'good', ['-alpn', 'imap'], 'localhost', qr/application protocol|alert/i],
);
my $proxy = proxy(upstream_ca => "$d/root.pem", ban_seconds => 0, upstream_read_timeout => 3);

subtest 'origins' => sub {
	for my $row (@rows) {
		my ($what, $cert, $args, $host, $words) = @$row;
		my ($server, $port) = server($cert, @$args);
		my $r = $proxy->curl("https://$host:$port/");
		is $r->status, $words ? 502 : 200, $what or diag $r->{error}, $r->{body}, slurp("$d/server.log");
		like $r->body, $words, '… which says so' if $words;
		my $w = $proxy->wire; # asked for in plain to the proxy: it makes a connection of its own to the origin
		$w->send("GET https://$host:$port/ HTTP/1.1\r\nHost: $host:$port\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
		my $u = eval { $w->response };
		if ($words) {
			is $u && $u->status, 502, '… an upgrade is refused, too';
			like $u && $u->body, $words, '… which says so' if $words;
		} else {
			is $u && $u->status, 200, '… an upgrade gets there, too';
		}
		$server->kill('KILL');
		$server->wait(5);
	}
};

subtest 'a session is not carried to another host' => sub {
	my ($server, $port) = server('onehost');
	is $proxy->curl("https://a.one.localhost:$port/")->status, 200, 'the host that the certificate is for' for 1 .. 2;
	my $r = $proxy->curl("https://b.one.localhost:$port/");
	is $r->status, 502, 'another host at the same address, which would resume the session';
	like $r->body, qr/match/, '… is looked at for itself';
	is $proxy->curl("https://a.one.localhost:$port/")->status, 200, 'and the first is as before';
};

subtest 'an origin that speaks another protocol than it agreed to' => sub {
	my ($server, $port) = server('good', '-alpn', 'h2');
	my $r = $proxy->curl("https://localhost:$port/");
	cmp_ok $r->status, '>=', 502, 'h2 agreed, and not spoken';
};

subtest 'renegotiation by an origin' => sub {
	my $port = free_port();
	my ($log, $fifo) = ("$d/reneg.log", "$d/reneg.in");
	POSIX::mkfifo($fifo, 0600) or die "mkfifo: $!";
	my $server = spawn({ stdout => $log, stderr => $log }, 'sh', '-c', 'exec openssl s_server -tls1_2 -accept "$1" -cert "$2" -key "$3" < "$4"', 'sh', "127.0.0.1:$port", "$d/good.pem", "$d/good.key", $fifo);
	open my $in, '+>', $fifo or die $!;
	$in->autoflush(1);
	wait_until(sub { (slurp($log) // "") =~ /ACCEPT/ }, 10, 's_server') or return fail 's_server';
	my $c = $proxy->curl_bg("https://localhost:$port/reneg");
	ok wait_until(sub { (slurp($log) // "") =~ m{GET /reneg} }, 10, 'the request'), 'a request is there';
	print $in "R\n";
	ok wait_until(sub { (slurp($log) // "") =~ /no renegotiation|DONE|ERROR/i }, 10, 'what comes of it'), '… asked to renegotiate, the proxy does not';
	unlike slurp($log), qr/(?:Ciphersuite:|SSL session).*GET \/reneg.*SSL-Session:.*Session-ID:.*\bCIPHER is/s, '… no second handshake';
	$server->kill('KILL');
	$server->wait(5);
	cmp_ok $c->wait->status, '>=', 500, '… and the client is told';
	is $proxy->curl('http://mitm.it/')->status, 200, 'the proxy lives';
};

# ---- our own listener

sub s_client { # arguments, what is said on standard input: (status, output)
	my ($in, @args) = @_;
	spew("$d/in", $in);
	return run_cmd({ timeout => 20 * slow() }, 'sh', '-c', 'f=$1; shift; (cat "$f"; sleep 0.3) | timeout 15 openssl s_client "$@"', 'sh', "$d/in", '-proxy', '127.0.0.1:' . $proxy->port, '-CAfile', $proxy->ca,
	               '-verify_return_error', @args);
}
my @to = ('-connect', 'one.example.test:443', '-servername', 'one.example.test');

subtest 'our listener: protocols and ciphers' => sub {
	for (['-tls1', 0], ['-tls1_1', 0], ['-tls1_2', 1], ['-tls1_3', 1]) {
		my ($version, $want) = @$_;
		my ($s, $out) = s_client('', @to, $version, '-cipher', 'ALL@SECLEVEL=0');
		is $s == 0 ? 1 : 0, $want, "$version " . ($want ? 'is spoken' : 'is not') or diag $out;
		like $out, qr/Compression: NONE|No ALPN/, '… without compression' if $want;
		unlike $out, qr/Compression: (?!NONE)/, '…' if $want;
	}
	my (undef, $all) = run_cmd('openssl', 'ciphers', '-s', '-tls1_2', 'ALL:COMPLEMENTOFALL:@SECLEVEL=0');
	my @weak = grep { !/^ECDHE-(?:ECDSA|RSA)-(?:AES\d+-GCM|CHACHA20-POLY1305|AES\d+-CCM8?|ARIA\d+-GCM)/ && !/^(?:DHE-|TLS_)/ } split /[:\n]/, $all;
	cmp_ok scalar @weak, '>', 10, 'this openssl knows weak ciphers';
	my ($s, $out) = s_client('', @to, '-tls1_2', '-cipher', join(':', @weak) . ':@SECLEVEL=0');
	isnt $s, 0, '… none of them is agreed to: no NULL, anonymous, 3DES, CBC, RSA key exchange, PSK' or diag $out =~ /Cipher is.*/g;
	($s, $out) = s_client('', @to, '-tls1_2');
	like $out, qr/Cipher is ECDHE-ECDSA-(?:AES\d+-GCM|CHACHA20)/, 'with a modern client forward secrecy and an AEAD';
	like $out, qr/Peer signing digest: SHA(?:256|384|512)/, '… signed with SHA-2';
	like $out, qr/Secure Renegotiation IS supported/, 'RFC 5746 is known';
};

subtest 'our listener: renegotiation, early data' => sub {
	my ($s, $out) = s_client("R\nGET / HTTP/1.1\r\n\r\n", @to, '-tls1_2');
	like $out, qr/RENEGOTIATING/, 'a client that wants to renegotiate';
	like $out, qr/no renegotiation|alert|error/i, '… may not';
	($s, $out) = s_client('', @to, '-tls1_3', '-sess_out', "$d/session");
	spew("$d/early", "GET / HTTP/1.1\r\nHost: one.example.test\r\n\r\n");
	($s, $out) = s_client("GET /early HTTP/1.1\r\nHost: mitm.it\r\nConnection: close\r\n\r\n", '-connect', 'mitm.it:443', '-servername', 'mitm.it', '-tls1_3', '-sess_out', "$d/session", '-ign_eof');
	($s, $out) = s_client("GET /early HTTP/1.1\r\nHost: mitm.it\r\nConnection: close\r\n\r\n", '-connect', 'mitm.it:443', '-servername', 'mitm.it', '-tls1_3', '-sess_in', "$d/session", '-early_data', "$d/early",
	                      '-ign_eof');
	unlike $out, qr/Early data was accepted/, 'early data, which can be replayed, are not taken';
	unlike $out, qr/Max Early Data: [1-9]/, '… nor offered';
};

subtest 'our listener: a session is not carried to another host' => sub {
	for my $version ('-tls1_2', '-tls1_3') {
		my $ask = "GET /x HTTP/1.1\r\nHost: mitm.it\r\nConnection: close\r\n\r\n";
		s_client($ask, '-connect', 'mitm.it:443', '-servername', 'mitm.it', $version, '-sess_out', "$d/one", '-ign_eof');
		ok -s "$d/one", "$version: a session" or next;
		my ($s, $out) = s_client($ask, '-connect', 'mitm.it:443', '-servername', 'mitm.it', $version, '-sess_in', "$d/one", '-ign_eof');
		like $out, qr/^Reused, /m, '… is resumed for its host';
		($s, $out) = s_client('', '-connect', 'two.example.test:443', '-servername', 'two.example.test', $version, '-sess_in', "$d/one",);
		unlike $out, qr/^Reused, /m, '… and not for another' or diag $out;
		like $out, qr/two\.example\.test/, '… which gets a certificate of its own';
	}
};
is $proxy->stop, 0, 'it ends well';
done_testing;
