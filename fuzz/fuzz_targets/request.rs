//! Any bytes as a producer's request, its body in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| httpipe_fuzz::request::check(data));
