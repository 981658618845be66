package scene

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Storm restarts the gateway under many streams, each on a request of its own. All come back with
// their cursors as they were told to, and nothing that was reported meanwhile or afterwards is
// lost.
type Storm struct {
	Connections int           `default:"15000" help:"How many."`
	Retry       time.Duration `default:"2s" help:"How long clients wait before they come back, give or take a third."`
}

// Run puts the load on a target and returns what was measured.
func (s *Storm) Run(t *peer.Target) (measure.Results, error) {
	h, ok := t.Peer.(*peer.Hark)
	if !ok {
		return measure.Results{}, errors.New("only Hark has this scene")
	}
	channel := func(n int) string { return fmt.Sprint("storm", n) }
	t.Phase("making channels", s.Connections)
	if err := each(s.Connections, func(n int) error {
		defer t.Step()
		return h.Create(channel(n))
	}); err != nil {
		return measure.Results{}, err
	}
	t.Phase("connecting", s.Connections)
	followers := make([]*client.Follower, s.Connections)
	if err := each(s.Connections, func(n int) (err error) {
		followers[n], err = t.Follow("sse", channel(n))
		return err
	}); err != nil {
		return measure.Results{}, err
	}
	var lost, back sync.WaitGroup
	var returned, failed atomic.Int64
	longest := measure.NewHistogram()
	var mu sync.Mutex
	resume := make(chan struct{})
	for n, f := range followers {
		lost.Add(1)
		back.Go(func() {
			_, err := f.Next() // until the stream ends
			_ = f.Conn.Close()
			away := time.Now()
			lost.Done()
			if err == nil {
				failed.Add(1) // nothing was published
				return
			}
			<-resume
			time.Sleep(time.Duration(float64(s.Retry) * (2 + 2*rand.Float64()) / 3))
			for {
				f, err := h.Resume("sse", "/v1/requests/"+channel(n)+"/events", peer.BeforeProgress)
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
			measure.Record(longest, time.Since(away))
			mu.Unlock()
			returned.Add(1)
			t.Step()
		})
	}
	t.Settle(settle)
	t.Phase("coming back", s.Connections)
	began := time.Now()
	if err := h.Stop(); err != nil {
		return measure.Results{}, err
	}
	lost.Wait()
	down := time.Now()
	if err := h.Start(t); err != nil {
		return measure.Results{}, err
	}
	up := time.Since(down)
	close(resume)
	back.Wait()
	if n := failed.Load(); n > 0 {
		return measure.Results{}, fmt.Errorf("%d streams did not come back", n)
	}
	took := time.Since(began)
	metrics, err := h.Metrics(h.Addr)
	if err != nil {
		return measure.Results{}, err
	}
	reads := metrics["hark_history_reads_total"]
	t.Phase("checking", s.Connections)
	// And now to each one message: it has to be the next one.
	if err := each(s.Connections, func(n int) error {
		defer t.Step()
		return h.Publish(channel(n), 1)
	}); err != nil {
		return measure.Results{}, err
	}
	for n, f := range followers {
		number, err := f.Next()
		if err != nil || number != 1 {
			return measure.Results{}, fmt.Errorf("%s: message %d, %w", channel(n), number, err)
		}
		_ = f.Conn.Close()
	}
	measured := measure.Results{Figures: []bench.Figure{
		measure.Figure("streams", float64(s.Connections), ""),
		measure.Figure("came back without loss", float64(returned.Load()), ""),
		measure.Figure("restart of the gateway", up.Seconds(), "s"),
		measure.Figure("from the first cut to the last back", took.Seconds(), "s"),
		measure.Figure("store reads", reads, ""),
		measure.Figure("store reads per stream", reads/float64(s.Connections), ""),
	}}
	measured.Add(measure.Latencies("away", longest))
	return measured, nil
}
