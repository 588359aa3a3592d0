//! The probe: one script that reads everything we ask of a host in one round trip. It changes
//! nothing there, and no secret value is in its answer.

use crate::model::sha256_hex;

use super::layout::{DEFINITION_LABEL, ENVIRONMENT_LABEL, Layout, UNFINISHED};
use super::quote::quote;
use super::secrets::Secrets;
use super::shell::PRELUDE;

/// One question to a host, and what is needed to read the answer.
#[derive(Debug, Clone)]
pub struct Question {
    /// The script.
    pub script: String,
    /// What begins each line of the answer's frame; random, so that no content can imitate it.
    pub marker: String,
    /// The env keys that were asked about; none when the secrets are not known here.
    pub keys: Option<Vec<String>>,
}

/// The fields of a container that we read. Its environment is not among them: values stay there.
const CONTAINER: &str = concat!(
    r#"{"id":{{json .Id}},"name":{{json .Name}},"#,
    r#""service":{{json (index .Config.Labels "com.docker.compose.service")}},"#,
    r#""number":{{json (index .Config.Labels "com.docker.compose.container-number")}},"#,
    r#""hash":{{json (index .Config.Labels "com.docker.compose.config-hash")}},"#,
    r#""mark":{{json (index .Config.Labels "stagecraft.environment")}},"#,
    r#""definition":{{json (index .Config.Labels "stagecraft.definition")}},"#,
    r#""state":{{json .State.Status}},"exit":{{json .State.ExitCode}},"#,
    r#""health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}null{{end}},"#,
    r#""image":{{json .Config.Image}},"image_id":{{json .Image}},"#,
    r#""restart":{{json .HostConfig.RestartPolicy}},"#,
    r#""memory":{{json .HostConfig.Memory}},"cpus":{{json .HostConfig.NanoCpus}},"#,
    r#""networks":[{{$first := true}}{{range $name, $it := .NetworkSettings.Networks}}"#,
    r#"{{if not $first}},{{end}}{{$first = false}}{{json $name}}{{end}}]}"#,
);

const IMAGE: &str = concat!(
    r#"{"repository":{{json .Repository}},"tag":{{json .Tag}},"#,
    r#""id":{{json .ID}},"digest":{{json .Digest}}}"#,
);

