//! Acts on files: each is written beside its place, synced, and renamed into it.

use std::collections::BTreeSet;

use crate::model::Failure;
use crate::world::layout::UNFINISHED;
use crate::world::quote::quote;
use crate::world::secrets::Secrets;

/// `place PATH MODE SIZE` puts its input in a file: whole or not at all. `flush PATH` has a file
/// or a directory written to the disk. `salt` makes the environment's salt if there is none.
const HELPERS: &str = r#"
flush() { sync "$1" 2>/dev/null || sync; }
place() {
  folder=${1%/*}
  folder=${folder:-/}
  try mkdir -p "$folder"
  if [ -d "$1" ]; then give_up "$1 is a directory"; fi
  try rm -f "$1$UNFINISHED"
  (umask 077; set -C; cat >"$1$UNFINISHED") || give_up "$1$UNFINISHED could not be written"
  size=$(wc -c <"$1$UNFINISHED") || exit 1
  if [ "$size" -ne "$3" ]; then rm -f "$1$UNFINISHED"; give_up "$1 was not written whole"; fi
  try chmod "$2" "$1$UNFINISHED"
  flush "$1$UNFINISHED"
  try mv -f "$1$UNFINISHED" "$1"
  flush "$folder"
}
salt() {
  try mkdir -p "$D/env"
  try chmod 0700 "$D/env"
  [ -s "$D/env/.salt" ] || dd if=/dev/urandom bs=32 count=1 2>/dev/null | od -An -v -tx1 | tr -d ' \n' | place "$D/env/.salt" 0600 64
  [ -s "$D/env/.salt" ] || give_up "$D/env/.salt could not be made"
}
version_of() {
  version=$(cat "$D/env/.salt" "$1" | digest) || exit 1
  version=$(printf %.16s "$version")
}
"#;

fn with_helpers(body: &str) -> String {
    format!("UNFINISHED={}\n{HELPERS}{body}", quote(UNFINISHED))
}

/// Standard output of this is the content, without its being an argument of any process.
fn print(content: &str) -> String {
    format!("printf %s {}", quote(content))
}

pub fn prepare(directory: &str) -> String {
    with_helpers(&format!(
        "D={}\ntry mkdir -p \"$D\" \"$D/env\" \"$D/store/releases\" \"$D/store/blobs\" \
         \"$D/store/journal\"\ntry chmod 0755 \"$D\"\ntry chmod 0700 \"$D/env\" \"$D/store\"\n\
         salt\n",
        quote(directory)
    ))
}

pub fn write(path: &str, mode: u32, content: &str) -> String {
    let content = content.replace('\0', "");
    with_helpers(&format!(
        "{} | place {} {mode:04o} {} || exit 1\n",
        print(&content),
        quote(path),
        content.len()
    ))
}

pub fn remove(path: &str) -> String {
    format!("try rm -f {}\n", quote(path))
}

/// The secrets are in this script's text alone: a shell whose `printf` is a program of its own
/// would put them into an argument list, so it is turned away.
pub fn write_env(
    path: &str,
    keys: &BTreeSet<String>,
    secrets: Option<&Secrets>,
) -> Result<String, Failure> {
    let secrets = secrets.ok_or_else(|| {
        Failure::new(format!("could not write {path}: its secrets are not known here"))
            .hint("name the secrets file of this environment, or run where it is")
    })?;
    let have = secrets.keys();
    let missing: Vec<&str> = keys.difference(&have).map(String::as_str).collect();
    if !missing.is_empty() {
        let what = format!("could not write {path}: no value is known for {}", missing.join(", "));
        return Err(Failure::new(what));
    }
    let content: String = secrets
        .lines()
        .filter(|(key, _)| keys.contains(*key))
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    Ok(with_helpers(&format!(
        "case $(command -V printf 2>&1) in *builtin*) ;; *) give_up 'printf is not built into this \
         sh' ;; esac\nsalt\ncontent() {{ {}; }}\nversion=$({{ cat \"$D/env/.salt\"; content; }} | \
         digest) || exit 1\nversion=$(printf %.16s \"$version\")\ncontent | place \
         \"$D/env/$version\" 0600 {size} || exit 1\ncontent | place {} 0600 {size} || exit 1\n",
        print(&content),
        quote(path),
        size = content.len(),
    )))
}

pub fn restore_env(path: &str, version: &str) -> Result<String, Failure> {
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::new(format!("{version:?} is not a version of an env file")));
    }
    Ok(with_helpers(&format!(
        "kept=$D/env/{version}\n\
         [ -f \"$kept\" ] || give_up 'the host no longer keeps that version'\n\
         size=$(wc -c <\"$kept\") || exit 1\n\
         version_of \"$kept\"\n\
         [ \"$version\" = {version} ] || give_up \"$kept was changed\"\n\
         cat \"$kept\" | place {} 0600 \"$size\" || exit 1\n",
        quote(path)
    )))
}

pub fn set_mode(path: &str, mode: u32) -> String {
    let path = quote(path);
    format!("if [ \"$(id -u)\" = 0 ]; then try chown 0:0 {path}; fi\ntry chmod {mode:04o} {path}\n")
}
