//! Any bytes as a body in the chunked coding, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| httpipe_fuzz::chunked::check(data));
