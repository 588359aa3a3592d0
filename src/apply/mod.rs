//! The executor: starts the steps that are ready, tells what happened, stops what depends on a
//! failure. It decides nothing that the plan does not say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::{Address, Effect, Event, Failure, Host, Outcome, Plan, Step};
use crate::world::World;

/// How many steps run at once, on all hosts together.
const PARALLELISM: usize = 10;

/// Where the events of an apply go, in order: the journal and the view.
pub trait Sink {
    /// Takes an event. The next step begins only when this is done, so that the journal never lags
    /// behind the world.
    fn event(&mut self, event: &Event) -> impl Future<Output = ()>;
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
    hosts: &BTreeMap<String, Host>,
    world: Arc<World>,
    sink: &mut impl Sink,
    mut stop: watch::Receiver<bool>,
) -> Report {
    let mut run = Run {
        steps: plan.steps.iter().map(|step| (step.id, step)).collect(),
        hosts,
        world,
        waiting: plan.steps.iter().map(|step| step.id).collect(),
        done: BTreeSet::new(),
        begun: BTreeSet::new(),
        running: JoinSet::new(),
        failures: Vec::new(),
    };
    let (mut stopping, mut listening) = (false, true);
    loop {
        if !stopping {
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
                    sink.event(&Event::Stopping).await;
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
    hosts: &'a BTreeMap<String, Host>,
    world: Arc<World>,
    waiting: BTreeSet<usize>,
    done: BTreeSet<usize>,
    begun: BTreeSet<usize>,
    running: JoinSet<Ended>,
    failures: Vec<(Address, Failure)>,
}

impl Run<'_> {
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
            self.waiting.remove(&id);
            self.begun.insert(id);
            let step = self.steps[&id];
            let (address, act) = (step.address.clone(), step.effect.act.name().to_owned());
            sink.event(&Event::StepStarted { step: id, address, act }).await;
            let (world, effect) = (self.world.clone(), step.effect.clone());
            let host = self.hosts.get(&effect.host).cloned();
            self.running.spawn(async move {
                let began = Instant::now();
                let result = perform(&world, host.as_ref(), &effect).await;
                Ended::Step { id, result, took_ms: milliseconds(began) }
            });
        }
    }

    async fn ended(&mut self, ended: Ended, sink: &mut impl Sink) {
        match ended {
            Ended::Undo { address, result } => {
                sink.event(&Event::Undone { address, failure: result.err() }).await;
            }
            Ended::Step { id, result, took_ms } => {
                let step = self.steps[&id];
                let (address, act) = (step.address.clone(), step.effect.act.name().to_owned());
                match result {
                    Ok(()) => {
                        self.done.insert(id);
                        sink.event(&Event::StepDone { step: id, address, act, took_ms }).await;
                    }
                    Err(failure) => {
                        self.failures.push((address.clone(), failure.clone()));
                        let event =
                            Event::StepFailed { step: id, address: address.clone(), act, failure };
                        sink.event(&event).await;
                        self.undo(address, sink).await;
                    }
                }
            }
        }
    }

    /// Does what the begun steps of a failed resource name as their undoing, last step first.
    async fn undo(&mut self, address: Address, sink: &mut impl Sink) {
        let undo: Vec<Effect> = self
            .begun
            .iter()
            .rev()
            .map(|id| self.steps[id])
            .filter(|step| step.address == address)
            .flat_map(|step| step.undo.clone())
            .collect();
        if undo.is_empty() {
            return;
        }
        sink.event(&Event::Undoing { address: address.clone() }).await;
        let world = self.world.clone();
        let host = address.on_host().and_then(|host| self.hosts.get(host)).cloned();
        self.running.spawn(async move {
            let mut result = Ok(());
            for effect in &undo {
                result = result.and(perform(&world, host.as_ref(), effect).await);
            }
            Ended::Undo { address, result }
        });
    }

    async fn report(self, stopping: bool, sink: &mut impl Sink) -> Report {
        for id in &self.waiting {
            let address = self.steps[id].address.clone();
            sink.event(&Event::StepSkipped { step: *id, address }).await;
        }
        let outcome = match (self.failures.is_empty(), self.waiting.is_empty()) {
            (false, _) => Outcome::Failed,
            (true, false) if stopping => Outcome::Interrupted,
            (true, _) => Outcome::Succeeded,
        };
        Report { outcome, failures: self.failures }
    }
}

async fn perform(world: &World, host: Option<&Host>, effect: &Effect) -> Result<(), Failure> {
    match host {
        Some(host) => world.perform(host, effect).await,
        None => Err(Failure::new(format!("nothing says how to reach {}", effect.host))
            .hint("name the host in stagecraft.yml again, or clean it up by hand")),
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
