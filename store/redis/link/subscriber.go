package link

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Handler is told of what happens in a channel, by one goroutine, which reads nothing meanwhile.
type Handler interface {
	// Message is called with what is published.
	Message(payload string)

	// Missed is called when the channel is subscribed to again after its connection was lost,
	// before the first message of the new one: what was published meanwhile is lost.
	Missed()
}

// HandlerFunc takes messages, and does not care for those that are lost.
type HandlerFunc func(payload string)

// Message implements Handler.
func (f HandlerFunc) Message(payload string) { f(payload) }

// Missed implements Handler.
func (HandlerFunc) Missed() {}

// Subscriber is one connection that subscribes to channels, with one goroutine
// that reads and one that writes. All methods may be called concurrently, also by handlers and
// under locks that handlers take, but for Close.
type Subscriber struct {
	client  *Client
	sharded bool
	timeout time.Duration
	log     *slog.Logger
	wake    chan struct{} // holds a token when there is something to write
	opened  chan struct{} // holds a token when there is a new connection to read from
	running sync.WaitGroup

	mu       sync.Mutex          // no handler is called while it is held
	pubsub   *goredis.PubSub     // nil until there is something to subscribe to
	channels map[string]*channel // by name in Redis
	dirty    map[string]struct{} // those whose state is not as wanted

	probing sync.Mutex
	probes  map[string]chan struct{} // by what was published: closed when it has come back
}

type state uint8

const (
	idle state = iota
	subscribing
	subscribed
	unsubscribing
)

// channel is guarded by Subscriber.mu. Only one command at a time is under way for a channel, so
// that its confirmation is known to belong to it.
type channel struct {
	handler Handler
	state   state
	since   time.Time // of the state
	want    bool
	again   bool            // it was subscribed before: what was published meanwhile is lost
	waiters []chan struct{} // closed once subscribed
}

const (
	// A channel that is not wanted any more stays subscribed this long.
	linger  = 500 * time.Millisecond
	overdue = 2 * time.Second // a command without confirmation is sent again
	burst   = 512             // channels in one command
)

// NewSubscriber returns one that has no connection before there is something to subscribe to. If it
// is sharded, its channels are those of one hash slot. A connection that is silent for the timeout
// is tried, and given up when it is silent as long again. Run starts it.
func NewSubscriber(client *Client, sharded bool, timeout time.Duration, log *slog.Logger) *Subscriber {
	return &Subscriber{
		client: client, sharded: sharded, timeout: timeout, log: log,
		wake: make(chan struct{}, 1), opened: make(chan struct{}, 1),
		channels: make(map[string]*channel), dirty: make(map[string]struct{}), probes: make(map[string]chan struct{}),
	}
}

// Run starts the goroutines, which end when ctx has ended and Close is called.
func (s *Subscriber) Run(ctx context.Context) {
	s.running.Go(func() { s.read(ctx) })
	s.running.Go(func() { s.write(ctx) })
}

// Close closes the connection, after the context of Run has ended, and waits for the goroutines.
func (s *Subscriber) Close() {
	if p := s.current(); p != nil {
		_ = p.Close()
	}
	s.running.Wait()
}

func (s *Subscriber) current() *goredis.PubSub {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pubsub
}

// Subscribe asks for a subscription. It returns nil if there is one, or what is closed when there
// is. h is the channel's handler unless it has one of an earlier call, see
// [Subscriber.Unsubscribe].
func (s *Subscriber) Subscribe(name string, h Handler) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[name]
	if c == nil {
		c = &channel{handler: h}
		s.channels[name] = c
	}
	c.want = true
	if c.state == subscribed {
		return nil
	}
	confirmed := make(chan struct{})
	c.waiters = append(c.waiters, confirmed)
	s.dirty[name] = struct{}{}
	s.wakeUp()
	return confirmed
}

// SubscribeNow is Subscribe, but returns once the server has confirmed the subscription. When ctx
// ends before that, the channel is not wanted any more.
func (s *Subscriber) SubscribeNow(ctx context.Context, name string, h Handler) error {
	confirmed := s.Subscribe(name, h)
	if confirmed == nil {
		return nil
	}
	select {
	case <-confirmed:
		return nil
	case <-ctx.Done():
		s.Unsubscribe(name)
		return ctx.Err()
	}
}

