package scene

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// samples is what processes hold, as time goes by.
type samples struct {
	t         *peer.Target
	h         *peer.Hark
	followers crowds

	names  []string
	values map[string][]bench.Point // by name: seconds and value
	last   int64                    // deliveries so far
}

const (
	sampledGateways = "memory, gateways"
	// As of the last collection: without the garbage that memory has in it.
	sampledHeap        = "live heap, gateways"
	sampledGoroutines  = "goroutines"
	sampledConnections = "open connections"
	sampledDeliveries  = "deliveries"
)

func newSamples(t *peer.Target, h *peer.Hark, followers crowds) *samples {
	return &samples{t: t, h: h, followers: followers, values: make(map[string][]bench.Point)}
}

// take takes samples for a while.
func (s *samples) take(ctx context.Context, duration time.Duration) error {
	const most = 300
	every := max(time.Second, duration/most)
	began := time.Now()
	state, err := s.followers.tell(nil)
	if err != nil {
		return err
	}
	s.last = state.Delivered
	for at := began.Add(every); !at.After(began.Add(duration)); at = at.Add(every) {
		if !peer.Pause(ctx, time.Until(at)) {
			return context.Cause(ctx)
		}
		if err := s.sample(at.Sub(began).Seconds(), every); err != nil {
			return err
		}
	}
	return nil
}

func (s *samples) sample(at float64, every time.Duration) error {
	memory := make(map[string]float64)
	for _, p := range s.t.Processes {
		n, err := p.Memory()
		if err != nil {
			return err
		}
		name := "memory, " + p.Name
		if p.Name == "gateway" || p.Name == "other gateways" {
			name = sampledGateways
		}
		memory[name] += n / (1 << 20)
	}
	for _, name := range slices.Sorted(maps.Keys(memory)) {
		s.note(name, at, memory[name])
	}
	var goroutines, connections, heap float64
	for _, addr := range s.h.Addrs {
		m, err := s.h.Metrics(addr)
		if err != nil {
			return err
		}
		goroutines += m["go_goroutines"]
		// It may grow by so much until it is collected.
		heap += m["go_memstats_next_gc_bytes"] / (1 + m["go_gc_gogc_percent"]/100) / (1 << 20)
		connections += m[`hark_connections{wire="sse"}`] + m[`hark_connections{wire="websocket"}`]
	}
	s.note(sampledHeap, at, heap)
	s.note(sampledGoroutines, at, goroutines)
	s.note(sampledConnections, at, connections)
	state, err := s.followers.tell(nil)
	if err != nil {
		return err
	}
	s.note(sampledDeliveries, at, float64(state.Delivered-s.last)/every.Seconds())
	s.last = state.Delivered
	return nil
}

func (s *samples) note(name string, at, value float64) {
	if !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
	s.values[name] = append(s.values[name], bench.Point{at, value})
}

// results returns all curves, and how much was held in the first tenth of the time and in the last.
func (s *samples) results() (r measure.Results) {
	for _, name := range s.names {
		unit := ""
		switch name {
		case sampledGoroutines, sampledConnections:
		case sampledDeliveries:
			unit = "/s"
		default:
			unit = "MB"
		}
		r.Series = append(r.Series, bench.Series{Name: name, X: measure.Axis("time", "s"), Y: measure.Axis(name, unit), Points: s.values[name]})
		if name == sampledDeliveries {
			continue
		}
		first, last, most := ends(s.values[name])
		r.Figures = append(r.Figures, measure.Figure(name+" at the start", first, unit), measure.Figure(name+" at the end", last, unit))
		if name == sampledGoroutines {
			r.Figures = append(r.Figures, measure.Figure(name+" at most", most, unit))
		}
		if first > 0 {
			r.Figures = append(r.Figures, measure.Figure(name+" grew by", (last/first-1)*100, "%"))
		}
	}
	return r
}

// ends returns the medians of the first tenth of the values and of the last, and the highest of
// all.
func ends(points []bench.Point) (first, last, most float64) {
	values := make([]float64, len(points))
	for i, p := range points {
		values[i] = p[1]
	}
	if len(values) == 0 {
		return 0, 0, 0
	}
	tenth := (len(values) + 9) / 10
	return median(values[:tenth]), median(values[len(values)-tenth:]), slices.Max(values)
}
