package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

func testContent(s *suite) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := make([]byte, 1<<20)
	rand.Read(large)
	for i, c := range []lifecycle.Content{
		{Type: "application/octet-stream", Data: every},
		{Type: "image/png", Data: large},
		{Type: "text/plain; charset=utf-8"},
		{Type: "", Data: []byte{0}},
		{Type: "application/json", Data: []byte("{ \"spaces\" : \"<kept>\" }\n")},
	} {
		id := fmt.Sprintf("r%d", i)
		sub := submission(id)
		sub.Content = lifecycle.Content{Type: c.Type, Data: bytes.Clone(c.Data)}
		s.create(sub)
		clear(sub.Content.Data) // the store has its own
		r, got, err := s.Begin(s.ctx, lifecycle.Named(id), lifecycle.Start{})
		if err != nil || r.Status != lifecycle.Processing || r.Attempt != 1 || got.Type != c.Type || !bytes.Equal(got.Data, c.Data) {
			s.Fatalf("begin content %d: %s, attempt %d, %q, %d bytes, %v; want %q, %d bytes", i, r.Status, r.Attempt, got.Type, len(got.Data), err, c.Type, len(c.Data))
		}
		clear(got.Data) // the caller owns it
		if _, err := s.Content(s.ctx, lifecycle.Named(id), lifecycle.Output); !errors.Is(err, lifecycle.ErrNotFound) {
			s.Errorf("result before the end: %v", err)
		}
		result := lifecycle.Content{Type: c.Type, Data: bytes.Clone(c.Data)}
		s.apply(id, lifecycle.Succeed{Result: &result})
		clear(result.Data)
		ended := s.get(id)
		for _, part := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
			s.pieces(ended.Ref(), part, c.Data)
			for range 2 {
				got, err := s.Content(s.ctx, lifecycle.Named(id), part)
				if err != nil || got.Type != c.Type || !bytes.Equal(got.Data, c.Data) {
					s.Fatalf("content %d part %d: %q, %d bytes, %v; want %q, %d bytes", i, part, got.Type, len(got.Data), err, c.Type, len(c.Data))
				}
				clear(got.Data) // the caller owns it
			}
		}
	}
	if r := s.get("r4"); string(r.Result.Value) != `{"spaces":"<kept>"}` {
		s.Errorf("inlined result: %s", r.Result.Value)
	}
	// A result is as it is, whatever a store does with it.
	for i, size := range []int{500, 600, 4000, lifecycle.InlineLimit - 40} {
		value := `{"is":[1,"` + strings.Repeat("<\u00fc>", size/5) + `"]}`
		for j, data := range []string{value, strings.Replace(value, ":", " :\n ", 1)} {
			id := fmt.Sprintf("value%d%d", i, j)
			s.into(id, lifecycle.Processing)
			s.apply(id, lifecycle.Succeed{Result: &lifecycle.Content{Type: "application/json", Data: []byte(data)}})
			r := s.get(id)
			page, err := s.List(s.ctx, lifecycle.Query{Owner: r.Owner, Limit: 1})
			h, unread := s.Read(s.ctx, "request:"+r.Ref().String(), r.Sequence-1, 10)
			if err != nil || unread != nil || len(page.Requests) != 1 || len(h.Messages) != 1 {
				s.Fatalf("%s: %+v, %v, %+v, %v", id, page, err, h, unread)
			}
			listed := page.Requests[0]
			if string(r.Result.Value) != value || listed.ID != id || string(listed.Result.Value) != value ||
				!strings.Contains(string(wire.JSON(h.Messages[0].Event)), `"value":`+value) {
				s.Errorf("%s: %.80q, listed %s %.80q, event %.80q; want %.80q", id, r.Result.Value, listed.ID, listed.Result.Value, wire.JSON(h.Messages[0].Event), value)
			}
		}
	}
	s.into("without", lifecycle.Succeeded)
	if _, err := s.Content(s.ctx, lifecycle.Named("without"), lifecycle.Output); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("success without a result: %v", err)
	}
	if _, err := s.Content(s.ctx, lifecycle.Named("unknown"), lifecycle.Input); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("unknown request: %v", err)
	}
}