// Unsubscribe says that a channel is not wanted any more. Messages may come for about a second
// more; a channel that is wanted again in that time keeps its handler.
func (s *Subscriber) Unsubscribe(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[name]; c != nil {
		c.want = false
		c.since = time.Now()
		s.dirty[name] = struct{}{}
	}
}

// Handler returns that of a channel, nil if it has none.
func (s *Subscriber) Handler(name string) Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[name]; c != nil {
		return c.handler
	}
	return nil
}

// Subscribed returns the handlers of all channels that are wanted and subscribed to.
func (s *Subscriber) Subscribed() []Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	handlers := make([]Handler, 0, len(s.channels))
	for _, c := range s.channels {
		if c.want && c.state == subscribed {
			handlers = append(handlers, c.handler)
		}
	}
	return handlers
}

// Probe publishes a message in a channel that is this subscriber's alone and returns once it has
// come back: then what is published reaches this process.
func (s *Subscriber) Probe(ctx context.Context, name string) error {
	if err := s.SubscribeNow(ctx, name, HandlerFunc(s.probed)); err != nil {
		return err
	}
	nonce, back := rand.Text(), make(chan struct{})
	s.probing.Lock()
	s.probes[nonce] = back
	s.probing.Unlock()
	defer func() {
		s.probing.Lock()
		delete(s.probes, nonce)
		s.probing.Unlock()
	}()
	publish := s.client.Publish
	if s.sharded {
		publish = s.client.SPublish
	}
	if err := publish(ctx, name, nonce).Err(); err != nil {
		return err
	}
	select {
	case <-back:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Subscriber) probed(nonce string) {
	s.probing.Lock()
	defer s.probing.Unlock()
	if back, ok := s.probes[nonce]; ok {
		close(back)
		delete(s.probes, nonce)
	}
}

func (s *Subscriber) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write brings subscriptions in line with what is wanted.
func (s *Subscriber) write(ctx context.Context) {
	tick := time.NewTicker(linger)
	defer tick.Stop()
	for {
		select {
		case <-s.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			on, off := s.pending(time.Now())
			if len(on)+len(off) == 0 {
				break
			}
			s.send(ctx, on, off)
		}
	}
}

// pending takes the next commands out of what is dirty.
func (s *Subscriber) pending(now time.Time) (on, off []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.dirty {
		if len(on) >= burst || len(off) >= burst {
			break
		}
		c := s.channels[name]
		underWay := (c.state == subscribing || c.state == unsubscribing) && now.Sub(c.since) < overdue
		switch {
		case underWay, c.state == subscribed && !c.want && now.Sub(c.since) < linger:
			continue // looked at again later
		case c.state == subscribed && c.want:
			delete(s.dirty, name)
		case c.state == subscribed:
			c.state, c.since = unsubscribing, now
			off = append(off, name)
		case c.want:
			c.state, c.since = subscribing, now
			on = append(on, name)
		default: // not wanted: neither subscribed nor anything under way
			if c.state == subscribing {
				off = append(off, name)
			}
			delete(s.dirty, name)
			delete(s.channels, name)
		}
	}
	return on, off
}

func (s *Subscriber) send(ctx context.Context, on, off []string) {
	pubsub := s.current()
	fresh := pubsub == nil
	if fresh {
		if len(on) == 0 { // the connection that had them is gone
			return
		}
		pubsub = s.client.Subscribe(ctx)
	}
	var err error
	// An error leaves the channels with the PubSub, which subscribes to them when
	// it has a connection again.
	if s.sharded {
		if len(off) > 0 {
			err = pubsub.SUnsubscribe(ctx, off...)
		}
		if len(on) > 0 {
			err = errors.Join(err, pubsub.SSubscribe(ctx, on...))
		}
	} else {
		if len(off) > 0 {
			err = pubsub.Unsubscribe(ctx, off...)
		}
		if len(on) > 0 {
			err = errors.Join(err, pubsub.Subscribe(ctx, on...))
		}
	}
	if fresh { // only now: a connection to a Cluster goes where its first channel lives
		s.mu.Lock()
		s.pubsub = pubsub
		s.mu.Unlock()
		select {
		case s.opened <- struct{}{}:
		default:
		}
		if ctx.Err() != nil { // Close may have come before
			_ = pubsub.Close()
		}
	}
	if err != nil && ctx.Err() == nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "subscription is delayed", slog.Any("error", err))
	}
}
