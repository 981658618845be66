// Command loadtest puts load on a gateway, or on another push server, and says what it
// costs.
//
//	go run ./loadtest idle       memory of connections that wait
//	go run ./loadtest broadcast  one channel with many followers: CPU and latency of each delivery
//	go run ./loadtest unicast    many channels with a follower each, published to over HTTP
//	go run ./loadtest lifecycle  from POST to the pushed result, beside what queues alone do, and the floor
//	go run ./loadtest slow       what followers that read slowly cost the others
//	go run ./loadtest storm      a restart under many streams, which all come back at once
//	go run ./loadtest growth     CPU of a delivery as there are more followers, and more channels
//	go run ./loadtest soak       many followers for a long time: nothing is lost, and nothing grows
//	go run ./loadtest webhooks   deliveries to many endpoints, and what dead ones cost the others
//	go run ./loadtest keys       one customer who sends most of all beside others, by concurrency keys, and what those cost
//	go run ./loadtest kept       what requests cost that have ended and are kept: bytes, time to start, to stop and to list
//	go run ./loadtest churn      everything that clients and operators may do at once, while everything dies and comes back: all ends once and as asked
//	go run ./loadtest attack     attacks, one after the other, each on a gateway of its own: what an honest caller notices, and what memory it takes
//	go run ./loadtest compare    all servers that there are, one after the other, beside each other
//	go run ./loadtest report F…  a page of charts from results files
//	go run ./loadtest performance F   the figures of docs/performance.md, from the results of a comparison
//
// It speaks the public wires only and imports nothing of Hark but what receivers verify webhooks
// with. It builds and starts what it puts under load by itself, on free ports, with data in a
// temporary folder, and stops it again: a gateway with everything inside, with --backends=shared
// one on Redis and RabbitMQ of its own, with --backends=redis on Redis alone, or with --on another
// server. CPU and memory are those of the servers' processes, read from /proc, so the client's
// share does not count. It checks what it counts: an event that is lost, doubled or out of order
// fails the run.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/hark-push/hark/loadtest/attack"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
	"github.com/hark-push/hark/loadtest/scene"
)

type options struct {
	peer.Options

	JSON     bool   `help:"Print what was measured as JSON, curves included."`
	Out      string `placeholder:"PATH" help:"Write what was measured to this file, as --json prints it; what failed too, with the reason. With compare the folder (bench), with report the page."`
	Programs string `hidden:"" help:"Folder in which programs that are built are kept, instead of one for each run."`

	Idle      scene.Idle      `cmd:"" help:"Memory of connections that wait."`
	Broadcast scene.Broadcast `cmd:"" help:"One channel with many followers."`
	Unicast   scene.Unicast   `cmd:"" help:"Many channels with a follower each."`
	Lifecycle scene.Lifecycle `cmd:"" help:"From POST to the pushed result."`
	Slow      scene.Slow      `cmd:"" help:"What slow followers cost the others."`
	Storm     scene.Storm     `cmd:"" help:"All reconnect at once."`
	Growth    scene.Growth    `cmd:"" help:"What a delivery costs as there are more followers and channels."`
	Soak      scene.Soak      `cmd:"" help:"Many followers for a long time."`
	Webhooks  scene.Webhooks  `cmd:"" help:"Deliveries to webhook endpoints, some of them dead."`
	Keys      scene.Keys      `cmd:"" help:"Customers with concurrency keys, one of whom sends most of all."`
	Kept      scene.Kept      `cmd:"" help:"What requests cost that have ended and are kept."`

	Churn scene.Churn `cmd:"" help:"Everything at once while everything dies and comes back; a check, not a measurement."`

	Attack attack.Scene `cmd:"" help:"What an honest caller notices of attacks; a check."`

	Compare     compare     `cmd:"" help:"Everything on every server that there is, one after the other."`
	Report      reportPage  `cmd:"" help:"Show results files as a page, written to --out (report.html)."`
	Performance performance `cmd:"" help:"Write the figures of docs/performance.md from results files."`

	Crowd scene.Crowd  `cmd:"" hidden:"" help:"Be followers of another process of this program."`
	Siege attack.Siege `cmd:"" hidden:"" help:"Attack the gateway of another process of this program."`
}

// runner is one kind of load.
type runner interface {
	Run(t *peer.Target) (measure.Results, error)
}

// starter is a runner that starts its target itself.
type starter interface {
	Start(o *peer.Options) (*peer.Target, error)
}

func main() {
	var o options
	command := kong.Parse(&o, kong.Description("Puts load on a push server and says what it costs."))
	scenes := map[string]runner{"idle": &o.Idle, "broadcast": &o.Broadcast, "unicast": &o.Unicast, "lifecycle": &o.Lifecycle, "slow": &o.Slow, "storm": &o.Storm, "growth": &o.Growth, "soak": &o.Soak, "webhooks": &o.Webhooks, "keys": &o.Keys, "kept": &o.Kept, "churn": &o.Churn, "attack": &o.Attack}
	peer.Programs = o.Programs
	name := command.Command()
	switch s := scenes[name]; {
	case name == "crowd":
		command.FatalIfErrorf(o.Crowd.Run(os.Stdin, os.Stdout))
	case strings.HasPrefix(name, "siege"):
		command.FatalIfErrorf(o.Siege.Run(os.Stdin, os.Stdout))
	case s == nil:
		command.FatalIfErrorf(command.Run(&o))
	default:
		// A server that does not start is named by what was asked for.
		r := &report{Target: o.On, Scene: name, Args: withoutOutput(os.Args[1:]), Server: o.On, Backends: o.Backends, Settings: settings(command)}
		command.FatalIfErrorf(errors.Join(play(&o, r, s), r.say(&o)))
	}
}

// play puts a target under load.
func play(o *options, r *report, s runner) (err error) {
	defer func() {
		if err != nil {
			r.Failed = strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
		}
	}()
	begin := peer.Start
	if itself, ok := s.(starter); ok {
		begin = itself.Start
	}
	t, err := begin(&o.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Stop()) }()
	r.Target = t.Name
	t.Progress.Show(r.Scene)
	defer t.Progress.End()
	began := time.Now()
	r.Results, err = s.Run(t)
	r.Took = time.Since(began).Seconds()
	return err
}

// settings returns the flags of a scene, and those of all scenes that make a difference, with their
// values.
func settings(command *kong.Context) map[string]string {
	values := make(map[string]string)
	for _, f := range append(command.Selected().Flags, command.Model.Flags...) {
		switch f.Name {
		case "help", "json", "out", "programs", "on", "backends": // said elsewhere
		default:
			values[f.Name] = fmt.Sprint(f.Target.Interface())
		}
	}
	return values
}

// withoutOutput leaves out where it was written to.
func withoutOutput(args []string) (kept []string) {
	for i := 0; i < len(args); i++ {
		switch name, _, _ := strings.Cut(args[i], "="); name {
		case "--json":
		case "--out", "--programs":
			if name == args[i] { // its value comes next
				i++
			}
		default:
			kept = append(kept, args[i])
		}
	}
	return kept
}
