//! The journal: one line an event, each with a checksum, in a file that is only ever appended to.
//!
//! A line is `<16 hex digits> <JSON>\n`, the digits being the first 64 bits of the BLAKE3 hash of
//! the JSON.
//!
//! What was synced is there after a crash; what was written since may be anything after a power
//! loss: nothing, half a line, zeros, blocks of other files, newlines among them. So from the first
//! line that is no event, or not the next one, all is a torn tail and is left out, unless a later
//! event stands behind it: then the journal is damaged in its middle, which is an error, because a
//! fact is missing that others were built on. Damage that reaches from some event to the end cannot
//! be told from a torn tail; whoever cuts one off has to say how much it was.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::crash;
use crate::ports::{self, PortError};
use crate::vocabulary::event::Recorded;

/// The checksum's length in hex digits.
const CHECKSUM_DIGITS: usize = 16;

/// What is read at once in search of the last line: that of a run of a hundred items.
const LAST_CHUNK: u64 = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: the journal is damaged ({why}); the {certain} events before it are intact")]
    Damaged { path: PathBuf, line: usize, why: String, certain: usize },
}

impl JournalError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct JournalFile {
    file: File,
    path: PathBuf,
    /// Lines not yet handed to the operating system.
    pending: Vec<u8>,
    /// A failed write or sync: what is on disk is no longer known, so nothing is added to it.
    failed: Option<String>,
}

/// Bytes of the buffer that is kept for the next event.
const KEPT_BUFFER: usize = 64 * 1024;

/// A line on its way to the file. The first event holds the whole plan and is a thousand times as long as the others: what
/// does not fit into the buffer is hashed and let go, and written in a second go.
struct Line {
    /// With room for the checksum; of what is too long the end.
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    is_long: bool,
}

impl Line {
    /// Digits and a space.
    const BEFORE: usize = CHECKSUM_DIGITS + 1;

    fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(Self::BEFORE, b' ');
        Self { bytes: buffer, hasher: blake3::Hasher::new(), is_long: false }
    }

    fn checksum(&mut self) -> String {
        self.hasher.update(&self.bytes[Self::BEFORE..]);
        digits(&self.hasher.finalize())
    }

    /// All of it, where it fitted.
    fn whole(&mut self, checksum: &str) -> Option<&[u8]> {
        self.bytes[..CHECKSUM_DIGITS].copy_from_slice(checksum.as_bytes());
        self.bytes.push(b'\n');
        (!self.is_long).then_some(&self.bytes)
    }
}

impl Write for Line {
    fn write(&mut self, json: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + json.len() > KEPT_BUFFER {
            self.is_long = true;
            self.hasher.update(&self.bytes[Self::BEFORE..]).update(json);
            self.bytes.truncate(Self::BEFORE);
        } else {
            self.bytes.extend_from_slice(json);
        }
        Ok(json.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl JournalFile {
    /// Creates the journal; its folder must exist. The folder's entry is made durable too.
    ///
    /// # Errors
    /// Where the file exists already or cannot be created.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        crash::point!("journal.create.before");
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(JournalError::io("creating the journal", path))?;
        crash::point!("journal.create.made");
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(JournalError::io("syncing", folder))?;
        }
        crash::point!("journal.create.after");
        Ok(Self { file, path: path.to_owned(), pending: Vec::new(), failed: None })
    }

    /// Opens the journal of a run that goes on, without the `torn_bytes` at its end.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn reopen(path: &Path, torn_bytes: u64) -> Result<Self, JournalError> {
        let reopen = || {
            let file = OpenOptions::new().append(true).open(path)?;
            let whole = file.metadata()?.len().saturating_sub(torn_bytes);
            crash::point!("journal.reopen.before");
            file.set_len(whole)?;
            crash::point!("journal.reopen.cut");
            file.sync_all()?;
            Ok(file)
        };
        let file = reopen().map_err(JournalError::io("reopening the journal", path))?;
        Ok(Self { file, path: path.to_owned(), pending: Vec::new(), failed: None })
    }

