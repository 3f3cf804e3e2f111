#!/usr/bin/env bash
# Checks what the project is deployed with, as far as a machine without Docker, systemd as its first
# process and Kubernetes can.
#
#   scripts/check-deploy.sh              units, compose file, manifests: seconds
#   scripts/check-deploy.sh image        builds the Dockerfile with buildah, runs the image in a chroot
#   scripts/check-deploy.sh deb          builds the Debian package, installs it on a bare Debian in a chroot
#   scripts/check-deploy.sh all
#
# image and deb need root, build a release binary and a Debian system each: ten minutes and more.
# A check whose tool is absent is left out and says so, and fails with NETFLOW_DEPLOY_REQUIRED=1.
# KEEP=DIR keeps the systems that are made there for the next run. PROGRAM=FILE packs that binary, built with the feature
# kafka, instead of building one: deb then takes a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/left-out.sh

# The package needs the libraries of the system that its binary was linked on.
SUITE="$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME-}")"
LOWEST_KUBERNETES=1.29
HIGHEST_KUBERNETES=1.33
# Of 10: what `systemd-analyze security` may find at most.
EXPOSURE=20

scratch="$(mktemp -d)"
daemon=
cleanup() {
    if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; fi
    if [ -d "$scratch/containers" ]; then in_containers umount --all >/dev/null 2>&1 || true; fi
    rm -rf --one-file-system "$scratch"
}
trap cleanup EXIT
keep="${KEEP:-$scratch}"
mkdir -p "$keep"

say() { printf '== deploy: %s\n' "$*"; }
die() {
    printf 'deploy: %s\n' "$*" >&2
    exit 1
}
# absent CHECK TOOL HOW: says that a check is left out.
absent() {
    if [ "${NETFLOW_DEPLOY_REQUIRED:-0}" = 1 ]; then die "$1 needs $2: $3"; fi
    left_out "$1: $2 is not installed ($3)"
}
have() { command -v "$1" >/dev/null; }

units() {
    if ! have systemd-analyze; then
        absent units systemd-analyze "Debian's package systemd"
        return
    fi
    # With a file where the program will be, everything else has to be valid.
    local root="$scratch/units" unit
    mkdir -p "$root/usr/bin" "$root/usr/lib/systemd" "$root/etc/systemd/system"
    install -m 755 /dev/null "$root/usr/bin/netflow2traces"
    if [ -d /usr/lib/systemd/system ]; then
        cp -r /usr/lib/systemd/system "$root/usr/lib/systemd/"
    elif [ -d /lib/systemd/system ]; then
        cp -r /lib/systemd/system "$root/usr/lib/systemd/"
    fi
    for unit in deploy/systemd/netflow2traces.service deploy/systemd/socket-activation/netflow2traces.socket; do cp "$unit" "$root/etc/systemd/system/"; done
    # A manual page is looked for on this machine, not in the root.
    local said
    said="$(systemd-analyze verify --man=no --root="$root" netflow2traces.service netflow2traces.socket 2>&1)" ||
        die "systemd-analyze verify: $said"
    if printf '%s' "$said" | grep -q netflow2traces; then die "systemd-analyze verify: $said"; fi
    systemd-analyze security --offline=true --threshold="$EXPOSURE" --root="$root" netflow2traces.service >"$scratch/security" ||
        die "the service is exposed more than ${EXPOSURE}: $(tail -1 "$scratch/security")"
    say "units are valid;$(tail -1 "$scratch/security" | sed 's/^[^O]*Overall exposure level for netflow2traces.service:/ exposure/; s/[^ -~]//g')"
}

