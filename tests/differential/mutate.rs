//! Requests that are nearly right: their bytes changed as a broken client or a broken wire would, or as an attacker
//! does who knows the format.

use bytes::Bytes;
use kvorum_tests::harness::generate::Dice;

/// Changes a message in one to three ways.
pub(crate) fn mutate(dice: &mut Dice, message: &[u8]) -> Bytes {
    let mut bytes = message.to_vec();
    for _ in 0..=dice.pick(&[0, 0, 0, 1, 2]) {
        once(dice, &mut bytes);
    }
    bytes.into()
}

fn once(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.index(bytes.len() + 1);
    match dice.below(10) {
        0 => bytes.truncate(at),
        1 => flip(dice, bytes),
        2 => drop(bytes.splice(at..at, noise(dice))),
        3 => {
            // A field twice, or a piece of one.
            let end = at + dice.index(bytes.len() - at + 1);
            let piece = bytes[at..end].to_vec();
            bytes.extend(piece);
        }
        4 => {
            let end = at + dice.index((bytes.len() - at).min(4) + 1);
            bytes.drain(at..end);
        }
        5 => bytes.extend_from_within(..),
        6 => bytes.extend(noise(dice)),
        7 => bytes.extend(unknown_field(dice)),
        8 => {
            let field = unknown_field(dice);
            bytes.splice(0..0, field);
        }
        _ => bytes.extend(known_field(dice)),
    }
}

fn flip(dice: &mut Dice, bytes: &mut [u8]) {
    if bytes.is_empty() {
        return;
    }
    let at = dice.index(bytes.len());
    bytes[at] = match dice.below(4) {
        0 => 0,
        1 => 0xff,
        2 => bytes[at] ^ (1 << dice.below(8)),
        _ => dice.any().to_le_bytes()[0],
    };
}

fn noise(dice: &mut Dice) -> Vec<u8> {
    (0..dice.index(12))
        .map(|_| dice.any().to_le_bytes()[0])
        .collect()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A field that no message has, of any wire type, groups included.
fn unknown_field(dice: &mut Dice) -> Vec<u8> {
    let number = dice.pick(&[15, 99, 2_047, 536_870_911]);
    let mut field = Vec::new();
    match dice.below(6) {
        0 => {
            varint(number << 3, &mut field);
            varint(dice.any(), &mut field);
        }
        1 => {
            varint(number << 3 | 1, &mut field);
            field.extend(dice.any().to_le_bytes());
        }
        2 => {
            varint(number << 3 | 2, &mut field);
            varint(3, &mut field);
            field.extend(b"new");
        }
        3 => {
            varint(number << 3 | 5, &mut field);
            field.extend([1, 2, 3, 4]);
        }
        4 => {
            varint(number << 3 | 3, &mut field);
            field.extend([0x08, 0x01]);
            varint(number << 3 | 4, &mut field);
        }
        _ => {
            varint(number << 3 | dice.pick(&[4, 6, 7]), &mut field);
            field.extend([0, 0]);
        }
    }
    field
}

/// A low field number with any wire type and any content: often a field of the message, often not as it should be.
fn known_field(dice: &mut Dice) -> Vec<u8> {
    let number = 1 + dice.below(14);
    let mut field = Vec::new();
    if dice.one_in(3) {
        varint(number << 3 | 2, &mut field);
        let content = noise(dice);
        varint(content.len() as u64, &mut field);
        field.extend(content);
    } else {
        varint(number << 3, &mut field);
        let any = dice.any();
        varint(
            dice.pick(&[0, 1, 2, 1 << 31, 1 << 63, u64::MAX, any]),
            &mut field,
        );
    }
    field
}
