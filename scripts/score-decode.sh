#!/usr/bin/env bash
# Decodes every flow capture offline and compares the records with those expected.
#
#   scripts/score-decode.sh [CASE-GLOB]...
#
# The folder NETFLOW_CAPTURES (default ../shared/captures) holds the captures and score.py. FORMAT is otlp (the
# default) or json; ATTRIBUTES the level. The exit status is that of score.py: 0 when all cases are as expected.
# Results and summaries stay in target/decoded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

captures="${NETFLOW_CAPTURES:-../shared/captures}"
[ -f "$captures/score.py" ] || { echo "no score.py in $captures: set NETFLOW_CAPTURES" >&2; exit 2; }
target="${CARGO_TARGET_DIR:-target}"
results="$target/decoded"
format="${FORMAT:-otlp}"
case "$format" in
otlp) suffix=otlp.jsonl ;;
json) suffix=jsonl ;;
*) echo "FORMAT is otlp or json" >&2; exit 2 ;;
esac

cargo build --release --locked -p netflow2traces --bin netflow2traces
rm -rf "$results"
mkdir -p "$results"

arguments=()
for file in "$captures"/*.pcap; do
    name=$(basename "$file" .pcap)
    for glob in "${@:-*}"; do
        # shellcheck disable=SC2053 # a pattern is meant
        if [[ $name == $glob ]]; then
            # Status 1: something was not understood, which hostile captures ask for; score.py judges the records.
            status=0
            "$target/release/netflow2traces" decode --format "$format" --attributes "${ATTRIBUTES:-all}" "$file" \
                >"$results/$name.$suffix" 2>"$results/$name.log" || status=$?
            [ "$status" -lt 2 ] || { echo "$name: decode ended with status $status" >&2; exit 1; }
            arguments+=(--case "$name")
            break
        fi
    done
done
[ "${#arguments[@]}" -gt 0 ] || { echo "no such case" >&2; exit 2; }
exec python3 "$captures/score.py" "$captures" "$results" "${arguments[@]}"
