package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/lifecycle"
)

// deadMessages are those in the dead queues of RabbitMQ.
type deadMessages struct{ *Node }

// deadMessages returns what the queue has put aside; nil if it puts nothing aside.
func (g *Node) deadMessages() api.DeadMessages {
	switch {
	case g.Rabbit != nil:
		return deadMessages{g}
	case g.Work != nil:
		return asideMessages{g}
	default:
		return nil
	}
}

// asideMessages are what was put aside in Redis.
type asideMessages struct{ *Node }

// Count implements api.DeadMessages.
func (m asideMessages) Count(ctx context.Context, routes []string) (map[string]int, error) {
	return m.Work.Queue().Asides(ctx, routes)
}

// List implements api.DeadMessages.
func (m asideMessages) List(ctx context.Context, route string, limit int) ([]api.DeadMessage, error) {
	found, err := m.Work.Queue().ListAside(ctx, route, limit)
	if err != nil {
		return nil, err
	}
	all := make([]api.DeadMessage, len(found))
	for i, f := range found {
		all[i] = api.DeadMessage{
			ID: clean(f.Work.Message), Reason: clean(f.Reason), At: f.At, Size: len(f.Entry),
			Body: clean(f.Entry[:min(len(f.Entry), 512)]), Headers: map[string]string{},
		}
		if f.Work.Request.ID != "" {
			all[i].Request = &f.Work.Request.ID
		} else {
			all[i].Wrong = new("it is no entry of Hark's queue")
		}
	}
	return all, nil
}

// Redrive implements api.DeadMessages.
func (m asideMessages) Redrive(ctx context.Context, route string) (int, error) {
	return m.Work.Queue().ReviveAside(ctx, route)
}

// Purge implements api.DeadMessages.
func (m asideMessages) Purge(ctx context.Context, route string) (int, error) {
	return m.Work.Queue().ForgetAside(ctx, route)
}

// awayError wraps errors of the broker as those of a store are.
func awayError(err error) error {
	if errors.Is(err, broker.ErrUnavailable) {
		return fmt.Errorf("%w: queue: %w", lifecycle.ErrUnavailable, err)
	}
	return err
}

// Count implements api.DeadMessages.
func (d deadMessages) Count(_ context.Context, routes []string) (map[string]int, error) {
	counts, err := d.Rabbit.DeadCounts(routes)
	return counts, awayError(err)
}

// List implements api.DeadMessages.
func (d deadMessages) List(ctx context.Context, route string, limit int) ([]api.DeadMessage, error) {
	letters, err := d.Rabbit.DeadLetters(ctx, route, limit)
	if err != nil {
		return nil, awayError(err)
	}
	all := make([]api.DeadMessage, len(letters))
	for i, l := range letters {
		m := api.DeadMessage{
			ID: clean(l.Message), Reason: clean(l.Reason), At: l.At, ContentType: clean(l.ContentType), Size: l.Size,
			Body: clean(string(l.Body)), Headers: make(map[string]string, len(l.Headers)),
		}
		for name, value := range l.Headers {
			m.Headers[clean(name)] = clean(value)
		}
		if l.Err == nil {
			m.Request = &l.Job.ID
		} else {
			m.Wrong = new(clean(l.Err.Error()))
		}
		all[i] = m
	}
	return all, nil
}

// clean is text that anybody may have sent, as JSON holds it.
func clean(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// Redrive implements api.DeadMessages.
func (d deadMessages) Redrive(ctx context.Context, route string) (int, error) {
	seen := make(map[broker.Job]bool)
	n, err := d.Rabbit.RedriveDead(ctx, route, func(ctx context.Context, jobs []broker.Job) ([]bool, error) {
		return d.needed(ctx, jobs, seen)
	})
	return n, awayError(err)
}

// Purge implements api.DeadMessages.
func (d deadMessages) Purge(_ context.Context, route string) (int, error) {
	n, err := d.Rabbit.PurgeDead(route)
	return n, awayError(err)
}

// deadCounts are how much has failed, and was put aside, on each route of this gateway.
type deadCounts struct {
	requests map[string]int64
	messages map[string]int
}

// deadOften is how often that is counted.
const deadOften = 15 * time.Second

// countDead counts for the metrics, so that whoever reads those waits for no server.
func (g *Node) countDead(ctx context.Context) {
	tick := time.NewTicker(deadOften)
	defer tick.Stop()
	for {
		if counts, err := g.deadNow(ctx); err == nil {
			g.dead.Store(counts)
		} else if ctx.Err() == nil {
			g.log.Debug("what has failed could not be counted", slog.Any("error", err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// deadNow counts.
func (g *Node) deadNow(ctx context.Context) (*deadCounts, error) {
	requests, err := g.deadRequests(ctx)
	if err != nil {
		return nil, err
	}
	counts := &deadCounts{requests: requests}
	if messages := g.deadMessages(); messages != nil {
		if counts.messages, err = messages.Count(ctx, g.config.Routes); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// deadRequests counts those of each route of this node.
func (g *Node) deadRequests(ctx context.Context) (map[string]int64, error) {
	requests := make(map[string]int64)
	for _, route := range g.config.Routes {
		requests[route] = 0
	}
	const page = 200
	for after, more := "", true; more; {
		routes, err := g.service.DeadRoutes(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if _, ours := requests[r.Route]; ours {
				requests[r.Route] = r.Requests
			}
			after = r.Route
		}
		more = len(routes) == page
	}
	return requests, nil
}
