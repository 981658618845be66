package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/backoff"
)

// link keeps one connection: a goroutine makes it, waits for its end, and makes the
// next. Each is a generation with objects of its own; nothing of an old one is used
// again.
type link struct {
	purpose string
	broker  *Broker
	servers []server
	setup   func(*generation) error // nil: nothing to do
	repair  chan struct{}           // asks for the topology to be declared again
	first   chan error              // result of the first try
	done    chan struct{}           // closed when the goroutine has ended

	mu      sync.Mutex
	gen     *generation   // nil while there is none
	changed chan struct{} // closed when gen changes
	err     error         // of the last try while gen is nil
	since   time.Time     // when gen became nil

	// How long it is put up with next that nothing is taken for an aim, by that.
	waits map[string]time.Duration
}

func newLink(purpose string, b *Broker, servers []server, setup func(*generation) error) *link {
	return &link{
		purpose: purpose, broker: b, servers: servers, setup: setup,
		repair: make(chan struct{}, 1), first: make(chan error, 1), done: make(chan struct{}),
		changed: make(chan struct{}), err: errors.New("not connected yet"), since: time.Now(),
	}
}

// impatient reports whether a connection is to be given up because for so long it has taken nothing
// for an aim.
func (l *link) impatient(aim string, refused time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := max(l.waits[aim], patience)
	if refused <= wait {
		return false
	}
	if l.waits == nil {
		l.waits = make(map[string]time.Duration)
	}
	l.waits[aim] = min(2*wait, longestPatience)
	return true
}

// content notes that something was taken for an aim.
func (l *link) content(aim string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waits, aim)
}

// run keeps the connection until ctx ends.
func (l *link) run(ctx context.Context) {
	defer close(l.done)
	log := l.broker.log.With(slog.String("connection", l.purpose))
	next := rand.IntN(len(l.servers))
	for try := 0; ctx.Err() == nil; next++ {
		s := l.servers[next%len(l.servers)]
		g, err := l.connect(ctx, s)
		if try == 0 {
			select {
			case l.first <- err:
			default:
			}
		}
		if err != nil {
			l.set(nil, err)
			if ctx.Err() == nil && (try < 3 || try%20 == 0) {
				log.Warn("RabbitMQ cannot be reached", slog.String("server", s.addr), slog.Int("try", try+1), slog.Any("error", err))
			}
			try++
			pause(ctx, try)
			continue
		}
		log.Info("connected to RabbitMQ", append(l.broker.note(g.conn), slog.String("server", s.addr))...)
		l.broker.counts.connections.Add(1)
		made := time.Now()
		l.set(g, nil)
		l.attend(ctx, g)
		err = g.close()
		l.set(nil, err)
		if ctx.Err() != nil {
			return
		}
		log.Warn("connection to RabbitMQ lost", slog.String("server", s.addr), slog.Any("error", err))
		if try++; time.Since(made) > 10*time.Second {
			try = 1
		}
		pause(ctx, try)
	}
}

// connect makes a generation.
func (l *link) connect(ctx context.Context, s server) (*generation, error) {
	conn, socket, err := l.broker.dial(ctx, s, l.purpose)
	if err != nil {
		return nil, s.refused(err)
	}
	g := &generation{link: l, conn: conn, socket: socket, ended: make(chan struct{})}
	g.watch()
	if l.setup != nil {
		if err := l.setup(g); err != nil {
			_ = g.close()
			return nil, s.refused(err)
		}
	}
	return g, nil
}

// attend returns when the generation or ctx ends. Until then it mends what somebody
// deleted on the server, at most once a second.
func (l *link) attend(ctx context.Context, g *generation) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.ended:
			return
		case <-l.repair:
		}
		if err := l.broker.topology.declare(g); err != nil && ctx.Err() == nil {
			l.broker.log.Error("queues could not be declared", slog.Any("error", err))
		}
		l.broker.reachTargets(g)
		select {
		case <-ctx.Done():
			return
		case <-g.ended:
			return
		case <-time.After(time.Second):
		}
	}
}

