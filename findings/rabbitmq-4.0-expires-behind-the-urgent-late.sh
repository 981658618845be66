#!/bin/sh
# RabbitMQ 4.0: in a quorum queue with a time to live, messages of the lower of its two ranks expire late while there are some of the higher, so that a queue which
# is to delay by dead-lettering delays them by more than it says. RabbitMQ 4.3 does not.
#
# rabbitmq-server 4.0.5-6+deb13u2 of Debian 13 (4.3.6-1 of Debian forky expires them in time), amqplib 2.0.1, Node 20.20.2.
#
# Guess: all messages of a queue have the same time to live, so each is dead-lettered that long after it was published, whatever its priority.
# Seen: one of priority 0 that was published first, and then one of priority 9 each half second, with two seconds to live. The first one comes behind one or two that
# were published later, when those are due: the queue looks at the message alone that it would hand out next. With an hour to live it would be up to an hour late.
#
#   due at 2.5 s, priority 9: came 0.0 s late, behind 0 that were published later
#   due at 3.0 s, priority 9: came 0.0 s late, behind 0 that were published later
#   due at 2.0 s, priority 0: came 1.0 s late, behind 2 that were published later
#   due at 3.5 s, priority 9: came 0.0 s late, behind 0 that were published later
#
# What to do: let messages of one rank alone wait in a queue: those without a priority, or with one of 0 to 4, in one, the others in another.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error amqplib@2.0.1
cat >find.mjs <<'END'
import assert from 'node:assert/strict';
import { connect } from 'amqplib';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let connection;
for (let tries = 0; !connection; tries++) {
  connection = await connect(process.env.URL).catch(async (error) => {
    if (tries > 200) throw error;
    await pause(200);
  });
}
assert.equal(connection.connection.serverProperties.version, '4.0.5');
const channel = await connection.createConfirmChannel();
const quorum = { 'x-queue-type': 'quorum' };
await channel.assertQueue('work', { durable: true, arguments: quorum });
await channel.assertQueue('wait', {
  durable: true,
  arguments: { ...quorum, 'x-message-ttl': 2000, 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': 'work', 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' },
});
const due = [];
const came = [];
let all;
const done = new Promise((resolve) => { all = resolve; });
await channel.consume('work', (message) => {
  const i = Number(message.content);
  came.push(i);
  const early = came.filter((other) => other > i).length;
  console.log(`due at ${((due[i] - due[0]) / 1000 + 2).toFixed(1)} s, priority ${message.properties.priority ?? 0}: came ${((Date.now() - due[i]) / 1000).toFixed(1)} s late, behind ${early} that ${early === 1 ? 'was' : 'were'} published later`);
  channel.ack(message);
  if (came.length === 6) all();
});
for (let i = 0; i < 6; i++) {
  due.push(Date.now() + 2000);
  channel.sendToQueue('wait', Buffer.from(String(i)), { persistent: true, priority: i ? 9 : 0 });
  await channel.waitForConfirms();
  await pause(500);
}
await done;
await connection.close();
assert.notEqual(came[0], 0);
END
# The server and what it needs, with a port, a name and a folder of its own.
cat >serve.sh <<'END'
set -eu
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
printf 'listeners.tcp.1 = 127.0.0.1:%s\nlog.console.level = error\n' "$port" >rabbitmq.conf
echo '[].' >enabled_plugins
export HOME="$PWD" RABBITMQ_NODENAME="finding$$@localhost" RABBITMQ_MNESIA_BASE="$PWD/data" RABBITMQ_LOG_BASE="$PWD/log" RABBITMQ_LOGS=- \
	RABBITMQ_CONFIG_FILE="$PWD/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE="$PWD/none" RABBITMQ_ADVANCED_CONFIG_FILE="$PWD/none.config" \
	RABBITMQ_ENABLED_PLUGINS_FILE="$PWD/enabled_plugins" RABBITMQ_PID_FILE="$PWD/pid" RABBITMQ_ALLOW_INPUT=1 \
	RABBITMQ_DIST_PORT=$((port > 40000 ? port - 10000 : port + 10000)) ERL_EPMD_PORT=$((port > 40000 ? port - 10001 : port + 10001))
export RABBITMQ_GENERATED_CONFIG_DIR="$PWD/config" URL="amqp://127.0.0.1:$port"
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
names=$!
rabbitmq-server -noinput >server.log 2>&1 &
server=$!
trap 'kill $server $names 2>/dev/null; wait' EXIT
timeout 60 node find.mjs || { cat server.log; exit 1; }
END
XDG_CACHE_HOME="$folder/cache" sh "$here/scripts/servers.sh" trixie sh serve.sh
