# A newcomer's machine learns to trust the proxy from mitm.it alone, and a sourced script harms no shell.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $dir = lab_dir();
my $proxy = proxy(workers => 2, onboarding_host => 'passsage.it,proxy.example.test');
my $port = $proxy->port;
my $pem = slurp($proxy->ca);
sub openssl_out { my ($s, $out) = run_cmd({ timeout => 20 * slow() }, 'openssl', @_); is $s, 0, "openssl $_[0]" or diag $out; return $out }

subtest 'the index page, over http and inside TLS' => sub {
	for my $url ('http://mitm.it/', 'https://mitm.it/', 'http://passsage.it/', 'https://passsage.it/', 'http://PROXY.example.test/', 'http://mitm.it:80/', 'http://mitm.it') {
		my $r = $proxy->curl('-H', 'Accept: text/html,application/xhtml+xml,*/*;q=0.8', $url);
		is $r->status, 200, $url;
		like $r->header('content-type'), qr/^text\/html; charset=utf-8/, '… HTML';
		like $r->header('cache-control'), qr/no-store/, '… not to be kept';
		like $r->body, qr/\Q$_\E/, "… speaks of $_" for qw(Linux macOS Windows Docker pip npm Java git cargo apt), 'http://localhost:' . $port;
	}
	my $page = $proxy->curl('-H', 'Accept: text/html', 'http://mitm.it/')->body;
	my @open;
	while ($page =~ m{<(/?)([a-z][a-z0-9]*)[^>]*>}g) { # well-formed: each element closed where it should be
		next if $2 =~ /^(?:meta|link|br|hr|img|input)$/;
		if (!$1) { push @open, $2 } elsif (!@open || pop(@open) ne $2) { fail "</$2> closes something else"; last }
	}
	is "@open", '', 'no element is left open';
	my ($print) = openssl_out('x509', '-in', $proxy->ca, '-noout', '-fingerprint', '-sha256') =~ /=([0-9A-F:]+)/;
	like $page, qr/$print/, 'the fingerprint is shown';
	my @links = $page =~ /<a href="(\/[^"]*)"/g;
	cmp_ok scalar @links, '>=', 5, 'links';
	is $proxy->curl("http://mitm.it$_")->status, 200, "… $_ leads somewhere" for @links;
	my %ids = map { $_ => 1 } $page =~ / id="([^"]+)"/g;
	ok $ids{$_}, "… #$_ too" for $page =~ /<a href="#([^"]+)"/g;
	like $proxy->curl('-H', 'Accept: text/plain', 'http://mitm.it/')->header('content-type'), qr/^text\/plain/, 'as plain text for who asks for it';
	my $head = $proxy->curl('-I', 'http://mitm.it/');
	is $head->status, 200, 'HEAD';
	is $head->body =~ /<html/ ? 1 : 0, 0, '… without a body';
	is $proxy->curl('http://mitm.it/no-such-page')->status, 404, 'what is not there is a 404';
	my $r = $proxy->curl('-d', 'x', 'http://mitm.it/');
	is $r->status, 405, 'POST is refused';
	is $r->header('allow'), 'GET, HEAD', '… with what is allowed';
	is $proxy->curl('http://mitm.it/')->status, 200, 'and on';
	isnt $proxy->curl('http://www.passsage.it/')->status, 200, 'other names are not ours';
	cmp_ok $proxy->metrics->{onboarding}, '>=', 15, 'the counter onboarding';
};

subtest 'the certificate in every form is the CA\'s, and no key is with it' => sub {
	for my $base ('http://mitm.it', 'https://mitm.it', 'http://passsage.it') {
		my %is;
		for (['pem', 'application/x-x509-ca-cert'], ['cer', 'application/x-x509-ca-cert'], ['p12', 'application/x-pkcs12']) {
			my ($form, $type) = @$_;
			my $r = $proxy->curl("$base/cert/$form");
			is $r->status, 200, "$base/cert/$form";
			is $r->header('content-type'), $type, '… type';
			is $r->header('content-disposition'), "attachment; filename=mitmproxy-ca-cert.$form", '… its name on disk';
			is $r->header('content-length'), length $r->body, '… length';
			spew("$dir/cert.$form", $is{$form} = $r->body);
		}
		is $is{pem}, $pem, 'PEM is the CA\'s';
		is openssl_out('x509', '-inform', 'DER', '-in', "$dir/cert.cer"), $pem, 'DER is the same';
		my ($in_p12) = openssl_out('pkcs12', '-in', "$dir/cert.p12", '-passin', 'pass:', '-nokeys') =~ /(-----BEGIN CERT.*-----END CERTIFICATE-----\n)/s;
		is $in_p12, $pem, 'PKCS #12 opens with an empty password, and is the same';
		my (undef, $keys) = run_cmd('openssl', 'pkcs12', '-in', "$dir/cert.p12", '-passin', 'pass:', '-nocerts', '-nodes');
		unlike $keys, qr/PRIVATE KEY/, '… without a key';
		unlike join('', values %is), qr/PRIVATE/, 'no key anywhere';
	}
	my ($s) = run_cmd('curl', '-sS', '--fail', '-x', $proxy->url, '--noproxy', '', '--cacert', "$dir/cert.pem", '-o', '/dev/null', 'https://mitm.it/');
	is $s, 0, 'a client that trusts it can go on by https';
};

