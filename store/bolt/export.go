package bolt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

var _ transfer.Source = (*Store)(nil)

// cutTime is a time as other drivers keep it, too.
func cutTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC().Truncate(time.Microsecond)
}

// Export implements transfer.Source. Changes wait meanwhile.
func (s *Store) Export(emit func(transfer.Line) error, skip func(error)) (err error) {
	defer recoverDamage(&err)
	s.journal.mu.RLock()
	defer s.journal.mu.RUnlock()
	if s.journal.tx == nil {
		return unavailable(errFile)
	}
	e := exporter{s: s, tx: s.journal.tx, emit: emit, skip: skip}
	for _, part := range []func() error{e.brokenStreams, e.requests, e.keys, e.feeds, e.webhooks, e.streams, e.kept} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

type exporter struct {
	s    *Store
	tx   *bolt.Tx
	emit func(transfer.Line) error
	skip func(error)

	broken map[stream.Name]bool // streams that are left out
	forks  map[stream.Name]int  // how many forks of a stream are not
}

// lost is called with what cannot be read.
func (e *exporter) lost(err error) error {
	if e.skip == nil {
		return err
	}
	e.skip(err)
	return nil
}

// requests writes all of them, by owner and creation. Going by the list of owners, it notices those
// that are not there any more; what is in no list comes last.
func (e *exporter) requests() error {
	listed := 0
	if err := e.tx.Bucket(ownersBucket).ForEach(func(key, entry []byte) error {
		id, _, _ := codec.CutOwnerEntry(entry)
		r, err := e.s.record(e.tx, string(id))
		if errors.Is(err, lifecycle.ErrNotFound) {
			err = e.s.damaged(string(id), "the record", errGone)
		}
		if err != nil {
			return e.lost(err)
		}
		if !bytes.Equal(key, ownerKey(r.Owner, r.Serial)) {
			return e.lost(e.s.damaged(string(id), "the list of its owner", errSum))
		}
		listed++
		return e.request(r)
	}); err != nil {
		return err
	}
	requests := e.tx.Bucket(requestsBucket)
	if (&checker{tx: e.tx}).count(requestsBucket) == listed {
		return nil
	}
	return requests.ForEach(func(key, _ []byte) error {
		r, _ := e.s.record(e.tx, string(key))
		if r == nil || e.tx.Bucket(ownersBucket).Get(ownerKey(r.Owner, r.Serial)) != nil {
			return nil // it was told, or written
		}
		if err := e.lost(e.s.damaged(r.ID, "the list of its owner", errGone)); err != nil {
			return err
		}
		return e.request(r)
	})
}

// request writes a request; without the value of its result, and the result, if that is damaged.
func (e *exporter) request(r *record) error {
	whole, unread := e.s.whole(e.tx, r)
	if unread == nil {
		r = whole
	} else if err := e.lost(unread); err != nil {
		return err
	}
	output, err := e.hasOutput(r)
	if err != nil {
		return err
	}
	if output != r.HasOutput {
		r = new(*r)
		r.HasOutput = output
	}
	l := transfer.Line{Kind: transfer.Request, Request: (*transfer.Record)(&r.Request), Serial: r.Serial}
	if r.Status == lifecycle.Pending {
		l.Ticket = r.Ticket
	}
	if err := e.emit(l); err != nil {
		return err
	}
	for _, part := range []struct {
		lifecycle.Part
		name string
	}{{lifecycle.Input, transfer.Input}, {lifecycle.Output, transfer.Output}, {lifecycle.Answers, transfer.Answers}} {
		if part.Part == lifecycle.Output && (r.Result == nil || unread != nil && r.outOfLine == lifecycle.Output) ||
			part.Part == lifecycle.Answers && r.AnswersSize == 0 {
			continue
		}
		c, err := e.s.body(e.tx, r.ID, part.Part, true)
		if err != nil {
			if err := e.lost(err); err != nil {
				return err
			}
			continue
		}
		if err := e.emit(transfer.Line{Kind: transfer.Content, Part: part.name, Type: c.Type, Data: c.Data}); err != nil {
			return err
		}
	}
	for sequence, at := range r.Positions.all() {
		if err := e.event(transfer.Event, sequence, at); err != nil {
			return err
		}
	}
	return nil
}

// event writes the event at a position.
func (e *exporter) event(kind transfer.Kind, offset, at uint64) error {
	key := position(nil, at)
	event, err := e.s.event(e.tx, key)
	line := transfer.Line{Kind: kind, Offset: offset}
	switch {
	case err == nil:
		line.Told = event
	case !errors.Is(err, errForgotten):
		return e.lost(e.s.damaged("", fmt.Sprintf("event %d", at), err))
	}
	return e.emit(line)
}

func (e *exporter) keys() error {
	return e.tx.Bucket(keysBucket).ForEach(func(key, stored []byte) error {
		value, err := unseal(e.s.journal.strict, keysBucket, key, stored)
		var k keyRecord
		if err == nil {
			err = json.Unmarshal(value, &k)
		}
		if err != nil {
			return e.lost(e.s.damaged("", "the record of an idempotency key", err))
		}
		l := transfer.Line{
			Kind: transfer.Key, Digest: bytes.Clone(key), ID: k.Request, Life: k.Life, Fingerprint: []byte(k.Fingerprint), Reply: k.Reply,
		}
		if !k.LockedUntil.IsZero() {
			l.Locked = cutTime(k.LockedUntil.UnixNano())
		}
		return e.emit(l)
	})
}

func (e *exporter) feeds() error {
	var name []byte
	return e.tx.Bucket(feedsBucket).ForEach(func(key, value []byte) error {
		if len(key) < 9 || key[len(key)-9] != 0 {
			return e.lost(e.s.damaged("", "an entry of a feed", errSum))
		}
		channel := key[:len(key)-9]
		if !bytes.Equal(channel, name) {
			name = bytes.Clone(channel)
			c, err := lifecycle.ParseKey(string(channel))
			if err != nil {
				return e.lost(e.s.damaged("", "the name of a feed", err))
			}
			top, _, _ := newest(e.tx.Bucket(feedsBucket).Cursor(), feedPrefix(c))
			l := transfer.Line{Kind: transfer.Feed, Channel: string(channel), Offset: top}
			if isBegin(value) {
				l.Begun = offsetOf(key)
			}
			if err := e.emit(l); err != nil {
				return err
			}
		}
		at, err := e.s.journal.place(key, value)
		if err != nil {
			return e.lost(e.s.damaged("", fmt.Sprintf("an entry of the feed %q", channel), err))
		}
		if at == 0 {
			return nil
		}
		return e.event(transfer.Entry, offsetOf(key), at)
	})
}

func (e *exporter) webhooks() error {
	return e.tx.Bucket(endpointsBucket).ForEach(func(key, stored []byte) error {
		value, err := unseal(e.s.journal.strict, endpointsBucket, key, stored)
		var found dispatch.Endpoint
		var health storedHealth
		if err == nil && len(value) < 8 {
			err = errSum
		}
		if err == nil {
			err = json.Unmarshal(value[8:], &found)
		}
		if err != nil {
			return e.lost(e.s.damaged("", fmt.Sprintf("webhook endpoint %q", key), err))
		}
		serial := value[:8]
		raw, err := e.s.journal.read(e.tx, healthBucket, serial)
		if err == nil && raw != nil {
			err = json.Unmarshal(raw, &health)
		}
		if err != nil {
			if err := e.lost(e.s.damaged("", fmt.Sprintf("the health of webhook endpoint %q", key), err)); err != nil {
				return err
			}
			health = storedHealth{}
		}
		found.CreatedAt, found.UpdatedAt = found.CreatedAt.Truncate(time.Microsecond), found.UpdatedAt.Truncate(time.Microsecond)
		h := health.Health
		h.FailingSince, h.LastSuccess, h.HeldUntil = h.FailingSince.Truncate(time.Microsecond), h.LastSuccess.Truncate(time.Microsecond),
			h.HeldUntil.Truncate(time.Microsecond)
		if err := e.emit(transfer.Line{Kind: transfer.Endpoint, Endpoint: &found, Health: &h, Named: cutTime(health.Named)}); err != nil {
			return err
		}
		cursor := e.tx.Bucket(deliveriesBucket).Cursor()
		for at, stored := cursor.Seek(serial); bytes.HasPrefix(at, serial); at, stored = cursor.Next() {
			if err := e.delivery(at, stored); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *exporter) delivery(key, stored []byte) error {
	d, err := e.s.delivery(key, stored)
	if err != nil {
		return e.lost(err)
	}
	m := &transfer.Message{
		ID: d.ID, Lane: d.Lane, Type: d.Type, State: d.State, Attempts: d.Attempts, Tries: d.Tries, Created: cutTime(d.Created),
	}
	if d.State == dispatch.Waiting {
		m.Due = cutTime(d.Due)
	} else {
		m.Settled = cutTime(d.Settled)
	}
	value, err := e.s.journal.read(e.tx, messagesBucket, []byte(d.ID))
	if err == nil && len(value) == 16 {
		m.Told, err = e.s.event(e.tx, value[:8])
	}
	if err != nil {
		return e.lost(e.s.damaged("", "the body of webhook message "+d.ID, err))
	}
	raw, err := e.s.journal.read(e.tx, attemptsBucket, key)
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, &m.Log)
	}
	if err != nil {
		if err := e.lost(e.s.damaged("", "the log of webhook delivery "+d.ID, err)); err != nil {
			return err
		}
	}
	for i := range m.Log {
		m.Log[i].At = m.Log[i].At.Truncate(time.Microsecond)
	}
	return e.emit(transfer.Line{Kind: transfer.Delivery, Delivery: m})
}

// probeName is what Probe leaves behind for a moment.
const probeName = "probe"

func (e *exporter) kept() error {
	return e.tx.Bucket(keptBucket).ForEach(func(key, stored []byte) error {
		value, err := unseal(true, keptBucket, key, stored)
		if err != nil {
			return e.lost(e.s.damaged("", fmt.Sprintf("what is kept as %q", key), err))
		}
		switch {
		// The usage and the index of what has failed follow from the requests. How fast
		// work goes is soon seen again.
		case string(key) == probeName || bytes.HasPrefix(key, usageKey("")), bytes.HasPrefix(key, paceKey("")),
			bytes.HasPrefix(key, deadCount("")), bytes.Equal(key, unindexed), bytes.Equal(key, unmade),
			bytes.HasPrefix(key, []byte(aheadMark)), // of a body that was none yet
			bytes.HasPrefix(key, []byte(leftMark)):  // of a stream that is gone
			return nil
		case bytes.Equal(key, floorKey):
			return e.emit(transfer.Line{Kind: transfer.Floor, Offset: positionOf(value)})
		}
		return e.emit(transfer.Line{Kind: transfer.Kept, ID: string(key), Data: bytes.Clone(value)})
	})
}
