#!/bin/sh
# Times `stagecraft compose config` against `docker compose config` on the largest file of the
# corpus, whole processes in turn, and prints one line of JSON with the ratio of the medians.
#
#   tests/bench/compose_config.sh [STAGECRAFT_BINARY]
#
# STAGECRAFT_DOCKER_COMPOSE names the docker-compose binary (else `docker compose`),
# STAGECRAFT_COMPOSE_CORPUS the corpus, ROUNDS how often each runs (30).
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
binary=${1:-$root/target/release/stagecraft}
corpus=${STAGECRAFT_COMPOSE_CORPUS:-$root/../shared/compose/corpus}
rounds=${ROUNDS:-30}

[ -x "$binary" ] || { echo "there is no $binary; run cargo build --release" >&2; exit 1; }
[ -d "$corpus" ] || { echo "there is no corpus at $corpus" >&2; exit 1; }

# The largest file that Docker Compose accepts.
file=$(awk -F '\t' '$6 == "accepts" { sub("/", "__", $1); print $1 "/" $2 }' "$corpus/../corpus.tsv" |
    while read -r path; do printf '%s %s\n' "$(wc -c <"$corpus/$path")" "$path"; done |
    sort -rn | head -n 1 | cut -d ' ' -f 2-)
cd "$corpus/$(dirname "$file")"
name=$(basename "$file")

theirs() {
    if [ -n "${STAGECRAFT_DOCKER_COMPOSE:-}" ]; then
        "$STAGECRAFT_DOCKER_COMPOSE" -p bench -f "$name" config --format json
    else
        docker compose -p bench -f "$name" config --format json
    fi >/dev/null 2>&1
}

ours() {
    "$binary" compose config -p bench -f "$name" --format json >/dev/null 2>&1
}

now() { date +%s%N; }

times=$(mktemp -d)
trap 'rm -rf "$times"' EXIT
if ! theirs || ! ours; then
    echo "one of the two refuses $file" >&2
    exit 1
fi
round=0
while [ "$round" -lt "$rounds" ]; do
    for side in theirs ours; do
        start=$(now)
        "$side"
        echo $(($(now) - start)) >>"$times/$side"
    done
    round=$((round + 1))
done

median() { sort -n "$1" | sed -n "$((rounds / 2 + 1))p"; }
awk -v file="$file" -v rounds="$rounds" -v theirs="$(median "$times/theirs")" -v ours="$(median "$times/ours")" 'BEGIN {
    printf "{\"bench\":\"compose_config\",\"file\":\"%s\",\"rounds\":%d,\"docker_compose_ms\":%.2f,\"stagecraft_ms\":%.2f,\"ratio\":%.1f}\n",
        file, rounds, theirs / 1e6, ours / 1e6, theirs / ours
}'
