//! The probe: one script that reads everything we ask of a host in one round trip. It changes
//! nothing there but a note of what Compose computed from the files as they are, and no secret
//! value is in its answer.

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
/// The names are those of the fields in Docker, not in its JSON: with one that is not, Docker falls
/// back to the JSON, where a health that is not there is an error.
const CONTAINER: &str = concat!(
    r#"{"id":{{json .ID}},"name":{{json .Name}},"#,
    r#""service":{{json (index .Config.Labels "com.docker.compose.service")}},"#,
    r#""number":{{json (index .Config.Labels "com.docker.compose.container-number")}},"#,
    r#""hash":{{json (index .Config.Labels "com.docker.compose.config-hash")}},"#,
    r#""mark":{{json (index .Config.Labels "stagecraft.environment")}},"#,
    r#""definition":{{json (index .Config.Labels "stagecraft.definition")}},"#,
    r#""state":{{json .State.Status}},"exit":{{json .State.ExitCode}},"#,
    r#""health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}null{{end}},"#,
    r#""image":{{json .Config.Image}},"image_id":{{json .Image}},"#,
    r#""restart":{{json .HostConfig.RestartPolicy}},"#,
    r#""memory":{{json .HostConfig.Memory}},"cpus":{{json .HostConfig.NanoCPUs}},"#,
    r#""spaces":[{{json .HostConfig.NetworkMode}},{{json .HostConfig.PidMode}},{{json .HostConfig.IpcMode}}],"#,
    r#""ports":{{json .NetworkSettings.Ports}},"#,
    r#""networks":{ {{$first := true}}{{range $name, $it := .NetworkSettings.Networks}}"#,
    r#"{{if not $first}},{{end}}{{$first = false}}{{json $name}}:{{json $it.Aliases}}{{end}}}}"#,
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

/// Succeeds when a Compose file, as we render them, reads no other file than itself and the env
/// file. What it does not understand counts as another file.
const INPUTS: &str = r#"
function value(text) {
  gsub(/^[ ]+|[ ]+$/, "", text)
  if (text ~ /^".*"$/ || text ~ /^\047.*\047$/) text = substr(text, 2, length(text) - 2)
  return text
}
/label_file|extends|include/ || /(^|[^A-Za-z0-9_-])file["\047]?:/ { other = 1 }
{ match($0, /^ */); indent = RLENGTH }
inside && indent >= start && /^ *- / {
  item = $0
  sub(/^ *- */, "", item)
  sub(/^path: /, "", item)
  if (value(item) != env) other = 1
  next
}
inside && indent > start {
  if ($0 !~ /^ *(required|format): /) other = 1
  next
}
{ inside = 0 }
/^ *env_file:[ ]*$/ { inside = 1; start = indent; next }
/env_file/ { other = 1 }
END { exit other }"#;

const BODY: &str = r#"
say() { printf '\n%s %s\n' "$M" "$*"; }
command -v docker >/dev/null 2>&1 || { say no-docker; say end; exit 0; }
# What an apply has begun that is gone is let end: until then nothing is as it was, or as it will be. One
# that is there holds the lock.
if [ -r "$D/store/work" ] && ! (flock -x -n 8) 8<"$D/store/work"; then
  if (flock -s -n 9) 9<"$D/store/lock"; then at_rest "$D/store/work"; fi
fi 2>/dev/null
T=$(mktemp -d "${TMPDIR:-/tmp}/stagecraft.XXXXXX") || exit 90
trap 'rm -rf "$T"' EXIT
trap 'exit 129' HUP INT TERM
if command -v timeout >/dev/null 2>&1; then dk() { timeout 20 docker "$@"; }; else dk() { docker "$@"; }; fi
job() {
  { say stderr "$1" >&2; "$1"; say done "$1" "$?"; } >"$T/$1.out" 2>"$T/$1.err"
}
# The engine's own interface answers four questions in the time that `docker` takes to start. It is
# used where it surely is the engine that `docker` would use, and in no other way is it needed.
four_answers() {
  quick || return 1
  curl -q -s -g -f --fail-early --max-time 5 --noproxy '*' --unix-socket "$SOCKET" \
    -o "$T/ids" "http://d/containers/json?all=1&filters=$FILTER_CONTAINERS" \
    -o "$T/1b.api" "http://d/networks?filters=$FILTER" \
    -o "$T/2b.api" "http://d/volumes?filters=$FILTER" \
    -o "$T/3b.api" "http://d/images/json" >/dev/null 2>&1 || return 1
  ids=$(container_ids <"$T/ids") || return 1
  say api-networks >"$T/1a.api"
  say api-volumes >"$T/2a.api"
  say api-images >"$T/3a.api"
}
containers() {
  say containers
  [ -n "$QUICK" ] || ids=$(dk ps -aq --no-trunc --filter "label=com.docker.compose.project=$P" --filter label=com.docker.compose.oneoff=False) || return
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
  if [ ! -f "$F" ]; then
    [ -n "$plugin" ] || compose version >/dev/null
    return
  fi
  set -- -p "$P" -f "$F"
  if [ -n "$E" ] && [ -f "$E" ]; then set -- "$@" --env-file "$E"; fi
  memo=
  if [ -n "$plugin" ] && all_inputs_known; then
    memo=$D/store/hashes
    key=$({
      ls -lL "$plugin"
      printf '%s\n' "$P" "${HOME-}" "$PATH" "${DOCKER_HOST-}" "${DOCKER_CONTEXT-}"
      cat "$D/env/.salt" "$F" ${E:+"$E"}
    } | digest) || return
    if { read -r known <"$memo"; } 2>/dev/null && [ "$known" = "${key%% *}" ]; then
      sed 1d "$memo"
      return
    fi
  fi
  [ -z "$plugin" ] || compose() { clean "$plugin" "$@"; }
  if grep -q env_file "$F"; then
    out=$(compose "$@" config | compose -p "$P" --project-directory "$D" -f - config --hash '*')
  else
    out=$(compose "$@" config --hash '*')
  fi || return
  printf '%s\n' "$out"
  [ -z "$memo" ] || {
    umask 077
    printf '%s\n%s\n' "${key%% *}" "$out" >"$memo$UNFINISHED" && mv -f "$memo$UNFINISHED" "$memo"
  } 2>/dev/null || :
}
# Whether the Compose file and the env file are all that the hashes depend on.
all_inputs_known() {
  [ -r "$D/env/.salt" ] || return
  if [ -n "$E" ]; then [ -r "$E" ] || return; else [ ! -e "$D/.env" ] || return; fi
  awk -v env="$E" "$INPUTS" <"$F"
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
    for f in env/[0-9a-f]*; do
      case $f in *"$UNFINISHED") ;; *) [ ! -f "$f" ] || say kept "${f#env/}" ;; esac
    done
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
for it in hashes ours mesh; do job "$it" & done
QUICK=
if four_answers; then
  QUICK=yes
  job containers &
else
  rm -f "$T"/*.api
  for it in containers networks volumes images; do job "$it" & done
fi
wait
[ -z "$QUICK" ] || cat "$T"/*.api
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
    let project = format!("com.docker.compose.project={}", layout.project);
    for (name, value) in [
        ("M", marker.as_str()),
        ("FILTER", &label_filter(&[&project])),
        ("FILTER_CONTAINERS", &label_filter(&[&project, "com.docker.compose.oneoff=False"])),
        ("CONTAINER", CONTAINER),
        ("IMAGE", IMAGE),
        ("NETWORK", &object("network")),
        ("VOLUME", &object("volume")),
        ("KEYS", KEYS),
        ("INPUTS", INPUTS),
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

/// A filter by labels as the engine's interface takes it in an address.
fn label_filter(labels: &[&str]) -> String {
    let json = serde_json::json!({ "label": labels }).to_string();
    json.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_kept_only_where_every_input_is_known() {
        use std::io::Write;
        let known = |text: &str| {
            let mut awk = std::process::Command::new("awk")
                .args(["-v", "env=/etc/shop/env", INPUTS])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .expect("awk starts");
            awk.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
            awk.wait().expect("awk ends").success()
        };
        for text in [
            "services:\n  api:\n    image: a\n",
            "services:\n  api:\n    env_file:\n      - /etc/shop/env\n    environment:\n      A: b\n",
            "services:\n  api:\n    env_file:\n    - \"/etc/shop/env\"\n    image: a\n",
            "a:\n  env_file:\n    - path: /etc/shop/env\n      required: false\n  b: c\n",
        ] {
            assert!(known(text), "{text}");
        }
        for text in [
            "a:\n  env_file: /etc/shop/env\n",
            "a:\n  env_file:\n    - /etc/other\n",
            "a:\n  env_file:\n    - /etc/shop/env\n    - more.env\n",
            "a:\n  env_file:\n    - path: /etc/shop/env2\n      required: false\n",
            "a: {env_file: [/etc/shop/env]}\n",
            "a:\n  env_file:\n    - required: true\n      path: x\n",
            "a:\n  env_file: []\n",
            "a:\n  label_file: x\n",
            "secrets:\n  x:\n    file: ./x\n",
            "secrets: {x: {file: ./x}}\n",
            "a:\n  extends: {service: b}\n",
            "a:\n  \"env_file\":\n    - x\n",
        ] {
            assert!(!known(text), "{text}");
        }
    }

    #[test]
    fn a_filter_is_safe_in_an_address() {
        assert_eq!(label_filter(&["a=b c"]), "%7B%22label%22%3A%5B%22a%3Db%20c%22%5D%7D");
    }
}
