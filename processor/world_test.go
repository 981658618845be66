package processor_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the rest of Hark in memory, as small as it can be: requests that
// change by the real state machine, and a queue. It is a processor.Lifecycle and
// lifecycle.Cancellations.
type world struct {
	queue *queue

	mu       sync.Mutex
	requests map[string]lifecycle.Request
	inputs   map[string]lifecycle.Content
	outputs  map[string]lifecycle.Content
	ended    map[string]chan struct{}
	changes  []lifecycle.Change // that were made, in order
	writes   []time.Time        // when
	hints    map[int]func(lifecycle.Ref)

	// answer, if set, is how long the answer to the start of an attempt takes.
	answer func(attempt int) time.Duration

	// fault, if set, may refuse a call before ("start" or the change) or after
	// it was made.
	fault func(c lifecycle.Change, made bool) error
}

func newWorld() *world {
	return &world{
		queue:    newQueue(),
		requests: make(map[string]lifecycle.Request),
		inputs:   make(map[string]lifecycle.Content),
		outputs:  make(map[string]lifecycle.Content),
		ended:    make(map[string]chan struct{}),
		hints:    make(map[int]func(lifecycle.Ref)),
	}
}

func (w *world) submit(r lifecycle.Request, c lifecycle.Content) {
	w.mu.Lock()
	r.Status = lifecycle.Pending
	if r.Route == "" {
		r.Route = "work"
	}
	if r.MaxAttempts == 0 {
		r.MaxAttempts = 3
	}
	r.CreatedAt, r.UpdatedAt = time.Now(), time.Now()
	if r.ExpiresAt.IsZero() {
		r.ExpiresAt = time.Now().Add(time.Hour)
	}
	w.requests[r.ID], w.inputs[r.ID] = r, c
	w.ended[r.ID] = make(chan struct{})
	w.mu.Unlock()
	_ = w.queue.Publish(context.Background(), broker.Job{ID: r.ID, Route: r.Route})
}

func (w *world) Start(ctx context.Context, of lifecycle.Ref, c lifecycle.Start) (lifecycle.Request, lifecycle.Content, error) {
	id := of.ID
	r, err := w.apply(ctx, id, c)
	if err == nil && r.Status != lifecycle.Processing {
		err = &lifecycle.TransitionError{ID: id, Change: "start", From: r.Status, Reason: lifecycle.ReasonEnded}
	}
	if err == nil && w.answer != nil {
		time.Sleep(w.answer(r.Attempt))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return r, w.inputs[id], err
}

func (w *world) Report(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error) {
	if f, ok := c.(lifecycle.Fail); ok && f.Retry && f.Delay <= 0 {
		f.Delay = time.Second
		c = f
	}
	id := of.ID
	r, err := w.apply(ctx, id, c)
	if err == nil && r.Status == lifecycle.Pending {
		err = w.queue.Publish(ctx, broker.Job{ID: id, Route: r.Route, NotBefore: r.NotBefore})
	}
	return r, err
}

func (w *world) apply(ctx context.Context, id string, c lifecycle.Change) (lifecycle.Request, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return lifecycle.Request{}, ctx.Err()
	}
	if w.fault != nil {
		if err := w.fault(c, false); err != nil {
			return lifecycle.Request{}, err
		}
	}
	r, ok := w.requests[id]
	if !ok {
		return lifecycle.Request{}, lifecycle.ErrNotFound
	}
	effect, err := lifecycle.Transition(r, c, time.Now())
	if err != nil || !effect.Changed {
		return r, err
	}
	next := effect.Request
	w.requests[id] = next
	w.changes, w.writes = append(w.changes, c), append(w.writes, time.Now())
	if s, ok := c.(lifecycle.Succeed); ok && s.Result != nil {
		w.outputs[id] = *s.Result
	}
	if next.Status.Terminal() && !r.Status.Terminal() {
		close(w.ended[id])
	}
	if w.fault != nil {
		if err := w.fault(c, true); err != nil {
			return lifecycle.Request{}, err
		}
	}
	return next, nil
}

func (w *world) OnCancel(f func(of lifecycle.Ref)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.hints)
	w.hints[n] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hints[n] = nil
	}
}

// cancel asks for the end of a request; hint says whether processors are told.
func (w *world) cancel(id string, hint bool) {
	_, _ = w.apply(context.Background(), id, lifecycle.Cancel{})
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.hints {
		if f != nil && hint {
			f(lifecycle.Ref{ID: id})
		}
	}
}

func (w *world) get(id string) lifecycle.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[id]
}

// progress returns the progress reports that were written.
func (w *world) progress() (all []lifecycle.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.changes {
		if p, ok := c.(lifecycle.Progress); ok {
			all = append(all, p)
		}
	}
	return all
}

// await returns a request once it has ended.
func (w *world) await(id string) lifecycle.Request {
	w.mu.Lock()
	ended := w.ended[id]
	w.mu.Unlock()
	<-ended
	return w.get(id)
}

// run runs a processor until stop is called, which waits for it.
func (w *world) run(routes processor.Routes, o processor.Options) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- processor.New(w, w, w.queue, routes, o).Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// queue is a broker.Broker with one consumer.
type queue struct {
	mu       sync.Mutex
	waiting  []delivery
	wake     chan struct{}
	acked    int
	returned int
}

type delivery struct {
	queue       *queue
	job         broker.Job
	redelivered bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(d delivery) {
	q.mu.Lock()
	q.waiting = append(q.waiting, d)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) Publish(_ context.Context, j broker.Job) error {
	q.put(delivery{queue: q, job: j})
	return nil
}

func (q *queue) Discard(broker.Job) {}
func (q *queue) Close() error       { return nil }

func (q *queue) counts() (acked, returned, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.acked, q.returned, len(q.waiting)
}

func (q *queue) Consume(ctx context.Context, routes []string, prefetch int, handle func(broker.Delivery)) error {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, prefetch)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		d, ok := q.take(ctx, routes)
		if !ok {
			return nil
		}
		running.Go(func() {
			handle(d)
			<-slots
		})
	}
}

func (q *queue) take(ctx context.Context, routes []string) (delivery, bool) {
	for {
		q.mu.Lock()
		pause := time.Hour
		for i, d := range q.waiting {
			due := time.Until(d.job.NotBefore)
			if slices.Contains(routes, d.job.Route) && due <= 0 {
				q.waiting = slices.Delete(q.waiting, i, i+1)
				q.mu.Unlock()
				return d, true
			}
			if due > 0 {
				pause = min(pause, due)
			}
		}
		q.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-q.wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return delivery{}, false
		}
		timer.Stop()
	}
}

func (d delivery) Job() broker.Job   { return d.job }
func (d delivery) Redelivered() bool { return d.redelivered }

func (d delivery) Ack() error {
	d.queue.mu.Lock()
	defer d.queue.mu.Unlock()
	d.queue.acked++
	return nil
}

func (d delivery) Return() error {
	d.queue.mu.Lock()
	d.queue.returned++
	d.queue.mu.Unlock()
	d.redelivered = true
	d.queue.put(d)
	return nil
}
