//! The world and the store through a shell on this machine, with a `docker` that answers from
//! files: scripts run for real, in a folder of their own.

#![allow(clippy::panic)] // A test's helpers fail by panicking too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stagecraft::model::*;
use stagecraft::state::{Holder, HostStore, StateError};
use stagecraft::world::HostsWorld;
use stagecraft::world::secrets::Secrets;
use stagecraft::world::transport::{Limits, Reach};

const PLANTED: &str = "planted-secret-it's \"quoted\" $(id) \\ end";

/// Answers with the files that a test put beside it, and logs what it was asked.
const DOCKER: &str = r#"#!/bin/sh
here=$(dirname "$0")
printf '%s\n' "$*" >>"$here/log"
answer() { [ ! -f "$here/$1" ] || cat "$here/$1"; [ ! -f "$here/$1.fails" ] || { cat "$here/$1.fails" >&2; exit 1; }; }
case "$1 $2" in
  'ps '*) answer ps ;;
  'inspect '*) answer inspect; [ ! -f "$here/next" ] || mv "$here/next" "$here/inspect" ;;
  'network ls') answer networks ;;
  'volume ls') answer volumes ;;
  'image ls') answer images ;;
  'image inspect'|'network inspect'|'volume inspect') answer "$1-inspect"; [ -f "$here/$1-inspect" ] ;;
  *) answer "$1" ;;
esac
"#;

struct Here {
    folder: tempfile::TempDir,
    world: Arc<HostsWorld>,
    host: Host,
}

impl Here {
    fn new(secrets: Option<&[(&str, &str)]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let programs = folder.path().join("bin");
        fs::create_dir(&programs).expect("made");
        let here = Self {
            world: Arc::new(world(folder.path(), secrets)),
            folder,
            host: Host {
                address: "localhost".into(),
                transport: Transport::Local,
                ..Host::named("here")
            },
        };
        here.program("docker", DOCKER);
        fs::create_dir(here.path("tmp")).expect("made");
        let temporary = here.text("tmp");
        let made = format!("#!/bin/sh\nTMPDIR='{temporary}' exec /usr/bin/mktemp -d -t x.XXXXXX\n");
        here.program("mktemp", &made);
        here
    }
    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }
    fn text(&self, relative: &str) -> String {
        self.path(relative).to_str().expect("UTF-8").to_owned()
    }
    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    }
    fn answer(&self, name: &str, text: &str) {
        fs::write(self.path("bin").join(name), text).expect("written");
    }
    fn asked(&self) -> String {
        fs::read_to_string(self.path("bin/log")).unwrap_or_default()
    }
    async fn act(&self, act: Act) -> Result<(), Failure> {
        let hosts = [(self.host.name.clone(), self.host.clone())].into();
        self.world.perform(&hosts, &Effect { host: self.host.name.clone(), act }).await.map(|_| ())
    }
    async fn see(&self) -> HostState {
        match self.world.probe(&self.host).await {
            Sight::Seen(state) => *state,
            Sight::Blocked(blocked) => panic!("{blocked:?}"),
        }
    }
    async fn blocked(&self) -> Blocked {
        match self.world.probe(&self.host).await {
            Sight::Seen(state) => panic!("{state:?}"),
            Sight::Blocked(blocked) => blocked,
        }
    }
    async fn prepare(&self) {
        self.act(Act::PrepareHost { directory: self.text("site") }).await.expect("prepared");
    }
}

