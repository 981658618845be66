// Command loadtest puts load on a gateway and says what it costs.
//
//	go run ./loadtest idle       memory of connections that wait
//	go run ./loadtest broadcast  one feed with many followers: CPU and latency of each delivery
//	go run ./loadtest unicast    many requests with a follower each, progress reported over HTTP
//
// It speaks the public wire only and imports nothing of Hark. Without --url it
// builds and starts a gateway of its own on a free port, with data in a temporary folder,
// and stops it again. CPU and memory are those of the gateway's process, read from
// /proc, so the client's share does not count. It checks what it counts: an event
// that is lost, doubled or out of order fails the run.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"
)

type options struct {
	URL  string   `placeholder:"URL" help:"Gateway to load, like http://127.0.0.1:8080; needs --pid. Default: one of its own."`
	PID  int      `placeholder:"PID" help:"Process of the gateway at --url."`
	Args []string `name:"gateway-arg" placeholder:"ARG" help:"Further argument for the own gateway."`
	JSON bool     `help:"Print the figures as JSON."`

	Idle      idle      `cmd:"" help:"Memory of connections that wait."`
	Broadcast broadcast `cmd:"" help:"One feed with many followers."`
	Unicast   unicast   `cmd:"" help:"Many requests with a follower each."`
}

// scene is one kind of load.
type scene interface {
	run(g *gateway) ([]figure, error)
}

// figure is one result of a scene.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func main() {
	var o options
	command := kong.Parse(&o, kong.Description("Puts load on a gateway and says what it costs."))
	scenes := map[string]scene{"idle": &o.Idle, "broadcast": &o.Broadcast, "unicast": &o.Unicast}
	if err := play(&o, scenes[command.Command()]); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

func play(o *options, s scene) (err error) {
	g, err := connect(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	began := time.Now()
	figures, err := s.run(g)
	if err != nil {
		return err
	}
	if o.JSON {
		return json.NewEncoder(os.Stdout).Encode(figures)
	}
	for _, f := range figures {
		fmt.Printf("%-36s %12.2f %s\n", f.Name, f.Value, f.Unit)
	}
	fmt.Printf("%-36s %12.2f %s\n", "took", time.Since(began).Seconds(), "s")
	return nil
}
