//! The laws of plans, on generated shops and worlds: `diff::plan` against the simulated world, with
//! nothing between them that could go wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError};
use stagecraft::diff;
use stagecraft::engine::{Engine, Operator, Workspace, compose_reader};
use stagecraft::model::{
    Action, Blocked, BlockedReason, COMPOSE_FILE, Desired, EnvSource, Observed, Plan, Request,
    Sight, Spec,
};
use stagecraft::state::Store;
use stagecraft::world::World;
use stagecraft::world::simulated::SimulatedState;

use crate::check::check;
use crate::rng::Rng;
use crate::shop::{ENVIRONMENT, Shop};
use crate::sim::{Process, Sim};
use crate::store::Shelves;
use crate::world::Reach;

/// A shop, what a person changes in it, and what other people do on the hosts meanwhile.
#[derive(Debug, Clone)]
struct Tale {
    first: Shop,
    second: Shop,
    meddling: u64,
    meddlers: usize,
    /// After how many steps of an apply in between somebody pulled the plug.
    cut: usize,
}

fn tales() -> impl Strategy<Value = Tale> {
    let changes = prop::collection::vec(any::<u64>(), 0..4);
    (any::<u64>(), changes, any::<u64>(), 0..6usize, 0..12usize).prop_map(
        |(seed, changes, meddling, meddlers, cut)| {
            let first = Shop::draw(&mut Rng::new(seed));
            let mut second = first.clone();
            for change in changes {
                second.change(&mut Rng::new(change));
            }
            Tale { first, second, meddling, meddlers, cut }
        },
    )
}

/// A world without faults and without time.
struct Bench {
    sim: Sim,
    folder: tempfile::TempDir,
    hosts: Vec<String>,
}

impl Bench {
    fn new(tale: &Tale) -> Self {
        let sim = Sim::new(1, None);
        sim.now().processes.insert(1, Process { may_prune: true, ..Process::default() });
        Self { sim, folder: tempfile::tempdir().unwrap(), hosts: tale.first.hosts.clone() }
    }

    /// What a shop comes to, compiled as the program does.
    fn desired(&self, shop: &Shop) -> Desired {
        shop.write(self.folder.path());
        let workspace = Workspace::open(&self.folder.path().join("stagecraft.yml"));
        let world = World::Other(Box::new(Reach { sim: self.sim.clone(), process: 1 }));
        let store = Store::Other(Box::new(Shelves { sim: self.sim.clone(), process: 1 }));
        let operator = Operator::Named { who: "law".into(), clock: String::new };
        let engine = Engine::open_in(workspace.unwrap(), ENVIRONMENT, world, store, operator);
        let request = Request { version: shop.version(), ..Request::default() };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async { engine.unwrap().plan(&request).await.unwrap().desired })
    }

    fn observe(&self, shop: &Shop) -> Observed {
        let mut observed = self.sim.now().observed(&self.hosts, &shop.secrets());
        for sight in observed.hosts.values_mut() {
            if let Sight::Seen(state) = sight
                && let (Some(file), Some(deployed)) =
                    (state.files.get(COMPOSE_FILE), &mut state.deployed)
            {
                deployed.services = compose_reader()(&file.content).services.clone();
            }
        }
        observed
    }

    fn plan(&self, shop: &Shop) -> (Plan, Desired) {
        let desired = self.desired(shop);
        let plan = diff::plan(&desired, &self.observe(shop), &Request::default()).unwrap();
        (plan, desired)
    }

    /// Carries out so many steps of a plan.
    fn carry_out(&self, shop: &Shop, plan: &Plan, steps: usize) -> Result<(), TestCaseError> {
        let mut inner = self.sim.now();
        inner.processes.entry(1).or_default().secrets = shop.secrets();
        for step in plan.steps.iter().take(steps) {
            let result = inner.perform(1, &step.effect, None);
            prop_assert!(result.is_ok(), "step {} of {plan:#?}: {result:?}", step.id);
        }
        Ok(())
    }

    fn apply(&self, shop: &Shop) -> Result<(), TestCaseError> {
        let (plan, _) = self.plan(shop);
        self.carry_out(shop, &plan, usize::MAX)
    }

    fn meddle(&self, tale: &Tale) {
        let mut inner = self.sim.now();
        inner.rng = Rng::new(tale.meddling);
        for _ in 0..tale.meddlers {
            inner.meddle();
        }
    }

    fn world(&self) -> SimulatedState {
        self.sim.now().state.clone()
    }
}

