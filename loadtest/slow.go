package main

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// slow broadcasts twice: to followers who all read at once, and to as many of which a share
// reads slowly. It tells by how much the others' latency moves.
type slow struct {
	Followers int           `default:"2000" help:"How many."`
	Share     float64       `default:"0.1" help:"Share of them that read slowly."`
	Pace      int           `default:"1024" help:"Bytes per second that these read."`
	Wire      string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Rate      int           `default:"10" help:"Messages per second."`
	Duration  time.Duration `default:"20s" help:"How long each time."`
}

func (s *slow) run(t *target) ([]figure, error) {
	var p99, p50 [2]float64
	share := int(float64(s.Followers) * s.Share)
	for round, slowly := range []int{0, share} {
		channel := fmt.Sprint("slow", round)
		crawling, stop, err := s.crawl(t, channel, slowly)
		if err != nil {
			return nil, err
		}
		b := broadcast{Followers: s.Followers - share, Wire: s.Wire, Rate: s.Rate, Duration: s.Duration}
		c, _, _, err := b.measure(t, channel)
		stop()
		crawling.Wait()
		if err != nil {
			return nil, err
		}
		p50[round], p99[round] = c.millis(50), c.millis(99)
	}
	return []figure{
		{"followers who read at once", float64(s.Followers - share), ""},
		{"slow ones, in the second round", float64(share), ""},
		{"latency p50 without them", p50[0], "ms"},
		{"latency p50 with them", p50[1], "ms"},
		{"latency p99 without them", p99[0], "ms"},
		{"latency p99 with them", p99[1], "ms"},
		{"p99 moves by", (p99[1]/p99[0] - 1) * 100, "%"},
	}, nil
}

// crawl opens followers that read slowly until stop is called.
func (s *slow) crawl(t *target, channel string, n int) (crawling *sync.WaitGroup, stop func(), err error) {
	crawling = new(sync.WaitGroup)
	if err := t.peer.create(channel); err != nil {
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
	if err := each(n, func(i int) error {
		f, err := t.peer.follow(s.Wire, channel)
		if err == nil {
			conns[i] = f.conn
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