# ---- the script

my $script = $proxy->curl('http://mitm.it/proxy-env.sh')->body;
# Nothing of this machine's trust is touched: id says that we are nobody special, sudo says no.
my $stubs = "$dir/stubs";
mkdir $stubs;
spew("$stubs/id", "#!/bin/sh\necho 1000\n");
spew("$stubs/sudo", "#!/bin/sh\nexit 1\n");
chmod 0755, "$stubs/id", "$stubs/sudo";
my @vars = qw(HTTP_PROXY HTTPS_PROXY http_proxy https_proxy NO_PROXY no_proxy SSL_CERT_FILE REQUESTS_CA_BUNDLE GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS PIP_CERT CURL_CA_BUNDLE CARGO_HTTP_CAINFO);
my $homes = 0;
sub shell { # what a shell says that runs this program with a home of its own: (status, output, home)
	my ($shell, $program, %env) = @_;
	my $home = "$dir/home." . ++$homes;
	mkdir $home;
	spew("$home/proxy-env.sh", $script) unless -e "$home/proxy-env.sh";
	my ($s, $out) = run_cmd({ timeout => 30 * slow(), cwd => $home, env => { HOME => $home, PATH => "$stubs:$ENV{PATH}", TMPDIR => $home, %env } }, @$shell, '-c', $program);
	return ($s, $out, $home);
}
sub values_of { my ($out) = @_; return { $out =~ /^(\w+)=(.*)$/mg } }
my $show = join '; ', map { "echo \"$_=\${$_-unset}\"" } @vars;
my @shells = grep { have_cmd($_->[0]) } ['sh'], ['bash'], ['bash', '--posix'], ['dash'], ['busybox', 'ash'], ['ksh'], ['zsh'];

subtest 'the script' => sub {
	is $proxy->curl($_)->body, $script, $_ for 'http://mitm.it/proxy-env', 'https://mitm.it/proxy-env.sh', 'http://passsage.it/proxy-env.sh';
	my $r = $proxy->curl('http://mitm.it/proxy-env.sh');
	like $r->header('content-type'), qr/^text\/plain/, 'is plain text';
	like $r->header('cache-control'), qr/no-store/, '… not to be kept';
	like $script, qr/\Q@{[substr $pem, 0, -1]}\E/, '… with the certificate';
	is $proxy->curl('-X', 'POST', 'http://mitm.it/proxy-env.sh')->status, 200, '… for any method';
	for my $sh (@shells) {
		spew("$dir/script.sh", $script);
		my ($s, $out) = run_cmd(@$sh, '-n', "$dir/script.sh");
		is $s, 0, "@$sh -n" or diag $out;
	}
};

subtest 'sourced, it sets the environment and neither ends nor changes the shell' => sub {
	for my $sh (@shells) {
		for my $options ('', 'set -e;', 'set -u;', 'set -C;', 'set -euC;', 'alias cp="cp -i" rm="rm -i" grep="false";') {
			my ($s, $out, $home) = shell($sh, "$options trap 'echo trap-kept' EXIT; a=1; set -- one two; before=\$(set +o); umask 027; . ./proxy-env.sh; " .
				'test "$before" = "$(set +o)" && echo options-kept; echo "a=$a args=$* umask=$(umask) pwd=$(pwd)"; set | grep -c "^_passsage" || true; ' . "$show; true");
			is $s, 0, "@$sh $options goes on to its end" or diag $out;
			like $out, qr/^options-kept$/m, '… with its options';
			like $out, qr/^a=1 args=one two umask=0027 pwd=\Q$home\E$/m, '… its arguments, mask and folder';
			like $out, qr/^trap-kept$/m, '… its trap';
			like $out, qr/^0$/m, '… without names left behind' or diag $out if $options !~ /alias/;
			my $v = values_of($out);
			is $v->{$_}, "http://localhost:$port", "… $_" for qw(HTTP_PROXY HTTPS_PROXY http_proxy https_proxy);
			like $v->{no_proxy}, qr/^localhost,127\.0\.0\.1,::1,169\.254\.169\.254,169\.254\.170\.2,\.amazonaws\.com$/, '… no_proxy';
			is $v->{$_}, "$home/.passsage/ca-bundle.pem", "… $_ has a private bundle, for the system's could not be changed" for qw(SSL_CERT_FILE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS PIP_CERT);
			like slurp("$home/.passsage/ca-bundle.pem"), qr/\Q$pem\E/, '… with the certificate';
			is_deeply [grep { !/\/proxy-env\.sh$/ } glob "$home/*"], [], '… no temporary file is left';
		}
	}
};

