//! An environment opened for work: its configuration, world and store, and the round that every verb
//! is made of — look, compile, plan, apply. It may use every room but `cli` and `view`.

mod apply;
mod compiling;
mod infrastructure;
mod look;
mod operator;
mod planning;
mod plugin;
mod problem;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::compose::{
    Disk, Files, Interpolation, LoadOptions, Loaded, Models, Variable, dotenv,
};
use crate::config::diagnostic::Diagnostic;
use crate::config::stagecraft::{self, Config, Environment, State};
use crate::model::{Failure, Site};
use crate::state::{HostStore, LocalStore, Store};
use crate::world::secrets::Secrets;
use crate::world::simulated::ReadCompose;
use crate::world::{HostsWorld, Simulated, World};

pub use apply::{Applied, Company};
pub use look::compose_reader;
pub use operator::Operator;
pub use planning::Planned;
pub use problem::Problem;

/// Where the configuration is looked for unless told otherwise.
pub const CONFIG_FILE: &str = "stagecraft.yml";

/// A project's configuration, read and checked, with its Compose files.
pub struct Workspace {
    /// The configuration.
    pub config: Config,
    /// What is doubtful in it.
    pub warnings: Vec<Diagnostic>,
    /// The folder of the configuration file; other paths are relative to it.
    folder: PathBuf,
    /// The Compose files as they were checked, to be loaded for an environment.
    models: Models,
}

/// An environment opened for work.
pub struct Engine {
    workspace: Arc<Workspace>,
    environment: Environment,
    site: Site,
    secrets: Option<Secrets>,
    world: Arc<World>,
    store: Store,
    read_compose: ReadCompose,
    operator: Operator,
}

impl Workspace {
    /// Reads the configuration and checks it against its Compose files; everything wrong in either
    /// comes back at once.
    ///
    /// # Errors
    /// What is wrong in the files, or that they cannot be read.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let models = Models::default();
        let (config, warnings) = stagecraft::load_project(path, &Disk::default(), &models)
            .map_err(Problem::Diagnostics)?;
        Ok(Self { config, warnings, folder, models })
    }

    /// Loads the Compose files as templates for hosts.
    fn load_compose(
        &self,
        variables: &dyn Fn(&str) -> Variable,
        profiles: Vec<String>,
        project_name: Option<String>,
    ) -> Result<Loaded, Problem> {
        let files = self.config.file.compose.0.iter();
        let files: Vec<PathBuf> =
            files.map(|path| self.folder.join(path.value.to_string())).collect();
        let mut options = LoadOptions::new(files, variables);
        options.profiles = profiles;
        options.project_name = project_name;
        options.interpolation = Interpolation::Template;
        options.resolve_paths = false;
        options.resolve_env = false;
        self.models.load(&options, &Disk::default()).map_err(Problem::Diagnostics)
    }

    /// An environment that has hosts.
    fn deployable(&self, name: &str) -> Result<Environment, Problem> {
        let environment = self.config.environment(name)?;
        if environment.hosts.is_empty() {
            let what = format!("environment `{name}` has no hosts to deploy to");
            return Err(Failure::new(what)
                .hint("give it `hosts:`, or name another environment with --env")
                .into());
        }
        Ok(environment)
    }

    /// The names of the environments.
    pub fn environments(&self) -> Vec<String> {
        self.config.environments().map(str::to_owned).collect()
    }
}

impl Engine {
    /// Opens an environment.
    ///
    /// # Errors
    /// There is no such environment, it has no hosts, its secrets or its simulated world cannot be
    /// read.
    pub fn open(workspace: Arc<Workspace>, name: &str) -> Result<Self, Problem> {
        let operator = Operator::Here(workspace.folder.clone());
        let read = compose_reader();
        let ours = read.clone();
        let mut environment = workspace.deployable(name)?;
        infrastructure::locate(&workspace, &mut environment)?;
        let open = |workspace: &Workspace, environment: &_, site: &_, secrets: Option<&_>| {
            open_world(&workspace.folder, environment, site, secrets, &ours)
        };
        Self::open_with(workspace, environment, operator, read, open)
    }

