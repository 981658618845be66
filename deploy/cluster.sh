#!/usr/bin/env bash
# Runs what docker-compose.yml runs, without containers: two gateways behind nginx (or
# Caddy), two workers, Redis and RabbitMQ, from the programs on PATH, on loopback only.
#
#   deploy/cluster.sh [FOLDER]
#
# FOLDER keeps data, logs (FOLDER/log) and process ids (FOLDER/pid); without it, a
# temporary one is removed in the end. Whatever dies is started again, so try what
# happens: kill -9 $(cat FOLDER/pid/gateway-1). Ctrl-C or SIGTERM ends all of it in order,
# a second one at once.
#
# In the environment: PROXY (nginx or caddy), PROXY_PORT (8080), GATEWAY_1_PORT,
# GATEWAY_2_PORT, REDIS_PORT, REDIS_MAXMEMORY (that of redis.conf), AMQP_PORT, EPMD_PORT, DIST_PORT,
# MANAGEMENT_PORT (of RabbitMQ's management plugin, which rabbitmqadmin needs; without it the plugin is not there), DRAIN (the gateways' and the
# workers' --drain), BIN (a folder with the programs "gateway" and "worker", else they are
# built), PROGRAMS (those to run: "epmd rabbitmq redis" for the servers alone, "redis" for one; without
# rabbitmq Redis carries the work, too), and whatever
# the gateways take (HARK_MAX_WAIT=5s, HARK_CALLBACK_EXCHANGE=events).
set -euo pipefail
exec </dev/null
PATH=$PATH:/usr/sbin:/usr/local/sbin # where Debian puts servers
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

proxy_port=${PROXY_PORT:-8080}
gateway_1_port=${GATEWAY_1_PORT:-8081}
gateway_2_port=${GATEWAY_2_PORT:-8082}
redis_port=${REDIS_PORT:-16379}
amqp_port=${AMQP_PORT:-15673}
epmd_port=${EPMD_PORT:-14369}
dist_port=${DIST_PORT:-25673}
management_port=${MANAGEMENT_PORT:-}
drain=${DRAIN:-1s}
bin=${BIN:+$(cd "$BIN" && pwd)}
programs=${PROGRAMS:-epmd rabbitmq redis gateway-1 gateway-2 worker-1 worker-2 proxy}

say() { echo "cluster: $*" >&2; }

fail() { # message [program]
	say "$1"
	[ -z "${2-}" ] || tail -n 20 "$data/log/$2.log" >&2 || true
	exit 1
}

wanted() { # name: whether it is one of those to run
	case " $programs " in *" $1 "*) ;; *) return 1 ;; esac
}

# --- what is needed ---

proxy=${PROXY:-}
if [ -z "$proxy" ]; then
	proxy=nginx
	command -v nginx >/dev/null || ! command -v caddy >/dev/null || proxy=caddy
fi
case $proxy in nginx | caddy) ;; *) fail "PROXY: $proxy is not allowed: want nginx or caddy" ;; esac
needs=() ports=()
! wanted epmd || needs+=(epmd) ports+=("$epmd_port")
! wanted rabbitmq || needs+=(rabbitmq-server) ports+=("$amqp_port" "$dist_port" ${management_port:+"$management_port"})
! wanted redis || needs+=(redis-server) ports+=("$redis_port")
! wanted gateway-1 || ports+=("$gateway_1_port")
! wanted gateway-2 || ports+=("$gateway_2_port")
! wanted proxy || needs+=("$proxy") ports+=("$proxy_port")
for program in "${needs[@]}"; do
	command -v "$program" >/dev/null ||
		fail "$program is not on PATH; Debian: apt-get install --no-install-recommends redis-server rabbitmq-server nginx-light"
done
for port in "${ports[@]}"; do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
		fail "port $port is taken; see the top of deploy/cluster.sh for how to choose another"
	fi
done

temporary=
data=${1-}
if [ -z "$data" ]; then
	temporary=$(mktemp -d "${TMPDIR:-/tmp}/hark-cluster-XXXXXX")
	data=$temporary
fi
mkdir -p "$data"
data=$(cd "$data" && pwd)
cd "$data" # what a program writes when it crashes goes there too

# --- starting and stopping ---

# Each program leads a process group, so that it can be ended with all that it started.
# Where the kernel can do that (Linux), it is also told to end when this script is killed.
tie=()
if setpriv --pdeathsig TERM true 2>/dev/null; then
	tie=(setpriv --pdeathsig TERM)
fi

