package dispatch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/store/codec"
)

// FuzzRetryAfter: whatever an answer says, nobody waits longer than is allowed, or for less than
// nothing.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"120", "99999999999999999999", "Fri, 31 Dec 1999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT", "-1", ""} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if d := retryAfter(value, now); d < 0 || d > maxRetryAfter {
			t.Errorf("%q is %v", value, d)
		}
	})
}

// FuzzQuiet: an error about a call to a URL is told without its query and its user, whatever they
// are.
func FuzzQuiet(f *testing.F) {
	f.Add("https", "example.org", "/hook", "token=s3cret")
	f.Add("http", "example.org:8080", "/a b", "s3cret&x=%zz")
	f.Fuzz(func(t *testing.T, scheme, host, path, query string) {
		u := url.URL{Scheme: scheme, Host: host, Path: path, RawQuery: query}
		text := u.String()
		if back, err := url.Parse(text); err != nil || back.Host != host || back.Scheme == "" || len(query) < 6 || back.RawQuery != query || strings.Contains(scheme+host+path+"parse wrapped tcp", query) {
			return
		}
		for _, err := range []error{&url.Error{Op: "Post", URL: text, Err: errors.New("wrapped: " + text)}, fmt.Errorf("parse %q: wrong", text)} {
			if said := quiet(err, text).Error(); strings.Contains(said, query) {
				t.Errorf("%q says %q", text, said)
			}
			if !errors.Is(quiet(err, text), err) {
				t.Error("the error is lost")
			}
		}
	})
}

// FuzzHeaders: headers that are taken can be sent.
func FuzzHeaders(f *testing.F) {
	f.Add("X-Token", "a")
	f.Add("Host", "a")
	f.Add("webhook-id", "\r\nX: y")
	f.Fuzz(func(t *testing.T, name, value string) {
		if checkHeaders(map[string]string{name: value}) != nil {
			return
		}
		var head strings.Builder
		h := make(http.Header)
		h.Set(name, value)
		if err := h.Write(&head); err != nil || strings.Count(head.String(), "\n") != 1 {
			t.Errorf("%q: %q is sent as %q", name, value, head.String())
		}
	})
}

// FuzzFilters: a filter that is taken is one that something may pass.
func FuzzFilters(f *testing.F) {
	f.Add("request.succeeded", "images", "order-*")
	f.Add("", "", "*")
	f.Fuzz(func(t *testing.T, eventType, route, topic string) {
		e := Endpoint{Status: Active, Types: []string{eventType}, Routes: []string{route}, Topics: []string{topic}}
		if checkFilters(&e) == nil && !e.Wants(eventType, route, strings.TrimSuffix(topic, "*")) {
			t.Errorf("nothing passes %q %q %q", eventType, route, topic)
		}
	})
}

// FuzzRecovered: whatever stands in a feed, only an event of a request that says whose it is
// becomes a delivery.
func FuzzRecovered(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"a/1","source":"/v1/requests/a","type":"request.succeeded","time":"2026-01-01T00:00:00Z","sequence":"0000000001","data":{"id":"a","route":"default"}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		event, _ := codec.ParseEvent(body)
		if m, ok := wanted(&Endpoint{Status: Active}, event, time.Time{}); ok && (m.ID == "" || m.Lane == "" && !strings.Contains(m.ID, "_")) {
			t.Errorf("%q became %+v", body, m)
		}
	})
}
