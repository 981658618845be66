package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/webhook/dispatch"
)

// words returns a result in JSON that is at least so long, with white space or without, and its
// value.
func words(of string, size int, spaced bool) (result *lifecycle.Content, value string) {
	value = fmt.Sprintf(`{"of":%q,"is":[1,%q]}`, of, strings.Repeat("<&>ü", size/5))
	data := value
	if spaced {
		data = strings.ReplaceAll(strings.ReplaceAll(value, ":", ": "), ",", ",\n ")
	}
	return &lifecycle.Content{Type: "application/json", Data: []byte(data)}, value
}

// succeed runs a request, in a life of its own, to its end.
func succeed(t *testing.T, s *Store, sub lifecycle.Submission, result *lifecycle.Content) lifecycle.Request {
	t.Helper()
	sub.Life = lifecycle.NewLife()
	if _, err := s.Create(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	var r lifecycle.Request
	for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Succeed{Attempt: 1, Result: result}} {
		var err error
		if r, err = s.Apply(t.Context(), lifecycle.Named(sub.ID), c); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// paused adds an endpoint of Alice's for which the events of success wait.
func paused(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.CreateEndpoint(t.Context(), dispatch.Endpoint{
		ID: "e", Owner: "alice", URL: "https://example.com/e", Status: dispatch.Paused, Concurrency: 1,
		Types: []string{string(lifecycle.EventSucceeded)},
	}); err != nil {
		t.Fatal(err)
	}
}

// body is that of a delivery of the endpoint.
func body(t *testing.T, s *Store, of lifecycle.Ref) (string, error) {
	t.Helper()
	d, err := s.Delivery(t.Context(), "alice", "e", dispatch.MessageID(of, 3))
	return text(d.Event), err
}

// text returns an event as clients get it, "" if there is none.
func text(e *lifecycle.Event) string {
	if e == nil {
		return ""
	}
	return string(wire.JSON(e))
}

// count returns how many entries of a table hold something.
func count(t *testing.T, s *Store, table []byte, what string) (n int) {
	t.Helper()
	for key, value := range dump(t, s) {
		if strings.HasPrefix(key, string(table)+` "`) && strings.Contains(value, what) {
			n++
		}
	}
	return n
}

// again is a submission without its key, which is locked.
func again(sub lifecycle.Submission) lifecycle.Submission {
	sub.Key = ""
	return sub
}

// TestValueOnce: a value that is not small is neither in the record nor in the event, and whoever
// reads either gets it as it was, also after a crash and a restart.
func TestValueOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	paused(t, s)
	live := make(map[string]string)
	s.Listen(func(channel string, m lifecycle.Message) {
		if m.Last {
			live[channel] = text(m.Event)
		}
	})
	sizes := []int{0, 200, largeValue - 40, largeValue, 2 * pieceSize, 14 << 10, 15 << 10, 15 << 10, lifecycle.InlineLimit + 1}
	type made struct {
		sub     lifecycle.Submission
		result  *lifecycle.Content
		request lifecycle.Request
		value   string // "" if it is not in documents
		marker  string // which only this value has
	}
	var all []made
	for i, size := range sizes {
		for j, spaced := range []bool{false, true} {
			m := made{sub: request(fmt.Sprintf("r%d%d", i, j))}
			m.sub.Key, m.sub.KeyLock, m.sub.Topic = "key-"+m.sub.ID, time.Minute, "cats"
			m.marker = `"of":"` + m.sub.ID + `"`
			m.result, m.value = words(m.sub.ID, size, spaced)
			m.request = succeed(t, s, m.sub, m.result)
			if size > lifecycle.InlineLimit {
				m.value = ""
			}
			if got := string(m.request.Result.Value); got != m.value {
				t.Fatalf("%d bytes: the value is %.80q, want %.80q", size, got, m.value)
			}
			inLine := 1
			if len(m.value) == 0 || len(m.value) > largeValue {
				inLine = 0
			}
			if records, events := count(t, s, requestsBucket, m.marker), count(t, s, eventsBucket, m.marker); records != inLine || events != inLine {
				t.Errorf("%d bytes of value: it is in %d records and %d events", len(m.value), records, events)
			}
			all = append(all, m)
		}
	}
	same := func(s *Store) {
		t.Helper()
		page, err := s.List(t.Context(), lifecycle.Query{Owner: "alice", Limit: 100})
		if err != nil || len(page.Requests) != len(all) {
			t.Fatal(len(page.Requests), err)
		}
		feed := new(strings.Builder)
		for after := uint64(0); ; {
			h, err := s.Read(t.Context(), "owner:alice", after, 100)
			if err != nil {
				t.Fatal(err)
			}
			if len(h.Messages) == 0 {
				break
			}
			size := 0
			for _, m := range h.Messages {
				feed.WriteString(text(m.Event))
				after = m.Offset
				size += len(text(m.Event))
			}
			if size > 84<<10 { // without what all have, a page is bounded
				t.Errorf("a page has %d bytes", size)
			}
		}
		for i, m := range all {
			ref := m.request.Ref()
			check := func(what string, got lifecycle.Request, err error) {
				t.Helper()
				if err != nil || got.Result == nil || string(got.Result.Value) != m.value {
					t.Errorf("%s of %s: %+v, %v", what, ref, got.Result, err)
				}
			}
			got, err := s.Get(t.Context(), ref)
			check("get", got, err)
			check("list", page.Requests[len(all)-1-i], nil)
			created, err := s.Create(t.Context(), again(m.sub))
			check("repetition", created.Request, err)
			got, err = s.Apply(t.Context(), ref, lifecycle.Succeed{Attempt: 1, Result: m.result})
			check("repeated report", got, err)
			h, err := s.Read(t.Context(), "request:"+ref.String(), 2, 10)
			event := live["request:"+ref.String()]
			if err != nil || len(h.Messages) != 1 || text(h.Messages[0].Event) != event || event == "" {
				t.Errorf("event of %s: %+v, %v; live it was %.80s", ref, h, err, event)
			}
			if !strings.Contains(feed.String(), event) {
				t.Errorf("the event of %s is another one in its feed", ref)
			}
			if got, err := body(t, s, ref); err != nil || got != event {
				t.Errorf("delivery of %s: %.80s, %v", ref, got, err)
			}
			if c, err := s.Content(t.Context(), ref, lifecycle.Output); err != nil || !bytes.Equal(c.Data, m.result.Data) {
				t.Errorf("result of %s: %d bytes, %v", ref, len(c.Data), err)
			}
		}
	}
	same(s)
	same(openLogged(t, crash(t, path)))
	want := exported(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(path, func(err error) { t.Error(err) }); err != nil {
		t.Error(err)
	}
	if _, _, err := Compact(path, nil); err != nil {
		t.Fatal(err)
	}
	s = openLogged(t, path)
	same(s)
	other := filepath.Join(t.TempDir(), "hark.db")
	if err := Import(other, transfer.Read(strings.NewReader(want), nil)); err != nil {
		t.Fatal(err)
	}
	imported := openLogged(t, other)
	same(imported)
	for _, m := range all {
		if n := count(t, imported, requestsBucket, m.marker); len(m.value) > largeValue && n > 0 {
			t.Errorf("imported, a value is in %d records", n)
		}
	}
	if got := exported(t, imported); got != want {
		t.Error("the export of the import is another one")
	}
	for _, s := range []*Store{s, imported} {
		for _, m := range all {
			if err := s.Delete(t.Context(), m.request.Ref()); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, s, piecesBucket, ""); n > 0 {
			t.Errorf("%d pieces are left of what was deleted", n)
		}
	}
}

// TestValueOfForgotten: what deliveries have yet to send has its value when the retention of its
// request has passed, and when the id means another request; it goes with them.
func TestValueOfForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	options := Options{NoSync: true, CheckpointAfter: time.Hour, Now: func() time.Time { return now }, WebhookRetention: time.Hour}
	s, err := Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	paused(t, s)
	want := make(map[lifecycle.Ref]string)
	var refs []lifecycle.Ref
	for life := range 3 { // the last of which stays
		for i := range 40 { // more than one commit of the sweep takes
			sub := request(fmt.Sprintf("r%02d", i))
			result, value := words(fmt.Sprint(sub.ID, life), 14<<10, i%2 == 1)
			r := succeed(t, s, sub, result)
			event, err := body(t, s, r.Ref())
			if err != nil || !strings.Contains(event, value) {
				t.Fatalf("%.80s, %v", event, err)
			}
			want[r.Ref()], refs = event, append(refs, r.Ref())
		}
		if life == 2 {
			break
		}
		now = now.Add(2 * time.Hour)
		if swept, err := s.Sweep(t.Context(), 1000); err != nil || swept.Done != 40 {
			t.Fatalf("%+v, %v", swept, err)
		}
		if n := count(t, s, piecesBucket, ""); n > 0 {
			t.Errorf("%d pieces are left of what is forgotten", n)
		}
	}
	same := func(s *Store) {
		t.Helper()
		for ref, event := range want {
			if got, err := body(t, s, ref); err != nil || got != event {
				t.Errorf("delivery of %s: %.120s, %v", ref, got, err)
			}
		}
	}
	same(s)
	s2, err := Open(crash(t, path), options)
	if err != nil {
		t.Fatal(err)
	}
	same(s2)
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	e, _, err := s.Endpoint(t.Context(), "alice", "e")
	if err != nil {
		t.Fatal(err)
	}
	e.Status = dispatch.Active
	if _, err := s.UpdateEndpoint(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	for range refs {
		claims, _, err := s.Claim(t.Context(), 1, time.Minute)
		if err != nil || len(claims) != 1 {
			t.Fatal(claims, err)
		}
		ref := lifecycle.ParseRef(claims[0].Lane)
		if text(claims[0].Event) != want[ref] {
			t.Errorf("of %s is sent %.120s", ref, text(claims[0].Event))
		}
		if _, err := s.Settle(t.Context(), claims[0], dispatch.Outcome{State: dispatch.Delivered}); err != nil {
			t.Fatal(err)
		}
	}
	same(s)
	for _, ref := range refs[80:] {
		if err := s.Delete(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if _, err := body(t, s, ref); !errors.Is(err, dispatch.ErrNotFound) {
			t.Errorf("a delivery of what was deleted: %v", err)
		}
	}
	now = now.Add(25 * time.Hour)
	if _, err := s.Sweep(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	for _, table := range [][]byte{piecesBucket, eventsBucket, messagesBucket} {
		if n := count(t, s, table, ""); n > 0 {
			t.Errorf("%d entries of %s are left", n, table)
		}
	}
}

// idle is a queue that takes nothing.
type idle struct{}

func (idle) Ready(context.Context) error                      { return lifecycle.ErrUnavailable }
func (idle) Enqueue(context.Context, lifecycle.Request) error { return lifecycle.ErrUnavailable }
func (idle) Discard(lifecycle.Request)                        {}

// TestValueDamaged: a request whose value cannot be read is damaged, whoever reads it or an event
// of it, is forgotten all the same, and concerns nobody else, not even who has its id next.
func TestValueDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	damages := codec.NewDamages(discard)
	options := Options{NoSync: true, CheckpointAfter: time.Hour, Now: func() time.Time { return now }, Damages: damages}
	s, err := Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	paused(t, s)
	refs := make(map[string]lifecycle.Ref)
	for i, id := range []string{"deleted", "forgotten", "well"} {
		result, _ := words(id, 10<<10, i == 1)
		sub := request(id)
		sub.Owner = map[bool]string{true: "alice", false: "bob"}[id == "forgotten"]
		r := succeed(t, s, sub, result)
		refs[id] = r.Ref()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
		pieces := tx.Bucket(piecesBucket)
		flipped := pieceKey(nil, "forgotten", compacted, 1)
		value := bytes.Clone(pieces.Get(flipped))
		value[len(value)-1] ^= 1
		return errors.Join(pieces.Put(flipped, value), pieces.Delete(pieceKey(nil, "deleted", lifecycle.Output, 2)))
	}), db.Close()); err != nil {
		t.Fatal(err)
	}
	var told []string
	if _, err := Check(path, func(err error) { told = append(told, err.Error()) }); err != nil {
		t.Error(err)
	}
	out := new(strings.Builder)
	if _, err := Salvage(path, out, wire.JSON, func(error) {}); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"deleted", "forgotten"} {
		if text := strings.Join(told, "\n"); !strings.Contains(text, "request "+id+": the result is damaged") {
			t.Errorf("a check says %s", text)
		}
		if !strings.Contains(out.String(), `{"kind":"request","request":{"id":"`+id) {
			t.Errorf("%s is not in what was salvaged", id)
		}
	}
	if s, err = Open(path, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	damaged := func(what, id string, err error) {
		t.Helper()
		if d, ok := errors.AsType[*lifecycle.DamageError](err); !ok || d.ID != id && what != "delivery" {
			t.Errorf("%s of %s: %v", what, id, err)
		}
	}
	for _, id := range []string{"deleted", "forgotten"} {
		_, err := s.Get(t.Context(), refs[id])
		damaged("get", id, err)
		_, err = s.Create(t.Context(), request(id))
		damaged("repetition", id, err)
		_, err = s.Read(t.Context(), "request:"+refs[id].String(), 0, 10)
		damaged("history", id, err)
		if h, err := s.Read(t.Context(), "request:"+refs[id].String(), 3, 10); err != nil || !h.Ended {
			t.Errorf("the end of %s: %+v, %v", id, h, err)
		}
	}
	_, err = s.List(t.Context(), lifecycle.Query{Owner: "alice", Limit: 10})
	damaged("list", "forgotten", err)
	h, err := s.Read(t.Context(), "owner:bob", 0, 10)
	if err != nil || len(h.Messages) != 6 || !strings.Contains(text(h.Messages[2].Event), "feed.reset") ||
		!strings.Contains(text(h.Messages[5].Event), "request.succeeded") {
		t.Errorf("the feed: %+v, %v", h, err)
	}
	_, err = body(t, s, refs["forgotten"])
	damaged("delivery", "forgotten", err)
	if _, err := s.Get(t.Context(), refs["well"]); err != nil {
		t.Error(err)
	}
	if damages.Count() == 0 {
		t.Error("nothing was counted")
	}

	// Its record can be read, and says whose it is: that one can delete it, and others do not even
	// see it.
	service := lifecycle.New(s, idle{}, lifecycle.Options{})
	defer service.Close()
	if err := service.Delete(t.Context(), lifecycle.Principal{Subject: "alice"}, refs["deleted"]); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("somebody else deletes it: %v", err)
	}
	another := lifecycle.Ref{ID: "deleted", Life: lifecycle.NewLife()}
	if err := service.Delete(t.Context(), lifecycle.Principal{Subject: "bob"}, another); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("another life of its id is deleted: %v", err)
	}
	if err := service.Delete(t.Context(), lifecycle.Principal{Subject: "bob"}, refs["deleted"]); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), refs["deleted"]); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Error(err)
	}
	if _, err := s.DeleteDamaged(t.Context(), "well"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("what is well is deleted as damaged: %v", err)
	}
	now = now.Add(2 * time.Hour)
	if swept, err := s.Sweep(t.Context(), 10); err != nil || swept.Done != 2 {
		t.Errorf("%+v, %v", swept, err)
	}
	result, _ := words("another", 10<<10, true)
	succeed(t, s, request("forgotten"), result)
	got, err := body(t, s, refs["forgotten"])
	damaged("delivery", "forgotten", err)
	if strings.Contains(got, "another") {
		t.Errorf("the delivery is %.80s", got)
	}
}

