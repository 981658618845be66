package scene

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Soak lets a gateway, or several, live with many followers for long, half of them by server-sent
// events and half by WebSocket: most of a request of their own, some of channels with many
// followers, some of feeds in which requests live and end; all the while some leave and come back.
// Whatever is published has to reach every follower once and in order, and memory and goroutines
// should not grow.
type Soak struct {
	Connections int           `help:"How many, over all gateways; 19,000 each if it is not said." placeholder:"N"`
	Rate        float64       `default:"100" help:"Reports per second to requests with one follower."`
	Broadcasts  float64       `default:"1" help:"Reports per second to the channels with many followers."`
	Requests    float64       `default:"10" help:"Requests per second that live and end."`
	Churn       float64       `default:"20" help:"Followers per second that leave and come back."`
	Duration    time.Duration `default:"10m" help:"How long."`
	Warmup      time.Duration `default:"30s" help:"How long before that, without measuring."`
}

// What the followers follow.
const (
	soakOwn  = iota // a request each
	soakMany        // one of a few requests
	soakFeed        // a topic each
)

// A quarter of the followers share these many channels.
const soakChannels = 10

func (s *Soak) groups(nodes int) []crowdSeat {
	total := s.Connections
	if total == 0 {
		total = 19_000 * nodes
	}
	many, feeds := total/4, max(1, total/100)
	return []crowdSeat{
		soakOwn:  {Prefix: "own", Channels: total - many - feeds, Seats: total - many - feeds},
		soakMany: {Prefix: "many", Channels: min(soakChannels, max(1, many)), Seats: many},
		soakFeed: {Prefix: "feed", Channels: feeds, Seats: feeds, Topic: true},
	}
}

// Run puts the load on a target and returns what was measured.
func (s *Soak) Run(t *peer.Target) (measure.Results, error) {
	h, ok := t.Peer.(*peer.Hark)
	if !ok {
		return measure.Results{}, errors.New("only Hark has this scene")
	}
	h.Everywhere = true
	groups := s.groups(len(h.Addrs))
	for _, g := range groups {
		if g.Topic {
			continue
		}
		t.Phase("making channels", g.Channels)
		if err := each(g.Channels, func(i int) error {
			defer t.Step()
			return h.Create(fmt.Sprint(g.Prefix, i))
		}); err != nil {
			return measure.Results{}, err
		}
	}
	began := time.Now()
	t.Phase("connecting", 0)
	followers, err := startCrowds(h.Addrs, groups)
	if err != nil {
		return measure.Results{}, err
	}
	defer followers.stop()
	opened := time.Since(began)
	// Something to everybody, so that what a connection takes with its first event is no growth.
	if err := each(groups[soakOwn].Channels, func(i int) error { return h.Publish(fmt.Sprint(groups[soakOwn].Prefix, i), i) }); err != nil {
		return measure.Results{}, err
	}
	if err := followers.churn(s.Churn); err != nil {
		return measure.Results{}, err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	published := s.traffic(ctx, stop, h, groups)
	t.Timed("warming up", s.Warmup)
	peer.Pause(ctx, s.Warmup)
	t.Timed("load", s.Duration)
	watch := newSamples(t, h, followers)
	m, err := costOf(t, func() error { return watch.take(ctx, s.Duration) })
	stop(nil)
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	want := published()
	if err = errors.Join(err, followers.churn(0)); err != nil {
		return measure.Results{}, err
	}
	t.Phase("checking", 0)
	state, err := followers.arrived(want)
	if err != nil {
		return measure.Results{}, err
	}
	r := measure.Results{Figures: []bench.Figure{
		measure.Figure("connections", float64(state.Open), ""),
		measure.Figure("opening them took", opened.Seconds(), "s"),
		measure.Figure("deliveries, each once and in order", float64(state.Delivered), ""),
		measure.Figure("lost, doubled or out of order", 0, ""), // else arrived had failed
		measure.Figure("left and came back", float64(state.Returned-state.Cut), ""),
		measure.Figure("cut by the server", float64(state.Cut), ""),
		measure.Figure("requests from POST to success", float64(want[soakFeed].Full*groups[soakFeed].Channels+want[soakFeed].Rest), ""),
		measure.Figure("CPU of all servers", m.cpu.Total()/m.took.Seconds()*100, "% of a core"),
	}}
	r.Add(watch.results())
	return r, nil
}

// traffic publishes to all groups, each at its rate, until ctx ends. What it returns waits for the
// calls under way and tells what then is expected. A call that fails ends all.
func (s *Soak) traffic(ctx context.Context, fail context.CancelCauseFunc, h *peer.Hark, groups []crowdSeat) func() []expected {
	var running sync.WaitGroup
	var turns [3]atomic.Int64
	turns[soakOwn].Store(int64(groups[soakOwn].Channels)) // see run
	publish := func(group int, rate float64, call func(turn int) error) {
		if rate <= 0 {
			return
		}
		const callers = 8
		began, gap := time.Now(), time.Duration(float64(time.Second)/rate)
		var next atomic.Int64
		for range callers {
			running.Go(func() {
				for {
					turn := next.Add(1) - 1
					if !peer.Pause(ctx, time.Until(began.Add(time.Duration(turn)*gap))) {
						return
					}
					// Turns are counted when they are made, so that none is left out in the end.
					if err := call(int(turns[group].Add(1) - 1)); err != nil {
						fail(err)
						return
					}
				}
			})
		}
	}
	channel := func(group, turn int) string {
		return fmt.Sprint(groups[group].Prefix, turn%groups[group].Channels)
	}
	publish(soakOwn, s.Rate, func(turn int) error { return h.Publish(channel(soakOwn, turn), turn) })
	publish(soakMany, s.Broadcasts, func(turn int) error { return h.Publish(channel(soakMany, turn), turn) })
	publish(soakFeed, s.Requests, func(turn int) error {
		return h.Submit(map[string]any{
			"id": fmt.Sprint("soak", turn), "route": "echo", "topic": channel(soakFeed, turn), "content": peer.Padding, "retention": "1m",
		})
	})
	return func() []expected {
		running.Wait()
		want := make([]expected, len(groups))
		for i, g := range groups {
			n := int(turns[i].Load())
			want[i] = expected{Base: peer.BeforeProgress, Each: 1, Full: n / g.Channels, Rest: n % g.Channels}
			if g.Topic {
				want[i].Base, want[i].Each = 0, 3 // accepted, started, succeeded
			}
		}
		return want
	}
}
