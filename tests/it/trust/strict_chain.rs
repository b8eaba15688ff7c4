//! After a change of the root, clients that follow one signature and look for no other (OpenSSL's, so curl's and Python's)
//! still find their way from what a member shows to the root that it hands out.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kvorum_tests::process::{TestDir, find_program};

use super::{Member, Place, text};

/// Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What OpenSSL says about the member's chain, with nothing but the roots that the member hands out.
fn verified(openssl: &std::path::Path, member: &Member, roots: &std::path::Path) -> String {
    let output = Command::new(openssl)
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", member.server.port()),
        ])
        .args(["-verify_return_error", "-brief", "-CAfile"])
        .arg(roots)
        .arg("-cert")
        .arg(member.pki("admin.crt"))
        .arg("-key")
        .arg(member.pki("admin.key"))
        .stdin(Stdio::null())
        .output()
        .expect("openssl starts");
    text(&output)
}

#[tokio::test]
async fn openssl_verifies_a_member_after_the_root_has_changed() {
    let Some(openssl) = find_program("openssl") else {
        eprintln!("SKIP: there is no openssl here");
        return;
    };
    let dir = TestDir::new("strict-chain");
    let member = Place::new(&dir, "a").start();
    let roots = dir.path().join("roots.pem");
    for _ in 0..2 {
        let before = member.told(&["ca", "export"]);
        member.told(&["ca", "rotate", "--grace", "1s"]);
        let begin = Instant::now();
        loop {
            let exported = member.told(&["ca", "export"]);
            let is_over = member
                .told(&["ca", "status"])
                .contains("no rotation is under way");
            let is_other = exported != before && exported.matches("BEGIN CERTIFICATE").count() == 1;
            std::fs::write(&roots, &exported).expect("written");
            let said = verified(&openssl, &member, &roots);
            if is_over && is_other && said.contains("Verification: OK") {
                break;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{said}\n{}",
                member.server.log()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
