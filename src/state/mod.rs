//! State: what cannot be probed — releases, the lock, the journal. `local` keeps it in a folder,
//! `host` on the environment's own hosts.

mod local;

pub use local::{LocalLock, LocalStore};

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
fn holder_text(note: &[u8]) -> String {
    match serde_json::from_slice::<Holder>(note) {
        Ok(holder) => holder.to_string(),
        Err(_) => "somebody who left no name".to_owned(),
    }
}
