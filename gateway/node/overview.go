package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/lifecycle"
)

// overview is what operators are told of routes and processes. However many ask, the store is asked
// once a second.
type overview struct {
	node *Node

	turn      chan struct{} // held while the store is asked: who comes meanwhile gets that answer
	at        time.Time     // when it was asked last with success
	processes []lifecycle.Process
	routes    map[string]api.RouteFigures
}

// overviewAge is how old an answer may be.
const overviewAge = time.Second

func newOverview(g *Node) *overview { return &overview{node: g, turn: make(chan struct{}, 1)} }

// process is what this process says of itself now.
func (g *Node) process() lifecycle.Process {
	p := g.Working(g.self, g.workers)
	for route, n := range g.leases.Processors() {
		p.Processors[route] += int64(n)
	}
	streams, intake := g.hub.Stats(), g.intake.Stats()
	p.Streams, p.Sockets, p.HTTP = streams.Streams, streams.Sockets, int64(intake.Open)
	p.Leases = g.leases.Stats().Out
	return p
}

// Routes implements api.Overview.
func (o *overview) Routes(ctx context.Context) (map[string]api.RouteFigures, error) {
	done, err := o.refresh(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return o.routes, nil
}

// Processes implements api.Overview.
func (o *overview) Processes(ctx context.Context) ([]lifecycle.Process, error) {
	done, err := o.refresh(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return o.processes, nil
}

// refresh asks the store if the last answer is old. It returns with the turn, which done ends, so
// that the caller can read the answer; what that holds is not changed any more.
func (o *overview) refresh(ctx context.Context) (done func(), err error) {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done(): // those who asked before have not been answered in time
		return nil, fmt.Errorf("%w: %w", lifecycle.ErrUnavailable, ctx.Err())
	}
	done = func() { <-o.turn }
	if !o.at.IsZero() && time.Since(o.at) < overviewAge {
		return done, nil
	}
	if err := o.ask(ctx); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// ask asks the store.
func (o *overview) ask(ctx context.Context) error {
	g := o.node
	processes, err := g.Present(ctx)
	if err != nil {
		return err
	}
	// Of itself it knows the newest, and that it is there.
	processes = slices.DeleteFunc(processes, func(p lifecycle.Process) bool { return p.Name == g.self.Name })
	processes = append(processes, g.process())
	slices.SortFunc(processes, func(x, y lifecycle.Process) int {
		if order := strings.Compare(x.Kind, y.Kind); order != 0 {
			return order
		}
		if order := x.Since.Compare(y.Since); order != 0 {
			return order
		}
		return strings.Compare(x.Name, y.Name)
	})
	routes, err := g.figures(ctx, processes)
	if err != nil {
		return err
	}
	o.processes, o.routes, o.at = processes, routes, time.Now()
	return nil
}

var errNoDepths = errors.New("the store does not count what has not ended")

// figures returns those of each route of this node, over all processes.
func (g *Node) figures(ctx context.Context, processes []lifecycle.Process) (map[string]api.RouteFigures, error) {
	depths, ok := g.Store.(lifecycle.Depths)
	standings, counts := g.Store.(lifecycle.Standings)
	if !ok || !counts {
		return nil, errNoDepths
	}
	pending, err := depths.Depths(ctx, g.config.Routes)
	if err != nil {
		return nil, err
	}
	standing, err := standings.Standing(ctx)
	if err != nil {
		return nil, err
	}
	dead, err := g.deadRequests(ctx)
	if err != nil {
		return nil, err
	}
	consuming := g.attendance.consuming(g.config.Routes...)
	unserved := g.attendance.unserved(g.config.Routes...)
	put := g.dead.Load() // of RabbitMQ, which is not asked at each call
	all := make(map[string]api.RouteFigures, len(g.config.Routes))
	for _, route := range g.config.Routes {
		f := api.RouteFigures{
			Depth: pending[route], Standing: standing[route], Dead: dead[route],
			Served: !slices.Contains(unserved, route),
		}
		if put != nil && put.messages != nil {
			if n, ok := put.messages[route]; ok {
				f.DeadMessages = &n
			}
		}
		for i := range processes {
			f.Processors += processes[i].Processors[route]
			f.Minute = f.Minute.Plus(processes[i].Minute[route])
		}
		// Programs of one's own consume a queue and say nothing here.
		f.Processors = max(f.Processors, int64(consuming[route]))
		all[route] = f
	}
	return all, nil
}
