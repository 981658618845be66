package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// Read implements lifecycle.Source.
func (s *Store) Read(ctx context.Context, channel string, after uint64, limit int) (_ lifecycle.History, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpHistory, time.Now(), &err)
	return s.history(ctx, channel, after, limit)
}

// history is Read for a call that is none of the interface.
func (s *Store) history(ctx context.Context, channel string, after uint64, limit int) (lifecycle.History, error) {
	if n, ok := stream.ParseKey(channel); ok {
		return s.readChannel(ctx, n, after, limit)
	}
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return lifecycle.History{}, err
	}
	var history lifecycle.History
	err = s.view(ctx, func(tx *bolt.Tx) (err error) {
		if c.Feed() {
			history, err = s.readFeed(tx, c, after, limit)
			return err
		}
		history, err = s.readRequest(tx, c.Ref(), after, limit)
		return err
	})
	return history, err
}

func (s *Store) readRequest(tx *bolt.Tx, of lifecycle.Ref, after uint64, limit int) (lifecycle.History, error) {
	r, err := s.readRecord(tx, of)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return lifecycle.History{}, nil
	}
	if err != nil {
		return lifecycle.History{}, err
	}
	p := s.newPage(tx, r.Sequence, after, limit)
	p.Ended = r.Status.Terminal()
	p.lost = func(uint64) (*lifecycle.Event, error) {
		whole, err := s.whole(tx, r)
		if err != nil {
			return nil, err
		}
		return lifecycle.NewEvent(&whole.Request, lifecycle.EventReset), nil
	}
	p.ours = func(of lifecycle.Ref, _, _ string) bool { return of.ID == r.ID && of.Life == r.Life }
	for sequence, at := range r.Positions.all() {
		last := sequence == r.Sequence && p.Ended
		if sequence > after && !p.add(sequence, at, last) {
			break
		}
	}
	return p.History, p.err
}

func (s *Store) readFeed(tx *bolt.Tx, c lifecycle.Channel, after uint64, limit int) (lifecycle.History, error) {
	prefix := feedPrefix(c)
	cursor := tx.Bucket(feedsBucket).Cursor()
	top, _, _ := newest(cursor, prefix)
	p := s.newPage(tx, top, after, limit)
	p.lost = func(offset uint64) (*lifecycle.Event, error) { return lifecycle.FeedReset(c, offset), nil }
	p.ours = func(_ lifecycle.Ref, owner, topic string) bool {
		return c.Kind == lifecycle.OwnerChannel && owner == c.Name ||
			c.Kind == lifecycle.TopicChannel && owner == c.Owner && topic == c.Name
	}
	if after >= top {
		return p.History, nil
	}
	p.feed = c
	key, value := cursor.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), after+1))
	if within(key, prefix) && isBegin(value) {
		p.Begin = offsetOf(key)
		key, value = cursor.Next()
	}
	for ; within(key, prefix); key, value = cursor.Next() {
		at, err := s.journal.place(key, value)
		if err != nil {
			return lifecycle.History{}, s.damaged("", "an entry of the feed "+c.Key(), err)
		}
		if at > 0 && !p.add(offsetOf(key), at, false) { // none only keeps the top
			break
		}
	}
	return p.History, nil
}

// page is an answer that is being gathered.
type page struct {
	lifecycle.History
	s      *Store
	tx     *bolt.Tx
	events *bolt.Bucket
	limit  int
	size   int
	err    error
	key    [8]byte // scratch
	// lost makes what is told in the place of an event that is damaged; ours reports whether an
	// event of a request belongs to the channel.
	lost func(offset uint64) (*lifecycle.Event, error)
	ours belongs

	// Of a feed.
	feed lifecycle.Channel
	kept map[lifecycle.Ref]bool // whether a request is there, of those that were looked for
}

