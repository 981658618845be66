#!/bin/sh
# Runs every fuzz target for the time given.
set -eu
time=${1:-5s}
go=${GO:-go}
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
	dir=$(dirname "$file")
	grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | cut -d' ' -f2 | while read -r target; do
		echo "fuzz: $dir $target"
		"$go" test -run='^$' -fuzz="^$target\$" -fuzztime="$time" "$dir"
	done
done