fn world(folder: &Path, secrets: Option<&[(&str, &str)]>) -> HostsWorld {
    let site = Site {
        project: "shop".into(),
        environment: "it's".into(),
        env_path: Some(folder.join("secret/.env").to_str().expect("UTF-8").to_owned()),
    };
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let secrets = secrets.map(|pairs| Secrets::new(pairs.iter().map(own).collect()));
    HostsWorld::new(&site, secrets)
        .with_directory(folder.join("site").to_str().expect("UTF-8"))
        .with_reach(Reach::default().with_programs(folder.join("bin")))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

fn container(id: &str) -> ContainerRef {
    ContainerRef { id: id.into(), name: format!("name-{id}") }
}

#[tokio::test]
async fn files_arrive_whole_with_their_mode_and_nothing_beside_them() {
    let here = Here::new(None);
    here.prepare().await;
    here.prepare().await;
    assert_eq!((mode(&here.path("site")), mode(&here.path("site/env"))), (0o755, 0o700));
    let hostile =
        "it's $(touch owned) `id` \\ \"x\"\nEOF\n}\nexit\n\ttab\r\n  no newline at the end é";
    for (name, content) in
        [("a file's name", hostile), ("empty", ""), ("deep/er/file", "x\n"), ("-n", "--\n")]
    {
        let path = here.text(&format!("site/{name}"));
        let act = Act::WriteFile { path: path.clone(), mode: 0o640, content: content.into() };
        here.act(act.clone()).await.expect("written");
        here.act(act).await.expect("written again");
        assert_eq!(fs::read_to_string(&path).expect("there"), content);
        assert_eq!(mode(Path::new(&path)), 0o640);
        assert_eq!(here.see().await.files[name].content, content);
    }
    let beside = walk(&here.path("site"));
    assert!(beside.iter().all(|it| !it.ends_with(".stagecraft-new")), "{beside:?}");

    let path = here.text("site/empty");
    here.act(Act::SetMode { path: path.clone(), mode: 0o600 }).await.expect("set");
    assert_eq!(mode(Path::new(&path)), 0o600);
    here.act(Act::RemoveFile { path: path.clone() }).await.expect("removed");
    here.act(Act::RemoveFile { path }).await.expect("removed again");

    let act = Act::WriteFile { path: here.text("site/deep"), mode: 0o640, content: "x".into() };
    let failure = here.act(act).await.expect_err("a directory");
    assert!(
        failure.what.contains("is a directory") && failure.what.contains("here"),
        "{failure:?}"
    );
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        match entry.path().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path().display().to_string()),
        }
    }
    found
}

#[tokio::test]
async fn the_env_file_is_written_compared_and_restored_without_a_value_leaving_it() {
    let here = Here::new(Some(&[("TOKEN", PLANTED), ("B", "two\nlines"), ("C", "")]));
    // Every program that a script could start notes its arguments and its environment.
    let notes = here.text("notes");
    for name in ["cat", "chmod", "mv", "sync", "wc", "mkdir", "rm", "dd", "tr", "od", "awk", "stat"]
        .into_iter()
        .chain(["sha256sum", "find", "ls", "id", "printf"])
    {
        here.program(
            name,
            &format!(
                "#!/bin/sh\nIFS=\n{{ echo \"$0 $*\"; PATH=/usr/bin:/bin /usr/bin/env; }} \
                 >>'{notes}'\nPATH=/usr/bin:/bin exec {name} \"$@\"\n"
            ),
        );
    }
    here.prepare().await;
    let path = here.text("secret/.env");
    let keys: std::collections::BTreeSet<String> = ["TOKEN", "B", "C"].map(String::from).into();
    let write = Act::WriteEnv { path: path.clone(), keys: keys.clone() };
    here.act(write.clone()).await.expect("written");
    let env = here.see().await.env.expect("there");
    assert_eq!((mode(Path::new(&path)), env.mode), (0o600, 0o600));
    assert_eq!((&env.keys, env.differing.len()), (&keys, 0));
    let state = here.see().await;
    assert_eq!(state.env_versions, [env.version.clone()].into());
    assert!(state.files.is_empty(), "the env file's versions are not among the files");

    // Another value, a missing and an additional key, and one that is there twice.
    let text = fs::read_to_string(&path).expect("there");
    let changed = text.replace("planted", "changed").replace("C=''", "export D='1'\nB='x'");
    fs::write(&path, changed).expect("written");
    let other = here.see().await.env.expect("there");
    assert_ne!(other.version, env.version);
    assert_eq!(other.differing, ["B", "C", "D", "TOKEN"].map(String::from).into());
    let line = text.lines().find(|line| line.starts_with("TOKEN")).expect("there");
    fs::write(&path, format!("# a remark\n{line}\n\nB=\"two\\nlines\"\nC=''\n")).expect("written");
    assert!(here.see().await.env.expect("there").differing.is_empty(), "the lines are the same");

    let restore = |version: &str| Act::RestoreEnv { path: path.clone(), version: version.into() };
    here.act(restore(&env.version)).await.expect("restored");
    assert_eq!(fs::read_to_string(&path).expect("there"), text);
    let failure = here.act(restore("0123456789abcdef")).await.expect_err("not kept");
    assert!(failure.what.contains("no longer keeps"), "{failure}");
    here.act(restore("../../etc/passwd")).await.expect_err("not a version");
    let more = Act::WriteEnv { path: path.clone(), keys: ["NOPE".to_owned()].into() };
    assert!(here.act(more).await.expect_err("unknown").what.contains("NOPE"));

    let notes = fs::read_to_string(&notes).expect("noted");
    assert!(notes.contains("chmod 0600"), "the notes do see arguments");
    assert!(!notes.contains("planted-secret"), "no value is in an argument or an environment");
    here.world
        .run(
            &here.host,
            &format!("/bin/cat '{path}' | while read l; do chmod 0 \"$l\"; done 2>/dev/null"),
            Limits::default(),
        )
        .await
        .expect("ran");
    let notes = fs::read_to_string(here.path("notes")).expect("noted");
    assert!(notes.contains("planted-secret"), "a leak on purpose is seen");
}

