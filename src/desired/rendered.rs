//! Rendered services. What one is on a host depends on little of that host, and most come out the same
//! on all of theirs: those are made once.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::Placed;
use super::render::{self, Scene, Surroundings};
use super::rollout;
use crate::config::compose::references_of;
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml;
use crate::model::definition::{fingerprint, limits, networks, replicas};
use crate::model::{EnvUse, Object, ServiceSpec};

/// How deep a service's entry lies in a Compose file.
const INDENT: usize = 2;

/// A service on a host, and what its host's Compose file needs to know of it.
pub struct Rendered {
    pub spec: Arc<ServiceSpec>,
    /// The service's entry in the Compose file.
    pub entry: String,
    /// The keys of the networks that it is on.
    pub networks: BTreeSet<String>,
    /// The keys of the volumes that it mounts.
    pub volumes: BTreeSet<String>,
}

/// The newest rendering of each service, with the surroundings that it was made for.
#[derive(Default)]
pub struct Renderings<'a> {
    newest: BTreeMap<&'a str, (Surroundings<'a>, Rc<Rendered>)>,
}

impl<'a> Renderings<'a> {
    /// A service on a host.
    ///
    /// # Errors
    /// It can't be rendered, or can't roll as it is asked to.
    pub fn of(
        &mut self,
        scene: &'a Scene,
        host: &str,
        placed: &Placed<'a>,
    ) -> Result<Rc<Rendered>, Diagnostic> {
        let surroundings = Surroundings::of(scene, host, placed)?;
        if let Some((known, rendered)) = self.newest.get(placed.name)
            && *known == surroundings
        {
            return Ok(rendered.clone());
        }
        let definition = render::service(scene, host, placed, &surroundings)?;
        let rendered = Rc::new(rendered(scene, placed, definition)?);
        self.newest.insert(placed.name, (surroundings, rendered.clone()));
        Ok(rendered)
    }
}

/// A service with a definition, which its digest completes.
fn rendered(
    scene: &Scene,
    placed: &Placed,
    mut definition: Object,
) -> Result<Rendered, Diagnostic> {
    let Scene { blueprint, project, .. } = scene;
    let rollout = rollout::spec(blueprint, project, placed, &definition)?;
    let fingerprint = fingerprint(&definition);
    render::label(&mut definition, &fingerprint);
    let on: Option<BTreeSet<String>> =
        networks(&definition).map(|keys| keys.into_iter().map(str::to_owned).collect());
    let docker_name = |key: &String| match project.networks.get(key) {
        Some(network) => network.name.clone(),
        None => key.clone(),
    };
    let text = |key: &str| Some(definition.get(key)?.as_str()?.to_owned());
    let spec = ServiceSpec {
        service: placed.name.to_owned(),
        fingerprint,
        image: text("image").unwrap_or_default(),
        pin: None,
        replicas: replicas(&definition),
        limits: limits(&definition),
        networks: on.as_ref().map(|keys| keys.iter().map(docker_name).collect()),
        container_name: text("container_name"),
        env: match definition.contains_key("env_file") {
            true => EnvUse::All,
            false => EnvUse::Keys(references_of(&definition)),
        },
        rollout,
        tier: placed.tier,
        completes: placed.completes,
        release_command: placed.placement.release_command.clone(),
        definition,
    };
    Ok(Rendered {
        entry: yaml::emit_entry(placed.name, &spec.definition, INDENT),
        networks: on.unwrap_or_default(),
        volumes: render::volumes(&spec.definition).map(str::to_owned).collect(),
        spec: Arc::new(spec),
    })
}
