package hub_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memorySource is a source in memory whose notifications can be made unreliable.
type memorySource struct {
	mu        sync.Mutex
	channels  map[string]*memoryChannel
	notify    func(string, hub.Message)
	mangle    func(hub.Message) []hub.Message // what arrives of a message
	fail      error                           // of every Read
	handedOut int                             // messages, by Read
}

type memoryChannel struct {
	life     int // how often it has lost its end
	trimmed  uint64
	messages []hub.Message
}

func newMemorySource() *memorySource {
	return &memorySource{channels: make(map[string]*memoryChannel)}
}

func (s *memorySource) channel(key string) *memoryChannel {
	ch := s.channels[key]
	if ch == nil {
		ch = new(memoryChannel)
		s.channels[key] = ch
	}
	return ch
}

func (s *memorySource) append(key string, last bool) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(key)
	offset := ch.trimmed + uint64(len(ch.messages)) + 1
	m := hub.Message{Offset: offset, Event: fmt.Appendf(nil, `{"n":%d,"life":%d}`, offset, ch.life), Last: last, Thin: shortly(fmt.Sprint(offset))}
	ch.messages = append(ch.messages, m)
	notifications := []hub.Message{m}
	if s.mangle != nil {
		notifications = s.mangle(m)
	}
	for _, m := range notifications {
		s.notify(key, m)
	}
	return offset
}

func (s *memorySource) trim(key string, keep int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(key)
	if n := len(ch.messages) - keep; n > 0 {
		ch.trimmed += uint64(n)
		ch.messages = ch.messages[n:]
	}
}

// rewind makes a channel lose its newest messages, as a server does that takes over
// without them, and says so after the next ones.
func (s *memorySource) rewind(key string, lost, more int) {
	s.mu.Lock()
	ch := s.channel(key)
	ch.messages = ch.messages[:max(0, len(ch.messages)-lost)]
	ch.life++
	s.mu.Unlock()
	for range more {
		s.append(key, false)
	}
	s.notify(key, hub.Message{})
}

func (s *memorySource) Read(_ context.Context, key string, after uint64, limit int) (hub.History, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return hub.History{}, s.fail
	}
	ch := s.channel(key)
	h := hub.History{Top: ch.trimmed + uint64(len(ch.messages))}
	if n := len(ch.messages); n > 0 {
		h.Ended = ch.messages[n-1].Last
	}
	size := 0
	for _, m := range ch.messages {
		if m.Offset <= after {
			continue
		}
		if size += len(m.Event); len(h.Messages) == limit || size > hub.PageBytes && len(h.Messages) > 0 {
			break
		}
		h.Messages = append(h.Messages, m)
	}
	s.handedOut += len(h.Messages)
	return h, nil
}

func (s *memorySource) Reset(_ context.Context, key string) (hub.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(key)
	top := ch.trimmed + uint64(len(ch.messages))
	last := len(ch.messages) > 0 && ch.messages[len(ch.messages)-1].Last
	return hub.Message{Offset: top, Event: fmt.Appendf(nil, `{"type":"request.reset","life":%d}`, ch.life), Last: last, Thin: shortly("reset")}, nil
}

func (s *memorySource) Watch(context.Context, string) error { return nil }
func (s *memorySource) Unwatch(string)                      {}
func (s *memorySource) Listen(f func(string, hub.Message))  { s.notify = f }

// serve accepts TCP connections and answers GET /sse?channel=&after= and
// GET /ws as the gateway would.
func serve(t *testing.T, h *hub.Hub) string {
	t.Helper()
	addr := servertest.Serve(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		r, err := http.ReadRequest(br)
		if err != nil {
			_ = conn.Close()
			return
		}
		q := r.URL.Query()
		var after *hub.Cursor
		if v := q.Get("after"); v != "" {
			c, _ := hub.ParseCursor(v)
			after = &c
		}
		var credential *hub.Credential
		if until, err := time.Parse(time.RFC3339Nano, q.Get("until")); err == nil {
			credential = hub.NewCredential(until)
		}
		address, _ := netip.ParseAddr(q.Get("address"))
		if r.URL.Path == "/sse" {
			h.ServeStream(conn, resolve(q.Get("channel")), hub.StreamOptions{
				After: after, Caller: q.Get("caller"), Address: address, Credential: credential, Transport: hub.SSE(r.ProtoAtLeast(1, 1), q.Get("form") == hub.FormThin),
				Heartbeats: q.Has("heartbeats"),
			})
			return
		}
		read, _ := br.Peek(br.Buffered())
		o := hub.SocketOptions{Thin: q.Get("form") == hub.FormThin, Caller: q.Get("caller"), Address: address, Credential: credential, Unproven: q.Has("unproven")}
		var first []hub.Subscribe
		for _, name := range q["channel"] {
			first = append(first, hub.Subscribe{Channel: name})
		}
		if o.Session = (session{subscribe: first}); !o.Unproven {
			o.Subscribe, o.Session = first, session{}
		}
		h.ServeSocket(conn, read, r, o)
	})
	t.Cleanup(h.Close)
	return addr
}

