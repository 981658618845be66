package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/memory"
	"github.com/hark-push/hark/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store of requests whose clock is ahead, and a queue of them. It stands in for the
// lifecycle.
type world struct {
	*Leases
	t     *testing.T
	queue *memory.Broker

	mu            sync.Mutex
	requests      map[string]lifecycle.Request
	down          error
	muted         bool                     // reports notify nobody
	slow          time.Duration            // of a start
	content       int                      // bytes
	notifications map[string]chan struct{} // by id
	again         map[string]bool          // started as redelivered
}

const ahead = time.Hour

func newWorld(t *testing.T, o Options) *world {
	w := &world{
		t: t, queue: memory.New([]string{"a", "b"}, memory.Options{}), requests: make(map[string]lifecycle.Request),
		notifications: make(map[string]chan struct{}), again: make(map[string]bool),
	}
	o.Now = func() time.Time { return time.Now().Add(ahead) }
	w.Leases = New(w, w, w.queue, w.subscribe, o)
	t.Cleanup(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		w.Drain(ended)
		if s := w.Stats(); s.Out != 0 || s.Waiting != 0 {
			t.Errorf("left: %+v", s)
		}
		_ = w.queue.Close()
	})
	return w
}

func (w *world) submit(ids ...string) {
	for _, id := range ids {
		w.mu.Lock()
		w.requests[id] = lifecycle.Request{ID: id, Route: "a", Status: lifecycle.Pending, MaxAttempts: 9, Sequence: 1}
		w.mu.Unlock()
		if err := w.queue.Publish(context.Background(), broker.Job{ID: id, Route: "a"}); err != nil {
			w.t.Error(err)
		}
	}
}

// change changes a request and notifies of it, unless it is muted.
func (w *world) change(id string, c lifecycle.Change) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return w.down
	}
	if _, ok := w.requests[id]; !ok {
		return lifecycle.ErrNotFound
	}
	effect, err := lifecycle.Transition(w.requests[id], c, time.Now().Add(ahead))
	if err != nil {
		return err
	}
	w.requests[id] = effect.Request
	if notification := w.notifications[id]; notification != nil && !w.muted {
		select {
		case notification <- struct{}{}:
		default:
		}
	}
	return nil
}

// set replaces a request and notifies of it; nil forgets it.
func (w *world) set(id string, r *lifecycle.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.requests, id); r != nil {
		w.requests[id] = *r
	}
	if notification := w.notifications[id]; notification != nil {
		notification <- struct{}{}
	}
}

func (w *world) deafen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.muted = true
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = err
}

func (w *world) Start(_ context.Context, of lifecycle.Ref, c lifecycle.Start) (lifecycle.Request, lifecycle.Content, error) {
	id := of.ID
	time.Sleep(w.slow)
	err := w.change(id, c)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again[id] = c.Redelivered
	return w.requests[id], lifecycle.Content{Data: make([]byte, w.content)}, err
}

// Report makes a change, and hands work that waits again to the queue.
func (w *world) Report(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error) {
	id := of.ID
	if err := w.change(id, c); err != nil {
		return lifecycle.Request{}, err
	}
	r, err := w.Get(ctx, of)
	if err == nil && r.Status == lifecycle.Pending {
		err = w.queue.Publish(ctx, broker.Job{ID: id, Route: "a"})
	}
	return r, err
}

func (w *world) Get(_ context.Context, of lifecycle.Ref) (lifecycle.Request, error) {
	id := of.ID
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.requests[id]
	switch {
	case w.down != nil:
		return r, w.down
	case !ok:
		return r, lifecycle.ErrNotFound
	}
	return r, nil
}

func (w *world) subscribe(_ context.Context, of lifecycle.Ref) (<-chan struct{}, func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.muted {
		return nil, nil, errors.New("no notifications")
	}
	id, notification := of.ID, make(chan struct{}, 1)
	w.notifications[id] = notification
	return notification, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.notifications, id)
	}, nil
}

// take takes work, which must be that of the ids.
func (w *world) take(o Order, ids ...string) []Work {
	w.t.Helper()
	work := w.takeAny(o)
	var got []string
	for _, one := range work {
		got = append(got, one.Request.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		w.t.Fatalf("took %v, want %v", got, ids)
	}
	return work
}

func (w *world) takeAny(o Order) []Work {
	w.t.Helper()
	o.Routes = []string{"a", "b"}
	work, err := w.Take(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return work
}

// settled waits until nothing moves and checks how many jobs wait in the queue and how many leases
// are out.
func (w *world) settled(waiting int, out int64) {
	w.t.Helper()
	synctest.Wait()
	if n, s := w.queue.Waiting(), w.Stats(); n != waiting || s.Out != out {
		w.t.Fatalf("%d jobs wait and %d are out, want %d and %d", n, s.Out, waiting, out)
	}
}
