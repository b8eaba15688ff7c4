//! Bits that turn over in one member's files while it serves.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    load::{Load, Size},
    members::Cluster,
    net::Place,
    one_at_a_time, seed, verdict,
};
use crate::{both::Side, seed::Seed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_are_never_served_and_heal_without_a_human() {
    let _one = one_at_a_time().await;
    let flips = crate::number_from_env("KVORUM_TEST_CLUSTER_FLIPS", 40);
    let mut random = seed();
    let mut cluster = Cluster::start("flips", 3);
    if cluster.side == Side::Etcd {
        println!("SKIP flipped bits: etcd does not mend them");
        return;
    }
    let load = Load::start(cluster.urls(), Size::usual(random.next()));
    load.progress(300).await;
    let victim = random.below(3) as usize;
    let mut starts = 0;
    for flip in 0..flips {
        flip_one(&cluster.members[victim].data_dir, &mut random);
        load.progress(5).await;
        // Every so often it has to read everything that it kept.
        if flip % 5 == 4 {
            cluster.kill(victim);
            flip_one(&cluster.members[victim].data_dir, &mut random);
            cluster.spawn(victim);
            load.progress(20).await;
        }
        starts += supervise(&mut cluster, victim);
    }
    let mut patience = 0;
    while cluster
        .view(victim)
        .await
        .is_none_or(|view| view.leader == 0 || view.is_learner)
    {
        patience += 1;
        assert!(patience < 300, "not healed: {}", cluster.describe().await);
        starts += supervise(&mut cluster, victim);
        sleep(Duration::from_millis(200)).await;
    }
    // What is still to be found is found by reading it all once more.
    cluster.kill(victim);
    cluster.spawn(victim);
    let history = load.stop().await;
    println!(
        "{flips} flipped bits in member {victim}, which ended {starts} times for its supervisor"
    );
    verdict::expect_sound(&cluster, &history, "flipped bits").await;
}

/// What systemd does: who ended is started again.
fn supervise(cluster: &mut Cluster, place: Place) -> usize {
    if !cluster.server(place).has_ended() {
        return 0;
    }
    cluster.kill(place);
    cluster.spawn(place);
    1
}

/// Turns over one bit of one of the files in which the member keeps its log and its state.
fn flip_one(folder: &Path, random: &mut Seed) {
    let mut files = Vec::new();
    list(folder, &mut files);
    files.sort();
    for _ in 0..100 {
        let path = &files[random.below(files.len() as u64) as usize];
        // A file may go while we look: logs are cut, damaged ones are set aside.
        let Ok(file) = File::options().read(true).write(true).open(path) else {
            continue;
        };
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        let at = random.below(len.max(1));
        let mut byte = [0];
        // Room that was never written is no damage.
        if file.read_exact_at(&mut byte, at).is_err() || byte == [0] {
            continue;
        }
        byte[0] ^= 1 << random.below(8);
        file.write_all_at(&byte, at).expect("the test's own file");
        return;
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // What was set aside is not read again.
            if name != "damaged" {
                list(&path, files);
            }
        } else if name != "lock" {
            files.push(path);
        }
    }
}
