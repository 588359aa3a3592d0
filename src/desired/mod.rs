//! The compiler: a configuration and its Compose project into the desired graph. Pure: what it needs
//! to know of the world is handed to it as `Facts`.

mod placement;
mod refuse;
mod render;
mod rendered;
mod rollout;
mod routes;
pub mod traefik;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::thread;

use crate::config::compose::Project;
use crate::config::diagnostic::Diagnostic;
use crate::model::{
    Address, COMPOSE_FILE, Desired, EnvSource, EnvSpec, FileSpec, Host, HostSpec, NetworkSpec,
    Protection, Resource, Site, Spec, VolumeSpec, stamp,
};

use placement::{Placed, Places};
use render::{Scene, Used};
use rendered::{Rendered, Renderings};
use routes::Traffic;

pub use placement::Placement;
pub use variables::Variables;

/// Mode of the rendered Compose file: it holds no secret, but it is nobody's business either.
const COMPOSE_MODE: u32 = 0o640;
/// The docker-rollout plugin's path below an environment's directory, and its mode.
const PLUGIN_FILE: &str = "docker-rollout";
const PLUGIN_MODE: u32 = 0o755;

/// The environment to compile.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// Names and paths.
    pub site: Site,
    /// The hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Where each service runs and how it rolls; services that are not here are left out.
    pub placements: BTreeMap<String, Placement>,
    /// The registry and path of images that have no name of their own.
    pub registry: Option<String>,
    /// Whether the proxy follows the containers' labels by itself.
    pub labels_route: bool,
    /// The docker-rollout plugin, where any service's rollout is left to it.
    pub plugin: Option<String>,
}

/// What the compiler is told about the world.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The version to deploy.
    pub version: Option<String>,
    /// The keys of the local secrets file, where there is one.
    pub secret_keys: Option<BTreeSet<String>>,
    /// The hosts' own mesh addresses, as far as they know them.
    pub mesh_ips: BTreeMap<String, String>,
}

/// Compiles a Compose project, loaded as a template, into the desired graph.
///
/// # Errors
/// What cannot be placed, rendered or rolled, one diagnostic each.
pub fn compile(
    blueprint: &Blueprint,
    project: &Project,
    facts: &Facts,
) -> Result<Desired, Vec<Diagnostic>> {
    let (traffic, mut problems) = Traffic::of(blueprint, project);
    let scene = Scene {
        blueprint,
        project,
        facts,
        places: Places::new(&blueprint.placements, project),
        sections: render::Sections::of(project),
        traffic,
    };
    let (mut resources, mut by_host) = (BTreeMap::new(), BTreeMap::new());
    for mut part in parts(&scene) {
        resources.append(&mut part.resources);
        by_host.append(&mut part.problems);
    }
    problems.extend(by_host.into_values().flatten());
    if problems.is_empty() {
        scene
            .traffic
            .connect(blueprint, facts, &scene.places, &mut resources)
            .map_err(|problem| vec![problem])?;
        return Ok(Desired {
            site: blueprint.site.clone(),
            version: facts.version.clone(),
            hosts: blueprint.hosts.clone(),
            addresses: BTreeMap::new(),
            partial: false,
            protection: Protection::Nothing,
            resources,
        });
    }
    // What is wrong with a host or a service is found wherever it matters; it is said once.
    let mut said: Vec<Diagnostic> = Vec::new();
    for problem in problems {
        if !said.contains(&problem) {
            said.push(problem);
        }
    }
    Err(said)
}

/// What some of the hosts come to.
#[derive(Default)]
struct Part {
    resources: BTreeMap<Address, Resource>,
    /// What is wrong, by host.
    problems: BTreeMap<String, Vec<Diagnostic>>,
}

/// All hosts, in as many parts as this machine works on at once.
fn parts<'a>(scene: &'a Scene<'a>) -> Vec<Part> {
    let hosts: Vec<&str> = scene.blueprint.hosts.keys().map(String::as_str).collect();
    let at_once = thread::available_parallelism().map_or(1, NonZero::get).min(hosts.len()).max(1);
    // Hosts of one role are much alike and mostly stand together: each part gets some of them.
    let share = |first: usize| hosts.iter().copied().skip(first).step_by(at_once);
    thread::scope(|scope| {
        let others: Vec<_> =
            (1..at_once).map(|at| scope.spawn(move || part(scene, share(at)))).collect();
        let own = part(scene, share(0));
        let others = others.into_iter().map(|part| part.join());
        let others = others.map(|part| part.unwrap_or_else(|panic| resume_unwind(panic)));
        iter::once(own).chain(others).collect()
    })
}

fn part<'a>(scene: &'a Scene<'a>, hosts: impl Iterator<Item = &'a str>) -> Part {
    let renderings = Renderings::default();
    let mut compiler = Compiler { scene, renderings, part: Part::default() };
    hosts.for_each(|host| compiler.host(host));
    compiler.part
}

