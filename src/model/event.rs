//! Events: what the executor tells of an apply while it runs. The journal is these, one a line.

use serde::{Deserialize, Serialize};

use super::{Address, Failure, Outcome, Part, Summary};

/// Something that happened during an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The apply begins.
    Started {
        /// The release's number.
        release: u64,
        /// What of the environment is applied.
        #[serde(default, skip_serializing_if = "super::is_default")]
        part: Part,
        /// What is planned.
        summary: Summary,
        /// How many steps there are.
        steps: usize,
    },
    /// A step begins.
    StepStarted {
        /// Its number in the plan.
        step: usize,
        /// The resource.
        address: Address,
        /// The act's name.
        act: String,
    },
    /// A step is done.
    StepDone {
        /// Its number in the plan.
        step: usize,
        /// The resource.
        address: Address,
        /// The act's name.
        act: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// What it had to say: a command's output.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        said: Vec<String>,
    },
    /// A step waits for somebody who is not there: what comes after it is not begun.
    StepPaused {
        /// Its number in the plan.
        step: usize,
        /// The resource.
        address: Address,
        /// The act's name.
        act: String,
    },
    /// A step failed.
    StepFailed {
        /// Its number in the plan.
        step: usize,
        /// The resource.
        address: Address,
        /// The act's name.
        act: String,
        /// What happened.
        failure: Failure,
    },
    /// What undoes a failed resource's steps begins.
    Undoing {
        /// The resource.
        address: Address,
    },
    /// The undoing is over.
    Undone {
        /// The resource.
        address: Address,
        /// What went wrong in it, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A step is not begun, because one that it waits for was not done.
    StepSkipped {
        /// Its number in the plan.
        step: usize,
        /// The resource.
        address: Address,
    },
    /// What was done is taken back to an earlier release. The steps of this are numbered on.
    FallingBack {
        /// The release's number.
        release: u64,
        /// What is planned.
        summary: Summary,
        /// How many steps there are.
        steps: usize,
    },
    /// Falling back is over.
    FellBack {
        /// The release's number.
        release: u64,
        /// What came of it.
        outcome: Outcome,
        /// What went wrong, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The operator asked to stop: what runs is finished, nothing else is begun.
    Stopping,
    /// The apply is over.
    Finished {
        /// The release's number.
        release: u64,
        /// What came of it.
        outcome: Outcome,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
}
