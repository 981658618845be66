package hub

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"
)

// What is written together at most, in bytes and in buffers. Progress is seen at least
// once for so many bytes, and the rest can be coalesced still.
const (
	flushBytes   = 64 << 10
	flushBuffers = 64
	recordBytes  = 16 << 10 // of TLS, whose records are that long at most
)

// flush writes the backlog as fast as the socket takes it until it is empty. It runs in its
// own goroutine, at most one for an outbox.
func (o *outbox) flush() {
	most := flushBytes
	if o.fd < 0 {
		most = recordBytes
	}
	most = o.atOnce(most)
	o.hub.flushing.Add(1)
	defer o.hub.flushing.Add(-1)
	var taken [][]byte
	o.mu.Lock()
	defer o.mu.Unlock()
	for q := o.backlog; o.state != outboxClosed; {
		var size int
		if taken, size = q.take(taken[:0], most, flushBuffers); len(taken) == 0 {
			o.wakeRoom()
			o.backlog = nil
			if o.state == outboxClosing {
				o.flushed()
			}
			return
		}
		o.mu.Unlock()
		err := o.writeOut(taken, most)
		o.mu.Lock()
		q.bytes -= size
		if err != nil {
			o.close(reasonGone)
		} else if q.bytes <= o.hub.bound()/2 {
			o.wakeRoom()
		}
	}
}

// bound is what a connection may leave unread. The fuller sockets there are, the less it is, so
// that all of them together do not take the memory that everybody needs.
func (h *Hub) bound() int {
	const least = 64 << 10
	most := h.opts.QueueBytes
	if n := int(h.flushing.Load()); n*most > h.opts.BacklogBytes {
		return min(most, max(h.opts.BacklogBytes/n, least))
	}
	return most
}

// writeOut writes buffers, at most so many bytes at a time. It gives up when the socket
// took nothing for WriteTimeout.
func (o *outbox) writeOut(buffers [][]byte, most int) error {
	late := time.NewTimer(o.hub.opts.WriteTimeout)
	defer late.Stop()
	for len(buffers) > 0 {
		n, err := o.writeSome(buffers, most)
		if err == nil && n == 0 {
			err = o.waitWritable(late.C)
		}
		if err != nil {
			return err
		}
		if n > 0 {
			late.Reset(o.hub.opts.WriteTimeout)
		}
		for n > 0 {
			first := min(n, len(buffers[0]))
			n -= first
			if buffers[0] = buffers[0][first:]; len(buffers[0]) == 0 {
				buffers = buffers[1:]
			}
		}
	}
	return nil
}

// writeSome writes what the socket takes of buffers, by one call: with TLS each would be a record
// of its own. What is joined for that is kept no longer, so that many clients that are slow share
// what waits for all of them. Without a descriptor it waits for the socket.
func (o *outbox) writeSome(buffers [][]byte, most int) (int, error) {
	if o.conn != nil {
		b := buffers[0]
		if len(buffers) > 1 {
			b = bytes.Join(buffers, nil)
		}
		if err := o.conn.SetWriteDeadline(time.Now().Add(o.hub.opts.WriteTimeout)); err != nil {
			return 0, err
		}
		n, err := o.conn.Write(b[:min(len(b), most)])
		if n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		return n, err
	}
	b := buffers[0]
	if len(buffers) > 1 {
		scratch := gathered.Get().(*[]byte)
		defer gathered.Put(scratch)
		b = (*scratch)[:0]
		for _, buffer := range buffers {
			b = append(b, buffer...)
		}
		*scratch = b
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == outboxClosed {
		return 0, errClosed
	}
	return tryWrite(o.fd, b[:min(len(b), most)])
}

// waitWritable returns when the socket may take something, or with an error when late comes first.
func (o *outbox) waitWritable(late <-chan time.Time) error {
	o.mu.Lock()
	if o.state == outboxClosed {
		o.mu.Unlock()
		return errClosed
	}
	writable := make(chan struct{})
	o.backlog.writable = writable
	err := o.hub.outputs.arm(o)
	o.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		select {
		case <-writable:
			return nil
		case <-late:
		}
		left := o.hub.opts.Patience()
		if left == 0 {
			return os.ErrDeadlineExceeded
		}
		late = time.After(left) // it may take something by now
	}
}

// writable has the flusher try again.
func (o *outbox) writable() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wakeFlusher()
}

// wakeFlusher is writable under o.mu.
func (o *outbox) wakeFlusher() {
	if o.backlog != nil && o.backlog.writable != nil {
		close(o.backlog.writable)
		o.backlog.writable = nil
	}
}

// errFull says that a follower takes no history now.
var errFull = errors.New("no room for history")

// room returns when at most half of the bound is queued, or errFull if it is not to wait.
func (o *outbox) room(ctx context.Context, wait bool) error {
	o.mu.Lock()
	for o.state == outboxOpen && o.backlog != nil && o.backlog.bytes > o.hub.bound()/2 {
		if !wait {
			o.mu.Unlock()
			return errFull
		}
		if o.backlog.room == nil {
			o.backlog.room = make(chan struct{})
		}
		room := o.backlog.room
		o.mu.Unlock()
		select {
		case <-room:
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
	if o.backlog != nil && o.backlog.room != nil {
		close(o.backlog.room)
		o.backlog.room = nil
	}
}
