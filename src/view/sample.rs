//! Plans, releases and worlds for the tests of this room, built by hand.

use serde_json::{Value, json};

use crate::model::*;

/// An empty plan for staging.
pub fn empty() -> Plan {
    Plan {
        format_version: PLAN_FORMAT.into(),
        project: "shop".into(),
        environment: "staging".into(),
        request: Request::default(),
        version: None,
        base_release: Some(3),
        desired_digest: sha256_hex("desired"),
        observed_digest: sha256_hex("observed"),
        summary: Summary::default(),
        changes: Vec::new(),
        blocked: Vec::new(),
        notes: Vec::new(),
        falls_back_to: None,
        steps: Vec::new(),
        infrastructure: None,
    }
}

/// A plan of these changes and acts, each act on the resource that it names; each step waits for
/// the one before it.
pub fn plan_of(changes: Vec<Change>, acts: Vec<(Address, Act)>) -> Plan {
    let mut plan = empty();
    for change in changes.iter().filter(|change| change.address.kind() != Kind::Release) {
        match change.action {
            Action::Create => plan.summary.add += 1,
            Action::Update => plan.summary.change += 1,
            Action::Delete => plan.summary.destroy += 1,
            Action::Replace => {
                plan.summary.add += 1;
                plan.summary.destroy += 1;
            }
        }
    }
    plan.changes = changes;
    plan.steps = acts
        .into_iter()
        .zip(1..)
        .map(|((address, act), id)| Step {
            effect: Effect { host: address.on_host().unwrap_or_default().into(), act },
            address,
            id,
            after: if id > 1 { vec![id - 1] } else { Vec::new() },
            undo: Vec::new(),
        })
        .collect();
    plan
}

/// A change with one cause and nothing else.
pub fn change(address: Address, action: Action, cause: Cause) -> Change {
    Change { address, action, causes: vec![cause], fields: Vec::new(), diff: None, rollout: None }
}

/// A changed attribute; `null` is none.
pub fn field(path: &str, before: Value, after: Value) -> FieldChange {
    let some = |value: Value| (!value.is_null()).then_some(value);
    FieldChange { path: path.into(), before: some(before), after: some(after), sensitive: false }
}

pub fn sensitive(path: &str) -> FieldChange {
    let hidden = Some(json!("(sensitive)"));
    FieldChange { path: path.into(), before: hidden.clone(), after: hidden, sensitive: true }
}

pub fn container(name: &str) -> ContainerRef {
    ContainerRef { id: sha256_hex(name), name: name.into() }
}

pub fn rollout(order: RolloutOrder, replicas: u32, starts: u32, stops: &[&str]) -> Rollout {
    let stops = stops.iter().map(|&name| name.into()).collect();
    Rollout {
        order,
        reason: None,
        image: "shop-api:v2".into(),
        replicas,
        starts,
        stops,
        batch: None,
        on_failure: OnFailure::Rollback,
    }
}

pub fn await_healthy(service: &str, replicas: u32) -> Act {
    Act::AwaitHealthy {
        service: service.into(),
        replicas,
        beside: Vec::new(),
        timeout_ms: 30_000,
        monitor_ms: 0,
        completes: false,
    }
}

/// The record of the plan that a release is.
pub fn release_change() -> Change {
    change(Address::release("staging"), Action::Create, Cause::Requested)
}

/// A new image for the api on one host: the example that the documentation shows.
pub fn new_image() -> Plan {
    let (file, api) = (Address::file("app-1", "compose.yml"), Address::service("app-1", "api"));
    let old = vec![container("shop-api-1")];
    let mut wait = await_healthy("api", 1);
    if let Act::AwaitHealthy { beside, .. } = &mut wait {
        *beside = old.clone();
    }
    let (before, after) = ("ghcr.io/acme/shop/api:v1", "ghcr.io/acme/shop/api:v2");
    let content = format!("services:\n  api:\n    image: {after}\n");
    let path = "/var/lib/stagecraft/shop/staging/compose.yml".to_owned();
    let write = |content: String| Act::WriteFile { path: path.clone(), mode: 0o640, content };
    let mut plan = plan_of(
        vec![
            Change {
                diff: Some(format!(
                    "--- compose.yml\n+++ compose.yml\n@@ -1,3 +1,3 @@\n services:\n   api:\n\
                     -    image: {before}\n+    image: {after}\n"
                )),
                ..change(file.clone(), Action::Update, Cause::Changed)
            },
            Change {
                fields: vec![field("image", json!(before), json!(after))],
                rollout: Some(rollout(RolloutOrder::StartFirst, 1, 1, &["shop-api-1"])),
                ..change(api.clone(), Action::Update, Cause::Changed)
            },
            release_change(),
        ],
        vec![
            (api.clone(), Act::PullImage { image: after.into(), pin: None }),
            (file, write(content.clone())),
            (
                api.clone(),
                Act::Start {
                    service: "api".into(),
                    replicas: 1,
                    beside: old.clone(),
                    compose: None,
                },
            ),
            (api.clone(), wait),
            (api, Act::Stop { containers: old.clone(), drain_ms: 0, grace_s: 10 }),
        ],
    );
    plan.version = Some("v2".into());
    plan.request.version = plan.version.clone();
    let on_app_1 = |act: Act| Effect { host: "app-1".into(), act };
    plan.steps[1].undo = vec![on_app_1(write(content.replace(":v2", ":v1")))];
    plan.steps[2].undo =
        vec![on_app_1(Act::RemoveBeside { service: "api".into(), keep: old, spare: 0 })];
    plan
}

/// A release that went well.
pub fn release(number: u64) -> Release {
    Release {
        format: RELEASE_FORMAT,
        number,
        environment: "staging".into(),
        version: Some(format!("v{number}")),
        previous_version: None,
        started: "2026-03-01T09:15:00.250Z".into(),
        finished: Some("2026-03-01T09:15:42.250Z".into()),
        by: "ana@laptop".into(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        config_digest: "c".repeat(64),
        plan_digest: "p".repeat(64),
        desired: "d".repeat(64),
        hosts: vec!["app-1".into(), "db-1".into()],
        images: [(
            "ghcr.io/acme/shop/api:v2".to_owned(),
            ImagePin { id: format!("sha256:{}", "1".repeat(64)), digest: None },
        )]
        .into(),
        images_on: Default::default(),
        env_versions: [("app-1".to_owned(), "f".repeat(64))].into(),
        summary: Summary { add: 2, change: 1, destroy: 0 },
        outcome: Outcome::Succeeded,
        reverts_to: None,
        failure: None,
        commands: Default::default(),
        previous_good: None,
        fell_back: None,
    }
}
