//! The nouns: addresses, desired and observed state, plans, effects, releases. Data only: no I/O.

mod address;
pub mod definition;
mod desired;
pub mod duration;
mod effect;
mod event;
mod host;
pub mod image;
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

use std::io::{self, BufWriter, Write};

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
    // Each of its many small pieces would cost a digest about as much as all of a buffer.
    let mut writer = BufWriter::with_capacity(2 << 10, Hashed(Sha256::new()));
    let _ = serde_json::to_writer(&mut writer, value).map(|()| writer.flush());
    hex(&writer.get_ref().0.clone().finalize())
}

/// What is written to it ends up in a digest.
struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
