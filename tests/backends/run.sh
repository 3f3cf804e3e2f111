#!/usr/bin/env bash
# The daemon before real backends. Builds the Collector and Jaeger (build.sh) where Go is installed, fetches Zipkin where
# Maven and Java are and chDB where pip is, then runs the tests beside this file with Python's unittest.
#
#   tests/backends/run.sh [UNITTEST-ARGUMENT]...       such as test_tempo, or -k softflowd
#
#   NETFLOW_BACKENDS       which backends may be built: "chdb collector jaeger prometheus3 zipkin" (default), "collector", or "" for none. What
#                          was built before is run; what isn't there is left out, and said so
#   NETFLOW_BACKENDS_REQUIRED=1  a backend that can't be built, or an absent Prometheus, is a failure
#   TEMPO_URL              a Tempo that runs, for example http://localhost:3200 of the compose file (tempo.py has more);
#                          without it the demo's embedded backend is asked the same
#   METRICS_URL            the Prometheus API of where that Tempo writes its metrics, for the dashboards
#   NETFLOW_BINARY         the netflow2traces to test (default: the newest in the target directory)
#   NETFLOW_CAPTURES       folder of flow captures (default ../shared/captures)
#   NETFLOW_KEEP_RESULTS=1 keeps the folders with configurations, logs and results
#
# Exit status 0 when all that could be run passed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
. ../../scripts/left-out.sh

required=${NETFLOW_BACKENDS_REQUIRED-}
# missing WHAT WHY
missing() {
    left_out "$1: $2"
    [ "$required" != 1 ] || exit 1
}

command -v python3 >/dev/null || { missing "real backends" "python3 is not installed"; exit 0; }
buildable=${NETFLOW_BACKENDS-chdb collector jaeger prometheus3 zipkin}
for name in chdb collector jaeger prometheus3 zipkin zipkin_collector; do
    mode=--cached
    [[ " $buildable " == *" ${name%_collector} "* ]] && mode=
    variable=BACKEND_${name^^}
    # shellcheck disable=SC2086 # no argument when empty
    if found=$(./build.sh $mode "$name") && [ -n "$found" ]; then
        export "$variable=${found#*=}"
    elif [ -z "$mode" ]; then
        missing "a real $name" "it could not be built"
    else
        left_out "a real $name: NETFLOW_BACKENDS doesn't name it"
    fi
done
command -v java >/dev/null || missing "a real zipkin" "Java is not installed"
command -v prometheus >/dev/null || missing "the dashboards' queries" "prometheus is not installed"
[ -n "${TEMPO_URL-}" ] || left_out "a real Tempo: TEMPO_URL is not set, the embedded backend stands in"
left_out "Mimir and Grafana: they are not run (docs/backends.md)"

[ $# -gt 0 ] || set -- discover
exec python3 -W error::ResourceWarning -m unittest "$@"
