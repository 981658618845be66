package scene

import (
	"errors"
	"fmt"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Growth tells whether a delivery costs the same however many there are: one channel with more and
// more followers, and more and more channels with a follower each. Every step makes as many
// deliveries a second.
//
// A publication costs something as well, so each round also publishes as much, at the same pace, to
// as many channels that nobody follows; what remains is the deliveries' own. What the kernel takes
// to wake up a client that waits is in there, and is shared by few deliveries or many: hold it
// against the same of --on=bare.
type Growth struct {
	Followers  []int  `default:"1,10,100,1000,10000" help:"Followers of one channel, step by step."`
	Channels   []int  `default:"1,10,100,1000,5000,15000" help:"Channels with a follower each, step by step."`
	Wire       string `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Deliveries int    `default:"7500" help:"Deliveries in each round."`
	Rate       int    `default:"5000" help:"Deliveries per second."`
	Publishers int    `default:"32" help:"Calls at the same time."`
	Rounds     int    `default:"9" help:"Rounds of each step, with and without followers; medians count."`
}

// Run puts the load on a target and returns what was measured.
func (s *Growth) Run(t *peer.Target) (measure.Results, error) {
	var steps []growthStep
	for _, n := range s.Followers {
		steps = append(steps, growthStep{name: fmt.Sprint("fan", n), channels: 1, followers: n})
	}
	fans, err := s.curves(t, "one channel", "followers", steps)
	if err != nil {
		return measure.Results{}, err
	}
	steps = nil
	for _, n := range s.Channels {
		steps = append(steps, growthStep{name: fmt.Sprint("spread", n), channels: n, followers: 1})
	}
	spread, err := s.curves(t, "many channels", "channels", steps)
	fans.Add(spread)
	return fans, err
}

// growthStep is one amount of followers and channels.
type growthStep struct {
	name      string
	channels  int
	followers int // of each
}

// curves plays steps and returns a delivery's cost along them.
func (s *Growth) curves(t *peer.Target, name, along string, steps []growthStep) (measure.Results, error) {
	x, y := bench.Axis{Name: along}, measure.Axis("server CPU", "µs")
	raw := bench.Series{Name: "CPU per delivery, " + name, X: x, Y: y}
	net := bench.Series{Name: "CPU per delivery without publishing, " + name, X: x, Y: y}
	alone := bench.Series{Name: "CPU per publication that nobody follows, " + name, X: x, Y: y}
	noise := bench.Series{Name: "median deviation of that, " + name, X: x, Y: y}
	var nets []float64
	for _, step := range steps {
		n := step.channels * step.followers
		with, without, err := s.play(t, step)
		if err != nil {
			return measure.Results{}, fmt.Errorf("%d %s: %w", n, along, err)
		}
		var cost, own, published []float64 // by round
		for round := range with {
			deliveries := float64(s.publications(step) * step.followers)
			cost = append(cost, with[round]*1e6/deliveries)
			own = append(own, (with[round]-without[round])*1e6/deliveries)
			published = append(published, without[round]*1e6/float64(s.publications(step)))
		}
		raw.Points = append(raw.Points, bench.Point{float64(n), median(cost)})
		net.Points = append(net.Points, bench.Point{float64(n), median(own)})
		alone.Points = append(alone.Points, bench.Point{float64(n), median(published)})
		noise.Points = append(noise.Points, bench.Point{float64(n), deviation(own)})
		nets = append(nets, median(own))
	}
	return measure.Results{Series: []bench.Series{raw, net, noise, alone}, Figures: []bench.Figure{
		measure.Figure("CPU per delivery w/o publishing, "+name, median(nets), "µs"),
	}}, nil
}

// publications returns how many make the deliveries of a round.
func (s *Growth) publications(step growthStep) int { return max(1, s.Deliveries/step.followers) }

// play returns the seconds of CPU that each round took, with the followers and without.
func (s *Growth) play(t *peer.Target, step growthStep) (with, without []float64, err error) {
	followed, alone := newLane(step.name+"x", step.channels), newLane(step.name+"y", step.channels)
	if err := errors.Join(followed.create(t), alone.create(t)); err != nil {
		return nil, nil, err
	}
	c := newCounted(step.channels * step.followers)
	defer c.close()
	t.Phase(fmt.Sprintf("connecting %d", step.channels*step.followers), step.channels*step.followers)
	if err := c.follow(
		func(i int) (*client.Follower, error) { return t.Follow(s.Wire, followed.name(i)) },
		func(int, int) time.Time { return time.Time{} },
	); err != nil {
		return nil, nil, err
	}
	t.Peer.Rest()
	t.Settle(settle)
	t.Phase(fmt.Sprintf("load on %d", step.channels*step.followers), s.Rounds+1)
	gap := time.Duration(step.followers) * time.Second / time.Duration(s.Rate)
	for round := range s.Rounds + 1 {
		publications := s.publications(step)
		if round == 0 { // to warm up
			publications = max(1, publications/10)
		}
		loud, err := costOf(t, func() error {
			if err := followed.pace(t, s.Publishers, publications, gap); err != nil {
				return err
			}
			return c.arrived(followed.published.Load() * int64(step.followers))
		})
		if err != nil {
			return nil, nil, err
		}
		silent, err := costOf(t, func() error { return alone.pace(t, s.Publishers, publications, gap) })
		if err != nil {
			return nil, nil, err
		}
		t.Step()
		if round > 0 {
			with, without = append(with, loud.cpu.Total()), append(without, silent.cpu.Total())
		}
	}
	return with, without, nil
}
