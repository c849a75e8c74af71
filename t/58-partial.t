# An object of which a part is there, after a restart: who asks for all of it gets the bytes of that version, each at its place, whatever became of the
# settings and of the origin's mind meanwhile; and what may not be stored any more is not.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $K = 1024;
my $size = 1024 * $K + 77;
my $body = pattern($size);
my $huge = 100 << 30; # more chunks of 64K than a download by several requests may have
my $origin = origin('/huge' => sub {
	my ($c, $r) = @_;
	my ($from, $to) = ($r->{headers}{range} // '') =~ /^bytes=(\d+)-(\d+)$/ or return $c->respond({ status => 500, body => 'all of it?' });
	$c->respond({ status => 206, reason => 'Partial Content', body => substr($body, 0, $to - $from + 1), etag => '"h"', cc => 'max-age=600',
	              headers => ['Content-Range' => "bytes $from-$to/$huge"] });
});
my %o = (workers => 1, chunk_size => '64K', parallel_min => '64K', fill_rest => 'never', hot_size => 0);
my @cc = (cc => 'max-age=600', etag => '"v"', ranges => 1);
sub there { my ($p, $path) = @_; (run_cmd(passsage(), 'explain', '--state-dir', $p->state_dir, $origin->url($path)))[1] =~ /of it there/ }
sub chunk_there { my ($p, $at) = @_; my $h = sha256(substr $body, $at, 64 * $K); -e join '/', $p->state_dir . '/store/data', (split //, substr $h, 0, 4), $h }
sub partial { # path: a proxy that has been started again, with the first two chunks of it
	my ($path, %changed) = @_;
	my $p = proxy(%o);
	$origin->set($path => { size => $size, @cc });
	$origin->pause_after(200 * $K, $path);
	same $p->curl('-r', '0-' . (128 * $K - 1), $origin->url($path))->body, substr($body, 0, 128 * $K), 'its beginning was asked for';
	ok wait_until(sub { there($p, $path) }, 10, 'the note'), '… and is noted';
	is $p->stop, 0, '… when the proxy ends';
	$origin->resume;
	$p->{options} = { %{$p->{options}}, %changed };
	return $p->launch;
}

subtest 'it goes on from there' => sub {
	my $p = partial('/on');
	my $r = $p->curl($origin->url('/on'));
	same $r->body, $body, 'all of it';
	like $origin->last('/on')->{headers}{range} // '', qr/^bytes=[1-9]/, '… of which the beginning was not asked for again';
	ok wait_until(sub { $p->curl($origin->url('/on'))->hit }, 5), '… is stored';
};

subtest 'the rest may not be put together with it any more' => sub {
	for my $case (['the object is small by now', '/small', parallel_min => '1G'], ['all chunks have another size', '/chunks', chunk_size => '128K']) {
		my ($name, $path, %changed) = @$case;
		my $p = partial($path, %changed);
		same $p->curl($origin->url($path))->body, $body, "$name: all of it is right";
		ok wait_until(sub { $p->curl($origin->url($path))->hit }, 5), '… and stored';
	}
};

subtest 'the answer to the question for the rest may not be stored' => sub {
	for my $case (['no-store', '/no-store', 'no-store'], ['of one client alone', '/private', 'private'], ['for who has credentials', '/authorized', 'max-age=600', '-H', 'Authorization: x']) {
		my ($name, $path, $cc, @args) = @$case;
		my $p = partial($path);
		$origin->set($path => { size => $size, @cc, cc => $cc });
		same $p->curl(@args, $origin->url($path))->body, $body, "$name: all of it is right";
		ok !chunk_there($p, 640 * $K), '… and not stored';
		my $hits = $origin->hits($path);
		same $p->curl($origin->url($path))->body, $body, '… for another client';
		is $origin->hits($path), $hits + 1, '… the origin is asked, for all of it at once';
	}
};

subtest 'a range of what is too large for that' => sub {
	my $p = proxy(%o);
	same $p->curl('-r', $huge - 1000 . '-' . ($huge - 1), $origin->url('/huge'))->body, substr($body, 0, 1000), 'it comes';
	is $origin->hits('/huge'), 1, '… by one request';
};

subtest 'a coding need not come out the same twice' => sub {
	my $p = proxy(%o, fill_rest => 'always');
	$origin->set('/coded' => { size => $size, @cc, headers => ['Content-Encoding' => 'gzip'] });
	same $p->curl('-r', '1048600-', $origin->url('/coded'))->body, substr($body, 1048600), 'a range of coded bytes';
	same $p->curl($origin->url('/coded'))->body, $body, '… and then all of them';
	is_deeply [map { $_->{headers}{range} // 'all' } $origin->requests('/coded')], ['bytes=1048600-', 'all'], '… come by one request each';
};

subtest 'a digest of the content is that of one message, of no part of it' => sub {
	my $p = proxy(%o, fill_rest => 'always');
	my @digests = ('Content-Digest' => 'sha-256=:eA==:', 'Content-MD5' => 'eA==', 'Repr-Digest' => 'sha-256=:eQ==:');
	my $said = sub { my ($r) = @_; join ' ', map { defined $r->header($_) ? 1 : 0 } qw(Content-Digest Content-MD5 Repr-Digest) };
	$origin->set("/$_" => { size => $size, @cc, headers => \@digests }) for qw(far near);
	is $said->($p->curl('-r', '1048600-', $origin->url('/far'))), '0 0 1', 'a range that is asked for by itself';
	ok wait_until(sub { $p->curl($origin->url('/far'))->hit }, 5), '… is the beginning of the whole';
	is $said->($p->curl($origin->url('/far'))), '0 0 1', '… whose digest it has not';
	$p->curl($origin->url('/near'));
	ok wait_until(sub { $p->curl($origin->url('/near'))->hit }, 5), 'a whole is stored';
	is $said->($p->curl($origin->url('/near'))), '1 1 1', '… with its digest';
	is $said->($p->curl('-r', '5-9', $origin->url('/near'))), '0 0 1', '… which is not that of a range';
};

done_testing;
