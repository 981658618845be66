package hub_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// shortly is an event in thin form: what it says in one word.
type shortly string

func (s shortly) AppendThin(dst []byte, channel string) []byte {
	return fmt.Appendf(dst, `{"thin":%q,"in":%q}`, string(s), channel)
}

// dataOf returns the data of a stream's events that have no name, to its end, as they come.
func dataOf(t *testing.T, addr, version string, query url.Values) func() []string {
	conn := rawStream(t, addr, version, query)
	return func() (all []string) {
		text, _ := bodyOf(t, conn, version)
		for block := range strings.SplitSeq(text, "\n\n") {
			if data, ok := strings.CutPrefix(strings.TrimPrefix(block, ":\n"), "data: "); ok {
				all = append(all, data)
			}
		}
		return all
	}
}

// TestForms: those who follow one channel in full and in thin form, over each transport, get the
// same events, each in its form: what is stored, what comes live, and what is told of a loss.
func TestForms(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	const name = "again-1"
	for range 3 {
		source.append(name, false)
	}
	source.trim(name, 2)
	full := func(n int) string { return fmt.Sprintf(`{"n":%d,"life":0}`, n) }
	thin := func(of any) string { return fmt.Sprintf(`{"thin":"%v","in":"again-1"}`, of) }

	type follower struct {
		what string
		got  func() []string
		want []string
	}
	var all []follower
	for _, version := range []string{"1.1", "1.0"} {
		for _, form := range []string{"full", "thin"} {
			each := func(n int) string { return full(n) + fmt.Sprintf("\nid: %d-k3m9p2q4rz", n) }
			reset := `{"type":"request.reset","life":0}` + "\nid: 3-k3m9p2q4rz"
			if form == "thin" {
				each = func(n int) string { return thin(n) + fmt.Sprintf("\nid: %d-k3m9p2q4rz", n) }
				reset = thin("reset") + "\nid: 3-k3m9p2q4rz"
			}
			all = append(all,
				follower{form + " from 2, HTTP/" + version, dataOf(t, addr, version, url.Values{"channel": {name}, "after": {"2"}, "form": {form}}), []string{each(3), each(4), each(5)}},
				follower{form + " from what is gone, HTTP/" + version, dataOf(t, addr, version, url.Values{"channel": {name}, "after": {"0"}, "form": {form}}), []string{reset, each(4), each(5)}},
			)
		}
	}
	for _, s := range []struct{ form, own string }{{"full", ""}, {"thin", ""}, {"", `,"form":"thin"`}, {"thin", `,"form":"full"`}} {
		isThin := s.form == "thin" && s.own == "" || strings.Contains(s.own, "thin")
		ws := dial(t, addr, "form="+s.form)
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"op":"subscribe","channel":"again-1","after":2`+s.own+`}`)); err != nil {
			t.Fatal(err)
		}
		want := []string{`{"op":"subscribed","channel":"again-1","offset":3,"recovered":true}`}
		if isThin {
			want[0] = `{"op":"subscribed","channel":"again-1","life":"k3m9p2q4rz","offset":3,"recovered":true}`
		}
		for n := 3; n <= 5; n++ {
			if isThin {
				want = append(want, fmt.Sprintf(`{"op":"event","channel":"again-1","offset":%d,%s`, n, thin(n)[1:]))
			} else {
				want = append(want, fmt.Sprintf(`{"op":"event","channel":"again-1","offset":%d,"event":%s}`, n, full(n)))
			}
		}
		want = append(want, `{"op":"end","channel":"again-1","offset":5}`)
		all = append(all, follower{fmt.Sprintf("WebSocket %q, subscription %q", s.form, s.own), func() (got []string) {
			_ = ws.SetReadDeadline(time.Now().Add(30 * time.Second))
			for range want {
				_, text, err := ws.ReadMessage()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(text))
			}
			return got
		}, want})
	}
	eventually(t, func() bool { s := h.Stats(); return s.Streams == 8 && s.Sockets == 4 && s.Reads >= 12 })
	source.append(name, false)
	source.append(name, true)
	for _, f := range all {
		if got := f.got(); !slices.Equal(got, f.want) {
			t.Errorf("%s: got\n%q, want\n%q", f.what, got, f.want)
		}
	}
}
