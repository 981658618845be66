package backends

import (
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

// TestCallbackKey: a key is made of what is known of an event, and never longer than one may be.
func TestCallbackKey(t *testing.T) {
	e := &lifecycle.Event{Type: lifecycle.EventSucceeded, Request: lifecycle.Ref{ID: "a-1", Life: "k3m9p2q4rz"}, Route: "images", Topic: "orders.42"}
	for key, want := range map[CallbackKey]string{
		"": "orders.42", "{topic}": "orders.42", "client1": "client1", "hark.{route}.{type}": "hark.images.request.succeeded",
		"{id}": "a-1", "{topic}{topic}": "orders.42orders.42",
	} {
		if got := key.of(e); key.Check() != nil || got != want {
			t.Errorf("%s: %s, want %s, %v", key, got, want, key.Check())
		}
	}
	for key, want := range map[CallbackKey]string{
		"{owner}": "{owner} is not known", "{topic": "{topic is not known", "a}": "} is not known", CallbackKey(strings.Repeat("x", 256)): "256 bytes",
	} {
		if err := key.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", key, err)
		}
	}
	e.Topic = strings.Repeat("t", 200)
	if got := CallbackKey("é{topic}é{topic}").of(e); len(got) != 255 || !strings.HasPrefix(got, "é"+e.Topic+"é") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	e.Topic = strings.Repeat("t", 254)
	if got := CallbackKey("{topic}é").of(e); got != e.Topic {
		t.Errorf("half a letter is left: %q", got)
	}
}