#[tokio::test]
async fn a_hand_written_env_file_yields_its_keys_alone() {
    let here = Here::new(None);
    fs::create_dir_all(here.path("secret")).expect("made");
    let text = "# COMMENT=1\n\n  export A = 1\nB='it\nNOT_A_KEY=abc\nend'\nC=\"a\\\"\nNOR_THIS=1\n\"\n\
                D: yaml\nE='\\\\'\nF=x # y\nnot a key\nG=last";
    fs::write(here.path("secret/.env"), text).expect("written");
    let env = here.see().await.env.expect("there");
    let keys: Vec<&str> = env.keys.iter().map(String::as_str).collect();
    assert_eq!(keys, ["A", "B", "C", "D", "E", "F", "G"]);
    assert!(env.differing.is_empty() && env.version.is_empty(), "nothing was asked, no salt yet");
}

#[tokio::test]
async fn a_probe_reads_what_docker_lists() {
    let here = Here::new(None);
    here.prepare().await;
    here.answer("ps", "c0ffee\n");
    here.answer(
        "inspect",
        concat!(
            r#"{"id":"c0ffee","name":"/shop-it's-api-1","service":"api","number":"1","hash":"5da8","#,
            r#""mark":"shop/it's","state":"running","exit":0,"health":"healthy","image":"r:5000/api:v1","#,
            r#""image_id":"sha256:86","restart":{"Name":"on-failure","MaximumRetryCount":3},"#,
            r#""memory":67108864,"cpus":500000000,"networks":{"a":["api","c0ff"],"b":null},"#,
            r#""spaces":["container:cafe","","private"]}"#,
            "\n"
        ),
    );
    here.answer(
        "networks",
        "{\"name\":\"n\",\"key\":\"net\",\"mark\":\"shop/it's\",\"definition\":\"12\"}\n",
    );
    here.answer("volumes", "{\"name\":\"v\",\"key\":\"data\",\"mark\":\"\",\"definition\":\"\"}\n");
    here.answer(
        "images",
        concat!(
            r#"{"repository":"r:5000/api","tag":"v1","id":"sha256:86","digest":"sha256:ff"}"#,
            "\n",
            r#"{"repository":"<none>","tag":"<none>","id":"sha256:87","digest":"<none>"}"#,
            "\n",
            r#"{"repository":"built","tag":"latest","id":"sha256:88","digest":"<none>"}"#,
            "\n"
        ),
    );
    fs::write(here.path("site/binary"), b"\xff\xfe\0x").expect("written");
    fs::write(here.path("site/half.stagecraft-new"), "x").expect("written");
    fs::write(here.path("site/store/releases/00000009.json"), "{").expect("written");
    let head = json!({"number": 10, "outcome": "failed", "version": "v1", "more": true});
    fs::write(here.path("site/store/releases/00000010.json"), head.to_string()).expect("written");
    let state = here.see().await;
    let found = &state.containers["c0ffee"];
    assert_eq!((found.name.as_str(), found.restart.as_str()), ("shop-it's-api-1", "on-failure:3"));
    assert!(found.ours && found.networks.len() == 2 && found.number == 1);
    // The engine's own name for it, the beginning of its id, is left out.
    assert_eq!(found.networks["a"].iter().collect::<Vec<_>>(), ["api"]);
    assert!(found.networks["b"].is_empty());
    assert!(found.shares.iter().eq(["cafe"]));
    assert_eq!((found.health, found.memory), (Some(Health::Healthy), 64 << 20));
    assert!(state.networks["n"].ours && !state.volumes["v"].ours);
    let images: Vec<&str> = state.images.keys().map(String::as_str).collect();
    assert_eq!(images, ["built:latest", "r:5000/api:v1", "r:5000/api@sha256:ff"]);
    assert_eq!(state.files.keys().collect::<Vec<_>>(), ["binary"]);
    assert_eq!(state.head.expect("there").number, 10);
    let left: Vec<_> = fs::read_dir(here.path("tmp")).expect("readable").flatten().collect();
    assert!(left.is_empty(), "the probe leaves nothing behind: {left:?}");
}

