//! Commands that are printed are there to be pasted, whatever names and paths stand in them.

/// As a shell takes it for one word; what steers a terminal is spelled out as bash, ksh and zsh read it.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:,=@%+".contains(&byte);
    // zsh reads brackets as a pattern, and looks for a command behind a leading equals sign.
    if !text.is_empty() && !text.starts_with('=') && text.bytes().all(plain) {
        return text.to_owned();
    }
    if !text.chars().any(steers_terminal) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let spelled = text.chars().map(|c| match c {
        '\'' | '\\' => format!("\\{c}"),
        c if steers_terminal(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("$'{}'", spelled.collect::<String>())
}

/// Whether a character does something to a terminal other than to be seen there.
#[must_use]
pub fn steers_terminal(c: char) -> bool {
    let is_unseen = matches!(c, '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}');
    is_unseen || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_on_one_line() {
        assert_eq!(shell_word("/a/b.key"), "/a/b.key");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("https://[::1]:2379"), "'https://[::1]:2379'");
        assert_eq!(shell_word("=ls"), "'=ls'");
        assert_eq!(shell_word("a=b"), "a=b");
        assert_eq!(shell_word("a\n'\u{202e}"), r"$'a\u000a\'\u202e'");
    }
}
