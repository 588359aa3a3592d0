//! The executor: starts the steps that are ready, tells what happened, stops what depends on a
//! failure. It decides nothing that the plan does not say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::{Address, Event, Failure, Host, Outcome, Plan, Step};
use crate::world::World;

/// How many steps run at once, on all hosts together.
const PARALLELISM: usize = 10;

/// Where the events of an apply go, in order: the journal and the view.
pub trait Sink {
    /// Takes an event. What it tells of begins only when this is done, so that the journal never
    /// lags behind the world; and not at all after a break, which says that the journal, and with
    /// it perhaps the lock, is lost.
    fn event(&mut self, event: &Event) -> impl Future<Output = ControlFlow<()>>;
}

/// What came of executing a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What came of it.
    pub outcome: Outcome,
    /// What failed, in the order in which it did.
    pub failures: Vec<(Address, Failure)>,
}

/// Executes a plan's steps.
///
/// `stop` turns true when the operator wants to stop: what runs is finished, nothing else begins.
pub async fn execute(
    plan: &Plan,
    hosts: &Arc<BTreeMap<String, Host>>,
    world: Arc<World>,
    sink: &mut impl Sink,
    mut stop: watch::Receiver<bool>,
) -> Report {
    let mut run = Run {
        steps: plan.steps.iter().map(|step| (step.id, step)).collect(),
        hosts: hosts.clone(),
        world,
        waiting: plan.steps.iter().map(|step| step.id).collect(),
        done: BTreeSet::new(),
        running: JoinSet::new(),
        failures: Vec::new(),
        lost: false,
    };
    let (mut stopping, mut listening) = (false, true);
    loop {
        if !stopping && !run.lost {
            run.begin_ready(sink).await;
        }
        if run.running.is_empty() {
            break;
        }
        tokio::select! {
            // In this order, not a random one: the same happenings tell the same story.
            biased;
            changed = stop.changed(), if listening => {
                stopping = changed.is_ok() && *stop.borrow();
                // A closed channel means that nobody can ask any more.
                listening = changed.is_ok() && !stopping;
                if stopping {
                    run.tell(&Event::Stopping, sink).await;
                }
            }
            Some(ended) = run.running.join_next() => match ended {
                Ok(ended) => run.ended(ended, sink).await,
                // A task of ours is never aborted and does not panic.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
    run.report(stopping, sink).await
}

/// What a finished task was about.
enum Ended {
    Step { id: usize, result: Result<(), Failure>, took_ms: u64 },
    Undo { address: Address, result: Result<(), Failure> },
}

struct Run<'a> {
    steps: BTreeMap<usize, &'a Step>,
    hosts: Arc<BTreeMap<String, Host>>,
    world: Arc<World>,
    waiting: BTreeSet<usize>,
    done: BTreeSet<usize>,
    running: JoinSet<Ended>,
    failures: Vec<(Address, Failure)>,
    /// Whether an event could not be kept: what runs is finished, and nothing else begins.
    lost: bool,
}

impl Run<'_> {
    /// Tells of something; whether what it tells of may begin.
    async fn tell(&mut self, event: &Event, sink: &mut impl Sink) -> bool {
        self.lost |= sink.event(event).await.is_break();
        !self.lost
    }

    async fn begin_ready(&mut self, sink: &mut impl Sink) {
        let ready: Vec<usize> = self
            .waiting
            .iter()
            .filter(|id| self.steps[id].after.iter().all(|before| self.done.contains(before)))
            .copied()
            .collect();
        for id in ready {
            if self.running.len() >= PARALLELISM {
                return;
            }
            let step = self.steps[&id];
            let (address, act) = (step.address.clone(), step.effect.act.name().to_owned());
            if !self.tell(&Event::StepStarted { step: id, address, act }, sink).await {
                return;
            }
            self.waiting.remove(&id);
            let (world, effect) = (self.world.clone(), step.effect.clone());
            let hosts = self.hosts.clone();
            self.running.spawn(async move {
                let began = Instant::now();
                let result = world.perform(&hosts, &effect).await;
                Ended::Step { id, result, took_ms: milliseconds(began) }
            });
        }
    }

    async fn ended(&mut self, ended: Ended, sink: &mut impl Sink) {
        match ended {
            Ended::Undo { address, result } => {
                self.tell(&Event::Undone { address, failure: result.err() }, sink).await;
            }
            Ended::Step { id, result, took_ms } => {
                let step = self.steps[&id];
                let (address, act) = (step.address.clone(), step.effect.act.name().to_owned());
                match result {
                    Ok(()) => {
                        self.done.insert(id);
                        let event = Event::StepDone { step: id, address, act, took_ms };
                        self.tell(&event, sink).await;
                    }
                    Err(failure) => {
                        self.failures.push((address.clone(), failure.clone()));
                        let event =
                            Event::StepFailed { step: id, address: address.clone(), act, failure };
                        self.tell(&event, sink).await;
                        self.undo(step, sink).await;
                    }
                }
            }
        }
    }

    /// Does what a failed step names as its undoing.
    async fn undo(&mut self, step: &Step, sink: &mut impl Sink) {
        let (address, undo) = (step.address.clone(), step.undo.clone());
        if undo.is_empty() || !self.tell(&Event::Undoing { address: address.clone() }, sink).await {
            return;
        }
        let (world, hosts) = (self.world.clone(), self.hosts.clone());
        self.running.spawn(async move {
            let mut result = Ok(());
            for effect in &undo {
                // What comes later in an undo may rely on what comes before: nothing is removed
                // that is still in the routes.
                if result.is_ok() {
                    result = world.perform(&hosts, effect).await;
                }
            }
            Ended::Undo { address, result }
        });
    }

    async fn report(mut self, stopping: bool, sink: &mut impl Sink) -> Report {
        let complete = self.waiting.is_empty();
        for id in std::mem::take(&mut self.waiting) {
            let address = self.steps[&id].address.clone();
            self.tell(&Event::StepSkipped { step: id, address }, sink).await;
        }
        let outcome = match (self.failures.is_empty(), complete) {
            (false, _) => Outcome::Failed,
            (true, false) if stopping || self.lost => Outcome::Interrupted,
            (true, _) => Outcome::Succeeded,
        };
        Report { outcome, failures: self.failures }
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
