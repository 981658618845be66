package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// handedOver is a queue that tells of what it is given.
type handedOver chan lifecycle.Request

func (q handedOver) Ready(context.Context) error { return nil }
func (q handedOver) Discard(lifecycle.Request)   {}

func (q handedOver) Enqueue(_ context.Context, r lifecycle.Request) error {
	q <- r
	return nil
}

func refusedFor(t *testing.T, what string, err error, want lifecycle.Reason) {
	t.Helper()
	if refusal, ok := errors.AsType[*lifecycle.TransitionError](err); !ok || refusal.Reason != want {
		t.Errorf("%s: %v, want a refusal: %s", what, err, want)
	}
}

func question(name, preset string) lifecycle.Ask {
	a := lifecycle.Ask{Attempt: 1, Question: lifecycle.Question{Name: name, Message: "So?"}}
	if preset != "" {
		a.Question.Default = json.RawMessage(preset)
	}
	return a
}

// TestAsk: what is asked is answered once, by whoever may cancel the request, and whoever works on
// it gets all answers; the queue gets the request with each.
func TestAsk(t *testing.T) {
	q := make(handedOver, 10)
	s, store := newService(t, q)
	defer s.Close()
	ctx := t.Context()
	if _, err := s.Submit(ctx, client, lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f"}); err != nil {
		t.Fatal(err)
	}
	<-q
	start := func(want string) {
		t.Helper()
		r, _, err := s.Start(ctx, a, lifecycle.Start{})
		if err != nil || r.Attempt != 1 || string(r.Given) != want {
			t.Fatalf("%+v, %v; given %s, want %s", r, err, r.Given, want)
		}
		if again, _, err := s.Running(ctx, a, 1, nil); err != nil || string(again.Given) != want {
			t.Errorf("running: %s, %v", again.Given, err)
		}
	}
	asks := func(c lifecycle.Ask) lifecycle.Request {
		t.Helper()
		r, err := s.Report(ctx, a, c)
		if err != nil || r.Status != lifecycle.Waiting {
			t.Fatalf("%+v, %v", r, err)
		}
		return r
	}
	answers := func(name, value string) error {
		_, err := s.Answer(ctx, client, a, name, json.RawMessage(value))
		return err
	}
	refusedFor(t, "nothing was asked", answers("", "1"), lifecycle.ReasonQuestion)
	start("")
	refusedFor(t, "nothing is asked", answers("", "1"), lifecycle.ReasonQuestion)
	first := question("first", "")
	first.Question.Schema = json.RawMessage("{\n \"type\": \"integer\"\n}")
	r := asks(first)
	if string(r.Question.Schema) != `{"type":"integer"}` || r.ExpiresAt.Sub(r.UpdatedAt) != time.Hour {
		t.Errorf("%+v", r)
	}
	if again := asks(first); again.Sequence != r.Sequence {
		t.Errorf("the same again: %+v", again)
	}
	other := lifecycle.Principal{Subject: "other"}
	if _, err := s.Answer(ctx, other, a, "", json.RawMessage("1")); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("somebody else's answer: %v", err)
	}
	for _, bad := range []string{"", "{", "1 2", "\"\xff\"", `"` + strings.Repeat("x", lifecycle.MaxAnswer) + `"`} {
		if err := answers("", bad); !errors.Is(err, lifecycle.ErrAnswer) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	refusedFor(t, "another question", answers("second", "1"), lifecycle.ReasonQuestion)
	if err := answers("first", " {\"n\": 1.0, \"x\": \"<\"} "); err != nil || len(q) != 1 {
		t.Fatalf("%v, queued %d times", err, len(q))
	}
	if r := <-q; r.Status != lifecycle.Pending || !r.Resumes {
		t.Errorf("queued: %+v", r)
	}
	refusedFor(t, "a second answer", answers("first", "1"), lifecycle.ReasonAnswered)
	refusedFor(t, "a second answer, to whatever it asks", answers("", "1"), lifecycle.ReasonAnswered)
	start(`{"first":{"n":1.0,"x":"<"}}`)
	refusedFor(t, "a second answer, later", answers("first", "1"), lifecycle.ReasonAnswered)
	_, err := s.Report(ctx, a, first)
	refusedFor(t, "what was answered", err, lifecycle.ReasonAnswered)

	// A default is none of the answers until it is taken, and the answer takes its place.
	asks(question("second", `"long default"`))
	refusedFor(t, "an answer to the first", answers("first", "1"), lifecycle.ReasonAnswered)
	if err := answers("", "2"); err != nil {
		t.Fatal(err)
	}
	<-q
	start(`{"first":{"n":1.0,"x":"<"},"second":2}`)
	late := question("third", "3")
	late.Timeout = time.Millisecond
	asks(late)
	for done := 0; done == 0; {
		swept, err := store.Sweep(ctx, 10)
		if err != nil {
			t.Fatal(err)
		}
		done = swept.Done
		s.Swept(swept.Ended)
	}
	if r := <-q; r.Status != lifecycle.Pending || !r.Resumes {
		t.Errorf("queued with the default: %+v", r)
	}
	start(`{"first":{"n":1.0,"x":"<"},"second":2,"third":3}`)
	for _, bad := range []lifecycle.Question{
		{Message: "x"},
		{Name: "a b", Message: "x"},
		{Name: "x"},
		{Name: "x", Message: "x", Schema: json.RawMessage("{")},
		{Name: "x", Message: "x", Default: json.RawMessage("")},
		{Name: "x", Message: strings.Repeat("x", lifecycle.MaxQuestion+1)},
	} {
		if _, err := s.Report(ctx, a, lifecycle.Ask{Attempt: 1, Question: bad}); !errors.Is(err, lifecycle.ErrQuestion) {
			t.Errorf("%.100v: %v", bad, err)
		}
	}
	if r, err := s.Report(ctx, a, lifecycle.Succeed{Attempt: 1}); err != nil || r.Status != lifecycle.Succeeded {
		t.Fatal(r, err)
	}
	refusedFor(t, "it has ended", answers("third", "1"), lifecycle.ReasonEnded)
}

