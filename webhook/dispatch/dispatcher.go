package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook"
)

// Dispatcher sends what is due. Any number of them may share a store: each delivery is lent to
// one at a time, and what a dispatcher that died had is lent out again when its lease ends.
type Dispatcher struct {
	service *Service
	queue   Queue
	sender  *sender
	log     *slog.Logger
	slots   int

	sending  atomic.Int64
	counters counters
	failing  failing
}

// grace is for how much longer than its endpoint's timeout a delivery is lent. Within it the rest
// of the answer is read and the outcome is stored, or it is sent again; and as much later than that
// others take over what a dispatcher had that died.
const grace = readTime + settleTime + 4*time.Second

// settleTime bounds how long the outcome of an attempt is tried to be stored, and awayTime how long
// if the store is away. It goes on after the end of Run's context, because a delivery that is not
// settled is sent again.
const (
	settleTime = 10 * time.Second
	awayTime   = 10 * time.Minute
)

// NewDispatcher returns a dispatcher for the endpoints of a service.
func NewDispatcher(s *Service) *Dispatcher {
	return &Dispatcher{service: s, queue: s.store, sender: s.sender, log: s.options.Logger, slots: s.options.Slots}
}

// Run sends until ctx ends, and returns when what was under way then has been settled.
// drain is how long that may take; what is still under way is cut off and comes back when its
// lease ends.
func (d *Dispatcher) Run(ctx context.Context, drain time.Duration) {
	wake := make(chan struct{}, 1)
	notify := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	stop := d.queue.OnDue(notify)
	defer stop()
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drain, cut) })()
	var running sync.WaitGroup
	var telling sync.WaitGroup
	telling.Go(func() { d.failing.run(ctx, d.log) })
	for pause := time.Duration(0); ctx.Err() == nil; {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() == nil {
			pause = d.claim(work, &running, notify)
		}
	}
	running.Wait()
	telling.Wait()
	d.failing.tell(d.log)
}

const (
	idle        = 30 * time.Second // looked again after this at the latest
	unavailable = time.Second      // after a failure of the store
	claimBatch  = 64
)

// claim takes what is due and sends it. It returns when to look again. It does not end with Run's
// context either: what a store has lent while nobody listens any more would be missing until its
// lease ends.
func (d *Dispatcher) claim(ctx context.Context, running *sync.WaitGroup, freed func()) time.Duration {
	free := d.slots - int(d.sending.Load())
	if free <= 0 {
		return idle // whoever finishes wakes us
	}
	claims, next, err := d.queue.Claim(ctx, min(free, claimBatch), grace)
	if err != nil {
		if ctx.Err() == nil {
			d.log.LogAttrs(ctx, slog.LevelWarn, "webhook deliveries cannot be claimed", slog.Any("error", err))
		}
		return unavailable
	}
	for _, c := range claims {
		d.sending.Add(1)
		running.Go(func() {
			defer freed() // an endpoint or a slot has room again
			defer d.sending.Add(-1)
			d.deliver(ctx, c)
		})
	}
	if d.service.options.Stall.Left() > 0 {
		// What is lent for too long keeps its slot until its outcome is known.
		next = max(next, 100*time.Millisecond)
	}
	return min(max(next, 0), idle)
}

// deliver makes one attempt and settles it.
func (d *Dispatcher) deliver(ctx context.Context, c Claim) {
	keys, err := d.service.keysOf(&c.Endpoint, c.At)
	var a answer
	if err != nil {
		a = answer{class: ClassInternal, err: err}
	} else {
		a = d.sender.post(ctx, &c.Endpoint, c.Message, c.At, keys)
	}
	if ctx.Err() != nil {
		return // cut off: that is no fault of the endpoint
	}
	v := judge(&c, a)
	d.counters.count(v.outcome)
	if told := d.service.options.Attempted; told != nil {
		told(a.latency)
	}
	if v.outcome.State != Delivered {
		d.failing.add(&c, v.outcome, a)
		d.log.LogAttrs(ctx, slog.LevelDebug, "webhook attempt failed", slog.String("endpoint", c.Endpoint.ID), slog.String("message", c.ID), slog.String("request", RequestOf(c.Lane)),
			slog.Int("attempt", c.Attempt), slog.String("class", v.outcome.Attempt.Class), slog.Int("status", a.status), slog.Any("error", a.err))
	}
	health, err := d.settle(ctx, c, v.outcome)
	switch {
	case errors.Is(err, ErrNotClaimed):
		d.log.LogAttrs(ctx, slog.LevelInfo, "webhook delivery took longer than its lease", slog.String("endpoint", c.Endpoint.ID), slog.String("message", c.ID), slog.String("request", RequestOf(c.Lane)))
		return
	case err != nil:
		d.log.LogAttrs(ctx, slog.LevelWarn, "outcome of a webhook attempt could not be stored; it is sent again", slog.String("endpoint", c.Endpoint.ID), slog.String("message", c.ID), slog.String("request", RequestOf(c.Lane)), slog.Any("error", err))
		return
	}
	bound, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	d.react(bound, &c, v, health)
}

