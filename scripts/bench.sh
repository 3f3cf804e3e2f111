#!/usr/bin/env bash
# The whole daemon on loopback: flows in by UDP from `netflow2traces send`, spans out to a backend that only counts.
#
#   scripts/bench.sh                 all protocols and transports, ROUNDS rounds; writes the table of docs/performance.md
#   scripts/bench.sh quick           one short round to stdout, under a minute once it is built
#
#   RATES="100k 300k"   flow records a second, one run each     SECONDS_EACH=10   length of a run
#   ROUNDS=3            rounds, of which medians are told       WORKERS=1         receive threads
#   EXPORTERS=16        routers that send
#
# Every run ends by itself: processes are started by this script, waited for, and ended by their ids. Rounds are
# interleaved, so that what else the machine does meets all alike.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=${1-full}
case $mode in
full) : "${ROUNDS:=3}" "${SECONDS_EACH:=10}" "${RATES:=300k}" ;;
quick) : "${ROUNDS:=1}" "${SECONDS_EACH:=2}" "${RATES:=200k}" ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
: "${WORKERS:=1}" "${EXPORTERS:=16}"
for tool in jq awk cargo; do
    command -v "$tool" >/dev/null || { echo "$tool is needed" >&2; exit 2; }
done

# Flow records of a datagram are those of a full Ethernet frame or near it.
protocols=("v5|--protocol v5 --flows-per-packet 30" "v9|--protocol v9 --flows-per-packet 28"
    "IPFIX, IPv4|--protocol ipfix --flows-per-packet 24"
    "IPFIX, IPv6|--protocol ipfix --ip 6 --flows-per-packet 15")
transports=("gRPC|grpc|none" "HTTP|http/protobuf|none" "gRPC, gzip|grpc|gzip")
# Which of them meet: all, or enough to see that nothing is broken.
is_wanted() {
    [[ $mode == full || $2 == gRPC || ($1 == v5 && $2 != gRPC) ]]
}

# Built before anything is measured.
cargo build --release --locked --quiet -p netflow2traces --bin netflow2traces --example counting_sink
release=$(cargo metadata --format-version 1 --no-deps --locked | jq -r .target_directory)/release
daemon=$release/netflow2traces
sink=$release/examples/counting_sink

work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Waits up to ten seconds until a file has what a jq or grep expression finds.
await() {
    local tries=0
    until "$@" >/dev/null 2>&1; do
        ((++tries < 200)) || { echo "waited in vain: $*" >&2; exit 1; }
        read -rt 0.05 <> <(:) || true
    done
}

# start_sink [--latency]; sets sink_pid, endpoint.
start_sink() {
    # Of the run before; a file that is waited for must not have its content.
    rm -f "$work/sink" "$work/log"
    "$sink" "$@" >"$work/sink" 2>"$work/sink.err" &
    sink_pid=$!
    pids+=("$sink_pid")
    await grep -q : "$work/sink"
    endpoint=http://$(head -n 1 "$work/sink")
}

# start_daemon PROTOCOL COMPRESSION; sets daemon_pid, target.
start_daemon() {
    env -i PATH="$PATH" OTEL_EXPORTER_OTLP_ENDPOINT="$endpoint" OTEL_EXPORTER_OTLP_PROTOCOL="$1" \
        OTEL_EXPORTER_OTLP_COMPRESSION="$2" NETFLOW_ATTRIBUTES=minimal NETFLOW_WORKERS="$WORKERS" \
        NETFLOW_LISTEN_HOST=127.0.0.1 NETFLOW_LISTEN_PORT=0 NETFLOW_ADMIN_PORT=0 LOG_FORMAT=json \
        sh -c 'cd "$1" && exec "$2" run' sh "$work" "$daemon" 2>"$work/log" >/dev/null &
    daemon_pid=$!
    pids+=("$daemon_pid")
    await grep -q '"listening for flow records"' "$work/log"
    target=$(jq -Rr 'fromjson? | select(.message == "listening for flow records").address' "$work/log" | head -n 1)
}

# Clock ticks of user and system time (proc(5): fields 14 and 15; the name in field 2 has no spaces).
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# Waits until the daemon has been idle for half a second: it has delivered what it had.
until_idle() {
    local before now=0 tries=0
    while :; do
        before=$now
        now=$(cpu_ticks "$daemon_pid")
        ((now - before > 1 && tries++ < 60)) || return 0
        read -rt 0.5 <> <(:) || true
    done
}

end_daemon() {
    kill -TERM "$daemon_pid"
    wait "$daemon_pid" || true
    kill -TERM "$sink_pid"
    wait "$sink_pid" || true
    pids=()
}

is_object() { jq -e 'type == "object"' <<<"$1" >/dev/null 2>&1; }

