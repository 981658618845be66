// Command worker runs the sample processors beside gateways that share Redis and
// RabbitMQ:
//
//	worker --redis redis://host:6379/0 --amqp amqp://host:5672/ --routes images,fetch
//
// Start as many as there is work for. SIGTERM lets running work finish for --drain
// and hands the rest back. `hark worker` is the same in the program of the gateway.
package main

import (
	"os"

	_ "github.com/hark-push/hark/processor/samples/drivers" // for the sample database
	"github.com/hark-push/hark/processor/worker"
)

func main() { os.Exit(worker.Run("worker", os.Args[1:], os.Stdout, os.Stderr)) }