compose() {
    local config="$scratch/compose" file command=()
    if docker compose version >/dev/null 2>&1; then
        command=(docker compose)
    elif have podman-compose; then
        command=(podman-compose)
    elif have docker-compose; then
        command=(docker-compose)
    else
        absent compose "docker compose, docker-compose or podman-compose" "Debian's package docker-compose"
        return
    fi
    for file in deploy/kafka/docker-compose.yml docker-compose.yml; do
        "${command[@]}" --profile demo -f "$file" config >"$config" 2>"$scratch/compose.err" ||
            die "${command[*]} refuses $file: $(tail -3 "$scratch/compose.err")"
    done
    # Every file that is mounted is there.
    local path
    while read -r path; do
        [ -e "$path" ] || die "docker-compose.yml mounts $path, which doesn't exist"
    done < <(sed -n 's/^ *- \(\.\/[^:]*\):.*/\1/p' docker-compose.yml)
    grep -q 'netflow2traces' "$config" || die "the configuration has no service netflow2traces"
    say "compose files are valid"
}

kubernetes() {
    local rendered="$scratch/kubernetes.yaml" version folder command=()
    if have kustomize; then
        command=(kustomize build)
    elif have kubectl; then
        command=(kubectl kustomize)
    elif have go; then
        command=(env GOFLAGS=-mod=mod go run sigs.k8s.io/kustomize/kustomize/v5@v5.7.1 build)
    else
        absent kubernetes kustomize "go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
        return
    fi
    : >"$rendered"
    for folder in deploy/kubernetes deploy/kafka/kubernetes/*/; do
        echo --- >>"$rendered"
        "${command[@]}" "$folder" >>"$rendered" || die "${command[*]} $folder fails"
    done
    [ "$(grep -c '^kind:' "$rendered")" -ge 16 ] || die "kustomize left something out: $(grep '^kind:' "$rendered")"
    local validate=kubernetes-validate
    if ! have "$validate"; then
        if ! python3 -m venv "$keep/venv" 2>/dev/null || ! "$keep/venv/bin/pip" install -q kubernetes-validate 2>/dev/null; then
            absent "validation of the manifests" kubernetes-validate "pip install kubernetes-validate"
            return
        fi
        validate="$keep/venv/bin/kubernetes-validate"
    fi
    for version in "$LOWEST_KUBERNETES" "$HIGHEST_KUBERNETES"; do
        "$validate" --strict -k "$version" "$rendered" >"$scratch/validate" 2>&1 ||
            die "Kubernetes $version: $(cat "$scratch/validate")"
    done
    say "$(grep -c '^kind:' "$rendered") Kubernetes objects are valid for $LOWEST_KUBERNETES and $HIGHEST_KUBERNETES"
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root, for debootstrap and chroot"
}

# bare_debian DIR PACKAGE…: a minimal Debian there, unless there is one already.
bare_debian() {
    local root="$1"
    shift
    if [ ! -e "$root/.complete" ]; then
        rm -rf "$root"
        say "making a Debian $SUITE with: ${*:-nothing more}"
        debootstrap --variant=minbase ${*:+--include="$(IFS=,; echo "$*")"} "$SUITE" "$root" >"$scratch/debootstrap.log" ||
            die "debootstrap: $(tail -5 "$scratch/debootstrap.log")"
        touch "$root/.complete"
    fi
}

# Waits until a URL answers, at most 20 seconds.
await() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        if curl -fs -o /dev/null "$1"; then return; fi
        sleep 0.2
    done
    die "$1 doesn't answer; $(tail -5 "$2")"
}

# has_kafka COMMAND…: what is released has the Kafka client.
has_kafka() {
    env OTEL_TRACES_EXPORTER=kafka NETFLOW_KAFKA_BROKERS=127.0.0.1:9092 "$@" config check >"$scratch/kafka" 2>&1 ||
        die "the program has no Kafka client: $(cat "$scratch/kafka")"
}

# answers COMMAND…: starts a daemon and asks it everything that a container runtime would.
answers() {
    local log="$scratch/daemon.log"
    "$@" run >"$log" 2>&1 &
    daemon=$!
    await "http://127.0.0.1:29464/readyz" "$log"
    "$@" healthcheck >"$scratch/healthcheck" 2>&1 || die "healthcheck: $(cat "$scratch/healthcheck")"
    "$@" send --to 127.0.0.1:22055 --count 300 --rate 3000 >"$scratch/send" 2>&1 || die "send: $(cat "$scratch/send")"
    local tries flows=0
    for ((tries = 0; tries < 50; tries++)); do
        flows="$(curl -fs http://127.0.0.1:29464/metrics | sed -n 's/^netflow_flows_total\({[^}]*}\)\? \([0-9]*\).*/\2/p' | awk '{ s += $1 } END { print s + 0 }')"
        if [ "$flows" -ge 300 ]; then break; fi
        sleep 0.2
    done
    [ "$flows" -ge 300 ] || die "only $flows of 300 flows were counted; $(tail -5 "$log")"
    kill -TERM "$daemon"
    wait "$daemon" || die "the daemon ended with $?: $(tail -5 "$log")"
    daemon=
}

