// Command floor is the floor under Hark on Redis and RabbitMQ: the least that a gateway and a
// worker must do for a request that comes over HTTP, is kept in Redis, is carried to the worker by
// RabbitMQ, and of which three events are pushed.
//
//	floor gateway HOST:PORT
//	floor worker
//
// HARK_REDIS and HARK_AMQP name the servers, as they do for Hark. Both processes use the libraries
// that Hark uses and write as many bytes, and they decide nothing: there is no state machine, no
// check, no idempotency, no feed, no position in a queue and no expiry. The worker does not even
// read what was submitted.
//
//	POST /…               accept a request: its state and an event are written to Redis in one round trip, its id is confirmed by RabbitMQ; 202
//	GET  /v1/topics/NAME/events   follow the requests whose ids are NAME-… by server-sent events, one follower for each topic
//
// Whatever fails ends the process, so that it fails the run.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	// A small heap would be collected many times a second otherwise. Hark's gateway sees to that as
	// well.
	debug.SetGCPercent(400)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	r, err1 := openRedis(os.Getenv("HARK_REDIS"))
	broker, err2 := openBroker(os.Getenv("HARK_AMQP"))
	check(errors.Join(err1, err2))
	switch {
	case len(os.Args) == 3 && os.Args[1] == "gateway":
		g := &gateway{redis: r, queue: broker}
		check(g.start(os.Args[2]))
		fmt.Println("floor: listening")
		<-ended
		check(g.tidy())
	case len(os.Args) == 2 && os.Args[1] == "worker":
		w := &worker{redis: r}
		check(w.start(broker))
		fmt.Println("floor: working")
		<-ended
	default:
		fmt.Fprintln(os.Stderr, "usage: floor gateway HOST:PORT | floor worker")
		os.Exit(2)
	}
}

// check ends the process if something has failed.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// openBroker opens a channel on a connection of its own.
func openBroker(url string) (*amqp.Channel, error) {
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: dialJoined})
	if err != nil {
		return nil, err
	}
	return conn.Channel()
}
