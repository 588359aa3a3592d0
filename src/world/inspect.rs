//! Reads the probe's answer. Pure functions over bytes that a host sent: nothing in them can do
//! more harm than a blocked host.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::model::{
    Blocked, BlockedReason, Container, ContainerState, Deployed, EnvState, FileState, Health,
    HostState, ImagePin, ObjectState, ReleaseHead,
};

use super::effects::routes;
use super::layout::{DEFINITION_LABEL, ENVIRONMENT_LABEL, Layout};
use super::probe::Question;
use super::refusal;
use super::transport::Output;

/// The status with which a part of the probe says that it may not read something.
const MAY_NOT: &str = "77";

/// What a host's answer says.
pub fn read(layout: &Layout, question: &Question, output: &Output) -> Result<HostState, Blocked> {
    let text = String::from_utf8_lossy(&output.stdout);
    let sections = sections(&text, &question.marker);
    if sections.iter().any(|section| section.head == "no-docker") {
        let detail = "there is no `docker` command; install Docker Engine with its Compose plugin";
        return Err(Blocked { reason: BlockedReason::NoDocker, detail: detail.to_owned() });
    }
    if output.truncated || sections.last().is_none_or(|section| section.head != "end") {
        return Err(half(output, "the answer stopped in the middle"));
    }
    let mut state = HostState::default();
    let mut hashes = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    let mut matching = None;
    let mut failed = Vec::new();
    let mut errors: BTreeMap<&str, &str> = BTreeMap::new();
    for section in &sections {
        let (word, rest) = section.head.split_once(' ').unwrap_or((section.head, ""));
        match word {
            "containers" => {
                for raw in rows::<RawContainer>(section.body)? {
                    let (id, container) = raw.into_container(&layout.mark)?;
                    state.containers.insert(id, container);
                }
            }
            "api-networks" => {
                let raw: Vec<ApiObject> = whole(section.body)?;
                state.networks = from_api(raw, "com.docker.compose.network", &layout.mark);
            }
            "api-volumes" => {
                let raw: ApiVolumes = whole(section.body)?;
                let raw = raw.volumes.unwrap_or_default();
                state.volumes = from_api(raw, "com.docker.compose.volume", &layout.mark);
            }
            "api-images" => state.images = images(api_images(whole(section.body)?)),
            "networks" => state.networks = objects(section.body, &layout.mark)?,
            "volumes" => state.volumes = objects(section.body, &layout.mark)?,
            "images" => state.images = images(rows(section.body)?),
            "hashes" => hashes = lines_of_two(section.body),
            "directory" => state.directory = true,
            "file" => {
                let (mode, path) = rest.split_once(' ').ok_or_else(|| unreadable("a file"))?;
                let file = FileState { mode: octal(mode)?, content: section.body.to_owned() };
                state.files.insert(path.to_owned(), file);
            }
            "head" => state.head = serde_json::from_str::<ReleaseHead>(section.body).ok(),
            "kept" => {
                state.env_versions.insert(rest.to_owned());
            }
            "env" => {
                let (mode, version) = rest.split_once(' ').unwrap_or((rest, ""));
                state.env = Some(EnvState {
                    mode: octal(mode)?,
                    version: version.to_owned(),
                    keys: BTreeSet::new(),
                    differing: BTreeSet::new(),
                });
            }
            "keys" => names = lines(section.body),
            "same" => matching = Some(names.clone()),
            "matching" => matching = Some(lines(section.body)),
            "mesh" => state.mesh_ip = lines(section.body).into_iter().next(),
            "done" if !rest.ends_with(" 0") => failed.extend(rest.split_once(' ')),
            "stderr" => {
                errors.insert(rest, section.body);
            }
            _ => {}
        }
    }
    for (part, status) in failed {
        let said = errors.get(part).copied().unwrap_or_default();
        excuse(part, status, said)?;
    }
    if state.files.contains_key(crate::model::COMPOSE_FILE) {
        state.deployed = Some(Deployed { services: BTreeMap::new(), hashes });
    }
    if let Some(env) = &mut state.env {
        if let (Some(wanted), Some(matching)) = (&question.keys, &matching) {
            env.differing = differing(wanted, &names, matching);
        }
        env.keys = names.into_iter().collect();
    }
    Ok(state)
}

