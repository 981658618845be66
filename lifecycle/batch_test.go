package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
)

// picky is a queue that takes so many requests and then fails, and may do something meanwhile.
type picky struct {
	mu        sync.Mutex
	room      int
	took      map[string]int
	meanwhile func(id string)
}

func (q *picky) Ready(context.Context) error { return nil }
func (q *picky) Discard(lifecycle.Request)   {}

func (q *picky) Enqueue(_ context.Context, r lifecycle.Request) error {
	if r.Batch != nil {
		return errors.New("a batch is no work")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.took == nil {
		q.took = make(map[string]int)
	}
	if len(q.took) >= q.room {
		return errors.New("full")
	}
	q.took[r.ID]++
	if q.meanwhile != nil {
		q.meanwhile(r.ID)
	}
	return nil
}

func (q *picky) set(room int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.room, q.took, q.meanwhile = room, nil, nil
}

func batch(id string) lifecycle.Submission {
	return lifecycle.Submission{ID: id, Fingerprint: "f of " + id}
}

func members(n int) []lifecycle.Submission {
	all := make([]lifecycle.Submission, n)
	for i := range all {
		all[i] = lifecycle.Submission{Route: "r", Content: lifecycle.Content{Type: "application/json", Data: fmt.Appendf(nil, `{"n": %d}`, i)}}
	}
	return all
}

func list(t *testing.T, store *bolt.Store) []lifecycle.Request {
	t.Helper()
	page, err := store.List(t.Context(), lifecycle.Query{Owner: client.Subject, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return page.Requests
}

func status(t *testing.T, store *bolt.Store, id string) lifecycle.Request {
	t.Helper()
	r, err := store.Get(t.Context(), lifecycle.Named(id))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// end ends a request without anybody being told, as whoever dies right after that.
func end(t *testing.T, store *bolt.Store, id string) {
	t.Helper()
	for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Succeed{}} {
		if _, err := store.Apply(t.Context(), lifecycle.Named(id), c); err != nil {
			t.Error(err)
		}
	}
}

func TestSubmitBatch(t *testing.T) {
	q := &picky{room: 100}
	s, store := newService(t, q)
	defer s.Close()
	all := members(40)
	all[7].ID, all[7].Topic, all[7].Webhook = "mine", "t", &lifecycle.Webhook{Endpoint: "e"}
	all[7].Timeout = 2 * time.Hour
	sub := batch("b")
	sub.Headers = map[string]string{"Traceparent": "00"}
	created, err := s.Batches().Submit(t.Context(), client, sub, slices.Clone(all), nil)
	r := created.Request
	if err != nil || r.Status != lifecycle.Processing || r.Batch.Open() != 40 || len(q.took) != 40 || r.ExpiresAt.Sub(r.CreatedAt) < 2*time.Hour+30*time.Second {
		t.Fatalf("%+v %v", r, err)
	}
	var seen []lifecycle.Request
	for from := 0; ; {
		page, _, next, err := s.Batches().Members(t.Context(), client, lifecycle.Named("b"), from, 15)
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, page...); next == 0 {
			break
		}
		from = next
	}
	for i, m := range seen {
		content, err := store.Content(t.Context(), lifecycle.Named(m.ID), lifecycle.Input)
		if err != nil || !reflect.DeepEqual(content, all[i].Content) || int(m.Member) != i || m.BatchID != "b" || m.Headers["Traceparent"] != "00" {
			t.Errorf("%d: %+v %s %v", i, m, content.Data, err)
		}
	}
	if m := seen[7]; len(seen) != 40 || m.ID != "mine" || m.Topic != "t" || m.Webhook.Endpoint != "e" {
		t.Errorf("%d, %+v", len(seen), m)
	}
	stranger := lifecycle.Principal{Subject: "you", Roles: []lifecycle.Role{lifecycle.RoleClient}}
	if _, _, _, err := s.Batches().Members(t.Context(), stranger, lifecycle.Named("b"), 0, 10); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("somebody else: %v", err)
	}
	if _, _, _, err := s.Batches().Members(t.Context(), client, lifecycle.Named("b"), 40, 10); !errors.Is(err, lifecycle.ErrCursor) {
		t.Errorf("beyond the end: %v", err)
	}
	// The same again, and one that names a request of it.
	if created, err := s.Batches().Submit(t.Context(), client, sub, slices.Clone(all), nil); err != nil || !created.Existed || created.Request.ID != "b" {
		t.Errorf("%+v %v", created, err)
	}
	var taken *lifecycle.MemberError
	for _, key := range []string{"", "k"} {
		other := batch("c")
		other.Key = key
		if _, err := s.Batches().Submit(t.Context(), client, other, slices.Clone(all), nil); !errors.As(err, &taken) || taken.Member != 7 || !errors.Is(err, lifecycle.ErrIDTaken) {
			t.Errorf("taken: %v", err)
		}
	}
	if n := len(list(t, store)); n != 41 {
		t.Errorf("%d requests", n)
	}
}

// TestNothingHalfDoneOfABatchStaysBehind when the queue takes only some of its requests.
func TestNothingHalfDoneOfABatchStaysBehind(t *testing.T) {
	q := &picky{room: 50}
	s, store := newService(t, q)
	defer s.Close()
	all := members(100)
	all[99].ID = "mine"
	for range 2 {
		if _, err := s.Batches().Submit(t.Context(), client, batch("b"), slices.Clone(all), nil); !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Fatal(err)
		}
		if left := list(t, store); len(left) != 0 {
			t.Fatalf("%d are left: %+v", len(left), left[0])
		}
		q.set(50)
	}
	q.set(100)
	if created, err := s.Batches().Submit(t.Context(), client, batch("b"), slices.Clone(all), nil); err != nil || created.Existed || created.Request.Status != lifecycle.Processing {
		t.Errorf("%+v %v", created, err)
	}
}

