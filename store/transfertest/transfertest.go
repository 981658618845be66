// Package transfertest is the suite that every driver passes which takes exports in.
package transfertest

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/transfer"
)

// wrong is an export in which the first line of a kind is another.
type wrong struct {
	name   string
	kind   transfer.Kind
	change func(*transfer.Line) // nil: the line comes twice
	says   string
}

// Imports holds that a driver takes nothing of an export that no gateway can have written, though
// its count and its sum are right. Of what it is given, export has a request with events first, and
// an endpoint with a delivery, and of streams one with bytes that is no fork. take imports, and holds that nothing is left.
func Imports(t *testing.T, export string, take func(*testing.T, iter.Seq2[transfer.Line, error]) error) {
	t.Helper()
	find := func(t *testing.T, lines []transfer.Line, kind transfer.Kind) int {
		t.Helper()
		at := slices.IndexFunc(lines, func(l transfer.Line) bool { return l.Kind == kind })
		if at < 0 {
			t.Fatalf("no line of kind %s", kind)
		}
		return at
	}
	request := func(change func(*lifecycle.Request)) func(*transfer.Line) {
		return func(l *transfer.Line) {
			r := lifecycle.Request(*l.Request)
			change(&r)
			l.Request = (*transfer.Record)(&r)
		}
	}
	for _, c := range append(wrongStreams(), []wrong{
		{"a request twice", transfer.Request, nil, "twice"},
		{"a content twice", transfer.Content, nil, "twice"},
		{"an event twice", transfer.Event, nil, "does not follow"},
		{"a key twice", transfer.Key, nil, "twice"},
		{"a feed twice", transfer.Feed, nil, "twice"},
		{"an endpoint twice", transfer.Endpoint, nil, "twice"},
		{"a delivery twice", transfer.Delivery, nil, "twice"},
		{"a kept value twice", transfer.Kept, nil, "twice"},
		{"an id", transfer.Request, request(func(r *lifecycle.Request) { r.ID = "../x y" }), `an id that there cannot be: "../x y"`},
		{"a life", transfer.Request, request(func(r *lifecycle.Request) { r.Life = "x/y" }), "a life that"},
		{"an owner", transfer.Request, request(func(r *lifecycle.Request) { r.Owner = "a\x00b" }), "an owner that"},
		{"a route", transfer.Request, request(func(r *lifecycle.Request) { r.Route = "a b" }), "a route that"},
		{"a topic", transfer.Request, request(func(r *lifecycle.Request) { r.Topic = "#" }), "a topic that"},
		{"a status", transfer.Request, request(func(r *lifecycle.Request) { r.Status = "gone" }), "the record is damaged"},
		{"a question", transfer.Request, request(func(r *lifecycle.Request) { r.Question = new(lifecycle.Question) }), "a question that"},
		{"a priority", transfer.Request, request(func(r *lifecycle.Request) { r.Priority = 10 }), "a priority that"},
		{"a batch", transfer.Request, request(func(r *lifecycle.Request) { r.BatchID = "b c" }), "an id of a batch that"},
		{"what follows a batch", transfer.Request, request(func(r *lifecycle.Request) { r.Batch = &lifecycle.Batch{Total: 1, Then: "b c"} }), "an id of what follows a batch that"},
		{"a webhook", transfer.Request, request(func(r *lifecycle.Request) {
			r.Webhook = &lifecycle.Webhook{Endpoint: "a/b"}
		}), "an id of a webhook endpoint that"},
		{"an event", transfer.Event, func(l *transfer.Line) { l.Event = "{" }, "no JSON"},
		{"a key of no request", transfer.Key, func(l *transfer.Line) { l.ID = "a b" }, "an id of a request that"},
		{"a feed of no owner", transfer.Feed, func(l *transfer.Line) { l.Channel = "owner:" }, "a channel that"},
		{"a feed of a request", transfer.Feed, func(l *transfer.Line) { l.Channel = "request:a" }, "a channel that"},
		{"an endpoint's id", transfer.Endpoint, func(l *transfer.Line) {
			e := *l.Endpoint
			e.ID, l.Endpoint = "a:b", &e
		}, "an id that"},
		{"an endpoint's URL", transfer.Endpoint, func(l *transfer.Line) {
			e := *l.Endpoint
			e.URL, l.Endpoint = "file:///etc/passwd", &e
		}, "a URL that"},
		{"a delivery's id", transfer.Delivery, func(l *transfer.Line) {
			m := *l.Delivery
			m.ID, l.Delivery = "a b", &m
		}, "an id that"},
		{"a delivery's state", transfer.Delivery, func(l *transfer.Line) {
			m := *l.Delivery
			m.State, l.Delivery = "lost", &m
		}, "a state that"},
		{"a kept name", transfer.Kept, func(l *transfer.Line) { l.ID = "usage\x00alice" }, "a name that"},
	}...) {
		t.Run("import of "+c.name, func(t *testing.T) {
			var lines []transfer.Line
			for l, err := range transfer.Read(strings.NewReader(export), nil) {
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, l)
			}
			at := find(t, lines, c.kind)
			if c.change == nil {
				lines = slices.Insert(lines, at, lines[at])
			} else {
				c.change(&lines[at])
			}
			var made strings.Builder
			if _, err := transfer.Write(&made, source(lines), nil, nil); err != nil {
				t.Fatal(err)
			}
			if err := take(t, transfer.Read(strings.NewReader(made.String()), nil)); err == nil ||
				!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "line ") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// source is an export that was read.
type source []transfer.Line

func (s source) Export(emit func(transfer.Line) error, _ func(error)) error {
	for _, l := range s {
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}
