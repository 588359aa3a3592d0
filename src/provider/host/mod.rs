//! Hosts before an application can run on them: what is on them, and how Docker gets there.

mod inspect;
mod install;
pub mod mount;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use inspect::{Docker, Facts};
pub use install::{BASICS, PACKAGES, is_root, is_supported};

use crate::config::stagecraft::{Bootstrap, DockerSource, Environment};
use crate::model::{
    Address, Blocked, BlockedReason, Failure, Host, InfraObject, InfraSpec, Resource, Rule, Spec,
    Transport,
};
use crate::world::transport::{Limits, Reach};

/// How long a new machine may take until it lets us in.
const BOOT: Duration = Duration::from_secs(600);
/// How long a host that should answer is asked again that does not: it may be just starting.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long packages may take.
const INSTALL: Duration = Duration::from_secs(1200);
/// What is there, or is to be.
const INSTALLED: &str = "installed";

/// What every host of an environment needs that is made ready.
///
/// # Errors
/// An image has a system that can't be made ready.
pub fn resources(
    environment: &Environment,
    settings: Option<&Bootstrap>,
) -> Result<BTreeMap<Address, Resource>, Failure> {
    let usual = Bootstrap::default();
    let mut resources = BTreeMap::new();
    for (name, host) in &environment.hosts {
        let machine = environment.machines.get(name);
        let made = machine.is_some_and(|machine| machine.made);
        let wanted = match settings {
            Some(settings) => settings,
            None if made => &usual,
            None => continue,
        };
        let nothing = wanted.docker == DockerSource::None && !wanted.unattended_upgrades;
        if nothing || host.transport != Transport::Ssh {
            continue;
        }
        if let Some(image) = machine.filter(|_| made).and_then(|machine| machine.image.as_deref()) {
            supports(name, image, wanted.docker)?;
        }
        resources.insert(Address::bootstrap(name), resource(name, wanted, made));
    }
    Ok(resources)
}

fn resource(name: &str, wanted: &Bootstrap, made: bool) -> Resource {
    let mut attributes = Vec::new();
    if made {
        attributes.push(("machine", Address::machine(name).to_string().into(), Rule::InPlace));
    }
    let source = match wanted.docker {
        DockerSource::Docker => Some("docker"),
        DockerSource::Distribution => Some("distribution"),
        DockerSource::None => None,
    };
    if let Some(source) = source {
        attributes.push(("docker", INSTALLED.into(), Rule::InPlace));
        attributes.push(("compose", INSTALLED.into(), Rule::InPlace));
        attributes.push(("source", source.into(), Rule::Once));
    }
    if wanted.unattended_upgrades {
        attributes.push(("unattended_upgrades", true.into(), Rule::InPlace));
    }
    let spec = Spec::Infra(InfraSpec::new(name, attributes));
    Resource { spec, after: made.then(|| Address::machine(name)).into_iter().collect() }
}

/// Whether an image's name promises a system that can be made ready. A number promises nothing.
fn supports(host: &str, image: &str, source: DockerSource) -> Result<(), Failure> {
    let old = ["debian-10", "debian-11", "debian-12", "ubuntu-20"];
    if source == DockerSource::Distribution && old.iter().any(|name| image.starts_with(name)) {
        let what = format!("{host} would have {image}, which has no package of the Compose plugin");
        return Err(
            Failure::new(what).hint("use a later image, or set `bootstrap: { docker: docker }`")
        );
    }
    let other = ["fedora", "centos", "rocky", "alma", "freebsd", "coreos", "opensuse", "arch"];
    match other.iter().any(|name| image.starts_with(name)) {
        true => Err(Failure::new(format!("{host} would have {image}, which can't be made ready"))
            .hint("use an image of Debian or Ubuntu, or set `bootstrap: { docker: none, unattended_upgrades: false }`")),
        false => Ok(()),
    }
}

/// Hosts, reached by `ssh`.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    reach: Reach,
}

impl Hosts {
    /// Hosts as the process's environment says how to reach them.
    pub fn from_env() -> Self {
        Self { reach: Reach::from_env() }
    }

    /// What is on each of several hosts, all asked at once.
    pub fn inspect(&self, hosts: Vec<Host>) -> BTreeMap<String, Result<Facts, Blocked>> {
        Handle::current().block_on(async {
            let mut all = JoinSet::new();
            for host in hosts {
                let hosts = self.clone();
                all.spawn(async move { (host.name.clone(), hosts.facts(&host, PATIENCE).await) });
            }
            all.join_all().await.into_iter().collect()
        })
    }

    /// What is on a host, once it lets us in.
    pub fn await_facts(&self, host: &Host) -> Result<Facts, Failure> {
        Handle::current()
            .block_on(self.facts(host, BOOT))
            .map_err(|blocked| failure(host, &blocked))
    }

