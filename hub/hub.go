package hub

import (
	"context"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Channel is a channel as followers name it, and its key in the [Source].
type Channel struct {
	Key  string
	Name string
	// Epoch tells the offsets of this channel from those of others that have, or will have, its
	// name; "" if there are none. It stands behind the offset in the id of a server-sent event, and
	// needs no escaping.
	Epoch string
	// Live says that a follower without a cursor begins with what comes next,
	// instead of with everything that is stored: a feed.
	Live bool
}

// Options of a [Hub]. Zero fields take the defaults.
type Options struct {
	// Between two signs of life on an idle connection; 25 s, at least 1 s.
	Heartbeat  time.Duration
	Retry      time.Duration // how long a client waits before it reconnects, ± a third; 2 s
	QueueBytes int           // what a connection may leave unread before it is closed; 1 MiB
	// What all connections together may leave unread: with many that do, each gets its part, 64 KiB
	// at least; 64 MiB.
	BacklogBytes  int
	WriteTimeout  time.Duration // how long a full socket may take nothing before it is closed; 30 s
	MessageBytes  int64         // longest message that a WebSocket client may send; 32 KiB
	Subscriptions int           // per WebSocket connection; 1000
	CatchUps      int           // histories that are read at the same time; 128
	Connections   int           // at most; 0: any number
	PerCaller     int           // connections of one caller at most; 0: any number
	PerAddress    int           // connections from one address at most; 0: any number
	// New connections per second at most, as many at once as in one second; 0: any number.
	ConnectRate   float64
	RatePerCaller float64 // of these of one caller at most; 0: any number
	// RatePerAddress is that of one address.
	RatePerAddress float64
	// Unproven is how many WebSockets there may be that have yet to say who they are, and
	// UnprovenPerAddress how many of these from one address; 0: any number.
	Unproven, UnprovenPerAddress int
	// Room reports whether there is room for one more connection beside what others have open; nil:
	// there is. It must not block and may be called concurrently.
	Room     func() bool
	AuthTime time.Duration // how long a WebSocket client may take to say who it is; 10 s
	Logger   *slog.Logger  // default: discard

	// Patience returns for how long no connection is to be ended for what its client has not said
	// or read yet, because this process stood still: it may have. It must not block. Default: 0,
	// always.
	Patience func() time.Duration

	// Delivered is called when messages that came together, in one channel or in several, were
	// handed to all who follow those here, with when one of the first was made. What waits for a
	// full socket was handed over, too. It must not block. Nil: nobody wants to know.
	Delivered func(made time.Time)
}

func (o Options) withDefaults() Options {
	if o.Heartbeat <= 0 {
		o.Heartbeat = 25 * time.Second
	}
	o.Heartbeat = max(o.Heartbeat, time.Second)
	if o.Retry <= 0 {
		o.Retry = 2 * time.Second
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 1 << 20
	}
	if o.BacklogBytes <= 0 {
		o.BacklogBytes = 64 << 20
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.MessageBytes <= 0 {
		o.MessageBytes = 32 << 10
	}
	if o.Subscriptions <= 0 {
		o.Subscriptions = 1000
	}
	if o.CatchUps <= 0 {
		o.CatchUps = 128
	}
	if o.AuthTime <= 0 {
		o.AuthTime = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Patience == nil {
		o.Patience = func() time.Duration { return 0 }
	}
	return o
}

// Hub fans the messages of a [Source] out to connections. Its methods may be
// called concurrently.
type Hub struct {
	source Source
	opts   Options
	log    *slog.Logger

	seed     maphash.Seed
	shards   []*shard
	wheel    *wheel
	signs    signs
	inputs   *poller       // tells who has said something or has gone
	outputs  *poller       // tells whose socket takes something again
	catchUps chan struct{} // a place for each history that is being read

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the hub

	admission *admission
	draining  atomic.Bool
	flushing  atomic.Int64 // connections whose socket is full
	crowd     crowd
	stats     counters
	made      time.Time
	cursors   cursors

	mu     sync.Mutex
	closed bool
}

// New returns a hub that listens to source. Close it to release its goroutines. It
// panics if the system gives it no descriptors.
func New(source Source, o Options) *Hub {
	o = o.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	h := &Hub{
		source: source, opts: o, log: o.Logger,
		seed:     maphash.MakeSeed(),
		shards:   make([]*shard, max(2, runtime.GOMAXPROCS(0))),
		catchUps: make(chan struct{}, o.CatchUps),
		ctx:      ctx, cancel: cancel,
		admission: newAdmission(o), made: time.Now(),
	}
	h.wheel = newWheel(h, o.Heartbeat)
	h.signs = newSigns(h.wheel.interval(), o.Retry)
	var err error
	if h.inputs, err = newPoller(pollInput, func(o *outbox) { o.owner.readable() }); err == nil {
		h.outputs, err = newPoller(pollOutput, (*outbox).writable)
	}
	if err != nil {
		panic("hub: " + err.Error())
	}
	for i := range h.shards {
		h.shards[i] = &shard{hub: h, channels: make(map[string]*channel), wake: make(chan struct{}, 1)}
		h.tasks.Go(func() { h.shards[i].run(ctx) })
	}
	h.tasks.Go(func() { h.wheel.run(ctx) })
	h.tasks.Go(func() { h.inputs.run(ctx) })
	h.tasks.Go(func() { h.outputs.run(ctx) })
	source.Listen(h.publish)
	return h
}

// clock returns the milliseconds since the hub was made; they wrap.
func (h *Hub) clock() uint32 { return uint32(time.Since(h.made).Milliseconds()) }

// publish receives notifications: it hands a message to the shard of its channel, if anyone
// here follows it. It does not block.
func (h *Hub) publish(key string, m Message) {
	h.shard(key).push(key, m)
}

// delivered tells who wants to know it that a message, and what came with it, was handed over.
func (h *Hub) delivered(what About) {
	if h.opts.Delivered == nil || what == nil {
		return
	}
	if made := what.Made(); !made.IsZero() {
		h.opts.Delivered(made)
	}
}

func (h *Hub) shard(key string) *shard {
	return h.shards[maphash.String(h.seed, key)%uint64(len(h.shards))]
}

// Drain closes every connection, spread evenly over the window, each with a hint to
// reconnect after a jittered delay. New connections are closed at once from now
// on. It returns when all are closed or ctx ends.
func (h *Hub) Drain(ctx context.Context, window time.Duration) {
	h.draining.Store(true)
	open := h.wheel.all()
	if len(open) == 0 {
		return
	}
	const step = 20 * time.Millisecond
	rounds := max(1, int(window/step))
	each := (len(open) + rounds - 1) / rounds
	tick := time.NewTicker(step)
	defer tick.Stop()
	for len(open) > 0 && ctx.Err() == nil {
		n := min(each, len(open))
		for _, c := range open[:n] {
			c.goAway()
		}
		if open = open[n:]; len(open) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil && h.wheel.len() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// Close closes every connection at once and waits until all goroutines of the
// hub have returned.
func (h *Hub) Close() {
	h.draining.Store(true)
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	for _, c := range h.wheel.all() {
		c.abort(reasonShutdown)
	}
	h.tasks.Wait()
}

// enter counts a connection that is being served among the hub's tasks, unless
// the hub is closed. Each true is followed by one tasks.Done.
func (h *Hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.tasks.Add(1)
	}
	return !h.closed
}
