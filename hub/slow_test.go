package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// fat makes the source's events large, so that a few fill a socket.
func (s *memorySource) appendFat(key string, bytes int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(key)
	offset := ch.trimmed + uint64(len(ch.messages)) + 1
	m := hub.Message{Offset: offset, Event: fmt.Appendf(nil, `{"n":%d,"pad":%q}`, offset, strings.Repeat("x", bytes))}
	ch.messages = append(ch.messages, m)
	s.notify(key, m)
	return offset
}

// TestSlowStreamIsClosedAndResumes: a client that does not read is closed after its
// bound, what it got is whole, a client beside it notices nothing, and with its
// cursor it gets the rest.
func TestSlowStreamIsClosedAndResumes(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{QueueBytes: 256 << 10})
	addr := serve(t, h)
	slow, fast := dialSSE(t, addr, "request-a", "0"), dialSSE(t, addr, "request-a", "0")
	eventually(t, func() bool { return h.Stats().Streams == 2 })
	var top uint64
	for h.Stats().Slow == 0 {
		top = source.appendFat("request-a", 32<<10)
		if e, err := fast.next(); err != nil || e.id != fmt.Sprint(top) {
			t.Fatalf("beside: %v %v, want %d", e.id, err, top)
		}
		if top > 10_000 {
			t.Fatal("never closed")
		}
	}
	at := uint64(0)
	for {
		e, err := slow.next()
		if err != nil {
			break
		}
		if at++; e.id != fmt.Sprint(at) || !json.Valid([]byte(e.data)) {
			t.Fatalf("slow got %s after %d: %.40s…", e.id, at-1, e.data)
		}
	}
	if at == 0 || at >= top {
		t.Fatalf("slow got %d of %d", at, top)
	}
	eventually(t, func() bool { return h.Stats().Closed["slow"] == 1 })
	again := dialSSE(t, addr, "request-a", fmt.Sprint(at))
	for at < top {
		e, err := again.next()
		if at++; err != nil || e.id != fmt.Sprint(at) {
			t.Fatalf("resumed: %s %v, want %d", e.id, err, at)
		}
	}
}

// TestFullSocketsShareABound: the more clients do not read, the less is kept for each; as those go,
// the others have more.
func TestFullSocketsShareABound(t *testing.T) {
	const many, each, all = 16, 4 << 20, 2 << 20
	source := newMemorySource()
	h := hub.New(source, hub.Options{QueueBytes: each, BacklogBytes: all})
	addr := serve(t, h)
	if got := h.Bound(); got != each {
		t.Errorf("nobody is slow, and the bound is %d", got)
	}
	var slow []*sseReader
	for range many {
		slow = append(slow, dialSSE(t, addr, "request-a", "0"))
	}
	eventually(t, func() bool { return h.Stats().Streams == many })
	least := each
	for sent := 0; h.Stats().Slow == 0; sent += 32 << 10 {
		source.appendFat("request-a", 32<<10)
		if least = min(least, h.Bound()); sent > 64<<20 {
			t.Fatal("nobody is closed")
		}
	}
	if least > all/2 {
		t.Errorf("with many full sockets the bound was %d, of %d for all", least, all)
	}
	for _, s := range slow {
		_ = s.conn.Close()
	}
	eventually(t, func() bool { return h.Bound() == each })
}

// TestSlowReadersKeepNobodyFromCatchingUp: clients that ask for much history and read none of it
// take no place among those that read the source.
func TestSlowReadersKeepNobodyFromCatchingUp(t *testing.T) {
	if !hub.TakesDescriptors {
		t.Skip("nobody knows here whose socket is full")
	}
	const slow = 3
	source := newMemorySource()
	h := hub.New(source, hub.Options{CatchUps: 1})
	addr := serve(t, h)
	source.append("request-a", false)
	for range 1000 { // more than the buffers of two sockets take
		source.appendFat("request-slow", 32<<10)
	}
	for range slow {
		dialSSE(t, addr, "request-slow", "0")
	}
	eventually(t, func() bool { return h.Stats().Full >= slow })
	if e, err := dialSSE(t, addr, "request-a", "0").next(); err != nil || e.id != "1" {
		t.Errorf("beside clients that do not read: %q, %v", e.id, err)
	}
}

