package hub

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/hark-push/hark/backoff"
)

// join puts a subscription into its channel. Messages are held back for it until
// follow has caught it up. It gets them in a form. The caller releases s.ch when it is through with
// that.
func (h *Hub) join(c Channel, to follower, s *subscription, f form) {
	ch := h.shard(c.Key).join(h, c)
	_, waits := to.(*Waiter)
	*s = subscription{ch: ch, to: to, any: waits, form: f, life: ch.shard.lifeOf(ch)}
	ch.add(s)
}

// release gives the caller's own reference back.
func (h *Hub) release(ch *channel) { ch.shard.leave(ch) }

// follow catches a subscription up that has joined its channel; it returns when the
// subscription is live or has ended. after is the follower's cursor, nil if it
// has none. The order has no gap: hold live messages back, have the source
// watch the channel, read the history, merge by offset, release.
func (h *Hub) follow(ctx context.Context, s *subscription, c Channel, after *Cursor) error {
	if err := s.ch.ensureWatched(ctx); err != nil {
		return err
	}
	return h.catchUp(ctx, s, cursor{after: after.offsetIn(c), live: c.Live, fresh: true})
}

// end returns where a channel ends, for one that has joined it and follows from there on.
func (h *Hub) end(ctx context.Context, ch *channel) (*Cursor, error) {
	if err := ch.ensureWatched(ctx); err != nil {
		return nil, err
	}
	select {
	case h.catchUps <- struct{}{}:
		defer func() { <-h.catchUps }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	history, err := h.read(ctx, ch.key, math.MaxInt64, 0)
	if err != nil {
		return nil, err
	}
	return &Cursor{history.Top, ch.epoch}, nil
}

// cursor is where a catch-up begins.
type cursor struct {
	after *uint64 // nil: no cursor
	live  bool    // without a cursor, begin at the top
	fresh bool    // the follower has not been told yet where it begins
}

// What is read from the source at a time: so many messages, and as many bytes of them, unless one
// has more by itself. It is what a follower that does not read may have waiting beside its bound.
const (
	page = 128
	// PageBytes is what an answer of [Source.Read] may have.
	PageBytes = 64 << 10
)

// catchUp sends a subscription what it missed until it is in step with the notifications.
// Nobody else sends to it meanwhile.
func (h *Hub) catchUp(ctx context.Context, s *subscription, from cursor) error {
	var at uint64
	if from.after != nil {
		at = *from.after
	}
	for first := true; ; first = false {
		if err := h.acquireCatchUp(ctx, s.to); err != nil {
			return err
		}
		life := s.ch.shard.lifeOf(s.ch)
		now, err := h.advance(ctx, s, from, at, first, life)
		<-h.catchUps
		if err != nil {
			return err
		}
		at = now.at
		if now.sent { // what comes live is bounded, and finds no page before it
			if err := s.to.room(ctx, true); err != nil {
				return err
			}
		}
		if now.last && s.life == s.ch.shard.lifeOf(s.ch) {
			s.to.ended(s, at)
			return nil
		}
		if at >= now.top && s.release(at) {
			return nil
		}
	}
}

// acquireCatchUp waits until a follower takes more history, and then for a place among those that
// read, which is to be given back. Who waits for a client that does not read has none: the clients
// that do would wait for it, too.
func (h *Hub) acquireCatchUp(ctx context.Context, to follower) error {
	for {
		if err := to.room(ctx, true); err != nil {
			return err
		}
		select {
		case h.catchUps <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := to.room(ctx, false)
		if err == nil {
			return nil
		}
		<-h.catchUps
		if !errors.Is(err, errFull) { // by what others have read for it meanwhile
			return err
		}
	}
}

// progress is how far a catch-up has come.
type progress struct {
	at, top uint64
	sent    bool
	last    bool // the channel has ended at at
}

// advance reads what follows on an offset and sends it. life is that of the channel before.
func (h *Hub) advance(ctx context.Context, s *subscription, from cursor, at uint64, first bool, life uint32) (progress, error) {
	begins := first && from.after == nil
	var history History
	var err error
	if begins && from.live {
		// This reads where the channel is, and nothing of what it holds.
		history, err = h.read(ctx, s.ch.key, math.MaxInt64, 0)
	} else {
		history, err = h.read(ctx, s.ch.key, at, page)
	}
	if err != nil {
		return progress{}, err
	}
	messages := contiguous(history.Messages)
	if at == 0 {
		at = history.Begin
	}
	if begins {
		switch {
		case from.live:
			at, messages = history.Top, nil
		case len(messages) > 0: // nothing is lost for one who asked for nothing
			at = messages[0].first() - 1
		}
	}
	lost := s.life != life || at > history.Top ||
		(len(messages) > 0 && messages[0].first() != at+1) ||
		(len(messages) == 0 && at < history.Top)
	if first && from.fresh {
		s.to.begin(s, at, history.Top, !lost)
	}
	if lost {
		m, err := h.source.Reset(ctx, s.ch.key)
		if err != nil {
			return progress{}, err
		}
		s.life = life
		h.stats.resets.Add(1)
		messages = []Message{m}
	}
	if len(messages) == 0 { // it has everything already
		return progress{at: at, top: history.Top, last: history.Ended}, nil
	}
	b := s.ch.batch(messages)
	b.top = history.Top
	s.to.send(s, &b, true)
	newest := messages[len(messages)-1]
	return progress{at: newest.Offset, top: history.Top, sent: true, last: newest.Last}, nil
}

func (h *Hub) read(ctx context.Context, key string, after uint64, limit int) (History, error) {
	h.stats.reads.Add(1)
	return h.source.Read(ctx, key, after, limit)
}

// release lets a subscription that was caught up to an offset go live, sending what
// was held back. It reports false if there is a hole, so that more must be read.
func (s *subscription) release(at uint64) bool {
	ch := s.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	held := s.pending
	s.pending = nil
	if s.missed {
		s.missed = false
		return false
	}
	for len(held) > 0 && held[0].Offset <= at {
		held = held[1:]
	}
	if len(held) > 0 {
		if held[0].first() != at+1 || len(contiguous(held)) < len(held) {
			return false
		}
		b := ch.batch(held)
		at = held[len(held)-1].Offset
		s.to.send(s, &b, false)
	}
	s.last, s.live = at, true
	if len(held) > 0 && held[len(held)-1].Last {
		s.to.ended(s, at)
	}
	return true
}

// resyncTries is how often a history is read again that could not be: six seconds in all.
const resyncTries = 7

// resync catches a live subscription up that missed a notification, or whose messages do not
// hold any more. Called under ch.mu.
func (h *Hub) resync(s *subscription) {
	h.stats.resyncs.Add(1)
	at := s.last
	h.tasks.Go(func() {
		for failures := 1; ; failures++ {
			err := h.catchUp(h.ctx, s, cursor{after: &at})
			if err == nil {
				return
			}
			if failures > resyncTries || h.ctx.Err() != nil {
				s.to.broken(s, err)
				return
			}
			_ = backoff.Wait(h.ctx, backoff.Exponential(failures, 50*time.Millisecond, 5*time.Second))
		}
	})
}