/// Whether a failed part of the probe can be lived with; if not, why the host is blocked.
fn excuse(part: &str, status: &str, said: &str) -> Result<(), Blocked> {
    let detail = refusal::last_lines(said, 2).join("; ");
    if status == MAY_NOT {
        return Err(Blocked { reason: BlockedReason::PermissionDenied, detail });
    }
    match part {
        "mesh" => Ok(()),
        // A file that Compose cannot read is a finding, not an obstacle.
        "hashes" => match refusal::of_docker(said) {
            Some(blocked) if blocked.reason == BlockedReason::NoCompose => Err(blocked),
            _ => Ok(()),
        },
        // A container can go between being listed and being looked at.
        "containers" if said.contains("No such") => Ok(()),
        _ if status == "124" => Err(Blocked {
            reason: BlockedReason::EngineDown,
            detail: "Docker did not answer within 20 s".to_owned(),
        }),
        "ours" => Err(Blocked { reason: BlockedReason::HalfAnswer, detail }),
        _ => Err(refusal::of_docker(said).unwrap_or(Blocked {
            reason: BlockedReason::EngineDown,
            detail: format!("Docker could not list the {part}: {detail}"),
        })),
    }
}

/// A key differs when it is missing, is there twice or too many, or its line is another one.
fn differing(wanted: &[String], found: &[String], matching: &[String]) -> BTreeSet<String> {
    let count = |list: &[String], key: &String| list.iter().filter(|it| *it == key).count();
    wanted
        .iter()
        .chain(found)
        .filter(|key| count(found, key) != 1 || count(matching, key) != 1)
        .cloned()
        .collect()
}

struct Section<'a> {
    head: &'a str,
    body: &'a str,
}

/// The parts of an answer. Each begins with a line break, the marker, and the section's head;
/// whatever a log-in script printed before the first is left out.
fn sections<'a>(text: &'a str, marker: &str) -> Vec<Section<'a>> {
    let frame = format!("\n{marker} ");
    text.split(frame.as_str())
        .skip(1)
        .map(|part| {
            let (head, body) = part.split_once('\n').unwrap_or((part, ""));
            Section { head, body }
        })
        .collect()
}

fn lines(body: &str) -> Vec<String> {
    body.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn lines_of_two(body: &str) -> BTreeMap<String, String> {
    let pairs = body.lines().filter_map(|line| line.trim().split_once(' '));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

fn rows<T: for<'de> Deserialize<'de>>(body: &str) -> Result<Vec<T>, Blocked> {
    body.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            serde_json::from_str(line)
                .map_err(|error| unreadable(&format!("what Docker listed ({error})")))
        })
        .collect()
}

fn octal(text: &str) -> Result<u32, Blocked> {
    u32::from_str_radix(text, 8).map_err(|_| unreadable("a file's mode"))
}

fn unreadable(what: &str) -> Blocked {
    Blocked { reason: BlockedReason::HalfAnswer, detail: format!("{what} could not be read") }
}

fn half(output: &Output, what: &str) -> Blocked {
    let said = refusal::last_lines(&output.stderr, 2).join("; ");
    let detail = match (said.is_empty(), output.truncated) {
        (_, true) => "the answer is larger than a probe may be".to_owned(),
        (true, false) => format!("{what} (exit status {})", output.status),
        (false, false) => format!("{what}: {said}"),
    };
    Blocked { reason: BlockedReason::HalfAnswer, detail }
}

