#!/bin/sh
# Runs every fuzz target that there is for the time given, or for so many inputs (10000x), the packages two at a time, and prints how
# many inputs were tried in all. A pattern of grep -E as a second argument chooses among "DIRECTORY TARGET".
set -eu
export GO="${GO:-go}" FUZZTIME="${1:-5s}"

# The targets of one package, of which the program is made once: most of the time goes into that. Now and then Go calls it a failure
# that the time was over (a worker was told so in the midst of an input): that is no failing input, which Go would have written down.
if [ "${1:-}" = --package ]; then # counts, targets, directory
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' EXIT
	"$GO" test -c -vet=off -fuzz=. -o "$folder/program" "$4"
	cache=$("$GO" env GOCACHE)/fuzz/$("$GO" list "$4") # where go test keeps what it has found
	mkdir -p "$cache"
	failed=0
	for target in $(sed -n "s|^$4 ||p" "$3"); do
		passed=1
		(cd "$4" && exec "$folder/program" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$FUZZ_EACH" -test.parallel="$FUZZ_PARALLEL" \
			-test.fuzzcachedir="$cache") >"$folder/said" 2>&1 </dev/null || passed=0
		# In one piece, because another one runs beside it.
		printf '%s\n' "fuzz: $4 $target
$(cat "$folder/said")"
		sed -n 's/.*execs: \([0-9]*\) .*/\1/p' "$folder/said" | tail -n 1 >>"$2" # with the seeds
		[ "$passed" = 1 ] || { grep -q '^ *context deadline exceeded$' "$folder/said" && ! grep -q 'Failing input' "$folder/said"; } || failed=1
	done
	exit "$failed"
fi

counts=$(mktemp)
targets=$(mktemp)
trap 'rm -f "$counts" "$targets"' EXIT
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
export FUZZ_EACH="$FUZZTIME" FUZZ_PARALLEL=$((cores > 1 ? cores / 2 : 1))
grep -rEo '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed 's|^\(.*\)/[^/]*:func |\1 |' | sort | grep -E "${2:-.}" >"$targets"
failed=0
cut -d' ' -f1 "$targets" | uniq | xargs -P 2 -n 1 sh "$0" --package "$counts" "$targets" || failed=1
awk -v targets="$(grep -c . "$targets")" '{ n += $1 } END { printf "fuzz: %d executions in all, of %d targets\n", n, targets }' "$counts"
exit "$failed"
