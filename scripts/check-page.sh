#!/usr/bin/env bash
# The page in headless Chromium, fed by the demo, a replayed capture, and a daemon whose backend is away.
#
#   scripts/check-page.sh                      all checks
#   scripts/check-page.sh screenshots DIR      the same, with a PNG of each stage in DIR
#   scripts/check-page.sh images               writes the README's pictures to docs/images (five minutes)
#
# Needs python3 and a Chromium (`apt-get install chromium`, or its path in CHROMIUM). Without one it says so and
# succeeds, unless PAGE_REQUIRED=1. PROGRAM is the binary, if it shouldn't be built here. axe (npm's axe-core) checks
# each state as well: AXE is the path of its axe.min.js; without it npm fetches it, and without npm that check is left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/left-out.sh

mode=${1-check}
case $mode in
check | images) [ $# -le 1 ] ;;
screenshots) [ $# -eq 2 ] ;;
*) false ;;
esac || {
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

missing=
command -v python3 >/dev/null || missing=python3
python3 - 2>/dev/null <<<'import sys; sys.path.insert(0, "tests/page"); import browser; sys.exit(not browser.find())' ||
    missing=${missing:-Chromium}
if [ -n "$missing" ]; then
    left_out "the page in a browser: $missing is not installed"
    [ "${PAGE_REQUIRED:-0}" != 1 ]
    exit
fi

if [ -z "${PROGRAM-}" ]; then
    cargo build --locked --quiet -p netflow2traces --bin netflow2traces
    target=$(cargo metadata --format-version 1 --no-deps --locked | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    PROGRAM=$target/debug/netflow2traces
fi

if [ "$mode" != images ] && [ -z "${AXE-}" ]; then
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/netflow2traces/axe
    AXE=$cache/node_modules/axe-core/axe.min.js
    if [ ! -f "$AXE" ] && command -v npm >/dev/null; then
        mkdir -p "$cache"
        npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$cache" axe-core@4 >/dev/null 2>&1 || true
    fi
    [ -f "$AXE" ] || {
        left_out "axe on the page: axe-core is neither in $cache nor to be installed with npm"
        AXE=
    }
    export AXE
fi

export PYTHONDONTWRITEBYTECODE=1
case $mode in
check) exec python3 tests/page/check.py "$PROGRAM" ;;
screenshots) exec python3 tests/page/check.py "$PROGRAM" --screenshots "$2" ;;
images) exec python3 tests/page/check.py "$PROGRAM" --images docs/images ;;
esac
