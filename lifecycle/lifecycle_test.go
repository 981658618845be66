package lifecycle_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

func sample() lifecycle.Request {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	return lifecycle.Request{
		ID: "r1", Life: "0123456789", Owner: "o", Route: "images", Topic: "order-42", Status: lifecycle.Processing, Step: "resizing", Percent: new(40.0),
		Message: "quotes \" <and> ünïcode \n lines", Attempt: 1, MaxAttempts: 3, Sequence: 3,
		CreatedAt: at, UpdatedAt: at.Add(4 * time.Second), StartedAt: at, ExpiresAt: at.Add(time.Hour), Retention: time.Hour,
	}
}

func TestResultInlining(t *testing.T) {
	for name, c := range map[string]struct {
		content lifecycle.Content
		value   string
	}{
		"JSON":      {lifecycle.Content{Type: "application/json", Data: []byte("{\n \"a\": 1.0 }")}, `{"a":1.0}`},
		"+json":     {lifecycle.Content{Type: "application/vnd.x+json; charset=utf-8", Data: []byte("[1]")}, `[1]`},
		"text":      {lifecycle.Content{Type: "text/plain", Data: []byte("1")}, ""},
		"no JSON":   {lifecycle.Content{Type: "application/json", Data: []byte("{")}, ""},
		"not UTF-8": {lifecycle.Content{Type: "application/json", Data: []byte("\"\xff\"")}, ""},
		"empty":     {lifecycle.Content{Type: "application/json"}, ""},
		"large":     {lifecycle.Content{Type: "application/json", Data: []byte(`"` + strings.Repeat("x", lifecycle.InlineLimit-1) + `"`)}, ""},
		"just fits": {lifecycle.Content{Type: "application/json", Data: []byte(`"` + strings.Repeat("x", lifecycle.InlineLimit-2) + `"`)}, `"` + strings.Repeat("x", lifecycle.InlineLimit-2) + `"`},
	} {
		effect, err := lifecycle.Transition(sample(), lifecycle.Succeed{Result: &c.content}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if result := effect.Request.Result; string(result.Value) != c.value || result.Size != int64(len(c.content.Data)) {
			t.Errorf("%s: %q", name, result.Value)
		}
	}
}

func TestTransitionLeavesItsArgumentAlone(t *testing.T) {
	r := sample()
	before, _ := json.Marshal(r)
	for _, change := range []lifecycle.Change{
		lifecycle.Progress{Percent: new(90.0), Extend: time.Hour}, lifecycle.Succeed{}, lifecycle.Fail{Retry: true}, lifecycle.Cancel{}, lifecycle.Release{}, lifecycle.Start{Redelivered: true},
	} {
		if _, err := lifecycle.Transition(r, change, time.Now()); err != nil {
			t.Errorf("%T: %v", change, err)
		}
	}
	if after, _ := json.Marshal(r); string(after) != string(before) {
		t.Errorf("changed:\n%s\n%s", before, after)
	}
	effect, _ := lifecycle.Transition(r, lifecycle.Progress{Percent: new(math.NaN())}, time.Now())
	if percent := *effect.Request.Percent; percent != 40 {
		t.Errorf("NaN became %v", percent)
	}
	_, err := lifecycle.Transition(r, lifecycle.Expire{}, r.ExpiresAt.Add(-1))
	if e, ok := errors.AsType[*lifecycle.TransitionError](err); !ok || e.Reason != lifecycle.ReasonEarly {
		t.Errorf("%v", err)
	}
}

func FuzzChannel(f *testing.F) {
	for _, name := range []string{"request:a", "topic:a:b", "owner:x", "owner", "owner:", "request:", "topic:\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c, err := lifecycle.ParseChannel(name, "me")
		if err != nil {
			return
		}
		again, err := lifecycle.ParseKey(c.Key())
		if err != nil || again != c {
			t.Errorf("%q: %+v has key %q, which is %+v, %v", name, c, c.Key(), again, err)
		}
		if c.Kind == lifecycle.TopicChannel && c.Owner != "me" {
			t.Errorf("%q: somebody else's topic", name)
		}
	})
}

func BenchmarkTransition(b *testing.B) {
	r := sample()
	change := lifecycle.Progress{Percent: new(50.0)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := lifecycle.Transition(r, change, r.UpdatedAt); err != nil {
			b.Fatal(err)
		}
	}
}
