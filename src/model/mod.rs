//! The nouns: addresses, desired and observed state, plans, effects, releases. Data only: no I/O.

mod address;
mod cloud;
pub mod definition;
mod desired;
mod effect;
mod event;
mod host;
mod observed;
mod plan;
mod release;
mod route;
pub mod stamp;

pub use address::{Address, Kind, ParseAddressError};
pub use cloud::*;
pub use desired::*;
pub use effect::*;
pub use event::*;
pub use host::*;
pub use observed::*;
pub use plan::*;
pub use release::*;
pub use route::*;

use sha2::{Digest, Sha256};

/// A JSON object with sorted keys, as Compose definitions are held everywhere.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// Whether a value is what is meant where it is left out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The SHA-256 of some bytes, in lower-case hexadecimal.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The SHA-256 of a value's canonical JSON (sorted keys, no white space): its content address.
pub fn digest_of(value: &impl serde::Serialize) -> String {
    // Every type of the model serialises: keys are strings and nothing in it can fail.
    sha256_hex(serde_json::to_vec(value).unwrap_or_default())
}
