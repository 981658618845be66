package scene

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Slow broadcasts to followers who all read at once, and to as many of which a share reads slowly,
// in turns, so that what else the machine does meets both. It tells by how much the others' latency
// moves.
type Slow struct {
	Followers int           `default:"2000" help:"How many."`
	Share     float64       `default:"0.1" help:"Share of them that read slowly."`
	Pace      int           `default:"1024" help:"Bytes per second that these read."`
	Wire      string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Rate      int           `default:"10" help:"Messages per second."`
	Rounds    int           `default:"8" help:"How often without and with them; medians are compared."`
	Duration  time.Duration `default:"4s" help:"How long each time."`
	Warmup    time.Duration `default:"1s" help:"How long before each time, without measuring."`
}

// Run puts the load on a target and returns what was measured.
func (s *Slow) Run(t *peer.Target) (measure.Results, error) {
	var p50, p99 [2][]float64 // without and with them
	share := int(float64(s.Followers) * s.Share)
	rounds := bench.Series{Name: "p99 with slow ones over p99 without", X: bench.Axis{Name: "round"}, Y: bench.Axis{Name: "ratio"}}
	for round := range max(1, s.Rounds) {
		for with, slowly := range []int{0, share} {
			channel := fmt.Sprintf("slow%d-%d", round, with)
			crawling, stop, err := s.crawl(t, channel, slowly)
			if err != nil {
				return measure.Results{}, err
			}
			b := Broadcast{Followers: s.Followers - share, Wire: s.Wire, Rate: s.Rate, Duration: s.Duration, Warmup: s.Warmup}
			c, _, err := b.measure(t, channel)
			stop()
			crawling.Wait()
			if err != nil {
				return measure.Results{}, err
			}
			latency := c.latency()
			p50[with], p99[with] = append(p50[with], measure.Millis(latency, 50)), append(p99[with], measure.Millis(latency, 99))
		}
		rounds.Points = append(rounds.Points, bench.Point{float64(round + 1), p99[1][round] / p99[0][round]})
	}
	without, with := median(p99[0]), median(p99[1])
	return measure.Results{Figures: []bench.Figure{
		measure.Figure("followers who read at once", float64(s.Followers-share), ""),
		measure.Figure("slow ones, every other time", float64(share), ""),
		measure.Figure("latency p50 without them", median(p50[0]), "ms"),
		measure.Figure("latency p50 with them", median(p50[1]), "ms"),
		measure.Figure("latency p99 without them", without, "ms"),
		measure.Figure("latency p99 with them", with, "ms"),
		measure.Figure("p99 moves by", (with/without-1)*100, "%"),
	}, Series: []bench.Series{rounds}}, nil
}

// crawl opens followers that read slowly until stop is called.
func (s *Slow) crawl(t *peer.Target, channel string, n int) (crawling *sync.WaitGroup, stop func(), err error) {
	crawling = new(sync.WaitGroup)
	if err := t.Peer.Create(channel); err != nil {
		return nil, nil, err
	}
	conns := make([]net.Conn, n)
	stop = func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
	t.Phase("connecting slow ones", n)
	if err := each(n, func(i int) error {
		f, err := t.Follow(s.Wire, channel)
		if err == nil {
			conns[i] = f.Conn
		}
		return err
	}); err != nil {
		stop()
		return nil, nil, err
	}
	for _, conn := range conns {
		crawling.Go(func() {
			buffer := make([]byte, max(s.Pace, 1))
			for {
				if _, err := conn.Read(buffer); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
	}
	return crawling, stop, nil
}
