//go:build linux && !nodescriptor

package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// packets is a connection on which each write arrives as a packet of its own, so that
// writes can be counted.
func packets(t *testing.T) (server, client net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "packets")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends[0], ends[1]
}

// nextPacket returns the next packet; nil if there is none.
func nextPacket(t *testing.T, conn net.Conn, patience time.Duration) []byte {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 1<<20)
	n, err := conn.Read(buffer)
	if err != nil && !os.IsTimeout(err) {
		t.Fatal(err)
	}
	return buffer[:n]
}

// TestEventsThatArriveTogetherLeaveInOneWrite: what a channel brings while its shard is busy
// is one batch.
func TestEventsThatArriveTogetherLeaveInOneWrite(t *testing.T) {
	source := new(benchSource)
	h := New(source, Options{Heartbeat: time.Hour})
	defer h.Close()
	server, client := packets(t)
	h.ServeStream(server, Channel{Key: "request:1", Name: "request:1"}, StreamOptions{})
	if head := nextPacket(t, client, 10*time.Second); !bytes.HasPrefix(head, []byte("HTTP/1.1 200 OK")) {
		t.Fatalf("%q", head)
	}
	shard := h.shard("request:1")
	ch := shard.channels["request:1"]
	o := &ch.subs[0].to.(*stream).outbox
	o.mu.Lock() // the shard is busy with the first
	source.notify("request:1", Message{Offset: 1, Event: []byte("{}")})
	for busy := false; !busy; time.Sleep(time.Millisecond) {
		shard.mu.Lock()
		busy = !ch.ready
		shard.mu.Unlock()
	}
	for n := range uint64(3) {
		source.notify("request:1", Message{Offset: n + 2, Event: []byte("{}"), Last: n == 2})
	}
	o.mu.Unlock()
	if p := nextPacket(t, client, 10*time.Second); string(p) != "10\r\ndata: {}\nid: 1\n\n\r\n" {
		t.Errorf("%q", p)
	}
	if p := nextPacket(t, client, 10*time.Second); string(p) != "10\r\ndata: {}\nid: 2\n\n\r\n10\r\ndata: {}\nid: 3\n\n\r\n10\r\ndata: {}\nid: 4\n\n\r\n" {
		t.Errorf("%q", p)
	}
}

// TestChannelsThatAreNotifiedTogetherLeaveInOneWrite: a socket with a hundred subscriptions that
// all are notified at once gets them in a write or two of each shard.
func TestChannelsThatAreNotifiedTogetherLeaveInOneWrite(t *testing.T) {
	const channels = 100
	source := new(benchSource)
	h := New(source, Options{Heartbeat: time.Hour})
	defer h.Close()
	server, client := packets(t)
	s := follow(h, server, 0, channels)
	for range channels { // op subscribed
		nextPacket(t, client, 10*time.Second)
	}
	s.mu.Lock() // each shard is busy with the first
	for n := range channels {
		source.notify(fmt.Sprint("request:", n), Message{Offset: 1, Event: []byte("{}")})
	}
	s.mu.Unlock()
	writes, events := 0, 0
	for events < channels {
		p := nextPacket(t, client, 10*time.Second)
		if len(p) == 0 {
			break
		}
		writes++
		events += bytes.Count(p, []byte(`"op":"event"`))
	}
	if events != channels || writes > 2*len(h.shards) {
		t.Errorf("%d events in %d writes", events, writes)
	}
}

