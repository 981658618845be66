#!/bin/sh
# When a queue is deleted, a subscriber of Watermill hands an empty message to the handler, which nobody has published.
#
# Go github.com/ThreeDotsLabs/watermill-amqp/v3 v3.0.2, watermill v1.5.1, beside github.com/rabbitmq/amqp091-go v1.16.0, on which it is built; Go 1.26;
# rabbitmq-server 4.0.5-6+deb13u2 of Debian 13 (3.10.8 of Debian 12 does the same).
#
# Guess: the broker cancels the consumer, the subscriber says so in its log, and makes another one when it can.
# Seen: amqp091-go closes the Go channel of deliveries, and Watermill receives from it without asking whether it is closed. What it gets is an
# amqp.Delivery of zeros, which it hands over like any other. Only when it was acknowledged does it see that there is nobody to tell that, and begins
# anew.
#
#   amqp091-go   "one", closed
#   watermill    "one" (id "1"), "" (id ""), "two" (id "2")
#
# What to do: let a handler pass over messages without an id (UUID) and payload, before it does anything, and not fail at them. Publish with an id, as
# Watermill does.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	url := os.Getenv("URL")
	var conn *amqp.Connection
	for tries := 0; conn == nil; tries++ {
		var err error
		if conn, err = amqp.Dial(url); err != nil {
			if tries > 200 {
				panic(err)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	channel := must(conn.Channel())
	declare := func(name string) { must(channel.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})) }
	publish := func(name, id, text string) {
		message := amqp.Publishing{Body: []byte(text), Headers: amqp.Table{wamqp.DefaultMessageUUIDHeaderKey: id}}
		check(channel.PublishWithContext(context.Background(), "", name, true, false, message))
	}
	const soon = 15 * time.Second

	// The library below, by itself.
	declare("plain")
	deliveries := must(channel.Consume("plain", "", true, false, false, false, nil))
	publish("plain", "1", "one")
	plain := []string{fmt.Sprintf("%q", next(deliveries, soon).Body)}
	must(channel.QueueDelete("plain", false, false, false))
	select {
	case _, open := <-deliveries:
		if !open {
			plain = append(plain, "closed")
		}
	case <-time.After(soon):
	}

	config := wamqp.NewDurableQueueConfig(url)
	config.Queue.Arguments = amqp.Table{"x-queue-type": "quorum"}
	subscriber := must(wamqp.NewSubscriber(config, watermill.NopLogger{}))
	messages := must(subscriber.Subscribe(context.Background(), "work"))
	publish("work", "1", "one")
	var seen []string
	take := func() {
		message := next(messages, soon)
		seen = append(seen, fmt.Sprintf("%q (id %q)", message.Payload, message.UUID))
		message.Ack()
	}
	take()
	time.Sleep(500 * time.Millisecond) // the acknowledgement
	must(channel.QueueDelete("work", false, false, false))
	take()
	time.Sleep(2 * time.Second) // it comes back
	publish("work", "2", "two")
	take()

	said := fmt.Sprintf("amqp091-go   %s\nwatermill    %s\n", strings.Join(plain, ", "), strings.Join(seen, ", "))
	fmt.Print(said)
	if said != "amqp091-go   \"one\", closed\nwatermill    \"one\" (id \"1\"), \"\" (id \"\"), \"two\" (id \"2\")\n" {
		panic("it was otherwise")
	}
}

func next[T any](from <-chan T, soon time.Duration) T {
	select {
	case message := <-from:
		return message
	case <-time.After(soon):
		panic("nothing came")
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
EOF
go mod init finding >go.log 2>&1
for module in watermill@v1.5.1 watermill-amqp/v3/pkg/amqp@v3.0.2; do go get "github.com/ThreeDotsLabs/$module" >>go.log 2>&1; done
go get github.com/rabbitmq/amqp091-go@v1.16.0 >>go.log 2>&1
go build -o find . >>go.log 2>&1 || {
	cat go.log
	exit 1
}
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
export RABBITMQ_GENERATED_CONFIG_DIR="$PWD/config" URL="amqp://guest:guest@127.0.0.1:$port/"
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
names=$!
rabbitmq-server -noinput >server.log 2>&1 &
server=$!
trap 'kill $server $names 2>/dev/null; wait' EXIT
timeout 80 ./find || { cat server.log; exit 1; }
EOF
XDG_CACHE_HOME="$folder/cache" sh "$here/scripts/servers.sh" trixie sh serve.sh
