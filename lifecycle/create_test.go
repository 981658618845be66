package lifecycle_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// full is a submission in which nothing is left out.
func full() lifecycle.Submission {
	return lifecycle.Submission{
		ID: "r1", Life: "0123456789", Owner: "o", Route: "images", Topic: "order-42", Priority: 7, Delay: time.Minute, Timeout: time.Hour,
		Retention: 2 * time.Hour, MaxAttempts: 5, Content: lifecycle.Content{Type: "text/plain", Data: []byte("hello")},
		Call: &lifecycle.Call{Method: "PUT", Path: "/x"}, Headers: map[string]string{"Traceparent": "00"}, Webhook: &lifecycle.Webhook{Endpoint: "e"},
		Fingerprint: "f", Quota: lifecycle.Quota{Open: 1}, Batch: &lifecycle.Batch{Total: 2}, BatchID: "b", BatchLife: "9876543210", Member: 3,
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
		ofTheStep := field.Name == "Quota" || field.Name == "KeyLock" || field.Name == "Join"
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
