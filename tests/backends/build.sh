#!/usr/bin/env bash
# Builds real backends from their Go modules, for the tests beside this file.
#
#   tests/backends/build.sh [--cached] [collector|jaeger]...     without a name: all
#
# Each is kept in a folder of ${NETFLOW_BACKENDS_CACHE:-~/.cache/netflow2traces/backends} whose name is a hash of what
# it is built from (the files in its folder here, the version of Go): a second run builds nothing.
# Writes NAME=PATH for each to stdout, the rest to stderr. --cached builds nothing and leaves out what isn't there.
#
# The modules' checksums stand in the go.sum files. GOFLAGS, GOPROXY and GOSUMDB hold as they are set.
set -euo pipefail
shopt -s nullglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${NETFLOW_BACKENDS_CACHE:-$HOME/.cache/netflow2traces/backends}
all=(collector jaeger)

cached_only=0
if [ "${1-}" = --cached ]; then
    cached_only=1
    shift
fi
names=("${@:-${all[@]}}")

command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || { echo "Go isn't installed: no real backends" >&2; exit 3; }
export CGO_ENABLED=0

# What a backend is built from, as one number.
key_of() {
    { go env GOVERSION GOOS GOARCH; cat "$here/$1"/{go.mod,go.sum,manifest*}; } |
        sha256sum | cut -c1-16
}

# Each builds in the current folder, which is its own, and leaves the program as ./NAME.
build_collector() {
    local version
    version=$(sed -n 's/^ *version: //p' "$here/collector/manifest.yaml")
    go run "go.opentelemetry.io/collector/cmd/builder@v$version" --config "$here/collector/manifest.yaml" \
        --skip-get-modules --skip-compilation --output-path .
    cp "$here/collector"/go.{mod,sum} .
    go build -mod=readonly -trimpath -ldflags='-s -w' -o collector .
}

# Its page is a placeholder: the real one is no Go, and isn't in the module. The query API is there.
build_jaeger() {
    local module=github.com/jaegertracing/jaeger
    cp "$here/jaeger"/go.{mod,sum} .
    go build -mod=readonly -trimpath -ldflags="-s -w -X $module/internal/version.latestVersion=$(
        go list -mod=readonly -m -f '{{.Version}}' $module
    )" -o jaeger $module/cmd/jaeger
}

for name in "${names[@]}"; do
    case " ${all[*]} " in
    *" $name "*) ;;
    *)
        echo "no such backend: $name (known: ${all[*]})" >&2
        exit 2
        ;;
    esac
    program=$cache/$name-$(key_of "$name")/$name
    if [ -x "$program" ]; then
        echo "$name: built before" >&2
    elif [ "$cached_only" = 1 ]; then
        echo "$name: not built" >&2
        continue
    else
        echo "$name: building; cold this takes some minutes of two processors" >&2
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