// TestBeginningAtTheTopReadsNothing: to begin with what comes next costs none of what there is.
func TestBeginningAtTheTopReadsNothing(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	for range 10 {
		source.append("feed-1", false)
	}
	r := dialSSE(t, addr, "feed-1", "")
	eventually(t, func() bool { return h.Stats().Reads == 1 })
	source.append("feed-1", false)
	if e, err := r.next(); err != nil || e.id != "11" {
		t.Errorf("%q, %v", e.id, err)
	}
	source.mu.Lock()
	defer source.mu.Unlock()
	if source.handedOut > 0 {
		t.Errorf("%d messages were read", source.handedOut)
	}
}

// note is an event of a request in a feed.
type note struct {
	N    uint64
	Of   string
	Kind string
	Pad  string
}

// appendNote appends an event that tells of a request.
func (s *memorySource) appendNote(key, of, kind string, pad int) note {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(key)
	e := note{N: ch.trimmed + uint64(len(ch.messages)) + 1, Of: of, Kind: kind, Pad: strings.Repeat("x", pad)}
	b, _ := json.Marshal(e)
	m := hub.Message{Offset: e.N, Event: b, About: e}
	ch.messages = append(ch.messages, m)
	s.notify(key, m)
	return e
}

// Subject implements hub.About.
func (e note) Subject() (string, bool) { return e.Of, e.Kind == "progress" }

func (e note) Made() time.Time { return time.Time{} }

