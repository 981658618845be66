package hub

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// outbox is the one way by which bytes leave through a connection. A write goes to
// the socket at once, without blocking; what the socket does not take waits here, in
// order, and one goroutine flushes it, for only as long as there is something. So
// frames of different origin (events, heartbeats, control frames) never interleave
// and an idle connection costs nothing.
//
// The outbox owns the connection: nobody else writes to it or closes it.
type outbox struct {
	hub  *Hub
	conn net.Conn
	fd   int // of conn, -1 if it has none: then every write waits for the flusher

	// place in the wheel, under wheel.mu; slot is -1 when not in it
	slot  int32
	index int32

	mu       sync.Mutex
	state    outboxState
	flushing bool
	wire     wire
	reason   reason   // why it was closed
	queue    [][]byte // waiting; shared bytes, never changed
	queued   int      // bytes in queue and in the flusher's hands
	empty    chan struct{}

	owner  connection
	caller *caller // nil if callers are not counted
}

// connection is what an outbox belongs to.
type connection interface {
	// readable is called when the client has sent something or has gone, and then
	// not again until the poller is armed. It does not block.
	readable()
	// leave is called once, in a goroutine of its own, after the connection was closed.
	leave()
}

type outboxState uint8

const (
	outboxOpen    outboxState = iota
	outboxClosing             // takes nothing more, closes when flushed
	outboxClosed
)

// wire is the protocol of a connection.
type wire uint8

const (
	wireSSE wire = iota
	wireSocket
)

var errClosed = errors.New("connection is closed")

func (o *outbox) init(h *Hub, conn net.Conn, w wire, owner connection, caller *caller) {
	o.hub, o.conn, o.wire, o.owner, o.caller, o.slot, o.fd = h, conn, w, owner, caller, -1, -1
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { o.fd = int(fd) })
		}
	}
	h.stats.opened(w)
	h.wheel.add(o)
}

// write sends b, which nobody may change afterwards. A write beyond the bound
// closes the connection as too slow, unless it is history, which is paced by room.
func (o *outbox) write(b []byte, history bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen {
		return errClosed
	}
	return o.put(b, history)
}

// put is write under o.mu in any state but closed.
func (o *outbox) put(b []byte, history bool) error {
	if !o.flushing && o.fd >= 0 {
		n, err := tryWrite(o.fd, b)
		if err != nil {
			o.close(reasonGone)
			return err
		}
		if b = b[n:]; len(b) == 0 {
			return nil
		}
	} else if !history && o.queued > 0 && o.queued+len(b) > o.hub.opts.QueueBytes {
		// Only between whole frames: the rest of one that has begun must follow.
		o.overflow()
		return errClosed
	}
	o.queue = append(o.queue, b)
	o.queued += len(b)
	if !o.flushing {
		o.flushing = true
		o.hub.tasks.Go(o.flush)
	}
	return nil
}

// tryWrite writes what the socket takes without blocking. The descriptor is
// non-blocking, and valid because only the outbox closes it, under its mutex.
func tryWrite(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, b)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}

// tryRead reads what the socket has without blocking; closed tells that the client
// has gone, or we have.
func (o *outbox) tryRead(b []byte) (n int, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == outboxClosed {
		return 0, true
	}
	for {
		n, err := syscall.Read(o.fd, b)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, false
		case n <= 0:
			return 0, true
		}
		return n, false
	}
}

// open reports whether the connection takes part yet.
func (o *outbox) open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == outboxOpen
}

// watch has the poller tell of the client from now on. The connection cannot be
// closed meanwhile, and its descriptor become another's.
func (o *outbox) watch() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == outboxClosed {
		return errClosed
	}
	if o.fd < 0 {
		return errors.ErrUnsupported
	}
	return o.hub.poller.add(o)
}

// arm has the poller tell of the next thing that the client does.
func (o *outbox) arm() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxClosed {
		o.hub.poller.arm(o)
	}
}

// overflow ends a connection that does not keep up: what is queued still goes out,
// as whole frames, then it is told to resume. Called under o.mu.
func (o *outbox) overflow() {
	o.hub.stats.slow.Add(1)
	o.reason = reasonSlow
	if o.wire == wireSocket {
		b := closeFrame(uint16(CloseSlow), "too slow, resume from your last offset")
		o.queue = append(o.queue, b)
		o.queued += len(b)
	}
	o.state = outboxClosing // a flusher is running, else nothing would be queued
	o.timeout(o.hub.opts.WriteTimeout)
}

// timeout aborts the connection after d, whatever it is still waiting for.
func (o *outbox) timeout(d time.Duration) {
	time.AfterFunc(d, func() { o.abort(o.reason) })
}

