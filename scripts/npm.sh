# shellcheck shell=sh
# What scripts that run programs of npm have in common. They read it with `.`, after they have set `built`, a folder that goes with them.

# with_node has the script run again, with the same arguments, by a Node that npm brings if the one on PATH is older than it needs.
with_node() { # oldest, version to bring, script, its arguments
	oldest=$1 version=$2
	shift 2
	[ -z "${HARK_NODE-}" ] || return 0
	if ! node -e 'const [a, b] = [process.versions.node, process.argv[1]].map((v) => v.split(".").map(Number)); process.exit(a[0] > b[0] || a[0] === b[0] && a[1] >= b[1] ? 0 : 1)' "$oldest"; then
		echo "$1: Node $(node --version) is older than $oldest, so npm brings another one" >&2
		HARK_NODE=$version exec npx --yes --package="node@$version" -- sh "$@"
	fi
}

# fetch brings a folder's packages, unless what is there was made from the same lock file: they are many, and some are whole runtimes.
fetch() { # folder
	cmp -s "$1/package-lock.json" "$1/node_modules/.fetched" && return
	# shellcheck disable=SC2154 # built is of the script that reads this
	(cd "$1" && npm ci --no-progress --loglevel=error) >"$built/npm" 2>&1 || {
		cat "$built/npm" >&2
		return 1
	}
	cp "$1/package-lock.json" "$1/node_modules/.fetched"
}