// TestBatchThatWasBegun: the queue fails when a processor works on one request already. The batch
// stays, and goes on when it can; what was taken back is there again.
func TestBatchThatWasBegun(t *testing.T) {
	q := &picky{room: 50}
	s, store := newService(t, q)
	defer s.Close()
	var begun atomic.Pointer[string]
	q.meanwhile = func(id string) {
		if begun.CompareAndSwap(nil, &id) {
			end(t, store, id)
		}
	}
	created, err := s.Batches().Submit(t.Context(), client, batch("b"), members(100), nil)
	if err != nil || created.Request.Status != lifecycle.Pending {
		t.Fatalf("%+v %v", created.Request, err)
	}
	if err := s.Batches().Reconcile(t.Context(), status(t, store, "b")); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("still full: %v", err)
	}
	q.set(200)
	if err := s.Batches().Reconcile(t.Context(), status(t, store, "b")); err != nil {
		t.Fatal(err)
	}
	if r := status(t, store, "b"); r.Status != lifecycle.Processing || r.Batch.Succeeded != 1 || r.Batch.Open() != 99 {
		t.Errorf("%+v %+v", r, r.Batch)
	}
	if page, _, _, err := s.Batches().Members(t.Context(), client, lifecycle.Named("b"), 0, 100); err != nil || len(page) != 100 {
		t.Errorf("%d, %v", len(page), err)
	}
}

