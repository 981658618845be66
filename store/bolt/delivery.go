package bolt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// delivery is a delivery as it is stored. That it is being sent is not: see lease.
type delivery struct {
	ID       string         `json:"id"`
	Lane     string         `json:"lane"`
	Type     string         `json:"type"`
	State    dispatch.State `json:"state"`
	Attempts int            `json:"attempts,omitzero"`
	Tries    int            `json:"tries,omitzero"` // attempts since it was enqueued or resent
	Due      int64          `json:"due"`
	Created  int64          `json:"created"`
	Settled  int64          `json:"settled,omitzero"`

	serial uint64 // its place among those of its endpoint
}

// What a delivery takes in the file beside the event, in bytes, about: when it is made, and
// when it is settled, without what was answered.
const (
	perDelivery = 1 << 10
	perSettle   = 1 << 9
)

// present returns a delivery as it is handed out.
func (d *delivery) present(e *endpoint, now int64) dispatch.Delivery {
	out := dispatch.Delivery{
		ID: d.ID, Lane: d.Lane, Type: d.Type, State: d.State, Attempts: d.Attempts, CreatedAt: time.Unix(0, d.Created).UTC(),
	}
	switch {
	case d.State != dispatch.Waiting:
		out.SettledAt = time.Unix(0, d.Settled).UTC()
	case e.lent(d.serial, now):
		out.State = dispatch.Sending
	default:
		out.Due = time.Unix(0, d.Due).UTC()
	}
	return out
}

// find returns a delivery by the message.
func (b *batch) find(e *endpoint, id string) (*delivery, error) {
	serial := b.bucket(messageIndexBucket).Get(messageKey(e.serial, id))
	if serial == nil {
		return nil, dispatch.ErrNotFound
	}
	return b.loadDelivery(e, positionOf(serial))
}

func (b *batch) loadDelivery(e *endpoint, serial uint64) (*delivery, error) {
	key := pair(e.serial, serial)
	return b.s.delivery(key, b.bucket(deliveriesBucket).Get(key))
}

// delivery reads an entry of deliveries.
func (s *Store) delivery(key, stored []byte) (*delivery, error) {
	d := &delivery{serial: offsetOf(key)}
	value, err := unseal(s.journal.strict, deliveriesBucket, key, stored)
	if err == nil {
		err = json.Unmarshal(value, d)
	}
	if err != nil {
		return nil, s.damaged("", fmt.Sprintf("webhook delivery %d", d.serial), err)
	}
	return d, nil
}

func (b *batch) saveDelivery(e *endpoint, d *delivery) {
	value, err := json.Marshal(d)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("encode delivery %s: %w", d.ID, err)
	}
	b.put(deliveriesBucket, pair(e.serial, d.serial), value)
}

