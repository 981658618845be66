#!/bin/sh
# Runs the tests of packages: gotest.sh "PACKAGE..." FLAG...
#
# Up to five that fail run once more, without the others beside them, unless the race detector has found something. What fails twice
# fails. What passes then is named at the end: it depends on how busy the machine is, which is a bug to be found, and no reason to
# hold back a change that is not about it.
set -eu
packages=$1
shift
report=$(mktemp)
trap 'rm -f "$report"' EXIT
${GO:-go} tool -modfile="$(dirname "$0")/../tools/go.mod" gotestsum --format=pkgname-and-test-fails --format-hide-empty-pkg --no-color --hide-summary=skipped \
	--rerun-fails=1 --rerun-fails-max-failures=5 --rerun-fails-run-root-test --rerun-fails-abort-on-data-race --rerun-fails-report="$report" \
	--packages="$packages" -- "$@"
if [ -s "$report" ]; then
	echo "flaky, each a bug to be found: failed beside others and passed alone"
	cat "$report"
fi
