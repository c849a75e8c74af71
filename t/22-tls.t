# TLS towards clients and origins: leaves that today's clients accept, resumption across workers, upstream faults told in words, and the CA
# key in certgen alone.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::SSL;
use Test::More;
use Time::HiRes 'time', 'sleep';

my $dir = lab_dir();
sub openssl { my ($s, $out) = run_cmd({ timeout => 30 * slow() }, 'openssl', @_); is $s, 0, "openssl $_[0]" or diag "openssl @_: $out"; return $out }

# A handshake in a tunnel to $where: the wire, or nothing with the reason in $handshake_error.
my $handshake_error;
sub handshake {
	my ($p, $where, $sni, %o) = @_;
	my $w = $p->wire;
	$w->tunnel($where)->status == 200 or return;
	my $r = $w->tls($sni, SSL_verifycn_scheme => 'none', %o);
	$handshake_error = $w->{error};
	return $r;
}
# The leaf that it got, as a file, with what it says in words.
my $leaves = 0;
sub leaf_of {
	my ($p, $where, $sni, %o) = @_;
	my $w = handshake($p, $where, $sni, %o) or return;
	my ($leaf, @chain) = $w->socket->peer_certificates;
	my $file = "$dir/leaf." . ++$leaves;
	spew($file, Net::SSLeay::PEM_get_string_X509($leaf));
	spew("$file.chain", join '', map { Net::SSLeay::PEM_get_string_X509($_) } @chain);
	my (undef, $text) = run_cmd('openssl', 'x509', '-in', $file, '-noout', '-text');
	my ($serial) = $text =~ /Serial Number:\s*([0-9a-f:]+)/;
	my ($san) = $text =~ /Subject Alternative Name:.*\n\s*(.*)/;
	return { file => $file, text => $text, serial => $serial, san => $san, chain => scalar @chain };
}
sub verifies { # as a strict client would
	my ($p, $leaf, $what, @how) = @_;
	my ($s, $out) = run_cmd('openssl', 'verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', $p->ca, -s "$leaf->{file}.chain" ? ('-untrusted', "$leaf->{file}.chain") : (),
	                        @how, $leaf->{file});
	is $s, 0, $what or diag $out;
}

my $origin = origin('/hello' => { body => "hello\n", cc => 'max-age=60' }, '/other' => { body => 'other', cc => 'no-store' });
my $proxy = proxy(workers => 2);

subtest 'TLS 1.2 and 1.3, nothing older, HTTP/1.1 by ALPN' => sub {
	for my $v ('tls1_2', 'tls1_3') {
		my ($s, $out) = run_cmd({ timeout => 30 * slow() }, 'openssl', 's_client', '-proxy', '127.0.0.1:' . $proxy->port, '-connect', 'strict.example.test:443', '-servername',
		                        'strict.example.test', '-x509_strict', '-verify_return_error', '-verify_hostname', 'strict.example.test', '-CAfile', $proxy->ca, '-alpn', 'h2,http/1.1', "-$v");
		is $s, 0, "openssl s_client -$v -x509_strict" or diag $out;
		like $out, qr/Verify return code: 0/, '… verifies';
		like $out, qr/ALPN protocol: http\/1\.1/, '… http/1.1 of h2 and http/1.1';
		like $out, $v eq 'tls1_2' ? qr/TLSv1\.2/ : qr/TLSv1\.3/, '… in this version';
		like $out, qr/prime256v1|P-256|ECDSA/, '… with an elliptic leaf';
	}
	my ($s, $out) = run_cmd({ timeout => 30 * slow() }, 'openssl', 's_client', '-proxy', '127.0.0.1:' . $proxy->port, '-connect', 'strict.example.test:443', '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0');
	isnt $s, 0, 'TLS 1.1 is refused';
	like $out, qr/alert protocol version|unsupported protocol/, '… and told why' or diag $out;
	ok !handshake($proxy, 'a.example.test:443', 'a.example.test', SSL_alpn_protocols => ['h2']), 'a client that speaks h2 alone is refused';
	like $handshake_error, qr/no application protocol/, '… by the alert of RFC 7301 3.2';
	my $w = handshake($proxy, $origin->authority, 'localhost', SSL_alpn_protocols => ['http/1.1']);
	is $w->socket->alpn_selected, 'http/1.1', 'http/1.1 alone';
	is $w->get('/hello', $origin->authority)->body, "hello\n", '… and it is served';
	$w = handshake($proxy, $origin->authority, 'localhost');
	is $w->socket->alpn_selected, undef, 'no ALPN';
	is $w->get('/hello', $origin->authority)->body, "hello\n", '… is served too';
};

