//go:build !portable

package hub

import (
	"context"
	"os"
	"sync"
	"syscall"
)

// poller tells of connections with which something can be done, by one goroutine for all of
// them, so that waiting for a client costs neither a goroutine nor a buffer. Each
// connection is reported once and then waits to be armed again.
type poller struct {
	events uint32 // to be told of
	report func(*outbox)
	epoll  int
	wake   *os.File // its closing ends run

	mu    sync.Mutex
	conns []polled // by descriptor
}

const hasPoller = true

type polled struct {
	o          *outbox
	generation int32 // tells an event of this connection from a late one of the descriptor's last
}

const (
	pollInput  = syscall.EPOLLIN | syscall.EPOLLRDHUP // or the client has gone
	pollOutput = syscall.EPOLLOUT
	pollOnce   = 1 << 30 // EPOLLONESHOT
)

func newPoller(events uint32, report func(*outbox)) (*poller, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		_ = syscall.Close(epoll)
		return nil, err
	}
	p := &poller{events: events | pollOnce, report: report, epoll: epoll, wake: w}
	// The read end stays open with the pipe's own descriptor in the set; a hang-up
	// of it is what ends run.
	fd, err := syscall.Dup(int(r.Fd()))
	_ = r.Close()
	if err == nil {
		err = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: -1, Pad: int32(fd)})
	}
	if err != nil {
		_ = w.Close()
		_ = syscall.Close(epoll)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return p, nil
}

// arm has the next event of a connection reported. Called under o.mu while it is open.
func (p *poller) arm(o *outbox) error {
	p.mu.Lock()
	for len(p.conns) <= int(o.fd) {
		p.conns = append(p.conns, polled{})
	}
	slot, op := &p.conns[o.fd], syscall.EPOLL_CTL_MOD
	if slot.o != o {
		slot.o, op = o, syscall.EPOLL_CTL_ADD
		slot.generation++
	}
	event := syscall.EpollEvent{Events: p.events, Fd: o.fd, Pad: slot.generation}
	p.mu.Unlock()
	return syscall.EpollCtl(p.epoll, op, int(o.fd), &event)
}

// forget lets go of a connection. The kernel takes it out of the set when its
// descriptor is closed. Called under o.mu, before that.
func (p *poller) forget(o *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(o.fd) < len(p.conns) && p.conns[o.fd].o == o {
		p.conns[o.fd].o = nil
	}
}

// run reports until ctx ends. It blocks a thread, not only a goroutine, because the runtime's
// own poller wakes goroutines and there is none to wake.
func (p *poller) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = p.wake.Close() })
	defer stop()
	events := make([]syscall.EpollEvent, 256)
	for {
		n, err := syscall.EpollWait(p.epoll, events, -1)
		if err != nil && err != syscall.EINTR {
			return
		}
		for _, event := range events[:max(n, 0)] {
			if event.Fd < 0 {
				_ = syscall.Close(int(event.Pad))
				_ = syscall.Close(p.epoll)
				return
			}
			p.mu.Lock()
			slot := p.conns[event.Fd]
			p.mu.Unlock()
			if slot.o != nil && slot.generation == event.Pad {
				p.report(slot.o)
			}
		}
	}
}
