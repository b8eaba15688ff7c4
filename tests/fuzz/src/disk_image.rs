//! Files on a disk in memory: a valid image that an input damages before it is opened.

use kvorum_storage::{Disk as _, MemDisk, OpenMode};

use crate::input::Input;

/// Names and contents.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// A file never grows beyond this: it is the opened code, not the image, that must stay small.
const FILE_BYTES_MAX: usize = 8 << 20;

/// A disk with these files, all of it synced.
pub(crate) fn disk_of(files: &Files) -> MemDisk {
    let disk = MemDisk::new();
    for (name, bytes) in files {
        let file = disk.open(name, OpenMode::New).expect("names differ");
        file.write_at(0, bytes).expect("memory does not fail");
        file.sync().expect("memory does not fail");
    }
    disk.sync_dir().expect("memory does not fail");
    disk
}

/// One change that the input names, to a file that it chooses. What it does not name is left as it is.
pub(crate) fn damage(files: &mut Files, input: &mut Input<'_>) {
    if files.is_empty() {
        return;
    }
    let kind = input.u8() % 9;
    let chosen = usize::from(input.u8()) % files.len();
    let offset = usize::from(input.u16()) << 8 | usize::from(input.u8());
    let count = usize::from(input.u16());
    match kind {
        7 => {
            files.swap_remove(chosen);
        }
        8 => {
            // A file under another one's name.
            let other = count % files.len();
            if chosen != other {
                let bytes = files[chosen].1.clone();
                files[other].1 = bytes;
            }
        }
        _ => change(files, chosen, kind, offset, count, input),
    }
}

fn change(
    files: &mut Files,
    chosen: usize,
    kind: u8,
    offset: usize,
    count: usize,
    input: &mut Input<'_>,
) {
    let from = files.get(count % files.len()).map(|file| file.1.clone());
    let Some((_, bytes)) = files.get_mut(chosen) else {
        return;
    };
    let offset = offset % bytes.len().max(1);
    match kind {
        0 => {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1 << (count & 7);
            }
        }
        1 => overwrite(bytes, offset, input.piece()),
        2 => bytes.truncate(offset),
        3 => {
            let zeros = vec![0; count];
            overwrite(bytes, offset, &zeros);
        }
        // A block of some file in the place of another, as a disk that mistakes an address writes it.
        4 => {
            let (to, block) = (offset / BLOCK * BLOCK, usize::from(input.u8()) * BLOCK);
            let end = from
                .as_ref()
                .map_or(0, |from| from.len().min(block + BLOCK));
            let piece = from.as_ref().and_then(|from| from.get(block..end));
            overwrite(bytes, to, piece.unwrap_or_default());
        }
        5 => {
            let longer = (bytes.len() + count).min(FILE_BYTES_MAX);
            bytes.resize(longer, input.u8());
        }
        _ => {
            let end = (offset + count).min(bytes.len());
            bytes.drain(offset.min(end)..end);
        }
    }
}

const BLOCK: usize = 4096;

/// Writes as far as the file goes.
pub(crate) fn overwrite(bytes: &mut [u8], offset: usize, piece: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(offset).zip(piece) {
        *byte = *new;
    }
}