#[tokio::test]
async fn each_reason_for_seeing_nothing_has_its_name() {
    let here = Here::new(None);
    let denied = "Got permission denied while trying to connect to the Docker daemon socket\n";
    let down = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n";
    for (said, reason) in
        [(denied, BlockedReason::PermissionDenied), (down, BlockedReason::EngineDown)]
    {
        here.answer("ps.fails", said);
        assert_eq!(here.blocked().await.reason, reason);
    }
    fs::remove_file(here.path("bin/ps.fails")).expect("removed");
    here.answer("networks", "{\"name\": \n");
    assert_eq!(here.blocked().await.reason, BlockedReason::HalfAnswer);
    fs::remove_file(here.path("bin/networks")).expect("removed");
    here.program("cat", "#!/bin/sh\nkill -9 $PPID\n");
    assert_eq!(here.blocked().await.reason, BlockedReason::HalfAnswer);
}

#[tokio::test]
async fn a_start_counts_what_is_there_and_never_scales_down() {
    let here = Here::new(None);
    here.answer("ps", "old1\nold2\nnew1\n");
    let start = |replicas, beside: &[&str]| Act::Start {
        compose: None,
        service: "api".into(),
        replicas,
        beside: beside.iter().map(|id| container(id)).collect(),
    };
    here.act(start(2, &["old1", "old2", "gone"])).await.expect("started");
    assert!(here.asked().contains("--no-recreate --scale api=4 api"), "{}", here.asked());
    here.act(start(1, &[])).await.expect("started");
    assert!(here.asked().contains("--scale api=3 api"), "{}", here.asked());

    let recreate =
        Act::Recreate { service: "api".into(), replicas: 1, compose: Some("it's: {}\n".into()) };
    here.prepare().await;
    here.act(recreate).await.expect("recreated");
    assert!(here.asked().contains("--force-recreate --scale api=1 api"), "{}", here.asked());
    assert!(here.see().await.files.is_empty(), "the earlier file is gone again");

    here.answer("ps", "old1\nnew1\n");
    here.act(Act::RemoveBeside { service: "api".into(), keep: vec![container("old1")], spare: 0 })
        .await
        .expect("removed");
    assert!(here.asked().ends_with("rm -f -v new1\n"), "{}", here.asked());
}