// TestAskTooMuch: a request that asks without end fails, and says why.
func TestAskTooMuch(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		most int
	}{"often": {1, 100}, "large answers": {60 << 10, 3}} {
		t.Run(name, func(t *testing.T) {
			q := make(handedOver, 10)
			s, _ := newService(t, q)
			defer s.Close()
			if _, err := s.Submit(t.Context(), client, lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f"}); err != nil {
				t.Fatal(err)
			}
			value := json.RawMessage(`"` + strings.Repeat("x", c.size) + `"`)
			for n := 0; ; n++ {
				<-q
				if _, _, err := s.Start(t.Context(), a, lifecycle.Start{}); err != nil {
					t.Fatal(err)
				}
				r, err := s.Report(t.Context(), a, question(fmt.Sprint("q", n), ""))
				if err != nil {
					t.Fatal(err)
				}
				if r.Status == lifecycle.Failed {
					if r.Error.Code != lifecycle.CodeTooManyQuestions || n != c.most {
						t.Errorf("after %d questions: %+v", n, r.Error)
					}
					return
				}
				if _, err := s.Answer(t.Context(), client, a, "", value); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestAskTellsTheBatch: a batch runs out of time after its members, also when one of them waits for
// longer than it had.
func TestAskTellsTheBatch(t *testing.T) {
	q := make(handedOver, 10)
	s, store := newService(t, q)
	defer s.Close()
	all := members(1)
	all[0].ID, all[0].Timeout = "a", time.Minute
	created, err := s.Batches().Submit(t.Context(), client, batch("b"), all, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-q
	if _, _, err := s.Start(t.Context(), a, lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Report(t.Context(), a, question("q", "")); err != nil { // for an hour
		t.Fatal(err)
	}
	for {
		b, err := store.Get(t.Context(), created.Request.Ref())
		if err != nil {
			t.Fatal(err)
		}
		if b.Status.Terminal() {
			t.Fatalf("%+v", b)
		}
		if b.ExpiresAt.Sub(b.CreatedAt) > 50*time.Minute {
			return
		}
	}
}
