package scene

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Keys has customers whose requests are limited by a concurrency key each. First it says what the
// others notice of one who sends most of all: their latency, from POST to the pushed success,
// without that one, with it, and with it if its requests have no key. Then it says what keys cost:
// how many requests are completed with and without them, by turns.
type Keys struct {
	Requests  int           `default:"10000" help:"Requests of all customers together."`
	Customers int           `default:"100" help:"Customers."`
	Share     float64       `default:"0.9" help:"Part of all requests that one customer sends, as fast as they are taken."`
	Limit     int           `default:"4" help:"Requests of one key at the same time."`
	Pace      time.Duration `default:"300ms" help:"Between two requests of one of the others."`
	Producers int           `default:"64" help:"Requests at the same time where keys are held against none."`
	Rounds    int           `default:"3" help:"How often that is done with and without keys."`
	Duration  time.Duration `default:"5s" help:"How long each time."`
}

// Run puts the load on a target and returns what was measured.
func (s *Keys) Run(t *peer.Target) (measure.Results, error) {
	h, ok := t.Peer.(*peer.Hark)
	if !ok {
		return measure.Results{}, errors.New("only Hark has this scene")
	}
	var r measure.Results
	for n, one := range []struct{ name, key string }{
		{"others, alone", "none"}, {"others, beside the one", "key"}, {"others, beside the one without a key", ""},
	} {
		t.Timed(one.name, s.Pace*time.Duration(s.each()))
		latency, took, err := s.beside(h, n, one.key)
		if err != nil {
			return r, fmt.Errorf("%s: %w", one.name, err)
		}
		r.Add(measure.Latencies(one.name, latency))
		if took > 0 {
			r.Figures = append(r.Figures, measure.Figure(one.name+": all of that one done after", took.Seconds()*1e3, "ms"))
		}
	}
	var rates [2][]float64
	for round := range s.Rounds {
		for turn := range 2 {
			keyed := (round+turn)%2 == 1 // who begins is another one each time
			what, at := "without keys", 0
			if keyed {
				what, at = "with keys", 1
			}
			t.Timed(fmt.Sprintf("%s, %d", what, round+1), s.Duration)
			rate, err := s.rate(h, fmt.Sprintf("rate%d-%d", round, turn), keyed)
			if err != nil {
				return r, fmt.Errorf("%s: %w", what, err)
			}
			rates[at] = append(rates[at], rate)
		}
	}
	plain, keyed := median(rates[0]), median(rates[1])
	r.Figures = append(r.Figures, []bench.Figure{
		measure.Figure("completed without keys", plain, "/s"),
		measure.Figure("completed with keys", keyed, "/s"),
		measure.Figure("with keys, of that", 100*keyed/plain, "%"),
	}...)
	return r, nil
}

// each is how many requests each of the others sends.
func (s *Keys) each() int {
	return max(int(float64(s.Requests)*(1-s.Share))/max(s.Customers-1, 1), 1)
}

// beside returns the latency of the others, and how long it took until all of the one that sends
// most was done. key: "none": there is no such customer; "": its requests have no key.
func (s *Keys) beside(h *peer.Hark, run int, key string) (*hdrhistogram.Histogram, time.Duration, error) {
	others := s.Customers - 1
	c := newCounted(others)
	defer c.close()
	topic := func(n int) string { return fmt.Sprintf("keys%d-customer%d", run, n) }
	if err := each(others, func(n int) (err error) {
		c.followers[n], err = h.Open("sse", "/v1/topics/"+topic(n)+"/events", "")
		return err
	}); err != nil {
		return nil, 0, err
	}
	var flooding sync.WaitGroup
	var flooded error
	var took time.Duration
	if key != "none" {
		f, err := h.Open("sse", "/v1/topics/"+topic(others)+"/events", "")
		if err != nil {
			return nil, 0, err
		}
		defer func() { _ = f.Conn.Close() }()
		flooding.Go(func() { took, flooded = s.flood(h, f, topic(others), key != "") })
	}
	latency := measure.NewHistogram()
	var mu sync.Mutex
	err := together(others, func(n int) error {
		local := measure.NewHistogram()
		// They come one after the other.
		next := time.Now().Add(time.Duration(n) * s.Pace / time.Duration(others))
		for count := range s.each() {
			time.Sleep(time.Until(next))
			next = next.Add(s.Pace)
			id := fmt.Sprintf("%s-%d", topic(n), count)
			began := time.Now()
			if err := h.Submit(s.request(id, topic(n), true)); err != nil {
				return err
			}
			if err := lives(c.followers[n], id); err != nil {
				return err
			}
			measure.Record(local, time.Since(began))
		}
		mu.Lock()
		defer mu.Unlock()
		latency.Merge(local)
		return nil
	})
	flooding.Wait()
	return latency, took, errors.Join(err, flooded)
}

// request is one whose topic is its key, if it has one.
func (s *Keys) request(id, topic string, keyed bool) map[string]any {
	r := map[string]any{"id": id, "route": "echo", "topic": topic, "content": peer.Padding}
	if keyed {
		r["concurrencyKey"], r["concurrencyLimit"] = topic, s.Limit
	}
	return r
}

// flood sends what one customer sends and returns how long it took until all was done. A key that
// was ever worked on more than so many times at once is an error.
func (s *Keys) flood(h *peer.Hark, f *client.Follower, topic string, keyed bool) (time.Duration, error) {
	requests := s.Requests - s.each()*(s.Customers-1)
	began := time.Now()
	var sending sync.WaitGroup
	var refused error
	sending.Go(func() {
		refused = several(16, requests, func(n int) error {
			return h.Submit(s.request(fmt.Sprintf("%s-%d", topic, n), topic, keyed))
		})
	})
	running, most := 0, 0
	err := f.Conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
	for ended := 0; ended < requests && err == nil; {
		var event []byte
		if _, event, err = f.Receive(); err != nil {
			break
		}
		switch {
		case bytes.Contains(event, []byte(`"type":"request.started"`)):
			running++
			most = max(most, running)
		case bytes.Contains(event, []byte(`"type":"request.succeeded"`)):
			running--
			ended++
		}
	}
	took := time.Since(began)
	sending.Wait()
	if keyed && most > s.Limit {
		err = errors.Join(err, fmt.Errorf("%d requests of one key were worked on at once, %d are allowed", most, s.Limit))
	}
	return took, errors.Join(err, refused)
}

// rate returns how many requests are completed each second by producers that wait for each.
func (s *Keys) rate(h *peer.Hark, name string, keyed bool) (float64, error) {
	c := newCounted(s.Producers)
	defer c.close()
	topic := func(n int) string { return fmt.Sprintf("%s-producer%d", name, n) }
	if err := each(s.Producers, func(n int) (err error) {
		c.followers[n], err = h.Open("sse", "/v1/topics/"+topic(n)+"/events", "")
		return err
	}); err != nil {
		return 0, err
	}
	var completed atomic.Int64
	began := time.Now()
	end := began.Add(s.Duration)
	err := together(s.Producers, func(n int) error {
		for count := 0; time.Now().Before(end); count++ {
			id := fmt.Sprintf("%s-%d", topic(n), count)
			if err := h.Submit(s.request(id, topic(n), keyed)); err != nil {
				return err
			}
			if err := lives(c.followers[n], id); err != nil {
				return err
			}
			completed.Add(1)
		}
		return nil
	})
	return float64(completed.Load()) / time.Since(began).Seconds(), err
}