#[tokio::test]
async fn what_is_gone_already_is_no_failure_and_what_is_said_is_redacted() {
    let here = Here::new(Some(&[("TOKEN", "planted-secret")]));
    here.answer("rm.fails", "Error: No such container: a\nError: No such container: b\n");
    let remove = Act::Remove { containers: vec![container("a"), container("b")] };
    here.act(remove.clone()).await.expect("gone");
    here.answer(
        "rm.fails",
        "Error: No such container: a\nbad planted-secret: no space left on device\n",
    );
    let failure = here.act(remove).await.expect_err("one is left");
    let text = format!("{failure:?}");
    assert!(text.contains("(sensitive)") && !text.contains("planted"), "{text}");
    assert!(failure.what.contains("could not remove name-a, name-b on here"), "{failure}");
    assert!(failure.hint.is_some_and(|hint| hint.contains("space")));
    assert!(text.contains("$ docker rm -f a b"), "{text}");
}

#[tokio::test]
async fn networks_are_made_as_the_definition_says() {
    let here = Here::new(None);
    let definition = json!({
        "driver": "bridge", "driver_opts": {"a": "it's", "n": 1}, "internal": true,
        "enable_ipv6": true, "labels": {"x": "y z"},
        "ipam": {"driver": "default", "config": [{"subnet": "10.1.0.0/16", "gateway": "10.1.0.1",
            "aux_addresses": {"h": "10.1.0.5"}}]}
    });
    let act = Act::CreateNetwork {
        name: "shop_net".into(),
        key: "net".into(),
        definition: definition.as_object().cloned().expect("an object"),
    };
    here.act(act.clone()).await.expect("made");
    let asked = here.asked();
    for flag in [
        "--driver bridge --opt a=it's --opt n=1 --internal --ipv6 --ipam-driver default",
        "--subnet 10.1.0.0/16 --gateway 10.1.0.1 --aux-address h=10.1.0.5 --label x=y z",
        "--label com.docker.compose.project=shop-it's --label com.docker.compose.network=net",
        "--label stagecraft.environment=shop/it's --label stagecraft.definition=",
    ] {
        assert!(asked.contains(flag), "{flag}\n{asked}");
    }
    let digest = digest_of(&definition);
    here.answer("network-inspect", &format!("{{\"stagecraft.definition\":\"{digest}\"}}"));
    here.act(act.clone()).await.expect("there");
    here.answer("network-inspect", "{}");
    let failure = here.act(act).await.expect_err("another's");
    assert!(failure.what.contains("not made from this file"), "{failure}");
}