    /// What is on a host that lets us in before time is up.
    async fn facts(&self, host: &Host, patience: Duration) -> Result<Facts, Blocked> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(250);
        loop {
            let answer = self.reach.run(host, inspect::SCRIPT, Limits::default()).await;
            match answer.and_then(|output| inspect::read(&output)) {
                // A machine that has just been made may not even have its own key yet.
                Err(Blocked { reason, .. })
                    if began.elapsed() < patience
                        && (reason == BlockedReason::Unreachable
                            || (reason == BlockedReason::LoginRefused && patience == BOOT)) => {}
                result => return result,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Runs a script as root. What it says is shown where it fails.
    pub fn run(&self, host: &Host, script: &str, time: Duration) -> Result<(), Failure> {
        let output = Handle::current()
            .block_on(self.reach.run(host, script, Limits::within(time)))
            .map_err(|blocked| failure(host, &blocked))?;
        if output.status == 0 {
            return Ok(());
        }
        let mut lines: Vec<&str> = output.stderr.trim().lines().collect();
        let reason = lines.iter().rposition(|line| line.starts_with(REASON));
        let what = match reason.map(|at| lines.remove(at)) {
            Some(line) => format!("{}: {}", host.name, &line[REASON.len()..]),
            None => format!("{}: a script ended with status {}", host.name, output.status),
        };
        let last = lines.len().saturating_sub(LINES);
        Err(Failure::new(what)
            .detail(lines.drain(last..))
            .hint("mend what it says, and run it again: it goes on from what there is"))
    }

    /// Makes a host ready, whatever of that is done already.
    ///
    /// # Errors
    /// It can't be reached, is of a sort that is not supported, or something can't be installed.
    pub fn make_ready(&self, host: &Host, wanted: &InfraSpec) -> Result<(), Failure> {
        let facts = self.await_facts(host)?;
        let script = install::script(host, &facts, wanted)?;
        self.run(host, &script, INSTALL)
    }
}

/// What a script says on standard error when it knows what is wrong.
const REASON: &str = "stagecraft-reason: ";
/// How many of a script's last lines are shown.
const LINES: usize = 15;

/// What is on a host, as attributes to compare; none where nothing of it is there. A host that can't be
/// made ready is blocked.
pub fn read(
    facts: &Facts,
    name: &str,
    made: bool,
    wants_docker: bool,
) -> Result<Option<InfraObject>, Blocked> {
    if facts.docker == Docker::Absent && !facts.is_supported() {
        let detail = format!("it has {}", facts.system());
        return Err(Blocked { reason: BlockedReason::Unsupported, detail });
    }
    let docker = match facts.docker {
        Docker::Absent if wants_docker => return Ok(None),
        Docker::Absent => "missing",
        Docker::Silent => "does not answer",
        Docker::Answers => INSTALLED,
    };
    let compose = if facts.compose { INSTALLED } else { "missing" };
    let mut attributes = BTreeMap::from([
        ("docker".to_owned(), json!(docker)),
        ("compose".to_owned(), json!(compose)),
    ]);
    // Where nothing can be installed, Docker is there by somebody's hand, and the rest is theirs, too.
    if facts.is_supported() {
        attributes.insert("unattended_upgrades".into(), json!(facts.upgrades));
    }
    if made {
        attributes.insert("machine".into(), Address::machine(name).to_string().into());
    }
    let (id, name) = (name.to_owned(), name.to_owned());
    Ok(Some(InfraObject { id, name, attributes, given: BTreeMap::new() }))
}

/// A host that the cloud has made, of which nothing can be told while its machine is off.
pub fn unseen(name: &str) -> InfraObject {
    let machine = json!(Address::machine(name).to_string());
    let attributes = BTreeMap::from([("machine".to_owned(), machine)]);
    let (id, name) = (name.to_owned(), name.to_owned());
    InfraObject { id, name, attributes, given: BTreeMap::new() }
}

/// Does something again until it works or time is up.
pub fn until<T>(
    patience: Duration,
    mut work: impl FnMut() -> Result<Option<T>, Failure>,
    late: impl FnOnce() -> Failure,
) -> Result<T, Failure> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        if let Some(done) = work()? {
            return Ok(done);
        }
        if began.elapsed() > patience {
            return Err(late());
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn failure(host: &Host, blocked: &Blocked) -> Failure {
    let what = match blocked.reason {
        BlockedReason::LoginRefused => format!("{} refuses the log-in", host.name),
        BlockedReason::HalfAnswer => format!("{} answered only in part", host.name),
        _ => format!("{} can't be reached", host.name),
    };
    Failure::new(what)
        .detail(blocked.detail.lines())
        .hint("see that it runs and lets you in by `ssh`, and run it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_other_systems_are_refused_before_anything_is_made() {
        for image in ["debian-12-x64", "ubuntu-24-04-x64", "docker-20-04", "1234567"] {
            assert!(supports("app-1", image, DockerSource::Docker).is_ok(), "{image}");
        }
        let refused = supports("app-1", "fedora-42-x64", DockerSource::Docker).unwrap_err();
        let old = supports("app-1", "debian-12-x64", DockerSource::Distribution).unwrap_err();
        assert!(old.what.ends_with("no package of the Compose plugin"), "{}", old.what);
        assert_eq!(refused.what, "app-1 would have fedora-42-x64, which can't be made ready");
    }

    #[test]
    fn a_bare_host_has_nothing_and_another_system_is_blocked() {
        let bare = Facts { id: "debian".into(), ..Facts::default() };
        assert_eq!(read(&bare, "app-1", true, true), Ok(None));
        assert!(read(&bare, "app-1", true, false).unwrap().is_some());
        let other = Facts { id: "alpine".into(), version: "3.20".into(), ..Facts::default() };
        let blocked = read(&other, "app-1", true, true).unwrap_err();
        assert_eq!(blocked.reason, BlockedReason::Unsupported);
        // Where Docker is there already, nothing of the system matters.
        let own = Facts { docker: Docker::Answers, compose: true, ..other };
        assert!(read(&own, "app-1", true, true).unwrap().is_some());
    }
}
