//! A seed's story: a shop, what people change in it, what goes wrong meanwhile, and the end, when
//! everything must be well again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stagecraft::apply::{Answer, Ask};
use stagecraft::engine::{Company, Engine, Operator, Problem, Workspace};
use stagecraft::model::{
    ContainerState, Event, FellBack, Health, Kind, Outcome, Request, RolloutOrder, Spec,
};
use stagecraft::state::Store;
use stagecraft::world::World;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bugs::Bug;
use crate::check::check;
use crate::rng::Rng;
use crate::shop::{ENVIRONMENT, Shop};
use crate::sim::{Process, Sim, Weather};
use crate::store::Shelves;
use crate::world::Reach;

/// After how many applies without any fault there must be nothing left to do.
const ROUNDS: usize = 4;

/// What came of a seed.
pub struct Told {
    pub trace: Vec<String>,
    pub broken: Option<String>,
    pub effects: u64,
}

/// What an operator does.
#[derive(Clone, Default)]
struct Errand {
    rollback: bool,
    version: Option<String>,
    prune: bool,
    dies_in: Option<u64>,
    stops_after_ms: Option<u64>,
    /// How long the plan is thought about before it is applied.
    thinks_ms: u64,
    /// What is said of canaries.
    answer: Option<Answer>,
    /// Whether it plans under the lock, because nobody is to be asked.
    under_lock: bool,
}

/// How an errand ended.
#[derive(Debug, PartialEq)]
enum End {
    Died,
    Refused(String),
    Blocked,
    Nothing,
    Applied(Outcome),
}

/// Tells the story of a seed.
pub fn tell(seed: u64, bug: Option<Bug>) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sim = runtime.block_on(async {
        START.with(|start| start.set(Some(Instant::now())));
        let mut story = Story::begin(seed, bug, folder.path());
        story.run().await;
        story.sim
    });
    drop(runtime);
    let inner = sim.now_as_it_was();
    Told { trace: inner.trace.clone(), broken: inner.broken.clone(), effects: inner.effects }
}

