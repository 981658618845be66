package hub

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// nullConn is a connection into which bytes vanish, by one system call as into a
// socket: what remains is the hub's own cost.
type nullConn struct {
	net.Conn
	file *os.File
}

func (c nullConn) SyscallConn() (syscall.RawConn, error) { return c.file.SyscallConn() }
func (c nullConn) Close() error                          { return nil }
func (c nullConn) CloseWrite() error                     { return nil }

// benchSource notifies on demand.
type benchSource struct{ notify func(string, Message) }

func (s *benchSource) Read(context.Context, string, uint64, int) (History, error) {
	return History{}, nil
}
func (s *benchSource) Reset(context.Context, string) (Message, error) { return Message{}, nil }
func (s *benchSource) Watch(context.Context, string) error            { return nil }
func (s *benchSource) Unwatch(string)                                 {}
func (s *benchSource) Listen(f func(string, Message))                 { s.notify = f }

// BenchmarkBroadcast delivers one message to all followers of a channel. An
// operation is one message; the figure per delivery is a metric of its own.
func BenchmarkBroadcast(b *testing.B) {
	event := make([]byte, 600)
	for i := range event {
		event[i] = 'x'
	}
	for _, followers := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(followers), func(b *testing.B) {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = null.Close() }()
			source := new(benchSource)
			h := New(source, Options{Heartbeat: time.Hour})
			defer h.Close()
			channel := Channel{Key: "request:bench", Name: "request:bench"}
			for range followers {
				h.ServeStream(nullConn{file: null}, channel, StreamOptions{})
			}
			ch := h.shard(channel.Key).channels[channel.Key]
			b.ReportAllocs()
			var offset uint64
			for b.Loop() {
				offset++
				ch.deliver([]Message{{Offset: offset, Event: event}}, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(followers), "ns/delivery")
		})
	}
}

// BenchmarkSockets notifies of channels of which each has one subscription, all at once, as a store
// does under load: of sockets that follow one each, or that follow a hundred.
func BenchmarkSockets(b *testing.B) {
	event := bytes.Repeat([]byte("x"), 600)
	for _, each := range []int{1, 2, 10, 100} {
		b.Run(fmt.Sprint(each), func(b *testing.B) {
			source := new(benchSource)
			h := New(source, Options{Heartbeat: time.Hour})
			defer h.Close()
			const channels = 1000
			for n := range channels / each {
				server, client := tcpPair(b)
				go func() { _, _ = io.Copy(io.Discard, client) }()
				follow(h, server, n*each, each)
			}
			names := make([]string, channels)
			for i := range names {
				names[i] = fmt.Sprint("request:", i)
			}
			b.ReportAllocs()
			var offset uint64
			for b.Loop() {
				offset++
				for _, name := range names {
					source.notify(name, Message{Offset: offset, Event: event})
				}
				for h.stats.delivered.Load() < offset*channels {
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/channels, "ns/delivery")
		})
	}
}

// follow makes a socket of a connection, without a handshake, that follows so many channels.
func follow(h *Hub, conn net.Conn, first, channels int) *socket {
	s := &socket{session: anybody{}}
	s.init(h, conn, formSocket, s, place{}, nil)
	for n := range channels {
		s.subscribe(context.Background(), Subscribe{Channel: fmt.Sprint("request:", first+n)})
	}
	return s
}

// anybody may follow everything.
type anybody struct{ Session }

func (anybody) Resolve(_ context.Context, name string) (Channel, error) {
	return Channel{Key: name, Name: name}, nil
}

// tcpPair returns the two ends of a connection.
func tcpPair(t testing.TB) (server, client *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	a, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server, client = b.(*net.TCPConn), a.(*net.TCPConn)
	t.Cleanup(func() { _, _ = server.Close(), client.Close() })
	return server, client
}

// BenchmarkEncode frames one event for each wire.
func BenchmarkEncode(b *testing.B) {
	m := []Message{{Offset: 12345, Event: make([]byte, 600), Thin: verbatim(make([]byte, 200))}}
	for f, name := range map[form]string{formSSE: "sse", formSocket: "websocket", formThinSSE: "sse-thin", formThinSocket: "websocket-thin"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				(&batch{channel: "request:x", messages: m}).encoded(f)
			}
		})
	}
}

// verbatim is an event whose thin form costs nothing to make.
type verbatim []byte

func (v verbatim) AppendThin(dst []byte, _ string) []byte { return append(dst, v...) }