run() { # name command...
	local name=$1
	shift
	set -m
	"${tie[@]+"${tie[@]}"}" "$@" >>"$data/log/$name.log" 2>&1 &
	set +m
	echo $! >"$data/pid/$name"
	disown # bash need not report its end, we do
}

pid() { cat "$data/pid/$1" 2>/dev/null; }

alive() { # name
	local id
	id=$(pid "$1") && kill -0 "$id" 2>/dev/null
}

group() { # signal name: whether there was anybody to get it
	local id
	id=$(pid "$2") && kill "-$1" -- "-$id" 2>/dev/null
}

# finish ends programs and waits until they are gone.
finish() { # seconds name...
	local deadline=$((SECONDS + $1)) name
	shift
	for name; do group TERM "$name" || true; done
	for name; do
		while group 0 "$name"; do
			if [ -n "$hurry" ] || ((SECONDS >= deadline)); then
				group KILL "$name" || true
			fi
			sleep 0.05
		done
		rm -f "$data/pid/$name"
	done
}

hurry=
stop() {
	trap 'hurry=1' INT TERM HUP
	set +e
	# The proxy after the gateways, which tell the clients to come back.
	finish 60 gateway-1 gateway-2 worker-1 worker-2
	finish 15 proxy
	finish 30 rabbitmq redis
	finish 5 epmd # started with -relaxed_command_check or not, TERM ends it
	[ -z "$temporary" ] || rm -rf "$temporary"
}
trap stop EXIT
trap 'exit 0' INT TERM HUP

