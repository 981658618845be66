package hub

import (
	"context"
	"sync"
	"time"
)

// wheel knows every connection and gives each a heartbeat in turn: one timer for
// all of them, a slot a second.
type wheel struct {
	hub *Hub

	mu    sync.Mutex
	slots [][]*outbox
	next  int // slot of the next tick
	count int
}

func newWheel(h *Hub, heartbeat time.Duration) *wheel {
	return &wheel{hub: h, slots: make([][]*outbox, max(1, int(heartbeat/time.Second)))}
}

// add puts a connection into the slot that comes round last.
func (w *wheel) add(o *outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slot := (w.next + len(w.slots) - 1) % len(w.slots)
	o.slot, o.index = int32(slot), int32(len(w.slots[slot]))
	w.slots[slot] = append(w.slots[slot], o)
	w.count++
}

func (w *wheel) remove(o *outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
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

func (w *wheel) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var due []*outbox
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		due = append(due[:0], w.slots[w.next]...)
		w.next = (w.next + 1) % len(w.slots)
		w.mu.Unlock()
		for i, o := range due {
			o.beat()
			due[i] = nil
		}
	}
}
