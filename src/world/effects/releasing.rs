//! What a release does besides rolling containers by itself: commands that run once, and rollouts by the
//! docker-rollout plugin.

use crate::world::quote::{quote, quote_all};

/// The most that is kept of what a command says.
const SAID_LINES: usize = 200;
const SAID_WIDTH: usize = 400;

/// Runs a command in a container of its own, under a name of its own: a run that a dead process has
/// left at work is found by it and waited for, since two migrations at once may do harm. It runs
/// detached, so that neither its output nor its exit status depends on a connection. What it says is
/// masked before it is cut: half a secret would not be known for one.
const RUN: &str = r#"
if docker inspect --type container "$N" >/dev/null 2>&1; then
  docker wait "$N" >/dev/null 2>&1
  lenient "$GONE" docker rm -f -v "$N"
fi
if [ -n "$E" ] && [ -f "$E" ]; then set -- --env-file "$E" "$@"; fi
begun=$(compose "$@" </dev/null 2>&1) || {
  printf '%s\n' "$begun" | mask >&2
  lenient "$GONE" docker rm -f -v "$N"
  give_up 'it could not be started'
}
status=$(docker wait "$N") || give_up 'nothing is known of how it ended'
out=$(docker logs --tail "$LINES" "$N" 2>&1 | mask | cut -c "1-$WIDTH")
lenient "$GONE" docker rm -f -v "$N"
if [ "$status" -ne 0 ]; then
  printf '%s\n' "$out" >&2
  give_up "it ended with exit status $status"
fi
printf '%s\n' "$out"
"#;

pub fn run(service: &str, command: &[String]) -> String {
    format!(
        "N=$P-{service}-release\nLINES={SAID_LINES}\nWIDTH={SAID_WIDTH}\n\
         set -- --project-directory \"$D\" -p \"$P\" -f \"$F\" --progress quiet run -d -T --no-deps \
         --name \"$N\" {service} {command}\n{RUN}",
        service = quote(service),
        command = quote_all(command.iter().map(String::as_str)),
    )
}

/// Has docker-rollout replace a service's containers. Its options are those of its releases since
/// v0.9.
pub fn plugin(
    plugin: &str,
    service: &str,
    timeout_ms: u64,
    settle_ms: u64,
    hook: &[String],
) -> String {
    let seconds = |ms: u64| ms.div_ceil(1000).max(1);
    let mut options = format!("-t {}", seconds(timeout_ms));
    if settle_ms > 0 {
        let wait = seconds(settle_ms);
        options.push_str(&format!(" -w {wait} --wait-after-healthy {wait}"));
    }
    match hook {
        [] => {}
        [shell, flag, line] if shell == "sh" && flag == "-c" => {
            options.push_str(&format!(" --pre-stop-hook {}", quote(line)));
        }
        words => {
            let line = quote_all(words.iter().map(String::as_str));
            options.push_str(&format!(" --pre-stop-hook {}", quote(&line)));
        }
    }
    format!(
        "set -- -f \"$F\" -p \"$P\" {options}\n\
         if [ -n \"$E\" ] && [ -f \"$E\" ]; then set -- --env-file \"$E\" \"$@\"; fi\n\
         said=$(clean sh {plugin} rollout \"$@\" {service} </dev/null 2>&1) || {{\n  status=$?\n  printf \
         '%s\\n' \"$said\" | tail -n 40 | mask >&2\n  give_up \"docker-rollout ended with exit status \
         $status\"\n}}\n",
        plugin = quote(plugin),
        service = quote(service),
    )
}
