package hub

import (
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
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
	conn net.Conn // nil if fd is all that is left of it, see takeDescriptor

	// place in the wheel, under wheel.mu; slot is -1 when not in it
	slot  int32
	index int32

	mu      sync.Mutex
	fd      int32 // -1 if there is none: then every write waits for the flusher
	state   outboxState
	form    form
	many    bool     // it has several subscriptions, whose messages it gathers in a round
	reason  reason   // why it was closed
	backlog *backlog // what waits for the flusher or for the end of a round; nil if nothing does

	owner  connection
	caller *caller // nil if callers are not counted

	from     seat   // where it comes from, 0 if addresses are not counted
	unproven bool   // it is counted among those that have yet to say who they are
	opened   uint32 // when, in milliseconds since the hub was made; they wrap
	pings    uint8  // sent since its client has said anything
	reads    uint16 // of what it said, since the last heartbeat
	tells    bool   // its client is to see the heartbeats

	credential atomic.Pointer[Credential] // until when it may stay
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

var errClosed = errors.New("connection is closed")

func (o *outbox) init(h *Hub, conn net.Conn, f form, owner connection, p place, credential *Credential) {
	o.hub, o.form, o.owner, o.slot = h, f, owner, -1
	o.keep(p)
	o.credential.Store(credential)
	o.conn, o.fd = takeDescriptor(conn)
	o.opened = h.clock()
	h.stats.opened(f)
	h.wheel.add(o)
}

// place returns what it takes of what is counted, and keep replaces that; under o.mu, or before
// others know the outbox.
func (o *outbox) place() place { return place{o.caller, o.from, o.unproven} }
func (o *outbox) keep(p place) { o.caller, o.from, o.unproven = p.who, p.from, p.unproven }

// write sends b, which nobody may change afterwards. A write beyond the bound
// closes the connection as too slow, unless it is paced by room.
func (o *outbox) write(b []byte, paced bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen {
		return errClosed
	}
	return o.put(b, nil, 0, paced)
}

// send implements follower.
func (o *outbox) send(s *subscription, b *batch, history bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen {
		return
	}
	if bytes := b.encoded(s.form); len(bytes) > 0 { // of the end of a stream there may be none
		_ = o.put(bytes, b, s.form, history) // a failure has closed the outbox
	}
}

// put is write under o.mu in any state but closed. messages are what b is in a form, if it is
// messages.
func (o *outbox) put(b []byte, messages *batch, f form, paced bool) error {
	if o.backlog != nil && o.backlog.gathers && o.backlog.bytes+len(b) > o.atOnce(flushBytes) {
		if err := o.writeGathered(); err != nil {
			return err
		}
	}
	taken := 0
	switch gathers := o.many && messages != nil && messages.round != nil; {
	case o.backlog != nil:
	case gathers && o.fd >= 0 && len(b) <= o.atOnce(flushBytes):
		o.backlog = &backlog{gathers: true}
		messages.round.gathering = append(messages.round.gathering, o)
	default:
		if o.fd >= 0 {
			var err error
			if taken, err = tryWrite(o.fd, b); err != nil {
				o.close(reasonGone)
				return err
			}
			if taken == len(b) {
				return nil
			}
			o.hub.stats.full.Add(1)
		}
		o.backlog = new(backlog)
		o.hub.tasks.Go(o.flush)
	}
	q, bound := o.backlog, o.hub.bound()
	before, pushed := q.bytes, q.pushed
	if messages != nil && !paced {
		q.pushMessages(messages, f, taken)
	} else {
		q.push(&waiting{bytes: b[taken:]})
	}
	if paced || q.bytes <= bound {
		return nil
	}
	o.hub.stats.coalesced.Add(q.coalesce())
	if before > 0 && q.bytes > bound {
		// Only between whole frames: the rest of one that has begun must follow.
		q.truncate(pushed)
		o.overflow()
		return errClosed
	}
	return nil
}

// atOnce is how much is written together at most, in bytes: no more than what leaves most of
// the bound to what can still be coalesced.
func (o *outbox) atOnce(most int) int { return min(most, max(o.hub.opts.QueueBytes/8, 1)) }

// endRound writes what was gathered.
func (o *outbox) endRound() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.writeGathered() // a failure has closed the outbox
}

// writeGathered is endRound under o.mu. It does nothing if nothing was gathered.
func (o *outbox) writeGathered() error {
	q := o.backlog
	if q == nil || !q.gathers {
		return nil
	}
	q.gathers = false
	b := q.first.bytes
	if q.first != q.last {
		scratch := gathered.Get().(*[]byte)
		defer gathered.Put(scratch)
		b = (*scratch)[:0]
		for w := q.first; w != nil; w = w.next {
			b = append(b, w.bytes...)
		}
		*scratch = b
	}
	n, err := tryWrite(o.fd, b)
	if err != nil {
		o.close(reasonGone)
		return err
	}
	if q.skip(n); q.first == nil {
		o.backlog = nil
		return nil
	}
	o.hub.stats.full.Add(1)
	o.hub.tasks.Go(o.flush)
	return nil
}

// gathered holds buffers of flushBytes.
var gathered = sync.Pool{New: func() any { return new(make([]byte, 0, flushBytes)) }}

// tryWrite writes what the socket takes without blocking. The descriptor is
// non-blocking, and valid because only the outbox closes it, under its mutex.
func tryWrite(fd int32, b []byte) (int, error) {
	for {
		n, err := writeDescriptor(fd, b)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
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
		n, err := readDescriptor(o.fd, b)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return 0, false
		case n <= 0:
			return 0, true
		}
		o.received()
		return n, false
	}
}

// received notes that the client has said something. Called under o.mu.
func (o *outbox) received() {
	o.pings = 0
	o.reads = min(o.reads, math.MaxUint16-1) + 1
}