subtest 'a leaf is for one name, exactly, and valid as today\'s clients want it' => sub {
	my $long = join '.', ('label-of-some-length') x 9, 'test'; # 193: longer than a common name may be
	my @serials;
	for (
		['www.example.test', 'www.example.test', 'DNS:www.example.test', '-verify_hostname'],
		['WWW.Example2.test', 'WWW.Example2.test', 'DNS:www.example2.test', '-verify_hostname'],
		['under_score.example.test', 'under_score.example.test', 'DNS:under_score.example.test', undef],
		['xn--mnchen-3ya.example.test', 'xn--mnchen-3ya.example.test', 'DNS:xn--mnchen-3ya.example.test', '-verify_hostname'],
		['single', 'single', 'DNS:single', undef],
		[$long, $long, "DNS:$long", '-verify_hostname'],
		['127.0.0.9', '', 'IP Address:127.0.0.9', '-verify_ip'],
		['[::1]', '', 'IP Address:0:0:0:0:0:0:0:1', '-verify_ip'],
		['[2001:DB8:0::5]', '', 'IP Address:2001:DB8:0:0:0:0:0:5', '-verify_ip'],
		['nosni.example.test', '', 'DNS:nosni.example.test', '-verify_hostname'],
		['connect.example.test', 'sni.example.test', 'DNS:sni.example.test', undef],
	) {
		my ($host, $sni, $san, $check) = @$_;
		my $l = leaf_of($proxy, "$host:443", $sni);
		ok $l, "CONNECT $host, SNI " . ($sni || 'none') or do { diag $handshake_error; next };
		is $l->{san}, $san, '… its alternative name, and no other';
		(my $bare = lc $host) =~ tr/[]//d;
		verifies($proxy, $l, '… verifies strictly', $check ? ($check, $bare) : ());
		like $l->{text}, qr/Version: 3/, '… version 3';
		like $l->{text}, qr/ASN1 OID: prime256v1/, '… P-256';
		like $l->{text}, qr/TLS Web Server Authentication/, '… for servers';
		like $l->{text}, qr/CA:FALSE/, '… no CA itself';
		unlike $l->{text}, qr/DNS:\*/, '… no wildcard';
		push @serials, $l->{serial};
		my ($s1) = run_cmd('openssl', 'x509', '-in', $l->{file}, '-noout', '-checkend', 86400);
		is $s1, 0, '… is valid tomorrow';
		($s1) = run_cmd('openssl', 'x509', '-in', $l->{file}, '-noout', '-checkend', 398 * 86400);
		isnt $s1, 0, '… and not for longer than 398 days';
	}
	my %seen;
	ok !(grep { $seen{$_}++ } @serials), 'no two serials are alike';
	ok !(grep { tr/:// > 19 } @serials), '… nor longer than 20 octets (RFC 5280 4.1.2.2)';
	my $again = leaf_of($proxy, 'www.example.test:443', 'www.example.test');
	is $again->{serial}, $serials[0], 'the second client gets the first one\'s leaf';
};

subtest 'a name that can be in no certificate breaks the handshake and nothing else' => sub {
	for my $sni ('*.example.test', 'a..b', 'space here', 'x' x 64 . '.test', "tab\there") {
		ok !handshake($proxy, 'b.example.test:443', $sni, SSL_verify_mode => 0), "SNI \"$sni\"";
	}
	ok handshake($proxy, 'b.example.test:443', 'b.example.test'), 'the next one is served';
};

subtest 'a storm of new names: each leaf is signed once, whichever workers are asked' => sub {
	my $names = 60;
	my $clients = 4;
	my $before = $proxy->metrics;
	my $grown = $proxy->counted(sub {
		my @pids;
		for my $c (1 .. $clients) {
			my $pid = fork // die "fork: $!";
			if (!$pid) { # ends without destructors: the proxy is its parent's
				my $out = '';
				for my $i (1 .. $names) {
					my $w = eval { handshake($proxy, "storm$i.example.test:443", "storm$i.example.test") };
					$out .= "$i " . ($w ? unpack 'H*', Net::SSLeay::P_ASN1_INTEGER_get_hex(Net::SSLeay::X509_get_serialNumber($w->socket->peer_certificate)) : "none $handshake_error") . "\n";
				}
				spew("$dir/storm.$c", $out);
				POSIX::_exit(0);
			}
			push @pids, $pid;
		}
		waitpid $_, 0 for @pids;
		# the last one's end of the handshake may be under way still, or meet a client that has gone already
		$proxy->wait_metrics(sub { $_->{tls_handshakes} + $_->{tls_failed} >= $before->{tls_handshakes} + $before->{tls_failed} + $names * $clients }, 5, 'the handshakes');
	});
	my @said = map { slurp("$dir/storm.$_") // '' } 1 .. $clients;
	unlike $said[0], qr/none/, 'all were served';
	is scalar(split /\n/, $said[0]), $names, '… all of them';
	is $said[$_], $said[0], '… the same leaves for client ' . ($_ + 1) for 1 .. $#said;
	is $grown->{certs_minted}, $names, 'certs_minted';
	is $grown->{tls_handshakes} + $grown->{tls_failed}, $names * $clients, 'tls_handshakes';
	my %serials;
	$serials{(split)[1]}++ for split /\n/, $said[0];
	is scalar(keys %serials), $names, 'serials are unique';
};

# A client by Net::SSLeay, for its sessions: { reused, session, worker, body }
sub session_client {
	my ($p, $w, $version, $session) = @_;
	$w->tunnel('mitm.it:443')->status == 200 or return;
	my $ctx = Net::SSLeay::CTX_new_with_method(Net::SSLeay::TLS_client_method());
	Net::SSLeay::CTX_set_min_proto_version($ctx, $version);
	Net::SSLeay::CTX_set_max_proto_version($ctx, $version);
	Net::SSLeay::CTX_load_verify_locations($ctx, $p->ca, '');
	Net::SSLeay::CTX_set_verify($ctx, Net::SSLeay::VERIFY_PEER(), sub { $_[0] });
	my $ssl = Net::SSLeay::new($ctx);
	Net::SSLeay::set_tlsext_host_name($ssl, 'mitm.it');
	$w->socket->blocking(1);
	Net::SSLeay::set_fd($ssl, fileno $w->socket);
	Net::SSLeay::set_session($ssl, $session) if $session;
	my %r;
	eval {
		local $SIG{ALRM} = sub { die "slow\n" };
		alarm 10 * slow();
		Net::SSLeay::connect($ssl) == 1 or die 'handshake: ' . Net::SSLeay::ERR_error_string(Net::SSLeay::ERR_get_error()) . "\n";
		Net::SSLeay::write($ssl, "GET /cert/pem HTTP/1.1\r\nHost: mitm.it\r\nConnection: close\r\n\r\n");
		$r{body} = '';
		while (1) { my $more = Net::SSLeay::read($ssl); last if !defined $more || $more eq ''; $r{body} .= $more }
		alarm 0;
		$r{reused} = Net::SSLeay::session_reused($ssl);
		$r{session} = Net::SSLeay::get1_session($ssl);
		1;
	} or diag $@;
	alarm 0;
	Net::SSLeay::shutdown($ssl);
	Net::SSLeay::free($ssl);
	Net::SSLeay::CTX_free($ctx);
	return \%r;
}
my %version = ('TLS 1.2' => 0x0303, 'TLS 1.3' => 0x0304);

subtest 'sessions are resumed in whatever worker, over many connections' => sub {
	for my $v (sort keys %version) {
		my ($one, $two) = $proxy->spread(2, 2);
		my $first = session_client($proxy, $one->[1], $version{$v});
		is $first->{reused}, 0, "$v, a first connection";
		my $same = session_client($proxy, $one->[2], $version{$v}, $first->{session});
		is $same->{reused}, 1, '… resumed in the same worker';
		my $other = session_client($proxy, $two->[1], $version{$v}, $first->{session});
		is $other->{reused}, 1, '… and in the other one';
		like $other->{body}, qr/^HTTP\/1\.1 200 .*BEGIN CERTIFICATE/s, '… and served there';
		my ($reused, $session) = (0, $other->{session});
		for (1 .. 20) {
			my $r = session_client($proxy, $proxy->wire, $version{$v}, $session);
			$reused += $r->{reused} // 0;
			$session = $r->{session};
		}
		is $reused, 20, '… 20 more, each with the ticket of the last';
	}
	my $m = $proxy->metrics;
	cmp_ok $m->{tls_resumed}, '>=', 44, 'tls_resumed says so';
};

subtest 'ticket keys rotate: the last are still read, older ones cost a full handshake and nothing else' => sub {
	my $p = proxy(workers => 2, ticket_rotate => 2);
	# RFC 5077 4: a ticket begins with its key's name, so a full handshake tells which key is in use
	my $key_name = sub {
		my $f = "$dir/session." . ++$leaves;
		my ($s, $out) = run_cmd({ timeout => 20 * slow() }, 'sh', '-c', 'printf "GET /cert/pem HTTP/1.1\r\nHost: mitm.it\r\nConnection: close\r\n\r\n" | openssl s_client -quiet -proxy "$1" -connect mitm.it:443 -tls1_2 -servername mitm.it -sess_out "$2"',
		                        'sh', '127.0.0.1:' . $p->port, $f);
		($s, $out) = run_cmd('openssl', 'sess_id', '-in', $f, '-noout', '-text');
		return $out =~ /TLS session ticket:\s+0000 - ([0-9a-f -]{47})/ ? $1 : diag($out) && '';
	};
	my $old = $key_name->();
	ok $old, 'a ticket names its key';
	my %kept = map { $_ => session_client($p, $p->wire, $version{$_})->{session} } keys %version;
	my $new;
	ok wait_until(sub { ($new = $key_name->()) ne $old }, 10, 'rotation'), 'after a while another key is in use';
	for my $v (sort keys %version) {
		my $r = session_client($p, $p->wire, $version{$v}, $kept{$v});
		is $r->{reused}, 1, "$v: a session from before is resumed";
	}
	ok wait_until(sub { my $n = $key_name->(); $n ne $old && $n ne $new }, 10, 'a second rotation'), 'and another one';
	my $gone = wait_until(sub { my $r = session_client($p, $p->wire, $version{'TLS 1.2'}, $kept{'TLS 1.2'}); !$r->{reused} && $r }, 20, 'the old key to be forgotten');
	ok $gone, 'in the end it is forgotten';
	like $gone->{body}, qr/^HTTP\/1\.1 200 /, '… and the client is served all the same';
	is session_client($p, $p->wire, $version{'TLS 1.3'}, $kept{'TLS 1.3'})->{reused}, 0, '… TLS 1.3 too';
	is session_client($p, $p->wire, $version{'TLS 1.3'}, session_client($p, $p->wire, $version{'TLS 1.3'})->{session})->{reused}, 1, 'new sessions are resumed';
};

# ---- the key stays in certgen

# Is one of these byte strings in the process's own memory? (Mapped files are not its own.) undef: we may not look.
sub memory_has {
	my ($pid, @needles) = @_;
	my $maps = slurp("/proc/$pid/maps") or return;
	CORE::open my $m, '<:raw', "/proc/$pid/mem" or return;
	no warnings 'portable'; # addresses have 64 bits
	my $re = join '|', map { quotemeta } @needles;
	for (split /\n/, $maps) {
		my ($from, $to, $perms, $path) = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/ or next;
		next if $perms !~ /^r/ || $path =~ /^\[v/ || ($path =~ m{^/} && $path !~ m{^/dev/zero} && $perms !~ /w/) || $path =~ /\.mdb$/;
		my ($at, $end) = map { hex } $from, $to;
		next if $end - $at > 256 << 20; # address space without content: a sanitizer's, or room for connections
		my $tail = '';
		while ($at < $end) {
			my $n = $end - $at > 4 << 20 ? 4 << 20 : $end - $at;
			sysseek $m, $at, 0 or last;
			my $block;
			my $got = sysread $m, $block, $n;
			last unless $got;
			return 1 if ($tail . $block) =~ /$re/;
			$tail = substr $block, -100 if length $block >= 100;
			$at += $got;
		}
	}
	return 0;
}
# What of a private key would be found in memory: its secret number in either byte order, and a line of its PEM.
sub traces {
	my ($pem_file) = @_;
	my (undef, $text) = run_cmd('openssl', 'pkey', '-in', $pem_file, '-noout', '-text');
	my @secrets;
	while ($text =~ /^(?:priv|prime1|privateExponent):\n((?:\s+[0-9a-f:]+\n)+)/mg) {
		(my $hex = $1) =~ s/[^0-9a-f]//g;
		my $raw = pack 'H*', $hex;
		$raw =~ s/^\0+//;
		$raw = substr $raw, 0, 32;
		push @secrets, $raw, scalar reverse $raw;
	}
	my ($key) = slurp($pem_file) =~ /-----BEGIN (?:\w+ )?PRIVATE KEY-----\n(.*?)-----END/s;
	my @lines = grep { length == 64 } split /\n/, $key;
	return (@secrets, $lines[$#lines > 1 ? 1 : 0]);
}
sub key_is_certgens {
	my ($p, @traces) = @_;
	my @checked;
	for my $pid ($p->family) {
		my $title = $p->title($pid);
		my $has = memory_has($pid, @traces);
		if ($title =~ /certgen/) {
			SKIP: { skip 'certgen lets nobody look', 1 unless defined $has; is $has, 1, "$title has the key: it would be found where it is" }
		} else {
			is $has, 0, "$title has not" if defined $has;
			push @checked, $title if defined $has;
		}
	}
	return @checked;
}
sub modes { my ($p) = @_; my %m = map { m{([^/]+)$} ? ($1 => sprintf '%04o', (stat)[2] & 07777) : () } glob "$p->{state}/ca/*"; return \%m }

subtest 'the CA that was made at the first start: its key is in one file for one reader, and in certgen\'s memory alone' => sub {
	is modes($proxy)->{'mitmproxy-ca.pem'}, '0600', 'the key file is its owner\'s';
	is modes($proxy)->{"mitmproxy-ca-cert.$_"}, '0644', "… the certificate as $_ is everybody's" for qw(pem cer p12);
	my @traces = traces("$proxy->{state}/ca/mitmproxy-ca.pem");
	cmp_ok scalar @traces, '>=', 3, 'we know what to look for';
	my @checked = key_is_certgens($proxy, @traces);
	plan skip_all => 'we may not read their memory' unless @checked;
	cmp_ok scalar @checked, '>=', 4, 'master, workers and the rest were looked at';
	my ($certgen) = $proxy->pids('certgen');
	my ($worker) = $proxy->pids('worker');
	kill 'KILL', $certgen, $worker;
	ok wait_until(sub { my @c = $proxy->pids('certgen'); my @w = $proxy->pids('worker'); @c && $c[0] != $certgen && @w == 2 && !grep { $_ == $worker } @w }, 15, 'others'), 'both started anew';
	ok leaf_of($proxy, 'afterwards.example.test:443', 'afterwards.example.test'), '… and certificates are made again';
	key_is_certgens($proxy, @traces);
};

sub make_ca { # name, key options, [signed by]: PEM files of key and certificate
	my ($name, $key, $by, @ext) = @_;
	my $f = "$dir/own-$name";
	openssl('genpkey', @$key, '-out', "$f.key");
	openssl(qw(req -x509 -days 30 -subj), "/CN=$name", '-key', "$f.key", '-out', "$f.pem", ($by ? ('-CA', "$dir/own-$by.pem", '-CAkey', "$dir/own-$by.key") : ()), '-addext', 'basicConstraints=critical,CA:TRUE',
	        '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
	spew("$f.bundle", slurp("$f.key") . slurp("$f.pem"));
	return $f;
}
my @RSA = ('-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048');
my @EC = ('-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384');

subtest 'a CA of one\'s own: RSA from a file, ECDSA inline, a chain, certificate apart' => sub {
	my $rsa = make_ca('rsa', \@RSA);
	my $ec = make_ca('ec', \@EC);
	my $sub = make_ca('intermediate', \@EC, 'ec');
	spew("$sub.chain", slurp("$sub.bundle") . slurp("$ec.pem"));
	spew("$rsa.told", "Bag Attributes\n    friendlyName: our CA\n" . slurp("$rsa.bundle"));
	spew("$sub.certs", "a text before\n" . slurp("$sub.pem") . slurp("$ec.pem"));
	chmod 0600, "$sub.certs", "$sub.key", "$sub.chain", "$rsa.bundle";
	for (
		['RSA, a file', { mitm_ca => "$rsa.bundle" }, "$rsa.key", "$rsa.pem", 0, qr/sha256WithRSA/],
		['RSA, a file that tells about itself before the PEM begins', { mitm_ca => "$rsa.told" }, "$rsa.key", "$rsa.pem", 0, qr/sha256WithRSA/],
		['ECDSA, inline', { env => { PASSSAGE_MITM_CA => slurp("$ec.bundle") } }, "$ec.key", "$ec.pem", 0, qr/ecdsa-with-SHA384/],
		['ECDSA, inline as an option', { mitm_ca => slurp("$ec.bundle") }, "$ec.key", "$ec.pem", 0, qr/ecdsa-with-SHA384/],
		['an intermediate, certificates apart in a file of root', { mitm_ca => "$sub.key", mitm_ca_cert => "$sub.certs" }, "$sub.key", "$ec.pem", 1, qr/ecdsa-with-SHA384/],
		['RSA, inline', { env => { PASSSAGE_MITM_CA => slurp("$rsa.bundle") } }, "$rsa.key", "$rsa.pem", 0, qr/sha256WithRSA/],
		['an intermediate with its root, a file', { mitm_ca => "$sub.chain" }, "$sub.key", "$ec.pem", 1, qr/ecdsa-with-SHA384/],
		['an intermediate, inline, certificates apart and inline', { env => { PASSSAGE_MITM_CA => slurp("$sub.key"), PASSSAGE_MITM_CA_CERT => slurp("$sub.pem") . slurp("$ec.pem") } },
		 "$sub.key", "$ec.pem", 1, qr/ecdsa-with-SHA384/],
	) {
		my ($name, $options, $key, $anchor, $chain, $algorithm) = @$_;
		my $p = proxy(workers => 1, %$options);
		is slurp($p->ca), slurp($anchor), "$name: clients are to trust its root";
		my $l = leaf_of($p, 'own.example.test:443', 'own.example.test') or do { fail "handshake: $handshake_error"; next };
		verifies($p, $l, '… against which leaves verify', '-verify_hostname', 'own.example.test');
		like $l->{text}, $algorithm, '… signed as strongly as the key is';
		is $l->{chain}, $chain, '… the chain is sent without the root';
		is $p->curl('http://mitm.it/cert/pem')->body, slurp($anchor), '… and mitm.it gives it';
		ok !-e "$p->{state}/ca/mitmproxy-ca.pem", '… no other CA was made';
		my $given = modes($p)->{'given-ca.pem'};
		is $given, '0600', '… what was given inline is a file for its owner alone' if $name =~ /inline/;
		key_is_certgens($p, traces($key)) unless $ENV{SAN} && $options->{env}; # a sanitizer's runtime has its own copy of the environment
		is $p->stop, 0, '… it ends well';
	}
};

subtest 'a CA that will not do ends the start, with the reason' => sub {
	my $rsa = "$dir/own-rsa";
	my $ec = "$dir/own-ec";
	my ($good, $good_key) = Lab::leaf('good');
	spew("$dir/no-ca.bundle", slurp($good_key) . slurp($good));
	spew("$dir/mixed.bundle", slurp("$rsa.key") . slurp("$ec.pem"));
	openssl(qw(pkey -aes128 -passout pass:x -in), "$ec.key", '-out', "$dir/locked.key");
	spew("$dir/locked.bundle", slurp("$dir/locked.key") . slurp("$ec.pem"));
	for (["$ec.pem", qr/no private key/], ["$ec.key", qr/no certificate/], ["$dir/no-ca.bundle", qr/not a CA/], ["$dir/mixed.bundle", qr/does not match/], ["$dir/locked.bundle", qr/encrypted/],
	     ["$dir/nowhere.bundle", qr/nowhere\.bundle.*No such file/]) {
		my ($file, $why) = @$_;
		my ($s, $out) = run_cmd({ timeout => 20 * slow() }, passsage(), '--port', 0, '--health-port', -1, '--state-dir', "$dir/refused", '--mitm-ca', $file);
		isnt $s, 0, "refused: $file";
		like $out, $why, '… with the reason';
	}
};

subtest 'a key inside the configuration file is refused: every process reads that file' => sub {
	(my $pem = slurp("$dir/own-ec.bundle")) =~ s/\n/\\n/g;
	my $line = (split /\\n/, $pem)[1];
	spew("$dir/inline.conf", qq(tls: { ca = "$pem"; };\n));
	my ($s, $out) = run_cmd({ timeout => 20 * slow() }, passsage(), '--port', 0, '--health-port', -1, '--state-dir', "$dir/refused", '--config', "$dir/inline.conf");
	is $s, 64 << 8, 'status 64';
	like $out, qr/inline\.conf:1: tls\.ca = .*must be the path of a file/, '… and why';
	unlike $out, qr/BEGIN|\Q$line/, '… without showing it';
};

# ---- upstream

subtest 'an origin\'s certificate must be right: 502 with the reason in words' => sub {
	for (['expired', qr/expired/i], ['wrongname', qr/\bname\b/i], ['selfsigned', qr/self.signed/i]) {
		my ($kind, $why) = @$_;
		my $bad = origin('/secret' => { body => 'must not be seen' }, tls => $kind);
		my $r = $proxy->curl($bad->https('/secret'));
		is $r->status, 502, "$kind: 502";
		like $r->body, $why, '… in words' or diag $r->body;
		is $bad->hits('/secret'), 0, '… the request did not get there';
	}
	my $stranger = proxy(upstream_ca => '');
	my $r = $stranger->curl($origin->https('/other'));
	is $r->status, 502, 'unknown issuer: 502';
	like $r->body, qr/issuer|authority|trust/i, '… in words' or diag $r->body;
	is $proxy->curl($origin->https('/other'))->status, 200, 'a right one is taken';
	my $lax = proxy(upstream_ca => '', upstream_tls_skip_verify => 'true');
	is $lax->curl($origin->https('/other'))->status, 200, 'and any is with --upstream-tls-skip-verify';
};

subtest 'lazy: a hit on a dead origin is served; eager: CONNECT says that it is dead' => sub {
	my $mortal = origin('/kept' => { body => 'kept', cc => 'max-age=600' });
	my $eager = proxy(connection_strategy => 'eager');
	for my $p ($proxy, $eager) {
		is $p->curl($mortal->https('/kept'))->body, 'kept', 'fetched';
		is $p->wire->tunnel($mortal->authority)->status, 200, '… CONNECT to a live origin';
	}
	$mortal->stop;
	my $r = $proxy->curl($mortal->https('/kept'));
	is $r->body, 'kept', 'lazy: served though the origin is dead';
	is $r->hit, 1, '… from the cache';
	$r = $proxy->curl($mortal->https('/not-kept'));
	is $r->status, 502, '… what is not there is a 502 inside the tunnel';
	is $eager->wire->tunnel($mortal->authority)->status, 502, 'eager: 502 at CONNECT';
	is $eager->wire->tunnel('no-such-host.invalid:443')->status, 502, '… for a name that is none, too';
	is $eager->wire->tunnel('mitm.it:443')->status, 200, '… but not for our own pages';
};

is $proxy->stop, 0, 'it ends well';
done_testing;
