package bolt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// The layout, version 10. Numbers are big-endian, so that keys sort by them; ids,
// owners, routes and topics hold no NUL.
var (
	// requests: id → record.
	requestsBucket = []byte("requests")
	// events: position → event, the record as it is after it. A log to which all channels refer, so
	// that an event is written once and next to the others of its commit.
	eventsBucket = []byte("events")
	// refs: position → how many channels still refer to the event, once it is not
	// as many as at first.
	refsBucket = []byte("refs")
	// bodies: id 0x00 part → length of the type, type, bytes. Of files from before version 6.
	bodiesBucket = []byte("bodies")
	// feeds: channel key 0x00 offset → position, sum (since version 6). The newest key of a feed
	// that is followed is not deleted, its value is emptied instead: it keeps the top. When the
	// last event of one has aged that nobody follows, the feed goes, and begins, if it does, behind
	// all offsets that were given (see open and drop).
	feedsBucket = []byte("feeds")
	// aging: end of a span of time, channel key → nothing: the feed got events in that span.
	agingBucket = []byte("aging")
	// owners: owner 0x00 serial → codec.OwnerEntry. Serials rise with creation.
	ownersBucket = []byte("owners")
	// expiry: time, id → nothing. The time may be before the request's
	// ExpiresAt, never after it: Sweep moves the entry when it gets there.
	expiryBucket = []byte("expiry")
	// pending: route 0x00 inverse priority, ticket → id. The order of work.
	pendingBucket = []byte("pending")
	// processing: id → nothing, of those that wait for an answer, too; of a batch 0x00 id → id.
	// Batches have no route, so they come first in pending, too.
	processingBucket = []byte("processing")
	// keys: codec.KeyDigest → keyRecord as JSON.
	keysBucket = []byte("keys")

	// Since version 2, webhooks. Endpoints and deliveries are named by serials, of which none is
	// ever given twice.

	// endpoints: id → serial, endpoint as JSON.
	endpointsBucket = []byte("endpoints")
	// fares: endpoint → storedHealth as JSON: what changes with every attempt.
	healthBucket = []byte("fares")
	// deleted: endpoint → nothing: it is gone, its deliveries not yet.
	deletedBucket = []byte("deleted")
	// deliveries: endpoint, delivery → delivery as JSON. Serials rise as they are enqueued.
	deliveriesBucket = []byte("deliveries")
	// attempts: endpoint, delivery → its log as JSON.
	attemptsBucket = []byte("attempts")
	// messages: id of the message → position of its event, how many deliveries it has.
	messagesBucket = []byte("messages")
	// message-index: endpoint, id of the message → delivery.
	messageIndexBucket = []byte("message-index")
	// lanes: endpoint, lane 0x00 delivery → nothing, while it is not settled.
	lanesBucket = []byte("lanes")
	// due: endpoint, time, delivery → nothing, while it may be claimed then, or is.
	dueBucket = []byte("due")
	// settled: time, endpoint, delivery → nothing, from when it was settled.
	settledBucket = []byte("settled")
	// kept: name → value; 0x00 feeds → the highest offset that a feed had which is gone; usage 0x00
	// owner → what the owner takes, see usage.go; pace 0x00 name → how fast that goes, see
	// paces.go; left 0x00 serial → nothing: the stream is gone, its pieces not yet.
	keptBucket = []byte("kept")

	// Since version 5, lives of requests, which their records name.

	// request-keys: id 0x00 key of keys → nothing: the idempotency key names the request.
	requestKeysBucket = []byte("request-keys")

	// Since version 6, bodies in pieces, and values with a sum, see seal.go.

	// pieces: id 0x00 part, number of the piece → a part of the body as bodies had it; in front of
	// the first, how long all of it is. Since version 7 also values of results, see outofline.go.
	piecesBucket = []byte("pieces")

	// dead (since version 8): route 0x00 time of the end, id → nothing: the request has failed. How
	// many there are of a route is in kept, under dead 0x00 route.
	deadBucket = []byte("dead")

	// made (since version 9): route 0x00 time of the creation, id → topic, of everybody's requests;
	// of a batch the route is "".
	madeBucket = []byte("made")

	// Since version 10, streams, see stream.go.

	// streams: stream.Name.Key → streamRecord: what is known of a stream, or of the output of a
	// request to which something was appended. Serials of pieces are its numbers.
	streamsBucket = []byte("streams")
	// stream-pieces: serial, position of the first byte → bytes.
	streamPiecesBucket = []byte("stream-pieces")
	// stream-due: time, stream.Name.Key → nothing. As in expiry, the time may be before the stream
	// is due.
	streamDueBucket = []byte("stream-due")
)

