//! Infrastructure end to end: the program against a stand-in for DigitalOcean's API, whose every request and
//! answer is held to the vendor's description where that is at hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod described;
mod digitalocean;
mod domains;
mod judge;
mod places;
mod public;
mod tailnet;
mod tailnet_itself;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use digitalocean::{Fault, Server, TOKEN};
use judge::Judge;

const CONFIG: &str = "\
project: { name: shop }
cloud:
  provider: digitalocean
  digitalocean:
    region: fra1
    size: s-1vcpu-1gb
    image: debian-12-x64
    ssh_keys: [\"3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa\"]
    ssh_from: [198.51.100.0/24]
    dns: [shop.example]
    load_balancer: 1
    project: My shop
# No host answers at the addresses that machines have here.
bootstrap: { docker: none, unattended_upgrades: false }
services:
  web: { role: gateway }
environments:
  staging:
    domain: shop.example
    domains: ['*.api.shop.example']
    hosts:
      gateway: [app-1]
      db: [{ name: db-1, volumes: [{ name: data, size: 10 }], reserved_ip: true }]
";
const COMPOSE: &str = "services:\n  web:\n    image: web:1\n";

/// What there is when all is up.
const ALL: [&str; 12] = [
    "disk.db-1/data",
    "dns.*.api.shop.example/A",
    "dns.shop.example/A",
    "firewall.gateways",
    "firewall.hosts",
    "load_balancer.gateways",
    "machine.app-1",
    "machine.db-1",
    "project.staging",
    "reserved_ip.db-1",
    "vpc.fra1",
    "zone.shop.example",
];
/// What the zone says then.
const NAMES: [&str; 5] = [
    "A *.api 192.0.2.",
    "A @ 192.0.2.",
    "TXT _stagecraft stagecraft shop/staging",
    "TXT _stagecraft-zone stagecraft shop/staging",
    "TXT _stagecraft._any.api stagecraft shop/staging",
];

/// A project and the account that it works with.
struct Shop {
    folder: tempfile::TempDir,
    server: Server,
    /// The server lives as long as it does.
    _runtime: tokio::runtime::Runtime,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("stagecraft.yml"), CONFIG).unwrap();
        fs::write(folder.path().join("docker-compose.yml"), COMPOSE).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(Server::start());
        Self { folder, server, _runtime: runtime }
    }

    fn up() -> Self {
        let shop = Self::new();
        shop.ok(&["up", "--yes"]);
        shop
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.verb("infra", arguments)
    }

    fn verb(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stagecraft"));
        command
            .arg(verb)
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", self.path())
            .env("DIGITALOCEAN_API_URL", format!("http://{}", self.server.address))
            .env("DIGITALOCEAN_ACCESS_TOKEN", TOKEN)
            .env("TMPDIR", self.temporary());
        command
    }

    /// Where programs are. No machine here has an `sshd`, which is told at once.
    fn path(&self) -> String {
        let folder = self.folder.path().join("bin");
        if !folder.exists() {
            fs::create_dir(&folder).unwrap();
            let ssh = "#!/bin/sh\necho 'ssh: connect to host: Connection refused' >&2\nexit 255\n";
            fs::write(folder.join("ssh"), ssh).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(folder.join("ssh"), mode).unwrap();
        }
        format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
    }

    /// Where the program puts what it needs for a moment.
    fn temporary(&self) -> PathBuf {
        let folder = self.folder.path().join("tmp");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn exits(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}:\n{text}");
        text
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.exits(0, arguments)
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.folder.path().join("stagecraft.yml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no {from:?}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// What the environment has, by address: one line for each object.
    fn has(&self) -> Vec<String> {
        let output = self.run(&["show", "--format", "json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = found.as_object().unwrap().iter();
        found
            .flat_map(|(address, list)| vec![address.clone(); list.as_array().unwrap().len()])
            .collect()
    }

    fn is_settled(&self) {
        assert_eq!(self.has(), ALL);
        self.is_made_once();
    }

    /// There is nothing left to do, and one of everything.
    fn is_made_once(&self) {
        let plan = self.ok(&["up", "--dry-run"]);
        assert!(plan.contains("No changes"), "{plan}");
        let account = self.server.account();
        assert_eq!(
            (account.droplets.len(), account.volumes.len(), account.vpcs.len()),
            (2, 1, 1),
            "an object was made twice"
        );
        assert_eq!(account.firewalls.len(), 2);
        let more = (account.reserved_ips.len(), account.balancers.len(), account.projects.len());
        assert_eq!(more, (1, 1, 1));
        let said = account.said("shop.example");
        let as_it_should = said.iter().zip(NAMES).all(|(said, name)| said.starts_with(name));
        assert!(said.len() == NAMES.len() && as_it_should, "{said:#?}");
    }

    /// Holds all that was said so far to the description.
    fn is_in_order(&self) {
        let Some(judge) = Judge::digitalocean() else {
            println!("!!! SKIPPED the description of DigitalOcean's API is not at hand");
            return;
        };
        let account = self.server.account();
        assert!(!account.log.is_empty());
        let faults: BTreeSet<String> = account.log.iter().flat_map(|it| judge.faults(it)).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[test]
fn an_empty_account_fills_and_empties_again() {
    let shop = Shop::new();
    let strangers = {
        let mut account = shop.server.account();
        let droplet = json!({ "name": "app-1", "region": "fra1", "size": "s-1vcpu-1gb",
            "image": "debian-12-x64", "tags": ["stagecraft:shop:production"] });
        account.make_droplet(&droplet);
        account.make_droplet(&json!({ "name": "app-1", "region": "fra1", "size": "s-1vcpu-1gb",
            "image": "debian-12-x64" }));
        account.make_vpc(&json!({ "name": "stagecraft.shop.production.fra1",
            "region": "fra1", "description": "" }));
        account.make_volume(&json!({ "name": "theirs", "region": "fra1", "size_gigabytes": 5,
            "description": "stagecraft shop/production disk.db-1/data" }));
        account.make_zone("other.example");
        account.make_record("other.example", "A", "www", "192.0.2.1");
        account.make_record(
            "other.example",
            "TXT",
            "_stagecraft.www",
            "stagecraft shop/production",
        );
        (
            account.droplets.clone(),
            account.vpcs.clone(),
            account.volumes.clone(),
            account.zones.clone(),
        )
    };
    let planned = shop.ok(&["up", "--dry-run"]);
    for line in [
        "+ vpc.fra1",
        "+ firewall.gateways",
        "+ machine.app-1",
        "s-1vcpu-1gb, debian-12-x64, fra1",
        "+ disk.db-1/data",
        "on machine.db-1, fra1, 10 GiB",
        "+ zone.shop.example",
        "+ dns.shop.example/A",
        "+ reserved_ip.db-1",
        "+ load_balancer.gateways",
        "+ project.staging",
        "to load_balancer.gateways, address known after apply",
        "Plan: 12 to add, 0 to change, 0 to destroy.",
    ] {
        assert!(planned.contains(line), "no {line:?} in:\n{planned}");
    }
    let made = shop.ok(&["up", "--yes"]);
    assert!(made.contains("Apply complete") && made.contains("infrastructure change 1"), "{made}");
    assert_eq!(shop.has(), ALL);
    let again = shop.ok(&["up", "--yes"]);
    assert!(again.contains("No changes"), "{again}");
    let shown = shop.ok(&["show"]);
    assert!(shown.contains("203.0.113."), "{shown}");

    let refused = shop.exits(1, &["down", "--yes"]);
    assert!(refused.contains("--confirm staging"), "{refused}");
    assert_eq!(shop.has(), ALL);
    let gone = shop.ok(&["down", "--confirm", "staging"]);
    assert!(gone.contains("the data in it is lost"), "{gone}");
    assert_eq!(shop.has(), Vec::<String>::new());
    {
        let account = shop.server.account();
        let left = (
            account.droplets.clone(),
            account.vpcs.clone(),
            account.volumes.clone(),
            account.zones.clone(),
        );
        assert_eq!(left, strangers);
        assert!(account.firewalls.is_empty() && account.projects.is_empty());
        assert!(account.reserved_ips.is_empty() && account.balancers.is_empty());
        // The strangers' own tag stays.
        assert_eq!(Vec::from_iter(&account.tags), ["stagecraft:shop:production"]);
    }
    shop.is_in_order();
}

#[test]
fn what_holds_data_goes_only_when_it_may() {
    let shop = Shop::up();
    shop.edit("gateway: [app-1]", "gateway: [{ name: app-1, image: debian-13-x64 }]");
    let blocked = shop.exits(1, &["up", "--yes"]);
    assert!(blocked.contains("--allow-destroy machine.app-1"), "{blocked}");
    shop.edit("image: debian-13-x64 }", "image: debian-13-x64, protect: true }");
    let refused = shop.exits(1, &["up", "--yes", "--allow-destroy", "machine.app-1"]);
    assert!(refused.contains("protect: true"), "{refused}");
    let refused = shop.exits(1, &["down", "--confirm", "staging"]);
    assert!(refused.contains("protect: true"), "{refused}");
    shop.edit(", protect: true", "");
    let done = shop.ok(&["up", "--yes", "--allow-destroy", "machine.app-1"]);
    assert!(done.contains("-/+ machine.app-1"), "{done}");
    assert!(done.contains("\"debian-12-x64\" -> \"debian-13-x64\""), "{done}");
    assert!(done.contains("`image` can't be changed in place"), "{done}");
    assert!(done.contains("what is on it is lost"), "{done}");
    shop.is_settled();

    // A disk goes along with a machine that is made anew, and stays where it is told to.
    let before = shop.server.account().volumes.clone();
    shop.edit("{ name: db-1,", "{ name: db-1, image: debian-13-x64,");
    shop.ok(&["up", "--yes", "--allow-destroy", "machine.db-1"]);
    shop.is_settled();
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        shop.server.account().volumes.keys().collect::<Vec<_>>()
    );
    let kept = shop.ok(&["down", "--keep-volumes", "--confirm", "staging"]);
    assert!(kept.contains("disk.db-1/data stays, with its data"), "{kept}");
    // The first network of a region can't be deleted.
    assert!(kept.contains("vpc.fra1 stays: the cloud does not let go of it"), "{kept}");
    assert_eq!(shop.has(), ["disk.db-1/data", "vpc.fra1"]);
    let again = shop.ok(&["down", "--keep-volumes", "--confirm", "staging"]);
    assert!(again.contains("No changes"), "{again}");
    shop.ok(&["up", "--yes"]);
    shop.is_settled();
    shop.is_in_order();
}

fn every<K: Ord>(objects: &mut BTreeMap<K, Value>, edit: impl Fn(&mut Value)) {
    objects.values_mut().for_each(edit);
}

#[test]
fn what_a_person_changes_is_seen_and_put_right() {
    let shop = Shop::up();
    type Edit = fn(&mut digitalocean::Account);
    let edits: [(&str, Edit); 21] = [
        ("load_balancer.gateways is gone", |account| account.balancers.clear()),
        ("reserved_ip.db-1 is gone", |account| account.reserved_ips.clear()),
        ("project.staging is gone", |account| account.projects.clear()),
        ("leads_to", |account| {
            account.reserved_ips.values_mut().for_each(|holder| *holder = None);
        }),
        ("nodes", |account| every(&mut account.balancers, |it| it["size_unit"] = 3.into())),
        ("forwards", |account| {
            every(&mut account.balancers, |it| {
                it["forwarding_rules"][0]["target_port"] = 81.into()
            });
        }),
        ("name", |account| {
            let project = account.projects.values_mut().next().unwrap();
            project.told["name"] = "Renamed".into();
        }),
        ("resources", |account| {
            account.projects.values_mut().for_each(|project| drop(project.listed.pop()));
        }),
        ("power", |account| every(&mut account.droplets, |it| it["status"] = "off".into())),
        ("size", |account| {
            every(&mut account.droplets, |it| it["size_slug"] = "s-2vcpu-2gb".into());
        }),
        ("tags", |account| {
            account.tags.insert("stagecraft:shop:staging:old".into());
            let tags = json!(["stagecraft:shop:staging", "stagecraft:shop:staging:old", "theirs"]);
            every(&mut account.droplets, |it| it["tags"] = tags.clone());
        }),
        ("backups", |account| {
            every(&mut account.droplets, |it| it["features"] = json!(["backups"]));
        }),
        ("attached_to", |account| {
            account.volumes.values_mut().next().unwrap()["droplet_ids"] = json!([]);
        }),
        ("inbound", |account| {
            let rule = json!({ "protocol": "tcp", "ports": "5432",
                "sources": { "addresses": ["0.0.0.0/0"] } });
            let firewall = account.firewalls.values_mut().next().unwrap();
            firewall["inbound_rules"].as_array_mut().unwrap().push(rule);
        }),
        ("tags", |account| account.firewalls.values_mut().next().unwrap()["tags"] = json!([])),
        ("is gone", |account| {
            let id = account.firewalls.keys().next().unwrap().clone();
            account.firewalls.remove(&id);
        }),
        ("+ disk.db-1/data", |account| account.volumes.clear()),
        ("data", |account| {
            let records = account.zones.get_mut("shop.example").unwrap();
            let own = |it: &&mut Value| it["type"] == "A";
            records.values_mut().filter(own).for_each(|it| it["data"] = "192.0.2.9".into());
        }),
        ("ttl", |account| {
            let records = account.zones.get_mut("shop.example").unwrap();
            let own = |it: &&mut Value| it["type"] == "A";
            records.values_mut().filter(own).for_each(|it| it["ttl"] = 86400.into());
        }),
        ("data", |account| {
            account.zones.get_mut("shop.example").unwrap().retain(|_, it| it["type"] != "A");
        }),
        ("zone.shop.example is gone", |account| account.zones.clear()),
    ];
    for (said, edit) in edits {
        edit(&mut shop.server.account());
        let plan = shop.ok(&["up", "--dry-run"]);
        assert!(plan.contains(said), "no {said:?} in:\n{plan}");
        assert!(plan.contains("changed outside Stagecraft"), "{plan}");
        shop.ok(&["up", "--yes"]);
        shop.is_settled();
    }
    let theirs = json!("theirs");
    let account = shop.server.account();
    let kept = |it: &Value| it["tags"].as_array().unwrap().contains(&theirs);
    assert!(account.droplets.values().any(kept), "a tag of somebody else's is gone");
    drop(account);
    shop.is_in_order();
}

#[test]
fn a_disk_grows_where_it_is_and_never_shrinks_by_itself() {
    let shop = Shop::up();
    shop.edit("size: 10", "size: 20");
    let grown = shop.ok(&["up", "--yes"]);
    assert!(grown.contains("~ size_gib  10 -> 20"), "{grown}");
    shop.edit("size: 20", "size: 15");
    let refused = shop.exits(1, &["up", "--yes"]);
    assert!(refused.contains("--allow-destroy disk.db-1/data"), "{refused}");
    shop.is_in_order();
}

#[test]
fn a_size_that_a_machine_cannot_have_does_not_leave_it_off() {
    let shop = Shop::up();
    shop.edit("gateway: [app-1]", "gateway: [{ name: app-1, size: s-unknown }]");
    let failed = shop.exits(1, &["up", "--yes"]);
    assert!(failed.contains("invalid size"), "{failed}");
    assert!(shop.server.account().droplets.values().all(|it| it["status"] == "active"));
}

#[test]
fn disks_of_one_machine_are_attached_one_after_the_other() {
    let shop = Shop::new();
    shop.edit(
        "volumes: [{ name: data, size: 10 }]",
        "volumes: [{ name: data, size: 10 }, { name: log, size: 1 }]",
    );
    shop.ok(&["up", "--yes"]);
    let account = shop.server.account();
    assert!(account.volumes.values().all(|it| it["droplet_ids"].as_array().unwrap().len() == 1));
    drop(account);
    // Moved, the disk is taken off first, and the machine that had it runs again.
    shop.edit(
        "volumes: [{ name: data, size: 10 }, { name: log, size: 1 }]",
        "volumes: [{ name: data, size: 10 }]",
    );
    shop.ok(&["up", "--yes", "--allow-destroy", "disk.db-1/log"]);
    let account = shop.server.account();
    assert_eq!(account.volumes.len(), 1);
    assert!(account.droplets.values().all(|it| it["status"] == "active"));
    drop(account);
    shop.is_in_order();
}

#[test]
fn what_is_protected_stays_when_nothing_names_it_any_more() {
    let shop = Shop::new();
    shop.edit("  staging:\n", "  staging:\n    protect: true\n");
    shop.ok(&["up", "--yes"]);
    shop.edit(
        "      db: [{ name: db-1, volumes: [{ name: data, size: 10 }], reserved_ip: true }]\n",
        "",
    );
    let refused = shop.exits(1, &["up", "--yes", "--allow-destroy", "machine.db-1"]);
    assert!(refused.contains("protect: true"), "{refused}");
    let refused = shop.exits(1, &["down", "--confirm", "staging"]);
    assert!(refused.contains("protect: true"), "{refused}");
    assert_eq!(shop.server.account().droplets.len(), 2);
}

#[test]
fn what_a_cloud_cannot_have_is_refused_before_it_is_asked() {
    let long =
        "volumes: [{ name: a-name-that-goes-on-and-on-and-on-and-on-and-on-and-on, size: 10 }]";
    let mistakes = [
        ("gateway: [app-1]", "gateway: [app_1]", "`app_1` can't be a name at DigitalOcean"),
        ("    ssh_keys:", "    # ssh_keys:", "nothing says who may log in to new machines"),
        ("    region: fra1\n", "", "nothing says which region `app-1` is to have"),
        ("volumes: [{ name: data, size: 10 }]", long, "is too long for the name of a disk"),
        ("  staging:\n", "  staging:\n    world: simulated\n", "it is in no cloud"),
    ];
    for (from, to, said) in mistakes {
        let shop = Shop::new();
        shop.edit(from, to);
        let found = shop.exits(1, &["up", "--yes"]);
        assert!(found.contains(said) && found.contains("hint:"), "no {said:?} in:\n{found}");
        assert!(shop.server.account().log.iter().all(|it| it.method == "GET"), "{found}");
    }
}

#[test]
fn a_token_of_another_account_is_not_taken_by_mistake() {
    let shop = Shop::new();
    let folder = shop.folder.path().join("doctl");
    fs::create_dir(&folder).unwrap();
    let show = |text: &str| {
        fs::write(folder.join("config.yaml"), text).unwrap();
        let mut show = shop.command(&["show"]);
        show.env_remove("DIGITALOCEAN_ACCESS_TOKEN").env("XDG_CONFIG_HOME", shop.folder.path());
        let output = show.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let own = format!("access-token: {TOKEN}\ncontext: default\n");
    assert!(show(&own).contains("The cloud has nothing of this environment"));
    let other = show(&own.replace("default", "other"));
    assert!(other.contains("doctl works with its context `other`"), "{other}");
}

#[test]
fn a_machine_whose_key_nobody_knows_is_not_reached() {
    let shop = Shop::up();
    for droplet in shop.server.account().droplets.values_mut() {
        let tags = droplet["tags"].as_array_mut().unwrap();
        tags.retain(|tag| !tag.as_str().unwrap().starts_with("stagecraft-hostkey:"));
    }
    let mut plan = Command::new(env!("CARGO_BIN_EXE_stagecraft"));
    plan.arg("plan").current_dir(shop.folder.path());
    plan.env("DIGITALOCEAN_API_URL", format!("http://{}", shop.server.address));
    let output = plan.env("DIGITALOCEAN_ACCESS_TOKEN", TOKEN).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the cloud does not say by which key app-1 is known"), "{said}");
}

/// How many requests an `infra up` makes from nothing, and which of them make an object.
fn requests_of_an_up() -> (usize, Vec<usize>) {
    let shop = Shop::up();
    let account = shop.server.account();
    let making = account.log.iter().enumerate().filter(|(_, it)| digitalocean::makes(it));
    (account.calls, making.map(|(at, _)| at + 1).collect())
}

/// Does the same to many things, some at a time: most of it is waiting.
fn side_by_side<T: Send>(things: Vec<T>, work: impl Fn(T) + Sync) {
    let things = Mutex::new(things);
    let next = || things.lock().unwrap_or_else(PoisonError::into_inner).pop();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(thing) = next() {
                    work(thing);
                }
            });
        }
    });
}

