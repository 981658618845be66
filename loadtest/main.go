// Command loadtest puts load on a gateway, or on another push server, and says what it
// costs.
//
//	go run ./loadtest idle       memory of connections that wait
//	go run ./loadtest broadcast  one channel with many followers: CPU and latency of each delivery
//	go run ./loadtest unicast    many channels with a follower each, published to over HTTP
//	go run ./loadtest lifecycle  from POST to the pushed result, beside what queues alone do
//	go run ./loadtest slow       what followers that read slowly cost the others
//	go run ./loadtest storm      a restart under many streams, which all come back at once
//	go run ./loadtest growth     CPU of a delivery as there are more followers, and more channels
//	go run ./loadtest soak       many followers for a long time: nothing is lost, and nothing grows
//	go run ./loadtest webhooks   deliveries to many endpoints, and what dead ones cost the others
//
// It speaks the public wires only and imports nothing of Hark. It builds and starts what it
// puts under load by itself, on free ports, with data in a temporary folder, and stops it
// again: a gateway with everything inside, with --backends=shared one on Redis and
// RabbitMQ of its own, or with --on another server. CPU and memory are those
// of the servers' processes, read from /proc, so the client's share does not count. It
// checks what it counts: an event that is lost, doubled or out of order fails the run.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"
)

type options struct {
	On           string   `default:"hark" enum:"hark,centrifugo,centrifuge,mercure,nchan,bare" help:"Server to put under load: hark; centrifugo; centrifuge (stands in for it: a small server on its library); mercure (SSE only); nchan (nginx with its nchan module); bare (the floor: a loop of writes and nothing else)."`
	Backends     string   `default:"embedded" enum:"embedded,shared" help:"What is behind the server: embedded (nothing) or shared (Redis, and RabbitMQ if it is Hark, started by deploy/cluster.sh)."`
	Nodes        int      `default:"1" help:"Gateways of Hark, with --backends=shared. All calls go to the first one, but with soak."`
	Args         []string `name:"gateway-arg" placeholder:"ARG" help:"Further argument for the gateway."`
	MessageBytes int      `default:"200" help:"Bytes of a message, on other servers than Hark, whose messages have the length they have. On the bare loop those of the wire, framing included."`
	JSON         bool     `help:"Print what was measured as JSON, curves included."`

	Idle      idle      `cmd:"" help:"Memory of connections that wait."`
	Broadcast broadcast `cmd:"" help:"One channel with many followers."`
	Unicast   unicast   `cmd:"" help:"Many channels with a follower each."`
	Lifecycle lifecycle `cmd:"" help:"From POST to the pushed result."`
	Slow      slow      `cmd:"" help:"What slow followers cost the others."`
	Storm     storm     `cmd:"" help:"All reconnect at once."`
	Growth    growth    `cmd:"" help:"What a delivery costs as there are more followers and channels."`
	Soak      soak      `cmd:"" help:"Many followers for a long time."`
	Webhooks  webhooks  `cmd:"" help:"Deliveries to webhook endpoints, some of them dead."`

	Crowd crowd `cmd:"" hidden:"" help:"Be followers of another process of this program."`
}

// scene is one kind of load.
type scene interface {
	run(t *target) (results, error)
}

func main() {
	var o options
	command := kong.Parse(&o, kong.Description("Puts load on a push server and says what it costs."))
	scenes := map[string]scene{"idle": &o.Idle, "broadcast": &o.Broadcast, "unicast": &o.Unicast, "lifecycle": &o.Lifecycle, "slow": &o.Slow, "storm": &o.Storm, "growth": &o.Growth, "soak": &o.Soak, "webhooks": &o.Webhooks}
	if command.Command() == "crowd" {
		command.FatalIfErrorf(o.Crowd.run(os.Stdin, os.Stdout))
		return
	}
	if err := play(&o, command.Command(), scenes[command.Command()]); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

func play(o *options, name string, s scene) (err error) {
	t, err := start(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	began := time.Now()
	measured, err := s.run(t)
	if err != nil {
		return err
	}
	r := &report{Target: t.name, Scene: name, Args: os.Args[1:], Took: time.Since(began).Seconds(), results: measured}
	if o.JSON {
		return r.printJSON()
	}
	r.print()
	return nil
}
