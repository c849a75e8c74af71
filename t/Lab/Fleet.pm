# Fleet.pm - a real S3 and a real Elasticsearch for a test file, and passsage nodes that share them. Skips the file, with the reason, when the
# servers cannot be had; whatever ends the test ends them.
#
#   use Lab; use Lab::Fleet;
#   my $fleet = fleet();                                   # starts both (some seconds)
#   my $realm = $fleet->realm(faults => 1);                # a bucket and an index of its own; with faults: proxies that misbehave, $realm->s3 and ->es
#   my ($a, $b) = ($realm->node, $realm->node(workers => 2));   # Lab::Proxy and more: ->drained ->wipe_store ->forget ->spooled ->waiting
#   $realm->keys  $realm->object(key)  $realm->put(key, bytes)  $realm->doc(id)  $realm->docs  $realm->index(id, {...})
package Lab::Fleet;
use strict;
use warnings;
use Exporter 'import';
use File::Find 'find';
use File::Path 'remove_tree';
use HTTP::Tiny;
use IO::Handle;
use JSON::PP;
use Lab;
use Lab::Fault;
use Lab::Old;
use POSIX ();
use Test::More;
use Time::HiRes 'time', 'sleep';

our @EXPORT = qw(fleet json files trial trials_at_once run_trials);
our ($KEY, $SECRET, $REGION) = qw(testkey testsecret us-east-1);
our @fleets;
my $coder = JSON::PP->new->canonical->utf8;
sub json { ref $_[0] ? $coder->encode($_[0]) : $coder->decode($_[0]) }
sub files { my ($dir) = @_; my @f; find({ no_chdir => 1, wanted => sub { push @f, $File::Find::name if -f } }, $dir) if -d $dir; @f = sort @f; return @f }
# A subtest; for work on some of a file: ONLY='S3 down,variants' runs those alone whose names have one of these. After trials_at_once(n) they are
# gathered, and run_trials runs them n at a time, each in a process of its own: most of their time they wait for something.
my ($at_once, @gathered);
sub trials_at_once { ($at_once) = @_ }
sub trial {
	my ($name, $code) = @_;
	my @only = split /,/, $ENV{ONLY} // '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return if @only && !grep { index($name, $_) >= 0 } @only;
	return subtest $name => $code if !$at_once;
	push @gathered, { name => $name, code => $code };
}
sub run_trials {
	my @todo = @gathered;
	my %running;
	@gathered = ();
	while (@todo || %running) {
		while (@todo && keys %running < $at_once) {
			my $t = shift @todo;
			my $n = ++$Lab::seq;
			$t->{out} = lab_dir() . "/trial.$n";
			$t->{begun} = time;
			my $pid = fork // die "fork: $!";
			if (!$pid) {
				$Lab::seq = 1000 * $n; # names of its own
				my $b = Test::More->builder;
				$b->reset;
				open my $out, '>', $t->{out} or POSIX::_exit(1);
				$out->autoflush(1);
				$b->output($out);
				$b->failure_output($out);
				$b->todo_output($out);
				eval { subtest $t->{name} => $t->{code}; 1 } or do { print $out "not ok - died: $@" };
				$b->done_testing;
				exit($b->is_passing ? 0 : 1);
			}
			$running{$pid} = $t;
		}
		my $pid = waitpid -1, 0;
		my $t = delete $running{$pid} or next; # another child of ours
		my $status = $? >> 8 || $?;
		my $said = slurp($t->{out}) // '';
		note $said;
		my $good = $status == 0 && $said !~ /^\s*not ok/m && $said =~ /^ok 1/m;
		ok $good, sprintf '%s (%.1f s)', $t->{name}, time - $t->{begun};
		if ($good) { diag $1 while $said =~ /^ *# (FIGURE .*)/mg }
		else { diag join "\n", grep { !/^\s*ok / } split /\n/, $said }
	}
}
my $ua = HTTP::Tiny->new(timeout => 30 * slow());

sub fleet {
	my $scripts = shared_dir() . '/servers';
	skip_file("no $scripts here") unless -x "$scripts/s3-start.sh";
	my $self = bless { dir => lab_dir() . '/servers', scripts => $scripts, owner => $$ }, __PACKAGE__;
	mkdir $self->{dir}, 0755;
	my %start;
	for my $what (qw(s3 es)) {
		my $dir = "$self->{dir}/$what";
		mkdir $dir, 0755;
		$self->{$what} = { dir => $dir, port => free_port() };
		# the registries' clients of a first use take their time; the server is its own process group, known to the watchdog from its first moment
		$start{$what} = spawn({ stdout => "$dir.out", stderr => "$dir.err", env => { S3_ACCESS_KEY => $KEY, S3_SECRET_KEY => $SECRET, S3_REGION => $REGION, ES_HEAP => '384m' } },
		                      "$scripts/$what-start.sh", $dir, $self->{$what}{port}, $what eq 'es' ? free_port() : ());
	}
	my $until = time + 420;
	while (grep { $start{$_}->running } keys %start) { $self->adopt; last if time > $until; sleep 0.02 }
	$self->adopt;
	for my $what (sort keys %start) {
		next if defined $start{$what}->wait(1) && $start{$what}{status} == 0;
		my $said = slurp("$self->{dir}/$what.err") // '';
		$self->stop;
		my ($reason) = $said =~ /error: (.*(?:registry reachable|is not installed|no JDK).*)/;
		skip_file("$what-start.sh: $reason") if $reason && ($reason =~ /registry reachable/ || !$ENV{CI});
		die "$what-start.sh failed: $said";
	}
	$_->{url} = "http://127.0.0.1:$_->{port}" for @$self{qw(s3 es)};
	push @fleets, $self;
	return $self;
}
sub adopt { # the watchdog gets to know the servers' process groups
	my ($self) = @_;
	for my $what (qw(s3 es)) {
		next if $self->{$what}{pid};
		my ($pid) = (slurp("$self->{$what}{dir}/$what.pid") // '') =~ /^(\d+) \d+/ or next;
		$self->{$what}{pid} = $pid;
		Lab::watch($pid);
	}
}
sub stop {
	my ($self) = @_;
	return if $self->{owner} != $$;
	local ($?, $!, $@);
	for my $what (qw(s3 es)) {
		my $pid = delete $self->{$what}{pid} or next;
		my $group = (slurp("/proc/$pid/stat") // '') =~ /\) \S \d+ (\d+)/ ? $1 : 0;
		if ($group == $pid) { kill 'KILL', -$pid; select undef, undef, undef, 0.01 while kill 0, $pid and (slurp("/proc/$pid/stat") // '') !~ /\) Z/ }
		Lab::unwatch($pid);
	}
}
sub DESTROY { $_[0]->stop }
# The nodes first, for they want to tell; then the servers; the folders go last (File::Temp's END is older than ours)
END { my $was = $?; $_->DESTROY for grep { defined } @Lab::proxies; $_->stop for @fleets; $? = $was }
sub pause { my ($self, $what) = @_; kill 'STOP', $self->{$what}{pid} } # the real server itself
sub go_on { my ($self, $what) = @_; kill 'CONT', $self->{$what}{pid} }

# ---- a bucket and an index
sub realm {
	my ($self, %o) = @_;
	my $name = 'realm' . ++$Lab::seq;
	my $r = bless { fleet => $self, bucket => $name, index => "passsage_$name", name => $name }, 'Lab::Fleet::Realm';
	my ($s, $body) = $r->s3_request('PUT', '');
	die "bucket $name: $s $body" unless $s == 200;
	if ($o{public}) {
		($s, $body) = $r->s3_request('PUT', '?policy=', '-d', json({ Version => '2012-10-17', Statement => [{ Effect => 'Allow', Principal => '*', Action => ['s3:GetObject'], Resource => ["arn:aws:s3:::$name/*"] }] }));
		die "policy of $name: $s $body" unless $s == 204 || $s == 200;
	}
	if ($o{faults}) {
		for my $what (qw(s3 es)) { $r->{$what} = Lab::Fault->start(kind => $what, to => "127.0.0.1:$self->{$what}{port}") }
	}
	return $r;
}

package Lab::Fleet::Realm;
use strict;
use warnings;
use Test::More;
use Lab;
sub s3 { $_[0]{s3} }
sub es { $_[0]{es} }
sub fleet { $_[0]{fleet} }
sub settings { # of a node of this realm
	my ($r) = @_;
	return (s3_endpoint => ($r->{s3} ? $r->{s3}->url : $r->{fleet}{s3}{url}), s3_bucket => $r->{bucket}, s3_access_key => $KEY, s3_secret_key => $SECRET, s3_region => $REGION,
	        elasticsearch_url => ($r->{es} ? $r->{es}->url : $r->{fleet}{es}{url}), elasticsearch_meta_index => $r->{index}, elasticsearch_shards => 1, elasticsearch_replicas => 0,
	        elasticsearch_timeout => 2 * slow()); # a loaded machine's first answer takes its time, and then the origin would be asked, as it should
}
our ($KEY, $SECRET, $REGION) = ($Lab::Fleet::KEY, $Lab::Fleet::SECRET, $Lab::Fleet::REGION);
sub node {
	my ($r, %o) = @_;
	return Lab::Fleet::Node->start(Lab::lab_dir() . '/node.' . ++$Lab::seq, $r->settings, %o);
}
# What is in the bucket, straight from the server's folder.
sub folder { my ($r) = @_; "$r->{fleet}{s3}{dir}/buckets/$r->{bucket}" }
sub keys { my ($r) = @_; my $d = $r->folder; map { substr $_, 1 + length $d } grep { !m{/\.sgwtmp/} } Lab::Fleet::files($d) }
sub object { my ($r, $key) = @_; Lab::slurp($r->folder . "/$key") }
sub unfinished { my ($r) = @_; grep { m{/\.sgwtmp/} } Lab::Fleet::files($r->folder) } # parts of uploads that were neither finished nor aborted
sub s3_request { # method, key[?query], arguments of curl: (status, body); signed, straight to the real server
	my ($r, $method, $key, @args) = @_;
	my $out = Lab::lab_dir() . '/s3.' . ++$Lab::seq;
	my ($s, $said) = Lab::run_cmd('curl', '-sS', '-m', 60, '-o', $out, '-w', '%{http_code}', $method eq 'HEAD' ? '-I' : ('-X', $method), '--aws-sigv4', "aws:amz:$REGION:s3", '-u', "$KEY:$SECRET",
	                              '-H', 'x-amz-content-sha256: UNSIGNED-PAYLOAD', @args, "$r->{fleet}{s3}{url}/$r->{bucket}" . ($key eq '' || $key =~ /^\?/ ? $key : "/$key"));
	my $body = Lab::slurp($out) // '';
	unlink $out;
	return ($said =~ /(\d{3})$/ ? $1 : 0, $body);
}
sub put {
	my ($r, $key, $bytes) = @_;
	my $file = Lab::lab_dir() . '/put.' . ++$Lab::seq;
	Lab::spew($file, $bytes);
	my ($s, $body) = $r->s3_request('PUT', $key, '-T', $file);
	unlink $file;
	die "PUT $key: $s $body" unless $s == 200;
}
# What is in the index, straight from the real server.
sub es_request { # method, path, body (text or reference): (status, decoded body)
	my ($r, $method, $path, $body) = @_;
	my $a = $ua->request($method, "$r->{fleet}{es}{url}$path", { defined $body ? (content => ref $body ? Lab::Fleet::json($body) : $body, headers => { 'content-type' => $path =~ /_bulk/ ? 'application/x-ndjson' : 'application/json' }) : () });
	return ($a->{status}, eval { Lab::Fleet::json($a->{content}) } // $a->{content});
}
sub escape { my ($id) = @_; $id =~ s{([^A-Za-z0-9_.~-])}{sprintf '%%%02X', ord $1}ge; $id }
sub doc { my ($r, $id) = @_; my ($s, $d) = $r->es_request('GET', "/$r->{index}/_doc/" . escape($id)); $s == 200 ? $d->{_source} : undef }
sub index { my ($r, $id, $doc) = @_; my ($s, $d) = $r->es_request('PUT', "/$r->{index}/_doc/" . escape($id), $doc); die "index $id: $s " . Lab::Fleet::json($d) unless $s == 200 || $s == 201 }
sub change { my ($r, $id, $part) = @_; my ($s, $d) = $r->es_request('POST', "/$r->{index}/_update/" . escape($id), { doc => $part, doc_as_upsert => JSON::PP::true }); die "update $id: $s" unless $s == 200 || $s == 201 }
sub erase { my ($r, $id) = @_; $r->es_request('DELETE', "/$r->{index}/_doc/" . escape($id)) }
sub docs { # id => document, all that there are
	my ($r) = @_;
	$r->es_request('POST', "/$r->{index}/_refresh");
	my (%all, $after);
	while (1) {
		my ($s, $d) = $r->es_request('POST', "/$r->{index}/_search", { size => 1000, query => { match_all => {} }, sort => [{ _doc => 'asc' }], $after ? (search_after => $after) : () });
		return {} if $s == 404;
		die "search: $s " . Lab::Fleet::json($d) unless $s == 200;
		my @hits = @{$d->{hits}{hits}} or last;
		$all{$_->{_id}} = $_->{_source} for @hits;
		$after = $hits[-1]{sort};
	}
	return \%all;
}
sub make_index { # as the old system makes it (behaviour.md 4.5)
	my ($r) = @_;
	my ($s, $d) = $r->es_request('PUT', "/$r->{index}", Lab::Old::index_body());
	die "index $r->{index}: $s " . Lab::Fleet::json($d) unless $s == 200;
}

# ---- one node
package Lab::Fleet::Node;
use strict;
use warnings;
use Lab;
use Time::HiRes 'time';
use Test::More;
our @ISA = ('Lab::Proxy');
sub spooled { my ($p) = @_; grep { !m{/(?:failed|doubt)/} } Lab::Fleet::files($p->state_dir . '/spool') } # what S3 does not have yet
sub given_up { my ($p) = @_; Lab::Fleet::files($p->state_dir . '/spool/failed') }
sub waiting { my ($p) = @_; my $m = $p->metrics; $m->{spool_entries} + $m->{outbox_entries} } # what S3 or Elasticsearch does not have yet
sub drained { # all that is stored here is in S3 and Elasticsearch. A fill is there until its document is committed; and the outbox's count is the
	# uploader's, who may not have looked yet: three times nothing is nothing
	my ($p, $seconds) = @_;
	my ($none, $then) = (0, 0);
	return Lab::wait_until(sub {
		return if time < $then;
		my $m = $p->metrics;
		$none = defined $m->{outbox_entries} && defined $m->{spool_entries} && !$m->{outbox_entries} && !$m->{spool_entries} && !$m->{fills_active} && !$p->spooled ? $none + 1 : 0;
		$then = time + 0.1;
		return $none >= 3;
	}, $seconds // 30, 'an empty spool and outbox');
}
sub stored { my ($p, $url, @args) = @_; Lab::wait_until(sub { $p->curl(@args, '-H', 'Cache-Control: only-if-cached', $url)->hit }, 10, "$url to be stored") }
sub wipe_store { my ($p) = @_; $p->stop; File::Path::remove_tree($p->state_dir . '/store'); $p->launch } # the bodies
sub forget { my ($p) = @_; $p->stop; File::Path::remove_tree(map { $p->state_dir . "/$_" } qw(store meta spool)); $p->launch } # all but its CA
1;