    fn attempt(
        &mut self,
        doing: &'static str,
        act: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> Result<(), PortError> {
        let result = match &self.failed {
            Some(earlier) => Err(format!("an earlier write failed: {earlier}")),
            None => act(&mut self.file).map_err(|error| error.to_string()),
        };
        result.map_err(|why| {
            self.failed = Some(why.clone());
            PortError {
                message: format!("{doing} {}: {why}", self.path.display()),
                hint: Some(
                    "free some space or make the folder writable; what was journalled before is kept".to_owned(),
                ),
            }
        })
    }
}

impl ports::Journal for JournalFile {
    fn append(&mut self, recorded: &Recorded) -> Result<(), PortError> {
        let mut line = Line::new(std::mem::take(&mut self.pending));
        let written = serde_json::to_writer(&mut line, recorded);
        written.expect("an event is made of strings, numbers and lists");
        let checksum = line.checksum();
        crash::point!("journal.append.before");
        let result = match line.whole(&checksum) {
            Some(whole) => {
                crash::torn!("journal.append.torn", self.file, whole);
                self.attempt("writing", |file| file.write_all(whole))
            }
            None => self.attempt("writing", |file| {
                let mut file = BufWriter::with_capacity(KEPT_BUFFER, file);
                write!(file, "{checksum} ")?;
                serde_json::to_writer(&mut file, recorded)?;
                file.write_all(b"\n")?;
                file.flush()
            }),
        };
        self.pending = line.bytes;
        crash::point!("journal.append.after");
        result
    }

    fn sync(&mut self) -> Result<(), PortError> {
        crash::point!("journal.sync.before");
        let result = self.attempt("syncing", |file| file.sync_data());
        crash::point!("journal.sync.after");
        result
    }
}

/// What a journal holds.
#[derive(Debug)]
pub struct ReadJournal {
    pub events: Vec<Recorded>,
    /// Bytes at the end that are no whole events: what a crash left of the last writes.
    pub torn_bytes: usize,
}

/// The first event of a journal, without reading the rest; `None` where there is none that is whole.
pub fn first(path: &Path) -> Option<Recorded> {
    let mut line = Vec::new();
    BufReader::new(File::open(path).ok()?).read_until(b'\n', &mut line).ok()?;
    parse_line(line.strip_suffix(b"\n")?, 1).ok()
}

/// The last event of a journal, without reading the rest; `None` where its end is no whole event.
/// Whether what stands before it is intact is not looked at.
pub fn last(path: &Path) -> Option<Recorded> {
    let mut file = File::open(path).ok()?;
    let mut from = file.metadata().ok()?.len();
    let mut tail = Vec::new();
    loop {
        let chunk = LAST_CHUNK.min(from);
        from -= chunk;
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        (&file).take(chunk).read_to_end(&mut bytes).ok()?;
        bytes.append(&mut tail);
        tail = bytes;
        let lines = tail.strip_suffix(b"\n")?;
        match lines.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => return parse_any(&lines[end + 1..]).ok(),
            None if from == 0 => return parse_any(lines).ok(),
            None => {}
        }
    }
}

/// Whether every line of a journal is as it was written, and nothing follows the last. What the lines say is not
/// looked at, which takes much longer.
pub fn is_intact(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let Some(lines) = bytes.strip_suffix(b"\n") else { return bytes.is_empty() };
    let is_intact = |(line, seq): (&[u8], u64)| {
        // The number comes first in an event.
        let begins = format!("{{\"seq\":{seq},");
        signed(line).is_ok_and(|json| json.starts_with(begins.as_bytes()))
    };
    lines.split(|byte| *byte == b'\n').zip(1..).all(is_intact)
}

/// Reads a journal, one that is being written included.
///
/// # Errors
/// Where it cannot be read or is damaged before its last event.
pub fn read(path: &Path) -> Result<ReadJournal, JournalError> {
    let bytes = std::fs::read(path).map_err(JournalError::io("reading", path))?;
    parse(&bytes).map_err(|Damage { line, why, certain }| JournalError::Damaged {
        path: path.to_owned(),
        line,
        why,
        certain,
    })
}

/// A line that is no event, or not the next one, and has a later event behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Counted from 1.
    pub line: usize,
    pub why: String,
    /// How many events before it are intact.
    pub certain: usize,
}

/// Reads the bytes of a journal.
///
/// # Errors
/// Where they are damaged before the last event.
pub fn parse(bytes: &[u8]) -> Result<ReadJournal, Damage> {
    let mut events: Vec<Recorded> = Vec::new();
    let mut rest = bytes;
    // Without its newline even a line that reads well may be half of one.
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let expected = events.last().map_or(1, |last| last.seq + 1);
        match parse_line(&rest[..end], expected) {
            Ok(event) => events.push(event),
            Err(why) if holds_an_event_from(expected, rest) => {
                return Err(Damage { line: events.len() + 1, why, certain: events.len() });
            }
            Err(_) => break,
        }
        rest = &rest[end + 1..];
    }
    Ok(ReadJournal { events, torn_bytes: rest.len() })
}

