#!/bin/sh
# Brings the servers that the tests need: redis-server and rabbitmq-server. What is
# on PATH is taken as it is, the rest comes from Debian's or Ubuntu's packages, which
# takes root. The packages' own services are not started.
set -eu

PATH="$PATH:/usr/sbin:/usr/local/sbin"
missing=
for program in redis-server rabbitmq-server; do
	if path=$(command -v "$program"); then
		echo "$program: $path"
	else
		missing="$missing $program"
	fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "missing:$missing" >&2
	echo "Put them on PATH (redis-server 7 or later, rabbitmq-server 3.10 or later), or run this script as root on Debian or Ubuntu." >&2
	exit 1
fi

# policy-rc.d tells the packages not to start their services; one that is there
# already is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # one word a package
apt-get install -q -y --no-install-recommends $missing
