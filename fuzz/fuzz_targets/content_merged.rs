#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| compute_gallery::testkit::fuzz::content_merged(data));
