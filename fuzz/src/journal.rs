//! Any bytes as a journal: as they are, and as the lines of a journal whose checksums and numbers
//! are right, so that what stands in the events is tried and not the checksum alone.

use lexpr::journal::{ReadJournal, parse};
use lexpr::vocabulary::event::Recorded;
use serde_json::Value;

/// Everything one can do with the bytes of a journal.
///
/// # Panics
/// Where something does not hold.
pub fn try_all(bytes: &[u8]) {
    if let Ok(journal) = parse(bytes) {
        read(bytes, &journal);
    }
    let signed = signed(bytes);
    let whole = parse(&signed);
    let events = match &whole {
        Ok(journal) => {
            read(&signed, journal);
            &journal.events[..]
        }
        // A line that is JSON but no event.
        Err(damage) => {
            assert_eq!(damage.line, damage.certain + 1);
            &parse(&signed[..line_start(&signed, damage.certain)]).expect("what is certain can be read").events
        }
    };
    torn(&signed, events, bytes);
    overwritten(&signed, events, bytes);
    damaged(&signed, events, bytes);
}

/// Every whole line is an event and the rest is torn, to the byte.
fn read(bytes: &[u8], journal: &ReadJournal) {
    assert!(journal.events.iter().zip(1..).all(|(recorded, seq)| recorded.seq == seq));
    let whole = bytes.len() - journal.torn_bytes;
    let again = parse(&bytes[..whole]).expect("what was read once can be read again");
    assert_eq!((again.torn_bytes, &again.events), (0, &journal.events));
    assert_eq!(bytes[..whole].iter().filter(|byte| **byte == b'\n').count(), journal.events.len());
    // What is written of what was read is read as the same.
    let written: Vec<u8> = journal.events.iter().flat_map(|recorded| line(&json(recorded))).collect();
    let rewritten = parse(&written).expect("what lexpr writes it reads");
    assert_eq!((rewritten.torn_bytes, &rewritten.events), (0, &journal.events));
}

/// A write that was cut short anywhere leaves what was written before.
fn torn(signed: &[u8], events: &[Recorded], entropy: &[u8]) {
    let sound = &signed[..line_start(signed, events.len())];
    let cut = pick(entropy, sound.len() + 1);
    let journal = parse(&sound[..cut]).expect("a torn end is no damage");
    let whole = sound[..cut].iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(journal.events, events[..whole]);
    assert_eq!(journal.torn_bytes, cut - line_start(sound, whole));
}

/// Whatever stands behind events, newlines or not, takes none of them away.
fn overwritten(signed: &[u8], events: &[Recorded], entropy: &[u8]) {
    let kept = pick(entropy, events.len() + 1);
    let sound = &signed[..line_start(signed, kept)];
    match parse(&[sound, entropy].concat()) {
        Ok(journal) => {
            assert_eq!(journal.events[..kept], events[..kept]);
            assert!(journal.events.len() > kept || journal.torn_bytes == entropy.len());
        }
        Err(damage) => assert!(damage.certain >= kept),
    }
}

/// A flipped bit is seen, and what stands before it is certain.
fn damaged(signed: &[u8], events: &[Recorded], entropy: &[u8]) {
    let mut sound = signed[..line_start(signed, events.len())].to_vec();
    if sound.is_empty() {
        return;
    }
    let at = pick(entropy, sound.len());
    sound[at] ^= 1 << (entropy.len() % 7);
    let before = signed[..at].iter().filter(|byte| **byte == b'\n').count();
    match parse(&sound) {
        Ok(journal) => {
            assert_eq!(before + 1, events.len(), "the bit was in the last line");
            assert_eq!(journal.events, events[..before]);
            assert_eq!(journal.torn_bytes, sound.len() - line_start(signed, before));
        }
        Err(damage) => assert_eq!((damage.line, damage.certain), (before + 1, before)),
    }
}

/// The lines of `bytes` that are JSON objects, as the lines of a journal: each with its number and
/// its checksum, in place of any that it has.
pub fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(bytes.len() * 2);
    let mut seq: u64 = 0;
    for text in bytes.split(|byte| *byte == b'\n') {
        let from = text.iter().position(|byte| *byte == b'{').unwrap_or(text.len());
        if let Ok(Value::Object(mut object)) = serde_json::from_slice(&text[from..]) {
            seq += 1;
            object.insert("seq".to_owned(), Value::from(seq));
            signed.extend(line(&json(&object)));
        }
    }
    signed
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has string keys")
}

/// As src/journal.rs says that a line is made.
fn line(json: &[u8]) -> Vec<u8> {
    let sum = blake3::hash(json).to_hex();
    [&sum.as_bytes()[..16], b" ", json, b"\n"].concat()
}

/// Where the line of this number, from 0, begins.
fn line_start(bytes: &[u8], number: usize) -> usize {
    let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    newlines.map(|(at, _)| at + 1).take(number).last().unwrap_or(0)
}

/// A number below `bound` that the bytes decide.
fn pick(bytes: &[u8], bound: usize) -> usize {
    let hash = blake3::hash(bytes);
    let number = hash.as_bytes()[..8].iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    number % bound
}