# run NAME TRANSPORT "send flags" PROTOCOL COMPRESSION RATE: a line of JSON.
run() {
    start_sink
    start_daemon "$4" "$5"
    local ticks sent rss
    ticks=$(cpu_ticks "$daemon_pid")
    # shellcheck disable=SC2086 # the flags are words
    sent=$("$daemon" send $3 --exporters "$EXPORTERS" --rate "$6" --duration "${SECONDS_EACH}s" \
        --to "$target" --quiet --json 2>>"$work/send.err") || true
    # The last batch leaves after its delay of a second.
    read -rt 1.2 <> <(:) || true
    until_idle
    ticks=$(($(cpu_ticks "$daemon_pid") - ticks))
    rss=$(awk '/^VmHWM/ { print $2 }' "/proc/$daemon_pid/status")
    end_daemon
    local sink_totals totals part
    sink_totals=$(tail -n 1 "$work/sink")
    totals=$(jq -Rc 'fromjson? | select(.message == "stopped")' "$work/log")
    for part in sent sink_totals totals; do
        is_object "${!part}" || {
            echo "$1, $2, $6: no sums of $part: '${!part}'" >&2
            tail -n 5 "$work/sink.err" "$work/send.err" "$work/log" >&2
            return 1
        }
    done
    jq -nc --arg protocol "$1" --arg transport "$2" --arg rate "$6" --argjson sent "$sent" \
        --argjson ticks "$ticks" --argjson hz "$(getconf CLK_TCK)" --argjson rss "$rss" \
        --argjson sink "$sink_totals" --argjson totals "$totals" '
        {$protocol, $transport, $rate, sent: $sent.flow_records, seconds: $sent.seconds,
         accepted: $totals.flow_spans_accepted, kernel_drops: $totals.kernel_drops,
         cpu: (if $totals.flow_spans_accepted > 0
               then $ticks / $hz / $totals.flow_spans_accepted * 1e6 else 0 end),
         rss_mb: ($rss / 1024), sink_spans: $sink.spans,
         octets_a_flow: (if $totals.flow_spans_accepted > 0
                         then $sink.octets / $totals.flow_spans_accepted else 0 end)}'
}

# Latency at a low rate, from the receipt of a datagram to the arrival of its span; a line of JSON.
latency() {
    start_sink --latency
    start_daemon grpc none
    "$daemon" send --protocol v5 --rate 1000 --flows-per-packet 10 --duration 3s --to "$target" --quiet \
        >/dev/null 2>>"$work/send.err" || true
    read -rt 1.2 <> <(:) || true
    end_daemon
    tail -n 1 "$work/sink" | jq -c .latency_ms
}

results=$work/results
for ((round = 1; round <= ROUNDS; round++)); do
    for rate in $RATES; do
        for protocol in "${protocols[@]}"; do
            for transport in "${transports[@]}"; do
                IFS='|' read -r name flags <<<"$protocol"
                IFS='|' read -r how otlp compression <<<"$transport"
                is_wanted "$name" "$how" || continue
                echo "round $round of $ROUNDS: $name, $how, $rate/s" >&2
                run "$name" "$how" "$flags" "$otlp" "$compression" "$rate" >>"$results"
            done
        done
    done
done
late=$(latency)

table() {
    echo "| flows by | spans by | rate asked | flows/s sent | lost, worst | kernel drops, worst | CPU-s/Mflow | octets/flow | RSS, MB |"
    echo "|---|---|---|---|---|---|---|---|---|"
    jq -rs '
        def median: sort | if length % 2 == 1 then .[length / 2 | floor]
                           else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def digits($n): . * pow(10; $n) | round / pow(10; $n);
        def order: to_entries | map({key: .value, value: .key}) | from_entries;
        (map(.protocol + .transport + .rate) | reduce .[] as $k ([]; if index($k) then . else . + [$k] end)
         | order) as $order
        | group_by(.protocol + .transport + .rate)
        | sort_by($order[.[0].protocol + .[0].transport + .[0].rate])[]
        | "| \(.[0].protocol) | \(.[0].transport) | \(.[0].rate) | \(map(.sent / .seconds) | median | round) | \(
           map((.sent - .accepted) / .sent * 100) | max | digits(3)) % | \(map(.kernel_drops) | max) | \(
           map(.cpu) | median | digits(2)) | \(map(.octets_a_flow) | median | round) | \(
           map(.rss_mb) | median | digits(1)) |"' "$results"
    echo
    jq -r '"Latency at 100 datagrams a second, from the receipt of a datagram to the arrival of its span at the "
        + "backend, with batches of a second: \(.median | round) ms in the median, \(.max | round) ms at most, "
        + "of \(.count) datagrams."' <<<"$late"
}

report() {
    local cpu
    cpu=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
    echo "$(date -u +%Y-%m-%d), ${cpu:-unknown processor}, $(nproc) processors, Linux $(uname -r), $(rustc --version)."
    echo "$ROUNDS rounds of $SECONDS_EACH s each; $EXPORTERS exporters, $WORKERS worker(s), attributes \`minimal\`; sender,"
    echo "daemon and backend share the processors. Load of the machine at the end: $(cut -d' ' -f1-3 /proc/loadavg)."
    echo
    table
}

if [[ $mode == quick ]]; then
    report
    exit
fi
page=docs/performance.md
report >"$work/report"
awk -v report="$work/report" '
    /^<!-- bench.sh writes/ { print; print ""; while ((getline line < report) > 0) print line; print ""; skip = 1; next }
    /^<!-- until here/ { skip = 0 }
    !skip' "$page" >"$work/page"
cp "$work/page" "$page"
cat "$work/report"
