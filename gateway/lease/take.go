package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
)

// Order is what a caller takes.
type Order struct {
	Routes []string
	Max    int           // leases at most, 1 or more
	Wait   time.Duration // for the first; see [Options.Least]
	Lease  time.Duration // how long an attempt may be silent
	Worker Worker        // who takes it
}

// Work is an attempt that has begun and is leased.
type Work struct {
	Request lifecycle.Request
	Content lifecycle.Content
	Expires time.Time // by the store's clock, if nothing is reported until then

	take *take // the call that started it
}

// HandBack says that work of one call was not delivered, as far as that can be known: its client
// has gone, or what was written did not reach it. All of it is handed to the queue again at once,
// which costs no attempt, and whoever has it all the same is fenced off.
func (l *Leases) HandBack(work []Work) {
	if len(work) > 0 {
		work[0].take.handBack()
	}
}

const (
	// quiet is how long nothing more has to come until what came is all that is at hand. RabbitMQ
	// sends what it has in one go.
	quiet = 5 * time.Millisecond
	// starts is how many attempts of one call are started at the same time.
	starts = 8
)

// Take waits for work and starts it. It returns as soon as there is some, with what more is at
// hand; with none after o.Wait, or when ctx ends. Jobs are taken from the broker only meanwhile,
// and none that is returned here or put back is lost: what was taken and not started goes back,
// which costs no attempt.
//
// What other sessions of a worker have of its work, at whichever node, goes back with its call,
// see [lifecycle.Release]: they are gone. Their calls end.
//
// An error comes with no work and wraps lifecycle.ErrUnavailable, is ErrSuperseded, or the
// broker's.
func (l *Leases) Take(ctx context.Context, o Order) ([]Work, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	shift, end, err := l.join(ctx, o.Worker)
	if err != nil {
		l.leave()
		return nil, err
	}
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	defer l.attend(o.Routes...)()
	t := &take{
		Leases: l, order: o, changed: make(chan struct{}, 1), slots: make(chan struct{}, starts),
		undelivered: make(chan struct{}), returned: make(chan struct{}),
	}
	defer close(t.returned)
	if shift != nil {
		t.superseded = shift.superseded
	}
	t.handBack = sync.OnceFunc(func() { close(t.undelivered) })
	var stop context.CancelFunc
	// The call's own context would cut off what has begun.
	t.consuming, stop = context.WithCancel(context.Background())
	defer stop()
	go func() {
		defer l.leave()
		defer end()
		err := l.broker.Consume(t.consuming, o.Routes, o.Max, t.deliver)
		if err != nil && !errors.Is(err, broker.ErrUnknownRoute) {
			err = fmt.Errorf("%w: %w", lifecycle.ErrUnavailable, err)
		}
		t.note(func() { t.err = errors.Join(t.err, err) })
	}()
	t.gather(ctx)
	stop()
	work, err := t.finish()
	if t.over() {
		t.handBack()
		return nil, ErrSuperseded
	}
	if len(work) > 0 {
		return work, nil
	}
	if err == nil {
		err = l.reachable(ctx)
	}
	return nil, err
}

// reachable returns an error if nothing came because the broker is away.
func (l *Leases) reachable(ctx context.Context) error {
	b, ok := l.broker.(interface{ Ready(context.Context) error })
	if !ok {
		return nil
	}
	if err := b.Ready(ctx); err != nil {
		return fmt.Errorf("%w: queue: %w", lifecycle.ErrUnavailable, err)
	}
	return nil
}

// take is one call that takes work. Its deliveries run in goroutines of the broker's, each until
// its lease is settled.
type take struct {
	*Leases
	order     Order
	consuming context.Context
	changed   chan struct{} // holds a value when something below has changed
	slots     chan struct{} // holds one for each start under way

	returned    chan struct{} // closed when its caller has been told what it has begun
	undelivered chan struct{} // closed when what it has begun did not reach its caller
	handBack    func()        // closes that
	// Closed when another session of its worker has called; nil if it has no name.
	superseded chan struct{}

	mu       sync.Mutex
	closed   bool  // nothing more is begun
	full     bool  // the content is as much as one call may be given
	err      error // why nothing more can be had
	starting int
	watched  int // deliveries whose attempt goes on elsewhere
	bytes    int64
	work     []Work
}

