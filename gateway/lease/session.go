package lease

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// ErrSuperseded is the error of a call for work by a session of a worker after another session of
// that worker has called, and of one that was waiting then.
var ErrSuperseded = errors.New("another session of this worker has taken over")

// Worker names a processor, so that it gets back what it had when it is started again.
type Worker struct {
	Owner string // whose it is: the subject of its caller, beside whom others have the same name
	Name  string // "": it has none
	// Session is one run of it. "": the call is a session by itself.
	Session string
}

// key is what tells w from other workers. No subject holds a NUL.
func (w Worker) key() string { return w.Owner + "\x00" + w.Name }

// Sessions knows which session of each worker is the newest, at whichever node it calls.
type Sessions interface {
	// Enter notes that a session of a worker calls. One that is not known becomes the newest, by a
	// number that is above those of all before. It returns its number and that of the newest.
	Enter(ctx context.Context, worker, session string) (number, newest int64, err error)
	// OnEnter calls f when a session becomes the newest of a worker, here or at another node, until
	// stop is called. It is a hint, delivered at most once to each node. f must not block.
	OnEnter(f func(worker string, newest int64)) (stop func())
}

// How many sessions of a worker are known at most, and how long after the last call of any. Until
// then one that was superseded is refused; later it would be the newest again.
const (
	sessionsKept   = 16
	sessionsKeptOf = 24 * time.Hour
)

// WorkersKept is how many workers of one owner are known at most. Beyond it the one that has not
// called for longest is forgotten, as after a day without a call: whoever makes up a name for each
// call takes no more than this.
const WorkersKept = 10_000

// local is [Sessions] of one process.
type local struct {
	mu      sync.Mutex
	number  int64
	workers map[string]*sessions
	owners  map[string]*list.List // of [*sessions], by when they were used, the longest ago first
	tidy    time.Time             // when workers were last looked through for those that are gone
	told    func(worker string, newest int64)
}

type sessions struct {
	worker  string
	place   *list.Element // in the list of its owner
	names   []string      // the newest last
	numbers []int64
	used    time.Time
}

func newLocal() *local {
	return &local{workers: make(map[string]*sessions), owners: make(map[string]*list.List), tidy: time.Now()}
}

// of returns the sessions of a worker, which is used now. [local.mu] is held.
func (l *local) of(worker string, now time.Time) *sessions {
	owner, _, _ := strings.Cut(worker, "\x00")
	order := l.owners[owner]
	if order == nil {
		order = list.New()
		l.owners[owner] = order
	}
	s := l.workers[worker]
	if s == nil {
		s = &sessions{worker: worker}
		s.place = order.PushBack(s)
		l.workers[worker] = s
		l.shorten(order, func(*sessions) bool { return order.Len() > WorkersKept })
	}
	s.used = now
	order.MoveToBack(s.place)
	return s
}

// shorten forgets the first ones of an owner's list as long as they are too old, or too many.
func (l *local) shorten(order *list.List, over func(first *sessions) bool) {
	for first := order.Front(); first != nil; first = order.Front() {
		s := first.Value.(*sessions) //nolint:forcetypeassert // nothing else is in it
		if !over(s) {
			return
		}
		order.Remove(first)
		delete(l.workers, s.worker)
	}
}

func (l *local) Enter(_ context.Context, worker, session string) (number, newest int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.tidy) > sessionsKeptOf {
		l.tidy = now
		for owner, order := range l.owners {
			l.shorten(order, func(first *sessions) bool { return now.Sub(first.used) > sessionsKeptOf })
			if order.Len() == 0 {
				delete(l.owners, owner)
			}
		}
	}
	s := l.of(worker, now)
	at := slices.Index(s.names, session)
	if at < 0 {
		l.number++
		s.names, s.numbers = append(s.names, session), append(s.numbers, l.number)
		over := max(0, len(s.names)-sessionsKept)
		s.names, s.numbers = slices.Delete(s.names, 0, over), slices.Delete(s.numbers, 0, over)
		at = len(s.names) - 1
		if l.told != nil {
			l.told(worker, l.number)
		}
	}
	return s.numbers[at], s.numbers[len(s.numbers)-1], nil
}

// OnEnter has one listener, its [Leases].
func (l *local) OnEnter(f func(worker string, newest int64)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = f
	return func() {}
}

// shift is what one call of a worker has going on here, until the last of its work is settled.
type shift struct {
	number     int64         // of its session; 0 while that is not known
	superseded chan struct{} // closed when another session has taken over
}

// end closes superseded. [Leases.mu] is held.
func (s *shift) end() {
	select {
	case <-s.superseded:
	default:
		close(s.superseded)
	}
}

// crew is what goes on here in the name of a worker; under Leases.mu.
type crew struct {
	shifts map[*shift]struct{}
	newest int64 // of the numbers that are known here
}

// supersede ends what sessions before the newest one have here.
func (c *crew) supersede(newest int64) {
	c.newest = max(c.newest, newest)
	for s := range c.shifts {
		if s.number != 0 && s.number < c.newest {
			s.end()
		}
	}
}

// superseded is told of the newest session of a worker.
func (l *Leases) superseded(worker string, newest int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.crews[worker]; c != nil {
		c.supersede(newest)
	}
}

// join begins a shift of a worker, and leave ends it. Whoever has no name has none. ErrSuperseded
// if its session is not the newest.
func (l *Leases) join(ctx context.Context, w Worker) (s *shift, leave func(), err error) {
	if w.Name == "" {
		return nil, func() {}, nil
	}
	// No session that has a name has a star.
	key, session := w.key(), cmp.Or(w.Session, "*"+rand.Text())
	s = &shift{superseded: make(chan struct{})}
	// It is there before its session is noted, so that it misses nothing that comes behind it.
	l.mu.Lock()
	c := l.crews[key]
	if c == nil {
		c = &crew{shifts: make(map[*shift]struct{})}
		l.crews[key] = c
	}
	c.shifts[s] = struct{}{}
	l.mu.Unlock()
	leave = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if delete(c.shifts, s); len(c.shifts) == 0 {
			delete(l.crews, key)
		}
	}
	// A call whose caller has given it up, and has made another one since, supersedes nobody.
	if err := ctx.Err(); err != nil {
		leave()
		return nil, nil, fmt.Errorf("%w: %w", lifecycle.ErrUnavailable, err)
	}
	number, newest, err := l.options.Sessions.Enter(ctx, key, session)
	if err != nil {
		leave()
		return nil, nil, err
	}
	l.mu.Lock()
	s.number = number
	c.supersede(newest) // which may be known here before it is told
	over := number < c.newest
	l.mu.Unlock()
	if over {
		leave()
		return nil, nil, ErrSuperseded
	}
	return s, leave, nil
}
