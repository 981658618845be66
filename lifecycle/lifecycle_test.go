package lifecycle_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
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

func TestDocumentAndEvent(t *testing.T) {
	r := sample()
	var e struct {
		SpecVersion, ID, Source, Type, Subject, Time, Sequence, DataContentType string
		Data                                                                    map[string]any
	}
	text := lifecycle.AppendEvent(nil, &r, lifecycle.EventProgress)
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if strings.ContainsAny(string(text), "\n\r") {
		t.Errorf("an event is one line: %s", text)
	}
	if e.ID != "r1/0123456789/3" || e.ID != lifecycle.EventID(r.Ref(), 3) || e.Source != "/v1/requests/r1" || e.Type != "request.progress" || e.Subject != "order-42" || e.Sequence != "0000000003" || e.Time != "2026-01-02T03:04:09.006Z" {
		t.Errorf("%+v", e)
	}
	for key, want := range map[string]any{
		"id": "r1", "status": "processing", "percent": 40.0, "message": r.Message, "eta": "2026-01-02T03:04:15.006Z", "position": nil, "error": nil, "result": nil, "endedAt": nil,
	} {
		if got, ok := e.Data[key]; !ok || got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	r.Error = &lifecycle.Failure{Code: "c", Message: "m", Detail: "d", Trace: "goroutine 1"}
	if text := lifecycle.AppendDocument(nil, &r, lifecycle.View{}); strings.Contains(string(text), "goroutine") {
		t.Errorf("a trace is for those only who may see it: %s", text)
	}
	if text := lifecycle.AppendDocument(nil, &r, lifecycle.View{Trace: true}); !strings.Contains(string(text), "goroutine") {
		t.Errorf("no trace: %s", text)
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

// told is what an event says of itself, without its JSON.
func told(e *lifecycle.Event) lifecycle.Event {
	told := *e
	told.JSON = nil
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
			made := lifecycle.NewEvent(nil, &r, want)
			if got, ok := lifecycle.ParseEvent(made.JSON); !ok || !equal(got, made) || made.Type != want || made.Request != r.Ref() || made.Topic != topic {
				t.Errorf("%s: %+v %v, want %+v", want, got, ok, made)
			}
		}
	}
	text := string(lifecycle.AppendEvent(nil, &r, lifecycle.EventProgress))
	for name, text := range map[string]string{
		"nothing":             "",
		"another event":       string(lifecycle.FeedReset(lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "o"}, 3).JSON),
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
		if e, ok := lifecycle.ParseEvent([]byte(text)); ok || !equal(e, new(lifecycle.Event)) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	r := sample()
	text := lifecycle.AppendEvent(nil, &r, lifecycle.EventProgress)
	f.Add(text, "a message", "t")
	r.Life = ""
	f.Add(lifecycle.AppendEvent(nil, &r, lifecycle.EventProgress), "", "")
	f.Add([]byte(`{"specversion":"1.0","id":"r1/3","source":"/v1/requests/r1","type":"request.progress",`), `","type":"request.progress",`, `","id":"r2/1`)
	f.Fuzz(func(t *testing.T, text []byte, message, topic string) {
		// Whatever the text is, it is taken only for what it begins with.
		if s, ok := lifecycle.ParseEvent(text); ok {
			_, rest, _ := strings.Cut(string(text), `"id":"`+s.Request.String()+"/")
			sequence, _, _ := strings.Cut(rest, `"`)
			want := `{"specversion":"1.0","id":"` + s.Request.String() + "/" + sequence + `","source":"/v1/requests/` + s.Request.ID + `","type":"` + string(s.Type) + `",`
			if n, err := strconv.ParseUint(sequence, 10, 64); !strings.HasPrefix(string(text), want) || err != nil || n != s.Sequence {
				t.Errorf("%+v of %s", s, text)
			}
		}
		// Whatever a processor or a client says, an event is what it is.
		r := sample()
		r.Message, r.Step, r.Error = message, message, &lifecycle.Failure{Code: message, Message: message}
		if lifecycle.ValidTopic(topic) {
			r.Topic = topic
		}
		made := lifecycle.NewEvent(nil, &r, lifecycle.EventStarted)
		if s, ok := lifecycle.ParseEvent(made.JSON); !ok || !equal(s, made) {
			t.Errorf("%+v %v with %q, %q", s, ok, message, topic)
		}
	})
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

func BenchmarkAppendEvent(b *testing.B) {
	r := sample()
	r.Message = "an ordinary message"
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = lifecycle.AppendEvent(dst[:0], &r, lifecycle.EventProgress)
	}
	b.SetBytes(int64(len(dst)))
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

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := lifecycle.Request{ID: "r", Sequence: 3, Topic: `a`, Message: `","traceparent":"` + good}
	for value, want := range map[string]string{
		good: good, "": "", "00-1-2-01": "", good + "-x": "", "01" + good[2:]: "", strings.ToUpper(good): "", good[:54] + `"`: "",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": "", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": "",
	} {
		r.Headers = map[string]string{"Traceparent": value}
		event := lifecycle.NewEvent(nil, &r, lifecycle.EventProgress)
		if parsed, ok := lifecycle.ParseEvent(event.JSON); !ok || !equal(parsed, event) || event.Trace != want || r.Traceparent() != want {
			t.Errorf("%q: %+v in the event, %q in the request", value, parsed, r.Traceparent())
		}
		var members map[string]any
		if err := json.Unmarshal(event.JSON, &members); err != nil || members["traceparent"] != any(want) && (want != "" || members["traceparent"] != nil) {
			t.Errorf("%q: %s (%v)", value, event.JSON, err)
		}
	}
	for _, text := range []string{"", "{}", `{"specversion":"1.0","id":"`, `{"specversion":"1.0","id":"r/1","source":"/v1/requests/r","type":"x`} {
		if e, ok := lifecycle.ParseEvent([]byte(text)); ok || e.Trace != "" {
			t.Errorf("%q: %+v", text, e)
		}
	}
}