// TestGatheredMessagesDoNotWaitForALongRound: what was gathered leaves before a channel with
// many followers is served, and that channel's messages are not gathered.
func TestGatheredMessagesDoNotWaitForALongRound(t *testing.T) {
	h := New(new(benchSource), Options{Heartbeat: time.Hour})
	defer h.Close()
	server, client := packets(t)
	s := follow(h, server, 0, 2)
	for range 2 {
		nextPacket(t, client, 10*time.Second)
	}
	r := new(round)
	s.subs[0].ch.deliver([]Message{{Offset: 1, Event: []byte("{}")}}, r)
	s.subs[1].ch.deliver([]Message{{Offset: 1, Event: []byte("{}")}}, r)
	if p := nextPacket(t, client, time.Millisecond); len(p) > 0 {
		t.Errorf("not gathered: %q", p)
	}
	if r.admits(roundSends + 1) {
		t.Error("a long one is gathered")
	}
	if p := nextPacket(t, client, 10*time.Second); bytes.Count(p, []byte(`"op":"event"`)) != 2 {
		t.Errorf("%q", p)
	}
	// Nor does what comes in small steps.
	s.subs[0].ch.deliver([]Message{{Offset: 2, Event: []byte("{}")}}, r)
	for range roundSends {
		r.admits(1)
	}
	if p := nextPacket(t, client, 10*time.Second); bytes.Count(p, []byte(`"op":"event"`)) != 1 {
		t.Errorf("%q", p)
	}
	// Nor what closes the connection.
	s.subs[0].ch.deliver([]Message{{Offset: 3, Event: []byte("{}")}}, r)
	s.goAway()
	if p := nextPacket(t, client, 10*time.Second); bytes.Count(p, []byte(`"op":"event"`)) != 1 || !bytes.HasSuffix(p, []byte("restarting, reconnect")) {
		t.Errorf("%q", p)
	}
	r.end()
}

// TestGatheredMessagesStayInOrder notifies of many channels of several sockets from all sides while
// the clients read now and then, over small buffers: each channel's events arrive once, in
// order, and its end comes last.
func TestGatheredMessagesStayInOrder(t *testing.T) {
	const sockets, each, total = 4, 20, 100
	source := new(benchSource)
	h := New(source, Options{Heartbeat: time.Hour, QueueBytes: 8 << 20})
	defer h.Close()
	var reading, notifying sync.WaitGroup
	for n := range sockets {
		server, client := tcpPair(t)
		_ = server.SetWriteBuffer(32 << 10)
		_ = client.SetReadBuffer(32 << 10)
		s := follow(h, server, n*each, each)
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 3))
			var all []byte
			at, ended := make(map[string]uint64), 0
			for buffer := make([]byte, 64<<10); ; {
				n, err := client.Read(buffer[:1+rng.IntN(len(buffer)-1)])
				all = append(all, buffer[:n]...)
				for len(all) >= 10 && len(all) >= frameSize(all) {
					size := frameSize(all)
					frame := all[:size]
					all = all[size:]
					if frame[0] == opClose {
						continue
					}
					var m struct {
						Op, Channel string
						Offset      uint64
					}
					if e := json.Unmarshal(frame[bytes.Index(frame, []byte(`{"op"`)):], &m); e != nil {
						t.Errorf("%v: %.80q", e, frame)
						return
					}
					switch {
					case m.Op == "event" && m.Offset == at[m.Channel]+1:
						at[m.Channel]++
					case m.Op == "end" && m.Offset == total && at[m.Channel] == total:
						ended++
					case m.Op != "subscribed" && m.Op != "pong":
						t.Errorf("%s %d of %s after %d", m.Op, m.Offset, m.Channel, at[m.Channel])
					}
				}
				if err != nil {
					if err != io.EOF || ended != each {
						t.Errorf("%d ended, %v", ended, err)
					}
					return
				}
			}
		})
		notifying.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 4))
			pad := bytes.Repeat([]byte("x"), 400)
			for offset := range uint64(total) {
				for c := range each {
					event := fmt.Appendf(nil, `{"pad":%q}`, pad[:rng.IntN(len(pad))])
					source.notify(fmt.Sprint("request:", n*each+c), Message{Offset: offset + 1, Event: event, Last: offset == total-1})
				}
				if rng.IntN(4) == 0 {
					s.message([]byte(`{"op":"ping"}`))
				}
			}
		})
	}
	notifying.Wait()
	for h.Stats().Delivered < sockets*each*total {
		time.Sleep(time.Millisecond) // a poll: the condition decides
	}
	h.Drain(t.Context(), 0) // closes each once all is out
	reading.Wait()
	if s := h.Stats(); s.Full == 0 || s.Slow+s.Resyncs > 0 {
		t.Errorf("%+v", s)
	}
}
