package bolt

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// maxLog is how many attempts of a delivery are kept.
const maxLog = 50

// Enqueue implements dispatch.Store.
func (s *Store) Enqueue(ctx context.Context, owner, endpoint string, messages []dispatch.Message) (int, error) {
	n := 0
	err := s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(owner, endpoint)
		if err != nil {
			return err
		}
		size := 0
		for _, m := range messages {
			size += perDelivery + len(m.Body)
		}
		if !b.spare(size, reserveCreate) {
			return unavailable(errFull)
		}
		for _, m := range messages {
			if b.known(e, m.ID) {
				continue
			}
			if !b.posted(m.ID) {
				value := appendEventHeader(make([]byte, 0, eventHeader+len(m.Body)), b.now, 1)
				at := b.sequence(eventsBucket)
				b.put(eventsBucket, position(nil, at), append(value, m.Body...))
				b.post(m.ID, at)
			}
			b.deliver(e, m.ID, m.Lane, m.Type)
			n++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// ListDeliveries implements dispatch.Store.
func (s *Store) ListDeliveries(ctx context.Context, owner, endpoint string, q dispatch.Query) (dispatch.Page, error) {
	var page dispatch.Page
	err := s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(owner, endpoint)
		if err != nil {
			return err
		}
		before := uint64(never)
		if q.Cursor != "" {
			serial, ok := parseCursor(endpoint, q.Cursor)
			if !ok {
				return lifecycle.ErrCursor
			}
			before = serial
		}
		return b.listDeliveries(e, q, before, &page)
	})
	return page, err
}

// listDeliveries adds to a page what was enqueued before a serial.
func (b *batch) listDeliveries(e *endpoint, q dispatch.Query, before uint64, page *dispatch.Page) error {
	const most = 500 // that one call looks through
	prefix, now := position(nil, e.serial), nanos(b.now)
	cursor := b.bucket(deliveriesBucket).Cursor()
	key, value := seekBefore(cursor, pair(e.serial, before))
	var seen uint64 // what was looked at last
	for scanned := 0; within(key, prefix); key, value = prev(cursor, key) {
		if scanned == most || len(page.Deliveries) >= max(q.Limit, 1) {
			page.Next = formatCursor(e.ID, seen)
			return nil
		}
		scanned++
		seen = offsetOf(key)
		d, err := b.s.delivery(key, value)
		if err != nil {
			return err
		}
		out := d.present(e, now)
		if (q.State == "" || out.State == q.State) && (q.Type == "" || out.Type == q.Type) {
			page.Deliveries = append(page.Deliveries, out)
		}
	}
	return nil
}

// Delivery implements dispatch.Store.
func (s *Store) Delivery(ctx context.Context, owner, endpoint, id string) (dispatch.Delivery, error) {
	var found dispatch.Delivery
	err := s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(owner, endpoint)
		if err != nil {
			return err
		}
		d, err := b.find(e, id)
		if err != nil {
			return err
		}
		found = d.present(e, nanos(b.now))
		if found.Event, err = b.event(id); err != nil {
			return err
		}
		found.Log, err = b.attempts(e, d)
		return err
	})
	return found, err
}

// attempts returns the log of a delivery.
func (b *batch) attempts(e *endpoint, d *delivery) ([]dispatch.Attempt, error) {
	var log []dispatch.Attempt
	value, err := b.read(attemptsBucket, pair(e.serial, d.serial))
	if err == nil && value != nil {
		err = json.Unmarshal(value, &log)
	}
	if err != nil {
		return nil, b.s.damaged("", "the log of webhook delivery "+d.ID, err)
	}
	return log, nil
}

// logAttempt adds an attempt to the log of a delivery. In a file that is nearly full it does
// without what was answered.
func (b *batch) logAttempt(e *endpoint, d *delivery, a dispatch.Attempt) {
	if !b.spare(len(a.Response), reserveChange) {
		a.Response = nil
	}
	log, err := b.attempts(e, d)
	if err != nil { // nobody can read it
		log = nil
	}
	if log = append(log, a); len(log) > maxLog {
		log = log[len(log)-maxLog:]
	}
	b.saveLog(e, d, log)
}

func (b *batch) saveLog(e *endpoint, d *delivery, log []dispatch.Attempt) {
	value, err := json.Marshal(log)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("encode log of delivery %s: %w", d.ID, err)
	}
	b.put(attemptsBucket, pair(e.serial, d.serial), value)
}

// Resend implements dispatch.Store.
func (s *Store) Resend(ctx context.Context, owner, endpoint, id string) error {
	return s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(owner, endpoint)
		if err != nil {
			return err
		}
		d, err := b.find(e, id)
		if err != nil {
			return err
		}
		now := nanos(b.now)
		if e.lent(d.serial, now) {
			return dispatch.ErrConflict
		}
		b.touch(e)
		b.setLease(e, d.serial, lease{})
		d.Tries = 0
		if d.State == dispatch.Waiting {
			b.postpone(e, d, now)
		} else {
			b.delete(settledBucket, settledKey(d.Settled, e.serial, d.serial))
			d.State, d.Settled, d.Due = dispatch.Waiting, 0, now
			b.await(e, d)
		}
		b.saveDelivery(e, d)
		b.wake(e)
		return nil
	})
}