// flush writes the queue with blocking writes until it is empty. It runs in its
// own goroutine, at most one for an outbox.
func (o *outbox) flush() {
	for {
		o.mu.Lock()
		if o.state == outboxClosed {
			o.flushing = false
			o.wakeRoom()
			o.mu.Unlock()
			return
		}
		if len(o.queue) == 0 {
			o.flushing = false
			o.wakeRoom()
			if o.state == outboxClosing {
				o.flushed()
			}
			o.mu.Unlock()
			return
		}
		queue := net.Buffers(o.queue)
		o.queue = nil
		size := 0
		for _, b := range queue {
			size += len(b)
		}
		o.mu.Unlock()

		err := o.flushQueue(queue)

		o.mu.Lock()
		o.queued -= size
		if err != nil {
			o.close(reasonGone)
		} else if o.queued <= o.hub.opts.QueueBytes/2 {
			o.wakeRoom()
		}
		o.mu.Unlock()
	}
}

// flushQueue writes queue. It gives up when the socket took nothing for
// WriteTimeout.
func (o *outbox) flushQueue(queue net.Buffers) error {
	for len(queue) > 0 {
		if err := o.conn.SetWriteDeadline(time.Now().Add(o.hub.opts.WriteTimeout)); err != nil {
			return err
		}
		chunk := queue[0]
		const most = 64 << 10 // progress is seen at least every so many bytes
		if len(chunk) > most {
			chunk = chunk[:most]
		}
		n, err := o.conn.Write(chunk)
		if queue[0] = queue[0][n:]; len(queue[0]) == 0 {
			queue = queue[1:]
		}
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
	return nil
}

// room waits until at most half of the bound is queued.
func (o *outbox) room(ctx context.Context) error {
	o.mu.Lock()
	for o.state == outboxOpen && o.queued > o.hub.opts.QueueBytes/2 {
		if o.empty == nil {
			o.empty = make(chan struct{})
		}
		empty := o.empty
		o.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.mu.Lock()
	}
	defer o.mu.Unlock()
	if o.state != outboxOpen {
		return errClosed
	}
	return nil
}

// wakeRoom lets those in room look again. Called under o.mu.
func (o *outbox) wakeRoom() {
	if o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// finish sends b as the last bytes and closes the connection when they are out.
func (o *outbox) finish(b []byte, why reason) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen {
		return
	}
	if len(b) > 0 && o.put(b, true) != nil {
		return
	}
	o.reason, o.state = why, outboxClosing
	if !o.flushing {
		o.flushed()
	}
}

// lingerTime is how long a WebSocket client has to answer a close frame.
const lingerTime = 2 * time.Second

// flushed closes a connection that has sent its last byte. A WebSocket client gets a moment
// to answer, because closing with its bytes unread would reset the connection
// and could take our close frame with it; its reader closes then. Called under o.mu.
func (o *outbox) flushed() {
	half, ok := o.conn.(interface{ CloseWrite() error })
	if o.wire == wireSSE || !ok || o.reason == reasonGone {
		o.close(o.reason)
		return
	}
	_ = half.CloseWrite()
	o.timeout(lingerTime)
}

// abort closes the connection at once.
func (o *outbox) abort(why reason) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.close(why)
}

// close closes the connection and lets go of what is queued. Called under o.mu.
func (o *outbox) close(why reason) {
	if o.state == outboxClosed {
		return
	}
	if o.reason == reasonNone {
		o.reason = why
	}
	o.state = outboxClosed
	o.queue = nil
	o.wakeRoom()
	o.hub.wheel.remove(o)
	if o.fd >= 0 {
		o.hub.poller.forget(o)
	}
	o.hub.stats.closed(o.wire, o.reason)
	o.hub.admission.leave(o.caller)
	_ = o.conn.Close()
	o.hub.tasks.Go(o.owner.leave)
}

// beat sends a sign of life, unless bytes are under way anyway.
func (o *outbox) beat() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen || o.flushing {
		return
	}
	if o.wire == wireSSE {
		_ = o.put(heartbeatSSE, false)
	} else {
		_ = o.put(heartbeatSocket, false)
	}
}

// goAway ends the connection for a restart.
func (o *outbox) goAway() {
	if o.wire == wireSSE {
		o.finish(retryField(o.hub.retry()), reasonShutdown)
		return
	}
	o.finish(closeFrame(uint16(CloseRestart), "restarting, reconnect"), reasonShutdown)
}

var (
	heartbeatSSE    = []byte(":\n") // a comment
	heartbeatSocket = []byte{opPing, 0}
)
