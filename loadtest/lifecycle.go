package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
)

// lifecycle has producers that submit a request each, wait until its success has been
// pushed to them, and submit the next. Beside it runs what queues do alone, and the floor, if the servers for that are there.
type lifecycle struct {
	Producers int           `default:"64" help:"Requests at the same time."`
	Wire      string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Duration  time.Duration `default:"10s" help:"How long."`
	Asynq     bool          `default:"true" negatable:"" help:"With --backends=shared: run asynq on the same Redis before it."`
	Floor     bool          `default:"true" negatable:"" help:"With --backends=shared and sse: run the floor on the same servers before it, a gateway and a worker that do the least there is to do."`
}

func (s *lifecycle) run(t *target) (results, error) {
	h, ok := t.peer.(*hark)
	if !ok {
		return results{}, errors.New("only Hark has this scene")
	}
	figures, err := s.baselines(t, h)
	if err != nil {
		return results{}, err
	}
	measured, err := s.load(t, h)
	measured.Figures = append(figures, measured.Figures...)
	return measured, err
}

// load puts the load on a gateway, Hark's or one that looks like it.
func (s *lifecycle) load(t *target, h *hark) (results, error) {
	c := newCounted(s.Producers)
	defer c.close()
	topic := func(n int) string { return fmt.Sprint("producer", n) }
	if err := each(s.Producers, func(n int) (err error) {
		c.followers[n], err = h.open(s.Wire, "/v1/topics/"+topic(n)+"/events", "topic:"+topic(n))
		return err
	}); err != nil {
		return results{}, err
	}
	t.settle(settle)
	t.timed("load", s.Duration)
	var completed atomic.Int64
	latency := newHistogram()
	var mu sync.Mutex
	m, err := costOf(t, func() error {
		end := time.Now().Add(s.Duration)
		return together(s.Producers, func(n int) error {
			local := newHistogram()
			for count := 0; time.Now().Before(end); count++ {
				id := fmt.Sprintf("%s-%d", topic(n), count)
				began := time.Now()
				if err := h.submit(map[string]any{"id": id, "route": "echo", "topic": topic(n), "content": padding}); err != nil {
					return err
				}
				if err := lives(c.followers[n], id); err != nil {
					return err
				}
				record(local, time.Since(began))
				completed.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			latency.Merge(local)
			return nil
		})
	})
	if err != nil {
		return results{}, err
	}
	done := float64(completed.Load())
	figures := []bench.Figure{
		figure("completed", done, ""),
		figure(completedPerSecond, done/m.took.Seconds(), "/s"),
	}
	for i, p := range t.processes {
		figures = append(figures, figure("CPU per completed, "+p.name, m.cpu[i]*1e6/done, "µs"))
	}
	measured := latencies("POST to pushed success", latency)
	measured.Figures = append(figures, measured.Figures...)
	return measured, nil
}

const completedPerSecond = "completed per second"

// lifeTime is how long a request may take: one whose event is lost would else be waited for for ever.
const lifeTime = time.Minute

// lives reads all events of a request, which come one after the other: accepted,
// started and succeeded.
func lives(f *follower, id string) error {
	if err := f.conn.SetReadDeadline(time.Now().Add(lifeTime)); err != nil {
		return err
	}
	for n, kind := range []string{"request.accepted", "request.started", "request.succeeded"} {
		_, event, err := f.read()
		if err != nil {
			return fmt.Errorf("%s of %s: %w", kind, id, err)
		}
		if !isEvent(event, id, n+1) || !bytes.Contains(event, fmt.Appendf(nil, `"type":"%s"`, kind)) {
			return fmt.Errorf("event %d of %s is %s", n+1, id, event)
		}
	}
	return nil
}

// isEvent tells whether an event of Hark is the one with a sequence of a request, whose life may stand between them in its id.
func isEvent(event []byte, id string, sequence int) bool {
	_, rest, ok := bytes.Cut(event, []byte(`"id":"`+id+`/`))
	tail, _, closed := bytes.Cut(rest, []byte(`"`))
	return ok && closed && string(tail[bytes.LastIndexByte(tail, '/')+1:]) == strconv.Itoa(sequence)
}

// baselines measures, on the servers behind the gateway, what queues do alone, where nobody submits over HTTP, nothing is
// stored and nobody is told, and what is the least that a gateway and a worker must do.
func (s *lifecycle) baselines(t *target, h *hark) ([]bench.Figure, error) {
	if h.redis == "" {
		return nil, nil
	}
	t.timed("RabbitMQ alone", s.Duration)
	n, err := bareQueue(h.amqp, s.Producers, s.Duration)
	if err != nil {
		return nil, fmt.Errorf("RabbitMQ alone: %w", err)
	}
	figures := []bench.Figure{figure("RabbitMQ alone", n, "/s")}
	if s.Asynq {
		t.timed("asynq", s.Duration)
		n, err := s.asynq(h)
		if err != nil {
			return nil, fmt.Errorf("asynq: %w", err)
		}
		figures = append(figures, figure("asynq", n, "/s"))
	}
	if s.Floor && s.Wire == "sse" {
		t.timed("floor", settle+s.Duration)
		floor, err := s.floor(t, h)
		if err != nil {
			return nil, fmt.Errorf("floor: %w", err)
		}
		figures = append(figures, floor...)
	}
	return figures, nil
}

func (s *lifecycle) asynq(h *hark) (float64, error) {
	cmd := exec.Command("go", "run", "-C", "loadtest/asynq", ".", h.redis, strconv.Itoa(s.Producers), s.Duration.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// floor measures the floor in the same way as Hark. Its figures have its name before theirs.
func (s *lifecycle) floor(t *target, h *hark) (figures []bench.Figure, err error) {
	f, err := startFloor(t, h)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	measured, err := s.load(f, f.peer.(*hark))
	for _, m := range measured.Figures {
		switch m.Name {
		case "completed":
			continue
		case completedPerSecond:
			m.Name = "floor"
		default:
			m.Name = "floor: " + m.Name
		}
		figures = append(figures, m)
	}
	return figures, err
}
