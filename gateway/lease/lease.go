// Package lease hands work to processors that have nothing but HTTP. What was handed out is leased:
// the broker's delivery stays with this process until the request has ended or waits again. When
// the attempt has been silent for too long it is failed in its processor's stead, so that the
// request waits for another one, or ends if none is left.
//
// A report renews the lease at whichever node it comes in, because the holder goes by what is
// stored: a notification of the channel of a request says when to load that, and it is loaded once
// more before it takes a lease for run out.
//
// A processor over HTTP outlives the gateway that handed it the work. So what comes back from the
// broker because its holder is gone is not started again while the attempt goes on reporting: it is
// held as if it had been leased here.
package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
)

// Lifecycle is where attempts start; [*lifecycle.Service] is one.
type Lifecycle interface {
	// Start begins an attempt and returns what it works on. A [*lifecycle.TransitionError] or
	// lifecycle.ErrNotFound means that this work needs nobody any more, or, with ReasonAlive, that
	// somebody is at it.
	Start(ctx context.Context, of lifecycle.Ref, c lifecycle.Start) (lifecycle.Request, lifecycle.Content, error)
	// Report makes a change that a processor reports; here that it is silent. Its errors are those
	// of Start.
	Report(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error)
}

// Requests is where the holder of a lease sees what became of the attempt; a [lifecycle.Store] is
// one.
type Requests interface {
	Get(ctx context.Context, of lifecycle.Ref) (lifecycle.Request, error)
}

// Subscribe returns a channel that gets a value after something happened to a request, on whichever
// node; values may be missing and are not queued up. stop ends that.
type Subscribe func(ctx context.Context, request lifecycle.Ref) (notifications <-chan struct{}, stop func(), err error)

// Options of [Leases]. The zero value works.
type Options struct {
	// Least is how long a call looks for work if it does not want to wait: a broker between
	// processes needs a moment to say what it has. Default 250 ms.
	Least time.Duration
	// Calls bounds the calls that wait or whose work is out. With RabbitMQ each has a channel of
	// its own, of which a connection has 2,047 by default. 0: any number.
	Calls int
	// Bytes is how much content one call may be given: when there is that much, it starts no more.
	// Default 32 MiB.
	Bytes int64
	// Now is the time on the store's clock. Default time.Now.
	Now func() time.Time
	// Sessions knows the sessions of workers that have a name. Default: those that call here, and
	// nobody else's.
	Sessions Sessions
	// Stall says for how long no lease is taken for run out. Nil: never.
	Stall *stall.Watch
	// Logger gets leases that ran out and deliveries that could not be settled. Default: discard.
	Logger *slog.Logger
}

// Leases hands work out and holds what is out. Its methods may be called concurrently.
type Leases struct {
	life      Lifecycle
	requests  Requests
	broker    broker.Broker
	subscribe Subscribe
	options   Options
	log       *slog.Logger

	mu      sync.Mutex
	closed  bool
	calls   int
	routes  map[string]*attended
	crews   map[string]*crew // by the key of the worker
	running sync.WaitGroup   // the calls' consumers, which wait for what they have out
	ending  chan struct{}    // closed when what is still out goes back
	forget  func()           // ends what tells of sessions

	waiting, out                            atomic.Int64
	handed, expired, undelivered, takenOver atomic.Uint64
}

// New returns leases of a broker's work.
func New(life Lifecycle, requests Requests, b broker.Broker, subscribe Subscribe, o Options) *Leases {
	o.Least = cmp.Or(max(o.Least, 0), 250*time.Millisecond)
	o.Bytes = cmp.Or(max(o.Bytes, 0), 32<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Sessions == nil {
		o.Sessions = newLocal()
	}
	l := &Leases{
		life: life, requests: requests, broker: b, subscribe: subscribe, options: o, log: o.Logger,
		routes: make(map[string]*attended), crews: make(map[string]*crew), ending: make(chan struct{}),
	}
	l.forget = o.Sessions.OnEnter(l.superseded)
	return l
}

// Stats are figures of [Leases].
type Stats struct {
	Waiting     int64  // calls that look for work now
	Out         int64  // leases now
	Handed      uint64 // leases given
	Expired     uint64 // leases that ran out
	Undelivered uint64 // leases that were handed back because their work did not reach its caller
	// Leases that were handed back because another session of their worker called.
	TakenOver uint64
}

// Stats returns the figures.
func (l *Leases) Stats() Stats {
	return Stats{
		Waiting: l.waiting.Load(), Out: l.out.Load(), Handed: l.handed.Load(), Expired: l.expired.Load(),
		Undelivered: l.undelivered.Load(), TakenOver: l.takenOver.Load(),
	}
}

// Drain refuses further calls, keeps what is out until it is settled or ctx ends, then gives back
// what is left, and returns when every goroutine has ended. Calls that wait do not end by it, but
// by their own context.
func (l *Leases) Drain(ctx context.Context) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { close(l.ending) })
	defer stop()
	l.running.Wait()
	l.forget()
}

// enter counts a call, which ends with leave.
func (l *Leases) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return fmt.Errorf("%w: no work is handed out any more", lifecycle.ErrUnavailable)
	case l.options.Calls > 0 && l.calls >= l.options.Calls:
		return fmt.Errorf("%w: too many calls wait for work or have some", lifecycle.ErrUnavailable)
	}
	l.calls++
	l.running.Add(1)
	return nil
}

func (l *Leases) leave() {
	l.mu.Lock()
	l.calls--
	l.mu.Unlock()
	l.running.Done()
}

// callTimeout bounds one call of the store, and the making of a subscription.
const callTimeout = 10 * time.Second

// refOf names the request that a delivery is of.
func refOf(d broker.Delivery) lifecycle.Ref {
	job := d.Job()
	return lifecycle.Ref{ID: job.ID, Life: job.Life}
}

func (l *Leases) ack(d broker.Delivery) {
	if err := d.Ack(); err != nil && !errors.Is(err, broker.ErrClosed) {
		l.log.Warn("delivery could not be acknowledged", slog.String("request", d.Job().ID), slog.Any("error", err))
	}
}

func (l *Leases) giveBack(d broker.Delivery) {
	if err := d.Return(); err != nil && !errors.Is(err, broker.ErrClosed) {
		l.log.Warn("delivery could not be returned", slog.String("request", d.Job().ID), slog.Any("error", err))
	}
}