// session lets everybody follow everything but "forbidden". Tokens are "NAME" or "NAME until TIME".
type session struct{ subscribe []hub.Subscribe }

func (session) Resolve(_ context.Context, name string) (hub.Channel, error) {
	if name == "forbidden" {
		return hub.Channel{}, errors.New("forbidden")
	}
	return resolve(name), nil
}

func (s session) Authenticate(token string) (hub.Identity, error) {
	name, until, _ := strings.Cut(token, " until ")
	switch name {
	case "":
		return hub.Identity{}, fmt.Errorf("%w: an empty token", hub.ErrUnproven)
	case "down":
		return hub.Identity{}, errors.New("who knows tokens is away")
	}
	var ends time.Time
	if until != "" {
		var err error
		if ends, err = time.Parse(time.RFC3339Nano, until); err != nil {
			return hub.Identity{}, err
		}
	}
	return hub.Identity{Session: session{}, Caller: name, Credential: hub.NewCredential(ends), Subscribe: s.subscribe}, nil
}

func (session) Problem(err error) []byte {
	b, _ := json.Marshal(map[string]string{"title": err.Error()})
	return b
}

func resolve(name string) hub.Channel {
	c := hub.Channel{Key: name, Name: name, Live: strings.HasPrefix(name, "feed")}
	if strings.HasPrefix(name, "again") {
		c.Epoch = "k3m9p2q4rz"
	}
	return c
}

// event is a server-sent event as the WHATWG algorithm dispatches it.
type event struct {
	id, name, data string
}

// sseReader reads events from a raw connection.
type sseReader struct {
	t      testing.TB
	conn   net.Conn
	chunks *hub.Chunks
	br     *bufio.Reader
	lastID string
}

func dialSSE(t testing.TB, addr, channel, after string) *sseReader {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "GET /sse?channel=%s&after=%s HTTP/1.1\r\nHost: x\r\n\r\n", channel, after)
	if err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			t.Fatalf("head: %v", err)
		}
		if line == "\r\n" {
			chunks := hub.NewChunks(br)
			return &sseReader{t: t, conn: conn, chunks: chunks, br: bufio.NewReader(chunks), lastID: after}
		}
	}
}

// next returns the next event. There is none without data: clients would show an empty one, or not
// keep its id.
func (r *sseReader) next() (event, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	var e event
	for {
		line, err := r.br.ReadString('\n')
		if errors.Is(err, hub.ErrChunk) {
			r.t.Error(err)
		}
		if err != nil {
			return event{}, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			e.id, r.lastID = value, value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.data == "" || !json.Valid([]byte(e.data)) {
				r.t.Errorf("a block without data: %+v", e)
			}
			if e.name != "start" {
				return e, nil
			}
			e = event{}
		}
	}
}

// TestEveryFollowerSeesEachOffsetOnce drives random schedules of publishing, losing
// and doubling notifications, trimming, connecting, cutting and resuming, and holds every
// follower to: each offset once, in order, or a loss told in-band.
func TestEveryFollowerSeesEachOffsetOnce(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			source := newMemorySource()
			source.mangle = func(m hub.Message) []hub.Message {
				switch rng.IntN(10) {
				case 0:
					if m.Last { // the periodic top check of a driver heals a lost last notification
						return []hub.Message{m}
					}
					return nil
				case 1:
					return []hub.Message{m, m}
				default:
					return []hub.Message{m}
				}
			}
			trims := seed%2 == 1
			h := hub.New(source, hub.Options{CatchUps: 2})
			addr := serve(t, h)
			const channels, followers, total = 3, 12, 400
			var running sync.WaitGroup
			for f := range followers {
				name := fmt.Sprint("request-", f%channels)
				frng := rand.New(rand.NewPCG(seed, uint64(100+f)))
				running.Go(func() { followRandomly(t, addr, name, total, trims, frng) })
			}
			var publishing sync.WaitGroup
			for c := range channels {
				name := fmt.Sprint("request-", c)
				publishing.Go(func() {
					for n := 1; n <= total; n++ {
						source.append(name, n == total)
						if trims && n%50 == 0 {
							source.trim(name, 5)
						}
						if n%7 == 0 {
							time.Sleep(time.Millisecond) // pace only: lets followers interleave
						}
					}
				})
			}
			publishing.Wait()
			running.Wait()
		})
	}
}

