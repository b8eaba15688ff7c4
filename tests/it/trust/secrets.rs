//! Secrets are nowhere but where they belong: not in logs, not in the process table, not in the files of the store.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kvorum_tests::process::{TestDir, kvorum_bin};

use super::{Member, Place, join, text, token_of};

/// What nobody may find: the lines of all private keys, the seal key, and the secret of a token.
fn canaries(member: &Member, token: &str) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(member.data_dir.join("pki")).expect("is there") {
        let text = fs::read(entry.expect("readable").path()).expect("readable");
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut secret = false;
        for line in text.lines() {
            secret =
                (secret || line.contains("BEGIN PRIVATE KEY")) && !line.contains("END PRIVATE");
            if secret && !line.contains("BEGIN") && line.len() > 20 {
                all.push(line.to_owned());
            }
        }
    }
    let seal = fs::read_to_string(member.pki("seal.key")).expect("is text");
    all.extend(
        seal.lines()
            .filter(|line| line.len() >= 32)
            .map(str::to_owned),
    );
    assert!(all.len() > 6, "keys were found: {}", all.len());
    all.push(token.split('.').nth(2).expect("kv1.ID.SECRET.…").to_owned());
    all
}

fn files_below(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true if path.ends_with("pki") => {}
            true => files_below(&path, found),
            false => found.push((
                path.display().to_string(),
                fs::read(&path).expect("readable"),
            )),
        }
    }
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len())
        .any(|window| window == word.as_bytes())
}

#[test]
fn secrets_are_neither_in_the_log_nor_in_the_store_nor_in_answers() {
    let dir = TestDir::new("canaries");
    let mut first = Place::new(&dir, "a").start();
    let line = first.told(&["token", "create"]);
    let token = token_of(&line).to_owned();
    let place = Place::new(&dir, "b");
    let joined = join(&token, &place);
    assert!(joined.status.success(), "{}", text(&joined));
    let mut second = place.start();
    let used = join(&token, &Place::new(&dir, "c"));
    assert!(!used.status.success(), "{}", text(&used));
    let mut places = vec![
        ("log of a".to_owned(), first.server.log().into_bytes()),
        ("log of b".to_owned(), second.server.log().into_bytes()),
        ("join".to_owned(), text(&joined).into_bytes()),
        ("a used token".to_owned(), text(&used).into_bytes()),
        (
            "token list".to_owned(),
            first.told(&["token", "list"]).into_bytes(),
        ),
        (
            "ca status".to_owned(),
            first.told(&["ca", "status"]).into_bytes(),
        ),
    ];
    // Files come and go while members run.
    for member in [&mut first, &mut second] {
        assert!(member.server.terminate().success());
    }
    let canaries = canaries(&first, &token);
    files_below(&first.data_dir, &mut places);
    files_below(&second.data_dir, &mut places);
    assert!(places.len() > 8);
    let known = kvorum_pki::JoinToken::parse(&token).expect("well formed");
    let (id, digest) = (known.id(), known.secret_digest());
    let holds = |part: &[u8]| {
        let mut all = places.iter();
        all.any(|(_, bytes)| bytes.windows(part.len()).any(|window| window == part))
    };
    assert!(holds(id.as_bytes()), "the token is in the log or the state");
    assert!(
        !holds(&digest[..]),
        "what joins instead of the secret is in clear"
    );
    for (name, bytes) in &places {
        for canary in &canaries {
            assert!(!contains(bytes, canary), "{name} holds a secret");
        }
    }
}

#[test]
fn the_process_table_does_not_show_the_token_of_a_join() {
    let dir = TestDir::new("hidden-token");
    let member = Place::new(&dir, "a").start();
    let token = token_of(&member.told(&["token", "create"])).to_owned();
    let secret = token.split('.').nth(2).expect("kv1.ID.SECRET.…").to_owned();
    // It goes on asking where nobody listens any more.
    drop(member);
    let mut command = Command::new(kvorum_bin());
    command
        .arg("join")
        .arg(&token)
        .args(Place::new(&dir, "b").settings());
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let line = format!("/proc/{}/cmdline", child.id());
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut hidden = false;
    while child.try_wait().expect("is ours").is_none() && Instant::now() < deadline {
        let words = fs::read(&line).unwrap_or_default();
        hidden = contains(&words, "join\0-\0") && !contains(&words, &secret);
        if hidden {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("is a pipe");
    stderr.read_to_string(&mut said).expect("is text");
    assert!(hidden, "{said}");
    assert!(!said.contains(&secret), "{said}");
}
