//! What all our scripts begin with: a known environment and a few functions, in POSIX `sh`.

use std::fs::File;
use std::io::{self, Read};

/// Sets up a script's environment. `digest` writes the SHA-256 of its input; `compose` calls the
/// Compose plugin with nothing in its environment that could change what a file means; `mode_of`
/// prints a file's permission bits; `quick` is true where the engine's own interface, which `engine` asks,
/// surely is that of the engine that `docker` would use: it answers in a fifth of the time that `docker`
/// takes to start; `container_ids` picks the ids out of its list of containers; `at_rest FILE` waits, up to 15 s, until nobody has FILE locked; `absent PATH` is true only if PATH is known not to exist.
pub const PRELUDE: &str = r#"set -u
LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DOCKER_CLI_HINTS=false
export LC_ALL PATH DOCKER_CLI_HINTS
unset CDPATH IFS
umask 022
if command -v sha256sum >/dev/null 2>&1; then digest() { sha256sum; }; else digest() { shasum -a 256; }; fi
clean() {
  env -i PATH="$PATH" HOME="${HOME-/}" LC_ALL=C COMPOSE_IGNORE_ORPHANS=1 DOCKER_CLI_HINTS=false GOGC=400 \
    ${DOCKER_HOST+"DOCKER_HOST=$DOCKER_HOST"} ${DOCKER_CONTEXT+"DOCKER_CONTEXT=$DOCKER_CONTEXT"} \
    ${DOCKER_CONFIG+"DOCKER_CONFIG=$DOCKER_CONFIG"} ${XDG_RUNTIME_DIR+"XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR"} \
    ${DOCKER_TLS_VERIFY+"DOCKER_TLS_VERIFY=$DOCKER_TLS_VERIFY"} \
    ${DOCKER_CERT_PATH+"DOCKER_CERT_PATH=$DOCKER_CERT_PATH"} "$@"
}
compose() { clean docker compose "$@"; }
SOCKET=/var/run/docker.sock
quick() {
  [ -S "$SOCKET" ] && [ -w "$SOCKET" ] && [ -z "${DOCKER_HOST-}${DOCKER_CONTEXT-}" ] || return 1
  command -v curl >/dev/null 2>&1 || return 1
  ! grep -qs currentContext "${DOCKER_CONFIG:-${HOME-}/.docker}/config.json"
}
engine() { curl -q -s -g -f --max-time 5 --noproxy '*' --unix-socket "$SOCKET" "$@" 2>/dev/null; }
container_ids() { tr ',{' '\n\n' | sed -n 's/^"Id":"\([0-9a-f]*\)"$/\1/p'; }
mode_of() { stat -c %a "$1" 2>/dev/null || stat -f %Lp "$1"; }
at_rest() {
  command -v flock >/dev/null 2>&1 || return 0
  tries=0
  while [ -r "$1" ] && ! (flock -x -n 8) 8<"$1"; do
    [ "$tries" -lt 75 ] || return 0
    tries=$((tries + 1))
    sleep 0.2 || { sleep 1; tries=$((tries + 4)); }
  done 2>/dev/null
}
absent() {
  [ ! -e "$1" ] || return 1
  case $(ls -d "$1" 2>&1) in *'ermission denied'*) echo "$1: Permission denied" >&2; return 1 ;; esac
}
"#;

/// Some random bytes, in hexadecimal.
pub fn random_hex(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut buffer)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}
