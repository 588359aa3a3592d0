//! Infrastructure as the rest of the program needs it; providers are what it really is.

use crate::model::{Act, Address, Failure, InfraState};

/// What is below one environment's application. What it is asked for takes its time: a thread waits for it.
pub trait Infrastructure: Send + Sync {
    /// Everything that has the environment's mark.
    ///
    /// # Errors
    /// Somebody did not answer, or not wholly: then nothing is known, which is not that nothing is there.
    fn survey(&self) -> Result<InfraState, Failure>;

    /// Makes, changes or destroys a part of it, and waits until that is done.
    ///
    /// # Errors
    /// It could not be done, or it is not known whether it was.
    fn perform(&self, act: &Act) -> Result<(), Failure>;

    /// Puts our mark on something that somebody else has made, which then is what is at an address. `key`
    /// is the public key by which a machine is known.
    ///
    /// # Errors
    /// There is no such thing, or it can't be marked.
    fn adopt(&self, address: &Address, id: &str, key: Option<&str>) -> Result<(), Failure>;
}
