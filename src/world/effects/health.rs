//! Waiting for health: one script that watches on the host and gives up as soon as it is hopeless.

use crate::model::{ContainerRef, Failure};
use crate::world::quote::quote;
use crate::world::transport::Output;

use super::id_set;

/// What is waited for.
pub struct Wait<'a> {
    pub service: &'a str,
    pub replicas: u32,
    pub beside: &'a [ContainerRef],
    pub timeout_ms: u64,
    pub monitor_ms: u64,
    pub completes: bool,
}

/// The exit status of a script that saw a container fail.
const FAILED: i32 = 3;
/// The exit status of a script that waited for too long.
const LATE: i32 = 4;

const BODY: &str = r#"
look() {
  docker inspect --type container --format '{{.ID}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{.State.ExitCode}} {{.RestartCount}} {{if .State.Health}}{{.State.Health.FailingStreak}}{{else}}0{{end}} {{.Name}}' "$@" 2>/dev/null
}
report() {
  for id in "$@"; do
    docker inspect --type container --format '{{.Name}}: {{.State.Status}}{{if .State.Health}}, {{.State.Health.Status}}{{end}}, exit code {{.State.ExitCode}}, {{.RestartCount}} restarts{{if .State.Error}}, {{.State.Error}}{{end}}' "$id" 2>/dev/null | sed 's,^/,,'
    docker inspect --type container --format '{{if .State.Health}}{{range .State.Health.Log}}health check, exit code {{.ExitCode}}: {{json .Output}}
{{end}}{{end}}' "$id" 2>/dev/null | sed '/^$/d' | tail -n 1
    docker logs --tail 20 "$id" 2>&1 | tail -n 20 | sed 's/^/  | /'
  done
}
clock
begin=$now good_since='' base=' ' mine=''
while :; do
  if [ -z "$mine" ] || [ "$have" -lt "$WANT" ] || [ "$seen" -lt "$have" ]; then
    all=$(members "$S") || { echo 'stagecraft-command: docker ps' >&2; exit 1; }
    mine='' have=0
    for id in $all; do
      case $BESIDE in *" $id "*) ;; *) mine="$mine $id" have=$((have + 1)) ;; esac
    done
  fi
  table=''
  [ -z "$mine" ] || table=$(look $mine)
  good=0 seen=0 bad='' waiting='' why=''
  while read -r id state health code restarts streak name; do
    [ -n "$id" ] || continue
    seen=$((seen + 1))
    case $base in
      *" $id:"*) first=${base##*" $id:"}; first=${first%% *} ;;
      *) first=$restarts:$streak; base="$base$id:$first " ;;
    esac
    # A container that was paused is unhealthy until its next check: one more failure tells.
    [ "$health" != unhealthy ] || [ "$streak" -gt "${first#*:}" ] || health=starting
    first=${first%:*}
    case $state,$health,$COMPLETES in
      exited,*,1) if [ "$code" = 0 ]; then good=$((good + 1)); else bad="$bad $id" why="${name#/} exited with code $code"; fi ;;
      exited,*|dead,*) bad="$bad $id" why="${name#/} exited with code $code" ;;
      restarting,*,0) bad="$bad $id" why="${name#/} exited with code $code and is being restarted" ;;
      *,unhealthy,*) bad="$bad $id" why="${name#/} is unhealthy" ;;
      *,0)
        if [ "$restarts" -gt "$first" ]; then bad="$bad $id" why="${name#/} was restarted"
        elif [ "$state" = running ] && [ "$health" != starting ]; then good=$((good + 1))
        else waiting="$waiting $id"
        fi ;;
      *) waiting="$waiting $id" ;;
    esac
  done <<TABLE
$table
TABLE
  if [ -n "$bad" ]; then echo "$why"; report $bad | mask; exit 3; fi
  clock
  if [ "$good" -ge "$WANT" ]; then
    [ "$COMPLETES" = 0 ] && [ "$WATCH" -gt 0 ] || exit 0
    : "${good_since:=$now}"
    [ "$((now - good_since))" -lt "$WATCH" ] || exit 0
  else
    good_since=''
    if [ "$((now - begin))" -ge "$LIMIT" ]; then
      echo "$good of $WANT"
      report $waiting | mask
      exit 4
    fi
  fi
  sleep 0.05 2>/dev/null || sleep 1
done
"#;

pub fn wait(wait: &Wait<'_>) -> String {
    format!(
        "BESIDE={}\nS={}\nWANT={}\nLIMIT={}\nWATCH={}\nCOMPLETES={}\n{BODY}",
        id_set(wait.beside),
        quote(wait.service),
        wait.replicas,
        wait.timeout_ms,
        wait.monitor_ms,
        u8::from(wait.completes),
    )
}

/// What the script saw when it gave up; none when it failed in another way.
pub fn failure(service: &str, host: &str, output: &Output) -> Option<Failure> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let what = match output.status {
        FAILED => format!("{service} failed on {host}: {first}"),
        LATE => format!("{service} did not become healthy in time on {host}: {first} were"),
        _ => return None,
    };
    let detail = lines.map(|line| line.chars().take(400).collect::<String>()).take(100);
    Some(Failure::new(what).detail(detail))
}
