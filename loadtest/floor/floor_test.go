package main

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

func TestRecordsAndEventsAreAsLongAsTheyShould(t *testing.T) {
	for step, s := range steps {
		record := newRecord("producer7-12", step)
		id, n, ok := readRecord(record)
		if len(record) != s.record || !ok || id != "producer7-12" || n != step || topicOf(id) != "producer7" {
			t.Errorf("a record of %d: %q of %q", len(record), record, id)
		}
		got := string(appendEvent([]byte("before"), id, n))[len("before"):]
		if len(got) != s.event || !strings.HasPrefix(got, `{"id":"producer7-12/`) || !strings.HasSuffix(got, `x"}`) || !strings.Contains(got, `"type":"`+s.kind+`"`) {
			t.Errorf("an event of %d: %q", len(got), got)
		}
	}
	long := strings.Repeat("i", 2000)
	if got := appendEvent(nil, long, started); !bytes.HasSuffix(got, []byte(`"data":""}`)) {
		t.Errorf("%q", got)
	}
	for _, nothing := range []string{"", "/", "producer7-1/3/", "producer7-1/-1/", "producer7-1/1", "producer7-1/x/"} {
		if id, step, ok := readRecord(nothing); ok {
			t.Errorf("%q is step %d of %q", nothing, step, id)
		}
	}
	if topic := topicOf("producer"); topic != "" {
		t.Errorf("the topic is %q", topic)
	}
}

func TestBetween(t *testing.T) {
	for text, want := range map[string]string{`{"content":1,"id":"a-1","topic":"a"}`: "a-1", `{"id":"a`: "a", "": ""} {
		if got := between([]byte(text), `"id":"`, `"`); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestJoinedWritesEverythingInOrder(t *testing.T) {
	here, there := net.Pipe()
	c := &joined{Conn: here}
	var want []byte
	for n := range 1000 {
		p := bytes.Repeat([]byte{byte(n)}, n%50)
		want = append(want, p...)
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(there, got); err != nil || !slices.Equal(got, want) {
		t.Error(err)
	}
	_ = there.Close()
}