// TestValueTakenBack: of an end that could not be made durable nothing is left, and the next one
// has its own value.
func TestValueTakenBack(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	sub := request("a")
	if _, err := s.Create(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	before := dump(t, s)
	lost, _ := words("lost", 10<<10, true)
	broken := errors.New("the disk is gone")
	if err := s.write(t.Context(), func(b *batch) error {
		w := &written{id: "a", part: lifecycle.Output, body: codec.EncodeBody(*lost)}
		if _, err := b.change(lifecycle.Named("a"), lifecycle.Succeed{Result: lost}, w); err != nil {
			return err
		}
		if r, err := b.findWhole(lifecycle.Named("a")); err != nil || r.outOfLine == 0 || len(r.Result.Value) == 0 {
			t.Errorf("%+v, %v", r, err)
		}
		b.err = broken
		return nil
	}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if after := dump(t, s); !maps.Equal(after, before) {
		t.Errorf("there are %d entries, were %d", len(after), len(before))
	}
	kept, value := words("kept", 10<<10, false)
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Succeed{Result: kept}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil || string(r.Result.Value) != value {
		t.Errorf("%+v, %v", r.Result, err)
	}
}

// TestValueWithoutRoom: what is owed a value for which a bounded file has no room is not forgotten,
// is looked at again later, and is forgotten when there is room.
func TestValueWithoutRoom(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, err := Open(filepath.Join(t.TempDir(), "hark.db"), Options{NoSync: true, MaxSize: 4 << 20, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	paused(t, s)
	result, _ := words("a", 15<<10, false)
	r := succeed(t, s, request("a"), result)
	event, err := body(t, s, r.Ref())
	if err != nil {
		t.Fatal(err)
	}
	var most int
	bound := func(to int) {
		if err := s.write(t.Context(), func(b *batch) error { most, s.journal.most = s.journal.most, to; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(2 * time.Hour)
	bound(1)
	if swept, err := s.Sweep(t.Context(), 10); err != nil || swept.Done != 0 || !swept.Next.After(now) {
		t.Errorf("%+v, %v", swept, err)
	}
	if _, err := s.Get(t.Context(), r.Ref()); err != nil {
		t.Error(err)
	}
	bound(most)
	if swept, err := s.Sweep(t.Context(), 10); err != nil || swept.Done != 1 {
		t.Errorf("%+v, %v", swept, err)
	}
	if got, err := body(t, s, r.Ref()); err != nil || got != event {
		t.Errorf("%.80s, %v", got, err)
	}
}

// TestValueInFullFile: in a file that is full of results whose deliveries wait all are forgotten
// nevertheless, and what waits has its value.
func TestValueInFullFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, err := Open(path, Options{NoSync: true, MaxSize: 4 << 20, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	paused(t, s)
	want := make(map[lifecycle.Ref]string)
	for i := 0; ; i++ {
		sub := request(fmt.Sprintf("r%03d", i))
		result, _ := words(sub.ID, 15<<10, i%2 == 1)
		if _, err := s.Create(t.Context(), sub); errors.Is(err, lifecycle.ErrUnavailable) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(t.Context(), lifecycle.Named(sub.ID), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
		r, err := s.Apply(t.Context(), lifecycle.Named(sub.ID), lifecycle.Succeed{Result: result})
		if errors.Is(err, lifecycle.ErrUnavailable) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if want[r.Ref()], err = body(t, s, r.Ref()); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) < 50 {
		t.Errorf("only %d requests fit", len(want))
	}
	now = now.Add(2 * time.Hour)
	for range 10 {
		swept, err := s.Sweep(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if swept.Next.IsZero() {
			break
		}
		now = swept.Next
	}
	if n := count(t, s, requestsBucket, ""); n > 0 {
		t.Errorf("%d of %d requests are left", n, len(want))
	}
	for ref, event := range want {
		if got, err := body(t, s, ref); err != nil || got != event {
			t.Errorf("delivery of %s: %.120s, %v", ref, got, err)
		}
	}
}
