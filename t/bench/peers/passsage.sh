#!/bin/bash
# passsage.sh start|stop|pids [WORKERS] - our proxy for shared/bench, like its peers/squid.sh: on PASSSAGE_PORT (18318 with 1 worker, 18319 with 2).
# Clients trust certs/proxy-ca.pem. BENCH: the bench's folder (build/bench). PASSSAGE: the program. PASSSAGE_ARGS: more options.
# KEEP=1: with what an earlier start has stored.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../../.." && pwd)
. "${BENCH:-$repo/build/bench}/peers/lib.sh"
workers=${2:-1}
port=${PASSSAGE_PORT:-$((18317 + workers))}
dir=$state/passsage-$workers-$port
case ${1:-} in
  start)
    port_free "$port"
    [[ -n ${KEEP:-} ]] || rm -rf "$dir"
    mkdir -p "$dir/state"
    chmod 755 "$state" "$dir" # started as root it becomes nobody, who must get here
    cp "$certs/ca.pem" "$certs/proxy-ca-bundle.pem" "$dir"
    # shellcheck disable=SC2086
    launch "$dir/log" "$dir/pid" "${PASSSAGE:-$repo/passsage}" --state-dir "$dir/state" --port "$port" --bind 127.0.0.1 --health-port -1 \
      --workers "$workers" --mitm-ca "$dir/proxy-ca-bundle.pem" --upstream-ca "$dir/ca.pem" --drain-seconds 1 ${PASSSAGE_ARGS:-}
    wait_port "$port" || { tail -n 20 "$dir/log" >&2; exit 1; }
    ;;
  stop) stop_pid "$dir/pid" ;;
  pids) pids_of "$dir/pid" ;;
  log) cat "$dir/log" ;;
  *) echo "usage: $0 start|stop|pids|log [WORKERS]" >&2; exit 2 ;;
esac
