//! Every verb as a user runs it, in the simulated world: exit codes, output, what is recorded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod changes;
mod dangers;
mod project;
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use project::Project;

/// The shop, in place.
fn applied() -> Project {
    let shop = Project::of("shop");
    shop.ok(&["apply", "--yes"]);
    shop
}

impl Project {
    /// Changes the simulated world behind Stagecraft's back.
    fn releases(&self) -> Vec<Value> {
        let output = self.run(&["releases", "list", "--format", "json"]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        list.as_array().or(list["releases"].as_array()).unwrap().clone()
    }

    /// Every file below the folder with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false => found.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found
    }
}

#[test]
fn from_nothing_to_an_empty_plan() {
    let shop = Project::of("shop");
    let plan = shop.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.contains("Plan: 17 to add, 0 to change, 0 to destroy."), "{plan}");
    shop.ok(&["plan"]);
    let applied = shop.ok(&["apply", "--yes"]);
    assert!(applied.contains("release 1 (17 added, 0 changed, 0 destroyed)"), "{applied}");
    let again = shop.ok(&["plan", "--detailed-exitcode"]);
    assert!(again.contains("No changes."), "{again}");
    shop.ok(&["apply", "--yes"]);
    assert_eq!(shop.releases().len(), 1, "an apply of nothing records nothing");
}

#[test]
fn nothing_is_applied_without_a_yes() {
    let shop = Project::of("shop");
    let refused = shop.exits(1, &["apply"]);
    assert!(refused.contains("--yes"), "{refused}");
    shop.ok(&["apply", "--dry-run"]);
    assert!(shop.releases().is_empty());
}

#[test]
fn a_usage_error_exits_64() {
    let shop = Project::of("shop");
    shop.exits(64, &["plam"]);
    shop.exits(64, &["plan", "--fromat", "json"]);
    shop.exits(64, &["apply", "plan.json", "--version", "v2"]);
    shop.ok(&["--help"]);
    shop.ok(&["--version"]);
}

