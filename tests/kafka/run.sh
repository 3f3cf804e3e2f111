#!/usr/bin/env bash
# The relay and the Kafka exporter before a real broker (broker.sh), with Python's unittest.
#
#   tests/kafka/run.sh [UNITTEST-ARGUMENT]...      such as test_relay, or -k restarts
#
#   NETFLOW_BINARY           the netflow2traces to test, built with the feature kafka (default: it is built here)
#   NETFLOW_CAPTURES         folder of flow captures (default ../shared/captures)
#   NETFLOW_KAFKA_REQUIRED=1 a broker that can't be had is a failure
#   NETFLOW_KEEP_RESULTS=1   keeps the folders with configurations, logs and results
#
# Exit status 0 when all that could be run passed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
. ../../scripts/left-out.sh

missing() {
    left_out "$1: $2"
    [ "${NETFLOW_KAFKA_REQUIRED-}" != 1 ] || exit 1
    exit 0
}

for tool in python3 java javac openssl; do
    command -v "$tool" >/dev/null || missing "a real Kafka broker" "$tool is not installed"
done
KAFKA_HOME=$(./broker.sh install) || missing "a real Kafka broker" "it could not be copied from Maven Central"
export KAFKA_HOME
if [ -z "${NETFLOW_BINARY-}" ]; then
    target=${CARGO_TARGET_DIR:-$here/../../target}
    cargo build --locked -p netflow2traces --features kafka
    # Another build, without the feature, may take its place.
    mkdir -p "$target/kafka"
    cp "$target/debug/netflow2traces" "$target/kafka/netflow2traces"
    NETFLOW_BINARY=$(realpath "$target/kafka/netflow2traces")
    export NETFLOW_BINARY
fi
# The Collector that reads the topic.
if [ -z "${BACKEND_KAFKA_COLLECTOR-}" ]; then
    if found=$(../backends/build.sh kafka_collector) && [ -n "$found" ]; then
        export BACKEND_KAFKA_COLLECTOR=${found#*=}
    else
        left_out "the Collector's Kafka receiver: it could not be built"
        [ "${NETFLOW_KAFKA_REQUIRED-}" != 1 ] || exit 1
    fi
fi
[ $# -gt 0 ] || set -- discover
exec python3 -W error::ResourceWarning -m unittest "$@"
