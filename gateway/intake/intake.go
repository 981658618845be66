// Package intake accepts connections and counts those that speak plain HTTP, in all and for each
// address, so that nobody who only connects takes the descriptors that everything else needs. A
// connection on which no call is under way is idle, whether it has said something before or not;
// where there is no room, the one that has been idle for longest is closed.
package intake

import (
	"container/list"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/gateway/authority"
)

// Options of a [Listener]. Zero fields set no limit.
type Options struct {
	Most       int // connections that it counts, at a time
	PerAddress int // of these, from one address (IPv6: from one /64)
	// Beside tells how many descriptors others hold of those that all connections share, and All
	// how many these are: connections that were released are not counted here any more, but there
	// all the same.
	Beside func() int
	All    int
	// Exempt tells of addresses that have no share of their own: proxies, behind which are many.
	// nil: none is.
	Exempt func(netip.Addr) bool
	// Secured says that what is accepted speaks TLS, so that it cannot be told why it is refused.
	Secured bool
	Logger  *slog.Logger
}

// Listener hands out connections of another listener, as far as there is room. Accept is called by
// one goroutine at a time.
type Listener struct {
	net.Listener
	opts   Options
	closed chan struct{}
	once   sync.Once
	freed  chan struct{} // something may have become free; never blocks who says so
	gates  sync.WaitGroup
	turned chan struct{} // a place for each connection that is being refused in words

	mu        sync.Mutex
	open      int
	held      int       // that wait for a place, which are not counted
	idle      list.List // of *Conn, the one that has been idle for longest first
	addresses map[netip.Addr]*address
	stats     Stats
}

// address is what is open from one; under Listener.mu.
type address struct {
	open int
	idle list.List // of *Conn, as above
}

// Stats are figures of a [Listener].
type Stats struct {
	Open, Idle int   // connections counted now; of these, those without a call
	Held       int   // that wait for a place now, which are not counted
	Evicted    int64 // closed because they were idle and there was no room
	Refused    int64 // closed as soon as they came
	Failed     int64 // attempts to accept that failed and were made again
}

// Times of the intake.
const (
	// grace is how long a connection is left alone without a call: its client may be about to say
	// something.
	grace = 100 * time.Millisecond
	// hurry is how long it is if its address has its share, and what its client has said has been
	// read: so who floods waits for himself alone.
	hurry = 10 * time.Millisecond
	// patience is how long a new connection waits for a place when nothing is idle.
	patience = time.Second
)

// mostHeld is how many connections may be held at a time, each with a descriptor.
const mostHeld = 32

// New returns a listener in front of l, which it closes with itself.
func New(l net.Listener, o Options) *Listener {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Listener{
		Listener: l, opts: o, closed: make(chan struct{}), freed: make(chan struct{}, 1),
		turned: make(chan struct{}, refusals), addresses: make(map[netip.Addr]*address),
	}
}

// Stats returns the figures of now.
func (l *Listener) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Open, s.Idle, s.Held = l.open, l.idle.Len(), l.held
	return s
}

// Close closes the listener beneath and waits for those who are being refused.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	err := l.Listener.Close()
	l.gates.Wait()
	return err
}

// Accept returns the next connection for which there is room. What fails for want of something that
// comes back, like descriptors, is tried again after a pause, as net/http does; the errors that it
// returns are final, or those of a deadline.
func (l *Listener) Accept() (net.Conn, error) {
	failures := 0 // in a row
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			if reset(c) {
				// Nearly all are, when somebody floods with calls whose answers he does not wait
				// for.
				_ = c.Close()
			} else if conn := l.admit(c); conn != nil {
				return conn, nil
			}
			failures = 0
			continue
		case final(err):
			return nil, err
		}
		if failures++; failures == 1 {
			l.opts.Logger.Warn("a connection could not be accepted; it is tried again", slog.Any("error", err))
		}
		l.fail(err)
		if !l.wait(backoff.Exponential(failures, 5*time.Millisecond, time.Second)) {
			return nil, net.ErrClosed
		}
	}
}

// final tells errors after which nothing can be accepted from those that pass (accept(2)).
func final(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	for _, errno := range []syscall.Errno{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP, syscall.EFAULT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	_, system := errors.AsType[syscall.Errno](err)
	passing, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return !system && (!ok || !passing.Temporary())
}

// fail counts a failure, and makes room if it is for want of descriptors.
func (l *Listener) fail(err error) {
	l.mu.Lock()
	l.stats.Failed++
	var victim *Conn
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		victim = l.evict(&l.idle, 0)
	}
	l.mu.Unlock()
	if victim != nil {
		_ = victim.Close()
	}
}

// wait returns false if the listener was closed meanwhile. It ends early when something becomes
// free.
func (l *Listener) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.freed:
	case <-l.closed:
		return false
	}
	return true
}

// verdict is what becomes of a connection that has just come.
type verdict int

const (
	take   verdict = iota
	hold           // there may be room in a moment
	refuse         // there is none
)

// admit returns the connection, counted, or nil if it was refused. One for which there may be room
// in a moment is returned uncounted and held, see [Conn.Read]: whoever comes behind it does not
// wait for that, unless there are too many of them.
func (l *Listener) admit(raw net.Conn) *Conn {
	c := &Conn{Conn: raw, listener: l, from: l.share(raw.RemoteAddr())}
	for {
		l.mu.Lock()
		verdict, pause, victim, why := l.place(c, time.Now())
		switch {
		case verdict == refuse:
			l.stats.Refused++
			l.mu.Unlock()
			l.refuse(raw, why)
			return nil
		case verdict == hold && l.held < mostHeld:
			l.held++
			c.held.Store(true)
			verdict = take
		}
		l.mu.Unlock()
		if victim != nil {
			_ = victim.Close()
		}
		if verdict == take {
			return c
		}
		if !l.wait(pause) {
			_ = raw.Close()
			return nil
		}
	}
}

