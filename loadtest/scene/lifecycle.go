package scene

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
	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Lifecycle has producers that submit a request each, wait until its success has been pushed to
// them, and submit the next. Beside it runs what queues do alone, and the floor, if the servers for
// that are there.
type Lifecycle struct {
	Producers int           `default:"64" help:"Requests at the same time."`
	Wire      string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Duration  time.Duration `default:"10s" help:"How long."`
	Asynq     bool          `default:"true" negatable:"" help:"With --backends=shared or redis: run asynq on the same Redis before it."`
	Floor     bool          `default:"true" negatable:"" help:"With --backends=shared and sse: run the floor on the same servers before it, a gateway and a worker that do the least there is to do."`

	MetricsTurns int `placeholder:"N" help:"Instead of all that: so many turns with two gateways side by side, one with its metrics and one without, and the medians of both. Embedded store only."`
}

// Run puts the load on a target and returns what was measured.
func (s *Lifecycle) Run(t *peer.Target) (measure.Results, error) {
	h, ok := t.Peer.(*peer.Hark)
	if !ok {
		return measure.Results{}, errors.New("only Hark has this scene")
	}
	if s.MetricsTurns > 0 {
		return s.metricsCost(t, h)
	}
	figures, err := s.baselines(t, h)
	if err != nil {
		return measure.Results{}, err
	}
	measured, err := s.load(t, h, "producer")
	measured.Figures = append(figures, measured.Figures...)
	return measured, err
}

// load puts the load on a gateway, Hark's or one that looks like it. What producers are called must
// not be taken in its store.
func (s *Lifecycle) load(t *peer.Target, h *peer.Hark, producer string) (measure.Results, error) {
	c := newCounted(s.Producers)
	defer c.close()
	topic := func(n int) string { return fmt.Sprint(producer, n) }
	if err := each(s.Producers, func(n int) (err error) {
		c.followers[n], err = h.Open(s.Wire, "/v1/topics/"+topic(n)+"/events", "topic:"+topic(n))
		return err
	}); err != nil {
		return measure.Results{}, err
	}
	t.Settle(settle)
	t.Timed("load", s.Duration)
	var completed atomic.Int64
	latency := measure.NewHistogram()
	var mu sync.Mutex
	m, err := costOf(t, func() error {
		end := time.Now().Add(s.Duration)
		return together(s.Producers, func(n int) error {
			local := measure.NewHistogram()
			for count := 0; time.Now().Before(end); count++ {
				id := fmt.Sprintf("%s-%d", topic(n), count)
				began := time.Now()
				if err := h.Submit(map[string]any{"id": id, "route": "echo", "topic": topic(n), "content": peer.Padding}); err != nil {
					return err
				}
				if err := lives(c.followers[n], id); err != nil {
					return err
				}
				measure.Record(local, time.Since(began))
				completed.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			latency.Merge(local)
			return nil
		})
	})
	if err != nil {
		return measure.Results{}, err
	}
	done := float64(completed.Load())
	figures := []bench.Figure{
		measure.Figure("completed", done, ""),
		measure.Figure(completedPerSecond, done/m.took.Seconds(), "/s"),
	}
	for i, p := range t.Processes {
		figures = append(figures, measure.Figure(cpuPerCompleted+p.Name, m.cpu[i]*1e6/done, "µs"))
	}
	measured := measure.Latencies("POST to pushed success", latency)
	measured.Figures = append(figures, measured.Figures...)
	return measured, nil
}

const (
	completedPerSecond = "completed per second"
	cpuPerCompleted    = "CPU per completed, " // and of which process
)

// lifeTime is how long a request may take: one whose event is lost would else be waited for for
// ever.
const lifeTime = time.Minute

// lives reads all events of a request, which come one after the other: accepted,
// started and succeeded.
func lives(f *client.Follower, id string) error {
	if err := f.Conn.SetReadDeadline(time.Now().Add(lifeTime)); err != nil {
		return err
	}
	for n, kind := range []string{"request.accepted", "request.started", "request.succeeded"} {
		_, event, err := f.Receive()
		if err != nil {
			return fmt.Errorf("%s of %s: %w", kind, id, err)
		}
		if !isEvent(event, id, n+1) || !bytes.Contains(event, fmt.Appendf(nil, `"type":"%s"`, kind)) {
			return fmt.Errorf("event %d of %s is %s", n+1, id, event)
		}
	}
	return nil
}

// isEvent tells whether an event of Hark is the one with a sequence of a request, whose life may
// stand between them in its id.
func isEvent(event []byte, id string, sequence int) bool {
	_, rest, ok := bytes.Cut(event, []byte(`"id":"`+id+`/`))
	tail, _, closed := bytes.Cut(rest, []byte(`"`))
	return ok && closed && string(tail[bytes.LastIndexByte(tail, '/')+1:]) == strconv.Itoa(sequence)
}

// baselines measures, on the servers behind the gateway, what queues do alone, where nobody submits
// over HTTP, nothing is stored and nobody is told, and what is the least that a gateway and a
// worker must do.
func (s *Lifecycle) baselines(t *peer.Target, h *peer.Hark) ([]bench.Figure, error) {
	if h.Redis == "" {
		return nil, nil
	}
	var figures []bench.Figure
	if h.AMQP != "" {
		t.Timed("RabbitMQ alone", s.Duration)
		n, err := bareQueue(h.AMQP, s.Producers, s.Duration)
		if err != nil {
			return nil, fmt.Errorf("RabbitMQ alone: %w", err)
		}
		figures = append(figures, measure.Figure("RabbitMQ alone", n, "/s"))
	}
	if s.Asynq {
		t.Timed("asynq", s.Duration)
		n, err := s.asynq(h)
		if err != nil {
			return nil, fmt.Errorf("asynq: %w", err)
		}
		figures = append(figures, measure.Figure("asynq", n, "/s"))
	}
	if s.Floor && s.Wire == "sse" && h.AMQP != "" {
		t.Timed("floor", settle+s.Duration)
		floor, err := s.floor(t, h)
		if err != nil {
			return nil, fmt.Errorf("floor: %w", err)
		}
		figures = append(figures, floor...)
	}
	return figures, nil
}

func (s *Lifecycle) asynq(h *peer.Hark) (float64, error) {
	cmd := exec.Command("go", "run", "-C", "loadtest/asynq", ".", h.Redis, strconv.Itoa(s.Producers), s.Duration.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// floor measures the floor in the same way as Hark. Its figures have its name before theirs.
func (s *Lifecycle) floor(t *peer.Target, h *peer.Hark) (figures []bench.Figure, err error) {
	f, err := peer.StartFloor(t, h)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	measured, err := s.load(f, f.Peer.(*peer.Hark), "producer")
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
