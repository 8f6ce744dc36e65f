//! CRC-32C.

const TABLE: [u32; 256] = table();

#[expect(clippy::indexing_slicing, reason = "the indices of a constant are checked by the compiler")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut number = 0;
    while number < 256 {
        let (mut value, mut bit) = (number as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[number] = value;
        number += 1;
    }
    table
}

/// Returns the CRC-32C of `bytes`, in which the four of the checksum itself, at byte 4, count as zeros.
pub(in crate::disk) fn crc32c(bytes: &[u8]) -> u32 {
    let sum =
        |sum: u32, byte: u8| TABLE.get(((sum ^ u32::from(byte)) & 0xff) as usize).copied().unwrap_or(0) ^ (sum >> 8);
    let (before, after) = (bytes.get(..4).unwrap_or(bytes), bytes.get(8..).unwrap_or_default());
    let all = before.iter().chain(&[0; 4]).chain(after);
    !all.fold(!0, |state, byte| sum(state, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_castagnoli_polynomial() {
        // 32 zero bytes, from RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[&[0; 4][..], &[7; 4], &[0; 24]].concat()), 0x8a91_36aa);
    }
}