// tableNames are the buckets that batches change. Their places are what stands for them in the log:
// new ones come at the end.
var tableNames = [][]byte{
	requestsBucket, eventsBucket, refsBucket, bodiesBucket, feedsBucket, agingBucket, ownersBucket,
	expiryBucket, pendingBucket, processingBucket, keysBucket,
	endpointsBucket, healthBucket, deletedBucket, deliveriesBucket, attemptsBucket, messagesBucket,
	messageIndexBucket, lanesBucket, dueBucket, settledBucket, keptBucket,
	requestKeysBucket, piecesBucket, deadBucket, madeBucket,
	streamsBucket, streamPiecesBucket, streamDueBucket,
}

// fillPercent is how full pages become before they are split.
func fillPercent(bucket []byte) float64 {
	switch &bucket[0] {
	case &eventsBucket[0], &piecesBucket[0], &streamPiecesBucket[0]:
		// It grows at its end or at the ends of its parts, and each piece is a good part of a page.
		return 1
	case &feedsBucket[0], &ownersBucket[0], &pendingBucket[0], &expiryBucket[0], &deadBucket[0], &madeBucket[0], &streamDueBucket[0]:
		// It grows at the ends of its parts.
		return 0.9
	default:
		return bolt.DefaultFillPercent
	}
}

// record is a request together with where it stands in the indexes. It is never
// changed once it has been stored.
type record struct {
	lifecycle.Request
	Serial    uint64         `json:"_serial"`          // its place in owners
	Ticket    uint64         `json:"_ticket,omitzero"` // its place in pending, while it is
	Due       int64          `json:"_due"`             // its place in expiry
	Positions eventPositions `json:"_trail"`           // its events

	// Where the value of its result is stored, if not in the record, see outofline.go.
	outOfLine lifecycle.Part
}

// append appends r as it is stored: codec.StatusLetter, NUL, serial, ticket, due, eventPositions
// (oldest, newest, length of the steps, steps), codec.AppendReferring. Up to version 3 it was JSON
// behind the letter.
func (r *record) append(dst []byte) []byte {
	dst = append(append(dst, codec.StatusLetter(r.Status)...), 0x00)
	dst = binary.AppendUvarint(dst, r.Serial)
	dst = binary.AppendUvarint(dst, r.Ticket)
	dst = binary.AppendVarint(dst, r.Due)
	dst = binary.AppendUvarint(dst, r.Positions.Oldest)
	dst = binary.AppendUvarint(dst, r.Positions.Newest)
	dst = binary.AppendUvarint(dst, uint64(len(r.Positions.Steps)))
	dst = append(dst, r.Positions.Steps...)
	return codec.AppendReferring(dst, &r.Request, byte(r.outOfLine))
}

// decodeRecord returns a record that shares nothing with value.
func decodeRecord(id string, value []byte) (*record, error) {
	r := new(record)
	var err error
	switch {
	case len(value) < 2:
		err = errDamaged
	case value[1] == '{':
		err = json.Unmarshal(value[1:], r)
	default:
		r.ID = id
		err = r.decode(value[2:])
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

var errDamaged = errors.New("it is no record")

// decode reads what append wrote behind the NUL.
func (r *record) decode(rest []byte) error {
	var steps uint64
	ok := true
	number := func(read func([]byte) int) {
		n := read(rest)
		ok = ok && n > 0
		rest = rest[max(n, 0):]
	}
	unsigned := func(to *uint64) {
		number(func(b []byte) (n int) {
			*to, n = binary.Uvarint(b)
			return n
		})
	}
	unsigned(&r.Serial)
	unsigned(&r.Ticket)
	number(func(b []byte) (n int) {
		r.Due, n = binary.Varint(b)
		return n
	})
	unsigned(&r.Positions.Oldest)
	unsigned(&r.Positions.Newest)
	unsigned(&steps)
	if !ok || steps > uint64(len(rest)) {
		return errDamaged
	}
	r.Positions.Steps = bytes.Clone(rest[:steps])
	mark, err := codec.DecodeReferring(string(rest[steps:]), &r.Request)
	r.outOfLine = lifecycle.Part(mark)
	return err
}

func bodyKey(dst []byte, id string, p lifecycle.Part) []byte {
	return append(append(append(dst, id...), 0x00), byte(p))
}

// An event's value: when it was stored (Unix nanoseconds), how many channels referred to it at
// first, and its JSON, or, with a mark at the count, what is needed to make that: see appendEvent.
// Up to version 3 all were JSON. Of one whose request is forgotten only the header is left.
const (
	eventHeader  = 9
	eventRefs    = 8
	eventCompact = 0x80
)

func appendEventHeader(dst []byte, now time.Time, refs byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(nanos(now))), refs)
}