// note changes t and tells gather of it.
func (t *take) note(change func()) {
	t.mu.Lock()
	change()
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// gather returns when the call is to be answered, and lets nothing more begin.
func (t *take) gather(ctx context.Context) {
	over := time.NewTimer(max(t.order.Wait, t.options.Least))
	defer over.Stop()
	more := time.NewTimer(quiet)
	defer more.Stop()
	defer t.note(func() { t.closed = true })
	for {
		t.mu.Lock()
		some := len(t.work) > 0 && t.starting == 0
		// What is watched takes a place in the queue's hands, so the caller has to come again for
		// more.
		complete := t.err != nil || t.full || t.starting == 0 && len(t.work)+t.watched >= t.order.Max
		t.mu.Unlock()
		if complete {
			return
		}
		var enough <-chan time.Time
		if some {
			more.Reset(quiet)
			enough = more.C
		}
		select {
		case <-t.changed:
		case <-enough:
			return
		case <-over.C:
			return
		case <-t.superseded:
			return
		case <-ctx.Done():
			return
		}
	}
}

// delivers reports whether what it has begun has reached its caller, as far as is known.
func (t *take) delivers() bool {
	select {
	case <-t.undelivered:
		return false
	default:
		return true
	}
}

// over reports whether another session of the caller's has called.
func (t *take) over() bool {
	select {
	case <-t.superseded:
		return true
	default:
		return false
	}
}

// finish waits for what has begun.
func (t *take) finish() ([]Work, error) {
	for {
		t.mu.Lock()
		starting, work, err := t.starting, t.work, t.err
		t.mu.Unlock()
		if starting == 0 {
			return work, err
		}
		<-t.changed
	}
}

// begin counts a start, unless the call begins nothing more.
func (t *take) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.full || t.err != nil || t.over() {
		return false
	}
	t.starting++
	return true
}

// deliver is the whole life of one delivery.
func (t *take) deliver(d broker.Delivery) {
	if !t.begin() {
		t.putBack(d)
		return
	}
	t.slots <- struct{}{}
	work, settle := t.start(d)
	<-t.slots
	t.note(func() {
		t.starting--
		if work != nil {
			t.work = append(t.work, *work)
			t.bytes += int64(len(work.Content.Data))
			t.full = t.full || t.bytes >= t.options.Bytes
		}
	})
	settle(d)
}

// start starts an attempt and returns what it works on, nil if there is none, and how the delivery
// is to be settled.
func (t *take) start(d broker.Delivery) (*Work, func(broker.Delivery)) {
	t.mu.Lock()
	over := t.full || t.err != nil
	t.mu.Unlock()
	if over {
		return nil, t.putBack
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	job := d.Job()
	r, content, err := t.life.Start(ctx, refOf(d), lifecycle.Start{
		Route: job.Route, Message: job.Message, Sequence: job.Sequence, Redelivered: d.Redelivered(), Lease: t.order.Lease,
	})
	if alive(err) {
		var h *held
		if h, err = t.watch(ctx, d); err == nil {
			t.note(func() { t.watched++ })
			t.out.Add(1)
			return nil, func(broker.Delivery) {
				defer t.out.Add(-1)
				t.hold(h)
			}
		}
	}
	if err == nil {
		began := time.Now()
		t.handed.Add(1)
		t.out.Add(1)
		return &Work{Request: r, Content: content, Expires: r.UpdatedAt.Add(t.order.Lease), take: t}, func(d broker.Delivery) {
			defer t.out.Add(-1)
			h := newHeld(d, &r, t.order.Lease, began)
			h.by = t
			t.hold(h)
		}
	}
	if _, refused := errors.AsType[*lifecycle.TransitionError](err); refused || errors.Is(err, lifecycle.ErrNotFound) {
		return nil, t.ack // it needs nobody any more
	}
	t.log.Warn("attempt could not be started", slog.String("request", job.ID), slog.Any("error", err))
	t.note(func() { t.err = fmt.Errorf("%w: %w", lifecycle.ErrUnavailable, err) })
	return nil, t.putBack
}

// watch returns what holds a delivery that comes back although its attempt goes on: it has reported
// within its lease.
func (t *take) watch(ctx context.Context, d broker.Delivery) (*held, error) {
	r, err := t.requests.Get(ctx, refOf(d))
	if err != nil {
		return nil, err
	}
	silence := max(t.options.Now().Sub(r.UpdatedAt), 0)
	return newHeld(d, &r, r.Lease, time.Now().Add(-silence)), nil
}

// putBack returns a delivery when the call takes no more: it would be given the same one again at
// once.
func (t *take) putBack(d broker.Delivery) {
	<-t.consuming.Done()
	t.giveBack(d)
}
