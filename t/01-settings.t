# Settings: wrong ones are complained about exactly and before anything is bound; where each value comes from is told; secrets are not.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use Test::More;

my $dir = lab_dir();
sub run { my ($env, @args) = @_; return run_cmd({ env => $env, timeout => 10 }, passsage(), @args) }
sub dump_of { my ($env, @args) = @_; my ($s, $out) = run($env, '--dump-settings', @args); is $s, 0, "dump @args" or diag $out; return $out }

subtest 'a wrong setting ends the start with status 64 and says name, value and what is allowed' => sub {
	spew("$dir/bad.conf", "listen: {\n  port = 99999;\n};\n");
	spew("$dir/unknown.conf", "listen: {\n  prot = 80;\n};\n");
	spew("$dir/type.conf", "processes: {\n\n  workers = \"many\";\n};\n");
	spew("$dir/syntax.conf", "listen: {\n  port = ;\n};\n");
	for (
		[ {}, ['--port', '99999'], qr/--port 99999: .*0 to 65535/ ],
		[ {}, ['--port', 'http'], qr/--port http:/ ],
		[ {}, ['--no-such-thing'], qr/--no-such-thing/ ],
		[ {}, ['--workers'], qr/--workers/ ],
		[ {}, ['--chunk-size', '1'], qr/--chunk-size 1: .*64K/ ],
		[ {}, ['--default-policy', 'Sometimes'], qr/Sometimes.*(?:Standard|NoCache)/s ],
		[ {}, ['--drain-seconds', 'soon'], qr/--drain-seconds soon/ ],
		[ { PASSSAGE_PORT => '99999' }, [], qr/PASSSAGE_PORT=99999: .*0 to 65535/ ],
		[ { PASSSAGE_VERBOSE => 'perhaps' }, [], qr/PASSSAGE_VERBOSE=perhaps/ ],
		[ {}, ['--config', "$dir/bad.conf"], qr/bad\.conf:2: .*99999.*0 to 65535/ ],
		[ {}, ['--config', "$dir/unknown.conf"], qr/unknown\.conf:2: .*prot/ ],
		[ {}, ['--config', "$dir/type.conf"], qr/type\.conf:3: .*many/ ],
		[ {}, ['--config', "$dir/syntax.conf"], qr/syntax\.conf:2/ ],
		[ {}, ['--config', "$dir/none.conf"], qr/none\.conf/ ],
		[ {}, ['--cache-low-watermark', '96', '--cache-high-watermark', '95'], qr/watermark/ ],
		[ {}, ['no-such-command'], qr/no-such-command/ ],
		[ {}, ['--elasticsearch-url', 'http://es.test:9200'], qr/--elasticsearch-url .*: needs s3\.bucket.*one machine only/ ],
		[ {}, ['--s3-bucket', 'b', '--elasticsearch-url', 'es.test:9200'], qr/--elasticsearch-url .*: must be URLs/ ],
		[ {}, ['--s3-bucket', 'b', '--elasticsearch-url', 'http://u:p@es.test:9200/,ftp://es.test'], qr/--elasticsearch-url .*: must be URLs/ ],
		[ {}, ['--s3-endpoint', 's3.test:9000'], qr/--s3-endpoint s3\.test:9000: must be a URL/ ],
		[ {}, ['--s3-endpoint', 'http://s3.test:90000'], qr/--s3-endpoint .*: must be a URL/ ],
		[ {}, ['--s3-endpoint', 'http://user:password@s3.test:9000'], qr/--s3-endpoint http:\/\/\*\*\*\@s3\.test:9000: must be a URL/ ],
		[ {}, ['--s3-endpoint', 'user:password@s3.test:9000'], qr/--s3-endpoint \*\*\*\@s3\.test:9000: must be a URL/ ],
		[ {}, ['--s3-bucket', 'b', '--object-store-url', 'https://user:pass@word/@s3.test/b'], qr/--object-store-url https:\/\/\*\*\*\@s3\.test\/b: must be a URL/ ],
		[ {}, ['--s3-bucket', 'b', '--elasticsearch-url', 'user:password@es.test'], qr/--elasticsearch-url .*: must be URLs/ ],
		[ {}, ['--s3-bucket', 'a bucket'], qr/--s3-bucket a bucket: must be a bucket/ ],
		[ {}, ['--s3-bucket', 'b', '--s3-access-key', 'k'], qr/--s3-access-key k: needs s3\.secret_key/ ],
		[ {}, ['--object-store-url', 'http://s3.test/b'], qr/--object-store-url .*needs s3\.bucket/ ],
		[ {}, ['--data-prefix', '/data'], qr/--data-prefix \/data: / ],
		[ {}, ['--chunk-ids', 'md5'], qr/--chunk-ids md5: .*sha256/ ],
	) {
		my ($env, $args, $re) = @$_;
		my ($s, $out) = run($env, @$args, '--state-dir', "$dir/never");
		is $s, 64 << 8, 'status 64: ' . join ' ', %$env, @$args;
		like $out, $re, '… and the reason';
		unlike $out, qr/[^\n]\z/, '… in whole lines';
		unlike $out, qr/pass.?word/, '… without a password' if grep { /pass.?word/ } @$args;
	}
	ok !-e "$dir/never", 'nothing was made on the disk';
};