// TestSlowFollowerMissesOnlySupersededProgress lets clients that do not read follow feeds of
// many requests for far longer than their bound lasts. They stay, and when they read at last,
// they get everything in order but progress of which there is something newer, frames
// whole and their pongs among them; and with their cursor what follows.
func TestSlowFollowerMissesOnlySupersededProgress(t *testing.T) {
	const bound = 256 << 10
	feeds := []string{"feed-1", "feed-2"}
	source := newMemorySource()
	h := hub.New(source, hub.Options{QueueBytes: bound})
	addr := serve(t, h)
	stream := dialSSE(t, addr, "feed-1", "")
	socket := dialSocket(t, addr)
	for _, feed := range feeds {
		if err := socket.WriteJSON(map[string]string{"op": "subscribe", "channel": feed}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return h.Stats().Reads == 3 })
	sent := map[string][]note{}
	tell := func(feed, of, kind string, pad int) {
		sent[feed] = append(sent[feed], source.appendNote(feed, of, kind, pad))
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var life [8]int
	pings := 0
	for n := 0; h.Stats().Coalesced < 4000; n++ {
		if n > 200_000 {
			t.Fatalf("never full: %+v", h.Stats())
		}
		i := rng.IntN(len(life))
		of := fmt.Sprintf("request %d of %d", life[i], i)
		switch rng.IntN(200) {
		case 0:
			tell(feeds[n%2], of, "succeeded", 50)
			life[i]++
		case 1:
			tell(feeds[n%2], of, "retrying", 50)
		default:
			tell(feeds[n%2], of, "progress", rng.IntN(4000))
		}
		if n%64 == 0 {
			pings++
			_ = socket.WriteControl(websocket.PingMessage, []byte("there?"), time.Now().Add(time.Second))
			// The shards keep up, so that nobody reads the source instead.
			want := uint64(len(sent["feed-1"])*2 + len(sent["feed-2"]))
			eventually(t, func() bool { return h.Stats().Delivered == want })
		}
	}
	for i := range life {
		for _, feed := range feeds {
			tell(feed, fmt.Sprintf("request %d of %d", life[i], i), "succeeded", 50)
		}
	}
	want := uint64(len(sent["feed-1"])*2 + len(sent["feed-2"]))
	eventually(t, func() bool { return h.Stats().Delivered == want })
	before := h.Stats()
	// Both are full, once more if the kernel found room for all that waited meanwhile.
	if before.Slow > 0 || before.Resyncs > 0 || hub.TakesDescriptors && before.Full < 2 || before.Streams+before.Sockets != 2 {
		t.Fatalf("%+v", before)
	}

	missing := 0
	var arrived []note
	for len(arrived) == 0 || arrived[len(arrived)-1].N < uint64(len(sent["feed-1"])) {
		e, err := stream.next()
		var m note
		if err == nil {
			err = json.Unmarshal([]byte(e.data), &m)
		}
		if err != nil || e.id != fmt.Sprint(m.N) {
			t.Fatalf("after %d: id %q, %v", len(arrived), e.id, err)
		}
		arrived = append(arrived, m)
	}
	missing += coalesced(t, sent["feed-1"], arrived)

	pongs := 0
	socket.SetPongHandler(func(text string) error {
		if pongs++; text != "there?" {
			t.Errorf("pong %q", text)
		}
		return nil
	})
	_ = socket.SetReadDeadline(time.Now().Add(3 * time.Minute))
	received := map[string][]note{}
	complete := func(feed string) bool {
		n := len(received[feed])
		return n > 0 && received[feed][n-1].N == uint64(len(sent[feed]))
	}
	_ = socket.WriteJSON(map[string]string{"op": "ping"}) // its answer comes after all pongs
	answered := false
	for !complete("feed-1") || !complete("feed-2") || !answered {
		var m struct {
			Op, Channel string
			Offset      uint64
			Event       note
		}
		if err := socket.ReadJSON(&m); err != nil {
			t.Fatal(err)
		}
		if m.Op == "event" {
			if m.Offset != m.Event.N {
				t.Fatalf("offset %d of event %d", m.Offset, m.Event.N)
			}
			received[m.Channel] = append(received[m.Channel], m.Event)
		}
		answered = answered || m.Op == "pong"
	}
	for _, feed := range feeds {
		missing += coalesced(t, sent[feed], received[feed])
	}
	if pongs == 0 || pongs > pings { // those that came together have one
		t.Errorf("%d pongs to %d pings", pongs, pings)
	}
	if uint64(missing) != before.Coalesced {
		t.Errorf("%d missing, %+v", missing, before)
	}

	_ = stream.conn.Close()
	tell("feed-1", "later", "progress", 10)
	tell("feed-1", "later", "progress", 10)
	again := dialSSE(t, addr, "feed-1", stream.lastID)
	for _, want := range sent["feed-1"][len(sent["feed-1"])-2:] {
		if e, err := again.next(); err != nil || e.id != fmt.Sprint(want.N) {
			t.Errorf("resumed: %s, %v, want %d", e.id, err, want.N)
		}
	}
}

// coalesced holds what arrived of a feed against what was sent, and returns how much
// is missing.
func coalesced(t *testing.T, sent, arrived []note) (missing int) {
	t.Helper()
	newest := make(map[string]uint64) // of each request, of what arrived
	for _, e := range arrived {
		newest[e.Of] = e.N
	}
	next := 0
	for _, e := range sent {
		switch {
		case next < len(arrived) && arrived[next] == e:
			next++
		case e.Kind != "progress" || newest[e.Of] <= e.N:
			t.Errorf("%d (%s of %s) is missing", e.N, e.Kind, e.Of)
		default:
			missing++
		}
	}
	if next != len(arrived) {
		t.Errorf("out of order, twice or made up: %.80v", arrived[next])
	}
	return missing
}

// TestProgressOfManyIsNotSuperseded: what is worth nothing only if something newer of the same
// request is there does not go to make room for others: the client is closed, and resumes.
func TestProgressOfManyIsNotSuperseded(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{QueueBytes: 256 << 10})
	addr := serve(t, h)
	slow := dialSSE(t, addr, "feed-1", "0")
	eventually(t, func() bool { return h.Stats().Reads == 1 })
	var top uint64
	eventually(t, func() bool {
		top = source.appendNote("feed-1", fmt.Sprint("request ", top), "progress", 16<<10).N
		return h.Stats().Slow == 1
	})
	at := uint64(0)
	for {
		e, err := slow.next()
		if err != nil {
			break
		}
		if at++; e.id != fmt.Sprint(at) {
			t.Fatalf("%s after %d", e.id, at-1)
		}
	}
	if s := h.Stats(); at == 0 || at >= top || s.Coalesced > 0 || s.Closed["slow"] != 1 {
		t.Errorf("%d of %d, %+v", at, top, s)
	}
	again := dialSSE(t, addr, "feed-1", fmt.Sprint(at))
	if e, err := again.next(); err != nil || e.id != fmt.Sprint(at+1) {
		t.Errorf("resumed: %s, %v, want %d", e.id, err, at+1)
	}
}

