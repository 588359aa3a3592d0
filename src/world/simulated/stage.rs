//! One effect at work on one simulated host: every act but those on containers.

use std::collections::BTreeMap;

use std::sync::Arc;

use super::{ComposeFile, Faults, ReadCompose, SimulatedHost, digests, version_of};
use crate::model::{
    Act, COMPOSE_FILE, Failure, FileState, ImagePin, Object, ObjectState, Site, digest_of,
    sha256_hex,
};
use crate::world::secrets::Secrets;

/// One effect at work on one host.
pub(super) struct Stage<'a> {
    pub name: &'a str,
    pub host: &'a mut SimulatedHost,
    pub faults: &'a Faults,
    pub made: &'a mut u64,
    pub now_ms: u64,
    /// How many single changes are made before the effect is cut off.
    pub left: Option<u32>,
    pub site: &'a Site,
    pub read: &'a ReadCompose,
}

impl Stage<'_> {
    pub fn perform(&mut self, act: &Act, secrets: Option<&Secrets>) -> Result<(), Failure> {
        match act {
            Act::PrepareHost { .. } => {
                self.write()?;
                self.host.state.directory = true;
            }
            Act::WriteFile { path, mode, content } => {
                self.write()?;
                let file = FileState { mode: *mode, content: content.clone() };
                let path = self.relative(path);
                self.host.state.files.insert(path, file);
            }
            Act::RemoveFile { path } => {
                self.change()?;
                self.remove_file(path);
            }
            Act::WriteEnv { keys, .. } => {
                let secrets = secrets.ok_or_else(|| {
                    Failure::new("the secrets file that the plan was made with is gone")
                })?;
                let mut env = digests(secrets);
                env.retain(|key, _| keys.contains(key));
                self.write()?;
                self.host.env_versions.insert(version_of(&env), env.clone());
                self.put_env(env)?;
            }
            Act::RestoreEnv { version, .. } => {
                let env = self.host.env_versions.get(version).cloned().ok_or_else(|| {
                    Failure::new(format!("env version {version} is not kept on {}", self.name))
                })?;
                self.put_env(env)?;
            }
            Act::SetMode { path, mode } => {
                self.change()?;
                self.set_mode(path, *mode)?;
            }
            Act::CreateNetwork { name, key, definition } => {
                self.change()?;
                create(&mut self.host.state.networks, "network", name, key, definition)?;
            }
            Act::CreateVolume { name, key, definition } => {
                self.write()?;
                create(&mut self.host.state.volumes, "volume", name, key, definition)?;
            }
            Act::RemoveNetwork { name } => {
                for container in self.host.state.containers.values_mut() {
                    container.networks.remove(name);
                }
                self.change()?;
                self.host.state.networks.remove(name);
            }
            Act::RemoveVolume { name } => {
                self.change()?;
                self.host.state.volumes.remove(name);
            }
            Act::PullImage { image, pin } => self.pull(image, pin.as_ref())?,
            act => self.perform_on_containers(act)?,
        }
        Ok(())
    }

    /// Comes before every single change: the effect may be cut off here.
    pub fn change(&mut self) -> Result<(), Failure> {
        match &mut self.left {
            Some(0) => Err(Failure::new(format!("{} went down in the middle of it", self.name))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Comes before every single change that takes room on the disk.
    pub fn write(&mut self) -> Result<(), Failure> {
        if self.faults.full_disks.contains(self.name) {
            return Err(Failure::new(format!("{}: no space left on device", self.name)));
        }
        self.change()
    }

    /// The path below the environment's directory.
    fn relative(&self, path: &str) -> String {
        let directory = self.site.directory();
        path.strip_prefix(&directory).unwrap_or(path).trim_start_matches('/').to_owned()
    }

    fn is_env(&self, path: &str) -> bool {
        self.site.env_path.as_deref() == Some(path)
    }

    fn remove_file(&mut self, path: &str) {
        if self.is_env(path) {
            self.host.env = None;
            return;
        }
        let path = self.relative(path);
        self.host.state.files.remove(&path);
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Result<(), Failure> {
        let refuse = || Failure::new(format!("{}: no such file: {path}", self.name));
        if self.is_env(path) {
            self.host.env.as_ref().ok_or_else(refuse)?;
            self.host.env_mode = Some(mode);
            return Ok(());
        }
        let relative = self.relative(path);
        self.host.state.files.get_mut(&relative).ok_or_else(refuse)?.mode = mode;
        Ok(())
    }

    fn put_env(&mut self, env: BTreeMap<String, String>) -> Result<(), Failure> {
        self.write()?;
        self.host.env = Some(env);
        self.host.env_mode = None;
        Ok(())
    }

    /// Makes a reference mean an image: the one that is asked for, or whatever the registry has. An
    /// image that is on the host under any name need not come from a registry.
    fn pull(&mut self, image: &str, pin: Option<&ImagePin>) -> Result<(), Failure> {
        let images = &self.host.state.images;
        let found = match pin {
            Some(pin) => images.values().find(|found| found.id == pin.id),
            None => images.get(image),
        };
        let found = match found.cloned() {
            Some(found) => found,
            None if self.faults.missing_images.contains(image) => {
                return Err(Failure::new(format!("{}: no such image: {image}", self.name))
                    .hint("push the image, or correct its name"));
            }
            None => {
                self.write()?;
                let digest = format!("sha256:{}", sha256_hex(image));
                pin.cloned().unwrap_or(ImagePin { id: digest.clone(), digest: Some(digest) })
            }
        };
        self.change()?;
        self.host.state.images.insert(image.to_owned(), found);
        Ok(())
    }

    /// A Compose file: the one given, or the one in force.
    pub fn compose(&self, given: Option<&str>) -> Arc<ComposeFile> {
        let in_force = self.host.state.files.get(COMPOSE_FILE);
        (self.read)(given.or(in_force.map(|file| file.content.as_str())).unwrap_or_default())
    }
}

/// Creates a network or a volume unless it is there, made from the same definition.
fn create(
    objects: &mut BTreeMap<String, ObjectState>,
    kind: &str,
    name: &str,
    key: &str,
    definition: &Object,
) -> Result<(), Failure> {
    let definition = digest_of(definition);
    match objects.get(name) {
        Some(found) if found.definition != definition => Err(Failure::new(format!(
            "a {kind} named {name} is there and was not made from this file"
        ))),
        Some(_) => Ok(()),
        None => {
            let made = ObjectState { key: key.to_owned(), ours: true, definition };
            objects.insert(name.to_owned(), made);
            Ok(())
        }
    }
}
