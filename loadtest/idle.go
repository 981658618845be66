package main

import (
	"fmt"
	"sync"
	"time"
)

// idle opens connections that wait, each on a request of its own, and measures
// what each adds to the gateway's memory.
type idle struct {
	Connections int           `default:"10000" help:"How many."`
	Wire        string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Settle      time.Duration `default:"10s" help:"How long to let the memory come to rest before measuring."`
}

func (s *idle) run(g *gateway) ([]figure, error) {
	ids := make([]string, s.Connections)
	if err := each(s.Connections, func(n int) (err error) {
		ids[n], err = g.submit("")
		return err
	}); err != nil {
		return nil, err
	}
	g.client.CloseIdleConnections()
	time.Sleep(s.Settle)
	before, err := g.memory()
	if err != nil {
		return nil, err
	}
	followers := make([]*follower, s.Connections)
	if err := each(s.Connections, func(n int) (err error) {
		followers[n], err = g.follow(s.Wire, "/v1/requests/"+ids[n]+"/events", "request:"+ids[n])
		if err != nil {
			return err
		}
		offset, err := followers[n].next()
		if err == nil && offset != 1 {
			err = fmt.Errorf("first offset is %d", offset)
		}
		return err
	}); err != nil {
		return nil, err
	}
	time.Sleep(s.Settle)
	after, err := g.memory()
	for _, f := range followers {
		_ = f.conn.Close()
	}
	return []figure{
		{"connections " + s.Wire, float64(s.Connections), ""},
		{"memory before", before / 1024, "KB"},
		{"memory with them", after / 1024, "KB"},
		{"memory per connection", (after - before) / 1024 / float64(s.Connections), "KB"},
	}, err
}

// each calls f for 0 to n-1, some of them at a time, and returns the first error.
func each(n int, f func(int) error) error {
	const atATime = 64
	var running sync.WaitGroup
	work, failed := make(chan int), make(chan error, atATime)
	for range atATime {
		running.Go(func() {
			for i := range work {
				if err := f(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var err error
	for i := 0; i < n && err == nil; i++ {
		select {
		case work <- i:
		case err = <-failed:
		}
	}
	close(work)
	running.Wait()
	select {
	case e := <-failed:
		if err == nil {
			err = e
		}
	default:
	}
	return err
}
