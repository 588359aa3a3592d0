//! Real hosts: the probe, every effect, the store and the lock against a lab host. Needs
//! STAGECRAFT_SSH_CONFIG and STAGECRAFT_LAB_HOST (a host with Docker and the lab's registry).

#![allow(clippy::panic)] // A test's helpers fail by panicking too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use stagecraft::model::*;
use stagecraft::state::{Holder, HostStore, StateError};
use stagecraft::world::HostsWorld;
use stagecraft::world::secrets::Secrets;
use stagecraft::world::transport::Limits;

const PLANTED: &str = "hunter2-it's \"planted\" $HOME \\ value";

fn lab_host() -> Host {
    let name = std::env::var("STAGECRAFT_LAB_HOST").expect("STAGECRAFT_LAB_HOST names a lab host");
    Host {
        address: name.clone(),
        name,
        user: None,
        port: None,
        identity_file: None,
        transport: Transport::Ssh,
        roles: Default::default(),
    }
}

fn site(project: &str) -> Site {
    Site {
        project: project.to_owned(),
        environment: "lab".into(),
        env_path: Some(format!("/var/lib/stagecraft/{project}/lab/.env")),
    }
}

fn secrets(value: &str) -> Secrets {
    let values = [("DB_PASSWORD", value), ("OTHER", "plain"), ("LINES", "one\ntwo-two-two")];
    Secrets::new(values.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
}

fn object(value: serde_json::Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

const COMPOSE: &str = "services:
  api:
    image: 10.99.0.1:5000/shop/shop-api:${TAG:-v1}
    restart: unless-stopped
    environment: {DB_PASSWORD: '${DB_PASSWORD}', KNOB: 'KNOB_VALUE'}
    labels: {stagecraft.environment: MARK}
    healthcheck: {test: [CMD, /shopd, health], interval: 1s, timeout: 2s, retries: 2, start_period: 1s}
    networks: [net]
    volumes: ['data:/data']
networks: {net: {}}
volumes: {data: {}}
";

struct Lab {
    world: Arc<HostsWorld>,
    host: Host,
    site: Site,
}

impl Lab {
    fn new(project: &str, secrets: Option<Secrets>) -> Self {
        let site = site(project);
        Self { world: Arc::new(HostsWorld::new(&site, secrets)), host: lab_host(), site }
    }
    async fn act(&self, act: Act) -> Result<(), Failure> {
        let begin = Instant::now();
        let name = act.name();
        let effect = Effect { host: self.host.name.clone(), act };
        let hosts = [(self.host.name.clone(), self.host.clone())].into();
        let result = self.world.perform(&hosts, &effect).await;
        println!("{name}: {} ms {result:?}", begin.elapsed().as_millis());
        result
    }
    async fn ok(&self, act: Act) {
        self.act(act.clone()).await.expect("done");
        if !matches!(act, Act::AwaitHealthy { .. } | Act::Recreate { .. }) {
            self.act(act).await.expect("done again");
        }
    }
    async fn see(&self) -> HostState {
        let begin = Instant::now();
        let sight = self.world.probe(&self.host).await;
        println!("probe: {} ms", begin.elapsed().as_millis());
        match sight {
            Sight::Seen(state) => *state,
            Sight::Blocked(blocked) => panic!("{blocked:?}"),
        }
    }
    async fn shell(&self, script: &str) -> String {
        let output = self.world.run(&self.host, script, Limits::default()).await.expect("ran");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    fn compose(&self, tag: &str, knob: &str) -> Act {
        Act::WriteFile {
            path: self.site.compose_file(),
            mode: 0o640,
            content: COMPOSE
                .replace("${TAG:-v1}", tag)
                .replace("MARK", &self.world.layout().mark)
                .replace("KNOB_VALUE", knob),
        }
    }
}

fn refs<'a>(all: impl IntoIterator<Item = (&'a String, &'a Container)>) -> Vec<ContainerRef> {
    all.into_iter().map(|(id, it)| ContainerRef { id: id.clone(), name: it.name.clone() }).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a lab host"]
async fn an_environment_comes_rolls_and_goes() {
    let lab = Lab::new("worldtest", Some(secrets(PLANTED)));
    let directory = lab.site.directory();
    lab.shell(&format!(
        "docker rm -fv $(docker ps -aq --filter label=com.docker.compose.project=worldtest-lab); \
         docker network rm worldtest-lab_net; docker volume rm worldtest-lab_data; rm -rf {directory}"
    ))
    .await;
    let state = lab.see().await;
    assert!(!state.directory && state.containers.is_empty() && state.env.is_none());

    lab.ok(Act::PrepareHost { directory: directory.clone() }).await;
    let path = lab.site.env_path.clone().expect("set");
    lab.ok(Act::WriteEnv { path: path.clone(), keys: secrets("").keys() }).await;
    lab.ok(lab.compose("v1", "one")).await;
    let definition =
        object(json!({"driver": "bridge", "labels": {"a": "it's"}, "internal": false}));
    lab.ok(Act::CreateNetwork {
        name: "worldtest-lab_net".into(),
        key: "net".into(),
        definition: definition.clone(),
    })
    .await;
    lab.ok(Act::CreateVolume {
        name: "worldtest-lab_data".into(),
        key: "data".into(),
        definition: Object::new(),
    })
    .await;
    let state = lab.see().await;
    assert_eq!(state.networks["worldtest-lab_net"].definition, digest_of(&definition));
    assert!(state.networks["worldtest-lab_net"].ours && state.volumes["worldtest-lab_data"].ours);
    assert!(state.directory && state.containers.is_empty());
    assert_eq!(state.files.keys().collect::<Vec<_>>(), ["compose.yml"]);
    assert_eq!(state.files["compose.yml"].mode, 0o640);
    let env = state.env.expect("written");
    assert_eq!((env.mode, env.keys.len(), env.differing.len()), (0o600, 3, 0));
    assert!(state.env_versions.contains(&env.version));

    // By digest from the registry, and by id where only the name went.
    let image = "10.99.0.1:5000/shop/shop-api:v3".to_owned();
    lab.ok(Act::PullImage { image: image.clone(), pin: None }).await;
    let pin = lab.see().await.images[&image].clone();
    lab.shell(&format!("docker rmi -f {image}")).await;
    lab.ok(Act::PullImage { image: image.clone(), pin: Some(pin.clone()) }).await;
    assert_eq!(lab.see().await.images[&image], pin);
    lab.shell(&format!("docker tag {image} other:x; docker rmi {image}")).await;
    lab.ok(Act::PullImage { image: image.clone(), pin: Some(pin.clone()) }).await;
    assert_eq!(lab.see().await.images[&image], pin);
    lab.shell(&format!("docker rmi {image} other:x")).await;

    let image = "10.99.0.1:5000/shop/shop-api:v1".to_owned();
    lab.ok(Act::PullImage { image: image.clone(), pin: None }).await;
    let pin = lab.see().await.images[&image].clone();

    let start = |replicas, beside| Act::Start { service: "api".into(), replicas, beside };
    let healthy = |beside| Act::AwaitHealthy {
        service: "api".into(),
        replicas: 2,
        beside,
        timeout_ms: 15_000,
        monitor_ms: 500,
        completes: false,
    };
    lab.ok(start(2, vec![])).await;
    lab.ok(healthy(vec![])).await;
    let state = lab.see().await;
    println!("{state:#?}");
    assert_eq!(state.containers.len(), 2);
    let hash = &state.deployed.as_ref().expect("deployed").hashes["api"];
    for container in state.containers.values() {
        assert!(container.ours && container.health == Some(Health::Healthy));
        assert_eq!(&container.config_hash, hash, "the host's own hash is the container's");
        assert_eq!(container.image_id, pin.id);
        assert_eq!(container.restart, "unless-stopped");
    }
    // Compose took the network as it is.
    assert!(state.networks["worldtest-lab_net"].ours, "the network was not made anew");
    let said = lab.shell("docker inspect $(docker ps -q) --format '{{json .Config.Env}}'").await;
    assert!(said.contains("hunter2-it's"), "the value reached the container: {said}");
    assert!(!format!("{state:?}").contains("hunter2"), "and nothing else");

    // A roll beside the old.
    lab.ok(lab.compose("v2", "two")).await;
    let image = "10.99.0.1:5000/shop/shop-api:v2".to_owned();
    lab.ok(Act::PullImage { image, pin: None }).await;
    let old = refs(&state.containers);
    lab.ok(start(2, old.clone())).await;
    lab.ok(healthy(old.clone())).await;
    assert_eq!(lab.see().await.containers.len(), 4);
    lab.ok(Act::Stop { containers: old.clone(), grace_s: 5 }).await;
    lab.ok(Act::Remove { containers: old.clone() }).await;
    let state = lab.see().await;
    assert_eq!(state.containers.len(), 2);

    // A version that never gets healthy, and one that exits.
    for (tag, knob) in [("bad", "three"), ("crash", "four")] {
        lab.ok(lab.compose(tag, knob)).await;
        let image = format!("10.99.0.1:5000/shop/shop-api:{tag}");
        lab.ok(Act::PullImage { image, pin: None }).await;
        let old = refs(&state.containers);
        lab.act(start(2, old.clone())).await.expect("started");
        let failure = lab.act(healthy(old.clone())).await.expect_err("not healthy");
        assert!(!failure.detail.is_empty());
        lab.ok(Act::RemoveBeside { service: "api".into(), keep: old }).await;
        assert_eq!(lab.see().await.containers.len(), 2);
    }

    // Drift, and back.
    lab.ok(lab.compose("v2", "two")).await;
    let containers = refs(&state.containers);
    lab.shell(&format!("docker pause {}; docker stop {}", containers[0].id, containers[1].id))
        .await;
    let drifted = lab.see().await;
    assert_eq!(drifted.containers[&containers[0].id].state, ContainerState::Paused);
    lab.ok(Act::Resume { containers: containers.clone() }).await;
    lab.ok(healthy(vec![])).await;
    let name = containers[0].name.clone();
    lab.shell(&format!("docker rename {} odd", containers[0].id)).await;
    lab.ok(Act::Rename { container: containers[0].clone(), name }).await;
    lab.ok(Act::SetRestart { containers: containers.clone(), policy: "on-failure:3".into() }).await;
    assert_eq!(lab.see().await.containers[&containers[0].id].restart, "on-failure:3");
    lab.ok(Act::SetMode { path: lab.site.compose_file(), mode: 0o600 }).await;
    // A paused container can be stopped.
    lab.shell(&format!("docker pause {}", containers[0].id)).await;
    lab.ok(Act::Stop { containers: containers[..1].to_vec(), grace_s: 2 }).await;

    // In place, from another file.
    let earlier = COMPOSE.replace("${TAG:-v1}", "v1").replace("MARK", "x/y");
    lab.ok(Act::Recreate { service: "api".into(), replicas: 1, compose: Some(earlier) }).await;
    let state = lab.see().await;
    assert_eq!(state.containers.len(), 1);
    assert!(state.containers.values().all(|it| it.image.ends_with(":v1") && !it.ours));
    assert_eq!(state.files.len(), 1, "the earlier file is gone again");
    lab.ok(Act::Recreate { service: "api".into(), replicas: 2, compose: None }).await;

    // Another version of the env file, and back. Compose's hashes follow, noted or not.
    let hashes = lab.see().await.deployed.expect("deployed").hashes;
    let notes = lab.shell(&format!("cat {directory}/store/hashes")).await;
    assert!(notes.contains(&hashes["api"]), "{notes}");
    assert_eq!(lab.see().await.deployed.expect("deployed").hashes, hashes);
    let first = state.env.expect("there").version;
    let other = Lab::new("worldtest", Some(secrets("another value")));
    let env = other.see().await.env.expect("there");
    assert_eq!(env.differing, ["DB_PASSWORD".to_owned()].into());
    other.ok(Act::WriteEnv { path: path.clone(), keys: secrets("").keys() }).await;
    let state = lab.see().await;
    assert_eq!(state.env_versions.len(), 2);
    assert_ne!(state.deployed.expect("deployed").hashes, hashes);
    assert_eq!(state.env.expect("there").differing, ["DB_PASSWORD".to_owned()].into());
    lab.ok(Act::RestoreEnv { path, version: first.clone() }).await;
    let state = lab.see().await;
    assert_eq!(state.deployed.expect("deployed").hashes, hashes);
    let env = state.env.expect("there");
    assert_eq!((env.version, env.differing.len()), (first, 0));

    // Failures say what and where.
    let missing = Act::PullImage { image: "10.99.0.1:5000/shop/nothing:v9".into(), pin: None };
    println!("{:#?}", lab.act(missing).await.expect_err("no such image"));
    lab.ok(lab.compose("v9", "x")).await;
    println!("{:#?}", lab.act(start(3, vec![])).await.expect_err("no such image"));

    // Away.
    lab.act(Act::RemoveVolume { name: "worldtest-lab_data".into() }).await.expect_err("in use");
    lab.ok(Act::RemoveBeside { service: "api".into(), keep: vec![] }).await;
    lab.ok(Act::RemoveNetwork { name: "worldtest-lab_net".into() }).await;
    lab.ok(Act::RemoveVolume { name: "worldtest-lab_data".into() }).await;
    lab.ok(Act::RemoveFile { path: lab.site.compose_file() }).await;
    let state = lab.see().await;
    assert!(state.files.is_empty() && state.networks.is_empty() && state.volumes.is_empty());
    lab.shell(&format!("rm -rf {directory}")).await;
}

fn release(number: u64, outcome: Outcome, finished: Option<&str>) -> Release {
    Release {
        format: RELEASE_FORMAT,
        number,
        environment: "lab".into(),
        previous_version: None,
        version: Some("it's v1".into()),
        started: "2026-01-01T00:00:00Z".into(),
        finished: finished.map(str::to_owned),
        by: "a@b".into(),
        commit: None,
        config_digest: String::new(),
        plan_digest: String::new(),
        desired: String::new(),
        hosts: vec![],
        images: BTreeMap::new(),
        env_versions: BTreeMap::new(),
        summary: Summary::default(),
        outcome,
        reverts_to: None,
        failure: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a lab host"]
async fn the_store_and_the_lock_work_on_a_host() {
    let lab = Lab::new("worldstore", None);
    lab.shell(&format!("rm -rf {}", lab.site.directory())).await;
    let store = HostStore::new(Arc::clone(&lab.world), [lab.host.clone()]);
    assert!(store.releases().await.expect("read").is_empty());
    let begin = Instant::now();
    let holder = Holder { who: "a@b".into(), what: "apply".into(), since: "now".into(), pid: 1 };
    let lock = store.lock(&holder).await.expect("free");
    println!("lock: {} ms", begin.elapsed().as_millis());
    let error =
        store.lock(&Holder { who: "c@d".into(), ..holder.clone() }).await.expect_err("held");
    assert!(
        matches!(&error, StateError::Locked { holder, .. } if holder.starts_with("a@b")),
        "{error}"
    );
    assert!(store.lock_status().await.expect("asked")[&lab.host.name].is_some());
    lock.open_journal(1).await.expect("open");
    lock.journal("{\"it's\": 1}").await.expect("sent");
    store.put(&release(1, Outcome::Running, None)).await.expect("put");
    store.put(&release(1, Outcome::Succeeded, Some("2026-01-01T00:01:00Z"))).await.expect("put");
    let text = "{\"a\": \"it's\"}".repeat(20_000);
    let digest = store.put_blob(&text).await.expect("kept");
    assert_eq!(store.get_blob(&digest).await.expect("there"), text);
    assert!(lock.is_held());
    lock.release().await.expect("held to the end");
    assert_eq!(store.journal(1).await.expect("read"), ["{\"it's\": 1}"]);
    assert_eq!(store.releases().await.expect("read").len(), 1);
    assert_eq!(store.release(1).await.expect("there").outcome, Outcome::Succeeded);
    let head = lab.see().await.head.expect("a release");
    assert_eq!((head.number, head.outcome), (1, Outcome::Succeeded));
    assert_eq!(store.lock_status().await.expect("asked")[&lab.host.name], None);
    drop(store.lock(&holder).await.expect("free"));
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    store.lock(&holder).await.expect("free again").release().await.expect("released");
    lab.shell(&format!("rm -rf {}", lab.site.directory())).await;
}
