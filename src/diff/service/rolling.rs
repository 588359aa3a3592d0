//! Planning how a service's containers on one host become the desired ones, batch by batch.

use std::collections::BTreeSet;

use super::{Census, Member, differ, own_name, serves};
use crate::diff::Draft;
use crate::diff::resources::{Scope, refs};
use crate::model::definition::replicas;
use crate::model::{
    Act, COMPOSE_FILE, Cause, ContainerRef, Effect, Object, Pick, Rollout, RolloutOrder, RouteSpec,
    ServiceSpec,
};

/// Turns a census into steps.
pub(super) struct Rolling<'a> {
    scope: &'a Scope<'a>,
    spec: &'a ServiceSpec,
    prior: Option<&'a Object>,
    census: &'a Census<'a>,
    /// The routes that lead to it, each with its gateway.
    routes: &'a [(&'a str, &'a RouteSpec)],
}

/// Containers that are replaced together.
struct Batch {
    /// How many new ones the batches before it have started.
    before: usize,
    /// How many there are when it has started its own.
    starts: usize,
    /// The old ones that go with it.
    goes: Vec<ContainerRef>,
    /// Whether somebody has to confirm before the next one.
    canary: bool,
}

fn idle(member: &&Member) -> bool {
    !serves(member.1)
}

