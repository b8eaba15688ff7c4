//! Crockford's base 32 in lower case: digits and letters that are not mistaken for each other, and one text for one
//! value. What other decoders forgive (capitals, o for 0) is refused here: a checksum is to find every slip.

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How many digits so many bytes take.
pub(crate) const fn length(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Appends the digits; the last one is filled up with zero bits.
pub(crate) fn encode(bytes: &[u8], text: &mut String) {
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(held >> bits, text);
        }
    }
    if bits > 0 {
        push(held << (5 - bits), text);
    }
}

fn push(value: u32, text: &mut String) {
    text.push(char::from(DIGITS[(value & 31) as usize]));
}

/// Exactly this many bytes from exactly as many digits as they take.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != length(N) {
        return None;
    }
    let mut bytes = [0; N];
    let (mut held, mut bits, mut filled) = (0_u32, 0, 0);
    for digit in text.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        held = (held << 5 | u32::try_from(value).ok()?) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *bytes.get_mut(filled)? = u8::try_from(held >> bits & 0xff).ok()?;
            filled += 1;
        }
    }
    // What filled up the last digit.
    (filled == N && held & ((1 << bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<const N: usize>(bytes: [u8; N]) -> String {
        let mut text = String::new();
        encode(&bytes, &mut text);
        assert_eq!(text.len(), length(N));
        assert_eq!(decode::<N>(&text), Some(bytes));
        text
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        assert_eq!(round([]), "");
        assert_eq!(round([0xff]), "zw");
        assert_eq!(round([0, 1, 2, 3, 4]), "000g40r4");
        let text = round([0xa5; 16]);
        for position in 0..text.len() {
            for digit in 0..=127 {
                let mut changed = text.clone().into_bytes();
                let before = std::mem::replace(&mut changed[position], digit);
                let changed = String::from_utf8(changed).expect("ascii");
                if digit != before {
                    assert_ne!(decode::<16>(&changed), Some([0xa5; 16]), "{changed}");
                }
            }
        }
        assert_eq!(decode::<1>("zz"), None, "bits that mean nothing");
        assert_eq!(decode::<16>(&text.to_uppercase()), None);
        assert_eq!(decode::<16>(&text[1..]), None);
    }
}