/// A world without what may differ between two that are the same: ids and numbers.
fn essence(state: &SimulatedState) -> String {
    let mut text = Vec::new();
    for (host, found) in &state.hosts {
        let mut containers: Vec<String> = found
            .state
            .containers
            .values()
            .map(|c| {
                format!(
                    "{} {:?} {} {} {}",
                    c.service, c.state, c.image, c.fingerprint, c.config_hash
                )
            })
            .collect();
        containers.sort();
        let networks = &found.state.networks;
        // Which containers a route leads to is another matter every time.
        let files: BTreeMap<&String, String> = (found.state.files.iter())
            .map(|(path, file)| {
                let routes = path.starts_with("routes/");
                let plain = |line: &&str| !routes || !line.contains(['#', '/']);
                let text: Vec<&str> = file.content.lines().filter(plain).collect();
                (path, format!("{:o} {}", file.mode, text.join("\n")))
            })
            .collect();
        if containers.is_empty() && files.is_empty() && networks.is_empty() && found.env.is_none() {
            // As good as a host that was never touched.
            continue;
        }
        text.push(format!("{host} {containers:?} {files:?} {networks:?} {:?}", found.env));
    }
    text.join("\n")
}

fn fixed_unless_told() -> RngSeed {
    let told = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    RngSeed::Fixed(told.unwrap_or(1))
}

