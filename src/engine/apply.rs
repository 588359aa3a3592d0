//! Applying: lock, look again, put the release on record, execute, record what came of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;
use tokio::sync::watch;

use super::{Engine, Operator, Planned, Problem};
use crate::apply::{Report, Sink, execute};
use crate::model::{
    Event, Failure, ImagePin, Observed, Outcome, Plan, RELEASE_FORMAT, Release, Sight, Spec,
};
use crate::state::{Holder, Lock};

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

impl Engine {
    /// Applies a plan under the lock. What it touches must still be as the plan saw it.
    ///
    /// # Errors
    /// Somebody else holds the lock; something changed since the plan was made; the store cannot be
    /// written. A step that fails is no error but a failed release.
    pub async fn apply(
        &self,
        planned: &Planned,
        tell: &mut (dyn FnMut(&Event) + Send),
        stop: watch::Receiver<bool>,
    ) -> Result<Applied, Problem> {
        let plan = &planned.plan;
        let mut lock = self.store.lock(&holder(plan, &self.operator)).await?;
        let result = self.apply_locked(planned, &mut lock, tell, stop).await;
        let released = lock.release().await;
        let applied = result?;
        released?;
        Ok(applied)
    }

    async fn apply_locked(
        &self,
        planned: &Planned,
        lock: &mut Lock,
        tell: &mut (dyn FnMut(&Event) + Send),
        mut stop: watch::Receiver<bool>,
    ) -> Result<Applied, Problem> {
        let plan = &planned.plan;
        let again = self.plan(&plan.request).await?;
        if again.plan.digest() != plan.digest() {
            return Err(stale(plan, &again.plan).into());
        }
        if *stop.borrow_and_update() {
            return Err(Failure::new("stopped before anything was changed").into());
        }
        let began = tokio::time::Instant::now();
        let mut release = self.draft(planned).await?;
        lock.open_journal(release.number).await?;
        self.store.put(&release).await?;
        let mut telling = Telling { lock, tell, operator: &self.operator, lost: None };
        let started = Event::Started {
            release: release.number,
            summary: plan.summary,
            steps: plan.steps.len(),
        };
        // Without a journal nothing is begun; the executor asks again at every step.
        let _ = telling.event(&started).await;
        let report = execute(plan, &planned.hosts, self.world.clone(), &mut telling, stop).await;
        release.outcome = report.outcome;
        release.finished = Some(self.operator.now());
        release.failure =
            report.failures.first().map(|(address, failure)| format!("{address}: {failure}"));
        // A look that fails costs the record what it would have told, and not its outcome.
        if let (Outcome::Succeeded, Ok((observed, _))) =
            (report.outcome, self.look(&plan.request.forget).await)
        {
            release.images = images(planned, &observed);
            release.env_versions = env_versions(&observed);
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

    /// Why a plan may no longer be applied, from what it is when made again.
    pub fn stale(saved: &Plan, now: &Plan) -> Failure {
        stale(saved, now)
    }

    /// The record of an apply that is about to begin.
    async fn draft(&self, planned: &Planned) -> Result<Release, Problem> {
        let plan = &planned.plan;
        let head = planned.observed.head.as_ref();
        let text = serde_json::to_string(&planned.desired)
            .map_err(|error| Failure::new(format!("the desired state can't be stored: {error}")))?;
        Ok(Release {
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
            desired: self.store.put_blob(&text).await?,
            hosts: planned.desired.hosts.keys().cloned().collect(),
            images: BTreeMap::new(),
            env_versions: BTreeMap::new(),
            summary: plan.summary,
            outcome: Outcome::Running,
            reverts_to: plan.request.rollback_to,
            failure: None,
        })
    }
}

fn holder(plan: &Plan, operator: &Operator) -> Holder {
    let what = match plan.request.rollback_to {
        Some(number) => format!("rollback to {number}"),
        None => "apply".to_owned(),
    };
    Holder { who: operator.who(), what, since: operator.now(), pid: std::process::id() }
}

/// Why a plan may no longer be applied.
fn stale(saved: &Plan, now: &Plan) -> Failure {
    let why = if saved.base_release != now.base_release {
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

/// The images that the release's services run, by reference.
fn images(planned: &Planned, observed: &Observed) -> BTreeMap<String, ImagePin> {
    let mut images = BTreeMap::new();
    for (address, resource) in &planned.desired.resources {
        if let (Spec::Service(spec), Some(host)) = (&resource.spec, address.on_host())
            && let Some(image) = observed.seen(host).and_then(|seen| seen.images.get(&spec.image))
        {
            images.insert(spec.image.clone(), image.clone());
        }
    }
    images
}

fn env_versions(observed: &Observed) -> BTreeMap<String, String> {
    let versions = observed.hosts.iter().filter_map(|(host, sight)| match sight {
        Sight::Seen(state) => Some((host.clone(), state.env.as_ref()?.version.clone())),
        Sight::Blocked(_) => None,
    });
    versions.collect()
}
