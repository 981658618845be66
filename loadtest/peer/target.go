// Package peer starts servers that are put under load, Hark and others, with what belongs to them,
// speaks their public wires, and reads what their processes use.
package peer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hark-push/hark/loadtest/client"
)

// Options say what is put under load; they are flags of every scene.
type Options struct {
	On           string   `default:"hark" enum:"hark,base,centrifugo,centrifuge,mercure,nchan,bare" help:"Server to put under load: hark; base (another version of it, see --base); centrifugo; centrifuge (stands in for it: a small server on its library); mercure (SSE only); nchan (nginx with its nchan module); bare (the floor: a loop of writes and nothing else)."`
	Base         string   `placeholder:"FOLDER" help:"Folder with the programs gateway and worker of another version of Hark, as make build leaves them in bin."`
	Backends     string   `default:"embedded" enum:"embedded,shared,redis" help:"What is behind the server: embedded (nothing), shared (Redis, and RabbitMQ if it is Hark, started by deploy/cluster.sh) or redis (Redis alone)."`
	Nodes        int      `default:"1" help:"Gateways of Hark, with --backends=shared. All calls go to the first one, but with soak."`
	Args         []string `name:"gateway-arg" placeholder:"ARG" help:"Further argument for the gateway."`
	Form         string   `default:"full" enum:"full,thin" help:"How much Hark's events say, see docs/follow.md: full or thin. Figures of bytes per delivery show what that saves."`
	MessageBytes int      `default:"200" help:"Bytes of a message, on other servers than Hark, whose messages have the length they have. On the bare loop those of the wire, framing included."`
}

// Target is what is put under load: a server with all processes that belong to it.
type Target struct {
	Name      string
	Peer      Peer
	Processes []Process // whose CPU and memory count
	stops     []func() error
	Progress  Progress // of the run, nothing if nobody looks
}

// Peer speaks a server's public wire. Its methods may be called concurrently.
type Peer interface {
	// Create makes a channel that can be followed and published to.
	Create(channel string) error
	// Follow opens a connection that gets the messages that are published from now on.
	Follow(wire, channel string) (*client.Follower, error)
	// Publish sends message n of a channel; they are counted from 1.
	Publish(channel string, n int) error
	// Numbers says whether the server counts them itself, so that several may be sent at once.
	Numbers() bool
	// Rest lets go of what the last calls have left open.
	Rest()
}

// Follow is that of the peer, as a step.
func (t *Target) Follow(wire, channel string) (*client.Follower, error) {
	defer t.Step()
	return t.Peer.Follow(wire, channel)
}

// Start starts what was asked for. Whoever has the target stops it.
func Start(o *Options) (*Target, error) {
	if o.Backends == "redis" && o.On != "hark" && o.On != "base" {
		return nil, errors.New("only Hark knows --backends=redis: the others have Redis alone with shared")
	}
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
		return startHark(o)
	}
}

// Stop ends all that was started, the last first.
func (t *Target) Stop() error {
	var failed error
	for _, stop := range slices.Backward(t.stops) {
		failed = errors.Join(failed, stop())
	}
	return failed
}

// StopUnless ends it if it could not be started as a whole.
func (t *Target) StopUnless(failed *error) {
	if *failed != nil {
		*failed = errors.Join(*failed, t.Stop())
	}
}

func (t *Target) onStop(f func() error) { t.stops = append(t.stops, f) }

// Pause waits, and says whether ctx lasted.
func Pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(0, d)):
		return ctx.Err() == nil
	}
}