#[test]
fn nothing_is_made_twice_whatever_goes_wrong() {
    let (all, making) = requests_of_an_up();
    let faults = [Fault::Limit, Fault::Error, Fault::Drop];
    let cases = faults.into_iter().flat_map(|fault| (1..=all).map(move |at| (at, fault)));
    let late = making.into_iter().map(|at| (at, Fault::Late));
    side_by_side(cases.chain(late).collect(), |(at, fault)| {
        let shop = Shop::new();
        shop.server.account().faults.insert(at, fault);
        let first = shop.run(&["up", "--yes"]);
        let said = String::from_utf8_lossy(&first.stderr).into_owned();
        assert!(!said.contains(TOKEN), "{said}");
        shop.ok(&["up", "--yes"]);
        shop.is_made_once();
    });
}

#[test]
fn a_killed_up_is_finished_by_the_next() {
    let (all, _) = requests_of_an_up();
    side_by_side((1..=all).collect(), |at| {
        let shop = Shop::new();
        let mut up = shop.command(&["up", "--yes"]);
        // No request is answered before it is known whom to kill.
        let mut account = shop.server.account();
        let mut process = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        account.kills = Some((at, process.id()));
        drop(account);
        assert_eq!(process.wait().unwrap().code(), None, "killed at request {at}");
        shop.server.account().kills = None;
        shop.ok(&["up", "--yes"]);
        shop.is_made_once();
    });
}