    /// Opens what an environment has below its application.
    ///
    /// # Errors
    /// There is no such environment, its configuration names no infrastructure, or nothing opens it.
    pub fn open_infrastructure(workspace: Arc<Workspace>, name: &str) -> Result<Self, Problem> {
        let operator = Operator::Here(workspace.folder.clone());
        let open = |workspace: &Workspace, environment: &Environment, _: &Site, _: Option<&_>| {
            let cloud = infrastructure::open(workspace, environment)?;
            let folder = workspace.folder.join(infrastructure::STATE).join(&environment.name);
            Ok((Arc::new(World::Infrastructure(cloud)), Store::Local(LocalStore::new(folder))))
        };
        // Where no host is left there may be machines.
        let environment = workspace.config.environment(name)?;
        Self::open_with(workspace, environment, operator, compose_reader(), open)
    }

    /// Opens an environment on a world and a store of the caller's choice: how tests work in one
    /// where things go wrong.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_in(
        workspace: Workspace,
        name: &str,
        world: World,
        store: Store,
        operator: Operator,
    ) -> Result<Self, Problem> {
        let open = |_: &_, _: &_, _: &_, _: Option<&_>| Ok((Arc::new(world), store));
        let environment = workspace.deployable(name)?;
        Self::open_with(workspace.into(), environment, operator, compose_reader(), open)
    }

    fn open_with(
        workspace: Arc<Workspace>,
        environment: Environment,
        operator: Operator,
        read_compose: ReadCompose,
        open: impl FnOnce(
            &Workspace,
            &Environment,
            &Site,
            Option<&Secrets>,
        ) -> Result<(Arc<World>, Store), Problem>,
    ) -> Result<Self, Problem> {
        let site = site(&environment);
        let secrets = read_secrets(&workspace.folder, &environment)?;
        let (world, store) = open(&workspace, &environment, &site, secrets.as_ref())?;
        Ok(Self { workspace, environment, site, secrets, world, store, operator, read_compose })
    }

    /// The environment.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Where releases, the lock and the journals are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is doubtful in the configuration.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.workspace.warnings
    }
}

/// Where an environment is on its hosts.
fn site(environment: &Environment) -> Site {
    Site {
        project: environment.project.clone(),
        environment: environment.name.clone(),
        env_path: environment.env_file.clone(),
    }
}

/// The local secrets of an environment, where it has any.
fn read_secrets(folder: &Path, environment: &Environment) -> Result<Option<Secrets>, Problem> {
    if environment.env_file.is_none() {
        return Ok(None);
    }
    let path = folder.join(&environment.secrets.path);
    let name = path.display().to_string();
    let bytes = match Disk::default().read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match environment.secrets.required {
                false => Ok(None),
                true => Err(Failure::new(format!("the secrets file {name} is not there"))
                    .hint("write it, or take `secrets:` out of the configuration")
                    .into()),
            };
        }
        Err(error) => {
            let what = format!("the secrets file {name} can't be read: {error}");
            return Err(Failure::new(what).into());
        }
    };
    let nothing = |_: &str| Variable::Unset;
    let parsed = dotenv::parse(&name, &bytes, &nothing, dotenv::Style::Strict)?;
    Ok(Some(Secrets::new(parsed.variables)))
}

fn open_world(
    folder: &Path,
    environment: &Environment,
    site: &Site,
    secrets: Option<&Secrets>,
    read: &ReadCompose,
) -> Result<(Arc<World>, Store), Problem> {
    let local =
        |path: &str| Store::Local(LocalStore::new(folder.join(path).join(&environment.name)));
    let path = match &environment.state {
        State::Local { path } => path.as_str(),
        State::Host | State::S3(_) => ".stagecraft/state",
    };
    if environment.world == stagecraft::World::Simulated {
        let file = folder.join(path).join(&environment.name).join("world.json");
        let world = Simulated::open(file, site.clone(), secrets.cloned(), read.clone())?;
        return Ok((Arc::new(World::Simulated(Box::new(world))), local(path)));
    }
    let hosts = Arc::new(HostsWorld::new(site, secrets.cloned()));
    let store = match &environment.state {
        State::Host => {
            Store::Host(HostStore::new(hosts.clone(), environment.hosts.values().cloned()))
        }
        State::Local { path } => local(path),
        State::S3(_) => {
            return Err(Failure::new("the s3 store is not built yet")
                .hint("use `state: { store: host }` or `local`")
                .into());
        }
    };
    Ok((Arc::new(World::Hosts(hosts)), store))
}

/// What each host's env file offers to interpolation: names, never values.
fn host_keys(
    secrets: Option<&Secrets>,
    keys: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<String> {
    match secrets {
        Some(secrets) => secrets.keys(),
        None => keys.values().flatten().cloned().collect(),
    }
}
