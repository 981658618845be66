package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// told is an event of these tests.
type told struct {
	N    uint64
	Of   string
	Kind string
	Pad  string
}

func (e told) bytes() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return b
}

func (e told) message() Message { return Message{Offset: e.N, Event: e.bytes(), About: e, Thin: e} }

// AppendThin implements Thinner.
func (e told) AppendThin(dst []byte, channel string) []byte {
	return fmt.Appendf(dst, `{"told in %s":%s}`, channel, e.bytes())
}

// Subject implements About.
func (e told) Subject() (string, bool) { return e.Of, e.Kind == "progress" }

func (e told) Made() time.Time { return time.Time{} }

// bytesOf returns all that waits.
func (q *backlog) bytesOf() (all [][]byte) {
	for w := q.first; w != nil; w = w.next {
		all = append(all, w.bytes)
	}
	return all
}

// TestCoalesceAgainstModel pushes, takes and coalesces at random, and compares with a list that is
// searched for what supersedes what.
func TestCoalesceAgainstModel(t *testing.T) {
	type item struct {
		bytes         []byte
		channel, of   string
		progress, may bool
	}
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		form := form(seed % uint64(eventForms))
		q := new(backlog)
		var model []item
		inHand, n := 0, uint64(0)
		for range 200 {
			switch rng.IntN(8) {
			case 0: // something else, or a page of history
				b := fmt.Appendf(nil, "frame %d", rng.Uint64())
				q.push(&waiting{bytes: b})
				model = append(model, item{bytes: b})
			case 1: // the flusher
				taken, size := q.take(nil, rng.IntN(500), 1+rng.IntN(5))
				if len(model) > 0 && len(taken) == 0 {
					t.Fatal("took nothing")
				}
				inHand += size
				for _, b := range taken {
					if !bytes.Equal(b, model[0].bytes) {
						t.Fatalf("seed %d: took %q, want %q", seed, b, model[0].bytes)
					}
					model = model[1:]
				}
			case 2:
				before := len(model)
				var kept []item
				for i, a := range model {
					next := slices.IndexFunc(model[i+1:], func(b item) bool {
						return b.may && b.channel == a.channel && b.of == a.of
					})
					superseded := next >= 0 && (!form.thin() || model[i+1+next].progress)
					if !a.may || !a.progress || !superseded {
						kept = append(kept, a)
					}
				}
				model = kept
				if dropped := q.coalesce(); int(dropped) != before-len(model) {
					t.Fatalf("seed %d: %d dropped, want %d", seed, dropped, before-len(model))
				}
			case 3: // what does not fit after all
				pushed := q.pushed
				for range rng.IntN(3) {
					q.push(&waiting{bytes: []byte("too much")})
				}
				q.truncate(pushed)
			default:
				b := batch{channel: fmt.Sprint("channel ", rng.IntN(2))}
				var items []item
				for range 1 + rng.IntN(3) {
					n++
					e := told{N: n, Of: fmt.Sprint(rng.IntN(4)), Kind: "started", Pad: strings.Repeat("x", []int{0, 100, 200, 70_000}[max(0, rng.IntN(40)-36)])}
					progress := rng.IntN(3) > 0
					if progress {
						e.Kind = "progress"
					}
					b.messages = append(b.messages, e.message())
					one := (&batch{channel: b.channel, messages: b.messages[len(b.messages)-1:]}).encoded(form)
					items = append(items, item{one, b.channel, e.Of, progress, true})
				}
				taken := 0
				if len(model) == 0 {
					taken = rng.IntN(len(b.encoded(form)))
				}
				q.pushMessages(&b, form, taken)
				for _, i := range items {
					if taken >= len(i.bytes) {
						taken -= len(i.bytes)
						continue
					}
					if taken > 0 { // it has begun
						i.bytes, i.may, taken = i.bytes[taken:], false, 0
					}
					model = append(model, i)
				}
			}
			size, all := inHand, q.bytesOf()
			for _, i := range model {
				size += len(i.bytes)
			}
			if size != q.bytes || !slices.EqualFunc(all, model, func(b []byte, i item) bool { return bytes.Equal(b, i.bytes) }) {
				t.Fatalf("seed %d: %d wait in %d bytes, want %d in %d", seed, len(all), q.bytes, len(model), size)
			}
			if len(q.newest) > len(all) {
				t.Fatalf("seed %d: %d remembered of %d", seed, len(q.newest), len(all))
			}
		}
	}
}

