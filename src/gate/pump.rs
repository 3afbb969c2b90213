//! What a command prints, on its way into its log: secrets struck out, and never more than the log
//! may hold. Of what is too much, the beginning and the end are kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};

use super::secrets::Striking;

/// How much of the end is kept of a log that is too long. In memory until the command has ended.
const TAIL_BYTES: u64 = 1024 * 1024;

const CHUNK_BYTES: usize = 64 * 1024;

/// What may go into a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogRules {
    pub max_bytes: u64,
    /// Values that are not to be written.
    pub secrets: Vec<Vec<u8>>,
}

/// Reads `output` to its end and writes it to the end of `log`. How many bytes were left out.
///
/// # Errors
/// Where the log cannot be written. All of `output` is read all the same: no command waits for a
/// full disk.
pub(super) fn pump(mut output: impl Read, log: File, rules: &LogRules) -> io::Result<u64> {
    let mut result = copy(&mut output, log, rules);
    if result.is_err() {
        // Whatever it still has to say.
        let drained = io::copy(&mut output, &mut io::sink());
        result = result.and_then(|dropped| drained.map(|_| dropped));
    }
    result
}

/// What is written to it goes to the end of `log` as of what is pumped; it has to be told when all is written.
///
/// # Errors
/// Where there are more secrets than can be looked for.
pub(super) fn writer(log: File, rules: &LogRules) -> io::Result<LogWriter> {
    Ok(LogWriter(Striking::new(&rules.secrets, BoundedLog::new(log, rules.max_bytes))?))
}

/// See [`writer`].
pub(super) struct LogWriter(Striking<BoundedLog<File>>);

impl LogWriter {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// How many bytes were left out.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.0.finish()?.finish()
    }
}

fn copy(output: &mut impl Read, log: File, rules: &LogRules) -> io::Result<u64> {
    let mut to = writer(log, rules)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match output.read(&mut chunk) {
            Ok(0) => return to.finish(),
            Ok(read) => to.write(&chunk[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A log that holds so many bytes and a note on those that it does not.
struct BoundedLog<W: Write> {
    log: W,
    max_bytes: u64,
    head_left: u64,
    tail: VecDeque<u8>,
    tail_bytes: usize,
    dropped: u64,
}

impl<W: Write> BoundedLog<W> {
    fn new(log: W, max_bytes: u64) -> Self {
        let tail_bytes = TAIL_BYTES.min(max_bytes / 2);
        Self {
            log,
            max_bytes,
            head_left: max_bytes - tail_bytes,
            tail: VecDeque::new(),
            tail_bytes: usize::try_from(tail_bytes).unwrap_or(usize::MAX),
            dropped: 0,
        }
    }

    fn finish(mut self) -> io::Result<u64> {
        if self.dropped > 0 {
            let (dropped, max_mb) = (self.dropped, self.max_bytes / (1024 * 1024));
            let note = format!("\n[lexpr: {dropped} bytes are left out here; policy.logMaxMB is {max_mb}]\n");
            self.log.write_all(note.as_bytes())?;
        }
        let (first, second) = self.tail.as_slices();
        self.log.write_all(first)?;
        self.log.write_all(second)?;
        Ok(self.dropped)
    }
}

impl<W: Write> Write for BoundedLog<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let head = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        self.log.write_all(&bytes[..head])?;
        self.head_left -= head as u64;
        let rest = &bytes[head..];
        let fresh = &rest[rest.len().saturating_sub(self.tail_bytes)..];
        let too_many = (self.tail.len() + fresh.len()).saturating_sub(self.tail_bytes);
        self.tail.drain(..too_many);
        self.tail.extend(fresh);
        self.dropped += (too_many + rest.len() - fresh.len()) as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(text: &[u8], max_bytes: u64, piece: usize) -> (Vec<u8>, u64) {
        let mut written = Vec::new();
        let mut log = BoundedLog::new(&mut written, max_bytes);
        for piece in text.chunks(piece) {
            log.write_all(piece).unwrap();
        }
        let dropped = log.finish().unwrap();
        (written, dropped)
    }

    #[test]
    fn a_full_disk_is_told_and_the_command_is_read_to_its_end() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut output = io::Cursor::new(vec![b'x'; 300_000]);
        let rules = LogRules { max_bytes: 1_000_000, secrets: Vec::new() };
        let error = pump(&mut output, full, &rules).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(output.position(), 300_000);
    }

    #[test]
    fn what_fits_is_kept_as_it_is_and_of_more_both_ends_are_with_the_number_of_what_is_not() {
        let text: Vec<u8> = (0..100).collect();
        for piece in [1, 3, 7, 100] {
            assert_eq!(logged(&text, 100, piece), (text.clone(), 0), "in pieces of {piece}");
            let (kept, dropped) = logged(&text, 20, piece);
            assert_eq!(dropped, 80, "in pieces of {piece}");
            assert_eq!((&kept[..10], &kept[kept.len() - 10..]), (&text[..10], &text[90..]));
            assert!(String::from_utf8_lossy(&kept).contains("80 bytes are left out here"));
        }
    }
}