/// Whether a whole event of this number or a later one stands anywhere in `bytes`, be it behind what
/// was a line of its own before its newline was damaged.
fn holds_an_event_from(seq: u64, bytes: &[u8]) -> bool {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes[..whole].split(|byte| *byte == b'\n').any(|line| {
        let may_begin = |at: &usize| line[*at..].get(CHECKSUM_DIGITS..CHECKSUM_DIGITS + 2) == Some(b" {");
        let mut starts = (0..line.len()).filter(may_begin);
        starts.any(|at| parse_any(&line[at..]).is_ok_and(|event| event.seq >= seq))
    })
}

fn parse_line(line: &[u8], expected_seq: u64) -> Result<Recorded, String> {
    let event = parse_any(line)?;
    if event.seq != expected_seq {
        return Err(format!("event {} stands where {expected_seq} is expected", event.seq));
    }
    Ok(event)
}

/// A whole line, wherever it stands.
fn parse_any(line: &[u8]) -> Result<Recorded, String> {
    serde_json::from_slice(signed(line)?).map_err(|error| format!("an event cannot be read: {error}"))
}

/// What the checksum of a line is of.
fn signed(line: &[u8]) -> Result<&[u8], String> {
    let (sum, json) = line.split_at_checked(CHECKSUM_DIGITS).ok_or("a line is too short")?;
    let json = json.strip_prefix(b" ").ok_or("a line has no checksum")?;
    if checksum(json).as_bytes() == sum { Ok(json) } else { Err("a checksum does not match".to_owned()) }
}

fn checksum(json: &[u8]) -> String {
    digits(&blake3::hash(json))
}

