package hub_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/servertest"
)

// pieceSource is a source of one stream of bytes, of which notifications get lost, come twice, or
// in other pieces than a read brings.
type pieceSource struct {
	mu     sync.Mutex
	rng    *rand.Rand
	bytes  []byte
	closed bool
	epoch  string
	lossy  bool
	notify func(string, hub.Message)
}

const pieceKey = "stream:o\x00p"

func (s *pieceSource) piece(from, to int) hub.Message {
	return hub.Message{
		Offset: uint64(to), Span: uint64(to-from) - 1, Event: s.bytes[from:to:to], Piece: &hub.Piece{Kind: hub.PieceBytes, Epoch: s.epoch},
	}
}

func (s *pieceSource) end() hub.Message {
	return hub.Message{Offset: uint64(len(s.bytes)) + 1, Event: []byte{}, Last: true, Piece: &hub.Piece{Epoch: s.epoch}}
}

func (s *pieceSource) append(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := len(s.bytes)
	s.bytes = append(s.bytes, text...)
	m := s.piece(from, len(s.bytes))
	if !s.lossy {
		s.notify(pieceKey, m)
		return
	}
	switch s.rng.IntN(6) {
	case 0: // lost
	case 1:
		s.notify(pieceKey, m)
		s.notify(pieceKey, m)
	case 2: // with what came before, as after a reconnect
		s.notify(pieceKey, s.piece(from-s.rng.IntN(from+1), len(s.bytes)))
	default:
		s.notify(pieceKey, m)
	}
}

func (s *pieceSource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.notify(pieceKey, s.end())
}

func (s *pieceSource) Read(_ context.Context, _ string, after uint64, limit int) (hub.History, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := hub.History{Top: uint64(len(s.bytes)), Ended: s.closed}
	if s.closed {
		h.Top++
	}
	at := int(min(after, uint64(len(s.bytes))))
	if after > h.Top {
		return h, nil
	}
	for size := 0; at < len(s.bytes) && len(h.Messages) < limit && size < 200; {
		to := min(at+1+s.rng.IntN(70), len(s.bytes))
		h.Messages = append(h.Messages, s.piece(at, to))
		size += to - at
		at = to
	}
	if s.closed && at == len(s.bytes) && after < h.Top && len(h.Messages) < limit {
		h.Messages = append(h.Messages, s.end())
	}
	return h, nil
}

func (s *pieceSource) Reset(context.Context, string) (hub.Message, error) {
	return hub.Message{Event: []byte{}, Last: true, Piece: &hub.Piece{Gone: true}}, nil
}
func (s *pieceSource) Watch(context.Context, string) error { return nil }
func (s *pieceSource) Unwatch(string)                      {}
func (s *pieceSource) Listen(f func(string, hub.Message))  { s.notify = f }

// serveStream answers GET /?offset=&epoch= as the gateway would.
func serveStream(t *testing.T, h *hub.Hub, native bool) string {
	t.Helper()
	addr := servertest.Serve(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			_ = conn.Close()
			return
		}
		q := r.URL.Query()
		offset, _ := strconv.ParseUint(q.Get("offset"), 10, 64)
		transport := hub.Durable(true, false)
		if native {
			transport = hub.Native(true, false)
		}
		h.ServeStream(conn, hub.Channel{Key: pieceKey, Name: "stream:p", Epoch: q.Get("epoch")}, hub.StreamOptions{
			After: &hub.Cursor{Offset: offset, Epoch: q.Get("epoch")}, Transport: transport, Cursor: hub.ParseStreamCursor(q.Get("cursor")),
		})
	})
	t.Cleanup(h.Close)
	return addr
}

// pieceReader is a connection that follows a stream.
type pieceReader struct {
	t      testing.TB
	conn   net.Conn
	status int
	header http.Header
	br     *bufio.Reader
}

func dialStream(t testing.TB, addr, query string) *pieceReader {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * time.Minute))
	if _, err := fmt.Fprintf(conn, "GET /?%s HTTP/1.1\r\nHost: x\r\n\r\n", query); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("head: %v", err)
	}
	return &pieceReader{t, conn, res.StatusCode, res.Header, bufio.NewReader(res.Body)}
}

// block reads the next block with data. The error is io.EOF behind a clean end.
func (r *pieceReader) block() (name, data, id string, err error) {
	for {
		line, err := r.br.ReadString('\n')
		if err != nil {
			return "", "", "", err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		switch value = strings.TrimPrefix(value, " "); field {
		case "event":
			name = value
		case "data":
			data += value
		case "id":
			id = value
		case "":
			if data != "" {
				return name, data, id, nil
			}
			if line != "\n" { // a comment
				continue
			}
			name, id = "", ""
		}
	}
}

type controlEvent struct {
	StreamNextOffset, StreamCursor string
	UpToDate, StreamClosed         bool
}

// position returns that of an offset.
func (c controlEvent) position(t testing.TB) int {
	t.Helper()
	digits, _, _ := strings.Cut(c.StreamNextOffset, "_")
	n, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 16 {
		t.Errorf("offset %q", c.StreamNextOffset)
	}
	return n
}

// TestEveryReaderGetsEachByteOnce drives random schedules of appending, of losing, doubling and
// regrouping notifications, of connecting, cutting and resuming, and holds every reader of a stream
// to its bytes, each once and in order, and to its end.
func TestEveryReaderGetsEachByteOnce(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			source := &pieceSource{rng: rand.New(rand.NewPCG(seed, 1)), epoch: "tag", lossy: true}
			h := hub.New(source, hub.Options{CatchUps: 2})
			addr := serveStream(t, h, false)
			var readers sync.WaitGroup
			got := make([][]byte, 8)
			for i := range got {
				rng := rand.New(rand.NewPCG(seed, uint64(100+i)))
				readers.Go(func() { got[i] = readRandomly(t, addr, rng) })
			}
			rng := rand.New(rand.NewPCG(seed, 2))
			for n := range 400 {
				text := make([]byte, 1+rng.IntN(40))
				for i := range text {
					text[i] = byte(n*7 + i)
				}
				source.append(text)
				if rng.IntN(20) == 0 {
					time.Sleep(time.Millisecond) // so that readers come in between
				}
			}
			source.close()
			readers.Wait()
			for i, read := range got {
				if !bytes.Equal(read, source.bytes) {
					t.Errorf("reader %d has %d bytes of %d, or others", i, len(read), len(source.bytes))
				}
			}
		})
	}
}

