package bolt

import (
	"bytes"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/webhook/dispatch"
)

// A request that succeeds has its result in three places: in pieces, as it came, and as a value in
// its record and in the event of its end. So a value that is not small is stored once, in pieces:
// those of the result, or of its own if it came with white space. Record and event say where. Live
// events have it from memory.
//
// What is forgotten takes its pieces along. An event that webhook deliveries are yet to send gets
// its value then.

// largeValue is how many bytes of a value are too many for records and events. To read one from its
// pieces costs a search, which is what smaller ones cost to copy.
const largeValue = 512

// compacted is the part in whose pieces a value is that is not byte for byte the result.
const compacted lifecycle.Part = 0x80

// moveOut lets the value of r's result, which is in JSON as data say, stand in pieces from now on,
// if it is not small.
func (b *batch) moveOut(r *record, data []byte) {
	switch {
	case r.Result == nil || len(r.Result.Value) <= largeValue:
	case bytes.Equal(r.Result.Value, data):
		r.outOfLine = lifecycle.Output
	default:
		r.outOfLine = compacted
		b.putBody(&written{id: r.ID, part: compacted, body: codec.EncodeBody(lifecycle.Content{Data: r.Result.Value})})
	}
}

// value returns the value of a result that stands in the pieces of a part.
func (s *Store) value(tx *bolt.Tx, id string, part lifecycle.Part) (json.RawMessage, error) {
	raw, err := s.pieces(tx, id, part)
	if err == nil && raw == nil {
		err = errGone
	}
	if err != nil {
		return nil, err
	}
	content, err := codec.DecodeBody(raw)
	return content.Data, err
}

// whole returns r with the value of its result, wherever that is stored.
func (s *Store) whole(tx *bolt.Tx, r *record) (*record, error) {
	if r.outOfLine == 0 || r.Result.Value != nil {
		return r, nil
	}
	value, err := s.value(tx, r.ID, r.outOfLine)
	if err != nil {
		return nil, s.options.Damages.Note(&lifecycle.DamageError{
			ID: r.ID, What: partName(r.outOfLine), Request: &r.Request, Err: fmt.Errorf("store: %w", err),
		})
	}
	out, result := *r, *r.Result
	result.Value = value
	out.Result = &result
	return &out, nil
}

// owes returns how many bytes are written when r is forgotten: those of a value that webhook
// deliveries are yet to send.
func (b *batch) owes(r *record) int {
	if r.outOfLine == 0 || !b.posted(dispatch.MessageID(r.Ref(), r.Sequence)) {
		return 0
	}
	return valueSize(&r.Request)
}

// valueSize is about how many bytes the value of a result has that is out of line.
func valueSize(r *lifecycle.Request) int {
	return int(min(max(r.Result.Size, 0), lifecycle.InlineLimit))
}

// complete puts the value of a result into an event, whose request is about to be forgotten, if it
// does not have it. What is damaged stays, and is found to be when it is read.
func (b *batch) complete(at uint64) {
	b.key = position(b.key[:0], at)
	stored, err := b.read(eventsBucket, b.key)
	if err != nil {
		_ = b.s.damaged("", "an event", err)
		return
	}
	var e storedEvent
	if e.decode(stored, nil) != nil || e.outOfLine == 0 {
		return
	}
	value, err := b.s.value(b.s.journal.tx, e.of.ID, e.outOfLine)
	if err != nil {
		_ = b.s.damaged(e.of.ID, partName(e.outOfLine), err)
		return
	}
	e.of.Result.Value = value
	b.encoded = appendTold(append(b.encoded[:0], stored[:eventHeader]...), e.of, 0, e.kind)
	b.put(eventsBucket, b.key, b.encoded)
}
