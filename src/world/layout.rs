//! Where an environment lives on a host, as scripts need it: plain strings, quoted on demand.

use crate::model::{COMPOSE_FILE, Site};

use super::quote::quote;

/// The label that marks what is ours.
pub const ENVIRONMENT_LABEL: &str = "stagecraft.environment";
/// The label that holds the digest of the definition a network or a volume was made from.
pub const DEFINITION_LABEL: &str = "stagecraft.definition";
/// What a file is called while it is being written. The probe leaves such files out.
pub const UNFINISHED: &str = ".stagecraft-new";

/// The names and paths of one environment on its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The directory that holds everything of ours.
    pub directory: String,
    /// Compose's project name.
    pub project: String,
    /// The value of our label.
    pub mark: String,
    /// The env file's path, if the environment has one.
    pub env_path: Option<String>,
}

impl From<&Site> for Layout {
    fn from(site: &Site) -> Self {
        Self {
            directory: site.directory(),
            project: site.compose_project(),
            mark: format!("{}/{}", site.project, site.environment),
            env_path: site.env_path.clone(),
        }
    }
}

impl Layout {
    /// A path below the directory.
    pub fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.directory)
    }

    /// The Compose file in force.
    pub fn compose_file(&self) -> String {
        self.path(COMPOSE_FILE)
    }

    /// Shell assignments of the names that every script of ours uses.
    pub fn assignments(&self) -> String {
        format!(
            "D={}\nP={}\nMARK={}\nE={}\nF={}\n",
            quote(&self.directory),
            quote(&self.project),
            quote(&self.mark),
            quote(self.env_path.as_deref().unwrap_or_default()),
            quote(&self.compose_file()),
        )
    }
}
