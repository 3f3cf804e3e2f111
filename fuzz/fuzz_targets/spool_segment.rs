#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| netflow2traces_fuzz::spool_segment::run(input));
