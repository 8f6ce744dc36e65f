use std::sync::Arc;

use bytes::Bytes;

use super::*;

/// Made by `gzip -n`, `zstd`, `xz` and `tar --format=ustar` of the same file: 3,000 times `0123456789`.
fn content() -> Vec<u8> {
    b"0123456789".repeat(3000)
}

const GZIP: &[u8] = include_bytes!("../../../../tests/format/wrapped/disk.gz");
const ZSTD: &[u8] = include_bytes!("../../../../tests/format/wrapped/disk.zst");
const TAR: &[u8] = include_bytes!("../../../../tests/format/wrapped/disk.tar");
const PAX: &[u8] = include_bytes!("../../../../tests/format/wrapped/disk.pax.tar");
const TWO: &[u8] = include_bytes!("../../../../tests/format/wrapped/two.tar");
#[cfg(feature = "xz")]
const XZ: &[u8] = include_bytes!("../../../../tests/format/wrapped/disk.xz");

fn wrapped() -> Vec<(Wrapping, &'static [u8])> {
    vec![
        (Wrapping::Gzip, GZIP),
        (Wrapping::Zstd, ZSTD),
        (Wrapping::Tar, TAR),
        (Wrapping::Tar, PAX),
        #[cfg(feature = "xz")]
        (Wrapping::Xz, XZ),
    ]
}

fn unwrap_most(bytes: &[u8], wrappings: &[Wrapping], most: u64) -> Result<Vec<u8>, String> {
    let file: SharedDisk = Arc::new(Bytes::copy_from_slice(bytes));
    let disk = unwrapped(file, wrappings, &std::env::temp_dir(), most).map_err(|error| error.to_string())?;
    let mut read = vec![0; disk.size() as usize];
    disk.read_exact_at(&mut read, 0).map_err(|error| error.to_string())?;
    Ok(read)
}

fn unwrap(bytes: &[u8], wrapping: Wrapping) -> Result<Vec<u8>, String> {
    unwrap_most(bytes, &[wrapping], 1 << 20)
}

#[test]
fn what_others_wrapped_is_unwrapped() {
    for (wrapping, bytes) in wrapped() {
        assert!(unwrap(bytes, wrapping).unwrap() == content(), "{wrapping}");
    }
    assert!(unwrap(&[GZIP, GZIP].concat(), Wrapping::Gzip).unwrap() == content().repeat(2));
    assert!(unwrap(&[ZSTD, ZSTD].concat(), Wrapping::Zstd).unwrap() == content().repeat(2));
}

#[test]
fn one_in_the_other_is_unwrapped_in_that_order() {
    let gz = include_bytes!("../../../../tests/format/wrapped/disk.tar.gz");
    assert!(unwrap_most(gz, &[Wrapping::Gzip, Wrapping::Tar], 1 << 20).unwrap() == content());
}

#[test]
fn what_was_cut_short_or_has_something_behind_it_is_refused_with_its_offset() {
    for (wrapping, bytes) in wrapped() {
        // The two blocks of zeros at the end of an archive may be missing; one must be there.
        let end =
            if wrapping == Wrapping::Tar { bytes.iter().rposition(|byte| *byte != 0).unwrap() } else { bytes.len() };
        for length in (0..end).step_by(if wrapping == Wrapping::Tar { 97 } else { 1 }) {
            let error = unwrap(&bytes[..length], wrapping).expect_err(&format!("{wrapping} of {length} bytes"));
            assert!(error.contains("at byte `"), "{wrapping} of {length} bytes: {error}");
        }
        let error = unwrap(&[bytes, b"rubbish"].concat(), wrapping).expect_err(&format!("{wrapping} and rubbish"));
        assert!(error.contains("at byte `"), "{wrapping} and rubbish: {error}");
    }
}

#[test]
fn a_flipped_bit_is_never_other_content() {
    for (wrapping, bytes) in wrapped() {
        // A tar has no check of its content.
        let bits = if wrapping == Wrapping::Tar { 512 * 8 } else { bytes.len() * 8 };
        for bit in 0..bits {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = unwrap(&flipped, wrapping) {
                assert!(read == content(), "{wrapping}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_bomb_and_a_second_file_are_refused() {
    for (wrapping, bytes) in wrapped() {
        let error = unwrap_most(bytes, &[wrapping], 29_999).unwrap_err();
        assert!(error.contains("more than `29999` bytes"), "{error}");
    }
    let error = unwrap(TWO, Wrapping::Tar).unwrap_err();
    assert!(error.contains("a second file"), "{error}");
}
