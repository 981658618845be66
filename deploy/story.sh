#!/usr/bin/env bash
# Tells what an operator sees when the processor of a route dies and work piles up, and what is done
# about it, on what deploy/cluster.sh runs and a Prometheus beside. It waits for each thing that it
# tells, and fails if one does not come. docs/operate.md shows what it prints; that is compared.
#
#   deploy/story.sh          (make story; a minute and a half)
#
# In the environment: BIN (a folder with the programs "gateway" and "worker", else they are built).
set -euo pipefail
exec </dev/null
PATH=$PATH:/usr/sbin:/usr/local/sbin # where Debian puts servers
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
	echo "story: $*" >&2
	[ -z "${work-}" ] || tail -n 5 "$work"/*.log >&2 || true
	exit 1
}

for program in prometheus promtool curl nginx redis-server rabbitmq-server; do
	command -v "$program" >/dev/null ||
		fail "$program is not on PATH; Debian: apt-get install --no-install-recommends prometheus curl redis-server rabbitmq-server nginx-light"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/hark-story-XXXXXX")
cluster= worker= prometheus=
clean() {
	trap '' INT TERM
	[ -z "$worker" ] || kill "$worker" 2>/dev/null || true
	[ -z "$prometheus" ] || kill "$prometheus" 2>/dev/null || true
	[ -z "$cluster" ] || kill "$cluster" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

# port prints one of its own at each call that nobody listens on. Servers get it later, so those that
# systems give to connections are left out.
last=$((20000 + RANDOM % 10000))
port() {
	while last=$((last + 1)) && (exec 3<>"/dev/tcp/127.0.0.1/$last") 2>/dev/null; do :; done
}

tell() { # a line of the story
	printf '%s\n' "$*" | tee -a "$work/told"
}

# until_so waits for a condition for as long as a slow machine may take.
until_so() { # what command...
	local what=$1 deadline=$((SECONDS + 120))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || fail "it was not so within two minutes that $what"
		sleep 0.2
	done
}

# --- what it is told about ---

bin=${BIN:+$(cd "$BIN" && pwd)}
if [ -z "$bin" ]; then
	bin=$work/bin
	(cd "$here/.." && CGO_ENABLED=0 "${GO:-go}" build -trimpath -o "$bin/" ./gateway ./processor/cmd/worker)
fi
hark() { "$bin/gateway" "$@"; } # hark is the same program

for name in proxy gateway_1 gateway_2 redis amqp epmd dist worker prometheus; do
	port
	declare "${name}_port=$last"
done
export HARK_ROUTES=sleep HARK_URL=http://127.0.0.1:$proxy_port
# The worker is none of the cluster's, which starts again what dies.
PROXY=nginx PROXY_PORT=$proxy_port GATEWAY_1_PORT=$gateway_1_port GATEWAY_2_PORT=$gateway_2_port \
	REDIS_PORT=$redis_port AMQP_PORT=$amqp_port EPMD_PORT=$epmd_port DIST_PORT=$dist_port BIN=$bin \
	PROGRAMS="epmd rabbitmq redis gateway-1 gateway-2 proxy" \
	"$here/cluster.sh" "$work/cluster" >"$work/cluster.log" 2>&1 &
cluster=$!
up() { grep -q "Hark listens on" "$work/cluster.log" || ! kill -0 "$cluster"; }
until_so "the cluster is there" up
kill -0 "$cluster" 2>/dev/null || fail "the cluster ended"
# shellcheck source=/dev/null
. "$work/cluster/secrets"
export HARK_REDIS=redis://:$REDIS_PASSWORD@127.0.0.1:$redis_port/0 HARK_AMQP=amqp://hark:$RABBITMQ_PASSWORD@127.0.0.1:$amqp_port/

start_worker() {
	"$bin/worker" --listen "127.0.0.1:$worker_port" --drain 1s >>"$work/worker.log" 2>&1 &
	worker=$!
	until_so "the worker is ready" curl -fs "http://127.0.0.1:$worker_port/health/ready"
}
start_worker

# The files of this folder, but faster: a second between scrapes, and alerts that come after five
# seconds instead of minutes.
sed -E -e 's/^( *for:) .*/\1 5s/' -e 's/(hark_requests_oldest_pending_seconds\)) > 300/\1 > 5/' "$here/prometheus/alerts.yml" >"$work/alerts.yml"
sed -E -e 's/_interval: 15s/_interval: 1s/' -e "s/127.0.0.1:8080\"/127.0.0.1:$gateway_1_port\", \"127.0.0.1:$gateway_2_port\"/" \
	-e "s/127.0.0.1:8081/127.0.0.1:$worker_port/" "$here/prometheus/prometheus.yml" >"$work/prometheus.yml"
grep -q 'pending_seconds) > 5$' "$work/alerts.yml" || fail "alerts.yml is another than this script knows"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/series" --web.listen-address="127.0.0.1:$prometheus_port" --log.level=warn >"$work/prometheus.log" 2>&1 &
prometheus=$!

