//! The store in a folder: for one person, for simulated worlds, for tests.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Holder, StateError};
use crate::model::{RELEASE_FORMAT, Release, sha256_hex};

/// An environment's releases, blobs, journals and lock in a folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    folder: PathBuf,
}

/// The lock of a folder, and the journal of whoever holds it. It is the file lock of an open file:
/// the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct LocalLock {
    _lock: File,
    store: LocalStore,
    journal: Option<File>,
    holder: PathBuf,
}

impl LocalStore {
    /// The store in a folder, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder, as errors name it.
    pub fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn broken(&self, what: &str, error: &dyn std::fmt::Display) -> StateError {
        StateError::Broken { place: self.place(), what: format!("{what}: {error}") }
    }

    fn release_path(&self, number: u64) -> PathBuf {
        self.folder.join("releases").join(format!("{number:08}.json"))
    }

    /// All releases, oldest first.
    ///
    /// # Errors
    /// A record cannot be read, or is of a later format.
    pub fn releases(&self) -> Result<Vec<Release>, StateError> {
        let mut numbers = Vec::new();
        match fs::read_dir(self.folder.join("releases")) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(|error| self.broken("can't be listed", &error))?;
                    let name = entry.file_name();
                    let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
                    numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.broken("can't be listed", &error)),
        }
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.release(number)).collect()
    }

    /// One release.
    ///
    /// # Errors
    /// There is no such release, or its record cannot be read.
    pub fn release(&self, number: u64) -> Result<Release, StateError> {
        match fs::read(self.release_path(number)) {
            Ok(bytes) => super::parse_release(&bytes)
                .map_err(|what| self.broken(&format!("holds a bad release {number}"), &what)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StateError::NoRelease(number))
            }
            Err(error) => Err(self.broken("can't be read", &error)),
        }
    }

    /// Writes a release's record, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, release: &Release) -> Result<(), StateError> {
        debug_assert_eq!(release.format, RELEASE_FORMAT);
        let bytes = serde_json::to_vec_pretty(release)
            .map_err(|error| self.broken("can't be written", &error))?;
        self.write(&self.release_path(release.number), &bytes)
    }

    /// Stores a text under its content address, and returns it.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_blob(&self, content: &str) -> Result<String, StateError> {
        let address = sha256_hex(content);
        let path = self.folder.join("blobs").join(&address);
        if !path.exists() {
            self.write(&path, content.as_bytes())?;
        }
        Ok(address)
    }

    /// The text under a content address.
    ///
    /// # Errors
    /// They are not there, or are not what the address says.
    pub fn get_blob(&self, address: &str) -> Result<String, StateError> {
        let text = fs::read_to_string(self.folder.join("blobs").join(address))
            .map_err(|error| self.broken(&format!("lacks blob {address}"), &error))?;
        if sha256_hex(&text) != address {
            return Err(self.broken("is damaged", &format!("blob {address} has other content")));
        }
        Ok(text)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let beside = path.with_extension("new");
            let mut file = File::create(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        write().map_err(|error| self.broken("can't be written", &error))
    }

    /// The lines of a release's journal; none when it has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn journal(&self, number: u64) -> Result<Vec<String>, StateError> {
        match fs::read_to_string(self.journal_path(number)) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.broken("can't be read", &error)),
        }
    }

    fn journal_path(&self, number: u64) -> PathBuf {
        self.folder.join("journal").join(format!("{number:08}.jsonl"))
    }

    /// Who holds the lock, if anybody does.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn lock_status(&self) -> Result<Option<String>, StateError> {
        match File::open(self.folder.join("lock")) {
            Ok(lock) => match lock.try_lock_shared() {
                Ok(()) => Ok(None),
                Err(TryLockError::WouldBlock) => Ok(Some(self.holder())),
                Err(TryLockError::Error(error)) => Err(self.broken("can't be read", &error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.broken("can't be read", &error)),
        }
    }

    fn holder(&self) -> String {
        super::holder_name(&fs::read_to_string(self.folder.join("lock.json")).unwrap_or_default())
    }

    /// Takes the lock, or says who holds it. Never waits.
    ///
    /// # Errors
    /// Somebody else holds it; or the folder cannot be written.
    pub fn lock(&self, holder: &Holder) -> Result<LocalLock, StateError> {
        let refuse = |error: io::Error| self.broken("can't be locked", &error);
        fs::create_dir_all(self.folder.join("journal")).map_err(refuse)?;
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(false);
        let lock = options.open(self.folder.join("lock")).map_err(refuse)?;
        let note = self.folder.join("lock.json");
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked { place: self.place(), holder: self.holder() });
            }
            Err(TryLockError::Error(error)) => return Err(refuse(error)),
        }
        self.write(&note, &serde_json::to_vec(holder).unwrap_or_default())?;
        Ok(LocalLock { _lock: lock, store: self.clone(), journal: None, holder: note })
    }
}

impl LocalLock {
    /// Chooses the release whose journal the next lines belong to.
    ///
    /// # Errors
    /// The journal cannot be opened.
    pub fn open_journal(&mut self, number: u64) -> Result<(), StateError> {
        let journal =
            OpenOptions::new().create(true).append(true).open(self.store.journal_path(number));
        self.journal =
            Some(journal.map_err(|error| self.store.broken("can't be written", &error))?);
        Ok(())
    }

    /// Adds a line to the journal.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn journal(&mut self, line: &str) -> Result<(), StateError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        writeln!(journal, "{line}").map_err(|error| self.store.broken("can't be written", &error))
    }
}

impl Drop for LocalLock {
    fn drop(&mut self) {
        // Only a courtesy to readers of the folder: the lock itself goes with the file.
        let _ = fs::remove_file(&self.holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder { who: "a@b".into(), what: "apply".into(), since: "now".into(), pid: 7 }
    }

    #[test]
    fn the_second_to_lock_is_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().join("state"));
        let lock = store.lock(&holder()).unwrap();
        let refused = store.lock(&holder()).unwrap_err().to_string();
        assert!(refused.contains("locked by a@b (apply, process 7, since now)"), "{refused}");
        drop(lock);
        store.lock(&holder()).unwrap();
    }

    #[test]
    fn a_damaged_blob_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().to_owned());
        let address = store.put_blob("desired").unwrap();
        assert_eq!(store.get_blob(&address).unwrap(), "desired");
        fs::write(folder.path().join("blobs").join(&address), "other").unwrap();
        assert!(matches!(store.get_blob(&address), Err(StateError::Broken { .. })));
    }

    #[test]
    fn a_release_of_a_later_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().to_owned());
        fs::create_dir_all(folder.path().join("releases")).unwrap();
        fs::write(store.release_path(1), r#"{"format": 99}"#).unwrap();
        let refused = store.release(1).unwrap_err().to_string();
        assert!(refused.contains("format 99"), "{refused}");
        assert!(matches!(store.release(2), Err(StateError::NoRelease(2))));
    }
}