# in_containers COMMAND…: buildah, with images and containers of its own, which go when the script ends.
in_containers() {
    local driver=vfs
    if grep -qw overlay /proc/filesystems; then driver=overlay; fi
    buildah --root "$scratch/containers" --runroot "$scratch/containers.run" --storage-driver "$driver" "$@"
}

image() {
    need_root image
    if ! have buildah || ! have debootstrap; then
        absent image "buildah and debootstrap" "Debian's packages of these names"
        return
    fi
    # Stands in for the image of RUST_IMAGE: a Debian with this machine's own toolchain.
    local base="$keep/rust" sysroot registry="${CARGO_HOME:-$HOME/.cargo}/registry"
    bare_debian "$base" gcc libc6-dev ca-certificates
    sysroot="$(rustc --print sysroot)"
    if [ ! -x "$base/usr/local/rust/bin/cargo" ]; then
        mkdir -p "$base/usr/local/rust"
        cp -a "$sysroot/bin" "$sysroot/lib" "$base/usr/local/rust/"
    fi
    # Crates come from this machine's cache, because its way to a registry may not be the container's.
    cargo fetch --locked >"$scratch/fetch.log" 2>&1 || die "cargo fetch: $(tail -5 "$scratch/fetch.log")"
    in_containers from --name netflow2traces-rust scratch >/dev/null
    in_containers copy -q netflow2traces-rust "$base" / >/dev/null
    in_containers config --env PATH=/usr/local/rust/bin:/usr/local/bin:/usr/bin:/bin --env CARGO_HOME=/root/.cargo \
        --env CARGO_NET_OFFLINE=true netflow2traces-rust
    in_containers commit -q netflow2traces-rust netflow2traces-rust:local >/dev/null
    in_containers rm netflow2traces-rust >/dev/null
    say "building the image"
    in_containers bud --layers=false --isolation chroot --network host --pull-never \
        --build-arg RUST_IMAGE=localhost/netflow2traces-rust:local \
        --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)" \
        --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
        --volume "$registry:/root/.cargo/registry" \
        --format docker --tag netflow2traces:local . >"$scratch/bud.log" 2>&1 || die "buildah bud: $(tail -20 "$scratch/bud.log")"

    local container root
    container="$(in_containers from --pull-never localhost/netflow2traces:local)"
    root="$(in_containers mount "$container")"
    local files
    files="$(cd "$root" && find . -type f | sort)"
    [ "$files" = "$(printf '%s\n' ./etc/ssl/certs/ca-certificates.crt ./usr/bin/netflow2traces ./usr/share/doc/netflow2traces/LICENSE)" ] ||
        die "the image holds other files than it should: $files"
    # ldd says which of the two, and counts one of them as a failure.
    ldd "$root/usr/bin/netflow2traces" 2>&1 | grep -Eq 'statically linked|not a dynamic executable' ||
        die "the binary in the image isn't static: $(ldd "$root/usr/bin/netflow2traces" 2>&1)"
    in_containers inspect --type image localhost/netflow2traces:local >"$scratch/inspect.json"
    python3 - "$scratch/inspect.json" <<'PYTHON' || die "the image's configuration is not what the Dockerfile says"
