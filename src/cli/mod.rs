//! The command line: one file per verb, and what they share. No logic worth testing alone.

mod apply;
mod completions;
mod compose;
mod deploy;
mod import;
mod infra;
mod lock;
mod plan;
mod releases;
mod rollback;
mod run;
mod schema;
mod status;
mod validate;

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::diagnostic::Diagnostic;
use crate::engine::{CONFIG_FILE, Engine, Problem, Workspace};
use crate::model::Failure;
use crate::view::style::ColorChoice;
use crate::view::{self, Paint};

/// Exit code of usage errors, so that 2 can mean "there are changes" and nothing else.
const USAGE: u8 = 64;

/// Plan, apply and roll back Docker Compose applications on a handful of hosts.
#[derive(Debug, Parser)]
#[command(name = "stagecraft", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The environment; needed where the configuration has several
    #[arg(
        short,
        long,
        global = true,
        env = "STAGECRAFT_ENV",
        hide_env_values = true,
        value_name = "NAME"
    )]
    env: Option<String>,
    /// The configuration file
    #[arg(short, long, global = true, default_value = CONFIG_FILE, value_name = "FILE")]
    config: PathBuf,
    /// Show what is usually left out
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Show the plan and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: ColorChoice,
    /// Do not ask for confirmation
    #[arg(short, long, global = true)]
    yes: bool,
    /// Whether a result could not be written.
    #[arg(skip)]
    unwritten: Cell<bool>,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; of Compose models, YAML
    #[default]
    #[value(alias = "yaml")]
    Text,
    /// For programs
    Json,
    /// For pull requests and job summaries
    Markdown,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what apply would change
    Plan(plan::Args),
    /// Make the environment what the configuration says
    Apply(apply::Args),
    /// Apply a version
    Deploy(deploy::Args),
    /// Go back to an earlier release
    Rollback(rollback::Args),
    /// What the environment has below its application: machines, networks, names
    Infra(infra::Args),
    /// Take over a part of the infrastructure that was made by hand
    Import(import::Args),
    /// The releases on record
    Releases(releases::Args),
    /// What runs, and how it is
    Status,
    /// Who holds the environment's lock
    Lock(lock::Args),
    /// Check stagecraft.yml and the Compose files without contacting anything
    Validate,
    /// Print the JSON Schema of stagecraft.yml, or of plans
    Schema(schema::Args),
    /// The Compose model, as Docker Compose and as the hosts read it
    #[command(subcommand)]
    Compose(compose::Verb),
    /// Print a shell's completion script
    Completions(completions::Args),
}

/// Runs the program: arguments in, exit code out.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; where they cannot be written nobody reads them.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let global = cli.global;
    let result = match cli.verb {
        Verb::Plan(args) => plan::run(&args, &global),
        Verb::Apply(args) => apply::run(&args, &global),
        Verb::Deploy(args) => deploy::run(&args, &global),
        Verb::Rollback(args) => rollback::run(&args, &global),
        Verb::Infra(args) => infra::run(&args, &global),
        Verb::Import(args) => import::run(&args, &global),
        Verb::Releases(args) => releases::run(&args, &global),
        Verb::Status => status::run(&global),
        Verb::Lock(args) => lock::run(&args, &global),
        Verb::Validate => validate::run(&global),
        Verb::Schema(args) => schema::run(&args, &global),
        Verb::Compose(verb) => compose::run(&verb, &global),
        Verb::Completions(args) => completions::run(&args, &global),
    };
    let code = result.unwrap_or_else(|problem| {
        global.complain(&problem);
        ExitCode::FAILURE
    });
    match global.unwritten.into_inner() {
        true => ExitCode::FAILURE,
        false => code,
    }
}

impl Global {
    /// The colours for standard output.
    fn paint(&self) -> Paint {
        self.color.paint(std::io::stdout().is_terminal(), |name| std::env::var(name).ok())
    }

    /// The colours for standard error.
    fn paint_errors(&self) -> Paint {
        self.color.paint(std::io::stderr().is_terminal(), |name| std::env::var(name).ok())
    }

