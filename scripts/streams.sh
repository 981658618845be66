#!/bin/sh
# Runs the conformance suite of Durable Streams, and its client, against a gateway (clienttest/durable): fetches them as the lock
# file pins them, builds the gateway, and lets vitest do the rest. With HARK_TEST_REDIS the gateway stands on that Redis. Arguments
# go to vitest.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

. scripts/npm.sh
with_node 20.19.0 22 scripts/streams.sh "$@" # what vitest needs

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
trap 'exit 1' INT TERM
fetch clienttest/durable
"$go" build -race -o "$built/gateway" ./gateway
cd clienttest/durable
HARK_GATEWAY="$built/gateway" node node_modules/vitest/vitest.mjs run "$@"