fn serving(member: &&Member) -> bool {
    serves(member.1)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl<'a> Rolling<'a> {
    pub fn new(
        scope: &'a Scope<'a>,
        spec: &'a ServiceSpec,
        prior: Option<&'a Object>,
        census: &'a Census<'a>,
        routes: &'a [(&'a str, &'a RouteSpec)],
    ) -> Self {
        Self { scope, spec, prior, census, routes }
    }

    fn wanted(&self) -> usize {
        self.spec.replicas as usize
    }

    /// Whether the old go before the new come.
    fn in_place(&self) -> bool {
        self.spec.rollout.order == RolloutOrder::StopFirst && !self.census.stale.is_empty()
    }

    /// The fresh containers that stay; the others are more than wanted.
    fn kept(&self) -> &[Member<'_>] {
        let all_at_once = self.in_place() && self.is_one_batch();
        let most = if all_at_once { 0 } else { self.wanted() };
        &self.census.fresh[..most.min(self.census.fresh.len())]
    }

    fn extra(&self) -> &[Member<'_>] {
        &self.census.fresh[self.kept().len()..]
    }

    /// How many containers are started.
    pub fn starts(&self) -> usize {
        self.wanted() - self.kept().len()
    }

    /// Whether everything that is replaced in place is replaced at once: Compose does it then.
    fn is_one_batch(&self) -> bool {
        let first = self.canary().or(self.spec.rollout.batch);
        self.wanted() > 0 && first.is_none_or(|first| first as usize >= self.wanted())
    }

    /// How many containers of this host roll before somebody has to confirm.
    fn canary(&self) -> Option<u32> {
        self.scope.canary(&self.spec.service)
    }

    /// Why there are other numbers of containers than wanted.
    pub fn count_causes(&self, exists: bool) -> Vec<Cause> {
        let mut causes = Vec::new();
        let was = self.prior.map(replicas);
        let fresh = self.census.fresh.len().min(self.wanted());
        let extra = self.census.fresh.len() - fresh;
        let short = fresh + self.census.stale.len() < self.wanted();
        let scaled = was.is_some_and(|was| was != self.spec.replicas);
        if !exists {
            causes.push(match (was, self.scope.round.finished) {
                (Some(_), true) => Cause::Drifted { what: "its containers are gone".into() },
                (Some(_), false) => Cause::Unfinished { what: "it was never started".into() },
                (None, _) => Cause::Missing,
            });
        } else if scaled {
            causes.push(Cause::Changed);
        } else if short && self.census.stale.is_empty() {
            let missing = self.wanted() - fresh;
            causes.push(Cause::Drifted {
                what: format!("{missing} of {} containers missing", self.wanted()),
            });
        } else if extra > 0 && self.census.stale.is_empty() {
            causes.push(Cause::Drifted { what: format!("{extra} more containers than wanted") });
        } else if short {
            causes.push(Cause::Unfinished { what: "containers are missing".into() });
        }
        causes
    }

    /// The rollout as people see it.
    pub fn summary(&self) -> Rollout {
        let going = refs(self.census.stale.iter().chain(self.extra()).copied());
        let rollout = &self.spec.rollout;
        Rollout {
            image: self.spec.image.clone(),
            order: rollout.order,
            reason: rollout.reason.clone(),
            replicas: self.spec.replicas,
            starts: number(self.starts()),
            stops: going.into_iter().map(|container| container.name).collect(),
            batch: rollout
                .batch
                .filter(|batch| !self.old().is_empty() && (*batch as usize) < self.starts()),
            on_failure: rollout.on_failure,
        }
    }

    fn draft(&self, act: Act) -> Draft {
        Draft { effect: self.scope.effect(act), undo: Vec::new(), early: false }
    }

    /// All steps, in order.
    pub fn steps(&self) -> Vec<Draft> {
        let mut steps = Vec::new();
        if self.starts() > 0 {
            steps.extend(self.pull());
        }
        self.clear(&mut steps);
        if self.in_place() && self.is_one_batch() {
            self.replace(&mut steps);
            return steps;
        }
        self.repairs(&mut steps);
        let woken = self.wake(&mut steps);
        match &self.spec.rollout.plugin {
            Some(plugin) if self.suits_plugin() => self.hand_over(plugin, &mut steps),
            _ => self.roll(woken, &mut steps),
        }
        self.drop_extra(&mut steps);
        steps
    }

    /// The image comes before anything else happens, unless it is there already.
    fn pull(&self) -> Option<Draft> {
        let found = self.scope.state.image(&self.spec.image);
        let present = match (&self.spec.pin, found) {
            (Some(pin), Some(found)) => pin.id == found.id,
            (None, found) => found.is_some(),
            (Some(_), None) => false,
        };
        (!present).then(|| Draft {
            early: true,
            ..self.draft(Act::PullImage {
                image: self.spec.image.clone(),
                pin: self.spec.pin.clone(),
            })
        })
    }

    /// Removes old containers that serve nobody: Compose would start them again, old as they are,
    /// or stumble over them.
    fn clear(&self, steps: &mut Vec<Draft>) {
        let containers = refs(self.census.stale.iter().filter(idle).copied());
        if !containers.is_empty() {
            steps.push(self.draft(Act::Remove { containers }));
        }
    }

    /// What can be put right in a running container without replacing it.
    fn repairs(&self, steps: &mut Vec<Draft>) {
        for (container, name) in self.renames() {
            steps.push(self.draft(Act::Rename { container, name }));
        }
        let Some(policy) = &self.spec.limits.restart else { return };
        let other = |member: &&Member| member.1.restart != *policy;
        let containers = refs(self.kept().iter().filter(other).copied());
        if !containers.is_empty() {
            steps.push(self.draft(Act::SetRestart { containers, policy: policy.clone() }));
        }
    }

    /// Containers that should have another name, which nobody else has.
    fn renames(&self) -> Vec<(ContainerRef, String)> {
        // A container that goes may have been given the name that the next one gets.
        let in_the_way = self.census.stale.iter().filter(|(_, container)| {
            self.starts() > 0
                && serves(container)
                && self.scope.is_derived(&self.spec.service, &container.name)
        });
        let mut wrong: Vec<(ContainerRef, String)> = self
            .kept()
            .iter()
            .chain(in_the_way)
            .filter_map(|(id, container)| {
                let name = own_name(self.scope, self.spec, container);
                let found = || ContainerRef { id: (*id).clone(), name: container.name.clone() };
                (container.name != name).then(|| (found(), name))
            })
            .collect();
        if wrong.is_empty() {
            return Vec::new();
        }
        let all = self.scope.state.containers.values();
        let mut taken: BTreeSet<String> = all.map(|container| container.name.clone()).collect();
        let mut renames = Vec::new();
        // One that is renamed may free the name of another.
        while let Some(at) = wrong.iter().position(|(_, name)| !taken.contains(name)) {
            let (found, name) = wrong.remove(at);
            taken.remove(&found.name);
            taken.insert(name.clone());
            renames.push((found, name));
        }
        renames
    }

    /// Wakes what sleeps, of what stays.
    fn wake(&self, steps: &mut Vec<Draft>) -> bool {
        let stays = |member: &&Member| self.kept().iter().any(|kept| kept.0 == member.0);
        let asleep = refs(self.census.asleep.iter().filter(stays).copied());
        if asleep.is_empty() {
            return false;
        }
        steps.push(self.draft(Act::Resume { containers: asleep }));
        true
    }

    /// The old containers that serve.
    fn old(&self) -> Vec<ContainerRef> {
        refs(self.census.stale.iter().filter(serving).copied())
    }

    /// All containers that there are, but those that are cleared away first.
    fn all(&self) -> Vec<ContainerRef> {
        let mut all = refs(self.census.stale.iter().chain(&self.census.fresh).copied());
        all.sort();
        all
    }

    /// The batches: together they start what is missing, and take away all that is old. There are
    /// never fewer containers than before, unless the old go first.
    fn batches(&self) -> Vec<Batch> {
        let (starts, mut old) = (self.starts(), self.old());
        // Where nothing is replaced there is nothing to be careful about.
        let batch = self.spec.rollout.batch.filter(|_| !old.is_empty());
        let size = batch.map_or(usize::MAX, |batch| batch as usize);
        let mut canary = self.canary().map(|canary| canary as usize);
        let (mut batches, mut started): (Vec<Batch>, usize) = (Vec::new(), 0);
        loop {
            let is_canary = canary.is_some();
            let next = started.saturating_add(canary.take().unwrap_or(size)).min(starts);
            let last = next == starts;
            let goes = match last {
                true => old.len(),
                false => (next - started).min(old.len()),
            };
            let goes = old.drain(..goes).collect();
            batches.push(Batch { before: started, starts: next, goes, canary: is_canary });
            if last {
                return batches;
            }
            started = next;
        }
    }

    /// Rolls batch by batch.
    fn roll(&self, woken: bool, steps: &mut Vec<Draft>) {
        let batches = self.batches();
        let count = batches.len();
        for (batch, index) in batches.into_iter().zip(1..) {
            let waits = woken && index == 1;
            match self.in_place() {
                true => self.stop_first(&batch, waits, steps),
                false => self.start_first(&batch, waits, steps),
            }
            // Where nothing follows on this host, other hosts may.
            if batch.canary && (index < count || self.scope.is_spread(&self.spec.service)) {
                let service = self.spec.service.clone();
                let canary = number(self.kept().len() + batch.starts);
                steps.push(self.draft(Act::Confirm { service, canary }));
            }
        }
    }

    /// New beside old, healthy, then the old away.
    fn start_first(&self, batch: &Batch, woken: bool, steps: &mut Vec<Draft>) {
        // Undone is what was started, as long as the proxies have not let go of the old: what fails
        // after that fails in taking the old away, and then the new are all there is.
        let undo = self.undo_start(batch);
        self.start(batch, &undo, steps);
        if self.wanted() > 0 && (batch.starts > batch.before || woken || !batch.goes.is_empty()) {
            steps.push(Draft { undo: undo.clone(), ..self.await_healthy(batch.starts) });
        }
        if !batch.goes.is_empty() {
            self.take_away(batch.goes.clone(), batch.before, &undo, steps);
        }
    }

    /// Old away, then new in their place; back to the old file's containers when that fails.
    fn stop_first(&self, batch: &Batch, woken: bool, steps: &mut Vec<Draft>) {
        let mut undo = self.undo_start(batch);
        if let (Some(compose), false) = (self.earlier_file(), batch.goes.is_empty()) {
            undo.extend(self.bring_back(batch, compose));
        }
        if !batch.goes.is_empty() {
            self.take_away(batch.goes.clone(), batch.before, &[], steps);
        }
        self.start(batch, &undo, steps);
        if self.wanted() > 0 && (batch.starts > batch.before || woken) {
            steps.push(Draft { undo, ..self.await_healthy(batch.starts) });
        }
        self.let_in(steps);
    }

    fn start(&self, batch: &Batch, undo: &[Effect], steps: &mut Vec<Draft>) {
        if batch.starts > batch.before {
            let start = self.draft(Act::Start {
                service: self.spec.service.clone(),
                replicas: number(self.kept().len() + batch.starts),
                beside: self.beside(),
                compose: None,
            });
            steps.push(Draft { undo: undo.to_vec(), ..start });
        }
    }

    /// The containers that are not the new ones: the old, and what is more than wanted.
    fn beside(&self) -> Vec<ContainerRef> {
        let mut beside = self.old();
        beside.extend(refs(self.extra().iter().copied()));
        beside
    }

    /// Removes what a batch has started.
    fn undo_start(&self, batch: &Batch) -> Vec<Effect> {
        if batch.starts == batch.before {
            return Vec::new();
        }
        let (service, keep) = (self.spec.service.clone(), self.all());
        vec![self.scope.effect(Act::RemoveBeside { service, keep, spare: number(batch.before) })]
    }

    /// Starts as many of the old containers again as a batch has taken away.
    fn bring_back(&self, batch: &Batch, compose: String) -> Vec<Effect> {
        // As many as there were; not what somebody had added.
        let goes = batch.goes.len().min(self.prior.map_or(0, |prior| replicas(prior) as usize));
        let replicas = number(self.kept().len() + batch.before + goes);
        let left = |container: &ContainerRef| !batch.goes.contains(container);
        let beside: Vec<ContainerRef> = self.beside().into_iter().filter(left).collect();
        let start = Act::Start {
            service: self.spec.service.clone(),
            replicas,
            beside: beside.clone(),
            compose: Some(compose),
        };
        let mut effects = vec![self.scope.effect(start), self.wait(replicas, beside).effect];
        effects.extend(
            self.routes.iter().map(|(gateway, route)| {
                self.route(gateway, route, Pick::Besides(Vec::new()), false)
            }),
        );
        effects
    }

    /// The file that the old containers were made from, where it is another.
    fn earlier_file(&self) -> Option<String> {
        let file = self.scope.state.files.get(COMPOSE_FILE)?;
        let prior = self.prior?;
        differ(prior, &self.spec.definition).then(|| file.content.clone())
    }

    /// Replaces all at once, which is Compose's own way.
    fn replace(&self, steps: &mut Vec<Draft>) {
        let recreate = |compose| Act::Recreate {
            service: self.spec.service.clone(),
            replicas: self.spec.replicas,
            compose,
        };
        let undo: Vec<Effect> = self
            .earlier_file()
            .map(|file| self.scope.effect(recreate(Some(file))))
            .into_iter()
            .collect();
        let hook = &self.spec.rollout.hook;
        let serving = refs(self.census.stale.iter().filter(|(_, it)| serves(it)).copied());
        if !hook.is_empty() && !serving.is_empty() {
            steps.push(self.draft(Act::Hook { containers: serving, command: hook.clone() }));
        }
        steps.push(Draft { undo: undo.clone(), ..self.draft(recreate(None)) });
        let wait = self.wait(self.spec.replicas, Vec::new());
        steps.push(Draft { undo, ..wait });
    }

    /// Whether docker-rollout can do what is wanted: it starts as many as there are, and takes all
    /// others away.
    fn suits_plugin(&self) -> bool {
        let rollout = &self.spec.rollout;
        let limited = rollout.batch.is_some() || self.canary().is_some();
        rollout.order == RolloutOrder::StartFirst
            && !limited
            && self.census.fresh.is_empty()
            && self.old().len() == self.wanted()
            && self.wanted() > 0
    }

    /// Leaves the containers to docker-rollout.
    fn hand_over(&self, plugin: &str, steps: &mut Vec<Draft>) {
        let rollout = &self.spec.rollout;
        let undo =
            Act::RemoveBeside { service: self.spec.service.clone(), keep: self.all(), spare: 0 };
        let act = Act::Plugin {
            plugin: plugin.to_owned(),
            service: self.spec.service.clone(),
            timeout_ms: rollout.health_timeout_ms,
            settle_ms: rollout.settle_ms.max(rollout.monitor_ms),
            hook: rollout.hook.clone(),
        };
        let undo = vec![self.scope.effect(undo)];
        steps.push(Draft { undo, ..self.draft(act) });
        steps.push(self.wait(self.spec.replicas, Vec::new()));
        self.let_in(steps);
    }

    fn await_healthy(&self, started: usize) -> Draft {
        self.wait(number(self.kept().len() + started), self.beside())
    }

    fn wait(&self, replicas: u32, beside: Vec<ContainerRef>) -> Draft {
        let rollout = &self.spec.rollout;
        self.draft(Act::AwaitHealthy {
            service: self.spec.service.clone(),
            replicas,
            beside,
            timeout_ms: rollout.health_timeout_ms,
            monitor_ms: rollout.monitor_ms,
            completes: self.spec.completes,
        })
    }

    /// Takes away what is more than wanted; what sleeps need not be stopped first.
    fn drop_extra(&self, steps: &mut Vec<Draft>) {
        let asleep = refs(self.extra().iter().filter(idle).copied());
        let awake = refs(self.extra().iter().filter(serving).copied());
        if !awake.is_empty() {
            self.take_away(awake, 0, &[], steps);
        }
        if !asleep.is_empty() {
            steps.push(self.draft(Act::Remove { containers: asleep }));
        }
    }

    /// The act that gives a route the servers that are picked on this host, on the route's gateway.
    fn route(&self, gateway: &str, route: &RouteSpec, pick: Pick, needed: bool) -> Effect {
        let renew = [(self.scope.host.to_owned(), pick)].into();
        let act = Act::Route { route: Box::new(route.clone()), renew, needed };
        Effect { host: gateway.to_owned(), act }
    }

    /// Puts everything that is healthy into the routes.
    fn let_in(&self, steps: &mut Vec<Draft>) {
        for (gateway, route) in self.routes {
            let pick = Pick::Besides(Vec::new());
            let effect = self.route(gateway, route, pick, self.wanted() > 0);
            steps.push(Draft { effect, undo: Vec::new(), early: false });
        }
    }

    /// Takes away containers that serve: out of the routes, drained, their hook run, then stopped. As
    /// long as the proxies have not let go of them, all can be `undo`ne; `started` new ones of
    /// earlier batches stay in the routes then.
    fn take_away(
        &self,
        containers: Vec<ContainerRef>,
        started: usize,
        undo: &[Effect],
        steps: &mut Vec<Draft>,
    ) {
        let rollout = &self.spec.rollout;
        let grace_s = rollout.stop_grace_s;
        // Where the old go first, there may be nobody left for a while.
        let needed = rollout.order == RolloutOrder::StartFirst && self.wanted() > 0;
        let before = self.census.stale.iter().chain(&self.census.fresh);
        let these = refs(before.filter(serving).copied());
        let earlier = Pick::Only { these, spare: number(started) };
        let mut back: Vec<Effect> = Vec::new();
        for (gateway, route) in self.routes {
            back.push(self.route(gateway, route, earlier.clone(), false));
            let undo: Vec<Effect> = back.iter().chain(undo).cloned().collect();
            let effect = self.route(gateway, route, Pick::Besides(containers.clone()), needed);
            steps.push(Draft { effect, undo, early: false });
        }
        let mut drain_ms = if self.routes.is_empty() { 0 } else { rollout.drain_ms };
        let goes_between = rollout.settle_ms > 0 || !rollout.hook.is_empty();
        if drain_ms > 0 && goes_between {
            let timeout_ms = std::mem::take(&mut drain_ms);
            steps.push(self.draft(Act::Drain { containers: containers.clone(), timeout_ms }));
        }
        if rollout.settle_ms > 0 {
            steps.push(self.draft(Act::Settle { wait_ms: rollout.settle_ms }));
        }
        if !rollout.hook.is_empty() {
            let command = rollout.hook.clone();
            steps.push(self.draft(Act::Hook { containers: containers.clone(), command }));
        }
        steps.push(self.draft(Act::Stop { containers, drain_ms, grace_s }));
    }
}
