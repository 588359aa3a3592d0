//! The simulated world must not lie: the same script in it and on real hosts has the same plans, step by
//! step, and the same releases.

use serde_json::{Value, json};

use crate::edge::Edge;
use crate::harness::{Ran, copy, edit, run};
use crate::shop::Plan;

/// The edge in a simulated world, beside the one on hosts.
struct Twins {
    real: Edge,
    folder: tempfile::TempDir,
}

impl Twins {
    fn new() -> Option<Self> {
        let real = Edge::applied("production", 2)?;
        let folder = copy("fixtures/edge");
        let settings =
            "  production:\n    world: simulated\n    api: { replicas: 2 }\n    hosts:\n";
        edit(&folder.path().join("stagecraft.yml"), "  production:\n    hosts:\n", settings);
        let twins = Self { real, folder };
        twins.simulated(&["apply", "--yes"]).exits(0);
        Some(twins)
    }

    fn simulated(&self, arguments: &[&str]) -> Ran {
        let mut command = self.real.lab.stagecraft(self.folder.path());
        run(command.args(arguments).args(["--env", "production"]), "")
    }

    /// Replaces text in both configurations.
    fn edit(&self, name: &str, from: &str, to: &str) {
        self.real.edit(name, from, to);
        edit(&self.folder.path().join(name), from, to);
    }

    /// Plans with these arguments in both worlds: the plans must be the same; then applies.
    #[track_caller]
    fn step(&self, what: &str, verb: &[&str], exits: i32) {
        let dry = [verb, &["--dry-run", "--format", "json"]].concat();
        let real = essence(&Plan::of(&self.real.stagecraft(&dry)));
        let simulated = essence(&Plan::of(&self.simulated(&dry)));
        assert_eq!(real, simulated, "{what}");
        let apply = [verb, &["--yes"]].concat();
        self.real.stagecraft(&apply).exits(exits);
        self.simulated(&apply).exits(exits);
        let again = ["plan", "--format", "json"];
        let real = essence(&Plan::of(&self.real.stagecraft(&again)));
        assert_eq!(real, essence(&Plan::of(&self.simulated(&again))), "after {what}");
    }

    /// Somebody does the same in both worlds to a container.
    fn meddle(&self, host: &str, container: &str, script: &str, change: impl Fn(&mut Value)) {
        let console = if host == "app-1" { "h1" } else { "h2" };
        self.real.lab.console(console, &format!("docker {script} {container}")).ok();
        self.world(|world| {
            let containers = &mut world["hosts"][host]["state"]["containers"];
            let all = containers.as_object_mut().unwrap();
            let found = all.values_mut().find(|found| found["name"] == container).unwrap();
            change(found);
            all.retain(|_, container| !container.is_null());
        });
    }

    fn world(&self, change: impl FnOnce(&mut Value)) {
        let path = self.folder.path().join(".stagecraft/state/production/world.json");
        let mut world = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut world);
        std::fs::write(&path, serde_json::to_vec(&world).unwrap()).unwrap();
    }
}

/// What a plan comes to, without what is another in each world: ids, addresses, digests.
fn essence(plan: &Plan) -> Value {
    let pick = |value: &Value, keys: &[&str]| -> Value {
        keys.iter().map(|key| ((*key).to_owned(), value[*key].clone())).collect()
    };
    let changes = plan.0["changes"].as_array().unwrap().iter();
    let changes: Vec<Value> =
        changes.map(|it| pick(it, &["address", "action", "causes", "rollout"])).collect();
    let steps = plan.0["steps"].as_array().unwrap().iter();
    let steps: Vec<Value> = steps
        .map(|step| {
            let undo = step["undo"].as_array().into_iter().flatten();
            let undo: Vec<&Value> = undo.map(|effect| &effect["act"]).collect();
            json!([pick(step, &["id", "address", "after"]), step["effect"]["act"], undo])
        })
        .collect();
    json!({ "changes": changes, "steps": steps, "notes": plan.0["notes"] })
}

#[test]
fn the_same_script_has_the_same_plans_in_both_worlds() {
    let Some(twins) = Twins::new() else { return };
    twins.step("a new version", &["deploy", "v2"], 0);
    twins.edit("stagecraft.yml", "replicas: 2 }", "replicas: 3 }");
    twins.step("more replicas", &["apply"], 0);
    twins.edit(
        "stagecraft.yml",
        "api: { role: app }",
        "api: { role: app, rollout: { batch: 2, canary: 1 }, release_command: [migrate, \"0\"] }",
    );
    twins.step("a canary", &["deploy", "v3"], 1);
    twins.step("the rest of it", &["apply"], 0);
    let image = "10.99.0.1:5000/shop/shop-api:bad";
    twins.world(|world| world["faults"]["unhealthy_images"] = json!([image]));
    twins.step("a version that is no good", &["deploy", "bad"], 1);
    twins.step("going back", &["rollback", "--to", "2"], 0);

    let first = |host: &str| {
        let list = "docker ps --filter name=-api- --format '{{.Names}}' | sort";
        let all = twins.real.lab.console(if host == "app-1" { "h1" } else { "h2" }, list).ok();
        all.lines().next().unwrap().to_owned()
    };
    twins.meddle("app-1", &first("app-1"), "pause", |found| found["state"] = "paused".into());
    twins.meddle("app-2", &first("app-2"), "rm -f", |found| *found = Value::Null);
    twins.meddle("app-2", &first("app-2"), "update --restart=no", |found| {
        found["restart"] = "no".into();
    });
    twins.step("what somebody did", &["apply"], 0);
    twins.edit("stagecraft.yml", "        - { name: app-1, address: 10.99.0.11 }\n", "");
    twins.step("a host less", &["apply"], 0);
}
