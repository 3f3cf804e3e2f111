# The image holds the static binary and the certificate authorities, nothing else: no shell, no libc.
#
#   docker build -t netflow2traces .
#   docker build --platform linux/arm64 … where the machine is one, or emulates one
#
# RUST_IMAGE is any image with Rust 1.95 or later, a C compiler (for zstd and ring) and, in
# /etc/ssl/certs/ca-certificates.crt, the certificate authorities to trust.
ARG RUST_IMAGE=rust:1.95-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# A target that is named keeps the flags away from build scripts and procedural macros, which can't be
# static. glibc resolves names by files and DNS without loading a library (2.34 and later).
# Without debug information it is a third of the size; backtraces keep the names of functions.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --package netflow2traces --bin netflow2traces --features kafka --target "$target" \
 && install -D "target/$target/release/netflow2traces" /image/usr/bin/netflow2traces \
 && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && install -D -m 644 LICENSE /image/usr/share/doc/netflow2traces/LICENSE \
 && install -d -o 65532 -g 65532 -m 750 /image/var/lib/netflow2traces

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="netflow2traces" \
      org.opencontainers.image.description="Receives NetFlow, IPFIX and sFlow and exports every flow record as an OpenTelemetry span" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /image/ /
# Nobody's files, nobody's rights; /var/lib/netflow2traces is the only directory it may write.
USER 65532:65532
WORKDIR /var/lib/netflow2traces
VOLUME /var/lib/netflow2traces
# Metrics, health and page have to be reached from outside the container.
ENV NETFLOW_ADMIN_HOST=0.0.0.0
EXPOSE 2055/udp 9464/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/bin/netflow2traces", "healthcheck"]
ENTRYPOINT ["/usr/bin/netflow2traces"]
CMD ["run"]
