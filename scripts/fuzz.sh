#!/bin/sh
# Runs every fuzz target for the time given.
set -eu
time=${1:-5s}
go=${GO:-go}
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# fuzz runs one target. Now and then Go calls it a failure that the time was over (a worker was told so in the
# midst of an input): that is no failing input, which Go would have written down.
fuzz() { # directory, target
	echo "fuzz: $1 $2"
	if "$go" test -run='^$' -fuzz="^$2\$" -fuzztime="$time" "$1" >"$said" 2>&1 </dev/null; then
		cat "$said"
	else
		cat "$said"
		grep -q '^ *context deadline exceeded$' "$said" && ! grep -q 'Failing input' "$said"
	fi
}

grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
	dir=$(dirname "$file")
	grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | cut -d' ' -f2 | while read -r target; do
		fuzz "$dir" "$target"
	done
done
