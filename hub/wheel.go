package hub

import (
	"context"
	"sync"
	"time"
)

// wheel knows every connection and gives each a heartbeat in turn: one timer for
// all of them, a slot a second. A connection whose credential ends within a round has its turn
// then, so no connection needs a timer of its own.
type wheel struct {
	hub  *Hub
	wake chan struct{} // holds a value when a credential was revoked

	mu    sync.Mutex
	slots [][]*outbox
	next  int // slot of the next tick
	count int
}

func newWheel(h *Hub, heartbeat time.Duration) *wheel {
	return &wheel{hub: h, wake: make(chan struct{}, 1), slots: make([][]*outbox, max(1, int(heartbeat/time.Second)))}
}

// interval returns the time between two heartbeats of a connection, in seconds.
func (w *wheel) interval() int { return len(w.slots) }

func (w *wheel) add(o *outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put(o, w.slotOf(o))
}

func (w *wheel) remove(o *outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.take(o)
}

// move puts a connection where its credential has it now.
func (w *wheel) move(o *outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot := w.slotOf(o); o.slot >= 0 && int(o.slot) != slot {
		w.take(o)
		w.put(o, slot)
	}
}

// slotOf returns the slot in which a connection is due: the one that comes round last, or the
// last one before its credential ends, or the next. Called under w.mu, like the two that follow.
func (w *wheel) slotOf(o *outbox) int {
	ahead, credential := len(w.slots)-1, o.credential.Load()
	if credential != nil {
		credential.wheel.Store(w)
	}
	if left, known := credential.left(); known {
		ahead = min(ahead, max(0, int(left/time.Second)))
	}
	return (w.next + ahead) % len(w.slots)
}

func (w *wheel) put(o *outbox, slot int) {
	o.slot, o.index = int32(slot), int32(len(w.slots[slot]))
	w.slots[slot] = append(w.slots[slot], o)
	w.count++
}

func (w *wheel) take(o *outbox) {
	if o.slot < 0 {
		return
	}
	slot := w.slots[o.slot]
	last := len(slot) - 1
	slot[o.index] = slot[last]
	slot[o.index].index = o.index
	slot[last] = nil
	w.slots[o.slot] = slot[:last]
	o.slot = -1
	w.count--
}

func (w *wheel) all() []*outbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*outbox, 0, w.count)
	for _, slot := range w.slots {
		all = append(all, slot...)
	}
	return all
}

func (w *wheel) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// notifyRevoked has run look for connections whose credential was revoked.
func (w *wheel) notifyRevoked() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// revokedTime is how long a connection may take to send what waits for it after its credential was
// revoked.
const revokedTime = 700 * time.Millisecond

// revoked does something with each connection whose credential was revoked.
func (w *wheel) revoked(do func(*outbox)) {
	for _, o := range w.all() {
		if o.credential.Load().revoked() {
			do(o)
		}
	}
}

func (w *wheel) run(ctx context.Context) {
	var cut <-chan time.Time
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var due []*outbox
	for {
		select {
		case <-tick.C:
		case <-w.wake:
			w.revoked(func(o *outbox) { o.expire(o.credential.Load()) })
			cut = time.After(revokedTime)
			continue
		case <-cut: // whoever does not read would get for long what waits
			w.revoked((*outbox).cut)
			cut = nil
			continue
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		due = append(due[:0], w.slots[w.next]...)
		w.next = (w.next + 1) % len(w.slots)
		w.mu.Unlock()
		for i, o := range due {
			o.beat()
			if o.credential.Load() != nil {
				w.move(o)
			}
			due[i] = nil
		}
	}
}
