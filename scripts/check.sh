#!/usr/bin/env bash
# The gate: what passes here may be merged.
#
#   scripts/check.sh          everything
#   scripts/check.sh quick    the wire crates and netflow-translate, for the inner loop
#
# A check whose tool is absent is left out, says so, and is added to the list in the file that NETFLOW_LEFT_OUT names.
# Set NETFLOW_CAPTURES to a folder of flow captures, or NETFLOW_CAPTURES_REQUIRED=1 to insist on it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/left-out.sh

step() {
    printf '\n== %s (after %d s)\n' "$*" "$SECONDS"
    "$@"
}

rustdoc() { RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked "$@"; }

# What isn't part of the workspace compiles too: fuzz targets, the program that makes their seeds, the Rust peer of
# the benches. Their lock files may lag behind a dependency that the workspace has just gained, hence no --locked.
apart() {
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
    cargo check --manifest-path peers/baseline/Cargo.toml
    if command -v c++ >/dev/null; then
        cargo check --manifest-path fuzz/Cargo.toml --features seeds --bins
    else
        left_out "fuzz targets: libFuzzer needs a C++ compiler"
    fi
}

# What has to differ in a build with the Kafka client. The program is kept for tests/kafka, because the next build without
# the feature takes its place.
kafka() {
    local target="${CARGO_TARGET_DIR:-$PWD/target}"
    cargo test -p netflow2traces --features kafka --locked --test reference
    mkdir -p "$target/kafka"
    cp "$target/debug/netflow2traces" "$target/kafka/netflow2traces"
}

# The page of the program that the tests were built with.
page() { PROGRAM="${CARGO_TARGET_DIR:-$PWD/target}/debug/netflow2traces" scripts/check-page.sh; }

# Who builds for one machine gets no Kafka client.
no_kafka_client() {
    if cargo tree --locked -p netflow2traces -e normal --prefix none | grep -E '^(krafka|rdkafka)'; then
        echo "a Kafka client is in the graph without the feature kafka" >&2
        return 1
    fi
}

dashboards() {
    if command -v python3 >/dev/null; then
        python3 deploy/grafana/make_dashboards.py --check
    else
        left_out "dashboards' freshness: python3 is not installed"
    fi
}

case "${1-}" in
"")
    step cargo fmt --all --check
    # --all-targets checks benches, examples and tests as well; none of them is built a second time.
    step cargo clippy --workspace --all-targets --locked -- -D warnings
    step cargo clippy -p netflow2traces --features kafka --all-targets --locked -- -D warnings
    step no_kafka_client
    step rustdoc --workspace
    step kafka
    # The tests also say when a generated file is stale.
    step cargo test --workspace
    step apart
    step dashboards
    step page
    # Advisories need a database from the network; the rest of deny.toml doesn't.
    if command -v cargo-deny >/dev/null; then
        step cargo deny --locked check --hide-inclusion-graph bans licenses sources
    else
        left_out "licences and bans: cargo-deny is not installed"
    fi
    ;;
quick)
    step cargo fmt --all --check
    step cargo clippy -p netflow-wire -p otlp-wire -p netflow-translate --all-targets --locked -- -D warnings
    step cargo test -p netflow-wire -p otlp-wire -p netflow-translate --locked
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
printf '\nAll checks passed.\n'
