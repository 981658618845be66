package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

// thin returns an event as a channel tells it.
func thin(e *lifecycle.Event, channel string) string {
	return string(wire.Thinner(e).AppendThin(nil, channel))
}

// TestThin: what events of each type say in thin form, in each kind of channel.
func TestThin(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	base := lifecycle.Request{
		ID: "r1", Life: "0123456789", Owner: "o", Route: "images", Topic: "t", Status: lifecycle.Processing, Attempt: 1, Sequence: 3,
		CreatedAt: at, UpdatedAt: at.Add(4 * time.Second), StartedAt: at, ExpiresAt: at.Add(time.Hour),
	}
	with := func(change func(r *lifecycle.Request)) lifecycle.Request {
		r := base
		change(&r)
		return r
	}
	for _, c := range []struct {
		r    lifecycle.Request
		t    lifecycle.EventType
		says string // of the state, wherever it is told
	}{
		{with(func(r *lifecycle.Request) { r.Status, r.Attempt, r.StartedAt = lifecycle.Pending, 0, time.Time{} }), lifecycle.EventAccepted, `,"route":"images"`},
		{with(func(r *lifecycle.Request) {
			r.Status, r.Attempt, r.BatchID, r.Concurrency.Key, r.Position = lifecycle.Pending, 0, "b", "k", new(4)
		}), lifecycle.EventAccepted, `,"position":4,"route":"images","concurrencyKey":"k","batchId":"b"`},
		{base, lifecycle.EventStarted, ``},
		{with(func(r *lifecycle.Request) { r.Attempt, r.Step, r.Percent = 2, "go on", new(5.5) }), lifecycle.EventStarted, `,"attempt":2,"percent":5.5,"step":"go on"`},
		{with(func(r *lifecycle.Request) { r.Step, r.Percent, r.Message = "resize", new(40.0), `"half" of it` }), lifecycle.EventProgress, `,"percent":40,"step":"resize","message":"\"half\" of it"`},
		{with(func(r *lifecycle.Request) {
			r.Status, r.Error = lifecycle.Pending, &lifecycle.Failure{Code: "c", Message: "m", Trace: "goroutine 1"}
		}), lifecycle.EventRetrying, `,"error":{"code":"c","message":"m"}`},
		{with(func(r *lifecycle.Request) {
			r.Status, r.Question = lifecycle.Waiting, &lifecycle.Question{Name: "go", Message: "on?", Default: json.RawMessage(`null`)}
		}), lifecycle.EventWaiting, `,"question":{"name":"go","message":"on?","default":null,"expiresAt":"2026-01-02T04:04:05.006Z"}`},
		{with(func(r *lifecycle.Request) { r.Status, r.Step = lifecycle.Pending, "not said again" }), lifecycle.EventAnswered, ``},
		{with(func(r *lifecycle.Request) { r.Status, r.Attempt, r.Redriven = lifecycle.Pending, 3, 1 }), lifecycle.EventRedriven, `,"attempt":3,"redriven":1`},
		{with(func(r *lifecycle.Request) {
			r.Status, r.Result = lifecycle.Succeeded, &lifecycle.Result{Value: json.RawMessage(`{"large":true}`)}
			r.Result.Type, r.Result.Size = "application/json", 14
		}), lifecycle.EventSucceeded, `,"result":{"type":"application/json","size":14}`},
		{with(func(r *lifecycle.Request) { r.Status = lifecycle.Succeeded }), lifecycle.EventSucceeded, ``},
		{with(func(r *lifecycle.Request) {
			r.Status, r.Error = lifecycle.Failed, &lifecycle.Failure{Code: "c", Message: "m", Detail: "d"}
		}), lifecycle.EventFailed, `,"error":{"code":"c","message":"m","detail":"d"}`},
		{with(func(r *lifecycle.Request) { r.Status, r.Attempt = lifecycle.Canceled, 0 }), lifecycle.EventCanceled, `,"attempt":0`},
		{with(func(r *lifecycle.Request) { r.Status = lifecycle.Expired }), lifecycle.EventExpired, ``},
		{
			with(func(r *lifecycle.Request) {
				r.Percent, r.Attempt, r.Route, r.Batch = new(50.0), 0, "", &lifecycle.Batch{Total: 4, Succeeded: 1, Failed: 1}
			}),
			lifecycle.EventProgress, `,"percent":50,"batch":{"total":4,"open":2,"succeeded":1,"failed":1,"canceled":0,"expired":0}`,
		},
		{
			with(func(r *lifecycle.Request) {
				r.Status, r.Percent, r.Attempt, r.Route, r.Batch = lifecycle.Failed, new(100.0), 0, "", &lifecycle.Batch{Total: 1, Failed: 1}
			}),
			lifecycle.EventFailed, `,"percent":100,"batch":{"total":1,"open":0,"succeeded":0,"failed":1,"canceled":0,"expired":0}`,
		},
		{base, lifecycle.EventReset, `,"status":"processing","attempt":1,"route":"images","createdAt":"2026-01-02T03:04:05.006Z","startedAt":"2026-01-02T03:04:05.006Z"`},
	} {
		e := lifecycle.NewEvent(&c.r, c.t)
		const id, topic, when = `,"id":"r1/0123456789/3"`, `,"topic":"t"`, `,"time":"2026-01-02T03:04:09.006Z"`
		said, own, ofOwner := when, when, topic+when
		switch c.t {
		case lifecycle.EventProgress: // of which there are many
			said, own, ofOwner = "", "", ""
		case lifecycle.EventAccepted, lifecycle.EventReset:
			own = topic + when
		}
		for channel, want := range map[string]string{
			"request:r1": own, "topic:t": id + said, "owner": id + ofOwner, "owner:o": id + ofOwner,
		} {
			want = `{"type":"` + string(c.t) + `"` + want + c.says + "}"
			if got := thin(e, channel); got != want || !json.Valid([]byte(got)) {
				t.Errorf("%s in %s is\n%s, want\n%s", c.t, channel, got, want)
			}
		}
		alone := c.says
		if c.r.Step == "not said again" { // but to a webhook, which may not have got it
			alone = `,"step":"not said again"` + alone
		}
		want := `{"specversion":"1.0","id":"r1/0123456789/3","source":"/v1/requests/r1","type":"` + string(c.t) + `","subject":"t"` + when + `,"data":{` +
			strings.TrimPrefix(alone, ",") + "}}"
		if got := string(wire.ThinJSON(e)); got != want {
			t.Errorf("%s by a webhook is\n%s, want\n%s", c.t, got, want)
		}
		// An event that is kept as clients get it says the same.
		kept := wire.Parse(wire.JSON(e))
		if got, want := thin(kept, "owner"), thin(e, "owner"); kept.State != nil || got != want {
			t.Errorf("%s, of its text, is\n%s, want\n%s", c.t, got, want)
		}
		if got := string(wire.ThinJSON(kept)); got != want {
			t.Errorf("%s by a webhook, of its text, is\n%s, want\n%s", c.t, got, want)
		}
	}
	feed := lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "o"}
	for want, e := range map[string]*lifecycle.Event{
		`{"type":"feed.reset"}`: lifecycle.FeedReset(feed, 7), `{"type":"feed.forgotten"}`: lifecycle.Forgotten(feed, 7),
		`{"type":""}`: wire.Parse([]byte("what no version has written")),
	} {
		if got := thin(e, "owner"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for _, text := range []string{`{"specversion":"1.0","id":"test_1","source":"/v1/webhooks/e","type":"webhook.test","data":{}}`, "x"} {
		if got := string(wire.ThinJSON(wire.Parse([]byte(text)))); got != text {
			t.Errorf("%s, want it as it was: %s", got, text)
		}
	}
}

// FuzzThin: whatever is kept as the text of an event, its thin form is one line of JSON, an object
// whose type is that of the event; and whatever a processor or a client says, of the text comes
// what comes of the event itself.
func FuzzThin(f *testing.F) {
	r := sample()
	text := wire.AppendEvent(nil, &r, lifecycle.EventProgress)
	f.Add(text, "a message", "t", 40.0)
	f.Add(bytes.Replace(text, []byte(`"attempt":1`), []byte(`"attempt":[1]`), 1), "", "", 0.0)
	f.Add(bytes.Replace(text, []byte(`"step":"resizing"`), []byte(`"question":{"name":"a","schema":{ "x" : 1 }}`), 1), "\u2028<>&\x00\xff", "", 1e300)
	f.Fuzz(func(t *testing.T, text []byte, message, topic string, percent float64) {
		e := wire.Parse(text)
		for _, channel := range []string{"request:r1", "topic:t", "owner", "owner:o"} {
			var says struct{ Type, ID string }
			line := thin(e, channel)
			if err := json.Unmarshal([]byte(line), &says); err != nil || says.Type != string(e.Type) || strings.ContainsAny(line, "\r\n") || !strings.HasPrefix(line, `{"`) {
				t.Errorf("%q becomes %q, %v", text, line, err)
			}
			if says.ID != "" && says.ID != e.ID() {
				t.Errorf("%q has the id %q, want %q", line, says.ID, e.ID())
			}
		}
		if line := wire.ThinJSON(e); e.Request.ID != "" && json.Valid(text) && (!json.Valid(line) || bytes.ContainsAny(line, "\r\n") && !bytes.Equal(line, text)) {
			t.Errorf("%q becomes %q", text, line)
		}
		r := sample()
		r.Message, r.Step, r.Error = message, message, &lifecycle.Failure{Code: message, Message: message, Detail: message}
		if percent == percent {
			r.Percent = new(min(max(percent, 0), 100))
		}
		if lifecycle.ValidTopic(topic) {
			r.Topic = topic
		}
		made := lifecycle.NewEvent(&r, lifecycle.EventProgress)
		var got, want any // what is not UTF-8 is replaced by U+FFFD, which JSON writes in two ways
		if json.Unmarshal([]byte(thin(wire.Parse(wire.JSON(made)), "topic:t")), &got) != nil ||
			json.Unmarshal([]byte(thin(made, "topic:t")), &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("of its text it is %q, want %q", got, want)
		}
	})
}

// TestThinSaysNothingElse: each member of a thin event has the value that it has in full form.
func TestThinSaysNothingElse(t *testing.T) {
	r := sample()
	for _, as := range []lifecycle.EventType{lifecycle.EventAccepted, lifecycle.EventStarted, lifecycle.EventProgress, lifecycle.EventReset} {
		e := lifecycle.NewEvent(&r, as)
		var full, says map[string]any
		if err := json.Unmarshal(wire.JSON(e), &full); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(thin(e, "owner")), &says); err != nil {
			t.Fatal(err)
		}
		for name, value := range says {
			want, ok := full["data"].(map[string]any)[name]
			switch name {
			case "id", "type", "time":
				want, ok = full[name], true
			}
			if !ok || !reflect.DeepEqual(value, want) {
				t.Errorf("%s: %s is %v, in full form %v", as, name, value, fmt.Sprint(want))
			}
		}
	}
}

func BenchmarkAppendThin(b *testing.B) {
	r := sample()
	r.Message = "an ordinary message"
	e := wire.Thinner(lifecycle.NewEvent(&r, lifecycle.EventProgress))
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = e.AppendThin(dst[:0], "owner")
	}
	b.SetBytes(int64(len(dst)))
}
