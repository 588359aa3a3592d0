//! A cloud as the rest of the program needs it; providers are what it really is.

use crate::model::{Act, CloudState, Failure};

/// A cloud, for one environment. What it is asked for takes its time: a thread waits for it.
pub trait Cloud: Send + Sync {
    /// Everything that has the environment's mark.
    ///
    /// # Errors
    /// The cloud did not answer, or not wholly: then nothing is known, which is not that nothing is there.
    fn survey(&self) -> Result<CloudState, Failure>;

    /// Makes, changes or destroys an object, and waits until that is done.
    ///
    /// # Errors
    /// It could not be done, or it is not known whether it was.
    fn perform(&self, act: &Act) -> Result<(), Failure>;
}