thread_local! {
    static START: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// The virtual time as releases record it.
fn clock() -> String {
    let elapsed = START.with(|start| start.get().map(|start| start.elapsed().as_secs()));
    let elapsed = i64::try_from(elapsed.unwrap_or(0)).unwrap_or(0);
    let time = jiff::Timestamp::from_second(1_767_225_600 + elapsed).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

struct Story {
    sim: Sim,
    rng: Rng,
    shop: Shop,
    folder: PathBuf,
    processes: u32,
}

impl Story {
    fn begin(seed: u64, bug: Option<Bug>, folder: &Path) -> Self {
        let sim = Sim::new(seed, bug);
        let mut rng = Rng::new(seed ^ 0x5743_6d1e);
        let shop = Shop::draw(&mut rng);
        {
            let mut inner = sim.now();
            inner.state.faults.start_ms = [0, 500, 2000, 4000][rng.index(4)];
            for host in &shop.hosts {
                inner.state.hosts.insert(host.clone(), Default::default());
            }
            inner.say(format_args!("{shop:?}"));
        }
        Self { sim, rng, shop, folder: folder.to_owned(), processes: 0 }
    }

    async fn run(&mut self) {
        if self.rng.chance(70) {
            let errand = Errand { version: self.shop.version(), ..Errand::default() };
            self.errands(vec![(0, errand)]).await;
        }
        for _ in 0..self.rng.between(2, 5) {
            self.chapter().await;
            if self.sim.now().broken.is_some() {
                return;
            }
        }
        self.finish().await;
    }

    /// Something changes, something goes wrong, somebody applies.
    async fn chapter(&mut self) {
        let effects = [0, 0, 3, 10, 25][self.rng.index(5)];
        let store = [0, 0, 0, 2][self.rng.index(4)];
        self.sim.now().weather = Weather { effects, store };
        let mut rollback = false;
        match self.rng.between(0, 9) {
            0..=5 => {
                let what = self.shop.change(&mut self.rng);
                self.sim.now().say(what);
            }
            6 => self.bad_version(),
            7 => rollback = true,
            _ => {}
        }
        if self.rng.chance(35) {
            for _ in 0..self.rng.between(1, 3) {
                self.sim.now().meddle();
            }
        }
        let mut events = JoinSet::new();
        if self.rng.chance(35) {
            for _ in 0..self.rng.between(1, 2) {
                let (sim, rng) = (self.sim.clone(), Rng::new(self.rng.next()));
                let shop = self.shop.clone();
                events.spawn(mishap(sim, rng, shop));
            }
        }
        let version = self.shop.version();
        let errand = Errand { rollback, version, ..Errand::default() };
        let mut errands = vec![(0, self.draw_errand(errand.clone()))];
        if self.rng.chance(20) {
            let other = Errand { rollback: self.rng.chance(20), ..errand };
            let later = self.rng.between(0, 12_000);
            errands.push((later, self.draw_errand(other)));
        }
        self.errands(errands).await;
        if self.rng.chance(70) {
            events.join_all().await;
        } else {
            events.detach_all();
        }
        let pause_ms = self.rng.between(0, 5000);
        Sim::sleep(pause_ms).await;
    }

    fn draw_errand(&mut self, errand: Errand) -> Errand {
        let rng = &mut self.rng;
        Errand {
            dies_in: rng.chance(30).then(|| rng.between(1, 90)),
            stops_after_ms: rng.chance(8).then(|| rng.between(0, 20_000)),
            prune: rng.chance(5),
            thinks_ms: if rng.chance(30) { rng.between(1000, 20_000) } else { 0 },
            under_lock: rng.chance(50),
            answer: rng
                .pick(&[Answer::Yes, Answer::Yes, Answer::No])
                .copied()
                .filter(|_| rng.chance(80)),
            ..errand
        }
    }

    /// A version that does not work comes out.
    fn bad_version(&mut self) {
        let Some(image) = self.shop.break_one(&mut self.rng) else { return };
        let how = self.rng.between(0, 2);
        let mut inner = self.sim.now();
        let faults = &mut inner.state.faults;
        let (set, word) = match how {
            0 => (&mut faults.unhealthy_images, "unhealthy"),
            1 => (&mut faults.crashing_images, "crashing"),
            _ => (&mut faults.missing_images, "missing"),
        };
        set.insert(image.clone());
        inner.say(format_args!("{image} is {word}"));
    }

    /// Operators at work, each beginning after some milliseconds.
    async fn errands(&mut self, errands: Vec<(u64, Errand)>) -> Vec<End> {
        let mut running = Vec::new();
        for (after_ms, errand) in errands {
            self.processes += 1;
            let id = self.processes;
            let folder = self.folder.join(format!("operator-{}", running.len()));
            self.shop.write(&folder);
            let process = Process {
                dies_in: errand.dies_in,
                secrets: self.shop.secrets(),
                may_prune: errand.prune,
                ..Process::default()
            };
            self.sim.now().processes.insert(id, process);
            let sim = self.sim.clone();
            running.push(tokio::spawn(async move {
                Sim::sleep(after_ms).await;
                operate(sim, id, folder, errand).await
            }));
        }
        let mut ends = Vec::new();
        for task in running {
            ends.push(task.await.unwrap());
        }
        ends
    }

    /// The faults stop; repeated applies must make everything well.
    async fn finish(&mut self) {
        {
            let mut inner = self.sim.now();
            inner.weather = Weather::default();
            inner.say("the faults stop");
        }
        // What dead processes and slow answers have left at work ends.
        Sim::sleep(200_000).await;
        {
            let mut inner = self.sim.now();
            inner.state.faults.unreachable.clear();
            inner.state.faults.full_disks.clear();
            let faults = inner.state.faults.clone();
            let names: Vec<&'static str> = self.shop.services.keys().copied().collect();
            for name in names {
                let image = self.shop.image(name);
                let bad =
                    [&faults.unhealthy_images, &faults.crashing_images, &faults.missing_images];
                if bad.iter().any(|set| set.contains(&image)) {
                    self.shop.latest += 1;
                    let latest = self.shop.latest;
                    if let Some(service) = self.shop.services.get_mut(name) {
                        service.version = latest;
                    }
                    inner.say(format_args!("{name} is mended"));
                }
            }
        }
        for round in 1..=ROUNDS {
            let version = self.shop.version();
            let errand = Errand { version, answer: Some(Answer::Yes), ..Errand::default() };
            let ends = self.errands(vec![(0, errand)]).await;
            match ends.first() {
                Some(End::Nothing) => break,
                Some(End::Applied(Outcome::Succeeded)) if round < ROUNDS => {}
                end => {
                    let what = format!("round {round} without a fault ended with {end:?}");
                    self.sim.now().violate(what);
                    return;
                }
            }
        }
        let wrong = self.wrong();
        if let Some(wrong) = wrong {
            self.sim.now().violate(format_args!("the plan is empty, but {wrong}"));
        }
    }

    /// What is not as the shop says, by looking at the world alone.
    fn wrong(&self) -> Option<String> {
        let inner = self.sim.now();
        let mut expected: BTreeMap<(String, String), u32> = BTreeMap::new();
        for (name, service) in &self.shop.services {
            for host in &service.hosts {
                expected.insert((host.clone(), (*name).to_owned()), service.replicas);
            }
        }
        expected.extend(
            self.shop.gateways.iter().map(|host| ((host.clone(), "traefik".to_owned()), 1)),
        );
        let mut found: BTreeMap<(String, String), u32> = BTreeMap::new();
        for (host, state) in &inner.state.hosts {
            for container in state.state.containers.values().filter(|c| c.ours) {
                let fine = container.state == ContainerState::Running
                    && matches!(container.health, None | Some(Health::Healthy));
                if !fine {
                    return Some(format!("{} on {host} is not well", container.name));
                }
                let service = container.service.clone();
                if self.shop.services.contains_key(service.as_str())
                    && container.image != self.shop.image(&service)
                {
                    return Some(format!("{} on {host} runs {}", container.name, container.image));
                }
                *found.entry((host.clone(), service)).or_default() += 1;
            }
        }
        if expected != found {
            return Some(format!("there are {found:?} instead of {expected:?}"));
        }
        let routed = self.shop.services.iter().filter(|(_, service)| service.routed);
        let mut routes = self
            .shop
            .gateways
            .iter()
            .flat_map(|host| routed.clone().map(move |(name, service)| (host, name, service)));
        routes.find_map(|(gateway, name, service)| {
            let files = &inner.state.hosts.get(gateway)?.state.files;
            let file = files.get(&format!("routes/{name}.yml"));
            let listed = file.map_or(0, |file| file.content.matches("\"url\"").count());
            let serving = service.replicas as usize * service.hosts.len();
            (listed != serving)
                .then(|| format!("{gateway} routes to {listed} of {name} instead of {serving}"))
        })
    }
}

/// Something goes wrong for a while.
async fn mishap(sim: Sim, mut rng: Rng, shop: Shop) {
    Sim::sleep(rng.between(0, 15_000)).await;
    let Some(host) = rng.pick(&shop.hosts).cloned() else { return };
    let lasts_ms = rng.between(500, 40_000);
    match rng.between(0, 4) {
        0 | 1 => {
            let mut inner = sim.now();
            inner.say(format_args!("{host} is cut off"));
            inner.state.faults.unreachable.insert(host.clone());
            inner.lose_locks();
        }
        2 => {
            let mut inner = sim.now();
            inner.say(format_args!("{host} goes down"));
            inner.state.reboot(&host);
            inner.state.faults.unreachable.insert(host.clone());
            let at_work = inner.shelf.holder.is_some();
            inner.lose_locks();
            let inner = &mut *inner;
            inner.watch.forgive(&inner.state, &host, at_work);
        }
        3 => {
            let mut inner = sim.now();
            inner.say(format_args!("{host}'s disk is full"));
            inner.state.faults.full_disks.insert(host.clone());
        }
        _ => {
            sim.now().meddle();
            return;
        }
    }
    Sim::sleep(lasts_ms).await;
    let mut inner = sim.now();
    inner.say(format_args!("{host} is well again"));
    inner.state.faults.unreachable.remove(&host);
    inner.state.faults.full_disks.remove(&host);
}

/// An operator's process, until it ends or dies.
async fn operate(sim: Sim, id: u32, folder: PathBuf, errand: Errand) -> End {
    let death = match sim.now().processes.get(&id) {
        Some(process) => process.death.clone(),
        None => return End::Died,
    };
    let before: BTreeSet<String> = all_containers(&sim);
    let mut failed = Vec::new();
    let end = tokio::select! {
        biased;
        () = death.notified() => End::Died,
        end = work(&sim, id, &folder, &errand, &mut failed) => end,
    };
    sim.now().say(format_args!("p{id} ended: {end:?}"));
    after(&sim, id, &end);
    leftovers(&sim, id, &before, &failed);
    end
}

fn all_containers(sim: &Sim) -> BTreeSet<String> {
    let inner = sim.now();
    let hosts = inner.state.hosts.values();
    hosts.flat_map(|host| host.state.containers.keys().cloned()).collect()
}

/// A service that failed, and where.
type Failed = (String, String);

async fn work(sim: &Sim, id: u32, folder: &Path, errand: &Errand, failed: &mut Vec<Failed>) -> End {
    let refused = |problem: Problem| match problem {
        Problem::Failure(failure) => End::Refused(failure.what),
        Problem::Diagnostics(found) => {
            End::Refused(found.iter().map(|d| format!("{d:?}")).collect::<Vec<_>>().join("\n"))
        }
    };
    let workspace = match Workspace::open(&folder.join("stagecraft.yml")) {
        Ok(workspace) => workspace,
        Err(problem) => {
            let end = refused(problem);
            sim.now().violate(format_args!("the configuration is refused: {end:?}"));
            return end;
        }
    };
    let world = World::Other(Box::new(Reach { sim: sim.clone(), process: id }));
    let store = Store::Other(Box::new(Shelves { sim: sim.clone(), process: id }));
    let operator = Operator::Named { who: format!("p{id}@simulation"), clock };
    let engine = match Engine::open_in(workspace, ENVIRONMENT, world, store, operator) {
        Ok(engine) => engine,
        Err(problem) => return refused(problem),
    };
    let mut request = Request {
        version: errand.version.clone(),
        prune_volumes: errand.prune || sim.now().bug == Some(Bug::DestroyVolumes),
        ..Request::default()
    };
    if errand.rollback {
        request.version = None;
        match engine.rollback_target(None).await {
            Ok(number) => request.rollback_to = Some(number),
            Err(problem) => return refused(problem),
        }
    }
    let lock = match errand.under_lock {
        true => match engine.lock(&request).await {
            Ok(lock) => Some(lock),
            Err(error) => return refused(error.into()),
        },
        false => None,
    };
    let planned = match engine.plan(&request).await {
        Ok(planned) => planned,
        Err(problem) => return refused(problem),
    };
    {
        let mut inner = sim.now();
        let plan = &planned.plan;
        inner.say(format_args!(
            "p{id} plans {:?}, {} steps, {} blocked",
            plan.summary,
            plan.steps.len(),
            plan.blocked.len()
        ));
        let mut allowed = request.clone();
        allowed.prune_volumes = errand.prune;
        if let Some(wrong) = check(plan, &planned.desired, &allowed) {
            inner.violate(format_args!("p{id}'s plan is wrong: {wrong}"));
        }
        let blind = inner.processes.get(&id).map(|process| process.blind.clone());
        let told: BTreeSet<&str> =
            plan.blocked.iter().filter_map(|entry| entry.address.on_host()).collect();
        if let Some(host) = blind.into_iter().flatten().find(|host| !told.contains(host.as_str())) {
            inner.violate(format_args!("p{id}'s plan does not say that {host} is unknown"));
        }
        if plan.is_empty() {
            return End::Nothing;
        }
        if !plan.blocked.is_empty() {
            return End::Blocked;
        }
        for change in &plan.changes {
            inner.say(format_args!("  {:?} {} {:?}", change.action, change.address, change.causes));
        }
        inner.watch.intends(id, &planned.desired);
    }
    if lock.is_none() {
        Sim::sleep(errand.thinks_ms).await;
    }
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    if let Some(after_ms) = errand.stops_after_ms {
        let stop = stop.clone();
        tokio::spawn(async move {
            Sim::sleep(after_ms).await;
            stop.send_replace(true);
        });
    }
    let mut tell = |event: &Event| {
        if let Event::FallingBack { release, .. } = event {
            let mut inner = sim.now();
            let earlier = inner.shelf.releases.get(release).map(|(found, _)| found.desired.clone());
            let blob = earlier.and_then(|address| inner.shelf.blobs.get(&address).cloned());
            if let Some(desired) = blob.and_then(|text| serde_json::from_str(&text).ok()) {
                inner.watch.intends(id, &desired);
            }
            if let Some(found) = inner.processes.get_mut(&id) {
                found.falling_back = true;
            }
        }
        if let Event::StepFailed { address, .. } = event
            && address.kind() == Kind::Service
            && let Some(Spec::Service(spec)) =
                planned.desired.resources.get(address).map(|resource| &resource.spec)
            && spec.rollout.order == RolloutOrder::StartFirst
            && let (Some(host), Some(name)) = (address.on_host(), address.name())
        {
            failed.push((host.to_owned(), name.to_owned()));
        }
    };
    let answer = errand.answer.unwrap_or(Answer::Nobody);
    let ask: Ask = Arc::new(move |_, _| {
        Box::pin(async move {
            Sim::sleep(2000).await;
            answer
        })
    });
    let company = Company { tell: &mut tell, stop: stopped, ask };
    let applied = match lock {
        Some(lock) => engine.apply_under(lock, &planned, company).await,
        None => engine.apply(&planned, company).await,
    };
    drop(stop);
    match applied {
        Ok(applied) => {
            if let Some(back) = &applied.release.fell_back {
                sim.now().say(format_args!("p{id} went back: {back:?}"));
                mixed(sim, id, back);
            }
            End::Applied(applied.report.outcome)
        }
        Err(problem) => refused(problem),
    }
}

/// Who has gone back leaves no service in two versions.
fn mixed(sim: &Sim, id: u32, back: &FellBack) {
    let mut inner = sim.now();
    if back.outcome != Outcome::Succeeded {
        // A fault has hindered it: what it would have taken away is there.
        if let Some(found) = inner.processes.get_mut(&id) {
            found.undo_hindered = true;
        }
        return;
    }
    let mut images: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let hosts = inner.state.hosts.values();
    for container in hosts.flat_map(|host| host.state.containers.values()).filter(|c| c.ours) {
        images.entry(&container.service).or_default().insert(&container.image);
    }
    let mixed = images.into_iter().find(|(_, images)| images.len() > 1);
    if let Some(mixed) = mixed.map(|mixed| format!("{mixed:?}")) {
        inner.violate(format_args!("p{id} went back and left {mixed}"));
    }
}

/// What must hold when a process has ended, however it has.
fn after(sim: &Sim, id: u32, end: &End) {
    let mut inner = sim.now();
    let mut wrong = Vec::new();
    if *end == End::Applied(Outcome::Succeeded) {
        let inner = &mut *inner;
        inner.watch.settle(&inner.state);
    }
    if inner.shelf.holder == Some(id) {
        wrong.push(format!("p{id} ended and left its lock"));
    }
    let Some(process) = inner.processes.get(&id) else { return };
    if process.begun > 0 && *end != End::Died && !process.refused {
        let release = process.recorded.and_then(|number| inner.shelf.releases.get(&number));
        match release {
            None => wrong.push(format!("p{id} changed something and left no record")),
            Some((release, _)) if release.outcome == Outcome::Running => {
                wrong.push(format!("p{id} ended and its release is still running"));
            }
            Some(_) => {}
        }
        let journal = process.journal.and_then(|number| inner.shelf.journals.get(&number));
        let count = |word: &str| {
            let word = format!("\"event\":\"{word}\"");
            journal.into_iter().flatten().filter(|line| line.contains(&word)).count()
        };
        let ended = count("step_done") + count("step_failed") + count("step_paused");
        if count("step_started") != ended {
            wrong.push(format!("p{id}'s journal does not say what came of each step"));
        }
        if (count("started"), count("finished")) != (1, 1) {
            wrong.push(format!("p{id}'s journal does not say when it began and ended"));
        }
    }
    for what in wrong {
        inner.violate(what);
    }
}

/// A rollout that failed has taken its new containers away again, unless it was hindered.
fn leftovers(sim: &Sim, id: u32, before: &BTreeSet<String>, failed: &[Failed]) {
    let mut inner = sim.now();
    let hindered = inner.processes.get(&id).is_none_or(|p| p.dead || p.refused || p.undo_hindered);
    if hindered {
        return;
    }
    let mut wrong = Vec::new();
    for (host, service) in failed {
        let containers = inner.state.hosts.get(host).map(|host| &host.state.containers);
        for (container, found) in containers.into_iter().flatten() {
            // One that was stopped in good order has served its time: going back has replaced it.
            let bad = match found.state {
                ContainerState::Exited => found.exit_code != 0,
                ContainerState::Running => found.health == Some(Health::Unhealthy),
                state => matches!(state, ContainerState::Restarting | ContainerState::Created),
            };
            // What a person has added meanwhile is theirs.
            let added = found.name.contains("-copy");
            let new = !before.contains(container) && found.ours && !added;
            if found.service == *service && bad && new {
                wrong.push(format!("p{id} failed and left {} on {host}", found.name));
            }
        }
    }
    for what in wrong {
        inner.violate(what);
    }
}
