//! What the fuzzer has found worth keeping, on stable: the same promises, for every input of the corpus.

#![allow(
    unreachable_pub,
    dead_code,
    clippy::allow_attributes,
    reason = "modules of the fuzz targets, which are a crate of their own"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../../../fuzz/src/budgets.rs"]
mod budgets;
#[path = "../../../../fuzz/src/gzip.rs"]
mod gzip;
#[path = "../../../../fuzz/src/memory.rs"]
mod memory;
#[path = "../../../../fuzz/src/message.rs"]
mod message;
#[path = "../../../../fuzz/src/otlp_response.rs"]
mod otlp_response;
#[path = "../../../../fuzz/src/pcap.rs"]
mod pcap;
#[path = "../../../../fuzz/src/sequence.rs"]
mod sequence;
#[path = "../../../../fuzz/src/session.rs"]
mod session;
#[path = "../../../../fuzz/src/sflow.rs"]
mod sflow;
#[path = "../../../../fuzz/src/spool_segment.rs"]
mod spool_segment;
#[path = "../../../../fuzz/src/translate.rs"]
mod translate;

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folder = corpus.join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let octets = fs::read(&path).expect("an input");
        let kept = catch_unwind(|| run(&octets)).is_ok();
        assert!(kept, "a promise is broken by {}", path.display());
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

#[test]
fn messages_keep_their_promises() {
    replay("message", message::run);
}

#[test]
fn sessions_keep_their_promises() {
    replay("session", session::run);
}

#[test]
fn translations_keep_their_promises() {
    replay("translate", translate::run);
}

/// The inputs of `translate`, measured.
#[test]
fn budgets_are_kept() {
    replay("translate", budgets::run);
}

#[test]
fn responses_keep_their_promises() {
    replay("otlp_response", otlp_response::run);
}

#[test]
fn compressed_bodies_keep_their_promises() {
    replay("gzip", gzip::run);
}

#[test]
fn captures_keep_their_promises() {
    replay("pcap", pcap::run);
}

#[test]
fn the_spool_keeps_its_promises() {
    replay("spool_segment", spool_segment::run);
}

#[test]
fn sflow_keeps_its_promises() {
    replay("sflow", sflow::run);
}