#[derive(Deserialize)]
struct RawContainer {
    id: String,
    name: String,
    service: Option<String>,
    number: Option<String>,
    hash: Option<String>,
    mark: Option<String>,
    #[serde(default)]
    definition: Option<String>,
    state: ContainerState,
    exit: i32,
    health: Option<String>,
    image: String,
    image_id: String,
    restart: RawRestart,
    memory: u64,
    cpus: u64,
    networks: BTreeMap<String, Option<Vec<String>>>,
    #[serde(default)]
    spaces: Vec<String>,
    #[serde(default)]
    ports: Option<routes::Ports>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawRestart {
    name: String,
    #[serde(default)]
    maximum_retry_count: u32,
}

impl RawRestart {
    fn as_compose_writes_it(&self) -> String {
        match (self.name.as_str(), self.maximum_retry_count) {
            ("", _) => "no".to_owned(),
            ("on-failure", 1..) => format!("on-failure:{}", self.maximum_retry_count),
            (name, _) => name.to_owned(),
        }
    }
}

impl RawContainer {
    fn into_container(self, mark: &str) -> Result<(String, Container), Blocked> {
        let health = match self.health.as_deref() {
            None | Some("" | "none") => None,
            Some("starting") => Some(Health::Starting),
            Some("healthy") => Some(Health::Healthy),
            Some("unhealthy") => Some(Health::Unhealthy),
            Some(other) => return Err(unreadable(&format!("the health {other:?}"))),
        };
        let name = self.name.trim_start_matches('/').to_owned();
        // The engine adds the beginning of the id by itself.
        let given = |alias: &String| !self.id.starts_with(alias.as_str()) && *alias != name;
        let networks = (self.networks.into_iter())
            .map(|(network, aliases)| {
                (network, aliases.unwrap_or_default().into_iter().filter(given).collect())
            })
            .collect();
        let number = self.number.and_then(|number| number.parse().ok()).unwrap_or(0);
        let shared = self.spaces.iter().filter_map(|space| space.strip_prefix("container:"));
        let container = Container {
            name,
            service: self.service.unwrap_or_default(),
            number,
            ours: self.mark.as_deref() == Some(mark),
            fingerprint: self.definition.unwrap_or_default(),
            state: self.state,
            health,
            image: self.image,
            image_id: self.image_id,
            config_hash: self.hash.unwrap_or_default(),
            restart: self.restart.as_compose_writes_it(),
            memory: self.memory,
            nano_cpus: self.cpus,
            networks,
            shares: shared.map(str::to_owned).collect(),
            exit_code: self.exit,
            published: self.ports.as_ref().map(routes::published).unwrap_or_default(),
        };
        Ok((self.id, container))
    }
}

#[derive(Deserialize)]
struct RawObject {
    name: String,
    key: String,
    mark: String,
    definition: String,
}

fn objects(body: &str, mark: &str) -> Result<BTreeMap<String, ObjectState>, Blocked> {
    let state = |raw: RawObject| {
        let ours = raw.mark == mark;
        (raw.name, ObjectState { key: raw.key, ours, definition: raw.definition })
    };
    Ok(rows::<RawObject>(body)?.into_iter().map(state).collect())
}

#[derive(Deserialize)]
struct RawImage {
    repository: String,
    tag: String,
    id: String,
    digest: String,
}

/// What Docker writes for a name that an image does not have.
const NONE: &str = "<none>";

/// Images by every reference that a Compose file can name them with.
fn images(rows: Vec<RawImage>) -> BTreeMap<String, ImagePin> {
    let mut images = BTreeMap::new();
    for raw in rows {
        let digest = (raw.digest != NONE && !raw.digest.is_empty()).then_some(raw.digest);
        if raw.repository == NONE {
            continue;
        }
        let pin = ImagePin { id: raw.id, digest };
        if let Some(digest) = &pin.digest {
            images.insert(format!("{}@{digest}", raw.repository), pin.clone());
        }
        if raw.tag != NONE {
            // An image that several registries' digests name is listed once for each of them.
            let known = images.entry(format!("{}:{}", raw.repository, raw.tag));
            let known = known.or_insert_with(|| pin.clone());
            if known.digest.is_none() || (pin.digest.is_some() && pin.digest < known.digest) {
                *known = pin;
            }
        }
    }
    images
}

/// A network or a volume as the engine's interface has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ApiObject {
    name: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ApiVolumes {
    volumes: Option<Vec<ApiObject>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ApiImage {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
}

fn whole<T: for<'de> Deserialize<'de>>(body: &str) -> Result<T, Blocked> {
    serde_json::from_str(body)
        .map_err(|error| unreadable(&format!("what the Docker engine listed ({error})")))
}

fn from_api(raw: Vec<ApiObject>, key: &str, mark: &str) -> BTreeMap<String, ObjectState> {
    let state = |raw: ApiObject| {
        let labels = raw.labels.unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let ours = label(ENVIRONMENT_LABEL) == mark;
        (raw.name, ObjectState { key: label(key), ours, definition: label(DEFINITION_LABEL) })
    };
    raw.into_iter().map(state).collect()
}

/// The rows that `docker image ls --digests` would print.
fn api_images(raw: Vec<ApiImage>) -> Vec<RawImage> {
    let mut rows = Vec::new();
    for image in raw {
        let digests = image.repo_digests.unwrap_or_default();
        let tags = image.repo_tags.unwrap_or_default();
        let tags: Vec<(&str, &str)> = tags.iter().filter_map(|tag| tag.rsplit_once(':')).collect();
        let mut row = |repository: &str, tag: &str, digest: &str| {
            rows.push(RawImage {
                repository: repository.to_owned(),
                tag: tag.to_owned(),
                id: image.id.clone(),
                digest: digest.to_owned(),
            });
        };
        for (repository, tag) in &tags {
            row(repository, tag, NONE);
        }
        for (repository, digest) in digests.iter().filter_map(|it| it.split_once('@')) {
            row(repository, NONE, digest);
            for (_, tag) in tags.iter().filter(|(name, _)| *name == repository) {
                row(repository, tag, digest);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::probe;

    fn layout() -> Layout {
        Layout {
            directory: "/var/lib/stagecraft/shop/staging".into(),
            project: "shop-staging".into(),
            mark: "shop/staging".into(),
            env_path: None,
        }
    }

    fn read_text(text: &str) -> Result<HostState, Blocked> {
        let question = probe::question(&layout(), None, "@m".into(), "");
        let output = Output {
            status: 0,
            stdout: text.as_bytes().to_vec(),
            stderr: "sh: 1: cannot fork".into(),
            truncated: false,
        };
        read(&layout(), &question, &output)
    }

    /// What one host answered in both ways, shortened.
    const ENGINE: &str = r#"Welcome to app-1!

@m api-networks
[{"Name":"shop-staging_back","Id":"95","IPAM":{"Config":[{"Subnet":"10.140.2.0/24"}]},"Containers":{},"Labels":{"com.docker.compose.network":"back","com.docker.compose.project":"shop-staging","stagecraft.definition":"ab","stagecraft.environment":"shop/staging"}}]

@m api-volumes
{"Volumes":[{"CreatedAt":"2026-11-22T08:59:30Z","Driver":"local","Labels":{"com.docker.compose.volume":"data"},"Name":"shop-staging_data","Options":null}],"Warnings":null}

@m api-images
[{"Id":"sha256:a3","RepoDigests":["r:5000/shop/db@sha256:32"],"RepoTags":["r:5000/shop/db:v1","other:latest"]},{"Id":"sha256:67","RepoDigests":["r:5000/api@sha256:2c"],"RepoTags":null},{"Id":"sha256:99","RepoDigests":["<none>@<none>"],"RepoTags":["<none>:<none>"]}]

@m end
"#;

    const COMMANDS: &str = r#"
@m networks
{"name":"shop-staging_back","key":"back","mark":"shop/staging","definition":"ab"}

@m volumes
{"name":"shop-staging_data","key":"data","mark":"","definition":""}

@m images
{"repository":"r:5000/shop/db","tag":"v1","id":"sha256:a3","digest":"sha256:32"}
{"repository":"other","tag":"latest","id":"sha256:a3","digest":"<none>"}
{"repository":"r:5000/api","tag":"<none>","id":"sha256:67","digest":"sha256:2c"}
{"repository":"<none>","tag":"<none>","id":"sha256:99","digest":"<none>"}

@m end
"#;

    #[test]
    fn the_engine_and_its_command_tell_the_same() {
        let state = read_text(ENGINE).expect("readable");
        assert_eq!(state, read_text(COMMANDS).expect("readable"));
        let images: Vec<&str> = state.images.keys().map(String::as_str).collect();
        assert_eq!(
            images,
            [
                "other:latest",
                "r:5000/api@sha256:2c",
                "r:5000/shop/db:v1",
                "r:5000/shop/db@sha256:32"
            ]
        );
        assert!(state.networks["shop-staging_back"].ours);
    }

    #[test]
    fn an_answer_that_stops_anywhere_is_half_an_answer() {
        for (end, _) in ENGINE.char_indices().filter(|(at, _)| *at < ENGINE.len() - 1) {
            if ENGINE[..end].ends_with("@m end") {
                continue;
            }
            let blocked = read_text(&ENGINE[..end]).expect_err("half");
            assert_eq!(blocked.reason, BlockedReason::HalfAnswer, "{end}");
        }
        let blocked = read_text("").expect_err("nothing");
        assert!(blocked.detail.contains("cannot fork"), "{blocked:?}");
        for garbage in ["\n@m containers\nnull\n\n@m end\n", "\n@m file x y\n\n@m end\n"] {
            assert_eq!(read_text(garbage).expect_err("bad").reason, BlockedReason::HalfAnswer);
        }
    }

    #[test]
    fn a_part_that_failed_says_why() {
        let reason = |text: &str| read_text(text).expect_err("blocked").reason;
        assert_eq!(reason("\n@m no-docker\n\n@m end\n"), BlockedReason::NoDocker);
        let part = |name: &str, status: u8, said: &str| {
            format!("\n@m done {name} {status}\n\n@m stderr {name}\n{said}\n\n@m end\n")
        };
        let no_plugin = part("hashes", 1, "docker: 'compose' is not a docker command.");
        assert_eq!(reason(&no_plugin), BlockedReason::NoCompose);
        assert!(read_text(&part("hashes", 1, "required variable X is missing")).is_ok());
        assert!(read_text(&part("containers", 1, "Error: No such object: 12")).is_ok());
        assert!(read_text(&part("mesh", 1, "tailscaled is not running")).is_ok());
        let denied = part("ours", 77, "/var/lib/stagecraft: Permission denied");
        assert_eq!(reason(&denied), BlockedReason::PermissionDenied);
        assert_eq!(reason(&part("volumes", 124, "")), BlockedReason::EngineDown);
    }
}
