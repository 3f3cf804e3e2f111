#!/usr/bin/env bash
# Builds real backends from their Go modules, and fetches Zipkin from Maven Central and chDB from PyPI, for the tests beside
# this file.
#
#   tests/backends/build.sh [--cached] [chdb|collector|jaeger|kafka_collector|prometheus3|zipkin|zipkin_collector]...     without a name: all
#
# Each is kept in a folder of ${NETFLOW_BACKENDS_CACHE:-~/.cache/netflow2traces/backends} whose name is a hash of what
# it is built from (the files in its folder here, the version of Go): a second run builds nothing.
# Writes NAME=PATH for each to stdout, the rest to stderr. --cached builds nothing and leaves out what isn't there.
#
# The modules' checksums stand in the go.sum files, Zipkin's in zipkin/sha256, chDB's in chdb/requirements.txt. GOFLAGS,
# GOPROXY, GOSUMDB and the settings of Maven and pip hold as they are set.
set -euo pipefail
shopt -s nullglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${NETFLOW_BACKENDS_CACHE:-$HOME/.cache/netflow2traces/backends}
all=(chdb collector jaeger kafka_collector prometheus3 zipkin zipkin_collector)

cached_only=0
if [ "${1-}" = --cached ]; then
    cached_only=1
    shift
fi
names=("${@:-${all[@]}}")

command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
export CGO_ENABLED=0

# What a backend is built from, as one number.
key_of() {
    case $1 in
    chdb)
        python3 -c 'import sys, platform; print(sys.version_info[:2], platform.machine())'
        cat "$here/chdb/requirements.txt"
        ;;
    zipkin) cat "$here/zipkin"/{pom.xml,sha256} ;;
    *)
        go env GOVERSION GOOS GOARCH
        cat "$here/$1"/{go.mod,go.sum,manifest*}
        ;;
    esac | sha256sum | cut -c1-16
}

# Whether the tool that a backend is made with is there.
has_tool() {
    local tool=go
    case $1 in
    chdb) tool="python3 -m pip" ;;
    zipkin) tool=mvn ;;
    esac
    { command -v "${tool%% *}" && { [ "$1" != chdb ] || $tool --version; }; } >/dev/null 2>&1 ||
        { echo "$1: $tool isn't installed" >&2; return 1; }
}

# Each builds in the current folder, which is its own, and leaves the program as ./NAME.
build_collector() { build_with_ocb collector; }
build_zipkin_collector() { build_with_ocb zipkin_collector; }
build_kafka_collector() { build_with_ocb kafka_collector; }
build_with_ocb() {
    local version
    version=$(sed -n 's/^ *version: //p' "$here/$1/manifest.yaml")
    go run "go.opentelemetry.io/collector/cmd/builder@v$version" --config "$here/$1/manifest.yaml" \
        --skip-get-modules --skip-compilation --output-path .
    cp "$here/$1"/go.{mod,sum} .
    go build -mod=readonly -trimpath -ldflags='-s -w' -o "$1" .
}

# Its page is a placeholder: the real one is no Go, and isn't in the module. The query API is there.
build_jaeger() {
    local module=github.com/jaegertracing/jaeger
    cp "$here/jaeger"/go.{mod,sum} .
    go build -mod=readonly -trimpath -ldflags="-s -w -X $module/internal/version.latestVersion=$(
        go list -mod=readonly -m -f '{{.Version}}' $module
    )" -o jaeger $module/cmd/jaeger
}

# Without service discovery, which is most of it. For OTLP; the tests of scraping take the one on the path.
build_prometheus3() {
    cp "$here/prometheus3"/go.{mod,sum} .
    go build -mod=readonly -tags='remove_all_sd netgo' -ldflags='-s -w' -o prometheus3 \
        github.com/prometheus/prometheus/cmd/prometheus
}

# A folder to import from.
build_chdb() {
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --require-hashes --only-binary :all: \
        --target chdb --requirement "$here/chdb/requirements.txt"
}

# A program for Java.
build_zipkin() {
    mvn -q -B -f "$here/zipkin/pom.xml" dependency:copy "-DoutputDirectory=$PWD"
    sha256sum --check --quiet "$here/zipkin/sha256"
    chmod +x zipkin
}

for name in "${names[@]}"; do
    case " ${all[*]} " in
    *" $name "*) ;;
    *)
        echo "no such backend: $name (known: ${all[*]})" >&2
        exit 2
        ;;
    esac
    case $name in chdb | zipkin) ;; *) has_tool "$name" || exit 3 ;; esac
    program=$cache/$name-$(key_of "$name")/$name
    if [ -x "$program" ]; then
        echo "$name: built before" >&2
    elif [ "$cached_only" = 1 ]; then
        echo "$name: not built" >&2
        continue
    else
        has_tool "$name" || exit 3
        echo "$name: building or fetching it; cold this takes up to some minutes of two processors" >&2
        mkdir -p "$cache"
        work=$(mktemp -d "$cache/building-$name.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        started=$SECONDS
        (cd "$work" && "build_$name") >&2
        mkdir -p "$(dirname "$program")"
        mv "$work/$name" "$program"
        rm -rf "$work"
        echo "$name: built in $((SECONDS - started)) s" >&2
    fi
    echo "$name=$program"
done
