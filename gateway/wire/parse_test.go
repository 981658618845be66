package wire_test

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// told is what an event says of itself, beside what it says.
func told(e *lifecycle.Event) lifecycle.Event {
	told := *e
	told.State, told.Text = nil, nil
	return told
}

// equal reports whether events say the same of themselves.
func equal(a, b *lifecycle.Event) bool { return reflect.DeepEqual(told(a), told(b)) }

// TestParseEvent: of an event that was stored as clients get it the same is known as when it was
// made.
func TestParseEvent(t *testing.T) {
	r := sample()
	r.Result = &lifecycle.Result{Value: json.RawMessage(`{"a":"b","route":"r","subject":"s","time":"t"}`)}
	for i, topic := range []string{"", "order-42", ""} {
		if r.Topic = topic; i == 2 {
			r.Life, r.Route = "", "" // as a batch has none
		}
		for _, want := range []lifecycle.EventType{
			lifecycle.EventAccepted, lifecycle.EventStarted, lifecycle.EventProgress, lifecycle.EventRetrying, lifecycle.EventSucceeded,
			lifecycle.EventFailed, lifecycle.EventCanceled, lifecycle.EventExpired, lifecycle.EventReset,
		} {
			made := lifecycle.NewEvent(&r, want)
			if got, ok := codec.ParseEvent(wire.JSON(made)); !ok || !equal(got, made) || made.Type != want || made.Request != r.Ref() || made.Topic != topic {
				t.Errorf("%s: %+v %v, want %+v", want, got, ok, made)
			}
		}
	}
	text := string(wire.AppendEvent(nil, &r, lifecycle.EventProgress))
	for name, text := range map[string]string{
		"nothing":             "",
		"another event":       string(wire.JSON(lifecycle.FeedReset(lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "o"}, 3))),
		"another version":     strings.Replace(text, "1.0", "2.0", 1),
		"white space":         strings.Replace(text, ":", ": ", 1),
		"another source":      strings.Replace(text, "requests/r1", "requests/r2", 1),
		"longer source":       strings.Replace(text, "requests/r1", "requests/r11", 1),
		"no sequence":         strings.Replace(text, "r1/3", "r1/", 1),
		"a huge sequence":     strings.Replace(text, "r1/3", "r1/18446744073709551616", 1),
		"no life":             strings.Replace(text, "r1/3", "r1/012345678/3", 1),
		"another alphabet":    strings.Replace(text, "r1/3", "r1/012345678l/3", 1),
		"more than an id":     strings.Replace(text, "r1/3", "r1/3/4", 1),
		"no id":               strings.ReplaceAll(text, "r1", ""),
		"a quote in the id":   strings.ReplaceAll(text, "r1", `r\"1`),
		"an unknown type":     strings.Replace(text, "request.progress", "request.progressed", 1),
		"an escape":           strings.Replace(text, "request.progress", `request.progress\`, 1),
		"fields in a message": `{"message":` + text + `}`,
		"fields in the id":    `{"specversion":"1.0","id":"x","message":"` + text,
		"cut off":             text[:strings.Index(text, "progress")+8],
	} {
		if e, ok := codec.ParseEvent([]byte(text)); ok || !equal(e, new(lifecycle.Event)) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	r := sample()
	text := wire.AppendEvent(nil, &r, lifecycle.EventProgress)
	f.Add(text, "a message", "t")
	r.Life = ""
	f.Add(wire.AppendEvent(nil, &r, lifecycle.EventProgress), "", "")
	f.Add([]byte(`{"specversion":"1.0","id":"r1/3","source":"/v1/requests/r1","type":"request.progress",`), `","type":"request.progress",`, `","id":"r2/1`)
	f.Fuzz(func(t *testing.T, text []byte, message, topic string) {
		// Whatever the text is, it is taken only for what it begins with.
		if s, ok := codec.ParseEvent(text); ok {
			_, rest, _ := strings.Cut(string(text), `"id":"`+s.Request.String()+"/")
			sequence, rest, _ := strings.Cut(rest, `","source":"`)
			source, _, _ := strings.Cut(rest, `"`)
			want := `{"specversion":"1.0","id":"` + s.Request.String() + "/" + sequence + `","source":"` + source + `","type":"` + string(s.Type) + `",`
			if n, err := strconv.ParseUint(sequence, 10, 64); !strings.HasPrefix(string(text), want) || !strings.HasSuffix(source, "/"+s.Request.ID) || err != nil || n != s.Sequence {
				t.Errorf("%+v of %s", s, text)
			}
		}
		// Whatever a processor or a client says, an event is what it is.
		r := sample()
		r.Message, r.Step, r.Error = message, message, &lifecycle.Failure{Code: message, Message: message}
		if lifecycle.ValidTopic(topic) {
			r.Topic = topic
		}
		made := lifecycle.NewEvent(&r, lifecycle.EventStarted)
		if s, ok := codec.ParseEvent(wire.JSON(made)); !ok || !equal(s, made) {
			t.Errorf("%+v %v with %q, %q", s, ok, message, topic)
		}
	})
}

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := lifecycle.Request{ID: "r", Sequence: 3, Topic: `a`, Message: `","traceparent":"` + good}
	for value, want := range map[string]string{
		good: good, "": "", "00-1-2-01": "", good + "-x": "", "01" + good[2:]: "", strings.ToUpper(good): "", good[:54] + `"`: "",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": "", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": "",
	} {
		r.Headers = map[string]string{"Traceparent": value}
		event := lifecycle.NewEvent(&r, lifecycle.EventProgress)
		if parsed, ok := codec.ParseEvent(wire.JSON(event)); !ok || !equal(parsed, event) || event.Trace != want || r.Traceparent() != want {
			t.Errorf("%q: %+v in the event, %q in the request", value, parsed, r.Traceparent())
		}
		var members map[string]any
		if err := json.Unmarshal(wire.JSON(event), &members); err != nil || members["traceparent"] != any(want) && (want != "" || members["traceparent"] != nil) {
			t.Errorf("%q: %s (%v)", value, wire.JSON(event), err)
		}
	}
	for _, text := range []string{"", "{}", `{"specversion":"1.0","id":"`, `{"specversion":"1.0","id":"r/1","source":"/v1/requests/r","type":"x`} {
		if e, ok := codec.ParseEvent([]byte(text)); ok || e.Trace != "" {
			t.Errorf("%q: %+v", text, e)
		}
	}
}

// TestParseOldEvent: an event that a version before has stored, byte for byte, is read, and told as
// it stands.
func TestParseOldEvent(t *testing.T) {
	const text = `{"specversion":"1.0","id":"r1/0123456789/3","source":"/v1/requests/r1","type":"request.progress",` +
		`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","subject":"order-42","time":"2026-01-02T03:04:09.006Z",` +
		`"sequence":"0000000003","datacontenttype":"application/json","data":{"id":"r1","life":"0123456789","status":"processing","route":"images"}}`
	want := lifecycle.Event{
		Type: lifecycle.EventProgress, Request: lifecycle.Ref{ID: "r1", Life: "0123456789"}, Sequence: 3, Route: "images", Topic: "order-42",
		Time: sample().UpdatedAt, Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Text: []byte(text),
	}
	if e, ok := codec.ParseEvent([]byte(text)); !ok || !reflect.DeepEqual(*e, want) || string(wire.JSON(e)) != text {
		t.Errorf("%+v, want %+v", e, want)
	}
}
