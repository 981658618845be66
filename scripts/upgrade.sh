#!/bin/sh
# Replaces an older version, of the commit or tag given, by this one with work under way, and counts that each request ended once and streams went
# on: on Redis and RabbitMQ one process after the other where the layout in Redis is the same, else all at once; then one gateway with its folder.
#
#   scripts/upgrade.sh REF
set -eu

ref=${1:?"which version to come from is not said: make upgrade FROM=<commit or tag>"}
GO=${GO:-go}
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
git rev-parse -q --verify "$ref^{commit}" >/dev/null || {
	echo "upgrade: $ref is no commit here; a shallow clone gets it with: git fetch --unshallow --tags" >&2
	exit 1
}
work=$(mktemp -d "${TMPDIR:-/tmp}/hark-upgrade-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

layout() { # of the store in Redis, in a folder of source
	sed -n -E 's/^const layout = ([0-9]+)$/\1/p' "$1/store/redis/schema.go"
}

mkdir "$work/source" "$work/bin"
git archive "$ref" | tar -x -C "$work/source"
echo "upgrade: building $ref" >&2
(cd "$work/source" && CGO_ENABLED=0 "$GO" build -o "$work/bin/" ./gateway ./processor/cmd/worker)
before=$(layout "$work/source") now=$(layout .)
[ -n "$before" ] && [ -n "$now" ] || {
	echo "upgrade: which layout Redis gets is not to be read in store/redis/schema.go" >&2
	exit 1
}
redis=other
[ "$before" != "$now" ] || redis=same
echo "upgrade: the layout in Redis was $before, and is $now" >&2
HARK_TEST_UPGRADE=$work/bin HARK_TEST_UPGRADE_REDIS=$redis HARK_REQUIRE_SERVERS=1 "$GO" test -count=1 -v -timeout=20m -run='^TestUpgrade' ./gateway/blackbox