// talkative reports whether more was read of a connection since its last heartbeat than so often.
func (o *outbox) talkative(reads uint16) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reads > reads
}

// open reports whether the connection takes part yet.
func (o *outbox) open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == outboxOpen
}

// watch has the poller tell of the next thing that the client does. The connection cannot be
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
	return o.hub.inputs.arm(o)
}

// readBlocking reads a connection that no poller watches, until it is closed, and passes on what
// the client says.
func (o *outbox) readBlocking(buffer []byte, take func([]byte)) {
	for {
		n, err := o.conn.Read(buffer)
		if err != nil {
			o.abort(reasonGone)
			return
		}
		o.mu.Lock()
		o.received()
		o.mu.Unlock()
		take(buffer[:n])
	}
}

// overflow ends a connection that does not keep up: what is queued still goes out,
// as whole frames, then it is told to resume. Called under o.mu.
func (o *outbox) overflow() {
	o.hub.stats.slow.Add(1)
	o.reason = reasonSlow
	if b := transports[o.form].farewell(farewellSlow, 0); b != nil {
		o.backlog.push(&waiting{bytes: b})
	}
	o.state = outboxClosing // a flusher is running, else nothing would be queued
	o.timeout(o.hub.opts.WriteTimeout)
}

// timeout aborts the connection after d, whatever it is still waiting for.
func (o *outbox) timeout(d time.Duration) {
	time.AfterFunc(d, func() {
		if left := o.hub.opts.Patience(); left > 0 {
			o.timeout(left)
			return
		}
		o.abort(o.reason)
	})
}

// dismiss ends the connection before its channels have ended, and says why: at once, or as soon as
// it has been there for as long as its transport wants.
func (o *outbox) dismiss(f *farewell) {
	if stays := transports[o.form].stays(); stays > 0 {
		if left := stays - time.Duration(o.hub.clock()-o.opened)*time.Millisecond; left > 0 {
			time.AfterFunc(left, func() { o.dismiss(f) })
			return
		}
	}
	o.finish(transports[o.form].farewell(f, o.hub.retry()), f.why)
}

// finish sends b as the last bytes and closes the connection when they are out.
func (o *outbox) finish(b []byte, why reason) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen {
		return
	}
	if len(b) > 0 && o.put(b, nil, 0, true) != nil {
		return
	}
	if o.writeGathered() != nil {
		return
	}
	o.reason, o.state = why, outboxClosing
	if o.backlog == nil {
		o.flushed()
	}
}

// lingerTime is how long a client that answers the end has for that.
const lingerTime = 2 * time.Second

// flushed closes a connection that has sent its last byte. A client that answers gets a moment
// for that, because closing with its bytes unread would reset the connection
// and could take our farewell with it; its reader closes then. Called under o.mu.
func (o *outbox) flushed() {
	if !transports[o.form].converses() || o.reason == reasonGone || !o.closeWrite() {
		o.close(o.reason)
		return
	}
	o.timeout(lingerTime)
}

// closeWrite tells the client that nothing follows. It reports whether that can be told without
// closing.
func (o *outbox) closeWrite() bool {
	if o.conn == nil {
		shutdownDescriptor(o.fd)
		return true
	}
	half, ok := o.conn.(interface{ CloseWrite() error })
	if ok {
		_ = half.CloseWrite()
	}
	return ok
}

// abort closes the connection at once.
func (o *outbox) abort(why reason) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.close(why)
}

// cut closes the connection at once if something waits to be written.
func (o *outbox) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.backlog != nil {
		o.close(reasonExpired)
	}
}

// close closes the connection and lets go of what waits. Called under o.mu.
func (o *outbox) close(why reason) {
	if o.state == outboxClosed {
		return
	}
	if o.reason == reasonNone {
		o.reason = why
	}
	o.state = outboxClosed
	o.wakeRoom()
	o.wakeFlusher()
	o.backlog = nil
	o.hub.wheel.remove(o)
	if o.fd >= 0 {
		o.hub.inputs.forget(o)
		o.hub.outputs.forget(o)
	}
	o.hub.stats.closed(o.form, o.reason)
	o.hub.admission.leave(o.place())
	if o.conn == nil {
		closeDescriptor(o.fd)
	} else {
		_ = o.conn.Close()
	}
	o.hub.tasks.Go(o.owner.leave)
}

// beat sends a sign of life, unless bytes are under way anyway, or ends what may not stay any
// longer.
func (o *outbox) beat() {
	credential := o.credential.Load()
	if left, known := credential.left(); known && left <= 0 {
		if !credential.probation || o.hub.opts.Patience() == 0 {
			// Otherwise the token may have come, and is about to be read.
			o.expire(credential)
		}
		return
	}
	o.mu.Lock()
	o.reads = 0
	if o.state == outboxOpen && o.pings == mostPings {
		o.mu.Unlock()
		o.dismiss(farewellSilent)
		return
	}
	defer o.mu.Unlock()
	if o.state != outboxOpen || o.backlog != nil {
		return
	}
	if transports[o.form].converses() {
		o.pings++
	}
	sign := o.hub.signs.quiet[o.form]
	if o.tells {
		sign = o.hub.signs.seen[o.form]
	}
	_ = o.put(sign, nil, 0, false)
}

// mostPings is how many a client may leave unanswered: with the next heartbeat it is taken for
// gone.
const mostPings = 2

// expire ends the connection because its credential is over.
func (o *outbox) expire(p *Credential) {
	if p.probation {
		o.dismiss(farewellUnproven)
		return
	}
	o.dismiss(farewellExpired)
}

// goAway ends the connection for a restart.
func (o *outbox) goAway() { o.dismiss(farewellRestart) }
