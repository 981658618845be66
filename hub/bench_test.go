package hub

import (
	"context"
	"fmt"
	"net"
	"os"
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

// benchSource rings on demand.
type benchSource struct{ ring func(string, Message) }

func (s *benchSource) Read(context.Context, string, uint64, int) (History, error) {
	return History{}, nil
}
func (s *benchSource) Reset(context.Context, string) (Message, error) { return Message{}, nil }
func (s *benchSource) Watch(context.Context, string) error            { return nil }
func (s *benchSource) Unwatch(string)                                 {}
func (s *benchSource) Listen(f func(string, Message))                 { s.ring = f }

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
				ch.deliver([]Message{{Offset: offset, Event: event}})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(followers), "ns/delivery")
		})
	}
}

// BenchmarkEncode frames one event for each wire.
func BenchmarkEncode(b *testing.B) {
	m := []Message{{Offset: 12345, Event: make([]byte, 600)}}
	b.Run("sse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			(&batch{channel: "request:x", messages: m}).SSE()
		}
	})
	b.Run("websocket", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			(&batch{channel: "request:x", messages: m}).Socket()
		}
	})
}
