//! Any bytes as a target, with every method.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| httpipe_fuzz::route::check(data));