#[tokio::test]
async fn waiting_ends_with_the_first_sign_of_failure() {
    let here = Here::new(None);
    here.answer("ps", "a\nb\nold\n");
    here.answer("logs", "line one\nline two\n");
    let wait = |completes| Act::AwaitHealthy {
        service: "api".into(),
        replicas: 2,
        beside: vec![container("old")],
        timeout_ms: 1500,
        monitor_ms: 200,
        completes,
    };
    here.answer("inspect", "a running healthy 0 0 0 /api-1\nb running none 0 4 0 /api-2\n");
    here.act(wait(false)).await.expect("healthy");
    here.answer("inspect", "a running healthy 0 0 0 /api-1\nb running starting 0 0 0 /api-2\n");
    let late = here.act(wait(false)).await.expect_err("too late");
    assert!(late.what.contains("in time on here: 1 of 2 were"), "{late:?}");
    for (row, said) in [
        ("b exited none 7 0 0 /api-2", "api-2 exited with code 7"),
        ("b restarting none 1 1 0 /api-2", "is being restarted"),
        ("b running unhealthy 0 0 3 /api-2", "api-2 is unhealthy"),
        ("b exited none 0 0 0 /api-2", "api-2 exited with code 0"),
    ] {
        here.answer("inspect", "a running healthy 0 0 0 /api-1\nb running starting 0 0 0 /api-2\n");
        here.answer("next", &format!("a running healthy 0 0 0 /api-1\n{row}\n"));
        let failure = here.act(wait(false)).await.expect_err("failed");
        assert!(failure.what.contains(said), "{failure:?}");
        assert!(failure.detail.iter().any(|line| line.contains("line two")), "{failure:?}");
    }
    here.answer("inspect", "a exited none 0 0 0 /job-1\nb exited none 0 0 0 /job-2\n");
    here.act(wait(true)).await.expect("completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_is_held_by_one_and_gone_with_its_session() {
    let here = Here::new(None);
    let store = HostStore::new(Arc::clone(&here.world), [here.host.clone()]);
    assert_eq!(store.lock_status().await.expect("asked")["here"], None);
    let holder =
        Holder { who: "it's@me".into(), what: "apply".into(), since: "now".into(), pid: 7 };
    let lock = store.lock(&holder).await.expect("free");
    match store.lock(&holder).await {
        Err(StateError::Locked { place, holder }) => {
            assert_eq!(
                (place.as_str(), holder.as_str()),
                ("here", "it's@me (apply, process 7, since now)")
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(store.lock_status().await.expect("asked")["here"].is_some());
    lock.open_journal(3).await.expect("open");
    for line in ["{\"a\": \"it's \\\\ $HOME\"}", "  two  "] {
        lock.journal(line).await.expect("sent");
    }
    lock.release().await.expect("held to the end");
    let journal = store.journal(3).await.expect("read");
    assert_eq!(journal, ["{\"a\": \"it's \\\\ $HOME\"}", "  two  "]);
    assert!(!here.path("site/store/holder").exists());

    drop(store.lock(&holder).await.expect("free"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let lock = store.lock(&holder).await.expect("free again");
    // The far side dies: the next line says so.
    let beat = fs::read_to_string(here.path("site/store/holder")).expect("held");
    assert!(beat.contains("it's@me"));
    let script = format!(
        "for p in /proc/[0-9]*; do [ \"$(readlink $p/fd/9 2>/dev/null)\" != '{}' ] || kill -9 \
         ${{p#/proc/}}; done",
        here.text("site/store/lock")
    );
    here.world.run(&here.host, &script, Limits::default()).await.expect("ran");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = lock.journal("x").await.expect_err("lost");
    assert!(error.to_string().contains("lost its lock") && !lock.is_held(), "{error}");
    lock.release().await.expect_err("it was lost");
}

/// A release that has begun.
fn release(number: u64, desired: &str) -> Release {
    let record = serde_json::json!({
        "format": RELEASE_FORMAT, "number": number, "environment": "test", "by": "me@here",
        "started": "2026-01-01T00:00:00Z", "config_digest": "c", "plan_digest": "p",
        "desired": desired, "hosts": ["here"], "outcome": "running",
        "summary": { "add": 1, "change": 0, "destroy": 0 },
    });
    serde_json::from_value(record).expect("a release")
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_come_back_from_the_store_as_they_went() {
    let here = Here::new(None);
    let store = HostStore::new(Arc::clone(&here.world), [here.host.clone()]);
    let text = format!("{}it's no newline at the end", "\u{1f980}\n@x end\n".repeat(10_000));
    let digest = sha256_hex(&text);
    let begun = release(1, &digest);
    store.begin(&begun, &text).await.expect("kept");
    assert_eq!(store.release(1).await.expect("there"), begun);
    assert_eq!(store.get_blob(&digest).await.expect("there"), text);
    assert_eq!(mode(&here.path(&format!("site/store/blobs/{digest}"))), 0o600);
    assert!(store.get_blob("../../etc/passwd").await.is_err());
    fs::write(here.path(&format!("site/store/blobs/{digest}")), "other").expect("written");
    assert!(store.get_blob(&digest).await.is_err(), "a changed content is not passed on");
    assert!(matches!(store.release(2).await, Err(StateError::NoRelease(2))));
}

#[tokio::test]
async fn a_script_is_whole_or_nothing_and_bounded() {
    let here = Here::new(None);
    let output =
        here.world.run(&here.host, "cat; echo done", Limits::default()).await.expect("ran");
    assert_eq!(output.stdout, b"done\n", "a command cannot eat the script");
    let limits = Limits { time: Duration::from_secs(5), bytes: 1000 };
    let output = here.world.run(&here.host, "while :; do echo y; done", limits).await.expect("ran");
    assert!(output.truncated);
    let limits = Limits { time: Duration::from_millis(300), bytes: 1000 };
    let blocked = here.world.run(&here.host, "sleep 5", limits).await.expect_err("too slow");
    assert!(blocked.detail.contains("no answer"));
}

#[tokio::test]
async fn a_stream_ends_with_its_script_and_says_how() {
    let here = Here::new(None);
    let reach = here.world.reach();
    assert_eq!(reach.stream(&here.host, "exit 7").await.expect("ran"), 7);
    let mark = here.text("mark");
    let script = format!("trap 'touch {mark}; exit' TERM\nwhile :; do sleep 0.1; done");
    let left = tokio::time::timeout(Duration::from_millis(500), reach.stream(&here.host, &script));
    left.await.expect_err("it goes on until it is told to end");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(Path::new(&mark).exists(), "it was told to end");
}

#[tokio::test]
async fn what_an_application_says_is_masked_where_its_secrets_are() {
    let planted = ["plain-secret", PLANTED, "first-line\nsecond-line", "ab\\cd-ef", "sensitive"];
    let keys = ["A", "B", "C", "D", "E"];
    let pairs: Vec<(&str, &str)> = keys.into_iter().zip(planted).collect();
    let here = Here::new(Some(&pairs));
    here.prepare().await;
    let write =
        Act::WriteEnv { path: here.text("secret/.env"), keys: keys.map(String::from).into() };
    here.act(write).await.expect("written");
    fs::write(here.path("bin/log"), "").expect("emptied");
    here.answer("ps", "a\n");
    here.answer("inspect", "a exited none 1 0 0 /api-1\n");
    here.answer("logs", &format!("says {}\n", planted.join(" and ")));
    let wait = Act::AwaitHealthy {
        service: "api".into(),
        replicas: 1,
        beside: vec![],
        timeout_ms: 1000,
        monitor_ms: 0,
        completes: false,
    };
    here.answer("compose.fails", &format!("invalid value {PLANTED} here\n"));
    let start = Act::Start { service: "api".into(), replicas: 1, beside: vec![], compose: None };
    // Somebody who does not know the secrets.
    let stranger = world(here.folder.path(), None);
    for (act, rest) in [(wait, "(sensitive) and"), (start, "invalid value (sensitive) here")] {
        let effect = Effect { host: "here".into(), act };
        let hosts = [("here".to_owned(), here.host.clone())].into();
        let failure = stranger.perform(&hosts, &effect).await.expect_err("failed");
        let text = format!("{failure:?}\n{}", failure.detail.join("\n"));
        assert!(text.contains(rest), "{text}");
        for value in ["plain-secret", "planted-secret", "first-line", "second-line", "cd-ef"] {
            assert!(!text.contains(value), "{value}: {text}");
        }
    }
}

#[tokio::test]
async fn what_a_release_command_says_is_masked_before_it_is_cut() {
    let here = Here::new(Some(&[("TOKEN", "planted-secret")]));
    here.prepare().await;
    let write = Act::WriteEnv { path: here.text("secret/.env"), keys: ["TOKEN".to_owned()].into() };
    here.act(write).await.expect("written");
    here.answer("inspect.fails", "Error: No such container\n");
    here.answer("wait", "0\n");
    // The secret lies across the end of what is kept of a line.
    let line = format!("{}planted-secret{}", "x".repeat(392), "y".repeat(100));
    here.answer("logs", &format!("begins\n{line}\n"));
    let act = Act::Run { service: "api".into(), command: vec!["migrate".into()] };
    let hosts = [("here".to_owned(), here.host.clone())].into();
    // Somebody who does not know the secrets.
    let stranger = world(here.folder.path(), None);
    let effect = Effect { host: "here".into(), act };
    let said = stranger.perform(&hosts, &effect).await.expect("run");
    assert_eq!(said, ["begins".to_owned(), format!("{}(sensiti", "x".repeat(392))]);
}