// appendEvent appends the value of an event that tells of r: behind the header the letter of its
// type, the position that it tells of and one more (0: none), the length of the request's id, that,
// and codec.AppendReferring.
func appendEvent(
	dst []byte, r *lifecycle.Request, outOfLine lifecycle.Part, t lifecycle.EventType, now time.Time, refs byte,
) []byte {
	return appendTold(appendEventHeader(dst, now, refs|eventCompact), r, outOfLine, t)
}

// appendTold appends what stands behind the header.
func appendTold(dst []byte, r *lifecycle.Request, outOfLine lifecycle.Part, t lifecycle.EventType) []byte {
	dst = append(dst, codec.EventLetter(t))
	ahead := uint64(0)
	if r.Position != nil {
		ahead = uint64(*r.Position) + 1
	}
	dst = binary.AppendUvarint(dst, ahead)
	dst = binary.AppendUvarint(dst, uint64(len(r.ID)))
	dst = append(dst, r.ID...)
	return codec.AppendReferring(dst, r, byte(outOfLine))
}

var (
	errGone      = errors.New("it is gone")
	errForgotten = errors.New("its request is forgotten")
)

// belongs reports whether the events of a request are in a channel.
type belongs func(of lifecycle.Ref, owner, topic string) bool

// storedEvent is an event as it was read.
type storedEvent struct {
	of        *lifecycle.Request // as it was after it; nil if it is whole
	kind      lifecycle.EventType
	outOfLine lifecycle.Part   // where the value of the result is stored, if not in it
	size      int              // bytes that are stored of it, the value included
	whole     *lifecycle.Event // one that is stored as clients got it
}

// request names what the event tells of, the zero value if that is not known.
func (e *storedEvent) request() lifecycle.Ref {
	if e.whole != nil {
		return e.whole.Request
	}
	return e.of.Ref()
}

// event reads an event, which may be of a request that is forgotten.
func (s *Store) event(tx *bolt.Tx, key []byte) (*lifecycle.Event, error) {
	value, err := unseal(s.journal.strict, eventsBucket, key, tx.Bucket(eventsBucket).Get(key))
	if err != nil {
		return nil, err
	}
	var e storedEvent
	if err := e.decode(value, nil); err != nil {
		return nil, err
	}
	if e.outOfLine != 0 { // the value belongs to whichever request is there
		if _, err := s.readRecord(tx, e.request()); err != nil {
			return nil, err
		}
	}
	return s.told(tx, &e)
}

// told returns an event of a request that is there. e is not used for anything else any more.
func (s *Store) told(tx *bolt.Tx, e *storedEvent) (*lifecycle.Event, error) {
	if e.whole != nil {
		return e.whole, nil
	}
	if e.outOfLine != 0 {
		value, err := s.value(tx, e.of.ID, e.outOfLine)
		if err != nil {
			return nil, err
		}
		e.of.Result.Value = value
	}
	return lifecycle.NewEvent(e.of, e.kind), nil
}

// decode reads an event of its value into e, which is zero and shares nothing with it; errForgotten
// if it tells nothing any more. If it is of a request that is not ours, it is an error.
func (e *storedEvent) decode(value []byte, ours belongs) error {
	switch {
	case len(value) < eventHeader:
		return errGone
	case len(value) == eventHeader:
		return errForgotten
	}
	e.size = len(value)
	rest := value[eventHeader:]
	if value[eventRefs]&eventCompact == 0 {
		e.whole, _ = codec.ParseEvent(bytes.Clone(rest))
		return nil
	}
	r, t, mark, err := eventRecord(rest)
	if err != nil {
		return err
	}
	e.of, e.kind = r, t
	if e.outOfLine = lifecycle.Part(mark); mark != 0 {
		e.size += valueSize(e.of)
	}
	if ours != nil && !ours(e.of.Ref(), e.of.Owner, e.of.Topic) {
		return errOther
	}
	return nil
}

