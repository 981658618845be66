package hub_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/hark-push/hark/hub"
)

// TestIDStandsBehindItsEvent: a client that takes over an id as soon as it has read its line, as
// many do, is cut off after any byte, and has no id of an event that it did not get.
func TestIDStandsBehindItsEvent(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	source.append("request-a", false)
	source.append("request-a", false)
	live := dialSSE(t, addr, "request-a", "")
	var text strings.Builder
	read := func(until string) {
		for !strings.HasSuffix(text.String(), until) {
			line, err := live.br.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			text.WriteString(line)
		}
	}
	read("id: 2\n\n") // what is stored
	source.append("request-a", false)
	read("id: 3\n\n") // what is pushed
	for n := range text.Len() {
		cut := text.String()[:n]
		id, got := 0, 0
		for line := range strings.Lines(cut) {
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch {
			case !strings.HasSuffix(line, "\n"):
			case field == "data":
				got++
			case field == "id":
				id, _ = strconv.Atoi(value)
			}
		}
		if id > got {
			t.Fatalf("cut behind %q, it has the id %d and %d events", cut, id, got)
		}
	}
}
