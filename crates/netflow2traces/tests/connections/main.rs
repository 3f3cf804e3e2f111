//! The built binary between connections of exporters and a backend: IPFIX over TCP and TLS.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[expect(dead_code, reason = "the backend's scripts serve other tests too")]
#[path = "../support/backend/mod.rs"]
mod backend;
#[expect(dead_code, reason = "parts of it serve other tests")]
#[path = "../end_to_end/daemon.rs"]
mod daemon;
mod identities;
mod sender;

mod bounds;
mod handshakes;
mod pressure;
mod records;
mod send;
mod sessions;
