#!/usr/bin/env bash
# Records what softflowd exports of a little real traffic on loopback: testdata/captures/softflowd-*.
#
#   sudo scripts/record-softflowd.sh [FOLDER]
#
# Makes traffic (HTTP over IPv4 and IPv6, DNS, ping), captures it with tcpdump, lets softflowd export it as
# NetFlow v5, v9 and IPFIX to 127.0.0.1:2055, keeps those datagrams as captures, and writes what must be
# decoded as tshark reads it; nfdump then has to agree on flows, packets and octets. Needs root for tcpdump
# and ping, and softflowd, tcpdump, tshark, nfdump, curl and python3.
set -euo pipefail

folder=$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")/../testdata/captures}")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
for tool in softflowd tcpdump tshark nfcapd nfdump curl python3; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 1; }
done
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

wait_for() { # FILE TEXT
    for _ in $(seq 100); do
        grep -q "$2" "$1" 2>/dev/null && return
        sleep 0.1
    done
    echo "no '$2' in $1: $(cat "$1")" >&2
    return 1
}

echo "capturing traffic"
# -Z root: the work folder is root's alone.
tcpdump -i lo -s 128 -U --immediate-mode -Z root -w traffic.pcap \
    '(host 127.0.0.2 and host 127.0.0.3) or (ip6 and host ::1)' 2>tcpdump.log &
tcpdump_pid=$!
pids+=("$tcpdump_pid")
wait_for tcpdump.log 'listening on'
python3 "$here/softflowd_recording.py" traffic
kill -INT "$tcpdump_pid"
wait "$tcpdump_pid" || true

for version in 5 9 10; do
    name=softflowd-$([ "$version" = 10 ] && echo ipfix || echo "v$version")
    echo "recording $name"
    python3 "$here/softflowd_recording.py" record "$name.pcap" >record.log &
    recorder=$!
    pids+=("$recorder")
    wait_for record.log 'listening'
    # -a: the times of the export follow those of the capture.
    softflowd -r traffic.pcap -a -v "$version" -n 127.0.0.1:2055 >softflowd.log 2>&1
    wait "$recorder"

    python3 "$here/softflowd_recording.py" for-tshark "$name.pcap" tshark.pcap
    tshark -r tshark.pcap -d udp.port==2055,cflow -T json --no-duplicate-keys >tshark.json 2>/dev/null
    python3 "$here/softflowd_recording.py" expected "$name" tshark.json >"$name.expected.json"

    mkdir nfdump
    nfcapd -b 127.0.0.1 -p 2055 -w nfdump -t 3600 >nfcapd.log 2>&1 &
    nfcapd_pid=$!
    pids+=("$nfcapd_pid")
    wait_for /proc/net/udp ' 0100007F:0807 '
    python3 "$here/softflowd_recording.py" replay "$name.pcap"
    kill -INT "$nfcapd_pid"
    wait "$nfcapd_pid" || true
    nfdump -R nfdump -q -o json >nfdump.json
    rm -r nfdump
    python3 "$here/softflowd_recording.py" agree "$name.expected.json" nfdump.json
    cp "$name.pcap" "$name.expected.json" "$folder/"
    ls -l "$folder/$name.pcap"
done
