#!/usr/bin/env bash
# The whole daemon on loopback: flows in by UDP from `netflow2traces send`, spans out to a backend that only counts.
#
#   scripts/bench.sh                 all sections; writes them to docs/performance.md; 22 minutes once all is built
#   scripts/bench.sh quick           one short round to stdout, under a minute once it is built
#   scripts/bench.sh SECTION…        these to stdout: own, gzip, latency, most, peers, load, growth
#
#   RATES="100k 300k"   flow records a second, one run each     SECONDS_EACH=6    length of a run
#   ROUNDS=2            rounds; the medians are reported         WORKERS=1         receive threads
#   EXPORTERS=16        routers that send                       MOST_SECONDS=10   length of a run of `most`
#   MOST_GRPC=1.2M MOST_HTTP=1.5M   rates of `most`: is nothing lost?
#   LOAD_RATE=600k LOAD_SECONDS=60  `load`: 1,000 exporters, templates re-sent each second
#   PROGRAMS=DIR         has netflow2traces and counting_sink, which are then not built
#   NETFLOW_PEERS_CACHE  where scripts/peers.sh keeps the programs that are compared with
#
# Every run ends by itself: processes are started by this script, waited for, and ended by their ids. Rounds are
# interleaved, so that what else the machine does meets all alike.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=(own gzip latency most peers load growth)
mode=full
sections=("${all[@]}")
case ${1-full} in
full) ;;
quick) mode=quick sections=(own latency) ;;
own | gzip | latency | most | peers | load | growth) mode=some sections=("$@") ;;
*)
    sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
if [[ $mode == quick ]]; then
    : "${ROUNDS:=1}" "${SECONDS_EACH:=2}" "${RATES:=200k}"
fi
: "${ROUNDS:=2}" "${SECONDS_EACH:=6}" "${RATES:=300k}" "${WORKERS:=1}" "${EXPORTERS:=16}"
: "${MOST_SECONDS:=10}" "${MOST_GRPC:=1.2M}" "${MOST_HTTP:=1.5M}" "${LOAD_RATE:=600k}" "${LOAD_SECONDS:=60}"
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
    [[ $mode != quick || $2 == gRPC || ($1 == v5 && $2 != gRPC) ]]
}

# Built before anything is measured.
if [[ -n ${PROGRAMS-} ]]; then
    daemon=$(realpath "$PROGRAMS/netflow2traces")
    sink=$(realpath "$PROGRAMS/counting_sink")
else
    cargo build --release --locked --quiet -p netflow2traces --bin netflow2traces --example counting_sink
    release=$(cargo metadata --format-version 1 --no-deps --locked | jq -r .target_directory)/release
    daemon=$release/netflow2traces
    sink=$release/examples/counting_sink
fi
declare -A peers=()
if [[ " ${sections[*]} " == *" peers "* ]]; then
    while read -r name path; do peers[$name]=$path; done < <(scripts/peers.sh)
fi
if [[ " ${sections[*]} " == *" growth "* ]]; then
    cargo bench --locked --quiet -p netflow2traces --bench growth --no-run
fi

work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

pause() { read -rt "$1" <> <(:) || true; }