/// The keys of an env file, without a value: comments, `export`, and values over several lines
/// are understood as Compose understands them.
const KEYS: &str = r#"
function scan(  i, c, escaped) {
  escaped = 0
  for (i = 1; i <= length(rest); i++) {
    c = substr(rest, i, 1)
    if (escaped) { escaped = 0; continue }
    if (c == "\\") { escaped = 1; continue }
    if (c == mark) { mark = ""; return }
  }
}
{
  if (mark != "") { rest = $0; scan(); next }
  line = $0
  sub(/^[ \t]+/, "", line)
  if (line ~ /^#/) next
  sub(/^export[ \t]+/, "", line)
  if (!match(line, /^[A-Za-z_][A-Za-z0-9_.-]*[ \t]*[=:]/)) next
  key = substr(line, 1, RLENGTH - 1)
  rest = substr(line, RLENGTH + 1)
  sub(/[ \t]+$/, "", key)
  print key
  sub(/^[ \t]+/, "", rest)
  c = substr(rest, 1, 1)
  if (c == "\"" || c == "\047") { mark = c; rest = substr(rest, 2); scan() }
}"#;

const BODY: &str = r#"
say() { printf '\n%s %s\n' "$M" "$*"; }
command -v docker >/dev/null 2>&1 || { say no-docker; say end; exit 0; }
T=$(mktemp -d "${TMPDIR:-/tmp}/stagecraft.XXXXXX") || exit 90
trap 'rm -rf "$T"' EXIT
trap 'exit 129' HUP INT TERM
if command -v timeout >/dev/null 2>&1; then dk() { timeout 20 docker "$@"; }; else dk() { docker "$@"; }; fi
job() {
  { say stderr "$1" >&2; "$1"; say done "$1" "$?"; } >"$T/$1.out" 2>"$T/$1.err"
}
containers() {
  say containers
  ids=$(dk ps -aq --no-trunc --filter "label=com.docker.compose.project=$P" --filter label=com.docker.compose.oneoff=False) || return
  [ -z "$ids" ] || dk inspect --type container --format "$CONTAINER" $ids
}
networks() {
  say networks
  dk network ls --filter "label=com.docker.compose.project=$P" --format "$NETWORK"
}
volumes() {
  say volumes
  dk volume ls --filter "label=com.docker.compose.project=$P" --format "$VOLUME"
}
images() {
  say images
  dk image ls --no-trunc --digests --format "$IMAGE"
}
hashes() {
  plugin=
  for d in "${DOCKER_CONFIG:-${HOME-}/.docker}" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker /usr/libexec/docker; do
    if [ -f "$d/cli-plugins/docker-compose" ] && [ -x "$d/cli-plugins/docker-compose" ]; then
      plugin=$d/cli-plugins/docker-compose
      break
    fi
  done
  say hashes
  if [ -f "$F" ]; then
    set -- -p "$P" -f "$F"
    if [ -n "$E" ] && [ -f "$E" ]; then set -- "$@" --env-file "$E"; fi
    if [ -n "$plugin" ]; then clean "$plugin" "$@" config --hash '*'; else compose "$@" config --hash '*'; fi
  elif [ -z "$plugin" ]; then
    compose version >/dev/null
  fi
}
ours() {
  if [ -d "$D" ]; then
    cd "$D" || return 77
    # The lock makes the store before anything else; the salt is there when all is.
    [ ! -f env/.salt ] || say directory
    list=$(find . \( -path ./store -o -path ./env \) -prune -o -type f -print) || return 77
    while IFS= read -r f; do
      f=${f#./}
      case $f in ''|*"$UNFINISHED") continue ;; esac
      [ "$D/$f" != "$E" ] || continue
      mode=$(mode_of "./$f" 2>/dev/null) || continue
      [ -r "./$f" ] || { echo "$D/$f: Permission denied" >&2; return 77; }
      say file "$mode" "$f"
      cat "./$f" || return 77
    done <<LIST
$list
LIST
    newest=
    if [ -d store ]; then
      [ -x store ] || { echo "$D/store: Permission denied" >&2; return 77; }
      for f in store/releases/[0-9]*.json; do [ ! -f "$f" ] || newest=$f; done
    fi
    if [ -n "$newest" ]; then say head; cat "$newest" || return 77; fi
    for f in env/[0-9a-f]*; do [ ! -f "$f" ] || say kept "${f#env/}"; done
  else
    absent "$D" || return 77
  fi
  [ -n "$E" ] || return 0
  if [ ! -f "$E" ]; then absent "$E" || return 77; return 0; fi
  [ -r "$E" ] || { echo "$E: Permission denied" >&2; return 77; }
  version=
  if [ -r "$D/env/.salt" ]; then
    version=$(cat "$D/env/.salt" "$E" | digest) || return
    version=$(printf %.16s "$version")
  fi
  say env "$(mode_of "$E")" "$version"
  say keys
  awk "$KEYS" <"$E" || return
  [ -n "$NONCE" ] || return 0
  whole=$({ printf '%s\n' "$NONCE"; cat "$E"; } | digest) || return
  if [ "${whole%% *}" = "$WHOLE" ]; then say same; return 0; fi
  say matching
  while IFS= read -r line || [ -n "$line" ]; do
    key=${line%%=*}
    case $EXPECTED in *" $key="*) ;; *) continue ;; esac
    sum=$(printf '%s\n%s' "$NONCE" "$line" | digest) || return
    case $EXPECTED in *" $key=${sum%% *} "*) printf '%s\n' "$key" ;; esac
  done <"$E"
}
mesh() {
  command -v tailscale >/dev/null 2>&1 || return 0
  say mesh
  if command -v timeout >/dev/null 2>&1; then timeout 3 tailscale ip -4; else tailscale ip -4; fi
}
for it in containers networks volumes images hashes ours mesh; do job "$it" & done
wait
cat "$T"/*.out "$T"/*.err
say end
"#;

/// The question for one environment. The marker and the nonce must be fresh and random.
pub fn question(
    layout: &Layout,
    secrets: Option<&Secrets>,
    marker: String,
    nonce: &str,
) -> Question {
    let object = |kind: &str| {
        format!(
            r#"{{"name":{{{{json .Name}}}},"key":{{{{json (.Label "com.docker.compose.{kind}")}}}},"mark":{{{{json (.Label "{ENVIRONMENT_LABEL}")}}}},"definition":{{{{json (.Label "{DEFINITION_LABEL}")}}}}}}"#
        )
    };
    let mut script = String::from(PRELUDE);
    script.push_str(&layout.assignments());
    let secrets = secrets.filter(|_| layout.env_path.is_some());
    let (nonce, whole, expected) = match secrets {
        None => ("", String::new(), String::new()),
        Some(secrets) => {
            let whole = sha256_hex(format!("{nonce}\n{}", secrets.render()));
            let expected = secrets
                .lines()
                .map(|(key, line)| format!(" {key}={}", sha256_hex(format!("{nonce}\n{line}"))))
                .collect::<String>();
            (nonce, whole, format!("{expected} "))
        }
    };
    for (name, value) in [
        ("M", marker.as_str()),
        ("CONTAINER", CONTAINER),
        ("IMAGE", IMAGE),
        ("NETWORK", &object("network")),
        ("VOLUME", &object("volume")),
        ("KEYS", KEYS),
        ("UNFINISHED", UNFINISHED),
        ("NONCE", nonce),
        ("WHOLE", &whole),
        ("EXPECTED", &expected),
    ] {
        script.push_str(&format!("{name}={}\n", quote(value)));
    }
    script.push_str(BODY);
    let keys = secrets.map(|secrets| secrets.keys().into_iter().collect());
    Question { script, marker, keys }
}