/// Every place where a text is found: what was printed, and all files.
fn places(folder: &Path, printed: &str, text: &str) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut files = Vec::new();
    walk(folder, &mut files);
    let holds = |path: &PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).contains(text);
    let mut found: Vec<String> =
        files.into_iter().filter(holds).map(|path| path.display().to_string()).collect();
    found.extend(printed.contains(text).then(|| "printed".to_owned()));
    found
}

#[test]
fn the_token_is_seen_nowhere() {
    let shop = Shop::new();
    let mut printed = shop.ok(&["up", "--verbose", "--yes"]);
    printed += &shop.ok(&["up", "--format", "json"]);
    printed += &shop.ok(&["show", "--format", "json"]);
    let refused = shop
        .command(&["show"])
        .env("DIGITALOCEAN_ACCESS_TOKEN", format!("{TOKEN}-wrong"))
        .output()
        .unwrap();
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.contains("Unable to authenticate you") && refused.contains("hint"),
        "{refused}"
    );
    printed += &refused;
    let missing = shop.command(&["show"]).env_remove("DIGITALOCEAN_ACCESS_TOKEN").output().unwrap();
    let missing = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.contains("$DIGITALOCEAN_ACCESS_TOKEN"), "{missing}");
    assert_eq!(places(shop.folder.path(), &printed, TOKEN), Vec::<String>::new());
    // Nor is any machine's private key.
    let begin = "PRIVATE KEY";
    let ordered =
        shop.server.account().log.iter().filter_map(|it| it.body.clone()).collect::<Vec<_>>();
    assert!(ordered.iter().any(|body| body.to_string().contains(begin)));
    assert_eq!(places(shop.folder.path(), &printed, begin), Vec::<String>::new());
    assert_eq!(fs::read_dir(shop.temporary()).unwrap().count(), 0);
    // Leaked on purpose, it would have been seen.
    fs::write(shop.folder.path().join("leak"), TOKEN).unwrap();
    assert_eq!(places(shop.folder.path(), TOKEN, TOKEN).len(), 2);
}

