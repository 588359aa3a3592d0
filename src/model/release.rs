//! Releases: what was applied, when, by whom, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ImagePin, Summary};

/// The version of the record's format. Readers refuse a later one.
pub const RELEASE_FORMAT: u32 = 1;

/// One apply that changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The format's version.
    pub format: u32,
    /// The number, counting from 1 in each environment.
    pub number: u64,
    /// The environment.
    pub environment: String,
    /// The version deployed, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version that was in force before, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<String>,
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Who: `user@machine`.
    pub by: String,
    /// The git commit of the project's folder, with `-dirty` where it had changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The digest of the configuration.
    pub config_digest: String,
    /// The digest of the plan.
    pub plan_digest: String,
    /// The content address of the stored desired state.
    pub desired: String,
    /// The hosts that it concerned.
    pub hosts: Vec<String>,
    /// The images that ran afterwards, by reference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, ImagePin>,
    /// The same by host, where hosts ran others: each keeps what a tag meant when it pulled it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images_on: BTreeMap<String, BTreeMap<String, ImagePin>>,
    /// The env version in force afterwards, by host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env_versions: BTreeMap<String, String>,
    /// What was planned.
    pub summary: Summary,
    /// What came of it.
    pub outcome: Outcome,
    /// The release that a rollback went back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts_to: Option<u64>,
    /// What failed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The commands that it ran, by service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub commands: BTreeMap<String, String>,
    /// The newest release before it that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_good: Option<u64>,
    /// What came of going back to that one after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_back: Option<FellBack>,
}

/// Going back to an earlier release after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FellBack {
    /// The earlier release.
    pub release: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The version that the earlier release had deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What came of an apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has begun and not ended; with no lock held, it was killed.
    Running,
    /// Everything planned was done.
    Succeeded,
    /// A step failed.
    Failed,
    /// It was asked to stop, and did.
    Interrupted,
    /// It waits for a confirmation; the next apply goes on.
    Paused,
}

impl Outcome {
    /// The word that people read.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
            Outcome::Paused => "paused",
        }
    }
}

impl Release {
    /// The image that a reference meant on a host.
    pub fn image(&self, host: &str, reference: &str) -> Option<&ImagePin> {
        let own = self.images_on.get(host).and_then(|images| images.get(reference));
        own.or_else(|| self.images.get(reference))
    }

    /// Notes which image a reference means on a host.
    pub fn note_image(&mut self, host: &str, reference: &str, image: &ImagePin) {
        let common = self.images.entry(reference.to_owned()).or_insert_with(|| image.clone());
        if common != image {
            let own = self.images_on.entry(host.to_owned()).or_default();
            own.insert(reference.to_owned(), image.clone());
        }
    }
}

/// As much of the newest release as a plan needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseHead {
    /// Its number.
    pub number: u64,
    /// The version it deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version that was in force before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// The content address of the desired state.
    #[serde(default)]
    pub desired: String,
    /// The hosts that it concerned.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The newest release before it that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_good: Option<u64>,
    /// What came of going back to that one after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_back: Option<FellBack>,
}

impl ReleaseHead {
    /// The newest release that succeeded.
    pub fn good(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Succeeded => Some(self.number),
            _ => self.previous_good,
        }
    }

    /// The version that stays until another is named: the newest release's, so that an apply that
    /// was killed, or that failed where it was, can be gone on with, unless that release was undone.
    pub fn version_in_force(&self) -> Option<&str> {
        match &self.fell_back {
            Some(back) => back.version.as_deref().or(self.previous_version.as_deref()),
            None => self.version.as_deref(),
        }
    }
}

impl From<&Release> for ReleaseHead {
    fn from(release: &Release) -> Self {
        Self {
            number: release.number,
            version: release.version.clone(),
            previous_version: release.previous_version.clone(),
            outcome: release.outcome,
            desired: release.desired.clone(),
            hosts: release.hosts.clone(),
            previous_good: release.previous_good,
            fell_back: release.fell_back.clone(),
        }
    }
}