/// Compiles hosts one after the other.
struct Compiler<'a> {
    scene: &'a Scene<'a>,
    renderings: Renderings<'a>,
    part: Part,
}

impl<'a> Compiler<'a> {
    /// Everything on one host; nothing where nothing is placed on it.
    fn host(&mut self, host: &str) {
        let Scene { blueprint, project, places, .. } = self.scene;
        if places.on_host(host).next().is_none() {
            return;
        }
        let site = &blueprint.site;
        let ground = Address::host(host);
        self.add(ground.clone(), Spec::Host(HostSpec { directory: site.directory() }), []);
        let mut base: BTreeSet<Address> = [ground.clone()].into();
        if let Some(path) = site.env_path.clone() {
            let source = match &self.scene.facts.secret_keys {
                Some(keys) => EnvSource::Secrets { keys: keys.clone() },
                None => EnvSource::Host,
            };
            let address = Address::env(host);
            self.add(address.clone(), Spec::Env(EnvSpec { path, source }), [ground.clone()]);
            base.insert(address);
        }
        let mut services: Vec<(&Placed, Rc<Rendered>)> = Vec::new();
        for placed in places.on_host(host) {
            match self.renderings.of(self.scene, host, placed) {
                Ok(rendered) => services.push((placed, rendered)),
                Err(problem) => {
                    self.part.problems.entry(host.to_owned()).or_default().push(problem);
                }
            }
        }
        let definitions = services.iter().map(|(placed, it)| (placed.name, &it.spec.definition));
        if let Err(problem) = refuse::clashes(project, host, definitions) {
            self.part.problems.entry(host.to_owned()).or_default().push(problem);
        }
        let rendered = services.iter().map(|(_, rendered)| rendered.as_ref());
        let used = Used::by(rendered.clone());
        let text = render::file(&self.scene.sections, site, rendered, &used);
        let file = Address::file(host, COMPOSE_FILE);
        let spec = FileSpec {
            path: site.compose_file(),
            mode: COMPOSE_MODE,
            content: stamp::stamped(&text),
        };
        self.add(file.clone(), Spec::File(spec), [ground.clone()]);
        base.insert(file);

        let plugin = Address::file(host, PLUGIN_FILE);
        let by_plugin = services.iter().any(|(placed, _)| placed.placement.by_plugin);
        if let (Some(content), true) = (&blueprint.plugin, by_plugin) {
            let (path, content) = (site.path(PLUGIN_FILE), content.clone());
            let spec = FileSpec { path, mode: PLUGIN_MODE, content };
            self.add(plugin.clone(), Spec::File(spec), [ground.clone()]);
        }
        let networks = self.objects(&ground, &used.networks, |key| {
            let network = project.networks.get(key).filter(|network| !network.external)?;
            let definition = render::object(&network.canonical);
            let spec = NetworkSpec { name: network.name.clone(), definition };
            Some((Address::network(host, key), Spec::Network(spec)))
        });
        let volumes = self.objects(&ground, &used.volumes, |key| {
            let volume = project.volumes.get(key).filter(|volume| !volume.external)?;
            let definition = render::object(&volume.canonical);
            let spec = VolumeSpec { name: volume.name.clone(), definition };
            Some((Address::volume(host, key), Spec::Volume(spec)))
        });
        for (placed, rendered) in &services {
            let mut after = base.clone();
            if rendered.spec.rollout.plugin.is_some() {
                after.insert(plugin.clone());
            }
            after.extend(rendered.networks.iter().filter_map(|key| networks.get(&**key).cloned()));
            after.extend(rendered.volumes.iter().filter_map(|key| volumes.get(&**key).cloned()));
            // What runs here, too, is waited for here, and anything else on all its hosts. Tiers need
            // no edges: the order knows them.
            for dependency in places.dependencies(placed) {
                if dependency.is_on(host) {
                    after.insert(Address::service(host, dependency.name));
                } else {
                    let everywhere = dependency.placement.hosts.iter();
                    after.extend(everywhere.map(|on| Address::service(on, dependency.name)));
                }
            }
            let address = Address::service(host, placed.name);
            self.add(address, Spec::Service(rendered.spec.clone()), after);
        }
    }

    /// Adds those of a host's networks or volumes that are ours to make; their addresses by key.
    fn objects<'k>(
        &mut self,
        ground: &Address,
        used: &BTreeSet<&'k str>,
        of: impl Fn(&str) -> Option<(Address, Spec)>,
    ) -> BTreeMap<&'k str, Address> {
        let mut addresses = BTreeMap::new();
        for key in used {
            if let Some((address, spec)) = of(key) {
                self.add(address.clone(), spec, [ground.clone()]);
                addresses.insert(*key, address);
            }
        }
        addresses
    }

    fn add(&mut self, address: Address, spec: Spec, after: impl IntoIterator<Item = Address>) {
        let after = after.into_iter().collect();
        self.part.resources.insert(address, Resource { spec, after });
    }
}
