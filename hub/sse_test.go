package hub_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// headless notes whether anything of an answer is written before the source has been read. It gives
// that a moment, since what is written may leave later.
type headless struct {
	*memorySource
	head  func() bool
	early atomic.Bool
}

func (s *headless) Read(ctx context.Context, key string, after uint64, limit int) (hub.History, error) {
	for range 50 {
		if s.head() {
			s.early.Store(true)
		}
		time.Sleep(time.Millisecond)
	}
	return s.memorySource.Read(ctx, key, after, limit)
}

// written is a connection that knows whether something was written to it.
type written struct {
	net.Conn
	any atomic.Bool
}

func (w *written) Write(b []byte) (int, error) {
	w.any.Store(true)
	return w.Conn.Write(b)
}

// TestFeedBeginsBeforeItsHead: whoever has the head of a new feed's answer misses nothing that is
// published from then on, so where it begins is read before.
func TestFeedBeginsBeforeItsHead(t *testing.T) {
	server, client := net.Pipe()
	defer func() { _ = client.Close() }()
	conn := &written{Conn: server}
	source := &headless{memorySource: newMemorySource(), head: conn.any.Load}
	h := hub.New(source, hub.Options{})
	defer h.Close()
	old := source.append("feed", false)
	var serving sync.WaitGroup
	serving.Go(func() {
		h.ServeStream(conn, hub.Channel{Key: "feed", Name: "feed", Live: true}, hub.StreamOptions{})
	})
	br := bufio.NewReader(client)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	source.append("feed", false)
	stream := &sseReader{t: t, conn: client, br: bufio.NewReader(hub.NewChunks(br))}
	if e, err := stream.next(); err != nil || e.id != fmt.Sprint(old+1) {
		t.Errorf("%+v, %v", e, err)
	}
	serving.Wait()
	if source.early.Load() {
		t.Error("the head was written before it was read where the feed is")
	}
	if s := h.Stats(); s.Reads != 1 || s.Resyncs > 0 {
		t.Errorf("%+v", s)
	}
}
