#![no_main]

use std::time::Duration;

/// A datagram takes at most 50 ms where nothing is instrumented (docs/bounds.md).
const LIMIT: Duration = Duration::from_secs(1);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    netflow2traces_fuzz::budgets::run_within(input, Some(LIMIT));
});
