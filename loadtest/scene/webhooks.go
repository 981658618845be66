package scene

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Webhooks registers endpoints, each for a topic of its own, and reports progress on a request in
// each topic, at a rate. It does so twice: with the healthy ones alone (for the other topics there
// is none, so that as much is reported), and with dead ones beside them, which refuse, fail, answer
// never or one byte a second. Then it reports as fast as it can.
type Webhooks struct {
	Endpoints int           `default:"200" help:"How many, the dead ones included."`
	Dead      float64       `default:"0.3" help:"Share of them that are dead in the second round."`
	Rate      int           `default:"200" help:"Events per second to the healthy ones; the dead ones get as many each."`
	Duration  time.Duration `default:"20s" help:"How long each round."`
	Reporters int           `default:"32" help:"Calls at the same time in the last round."`
}

// Run puts the load on a target and returns what was measured.
func (s *Webhooks) Run(t *peer.Target) (measure.Results, error) {
	h, ok := t.Peer.(*peer.Hark)
	if !ok {
		return measure.Results{}, errors.New("only Hark has this scene")
	}
	r, err := newReceiver()
	if err != nil {
		return measure.Results{}, err
	}
	defer r.close()
	dead := int(float64(s.Endpoints) * s.Dead)
	alive := s.Endpoints - dead
	var p50, p99 [2]float64
	var with *hdrhistogram.Histogram
	for round, ill := range []bool{false, true} {
		latency, _, _, err := s.round(t, h, r, fmt.Sprint("paced", round), alive, dead, ill)
		if err != nil {
			return measure.Results{}, err
		}
		p50[round], p99[round] = measure.Millis(latency, 50), measure.Millis(latency, 99)
		with = latency
	}
	fast := *s
	fast.Rate = 0
	_, n, used, err := fast.round(t, h, r, "fast", alive, 0, false)
	if err != nil {
		return measure.Results{}, err
	}
	figures := []bench.Figure{
		measure.Figure("healthy endpoints", float64(alive), ""),
		measure.Figure("dead ones, in the second round", float64(dead), ""),
		measure.Figure("latency p50 without them", p50[0], "ms"),
		measure.Figure("latency p50 with them", p50[1], "ms"),
		measure.Figure("latency p99 without them", p99[0], "ms"),
		measure.Figure("latency p99 with them", p99[1], "ms"),
		measure.Figure("p99 with them / without", p99[1]/p99[0], ""),
		measure.Figure("delivered as fast as possible", float64(n)/used.took.Seconds(), "/s"),
		measure.Figure("delivered more than once", float64(r.again.Load()), ""),
	}
	cpu := make(map[string]float64) // of all processes of a name
	for i, p := range t.Processes {
		cpu[p.Name] += used.cpu[i]
	}
	for _, name := range slices.Sorted(maps.Keys(cpu)) {
		figures = append(figures, measure.Figure("CPU per report and delivery, "+name, cpu[name]*1e6/float64(n), "µs"))
	}
	measured := measure.Latencies("latency with them", with)
	measured.Figures = figures
	return measured, nil
}

// round has topics of its own, and endpoints for those that are alive, or, if ill, for all. It
// returns when all that the healthy ones are to get has arrived.
func (s *Webhooks) round(t *peer.Target, h *peer.Hark, r *receiver, name string, alive, dead int, ill bool) (latency *hdrhistogram.Histogram, n int, used cost, err error) {
	t.Phase("making endpoints", alive+dead)
	inboxes := make([]*inbox, alive+dead)
	paths := make([]string, alive+dead)
	for i := range inboxes {
		paths[i] = fmt.Sprintf("%s-%d", name, i)
		inboxes[i] = r.inbox(paths[i])
		url := r.url + "/" + paths[i]
		if i >= alive {
			url = r.dead[i%len(r.dead)]
		}
		if i < alive || ill {
			if err := h.Post("/v1/webhooks", map[string]any{
				"url": url, "topics": []string{paths[i]}, "events": []string{"request.progress"}, "timeout": "10s", "schedule": []string{"1s", "5s", "30s", "5m"},
			}); err != nil {
				return nil, 0, used, err
			}
		}
		if err := h.Submit(map[string]any{"id": paths[i], "topic": paths[i], "content": 1}); err != nil {
			return nil, 0, used, err
		}
		if err := h.Post("/v1/work/"+paths[i]+"/start", nil); err != nil {
			return nil, 0, used, err
		}
		t.Step()
	}
	t.Settle(settle)
	t.Timed("load", s.Duration)
	used, err = costOf(t, func() error {
		if s.Rate > 0 {
			n, err = s.pace(h, inboxes, paths, alive)
		} else {
			n, err = s.hurry(h, inboxes, paths)
		}
		if err != nil {
			return err
		}
		return r.wait(inboxes[:alive])
	})
	return r.latencies(inboxes[:alive]), n, used, err
}