# query prints what Prometheus answers to a query, a series a line.
query() { promtool query instant "http://127.0.0.1:$prometheus_port" "$1"; }
targets() { [ "$(query 'sum(up)' | grep -o '=> [0-9]*')" = "=> $1" ]; }
until_so "Prometheus scrapes both gateways and the worker" targets 3

# figures prints those of the route, over all processes, as one gateway has them.
figures() {
	curl -fs "http://127.0.0.1:$gateway_1_port/v1/routes/sleep" |
		sed -E 's/.*"pending":([0-9]+).*"processing":([0-9]+).*"processors":([0-9]+).*/processors \3, pending \1, processing \2/'
}
are() { [ "$(figures)" = "processors $1, pending $2, processing $3" ]; }
series() { curl -fs "http://127.0.0.1:$gateway_1_port/metrics" | grep -F "$1"; }
status() { hark requests show "$1" | grep -q "^status  *$2$"; }
# firing prints the names of the alerts of the story that fire.
alerts='HarkBacklogOld|HarkDown'
firing() { query "ALERTS{alertstate=\"firing\",alertname=~\"$alerts\"}" | grep -o 'alertname="[^"]*"' | cut -d'"' -f2 | sort -u | paste -sd' ' -; }
fire() { [ "$(firing)" = "$1" ]; }
# said prints an annotation of an alert that fires.
said() { curl -fs "http://127.0.0.1:$prometheus_port/api/v1/alerts" | grep -o "\"alertname\":\"$1\".*" | grep -o "\"$2\":\"[^\"]*\"" | head -n 1 | cut -d'"' -f4; }
doctor() { hark doctor --url "http://127.0.0.1:$gateway_1_port"; }

# --- the story ---

tell "All is well:"
result=$(hark submit sleep '{"steps":1,"duration":"10ms","result":"done"}' --wait)
[ "$result" = '"done"' ] || fail "the request brings $result"
until_so "the worker is told of, and has nothing to do" are 1 0 0
tell "  a request brings $result; $(figures)"
diagnosis=$(doctor) || fail "the doctor finds $diagnosis"
until_so "no alert fires" fire ''
tell "  hark doctor finds nothing, and no alert fires"

hark submit sleep '{"steps":1,"duration":"6s"}' --id interrupted >/dev/null
until_so "the worker works" status interrupted processing
{ kill -9 "$worker" && wait "$worker"; } 2>/dev/null || true
worker=
died=$SECONDS
for n in $(seq 20); do hark submit sleep '{"steps":1,"duration":"100ms"}' --id "waiting-$n" >/dev/null; done
tell "The worker dies while it works on a request, and 20 more come. None is refused:"
tell "  hark requests list --status pending prints $(hark requests list --status pending | grep -c '^waiting-') of them"
until_so "20 requests wait, one is in progress, and the worker is not told of any more" are 0 20 1
tell "  GET /v1/routes/sleep, after $((SECONDS - died))s: $(figures)"
for name in 'hark_requests_pending{route="sleep"}' 'hark_requests_oldest_pending_seconds{route="sleep"}'; do
	until_so "$name is there" series "$name"
	tell "  /metrics: $(series "$name" | sed -E 's/\.[0-9]+$//')"
done

until_so "alerts fire" fire "HarkBacklogOld HarkDown"
tell "Alerts fire, here after 5 seconds instead of minutes, in a copy of the rules:"
for name in HarkDown HarkBacklogOld; do
	tell "  $name: $(said $name summary)"
done

tell "hark doctor ends with 1, and says:"
until_so "the doctor finds it" eval '! doctor'
diagnosis=$(doctor) && fail "the doctor finds nothing"
while IFS= read -r line; do tell "  $line"; done <<<"$diagnosis"

start_worker
started=$SECONDS
tell "One starts a worker again, which is all there is to do:"
until_so "nothing waits, and nothing is worked on" are 1 0 0
tell "  after $((SECONDS - started))s: $(figures)"
n=$(hark requests list --status succeeded | grep -cE '^(waiting-|interrupted)') || true
[ "$n" = 21 ] || fail "$n of 21 requests have succeeded"
attempt=$(hark requests show interrupted | awk '$1 == "attempt" { print $2 }')
[ "$attempt" = 2 ] || fail "the request that was interrupted has the attempt $attempt"
for id in interrupted waiting-1 waiting-20; do
	ends=$(hark follow "$id" | grep -c '  succeeded') || true
	[ "$ends" = 1 ] || fail "$id has ended $ends times"
done
tell "  $n requests have succeeded, the one that was interrupted in its attempt $attempt"
until_so "no alert fires any more" fire ''
diagnosis=$(doctor) || fail "the doctor finds $diagnosis"
tell "  no alert fires any more, and hark doctor finds nothing"

# --- whether it is what the document shows ---

masked() { sed -E 's/[0-9][0-9TZ:.-]*(s|m ?[0-9.]*s)?/#/g'; } # figures and times differ
shown=$(awk '/^\$ make story$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$here/../docs/operate.md" | masked)
[ "$shown" = "$(masked <"$work/told")" ] || {
	diff <(echo "$shown") <(masked <"$work/told") >&2 || true
	fail "docs/operate.md tells it otherwise; put there what is printed above"
}