subtest 'all that is wrong is said at once' => sub {
	my ($s, $out) = run({ PASSSAGE_PORT => 'x' }, '--workers', 'y', '--chunk-size', 'z');
	like $out, qr/PASSSAGE_PORT=x.*/, 'the first';
	like $out, qr/--workers y/, 'the second';
	like $out, qr/--chunk-size z/, 'the third';
};

subtest 'a wrong setting is seen before the port is bound' => sub {
	my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
	my ($s, $out) = run({}, '--port', $taken->sockport, '--bind', '127.0.0.1', '--health-port', -1, '--workers', 'x', '--state-dir', "$dir/bound");
	is $s, 64 << 8, 'the setting, not the port, is the reason';
	($s, $out) = run({}, '--port', $taken->sockport, '--bind', '127.0.0.1', '--health-port', -1, '--state-dir', "$dir/bound");
	isnt $s, 0, 'a taken port ends the start';
	like $out, qr/\b@{[$taken->sockport]}\b.*in use/s, '… and is named';
};

subtest 'defaults < file < environment < command line, and the dump says which' => sub {
	spew("$dir/order.conf", "listen: { port = 1001; };\nprocesses: { workers = 2; threads = 11; };\n");
	my $out = dump_of({ PASSSAGE_WORKERS => 3, PASSSAGE_CONFIG => '' }, '--config', "$dir/order.conf", '-p', 1003);
	like $out, qr/^listen\.port = 1003 .*option -p/m, 'the command line wins';
	like $out, qr/^processes\.workers = 3 .*environment PASSSAGE_WORKERS/m, 'then the environment';
	like $out, qr/^processes\.threads = 11 .*order\.conf:2/m, 'then the file, with its line';
	like $out, qr/^limits\.fields = 128 .*default/m, 'then the default';
	$out = dump_of({ PASSSAGE_PORT => 1002 }, '--config', "$dir/order.conf");
	like $out, qr/^listen\.port = 1002 .*environment PASSSAGE_PORT/m, 'environment over file';
	is dump_of({}, '--chunk-size', '1.5M') =~ /^cache\.chunk_size = "?(\S+?)"? /m && $1, '1536K', 'sizes are texts, sums are right';
};

subtest 'S3: bucket and region as the old system had them' => sub {
	my $out = dump_of({ AWS_REGION => '', AWS_DEFAULT_REGION => '' }, '--s3-endpoint', 'http://s3.test:9000');
	like $out, qr/^s3\.bucket = "proxy-cache"/m, 'an endpoint alone: the bucket proxy-cache';
	like $out, qr/^s3\.region = "us-west-2"/m, 'no region: us-west-2';
	like dump_of({ AWS_REGION => 'eu-north-1', AWS_DEFAULT_REGION => '' }), qr/^s3\.region = "eu-north-1"/m, 'AWS_REGION';
	like dump_of({ AWS_REGION => 'eu-north-1', AWS_DEFAULT_REGION => 'eu-west-1' }), qr/^s3\.region = "eu-west-1"/m, 'before it AWS_DEFAULT_REGION';
	like dump_of({}), qr/^s3\.bucket = ""/m, 'none of them: no S3';
};

subtest 'secrets stay secret' => sub {
	my $pem = "-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----\n";
	my $out = dump_of({ PASSSAGE_DEBUG_TOKEN => 'hunter2hunter2', PASSSAGE_MITM_CA => $pem, S3_BUCKET => 'b', PASSSAGE_S3_ACCESS_KEY => 'k', PASSSAGE_S3_SECRET_KEY => 'hunter2',
	                    PASSSAGE_ELASTICSEARCH_URL => 'http://me:hunter2@es.test:9200', PASSSAGE_ELASTICSEARCH_API_KEY => 'hunter2hunter2' });
	unlike $out, qr/hunter2|SECRETSECRET/, 'the dump shows none';
	like $out, qr/debug_token = .*\*\*\*.*environment PASSSAGE_DEBUG_TOKEN/, '… but that there is one, and from where';
	my ($s, $complaint) = run({ PASSSAGE_MITM_CA => $pem }, '--state-dir', "$dir/secret", '--port', 0, '--health-port', -1);
	isnt $s, 0, 'a CA that is none ends the start';
	unlike $complaint, qr/SECRETSECRET/, '… without showing it';
};

subtest '--help and --version speak of all' => sub {
	my ($s, $help) = run({}, '--help');
	is $s, 0, 'status';
	my $table = slurp(root_dir() . '/common/tbl/settings.h');
	my @rows = $table =~ /^SETTING\(\w+,\s*\w+,\s*"[^"]*",\s*"(?:\w\/)?([\w-]+)",\s*"(\w+)"/mg;
	ok @rows > 80, 'the table was understood';
	while (my ($option, $env) = splice @rows, 0, 2) {
		ok $help =~ /--(?:\[no-\])?\Q$option\E\b/, "--$option";
		ok $help =~ /\b$env\b/, $env;
	}
	($s, my $version) = run({}, '--version');
	like $version, qr/^passsage \d+\.\d+\.\d+\n\z/, 'version';
};
done_testing;
