#!/bin/sh
# Goes the way of a newcomer, by what README shows as it stands there, from a clean clone of what is committed here to the first push, to both programs
# built, and to the end by kill; first with empty caches of Go, then with those that this has filled. It prints a table of what took how long.
#
#   scripts/first-hour.sh [PORT]
#
# With PORT the gateway listens there instead of at README's 8080. The modules come from wherever `go env GOPROXY` says.
set -eu

fail() {
	echo "first-hour: $*" >&2
	exit 1
}

port=${1:-8080}
here=$(cd "$(dirname "$0")/.." && pwd)
for program in git go make curl; do
	command -v $program >/dev/null 2>&1 || fail "$program is not on PATH"
done
! curl -s -o /dev/null "http://127.0.0.1:$port/" || fail "something listens on port $port already: name another one, scripts/first-hour.sh 8090"

work=$(mktemp -d "${TMPDIR:-/tmp}/hark-first-hour-XXXXXX")
run= # process id of what is running in the background
clean() {
	[ -z "$run" ] || kill "$run" 2>/dev/null || true
	chmod -R u+w "$work" # modules are read-only
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM
GOMODCACHE=$work/modules GOCACHE=$work/cache GOFLAGS=-modcacherw
export GOMODCACHE GOCACHE GOFLAGS

# block prints the lines of README's first block for a shell that has a pattern in it.
block() {
	awk -v pattern="$1" '
		/^```/ { if (inside && found) { printf "%s", text; exit }; inside = !inside && $0 == "```sh"; text = ""; found = 0; next }
		inside { text = text $0 "\n"; if ($0 ~ pattern) found = 1 }
	' "$clone/README.md" | sed "s/127\.0\.0\.1:8080/127.0.0.1:$port/g"
}

now() { date +%s%N; } # nanoseconds

# took notes a step, and how long it took since $began.
took() {
	echo "$1|$(awk -v ns=$(($(now) - began)) 'BEGIN { printf "%.1f", ns / 1e9 }')" >>"$work/$caches"
}

# until_said waits for a line in a file, for as long as what writes it runs.
until_said() {
	until grep -q "$2" "$1"; do
		kill -0 "$run" 2>/dev/null || {
			cat "$1" >&2
			fail "it has ended"
		}
		sleep 0.05
	done
}

way() {
	caches=$1 clone=$work/clone-$1
	began=$(now)
	git clone -q "file://$here" "$clone"
	took "git clone"
	cd "$clone"

	command=$(block '^go run ./gateway$')
	[ -n "$command" ] || fail "README does not show how it is run"
	[ "$port" = 8080 ] || command="$command --listen 127.0.0.1:$port"
	: >"$work/said"
	began=$(now)
	# shellcheck disable=SC2086 # words, as they stand there
	$command >"$work/said" 2>&1 &
	run=$!
	until_said "$work/said" "Hark listens on http://127.0.0.1:$port"
	took "go run ./gateway, until it listens"

	push=$(block 'requests/first/events')
	: >"$work/pushed"
	began=$(now)
	sh -c "$push" >"$work/pushed" 2>"$work/errors" &
	client=$!
	until grep -q request.accepted "$work/pushed"; do
		kill -0 $client 2>/dev/null || fail "nothing is pushed: $(cat "$work/pushed" "$work/errors")"
		sleep 0.01
	done
	took "first push, until the first event"
	wait $client || fail "the push does not end well: $(cat "$work/errors")"
	grep -q '^event: end' "$work/pushed" || fail "the push has no end: $(cat "$work/pushed")"
	took "… until the end, with 2 s of work"

	began=$(now)
	kill -TERM $run
	while curl -s -o /dev/null "http://127.0.0.1:$port/health/live"; do sleep 0.05; done
	run=
	took "kill, until nobody listens"

	began=$(now)
	make -s build
	for program in gateway worker; do [ -x bin/$program ] || fail "make build leaves no bin/$program"; done
	took "make build"
	cd "$here"
}

way cold
way warm

printf '%-40s %12s %12s\n' "seconds" "cold caches" "warm caches"
paste -d '|' "$work/cold" "$work/warm" | while IFS='|' read -r step cold _ warm; do
	printf '%-40s %12s %12s\n' "$step" "$cold" "$warm"
done
du -sm "$work/modules" "$work/cache" | awk '{ print $1 " MB in " $2 }' | sed "s|$work/modules|modules|; s|$work/cache|the build cache|"
