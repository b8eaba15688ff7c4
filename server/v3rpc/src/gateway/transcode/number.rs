//! Whole numbers as protojson takes them: `7`, `7.0`, `70e-1`, and the same in quotes.

/// How many bytes at the start of `text` are one number, if what follows does not belong to it.
pub(super) fn prefix(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let at = |index: usize| text.get(index).copied();
    let mut end = usize::from(at(0) == Some(b'-'));
    match at(end)? {
        b'0' => end += 1,
        b'1'..=b'9' => end += digits(end),
        _ => return None,
    }
    if at(end) == Some(b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(at(end), Some(b'e' | b'E')) && at(end + 1).is_some() {
        end += 1;
        if matches!(at(end), Some(b'+' | b'-')) {
            end += 1;
            at(end)?;
        }
        end += digits(end);
    }
    match at(end) {
        Some(next) if is_word(next) => None,
        _ => Some(end),
    }
}

/// A byte that cannot follow a number or a literal.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_')
}

/// The value of a number without a fraction, in digits that the standard library reads.
pub(super) fn whole(number: &[u8]) -> Option<String> {
    // More than any number of 64 bits has.
    const DIGITS_MAX: usize = 20;
    let text = std::str::from_utf8(number).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let (int, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let int = int.strip_prefix('0').unwrap_or(int);
    let fraction = fraction.trim_end_matches('0');
    if int.is_empty() && fraction.is_empty() {
        return Some("0".to_owned());
    }
    let exponent: i32 = match exponent {
        "" => 0,
        given => given.parse().ok()?,
    };
    let mut digits = if negative { "-" } else { "" }.to_owned();
    let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
    if exponent >= 0 {
        if fraction.len() > shift || int.len().saturating_add(shift) > DIGITS_MAX {
            return None;
        }
        digits.push_str(int);
        digits.push_str(fraction);
        digits.extend(std::iter::repeat_n('0', shift - fraction.len()));
    } else {
        let (kept, dropped) = int.split_at_checked(int.len().checked_sub(shift)?)?;
        if !fraction.is_empty() || dropped.bytes().any(|digit| digit != b'0') {
            return None;
        }
        digits.push_str(kept);
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_they_end() {
        for (text, length) in [
            ("0", Some(1)),
            ("-12,", Some(3)),
            ("1.50}", Some(4)),
            ("1e5 ", Some(3)),
            ("1E-5", Some(4)),
            ("12 34", Some(2)),
            ("01", None),
            ("1.", None),
            ("1x", None),
            ("-", None),
            ("+1", None),
            ("", None),
            ("1e+", None),
        ] {
            assert_eq!(prefix(text.as_bytes()), length, "{text}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_fraction_or_an_exponent() {
        for (text, value) in [
            ("7", Some("7")),
            ("-7", Some("-7")),
            ("0", Some("0")),
            ("-0.0", Some("0")),
            ("7.00", Some("7")),
            ("70e-1", Some("7")),
            ("0.07e2", Some("07")),
            ("1.5e1", Some("15")),
            ("1e3", Some("1000")),
            ("9007199254740993", Some("9007199254740993")),
            ("7.5", None),
            ("75e-1", None),
            ("1e999999999", None),
            ("1e-999999999", None),
            ("1e99999999999", None),
        ] {
            assert_eq!(whole(text.as_bytes()).as_deref(), value, "{text}");
        }
    }
}
