#!/bin/sh
# Runs the tests with clients and receivers that others have written (clienttest/): fetches those of npm as the lock files pin
# them, builds the gateway and the programs with those in Go, and lets Node's test runner do the rest. Arguments go to that runner.
#
# With `browsers` as the first argument it drives hark.js in browsers instead; the other arguments go to clienttest/browsers/run.mjs.
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
# Fetches a folder's packages, unless what is there was made from the same lock file: they are many, and some are whole runtimes.
fetch() {
	cmp -s "$1/package-lock.json" "$1/node_modules/.fetched" && return
	(cd "$1" && npm ci --no-progress --loglevel=error) >"$built/npm" 2>&1 || {
		cat "$built/npm" >&2
		return 1
	}
	cp "$1/package-lock.json" "$1/node_modules/.fetched"
}
if [ "${1-}" = browsers ]; then
	shift
	fetch clienttest
	"$go" build -race -o "$built/gateway" ./gateway
	HARK_GATEWAY="$built/gateway" node clienttest/browsers/run.mjs "$@"
	exit
fi
(fetch clienttest && fetch clienttest/receivers) &
fetching=$!
"$go" build -race -o "$built/gateway" ./gateway
"$go" build -C clienttest/follow -o "$built/follow" .
"$go" build -C clienttest/receivers/go -o "$built/receivers" .
wait "$fetching"
cd clienttest
# The end is forced because some clients leave a timer behind that has been told to wait for an hour. Two files at a time, because
# those of one wait for the time that a poller takes.
HARK_GATEWAY="$built/gateway" HARK_FOLLOW="$built/follow" HARK_RECEIVERS="$built/receivers" \
	node --test --test-force-exit --test-timeout=120000 --test-concurrency=2 "$@"
