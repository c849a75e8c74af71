# Clients.pm - one real client against its real registry, four times, each with fresh caches of its own:
#   straight     without the proxy: tells whether the registry can be reached (else the file is skipped), and what must come
#   first        through an empty proxy
#   again        the same proxy: what the origin's own words allow to reuse comes from the cache
#   kept         the proxy restarted as NoRefresh, the policy for registries whose answers say nothing of caching (where no rule has its own)
#   gone         the proxy restarted with its usual policies in a network namespace without any network: all comes from the cache (root only)
# Hosts are the client's own configuration's; none stands here.
package Lab::Clients;
use strict;
use warnings;
use Digest::SHA;
use Exporter 'import';
use File::Find ();
use JSON::PP;
use Lab;
use Test::More;
use Time::HiRes 'time';
our @EXPORT = qw(fresh_dir files_below records round_records clients_rounds trusted_bundle trusting_env tally last_lines tool in_namespace);

my $n = 0;
sub fresh_dir { my $d = lab_dir() . '/fresh.' . ++$n; mkdir $d or die "$d: $!"; chmod 0777, $d; return $d }
sub files_below { # directory, pattern of the name: { name => sha256 }
	my ($dir, $re) = @_;
	my %f;
	return {} unless -d $dir;
	File::Find::find({ no_chdir => 1, wanted => sub {
		(my $name = $File::Find::name) =~ s{.*/}{};
		$f{$name} = Digest::SHA->new(256)->addfile($File::Find::name)->hexdigest if -f && $name =~ $re;
	} }, $dir);
	return \%f;
}
sub last_lines { my ($text, $lines) = @_; my @l = grep { /\S/ } split /\n/, $text; splice @l, 0, @l - ($lines // 3) if @l > ($lines // 3); return join ' | ', @l }

# A tool's real place and version; nothing when it is not there or does not run.
sub tool {
	my ($name, @version) = @_;
	my $path = have_cmd($name) or return;
	my ($status, $out) = run_cmd({ timeout => 20 }, $path, @version ? @version : '--version');
	return if $status != 0;
	note "$name: ", $out =~ /(\S.*)/;
	return $path;
}

# What the system trusts and our CA in one file, for variables that replace the system's bundle; the CA comes from mitm.it, as a user gets it.
sub trusted_bundle {
	my ($proxy, $dir) = @_;
	my $r = $proxy->curl('http://mitm.it/cert/pem');
	is $r->status, 200, 'the certificate comes from mitm.it' or return;
	same $r->body, slurp($proxy->ca), '… and is the one of our CA';
	my ($system) = grep { -s } qw(/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem);
	spew("$dir/bundle.pem", ($system ? slurp($system) . "\n" : '') . $r->body);
	return "$dir/bundle.pem";
}
# The environment that a user's shell has after proxy-env.sh: the machine's own variables of these names must not win over it.
sub trusting_env {
	my ($proxy, $bundle) = @_;
	return (map({ $_ => $bundle } qw(SSL_CERT_FILE REQUESTS_CA_BUNDLE GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS PIP_CERT CURL_CA_BUNDLE CARGO_HTTP_CAINFO)),
		map({ $_ => $proxy->url } qw(HTTP_PROXY HTTPS_PROXY http_proxy https_proxy)), NO_PROXY => '', no_proxy => '');
}

sub records { # of the access log, from the offset on
	my ($proxy, $from) = @_;
	my $log = slurp($proxy->{options}{access_log_file}) // '';
	return map { JSON::PP->new->decode($_) } split /\n/, substr $log, $from // 0;
}
# What the code makes the proxy record: waits for all clients to be gone.
sub round_records {
	my ($proxy, $code) = @_;
	my $from = -s $proxy->{options}{access_log_file} // 0;
	$code->();
	$proxy->wait_metrics(sub { $_->{connections_open} == 0 }, 10, 'the clients to leave');
	return records($proxy, $from);
}

# Counts a round: { objects, cached, why => { reason => [urls] } }. Not cached and why not; 'may be kept' is a fault of ours.
sub tally {
	my ($label, @records) = @_;
	my %t = (objects => 0, cached => 0, bytes => 0, bytes_cached => 0, why => {});
	for my $r (@records) {
		next if $r->{method} eq 'CONNECT' || ($r->{serve_reason} // '') eq 'onboarding';
		$t{objects}++;
		$t{bytes} += $r->{bytes_sent} // 0;
		# joined: its bytes came for another request, which is under way or is not committed yet
		if ($r->{cached} || ($r->{serve_reason} // '') eq 'joined') { $t{cached}++; $t{bytes_cached} += $r->{bytes_sent} // 0; next }
		my $h = $r->{response_headers} // {};
		my %h = map { lc, $h->{$_} } keys %$h;
		my $cc = $h{'cache-control'} // '';
		my $why = $r->{method} !~ /^(?:GET|HEAD)$/ ? $r->{method}
			: ($r->{policy} // '') eq 'NoCache' ? 'policy NoCache'
			: $cc =~ /\b(no-store|no-cache|private|must-revalidate|max-age=0)\b/ ? $1
			: $cc =~ /max-age=(\d+)/ && ($h{age} // 0) >= $1 ? 'stale when it came'
			: exists $h{'set-cookie'} ? 'sets a cookie'
			: $r->{status_code} >= 400 && $cc !~ /max-age/ && !exists $h{expires} ? "status $r->{status_code}"
			: $cc !~ /max-age/ && !exists $h{expires} && !exists $h{'last-modified'} ? 'its origin says nothing of caching'
			: 'may be kept';
		push @{$t{why}{$why}}, "$r->{method} $r->{url} $r->{status_code} " . ($r->{serve_reason} // '') . ($cc ? " ($cc)" : '') . ($r->{error} ? " $r->{error}" : '');
	}
	diag sprintf '%-28s %3d requests, %3d from the cache (%d of %d bytes)%s', "$label:", @t{qw(objects cached bytes_cached bytes)},
		join '', map { sprintf '; %d not: %s', scalar @{$t{why}{$_}}, $_ } sort keys %{$t{why}};
	for my $why (sort keys %{$t{why}}) { note "  $why: $_" for @{$t{why}{$why}} }
	return \%t;
}

# The proxy in a network namespace that has nothing but a loopback: a program that takes passsage's place.
sub in_namespace {
	return if $> != 0;
	return unless have_cmd('unshare') && have_cmd('nsenter') && have_cmd('ip');
	my ($status) = run_cmd({ timeout => 10 }, 'unshare', '-n', 'ip', 'link', 'set', 'lo', 'up');
	return if $status != 0;
	my $wrap = lab_dir() . '/alone';
	spew($wrap, "#!/bin/sh\nexec unshare -n sh -c 'ip link set lo up; exec \"\$@\"' sh '" . passsage() . "' \"\$@\"\n");
	chmod 0755, $wrap;
	return $wrap;
}

# name       what it is
# run        code($dir, $proxy or nothing): ({ options of run_cmd }, command)
# result     code($dir): what the client got, to be compared
# wanted     least number of objects
# records    code(access records of the first round): more to be found there
# ruled      true: its URLs have rules of their own, which the default policy does not change
# straight   seconds for the probe without a proxy
sub clients_rounds {
	my (%c) = @_;
	my $seconds = $c{seconds} // 60;
	my ($dir, $want) = (fresh_dir());
	my ($status, $out) = run_cmd(with_timeout($c{straight} // 40, $c{run}->($dir)));
	if ($status != 0) {
		skip_file("$c{name} cannot reach its registry from here: " . last_lines($out));
	}
	$want = $c{result}->($dir);
	cmp_ok scalar keys %$want, '>=', 1, "$c{name} without a proxy gets " . join(', ', (sort keys %$want)[0 .. (keys %$want > 3 ? 2 : keys(%$want) - 1)]);
	my $proxy = proxy(workers => 2, access_log_file => fresh_dir() . '/access.json', %{$c{options} // {}},
		access_log_headers => 'cache-control,expires,last-modified,etag,age,vary,set-cookie,cache-status,date');
	my $round = sub {
		my ($label, @prefix) = @_;
		my $d = fresh_dir();
		my ($o, @cmd) = with_timeout($seconds, $c{run}->($d, $proxy));
		my $t0 = time;
		my ($s, $out) = run_cmd($o, @prefix, @cmd);
		if ($s != 0 && !@prefix && (run_cmd(with_timeout($c{straight} // 40, $c{run}->(fresh_dir()))))[0] != 0) {
			diag "the registry of $c{name} fails now without a proxy too; the rest is left out: ", last_lines($out);
			done_testing;
			exit 0;
		}
		is $s, 0, "$c{name}, $label: it works" or diag last_lines($out, 15);
		note sprintf '%s, %s: %.1f s', $c{name}, $label, time - $t0;
		is_deeply $c{result}->($d), $want, '… and gets what it gets without a proxy';
	};
	my @first = round_records($proxy, sub { $round->('first') });
	my $first = tally("$c{name}, first", @first);
	cmp_ok $first->{objects}, '>=', $c{wanted} // 1, '… its requests come through the proxy';
	$c{records}->(@first) if $c{records};
	my $again = tally("$c{name}, again", round_records($proxy, sub { $round->('again') }));
	is_deeply $again->{why}{'may be kept'} // [], [], '… what the origin allows to reuse comes from the cache';

	# what the first round could not store will not be there later either
	my %never = map { $_ => 1 } grep { !/says nothing|must-revalidate|no-cache|max-age=0/ } keys %{$first->{why}};
	my $checked = sub {
		my ($t, $label) = @_;
		my @missing = map { @{$t->{why}{$_}} } grep { !$never{$_} } keys %{$t->{why}};
		is_deeply \@missing, [], "$c{name}, $label: all that can be stored comes from the cache";
		cmp_ok $t->{cached}, '>=', $c{wanted} // 1, "… $t->{cached} of $t->{objects}";
	};
	$proxy->stop;
	if (!$c{ruled}) {
		local $proxy->{options}{default_policy} = 'NoRefresh';
		$proxy->launch;
		$checked->(tally("$c{name}, NoRefresh", round_records($proxy, sub { $round->('restarted as NoRefresh') })), 'restarted as NoRefresh');
		$proxy->stop;
	}
	SKIP: {
		my $alone = in_namespace() or skip 'a network namespace takes root, util-linux and iproute2', 1;
		local $ENV{PASSSAGE} = $alone;
		local $proxy->{options}{health_port} = 0;
		local $proxy->{health} = 0;
		my $from = -s $proxy->{options}{access_log_file};
		$proxy->launch;
		$round->('registry gone', 'nsenter', '--net=/proc/' . $proxy->master . '/ns/net', '--');
		$proxy->stop; # writes all records out
		$checked->(tally("$c{name}, registry gone", records($proxy, $from)), 'registry gone');
	}
	return $proxy;
}
sub with_timeout { my ($seconds, $o, @cmd) = @_; return ({ timeout => $seconds * Lab::slow(), %$o }, @cmd) }

1;
