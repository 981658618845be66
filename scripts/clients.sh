#!/bin/sh
# Runs the tests with clients and receivers that others have written (clienttest/): fetches those of npm as the lock files pin
# them, builds the gateway and the programs with those in Go, and lets Node's test runner do the rest. Arguments go to that runner.
#
# With `browsers` as the first argument it drives hark.js in browsers instead; the other arguments go to clienttest/browsers/run.mjs.
# With `pictures` it makes the pictures of the pages that the gateway serves; the next argument is the folder that gets them.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

. scripts/npm.sh
with_node 20.18.1 22 scripts/clients.sh "$@" # Debian's may be older than what the clients need

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
trap 'exit 1' INT TERM
if [ "${1-}" = browsers ]; then
	shift
	fetch clienttest
	"$go" build -race -o "$built/gateway" ./gateway
	HARK_GATEWAY="$built/gateway" node clienttest/browsers/run.mjs "$@"
	exit
fi
if [ "${1-}" = pictures ]; then
	shift
	fetch clienttest
	"$go" build -o "$built/gateway" ./gateway
	HARK_GATEWAY="$built/gateway" node clienttest/pictures.mjs "$@"
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
