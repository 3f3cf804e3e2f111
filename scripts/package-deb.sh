#!/usr/bin/env bash
# Builds a release with the Kafka client, as releases have it, and makes the Debian package of it.
#
#   scripts/package-deb.sh [DIR]     the package in DIR, by default target/debian
#
# Needs Rust and Debian's build-essential. PROGRAM names a binary to pack; then nothing is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-target/debian}

for tool in dpkg-deb dpkg-shlibdeps strip; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install build-essential" >&2; exit 2; }
done
target="${CARGO_TARGET_DIR:-$PWD/target}"
program="${PROGRAM:-$target/release/netflow2traces}"
[ -n "${PROGRAM-}" ] || cargo build --release --locked -p netflow2traces --features kafka
version=$("$program" --version | cut -d' ' -f2)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
package=$root/package

# put MODE SOURCE DESTINATION
put() { install -D -m "$1" "$2" "$package/$3"; }
put 755 "$program" usr/bin/netflow2traces
strip --strip-unneeded "$package/usr/bin/netflow2traces"
put 640 .env.example etc/netflow2traces/netflow2traces.env
put 644 deploy/systemd/netflow2traces.service usr/lib/systemd/system/netflow2traces.service
put 644 deploy/systemd/90-netflow2traces.conf usr/lib/sysctl.d/90-netflow2traces.conf
share=usr/share/doc/netflow2traces
put 644 LICENSE "$share/copyright"
put 644 README.md "$share/README.md"
put 644 CHANGELOG.md "$share/CHANGELOG.md"
put 644 deploy/systemd/socket-activation/netflow2traces.socket "$share/examples/netflow2traces.socket"
for page in docs/*.md; do put 644 "$page" "$share/$page"; done
mkdir -p "$package"/usr/share/{man/man1,bash-completion/completions,zsh/vendor-completions}
"$program" man --to "$package/usr/share/man/man1"
gzip -9n "$package"/usr/share/man/man1/*.1
"$program" completions bash >"$package/usr/share/bash-completion/completions/netflow2traces"
"$program" completions zsh >"$package/usr/share/zsh/vendor-completions/_netflow2traces"

# The libraries that the binary was linked with; none if it is static.
mkdir "$root/debian"
printf 'Source: netflow2traces\n\nPackage: netflow2traces\nArchitecture: any\n' >"$root/debian/control"
libraries=$(cd "$root" && dpkg-shlibdeps -O --ignore-missing-info "$package/usr/bin/netflow2traces" 2>/dev/null |
    sed -n 's/^shlibs:Depends=//p' || true)

mkdir "$package/DEBIAN"
{
    echo "Package: netflow2traces"
    echo "Version: $version-1"
    echo "Architecture: $(dpkg --print-architecture)"
    echo "Maintainer: The netflow2traces developers <netflow2traces@localhost>"
    echo "Section: net"
    echo "Priority: optional"
    [ -z "$libraries" ] || echo "Depends: $libraries"
    echo "Recommends: ca-certificates"
    echo "Installed-Size: $(du -sk --exclude=DEBIAN "$package" | cut -f1)"
    echo "Description: NetFlow, IPFIX and sFlow to OpenTelemetry traces"
    echo " A daemon that receives NetFlow v1, v5, v7, v9, IPFIX and sFlow v5 over UDP, and"
    echo " IPFIX over TCP and TLS, and exports every flow record as an OpenTelemetry span"
    echo " over OTLP, to Grafana Tempo, Jaeger, an OpenTelemetry Collector or another"
    echo " backend that accepts traces."
} >"$package/DEBIAN/control"
echo /etc/netflow2traces/netflow2traces.env >"$package/DEBIAN/conffiles"
install -m 755 deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$package/DEBIAN/"
(cd "$package" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$package/DEBIAN/md5sums"

mkdir -p "$out"
dpkg-deb --root-owner-group --build "$package" "$out/netflow2traces_$version-1_$(dpkg --print-architecture).deb"