mkdir -p "$data"/{bin,log,pid,proxy,rabbitmq,redis}
rm -f "$data"/pid/*
sh "$here/secrets.sh" "$data/secrets" 2>/dev/null
# shellcheck source=/dev/null
. "$data/secrets"

# --- the programs ---

start_epmd() { # Erlang's name server; one that Erlang starts by itself would stay
	run epmd epmd -port "$epmd_port" -address 127.0.0.1
}

start_rabbitmq() {
	local home=$data/rabbitmq server plugins=
	server=$(command -v rabbitmq-server)
	# Debian's wrapper changes the user and insists on being root.
	[[ $server != /usr/sbin/* || ! -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || server=/usr/lib/rabbitmq/bin/rabbitmq-server
	# RabbitMQ takes the password when its data is new, and keeps it there.
	(
		umask 077
		cat "$here/rabbitmq.conf" - >"$home/rabbitmq.conf" <<-END

			listeners.tcp.1 = 127.0.0.1:$amqp_port
			default_user = hark
			default_pass = $RABBITMQ_PASSWORD
		END
		if [ -n "$management_port" ]; then # its keys are known only with the plugin
			printf 'management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %s\n' "$management_port" >>"$home/rabbitmq.conf"
			plugins=rabbitmq_management
		fi
		echo "[$plugins]." >"$home/enabled_plugins"
	)
	# Nothing comes from the machine's own configuration. ALLOW_INPUT makes the script
	# become the server instead of waiting for it, so that signals reach the server.
	run rabbitmq env -i PATH="$PATH" HOME="$home" LANG=C.UTF-8 \
		ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
		RABBITMQ_NODENAME=hark@localhost RABBITMQ_DIST_PORT="$dist_port" \
		RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home" RABBITMQ_LOGS=- \
		RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_CONFIG_FILES="$home/none" \
		RABBITMQ_ADVANCED_CONFIG_FILE="$home/none.config" RABBITMQ_CONF_ENV_FILE="$home/none.conf" \
		RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" RABBITMQ_GENERATED_CONFIG_DIR="$home/config" \
		RABBITMQ_PID_FILE="$home/pid" RABBITMQ_ALLOW_INPUT=1 \
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}' \
		"$server" -noinput
}

start_redis() { # the password over standard input, so that the list of processes does not show it
	run redis redis-server "$here/redis.conf" --dir "$data/redis" --bind 127.0.0.1 --port "$redis_port" \
		${REDIS_MAXMEMORY:+--maxmemory "$REDIS_MAXMEMORY"} - \
		<<<"requirepass $REDIS_PASSWORD"
}

shared() { # runs a command with what gateways and workers have in common
	local HARK_REDIS="redis://:$REDIS_PASSWORD@127.0.0.1:$redis_port/0" HARK_AMQP="amqp://hark:$RABBITMQ_PASSWORD@127.0.0.1:$amqp_port/"
	export HARK_REDIS
	! wanted rabbitmq || export HARK_AMQP
	"$@"
}
# On loopback they need no --insecure, and answer to loopback names only.
start_gateway-1() { shared run gateway-1 "$bin/gateway" --listen "127.0.0.1:$gateway_1_port" --samples=false --drain "$drain"; }
start_gateway-2() { shared run gateway-2 "$bin/gateway" --listen "127.0.0.1:$gateway_2_port" --samples=false --drain "$drain"; }
start_worker-1() { shared run worker-1 "$bin/worker" --routes images,fetch,sleep --drain "$drain"; }
start_worker-2() { shared run worker-2 "$bin/worker" --routes images,fetch,sleep --drain "$drain"; }

start_proxy() {
	if [ "$proxy" = caddy ]; then
		BIND=127.0.0.1 SITE="http://:$proxy_port" GATEWAYS="127.0.0.1:$gateway_1_port 127.0.0.1:$gateway_2_port" \
			XDG_DATA_HOME="$data/proxy" XDG_CONFIG_HOME="$data/proxy" \
			run proxy caddy run --config "$here/Caddyfile" --adapter caddyfile
		return
	fi
	# Addresses instead of names, so no name server.
	sed -e "s/listen 8080;/listen 127.0.0.1:$proxy_port;/" \
		-e "s/gateway-1:8080 resolve/127.0.0.1:$gateway_1_port/" -e "s/gateway-2:8080 resolve/127.0.0.1:$gateway_2_port/" \
		-e '/^ *resolver /d' "$here/nginx.conf" >"$data/proxy/nginx.conf"
	local directives='daemon off;'
	# As root it would give its processes away to a user who cannot get into the folder.
	[ "$(id -u)" != 0 ] || directives+=' user root;'
	run proxy nginx -p "$data/proxy/" -c "$data/proxy/nginx.conf" -e stderr -g "$directives"
}

# --- until they can be used ---

await() { # name test...
	local name=$1 deadline=$((SECONDS + 120))
	shift
	until "$@" 2>/dev/null; do
		alive "$name" || fail "$name ended while it started:" "$name"
		((SECONDS < deadline)) || fail "$name cannot be used after two minutes:" "$name"
		sleep 0.05
	done
}

open() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); } # port

healthy() ( # port
	exec 3<>"/dev/tcp/127.0.0.1/$1"
	printf 'GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$1" >&3
	read -r -t 5 _ status _ <&3
	[ "$status" = 200 ]
)

pong() ( # port; Redis answers to this only when it has read its data
	exec 3<>"/dev/tcp/127.0.0.1/$1"
	printf 'AUTH %s\r\nPING\r\n' "$REDIS_PASSWORD" >&3
	read -r -t 5 first <&3
	read -r -t 5 second <&3
	[ "$first $second" = $'+OK\r +PONG\r' ]
)

! wanted epmd || start_epmd
! wanted epmd || await epmd open "$epmd_port"
! wanted rabbitmq || start_rabbitmq
! wanted redis || start_redis
if [ -z "$bin" ] && wanted gateway-1; then
	say "building"
	bin=$data/bin
	(cd "$here/.." && CGO_ENABLED=0 go build -trimpath -o "$bin/" ./gateway ./processor/cmd/worker)
fi
! wanted redis || await redis pong "$redis_port"
! wanted rabbitmq || await rabbitmq open "$amqp_port"
! wanted rabbitmq || [ -z "$management_port" ] || await rabbitmq open "$management_port"
for name in gateway-1 gateway-2 worker-1 worker-2 proxy; do
	! wanted "$name" || "start_$name"
done
! wanted gateway-1 || await gateway-1 healthy "$gateway_1_port"
! wanted gateway-2 || await gateway-2 healthy "$gateway_2_port"
! wanted proxy || await proxy healthy "$proxy_port"

if wanted proxy; then
	cat <<-END
		Hark listens on http://127.0.0.1:$proxy_port
		  proxy     $proxy
		  gateways  http://127.0.0.1:$gateway_1_port http://127.0.0.1:$gateway_2_port
		  data      $data
	END
	[ -z "$management_port" ] || echo "  RabbitMQ  http://127.0.0.1:$management_port, user hark, password in $data/secrets"
else
	echo "running: $programs"
fi

# What dies is started again, as the restart policy of docker-compose.yml does it.
while sleep 0.5; do
	for name in $programs; do
		if ! alive "$name"; then
			say "$name ended and is started again"
			group KILL "$name" || true # what it left
			"start_$name"
		fi
	done
done
