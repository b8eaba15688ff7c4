//! Names in lists: whoever chose one could otherwise clear the screen, or add lines that look like ours.

use kvorum_pki::steers_terminal;

/// The same name, with all that steers a terminal or the direction of writing spelled out.
pub(super) fn legible(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c if steers_terminal(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_line_and_steers_no_terminal() {
        assert_eq!(legible("Ünïcode-1 b"), "Ünïcode-1 b");
        assert_eq!(legible("a\nb"), "a\\nb");
        assert_eq!(legible("\x1b[2Ja"), "\\u{1b}[2Ja");
        assert_eq!(legible("\u{9b}2J\u{202e}x"), "\\u{9b}2J\\u{202e}x");
    }
}