import json, sys
docker = json.load(open(sys.argv[1]))["Docker"]["config"]
assert docker["User"] == "65532:65532", docker["User"]
assert docker["Healthcheck"]["Test"] == ["CMD", "/usr/bin/netflow2traces", "healthcheck"], docker["Healthcheck"]
assert set(docker["ExposedPorts"]) == {"2055/udp", "9464/tcp"}, docker["ExposedPorts"]
assert docker["Entrypoint"] == ["/usr/bin/netflow2traces"] and docker["Cmd"] == ["run"]
assert "org.opencontainers.image.version" in docker["Labels"]
PYTHON
    say "running the image as its user, in a chroot"
    # What every container runtime brings.
    mkdir -p "$root/dev" "$root/proc"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/random" c 1 8
    mknod -m 666 "$root/dev/urandom" c 1 9
    has_kafka chroot --userspec=65532:65532 "$root" /usr/bin/netflow2traces
    answers env OTEL_TRACES_EXPORTER=none NETFLOW_LISTEN_HOST=127.0.0.1 NETFLOW_LISTEN_PORT=22055 NETFLOW_ADMIN_PORT=29464 \
        NETFLOW_ADMIN_HOST=0.0.0.0 chroot --userspec=65532:65532 "$root" /usr/bin/netflow2traces
    say "image: $(du -sh --apparent-size "$root" | cut -f1), $(echo "$files" | wc -l) files, runs"
    in_containers rm "$container" >/dev/null
}

deb() {
    need_root deb
    if ! have dpkg-shlibdeps || ! have debootstrap; then
        absent deb "dpkg-shlibdeps and debootstrap" "Debian's packages dpkg-dev and debootstrap"
        return
    fi
    say "building the package"
    mkdir "$scratch/deb"
    scripts/package-deb.sh "$scratch/deb" >"$scratch/deb.log" 2>&1 || die "package-deb.sh: $(tail -20 "$scratch/deb.log")"
    local root="$keep/debian"
    bare_debian "$root" systemd
    rm -rf "$scratch/installed"
    cp -a "$root" "$scratch/installed"
    root="$scratch/installed"
    cp "$scratch"/deb/netflow2traces_*.deb "$root/tmp/netflow2traces.deb"
    # No service is started without a running systemd; what its unit starts is started below.
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y /tmp/netflow2traces.deb >"$scratch/install.log" 2>&1 ||
        die "the package doesn't install: $(tail -20 "$scratch/install.log")"
    local file
    has_kafka chroot "$root" /usr/bin/netflow2traces
    for file in usr/bin/netflow2traces lib/systemd/system/netflow2traces.service etc/netflow2traces/netflow2traces.env \
        usr/lib/sysctl.d/90-netflow2traces.conf usr/share/man/man1/netflow2traces.1.gz; do
        [ -e "$root/$file" ] || die "the package has no /$file"
    done
    chroot "$root" systemctl is-enabled netflow2traces.service >"$scratch/enabled" 2>&1 ||
        die "the service isn't enabled: $(cat "$scratch/enabled")"
    chroot "$root" systemd-analyze verify --man=no netflow2traces.service || die "the installed unit is not valid"
    say "starting what the unit starts"
    answers env OTEL_TRACES_EXPORTER=none NETFLOW_LISTEN_HOST=127.0.0.1 NETFLOW_LISTEN_PORT=22055 NETFLOW_ADMIN_PORT=29464 \
        chroot --userspec=nobody:nogroup "$root" /usr/bin/netflow2traces
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get purge -y netflow2traces >"$scratch/purge.log" 2>&1 ||
        die "the package can't be removed: $(tail -20 "$scratch/purge.log")"
    [ ! -e "$root/usr/bin/netflow2traces" ] && [ ! -e "$root/etc/netflow2traces" ] || die "the package leaves files behind"
    say "package installs, starts, and is removed without a trace"
}

case "${1-}" in
"")
    units
    compose
    kubernetes
    left_out "container image and Debian package: scripts/check-deploy.sh all builds, installs and runs both (root, ten minutes)"
    ;;
image | deb) "$1" ;;
all)
    units
    compose
    kubernetes
    image
    deb
    ;;
*)
    sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