// TestReconcile: ends that nobody has told of are found, once, and so is what was to be canceled.
func TestReconcile(t *testing.T) {
	q := &picky{room: 100}
	s, store := newService(t, q)
	defer s.Close()
	if _, err := s.Batches().Submit(t.Context(), client, batch("b"), members(9), nil); err != nil {
		t.Fatal(err)
	}
	all, _, _, err := s.Batches().Members(t.Context(), client, lifecycle.Named("b"), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	end(t, store, all[1].ID)
	end(t, store, all[5].ID)
	// It is not known any more how that ended.
	if err := store.Delete(t.Context(), lifecycle.Named(all[5].ID)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Batches().Reconcile(t.Context(), status(t, store, "b")); err != nil {
			t.Fatal(err)
		}
	}
	if b := status(t, store, "b").Batch; b.Succeeded != 1 || b.Failed != 1 || b.Open() != 7 {
		t.Errorf("%+v", b)
	}
	if _, err := store.Apply(t.Context(), lifecycle.Named(all[2].ID), lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	// Who canceled the batch died then.
	if _, err := store.Apply(t.Context(), lifecycle.Named("b"), lifecycle.Cancel{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Batches().Reconcile(t.Context(), status(t, store, "b")); err != nil {
		t.Fatal(err)
	}
	if r := status(t, store, "b"); r.Batch.Canceled != 6 || r.Batch.Open() != 1 || !status(t, store, all[2].ID).CancelRequested {
		t.Errorf("%+v", r.Batch)
	}
	if _, err := s.Report(t.Context(), all[2].Ref(), lifecycle.Fail{}); err != nil {
		t.Fatal(err)
	}
	s.Close() // waits until that is counted
	if r := status(t, store, "b"); r.Status != lifecycle.Canceled || r.Batch.Canceled != 7 {
		t.Errorf("%+v %+v", r, r.Batch)
	}
}

// TestBatchExpired: what is left of a batch that has expired is canceled, and ends of its requests
// change it no more.
func TestBatchExpired(t *testing.T) {
	s, store := newService(t, &picky{room: 100})
	all := members(3)
	for i := range all {
		all[i].Timeout = time.Hour
	}
	if _, err := s.Batches().Submit(t.Context(), client, batch("b"), all, nil); err != nil {
		t.Fatal(err)
	}
	s.Swept([]lifecycle.Request{func() lifecycle.Request {
		r := status(t, store, "b")
		r.Status = lifecycle.Expired
		return r
	}()})
	s.Close()
	for _, r := range list(t, store) {
		if r.Batch == nil && r.Status != lifecycle.Canceled {
			t.Errorf("%+v", r)
		}
	}
}

// away is a store that cannot take the first counts.
type away struct {
	lifecycle.Store
	fails atomic.Int32
}

func (a *away) Apply(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error) {
	if _, ok := c.(lifecycle.Count); ok && a.fails.Add(-1) >= 0 {
		return lifecycle.Request{}, fmt.Errorf("%w: away", lifecycle.ErrUnavailable)
	}
	return a.Store.Apply(ctx, of, c)
}

// TestEndsWaitForTheStore: a report is not held up nor refused because its batch cannot be told,
// and the batch is told later.
func TestEndsWaitForTheStore(t *testing.T) {
	_, store := newService(t, nil)
	s := lifecycle.New(&away{Store: store}, &picky{room: 100}, lifecycle.Options{})
	defer s.Close()
	if _, err := s.Batches().Submit(t.Context(), client, batch("b"), members(3), nil); err != nil {
		t.Fatal(err)
	}
	all, _, _, err := s.Batches().Members(t.Context(), client, lifecycle.Named("b"), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	down := &away{Store: store}
	down.fails.Store(2)
	s = lifecycle.New(down, &picky{}, lifecycle.Options{})
	defer s.Close()
	for _, m := range all {
		if _, err := store.Apply(t.Context(), lifecycle.Named(m.ID), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Report(t.Context(), lifecycle.Named(m.ID), lifecycle.Succeed{}); err != nil {
			t.Error(err)
		}
	}
	for deadline := time.Now().Add(3 * time.Minute); status(t, store, "b").Status != lifecycle.Succeeded; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was never told")
		}
	}
}

// meeting is a store that lets nobody of the first owner who comes go on before so many of its
// requests are being stored.
type meeting struct {
	*bolt.Store
	wanted int

	mu    sync.Mutex
	there map[string]int // of each owner
	most  map[string]int
	met   chan struct{}
}

func (m *meeting) Create(ctx context.Context, sub lifecycle.Submission) (lifecycle.Created, error) {
	if sub.Batch != nil {
		return m.Store.Create(ctx, sub)
	}
	m.mu.Lock()
	m.there[sub.Owner]++
	m.most[sub.Owner] = max(m.most[sub.Owner], m.there[sub.Owner])
	if m.there[sub.Owner] == m.wanted {
		// There is time for more to come, who must not.
		time.AfterFunc(20*time.Millisecond, func() { close(m.met) })
		m.wanted = 0
	}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.there[sub.Owner]--
	}()
	select {
	case <-m.met:
	case <-ctx.Done():
		return lifecycle.Created{}, ctx.Err()
	}
	return m.Store.Create(ctx, sub)
}

// idle is a queue on whose routes nobody works.
type idle struct{}

func (idle) Ready(context.Context) error                      { return nil }
func (idle) Enqueue(context.Context, lifecycle.Request) error { return nil }
func (idle) Discard(lifecycle.Request)                        {}

// TestBatchesShareRoom: however many batches an owner has under way, no more of their requests are
// stored at a time than of four; and all are.
func TestBatchesShareRoom(t *testing.T) {
	const most = 128
	_, store := newService(t, idle{})
	m := &meeting{Store: store, wanted: most, there: make(map[string]int), most: make(map[string]int), met: make(chan struct{})}
	s := lifecycle.New(m, idle{}, lifecycle.Options{})
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var submitting sync.WaitGroup
	for i := range 8 {
		submitting.Go(func() {
			if _, err := s.Batches().Submit(ctx, client, batch(fmt.Sprint("b", i)), members(100), nil); err != nil {
				t.Errorf("batch %d: %v", i, err)
			}
		})
	}
	submitting.Wait()
	if m.most[client.Subject] != most {
		t.Errorf("%d requests were stored at a time, want %d", m.most[client.Subject], most)
	}
	for i := range 8 {
		if r := status(t, store, fmt.Sprint("b", i)); r.Status != lifecycle.Processing || r.Batch.Open() != 100 {
			t.Errorf("batch %d: %+v", i, r)
		}
	}
}
