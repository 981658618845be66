#!/bin/sh
# Runs what docs/generators.md shows (clienttest/generated/): fetches the generators as they are pinned, builds the gateway, and lets Node's
# test runner do the rest. Arguments go to that runner.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

# Some generators need a newer Node than the rest of the tests: npm brings one, then.
oldest=22.18.0
if [ -z "${HARK_NODE-}" ] && ! node -e 'const [a, b] = [process.versions.node, process.argv[1]].map((v) => v.split(".").map(Number)); process.exit(a[0] > b[0] || a[0] === b[0] && a[1] >= b[1] ? 0 : 1)' "$oldest"; then
	echo "generators: Node $(node --version) is older than $oldest, so npm brings another one" >&2
	HARK_NODE=22 exec npx --yes --package=node@22.23.3 -- sh "$0" "$@"
fi

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
trap 'exit 1' INT TERM
"$go" build -race -o "$built/gateway" ./gateway
cd clienttest/generated
npm ci --no-progress --loglevel=error >"$built/npm" 2>&1 || {
	cat "$built/npm" >&2
	exit 1
}
# Most of the time goes into compiling what the generators make.
HARK_GATEWAY="$built/gateway" node --test --test-timeout=600000 "$@" generators.mjs
