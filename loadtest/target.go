package main

import (
	"context"
	"errors"
	"slices"
	"time"
)

// startOptions say what is put under load; they are flags of every scene.
type startOptions struct {
	On           string   `default:"hark" enum:"hark,centrifugo,centrifuge,mercure,nchan,bare" help:"Server to put under load: hark; centrifugo; centrifuge (stands in for it: a small server on its library); mercure (SSE only); nchan (nginx with its nchan module); bare (the floor: a loop of writes and nothing else)."`
	Backends     string   `default:"embedded" enum:"embedded,shared" help:"What is behind the server: embedded (nothing) or shared (Redis, and RabbitMQ if it is Hark, started by deploy/cluster.sh)."`
	Nodes        int      `default:"1" help:"Gateways of Hark, with --backends=shared. All calls go to the first one, but with soak."`
	Args         []string `name:"gateway-arg" placeholder:"ARG" help:"Further argument for the gateway."`
	MessageBytes int      `default:"200" help:"Bytes of a message, on other servers than Hark, whose messages have the length they have. On the bare loop those of the wire, framing included."`
}

// target is what is put under load: a server with all processes that belong to it.
type target struct {
	name      string
	peer      peer
	processes []process // whose CPU and memory count
	stops     []func() error
	progress  progress // of the run, nothing if nobody looks
}

// peer speaks a server's public wire. Its methods may be called concurrently.
type peer interface {
	// create makes a channel that can be followed and published to.
	create(channel string) error
	// follow opens a connection that gets the messages that are published from now on.
	follow(wire, channel string) (*follower, error)
	// publish sends message n of a channel; they are counted from 1.
	publish(channel string, n int) error
	// numbers says whether the server counts them itself, so that several may be sent at once.
	numbers() bool
	// rest lets go of what the last calls have left open.
	rest()
}

// follow is that of the peer, as a step.
func (t *target) follow(wire, channel string) (*follower, error) {
	defer t.step()
	return t.peer.follow(wire, channel)
}

func start(o *startOptions) (*target, error) {
	switch o.On {
	case "bare":
		return startBare(o.MessageBytes)
	case "centrifugo", "centrifuge":
		return startCentrifugo(o.On == "centrifuge", o.Backends == "shared", o.MessageBytes)
	case "mercure":
		return startMercure(o.Backends == "shared", o.MessageBytes)
	case "nchan":
		return startNchan(o.MessageBytes)
	default:
		return startHark(o.Backends == "shared", o.Nodes, o.Args)
	}
}

// stop ends all that was started, the last first.
func (t *target) stop() error {
	var failed error
	for _, stop := range slices.Backward(t.stops) {
		failed = errors.Join(failed, stop())
	}
	return failed
}

// stopUnless ends it if it could not be started as a whole.
func (t *target) stopUnless(failed *error) {
	if *failed != nil {
		*failed = errors.Join(*failed, t.stop())
	}
}

func (t *target) onStop(f func() error) { t.stops = append(t.stops, f) }

// pause waits, and says whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(0, d)):
		return ctx.Err() == nil
	}
}