// pair returns the two ends of a connection whose buffers are small.
func pair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	server, client = tcpPair(t)
	_ = server.SetWriteBuffer(8 << 10)
	_ = client.SetReadBuffer(8 << 10)
	return server, client
}

// TestReaderThatStopsAndGoes delivers batches to a reader that reads a little now and then,
// over a socket with small buffers, so that messages are cut anywhere. The bound holds at every
// moment, and what arrives is all but superseded progress, in order.
func TestReaderThatStopsAndGoes(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 9))
			const bound = 64 << 10
			h := New(new(benchSource), Options{QueueBytes: bound, Heartbeat: time.Hour})
			defer h.Close()
			server, client := pair(t)
			channel := Channel{Key: "feed", Name: "feed", Live: true}
			h.ServeStream(server, channel, StreamOptions{})
			ch := h.shard("feed").channels["feed"]
			o := &ch.subs[0].to.(*stream).outbox

			var got bytes.Buffer
			more := make(chan int)
			var reading sync.WaitGroup
			reading.Go(func() {
				for n := range more {
					_, _ = io.CopyN(&got, client, int64(n))
				}
				_, _ = io.Copy(&got, client)
			})
			var sent []told
			for len(sent) < 4000 {
				var batch []Message
				for range 1 + rng.IntN(4) {
					e := told{N: uint64(len(sent)) + 1, Of: fmt.Sprint(rng.IntN(5)), Kind: "progress", Pad: strings.Repeat("x", rng.IntN(4000))}
					if rng.IntN(100) == 0 {
						e.Kind, e.Pad = "retrying", ""
					}
					sent = append(sent, e)
					batch = append(batch, e.message())
				}
				ch.deliver(batch, nil)
				o.mu.Lock()
				if q := o.backlog; q != nil && q.bytes > bound {
					t.Errorf("%d bytes wait after %d", q.bytes, len(sent))
				}
				o.mu.Unlock()
				if rng.IntN(3) == 0 {
					select {
					case more <- rng.IntN(20_000):
					default: // still at the last, for which there may be nothing
					}
				}
			}
			close(more)
			h.Drain(t.Context(), 0) // closes once all is out
			reading.Wait()
			var arrived []told
			_, body, _ := strings.Cut(got.String(), "\r\n\r\n")
			chunks := NewChunks(strings.NewReader(body))
			text, err := io.ReadAll(chunks)
			if err != io.ErrUnexpectedEOF || chunks.Cut {
				t.Errorf("the drained body ends with %v, in a chunk: %v", err, chunks.Cut)
			}
			for line := range strings.Lines(string(text)) {
				if data, ok := strings.CutPrefix(line, "data: "); ok && strings.HasPrefix(data, `{"N":`) {
					var e told
					if err := json.Unmarshal([]byte(data), &e); err != nil {
						t.Fatalf("%v: %.80q", err, data)
					}
					arrived = append(arrived, e)
				}
			}
			s := h.Stats()
			missing := checkCoalesced(t, sent, arrived)
			if missing == 0 || uint64(missing) != s.Coalesced || takesDescriptors && s.Full == 0 || s.Slow > 0 {
				t.Errorf("%d missing, %+v", missing, s)
			}
		})
	}
}

