//! A cloud as the rest of the program needs it; providers are what it really is.

use super::Later;
use crate::model::{Act, CloudState, Failure};

/// A cloud, for one environment.
pub trait Cloud: Send + Sync {
    /// Everything that has the environment's mark.
    ///
    /// # Errors
    /// The cloud did not answer, or not wholly: then nothing is known, which is not that nothing is there.
    fn survey(&self) -> Later<'_, Result<CloudState, Failure>>;

    /// Makes, changes or destroys an object, and waits until that is done.
    ///
    /// # Errors
    /// It could not be done, or it is not known whether it was.
    fn perform<'a>(&'a self, act: &'a Act) -> Later<'a, Result<(), Failure>>;
}
