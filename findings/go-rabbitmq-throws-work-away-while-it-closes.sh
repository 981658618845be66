#!/bin/sh
# While a consumer of go-rabbitmq closes gracefully it goes on to take messages and to give them back, as fast as it can, until RabbitMQ 4 has counted 20
# deliveries of each and drops them (or dead-letters them, if the queue says where to).
#
# Go github.com/wagslane/go-rabbitmq v0.15.0 with github.com/rabbitmq/amqp091-go v1.16.0, Go 1.26; rabbitmq-server 4.0.5-6+deb13u2 of Debian 13.
#
# Guess: Close(), which "waits for handler to finish before returning by default", takes no more messages from the broker, and what is in the queue stays
# there for others.
# Seen: the consumer is cancelled only when the last handler has returned. Until then its other goroutines answer each message with a nack and requeue,
# without calling the handler. The broker delivers it again at once, most likely to the same consumer, and counts. A quorum queue allows 20 by default
# since RabbitMQ 4.0. Here one of four goroutines is at work for three seconds, in which ten messages are published:
#
#   Close()                     handled 1, left 0, lost 10
#   Close(), WithForceShutdown  handled 1, left 11, lost 0
#
# What to do: WithConsumerOptionsForceShutdown, with which the job at work is delivered again, as above, to somebody else; and a queue for what was
# dead-lettered, which keeps what is dropped.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"github.com/wagslane/go-rabbitmq"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// run publishes one message that takes three seconds, begins to close the consumer that works on it, and publishes ten more.
func run(channel *amqp091.Channel, queue string, options ...func(*rabbitmq.ConsumerOptions)) string {
	_, err := channel.QueueDeclare(queue, true, false, false, false, amqp091.Table{"x-queue-type": "quorum"})
	must(err)
	conn, err := rabbitmq.NewConn(os.Getenv("URL"))
	must(err)
	defer func() { _ = conn.Close() }()
	consumer, err := rabbitmq.NewConsumer(conn, queue, append(options, rabbitmq.WithConsumerOptionsQueueNoDeclare,
		rabbitmq.WithConsumerOptionsConcurrency(4), rabbitmq.WithConsumerOptionsQOSPrefetch(4))...)
	must(err)
	var handled atomic.Int32
	begun, over := make(chan struct{}, 11), make(chan struct{}, 11)
	go func() {
		_ = consumer.Run(func(rabbitmq.Delivery) rabbitmq.Action {
			handled.Add(1)
			begun <- struct{}{}
			time.Sleep(3 * time.Second)
			over <- struct{}{}
			return rabbitmq.Ack
		})
	}()
	publish := func() {
		must(channel.Publish("", queue, false, false, amqp091.Publishing{Body: []byte("job"), DeliveryMode: amqp091.Persistent}))
	}
	publish()
	<-begun
	closed := make(chan struct{})
	go func() {
		consumer.Close()
		close(closed)
	}()
	time.Sleep(500 * time.Millisecond)
	for range 10 {
		publish()
	}
	<-closed
	<-over
	time.Sleep(2 * time.Second)
	left, err := channel.QueueDelete(queue, false, false, false)
	must(err)
	acknowledged := 1
	if left == 11 {
		acknowledged = 0 // the one that was handled is delivered again
	}
	return fmt.Sprintf("handled %d, left %d, lost %d", handled.Load(), left, 11-acknowledged-left)
}

func main() {
	var conn *amqp091.Connection
	var err error
	for range 400 {
		if conn, err = amqp091.Dial(os.Getenv("URL")); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	must(err)
	channel, err := conn.Channel()
	must(err)
	gracefully := run(channel, "gracefully")
	forced := run(channel, "forced", rabbitmq.WithConsumerOptionsForceShutdown)
	fmt.Println("Close()                    ", gracefully)
	fmt.Println("Close(), WithForceShutdown ", forced)
	if gracefully != "handled 1, left 0, lost 10" || forced != "handled 1, left 11, lost 0" {
		os.Exit(1)
	}
}
EOF
go mod init finding >go.log 2>&1
go get github.com/wagslane/go-rabbitmq@v0.15.0 github.com/rabbitmq/amqp091-go@v1.16.0 >>go.log 2>&1
go build -o find . || {
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