subtest 'with it alone, programs of that shell work through the proxy' => sub {
	my ($s, $out, $home) = shell(['sh'], '. ./proxy-env.sh 2>/dev/null; curl -sS -o /dev/null -w "%{http_code}" https://mitm.it/');
	is $out, 200, 'curl, without an option';
	($s, $out) = run_cmd({ env => { HOME => $home } }, 'sh', '-c', ". $home/.passsage/proxy-env.sh; $show; curl -sS -o /dev/null -w 'code=%{http_code}' https://mitm.it/");
	is values_of($out)->{code}, 200, 'another shell by the file that it left';
	is values_of($out)->{SSL_CERT_FILE}, "$home/.passsage/ca-bundle.pem", '… with the same values';
	is sprintf('%04o', (stat "$home/.passsage/proxy-env.sh")[2] & 07777), '0600', '… which is its user\'s';
	my $fetch = 'curl -fsS -x ' . $proxy->url . ' http://mitm.it/proxy-env.sh';
	for my $sh (@shells) {
		($s, $out, $home) = shell($sh, "eval \"\$($fetch)\" 2>/dev/null; $show");
		is values_of($out)->{HTTPS_PROXY}, "http://localhost:$port", "eval in @$sh";
	}
	($s, $out, $home) = shell(['sh'], "$fetch | sh; echo on");
	like $out, qr/^on$/m, 'piped into sh';
	like slurp("$home/.passsage/proxy-env.sh"), qr/^export HTTP_PROXY='http:\/\/localhost:$port'$/m, '… the file is left';
	($s, $out, $home) = shell(['sh'], ". ./proxy-env.sh; . ./proxy-env.sh; $show");
	is $s, 0, 'sourced twice';
	is scalar(() = slurp("$home/.passsage/ca-bundle.pem") =~ /\Q$pem\E/g), 1, '… the certificate is in the bundle once';
};

subtest 'without a certificate, without a home, with things that fail' => sub {
	for my $sh (grep { $_->[0] ne 'dash' } @shells) { # dash gives no arguments to a sourced file
		my ($s, $out, $home) = shell($sh, "PASSSAGE_NO_CERTIFICATE=1; . ./proxy-env.sh; $show");
		ok !-e "$home/.passsage/ca-bundle.pem", "@$sh: PASSSAGE_NO_CERTIFICATE=1 makes no bundle";
		is values_of($out)->{HTTP_PROXY}, "http://localhost:$port", '… and sets the rest';
	}
	my ($s, $out, $home) = shell(['bash'], ". ./proxy-env.sh --no-certificate; $show");
	ok !-e "$home/.passsage/ca-bundle.pem", '--no-certificate likewise';
	($s, $out, $home) = shell(['sh'], "unset HOME; . ./proxy-env.sh; $show");
	is values_of($out)->{SSL_CERT_FILE}, "$home/.passsage/ca-bundle.pem", 'no HOME: the current folder';
	($s, $out) = shell(['sh'], "mkdir -p \$HOME; : >\$HOME/.passsage; set -eu; . ./proxy-env.sh; echo on; $show");
	like $out, qr/^on$/m, 'nowhere to write: the shell goes on';
	is values_of($out)->{HTTP_PROXY}, "http://localhost:$port", '… with the proxy';
	($s, $out) = shell(['sh'], 'PATH=/nowhere; . ./proxy-env.sh; echo on');
	like $out, qr/^on$/m, 'no programs at all: the shell goes on';
	for my $part (0.1, 0.3, 0.5, 0.7, 0.9) { # a download that broke off
		my $cut = substr $script, 0, int $part * length $script;
		spew("$dir/cut", $cut);
		($s, $out, $home) = shell(['sh'], "sh <$dir/cut; echo on; test -e \$HOME/.passsage && echo did-something");
		like $out, qr/^on$/m, "the first $part of it";
		unlike $out, qr/did-something/, '… does nothing';
	}
};

subtest '--public-proxy-url, --no-proxy-extra' => sub {
	my $p = proxy(public_proxy_url => 'http://proxy.corp.example.test:3128', no_proxy_extra => 'internal.example.test,10.0.0.0/8');
	$script = $p->curl('http://mitm.it/proxy-env.sh')->body;
	my ($s, $out, $home) = shell(['sh'], ". ./proxy-env.sh; $show");
	my $v = values_of($out);
	is $v->{HTTPS_PROXY}, 'http://proxy.corp.example.test:3128', 'the URL as the operator wrote it';
	like $v->{NO_PROXY}, qr/,\.amazonaws\.com,internal\.example\.test,10\.0\.0\.0\/8$/, 'the names behind ours';
	is $v->{no_proxy}, $v->{NO_PROXY}, '… both ways';
	my $page = $p->curl('-H', 'Accept: text/html', 'http://mitm.it/')->body;
	like $page, qr/http:\/\/proxy\.corp\.example\.test:3128/, 'the page shows it';
	like $page, qr/-Dhttp\.proxyHost=proxy\.corp\.example\.test -Dhttp\.proxyPort=3128/, '… in its parts';
	unlike $page, qr/localhost:@{[$p->port]}/, '… and nothing else';
	my ($bad, $why) = run_cmd(passsage(), '--dump-settings', '--public-proxy-url', 'http://x\';touch pwned;\'');
	is $bad, 64 << 8, 'a URL that would be a command is refused';
	is $p->stop, 0, 'it ends well';
};
is $proxy->stop, 0, 'it ends well';
done_testing;