// TestFramesNeverInterleave reads slowly while events, pings from the hub and
// pongs to the client's pings all go out at once: each frame is whole, the events are
// in order, and the close says how to go on.
func TestFramesNeverInterleave(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{QueueBytes: 128 << 10, Heartbeat: time.Second})
	addr := serve(t, h)
	conn := dialSocket(t, addr)
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"op":"subscribe","channel":"request-a","after":0}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_ = source.appendFat("request-a", 16<<10)
		_ = conn.WriteControl(websocket.PingMessage, []byte("are you there?"), time.Now().Add(time.Second))
		return h.Stats().Slow == 1
	})
	var at float64
	pongs := 0
	conn.SetPongHandler(func(text string) error {
		if pongs++; text != "are you there?" {
			t.Errorf("pong %q", text)
		}
		return nil
	})
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	for {
		var m struct {
			Op     string
			Offset float64
		}
		_, r, err := conn.NextReader()
		if err == nil {
			err = json.NewDecoder(r).Decode(&m)
		}
		if c, ok := errors.AsType[*websocket.CloseError](err); ok {
			if c.Code != int(hub.CloseSlow) {
				t.Errorf("closed with %d", c.Code)
			}
			break
		}
		if err != nil {
			t.Fatalf("after %v: %v", at, err)
		}
		if m.Op == "event" {
			if at++; m.Offset != at {
				t.Fatalf("offset %v, want %v", m.Offset, at)
			}
		}
	}
	if at == 0 || pongs == 0 {
		t.Errorf("%v events, %d pongs", at, pongs)
	}
}

func dialSocket(t *testing.T, addr string) *websocket.Conn {
	t.Helper()
	return dialSocketAs(t, addr, "")
}

// dialSocketAs opens a WebSocket with a query.
func dialSocketAs(t *testing.T, addr, query string) *websocket.Conn {
	t.Helper()
	conn, res, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("condition never held")
		}
		time.Sleep(time.Millisecond) // a poll: the condition decides
	}
}

func TestUnreadableSourceClosesResumably(t *testing.T) {
	source := newMemorySource()
	source.fail = io.ErrUnexpectedEOF
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	r := dialSSE(t, addr, "request-a", "")
	if e, err := r.next(); e.name != "unavailable" {
		t.Errorf("got %v, %v", e, err)
	}
	if e, err := r.next(); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v, %v", e, err)
	}
	conn := dialSocket(t, addr)
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"op":"subscribe","channel":"request-a"}`)); err != nil {
		t.Fatal(err)
	}
	_, _, err := conn.ReadMessage()
	if c, ok := errors.AsType[*websocket.CloseError](err); !ok || c.Code != int(hub.CloseSource) {
		t.Errorf("%v", err)
	}
	eventually(t, func() bool { s := h.Stats(); return s.Streams == 0 && s.Sockets == 0 })
}