#[test]
fn names_that_are_somebody_elses_are_left_alone() {
    let shop = Shop::new();
    {
        let mut account = shop.server.account();
        account.make_zone("shop.example");
        account.make_record("shop.example", "A", "@", "192.0.2.1");
        account.make_record("shop.example", "MX", "@", "mail.example");
    }
    let refused = shop.exits(1, &["up", "--yes"]);
    assert!(refused.contains("shop.example has an address already that is not ours"), "{refused}");
    let theirs = ["A @ 192.0.2.1", "MX @ mail.example"];
    assert!(
        theirs.iter().all(|it| shop.server.account().said("shop.example").contains(&(*it).into()))
    );
    // Going away leaves the zone, which was there before.
    shop.ok(&["down", "--confirm", "staging"]);
    assert_eq!(shop.server.account().said("shop.example"), theirs);
    shop.is_in_order();
}

#[test]
fn what_was_made_by_hand_is_taken_over_as_it_is() {
    let shop = Shop::new();
    let (machine, disk, vpc, firewall) = {
        let mut account = shop.server.account();
        account.make_vpc(&json!({ "name": "by-hand", "region": "fra1", "description": "" }));
        let vpc = account.vpcs.keys().next().unwrap().clone();
        account.make_droplet(&json!({ "name": "database", "region": "fra1", "size": "s-2vcpu-2gb",
            "image": "debian-12-x64", "vpc_uuid": vpc, "tags": ["theirs"] }));
        account.make_volume(&json!({ "name": "old", "region": "fra1", "size_gigabytes": 10,
            "description": "ours since 2019", "tags": [] }));
        let rule =
            json!({ "protocol": "tcp", "ports": "22", "sources": { "addresses": ["::/0"] } });
        account.make_firewall(&json!({ "name": "wall", "inbound_rules": [rule], "tags": [] }));
        account.make_zone("shop.example");
        account.make_record("shop.example", "A", "@", "192.0.2.1");
        let machine = account.droplets.keys().next().unwrap().to_string();
        let disk = account.volumes.keys().next().unwrap().clone();
        let firewall = account.firewalls.keys().next().unwrap().clone();
        (machine, disk, vpc, firewall)
    };
    let import = |code: i32, arguments: &[&str]| {
        let output = shop.verb("import", arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample root@database";
    let keyless = import(1, &["machine.db-1", &machine]);
    assert!(keyless.contains("--host-key"), "{keyless}");
    let no_key = import(1, &["machine.db-1", &machine, "--host-key", "ssh-rsa AAAA"]);
    assert!(no_key.contains("ssh_host_ed25519_key.pub"), "{no_key}");
    let unknown = import(1, &["machine.db-2", &machine, "--host-key", key]);
    assert!(unknown.contains("there is machine.app-1, machine.db-1"), "{unknown}");
    let absent = import(1, &["machine.db-1", "4711", "--host-key", key]);
    assert!(absent.contains("could not be found"), "{absent}");

    let done = import(0, &["machine.db-1", &machine, "--host-key", key]);
    assert!(done.contains("machine.db-1 is taken over"), "{done}");
    let again = import(1, &["machine.db-1", &machine, "--host-key", key]);
    assert!(again.contains("machine.db-1 is there already"), "{again}");
    import(0, &["disk.db-1/data", &disk]);
    import(0, &["vpc.fra1", &vpc]);
    import(0, &["firewall.hosts", &firewall]);
    import(0, &["zone.shop.example", "shop.example"]);
    import(0, &["dns.shop.example/A", "shop.example"]);
    let plan = shop.ok(&["up", "--dry-run"]);
    for line in [
        "~ machine.db-1",
        "~ size  \"s-2vcpu-2gb\" -> \"s-1vcpu-1gb\"",
        "~ attached_to",
        "~ firewall.hosts",
        "~ data  [\"192.0.2.1\"] -> [\"(known after apply)\"]",
        "+ machine.app-1",
    ] {
        assert!(plan.contains(line), "no {line:?} in:\n{plan}");
    }
    for gone in ["+ machine.db-1", "+ disk", "+ vpc", "+ zone", "region  "] {
        assert!(!plan.contains(gone), "{gone:?} in:\n{plan}");
    }
    shop.ok(&["up", "--yes"]);
    shop.is_settled();
    {
        let account = shop.server.account();
        let machine = &account.droplets[&machine.parse().unwrap()];
        assert_eq!(machine["name"], "db-1");
        assert!(machine["tags"].as_array().unwrap().contains(&json!("theirs")));
        assert_eq!(account.volumes[&disk]["description"], "ours since 2019");
    }
    shop.is_in_order();
}

#[test]
fn machines_that_are_shut_down_for_a_change_are_so_one_after_the_other() {
    let shop = Shop::up();
    shop.edit("    size: s-1vcpu-1gb\n", "    size: s-2vcpu-2gb\n");
    let output = shop.run(&["up", "--dry-run", "--format", "json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    let of = |address: &str| steps.iter().find(|step| step["address"] == address).unwrap();
    let (first, second) = (of("machine.app-1"), of("machine.db-1"));
    assert_eq!(second["after"], json!([first["id"]]), "{plan:#}");
    shop.ok(&["up", "--yes"]);
    shop.is_settled();
}