    fn options(&self) -> view::Options {
        view::Options { paint: self.paint(), verbose: self.verbose }
    }

    /// Writes a result to standard output. A reader that went away is no failure; where it can't be
    /// written the program fails in the end, when all else is done.
    fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let lost = written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        if let Some(error) = lost
            && !self.unwritten.replace(true)
        {
            let failure = Failure::new(format!("standard output can't be written: {error}"));
            self.complain(&failure.into());
        }
    }

    /// Writes a remark for people to standard error.
    fn remark(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// Says what went wrong.
    fn complain(&self, problem: &Problem) {
        let paint = self.paint_errors();
        let text = match (problem, self.format) {
            (Problem::Failure(failure), Format::Json) => view::error::json(failure),
            (Problem::Failure(failure), _) => view::error::failure(failure, paint),
            (Problem::Diagnostics(found), Format::Json) => view::error::diagnostics_json(
                "the configuration is not valid",
                found.iter().map(|d| d as &dyn miette::Diagnostic),
            ),
            (Problem::Diagnostics(found), _) => {
                found.iter().map(|d| view::error::diagnostic(d, paint)).collect()
            }
        };
        self.remark(&text);
    }

    /// Says what is doubtful.
    fn warn(&self, warnings: &[Diagnostic]) {
        if self.format == Format::Json && !warnings.is_empty() {
            let warnings = warnings.iter().map(|warning| warning as &dyn miette::Diagnostic);
            return self.remark(&view::error::warnings_json(warnings));
        }
        for warning in warnings {
            self.remark(&view::error::diagnostic(warning, self.paint_errors()));
        }
    }

    /// The environment that was asked for. A variable that is empty asks for none.
    fn environment(&self) -> Option<&str> {
        self.env.as_deref().filter(|name| !name.is_empty())
    }

    /// Opens the environment that was asked for, or the only one there is.
    fn open(&self) -> Result<Engine, Problem> {
        self.open_named(self.environment())
    }

    fn open_named(&self, name: Option<&str>) -> Result<Engine, Problem> {
        self.open_by(name, Engine::open)
    }

    /// Opens what the environment has below its application.
    fn open_infrastructure(&self) -> Result<Engine, Problem> {
        self.open_by(self.environment(), Engine::open_infrastructure)
    }

    fn open_by(
        &self,
        name: Option<&str>,
        open: impl FnOnce(Arc<Workspace>, &str) -> Result<Engine, Problem>,
    ) -> Result<Engine, Problem> {
        let workspace = Workspace::open(&self.config_path()?)?;
        let deployable: Vec<String> = workspace
            .environments()
            .into_iter()
            .filter(|name| {
                workspace.config.environment(name).is_ok_and(|found| !found.hosts.is_empty())
            })
            .collect();
        let name = match (name, deployable.as_slice()) {
            (Some(name), _) => name.to_owned(),
            (None, [only]) => only.clone(),
            (None, []) => {
                return Err(Failure::new("no environment has hosts to deploy to")
                    .hint("give one `hosts:` in stagecraft.yml")
                    .into());
            }
            (None, _) => {
                return Err(Failure::new("which environment?")
                    .hint(format!("name one with --env: {}", deployable.join(", ")))
                    .into());
            }
        };
        let engine = open(Arc::new(workspace), &name)?;
        self.warn(engine.warnings());
        Ok(engine)
    }

    /// The configuration file; `.yaml` serves where nothing else was asked for.
    fn config_path(&self) -> Result<PathBuf, Problem> {
        if self.config.exists() {
            return Ok(self.config.clone());
        }
        let other = Path::new("stagecraft.yaml");
        if self.config == Path::new(CONFIG_FILE) && other.exists() {
            return Ok(other.to_owned());
        }
        Err(Failure::new(format!("there is no {}", self.config.display()))
            .hint("go to the project's folder, or name the file with --config")
            .into())
    }
}

/// Runs a verb's asynchronous part.
fn block_on<T>(future: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("this machine gives no threads: {error}")))?;
    let result = runtime.block_on(future);
    // A question that was never answered still waits for its line: nobody waits for it.
    runtime.shutdown_background();
    result
}
