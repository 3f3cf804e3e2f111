#!/usr/bin/env bash
# The daemon before real backends. Builds the backends (build.sh) where Go is installed, then runs the tests beside this
# file with Python's unittest.
#
#   tests/backends/run.sh [UNITTEST-ARGUMENT]...       such as test_tempo, or -k softflowd
#
#   NETFLOW_BACKENDS       which backends may be fetched and built: "collector jaeger" (default), "collector", with
#                          "tempo" and "mimir" (its list of settings), which are under the AGPL, only where they are
#                          named; or "" for none. What was built before is run; what isn't there is left out, and
#                          said so
#   NETFLOW_BACKENDS_REQUIRED=1  a backend that can't be built is a failure; else its tests are left out, and said so
#   NETFLOW_BINARY         the netflow2traces to test (default: the newest in the target directory)
#   NETFLOW_CAPTURES       folder of flow captures (default ../shared/captures)
#   NETFLOW_KEEP_RESULTS=1 keeps the folders with configurations, logs and results
#
# Exit status 0 when all that could be run passed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"

command -v python3 >/dev/null || { echo "backends: left out, python3 is not installed" >&2; exit 0; }
buildable=${NETFLOW_BACKENDS-collector jaeger}
[[ " $buildable " != *" mimir "* ]] || export MIMIR_FETCH=1
for name in collector tempo jaeger; do
    mode=--cached
    [[ " $buildable " == *" $name "* ]] && mode=
    # shellcheck disable=SC2086 # no argument when empty
    if found=$(./build.sh $mode "$name"); then
        [ -n "$found" ] && export "BACKEND_${name^^}=${found#*=}"
    else
        echo "backends: $name could not be built" >&2
        [ "${NETFLOW_BACKENDS_REQUIRED-}" != 1 ] || exit 1
    fi
    variable=BACKEND_${name^^}
    [ -n "${!variable-}" ] || echo "backends: NO $name, its tests are left out (tests/backends/build.sh $name builds it)"
done
command -v prometheus >/dev/null || echo "backends: NO prometheus, the dashboards' queries are not put (apt-get install prometheus)"
echo "backends: Mimir and Grafana are not run here: see docs/backends.md"

[ $# -gt 0 ] || set -- discover
exec python3 -W error::ResourceWarning -m unittest "$@"
