#!/usr/bin/env bash
# The gate: what passes here may be merged.
#
#   scripts/check.sh          everything
#   scripts/check.sh quick    the two wire crates and translate, for the inner loop
#
# Set NETFLOW_CAPTURES to a folder of flow captures, or NETFLOW_CAPTURES_REQUIRED=1 to insist on it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

rustdoc() { RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked "$@"; }

case "${1-}" in
"")
    step cargo fmt --all --check
    # --all-targets checks benches, examples and tests as well; none of them is built a second time.
    step cargo clippy --workspace --all-targets --locked -- -D warnings
    step rustdoc --workspace
    # The tests also say when a generated file is stale.
    step cargo test --workspace --locked
    # Says so and goes on where no Chromium is installed.
    step scripts/check-page.sh
    # Advisories need a database from the network; the rest of deny.toml doesn't.
    if command -v cargo-deny >/dev/null; then
        step cargo deny --locked check bans licenses sources
    else
        printf '\n== cargo deny: left out, cargo-deny is not installed\n'
    fi
    ;;
quick)
    step cargo fmt --all --check
    step cargo clippy -p netflow-wire -p otlp-wire --all-targets --locked -- -D warnings
    step cargo test -p netflow-wire -p otlp-wire --locked
    step cargo test -p netflow2traces --lib --locked translate
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
printf '\nAll checks passed.\n'
