# passsage gc, over a real bucket and a real index: it deletes what no document needs and nobody has touched for the grace time, and nothing else;
# nothing at all when it cannot see everything.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Lab::Fleet;
use Test::More;

my $fleet = fleet();
my $K = 1024;
sub seed { 'x' x ($_[0] == 6 ? 5 : $_[0]) } # 5 and 6 have the same bytes; of the others no two chunks are the same
sub body { pattern(200 * $K, seed($_[0])) }
my $origin = origin(map { ("/$_" => { size => 200 * $K, seed => seed($_), cc => 'max-age=6000' }) } 1 .. 6);
my $realm = $fleet->realm;
my $node = $realm->node(workers => 1, chunk_size => '64K');
my %settings = $realm->settings;

sub gc { # arguments: (status, its output)
	my ($with, @args) = @_;
	my %s = (%settings, ref $with ? %$with : ());
	return run_cmd(passsage(), '--state-dir', lab_dir() . '/gc-state', (map { (my $o = "--$_") =~ tr/_/-/; ($o, $s{$_}) } sort keys %s), 'gc', @args);
}
sub id { Lab::Old::id($origin->url("/$_[0]")) }
sub age { my ($days, @keys) = @_; my $t = time - $days * 86400; utime $t, $t, $realm->folder . "/$_" or die "$_: $!" for @keys }

$node->curl($origin->url("/$_")) for 1 .. 6;
ok $node->stored($origin->url("/$_")), "$_ is stored" for 1 .. 6;
ok $node->drained, 'all of it is in S3 and Elasticsearch';
my @all = $realm->keys;
is scalar(@all), 20, 'five bodies of four chunks, one of them of two documents';
my %owner; # of a chunk's name
for my $o (1 .. 5) { $owner{sha256(substr body($o), $_ * 64 * $K, 64 * $K)} = $o for 0 .. 3 }
my %of = map { $_ => $owner{m{([^/]+)$} ? $1 : ''} } @all; # key => object
$realm->erase(id($_)) for 2, 3, 6;
$realm->put('data/notes.txt', 'somebody else\'s');
age(30, 'data/notes.txt', grep { $of{$_} != 3 } @all); # what 3 had is young

subtest 'a dry run' => sub {
	my ($s, $out) = gc();
	is $s, 0, 'ends well' or diag $out;
	my @said = sort map { /^(data\/\S+)\t/ ? $1 : () } split /\n/, $out;
	is_deeply \@said, [sort grep { $of{$_} == 2 } @all], 'names what nobody needs';
	is scalar(@{[$realm->keys]}), 21, 'and deletes nothing';
};

subtest 'what must keep it from deleting' => sub {
	my ($s, $out) = gc(0, '--delete', '--grace', '3600');
	isnt $s, 0, 'a short grace is refused';
	($s, $out) = gc({ elasticsearch_meta_index => 'there_is_none' }, '--delete');
	isnt $s, 0, 'an index that is not there' or diag $out;
	$realm->es_request('PUT', '/an_empty_one', { mappings => { dynamic => JSON::PP::false } });
	($s, $out) = gc({ elasticsearch_meta_index => 'an_empty_one' }, '--delete');
	isnt $s, 0, 'an index without a document' or diag $out;
	($s, $out) = gc({ elasticsearch_url => 'http://127.0.0.1:1' }, '--delete');
	isnt $s, 0, 'an Elasticsearch that is away';
	($s, $out) = gc({ s3_secret_key => 'wrong' }, '--delete');
	isnt $s, 0, 'a wrong secret';
	unlike $out, qr/\bwrong\b/, 'which is not told';
	my $doc = $realm->doc(id(4));
	$realm->change(id(4), { manifest_b64 => 'bm90IGEgbWFuaWZlc3Q=' });
	($s, $out) = gc(0, '--delete');
	isnt $s, 0, 'a manifest that cannot be read' or diag $out;
	$realm->change(id(4), { manifest_b64 => $doc->{manifest_b64} });
	is scalar(@{[$realm->keys]}), 21, 'none of them has deleted anything';
};

subtest 'to delete' => sub {
	my ($s, $out) = gc(0, '--delete');
	is $s, 0, 'ends well' or diag $out;
	is_deeply [sort $realm->keys], [sort 'data/notes.txt', grep { $of{$_} != 2 } @all], 'what nobody needs is gone, and nothing else';
	my $B = $realm->node(workers => 1);
	my $asked = () = $origin->requests;
	for (1, 4, 5) { my $r = $B->curl($origin->url("/$_")); same $r->body, body($_), "$_ is served by another node" }
	is scalar(() = $origin->requests), $asked, 'without the origin';
	same $B->curl($origin->url('/2'))->body, body(2), 'what went is fetched anew';
};
done_testing;
