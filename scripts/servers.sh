#!/bin/sh
# Runs a command with RabbitMQ and Valkey of a newer suite of Debian first on PATH, Valkey under the names of Redis:
#
#   scripts/servers.sh trixie go test ./broker/rabbitmq
#
# The packages are unpacked in a cache folder, with all that they need down to the C library, and started by that library's loader: without root, container or
# chroot, beside whatever the machine has. The versions are pinned. When the suite has others, this fails: see what has changed, and pin those.
set -eu

fail() {
	echo "servers: $*" >&2
	exit 1
}

suite=${1-}
case $suite in
trixie) rabbitmq=4.0.5 valkey=8.1.1 ;; # Debian 13, which keeps them
forky) rabbitmq=4.3.6 valkey=9.1.2 ;; # which moves on
*) fail "want a suite, trixie or forky, and a command" ;;
esac
shift
[ $# -gt 0 ] || fail "want a command behind the suite"

cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hark/servers
root=$cache/$suite-$rabbitmq-$valkey-1

# elf tells the programs among files.
elf() {
	for f; do
		[ ! -f "$f" ] || [ -h "$f" ] || [ "$(head -c 4 "$f" | tail -c 3)" != ELF ] || echo "$f"
	done
}

# started makes each program one that is started by the loader of its own suite. $0 is what it is called, by which some know what they are.
started() {
	for f; do
		mv "$f" "$f.elf"
		# shellcheck disable=SC2016 # "$0" and "$@" are those of the script that is written
		printf '#!/bin/sh\nexec "%s" --argv0 "$0" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$final${f#"$new"}.elf" >"$f"
		chmod 755 "$f"
	done
}

unpack() {
	for program in apt-get apt-cache dpkg-deb; do
		command -v $program >/dev/null 2>&1 || fail "$program is not on PATH: these servers come from Debian's packages. Run this in a container of Debian, or put such servers on PATH yourself"
	done
	mkdir -p "$cache"
	new=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	trap 'exit 1' INT TERM
	final=$root
	mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial" "$new/bin"
	: >"$new/apt/status"
	mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$new/apt/sources.list"
	# A package manager of its own, which knows nothing of what the machine has.
	apt="-o Dir::Etc::sourcelist=$new/apt/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State=$new/apt -o Dir::State::status=$new/apt/status
		-o Dir::Cache=$new/apt -o APT::Sandbox::User= -o Acquire::Languages=none -o Debug::NoLocking=true"
	# shellcheck disable=SC2086 # a list of words
	apt-get $apt update -qq >&2
	for pin in "rabbitmq-server $rabbitmq" "valkey-server $valkey"; do
		# shellcheck disable=SC2086 # a list of words
		has=$(apt-cache $apt policy "${pin% *}" | sed -n 's/^  Candidate: //p')
		case $has in
		"${pin#* }"[-+]*) ;;
		*) fail "Debian $suite has ${pin% *} ${has:-of no version}, pinned is ${pin#* }: see what has changed and pin it in scripts/servers.sh" ;;
		esac
	done
	# shellcheck disable=SC2086 # a list of words
	apt-get $apt install --download-only -y -qq --no-install-recommends rabbitmq-server valkey-server >"$new/apt/log" 2>&1 || {
		cat "$new/apt/log" >&2
		exit 1
	}
	for deb in "$new"/apt/archives/*.deb; do dpkg-deb -x "$deb" "$new"; done
	rm -rf "$new/apt"

	set -- "$new"/usr/lib/*-linux-gnu*/ld-linux-*.so.?
	[ -x "$1" ] || fail "there is no loader among the packages of $suite"
	loader=$final${1#"$new"}
	libraries=$(dirname "$loader"):$(dirname "$loader")/systemd
	erlang=$new/usr/lib/erlang
	# shellcheck disable=SC2046 # no path has a blank: they are those of packages
	started $(elf "$erlang"/erts-*/bin/* "$erlang"/bin/* "$erlang"/lib/*/priv/bin/* "$new"/usr/bin/valkey-*)
	sed -i "s|/usr/lib/erlang|$final/usr/lib/erlang|g" "$erlang"/bin/erl "$erlang"/erts-*/bin/erl

	for program in erl epmd escript; do ln -s "../usr/lib/erlang/bin/$program" "$new/bin/$program"; done
	for program in rabbitmq-server rabbitmqctl rabbitmq-plugins rabbitmq-diagnostics rabbitmq-queues; do
		printf '#!/bin/sh\nexec "%s" "$@"\n' "$final/usr/lib/rabbitmq/bin/$program" >"$new/bin/$program" # which looks for others beside itself
		chmod 755 "$new/bin/$program"
	done
	for program in server cli sentinel; do
		printf '#!/bin/sh\nexec "%s" --argv0 "redis-%s" --library-path "%s" "%s" "$@"\n' \
			"$loader" "$program" "$libraries" "$final$(readlink -f "$new/usr/bin/valkey-$program" | sed "s|^$new||").elf" >"$new/bin/redis-$program"
		chmod 755 "$new/bin/redis-$program"
	done
	mv -T "$new" "$root" 2>/dev/null || [ -d "$root" ] || fail "cannot make $root" # somebody else was faster
	rm -rf "$new"
	trap - EXIT
}

[ -d "$root" ] || unpack
export PATH="$root/bin:$PATH"
exec "$@"
