#!/bin/sh
# Runs every fuzz target that there is for the time given, or for so many inputs (10000x), and prints how many inputs were tried in all.
# A name as a second argument, a pattern of grep -E, chooses among them.
set -eu
time=${1:-5s}
only=${2:-.}
go=${GO:-go}
said=$(mktemp)
counts=$(mktemp)
trap 'rm -f "$said" "$counts"' EXIT

# fuzz runs one target. Now and then Go calls it a failure that the time was over (a worker was told so in the
# midst of an input): that is no failing input, which Go would have written down.
fuzz() { # directory, target
	echo "fuzz: $1 $2"
	passed=1
	"$go" test -run='^$' -fuzz="^$2\$" -fuzztime="$time" "$1" >"$said" 2>&1 </dev/null || passed=0
	cat "$said"
	# The last line of progress has what was tried, with what the seeds were.
	sed -n 's/.*execs: \([0-9]*\) .*/\1/p' "$said" | tail -n 1 >>"$counts"
	[ "$passed" = 1 ] || { grep -q '^ *context deadline exceeded$' "$said" && ! grep -q 'Failing input' "$said"; }
}

targets=$(grep -rEo '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed 's|^\(.*\)/[^/]*:func |\1 |' | sort | grep -E "$only")
echo "$targets" | while read -r dir target; do
	fuzz "$dir" "$target"
done
awk -v targets="$(echo "$targets" | wc -l)" '{ n += $1 } END { printf "fuzz: %d executions in all, of %d targets\n", n, targets }' "$counts"
