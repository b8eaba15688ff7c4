//! Passwords that are guessed first.
//!
//! Of the thousand worst passwords nearly all are shorter than the least length here; what is left of them, and what
//! people make of them to reach the length, is common words, names, rows of the keyboard, dates and repetitions strung
//! together. So nothing is looked up in a list: a password is easy if little remains of it once these are taken out.

/// Characters that must remain for a password to be its own.
const REST_MIN: usize = 4;
/// Neighbours on a keyboard or in the alphabet count from so many on.
const RUN_MIN: usize = 3;

const ROWS: [&str; 9] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
];

/// What is tried first, without digits and signs. Longer words stand before their own beginnings.
const WORDS: [&str; 162] = [
    "administrator",
    "administration",
    "admin",
    "password",
    "passwort",
    "passphrase",
    "passwd",
    "kennwort",
    "motdepasse",
    "contrasena",
    "wachtwoord",
    "haslo",
    "parola",
    "senha",
    "pass",
    "secret",
    "geheim",
    "root",
    "toor",
    "username",
    "user",
    "guest",
    "default",
    "changeme",
    "changeit",
    "change",
    "letmein",
    "welcome",
    "willkommen",
    "bienvenue",
    "hello",
    "login",
    "logon",
    "access",
    "master",
    "system",
    "manager",
    "server",
    "service",
    "support",
    "operator",
    "console",
    "cluster",
    "kvorum",
    "quorum",
    "etcd",
    "kubernetes",
    "kube",
    "docker",
    "database",
    "backup",
    "network",
    "internet",
    "computer",
    "company",
    "office",
    "testing",
    "tester",
    "test",
    "temporary",
    "temp",
    "demo",
    "example",
    "sample",
    "public",
    "private",
    "security",
    "secure",
    "monkey",
    "dragon",
    "tiger",
    "lion",
    "eagle",
    "falcon",
    "shadow",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "basketball",
    "soccer",
    "hockey",
    "superman",
    "batman",
    "spiderman",
    "starwars",
    "pokemon",
    "matrix",
    "ninja",
    "samurai",
    "warrior",
    "killer",
    "hunter",
    "ranger",
    "trustno",
    "iloveyou",
    "loveyou",
    "lovely",
    "love",
    "forever",
    "freedom",
    "summer",
    "winter",
    "spring",
    "autumn",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "michael",
    "jessica",
    "jennifer",
    "jordan",
    "charlie",
    "thomas",
    "robert",
    "daniel",
    "andrew",
    "joshua",
    "matthew",
    "michelle",
    "ashley",
    "nicole",
    "amanda",
    "maggie",
    "buster",
    "ginger",
    "pepper",
    "cookie",
    "cheese",
    "banana",
    "orange",
    "purple",
    "yellow",
    "silver",
    "golden",
    "diamond",
    "mustang",
    "corvette",
    "ferrari",
    "mercedes",
    "porsche",
    "google",
    "facebook",
    "samsung",
    "microsoft",
    "windows",
    "linux",
];

/// True if a password is among the first that somebody would try for this account.
pub(super) fn is_easy(password: &str, account: &str) -> bool {
    let plain = plain(password);
    if is_repetition(&plain) || of_few_letters(&plain) {
        return true;
    }
    let mut rest = plain;
    let name = self::plain(account);
    if name.chars().count() >= RUN_MIN {
        rest = rest.replace(&name, " ");
    }
    // Runs of keys first, then words: "qwerty" is in no list of words.
    let rest = without_runs(&rest);
    rest_of_words(&rest) < REST_MIN
}

/// Small letters, and the letters that digits and signs stand for.
fn plain(text: &str) -> String {
    let letters = text.chars().flat_map(char::to_lowercase);
    letters
        .map(|letter| match letter {
            '@' => 'a',
            '$' => 's',
            '!' => 'i',
            letter => letter,
        })
        .collect()
}

/// `abcabcabcabc`, also with an end that is not whole.
fn is_repetition(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    let longest = letters.len() / 2;
    (1..=longest)
        .any(|period| (period..letters.len()).all(|at| letters[at] == letters[at - period]))
}

fn of_few_letters(text: &str) -> bool {
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    letters.len() < REST_MIN
}

/// Neighbours in a row, forwards or backwards, become a gap.
fn without_runs(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut rest = String::new();
    let mut at = 0;
    while at < letters.len() {
        let run = run_from(&letters[at..]);
        if run >= RUN_MIN {
            rest.push(' ');
            at += run;
        } else {
            rest.push(letters[at]);
            at += 1;
        }
    }
    rest
}

/// How many letters from the first on are neighbours, or the same.
fn run_from(letters: &[char]) -> usize {
    let same = letters.iter().take_while(|letter| **letter == letters[0]);
    let mut longest = same.count();
    for row in ROWS {
        let forwards: Vec<char> = row.chars().collect();
        let backwards: Vec<char> = row.chars().rev().collect();
        for row in [forwards, backwards] {
            for start in 0..row.len() {
                let pairs = row[start..].iter().zip(letters);
                longest = longest.max(pairs.take_while(|(a, b)| a == b).count());
            }
        }
    }
    longest
}

/// Letters that belong to no common word; digits and signs count for nothing, as they are what people add.
fn rest_of_words(text: &str) -> usize {
    // Digits stand for letters inside of words and for nothing at their ends, so both readings are tried.
    let spelled: String = text.chars().map(letter_of).collect();
    let counted = |text: &str| {
        let mut rest = text.to_owned();
        for word in WORDS {
            rest = rest.replace(word, " ");
        }
        rest.chars().filter(|c| c.is_alphabetic()).count()
    };
    counted(text).min(counted(&spelled))
}

fn letter_of(c: char) -> char {
    match c {
        '0' => 'o',
        '1' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::is_easy;

    #[test]
    fn what_is_tried_first_is_easy() {
        for password in [
            "password1234",
            "P@ssw0rd1234",
            "passwordpassword",
            "adminadmin123",
            "administrator",
            "123456789012",
            "987654321098",
            "qwertyuiop12",
            "1qaz2wsx3edc",
            "aaaaaaaaaaaa",
            "abababababab",
            "abcdefghijkl",
            "letmein12345!",
            "Welcome2026!!",
            "Summer2026!!!",
            "changeme-changeme",
            "kvorum-admin-1",
            "iloveyou12345",
            "superman-batman",
            "qwerty123456",
            "asdfghjkl;12",
            "111111222222",
            "trustno1trustno1",
            "grace-hopper-1",
        ] {
            assert!(is_easy(password, "grace-hopper"), "{password}");
        }
    }

    #[test]
    fn what_is_ones_own_is_not() {
        for password in [
            "correct horse battery staple",
            "Tr0ub4dor&3xyz",
            "vier gelbe Kähne",
            "j3kd-92ks-qmw1",
            "дом на горе 17",
            "ocean hat lamp",
            "x9!fQ2#mZ7@k",
            "grace-hopper-likes-moths",
        ] {
            assert!(!is_easy(password, "grace-hopper"), "{password}");
        }
    }
}
