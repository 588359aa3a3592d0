//! The nouns: addresses, desired and observed state, plans, effects, releases. Data only: no I/O.

mod address;
pub mod definition;
mod desired;
mod effect;
mod event;
mod host;
mod infrastructure;
mod observed;
mod plan;
mod release;
mod route;
pub mod stamp;

pub use address::{Address, Kind, ParseAddressError};
pub use desired::*;
pub use effect::*;
pub use event::*;
pub use host::*;
pub use infrastructure::*;
pub use observed::*;
pub use plan::*;
pub use release::*;
pub use route::*;

use std::io::{self, Write};

use sha2::{Digest, Sha256};

/// A JSON object with sorted keys, as Compose definitions are held everywhere.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// Whether a value is what is meant where it is left out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The SHA-256 of some bytes, in lower-case hexadecimal.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(|half| char::from(DIGITS[usize::from(half)])).collect()
}

/// The SHA-256 of a value's canonical JSON (sorted keys, no white space): its content address.
pub fn digest_of(value: &impl serde::Serialize) -> String {
    // As it is written, so that what is large need not be held as text, too. Every type of the model
    // serialises: keys are strings and nothing in it can fail.
    let mut hashed = Hashed { digest: Sha256::new(), waiting: [0; 2048], length: 0 };
    let _ = serde_json::to_writer(&mut hashed, value).map(|()| hashed.flush());
    hex(&hashed.digest.finalize())
}

/// What is written to it ends up in a digest: the many small pieces of JSON together, for each costs
/// a digest about as much as many.
struct Hashed {
    digest: Sha256,
    waiting: [u8; 2048],
    length: usize,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.waiting.len() - self.length {
            self.flush()?;
        }
        match self.waiting.get_mut(self.length..self.length + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.digest.update(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.digest.update(&self.waiting[..self.length]);
        self.length = 0;
        Ok(())
    }
}
