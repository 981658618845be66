//go:build linux

package main

import (
	"encoding/binary"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// fanout has the connections of all channels, as bare descriptors.
type fanout struct {
	size int // of a message on the wire
	gone int // an epoll set that tells of connections that were closed

	mu       sync.Mutex
	channels map[string]*channel
	of       map[int]*channel

	tidy *time.Timer // gives back what accepting connections took
}

// channel is who follows it. Its lock is held while publishing.
type channel struct {
	mu               sync.Mutex
	streams, sockets []int
}

func newFanout(size int) (*fanout, error) {
	gone, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := &fanout{size: size, gone: gone, channels: make(map[string]*channel), of: make(map[int]*channel), tidy: time.AfterFunc(time.Hour, debug.FreeOSMemory)}
	go f.sweep()
	return f, nil
}

// follow takes a connection away from the Go runtime, which would keep more of it than its
// descriptor.
func (f *fanout) follow(conn *net.TCPConn, name, key string) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	fd := -1
	if err := raw.Control(func(original uintptr) { fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		return err
	}
	f.mu.Lock()
	c := f.channels[name]
	if c == nil {
		c = new(channel)
		f.channels[name] = c
	}
	f.of[fd] = c
	f.mu.Unlock()
	c.mu.Lock()
	_, _ = unix.Write(fd, welcome(key)) // if it fails, sweep hears of it
	if key == "" {
		c.streams = append(c.streams, fd)
	} else {
		c.sockets = append(c.sockets, fd)
	}
	c.mu.Unlock()
	f.tidy.Reset(time.Second)
	return unix.EpollCtl(f.gone, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLRDHUP, Fd: int32(fd)})
}

// publish writes a message to all who follow the channel.
func (f *fanout) publish(name, n string) {
	f.mu.Lock()
	c := f.channels[name]
	f.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 0 {
		write(c.streams, f.event(n))
	}
	if len(c.sockets) > 0 {
		write(c.sockets, f.frame(n))
	}
}

func write(fds []int, message []byte) {
	for _, fd := range fds {
		if n, err := unix.Write(fd, message); err != nil || n < len(message) {
			_ = unix.Shutdown(fd, unix.SHUT_RDWR) // and sweep hears of it
		}
	}
}

// event returns a message as a server-sent event of the size.
func (f *fanout) event(n string) []byte {
	const before, after = "data: ", "\n\n"
	return append(payload([]byte(before), n, f.size-len(after)), after...)
}

// frame returns a message as a frame of a WebSocket of the size.
func (f *fanout) frame(n string) []byte {
	if length := f.size - 2; length < 126 {
		return payload([]byte{0x81, byte(length)}, n, f.size)
	}
	return payload(binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(f.size-4)), n, f.size)
}

// payload appends a message to its head, up to a length. It is at least as long as it has to be.
func payload(head []byte, n string, length int) []byte {
	const before, after = `,"message":"`, `"}`
	head = append(append(append(head, `{"n":`...), n...), before...)
	return append(append(head, strings.Repeat("x", max(0, length-len(head)-len(after)))...), after...)
}

// sweep forgets connections that were closed.
func (f *fanout) sweep() {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(f.gone, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, e := range events[:max(n, 0)] {
			fd := int(e.Fd)
			f.mu.Lock()
			c := f.of[fd]
			delete(f.of, fd)
			f.mu.Unlock()
			c.mu.Lock()
			mine := func(other int) bool { return other == fd }
			c.streams, c.sockets = slices.DeleteFunc(c.streams, mine), slices.DeleteFunc(c.sockets, mine)
			c.mu.Unlock()
			_ = unix.Close(fd)
		}
	}
}
