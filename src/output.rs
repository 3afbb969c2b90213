//! Getting text out whole: through pipes of any kind, and into files that are never seen half
//! written. It knows nothing of what it delivers.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("{path} cannot be written: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} cannot be written: the folder {folder} does not exist", path = .path.display(), folder = .folder.display())]
    NoFolder { path: PathBuf, folder: PathBuf },
    #[error("standard output cannot be written: {0}")]
    Stdout(#[source] io::Error),
}

/// Writes all of `bytes`, also where the other end reads slowly and the descriptor was made
/// non-blocking by whoever shares it (a `print!` gives up there and loses the rest).
///
/// # Errors
/// Whatever the descriptor answers, `BrokenPipe` included; some bytes may have gone out.
pub fn write_whole(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    let to = to.as_fd();
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_until_writable(to)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether an error says that nobody is at the other end: of a pipe, or of a terminal that was closed.
fn is_gone(stream: impl AsFd, error: &io::Error) -> bool {
    let is_terminals = || {
        let found = rustix::fs::fstat(stream);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_char_device())
    };
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::PIPE) => true,
        Some(rustix::io::Errno::IO) => is_terminals(),
        _ => error.kind() == io::ErrorKind::BrokenPipe,
    }
}

fn wait_until_writable(fd: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Prints `text` on standard output, whole. A reader that went away is no error: it has all it
/// wanted.
///
/// # Errors
/// Everything else that can go wrong, such as a full disk behind a redirection.
pub fn to_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    // What was printed before stands before.
    match stdout.flush().and_then(|()| write_whole(&stdout, text.as_bytes())) {
        Err(error) if is_gone(&stdout, &error) => Ok(()),
        other => other,
    }
}

/// A stream that is shown to somebody: each `write` goes out whole and at once, and once the
/// other end is gone everything is dropped silently, because a run does not end with its watcher.
#[derive(Debug)]
pub struct Watched<F> {
    stream: F,
    gone: bool,
    tells_failure: bool,
}

impl<F: AsFd> Watched<F> {
    pub fn new(stream: F) -> Self {
        Self { stream, gone: false, tells_failure: false }
    }

    /// A stream that holds what somebody asked for. A reader that went away has all it wanted
    /// (`lexpr … | head`); any other failure to write, such as a full disk, is an error, once.
    pub fn asked_for(stream: F) -> Self {
        Self { stream, gone: false, tells_failure: true }
    }
}

impl<F: AsFd> Write for Watched<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.gone
            && let Err(error) = write_whole(&self.stream, bytes)
        {
            self.gone = true;
            if self.tells_failure && !is_gone(&self.stream, &error) {
                return Err(error);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a file that others see either as it was or as it is meant to be: a temporary file in
/// the same folder, synced and renamed over it. A symbolic link is followed, and what is no
/// regular file (a named pipe, `/dev/stdout`) is written to directly.
///
/// # Errors
/// The folder is missing or not writable, or the disk is full; the old file then stands.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    put(path, bytes, Rights::New)
}

/// As [`write_file`], for somebody else's file: who may read and write it stays as it is.
///
/// # Errors
/// As [`write_file`].
pub fn rewrite_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    put(path, bytes, Rights::OfTheOld)
}

/// Whose rights a file gets that takes the place of another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    New,
    OfTheOld,
}

fn put(path: &Path, bytes: &[u8], rights: Rights) -> Result<(), OutputError> {
    let fail = |source| OutputError::File { path: path.to_owned(), source };
    let real = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => path.canonicalize().map_err(fail)?,
        Ok(found) if found.is_dir() => return Err(fail(io::ErrorKind::IsADirectory.into())),
        Ok(_) => {
            let file = File::options().write(true).open(path).map_err(fail)?;
            return write_whole(&file, bytes).map_err(fail);
        }
        Err(_) => path.to_owned(),
    };
    let folder = match real.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    if !folder.is_dir() {
        return Err(OutputError::NoFolder { path: path.to_owned(), folder });
    }
    let mut draft = draft_in(&folder).map_err(fail)?;
    if rights == Rights::OfTheOld
        && let Ok(old) = std::fs::metadata(&real)
    {
        draft.as_file().set_permissions(old.permissions()).map_err(fail)?;
    }
    draft.write_all(bytes).and_then(|()| draft.as_file().sync_all()).map_err(fail)?;
    draft.persist(&real).map_err(|error| fail(error.error))?;
    // The rename itself is only durable once the folder is.
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

/// A temporary file that anybody may read whom the umask lets: the textfile collector of
/// node_exporter, for one, runs as a user of its own.
fn draft_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new()
        .prefix(".lexpr-")
        .suffix(".tmp")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

/// Appends to a file that others append to as well, such as `$GITHUB_STEP_SUMMARY`.
///
/// # Errors
/// The file can be neither opened nor made, or the write fails.
pub fn append_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let fail = |source| OutputError::File { path: path.to_owned(), source };
    let file = File::options().append(true).create(true).open(path).map_err(fail)?;
    write_whole(&file, bytes).map_err(fail)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_file_that_is_rewritten_keeps_its_rights_and_one_that_is_written_anew_does_not() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.yaml");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let rights = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        rewrite_file(&path, b"new").unwrap();
        assert_eq!((std::fs::read(&path).unwrap().as_slice(), rights()), (b"new".as_slice(), 0o600));
        write_file(&path, b"anew").unwrap();
        assert_ne!(rights(), 0o600);
    }

    #[test]
    fn a_report_of_any_size_arrives_whole_through_a_non_blocking_pipe() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let writing = std::thread::spawn(move || write_whole(&writer, &sent));
        let mut arrived = Vec::new();
        reader.read_to_end(&mut arrived).unwrap();
        writing.join().unwrap().unwrap();
        assert!(arrived == expected, "{} bytes of {} arrived", arrived.len(), expected.len());
    }

    #[test]
    fn a_watcher_that_went_away_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut watched = Watched::new(writer);
        assert!(watched.write_all(b"news").is_ok());
        assert!(watched.gone);
        assert!(watched.write_all(b"more news").is_ok());
    }

    #[test]
    fn what_was_asked_for_and_cannot_be_written_is_told_once_unless_the_reader_went_away() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(Watched::asked_for(writer).write_all(b"news").is_ok());
        let mut full = Watched::asked_for(File::options().write(true).open("/dev/full").unwrap());
        assert_eq!(full.write_all(b"news").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(full.write_all(b"more news").is_ok());
        let mut shown = Watched::new(File::options().write(true).open("/dev/full").unwrap());
        assert!(shown.write_all(b"news").is_ok());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_link_to_it_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("report.json"), folder.path().join("latest.json"));
        write_file(&file, b"old").unwrap();
        std::os::unix::fs::symlink("report.json", &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "no draft stays behind");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_file(&folder.path().join("no/report.json"), b"").unwrap_err();
        assert!(matches!(&error, OutputError::NoFolder { folder, .. } if folder.ends_with("no")), "{error}");
        assert!(write_file(folder.path(), b"").is_err());
    }
}
