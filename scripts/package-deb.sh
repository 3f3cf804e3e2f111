#!/usr/bin/env bash
# Makes the Debian package from target/release/netflow2traces, which it builds unless it is there.
#
#   scripts/package-deb.sh [DIR]     the package in DIR, by default target/debian
#
# Needs cargo-deb (`cargo install --locked cargo-deb`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target="${CARGO_TARGET_DIR:-$PWD/target}"
program="$target/release/netflow2traces"
[ -x "$program" ] || cargo build --release --locked -p netflow2traces
# The list of assets names this folder.
out=target/package
rm -rf "$out"
mkdir -p "$out/man" "${1:-target/debian}"
"$program" man --to "$out/man"
"$program" completions bash >"$out/netflow2traces.bash"
"$program" completions zsh >"$out/_netflow2traces"
cargo deb -p netflow2traces --no-build --output "${1:-target/debian}/"
