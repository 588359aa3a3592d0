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
    journal: File,
    holder: PathBuf,
}

impl LocalStore {
    /// The store in a folder, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn broken(&self, what: &str, error: &dyn std::fmt::Display) -> StateError {
        StateError::Broken {
            place: self.folder.display().to_string(),
            what: format!("{what}: {error}"),
        }
    }

    fn release_path(&self, number: u64) -> PathBuf {
        self.folder.join("releases").join(format!("{number:08}.json"))
    }

    /// All releases, oldest first.
    ///
    /// # Errors
    /// A record cannot be read, or is of a later format.
    pub fn list(&self) -> Result<Vec<Release>, StateError> {
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
        numbers.into_iter().map(|number| self.get(number)).collect()
    }

    /// One release.
    ///
    /// # Errors
    /// There is no such release, or its record cannot be read.
    pub fn get(&self, number: u64) -> Result<Release, StateError> {
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

    /// Stores bytes under their content address, and returns it.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<String, StateError> {
        let address = sha256_hex(bytes);
        let path = self.folder.join("blobs").join(&address);
        if !path.exists() {
            self.write(&path, bytes)?;
        }
        Ok(address)
    }

    /// The bytes under a content address.
    ///
    /// # Errors
    /// They are not there, or are not what the address says.
    pub fn get_blob(&self, address: &str) -> Result<Vec<u8>, StateError> {
        let bytes = fs::read(self.folder.join("blobs").join(address))
            .map_err(|error| self.broken(&format!("lacks blob {address}"), &error))?;
        if sha256_hex(&bytes) != address {
            return Err(self.broken("is damaged", &format!("blob {address} has other content")));
        }
        Ok(bytes)
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

    /// Takes the lock, or says who holds it. Never waits.
    ///
    /// # Errors
    /// Somebody else holds it; or the folder cannot be written.
    pub fn lock(&self, holder: &Holder, release: u64) -> Result<LocalLock, StateError> {
        let open = |path: &Path, append: bool| {
            let mut options = OpenOptions::new();
            options.create(true).write(true).append(append).truncate(false);
            options.open(path).map_err(|error| self.broken("can't be locked", &error))
        };
        let journals = self.folder.join("journal");
        fs::create_dir_all(&journals).map_err(|error| self.broken("can't be locked", &error))?;
        let lock = open(&self.folder.join("lock"), false)?;
        let note = self.folder.join("lock.json");
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked {
                    place: self.folder.display().to_string(),
                    holder: super::holder_text(&fs::read(&note).unwrap_or_default()),
                });
            }
            Err(TryLockError::Error(error)) => return Err(self.broken("can't be locked", &error)),
        }
        self.write(&note, &serde_json::to_vec(holder).unwrap_or_default())?;
        let journal = open(&journals.join(format!("{release:08}.jsonl")), true)?;
        Ok(LocalLock { _lock: lock, journal, holder: note })
    }
}

impl LocalLock {
    /// Appends a line to the journal.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn journal(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.journal, "{line}")
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
        let lock = store.lock(&holder(), 1).unwrap();
        let refused = store.lock(&holder(), 1).unwrap_err().to_string();
        assert!(refused.contains("locked by a@b (apply, process 7, since now)"), "{refused}");
        drop(lock);
        store.lock(&holder(), 2).unwrap();
    }

    #[test]
    fn a_damaged_blob_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().to_owned());
        let address = store.put_blob(b"desired").unwrap();
        assert_eq!(store.get_blob(&address).unwrap(), b"desired");
        fs::write(folder.path().join("blobs").join(&address), "other").unwrap();
        assert!(matches!(store.get_blob(&address), Err(StateError::Broken { .. })));
    }

    #[test]
    fn a_release_of_a_later_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().to_owned());
        fs::create_dir_all(folder.path().join("releases")).unwrap();
        fs::write(store.release_path(1), r#"{"format": 99}"#).unwrap();
        let refused = store.get(1).unwrap_err().to_string();
        assert!(refused.contains("format 99"), "{refused}");
        assert!(matches!(store.get(2), Err(StateError::NoRelease(2))));
    }
}
