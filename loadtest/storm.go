package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
)

// storm restarts the gateway under many streams, each on a request of its own. All come back with their
// cursors as they were told to, and nothing that was reported meanwhile or afterwards is lost.
type storm struct {
	Connections int           `default:"15000" help:"How many."`
	Retry       time.Duration `default:"2s" help:"How long clients wait before they come back, give or take a third."`
}

func (s *storm) run(t *target) (results, error) {
	h, ok := t.peer.(*hark)
	if !ok {
		return results{}, errors.New("only Hark has this scene")
	}
	channel := func(n int) string { return fmt.Sprint("storm", n) }
	t.phase("making channels", s.Connections)
	if err := each(s.Connections, func(n int) error {
		defer t.step()
		return h.create(channel(n))
	}); err != nil {
		return results{}, err
	}
	t.phase("connecting", s.Connections)
	followers := make([]*follower, s.Connections)
	if err := each(s.Connections, func(n int) (err error) {
		followers[n], err = t.follow("sse", channel(n))
		return err
	}); err != nil {
		return results{}, err
	}
	var lost, back sync.WaitGroup
	var returned, failed atomic.Int64
	longest := newHistogram()
	var mu sync.Mutex
	resume := make(chan struct{})
	for n, f := range followers {
		lost.Add(1)
		back.Go(func() {
			_, err := f.next() // until the stream ends
			_ = f.conn.Close()
			away := time.Now()
			lost.Done()
			if err == nil {
				failed.Add(1) // nothing was published
				return
			}
			<-resume
			time.Sleep(time.Duration(float64(s.Retry) * (2 + 2*rand.Float64()) / 3))
			for {
				f, err := h.resume("sse", "/v1/requests/"+channel(n)+"/events", beforeProgress)
				if err == nil {
					followers[n] = f
					break
				}
				if time.Since(away) > 2*time.Minute {
					failed.Add(1)
					return
				}
				time.Sleep(s.Retry / 2)
			}
			mu.Lock()
			record(longest, time.Since(away))
			mu.Unlock()
			returned.Add(1)
			t.step()
		})
	}
	t.settle(settle)
	t.phase("coming back", s.Connections)
	began := time.Now()
	if err := h.stop(); err != nil {
		return results{}, err
	}
	lost.Wait()
	down := time.Now()
	if err := h.start(t); err != nil {
		return results{}, err
	}
	up := time.Since(down)
	close(resume)
	back.Wait()
	if n := failed.Load(); n > 0 {
		return results{}, fmt.Errorf("%d streams did not come back", n)
	}
	took := time.Since(began)
	metrics, err := h.metrics(h.addr)
	if err != nil {
		return results{}, err
	}
	reads := metrics["hark_history_reads_total"]
	t.phase("checking", s.Connections)
	// And now to each one message: it has to be the next one.
	if err := each(s.Connections, func(n int) error {
		defer t.step()
		return h.publish(channel(n), 1)
	}); err != nil {
		return results{}, err
	}
	for n, f := range followers {
		number, err := f.next()
		if err != nil || number != 1 {
			return results{}, fmt.Errorf("%s: message %d, %w", channel(n), number, err)
		}
		_ = f.conn.Close()
	}
	measured := results{Figures: []bench.Figure{
		figure("streams", float64(s.Connections), ""),
		figure("came back without loss", float64(returned.Load()), ""),
		figure("restart of the gateway", up.Seconds(), "s"),
		figure("from the first cut to the last back", took.Seconds(), "s"),
		figure("store reads", reads, ""),
		figure("store reads per stream", reads/float64(s.Connections), ""),
	}}
	measured.add(latencies("away", longest))
	return measured, nil
}
