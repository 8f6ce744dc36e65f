#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| compute_gallery::testkit::fuzz::catalog_key(data));