func followRandomly(t *testing.T, addr, name string, total int, mayLose bool, rng *rand.Rand) {
	at, resume := 0, "0"
	for {
		r := dialSSE(t, addr, name, resume)
		for n, cut := 0, 1+rng.IntN(100); n < cut; n++ {
			e, err := r.next()
			if err != nil {
				t.Errorf("%s after %d: %v", name, at, err)
				return
			}
			if e.name == "end" {
				if at != total {
					t.Errorf("%s ended after %d, want %d", name, at, total)
				}
				return
			}
			id, err := strconv.Atoi(e.id)
			if err != nil {
				t.Errorf("id %q: %v", e.id, err)
				return
			}
			if strings.Contains(e.data, "request.reset") {
				if !mayLose {
					t.Errorf("%s: reset at %d though nothing was lost", name, at)
					return
				}
				if id < at {
					t.Errorf("%s: reset goes back from %d to %d", name, at, id)
				}
			} else if id != at+1 || e.data != fmt.Sprintf(`{"n":%d,"life":0}`, id) {
				t.Errorf("%s: got offset %d (%s) after %d", name, id, e.data, at)
				return
			}
			at, resume = id, e.id
		}
		_ = r.conn.Close()
	}
}

// TestRewind lets a channel lose its newest messages again and again while it goes on:
// whoever got messages of one life after those of another is told, if only after it.
func TestRewind(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{CatchUps: 2})
	addr := serve(t, h)
	const name, followers, lives, end = "request-1", 6, 20, 1000
	waiter, err := h.Wait(t.Context(), resolve(name))
	if err != nil {
		t.Fatal(err)
	}
	defer waiter.Close()
	var running sync.WaitGroup
	for range followers {
		r := dialSSE(t, addr, name, "0")
		running.Go(func() {
			at, life, resets, owed := 0, 0, 0, false
			for {
				e, err := r.next()
				if err != nil {
					t.Errorf("after %d: %v", at, err)
					return
				}
				if e.name == "end" {
					if resets == 0 || life != lives || owed {
						t.Errorf("ended in life %d after %d resets, untold %v", life, resets, owed)
					}
					return
				}
				var m struct {
					Type string
					N    int
					Life int
				}
				if err := json.Unmarshal([]byte(e.data), &m); err != nil {
					t.Error(err)
					return
				}
				if m.Type == "request.reset" {
					resets, owed = resets+1, false
					m.N, _ = strconv.Atoi(e.id)
				} else if m.N != at+1 {
					t.Errorf("offset %d after %d", m.N, at)
				} else if m.Life != life {
					owed = true
				}
				at, life = m.N, m.Life
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range lives {
		for range 1 + rng.IntN(20) {
			source.append(name, false)
		}
		source.rewind(name, rng.IntN(5), rng.IntN(8))
		<-waiter.C // it is told too
	}
	for n := uint64(0); n < end; {
		n = source.append(name, n >= end-1)
	}
	running.Wait()
}

// TestResumeWithNothingNewIsOneRead: a storm of reconnects costs the source one read for
// each, and the ones whose channel ended while they were away are told.
func TestResumeWithNothingNewIsOneRead(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	top := source.append("request-on", false)
	source.append("request-over", true)
	const each = 20
	for range each {
		over := dialSSE(t, addr, "request-over", fmt.Sprint(top))
		if e, err := over.next(); err != nil || e.name != "end" {
			t.Fatalf("of what has ended: %v, %v", e, err)
		}
		dialSSE(t, addr, "request-on", fmt.Sprint(top))
	}
	eventually(t, func() bool { s := h.Stats(); return s.Reads >= 2*each && s.Streams == each })
	if s := h.Stats(); s.Reads != 2*each || s.Resets+s.Resyncs > 0 {
		t.Errorf("%d connections: %+v", 2*each, s)
	}
}
