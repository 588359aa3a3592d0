//! The docker-rollout plugin that the configuration names: read from the project, and held to a digest.

use super::{Problem, Workspace};
use crate::config::compose::{Disk, Files};
use crate::model::{Failure, sha256_hex};

/// The SHA-256 of the script in the plugin's releases v0.9 to v0.13, newest first.
const RELEASES: [&str; 5] = [
    "fa0df004de84747142cb627c55210aaa914bbae76666e7b95a2ac46805d81a84",
    "1095f2065b7204d2cfd645afb0cfbe7941bb54f3bcefab62dab8056ce9e26d32",
    "89c642dc13aff2c0fdbf72211fe68b3c4e4b47454e94694bf415bf41eb31c50a",
    "dfceb486b663dd0bc9674d922f5b387f25f35793f4ad0e4573061635fe32ccdc",
    "d89dd76458baa181af272baaeb3584c19997f4f4a38903b177288fd7c534fe06",
];

impl Workspace {
    /// The plugin's script, where the configuration names one.
    ///
    /// # Errors
    /// It cannot be read, or is not the one that its digest, or any release's, says.
    pub(super) fn plugin(&self) -> Result<Option<String>, Problem> {
        let Some(settings) = &self.config.file.docker_rollout else { return Ok(None) };
        let path = self.config.path(&settings.file);
        let bytes = Disk::default().read(&path).map_err(|error| {
            Failure::new(format!("docker-rollout can't be read from {}: {error}", path.display()))
                .hint("`docker_rollout: { file: … }` is relative to stagecraft.yml")
        })?;
        let digest = sha256_hex(&bytes);
        let pinned = settings.sha256.as_ref().map(|pinned| pinned.to_ascii_lowercase());
        let is_right = match &pinned {
            Some(pinned) => *pinned == digest,
            None => RELEASES.contains(&digest.as_str()),
        };
        if !is_right {
            let what = match &pinned {
                Some(_) => "is not the script that `sha256` pins",
                None => "is none of the releases of docker-rollout known here, v0.9 to v0.13",
            };
            return Err(Failure::new(format!("{} {what}", path.display()))
                .detail([format!("its SHA-256 is {digest}")])
                .hint("if it is the one you want, pin it: `docker_rollout: { sha256: … }`")
                .into());
        }
        String::from_utf8(bytes).map(Some).map_err(|_| {
            Failure::new(format!("{} is no script: it is not UTF-8", path.display()))
                .hint("name the file `docker-rollout` of a release of the plugin")
                .into()
        })
    }
}
