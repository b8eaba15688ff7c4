//! Makes the same what two servers must print differently: ids, addresses, times.

/// Ids in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Normal {
    ids: Vec<String>,
    lease: String,
}

impl Normal {
    /// Puts the last lease's id in place of `LEASE`.
    pub(super) fn fill_in(&self, word: &str) -> String {
        word.replace("LEASE", &self.lease)
    }

    /// The text with every id, address, time and raft number replaced by what it stands for.
    pub(super) fn normalise(&mut self, text: &str) -> String {
        let granted = text
            .split_once("lease ")
            .filter(|_| text.contains(" granted with TTL("));
        if let Some((_, rest)) = granted {
            self.lease = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        let mut text = cut_after(text, "took = ", "\n");
        text = cut_after(&text, "remaining(", "s)");
        text = cut_after(&text, "http://", "\",]} ");
        text = cut_after(&text, "127.0.0.1:", "\",]} ");
        for number in ["\"raft_term\":", "\"RaftTerm\" : ", "\"raftTerm\":"] {
            text = cut_after(&text, number, ",}\n");
        }
        self.name_ids(&text)
    }

    /// Replaces words that are ids: hexadecimal or decimal, and far too long to be anything else.
    fn name_ids(&mut self, text: &str) -> String {
        let mut named = String::new();
        let mut word = String::new();
        for letter in text.chars().chain([' ']) {
            if letter.is_ascii_alphanumeric() {
                word.push(letter);
                continue;
            }
            if word.len() > 10 && word.chars().all(|letter| letter.is_ascii_hexdigit()) {
                word = self.name(&word);
            }
            named.push_str(&word);
            named.push(letter);
            word.clear();
        }
        named.trim_end().to_owned()
    }

    fn name(&mut self, id: &str) -> String {
        let position = self
            .ids
            .iter()
            .position(|known| known == id)
            .unwrap_or_else(|| {
                self.ids.push(id.to_owned());
                self.ids.len() - 1
            });
        format!("ID{position}")
    }
}

/// Replaces what follows each `mark`, up to one of the `ends`.
fn cut_after(text: &str, mark: &str, ends: &str) -> String {
    let mut pieces = text.split(mark);
    let mut cut = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece
            .find(|letter| ends.contains(letter))
            .unwrap_or(piece.len());
        cut.push_str(mark);
        cut.push('…');
        cut.push_str(&piece[end..]);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_named_in_the_order_of_their_appearance() {
        let mut normal = Normal::default();
        let text = "{\"cluster_id\":14841639068965178418,\"member_id\":10276657743932975437,\"revision\":2}";
        assert_eq!(
            normal.normalise(text),
            "{\"cluster_id\":ID0,\"member_id\":ID1,\"revision\":2}"
        );
        assert_eq!(normal.normalise("10276657743932975437"), "ID1");
    }

    #[test]
    fn a_granted_lease_can_be_referred_to() {
        let mut normal = Normal::default();
        let printed = normal.normalise("0 lease 694d8e9d2a3b4c0f granted with TTL(100s)\n");
        assert_eq!(printed, "0 lease ID0 granted with TTL(100s)");
        assert_eq!(normal.fill_in("--lease=LEASE"), "--lease=694d8e9d2a3b4c0f");
    }

    #[test]
    fn addresses_and_times_are_cut() {
        let mut normal = Normal::default();
        let printed = normal.normalise("127.0.0.1:2379 is healthy: took = 1.5ms\n");
        assert_eq!(printed, "127.0.0.1:… is healthy: took = …");
        assert_eq!(normal.normalise("remaining(99s), x"), "remaining(…s), x");
    }
}