fn digits(hash: &blake3::Hash) -> String {
    let mut hex = hash.to_hex().to_string();
    hex.truncate(CHECKSUM_DIGITS);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Journal as _;
    use crate::vocabulary::event::Event;
    use crate::vocabulary::names::JobId;

    fn journal_of(events: u64) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = JournalFile::create(&path).unwrap();
        for seq in 1..=events {
            journal.append(&Recorded { seq, at_ms: seq, event: Event::JobFinished { job: JobId(seq) } }).unwrap();
        }
        journal.sync().unwrap();
        (folder, path)
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let (_folder, path) = journal_of(3);
        let journal = read(&path).unwrap();
        assert_eq!(journal.events.len(), 3);
        assert_eq!(journal.events[2].event, Event::JobFinished { job: JobId(3) });
        assert_eq!(journal.torn_bytes, 0);
    }

    #[test]
    fn the_last_event_is_found_from_the_end_however_long_it_is() {
        let (_folder, path) = journal_of(3);
        assert_eq!(last(&path).unwrap().seq, 3);
        let item = crate::vocabulary::names::ItemName::new("x".repeat(LAST_CHUNK as usize * 2));
        let event = Event::ApexFormed {
            apex: crate::vocabulary::names::ApexId(1),
            base: "11".repeat(20).parse().unwrap(),
            items: vec![item],
        };
        let long = Recorded { seq: 4, at_ms: 4, event };
        JournalFile::reopen(&path, 0).unwrap().append(&long).unwrap();
        assert_eq!(last(&path), Some(long));
        let torn = OpenOptions::new().append(true).open(&path).unwrap();
        (&torn).write_all(b"half an ev").unwrap();
        assert_eq!(last(&path), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(last(&path), None);
    }

    #[test]
    fn invariant_6_an_event_that_no_buffer_holds_is_written_as_every_other() {
        let (_folder, path) = journal_of(1);
        let long = |seq: u64, bytes: usize| {
            let items = vec!["x".repeat(100).as_str().into(); bytes / 100];
            let (apex, base) = (crate::vocabulary::names::ApexId(1), "11".repeat(20).parse().unwrap());
            Recorded { seq, at_ms: seq, event: Event::ApexFormed { apex, base, items } }
        };
        // Around the buffer's size, and many times as long.
        let events: Vec<Recorded> = [KEPT_BUFFER - 4000, KEPT_BUFFER - 1500, KEPT_BUFFER, KEPT_BUFFER * 20, 100]
            .into_iter()
            .zip(2..)
            .map(|(bytes, seq)| long(seq, bytes))
            .collect();
        let mut journal = JournalFile::reopen(&path, 0).unwrap();
        events.iter().for_each(|event| journal.append(event).unwrap());
        assert!(journal.pending.capacity() <= KEPT_BUFFER * 2);
        assert!(is_intact(&path));
        let read = read(&path).unwrap();
        assert_eq!((&read.events[1..], read.torn_bytes), (&events[..], 0));
    }

    #[test]
    fn invariant_6_a_journal_cut_anywhere_gives_a_prefix_of_its_events() {
        let (_folder, path) = journal_of(3);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            let journal = parse(&whole[..cut]).unwrap();
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(journal.events.len(), lines, "cut at {cut}");
        }
    }

    #[test]
    fn a_journal_is_intact_where_it_is_what_was_written_and_nowhere_else() {
        let (_folder, path) = journal_of(3);
        assert!(is_intact(&path));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert!(!is_intact(&path), "damaged at {at}");
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for missing in [&[lines[0], lines[2]][..], &[lines[0], lines[1], lines[1]], &[&whole[..], b"half"]] {
            std::fs::write(&path, missing.concat()).unwrap();
            assert!(!is_intact(&path));
        }
    }

    #[test]
    fn a_damaged_byte_before_the_last_line_is_an_error_that_says_what_is_certain() {
        let (_folder, path) = journal_of(3);
        let whole = std::fs::read(&path).unwrap();
        let second_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in second_line..second_line + 40 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let damage = parse(&damaged).unwrap_err();
            assert_eq!((damage.line, damage.certain), (2, 1), "damaged at {at}");
        }
    }

    #[test]
    fn invariant_6_whatever_a_power_loss_leaves_behind_the_last_event_is_cut_off_newlines_or_not() {
        let (_folder, path) = journal_of(3);
        let whole = std::fs::read(&path).unwrap();
        let second_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let half = &whole[second_line..second_line + 30];
        let tails = [
            vec![0; 4096],
            [&[0; 500][..], b"\n", &[0; 500]].concat(),
            [half, b"\n", half, b"\n"].concat(),
            b"\n\n\n".to_vec(),
            b"another file's\nold lines\n".to_vec(),
            // A block of this very file, from before.
            [half, b"\n", &whole[..second_line]].concat(),
            whole[..second_line].to_vec(),
        ];
        for tail in tails {
            let journal = parse(&[&whole[..], &tail].concat()).unwrap();
            assert_eq!((journal.events.len(), journal.torn_bytes), (3, tail.len()), "{tail:?}");
        }
    }

    #[test]
    fn an_event_that_stands_behind_damage_is_never_cut_off() {
        let (_folder, path) = journal_of(4);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
        // Its third event is zeros, twice as many lines, or not there at all.
        for between in [vec![0; 300], b"\n\n".to_vec(), b"x\ny\n".to_vec(), Vec::new()] {
            let damaged = [&whole[..=ends[1]], &between, &whole[ends[2] + 1..]].concat();
            let damage = parse(&damaged).unwrap_err();
            assert_eq!((damage.line, damage.certain), (3, 2), "{between:?}");
        }
        // The newline between the last two.
        let mut damaged = whole;
        damaged[ends[2]] ^= 1;
        assert_eq!(parse(&damaged).unwrap_err().certain, 2);
    }

    #[test]
    fn invariant_6_a_journal_goes_on_behind_its_last_whole_event() {
        let (_folder, path) = journal_of(3);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let torn = read(&path).unwrap();
        let mut journal = JournalFile::reopen(&path, torn.torn_bytes as u64).unwrap();
        journal.append(&Recorded { seq: 3, at_ms: 9, event: Event::JobFinished { job: JobId(9) } }).unwrap();
        journal.sync().unwrap();
        let read = read(&path).unwrap();
        assert_eq!((read.events.len(), read.torn_bytes), (3, 0));
        assert_eq!(read.events[2].event, Event::JobFinished { job: JobId(9) });
    }

    #[test]
    fn a_journal_is_never_written_over() {
        let (_folder, path) = journal_of(1);
        assert!(JournalFile::create(&path).is_err());
    }
}
