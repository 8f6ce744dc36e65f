//! Encodings of text in addresses and tokens.

/// The alphabet of base64url (RFC 4648, section 5).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Encodes without padding.
pub(crate) fn base64_url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 3);
    for chunk in bytes.chunks(3) {
        let joined = chunk.iter().fold(0_u32, |joined, byte| joined << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let six = (joined >> (18 - 6 * place)) & 63;
            text.extend(ALPHABET.get(six as usize).map(|char| char::from(*char)));
        }
    }
    text
}

/// Decodes base64url, with or without padding; `None` if a character is not of it.
pub(super) fn base64_url_decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut joined, mut bits) = (Vec::new(), 0_u32, 0);
    for char in text.trim_end_matches('=').bytes() {
        let six = ALPHABET.iter().position(|known| *known == char)?;
        joined = (joined << 6 | six as u32) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((joined >> bits) as u8);
        }
    }
    Some(bytes)
}

/// Decodes `%20` and the like; what is no code stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    loop {
        rest = match rest {
            [] => break,
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |char: u8| char::from(char).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(*high) << 4 | digit(*low));
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Encodes a value of a query.
pub(super) fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_url_comes_back_at_each_length() {
        for length in 0..20_u8 {
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(53)).collect();
            assert_eq!(base64_url_decoded(&base64_url(&bytes)), Some(bytes));
        }
        assert_eq!(base64_url(b"\xff\xef"), "_-8");
        assert_eq!(base64_url_decoded("a+b"), None);
    }

    #[test]
    fn percent_codes_come_back() {
        assert_eq!(percent_decoded(&percent_encoded("a/ä b%")), "a/ä b%");
        assert_eq!(percent_decoded("100%&%4"), "100%&%4");
    }
}
