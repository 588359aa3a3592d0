//! What all parts of a simulation share: the world, the store, the processes, the seed's numbers,
//! and the trace. Everything happens on one thread, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stagecraft::model::{Effect, Observed, Release, Sight};
use stagecraft::world::secrets::Secrets;
use stagecraft::world::simulated::{ReadCompose, SimulatedState};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bugs::Bug;
use crate::rng::Rng;
use crate::shop::site;
use crate::watch::Watch;

/// How bad the weather is: percentages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// An effect fails, is cut off, or its answer is lost.
    pub effects: u64,
    /// The store refuses.
    pub store: u64,
}

/// An operator's process.
#[derive(Default)]
pub struct Process {
    pub dead: bool,
    /// At how many more crossings of a hook it dies.
    pub dies_in: Option<u64>,
    pub death: Arc<Notify>,
    pub secrets: Secrets,
    pub holds_lock: bool,
    /// The release that it has put on record, and the one whose journal is open.
    pub recorded: Option<u64>,
    pub journal: Option<u64>,
    /// Effects of steps begun so far.
    pub begun: usize,
    /// The store has refused it something, or it has lost its lock.
    pub refused: bool,
    /// Whether an undoing of its was hindered by a fault.
    pub undo_hindered: bool,
    pub may_prune: bool,
    /// Whether it goes back after a failure.
    pub falling_back: bool,
    /// Hosts that did not answer its last look.
    pub blind: BTreeSet<String>,
    /// What it saw at first, for a known bug.
    pub first_look: BTreeMap<String, Sight>,
    pub first_releases: Option<Vec<Release>>,
    pub relooks: bool,
}

/// The store's content.
#[derive(Default)]
pub struct Shelf {
    pub releases: BTreeMap<u64, (Release, u32)>,
    pub blobs: BTreeMap<String, String>,
    pub journals: BTreeMap<u64, Vec<String>>,
    /// Who holds the lock.
    pub holder: Option<u32>,
}

/// Everything.
pub struct Inner {
    pub state: SimulatedState,
    pub shelf: Shelf,
    pub processes: BTreeMap<u32, Process>,
    pub rng: Rng,
    pub weather: Weather,
    pub watch: Watch,
    pub bug: Option<Bug>,
    pub trace: Vec<String>,
    /// The first law that was broken.
    pub broken: Option<String>,
    pub effects: u64,
    began: Instant,
    read: ReadCompose,
}

/// A handle to everything.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sim")
    }
}

impl Sim {
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            state: SimulatedState::default(),
            shelf: Shelf::default(),
            processes: BTreeMap::new(),
            rng: Rng::new(seed),
            weather: Weather::default(),
            watch: Watch::default(),
            bug,
            trace: Vec::new(),
            broken: None,
            effects: 0,
            began: Instant::now(),
            read: stagecraft::engine::compose_reader(),
        })))
    }

    /// Everything, brought up to the present.
    pub fn now(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.now_ms();
        if now > inner.state.now_ms {
            inner.state.advance(now);
            inner.observe("time passes");
        }
        inner
    }

    /// Everything as it was left, outside of virtual time.
    pub fn now_as_it_was(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place at which a process may die. It never comes back from its death.
    pub async fn hook(&self, process: u32, place: &str) {
        let dies = {
            let mut inner = self.now();
            let Some(found) = inner.processes.get_mut(&process) else { return };
            found.dies_in = found.dies_in.and_then(|left| left.checked_sub(1));
            let dies = found.dies_in == Some(0) || found.dead;
            if dies && !found.dead {
                inner.kill(process, place);
            }
            dies
        };
        if dies {
            std::future::pending::<()>().await;
        }
    }

    /// Lets virtual time pass.
    pub async fn sleep(ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

impl Inner {
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn say(&mut self, what: impl std::fmt::Display) {
        // What comes after a broken law follows from it.
        if self.broken.is_none() {
            let line = format!("{:>8} {what}", self.now_ms());
            self.trace.push(line);
        }
    }

    /// A law was broken. Only the first counts: the others may follow from it.
    pub fn violate(&mut self, what: impl std::fmt::Display) {
        self.say(format_args!("BROKEN: {what}"));
        if self.broken.is_none() {
            self.broken = Some(what.to_string());
        }
    }

    pub fn kill(&mut self, process: u32, place: &str) {
        self.say(format_args!("p{process} dies {place}"));
        if let Some(found) = self.processes.get_mut(&process) {
            found.dead = true;
            found.dies_in = None;
            found.death.notify_one();
        }
    }

    /// A host that holds a part of the lock went away: the lock is lost.
    pub fn lose_locks(&mut self) {
        if let Some(holder) = self.shelf.holder.take()
            && let Some(process) = self.processes.get_mut(&holder)
        {
            process.holds_lock = false;
            process.refused = true;
            self.say(format_args!("p{holder} loses its lock"));
        }
    }

    /// Looks at the world after something has happened to it.
    pub fn observe(&mut self, what: &str) {
        if let Some(broken) = self.watch.look(&self.state) {
            self.violate(format_args!("{broken} ({what})"));
        }
    }

    /// Performs an effect on the world, whole or cut off.
    pub fn perform(
        &mut self,
        process: u32,
        effect: &Effect,
        cut: Option<u32>,
    ) -> Result<(), stagecraft::model::Failure> {
        let before = self.state.clone();
        let found = self.processes.get(&process);
        let secrets = found.map(|process| process.secrets.clone()).unwrap_or_default();
        let may_prune = found.is_some_and(|process| process.may_prune);
        let read = self.read.clone();
        let result = self.state.perform_until(&site(), effect, Some(&secrets), &read, cut);
        self.effects += 1;
        if let Some(broken) = self.watch.compare(&before, &self.state, effect, may_prune) {
            self.violate(broken);
        }
        self.observe(&format!("p{process} {} on {}", effect.act.name(), effect.host));
        result
    }

    /// What a probe of a host sees.
    pub fn probe(&self, host: &str, secrets: &Secrets) -> Sight {
        self.state.probe(host, Some(secrets), &self.read)
    }

    /// What there is, without an operator.
    pub fn observed(&self, hosts: &[String], secrets: &Secrets) -> Observed {
        let sights = hosts.iter().map(|host| (host.clone(), self.probe(host, secrets)));
        Observed { hosts: sights.collect(), ..Observed::default() }
    }
}
