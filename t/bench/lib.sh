# shellcheck shell=bash
# Sourced by the scripts beside it: shared/bench made ready in build/bench, and peers started, stopped and reached, each on ports of its own.
bench_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$bench_here/../.." && pwd)
shared=${PASSSAGE_SHARED:-$repo/../shared}
export BENCH=$repo/build/bench PASSSAGE=${PASSSAGE:-$repo/passsage} BENCH_STATE=${BENCH_STATE:-/tmp/passsage-bench}
# not those of shared/bench: another bench on this machine must not be measured by accident
export ORIGIN_HTTP_PORT=28080 ORIGIN_HTTPS_PORT=28443 SQUID_PORT=28128 MITM_PORT=28228 PASSSAGE_PORT=28318 NGINX_HTTP_PORT=28280 NGINX_HTTPS_PORT=28243
export COUNTS=127.0.0.1:$ORIGIN_HTTP_PORT
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY

bench_prepare() {
  local port
  command -v jq > /dev/null || { echo 'make bench needs jq: apt-get install jq' >&2; exit 1; }
  [[ -d $shared/bench ]] || { echo "make bench needs $shared/bench (set PASSSAGE_SHARED)" >&2; exit 1; }
  mkdir -p "$BENCH"
  cp -Rup "$shared/bench/." "$BENCH"
  chmod -R u+w "$BENCH"
  make -s -C "$BENCH"
  "$BENCH/make-certs.sh" "$BENCH/certs"
  bench_stop passsage nginx squid mitm # what a run that was killed left behind
  for port in $ORIGIN_HTTP_PORT $ORIGIN_HTTPS_PORT $SQUID_PORT $MITM_PORT $PASSSAGE_PORT $NGINX_HTTP_PORT; do
    if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then echo "port $port is taken: is another make bench running?" >&2; exit 1; fi
  done
}

peer_there() { # PEER: is it installed?
  case $1 in
    passsage) [[ -x $PASSSAGE ]] ;;
    nginx) command -v nginx > /dev/null ;;
    squid) command -v squid > /dev/null && [[ -x /usr/lib/squid/security_file_certgen ]] ;;
    mitm) [[ -x ${MITMDUMP:-/tmp/venv-passsage/bin/mitmdump} ]] || command -v mitmdump > /dev/null ;;
  esac
}

peer_package() {
  case $1 in
    nginx) echo 'apt-get install nginx-light' ;;
    squid) echo 'apt-get install squid-openssl' ;;
    mitm) echo 'python3 -m venv /tmp/venv-passsage && /tmp/venv-passsage/bin/pip install mitmproxy' ;;
  esac
}

peer() { # PEER start|stop|pids: with WORKERS workers (1)
  case $1 in
    passsage) "$bench_here/peers/passsage.sh" "$2" "${WORKERS:-1}" ;;
    nginx) "$BENCH/peers/nginx.sh" "$2" cache "${WORKERS:-1}" ;;
    squid) "$BENCH/peers/squid.sh" "$2" "${WORKERS:-1}" ;;
    mitm) "$BENCH/peers/mitm.sh" "$2" ;;
  esac
}

# PEER CMD...: runs it with PROXY, ORIGIN and ORIGIN_HTTP for the peer. nginx is no forward proxy: it is asked as if it were the origin.
with_address() {
  local p=$1
  local -x PROXY='' ORIGIN=localhost:$ORIGIN_HTTPS_PORT ORIGIN_HTTP=localhost:$ORIGIN_HTTP_PORT
  shift
  case $p in
    passsage) PROXY=127.0.0.1:$PASSSAGE_PORT ;;
    squid) PROXY=127.0.0.1:$SQUID_PORT ;;
    mitm) PROXY=127.0.0.1:$MITM_PORT ;;
    nginx) ORIGIN=localhost:$NGINX_HTTPS_PORT ORIGIN_HTTP=localhost:$NGINX_HTTP_PORT ;;
  esac
  "$@"
}

bench_start() { # PEER...: the origin on CPU 1, each peer on SERVER_CPU (0)
  local p
  ORIGIN_CPU=${ORIGIN_CPU-1} "$BENCH/peers/origin.sh" start
  for p in "$@"; do
    SERVER_CPU=${SERVER_CPU-0} peer "$p" start || { echo "$p does not start" >&2; exit 1; }
  done
}

bench_stop() { # PEER...
  local p
  for p in "$@"; do peer "$p" stop 2> /dev/null || true; done
  "$BENCH/peers/origin.sh" stop || true
}

memory_kb() { # PEER Rss|Pss|Private_Dirty...: of all its processes together
  local pid
  for pid in $(peer "$1" pids | tr , ' '); do cat "/proc/$pid/smaps_rollup" 2> /dev/null || true; done |
    awk -v want="$2:" '$1 == want { n += $2 } END { print n + 0 }'
}

pss_kb() { memory_kb "$1" Pss; }
