package hub

import "context"

// Waiter tells that something happened in a channel, to a goroutine of this
// process that then reads the store by itself.
type Waiter struct {
	// C gets a value after each new message; values are not queued up.
	C <-chan struct{}

	c   chan struct{}
	sub subscription
}

// Wait returns a Waiter for a channel once no further message can be missed. Close it.
func (h *Hub) Wait(ctx context.Context, c Channel) (*Waiter, error) {
	w := &Waiter{c: make(chan struct{}, 1)}
	w.C = w.c
	h.join(c, w, &w.sub, 0)
	defer h.release(w.sub.ch)
	if err := w.sub.ch.ensureWatched(ctx); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close ends the waiting.
func (w *Waiter) Close() { w.sub.ch.remove(&w.sub) }

func (w *Waiter) begin(*subscription, uint64, uint64, bool) {}
func (w *Waiter) room(context.Context, bool) error          { return nil }
func (w *Waiter) ended(*subscription, uint64)               {}
func (w *Waiter) broken(*subscription, error)               {}

func (w *Waiter) send(*subscription, *batch, bool) {
	select {
	case w.c <- struct{}{}:
	default:
	}
}