// settle waits until there is room for a connection that is held, and counts it; net.ErrClosed if
// there was none in time, and the client was told so.
func (l *Listener) settle(c *Conn) error {
	for end := time.Now().Add(patience); ; {
		l.mu.Lock()
		if !c.held.Load() { // it was closed meanwhile
			l.mu.Unlock()
			return net.ErrClosed
		}
		now := time.Now()
		verdict, pause, victim, why := l.place(c, now)
		refused := verdict == refuse || verdict == hold && !now.Before(end)
		if refused {
			l.stats.Refused++
		}
		if refused || verdict == take {
			l.release(c)
		}
		l.mu.Unlock()
		if victim != nil {
			_ = victim.Close()
		}
		switch {
		case refused:
			l.tell(c.Conn, why)
			return net.ErrClosed
		case verdict == take:
			return nil
		}
		if !l.wait(pause) {
			return net.ErrClosed
		}
	}
}

// release ends that a connection is held. Called under l.mu.
func (l *Listener) release(c *Conn) {
	if c.held.CompareAndSwap(true, false) {
		l.held--
		l.free()
	}
}

// share returns the address whose share a connection takes, the zero one if it takes none.
func (l *Listener) share(peer net.Addr) netip.Addr {
	from, err := netip.ParseAddrPort(peer.String())
	if err != nil || l.opts.Exempt != nil && l.opts.Exempt(from.Addr().Unmap().WithZone("")) {
		return netip.Addr{}
	}
	return authority.Network(from.Addr())
}

// place counts a connection if there is room for it, or if closing the victim makes some; else it
// says how long to wait for that, or why it is refused. Called under l.mu.
func (l *Listener) place(c *Conn, now time.Time) (v verdict, pause time.Duration, victim *Conn, why *refusal) {
	a := l.addresses[c.from]
	full := l.opts.Most > 0 && l.open >= l.opts.Most
	if l.opts.All > 0 && l.opts.Beside != nil {
		full = full || l.open+l.opts.Beside() >= l.opts.All
	}
	for _, limit := range []struct {
		met   bool
		among *list.List
		why   *refusal
	}{
		{a != nil && c.from.IsValid() && l.opts.PerAddress > 0 && a.open >= l.opts.PerAddress, idleOf(a), perAddress},
		{full, &l.idle, inAll},
	} {
		if !limit.met {
			continue
		}
		switch oldest := limit.among.Front(); {
		case oldest == nil && limit.why == perAddress:
			return refuse, 0, nil, limit.why
		case oldest == nil:
			return hold, grace, nil, limit.why
		default:
			c := oldest.Value.(*Conn) //nolint:forcetypeassert // the list holds nothing else
			age, patient := now.Sub(c.since), grace
			if limit.why == perAddress && (age < hurry || silent(c.Conn)) {
				patient = hurry
			}
			if age < patient {
				return hold, patient - age, nil, limit.why
			}
			victim = l.evict(limit.among, patient)
			// One makes room for both.
		}
		break
	}
	l.enter(c, now)
	return take, 0, victim, nil
}

// idleOf returns the idle connections of an address, which may not be known yet.
func idleOf(a *address) *list.List {
	if a == nil {
		return nil
	}
	return &a.idle
}

// evict takes the connection that has been idle for longest off the list and out of the count, and
// returns it for who calls to close it, without the lock; nil if none has been idle for that long.
// Called under l.mu.
func (l *Listener) evict(among *list.List, atLeast time.Duration) *Conn {
	oldest := among.Front()
	if oldest == nil {
		return nil
	}
	c := oldest.Value.(*Conn) //nolint:forcetypeassert // the list holds nothing else
	if time.Since(c.since) < atLeast {
		return nil
	}
	l.stats.Evicted++
	l.leave(c)
	return c
}

// enter counts a connection, which is idle. Called under l.mu, as are the three that follow.
func (l *Listener) enter(c *Conn, now time.Time) {
	l.open++
	c.counted = true
	if c.from.IsValid() {
		if c.address = l.addresses[c.from]; c.address == nil {
			c.address = new(address)
			l.addresses[c.from] = c.address
		}
		c.address.open++
	}
	l.markIdle(c, now)
}

// leave takes a connection out of the count.
func (l *Listener) leave(c *Conn) {
	if !c.counted {
		return
	}
	l.markBusy(c)
	c.counted = false
	l.open--
	if a := c.address; a != nil {
		if a.open--; a.open == 0 {
			delete(l.addresses, c.from)
		}
		c.address = nil
	}
	l.free()
}

// free lets those look again who wait.
func (l *Listener) free() {
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// markIdle puts a connection among the idle ones, at their end.
func (l *Listener) markIdle(c *Conn, now time.Time) {
	c.since = now
	if c.place != nil || !c.counted {
		return
	}
	c.place = l.idle.PushBack(c)
	if c.address != nil {
		c.there = c.address.idle.PushBack(c)
	}
}

// markBusy takes a connection from among the idle ones.
func (l *Listener) markBusy(c *Conn) {
	if c.place == nil {
		return
	}
	l.idle.Remove(c.place)
	if c.there != nil {
		c.address.idle.Remove(c.there)
	}
	c.place, c.there = nil, nil
}