// eventRecord reads what stands behind the header of an event: its request as it was then, with the
// position that the event tells of, and which part of it the value of its result is, if that is out
// of line.
func eventRecord(rest []byte) (*lifecycle.Request, lifecycle.EventType, byte, error) {
	if len(rest) == 0 || codec.EventType(rest[0]) == "" {
		return nil, "", 0, errDamagedEvent
	}
	t := codec.EventType(rest[0])
	ahead, n := binary.Uvarint(rest[1:])
	if n <= 0 {
		return nil, "", 0, errDamagedEvent
	}
	rest = rest[1+n:]
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > uint64(len(rest)-n) {
		return nil, "", 0, errDamagedEvent
	}
	text := string(rest[n:])
	r := &lifecycle.Request{ID: text[:length]}
	if ahead > 0 {
		r.Position = new(int(ahead - 1))
	}
	mark, err := codec.DecodeReferring(text[length:], r)
	if err != nil {
		return nil, "", 0, errDamagedEvent
	}
	return r, t, mark, nil
}

var (
	errDamagedEvent = errors.New("it is no event")
	errOther        = errors.New("it is that of another channel")
)

func eventTime(value []byte) int64 { return int64(binary.BigEndian.Uint64(value)) }

func position(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(dst, n) }

func feedPrefix(c lifecycle.Channel) []byte { return append([]byte(c.Key()), 0x00) }

func agingKey(end int64, c lifecycle.Channel) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(end)), c.Key()...)
}

func ownerPrefix(owner string) []byte { return append([]byte(owner), 0x00) }

func ownerKey(owner string, serial uint64) []byte {
	return binary.BigEndian.AppendUint64(ownerPrefix(owner), serial)
}

func expiryKey(dst []byte, due int64, id string) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(due)), id...)
}

// nanos is t on the scale of the indexes.
func nanos(t time.Time) int64 { return max(t.UnixNano(), 0) }

func pendingKey(r *record) []byte {
	return binary.BigEndian.AppendUint64(pendingPrefix(r.Route, r.Priority), r.Ticket)
}

func pendingPrefix(route string, priority int) []byte {
	key := make([]byte, 0, len(route)+10)
	return append(append(key, route...), 0x00, byte(levels-1-level(priority)))
}

func processingKey(r *record) []byte {
	if r.Batch != nil {
		return append([]byte{0x00}, r.ID...)
	}
	return []byte(r.ID)
}

func processingValue(r *record) []byte {
	if r.Batch != nil {
		return []byte(r.ID)
	}
	return nil
}

func parsePendingKey(key []byte) (route string, priority int, ticket uint64, ok bool) {
	i := len(key) - 10
	if i < 0 || key[i] != 0 || key[i+1] >= levels {
		return "", 0, 0, false
	}
	return string(key[:i]), levels - 1 - int(key[i+1]), binary.BigEndian.Uint64(key[i+2:]), true
}

// keyRecord remembers the use of an idempotency key.
type keyRecord struct {
	Request     string           `json:"request"`
	Life        string           `json:"life,omitzero"`
	Fingerprint string           `json:"fingerprint"`
	LockedUntil time.Time        `json:"lockedUntil,omitzero"`
	Reply       *lifecycle.Reply `json:"reply,omitzero"`
}

func (k *keyRecord) use() *lifecycle.KeyUse {
	return &lifecycle.KeyUse{
		Request: lifecycle.Ref{ID: k.Request, Life: k.Life}, Fingerprint: k.Fingerprint, LockedUntil: k.LockedUntil, Reply: k.Reply,
	}
}

// requestKey is the entry of a key that names a request.
func requestKey(id, owner, key string) []byte {
	return append(append([]byte(id), 0x00), keyKey(owner, key)...)
}

func keyKey(owner, key string) []byte {
	digest := codec.KeyDigest(owner, key)
	return digest[:]
}
