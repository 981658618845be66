#!/bin/sh
# Runs what docs/generators.md shows (clienttest/generated/): fetches the generators as they are pinned, builds the gateway, and lets Node's
# test runner do the rest. Arguments go to that runner.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

. scripts/npm.sh
with_node 22.18.0 22.23.3 scripts/generators.sh "$@" # some generators need a newer one than the rest of the tests

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
trap 'exit 1' INT TERM
"$go" build -race -o "$built/gateway" ./gateway
fetch clienttest/generated
cd clienttest/generated
# The client for processors is copied into projects whose compilers differ, so all that they check has to hold.
node_modules/.bin/tsc --noEmit --strict --noUncheckedIndexedAccess --exactOptionalPropertyTypes --noImplicitOverride \
	--noPropertyAccessFromIndexSignature --noUnusedLocals --noUnusedParameters --erasableSyntaxOnly --verbatimModuleSyntax \
	--allowImportingTsExtensions --target es2022 --module esnext --moduleResolution bundler --skipLibCheck --types node --typeRoots node_modules/@types \
	../../processor/clients/hark-worker.ts ../../gateway/blackbox/testdata/workers/worker.ts
# Most of the time goes into compiling what the generators make.
HARK_GATEWAY="$built/gateway" node --test --test-timeout=600000 "$@" generators.mjs
