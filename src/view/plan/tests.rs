//! What a plan's text looks like.

use serde_json::json;

use super::super::sample::*;
use super::super::style::Paint;
use super::*;
use crate::model::{
    Blocked, BlockedEntry, BlockedReason, Effect, Note, Rollout, RolloutOrder, Summary,
};

fn plain(plan: &Plan) -> String {
    text(plan, &Options::default())
}

#[test]
fn a_new_image_rolls_one_service() {
    insta::assert_snapshot!(plain(&new_image()), @r#"
    Stagecraft will perform these actions in staging, to deploy v2:

      ~ file.app-1/compose.yml
          # its configuration changed
          @@ -1,3 +1,3 @@
           services:
             api:
          -    image: ghcr.io/acme/shop/api:v1
          +    image: ghcr.io/acme/shop/api:v2

      ~ service.app-1/api
          # its configuration changed
          ~ image  "ghcr.io/acme/shop/api:v1" -> "ghcr.io/acme/shop/api:v2"
          start-first: 1 new beside 1 old, wait for health (30s), then stop shop-api-1
          if it fails: the new containers are removed, the old keep serving

      + release.staging  recorded as release 4

    Plan: 0 to add, 2 to change, 0 to destroy.
    "#);
}

#[test]
fn verbose_shows_the_steps_and_their_undoing() {
    let options = Options { verbose: true, ..Options::default() };
    insta::assert_snapshot!(text(&new_image(), &options), @r#"
    Stagecraft will perform these actions in staging, to deploy v2:

      ~ file.app-1/compose.yml
          # its configuration changed
          @@ -1,3 +1,3 @@
           services:
             api:
          -    image: ghcr.io/acme/shop/api:v1
          +    image: ghcr.io/acme/shop/api:v2

      ~ service.app-1/api
          # its configuration changed
          ~ image  "ghcr.io/acme/shop/api:v1" -> "ghcr.io/acme/shop/api:v2"
          start-first: 1 new beside 1 old, wait for health (30s), then stop shop-api-1
          if it fails: the new containers are removed, the old keep serving

      + release.staging  recorded as release 4

    Steps:
      1  app-1  pull ghcr.io/acme/shop/api:v2
      2  app-1  write /var/lib/stagecraft/shop/staging/compose.yml (0640, 3 lines)  (after 1)
                undone by: write /var/lib/stagecraft/shop/staging/compose.yml (0640, 3 lines)
      3  app-1  start 1 of api beside shop-api-1  (after 2)
                undone by: remove the containers of api but shop-api-1
      4  app-1  wait until 1 of api beside shop-api-1 is healthy (at most 30s)  (after 3)
      5  app-1  stop and remove shop-api-1 (10s grace)  (after 4)

    Plan: 0 to add, 2 to change, 0 to destroy.
    "#);
}

#[test]
fn a_first_apply_takes_a_line_for_each_thing() {
    let (host, net) = (Address::host("app-1"), Address::network("app-1", "net"));
    let (env, api) = (Address::env("app-1"), Address::service("app-1", "api"));
    let missing = |address: &Address| change(address.clone(), Action::Create, Cause::Missing);
    let mut service = missing(&api);
    service.fields = vec![
        field("image", json!(null), json!("shop/api:v1")),
        field("environment.PORT", json!(null), json!("4000")),
    ];
    service.rollout = Some(rollout(RolloutOrder::StartFirst, 2, 2, &[]));
    let mut plan = plan_of(
        vec![missing(&host), missing(&net), missing(&env), service, release_change()],
        vec![
            (host, Act::PrepareHost { directory: "/var/lib/stagecraft/shop/staging".into() }),
            (
                net,
                Act::CreateNetwork {
                    name: "shop-staging_net".into(),
                    key: "net".into(),
                    definition: Default::default(),
                },
            ),
            (
                env,
                Act::WriteEnv {
                    path: "/etc/shop/env".into(),
                    keys: ["A".to_owned(), "B".to_owned()].into(),
                },
            ),
            (
                api.clone(),
                Act::Start { service: "api".into(), replicas: 2, beside: vec![], compose: None },
            ),
            (api, await_healthy("api", 2)),
        ],
    );
    plan.base_release = None;
    insta::assert_snapshot!(plain(&plan), @"
    Stagecraft will perform these actions in staging:

      + host.app-1         /var/lib/stagecraft/shop/staging
      + network.app-1/net  shop-staging_net
      + env.app-1          2 keys
      + service.app-1/api  shop-api:v2, 2 replicas
      + release.staging    recorded as release 1

    Plan: 4 to add, 0 to change, 0 to destroy.
    ");
    let verbose = text(&plan, &Options { verbose: true, ..Options::default() });
    assert!(verbose.contains("+ environment.PORT  \"4000\""), "{verbose}");
    assert!(verbose.contains("start 2, wait for health (30s)"), "{verbose}");
}

#[test]
fn each_cause_is_explained() {
    let api = Address::service("app-1", "api");
    let env = Address::env("app-1");
    let drift = Cause::Drifted { what: "shop-api-1 is paused".into() };
    let mut rolled = change(api.clone(), Action::Update, drift.clone());
    rolled.causes.extend([
        Cause::Upstream { address: env.clone(), what: vec!["DB_URL".into(), "KEY".into()] },
        Cause::Upstream { address: Address::volume("app-1", "data"), what: vec![] },
        Cause::Unfinished { what: "2 containers too many".into() },
        Cause::Changed,
    ]);
    rolled.fields = vec![
        field("deploy.replicas", json!(2), json!(1)),
        field("environment.OLD", json!("1"), json!(null)),
        field("labels", json!(null), json!({"a": "b"})),
        sensitive("environment.KEY"),
    ];
    rolled.rollout = Some(Rollout {
        image: "shop-api:v2".into(),
        reason: Some("it publishes host port 80".into()),
        ..rollout(RolloutOrder::StopFirst, 1, 1, &["shop-api-1", "shop-api-2"])
    });
    let worker = Address::service("app-1", "worker");
    let old = Address::service("app-1", "old");
    let mut woken = change(worker.clone(), Action::Update, drift);
    woken.rollout = Some(rollout(RolloutOrder::StartFirst, 1, 0, &[]));
    let network = Address::network("app-1", "net");
    let mut plan = plan_of(
        vec![
            change(network, Action::Replace, Cause::Replaced { field: "driver".into() }),
            rolled,
            woken,
            change(old.clone(), Action::Delete, Cause::Orphaned),
            change(Address::volume("app-1", "old"), Action::Delete, Cause::Orphaned),
        ],
        vec![
            (api.clone(), await_healthy("api", 1)),
            (worker.clone(), Act::Resume { containers: vec![container("shop-worker-1")] }),
            (worker, await_healthy("worker", 1)),
            (
                old,
                Act::Stop { containers: vec![container("shop-old-1")], drain_ms: 0, grace_s: 10 },
            ),
        ],
    );
    plan.steps[0].undo = vec![Effect {
        host: "app-1".into(),
        act: Act::Recreate { service: "api".into(), replicas: 2, compose: None },
    }];
    insta::assert_snapshot!(plain(&plan), @r#"
    Stagecraft will perform these actions in staging:

    -/+ network.app-1/net
          # `driver` can't be changed in place

      ~ service.app-1/api
          # changed outside Stagecraft: shop-api-1 is paused
          # it uses DB_URL, KEY of env.app-1, which change
          # it uses volume.app-1/data, which changes
          # left by an apply that did not end: 2 containers too many
          # its configuration changed
          ~ deploy.replicas  2 -> 1
          - environment.OLD  "1"
          + labels           {"a":"b"}
          ~ environment.KEY  (sensitive)
          in place, because it publishes host port 80: stop shop-api-1, shop-api-2, start 1 new, wait for health (30s)
          if it fails: the containers from before are made again

      ~ service.app-1/worker
          # changed outside Stagecraft: shop-api-1 is paused
          resume shop-worker-1, wait for health (30s)

      - service.app-1/old  no longer in the configuration; stop shop-old-1
      - volume.app-1/old   no longer in the configuration; the data in it is lost

    Plan: 1 to add, 2 to change, 3 to destroy.
    "#);
}

#[test]
fn what_is_blocked_stands_apart_and_is_not_planned() {
    let mut plan = new_image();
    plan.changes.drain(..2);
    plan.summary = Summary::default();
    plan.blocked = vec![
        BlockedEntry {
            address: Address::host("app-2"),
            blocked: Blocked {
                reason: BlockedReason::Unreachable,
                detail: "ssh: connect to host app-2 port 22: No route to host\n".into(),
            },
        },
        BlockedEntry {
            address: Address::service("db-1", "postgres"),
            blocked: Blocked { reason: BlockedReason::EngineDown, detail: String::new() },
        },
    ];
    plan.notes = vec![
        Note::VolumeKept { address: Address::volume("db-1", "old") },
        Note::Stranger { host: "app-1".into(), name: "shop-web-1".into() },
        Note::CurrentSecrets { host: "app-1".into() },
    ];
    insta::assert_snapshot!(plain(&plan), @"
    Stagecraft will perform these actions in staging, to deploy v2:

      + release.staging  recorded as release 4

    Blocked; nothing is planned for these:

      ! host.app-2: app-2 can't be reached
          | ssh: connect to host app-2 port 22: No route to host
          hint: see that it is on and that `ssh app-2` connects, then plan again

      ! service.db-1/postgres: the Docker engine on db-1 does not answer
          hint: see `systemctl status docker` on db-1

    Note: volume.db-1/old is no longer used and stays, with its data; `--prune-volumes` destroys it.
    Note: shop-web-1 on app-1 has one of our names but not our mark; it is left alone.
    Note: the env values that the release ran with are gone from app-1; those in force stay.

    Plan: 0 to add, 0 to change, 0 to destroy. 1 host and 1 resource are blocked.
    ");
    plan.changes.clear();
    assert!(plain(&plan).ends_with(
        "\nNo changes in what could be seen of staging. 1 host and 1 resource are blocked.\n"
    ));
}

#[test]
fn an_empty_plan_says_so() {
    let mut plan = empty();
    assert_eq!(plain(&plan), "No changes. staging is as configured (release 3).\n");
    plan.base_release = None;
    assert_eq!(plain(&plan), "No changes. staging is as configured.\n");
    plan.request.rollback_to = Some(2);
    assert_eq!(plain(&plan), "No changes. staging is as release 2 left it.\n");
}

#[test]
fn a_rollback_names_its_release() {
    let mut plan = new_image();
    plan.request.rollback_to = Some(2);
    let text = plain(&plan);
    assert!(text.starts_with(
        "Stagecraft will perform these actions to take staging back to release 2 (v2):\n"
    ));
    assert!(text.contains("# release 2 had it otherwise\n"), "{text}");
    assert!(text.contains("recorded as release 4\n"), "{text}");
}

#[test]
fn scaling_starts_or_stops_only_the_difference() {
    let api = Address::service("app-1", "api");
    let gone = Act::Remove { containers: vec![container("idle-1")] };
    let restart = Act::SetRestart { containers: vec![container("api-2")], policy: "always".into() };
    let acts = [gone, restart, await_healthy("api", 1)].map(|act| (api.clone(), act));
    let say = |rollout: Rollout, acts: &[(Address, Act)]| {
        let plan = plan_of(vec![], acts.to_vec());
        let steps: Vec<&Step> = plan.steps.iter().collect();
        words::rollout(&rollout, &steps)
    };
    let first = RolloutOrder::StartFirst;
    let in_place = RolloutOrder::StopFirst;
    let health = &acts[2..];
    let said = [
        say(rollout(first, 2, 2, &[]), health),
        say(rollout(first, 3, 1, &[]), health),
        say(rollout(first, 1, 0, &["api-2", "api-3"]), &[]),
        say(rollout(first, 2, 1, &["api-1"]), health),
        say(rollout(in_place, 1, 1, &["api-1"]), health),
        say(rollout(in_place, 2, 1, &[]), health),
        say(rollout(first, 1, 1, &["idle-1"]), &acts),
        say(rollout(first, 2, 2, &["idle-1", "api-1"]), &acts),
        say(rollout(first, 1, 0, &["idle-1"]), &acts[..1]),
        say(rollout(first, 1, 0, &[]), &acts[1..2]),
    ];
    insta::assert_snapshot!(said.join("\n"), @"
    start 2, wait for health (30s)
    start 1 more (3 in all), wait for health (30s)
    stop api-2, api-3; 1 stays
    start-first: 1 new beside 1 old, wait for health (30s), then stop api-1; 1 stays
    in place (stop-first): stop api-1, start 1 new, wait for health (30s)
    start 1 more (2 in all), wait for health (30s)
    set restart policy always on api-2, remove idle-1, start 1 new, wait for health (30s)
    set restart policy always on api-2, remove idle-1, start-first: 2 new beside 1 old, wait for health (30s), then stop api-1
    remove idle-1
    set restart policy always on api-2
    ");
}

#[test]
fn long_values_and_diffs_are_cut_in_text() {
    let mut plan = new_image();
    let diff: Vec<String> = (0..100).map(|n| format!("+line {n}")).collect();
    plan.changes[0].diff = Some(format!("-{}\n{}", "z".repeat(5000), diff.join("\n")));
    plan.changes[1].fields = vec![field("x", json!("y".repeat(5000)), json!("n"))];
    let short = plain(&plan);
    assert!(short.contains("      … 21 more lines; --verbose shows them\n"), "{short}");
    assert!(short.contains("y … (5002 characters) -> \"n\"\n"), "{short}");
    assert!(short.lines().all(|line| line.chars().count() < 250));
    let verbose = text(&plan, &Options { verbose: true, ..Options::default() });
    assert!(verbose.contains("+line 99") && !verbose.contains("more line"), "{verbose}");
}

#[test]
fn nothing_from_outside_drives_the_terminal() {
    let evil = "a\u{1b}[2J\u{9b}\u{7}\rb";
    let api = Address::service(evil, evil);
    let mut plan = plan_of(
        vec![
            Change {
                fields: vec![field(evil, json!(evil), json!([evil]))],
                diff: Some(format!("+{evil}\n")),
                rollout: Some(Rollout {
                    image: "shop-api:v2".into(),
                    reason: Some(evil.into()),
                    ..rollout(RolloutOrder::StopFirst, 1, 1, &[evil])
                }),
                ..change(api.clone(), Action::Update, Cause::Drifted { what: evil.into() })
            },
            change(api.clone(), Action::Delete, Cause::Unfinished { what: evil.into() }),
        ],
        vec![(api.clone(), Act::PullImage { image: evil.into(), pin: None })],
    );
    plan.environment = evil.into();
    plan.version = Some(evil.into());
    let blocked = Blocked { reason: BlockedReason::HalfAnswer, detail: evil.into() };
    plan.blocked = vec![BlockedEntry { address: api, blocked }];
    plan.notes = vec![Note::Stranger { host: evil.into(), name: evil.into() }];
    let text = text(&plan, &Options { verbose: true, ..Options::default() });
    assert_eq!(text.chars().find(|c| c.is_control() && *c != '\n'), None, "{text:?}");
}

#[test]
fn a_sensitive_value_is_never_shown() {
    let mut fields: Vec<FieldChange> = vec![
        field("a", json!("hunter2"), json!("hunter3")),
        field("b", json!(null), json!("hunter4")),
        field("c", json!("hunter5"), json!(null)),
    ];
    fields.iter_mut().for_each(|field| field.sensitive = true);
    let api = Address::service("app-1", "api");
    let changed = Change { fields, ..change(api, Action::Update, Cause::Changed) };
    let plan = plan_of(vec![changed], vec![]);
    let text = text(&plan, &Options { verbose: true, ..Options::default() });
    assert_eq!(text.matches("(sensitive)").count(), 3, "{text}");
    assert!(!text.contains("hunter"), "{text}");
    let comment = super::super::markdown::plan(&plan);
    assert!(comment.contains("(sensitive)") && !comment.contains("hunter"), "{comment}");
}

#[test]
fn colours_change_no_word() {
    let options = Options { paint: Paint::COLOR, verbose: true };
    let colored = text(&new_image(), &options);
    assert!(colored.contains("\u{1b}[32m+\u{1b}[0m release.staging"), "{colored:?}");
    assert!(colored.contains("\u{1b}[31m-    image:"), "{colored:?}");
    let plain: Vec<String> = text::block(&colored).collect();
    let expected = text(&new_image(), &Options { verbose: true, ..Options::default() });
    assert_eq!(plain.join("\n") + "\n", expected);
}