// settle stores an outcome, again as long as the store is away: as soon as that is back the
// delivery would be sent again.
func (d *Dispatcher) settle(ctx context.Context, c Claim, o Outcome) (Health, error) {
	began := time.Now()
	for failures := 1; ; failures++ {
		bound, cancel := context.WithTimeout(ctx, settleTime)
		health, err := d.queue.Settle(bound, c, o)
		cancel()
		if err == nil || errors.Is(err, ErrNotClaimed) || ctx.Err() != nil {
			return health, err
		}
		most := settleTime
		if errors.Is(err, lifecycle.ErrUnavailable) {
			most = awayTime
		}
		if time.Since(began) >= most {
			return health, err
		}
		if backoff.Wait(ctx, backoff.Exponential(failures, 50*time.Millisecond, time.Second)) != nil {
			return health, err
		}
	}
}

// react pauses or disables an endpoint that fails.
func (d *Dispatcher) react(ctx context.Context, c *Claim, v verdict, health Health) {
	var err error
	switch hold := max(v.hold, breaker(health.Failures)); {
	case v.gone:
		err = d.service.disable(ctx, &c.Endpoint, "gone", "It answered 410 Gone.")
	case v.outcome.State == Delivered:
	case health.Failures >= breakerAfter && !health.FailingSince.IsZero() && c.At.Sub(health.FailingSince) >= d.service.options.DisableAfter:
		err = d.service.disable(ctx, &c.Endpoint, "failing", "Every attempt failed since "+health.FailingSince.UTC().Format(time.RFC3339)+".")
	case hold > 0:
		err = d.queue.Hold(ctx, c.Endpoint.Owner, c.Endpoint.ID, hold)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		d.log.LogAttrs(ctx, slog.LevelWarn, "failing webhook endpoint could not be held", slog.String("endpoint", c.Endpoint.ID), slog.Any("error", err))
	}
}

// keysOf returns what signs for an endpoint at a time: its secrets, and the key of this service.
func (s *Service) keysOf(e *Endpoint, at time.Time) ([]webhook.Key, error) {
	keys := make([]webhook.Key, 0, len(e.Secrets)+1)
	for _, secret := range e.Secrets {
		if !secret.Until.IsZero() && !at.Before(secret.Until) {
			continue
		}
		text, err := s.vault.open(secret.Value, e.ID)
		if err != nil {
			return nil, err
		}
		key, err := webhook.ParseKey(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return append(keys, s.signing), nil
}

// Stats is what a dispatcher has counted since it was made.
type Stats struct {
	Sending   int64             // deliveries under way
	Delivered uint64            // deliveries that were answered with 2xx
	Dead      uint64            // deliveries given up
	Failed    map[string]uint64 // attempts that failed, by class
}

type counters struct {
	mu sync.Mutex
	Stats
}

func (c *counters) count(o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch o.State {
	case Delivered:
		c.Delivered++
		return
	case Dead:
		c.Dead++
	}
	if c.Failed == nil {
		c.Failed = make(map[string]uint64)
	}
	c.Failed[o.Attempt.Class]++
}

// Stats returns the counts of now.
func (d *Dispatcher) Stats() Stats {
	d.counters.mu.Lock()
	defer d.counters.mu.Unlock()
	s := d.counters.Stats
	s.Sending = d.sending.Load()
	s.Failed = maps.Clone(d.counters.Failed)
	return s
}