// takers returns the endpoints that take an event of r, and lets those that it names live on.
func (b *batch) takers(r *lifecycle.Request, t lifecycle.EventType) []*endpoint {
	b.taking = b.taking[:0]
	for _, e := range b.s.endpoints.byOwner[r.Owner] {
		if e.Takes(r, t) {
			b.taking = append(b.taking, e)
		}
	}
	if r.Webhook == nil {
		return b.taking
	}
	if e, err := b.s.endpoints.of(r.Owner, r.Webhook.Endpoint); err == nil && e.OneOff {
		b.name(e, later(b.now, r.ExpiresAt))
		if e.Takes(r, t) {
			b.taking = append(b.taking, e)
		}
	}
	return b.taking
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// posted reports whether the body of a message is kept for deliveries.
func (b *batch) posted(id string) bool { return b.bucket(messagesBucket).Get([]byte(id)) != nil }

// post keeps the body of a message, an event at a position of the log to which that counts as one
// reference, until the last delivery of it is forgotten.
func (b *batch) post(id string, at uint64) {
	b.put(messagesBucket, []byte(id), pair(at, 0))
}

// count changes how many deliveries a message has.
func (b *batch) count(id string, by int) {
	value, err := b.message(id)
	if err != nil {
		_ = b.s.damaged("", "the count of webhook message "+id, err)
	}
	if value == nil {
		return
	}
	at, n := positionOf(value[:8]), int(positionOf(value[8:]))+by
	if n > 0 {
		b.put(messagesBucket, []byte(id), pair(at, uint64(n)))
		return
	}
	b.delete(messagesBucket, []byte(id))
	b.unref(at)
}

// message returns the entry of a message, nil if it is not kept.
func (b *batch) message(id string) ([]byte, error) {
	value, err := b.read(messagesBucket, []byte(id))
	if err == nil && value != nil && len(value) != 16 {
		return nil, errSum
	}
	return value, err
}

// event returns what a message tells of.
func (b *batch) event(id string) (*lifecycle.Event, error) {
	value, err := b.message(id)
	if err == nil && value == nil {
		return new(lifecycle.Event), nil
	}
	var event *lifecycle.Event
	if err == nil {
		event, err = b.s.event(b.s.journal.tx, value[:8])
	}
	if err != nil {
		return nil, b.s.damaged("", "the body of webhook message "+id, err)
	}
	return event, nil
}

// deliverEvent makes the deliveries of an event, which is at a position of the log.
func (b *batch) deliverEvent(takers []*endpoint, r *lifecycle.Request, t lifecycle.EventType, at uint64) {
	id, lane := dispatch.MessageID(r.Ref(), r.Sequence), dispatch.LaneOf(r.Ref())
	if !b.posted(id) {
		b.post(id, at)
	}
	for _, e := range takers {
		if b.known(e, id) { // somebody has enqueued it before it came to be
			continue
		}
		if e.Coalesce {
			b.supersede(e, lane)
		}
		b.deliver(e, id, lane, string(t))
	}
}

// known reports whether there is a delivery of a message already.
func (b *batch) known(e *endpoint, id string) bool {
	return b.bucket(messageIndexBucket).Get(messageKey(e.serial, id)) != nil
}

// deliver makes a delivery of a message that is posted.
func (b *batch) deliver(e *endpoint, id, lane, kind string) {
	now := nanos(b.now)
	d := &delivery{
		ID: id, Lane: lane, Type: kind, State: dispatch.Waiting, Due: now, Created: now, serial: b.sequence(deliveriesBucket),
	}
	b.touch(e)
	b.count(id, 1)
	b.put(messageIndexBucket, messageKey(e.serial, id), position(nil, d.serial))
	b.saveDelivery(e, d)
	b.await(e, d)
	b.wake(e)
}

// supersede settles the progress of a lane that waits and that nobody has seen.
func (b *batch) supersede(e *endpoint, lane string) {
	b.touch(e)
	for _, serial := range b.lane(e, lane) {
		d, err := b.loadDelivery(e, serial)
		if err != nil {
			b.err = errors.Join(b.err, err)
			return
		}
		_, claimed := e.leases[serial]
		if d.Type == string(lifecycle.EventProgress) && d.Attempts == 0 && !claimed {
			b.finish(e, d, dispatch.Superseded)
		}
	}
}

// finish settles a delivery.
func (b *batch) finish(e *endpoint, d *delivery, state dispatch.State) {
	b.unawait(e, d)
	d.State, d.Settled = state, nanos(b.now)
	b.put(settledBucket, settledKey(d.Settled, e.serial, d.serial), nil)
	b.saveDelivery(e, d)
}

// forgetDelivery deletes everything of a delivery. Its endpoint may be deleted already.
func (b *batch) forgetDelivery(endpoint uint64, d *delivery) {
	key := pair(endpoint, d.serial)
	b.delete(deliveriesBucket, key)
	b.delete(messageIndexBucket, messageKey(endpoint, d.ID))
	b.delete(attemptsBucket, key)
	if d.State == dispatch.Waiting {
		b.delete(lanesBucket, laneKey(endpoint, d.Lane, d.serial))
		b.delete(dueBucket, dueKey(endpoint, d.Due, d.serial))
	} else {
		b.delete(settledBucket, settledKey(d.Settled, endpoint, d.serial))
	}
	b.count(d.ID, -1)
}

// forgetDeliveries deletes the deliveries of a request at all endpoints of its owner, those too
// that wait or are lent.
func (b *batch) forgetDeliveries(r *lifecycle.Request) {
	endpoints := b.s.endpoints.listed(r.Owner)
	if r.Webhook != nil {
		if e, err := b.s.endpoints.of(r.Owner, r.Webhook.Endpoint); err == nil && e.OneOff && !e.Listed() {
			endpoints = append(endpoints, e)
		}
	}
	lane := dispatch.LaneOf(r.Ref())
	// What all of them begin with, and perhaps others.
	id, _ := strings.CutSuffix(dispatch.MessageID(r.Ref(), 0), "0")
	for _, e := range endpoints {
		var serials []uint64 // gathered first: a cursor does not outlive a change
		prefix := messageKey(e.serial, id)
		cursor := b.bucket(messageIndexBucket).Cursor()
		for key, value := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, value = cursor.Next() {
			serials = append(serials, positionOf(value))
		}
		for _, serial := range serials {
			d, err := b.loadDelivery(e, serial)
			if err != nil {
				b.err = errors.Join(b.err, err)
				return
			}
			if d.Lane != lane {
				continue
			}
			b.touch(e)
			b.setLease(e, serial, lease{})
			if d.State == dispatch.Waiting {
				b.finish(e, d, dispatch.Dead)
			}
			b.forgetDelivery(e.serial, d)
			b.wake(e)
		}
	}
}

// pair is a key, or a value, of two numbers.
func pair(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), a), b)
}

func messageKey(endpoint uint64, id string) []byte { return append(position(nil, endpoint), id...) }

func lanePrefix(endpoint uint64, lane string) []byte {
	return append(append(position(nil, endpoint), lane...), 0x00)
}

func laneKey(endpoint uint64, lane string, delivery uint64) []byte {
	return position(lanePrefix(endpoint, lane), delivery)
}

func dueKey(endpoint uint64, due int64, delivery uint64) []byte {
	return position(pair(endpoint, uint64(due)), delivery)
}

func settledKey(settled int64, endpoint, delivery uint64) []byte {
	return position(pair(uint64(settled), endpoint), delivery)
}
