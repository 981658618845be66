#!/bin/sh
# Runs every fuzz target that there is for the time given, or for so many inputs (10000x), two at a time, and prints how many inputs
# were tried in all. A pattern of grep -E as a second argument chooses among "DIRECTORY TARGET".
set -eu
export GO="${GO:-go}" FUZZTIME="${1:-5s}"

# One target. Now and then Go calls it a failure that the time was over (a worker was told so in the midst of an input): that is no
# failing input, which Go would have written down.
if [ "${1:-}" = --one ]; then # counts, directory, target
	FUZZTIME=$FUZZ_EACH
	said=$(mktemp)
	trap 'rm -f "$said"' EXIT
	passed=1
	"$GO" test -run='^$' -fuzz="^$4\$" -fuzztime="$FUZZTIME" -parallel="$FUZZ_PARALLEL" "$3" >"$said" 2>&1 </dev/null || passed=0
	# In one piece, because another one runs beside it.
	printf '%s\n' "fuzz: $3 $4
$(cat "$said")"
	sed -n 's/.*execs: \([0-9]*\) .*/\1/p' "$said" | tail -n 1 >>"$2" # with the seeds
	[ "$passed" = 1 ] || { grep -q '^ *context deadline exceeded$' "$said" && ! grep -q 'Failing input' "$said"; }
	exit
fi

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
export FUZZ_EACH="$FUZZTIME" FUZZ_PARALLEL=$((cores > 1 ? cores / 2 : 1))
targets=$(grep -rEo '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed 's|^\(.*\)/[^/]*:func |\1 |' | sort | grep -E "${2:-.}")
failed=0
echo "$targets" | xargs -P 2 -n 2 sh "$0" --one "$counts" || failed=1
awk -v targets="$(echo "$targets" | wc -l)" '{ n += $1 } END { printf "fuzz: %d executions in all, of %d targets\n", n, targets }' "$counts"
exit "$failed"