# Waits up to ten seconds until a command succeeds.
await() {
    local tries=0
    until "$@" >/dev/null 2>&1; do
        ((++tries < 200)) || { echo "waited in vain: $*" >&2; exit 1; }
        pause 0.05
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

# start_daemon PROTOCOL COMPRESSION [VARIABLE=VALUE…]; sets subject_pid, target.
start_daemon() {
    local protocol=$1 compression=$2
    shift 2
    env -i PATH="$PATH" OTEL_EXPORTER_OTLP_ENDPOINT="$endpoint" OTEL_EXPORTER_OTLP_PROTOCOL="$protocol" \
        OTEL_EXPORTER_OTLP_COMPRESSION="$compression" NETFLOW_ATTRIBUTES=minimal NETFLOW_WORKERS="$WORKERS" \
        NETFLOW_LISTEN_HOST=127.0.0.1 NETFLOW_LISTEN_PORT=0 NETFLOW_ADMIN_PORT=0 LOG_FORMAT=json "$@" \
        sh -c 'cd "$1" && exec "$2" run' sh "$work" "$daemon" 2>"$work/log" >/dev/null &
    subject_pid=$!
    pids+=("$subject_pid")
    await grep -q '"listening for flow records"' "$work/log"
    target=$(jq -Rr 'fromjson? | select(.message == "listening for flow records").address' "$work/log" | head -n 1)
}

# A UDP port that nobody has at the moment; sets port.
free_port() {
    local hex
    while :; do
        port=$((20000 + RANDOM))
        printf -v hex ':%04X ' "$port"
        grep -q "$hex" /proc/net/udp /proc/net/udp6 2>/dev/null || return 0
    done
}

# A port is bound, by all the sockets of whoever binds it.
is_bound() { grep -q "$(printf ':%04X ' "${target##*:}")" /proc/net/udp; }

# Datagrams that the kernel dropped at the target's sockets.
kernel_drops() {
    awk -v port="$(printf ':%04X' "${target##*:}")" '$2 ~ port "$" { sum += $NF } END { print sum + 0 }' /proc/net/udp
}

# start_peer NAME; sets subject_pid, target.
start_peer() {
    if [[ $1 == baseline ]]; then
        rm -f "$work/peer"
        OTEL_EXPORTER_OTLP_ENDPOINT=$endpoint "${peers[baseline]}" >"$work/peer" 2>"$work/log" &
        subject_pid=$!
        pids+=("$subject_pid")
        await grep -q : "$work/peer"
        target=$(head -n 1 "$work/peer")
        return
    fi
    free_port
    target=127.0.0.1:$port
    case $1 in
    nfcapd)
        mkdir -p "$work/flows"
        "${peers[nfcapd]}" -b 127.0.0.1 -p "$port" -w "$work/flows" -t 3600 -B 67108864 >"$work/log" 2>&1 &
        ;;
    goflow2)
        "${peers[goflow2]}" -listen "netflow://127.0.0.1:$port" -addr 127.0.0.1:0 -transport.file /dev/null \
            >"$work/log" 2>&1 &
        ;;
    collector)
        PEER_PORT=$port PEER_ENDPOINT=${endpoint#http://} "${peers[collector]}" --config peers/collector/config.yaml \
            >"$work/log" 2>&1 &
        ;;
    esac
    subject_pid=$!
    pids+=("$subject_pid")
    await is_bound
}

# Clock ticks of user and system time (proc(5): fields 14 and 15, of which the name in field 2 has no spaces).
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# Waits until the program has been idle for half a second: it has delivered what it had.
until_idle() {
    local before now=0 tries=0
    while :; do
        before=$now
        now=$(cpu_ticks "$subject_pid")
        ((now - before > 1 && tries++ < 60)) || return 0
        pause 0.5
    done
}

end_subject() {
    kill -TERM "$subject_pid"
    # One that doesn't end is ended.
    local tries=0
    while kill -0 "$subject_pid" 2>/dev/null && ((++tries < 200)); do pause 0.05; done
    kill -KILL "$subject_pid" 2>/dev/null || true
    wait "$subject_pid" 2>/dev/null || true
    kill -TERM "$sink_pid"
    wait "$sink_pid" || true
    pids=()
}

is_object() { jq -e 'type == "object"' <<<"$1" >/dev/null 2>&1; }

# measure "send flags" RATE SECONDS: sends, waits, ends all; sets sent, ticks, rss, drops, sink_totals.
measure() {
    ticks=$(cpu_ticks "$subject_pid")
    # shellcheck disable=SC2086 # the flags are words
    sent=$("$daemon" send $1 --rate "$2" --duration "$3s" --to "$target" --quiet --json 2>>"$work/send.err") || true
    # The last batch leaves after its delay of a second.
    pause 1.2
    until_idle
    ticks=$(($(cpu_ticks "$subject_pid") - ticks))
    rss=$(awk '/^VmHWM/ { print $2 }' "/proc/$subject_pid/status")
    drops=$(kernel_drops)
    end_subject
    sink_totals=$(tail -n 1 "$work/sink")
}

# Stops where sums are missing, and shows why.
expect_objects() {
    local part
    for part in "${@:2}"; do
        is_object "${!part}" || {
            echo "$1: no sums of $part: '${!part}'" >&2
            tail -n 5 "$work/sink.err" "$work/send.err" "$work/log" >&2
            return 1
        }
    done
}

# run NAME TRANSPORT "send flags" PROTOCOL COMPRESSION RATE SECONDS [VARIABLE=VALUE…]: a line of JSON.
run() {
    start_sink
    start_daemon "$4" "$5" "${@:8}"
    measure "$3 --exporters $EXPORTERS" "$6" "$7"
    local totals
    totals=$(jq -Rc 'fromjson? | select(.message == "stopped")' "$work/log")
    expect_objects "$1, $2, $6" sent sink_totals totals
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

# What the tables' expressions share.
filters='
    def median: sort | if length % 2 == 1 then .[length / 2 | floor]
                       else (.[length / 2 - 1] + .[length / 2]) / 2 end;
    def digits($n): . * pow(10; $n) | round / pow(10; $n);
    def in_order(by): reduce .[] as $row ([]; ($row | by) as $key
        | (map(.[0] | by) | index([$key])) as $at
        | if $at then .[$at] += [$row] else . + [[$row]] end);'

own_table() {
    echo "| input | export | target rate | flows/s sent | worst loss | worst kernel drops | CPU-s/Mflow | bytes/flow | RSS, MB |"
    echo "|---|---|---|---|---|---|---|---|---|"
    jq -rs "$filters"'
        in_order([.protocol, .transport, .rate])[]
        | "| \(.[0].protocol) | \(.[0].transport) | \(.[0].rate) | \(map(.sent / .seconds) | median | round) | \(
           map((.sent - .accepted) / .sent * 100) | max | digits(3)) % | \(map(.kernel_drops) | max) | \(
           map(.cpu) | median | digits(2)) | \(map(.octets_a_flow) | median | round) | \(
           map(.rss_mb) | median | digits(1)) |"' "$1"
}

own() {
    local round rate protocol transport name flags how otlp compression
    for ((round = 1; round <= ROUNDS; round++)); do
        for rate in $RATES; do
            for protocol in "${protocols[@]}"; do
                for transport in "${transports[@]}"; do
                    IFS='|' read -r name flags <<<"$protocol"
                    IFS='|' read -r how otlp compression <<<"$transport"
                    is_wanted "$name" "$how" || continue
                    echo "own, round $round of $ROUNDS: $name, $how, $rate/s" >&2
                    run "$name" "$how" "$flags" "$otlp" "$compression" "$rate" "$SECONDS_EACH" >>"$work/own"
                done
            done
        done
    done
    echo "$ROUNDS rounds of $SECONDS_EACH s each; $EXPORTERS exporters, $WORKERS worker(s), attributes \`minimal\`:"
    echo
    own_table "$work/own"
}

# What gzip costs the daemon over gRPC: traffic like a network's and all-random traffic, each run beside its uncompressed
# one.
gzip() {
    local round rate pattern attributes protocol compression name flags
    for ((round = 1; round <= ROUNDS; round++)); do
        for rate in $RATES; do
            for pattern in mixed random; do
                for attributes in minimal standard; do
                    for protocol in "${protocols[@]}"; do
                        IFS='|' read -r name flags <<<"$protocol"
                        echo "gzip, round $round of $ROUNDS: $pattern, $name, $attributes, $rate/s" >&2
                        for compression in none gzip; do
                            run "$pattern | $name | \`$attributes\`" "$compression" "$flags --pattern $pattern" grpc \
                                "$compression" "$rate" "$SECONDS_EACH" NETFLOW_ATTRIBUTES="$attributes" >>"$work/gzip"
                        done
                    done
                done
            done
        done
    done
    echo "gRPC without compression and with gzip, $ROUNDS rounds of $SECONDS_EACH s each; $EXPORTERS exporters, $WORKERS"
    echo "worker(s); \`send --pattern mixed\` and \`random\`:"
    echo
    echo "| pattern | input | attributes | target rate | worst loss | CPU-s/Mflow | with gzip | relative | bytes/flow | with gzip | relative |"
    echo "|---|---|---|---|---|---|---|---|---|---|---|"
    jq -rs "$filters"'
        def of($name; f): map(select(.transport == $name) | f) | median;
        in_order([.protocol, .rate])[]
        | of("none"; .cpu) as $cpu | of("gzip"; .cpu) as $with
        | of("none"; .octets_a_flow) as $octets | of("gzip"; .octets_a_flow) as $small
        | "| \(.[0].protocol) | \(.[0].rate) | \(map((.sent - .accepted) / .sent * 100) | max | digits(3)) % | \(
           $cpu | digits(2)) | \($with | digits(2)) | \($with / $cpu | digits(2)) | \($octets | round) | \(
           $small | round) | \($small / $octets | digits(3)) |"' "$work/gzip"
}

# From the receipt of a datagram to the arrival of its span, at a low rate.
latency() {
    echo "latency" >&2
    start_sink --latency
    start_daemon grpc none
    "$daemon" send --protocol v5 --rate 1000 --flows-per-packet 10 --duration 3s --to "$target" --quiet \
        >/dev/null 2>>"$work/send.err" || true
    pause 1.2
    end_subject
    tail -n 1 "$work/sink" | jq -r '.latency_ms
        | "Latency at 100 datagrams per second, from the receipt of a datagram to the arrival of its span at the "
        + "backend, with batches of a second: median \(.median | round) ms, maximum \(.max | round) ms, "
        + "of \(.count) datagrams."'
}

# The rates at which nothing should be lost, three times each, and memory at a million flows a second.
most() {
    local round flags="--protocol v5 --flows-per-packet 30"
    for round in 1 2 3; do
        echo "most, round $round of 3" >&2
        run v5 gRPC "$flags" grpc none "$MOST_GRPC" "$MOST_SECONDS" >>"$work/most"
        run v5 HTTP "$flags" http/protobuf none "$MOST_HTTP" "$MOST_SECONDS" >>"$work/most"
    done
    run v5 HTTP "$flags" http/protobuf none 1M "$MOST_SECONDS" >>"$work/most"
    echo "Rates at which nothing should be lost, $MOST_SECONDS s each, three times; and 1M once, for memory:"
    echo
    own_table "$work/most"
}

# peer NAME RATE: a line of JSON. Flows are those that arrived at the backend, as spans (33 of a datagram of 30) or as
# log records; of programs that have none, those that were read.
peer() {
    start_sink
    if [[ $1 == netflow2traces ]]; then start_daemon grpc none; else start_peer "$1"; fi
    measure "--protocol v5 --flows-per-packet 30 --exporters $EXPORTERS" "$2" "$SECONDS_EACH"
    expect_objects "$1, $2" sent sink_totals
    jq -nc --arg name "$1" --arg rate "$2" --argjson sent "$sent" --argjson ticks "$ticks" \
        --argjson hz "$(getconf CLK_TCK)" --argjson rss "$rss" --argjson drops "$drops" --argjson sink "$sink_totals" '
        (if $name == "nfcapd" or $name == "goflow2" then $sent.flow_records - $drops * 30
         elif $name == "collector" then $sink.spans
         else $sink.spans * 30 / 33 end) as $flows
        | {$name, $rate, share: ($flows / $sent.flow_records * 100),
           cpu: (if $flows > 0 then $ticks / $hz / $flows * 1e6 else 0 end), rss_mb: ($rss / 1024)}'
}

peers() {
    local round entry name rate
    for ((round = 1; round <= ROUNDS; round++)); do
        # Rates that each can nearly keep up with.
        for entry in "netflow2traces 300k" "nfcapd 300k" "netflow2traces 100k" "baseline 100k" "goflow2 100k" \
            "collector 100k"; do
            read -r name rate <<<"$entry"
            [[ $name == netflow2traces || -n ${peers[$name]-} ]] || continue
            echo "peers, round $round of $ROUNDS: $name, $rate/s" >&2
            peer "$name" "$rate" >>"$work/peers"
        done
    done
    echo "The same v5 datagrams to each, $ROUNDS interleaved rounds of $SECONDS_EACH s:"
    echo
    echo "| program | target rate | worst share handled | CPU-s/Mflow handled | relative to netflow2traces at that rate | RSS, MB |"
    echo "|---|---|---|---|---|---|"
    jq -rs "$filters"'
        {netflow2traces: "netflow2traces, gRPC", baseline: "netflow_parser and OpenTelemetry'"'"'s SDK, gRPC",
         nfcapd: "nfcapd, to its own files", goflow2: "goflow2, JSON to /dev/null",
         collector: "OpenTelemetry Collector, netflowreceiver to OTLP logs"} as $names
        | (map(select(.name == "netflow2traces")) | group_by(.rate)
           | map({(.[0].rate): (map(.cpu) | median)}) | add) as $ours
        | in_order([.name, .rate])[]
        | (map(.cpu) | median) as $cpu
        | "| \($names[.[0].name]) | \(.[0].rate) | \(map(.share) | min | digits(1)) % | \($cpu | digits(2)) | \(
           $cpu / $ours[.[0].rate] | digits(1)) | \(map(.rss_mb) | median | digits(1)) |"' "$work/peers"
}