// TestBoundHoldsToTheEnd: a connection is closed before what waits goes beyond the bound, and not
// before there is nothing superseded in it.
func TestBoundHoldsToTheEnd(t *testing.T) {
	const bound = 64 << 10
	h := New(new(benchSource), Options{QueueBytes: bound, Heartbeat: time.Hour})
	defer h.Close()
	server, _ := pair(t)
	h.ServeStream(server, Channel{Key: "feed", Name: "feed", Live: true}, StreamOptions{})
	ch := h.shard("feed").channels["feed"]
	o := &ch.subs[0].to.(*stream).outbox
	pad, most := strings.Repeat("x", 1000), 0
	for n := uint64(1); h.Stats().Slow == 0; n++ {
		// Each second one is superseded by the next but one.
		ch.deliver([]Message{told{N: n, Of: fmt.Sprint(n * (n % 2)), Kind: "progress", Pad: pad}.message()}, nil)
		o.mu.Lock()
		if o.backlog != nil {
			most = max(most, o.backlog.bytes)
			for w := o.backlog.first; o.state == outboxClosing && w != nil; w = w.next {
				if w.event != nil || w.next != nil && bytes.Contains(w.bytes, []byte(`"Of":"0"`)) && bytes.Contains(w.next.bytes, []byte(`"Of":"0"`)) {
					t.Errorf("could have gone: %.60s", w.bytes)
				}
			}
		}
		o.mu.Unlock()
	}
	if s := h.Stats(); most > bound || most < bound-2000 || s.Coalesced < 20 {
		t.Errorf("at most %d of %d bytes waited, %+v", most, bound, s)
	}
}

// writes counts the calls that write to a connection.
type writes struct {
	net.Conn
	calls atomic.Int64
}

func (w *writes) Write(b []byte) (int, error) {
	w.calls.Add(1)
	return w.Conn.Write(b)
}

// TestWhatWaitsTogetherLeavesTogether: many small messages that wait leave in few calls.
func TestWhatWaitsTogetherLeavesTogether(t *testing.T) {
	h := New(new(benchSource), Options{Heartbeat: time.Hour})
	defer h.Close()
	server, client := net.Pipe() // takes nothing before it is read
	counted := &writes{Conn: server}
	var serving sync.WaitGroup
	serving.Go(func() {
		h.ServeStream(counted, Channel{Key: "feed", Name: "feed", Live: true}, StreamOptions{})
		ch := h.shard("feed").channels["feed"]
		for n := range uint64(1000) {
			ch.deliver([]Message{told{N: n + 1}.message()}, nil)
		}
	})
	serving.Wait()
	go func() { h.Drain(context.Background(), 0) }()
	all, err := io.ReadAll(client)
	if n := bytes.Count(all, []byte("\ndata: {\"N\":")); err != nil || n != 1000 {
		t.Errorf("%d messages, %v", n, err)
	}
	// The head, what waited first, and chunks of a record each.
	if n := counted.calls.Load(); n > int64(len(all)/recordBytes+1000/flushBuffers+4) {
		t.Errorf("%d calls for %d bytes", n, len(all))
	}
}

// checkCoalesced holds what arrived against what was sent in one channel, and returns how many
// are missing.
func checkCoalesced(t *testing.T, sent, arrived []told) (missing int) {
	t.Helper()
	next := 0
	newest := make(map[string]uint64) // that arrived
	for _, e := range arrived {
		newest[e.Of] = e.N
	}
	for _, e := range sent {
		switch {
		case next < len(arrived) && arrived[next] == e:
			next++
		case e.Kind != "progress":
			t.Errorf("%d (%s of %s) is missing", e.N, e.Kind, e.Of)
		case newest[e.Of] <= e.N:
			t.Errorf("%d (%s of %s) is missing, and nothing newer came", e.N, e.Kind, e.Of)
		default:
			missing++
		}
	}
	if next != len(arrived) {
		t.Errorf("out of order, twice or made up: %+v", arrived[next])
	}
	return missing
}
