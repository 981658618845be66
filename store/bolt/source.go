package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
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
	bucket, prefix := feedsBucket, []byte(nil)
	if c.Feed() {
		prefix = feedPrefix(c)
	} else {
		bucket, prefix = requestsBucket, eventPrefix(nil, c.Name)
	}
	var history hub.History
	err = s.view(ctx, func(tx *bolt.Tx) error {
		cursor := tx.Bucket(bucket).Cursor()
		top, _, ok := newest(cursor, prefix)
		if !ok {
			return nil
		}
		history.Top = top
		if after >= top || limit <= 0 {
			return nil
		}
		size := 0
		key, value := cursor.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), after+1))
		for ; within(key, prefix) && len(history.Messages) < limit; key, value = cursor.Next() {
			if len(value) < eventHeader { // keeps the top of a feed
				continue
			}
			if size += len(value); size > maxRead && len(history.Messages) > 0 {
				break
			}
			if history.Messages == nil {
				history.Messages = make([]hub.Message, 0, min(uint64(limit), top-after, 1024))
			}
			history.Messages = append(history.Messages, hub.Message{
				Offset: offsetOf(key),
				Event:  bytes.Clone(value[eventHeader:]),
				Last:   !c.Feed() && value[eventHeader-1]&eventLast != 0,
			})
		}
		return nil
	})
	return history, err
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
	r, err := s.Get(ctx, c.Name)
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

// Listen implements hub.Source. f runs on the goroutine that all changes pass
// through: it must not call the store.
func (s *Store) Listen(f func(channel string, m hub.Message)) { s.listener.Store(&f) }
