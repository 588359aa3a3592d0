//! The executor: starts the steps that are ready, tells what happened, stops what depends on a
//! failure. It decides nothing that the plan does not say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::{Act, Address, Event, Failure, Host, Outcome, Plan, Said, Step};
use crate::world::{Later, World};

/// How many steps run at once, on all hosts together.
const PARALLELISM: usize = 10;

/// Where the events of an apply go, in order: the journal and the view.
pub trait Sink {
    /// Takes an event. What it tells of begins only when this is done, so that the journal never
    /// lags behind the world; and not at all after a break, which says that the journal, and with
    /// it perhaps the lock, is lost.
    fn event(&mut self, event: &Event) -> impl Future<Output = ControlFlow<()>>;
}

/// What somebody says of a rollout that waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Don't.
    No,
    /// There is nobody who could say.
    Nobody,
}

/// Asks somebody whether a rollout may go on: the service, and how many of its containers run the
/// new version.
pub type Ask = Arc<dyn Fn(String, u32) -> Later<'static, Answer> + Send + Sync>;

/// What a plan is carried out with.
#[derive(Clone)]
pub struct Crew {
    /// The hosts by name.
    pub hosts: Arc<BTreeMap<String, Host>>,
    /// The world that they are in.
    pub world: Arc<World>,
    /// Turns true when the operator wants to stop: what runs is finished, nothing else begins.
    pub stop: watch::Receiver<bool>,
    /// Who is asked.
    pub ask: Ask,
}

/// What came of executing a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What came of it.
    pub outcome: Outcome,
    /// What failed, in the order in which it did.
    pub failures: Vec<(Address, Failure)>,
}

/// Executes a plan's steps. In events they are numbered from `first` on.
pub async fn execute(plan: &Plan, first: usize, mut crew: Crew, sink: &mut impl Sink) -> Report {
    let mut run = Run {
        steps: plan.steps.iter().map(|step| (step.id, step)).collect(),
        first,
        crew: crew.clone(),
        waiting: plan.steps.iter().map(|step| step.id).collect(),
        done: BTreeSet::new(),
        running: JoinSet::new(),
        failures: Vec::new(),
        paused: false,
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
            changed = crew.stop.changed(), if listening => {
                stopping = changed.is_ok() && *crew.stop.borrow();
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
    Step {
        id: usize,
        result: Result<Said, Failure>,
        took_ms: u64,
    },
    Undo {
        address: Address,
        result: Result<(), Failure>,
    },
    /// Nobody was there to be asked.
    Unanswered {
        id: usize,
    },
}

struct Run<'a> {
    steps: BTreeMap<usize, &'a Step>,
    first: usize,
    crew: Crew,
    waiting: BTreeSet<usize>,
    done: BTreeSet<usize>,
    running: JoinSet<Ended>,
    failures: Vec<(Address, Failure)>,
    /// Whether something waits for a confirmation.
    paused: bool,
    /// Whether an event could not be kept: what runs is finished, and nothing else begins.
    lost: bool,
}

impl Run<'_> {
    /// Tells of something; whether what it tells of may begin.
    async fn tell(&mut self, event: &Event, sink: &mut impl Sink) -> bool {
        self.lost |= sink.event(event).await.is_break();
        !self.lost
    }

    /// A step's number in events.
    fn number(&self, id: usize) -> usize {
        self.first + id - 1
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
            let event = Event::StepStarted { step: self.number(id), address, act };
            if !self.tell(&event, sink).await {
                return;
            }
            self.waiting.remove(&id);
            self.running.spawn(perform(id, step.clone(), self.crew.clone()));
        }
    }

    async fn ended(&mut self, ended: Ended, sink: &mut impl Sink) {
        let (id, result, took_ms) = match ended {
            Ended::Undo { address, result } => {
                self.tell(&Event::Undone { address, failure: result.err() }, sink).await;
                return;
            }
            Ended::Unanswered { id } => {
                self.paused = true;
                let (address, act) = self.names(id);
                let event = Event::StepPaused { step: self.number(id), address, act };
                self.tell(&event, sink).await;
                return;
            }
            Ended::Step { id, result, took_ms } => (id, result, took_ms),
        };
        let (address, act) = self.names(id);
        let step = self.number(id);
        match result {
            Ok(said) => {
                self.done.insert(id);
                self.tell(&Event::StepDone { step, address, act, took_ms, said }, sink).await;
            }
            Err(failure) => {
                self.failures.push((address.clone(), failure.clone()));
                self.tell(&Event::StepFailed { step, address, act, failure }, sink).await;
                self.undo(self.steps[&id], sink).await;
            }
        }
    }

    fn names(&self, id: usize) -> (Address, String) {
        let step = self.steps[&id];
        (step.address.clone(), step.effect.act.name().to_owned())
    }

    /// Does what a failed step names as its undoing.
    async fn undo(&mut self, step: &Step, sink: &mut impl Sink) {
        let (address, undo) = (step.address.clone(), step.undo.clone());
        if undo.is_empty() || !self.tell(&Event::Undoing { address: address.clone() }, sink).await {
            return;
        }
        let Crew { world, hosts, .. } = self.crew.clone();
        self.running.spawn(async move {
            let mut result = Ok(());
            for effect in &undo {
                // What comes later in an undo may rely on what comes before: nothing is removed
                // that is still in the routes.
                if result.is_ok() {
                    result = world.perform(&hosts, effect).await.map(|_| ());
                }
            }
            Ended::Undo { address, result }
        });
    }

    async fn report(mut self, stopping: bool, sink: &mut impl Sink) -> Report {
        let complete = self.waiting.is_empty();
        for id in std::mem::take(&mut self.waiting) {
            let address = self.steps[&id].address.clone();
            self.tell(&Event::StepSkipped { step: self.number(id), address }, sink).await;
        }
        let outcome = match (self.failures.is_empty(), complete) {
            (false, _) => Outcome::Failed,
            (true, false) if stopping || self.lost => Outcome::Interrupted,
            (true, _) if self.paused => Outcome::Paused,
            (true, _) => Outcome::Succeeded,
        };
        Report { outcome, failures: self.failures }
    }
}

/// Performs a step: on its host, or by asking somebody.
async fn perform(id: usize, step: Step, crew: Crew) -> Ended {
    let began = Instant::now();
    let result = match &step.effect.act {
        Act::Confirm { service, canary } => match (crew.ask)(service.clone(), *canary).await {
            Answer::Yes => Ok(Said::new()),
            Answer::No => Err(Failure::new(format!("the new version of {service} was declined"))),
            Answer::Nobody => return Ended::Unanswered { id },
        },
        _ => crew.world.perform(&crew.hosts, &step.effect).await,
    };
    Ended::Step { id, result, took_ms: milliseconds(began) }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
