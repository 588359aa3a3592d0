//! Acts on containers, through Compose where one is made and through Docker where one is there.

use crate::model::ContainerRef;
use crate::world::layout::UNFINISHED;
use crate::world::quote::quote;

use super::{id_set, ids};

/// `up FILE OPTION... SERVICE` has Compose start a service from a file, with the env file in force.
const UP: &str = r#"
up() {
  file=$1
  shift
  set -- --project-directory "$D" -p "$P" -f "$file" --progress quiet up -d --no-deps --no-build --pull never "$@"
  if [ -n "$E" ] && [ -f "$E" ]; then set -- --env-file "$E" "$@"; fi
  said=$(compose "$@" 2>&1) && return
  printf '%s\n' "$said" | mask >&2
  printf 'stagecraft-command: compose %s\n' "$*" >&2
  exit 1
}
"#;

/// The Compose file to work with: what to do before, its name as a word, what to do after.
fn file(compose: Option<&str>) -> (String, &'static str, &'static str) {
    let Some(text) = compose else { return (String::new(), "\"$F\"", "") };
    let before = format!(
        "G=$F.earlier{UNFINISHED}\ntrap 'rm -f \"$G\"' EXIT\ntrap 'exit 129' HUP INT TERM\n\
         (umask 077; printf %s {} >\"$G\") || give_up \"$G could not be written\"\n",
        quote(text)
    );
    (before, "\"$G\"", "rm -f \"$G\"\n")
}

/// Counts the containers that are `kept` and the `new` ones. Of those that are kept, the paused are woken.
const COUNT: &str = r#"
all=$(listed "$S" --format '{{.ID}} {{.State}}') || { echo 'stagecraft-command: docker ps' >&2; exit 1; }
kept=0 new=0
while read -r id state; do
  [ -n "$id" ] || continue
  case $BESIDE in
    *" $id "*)
      kept=$((kept + 1))
      [ "$state" != paused ] || docker unpause "$id" >/dev/null ;;
    *) new=$((new + 1)) ;;
  esac
done <<TABLE
$all
TABLE
[ "$new" -le "$WANT" ] || WANT=$new
"#;

/// What is there beside the named containers already counts, and nothing is ever taken away: were
/// Compose told of fewer than there are, it would remove the oldest, which still serve. It cannot
/// work beside a paused container, so such a one is woken, and it starts one that was stopped.
pub fn start(
    service: &str,
    replicas: u32,
    beside: &[ContainerRef],
    compose: Option<&str>,
) -> String {
    let (before, file, after) = file(compose);
    format!(
        "{UP}{before}BESIDE={}\nS={}\nWANT={replicas}\n\
         {COUNT}up {file} --no-recreate --scale \"$S=$((kept + WANT))\" \"$S\"\n{after}",
        id_set(beside),
        quote(service),
    )
}

pub fn recreate(service: &str, replicas: u32, compose: Option<&str>) -> String {
    let service = quote(service);
    let (before, file, after) = file(compose);
    format!(
        "{UP}{before}up {file} --force-recreate --scale {service}={replicas} {service}\n{after}"
    )
}

pub fn stop(containers: &[ContainerRef], grace_s: u64) -> String {
    if containers.is_empty() {
        return String::new();
    }
    format!(
        "lenient \"$GONE\" docker stop -t {grace_s} {}\n{}",
        ids(containers),
        remove(containers)
    )
}

pub fn remove(containers: &[ContainerRef]) -> String {
    if containers.is_empty() {
        return String::new();
    }
    // Not with its volumes: one without a name is somebody's data, too.
    format!("lenient \"$GONE\" docker rm -f {}\n", ids(containers))
}

/// Docker lists the newest first: what stays of those that are not named comes last.
pub fn remove_beside(service: &str, keep: &[ContainerRef], spare: u32) -> String {
    format!(
        "KEEP={}\nall=$(members {}) || {{ echo 'stagecraft-command: docker ps' >&2; exit 1; }}\n\
         others=''\nleft=$((0 - {spare}))\n\
         for id in $all; do\n  case $KEEP in *\" $id \"*) ;; *) others=\"$others $id\" left=$((left \
         + 1)) ;; esac\ndone\n\
         set --\nfor id in $others; do\n  [ $# -lt \"$left\" ] || break\n  set -- \"$@\" \
         \"$id\"\ndone\n[ $# -eq 0 ] || lenient \"$GONE\" docker rm -f -v \"$@\"\n",
        id_set(keep),
        quote(service),
    )
}

pub fn resume(containers: &[ContainerRef]) -> String {
    if containers.is_empty() {
        return String::new();
    }
    format!(
        "for id in {}; do\n  state=$(docker inspect --type container --format '{{{{.State.Status}}}}' \
         \"$id\") || {{ printf 'stagecraft-command: docker inspect %s\\n' \"$id\" >&2; exit 1; }}\n  \
         case $state in\n    running|restarting) ;;\n    paused) try docker unpause \"$id\" \
         >/dev/null ;;\n    *) try docker start \"$id\" >/dev/null ;;\n  esac\ndone\n",
        ids(containers)
    )
}

pub fn rename(container: &ContainerRef, name: &str) -> String {
    format!(
        "[ \"$(docker inspect --type container --format '{{{{.Name}}}}' {id})\" != /{name} ] || exit \
         0\ntry docker rename {id} {name}\n",
        id = quote(&container.id),
        name = quote(name),
    )
}

pub fn set_restart(containers: &[ContainerRef], policy: &str) -> String {
    if containers.is_empty() {
        return String::new();
    }
    format!("try docker update --restart {} {} >/dev/null\n", quote(policy), ids(containers))
}