# A thousand exporters for a minute, with templates re-sent each second: nothing is lost, and all accounts balance.
load() {
    echo "load: $LOAD_SECONDS s at $LOAD_RATE/s" >&2
    start_sink
    start_daemon http/protobuf none
    measure "--protocol v9 --flows-per-packet 28 --exporters 1000 --template-interval 1s" "$LOAD_RATE" "$LOAD_SECONDS"
    local totals verdict
    totals=$(jq -Rc 'fromjson? | select(.message == "stopped")' "$work/log")
    expect_objects load sent sink_totals totals
    verdict=$(jq -nr --argjson sent "$sent" --argjson totals "$totals" --argjson sink "$sink_totals" '
        [if $totals.datagrams != $sent.datagrams then "datagrams \($totals.datagrams) of \($sent.datagrams)" else empty end,
         if $totals.datagrams_decoded != $totals.datagrams then "decoded \($totals.datagrams_decoded)" else empty end,
         if $totals.flow_spans != $sent.flow_records then "spans \($totals.flow_spans) of \($sent.flow_records)" else empty end,
         if $totals.flow_spans_accepted != $totals.flow_spans then "accepted \($totals.flow_spans_accepted)" else empty end,
         if $sink.spans != $totals.flow_spans + $totals.work_spans then "at the backend \($sink.spans)" else empty end,
         if $totals.kernel_drops + $totals.sets_waiting + $totals.sets_expired > 0
         then "dropped or waiting: \($totals | {kernel_drops, sets_waiting, sets_expired} | tostring)" else empty end]
        | join("; ")')
    if grep -q "the accounts don't balance" "$work/log"; then verdict="$verdict; the accounts don't balance"; fi
    jq -nr --argjson sent "$sent" --argjson ticks "$ticks" --argjson hz "$(getconf CLK_TCK)" --argjson rss "$rss" \
        --arg verdict "$verdict" '
        "1,000 exporters of v9, templates re-sent each second: \($sent.flow_records) flow records in \(
        $sent.datagrams) datagrams at \($sent.flow_records / $sent.seconds | round)/s for \($sent.seconds | round) s, "
        + "\($ticks / $hz / $sent.flow_records * 1e8 | round / 100) CPU-s/Mflow, \($rss / 1024 | round) MB: "
        + if $verdict == "" then "each arrived as one span, and all accounts balance."
          else "NOT all is well: \($verdict)." end'
    [[ -z $verdict ]] || failed=1
}

growth() {
    echo "growth" >&2
    cargo bench --locked --quiet -p netflow2traces --bench growth 2>/dev/null | grep '^|'
}

machine() {
    local cpu
    cpu=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
    echo "$(date -u +%Y-%m-%d), ${cpu:-unknown processor}, $(nproc) processors, Linux $(uname -r), $(rustc --version)."
    echo "Sender, daemon and backend share the processors. Load of the machine before and at the end:"
    echo "$load_before; $(cut -d' ' -f1-3 /proc/loadavg)."
}

load_before=$(cut -d' ' -f1-3 /proc/loadavg)
failed=0
for section in "${sections[@]}"; do
    { "$section"; echo; } >"$work/report.$section"
done
{
    machine
    echo
    for section in "${sections[@]}"; do cat "$work/report.$section"; done
} >"$work/report"
if [[ $mode == full ]]; then
    page=docs/performance.md
    awk -v report="$work/report" '
        /^<!-- bench.sh writes/ { print; print ""; while ((getline line < report) > 0) print line; skip = 1; next }
        /^<!-- until here/ { skip = 0 }
        !skip' "$page" >"$work/page"
    cp "$work/page" "$page"
fi
cat "$work/report"
exit "$failed"
