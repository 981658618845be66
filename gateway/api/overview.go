package api

import (
	"context"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle"
)

// Overview tells operators how routes fare, and who works on them. Its methods may be called
// concurrently, and what they return is not changed. Errors may wrap [lifecycle.ErrUnavailable].
type Overview interface {
	// Routes returns the figures of each route of this gateway, over all processes.
	Routes(ctx context.Context) (map[string]RouteFigures, error)
	// Processes returns the gateways and workers that are there, this one among them, in the order
	// of their kinds and then of their starts.
	Processes(ctx context.Context) ([]lifecycle.Process, error)
}

// RouteFigures say how a route fares.
type RouteFigures struct {
	lifecycle.Depth
	lifecycle.Standing
	Dead         int64 // requests that have failed and are kept
	DeadMessages *int  // that the queue has put aside; nil: that is not known, or it is in memory
	// Processors are as [lifecycle.Process] counts them, or the consumers of the queue, if those
	// are more.
	Processors int64
	Served     bool // somebody works on it, or nobody knows
	Minute     lifecycle.Steps
}

type routeDocument struct {
	Route         string          `json:"route"`
	Pending       int64           `json:"pending"`
	Parked        int64           `json:"parked"`
	OldestPending stamp           `json:"oldestPending"`
	Processing    int64           `json:"processing"`
	Asking        int64           `json:"asking"`
	Dead          int64           `json:"dead"`
	DeadMessages  *int            `json:"deadMessages"`
	Processors    int64           `json:"processors"`
	Served        bool            `json:"served"`
	LastMinute    lifecycle.Steps `json:"lastMinute"`
	Links         []link          `json:"links"`
}

func routeDocumentOf(route string, f *RouteFigures) routeDocument {
	return routeDocument{
		Route: route, Pending: f.Pending, Parked: f.Parked, OldestPending: stamp{f.Oldest}, Processing: f.Processing, Asking: f.Waiting,
		Dead: f.Dead, DeadMessages: f.DeadMessages, Processors: f.Processors, Served: f.Served, LastMinute: f.Minute,
		Links: []link{{"self", "/v1/routes/" + route, "GET"}, {"dead", "/v1/dead/" + route, "GET"}},
	}
}

// figures returns those of all routes.
func (a *API) figures() (map[string]RouteFigures, error) {
	if a.Overview == nil {
		return nil, nil
	}
	return a.Overview.Routes(a.storeContext())
}

// listRoutes answers GET /v1/routes.
func (a *API) listRoutes(c *fiber.Ctx, _ auth.Caller) error {
	figures, err := a.figures()
	if err != nil {
		return err
	}
	page := struct {
		Routes []routeDocument `json:"routes"`
	}{make([]routeDocument, 0, len(a.Routes))}
	for _, route := range slices.Sorted(slices.Values(a.Routes)) {
		page.Routes = append(page.Routes, routeDocumentOf(route, new(figures[route])))
	}
	return send(c, fiber.StatusOK, page)
}

// getRoute answers GET /v1/routes/{route}.
func (a *API) getRoute(c *fiber.Ctx, _ auth.Caller) error {
	route, err := a.ownRoute(c)
	if err != nil {
		return err
	}
	figures, err := a.figures()
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, routeDocumentOf(route, new(figures[route])))
}

type nodeDocument struct {
	Name        string           `json:"name"`
	Kind        string           `json:"kind"`
	Host        string           `json:"host"`
	Version     string           `json:"version"`
	Since       stamp            `json:"since"`
	Seen        stamp            `json:"seen"`
	Connections *nodeConnections `json:"connections"`
	Leases      int64            `json:"leases"`
	Running     int64            `json:"running"`
	Processors  map[string]int64 `json:"processors"`
	LastMinute  lifecycle.Steps  `json:"lastMinute"`
}

type nodeConnections struct {
	Streams int64 `json:"streams"`
	Sockets int64 `json:"sockets"`
	HTTP    int64 `json:"http"`
}

// listNodes answers GET /v1/nodes.
func (a *API) listNodes(c *fiber.Ctx, _ auth.Caller) error {
	var processes []lifecycle.Process
	if a.Overview != nil {
		var err error
		if processes, err = a.Overview.Processes(a.storeContext()); err != nil {
			return err
		}
	}
	page := struct {
		Nodes []nodeDocument `json:"nodes"`
	}{make([]nodeDocument, len(processes))}
	for i, p := range processes {
		n := nodeDocument{
			Name: p.Name, Kind: p.Kind, Host: p.Host, Version: p.Version, Since: stamp{p.Since}, Seen: stamp{p.Seen},
			Leases: p.Leases, Running: p.Running, Processors: p.Processors,
		}
		if p.Kind == "gateway" {
			n.Connections = &nodeConnections{p.Streams, p.Sockets, p.HTTP}
		}
		if n.Processors == nil {
			n.Processors = map[string]int64{}
		}
		for _, steps := range p.Minute {
			n.LastMinute = n.LastMinute.Plus(steps)
		}
		page.Nodes[i] = n
	}
	return send(c, fiber.StatusOK, page)
}