// pace reports at the rate, in turn. It returns how much the healthy endpoints are to get.
func (s *Webhooks) pace(h *peer.Hark, inboxes []*inbox, paths []string, alive int) (int, error) {
	rounds := max(1, s.Rate*int(s.Duration.Seconds())/alive)
	total := rounds * len(inboxes)
	gap := s.Duration / time.Duration(total)
	began := time.Now()
	var next atomic.Int64
	return rounds * alive, together(s.Reporters, func(int) error {
		for {
			turn := int(next.Add(1) - 1)
			if turn >= total {
				return nil
			}
			at := began.Add(time.Duration(turn) * gap)
			time.Sleep(time.Until(at))
			i := turn % len(inboxes)
			inboxes[i].expect(turn/len(inboxes)+1, at)
			if err := h.Publish(paths[i], turn); err != nil {
				return err
			}
		}
	})
}

// hurry reports as fast as it can.
func (s *Webhooks) hurry(h *peer.Hark, inboxes []*inbox, paths []string) (int, error) {
	var next atomic.Int64
	end := time.Now().Add(s.Duration)
	err := together(s.Reporters, func(int) error {
		for time.Now().Before(end) {
			turn := int(next.Add(1) - 1)
			i := turn % len(inboxes)
			inboxes[i].expect(turn/len(inboxes)+1, time.Now())
			if err := h.Publish(paths[i], turn); err != nil {
				return err
			}
		}
		return nil
	})
	return int(next.Load()), err
}

// receiver is the other end of all endpoints.
type receiver struct {
	url    string
	dead   []string // URLs of endpoints that are dead, each in its way
	server *http.Server
	stop   []func()
	served sync.WaitGroup
	again  atomic.Int64

	mu      sync.Mutex
	inboxes map[string]*inbox
}

// inbox is what one endpoint has got.
type inbox struct {
	mu       sync.Mutex
	due      map[int]time.Time // by the number of the report
	arrived  map[int]time.Duration
	expected int
}

func (b *inbox) expect(n int, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.due[n] = at
	b.expected++
}

func newReceiver() (*receiver, error) {
	r := &receiver{inboxes: make(map[string]*inbox)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.url = "http://" + l.Addr().String()
	r.server = &http.Server{Handler: http.HandlerFunc(r.receive), ReadHeaderTimeout: time.Minute}
	r.served.Go(func() { _ = r.server.Serve(l) })
	r.stop = append(r.stop, func() { _ = r.server.Close() })

	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.dead = append(r.dead, "http://"+refusing.Addr().String()+"/refuses", r.url+"/fails")
	_ = refusing.Close()
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"} {
		url, err := r.crawl(answer)
		if err != nil {
			return nil, err
		}
		r.dead = append(r.dead, url)
	}
	return r, nil
}

// crawl listens and answers one byte a second, or never.
func (r *receiver) crawl(answer string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	done := make(chan struct{})
	r.stop = append(r.stop, func() { _ = l.Close(); close(done) })
	r.served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.served.Go(func() {
				defer func() { _ = conn.Close() }()
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for i := 0; ; i++ {
					select {
					case <-tick.C:
					case <-done:
						return
					}
					if i < len(answer) {
						if _, err := conn.Write([]byte{answer[i]}); err != nil {
							return
						}
					}
				}
			})
		}
	})
	return "http://" + l.Addr().String() + "/", nil
}

func (r *receiver) close() {
	for _, stop := range r.stop {
		stop()
	}
	r.served.Wait()
}

func (r *receiver) inbox(path string) *inbox {
	b := &inbox{due: make(map[int]time.Time), arrived: make(map[int]time.Duration)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inboxes[path] = b
	return b
}

func (r *receiver) receive(w http.ResponseWriter, q *http.Request) {
	_, _ = io.Copy(io.Discard, q.Body)
	now := time.Now()
	r.mu.Lock()
	b := r.inboxes[strings.TrimPrefix(q.URL.Path, "/")]
	r.mu.Unlock()
	// The id of the message is that of the request and the sequence.
	id := q.Header.Get("Webhook-Id")
	sequence, err := strconv.Atoi(id[strings.LastIndexByte(id, '_')+1:])
	if b == nil || err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	n := sequence - peer.BeforeProgress
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.arrived[n]; ok {
		r.again.Add(1)
		return
	}
	b.arrived[n] = now.Sub(b.due[n])
}

// wait returns when all that is expected has arrived.
func (r *receiver) wait(inboxes []*inbox) error {
	missing := 0
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		missing = 0
		for _, b := range inboxes {
			b.mu.Lock()
			missing += b.expected - len(b.arrived)
			b.mu.Unlock()
		}
		if missing == 0 {
			return nil
		}
	}
	return fmt.Errorf("%d deliveries did not arrive", missing)
}

func (r *receiver) latencies(inboxes []*inbox) *hdrhistogram.Histogram {
	h := measure.NewHistogram()
	for _, b := range inboxes {
		b.mu.Lock()
		for _, d := range b.arrived {
			measure.Record(h, d)
		}
		b.mu.Unlock()
	}
	return h
}
