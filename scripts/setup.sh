#!/bin/sh
# Brings what the tests need and then runs the command given: what is on PATH is
# used, else it comes from Debian's packages (as root), else everything runs in a
# container, else this says what to install.
set -eu

PATH="$PATH:/usr/sbin:/usr/local/sbin" # where Debian puts servers
add_postgres() { # where Debian puts PostgreSQL
	for bin in /usr/lib/postgresql/*/bin; do
		[ ! -d "$bin" ] || PATH="$PATH:$bin"
	done
}
add_postgres
missing=""
need() { # program package...
	command -v "$1" >/dev/null 2>&1 || { shift; missing="$missing $*"; }
}
need gcc gcc libc6-dev # for the race detector
need node nodejs
need npm npm
need php php-cli # receivers of webhooks, and a client that polls
need python3 python3
need curl curl
if ! command -v chromium >/dev/null 2>&1 && ! command -v chromium-browser >/dev/null 2>&1 && ! command -v google-chrome >/dev/null 2>&1; then
	missing="$missing chromium"
fi

need redis-server redis-server
need rabbitmq-server rabbitmq-server
need nginx nginx-light
need caddy caddy
need haproxy haproxy
need varnishd varnish
need apache2 apache2-bin # the program and its modules, without a service
need postgres postgresql
need promtool prometheus # of which the tests use that one program, and deploy/story.sh the server
need systemd-analyze systemd # it looks at the units; nothing runs under it
# With NCHAN set, nginx's push module too, to compare with.
[ -z "${NCHAN-}" ] || [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing="$missing libnginx-mod-nchan"
# With BROWSERS set, the other engines that hark.js is driven in, and a screen for the one that needs one.
if [ -n "${BROWSERS-}" ]; then
	command -v firefox >/dev/null 2>&1 || need firefox-esr firefox-esr
	need WebKitWebDriver webkit2gtk-driver
	need Xvfb xvfb
fi

if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		echo "setup: installing$missing" >&2
		export DEBIAN_FRONTEND=noninteractive
		# Packages are told not to start their services: tests start their own. Where somebody has a policy already, that one holds and stays.
		policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # elsewhere only for the test of this
		if [ ! -e "$policy" ] && [ ! -h "$policy" ]; then
			trap 'rm -f "$policy"' EXIT
			trap 'exit 1' INT TERM HUP
			printf '#!/bin/sh\nexit 101\n' >"$policy"
			chmod 755 "$policy"
		else
			policy=
		fi
		apt-get update -qq
		# shellcheck disable=SC2086 # a list of words
		apt-get install -y -qq --no-install-recommends $missing >/dev/null
		trap - EXIT INT TERM HUP # exec below runs no trap
		[ -z "$policy" ] || rm -f "$policy"
		add_postgres
	elif command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
		echo "setup: running in a container, because these are not installed:$missing" >&2
		exec docker run --rm --shm-size=1g -e NCHAN -e BROWSERS -v "$PWD:/src" -w /src golang:1.26-bookworm \
			sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends make >/dev/null && exec sh scripts/setup.sh "$@"' setup "$@"
	else
		echo "setup: please install$missing (or start Docker, or run this as root on Debian)" >&2
		exit 1
	fi
fi
exec "$@"
