//! Rendered services. What one is on a host depends on little of that host, and most come out the same
//! on all of theirs: those are made once.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::Placed;
use super::render::{self, Scene, Surroundings};
use super::rollout;
use crate::config::compose::references_of;
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml;
use crate::model::definition::{fingerprint, limits, networks, replicas, sources};
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

/// What a service is made anew with, by name.
type Followed = BTreeMap<String, Rc<Rendered>>;

/// The newest rendering of each service, with the surroundings that it was made for.
#[derive(Default)]
pub struct Renderings<'a> {
    newest: BTreeMap<&'a str, (Surroundings<'a>, Followed, Rc<Rendered>)>,
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
        // Services that depend on each other in a circle are refused when they are loaded.
        let followed = scene.places.followed(placed, host);
        let followed = followed
            .map(|placed| Ok((placed.name.to_owned(), self.of(scene, host, placed)?)))
            .collect::<Result<Followed, Diagnostic>>()?;
        if let Some((known, with, rendered)) = self.newest.get(placed.name)
            && *known == surroundings
            && with.len() == followed.len()
            && with.values().zip(followed.values()).all(|(one, other)| Rc::ptr_eq(one, other))
        {
            return Ok(rendered.clone());
        }
        let definition = render::service(scene, host, placed, &surroundings)?;
        let rendered = Rc::new(rendered(scene, placed, definition, &followed)?);
        self.newest.insert(placed.name, (surroundings, followed, rendered.clone()));
        Ok(rendered)
    }
}

/// A service with a definition, which its digest completes. The digest also covers what containers get when
/// they are made, and what they are made anew with.
fn rendered(
    scene: &Scene,
    placed: &Placed,
    mut definition: Object,
    followed: &Followed,
) -> Result<Rendered, Diagnostic> {
    let Scene { blueprint, project, sections, .. } = scene;
    let rollout = rollout::spec(blueprint, project, placed, &definition)?;
    let mut beside = Object::new();
    for section in ["configs", "secrets"] {
        beside.extend(sections.used(section, &sources(&definition, section).collect()));
    }
    let mut env = match definition.contains_key("env_file") {
        true => EnvUse::All,
        false => EnvUse::Keys(references_of(&definition)),
    };
    env.add(&EnvUse::Keys(references_of(&beside)));
    if !followed.is_empty() {
        let digests =
            followed.iter().map(|(name, it)| (name.clone(), it.spec.fingerprint.clone().into()));
        beside.insert("services".into(), Value::Object(digests.collect()));
        followed.values().for_each(|it| env.add(&it.spec.env));
    }
    let fingerprint = fingerprint(&definition, &beside);
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
        env,
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
