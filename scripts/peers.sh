#!/usr/bin/env bash
# Builds the programs that scripts/bench.sh compares with, outside of the repository, and prints `NAME PATH` of each
# that there is. What can't be had is said on stderr and left out.
#
#   NETFLOW_PEERS_CACHE   where they are kept ($HOME/.cache/netflow2traces)
#   BUILD_SECONDS=900     the longest that one build may take
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${NETFLOW_PEERS_CACHE:-$HOME/.cache/netflow2traces}
: "${BUILD_SECONDS:=900}"
goflow2=v2.2.6
builder=v0.151.0
mkdir -p "$cache"
[[ -x /usr/local/go/bin/go ]] && PATH=$PATH:/usr/local/go/bin

skip() { echo "$1 is left out: $2" >&2; }

# Decoder and OpenTelemetry's SDK for Rust; builds when something changed.
if CARGO_TARGET_DIR=$cache/baseline-target timeout "$BUILD_SECONDS" cargo build --release --locked --quiet \
    --manifest-path peers/baseline/Cargo.toml 2>"$cache/baseline.log"; then
    echo "baseline $cache/baseline-target/release/baseline"
else
    skip baseline "its build failed, see $cache/baseline.log"
fi

if command -v nfcapd >/dev/null; then
    echo "nfcapd $(command -v nfcapd)"
else
    skip nfcapd "it is in Debian's package nfdump"
fi

if [[ -x $cache/goflow2-$goflow2 ]]; then
    echo "goflow2 $cache/goflow2-$goflow2"
elif ! command -v go >/dev/null; then
    skip goflow2 "it is built with Go"
elif GOBIN=$cache timeout "$BUILD_SECONDS" go install "github.com/netsampler/goflow2/v2/cmd/goflow2@$goflow2" \
    2>"$cache/goflow2.log"; then
    mv "$cache/goflow2" "$cache/goflow2-$goflow2"
    echo "goflow2 $cache/goflow2-$goflow2"
else
    skip goflow2 "its build failed, see $cache/goflow2.log"
fi

collector=$cache/otelcol-netflow-$builder
if [[ -x $collector ]]; then
    echo "collector $collector"
elif ! command -v go >/dev/null; then
    skip "OpenTelemetry Collector" "it is built with Go"
else
    mkdir -p "$cache/collector"
    sed "/^dist:/a\\  output_path: $cache/collector" peers/collector/manifest.yaml >"$cache/collector.yaml"
    if timeout "$BUILD_SECONDS" go run "go.opentelemetry.io/collector/cmd/builder@$builder" \
        --config "$cache/collector.yaml" >"$cache/collector.log" 2>&1; then
        mv "$cache/collector/otelcol-netflow" "$collector"
        echo "collector $collector"
    else
        skip "OpenTelemetry Collector" "its build failed, see $cache/collector.log"
    fi
fi