#[test]
fn a_version_rolls_the_api_and_stays() {
    let shop = applied();
    let plan = shop.run(&["plan", "--version", "v2", "--format", "json"]).stdout;
    let plan: Value = serde_json::from_slice(&plan).unwrap();
    let changed: Vec<&str> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["address"].as_str().unwrap())
        .collect();
    assert_eq!(
        changed,
        [
            "file.app-1/compose.yml",
            "file.app-2/compose.yml",
            "service.app-1/api",
            "service.app-2/api",
            "release.sandbox",
        ]
    );
    shop.ok(&["deploy", "v2", "--yes"]);
    shop.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_version_that_never_becomes_healthy_is_undone_and_forgotten() {
    let shop = applied();
    let bad = "10.99.0.1:5000/shop/shop-api:bad";
    shop.world(|world| world["faults"]["unhealthy_images"] = serde_json::json!([bad]));
    let failed = shop.exits(1, &["deploy", "bad", "--yes"]);
    assert!(failed.contains("is unhealthy"), "{failed}");
    assert_eq!(shop.releases()[1]["outcome"], "failed");
    // The containers never changed, and the files went back.
    assert!(failed.contains("Everything is back as release 1 left it"), "{failed}");
    shop.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_rollback_goes_back_and_its_rollback_forth() {
    let shop = applied();
    let first = shop.ok(&["compose", "render"]);
    shop.ok(&["deploy", "v2", "--yes"]);
    shop.ok(&["rollback", "--dry-run"]);
    assert_eq!(shop.releases().len(), 2);
    shop.ok(&["rollback", "--yes"]);
    let releases = shop.releases();
    assert_eq!(releases[2]["reverts_to"], 1);
    assert_eq!(shop.ok(&["compose", "render"]), first);
    shop.ok(&["plan", "--detailed-exitcode"]);
    shop.ok(&["rollback", "--yes"]);
    assert_eq!(shop.releases()[3]["reverts_to"], 2);
    let shown = shop.ok(&["releases", "show", "4"]);
    assert!(shown.contains("v2") && shown.contains("release 2"), "{shown}");
    shop.exits(1, &["rollback", "--to", "9", "--yes"]);
}

#[test]
fn a_saved_plan_is_applied_once_and_only_while_it_is_true() {
    let shop = applied();
    let save = |version| shop.ok(&["plan", "--version", version, "--out", "saved.json"]);

    save("v2");
    shop.ok(&["apply", "saved.json", "--yes"]);
    let twice = shop.exits(1, &["apply", "saved.json", "--yes"]);
    assert!(twice.contains("release 2 was made since"), "{twice}");

    save("v3");
    shop.edit("docker-compose.yml", "stop_grace_period: 10s", "stop_grace_period: 20s");
    let edited = shop.exits(1, &["apply", "saved.json", "--yes"]);
    assert!(edited.contains("the configuration has changed"), "{edited}");

    save("v3");
    shop.world(|world| {
        let hosts = world["hosts"]["app-1"]["state"]["containers"].as_object_mut().unwrap();
        hosts.values_mut().for_each(|container| container["state"] = "paused".into());
    });
    let moved = shop.exits(1, &["apply", "saved.json", "--yes"]);
    assert!(moved.contains("on app-1") && moved.contains("has changed"), "{moved}");

    fs::write(shop.path("saved.json"), r#"{"format_version": "9.0"}"#).unwrap();
    let foreign = shop.exits(1, &["apply", "saved.json", "--yes"]);
    assert!(foreign.contains("plan format 9.0"), "{foreign}");
}

#[test]
fn a_host_that_does_not_answer_is_blocked() {
    let shop = applied();
    shop.world(|world| world["faults"]["unreachable"] = serde_json::json!(["app-2"]));
    let plan = shop.exits(1, &["plan", "--version", "v2", "--detailed-exitcode"]);
    assert!(plan.contains("app-2 can't be reached"), "{plan}");
    assert!(!plan.contains("service.app-2/"), "{plan}");
    let refused = shop.exits(1, &["apply", "--version", "v2", "--yes"]);
    assert!(refused.contains("nothing was changed"), "{refused}");
    assert_eq!(shop.releases().len(), 1);
}

#[test]
fn a_host_that_is_gone_for_good_can_be_forgotten() {
    let shop = applied();
    shop.world(|world| world["faults"]["unreachable"] = serde_json::json!(["app-2"]));
    shop.edit("stagecraft.yml", "      app: [app-1, app-2]\n", "      app: [app-1]\n");
    let blocked = shop.exits(1, &["apply", "--yes"]);
    assert!(blocked.contains("--forget HOST"), "{blocked}");
    shop.ok(&["apply", "--forget", "app-2", "--yes"]);
    shop.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_dropped_service_goes_and_its_volume_only_when_asked() {
    let shop = applied();
    let text = fs::read_to_string(shop.path("docker-compose.yml")).unwrap();
    let at = |needle: &str| text.find(needle).unwrap();
    let without =
        format!("{}{}", &text[..at("  postgres:\n    image")], &text[at("networks:\n  front:")..])
            .replace("    depends_on:\n      postgres:\n        condition: service_healthy\n", "")
            .replace("volumes:\n  postgres_data:\n", "");
    fs::write(shop.path("docker-compose.yml"), without).unwrap();
    shop.edit("stagecraft.yml", "  postgres: { role: db }\n", "");
    let plan = shop.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.contains("- service.app-1/postgres") && plan.contains("postgres_data"), "{plan}");
    assert!(!plan.contains("- volume."), "{plan}");
    shop.ok(&["apply", "--yes"]);
    shop.ok(&["plan", "--detailed-exitcode"]);
    let pruned = shop.ok(&["apply", "--prune-volumes", "--yes"]);
    assert!(pruned.contains("- volume.app-1/postgres_data"), "{pruned}");
}

#[test]
fn the_order_of_keys_in_the_files_does_not_matter() {
    let shop = Project::of("shop");
    let plan = |shop: &Project| shop.run(&["plan", "--format", "json"]).stdout;
    let before = plan(&shop);
    // The top-level keys of the Compose file, and the services in it, the other way round.
    let text = fs::read_to_string(shop.path("docker-compose.yml")).unwrap();
    let (head, rest) = text.split_once("services:\n").unwrap();
    let (services, tail) = rest.split_once("networks:\n  front:").unwrap();
    let mut blocks: Vec<String> = services
        .split("\n\n")
        .map(|block| format!("{}\n\n", block.trim_end()))
        .filter(|block| !block.trim().is_empty())
        .collect();
    blocks.reverse();
    let turned = format!("networks:\n  front:{tail}\nservices:\n{}{head}", blocks.concat());
    fs::write(shop.path("docker-compose.yml"), turned).unwrap();
    shop.edit(
        "stagecraft.yml",
        "  worker: { role: app }\n  postgres: { role: db }",
        "  postgres: { role: db }\n  worker: { role: app }",
    );
    let after = plan(&shop);
    assert!(before == after, "{}", String::from_utf8_lossy(&after));
}

#[test]
fn a_secret_is_found_nowhere_but_in_its_own_file() {
    const PLANTED: &str = "the-planted-sentence-4711";
    let shop = Project::of("shop");
    shop.edit("example.env", "change-me", PLANTED);
    let mut told = shop.ok(&["plan", "--verbose"]);
    told += &shop.ok(&["plan", "--format", "json", "--out", "saved.json"]);
    told += &shop.ok(&["apply", "saved.json", "--yes", "--verbose"]);
    told += &shop.ok(&["plan", "--format", "markdown", "--version", "v2"]);
    told += &shop.ok(&["releases", "show", "1", "--format", "json"]);
    told += &shop.ok(&["releases", "show", "1", "--journal"]);
    told += &shop.ok(&["compose", "render"]);
    told += &shop.ok(&["status", "--format", "json"]);
    let spread = |shop: &Project| -> Vec<PathBuf> {
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(PLANTED);
        let files = shop.files().into_iter().filter(|(_, bytes)| holds(bytes));
        files.map(|(path, _)| path).filter(|path| !path.ends_with("example.env")).collect()
    };
    assert!(!told.contains(PLANTED));
    assert_eq!(spread(&shop), Vec::<PathBuf>::new());
    // Leaked on purpose, so that the search is known to see.
    shop.edit("docker-compose.yml", "DB_PORT: \"5432\"", &format!("DB_PORT: {PLANTED}"));
    assert!(shop.ok(&["apply", "--yes"]).contains(PLANTED));
    assert!(spread(&shop).len() > 1);
}

#[test]
fn validate_names_every_mistake_at_once() {
    let shop = Project::of("shop");
    let valid = shop.ok(&["validate"]);
    assert!(valid.contains("is valid"), "{valid}");
    shop.edit(
        "stagecraft.yml",
        "worker: { role: app }",
        "worker: { role: ap }\n  wroker: { role: app }",
    );
    let found = shop.exits(1, &["validate"]);
    for said in ["`ap`", "`wroker`", "did you mean", "stagecraft.yml:"] {
        assert!(found.contains(said), "no {said} in:\n{found}");
    }
}

impl Project {
    /// The images that run, by host and service, without their registry.
    fn images(&self) -> Vec<String> {
        let world: Value = serde_json::from_slice(
            &fs::read(self.path(".stagecraft/state/sandbox/world.json")).unwrap(),
        )
        .unwrap();
        let mut found = Vec::new();
        for (host, state) in world["hosts"].as_object().unwrap() {
            for container in state["state"]["containers"].as_object().unwrap().values() {
                let image = container["image"].as_str().unwrap().rsplit('/').next().unwrap();
                found.push(format!("{host} {image}"));
            }
        }
        found.sort();
        found
    }
}

#[test]
fn a_canary_pauses_until_the_next_apply() {
    let shop = applied();
    shop.edit("stagecraft.yml", "order: start-first,", "order: start-first, canary: 1,");
    let plan = shop.ok(&["plan", "--version", "v2"]);
    assert!(plan.contains("with a pause for confirmation after 1"), "{plan}");
    let paused = shop.exits(1, &["deploy", "v2", "--yes"]);
    assert!(paused.contains("waits for a confirmation"), "{paused}");
    assert!(paused.contains("release 2 is recorded as paused"), "{paused}");
    let of = |version: &str| {
        shop.images().iter().filter(|image| image.contains(&format!("shop-api:{version}"))).count()
    };
    assert_eq!((of("v1"), of("v2")), (3, 1));
    shop.ok(&["apply", "--yes"]);
    assert_eq!((of("v1"), of("v2")), (0, 4));
    assert_eq!(shop.releases().last().unwrap()["version"], "v2");
    shop.ok(&["plan", "--detailed-exitcode"]);
}

#[test]
fn a_failure_takes_back_what_was_rolled_already_unless_told_otherwise() {
    for (policy, back) in [("rollback", true), ("pause", false)] {
        let shop = applied();
        let before = shop.images();
        shop.edit(
            "stagecraft.yml",
            "    env_file: /etc/shop/env\n    secrets",
            &format!(
                "    env_file: /etc/shop/env\n    rollout: {{ on_failure: {policy} }}\n    secrets"
            ),
        );
        // The gateway comes last: by then the api runs its new version everywhere.
        let bad = "10.99.0.1:5000/shop/shop-gateway:v9";
        shop.world(|world| world["faults"]["unhealthy_images"] = serde_json::json!([bad]));
        shop.edit("docker-compose.yml", "GATEWAY_TAG:-v1", "GATEWAY_TAG:-v9");
        let said = shop.exits(1, &["deploy", "v2", "--yes"]);
        assert_eq!(said.contains("Everything is back as release 1 left it"), back, "{said}");
        assert_eq!(shop.images() == before, back, "{:?}", shop.images());
        let release = shop.releases().pop().unwrap();
        assert_eq!(release["outcome"], "failed");
        assert_eq!(release["fell_back"]["release"], if back { 1.into() } else { Value::Null });
        // What is wanted is still wanted, and what is paused goes on.
        let plan = shop.exits(2, &["plan", "--detailed-exitcode"]);
        assert!(plan.contains("shop-gateway:v9"), "{plan}");
        assert!(!plan.contains("service.app-1/api"), "{plan}");
    }
}

#[test]
fn a_release_command_runs_once_and_its_failure_leaves_the_old_alone() {
    let shop = applied();
    let before = shop.images();
    shop.edit(
        "stagecraft.yml",
        "api: { role: app,",
        "api: { role: app, release_command: [migrate],",
    );
    let plan = shop.ok(&["plan", "--version", "v2"]);
    assert!(plan.contains("+ command.app-1/api") && plan.contains("run `migrate` once"), "{plan}");
    let bad = "10.99.0.1:5000/shop/shop-api:v3";
    shop.world(|world| world["faults"]["crashing_images"] = serde_json::json!([bad]));
    let failed = shop.exits(1, &["deploy", "v3", "--yes"]);
    assert!(failed.contains("command.app-1/api failed"), "{failed}");
    assert_eq!(shop.images(), before);
    let done = shop.ok(&["deploy", "v2", "--yes"]);
    assert_eq!(done.matches("command run").count(), 1, "{done}");
    assert!(!shop.ok(&["apply", "--yes"]).contains("command run"));
    let back = shop.ok(&["rollback", "--yes"]);
    assert!(back.contains("`migrate`, which has run for api since, can't be undone"), "{back}");
    assert!(!back.contains("command run"), "{back}");
}

#[test]
fn docker_rollout_is_held_to_its_digest() {
    let shop = applied();
    shop.edit("stagecraft.yml", "order: start-first,", "driver: docker-rollout,");
    let unnamed = shop.exits(1, &["plan"]);
    assert!(unnamed.contains("nothing says which"), "{unnamed}");
    fs::write(shop.path("roll"), "#!/bin/sh\n").unwrap();
    shop.edit("stagecraft.yml", "project:", "docker_rollout: { file: roll }\nproject:");
    let unknown = shop.exits(1, &["plan"]);
    assert!(unknown.contains("none of the releases of docker-rollout"), "{unknown}");
    let digest = unknown.split("SHA-256 is ").nth(1).unwrap().split_whitespace().next().unwrap();
    shop.edit("stagecraft.yml", "file: roll }", &format!("file: roll, sha256: {digest} }}"));
    let planned = shop.ok(&["apply", "--version", "v2", "--yes"]);
    assert!(planned.contains("+ file.app-1/docker-rollout"), "{planned}");
    assert!(planned.contains("docker-rollout: 2 new beside 2 old"), "{planned}");
    fs::write(shop.path("roll"), "#!/bin/sh\nexit 0\n").unwrap();
    let moved = shop.exits(1, &["plan"]);
    assert!(moved.contains("is not the script that `sha256` pins"), "{moved}");
}

#[test]
fn the_lock_says_who_holds_it() {
    let shop = applied();
    assert!(shop.ok(&["lock", "status"]).contains("free"));
    let lock = fs::File::open(shop.path(".stagecraft/state/sandbox/lock")).unwrap();
    lock.lock().unwrap();
    let refused = shop.exits(1, &["deploy", "v2", "--yes"]);
    assert!(refused.contains("is locked by"), "{refused}");
    shop.exits(1, &["lock", "release"]);
}

#[test]
fn an_environment_must_be_named_where_there_are_several() {
    let shop = Project::of("shop");
    let output = Command::new(env!("CARGO_BIN_EXE_stagecraft"))
        .arg("plan")
        .current_dir(shop.folder.path())
        .env_remove("STAGECRAFT_ENV")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("sandbox, staging"), "{said}");
    let unknown = shop.exits(1, &["plan", "--env", "sandbx"]);
    assert!(unknown.contains("did you mean `sandbox`?"), "{unknown}");
}

#[test]
fn status_tells_what_runs() {
    let shop = applied();
    let status = shop.ok(&["status"]);
    assert!(status.contains("api") && status.contains("2/2"), "{status}");
    shop.world(|world| {
        world["hosts"]["app-2"]["state"]["containers"] = serde_json::json!({});
    });
    shop.exits(1, &["status"]);
}

#[test]
fn completions_are_printed_for_a_shell() {
    assert!(Project::of("shop").ok(&["completions", "bash"]).contains("stagecraft"));
}

/// The lines of a document that a reader would type, from blocks of a kind.
fn commands(document: &str, fence: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let open = format!("```{fence}\n");
    let blocks = text.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_readme_run_in_their_order() {
    let shop = Project::of("shop");
    let lines = commands("README.md", "console");
    assert!(!lines.is_empty());
    for line in lines {
        let line = line.strip_prefix("$ stagecraft ").unwrap_or_else(|| panic!("{line}"));
        shop.ok(&line.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn the_recorded_plan_is_what_the_program_prints() {
    let lines = commands("README.md", "text");
    let (command, recorded) = lines.split_first().unwrap();
    let command = command.strip_prefix("$ stagecraft ").unwrap();
    let printed = applied().ok(&command.split(' ').collect::<Vec<_>>());
    assert_eq!(printed.trim_end(), recorded.join("\n").trim_end());
}

#[test]
fn the_reference_is_what_the_program_prints() {
    let shop = Project::of("shop");
    let mut text = "# The commands\n\nWhat `stagecraft --help` and `stagecraft COMMAND --help` \
                    print; a test keeps this page true.\n"
        .to_owned();
    let mut pages = vec![Vec::<String>::new()];
    while let Some(page) = pages.pop() {
        let mut arguments: Vec<&str> = page.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = shop.ok(&arguments);
        let help: String = help.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        let title = ["stagecraft".to_owned()].into_iter().chain(page.clone());
        let title = title.collect::<Vec<_>>().join(" ");
        text += &format!("\n## {title}\n\n```text\n{}\n```\n", help.trim_end());
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        let listed = listed.lines().take_while(|line| !line.trim().is_empty());
        let verbs = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let below = verbs.filter_map(|line| line.split_whitespace().next());
        let mut below: Vec<Vec<String>> =
            below.map(|verb| page.iter().cloned().chain([verb.to_owned()]).collect()).collect();
        below.reverse();
        pages.extend(below);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "docs/cli.md is stale; run the tests with UPDATE=1");
}
