//! The executor against a world that only takes notes.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::model::{Effect, PLAN_FORMAT, Request, Sight, Summary};
use crate::world::OtherWorld;

/// Notes what is done; one act fails.
#[derive(Clone, Default)]
struct Notes {
    done: Arc<Mutex<Vec<String>>>,
    fails: &'static str,
}

impl OtherWorld for Notes {
    fn probe<'a>(&'a self, _: &'a Host) -> Later<'a, Sight> {
        Box::pin(async { Sight::Seen(Box::default()) })
    }
    fn perform<'a>(
        &'a self,
        _: &'a BTreeMap<String, Host>,
        effect: &'a Effect,
    ) -> Later<'a, Result<Said, Failure>> {
        let Act::RemoveFile { path } = &effect.act else { unreachable!() };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        let result = if path == self.fails { Err(Failure::new("no")) } else { Ok(Said::new()) };
        Box::pin(async move { result })
    }
}

/// A journal that is lost after so many lines.
struct Lines(usize);

impl Sink for Lines {
    async fn event(&mut self, _: &Event) -> ControlFlow<()> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }
}

fn effect(name: &str) -> Effect {
    Effect { host: "a".into(), act: Act::RemoveFile { path: name.into() } }
}

/// Three steps of one resource in a row; the first two have an undoing.
fn plan() -> Plan {
    let step = |id: usize, name: &str, undo: Vec<Effect>| Step {
        id,
        address: Address::service("a", "api"),
        effect: effect(name),
        after: if id > 1 { vec![id - 1] } else { Vec::new() },
        undo,
    };
    Plan {
        format_version: PLAN_FORMAT.into(),
        project: "shop".into(),
        environment: "test".into(),
        request: Request::default(),
        version: None,
        base_release: None,
        desired_digest: String::new(),
        observed_digest: String::new(),
        summary: Summary::default(),
        changes: Vec::new(),
        blocked: Vec::new(),
        notes: Vec::new(),
        falls_back_to: None,
        steps: vec![
            step(1, "start", vec![effect("remove new")]),
            step(2, "healthy", vec![effect("remove new")]),
            step(3, "stop old", Vec::new()),
        ],
        infrastructure: None,
    }
}

async fn run(fails: &'static str, lines: usize) -> (Vec<String>, Outcome) {
    run_plan(&plan(), Answer::Nobody, fails, lines).await
}

async fn run_plan(
    plan: &Plan,
    answer: Answer,
    fails: &'static str,
    lines: usize,
) -> (Vec<String>, Outcome) {
    let notes = Notes { fails, ..Notes::default() };
    let host = Host::named("a");
    let world = Arc::new(World::Other(Box::new(notes.clone())));
    // Nobody can ask to stop any more: the channel is closed from the beginning.
    let (_, stop) = watch::channel(false);
    let hosts = Arc::new([(host.name.clone(), host)].into());
    let ask: Ask = Arc::new(move |_, _| Box::pin(async move { answer }));
    let crew = Crew { hosts, world, stop, ask };
    let report = execute(plan, 1, crew, &mut Lines(lines)).await;
    let done = notes.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (done, report.outcome)
}

#[tokio::test]
async fn all_steps_are_done_when_nobody_can_stop_them() {
    let (done, outcome) = run("", 100).await;
    assert_eq!(done, ["start", "healthy", "stop old"]);
    assert_eq!(outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn what_fails_is_undone() {
    let (done, outcome) = run("healthy", 100).await;
    assert_eq!(done, ["start", "healthy", "remove new"]);
    assert_eq!(outcome, Outcome::Failed);
}

#[tokio::test]
async fn new_containers_stay_when_taking_the_old_away_fails() {
    // The stop was done and its answer lost; removing the new ones would have left nothing.
    let (done, outcome) = run("stop old", 100).await;
    assert_eq!(done, ["start", "healthy", "stop old"]);
    assert_eq!(outcome, Outcome::Failed);
}

#[tokio::test]
async fn nothing_begins_once_the_journal_is_lost() {
    // With the journal goes the lock: somebody else may be at work.
    let (done, outcome) = run("", 2).await;
    assert_eq!(done, ["start"]);
    assert_eq!(outcome, Outcome::Interrupted);
    let (done, _) = run("start", 2).await;
    assert_eq!(done, ["start"], "an undoing, too, needs its line");
}

#[tokio::test]
async fn a_canary_waits_for_somebody() {
    let mut plan = plan();
    let act = Act::Confirm { service: "api".into(), canary: 1 };
    plan.steps[1] = Step { effect: Effect { host: "a".into(), act }, ..plan.steps[1].clone() };
    let (done, outcome) = run_plan(&plan, Answer::Yes, "", 100).await;
    assert_eq!((done.len(), outcome), (2, Outcome::Succeeded));
    let (done, outcome) = run_plan(&plan, Answer::Nobody, "", 100).await;
    assert_eq!((done.as_slice(), outcome), (["start".to_owned()].as_slice(), Outcome::Paused));
    let (done, outcome) = run_plan(&plan, Answer::No, "", 100).await;
    assert_eq!(done, ["start", "remove new"]);
    assert_eq!(outcome, Outcome::Failed);
}
