//! Applying: lock, look again, put the release on record, execute, record what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::infrastructure;
use super::look::Coming;
use super::{Engine, Operator, Planned, Problem};
use crate::apply::{Ask, Crew, Report, Sink, execute};
use crate::model::{
    Act, Change, Event, Failure, FellBack, Kind, Observed, OnFailure, Outcome, Part, Plan,
    RELEASE_FORMAT, Release, Request, Sight, Spec, Step, digest_of, sha256_hex,
};
use crate::state::{Holder, Lock, StateError};
use crate::world::World;

/// How long a host may take to answer whose machine was off for a change.
const RESTART: Duration = Duration::from_secs(300);

/// What came of an apply.
pub struct Applied {
    /// The release on record.
    pub release: Release,
    /// What failed.
    pub report: Report,
}

/// A line of the journal: when, and what.
#[derive(Serialize)]
struct Entry<'a> {
    at: String,
    #[serde(flatten)]
    event: &'a Event,
}

/// Events into the journal, then to the view.
struct Telling<'a> {
    lock: &'a mut Lock,
    tell: &'a mut (dyn FnMut(&Event) + Send),
    operator: &'a Operator,
    /// What went wrong with the journal, first of all.
    lost: Option<String>,
}

impl Sink for Telling<'_> {
    async fn event(&mut self, event: &Event) -> ControlFlow<()> {
        let entry = Entry { at: self.operator.now(), event };
        let line = serde_json::to_string(&entry).unwrap_or_default();
        if let Err(error) = self.lock.journal(&line).await {
            self.lost.get_or_insert(error.to_string());
        }
        (self.tell)(event);
        match self.lost {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Who hears of an apply, who can stop it, and who is asked.
pub struct Company<'a> {
    /// Hears of every event.
    pub tell: &'a mut (dyn FnMut(&Event) + Send),
    /// Turns true when the operator wants to stop.
    pub stop: watch::Receiver<bool>,
    /// Asks somebody whether a rollout may go on.
    pub ask: Ask,
}

impl Engine {
    /// Applies a plan under the lock. What it touches must still be as the plan saw it.
    ///
    /// # Errors
    /// Somebody else holds the lock; something changed since the plan was made; the store cannot be
    /// written. A step that fails is no error but a failed release.
    pub async fn apply(&self, planned: &Planned, company: Company<'_>) -> Result<Applied, Problem> {
        if let Some(below) = &planned.below {
            return self.apply_from_below(planned, below, company).await;
        }
        let plan = &planned.plan;
        let lock = self.lock(&plan.request).await?;
        let why_not = match self.plan(&plan.request).await {
            Ok(again) if again.plan.digest() == plan.digest() => {
                return self.apply_under(lock, planned, company).await;
            }
            Ok(again) => stale(plan, &again.plan).into(),
            Err(problem) => problem,
        };
        let _ = lock.release().await;
        Err(why_not)
    }

    /// Applies what changes below the application as far as that needs it; then, on the hosts that are there
    /// by now, the application; and last what names lead to and what goes. What is done on the hosts is what
    /// was planned, with the addresses that nobody knew.
    async fn apply_from_below(
        &self,
        planned: &Planned,
        below: &Planned,
        company: Company<'_>,
    ) -> Result<Applied, Problem> {
        let Company { tell, stop, ask } = company;
        if planned.plan.changes.is_empty() {
            let company = Company { tell, stop, ask };
            return Box::pin(self.below()?.apply(below, company)).await;
        }
        let foundation = self.stage(below, Part::Foundation).await?;
        if !foundation.plan.is_empty() {
            let first = Company { tell: &mut *tell, stop: stop.clone(), ask: ask.clone() };
            let applied = Box::pin(self.below()?.apply(&foundation, first)).await?;
            if applied.report.outcome != Outcome::Succeeded {
                return Ok(applied);
            }
        }
        let goes_on = |done: &'static str| {
            move |problem: Problem| -> Problem {
                let failure = problem.into_failure();
                let hint = format!("{done}; `stagecraft apply` goes on from there");
                Failure { hint: Some(hint), ..failure }.into()
            }
        };
        let half = goes_on("what is below the application is done, and nothing of the application");
        if *stop.borrow() {
            return Err(half(Failure::new("stopped before the application").into()));
        }
        let engine = self.reopened(&infrastructure::restarted(&foundation.plan)).await?;
        let filled_in = engine.filled_in(planned).await.map_err(half)?;
        let second = Company { tell: &mut *tell, stop: stop.clone(), ask: ask.clone() };
        let applied = Box::pin(engine.apply(&filled_in, second)).await.map_err(half)?;
        if applied.report.outcome != Outcome::Succeeded {
            return Ok(applied);
        }
        let most = goes_on("the release stands; names, and what goes, are left");
        if *stop.borrow() {
            return Err(most(Failure::new("stopped after the application").into()));
        }
        let rest = self.stage(below, Part::Infrastructure).await.map_err(most)?;
        match rest.plan.is_empty() {
            true => Ok(applied),
            false => {
                let third = Company { tell, stop, ask };
                Box::pin(self.below()?.apply(&rest, third)).await.map_err(most)
            }
        }
    }

    /// The environment opened again, on the hosts as they are now. Those that were restarted are given time
    /// to answer.
    async fn reopened(&self, restarted: &BTreeSet<String>) -> Result<Engine, Problem> {
        let began = tokio::time::Instant::now();
        loop {
            let engine = Engine::open(self.workspace.clone(), &self.environment.name)?;
            let hosts = engine.environment.hosts.values();
            let waited_for = hosts.filter(|host| restarted.contains(&host.name));
            let sights = engine.probe(waited_for).await;
            let answer = sights.values().all(|sight| matches!(sight, Sight::Seen(_)));
            if answer || began.elapsed() > RESTART {
                return Ok(engine);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// A part of what was planned below the application, planned from what there is now. What was not shown
    /// is not done.
    async fn stage(&self, below: &Planned, part: Part) -> Result<Planned, Problem> {
        let request = Request { part, ..below.plan.request.clone() };
        let planned = Box::pin(self.below()?.plan(&request)).await?;
        if let Some(entry) = planned.plan.blocked.first() {
            let what = format!("{}: {}", entry.address, entry.blocked.detail);
            return Err(Failure::new(
                "a part of what is below the application can't be planned now",
            )
            .detail([what])
            .hint("plan again, and apply that")
            .into());
        }
        let shown = outline(&below.plan);
        match outline(&planned.plan).into_iter().find(|step| !shown.contains(step)) {
            None => Ok(planned),
            Some(step) => Err(Failure::new(
                "below the application there is something to do that was not planned",
            )
            .detail([step])
            .hint("plan again, and apply that")
            .into()),
        }
    }

    /// The plan that was shown, made again with the addresses that there are by now. Everything else must
    /// still be as it was.
    async fn filled_in(&self, planned: &Planned) -> Result<Planned, Problem> {
        let again = self.plan_at(&planned.plan.request, planned.coming.clone()).await?;
        if essence(&again) != essence(planned) {
            return Err(stale(&planned.plan, &again.plan).into());
        }
        let request = Request {
            part: Part::Application,
            version: planned.plan.version.clone(),
            allow_destroy: Vec::new(),
            // Files of earlier releases hold the addresses of then.
            no_fall_back: !planned.coming.is_nobody(),
            ..planned.plan.request.clone()
        };
        let at = Coming { are_there: true, head: None, ..planned.coming.clone() };
        let filled_in = self.plan_at(&request, at).await?;
        if let Some(entry) = filled_in.plan.blocked.first() {
            let what = format!("{}: {}", entry.address, entry.blocked.detail);
            let refused = Failure::new("the hosts are there, and one of them can't be looked at");
            return Err(refused.detail([what]).into());
        }
        // An address may turn out to be what it was before, so there may be less to do.
        let shown = outline(&planned.plan);
        match outline(&filled_in.plan).into_iter().find(|step| !shown.contains(step)) {
            None => Ok(filled_in),
            Some(step) => {
                Err(Failure::new("on the hosts there is something to do that was not planned")
                    .detail([step])
                    .into())
            }
        }
    }

    /// Applies a plan that was made under this lock: nobody else can have changed anything since.
    ///
    /// # Errors
    /// As `apply`.
    pub async fn apply_under(
        &self,
        mut lock: Lock,
        planned: &Planned,
        company: Company<'_>,
    ) -> Result<Applied, Problem> {
        let result = self.apply_locked(planned, &mut lock, company).await;
        let released = lock.release().await;
        let applied = result?;
        released?;
        Ok(applied)
    }

    /// Takes the environment's lock, to plan and apply under it. That of what is below an application is not
    /// to be had while somebody is at work on the hosts: their machines must not be changed under them.
    ///
    /// # Errors
    /// Somebody else holds it, or a host cannot be locked.
    pub async fn lock(&self, request: &Request) -> Result<Lock, StateError> {
        if matches!(*self.world, World::Infrastructure(_)) {
            self.hosts_are_unlocked().await?;
        }
        self.store.lock(&holder(request, &self.operator)).await
    }

    async fn apply_locked(
        &self,
        planned: &Planned,
        lock: &mut Lock,
        company: Company<'_>,
    ) -> Result<Applied, Problem> {
        let Company { tell, mut stop, ask } = company;
        let plan = &planned.plan;
        if *stop.borrow_and_update() {
            return Err(Failure::new("stopped before anything was changed").into());
        }
        let began = tokio::time::Instant::now();
        let desired = serde_json::to_string(&planned.desired)
            .map_err(|error| Failure::new(format!("the desired state can't be stored: {error}")))?;
        let mut release = self.draft(planned, sha256_hex(&desired));
        lock.open_journal(release.number).await?;
        self.store.begin(&release, &desired).await?;
        let mut telling = Telling { lock, tell, operator: &self.operator, lost: None };
        let started = Event::Started {
            release: release.number,
            part: plan.request.part,
            summary: plan.summary,
            steps: plan.steps.len(),
        };
        // Without a journal nothing is begun; the executor asks again at every step.
        let _ = telling.event(&started).await;
        let crew = Crew { hosts: planned.hosts.clone(), world: self.world.clone(), stop, ask };
        let report = execute(plan, 1, crew.clone(), &mut telling).await;
        if let Some(number) = self.goes_back(&release, plan, &report, &crew).await
            && telling.lost.is_none()
        {
            let outcome = self.fall_back(plan, number, crew, &mut telling).await;
            let version = self.store.release(number).await.ok().and_then(|earlier| earlier.version);
            release.fell_back = Some(FellBack { release: number, outcome, version });
        }
        release.outcome = report.outcome;
        release.finished = Some(self.operator.now());
        release.failure =
            report.failures.first().map(|(address, failure)| format!("{address}: {failure}"));
        if report.outcome == Outcome::Succeeded {
            self.note_versions(planned, &mut release).await;
        }
        self.store.put(&release).await?;
        let finished = Event::Finished {
            release: release.number,
            outcome: report.outcome,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let _ = telling.event(&finished).await;
        if let Some(lost) = telling.lost {
            return Err(Failure::new(format!("release {} lost its journal", release.number))
                .detail([lost])
                .hint("what had begun was finished; `stagecraft plan` says what is left")
                .into());
        }
        Ok(Applied { release, report })
    }

    /// Notes the images and the env files that a release runs with. Where it has brought none, they are
    /// those that were planned with; else another look tells. One that fails costs the record what it
    /// would have told, and not its outcome.
    async fn note_versions(&self, planned: &Planned, release: &mut Release) {
        let brings = |act: &Act| {
            matches!(act, Act::PullImage { .. } | Act::WriteEnv { .. } | Act::RestoreEnv { .. })
        };
        let mut note = |observed: &Observed| {
            note_images(release, planned, observed);
            release.env_versions = env_versions(observed);
        };
        if !planned.plan.steps.iter().any(|step| brings(&step.effect.act)) {
            note(&planned.observed);
        } else if let Ok((observed, _)) = self.look(&planned.plan.request.forget).await {
            note(&observed);
        }
    }

    /// The release to go back to after a failure; none where the plan says that all stays as it is,
    /// or where going back would be the same again.
    async fn goes_back(
        &self,
        release: &Release,
        plan: &Plan,
        report: &Report,
        crew: &Crew,
    ) -> Option<u64> {
        let number = plan.falls_back_to.filter(|_| report.outcome == Outcome::Failed)?;
        if *crew.stop.borrow() {
            return None;
        }
        let (failed, _) = report.failures.first()?;
        let of_service =
            |change: &&Change| change.rollout.is_some() && change.address.name() == failed.name();
        let rollout = plan.changes.iter().find(of_service).and_then(|found| found.rollout.as_ref());
        if rollout.is_some_and(|rollout| rollout.on_failure == OnFailure::Pause) {
            return None;
        }
        let earlier = self.store.release(number).await.ok()?;
        let other_values = plan.changes.iter().any(|change| change.address.kind() == Kind::Env);
        (earlier.desired != release.desired || other_values).then_some(number)
    }

    /// Goes back to an earlier release: an ordinary plan, made from what the failure has left.
    async fn fall_back(
        &self,
        failed: &Plan,
        number: u64,
        crew: Crew,
        telling: &mut Telling<'_>,
    ) -> Outcome {
        let request = Request {
            rollback_to: Some(number),
            forget: failed.request.forget.clone(),
            ..Request::default()
        };
        let (outcome, failure) = match self.plan(&request).await {
            Err(problem) => (Outcome::Failed, Some(problem.into_failure())),
            Ok(back) => {
                let (summary, steps) = (back.plan.summary, back.plan.steps.len());
                let event = Event::FallingBack { release: number, summary, steps };
                if telling.event(&event).await.is_break() {
                    return Outcome::Interrupted;
                }
                let crew = Crew { hosts: back.hosts.clone(), ..crew };
                let first = failed.steps.len() + 1;
                let report = execute(&back.plan, first, crew, telling).await;
                let blocked = back.plan.blocked.first().map(|entry| {
                    Failure::new(format!("{}: {}", entry.address, entry.blocked.detail))
                });
                match (report.failures.into_iter().next(), blocked) {
                    (Some((_, failure)), _) => (report.outcome, Some(failure)),
                    (None, Some(blocked)) => (Outcome::Failed, Some(blocked)),
                    (None, None) => (report.outcome, None),
                }
            }
        };
        let _ = telling.event(&Event::FellBack { release: number, outcome, failure }).await;
        outcome
    }

    /// Why a plan may no longer be applied, from what it is when made again.
    pub fn stale(saved: &Plan, now: &Plan) -> Failure {
        stale(saved, now)
    }

    /// The record of an apply that is about to begin, of which the desired state is known by its digest.
    fn draft(&self, planned: &Planned, desired: String) -> Release {
        let plan = &planned.plan;
        let head = planned.observed.head.as_ref();
        Release {
            format: RELEASE_FORMAT,
            number: plan.base_release.unwrap_or(0) + 1,
            environment: plan.environment.clone(),
            version: plan.version.clone(),
            previous_version: head.and_then(|head| head.version_in_force()).map(str::to_owned),
            started: self.operator.now(),
            finished: None,
            by: self.operator.who(),
            commit: self.operator.commit(),
            config_digest: self.workspace.config.digest(),
            plan_digest: plan.digest(),
            desired,
            hosts: planned.desired.hosts.keys().cloned().collect(),
            images: BTreeMap::new(),
            images_on: BTreeMap::new(),
            env_versions: BTreeMap::new(),
            summary: plan.summary,
            outcome: Outcome::Running,
            reverts_to: plan.request.rollback_to,
            failure: None,
            commands: commands(plan),
            previous_good: head.and_then(|head| head.good()),
            fell_back: None,
        }
    }
}

/// What a plan does, step by step, but for what addresses make of it.
fn outline(plan: &Plan) -> Vec<String> {
    let step = |step: &Step| {
        let act = &step.effect.act;
        let more = match act {
            Act::ChangeObject { attributes, .. } => {
                attributes.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            }
            Act::DestroyObject { id, .. } => id.clone(),
            _ => String::new(),
        };
        format!("{} {} {more}", act.name(), step.address).trim_end().to_owned()
    };
    plan.steps.iter().map(step).collect()
}

/// What a plan comes to, however the hosts are reached and whatever they are at otherwise.
fn essence(planned: &Planned) -> (String, String) {
    let plan = Plan {
        infrastructure: None,
        desired_digest: String::new(),
        observed_digest: String::new(),
        ..planned.plan.clone()
    };
    let named = |name: &String| (name.clone(), crate::model::Host::named(name));
    let hosts = planned.desired.hosts.keys().map(named).collect();
    let desired = crate::model::Desired { hosts, ..planned.desired.clone() };
    (plan.digest(), digest_of(&desired))
}

/// The commands that a plan runs, by service.
fn commands(plan: &Plan) -> BTreeMap<String, String> {
    let acts = plan.steps.iter().map(|step| &step.effect.act);
    acts.filter_map(|act| match act {
        Act::Run { service, command } => Some((service.clone(), command.join(" "))),
        _ => None,
    })
    .collect()
}

fn holder(request: &Request, operator: &Operator) -> Holder {
    let what = match request.rollback_to {
        Some(number) => format!("rollback to {number}"),
        None => "apply".to_owned(),
    };
    Holder { who: operator.who(), what, since: operator.now(), pid: std::process::id() }
}

/// Why a plan may no longer be applied.
fn stale(saved: &Plan, now: &Plan) -> Failure {
    let below = |plan: &Plan| plan.infrastructure.as_ref().map(|below| below.digest());
    let why = if below(saved) != below(now) {
        "what is below the application, or its record on this machine, has changed since".to_owned()
    } else if saved.base_release != now.base_release {
        match now.base_release {
            Some(number) => format!("release {number} was made since"),
            None => "the release that it was made after is gone".to_owned(),
        }
    } else if saved.desired_digest != now.desired_digest {
        "the configuration has changed since".to_owned()
    } else {
        let hosts = now.changes.iter().chain(&saved.changes).filter_map(|c| c.address.on_host());
        let hosts: std::collections::BTreeSet<&str> = hosts.collect();
        let hosts: Vec<&str> = hosts.into_iter().collect();
        format!("what it touches on {} has changed since", hosts.join(", "))
    };
    Failure::new(format!("the plan is stale: {why}"))
        .hint("nothing was changed; plan again, and apply that")
}

/// Notes the images that a release's services run.
fn note_images(release: &mut Release, planned: &Planned, observed: &Observed) {
    for (address, resource) in &planned.desired.resources {
        if let (Spec::Service(spec), Some(host)) = (&resource.spec, address.on_host())
            && let Some(image) = observed.seen(host).and_then(|seen| seen.image(&spec.image))
        {
            release.note_image(host, &spec.image, image);
        }
    }
}

fn env_versions(observed: &Observed) -> BTreeMap<String, String> {
    let versions = observed.hosts.iter().filter_map(|(host, sight)| match sight {
        Sight::Seen(state) => Some((host.clone(), state.env.as_ref()?.version.clone())),
        Sight::Blocked(_) => None,
    });
    versions.collect()
}