// testBegin is about what Begin has in common with Apply, testContent about the content.
func testBegin(s *suite) {
	if _, _, err := s.Begin(s.ctx, lifecycle.Named("unknown"), lifecycle.Start{}); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("unknown request: %v", err)
	}
	sub := submission("a")
	sub.MaxAttempts = 2
	s.create(sub)
	for attempt := 1; attempt <= 2; attempt++ {
		r, content, err := s.Begin(s.ctx, lifecycle.Named("a"), lifecycle.Start{Redelivered: true})
		if err != nil || r.Attempt != attempt || !bytes.Equal(content.Data, sub.Content.Data) {
			s.Fatalf("attempt %d: %d, %q, %v", attempt, r.Attempt, content.Data, err)
		}
		var refusal *lifecycle.TransitionError
		if _, _, err := s.Begin(s.ctx, lifecycle.Named("a"), lifecycle.Start{}); !errors.As(err, &refusal) {
			s.Errorf("begun already: %v", err)
		}
	}
	r, content, err := s.Begin(s.ctx, lifecycle.Named("a"), lifecycle.Start{Redelivered: true})
	if err != nil || r.Status != lifecycle.Failed || content.Data != nil {
		s.Errorf("one attempt too many: %s, %q, %v", r.Status, content.Data, err)
	}
	if got := s.get("a"); got.Sequence != r.Sequence {
		s.Errorf("sequence %d is stored, %d was returned", got.Sequence, r.Sequence)
	}
}

func testDelete(s *suite) {
	if err := s.Delete(s.ctx, lifecycle.Named("unknown")); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("unknown: %v", err)
	}
	sub := keyed("a", "k")
	sub.Topic = "t"
	s.create(sub)
	for range 2 { // pending, processing
		if err := s.Delete(s.ctx, lifecycle.Named("a")); !errors.Is(err, lifecycle.ErrNotEnded) {
			s.Errorf("not ended: %v", err)
		}
		if s.get("a").Status == lifecycle.Pending {
			s.apply("a", lifecycle.Start{})
		}
	}
	s.apply("a", lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: []byte("x")}})
	if err := s.Delete(s.ctx, lifecycle.Named("a")); err != nil {
		s.Fatal(err)
	}
	s.gone("a")
	if err := s.Delete(s.ctx, lifecycle.Named("a")); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("twice: %v", err)
	}
	for _, channel := range []string{ownerChannel(alice), topicChannel(alice, "t")} {
		if n := len(s.all(channel, 0, 10)); n != 3 {
			s.Errorf("feed %q has %d events left, want 3", channel, n)
		}
	}
	r := s.create(sub) // the id and the key are free
	if r.Sequence != 1 {
		s.Errorf("sequence %d", r.Sequence)
	}
	if types := s.types("a"); len(types) != 1 {
		s.Errorf("events of the new request: %v", types)
	}
	if n := len(s.all(ownerChannel(alice), 0, 10)); n != 4 {
		s.Errorf("the feed has %d events, want 4", n)
	}
}

// gone checks that nothing of a request is left but in feeds.
func (s *suite) gone(id string) {
	s.Helper()
	if _, err := s.Get(s.ctx, lifecycle.Named(id)); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("get %s: %v", id, err)
	}
	if _, err := s.Apply(s.ctx, lifecycle.Named(id), lifecycle.Cancel{}); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("apply to %s: %v", id, err)
	}
	for _, part := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
		if _, err := s.Content(s.ctx, lifecycle.Named(id), part); !errors.Is(err, lifecycle.ErrNotFound) {
			s.Errorf("content of %s: %v", id, err)
		}
	}
	if h, err := s.Read(s.ctx, requestChannel(id), 0, 10); err != nil || h.Top != 0 || len(h.Messages) != 0 {
		s.Errorf("channel of %s: %d events, top %d, %v", id, len(h.Messages), h.Top, err)
	}
	if _, err := s.Reset(s.ctx, requestChannel(id)); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("reset of %s: %v", id, err)
	}
	page, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Limit: 1000})
	if err != nil {
		s.Error(err)
	}
	for _, r := range page.Requests {
		if r.ID == id {
			s.Errorf("%s is listed", id)
		}
	}
}

// pieces checks that a body can be read in parts of any length.
func (s *suite) pieces(of lifecycle.Ref, part lifecycle.Part, want []byte) {
	s.Helper()
	store, ok := s.Store.(lifecycle.Pieces)
	if !ok {
		s.Fatal("it reads no pieces")
	}
	for _, size := range []int{1, 300, 3900, 4096, 1 << 20} {
		for _, from := range []int{0, 1, 200, 3899, 3900, 8000, len(want) / 2, len(want) - 1, len(want), len(want) + 1} {
			if from < 0 {
				continue
			}
			p := make([]byte, size)
			n, err := store.ReadContent(s.ctx, of, part, p, int64(from))
			rest := want[min(from, len(want)):]
			if err != nil || !bytes.Equal(p[:n], rest[:min(size, len(rest))]) {
				s.Fatalf("%d bytes from %d on of %d: %d, %v", size, from, len(want), n, err)
			}
		}
	}
	for _, none := range []lifecycle.Ref{{ID: "unknown"}, {ID: of.ID, Life: "k3m9p2q4rz"}} {
		if n, err := store.ReadContent(s.ctx, none, part, make([]byte, 10), 0); n != 0 || !errors.Is(err, lifecycle.ErrNotFound) {
			s.Errorf("a piece of %v: %d, %v", none, n, err)
		}
	}
}