// tells returns errForgotten if events of a request are not told in a feed, because it is not
// there: forgetting does not find what has left the channel of its request before, nor what webhook
// deliveries have yet to send.
func (p *page) tells(of lifecycle.Ref) error {
	if of.ID == "" {
		return nil
	}
	kept, known := p.kept[of]
	if !known {
		_, err := p.s.readRecord(p.tx, of)
		if err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
			return err
		}
		if p.kept == nil {
			p.kept = make(map[lifecycle.Ref]bool)
		}
		kept = err == nil
		p.kept[of] = kept
	}
	if !kept {
		return errForgotten
	}
	return nil
}

func (s *Store) newPage(tx *bolt.Tx, top, after uint64, limit int) *page {
	p := &page{History: lifecycle.History{Top: top}, s: s, tx: tx, events: tx.Bucket(eventsBucket), limit: limit}
	if after < top && limit > 0 {
		p.Messages = make([]lifecycle.Message, 0, min(uint64(limit), top-after, 1024))
	}
	return p
}

// add adds the event at a position of the log and reports whether there is room for it. In the
// place of one that is damaged a loss is told; if that cannot be, err says why.
func (p *page) add(offset, at uint64, last bool) bool {
	if len(p.Messages) >= p.limit {
		return false
	}
	key := position(p.key[:0], at)
	value, err := unseal(p.s.journal.strict, eventsBucket, key, p.events.Get(key))
	if p.size+len(value) > lifecycle.PageBytes && len(p.Messages) > 0 {
		return false
	}
	stored := storedEvent{size: len(value)}
	if err == nil {
		err = stored.decode(value, p.ours)
	}
	if p.size += stored.size; p.size > lifecycle.PageBytes && len(p.Messages) > 0 {
		return false
	}
	feed := p.feed != (lifecycle.Channel{})
	if err == nil && feed {
		err = p.tells(stored.request())
	}
	var event *lifecycle.Event
	if err == nil {
		event, err = p.s.told(p.tx, &stored)
	}
	switch {
	case err == nil:
	case errors.Is(err, errForgotten) && feed:
		event = lifecycle.Forgotten(p.feed, offset)
	default:
		_ = p.s.damaged("", fmt.Sprintf("event %d", at), err)
		if event, p.err = p.lost(offset); p.err != nil {
			return false
		}
	}
	p.Messages = append(p.Messages, message(offset, event, last))
	return true
}

// Reset implements lifecycle.Source. The channel of an unknown request is
// lifecycle.ErrNotFound.
func (s *Store) Reset(ctx context.Context, channel string) (lifecycle.Message, error) {
	if n, ok := stream.ParseKey(channel); ok {
		st, err := s.StreamState(ctx, n, false)
		if err != nil {
			return lifecycle.Message{}, err
		}
		return lifecycle.StreamGone(&st), nil
	}
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return lifecycle.Message{}, err
	}
	if c.Feed() {
		history, err := s.history(ctx, channel, math.MaxUint64, 0)
		if err != nil {
			return lifecycle.Message{}, err
		}
		return message(history.Top, lifecycle.FeedReset(c, history.Top), false), nil
	}
	r, err := s.get(ctx, c.Ref())
	if err != nil {
		return lifecycle.Message{}, err
	}
	return message(r.Sequence, lifecycle.NewEvent(&r, lifecycle.EventReset), r.Status.Terminal()), nil
}

// Watch implements lifecycle.Source. Every change is notified, watched or not: whoever
// listens is in this process and knows best what it wants. To pick here what is
// watched would have to happen after the commit, or a message that is committed
// just now could be missed by one who watches and then reads.
func (s *Store) Watch(ctx context.Context, channel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isClosed() {
		return unavailable(errClosed)
	}
	s.watched.set(channel, true)
	return nil
}

// Unwatch implements lifecycle.Source.
func (s *Store) Unwatch(channel string) { s.watched.set(channel, false) }

// Listen implements lifecycle.Source. f runs on a goroutine that all changes wait
// for, never twice at the same time: it must not call the store.
func (s *Store) Listen(f func(channel string, m lifecycle.Message)) { s.listener.Store(&f) }
