package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// maxRead bounds the bytes of an answer of Read.
const maxRead = 1 << 20

// Read implements hub.Source.
func (s *Store) Read(ctx context.Context, channel string, after uint64, limit int) (hub.History, error) {
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return hub.History{}, err
	}
	var history hub.History
	err = s.view(ctx, func(tx *bolt.Tx) (err error) {
		if c.Feed() {
			history, err = readFeed(tx, c, after, limit)
			return err
		}
		history, err = readRequest(tx, c.Ref(), after, limit)
		return err
	})
	return history, err
}

func readRequest(tx *bolt.Tx, of lifecycle.Ref, after uint64, limit int) (hub.History, error) {
	r, err := readRecord(tx, of)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return hub.History{}, nil
	}
	if err != nil {
		return hub.History{}, err
	}
	p := newPage(tx, r.Sequence, after, limit)
	p.Ended = r.Status.Terminal()
	for sequence, at := range r.Trail.all() {
		last := sequence == r.Sequence && p.Ended
		if sequence > after && !p.add(sequence, at, last) {
			break
		}
	}
	return p.History, p.err
}

func readFeed(tx *bolt.Tx, c lifecycle.Channel, after uint64, limit int) (hub.History, error) {
	prefix := feedPrefix(c)
	cursor := tx.Bucket(feedsBucket).Cursor()
	top, _, _ := newest(cursor, prefix)
	p := newPage(tx, top, after, limit)
	if after >= top {
		return p.History, nil
	}
	key, value := cursor.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), after+1))
	for within(key, prefix) && p.add(offsetOf(key), positionOf(value), false) {
		key, value = cursor.Next()
	}
	return p.History, p.err
}

// page is an answer that is being gathered.
type page struct {
	hub.History
	events *bolt.Bucket
	limit  int
	size   int
	err    error
}

func newPage(tx *bolt.Tx, top, after uint64, limit int) *page {
	p := &page{History: hub.History{Top: top}, events: tx.Bucket(eventsBucket), limit: limit}
	if after < top && limit > 0 {
		p.Messages = make([]hub.Message, 0, min(uint64(limit), top-after, 1024))
	}
	return p
}

// add adds the event at a position of the log, if it is there, and reports whether
// there is room for it.
func (p *page) add(offset, at uint64, last bool) bool {
	if len(p.Messages) >= p.limit {
		return false
	}
	var key [8]byte
	value := p.events.Get(position(key[:0], at))
	if len(value) < eventHeader { // the entry only keeps the top of a feed
		return true
	}
	if p.size += len(value); p.size > maxRead && len(p.Messages) > 0 {
		return false
	}
	event, err := decodeEvent(value)
	if err != nil {
		p.err = err
		return false
	}
	p.Messages = append(p.Messages, hub.Message{Offset: offset, Event: event, Last: last})
	return true
}

// Reset implements hub.Source. The channel of an unknown request is
// lifecycle.ErrNotFound.
func (s *Store) Reset(ctx context.Context, channel string) (hub.Message, error) {
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return hub.Message{}, err
	}
	if c.Feed() {
		history, err := s.Read(ctx, channel, math.MaxUint64, 0)
		if err != nil {
			return hub.Message{}, err
		}
		return hub.Message{Offset: history.Top, Event: lifecycle.AppendFeedReset(nil, c, history.Top)}, nil
	}
	r, err := s.Get(ctx, c.Ref())
	if err != nil {
		return hub.Message{}, err
	}
	return hub.Message{
		Offset: r.Sequence,
		Event:  lifecycle.AppendEvent(nil, &r, lifecycle.EventReset),
		Last:   r.Status.Terminal(),
	}, nil
}

// Watch implements hub.Source. Every change rings, watched or not: whoever
// listens is in this process and knows best what it wants. To pick here what is
// watched would have to happen after the commit, or a message that is committed
// just now could be missed by one who watches and then reads.
func (s *Store) Watch(ctx context.Context, _ string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isClosed() {
		return unavailable(errClosed)
	}
	return nil
}

// Unwatch implements hub.Source.
func (s *Store) Unwatch(string) {}

// Listen implements hub.Source. f runs on a goroutine that all changes wait
// for, never twice at the same time: it must not call the store.
func (s *Store) Listen(f func(channel string, m hub.Message)) { s.listener.Store(&f) }
