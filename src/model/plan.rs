//! Plans: what would change and why, and the ordered steps that change it. `docs/plan-format.md`
//! documents the JSON form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Address, Blocked, Effect, OnFailure, RolloutOrder};

/// The version of the plan's JSON format: a change of the second number adds, of the first breaks.
pub const PLAN_FORMAT: &str = "1.0";

/// The difference between what should be and what is, and how to close it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Plan {
    /// `PLAN_FORMAT` of the program that made it.
    pub format_version: String,
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// What was asked for.
    pub request: Request,
    /// The version that is deployed, if one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The newest release when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_release: Option<u64>,
    /// The digest of the desired state.
    pub desired_digest: String,
    /// The digest of what the probes saw of the things that the plan touches.
    pub observed_digest: String,
    /// How many of each.
    pub summary: Summary,
    /// The changes, in the order in which they are made.
    pub changes: Vec<Change>,
    /// What cannot be planned, and why.
    pub blocked: Vec<BlockedEntry>,
    /// What a reader should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The release that everything goes back to when a service fails whose rollout says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub falls_back_to: Option<u64>,
    /// The steps, each after those that it waits for.
    pub steps: Vec<Step>,
    /// What has to change below the application; none where nothing has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure: Option<Box<Plan>>,
}

impl Plan {
    /// Nothing differs and everything was seen.
    pub fn is_empty(&self) -> bool {
        self.infrastructure.is_none() && self.changes.is_empty() && self.blocked.is_empty()
    }
    /// Whether something of it can't be planned.
    pub fn is_blocked(&self) -> bool {
        self.parts().any(|part| !part.blocked.is_empty())
    }
    /// What is below the application, if that changes, and then the application.
    pub fn parts(&self) -> impl Iterator<Item = &Plan> {
        self.infrastructure.as_deref().into_iter().chain([self])
    }
    /// How many changes of each sort there are in all.
    pub fn total(&self) -> Summary {
        self.parts().fold(Summary::default(), |sum, part| Summary {
            add: sum.add + part.summary.add,
            change: sum.change + part.summary.change,
            destroy: sum.destroy + part.summary.destroy,
        })
    }
    /// The content address of the plan.
    pub fn digest(&self) -> String {
        super::digest_of(self)
    }
}

/// What was asked for: all that is needed to make the same plan again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Request {
    /// The version given on the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The release to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// Hosts that are gone for good and no longer named by the configuration: they are not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<String>,
    /// What of the environment is planned.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub part: Part,
    /// The addresses of machines and disks that may be destroyed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_destroy: Vec<Address>,
    /// Whether volumes that are no longer wanted are destroyed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prune_volumes: bool,
    /// Whether a failure leaves things as they are, and nothing goes back to an earlier release.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_fall_back: bool,
    /// Whether a rollback may go on with the values now in force where the old ones are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_current_secrets: bool,
}

/// A part of an environment.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What is on its hosts.
    #[default]
    Application,
    /// That, and what its hosts need below.
    Everything,
    /// What its hosts need below.
    Infrastructure,
    /// Of that, what has to be there before an application can be: no names, and nothing goes.
    Foundation,
    /// Nothing of what its hosts needed below is to be left.
    NoInfrastructure {
        /// Whether disks stay, with their data.
        keep_disks: bool,
    },
}

impl Part {
    /// Whether what is on the hosts is a part of it, which is recorded as a release.
    pub fn has_application(self) -> bool {
        matches!(self, Part::Application | Part::Everything)
    }
}

/// How many changes of each sort; the release record is not counted.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Summary {
    /// Things made.
    pub add: usize,
    /// Things changed, rolled or repaired.
    pub change: usize,
    /// Things taken away.
    pub destroy: usize,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// Which.
    pub address: Address,
    /// What happens.
    pub action: Action,
    /// Why.
    pub causes: Vec<Cause>,
    /// The attributes that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// For files: the unified diff from what is there to what will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// For services: how the containers are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed where it is.
    Update,
    /// It is destroyed and made anew.
    Replace,
    /// It is taken away.
    Delete,
}

/// Why a resource changes.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// It should be there and is not.
    Missing,
    /// The configuration says something else than before.
    Changed,
    /// The world was changed behind our back.
    Drifted {
        /// What was found, in a few words: `app-api-1 is paused`.
        what: String,
    },
    /// Its containers are what an apply that did not end left behind.
    Unfinished {
        /// What was found, in a few words.
        what: String,
    },
    /// It is ours and no longer wanted.
    Orphaned,
    /// This attribute cannot be changed in place.
    Replaced {
        /// The attribute's path.
        field: String,
    },
    /// Something that it uses changes.
    Upstream {
        /// Which.
        address: Address,
        /// What of it matters here, e.g. the changed keys of an env file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        what: Vec<String>,
    },
    /// It was asked for.
    Requested,
}

/// One attribute before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FieldChange {
    /// The attribute's path, e.g. `deploy.replicas` or `environment.LOG_LEVEL`.
    pub path: String,
    /// The value that is there; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value that will be there; none where there will be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Whether something of the values is withheld; the text `(sensitive)` stands in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

/// How a service's containers are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rollout {
    /// Which goes first.
    pub order: RolloutOrder,
    /// Why not start-first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The image that they run.
    pub image: String,
    /// How many containers there will be.
    pub replicas: u32,
    /// How many are started.
    pub starts: u32,
    /// The names of the containers that go.
    pub stops: Vec<String>,
    /// How many are replaced at once; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// What happens to services that were rolled already when this one fails.
    pub on_failure: OnFailure,
}

/// Something that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BlockedEntry {
    /// The host or resource.
    pub address: Address,
    /// Why.
    #[serde(flatten)]
    pub blocked: Blocked,
}

/// What a reader of a plan should know besides its changes.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A volume that nothing uses any more stays.
    VolumeKept {
        /// Which.
        address: Address,
    },
    /// An object that the cloud does not let go of stays.
    Fixed {
        /// Which.
        address: Address,
    },
    /// The releases on record go with the machines that keep them alone.
    HistoryGoes {
        /// The newest of them.
        release: u64,
    },
    /// Something can't be looked at before what it depends on is as it should be.
    LookedAtLater {
        /// Which.
        address: Address,
    },
    /// A container or volume with our names that does not carry our mark is left alone.
    Stranger {
        /// The host.
        host: String,
        /// Docker's name of it.
        name: String,
    },
    /// A command that ran for a service cannot be undone by going back.
    CommandStays {
        /// The service.
        service: String,
        /// The command.
        command: String,
    },
    /// The values that a release ran with are gone; those now in force stay.
    CurrentSecrets {
        /// The host.
        host: String,
    },
}

/// One effect, what it waits for, and what undoes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Step {
    /// Its number; steps are numbered from 1 in a valid order.
    pub id: usize,
    /// The resource that it changes.
    pub address: Address,
    /// What it does.
    pub effect: Effect,
    /// The steps that must be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<usize>,
    /// What is done, in this order, when this step fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<Effect>,
}
