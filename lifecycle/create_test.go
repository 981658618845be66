package lifecycle_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// full is a submission in which nothing is left out.
func full() lifecycle.Submission {
	return lifecycle.Submission{
		ID: "r1", Life: "0123456789", Owner: "o", Route: "images", Topic: "order-42", Priority: 7, Delay: time.Minute, Timeout: time.Hour,
		Retention: 2 * time.Hour, MaxAttempts: 5, RetryDelay: time.Second, Content: lifecycle.Content{Type: "text/plain", Data: []byte("hello")},
		Call: &lifecycle.Call{Method: "PUT", Path: "/x"}, Headers: map[string]string{"Traceparent": "00"}, Webhook: &lifecycle.Webhook{Endpoint: "e"},
		Fingerprint: "f", Quota: lifecycle.Quota{Open: 1}, Room: lifecycle.Room{Most: 1}, CountWaiting: true,
		Concurrency: lifecycle.Concurrency{Key: "customer-7", Limit: 2, Route: 3}, Batch: &lifecycle.Batch{Total: 2}, BatchID: "b", BatchLife: "9876543210", Member: 3,
		Key: "k", KeyLock: time.Minute, Join: true,
	}
}

// TestNewRequest: whatever a submission says is in the request, but for what is about the step that
// stores it.
func TestNewRequest(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	sub := full()
	accepted := lifecycle.NewRequest(&sub, now)
	r := accepted.Request
	if accepted.Event != lifecycle.EventAccepted || !accepted.Changed || accepted.Asked {
		t.Errorf("%+v", accepted)
	}
	if r.Status != lifecycle.Pending || r.Sequence != 1 || r.Attempt != 0 || !r.Counted || !r.CreatedAt.Equal(now) || !r.UpdatedAt.Equal(now) ||
		!r.NotBefore.Equal(now.Add(time.Minute)) || !r.ExpiresAt.Equal(now.Add(time.Hour)) || r.Retention != 2*time.Hour ||
		r.Input != (lifecycle.ContentInfo{Type: "text/plain", Size: 5}) || r.Ref() != (lifecycle.Ref{ID: "r1", Life: "0123456789"}) {
		t.Errorf("%+v", r)
	}
	for field := range reflect.TypeFor[lifecycle.Submission]().Fields() {
		less := full()
		value := reflect.ValueOf(&less).Elem().FieldByIndex(field.Index)
		if value.IsZero() {
			t.Errorf("%s is left out in the submission of the test", field.Name)
		}
		value.SetZero()
		ofTheStep := field.Name == "Quota" || field.Name == "Room" || field.Name == "KeyLock" || field.Name == "Join"
		if same := reflect.DeepEqual(lifecycle.NewRequest(&less, now), accepted); same != ofTheStep {
			t.Errorf("without %s it is the same: %v", field.Name, same)
		}
	}
	// What the caller does with its own afterwards is no matter.
	sub.Headers["Traceparent"], sub.Call.Path = "changed", "changed"
	if r.Headers["Traceparent"] != "00" || r.Call.Path != "/x" {
		t.Errorf("%+v", r)
	}
}

// TestMatch: who wins an id or an idempotency key.
func TestMatch(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	sub := lifecycle.Submission{ID: "mine", Owner: "o", Fingerprint: "f", Key: "k"}
	join := sub
	join.Join = true
	request := func(id, owner, fingerprint string) *lifecycle.Request {
		return &lifecycle.Request{ID: id, Owner: owner, Fingerprint: fingerprint}
	}
	reply := &lifecycle.Reply{Status: 202}
	key := func(fingerprint string, until time.Time, reply *lifecycle.Reply) *lifecycle.KeyUse {
		return &lifecycle.KeyUse{Request: lifecycle.Ref{ID: "first"}, Fingerprint: fingerprint, LockedUntil: until, Reply: reply}
	}
	locked, passed := now.Add(time.Minute), now
	first, same, other := request("first", "o", "f"), request("mine", "o", "f"), request("mine", "o", "another")
	for _, c := range []struct {
		name  string
		sub   lifecycle.Submission
		found lifecycle.Found
		match lifecycle.Match
		want  lifecycle.Created
		err   error
	}{
		{name: "nothing is there", sub: sub},
		{name: "the same id", sub: sub, found: lifecycle.Found{Request: same}, match: lifecycle.IDMatch, want: lifecycle.Created{Request: *same, Existed: true}},
		{name: "the id of another body", sub: sub, found: lifecycle.Found{Request: other}, err: lifecycle.ErrIDTaken},
		{name: "the id of another owner", sub: sub, found: lifecycle.Found{Request: request("mine", "p", "f")}, err: lifecycle.ErrIDTaken},

		{name: "a key in progress", sub: sub, found: lifecycle.Found{Key: key("f", locked, nil), Named: first}, err: lifecycle.ErrKeyInProgress},
		{
			name: "a key in progress, joined", sub: join, found: lifecycle.Found{Key: key("f", locked, nil), Named: first},
			match: lifecycle.KeyMatch, want: lifecycle.Created{Request: *first, Existed: true, Joined: true},
		},
		{name: "a key in progress, joined before its request is there", sub: join, found: lifecycle.Found{Key: key("f", locked, nil)}, err: lifecycle.ErrKeyInProgress},
		{
			name: "a key that was answered", sub: join, found: lifecycle.Found{Key: key("f", locked, reply), Named: first},
			match: lifecycle.KeyMatch, want: lifecycle.Created{Request: *first, Existed: true, Reply: reply},
		},
		{
			name: "a key whose lock has passed", sub: sub, found: lifecycle.Found{Key: key("f", passed, nil), Named: first},
			match: lifecycle.KeyMatch, want: lifecycle.Created{Request: *first, Existed: true},
		},
		{name: "a key of another body", sub: sub, found: lifecycle.Found{Key: key("another", passed, reply), Named: first}, err: lifecycle.ErrKeyReused},
		{name: "a key of another body, in progress", sub: join, found: lifecycle.Found{Key: key("another", locked, nil)}, err: lifecycle.ErrKeyReused},

		{name: "a key whose request never came to be", sub: sub, found: lifecycle.Found{Key: key("f", passed, nil)}},
		{name: "a key whose request was forgotten", sub: sub, found: lifecycle.Found{Key: key("another", locked, reply)}},
		{
			name: "a key that is free, and the same id", sub: sub, found: lifecycle.Found{Key: key("f", passed, nil), Request: same},
			match: lifecycle.IDMatch, want: lifecycle.Created{Request: *same, Existed: true},
		},
		{name: "a key that is free, and the id of another", sub: sub, found: lifecycle.Found{Key: key("f", passed, nil), Request: other}, err: lifecycle.ErrIDTaken},
		{
			name: "a key goes before the id", sub: sub, found: lifecycle.Found{Key: key("f", passed, nil), Named: first, Request: other},
			match: lifecycle.KeyMatch, want: lifecycle.Created{Request: *first, Existed: true},
		},
	} {
		got, match, err := c.sub.Match(c.found, now)
		if !errors.Is(err, c.err) || match != c.match || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v by %d, %v; want %+v by %d, %v", c.name, got, match, err, c.want, c.match, c.err)
		}
	}
}
