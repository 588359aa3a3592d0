//! State: what cannot be probed — releases, the lock, the journal. `local` keeps it in a folder,
//! `host` on the environment's own hosts, `other` wherever whoever brings it likes.

mod host;
mod local;
mod other;

pub use host::{HostLock, HostStore};
pub use local::{LocalLock, LocalStore};
pub use other::{Later, OtherLock, OtherStore};

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{RELEASE_FORMAT, Release};

/// Who holds, or wants, an environment's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `user@machine`.
    pub who: String,
    /// What they do: `apply`, `rollback to 3`, …
    pub what: String,
    /// Since when: RFC 3339, UTC.
    pub since: String,
    /// The process id on their machine.
    pub pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, process {}, since {})", self.who, self.what, self.pid, self.since)
    }
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Somebody else holds the lock.
    #[error("{place} is locked by {holder}")]
    Locked {
        /// The host or folder.
        place: String,
        /// Who, as far as is known.
        holder: String,
    },
    /// There is no such release.
    #[error("there is no release {0}")]
    NoRelease(u64),
    /// The store could not be read or written.
    #[error("the release store on {place} {what}")]
    Broken {
        /// The host or folder.
        place: String,
        /// What happened.
        what: String,
    },
}

/// Reads a release's record; one of a later format is refused rather than half understood.
fn parse_release(bytes: &[u8]) -> Result<Release, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if format > RELEASE_FORMAT {
        return Err(format!("format {format} is newer than this program (upgrade it)"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// What a holder's note says, for the person who finds the lock taken.
fn holder_name(note: &str) -> String {
    match serde_json::from_str::<Holder>(note) {
        Ok(holder) => holder.to_string(),
        Err(_) => "somebody who left no name".to_owned(),
    }
}

/// Where an environment's releases, lock and journals are kept.
#[derive(Debug)]
pub enum Store {
    /// In a folder.
    Local(LocalStore),
    /// On the environment's hosts.
    Host(HostStore),
    /// Somewhere else: tests bring stores that fail as they like.
    Other(Box<dyn OtherStore>),
}

/// An environment's lock, held. Dropping it lets go of it.
#[derive(Debug)]
pub enum Lock {
    /// A folder's.
    Local(LocalLock),
    /// The hosts'.
    Host(HostLock),
    /// Another store's.
    Other(Box<dyn OtherLock>),
}

impl Store {
    /// Every release on record, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn releases(&self) -> Result<Vec<Release>, StateError> {
        match self {
            Store::Local(store) => store.releases(),
            Store::Host(store) => store.releases().await,
            Store::Other(store) => store.releases().await,
        }
    }

    /// One release.
    ///
    /// # Errors
    /// There is none of that number, or the store cannot be read.
    pub async fn release(&self, number: u64) -> Result<Release, StateError> {
        match self {
            Store::Local(store) => store.release(number),
            Store::Host(store) => store.release(number).await,
            Store::Other(store) => store.release(number).await,
        }
    }

    /// Puts a release on record, in place of an earlier record of it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put(&self, release: &Release) -> Result<(), StateError> {
        match self {
            Store::Local(store) => store.put(release),
            Store::Host(store) => store.put(release).await,
            Store::Other(store) => store.put(release).await,
        }
    }

    /// Puts a release on record that begins, with the desired state whose content address it names. The
    /// state is there before the record is.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn begin(&self, release: &Release, desired: &str) -> Result<(), StateError> {
        match self {
            Store::Local(store) => {
                store.put_blob(desired)?;
                store.put(release)
            }
            Store::Host(store) => store.begin(release, desired).await,
            Store::Other(store) => {
                store.put_blob(desired).await?;
                store.put(release).await
            }
        }
    }

    /// The text at a content address.
    ///
    /// # Errors
    /// It is not there, or is damaged.
    pub async fn get_blob(&self, address: &str) -> Result<String, StateError> {
        match self {
            Store::Local(store) => store.get_blob(address),
            Store::Host(store) => store.get_blob(address).await,
            Store::Other(store) => store.get_blob(address).await,
        }
    }

    /// The lines of a release's journal.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn journal(&self, number: u64) -> Result<Vec<String>, StateError> {
        match self {
            Store::Local(store) => store.journal(number),
            Store::Host(store) => store.journal(number).await,
            Store::Other(store) => store.journal(number).await,
        }
    }

    /// Takes the lock everywhere, or says who holds it. Never waits.
    ///
    /// # Errors
    /// Somebody else holds it, or a place cannot be locked.
    pub async fn lock(&self, holder: &Holder) -> Result<Lock, StateError> {
        match self {
            Store::Local(store) => store.lock(holder).map(Lock::Local),
            Store::Host(store) => store.lock(holder).await.map(Lock::Host),
            Store::Other(store) => store.lock(holder).await.map(Lock::Other),
        }
    }

    /// Who holds the lock at each place; none where nobody does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn lock_status(&self) -> Result<BTreeMap<String, Option<String>>, StateError> {
        match self {
            Store::Local(store) => Ok([(store.place(), store.lock_status()?)].into()),
            Store::Host(store) => store.lock_status().await,
            Store::Other(store) => store.lock_status().await,
        }
    }
}

impl Lock {
    /// Chooses the release whose journal the next lines belong to.
    ///
    /// # Errors
    /// The lock was lost, or the journal cannot be opened.
    pub async fn open_journal(&mut self, number: u64) -> Result<(), StateError> {
        match self {
            Lock::Local(lock) => lock.open_journal(number),
            Lock::Host(lock) => lock.open_journal(number).await,
            Lock::Other(lock) => lock.open_journal(number).await,
        }
    }

    /// Adds a line to the journal.
    ///
    /// # Errors
    /// The lock was lost, or the journal cannot be written.
    pub async fn journal(&mut self, line: &str) -> Result<(), StateError> {
        match self {
            Lock::Local(lock) => lock.journal(line),
            Lock::Host(lock) => lock.journal(line).await,
            Lock::Other(lock) => lock.journal(line).await,
        }
    }

    /// Lets go of the lock.
    ///
    /// # Errors
    /// It was lost before.
    pub async fn release(self) -> Result<(), StateError> {
        match self {
            Lock::Local(lock) => {
                drop(lock);
                Ok(())
            }
            Lock::Host(lock) => lock.release().await,
            Lock::Other(lock) => lock.release().await,
        }
    }
}
