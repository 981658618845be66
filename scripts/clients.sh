#!/bin/sh
# Runs the tests with clients that others have written (clienttest/): fetches those of npm as the lock file pins them, builds
# the gateway and the program that follows with those in Go, and lets Node's test runner do the rest. Arguments go to that runner.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

# Debian's Node may be older than what the clients need: npm brings one, then.
oldest=20.18.1
if [ -z "${HARK_NODE-}" ] && ! node -e 'const [a, b] = [process.versions.node, process.argv[1]].map((v) => v.split(".").map(Number)); process.exit(a[0] > b[0] || a[0] === b[0] && a[1] >= b[1] ? 0 : 1)' "$oldest"; then
	echo "clients: Node $(node --version) is older than $oldest, so npm brings another one" >&2
	HARK_NODE=22 exec npx --yes --package=node@22 -- sh "$0" "$@"
fi

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
trap 'exit 1' INT TERM
"$go" build -race -o "$built/gateway" ./gateway
"$go" build -C clienttest/follow -o "$built/follow" .
cd clienttest
npm ci --no-progress --loglevel=error >"$built/npm" 2>&1 || {
	cat "$built/npm" >&2
	exit 1
}
# The end is forced because some clients leave a timer behind that has been told to wait for an hour.
HARK_GATEWAY="$built/gateway" HARK_FOLLOW="$built/follow" node --test --test-force-exit --test-timeout=120000 "$@"
