#!/bin/sh
# A subscription of an AMQPSession, which recovers its consumers when a connection was lost, is over for good when the broker cancels the consumer, and
# no callback says so.
#
# @cloudamqp/amqp-client 4.1.1, beside amqp-connection-manager 5.0.0 (over amqplib 2.3.1) and rabbitmq-client 5.0.8 (npm), Node 20.20.2; rabbitmq-server
# 4.0.5-6+deb13u2 of Debian 13 (3.10.8 of Debian 12 does the same).
#
# Guess: "automatic reconnection, consumer recovery" means that who subscribes goes on to get messages, or is told that it does not: by onrecoverfailed,
# or by an error.
# Seen: the queue is deleted while the connection stays, and is there again a second later. The others have their consumer back. The session waits for
# the loss of its connection alone; neither ondisconnect nor onrecoverfailed is called, the subscription is kept for the next reconnection, and until
# then the queue fills.
#
#   AMQPSession               "1"; consumers 0, messages 1
#   amqp-connection-manager   "1", "2"; consumers 1, messages 0
#   rabbitmq-client           "1", "2"; consumers 1, messages 0
#   AMQPClient, wait()        Consumer cancelled by the server
#
# What to do: consume with an AMQPClient and wait for the consumer, whose wait() is rejected then ("Consumer cancelled by the server"), and begin anew;
# or watch how many consumers the queue has.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error \
	@cloudamqp/amqp-client@4.1.1 amqplib@2.3.1 amqp-connection-manager@5.0.0 rabbitmq-client@5.0.8
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { AMQPClient, AMQPSession } from '@cloudamqp/amqp-client';
import manager from 'amqp-connection-manager';
import { connect } from 'amqplib';
import { Connection } from 'rabbitmq-client';

const url = process.env.URL;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let admin;
for (let tries = 0; !admin; tries++) {
  admin = await connect(url).catch(async (error) => {
    if (tries > 200) throw error;
    await pause(200);
  });
}
const channel = await admin.createChannel();
const options = { durable: true, arguments: { 'x-queue-type': 'quorum' } };

const libraries = {
  AMQPSession: async (queue, take) => {
    const say = (what) => () => take(what);
    const session = await AMQPSession.connect(url, { ondisconnect: say('ondisconnect'), onfailed: say('onfailed'), onrecoverfailed: say('onrecoverfailed') });
    await (await session.queue(queue, options)).subscribe((message) => { take(message.bodyString()); });
  },
  'amqp-connection-manager': async (queue, take) => {
    const wrapper = manager.connect(url).createChannel({ setup: (ch) => ch.assertQueue(queue, options) });
    await wrapper.consume(queue, (message) => {
      take(message.content.toString());
      wrapper.ack(message);
    });
    await wrapper.waitForConnect();
  },
  'rabbitmq-client': async (queue, take) => {
    const consumer = new Connection(url).createConsumer({ queue, queueOptions: options }, async (message) => { take(message.body.toString()); });
    consumer.on('error', () => {}); // it says that it was canceled, and comes back
    await new Promise((resolve) => { consumer.once('ready', resolve); });
  },
};

const seen = {};
await Promise.all(Object.entries(libraries).map(async ([name, consume]) => {
  const got = [];
  await channel.assertQueue(name, options);
  await consume(name, (what) => got.push(JSON.stringify(what)));
  channel.sendToQueue(name, Buffer.from('1'));
  await pause(2000);
  await channel.deleteQueue(name);
  await pause(1000);
  await channel.assertQueue(name, options);
  channel.sendToQueue(name, Buffer.from('2'));
  await pause(8000);
  const { consumerCount, messageCount } = await channel.checkQueue(name);
  seen[name] = `${got.join(', ')}; consumers ${consumerCount}, messages ${messageCount}`;
}));

// The client below the session is told.
const client = new AMQPClient(url);
await client.connect();
const consumer = await (await client.channel()).basicConsume('AMQPSession', {}, () => {});
const over = consumer.wait().then(() => 'resolved', (error) => error.message);
await channel.deleteQueue('AMQPSession');
seen['AMQPClient, wait()'] = await over;

for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(25), said);
assert.deepEqual(seen, {
  AMQPSession: '"1"; consumers 0, messages 1',
  'amqp-connection-manager': '"1", "2"; consumers 1, messages 0',
  'rabbitmq-client': '"1", "2"; consumers 1, messages 0',
  'AMQPClient, wait()': 'Consumer cancelled by the server',
});
process.exit();
EOF
# The server and what it needs, with a port, a name and a folder of its own.
cat >serve.sh <<'EOF'
set -eu
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
printf 'listeners.tcp.1 = 127.0.0.1:%s\nlog.console.level = error\n' "$port" >rabbitmq.conf
echo '[].' >enabled_plugins
export HOME="$PWD" RABBITMQ_NODENAME="finding$$@localhost" RABBITMQ_MNESIA_BASE="$PWD/data" RABBITMQ_LOG_BASE="$PWD/log" RABBITMQ_LOGS=- \
	RABBITMQ_CONFIG_FILE="$PWD/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE="$PWD/none" RABBITMQ_ADVANCED_CONFIG_FILE="$PWD/none.config" \
	RABBITMQ_ENABLED_PLUGINS_FILE="$PWD/enabled_plugins" RABBITMQ_PID_FILE="$PWD/pid" RABBITMQ_ALLOW_INPUT=1 \
	RABBITMQ_DIST_PORT=$((port > 40000 ? port - 10000 : port + 10000)) ERL_EPMD_PORT=$((port > 40000 ? port - 10001 : port + 10001))
export RABBITMQ_GENERATED_CONFIG_DIR="$PWD/config" URL="amqp://guest:guest@127.0.0.1:$port"
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
names=$!
rabbitmq-server -noinput >server.log 2>&1 &
server=$!
trap 'kill $server $names 2>/dev/null; wait' EXIT
timeout 80 node find.mjs || { cat server.log; exit 1; }
EOF
XDG_CACHE_HOME="$folder/cache" sh "$here/scripts/servers.sh" trixie sh serve.sh