// readRandomly follows a stream through connections that it cuts, to its end.
func readRandomly(t *testing.T, addr string, rng *rand.Rand) (got []byte) {
	cursor := uint64(0)
	for {
		fresh := true // with a cursor beyond all that came before
		r := dialStream(t, addr, fmt.Sprintf("epoch=tag&offset=%d&cursor=%d", len(got), cursor))
		for left := rng.IntN(60); left > 0; left-- {
			name, data, id, err := r.block()
			if err != nil {
				t.Errorf("behind %d bytes: %v", len(got), err)
				return got
			}
			if name == "data" {
				text, err := base64.StdEncoding.DecodeString(data)
				if err != nil {
					t.Error(err)
				}
				got = append(got, text...)
				left++ // its control comes with it
				continue
			}
			var c controlEvent
			if err := json.Unmarshal([]byte(data), &c); err != nil || name != "control" || c.StreamNextOffset != id || c.position(t) != len(got) {
				t.Errorf("behind %d bytes: %s %s %s, %v", len(got), name, data, id, err)
				return got
			}
			if c.StreamClosed {
				if _, _, _, err := r.block(); !errors.Is(err, io.EOF) {
					t.Errorf("behind the end: %v", err)
				}
				return got
			}
			next, err := strconv.ParseUint(c.StreamCursor, 10, 64)
			if err != nil || next < cursor || fresh && next == cursor {
				t.Errorf("the cursor %q follows on %d", c.StreamCursor, cursor)
			}
			cursor, fresh = next, false
		}
		_ = r.conn.Close()
	}
}

// TestReaderIsSentAway: a reader by Durable Streams whose connection ends early is sent away
// cleanly, and not before a second is over; an EventSource is cut off. Who is one too many gets
// 503.
func TestReaderIsSentAway(t *testing.T) {
	for _, native := range []bool{false, true} {
		source := &pieceSource{rng: rand.New(rand.NewPCG(1, 1)), epoch: "tag", bytes: []byte("x")}
		h := hub.New(source, hub.Options{Connections: 1})
		addr := serveStream(t, h, native)
		began := time.Now()
		r := dialStream(t, addr, "epoch=tag&offset=0")
		if name, _, _, err := r.block(); err != nil || native != (name == "start") {
			t.Fatalf("%s, %v", name, err)
		}
		refused := dialStream(t, addr, "epoch=tag&offset=0")
		if want := map[bool]int{false: 503, true: 200}[native]; refused.status != want || !native && refused.header.Get("Retry-After") == "" {
			t.Errorf("native %v: %d %v", native, refused.status, refused.header)
		}
		h.Drain(t.Context(), 0)
		var err error
		var last string
		for err == nil {
			var data string
			if _, data, _, err = r.block(); err == nil {
				last = data
			}
		}
		took := time.Since(began)
		switch clean := errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF); {
		case native && clean:
			t.Errorf("an EventSource takes this for the end: %q", last)
		case !native && (!clean || took < time.Second || !strings.Contains(last, "streamNextOffset")):
			t.Errorf("after %v: %v behind %q", took, err, last)
		}
	}
}

// TestReaderOfAnotherStream: nobody gets bytes of a stream that has the name of that which he
// follows.
func TestReaderOfAnotherStream(t *testing.T) {
	source := &pieceSource{rng: rand.New(rand.NewPCG(1, 1)), epoch: "tag", bytes: []byte("one")}
	h := hub.New(source, hub.Options{})
	addr := serveStream(t, h, false)
	r := dialStream(t, addr, "epoch=tag&offset=0")
	for range 2 {
		if name, _, _, err := r.block(); err != nil || name != "data" && name != "control" {
			t.Fatalf("%s, %v", name, err)
		}
	}
	source.mu.Lock()
	source.epoch, source.bytes = "other", []byte("another one")
	source.mu.Unlock()
	source.append([]byte(" goes on"))
	if name, data, _, err := r.block(); !errors.Is(err, io.EOF) {
		t.Errorf("%s %s, %v", name, data, err)
	}
	// As long as the other one has not left yet, who comes is told to come back.
	var name, data string
	err := io.EOF
	for deadline := time.Now().Add(3 * time.Minute); errors.Is(err, io.EOF) && time.Now().Before(deadline); {
		name, data, _, err = dialStream(t, addr, "epoch=other&offset=0").block()
	}
	if text, _ := base64.StdEncoding.DecodeString(data); err != nil || name != "data" || !strings.HasPrefix("another one goes on", string(text)) {
		t.Errorf("%s %q, %v", name, data, err)
	}
}
