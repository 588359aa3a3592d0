//! `stagecraft compose`: the Compose model, as Docker Compose and as the hosts read it.

use std::cell::OnceCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Format, Global, block_on};
use crate::config::compose::{
    Discovery, Disk, Files, Interpolation, LoadOptions, Loaded, discover, load,
};
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml;
use crate::engine::Problem;
use crate::model::{Failure, Request, Spec};
use crate::view;

/// Print the project in its canonical form.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// A Compose file; repeat for overrides, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// The project's name
    #[arg(short, long, value_name = "NAME")]
    pub project_name: Option<String>,
    /// A file with variables, instead of `.env`; repeatable
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// A profile to enable; repeatable, `*` for all
    #[arg(long, value_name = "PROFILE")]
    pub profile: Vec<String>,
    /// Where relative paths start, instead of the first file's folder
    #[arg(long, value_name = "DIR")]
    pub project_directory: Option<PathBuf>,
    /// Leave variables as they are written
    #[arg(long)]
    pub no_interpolate: bool,
    /// Leave relative paths as they are written
    #[arg(long)]
    pub no_path_resolution: bool,
    /// Taken for Docker Compose's sake, whose output it doesn't change either
    #[arg(long)]
    pub no_env_resolution: bool,
}

/// What `stagecraft compose` does.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Print the canonical model, as `docker compose config` does
    Config(ConfigArgs),
    /// Print what the environment's hosts would run
    Render {
        /// One host alone
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
        /// The version (`IMAGE_TAG`); else the one that the newest release deployed
        #[arg(long, value_name = "VERSION", value_parser = super::plan::version)]
        version: Option<String>,
    },
}

pub fn run(verb: &Verb, global: &Global) -> Result<ExitCode, Problem> {
    match verb {
        Verb::Config(args) => config(args, global),
        Verb::Render { host, version } => render(host.as_deref(), version.clone(), global),
    }
}

fn config(args: &ConfigArgs, global: &Global) -> Result<ExitCode, Problem> {
    let (text, warnings) =
        model(args, global.format == Format::Json).map_err(Problem::Diagnostics)?;
    for warning in warnings {
        global.remark(&view::error::diagnostic(&warning, global.paint_errors()));
    }
    global.print(&text);
    Ok(ExitCode::SUCCESS)
}

fn render(
    host: Option<&str>,
    version: Option<String>,
    global: &Global,
) -> Result<ExitCode, Problem> {
    let engine = global.open()?;
    let request = Request { version, ..Request::default() };
    let desired = block_on(engine.plan(&request))?.desired;
    if let Some(name) = host.filter(|name| !desired.hosts.contains_key(*name)) {
        let known: Vec<&str> = desired.hosts.keys().map(String::as_str).collect();
        return Err(Failure::new(format!("there is no host {name}"))
            .hint(format!("the environment has {}", known.join(", ")))
            .into());
    }
    let files = desired.resources.iter().filter_map(|(address, resource)| match &resource.spec {
        Spec::File(file) => Some((address.on_host()?, file)),
        _ => None,
    });
    for (on, file) in files.filter(|(on, _)| host.is_none_or(|host| host == *on)) {
        global.print(&format!("# {on}:{}\n{}", file.path, file.content));
    }
    Ok(ExitCode::SUCCESS)
}

fn model(args: &ConfigArgs, json: bool) -> Result<(String, Vec<Diagnostic>), Vec<Diagnostic>> {
    let cwd = std::env::current_dir().map_err(|error| {
        vec![Diagnostic::error("compose::folder", format!("this folder can't be used: {error}"))]
    })?;
    let mut variables: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    variables.entry("PWD".to_owned()).or_insert_with(|| cwd.to_string_lossy().into_owned());
    let files = WithInput { disk: Disk { base: cwd.clone() }, input: OnceCell::new() };
    let given = Discovery {
        files: args.file.clone(),
        env_files: args.env_file.clone(),
        project_dir: args.project_directory.clone(),
        profiles: args.profile.clone(),
        variables,
        warnings: Vec::new(),
    };
    let found = discover(given, &cwd, &files)?;
    let lookup = |name: &str| found.lookup(name);
    let mut options = LoadOptions::new(found.files.clone(), &lookup);
    options.project_dir = found.project_dir.clone();
    options.project_name = args.project_name.clone();
    options.profiles = found.profiles.clone();
    options.resolve_paths = !args.no_path_resolution;
    if args.no_interpolate {
        options.interpolation = Interpolation::Off;
    }
    let Loaded { project, warnings } = load(&options, &files)?;
    let text = match json {
        false => yaml::emit(&project.document()),
        true => format!("{:#}\n", project.canonical()),
    };
    Ok((text, found.warnings.into_iter().chain(warnings).collect()))
}

/// The disk, with standard input under the name `-`; it can be read once only, so it is kept.
struct WithInput {
    disk: Disk,
    input: OnceCell<Vec<u8>>,
}

impl Files for WithInput {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        if path.as_os_str() != "-" {
            return self.disk.read(path);
        }
        if let Some(text) = self.input.get() {
            return Ok(text.clone());
        }
        let mut text = Vec::new();
        std::io::stdin().lock().take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
        Ok(self.input.get_or_init(|| text).clone())
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.disk.is_dir(path)
    }

    fn follow_link(&self, path: &Path) -> PathBuf {
        self.disk.follow_link(path)
    }
}