func (l *link) set(g *generation, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gen != nil && g == nil {
		l.since = time.Now()
	}
	if g != nil || err != nil {
		l.err = err
	}
	if l.gen != g {
		l.gen = g
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// current returns the generation that is up, nil if none is.
func (l *link) current() *generation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gen
}

// get waits for a generation until ctx ends, and then returns nil. With atMost it
// also gives up when there has been none for so long.
func (l *link) get(ctx context.Context, atMost time.Duration) *generation {
	for {
		l.mu.Lock()
		g, changed, since := l.gen, l.changed, l.since
		l.mu.Unlock()
		if g != nil {
			return g
		}
		var enough <-chan time.Time
		if atMost > 0 {
			left := atMost - time.Since(since)
			if left <= 0 {
				return nil
			}
			timer := time.NewTimer(left)
			defer timer.Stop()
			enough = timer.C
		}
		select {
		case <-changed:
		case <-enough:
		case <-ctx.Done():
			return nil
		}
	}
}

// ready returns why the connection cannot be used.
func (l *link) ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gen == nil {
		return fmt.Errorf("no connection to %s: %w", l.purpose, l.err)
	}
	if reason := l.gen.blocked.Load(); reason != nil {
		return fmt.Errorf("RabbitMQ takes no jobs: %s", *reason)
	}
	return nil
}

func (l *link) blocked() bool {
	g := l.current()
	return g != nil && g.blocked.Load() != nil
}

// generation is one connection from its opening to its end.
type generation struct {
	link      *link
	conn      *amqp.Connection
	socket    net.Conn
	publisher *publisher // of the connection that publishes
	ended     chan struct{}
	blocked   atomic.Pointer[string] // why the server takes nothing; nil if it does

	watching sync.WaitGroup
	mu       sync.Mutex
	err      error // why it ended
}

// watch drains what the library tells about the connection.
func (g *generation) watch() {
	closed := g.conn.NotifyClose(make(chan *amqp.Error, 1))
	blocking := g.conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	g.watching.Go(func() {
		if err, ok := <-closed; ok {
			g.fail(err)
		}
		close(g.ended)
	})
	g.watching.Go(func() {
		for b := range blocking {
			if !b.Active {
				g.blocked.Store(nil)
				g.link.broker.log.Info("RabbitMQ takes jobs again")
				continue
			}
			g.blocked.Store(&b.Reason)
			g.link.broker.log.Warn("RabbitMQ takes no jobs", slog.String("reason", b.Reason))
			if l := g.openedPublisher(); l != nil {
				l.giveUp(errors.New("RabbitMQ takes no jobs: " + b.Reason))
			}
		}
	})
}

// fail remembers why the generation ends, the first reason only, and ends it.
func (g *generation) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.mu.Unlock()
	_ = g.socket.Close()
}

// close ends the generation and waits for its goroutines. It returns why it ended.
func (g *generation) close() error {
	force := time.AfterFunc(closeTimeout, func() { _ = g.socket.Close() })
	defer force.Stop()
	_ = g.conn.Close()
	<-g.ended
	g.watching.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// call runs f, which talks with the server, and gives the connection up if the
// server does not answer.
func (g *generation) call(f func() error) error {
	timer := time.AfterFunc(callTimeout, func() { g.fail(errors.New("the server does not answer")) })
	defer timer.Stop()
	return f()
}

// onChannel runs f with a channel of its own, since an error ends a channel. f wraps
// each of its calls in call.
func (g *generation) onChannel(f func(*amqp.Channel) error) error {
	var ch *amqp.Channel
	if err := g.call(func() (err error) { ch, err = g.conn.Channel(); return err }); err != nil {
		return err
	}
	return errors.Join(f(ch), g.call(ch.Close))
}

// pause waits after the n-th failure in a row, until ctx ends at the latest.
func pause(ctx context.Context, n int) {
	_ = backoff.Wait(ctx, backoff.Exponential(n, 100*time.Millisecond, 10*time.Second))
}
