package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hark-push/hark/backoff"
)

const (
	// countPause is how long a batch is left alone after ends were counted, unless all others have
	// come meanwhile: each count is a write, and an event for whoever follows.
	countPause = 50 * time.Millisecond
	// countTime bounds one call to the store.
	countTime = 5 * time.Second
	// countTries is how often ends are told to a store that is away, after countPause, doubled each
	// time: about 25 seconds. Reconcile finds them then.
	countTries = 9
)

// completions tell batches of the ends of their members, and of members that were given more time.
// One call for a batch is under way at a time in this process; the next one takes all that has come
// meanwhile. Nobody waits for that: an end that is lost, with the process, is found by
// [Batches.Reconcile].
type completions struct {
	store   Store
	goOn    func(batch Ref) // does what counted ends have led to
	mu      sync.Mutex
	waiting map[Ref]*waiting // by batch, while a goroutine is at it
	closed  bool
	closing chan struct{}
	running sync.WaitGroup
}

// waiting is what is to be told to one batch.
type waiting struct {
	Count
	open int           // members that were not counted after the last call; 0: not known
	all  chan struct{} // told, at most once, when the ends are those of all of them
}

// add takes note of a member as it is.
func (t *completions) add(r Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	batch := r.batch()
	w := t.waiting[batch]
	if w == nil {
		w = &waiting{all: make(chan struct{}, 1)}
		t.waiting[batch] = w
		t.running.Go(func() { t.run(batch, w) })
	}
	if r.Status.Terminal() {
		w.Ends = append(w.Ends, MemberEnd{int(r.Member), r.Status})
	} else {
		w.extend(r.ExpiresAt)
	}
	w.check()
}

func (w *waiting) extend(until time.Time) {
	if until.After(w.Until) {
		w.Until = until
	}
}

// check tells if nothing more is to come.
func (w *waiting) check() {
	if w.open > 0 && len(w.Ends) >= w.open {
		select {
		case w.all <- struct{}{}:
		default:
		}
	}
}

// run tells a batch until nothing is left.
func (t *completions) run(batch Ref, w *waiting) {
	pause := countPause
	for tries := 0; ; {
		next, ok := t.take(batch, w)
		if !ok {
			return
		}
		ctx, stop := context.WithTimeout(context.Background(), countTime)
		r, err := t.store.Apply(ctx, batch, next)
		stop()
		if err == nil && leads(&r, next.Ends) { // which close waits for, too
			t.running.Go(func() { t.goOn(batch) })
		}
		t.mu.Lock()
		switch {
		case err == nil:
			tries, pause, w.open = 0, countPause, r.Batch.Open()
		case errors.Is(err, ErrUnavailable) && tries < countTries && !t.closed:
			tries, w.open = tries+1, 0
			pause = backoff.Exponential(tries, countPause, time.Minute)
			w.Ends = append(next.Ends, w.Ends...)
			w.extend(next.Until)
		}
		w.check()
		t.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-w.all:
		case <-t.closing:
		}
		timer.Stop()
	}
}

// take returns what is to be told. If that is nothing, the next end begins anew.
func (t *completions) take(batch Ref, w *waiting) (next Count, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, w.Count = w.Count, Count{}
	if len(next.Ends) > 0 || !next.Until.IsZero() {
		return next, true
	}
	delete(t.waiting, batch)
	return next, false
}

// inBackground runs f in a goroutine that close waits for, unless that has begun.
func (t *completions) inBackground(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.running.Go(f)
	}
	return !t.closed
}

// pause waits, and reports false if close has begun.
func (t *completions) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.closing:
		return false
	}
}

// close returns when what calls have left to be done is done: batches know of the ends of their
// members.
func (t *completions) close() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.closing)
	}
	t.mu.Unlock()
	t.running.Wait()
}