proptest! {
    // A fixed seed: what lands must not hang on the draw. PROPTEST_RNG_SEED=N looks elsewhere;
    // docs/simulation.md names what such searches have found and nobody has mended yet.
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        rng_seed: fixed_unless_told(),
        ..ProptestConfig::default()
    })]

    /// From any state, also a strange or half-made one, the plan leads to the desired state; and
    /// the plan of the desired state is empty.
    #[test]
    fn an_applied_plan_leaves_nothing_to_do(tale in tales()) {
        let bench = Bench::new(&tale);
        bench.apply(&tale.first)?;
        let (half, _) = bench.plan(&tale.second);
        bench.carry_out(&tale.second, &half, tale.cut)?;
        bench.meddle(&tale);
        let (plan, desired) = bench.plan(&tale.second);
        prop_assert_eq!(check(&plan, &desired, &Request::default()), None);
        prop_assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
        bench.carry_out(&tale.second, &plan, usize::MAX)?;
        let (rest, _) = bench.plan(&tale.second);
        prop_assert!(rest.is_empty(), "{:#?}", rest.changes);
    }

    /// What a person does to anything of ours is a change to make.
    #[test]
    fn only_an_equal_world_has_an_empty_plan(tale in tales()) {
        let bench = Bench::new(&tale);
        bench.apply(&tale.first)?;
        let before = bench.world();
        bench.meddle(&Tale { meddlers: 1, ..tale.clone() });
        let after = bench.world();
        let ours = |state: &SimulatedState| {
            let mut state = state.clone();
            state.made = 0;
            for host in state.hosts.values_mut() {
                host.state.containers.retain(|_, c| c.ours);
                host.state.networks.retain(|_, n| n.ours);
                host.state.volumes.retain(|_, v| v.ours);
                // An image that is pulled again when it is needed is nobody's loss.
                host.state.images.clear();
            }
            state
        };
        let (plan, _) = bench.plan(&tale.first);
        let same = ours(&before) == ours(&after);
        prop_assert_eq!(same, plan.is_empty(), "{:?}", bench.sim.now().trace.last());
    }

    /// A host that was not seen is blocked, and nothing is planned for it.
    #[test]
    fn unknown_never_deletes(tale in tales(), hidden in any::<u8>()) {
        let bench = Bench::new(&tale);
        bench.apply(&tale.first)?;
        let desired = bench.desired(&tale.second);
        let mut observed = bench.observe(&tale.second);
        let mut blind = Vec::new();
        for (index, (host, sight)) in observed.hosts.iter_mut().enumerate() {
            if hidden >> index & 1 == 1 {
                let reason = BlockedReason::Unreachable;
                *sight = Sight::Blocked(Blocked { reason, detail: "dark".into() });
                blind.push(host.clone());
            }
        }
        let plan = diff::plan(&desired, &observed, &Request::default()).unwrap();
        prop_assert_eq!(check(&plan, &desired, &Request::default()), None);
        for host in &blind {
            prop_assert!(plan.blocked.iter().any(|entry| entry.address.on_host() == Some(host)));
            prop_assert!(plan.changes.iter().all(|c| c.address.on_host() != Some(host)));
        }
        for change in plan.changes.iter().filter(|change| change.action == Action::Delete) {
            // What moves to a host in the dark stays where it is.
            let waits = blind.iter().any(|host| {
                let there = change.address.name().map(|name| {
                    stagecraft::model::Address::service(host, name)
                });
                there.is_some_and(|there| {
                    change.address.kind() == stagecraft::model::Kind::Service
                        && desired.resources.contains_key(&there)
                })
            });
            prop_assert!(!waits, "{} goes and may be nowhere else", change.address);
        }
    }

    /// The same inputs give the same bytes, in whatever order they come.
    #[test]
    fn order_and_repetition_change_nothing(tale in tales()) {
        let bench = Bench::new(&tale);
        bench.apply(&tale.first)?;
        bench.meddle(&tale);
        let (desired, observed) = (bench.desired(&tale.second), bench.observe(&tale.second));
        let plan = diff::plan(&desired, &observed, &Request::default()).unwrap();
        let again: Desired = {
            let mut shuffled: Vec<_> = desired.resources.clone().into_iter().rev().collect();
            let middle = shuffled.len() / 2;
            shuffled.rotate_left(middle);
            Desired { resources: shuffled.into_iter().collect(), ..desired.clone() }
        };
        let other = diff::plan(&again, &observed, &Request::default()).unwrap();
        prop_assert_eq!(serde_json::to_vec(&plan).unwrap(), serde_json::to_vec(&other).unwrap());
        prop_assert_eq!(bench.desired(&tale.second), desired);
    }

    /// Going back and going back from that ends where it began.
    #[test]
    fn a_rollback_of_a_rollback_is_the_original(tale in tales()) {
        let bench = Bench::new(&tale);
        bench.apply(&tale.first)?;
        let first = bench.world();
        bench.apply(&tale.second)?;
        let second = bench.world();
        let back = |shop: &Shop, to: &SimulatedState| -> Result<SimulatedState, TestCaseError> {
            let mut desired = bench.desired(shop);
            pin(&mut desired, to);
            let observed = bench.observe(shop);
            let plan = diff::plan(&desired, &observed, &Request::default()).unwrap();
            prop_assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
            bench.carry_out(shop, &plan, usize::MAX)?;
            Ok(bench.world())
        };
        prop_assert_eq!(essence(&back(&tale.first, &first)?), essence(&first));
        prop_assert_eq!(essence(&back(&tale.second, &second)?), essence(&second));
    }
}

/// What the engine does to a release's stored state: images by id, env files by version.
fn pin(desired: &mut Desired, then: &SimulatedState) {
    let versions: BTreeMap<&String, String> = then
        .hosts
        .iter()
        .filter_map(|(host, found)| {
            let env = found.env.as_ref()?;
            let version = found.env_versions.iter().find(|(_, kept)| *kept == env)?;
            Some((host, version.0.clone()))
        })
        .collect();
    for (address, resource) in &mut desired.resources {
        let host = address.on_host().unwrap_or_default().to_owned();
        match &mut resource.spec {
            Spec::Env(spec) => {
                if let Some(id) = versions.get(&host) {
                    spec.source = EnvSource::Version { id: id.clone() };
                }
            }
            Spec::Service(spec) => {
                let images = then.hosts.get(&host).map(|found| &found.state.images);
                let pin = images.and_then(|images| images.get(&spec.image)).cloned();
                Arc::make_mut(spec).pin = pin;
            }
            _ => {}
        }
    }
}
