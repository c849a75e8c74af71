# The raw runs of t/bench/run as a Markdown table: each scenario's medians, and whether our target is met.
def med: sort | if length == 0 then null elif length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def r(d): if . == null then "-" else (. * pow(10; d) | round) / pow(10; d) | tostring end;
def pad(n): tostring | . + (" " * ([0, n - length] | max));
def us: if . == null then "-" elif . >= 1e6 then "\(. / 1e6 | r(2)) s" elif . >= 1e3 then "\(. / 1e3 | r(2)) ms" else "\(r(0)) us" end;
def per_gb: . == "b" or . == "c" or . == "h";
def title: {a: "a  hit 1 KiB https", b: "b  hit 64 KiB https", c: "c  hit 100 MiB https", d1: "d1 new CONNECT+TLS", d2: "d2 the same, resuming", e: "e  hit 1 KiB http",
            f: "f  miss 1 KiB https", g: "g  no-store 1 KiB https", h: "h  herd on 10 MiB", i: "i  hit 1 KiB + idle tunnels"}[.];

# What one peer did in the runs of one scenario.
def figures($s): {
  speed: (map(if $s | per_gb then .mb_per_s else .rps end) | med),
  cpu: (map(select(.server) | if $s | per_gb then (if .body_bytes > 0 then .server.cpu_s * 1e9 / .body_bytes else empty end) else .server.cpu_us_per_request // empty end) | med),
  seconds: (map(.seconds) | med),
  p50: (map(.latency | select(.n > 0) | .p50_us) | med), p99: (map(.latency | select(.n > 0) | .p99_us) | med),
  pss: (map(.server.pss_kb // 0) | max / 1000),
  tunnel_kb: (map(select(.idle.asked > 0) | (.server.pss_kb - .pss_before_kb) / .idle.asked) | max),
  full: (map(.handshakes - .resumed - .conns) | max), # beyond each client's first
  origin: (map(.origin_requests // empty) | max),
  errors: (map(.errors + ([.status | to_entries[] | select(.key != "200") | .value] | add // 0)) | add)
};

def at_most($what; $ours; $limit; $d): if $ours == null or $limit == null then {said: "\($what): -"} else {said: "\($what) \($ours | r($d)) <= \($limit | r($d))", ok: ($ours <= $limit)} end;
def times($k; $x): if $x == null then null else $k * $x end;
# The targets, on the medians of this very run: [{said, ok}].
def targets($s; $o; $n; $q; $a):
  if $s == "a" or $s == "b" or $s == "c" then [at_most("CPU"; $o.cpu; $n.cpu; 2)]
  elif $s == "d1" or $s == "e" then [at_most("CPU"; $o.cpu; times(1.1; $n.cpu); 1)]
  elif $s == "d2" then [at_most("CPU"; $o.cpu; times(1.1; $n.cpu); 1), {said: "\($o.full | [., 0] | max) not resumed", ok: ($o.full <= 0)}]
  elif $s == "f" then [at_most("CPU"; $o.cpu; [$n.cpu, $q.cpu | values] | min; 1)]
  elif $s == "g" then [at_most("CPU"; $o.cpu; times(1.3; $n.cpu); 1)]
  elif $s == "h" then [at_most("seconds"; $o.seconds; $n.seconds; 2), {said: "\($o.origin) origin request", ok: ($o.origin == 1)}]
  else [at_most("p50"; $o.p50; $n.p50; 0), at_most("p99"; $o.p99; $n.p99; 0), at_most("CPU"; $o.cpu; times(1.05; $a.cpu); 1), at_most("KiB/tunnel"; $o.tunnel_kb; 40; 0)] end;
def verdict: map(if has("ok") then (if .ok then "met: " else "MISSED: " end) + .said else .said end) | join(", ");

group_by(.label) | map({s: .[0].label, by: (group_by(.name) | map(.[0].name as $name | .[0].label as $s | {key: $name, value: figures($s)}) | from_entries), others: (map(.other_cpu_pct) | med)})
| (map(select(.s == "a"))[0].by.passsage) as $a
| [["scenario", "CPU: ours", "nginx", "squid", "mitm", "speed: ours", "nginx", "squid", "p50: ours", "nginx", "p99: ours", "nginx", "PSS MB", "errors", "others", "target"]] +
  map(.s as $s | (.by.passsage // {}) as $o | (.by.nginx // {}) as $n | (.by.squid // {}) as $q | (.by.mitm // {}) as $m | (if $s | per_gb then 2 else 1 end) as $d
    | [($s | title), "\($o.cpu | r($d)) \(if $s | per_gb then "s/GB" else "us" end)", ($n.cpu | r($d)), ($q.cpu | r($d)), ($m.cpu | r($d)),
       "\($o.speed | r(0)) \(if $s | per_gb then "MB/s" else "/s" end)", ($n.speed | r(0)), ($q.speed | r(0)), ($o.p50 | us), ($n.p50 | us), ($o.p99 | us), ($n.p99 | us),
       "\($o.pss | r(0)) / \($n.pss | r(0)) / \($q.pss | r(0))", "\($o.errors // "-") / \($n.errors // "-") / \($q.errors // "-")", "\(.others | r(0)) %",
       (targets($s; $o; $n; $q; $a) | verdict)])
| .[] | "| " + ([range(length) as $k | .[$k] | pad([27, 9, 6, 6, 6, 11, 6, 6, 9, 9, 9, 9, 14, 9, 6, 18][$k])] | join(" | ")) + " |"
