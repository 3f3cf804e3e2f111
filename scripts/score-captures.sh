#!/usr/bin/env bash
# Replays every flow capture over real UDP at a daemon of its own and compares what a backend got.
#
#   scripts/score-captures.sh [CASE-GLOB]...
#
# The folder NETFLOW_CAPTURES (default ../shared/captures) holds the captures, replay.py and score.py. The
# exit status is that of score.py: 0 when all cases are as expected. Variables of the daemon, such as
# NETFLOW_ATTRIBUTES, are passed on; results stay in target/captures. CARGO_PROFILE chooses the build
# (default release; dev is built sooner).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

captures="${NETFLOW_CAPTURES:-../shared/captures}"
[ -f "$captures/score.py" ] || { echo "no score.py in $captures: set NETFLOW_CAPTURES" >&2; exit 2; }
target="${CARGO_TARGET_DIR:-target}"
results="$target/captures"

profile="${CARGO_PROFILE:-release}"
cargo build --profile "$profile" --locked -p netflow2traces --bin netflow2traces --example otlp_sink
built="$target/${profile/#dev/debug}"
daemon="$built/netflow2traces"
sink="$built/examples/otlp_sink"

rm -rf "$results"
mkdir -p "$results"
daemon_pid="" sink_pid=""
stop() {
    [ -z "$daemon_pid" ] || kill "$daemon_pid" 2>/dev/null || true
    [ -z "$sink_pid" ] || kill "$sink_pid" 2>/dev/null || true
}
trap stop EXIT

# Until the kernel's table of UDP sockets has the port.
wait_for_port() {
    local port_hex deadline=$((SECONDS + 10))
    port_hex=$(printf '%04X' "$1")
    until grep -qi ":$port_hex 00000000:0000" /proc/net/udp; do
        kill -0 "$daemon_pid" 2>/dev/null || { echo "the daemon ended: see $2" >&2; return 1; }
        [ "$SECONDS" -lt "$deadline" ] || { echo "the daemon doesn't listen: see $2" >&2; return 1; }
        sleep 0.02
    done
}

free_udp_port() {
    python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

replay_case() {
    local case=$1 address port log="$results/$1.log"
    coproc sink_process { exec "$sink" "$results/$case.otlp.jsonl"; }
    sink_pid=$sink_process_PID
    read -rt 10 address <&"${sink_process[0]}" || { echo "the sink doesn't start" >&2; return 1; }
    port=$(free_udp_port)
    env -u NETFLOW_CAPTURES NETFLOW_LISTEN_HOST=127.0.0.1 NETFLOW_LISTEN_PORT="$port" \
        OTEL_EXPORTER_OTLP_ENDPOINT="http://$address" OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf \
        OTEL_BSP_SCHEDULE_DELAY=100 LOG_LEVEL=WARNING \
        "$daemon" >"$log" 2>&1 &
    daemon_pid=$!
    wait_for_port "$port" "$log"
    python3 "$captures/replay.py" "$captures/$case.pcap" 127.0.0.1 "$port" >>"$log"
    # The daemon reads what its sockets hold, flushes and delivers before it ends.
    kill -TERM "$daemon_pid"
    wait "$daemon_pid" || echo "$case: the daemon ended with status $?: see $log" >&2
    daemon_pid=""
    kill "$sink_pid"
    wait "$sink_pid" 2>/dev/null || true
    sink_pid=""
}

chosen=()
for file in "$captures"/*.pcap; do
    case=$(basename "$file" .pcap)
    for glob in "${@:-*}"; do
        # shellcheck disable=SC2053 # a pattern is meant
        if [[ $case == $glob ]]; then
            chosen+=("$case")
            break
        fi
    done
done
[ "${#chosen[@]}" -gt 0 ] || { echo "no such case" >&2; exit 2; }

arguments=()
for case in "${chosen[@]}"; do
    replay_case "$case"
    arguments+=(--case "$case")
done
exec python3 "$captures/score.py" "$captures" "$results" "${arguments[@]}"
