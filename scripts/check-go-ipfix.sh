#!/usr/bin/env bash
# IPFIX of a foreign sender: the library by which Antrea exports its flows, vmware/go-ipfix, sends records over TCP and over
# TLS with a client certificate to the daemon; every record must become a span, with its values.
#
#   PROGRAM=target/release/netflow2traces   the daemon
#   RECORDS=1000                            records over each transport
# Needs Go and openssl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=$(realpath "${PROGRAM:-target/release/netflow2traces}")
records=${RECORDS:-1000}
[[ -x /usr/local/go/bin/go ]] && PATH=$PATH:/usr/local/go/bin

work=$(mktemp -d)
daemon=
trap '[[ -n $daemon ]] && kill "$daemon" 2>/dev/null; rm -rf "$work"' EXIT

(cd peers/go-ipfix && go build -o "$work/sender" .)

cd "$work"
authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "$@" 2>/dev/null; }
authority -keyout ca.key -out ca.pem -subj /CN=authority
for name in server client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj /CN=$name 2>/dev/null
    printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >$name.ext
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile $name.ext -out $name.pem 2>/dev/null
done

env -i NETFLOW_LISTEN_HOST=127.0.0.1 NETFLOW_LISTEN_PORT=0 NETFLOW_LISTEN_TCP_PORT=0 NETFLOW_LISTEN_TLS_PORT=0 \
    NETFLOW_LISTEN_TLS_CERTIFICATE=server.pem NETFLOW_LISTEN_TLS_KEY=server.key NETFLOW_LISTEN_TLS_CLIENT_CA=ca.pem \
    NETFLOW_ADMIN_PORT=0 OTEL_TRACES_EXPORTER=console LOG_FORMAT=json "$program" >spans.json 2>log.json &
daemon=$!
port() {
    python3 - "$1" <<'PY'
import json, sys, time
for _ in range(100):
    for line in open("log.json"):
        if line.startswith("{"):
            said = json.loads(line)
            if said.get("transport") == sys.argv[1] and said["message"].startswith("listening"):
                print(said["address"])
                sys.exit()
    time.sleep(0.1)
sys.exit(f"nothing listens for {sys.argv[1]}: {open('log.json').read()}")
PY
}
./sender -to "$(port tcp)" -records "$records"
./sender -to "$(port tls)" -records "$records" -ca ca.pem -cert client.pem -key client.key
if ./sender -to "$(port tls)" -records 1 -ca ca.pem >refused.log 2>&1; then
    sleep 0.2 # With TLS 1.3 the sender learns later that it was refused.
fi
kill -TERM $daemon
code=0
wait $daemon || code=$?
daemon=
python3 - "$records" "$code" <<'PY'
import json, sys
from collections import Counter
records, code = int(sys.argv[1]), int(sys.argv[2])
log = [json.loads(line) for line in open("log.json") if line.startswith("{")]
totals = next(said for said in log if said["message"] == "stopped")
assert code == 0, log
assert totals["flow_spans"] == 2 * records and totals["sets_bad"] == 0 and totals["sets_expired"] == 0, totals
text = open("spans.json").read()
ports = Counter()
decoder, at = json.JSONDecoder(), 0
while at < len(text):
    while at < len(text) and text[at].isspace():
        at += 1
    if at == len(text):
        break
    value, at = decoder.raw_decode(text, at)
    spans = [value] if "name" in value else [
        span for r in value.get("resourceSpans", []) for s in r["scopeSpans"] for span in s["spans"]
    ]
    for span in spans:
        if span["name"] != "netflow.flow":
            continue
        has = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
        assert has["source.address"] == "10.0.0.1" and has["destination.address"] == "10.0.0.2", has
        assert int(has["destination.port"]) == 443 and int(has["netflow.flow.bytes"]) == 1500, has
        ports[int(has["source.port"])] += 1
assert ports == Counter({1024 + number: 2 for number in range(records)}), ports.most_common(3)
said = [line for line in log if line.get("reason") == "handshake"]
assert said and "sent no certificate" in said[0]["message"], said
print(f"go-ipfix: {records} records over TCP and {records} over TLS, every one a span; without a certificate: {said[0]['message']}")
PY
